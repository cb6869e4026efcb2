"""The claims that the chapter on the loss at a training point settles."""

import functools
from typing import NamedTuple

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken
from numpy.polynomial import Polynomial

from gradnotes.fitting import fit
from gradnotes.functions import SinPi
from gradnotes.losses import absolute, huber, kl, log_cosh, logistic, squared
from gradnotes.networks import MLP
from gradnotes.targets import Target
from gradnotes.taylor import expand_loss, general_residual

X, Y, U, Z, M0 = sp.symbols("x y u z m_0", real=True)
TARGET = Target(sp.sin(2 * X + Y) + X * Y**2, (X, Y), ((-1, 1), (-1, 1)))
POINTS = np.random.default_rng(1).uniform(-1, 1, (20, 2))
# The general residual that is zero at the origin, and its slope in the direction u.
RESIDUAL = general_residual((X, Y))
U1, U2, R10, R01 = sp.symbols("u_1 u_2 r_10 r_01", real=True)
SLOPE = R10 * U1 + R01 * U2
SIGMOID = 1 / (1 + sp.exp(-Z))


def itself(r):
    return r


def soft_label(r):
    return kl(r, Z)


def hard_label(r):
    return logistic(M0 + r)


def cross_entropy(r):
    """The loss of a soft label without the entropy of the label taken off."""
    return kl(r, Z) + sp.log(1 + sp.exp(Z)) - SIGMOID * Z


@functools.cache
def fitted(units=24, steps=None, with_slopes=False):
    """Eight networks, trained until they rest, or for some steps of Adam."""
    how = {"method": "adam", "steps": steps} if steps else {}
    how |= {"gradients": TARGET.gradient(POINTS)} if with_slopes else {}
    start = MLP(2, (units,), members=8, rng=0)
    return fit(start, POINTS, TARGET.value(POINTS), rng=0, **how)


class Sizes(NamedTuple):
    """The sizes of the gradients of a loss, one of each for each network."""

    by_weights: np.ndarray
    by_input: np.ndarray


def gradient_sizes(networks, loss):
    """Differentiate by PyTorch: lengths, in the input as root mean squares."""
    label = sp.lambdify((X, Y), TARGET.expression, "torch")
    loss = sp.lambdify((U, Z), loss(U), "torch")
    sizes = []
    for index in range(8):
        network = networks.model.member(index)
        inputs = torch.from_numpy(POINTS).requires_grad_(True)
        losses = loss(label(*inputs.T) - network(inputs), label(*inputs.T))
        weights = list(network.parameters())
        parts = torch.autograd.grad(losses.mean(), weights, retain_graph=True)
        (slopes,) = torch.autograd.grad(losses.sum(), inputs)
        by_weights = torch.cat([part.flatten() for part in parts]).norm()
        by_input = slopes.square().sum(1).mean().sqrt()
        sizes.append((by_weights.item(), by_input.item()))
    return Sizes(*np.array(sizes).T)


def least_on_unit_interval(polynomial):
    roots = polynomial.deriv().roots()
    real = roots.real[abs(roots.imag) < 1e-9]
    return min(polynomial(x) for x in (0, 1, *real[(real > 0) & (real < 1)]))


@pytest.mark.claim("T1")
@pytest.mark.parametrize(
    "loss",
    [
        *(squared, huber, log_cosh, soft_label, absolute),
        broken(cross_entropy, by="the cross-entropy with a soft label"),
        broken(lambda r: logistic(5 + r), by="a hard label with a margin of 5"),
    ],
)
def test_a_perfect_fit_has_zero_loss(loss):
    """The loss is zero where prediction and target agree, and nowhere else."""
    assert sp.simplify(loss(sp.S.Zero)) == 0
    for residual in (-10, -1, -0.1, -0.001, 0.001, 0.1, 1, 10):
        assert loss(sp.Float(residual)).subs(Z, 0.7) > 0


@pytest.mark.claim("T2", "B6")
@pytest.mark.parametrize(
    "loss",
    [
        *(squared, huber, log_cosh, soft_label),
        broken(absolute, by="a loss that is not differentiable"),
        broken(itself, by="a loss that can be negative"),
        broken(hard_label, by="a loss that is not zero at the point"),
    ],
)
def test_a_smooth_loss_has_no_slope_where_it_is_zero(loss):
    """Both one-sided slopes of a loss with a residual that has a slope."""
    residual = 3 * U - U**2
    for side in "+-":
        quotient = (loss(residual) - loss(sp.S.Zero)) / U
        assert sp.limit(quotient, U, 0, side) == 0
    assert expand_loss(loss, RESIDUAL, (X, Y), (0, 0)).linear == 0


@pytest.mark.claim("T3")
@pytest.mark.parametrize(
    ("loss", "linear"),
    [
        (itself, SLOPE),
        (absolute, sp.Abs(SLOPE)),
        (squared, sp.S.Zero),
        broken(squared, SLOPE, by="the slope of the residual left in the square"),
        broken(absolute, SLOPE, by="a slope with its sign in place of its size"),
    ],
)
def test_the_linear_term_belongs_to_the_residual(loss, linear):
    """The expansion, and the slope as a limit along three rays."""
    assert expand_loss(loss, RESIDUAL, (X, Y), (0, 0)).linear == linear
    for a, b in ((1, 1), (1, 3), (-2, 1)):
        residual = (sp.sin(3 * X) - 2 * Y + X * Y).subs({X: a * U, Y: b * U})
        slope = linear.subs({R10: 3, R01: -2, U1: a, U2: b})
        assert sp.limit(loss(residual) / U, U, 0, "+") == slope
    # Without a slope of the residual there is no linear term.
    assert expand_loss(loss, X * Y, (X, Y), (0, 0)).linear == 0


@pytest.mark.claim("T6")
@pytest.mark.parametrize(
    "units",
    [
        24,
        broken(4, by="4 units, with fewer weights than data"),
        broken(1, by="a single unit"),
    ],
)
def test_minimal_loss_is_zero_only_where_zero_can_be_reached(units):
    """Eight networks reach zero; eight of one unit rest at the same larger loss."""
    assert fitted(units).rms.max() < 1e-12
    single = fitted(units=1)
    assert gradient_sizes(single, squared).by_weights.max() < 1e-6
    assert np.ptp(single.rms) < 1e-6
    assert single.rms.min() > 0.05


@pytest.mark.claim("T7")
@pytest.mark.parametrize(
    ("units", "loss"),
    [
        *((24, squared), (24, huber), (24, log_cosh), (24, soft_label)),
        broken(24, absolute, by="the absolute error at a perfect fit"),
        broken(1, squared, by="a least loss that is not zero"),
    ],
)
def test_minimal_loss_and_the_gradient_of_the_loss(units, loss):
    """A smooth loss of zero has no gradient in the input; the two others have."""
    assert gradient_sizes(fitted(units), loss).by_input.max() < 1e-11
    assert gradient_sizes(fitted(24), absolute).by_input.min() > 0.05
    assert gradient_sizes(fitted(1), squared).by_input.min() > 0.05


@pytest.mark.claim("T13")
@pytest.mark.parametrize(
    ("loss", "steepness"),
    [
        *((squared, 0), (absolute, sp.pi), (itself, sp.pi)),
        broken(squared, sp.pi, by="the squared error as steep as the residual"),
        broken(absolute, 0, by="the absolute error as flat as the square"),
    ],
)
def test_the_squared_sine_is_flat_at_the_integers(loss, steepness):
    """One-sided slopes at the nine dots, as limits; and the package's expansion."""
    for dot in range(9):
        for side in "+-":
            quotient = loss(sp.sin(sp.pi * (dot + U))) / U
            assert abs(sp.limit(quotient, U, 0, side)) == steepness
        linear = expand_loss(loss, SinPi(X), X, dot).linear
        assert abs(linear.subs(U, 1)) == steepness


@pytest.mark.claim("T15", "B9")
@pytest.mark.parametrize(
    ("loss", "with_slopes"),
    [
        *((loss, False) for loss in (squared, huber, log_cosh, soft_label)),
        broken(absolute, False, by="the absolute error"),
        broken(itself, False, by="the residual itself"),
        broken(squared, True, by="networks that were told the slopes as well"),
    ],
)
def test_the_residual_keeps_its_slope_at_a_fitted_point(loss, with_slopes):
    """Eight networks that fit 20 values up to rounding."""
    networks = fitted(with_slopes=with_slopes)
    _, slopes = networks.model.value_and_gradient(torch.from_numpy(POINTS))
    squares = np.square(TARGET.gradient(POINTS) - slopes.numpy()).sum(axis=2)
    assert np.sqrt(squares.mean(axis=1)).min() > 0.1
    assert networks.rms.max() < 1e-12
    assert gradient_sizes(networks, loss).by_input.max() < 1e-11


@pytest.mark.claim("T17")
@pytest.mark.parametrize(
    ("units", "steps", "loss"),
    [
        *((24, None, squared), (24, None, huber), (1, None, squared)),
        broken(24, 200, squared, by="training that was stopped early"),
        broken(24, None, absolute, by="a loss with a kink at the optimum"),
    ],
)
def test_the_weight_gradient_vanishes_where_training_rests(units, steps, loss):
    """With a single unit training rests at a loss that is not zero."""
    assert gradient_sizes(fitted(units, steps), loss).by_weights.max() < 1e-6
    assert fitted(24).rms.max() < 1e-12
    assert fitted(1).rms.min() > 0.05


@pytest.mark.claim("T18")
@pytest.mark.parametrize(
    ("how", "zero"),
    [
        ((24,), {"by_weights", "by_input"}),
        ((1,), {"by_weights"}),
        ((24, 200), set()),
        broken((1,), {"by_weights", "by_input"}, by="both gradients alike"),
        broken((1,), {"by_input"}, by="one gradient in the place of the other"),
    ],
)
def test_the_gradients_in_weights_and_input_are_different_things(how, zero):
    """24 units and 1 unit where training rests, and 24 units after 200 steps."""
    sizes = gradient_sizes(fitted(*how), squared)._asdict()
    assert {name for name in sizes if sizes[name].max() < 1e-6} == zero
    assert all(sizes[name].min() > 1e-3 for name in sizes.keys() - zero)


@pytest.mark.claim("B7")
@pytest.mark.parametrize(
    ("constant", "segment_inside"),
    [
        (2, True),
        broken(1.98, True, by="1.98 in place of 2"),
        broken(2.02, True, by="2.02, which is not attained"),
        broken(2, False, by="segments that leave the domain"),
    ],
)
def test_a_small_loss_has_a_small_slope(constant, segment_inside):
    """Cubics on [0, 1], lifted until their least value is 0; and a parabola."""
    rng, x = np.random.default_rng(0), np.linspace(0, 1, 101)
    cubics = [Polynomial(rng.normal(size=4)) for _ in range(500)]
    for cubic in (*cubics, Polynomial([0, 0, 1])):
        loss, slope = cubic(x) - least_on_unit_interval(cubic), cubic.deriv()(x)
        beta = np.abs(cubic.deriv(2)(x)).max()
        inside = np.abs(x - slope / beta - 0.5) <= 0.5
        checked = inside if segment_inside else np.full(101, True)
        assert (slope**2 <= constant * beta * loss + 1e-12)[checked].all()
    np.testing.assert_allclose(slope**2, constant * beta * loss, rtol=1e-12)


@pytest.mark.claim("B8")
@pytest.mark.parametrize(
    ("loss", "first"),
    [
        *((squared, SLOPE**2), (huber, SLOPE**2 / 2), (log_cosh, SLOPE**2 / 2)),
        (soft_label, SIGMOID.diff(Z) * SLOPE**2 / 2),
        (absolute, sp.Abs(SLOPE)),
        (hard_label, -SLOPE / (1 + sp.exp(M0))),
        broken(huber, SLOPE**2, by="Huber's loss without its one half"),
        broken(soft_label, SIGMOID * SLOPE**2 / 2, by="the sigmoid, not its slope"),
        broken(hard_label, SLOPE / (1 + sp.exp(M0)), by="the wrong sign"),
    ],
)
def test_the_first_terms_of_six_losses(loss, first):
    """The expansion, and the loss itself, with 40 digits, very near the point."""
    terms = expand_loss(loss, RESIDUAL, (X, Y), (0, 0)).terms
    leading = next(term for term in terms if term.has(U1))
    assert sp.simplify(leading - first) == 0
    step = {X: sp.Rational(3, 10**12), Y: sp.Rational(-1, 10**12)}
    symbols = sorted(RESIDUAL.free_symbols - {X, Y} | {Z, M0}, key=str)
    numbers = {symbol: sp.Rational(k, 5) for k, symbol in enumerate(symbols, 2)}
    change = (loss(RESIDUAL) - loss(sp.S.Zero)).subs(step).subs(numbers)
    expected = first.subs({U1: step[X], U2: step[Y]}).subs(numbers)
    assert abs(sp.N(change / expected, 40, maxn=200) - 1) < 1e-9


@pytest.mark.claim("B10")
@pytest.mark.parametrize(
    ("constant", "power"),
    [
        (1, 1),
        broken(sp.Rational(99, 100), 1, by="0.99 in place of 1"),
        broken(sp.Rational(101, 100), 1, by="1.01, a bound that is not approached"),
        broken(1, 0, by="the gradient of the margin left out"),
    ],
)
def test_the_logistic_loss_bounds_its_own_slope(constant, power):
    """500 random margins, differentiated by PyTorch; and the limit of the ratio."""
    rng = np.random.default_rng(0)
    w, x, b = map(torch.from_numpy, rng.normal(0, 3, (3, 500, 2)))
    x.requires_grad_(True)
    loss = torch.nn.functional.softplus(-(w * x + b).sum(1))
    (slopes,) = torch.autograd.grad(loss.sum(), x)
    bound = float(constant) * w.norm(dim=1) ** power * loss
    assert (slopes.norm(dim=1) <= bound * (1 + 1e-12)).all()
    assert sp.limit(-logistic(U).diff(U) / logistic(U), U, sp.oo) == constant
