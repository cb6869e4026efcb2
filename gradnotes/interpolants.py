r"""Classical interpolants of data at scattered points, each with its exact gradient.

:func:`interpolate` has four methods: nearest neighbours and piecewise linear functions, which use
values only, and first-order Taylor and piecewise cubic Hermite functions, which use gradients too.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial import Delaunay, QhullError, cKDTree

from gradnotes.expressions import FloatArray, check_points

METHODS = ("nearest", "linear", "taylor", "hermite")
LARGEST = 1e150  # the square of a larger distance is no finite float64
ROUND_OFF = 1e-12
CANDIDATES = 32


class Interpolant:
    r"""A function of d variables that takes given values at n given points; exact gradient.

    .. math:: f : \mathbb{R}^d \to \mathbb{R}, \qquad f(x_i) = y_i, \quad i = 1, \dots, n

    :func:`interpolate` makes one, and says what f is. The methods "linear" and "hermite" define f
    on the convex hull of the points only; there is no box domain.

    Attributes:
        method: "nearest", "linear", "taylor" or "hermite".
        points: The points, (n, d), read-only, as are all the arrays.
        values: The values, (n,).
        gradients: The gradients given, (n, d), in units of values over units of points, or None.
        dimension: The number d.
        simplices: Of "linear" only: the pieces as rows of ``points``, (m, d + 1); in 1-D from left
            to right. Simplices without volume, as a regular grid brings about, are left out.
        simplex_gradients: Of "linear" only: the gradient on each piece, (m, d).

    Raises:
        TypeError: Of the methods: points are not float64.
        ValueError: Of the methods: points have a wrong shape, are not finite, or lie outside the
            convex hull where f is not defined; or f overflows there.

    Source: the definition of interpolation in any textbook of numerical analysis.

    Example:
        All the slopes of a roof at its ridge:

        >>> roof = interpolate([[3.0], [5.0], [9.0]], [0.0, 4.0, 0.0], method="linear")
        >>> at_ridge = (roof.simplices == 1).any(axis=1)
        >>> roof.simplex_gradients[at_ridge]
        array([[ 2.],
               [-1.]])
    """

    def __init__(
        self,
        method: str,
        points: FloatArray,
        values: FloatArray,
        gradients: FloatArray | None,
    ):
        self.method, self.dimension = method, points.shape[1]
        self.points, self.values, self.gradients = points, values, gradients
        with np.errstate(all="ignore"):
            self._prepare()

    def __repr__(self) -> str:
        return f"Interpolant({self.method!r}, {len(self.points)} points, d={self.dimension})"

    def __call__(self, points: npt.ArrayLike) -> FloatArray:
        """Give the values; the same as :meth:`value`."""
        return self.value(points)

    def value(self, points: npt.ArrayLike) -> FloatArray:
        """Give the values f(x) at float64 points (k, d), as an array (k,)."""
        return self._checked(0, points)

    def gradient(self, points: npt.ArrayLike) -> FloatArray:
        """Give the gradients at float64 points (k, d), as an array (k, d)."""
        return self._checked(1, points)

    def _checked(self, order: int, points: npt.ArrayLike) -> FloatArray:
        rows = _small(check_points(points, self.dimension))
        with np.errstate(all="ignore"):
            result = self._evaluate(rows)[order]
        bad = ~np.isfinite(result).reshape(len(rows), self.dimension**order).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"the {('value', 'gradient')[order]} of {self!r} is not a finite number at "
                f"{rows[row]} (row {row}); try data in other units"
            )
        return result

    def _prepare(self) -> None:
        """Compute what does not depend on where the interpolant is evaluated."""
        raise NotImplementedError

    def _evaluate(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give values and gradients at checked points."""
        raise NotImplementedError


class _Nearest(Interpolant):
    """The value at the nearest point."""

    def _prepare(self):
        self._order = np.argsort(self.points[:, 0])
        self._tree = cKDTree(self.points)

    def _evaluate(self, rows):
        return self.values[self._nearest(rows)], np.zeros(rows.shape)

    def _nearest(self, rows):
        if self.dimension > 1:
            return self._tree.query(rows)[1]
        # A tree leaves open which of two equally near points it finds; here the right one counts.
        x, knots = rows[:, 0], self.points[self._order, 0]
        right = np.searchsorted(knots, x, side="right").clip(max=len(knots) - 1)
        left = (right - 1).clip(min=0)
        nearer_left = np.abs(x - knots[left]) < np.abs(knots[right] - x)
        return self._order[np.where(nearer_left, left, right)]


class _Taylor(_Nearest):
    """The first-order Taylor expansion at the nearest point."""

    def _evaluate(self, rows):
        nearest = self._nearest(rows)
        slopes = self.gradients[nearest]
        steps = rows - self.points[nearest]
        return self.values[nearest] + (slopes * steps).sum(axis=1), slopes


class _Linear(Interpolant):
    """The piecewise linear function on the simplices of a triangulation."""

    def _prepare(self):
        self._mesh = (_Intervals if self.dimension == 1 else _Triangulation)(self.points)
        self.simplices = _read_only(self._mesh.simplices)
        # The constant that is taken off has no gradient, but it would leave round-off.
        rises = self.values[self.simplices] - self.values[self.simplices[:, :1]]
        slopes = np.einsum("mc,mcd->md", rises, self._mesh.coordinate_gradients)
        self.simplex_gradients = _read_only(slopes)
        if not np.isfinite(slopes).all():
            piece = int(np.argmax(~np.isfinite(slopes).all(axis=1)))
            raise ValueError(
                f"the gradient between the rows {self.simplices[piece].tolist()} of points is no "
                "finite float64; try data in other units"
            )

    def _evaluate(self, rows):
        piece, coordinates = self._mesh.locate(rows)
        values = (coordinates * self.values[self.simplices[piece]]).sum(axis=1)
        return values, self.simplex_gradients[piece]


class _CubicHermite(Interpolant):
    """The piecewise cubic function of one variable with given values and slopes."""

    def _prepare(self):
        order = np.argsort(self.points[:, 0])
        columns = (self.points[:, 0], self.values, self.gradients[:, 0])
        self._mesh = _Intervals(self.points)
        self._spline = CubicHermiteSpline(*(column[order] for column in columns))

    def _evaluate(self, rows):
        self._mesh.check_inside(rows)
        return self._spline(rows[:, 0]), self._spline(rows, 1)


class _CloughTocher(Interpolant):
    r"""The piecewise cubic function of two variables with given values and gradients.

    Each triangle is split at its centroid S into three. In the part that has S in place of corner
    k, and with barycentric coordinates :math:`\lambda` there, f is a cubic in Bernstein-Bezier form

    .. math:: f = \sum_{abc} C_{abc} \lambda_a \lambda_b \lambda_c, \qquad
              \nabla f = 3 \sum_{abc} C_{abc} \lambda_a \lambda_b \nabla \lambda_c,

    with a symmetric tensor C. Values and gradients at the corners, one condition on each side of
    the triangle, and continuous first derivatives across the inner edges determine it.
    """

    def _prepare(self):
        self._mesh = _Triangulation(self.points)
        self._nets = self._bezier_nets()

    def _bezier_nets(self):
        """Compute the tensors C of all parts, (m, 3, 3, 3, 3): triangle, part k, a, b, c."""
        corners = self.points[self._mesh.simplices]
        values, slopes = self.values[self._mesh.simplices], self.gradients[self._mesh.simplices]
        steps = corners[:, None] - corners[:, :, None]
        along = values[:, :, None] + np.einsum("mad,mabd->mab", slopes, steps) / 3
        to_centre = along.mean(axis=2)
        sides = np.empty_like(values)
        across = self._mesh.centres_beyond - corners.mean(axis=1)[:, None]
        for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            # The derivative in this direction is linear along the side opposite to corner k.
            moves = np.einsum("mcd,md->mc", self._mesh.coordinate_gradients, across[:, k])
            halfway = np.einsum("md,md->m", slopes[:, i] + slopes[:, j], across[:, k]) / 6
            known_i = (moves[:, i] - moves[:, k]) * along[:, i, j]
            known_j = (moves[:, j] - moves[:, k]) * along[:, j, i]
            sides[:, k] = (halfway - known_i - known_j) / (3 * moves[:, k])
        inner = (to_centre + sides.sum(axis=1, keepdims=True) - sides) / 3
        nets = np.empty((len(values), 3, 3, 3, 3))
        for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            coefficients = {
                (i, i, i): values[:, i],
                (j, j, j): values[:, j],
                (i, i, j): along[:, i, j],
                (i, j, j): along[:, j, i],
                (i, i, k): to_centre[:, i],
                (j, j, k): to_centre[:, j],
                (i, j, k): sides[:, k],
                (i, k, k): inner[:, i],
                (j, k, k): inner[:, j],
                (k, k, k): inner.mean(axis=1),
            }
            for indices, coefficient in coefficients.items():
                for a, b, c in permutations(indices):
                    nets[:, k, a, b, c] = coefficient
        return nets

    def _evaluate(self, rows):
        piece, coordinates = self._mesh.locate(rows)
        every, k = np.arange(len(rows)), coordinates.argmin(axis=1)
        slopes = self._mesh.coordinate_gradients[piece]
        # The coordinates in the part are linear in those in the triangle, and so are the slopes.
        parts = np.stack([coordinates, slopes[:, :, 0], slopes[:, :, 1]])
        smallest = parts[:, every, k]
        parts -= smallest[:, :, None]
        parts[:, every, k] = 3 * smallest
        thrice = np.einsum("nabc,na,nb->nc", self._nets[piece, k], parts[0], parts[0])
        return (thrice * parts[0]).sum(axis=1), 3 * np.einsum("nc,dnc->nd", thrice, parts[1:])


class _Intervals:
    """The intervals between sorted points; the same attributes as a triangulation."""

    def __init__(self, points):
        order = np.argsort(points[:, 0])
        self.simplices = np.column_stack([order[:-1], order[1:]])
        self._points, self._knots = points, points[order, 0]
        inverse = 1.0 / np.diff(self._knots)
        self.coordinate_gradients = np.stack([-inverse, inverse], axis=1)[:, :, None]

    def check_inside(self, rows):
        _refuse(((rows < self._knots[0]) | (rows > self._knots[-1]))[:, 0], rows)

    def locate(self, rows):
        """Give the number of the interval of each row, and the barycentric coordinates there."""
        self.check_inside(rows)
        right = np.searchsorted(self._knots[:-1], rows[:, 0], side="right") - 1
        return right, _coordinates(self, rows, right)


class _Triangulation:
    """A Delaunay triangulation, without the simplices that have no volume.

    Attributes:
        simplices: Rows of points, (m, d + 1).
        coordinate_gradients: The gradients of the barycentric coordinates, (m, d + 1, d).
        centres_beyond: For each side of a simplex the centroid of the simplex on the other side,
            or, on the hull, the centroid of the side, (m, d + 1, d).
    """

    def __init__(self, points):
        self._points, dimension = points, points.shape[1]
        # Far from the origin Qhull would leave out points. It squares the coordinates.
        self._origin = points.mean(axis=0)
        self._delaunay = _delaunay(points - self._origin)
        proper = np.isfinite(self._delaunay.transform).all(axis=(1, 2))
        self._number = np.cumsum(proper) - 1
        self.simplices = self._delaunay.simplices[proper]
        inverse = self._delaunay.transform[proper, :dimension]
        self._centres = cKDTree(self._delaunay.points[self.simplices].mean(axis=1))
        last = -inverse.sum(axis=1, keepdims=True)
        self.coordinate_gradients = np.concatenate([inverse, last], axis=1)
        self._first = np.full(len(points), len(self.simplices))
        numbers = np.repeat(np.arange(len(self.simplices)), dimension + 1)
        np.minimum.at(self._first, self.simplices.ravel(), numbers)
        lost = self._first == len(self.simplices)
        if lost.any():
            row = int(np.argmax(lost))
            raise ValueError(
                f"expected points that span simplices with a volume, but round-off hides "
                f"{points[row]} in row {row}: it is too near another point, or all points are too "
                "near one hyperplane; try dropping it, or the same units on all axes"
            )

    @property
    def centres_beyond(self):
        corners = self._points[self._delaunay.simplices]
        total = corners.sum(axis=1, keepdims=True)
        neighbours = self._delaunay.neighbors
        count = corners.shape[1]
        beyond = np.where(
            (neighbours < 0)[:, :, None],
            (total - corners) / (count - 1),
            (total[:, 0] / count)[neighbours],
        )
        return beyond[np.isfinite(self._delaunay.transform).all(axis=(1, 2))]

    def locate(self, rows):
        """Give the number of a simplex around each row, and the barycentric coordinates there."""
        shifted = rows - self._origin
        piece = self._search(shifted)
        # Round-off can put a point of the hull outside: look a little nearer to the middle.
        missed = piece < 0
        piece[missed] = self._search(shifted[missed] * (1 - ROUND_OFF))
        _refuse(piece < 0, rows)
        coordinates = _coordinates(self, rows, piece)
        # At a given point the search ends in a simplex that depends on the other rows.
        corner = self.simplices[piece, coordinates.argmax(axis=1)]
        given = (rows == self._points[corner]).all(axis=1)
        piece[given] = self._first[corner[given]]
        coordinates[given] = _coordinates(self, rows[given], piece[given])
        return piece, coordinates

    def _search(self, shifted):
        piece = np.full(len(shifted), -1)
        if len(self.simplices) < len(self._number):
            # Where SciPy's walk meets a simplex without volume it tries all others, one by one.
            candidates = self._centres.query(shifted, k=range(1, CANDIDATES + 1))[1]
            candidates = candidates.clip(max=len(self.simplices) - 1)
            for candidate in candidates.T:
                todo = np.flatnonzero(piece < 0)
                coordinates = _coordinates(self, shifted[todo] + self._origin, candidate[todo])
                inside = coordinates.min(axis=1) > -100 * np.finfo(np.float64).eps
                piece[todo[inside]] = candidate[todo[inside]]
        todo = np.flatnonzero(piece < 0)
        found = self._delaunay.find_simplex(shifted[todo])
        piece[todo] = np.where(found < 0, -1, self._number[found])
        return piece


def _coordinates(mesh, rows, piece):
    """Give the barycentric coordinates of rows in given simplices."""
    steps = rows - mesh._points[mesh.simplices[piece, -1]]
    coordinates = np.einsum("ncd,nd->nc", mesh.coordinate_gradients[piece], steps)
    coordinates[:, -1] += 1.0
    return coordinates


def _delaunay(points):
    dimension = points.shape[1]
    try:
        return Delaunay(points)
    except QhullError as error:
        flat = {2: "line", 3: "plane"}.get(dimension, "hyperplane")
        raise ValueError(
            f"expected points that span {dimension} dimensions, got {len(points)} points on one "
            f"{flat}, up to round-off; try points off that {flat}, or the same units on all axes"
        ) from error


def _refuse(outside, rows):
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"expected points in the convex hull of the data, got {rows[row]} in row {row}; try "
            "data at the corners of the domain, or method='nearest' or 'taylor'"
        )


def _read_only(array):
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def _small(points, name="points"):
    large = (np.abs(points) > LARGEST).any(axis=1)
    if large.any():
        row = int(np.argmax(large))
        raise ValueError(
            f"expected {name} within {LARGEST:g} of 0, got {points[row]} in row {row}; try other "
            "units"
        )
    return points


def interpolate(
    points: npt.ArrayLike,
    values: npt.ArrayLike,
    gradients: npt.ArrayLike | None = None,
    *,
    method: str,
) -> Interpolant:
    r"""Give a classical interpolant of data at scattered points, with its exact gradient.

    With data :math:`(x_i, y_i, g_i)`, and :math:`i(x)` the index of the point nearest to x,

    .. math::
        \text{nearest:} \quad & f(x) = y_{i(x)}, \qquad \nabla f(x) = 0, \\
        \text{taylor:} \quad & f(x) = y_{i(x)} + g_{i(x)} \cdot (x - x_{i(x)}), \qquad
        \nabla f(x) = g_{i(x)}, \\
        \text{linear:} \quad & f(x) = \sum_{c=0}^{d} \lambda_c(x)\, y_{i_c}, \qquad
        \nabla f = \sum_{c=0}^{d} y_{i_c} \nabla \lambda_c,

    where :math:`\lambda_c` are the barycentric coordinates in the simplex of the Delaunay
    triangulation that holds x, with corners :math:`x_{i_0}, \dots, x_{i_d}`; in 1-D the simplices
    are the intervals between neighbours. "hermite" is cubic on each piece and has the given values
    and gradients at the points. In 1-D the pieces are the intervals. In 2-D they are the thirds of
    the Delaunay triangles, split at their centroids, and f is the reduced Clough-Tocher element. It
    has continuous first derivatives, and gives back every quadratic, but not every cubic.

    What the element needs beyond the data is a convention: on each side of a triangle, the
    derivative in the direction of the line between the centroids of the two triangles that meet
    there is linear. On the hull this is the line from the centroid to the middle of the side. SciPy
    has the same convention.

    Where two pieces meet, the gradient of "nearest", "linear" and "taylor", and the value of
    "nearest" and "taylor", are those of one of them. In 1-D this is the right one, and at the right
    end the left one. In more dimensions, "linear" takes at a given point the first of ``simplices``
    that has it as a corner; anywhere else on a face, the choice may depend on the other rows.

    "linear" and "hermite" refuse points outside the convex hull of the data, by more than round-off
    (1e-12 of its size; in 1-D at all): they do not extrapolate. On a very thin simplex the gradient
    of "linear" is large or inexact, because round-off of the values is divided by the thickness.
    The number of simplices grows fast with d: some 100 000 for 4096 points in 4-D, which takes
    seconds.

    Args:
        points: Shape (n, d), float64, all different.
        values: Shape (n,), float64.
        gradients: Shape (n, d), float64, in units of values over units of points; required for
            "taylor" and "hermite", and only there.
        method: "nearest", "linear", "taylor" or "hermite" (1-D and 2-D).

    Returns:
        The interpolant; of the method "linear" with the attributes ``simplices`` and
        ``simplex_gradients``.

    Raises:
        TypeError: The data are not float64.
        ValueError: The method is unknown or does not fit d; shapes do not fit; data are not finite;
            gradients are missing or of no use; two points are equal; for "linear" and "hermite":
            there are fewer than d + 1 points, or they lie on one line, plane or hyperplane.

    Source: Delaunay (1934) for the triangulation; Clough and Tocher (1965) for the element, with
    the condition on its sides of Farin (1986).

    Example:
        The values and slopes of t**3 at three points determine it in between:

        >>> t = np.array([[0.0], [2.0], [1.0]])
        >>> cubic = interpolate(t, t[:, 0] ** 3, 3 * t**2, method="hermite")
        >>> cubic.value([[1.5]]), cubic.gradient([[1.5]])
        (array([3.375]), array([[6.75]]))
        >>> chords = interpolate(t, t[:, 0] ** 3, method="linear")
        >>> chords.value([[1.5]]), chords.gradient([[1.5]])
        (array([4.5]), array([[7.]]))
    """
    if method not in METHODS:
        raise ValueError(f"expected a method among {', '.join(METHODS)}, and got {method!r}")
    array = np.asarray(points)
    dimension = array.shape[1] if array.ndim == 2 else 1
    if dimension == 0:
        raise ValueError(f"expected points of shape (n, d) with d of 1 or more, got {array.shape}")
    array = _small(check_points(array, dimension))
    if method == "hermite" and dimension > 2:
        raise ValueError(
            f"expected points in 1 or 2 dimensions for method='hermite', got {dimension}; try "
            "method='taylor'"
        )
    _check_count(len(array), dimension, method)
    values = _checked_values(values, len(array))
    gradients = _checked_gradients(gradients, array.shape, method)
    _check_different(array, np.column_stack([values] if gradients is None else [values, gradients]))
    kinds = {"nearest": _Nearest, "linear": _Linear, "taylor": _Taylor}
    kinds["hermite"] = _CubicHermite if dimension == 1 else _CloughTocher
    arguments = (a if a is None else _read_only(a) for a in (array, values, gradients))
    return kinds[method](method, *arguments)


def _check_count(count, dimension, method):
    needed = dimension + 1 if method in ("linear", "hermite") else 1
    if count < needed:
        hint = "try method='nearest' or 'taylor'" if count else "try a row for each point"
        raise ValueError(
            f"expected {needed} points or more for method={method!r} with d={dimension}, "
            f"got {count}; {hint}"
        )


def _checked_values(values, count):
    """Check values (n,), and return them as an array."""
    values = np.asarray(values)
    if values.shape != (count,):
        flat = values.size == count
        hint = "values.reshape(-1)" if flat else "one value for each point"
        raise ValueError(f"expected values of shape ({count},), got {values.shape}; try {hint}")
    return check_points(values[:, None], 1, name="values")[:, 0]


def _checked_gradients(gradients, shape, method):
    """Check gradients (n, d), or that there are none, and return them."""
    if method in ("nearest", "linear"):
        if gradients is not None:
            raise ValueError(
                f"expected no gradients for method={method!r}, which does not use them; try "
                "'taylor' or 'hermite', which do"
            )
        return None
    if gradients is None:
        raise ValueError(
            f"expected gradients of shape {shape} for method={method!r}, got none; try 'nearest' "
            "or 'linear', which need none"
        )
    gradients = check_points(gradients, shape[1], name="gradients")
    if gradients.shape != shape:
        raise ValueError(
            f"expected gradients of shape {shape}, got {gradients.shape}; try one for each point"
        )
    return gradients


def _check_different(points, data):
    """Refuse equal points, with equal data or not."""
    distances, nearest = cKDTree(points).query(points, k=2)
    equal = distances[:, 1] == 0.0
    if equal.any():
        row = int(np.argmax(equal))
        twin = int(nearest[row][nearest[row] != row][0])
        same = (data[row] == data[twin]).all()
        kind = "the same data" if same else f"different data, {data[row]} and {data[twin]}"
        hint = "dropping one" if same else "one datum for each point, such as a mean"
        raise ValueError(
            f"expected different points, got {points[row]} in the rows {row} and {twin}, with "
            f"{kind}; try {hint}"
        )
