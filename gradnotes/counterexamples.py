r"""Counterexamples: functions with the data one likes and the slopes one likes.

Values at finitely many points say nothing about slopes there. Two constructions show it: a pair of
targets that agree in every value at the integer points and differ in every slope, and a target
with any values and any slopes at any finite set of points. Nor do values everywhere say much, if
they are known up to an error: a ripple is as small as one likes, and its slope is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sympy as sp

from gradnotes.expressions import FloatArray, check_expression, check_points, check_variables
from gradnotes.functions import Bump, SinPi
from gradnotes.targets import Target, check_frequency

_EXACT = 2**53  # up to here every whole number is a float


@dataclass(frozen=True, kw_only=True)
class SameDataPair:
    r"""Two targets with the same values, and other slopes, at all the integer points.

    .. math:: \mathrm{second} = \mathrm{first} + \mathrm{ripple}, \qquad
        \mathrm{ripple}(x) = A \sum_j \sin(\pi k x_j)

    Args:
        first: A target.
        second: The first target plus the ripple, computed as a sum of two numbers.
        ripple: A target that is exactly 0.0 at every point with integer coordinates.
        frequency: The whole number k, in half-turns per unit of x.
        amplitude: The number A.

    Source: the book's first example.

    Example:
        A target that is not in the book:

        >>> z = sp.Symbol("z", real=True)
        >>> pair = same_data_pair(Target(sp.exp(z), z, (0, 2)))
        >>> points = pair.points()
        >>> bool((pair.first(points) == pair.second(points)).all())
        True
        >>> pair.slope_difference(points).round(6)
        array([[ 3.141593],
               [-3.141593],
               [ 3.141593]])
    """

    first: Target
    second: Target
    ripple: Target
    frequency: int
    amplitude: sp.Expr

    def points(self) -> FloatArray:
        """Give all the points of the domain with integer coordinates, as an array (n, d)."""
        return _integer_points(self.first.domain)

    def slope_difference(self, points: npt.ArrayLike) -> FloatArray:
        """Give the gradient of second minus first at points (n, d), free of cancellation."""
        return self.ripple.gradient(points)


def ripple(
    half_waves: int | Sequence[int],
    variables: sp.Symbol | Sequence[sp.Symbol],
    domain: Sequence,
    *,
    slope: sp.Expr | float = 1,
) -> Target:
    r"""Give a ripple: a wave of small size and of a slope that does not depend on the size.

    .. math::
        r(x) = \varepsilon \sin(\pi\, q \cdot x) = \varepsilon \sin(k\, v \cdot x / \varepsilon),
        \qquad \varepsilon = \frac{k}{\pi |q|}, \quad v = \frac{q}{|q|}

    Where :math:`q \cdot x` is computed as a whole number, the ripple is exactly 0.0 and its slope
    is exactly :math:`\pm k v`, up to one rounding.

    Args:
        half_waves: The whole numbers q of half-waves per unit of each variable, not all zero; one
            number will do for one variable.
        variables: A symbol, or a sequence of d symbols.
        domain: Pairs (low, high), one per variable.
        slope: The largest slope k, not zero; a negative one turns the ripple over.

    Returns:
        The ripple as a target, whose size is :math:`\varepsilon` without its sign.

    Raises:
        ValueError: The numbers of half-waves do not fit, or the slope is zero or not finite.

    Source: Umang Gupta's answer to question 8080 of the AI Stack Exchange.

    Example:
        A ripple that is not in the book, with two half-waves per unit and slope 3:

        >>> z = sp.Symbol("z", real=True)
        >>> wave = ripple(2, z, (0, 1), slope=3)
        >>> wave.value([[0.0], [0.5]]), wave.gradient([[0.0], [0.5]]).ravel()
        (array([0., 0.]), array([ 3., -3.]))
        >>> round(float(wave.value([[0.25]])[0]), 6)  # 3 / (2 pi)
        0.477465
    """
    names = check_variables(variables)
    counts = _check_half_waves(half_waves, len(names))
    slope = check_expression(slope)
    if not slope.is_number or not slope.is_real or slope.is_zero:
        raise ValueError(f"expected a finite slope other than 0, got {slope}; try 1")
    length = sp.sqrt(sum(count**2 for count in counts))
    phase = sp.Add(*(count * name for count, name in zip(counts, names, strict=True)))
    return Target(slope / (sp.pi * length) * SinPi(phase), names, domain)


def hidden_points(half_waves: int | Sequence[int], domain: Sequence) -> FloatArray:
    r"""Give the grid of all points with whole :math:`q_j x_j`, where a ripple is exactly zero.

    .. math:: x_j = m_j / q_j, \quad m_j \in \mathbb{Z}, \qquad \sin(\pi\, q \cdot x) = 0

    Args:
        half_waves: The numbers q, as in :func:`ripple`, each a power of two, so that the points
            are exact in floating point.
        domain: Pairs (low, high), one per variable, finite.

    Returns:
        The points, shape (n, d), last variable fastest.

    Raises:
        ValueError: A number of half-waves is no power of two, or the domain does not fit.

    Source: the book's chapter on ripples.

    Example:
        >>> hidden_points(2, (0, 1)).ravel()
        array([0. , 0.5, 1. ])
        >>> hidden_points((1, 2), ((0, 1), (0, 1))).shape
        (6, 2)
    """
    counts = _check_half_waves(half_waves)
    if any(count < 1 or count & (count - 1) for count in counts):
        raise ValueError(f"expected powers of two, got {half_waves!r}; try 1, 2, 4, 8 and so on")
    box = Target(0, _variables(len(counts)), domain).domain
    stretched = [(low * n, high * n) for (low, high), n in zip(box, counts, strict=True)]
    reach = np.abs(stretched).max()
    if _EXACT < reach < np.inf:
        raise ValueError(
            f"expected fewer half-waves, got {reach:.3g} of them; try {counts[0] // 2}"
        )
    return _integer_points(stretched) / np.array(counts, dtype=np.float64)


def _check_half_waves(half_waves, dimension: int | None = None) -> tuple[int, ...]:
    """Give the numbers of half-waves as a tuple, once they are whole and not all zero."""
    several = isinstance(half_waves, Sequence | np.ndarray) and np.ndim(half_waves) == 1
    counts = tuple(half_waves) if several else (half_waves,)
    dimension = len(counts) if dimension is None else dimension
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in counts)
    if not whole or len(counts) != dimension or not any(counts) or max(map(abs, counts)) > _EXACT:
        raise ValueError(
            f"expected {dimension} whole numbers of half-waves, not all 0, got {half_waves!r}; "
            f"try {(1,) * dimension if dimension > 1 else 1}"
        )
    return tuple(int(count) for count in counts)


class _Step(sp.Function):
    """The difference x - c, kept whole: SymPy would turn 3*(x - c) into 3*x - 3*c."""

    nargs = 2
    _imp_ = staticmethod(np.subtract)

    @classmethod
    def eval(cls, x, c):
        return x - c if x.is_number and c.is_number else None

    def fdiff(self, argindex=1):
        return sp.S.One if argindex == 1 else sp.S.NegativeOne

    def _eval_is_real(self):
        return self.args[0].is_real

    def _sympystr(self, printer):
        return f"({printer.doprint(self.args[0])} - {printer.doprint(self.args[1])})"


def _integer_points(domain) -> FloatArray:
    pairs = np.array(domain, dtype=np.float64)
    if not np.isfinite(pairs).all():
        raise ValueError(f"expected a finite domain, got {domain}")
    low, high = np.ceil(pairs[:, 0]), np.floor(pairs[:, 1])
    if (low > high).any():
        raise ValueError(f"expected a domain that holds an integer point, got {domain}")
    axes = [np.arange(a, b + 1.0, dtype=np.float64) for a, b in zip(low, high, strict=True)]
    columns = np.meshgrid(*axes, indexing="ij")
    # Adding 0.0 turns the -0.0 of numpy.ceil(-0.5) into 0.0.
    return np.stack(columns, axis=-1).reshape(-1, len(axes)) + 0.0


def same_data_pair(
    common: Target, frequency: int = 1, *, amplitude: sp.Expr | float = 1
) -> SameDataPair:
    r"""Give two targets that no values at integer points can tell apart.

    .. math::
        f_2(x) = f_1(x) + A \sum_{j=1}^{d} \sin(\pi k x_j), \qquad
        \partial_j f_2 - \partial_j f_1 = A \pi k (-1)^{k x_j} \text{ at integer points}

    The values at integer points are equal as floating-point numbers, not only close: the ripple is
    computed as 0.0 there and then added.

    Args:
        common: The first target.
        frequency: The whole number k >= 1, in half-turns per unit of x.
        amplitude: The number A, not zero.

    Returns:
        The pair, with its ripple.

    Raises:
        ValueError: The frequency is not a whole number >= 1, or the amplitude is zero or infinite.

    Source: the book's first example.

    Example:
        A target that is not in the book:

        >>> u, v = sp.symbols("u v", real=True)
        >>> pair = same_data_pair(Target(u * v, (u, v), ((0, 1), (0, 1))), 2, amplitude=3)
        >>> pair.second.expression
        u*v + 3*SinPi(2*u) + 3*SinPi(2*v)
    """
    _check_target(common)
    check_frequency(frequency)
    amplitude = check_expression(amplitude)
    if not amplitude.is_number or not amplitude.is_real or amplitude.is_zero:
        raise ValueError(f"expected a finite amplitude other than 0, got {amplitude}; try 1")
    waves = [amplitude * SinPi(frequency * variable) for variable in common.variables]
    ripple = Target(sp.Add(*waves), common.variables, common.domain)
    return SameDataPair(
        first=common,
        second=common + ripple,
        ripple=ripple,
        frequency=int(frequency),
        amplitude=amplitude,
    )


def _check_target(target):
    if not isinstance(target, Target):
        raise TypeError(f"expected a Target, got {type(target).__name__}; try Target(...)")


def prescribed_slopes(
    points: npt.ArrayLike,
    values: npt.ArrayLike,
    slopes: npt.ArrayLike,
    *,
    base: Target | None = None,
    domain: Sequence | None = None,
) -> Target:
    r"""Give an infinitely smooth target with given values and given slopes at given points.

    .. math::
        f(x) = b(x) + \sum_i \bigl(v_i - b(x_i) + (s_i - \nabla b(x_i)) \cdot (x - x_i)\bigr)
        \,\mathrm{Bump}\bigl(|x - x_i|^2 / \rho^2\bigr)

    Here :math:`\rho` is just under half the smallest distance between two points (one for a single
    point), so the bumps do not overlap and each is exactly zero at all the other points. Without a
    base, values and slopes come out as they went in, to the last bit. With a base, a value equal to
    the base's, or a slope component equal to the base's, comes out to the last bit too; others are
    within one rounding of the larger of the wanted and the base's number.

    Args:
        points: Different float64 points, shape (n, d), n >= 1.
        values: The values v, float64, shape (n,).
        slopes: The gradients s, float64, shape (n, d).
        base: The target b to change; None means zero.
        domain: Pairs (low, high), one per variable. By default the base's domain, or, without a
            base, the bounding box of the points widened by :math:`\rho`.

    Returns:
        The target, in the base's variables, or in x, or in x_1 to x_d.

    Raises:
        TypeError: The numbers are not float64.
        ValueError: A shape does not fit, two points are equal, a number is not finite, or a point
            lies outside the domain.

    Source: the standard smooth bump; the book's theorem on values without slopes.

    Example:
        Data that are not in the book: two values 0 and the slopes 5 and -7.

        >>> points = [[0.25], [0.75]]
        >>> target = prescribed_slopes(points, [0.0, 0.0], [[5.0], [-7.0]])
        >>> target.value(points), target.gradient(points).ravel()
        (array([0., 0.]), array([ 5., -7.]))
    """
    points, values, slopes = _check_data(points, values, slopes)
    if base is not None:
        _check_target(base)
    radius = _radius(points)
    base = _base(base, domain, points, radius)
    value_gaps = values - base.value(points)
    slope_gaps = slopes - base.gradient(points)
    parts = [
        _part(base.variables, *data, radius)
        for data in zip(points, value_gaps, slope_gaps, strict=True)
    ]
    return base + Target(sp.Add(*parts), base.variables, base.domain)


def _check_data(points, values, slopes) -> tuple[FloatArray, FloatArray, FloatArray]:
    shape = np.shape(points)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(
            f"expected points of shape (n, d) with n, d >= 1, got {shape}; "
            "try points.reshape(-1, 1) in one variable"
        )
    n, dimension = shape
    points = check_points(points, dimension)
    checked = []
    for name, data, expected in (("values", values, (n,)), ("slopes", slopes, shape)):
        array = np.asarray(data)
        if array.shape != expected:
            raise ValueError(
                f"expected {name} of shape {expected}, got {array.shape}; "
                f"try {name}.reshape({expected})"
            )
        rows = check_points(array.reshape(n, -1), array.size // n, name=name)
        checked.append(rows.reshape(expected))
    return points, *checked


def _radius(points: FloatArray) -> float:
    """Give just under half the smallest distance between two points."""
    if len(points) == 1:
        return 1.0
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    first, second = np.unravel_index(np.argmin(distances), distances.shape)
    if distances[first, second] < 1e-100:
        raise ValueError(
            f"expected different points, got {points[first]} in rows {first} and {second}; "
            "try numpy.unique(points, axis=0)"
        )
    return float(distances[first, second]) * 0.499


def _base(base: Target | None, domain, points: FloatArray, radius: float) -> Target:
    """Give the base, or zero, on the domain that is wanted."""
    if base is not None and base.dimension != points.shape[1]:
        raise ValueError(
            f"expected points with {base.dimension} coordinates, as the base has, "
            f"got {points.shape[1]}"
        )
    if base is not None and domain is None:
        return base
    if domain is None:
        domain = np.stack([points.min(axis=0) - radius, points.max(axis=0) + radius], axis=1)
    variables = _variables(points.shape[1]) if base is None else base.variables
    nothing = Target(0, variables, domain)
    return nothing if base is None else base + nothing


def _variables(dimension: int) -> tuple[sp.Symbol, ...]:
    names = ["x"] if dimension == 1 else [f"x_{j}" for j in range(1, dimension + 1)]
    return tuple(sp.Symbol(name, real=True) for name in names)


def _part(variables, point, value_gap, slope_gap, radius: float) -> sp.Expr:
    """Give one term of the sum, in steps that are exactly zero at the point."""
    steps = [_Step(variable, sp.Float(c)) for variable, c in zip(variables, point, strict=True)]
    bump = Bump(sp.Add(*(step**2 for step in steps)) / sp.Float(radius) ** 2)
    linear = [sp.Float(s) * step for s, step in zip(slope_gap, steps, strict=True)]
    return sp.Add(sp.Float(value_gap), *linear) * bump
