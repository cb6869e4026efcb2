"""The claims that the chapter on the four readings of the question settles."""

import functools

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken

from gradnotes.counterexamples import ripple
from gradnotes.fitting import fit
from gradnotes.gaps import residual
from gradnotes.networks import MLP
from gradnotes.targets import Target

X, Y = sp.symbols("x y", real=True)
A = sp.Symbol("a", positive=True)
SQUARE = ((-1, 1), (-1, 1))
F = Target(sp.sin(2 * X + Y) + X * Y**2, (X, Y), SQUARE)
POINTS = np.random.default_rng(1).uniform(-1, 1, (200, 2))
GRID = F.grid(201)
LINE = np.linspace(-1, 1, 4001)


@functools.cache
def trained():
    """Eight networks with six units, fitted to values of F, nearly at rest."""
    start = MLP(2, (6,), members=8, rng=0)
    return fit(start, POINTS, F.value(POINTS), steps=2000, rng=0).model


@functools.cache
def on_grid():
    """The residuals of the eight networks, and the lengths of their gradients."""
    values, gradients = residual(trained(), F, GRID)
    return values, np.linalg.norm(gradients, axis=-1)


# The literal reading


@pytest.mark.claim("Q2", "B18")
@pytest.mark.parametrize(
    "factor",
    [1, broken(0.99, by="one per cent off the decay"), broken(-1, by="growth in place of decay")],
)
def test_the_literal_reading_bounds_the_logarithmic_slope(factor):
    """Residuals without zeros decay by no more than e^(-cs), and e^(-3x) does so exactly."""
    rng, straight = np.random.default_rng(0), np.array([0.0, -3.0, 1.0])
    for a, b, w in [straight, *rng.normal(size=(300, 3)) * [1, 1, 3]]:
        r = np.exp(a * np.sin(w * LINE) + b * LINE)
        c = np.abs(a * w * np.cos(w * LINE) + b).max()  # the largest |r'/r|
        first, last = np.sort(rng.choice(4001, 2, replace=False))
        least = r[first] * np.exp(-factor * c * (LINE[last] - LINE[first]))
        assert r[last] >= least * (1 - 1e-9)
        assert a != 0 or np.isclose(r[last], least, rtol=1e-9)


@pytest.mark.claim("Q2", "B18")
@pytest.mark.parametrize(
    ("constant", "shape"),
    [
        (1 / sp.sqrt(A**2 - 1), A + sp.sin(X)),
        broken(1 / A, A + sp.sin(X), by="the ratio at x = 0"),
        broken(1 / (A - 1), A + sp.sin(X), by="largest slope over smallest value"),
        broken(1 / sp.sqrt(A**2 - 1), sp.sin(X) - A / 10, by="a residual with a zero"),
    ],
)
def test_a_residual_that_never_vanishes_has_a_constant(constant, shape):
    """The largest ratio of slope to size, against its formula, on a fine grid."""
    angles = np.linspace(0, 2 * np.pi, 200_001)
    for a in (1.1, 2.0, 5.0):
        ratio = sp.lambdify(X, sp.Abs(shape.diff(X) / shape).subs(A, a))(angles)
        assert np.isclose(ratio.max(), float(constant.subs(A, a)), rtol=1e-6)


@pytest.mark.claim("B19")
@pytest.mark.parametrize(
    "lift", [0.0, broken(2.0, by="a bias that is not at rest"), broken(-2.0, by="the other way")]
)
def test_a_network_at_rest_crosses_its_target(lift):
    """Residuals with a mean near zero, of both signs; lifted ones have a single sign."""
    at_points, _ = residual(trained(), F, POINTS)
    at_points = at_points + lift * np.abs(at_points).max(axis=1, keepdims=True)
    spread = at_points.std(axis=1)
    assert (np.abs(at_points.mean(axis=1)) < 0.2 * spread).all()
    assert (at_points.min(axis=1) < 0).all()
    assert (at_points.max(axis=1) > 0).all()


def zero_and_normal(model):
    """A zero of the residual on a line, by bisection, and the direction of its gradient."""
    low, high = -0.9, 0.9
    for t in np.linspace(-0.9, 0.9, 91):
        values, _ = residual(model, F, np.array([[low, 0.0], [t, 0.0]]))
        if values[0] * values[1] < 0:
            high = t
            break
        low = t
    for _ in range(60):
        middle = (low + high) / 2
        values, gradient = residual(model, F, np.array([[low, 0.0], [middle, 0.0]]))
        low, high = (middle, high) if values[0] * values[1] > 0 else (low, middle)
    return np.array([middle, 0.0]), gradient[1] / np.linalg.norm(gradient[1])


@pytest.mark.claim("Q2", "B20")
@pytest.mark.parametrize(
    ("power", "lift"),
    [
        (-1, 0.0),
        broken(-0.5, 0.0, by="the inverse of the root of the distance"),
        broken(-1, 0.01, by="a network that is lifted off its target"),
    ],
)
def test_the_ratio_blows_up_at_a_zero(power, lift):
    """In each of eight networks, from a distance of 1e-6 to 1e-3 from a zero."""
    distances = np.geomspace(1e-6, 1e-3, 7)
    for index in range(8):
        model = trained().member(index)
        zero, normal = zero_and_normal(model)
        values, gradients = residual(model, F, zero + distances[:, None] * normal)
        ratio = np.linalg.norm(gradients, axis=1) / np.abs(values + lift)
        assert abs(np.polyfit(np.log(distances), np.log(ratio), 1)[0] - power) < 0.03
        assert ratio[0] > 1e5


@pytest.mark.claim("B37")
@pytest.mark.parametrize(
    ("factor", "lift"),
    [
        (10, 0),
        broken(np.sqrt(10), 0, by="growth like the root"),
        broken(100, 0, by="growth like the square"),
        broken(10, 2, by="networks that are lifted off the target"),
    ],
)
def test_the_constant_grows_as_fewer_points_are_left_out(factor, lift):
    values, slopes = on_grid()
    values = values + lift * np.abs(values).max(axis=1, keepdims=True)
    needed = np.quantile(slopes / np.abs(values), [0.9, 0.99, 0.999], axis=1)
    growth = np.median(needed[1:] / needed[:-1], axis=1)
    assert (growth > 0.6 * factor).all()
    assert (growth < 1.6 * factor).all()


# One pair, and a class


@pytest.mark.claim("B36")
@pytest.mark.parametrize(
    "shape",
    [
        sp.sin(3 * X),
        X**2 - 5,
        broken(sp.sin(X**2), by="slopes without bound"),
        broken(sp.S.Zero * X, by="a residual that is zero"),
    ],
)
def test_one_pair_has_a_constant_if_its_slope_is_bounded(shape):
    """The quotient of the two largest sizes settles as the interval grows."""
    constants = []
    for reach in (30, 60):
        pair = Target(shape, X, (-reach, reach))
        size = np.abs(pair.value(pair.grid(200_001))).max()
        slope = np.abs(pair.gradient(pair.grid(200_001))).max()
        assert size > 0
        constants.append(slope / size)
    assert constants[1] <= constants[0] * (1 + 1e-6)


def ripple_within(eps, slope):
    return ripple((2 ** int(np.ceil(np.log2(slope / eps / np.pi))), 0), (X, Y), SQUARE, slope=slope)


@pytest.mark.claim("Q1")
@pytest.mark.parametrize(
    "added",
    [
        ripple_within,
        broken(lambda eps, slope: Target(eps * X + 0 * Y, (X, Y), SQUARE), by="a tilted target"),
        broken(lambda eps, slope: ripple_within(eps, 0.9 * slope), by="a tenth less slope"),
        broken(lambda eps, slope: ripple_within(4 * eps, slope), by="a ripple that is too large"),
    ],
)
def test_a_decent_approximation_can_have_any_gradient(added):
    """For the eight trained networks: targets within 0.01 with slopes off by 1 and by 50."""
    inputs = torch.from_numpy(GRID)
    values, gradients = (part.numpy() for part in trained().value_and_gradient(inputs))
    for slope in (1, 50):
        wave = added(0.01, slope)
        target, target_gradients = values + wave.value(GRID), gradients + wave.gradient(GRID)
        assert (np.abs(target - values).max(axis=1) <= 0.01).all()
        off = np.linalg.norm(target_gradients - gradients, axis=-1)
        assert (off.max(axis=1) > 0.99 * slope).all()


@pytest.mark.claim("Q6", "B21")
@pytest.mark.parametrize(
    ("waves_for", "steepness"),
    [
        (lambda c: c + 1, 1),
        broken(lambda c: c // 4, 1, by="a ripple four times too long"),
        broken(lambda c: c + 1, 0.3, by="a ripple with less slope and less size"),
    ],
)
def test_restricting_the_network_alone_never_suffices(waves_for, steepness):
    """For each c and eps a target, for networks of smaller and smaller weights."""
    for scale in (1.0, 1e-3, 0.0):
        h = Target(scale * sp.tanh(scale * X), X, (-1, 1))
        for c, eps in ((10, 0.1), (1000, 0.01)):
            n = waves_for(c)
            points = np.linspace(-1, 1, 4 * n + 1)[:, None]
            f = h + ripple(n, X, (-1, 1), slope=sp.Rational(eps) * sp.pi * n * steepness)
            assert np.abs(f.value(points) - h.value(points)).max() <= eps * (1 + 1e-12)
            assert np.abs(f.gradient(points) - h.gradient(points)).max() > c * eps


@pytest.mark.claim("B38")
@pytest.mark.parametrize("constant", [1, broken(0.99, by="a smaller constant")])
def test_affine_functions_have_the_constant_one(constant):
    rng = np.random.default_rng(0)
    for a, b in [(0.0, 1.0), *rng.normal(size=(300, 2))]:
        size = np.abs(a + b * LINE).max()
        assert np.isclose(size, abs(a) + abs(b), rtol=1e-12)
        assert abs(b) <= constant * size


@pytest.mark.claim("B32")
@pytest.mark.parametrize(
    "unit",
    [
        lambda x: np.maximum(x, 0),
        broken(lambda x: np.log1p(np.exp(4 * x)) / 4, by="softplus, which has no kink"),
    ],
)
def test_two_relu_units_are_close_with_different_slopes(unit):
    """Units max(x, 0) and max(x + d, 0): values within d, slopes 1 apart."""
    for d in (0.1, 0.01, 0.001):
        assert np.abs(unit(LINE + d) - unit(LINE)).max() <= d * (1 + 1e-9)
        step, at = 1e-7, -d / 2
        slopes = [(unit(at + s + step) - unit(at + s)) / step for s in (0, d)]
        assert abs(slopes[1] - slopes[0] - 1) < 1e-6


@pytest.mark.claim("B34")
@pytest.mark.parametrize("weight", [lambda d: d**-2, broken(lambda d: 1, by="a bounded weight")])
def test_a_steep_tanh_unit_is_small_with_a_large_slope(weight):
    """The unit d tanh(x w): smaller than d, and of slope d w at 0."""
    for d in (0.1, 0.01, 0.001):
        unit = Target(d * sp.tanh(weight(sp.Rational(str(d))) * X), X, (-1, 1))
        assert np.abs(unit.value(LINE[:, None])).max() <= d
        assert unit.gradient(np.array([[0.0]]))[0, 0] > 0.99 / d


# Weights


@pytest.mark.claim("B35")
@pytest.mark.parametrize(
    ("power", "mean"),
    [
        (0.5, True),
        broken(0.25, True, by="the fourth root"),
        broken(1, True, by="the inverse of n"),
        broken(0.5, False, by="weights that were fitted to the sample"),
    ],
)
def test_in_weight_space_both_gaps_fall_like_the_root_of_n(power, mean):
    """Linear regression, 5 inputs, 400 samples a size; at fixed weights, or at fitted ones."""
    rng, gaps, sizes = np.random.default_rng(0), [], np.array([25, 100, 400])
    for n in sizes:
        inputs, noise = rng.normal(size=(400, n, 5)), rng.normal(size=(400, n))
        fitted = np.linalg.pinv(inputs) @ noise[..., None]
        off = np.broadcast_to(np.eye(5)[0], (400, 5)) if mean else fitted[..., 0]
        errors = noise - np.einsum("snd,sd->sn", inputs, off)
        values = ((off**2).sum(axis=1) + 1 - (errors**2).mean(axis=1)) / 2
        slopes = off + np.einsum("sn,snd->sd", errors, inputs) / n
        gaps.append([np.sqrt(np.mean(values**2)), np.sqrt((slopes**2).sum(axis=1).mean())])
        assert 0.2 < (values > 0).mean() < 0.8
        spectrum = np.linalg.eigvalsh(inputs.transpose(0, 2, 1) @ inputs / n)
        assert (spectrum[:, 0] < 1).all()
        assert (spectrum[:, -1] > 1).all()
    exponents = np.polyfit(np.log(sizes), np.log(gaps), 1)[0]
    assert (np.abs(exponents + power) < 0.06).all()
