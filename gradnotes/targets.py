r"""Targets: a function with its exact derivatives and its domain.

A target is a SymPy expression, its variables and a box. Its derivatives are taken symbolically and
evaluated with NumPy, in float64, so that they are exact up to round-off. The module also has three
SymPy functions whose NumPy forms take their special values without round-off: ``SinPi`` and
``CosPi``, which vanish exactly where they should, and ``Bump``, which is exactly zero outside a
ball.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import sympy as sp
from sympy.printing.numpy import NumPyPrinter

FloatArray = npt.NDArray[np.float64]

_QUANTITIES = ("value", "gradient", "Hessian")


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
    used by :class:`Target` subtracts the nearest integer first, which is exact.

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
    return compiled(tuple(real.values()), entries, _STEPS if order > 0 else {})


class _Printer(NumPyPrinter):
    """Print all the digits of a float: SymPy's own printer stops at 15."""

    def _print_Float(self, expr):  # noqa: N802 (SymPy looks up this name)
        return repr(float(expr))


def compiled(symbols: tuple, entries: Sequence[sp.Expr], forms: dict[str, Callable]) -> Callable:
    """Compile expressions to one NumPy function of the symbols; forms replace NumPy functions."""
    settings = {
        "fully_qualified_modules": False,
        "inline": True,
        "allow_unknown_functions": True,
        "user_functions": {name: name for name in forms},
    }
    modules = [forms, "numpy"]
    return sp.lambdify(symbols, entries, modules, printer=_Printer(settings), cse=True)


def check_points(points: npt.ArrayLike, dimension: int, *, name: str = "points") -> FloatArray:
    """Check that points are finite float64 rows and return them as an array.

    Args:
        points: Array or nested list of floats, shape (n, dimension).
        dimension: The number of coordinates of a point.
        name: What to call the points in an error.

    Returns:
        The points as an array of shape (n, dimension); an array comes back as it is, not copied.

    Raises:
        TypeError: The numbers are not float64.
        ValueError: The shape is wrong, or a coordinate is NaN or infinite.

    Source: the convention of this package.

    Example:
        >>> check_points([[0.5, 2.0]], 2)
        array([[0.5, 2. ]])
    """
    array = np.asarray(points)
    if array.dtype != np.float64:
        raise TypeError(
            f"expected {name} of dtype float64, got {array.dtype}; try {name}.astype(numpy.float64)"
        )
    if array.ndim != 2 or array.shape[1] != dimension:
        raise ValueError(
            f"expected shape (n, {dimension}), got {array.shape}; "
            f"try {name}.reshape(-1, {dimension})"
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"expected finite {name}, got {array[row]} in row {row}; try dropping it")
    return array


def check_expression(expression: sp.Expr | float) -> sp.Expr:
    """Check that something is a SymPy expression or a number, and return the expression."""
    try:
        result = sp.sympify(expression, strict=True)
    except sp.SympifyError:
        result = None
    if not isinstance(result, sp.Expr):
        raise TypeError(
            f"expected a SymPy expression or a number, got {type(expression).__name__}; "
            "try an expression in SymPy symbols, such as sympy.sin(x)"
        )
    return result


def check_variables(variables: sp.Symbol | Sequence[sp.Symbol]) -> tuple[sp.Symbol, ...]:
    """Check that variables are different symbols, plain or real, and return them as a tuple."""
    result = (variables,) if isinstance(variables, sp.Basic) else tuple(variables)
    if not result or not all(isinstance(variable, sp.Symbol) for variable in result):
        raise TypeError(f"expected SymPy symbols, got {variables!r}; try sympy.symbols('x y')")
    if len({variable.name for variable in result}) < len(result):
        raise ValueError(f"expected variables of different names, got {result}")
    # SymPy rewrites with assumptions: sqrt(x**2) is x for a positive x, whatever the domain.
    usual = [sp.Symbol("x").assumptions0, sp.Symbol("x", real=True).assumptions0]
    for variable in result:
        if variable.assumptions0 not in usual:
            raise ValueError(
                f"expected {variable} to be plain or real, got a symbol with other assumptions; "
                f"try sympy.Symbol('{variable}', real=True)"
            )
    return result


def real_symbols(variables: Sequence[sp.Symbol]) -> dict[sp.Symbol, sp.Symbol]:
    """Map variables to real symbols, of which SymPy can differentiate an absolute value."""
    return {variable: sp.Symbol(variable.name, real=True) for variable in variables}


def _as_domain(domain, variables: tuple[sp.Symbol, ...]) -> tuple[tuple[float, float], ...]:
    pairs = np.array(domain, dtype=np.float64)
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
        axes = [np.linspace(low, high, per_axis, dtype=np.float64) for low, high in self.domain]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dimension)

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
    """Refuse a frequency that is not a whole number >= 1."""
    if not isinstance(frequency, int | np.integer | sp.Integer) or frequency < 1:
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
