r"""Check an answer to an exercise: say which property fails, and never what the answer is.

Symbolic answers are evaluated exactly, at rational points and to 50 digits, so that every correct
form passes and a decimal that is nearly right does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import sympy as sp

from gradnotes.expressions import check_expression, check_points, check_variables
from gradnotes.targets import Target

_DIGITS = 50
_SAME = sp.Float(10) ** (10 - _DIGITS)
_TRIALS = 12


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Whether an answer passes, and what to look at where it does not.

    Attributes:
        passed: Whether the answer has every property that is asked for.
        message: One sentence for the reader.
    """

    passed: bool
    message: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'not yet'}: {self.message}"


def check_same_data(
    answer: Target, target: Target, points: npt.ArrayLike, *, least_slope_difference: float
) -> CheckResult:
    r"""Check that two targets have equal data and that one is steeper at every point.

    .. math:: a(x_i) = f(x_i), \qquad a'(x_i) \ge f'(x_i) + \delta \qquad \text{for all } i

    Args:
        answer: The target a that is checked, of one variable.
        target: The target f that it is compared with, of the same variable.
        points: Training points, float64, shape (n, 1); taken as exact fractions.
        least_slope_difference: The number delta, in units of values over units of points.

    Returns:
        The result, with the first property that fails and where.

    Raises:
        TypeError: The answer is not a target.
        ValueError: The variables differ, or the points do not fit.

    Source: the book's first chapter.

    Example:
        A pair that is not in the book:

        >>> x = sp.Symbol("x", real=True)
        >>> f, a = Target(x, x, (0, 2)), Target(x + sp.sin(2 * sp.pi * x), x, (0, 2))
        >>> print(check_same_data(a, f, [[0.0], [1.0]], least_slope_difference=6.0))
        passed: equal data, and steeper by at least 6 at every point
        >>> print(check_same_data(f, f, [[0.0], [1.0]], least_slope_difference=6.0))
        not yet: at x = 0 the slopes differ by 0, and at least 6 is asked for
    """
    if not isinstance(answer, Target):
        raise TypeError(f"expected a Target, got {type(answer).__name__}; try Target(...)")
    if answer.variables != target.variables or answer.dimension != 1:
        raise ValueError(
            f"expected a target in the one variable {target.variables[0]}, "
            f"got one in {answer.variables}; try the same symbol"
        )
    rows = check_points(points, 1)[:, 0]
    difference = answer.expression - target.expression
    slope = difference.diff(answer.variables[0])
    for x in rows:
        apart = _exactly(difference, answer.variables, [x])
        if abs(apart) > _SAME:
            said = f"at x = {x:g} the values differ by {float(apart):.3g}, and they must be equal"
            return CheckResult(passed=False, message=said)
    for x in rows:
        steeper = _exactly(slope, answer.variables, [x])
        if steeper < least_slope_difference:
            return CheckResult(
                passed=False,
                message=f"at x = {x:g} the slopes differ by {float(steeper):.3g}, "
                f"and at least {least_slope_difference:g} is asked for",
            )
    said = f"equal data, and steeper by at least {least_slope_difference:g} at every point"
    return CheckResult(passed=True, message=said)


def check_same_expression(
    answer: sp.Expr | float,
    expected: sp.Expr,
    variables: sp.Symbol | Sequence[sp.Symbol],
    *,
    rng: int | np.random.Generator,
) -> CheckResult:
    r"""Check that two expressions are the same function, whatever their form.

    Both are evaluated to 50 digits at random rational points in (0, 1); symbols are matched by
    name. Two analytic functions that agree at random points are the same function.

    Args:
        answer: The expression that is checked.
        expected: The expression that it must equal.
        variables: All symbols that the answer may use.
        rng: An integer seed or a NumPy generator, which draws the points.

    Returns:
        The result; a wrong answer is not told the right one.

    Raises:
        TypeError: The answer is not a SymPy expression or a number.

    Source: the book's exercises.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> print(check_same_expression(sp.sin(x) ** 2, 1 - sp.cos(x) ** 2, x, rng=0))
        passed: the same function at 12 random points
        >>> print(check_same_expression(sp.sin(x), 1 - sp.cos(x) ** 2, x, rng=0).passed)
        False
    """
    variables = check_variables(variables)
    by_name = {variable.name: variable for variable in variables}
    answer = check_expression(answer)
    unknown = {s.name for s in answer.free_symbols} - set(by_name)
    if unknown:
        said = f"it holds {', '.join(sorted(unknown))}, expected only {', '.join(by_name)}"
        return CheckResult(passed=False, message=said)
    answer = answer.xreplace({s: by_name[s.name] for s in answer.free_symbols})
    generator = np.random.default_rng(rng)
    for _ in range(_TRIALS):
        point = [sp.Rational(int(k), 1009) for k in generator.integers(1, 1009, len(variables))]
        left, right = (_exactly(e, variables, point) for e in (answer, expected))
        if not left.is_number or abs(left - right) > _SAME * (1 + abs(right)):
            where = ", ".join(f"{v} = {p}" for v, p in zip(variables, point, strict=True))
            return CheckResult(passed=False, message=f"it has the wrong value at {where}")
    return CheckResult(passed=True, message=f"the same function at {_TRIALS} random points")


def _exactly(expression, variables, point) -> sp.Expr:
    """Evaluate at a point that is taken as exact fractions, to 50 digits."""
    exact = [p if isinstance(p, sp.Basic) else sp.Rational(Fraction(float(p))) for p in point]
    return sp.N(expression.subs(dict(zip(variables, exact, strict=True))), _DIGITS)
