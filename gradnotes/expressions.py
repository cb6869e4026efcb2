r"""Expressions and points: what everything else checks first, and how formulas become functions."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import sympy as sp
from sympy.core.evalf import PrecisionExhausted
from sympy.printing.numpy import NumPyPrinter

FloatArray = npt.NDArray[np.float64]

DIGITS = 50


class _Printer(NumPyPrinter):
    """Print all the digits of a float: SymPy's own printer stops at 15."""

    def _print_Float(self, expr):  # noqa: N802 (SymPy looks up this name)
        return repr(float(expr))


def compiled(symbols: tuple, entries: Sequence[sp.Expr], forms: dict[str, Callable]) -> Callable:
    """Compile expressions to one NumPy function of the symbols; forms replace NumPy functions.

    Example:
        >>> z = sp.Symbol("z", real=True)
        >>> compiled((z,), [z**2, 3 * z], {})(2.0)
        [4.0, 6.0]
    """
    settings = {
        "fully_qualified_modules": False,
        "inline": True,
        "allow_unknown_functions": True,
        "user_functions": {name: name for name in forms},
    }
    modules = [forms, "numpy"]
    # Dummy names for the symbols: one called pi would hide the number.
    options = {"printer": _Printer(settings), "cse": True, "dummify": True}
    return sp.lambdify(symbols, entries, modules, **options)


def exactly(expression: sp.Expr, variables: Sequence[sp.Symbol]) -> Callable:
    """Give a function of exact coordinates: the value to 50 digits, None if not finite and real.

    Example:
        >>> z = sp.Symbol("z", real=True)
        >>> root = exactly(sp.sqrt(z), (z,))
        >>> float(root(sp.Integer(4))), root(sp.Integer(-1))
        (2.0, None)
    """
    # A decimal is the exact fraction of its float; SymPy would round what is near it to 15 digits.
    expression = expression.xreplace({c: sp.Rational(c) for c in expression.atoms(sp.Float)})
    try:
        rough = compiled(tuple(variables), [expression], {})
    except (KeyError, NotImplementedError, SyntaxError, ValueError):
        return lambda *place: None  # it holds what is no number: an infinity, a derivative, ...

    def evaluate(*place) -> sp.Expr | None:
        if _overflows(rough, place):
            return None
        # As a fraction, a power could have a million digits; evalf rounds on the way.
        there = dict(zip(variables, place, strict=True))
        try:
            value = expression.evalf(DIGITS, subs=there, maxn=8 * DIGITS)
            real, imaginary = value.as_real_imag()
            if not (real.is_number and imaginary.is_number and math.isfinite(float(abs(real)))):
                return None
        except (PrecisionExhausted, RecursionError, TypeError, ZeroDivisionError):
            return None  # a jump, a pole, or a comparison that SymPy cannot decide
        except ValueError:  # a pole, or zeros that SymPy does not see, and orders in no Max or Min
            extremes = _extremes(expression, variables, place)
            if not extremes:
                return None
            return exactly(expression.xreplace(extremes), variables)(*place)
        return real if abs(imaginary) <= sp.Float(10) ** (10 - DIGITS) * (1 + abs(real)) else None

    return evaluate


def _extremes(expression, variables, place) -> dict | None:
    """Map each Max and Min to its value at a place, the inner ones first; None if one has none."""
    values = {}
    for part in sp.postorder_traversal(expression):
        if isinstance(part, sp.Max | sp.Min):
            sides = [exactly(side.xreplace(values), variables)(*place) for side in part.args]
            if None in sides:
                return None
            values[part] = (max if isinstance(part, sp.Max) else min)(sides)
    return values


def _overflows(rough, place) -> bool:
    """Tell whether a float64 overflows on the way: 50 digits of such a number can take hours."""
    try:
        with np.errstate(all="ignore", over="raise"):
            rough(*(np.float64(coordinate) for coordinate in place))
    except (FloatingPointError, OverflowError):
        return True
    except (NameError, TypeError, ValueError, ZeroDivisionError):
        return False  # no NumPy form, or no value there: the exact evaluation tells
    return False


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
        flat = array.ndim < 2 or (dimension == 1 and 1 in array.shape)
        hint = f"{name}.reshape(-1, {dimension})" if flat else "a row for each point"
        raise ValueError(f"expected shape (n, {dimension}), got {array.shape}; try {hint}")
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"expected finite {name}, got {array[row]} in row {row}; try dropping it")
    return array


def check_expression(expression: sp.Expr | float) -> sp.Expr:
    """Check that something is a SymPy expression or a number, and return the expression.

    Example:
        >>> check_expression(0.5) + sp.Rational(1, 2)
        1.00000000000000
    """
    try:
        result = sp.sympify(expression, strict=True)
    except sp.SympifyError:
        result = None
    if not isinstance(result, sp.Expr) or result.is_Matrix:
        raise TypeError(
            f"expected a SymPy expression or a number, got {type(expression).__name__}; "
            "try an expression in SymPy symbols, such as sympy.sin(x)"
        )
    return result


def check_variables(variables: sp.Symbol | Sequence[sp.Symbol]) -> tuple[sp.Symbol, ...]:
    """Check that variables are different symbols, plain or real, and return them as a tuple.

    Example:
        >>> check_variables(sp.Symbol("z"))
        (z,)
    """
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
    """Map variables to real symbols, of which SymPy can differentiate an absolute value.

    Example:
        >>> [symbol.is_real for symbol in real_symbols([sp.Symbol("z")]).values()]
        [True]
    """
    return {variable: sp.Symbol(variable.name, real=True) for variable in variables}
