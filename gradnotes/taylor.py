r"""Taylor expansions of expressions, and of losses at a point where the values agree.

An expansion is a sum of homogeneous parts, one for each degree. The linear part answers the
question of the book: at a point where a model agrees with its target, a loss of the values that is
smooth in the residual has no linear part, whatever the error of the slope.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import sympy as sp
from sympy.core.relational import Relational

from gradnotes.expressions import (
    FloatArray,
    check_expression,
    check_points,
    check_variables,
    compiled,
    real_symbols,
)
from gradnotes.losses import absolute

Loss = Callable[[sp.Expr], sp.Expr]

_STEPS = (sp.sign, sp.Heaviside)
_NOT_A_NUMBER = (sp.nan, sp.zoo, sp.oo, -sp.oo, sp.AccumBounds)
_NO_DERIVATIVE = (sp.Derivative, sp.Subs, sp.DiracDelta)


@dataclass(frozen=True, kw_only=True)
class Expansion:
    r"""A truncated Taylor expansion, sorted by degree.

    .. math:: f(a + u) = T_0 + T_1(u) + \dots + T_p(u) + o(|u|^p)

    Args:
        variables: Tuple of d symbols.
        point: Tuple of d SymPy numbers or expressions, the point a.
        displacements: Tuple of d real symbols, ``u`` or ``u_1`` to ``u_d``.
        terms: The homogeneous parts, of degree 0 to order.
        order: The highest degree kept, p.

    Source: Taylor's theorem.

    Example:
        An expression that is not in the book:

        >>> z = sp.Symbol("z", real=True)
        >>> expansion = expand(z * sp.exp(z), z, 0)
        >>> expansion.polynomial
        u**3/2 + u**2 + u
        >>> expansion.leading_degree
        1
    """

    variables: tuple[sp.Symbol, ...]
    point: tuple[sp.Expr, ...]
    displacements: tuple[sp.Symbol, ...]
    terms: tuple[sp.Expr, ...]
    order: int

    @property
    def polynomial(self) -> sp.Expr:
        """The sum of the terms."""
        return sp.Add(*self.terms)

    @property
    def linear(self) -> sp.Expr:
        """The term of degree one."""
        if self.order < 1:
            raise ValueError("expected an order >= 1, got 0; try expand(..., order=1)")
        return self.terms[1]

    @property
    def leading_degree(self) -> int | None:
        """The degree of the first term that is not zero; None if all are zero."""
        return next((degree for degree, term in enumerate(self.terms) if term != 0), None)

    def evaluate(self, displacements: npt.ArrayLike) -> FloatArray:
        """Give the values of the polynomial at float64 displacements (n, d), as an array (n,)."""
        rows = check_points(displacements, len(self.displacements))
        extra = self.polynomial.free_symbols - set(self.displacements)
        if extra:
            names = ", ".join(sorted(str(symbol) for symbol in extra))
            raise ValueError(
                f"expected numbers in the expansion, got the symbols {names}; "
                "substitute numbers first"
            )
        with np.errstate(all="ignore"):
            (values,) = compiled(self.displacements, [self.polynomial], {})(*rows.T)
        if np.iscomplexobj(values) or not np.isfinite(values).all():
            raise ValueError(
                f"expected finite real values of {self.polynomial}, got complex or infinite ones; "
                "try a real expression, or smaller displacements"
            )
        return np.broadcast_to(values, len(rows)).astype(np.float64)


def expand(
    expression: sp.Expr | float,
    variables: sp.Symbol | Sequence[sp.Symbol],
    point: sp.Expr | float | Sequence,
    *,
    order: int = 3,
) -> Expansion:
    r"""Expand an expression around a point, by repeated differentiation.

    .. math:: T_k(u) = \sum_{|\alpha| = k} \frac{\partial^\alpha f(a)}{\alpha!}\, u^\alpha

    The result is exact. A step (``sign``, ``Heaviside``) or a joint of a ``Piecewise`` at the very
    point is refused, for there a derivative of the formula need not be one of the function.

    Args:
        expression: A SymPy expression; it may hold other symbols, which stay as they are.
        variables: A symbol, or a sequence of d different symbols.
        point: The d coordinates of the point; with one variable a single number will do.
        order: The highest degree kept, a whole number.

    Returns:
        The expansion, with terms of degree 0 to order.

    Raises:
        TypeError: The expression or a variable is not one of SymPy's.
        ValueError: The order or the point does not fit, or a derivative does not exist.

    Source: Taylor's theorem.

    Example:
        An expression that is not in the book:

        >>> s, t = sp.symbols("s t", real=True)
        >>> expand(sp.exp(s) * sp.cos(t), (s, t), (0, 0), order=2).terms
        (1, u_1, u_1**2/2 - u_2**2/2)
    """
    expression, variables = check_expression(expression), check_variables(variables)
    point = _check_point(point, len(variables))
    if not isinstance(order, int) or order < 0:
        raise ValueError(f"expected a whole order >= 0, got {order!r}; try order=3")
    displacements = _displacements(variables, expression, point)
    real = real_symbols(variables)
    place = dict(zip(real.values(), point, strict=True))
    formula = _active_branches(expression.xreplace(real), place)

    derivatives = {(): formula}
    terms = [_value(formula, place, 0)]
    for degree in range(1, order + 1):
        derivatives = _differentiate(derivatives, tuple(real.values()))
        terms.append(_homogeneous(derivatives, place, displacements, degree))
    return Expansion(
        variables=variables,
        point=point,
        displacements=displacements,
        terms=tuple(terms),
        order=order,
    )


def _check_point(point, dimension: int) -> tuple[sp.Expr, ...]:
    coordinates = point if isinstance(point, list | tuple | np.ndarray | sp.Tuple) else [point]
    if len(coordinates) != dimension:
        raise ValueError(
            f"expected a point with {dimension} coordinates, got {point}; try {(0,) * dimension}"
        )
    point = tuple(check_expression(coordinate) for coordinate in coordinates)
    if any(coordinate.has(*_NOT_A_NUMBER) for coordinate in point):
        raise ValueError(f"expected a finite point, got {point}; try {(0,) * dimension}")
    return point


def _displacements(variables, expression, point) -> tuple[sp.Symbol, ...]:
    count = len(variables)
    names = ["u"] if count == 1 else [f"u_{j}" for j in range(1, count + 1)]
    result = tuple(sp.Symbol(name, real=True) for name in names)
    others = expression.free_symbols - set(variables)
    twins = {symbol.name for symbol in others} & {variable.name for variable in variables}
    if twins:
        raise ValueError(f"two different symbols are named {min(twins)}; try the same one in both")
    used = others.union(*(c.free_symbols for c in point))
    if used & set(result):
        raise ValueError(f"the symbols {result} are kept for displacements; try other names")
    return result


def _differentiate(derivatives: dict, variables: tuple) -> dict:
    """Go from the derivatives of one order, by sorted tuples of indices, to those of the next."""
    order = len(next(iter(derivatives))) + 1
    indices = combinations_with_replacement(range(len(variables)), order)
    return {index: derivatives[index[:-1]].diff(variables[index[-1]]) for index in indices}


def _homogeneous(derivatives: dict, place: dict, displacements: tuple, degree: int) -> sp.Expr:
    parts = []
    for index, derivative in derivatives.items():
        coefficient = _value(derivative, place, degree)
        for j, u in enumerate(displacements):
            power = index.count(j)
            coefficient *= u**power / sp.factorial(power)
        parts.append(coefficient)
    return sp.Add(*parts)


def _value(derivative: sp.Expr, place: dict, degree: int) -> sp.Expr:
    steps = [s for s in derivative.atoms(*_STEPS) if _vanishes(s.args[0], place)]
    value = derivative.subs(place, simultaneous=True)
    # A factor 0 may hide that a derivative is missing, as in x*ceiling(x) at 0.
    missing = derivative.has(sp.Derivative, sp.Subs) or value.has(*_NOT_A_NUMBER, *_NO_DERIVATIVE)
    if (steps and degree > 0) or missing:
        where = ", ".join(str(coordinate) for coordinate in place.values())
        raise ValueError(
            f"the term of degree {degree} at the point ({where}) is not defined: the derivative is "
            f"{derivative}; try another point, or a lower order"
        )
    return _tidy(value)


def _tidy(value: sp.Expr) -> sp.Expr:
    """Bring a coefficient to one factored fraction if that is shorter; a zero reads 0."""
    if value.is_number:
        return sp.S.Zero if value.equals(0) else value
    # Factoring works with exact coefficients only.
    tidied = sp.expand(value) if value.has(sp.Float) else sp.factor(value)
    return min(tidied, value, key=sp.count_ops)


def _vanishes(expression: sp.Expr, place: dict) -> bool:
    value = expression.subs(place, simultaneous=True)
    return bool(value.equals(0)) if value.is_number else value.is_zero is True


def _active_branches(formula: sp.Expr, place: dict) -> sp.Expr:
    """Put for each Piecewise the branch that holds all around the point."""
    return formula.replace(
        lambda part: isinstance(part, sp.Piecewise), lambda part: _branch(part.args, place)
    )


def _branch(pieces: Sequence[tuple], place: dict) -> sp.Expr:
    for branch, condition in pieces:
        for relation in sp.sympify(condition).atoms(Relational):
            if _vanishes(relation.lhs - relation.rhs, place):
                raise ValueError(
                    f"the point {tuple(place.values())} lies on the joint {relation} of a "
                    "Piecewise; try another point, or expand one branch"
                )
        holds = condition.subs(place, simultaneous=True)
        if holds == sp.true:
            return branch
        if holds != sp.false:
            raise ValueError(
                f"cannot tell whether {condition} holds at the point {tuple(place.values())}; "
                "substitute numbers first"
            )
    raise ValueError(f"no branch of a Piecewise holds at the point {tuple(place.values())}")


def expand_loss(
    loss: Loss,
    residual: sp.Expr,
    variables: sp.Symbol | Sequence[sp.Symbol],
    point: sp.Expr | float | Sequence,
    *,
    order: int = 3,
) -> Expansion:
    r"""Expand the loss of a residual around a point where the values agree.

    A loss with :math:`\ell(0) = \ell'(0) = 0` gives

    .. math:: \ell(r(a + u)) = \tfrac12 \ell''(0)\, (\nabla r(a) \cdot u)^2 + O(|u|^3),

    so its linear term is zero whatever the slopes are. The absolute error has no derivative there;
    with :math:`T_m` the leading term of r, what holds for small u with :math:`T_m(u) \ne 0` is

    .. math:: |r(a + u)| = |T_m| + \mathrm{sign}(T_m)\,(T_{m+1} + T_{m+2} + \dots),

    and those are the terms that come back for ``absolute``. A logistic loss has a margin, not a
    residual that vanishes: use ``expand(logistic(margin), variables, point)``.

    Args:
        loss: A function from a SymPy expression to a SymPy expression, such as ``squared``.
        residual: Target minus model, a SymPy expression that is zero at the point.
        variables: A symbol, or a sequence of d different symbols.
        point: The d coordinates of the point; with one variable a single number will do.
        order: The highest degree kept, a whole number.

    Returns:
        The expansion of the loss, with terms of degree 0 to order.

    Raises:
        ValueError: The residual is not zero at the point, or a derivative does not exist.

    Source: Taylor's theorem; the book's chapter on losses of values.

    Example:
        A residual that is not in the book:

        >>> from gradnotes.losses import absolute, squared
        >>> z = sp.Symbol("z", real=True)
        >>> expand_loss(squared, 3 * sp.sin(z), z, 0).terms
        (0, 0, 9*u**2, 0)
        >>> expand_loss(absolute, 3 * z - z**2, z, 0, order=2).terms
        (0, 3*Abs(u), -u**2*sign(u))
    """
    inner = expand(residual, variables, point, order=order)
    if inner.terms[0] != 0:
        raise ValueError(
            f"expected a residual that is zero at the point {inner.point}, got {inner.terms[0]}; "
            "try expand(loss(residual), variables, point)"
        )
    if loss is absolute:
        return _expand_absolute(inner)
    return expand(loss(residual), variables, point, order=order)


def _expand_absolute(inner: Expansion) -> Expansion:
    degree = inner.leading_degree
    if degree is None:
        return inner
    leading = inner.terms[degree]
    later = [sp.sign(leading) * term for term in inner.terms[degree + 1 :]]
    return Expansion(
        variables=inner.variables,
        point=inner.point,
        displacements=inner.displacements,
        terms=(*inner.terms[:degree], sp.Abs(leading), *later),
        order=inner.order,
    )


def general_residual(
    variables: sp.Symbol | Sequence[sp.Symbol], *, order: int = 3, name: str = "r"
) -> sp.Expr:
    r"""Give the general residual that is zero at the origin, with a symbol for each derivative.

    .. math:: r(x) = \sum_{1 \le |\alpha| \le m} \frac{r_\alpha}{\alpha!}\, x^\alpha

    Args:
        variables: A symbol, or a sequence of d different symbols.
        order: The highest degree m, a whole number >= 1.
        name: The letter of the symbols: r_1, r_2, ... in one variable; r_10, r_01, r_20, ... in
            several, where the digits count the derivatives in each variable.

    Returns:
        The polynomial, with real symbols as coefficients.

    Raises:
        ValueError: The order is not a whole number from 1 to 9.

    Source: Taylor's theorem, read backwards.

    Example:
        >>> z = sp.Symbol("z", real=True)
        >>> expand(general_residual(z), z, 0).terms
        (0, r_1*u, r_2*u**2/2, r_3*u**3/6)
    """
    variables = check_variables(variables)
    if not isinstance(order, int) or not 1 <= order <= 9:
        raise ValueError(f"expected a whole order from 1 to 9, got {order!r}; try order=3")
    if any(variable.name.startswith(f"{name}_") for variable in variables):
        raise ValueError(f"the symbols {name}_... are kept for derivatives; try another name")
    parts = []
    for degree in range(1, order + 1):
        for index in combinations_with_replacement(range(len(variables)), degree):
            powers = [index.count(j) for j in range(len(variables))]
            part = sp.Symbol(f"{name}_{''.join(map(str, powers))}", real=True)
            for variable, power in zip(variables, powers, strict=True):
                part *= variable**power / sp.factorial(power)
            parts.append(part)
    return sp.Add(*parts)
