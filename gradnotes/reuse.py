r"""Sample reuse: how far the gradient of a training loss is from the true one, step after step.

:func:`reuse_trajectory` follows gradient descent on one sample, for two problems whose true
gradient is known. :func:`stale_gradient_bound` and :func:`stability_bound` bound its error,
:func:`first_order_bias` and :func:`first_order_gap` say how it begins, and :func:`reuse_budget`
turns the second bound into a number of steps. For a training loop of your own see
:class:`gradnotes.monitors.ReuseMonitor`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradnotes.arguments import check_number, check_whole, make_generator
from gradnotes.regressions import LinearProblem as LinearProblem
from gradnotes.regressions import LogisticProblem as LogisticProblem

# A bound that lasts for so many steps lasts for any number.
FOREVER = 2**1000


# Trajectories


@dataclass(frozen=True, kw_only=True)
class ReuseTrajectory:
    r"""Gradient descent on samples, and at each step how far their gradients are from the true one.

    With :math:`F_S` the mean loss of a sample S, F the population risk and :math:`\theta_k` the
    weights after k steps, the error is :math:`e_k = \nabla F_S(\theta_k) - \nabla F(\theta_k)`. All
    norms are Euclidean. Each array has the shape (samples, steps + 1), the first column before any
    step.

    Attributes:
        error: :math:`\|e_k\|`, in units of a gradient.
        relative_error: :math:`\|e_k\| / \|\nabla F(\theta_k)\|`; inf where the true gradient is 0.
        accumulated_error: :math:`\alpha \|e_0 + \dots + e_k\|`, in units of the weights.
        persistence: The cosine between :math:`e_k` and :math:`e_0`; nan where one of them is 0.
        alignment: The cosine between :math:`\nabla F_S(\theta_k)` and :math:`\nabla F(\theta_k)`;
            nan where one of them is 0, and chance where the first has fallen to round-off.
        standard_error: :math:`\sqrt{\operatorname{tr} \hat\Sigma_S(\theta_k) / n}`, the root of the
            mean of :math:`\|e_k\|^2` as the sample itself would estimate it were it fresh, with
            :math:`\hat\Sigma_S` the covariance matrix (divisor n - 1) of its gradients.
        fresh_error: The error of a new sample of the same size at the same weights.
        fresh_accumulated_error: :math:`\alpha` times the norm of the sum of these errors.
        stale_error: :math:`\|\nabla F_S(\theta_0) - \nabla F(\theta_k)\|`, the error of a gradient
            that is never taken anew, along the same weights.
        gradient_norm: :math:`\|\nabla F_S(\theta_k)\|`.
        population_gradient_norm: :math:`\|\nabla F(\theta_k)\|`.
        distance: :math:`\|\theta_k - \theta_0\|`.
        risk: The population risk :math:`F(\theta_k)`.
        sample_risk: The mean loss of the sample, :math:`F_S(\theta_k)`.
        least_risk: The least population risk, one number.
        n: The number of observations in a sample.
        step_size: :math:`\alpha`.
        batch_size: The number of observations in a step, or None for all.
        resampled: Whether each step had a new sample.
    """

    error: np.ndarray
    relative_error: np.ndarray
    accumulated_error: np.ndarray
    persistence: np.ndarray
    alignment: np.ndarray
    standard_error: np.ndarray
    fresh_error: np.ndarray
    fresh_accumulated_error: np.ndarray
    stale_error: np.ndarray
    gradient_norm: np.ndarray
    population_gradient_norm: np.ndarray
    distance: np.ndarray
    risk: np.ndarray
    sample_risk: np.ndarray
    least_risk: float
    n: int
    step_size: float
    batch_size: int | None
    resampled: bool


def reuse_trajectory(
    problem: LinearProblem | LogisticProblem,
    *,
    n: int,
    steps: int,
    step_size: float,
    samples: int,
    batch_size: int | None = None,
    resample: bool = False,
    rng: int | np.random.Generator,
) -> ReuseTrajectory:
    r"""Take gradient steps on one sample, for many independent samples, and measure their errors.

    .. math:: \theta_{k+1} = \theta_k - \alpha \nabla F_B(\theta_k), \qquad
              e_k = \nabla F_S(\theta_k) - \nabla F(\theta_k), \qquad \theta_0 = 0

    The batch B is the whole sample S, or ``batch_size`` observations of it. Batches go through the
    sample in a random order, which is drawn anew for each epoch; the few observations that do not
    fill a batch are left out of that epoch. The errors are always those of the whole sample, at the
    weights that the batches led to.

    Samples, fresh samples and batches have their own streams of random numbers: with the same seed
    the first samples are the same whatever the steps and the batches. Memory grows with samples
    times n times d, and time with that times the steps.

    Args:
        problem: A linear or logistic problem of :mod:`gradnotes.regressions`.
        n: The number of observations in a sample, 2 or more.
        steps: The number of steps, 1 or more.
        step_size: :math:`\alpha`, above 0.
        samples: The number of independent samples, 1 or more.
        batch_size: None for the whole sample, or from 1 to n.
        resample: Whether to draw a new sample before each step but the first. This is what reuse is
            compared with; it takes ``steps`` times the observations.
        rng: An integer seed or a generator, required.

    Raises:
        TypeError: ``rng`` is missing, or the problem is something else.
        ValueError: A number makes no sense, or the steps diverge.

    Source: gradient descent, with the errors that the question of this book asks for.

    Example:
        The error stays about as large as that of a fresh sample, but it keeps its direction, and
        adds up:

        >>> options = {"n": 100, "steps": 100, "step_size": 0.1, "samples": 24, "rng": 0}
        >>> reused = reuse_trajectory(LinearProblem(dimension=20), **options)
        >>> ratio = reused.error[:, -1].mean() / reused.fresh_error[:, -1].mean()
        >>> kept, fresh = reused.accumulated_error, reused.fresh_accumulated_error
        >>> 0.8 < ratio < 1.25, kept[:, -1].mean() > 3 * fresh[:, -1].mean()
        (np.True_, np.True_)
    """
    _check_problem(problem)
    for name, number, least in (("n", n, 2), ("steps", steps, 1), ("samples", samples, 1)):
        check_whole(name, number, least)
    check_number("step_size", step_size, above=True)
    if batch_size is not None:
        check_whole("batch_size", batch_size, 1)
        if batch_size > n:
            raise ValueError(
                f"expected a batch_size of at most n = {n}, and got {batch_size}; try "
                "batch_size=None for the whole sample"
            )
    sampling, freshness, batching = make_generator(rng, "reuse_trajectory").spawn(3)
    batches = None if batch_size is None else _batches(n, batch_size, samples, batching)
    x, y = problem.draw((samples, n), rng=sampling)
    theta = np.tile(problem.start, (samples, 1))
    columns, total, fresh_total = [], 0.0, 0.0
    # Steps that diverge overflow before they are found out.
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(steps + 1):
            if resample and k:
                x, y = problem.draw((samples, n), rng=sampling)
            _check_weights(theta, k)
            gradients = problem.gradients(theta, x, y)
            mean = gradients.mean(axis=1)
            true = problem.population_gradient(theta)
            error = mean - true
            fresh = problem.gradients(theta, *problem.draw((samples, n), rng=freshness))
            fresh_error = fresh.mean(axis=1) - true
            if k == 0:
                first_error, first_mean = error, mean
            total, fresh_total = total + error, fresh_total + fresh_error
            squares = ((gradients - mean[:, None]) ** 2).sum(axis=(1, 2))
            columns.append(
                {
                    "error": _norm(error),
                    "relative_error": _ratio(_norm(error), _norm(true), np.inf),
                    "accumulated_error": step_size * _norm(total),
                    "persistence": _cosine(error, first_error),
                    "alignment": _cosine(mean, true),
                    "standard_error": np.sqrt(squares / (n - 1) / n),
                    "fresh_error": _norm(fresh_error),
                    "fresh_accumulated_error": step_size * _norm(fresh_total),
                    "stale_error": _norm(first_mean - true),
                    "gradient_norm": _norm(mean),
                    "population_gradient_norm": _norm(true),
                    "distance": _norm(theta - problem.start),
                    "risk": problem.risk(theta),
                    "sample_risk": problem.losses(theta, x, y).mean(axis=1),
                }
            )
            if batches is not None:
                chosen = next(batches)[..., None]
                mean = np.take_along_axis(gradients, chosen, axis=1).mean(axis=1)
            theta = theta - step_size * mean
    return ReuseTrajectory(
        **{name: np.stack([column[name] for column in columns], axis=1) for name in columns[0]},
        least_risk=float(problem.risk(problem.target)),
        n=n,
        step_size=step_size,
        batch_size=batch_size,
        resampled=resample,
    )


def _batches(n, size, samples, generator) -> Iterator[np.ndarray]:
    """Give the places (samples, size) of one batch after another, without end."""
    while True:
        orders = generator.permuted(np.tile(np.arange(n), (samples, 1)), axis=1)
        for first in range(0, n - size + 1, size):
            yield orders[:, first : first + size]


def _check_weights(theta, k):
    longest = np.max(np.abs(theta))
    # The square of a longer gradient, times n, may overflow.
    if not longest < 1e100:
        raise ValueError(
            f"expected steps that converge, but after {k} steps a weight is {longest:.1e}; try a "
            "smaller step_size"
        )


def _norm(vectors):
    return np.linalg.norm(vectors, axis=-1)


def _ratio(numerator, denominator, otherwise):
    ratio = np.full(np.shape(numerator), otherwise)
    return np.divide(numerator, denominator, out=ratio, where=denominator > 0)


def _cosine(one, other):
    cosine = _ratio((one * other).sum(axis=-1), _norm(one) * _norm(other), np.nan)
    return np.clip(cosine, -1.0, 1.0)


# Bounds


def stale_gradient_bound(
    first_error: npt.ArrayLike, distance: npt.ArrayLike, *, smoothness: float
) -> np.ndarray:
    r"""Bound the error of a gradient that was taken once and is kept while the weights move.

    .. math:: \|\nabla F_S(\theta_0) - \nabla F(\theta_k)\| \le
              \|\nabla F_S(\theta_0) - \nabla F(\theta_0)\| + \beta\,\|\theta_k - \theta_0\|

    It holds for every sample and every path, if :math:`\nabla F` is :math:`\beta`-Lipschitz between
    the two points. Nothing is asked of the losses of single observations, and nothing has to be
    convex. It says nothing about a gradient that is taken anew on the same sample; for that see
    :func:`stability_bound`.

    Args:
        first_error: :math:`\|\nabla F_S(\theta_0) - \nabla F(\theta_0)\|`, 0 or more; its mean
            square is :math:`\operatorname{tr}\Sigma(\theta_0) / n`.
        distance: :math:`\|\theta_k - \theta_0\|`, 0 or more, of a shape that fits.
        smoothness: :math:`\beta`, of the population risk, 0 or more.

    Raises:
        ValueError: A number is negative or not finite.

    Source: the triangle inequality; Johnson and Zhang (2013), recalled, for the setting.

    Example:
        >>> stale_gradient_bound(0.5, [0.0, 1.0, 2.0], smoothness=0.25)
        array([0.5 , 0.75, 1.  ])
    """
    first_error = _checked_numbers("first_error", first_error)
    distance = _checked_numbers("distance", distance)
    check_number("smoothness", smoothness)
    return first_error + smoothness * distance


def stability_bound(
    steps: npt.ArrayLike,
    *,
    n: int,
    step_size: float,
    smoothness: float,
    sigma: npt.ArrayLike,
    largest_sigma: npt.ArrayLike | None = None,
) -> np.ndarray:
    r"""Bound the error of a gradient that is taken anew, at each step, on the same sample.

    .. math:: \bigl(E\,\|\nabla F_S(\theta_t) - \nabla F(\theta_t)\|^2\bigr)^{1/2} \le
              \frac{\sigma_t}{\sqrt n} + 8 \alpha \beta\,\bar\sigma\,\frac tn\,
              e^{2 \alpha \beta t / n}, \qquad
              \sigma_s^2 = E \operatorname{tr}\Sigma(\theta_s), \qquad
              \bar\sigma = \max_{s \le t} \sigma_s

    The first term is what a fresh sample would have. It holds if

    - the loss of every observation is convex and :math:`\beta`-smooth;
    - each step is a full-batch gradient step on the same n independent observations, with
      :math:`\alpha \le 2/\beta`;
    - the start does not depend on the sample, and t is fixed beforehand;
    - :math:`\operatorname{tr}\Sigma(\theta)`, the total variance of the gradient of one
      observation, has a finite mean.

    The mean is over samples: a single sample may be worse. Linear and logistic regression with
    normal inputs are not covered, as their losses have no common :math:`\beta`; with inputs on a
    sphere they are.

    Args:
        steps: t, whole numbers of 0 or more.
        n: The number of observations, 2 or more.
        step_size: :math:`\alpha`, above 0.
        smoothness: :math:`\beta`, of the loss of each observation, 0 or more.
        sigma: :math:`\sigma_t`, 0 or more, a number or one for each t, in units of a gradient.
        largest_sigma: :math:`\bar\sigma`, at least ``sigma``; by default ``sigma`` itself, which
            is right if that is a bound for the whole path.

    Raises:
        ValueError: :math:`\alpha\beta` is above 2, or another number makes no sense.

    Source: algorithmic stability, as in Hardt, Recht and Singer (2016) and Lei (2023), both
        recalled; the constants are our own, and exact enumerations of small cases agree.

    Example:
        >>> setting = {"n": 10_000, "step_size": 0.1, "smoothness": 2.0, "sigma": 1.0}
        >>> stability_bound([0, 10, 100], **setting).round(4)
        array([0.01  , 0.0116, 0.0261])
    """
    _check_setting(n, step_size, smoothness)
    steps = np.asarray(steps)
    if steps.dtype.kind not in "iu" or (steps < 0).any():
        raise ValueError(f"expected steps as whole numbers of 0 or more, and got {steps.tolist()}")
    sigma = _checked_numbers("sigma", sigma)
    largest = sigma if largest_sigma is None else _checked_numbers("largest_sigma", largest_sigma)
    if (largest < sigma).any():
        raise ValueError(
            f"expected a largest_sigma of at least sigma, and got {largest.tolist()} and "
            f"{sigma.tolist()}; try the maximum over the path"
        )
    return _stability(steps.astype(np.float64), n, step_size * smoothness, sigma, largest)


def _stability(steps, n, rate, sigma, largest):
    """Return the bound; ``rate`` is the step size times the smoothness."""
    moved = 2 * rate * steps / n
    with np.errstate(over="ignore"):
        # Where nothing varies there is no error, however large the exponential.
        grown = np.where(largest > 0, moved * np.exp(moved), 0.0)
        return sigma / n**0.5 + 4 * largest * grown


def first_order_bias(
    problem: LinearProblem | LogisticProblem, *, n: int, steps: int, step_size: float
) -> np.ndarray:
    r"""Return the bias of a reused gradient, to first order in the step size.

    .. math:: E[\nabla F_S(\theta_t) - \nabla F(\theta_t)] = -\frac{\alpha t}{2n}\,
              \nabla \operatorname{tr}\Sigma(\theta_0) + O\bigl((\alpha t)^2\bigr)

    Full-batch steps, a start that does not depend on the sample, and a loss with three continuous
    derivatives and enough moments. The bias points to less variance, and holds the steps of
    descent, which go against the gradient, back.

    Args:
        problem: A linear or logistic problem of :mod:`gradnotes.regressions`; the start is 0.
        n: The number of observations, 2 or more.
        steps: t, 1 or more.
        step_size: :math:`\alpha`, above 0.

    Returns:
        Shape (d,), in units of a gradient.

    Raises:
        TypeError: The problem is something else.
        ValueError: A number makes no sense.

    Source: Roberts (2021), arXiv 2104.04874; and Monte Carlo agrees.

    Example:
        >>> problem = LinearProblem(dimension=4)
        >>> first_order_bias(problem, n=50, steps=3, step_size=0.01).round(6)
        array([0.0015, 0.0015, 0.0015, 0.0015])
    """
    moved = _moved(problem, n, steps, step_size)
    return -moved / 2 * problem.trace_gradient_at_start()


def first_order_gap(
    problem: LinearProblem | LogisticProblem, *, n: int, steps: int, step_size: float
) -> float:
    r"""Return how far the training loss falls below the risk, to first order in the step size.

    .. math:: E[F(\theta_t) - F_S(\theta_t)] = \frac{\alpha t}{n}\,
              \operatorname{tr}\Sigma(\theta_0) + O\bigl((\alpha t)^2\bigr)

    The assumptions, arguments and errors are those of :func:`first_order_bias`, except that two
    continuous derivatives are enough.

    Source: Roberts (2021), arXiv 2104.04874; and Monte Carlo agrees.

    Example:
        >>> round(first_order_gap(LinearProblem(dimension=4), n=50, steps=3, step_size=0.01), 6)
        0.0054
    """
    return _moved(problem, n, steps, step_size) * problem.trace_at_start()


def _moved(problem, n, steps, step_size):
    _check_problem(problem)
    check_whole("n", n, 2)
    check_whole("steps", steps, 1)
    check_number("step_size", step_size, above=True)
    return step_size * steps / n


# The budget


@dataclass(frozen=True, kw_only=True)
class ReuseBudget:
    r"""How many steps on one sample :func:`stability_bound` allows; printing it says so in words.

    Attributes:
        steps: The largest k for which the bound is at most the tolerance, so that each of the
            gradients at :math:`\theta_0, \dots, \theta_k` is within it in the mean square. 0 if no
            reuse is certified: then ``first_certified`` tells whether the first gradient, which is
            no reuse, is within the tolerance. None if there is no limit, because nothing varies, or
            because the gradients do not depend on the weights.
        first_certified: Whether :math:`\sigma/\sqrt n` is at most the tolerance.
        bound: The bound after ``steps`` steps; its value for all k, if there is no limit.
        next_bound: The bound after one step more, which is above the tolerance; None without limit.
        tolerance: As asked.
        fresh_error: :math:`\sigma/\sqrt n`, the root mean square error of a fresh sample.
        doubling_steps: :math:`\sqrt n / (8 \alpha\beta)`, about where the bound has doubled; inf if
            the smoothness is 0.
    """

    steps: int | None
    first_certified: bool
    bound: float
    next_bound: float | None
    tolerance: float
    fresh_error: float
    doubling_steps: float

    @property
    def caveats(self) -> tuple[str, ...]:
        r"""How loose the number is, and what it does not cover, in sentences."""
        return (
            "It is loose: where more observations than weights were simulated, the error itself "
            "stayed near that of a fresh sample for hundreds of steps, long after the bound had "
            "passed it a thousandfold. More steps than these are not shown to be wrong.",
            "It covers full-batch gradient descent with convex losses of the given smoothness, "
            "from a start that does not depend on the sample, for a number of steps that is fixed "
            "beforehand.",
            "It does not cover networks, minibatches, momentum, longer steps, a warm start on the "
            "same sample, or stopping by a look at the sample.",
            "It bounds the root mean square over samples, not the error of this one; and it is "
            "only as good as sigma, which has to bound the noise on the whole path.",
            "It is about the size of each error. Errors on one sample have a common direction and "
            "add up, so the risk may rise within the budget.",
        )

    def __str__(self) -> str:
        if not self.first_certified:
            answer = (
                f"0 steps: even the first gradient has an error of {self.fresh_error:.3g}, above "
                f"the tolerance {self.tolerance:.3g}; take more observations."
            )
        elif self.steps is None:
            answer = f"no limit: the bound is {self.bound:.3g} after any number of steps."
        else:
            answer = (
                f"{self.steps} {'step' if self.steps == 1 else 'steps'}: the bound is "
                f"{self.bound:.3g} then, and {self.next_bound:.3g} one step later; the tolerance "
                f"is {self.tolerance:.3g}."
            )
        return " ".join((answer, *self.caveats))


def reuse_budget(
    tolerance: float, *, n: int, step_size: float, smoothness: float, sigma: float
) -> ReuseBudget:
    r"""Return the largest number of steps on one sample for which the error is surely small.

    It is the largest k with

    .. math:: \frac{\sigma}{\sqrt n} + 8 \alpha\beta\,\sigma\,\frac kn\, e^{2\alpha\beta k/n}
              \le \text{tolerance}, \qquad\text{or}\qquad
              k = \Bigl\lfloor \frac{n}{2\alpha\beta}\,
              W\Bigl(\frac{\text{tolerance} - \sigma/\sqrt n}{4\sigma}\Bigr) \Bigr\rfloor

    with Lambert's W. The bound and its assumptions are those of :func:`stability_bound`, and
    :attr:`ReuseBudget.caveats` says how loose it is and what it does not cover. The number is found
    by bisection on the bound itself, so that round-off does not move it.

    Args:
        tolerance: The largest root mean square error of a gradient, 0 or more. Below
            :math:`\sigma/\sqrt n` not even a fresh sample meets it, and the answer is 0.
        n: The number of observations, 2 or more.
        step_size: :math:`\alpha`, above 0.
        smoothness: :math:`\beta`, of the loss of each observation, 0 or more.
        sigma: A bound for :math:`\sigma_0, \dots, \sigma_k`, 0 or more, in units of a gradient.

    Raises:
        ValueError: The tolerance is negative, :math:`\alpha\beta` is above 2, or another number
            makes no sense.

    Source: :func:`stability_bound`, solved for the number of steps.

    Example:
        >>> budget = reuse_budget(0.02, n=10_000, step_size=0.1, smoothness=2.0, sigma=1.0)
        >>> budget.steps, round(budget.bound, 5), round(budget.next_bound, 5)
        (62, 0.01994, 0.02011)
        >>> print(str(budget).partition(";")[0])
        62 steps: the bound is 0.0199 then, and 0.0201 one step later
    """
    check_number("tolerance", tolerance)
    _check_setting(n, step_size, smoothness)
    check_number("sigma", sigma)
    rate = step_size * smoothness

    def bound(k):
        return float(_stability(float(k), n, rate, sigma, sigma))

    fresh = bound(0)
    steps = 0
    if bound(FOREVER) <= tolerance:
        steps = None
    elif fresh <= tolerance:
        above = 1
        while bound(above) <= tolerance:
            above *= 2
        steps = above // 2
        while above - steps > 1:
            middle = (above + steps) // 2
            steps, above = (middle, above) if bound(middle) <= tolerance else (steps, middle)
    return ReuseBudget(
        steps=steps,
        first_certified=fresh <= tolerance,
        bound=fresh if steps is None else bound(steps),
        next_bound=None if steps is None else bound(steps + 1),
        tolerance=tolerance,
        fresh_error=fresh,
        doubling_steps=n**0.5 / (8 * rate) if rate else math.inf,
    )


# Checks of arguments


def _check_problem(problem):
    if not isinstance(problem, LinearProblem | LogisticProblem):
        raise TypeError(
            f"expected a LinearProblem or a LogisticProblem, and got {problem!r}; try "
            "LinearProblem(dimension=20)"
        )


def _check_setting(n, step_size, smoothness):
    check_whole("n", n, 2)
    check_number("step_size", step_size, above=True)
    if smoothness == math.inf:
        raise ValueError(
            "expected losses with a common finite smoothness, and got inf: the bound does not "
            'cover inputs without a bound; try inputs="sphere"'
        )
    check_number("smoothness", smoothness)
    # Two divided by the smoothness, and then multiplied by it, may be off by a rounding.
    if step_size * smoothness > 2 * (1 + 1e-12):
        raise ValueError(
            f"expected step_size * smoothness of at most 2, and got {step_size * smoothness:g}: "
            "longer steps need not be stable, and the bound does not hold; try step_size="
            f"{2 / smoothness:.3g} or less"
        )


def _checked_numbers(name, numbers):
    numbers = np.asarray(numbers, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(
            f"expected {name} as finite numbers of 0 or more, and got {numbers.tolist()}"
        )
    return numbers
