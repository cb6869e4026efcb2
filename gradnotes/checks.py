r"""Check an answer to an exercise: say which property fails, and never what the answer is.

Symbolic answers are evaluated at exact fractions, to 50 digits, so that every correct form passes
and a decimal that is nearly right does not. Nothing is simplified, so that a check ends soon. An
answer that is still ``...``, or of another kind than is asked for, does not pass, and is no error.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt
import sympy as sp

from gradnotes.arguments import make_generator
from gradnotes.expressions import DIGITS, check_expression, check_points, check_variables, exactly
from gradnotes.targets import Target

_SAME = sp.Float(10) ** (10 - DIGITS)
_SLACK = sp.Rational(1, 10 ** (DIGITS - 10))  # the same, as a fraction
_STEP = sp.Rational(1, 10**20)
_SMOOTH = sp.Rational(1, 10**6)
_TRIALS = 24
_FUNCTIONS = 8
_LONGEST = 5000
_BITS = 10_000
_UNEVALUATED = (sp.Integral, sp.Sum, sp.Product, sp.Limit, sp.Derivative, sp.Subs)
_ZERO_SLOPES = ("neither", "left", "right", "both")
_STEPS = (sp.Rational(1, 2**20), sp.Rational(1, 2**30))
_PLACES = 100  # digits in which differences of nearby values are taken


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


_BLANK = CheckResult(passed=False, message="there is no answer yet")
_NEARLY = 1e-9
_ROUNDED = "; is a number in it rounded? Python rounds 1/3: try sympy.Rational(1, 3)"


def check_same_data(
    answer: Target,
    target: Target,
    points: npt.ArrayLike | Sequence[sp.Rational | Fraction],
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
            0.1 is the float next to a tenth. Or a list of n fractions, SymPy's or Python's.
        least_slope_difference: The number delta, in units of values over units of points.
        largest_difference: The number epsilon, in units of values, looked at in 20,000 places
            spread over the target's domain, for which the answer must be a formula in real
            numbers; None asks for nothing.

    Returns:
        The result, with the first property that fails and where.

    Raises:
        TypeError: The target is none, or a number is of the wrong type.
        ValueError: The target has more than one variable, the points do not fit, delta is not
            finite, or epsilon is not a finite number above 0.

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
    if answer is ...:
        return _BLANK
    fault = _fault_in_pair(answer, target)
    if fault:
        return CheckResult(passed=False, message=fault)
    least = check_expression(least_slope_difference)
    if not (least.is_number and least.is_real):
        raise ValueError(f"expected a finite least_slope_difference, got {least}; try 10.0")
    if largest_difference is not None:
        largest_difference = _positive(largest_difference)
        if not np.isfinite(target.domain).all():
            raise ValueError(f"expected a target with a finite domain, got {target.domain}")
    exact = _exact_points(points)
    if len(exact) == 0:
        raise ValueError("expected at least one point, got none; try [[0.0], [1.0]]")
    # Refuses points outside the target's domain.
    target.value(np.array([[float(point)] for point in exact]))
    fault = _fault_in_form(answer.expression, answer.variables)
    fault = fault or _fault_in_data(answer, target, exact, least)
    said = f"equal data, and steeper by at least {float(least):g} at every point"
    if largest_difference is not None:
        fault = fault or _fault_in_size(answer, target, largest_difference)
        said += f"; nowhere further apart than {largest_difference:g}"
    return CheckResult(passed=not fault, message=fault or said)


def _exact_points(points) -> list[sp.Rational]:
    """Give the points of a line as exact fractions, whether they came as such or as floats."""
    exact = isinstance(points, Sequence) and len(points) > 0
    if exact and all(isinstance(point, int | Fraction | sp.Rational) for point in points):
        return [sp.Rational(point) for point in points]
    return [sp.Rational(Fraction(point)) for point in check_points(points, 1)[:, 0].tolist()]


def _positive(number) -> float:
    size = check_expression(number)
    if not (size.is_number and size.is_real and 0 < size < sp.oo):
        raise ValueError(f"expected a finite largest_difference above 0, got {number}; try 0.01")
    return float(size)


def _fault_in_size(answer, target, largest) -> str:
    ((low, high),) = target.domain
    if not answer.domain[0][0] <= low < high <= answer.domain[0][1]:
        return "the answer has no finite real value on the whole domain"
    # Equal steps would not see a wave that is zero at each of them.
    places = np.random.default_rng(0).uniform(low, high, (20_000, 1))
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


def _fault_in_pair(answer, target) -> str:
    if not isinstance(target, Target):
        raise TypeError(f"expected a Target, got {type(target).__name__}; try Target(...)")
    if target.dimension != 1:
        raise ValueError(f"expected a target in one variable, got one in {target.variables}")
    if not isinstance(answer, Target):
        return f"expected a Target, got {type(answer).__name__}; try Target(...)"
    (name,) = (variable.name for variable in target.variables)
    if [variable.name for variable in answer.variables] != [name]:
        found = ", ".join(variable.name for variable in answer.variables)
        return f"expected a target in the one variable {name}, got one in {found}"
    return ""


def _fault_in_data(answer, target, points, least) -> str:
    """Say at which point a value or a slope is wrong; nothing where all is well."""
    x = sp.Symbol(answer.variables[0].name, real=True)
    own, other = (side.expression.xreplace({side.variables[0]: x}) for side in (answer, target))
    difference, (low, high) = own - other, answer.domain[0]
    number, slope = exactly(difference, [x]), exactly(_slope(difference, x), [x])
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


def _slope(expression, x) -> sp.Expr:
    """Differentiate, with whole parts as constants; where these jump, quotients are the witness."""
    expression = expression.replace(sp.Mod, lambda p, q: p - q * sp.floor(p / q))
    constants = {part: sp.Dummy(real=True) for part in expression.atoms(sp.floor, sp.ceiling)}
    parts = {constant: part for part, constant in constants.items()}
    return expression.xreplace(constants).diff(x).xreplace(parts)


def _fault_in_value(apart) -> str:
    if apart is None:
        return "the answer has no finite real value"
    if abs(apart) > _SAME:
        nearly = _ROUNDED if abs(apart) < _NEARLY else ""
        return f"the values differ by {float(apart):.3g}, and they must be equal{nearly}"
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
        TypeError: The expected expression is not one of SymPy's or a number, or ``rng`` is missing.
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
    if answer is ...:
        return _BLANK
    variables = check_variables(variables)
    expected = check_expression(expected)
    missing = _other_symbols(expected, variables)
    if missing:
        raise ValueError(f"expected all symbols among the variables, got {variables}, no {missing}")
    answer, fault = _read(answer, variables)
    if fault:
        return CheckResult(passed=False, message=fault)
    number = exactly(_by_name(answer, variables), variables)
    for place, right in _places(_by_name(expected, variables), variables, generator):
        left = number(*place)
        where = ", ".join(f"{v} = {p}" for v, p in zip(variables, place, strict=True))
        if left is None:
            return CheckResult(passed=False, message=f"it has no finite real value at {where}")
        off = abs(left - right) / (1 + abs(right))
        if off > _SAME:
            said = f"it is nearly right at {where}{_ROUNDED}"
            said = said if off < _NEARLY else f"it has the wrong value at {where}"
            return CheckResult(passed=False, message=said)
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
        TypeError: The expression is not one of SymPy's or a number, or ``rng`` is missing.
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
    if answer is ...:
        return _BLANK
    names, ranges = check_variables(tuple(parameters)), _ranges(parameters, variable)
    expression = check_expression(expression)
    answer, fault = _read(answer, names)
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
        TypeError: The expression is not one of SymPy's or a number, or ``rng`` is missing.
        ValueError: The degree is not a whole number, or the expression has no other symbol.

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
    expression = check_expression(expression)
    coefficient = _derivative_at_zero(expression, variable, degree)
    # All of them, or a message would tell which symbols the right answer does without.
    others = sorted(expression.free_symbols - {variable}, key=str)
    if not others:
        raise ValueError(f"expected a coefficient with symbols in it, got {coefficient}")
    return check_same_expression(answer, coefficient / sp.factorial(degree), others, rng=rng)


@lru_cache(maxsize=64)
def _derivative_at_zero(expression, variable, degree) -> sp.Expr:
    """Differentiate; a class asks for the same derivative again and again."""
    return expression.diff(variable, degree).subs(variable, 0)


def check_slope_bound(
    answer: sp.Expr | float,
    variables: Sequence[sp.Symbol],
    *,
    zero_slopes: str,
    factor: sp.Rational | float,
    rng: int | np.random.Generator = None,
) -> CheckResult:
    r"""Check a bound for the slope of a residual between two of its zeros.

    .. math::
        r(a) = r(a + h) = 0, \quad |r''| \le M \quad\Rightarrow\quad
        |r'(a + t h)| \le B(M, h, t), \qquad 0 < t < 1

    The slope of r may be known to be zero at one end or at both as well. For 44 places t, each
    with drawn M and h, the check builds the steepest residual that these conditions allow. Its
    second derivative jumps between M and -M, so that it is integrated exactly, in fractions. The
    bound must be no smaller than that slope, and no larger than ``factor`` times it.

    Args:
        answer: The bound B that is checked, in the three variables.
        variables: The symbols M, h and t, in this order.
        zero_slopes: At which ends the slope is zero too: "neither", "left", "right" or "both".
        factor: How far above the steepest slope the bound may be, above 1.
        rng: An integer seed or a NumPy generator, which draws M and h; required.

    Returns:
        The result, with a place where the bound is too small or too large, and by how much.

    Raises:
        TypeError: The factor is not a number, or ``rng`` is missing.
        ValueError: There are not three variables, or another argument does not fit.

    Source: the book's chapter on what happens between the training points.

    Example:
        A bound that holds, and is twice as large as it need be in the middle:

        >>> M, h, t = sp.symbols("M h t", real=True)
        >>> print(check_slope_bound(M * h / 2, (M, h, t), zero_slopes="neither", factor=2, rng=0))
        passed: at 44 places it holds, and is at most 2 times the steepest slope
        >>> check_slope_bound(M * h / 2, (M, h, t), zero_slopes="neither", factor=1.5, rng=0).passed
        False
    """
    generator = make_generator(rng, "check_slope_bound")
    if answer is ...:
        return _BLANK
    variables, factor = check_variables(variables), check_expression(factor)
    if len(variables) != 3:
        raise ValueError(f"expected three variables, M, h and t, got {variables}")
    if zero_slopes not in _ZERO_SLOPES:
        raise ValueError(f"expected zero_slopes among {_ZERO_SLOPES}, got {zero_slopes!r}")
    if not (factor.is_number and factor.is_real and 1 < factor < sp.oo):
        raise ValueError(f"expected a finite factor above 1, got {factor}; try 1.25")
    factor = sp.Rational(factor) if isinstance(factor, sp.Float) else factor
    answer, fault = _read(answer, variables)
    if fault:
        return CheckResult(passed=False, message=fault)
    number, pieces = exactly(_by_name(answer, variables), variables), _pieces(generator)
    for place in pieces:
        fault = _fault_in_bound(number, place, zero_slopes, factor)
        if fault:
            pairs = zip(variables, place, strict=True)
            where = ", ".join(f"{v} = {float(p):.4g}" for v, p in pairs)
            return CheckResult(passed=False, message=f"at {where} {fault}")
    said = f"it holds, and is at most {_short(factor)} times the steepest slope"
    return CheckResult(passed=True, message=f"at {len(pieces)} places {said}")


def _pieces(generator) -> list[tuple]:
    """Give places all over the piece, ends and middle first, with M and h drawn of all sizes."""
    places = [1, 1008, 505, *range(25, 1008, 24)]
    numerators = generator.integers(1, 1009, (len(places), 2)).tolist()
    units = [sp.Rational(4, 1009) * sp.Integer(1000) ** power for power in (-1, 0, 1)]
    return [
        (units[i % 3] * m, units[i // 3 % 3] * h, sp.Rational(n, 1009))
        for i, (n, (m, h)) in enumerate(zip(places, numerators, strict=True))
    ]


def _short(number) -> str:
    """Write a factor as a short fraction, if it is one."""
    return str(number) if number.is_Rational and number.q < 1000 else f"{float(number):g}"


def _fault_in_bound(number, place, zero_slopes, factor) -> str:
    value, (M, h, t) = number(*place), place
    if value is None:
        return "it has no finite real value"
    low, high = (M * h * sp.Rational(s) for s in _steepest(Fraction(t.p, t.q), zero_slopes))
    if value < low * (1 - _SLACK):
        short = "it is not above 0" if value <= 0 else f"a slope can be {float(low / value):.3g} "
        short += "" if value <= 0 else "times as large"
        fault, hint = f"it is too small: {short}", "may the second derivative jump from M to -M?"
    elif value > factor * high * (1 + _SLACK):
        large = f"{float(value / high):.3g} times the steepest slope"
        fault = f"it is too large: {large}, and at most {_short(factor)} is asked for"
        hint = "what else is known at the ends?"
    else:
        return ""
    doubled = [number(2 * M, h, t), number(M, 2 * h, t)]
    if any(other is None or abs(other - 2 * value) > _SLACK * abs(value) for other in doubled):
        hint = "does it double when M doubles, and when h does, as a slope must here?"
    return f"{fault}; {hint}"


@lru_cache(maxsize=1024)
def _steepest(t: Fraction, zero_slopes: str) -> tuple[Fraction, Fraction]:
    """Enclose the largest slope at t, for M = h = 1, between two neighbouring fractions."""
    left, right = zero_slopes in ("left", "both"), zero_slopes in ("right", "both")
    low, high = Fraction(0), min([Fraction(1)] + left * [t] + right * [1 - t])
    if _least_rise(high, t, left, right) <= 0:
        return high, high
    for _ in range(60):
        middle = (low + high) / 2
        if _least_rise(middle, t, left, right) <= 0:
            low = middle
        else:
            high = middle
    return low, high


def _least_rise(v: Fraction, t: Fraction, left: bool, right: bool) -> Fraction:
    r"""Integrate the lowest slope that is v at t and changes by at most 1 per unit.

    A residual that is zero at both ends has a slope whose integral is zero. Above the lowest slope
    there is one of integral zero just if that of the lowest is not positive.
    """

    def lowest(s):
        return max([v - abs(s - t)] + left * [-s] + right * [s - 1])

    corners = {Fraction(0), t, Fraction(1), *(left * [(t - v) / 2]), *(right * [(1 + t + v) / 2])}
    corners = sorted(corners)
    return sum((b - a) * (lowest(a) + lowest(b)) / 2 for a, b in pairwise(corners))


def check_difference_weights(
    weights: Sequence[sp.Expr | Fraction | float],
    offsets: Sequence[sp.Rational | Fraction | int],
    *,
    order: int,
    rng: int | np.random.Generator = None,
) -> CheckResult:
    r"""Check weights of values that estimate a slope, by the measured order of their error.

    .. math::
        f'(x) = \frac1h \sum_j w_j f(x + o_j h) + O(h^p)

    The error is measured on eight random smooth functions, to 100 digits, at steps so small that
    rounded decimals show.

    Args:
        weights: The numbers w that are checked, one for each offset: a list, or a row or column of
            SymPy's.
        offsets: The different numbers o, in steps; each a whole number or a fraction.
        order: The whole number p >= 1 that is asked for; a higher one passes too.
        rng: An integer seed or a NumPy generator, which draws the functions; required.

    Returns:
        The result, with the order that was measured.

    Raises:
        TypeError: An offset is not a number, or ``rng`` is missing.
        ValueError: The offsets or the order do not fit.

    Source: finite differences; the book's pages on tools.

    Example:
        A difference to both sides, which is not in the book:

        >>> print(check_difference_weights([-0.5, 0.5], [-1, 1], order=2, rng=0))
        passed: the error falls with order 2 on 8 random functions
        >>> print(check_difference_weights([-1, 1], [0, 1], order=2, rng=0))
        not yet: the error falls with order 1, and 2 is asked for; it is not exact for parabolas
    """
    generator = make_generator(rng, "check_difference_weights")
    if isinstance(weights, sp.MatrixBase | sp.Tuple | np.ndarray):
        weights = list(weights)
    if weights is ... or (isinstance(weights, list | tuple) and any(w is ... for w in weights)):
        return _BLANK
    steps = _exact_points(list(offsets))
    if len(set(steps)) < len(steps) or len(steps) < 2:
        raise ValueError(f"expected two different offsets or more, got {offsets}; try [0, 1]")
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"expected a whole order >= 1, got {order!r}; try 2")
    if not isinstance(weights, list | tuple):
        said = f"expected a list of numbers, got {type(weights).__name__}"
        return CheckResult(passed=False, message=said)
    if len(weights) != len(steps):
        said = f"expected {len(steps)} weights, one for each offset, got {len(weights)}"
        return CheckResult(passed=False, message=said)
    numbers = [_number(weight) for weight in weights]
    if None in numbers:
        return CheckResult(passed=False, message="a weight is not a finite real number")
    pairs = list(zip(numbers, steps, strict=True))
    found = float("inf")
    for _ in range(_FUNCTIONS):
        found = min(found, _measured_order(pairs, generator))
        if found < order - 0.01:
            said = f"falls with order {found:.2g}" if found > 0.01 else "does not fall"
            said = f"the error {said}, and {order} is asked for; {_missed(pairs)}"
            return CheckResult(passed=False, message=said)
    said = f"the error falls with order {found:.2g} on {_FUNCTIONS} random functions"
    return CheckResult(passed=True, message=said)


def _number(answer) -> sp.Expr | None:
    """Give a number as a fraction, if it is one, or to 50 digits; None if not finite and real."""
    number, fault = _read(answer, ())
    if fault:
        return None
    if isinstance(number, sp.Float) and not _is_giant(number) and number.is_finite:
        return sp.Rational(number)
    value = exactly(number, ())()
    return number if value is not None and isinstance(number, sp.Rational) else value


def _measured_order(pairs, generator) -> float:
    """Measure the order of an estimated slope on one random function at one random place."""
    u = sp.Symbol("u", real=True)
    numerators = 2 * generator.integers(1, 1009, 4) - 1009
    a, b, c, x = (sp.Rational(int(numerator), 505) for numerator in numerators)
    function, errors = sp.exp(a * u) * sp.cos(b * u + c), []
    slope = function.diff(u).evalf(_PLACES, subs={u: x})
    for h in _STEPS:
        values = [w * function.evalf(_PLACES, subs={u: x + o * h}) for w, o in pairs]
        errors.append(abs(sum(values) / h - slope))
    if errors[1] == 0:
        return float("inf")
    return float(sp.log(errors[0] / errors[1])) / float(sp.log(_STEPS[0] / _STEPS[1]))


def _missed(pairs) -> str:
    """Name the simplest polynomials for which an estimated slope is wrong."""
    kinds = ("constants", "straight lines", "parabolas", "cubics")
    for power, kind in enumerate(kinds):
        off = sum(w * o**power for w, o in pairs) - int(power == 1)
        if abs(off) > _SAME:
            return f"it is not exact for {kind}{_ROUNDED if abs(off) < 1e-6 else ''}"
    return "it is not exact for polynomials of a higher degree"


def check_hidden_wave(
    frequency: sp.Expr | float, points: npt.ArrayLike | Sequence[sp.Rational | Fraction]
) -> CheckResult:
    r"""Check that a wave has slopes at points where its values are zero.

    .. math:: \sin(a x_i) = 0 \quad \text{for all } i, \qquad a \ne 0

    Args:
        frequency: The number a that is checked, in radians per unit of the points.
        points: The points, float64, shape (n, 1), n >= 1, or a list of n fractions, as in
            :func:`check_same_data`.

    Returns:
        The result, with the first point where the wave is not zero.

    Raises:
        TypeError: The points are not float64.
        ValueError: There is no point, or the points do not fit.

    Source: the book's first chapter.

    Example:
        Points that are not in the book:

        >>> print(check_hidden_wave(2 * sp.pi / 5, [0, 5, 10]))
        passed: the wave is zero at all 3 points, and its slope is not
        >>> print(check_hidden_wave(sp.pi / 10, [0, 5, 10]))
        not yet: at x = 5 the wave has the value 1, and it must be zero
    """
    exact = _exact_points(points)
    if len(exact) == 0:
        raise ValueError("expected at least one point, got none; try [0, 1]")
    if frequency is ...:
        return _BLANK
    (number, fault), x = _read(frequency, ()), sp.Symbol("x", real=True)
    if not fault and exactly(number, ())() is None:
        fault = "it is not a finite real number"
    if fault:
        return CheckResult(passed=False, message=fault)
    if abs(exactly(number, ())()) <= _SAME:
        said = "the wave is zero everywhere, and so is its slope"
        return CheckResult(passed=False, message=said)
    value = exactly(sp.sin(number * x), [x])
    for point in exact:
        height = value(point)
        if height is None or abs(height) > _SAME:
            nearly = _ROUNDED if height is not None and abs(height) < _NEARLY else ""
            height = "no finite value" if height is None else f"the value {float(height):.3g}"
            said = f"at x = {float(point):g} the wave has {height}, and it must be zero{nearly}"
            return CheckResult(passed=False, message=said)
    said = f"the wave is zero at all {len(exact)} points, and its slope is not"
    return CheckResult(passed=True, message=said)


def check_first_wrong_step(
    answer: sp.Integer | int, wrong: Sequence[int], steps: int
) -> CheckResult:
    """Check which step of a numbered proof is the first wrong one.

    Args:
        answer: The number of a step that is checked, from 1.
        wrong: The numbers of the steps that do not follow from what stands before them.
        steps: The number of steps.

    Returns:
        The result; one who looks too late or too early is told so, and not where to look.

    Raises:
        ValueError: A wrong step is not a step of the proof, or there is none.

    Source: the book's problem sets.

    Example:
        >>> print(check_first_wrong_step(4, [2, 4], 5))
        not yet: a step before this one does not follow either
        >>> print(check_first_wrong_step(2, [2, 4], 5))
        passed: this step does not follow, and all before it do
    """
    if not wrong or not set(wrong) <= set(range(1, steps + 1)):
        raise ValueError(f"expected wrong steps between 1 and {steps}, got {wrong}; try [1]")
    if answer is ...:
        return _BLANK
    number, fault = _read(answer, ())
    usable = not fault and isinstance(number, sp.Rational | sp.Float) and number.is_finite
    whole = float(number) if usable else None
    if whole not in range(1, steps + 1):
        said = f"expected the number of a step, from 1 to {steps}"
        return CheckResult(passed=False, message=said)
    if whole == min(wrong):
        said = "this step does not follow, and all before it do"
        return CheckResult(passed=True, message=said)
    early = "this step follows from what stands before it"
    late = "a step before this one does not follow either"
    return CheckResult(passed=False, message=late if whole > min(wrong) else early)


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


def _read(answer, variables) -> tuple[sp.Expr | None, str]:
    """Give an answer as an expression, or say why it is none that can be evaluated."""
    try:
        answer = check_expression(answer)
    except TypeError:
        said = f"expected a SymPy expression or a number, got {type(answer).__name__}"
        return None, said
    return answer, _fault_in_form(answer, variables)


def _fault_in_form(expression, variables) -> str:
    """Say why an answer cannot be evaluated at all; nothing if it can."""
    if len(list(islice(sp.preorder_traversal(expression), _LONGEST + 1))) > _LONGEST:
        return f"it has more than {_LONGEST} parts; try a shorter form"
    if any(map(_is_giant, sp.postorder_traversal(expression))):
        return f"it holds a number of more than {_BITS} binary digits; try a smaller one"
    unknown = _other_symbols(expression, variables)
    if unknown:
        wanted = f"only {', '.join(map(str, variables))}" if variables else "a number"
        return f"it holds {unknown}, expected {wanted}"
    kinds = sorted(type(part).__name__ for part in expression.atoms(*_UNEVALUATED))
    return f"it holds an unevaluated {kinds[0]}; try .doit() on it" if kinds else ""


def _is_giant(part) -> bool:
    """Tell whether a number, or a power of numbers, has more digits than one can compute with."""
    if isinstance(part, sp.Rational):
        return max(abs(part.p).bit_length(), part.q.bit_length()) > _BITS
    if isinstance(part, sp.Float):
        return part.is_finite and abs(part._mpf_[2]) > _BITS
    if not (part.is_Pow and part.base.is_number and part.exp.is_number):
        return False
    try:
        base, exponent = abs(complex(part.base)), abs(complex(part.exp))
        return base > 0 and exponent * abs(math.log2(base)) > _BITS
    except OverflowError:
        return True
    except (TypeError, ValueError):
        return False  # it is no number after all, such as an infinity
