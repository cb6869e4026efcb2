"""The functions with exact special values: against 30 digits, and exact where it is claimed."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnotes.functions import Bump, CosPi, SinPi
from gradnotes.targets import Target

X, Y = sp.symbols("x y", real=True)


def exact(expression, variables, point):
    """Evaluate with 30 digits at the exact value of a float point."""
    place = {v: sp.Rational(float(c)) for v, c in zip(variables, point, strict=True)}
    return float(sp.N(expression.subs(place), 30))


SINE, COSINE = (Target(function(X), X, (-1e19, 1e19)) for function in (SinPi, CosPi))


def is_plain_zero(number):
    return number == 0.0 and not np.signbit(number)


@given(st.integers(-(2**62), 2**62).map(float), st.integers(-(2**51), 2**51))
def test_sinpi_and_cospi_are_exact_at_integers_and_half_integers(x, j):
    assert is_plain_zero(SINE.value([[x]])[0])
    assert COSINE.value([[x]])[0] == (-1.0 if int(x) % 2 else 1.0)
    assert is_plain_zero(COSINE.value([[j + 0.5]])[0])
    assert SINE.value([[j + 0.5]])[0] == (-1.0 if j % 2 else 1.0)


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e6, 1e6))
@pytest.mark.parametrize(("function", "plain"), [(SinPi, sp.sin), (CosPi, sp.cos)])
def test_sinpi_and_cospi_agree_with_30_digits(function, plain, x):
    got = Target(function(X), X, (-2e6, 2e6)).value([[x]])[0]
    want = float(sp.N(plain(sp.pi * sp.Rational(x)), 30))
    assert got == pytest.approx(want, rel=4e-16, abs=0)


def test_sympy_numbers_of_sinpi_and_cospi():
    n = sp.Symbol("n", integer=True)
    for j in range(-4, 5):
        half = sp.Rational(j, 2)
        assert SinPi(half) == sp.sin(sp.pi * half)
        assert CosPi(half) == sp.cos(sp.pi * half)
    assert SinPi(n) == 0
    assert CosPi(n) == (-1) ** n
    assert SinPi(0.5) == 1
    assert CosPi(1.5) == 0
    assert SinPi(sp.nan) is sp.nan


def test_forms_of_sinpi_and_cospi():
    third = sp.Rational(1, 3)
    assert SinPi(third).rewrite(sp.sin) == sp.sqrt(3) / 2
    assert CosPi(third).rewrite(sp.cos) == sp.Rational(1, 2)
    assert abs(sp.N(SinPi(third), 30) - sp.sqrt(3) / 2) < 1e-29
    assert abs(CosPi(third).evalf(30) - 0.5) < 1e-29
    assert SinPi(2 * X).diff(X) == 2 * sp.pi * CosPi(2 * X)
    assert CosPi(2 * X).diff(X) == -2 * sp.pi * SinPi(2 * X)
    assert SinPi(X).is_real


@pytest.mark.parametrize("order", range(5))
def test_bump_derivatives_agree_with_plain_differentiation(order):
    w = sp.Symbol("w")
    plain = sp.diff(sp.exp(1 - 1 / (1 - w)), w, order)
    points = np.array([-1.0, 0.0, 0.1, 0.5, 0.75, 0.9, 0.97])
    got = Target(Bump(X, order), X, (-2, 2)).value(points[:, None])
    want = [exact(plain, (w,), [p]) for p in points]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=0)
    third = sp.Rational(1, 3)
    assert sp.simplify(Bump(third, order) - plain.subs(w, third)) == 0


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 12])
def test_bump_is_zero_at_its_edge_and_beyond(order):
    target = Target(Bump(X, order), X, (-2, 2e300))
    edge = [[1 - 2.0**-53], [1 - 1e-9], [1.0], [1 + 2.0**-52], [7.0], [1e300]]
    np.testing.assert_array_equal(target.value(edge), np.zeros(6))
    assert Bump(1, order) == 0


def test_bump_in_sympy():
    assert Bump(0) == 1
    assert Target(Bump(X), X, (-1, 1)).value([[0.0]])[0] == 1.0
    assert Bump(X, 0) == Bump(X)
    assert Bump(X**2, 2).diff(X) == 2 * X * Bump(X**2, 3)
    assert Bump(X).rewrite(sp.Piecewise).subs(X, sp.Rational(1, 2)) == sp.exp(-1)
    assert Bump(X).rewrite(sp.Piecewise).subs(X, 1) == 0
    assert abs(sp.N(Bump(1 / sp.sqrt(2)), 20) - sp.exp(1 - 1 / (1 - 1 / sp.sqrt(2)))) < 1e-18
    with pytest.raises(ValueError, match=r"order 0, 1, 2, ..., got 1/2"):
        Bump(X, sp.Rational(1, 2))
