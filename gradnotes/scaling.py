r"""Scaling laws: how value and gradient errors fall with the number of points and the dimension.

:func:`scaling_sweep` measures the errors of interpolants and of fitted networks, and
:func:`fit_power_law` finds the exponent, with an interval over the seeds, or says why there is
none. :func:`study` makes the book's table, which ``load_table("scaling")`` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from gradnotes.arguments import check_whole, make_generator
from gradnotes.fitting import fit
from gradnotes.interpolants import interpolate
from gradnotes.networks import MLP
from gradnotes.sweeps import (
    cell_generator,
    in_groups,
    joined_groups,
    load_table,
    run_cells,
    store_study,
)

ORDERS = {"nearest": (1, 0), "linear": (2, 1), "taylor": (2, 1), "hermite": (4, 3)}
NETWORKS = ("network", "network with gradients")
METHODS = (*ORDERS, *NETWORKS)
QUANTITIES, NORMS = ("value", "gradient"), ("rms", "max")
DESIGNS = ("random", "grid")
COLUMNS = tuple(f"{quantity}_{norm}" for quantity in QUANTITIES for norm in NORMS)
HEAD = ("method", "dimension", "design", "points_count")
CONFIDENCE, SURE = 0.95, 0.99
WAVES, LOWEST, HIGHEST = 8, 1.0, 3.0
HIDDEN = (20, 20)
# The test points fill the middle half of each axis; a network is tested at this number of them.
LOW, HIGH, TESTS = 0.25, 0.75, 2048
# How far a random design reaches beyond the test points, in units of the mean distance D^(-1/d).
# A ball without a point that reaches from there to a test point is as good as impossible.
MARGIN = {1: 20.0, 2: 4.0, 3: 2.5, 4: 1.75}
# A seed averages over as many designs as have these numbers of points together.
POOLED = {
    "random": {1: 4096, 2: 4096, 3: 4096, 4: 2048},
    "grid": {1: 1024, 2: 1024, 3: 1024, 4: 1024},
}
GROUP = 4


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    r"""A power law :math:`e = c\,D^a` through errors of several seeds.

    Attributes:
        exponent: a, the mean over the seeds of the slope in log-log.
        interval: The 95 % interval (low, high) of the exponent, by Student's t over the seeds.
        constant: c, in units of the errors; the geometric mean over the seeds.
        curvature: The mean over the seeds of q in :math:`\ln e = b + a x + q x^2`, with
            :math:`x = \ln D`; 0 for a power law.
        curvature_interval: Its 95 % interval (low, high), in the same way.
        curved: Whether that interval leaves out 0. Of true power laws, one in 20 is called curved.
        sizes: The numbers D, (n,).
        seeds: The number of seeds.
    """

    exponent: float
    interval: tuple[float, float]
    constant: float
    curvature: float
    curvature_interval: tuple[float, float]
    curved: bool
    sizes: np.ndarray
    seeds: int

    def __str__(self) -> str:
        low, high = self.interval
        bent = ", curved" if self.curved else ""
        return f"exponent {self.exponent:.3f} ({low:.3f} to {high:.3f}, {self.seeds} seeds{bent})"


def fit_power_law(sizes: npt.ArrayLike, errors: npt.ArrayLike) -> PowerLaw:
    r"""Fit a power law to the errors of several seeds, by least squares in log-log for each.

    .. math:: \ln e_{is} = \ln c_s + a_s \ln D_i, \qquad a = \frac1S \sum_s a_s, \qquad
              a \pm t_{0.975,\,S-1} \frac{\operatorname{sd}(a_s)}{\sqrt S}

    The interval holds for seeds that are independent and slopes that are roughly normal. It is
    about chance only. The curvature tells whether the curve bends one way; an S, which steepens and
    flattens again, is only seen in a plot.

    Where the errors fell and have stopped falling, there is no exponent, and none is given. A floor
    is reached if the slope :math:`b_s` at the beginning is below 0, and the slope :math:`e_s` at
    the end above a quarter of it: if the 99 % intervals over the seeds, by Student's t, of
    :math:`b_s` and of :math:`e_s - b_s/4` lie below 0 and above 0. The beginning and the end are
    the first and the last three sizes, or two, where there are fewer than five. Of true power laws
    at most one in 200 is refused.

    Args:
        sizes: The numbers D, (n,), n of 3 or more, increasing; for the largest errors on random
            designs what :func:`effective_counts` gives.
        errors: Shape (n, S), S of 2 or more seeds, above 0.

    Raises:
        ValueError: There are fewer than three sizes or two seeds, sizes do not increase, errors are
            not finite numbers above 0, shapes do not fit, or the errors reach a floor.

    Source: ordinary least squares, and Student (1908) for the interval.

    Example:
        Halved whenever the size doubles, for two seeds that differ by a factor:

        >>> law = fit_power_law([8, 16, 32], [[4.0, 6.0], [2.0, 3.0], [1.0, 1.5]])
        >>> round(law.exponent, 6), round(law.constant, 6), law.curved
        (-1.0, 39.191836, False)
    """
    sizes, errors = _checked_sizes(sizes), np.asarray(errors, dtype=np.float64)
    if errors.ndim != 2 or errors.shape[0] != len(sizes) or errors.shape[1] < 2:
        raise ValueError(
            f"expected errors of shape ({len(sizes)}, seeds) with 2 seeds or more, and got "
            f"{errors.shape}; try a row for each size and a column for each seed"
        )
    if not (np.isfinite(errors) & (errors > 0)).all():
        i, s = np.argwhere(~(np.isfinite(errors) & (errors > 0)))[0]
        raise ValueError(
            f"expected finite errors above 0, and got {errors[i, s]} for size {sizes[i]:g}, seed "
            f"{s}; try leaving out that size"
        )
    x, y = np.log(sizes), np.log(errors)
    _refuse_floor(sizes, x, y)
    slopes, intercepts = np.polyfit(x, y, 1)
    exponent, reach = mean_and_reach(slopes)
    # Centred and scaled, so that the quadratic fit is well conditioned.
    half = float(x[-1] - x[0]) / 2
    bends = np.polyfit((x - x.mean()) / half, y, 2)[0]
    bend, bend_reach = mean_and_reach(bends)
    round_off = 1e-12 * (1.0 + np.abs(y).max())
    return PowerLaw(
        exponent=exponent,
        interval=(exponent - reach, exponent + reach),
        constant=float(np.exp(intercepts.mean())),
        curvature=bend / half**2,
        curvature_interval=((bend - bend_reach) / half**2, (bend + bend_reach) / half**2),
        curved=bool(abs(bend) > bend_reach + round_off),
        sizes=sizes,
        seeds=errors.shape[1],
    )


def _checked_sizes(sizes):
    sizes = np.array(sizes, dtype=np.float64)
    if sizes.ndim != 1 or len(sizes) < 3:
        raise ValueError(
            f"expected 3 sizes or more, and got {sizes.tolist()}: a power law asked of two points "
            "always fits; try more sizes"
        )
    if not (np.isfinite(sizes).all() and sizes[0] > 0 and (np.diff(sizes) > 0).all()):
        raise ValueError(
            f"expected increasing sizes above 0, and got {sizes.tolist()}; try sorting sizes and "
            "errors alike"
        )
    return sizes


def mean_and_reach(numbers: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    r"""Return the mean of independent numbers (n,) and the half-width of its interval.

    .. math:: \bar x, \qquad t_{(1 + c)/2,\, n - 1} \, s / \sqrt n

    Source: Student (1908).

    Example:
        >>> mean, reach = mean_and_reach(np.array([1.0, 2.0, 3.0]))
        >>> mean, round(reach, 3)
        (2.0, 2.484)
    """
    quantile = stats.t.ppf((1 + confidence) / 2, len(numbers) - 1)
    return float(numbers.mean()), float(quantile * numbers.std(ddof=1) / len(numbers) ** 0.5)


def _refuse_floor(sizes, x, y):
    """Raise if the errors fell, and at the end have stopped falling."""
    few = 3 if len(x) >= 5 else 2
    before, at_end = (
        np.polyfit(x[part], y[part], 1)[0] for part in (slice(few), slice(-few, None))
    )
    slope, reach = mean_and_reach(before, SURE)
    excess, excess_reach = mean_and_reach(at_end - before / 4, SURE)
    if slope + reach < 0 and excess - excess_reach > 0:
        raise ValueError(
            f"expected errors that fall by a power of the size, but they reach a floor near "
            f"{np.exp(y[-1].mean()):.1e}: the slope is {at_end.mean():.2f} over the last {few} "
            f"sizes, after {slope:.2f}; try leaving out sizes from {sizes[-few]:g} on"
        )


def expected_exponent(method: str, dimension: int, quantity: str) -> float:
    r"""Return the exponent that theory gives for the error of a classical method.

    With the mean distance :math:`h = D^{-1/d}` of D points in d dimensions, errors go like
    :math:`h^p = D^{-p/d}`:

    ============================  =====  ========
    p of                          value  gradient
    ============================  =====  ========
    nearest                       1      0
    linear, taylor                2      1
    hermite in 1-D                4      3
    hermite in 2-D                3      2
    ============================  =====  ========

    In 2-D, "hermite" gives back quadratics, but not all cubics, hence 3 and 2. The exponents hold
    for the root mean square, on grids and on random designs, and for the maximum on grids. For the
    maximum on random designs, :func:`effective_counts` takes the place of D. There the gradient of
    "linear" has no exponent in three or more dimensions: some simplices are slivers, nearly flat
    though their corners are far apart, and the gradient on them may be off by any amount.

    Args:
        method: "nearest", "linear", "taylor" or "hermite".
        dimension: d, 1 or more; 1 or 2 for "hermite".
        quantity: "value" or "gradient".

    Raises:
        ValueError: There is no theory for the method or the dimension, or no such quantity.

    Source: the Taylor remainder on a piece of size h; the book's page on scaling.

    Example:
        >>> expected_exponent("linear", 4, "value"), expected_exponent("nearest", 4, "gradient")
        (-0.5, 0.0)
    """
    if method not in ORDERS:
        raise ValueError(
            f"expected a method among {', '.join(ORDERS)}, and got {method!r}; there is no law for "
            "networks, try looking at their curve"
        )
    _check_dimension(method, dimension)
    if quantity not in QUANTITIES:
        raise ValueError(f"expected a quantity among {', '.join(QUANTITIES)}, and got {quantity!r}")
    order = ORDERS[method][QUANTITIES.index(quantity)]
    if method == "hermite" and dimension == 2:
        order -= 1
    return -order / dimension + 0.0


def effective_counts(points_counts: npt.ArrayLike, dimension: int) -> np.ndarray:
    r"""Return what takes the place of D in the largest error of a sweep on random designs.

    .. math:: \frac{D}{\ln n}, \qquad n = D / 2^d

    The largest error is that in the largest hole. The largest of n holes, with n the number of
    points in the test box, has a volume of about :math:`\ln(n) / D`, not 1/D.

    Args:
        points_counts: The numbers D, above :math:`e\,2^d`.
        dimension: d, 1 or more.

    Raises:
        ValueError: A number is too small for the formula.

    Source: the spacings of uniform points, Devroye (1981) in one dimension.

    Example:
        >>> effective_counts([64, 1024], 1).round(1)
        array([ 18.5, 164.1])
    """
    counts = np.asarray(points_counts, dtype=np.float64)
    if not (counts > np.e * 2**dimension).all():
        raise ValueError(
            f"expected more than {np.e * 2**dimension:.0f} points in {dimension}-D, so that some "
            f"are in the test box, and got {counts.tolist()}"
        )
    return counts / np.log(counts / 2**dimension)


def _check_dimension(method, dimension, largest=None):
    largest = 2 if method == "hermite" else largest
    whole = isinstance(dimension, int | np.integer) and not isinstance(dimension, bool)
    if not whole or dimension < 1 or (largest and dimension > largest):
        wanted = f"from 1 to {largest}" if largest else "of 1 or more"
        raise ValueError(
            f"expected a whole dimension {wanted} for {method!r}, and got {dimension!r}"
        )


# The task: one method, dimension and number of points, for a few seeds


@dataclass(frozen=True, kw_only=True)
class CosineSum:
    r"""A smooth function of d variables with its exact gradient: a sum of m cosine waves.

    .. math:: f(x) = \sqrt{\tfrac2m} \sum_{k=1}^m \cos(w_k \cdot x + b_k), \qquad
              \nabla f(x) = -\sqrt{\tfrac2m} \sum_{k=1}^m \sin(w_k \cdot x + b_k)\, w_k

    Attributes:
        frequencies: w, (m, d), in radians per unit of x.
        phases: b, (m,).
    """

    frequencies: np.ndarray
    phases: np.ndarray

    def value(self, points: np.ndarray) -> np.ndarray:
        """Give the values at points (n, d), as an array (n,)."""
        waves = np.cos(points @ self.frequencies.T + self.phases)
        return waves.sum(axis=1) * (2 / len(self.phases)) ** 0.5

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Give the gradients at points (n, d), as an array (n, d)."""
        waves = np.sin(points @ self.frequencies.T + self.phases)
        return -(waves @ self.frequencies) * (2 / len(self.phases)) ** 0.5


def random_cosines(dimension: int, *, rng: int | np.random.Generator) -> CosineSum:
    r"""Return a sum of 8 cosine waves of random directions, lengths :math:`|w|` and phases.

    Directions are uniform, lengths uniform in [1, 3] and phases uniform in a whole turn, so that a
    wave takes two units of length or more: on the unit cube the function is smooth at every scale.

    Args:
        dimension: The number d of variables.
        rng: An integer seed or a generator, required.

    Raises:
        TypeError: ``rng`` is missing.

    Source: the targets of the book's page on scaling.

    Example:
        >>> target = random_cosines(2, rng=5)
        >>> step = np.array([[1e-6, 0.0]])
        >>> rise = target.value(0.5 + step) - target.value(0.5 - step)
        >>> bool(abs(rise[0] / 2e-6 - target.gradient(0.5 + 0 * step)[0, 0]) < 1e-8)
        True
    """
    generator = make_generator(rng, "random_cosines")
    directions = generator.standard_normal((WAVES, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return CosineSum(
        frequencies=directions * generator.uniform(LOWEST, HIGHEST, (WAVES, 1)),
        phases=generator.uniform(0.0, 2 * np.pi, WAVES),
    )


def _cell_errors(method, dimension, design, points_count, seeds, rng, steps=None):
    """Return the four errors of a method, each a list over the seeds."""
    measure = _network_errors if method in NETWORKS else _interpolant_errors
    rows = []
    for seed in seeds:
        target = random_cosines(dimension, rng=cell_generator(rng, dimension=dimension, seed=seed))
        # Without the method: all methods get the same designs.
        content = {"dimension": dimension, "design": design, "points": points_count, "seed": seed}
        rows.append(measure(method, target, content, rng, steps))
    return {
        column: errors.tolist() for column, errors in zip(COLUMNS, np.array(rows).T, strict=True)
    }


def _interpolant_errors(method, target, content, rng, _):
    dimension, count, design = content["dimension"], content["points"], content["design"]
    pooled = []
    for number in range(max(1, POOLED[design][dimension] // count)):
        generator = cell_generator(rng, **content, number=number)
        points = _design(design, dimension, count, generator)
        # On a grid all cells are alike, and more of them need no more test points.
        tests = count * 16 if design == "random" else 16 * 1024
        at = generator.uniform(LOW, HIGH, (max(16, tests // 2**dimension), dimension))
        slopes = target.gradient(points) if method in ("taylor", "hermite") else None
        interpolant = interpolate(points, target.value(points), slopes, method=method)
        pooled.append(_errors(target, at, interpolant.value(at), interpolant.gradient(at)))
    pooled = np.array(pooled)
    # The mean square over all designs, and the mean over them of the largest error of each.
    rms, largest = np.sqrt(np.square(pooled).mean(axis=0)), pooled.mean(axis=0)
    return [rms[0], largest[1], rms[2], largest[3]]


def _network_errors(method, target, content, rng, steps):
    dimension, count = content["dimension"], content["points"]
    generator = cell_generator(rng, **content, number=0)
    points = generator.random((count, dimension))
    at = generator.uniform(LOW, HIGH, (TESTS, dimension))
    model = MLP(dimension, HIDDEN, domain=[(0.0, 1.0)] * dimension, rng=generator)
    slopes = target.gradient(points) if method == "network with gradients" else None
    fitted = fit(
        model, points, target.value(points), gradients=slopes, steps=steps, rng=generator
    ).model
    values, gradients = fitted.value_and_gradient(torch.from_numpy(at))
    return _errors(target, at, values.numpy(), gradients.numpy())


def _errors(target, at, values, gradients):
    """Return value RMS, value maximum, gradient RMS and gradient maximum over test points."""
    value = np.abs(values - target.value(at))
    gradient = np.linalg.norm(gradients - target.gradient(at), axis=1)
    return [
        norm(e) for e in (value, gradient) for norm in (lambda e: np.sqrt(np.mean(e**2)), np.max)
    ]


def _design(design, dimension, count, generator):
    """Return ``count`` points for the unit cube, and others outside, as dense, where that is felt.

    A test point in a corner of the test box feels the edge of the unit cube if that is nearer than
    a few mean distances; as the number of points grows it no longer does, so that the edge would
    pass for a part of the law.
    """
    distance = count ** (-1 / dimension)
    margin = distance * (MARGIN[dimension] if design == "random" else 1.0)
    side = max(1.0, HIGH - LOW + 2 * margin)
    low = 0.5 - side / 2
    if design == "random":
        scattered = low + side * generator.random((round(count * side**dimension), dimension))
        # The corners make the hull the whole cube; no test point is near them.
        corners = np.array(list(product((low, low + side), repeat=dimension)))
        return np.concatenate([scattered, corners])
    axes = []
    for shift in generator.random(dimension):
        first, last = np.ceil(low / distance - shift), np.floor((low + side) / distance - shift)
        axes.append((np.arange(first, last + 1) + shift) * distance)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dimension)


# Sweeps of the task


@dataclass(frozen=True, kw_only=True)
class ScalingSweep:
    r"""The errors of a sweep, in the root mean square and the largest over test points.

    Attributes:
        rows: Dicts with "method", "dimension", "design" and "points_count", and with
            "value_rms", "value_max", "gradient_rms" and "gradient_max": lists over the seeds.
    """

    rows: tuple[dict, ...]

    def series(
        self,
        method: str,
        dimension: int,
        *,
        quantity: str,
        norm: str = "rms",
        design: str = "random",
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Return the numbers of points (n,), increasing, and the errors (n, seeds) of one curve.

        Args:
            method: One of the methods of the sweep.
            dimension: The number d of variables.
            quantity: "value", or "gradient", in units of values over units of points.
            norm: "rms", or "max", which is a maximum over the test points.
            design: "random" or "grid".

        Raises:
            ValueError: The sweep has no such curve.

        Example:
            >>> sweep = scaling_sweep(methods=["nearest"], dimensions=[1], points_counts=[64, 128],
            ...     seeds=2, rng=0)
            >>> counts, errors = sweep.series("nearest", 1, quantity="value")
            >>> counts, errors.shape
            (array([ 64, 128]), (2, 2))
        """
        column, wanted = f"{quantity}_{norm}", (method, dimension, design)
        if column not in COLUMNS:
            raise ValueError(
                f"expected a quantity among {', '.join(QUANTITIES)} and a norm among "
                f"{', '.join(NORMS)}, and got {quantity!r} and {norm!r}"
            )
        rows = [row for row in self.rows if _curve(row) == wanted]
        if not rows:
            there = sorted({_curve(row) for row in self.rows})
            raise ValueError(f"expected a curve among {there}, and got {wanted}")
        rows.sort(key=lambda row: row["points_count"])
        counts = np.array([row["points_count"] for row in rows])
        return counts, np.array([row[column] for row in rows])


def _curve(row):
    return row["method"], row["dimension"], row["design"]


def scaling_sweep(
    *,
    methods: Sequence[str],
    dimensions: Sequence[int],
    points_counts: Sequence[int],
    seeds: int = 8,
    design: str = "random",
    steps: int = 100,
    rng: int,
    store: str | Path | None = None,
    progress: bool = True,
) -> ScalingSweep:
    r"""Measure errors of interpolants and networks with more and more points in the unit cube.

    For each seed, dimension and number D of points, the target is a new sum of cosines
    (:func:`random_cosines`), one for each seed and dimension. The errors are taken against it at
    random points of the middle box :math:`[1/4, 3/4]^d`:

    .. math:: \Bigl(\frac1n \sum_j r(x_j)^2\Bigr)^{1/2}, \quad
              \Bigl(\frac1n \sum_j \|\nabla r(x_j)\|_2^2\Bigr)^{1/2}, \quad
              \max_j |r(x_j)|, \quad \max_j \|\nabla r(x_j)\|_2 .

    A random design has independent uniform points; a grid has :math:`D^{1/d}` points on an axis,
    and a random origin. For interpolants the design goes on outside the unit cube, as dense as
    inside, as far as the test points could feel the edge. A seed averages over several designs, of
    some thousand points together: the mean square, and the mean of the maxima. All methods get the
    same designs. The methods "network" and "network with gradients" fit an MLP with two layers of
    20 tanh units to the values, or to values and gradients with weight 1, at D points of the cube,
    by Levenberg-Marquardt: each seed has its own points, target and first weights.

    The cells are run by :func:`gradnotes.sweeps.run_cells`, which says how to use several processes
    or a cluster, and how a store resumes a sweep.

    Args:
        methods: Among "nearest", "linear", "taylor", "hermite" (in 1-D and 2-D), "network" and
            "network with gradients".
        dimensions: From 1 to 4.
        points_counts: The numbers D; for a grid, d-th powers of whole numbers.
        seeds: The number of seeds, 2 or more.
        design: "random" or "grid"; networks have random designs only.
        steps: The greatest number of steps of a network's fit.
        rng: An integer seed.
        store: None, or a folder that keeps what is done.
        progress: Whether a terminal shows a progress bar.

    Raises:
        TypeError: ``rng`` is not an integer.
        ValueError: A method, a dimension or a number makes no sense, or the store does not fit.

    Source: the book's page on scaling.

    Example:
        >>> sweep = scaling_sweep(methods=["linear"], dimensions=[1], points_counts=[32, 64, 128],
        ...     seeds=4, design="grid", rng=0)
        >>> law = fit_power_law(*sweep.series("linear", 1, quantity="value", design="grid"))
        >>> abs(law.exponent - expected_exponent("linear", 1, "value")) < 0.1
        True
    """
    specification = (methods, dimensions, points_counts, seeds, design, steps)
    cells = _cells(*specification, rng)
    return _merged(cells, run_cells(_cell_errors, cells, store=store, progress=progress))


def _cells(methods, dimensions, points_counts, seeds, design, steps, rng):
    """Return the cells of a sweep, with a few seeds each."""
    cell_generator(rng)  # refuses a seed that makes no sense
    if design not in DESIGNS:
        raise ValueError(f"expected a design among {', '.join(DESIGNS)}, and got {design!r}")
    check_whole("seeds", seeds, 2)
    check_whole("steps", steps, 1)
    cells = []
    for method, dimension, count in product(methods, dimensions, points_counts):
        if method not in METHODS:
            raise ValueError(f"expected a method among {', '.join(METHODS)}, and got {method!r}")
        _check_dimension(method, dimension, max(MARGIN))
        check_whole("a number of points", count, 2)
        per_axis = round(count ** (1 / dimension))
        if design == "grid" and per_axis**dimension != count:
            raise ValueError(
                f"expected numbers of points that make a grid in {dimension}-D, and got {count}; "
                f"try {max(2, per_axis) ** dimension}"
            )
        if design == "grid" and method in NETWORKS:
            raise ValueError(f'expected design="random" for {method!r}, and got {design!r}')
        base = {"method": method, "dimension": int(dimension), "design": design}
        base |= {"points_count": int(count), "rng": int(rng)}
        base |= {"steps": int(steps)} if method in NETWORKS else {}
        cells += [{**base, "seeds": group} for group in in_groups(seeds, GROUP)]
    return cells


def _merged(cells, results):
    """Return the results of groups of seeds as one row for each method, dimension and size."""
    heads = [{key: cell[key] for key in HEAD} for cell in cells]
    return ScalingSweep(rows=joined_groups(heads, results))


# The study of the book


def _powers(first, last):
    return [2**power for power in range(first, last + 1)]


CLASSICAL = ["nearest", "linear", "taylor"]
SEEDS = 16
NETWORK_SEEDS = 8
STUDY = [
    {"methods": CLASSICAL, "dimensions": [1, 2], "points_counts": _powers(6, 12)},
    {"methods": CLASSICAL, "dimensions": [3, 4], "points_counts": _powers(6, 10)},
    {"methods": ["hermite"], "dimensions": [1], "points_counts": _powers(6, 10)},
    {"methods": ["hermite"], "dimensions": [2], "points_counts": _powers(6, 12)},
    {
        "methods": [*CLASSICAL, "hermite"],
        "dimensions": [1, 2],
        "points_counts": [16, 64, 256, 1024],
        "design": "grid",
    },
    {
        "methods": CLASSICAL,
        "dimensions": [3],
        "points_counts": [64, 125, 216, 512, 1000],
        "design": "grid",
    },
    {
        "methods": CLASSICAL,
        "dimensions": [4],
        "points_counts": [81, 256, 625],
        "design": "grid",
    },
    {
        "methods": list(NETWORKS),
        "dimensions": [1],
        "points_counts": _powers(2, 6),
        "seeds": NETWORK_SEEDS,
    },
    {
        "methods": list(NETWORKS),
        "dimensions": [2],
        "points_counts": _powers(4, 7),
        "seeds": NETWORK_SEEDS,
    },
    {
        "methods": ["network"],
        "dimensions": [2],
        "points_counts": [256],
        "seeds": NETWORK_SEEDS,
    },
    {
        "methods": ["network"],
        "dimensions": [4],
        "points_counts": _powers(4, 8),
        "seeds": NETWORK_SEEDS,
    },
    {
        "methods": ["network with gradients"],
        "dimensions": [4],
        "points_counts": _powers(4, 6),
        "seeds": NETWORK_SEEDS,
    },
]


def study(*, rng: int = 0, store: str | Path | None = None, progress: bool = True) -> ScalingSweep:
    r"""Run the study of scaling laws that the book reports; it takes some minutes on two cores.

    It measures classical methods in one to four dimensions, on random designs and on grids, with 16
    seeds, and networks with 8. ``python -m gradnotes.scaling`` runs it and stores the table.

    Args:
        rng: An integer seed; the book's table has 0.
        store: None, or a folder that keeps what is done.
        progress: Whether a terminal shows a progress bar.

    Raises:
        ValueError: The store does not fit.

    Source: the book's page on scaling.
    """
    defaults = {"seeds": SEEDS, "design": "random", "steps": 100}
    cells = [cell for part in STUDY for cell in _cells(**{**defaults, **part}, rng=rng)]
    return _merged(cells, run_cells(_cell_errors, cells, store=store, progress=progress))


def stored_study() -> ScalingSweep:
    r"""Return the errors of the study that comes with the package, to seven digits.

    Source: the book's page on scaling.

    Example:
        >>> counts, errors = stored_study().series("nearest", 2, quantity="gradient")
        >>> errors.shape[1]
        16
    """
    return ScalingSweep(rows=tuple(load_table("scaling")["rows"]))


def check_against_study(sweep: ScalingSweep) -> int:
    r"""Check that interpolants give the errors of the stored study; return how many agree.

    They must be the same but for round-off: to :math:`10^{-5}` of an error, or to
    :math:`10^{-13}`. A page that computes a part of the study anew checks it so.

    Args:
        sweep: Of interpolants, with ``rng=0`` and up to 16 seeds, at numbers of points and
            dimensions of the study.

    Raises:
        ValueError: An error is another than the stored one, or the study does not have it.

    Source: the book's page on scaling.

    Example:
        >>> live = scaling_sweep(methods=["nearest", "linear", "taylor"], dimensions=[1, 2],
        ...     points_counts=[64, 256, 1024], design="grid", seeds=4, rng=0)
        >>> check_against_study(live)
        288
    """
    stored = {(*_curve(row), row["points_count"]): row for row in stored_study().rows}
    count = 0
    for row in sweep.rows:
        key = (*_curve(row), row["points_count"])
        if row["method"] in NETWORKS or key not in stored:
            raise ValueError(f"expected interpolants at sizes of the study, and got {key}")
        for column in COLUMNS:
            live = np.array(row[column])
            kept = np.array(stored[key][column][: len(live)])
            if live.shape != kept.shape or not np.allclose(live, kept, rtol=1e-5, atol=1e-13):
                raise ValueError(
                    f"the {column} of {key} is not that of the stored study: {live.tolist()} "
                    f"against {kept.tolist()}; try rng=0 and at most {SEEDS} seeds, or "
                    "`make studies`"
                )
            count += live.size
    return count


def main(path: Path | None = None) -> None:
    """Run the study on all cores and store its table, by default in the package."""
    store_study(
        lambda store: study(store=store).rows,
        path,
        settings={"rng": 0, "seeds": SEEDS, "network_seeds": NETWORK_SEEDS, "study": STUDY},
        module=__name__,
        digits=7,
    )


if __name__ == "__main__":
    # Under its own name the module is what other processes import.
    from gradnotes import scaling

    scaling.main()
