import mpmath
import pytest
import sympy as sp

from gradnotes.expressions import DIGITS, exactly

X = sp.Symbol("x", real=True)
HIDDEN = sp.sin(X) ** 2 + sp.cos(X) ** 2 - 1
PLACES = (sp.Rational(3, 1009), sp.Integer(1), sp.Rational(-1, 2))


@pytest.mark.parametrize("name", ["sin", "exp", "tanh", "atan", "erf"])
def test_values_have_fifty_digits(name):
    value = exactly(getattr(sp, name)(X) / 3, [X])
    with mpmath.workdps(80):
        for place in PLACES:
            number = mpmath.mpf(place.p) / place.q
            expected = getattr(mpmath, name)(number) / 3
            off = abs(mpmath.mpf(str(value(place).n(70))) - expected)
            assert off < mpmath.mpf(10) ** (1 - DIGITS)


def test_a_decimal_is_the_fraction_of_its_float():
    tenth = exactly(sp.Float(0.1) * X, [X])(sp.Integer(3))
    assert abs(tenth - 3 * sp.Rational(0.1)) < sp.Float(10) ** (1 - DIGITS)
    assert abs(tenth - sp.Rational(3, 10)) > sp.Float(10) ** -17


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        (sp.sqrt(X), -1),
        (1 / X, 0),
        (sp.log(X), 0),
        (sp.gamma(X), 0),
        (sp.loggamma(X - 1), 0),
        (sp.zeta(HIDDEN, X), sp.Rational(-1, 2)),
        (1 / HIDDEN, 1),
        (sp.loggamma(1 / HIDDEN), 1),
        (sp.Max(sp.log(X), 0), -1),
        (sp.Max(HIDDEN, 0, sp.log(X)), -1),
        (sp.Piecewise((1, sp.zeta(X, X) > 0), (0, True)), 1),
        (sp.exp(sp.exp(10 * X)), 10),
        (sp.Integral(sp.Function("g")(X), X), 1),
    ],
    ids=str,
)
def test_what_is_no_finite_real_number_is_none(expression, place):
    assert exactly(expression, [X])(sp.Rational(place)) is None


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_extremes_of_zeros_that_sympy_does_not_see(place):
    for expression, expected in (
        (sp.Max(HIDDEN, 0), 0),
        (sp.Max(HIDDEN, -1), 0),
        (sp.Min(HIDDEN, -1) + X, place - 1),
        (sp.Max(sp.Min(HIDDEN, 1), X, HIDDEN - 1), max(place, 0)),
    ):
        assert abs(exactly(expression, [X])(place) - expected) < sp.Float(10) ** (10 - DIGITS)
