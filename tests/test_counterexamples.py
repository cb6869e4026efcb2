"""The counterexamples: equal data to the last bit, and slopes as promised."""

import dataclasses
import re

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnotes.counterexamples import (
    hidden_points,
    prescribed_slopes,
    ripple,
    same_data_pair,
)
from gradnotes.functions import SinPi
from gradnotes.targets import Target, franke, zero

X, Y = sp.symbols("x y", real=True)
PLANE = Target(sp.exp(X / 3) * sp.cos(Y) / 7, (X, Y), ((-1.5, 2), (0, 3)))


def scattered(n, d, seed=2):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, d)), rng.normal(size=n), rng.normal(size=(n, d))


# Pairs with the same data


@pytest.mark.parametrize("amplitude", [1, sp.Rational(-3, 7), 0.1, sp.sqrt(2)])
@pytest.mark.parametrize("frequency", [1, 2, 5])
def test_the_pair_agrees_in_every_value_and_in_no_slope(frequency, amplitude):
    pair = same_data_pair(PLANE, frequency, amplitude=amplitude)
    points = pair.points()
    assert points.tolist() == [[i, j] for i in (-1, 0, 1, 2) for j in (0, 1, 2, 3)]
    np.testing.assert_array_equal(pair.first.value(points), pair.second.value(points))
    want = float(amplitude) * frequency * np.pi * (-1.0) ** (frequency * points)
    np.testing.assert_allclose(pair.slope_difference(points), want, rtol=1e-15)
    difference = pair.second.gradient(points) - pair.first.gradient(points)
    np.testing.assert_allclose(difference, want, rtol=1e-14)


def test_the_second_target_is_the_written_sum():
    pair = same_data_pair(PLANE, 3, amplitude=2)
    written = PLANE.expression + 2 * sp.sin(3 * sp.pi * X) + 2 * sp.sin(3 * sp.pi * Y)
    plain = Target(written, (X, Y), PLANE.domain)
    points = np.array([[0.3, 0.2], [-1.25, 2.9]])
    for name in ("value", "gradient", "hessian"):
        np.testing.assert_allclose(
            getattr(pair.second, name)(points), getattr(plain, name)(points), rtol=1e-12
        )
    halves = np.array([[0.5, 0.5], [1.5, 2.5]])
    parts = pair.first.value(halves) + pair.ripple.value(halves)
    np.testing.assert_array_equal(pair.second.value(halves), parts)
    assert pair.ripple.expression == 2 * SinPi(3 * X) + 2 * SinPi(3 * Y)
    assert (pair.frequency, pair.amplitude, pair.first) == (3, 2, PLANE)


def test_integer_points_hold_no_negative_zero():
    points = same_data_pair(zero((-0.5, 1.0))).points()
    assert points.tolist() == [[0.0], [1.0]]
    assert not np.signbit(points).any()


def test_pairs_are_frozen():
    pair = same_data_pair(zero())
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.frequency = 2


def test_pairs_that_cannot_be():
    with pytest.raises(ValueError, match=r"whole frequency >= 1, got 0"):
        same_data_pair(zero(), 0)
    with pytest.raises(ValueError, match=r"whole frequency >= 1, got 1\.5"):
        same_data_pair(zero(), 1.5)
    for amplitude in (0, sp.oo, sp.I, X):
        with pytest.raises(ValueError, match="finite amplitude other than 0"):
            same_data_pair(zero(), amplitude=amplitude)
    with pytest.raises(ValueError, match="finite domain"):
        same_data_pair(zero((0, np.inf))).points()
    with pytest.raises(ValueError, match="holds an integer point"):
        same_data_pair(zero((0.25, 0.75))).points()


# Prescribed slopes


@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 3), (12, 1), (8, 2), (5, 3)])
def test_values_and_slopes_come_out_to_the_last_bit(n, d):
    points, values, slopes = scattered(n, d)
    target = prescribed_slopes(points, values, slopes)
    assert target.dimension == d
    np.testing.assert_array_equal(target.value(points), values)
    np.testing.assert_array_equal(target.gradient(points), slopes)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4),
    st.lists(st.integers(-40, 40), min_size=2, max_size=2, unique=True),
)
def test_any_numbers_will_do(numbers, places):
    points = np.array(places, np.float64)[:, None] / 7
    target = prescribed_slopes(points, numbers[:2], np.array(numbers[2:])[:, None])
    np.testing.assert_array_equal(target.value(points), numbers[:2])
    np.testing.assert_array_equal(target.gradient(points)[:, 0], numbers[2:])


def test_fifty_points_in_the_plane():
    points, values, slopes = scattered(50, 2)
    target = prescribed_slopes(points, values, slopes)
    np.testing.assert_array_equal(target.value(points), values)
    np.testing.assert_array_equal(target.gradient(points), slopes)


def test_the_base_keeps_its_values_to_the_last_bit():
    points = np.array([[0.1, 0.2], [0.7, 0.4], [0.5, 0.9]])
    base, slopes = franke(), np.array([[1.0, 2.0], [-3.0, 4.0], [0.0, 0.0]])
    target = prescribed_slopes(points, base.value(points), slopes, base=base)
    np.testing.assert_array_equal(target.value(points), base.value(points))
    error = np.abs(target.gradient(points) - slopes)
    size = np.maximum(np.abs(slopes), np.abs(base.gradient(points)))
    assert (error <= np.spacing(size)).all()
    assert target.domain == base.domain


def test_the_base_is_unchanged_away_from_the_points():
    base, points = franke(), np.array([[0.2, 0.2], [0.4, 0.2]])
    target = prescribed_slopes(points, np.zeros(2), np.ones((2, 2)), base=base)
    away = np.array([[0.3, 0.2], [0.2, 0.3], [0.9, 0.9]])
    np.testing.assert_array_equal(target.value(away), base.value(away))
    near = np.array([[0.25, 0.2], [0.38, 0.25]])
    assert (target.value(near) != base.value(near)).all()


def test_a_base_on_a_smaller_domain():
    domain, points = ((0, 0.5), (0.25, 2)), np.array([[0.4, 0.5]])
    target = prescribed_slopes(points, np.ones(1), np.ones((1, 2)), base=franke(), domain=domain)
    assert target.domain == ((0.0, 0.5), (0.25, 1.0))
    assert target.value(points) == pytest.approx(1.0, rel=1e-15)
    np.testing.assert_allclose(target.gradient(points), np.ones((1, 2)), rtol=1e-14)
    # One point, so the radius is 1, and the second derivatives of the bump are -2 there.
    want = franke().hessian(points)[0] - 2 * (1 - franke().value(points)) * np.eye(2)
    np.testing.assert_allclose(target.hessian(points)[0], want, rtol=1e-13)


def test_the_second_target_is_computed_in_two_parts():
    # As one expression this would be 3/10 of a sine, a number with other bits.
    pair = same_data_pair(Target(SinPi(X) / 10, X, (0, 1)), amplitude=sp.Rational(2, 10))
    assert pair.second.value([[0.5]]) == 0.1 + 0.2


def test_the_formula_between_the_points():
    # One point at 0, value 2, slope 3, radius 1: (2 + 3 x) exp(1 - 1/(1 - x^2)).
    target = prescribed_slopes([[0.0]], [2.0], [[3.0]])
    points = np.linspace(-0.9, 0.9, 7)[:, None]
    x = sp.Symbol("x")
    plain = Target((2 + 3 * x) * sp.exp(1 - 1 / (1 - x**2)), x, (-1, 1))
    for name in ("value", "gradient", "hessian"):
        got, want = getattr(target, name)(points), getattr(plain, name)(points)
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)
    assert target.domain == ((-1.0, 1.0),)
    assert target.hessian([[-1.0], [1.0]]).tolist() == [[[0.0]], [[0.0]]]


def test_slopes_agree_with_differences_of_values():
    points, values, slopes = scattered(4, 2)
    target = prescribed_slopes(points, values, slopes, domain=((-3, 3), (-3, 3)))
    assert target.domain == ((-3.0, 3.0), (-3.0, 3.0))
    h = 1e-6
    for j in range(2):
        step = h * np.eye(2)[j]
        slope = (target.value(points + step) - target.value(points - step)) / (2 * h)
        np.testing.assert_allclose(slope, slopes[:, j], atol=1e-7)


def test_the_expression_reads_well():
    target = prescribed_slopes([[0.5]], [0.0], [[2.0]])
    assert str(target.expression) == "2.0*Bump(1.0*(x - 0.5)**2)*(x - 0.5)"
    got = target.expression.subs(target.variables[0], 0.25)
    assert got == pytest.approx(target.value([[0.25]])[0], rel=1e-15)
    assert all(v.is_real for v in target.variables)


@pytest.mark.parametrize(
    ("points", "values", "slopes", "error", "words"),
    [
        ([0.5], [0.0], [[2.0]], ValueError, r"points of shape \(n, d\).* got \(1,\)"),
        (np.empty((0, 1)), [], [[]], ValueError, r"n, d >= 1, got \(0, 1\)"),
        ([[0.5]], [[0.0]], [[2.0]], ValueError, r"values of shape \(1,\), got \(1, 1\)"),
        ([[0.5]], [0.0], [2.0], ValueError, r"slopes of shape \(1, 1\), got \(1,\)"),
        ([[0.5]], [np.nan], [[2.0]], ValueError, "expected finite values"),
        ([[0.5]], [0.0], [[np.inf]], ValueError, "expected finite slopes"),
        ([[0.5]], [0], [[2.0]], TypeError, "values of dtype float64, got int64"),
        (np.zeros((1, 1), np.float32), [0.0], [[2.0]], TypeError, "points of dtype float64"),
        ([[0.5], [1.0], [0.5]], np.zeros(3), np.ones((3, 1)), ValueError, "in rows 0 and 2"),
    ],
)
def test_data_that_do_not_fit(points, values, slopes, error, words):
    with pytest.raises(error, match=words):
        prescribed_slopes(points, values, slopes)


def test_points_outside_the_domain():
    with pytest.raises(ValueError, match=r"in the domain .* got \[9.\] in row 1"):
        prescribed_slopes([[1.0], [9.0]], np.zeros(2), np.ones((2, 1)), base=zero())
    with pytest.raises(ValueError, match=r"in the domain .* got \[9.\] in row 0"):
        prescribed_slopes([[9.0]], np.zeros(1), np.ones((1, 1)), domain=(0, 1))
    with pytest.raises(ValueError, match="2 coordinates, as the base has, got 1"):
        prescribed_slopes([[0.5]], np.zeros(1), np.ones((1, 1)), base=franke())


@pytest.mark.parametrize("amplitude", ["1", None, [1], True])
def test_an_amplitude_is_a_number(amplitude):
    with pytest.raises(TypeError, match="expected a SymPy expression or a number, got"):
        same_data_pair(zero(), amplitude=amplitude)


def test_an_expression_is_no_target():
    x = sp.Symbol("x", real=True)
    with pytest.raises(TypeError, match=r"expected a Target, got Symbol; try Target\(\.\.\.\)"):
        same_data_pair(x)
    with pytest.raises(TypeError, match=r"expected a Target, got Symbol; try Target\(\.\.\.\)"):
        prescribed_slopes([[0.5]], [0.0], [[2.0]], base=x)


# Ripples


@pytest.mark.parametrize("slope", [1, -2, sp.Rational(1, 3), 0.1])
@pytest.mark.parametrize("half_waves", [1, 7, 128])
def test_a_ripple_is_the_wave_of_the_answer(half_waves, slope):
    wave = ripple(half_waves, X, (-2, 2), slope=slope)
    eps = float(slope) / (np.pi * half_waves)
    points = np.linspace(-2, 2, 301)[:, None]
    phase = float(slope) * points[:, 0] / eps
    np.testing.assert_allclose(
        wave.value(points), eps * np.sin(phase), rtol=0, atol=1e-12 * abs(eps)
    )
    np.testing.assert_allclose(
        wave.gradient(points)[:, 0], float(slope) * np.cos(phase), rtol=0, atol=1e-11
    )
    bend = float(slope) ** 2 / eps
    np.testing.assert_allclose(
        wave.hessian(points)[:, 0, 0], -bend * np.sin(phase), rtol=0, atol=1e-11 * abs(bend)
    )


def test_a_ripple_in_the_plane_runs_along_its_direction():
    wave, points = ripple((3, -4), (X, Y), PLANE.domain, slope=5), scattered(50, 2)[0] + 1
    gradient = wave.gradient(points)
    # Across the direction nothing changes; along it the slope is 5 times a cosine.
    np.testing.assert_allclose(gradient @ [4, 3], 0, atol=1e-12)
    np.testing.assert_allclose(
        gradient @ [0.6, -0.8], 5 * np.cos(np.pi * points @ [3, -4]), rtol=1e-9
    )
    crest = wave.value(np.array([[0.5, 0.25]]))  # a quarter of the way from 0 to the next crest
    np.testing.assert_allclose(crest, np.sin(np.pi / 2) / np.pi, rtol=1e-14)


@pytest.mark.parametrize(
    ("half_waves", "domain"), [(1, (0, 3)), (64, (-2, 2)), ((2, 4), ((-1, 1), (0, 0.6)))]
)
def test_a_ripple_is_exactly_zero_at_the_hidden_points(half_waves, domain):
    points = hidden_points(half_waves, domain)
    names = (X, Y)[: points.shape[1]]
    wave, twice = (ripple(half_waves, names, domain, slope=k) for k in (1, 2))
    assert (wave.value(points) == 0).all()
    lengths = np.linalg.norm(wave.gradient(points), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-15)
    np.testing.assert_array_equal(twice.gradient(points), 2 * wave.gradient(points))
    # Every such point of the grid is there, and none is there twice.
    counts, box = np.atleast_1d(half_waves), np.atleast_2d(np.array(domain, float))
    per_axis = [np.floor(b * n) - np.ceil(a * n) + 1 for n, (a, b) in zip(counts, box, strict=True)]
    assert len(np.unique(points, axis=0)) == len(points) == np.prod(per_axis)
    assert (points >= box[:, 0]).all()
    assert (points <= box[:, 1]).all()


def test_values_beside_the_hidden_points_are_not_zero():
    beside = hidden_points(8, (0, 1))[:-1] + 1 / 32
    assert (np.abs(ripple(8, X, (0, 1)).value(beside)) > 0.02).all()


@pytest.mark.parametrize(
    ("half_waves", "slope", "words"),
    [
        (0, 1, "expected 1 whole numbers of half-waves, not all 0, got 0; try 1"),
        (0.5, 1, "got 0.5"),
        (True, 1, "got True"),
        ((1, 2), 1, "expected 1 whole"),
        (1, 0, "expected a finite slope other than 0, got 0; try 1"),
        (1, sp.oo, "got oo"),
        (1, sp.I, "got I"),
        (1, X, "got x"),
    ],
)
def test_a_wrong_ripple_is_refused(half_waves, slope, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ripple(half_waves, X, (0, 1), slope=slope)


@pytest.mark.parametrize(
    ("half_waves", "domain", "words"),
    [
        (3, (0, 1), "expected powers of two, got 3; try 1, 2, 4, 8 and so on"),
        (8.0, (0, 1), "whole numbers of half-waves, not all 0, got 8.0"),
        (None, (0, 1), "whole numbers of half-waves, not all 0, got None"),
        (2**60, (0, 1), "whole numbers of half-waves"),
        (8, (1e16, 1e16 + 16), "expected fewer half-waves"),
        (-2, (0, 1), "expected powers of two, got -2"),
        ((2, 0), ((0, 1), (0, 1)), "expected powers of two"),
        ((2, 2), (0, 1), "expected one pair (low, high)"),
        (2, (0, np.inf), "expected a finite domain"),
        (2, (0.1, 0.2), "holds an integer point"),
    ],
)
def test_wrong_hidden_points_are_refused(half_waves, domain, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        hidden_points(half_waves, domain)
