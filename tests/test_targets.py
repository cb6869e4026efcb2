"""The targets: each number by a second route, exactness where it is claimed, and the errors."""

import pickle

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnotes.expressions import check_points
from gradnotes.functions import SinPi
from gradnotes.targets import (
    Target,
    ackley,
    beale,
    booth,
    bukin,
    franke,
    mccormick,
    rosenbrock,
    runge,
    sinpi,
    styblinski_tang,
    zero,
)

X, Y = sp.symbols("x y", real=True)
NAMED = [zero((-1.0, 1.0)), sinpi(3, sp.Rational(1, 2)), runge(), franke(), rosenbrock()]
# Each with its domain and, where it is known, its minimum: place and value, as commonly printed.
SIX = {
    styblinski_tang: ((-5, 5), (-5, 5), [-2.903534, -2.903534], -78.332331),
    ackley: ((-5, 5), (-5, 5), [0, 0], 0),
    beale: ((-4.5, 4.5), (-4.5, 4.5), [3, 0.5], 0),
    booth: ((-10, 10), (-10, 10), [1, 3], 0),
    bukin: ((-15, -5), (-3, 3), [-10, 1], 0),
    mccormick: ((-1.5, 4), (-3, 4), [-0.54719756, -1.54719756], -1.91322295),
}
NAMED += [function() for function in SIX if function != bukin]


def inner_points(target, n=7):
    low, high = np.array(target.domain).T
    unit = np.random.default_rng(3).uniform(0.1, 0.9, size=(n, target.dimension))
    return low + unit * (high - low)


def exact(expression, variables, point):
    """Evaluate with 30 digits at the exact value of a float point."""
    place = {v: sp.Rational(float(c)) for v, c in zip(variables, point, strict=True)}
    return float(sp.N(expression.subs(place), 30))


# Target: numbers


@pytest.mark.parametrize("target", NAMED, ids=str)
def test_derivatives_agree_with_30_digit_differences(target):
    # A complex step would not pass the rounding in SinPi, so the second route is a central
    # difference with 60 digits, whose own error is of order 1e-30.
    h, point = sp.Rational(1, 10**15), inner_points(target, 1)
    plain = target.expression.rewrite(sp.sin).rewrite(sp.cos)
    place = {v: sp.Rational(float(c)) for v, c in zip(target.variables, point[0], strict=True)}

    def at(*steps):
        moved = {v: c + s * h for (v, c), s in zip(place.items(), steps, strict=True)}
        return sp.N(plain.subs(moved), 60)

    units = np.eye(target.dimension, dtype=int)
    slopes = [(at(*e) - at(*-e)) / (2 * h) for e in units]
    curvatures = [
        [(at(*(e + f)) - at(*(e - f)) - at(*(f - e)) + at(*(-e - f))) / (4 * h**2) for f in units]
        for e in units
    ]
    near = {"rtol": 1e-13, "atol": 1e-14}
    np.testing.assert_allclose(target.value(point)[0], float(at(*0 * units[0])), **near)
    np.testing.assert_allclose(target.gradient(point)[0], np.array(slopes, float), **near)
    np.testing.assert_allclose(target.hessian(point)[0], np.array(curvatures, float), **near)


@pytest.mark.parametrize("target", [franke(), runge()], ids=["franke", "runge"])
def test_differences_converge_with_order_two(target):
    points, errors = inner_points(target), []
    for h in (2e-3, 1e-3):
        step = np.eye(target.dimension)[:1] * h
        slope = (target.value(points + step) - target.value(points - step)) / (2 * h)
        errors.append(np.abs(slope - target.gradient(points)[:, 0]).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.02)


def test_closed_forms_with_rational_inputs():
    assert runge().value([[0.0], [0.2], [1.0]]).tolist() == [1.0, 0.5, 1 / 26]
    assert runge().gradient([[0.2]])[0, 0] == pytest.approx(-2.5, rel=1e-15)
    assert rosenbrock().value([[-1.0, 2.0]]).tolist() == [104.0]
    assert rosenbrock().gradient([[-1.0, 2.0]]).tolist() == [[396.0, 200.0]]
    assert rosenbrock().hessian([[-1.0, 2.0]]).tolist() == [[[402.0, 400.0], [400.0, 200.0]]]
    # Franke's function at the centres of its three round hills, term by term.
    centres = np.array([[2, 2], [7, 3], [4, 7]]) / 9
    exponents = [[0, 9 / 49 + 0.3, 6.5, 29], [6.5, 64 / 49 + 0.4, 0, 25]]
    exponents.append([7.25, 25 / 49 + 0.8, 6.25, 0])
    want = np.exp(-np.array(exponents)) @ [0.75, 0.75, 0.5, -0.2]
    np.testing.assert_allclose(franke().value(centres), want, rtol=1e-13)


@pytest.mark.parametrize(
    ("function", "side_x", "side_y", "place", "minimum"),
    [(function, *rest) for function, rest in SIX.items()],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_test_functions_have_their_known_minima(function, side_x, side_y, place, minimum):
    target = function()
    assert target.domain == (side_x, side_y)
    place = np.array([place], dtype=np.float64)
    assert target.value(place)[0] == pytest.approx(minimum, abs=1e-6)
    low, high = np.array(target.domain).T
    everywhere = np.random.default_rng(0).uniform(low, high, (4000, 2))
    assert (target.value(everywhere) > minimum).all()
    if function not in (ackley, bukin):
        assert np.abs(target.gradient(place)).max() < 1e-4


def test_test_functions_by_hand():
    """By other formulas: in floats, with the parts written out."""
    x, y = inner_points(ackley(), 50).T
    radius = np.sqrt(x**2 / 2 + y**2 / 2)
    funnel = 20 * (1 - np.exp(-0.2 * radius))
    ripples = np.e - np.exp(np.cos(np.pi * (x + y)) * np.cos(np.pi * (x - y)))
    at = np.column_stack([x, y])
    np.testing.assert_allclose(ackley().value(at), funnel + ripples, rtol=1e-12)
    middle = np.array([[0.0, 0.0]])
    assert beale().value(middle)[0] == 1.5**2 + 2.25**2 + 2.625**2
    assert beale().value([[1.0, 1.0]])[0] == pytest.approx(1.5**2 + 2.25**2 + 2.625**2)
    assert beale().value([[1.0, 2.0]])[0] == 2.5**2 + 5.25**2 + 9.625**2
    assert booth().hessian(middle).tolist() == [[[10.0, 8.0], [8.0, 10.0]]]
    assert styblinski_tang().value([[1.0, 2.0]])[0] == (1 - 16 + 5) / 2 + (16 - 64 + 10) / 2
    assert mccormick().value(middle)[0] == 1.0
    assert mccormick().gradient([[0.0, np.pi / 2]])[0] == pytest.approx([-1.5 - np.pi, 2.5 + np.pi])


def test_there_is_no_gradient_on_a_kink_and_there_is_one_beside_it():
    for target, kink in ((ackley(), [0.0, 0.0]), (bukin(), [-8.0, 0.64]), (bukin(), [-10.0, 0.0])):
        kink = np.array([kink])
        assert np.isfinite(target.value(kink)).all()
        with pytest.raises(ValueError, match=r"gradient of .* is not a finite number"):
            target.gradient(kink)
        assert np.isfinite(target.gradient(kink + 1e-6)).all()
    # Near the floor of the valley the slope is 50 over the root of the distance.
    for distance in (1e-2, 1e-4, 1e-6):
        slope = bukin().gradient([[-5.0, 0.25 + distance]])[0, 1]
        assert slope == pytest.approx(50 / distance**0.5, rel=1e-4)
    # A second derivative would have to be a step's, which SymPy writes as a delta.
    with pytest.raises(ValueError, match="DiracDelta"):
        bukin().hessian([[-5.0, 2.0]])


def test_the_slope_of_the_valley_by_differences():
    points, h = inner_points(bukin(), 50), 1e-7
    for k, step in enumerate(h * np.eye(2)):
        quotient = (bukin().value(points + step) - bukin().value(points - step)) / (2 * h)
        np.testing.assert_allclose(bukin().gradient(points)[:, k], quotient, rtol=1e-5, atol=1e-5)


def test_sinpi_has_the_same_data_as_zero_and_other_slopes():
    points = np.arange(9.0)[:, None]
    target = sinpi(3, amplitude=sp.Rational(1, 2))
    np.testing.assert_array_equal(target.value(points), zero().value(points))
    signs = np.array([(-1.0) ** j for j in range(9)])
    np.testing.assert_allclose(target.gradient(points)[:, 0], 1.5 * np.pi * signs, rtol=1e-15)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=25, deadline=None)
def test_floats_in_the_expression_keep_all_their_digits(a, b):
    target = Target(sp.Float(a) + sp.Float(b) * X, X, (-1, 1))
    assert target.value([[0.0]])[0] == a
    assert target.gradient([[0.5]])[0, 0] == b


@pytest.mark.parametrize("name", ["pi", "sin", "SinPi", "x0", "lambda", r"\theta_{1}"])
def test_a_symbol_may_have_any_name(name):
    variable = sp.Symbol(name, real=True)
    target = Target(sp.pi * sp.sin(variable) + SinPi(variable), variable, (0, 1))
    want = np.pi * np.sin(0.25) + np.sqrt(0.5)
    assert target.value([[0.25]])[0] == pytest.approx(want, rel=1e-15)
    slope = np.pi * np.cos(0.25) + np.pi * np.sqrt(0.5)
    assert target.gradient([[0.25]])[0, 0] == pytest.approx(slope, rel=1e-15)


def test_constants_are_broadcast_and_no_points_are_fine():
    target = Target(7, (X, Y), ((0, 1), (0, 1)))
    assert target.value(np.zeros((3, 2))).tolist() == [7.0] * 3
    assert target.gradient(np.zeros((3, 2))).shape == (3, 2)
    none = np.empty((0, 2))
    assert target.value(none).shape == (0,)
    assert franke().gradient(none).shape == (0, 2)
    assert franke().hessian(none).shape == (0, 2, 2)
    assert target.hessian(none).dtype == np.float64


def test_grid_repr_call_and_pickle():
    assert rosenbrock().grid(2).tolist() == [[-2, -1], [-2, 3], [2, -1], [2, 3]]
    assert zero().grid(9)[:, 0].tolist() == list(range(9))
    assert repr(runge()) == "Target(1/(25*x**2 + 1); x in [-1, 1])"
    copy = pickle.loads(pickle.dumps(sinpi(2) + runge((0, 1))))
    assert copy([[0.25]])[0] == 1.0 + 1 / (1 + 25 / 16)
    assert copy.domain == ((0.0, 1.0),)


def test_a_sum_adds_numbers_so_that_a_zero_part_changes_no_bit():
    points = np.arange(-3.0, 4.0)[:, None]
    base = Target(sp.exp(X) / 3, X, (-4, 4))
    total = base + Target(sp.Rational(1, 10) * SinPi(X), X, (-9, 3.5))
    np.testing.assert_array_equal(total.value(points), base.value(points))
    assert total.domain == ((-4.0, 3.5),)
    assert total.expression == sp.exp(X) / 3 + SinPi(X) / 10
    # As one expression this would be 3/10, a number with other bits.
    tenths = [Target(sp.Rational(j, 10), X, (0, 1)) for j in (1, 2)]
    assert (tenths[0] + tenths[1]).value([[0.5]]) == 0.1 + 0.2
    plain = Target(total.expression, X, (-4, 3.5))
    for name in ("value", "gradient", "hessian"):
        got, want = getattr(total, name)([[0.3]]), getattr(plain, name)([[0.3]])
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_kinks_have_one_sided_slopes_only_off_the_kink():
    for variable in (X, sp.Symbol("x")):
        target = Target(sp.Abs(variable), variable, (-1, 1))
        assert target.gradient([[-0.5], [0.5]]).tolist() == [[-1.0], [1.0]]
        with pytest.raises(ValueError, match=r"gradient .* not a finite number at \[0.\] \(row 1"):
            target.gradient([[0.5], [0.0]])
    ramp = Target(sp.Max(X, 0), X, (-1, 1))
    assert ramp.value([[-0.5], [0.0], [0.5]]).tolist() == [0.0, 0.0, 0.5]
    assert ramp.gradient([[-0.5], [0.5]]).tolist() == [[0.0], [1.0]]
    with pytest.raises(ValueError, match=r"gradient .* not a finite number at \[0.\] \(row 0"):
        ramp.gradient([[0.0]])


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    franke().hessian(franke().grid(3))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


# Errors


@pytest.mark.parametrize(
    ("points", "error", "words"),
    [
        (np.zeros((2, 2), np.float32), TypeError, r"float32; try points.astype\(numpy.float64\)"),
        (np.zeros((2, 2), np.int64), TypeError, r"int64; try points.astype\(numpy.float64\)"),
        (np.zeros(3), ValueError, r"shape \(n, 2\), got \(3,\); try points.reshape\(-1, 2\)"),
        (np.zeros((4, 3)), ValueError, r"shape \(n, 2\), got \(4, 3\); try a row for each point"),
        ([[0.0, 1.0], [0.0, np.nan]], ValueError, r"finite points, got \[ 0. nan\] in row 1"),
        ([[0.0, np.inf]], ValueError, r"expected finite points"),
    ],
)
def test_points_that_do_not_fit(points, error, words):
    for function in (franke().value, franke().gradient, franke().hessian):
        with pytest.raises(error, match=words):
            function(points)
    with pytest.raises(error, match=words):
        check_points(points, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("x", X, (0, 1)), TypeError, "SymPy expression or a number, got str"),
        ((X > 0, X, (0, 1)), TypeError, "SymPy expression or a number"),
        ((sp.Matrix([X]), X, (0, 1)), TypeError, "number, got MutableDenseMatrix"),
        ((X * Y, X, (0, 1)), ValueError, "free symbols y too"),
        ((X, "x", (0, 1)), TypeError, "expected SymPy symbols"),
        ((X, (X, X), ((0, 1), (0, 1))), ValueError, "different names"),
        ((X, sp.Symbol("x", positive=True), (0, 1)), ValueError, "plain or real"),
        ((X, X, (1, 0)), ValueError, r"low < high .* got \(1, 0\)"),
        ((X, X, (0, np.nan)), ValueError, "low < high"),
        ((X, X, "ab"), ValueError, "low < high .* got ab"),
        ((X, X, (0, 1j)), ValueError, "low < high"),
        ((X, (X, Y), (0, 1)), ValueError, "one pair"),
    ],
)
def test_targets_that_cannot_be(arguments, error, words):
    with pytest.raises(error, match=words):
        Target(*arguments)


@pytest.mark.parametrize(
    ("expression", "name", "words"),
    [
        (sp.log(X), "value", r"value of .* is not a finite number at \[0.\] \(row 1\)"),
        (sp.log(X - 2), "gradient", "value of .* is not a finite number"),
        (sp.sqrt(X), "gradient", "gradient of .* is not a finite number"),
        (sp.sign(X), "gradient", "DiracDelta"),
        (sp.floor(X), "gradient", "Derivative"),
        (sp.I * X, "value", "complex values"),
        (sp.zoo, "gradient", "holds zoo"),
        (sp.gamma(X), "value", "without a NumPy form"),
        (sp.erf(X), "value", "without a NumPy form"),
        (sp.Integral(sp.exp(-(Y**2)), (Y, 0, X)), "gradient", r"a NumPy form, .* try \.doit\(\)"),
        (sp.AccumBounds(0, X + 2), "value", "expected an expression with a NumPy form"),
    ],
)
def test_numbers_that_are_not_there(expression, name, words):
    with pytest.raises(ValueError, match=words):
        getattr(Target(expression, X, (-1, 1)), name)([[1.0], [0.0]])


def test_other_errors():
    with pytest.raises(ValueError, match=r"domain .* got \[8.5\] in row 1"):
        zero().value([[8.0], [8.5]])
    with pytest.raises(TypeError):
        zero() + 1
    for other, words in ((franke(), "try the same symbols"), (zero((9, 10)), "low < high")):
        with pytest.raises(ValueError, match=words):
            zero() + other
    with pytest.raises(ValueError, match="finite domain"):
        zero((0, np.inf)).grid(3)
    with pytest.raises(ValueError, match=">= 2, got 1"):
        zero().grid(1)
    for frequency in (0.5, True):
        with pytest.raises(ValueError, match="whole frequency >= 1"):
            sinpi(frequency)
