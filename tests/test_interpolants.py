"""The interpolants: each number by a second route, theory with its constants, and the errors."""

import copy
import pickle
from itertools import combinations, pairwise

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator
from scipy.spatial import ConvexHull, Delaunay

from gradnotes import interpolants
from gradnotes.interpolants import METHODS, Interpolant, interpolate
from gradnotes.targets import Target, franke

X, Y = sp.symbols("x y", real=True)
ALL = [(m, d) for m in METHODS for d in (1, 2, 3, 4) if m != "hermite" or d < 3]


def cloud(n, d, seed=0):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (n, d))


def mixtures(points, n, concentration=0.1):
    """Draw points of the convex hull; with a small concentration many are near its boundary."""
    weights = np.random.default_rng(1).dirichlet(np.full(len(points), concentration), n)
    return weights @ points


def wave(points):
    """Give values and gradients of sin(a . x) + (b . x)^2, by hand."""
    a, b = np.arange(1.0, points.shape[1] + 1), np.linspace(-1.0, 0.5, points.shape[1])
    values = np.sin(points @ a) + (points @ b) ** 2
    return values, np.cos(points @ a)[:, None] * a + 2 * (points @ b)[:, None] * b


def made(method, points, function=wave):
    values, gradients = function(points)
    used = gradients if method in ("taylor", "hermite") else None
    return interpolate(points, values, used, method=method)


def differences(function, points, h):
    """Take central differences of order 4, exact for quartics up to round-off."""
    columns = []
    for step in h * np.eye(points.shape[1]):
        near = function(points + step) - function(points - step)
        far = function(points + 2 * step) - function(points - 2 * step)
        columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=1)


def grid(d, per_axis):
    axes = [np.linspace(0.0, 1.0, per_axis)] * d
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)


def rotation(d):
    return np.linalg.qr(np.random.default_rng(5).normal(size=(d, d)))[0]


# All methods


@pytest.mark.parametrize(("method", "d"), ALL)
def test_data_are_met_and_shapes_are_right(method, d):
    points = cloud(30, d)
    model = made(method, points)
    values, gradients = wave(points)
    np.testing.assert_allclose(model.value(points), values, rtol=0, atol=1e-13)
    if method in ("taylor", "hermite"):
        np.testing.assert_allclose(model.gradient(points), gradients, rtol=0, atol=1e-12)
    rows = mixtures(points, 7)
    assert (model.value(rows).shape, model.gradient(rows).shape) == ((7,), (7, d))
    assert model.value(rows).dtype == model.gradient(rows).dtype == np.float64
    none = np.empty((0, d))
    assert (model.value(none).shape, model.gradient(none).shape) == ((0,), (0, d))
    np.testing.assert_array_equal(model(rows), model.value(rows))
    assert (model.dimension, model.method, isinstance(model, Interpolant)) == (d, method, True)
    assert repr(model) == f"Interpolant({method!r}, 30 points, d={d})"


@pytest.mark.parametrize(("method", "d"), ALL)
def test_the_gradient_is_that_of_the_value(method, d):
    points = cloud(25, d)
    model = made(method, points)
    rows, h = 0.8 * mixtures(points, 400), 1e-4
    # The pieces are polynomials: only where a step crosses into another one do differences err.
    errors = np.abs(differences(model.value, rows, h) - model.gradient(rows)).max(axis=1)
    assert (errors < 1e-10).mean() > 0.97
    if method == "hermite":
        assert errors.max() < 1e-2


@pytest.mark.parametrize(("method", "d"), ALL)
def test_an_affine_function_is_given_back(method, d):
    slope = np.arange(1.0, d + 1)
    points = cloud(25, d)
    model = made(method, points, lambda p: (p @ slope - 3.0, np.tile(slope, (len(p), 1))))
    rows = mixtures(points, 200)
    if method == "nearest":
        assert np.abs(model.value(rows) - rows @ slope + 3.0).max() > 0.1
        return
    np.testing.assert_allclose(model.value(rows), rows @ slope - 3.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.gradient(rows), np.tile(slope, (200, 1)), atol=1e-9)


def test_data_are_copied_and_cannot_be_changed():
    points = cloud(12, 2)
    values, gradients = wave(points)
    rows = mixtures(points, 5)
    for method in METHODS:
        given = None if method in ("nearest", "linear") else gradients
        model = interpolate(points, values, given, method=method)
        before = model.value(rows)
        mine = [points.copy(), values.copy(), gradients.copy()]
        for array in (points, values, gradients):
            array += 1.0
        np.testing.assert_array_equal(model.value(rows), before)
        points[:], values[:], gradients[:] = mine
        with pytest.raises(ValueError, match="read-only"):
            model.points[0] = 0.0
    model = made("linear", points)
    for name in ("values", "simplices", "simplex_gradients"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(model, name)[0] = 0
    assert made("linear", points).gradients is None
    np.testing.assert_array_equal(made("hermite", points).gradients, gradients)
    assert not hasattr(made("nearest", points), "simplices")


# Nearest neighbours


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_nearest_neighbours_against_all_distances(d):
    points, rows = cloud(50, d), 2.0 * cloud(300, d, seed=2)
    nearest = np.linalg.norm(rows[:, None] - points, axis=2).argmin(axis=1)
    values, gradients = wave(points)
    model = made("nearest", points)
    np.testing.assert_array_equal(model.value(rows), values[nearest])
    assert (model.gradient(rows) == 0.0).all()
    model = made("taylor", points)
    np.testing.assert_array_equal(model.gradient(rows), gradients[nearest])
    expected = [
        values[i] + np.dot(gradients[i], x - points[i]) for i, x in zip(nearest, rows, strict=True)
    ]
    np.testing.assert_allclose(model.value(rows), expected, rtol=0, atol=1e-13)


def test_of_two_equally_near_points_the_right_one_counts():
    points = np.array([[4.0], [0.0], [1.0], [2.0]])
    rows = [[-5.0], [0.5], [1.5], [3.0], [2.999], [9.0]]
    assert interpolate(points, points[:, 0], method="nearest").value(rows).tolist() == [
        0.0, 1.0, 2.0, 4.0, 2.0, 4.0,
    ]  # fmt: skip
    slopes = np.array([[40.0], [0.0], [10.0], [20.0]])
    taylor = interpolate(points, points[:, 0], slopes, method="taylor")
    assert taylor.gradient(rows)[:, 0].tolist() == [0.0, 10.0, 20.0, 40.0, 20.0, 40.0]
    assert taylor.value([[3.0]]).tolist() == [-36.0]
    square = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]])
    corners = interpolate(square, np.arange(4.0), method="nearest")
    assert corners.value([[1.0, 1.0]])[0] in (0.0, 1.0, 2.0, 3.0)
    assert corners.value([[0.0, 1.0]])[0] in (0.0, 1.0)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=9, unique=True), st.integers(-220, 220))
@settings(max_examples=60, deadline=None)
def test_nearest_in_one_dimension_with_whole_numbers(knots, quarter):
    points, x = np.array(knots, dtype=float)[:, None], quarter / 4
    want = max(knots, key=lambda k: (-abs(k - x), k))
    assert interpolate(points, points[:, 0], method="nearest").value([[x]]).tolist() == [want]


def test_the_taylor_remainder_is_bounded_and_the_bound_attained():
    # |f - T| <= M r^2 / 2 with r the distance to the nearest point; x^2 attains it.
    points = cloud(9, 1)
    model = made("taylor", points, lambda p: (p[:, 0] ** 2, 2 * p))
    rows = np.linspace(-1.0, 1.0, 401)[:, None]
    r = np.abs(rows - points.T).min(axis=1)
    np.testing.assert_allclose(rows[:, 0] ** 2 - model.value(rows), r**2, rtol=0, atol=1e-14)


# Piecewise linear


@pytest.mark.parametrize("d", [2, 3, 4])
def test_piecewise_linear_against_scipy(d):
    points = cloud(60, d)
    values, rows = wave(points)[0], mixtures(points, 500)
    theirs = LinearNDInterpolator(Delaunay(points), values)(rows)
    np.testing.assert_allclose(made("linear", points).value(rows), theirs, rtol=0, atol=1e-13)


def test_piecewise_linear_in_one_dimension_against_numpy():
    points, rows = cloud(20, 1), np.linspace(-0.9, 0.9, 301)[:, None]
    rows = rows[(rows >= points.min()) & (rows <= points.max())][:, None]
    model = made("linear", points)
    order = np.argsort(points[:, 0])
    want = np.interp(rows[:, 0], points[order, 0], wave(points)[0][order])
    np.testing.assert_allclose(model.value(rows), want, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(model.simplices, np.stack([order[:-1], order[1:]], axis=1))


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_pieces_by_least_squares(d):
    points = cloud(25, d)
    model, values = made("linear", points), wave(points)[0]
    for simplex, gradient in zip(model.simplices, model.simplex_gradients, strict=True):
        plane = np.column_stack([points[simplex], np.ones(d + 1)])
        solved = np.linalg.lstsq(plane, values[simplex], rcond=None)[0]
        scale = np.abs(solved).max()
        np.testing.assert_allclose(gradient, solved[:-1], rtol=0, atol=1e-10 * scale)
    for simplex, gradient in zip(model.simplices[::9], model.simplex_gradients[::9], strict=True):
        weights = np.random.default_rng(3).dirichlet(np.ones(d + 1), 4)
        rows = weights @ points[simplex]
        np.testing.assert_allclose(model.value(rows), weights @ values[simplex], atol=1e-13)
        np.testing.assert_array_equal(model.gradient(rows), np.tile(gradient, (4, 1)))


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_a_constant_has_no_slope_at_all(d):
    model = interpolate(cloud(25, d), np.full(25, 1e9 / 3), method="linear")
    assert (model.simplex_gradients == 0.0).all()


@pytest.mark.parametrize("d", [2, 3, 4])
def test_the_triangulation_is_delaunays(d):
    points = cloud(30, d)
    simplices = made("linear", points).simplices
    assert simplices.shape[1] == d + 1
    volume = 0.0
    for simplex in simplices:
        edges = points[simplex[1:]] - points[simplex[0]]
        volume += abs(np.linalg.det(edges)) / np.prod(np.arange(1, d + 1))
        # The sphere through the corners is empty.
        centre = points[simplex[0]] + np.linalg.solve(edges, (edges**2).sum(axis=1) / 2)
        distances = np.linalg.norm(points - centre, axis=1)
        assert distances.min() > distances[simplex].max() * (1 - 1e-9)
    assert volume == pytest.approx(ConvexHull(points).volume, rel=1e-12)


def test_a_gradient_on_a_face_is_that_of_a_piece_that_meets_it():
    for d in (2, 3, 4):
        points = cloud(20, d)
        model = made("linear", points)
        for simplex in model.simplices[:10]:
            for face in combinations(simplex, d):
                middle = points[list(face)].mean(axis=0)
                around = np.isin(model.simplices, face).sum(axis=1) == d
                pieces = model.simplex_gradients[around]
                assert (pieces == model.gradient([middle])).all(axis=1).any()


def test_at_a_given_point_the_first_piece_around_it_counts():
    for d in (2, 3, 4):
        points = cloud(25, d)
        model = made("linear", points)
        first = [np.argmax((model.simplices == i).any(axis=1)) for i in range(25)]
        for order in (np.arange(25), np.arange(25)[::-1]):
            gradients = model.gradient(points[order])
            np.testing.assert_array_equal(gradients, model.simplex_gradients[first][order])


def test_in_one_dimension_the_right_piece_counts_and_at_the_right_end_the_left_one():
    points = np.array([[2.0], [0.0], [5.0], [1.0]])
    model = interpolate(points, [4.0, 0.0, -5.0, 1.0], method="linear")
    assert model.simplices.tolist() == [[1, 3], [3, 0], [0, 2]]
    assert model.simplex_gradients.tolist() == [[1.0], [3.0], [-3.0]]
    assert model.gradient([[0.0], [1.0], [2.0], [5.0]])[:, 0].tolist() == [1.0, 3.0, -3.0, -3.0]
    assert model.value([[0.0], [1.0], [2.0], [5.0], [1.5]]).tolist() == [0.0, 1.0, 4.0, -5.0, 2.5]


@given(arrays(float, 6, elements=st.floats(-5, 5)), arrays(float, 6, elements=st.floats(-5, 5)))
@settings(max_examples=40, deadline=None)
def test_an_error_of_chords_is_at_most_an_eighth_of_h_squared_times_m(knots, coefficients):
    # |f - p| <= M h^2 / 8 and |f' - p'| <= M h / 2 on each interval, with M >= |f''|.
    knots = np.unique(knots)
    assume(len(knots) > 1 and np.diff(knots).min() > 1e-3)
    points, k = knots[:, None], np.arange(1, 7)
    model = interpolate(points, np.sin(points * k) @ coefficients, method="linear")
    bound = np.abs(coefficients) @ k**2
    rows = np.linspace(knots[0], knots[-1], 500)[:, None]
    left = np.searchsorted(knots[:-1], rows[:, 0], side="right") - 1
    h = np.diff(knots)[left]
    errors = np.abs(np.sin(rows * k) @ coefficients - model.value(rows))
    assert (errors <= bound * h**2 / 8 + 1e-12).all()
    slopes = np.abs(np.cos(rows * k) @ (k * coefficients) - model.gradient(rows)[:, 0])
    assert (slopes <= bound * h / 2 + 1e-9).all()


@pytest.mark.parametrize("h", [0.5, 0.125])
def test_a_parabola_attains_the_bound_of_chords(h):
    points = np.arange(0.0, 1.0 + h, h)[:, None]
    model = interpolate(points, 1.5 * points[:, 0] ** 2, method="linear")
    middle = points[:-1] + h / 2
    assert (model.value(middle) - 1.5 * middle[:, 0] ** 2).tolist() == [3 * h**2 / 8] * len(middle)
    assert (3 * points[:-1, 0] - model.gradient(points[:-1])[:, 0]).tolist() == (
        [-3 * h / 2] * len(middle)
    )


@pytest.mark.parametrize("d", [2, 3, 4])
def test_the_error_of_a_paraboloid_is_the_power_of_the_point(d):
    # |x|^2 minus its interpolant on a simplex is |x - c|^2 - R^2: its circumsphere tells the error.
    points = cloud(30, d)
    model = interpolate(points, (points**2).sum(axis=1), method="linear")
    for simplex, gradient in zip(model.simplices[::7], model.simplex_gradients[::7], strict=True):
        edges = points[simplex[1:]] - points[simplex[0]]
        centre = points[simplex[0]] + np.linalg.solve(edges, (edges**2).sum(axis=1) / 2)
        np.testing.assert_allclose(gradient, 2 * centre, atol=1e-9 * (1 + np.abs(centre).max()))
        row = points[simplex].mean(axis=0)
        power = ((row - centre) ** 2).sum() - ((points[simplex[0]] - centre) ** 2).sum()
        error = (row**2).sum() - model.value(row[None])[0]
        assert error == pytest.approx(power, rel=1e-8, abs=1e-12)
        assert error < 0


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("d", "per_axis"), [(2, 11), (3, 6), (4, 4)])
def test_regular_grids_have_no_pieces_without_volume(d, per_axis, turned):
    turn = rotation(d) if turned else np.eye(d)
    plain = grid(d, per_axis)
    model = interpolate(plain @ turn, (plain**2).sum(axis=1), method="linear")
    edges = model.points[model.simplices[:, 1:]] - model.points[model.simplices[:, :1]]
    volumes = np.abs(np.linalg.det(edges)) / np.prod(np.arange(1, d + 1))
    assert volumes.min() > 0.01 / per_axis**d
    assert volumes.sum() == pytest.approx(1.0, rel=1e-12)
    # Corners, edges, faces and the inside of the cube.
    rows = np.random.default_rng(1).random((900, d))
    rows = np.concatenate([plain, rows, np.where(rows < 0.2, 0.0, np.where(rows > 0.8, 1.0, rows))])
    # The simplices lie in cells of side h, so the power of a point is at most d h^2 / 4.
    errors = model.value(rows @ turn) - (rows**2).sum(axis=1)
    assert errors.min() > -1e-14
    assert errors.max() <= d / 4 / (per_axis - 1) ** 2 + 1e-14
    assert np.abs(errors[: len(plain)]).max() < 1e-14
    slopes = model.gradient(rows @ turn) @ turn.T - 2 * rows
    assert np.linalg.norm(slopes, axis=1).max() <= np.sqrt(d) / (per_axis - 1) + 1e-9


@pytest.mark.parametrize("candidates", [1, 32])
def test_a_search_among_pieces_without_volume_ends_in_the_right_piece(candidates, monkeypatch):
    # With few candidates most rows are left to SciPy's search, with many hardly any.
    monkeypatch.setattr(interpolants, "CANDIDATES", candidates)
    points = grid(3, 5)
    values, rows = wave(points)[0], np.random.default_rng(0).random((300, 3))
    model = interpolate(points, values, method="linear")
    for row, value in zip(rows, model.value(rows), strict=True):
        corners = points[model.simplices]
        systems = np.concatenate([corners.mT, np.ones((len(corners), 1, 4))], axis=1)
        weights = np.linalg.solve(systems, np.append(row, 1.0)[:, None])[:, :, 0]
        piece = weights.min(axis=1).argmax()
        assert weights[piece].min() > -1e-14
        assert value == pytest.approx(weights[piece] @ values[model.simplices[piece]], abs=1e-13)


@pytest.mark.parametrize("method", ["linear", "hermite"])
def test_points_far_from_the_origin_lose_nothing(method):
    near = grid(2, 9)
    model, far = made(method, near), made(method, near + 2.0**20, lambda p: wave(p - 2.0**20))
    rows = near[[0, 5, 40, 80]] * 0.75 + 0.03125
    np.testing.assert_allclose(far.value(rows + 2.0**20), model.value(rows), atol=1e-12)


def test_a_point_of_the_hull_is_inside_whatever_its_round_off():
    for d in (2, 3, 4):
        points = cloud(40, d)
        model = made("linear", points)
        facets = points[ConvexHull(points).simplices]
        weights = np.random.default_rng(2).dirichlet(np.ones(d), len(facets))
        rows = np.einsum("mc,mcd->md", weights, facets)
        values = np.einsum("mc,mc->m", weights, wave(facets.reshape(-1, d))[0].reshape(-1, d))
        np.testing.assert_allclose(model.value(rows), values, rtol=0, atol=1e-11)
        for far in (1e-9, 1e-3):
            with pytest.raises(ValueError, match=r"convex hull of the data, got .* in row 0"):
                model.value(points.mean(axis=0) + (1 + far) * (rows - points.mean(axis=0)))


def test_many_points_in_four_dimensions():
    points = cloud(2**10, 4)
    model = made("linear", points)
    rows = mixtures(points, 2000)
    tree = Delaunay(points)
    theirs = LinearNDInterpolator(tree, wave(points)[0])(rows)
    np.testing.assert_allclose(model.value(rows), theirs, rtol=0, atol=1e-12)


# Cubic Hermite, in one dimension


def test_hermite_cubics_by_a_linear_system():
    points = cloud(12, 1)
    values, gradients = wave(points)
    model = made("hermite", points)
    order = np.argsort(points[:, 0])
    for i, j in pairwise(order):
        a, b = points[[i, j], 0]
        system = [[1, x, x**2, x**3] for x in (a, b)] + [[0, 1, 2 * x, 3 * x**2] for x in (a, b)]
        data = [values[i], values[j], gradients[i, 0], gradients[j, 0]]
        cubic = np.polynomial.Polynomial(np.linalg.solve(system, data))
        rows = np.linspace(a, b, 7)[:, None]
        np.testing.assert_allclose(model.value(rows), cubic(rows[:, 0]), rtol=0, atol=1e-7)
        near = {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(model.gradient(rows), cubic.deriv()(rows), **near)


@given(arrays(float, 4, elements=st.floats(-3, 3)), arrays(float, 5, elements=st.floats(-2, 2)))
@settings(max_examples=40, deadline=None)
def test_hermite_gives_back_cubics(coefficients, knots):
    assume(len(np.unique(knots)) == 5 and np.diff(np.sort(knots)).min() > 1e-2)
    cubic = np.polynomial.Polynomial(coefficients)
    points, rows = knots[:, None], np.linspace(knots.min(), knots.max(), 50)[:, None]
    model = interpolate(points, cubic(knots), cubic.deriv()(points), method="hermite")
    np.testing.assert_allclose(model.value(rows), cubic(rows[:, 0]), rtol=0, atol=1e-11)
    np.testing.assert_allclose(model.gradient(rows), cubic.deriv()(rows), rtol=0, atol=1e-8)


@pytest.mark.parametrize("h", [0.5, 0.25])
def test_a_fourth_power_attains_the_bound_of_hermite_and_a_sine_keeps_it(h):
    # |f - p| <= M h^4 / 384, with M >= |f''''|; the fourth derivative of x^4 is 24.
    points = np.arange(0.0, 1.0 + h, h)[:, None]
    model = interpolate(points, points[:, 0] ** 4, 4 * points**3, method="hermite")
    middle = points[:-1] + h / 2
    errors = middle[:, 0] ** 4 - model.value(middle)
    np.testing.assert_allclose(errors, 24 * h**4 / 384, rtol=1e-12)
    rows = np.linspace(0.0, 1.0, 1001)[:, None]
    model = interpolate(points, np.sin(5 * points[:, 0]), 5 * np.cos(5 * points), method="hermite")
    errors = np.abs(np.sin(5 * rows[:, 0]) - model.value(rows))
    assert errors.max() <= 5**4 * h**4 / 384
    assert errors.max() > 0.5 * 5**4 * h**4 / 384


# Clough-Tocher, in two dimensions


def scipys(points, function=wave):
    """Give SciPy's element with the exact gradients in place of its own estimates."""
    values, gradients = function(points)
    element = CloughTocher2DInterpolator(Delaunay(points), values)
    element.grad[...] = gradients[:, None]
    return element


@pytest.mark.parametrize("n", [3, 4, 40, 300])
def test_clough_tocher_against_scipy(n):
    points = cloud(n, 2, seed=n)
    rows = mixtures(points, 2000)
    model, theirs = made("hermite", points), scipys(points)
    np.testing.assert_allclose(model.value(rows), theirs(rows), rtol=0, atol=1e-12)
    inner = mixtures(points, 2000, concentration=1.0)
    errors = np.abs(differences(theirs, inner, 1e-4) - model.gradient(inner)).max(axis=1)
    assert (errors < 1e-9).mean() > 0.9


def barycentric(points, simplices):
    """Give the gradients of the barycentric coordinates, by a linear system for each triangle."""
    corners = points[simplices]
    systems = np.concatenate([corners, np.ones((len(corners), 3, 1))], axis=2)
    return np.linalg.inv(systems)[:, :2].mT


def test_the_gradient_inside_a_piece_against_differences_of_fourth_order():
    points = cloud(30, 2)
    model, simplices = made("hermite", points), Delaunay(points).simplices
    corners = points[simplices]
    centres = corners.mean(axis=1)
    for k in range(3):
        part = corners.copy()
        part[:, k] = centres
        rows = part.mean(axis=1)
        # The steps stay in the piece: a tenth of the distance to its nearest side.
        slopes = barycentric(part.reshape(-1, 2), np.arange(3 * len(part)).reshape(-1, 3))
        steps = 0.1 / (3 * np.linalg.norm(slopes, axis=2).max(axis=1))
        for row, step in zip(rows, steps, strict=True):
            found = differences(model.value, row[None], step)
            scale = 1 + 1e-3 / step
            np.testing.assert_allclose(model.gradient(row[None]), found, atol=1e-11 * scale)


@pytest.mark.parametrize("inner", [False, True])
def test_the_gradient_is_continuous_across_every_edge(inner):
    points = cloud(40, 2)
    model, triangulation = made("hermite", points), Delaunay(points)
    corners = points[triangulation.simplices]
    jumps = []
    for k in range(3):
        if inner:
            ends = corners[:, k], corners.mean(axis=1)
        else:
            ends = corners[:, (k + 1) % 3], corners[:, (k + 2) % 3]
            inside = triangulation.neighbors[:, k] >= 0
            ends = ends[0][inside], ends[1][inside]
        direction = ends[1] - ends[0]
        across = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * 1e-9
        for t in (0.1, 0.37, 0.5, 0.8):
            rows = ends[0] + t * direction
            jumps.append(model.gradient(rows + across) - model.gradient(rows - across))
            values = model.value(rows + across) - model.value(rows - across)
            np.testing.assert_allclose(values, 0.0, atol=1e-7)
    # The second derivatives, of order 100 on thin triangles, times the distance.
    assert np.abs(np.concatenate(jumps)).max() < 1e-5


def test_the_derivative_across_a_side_is_linear_in_the_documented_direction():
    points = cloud(20, 2)
    model, triangulation = made("hermite", points), Delaunay(points)
    hull = 0
    for simplex, neighbours in zip(triangulation.simplices, triangulation.neighbors, strict=True):
        for k in range(3):
            a, b = points[simplex[(k + 1) % 3]], points[simplex[(k + 2) % 3]]
            beyond = (a + b) / 2
            if neighbours[k] >= 0:
                beyond = points[triangulation.simplices[neighbours[k]]].mean(axis=0)
            hull += neighbours[k] < 0
            across = beyond - points[simplex].mean(axis=0)
            rows = a + np.array([[0.0], [0.25], [0.5], [1.0]]) * (b - a)
            start, quarter, middle, end = model.gradient(rows) @ across
            assert quarter == pytest.approx(0.75 * start + 0.25 * end, abs=1e-9)
            assert middle == pytest.approx((start + end) / 2, abs=1e-9)
    assert hull > 3


@given(arrays(float, 6, elements=st.floats(-3, 3)), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_clough_tocher_gives_back_quadratics(c, seed):
    def quadratic(p):
        x, y = p.T
        values = c[0] + c[1] * x + c[2] * y + c[3] * x**2 + c[4] * x * y + c[5] * y**2
        slopes = [c[1] + 2 * c[3] * x + c[4] * y, c[2] + c[4] * x + 2 * c[5] * y]
        return values, np.stack(slopes, axis=1)

    points = np.concatenate([grid(2, 2) * 2 - 1, cloud(12, 2, seed=seed) * 0.9])
    model, rows = made("hermite", points, quadratic), cloud(100, 2, seed=seed + 1)
    values, gradients = quadratic(rows)
    np.testing.assert_allclose(model.value(rows), values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.gradient(rows), gradients, rtol=0, atol=1e-7)


def test_clough_tocher_gives_back_cubics_on_the_edges_only():
    def cubic(p):
        x, y = p.T
        slopes = [3 * x**2 - 2 * x * y, 6 * y**2 - x**2]
        return x**3 - x**2 * y + 2 * y**3, np.stack(slopes, axis=1)

    points = cloud(25, 2)
    model = made("hermite", points, cubic)
    corners = points[Delaunay(points).simplices]
    for t in (0.2, 0.5, 0.9):
        for k in range(3):
            rows = (1 - t) * corners[:, k] + t * corners[:, k - 1]
            np.testing.assert_allclose(model.value(rows), cubic(rows)[0], rtol=0, atol=1e-13)
    middle = corners.mean(axis=1)
    assert np.abs(model.value(middle) - cubic(middle)[0]).max() > 1e-3


def test_clough_tocher_converges_with_its_order():
    # It gives back quadratics: errors fall as h^3, and those of the gradient as h^2, or faster.
    target, rows, errors = franke(), np.random.default_rng(0).random((4000, 2)), []
    for per_axis in (17, 33):
        points = target.grid(per_axis)
        model = interpolate(points, target.value(points), target.gradient(points), method="hermite")
        value = np.abs(model.value(rows) - target.value(rows)).max()
        gradient = np.abs(model.gradient(rows) - target.gradient(rows)).max()
        errors.append([value, gradient])
    rates = np.log2(np.array(errors[0]) / errors[1])
    assert rates[0] > 2.7
    assert rates[1] > 1.8
    assert errors[1][0] < 1e-3


def test_a_triangle_next_to_one_without_area():
    # On the right the middle point is within round-off of the side of the square.
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0 - 1e-16, 0.5]])
    square = made("hermite", points, lambda p: (p[:, 0] * p[:, 1], p[:, ::-1].copy()))
    rows = np.random.default_rng(0).random((200, 2))
    np.testing.assert_allclose(square.value(rows), rows.prod(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(square.gradient(rows), rows[:, ::-1], rtol=0, atol=1e-12)


# Errors


LINE = np.array([[0.0], [1.0], [3.0]])
SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
VALUES = np.arange(4.0)
SLOPES = np.ones((4, 2))


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("cubic", (SQUARE, VALUES), "nearest, linear, taylor, hermite, and got 'cubic'"),
        (None, (SQUARE, VALUES), r"a method among .* got None"),
        ("taylor", (SQUARE, VALUES), r"gradients of shape \(4, 2\) .*'taylor', got none"),
        ("hermite", (SQUARE, VALUES), "got none; try 'nearest' or 'linear'"),
        ("nearest", (SQUARE, VALUES, SLOPES), r"no gradients .* try 'taylor' or 'hermite'"),
        ("linear", (SQUARE, VALUES, SLOPES), "'linear', which does not use them"),
        ("linear", (LINE[:, 0], VALUES[:3]), r"\(3,\); try points.reshape\(-1, 1\)"),
        ("linear", (SQUARE[None], VALUES), r"shape \(n, 1\), got \(1, 4, 2\)"),
        ("nearest", (np.zeros((3, 0)), VALUES[:3]), r"d of 1 or more, got \(3, 0\)"),
        ("linear", (SQUARE, VALUES[:, None]), r"\(4,\), got \(4, 1\); try values.reshape"),
        ("linear", (SQUARE, VALUES[:3]), r"\(4,\), got \(3,\); try one value for each"),
        ("taylor", (SQUARE, VALUES, SLOPES[:3]), r"\(4, 2\), got \(3, 2\); try one for"),
        ("taylor", (SQUARE, VALUES, SLOPES[:, :1]), r"shape \(n, 2\), got \(4, 1\)"),
        ("linear", (SQUARE * np.nan, VALUES), r"finite points, got \[nan nan\] in row 0"),
        ("linear", (SQUARE, VALUES * [1, 1, np.inf, 1]), r"values, got \[inf\] in row 2"),
        ("hermite", (SQUARE, VALUES, SLOPES * np.inf), "finite gradients"),
        ("nearest", (SQUARE * 1e151, VALUES), r"points within 1e\+150 of 0, .* row 1"),
        ("linear", (SQUARE[:2], VALUES[:2]), r"3 points or more .* d=2, got 2; try method"),
        ("hermite", (SQUARE[:2], VALUES[:2], SLOPES[:2]), r"3 points .* d=2, got 2"),
        ("linear", (LINE[:1], VALUES[:1]), r"2 points or more .* d=1, got 1"),
        ("linear", (np.eye(4), VALUES), r"5 points or more .* d=4, got 4"),
        ("nearest", (SQUARE[:0], VALUES[:0]), r"1 points or more .* got 0; try a row for"),
        ("hermite", (cloud(9, 3), np.zeros(9), cloud(9, 3)), r"1 or 2 .* got 3; try method"),
    ],
)
def test_data_that_do_not_fit(method, arguments, words):
    with pytest.raises(ValueError, match=words):
        interpolate(*arguments, method=method)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((SQUARE.astype(int), VALUES, SLOPES), "points of dtype float64, got int64"),
        ((SQUARE, VALUES.astype(int), SLOPES), "values of dtype float64, got int64"),
        ((SQUARE, VALUES, SLOPES.astype("f4")), "gradients of dtype float64, got float32"),
    ],
)
def test_data_that_are_not_float64(arguments, words):
    for method in ("taylor", "hermite"):
        with pytest.raises(TypeError, match=words):
            interpolate(*arguments, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("d", [1, 2])
def test_equal_points_are_refused(method, d):
    points = cloud(8, d)
    points[6] = points[2]
    points[3] = -points[3] * 0.0
    assert made(method, np.delete(points, 6, axis=0)).value(points).shape == (8,)
    with pytest.raises(ValueError, match="in the rows 2 and 6, with the same data; try dropping"):
        made(method, points)
    values, gradients = wave(points)
    given = gradients if method in ("taylor", "hermite") else None
    values[6] += 1.0
    with pytest.raises(ValueError, match=r"rows 2 and 6, with different data, \[.*\] and \[.*mean"):
        interpolate(points, values, given, method=method)
    if given is not None:
        values[6], gradients[6, 0] = values[2], 9.0
        with pytest.raises(ValueError, match="rows 2 and 6, with different data"):
            interpolate(points, values, gradients, method=method)
    points[6] = -0.0 * points[3]
    with pytest.raises(ValueError, match="rows 3 and 6"):
        interpolate(points, values, given, method=method)
    with pytest.raises(ValueError, match="rows 0 and 1"):
        made(method, np.ones((5, d)))


@pytest.mark.parametrize(("d", "flat"), [(2, "line"), (3, "plane"), (4, "hyperplane")])
def test_points_that_span_no_volume_are_refused(d, flat):
    points = cloud(12, d)
    points[:, -1] = points[:, :-1].sum(axis=1) / 3
    words = rf"span {d} dimensions, got 12 points on one {flat}, up to .*try points off that {flat}"
    with pytest.raises(ValueError, match=words) as caught:
        made("linear", points)
    assert type(caught.value.__cause__).__name__ == "QhullError"
    if d == 2:
        with pytest.raises(ValueError, match=words):
            made("hermite", points)
    assert made("nearest", points).value(points).shape == (12,)
    assert made("taylor", points).value(points).shape == (12,)


def test_points_that_round_off_hides_are_refused():
    points = cloud(10, 2)
    points[7] = points[3] + 1e-15
    for method in ("linear", "hermite"):
        with pytest.raises(ValueError, match=r"round-off hides .* in row [37]: it is too near"):
            made(method, points)
    # Nearly flat: Qhull finds triangles, but none has an area that round-off leaves alone.
    flat = np.column_stack([np.linspace(0.0, 1.0, 8), 3e-14 * (np.arange(8) % 2)])
    with pytest.raises(ValueError, match="round-off"):
        made("linear", flat)


@pytest.mark.parametrize("name", ["value", "gradient"])
@pytest.mark.parametrize(("method", "d"), [a for a in ALL if a[0] in ("linear", "hermite")])
def test_there_is_no_extrapolation(name, method, d):
    points = np.concatenate([grid(d, 2), 0.2 + 0.3 * cloud(10, d) ** 2])
    function = getattr(made(method, points), name)
    function(grid(d, 2))
    for outside in (-1e-9, 1 + 1e-9, 3.0, -1e9):
        rows = np.full((4, d), 0.5)
        rows[2, -1] = rows[3, 0] = outside
        with pytest.raises(
            ValueError, match=r"convex hull of the data, got .* in row 2; .*nearest"
        ):
            function(rows)
    for other in ("nearest", "taylor"):
        getattr(made(other, points), name)(np.full((1, d), -1e9))


@pytest.mark.parametrize(("method", "d"), ALL)
def test_points_of_evaluation_that_do_not_fit(method, d):
    model = made(method, cloud(12, d))
    for function in (model, model.value, model.gradient):
        with pytest.raises(ValueError, match=rf"shape \(n, {d}\), got \(3, {d + 1}\)"):
            function(np.zeros((3, d + 1)))
        with pytest.raises(TypeError, match="float64, got int64"):
            function(np.zeros((3, d), int))
        with pytest.raises(ValueError, match="finite points"):
            function(np.full((1, d), np.nan))
        with pytest.raises(ValueError, match=r"within 1e\+150 of 0, .* in row 1"):
            function(np.stack([np.zeros(d), np.full(d, -1e200)]))


def test_numbers_that_overflow_are_refused():
    huge = np.array([1e308, -1e308, 1e308])
    with pytest.raises(
        ValueError, match=r"gradient between the rows \[0, 1\] .* no finite float64"
    ):
        interpolate(LINE, huge, method="linear")
    with pytest.raises(ValueError, match="no finite float64; try data in other units"):
        interpolate(SQUARE[:3], huge, method="linear")
    steep = interpolate(LINE, huge, np.full((3, 1), 1e300), method="taylor")
    with pytest.raises(ValueError, match=r"the value of Interp.* not a finite .*e\+20\] \(row 1\)"):
        steep.value([[0.0], [1e20]])
    assert steep.gradient([[1e20]]).tolist() == [[1e300]]
    for points, slopes in ((LINE, np.ones((3, 1))), (SQUARE[:3], np.ones((3, 2)))):
        model = interpolate(points, huge, slopes, method="hermite")
        row = points[:2].mean(axis=0)[None] + 0.01
        with pytest.raises(
            ValueError, match=r"the gradient of .* is not a finite number at .*row 0"
        ):
            model.gradient(row)


def test_copies_and_the_global_random_state():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    points = cloud(12, 2)
    for method in METHODS:
        model = made(method, points)
        twin = copy.deepcopy(model)
        np.testing.assert_array_equal(twin.value(points), model.value(points))
    line = made("linear", cloud(5, 1))
    assert pickle.loads(pickle.dumps(line)).value([[0.0]]) == line.value([[0.0]])
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_a_target_gives_the_data():
    target = Target(sp.sin(X) * Y, (X, Y), ((0, 1), (0, 2)))
    points = target.grid(9)
    rows, wanted = target.grid(23), target.value(target.grid(23))
    gaps = []
    for method in METHODS:
        model = made(method, points, lambda p: (target.value(p), target.gradient(p)))
        gaps.append(np.abs(model.value(rows) - wanted).max())
    assert gaps[0] > gaps[1] > gaps[3]
    assert gaps[0] > gaps[2] > gaps[3]
