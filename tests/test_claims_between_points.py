"""The claims that the chapter between the training points settles."""

import functools

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken

from gradnotes.fitting import fit
from gradnotes.interpolants import interpolate
from gradnotes.networks import MLP
from gradnotes.targets import Target

X = sp.Symbol("x", real=True)
SMOOTH = [sp.exp(X), sp.sin(3 * X) + X**2, 1 / (2 + X), X**5 - X**3]


def one_sided_derivatives(residual, a):
    """Slope and curvature to the right of a, by one-sided differences in 50 digits."""
    step = sp.Rational(1, 10**12)
    values = [sp.N(residual.subs(X, a + k * step), 50) for k in range(4)]
    slope = (-11 * values[0] + 18 * values[1] - 9 * values[2] + 2 * values[3]) / (6 * step)
    curvature = (2 * values[0] - 5 * values[1] + 4 * values[2] - values[3]) / step**2
    return float(slope), float(curvature)


def residuals(f, a, h):
    """What three models leave of f between the training points a and a + h."""
    b = a + h
    f_a, f_b = f.subs(X, a), f.subs(X, b)
    straight = f_a + (f_b - f_a) * (X - a) / h
    c = sp.symbols("c0:4")
    cubic = sum(c[k] * (X - a) ** k for k in range(4))
    both = [(cubic - f, a), (cubic - f, b), ((cubic - f).diff(X), a), ((cubic - f).diff(X), b)]
    solved = sp.solve([expression.subs(X, at) for expression, at in both], c)
    return {"nearest": f - f_a, "linear": f - straight, "hermite": f - cubic.subs(solved)}


def between_extremes(number, expression, a, h):
    """Whether a number is a value of an expression on [a, a + h]."""
    values = sp.lambdify(X, expression, "numpy")(np.linspace(float(a), float(a + h), 401))
    values = np.broadcast_to(values, 401)
    slack = 1e-6 * np.abs(values).max()
    return values.min() - slack <= number <= values.max() + slack


@pytest.mark.claim("B40")
@pytest.mark.parametrize("f", SMOOTH, ids=str)
@pytest.mark.parametrize(
    ("of_slope", "of_curvature"),
    [
        (sp.Rational(-1, 2), sp.Rational(1, 12)),
        broken(sp.Rational(1, 2), sp.Rational(1, 12), by="the sign of the slope"),
        broken(sp.Rational(-1, 3), sp.Rational(1, 12), by="a third for a half"),
        broken(sp.Rational(-1, 2), sp.Rational(1, 24), by="half of the curvature"),
    ],
)
def test_slopes_of_three_interpolants_at_a_training_point(f, of_slope, of_curvature):
    """The formulas, against differences of residuals made by solving for the pieces."""
    a = sp.Rational(1, 3)
    for h in (sp.Rational(1, 2), sp.Rational(1, 50)):
        r = residuals(f, a, h)
        slope, _ = one_sided_derivatives(r["nearest"], a)
        assert np.isclose(slope, float(f.diff(X).subs(X, a)), rtol=1e-9)
        slope, _ = one_sided_derivatives(r["linear"], a)
        assert between_extremes(slope, of_slope * h * f.diff(X, 2), a, h)
        slope, curvature = one_sided_derivatives(r["hermite"], a)
        assert abs(slope) < 1e-9
        assert between_extremes(curvature, of_curvature * h**2 * f.diff(X, 4), a, h)


@pytest.mark.claim("B40")
@pytest.mark.parametrize("f", SMOOTH, ids=str)
@pytest.mark.parametrize(
    "half", [sp.Rational(1, 2), broken(sp.Rational(2, 5), by="two fifths for a half")]
)
def test_the_package_has_the_same_slopes(f, half):
    """The interpolants of the package, by their own gradients."""
    target, h = Target(f, X, (0.0, 1.0)), 1 / 8
    knots = target.grid(9)
    at = knots[3:4] + 1e-9
    data = knots, target.value(knots)
    truth = target.gradient(at)
    nearest, linear = (interpolate(*data, method=name) for name in ("nearest", "linear"))
    hermite = interpolate(*data, target.gradient(knots), method="hermite")
    assert np.allclose(truth - nearest.gradient(at), truth)
    slope = (truth - linear.gradient(at)).item()
    assert between_extremes(slope, -half * h * f.diff(X, 2), 3 / 8, h)
    assert abs((truth - hermite.gradient(at)).item()) < 1e-6


@pytest.mark.claim("T20")
@pytest.mark.parametrize(
    "method",
    ["nearest", broken("linear", by="straight pieces"), broken("taylor", by="pieces with slopes")],
)
def test_steps_keep_the_slope_of_the_target(method):
    """However many points: the error at a small distance is the slope times the distance."""
    target = Target(sp.sin(X) + X, X, (0.0, 8.0))
    for count in (9, 65, 513):
        knots = target.grid(count)
        gradients = target.gradient(knots) if method == "taylor" else None
        model = interpolate(knots, target.value(knots), gradients, method=method)
        distances = np.array([1e-3, 1e-4, 1e-5])[:, None]
        at = knots[2]
        errors = np.abs(target.value(at + distances) - model.value(at + distances))
        slope = np.abs(target.gradient(at[None])).item()
        assert np.allclose(errors / distances[:, 0], slope, rtol=1e-2)


@pytest.mark.claim("T21")
@pytest.mark.parametrize(
    ("method", "in_distance", "in_spacing"),
    [
        ("linear", 1, 2),
        ("nearest", 1, 1),
        broken("nearest", 1, 2, by="steps, whose error falls like the spacing"),
        broken("taylor", 1, 2, by="pieces with slopes, which start flat"),
    ],
)
def test_straight_pieces_rise_linearly_and_fall_quadratically(method, in_distance, in_spacing):
    """The exponent in the distance from a point does not give that in the spacing."""
    target = Target(sp.exp(X / 2), X, (0.0, 4.0))

    def model(count):
        knots = target.grid(count)
        gradients = target.gradient(knots) if method == "taylor" else None
        return interpolate(knots, target.value(knots), gradients, method=method)

    near, distances = model(9), np.geomspace(1e-5, 1e-3, 5)
    errors = np.abs(target.value(1.0 + distances[:, None]) - near.value(1.0 + distances[:, None]))
    found = np.polyfit(np.log(distances), np.log(errors), 1)[0]
    assert np.isclose(found, in_distance, atol=0.02)
    counts, everywhere = np.array([17, 65, 257]), target.grid(5001)
    rms = [
        np.sqrt(((model(n).value(everywhere) - target.value(everywhere)) ** 2).mean())
        for n in counts
    ]
    found = np.polyfit(np.log(counts - 1), np.log(rms), 1)[0]
    assert np.isclose(-found, in_spacing, atol=0.05)


def random_residual(seed):
    """Waves times (x - a)(b - x), so that both ends are zeros, and the interval."""
    rng = np.random.default_rng(seed)
    a, h = rng.normal(), rng.uniform(0.1, 3.0)
    waves = sum(
        float(c) * sp.sin(float(w) * X + float(p))
        for c, w, p in zip(
            rng.normal(size=3), rng.normal(size=3) * 4, rng.uniform(0, 7, 3), strict=True
        )
    )
    return (X - a) * (a + h - X) * (waves + float(rng.normal())), a, h


@pytest.mark.claim("B41")
@pytest.mark.parametrize(
    ("of_slope", "of_value", "shift"),
    [
        (0.5, 0.125, 0.0),
        broken(0.2, 0.125, 0.0, by="a smaller constant for the slope"),
        broken(0.5, 0.03, 0.0, by="a smaller constant for the value"),
        broken(0.5, 0.125, 5.0, by="one end that is not a zero"),
    ],
)
def test_zeros_close_together_force_small_slopes(of_slope, of_value, shift):
    """Random residuals with two zeros, on a grid, against both forms of the bounds."""
    for seed in range(40):
        expression, a, h = random_residual(seed)
        expression = expression + shift * (X - a)
        x = np.linspace(a, a + h, 501)
        r, slope, curvature = (
            np.broadcast_to(sp.lambdify(X, expression.diff(X, k), "numpy")(x), 501)
            for k in range(3)
        )
        largest = np.abs(curvature).max() * (1 + 1e-3)
        assert np.abs(slope).max() <= of_slope * largest * h
        assert np.abs(r).max() <= of_value * largest * h**2
        local = largest / (2 * h) * ((x - a) ** 2 + (a + h - x) ** 2)
        assert (np.abs(slope) <= 2 * of_slope * local + 1e-12).all()
        assert (np.abs(r) <= largest / 2 * (x - a) * (a + h - x) + 1e-12).all()


@pytest.mark.claim("B41")
@pytest.mark.parametrize(
    ("of_slope", "of_value"),
    [
        (sp.Rational(1, 2), sp.Rational(1, 8)),
        broken(sp.Rational(51, 100), sp.Rational(1, 8), by="a larger constant for the slope"),
        broken(sp.Rational(1, 2), sp.Rational(1, 7), by="a larger constant for the value"),
    ],
)
def test_the_bounds_between_zeros_are_attained(of_slope, of_value):
    """By the parabola."""
    M, a, h = sp.symbols("M a h", positive=True)
    r = M / 2 * (X - a) * (a + h - X)
    assert sp.simplify(r.diff(X, 2) + M) == 0
    assert sp.simplify(r.diff(X).subs(X, a) - of_slope * M * h) == 0
    assert sp.simplify(r.subs(X, a + h / 2) - of_value * M * h**2) == 0


@pytest.mark.claim("B41")
@pytest.mark.parametrize(
    "frequency", [lambda k: k, broken(lambda k: 1 / sp.Integer(k), by="waves without the zeros")]
)
def test_without_a_bound_of_the_curvature_zeros_force_nothing(frequency):
    """The sinusoid: zeros at distance 1, and slopes that exceed every bound."""
    for k in (1, 10, 100):
        wave = sp.sin(frequency(k) * sp.pi * X)
        assert wave.subs(X, 3) == wave.subs(X, 4) == 0
        assert sp.Abs(wave.diff(X).subs(X, 3)) == k * sp.pi


def waves(dimension, seed, speed=4.0):
    """A smooth random target on the cube [-1, 1]^d."""
    rng = np.random.default_rng(seed)
    symbols = sp.symbols("x y", real=True)[:dimension]
    w = rng.normal(size=(6, dimension)) * speed / np.sqrt(dimension)
    inner = [sum(a * s for a, s in zip(row, symbols, strict=True)) for row in w.tolist()]
    phases = rng.uniform(0, 7, 6).tolist()
    total = sum(sp.cos(arg + b) for arg, b in zip(inner, phases, strict=True))
    return Target(total / sp.sqrt(6), symbols, ((-1, 1),) * dimension)


@functools.cache
def gradient_errors(dimension, count, speed=4.0):
    """Relative gradient errors of eight fitted networks, at the points and elsewhere."""
    rng = np.random.default_rng(100 + count)
    sites = np.linspace(-1, 1, count)[:, None]
    sites = sites if dimension == 1 else rng.uniform(-1, 1, (count, dimension))
    targets = [waves(dimension, seed, speed) for seed in range(8)]
    data = np.array([target.value(sites) for target in targets])
    start = MLP(dimension, (32, 32), members=8, rng=0)
    result = fit(start, sites, data, steps=400, rng=0)
    assert result.rms.max() < 1e-12
    errors = []
    for rows in (sites, rng.uniform(-1, 1, (1000, dimension))):
        truth = np.array([target.gradient(rows) for target in targets])
        found = result.model.value_and_gradient(torch.from_numpy(rows))[1].numpy()
        size = np.sqrt((truth**2).sum(-1).mean(-1))
        errors.append(np.sqrt(((found - truth) ** 2).sum(-1).mean(-1)) / size)
    return errors


@pytest.mark.claim("B42")
@pytest.mark.parametrize(
    ("dimension", "counts", "speed"),
    [
        (1, (4, 8, 16), 4.0),
        (2, (8, 32, 128), 4.0),
        broken(1, (4, 8, 16), 16.0, by="targets too fast for the points"),
        broken(2, (8, 8, 8), 4.0, by="no more points"),
    ],
)
def test_slopes_at_the_points_fall_with_more_points(dimension, counts, speed):
    """The training error is zero throughout; what falls is the gradient error."""
    at, elsewhere = np.array([gradient_errors(dimension, n, speed) for n in counts]).swapaxes(0, 1)
    assert abs(np.median(at[0]) - 1) < 0.5
    assert (np.diff(np.median(at, axis=1)) < 0).all()
    assert np.median(at[-1]) < 0.1
    ratio = np.median(at, axis=1) / np.median(elsewhere, axis=1)
    assert np.abs(np.log10(ratio)).max() < 1
