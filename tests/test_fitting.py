import copy
import re

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from gradnotes import fitting
from gradnotes.fitting import FitDiverged, fit
from gradnotes.networks import MLP

torch.set_num_threads(1)

NINE = np.arange(9.0)[:, None]
METHODS = ["levenberg-marquardt", "l-bfgs", "adam"]


def scattered(count):
    return np.random.default_rng(0).uniform(0.0, 1.0, (count, 2))


SQUARE = scattered(25)


def surface(points):
    x, y = points.T
    return np.sin(3 * x) * np.cos(2 * y) + x**2


def surface_gradient(points):
    x, y = points.T
    return np.stack(
        [3 * np.cos(3 * x) * np.cos(2 * y) + 2 * x, -2 * np.sin(3 * x) * np.sin(2 * y)], axis=1
    )


def square_net(hidden=(6,), members=None, **options):
    return MLP(2, hidden, members=members, domain=[(0, 1), (0, 1)], rng=3, **options)


# What a fit reaches


@pytest.mark.parametrize(
    "values",
    [0.0 * NINE[:, 0], np.sin(NINE[:, 0] / 2), NINE[:, 0] ** 2 / 8, (-1.0) ** NINE[:, 0]],
    ids=["zeros", "sine", "parabola", "alternating"],
)
def test_nine_points_are_met_to_rounding_by_every_member(values):
    result = fit(MLP(1, (16,), members=8, domain=(0, 8), rng=0), NINE, values, rng=0)
    assert result.rms.shape == (8,)
    assert (result.rms <= 1e-12).all()
    assert result.converged.all()
    assert result.reason == ("tolerance reached",) * 8
    assert result.gradient_rms is None
    with torch.no_grad():
        residuals = result.model(torch.from_numpy(NINE)).numpy() - values
    # The two forward passes, torch's and the package's, differ by roundings of values near 1.
    np.testing.assert_allclose(result.rms, np.sqrt((residuals**2).mean(1)), rtol=0, atol=1e-14)


def test_sixty_four_networks_of_two_layers_meet_a_hundred_points_in_one_call():
    points = scattered(100)
    result = fit(square_net((64, 64), members=64), points, surface(points), rng=0)
    assert (result.rms <= 1e-12).all()


# With a rule that accepts only steps downhill, none of these sixteen arrives in 500 steps, and the
# median of their RMS is near 1e-6. With the present rule all do here; of eight that start from
# other seeds two are late now and then, and so may one of these be where sums round otherwise.
@pytest.mark.parametrize(
    ("hidden", "count", "with_gradients"), [((32, 32), 200, False), ((24, 24), 50, True)]
)
def test_eight_networks_are_fitted_where_a_monotone_rule_creeps(hidden, count, with_gradients):
    points = scattered(count)
    gradients = surface_gradient(points) if with_gradients else None
    result = fit(square_net(hidden, members=8), points, surface(points), gradients=gradients, rng=0)
    largest = np.maximum(result.rms, result.gradient_rms) if with_gradients else result.rms
    assert np.median(largest) <= 1e-12
    assert (largest[result.converged] <= 1e-12).all()


def test_values_and_gradients_are_met_together():
    points = SQUARE[:6]
    result = fit(
        square_net((24,)), points, surface(points), gradients=surface_gradient(points), rng=0
    )
    assert result.rms <= 1e-12
    assert result.gradient_rms <= 1e-12
    assert result.converged is True
    assert type(result.rms) is type(result.gradient_rms) is float
    _, gradients = result.model.value_and_gradient(torch.from_numpy(points))
    np.testing.assert_allclose(gradients, surface_gradient(points), atol=1e-11)


@pytest.mark.parametrize("hidden", [(3,), (12,)], ids=["tall", "wide"])
def test_one_step_solves_the_damped_normal_equations(hidden):
    model, points, weight = square_net(hidden), SQUARE[:12], 0.3
    x = torch.from_numpy(points)
    values, gradients = model.value_and_gradient(x)
    # Data close to the network's own values, so that the very first step is accepted.
    y, g = (
        values.numpy() + 0.01 * surface(points),
        gradients.numpy() + 0.01 * surface(points)[:, None],
    )
    of_values, of_gradients = model.weight_jacobian(x, gradients=True)
    r = np.concatenate([values.numpy() - y, (weight**0.5 * (gradients.numpy() - g)).ravel()])
    rows = [of_values, weight**0.5 * of_gradients.reshape(24, -1)]
    r, jacobian = r / 12**0.5, torch.cat(rows).numpy() / 12**0.5
    damping = 1e-3 * (jacobian**2).sum() / min(jacobian.shape)
    normal = jacobian.T @ jacobian + damping * np.eye(model.size)
    expected = model.flat_weights().numpy() - np.linalg.solve(normal, jacobian.T @ r)
    result = fit(model, points, y, gradients=g, gradient_weight=weight, steps=1, rng=0)
    np.testing.assert_allclose(result.model.flat_weights(), expected, rtol=1e-9, atol=1e-11)
    assert result.history[0] == pytest.approx(r @ r, rel=1e-11)
    assert result.history[1] < result.history[0]
    assert result.reason == "step limit"
    assert result.converged is False
    assert result.steps == 1


@pytest.mark.parametrize("method", METHODS[:2])
def test_the_same_minimum_as_scipy(method):
    x = np.linspace(-2.0, 2.0, 15)[:, None]
    values = np.tanh(3.0 * x[:, 0] - 1.0) + 0.1 * np.random.default_rng(1).standard_normal(15)
    model = MLP(1, (1,), rng=5)
    work = copy.deepcopy(model)

    def residuals(flat):
        work.set_flat_weights(torch.from_numpy(flat))
        with torch.no_grad():
            return (work(torch.from_numpy(x)).numpy() - values) / np.sqrt(15)

    peer = least_squares(residuals, model.flat_weights().numpy(), jac="3-point", xtol=1e-15,
                         ftol=1e-15, gtol=1e-15, max_nfev=2000)  # fmt: skip
    result = fit(model, x, values, method=method, rng=0)
    assert result.history[-1] == pytest.approx(2 * peer.cost, rel=1e-9)
    assert result.reason == "no further decrease"
    assert result.converged is False
    assert (np.diff(result.history) <= 0).all()
    loss = (result.model(torch.from_numpy(x)) - torch.from_numpy(values)).square().mean()
    slopes = torch.autograd.grad(loss, list(result.model.parameters()))
    assert max(slope.abs().max().item() for slope in slopes) < 1e-7


# The loss


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("own_gradients", [False, True])
def test_the_loss_is_the_sobolev_loss_of_each_member(method, own_gradients):
    model, factors = square_net(members=3), np.array([1.0, 2.0, -1.0])
    x = torch.from_numpy(SQUARE)
    values, gradients = factors[:, None] * surface(SQUARE), surface_gradient(SQUARE)
    if own_gradients:
        gradients = factors[:, None, None] * gradients
    result = fit(model, SQUARE, values, gradients=gradients, gradient_weight=0.7, method=method,
                 steps=3, rng=0)  # fmt: skip
    assert result.history.shape == (4, 3)
    assert result.gradient_rms.shape == (3,)
    for network, losses in [(model, result.history[0]), (result.model, result.history[-1])]:
        ours, our_gradients = (part.numpy() for part in network.value_and_gradient(x))
        by_values = np.square(ours - values).mean(1)
        by_gradients = np.square(our_gradients - gradients).sum(2).mean(1)
        np.testing.assert_allclose(losses, by_values + 0.7 * by_gradients, rtol=1e-12)
    np.testing.assert_allclose(result.rms, np.sqrt(by_values), rtol=1e-12)
    np.testing.assert_allclose(result.gradient_rms, np.sqrt(by_gradients), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_members_are_fitted_independently(method):
    model = square_net(members=3)
    options = {"gradients": surface_gradient(SQUARE), "method": method, "steps": 4, "rng": 0}
    together = fit(model, SQUARE, surface(SQUARE), **options)
    for s in range(3):
        alone = fit(model.member(s), SQUARE, surface(SQUARE), **options)
        np.testing.assert_allclose(
            together.model.flat_weights()[s], alone.model.flat_weights(), rtol=1e-7, atol=1e-9
        )
        np.testing.assert_allclose(together.history[:, s], alone.history, rtol=1e-8)


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_member_that_is_done_stays_as_it_is(method):
    model, options = square_net(members=2), {"method": method, "steps": 3, "tolerance": 1e-6}
    # The first member is not exact, so that it would move if it went on.
    own = model(torch.from_numpy(SQUARE))[0].detach().numpy() + 1e-8 * surface(SQUARE)
    values = np.stack([own, surface(SQUARE)])
    result = fit(model, SQUARE, values, rng=0, **options)
    alone = fit(model.member(1), SQUARE, surface(SQUARE), rng=0, **options)
    np.testing.assert_allclose(result.history[:, 1], alone.history, rtol=1e-9)
    assert torch.equal(result.model.flat_weights()[0], model.flat_weights()[0])
    assert result.reason == ("tolerance reached", "step limit")
    assert result.converged.tolist() == [True, False]
    assert result.steps == 3


def test_adam_moves_at_the_learning_rate_and_lists_the_losses_of_its_minibatches():
    model, values = square_net(), surface(SQUARE)
    result = fit(model, SQUARE, values, method="adam", steps=1, learning_rate=1e-3, batch_size=10,
                 rng=9)  # fmt: skip
    # The first step of Adam is the learning rate times a sign, but for an epsilon of 1e-8.
    moves = (result.model.flat_weights() - model.flat_weights()).abs().numpy()
    np.testing.assert_allclose(moves, 1e-3, rtol=1e-4)
    losses = [
        np.square(network(torch.from_numpy(SQUARE)).detach().numpy() - values)
        for network in (model, result.model)
    ]
    rows = np.random.default_rng(9).permutation(25)[:10]
    expected = [losses[0][rows].mean(), losses[1].mean()]
    np.testing.assert_allclose(result.history, expected, rtol=1e-12)


def test_adam_lowers_the_loss():
    result = fit(square_net((16,)), SQUARE, surface(SQUARE), method="adam", steps=400, rng=0)
    assert result.history[-1] < 0.01 * result.history[0]
    assert (result.method, result.converged) == ("adam", False)


def test_what_is_not_given_is_what_is_documented(monkeypatch):
    data, options = (SQUARE, surface(SQUARE)), {"gradients": surface_gradient(SQUARE), "rng": 0}
    left_out, written = (
        fit(square_net(), *data, steps=3, **options, **more)
        for more in ({}, {"gradient_weight": 1})
    )
    assert torch.equal(left_out.model.flat_weights(), written.model.flat_weights())

    class AskedError(Exception):
        pass

    def solver(problem, flat, *asked):
        raise AskedError(*asked[:3])

    for method, name, expected in (
        ("levenberg-marquardt", "levenberg_marquardt", (500, 1e-13)),
        ("l-bfgs", "lbfgs", (2000, 1e-13)),
        ("adam", "adam", (2000, 0.01, None)),
    ):
        monkeypatch.setattr(fitting, name, solver)
        with pytest.raises(AskedError) as caught:
            fit(square_net(), *data, method=method, rng=0)
        assert caught.value.args == expected


def test_converged_compares_the_root_of_the_loss_with_the_tolerance():
    options = {"method": "adam", "steps": 30, "rng": 0}
    root = np.sqrt(fit(square_net(), SQUARE, surface(SQUARE), **options).history[-1])
    for tolerance, converged in [(0.99 * root, False), (1.01 * root, True)]:
        result = fit(square_net(), SQUARE, surface(SQUARE), tolerance=tolerance, **options)
        assert result.converged is converged
        assert result.reason == ("tolerance reached" if converged else "step limit")
        assert result.steps == 30


# Random directions


def test_as_many_directions_as_inputs_are_whole_gradients():
    data = {"gradients": surface_gradient(SQUARE), "gradient_weight": 0.3, "steps": 1, "rng": 5}
    whole, seen = (
        fit(square_net(members=2), SQUARE, surface(SQUARE), directions=q, **data).history[0]
        for q in (None, 2)
    )
    np.testing.assert_allclose(seen, whole, rtol=1e-12)


@pytest.mark.parametrize(("inputs", "count"), [(2, 1), (3, 1), (3, 2), (5, 3)])
def test_the_loss_along_random_directions_has_the_mean_and_the_spread_of_fresh_ones(inputs, count):
    # Equal members, which differ from the data in a constant gradient of length 1 only.
    members, points = 400, np.random.default_rng(0).uniform(-1.0, 1.0, (20, inputs))
    model = MLP(inputs, (2,), members=members, domain=[(-1, 3)] * inputs, rng=1)
    model.set_flat_weights(model.flat_weights()[:1].expand(members, -1))
    values, gradients = (
        part.numpy() for part in model.value_and_gradient(torch.from_numpy(points))
    )
    wanted = gradients + np.ones(inputs) / inputs**0.5
    options = {"gradient_weight": 0.3, "directions": count, "method": "adam", "steps": 1}
    losses = np.concatenate(
        [
            fit(model, points, values, gradients=wanted, rng=r, **options).history[0]
            for r in range(3)
        ]
    )
    losses /= 0.3
    # The squared length of the projection of a vector of length 1 on q directions of d has a beta
    # distribution, and a loss is d/q times the mean of 20 of them.
    a, b = count / 2, (inputs - count) / 2
    spread = (inputs / count) ** 2 * a * b / ((a + b) ** 2 * (a + b + 1)) / 20
    error = (spread / len(losses)) ** 0.5
    assert abs(losses.mean() - 1.0) < 4 * error
    assert 4 * error < 0.05  # a scale of 1, or of the root of d/q, would be off by 0.18 and more
    # A variance of 1200 numbers is known to a root of 2/1200; with the same directions at all
    # points it would be 20 times as large.
    assert losses.var(ddof=1) == pytest.approx(spread, rel=4 * (2 / len(losses)) ** 0.5)
    assert len(set(losses)) == len(losses)


def test_directions_hang_on_the_seed_only():
    def flat(rng, method):
        result = fit(square_net(members=2), SQUARE, surface(SQUARE), directions=1, method=method,
                     gradients=surface_gradient(SQUARE), steps=3, rng=rng)  # fmt: skip
        return result.model.flat_weights()

    for method in METHODS:
        first = flat(7, method)
        assert torch.equal(flat(np.random.default_rng(7), method), first)
        assert not torch.equal(flat(8, method), first)


def test_values_and_slopes_along_one_direction_are_met_to_rounding():
    points = scattered(30)
    result = fit(square_net((24, 24), members=4), points, surface(points), directions=1,
                 gradients=surface_gradient(points), rng=0)  # fmt: skip
    assert result.converged.all()
    assert (np.sqrt(result.history[-1]) <= 1e-12).all()
    # The RMS of the gradients is that of whole ones, which were not seen.
    _, gradients = result.model.value_and_gradient(torch.from_numpy(points))
    off = np.square(gradients.numpy() - surface_gradient(points)).sum(2).mean(1)
    np.testing.assert_allclose(result.gradient_rms, np.sqrt(off), rtol=1e-12)
    assert (result.gradient_rms > 1e-4).all()


# Equal points

AGAIN = SQUARE[[0, 1, 2, 0, 3, 1, 0]]
EQUAL = np.array([1.0, 2.0, 3.0, 1.0, 4.0, 2.0, 1.0])
SLOPES = np.outer(EQUAL, [1.0, -1.0])


def but(data, *changes):
    """Data with some entries changed."""
    data = data.copy()
    for place, change in changes:
        data[place] += change
    return data


def least_root(points, wanted):
    """The least root of the loss of any function at all, by least squares at each place."""
    places = (points[:, None] == points[None]).all(-1).astype(float)
    off = wanted - places @ np.linalg.lstsq(places, wanted, rcond=None)[0]
    return np.sqrt(np.square(off).sum() / len(points))


@pytest.mark.parametrize(
    ("points", "data", "rows"),
    [
        (AGAIN, {"values": but(EQUAL, (5, 0.5), (6, -0.3))}, (1, 5)),
        (AGAIN, {"values": but(EQUAL, (6, -1e-9))}, (0, 6)),
        (AGAIN, {"values": EQUAL, "gradients": but(SLOPES, ((3, 1), 0.4))}, (0, 3)),
        (
            AGAIN,
            {"values": but(EQUAL, (3, 0.2)), "gradients": but(SLOPES, ((5, 0), 0.4))},
            (0, 3),
        ),
        (
            AGAIN,
            {
                "values": but(EQUAL, (3, 0.2)),
                "gradients": but(SLOPES, ((5, 0), 0.4)),
                "directions": 1,  # which differ from row to row, so that gradients may differ
            },
            (0, 3),
        ),
        (AGAIN, {"values": np.stack([EQUAL, but(EQUAL, (5, 1.0)), but(EQUAL, (6, 3.0))])}, (1, 5)),
        (np.array([[0.0, 1.0], [2.0, 1.0], [-0.0, 1.0]]), {"values": np.arange(3.0)}, (0, 2)),
    ],
    ids=["values", "hardly", "gradients", "both", "directions", "members", "signed zeros"],
)
def test_other_data_at_equal_points_are_refused_with_the_least_loss_there_is(points, data, rows):
    wanted = np.atleast_2d(data["values"])[..., None]
    if "gradients" in data:
        data = {**data, "gradient_weight": 0.3}
        if "directions" not in data:
            wanted = np.concatenate([wanted, 0.3**0.5 * data["gradients"][None]], 2)
    least = max(least_root(points, part) for part in wanted)
    model = square_net(members=3 if wanted.shape[0] > 1 else None)
    words = f"points {rows[0]} and {rows[1]} are equal .* below {least:.2e}; .* tolerance=(.*)"
    with pytest.raises(ValueError, match=words) as caught:
        fit(model, points, **data, tolerance=least * (1.0 - 1e-6), rng=0)
    allowed = float(re.search(words, str(caught.value))[1])
    assert allowed == pytest.approx(1.1 * least, rel=0.01)
    for tolerance in (allowed, least * (1.0 + 1e-6)):
        result = fit(model, points, **data, tolerance=tolerance, steps=5, rng=0)
        assert np.sqrt(result.history).max() >= least * (1.0 - 1e-12)


@pytest.mark.parametrize("members", [None, 2])
def test_equal_data_at_equal_points_are_met(members):
    points = np.concatenate([AGAIN, [[0.0, 0.5], [-0.0, 0.5]]])
    values, gradients = np.append(EQUAL, [0.0, -0.0]), np.append(SLOPES, [[0.0, 1.0]] * 2, 0)
    if members:
        values, gradients = np.stack([values, -values]), np.stack([gradients, 3.0 * gradients])
    result = fit(square_net((12,), members), points, values, gradients=gradients, tolerance=0.0,
                 rng=0)  # fmt: skip
    assert np.max(result.rms) < 1e-12


# What a fit leaves alone, and what it does not hang on


@pytest.mark.parametrize(
    "options",
    [*({"method": method} for method in METHODS), {"method": "adam", "batch_size": 7}],
    ids=str,
)
def test_the_same_arguments_give_the_same_bits_and_nothing_else_changes(options):
    model = square_net((8,), members=2)
    before = model.flat_weights()
    data = [SQUARE.copy(), surface(SQUARE), surface_gradient(SQUARE)]
    copies = [array.copy() for array in data]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (
        fit(model, *data[:2], gradients=data[2], steps=20, rng=4, **options) for _ in range(2)
    )
    assert torch.equal(first.model.flat_weights(), second.model.flat_weights())
    assert (first.history == second.history).all()
    assert not torch.equal(first.model.flat_weights(), before)
    assert torch.equal(model.flat_weights(), before)
    assert all(p.grad is None for m in (model, first.model) for p in m.parameters())
    assert all((array == same).all() for array, same in zip(data, copies, strict=True))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


def test_other_minibatches_give_other_weights():
    runs = [
        fit(square_net(), SQUARE, surface(SQUARE), method="adam", steps=5, batch_size=5, rng=seed)
        for seed in (0, 1)
    ]
    assert not torch.equal(*(run.model.flat_weights() for run in runs))


def predictions(model, points):
    """Fit, and return the values on points all over the square."""
    fitted = fit(model, points, surface(points), rng=0).model
    return fitted.value_and_gradient(torch.from_numpy(scattered(2000)))[0]


def test_the_number_of_threads_does_not_matter():
    points, threads, found = scattered(100), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(predictions(square_net((64, 64), members=8), points))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*found, rtol=0.0, atol=1e-10)


def test_a_start_perturbed_by_1e_13_gives_the_same_function():
    model, points = square_net((64, 64), members=8), scattered(100)
    other = copy.deepcopy(model)
    noise = np.random.default_rng(1).standard_normal(model.flat_weights().shape)
    other.set_flat_weights(model.flat_weights() * torch.from_numpy(1.0 + 1e-13 * noise))
    # The weights outnumber the points 44 to 1, and a dozen steps magnify a difference by the
    # condition numbers of their systems: measured, to 1e-9 at the most.
    near, far = predictions(model, points), predictions(other, points)
    torch.testing.assert_close(near, far, rtol=0.0, atol=1e-7)
    assert not torch.equal(near, far)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_a_fit_does_not_need_the_global_switch_for_gradients(method, switch):
    arguments = (square_net(), SQUARE, surface(SQUARE))
    options = {"gradients": surface_gradient(SQUARE), "method": method, "steps": 3, "rng": 0}
    plain = fit(*arguments, **options)
    with switch():
        switched_off = fit(*arguments, **options)
    assert torch.equal(plain.model.flat_weights(), switched_off.model.flat_weights())


def test_a_network_fitted_in_inference_mode_goes_on_outside():
    data, options = (SQUARE, surface(SQUARE)), {"steps": 2, "rng": 0}
    with torch.inference_mode():
        first = fit(square_net(), *data, **options)
        inside = fit(first.model, *data, **options)
    outside = fit(first.model, *data, **options)
    assert torch.equal(outside.model.flat_weights(), inside.model.flat_weights())


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_is_continued_from_its_result(method):
    data = (SQUARE, surface(SQUARE))
    first = fit(square_net(), *data, method=method, steps=4, rng=0)
    second = fit(first.model, *data, method=method, steps=4, rng=0)
    assert second.history[0] == pytest.approx(first.history[-1], rel=1e-12)
    assert second.history[-1] < first.history[-1]


def test_tensors_and_lists_are_data_too():
    model, values = square_net(), surface(SQUARE)
    first = fit(model, SQUARE, values, steps=3, rng=0)
    second = fit(model, torch.from_numpy(SQUARE), torch.from_numpy(values), steps=3, rng=0)
    third = fit(model, SQUARE.tolist(), values.tolist(), steps=3, rng=0)
    assert torch.equal(first.model.flat_weights(), second.model.flat_weights())
    assert torch.equal(first.model.flat_weights(), third.model.flat_weights())


def test_gradients_stored_in_the_parameters_are_not_copied():
    model = square_net()
    model(torch.from_numpy(SQUARE)).sum().backward()
    result = fit(model, SQUARE, surface(SQUARE), steps=1, rng=0)
    assert all(parameter.grad is None for parameter in result.model.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_short_report_and_no_other_output(method, capfd):
    data = {"gradients": surface_gradient(SQUARE), "method": method, "steps": 2, "rng": 0}
    result = fit(square_net(members=2), SQUARE, surface(SQUARE), **data)
    assert capfd.readouterr() == ("", "")
    assert str(result) == (
        f"{method}, 2 steps: value RMS {max(result.rms):.2e}, "
        f"gradient RMS {max(result.gradient_rms):.2e} (0 of 2 reached the tolerance)"
    )
    assert result.seconds > 0.0


# Errors


@pytest.mark.parametrize("method", METHODS)
def test_an_infinite_loss_is_an_error_and_a_huge_one_is_not(method):
    with pytest.raises(FitDiverged, match=r"step 0 is inf.*data of smaller size") as caught:
        fit(square_net(), SQUARE, surface(SQUARE) * 1e200, method=method, rng=0)
    assert (caught.value.step, caught.value.loss) == (0, float("inf"))
    data = {"gradients": 1e100 * surface_gradient(SQUARE), "method": method, "steps": 50, "rng": 0}
    result = fit(square_net(), SQUARE, 1e100 * surface(SQUARE), **data)
    assert 1e199 < result.history[-1] <= result.history[0] * (1.0 + 1e-12) < 1e202


@pytest.mark.parametrize("steps", [1, 50])
def test_a_diverging_fit_is_an_error(steps):
    options = {"method": "adam", "learning_rate": 1e100, "steps": steps, "rng": 0}
    hint = 'a smaller learning_rate, a smaller scale, or method="levenberg-marquardt"'
    with pytest.raises(FitDiverged, match=f"the loss at step 1 is inf, .*; try {hint}") as caught:
        fit(square_net(activation="relu"), SQUARE, surface(SQUARE), **options)
    assert (caught.value.step, caught.value.loss) == (1, float("inf"))


def with_weight(weight):
    model = square_net()
    with torch.no_grad():
        model.biases[0][2] = weight
    return model


SLOPED = {"gradients": surface_gradient(SQUARE)}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"rng": None}, TypeError, "fit needs rng=..., an integer seed or a numpy Gen.*try rng=0"),
        (
            {"method": "sgd"},
            ValueError,
            "among levenberg-marquardt, l-bfgs, adam, and got 'sgd'",
        ),
        ({"points": SQUARE[:0], "values": np.zeros(0)}, ValueError, "at least one point"),
        ({"points": SQUARE[:, :1]}, ValueError, "shape"),
        ({"points": SQUARE.astype(np.float32)}, TypeError, "float64"),
        ({"points": SQUARE * np.nan}, ValueError, "finite"),
        ({"values": np.zeros(24)}, ValueError, r"values of shape \(25,\), and got \(24,\)"),
        ({"values": np.zeros((25, 1))}, ValueError, r"and got \(25, 1\)"),
        ({"values": np.zeros((2, 25))}, ValueError, r"and got \(2, 25\)"),
        (
            {"model": square_net(members=3), "values": np.zeros((2, 25))},
            ValueError,
            r"values of shape \(25,\) or \(3, 25\), and got \(2, 25\)",
        ),
        ({"values": np.zeros(25, np.float32)}, TypeError, r"got float32; try values.astype"),
        ({"values": torch.zeros(25)}, TypeError, r"got float32; try values.astype"),
        ({"values": np.full(25, np.inf)}, ValueError, "finite values"),
        ({"gradients": np.zeros((25, 1))}, ValueError, r"gradients of shape \(25, 2\)"),
        ({"gradients": np.zeros((25, 2), int)}, TypeError, "gradients.astype"),
        ({"gradients": np.full((25, 2), np.nan)}, ValueError, "finite gradients"),
        *(
            (SLOPED | {"gradient_weight": weight}, ValueError,
             f"gradient_weight above 0, and got {weight}; .* leave out gradients")
            for weight in (0.0, -1.0, np.inf, np.nan)
        ),
        ({"gradient_weight": 1.0}, ValueError, "gradient_weight is for .* try gradients=..."),
        ({"directions": 1}, ValueError, "directions is for .* try gradients=..."),
        *(
            (SLOPED | {"directions": directions}, ValueError,
             f"directions as an integer from 1 to 2, and got {directions}")
            for directions in (0, True, 1.5, 3)
        ),
        ({"steps": 0}, ValueError, "steps as an integer of 1 or more, and got 0"),
        ({"steps": True}, ValueError, "steps as an integer of 1 or more, and got True"),
        (
            {"method": "adam", "batch_size": True},
            ValueError,
            "batch_size as an integer .* got True",
        ),
        ({"learning_rate": 0.1}, ValueError, 'options of method="adam" only'),
        ({"method": "l-bfgs", "batch_size": 5}, ValueError, 'options of method="adam" only'),
        ({"method": "adam", "batch_size": 0}, ValueError, "batch_size as an integer of 1 or more"),
        ({"method": "adam", "learning_rate": 0.0}, ValueError, "learning_rate above 0, and got"),
        ({"tolerance": -1e-9}, ValueError, "tolerance of 0 or more"),
        ({"tolerance": np.nan}, ValueError, "finite tolerance"),
        ({"model": torch.nn.Linear(2, 1)}, TypeError, "a gradnotes MLP, and got Linear"),
        ({"model": square_net().float()}, TypeError, r"try \.double\(\)"),
        ({"model": square_net().to("meta")}, TypeError, "works on the CPU, .* on meta"),
        ({"model": square_net().requires_grad_(False)}, ValueError, "some are frozen"),
        ({"model": with_weight(np.nan)}, ValueError, r"finite weights, .* try a new MLP"),
        ({"model": with_weight(-np.inf)}, ValueError, r"finite weights, .* try a new MLP"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(changes, error, words):
    arguments = {"model": square_net(), "points": SQUARE, "values": surface(SQUARE), "rng": 0}
    with pytest.raises(error, match=words):
        fit(**(arguments | changes))
