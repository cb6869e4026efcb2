r"""Expressions and points: what everything else checks first, and how formulas become functions."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import sympy as sp
from sympy.printing.numpy import NumPyPrinter

FloatArray = npt.NDArray[np.float64]


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
    if not isinstance(result, sp.Expr) or result.is_Matrix:
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
