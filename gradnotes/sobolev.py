r"""Sobolev training: what gradients in the training data buy, for networks and for Kriging.

:func:`sobolev_sweep` fits learners to values, to values and gradients, or to values and one slope a
point, at random points of test functions, and measures the errors of value and gradient elsewhere.
:func:`paired_ratio` compares two of them seed by seed. :func:`study` makes the book's table, which
``load_table("sobolev")`` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import qmc

from gradnotes import targets as functions
from gradnotes.arguments import check_number, check_whole
from gradnotes.fitting import fit
from gradnotes.kriging import krige
from gradnotes.networks import MLP
from gradnotes.scaling import mean_and_reach, random_cosines
from gradnotes.sweeps import (
    cell_generator,
    in_groups,
    joined_groups,
    load_table,
    run_cells,
    store_study,
)

FUNCTIONS = (
    "styblinski_tang",
    "ackley",
    "beale",
    "booth",
    "bukin",
    "mccormick",
    "rosenbrock",
)
LEARNERS = ("tanh", "small", "relu", "kriging")
DATA = ("values", "gradients", "projections")
FIELDS = ("none", "gradient", "curl")
QUANTITIES = ("value", "gradient")
HIDDEN = {"tanh": (20, 20), "small": (10, 10), "relu": (256, 256)}
STEPS = {"tanh": 200, "small": 200, "relu": 400}
RATE = 3e-3
# Errors are taken on a grid of 64 x 64 midpoints; in other dimensions at as many Sobol points.
PER_AXIS = 64
CONDITIONS = {"weight": 1.0, "value_noise": 0.0, "gradient_noise": 0.0, "field": "none"}
CONDITIONS |= {"field_size": 0.0}
HEAD = ("target", "learner", "data", "points_count", *CONDITIONS)
GROUP = 4
CONFIDENCE = 0.95


# Targets


@dataclass(frozen=True, kw_only=True)
class ScaledTarget:
    r"""A function moved to the cube :math:`[-1, 1]^d` and scaled to mean 0 and variance 1.

    .. math:: t \mapsto \frac{f(c + h t) - \mu}{\sigma}

    with the centre c and the half-widths h of the box. The mean :math:`\mu`, the variance
    :math:`\sigma^2` and the mean square of the gradient are taken over the test points, so that the
    function 0 has the relative errors 1 and 1 there.

    Attributes:
        target: What has ``value`` and ``gradient``.
        centre: c, (d,).
        half_width: h, (d,).
        mean: :math:`\mu`.
        deviation: :math:`\sigma`.
        mean_square_gradient: The mean of :math:`|\nabla f|^2 / \sigma^2`, with slopes in t.
        test_points: In the cube, (m, d).
    """

    target: object
    centre: np.ndarray
    half_width: np.ndarray
    mean: float
    deviation: float
    mean_square_gradient: float
    test_points: np.ndarray

    def value(self, points: np.ndarray) -> np.ndarray:
        """Give the values at points (n, d) of the cube, as an array (n,)."""
        return (self.target.value(self.centre + self.half_width * points) - self.mean) / (
            self.deviation
        )

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Give the gradients at points (n, d) of the cube, as an array (n, d)."""
        slopes = self.target.gradient(self.centre + self.half_width * points)
        return slopes * self.half_width / self.deviation

    def relative_errors(self, value: Callable, gradient: Callable) -> tuple[float, float]:
        r"""Return the relative errors of value and gradient of a model on the cube.

        Each is the root mean square over the test points: of the value error over that of the
        function, which is 1, and of the length of the gradient error over that of the gradient.

        Args:
            value: Takes points (m, d) and returns (m,).
            gradient: Takes points (m, d) and returns (m, d).
        """
        at = self.test_points
        off = np.square(gradient(at) - self.gradient(at)).sum(axis=1).mean()
        apart = np.square(value(at) - self.value(at)).mean()
        return float(apart**0.5), float((off / self.mean_square_gradient) ** 0.5)


def scale_target(target: object, domain: Sequence | None = None) -> ScaledTarget:
    r"""Move a function to the cube :math:`[-1, 1]^d`, and scale it to mean 0 and variance 1.

    The test points are the midpoints of 64 x 64 equal cells where d is 2, and 4096 points of
    Sobol's sequence otherwise. Where the mean square gradient is infinite, as for Bukin's function,
    the number depends on these points.

    Args:
        target: A :class:`~gradnotes.targets.Target`, or what has ``value`` and ``gradient``.
        domain: Pairs (low, high), one for each variable; None takes that of the target.

    Raises:
        ValueError: The domain is not finite, or the function is constant at the test points.

    Source: the book's page on Sobolev training.

    Example:
        >>> scaled = scale_target(functions.franke())
        >>> values = scaled.value(scaled.test_points)
        >>> bool(abs(values.mean()) < 1e-12), bool(abs(values.std() - 1) < 1e-12)
        (True, True)
        >>> zero = lambda t: np.zeros(len(t)), lambda t: np.zeros(t.shape)
        >>> [round(error, 12) for error in scaled.relative_errors(*zero)]
        [1.0, 1.0]
    """
    pairs = np.asarray(target.domain if domain is None else domain, dtype=np.float64)
    if pairs.ndim != 2 or pairs.shape[1:] != (2,) or not (pairs[:, 0] < pairs[:, 1]).all():
        raise ValueError(f"expected pairs (low, high), low < high, as the domain, got {domain}")
    if not np.isfinite(pairs).all():
        raise ValueError(f"expected a finite domain, got {pairs.tolist()}; try domain=...")
    centre, half = pairs.mean(axis=1), (pairs[:, 1] - pairs[:, 0]) / 2
    at = _test_points(len(pairs))
    values = target.value(centre + half * at)
    if values.std() == 0:
        raise ValueError(f"expected a function that is not constant, got {target!r}")
    slopes = target.gradient(centre + half * at) * half / values.std()
    return ScaledTarget(
        target=target,
        centre=centre,
        half_width=half,
        mean=float(values.mean()),
        deviation=float(values.std()),
        mean_square_gradient=float(np.square(slopes).sum(axis=1).mean()),
        test_points=at,
    )


def _test_points(dimension):
    if dimension == 2:
        axis = (2 * np.arange(PER_AXIS) + 1) / PER_AXIS - 1
        return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    sequence = qmc.Sobol(dimension, scramble=False).random_base2(12)
    return 2 * sequence + 2**-12 - 1


def named_target(name: str, *, seed: int = 0, rng: int = 0) -> ScaledTarget:
    r"""Return a target of the study by its name, scaled.

    Args:
        name: One of the seven test functions (``FUNCTIONS``); "ackley_L", Ackley's function on
            :math:`[5 - L, 5]^2`, with a number L; "bukin_flank", Bukin's function on
            :math:`[-15, -5] \times [-3, 0]`, where it has no kink but that of the small term;
            "cosines_d", eight random waves on the unit cube in d variables
            (:func:`~gradnotes.scaling.random_cosines`), others for each seed.
        seed: The number of the seed.
        rng: An integer seed; both are for "cosines_d" only.

    Raises:
        ValueError: There is no such target.

    Source: the book's page on Sobolev training.

    Example:
        >>> named_target("ackley_2").centre
        array([4., 4.])
    """
    kind, _, number = name.rpartition("_")
    if name in FUNCTIONS:
        return scale_target(getattr(functions, name)())
    if name == "bukin_flank":
        return scale_target(functions.bukin(), [(-15.0, -5.0), (-3.0, 0.0)])
    try:
        if kind == "ackley" and 0 < float(number) <= 10:
            return scale_target(functions.ackley(), [(5 - float(number), 5.0)] * 2)
        if kind == "cosines" and int(number) >= 1:
            generator = cell_generator(rng, target=name, seed=seed)
            waves = random_cosines(int(number), rng=generator)
            return scale_target(waves, [(0.0, 1.0)] * int(number))
    except ValueError:
        pass
    raise ValueError(
        f"expected a target among {', '.join(FUNCTIONS)}, bukin_flank, ackley_L and cosines_d, "
        f"got {name!r}; try ackley_2 or cosines_8"
    )


# The task: one target, learner and number of points, for a few seeds


def _cell_errors(target, learner, data, points_count, seeds, rng, **conditions):
    """Return relative errors of value and gradient, and the root of the loss, over the seeds."""
    conditions = {**CONDITIONS, **conditions}
    rows = [_errors(target, learner, data, points_count, s, rng, **conditions) for s in seeds]
    return dict(zip((*QUANTITIES, "loss"), np.array(rows).T.tolist(), strict=True))


def _errors(name, learner, data, count, seed, rng, *, weight, field, field_size, **noise):
    scaled = named_target(name, seed=seed, rng=rng)
    dimension = len(scaled.centre)
    # The first n of the points for a larger number are those for n.
    points = cell_generator(rng, dimension=dimension, seed=seed).random((count, dimension)) * 2 - 1
    values, slopes = scaled.value(points), scaled.gradient(points)
    size = scaled.mean_square_gradient**0.5
    draws = cell_generator(rng, noise=dimension, seed=seed)
    draws = draws.standard_normal((count, 1 + dimension))
    values = values + noise["value_noise"] * draws[:, 0]
    slopes = slopes + noise["gradient_noise"] * size * draws[:, 1:] / dimension**0.5
    if field != "none":
        slopes = slopes + field_size * size * wrong_field(field, points)
    if learner == "kriging":
        model = krige(points, values, slopes if data == "gradients" else None)
        return *scaled.relative_errors(model.value, model.gradient), 0.0
    start = cell_generator(rng, network=learner, seed=seed)
    box = [(-1.0, 1.0)] * dimension
    activation = "relu" if learner == "relu" else "tanh"
    model = MLP(dimension, HIDDEN[learner], activation=activation, domain=box, rng=start)
    options = {"steps": STEPS[learner], "rng": start}
    if learner == "relu":
        options |= {"method": "adam", "learning_rate": RATE}
    if data != "values":
        options |= {"gradients": slopes, "gradient_weight": weight / size**2}
        options |= {"directions": 1} if data == "projections" else {}
    result = fit(model, points, values, **options)

    def both(part):
        return lambda at: result.model.value_and_gradient(torch.from_numpy(at))[part].numpy()

    return *scaled.relative_errors(both(0), both(1)), float(result.history[-1] ** 0.5)


def wrong_field(field: str, points: npt.ArrayLike) -> np.ndarray:
    r"""Return a vector field on the square :math:`[-1, 1]^2`, of root mean square length 1.

    With :math:`\psi(s, t) = \frac{2}{\pi} \sqrt2 \cos\frac{\pi s}2 \cos\frac{\pi t}2`, which is
    zero on the boundary, "gradient" is :math:`\nabla\psi`, and "curl" is that turned by a right
    angle, :math:`(\partial_t \psi, -\partial_s \psi)`. At each point the two are equally long. The
    second has no divergence, and does not cross the boundary: it is orthogonal to all gradients.

    Args:
        field: "gradient" or "curl".
        points: Shape (n, 2).

    Raises:
        ValueError: There is no such field, or the points are not of this shape.

    Source: the Helmholtz decomposition.

    Example:
        >>> wrong_field("curl", [[0.0, 1.0]]).round(3) + 0.0
        array([[-1.414,  0.   ]])
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected points of shape (n, 2), got {points.shape}")
    if field not in FIELDS[1:]:
        raise ValueError(f"expected a field among {', '.join(FIELDS[1:])}, got {field!r}")
    s, t = np.pi / 2 * points.T
    slopes = -(2**0.5) * np.stack([np.sin(s) * np.cos(t), np.cos(s) * np.sin(t)], axis=1)
    return slopes if field == "gradient" else slopes[:, ::-1] * [1.0, -1.0]


# Sweeps of the task


@dataclass(frozen=True, kw_only=True)
class SobolevSweep:
    r"""The errors of a sweep, relative to the function and to its gradient.

    Attributes:
        rows: Dicts with "target", "learner", "data", "points_count" and the conditions "weight",
            "value_noise", "gradient_noise", "field" and "field_size", and with "value" and
            "gradient", relative errors, and "loss", the root of the training loss at the end:
            lists over the seeds.
    """

    rows: tuple[dict, ...]

    def errors(
        self,
        target: str,
        learner: str,
        data: str,
        points_count: int,
        *,
        quantity: str = "value",
        **conditions,
    ) -> np.ndarray:
        r"""Return the relative errors of one setting, (seeds,).

        Args:
            target: The name of the target.
            learner: "tanh", "small", "relu" or "kriging".
            data: "values", "gradients" or "projections".
            points_count: The number of points.
            quantity: "value", "gradient" or "loss".
            **conditions: Those that are not at their usual values: weight 1, no noise, no field.

        Raises:
            ValueError: The sweep does not have it.

        Example:
            >>> sweep = sobolev_sweep(targets=["booth"], learners=["kriging"],
            ...     data=["values"], points_counts=[10], seeds=2, rng=0)
            >>> sweep.errors("booth", "kriging", "values", 10).shape
            (2,)
        """
        head = {"target": target, "learner": learner, "data": data, "points_count": points_count}
        wanted = _head({**head, **CONDITIONS, **conditions})
        found = [row for row in self.rows if _head(row) == wanted]
        if not found or quantity not in found[0] or set(conditions) - set(CONDITIONS):
            raise ValueError(
                f"expected a setting and a quantity of the sweep, and got {quantity!r} of "
                f"{ {**head, **conditions} }"
            )
        return np.array(found[0][quantity])


def _head(row):
    return tuple(row[key] for key in HEAD)


def sobolev_sweep(
    *,
    targets: Sequence[str],
    learners: Sequence[str],
    data: Sequence[str],
    points_counts: Sequence[int],
    seeds: int = 8,
    weight: float = 1.0,
    value_noise: float = 0.0,
    gradient_noise: float = 0.0,
    field: str = "none",
    field_size: float = 0.0,
    rng: int,
    store: str | Path | None = None,
    progress: bool = True,
) -> SobolevSweep:
    r"""Measure the errors of learners that got values, or values and gradients, at random points.

    Targets are scaled (:class:`ScaledTarget`), and points uniform in the cube. With G, the mean
    square of the target's gradient, a network minimises

    .. math:: \frac1n \sum_i (h(x_i) - y_i)^2
              + \frac{w}{G} \cdot \frac1n \sum_i \|\nabla h(x_i) - g_i\|_2^2 ,

    so that with w = 1 both terms are 1 for the network 0, in the mean. "projections" sees each
    gradient along one random direction only. The learners are

    - "tanh": two layers of 20 tanh units, by at most 200 steps of Levenberg-Marquardt;
    - "small": the same with 10 units in a layer;
    - "relu": two layers of 256 ReLU units, by 400 steps of Adam, from a rate of 0.003;
    - "kriging": :func:`~gradnotes.kriging.krige`, with the kernel that is more likely.

    All learners and data of a seed get the same points, and the first n of them are the points for
    n. The networks of a seed start from the same weights.

    The cells are run by :func:`gradnotes.sweeps.run_cells`, which says how to use several processes
    or a cluster, and how a store resumes a sweep.

    Args:
        targets: Names that :func:`named_target` takes.
        learners: Among "tanh", "small", "relu" and "kriging".
        data: Among "values", "gradients" and "projections"; the last is for networks.
        points_counts: The numbers n of points, 2 or more.
        seeds: The number of seeds, 2 or more.
        weight: w, above 0.
        value_noise: The standard deviation of normal noise in the values, in units of that of the
            target.
        gradient_noise: The root mean square length of normal noise in the gradients, in units of
            that of the gradient.
        field: "none", "gradient" or "curl": what is added to the gradients (:func:`wrong_field`),
            in two variables.
        field_size: Its root mean square length, in units of that of the gradient.
        rng: An integer seed.
        store: None, or a folder that keeps what is done.
        progress: Whether a terminal shows a progress bar.

    Raises:
        TypeError: ``rng`` is not an integer.
        ValueError: A name or a number makes no sense, or the store does not fit.

    Source: the book's page on Sobolev training; Czarnecki and others (2017) for the method.

    Example:
        >>> sweep = sobolev_sweep(targets=["mccormick"], learners=["tanh"],
        ...     data=["values", "gradients"], points_counts=[10], seeds=4, rng=0)
        >>> plain, told = (sweep.errors("mccormick", "tanh", d, 10) for d in DATA[:2])
        >>> paired_ratio(plain, told).ratio > 1
        True
    """
    grid = (targets, learners, data, points_counts, seeds)
    values = (weight, value_noise, gradient_noise, field, field_size)
    cells = _cells(*grid, dict(zip(CONDITIONS, values, strict=True)), rng)
    return _merged(cells, run_cells(_cell_errors, cells, store=store, progress=progress))


def _cells(targets, learners, data, points_counts, seeds, conditions, rng):
    """Return the cells of a sweep, with a few seeds each, and the conditions that are not usual."""
    cell_generator(rng)  # refuses a seed that makes no sense
    check_whole("seeds", seeds, 2)
    conditions = {**CONDITIONS, **conditions}
    check_number("weight", conditions["weight"], above=True)
    for name in ("value_noise", "gradient_noise", "field_size"):
        check_number(name, conditions[name])
    for name, one, known in (
        *(("a learner", learner, LEARNERS) for learner in learners),
        *(("data", kind, DATA) for kind in data),
        ("a field", conditions["field"], FIELDS),
    ):
        if one not in known:
            raise ValueError(f"expected {name} among {', '.join(known)}, and got {one!r}")
    if "kriging" in learners and "projections" in data:
        raise ValueError("expected networks for projections, and got 'kriging'; try data='values'")
    unusual = {key: value for key, value in conditions.items() if value != CONDITIONS[key]}
    cells = []
    for target, learner, kind, count in product(targets, learners, data, points_counts):
        dimension = len(named_target(target).centre)
        if conditions["field"] != "none" and dimension != 2:
            raise ValueError(f"expected targets of two variables for a field, and got {target!r}")
        check_whole("a number of points", count, 2)
        base = {"target": target, "learner": learner, "data": kind, "points_count": int(count)}
        groups = in_groups(seeds, GROUP)
        cells += [{**base, **unusual, "seeds": group, "rng": int(rng)} for group in groups]
    return cells


def _merged(cells, results):
    """Return the results of groups of seeds as one row for each setting."""
    heads = [{key: {**CONDITIONS, **cell}[key] for key in HEAD} for cell in cells]
    return SobolevSweep(rows=joined_groups(heads, results))


# Comparisons


@dataclass(frozen=True, kw_only=True)
class PairedRatio:
    r"""How many times larger one error is than another, over the seeds.

    Attributes:
        ratio: The geometric mean of the ratios.
        interval: Its 95 % interval, by Student's t on the logarithms.
        wins: For how many seeds the ratio is above 1.
        seeds: The number of seeds.
    """

    ratio: float
    interval: tuple[float, float]
    wins: int
    seeds: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.ratio:.2f} [{low:.2f}, {high:.2f}]"


def paired_ratio(first: npt.ArrayLike, second: npt.ArrayLike) -> PairedRatio:
    r"""Return the geometric mean of the ratios of two errors, seed by seed, with an interval.

    .. math:: \exp\Bigl(\bar u \pm t_{0.975,\,S-1} \frac{\operatorname{sd}(u)}{\sqrt S}\Bigr),
              \qquad u_s = \ln \frac{a_s}{b_s}

    It takes out what the two have in common in a seed, such as easy or hard points.

    Args:
        first: a, (S,), above 0, S of 2 or more.
        second: b, (S,), above 0.

    Raises:
        ValueError: The shapes differ, there are fewer than two seeds, or an error is not a finite
            number above 0.

    Source: Student (1908), for pairs.

    Example:
        >>> print(paired_ratio([2.0, 4.0, 4.0], [1.0, 1.0, 2.0]))
        2.52 [0.93, 6.81]
    """
    pair = [np.asarray(errors, dtype=np.float64) for errors in (first, second)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape or len(pair[0]) < 2:
        raise ValueError(
            f"expected two arrays of one shape, 2 seeds or more, and got {pair[0].shape} and "
            f"{pair[1].shape}"
        )
    if not all((np.isfinite(errors) & (errors > 0)).all() for errors in pair):
        raise ValueError("expected finite errors above 0; try leaving out a seed, in both")
    differences = np.log(pair[0]) - np.log(pair[1])
    mean, reach = mean_and_reach(differences)
    return PairedRatio(
        ratio=float(np.exp(mean)),
        interval=(float(np.exp(mean - reach)), float(np.exp(mean + reach))),
        wins=int((differences > 0).sum()),
        seeds=len(differences),
    )


def points_needed(counts: npt.ArrayLike, errors: npt.ArrayLike, level: npt.ArrayLike) -> np.ndarray:
    r"""Return how many points it takes until an error is down to a level, seed by seed.

    Between two numbers of points the logarithm of the error is taken as linear in the logarithm of
    the number. The first number counts at which the level is reached; where the first one is below
    the level already it is -inf, and where none reaches it inf, so that medians make sense.

    Args:
        counts: Numbers of points, (k,), increasing, k of 2 or more.
        errors: Shape (k, S), above 0.
        level: Shape (S,), above 0.

    Raises:
        ValueError: The shapes do not fit.

    Source: the book's page on Sobolev training.

    Example:
        >>> points_needed([10, 40], [[1.0, 1.0, 0.1], [0.25, 0.5, 0.1]], [0.5, 0.25, 0.2])
        array([ 20.,  inf, -inf])
    """
    counts = np.asarray(counts, dtype=np.float64)
    errors, level = np.asarray(errors, dtype=np.float64), np.asarray(level, dtype=np.float64)
    if errors.ndim != 2 or counts.shape != errors.shape[:1] or level.shape != errors.shape[1:]:
        raise ValueError(
            f"expected shapes (k,), (k, S) and (S,), and got {counts.shape}, {errors.shape} and "
            f"{level.shape}"
        )
    needed = np.full(len(level), np.inf)
    for s, column in enumerate(errors.T):
        below = np.flatnonzero(column <= level[s])
        if len(below) and below[0] == 0:
            needed[s] = -np.inf
        elif len(below):
            i = below[0] - 1
            ends = np.log(column[[i, i + 1]])
            share = (ends[0] - np.log(level[s])) / (ends[0] - ends[1])
            needed[s] = np.exp(np.log(counts[i]) + share * np.log(counts[i + 1] / counts[i]))
    return needed


# The study of the book

SEEDS = 8
SIZES = [10, 20, 50, 100]
WEIGHTS = [0.01, 0.1, 10.0, 100.0]
NOISES = [0.01, 0.1, 0.3, 1.0]
TRIPLED = sorted({*SIZES, *(3 * n for n in SIZES)})
NOISY = ["styblinski_tang", "mccormick"]


def _part(targets, learners, data, points_counts, **conditions):
    return {
        "targets": targets,
        "learners": learners,
        "data": data,
        "points_counts": points_counts,
        "conditions": conditions,
    }


STUDY = [
    _part([*FUNCTIONS], ["tanh", "kriging"], ["values"], TRIPLED),
    _part([*FUNCTIONS], ["tanh", "kriging"], ["gradients"], SIZES),
    _part([*FUNCTIONS], ["tanh"], ["projections"], [20, 100]),
    _part([*FUNCTIONS], ["relu"], ["values"], [20, 60, 100, 300]),
    _part([*FUNCTIONS], ["relu"], ["gradients"], [20, 100]),
    *(_part([*FUNCTIONS], ["tanh"], ["gradients"], [20], weight=w) for w in WEIGHTS),
    *(_part(["ackley"], ["tanh"], ["gradients"], [100], weight=w) for w in WEIGHTS),
    *(
        _part(NOISY, ["tanh"], [data], [count], **noise)
        for level in NOISES
        for data, count, noise in (
            ("values", 50, {"value_noise": level}),
            ("values", 150, {"value_noise": level}),
            ("gradients", 50, {"gradient_noise": level}),
            ("gradients", 50, {"value_noise": level, "gradient_noise": level}),
        )
    ),
    *(
        _part(["mccormick"], ["small"], ["gradients"], [25, 100, 400, 1600], **wrong)
        for wrong in ({}, *({"field": field, "field_size": 0.5} for field in FIELDS[1:]))
    ),
    _part(["mccormick"], ["small"], ["values"], [25, 100, 400, 1600]),
    _part(
        ["ackley_5", "ackley_2", "ackley_1", "bukin_flank"],
        ["tanh"],
        ["values", "gradients"],
        [20, 100],
    ),
    *(
        part
        for dimension in (2, 4, 8)
        for part in (
            _part(
                [f"cosines_{dimension}"],
                ["tanh", "kriging"],
                ["values"],
                sorted({20, 40, 80, 20 * (1 + dimension)}),
            ),
            _part([f"cosines_{dimension}"], ["tanh", "kriging"], ["gradients"], [20]),
        )
    ),
]


def study(*, rng: int = 0, store: str | Path | None = None, progress: bool = True) -> SobolevSweep:
    r"""Run the study of Sobolev training that the book reports; it takes half an hour of one core.

    ``python -m gradnotes.sobolev`` runs it and stores the table.

    Args:
        rng: An integer seed; the book's table has 0.
        store: None, or a folder that keeps what is done.
        progress: Whether a terminal shows a progress bar.

    Raises:
        ValueError: The store does not fit.

    Source: the book's page on Sobolev training.
    """
    cells = [cell for part in STUDY for cell in _cells(**part, seeds=SEEDS, rng=rng)]
    return _merged(cells, run_cells(_cell_errors, cells, store=store, progress=progress))


def stored_study() -> SobolevSweep:
    r"""Return the errors of the study that comes with the package, to four digits.

    Source: the book's page on Sobolev training.

    Example:
        >>> stored_study().errors("booth", "tanh", "gradients", 20).shape
        (8,)
    """
    return SobolevSweep(rows=tuple(load_table("sobolev")["rows"]))


def check_against_study(sweep: SobolevSweep) -> int:
    r"""Check that fitted models are as good as those of the stored study; return how many are.

    The last digits of a fitted network differ from machine to machine. So it is the geometric mean
    over the seeds of each error that must be in the stored 95 % interval for it, or within 10 % of
    the stored mean. A page that computes a part of the study anew checks it so.

    Args:
        sweep: With ``rng=0``, all 8 seeds, and settings of the study.

    Raises:
        ValueError: An error leaves the interval, or the study does not have the setting.

    Source: the book's page on Sobolev training.

    Example:
        >>> live = sobolev_sweep(targets=["booth"], learners=["tanh"], data=["gradients"],
        ...     points_counts=[10], rng=0)
        >>> check_against_study(live)
        2
    """
    stored = {_head(row): row for row in stored_study().rows}
    count = 0
    for row in sweep.rows:
        if _head(row) not in stored or len(row["value"]) != SEEDS:
            raise ValueError(
                f"expected settings of the study, with {SEEDS} seeds, and got {_head(row)} with "
                f"{len(row['value'])}"
            )
        for quantity in QUANTITIES:
            kept, reach = mean_and_reach(np.log(stored[_head(row)][quantity]))
            live = np.log(row[quantity]).mean()
            if not abs(live - kept) <= max(reach, np.log(1.1)):
                raise ValueError(
                    f"the {quantity} error of {_head(row)} is {np.exp(live):.3g}, outside the "
                    f"stored {np.exp(kept):.3g} times or over {np.exp(reach):.3g}; try rng=0, or "
                    "`make studies`"
                )
            count += 1
    return count


def main(path: Path | None = None) -> None:
    """Run the study on all cores and store its table, by default in the package."""
    store_study(
        lambda store: study(store=store).rows,
        path,
        settings={"rng": 0, "seeds": SEEDS, "study": STUDY},
        module=__name__,
        digits=4,
    )


if __name__ == "__main__":
    # Under its own name the module is what other processes import.
    from gradnotes import sobolev

    sobolev.main()
