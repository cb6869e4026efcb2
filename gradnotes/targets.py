r"""Targets: a function with its exact derivatives and its domain.

A target is a SymPy expression, its variables and a box. Its derivatives are taken symbolically and
evaluated with NumPy, in float64, so that they are exact up to round-off.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import sympy as sp

from gradnotes.expressions import (
    FloatArray,
    check_expression,
    check_points,
    check_variables,
    compiled,
    real_symbols,
)
from gradnotes.functions import SinPi

_QUANTITIES = ("value", "gradient", "Hessian")


def _nan_at_zero(function: Callable) -> Callable:
    """Give a step function that has no value at its step, so that a kink has no slope."""
    return lambda x, *_: np.where(x == 0, np.nan, function(x))


_STEPS = {
    "sign": _nan_at_zero(np.sign),
    "Heaviside": _nan_at_zero(lambda x: np.heaviside(x, 0.5)),
}


def _derivatives(expression: sp.Expr, variables: tuple, order: int) -> list[sp.Expr]:
    """List all the partial derivatives of one order, the last variable fastest."""
    entries = [expression]
    for _ in range(order):
        entries = [entry.diff(variable) for entry in entries for variable in variables]
    for entry in entries:
        if entry.has(sp.Derivative, sp.Subs, sp.DiracDelta, sp.nan, sp.zoo):
            raise ValueError(
                f"expected a smooth expression, but the {_QUANTITIES[order]} of {expression} holds "
                f"{entry}; try an expression that SymPy can differentiate"
            )
    return entries


@lru_cache(maxsize=256)
def _compiled(expression: sp.Expr, variables: tuple, order: int) -> Callable:
    """Compile the partial derivatives of one order to one NumPy function of the columns."""
    real = real_symbols(variables)
    entries = _derivatives(expression.xreplace(real), tuple(real.values()), order)
    try:
        return compiled(tuple(real.values()), entries, _STEPS if order > 0 else {})
    except (NotImplementedError, ValueError) as error:
        raise ValueError(
            f"expected an expression with a NumPy form, got {expression}; try .doit() on it"
        ) from error


def _as_domain(domain, variables: tuple[sp.Symbol, ...]) -> tuple[tuple[float, float], ...]:
    try:
        pairs = np.array(domain, dtype=np.float64)
    except (TypeError, ValueError):
        pairs = np.empty(0)
    if len(variables) == 1 and pairs.shape == (2,):
        pairs = pairs[None]
    if pairs.shape != (len(variables), 2) or not (pairs[:, 0] < pairs[:, 1]).all():
        raise ValueError(
            f"expected one pair (low, high) with low < high for each of {variables}, "
            f"got {domain}; try {((0.0, 1.0),) * len(variables)}"
        )
    return tuple((float(low), float(high)) for low, high in pairs)


def _call(function: Callable, rows: FloatArray, target: "Target") -> list:
    """Evaluate on the columns, with warnings off: the caller looks at the numbers instead."""
    try:
        with np.errstate(all="ignore"):
            columns = function(*rows.T)
    except (NameError, TypeError) as error:
        raise ValueError(f"{target!r} holds a function without a NumPy form: {error}") from error
    if any(np.iscomplexobj(column) for column in columns):
        raise ValueError(f"expected a real function, but {target!r} has complex values")
    return columns


def grid_over(domain: Sequence[tuple[float, float]], per_axis: int) -> FloatArray:
    """Give an equally spaced grid, (per_axis**d, d), edges included, last variable fastest."""
    axes = [np.linspace(low, high, per_axis, dtype=np.float64) for low, high in domain]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


class Target:
    r"""A function of d variables on a box, with its exact gradient and Hessian.

    .. math::
        f : [a_1, b_1] \times \dots \times [a_d, b_d] \to \mathbb{R}, \qquad
        \nabla f, \qquad \nabla^2 f

    Derivatives are symbolic, so the only error is the round-off of evaluating a formula in float64.
    At a kink, where a ``sign`` or ``Heaviside`` in the derivative jumps, the derivative is refused.
    A ``Piecewise`` is differentiated branch by branch: whether its branches join smoothly is for
    the caller to know.

    Args:
        expression: A SymPy expression, or a number.
        variables: A symbol, or a sequence of d different symbols.
        domain: Pairs (low, high), one per variable, low < high, finite or infinite; with one
            variable a single pair will do.

    Attributes:
        expression: The SymPy expression.
        variables: Tuple of d symbols.
        domain: Tuple of d pairs of floats.
        dimension: The number d.

    Raises:
        TypeError: The expression is not a SymPy expression, or a variable is not a symbol.
        ValueError: A free symbol is not a variable, or the domain does not fit.

    Source: the definition of a target in the book.

    Example:
        A target that is not in the book:

        >>> from sympy import exp, symbols
        >>> u, v = symbols("u v", real=True)
        >>> target = Target(u * exp(2 * v), (u, v), ((-1, 1), (0, 3)))
        >>> target.value([[0.5, 0.0]])
        array([0.5])
        >>> target.gradient([[0.5, 0.0]])
        array([[1., 1.]])
        >>> target.hessian([[0.5, 0.0]])
        array([[[0., 2.],
                [2., 2.]]])
    """

    def __init__(
        self,
        expression: sp.Expr | float,
        variables: sp.Symbol | Sequence[sp.Symbol],
        domain: Sequence,
    ):
        self.expression = check_expression(expression)
        self.variables = check_variables(variables)
        self.domain = _as_domain(domain, self.variables)
        self.dimension = len(self.variables)
        extra = self.expression.free_symbols - set(self.variables)
        if extra:
            names = ", ".join(sorted(str(symbol) for symbol in extra))
            raise ValueError(
                f"expected an expression in {self.variables}, got the free symbols {names} too; "
                "try expression.subs(...) or list them as variables"
            )

    def __repr__(self) -> str:
        names = ", ".join(str(variable) for variable in self.variables)
        box = " x ".join(f"[{low:g}, {high:g}]" for low, high in self.domain)
        text = str(self.expression)
        short = text if len(text) <= 60 else text[:57] + "..."
        return f"Target({short}; {names} in {box})"

    def __call__(self, points: npt.ArrayLike) -> FloatArray:
        """Give the values; the same as :meth:`value`."""
        return self.value(points)

    def value(self, points: npt.ArrayLike) -> FloatArray:
        """Give the values f(x) at float64 points (n, d), as an array (n,)."""
        return self._checked(0, points)

    def gradient(self, points: npt.ArrayLike) -> FloatArray:
        """Give the gradients at float64 points (n, d), as an array (n, d)."""
        return self._checked(1, points)

    def hessian(self, points: npt.ArrayLike) -> FloatArray:
        """Give the Hessians at float64 points (n, d), as an array (n, d, d)."""
        return self._checked(2, points)

    def grid(self, per_axis: int) -> FloatArray:
        """Give an equally spaced grid, (per_axis**d, d), edges included, last variable fastest."""
        if not isinstance(per_axis, int | np.integer) or per_axis < 2:
            raise ValueError(f"expected a whole number of points >= 2, got {per_axis!r}; try 11")
        if not np.isfinite(self.domain).all():
            raise ValueError(f"expected a finite domain for a grid, got {self.domain}")
        return grid_over(self.domain, per_axis)

    def __add__(self, other: "Target") -> "Target":
        """Give the sum on the common domain; numbers are sums of the numbers of the two parts."""
        if not isinstance(other, Target):
            return NotImplemented
        if other.variables != self.variables:
            raise ValueError(
                f"expected a target in {self.variables}, got one in {other.variables}; "
                "try the same symbols in both"
            )
        return _Sum(self, other)

    def _checked(self, order: int, points: npt.ArrayLike) -> FloatArray:
        rows = check_points(points, self.dimension)
        self._check_inside(rows)
        # The slope of log(x) at -1 is a number, but log(x) is not: look at the lower orders too.
        for lower in range(order + 1):
            result = self._evaluate(lower, rows)
            self._check_finite(lower, rows, result)
        return result

    def _check_finite(self, order: int, rows: FloatArray, result: FloatArray) -> None:
        bad = ~np.isfinite(result).reshape(len(rows), self.dimension**order).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"the {_QUANTITIES[order]} of {self!r} is not a finite number at {rows[row]} "
                f"(row {row}); try leaving this point out of the points"
            )

    def _check_inside(self, rows: FloatArray) -> None:
        low, high = np.array(self.domain, dtype=np.float64).T
        outside = ((rows < low) | (rows > high)).any(axis=1)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"expected points in the domain {self.domain}, got {rows[row]} in row {row}; "
                "try a target with a larger domain"
            )

    def _evaluate(self, order: int, rows: FloatArray) -> FloatArray:
        n, d = rows.shape
        columns = _call(_compiled(self.expression, self.variables, order), rows, self)
        result = np.empty((n, d**order), dtype=np.float64)
        for j, column in enumerate(columns):
            result[:, j] = column
        return result.reshape((n,) + (d,) * order)


class _Sum(Target):
    """A sum whose numbers are the floating-point sums of its parts."""

    def __init__(self, first: Target, second: Target):
        pairs = zip(first.domain, second.domain, strict=True)
        domain = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in pairs]
        super().__init__(first.expression + second.expression, first.variables, domain)
        self._parts = (first, second)

    def _evaluate(self, order: int, rows: FloatArray) -> FloatArray:
        first, second = self._parts
        return first._evaluate(order, rows) + second._evaluate(order, rows)


def zero(domain: tuple[float, float] = (0.0, 8.0)) -> Target:
    """Give the zero function of one variable.

    Args:
        domain: One pair (low, high).

    Returns:
        The target 0 in the variable x.

    Source: the book's first example.

    Example:
        >>> zero().gradient([[0.3]])
        array([[0.]])
    """
    return Target(0, sp.Symbol("x", real=True), domain)


def sinpi(
    frequency: int = 1, amplitude: sp.Expr | float = 1, domain: tuple[float, float] = (0.0, 8.0)
) -> Target:
    r"""Give a sine that is exactly zero at the integers.

    .. math:: f(x) = A \sin(\pi k x), \qquad f'(j) = A \pi k (-1)^{kj} \text{ at integers } j

    Args:
        frequency: The whole number k >= 1, in half-turns per unit of x.
        amplitude: The number A.
        domain: One pair (low, high).

    Returns:
        The target in the variable x.

    Raises:
        ValueError: The frequency is not a whole number >= 1.

    Source: the book's first example.

    Example:
        >>> target = sinpi(5, amplitude=3)
        >>> target.value([[1.0], [7.0]])
        array([0., 0.])
    """
    check_frequency(frequency)
    x = sp.Symbol("x", real=True)
    return Target(amplitude * SinPi(frequency * x), x, domain)


def check_frequency(frequency: int) -> None:
    """Refuse a frequency that is not a whole number >= 1.

    Example:
        >>> check_frequency(0)
        Traceback (most recent call last):
        ValueError: expected a whole frequency >= 1, got 0; try frequency=1
    """
    whole = isinstance(frequency, int | np.integer | sp.Integer) and frequency is not True
    if not whole or frequency < 1:
        raise ValueError(f"expected a whole frequency >= 1, got {frequency!r}; try frequency=1")


def runge(domain: tuple[float, float] = (-1.0, 1.0)) -> Target:
    r"""Give Runge's function.

    .. math:: f(x) = \frac{1}{1 + 25 x^2}

    Args:
        domain: One pair (low, high).

    Returns:
        The target in the variable x.

    Source: Runge (1901).

    Example:
        >>> runge().value([[0.2]])
        array([0.5])
    """
    x = sp.Symbol("x", real=True)
    return Target(1 / (1 + 25 * x**2), x, domain)


def franke() -> Target:
    r"""Give Franke's function, four Gaussian hills on the unit square.

    .. math::
        f(x, y) = \tfrac34 e^{-\frac{(9x-2)^2 + (9y-2)^2}{4}}
        + \tfrac34 e^{-\frac{(9x+1)^2}{49} - \frac{9y+1}{10}}
        + \tfrac12 e^{-\frac{(9x-7)^2 + (9y-3)^2}{4}} - \tfrac15 e^{-(9x-4)^2 - (9y-7)^2}

    Returns:
        The target in the variables x and y.

    Source: Franke (1979).

    Example:
        >>> franke().value([[0.5, 0.5]]).round(6)
        array([0.325762])
    """
    x, y = sp.symbols("x y", real=True)
    first = 3 * sp.exp(-((9 * x - 2) ** 2 + (9 * y - 2) ** 2) / 4) / 4
    second = 3 * sp.exp(-((9 * x + 1) ** 2) / 49 - (9 * y + 1) / 10) / 4
    third = sp.exp(-((9 * x - 7) ** 2 + (9 * y - 3) ** 2) / 4) / 2
    fourth = sp.exp(-((9 * x - 4) ** 2) - (9 * y - 7) ** 2) / 5
    return Target(first + second + third - fourth, (x, y), ((0.0, 1.0), (0.0, 1.0)))


def rosenbrock() -> Target:
    r"""Give Rosenbrock's curved valley, with its minimum 0 at (1, 1).

    .. math:: f(x, y) = (1 - x)^2 + 100 (y - x^2)^2

    Returns:
        The target in the variables x and y, on [-2, 2] x [-1, 3].

    Source: Rosenbrock (1960).

    Example:
        >>> rosenbrock().gradient([[1.0, 1.0], [0.0, 1.0]])
        array([[  0.,   0.],
               [ -2., 200.]])
    """
    x, y = sp.symbols("x y", real=True)
    return Target((1 - x) ** 2 + 100 * (y - x**2) ** 2, (x, y), ((-2.0, 2.0), (-1.0, 3.0)))


def styblinski_tang() -> Target:
    r"""Give the Styblinski-Tang function of two variables, with four valleys.

    .. math:: f(x, y) = \tfrac12 (x^4 - 16 x^2 + 5 x) + \tfrac12 (y^4 - 16 y^2 + 5 y)

    Returns:
        The target in the variables x and y, on [-5, 5] x [-5, 5].

    Source: Styblinski and Tang (1990).

    Example:
        >>> styblinski_tang().gradient([[0.0, 1.0]])
        array([[  2.5, -11.5]])
    """
    x, y = sp.symbols("x y", real=True)
    return Target(sum(v**4 - 16 * v**2 + 5 * v for v in (x, y)) / 2, (x, y), ((-5.0, 5.0),) * 2)


def ackley() -> Target:
    r"""Give Ackley's function of two variables: a funnel with ripples of period 1.

    .. math::
        f(x, y) = 20 + e - 20 \exp\Bigl(-\tfrac15 \sqrt{\tfrac{x^2 + y^2}{2}}\Bigr)
        - \exp\Bigl(\tfrac{\cos 2\pi x + \cos 2\pi y}{2}\Bigr)

    The minimum 0 at the origin is the tip of a cone: there is no gradient there, and none is given.

    Returns:
        The target in the variables x and y, on [-5, 5] x [-5, 5].

    Source: Ackley (1987).

    Example:
        >>> ackley().value([[0.0, 0.0], [1.0, 0.0]]).round(6) + 0.0
        array([0.      , 2.637531])
    """
    x, y = sp.symbols("x y", real=True)
    funnel = 20 * sp.exp(-sp.sqrt((x**2 + y**2) / 2) / 5)
    ripples = sp.exp((sp.cos(2 * sp.pi * x) + sp.cos(2 * sp.pi * y)) / 2)
    return Target(20 + sp.E - funnel - ripples, (x, y), ((-5.0, 5.0), (-5.0, 5.0)))


def beale() -> Target:
    r"""Give Beale's function, flat in the middle and steep in the corners, with minimum 0.

    .. math::
        f(x, y) = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2

    Returns:
        The target in the variables x and y, on [-4.5, 4.5] x [-4.5, 4.5].

    Source: Beale (1958).

    Example:
        >>> beale().value([[3.0, 0.5]]), beale().gradient([[0.0, 1.0]])
        (array([0.]), array([[0., 0.]]))
    """
    x, y = sp.symbols("x y", real=True)
    terms = (sp.Rational(3, 2), sp.Rational(9, 4), sp.Rational(21, 8))
    total = sum((a - x + x * y ** (k + 1)) ** 2 for k, a in enumerate(terms))
    return Target(total, (x, y), ((-4.5, 4.5), (-4.5, 4.5)))


def booth() -> Target:
    r"""Give Booth's function, a quadratic with its minimum 0 at (1, 3).

    .. math:: f(x, y) = (x + 2y - 7)^2 + (2x + y - 5)^2

    Returns:
        The target in the variables x and y, on [-10, 10] x [-10, 10].

    Source: recalled from collections of test functions; Jamil and Yang (2013) have it.

    Example:
        >>> booth().gradient([[1.0, 3.0], [0.0, 0.0]])
        array([[  0.,   0.],
               [-34., -38.]])
    """
    x, y = sp.symbols("x y", real=True)
    return Target((x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2, (x, y), ((-10.0, 10.0),) * 2)


def bukin() -> Target:
    r"""Give Bukin's function number 6: a curved valley whose floor is a kink.

    .. math:: f(x, y) = 100 \sqrt{\lvert y - x^2/100 \rvert} + \lvert x + 10 \rvert / 100

    Towards the floor the slope grows like one over the root of the distance: it has no bound, and
    the integral of its square is infinite. On the floor, and where x = -10, there is no gradient,
    and none is given; nor is there ever a Hessian, since SymPy makes a delta of the step.

    Returns:
        The target in the variables x and y, on [-15, -5] x [-3, 3].

    Source: recalled from collections of test functions; Jamil and Yang (2013) have it.

    Example:
        >>> bukin().value([[-10.0, 1.0], [-10.0, 0.0]]), bukin().gradient([[-5.0, 2.5]])
        (array([  0., 100.]), array([[ 3.34333333, 33.33333333]]))
    """
    x, y = sp.symbols("x y", real=True)
    valley = 100 * sp.sqrt(sp.Abs(y - x**2 / 100))
    return Target(valley + sp.Abs(x + 10) / 100, (x, y), ((-15.0, -5.0), (-3.0, 3.0)))


def mccormick() -> Target:
    r"""Give McCormick's function: a parabola across the diagonal, and a wave along it.

    .. math:: f(x, y) = \sin(x + y) + (x - y)^2 - 1.5 x + 2.5 y + 1

    Returns:
        The target in the variables x and y, on [-1.5, 4] x [-3, 4].

    Source: McCormick (1972), as recalled.

    Example:
        >>> mccormick().gradient([[0.0, 0.0]])
        array([[-0.5,  3.5]])
    """
    x, y = sp.symbols("x y", real=True)
    tilt = -sp.Rational(3, 2) * x + sp.Rational(5, 2) * y + 1
    return Target(sp.sin(x + y) + (x - y) ** 2 + tilt, (x, y), ((-1.5, 4.0), (-3.0, 4.0)))
