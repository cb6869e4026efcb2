import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnotes.networks import MLP, make_generator

torch.set_num_threads(1)

SMOOTH = ["tanh", "softplus", "sin"]
NUMPY_ACTIVATIONS = {
    "tanh": np.tanh,
    "softplus": lambda z: np.log1p(np.exp(z)),
    "sin": np.sin,
    "relu": lambda z: np.where(z.real > 0, z, 0.0),
}
SHAPES = [((5,), None), ((4, 6), None), ((5,), 3), ((4, 6), 3)]


def make_points(count=7, dimension=2, seed=5):
    draws = np.random.default_rng(seed).uniform(-1.0, 3.0, (count, dimension))
    return torch.from_numpy(draws)


def make_model(hidden=(5,), members=None, activation="tanh", **options):
    domain = [(-1.0, 3.0), (0.0, 2.5)]
    return MLP(2, hidden, activation=activation, members=members, domain=domain, rng=11, **options)


def numpy_values(model, points, member=None):
    """A forward pass of our own, for complex points too."""
    pick = (
        (lambda p: p.detach().numpy()) if member is None else lambda p: p.detach().numpy()[member]
    )
    layer = (points - model.centre.numpy()) / model.half_width.numpy()
    layers = list(zip(model.weights, model.biases, strict=True))
    for weight, bias in layers[:-1]:
        layer = NUMPY_ACTIVATIONS[model.activation](layer @ pick(weight) + pick(bias))
    weight, bias = layers[-1]
    return (layer @ pick(weight) + pick(bias))[:, 0]


def complex_step_gradients(model, points, member=None):
    columns = []
    for k in range(points.shape[1]):
        shifted = points.astype(np.complex128)
        shifted[:, k] += 1e-30j
        columns.append(numpy_values(model, shifted, member).imag / 1e-30)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("activation", [*SMOOTH, "relu"])
@pytest.mark.parametrize(("hidden", "members"), SHAPES)
def test_values_and_gradients_agree_with_a_complex_step(activation, hidden, members):
    model, points = make_model(hidden, members, activation), make_points()
    values, gradients = model.value_and_gradient(points)
    leading = () if members is None else (members,)
    assert values.shape == (*leading, 7)
    assert gradients.shape == (*leading, 7, 2)
    torch.testing.assert_close(values, model(points), rtol=0, atol=2e-15)
    for s in range(members or 1):
        which = None if members is None else s
        ours = (values, gradients) if members is None else (values[s], gradients[s])
        np.testing.assert_allclose(ours[0], numpy_values(model, points.numpy(), which), atol=1e-13)
        expected = complex_step_gradients(model, points.numpy(), which)
        np.testing.assert_allclose(ours[1], expected, rtol=0, atol=1e-13)


def test_closed_form_with_rational_weights_fixes_the_order_of_the_weights():
    x = sp.Symbol("x")
    u = (x - 2) / 2
    formula = (
        sp.Rational(3, 2) * sp.tanh(u / 2 - sp.Rational(1, 4))
        - sp.Rational(2, 3) * sp.tanh(-3 * u + sp.Rational(1, 3))
        + sp.Rational(1, 5)
    )
    model = MLP(1, (2,), domain=(0, 4), rng=0)
    weights = [1 / 2, -3, 3 / 2, -2 / 3, -1 / 4, 1 / 3, 1 / 5]
    model.set_flat_weights(torch.tensor(weights, dtype=torch.float64))
    at = [sp.Rational(1, 3), sp.Rational(7, 2)]
    points = torch.tensor([[float(p)] for p in at], dtype=torch.float64)
    values, gradients = model.value_and_gradient(points)
    exact = [float(formula.subs(x, p).evalf(30)) for p in at]
    slopes = [float(formula.diff(x).subs(x, p).evalf(30)) for p in at]
    np.testing.assert_allclose(values, exact, rtol=1e-14)
    np.testing.assert_allclose(gradients[:, 0], slopes, rtol=1e-14)
    assert model.flat_weights().tolist() == weights


@pytest.mark.parametrize("activation", SMOOTH)
def test_central_differences_converge_to_the_gradient_with_order_two(activation):
    model, points = make_model((6, 6), activation=activation), make_points()
    _, gradients = model.value_and_gradient(points)
    errors = []
    for h in (2e-2, 1e-2):
        shift = torch.tensor([0.0, h], dtype=torch.float64)
        with torch.no_grad():
            slope = (model(points + shift) - model(points - shift)) / (2 * h)
        errors.append((slope - gradients[:, 1]).abs().max().item())
    assert 1.95 < np.log2(errors[0] / errors[1]) < 2.05


@given(low=st.floats(-50, 50), width=st.floats(0.1, 100), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_domain_is_a_change_of_variable(low, width, seed):
    scaled = MLP(1, (4,), domain=[(low, low + width)], rng=seed)
    plain = MLP(1, (4,), rng=seed)
    unit = torch.tensor([[-1.0], [0.25], [1.0]], dtype=torch.float64)
    half = ((low + width) - low) / 2
    values, gradients = scaled.value_and_gradient((low + (low + width)) / 2 + half * unit)
    expected_values, expected_gradients = plain.value_and_gradient(unit)
    torch.testing.assert_close(values, expected_values, rtol=0, atol=1e-11)
    torch.testing.assert_close(gradients * half, expected_gradients, rtol=0, atol=1e-11)


def jacobian_by_backward(model, points, outputs_of):
    """Rows d output / d weights of a single network, one backward pass for each output."""
    rows = []
    for output in outputs_of(model, points).reshape(-1):
        parts = torch.autograd.grad(output, list(model.parameters()), retain_graph=True)
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", [(3,), (3, 4)])
def test_weight_jacobian_agrees_with_one_backward_pass_per_output(activation, hidden):
    model, points = make_model(hidden, activation=activation), make_points()
    of_values, of_gradients = model.weight_jacobian(points, gradients=True)
    expected = jacobian_by_backward(model, points, lambda m, p: m(p))
    torch.testing.assert_close(of_values, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(model.weight_jacobian(points), expected, rtol=0, atol=1e-13)

    def gradients_of(m, p):
        return m.value_and_gradient(p, create_graph=True)[1] + 0.0 * m.biases[-1]

    expected = jacobian_by_backward(model, points, gradients_of).reshape(7, 2, model.size)
    torch.testing.assert_close(of_gradients, expected, rtol=0, atol=1e-12)


def test_weight_jacobian_agrees_with_finite_differences():
    model, points = make_model((3,)), make_points()
    flat, h = model.flat_weights(), 1e-6
    of_values, of_gradients = model.weight_jacobian(points, gradients=True)
    for p in range(model.size):
        sides = []
        for sign in (1, -1):
            shifted = flat.clone()
            shifted[p] += sign * h
            model.set_flat_weights(shifted)
            sides.append(model.value_and_gradient(points))
        value_slope, gradient_slope = ((a - b) / (2 * h) for a, b in zip(*sides, strict=True))
        torch.testing.assert_close(of_values[:, p], value_slope, rtol=0, atol=1e-8)
        torch.testing.assert_close(of_gradients[:, :, p], gradient_slope, rtol=0, atol=1e-8)


def test_members_are_the_ensemble():
    ensemble, points = make_model((4, 3), members=3), make_points()
    values, gradients = ensemble.value_and_gradient(points)
    jacobian, slopes = ensemble.weight_jacobian(points, gradients=True)
    assert ensemble.flat_weights().shape == (3, ensemble.size)
    assert ensemble.size == 2 * 4 + 4 * 3 + 3 + 4 + 3 + 1
    for s in range(3):
        member = ensemble.member(s)
        assert member.size == ensemble.size
        assert torch.equal(member.flat_weights(), ensemble.flat_weights()[s])
        pairs = [
            (values[s], member(points)),
            (gradients[s], member.value_and_gradient(points)[1]),
            (jacobian[s], member.weight_jacobian(points)),
            (slopes[s], member.weight_jacobian(points, gradients=True)[1]),
        ]
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    assert not torch.equal(values[0], values[1])


def test_a_member_is_a_copy():
    ensemble = make_model(members=2)
    before = ensemble.flat_weights()
    member = ensemble.member(1)
    member.set_flat_weights(torch.zeros_like(member.flat_weights()))
    assert torch.equal(ensemble.flat_weights(), before)
    with pytest.raises(ValueError, match="a member 2, and got members=2"):
        ensemble.member(2)
    with pytest.raises(ValueError, match="members=None"):
        member.member(0)


@pytest.mark.parametrize("activation", [*SMOOTH, "relu"])
@pytest.mark.parametrize("hidden", [(5,), (4, 6)])
def test_sequential_gives_the_same_values(activation, hidden):
    model, points = make_model(hidden, activation=activation), make_points()
    state = torch.get_rng_state()
    sequential = model.to_sequential()
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(sequential(points), model(points), rtol=1e-14, atol=1e-14)
    with pytest.raises(ValueError, match=r"try \.member\(0\)"):
        make_model(members=2).to_sequential()


def test_softplus_has_no_step_in_float64():
    model = MLP(1, (1,), activation="softplus", rng=0)
    model.set_flat_weights(torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    points = torch.linspace(-60.0, 60.0, 2401, dtype=torch.float64)[:, None]
    values, gradients = model.value_and_gradient(points)
    z = points.numpy()[:, 0]
    np.testing.assert_allclose(values, np.logaddexp(0.0, z), rtol=2e-15)
    np.testing.assert_allclose(gradients[:, 0], 1 / (1 + np.exp(-z)), rtol=2e-15)


def test_the_weights_follow_the_documented_law():
    model = MLP(4, (30, 30), members=200, scale=3.0, domain=[(0, 8)] * 4, rng=2)
    deviations = [weight.std().item() for weight in model.weights]
    np.testing.assert_allclose(deviations, [3 / 2, 30**-0.5, 30**-0.5], rtol=0.03)
    assert all((bias == 0).all() for bias in model.biases[1:])
    # A point that is uniform in the cube has variance 1/3 in each direction.
    distances = model.biases[0].square() / model.weights[0].square().sum(-2)
    assert distances.mean().item() == pytest.approx(1 / 3, rel=0.05)
    switches = -MLP(1, (4000,), rng=2).biases[0] / MLP(1, (4000,), rng=2).weights[0][0]
    assert switches.abs().max() <= 1.0
    np.testing.assert_allclose(switches.detach().quantile(torch.tensor([0.25, 0.75]).double()),
                               [-0.5, 0.5], atol=0.06)  # fmt: skip


def test_seeds_and_generators():
    first, again, other = (MLP(2, (3,), rng=seed).flat_weights() for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(MLP(2, (3,), scale=2.0, rng=4).flat_weights(), first)
    assert torch.equal(MLP(2, (3,), rng=np.random.default_rng(4)).flat_weights(), first)
    generator = np.random.default_rng(4)
    assert make_generator(generator) is generator
    drawn = [MLP(2, (3,), rng=generator).flat_weights() for _ in range(2)]
    assert not torch.equal(*drawn)


def test_global_random_state_is_left_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = make_model((4, 4), members=2)
    model.weight_jacobian(make_points(), gradients=True)
    model.member(0).to_sequential()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


def test_derivatives_leave_grad_alone_and_keep_no_graph():
    model, points = make_model(), make_points().requires_grad_(True)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    with torch.no_grad():
        values, gradients = model.value_and_gradient(points)
    model.weight_jacobian(points.detach(), gradients=True)
    assert not values.requires_grad
    assert not gradients.requires_grad
    assert points.grad is None
    assert all((parameter.grad == 7.0).all() for parameter in model.parameters())
    assert all(t.requires_grad for t in model.value_and_gradient(points, create_graph=True))


def test_state_and_weights_survive_a_round_trip():
    model = make_model((4, 3), members=2)
    other = MLP(2, (4, 3), members=2, rng=0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(make_points()), model(make_points()))
    other.set_flat_weights(torch.zeros_like(other.flat_weights()))
    other.set_flat_weights(model.flat_weights())
    assert torch.equal(other(make_points()), model(make_points()))
    with pytest.raises(ValueError, match=r"expected weights of shape \(2, 31\), and got \(31,\)"):
        other.set_flat_weights(model.flat_weights()[0])
    with pytest.raises(TypeError, match=r"weights in torch.float64, and got torch.float32"):
        other.set_flat_weights(model.flat_weights().float())
    with pytest.raises(TypeError, match=r"expected a tensor, and got ndarray; try torch"):
        other.set_flat_weights(model.flat_weights().numpy())


@pytest.mark.parametrize("index", [True, 0.0, "0", None])
def test_the_index_of_a_member_is_an_integer(index):
    with pytest.raises(TypeError, match=f"as an integer, and got {index!r}"):
        make_model(members=2).member(index)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, TypeError, "MLP needs rng=.*try rng=0"),
        ({"rng": 0.5}, TypeError, "got 0.5"),
        ({"rng": True}, TypeError, "got True"),
        ({"rng": -1}, ValueError, "seed of 0 or more, and got rng=-1"),
        ({"rng": 0, "activation": "step"}, ValueError, "among tanh, softplus, sin, relu"),
        ({"rng": 0, "scale": 0.0}, ValueError, "finite scale above 0, and got 0.0"),
        ({"rng": 0, "scale": float("nan")}, ValueError, "got nan"),
        ({"rng": 0, "members": 0}, ValueError, "1 or more, and got 0"),
        ({"rng": 0, "hidden": ()}, ValueError, r"such as \(16,\), and got \(\)"),
        ({"rng": 0, "hidden": 16}, ValueError, r"such as \(16,\), and got 16"),
        ({"rng": 0, "hidden": (2.5,)}, TypeError, "as integers, and got 2.5"),
        ({"rng": 0, "inputs": 0}, ValueError, "1 or more, and got 0"),
        ({"rng": 0, "domain": [(0, 1)]}, ValueError, "2 finite pairs"),
        ({"rng": 0, "domain": [(0, 1), (2, 2)]}, ValueError, "low < high"),
        ({"rng": 0, "domain": [(0, 1), (0, np.inf)]}, ValueError, "2 finite pairs"),
        ({"rng": 0, "domain": [(0, 1), (0, 5e-324)]}, ValueError, "2 finite pairs"),
        ({"rng": 0, "domain": [(0, 1), (-1e308, 1e308)]}, ValueError, "2 finite pairs"),
        ({"rng": 0, "domain": "ab"}, ValueError, "2 finite pairs .* got 'ab'"),
    ],
)
def test_wrong_arguments_are_refused(options, error, words):
    arguments = {"inputs": 2, "hidden": (3,)} | options
    with pytest.raises(error, match=words):
        MLP(arguments.pop("inputs"), arguments.pop("hidden"), **arguments)


@pytest.mark.parametrize("call", ["forward", "value_and_gradient", "weight_jacobian"])
def test_wrong_points_are_refused(call):
    model = make_model()
    method = getattr(model, call)
    with pytest.raises(TypeError, match=r"got torch.float32; try points.to\(torch.float64\)"):
        method(torch.zeros(3, 2))
    with pytest.raises(TypeError, match=r"got ndarray; try torch.from_numpy"):
        method(np.zeros((3, 2)))
    for shape in [(3, 1), (3, 3), (3,), (2, 3, 2)]:
        with pytest.raises(ValueError, match=r"expected points of shape \(n, 2\), and got"):
            method(torch.zeros(shape, dtype=torch.float64))
    with pytest.raises(ValueError, match="try a row for each point"):
        method(torch.zeros(3, 3, dtype=torch.float64))
