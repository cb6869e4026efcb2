from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.func import grad, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from gradnotes import derivatives
from gradnotes.networks import MLP

torch.set_num_threads(1)
ATEN = torch.ops.aten

# Each activation and its slope in NumPy, for complex numbers too; then the activation in torch.
OURS = {
    "tanh": (np.tanh, lambda z: 1.0 / np.cosh(z) ** 2, torch.tanh),
    "softplus": (
        lambda z: np.log1p(np.exp(z)),
        lambda z: 1.0 / (1.0 + np.exp(-z)),
        lambda z: torch.logaddexp(z, torch.zeros_like(z)),
    ),
    "sin": (np.sin, np.cos, torch.sin),
    "relu": (lambda z: z * (z.real > 0), lambda z: (z.real > 0) + 0.0 * z, torch.relu),
}
SMOOTH = ["tanh", "softplus", "sin"]
every_shape = pytest.mark.parametrize(
    ("activation", "inputs", "depth"), [*product(OURS, [1, 2, 8], [1, 2, 3])]
)


def split(model, flat):
    """The matrices and biases in a vector of weights of NumPy or torch."""
    shapes = list(pairwise((model.inputs, *model.hidden, 1)))
    sizes = [*map(np.prod, shapes), *(columns for _, columns in shapes)]
    pieces = [flat[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True)]
    matrices = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=False)]
    return matrices, pieces[len(shapes) :]


def sums(model, flat, inputs, activate):
    """What each layer adds up, for one network in NumPy or torch; the last is the value."""
    (matrix, *matrices), (bias, *biases) = split(model, flat)
    found = [inputs @ matrix + bias]
    for matrix, bias in zip(matrices, biases, strict=True):
        found.append(activate(found[-1]) @ matrix + bias)
    return found


def own_jets(model, flats, points):
    """Values and gradients (S, n, 1 + d), forwards in NumPy, for complex numbers too."""
    centre, half_width = model.centre.numpy(), model.half_width.numpy()
    activate, slope, _ = OURS[model.activation]
    jets = []
    for flat in flats:
        matrices, _ = split(model, flat)
        *hidden, value = sums(model, flat, (points - centre) / half_width, activate)
        change = matrices[0] / half_width[:, None]
        for z, matrix in zip(hidden, matrices[1:], strict=True):
            change = (change * slope(z)[:, None]) @ matrix
        jets.append(np.column_stack([value, change[..., 0]]))
    return np.stack(jets)


def their_jets(model, flats, points):
    """Values and gradients (S, n, 1 + d) as the package finds them."""
    model.set_flat_weights(torch.from_numpy(flats.reshape(model.flat_weights().shape)))
    values, gradients = model.value_and_gradient(torch.from_numpy(points))
    jets = torch.cat([values[..., None], gradients], -1)
    return jets.reshape(len(flats), *jets.shape[-2:]).numpy()


def complex_step(function, count):
    """The derivatives of a function of a vector at 0, in the last axis; no digits are lost."""
    return np.stack([function(1e-30j * e).imag / 1e-30 for e in np.eye(count)], -1)


def differences(function, count, step=5e-4):
    """The same by central differences of order four."""

    def along(e):
        near, far = (function(h * e) - function(-h * e) for h in (step, 2 * step))
        return (8.0 * near - far) / (12.0 * step)

    return np.stack([along(e) for e in np.eye(count)], -1)


def by_steps(differentiate, jets, model, points):
    """Gradients, Hessians, and the weight Jacobians of the values and of the gradients."""
    flats, points = model.flat_weights().reshape(-1, model.size).numpy(), points.numpy()
    in_inputs = differentiate(lambda shift: jets(model, flats, points + shift), model.inputs)
    in_weights = differentiate(lambda shift: jets(model, flats + shift, points), model.size)
    return [in_inputs[:, :, 0], in_inputs[:, :, 1:], in_weights[:, :, 0], in_weights[:, :, 1:]]


def by_hand(model, points):
    """What the package gives for the same."""
    _, gradients, hessians = model.value_gradient_and_hessian(points)
    found = [gradients, hessians, *model.weight_jacobian(points, gradients=True)]
    return [part.numpy()[None] if model.members is None else part.numpy() for part in found]


def by_autograd(model, points):
    """The values and the same by torch, on a forward pass of ours."""

    def value(flat, point):
        inputs = (point - model.centre) / model.half_width
        return sums(model, flat, inputs, OURS[model.activation][2])[-1][0]

    def everywhere(function):
        rows = vmap(vmap(function, (None, 0)), (0, None))
        return rows(model.flat_weights().reshape(-1, model.size), points)

    slope = grad(value, 1)
    of_each = (value, slope, jacrev(slope, 1), grad(value), jacrev(slope))
    return [*map(everywhere, of_each)]


def prepared(model, points):
    """The arguments of the functions below the methods."""
    flats = model.flat_weights().reshape(-1, model.size)
    return model.layers_from(flats), model.scaled(points)


def assert_near(found, expected, tolerance):
    """Compare whole arrays, by their norms."""
    for ours, theirs in zip(found, expected, strict=True):
        assert tuple(ours.shape) == tuple(theirs.shape)
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs)


@st.composite
def problems(draw, activation, inputs, depth):
    """A network or an ensemble, with or without a domain, and points in it, off the kinks."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    hidden = draw(st.lists(st.integers(3, 5), min_size=depth, max_size=depth))
    members = draw(st.sampled_from([None, 1, 3]))
    low, width = generator.uniform(-3.0, 2.0, inputs), generator.uniform(2.0, 9.0, inputs)
    domain = np.stack([low, low + width], 1) if draw(st.booleans()) else None
    options = {"activation": activation, "members": members, "domain": domain, "scale": 1.0}
    model = MLP(inputs, hidden, rng=generator, **options)
    noise = torch.from_numpy(generator.normal(0.0, 0.3, model.flat_weights().shape))
    model.set_flat_weights(model.flat_weights() + noise)  # no bias is zero
    at = generator.uniform(-1.0, 1.0, (60, inputs))
    if activation == "relu":
        flats = model.flat_weights().reshape(-1, model.size).numpy()
        hidden_sums = [sums(model, flat, at, OURS["relu"][0])[:-1] for flat in flats]
        nearest = [np.abs(z).min(-1) for of_member in hidden_sums for z in of_member]
        at = at[np.min(nearest, 0) > 0.02]
    count = draw(st.integers(4, 7))
    assume(len(at) >= count)
    return model, model.centre + model.half_width * torch.from_numpy(at[:count])


@every_shape
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_derivatives_are_those_of_autograd(activation, inputs, depth, data):
    model, points = data.draw(problems(activation, inputs, depth))
    values, gradients, hessians, *jacobians = by_autograd(model, points)
    assert_near(by_hand(model, points), [gradients, hessians, *jacobians], 1e-12)
    assert_near([derivatives.values(*prepared(model, points))], [values], 1e-12)
    single = model.members is None
    own = hessians.cos()[..., 0]  # any vectors will do
    products = [
        model.hessian_vector_product(points, v) for v in (own[0], own[0] if single else own)
    ]
    two, three = model.value_and_gradient(points), model.value_gradient_and_hessian(points)
    found = [model(points).detach(), *two, *three[:2], model.weight_jacobian(points), *products]
    expected = [values, values, gradients, values, gradients, jacobians[0]]
    expected += [torch.einsum("snkl,snl->snk", hessians, v.expand_as(own)) for v in (own[0], own)]
    assert_near([part[None] if single else part for part in found], expected, 1e-12)


@every_shape
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_derivatives_are_those_of_complex_steps(activation, inputs, depth, data):
    model, points = data.draw(problems(activation, inputs, depth))
    expected = by_steps(complex_step, own_jets, model, points)
    assert_near(by_hand(model, points), expected, 1e-12)


@every_shape
@given(data=st.data())
@settings(max_examples=2, deadline=None)
def test_derivatives_are_those_of_central_differences(activation, inputs, depth, data):
    model, points = data.draw(problems(activation, inputs, depth))
    found = by_hand(model, points)
    assert_near(found, by_steps(differences, their_jets, model, points), 1e-9)


def test_central_differences_converge_with_order_four():
    model = MLP(2, (5, 4), members=2, domain=[(-1.0, 3.0), (0.0, 2.5)], rng=11)
    points = torch.from_numpy(np.random.default_rng(5).uniform(0.0, 2.5, (7, 2)))
    found, errors = by_hand(model, points), []
    for step in (0.02, 0.01):
        expected = by_steps(partial(differences, step=step), their_jets, model, points)
        pairs = zip(found, expected, strict=True)
        errors.append([np.linalg.norm(ours - theirs) for ours, theirs in pairs])
    np.testing.assert_allclose(np.log2(np.divide(*errors)), 4.0, atol=0.05)


# Closed forms and identities


@pytest.mark.parametrize("activation", SMOOTH)
def test_closed_forms_with_rational_weights_fix_the_order_of_the_weights(activation):
    function = {"tanh": sp.tanh, "softplus": lambda z: sp.log(1 + sp.exp(z)), "sin": sp.sin}
    point = x, y = sp.symbols("x y")
    weights = a, b, c, d, v, w, p, q, r = sp.symbols("a b c d v w p q r")
    first, second = (x - 2) / 2, y + 1
    formula = (
        v * function[activation](a * first + c * second + p)
        + w * function[activation](b * first + d * second + q)
        + r
    )
    numbers = [sp.Rational(n, m) for n, m in [(1, 2), (-3, 1), (2, 3), (1, 4), (3, 2)]]
    numbers += [sp.Rational(n, m) for n, m in [(-2, 3), (-1, 4), (1, 3), (1, 5)]]
    at = dict(zip(weights, numbers, strict=True)) | {x: sp.Rational(7, 3), y: sp.Rational(-1, 8)}

    def exact(*derivatives):
        return np.array([float(each.subs(at).evalf(30)) for each in derivatives])

    model = MLP(2, (2,), activation=activation, domain=[(0, 4), (-2, 0)], rng=0)
    flat = torch.tensor([float(number) for number in numbers], dtype=torch.float64)
    model.set_flat_weights(flat)
    assert torch.equal(model.flat_weights(), flat)
    points = torch.tensor([[float(at[x]), float(at[y])]], dtype=torch.float64)
    found = [
        *model.value_gradient_and_hessian(points),
        *model.weight_jacobian(points, gradients=True),
    ]
    slopes = [formula.diff(s) for s in point]
    expected = [
        exact(formula),
        exact(*slopes)[None],
        exact(*(slope.diff(s) for slope in slopes for s in point)).reshape(1, 2, 2),
        exact(*(formula.diff(s) for s in weights))[None],
        exact(*(slope.diff(s) for slope in slopes for s in weights)).reshape(1, 2, 9),
    ]
    assert_near(found, expected, 1e-14)


@every_shape
@given(data=st.data())
@settings(max_examples=2, deadline=None)
def test_a_shift_of_the_inputs_is_a_shift_of_the_first_biases(activation, inputs, depth, data):
    model, points = data.draw(problems(activation, inputs, depth))
    gradients, hessians, of_values, of_gradients = by_hand(model, points)
    scaled = ((points - model.centre) / model.half_width).numpy()
    first = model.hidden[0]
    start = model.size - sum(model.hidden) - 1
    for s, flat in enumerate(model.flat_weights().reshape(-1, model.size).numpy()):
        shift = split(model, flat)[0][0].T / model.half_width.numpy()
        in_biases = of_values[s][:, start : start + first]
        slopes_in_biases = of_gradients[s][..., start : start + first]
        assert_near(
            [gradients[s], hessians[s]], [in_biases @ shift, slopes_in_biases @ shift], 1e-12
        )
        in_matrix = of_values[s][:, : inputs * first].reshape(-1, inputs, first)
        assert_near([in_matrix], [scaled[:, :, None] * in_biases[:, None]], 1e-15)
        assert_near([hessians[s].swapaxes(1, 2)], [hessians[s]], 1e-15)


def test_sines_of_one_wave_vector_solve_a_linear_equation():
    generator = np.random.default_rng(3)
    model, bias = MLP(3, (6,), activation="sin", rng=generator), 0.75
    wave = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    with torch.no_grad():
        model.weights[0].copy_(torch.outer(wave, torch.tensor([1, 1, -1, 1, -1, -1])))
        model.biases[1].fill_(bias)
    points, vectors = torch.from_numpy(generator.normal(size=(2, 9, 3)))
    values, _, hessians = model.value_gradient_and_hessian(points)
    expected = (bias - values)[:, None, None] * torch.outer(wave, wave)
    products = model.hessian_vector_product(points, vectors)
    assert_near([hessians, products[..., None]], [expected, expected @ vectors[..., None]], 1e-14)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_relu_network_without_biases_is_homogeneous_in_the_inputs_and_in_each_layer(depth):
    model = MLP(2, (5, 4, 3)[:depth], activation="relu", members=3, rng=depth)
    with torch.no_grad():
        for bias in model.biases:
            bias.zero_()
    points = torch.from_numpy(np.random.default_rng(8).normal(size=(9, 2)))
    values, gradients, hessians = model.value_gradient_and_hessian(points)
    assert hessians.eq(0.0).all()
    assert_near([(gradients * points).sum(-1)], [values], 1e-14)
    sizes = [weight[0].numel() for weight in model.weights]
    products = model.weight_jacobian(points) * model.flat_weights()[:, None]
    for of_layer in products[..., : sum(sizes)].split(sizes, -1):
        assert_near([of_layer.sum(-1)], [values], 1e-14)


def test_at_a_kink_both_derivatives_are_zero_as_in_torch():
    model = MLP(2, (2,), activation="relu", rng=0)  # 2 relu(x - y) - 3 relu(x)
    weights = [1.0, 1.0, -1.0, 0.0, 2.0, -3.0, 0.0, 0.0, 0.0]
    model.set_flat_weights(torch.tensor(weights, dtype=torch.float64))
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, -1.0], [0.0, 1.0], [-1.0, -1.0]]).double()
    found = by_hand(model, points)
    assert found[0].tolist() == [[[0, 0], [-3, 0], [2, -2], [0, 0], [0, 0]]]
    assert (found[1] == 0.0).all()
    for ours, theirs in zip(found, by_autograd(model, points)[1:], strict=True):
        assert np.array_equal(ours, theirs)


# Extreme arguments


def one_unit(activation, at):
    """The value and two derivatives of an activation, as a network with one unit."""
    model = MLP(1, (1,), activation=activation, rng=0)
    model.set_flat_weights(torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    found = model.value_gradient_and_hessian(torch.as_tensor(at, dtype=torch.float64)[:, None])
    return [part.reshape(-1).numpy() for part in found]


def test_softplus_has_no_step_in_float64():
    z = np.linspace(-60.0, 60.0, 2401)
    values, slopes, curvatures = one_unit("softplus", z)
    sigmoid = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(values, np.logaddexp(0.0, z), rtol=2e-15)
    np.testing.assert_allclose(slopes, sigmoid, rtol=2e-15)
    np.testing.assert_allclose(curvatures, sigmoid / (1 + np.exp(z)), rtol=0, atol=2e-16)


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        ("tanh", [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
        ("softplus", [0.0, 0.0, 0.0], [1e3, 1.0, 0.0]),
        ("relu", [0.0, 0.0, 0.0], [1e3, 1.0, 0.0]),
    ],
)
def test_far_out_activations_are_their_limits(activation, low, high):
    assert np.transpose(one_unit(activation, [-1e3, 1e3])).tolist() == [low, high]


def test_tanh_is_as_exact_for_small_weights():
    model = MLP(2, (5, 4), scale=1e-5, rng=0)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1.0, 1.0, (6, 2)))
    assert_near(by_hand(model, points), by_steps(complex_step, own_jets, model, points), 1e-12)
    assert_near([model.value_and_gradient(points)[0]], [model(points).detach()], 1e-12)


# Along directions, products of Jacobians, and many rows and members


@st.composite
def directed_problems(draw):
    """Layers, inputs and directions, which rows and members share or not."""
    shape = draw(
        st.tuples(st.sampled_from(list(OURS)), st.sampled_from([1, 2, 8]), st.integers(1, 3))
    )
    layers, inputs = prepared(*draw(problems(*shape)))
    members = draw(st.sampled_from([1, len(layers.weights[0])]))
    rows = draw(st.sampled_from([1, len(inputs)]))
    size = (members, draw(st.integers(1, 3)), rows, inputs.shape[1])
    directions = np.random.default_rng(draw(st.integers(0, 99))).normal(size=size)
    return layers, inputs, torch.from_numpy(directions)


@given(directed_problems())
@settings(max_examples=40, deadline=None)
def test_slopes_along_directions_combine_those_along_the_axes(problem):
    layers, inputs, directions = problem
    axes = torch.eye(inputs.shape[1], dtype=torch.float64)[None, :, None]
    of_values, of_gradients = derivatives.weight_jacobian(layers, inputs, axes)
    expected = torch.einsum(
        "sqnk,snkp->snqp", directions.expand(len(of_values), -1, len(inputs), -1), of_gradients
    )
    found = derivatives.weight_jacobian(layers, inputs, directions)
    assert_near(found, [of_values, expected], 1e-13)


@given(directed_problems())
@settings(max_examples=40, deadline=None)
def test_a_weight_gram_is_the_jacobian_times_its_transpose(problem):
    layers, inputs, directions = problem
    of_values, of_slopes = derivatives.weight_jacobian(layers, inputs, directions)
    jacobian = torch.cat([of_values[:, None], of_slopes.transpose(1, 2)], 1).flatten(1, 2)
    found = derivatives.weight_gram(layers, inputs, directions)
    assert_near([found], [jacobian @ jacobian.mT], 1e-14)
    assert_near([derivatives.weight_gram(layers, inputs)], [of_values @ of_values.mT], 1e-14)


def test_a_weight_gram_of_no_rows_is_empty():
    layers, inputs = prepared(MLP(2, (3,), rng=0), torch.zeros(0, 2).double())
    directions = torch.ones(1, 2, 1, 2).double()
    assert derivatives.weight_gram(layers, inputs, directions).shape == (1, 0, 0)


def assert_weight_gradients_are_transposed_jacobians(layers, inputs, seed):
    values, gradients = derivatives.value_and_gradient(layers, inputs)
    axes = torch.eye(inputs.shape[1], dtype=torch.float64)[None, :, None]
    of_values, of_gradients = derivatives.weight_jacobian(layers, inputs, axes)
    factors = torch.from_numpy(np.random.default_rng(seed).normal(size=(*gradients.shape[:2], 1)))

    def cotangents(rows, group, values, gradients, *, both):
        mine = factors[group, rows]
        return mine[..., 0] * values.cos(), mine * gradients.sin() if both else None

    in_values = torch.einsum("sn,snp->sp", factors[..., 0] * values.cos(), of_values)
    in_both = in_values + torch.einsum("snk,snkp->sp", factors * gradients.sin(), of_gradients)
    for both, expected in [(False, in_values), (True, in_both)]:
        found = derivatives.weight_gradient(layers, inputs, partial(cotangents, both=both))
        assert_near([found], [expected], 1e-12)


@given(directed_problems())
@settings(max_examples=40, deadline=None)
def test_weight_gradients_are_transposed_jacobians(problem):
    assert_weight_gradients_are_transposed_jacobians(*problem[:2], 0)


@pytest.mark.parametrize(("members", "count"), [(2, 0), (1, 1023), (1, 1025), (2, 2500), (7, 300)])
@pytest.mark.usefixtures("chunks_of_1024_rows")
def test_weight_gradients_sum_over_all_chunks(members, count):
    generator = np.random.default_rng(count)
    model = MLP(2, (4, 3), members=members, rng=generator)
    points = torch.from_numpy(generator.uniform(-1.0, 1.0, (count, 2)))
    assert_weight_gradients_are_transposed_jacobians(*prepared(model, points), 1)


@pytest.fixture
def chunks_of_1024_rows(monkeypatch):
    """Short passes for the networks below, whose widest layer has 4 units."""
    monkeypatch.setattr(derivatives, "ENTRIES", 4 * 1024)


def many(members, count):
    """An ensemble, points, vectors for each of them, and directions for each member too."""
    generator = np.random.default_rng(members)
    model = MLP(2, (4, 3), members=members, domain=[(-1.0, 1.0), (0.0, 4.0)], rng=generator)
    draws = [
        generator.uniform(-1.0, 1.0, (*size, 2))
        for size in [(count,), (count,), (members, 2, count)]
    ]
    return model, *map(torch.from_numpy, draws)


def everything(model, points, vectors, directions):
    """All that the module gives for each member and row."""
    layers, inputs = prepared(model, points)
    return [
        derivatives.values(layers, inputs),
        *derivatives.value_and_gradient(layers, inputs),
        *derivatives.value_gradient_and_hessian(layers, inputs),
        derivatives.hessian_vector_product(layers, inputs, vectors[None]),
        *derivatives.weight_jacobian(layers, inputs),
        *derivatives.weight_jacobian(layers, inputs, directions),
        *derivatives.weight_jacobian(layers, inputs, torch.ones((1, 1, 1, 2)).double()),
    ]


@pytest.fixture(scope="module")
def row_by_row():
    model, *arguments = many(3, 2500)
    rows = [[part[..., [i], :] for part in arguments] for i in range(2500)]
    found = [everything(model, *row) for row in rows]
    return model, arguments, [torch.cat(parts, 1) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("count", [0, 1, 400, 1023, 1024, 1025, 2500])
@pytest.mark.usefixtures("chunks_of_1024_rows")
def test_many_rows_are_the_rows_one_at_a_time(row_by_row, count):
    model, arguments, expected = row_by_row
    found = everything(model, *(part[..., :count, :] for part in arguments))
    assert_near(found, [part[:, :count] for part in expected], 1e-13)


@pytest.mark.parametrize(("members", "count"), [(3, 400), (2, 1025), (13, 100), (3, 0)])
@pytest.mark.usefixtures("chunks_of_1024_rows")
def test_many_members_are_the_members_one_at_a_time(members, count):
    model, points, vectors, directions = many(members, count)
    found = everything(model, points, vectors, directions)
    by_member = [
        everything(model.member(s), points, vectors, directions[[s]]) for s in range(members)
    ]
    expected = [torch.cat(parts) for parts in zip(*by_member, strict=True)]
    assert_near(found, expected, 1e-13)


class LargeProducts(TorchDispatchMode):
    """Counts products of one row with a matrix of weights of 64 rows and columns."""

    rows = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        # In inference mode a matmul comes whole, and not as the product that it turns into.
        products = (ATEN.matmul, ATEN.mm, ATEN.bmm, ATEN.addmm, ATEN.baddbmm)
        is_product = function.overloadpacket in products
        if is_product and arguments[-1].shape[-2:] == result.shape[-1:] * 2 == (64, 64):
            self.rows += result.numel() // 64
        return result


@pytest.mark.parametrize("inputs", [1, 2, 5])
def test_the_hessian_takes_fewer_large_products_than_double_backward(inputs):
    """The page on performance tells these numbers."""
    model = MLP(inputs, (64, 64), rng=0)
    points, module = torch.rand(50, inputs).double(), model.to_sequential()
    with LargeProducts() as ours:
        model.value_gradient_and_hessian(points)
    with LargeProducts() as theirs:
        points.requires_grad_(True)
        (gradients,) = torch.autograd.grad(module(points).sum(), points, create_graph=True)
        for k in range(inputs):
            torch.autograd.grad(gradients[:, k].sum(), points, retain_graph=True)
    assert ours.rows == (2 + inputs) * 50
    assert theirs.rows == (2 + 2 * inputs) * 50
