"""The claims that the chapter on one data set and two gradients settles."""

import functools

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken
from numpy.polynomial import Polynomial
from scipy.interpolate import CubicSpline
from scipy.spatial.distance import pdist

from gradnotes.counterexamples import prescribed_slopes, same_data_pair
from gradnotes.fitting import fit
from gradnotes.networks import MLP
from gradnotes.targets import Target, sinpi, zero

X = sp.Symbol("x", real=True)
CALM = Target(sp.cos(X) + X**2 / 16, X, (0, 8))
PAIR = same_data_pair(CALM)
WAVY = PAIR.second
DOTS = PAIR.points()
QUARTERS = np.linspace(0, 8, 33)[:, None]


@functools.cache
def networks(**options):
    """Eight networks before training."""
    return MLP(1, (16,), members=8, domain=CALM.domain, **{"rng": 0, **options})


def trained(target, points=DOTS, with_slopes=False, start=None):
    told = {"gradients": target.gradient(points)} if with_slopes else {}
    return fit(start or networks(), points, target.value(points), rng=1, **told)


def slopes_at_dots(model):
    return model.value_and_gradient(torch.from_numpy(DOTS))[1][..., 0].numpy()


def bump(u):
    """Give exp(1 - 1/(1 - |u|^2)) inside the unit ball and 0 outside."""
    square = u.square().sum(-1)
    inside = square < 1
    return torch.exp(1 - 1 / (1 - square.where(inside, 0))).where(inside, 0)


def sum_of_bumps(points, values, slopes, bump, radius):
    """Give the sum in the proof, as a function of the rows of a tensor."""
    points, values, slopes = map(torch.from_numpy, (points, values, slopes))

    def function(x):
        steps = x[:, None] - points
        lines = values + (slopes * steps).sum(-1)
        return (lines * bump(steps / radius)).sum(-1)

    return function


def by_autograd(function, points):
    inputs = torch.from_numpy(points).requires_grad_(True)
    values = function(inputs)
    (gradients,) = torch.autograd.grad(values.sum(), inputs)
    return values.detach().numpy(), gradients.numpy()


# Learners: what they are given are data, what they give are slopes at the dots.


def spline(x, y):
    return CubicSpline(x[:, 0], y)(DOTS[:, 0], 1)


def eight_networks(x, y):
    start = MLP(1, (32,), members=8, scale=6.0, domain=CALM.domain, rng=0)
    return slopes_at_dots(fit(start, x, y, rng=1).model)


def guesses(x, y):
    return np.random.default_rng(0).normal(0, 4, (500, len(DOTS)))


def middle(x, y):
    return (CALM.gradient(DOTS) + WAVY.gradient(DOTS))[:, 0] / 2


def local_exponent(residual, u):
    """Give the slope of log|r| against log u, from two values."""
    low, high = u * (1 - 1e-5), u * (1 + 1e-5)
    return np.log(np.abs(residual(high) / residual(low))) / np.log(high / low)


@pytest.mark.claim("T4", "T5", "T14")
@pytest.mark.parametrize(
    ("points", "with_slopes"),
    [
        pytest.param(DOTS, False, id="values at the dots"),
        broken(QUARTERS, False, by="values between the dots as well"),
        broken(DOTS, True, by="slopes at the dots as well"),
    ],
)
def test_training_sees_values_only(points, with_slopes):
    """Targets with different slopes get the same networks, to the last bit."""
    assert (np.abs(CALM.gradient(DOTS) - WAVY.gradient(DOTS)) > 3).all()
    calm, wavy = (trained(target, points, with_slopes) for target in (CALM, WAVY))
    assert torch.equal(calm.model.flat_weights(), wavy.model.flat_weights())
    # Networks that are told the slopes do learn them.
    assert trained(WAVY, DOTS, with_slopes=True).gradient_rms.max() < 1e-9


@pytest.mark.claim("T8", "B2")
@pytest.mark.parametrize(
    ("b", "reach"),
    [
        (bump, 0.5),
        broken(bump, 1.1, by="bumps that reach beyond the nearest point"),
        broken(lambda u: 0.99 * bump(u), 0.5, by="0.99 in the middle"),
        broken(lambda u: bump(u) * (1 + u[..., 0] / 99), 0.5, by="a tilted bump"),
    ],
)
def test_any_slopes_go_with_the_same_values(b, reach):
    """The sum in the proof, differentiated by PyTorch, and the package's target."""
    rng = np.random.default_rng(0)
    for d in (1, 2, 3) * 4:
        points, values = rng.normal(size=(5, d)), rng.normal(size=5)
        radius = reach * pdist(points).min()
        for slopes in rng.normal(0, 9, (2, 5, d)):
            f = sum_of_bumps(points, values, slopes, b, radius)
            value, slope = by_autograd(f, points)
            np.testing.assert_allclose(value, values, rtol=1e-14)
            np.testing.assert_allclose(slope, slopes, rtol=1e-14)
            target = prescribed_slopes(points, values, slopes)
            np.testing.assert_array_equal(target.value(points), values)
            np.testing.assert_array_equal(target.gradient(points), slopes)


@pytest.mark.claim("T9", "B1")
@pytest.mark.parametrize(
    ("share", "points"),
    [
        pytest.param(0.5, DOTS, id="one half"),
        broken(0.51, DOTS, by="0.51 in place of one half"),
        broken(0.49, DOTS, by="0.49, a bound that is not attained"),
        broken(0.5, QUARTERS, by="data on which the two targets differ"),
    ],
)
def test_no_learner_is_nearer_than_half_the_difference(share, points):
    """A spline, eight networks, 500 guesses, and the middle of the two slopes."""
    calm, wavy = (target.gradient(DOTS)[:, 0] for target in (CALM, WAVY))
    bound = share * np.abs(calm - wavy)
    for learner in (spline, eight_networks, guesses, middle):
        of_calm, of_wavy = (learner(points, f.value(points)) for f in (CALM, WAVY))
        larger = np.maximum(np.abs(of_calm - calm), np.abs(of_wavy - wavy))
        assert (larger >= bound - 1e-12).all()
        assert np.array_equal(of_calm, of_wavy)
    # The last learner, the middle, attains the bound.
    np.testing.assert_allclose(larger, bound, rtol=1e-12)


@pytest.mark.claim("T10", "T11")
@pytest.mark.parametrize(
    "network",
    [
        sp.S.Zero,
        broken(sp.sin(sp.pi * X), by="a network that is zero at the dots only"),
        broken(sp.sin(2 * sp.pi * X) / 100, by="a network that is nearly zero"),
    ],
)
def test_the_first_example_has_zero_gradient_by_coincidence(network):
    """The line and the sine fit the same dots; only the line has no slope there."""
    for target, steepness in ((zero(), 0), (sinpi(), sp.pi)):
        residual = target.expression.rewrite(sp.sin) - network
        for dot in range(9):
            assert residual.subs(X, dot) == 0
            assert abs(residual.diff(X).subs(X, dot)) == steepness
        slopes = target.gradient(DOTS)
        np.testing.assert_allclose(np.abs(slopes), float(steepness), rtol=1e-15)


@pytest.mark.claim("T12", "B5")
@pytest.mark.parametrize(
    "sine",
    [
        lambda x: sinpi(domain=(-1e6, 1e6)).value(x[:, None]),
        broken(lambda x: np.sin(x / np.pi), by="the sine as the thread prints it"),
        broken(lambda x: np.sin(np.pi * x), by="pi times x in floating point"),
    ],
)
def test_the_sinusoid_is_zero_at_the_integers(sine):
    """It has the data of the line to the last bit, and is a sine in between."""
    integers = np.concatenate([np.arange(1.0, 1001.0), [1e5, 1e6]])
    assert (np.sin(np.pi * integers) != 0).all()
    assert (sine(integers) == 0).all()
    assert (sine(-integers) == 0).all()
    exact = [float(sp.sin(sp.pi * sp.Rational(k, 7))) for k in range(-20, 21)]
    np.testing.assert_allclose(sine(np.arange(-20, 21) / 7), exact, atol=1e-14)


@pytest.mark.claim("T16")
@pytest.mark.parametrize(
    ("start", "batches"),
    [
        (0, 1),
        broken(0, 2, by="another seed for the minibatches"),
        broken(3, 1, by="another seed for the start"),
    ],
)
def test_the_same_optimisation_gives_the_same_model(start, batches):
    """Adam on random minibatches, with the data of either target."""
    options = {"method": "adam", "steps": 100, "batch_size": 4}
    first = fit(networks(rng=0), DOTS, CALM.value(DOTS), rng=1, **options)
    again = fit(networks(rng=start), DOTS, WAVY.value(DOTS), rng=batches, **options)
    assert torch.equal(first.model.flat_weights(), again.model.flat_weights())


@pytest.mark.claim("T19", "B3")
@pytest.mark.parametrize(
    "bound",
    [
        lambda Mu, slope: Mu / (2 * slope - Mu),
        broken(lambda Mu, slope: Mu / (2 * slope), by="Mu missing below"),
        broken(lambda Mu, slope: Mu / (2.04 * slope - Mu), by="2.04 in place of 2"),
        broken(lambda Mu, slope: Mu / (1.96 * slope - Mu), by="1.96, not attained"),
    ],
)
def test_the_exponent_is_within_its_bound(bound):
    """Random residuals; a parabola, which attains it; and one without a slope."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        residual = Polynomial([0, *rng.normal(size=rng.integers(2, 6))])
        slope, M = abs(residual.coef[1]), np.abs(residual.deriv(2).coef).sum()
        u = np.linspace(0.01, 0.9, 10) * min(1, 2 * slope / M)
        excess = np.abs(local_exponent(residual, u) - 1)
        assert (excess <= bound(M * u, slope) + 1e-6).all()
    parabola, no_slope = Polynomial([0, 1, -1 / 2]), Polynomial([0, 0, 1])
    u = np.linspace(0.1, 1.8, 10)
    excess = np.abs(local_exponent(parabola, u) - 1)
    np.testing.assert_allclose(excess, bound(u, 1), rtol=1e-6)
    for residual, limit in ((parabola, 1), (parabola**2, 2), (no_slope, 2)):
        assert abs(local_exponent(residual, 1e-6) - limit) < 1e-5


@pytest.mark.claim("B4")
@pytest.mark.parametrize(
    ("near", "far", "activation", "scale"),
    [
        pytest.param(CALM, WAVY, "tanh", 2.0, id="tanh"),
        pytest.param(CALM, WAVY, "softplus", 4.0, id="softplus"),
        broken(WAVY, CALM, "tanh", 2.0, by="each target in the place of the other"),
        broken(CALM, WAVY, "sin", 20.0, by="networks that prefer fast waves"),
    ],
)
def test_networks_have_the_slopes_of_the_calm_target(near, far, activation, scale):
    result = trained(CALM, start=networks(activation=activation, scale=scale))
    assert result.rms.max() < 1e-12
    slopes = slopes_at_dots(result.model)
    assert np.abs(slopes - near.gradient(DOTS)[:, 0]).max() < 0.5
    assert np.abs(slopes - far.gradient(DOTS)[:, 0]).min() > 2.5
