"""The claims that the chapter on certificates settles."""

import functools
import math
from itertools import pairwise, product

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken

from gradnotes.certificates import certify_gaps, curvature_bound, lipschitz_bound
from gradnotes.fitting import fit
from gradnotes.functions import SinPi
from gradnotes.inequalities import grid_bound
from gradnotes.networks import MLP
from gradnotes.targets import Target

X = sp.Symbol("x", real=True)
F = Target(sp.sin(3 * X) + X**2 / 2, (X,), (-1, 1))
DENSE = F.grid(20_001)
BEND = 4 / (3 * math.sqrt(3))


@functools.cache
def trained(hidden):
    """Eight networks, fitted to 20 values of F."""
    points = F.grid(20)
    return fit(MLP(1, hidden, members=8, rng=0), points, F.value(points), steps=200, rng=0).model


@functools.cache
def true_gaps():
    """The gaps of the networks with four units on a dense sample."""
    value, slope = trained((4,)).value_and_gradient(torch.from_numpy(DENSE))
    apart = np.abs(F.value(DENSE) - value.numpy()).max(-1)
    return apart, np.abs(F.gradient(DENSE) - slope.numpy()).max((1, 2))


# Points alone


@pytest.mark.claim("B88")
@pytest.mark.parametrize(
    "rule",
    [
        lambda gap: 50 / gap,
        broken(lambda gap: 1 / gap, by="a spike as wide as the spacing"),
        broken(lambda gap: 50, by="the same spike for all points"),
    ],
)
def test_two_units_deceive_any_points(rule):
    """A spike of height 2 tanh 1 in the widest gap of random points, in one to three variables."""
    for seed in range(24):
        rng = np.random.default_rng(seed)
        dimension, count = 1 + seed % 3, int(rng.integers(2, 400))
        points = rng.uniform(-1, 1, (count, dimension))
        first = np.sort(points[:, 0])
        at = int(np.argmax(np.diff(first)))
        centre, gap = (first[at] + first[at + 1]) / 2, first[at + 1] - first[at]
        w = rule(gap)
        model = MLP(dimension, (2,), rng=0)
        inner = np.zeros((dimension, 2))
        inner[0] = w
        flat = [*inner.ravel(), 1, -1, 1 - w * centre, -1 - w * centre, 0]
        model.set_flat_weights(torch.tensor(flat, dtype=torch.float64))
        value, slope = model.value_and_gradient(torch.from_numpy(points))
        assert float(value.abs().max()) < 1e-9
        assert float(slope.abs().max()) < 1e-6
        place = torch.zeros(1, dimension, dtype=torch.float64)
        place[0, 0] = centre
        assert model(place).item() == pytest.approx(2 * math.tanh(1))


@pytest.mark.claim("B88")
@pytest.mark.parametrize(
    ("half_waves", "power"),
    [
        (2048, 2),
        broken(2048, 1, by="a ripple that is steep at the points"),
        broken(1000, 2, by="a ripple that does not fit the points"),
    ],
)
def test_two_targets_with_the_same_points_have_the_same_certificate(half_waves, power):
    """A hidden ripple changes no value and no gradient at the points, and moves the target far."""
    hidden = F + Target(SinPi(half_waves * X) ** power / 2, (X,), F.domain)
    points = F.grid(4097)
    assert (hidden.value(points) == F.value(points)).all()
    assert (hidden.gradient(points) == F.gradient(points)).all()
    network = trained((4,)).member(0)
    first, second = (
        certify_gaps(network, target, target_curvature=10.0, points_count=4097)
        for target in (F, hidden)
    )
    assert first == second
    far = np.abs(hidden.value(DENSE) - network(torch.from_numpy(DENSE)).detach().numpy()).max()
    assert far > 0.4 > 100 * first.value
    for target in (F, hidden):
        with pytest.raises(ValueError, match="nothing can be certified"):
            certify_gaps(network, target)


# From points to everywhere


def random_residual(rng, dimension):
    """A sum of three waves on the unit cube: values, gradients, and bounds of both derivatives."""
    frequencies = rng.normal(size=(3, dimension)) * 4
    heights, phases = rng.normal(size=3), rng.uniform(0, 6, 3)
    lengths = np.linalg.norm(frequencies, axis=1)

    def value(points):
        return np.sin(points @ frequencies.T + phases) @ heights

    def gradient(points):
        return (np.cos(points @ frequencies.T + phases) * heights) @ frequencies

    return value, gradient, np.abs(heights) @ lengths, np.abs(heights) @ lengths**2


def grid(counts):
    axes = [np.linspace(0, 1, count) for count in counts]
    return np.array(list(product(*axes)))


@pytest.mark.claim("B89")
@pytest.mark.parametrize(
    ("slope_share", "bend_share"),
    [
        (1, 1 / 8),
        broken(1, 1 / 16, by="half of what the curvature allows"),
        broken(1, 0, by="the grid maximum alone"),
        broken(0.4, 1 / 8, by="less than half of the distance"),
    ],
)
def test_values_at_points_bound_all_values(slope_share, bend_share):
    """Random waves in one to three variables, and the functions that attain the bounds."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        dimension = 1 + seed % 3
        value, _, slope, bend = random_residual(rng, dimension)
        counts = rng.integers(2, (40, 8, 5)[dimension - 1], dimension)
        squares = (1 / (counts - 1) ** 2.0).sum()
        seen = np.abs(value(grid(counts))).max()
        far = np.abs(value(rng.uniform(size=(2000, dimension)))).max()
        assert far <= seen + slope_share * slope * math.sqrt(squares) / 2
        assert far <= seen + bend_share * bend * squares
        # A bowl over one cell of any shape is zero at its corners.
        sides = rng.uniform(0.1, 1, dimension)
        middle = (bend / 2 * (sides / 2) ** 2).sum()
        assert middle <= bend_share * bend * (sides**2).sum() * (1 + 1e-9)
        assert np.isclose(middle, bend * (sides**2).sum() / 8)
        # The distance from the nearest point.
        tau = math.sqrt((sides**2).sum()) / 2
        cone = slope * np.linalg.norm(sides / 2)
        assert cone <= slope_share * slope * tau * (1 + 1e-9)


POINTS = np.arange(17)[:, None] / 16.0
WAVE = SinPi(16 * X) / (256 * sp.pi**2)  # zero at the points, of curvature 1
HALF = sp.Piecewise(((X - sp.S.Half) ** 3, sp.Gt(X, sp.S.Half)), (0, True))


@pytest.mark.claim("B89", "B90")
@pytest.mark.parametrize(
    ("points", "residual", "curvature"),
    [
        (POINTS, WAVE, 1),
        broken(POINTS[:9], HALF, 3, by="points on one half only"),
        broken(POINTS, SinPi(16 * X) ** 3, 0, by="curvature at the points only"),
        broken(POINTS, WAVE, 0, by="no curvature"),
    ],
)
def test_a_hypothesis_that_is_dropped(points, residual, curvature):
    """The bounds of value and slope with spacing 1/16 and the curvature that is said to hold."""
    target = Target(residual, (X,), (0, 1))
    fine = np.linspace(0, 1, 1001)[:, None]
    seen, seen_slope = np.abs(target.value(points)).max(), np.abs(target.gradient(points)).max()
    slope = np.abs(target.gradient(fine)).max()
    assert np.abs(target.value(fine)).max() <= seen + curvature / 16**2 / 8 + 1e-12
    assert slope <= seen_slope + curvature / 32 + 1e-12


@pytest.mark.claim("B90")
@pytest.mark.parametrize(
    "share",
    [1, broken(0.5, by="half of the distance"), broken(0, by="the grid maximum alone")],
)
def test_gradients_at_points_bound_all_gradients(share):
    """Random waves, and slopes that are the distance from the nearest point."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        dimension = 1 + seed % 3
        _, gradient, _, bend = random_residual(rng, dimension)
        counts = rng.integers(2, (40, 8, 5)[dimension - 1], dimension)
        tau = math.sqrt((1 / (counts - 1) ** 2.0).sum()) / 2
        seen = np.linalg.norm(gradient(grid(counts)), axis=1).max()
        places = rng.uniform(size=(2000, dimension))
        assert np.linalg.norm(gradient(places), axis=1).max() <= seen + share * bend * tau
        line = np.linspace(0, 1, counts[0])
        places = np.linspace(0, 1, 10_001)
        zigzag = bend * np.abs(places[:, None] - line).min(1)
        reach = bend / (counts[0] - 1) / 2
        assert bend * np.abs(line[:, None] - line).min(1).max() == 0
        assert zigzag.max() <= share * reach * (1 + 1e-9)
        assert zigzag.max() >= 0.9 * reach


@pytest.mark.claim("B90")
@pytest.mark.parametrize(
    ("factor", "reach"),
    [
        (math.sqrt(2), 1),
        broken(2.1, 1, by="a floor above Landau's constant"),
        broken(math.sqrt(2), 0.3, by="an interval that is too short"),
    ],
)
def test_values_alone_have_a_floor(factor, reach):
    """A residual with the stated slope, small everywhere; and the bound of a very fine grid."""
    for eps, bend in ((0.1, 1.0), (1e-4, 25.0), (2.0, 0.3)):
        half = reach * math.sqrt(2 * eps / bend)
        x = np.linspace(-half, half, 200_001)
        slope = np.maximum(factor * math.sqrt(eps * bend) - bend * np.abs(x), 0)
        rise = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(x))])
        assert np.ptp(rise) <= 2 * eps * (1 + 1e-6)
        assert slope.max() == pytest.approx(math.sqrt(2 * eps * bend))
        assert np.ptp(rise) == pytest.approx(2 * eps, rel=1e-6)
        for spacing in (1e-3, 1e-6):
            cells = int(20 * half / spacing)
            fine = grid_bound(eps, bend, spacing=spacing, cells=cells).value
            assert fine >= slope.max()


# What the weights know


@pytest.mark.claim("B91")
@pytest.mark.parametrize(
    ("s1", "s2", "power"),
    [
        (1, BEND, 2),
        broken(0.9, BEND, 2, by="a smaller slope of tanh"),
        broken(1, BEND / 2, 2, by="half of the bend of tanh"),
        broken(1, BEND, 1, by="inner weights that count once"),
    ],
)
def test_weights_bound_slope_and_curvature(s1, s2, power):
    """By hand, against derivatives at many points, and against the package, which is no larger."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        d, width = int(rng.integers(1, 4)), int(rng.integers(1, 6))
        model = MLP(d, (width,), rng=rng)
        inner = model.weights[0].detach().numpy() * rng.uniform(0.5, 4)
        with torch.no_grad():
            model.weights[0].copy_(torch.from_numpy(inner))
        outer = model.weights[1].detach().numpy()[:, 0]
        lengths = np.linalg.norm(inner, axis=0)
        centre = model.biases[0].detach().numpy()
        # Random places, and places where one unit has its largest slope or bend.
        places = rng.uniform(-3, 3, (3000, d))
        bends = np.arctanh(1 / math.sqrt(3)) * np.array([-1.0, 0.0, 1.0])
        special = [
            (b - c) * w / (w @ w) for w, c in zip(inner.T, centre, strict=True) for b in bends
        ]
        points = torch.from_numpy(np.concatenate([places, special]))
        _, slope, hessian = model.value_gradient_and_hessian(points)
        slope = float(slope.norm(dim=-1).max())
        bend = float(torch.linalg.matrix_norm(hessian, 2).max())
        by_hand = s1 * np.abs(outer) @ lengths, s2 * np.abs(outer) @ lengths**power
        assert slope <= lipschitz_bound(model) <= by_hand[0] * (1 + 1e-6)
        assert bend <= curvature_bound(model) <= by_hand[1] * (1 + 1e-6)
        if width == 1:
            assert slope == pytest.approx(by_hand[0])
            assert bend == pytest.approx(by_hand[1])


@pytest.mark.claim("B91")
@pytest.mark.parametrize(
    ("carried", "squared"),
    [
        (1, 2),
        broken(0, 2, by="the curvature of the layers below is lost"),
        broken(1, 1, by="the slope of the layers below counts once"),
    ],
)
def test_the_recursion_over_layers(carried, squared):
    """Small outer and large inner weights, so that both terms of the recursion count."""
    shares = []
    for scale, size in ((0.05, 1.0), (4.0, 0.05)):
        for seed in range(6):
            model = MLP(1, (1, 1), scale=scale, rng=seed)
            with torch.no_grad():
                model.weights[0].copy_(torch.tensor([[4.0 if size < 1 else 2.0]]))
                model.weights[1].copy_(torch.tensor([[size if size < 1 else 3.0]]))
                for bias in model.biases:
                    bias.fill_(0.1 * seed)
            first, second, outer = (abs(w.item()) for w in model.weights)
            lip, bend = first, BEND * first**2
            bend = BEND * second**2 * lip**squared + carried * second * bend
            x = torch.linspace(-3, 3, 20_001, dtype=torch.float64)[:, None]
            seen = float(model.value_gradient_and_hessian(x)[2].abs().max())
            assert seen <= outer * bend
            assert curvature_bound(model) <= outer * bend * (1 + 1e-6)
            shares.append(seen / (outer * bend))
    assert max(shares) > 0.5


@pytest.mark.claim("B92")
@pytest.mark.parametrize(
    ("layers", "growth"),
    [((1, 2, 3), 2.5), broken((3, 2, 1), 2.5, by="the order turned round")],
)
def test_the_bounds_loosen_with_each_layer(layers, growth):
    """Eight networks of each depth, the largest derivatives by torch's own differentiation."""
    middles = []
    for depth in layers:
        network = trained((8,) * depth)
        x = torch.from_numpy(DENSE[::5]).expand(8, -1, 1).clone().requires_grad_(True)
        value = network._evaluate(network.weights, network.biases, x)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
        seen = [part.detach().abs().flatten(1).amax(1).numpy() for part in (slope, bend)]
        ratios = lipschitz_bound(network) / seen[0], curvature_bound(network) / seen[1]
        assert min(map(np.min, ratios)) >= 1
        middles.append([np.median(part) for part in ratios])
    steps = np.array(middles[1:]) / middles[:-1]
    assert (steps[:, 1] > growth).all()
    assert (steps[:, 0] > 1.4).all()
    assert middles[0][1] < 2.5
    assert middles[0][0] < 3


@pytest.mark.claim("B93")
@pytest.mark.parametrize(
    ("of_value", "of_gradient"),
    [
        (16, 4),
        broken(4, 4, by="first order for the value"),
        broken(16, 16, by="second order for the gradient"),
    ],
)
def test_certified_gaps_of_trained_networks(of_value, of_gradient):
    """Above the dense sample always, near it at last, and the value long before the gradient."""
    network, (apart, steep) = trained((4,)), true_gaps()
    results = [
        certify_gaps(network, F, target_curvature=10.0, points_count=int(n))
        for n in 2 ** np.array([5, 7, 9, 11, 17]) + 1
    ]
    for result in results:
        assert (result.value >= apart).all()
        assert (result.gradient >= steep).all()
        assert (result.sampled_value <= apart * (1 + 1e-6)).all()
    for before, after in pairwise(results[:4]):
        added = [
            (result.value - result.sampled_value, result.gradient - result.sampled_gradient)
            for result in (before, after)
        ]
        assert np.allclose(added[0][0] / added[1][0], of_value, rtol=0.01)
        assert np.allclose(added[0][1] / added[1][1], of_gradient, rtol=0.01)
    assert np.median(results[3].value / apart) < 1.2
    assert np.median(results[3].gradient / steep) > 1.5
    assert (results[4].gradient < 1.2 * steep).all()
    fine = [
        grid_bound(float(e), float(m), spacing=2.0**-16, cells=2**17).value
        for e, m in zip(results[4].sampled_value, results[4].curvature, strict=True)
    ]
    assert np.median(fine / steep) > 4
