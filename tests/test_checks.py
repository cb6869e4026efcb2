"""The checks of exercises: every form of a right answer passes, and no wrong one does."""

import subprocess
import sys
import time
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from gradnotes import checks
from gradnotes.checks import (
    CheckResult,
    check_difference_weights,
    check_first_wrong_step,
    check_hidden_wave,
    check_largest,
    check_same_data,
    check_same_expression,
    check_slope_bound,
    check_taylor_coefficient,
)
from gradnotes.counterexamples import prescribed_slopes
from gradnotes.functions import CosPi, SinPi
from gradnotes.targets import Target, franke, zero

X, Y = sp.symbols("x y", real=True)
PLAIN = sp.Symbol("x")
HALF, SEEDS = sp.Rational(1, 2), range(50)
EVEN = sp.sin(4 * sp.pi * X)
ROUNDED = "; is a number in it rounded? Python rounds 1/3: try sympy.Rational(1, 3)"
FORMS = {
    "SinPi": SinPi(4 * X),
    "sin": EVEN,
    "plain symbol": sp.sin(4 * sp.pi * PLAIN),
    "double angle": 2 * SinPi(2 * X) * CosPi(2 * X),
    "expanded": sp.expand_trig(EVEN),
    "exponentials": (sp.exp(4 * sp.I * sp.pi * X) - sp.exp(-4 * sp.I * sp.pi * X)) / (2 * sp.I),
    "imaginary part": sp.im(sp.exp(4 * sp.I * sp.pi * X)),
    "shifted": sp.cos(4 * sp.pi * X - sp.pi / 2),
    "tangents": EVEN.rewrite(sp.tan),
    "decimals that are exact": sp.sin(0.5 * 8.0 * sp.pi * X),
    "Piecewise": sp.Piecewise((EVEN, X < 100), (0, True)),
    "with a heavy cancellation": EVEN * (sp.cosh(60 * X) - sp.sinh(60 * X)) * sp.exp(60 * X),
    "with a hidden zero": EVEN + (sp.sin(X) ** 2 + sp.cos(X) ** 2 - 1) * sp.exp(X),
}
WRONG = {
    "zero": sp.S.Zero,
    "3.14159": sp.sin(4 * 3.14159 * X),
    "the float of pi": sp.sin(4 * float(np.pi) * X),
    "other sign": -EVEN,
    "other frequency": sp.sin(6 * sp.pi * X),
    "close by": EVEN + sp.Rational(1, 10**30),
    "modulus": sp.Abs(EVEN),
    "right on one side": sp.Piecewise((EVEN, X < 0), (0, True)),
    "right near 0": sp.Piecewise((EVEN, sp.Abs(X) < 1), (0, True)),
    "complex": EVEN + sp.I / 10**20,
    "infinite": EVEN + sp.zoo,
    "not a number": EVEN + sp.nan,
    "nowhere defined": EVEN / (sp.sin(X) ** 2 + sp.cos(X) ** 2 - 1),
    "no branch": sp.Piecewise((EVEN, X > 100)),
    "unknown function": EVEN + sp.Function("f")(X),
    "interval": EVEN + sp.AccumBounds(-1, 1),
}
BASE = Target(sp.exp(-X / 4) * sp.cos(X), X, (0, 8))
POINTS = np.arange(9.0)[:, None]


def same(answer, expected=EVEN, variables=X, rng=0):
    return check_same_expression(answer, expected, variables, rng=rng)


def same_data(ripple, points=POINTS, least=10.0, domain=(0, 8)):
    answer = Target(BASE.expression + ripple, X, domain)
    return check_same_data(answer, BASE, points, least_slope_difference=least)


# Expressions


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("rng", [7, np.random.default_rng(5)], ids=str)
def test_every_form_of_a_right_answer_passes(form, rng):
    result = same(form, rng=rng)
    assert result.passed, str(result)
    assert str(result) == "passed: the same function at 24 random points"


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_no_wrong_answer_passes_under_any_seed(answer):
    assert not any(same(answer, rng=seed).passed for seed in SEEDS)


def test_a_right_answer_with_a_kink_is_compared_on_both_sides():
    modulus, z = sp.Abs(X - HALF), X - HALF
    for form in (
        sp.sqrt(z**2),
        sp.Max(z, -z),
        z * sp.sign(z),
        sp.Piecewise((z, z > 0), (-z, True)),
    ):
        assert same(form, modulus).passed
    for other in (z, -z, sp.Max(z, 0)):
        assert not any(same(other, modulus, rng=seed).passed for seed in SEEDS)


def test_points_where_the_right_answer_is_not_real_do_not_count():
    assert same(sp.log(X**3) / 3, sp.log(X)).passed
    assert not same(sp.log(X) + 1, sp.log(X)).passed
    with pytest.raises(
        ValueError, match=r"a right answer that is real on a good part of \(-1, 1\)"
    ):
        same(X, sp.sqrt(-1 - sp.exp(X)))


def test_constants_and_several_variables():
    assert same(sp.Rational(1, 2), 0.5).passed
    assert same(2, sp.log(sp.exp(2))).passed
    both = (X, Y)
    assert same(sp.sin(X + Y), sp.sin(X) * sp.cos(Y) + sp.cos(X) * sp.sin(Y), both).passed
    assert not any(same(sp.sin(X + Y), sp.sin(X) + sp.sin(Y), both, seed).passed for seed in SEEDS)
    assert not any(same(X * sp.Abs(Y), X * Y, both, seed).passed for seed in SEEDS)


def test_a_decimal_passes_only_if_it_is_exact():
    assert same(0.5 * X, X / 2).passed
    for decimal in (0.1, 0.3333333333333333):
        fraction = sp.nsimplify(decimal, rational=True, tolerance=1e-9)
        assert not same(decimal * X, fraction * X).passed


def test_other_symbols_are_named():
    assert same(sp.sin(Y)).message == "it holds y, expected only x"
    assert same(sp.Symbol("b") * Y).message == "it holds b, y, expected only x"
    with pytest.raises(ValueError, match=r"symbols among the variables, got \(x,\), no y"):
        same(X, Y)


@pytest.mark.parametrize(
    "answer",
    [
        sp.Integral(4 * sp.pi * sp.cos(4 * sp.pi * Y), (Y, 0, X)),
        sp.Integral(sp.sin(1 / Y), (Y, 0, X)),
        sp.Sum(X**Y, (Y, 1, sp.oo)),
        sp.Product(X + Y, (Y, 1, 10**6)),
        sp.Limit(sp.sin(Y * X) / Y, Y, 0),
        sp.Derivative(X**2, X),
        sp.Derivative(sp.Function("f")(X), X),
    ],
)
def test_what_is_not_evaluated_is_named(answer):
    kind = type(answer).__name__
    assert same(answer, X).message == f"it holds an unevaluated {kind}; try .doit() on it"


# Taylor coefficients


def test_a_coefficient_passes_in_every_form():
    a, b = sp.symbols("a b", real=True)
    expression = sp.exp(a * X) * sp.cos(b * X)
    second = (a**2 - b**2) / 2
    for form in (second, (a - b) * (a + b) / 2, sp.re((a + sp.I * b) ** 2) / 2):
        assert check_taylor_coefficient(form, expression, X, 2, rng=0).passed
    for wrong in (2 * second, -second, a**2 / 2, second + sp.Rational(1, 10**30), sp.Abs(second)):
        results = [check_taylor_coefficient(wrong, expression, X, 2, rng=seed) for seed in SEEDS]
        assert not any(result.passed for result in results)


def test_no_message_tells_which_symbols_a_coefficient_does_without():
    a, b = sp.symbols("a b", real=True)
    expression = sp.exp(a * X + b * X**2)
    for wrong in (a * b, b, a + b):
        result = check_taylor_coefficient(wrong, expression, X, 1, rng=0)
        assert "it has the wrong value at a = " in result.message
    assert check_taylor_coefficient(a + b - b, expression, X, 1, rng=0).passed
    assert check_taylor_coefficient(1, sp.cos(a * X), X, 0, rng=0).passed


def test_a_degree_and_a_coefficient_that_do_not_fit():
    for degree in (-1, 1.0, True):
        with pytest.raises(ValueError, match=f"whole degree >= 0, got {degree}; try 2"):
            check_taylor_coefficient(Y, sp.exp(X * Y), X, degree, rng=0)
    with pytest.raises(ValueError, match="a coefficient with symbols in it, got 1"):
        check_taylor_coefficient(1, sp.exp(X), X, 3, rng=0)
    with pytest.raises(TypeError, match="got str"):
        check_taylor_coefficient(Y, "exp(x*y)", X, 1, rng=0)
    with pytest.raises(TypeError, match="needs rng="):
        check_taylor_coefficient(Y, sp.exp(X * Y), X, 1)


# Data


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_steeper_ripple_passes(form):
    result = same_data(form.xreplace({PLAIN: X}))
    assert result.passed, str(result)
    assert result.message == "equal data, and steeper by at least 10 at every point"


@pytest.mark.parametrize("seed", range(20))
def test_even_ripples_pass_up_to_their_slope_and_odd_ones_fail(seed):
    generator = np.random.default_rng(seed)
    half, amplitude = int(generator.integers(1, 30)), sp.Rational(int(generator.integers(1, 99)), 7)
    slope = 2 * half * sp.pi * amplitude
    ripple = amplitude * SinPi(2 * half * X)
    assert same_data(ripple, least=slope).passed
    assert not same_data(ripple, least=slope + sp.Rational(1, 10**30)).passed
    assert not same_data(amplitude * SinPi((2 * half + 1) * X), least=sp.Rational(1, 10**9)).passed
    assert not same_data(ripple + sp.Rational(1, 10**30), least=1).passed


@pytest.mark.parametrize(
    ("ripple", "words"),
    [
        (0 * X, "at x = 0 the slopes differ by 0, and at least 10 is asked for"),
        (SinPi(2 * X), "at x = 0 the slopes differ by 6.28, and at least 10 is asked for"),
        (4 * SinPi(X), "at x = 1 the slopes differ by -12.6, and at least 10 is asked for"),
        (SinPi(4 * X) + X, "at x = 1 the values differ by 1, and they must be equal"),
        (sp.sin(4 * 3.14159 * X), "at x = 1 the values differ by -1.06e-05"),
        (sp.sin(4 * float(np.pi) * X), "at x = 1 the values differ by -4.9e-16"),
        (sp.Max(0, 40 * SinPi(2 * X)), "at x = 0 the answer has a kink or a jump"),
        (SinPi(4 * X) + 100 * sp.Abs(SinPi(X)), "at x = 0 the answer has a kink or a jump"),
        (20 * X * sp.Piecewise((0, sp.Eq(SinPi(X), 0)), (1, True)), "has a kink or a jump"),
        (20 * (X - sp.floor(X)), "at x = 1 the answer has a kink or a jump"),
        (20 * sp.Mod(X, 1), "at x = 1 the answer has a kink or a jump"),
        (SinPi(4 * X) * (1 + sp.I), "at x = 0 the slope cannot be told"),
        (SinPi(4 * X) + sp.log(X), "at x = 0 the answer has no finite real value"),
        (SinPi(4 * X) * sp.sqrt(X - 4), "at x = 0 the slope cannot be told"),
        (SinPi(4 * X) + sp.sqrt(4 - X) - 2, "at x = 1 the values differ"),
        (SinPi(4 * X) + sp.Function("f")(X), "at x = 0 the answer has no finite real value"),
        (sp.Integral(sp.cos(Y), (Y, 0, X)), "it holds an unevaluated Integral; try .doit()"),
    ],
)
def test_a_wrong_ripple_is_told_which_property_fails(ripple, words):
    result = same_data(ripple)
    assert not result.passed
    assert words in result.message


def in_branches(low):
    """Rise with slope 20 near each whole number, from low to 1/4 beside it."""
    rises = [
        sp.Piecewise((20 * (X - k), sp.And(X - k >= low, X - k < 0.25)), (0, True))
        for k in range(9)
    ]
    return sp.Add(*rises)


def test_a_ripple_in_branches_needs_a_slope_at_the_points_only():
    assert same_data(in_branches(-0.25)).passed
    # At 0 there is only the right-hand side; at 1 the slope from the left is 0.
    result = same_data(in_branches(0))
    assert result.message == "at x = 1 the answer has a kink or a jump, and so no slope"
    assert same_data(in_branches(0), points=[[0.0]]).passed


@pytest.mark.parametrize("whole", [sp.floor(X + HALF), X - sp.Mod(X + HALF, 1) + HALF], ids=str)
def test_a_sawtooth_has_a_slope_between_its_jumps(whole):
    assert same_data(10 * (X - whole)).passed
    result = same_data(10 * (X - whole), least=11)
    assert result.message == "at x = 0 the slopes differ by 10, and at least 11 is asked for"


def test_float_points_are_exact_fractions():
    dyadic = np.array([[0.25], [0.375], [7.8125]])
    assert same_data(SinPi(64 * X), points=dyadic).passed
    # The float 0.1 is not a tenth, and a sine that vanishes at a tenth does not vanish there.
    assert "x = 0.1 the values differ" in same_data(SinPi(20 * X), points=[[0.0], [0.1]]).message


def test_a_target_with_decimals_passes():
    slopes = BASE.gradient(POINTS) + 11.0
    answer = prescribed_slopes(POINTS, BASE.value(POINTS), slopes, base=BASE)
    assert check_same_data(answer, BASE, POINTS, least_slope_difference=10.9).passed
    assert not check_same_data(answer, BASE, POINTS, least_slope_difference=11.1).passed


def test_the_answer_may_use_a_plain_symbol():
    answer = Target((BASE.expression + EVEN).subs(X, PLAIN), PLAIN, (0, 8))
    assert check_same_data(answer, BASE, POINTS, least_slope_difference=10.0).passed


def test_the_answer_must_be_defined_at_the_points():
    result = same_data(EVEN, domain=(0, 1))
    assert result.message == "at x = 2 the answer has no finite real value"
    assert same_data(EVEN, domain=(0, 1), points=[[0.0], [1.0]]).passed


def test_the_answer_can_be_asked_to_stay_near():
    options = {"least_slope_difference": 10.0, "largest_difference": 0.01}
    fast = Target(BASE.expression + SinPi(400 * X) / 100, X, (0, 8))
    said = "equal data, and steeper by at least 10 at every point; nowhere further apart than 0.01"
    assert check_same_data(fast, BASE, POINTS, **options).message == said
    # Zero at 20,001 equal steps, and far away between them.
    for half_waves in (400, 2500, 5000):
        far = Target(BASE.expression + SinPi(half_waves * X) / 50, X, (0, 8))
        result = check_same_data(far, BASE, POINTS, **options)
        assert (
            result.message == "somewhere the values differ by 0.02, and at most 0.01 is asked for"
        )
    # As large as is allowed, up to rounding.
    flat = Target(BASE.expression + sp.tanh(1000 * SinPi(2 * X)) / 100, X, (0, 8))
    assert check_same_data(flat, BASE, POINTS, **options).passed
    # Near enough on average, and not near x = 4.5.
    swollen = SinPi(400 * X) / 100 * (1 + 5 * sp.exp(-((3 * X - 13.5) ** 2)))
    far = Target(BASE.expression + swollen, X, (0, 8))
    assert "at most 0.01 is asked for" in check_same_data(far, BASE, POINTS, **options).message
    for domain in ((0, 7.5), (0, 8 - 1e-9), (1e-9, 8)):  # the last two end between all places
        short = Target(fast.expression, X, domain)
        result = check_same_data(short, BASE, POINTS[1:3], **options)
        assert result.message == "the answer has no finite real value on the whole domain"


def test_a_largest_difference_needs_a_finite_domain():
    line = Target(X, X, (0, np.inf))
    with pytest.raises(ValueError, match="expected a target with a finite domain"):
        check_same_data(line, line, POINTS, least_slope_difference=1, largest_difference=1)


@pytest.mark.parametrize("largest", [0.0, -1.0, np.inf, np.nan, sp.I, X])
def test_a_wrong_largest_difference_is_refused(largest):
    with pytest.raises(ValueError, match="expected a finite largest_difference above 0"):
        check_same_data(BASE, BASE, POINTS, least_slope_difference=1.0, largest_difference=largest)


# The largest size


A = sp.Symbol("a", real=True)


@pytest.mark.parametrize(
    ("expression", "domain", "right"),
    [
        (sp.cos(X) / (A + sp.sin(X)), (-4, 4), 1 / sp.sqrt(A**2 - 1)),
        (X**2 - A * X, (0, 1), sp.Piecewise((A**2 / 4, A < 2), (A - 1, True))),
        (A * X - 3, (-2, 1), 2 * A + 3),
        (sp.exp(-A * X), (0, 1), sp.Integer(1)),
        (sp.sqrt(A**2 - 1) * sp.sin(X), (0, 2), sp.sqrt(A**2 - 1)),
    ],
    ids=["inside", "inside or at an end", "at the left end", "at a fixed end", "with a root"],
)
def test_a_formula_for_the_largest_size_passes_and_its_neighbours_do_not(expression, domain, right):
    def verdict(answer):
        return check_largest(answer, expression, X, domain, {A: (sp.Rational(5, 4), 3)}, rng=0)

    assert str(verdict(right)) == "passed: the largest size in 24 random cases"
    for wrong in (right + 1e-5, right * 0.999, -right, 1 / (right + 1), right.subs(A, A + 1) + A):
        assert not verdict(wrong).passed, wrong
    assert "it is not the largest size at a = " in verdict(right + 1).message
    assert not verdict(right * (1 + 1e-6)).passed
    assert "no finite real value" in verdict(sp.log(-A)).message
    assert verdict(X).message == "it holds x, expected only a"


def test_the_highest_of_many_hills_is_found_and_small_sizes_count():
    waves = A * sp.sin(100 * X) * (1 + X / 2000)
    line = np.linspace(-4, 4, 4_000_001)
    peak = float(np.abs(np.sin(100 * line) * (1 + line / 2000)).max())
    assert check_largest(A * peak, waves, X, (-4, 4), {A: (1, 2)}, rng=0).passed
    small = sp.exp(-5 * A) * sp.sin(X)
    assert check_largest(sp.exp(-5 * A), small, X, (0, 3), {A: (4, 6)}, rng=0).passed
    assert not check_largest(0, small, X, (0, 3), {A: (4, 6)}, rng=0).passed
    assert not check_largest(5 * A, A * sp.sin(X), X, (0, 3), {A: (1e-5, 2e-4)}, rng=0).passed


@pytest.mark.parametrize("parameters", [{A: (2, 1)}, {A: (0, np.inf)}, {A: (1, 2, 3)}, {X: (0, 1)}])
def test_wrong_ranges_are_refused(parameters):
    with pytest.raises(ValueError, match="expected"):
        check_largest(A, A * X, X, (0, 1), parameters, rng=0)


@pytest.mark.parametrize(
    ("expression", "domain", "words"),
    [
        (X * sp.Symbol("b"), (0, 1), "free symbols b"),
        (1 / X, (-1, 1), "not a finite number"),
        (X, (0, np.inf), "expected a finite domain"),
    ],
)
def test_an_expression_without_a_largest_size_is_refused(expression, domain, words):
    with pytest.raises(ValueError, match=words):
        check_largest(A, expression, X, domain, {A: (1, 2)}, rng=0)


# The slope of a residual between two of its zeros


FACTOR = sp.Rational(4, 3)
CURVATURE, LENGTH, PLACE = PIECE = sp.symbols("M h t", real=True)
MIDDLE = (PLACE**2 + (1 - PLACE) ** 2) / 2
LEFT = PLACE - 2 + 2 * sp.sqrt((1 - PLACE) ** 2 + HALF)
BEST = {
    "neither": MIDDLE,
    "left": sp.Min(PLACE, LEFT),
    "right": sp.Min(1 - PLACE, LEFT.subs(PLACE, 1 - PLACE)),
    "both": sp.Min(PLACE, 1 - PLACE, (sp.sqrt(1 + 4 * MIDDLE) - 1) / 2),
}
SIMPLE = {
    "neither": MIDDLE,
    "left": sp.Min(PLACE, MIDDLE),
    "right": sp.Min(1 - PLACE, MIDDLE),
    "both": sp.Min(PLACE, 1 - PLACE, MIDDLE),
}


def bound(shape, zero_slopes, rng=0, factor=FACTOR):
    answer = CURVATURE * LENGTH * shape
    return check_slope_bound(answer, PIECE, zero_slopes=zero_slopes, factor=factor, rng=rng)


@pytest.mark.parametrize("ends", BEST)
@pytest.mark.parametrize("t", [*np.linspace(0.0, 1.0, 41), 0.001, 0.999])
def test_the_steepest_slope_is_the_one_of_the_closed_form(ends, t):
    low, high = checks._steepest(Fraction(t), ends)
    exact = float(BEST[ends].subs(PLACE, sp.Rational(t)))
    assert 0 <= high - low <= Fraction(1, 2**60)
    assert float(low) == pytest.approx(exact, rel=1e-12, abs=1e-15)


def random_slope(generator, ends, n=400):
    """A random slope profile for M = h = 1, which fits the ends and has integral zero."""
    s = np.linspace(0, 1, n + 1)
    both = []
    for _ in range(40):
        jumps = generator.integers(2, 9)
        signs = generator.choice([-1.0, 1.0, generator.uniform(-1, 1)], jumps)
        curvature = signs[
            np.minimum(
                (generator.permutation(jumps)[0] + s[:-1] * jumps).astype(int) % jumps, jumps - 1
            )
        ]
        slope = np.concatenate([[0.0], np.cumsum(curvature) / n])
        slope += 0.0 if ends in ("left", "both") else generator.uniform(-1, 1)
        if ends in ("right", "both"):
            slope = np.clip(slope, s - 1, 1 - s)
        both.append(slope)
    area = [np.trapezoid(slope, s) for slope in both]
    up, down = both[int(np.argmax(area))], both[int(np.argmin(area))]
    share = min(area) / (min(area) - max(area))
    return s, share * up + (1 - share) * down


@pytest.mark.parametrize("ends", BEST)
def test_no_random_residual_is_steeper(ends):
    generator = np.random.default_rng(0)
    exact = sp.lambdify(PLACE, BEST[ends], "numpy")
    largest = 0.0
    for _ in range(300):
        s, slope = random_slope(generator, ends)
        curvature = np.abs(np.diff(slope)) * (len(s) - 1)
        assert curvature.max() <= 1 + 1e-9
        assert abs(np.trapezoid(slope, s)) < 1e-12
        inner = slice(10, -10)
        ratio = np.abs(slope[inner]) / exact(s[inner])
        assert ratio.max() <= 1 + 1e-9
        largest = max(largest, ratio.max())
    assert largest > 0.3


@pytest.mark.parametrize("ends", BEST)
@pytest.mark.parametrize("rng", [0, 1, np.random.default_rng(2)], ids=str)
def test_the_best_bound_and_a_simple_one_pass(ends, rng):
    for shape in (BEST[ends], SIMPLE[ends], FACTOR * BEST[ends]):
        result = bound(shape, ends, rng)
        assert result.passed, str(result)
    assert result.message.startswith("at 44 places it holds, and is at most 4/3 times")
    smaller = BEST[ends] * (1 - sp.Rational(1, 10**12))
    larger = BEST[ends] * (FACTOR + sp.Rational(1, 10**12))
    assert "it is too small: a slope can be 1 times as large" in bound(smaller, ends, rng).message
    assert "it is too large: 1.33 times the steepest slope" in bound(larger, ends, rng).message
    assert bound(larger, ends, rng, factor=1.34).passed


@pytest.mark.parametrize(
    ("shape", "ends"),
    [
        (MIDDLE, "left"),
        (PLACE, "left"),
        (HALF, "neither"),
        (SIMPLE["left"], "right"),
        (SIMPLE["both"], "left"),
        (SIMPLE["left"], "both"),
        (PLACE / 2, "left"),
        (MIDDLE * LENGTH, "neither"),
        (PLACE * (1 - PLACE), "both"),
    ],
)
def test_no_wrong_bound_passes_under_any_seed(shape, ends):
    assert not any(bound(shape, ends, seed).passed for seed in range(10))


@pytest.mark.parametrize("seed", range(10))
def test_a_bound_is_tried_close_to_both_ends(seed):
    near = sp.Rational(1, 900)
    for close in (sp.Lt(PLACE, near), sp.Gt(PLACE, 1 - near)):
        assert not bound(sp.Piecewise((0, close), (MIDDLE, True)), "neither", seed).passed


@pytest.mark.parametrize("start", [30, 310, 520, 640, 930])
@pytest.mark.parametrize("size", [sp.Rational(99, 100), sp.Rational(137, 100)])
def test_a_bound_that_is_wrong_on_a_thirtieth_of_the_piece_does_not_pass(start, size):
    inside = (PLACE - sp.Rational(start, 1000)) * (PLACE - sp.Rational(start + 33, 1000)) < 0
    shape = sp.Piecewise((size * BEST["right"], inside), (BEST["right"], True))
    results = [bound(shape, "right", seed) for seed in range(2)]
    assert not any(result.passed for result in results)
    # Whatever the seed: what passes in a notebook passes where it is graded.
    assert len({result.message.partition("t = ")[2][:6] for result in results}) == 1


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (PLACE / 2, "too small: a slope can be 2 times as large; may the second derivative jump"),
        (-PLACE, "too small: it is not above 0; may the second derivative jump"),
        (2 * PLACE, "too large: 2 times the steepest slope, and at most 4/3 is asked for; what"),
        (PLACE / LENGTH, "; does it double when M doubles, and when h does"),
        (PLACE * sp.Symbol("M", real=True), "; does it double when M doubles, and when h does"),
    ],
)
def test_a_wrong_bound_is_told_how_far_it_is_off(shape, words):
    result = bound(shape, "left")
    assert not result.passed
    assert words in result.message


@pytest.mark.parametrize("seed", range(10))
def test_a_bound_is_tried_on_each_part_of_the_piece_and_at_all_sizes(seed):
    for low in range(9):
        start, end = sp.Rational(low, 10), sp.Rational(low + 1, 10) + HALF / 100
        hole = (PLACE - start) * (PLACE - end) < 0
        assert not bound(sp.Piecewise((0, hole), (MIDDLE, True)), "neither", seed).passed
    for wrong in (
        sp.Piecewise((CURVATURE, CURVATURE > 4), (1, True)),
        sp.Piecewise((LENGTH, LENGTH > 4), (1, True)),
        1 + sp.Rational(1, 1000) / (CURVATURE * LENGTH),
        sp.Min(1, 100 / (CURVATURE * LENGTH)),
    ):
        assert not bound(MIDDLE * wrong, "neither", seed).passed


ZEROS = {
    "waves": sp.sin(PLACE) ** 2 + sp.cos(PLACE) ** 2 - 1,
    "brackets": PLACE * (1 - PLACE) + PLACE**2 - PLACE,
}


@pytest.mark.parametrize("zero", ZEROS.values(), ids=ZEROS)
def test_a_largest_of_a_zero_in_another_form_is_evaluated(zero):
    """SymPy refuses to order a number that it cannot tell from zero."""
    for shape in (sp.Max(zero, MIDDLE), sp.Max(MIDDLE, sp.Min(zero, 1)), MIDDLE + sp.Max(0, zero)):
        assert bound(shape, "neither").passed, shape
        assert not bound(shape / 2, "neither").passed
    assert check_same_expression(sp.Min(zero, 1) + PLACE, PLACE, PLACE, rng=0).passed
    assert not check_same_expression(sp.Max(zero, PLACE), PLACE, PLACE, rng=0).passed


def test_a_wave_that_is_cut_off_is_steep_at_its_zeros():
    wave = 5 * sp.sin(4 * sp.pi * X)
    cut = sp.Min(HALF, sp.Max(-HALF, wave))
    assert same_data(cut).passed
    assert "at x = 0 the slopes differ by 62.8" in same_data(cut, least=63).message
    assert "has a kink or a jump" in same_data(sp.Max(0, wave)).message


def test_a_whole_part_that_cannot_be_told_does_not_pass():
    whole = sp.floor(1009 * X) - 1009 * X  # a jump at each place that is tried
    result = check_same_expression(X + whole, X, X, rng=0)
    assert "it has no finite real value at x = " in result.message


def test_a_bound_names_its_faults():
    assert "it has no finite real value" in bound(sp.log(-PLACE), "left").message
    assert bound(X, "left").message == "it holds x, expected only M, h, t"
    with pytest.raises(ValueError, match="expected three variables"):
        check_slope_bound(X, X, zero_slopes="left", factor=2, rng=0)
    with pytest.raises(ValueError, match="expected zero_slopes among"):
        bound(MIDDLE, "top")
    for factor in (1, 0.5, sp.oo, X):
        with pytest.raises(ValueError, match="expected a finite factor above 1"):
            bound(MIDDLE, "neither", factor=factor)


# Weights that estimate a slope


def exact_weights(offsets):
    """The weights that are right for all polynomials of a degree below their number."""
    n = len(offsets)
    powers = sp.Matrix(n, n, lambda k, j: sp.Rational(offsets[j]) ** k)
    return list(powers.LUsolve(sp.Matrix([int(k == 1) for k in range(n)])))


def weights_check(weights, offsets, order, rng=0):
    return check_difference_weights(weights, offsets, order=order, rng=rng)


@pytest.mark.parametrize("offsets", [[0, 1], [0, 1, 3], [1, 2, 5], [0, -2, -3, -4], [-1, 0, 2]])
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_exact_weights_is_one_less_than_their_number(offsets, seed):
    right, order = exact_weights(offsets), len(offsets) - 1
    for form in (right, tuple(map(Fraction, right)), [sp.sqrt(w**2) * sp.sign(w) for w in right]):
        assert weights_check(form, offsets, order, seed).passed
    assert not weights_check(right, offsets, order + 1, seed).passed
    other = exact_weights([offset + 1 for offset in offsets])
    for wrong in (
        [-w for w in right],
        [w / 2 for w in right],
        right[::-1],
        other,
        [0] * len(right),
    ):
        assert wrong == right or not weights_check(wrong, offsets, order, seed).passed, wrong


def test_weights_in_halves_pass_as_decimals_and_thirds_do_not():
    assert weights_check([-1.5, 2.0, -0.5], [0, 1, 2], 2).passed
    assert weights_check(np.array([-1.5, 2.0, -0.5]), [0, 1, 2], 2).passed
    rounded = [float(w) for w in exact_weights([0, 1, 3])]
    result = weights_check(rounded, [0, 1, 3], 2)
    assert ROUNDED in result.message
    # In the last digit of an irrational number, nothing is rounded that counts.
    scaled = [sp.sqrt(2) * w / sp.sqrt(2) for w in exact_weights([0, 1, 3])]
    assert weights_check(scaled, [0, 1, 3], 2).passed


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1, 1, 1], "does not fall, and 2 is asked for; it is not exact for constants"),
        ([-1, 0, 1], "does not fall, and 2 is asked for; it is not exact for straight lines"),
        ([-1, 1, 0], "falls with order 1, and 2 is asked for; it is not exact for parabolas"),
        ([-1, 1], "expected 3 weights, one for each offset, got 2"),
        ([-1, 1, sp.oo], "a weight is not a finite real number"),
        ([-1, 1, float("nan")], "a weight is not a finite real number"),
        ([-1, 1, X], "a weight is not a finite real number"),
        ([-1, 1, 10**4000], "a weight is not a finite real number"),
        ([-1, 1, ...], "there is no answer yet"),
        (["-1", "1", "0"], "a weight is not a finite real number"),
        ("-1, 1", "expected a list of numbers, got str"),
        (3, "expected a list of numbers, got int"),
        (X, "expected a list of numbers, got Symbol"),
        ({1: 2}, "expected a list of numbers, got dict"),
    ],
)
def test_wrong_weights_are_told_what_they_miss(weights, words):
    result = weights_check(weights, [0, 1, 2], 2)
    assert not result.passed
    assert words in result.message
    assert "order 3 is" not in weights_check([-1, 1, 0], [0, 1, 2], 2).message


@pytest.mark.parametrize(
    "kind", [list, tuple, sp.Matrix, lambda w: sp.Matrix([w]), lambda w: sp.Tuple(*w), np.array]
)
def test_weights_come_in_any_row_of_exact_numbers(kind):
    weights = exact_weights([0, 1, 3])
    assert weights_check(kind(weights), [0, 1, 3], 2).passed
    assert not weights_check(kind(weights[::-1]), [0, 1, 3], 2).passed


def test_offsets_and_orders_that_do_not_fit_are_an_error():
    for offsets in ([0, 0], [1]):
        with pytest.raises(ValueError, match="expected two different offsets or more"):
            weights_check([1, 1], offsets, 1)
    for order in (0, True, 1.0):
        with pytest.raises(ValueError, match=f"expected a whole order >= 1, got {order}"):
            weights_check([-1, 1], [0, 1], order)


# A hidden wave, and a proof


THIRDS = [sp.Rational(k, 3) for k in range(6)]


@pytest.mark.parametrize(
    "frequency", [3 * sp.pi, -6 * sp.pi, 9 * sp.acos(-1), sp.Rational(3) * sp.pi]
)
def test_a_wave_that_hides_passes(frequency):
    assert check_hidden_wave(frequency, THIRDS).passed
    assert check_hidden_wave(frequency, [Fraction(k, 3) for k in range(6)]).passed


@pytest.mark.parametrize(
    ("frequency", "words"),
    [
        (0, "the wave is zero everywhere, and so is its slope"),
        (sp.pi / 10**60, "the wave is zero everywhere"),
        (3, "at x = 0.333333 the wave has the value 0.841"),
        (-sp.pi / 2, "at x = 0.333333 the wave has the value -0.5"),
        (9.42477796076938, "at x = 0.333333 the wave has the value"),
        (sp.pi, "at x = 0.333333 the wave has the value 0.866"),
        (sp.oo, "it is not a finite real number"),
        (sp.nan, "it is not a finite real number"),
        (sp.I * sp.pi, "it is not a finite real number"),
        (3 * sp.pi * X, "it holds x, expected a number"),
        (9.42477796076938, ROUNDED),
        ("pi", "expected a SymPy expression or a number, got str"),
        (..., "there is no answer yet"),
    ],
)
def test_a_wave_that_shows_is_told_where(frequency, words):
    result = check_hidden_wave(frequency, THIRDS)
    assert not result.passed
    assert words in result.message


def test_a_wave_needs_points():
    with pytest.raises(ValueError, match="at least one point"):
        check_hidden_wave(sp.pi, np.empty((0, 1)))
    # The float next to a third is no third.
    assert not check_hidden_wave(3 * sp.pi, [[1 / 3]]).passed


@pytest.mark.parametrize("answer", [3, 3.0, sp.Integer(3), np.int64(3), sp.Float(3)])
def test_the_first_wrong_step_passes(answer):
    assert check_first_wrong_step(answer, [3, 5], 6).passed


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (1, "this step follows from what stands before it"),
        (4, "a step before this one does not follow either"),
        (5, "a step before this one does not follow either"),
        (0, "expected the number of a step, from 1 to 6"),
        (7, "expected the number of a step, from 1 to 6"),
        (2.5, "expected the number of a step, from 1 to 6"),
        (sp.nan, "expected the number of a step, from 1 to 6"),
        (10**4000, "expected the number of a step, from 1 to 6"),
        (X, "expected the number of a step, from 1 to 6"),
        ("3", "expected the number of a step, from 1 to 6"),
        ([3], "expected the number of a step, from 1 to 6"),
        (..., "there is no answer yet"),
    ],
)
def test_another_step_is_not_told_which_is_right(answer, words):
    result = check_first_wrong_step(answer, [3, 5], 6)
    assert (result.passed, result.message) == (False, words)


def test_a_proof_has_a_wrong_step():
    for wrong in ([], [0], [7]):
        with pytest.raises(ValueError, match="expected wrong steps between 1 and 6"):
            check_first_wrong_step(1, wrong, 6)


# Exact points, blanks and giants


def test_points_may_be_exact_fractions():
    at = [sp.Rational(1, 3), sp.Rational(1, 2), Fraction(7, 5), 4]
    for points in (at, tuple(at)):
        assert same_data(SinPi(60 * X), points=points).passed
        assert "at x = 0.333333 the values differ" in same_data(SinPi(4 * X), points=points).message
    with pytest.raises(ValueError, match="domain"):
        same_data(SinPi(60 * X), points=[sp.Rational(100, 3)])


def test_a_place_without_an_answer_does_not_pass_and_is_no_error():
    results = [
        same(...),
        check_largest(..., A * X, X, (0, 1), {A: (1, 2)}, rng=0),
        check_taylor_coefficient(..., sp.exp(A * X), X, 1, rng=0),
        check_same_data(..., BASE, POINTS, least_slope_difference=1),
        check_slope_bound(..., PIECE, zero_slopes="left", factor=2, rng=0),
        check_difference_weights(..., [0, 1], order=1, rng=0),
        check_hidden_wave(..., THIRDS),
        check_first_wrong_step(..., [3], 6),
    ]
    assert {str(result) for result in results} == {"not yet: there is no answer yet"}


TOWER = sp.Pow(9, sp.Pow(9, 9, evaluate=False), evaluate=False)
GIANTS = {
    "tower": TOWER,
    "tower in a sum": sp.Add(X, TOWER, evaluate=False),
    "power of a fraction": sp.Pow(sp.Rational(1, 9), 50_000, evaluate=False),
    "small tower": sp.Pow(TOWER, -1, evaluate=False),
    "tower of towers": sp.Pow(9, TOWER, evaluate=False),
    "fraction": sp.Rational(1, 3**10_000),
    "decimal": sp.Float((0, 1, 400_000_000, 1)),
    "complex power": sp.Pow(3 * sp.I, 10**9, evaluate=False),
}


@pytest.mark.parametrize("giant", GIANTS.values(), ids=GIANTS)
def test_a_giant_number_is_refused_at_once(giant):
    start = time.process_time()
    words = "it holds a number of more than 10000 binary digits; try a smaller one"
    assert same(giant).message == words
    assert check_slope_bound(giant, PIECE, zero_slopes="left", factor=2, rng=0).message == words
    assert check_hidden_wave(giant, THIRDS).message == words
    assert not weights_check([giant, 1], [0, 1], 1).passed
    assert not check_first_wrong_step(giant, [3], 6).passed
    assert time.process_time() - start < 5.0


# Messages, time and errors


def test_messages_never_hold_an_answer():
    results = [same(answer) for answer in WRONG.values()]
    results += [same_data(answer) for answer in (SinPi(X), EVEN + 1, sp.Abs(EVEN))]
    for result in results:
        assert not result.passed
        assert str(result) == f"not yet: {result.message}"
        assert "sin" not in result.message.lower()
        assert "pi" not in result.message


def test_a_result_is_frozen_and_keyword_only():
    result = CheckResult(passed=True, message="m")
    with pytest.raises(FrozenInstanceError):
        result.passed = False
    with pytest.raises(TypeError):
        CheckResult(True, "m")


def doubled(times):
    expression = X
    for _ in range(times):
        expression = expression + expression**2
    return expression


HUGE = {
    "many terms": sp.Add(*[sp.sin(k * X) * sp.cos(k * X / 7) for k in range(1, 900)]),
    "shared parts": doubled(24),
    "long but allowed": sp.Add(*[sp.sin(k * X) for k in range(1, 200)]),
    "high power": (1 + X) ** (10**6) + X,
    "long number": sp.Integer(10) ** 5000 * X,
    "tower": X**X**X**X**X,
    "exponentials": sp.exp(sp.exp(sp.exp(sp.exp(sp.exp(X))))),
    "sine of a giant": sp.sin(sp.exp(sp.exp(20 * X + 20))),
}


@pytest.mark.parametrize("answer", HUGE.values(), ids=HUGE)
def test_a_huge_answer_is_done_with_soon(answer):
    start = time.process_time()
    assert not same(answer, X).passed
    if answer is not HUGE["shared parts"]:  # a target of it takes longer than its check
        assert not same_data(answer).passed
    assert time.process_time() - start < 10.0


def test_a_long_answer_is_told_so():
    assert same(HUGE["many terms"]).message == "it has more than 5000 parts; try a shorter form"
    assert same(HUGE["long but allowed"], HUGE["long but allowed"]).passed


@pytest.mark.parametrize(
    "answer", ["sin(4*pi*x)", None, True, [X], sp.Eq(X, 1), sp.Matrix([X]), np.array([1.0]), len]
)
def test_an_answer_that_is_no_expression_does_not_pass_and_a_question_is_an_error(answer):
    words = f"expected a SymPy expression or a number, got {type(answer).__name__}"
    assert same(answer, X) == CheckResult(passed=False, message=words)
    piece = bound_of(answer)
    assert piece == CheckResult(passed=False, message=words)
    with pytest.raises(TypeError, match=f"{words}; try an"):
        same(X, answer)


def bound_of(answer):
    return check_slope_bound(answer, PIECE, zero_slopes="left", factor=2, rng=0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (EVEN, "expected a Target, got sin; try Target(...)"),
        (None, "expected a Target, got NoneType; try Target(...)"),
        (franke(), "expected a target in the one variable x, got one in x, y"),
        (Target(Y, Y, (0, 8)), "expected a target in the one variable x, got one in y"),
    ],
)
def test_another_kind_of_target_does_not_pass(answer, words):
    result = check_same_data(answer, BASE, POINTS, least_slope_difference=1.0)
    assert result == CheckResult(passed=False, message=words)


def test_what_is_nearly_right_is_asked_for_rounded_numbers():
    third = sp.Float(1 / 3)
    assert same(third * X, X / 3).message.startswith("it is nearly right at x = ")
    assert ROUNDED in same(third * X, X / 3).message
    assert same(X / 4, X / 3).message.startswith("it has the wrong value at x = ")
    assert ROUNDED in same_data(sp.sin(12.566370614359172 * X)).message


@pytest.mark.parametrize(
    ("rng", "error", "words"),
    [
        (None, TypeError, "check_same_expression needs rng=.*, and got None; try rng=0"),
        (True, TypeError, "got True; try rng=0"),
        (0.5, TypeError, "got 0.5; try rng=0"),
        (-1, ValueError, "a seed of 0 or more, and got rng=-1; try rng=0"),
    ],
)
def test_a_seed_is_required(rng, error, words):
    with pytest.raises(error, match=words):
        same(X, X, rng=rng)
    with pytest.raises(TypeError, match="needs rng="):
        check_same_expression(X, X, X)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"target": EVEN}, TypeError, r"expected a Target, got sin; try Target\(\.\.\.\)"),
        ({"target": franke()}, ValueError, r"in one variable, got one in \(x, y\)"),
        ({"points": POINTS[:0]}, ValueError, "at least one point, got none"),
        ({"points": POINTS[:, 0]}, ValueError, r"shape \(n, 1\), got \(9,\)"),
        ({"points": POINTS.astype(int)}, TypeError, "float64, got int64"),
        ({"points": POINTS * np.nan}, ValueError, "expected finite points"),
        ({"points": POINTS + 1.0}, ValueError, r"in the domain .* got \[9.\] in row 8"),
        ({"least_slope_difference": np.nan}, ValueError, "finite least_slope_difference, got nan"),
        ({"least_slope_difference": np.inf}, ValueError, "got oo; try 10.0"),
        ({"least_slope_difference": 1j}, ValueError, "expected a finite least_slope_difference"),
        ({"least_slope_difference": X}, ValueError, "finite least_slope_difference, got x"),
        ({"least_slope_difference": "10"}, TypeError, "a number, got str"),
        ({"least_slope_difference": None}, TypeError, "a number, got NoneType"),
    ],
)
def test_data_that_do_not_fit_are_an_error(changes, error, words):
    arguments = {"answer": BASE, "target": BASE, "points": POINTS, "least_slope_difference": 1.0}
    with pytest.raises(error, match=words):
        check_same_data(**(arguments | changes))


def test_the_same_seed_gives_the_same_points_and_no_global_state_moves():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    messages = [same(sp.S.Zero, rng=seed).message for seed in (3, 3, 4)]
    assert messages[0] == messages[1] != messages[2]
    same_data(EVEN)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert zero((0, 8)).domain == ((0.0, 8.0),)


def test_the_checks_need_no_torch():
    code = "import sys; import gradnotes.checks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
