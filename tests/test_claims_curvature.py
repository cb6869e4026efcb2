"""The claims that the chapter on curvature settles."""

import functools
import math
from itertools import combinations

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken
from scipy import sparse
from scipy.optimize import linprog

from gradnotes.counterexamples import ripple
from gradnotes.fitting import fit
from gradnotes.gaps import measure_gaps, residual
from gradnotes.inequalities import (
    euler_spline,
    grid_bound,
    hadamard_bound,
    kolmogorov_constant,
    landau_bound,
    landau_extremal,
)
from gradnotes.networks import MLP
from gradnotes.targets import grid_over

INF = math.inf
SLACK = 1 + 1e-9


def most(goal, length, n, *, small_at=None, values=1.0):
    """The largest value or slope at a place, by a linear programme, with curvature at most 1.

    The unknowns are values and slopes at n + 1 points; the slope is linear in between. The goal is
    ("value" or "slope", index); the values are bounded at the points with the given indices.
    """
    h = length / n
    change = sparse.diags([-1.0, 1.0], [0, 1], shape=(n, n + 1))
    mean = sparse.diags([0.5, 0.5], [0, 1], shape=(n, n + 1))
    bend = sparse.hstack([0 * change, change])
    what, index = goal
    objective = np.zeros(2 * n + 2)
    objective[index + (n + 1) * (what == "slope")] = -1.0
    small = set(range(n + 1) if small_at is None else small_at)
    limits = [(-values, values) if i in small else (None, None) for i in range(n + 1)]
    found = linprog(
        objective,
        A_eq=sparse.hstack([change, -h * mean]),
        b_eq=np.zeros(n),
        A_ub=sparse.vstack([bend, -bend]),
        b_ub=np.full(2 * n, h),
        bounds=limits + [(None, None)] * (n + 1),
        method="highs",
    )
    assert found.status == 0
    return -found.fun


# Every place of an interval


def near_side_only(eps, M, length, margin):
    return eps / margin + M * margin / 2 if margin else landau_bound(eps, M, length=length).value


@pytest.mark.claim("B61", "Q5")
@pytest.mark.parametrize(
    "formula",
    [
        lambda eps, M, length, margin: landau_bound(eps, M, length=length, margin=margin).value,
        broken(lambda eps, M, length, margin: (2 * eps * M) ** 0.5, by="the line, at all places"),
        broken(lambda eps, M, length, margin: 2 * (eps * M) ** 0.5, by="an end, at all places"),
        broken(near_side_only, by="two sides of the same length"),
        broken(
            lambda eps, M, length, margin: landau_bound(eps, M, margin=margin).value,
            by="a half line in place of an interval",
        ),
    ],
)
def test_the_bound_at_every_place_is_that_of_a_linear_programme(formula):
    """For size and curvature 1, in long and in short intervals, with 240 steps."""
    for length, step in [(6, 0), (6, 20), (6, 60), (6, 120), (2.5, 40), (1, 0), (1, 60), (1, 120)]:
        exact = formula(1.0, 1.0, length, step * length / 240)
        assert most(("slope", step), length, 240) == pytest.approx(exact, rel=1e-3)


def bent(rng, length):
    """A random residual of curvature 1 that is integrated exactly: points, values, slopes."""
    x = np.linspace(0, length, 2001)
    step = x[1]
    turns = rng.choice([-1.0, 1.0], 41).repeat(50)[:2000]
    slopes = np.append(0, np.cumsum(turns) * step) + rng.normal() * length / 3
    values = np.append(0, np.cumsum((slopes[1:] + slopes[:-1]) / 2 * step))
    return x, values - (values.max() + values.min()) / 2, slopes


@pytest.mark.claim("B61", "Q5")
@pytest.mark.parametrize(
    "factor", [1, broken(0.99, by="one per cent less"), broken(2**-0.5, by="half the size")]
)
def test_no_residual_is_steeper_than_the_bound_and_one_attains_it(factor):
    rng = np.random.default_rng(0)
    for _ in range(300):
        length = np.exp(rng.uniform(-2, 2))
        x, values, slopes = bent(rng, length)
        at = rng.integers(0, 2001)
        margin = min(x[at], length - x[at])
        bound = landau_bound(np.abs(values).max(), 1.0, length=length, margin=margin).value
        assert abs(slopes[at]) <= factor * bound * SLACK
        worst = landau_extremal(0.3, 2.0, length=length, margin=margin)
        around = np.linspace(-margin, length - margin, 2001)
        assert np.abs(worst(around)[0]).max() <= 0.3 * SLACK
        bound = landau_bound(0.3, 2.0, length=length, margin=margin).value
        assert worst(0.0)[1] <= factor * bound * SLACK
        assert worst(0.0)[1] == pytest.approx(bound, rel=1e-9)


@pytest.mark.claim("B62")
@pytest.mark.parametrize(
    ("share", "wave"),
    [
        (1 / sp.sqrt(2), sp.sin),
        broken(1, sp.sin, by="a ripple that attains the bound"),
        broken(sp.Rational(1, 2), sp.sin, by="half of the bound"),
        broken(1 / sp.sqrt(2), lambda u: sp.sin(u) + sp.sin(3 * u) / 9, by="another wave"),
    ],
)
def test_the_ripple_is_within_the_root_of_two(share, wave):
    """Size, slope and curvature at the places where those of the ripple are largest."""
    x, eps, k = sp.symbols("x epsilon k", positive=True)
    r = eps * wave(k * x / eps)
    crest, zero = sp.pi * eps / (2 * k), 0
    size, slope, curvature = (
        sp.Abs(r.diff(x, order).subs(x, at)) for order, at in enumerate((crest, zero, crest))
    )
    assert sp.simplify(slope**2 - share**2 * 2 * size * curvature) == 0


# Space, and other orders


def top_of_hessian(direction, curvature):
    return curvature * np.linalg.norm(direction) ** 2


@pytest.mark.claim("B22", "Q5")
@pytest.mark.parametrize(
    ("factor", "bend"),
    [
        (1, top_of_hessian),
        broken(0.99, top_of_hessian, by="one per cent less"),
        broken(1, lambda v, c: c * np.max(v**2), by="second derivatives along the axes only"),
    ],
)
def test_the_bound_in_space(factor, bend):
    """The worst function of one direction, and random sums of waves, in one to four variables."""
    rng = np.random.default_rng(0)
    t = np.linspace(-4, 4, 8001)
    values, slopes = landau_extremal(0.5, 1.0, margin=INF)(t)
    for d in (1, 2, 3, 4):
        v = rng.normal(size=d)
        gradient = np.abs(slopes).max() * np.linalg.norm(v)
        bound = hadamard_bound(np.abs(values).max(), bend(v, 1.0)).value
        assert gradient <= factor * bound * SLACK
        assert gradient >= 0.999 * bound
        points, waves = rng.uniform(-3, 3, (4000, d)), rng.normal(size=(3, d))
        phases = points @ waves.T
        size = np.abs(np.cos(phases).sum(axis=1)).max()
        grads = -np.sin(phases) @ waves
        hessians = -np.einsum("nk,ki,kj->nij", np.cos(phases), waves, waves)
        top = np.abs(np.linalg.eigvalsh(hessians)).max()
        assert np.linalg.norm(grads, axis=1).max() <= hadamard_bound(size, top).value


@pytest.mark.claim("B23")
@pytest.mark.parametrize(
    ("power", "constant"),
    [
        (lambda g: g / (1 + g), lambda g: ((1 + g) / g) ** (g / (1 + g))),
        broken(lambda g: 1 / (1 + g), lambda g: ((1 + g) / g) ** (g / (1 + g)), by="other powers"),
        broken(lambda g: g / (1 + g), lambda g: 2**0.5, by="the constant of curvature"),
        broken(lambda g: g / (1 + g), lambda g: ((1 + g) / g) ** (1 / (1 + g)), by="its power"),
    ],
)
def test_hoelder_gradients_by_a_programme_over_all_pairs_of_points(power, constant):
    """The largest slope in the middle, where slopes at all pairs of points are near each other."""
    n = 60
    x = np.linspace(-1, 1, n + 1) * 2.3
    h, pairs = x[1] - x[0], list(combinations(range(n + 1), 2))
    rows = np.arange(len(pairs)).repeat(2)
    signs = np.tile([1.0, -1.0], len(pairs))
    differ = sparse.csr_matrix((signs, (rows, np.ravel(pairs))), shape=(len(pairs), n + 1))
    before, up_to = np.tri(n + 1, k=-1), np.tri(n + 1)
    up_to[:, 0] = 0
    rise = sparse.csr_matrix(h * (before + up_to) / 2)  # the trapezoidal rule from the first point
    one = np.ones((n + 1, 1))
    for gamma, eps in [(0.5, 1.0), (0.8, 1.0), (1.0, 1.0), (0.5, 0.5)]:
        apart = np.abs(x[[j for _, j in pairs]] - x[[i for i, _ in pairs]]) ** gamma
        found = linprog(
            np.append(-np.eye(n + 1)[n // 2], 0),
            A_ub=sparse.vstack(
                [
                    sparse.hstack([differ, sparse.csr_matrix((len(pairs), 1))]),
                    sparse.hstack([-differ, sparse.csr_matrix((len(pairs), 1))]),
                    sparse.hstack([rise, one]),
                    sparse.hstack([-rise, -one]),
                ]
            ),
            b_ub=np.concatenate([apart, apart, np.full(2 * n + 2, eps)]),
            bounds=(None, None),
            method="highs",
        )
        exact = constant(gamma) * eps ** power(gamma)
        assert -found.fun == pytest.approx(exact, rel=0.02)
        assert hadamard_bound(eps, 1.0, exponent=gamma).value == pytest.approx(exact, rel=1e-9)


def favard(n):
    """Favard's number by its series."""
    j = np.arange(200_000)
    return 4 / np.pi * np.sum(((-1.0) ** j / (2 * j + 1)) ** (n + 1))


@pytest.mark.claim("B24")
@pytest.mark.parametrize(
    ("constant", "power"),
    [
        (lambda s: float(kolmogorov_constant(s)), lambda s: 1 - 1 / s),
        broken(lambda s: 2 ** ((s - 1) / 2), lambda s: 1 - 1 / s, by="the constant of the proof"),
        broken(lambda s: 1.0, lambda s: 1 - 1 / s, by="one as the constant"),
        broken(lambda s: float(kolmogorov_constant(s)), lambda s: 1 / 2, by="the root for all"),
    ],
)
def test_the_ladder_of_derivatives(constant, power):
    """Euler's splines of two sizes attain it, no sum of waves violates it, a programme agrees."""
    x, rng = np.linspace(0, 2 * np.pi, 4001), np.random.default_rng(0)
    for s in range(2, 7):
        size, slope = (np.abs(euler_spline(n)(x)).max() for n in (s, s - 1))
        for scale in (1.0, 3.0):  # the derivative of order s is 1 in both
            largest, steepest = size / scale**s, slope / scale ** (s - 1)
            assert steepest == pytest.approx(constant(s) * largest ** power(s), rel=1e-4)
        assert constant(s) == pytest.approx(favard(s - 1) / favard(s) ** (1 - 1 / s), rel=1e-4)
        for _ in range(50):
            a, w, b = rng.normal(size=3), rng.integers(1, 6, 3), rng.uniform(0, 7, 3)
            derivative = [
                np.abs(np.cos(np.outer(x, w) + b + n * np.pi / 2) @ (a * w**n)).max()
                for n in (0, 1, s)
            ]
            bound = constant(s) * derivative[0] ** (1 - 1 / s) * derivative[2] ** (1 / s)
            assert derivative[1] <= bound * (1 + 1e-6)
        assert constant(s) <= 2 ** ((s - 1) / 2) * SLACK
    n, h = 400, 12 / 400
    third = sparse.diags([-1.0, 3.0, -3.0, 1.0], [0, 1, 2, 3], shape=(n - 2, n + 1)) / h**3
    goal = np.zeros(n + 1)
    goal[[n // 2 - 1, n // 2 + 1]] = 1 / (2 * h), -1 / (2 * h)
    limit = np.ones(2 * n - 4)
    rows = sparse.vstack([third, -third])
    found = linprog(goal, A_ub=rows, b_ub=limit, bounds=(-1, 1), method="highs")
    assert -found.fun == pytest.approx(constant(3), rel=0.01)


# Without the hypotheses


def facts(r, low, high, *, at=None, n=20_001):
    """Size, slope and curvature of an expression, at points of an interval."""
    x = sp.Symbol("x", real=True)
    points = np.linspace(low, high, n)
    derivatives = [sp.lambdify(x, sp.diff(r(x), x, k))(points) + 0 * points for k in range(3)]
    size = np.abs(derivatives[0] if at is None else sp.lambdify(x, r(x))(np.array(at))).max()
    return size, np.abs(derivatives[1]).max(), np.abs(derivatives[2]).max()


def hat(eps):
    """Size and slope of a hat, and its mean curvature on [-1, 1] with the jumps of the slope."""
    x = np.array([-1, -eps, 0, eps, 1.0])
    slopes = np.diff(np.maximum(eps - np.abs(x), 0)) / np.diff(x)
    return eps, np.abs(slopes).max(), np.abs(np.diff(slopes)).sum() / 2


def diagonal(direction):
    """The worst residual as a function of one direction, and its curvature along the axes."""
    v = np.array(direction) / 1.0
    t = np.linspace(-2, 2, 4001)
    values, slopes = landau_extremal(1.0, 1.0, margin=INF)(t)
    return np.abs(values).max(), np.abs(slopes).max() * np.linalg.norm(v), np.max(v**2)


CASES = [
    (lambda: hat(0.01), "line"),
    (lambda: facts(lambda x: 2 * x - x**2 / 2 - 1, 0, 4), "line"),
    (lambda: facts(lambda x: 2 * x - 1, 0, 1), "end"),
    (lambda: facts(lambda x: sp.sin(sp.pi * x), 0, 8, at=np.arange(9.0)), "end"),
    (lambda: diagonal([1, 1]), "line"),
    (lambda: (*facts(lambda x: 0.01 * sp.sin(100 * x), 0, 1)[:2], 1.0), "line"),
    broken(lambda: hat(0.4), "line", by="a hat that is high"),
    broken(
        lambda: facts(lambda x: sp.sqrt(2) * x - x**2 / 2, 0, math.sqrt(2)),
        "end",
        by="a parabola, against the bound at an end",
    ),
    broken(lambda: facts(lambda x: 2 * x / 99 - 1, 0, 99), "long", by="a line that is long"),
    broken(lambda: facts(lambda x: sp.sin(sp.pi * x), 0, 8), "end", by="a sine seen everywhere"),
    broken(lambda: diagonal([1, 0]), "line", by="a function of one coordinate"),
    broken(lambda: facts(lambda x: 0.01 * sp.sin(100 * x), 0, 1), "line", by="its own curvature"),
]


@pytest.mark.claim("B63")
@pytest.mark.parametrize(("residual_facts", "bound"), CASES)
def test_a_bound_fails_without_any_one_of_its_hypotheses(residual_facts, bound):
    """A residual that lacks one is steeper than the bound by 10 % or more."""
    size, slope, curvature = residual_facts()
    bounds = {
        "line": (2 * size * curvature) ** 0.5,
        "end": 2 * (size * curvature) ** 0.5,
        "long": landau_bound(size, curvature, length=99).value,
    }
    assert slope > 1.1 * bounds[bound]


# From points to everywhere


def only_neighbours(eps, spacing, cells):
    return 2 * eps / spacing + spacing / 2


@pytest.mark.claim("B64")
@pytest.mark.parametrize(
    ("value", "slope"),
    [
        (
            lambda eps, spacing, cells: eps + spacing**2 / 8,
            lambda eps, spacing, cells: grid_bound(eps, 1.0, spacing=spacing, cells=cells).value,
        ),
        broken(
            lambda eps, spacing, cells: eps,
            lambda eps, spacing, cells: grid_bound(eps, 1.0, spacing=spacing, cells=cells).value,
            by="the size at the points, everywhere",
        ),
        broken(
            lambda eps, spacing, cells: eps + spacing**2 / 8,
            only_neighbours,
            by="neighbouring points only",
        ),
        broken(
            lambda eps, spacing, cells: eps + spacing**2 / 8,
            lambda eps, spacing, cells: 2 * eps**0.5,
            by="Landau's bound with the size at the points",
        ),
    ],
)
def test_small_values_at_points_bound_everything_between(value, slope):
    """Against linear programmes that bound the values at every 40th point only."""
    for eps, spacing, cells in [(1.0, 1.0, 6), (1.0, 3.0, 4), (0.01, 1.0, 4), (0.0, 2.0, 3)]:
        n = 40 * cells
        setting = {"small_at": range(0, n + 1, 40), "values": eps}
        top = most(("value", 20), cells * spacing, n, **setting)
        assert top == pytest.approx(value(eps, spacing, cells), rel=1e-3)
        steepest = [most(("slope", at), cells * spacing, n, **setting) for at in (0, 13, n // 2)]
        assert steepest[0] == pytest.approx(slope(eps, spacing, cells), rel=1e-3)
        assert max(steepest) <= steepest[0] * (1 + 1e-6)


# Trained networks

SQUARE = ((-1, 1), (-1, 1))


def sites(count):
    return np.random.default_rng(count).integers(-4096, 4097, (count, 2)) / 4096


LINE = tuple((grid_over, ((-1, 1),), n) for n in (4, 6, 8, 10, 12))
PLANE = tuple((grid_over, SQUARE, n) for n in (3, 4, 5, 6, 7, 8))
LOOSE = tuple((sites, n) for n in (8, 16, 32, 48, 64))
SETTINGS = {
    "line": (LINE, 2.0, "tanh"),
    "square": (PLANE, 2.0, "tanh"),
    "random": (LOOSE, 2.0, "tanh"),
    "wiggly line": (LINE, 6.0, "tanh"),
    "wiggly square": (PLANE, 6.0, "tanh"),
    "kinks": (LOOSE, 2.0, "relu"),
}
SMOOTH, WIGGLY = ("line", "square", "random"), ("wiggly line", "wiggly square")
# The seeds of the page, and others.
SEEDS = (0, 4)


@functools.cache
def pairs(name, seed):
    """Sixteen teachers, and students fitted to their values, for each set of points."""
    sets, scale, activation = SETTINGS[name]
    found = []
    for make, *arguments in sets:
        points = make(*arguments)
        kind = {"activation": activation, "members": 16}
        teacher = MLP(points.shape[1], (12,), **kind, scale=scale, rng=seed)
        values = teacher(torch.from_numpy(points)).detach().numpy()
        start = MLP(points.shape[1], (24,), **kind, rng=seed + 1)
        found.append((teacher, fit(start, points, values, steps=100, rng=0).model))
    return found


def grids(model):
    """The points everywhere, and those that are 0.2 or more from the boundary."""
    everywhere = grid_over(((-1, 1),) * model.inputs, {1: 801, 2: 61}[model.inputs])
    return everywhere, everywhere[(np.abs(everywhere) <= 0.8).all(axis=1)]


def hidden_ripple():
    return ripple((4096, 0), sp.symbols("x y", real=True), SQUARE)


@functools.cache
def gaps(name, seed, *, rippled=False):
    """Value gaps and gradient gaps everywhere, then inside; each (sets of points, pairs)."""
    found = []
    for (make, *arguments), (teacher, student) in zip(
        SETTINGS[name][0], pairs(name, seed), strict=True
    ):
        row = []
        for points in grids(teacher):
            if rippled:
                wave = hidden_ripple()
                assert not wave.value(make(*arguments)).any()
                values, slopes = residual(student, teacher, points)
                slopes = np.linalg.norm(slopes + wave.gradient(points), axis=-1)
                row += [np.abs(values).max(axis=1) + 1 / (4096 * np.pi), slopes.max(axis=1)]
            else:
                measured = measure_gaps(student, teacher, points, norm="max")
                row += [measured.value, measured.gradient]
        found.append(row)
    return np.array(found).transpose(1, 0, 2)


def exponents(value, slope):
    """The slopes of the lines of least squares through the logarithms."""
    v, s = (np.log(gap) - np.log(gap).mean(axis=0) for gap in (value, slope))
    return (v * s).sum(axis=0) / (v * v).sum(axis=0)


@functools.cache
def curvatures(name, seed):
    """The largest curvature of residuals."""
    tops = []
    for pair in pairs(name, seed):
        points = torch.from_numpy(grids(pair[0])[0])
        bends = [net.value_gradient_and_hessian(points)[2].numpy() for net in pair]
        tops.append(np.abs(np.linalg.eigvalsh(bends[0] - bends[1])).max(axis=(1, 2)))
    return np.array(tops)


REGIONS = {"everywhere": (0, 1), "inside": (2, 3), "two regions": (0, 3)}


@pytest.mark.claim("B65", "A13")
@pytest.mark.parametrize(
    ("names", "rippled", "region", "low", "high"),
    [
        (SMOOTH, False, "everywhere", 0.5, 0.88),
        (SMOOTH, False, "inside", 0.6, 0.95),
        (WIGGLY, False, "everywhere", 0.33, 0.67),
        (WIGGLY, False, "inside", 0.38, 0.78),
        (("random",), False, "two regions", 0.85, 1.25),
        broken(SMOOTH, False, "everywhere", 0.9, 1.3, by="in proportion, up to the boundary"),
        broken(SMOOTH, False, "inside", 0.9, 1.3, by="in proportion, inside"),
        broken(SMOOTH, False, "inside", 0.33, 0.67, by="the exponent of the bound"),
        broken(WIGGLY, False, "everywhere", 0.6, 0.95, by="wiggly targets as if smooth"),
        broken(("kinks",), False, "everywhere", 0.45, 1, by="networks with kinks"),
        broken(("random",), True, "everywhere", 0.45, 1, by="a target with a hidden ripple"),
    ],
)
def test_median_exponents_of_trained_pairs(names, rippled, region, low, high):
    """The median of sixteen pairs, in each setting and for both seeds."""
    for name in names:
        for seed in SEEDS:
            found = gaps(name, seed, rippled=rippled)[list(REGIONS[region])]
            assert low < np.median(exponents(*found)) < high


@pytest.mark.claim("B65")
@pytest.mark.parametrize(
    ("names", "share", "power"),
    [
        (SMOOTH + WIGGLY, 0.95, 0.7),
        broken(SMOOTH + WIGGLY, 0.3, 0.7, by="a third of the bound"),
        broken(SMOOTH + WIGGLY, 0.95, 0.1, by="a room that hardly shrinks"),
        broken(("kinks",), 0.95, 0.7, by="networks with kinks"),
    ],
)
def test_pairs_keep_the_bound_and_their_room_falls_more_slowly(names, share, power):
    """The room falls, by less than the given power of the value gap's fall."""
    for name in names:
        for seed in SEEDS:
            value, _, _, slope = gaps(name, seed)
            bend = curvatures(name, seed)
            bounds = np.vectorize(lambda e, M: hadamard_bound(e, M, margin=0.2).value)(value, bend)
            assert (slope <= share * bounds).all()
            room = np.median(np.sqrt(2 * value / bend), axis=1)
            falls = np.median(value[0]) / np.median(value[-1])
            assert 1.2 < room[0] / room[-1] < falls**power


@pytest.mark.claim("B66", "A13")
@pytest.mark.parametrize(
    ("name", "rippled"),
    [
        ("kinks", False),
        ("random", True),
        broken("random", False, by="smooth networks on smooth targets"),
    ],
)
def test_kinks_or_a_hidden_ripple_keep_the_gradient_gap(name, rippled):
    """The value gap falls by more than a half; the gradient gap stays, also inside."""
    value, steep, _, slope = gaps(name, 0, rippled=rippled)
    assert np.median(value[0]) > 2.5 * np.median(value[-1])
    for gap in (steep, slope):
        assert np.median(gap[0]) < 2.5 * np.median(gap[-1])
        assert np.median(gap[-1]) > 0.9
        assert np.median(exponents(value, gap)) < 0.45
    bounds = np.vectorize(lambda e, M: hadamard_bound(e, M, margin=0.2).value)
    assert (slope[-1] > bounds(value, curvatures(name, 0))[-1]).sum() >= 6
