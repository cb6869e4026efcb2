r"""Check an answer to an exercise: say which property fails, and never what the answer is.

Symbolic answers are evaluated at exact fractions, to 50 digits, so that every correct form passes
and a decimal that is nearly right does not. Nothing is simplified, so that a check ends soon.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy as np
import numpy.typing as npt
import sympy as sp

from gradnotes.expressions import DIGITS, check_expression, check_points, check_variables, exactly
from gradnotes.networks import make_generator
from gradnotes.targets import Target

_SAME = sp.Float(10) ** (10 - DIGITS)
_STEP = sp.Rational(1, 10**20)
_SMOOTH = sp.Rational(1, 10**6)
_TRIALS = 24
_LONGEST = 5000
_UNEVALUATED = (sp.Integral, sp.Sum, sp.Product, sp.Limit, sp.Derivative, sp.Subs)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Whether an answer passes, and what to look at where it does not.

    Attributes:
        passed: Whether the answer has every property that is asked for.
        message: One sentence for the reader.

    Example:
        >>> print(CheckResult(passed=False, message="the slope is too small"))
        not yet: the slope is too small
    """

    passed: bool
    message: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'not yet'}: {self.message}"


def check_same_data(
    answer: Target,
    target: Target,
    points: npt.ArrayLike,
    *,
    least_slope_difference: float,
    largest_difference: float | None = None,
) -> CheckResult:
    r"""Check that two targets have equal data and that one is steeper at every point.

    .. math::
        a(x_i) = f(x_i), \quad a'(x_i) \ge f'(x_i) + \delta \quad \text{for all } i,
        \qquad |a(x) - f(x)| \le \varepsilon \quad \text{for all } x

    The answer must have a slope at each point: a kink or a jump there does not pass.

    Args:
        answer: The target a that is checked, of one variable.
        target: The target f that it is compared with, of a variable of the same name.
        points: Training points, float64, shape (n, 1), n >= 1; taken as exact fractions, so that
            0.1 is the float next to a tenth.
        least_slope_difference: The number delta, in units of values over units of points.
        largest_difference: The number epsilon, in units of values, looked at in 20,000 places
            spread over the target's domain; None asks for nothing.

    Returns:
        The result, with the first property that fails and where.

    Raises:
        TypeError: The answer is not a target, or a number is of the wrong type.
        ValueError: The variables differ, the points do not fit, delta is not finite, or epsilon
            is not a finite number above 0.

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
    _check_pair(answer, target)
    least = check_expression(least_slope_difference)
    if not (least.is_number and least.is_real):
        raise ValueError(f"expected a finite least_slope_difference, got {least}; try 10.0")
    if largest_difference is not None:
        largest_difference = _positive(largest_difference)
        if not np.isfinite(target.domain).all():
            raise ValueError(f"expected a target with a finite domain, got {target.domain}")
    rows = check_points(points, 1)
    if len(rows) == 0:
        raise ValueError("expected at least one point, got none; try [[0.0], [1.0]]")
    target.value(rows)  # refuses points outside the target's domain
    fault = _fault_in_form(answer.expression, answer.variables)
    fault = fault or _fault_in_data(answer, target, rows, least)
    said = f"equal data, and steeper by at least {float(least):g} at every point"
    if largest_difference is not None:
        fault = fault or _fault_in_size(answer, target, largest_difference)
        said += f"; nowhere further apart than {largest_difference:g}"
    return CheckResult(passed=not fault, message=fault or said)


def _positive(number) -> float:
    size = check_expression(number)
    if not (size.is_number and size.is_real and 0 < size < sp.oo):
        raise ValueError(f"expected a finite largest_difference above 0, got {number}; try 0.01")
    return float(size)


def _fault_in_size(answer, target, largest) -> str:
    # Equal steps would not see a wave that is zero at each of them.
    places = np.random.default_rng(0).uniform(*target.domain[0], (20_000, 1))
    wanted = target.value(places)
    try:
        apart = np.abs(answer.value(places) - wanted)
    except ValueError:
        return "the answer has no finite real value on the whole domain"
    apart -= 4 * np.finfo(np.float64).eps * (np.abs(wanted) + largest)  # what rounding may add
    if apart.max() > largest:
        differ = f"somewhere the values differ by {apart.max():.3g}"
        return f"{differ}, and at most {largest:g} is asked for"
    return ""


def _check_pair(answer, target):
    for side in (answer, target):
        if not isinstance(side, Target):
            raise TypeError(f"expected a Target, got {type(side).__name__}; try Target(...)")
    if target.dimension != 1:
        raise ValueError(f"expected a target in one variable, got one in {target.variables}")
    (name,) = (variable.name for variable in target.variables)
    if [variable.name for variable in answer.variables] != [name]:
        raise ValueError(
            f"expected an answer in the one variable {name}, got one in {answer.variables}; "
            "try the same symbol"
        )


def _fault_in_data(answer, target, rows, least) -> str:
    """Say at which point a value or a slope is wrong; nothing where all is well."""
    x = sp.Symbol(answer.variables[0].name, real=True)
    own, other = (side.expression.xreplace({side.variables[0]: x}) for side in (answer, target))
    difference, (low, high) = own - other, answer.domain[0]
    points = [sp.Rational(Fraction(point)) for point in rows[:, 0].tolist()]
    number, slope = exactly(difference, [x]), exactly(difference.diff(x), [x])
    for point in points:
        fault = _fault_in_value(number(point) if low <= point <= high else None)
        if fault:
            return f"at {x} = {float(point):g} {fault}"
    for point in points:
        sides = [side for side in (point - _STEP, point + _STEP) if low <= side <= high]
        ends = [number(side) for side in sides]
        quotients = [end and end / (side - point) for end, side in zip(ends, sides, strict=True)]
        fault = _fault_in_slope(slope(point), quotients, least)
        if fault:
            return f"at {x} = {float(point):g} {fault}"
    return ""


def _fault_in_value(apart) -> str:
    if apart is None:
        return "the answer has no finite real value"
    if abs(apart) > _SAME:
        return f"the values differ by {float(apart):.3g}, and they must be equal"
    return ""


def _fault_in_slope(steeper, quotients, least) -> str:
    if steeper is None or None in quotients:
        return "the slope cannot be told; try a formula without a kink or a jump there"
    # A formula of the slope may hold on one side only: quotients on both sides are its witness.
    if any(abs(quotient - steeper) > _SMOOTH * (1 + abs(steeper)) for quotient in quotients):
        return "the answer has a kink or a jump, and so no slope"
    if steeper < least - _SAME:
        differ = f"the slopes differ by {float(steeper):.3g}"
        return f"{differ}, and at least {float(least):g} is asked for"
    return ""


def check_same_expression(
    answer: sp.Expr | float,
    expected: sp.Expr | float,
    variables: sp.Symbol | Sequence[sp.Symbol],
    *,
    rng: int | np.random.Generator = None,
) -> CheckResult:
    r"""Check that two expressions are the same function, whatever their form.

    Both are evaluated to 50 digits at random fractions, half of them in (-1, 1) and half in
    (-4, 4), where the expected one is real; symbols are matched by name. Two analytic functions
    that agree at random points are the same function.

    Args:
        answer: The expression that is checked.
        expected: The expression that it must equal.
        variables: All symbols that the two may use.
        rng: An integer seed or a NumPy generator, which draws the points; required.

    Returns:
        The result; a wrong answer is not told the right one.

    Raises:
        TypeError: An expression is not one of SymPy's or a number, or ``rng`` is missing.
        ValueError: The expected expression has other symbols, or is nowhere real.

    Source: the book's exercises.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> print(check_same_expression(sp.sin(x) ** 2, 1 - sp.cos(x) ** 2, x, rng=0))
        passed: the same function at 24 random points
        >>> print(check_same_expression(sp.sin(x), 1 - sp.cos(x) ** 2, x, rng=0).passed)
        False
    """
    generator = make_generator(rng, "check_same_expression")
    variables = check_variables(variables)
    answer, expected = check_expression(answer), check_expression(expected)
    missing = _other_symbols(expected, variables)
    if missing:
        raise ValueError(f"expected all symbols among the variables, got {variables}, no {missing}")
    fault = _fault_in_form(answer, variables)
    if fault:
        return CheckResult(passed=False, message=fault)
    number = exactly(_by_name(answer, variables), variables)
    for place, right in _places(_by_name(expected, variables), variables, generator):
        left = number(*place)
        where = ", ".join(f"{v} = {p}" for v, p in zip(variables, place, strict=True))
        if left is None:
            return CheckResult(passed=False, message=f"it has no finite real value at {where}")
        if abs(left - right) > _SAME * (1 + abs(right)):
            return CheckResult(passed=False, message=f"it has the wrong value at {where}")
    return CheckResult(passed=True, message=f"the same function at {_TRIALS} random points")


def check_largest(
    answer: sp.Expr | float,
    expression: sp.Expr,
    variable: sp.Symbol,
    domain: tuple[float, float],
    parameters: Mapping[sp.Symbol, tuple[float, float]],
    *,
    rng: int | np.random.Generator = None,
) -> CheckResult:
    r"""Check a formula for the largest size of an expression over an interval.

    .. math:: \max_{a \le x \le b} |f(x; p)| \qquad \text{as an expression in the parameters } p

    The parameters are drawn at random, and the largest size is searched for: on a grid of 2,001
    points, and then closer and closer around each hill on it. A formula that is right to seven
    digits passes. A peak that is narrower than a step of the grid is not found.

    Args:
        answer: The formula that is checked, in the parameters.
        expression: The expression f, smooth in the variable.
        variable: The variable x.
        domain: One pair (low, high), finite.
        parameters: The other symbols, each with a pair (low, high) from which it is drawn.
        rng: An integer seed or a NumPy generator, which draws the parameters; required.

    Returns:
        The result, as in :func:`check_same_expression`.

    Raises:
        TypeError: An expression is not one of SymPy's or a number, or ``rng`` is missing.
        ValueError: The expression has other symbols, or is not finite and real on the domain.

    Source: the book's exercises.

    Example:
        >>> x, a = sp.symbols("x a", real=True)
        >>> wave = a * sp.sin(x) * sp.cos(x)
        >>> print(check_largest(a / 2, wave, x, (0, 3), {a: (1, 2)}, rng=0))
        passed: the largest size in 24 random cases
        >>> print(check_largest(a, wave, x, (0, 3), {a: (1, 2)}, rng=0).passed)
        False
    """
    generator = make_generator(rng, "check_largest")
    names, ranges = check_variables(tuple(parameters)), _ranges(parameters, variable)
    answer, expression = check_expression(answer), check_expression(expression)
    fault = _fault_in_form(answer, names)
    if fault:
        return CheckResult(passed=False, message=fault)
    number = exactly(_by_name(answer, names), names)
    for _ in range(_TRIALS):
        place = [sp.Rational(Fraction(generator.uniform(*pair))) for pair in ranges]
        drawn = dict(zip(parameters, place, strict=True))
        # As floats: NumPy has no root of the large integers that exact fractions bring.
        floats = {parameter: sp.Float(float(value)) for parameter, value in drawn.items()}
        largest = _largest(Target(expression.xreplace(floats), variable, domain))
        value, where = number(*place), ", ".join(f"{p} = {float(v):.4g}" for p, v in drawn.items())
        if value is None:
            return CheckResult(passed=False, message=f"it has no finite real value at {where}")
        if abs(float(value) - largest) > 1e-7 * largest:
            return CheckResult(passed=False, message=f"it is not the largest size at {where}")
    return CheckResult(passed=True, message=f"the largest size in {_TRIALS} random cases")


def _ranges(parameters, variable) -> list[tuple[float, float]]:
    """Give the ranges of the parameters as floats, once they make sense."""
    names = {parameter.name for parameter in parameters}
    pairs = np.array(list(parameters.values()), dtype=np.float64)
    good = pairs.ndim == 2 and pairs.shape[1] == 2 and np.isfinite(pairs).all()
    if not good or not (pairs[:, 0] < pairs[:, 1]).all() or variable.name in names:
        raise ValueError(
            "expected a finite pair (low, high) for each symbol other than the variable, "
            f"got {dict(parameters)}; try {{a: (1, 2)}}"
        )
    return [tuple(pair) for pair in pairs.tolist()]


def _largest(target: Target) -> float:
    """Search the largest size of a target in one variable."""
    grid = target.grid(2001)
    sizes = np.abs(target.value(grid))
    padded = np.concatenate([[-1.0], sizes, [-1.0]])
    hills = np.flatnonzero((sizes >= padded[:-2]) & (sizes >= padded[2:]))
    low, high = grid[np.maximum(hills - 1, 0)], grid[np.minimum(hills + 1, len(grid) - 1)]
    found = float(sizes.max())
    for _ in range(8):  # look ten times closer each time
        places = low + (high - low) * np.linspace(0.0, 1.0, 21)
        heights = np.abs(target.value(places.reshape(-1, 1))).reshape(places.shape)
        found = max(found, float(heights.max()))
        best = np.argmax(heights, axis=1)[:, None]
        low = np.take_along_axis(places, np.maximum(best - 1, 0), axis=1)
        high = np.take_along_axis(places, np.minimum(best + 1, 20), axis=1)
    return found


def check_taylor_coefficient(
    answer: sp.Expr | float,
    expression: sp.Expr,
    variable: sp.Symbol,
    degree: int,
    *,
    rng: int | np.random.Generator = None,
) -> CheckResult:
    r"""Check a coefficient of the Taylor expansion of an expression around 0.

    .. math:: \frac{1}{k!}\, \frac{\partial^k f}{\partial x^k}(0)

    Args:
        answer: The coefficient that is checked, in the other symbols of the expression.
        expression: The expression f that is expanded; it must be smooth at 0.
        variable: The variable x in which it is expanded.
        degree: The power k of x that the coefficient belongs to.
        rng: An integer seed or a NumPy generator, which draws the points; required.

    Returns:
        The result, as in :func:`check_same_expression`.

    Raises:
        TypeError: An expression is not one of SymPy's or a number, or ``rng`` is missing.
        ValueError: The degree is not a whole number, or the coefficient has no other symbol.

    Source: Taylor's theorem; the book's second chapter.

    Example:
        >>> x, a = sp.symbols("x a", real=True)
        >>> print(check_taylor_coefficient(a**2 / 2, sp.exp(a * x), x, 2, rng=0))
        passed: the same function at 24 random points
        >>> check_taylor_coefficient(a**2, sp.exp(a * x), x, 2, rng=0).passed
        False
    """
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ValueError(f"expected a whole degree >= 0, got {degree!r}; try 2")
    coefficient = check_expression(expression).diff(variable, degree).subs(variable, 0)
    others = sorted(coefficient.free_symbols, key=str)
    if not others:
        raise ValueError(f"expected a coefficient with symbols in it, got {coefficient}")
    return check_same_expression(answer, coefficient / sp.factorial(degree), others, rng=rng)


def _places(expected, variables, generator) -> list[tuple[list, sp.Expr]]:
    """Draw places where the expected expression is real, and give its values with them."""
    number, found = exactly(expected, variables), []
    for trial in range(20 * _TRIALS):
        # Odd numerators over a prime: never 0, a whole number or a half.
        numerators = 2 * generator.integers(1, 1009, len(variables)) - 1009
        size = 1 if trial % 2 else 4
        place = [sp.Rational(size * int(numerator), 1009) for numerator in numerators]
        value = number(*place)
        if value is not None:
            found.append((place, value))
        if len(found) == _TRIALS:
            return found
    raise ValueError(
        "expected a right answer that is real on a good part of (-1, 1) and (-4, 4), "
        f"got {expected}; try other variables"
    )


def _other_symbols(expression, variables) -> str:
    names = {symbol.name for symbol in expression.free_symbols}
    return ", ".join(sorted(names - {variable.name for variable in variables}))


def _by_name(expression, variables) -> sp.Expr:
    """Put the variables for the symbols of the same name."""
    by_name = {variable.name: variable for variable in variables}
    return expression.xreplace({s: by_name[s.name] for s in expression.free_symbols})


def _fault_in_form(expression, variables) -> str:
    """Say why an answer cannot be evaluated at all; nothing if it can."""
    if len(list(islice(sp.preorder_traversal(expression), _LONGEST + 1))) > _LONGEST:
        return f"it has more than {_LONGEST} parts; try a shorter form"
    unknown = _other_symbols(expression, variables)
    if unknown:
        return f"it holds {unknown}, expected only {', '.join(map(str, variables))}"
    kinds = sorted(type(part).__name__ for part in expression.atoms(*_UNEVALUATED))
    return f"it holds an unevaluated {kinds[0]}; try .doit() on it" if kinds else ""
