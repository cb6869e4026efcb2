"""The claims that the chapter on training with gradients settles."""

import functools
import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken
from scipy import integrate
from scipy.interpolate import CubicHermiteSpline, CubicSpline
from scipy.optimize import linprog
from scipy.spatial import cKDTree
from torch.utils.flop_counter import FlopCounterMode

from gradnotes.fitting import fit
from gradnotes.inequalities import euler_spline
from gradnotes.networks import MLP
from gradnotes.sobolev import (
    named_target,
    paired_ratio,
    points_needed,
    sobolev_sweep,
    stored_study,
    wrong_field,
)

FAVARD = {2: math.pi**2 / 8, 3: math.pi**3 / 24, 4: 5 * math.pi**4 / 384, 5: math.pi**5 / 240}
SMOOTH = ("styblinski_tang", "beale", "booth", "mccormick", "rosenbrock")


def unit_ball(d):
    return math.pi ** (d / 2) / math.gamma(d / 2 + 1)


# What gradients can buy


def hidden_bump(points, s, factor=1.0):
    """The bump in the largest empty ball about a place of the cube, by a search, and its parts."""
    n, d = points.shape
    places = np.concatenate([np.random.default_rng(1).random((4000, d)), np.eye(d), 1 - np.eye(d)])
    distances = cKDTree(points).query(places)[0]
    centre, radius = places[distances.argmax()], (unit_ball(d) * n) ** (-1 / d)

    def bump(x):
        inside = np.maximum(1 - np.square((x - centre) / radius).sum(axis=-1), 0)
        return factor * radius**s / (2**s * math.factorial(s)) * inside**s

    return bump, centre, radius, distances.max()


@pytest.mark.claim("B94")
@pytest.mark.parametrize(
    ("factor", "shift"),
    [
        (1.0, 0.0),
        broken(1.2, 0.0, by="a bump a fifth too high for its curvature"),
        broken(1.0, 0.7, by="a bump that is not in the hole"),
    ],
)
@pytest.mark.parametrize("s", [2, 3, 4])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_bump_hides_from_values_and_gradients(factor, shift, s, d):
    """Zero with its slopes at the points, and its derivative of order s is at most 1 everywhere."""
    rng = np.random.default_rng(d)
    points = rng.random((12, d))
    bump, centre, radius, hole = hidden_bump(points, s, factor)
    assert hole >= radius * 0.999
    moved = points + shift * (centre - points)
    h = 1e-5
    assert np.abs(bump(moved)).max() < 1e-12
    for step in h * np.eye(d):
        assert np.abs(bump(moved + step) - bump(moved - step)).max() < 2 * h * 1e-3
    claimed = (unit_ball(d) * 12) ** (-s / d) / (2**s * math.factorial(s))
    assert bump(centre) >= claimed * (1 - 1e-12)
    # On random lines: the derivative of order s - 1, in closed form, has a slope of at most 1.
    t = sp.Symbol("t")
    below = sp.lambdify(t, sp.diff((1 - t**2) ** s, t, s - 1))
    largest = 0.0
    for _ in range(50):
        a = rng.uniform(0.1, 1.0)  # half of the chord, over the radius
        at = np.linspace(-1, 1, 2001)
        # On the chord the bump is a^(2s) (1 - u^2)^s, with u the place over half of the chord.
        values = a ** (2 * s) * below(at) / (a * radius) ** (s - 1)
        values = values * factor * radius**s / (2**s * math.factorial(s))
        largest = max(largest, np.abs(np.diff(values) / np.diff(at * a * radius)).max())
    assert 0.8 < largest <= 1 + 1e-6


@pytest.mark.claim("B94")
@pytest.mark.parametrize(
    "constant",
    [
        lambda d: d * unit_ball(d) ** (2 / d),
        broken(lambda d: 2 * d * unit_ball(d) ** (2 / d), by="twice the constant"),
        broken(lambda d: unit_ball(d) ** (2 / d), by="the number of variables is forgotten"),
    ],
)
def test_the_constant_is_within_17_of_the_best(constant):
    """For s = 2, of Taylor's bound on a grid of points: at most 2 pi e, whatever d."""
    for d in (1, 2, 3, 10, 100, 1000):
        lower = unit_ball(d) ** (-2 / d) / 8 if d < 300 else None
        ratio = constant(d) if d < 300 else 2 * math.pi * math.e
        assert ratio <= 2 * math.pi * math.e
        if lower is not None:
            # The farthest place from the middles of cells of side h is sqrt(d) h / 2 away.
            upper = (math.sqrt(d) / 2) ** 2 / 2
            assert ratio == pytest.approx(upper / lower, rel=1e-12)


@pytest.mark.claim("B94")
@pytest.mark.parametrize(
    "family",
    ["affine", broken("waves", by="a class with a bump")],
)
def test_without_the_whole_class_one_point_may_be_enough(family):
    """Of affine functions a value and a gradient at one point leave nothing open."""
    rng = np.random.default_rng(0)
    at, place = rng.random((500, 2)), np.array([[0.3, 0.6]])
    for _ in range(20):
        a, b = rng.normal(size=2), rng.normal()
        bend = 0.0 if family == "affine" else 1.0

        def f(x, a=a, b=b, bend=bend):
            return b + x @ a + bend * np.sin(x[:, 0]) ** 2

        h = 1e-6
        slope = [(f(place + h * e) - f(place - h * e))[0] / (2 * h) for e in np.eye(2)]
        model = f(place)[0] + (at - place) @ slope
        assert np.abs(model - f(at)).max() < 1e-8


def worst_case(nodes, slopes, s, cells=120):
    """The largest value of a function of period 1 with |f^(s)| <= 1 and zero data: a programme.

    The derivative of order s is a step function on the cells; the integral of it s times is done by
    its Fourier series.
    """
    k = np.concatenate([np.arange(-3000, 0), np.arange(1, 3001)])
    middles = (np.arange(cells) + 0.5) / cells
    series = np.sinc(k / cells) / cells / (2j * np.pi * k) ** s

    def row(x, order=0):
        waves = np.exp(2j * np.pi * np.outer(x - middles, k))
        entries = np.real(waves @ (series * (2j * np.pi * k) ** order))
        return np.append(entries, 1.0 if order == 0 else 0.0)

    data = [row(x) for x in nodes] + ([row(x, 1) for x in nodes] if slopes else [])
    data.append(np.append(np.ones(cells), 0.0))  # the step function has the mean 0
    gap = nodes[1] - nodes[0]
    best = 0.0
    for x in gap * np.array([0.25, 0.4, 0.5]):
        bounds = [(-1, 1)] * cells + [(None, None)]
        found = linprog(-row(x), A_eq=np.array(data), b_eq=np.zeros(len(data)), bounds=bounds)
        best = max(best, -found.fun)
    return best


@pytest.mark.claim("B95")
@pytest.mark.parametrize(
    ("plain", "sloped", "doubled"),
    [
        (lambda s: 2**s, 2, 1),
        broken(lambda s: 2**s, 1, 1, by="slopes as good as values"),
        broken(lambda s: 2 * s - 1, 2, 1, by="another power"),
        broken(lambda s: 2**s, 2, 2, by="values no better than slopes"),
    ],
)
@pytest.mark.parametrize("s", [2, 3, 4])
def test_at_equal_numbers_slopes_are_twice_as_bad(plain, sloped, doubled, s):
    """By linear programming, in units of Favard's number over (2 pi N)^s."""
    for n in (2, 4):
        unit = FAVARD[s] / (2 * math.pi * n) ** s
        few, many = np.arange(n) / n, np.arange(2 * n) / (2 * n)
        found = [
            worst_case(few, False, s, 60 * n),
            worst_case(few, True, s, 60 * n),
            worst_case(many, False, s, 60 * n),
        ]
        wanted = [plain(s), sloped, doubled]
        assert np.array(found) / unit == pytest.approx(wanted, rel=1e-3)


@pytest.mark.claim("B95")
@pytest.mark.parametrize(
    "lift", [1.0, broken(0.0, by="a spline that is not lifted to its minimum")]
)
@pytest.mark.parametrize("s", [2, 3, 4, 5])
def test_the_lifted_euler_spline_hides_from_values_and_slopes(lift, s):
    """With n waves on [0, 1]: zero with its slope at n places, and twice as high."""
    n, t = 5, np.linspace(0, 1, 100_001)
    spline, slope = euler_spline(s), euler_spline(s - 1)
    scale = (2 * np.pi * n) ** s
    size = FAVARD[s]
    assert np.abs(spline(np.linspace(0, 2 * np.pi, 40_001))).max() == pytest.approx(size, rel=1e-6)
    f = (spline(2 * np.pi * n * t) + lift * size) / scale
    lowest = t[np.isclose(f, f.min(), atol=1e-9 * size / scale)]
    places = lowest[0] + np.arange(n) / n
    at = 2 * np.pi * n * places
    assert np.abs(spline(at) + lift * size).max() < 1e-6 * size
    assert np.abs(slope(at)).max() < 1e-3
    assert f.max() == pytest.approx(2 * size / scale, rel=1e-6)


@pytest.mark.claim("B95")
@pytest.mark.parametrize(
    ("same", "equal"),
    [
        (1.0, (16.0, 8.0)),
        broken(2.0, (16.0, 8.0), by="slopes that halve the error"),
        broken(1.0, (4.0, 4.0), by="a gain of a quarter of it"),
    ],
)
def test_cubic_pieces_with_slopes_against_splines(same, equal):
    """A smooth periodic function: ratios of the largest errors, of value and slope."""

    def f(x):
        return np.sin(2 * np.pi * x) + np.cos(4 * np.pi * x) / 3

    def g(x):
        return 2 * np.pi * np.cos(2 * np.pi * x) - 4 * np.pi / 3 * np.sin(4 * np.pi * x)

    def spline(n):
        x = np.linspace(0, 1, n + 1)
        y = f(x)
        y[-1] = y[0]
        return CubicSpline(x, y, bc_type="periodic")

    t, n = np.linspace(0, 1, 20_001), 128
    x = np.linspace(0, 1, n + 1)
    models = spline(n), CubicHermiteSpline(x, f(x), g(x)), spline(2 * n)
    values = [np.abs(m(t) - f(t)).max() for m in models]
    slopes = [np.abs(m(t, 1) - g(t)).max() for m in models]
    for errors, gain in ((values, equal[0]), (slopes, equal[1])):
        assert errors[0] / errors[1] == pytest.approx(same, rel=0.01)
        assert errors[1] / errors[2] == pytest.approx(gain, rel=0.01)


# Gradients of something else


def on_torus(seed, side=64):
    """Wave numbers of a square of side 2 pi, and a random smooth field by its Fourier series."""
    k = np.stack(np.meshgrid(*[np.fft.fftfreq(side, 1 / side)] * 2, indexing="ij"))
    k[np.abs(k) == side // 2] = 0.0  # an odd derivative of the highest wave has no series
    rng = np.random.default_rng(seed)
    field = np.fft.fft2(rng.normal(size=(2, side, side))) / (1 + (k**2).sum(axis=0)) ** 1.5
    return k, field


def size(*fields):
    return np.sqrt(sum((np.abs(f) ** 2).sum() for f in fields))


@pytest.mark.claim("B96")
@pytest.mark.parametrize(
    ("half", "weighted", "projected"),
    [
        (0.5, True, True),
        broken(0.4, True, True, by="a smaller constant"),
        broken(0.5, False, True, by="the weight is forgotten"),
        broken(0.5, True, False, by="a bound by the part that is no gradient"),
    ],
)
def test_a_gradient_of_something_else_moves_the_fit_by_so_much(half, weighted, projected):
    """The minimiser by its Fourier series, and the bound; it is attained at a wave number."""
    for seed in range(20):
        k, q = on_torus(seed)
        square = (k**2).sum(axis=0)
        along = (k * q).sum(axis=0) / np.where(square > 0, square, 1)  # of q, in each wave
        gradient_part = k * along
        rest = 0.1 * (q - gradient_part)
        q = gradient_part + rest
        for w in (0.01, 0.3, 4.0):
            r = -1j * w * (k * q).sum(axis=0) / (1 + w * square)
            slopes = 1j * k * r
            part = gradient_part if projected else rest
            assert size(r) <= half * (np.sqrt(w) if weighted else 1) * size(part)
            assert size(slopes) <= size(gradient_part) * (1 + 1e-12)
            # At rest: no other function is better, by the change of the loss to first order.
            loss = size(r) ** 2 + w * size(slopes - q) ** 2
            rng = np.random.default_rng(seed)
            for _ in range(3):
                v = 0.01 * rng.normal(size=r.shape) * np.exp(-square / 50)
                other = size(r + v) ** 2 + w * size(slopes + 1j * k * v - q) ** 2
                assert other >= loss * (1 - 1e-12)
            # What is left is what the theorem says, and is never zero.
            left = w * (size(q) ** 2 - np.real((np.conj(q) * slopes).sum()))
            assert loss == pytest.approx(left, rel=1e-9)
            assert loss >= w * size(rest) ** 2 > 0
    k = np.array([3.0, 0.0])
    w, q = 1 / 9, 1j * k
    r = -1j * w * (k * q).sum() / (1 + w * 9)
    assert abs(r) == pytest.approx(half * np.sqrt(w) * 3, rel=1e-12) or not weighted


@pytest.mark.claim("B96")
@pytest.mark.parametrize(
    "constant", [1.0, broken(0.9, by="a smaller constant for a class that is not linear")]
)
def test_a_class_of_two_functions_attains_the_larger_constant(constant):
    """The target and one other, sqrt(2) sin(kx), whose gradient is followed in part."""
    k, w = 3.0, 1 / 9
    c = (1 + w * k**2) / (2 * w * k**2)
    moved, slope = 1.0, k  # root mean squares of the other and of its gradient
    loss_of_target = w * c**2 * slope**2
    loss_of_other = moved**2 + w * (1 - c) ** 2 * slope**2
    assert loss_of_other == pytest.approx(loss_of_target)
    assert moved <= constant * np.sqrt(w) * c * slope * (1 + 1e-12)
    assert slope <= 2 * c * slope


@pytest.mark.claim("B96")
@pytest.mark.parametrize(
    "field",
    [
        lambda x, y: tuple(wrong_field("curl", [[x, y]])[0]),
        broken(lambda x, y: (1 + 0 * x, 0 * x), by="no divergence, but across the boundary"),
        broken(lambda x, y: (np.sin(np.pi * x), 0 * x), by="no crossing, but a divergence"),
    ],
)
def test_a_field_that_turns_inside_the_box_is_orthogonal_to_gradients(field):
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.normal(size=2)

        def product(y, x, a=a, b=b):
            q = field(x, y)
            wave = np.exp(a * x + b * y)
            return a * wave * q[0] + b * wave * q[1]

        assert abs(integrate.dblquad(product, -1, 1, -1, 1)[0]) < 1e-8


@pytest.mark.claim("B96")
@pytest.mark.parametrize("reach", [1.0, broken(0.0, by="the right slopes at the points")])
def test_at_finitely_many_points_any_slopes_can_be_met(reach):
    """A network meets all values and wrong slopes at 10 points: the loss has no floor there."""
    scaled = named_target("mccormick")
    points = np.random.default_rng(0).uniform(-1, 1, (10, 2))
    root = scaled.mean_square_gradient**0.5
    wrong = scaled.gradient(points) + reach * 0.5 * root * wrong_field("curl", points)
    model = MLP(2, (20, 20), domain=[(-1, 1)] * 2, rng=0)
    result = fit(model, points, scaled.value(points), gradients=wrong, rng=0)
    assert result.converged
    off = result.model.value_and_gradient(torch.from_numpy(points))[1].numpy()
    off = off - scaled.gradient(points)
    assert np.sqrt(np.square(off).sum(axis=1).mean()) > 0.3 * root


# Measured: the stored study, and a part of it computed anew


@functools.cache
def stored():
    return stored_study()


class Live:
    """Settings of the study, computed anew when they are asked for."""

    @functools.cache  # noqa: B019 (there is one, and it stays)
    def errors(self, target, learner, data, count, *, quantity="value"):
        parts = {"targets": [target], "learners": [learner], "data": [data]}
        run = sobolev_sweep(**parts, points_counts=[count], rng=0)
        return run.errors(target, learner, data, count, quantity=quantity)


live = Live()


def pooled(study, targets, learner, data, count, quantity="value"):
    """The geometric mean over targets, (seeds,)."""
    errors = [study.errors(name, learner, data, count, quantity=quantity) for name in targets]
    return np.exp(np.log(errors).mean(axis=0))


def gain(study, targets, learner, count, *, data="gradients", times=1, quantity="value"):
    """How many times larger the error of values is, at so many times as many points."""
    return paired_ratio(
        pooled(study, targets, learner, "values", times * count, quantity),
        pooled(study, targets, learner, data, count, quantity),
    )


@pytest.mark.claim("B97", "A14")
@pytest.mark.parametrize(
    ("targets", "turned"),
    [
        (SMOOTH, False),
        broken(("ackley",), False, by="a function that the points do not resolve"),
        broken(SMOOTH, True, by="values and gradients in each other's place"),
    ],
)
def test_at_the_same_points_gradients_help_on_smooth_functions(targets, turned):
    for count, least in ((20, 1.5), (100, 30)):
        for quantity in ("value", "gradient"):
            for name in targets:
                found = gain(stored(), (name,), "tanh", count, quantity=quantity)
                low = 1 / found.interval[1] if turned else found.interval[0]
                assert low > 1
            found = gain(stored(), targets, "tanh", count, quantity=quantity).interval
            assert (1 / found[1] if turned else found[0]) > least
    some = ("booth", "mccormick") if len(targets) > 1 else targets
    for quantity in ("value", "gradient"):
        found = gain(live, some, "tanh", 20, quantity=quantity).interval
        assert (1 / found[1] if turned else found[0]) > 1


@pytest.mark.claim("B97")
@pytest.mark.parametrize(
    "order",
    [
        ("gradients", "projections", "values"),
        broken(("projections", "gradients", "values"), by="one slope better than all"),
    ],
)
def test_one_slope_a_point_is_between(order):
    for count in (20, 100):
        for quantity in ("value", "gradient"):
            errors = [pooled(stored(), SMOOTH, "tanh", d, count, quantity) for d in order]
            for better, worse in itertools.pairwise(errors):
                assert paired_ratio(worse, better).interval[0] > 1


@pytest.mark.claim("B98", "A14")
@pytest.mark.parametrize("times", [3, broken(1, by="as many points, and fewer numbers")])
def test_at_equal_numbers_gradients_do_not_help_networks(times):
    """On the five smooth functions together, of two variables: 3 n values against n of both."""
    for count in (10, 20, 50):
        assert gain(stored(), SMOOTH, "tanh", count, times=times).interval[1] < 1
    low, high = gain(stored(), SMOOTH, "tanh", 100, times=times).interval
    assert low < 1 < high
    some = ("booth", "mccormick")
    assert gain(live, some, "tanh", 10, times=times).ratio < 0.9


@pytest.mark.claim("B99")
@pytest.mark.parametrize("better", ["kriging", broken("tanh", by="networks better than Kriging")])
def test_kriging_is_better_than_the_networks_on_few_points_of_smooth_functions(better):
    other = "tanh" if better == "kriging" else "kriging"
    for data, count in (("values", 20), ("values", 100), ("gradients", 20)):
        pair = [pooled(stored(), SMOOTH, learner, data, count) for learner in (other, better)]
        assert paired_ratio(*pair).interval[0] > 5
    pair = [live.errors("booth", learner, "gradients", 20) for learner in (other, better)]
    assert paired_ratio(*pair).interval[0] > 5
    # With gradients at the same points Kriging gains more than at equal numbers.
    for count in (20, 100):
        assert gain(stored(), SMOOTH, "kriging", count).interval[0] > 10


@pytest.mark.claim("B100", "A14")
@pytest.mark.parametrize(
    "sides",
    [
        (10, 1),
        broken((1, 10), by="the other way round"),
        broken((2, 1), by="two points a wave at the least"),
    ],
)
def test_gradients_help_once_the_points_resolve_the_ripples(sides):
    names = ["ackley" if side == 10 else f"ackley_{side}" for side in sides]
    for quantity in ("value", "gradient"):
        harm, help_ = (gain(stored(), (n,), "tanh", 100, quantity=quantity) for n in names)
        assert harm.interval[1] < 1
        assert help_.interval[0] > 1.5
        again = gain(live, (names[1],), "tanh", 20, quantity=quantity)
        assert again.interval[0] > 1


@pytest.mark.claim("B101")
@pytest.mark.parametrize(
    "power",
    [
        sp.Rational(1, 2),
        broken(sp.Rational(3, 4), by="a kink that is less sharp"),
        broken(sp.Integer(1), by="a plain kink"),
    ],
)
def test_the_slope_of_bukins_valley_has_no_mean_square(power):
    """The integral over the distance u from the valley, from a on, as a tends to zero."""
    u, a = sp.symbols("u a", positive=True)
    square = sp.diff(100 * u**power, u) ** 2
    found = sp.integrate(square, (u, a, 1))
    assert sp.limit(found, a, 0) == sp.oo
    assert sp.simplify(found - 2500 * sp.log(1 / a)) == 0
    rng, sizes = np.random.default_rng(0), []
    for least in (1e-1, 1e-3, 1e-5):
        distances = np.exp(rng.uniform(np.log(least), 0, 20_000))
        weights = distances * np.log(1 / least)
        slopes = 100 * float(power) * distances ** (float(power) - 1)
        sizes.append(np.mean(weights * slopes**2))
    assert np.diff(sizes) == pytest.approx([2500 * np.log(100)] * 2, rel=1e-6)


@pytest.mark.claim("B101")
@pytest.mark.parametrize("part", ["bukin_flank", broken("bukin", by="the part with the valley")])
def test_away_from_the_valley_gradients_help_on_bukins_function(part):
    for quantity in ("value", "gradient"):
        assert gain(stored(), (part,), "tanh", 100, quantity=quantity).interval[0] > 3
    assert gain(live, (part,), "tanh", 20, quantity="gradient").interval[0] > 1


@pytest.mark.claim("B102")
@pytest.mark.parametrize(
    "weights",
    [(0.01, 0.1, 1.0, 10.0, 100.0), broken((0.01, None), by="no gradients at all")],
)
def test_the_weight_hardly_matters_where_all_data_are_met(weights):
    for name in (*SMOOTH, "ackley", "bukin"):
        plain = stored().errors(name, "tanh", "values", 20)
        errors = [
            plain if w is None else stored().errors(name, "tanh", "gradients", 20, weight=w)
            for w in weights
        ]
        means = [np.log(e).mean() for e in errors]
        assert max(means) - min(means) < np.log(2.5)
        for told in errors if name in SMOOTH else []:
            assert paired_ratio(plain, told).interval[0] > 1


@pytest.mark.claim("B103")
@pytest.mark.parametrize(
    "level", [0.1, broken(0.01, by="a hundredth of noise"), broken(0.0, by="no noise")]
)
def test_noise_of_a_tenth_takes_most_of_the_gain(level):
    both = {"value_noise": level, "gradient_noise": level}
    for name in ("styblinski_tang", "mccormick"):
        plain = stored().errors(name, "tanh", "values", 50)
        assert gain(stored(), (name,), "tanh", 50).interval[0] > 10
        noisy = stored().errors(name, "tanh", "values", 50, value_noise=level)
        told = stored().errors(name, "tanh", "gradients", 50, **both)
        assert paired_ratio(noisy, told).interval[1] < 2
        exact = stored().errors(name, "tanh", "gradients", 50, gradient_noise=level)
        assert paired_ratio(exact, plain).interval[0] > 1


@pytest.mark.claim("B104")
@pytest.mark.parametrize(
    ("forgiven", "kept"),
    [("curl", "gradient"), broken("gradient", "curl", by="the fields in each other's place")],
)
def test_a_curl_is_forgiven_with_many_points_and_a_gradient_is_not(forgiven, kept):
    def errors(field, count, quantity="value"):
        kind = {"field": field, "field_size": 0.5}
        return stored().errors("mccormick", "small", "gradients", count, quantity=quantity, **kind)

    low, high = paired_ratio(errors("curl", 25), errors("gradient", 25)).interval
    assert low < 1 < high
    assert paired_ratio(errors(forgiven, 25), errors(forgiven, 1600)).interval[0] > 8
    assert np.abs(errors(forgiven, 1600, "loss") - 0.5).max() < 0.05
    # The bound for a minimiser over all functions is a half of the size times the root of w.
    assert (errors(kept, 1600) > 0.15).all()
    assert (errors(kept, 1600) < 0.25).all()
    # Anew, with three networks at 400 points, against the right gradients.
    scaled, at = named_target("mccormick"), np.random.default_rng(5).uniform(-1, 1, (400, 2))
    off = {}
    for field in (forgiven, kept):
        slopes = scaled.gradient(at) + 0.5 * scaled.mean_square_gradient**0.5 * wrong_field(
            field, at
        )
        start = MLP(2, (10, 10), domain=[(-1, 1)] * 2, members=3, rng=1)
        weight = 1 / scaled.mean_square_gradient
        fitted = fit(
            start, at, scaled.value(at), gradients=slopes, gradient_weight=weight, steps=60, rng=0
        )
        off[field] = np.sqrt(fitted.history[-1])
    assert (off[forgiven] > 1.2 * off[kept]).all()


def layers(d):
    widths = (d, 20, 20, 1)
    maps = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    parts = [part for linear in maps for part in (linear, torch.nn.Tanh())][:-1]
    return torch.nn.Sequential(*parts).requires_grad_(False)


@pytest.mark.claim("B105")
@pytest.mark.parametrize(
    "price",
    [
        lambda d: 2,
        broken(lambda d: 1 + d, by="as many values as a gradient has entries"),
        broken(lambda d: 1, by="a gradient for nothing"),
    ],
)
def test_a_gradient_costs_as_much_again_as_a_value(price):
    """By torch's counter, and by hand: the same matrices once more, from the other side."""
    for d in (2, 8, 64):
        net, at = layers(d), torch.ones(7, d, requires_grad=True)
        counts = []
        for work in (net, lambda z, net=net: torch.autograd.grad(net(z).sum(), z)):
            copy = at.clone()
            with FlopCounterMode(display=False) as counter:
                work(copy)
            counts.append(counter.get_total_flops())
        assert counts[0] == 2 * 7 * (20 * d + 20 * 20 + 20)
        assert counts[1] == price(d) * counts[0]


@pytest.mark.claim("B105")
@pytest.mark.parametrize(("first", "last"), [(2, 8), broken(8, 2, by="the other way round")])
def test_what_a_gradient_is_worth_grows_with_the_dimension(first, last):
    for learner in ("tanh", "kriging"):
        quartiles = {}
        for d in (2, 4, 8):
            sizes = sorted({20, 40, 80, 20 * (1 + d)})
            values = [stored().errors(f"cosines_{d}", learner, "values", n) for n in sizes]
            told = stored().errors(f"cosines_{d}", learner, "gradients", 20)
            needed = points_needed(sizes, values, told) / 20
            quartiles[d] = np.quantile(needed, (0.25, 0.5, 0.75))
            equal = paired_ratio(values[sizes.index(20 * (1 + d))], told)
            assert learner == "kriging" or equal.ratio < 1
        assert quartiles[first][2] < quartiles[last][0]
        assert quartiles[2][1] < quartiles[4][1] < quartiles[8][1]
    assert gain(live, ("cosines_8",), "tanh", 20, times=9).interval[1] < 1
