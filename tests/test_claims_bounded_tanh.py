"""The claims of the chapter on bounded weights, and of its appendix."""

import functools
import math

import numpy as np
import pytest
import torch
from claims import broken
from numpy.polynomial.chebyshev import Chebyshev
from scipy.optimize import linprog

from gradnotes import inequalities
from gradnotes.certificates import constant, curvature_bound
from gradnotes.fitting import fit
from gradnotes.gaps import residual
from gradnotes.inequalities import ellipse_bound, markov_bound, strip_bound
from gradnotes.networks import MLP

LINE = np.linspace(-30, 30, 12_001)
INTERVAL = np.linspace(-1, 1, 4001)


def tanh_bound(eps, inner, outer):
    """The theorem for one hidden layer of tanh units of any width."""
    return 2 * inner / np.pi * eps * (1 + np.arcsinh(4 * outer / (np.pi * eps)))


def tanh(z):
    return np.tanh(z)


def slope_of_tanh(z):
    return 4 * np.exp(-2 * np.abs(z)) / (1 + np.exp(-2 * np.abs(z))) ** 2


def sizes(a, b, points, inner=1.0):
    """The largest value and slope of the sum of a_j tanh(inner (x - b_j)), on a grid."""
    z = inner * (points[:, None] - b)
    return np.abs(tanh(z) @ a).max(), np.abs(inner * slope_of_tanh(z) @ a).max()


def steepest(eps, outer, b, points, at):
    """The outer weights that make the slope largest, by a linear programme."""
    values, slopes = tanh(points[:, None] - b), slope_of_tanh(at - b)
    both = np.hstack([values, -values])
    rows = np.vstack([both, -both, np.ones(2 * len(b))])
    most = np.r_[np.full(2 * len(points), eps), outer]
    best = linprog(-np.r_[slopes, -slopes], rows, most, method="highs").x
    return best[: len(b)] - best[len(b) :]


@functools.cache
def worst_on_the_line():
    b, points = np.linspace(-14, 14, 113), np.linspace(-20, 20, 321)
    return [sizes(steepest(eps, 2, b, points, 0), b, LINE) for eps in (0.3, 0.1, 1e-2, 1e-3)]


@functools.cache
def worst_on_an_interval():
    b, points = np.linspace(-5, 5, 121), np.cos(np.linspace(0, np.pi, 161))
    return [sizes(steepest(eps, 2, b, points, 1), b, INTERVAL) for eps in (0.1, 1e-2, 1e-3)]


def random_networks():
    """Differences of tanh networks in the plane, inner weights up to 1, outer ones that sum to 2.

    Sizes and slopes are taken along a line, far enough for all units to saturate.
    """
    rng, found = np.random.default_rng(0), []
    for width in (1, 3, 10, 100, 1000):
        for _ in range(5):
            w = rng.normal(size=(width, 2))
            w *= rng.uniform(0.3, 1, width)[:, None] / np.linalg.norm(w, axis=1)[:, None]
            a, b = rng.normal(size=width), rng.uniform(-5, 5, width)
            along = w @ [0.6, 0.8]
            z = np.linspace(-300, 300, 6001)[:, None] * along + b
            a *= 2 / np.abs(a).sum()
            found.append((np.abs(tanh(z) @ a).max(), np.abs(slope_of_tanh(z) @ (a * along)).max()))
    return found


def relu_pair():
    """The units max(x, 0) and max(x + d, 0)."""
    return [(d, 1.0) for d in (0.1, 0.01)]


def steep_units():
    """The units d tanh(x / d^2)."""
    return [(d, 1 / d) for d in (0.1, 0.01)]


def rippled():
    """The network 0 and the target d sin(5 x / d)."""
    return [(d, 5.0) for d in (0.1, 0.01)]


def loud_waves():
    """Waves of units, enlarged to the size 0.1: outer weights without bound."""
    return [(0.1, 0.1 * slope / eps) for _, eps, slope in (wave(k) for k in (8, 16))]


# One hidden layer of tanh units, any width


@pytest.mark.claim("B26", "Q4", "A12")
@pytest.mark.parametrize(
    ("pairs", "factor"),
    [
        (random_networks, 1),
        (worst_on_the_line, 1),
        broken(worst_on_the_line, 0.75, by="a factor that is smaller by a quarter"),
        broken(worst_on_the_line, 0.5, by="half the factor"),
        broken(worst_on_an_interval, 1, by="values that are close on an interval only"),
        broken(relu_pair, 1, by="ReLU in place of tanh"),
        broken(steep_units, 1, by="inner weights without bound"),
        broken(loud_waves, 1, by="outer weights without bound"),
        broken(rippled, 1, by="a target that is no such network"),
    ],
)
def test_networks_of_any_width_have_close_slopes(pairs, factor):
    for eps, slope in pairs():
        assert slope <= factor * tanh_bound(eps, 1, 2)


@pytest.mark.claim("B26")
@pytest.mark.parametrize(
    "scale", [1, broken(0.5, by="half of the inner weight"), broken(2, by="twice the inner weight")]
)
def test_the_package_has_this_bound(scale):
    """The page's formula, and the best k found by trying many, where W B is larger."""
    for eps, inner, outer in ((0.5, 1.5, 2.0), (1e-3, 0.3, 7.0), (1e-9, 4.0, 0.2)):
        package = inequalities.tanh_bound(eps, outer, inner_max=scale * inner).value
        q = np.linspace(1e-3, 40, 400_001)
        tried = 2 * inner / np.pi * (q * eps + 4 * outer / (np.pi * np.sinh(q)))
        formula = tanh_bound(eps, inner, outer)
        assert np.isclose(package, formula, rtol=1e-12)
        # At the chosen q the curve is flat to first order only for small eps.
        assert (1 - 0.1) * formula <= tried.min() <= formula * (1 + 1e-6)


@pytest.mark.claim("B26")
@pytest.mark.parametrize(
    ("share", "inner"),
    [
        (1, 1.5),
        broken(0.5, 1.5, by="half of the remainder"),
        broken(1, 0.75, by="half of the inner weight"),
    ],
)
def test_riesz_sum_of_a_unit_is_off_by_little(share, inner):
    """The remainder in the proof, against the sum itself over many terms, at its worst shift."""
    j = np.arange(100_000)
    odd, sign = 2 * j + 1, (-1.0) ** j
    for k in (2.0, 4.0):
        t, c = odd * np.pi / (2 * k), 4 / np.pi**2 * sign / odd**2
        off = []
        for shift in np.linspace(-1, 1, 21):
            z = 1.5 * (np.array([t, -t]) + shift)
            mean = k * (c @ tanh(z[0]) - c @ tanh(z[1]))
            off.append(abs(1.5 * slope_of_tanh(1.5 * shift) - mean))
        limit = share * 8 * inner / np.pi**2 / np.sinh(np.pi * k / (2 * inner))
        assert max(off) <= limit


def wave(k, inner=1.0, outer=2.0, s=3.0):
    """Size and slope at 0 of a wave of tanh units, by adding up units."""
    b = np.arange(-9 * s, 9 * s, 0.02)
    a = np.cos(k * b) * np.exp(-(b**2) / (2 * s**2))
    total = np.abs(a).sum()
    points = np.linspace(-6, 6, 1201)
    size, slope = sizes(outer * a / total, b, points, inner)
    return total * 0.02 / outer, size, slope


@pytest.mark.claim("B76")
@pytest.mark.parametrize(
    "factor",
    [2 / np.pi, broken(1, by="the factor 1"), broken(4 / np.pi, by="the strip's factor")],
)
def test_the_logarithm_cannot_be_lost(factor):
    """Waves are as steep as the factor says; their slopes agree with a Fourier integral."""
    for k in (3, 5, 7):
        scale, size, slope = wave(k)
        assert slope >= factor * size * np.log(2 / size)
        assert slope <= tanh_bound(size, 1, 2)
        xi = np.linspace(1e-6, k + 6, 40_001)
        bells = np.exp(-4.5 * (xi - k) ** 2) + np.exp(-4.5 * (xi + k) ** 2)
        kernel = np.pi * xi / np.sinh(np.pi * xi / 2)
        integral = np.trapezoid(1.5 * np.sqrt(2 * np.pi) * bells * kernel, xi) / np.pi
        assert np.isclose(integral / scale, slope, rtol=1e-6)


# Sines


@pytest.mark.claim("B29")
@pytest.mark.parametrize(
    ("top", "power"),
    [
        (3.0, 2),
        broken(4.5, 2, by="frequencies beyond the band"),
        broken(3.0, 3, by="coefficients that fall faster"),
    ],
)
def test_a_slope_is_a_signed_mean_of_values(top, power):
    """Riesz's formula with k = 3, for sums of sines."""
    rng, j = np.random.default_rng(0), np.arange(-100_000, 100_000)
    t, c = (2 * j + 1) * np.pi / 6, 4 / np.pi**2 * (-1.0) ** (j % 2) / (2 * j + 1.0) ** power
    for _ in range(20):
        w, a, b = rng.uniform(0, top, 4), rng.normal(size=4), rng.uniform(-3, 3, 4)
        mean = 3 * c @ (np.sin(t[:, None] * w + b) @ a)
        assert np.isclose(mean, (a * w) @ np.cos(b), atol=1e-3)


@pytest.mark.claim("B29", "Q4", "A2", "C5")
@pytest.mark.parametrize(
    "factor", [1, broken(0.99, by="a smaller constant"), broken(0.5, by="half the constant")]
)
def test_networks_of_sines_have_the_constant_w(factor):
    """Over whole periods, where the largest value and slope are those on the line."""
    rng, x = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 8193)
    for count in (1, 3, 10):
        for _ in range(20):
            w, a, b = rng.integers(1, 12, count), rng.normal(size=count), rng.uniform(0, 6, count)
            z = x[:, None] * w + b
            size, slope = np.abs(np.sin(z) @ a).max(), np.abs(np.cos(z) @ (a * w)).max()
            assert slope <= factor * w.max() * size * (1 + 1e-4)


@pytest.mark.claim("B77")
@pytest.mark.parametrize(
    ("order", "reach", "band"),
    [
        (2, 1, 2.0),
        broken(1, 1, 2.0, by="a slope that grows like n"),
        broken(2, 3, 2.0, by="a larger interval"),
        broken(2, 1, 7.0, by="n below W / pi"),
    ],
)
def test_on_an_interval_sines_can_be_steeper_than_w(order, reach, band):
    """The slope by a formula, by a difference, and as the optimum of a linear programme."""
    for n in (1, 2, 3):
        step = band / n
        x = np.cos(np.linspace(0, np.pi, 401))
        angles = np.outer(x, step * np.arange(n + 1))
        squeezed = Chebyshev.basis(2 * n)(
            np.sin(step * reach * x / 2) / math.sin(step / 2),
        )
        assert np.abs(squeezed).max() <= 1 + 1e-9
        formula = 4 * n**order * (step / 2) / math.tan(step / 2)
        assert formula > 1.2 * band
        values = np.cos(angles)
        slopes = -step * np.arange(n + 1) * np.sin(step * np.arange(n + 1))
        best = linprog(-slopes, np.vstack([values, -values]), np.ones(802), bounds=(None, None))
        assert np.isclose(-best.fun, formula, rtol=1e-3)


# Strips and ellipses


@pytest.mark.claim("B75")
@pytest.mark.parametrize(
    "bound",
    [
        lambda eps, top: strip_bound(eps, top, half_width=1.0).value,
        broken(lambda eps, top: eps * np.log(top / eps) / 2, by="half of what sines need"),
        broken(lambda eps, top: np.e * eps * np.log(top / eps), by="no maximum with 1"),
        broken(lambda eps, top: np.e * eps, by="no logarithm"),
    ],
)
def test_a_strip_of_half_width_one_is_enough(bound):
    """For sines, and for tanh in the widest strip where it is at most 1."""
    for eps in (1e-6, 1e-2, 0.5):
        for k in (0.5, 2.0, 8.0):
            top, slope = eps * np.cosh(k), k * eps
            assert slope <= bound(eps, top) * (1 + 1e-12)
    assert np.pi / 4 <= bound(0.999, 1.0) * (1 + 1e-12)


@pytest.mark.claim("B75")
@pytest.mark.parametrize(
    "widen", [1, broken(1.3, by="a strip that is too wide"), broken(2, by="twice the strip")]
)
def test_tanh_networks_are_bounded_in_their_strip(widen):
    """Networks of one to three layers whose weights point one way, as the lemma's worst case."""
    for sizes_of_layers in ([1.0], [2.0], [1.0, 1.0], [0.5, 2.0, 1.5]):
        t = np.pi / 4
        for size in reversed(sizes_of_layers[1:]):
            t = min(np.pi / 4, math.atan(t / size))
        half = widen * t / sizes_of_layers[0]
        z = np.linspace(-3, 3, 601) + 1j * np.linspace(-half, half, 41)[:, None]
        for size in sizes_of_layers:
            z = np.tanh(size * z)
        assert np.abs(z).max() <= 1 + 1e-12


@pytest.mark.claim("B27")
@pytest.mark.parametrize(
    ("factor", "power"),
    [
        (1, 2),
        broken(1, 1, by="the logarithm itself"),
        broken(0.2, 2, by="a fifth of the constant"),
    ],
)
def test_on_an_interval_the_logarithm_is_squared(factor, power):
    """For Chebyshev's polynomials in ellipses, and for the worst sums of tanh units."""
    cases = [
        (1.0, float(np.cosh(n * np.log(rho))), rho, n**2) for n in (2, 8, 32) for rho in (1.5, 3.0)
    ]
    rho = np.pi / 4 + np.hypot(1, np.pi / 4)
    cases += [(eps, 2.0, rho, slope) for eps, slope in worst_on_an_interval()]
    for eps, top, radius, slope in cases:
        log = max(2, np.log(top / eps)) / np.log(radius)
        limit = factor * np.e**2 / 2 * eps * log**power
        assert slope <= limit
        assert power == 1 or ellipse_bound(eps, top, rho=radius).value <= limit / factor * 1.0001


@pytest.mark.claim("B82")
@pytest.mark.parametrize(
    ("units", "share"),
    [
        (60, 0.9),
        broken(3, 0.9, by="three units"),
        broken(60, 1.5, by="a ratio that is larger by a half"),
    ],
)
def test_on_an_interval_no_constant_serves_all_widths(units, share):
    """Sums of units of one inner weight come close to sin(nx) with its slope."""
    inner = 4.0
    b = np.linspace(-1.5, 1.5, units)
    z = inner * (INTERVAL[:, None] - b)
    for n in (5, 10, 20):
        slopes = inner * slope_of_tanh(z)
        a, *_ = np.linalg.lstsq(slopes, n * np.cos(n * INTERVAL), rcond=None)
        r = tanh(z) @ a
        r -= (r.max() + r.min()) / 2
        assert np.abs(slopes @ a).max() >= share * n * np.abs(r).max()


# A fixed number of units


def worst_ratio(w, b, unit, points=INTERVAL):
    """The largest ratio of the slope at 1 to the size over outer weights, by a linear programme."""
    value = unit(points[:, None] * w + b)
    step = 1e-6
    slope = (unit(w + b) - unit((1 - step) * w + b)) / step
    scale = np.abs(value - value.mean(axis=0)).max(axis=0) + 1e-300
    rows = np.c_[np.ones(len(points)), (value - value.mean(axis=0)) / scale]
    end = np.r_[0, slope / scale]
    best = linprog(-end, np.vstack([rows, -rows]), np.ones(2 * len(points)), bounds=(None, None))
    return -best.fun


def explicit(m, inner, length=2.0):
    return 2 * m * inner + 2 * np.e * 4**m * max(2 / length, 2 * m * inner)


@pytest.mark.claim("B78", "B79", "Q4", "A2", "A12", "C5")
@pytest.mark.parametrize(
    ("inner", "unit", "count"),
    [
        (2.0, tanh, 2),
        broken(3000.0, tanh, 2, by="inner weights without bound"),
        broken(2.0, lambda z: np.maximum(z, 0), 2, by="ReLU in place of tanh"),
    ],
)
def test_two_units_have_one_constant_for_all_weights(inner, unit, count):
    """Random inner weights and biases, also pairs of units that nearly coincide."""
    rng = np.random.default_rng(0)
    points = np.unique(np.r_[np.linspace(-1, 1, 201), 1 - np.geomspace(1e-4, 1, 50)])
    for trial in range(60):
        w, b = rng.uniform(-inner, inner, count), rng.uniform(-3, 3, count)
        if trial % 3 == 0:
            w, b = w[0] + 1e-2 * rng.normal(size=count), b[0] + 1e-2 * rng.normal(size=count)
        if trial % 3 == 1:
            b = 1e-3 * np.arange(1, count + 1) - w  # the switch just inside the end
        assert worst_ratio(w, b, unit, points) <= explicit(2, 2.0)


@pytest.mark.claim("B79")
@pytest.mark.parametrize(
    ("constant_of", "least"),
    [
        (lambda n: 2 * n**2, 0.0),
        broken(lambda n: n**2, 0.0, by="half of the constant"),
        broken(lambda n: 2 * n, 0.0, by="growth like n"),
        broken(lambda n: 2 * n**2, -30.0, by="exponents below 0"),
    ],
)
def test_sums_of_growing_exponentials_have_a_slope_like_polynomials(constant_of, least):
    """On [0, 1], the worst coefficients by a linear programme, for small and large exponents."""
    rng, t = np.random.default_rng(0), (1 - np.cos(np.linspace(0, np.pi, 301))) / 2
    for n in (1, 2, 3):
        for spread in (1.0, 5.0):
            for _ in range(4):
                exponents = np.r_[0, least + spread * np.sort(rng.uniform(0.3, 1, n))]
                q, r = np.linalg.qr(np.exp(np.outer(t, exponents)))
                end = np.linalg.solve(r.T, exponents)
                best = min(
                    linprog(s * end, np.vstack([q, -q]), np.ones(602), bounds=(None, None)).fun
                    for s in (1, -1)
                )
                assert -best <= constant_of(n) * 1.001


@pytest.mark.claim("B80")
@pytest.mark.parametrize(
    "formula",
    [
        lambda w: 4 * w / -np.expm1(-4 * w),
        broken(lambda w: 4 * w, by="the limit for large weights"),
        broken(lambda w: 2 * w / -np.expm1(-2 * w), by="half of the weight"),
        broken(lambda w: 4.2 * w / -np.expm1(-4 * w), by="a constant that is not approached"),
    ],
)
def test_one_unit_has_this_constant(formula):
    """Over all biases, for weights up to W; exact, as the unit is monotone."""
    for most in (0.2, 1.0, 3.0):
        ratios = []
        for w in np.linspace(0.05, 1, 20) * most:
            for b in np.linspace(-8, 8, 321):
                ends = tanh(b + w) - tanh(b - w)
                steep = slope_of_tanh(max(0.0, abs(b) - w))
                ratios.append(2 * w * steep / ends if ends > 1e-9 else 0.0)
        assert max(ratios) <= formula(most) * (1 + 1e-6)
        assert max(ratios) >= 0.999 * formula(most)


# Polynomials and exponentials


@pytest.mark.claim("B30")
@pytest.mark.parametrize(
    "constant_of",
    [
        lambda n: markov_bound(1.0, n, length=2.0).value,
        broken(lambda n: 0.99 * n**2, by="one per cent less"),
        broken(lambda n: 2 * n, by="growth like n"),
    ],
)
def test_polynomials_have_markovs_constant(constant_of):
    """Chebyshev's polynomials attain it; a linear programme finds nothing steeper."""
    x = np.cos(np.linspace(0, np.pi, 401))
    for n in (3, 6):
        assert np.isclose(Chebyshev.basis(n).deriv()(1.0), n**2)
        basis = [Chebyshev.basis(i) for i in range(n + 1)]
        values = np.array([p(x) for p in basis]).T
        for at in (1.0, 0.8, 0.0):
            slopes = np.array([p.deriv()(at) for p in basis])
            best = linprog(-slopes, np.vstack([values, -values]), np.ones(802), bounds=(None, None))
            assert -best.fun <= constant_of(n) * (1 + 1e-3)


@pytest.mark.claim("B30")
@pytest.mark.parametrize(
    ("factor", "radius"),
    [
        (2, 0.2929),
        broken(0.2, 0.2929, by="a tenth of the constant"),
        broken(2, 10.0, by="a ball that is not in the set"),
    ],
)
def test_polynomials_on_a_triangle(factor, radius):
    """The triangle (0, 0), (1, 0), (0, 1) holds a ball of radius 1 - 1/sqrt 2."""
    u, v = np.meshgrid(np.linspace(0, 1, 61), np.linspace(0, 1, 61))
    inside = u + v <= 1 + 1e-9
    u, v = u[inside], v[inside]
    for n in (1, 2, 3):
        powers = [(i, j) for i in range(n + 1) for j in range(n + 1 - i)]
        values = np.array([u**i * v**j for i, j in powers]).T
        slopes = np.array([float((i, j) in {(1, 0)}) for i, j in powers])
        best = linprog(
            -slopes, np.vstack([values, -values]), np.ones(2 * len(u)), bounds=(None, None)
        )
        assert -best.fun <= factor * n**2 / radius


@pytest.mark.claim("B31")
@pytest.mark.parametrize(
    ("constant_of", "at"),
    [
        (lambda n: 2 * n - 1, 0.0),
        broken(lambda n: n / 2, 0.0, by="a quarter of the number"),
        broken(lambda n: 2 * n - 1, 0.99, by="a point near the end, with the distance 1"),
    ],
)
def test_sums_of_exponentials_have_bounded_slopes_inside(constant_of, at):
    """At the middle of [-1, 1], for exponents of any sign and size."""
    rng, t = np.random.default_rng(0), np.sin(np.linspace(-np.pi / 2, np.pi / 2, 301))
    for n in (1, 2, 3):
        for spread in (0.3, 3.0, 12.0):
            for _ in range(4):
                steps = np.sort(rng.uniform(0.2, 1, n))
                exponents = np.r_[0, spread * steps * rng.choice([-1, 1], n)]
                features = np.exp(np.outer(t, exponents) - np.abs(exponents))
                q, r = np.linalg.qr(features)
                slopes = exponents * np.exp(at * exponents - np.abs(exponents))
                end = np.linalg.solve(r.T, slopes)
                best = linprog(end, np.vstack([q, -q]), np.ones(602), bounds=(None, None))
                assert -best.fun <= constant_of(n) * 1.001


# Trained networks


@functools.cache
def trained(noise):
    """Eight networks fitted to noisy values of a network with three units.

    Points and line reach so far out that units with tiny inner weights have saturated, too.
    """
    torch.set_num_threads(1)
    target = MLP(1, (3,), rng=0)
    flat = [1.0, -1.5, 2.0, 1.0, -0.8, 0.6, -1.0, 0.5, 1.0, 0.0]
    target.set_flat_weights(torch.tensor(flat, dtype=torch.float64))
    points = np.sinh(np.linspace(-12, 12, 161))[:, None]
    values = target(torch.from_numpy(points)).detach().numpy()
    values = values + noise * np.random.default_rng(1).uniform(-1, 1, (8, 161))
    model = fit(MLP(1, (8,), members=8, rng=1), points, values, steps=100, rng=1).model
    r, slopes = residual(model, target, np.sinh(np.linspace(-40, 40, 16_001))[:, None])
    size, slope = np.abs(r).max(axis=1), np.abs(slopes).max(axis=(1, 2))
    bend = curvature_bound(model) + curvature_bound(target)
    inner = np.abs(model.weights[0].detach().numpy()).max(axis=(1, 2))
    outer = np.abs(model.weights[1].detach().numpy()).sum(axis=(1, 2))
    return model, size, slope, bend, np.maximum(inner, 2.0), outer + 2.4


@pytest.mark.claim("B81")
@pytest.mark.parametrize(
    "ripple",
    [0.0, broken(1.0, by="a target that left the class, by a ripple of the size of the gap")],
)
def test_trained_networks_keep_their_constant(ripple):
    for noise in (1e-2, 1e-5):
        model, size, slope, _, inner, outer = trained(noise)
        eps = (1 + ripple) * size
        c = tanh_bound(eps, inner, outer) / eps
        assert (slope + ripple <= c * eps).all()
        assert (c < 100).all()
        of_reader = [constant(model.member(s), eps=float(eps[s])).value for s in range(8)]
        assert (slope + ripple <= np.array(of_reader) * eps).all()


@pytest.mark.claim("B81")
@pytest.mark.parametrize(
    "kind", ["theorem", broken("curvature", by="the constant that bounded curvature gives")]
)
def test_the_constant_of_trained_networks_changes_little(kind):
    """Medians over eight networks each, as the value gap falls by several hundred."""
    found = []
    for noise in (1e-2, 1e-5):
        _, eps, _, bend, inner, outer = trained(noise)
        of = {"theorem": tanh_bound(eps, inner, outer) / eps, "curvature": np.sqrt(2 * bend / eps)}
        found.append([np.median(c) for c in (eps, of[kind], of["curvature"])])
    fall, change, curved = np.array(found[0]) / found[1]
    assert fall > 200
    assert curved < 1 / 10
    assert 1 / 4 < change < 4
