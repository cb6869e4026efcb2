r"""SymPy functions whose special values are exact in floating point too.

``SinPi`` and ``CosPi`` vanish exactly where they should, and ``Bump`` is exactly zero outside a
ball. Each carries its NumPy form, so that an expression that holds one compiles like any other.
"""

from functools import lru_cache

import numpy as np
import sympy as sp


def _half_turns(x):
    """Split x into a sign and a remainder: sin(pi x) is sign times sin(pi remainder)."""
    nearest = np.round(x)
    return 1.0 - 2.0 * np.mod(nearest, 2.0), x - nearest


def _numpy_sinpi(x):
    sign, remainder = _half_turns(x)
    # Adding 0.0 turns -0.0 into 0.0 and changes nothing else.
    return sign * np.sin(np.pi * remainder) + 0.0


def _numpy_cospi(x):
    sign, remainder = _half_turns(x)
    return sign * np.sin(np.pi * (0.5 - np.abs(remainder))) + 0.0


class SinPi(sp.Function):
    r"""Sine of pi times a number, exactly zero at the integers.

    .. math:: \mathrm{SinPi}(x) = \sin(\pi x), \qquad \mathrm{SinPi}'(x) = \pi\,\mathrm{CosPi}(x)

    Floating point has no :math:`\pi`, so ``numpy.sin(numpy.pi * 3.0)`` is not zero. The NumPy form
    used by :class:`~gradnotes.targets.Target` subtracts the nearest integer first, which is exact.

    Args:
        x: A SymPy expression or a number, in half-turns.

    Returns:
        The unevaluated sine, or an exact number at an integer or half-integer.

    Source: elementary trigonometry.

    Example:
        >>> from sympy import Rational, sin
        >>> SinPi(7), SinPi(Rational(3, 2))
        (0, -1)
        >>> SinPi(Rational(1, 3)).rewrite(sin)
        sqrt(3)/2
    """

    nargs = 1
    _imp_ = staticmethod(_numpy_sinpi)  # lambdify looks for this name

    @classmethod
    def eval(cls, x):
        """Give the exact number where there is one."""
        x = sp.Rational(x) if x.is_Float else x
        return sp.S.Zero if x.is_integer else CosPi.eval(x - sp.S.Half)

    def fdiff(self, argindex=1):
        """Differentiate with respect to the argument."""
        return sp.pi * CosPi(self.args[0])

    def _eval_rewrite_as_sin(self, x, **hints):
        return sp.sin(sp.pi * x)

    def _eval_evalf(self, prec):
        return sp.sin(sp.pi * self.args[0])._eval_evalf(prec)

    def _eval_is_real(self):
        return self.args[0].is_real or None


class CosPi(sp.Function):
    r"""Cosine of pi times a number, exactly zero at the half-integers.

    .. math:: \mathrm{CosPi}(x) = \cos(\pi x), \qquad \mathrm{CosPi}'(x) = -\pi\,\mathrm{SinPi}(x)

    Args:
        x: A SymPy expression or a number, in half-turns.

    Returns:
        The unevaluated cosine, or an exact number at an integer or half-integer.

    Source: elementary trigonometry.

    Example:
        >>> from sympy import Rational, Symbol
        >>> CosPi(7), CosPi(Rational(3, 2))
        (-1, 0)
        >>> z = Symbol("z", real=True)
        >>> CosPi(5 * z).diff(z)
        -5*pi*SinPi(5*z)
    """

    nargs = 1
    _imp_ = staticmethod(_numpy_cospi)

    @classmethod
    def eval(cls, x):
        """Give the exact number where there is one."""
        if x is sp.nan:
            return sp.nan
        x = sp.Rational(x) if x.is_Float else x
        if x.is_integer:
            return sp.S.NegativeOne**x
        if x.is_Rational and x.q == 2:
            return sp.S.Zero
        return None

    def fdiff(self, argindex=1):
        """Differentiate with respect to the argument."""
        return -sp.pi * SinPi(self.args[0])

    def _eval_rewrite_as_cos(self, x, **hints):
        return sp.cos(sp.pi * x)

    def _eval_evalf(self, prec):
        return sp.cos(sp.pi * self.args[0])._eval_evalf(prec)

    def _eval_is_real(self):
        return self.args[0].is_real or None


@lru_cache
def _bump_coefficients(order: int) -> tuple[int, ...]:
    """Give the coefficients of P_k, constant first."""
    t = sp.Symbol("t")
    polynomial = sp.Poly(1, t)
    for _ in range(order):
        polynomial = t**2 * (polynomial.diff(t) - polynomial)
    return tuple(int(c) for c in reversed(polynomial.all_coeffs()))


def _bump_expression(w: sp.Expr, order: int) -> sp.Expr:
    t = 1 / (1 - w)
    return sum(c * t**j for j, c in enumerate(_bump_coefficients(order))) * sp.exp(-w * t)


def _numpy_bump(w, order=0):
    w = np.asarray(w, dtype=np.float64)
    inner = np.where(w >= 1.0, 0.0, w)
    # At t = 1000 the exponential is already 0.0; the cap keeps the polynomial finite.
    t = np.minimum(1.0 / (1.0 - inner), 1000.0)
    series = np.polynomial.polynomial.polyval(t, np.array(_bump_coefficients(order), np.float64))
    return np.where(w >= 1.0, 0.0, series * np.exp(-inner * t))


class Bump(sp.Function):
    r"""The smooth bump of a squared distance, or one of its derivatives.

    .. math::
        \mathrm{Bump}(w) = \exp\Bigl(1 - \frac{1}{1 - w}\Bigr) \text{ for } w < 1,
        \qquad 0 \text{ for } w \ge 1

    With :math:`w = |x - c|^2 / \rho^2` it is the standard infinitely smooth bump around :math:`c`:
    one at the centre, zero outside the ball of radius :math:`\rho`. The derivative of order
    :math:`k` is :math:`P_k(t)\,e^{1 - t}` with :math:`t = 1/(1 - w)`, :math:`P_0 = 1` and
    :math:`P_{k+1} = t^2 (P_k' - P_k)`.

    Args:
        w: A SymPy expression or a number; a squared distance over a squared radius.
        k: The order of the derivative in ``w``, a whole number.

    Returns:
        The unevaluated bump, or an exact number at a number.

    Raises:
        ValueError: The order is not a whole number.

    Source: the standard test function of distribution theory.

    Example:
        >>> from sympy import Rational, Symbol
        >>> Bump(0), Bump(Rational(1, 2)), Bump(2)
        (1, exp(-1), 0)
        >>> z = Symbol("z", real=True)
        >>> Bump(z**2).diff(z)
        2*z*Bump(z**2, 1)
    """

    nargs = (1, 2)
    _imp_ = staticmethod(_numpy_bump)

    @classmethod
    def eval(cls, w, k=None):
        """Give the exact number where there is one."""
        if k is not None and not (k.is_Integer and k >= 0):
            raise ValueError(f"expected a derivative order 0, 1, 2, ..., got {k}; try Bump(w, 1)")
        if k == 0:
            return cls(w)
        if w is sp.nan:
            return sp.nan
        if w.is_Number:
            return sp.S.Zero if w >= 1 else _bump_expression(w, int(k or 0))
        return None

    def fdiff(self, argindex=1):
        """Differentiate with respect to the squared distance."""
        return Bump(self.args[0], self._order() + 1)

    def _order(self):
        return int(self.args[1]) if len(self.args) == 2 else 0

    def _eval_rewrite_as_Piecewise(self, w, k=0, **hints):  # noqa: N802 (SymPy looks up this name)
        return sp.Piecewise((_bump_expression(w, int(k)), w < 1), (0, True))

    def _eval_evalf(self, prec):
        w = self.args[0]
        return self.rewrite(sp.Piecewise)._eval_evalf(prec) if w.is_number else None

    def _eval_is_real(self):
        return self.args[0].is_real or None
