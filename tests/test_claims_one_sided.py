"""The claims that the chapter on convex networks and one smooth side settles."""

import copy
import functools

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken
from scipy.optimize import linprog
from scipy.stats import norm

from gradnotes.fitting import fit
from gradnotes.gaps import residual
from gradnotes.inequalities import hadamard_bound
from gradnotes.networks import MLP
from gradnotes.targets import Target

X, Y = sp.symbols("x y", real=True)
LINE = np.linspace(-3, 3, 60_001)


# The theorem


def best(eps, curvature, margin):
    """The least value of 2 eps/t + L t/2 over t up to the margin, by search."""
    steps = np.geomspace(1e-6, min(margin, 1e3), 100_001)
    return (2 * eps / steps + curvature * steps / 2).min()


def highest_of(slopes, heights):
    """The largest of some lines on the grid, and its slope."""
    lines = slopes * LINE[:, None] + heights
    return lines.max(axis=1), slopes[lines.argmax(axis=1)]


def convex_pairs():
    """Smooth targets, some not convex, and convex networks: f, f', curvature, h, h'."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        a, w, b = rng.uniform(0.1, 1, 3) * [1, 3, 1]
        f, slope = a * np.cos(w * LINE) + b * LINE**2, -a * w * np.sin(w * LINE) + 2 * b * LINE
        touch = rng.uniform(-3, 3, rng.integers(2, 40))
        lines = np.interp(touch, LINE, slope) + rng.normal(size=len(touch)) * 0.1
        heights = np.interp(touch, LINE, f) - lines * touch
        yield f, slope, a * w**2 + 2 * b, *highest_of(lines, heights)
    # The worst case: tangents of a parabola, lifted.
    touch = np.arange(-4, 5) / 1.0
    h, own = highest_of(2 * touch, 0.125 - touch**2)
    yield LINE**2, 2 * LINE, 2.0, h, own


def zigzags():
    wave = 0.01 * (2 / np.pi) * np.arcsin(np.sin(40 * LINE))
    yield 0 * LINE, 0 * LINE, 1.0, wave, np.gradient(wave, LINE)


def kinky_targets():
    root = np.sqrt(LINE**2 + 1e-6)
    yield root, LINE / root, 1.0, np.abs(LINE - 1e-3), np.sign(LINE - 1e-3)


def with_a_quarter_of_the_curvature():
    for f, slope, curvature, *network in convex_pairs():
        yield f, slope, curvature / 4, *network


def concave_networks():
    for f, slope, curvature, h, own in kinky_targets():
        yield -f, -slope, curvature, -h, -own


def mirrored():
    """Curvature bounded from below, and concave networks."""
    for f, slope, curvature, h, own in convex_pairs():
        yield -f, -slope, curvature, -h, -own


def steep_at_the_end():
    h = np.maximum(0, 0.01 - 50 * (LINE + 3))
    yield 0 * LINE, 0 * LINE, 1.0, h, np.where(h > 0, -50.0, 0.0)


@pytest.mark.claim("B25")
@pytest.mark.parametrize(
    ("pairs", "factor", "near"),
    [
        (convex_pairs, 1, True),
        (mirrored, 1, True),
        broken(convex_pairs, 0.99, False, by="a smaller constant"),
        broken(zigzags, 1, False, by="a network that is not convex"),
        broken(kinky_targets, 1, False, by="a target that bends up at will"),
        broken(concave_networks, 1, False, by="a concave network and a bound from above"),
        broken(with_a_quarter_of_the_curvature, 1, False, by="a quarter of the curvature"),
        broken(steep_at_the_end, 1, None, by="no distance from the boundary"),
    ],
)
def test_one_smooth_side_bounds_the_gradient(pairs, factor, near):
    """Slopes off by no more than the formula, in the middle and near the boundary."""
    for f, slope, curvature, h, own in pairs():
        eps, off = np.abs(f - h).max(), np.abs(slope - own)
        margins = {True: (0.02, 0.3, 2.0), False: (2.0,), None: (0.0,)}[near]
        for margin in margins:
            bound = best(eps, curvature, margin or np.inf)
            known = hadamard_bound(eps, curvature, margin=margin or np.inf, sides=1)
            assert np.isclose(bound, known.value, rtol=1e-6)
            inside = np.abs(LINE) <= 3 - margin + 1e-9
            assert off[inside].max() <= factor * bound * (1 + 1e-6)


@pytest.mark.claim("B25")
@pytest.mark.parametrize(
    ("curvature", "level"),
    [
        (4, np.min),
        broken(3.9, np.min, by="less curvature"),
        broken(4, np.mean, by="the mean residual in place of the lowest"),
        broken(4, np.max, by="the highest residual in place of the lowest"),
    ],
)
def test_the_gradient_is_right_where_the_residual_is_lowest(curvature, level):
    """In the plane: highest of random tangent planes, with random tilts, at all inner points."""
    target = Target(2 * X**2 + sp.sin(Y), (X, Y), ((-4, 4), (-4, 4)))
    grid, rng = target.grid(201), np.random.default_rng(0)
    f, gradient = target.value(grid), target.gradient(grid)
    inner = (np.abs(grid) <= 2).all(axis=1)
    for tilt in (0.0, 0.1):
        touch = np.stack([np.arange(-4, 4.1, 0.5), np.zeros(17)], axis=1)
        lines = target.gradient(touch) * [1, 0] + rng.normal(size=(17, 2)) * [0, tilt]
        planes = grid @ lines.T + (2 * touch[:, 0] ** 2 - (lines * touch).sum(axis=1))
        r = f - planes.max(axis=1)
        off = ((gradient - lines[planes.argmax(axis=1)]) ** 2).sum(axis=1)
        room = 2 * curvature * np.abs(r - level(r))
        assert (off[inner] <= room[inner] * (1 + 1e-9) + 1e-2).all()


# The constant


@pytest.mark.claim("B67")
@pytest.mark.parametrize(
    ("constant", "lift"),
    [
        (2, sp.Rational(1, 2)),
        broken(sp.sqrt(2), sp.Rational(1, 2), by="the constant of two smooth sides"),
        broken(2, 0, by="tangents that were not lifted"),
        broken(4, sp.Rational(1, 2), by="twice the constant"),
    ],
)
def test_lifted_tangents_attain_the_bound(constant, lift):
    """Between two kinks at distance s, as expressions."""
    curvature, s = sp.symbols("L s", positive=True)
    r = curvature / 2 * X**2
    r = r - lift * r.subs(X, s / 2)
    eps = sp.Max(r.subs(X, s / 2), -r.subs(X, 0))
    slope = r.diff(X).subs(X, s / 2)
    assert sp.simplify(slope - constant * sp.sqrt(curvature * eps)) == 0


@pytest.mark.claim("B67")
@pytest.mark.parametrize(
    "factor", [1, broken(1.01, by="a steeper network"), broken(0.98, by="a flatter network")]
)
def test_two_units_attain_the_bound_at_a_distance_from_the_boundary(factor):
    """Huber's loss and the modulus: values within eps, and the slope of the bound at 0."""
    for eps, curvature, margin in ((0.1, 3, 0.1), (0.1, 3, 1.5), (0.5, 2, 0.9), (0.02, 1, 0.2)):
        tau = min(margin, 2 * np.sqrt(eps / curvature))
        steep = factor * (2 * eps / tau + curvature * tau / 2)
        u = np.linspace(-margin, margin, 20_001)
        middle = eps + curvature / 2 * u**2
        f = np.where(np.abs(u) <= tau, middle, factor * steep * np.abs(u) - eps)
        assert np.abs(f - steep * np.abs(u)).max() <= eps * (1 + 1e-9)
        bends = np.diff(f, 2) / (u[1] - u[0]) ** 2
        assert bends.max() <= curvature * (1 + 1e-3)
        assert np.isclose(steep, hadamard_bound(eps, curvature, margin=margin, sides=1).value)


def programme(sides, n=400, reach=3.0):
    """The steepest residual on a grid with size and second differences at most 1."""
    step = 2 * reach / n
    bend = np.diff(np.eye(n + 1), n=2, axis=0) / step**2
    rows = bend if sides == 1 else np.vstack([bend, -bend])
    slope = np.zeros(n + 1)
    slope[n // 2 - 1], slope[n // 2] = 1 / step, -1 / step
    return -linprog(slope, rows, np.ones(len(rows)), bounds=(-1, 1)).fun


@pytest.mark.claim("B67")
@pytest.mark.parametrize(
    ("sides", "constant"),
    [
        (1, 2.0),
        (2, 2**0.5),
        broken(1, 2**0.5, by="Hadamard's constant for one side"),
        broken(2, 2.0, by="the one-sided constant for two"),
    ],
)
def test_a_linear_programme_finds_the_constants(sides, constant):
    found = programme(sides)
    assert np.isclose(constant, hadamard_bound(1.0, 1.0, sides=sides).value)
    assert 0.99 * constant < found < constant * (1 + 1e-9)


@pytest.mark.claim("B67")
@pytest.mark.parametrize(
    ("sharpness", "constant"),
    [
        (1000, 2),
        broken(3, 2, by="a network without sharp bends"),
        broken(1000, 2**0.5, by="the constant of two smooth sides"),
        broken(1000, 2.05, by="a constant that is not approached"),
    ],
)
def test_smooth_networks_approach_the_bound(sharpness, constant):
    """Softplus units in place of the modulus, against Huber's loss, for eps = L = 1."""
    u = np.linspace(-4, 4, 800_001)
    softened = 2 * np.abs(u) + np.log1p(np.exp(-4 * sharpness * np.abs(u))) / sharpness
    f = np.where(np.abs(u) <= 2, 1 + u**2 / 2, 2 * np.abs(u) - 1)
    slope = np.clip(u, -2, 2) - 2 * np.tanh(2 * sharpness * u)
    r = f - softened
    ratio = np.abs(slope).max() / (constant * np.sqrt((r.max() - r.min()) / 2))
    assert 0.99 < ratio < 1


# Trained networks


TARGETS = {
    1: Target(sp.sqrt(1 + 4 * X**2), X, (-2, 2)),
    2: Target(sp.sqrt(1 + 4 * X**2 + Y**2), (X, Y), ((-2, 2), (-2, 2))),
}


def data(dimension, noise):
    target, rng = TARGETS[dimension], np.random.default_rng(3)
    points = target.grid(40) if dimension == 1 else rng.uniform(-2, 2, (150, 2))
    return points, target.value(points) + noise * rng.uniform(-1, 1, (8, len(points)))


@functools.cache
def ratios(dimension, noise, kind):
    """Gradient gap over bound for eight networks, and their misfit at the points."""
    points, values = data(dimension, noise)
    target, width = TARGETS[dimension], 512 if kind == "closer" else 64
    box = {"members": 8, "domain": target.domain, "rng": 2}
    start = MLP(dimension, (width,), activation="relu", **box)
    if kind == "closer":
        model = fit(start, points, values, steps=60, rng=0).model
    else:
        model = trained(start, points, values, kind == "convex")
    grid = target.grid(4001 if dimension == 1 else 101)
    r, gradients = residual(model, target, grid)
    inner = (np.abs(grid) <= 1).all(axis=1)
    slope = np.linalg.norm(gradients[:, inner], axis=2).max(axis=1)
    misfit = model(torch.from_numpy(points)).detach().numpy() - values
    bend = np.linalg.eigvalsh(target.hessian(grid)).max()
    return slope / (2 * np.sqrt(bend * np.abs(r).max(axis=1))), misfit.std(axis=1)


def trained(start, points, values, convex):
    """Adam, with the outer weights kept non-negative or not."""
    model = copy.deepcopy(start)
    x, y = torch.from_numpy(points), torch.from_numpy(values)
    model.weights[-1].data.abs_()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(600):
        adam.zero_grad()
        ((model(x) - y) ** 2).mean(dim=1).sum().backward()
        adam.step()
        if convex:
            model.weights[-1].data.clamp_(min=0)
    return model


@pytest.mark.claim("B68")
@pytest.mark.parametrize(
    ("kind", "factor"),
    [
        ("convex", 1),
        broken("convex", 0.25, by="a quarter of the bound"),
        broken("closer", 1, by="free networks that follow the noise"),
    ],
)
def test_trained_convex_networks_keep_the_bound(kind, factor):
    for dimension in TARGETS:
        for noise in (0.0, 0.2):
            assert (ratios(dimension, noise, kind)[0] < factor).all()


@pytest.mark.claim("B68")
@pytest.mark.parametrize(
    ("under", "over"),
    [
        ("free", "closer"),
        broken("closer", "free", by="the two trainings exchanged"),
        broken("free", "convex", by="convex networks that should break it"),
    ],
)
def test_free_networks_keep_it_until_they_follow_the_noise(under, over):
    (low, far), (high, near) = ratios(1, 0.2, under), ratios(1, 0.2, over)
    assert (low < 1).all()
    assert (high > 1).sum() >= 5
    assert np.median(near) < 0.6 * np.median(far)


# Weights


@pytest.mark.claim("B69")
@pytest.mark.parametrize(
    ("power", "constant"),
    [
        (-0.5, 2),
        broken(-0.25, 2, by="the rate of the bound for the slope"),
        broken(-1, 2, by="the inverse of n"),
        broken(-0.5, 0.5, by="a quarter of the constant"),
    ],
)
def test_the_sample_median_keeps_the_bound_and_beats_its_rate(power, constant):
    """Mean absolute losses by their definition, on a grid, and their slopes by counting."""
    rng, theta, gaps = np.random.default_rng(1), np.linspace(-5, 5, 2001), []
    risk = theta * (2 * norm.cdf(theta) - 1) + 2 * norm.pdf(theta)
    sizes = (25, 100, 400)
    for n in sizes:
        pairs = []
        for _ in range(60):
            y = rng.normal(size=n)
            loss = np.abs(y[:, None] - theta).mean(axis=0)
            count = (y[:, None] <= theta).mean(axis=0)
            pairs.append((np.abs(risk - loss).max(), 2 * np.abs(norm.cdf(theta) - count).max()))
        value, slope = np.array(pairs).T
        bound = constant * np.sqrt(2 * norm.pdf(0) * value)
        assert (slope <= bound).all()
        gaps.append([np.median(value), np.median(slope), np.median(bound)])
    exponents = np.polyfit(np.log(sizes), np.log(gaps), 1)[0]
    assert np.abs(exponents - [-0.5, power, -0.25]).max() < 0.12
