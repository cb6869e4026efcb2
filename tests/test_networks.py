from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, vmap

from gradnotes.derivatives import Sine
from gradnotes.networks import MLP

torch.set_num_threads(1)

ACTIVATIONS = ["tanh", "softplus", "sin", "relu"]


def make_points(count=7, low=-1.0, high=3.0):
    return torch.from_numpy(np.random.default_rng(5).uniform(low, high, (count, 2)))


def make_model(hidden=(5,), members=None, activation="tanh"):
    domain = [(-1.0, 3.0), (0.0, 2.5)]
    model = MLP(2, hidden, activation=activation, members=members, domain=domain, rng=11)
    weights = model.flat_weights()
    model.set_flat_weights(weights + 0.3 * weights.cos())  # no bias is zero
    return model


def derivatives(model, points, vectors=None):
    """What each of the methods gives, one after the other."""
    vectors = points.detach().cos() if vectors is None else vectors
    return [
        *model.value_and_gradient(points),
        *model.value_gradient_and_hessian(points),
        model.hessian_vector_product(points, vectors),
        *model.weight_jacobian(points, gradients=True),
        model.weight_jacobian(points),
    ]


METHODS = {
    "forward": lambda model, points: model(points),
    "value_and_gradient": MLP.value_and_gradient,
    "create_graph": partial(MLP.value_and_gradient, create_graph=True),
    "value_gradient_and_hessian": MLP.value_gradient_and_hessian,
    "hessian_vector_product": lambda model, points: model.hessian_vector_product(points, points),
    "weight_jacobian": MLP.weight_jacobian,
    "weight_jacobian of gradients": partial(MLP.weight_jacobian, gradients=True),
}

lows = st.lists(st.floats(-50, 50), min_size=2, max_size=2)
widths = st.lists(st.floats(0.1, 100), min_size=2, max_size=2)


@given(low=lows, width=widths, seed=st.integers(0, 99), members=st.sampled_from([None, 2]))
@settings(max_examples=40, deadline=None)
def test_a_domain_is_a_change_of_variable(low, width, seed, members):
    low = np.array(low)
    high = low + width
    domain = np.stack([low, high], 1)
    scaled = MLP(2, (4, 3), domain=domain, members=members, rng=seed)
    plain = MLP(2, (4, 3), members=members, rng=seed)
    centre, half = torch.from_numpy((low + high) / 2), torch.from_numpy((high - low) / 2)
    at = make_points(low=-1.0, high=1.0)
    found = derivatives(scaled, centre + half * at, half * at)
    units = [1, half, 1, half, torch.outer(half, half), half, 1, half[:, None], 1]
    for ours, unit, theirs in zip(found, units, derivatives(plain, at, at), strict=True):
        torch.testing.assert_close(ours * unit, theirs, rtol=0, atol=1e-11)
    torch.testing.assert_close(scaled(centre + half * at), plain(at), rtol=0, atol=1e-11)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_loss_of_gradients_can_be_differentiated_in_the_weights(activation, members):
    model, points = make_model((4, 3), members, activation), make_points()
    values, gradients = model.value_and_gradient(points, create_graph=True)
    for ours, theirs in zip(model.value_and_gradient(points), (values, gradients), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-14)
    (values.square().sum() + gradients.sin().sum()).backward()
    of_values, of_gradients = model.weight_jacobian(points, gradients=True)
    expected = torch.einsum("...n,...np->...p", 2 * values, of_values)
    expected += torch.einsum("...nd,...ndp->...p", gradients.cos(), of_gradients)
    found = torch.cat([p.grad.reshape(*expected.shape[:-1], -1) for p in model.parameters()], -1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_members_are_the_ensemble():
    ensemble, points = make_model((4, 3), members=3), make_points()
    found = [ensemble(points), *derivatives(ensemble, points)]
    vectors = torch.stack([points, points.sin(), points.cos()])
    with_own_vectors = ensemble.hessian_vector_product(points, vectors)
    assert ensemble.flat_weights().shape == (3, ensemble.size)
    assert ensemble.size == 2 * 4 + 4 * 3 + 3 + 4 + 3 + 1
    for s in range(3):
        member = ensemble.member(s)
        assert member.size == ensemble.size
        assert torch.equal(member.flat_weights(), ensemble.flat_weights()[s])
        expected = [member(points), *derivatives(member, points)]
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[s], theirs, rtol=0, atol=1e-13)
        product = member.hessian_vector_product(points, vectors[s])
        torch.testing.assert_close(with_own_vectors[s], product, rtol=0, atol=1e-13)
    assert not torch.equal(found[0][0], found[0][1])


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


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(5,), (4, 6), (3, 2, 4)])
def test_a_sequential_holds_the_whole_network(activation, hidden):
    model, points = make_model(hidden, activation=activation), make_points()
    sequential = model.to_sequential()
    torch.testing.assert_close(sequential(points), model(points), rtol=1e-14, atol=1e-14)
    back = MLP.from_sequential(sequential)
    assert (back.inputs, back.hidden, back.members) == (2, hidden, None)
    assert back.activation == activation
    for ours, theirs in zip(derivatives(back, points), derivatives(model, points), strict=True):
        if ours.shape[-1] != model.size:  # the weights are others, as the domain is folded in
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    again = MLP.from_sequential(back.to_sequential())
    assert torch.equal(again.flat_weights(), back.flat_weights())
    with torch.no_grad():
        sequential[0].weight.zero_()
    assert not back.weights[0].eq(0).any()
    assert not model.weights[0].eq(0).any()
    with pytest.raises(ValueError, match=r"try \.member\(0\)"):
        make_model(members=2).to_sequential()


def test_an_activation_layer_belongs_to_one_sequential():
    first, second = (make_model().to_sequential() for _ in range(2))
    assert first[1] is not second[1]


def linear(rows, columns, dtype=torch.float64, **options):
    layer = nn.utils.skip_init(nn.Linear, rows, columns, dtype=dtype, **options)
    draws = np.random.default_rng(rows).normal(size=(columns, rows + 1))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(draws[:, 1:]))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(draws[:, 0]))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("end", [[], [nn.Flatten(0)], [nn.Flatten()]])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Softplus, Sine, nn.ReLU])
def test_a_sequential_of_others_becomes_a_network(dtype, bias, end, activation):
    options = {"dtype": dtype, "bias": bias}
    layers = [linear(2, 4, **options), activation(), linear(4, 3, **options), activation()]
    sequential = nn.Sequential(*layers, linear(3, 1, **options), *end)
    model = MLP.from_sequential(sequential)
    assert model.flat_weights().dtype == torch.float64
    assert sequential[0].weight.dtype == dtype
    points = make_points()
    expected = sequential.to(torch.float64)(points).reshape(-1)
    # Torch's softplus is the identity above 20; here nothing is as large.
    torch.testing.assert_close(model(points), expected, rtol=1e-13, atol=1e-13)
    if not bias:
        assert all((b == 0.0).all() for b in model.biases)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "and got ;"),
        ([linear(2, 1)], "and got Linear;"),
        ([nn.Tanh(), linear(2, 1)], "and got Tanh, Linear;"),
        ([linear(2, 3), nn.Tanh()], "and got Linear, Tanh;"),
        ([linear(2, 3), linear(3, 1)], "and got Linear, Linear;"),
        ([linear(2, 3), nn.Tanh(), nn.Tanh(), linear(3, 1)], "Linear, Tanh, Tanh, Linear;"),
        (
            [linear(2, 3), nn.GELU(), linear(3, 1)],
            "among tanh, softplus, sin, relu, and got .*GELU",
        ),
        ([linear(2, 3), nn.Softplus(beta=2), linear(3, 1)], "and got Linear, Softplus, Linear;"),
        ([linear(2, 3), nn.Tanh(), nn.Dropout(), linear(3, 1)], "Tanh, Dropout, Linear;"),
        (
            [linear(2, 3), nn.Tanh(), nn.LayerNorm(3)],
            "Tanh, LayerNorm; gradnotes.gaps takes any module",
        ),
        (
            [linear(2, 3), nn.Tanh(), linear(3, 3), nn.ReLU(), linear(3, 1)],
            "one activation between them, .* and got Linear, Tanh, Linear, ReLU, Linear;",
        ),
        ([linear(2, 3), nn.Tanh(), linear(4, 1)], "got 3 outputs before 4 inputs"),
        ([linear(2, 3), nn.Tanh(), linear(3, 2)], "expected one output, and got 2"),
    ],
)
def test_another_sequential_is_refused(layers, words):
    with pytest.raises(ValueError, match=words):
        MLP.from_sequential(nn.Sequential(*layers))


@pytest.mark.parametrize("module", [linear(2, 1), nn.ModuleList([linear(2, 1)]), None])
def test_what_is_no_sequential_is_refused(module):
    words = f"expected a torch.nn.Sequential, and got {type(module).__name__}"
    with pytest.raises(TypeError, match=words):
        MLP.from_sequential(module)


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
    drawn = [MLP(2, (3,), rng=generator).flat_weights() for _ in range(2)]
    assert not torch.equal(*drawn)


def test_global_random_state_is_left_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = make_model((4, 4), members=2)
    derivatives(model, make_points())
    MLP.from_sequential(model.member(0).to_sequential())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_derivatives_leave_grad_alone_and_keep_no_graph_in_every_mode(mode):
    model, points = make_model((4, 3), members=2), make_points()
    plain = derivatives(model, points)
    points.requires_grad_(True)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    vectors = points.detach().cos().requires_grad_(True)
    with mode():
        found = derivatives(model, points, vectors)
    for ours, theirs in zip(found, plain, strict=True):
        assert torch.equal(ours, theirs)
        assert not ours.requires_grad
    assert points.grad is None
    assert vectors.grad is None
    assert all((parameter.grad == 7.0).all() for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_derivatives_can_enter_a_graph_later():
    model, points = make_model((4, 3)), make_points()
    for part in derivatives(model, points):
        factor = torch.ones((), dtype=torch.float64, requires_grad=True)
        (factor * part).square().sum().backward()
        assert factor.grad == 2 * part.square().sum()
        part.requires_grad_(True).sin().sum().backward()
        assert torch.equal(part.grad, part.detach().cos())


@pytest.mark.parametrize("members", [None, 3])
def test_the_same_bits_twice_and_nearly_so_on_two_threads(members):
    model, points = make_model((40,), members), make_points(1100)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 1, 2, 2):
            torch.set_num_threads(count)
            found.append([model(points), *derivatives(model, points)])
    finally:
        torch.set_num_threads(before)
    for one, again, two, two_again in zip(*found, strict=True):
        assert torch.equal(one, again)
        assert torch.equal(two, two_again)
        assert (one - two).norm() <= 1e-10 * one.norm()


def test_torch_can_call_the_network_with_other_weights():
    ensemble, points = make_model((4, 3), members=3), make_points()
    single = ensemble.member(0)
    stacked = dict(ensemble.named_parameters())

    def value(weights, point):
        return functional_call(single, weights, (point[None],))[0]

    found = vmap(vmap(value, (None, 0)), (0, None))(stacked, points)
    torch.testing.assert_close(found, ensemble(points), rtol=1e-13, atol=1e-14)
    found = vmap(vmap(grad(value, 1), (None, 0)), (0, None))(stacked, points)
    gradients = ensemble.value_and_gradient(points)[1]
    torch.testing.assert_close(found, gradients, rtol=1e-12, atol=1e-13)
    found = functional_call(ensemble, {k: 2 * w for k, w in stacked.items()}, (points,))
    ensemble.set_flat_weights(2 * ensemble.flat_weights())
    assert torch.equal(found, ensemble(points))


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


@pytest.mark.parametrize("call", METHODS)
def test_wrong_points_are_refused(call):
    method = partial(METHODS[call], make_model())
    with pytest.raises(TypeError, match=r"got torch.float32; try points.to\(torch.float64\)"):
        method(torch.zeros(3, 2))
    with pytest.raises(TypeError, match=r"points in cpu, .* got meta; try points.to\('cpu'\)"):
        method(torch.zeros(3, 2, dtype=torch.float64, device="meta"))
    with pytest.raises(TypeError, match=r"got ndarray; try torch.from_numpy"):
        method(np.zeros((3, 2)))
    for shape in [(3, 1), (3, 3), (3,), (2, 3, 2)]:
        with pytest.raises(ValueError, match=r"expected points of shape \(n, 2\), and got"):
            method(torch.zeros(shape, dtype=torch.float64))
    with pytest.raises(ValueError, match="try a row for each point"):
        method(torch.zeros(3, 3, dtype=torch.float64))


@pytest.mark.parametrize("members", [None, 1, 3])
def test_wrong_vectors_are_refused(members):
    model, points = make_model(members=members), make_points()
    product = partial(model.hessian_vector_product, points)
    with pytest.raises(TypeError, match=r"vectors in torch.float64, .* got torch.float32"):
        product(points.float())
    with pytest.raises(TypeError, match=r"vectors in cpu, .* got meta; try vectors.to\('cpu'\)"):
        product(points.to("meta"))
    with pytest.raises(TypeError, match=r"got ndarray; try torch.from_numpy\(vectors\)"):
        product(points.numpy())
    for shape in [(7,), (1, 2), (6, 2), (7, 1), (1, 7, 2), (2, 7, 2), (3, 6, 2), (1, 3, 7, 2)]:
        if shape != (members, 7, 2):
            with pytest.raises(ValueError, match=r"vectors of shape \(7, 2\), .* torch.ones_like"):
                product(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize(
    "call",
    [
        "value_and_gradient",
        "create_graph",
        "value_gradient_and_hessian",
        "hessian_vector_product",
        "weight_jacobian",
        "weight_jacobian of gradients",
    ],
)
def test_weights_that_are_not_finite_have_no_derivatives(call, members, bad):
    model, points = make_model((4, 3), members), make_points()
    for index in (0, 19, -1):
        weights = model.flat_weights()
        weights[..., index].reshape(-1)[-1:].fill_(bad)
        broken = make_model((4, 3), members)
        broken.set_flat_weights(weights)
        with pytest.raises(ValueError, match="expected finite weights, and got infinite ones or"):
            METHODS[call](broken, points)
