import copy

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from gradnotes.fitting import FitDiverged, fit
from gradnotes.networks import MLP
from gradnotes.solvers import _damped_step

torch.set_num_threads(1)

NINE = np.arange(9.0)[:, None]
SQUARE = np.random.default_rng(0).uniform(0.0, 1.0, (25, 2))
METHODS = ["levenberg-marquardt", "adam"]


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


def tensors(points=SQUARE):
    return (torch.from_numpy(a) for a in (points, surface(points), surface_gradient(points)))


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
    np.testing.assert_allclose(result.rms, np.sqrt((residuals**2).mean(1)), rtol=1e-12)


def test_a_surface_is_met_to_rounding():
    result = fit(square_net((24,), members=8), SQUARE, surface(SQUARE), rng=0)
    assert (result.rms <= 1e-12).all()


def test_values_and_gradients_are_met_together():
    points = SQUARE[:6]
    result = fit(
        square_net((24,)), points, surface(points), gradients=surface_gradient(points), rng=0
    )
    assert result.rms <= 1e-12
    assert result.gradient_rms <= 1e-12
    assert result.converged is True
    assert type(result.rms) is float
    _, gradients = result.model.value_and_gradient(torch.from_numpy(points))
    np.testing.assert_allclose(gradients, surface_gradient(points), atol=1e-11)


@pytest.mark.parametrize("hidden", [(3,), (12,)], ids=["tall", "wide"])
def test_one_step_solves_the_damped_normal_equations(hidden):
    model, points = square_net(hidden), SQUARE[:12]
    weight, (x, y, g) = 0.3, tensors(points)
    values, gradients = model.value_and_gradient(x)
    # Data close to the network's own values, so that the very first step is accepted.
    y, g = values + 0.01 * y, gradients + 0.01 * g
    of_values, of_gradients = model.weight_jacobian(x, gradients=True)
    r = torch.cat([values - y, (weight**0.5 * (gradients - g)).reshape(-1)]).numpy() / 12**0.5
    rows = [of_values, weight**0.5 * of_gradients.reshape(24, -1)]
    jacobian = torch.cat(rows).numpy() / 12**0.5
    damping = 1e-3 * (jacobian**2).sum() / min(jacobian.shape)
    normal = jacobian.T @ jacobian + damping * np.eye(model.size)
    expected = model.flat_weights().numpy() - np.linalg.solve(normal, jacobian.T @ r)
    result = fit(
        model, points, y.numpy(), gradients=g.numpy(), gradient_weight=weight, steps=1, rng=0
    )
    np.testing.assert_allclose(result.model.flat_weights(), expected, rtol=1e-9, atol=1e-11)
    assert result.history[0] == pytest.approx(r @ r, rel=1e-11)
    assert result.history[1] < result.history[0]
    assert result.reason == "step limit"
    assert result.converged is False
    assert result.steps == 1


def test_the_same_minimum_as_scipy():
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
    result = fit(model, x, values, rng=0)
    assert result.history[-1] == pytest.approx(2 * peer.cost, rel=1e-9)
    assert result.reason == "no further decrease"
    assert result.converged is False
    assert (np.diff(result.history) <= 0).all()
    loss = (result.model(torch.from_numpy(x)) - torch.from_numpy(values)).square().mean()
    slopes = torch.autograd.grad(loss, list(result.model.parameters()))
    assert max(slope.abs().max().item() for slope in slopes) < 1e-7


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_the_sobolev_loss_of_each_member(method):
    model = square_net(members=3)
    x, _, g = tensors()
    values = np.stack([surface(SQUARE) * s for s in (1.0, 2.0, -1.0)])
    result = fit(model, SQUARE, values, gradients=surface_gradient(SQUARE), gradient_weight=0.7,
                 method=method, steps=3, rng=0)  # fmt: skip
    assert result.history.shape == (4, 3)
    assert result.gradient_rms.shape == (3,)
    for s in range(3):
        for network, loss in [(model, result.history[0, s]), (result.model, result.history[-1, s])]:
            member_values, member_gradients = network.member(s).value_and_gradient(x)
            by_values = (member_values - torch.from_numpy(values[s])).square().mean()
            by_gradients = (member_gradients - g).square().sum(1).mean()
            assert loss == pytest.approx((by_values + 0.7 * by_gradients).item(), rel=1e-12)
        assert result.gradient_rms[s] == pytest.approx(by_gradients.sqrt().item(), rel=1e-12)
        assert result.rms[s] == pytest.approx(by_values.sqrt().item(), rel=1e-12)


def test_a_gradient_weight_of_zero_is_a_fit_of_values():
    model = square_net()
    options = {"steps": 5, "rng": 0}
    plain = fit(model, SQUARE, surface(SQUARE), **options)
    weightless = fit(model, SQUARE, surface(SQUARE), gradients=surface_gradient(SQUARE),
                     gradient_weight=0.0, **options)  # fmt: skip
    np.testing.assert_allclose(weightless.history[:3], plain.history[:3], rtol=1e-9)


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


def test_a_member_that_is_done_stays_as_it_is():
    model = square_net(members=2)
    # The first member is not exact, so that it would move if it went on.
    own = model(torch.from_numpy(SQUARE))[0].detach().numpy() + 1e-8 * surface(SQUARE)
    values = np.stack([own, surface(SQUARE)])
    result = fit(model, SQUARE, values, steps=3, tolerance=1e-6, rng=0)
    alone = fit(model.member(1), SQUARE, surface(SQUARE), steps=3, tolerance=1e-6, rng=0)
    np.testing.assert_allclose(result.history[:, 1], alone.history, rtol=1e-9)
    assert torch.equal(result.model.flat_weights()[0], model.flat_weights()[0])
    assert result.reason == ("tolerance reached", "step limit")
    assert result.converged.tolist() == [True, False]
    assert result.steps == 3


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("with_gradients", [False, True])
def test_adam_agrees_with_a_plain_torch_loop(batch_size, with_gradients):
    model = square_net()
    reference = copy.deepcopy(model)
    x, y, g = tensors()
    optimiser = torch.optim.Adam(reference.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=7)
    generator = np.random.default_rng(9)
    order = [rows for _ in range(3) for rows in np.split(generator.permutation(25), [10, 20])]
    for step in range(7):
        rows = slice(None) if batch_size is None else order[step]
        values, gradients = reference.value_and_gradient(x[rows], create_graph=True)
        loss = (values - y[rows]).square().mean()
        if with_gradients:
            loss = loss + 2.0 * (gradients - g[rows]).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    result = fit(model, SQUARE, y.numpy(), gradients=g.numpy() if with_gradients else None,
                 gradient_weight=2.0, method="adam", steps=7, learning_rate=0.05,
                 batch_size=batch_size, rng=9)  # fmt: skip
    np.testing.assert_allclose(result.model.flat_weights(), reference.flat_weights(), rtol=1e-10)


def test_what_is_not_given_is_what_is_documented():
    arguments = (square_net(), SQUARE, surface(SQUARE))
    options = {"gradients": surface_gradient(SQUARE), "steps": 3, "rng": 0}
    for method, given in (
        ("levenberg-marquardt", {"gradient_weight": 1.0}),
        ("adam", {"gradient_weight": 1.0, "learning_rate": 0.01}),
    ):
        left_out, written = (
            fit(*arguments, method=method, **options, **more) for more in ({}, given)
        )
        assert torch.equal(left_out.model.flat_weights(), written.model.flat_weights())
    point = MLP(1, (1,), rng=0), np.zeros((1, 1)), np.ones(1)
    assert fit(*point, method="adam", rng=0).steps == 2000


def test_adam_lowers_the_loss():
    result = fit(square_net((16,)), SQUARE, surface(SQUARE), method="adam", steps=400, rng=0)
    assert result.history[-1] < 0.01 * result.history[0]
    assert (result.method, result.converged) == ("adam", False)


def test_converged_compares_the_root_of_the_loss_with_the_tolerance():
    options = {"method": "adam", "steps": 30, "rng": 0}
    root = np.sqrt(fit(square_net(), SQUARE, surface(SQUARE), **options).history[-1])
    for tolerance, converged in [(0.99 * root, False), (1.01 * root, True)]:
        result = fit(square_net(), SQUARE, surface(SQUARE), tolerance=tolerance, **options)
        assert result.converged is converged
        assert result.reason == ("tolerance reached" if converged else "step limit")


@pytest.mark.parametrize(
    "options", [{}, {"method": "adam"}, {"method": "adam", "batch_size": 7}], ids=str
)
def test_the_same_arguments_give_the_same_bits_and_nothing_else_changes(options):
    model = square_net((8,), members=2)
    before, inputs = model.flat_weights(), SQUARE.copy()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (
        fit(model, inputs, surface(SQUARE), steps=20, rng=4, **options) for _ in range(2)
    )
    assert torch.equal(first.model.flat_weights(), second.model.flat_weights())
    assert not torch.equal(first.model.flat_weights(), before)
    assert torch.equal(model.flat_weights(), before)
    assert all(p.grad is None for m in (model, first.model) for p in m.parameters())
    assert (inputs == SQUARE).all()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


def test_other_minibatches_give_other_weights():
    runs = [
        fit(square_net(), SQUARE, surface(SQUARE), method="adam", steps=5, batch_size=5, rng=seed)
        for seed in (0, 1)
    ]
    assert not torch.equal(*(run.model.flat_weights() for run in runs))


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


def test_a_short_report_and_a_silent_bar(capfd):
    result = fit(square_net(members=2), SQUARE, surface(SQUARE), steps=2, rng=0)
    assert str(result).startswith("levenberg-marquardt, 2 steps: value RMS ")
    assert f"value RMS {max(result.rms):.2e} (" in str(result)
    assert str(result).endswith("(0 of 2 reached the tolerance)")
    assert capfd.readouterr().err == ""
    assert result.seconds > 0.0


@pytest.mark.parametrize("method", METHODS)
def test_an_infinite_loss_is_an_error(method):
    with pytest.raises(FitDiverged, match=r"step 0 is inf.*data of smaller size") as caught:
        fit(square_net(), SQUARE, surface(SQUARE) * 1e200, method=method, rng=0)
    assert (caught.value.step, caught.value.loss) == (0, float("inf"))


@pytest.mark.parametrize("steps", [1, 50])
def test_a_diverging_fit_is_an_error(steps):
    options = {"method": "adam", "learning_rate": 1e100, "steps": steps, "rng": 0}
    with pytest.raises(FitDiverged, match="smaller learning_rate, a smaller scale") as caught:
        fit(square_net(activation="relu"), SQUARE, surface(SQUARE), **options)
    assert caught.value.step == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_does_not_need_the_global_switch_for_gradients(method):
    arguments = (square_net(), SQUARE, surface(SQUARE))
    plain = fit(*arguments, method=method, steps=3, rng=0)
    with torch.no_grad():
        switched_off = fit(*arguments, method=method, steps=3, rng=0)
    assert torch.equal(plain.model.flat_weights(), switched_off.model.flat_weights())


def test_a_singular_system_gives_no_step():
    one = torch.ones(1, 3, 5, dtype=torch.float64)
    step = _damped_step(one, one[..., 0], torch.zeros(1, dtype=torch.float64))
    assert step.isnan().all()


def test_gradients_stored_in_the_parameters_are_not_copied():
    model = square_net()
    model(torch.from_numpy(SQUARE)).sum().backward()
    result = fit(model, SQUARE, surface(SQUARE), steps=1, rng=0)
    assert all(parameter.grad is None for parameter in result.model.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"rng": None}, TypeError, "fit needs rng=..., an integer seed or a numpy Gen.*try rng=0"),
        ({"method": "sgd"}, ValueError, "among levenberg-marquardt, adam, and got 'sgd'"),
        ({"points": SQUARE[:0], "values": np.zeros(0)}, ValueError, "at least one point"),
        ({"points": SQUARE[:, :1]}, ValueError, "shape"),
        ({"points": SQUARE.astype(np.float32)}, TypeError, "float64"),
        ({"points": SQUARE * np.nan}, ValueError, "finite"),
        ({"values": np.zeros(24)}, ValueError, r"values of shape \(25,\), and got \(24,\)"),
        ({"values": np.zeros((25, 1))}, ValueError, r"and got \(25, 1\)"),
        ({"values": np.zeros((2, 25))}, ValueError, r"and got \(2, 25\)"),
        ({"values": np.zeros(25, np.float32)}, TypeError, r"got float32; try values.astype"),
        ({"values": np.full(25, np.inf)}, ValueError, "finite values"),
        ({"gradients": np.zeros((25, 1))}, ValueError, r"gradients of shape \(25, 2\)"),
        ({"gradients": np.zeros((25, 2), int)}, TypeError, "gradients.astype"),
        ({"gradient_weight": -1.0}, ValueError, "gradient_weight >= 0, and got -1.0"),
        ({"steps": 0}, ValueError, "steps as an integer of 1 or more, and got 0"),
        ({"steps": True}, ValueError, "steps as an integer of 1 or more, and got True"),
        (
            {"method": "adam", "batch_size": True},
            ValueError,
            "batch_size as an integer .* got True",
        ),
        ({"learning_rate": 0.1}, ValueError, 'options of method="adam" only'),
        ({"batch_size": 5}, ValueError, 'options of method="adam" only'),
        ({"method": "adam", "batch_size": 0}, ValueError, "batch_size as an integer of 1 or more"),
        ({"method": "adam", "learning_rate": 0.0}, ValueError, "learning_rate above 0, and got"),
        ({"tolerance": -1e-9}, ValueError, "tolerance of 0 or more"),
        ({"model": torch.nn.Linear(2, 1)}, TypeError, "a gradnotes MLP, and got Linear"),
        ({"model": square_net().float()}, TypeError, r"try \.double\(\)"),
        ({"model": square_net().requires_grad_(False)}, ValueError, "some are frozen"),
    ],
)
def test_wrong_arguments_are_refused(changes, error, words):
    arguments = {"model": square_net(), "points": SQUARE, "values": surface(SQUARE), "rng": 0}
    with pytest.raises(error, match=words):
        fit(**(arguments | changes))
