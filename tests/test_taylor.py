"""The expansions: against hand calculations, SymPy's own series, and numbers of the function."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnotes.functions import SinPi
from gradnotes.losses import absolute, huber, kl, log_cosh, logistic, squared
from gradnotes.taylor import expand, expand_loss, general_residual

X, Y, H = sp.symbols("x y u", real=True)
H1, H2 = sp.symbols("u_1 u_2", real=True)
R1, R2, R3 = sp.symbols("r_1 r_2 r_3", real=True)
R10, R01 = sp.symbols("r_10 r_01", real=True)
Z0, Z1, Z2 = sp.symbols("z_0 z_1 z_2", real=True)
Z = Z0 + Z1 * X + Z2 * X**2 / 2
DELTA = sp.Symbol("delta", positive=True)


def sigmoid_derivatives(z):
    """Give the first two derivatives of the sigmoid, from s' = s (1 - s)."""
    s = 1 / (1 + sp.exp(-z))
    return s * (1 - s), s * (1 - s) * (1 - 2 * s)


def same(left, right):
    return sp.simplify(left - right) == 0


# expand


@pytest.mark.parametrize(
    ("expression", "point"),
    [
        (sp.exp(2 * X) * sp.sin(X), 0),
        (1 / (1 + 25 * X**2), sp.Rational(1, 5)),
        (sp.log(1 + sp.exp(X)), sp.log(3)),
        (sp.tanh(X) ** 2, 1),
    ],
)
def test_one_variable_against_the_series_of_sympy(expression, point):
    expansion = expand(expression, X, point, order=4)
    series = sp.series(expression.subs(X, point + H), H, 0, 5).removeO()
    assert same(expansion.polynomial, series)
    for degree, term in enumerate(expansion.terms):
        assert same(term.subs(H, 2 * H), 2**degree * term)


def test_two_variables_against_a_line_through_the_point():
    expression = sp.exp(X * Y) * sp.cos(X - 2 * Y)
    point = (sp.Rational(1, 2), sp.Rational(1, 4))
    t = sp.Symbol("t")
    along = expression.subs({X: point[0] + t * H1, Y: point[1] + t * H2}, simultaneous=True)
    for degree, term in enumerate(expand(expression, (X, Y), point).terms):
        assert same(term, along.diff(t, degree).subs(t, 0) / sp.factorial(degree))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.fractions(-5, 5, max_denominator=9), min_size=10, max_size=10))
def test_a_cubic_is_its_own_expansion(numbers):
    monomials = [X**i * Y**j for i in range(4) for j in range(4 - i)]
    cubic = sum(sp.Rational(c) * m for c, m in zip(numbers, monomials, strict=True))
    a, b = sp.Rational(1, 3), -2
    expansion = expand(cubic, (X, Y), (a, b))
    moved = cubic.subs({X: a + H1, Y: b + H2}, simultaneous=True)
    assert sp.expand(moved - expansion.polynomial) == 0


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_error_has_the_order_of_the_first_missing_term(order):
    expansion = expand(sp.exp(X) * SinPi(Y), (X, Y), (0, sp.Rational(1, 3)), order=order)
    step = np.array([[0.02, 0.01], [0.01, 0.005]])
    true = np.exp(step[:, 0]) * np.sin(np.pi * (1 / 3 + step[:, 1]))
    errors = np.abs(true - expansion.evaluate(step))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.1)


def test_properties_and_names():
    expansion = expand(X**2 * Y, (X, Y), (0, 0))
    assert expansion.displacements == (H1, H2)
    assert expansion.terms == (0, 0, 0, H1**2 * H2)
    assert expansion.leading_degree == 3
    assert expansion.linear == 0
    assert expand(X**4, X, 0).leading_degree is None
    assert expand(sp.cos(1) ** 2 + sp.sin(1) ** 2 - 1 + X, X, 0).leading_degree == 1
    assert expand(sp.exp(X), X, 0).displacements == (H,)


def test_a_point_may_hold_the_variables():
    assert expand(X + 2 * Y, (X, Y), (Y, 0)).terms == (Y, H1 + 2 * H2, 0, 0)


def test_plain_symbols_do_as_real_ones():
    plain = sp.Symbol("x")
    assert expand(sp.Abs(plain) * plain, plain, -2).terms == (-4, 4 * H, -(H**2), 0)


def test_evaluate_keeps_all_digits_and_shapes():
    expansion = expand(sp.Float(1 / 3) + X * 0.7, X, 0, order=1)
    assert expansion.evaluate([[0.0], [1.0]]).tolist() == [1 / 3, 1 / 3 + 0.7]
    assert expand(5, (X, Y), (0, 0)).evaluate(np.zeros((4, 2))).tolist() == [5.0] * 4
    assert expansion.evaluate(np.empty((0, 1))).shape == (0,)


# Losses


@pytest.mark.parametrize(
    ("loss", "half"),
    [(squared, 1), (huber, 2), (lambda r: huber(r, DELTA), 2), (log_cosh, 2)],
    ids=["squared", "huber", "huber_delta", "log_cosh"],
)
def test_smooth_losses_start_with_the_square_of_the_slope_error(loss, half):
    terms = expand_loss(loss, general_residual(X), X, 0).terms
    assert terms[:2] == (0, 0)
    assert same(terms[2], R1**2 * H**2 / half)
    assert same(terms[3], R1 * R2 * H**3 / half)
    terms = expand_loss(loss, general_residual((X, Y)), (X, Y), (0, 0), order=2).terms
    assert terms[:2] == (0, 0)
    assert same(terms[2], (R10 * H1 + R01 * H2) ** 2 / half)


def test_log_cosh_has_minus_one_twelfth_at_degree_four():
    term = expand_loss(log_cosh, general_residual(X), X, 0, order=4).terms[4]
    assert same(term, H**4 * (R1 * R3 / 6 + R2**2 / 8 - R1**4 / 12))


def test_huber_is_linear_outside_delta():
    expansion = expand(huber(X, DELTA), X, -3 * DELTA)
    assert same(expansion.polynomial, DELTA * (3 * DELTA - H) - DELTA**2 / 2)
    with pytest.raises(ValueError, match="joint"):
        expand(huber(X, DELTA), X, DELTA)


def test_absolute_starts_with_the_size_of_the_slope_error():
    terms = expand_loss(absolute, general_residual((X, Y)), (X, Y), (0, 0), order=1).terms
    assert terms == (0, sp.Abs(R10 * H1 + R01 * H2))
    residual = -3 * X**2 + X**3
    expansion = expand_loss(absolute, residual, X, 0)
    step = np.array([[0.1], [-0.1], [0.01]])
    true = np.abs(-3 * step**2 + step**3)[:, 0]
    np.testing.assert_allclose(expansion.evaluate(step), true, rtol=1e-14)
    assert expansion.leading_degree == 2
    assert expand_loss(absolute, X**5, X, 0).terms == (0, 0, 0, 0)


def test_kl_with_a_target_logit_that_depends_on_x():
    terms = expand_loss(lambda r: kl(r, Z), general_residual(X), X, 0).terms
    first, second = sigmoid_derivatives(Z0)
    assert terms[:2] == (0, 0)
    assert same(terms[2], first * R1**2 * H**2 / 2)
    # By hand: s'(z) r^2 / 2 - s''(z) r^3 / 6, with z = z_0 + z_1 h and r = r_1 h + r_2 h^2 / 2.
    cubic = first * R1 * R2 / 2 + second * (Z1 * R1**2 / 2 - R1**3 / 6)
    assert same(terms[3], cubic * H**3)


def test_kl_is_the_divergence_of_two_probabilities():
    z, r = np.random.default_rng(5).normal(size=(2, 20))
    q, p = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(r - z))
    true = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    got = [float(kl(sp.Float(b), sp.Float(a))) for a, b in zip(z, r, strict=True)]
    np.testing.assert_allclose(got, true, rtol=1e-12, atol=1e-15)


def test_logistic_keeps_a_linear_term():
    terms = expand(logistic(Z), X, 0, order=2).terms
    wrong = 1 / (1 + sp.exp(Z0))
    assert same(terms[1], -wrong * Z1 * H)
    assert same(terms[2], H**2 / 2 * (wrong * (1 - wrong) * Z1**2 - wrong * Z2))
    assert expand(logistic(Z0 + X**2), X, 0).linear == 0


def test_general_residual_reads_the_derivatives_back():
    residual = general_residual((X, Y), order=4, name="s")
    for i in range(5):
        for j in range(5 - i):
            want = sp.Symbol(f"s_{i}{j}", real=True) if i + j else 0
            assert sp.diff(residual, X, i, Y, j).subs({X: 0, Y: 0}) == want


# Errors


@pytest.mark.parametrize(
    ("expression", "point", "words"),
    [
        (sp.Abs(X), 0, r"term of degree 1 at the point \(0\) is not defined: .* sign\(x\)"),
        (sp.Abs(X - 2), 2, r"term of degree 1 at the point \(2\)"),
        (sp.Max(X, 0), 0, "Heaviside"),
        (sp.sqrt(X), 0, "term of degree 1"),
        (sp.log(X), 0, "term of degree 0"),
        (sp.sign(X), 0, "DiracDelta"),
        (sp.Function("f")(X), 0, "Derivative"),
        (sp.Piecewise((X, X > 0), (0, True)), 0, "joint x > 0"),
        (sp.Piecewise((X, X > Z0), (0, True)), 0, "substitute numbers first"),
        (sp.Piecewise((X, X > 1)), 0, "no branch"),
    ],
)
def test_points_without_derivatives(expression, point, words):
    with pytest.raises(ValueError, match=words):
        expand(expression, X, point)


def test_a_kink_elsewhere_does_no_harm():
    assert expand(sp.Abs(X) + sp.Max(X, 0), X, 1).terms == (2, 2 * H, 0, 0)
    assert expand(sp.Abs(X), X, 0, order=0).terms == (0,)
    ramp = sp.Piecewise((X**2, X > 0), (0, True))
    assert expand(ramp, X, 1).terms == (1, 2 * H, H**2, 0)


def test_a_residual_that_does_not_vanish():
    words = r"zero at the point \(0,\), got 2; try expand\(loss\(residual\)"
    for loss in (squared, absolute):
        with pytest.raises(ValueError, match=words):
            expand_loss(loss, X + 2, X, 0)


def test_other_errors():
    with pytest.raises(ValueError, match="whole order >= 0, got -1"):
        expand(X, X, 0, order=-1)
    with pytest.raises(ValueError, match=r"whole order >= 0, got 1\.5"):
        expand(X, X, 0, order=1.5)
    with pytest.raises(ValueError, match="2 coordinates"):
        expand(X, (X, Y), 0)
    with pytest.raises(TypeError, match="SymPy symbols"):
        expand(X, "x", 0)
    with pytest.raises(TypeError, match="got str"):
        expand("x", X, 0)
    with pytest.raises(ValueError, match="kept for displacements"):
        expand(X * H, X, 0)
    with pytest.raises(ValueError, match="order >= 1, got 0"):
        _ = expand(X, X, 0, order=0).linear
    with pytest.raises(ValueError, match=r"the symbols z_0, z_1; substitute numbers first"):
        expand(Z0 + Z1 * X, X, 0).evaluate([[0.1]])
    with pytest.raises(ValueError, match=r"shape \(n, 1\), got \(1,\)"):
        expand(X, X, 0).evaluate([0.1])
    with pytest.raises(ValueError, match="delta > 0, got -1"):
        huber(X, -1)
    with pytest.raises(ValueError, match="order from 1 to 9, got 0"):
        general_residual(X, order=0)


@pytest.mark.parametrize("function", [sp.ceiling, sp.floor, lambda x: sp.Mod(x, 1)])
def test_a_factor_zero_does_not_hide_a_jump(function):
    with pytest.raises(ValueError, match=r"term of degree 1 .* is not defined"):
        expand(X * function(X), X, 0, order=1)


def test_a_point_is_finite():
    for point in (sp.oo, -sp.oo, sp.nan, sp.zoo):
        with pytest.raises(ValueError, match="expected a finite point, got"):
            expand(sp.exp(-X), X, point)


def test_two_symbols_of_one_name():
    plain = sp.Symbol("x")
    for expression, variable in ((X**2, plain), (plain**2 + X, X)):
        with pytest.raises(ValueError, match="two different symbols are named x"):
            expand(expression, variable, 1)
    with pytest.raises(ValueError, match=r"r_\.\.\. are kept for derivatives; try another name"):
        general_residual(sp.Symbol("r_1", real=True))


def test_an_expansion_that_is_not_real_has_no_values():
    with pytest.raises(ValueError, match=r"finite real values of .* complex"):
        expand(sp.I * X, X, 0).evaluate([[1.0]])
    with pytest.raises(ValueError, match="smaller displacements"):
        expand(sp.exp(X), X, 0).evaluate([[1.0], [1e200]])
