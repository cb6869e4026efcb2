"""Certified bounds: never below what is sampled, attained where they can be, honest errors."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnotes.certificates import (
    certify_gaps,
    constant,
    curvature_bound,
    lipschitz_bound,
    slope_variation,
)
from gradnotes.inequalities import bernstein_bound, ellipse_bound, landau_bound, variation_bound
from gradnotes.networks import MLP
from gradnotes.targets import Target

X, Y = sp.symbols("x y", real=True)
SMOOTH = ("tanh", "softplus", "sin")


def network(*flat, inputs=1, hidden=(1,), **options):
    """A network with given weights: matrices, then biases."""
    model = MLP(inputs, hidden, rng=0, **options)
    model.set_flat_weights(torch.tensor(flat, dtype=torch.float64))
    return model


def sampled(model, count=3000, reach=4.0, seed=0):
    """The largest gradient and Hessian at random points, by torch's own differentiation."""
    rng = np.random.default_rng(seed)
    centre, half = model.centre.numpy(), model.half_width.numpy()
    points = torch.from_numpy(centre + half * rng.uniform(-reach, reach, (count, model.inputs)))
    _, gradients = model.value_and_gradient(points, create_graph=True)
    slopes = gradients.detach().norm(dim=-1).amax(-1).numpy()
    x = points[:200].clone().requires_grad_(True)
    single = model if model.members is None else model.member(0)
    hessians = torch.vmap(torch.func.jacrev(torch.func.jacrev(lambda p: single(p[None])[0])))(x)
    return slopes, float(torch.linalg.matrix_norm(hessians.detach(), 2).max())


def matrices(model, index=0):
    """The matrices of one member, the first in the units of x."""
    single = model if model.members is None else model.member(index)
    weights = [weight.detach().numpy().copy() for weight in single.weights]
    weights[0] /= single.half_width.numpy()[:, None]
    return weights


# The bounds of a network


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from((*SMOOTH, "relu")),
    st.integers(1, 3),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from((None, 1, 3)),
    st.integers(0, 10**6),
)
def test_no_network_violates_its_bounds(activation, inputs, hidden, members, seed):
    rng = np.random.default_rng(seed)
    domain = [(-1.0, 1.0 + 3 * float(rng.uniform()))] * inputs
    model = MLP(inputs, hidden, activation=activation, members=members, domain=domain, rng=rng)
    slopes, curvature = sampled(model, seed=seed)
    bound = lipschitz_bound(model)
    assert np.shape(bound) == (() if members is None else (members,))
    assert (slopes <= bound).all()
    if activation != "relu":
        assert curvature <= np.ravel(curvature_bound(model))[0]
        alone = model if members is None else model.member(0)
        assert np.ravel(curvature_bound(model))[0] == pytest.approx(curvature_bound(alone))


@pytest.mark.parametrize("activation", [*SMOOTH, "relu"])
def test_one_unit_attains_its_bounds(activation):
    model = network(3.0, 4.0, -2.0, 0.3, 1.0, inputs=2, activation=activation)
    line = torch.linspace(-9, 9, 20_001).double()[:, None] * torch.tensor([[0.6, 0.8]]).double()
    gradient = model.value_and_gradient(line)[1]
    assert lipschitz_bound(model) == pytest.approx(10.0)
    assert float(gradient.norm(dim=-1).max()) > 9.999
    if activation != "relu":
        hessian = model.value_gradient_and_hessian(line)[2]
        reached = float(torch.linalg.matrix_norm(hessian, 2).max())
        assert 0.9999 < reached / curvature_bound(model) <= 1


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_ranges_of_the_two_derivatives_are_the_smallest(activation):
    from gradnotes.certificates import BENDS, SLOPES

    z = sp.Symbol("z", real=True)
    function = {"tanh": sp.tanh(z), "softplus": sp.log(1 + sp.exp(z)), "sin": sp.sin(z)}[activation]
    at = np.linspace(-40, 40, 400_001)
    for order, known in ((1, SLOPES), (2, BENDS)):
        derivative = sp.lambdify(z, function.diff(z, order).rewrite(sp.exp).simplify(), "numpy")
        found = derivative(at.astype(complex)).real
        assert known[activation] == pytest.approx((found.min(), found.max()), abs=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_the_bounds_are_no_more_than_the_usual_recursions(seed):
    for hidden in ((7,), (6, 5), (5, 6, 4)):
        for activation in SMOOTH:
            model = MLP(3, hidden, activation=activation, domain=[(-2, 3)] * 3, rng=seed)
            s2 = {"tanh": 4 / (3 * 3**0.5), "softplus": 0.25, "sin": 1.0}[activation]
            lipschitz, curvature = 1.0, 0.0
            *inner, outer = [float(np.linalg.svd(w)[1][0]) for w in matrices(model)]
            for norm in inner:
                curvature = s2 * norm**2 * lipschitz**2 + norm * curvature
                lipschitz *= norm
            assert lipschitz_bound(model) <= outer * lipschitz * 1.00001
            assert curvature_bound(model) <= outer * curvature * 1.00001


def test_one_layer_has_the_tighter_forms():
    model = MLP(3, (6,), activation="sin", rng=5)
    inner, outer = matrices(model)
    rows = inner * outer[:, 0]
    assert lipschitz_bound(model) <= sum(np.linalg.norm(v) for v in rows.T) * 1.00001
    largest = np.linalg.eigvalsh(inner @ np.diag(np.abs(outer[:, 0])) @ inner.T)[-1]
    assert curvature_bound(model) == pytest.approx(largest)


@pytest.mark.parametrize("activation", ["tanh", "sin"])
@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_two_layers_have_the_tighter_form(activation, scale):
    """The formula again, unit by unit and without the passes of the package."""
    bend, middle = {"tanh": (4 / (3 * 3**0.5), 0.5), "sin": (1.0, 0.0)}[activation]
    for seed in range(5):
        model = MLP(2, (4, 3), activation=activation, scale=scale, rng=seed)
        first, second, a = matrices(model)
        reach, size = [], np.linalg.norm(a) * np.linalg.norm(second, 2)
        for row in second:
            terms = [weight * outer for weight, outer in zip(row, a[:, 0], strict=True)]
            reach.append(middle * abs(sum(terms)) + (1 - middle) * sum(map(abs, terms)))
        v = [column * outer for column, outer in zip(second.T, a[:, 0], strict=True)]
        spread = math.sqrt(sum(abs(one @ other) for one in v for other in v))
        size = min(size, middle * np.linalg.norm(sum(v)) + (1 - middle) * spread)

        def bent(matrix, weights, length):
            columns = max(np.linalg.norm(column) for column in matrix.T)
            whole = np.linalg.eigvalsh(matrix @ np.diag(weights) @ matrix.T)[-1]
            return min(whole, length * np.linalg.norm(matrix, 2) * columns)

        below = np.linalg.norm(first, 2) ** 2
        top = bent(second, np.abs(a[:, 0]), np.linalg.norm(a))
        expected = bend * (bent(first, reach, size) + below * top)
        assert curvature_bound(model) == pytest.approx(expected)


def test_weights_of_both_signs_share_the_slope_and_the_curvature():
    # a = (1, -1), w = (3, 3): at most one of the two units is in full swing for its sign.
    weights = (3.0, 3.0, 1.0, -1.0, 9.0, -9.0, 0.0)
    x = torch.linspace(-20, 20, 4001).double()[:, None]
    for activation, slope, bend in (("softplus", 3.0, 9 / 4), ("relu", 3.0, None)):
        model = network(*weights, hidden=(2,), activation=activation)
        assert lipschitz_bound(model) == pytest.approx(slope)
        assert float(model.value_and_gradient(x)[1].abs().max()) > 0.99 * slope
        if bend:
            assert curvature_bound(model) == pytest.approx(bend)
            assert float(model.value_gradient_and_hessian(x)[2].abs().max()) > 0.99 * bend


def test_the_units_of_the_inputs_count():
    plain, scaled = MLP(2, (5, 4), rng=2), MLP(2, (5, 4), domain=[(0, 10)] * 2, rng=2)
    assert lipschitz_bound(scaled) == pytest.approx(lipschitz_bound(plain) / 5)
    assert curvature_bound(scaled) == pytest.approx(curvature_bound(plain) / 25)
    uneven = MLP(2, (5,), domain=[(0, 10), (3, 3.5)], rng=2)
    assert (sampled(uneven, reach=1.0)[0] <= lipschitz_bound(uneven)).all()
    assert sampled(uneven, reach=1.0)[1] <= curvature_bound(uneven)


def test_looseness_grows_with_depth():
    ratios = []
    for hidden in ((16,), (16, 16), (16, 16, 16)):
        model = MLP(2, hidden, members=8, rng=0)
        points = torch.from_numpy(np.random.default_rng(0).uniform(-3, 3, (4000, 2)))
        hessians = model.value_gradient_and_hessian(points)[2]
        reached = torch.linalg.matrix_norm(hessians, 2).amax(-1).numpy()
        ratios.append(np.median(curvature_bound(model) / reached))
    assert ratios[0] < 2
    assert all(after > 2 * before for before, after in pairwise(ratios))


def test_slope_variation_is_the_sum_of_the_jumps():
    model = MLP(1, (9,), activation="relu", domain=[(0, 4)], members=3, rng=1)
    x = torch.linspace(-400, 400, 800_001).double()[:, None]
    slopes = model.value_and_gradient(x)[1][..., 0].numpy()
    jumps = np.abs(np.diff(slopes, axis=-1)).sum(-1)
    np.testing.assert_allclose(slope_variation(model), jumps, rtol=1e-6)
    assert variation_bound(0.1, slope_variation(model.member(1)), length=4.0).value > 0


@pytest.mark.parametrize("activation", [*SMOOTH, "relu"])
def test_bounds_scale_with_the_weights_however_small_or_large(activation):
    """Squares of 1e-170 are zero, and those of 1e170 infinite; the bounds are neither."""
    model = MLP(2, (4, 3), activation=activation, members=2, rng=3)
    lipschitz = lipschitz_bound(model)
    curvature = None if activation == "relu" else curvature_bound(model)
    for power in (-170, 170):
        scaled = MLP(2, (4, 3), activation=activation, members=2, rng=3)
        with torch.no_grad():
            scaled.weights[-1] *= 10.0**power
        np.testing.assert_allclose(lipschitz_bound(scaled) / 10.0**power, lipschitz, rtol=1e-9)
        if curvature is not None:
            np.testing.assert_allclose(curvature_bound(scaled) / 10.0**power, curvature, rtol=1e-9)
        with torch.no_grad():
            scaled.weights[0] *= 10.0**-power
        np.testing.assert_allclose(lipschitz_bound(scaled), lipschitz, rtol=1e-9)
    # Slopes of 1e-200, and of less than the smallest float.
    for size in (1e-100, 1e-170):
        kind = {"activation": "relu" if activation == "relu" else "tanh"}
        tiny = network(size, size, 0.1, 0.0, **kind)
        slope = tiny.value_and_gradient(torch.zeros(1, 1).double())[1]
        assert 0 < lipschitz_bound(tiny) <= max(1.001 * size**2, 5e-324)
        assert float(slope.abs().max()) <= lipschitz_bound(tiny)
        other = slope_variation(tiny) if activation == "relu" else curvature_bound(tiny)
        assert 0 < other <= max(1.001 * size**2, 5e-324)


def test_a_tiny_unit_beside_a_large_one_that_is_off_counts():
    """The square of 1e-170 is zero, and a power of 2 does not help here."""
    model = network(0.0, 1.0, 1.0, 1e-170, 0.0, 0.0, 0.0, hidden=(2,))
    assert float(model.value_and_gradient(torch.zeros(1, 1).double())[1]) == 1e-170
    assert 1e-170 <= lipschitz_bound(model) <= 1e-90
    assert 1e-171 <= curvature_bound(model) <= 1e-90


def test_layers_of_zeros_have_bounds_of_zero():
    for activation in (*SMOOTH, "relu"):
        for place in range(3):
            model = MLP(1, (3, 2), activation=activation, rng=0)
            with torch.no_grad():
                model.weights[place].zero_()
            assert lipschitz_bound(model) == 0
            if activation != "relu":
                assert curvature_bound(model) == 0
    flat = network(0.0, 1.0, 0.1, 0.0, activation="relu")
    assert slope_variation(flat) == 0


# The constant of a network


@pytest.mark.parametrize("hidden", [(3,), (3, 4), (2, 3, 2)])
def test_in_its_strip_a_network_is_bounded_and_just_outside_it_may_not_be(hidden):
    model = MLP(2, hidden, rng=3)
    result = constant(model, eps=1e-9)
    reach = strip_of(result)
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, (2000, 2))
    direction = rng.standard_normal((2000, 2))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    layer = x + 1j * direction * reach * rng.uniform(-1, 1, (2000, 1))
    *inner, outer = matrices(model)
    biases = [bias.detach().numpy() for bias in model.biases]
    for weight, bias in zip(inner, biases, strict=False):
        layer = np.tanh(layer @ weight + bias)
        assert np.abs(layer).max() <= 1
    assert np.abs(layer @ outer + biases[-1]).max() <= result.outer
    linear = (
        math.pi
        / 4
        / max(
            result.inner[0] * math.prod(4 / math.pi * size for size in result.inner[1:stop])
            for stop in range(1, len(hidden) + 1)
        )
    )
    assert reach >= linear * 0.999999


def strip_of(result):
    """The half-width that a constant stands for, anew: push a height up through the layers."""
    low, high = 0.0, 100.0
    for _ in range(100):
        middle, sound = (low + high) / 2, True
        height = middle
        for size in result.inner:
            sound = sound and size * height <= math.pi / 4
            height = math.tan(min(size * height, 1.5))
        low, high = (middle, high) if sound else (low, middle)
    return low


@pytest.mark.parametrize("hidden", [(4,), (3, 3)])
@pytest.mark.parametrize("eps", [0.5, 0.01, 1e-5])
def test_the_constant_is_that_of_the_inequalities(hidden, eps):
    model = MLP(2, hidden, domain=[(-3, 1)] * 2, rng=7)
    result = constant(model, eps=eps)
    s2, slope, bend = 4 / (3 * 3**0.5), 1.0, 0.0
    for size in result.inner:
        bend = s2 * (size * slope) ** 2 + size * bend
        slope *= size
    log = math.log(2 * result.outer / eps)
    strip = math.e / strip_of(result) * eps * max(1, log)
    schwarz = math.pi / 4 * 2 * result.outer / strip_of(result)
    landau = math.sqrt(2 * eps * 2 * result.outer * bend)
    every = [strip, schwarz, landau]
    if len(hidden) == 1:
        angle = 4 * 2 * result.outer / (math.pi * eps)
        every.append(2 * result.inner[0] / math.pi * eps * (1 + math.asinh(angle)))
    assert result.value * eps == pytest.approx(min(every), rel=1e-6)
    assert result.gradient == pytest.approx(result.value * eps)
    inner, outer = matrices(model)[0], matrices(model)[-1]
    assert result.inner[0] == pytest.approx(max(np.linalg.norm(inner, axis=0)))
    bias = abs(model.biases[-1].item())
    assert result.outer == pytest.approx(np.abs(outer).sum() + bias)


def test_the_constant_on_a_box_is_that_of_each_axis():
    model = MLP(2, (4,), rng=7)
    box = [(-1.0, 1.0), (0.0, 0.5)]
    for eps in (1e-3, 1e-8, 1e-12):
        result, axes = constant(model, eps=eps, domain=box), []
        bend = 4 / (3 * 3**0.5) * result.inner[0] ** 2
        for low, high in box:
            height = math.pi / 4 / result.inner[0] / ((high - low) / 2)
            rho = height + math.sqrt(1 + height**2)
            ellipse = ellipse_bound(eps, 2 * result.outer, rho=rho, length=high - low)
            landau = landau_bound(eps, 2 * result.outer * bend, length=high - low)
            axes.append(min(ellipse.value, landau.value))
        assert result.gradient == pytest.approx(math.hypot(*axes), rel=1e-6)
        assert result.value == pytest.approx(math.hypot(*axes) / eps, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((None, 1.0, 0.2)), st.sampled_from(("tanh", "sin")))
def test_no_target_of_the_class_breaks_the_constant(seed, reach, activation):
    rng = np.random.default_rng(seed)
    model = MLP(1, (6,), activation=activation, rng=rng)
    with torch.no_grad():
        model.biases[-1] += 0.1
    result = constant(model, eps=1.0)
    # A target with other weights, of any width, scaled down into the class.
    width = int(rng.integers(1, 12))
    other = MLP(1, (width,), activation=activation, rng=rng)
    with torch.no_grad():
        other.weights[0].clamp_(-result.inner[0], result.inner[0])
        mass = float(other.weights[1].abs().sum())
        other.weights[1] *= result.outer / mass * float(rng.uniform())
    x = torch.linspace(-60, 60, 60_001).double()[:, None]
    x = x if reach is None else x[x.abs() <= reach][:, None]
    f, slope = other.value_and_gradient(x)
    h, own = model.value_and_gradient(x)
    eps = float((f - h).abs().max())
    if activation == "sin" and reach is None:
        eps *= 1.01  # the line is longer than the sample
    domain = None if reach is None else [(-reach, reach)]
    assert float((slope - own).abs().max()) <= constant(model, eps=eps, domain=domain).gradient


def test_constants_grow_by_a_logarithm_and_a_sine_has_its_frequency():
    model = MLP(1, (5,), rng=2)
    values = [constant(model, eps=eps).value for eps in (1e-6, 1e-8, 1e-10)]
    assert values[2] - values[1] == pytest.approx(values[1] - values[0])
    sine = MLP(3, (4,), activation="sin", rng=2)
    fastest = float(np.linalg.norm(matrices(sine)[0], axis=0).max())
    assert constant(sine, eps=0.1).gradient == pytest.approx(bernstein_bound(0.1, fastest).value)
    assert "Bernstein" in str(constant(sine, eps=0.1))
    on_box = constant(sine, eps=1e-4, domain=[(-1, 1)] * 3)
    assert on_box.value > 2 * fastest
    assert "on the box" in " ".join(str(on_box).split())
    assert max(map(len, str(on_box).splitlines())) <= 76


def test_a_constant_on_a_long_interval():
    """There the parameter of the ellipse is 1 to the last digits, and no use."""
    model = MLP(1, (3,), rng=0)
    for reach in (1e8, 1e14, 1e18):
        result = constant(model, eps=1e-3, domain=[(-reach, reach)])
        assert result.bounds[0].name == "Landau"
    for reach in (1e3, 1e8, 1e13):  # never a larger ellipse than the strip holds
        (bound,) = constant(model, eps=1e-300, domain=[(-reach, reach)]).bounds
        assert bound.name == "Ellipse"
        inner = float(model.weights[0].detach().abs().max())
        height = math.pi / 4 / inner / reach
        a, log = math.asinh(height), math.log(2 * constant(model, eps=1.0).outer / 1e-300)
        u = 2 * math.atanh(a / log)
        exact = 1e-300 * math.exp(u * log / a) / math.sinh(u / 2) ** 2 / (2 * reach)
        assert exact <= bound.value <= exact * (1 + 1e-6 + 1e-13 / height)


def test_a_constant_in_print_is_no_stronger_than_in_numbers():
    for seed in range(12):
        result = constant(MLP(2, (3, 2), rng=seed), eps=0.1 + 0.2)
        words = " ".join(str(result).split())
        assert float(words.split("c = ")[1].split(":")[0]) >= result.value
        inner = words.split("weights up to ")[1].split(" and outer")[0].split(", ")
        assert all(float(a) <= b for a, b in zip(inner, result.inner, strict=True))
        assert float(words.split("sum to ")[1].split(" at")[0]) <= result.outer
        assert "within 0.30000000000000004 of" in words


def test_a_constant_of_a_network_without_slope():
    flat = network(0.0, 1.0, 0.3, 0.2)
    assert constant(flat, eps=0.1).value == 0
    assert constant(flat, eps=0.1, domain=[(0, 1)]).inner == (0.0,)


# Certified gaps


WAVE = Target(sp.sin(3 * X) * sp.cos(2 * Y), (X, Y), ((-1, 2), (0, 1)))
FACTS = {"target_curvature": 13.0, "target_lipschitz": 5.0}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SMOOTH),
    st.sampled_from(((5,), (4, 4))),
    st.integers(1, 400),
    st.sets(st.sampled_from(sorted(FACTS)), min_size=1),
    st.integers(0, 10**6),
)
def test_no_point_violates_a_certificate(activation, hidden, count, names, seed):
    model = MLP(2, hidden, activation=activation, members=2, domain=WAVE.domain, rng=seed)
    facts = {name: FACTS[name] for name in names}
    result = certify_gaps(model, WAVE, points_count=count, **facts)
    points = np.random.default_rng(seed).uniform((-1, 0), (2, 1), (4000, 2))
    values, gradients = model.value_and_gradient(torch.from_numpy(points))
    apart = np.abs(WAVE.value(points) - values.numpy()).max(-1)
    steep = np.linalg.norm(WAVE.gradient(points) - gradients.numpy(), axis=-1).max(-1)
    assert (apart <= result.value).all()
    assert (steep <= result.gradient).all()
    assert (result.sampled_value <= result.value).all()
    assert result.points_count >= count
    if "target_curvature" in names:
        excess = result.curvature * sum(step**2 for step in result.spacing) / 8
        assert (result.value <= (result.sampled_value + excess) * (1 + 1e-8)).all()


def test_a_parabola_attains_the_certified_value_and_gradient():
    zero = network(0.0, 0.0, 0.0, 0.0)
    for cells in (1, 2, 5):
        step = 1 / cells
        # The parabola through zeros at 0 and at the step.
        bowl = Target(X * (step - X) * 4, (X,), (0, step))
        result = certify_gaps(zero, bowl, target_curvature=8.0, points_count=2)
        assert result.sampled_value == 0
        assert result.value == pytest.approx(step**2)
    line = Target(X**2 / 2, (X,), (0, 1))
    result = certify_gaps(zero, line, target_curvature=1.0, points_count=2)
    assert result.sampled_gradient == 1
    assert result.gradient == pytest.approx(1.5)
    plane = Target(X * (1 - X) + Y * (1 - Y), (X, Y), ((0, 1), (0, 1)))
    flat = network(0.0, 0.0, 0.0, 0.0, 0.0, inputs=2)
    result = certify_gaps(flat, plane, target_curvature=2.0, points_count=4)
    assert result.value == pytest.approx(float(plane.value([[0.5, 0.5]])[0]))


def test_a_spike_between_the_points_does_not_fool_a_certificate():
    zero = network(0.0, 0.0, 0.0, 0.0)
    wave = Target(sp.sin(20 * sp.pi * X), (X,), (0, 1))
    facts = {"target_lipschitz": 20 * math.pi, "target_curvature": (20 * math.pi) ** 2}
    result = certify_gaps(zero, wave, points_count=11, **facts)
    assert result.sampled_value < 1e-12
    assert result.value >= 1
    assert result.gradient == pytest.approx(20 * math.pi)


def test_more_points_come_down_to_the_grid_maximum_at_the_stated_rate():
    model = MLP(1, (6,), rng=1)
    target = Target(sp.sin(3 * X), (X,), (-1, 1))
    first = certify_gaps(model, target, target_curvature=9.0, points_count=100)
    for gap, tolerance in (("gradient", 0.01), ("value", 1e-4)):
        count = first.points_needed(tolerance, gap=gap)
        result = certify_gaps(model, target, target_curvature=9.0, points_count=count)
        excess = getattr(result, gap) - getattr(result, f"sampled_{gap}")
        assert excess <= tolerance + 1e-8
        assert excess > 0.9 * tolerance
    assert (
        certify_gaps(model, target, target_curvature=9.0, points_count=40_000).gradient
        < first.gradient
    )
    loose = certify_gaps(model, target, target_lipschitz=3.0, points_count=50)
    count = loose.points_needed(0.001, gap="value")
    finer = certify_gaps(model, target, target_lipschitz=3.0, points_count=count)
    assert 0.0009 < finer.value - finer.sampled_value <= 0.001 + 1e-8


def test_a_network_as_target_brings_its_own_bounds():
    model, other = MLP(1, (4,), rng=1, members=2), MLP(1, (5, 5), rng=2)
    result = certify_gaps(model, other, [(-1, 1)])
    np.testing.assert_allclose(result.curvature, curvature_bound(model) + curvature_bound(other))
    np.testing.assert_allclose(result.lipschitz, lipschitz_bound(model) + lipschitz_bound(other))
    assert "target's formula" not in str(result)
    back = certify_gaps(other, model, [(-1, 1)])
    np.testing.assert_allclose(back.value, result.value)
    assert str(result).startswith("For each of 2 networks: |f - h| <=")
    same = certify_gaps(other, other, [(-1, 1)])
    assert same.sampled_value == 0
    assert same.value > 0


def test_relu_has_a_certified_value_gap_by_lipschitz_constants():
    model = MLP(1, (6,), activation="relu", rng=1)
    corner = Target(sp.Abs(X), (X,), (-1, 1))  # no gradient at 0, which is a point
    result = certify_gaps(model, corner, target_lipschitz=1.0, points_count=2001)
    assert result.gradient == pytest.approx(lipschitz_bound(model) + 1)
    assert math.isnan(result.sampled_gradient)
    assert "nan" not in str(result)
    assert result.value - result.sampled_value == pytest.approx(result.lipschitz * 0.0005)
    with pytest.raises(ValueError, match="brings the gradient gap down"):
        result.points_needed(0.1)


def exact(model, x):
    """Value and slope of a network of one input, to 40 digits."""
    kinds = {
        "tanh": (mpmath.tanh, lambda z: mpmath.sech(z) ** 2),
        "sin": (mpmath.sin, mpmath.cos),
        "softplus": (lambda z: mpmath.log(1 + mpmath.exp(z)), lambda z: 1 / (1 + mpmath.exp(-z))),
    }
    function, derivative = kinds[model.activation]
    layer = [
        (mpmath.mpf(x) - mpmath.mpf(float(model.centre))) / mpmath.mpf(float(model.half_width))
    ]
    change = [1 / mpmath.mpf(float(model.half_width))]
    pairs = [*zip(model.weights, model.biases, strict=True)]
    for place, (weight, bias) in enumerate(pairs):
        columns = weight.detach().T.tolist()
        z = [
            mpmath.fdot(layer, map(mpmath.mpf, column)) + mpmath.mpf(b)
            for column, b in zip(columns, bias.tolist(), strict=True)
        ]
        dz = [mpmath.fdot(change, map(mpmath.mpf, column)) for column in columns]
        layer, change = z, dz
        if place < len(pairs) - 1:
            layer = [function(value) for value in z]
            change = [derivative(value) * slope for value, slope in zip(z, dz, strict=True)]
    return layer[0], change[0]


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", [(5,), (8, 8)])
def test_round_off_is_within_the_allowance(activation, hidden):
    model = MLP(1, hidden, activation=activation, scale=8.0, domain=[(10, 10.5)], rng=4)
    with torch.no_grad():
        model.weights[-1] *= 100.0
        model.biases[-1] -= 50.0
    value_room, gradient_room = certify_gaps(model, model, [(10, 10.5)]).round_off
    points = np.random.default_rng(0).uniform(10, 10.5, 60)
    values, slopes = model.value_and_gradient(torch.from_numpy(points)[:, None])
    off, off_slope = [], []
    with mpmath.workdps(40):
        for x, value, slope in zip(points, values.tolist(), slopes[:, 0].tolist(), strict=True):
            true, true_slope = exact(model, float(x))
            off.append(abs(float(true - value)))
            off_slope.append(abs(float(true_slope - slope)))
    assert max(off) <= value_room / 2  # the certificate above counts both networks
    assert max(off_slope) <= gradient_room / 2
    assert max(off) >= value_room / 1e4
    assert max(off_slope) >= gradient_room / 1e4


def test_round_off_before_an_activation_counts():
    """z = 1000 is off by half a unit in the last place, far more than the sine of it."""
    model = network(1.1, 0.7, 1.3, -0.4, 1000.0, 3000.0, 0.0, hidden=(2,), activation="sin")
    value_room, gradient_room = (
        part / 2 for part in certify_gaps(model, model, [(0, 0.001)]).round_off
    )
    points = np.random.default_rng(0).uniform(0, 0.001, 200)
    values, slopes = model.value_and_gradient(torch.from_numpy(points)[:, None])
    with mpmath.workdps(40):
        true = [exact(model, float(x)) for x in points]
        off = max(abs(float(t - v)) for (t, _), v in zip(true, values.tolist(), strict=True))
        off_slope = max(
            abs(float(t - v)) for (_, t), v in zip(true, slopes[:, 0].tolist(), strict=True)
        )
    assert value_room / 30 < off <= value_room
    assert gradient_room / 30 < off_slope <= gradient_room


def test_a_certificate_in_print_is_no_stronger_than_in_numbers():
    """Rounded to nearest, half of the printed bounds would be below the certified ones."""
    for seed in range(12):
        model = MLP(1, (4,), rng=seed)
        target = Target(sp.sin(3 * X), (X,), (10**6, 10**6 + 1))
        result = certify_gaps(model, target, target_curvature=9.000000001, points_count=50)
        first, second, *_ = str(result).splitlines()
        value, gradient = (float(part.split()[0]) for part in first.split("<= ")[1:])
        assert result.value <= value < 1.001 * result.value
        assert result.gradient <= gradient < 1.001 * result.gradient
        seen = [float(part.strip(".")) for part in second.split("show: ")[1].split(" and ")]
        assert seen[0] <= result.sampled_value < 1.001 * seen[0]
        assert seen[1] <= result.sampled_gradient < 1.001 * seen[1]
        assert "on [1000000, 1000001]." in first
        assert "at most 9.000000001." in " ".join(str(result).split())


def test_the_memory_of_a_certificate_does_not_grow_with_the_ensemble(monkeypatch):
    from gradnotes import certificates

    sizes, whole = [], certificates._evaluate

    def counted(function, points, smooth):
        sizes.append((getattr(function, "members", None) or 1) * len(points))
        return whole(function, points, smooth)

    monkeypatch.setattr(certificates, "_evaluate", counted)
    model = MLP(2, (3,), members=100, rng=0)
    certify_gaps(model, MLP(2, (3,), rng=1), [(-1, 1)] * 2, points_count=1000)
    assert max(sizes) <= certificates.CHUNK


# What is refused


LINE = Target(X, (X,), (0, 1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: certify_gaps(m, LINE), "nothing can be certified"),
        (
            lambda m: certify_gaps(m, LINE, target_curvature=-1.0),
            "target_curvature as a finite number of 0",
        ),
        (lambda m: certify_gaps(m, LINE, target_curvature=math.inf), "finite"),
        (
            lambda m: certify_gaps(m, LINE, target_lipschitz=math.nan),
            "target_lipschitz as a finite number of 0",
        ),
        (
            lambda m: certify_gaps(m, LINE, target_lipschitz=True),
            "target_lipschitz as a finite number of 0",
        ),
        (lambda m: certify_gaps(m, LINE, target_lipschitz=0.5), "at least 1 between two points"),
        (lambda m: certify_gaps(m, LINE, [(1, 1)], target_curvature=0.0), "low < high"),
        (lambda m: certify_gaps(m, LINE, [(0, 9)], target_curvature=0.0), "points in the domain"),
        (lambda m: certify_gaps(m, LINE, target_curvature=0.0, points_count=0), "1 or more"),
        (lambda m: certify_gaps(m, LINE, target_curvature=0.0, points_count=2.5), "an integer"),
        (lambda m: certify_gaps(m, m), "expected a domain"),
        (lambda m: certify_gaps(m, m, (0, 1), points_count=10**9), "at most 1e.10, and 1e.08 for"),
        (lambda m: certify_gaps(m, m, (0, 1), points_count=10**400), "at most 1e.10"),
        (
            lambda m: certify_gaps(MLP(3, (2,), rng=0), m, [(0, 1)] * 3),
            "expected a target of 3 inputs",
        ),
        (
            lambda m: certify_gaps(
                MLP(3, (2,), rng=0), MLP(3, (2,), rng=0), [(0, 1)] * 3, points_count=10**11
            ),
            "at most 1e.10",
        ),
        (
            lambda m: certify_gaps(
                MLP(1, (2,), members=2, rng=0), MLP(1, (2,), members=3, rng=0), (0, 1)
            ),
            "ensembles of one size, and got members=2 and 3",
        ),
        (
            lambda m: certify_gaps(
                m, MLP(1, (2,), activation="relu", rng=0), (0, 1), target_curvature=1e9
            ),
            "no target_curvature for a ReLU target",
        ),
        (lambda m: lipschitz_bound(network(1e250, 1.0, 0.0, 0.0)), "neither huge nor tiny"),
        (lambda m: lipschitz_bound(network(1e-250, 1.0, 0.0, 0.0)), "neither huge nor tiny"),
        (lambda m: curvature_bound(network(1e180, 1.0, 0.0, 0.0)), "a finite bound, and got one"),
        (lambda m: constant(network(1e-90, 1.0, 0.0, 0.0), eps=0.1), "neither huge nor tiny"),
        (lambda m: certify_gaps(m, WAVE, target_curvature=9.0), "1 inputs, and got one of 2"),
        (lambda m: constant(m, eps=0.0), "eps as a finite number above 0"),
        (lambda m: constant(m, eps=-1.0), "eps as a finite number above 0"),
        (lambda m: constant(m, eps=0.1, domain=[(2, 2)]), "low < high"),
        (lambda m: constant(MLP(1, (2,), members=2, rng=0), eps=0.1), "network.member"),
        (lambda m: constant(MLP(1, (2,), activation="relu", rng=0), eps=0.1), "relu"),
        (lambda m: constant(MLP(1, (2, 2), activation="sin", rng=0), eps=0.1), "sin with 2"),
        (lambda m: curvature_bound(MLP(1, (2,), activation="relu", rng=0)), "variation_bound"),
        (lambda m: slope_variation(m), "one hidden layer and relu"),
        (lambda m: lipschitz_bound(network(math.nan, 1.0, 0.0, 0.0)), "finite weights"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(MLP(1, (3,), rng=0))


def test_wrong_kinds_are_refused():
    linear = torch.nn.Sequential(torch.nn.Linear(1, 1))
    for function in (lipschitz_bound, curvature_bound, slope_variation):
        with pytest.raises(TypeError, match=r"MLP, and got Sequential; try MLP\.from_sequential"):
            function(linear)

    class Doubled(MLP):
        def forward(self, points):
            return 2 * super().forward(points)

    with pytest.raises(TypeError, match="MLP, and got Doubled"):
        lipschitz_bound(Doubled(1, (2,), rng=0))
    with pytest.raises(TypeError, match="got Sequential"):
        certify_gaps(linear, LINE, target_curvature=0.0)
    with pytest.raises(TypeError, match=r"got torch\.float32; try network\.double"):
        lipschitz_bound(MLP(1, (2,), rng=0).float())
    with pytest.raises(TypeError, match="as target, and got Sequential"):
        certify_gaps(MLP(1, (2,), rng=0), linear, target_curvature=0.0)


def test_a_target_that_breaks_its_word_or_is_not_finite_is_refused():
    model = MLP(1, (3,), rng=0)
    bowl, pole = Target(X**2, (X,), (-1, 1)), Target(1 / X, (X,), (-1, 1))
    with pytest.raises(ValueError, match=r"target_curvature of at most 1\.9, and got one with at"):
        certify_gaps(model, bowl, target_curvature=1.9)
    assert certify_gaps(model, bowl, target_curvature=2.0).value > 0
    with pytest.raises(ValueError, match="not a finite number"):
        certify_gaps(model, pole, target_curvature=9.0, points_count=3)
    relu = MLP(1, (3,), activation="relu", rng=0)
    with pytest.raises(ValueError, match=r"curvature for a ReLU network.*try target_lipschitz"):
        certify_gaps(relu, bowl, target_curvature=2.0)
    result = certify_gaps(model, bowl, target_curvature=2.0)
    for bad, words in (
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": 1e-320}, "expected a larger tolerance, and got 1e-320"),
        ({"gap": "slope"}, '"gradient" or'),
    ):
        with pytest.raises(ValueError, match=words):
            result.points_needed(**{"tolerance": 0.1, **bad})


def test_a_long_grid_is_taken_in_parts():
    model, bowl = MLP(1, (3,), rng=0), Target(X**2, (X,), (-1, 1))
    from gradnotes import certificates

    result = certify_gaps(model, bowl, target_curvature=2.0, points_count=40_001)
    points = bowl.grid(40_001)
    values, gradients = model.value_and_gradient(torch.from_numpy(points))
    assert 2 * certificates.CHUNK < 40_001
    apart = np.abs(bowl.value(points) - values.numpy())
    steep = np.abs(bowl.gradient(points) - gradients.numpy())
    assert result.sampled_value == pytest.approx(apart.max(), rel=1e-14)
    assert result.sampled_gradient == pytest.approx(steep.max(), rel=1e-14)
    first, second, third, fourth = str(result).splitlines()
    numbers = [float(part.split()[0]) for part in first.split("<= ")[1:]]
    assert numbers == pytest.approx([result.value, result.gradient], rel=1e-3)
    assert first.endswith(" on [-1, 1].")
    assert second.startswith("The largest that 40001 points show: ")
    assert third == "Of the target it is taken for granted that its Hessian is at most 2."
    assert fourth.endswith("that of the target's formula is not.")
