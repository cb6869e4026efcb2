"""The claims that the chapter on scaling laws settles."""

import math

import numpy as np
import pytest
import sympy as sp
from claims import broken
from scipy.spatial import cKDTree
from scipy.special import gamma

from gradnotes.interpolants import interpolate
from gradnotes.scaling import effective_counts, expected_exponent, fit_power_law, stored_study


def unit_ball(dimension):
    return math.pi ** (dimension / 2) / gamma(1 + dimension / 2)


def distances(dimension, count, seed, draws=4000, edge=False):
    """Distances from the middle of the unit cube, or from a corner, to the nearest random point."""
    rng = np.random.default_rng(seed)
    at = np.zeros(dimension) if edge else np.full(dimension, 0.5)
    found = []
    for _ in range(draws):
        found.append(np.linalg.norm(rng.random((count, dimension)) - at, axis=1).min())
    return np.array(found)


@pytest.mark.claim("B43")
@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("factor", "edge"),
    [
        (1.0, False),
        broken(1.3, False, by="another volume of the ball"),
        broken(1.0, True, by="a place at the edge"),
    ],
)
def test_the_nearest_of_random_points_is_as_far_as_it_should_be(dimension, factor, edge):
    """The distribution at three radii, and the mean of two powers, within five standard errors."""
    count, volume = 200, factor * unit_ball(dimension)
    rho = distances(dimension, count, seed=dimension, edge=edge)
    for share in (0.2, 0.5, 0.8):
        s = ((1 - share ** (1 / count)) / volume) ** (1 / dimension)
        assert s < 0.5
        error = math.sqrt(share * (1 - share) / len(rho))
        assert abs((rho > s).mean() - share) < 5 * error
    for p in (1, 2):
        scaled = rho**p * (volume * count) ** (p / dimension)
        error = scaled.std() / math.sqrt(len(rho))
        # The limit is reached up to terms of the order 1 / D.
        assert abs(scaled.mean() - gamma(1 + p / dimension)) < 5 * error + 5 / count


def random_waves(dimension, seed):
    """A sum of waves with its gradient, and bounds of gradient and curvature."""
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=(5, dimension)) * 2, rng.uniform(0, 7, 5)
    lengths = np.linalg.norm(w, axis=1)
    return (
        lambda x: np.cos(x @ w.T + b).sum(axis=1),
        lambda x: -np.sin(x @ w.T + b) @ w,
        lengths.sum(),
        (lengths**2).sum(),
    )


def width(corners):
    """The least width of a simplex: over all splits of its corners into two flats."""
    count = len(corners)
    widths = []
    for split in range(1, 2 ** (count - 1)):
        one = [corners[i] for i in range(count) if split >> i & 1]
        two = [corners[i] for i in range(count) if not split >> i & 1]
        along = [p - one[0] for p in one[1:]] + [p - two[0] for p in two[1:]]
        across = two[0] - one[0]
        if along:
            basis = np.linalg.qr(np.array(along).T)[0]
            across = across - basis @ (basis.T @ across)
        widths.append(np.linalg.norm(across))
    return min(widths)


@pytest.mark.claim("B44")
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(
    "times",
    [
        {},
        broken({"nearest": 0.2}, by="a smaller constant for nearest neighbours"),
        broken({"taylor": 0.2}, by="a smaller constant for values with gradients"),
        broken({"taylor slope": 0.2}, by="a smaller constant for slopes with gradients"),
        broken({"linear": 0.04}, by="a smaller constant for straight pieces"),
        broken({"linear slope": 0.04}, by="a smaller constant for slopes of straight pieces"),
    ],
)
def test_errors_are_bounded_by_distances(dimension, times):
    """Random waves and random points, at random places: the five bounds, each by itself."""
    for seed in range(6):
        f, slope, L, M = random_waves(dimension, seed)
        rng = np.random.default_rng(100 + seed)
        points = rng.random((30, dimension))
        data, gradients = f(points), slope(points)
        x = rng.dirichlet(np.ones(30), 400) @ points
        rho = cKDTree(points).query(x)[0]
        nearest = interpolate(points, data, method="nearest")
        taylor = interpolate(points, data, gradients, method="taylor")
        assert (np.abs(f(x) - nearest.value(x)) <= times.get("nearest", 1) * L * rho).all()
        assert np.array_equal(slope(x) - nearest.gradient(x), slope(x))
        assert (np.abs(f(x) - taylor.value(x)) <= times.get("taylor", 1) * M / 2 * rho**2).all()
        off = np.linalg.norm(slope(x) - taylor.gradient(x), axis=1)
        assert (off <= times.get("taylor slope", 1) * M * rho).all()
        linear = interpolate(points, data, method="linear")
        for simplex, gradient in zip(linear.simplices, linear.simplex_gradients, strict=True):
            corners = points[simplex]
            inside = rng.dirichlet(np.ones(dimension + 1), 5) @ corners
            h = max(np.linalg.norm(p - q) for p in corners for q in corners)
            value = f(corners[:1]) + (inside - corners[0]) @ gradient
            assert (np.abs(f(inside) - value) <= times.get("linear", 1) * M / 2 * h**2).all()
            off = np.linalg.norm(slope(inside) - gradient, axis=1)
            assert (off <= times.get("linear slope", 1) * M * h**2 / width(corners)).all()


@pytest.mark.claim("B44")
@pytest.mark.parametrize(
    ("of_value", "of_gradient"),
    [
        (sp.Rational(1, 2), 1),
        broken(sp.Rational(2, 5), 1, by="a smaller constant for the value"),
        broken(sp.Rational(1, 2), sp.Rational(9, 10), by="a smaller constant for the gradient"),
    ],
)
def test_the_bounds_with_gradients_are_attained(of_value, of_gradient):
    """By the parabola, at any distance from a training point at 0."""
    x, M = sp.symbols("x M", positive=True)
    f = M * x**2 / 2
    residual = f - (f.subs(x, 0) + f.diff(x).subs(x, 0) * x)
    assert sp.simplify(residual - of_value * M * x**2) == 0
    assert sp.simplify(residual.diff(x) - of_gradient * M * x) == 0


@pytest.mark.claim("B44")
@pytest.mark.parametrize("thinner", [1e-3, broken(1.0, by="triangles of one shape")])
def test_thin_pieces_have_bad_gradients(thinner):
    """The width is needed: the same diameter and curvature, and a gradient as wrong as you like."""
    errors = []
    for height in (0.5, 0.5 * thinner):
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, height]])
        piece = interpolate(corners, corners[:, 0] ** 2, method="linear")
        errors.append(np.linalg.norm(piece.simplex_gradients[0] - [1.0, 0.0]))
    assert errors[1] > 100 * errors[0]


CLASSICAL = [
    (method, dimension, quantity)
    for method in ("nearest", "linear", "taylor")
    for dimension in (1, 2, 3, 4)
    for quantity in ("value", "gradient")
]


@pytest.mark.claim("B45", "T22")
@pytest.mark.parametrize(
    "faster",
    [1.0, broken(1.2, by="exponents a fifth larger"), broken(0.5, by="half of the exponents")],
)
def test_measured_exponents_are_those_of_the_theory(faster):
    """Of the root mean square, in one to four variables: within a tenth, as are the intervals."""
    study = stored_study()
    for method, dimension, quantity in CLASSICAL:
        theory = faster * expected_exponent(method, dimension, quantity)
        law = fit_power_law(*study.series(method, dimension, quantity=quantity))
        low, high = law.interval
        if theory == 0:
            assert max(abs(low), abs(high)) < 0.05
        else:
            assert abs(law.exponent - theory) <= 0.1 * abs(theory)
            assert (high - low) / 2 <= 0.1 * abs(theory)


@pytest.mark.claim("T22")
@pytest.mark.parametrize(
    ("method", "power"),
    [
        ("nearest", 2),
        ("linear", 4),
        broken("linear", 2, by="the exponent of the expansion, for straight pieces"),
        broken("nearest", 4, by="the exponent of straight pieces, for nearest neighbours"),
    ],
)
def test_the_squared_loss_falls_by_the_model_and_not_by_the_expansion(method, power):
    """Both have wrong slopes at all training points, and different exponents."""
    for dimension in (1, 2, 3, 4):
        counts, errors = stored_study().series(method, dimension, quantity="value")
        law = fit_power_law(counts, errors**2)
        assert abs(law.exponent + power / dimension) < 0.1 * power / dimension


def law(method, dimension, quantity="value", **options):
    return fit_power_law(*stored_study().series(method, dimension, quantity=quantity, **options))


@pytest.mark.claim("B46")
@pytest.mark.parametrize(
    ("numbers", "least", "most"),
    [
        (lambda d: 1 + d, 1.5, 2.7),
        broken(lambda d: 1, 1.5, 2.7, by="as many points, and so fewer numbers, without gradients"),
        broken(lambda d: 1 + d, 0.0, 1.0, by="gradients that are better than more values"),
    ],
)
def test_more_values_are_worth_more_than_gradients(numbers, least, most):
    """At D points with gradients, against so many times D points joined by straight pieces."""
    for dimension in (1, 2, 3, 4):
        told, plain = law("taylor", dimension), law("linear", dimension)
        for count in (70, 200):
            rival = plain.constant * (numbers(dimension) * count) ** plain.exponent
            assert least < told.constant * count**told.exponent / rival < most


@pytest.mark.claim("B47")
@pytest.mark.parametrize(
    "method", ["network", broken("linear", by="straight pieces, which follow a law")]
)
def test_the_curve_of_the_networks_bends(method):
    """In four variables: steeper than the law of straight pieces, and steeper at the end."""
    for quantity in ("value", "gradient"):
        counts, errors = stored_study().series(method, 4, quantity=quantity)
        found = fit_power_law(counts, errors)
        assert found.curved
        assert found.curvature_interval[1] < 0
        assert found.exponent < 2 * expected_exponent("linear", 4, quantity)


@pytest.mark.claim("B47")
@pytest.mark.parametrize(
    ("method", "dimension"),
    [
        ("network with gradients", 2),
        broken("network", 4, by="networks that have not reached the floor"),
        broken("taylor", 2, by="a model without a floor"),
    ],
)
def test_a_floor_is_no_law(method, dimension):
    """The value errors of networks with gradients stop falling, and a law is refused."""
    counts, errors = stored_study().series(method, dimension, quantity="value")
    try:
        fit_power_law(counts, errors)
        refused = ""
    except ValueError as error:
        refused = str(error)
    assert "floor" in refused


@pytest.mark.claim("B48")
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(
    ("sizes", "design"),
    [
        (effective_counts, "random"),
        (lambda D, _: D, "grid"),
        broken(lambda D, _: D, "random", by="random points without the logarithm"),
        broken(effective_counts, "grid", by="grids with the logarithm"),
    ],
)
def test_the_largest_error_of_random_points_has_a_logarithm(sizes, design, dimension):
    """Within a tenth of the theory, in one to three variables."""
    for method, quantity in (("nearest", "value"), ("linear", "value"), ("taylor", "gradient")):
        curve = {"quantity": quantity, "norm": "max", "design": design}
        counts, errors = stored_study().series(method, dimension, **curve)
        theory = expected_exponent(method, dimension, quantity)
        found = fit_power_law(sizes(counts, dimension), errors).exponent
        assert abs(found - theory) < 0.1 * abs(theory)


@pytest.mark.claim("B48")
@pytest.mark.parametrize(
    ("method", "design"),
    [
        ("linear", "random"),
        broken("linear", "grid", by="a grid, which has no slivers"),
        broken("taylor", "random", by="a model without simplices"),
    ],
)
def test_slivers_keep_the_largest_gradient_error_from_falling(method, design):
    """In three variables, over a range in which theory has it fall by more than half."""
    curve = {"quantity": "gradient", "norm": "max", "design": design}
    _, errors = stored_study().series(method, 3, **curve)
    assert np.median(errors[-1]) > 0.8 * np.median(errors[0])
