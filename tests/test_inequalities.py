"""Bounds of a gradient: never violated, attained, false without each hypothesis, and the choice."""

import dataclasses
import math

import numpy as np
import pytest
import sympy as sp
from numpy.polynomial import Chebyshev
from scipy import sparse
from scipy.optimize import linprog

from gradnotes import inequalities
from gradnotes.inequalities import (
    bernstein_bound,
    best_bound,
    ellipse_bound,
    euler_spline,
    grid_bound,
    hadamard_bound,
    kolmogorov_bound,
    kolmogorov_constant,
    landau_bound,
    landau_extremal,
    markov_bound,
    strip_bound,
    tanh_bound,
    variation_bound,
)

SLACK = 1 + 1e-9
INF = math.inf
RIPPLE = 10.0  # the largest slope of 0.01 sin(1000 x)


# Random residuals. The bounds grow with the size and the curvature, so that their largest values on
# a grid, which are too small if anything, make a test stricter.


def polynomial(generator, x, length):
    """Values, slopes and second derivatives of a random polynomial on [0, length]."""
    degree = generator.integers(1, 9)
    p = Chebyshev(generator.standard_normal(degree + 1), domain=[0, length])
    return p(x), p.deriv()(x), p.deriv(2)(x)


def waves(generator, x, length):
    """The same for a random sum of sines."""
    count = generator.integers(1, 6)
    w, shift, a = generator.uniform(0, 12 / length, count), *generator.standard_normal((2, count))
    angles = np.multiply.outer(x, w) + 3 * shift
    return np.sin(angles) @ a, np.cos(angles) @ (a * w), -np.sin(angles) @ (a * w**2)


def perfect_spline(generator, x, length):
    """The same for a second derivative of random sign, size 1, which is integrated exactly."""
    step = x[1] - x[0]
    bends = generator.choice([-1.0, 1.0], len(x) // 20 + 1).repeat(20)[: len(x) - 1]
    slopes = np.append(0.0, np.cumsum(bends) * step) + generator.standard_normal() * length / 4
    values = np.append(0.0, np.cumsum((slopes[1:] + slopes[:-1]) / 2 * step))
    return values - generator.uniform() * values.mean(), slopes, np.append(bends, bends[-1])


def residuals(count, seed):
    """Many random residuals on intervals, as (length, points, values, slopes, curvatures)."""
    generator = np.random.default_rng(seed)
    for k in range(count):
        length = float(np.exp(generator.uniform(-2, 2)))
        x = np.linspace(0, length, 801)
        kind = (polynomial, waves, perfect_spline)[k % 3]
        yield generator, length, x, *kind(generator, x, length)


def largest(values):
    return float(np.abs(values).max())


# Curvature


def test_no_residual_violates_landau():
    nearest = 0.0
    for generator, length, x, values, slopes, bends in residuals(600, 0):
        size, bend = largest(values), largest(bends)
        for margin in (0.0, generator.uniform() * length / 2):
            inside = (x >= margin) & (x <= length - margin)
            bound = landau_bound(size, bend, length=length, margin=margin)
            assert largest(slopes[inside]) <= bound.value * SLACK
            nearest = max(nearest, largest(slopes[inside]) / bound.value)
    assert nearest > 0.9


CASES = [
    (4.0, 0.0),
    (INF, 0.0),
    (1.0, 0.0),
    (4.0, 0.3),
    (4.0, 2.0),
    (1.2, 0.4),
    (1.0, 0.5),
    (INF, INF),
]


@pytest.mark.parametrize(("length", "margin"), CASES)
@pytest.mark.parametrize(("eps", "curvature"), [(0.5, 1.0), (0.02, 3.0), (0.1, 0.0)])
def test_landau_is_attained(eps, curvature, length, margin):
    residual = landau_extremal(eps, curvature, length=length, margin=margin)
    x = np.linspace(-min(margin, 20.0), min(length - margin if margin < INF else INF, 20.0), 4001)
    values, slopes = residual(x)
    bound = landau_bound(eps, curvature, length=length, margin=margin)
    assert largest(values) <= eps * SLACK
    assert largest(np.diff(slopes)) <= curvature * (x[1] - x[0]) * (1 + 1e-6) + 1e-12
    np.testing.assert_allclose(np.gradient(values, x)[5:-5], slopes[5:-5], atol=0.02)
    assert residual(0.0)[1] == pytest.approx(bound.value, rel=1e-12)
    assert bound.sharp
    if margin in (length / 2, INF):
        assert hadamard_bound(eps, curvature, margin=margin).value == pytest.approx(bound.value)


def test_the_constants_of_landau_and_hadamard():
    eps, curvature = 0.03, 5.0
    root = math.sqrt(eps * curvature)
    long = 2 * math.sqrt(eps / curvature)
    assert landau_bound(eps, curvature).value == pytest.approx(2 * root)
    for length in (long, 1.5 * long, 1e6):
        assert landau_bound(eps, curvature, length=length).value == pytest.approx(2 * root)
    for length in (long / 3, long / 1.01):
        short = 2 * eps / length + length * curvature / 2
        assert landau_bound(eps, curvature, length=length).value == pytest.approx(short)
        assert short > 2 * root
    margin = math.sqrt(2 * eps / curvature)
    for bound in (
        landau_bound(eps, curvature, margin=margin),
        landau_bound(eps, curvature, margin=INF),
        hadamard_bound(eps, curvature, margin=margin),
        hadamard_bound(eps, curvature),
    ):
        assert bound.value == pytest.approx(math.sqrt(2) * root)
    near = hadamard_bound(eps, curvature, margin=margin / 2).value
    assert near == pytest.approx(2 * eps / margin + curvature * margin / 4)
    assert hadamard_bound(eps, curvature, sides=1).value == pytest.approx(2 * root)
    assert hadamard_bound(eps, curvature, sides=1, margin=long / 3).value == pytest.approx(
        6 * eps / long + curvature * long / 6
    )


def largest_slope(x, place, *, low, second, at=None):
    """The largest slope at a point of the grid x, by a linear programme on the values there."""
    n, h = len(x), x[1] - x[0]
    sides = [k for k in (place - 1, place + 1) if 0 <= k < n]
    objective = np.zeros(n)
    first, last = min(*sides, place), max(*sides, place)
    objective[first], objective[last] = 1 / ((last - first) * h), -1 / ((last - first) * h)
    bends = sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(n - 2, n)) / h**2
    known = np.zeros(n, dtype=bool)
    known[range(n) if at is None else at] = True
    rows, limits = [bends], [np.full(n - 2, second)]
    if low is not None:
        rows, limits = [*rows, -bends], [*limits, np.full(n - 2, low)]
    found = linprog(
        objective,
        A_ub=sparse.vstack(rows).tocsc(),
        b_ub=np.concatenate(limits),
        bounds=[(-1.0, 1.0) if yes else (None, None) for yes in known],
        method="highs",
    )
    assert found.status == 0
    # Half a step from the end, where the slope was taken, it is smaller than at the end.
    return -found.fun + (0 if len(sides) == 2 else second * h / 2)


@pytest.mark.parametrize("length", [0.5, 1.0, 1.9, 2.5, 6.0])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_a_linear_programme_agrees_with_landau(length, share):
    x = np.linspace(0, length, 301)
    place = round(share * 300)
    found = largest_slope(x, place, low=1.0, second=1.0)
    assert found == pytest.approx(
        landau_bound(1.0, 1.0, length=length, margin=x[place]).value, rel=0.02
    )


def test_one_side_of_the_curvature_is_not_enough_for_hadamard():
    x = np.linspace(-6, 6, 601)
    found = largest_slope(x, 300, low=None, second=1.0)
    assert found == pytest.approx(hadamard_bound(1.0, 1.0, sides=1).value, rel=0.02)
    assert found > 1.35 * hadamard_bound(1.0, 1.0).value
    x = np.linspace(-1, 1, 401)
    found = largest_slope(x, 200, low=None, second=1.0)
    assert found == pytest.approx(hadamard_bound(1.0, 1.0, sides=1, margin=1.0).value, rel=0.02)


def test_landau_needs_its_hypotheses():
    eps, curvature = 0.02, 4.0
    _, slope = landau_extremal(eps, curvature)(0.0)
    assert slope > 1.4 * hadamard_bound(eps, curvature).value  # at an end
    _, slope = landau_extremal(eps, curvature, length=0.05)(0.0)
    assert slope > 1.4 * landau_bound(eps, curvature).value  # on a short interval
    assert landau_bound(0.01, curvature, length=1.0).value < RIPPLE  # without the curvature


def test_no_residual_in_space_violates_hadamard():
    generator = np.random.default_rng(1)
    for k in range(500):
        dimension, count = 2 + k % 2, generator.integers(1, 5)
        w, a = generator.standard_normal((count, dimension)), generator.standard_normal(count)
        shift = generator.uniform(0, 6, count)
        bend = np.abs(a) @ (w**2).sum(axis=1)  # no Hessian is larger
        gradient = (a * np.cos(shift)) @ w  # at 0
        unit = gradient / np.linalg.norm(gradient)
        margin = float(np.exp(generator.uniform(-3, 2)))
        points = np.linspace(-margin, margin, 401)[:, None] * unit
        size = largest(np.sin(points @ w.T + shift) @ a)
        bound = hadamard_bound(size, bend, margin=margin)
        assert np.linalg.norm(gradient) <= bound.value * SLACK


@pytest.mark.parametrize("exponent", [0.2, 0.5, 0.8, 1.0])
def test_a_hoelder_continuous_gradient(exponent):
    constant = 3.0
    x = np.linspace(-4, 4, 8001)

    def bump(x, h):
        # The slope C max(h^g - |x|^g, 0), integrated from 0.
        x = np.clip(x, -h, h)
        power = np.abs(x) ** exponent
        return x * (h**exponent - power / (1 + exponent)), h**exponent - power

    for h in (0.2, 1.0):
        values, slopes = bump(x, h)
        bound = hadamard_bound(constant * largest(values), constant, exponent=exponent)
        assert constant * largest(slopes) == pytest.approx(bound.value, rel=1e-9)
        near = hadamard_bound(
            constant * largest(bump(h / 2, h)[0]), constant, exponent=exponent, margin=h / 2
        )
        assert constant * h**exponent == pytest.approx(near.value)
    generator = np.random.default_rng(2)
    for _ in range(200):
        a = generator.standard_normal(4)
        shifts, widths = generator.uniform(-2, 2, 4), generator.uniform(0.1, 2, 4)
        parts = [bump(x - s, h) for s, h in zip(shifts, widths, strict=True)]
        values, slopes = (
            sum(b * part[k] for b, part in zip(a, parts, strict=True)) for k in (0, 1)
        )
        values -= (values.max() + values.min()) / 2
        constants = float(np.abs(a).sum())
        margin = generator.uniform(0.05, 3)
        inner, place = np.abs(x) <= margin, len(x) // 2
        whole = hadamard_bound(largest(values), constants, exponent=exponent)
        assert largest(slopes[1000:-1000]) <= whole.value * SLACK
        # The end of the grid is up to a step short of the margin.
        reach = largest(x[inner])
        near = hadamard_bound(largest(values[inner]), constants, exponent=exponent, margin=reach)
        assert abs(slopes[place]) <= near.value * SLACK
    # Without a Hoelder constant there is the ripple.
    assert hadamard_bound(0.01, constant, exponent=exponent).value < RIPPLE


def test_no_semiconcave_residual_violates_the_one_sided_bound():
    generator = np.random.default_rng(3)
    x = np.linspace(-1, 1, 1601)
    nearest = 0.0
    for k in range(600):
        bend, count = float(np.exp(generator.uniform(-2, 4))), 2 + k % 5
        parabolas = generator.uniform(-40, bend, (count, 1)) * [1, 1, bend][k % 3] / max(1, bend)
        parabolas = np.minimum(parabolas, bend)
        centres, heights = (
            generator.uniform(-2, 2, (count, 1)),
            generator.standard_normal((count, 1)),
        )
        values = parabolas / 2 * (x - centres) ** 2 + heights
        first = values.argmin(axis=0), np.arange(len(x))
        values, slopes = values[first], (parabolas * (x - centres))[first]
        values -= (values.max() + values.min()) / 2
        for place in (800, 400, 80, 20):
            margin = x[place] + 1
            bound = hadamard_bound(largest(values), bend, sides=1, margin=margin).value
            assert abs(slopes[place]) <= bound * SLACK
            nearest = max(nearest, abs(slopes[place]) / bound)
    assert nearest > 0.4


def test_the_one_sided_bound_is_approached_and_needs_the_margin():
    eps, bend = 0.02, 4.0
    steep = 1e6
    top = hadamard_bound(eps, bend, sides=1).value
    # A constant, then a sharp turn down, then a parabola up to a constant.
    x = np.linspace(0, top / bend, 2001)
    slopes = -top + bend * x
    values = eps - top * x + bend * x**2 / 2
    turn = top**2 / 2 / steep
    assert largest(values) <= eps * SLACK
    assert largest(slopes) / hadamard_bound(eps + turn, bend, sides=1).value > 0.99
    # At the boundary a convex kink less zero has a slope of any size, without curvature above 0.
    slope, place = 50.0, 1e-6
    assert eps - slope * place > 0
    assert slope > 100 * hadamard_bound(eps, 0.0, sides=1, margin=1.0).value
    assert slope <= hadamard_bound(eps, 0.0, sides=1, margin=place).value


def test_values_at_points():
    nearest = 0.0
    for _, length, _, values, slopes, bends in residuals(600, 4):
        for stride in (10, 80, 200):
            size, spacing = largest(values[::stride]), stride * length / 800
            bound = grid_bound(size, largest(bends), spacing=spacing, cells=800 // stride)
            assert largest(values) <= bound.size * SLACK
            assert largest(slopes) <= bound.value * SLACK
            nearest = max(nearest, largest(slopes) / bound.value)
    assert nearest > 0.9


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.5, 1.0])
def test_values_at_points_are_attained(eps):
    spacing, cells, bend = 0.5, 8, 1.5
    bound = grid_bound(eps, bend, spacing=spacing, cells=cells)
    by_hand = [2 * eps / t + bend * t / 2 for t in spacing * np.arange(1, cells + 1)]
    assert bound.value == pytest.approx(min(by_hand))
    # The Euler spline is zero at the points.
    spline, x = euler_spline(2), np.linspace(0, cells * spacing, 1601)
    scale = bend * (spacing / np.pi) ** 2
    values = eps + scale * spline(np.pi * x / spacing)
    assert largest(values[::200]) == pytest.approx(eps, abs=1e-12)
    assert largest(values) == pytest.approx(bound.size)
    # And a linear programme whose values are bounded at the points alone.
    x = np.linspace(0, cells * spacing, 401)
    if eps:
        found = eps * largest_slope(x, 0, low=bend / eps, second=bend / eps, at=np.s_[::50])
        assert found == pytest.approx(bound.value, rel=0.02)


def test_values_at_points_need_the_curvature_and_the_spacing():
    spacing = 0.1
    hidden = np.pi / spacing  # the slope at 0 of a sine that is zero at the points
    assert hidden > 100 * grid_bound(0.0, 1.0, spacing=spacing, cells=9).value
    # A sine that is zero at every second point only, and as curved as claimed.
    bend = (np.pi / (2 * spacing)) ** 2
    assert np.pi / (2 * spacing) > 1.2 * grid_bound(0.0, bend, spacing=spacing, cells=9).value


# Kinks


def zigzag(values, nodes):
    """Size, variation, flux and mean square slope of straight pieces, exactly."""
    slopes, lengths = np.diff(values) / np.diff(nodes), np.diff(nodes)
    flux = abs(slopes[0]) + abs(slopes[-1])
    mean = slopes**2 @ lengths / lengths.sum()
    return largest(values), np.abs(np.diff(slopes)).sum(), flux, mean, lengths.sum()


def test_no_straight_pieces_violate_the_bound_of_the_variation():
    generator = np.random.default_rng(5)
    nearest = 0.0
    for k in range(800):
        nodes = np.sort(generator.uniform(0, np.exp(generator.uniform(-2, 2)), 2 + k % 7))
        values = generator.standard_normal(len(nodes))
        size, variation, flux, mean, length = zigzag(values, nodes)
        for given in (flux, None):
            bound = variation_bound(size, variation, length=length, flux=given)
            assert math.sqrt(mean) <= bound.value * SLACK
            nearest = max(nearest, math.sqrt(mean) / bound.value)
    assert nearest > 0.95
    assert bound.norm == "rms"


@pytest.mark.parametrize("kinks", [0, 1, 2, 9])
def test_the_bound_of_the_variation_is_attained(kinks):
    values = 0.3 * (-1.0) ** np.arange(kinks + 2)
    size, variation, flux, mean, length = zigzag(values, np.linspace(0, 2, kinks + 2))
    bound = variation_bound(size, variation, length=length, flux=flux)
    assert math.sqrt(mean) == pytest.approx(bound.value)
    if kinks == 0:
        assert variation_bound(size, 0.0, length=length).value == pytest.approx(math.sqrt(mean))
    # One steep piece approaches the other form.
    values, nodes = np.array([-0.3, 0.3, 0.3]), np.array([0.0, 1e-3, 2.0])
    size, variation, flux, mean, length = zigzag(values, nodes)
    assert math.sqrt(mean) > 0.99 * variation_bound(size, variation, length=length).value


def test_the_bound_of_the_variation_in_the_plane():
    generator = np.random.default_rng(6)
    t, weights = np.polynomial.legendre.leggauss(24)
    x, y = np.meshgrid(t, t)
    area, edge = np.outer(weights, weights), np.ones_like(t)
    borders = [(edge, t, 0), (-edge, t, 0), (t, edge, 1), (t, -edge, 1)]
    for _ in range(100):
        c = generator.standard_normal((4, 4))
        dx, dy = (np.polynomial.chebyshev.chebder(c, axis=axis) for axis in (0, 1))
        value = np.polynomial.chebyshev.chebval2d
        second = [np.polynomial.chebyshev.chebder(c, 2, axis=axis) for axis in (0, 1)]
        square = (value(x, y, dx) ** 2 + value(x, y, dy) ** 2).ravel() @ area.ravel()
        mass = np.abs(value(x, y, second[0]) + value(x, y, second[1])).ravel() @ area.ravel()
        flux = sum(np.abs(value(u, v, (dx, dy)[axis])) @ weights for u, v, axis in borders)
        size = largest(value(*np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), c))
        bound = variation_bound(size, mass, length=4.0, flux=flux)
        assert math.sqrt(square / 4) <= bound.value * SLACK


def test_the_bound_of_the_variation_needs_both_parts_and_the_mean():
    height, width = 0.01, 0.01
    size, variation, flux, mean, length = zigzag(
        np.array([0, 0, height, 0, 0]), np.array([-1, -width, 0, width, 1])
    )
    bound = variation_bound(size, variation, length=length, flux=flux)
    assert height / width > 5 * bound.value  # the largest slope of a hat
    assert math.sqrt(mean) <= bound.value
    assert math.sqrt(mean) > variation_bound(size, 0.0, length=length, flux=flux).value
    # A straight line has no variation: its slope is the flux through the boundary.
    size, variation, _, mean, length = zigzag(np.array([-1.0, 1.0]), np.array([0.0, 2.0]))
    assert math.sqrt(mean) > variation_bound(size, variation, length=length, flux=0.0).value


# Derivatives of any order


def test_kolmogorov_constants_are_known():
    third = sp.Rational(1, 3)
    known = {
        (2, 1): sp.sqrt(2),
        (3, 1): sp.Rational(9, 8) ** third,
        (3, 2): 3**third,
        (4, 1): sp.Rational(512, 375) ** sp.Rational(1, 4),
        (4, 2): sp.sqrt(sp.Rational(6, 5)),
        (4, 3): sp.Rational(24, 5) ** sp.Rational(1, 4),
        (5, 1): sp.Rational(1953125, 1572864) ** sp.Rational(1, 5),
    }
    for (order, k), constant in known.items():
        found = kolmogorov_constant(order, k)
        assert sp.simplify(found**order - constant**order) == 0
        assert not found.has(sp.pi)
        assert not found.has(sp.Float)
    rounded = [round(float(kolmogorov_constant(n)), 4) for n in (3, 4, 5)]
    assert rounded == [1.04, 1.081, 1.0443]
    for order in range(2, 12):
        for k in range(1, order):
            assert 1 < float(kolmogorov_constant(order, k)) <= math.pi / 2
    bound = kolmogorov_bound(0.3, 2.0, order=2)
    assert bound.value == pytest.approx(hadamard_bound(0.3, 2.0).value)


@pytest.mark.parametrize("order", range(8))
def test_the_euler_spline_is_its_series(order):
    x = np.linspace(-9, 9, 91) + 0.03
    odd = 2 * np.arange(20_000)[:, None] + 1
    series = 4 / np.pi * (np.sin(odd * x - np.pi * order / 2) / odd ** (order + 1.0)).sum(axis=0)
    np.testing.assert_allclose(euler_spline(order)(x), series, atol=2e-3 if order == 0 else 1e-6)
    # Its size is Favard's number.
    numbers = (1, sp.pi / 2, sp.pi**2 / 8, sp.pi**3 / 24, 5 * sp.pi**4 / 384, sp.pi**5 / 240)
    if order < len(numbers):
        fine = euler_spline(order)(np.linspace(0, np.pi, 2001)[:-1])
        assert largest(fine) == pytest.approx(float(numbers[order]), rel=1e-6)


@pytest.mark.parametrize(("order", "k"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 3), (7, 2)])
def test_kolmogorov_is_attained_and_never_violated(order, k):
    x = np.linspace(0, np.pi, 2001)[:-1]
    size, slope, bend = (largest(euler_spline(order - j)(x)) for j in (0, k, order))
    for scale in (1.0, 3.0):
        bound = kolmogorov_bound(size, bend * scale**order, order=order, k=k)
        assert slope * scale**k == pytest.approx(bound.value, rel=1e-6)
    generator = np.random.default_rng(7)
    x = np.linspace(0, 2 * np.pi, 401)
    for _ in range(100):
        shifts, a = generator.uniform(0, 6, 3), generator.standard_normal(3)
        w = generator.integers(1, 6, 3)

        def derivative(j, shifts=shifts, a=a, w=w):
            return sum(
                b * f**j * euler_spline(order - j)(f * x - s)
                for b, f, s in zip(a, w.astype(float), shifts, strict=True)
            )

        # The top derivative is a step function, whose jumps the grid may miss.
        top = np.abs(a) @ w.astype(float) ** order
        found = largest(derivative(k))
        assert (
            found <= kolmogorov_bound(largest(derivative(0)), top, order=order, k=k).value * SLACK
        )


def test_a_linear_programme_agrees_with_kolmogorov():
    x = np.linspace(-6, 6, 601)
    n, h = len(x), x[1] - x[0]
    bends = sparse.diags([-1.0, 3.0, -3.0, 1.0], [0, 1, 2, 3], shape=(n - 3, n)) / h**3
    for k, weights in ((1, {299: 1 / (2 * h), 301: -1 / (2 * h)}), (2, {299: -1, 300: 2, 301: -1})):
        objective = np.zeros(n)
        objective[list(weights)] = np.array(list(weights.values())) / (1 if k == 1 else h**2)
        found = linprog(
            objective,
            A_ub=sparse.vstack([bends, -bends]).tocsc(),
            b_ub=np.ones(2 * (n - 3)),
            bounds=[(-1.0, 1.0)] * n,
            method="highs",
        )
        assert -found.fun == pytest.approx(float(kolmogorov_constant(3, k)), rel=0.02)


def test_kolmogorov_needs_the_line():
    cubic = Chebyshev([0, 0, 0, 1])
    bound = kolmogorov_bound(1.0, abs(cubic.deriv(3)(0.0)), order=3)
    assert cubic.deriv()(1.0) > 2.9 * bound.value
    # And the derivative: the ripple.
    assert kolmogorov_bound(0.01, 1.0, order=3).value < RIPPLE


# Polynomials, band-limited and analytic functions


def test_no_polynomial_violates_markov():
    generator = np.random.default_rng(8)
    for k in range(600):
        degree, length = k % 9, float(np.exp(generator.uniform(-2, 2)))
        p = Chebyshev(generator.standard_normal(degree + 1), domain=[0, length])
        x = length / 2 * (1 - np.cos(np.linspace(0, np.pi, 2001)))
        margin = generator.uniform() * length / 2
        inside = (x >= margin) & (x <= length - margin)
        size = largest(p(x))
        for place, least in ((inside, margin), (x >= 0, 0.0)):
            bound = markov_bound(size, degree, length=length, margin=least)
            assert largest(p.deriv()(x[place])) <= bound.value * SLACK


@pytest.mark.parametrize("degree", [1, 3, 6, 10])
def test_markov_is_attained_by_chebyshev(degree):
    length = 0.7
    p = Chebyshev.basis(degree, domain=[0, length])
    bound = markov_bound(1.0, degree, length=length)
    assert abs(p.deriv()(length)) == pytest.approx(bound.value)
    assert bound.sharp
    for zero in p.roots():
        margin = min(zero, length - zero)
        bound = markov_bound(1.0, degree, length=length, margin=margin)
        assert abs(p.deriv()(zero)) == pytest.approx(bound.value)
    # Near an end, Bernstein's bound is above Markov's, which is then taken.
    near = markov_bound(1.0, degree, length=length, margin=length * 1e-9)
    assert near.value == pytest.approx(2 * degree**2 / length)
    assert not near.sharp
    # The degree is needed, and the interval.
    steeper = Chebyshev.basis(degree + 1, domain=[0, length]).deriv()(length)
    assert steeper > 1.2 * markov_bound(1.0, degree, length=length).value
    beyond = Chebyshev.basis(degree + 1, domain=[0, length]).deriv()(1.2 * length)
    assert beyond > markov_bound(1.0, degree + 1, length=length).value


def test_no_sum_of_sines_violates_bernstein():
    generator = np.random.default_rng(9)
    x = np.linspace(0, 2 * np.pi, 3001)
    for _ in range(500):
        w = np.arange(generator.integers(2, 9))
        a, b = generator.standard_normal((2, len(w)))
        values = np.cos(np.multiply.outer(x, w)) @ a + np.sin(np.multiply.outer(x, w)) @ b
        slopes = np.cos(np.multiply.outer(x, w)) @ (b * w) - np.sin(np.multiply.outer(x, w)) @ (
            a * w
        )
        assert largest(slopes) <= bernstein_bound(largest(values), w[-1]).value * SLACK
    assert largest(np.gradient(0.2 * np.sin(7 * x), x)) > 0.99 * bernstein_bound(0.2, 7.0).value


def test_bernstein_needs_the_line():
    # On [-1, 1], cos 2x and a constant.
    low, high = math.cos(2), 1.0
    size = (high - low) / 2
    assert 2 * math.sin(2) > 1.25 * bernstein_bound(size, 2.0).value


def test_no_network_of_tanh_violates_the_bound_of_the_strip():
    generator = np.random.default_rng(10)
    x = np.linspace(-40, 40, 4001)
    smallest = INF
    for k in range(500):
        count, largest_weight = 2 + k % 12, float(np.exp(generator.uniform(-0.5, 1)))
        w = generator.uniform(-1, 1, count) * largest_weight
        a, b = generator.standard_normal(count), generator.uniform(-3, 3, count)
        if k % 2:
            # Weights that alternate cancel.
            b = np.linspace(-2, 2, count)
            w, a = np.full(count, largest_weight), np.cos(3 * b) * np.exp(-(b**2)) * np.sign(a[0])
        bias, total = generator.standard_normal() / 5, np.abs(a).sum()
        units = np.tanh(np.multiply.outer(x, w) - w * b)
        values, slopes = units @ a + bias, (1 - units**2) @ (a * w)
        width = math.pi / (4 * largest_weight)
        bound = strip_bound(largest(values), total + abs(bias), half_width=width)
        assert largest(slopes) <= bound.value * SLACK
        by_units = tanh_bound(largest(values), total, inner_max=largest_weight)
        assert largest(slopes) <= by_units.value * SLACK
        smallest = min(smallest, largest(values) / total)
    assert smallest < 0.1


def test_the_bound_of_tanh_units_has_the_right_logarithm():
    """A linear programme finds the weights of the steepest sum of 2 tanh(W(x - b))."""
    weight, total = 2.0, 1.5
    b, x = np.linspace(-7, 7, 113), np.linspace(-10, 10, 321)
    values, fine = np.tanh(weight * (x[:, None] - b)), np.linspace(-12, 12, 6001)
    slopes = weight / np.cosh(weight * b) ** 2
    both, found = np.hstack([values, -values]), []
    rows = np.vstack([both, -both, np.ones(2 * len(b))])
    for eps in (0.1, 1e-2, 1e-3, 1e-4):
        most = np.append(np.full(2 * len(x), eps), total)
        a = linprog(np.append(-slopes, slopes), rows, most, method="highs").x
        a = a[: len(b)] - a[len(b) :]
        units = np.tanh(weight * (fine[:, None] - b))
        size, slope = largest(units @ a), largest((1 - units**2) @ (weight * a))
        bound = tanh_bound(size, np.abs(a).sum(), inner_max=weight)
        assert 0.75 * bound.value < slope <= bound.value * SLACK
        assert bound.value < strip_bound(size, total, half_width=math.pi / 8).value
        found.append((math.log(total / size), slope / size, bound.value / size))
    logs, ratios, bounds = np.array(found).T
    assert np.polyfit(logs, ratios, 1)[0] == pytest.approx(2 * weight / math.pi, rel=0.1)
    assert np.polyfit(logs, bounds, 1)[0] == pytest.approx(2 * weight / math.pi, rel=0.01)


def test_the_bound_of_tanh_units_at_its_ends():
    formula = 2 / math.pi * 0.3 * (1 + math.asinh(4 * 2 / (math.pi * 0.3)))
    assert tanh_bound(0.3, 2.0, inner_max=3.0).value == pytest.approx(3 * formula)
    # One unit has the slope W B at its middle; no bound for all sizes could be smaller.
    assert tanh_bound(5.0, 5.0, inner_max=3.0).value == pytest.approx(15.0)
    zero = [(0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)]
    assert not any(tanh_bound(e, total, inner_max=w).value for e, total, w in zero)
    assert 0 < tanh_bound(1e-320, 1e300, inner_max=1.0).value < 1e-316
    for log in (299.0, 301.0):  # of B / eps; arsinh(u) is ln(2u) to the last digit
        size = math.exp(-log)
        ratio = tanh_bound(size, 1.0, inner_max=1.0).value / size
        assert ratio == pytest.approx(2 / math.pi * (1 + log + math.log(8 / math.pi)), rel=1e-9)
    # Without a bound of the inner weights, or of the outer ones, the slope is larger.
    assert tanh_bound(0.01, 0.01, inner_max=1.0).value < 1 / 0.01
    assert tanh_bound(0.01, 1.0, inner_max=1.0).value < RIPPLE


def test_the_strip_is_attained_by_tanh():
    for weight, scale in ((1.0, 1.8), (3.0, 0.1)):
        bound = strip_bound(scale, scale, half_width=math.pi / (4 * weight))
        assert scale * weight == pytest.approx(bound.value)
        assert bound.sharp
    # For small sizes the best known is a sine, within a factor e.
    half_width, w = 0.5, 40.0
    top = math.cosh(w * half_width)
    bound = strip_bound(1.0, top, half_width=half_width)
    assert 0.36 < w / bound.value <= 1
    assert not bound.sharp
    formula = math.e / half_width * math.log(top)
    assert bound.value == pytest.approx(formula)
    # A sine that is large in the strip has any slope.
    assert strip_bound(0.01, 1.0, half_width=half_width).value < RIPPLE
    assert strip_bound(0.9, 1.0, half_width=1.0).value == pytest.approx(math.pi / 4)
    assert (
        strip_bound(0.0, 1.0, half_width=1.0).value
        == strip_bound(1.0, 0.0, half_width=1.0).value
        == 0
    )


def test_no_analytic_function_violates_the_bound_of_the_ellipse():
    generator = np.random.default_rng(11)
    for k in range(500):
        rho, length = 1 + float(np.exp(generator.uniform(-2, 2))), generator.uniform(0.3, 4)
        degree = 1 + k % 15
        n = np.arange(degree + 1)
        c = generator.standard_normal(degree + 1) * rho ** (-n * generator.uniform(0, 1.5))
        top = np.abs(c) @ (rho**n + rho**-n) / 2
        p = Chebyshev(c, domain=[0, length])
        x = length / 2 * (1 - np.cos(np.linspace(0, np.pi, 3001)))
        size = largest(p(x)) / math.cos(degree * np.pi / 6000)
        bound = ellipse_bound(size, top, rho=rho, length=length)
        assert largest(p.deriv()(x)) <= bound.value * SLACK
        log = max(2.0, math.log(top / size))
        assert bound.value <= math.e**2 / length * size * (log / math.log(rho)) ** 2 * SLACK


def test_the_ellipse_is_within_a_factor_of_four():
    # The best known ratios are those of Chebyshev's polynomials.
    for degree, rho, least in ((1, 500.0, 0.99), (3, 2.0, 0.27), (20, 1.5, 0.27)):
        top = (rho**degree + rho**-degree) / 2
        bound = ellipse_bound(1.0, top, rho=rho)
        assert least < degree**2 / bound.value <= 1
        assert ellipse_bound(1.0, top, rho=rho, length=0.5).value == pytest.approx(4 * bound.value)
    assert ellipse_bound(0.0, 1.0, rho=2.0).value == ellipse_bound(1.0, 0.0, rho=2.0).value == 0
    # It is the least over all ellipses in between.
    size, top, rho = 0.01, 1.0, 3.0
    u = np.linspace(1e-3, math.log(rho), 4001)
    every = size * np.exp(u * math.log(top / size) / math.log(rho)) / (np.cosh(u) - 1)
    assert ellipse_bound(size, top, rho=rho).value == pytest.approx(every.min(), rel=1e-5)
    # A polynomial of high degree is large in the ellipse: without its bound there is none.
    steep = 0.01 * Chebyshev.basis(100).deriv()(1.0)
    assert steep > 50 * ellipse_bound(0.01, 1.0, rho=2.0).value


# What all have in common


BOUNDS = [
    lambda eps, y: landau_bound(eps, 2.0 * y, length=1.0 / y, margin=0.1 / y),
    lambda eps, y: hadamard_bound(eps, 2.0 * y),
    lambda eps, y: hadamard_bound(eps, 2.0 * y, margin=0.2 / y, sides=1),
    lambda eps, y: grid_bound(eps, 2.0 * y, spacing=0.1 / y, cells=10),
    lambda eps, y: variation_bound(eps, 2.0, length=1.0 / y),
    lambda eps, y: markov_bound(eps, 3, length=1.0 / y),
    lambda eps, y: bernstein_bound(eps, 2.0 * y),
]


@pytest.mark.parametrize("bound", BOUNDS)
def test_units_and_extremes(bound):
    """Values of size 1/y, where x is measured in units of 1/y: slopes stay as they are."""
    for y in (1e-150, 1e-3, 1e3, 1e150):
        assert bound(0.3 / y, y).value == pytest.approx(bound(0.3, 1.0).value)
    assert bound(0.1, 1.0).value < bound(0.2, 1.0).value


def test_numbers_near_the_ends_of_the_range():
    for eps, curvature in ((1e-320, 1e10), (1e300, 1e-300), (1e-300, 1e300)):
        for value in (
            landau_bound(eps, curvature).value / 2,
            landau_bound(eps, curvature, length=1e308).value / 2,
            hadamard_bound(eps, curvature).value / math.sqrt(2),
            landau_bound(eps, curvature, margin=INF).value / math.sqrt(2),
        ):
            assert value == pytest.approx(math.sqrt(eps) * math.sqrt(curvature), rel=1e-3)


def test_nothing_is_wrong_if_the_residual_is_zero_or_straight():
    assert landau_bound(0.0, 1.0).value == landau_bound(1.0, 0.0).value == 0
    assert landau_bound(1.0, 0.0, margin=INF).value == hadamard_bound(1.0, 0.0).value == 0
    assert landau_bound(0.0, 1.0, length=0.1).value == hadamard_bound(0.0, 1.0).value == 0
    assert landau_bound(1.0, 0.0, length=0.5, margin=0.2).value == pytest.approx(4.0)
    assert hadamard_bound(1.0, 0.0, margin=0.5).value == pytest.approx(2.0)
    assert grid_bound(1.0, 0.0, spacing=0.1, cells=5).value == pytest.approx(4.0)
    assert markov_bound(1.0, 0, length=1.0, margin=0.5).value == 0


def test_a_bound_is_frozen_and_prints_what_it_needs():
    bound = markov_bound(0.1, 3, length=2, margin=0.5)
    assert bound.size == 0.1
    assert bound.norm == "max"
    with pytest.raises(dataclasses.FrozenInstanceError):
        bound.value = 1.0
    with pytest.raises(TypeError, match="positional"):
        inequalities.Bound(1.0)
    assert str(bound) == (
        "Markov: the gradient is at most 0.3464 (max). |r| <= 0.1. r is a polynomial of degree at "
        "most 3 on an interval of length 2. It holds at all points at distance 0.5 or more from "
        "the boundary."
    )
    assert bound.source == "Bernstein (1912), recalled"
    assert markov_bound(0.1, 3, length=2).source == "Markov (1889), recalled"
    assert "whole line" in str(hadamard_bound(0.1, 1.0))
    assert "of the domain" in str(landau_bound(0.1, 1.0))


# The smallest bound


ALL = {
    "curvature": 3.0,
    "hoelder_constant": 2.0,
    "exponent": 0.5,
    "upper_curvature": 1.0,
    "derivative_max": 5.0,
    "order": 3,
    "bandwidth": 2.5,
    "strip_max": 1.5,
    "half_width": 0.6,
    "outer_sum": 1.5,
    "inner_max": 1.2,
    "margin": INF,
}


def test_the_best_bound_on_the_line():
    for eps in (1e-6, 1e-3, 0.1, 1.0, 1.5):
        every = {
            hadamard_bound(eps, 3.0).value,
            hadamard_bound(eps, 2.0, exponent=0.5).value,
            hadamard_bound(eps, 1.0, sides=1).value,
            kolmogorov_bound(eps, 5.0, order=3).value,
            bernstein_bound(eps, 2.5).value,
            strip_bound(eps, 1.5, half_width=0.6).value,
            tanh_bound(eps, 1.5, inner_max=1.2).value,
        }
        best = best_bound(eps, **ALL)
        assert [best.value, *(other.value for other in best.others)] == sorted(every)
        assert len(best.others) == 6
        assert best.reason.startswith(f"It is the smallest of: {best.name} {best.value:.4g}, ")
        assert best.reason.endswith(" Of no use here: nothing.")
        assert str(best).endswith(best.reason)
    names = {best_bound(eps, **ALL).name for eps in (1e-6, 0.1, 1.5)}
    assert len(names) >= 2


def test_the_best_bound_on_an_interval():
    known = {"curvature": 3.0, "degree": 4, "ellipse_max": 2.0, "rho": 1.8, "length": 2.0}
    for eps in (1e-5, 0.01, 1.0):
        for margin in ({}, {"margin": 0.3}):
            every = {
                landau_bound(eps, 3.0, length=2.0, **margin).value,
                markov_bound(eps, 4, length=2.0, **margin).value,
                ellipse_bound(eps, 2.0, rho=1.8, length=2.0).value,
            }
            if margin:
                every.add(hadamard_bound(eps, 3.0, **margin).value)
            best = best_bound(eps, **known, **margin)
            assert [best.value, *(other.value for other in best.others)] == sorted(every)
    # What holds on the whole line only is not used on an interval.
    whole = {"bandwidth": 0.1, "outer_sum": 0.1, "inner_max": 0.1}
    best = best_bound(0.01, curvature=3.0, **whole, length=2.0)
    assert best.name == "Landau"
    assert best.reason.endswith("Of no use here: bandwidth, inner_max, outer_sum.")


def test_the_best_bound_from_values_at_points():
    points = {"curvature": 3.0, "spacing": 0.5, "cells": 4}
    best = best_bound(0.01, **points, length=2.0, degree=6)
    size = 0.01 + 3.0 * 0.25 / 8
    assert best.value == grid_bound(0.01, 3.0, spacing=0.5, cells=4).value
    assert sorted(other.value for other in best.others) == pytest.approx(
        sorted([landau_bound(size, 3.0, length=2.0).value, markov_bound(size, 6, length=2.0).value])
    )
    assert best_bound(0.01, curvature=3.0, spacing=0.5, margin=INF).size == size
    with pytest.raises(ValueError, match="expected curvature beside spacing, and got none; try"):
        best_bound(0.01, spacing=0.5, cells=4, degree=6, length=2.0)


def test_the_best_bound_of_a_mean_square():
    kinks = {"variation": 4.0, "flux": 1.0, "length": 2.0}
    best = best_bound(0.01, norm="rms", **kinks, degree=30)
    assert best.value == variation_bound(0.01, 4.0, flux=1.0, length=2.0).value
    assert [other.name for other in best.others] == ["Markov"]
    assert best_bound(0.01, **kinks, degree=30).name == "Markov"
    for options in ({}, {"norm": "rms", "margin": 0.1}):
        with pytest.raises(ValueError, match='; or norm="rms" without margin; or '):
            best_bound(0.01, **kinks, **options)


def test_the_best_bound_says_what_would_do():
    with pytest.raises(
        ValueError, match="got only eps; try to add one of these: curvature and len"
    ):
        best_bound(0.1)
    with pytest.raises(ValueError, match=r"got length; .*: curvature; or .*; or degree; or bandw"):
        best_bound(0.1, length=2.0)
    with pytest.raises(
        ValueError, match=r"got bandwidth, margin; .*; or margin=math.inf; or half_"
    ):
        best_bound(0.1, bandwidth=2.0, margin=1.0)
    with pytest.raises(ValueError, match=r"names among bandwidth, cells, .*, and got curve, l1"):
        best_bound(0.1, norm="l1", curve=2.0)
    for name in ("hoelder_constant", "upper_curvature"):
        with pytest.raises(
            ValueError, match=f"expected {name} of 0 or more and finite, and got -1"
        ):
            best_bound(0.1, **{"exponent": 0.5, "margin": 1.0, name: -1})


# Errors


@pytest.mark.parametrize("number", [-1, -0.1, math.nan, INF, "1", None, True, 1j, 10**309])
def test_sizes_have_to_be_finite_and_not_negative(number):
    match = "of 0 or more and finite, and got"
    for call in (
        lambda: landau_bound(number, 1.0),
        lambda: landau_bound(1.0, number),
        lambda: hadamard_bound(number, 1.0),
        lambda: hadamard_bound(1.0, number),
        lambda: grid_bound(number, 1.0, spacing=1.0, cells=1),
        lambda: grid_bound(1.0, number, spacing=1.0, cells=1),
        lambda: variation_bound(number, 1.0, length=1.0),
        lambda: variation_bound(1.0, number, length=1.0),
        lambda: kolmogorov_bound(number, 1.0, order=2),
        lambda: kolmogorov_bound(1.0, number, order=2),
        lambda: markov_bound(number, 1, length=1.0),
        lambda: bernstein_bound(number, 1.0),
        lambda: bernstein_bound(1.0, number),
        lambda: strip_bound(number, 1.0, half_width=1.0),
        lambda: strip_bound(1.0, number, half_width=1.0),
        lambda: tanh_bound(number, 1.0, inner_max=1.0),
        lambda: tanh_bound(1.0, number, inner_max=1.0),
        lambda: tanh_bound(1.0, 1.0, inner_max=number),
        lambda: ellipse_bound(number, 1.0, rho=2.0),
        lambda: ellipse_bound(1.0, number, rho=2.0),
        lambda: landau_extremal(number, 1.0),
    ):
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.parametrize("number", [0, -1.0, math.nan, "1"])
def test_lengths_have_to_be_above_zero(number):
    for call in (
        lambda: landau_bound(1.0, 1.0, length=number),
        lambda: hadamard_bound(1.0, 1.0, margin=number),
        lambda: hadamard_bound(1.0, 1.0, exponent=number),
        lambda: grid_bound(1.0, 1.0, spacing=number, cells=1),
        lambda: variation_bound(1.0, 1.0, length=number),
        lambda: markov_bound(1.0, 1, length=number),
        lambda: strip_bound(1.0, 1.0, half_width=number),
        lambda: ellipse_bound(1.0, 1.0, rho=2.0, length=number),
    ):
        with pytest.raises(ValueError, match=r"above 0 and (finite|at most (1|inf)), and got"):
            call()


def test_other_errors_are_clear():
    with pytest.raises(ValueError, match="got 'relu'; for kinks, as of ReLU, try variation_bound"):
        landau_bound(0.1, "relu")
    with pytest.raises(ValueError, match="got inf; for kinks, as of ReLU, try variation_bound"):
        best_bound(0.1, curvature=INF, length=1.0)
    with pytest.raises(ValueError, match=r"expected margin of at most 1 / 2, and got 0.6; try 0"):
        landau_bound(0.1, 1.0, length=1.0, margin=0.6)
    with pytest.raises(ValueError, match=r"expected margin of at most 1 / 2, and got 0.6; try 0"):
        markov_bound(0.1, 1, length=1.0, margin=0.6)
    with pytest.raises(ValueError, match="expected margin above 0 and at most inf, and got -1"):
        landau_bound(0.1, 1.0, margin=-1)
    with pytest.raises(ValueError, match="expected length above 0 and finite, and got inf"):
        markov_bound(0.1, 1, length=INF)
    with pytest.raises(ValueError, match=r"expected exponent above 0 and at most 1, and got 1.5"):
        hadamard_bound(0.1, 1.0, exponent=1.5)
    with pytest.raises(ValueError, match="expected rho above 1 and finite, and got 1"):
        ellipse_bound(0.1, 1.0, rho=1)
    with pytest.raises(ValueError, match="expected flux of 0 or more and finite, and got -2"):
        variation_bound(0.1, 1.0, length=1.0, flux=-2)
    for order in (1, 2.0, True):
        with pytest.raises(ValueError, match=f"expected order as an integer of 2 or more.*{order}"):
            kolmogorov_constant(order)
    for k in (0, 3):
        with pytest.raises(ValueError, match=f"expected k as an integer of 1 to 2, and got {k}"):
            kolmogorov_bound(0.1, 1.0, order=3, k=k)
    for call in (
        lambda: euler_spline(-1),
        lambda: markov_bound(0.1, -1, length=1.0),
        lambda: grid_bound(0.1, 1.0, spacing=1.0, cells=0),
        lambda: hadamard_bound(0.1, 1.0, sides=3),
    ):
        with pytest.raises(ValueError, match="as an integer of"):
            call()
