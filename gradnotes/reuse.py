r"""Sample reuse: how far the gradient of a training loss is from the true one, step after step.

:func:`reuse_trajectory` follows gradient descent on one sample, for two problems whose true
gradient is known. :func:`stale_gradient_bound` and :func:`stability_bound` bound its error,
:func:`first_order_bias` and :func:`first_order_gap` say how it begins, and :func:`reuse_budget`
turns the second bound into a number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from gradnotes.networks import make_generator

INPUTS = ("normal", "sphere")
# Weights longer than this would need so many nodes that something else has gone wrong.
LONGEST = 1e4
# A bound that lasts for so many steps lasts for any number.
FOREVER = 2**1000


# Two problems with a known population gradient


@dataclass(frozen=True, kw_only=True)
class _Regression:
    r"""What both problems share: inputs, true weights, and gradients that are multiples of inputs.

    Inputs have mean 0 and covariance the identity: "normal", or uniform on the "sphere" of radius
    :math:`\sqrt d`, where the loss of each observation has bounded curvature. The true weights are
    :math:`w = s\,(1, \dots, 1)/\sqrt d`; all directions are alike, so only their length s matters.
    """

    dimension: int
    scale: float = 1.0
    inputs: str = "normal"

    def __post_init__(self):
        if self.inputs not in INPUTS:
            raise ValueError(f"expected inputs among {', '.join(INPUTS)}, and got {self.inputs!r}")
        # On the sphere in one dimension there are two points, and nothing to integrate over.
        _check_whole("the dimension", self.dimension, 2 if self.inputs == "sphere" else 1)
        _check_number("the scale", self.scale)

    @property
    def target(self) -> np.ndarray:
        r"""The true weights w, (d,), which have the least population risk."""
        return np.full(self.dimension, self.scale / self.dimension**0.5)

    @property
    def start(self) -> np.ndarray:
        r"""The weights that a trajectory starts from, 0, (d,); they depend on no sample."""
        return np.zeros(self.dimension)

    def draw(
        self, shape: int | tuple[int, ...], *, rng: int | np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Draw independent observations.

        Args:
            shape: n, or a shape such as (samples, n).
            rng: An integer seed or a generator, required.

        Returns:
            The inputs, (..., n, d), and the responses, (..., n).

        Raises:
            TypeError: ``rng`` is neither an integer nor a generator.
        """
        generator = make_generator(rng, "draw")
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        x = generator.standard_normal((*shape, self.dimension))
        if self.inputs == "sphere":
            x *= self.dimension**0.5 / np.linalg.norm(x, axis=-1, keepdims=True)
        return x, self._responses(x @ self.target, generator)

    def gradients(self, theta: npt.ArrayLike, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r"""Return the gradient of the loss of each observation.

        Args:
            theta: The weights, (..., d).
            x: The inputs, (..., n, d).
            y: The responses, (..., n).

        Returns:
            Shape (..., n, d).
        """
        return self._residuals(_margins(theta, x), y)[..., None] * x


@dataclass(frozen=True, kw_only=True)
class LinearProblem(_Regression):
    r"""Linear regression with the squared loss, and with noise.

    .. math:: y = x \cdot w + \nu \xi, \qquad \ell(\theta; x, y) = \tfrac12 (x \cdot \theta - y)^2

    where :math:`\xi` is standard normal. As the inputs have the identity as covariance,

    .. math:: F(\theta) = \tfrac12 \|\theta - w\|^2 + \tfrac12 \nu^2, \qquad
              \nabla F(\theta) = \theta - w .

    Attributes:
        dimension: d, 1 or more; 2 or more on the sphere.
        scale: The length :math:`\|w\|` of the true weights, 0 or more.
        inputs: "normal", or "sphere", of radius :math:`\sqrt d`.
        noise: :math:`\nu`, 0 or more, in units of y.

    Raises:
        ValueError: A number or the kind of inputs makes no sense.

    Source: least squares.

    Example:
        >>> problem = LinearProblem(dimension=4, noise=0.5)
        >>> problem.population_gradient(problem.start)
        array([-0.5, -0.5, -0.5, -0.5])
    """

    noise: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        _check_number("the noise", self.noise)

    @property
    def smoothness(self) -> float:
        r"""The least :math:`\beta` with which every loss is smooth: d, or inf for normal inputs."""
        return float(self.dimension) if self.inputs == "sphere" else math.inf

    @property
    def population_smoothness(self) -> float:
        r"""The Lipschitz constant of :math:`\nabla F`, which is 1."""
        return 1.0

    def losses(self, theta: npt.ArrayLike, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r"""Return the loss of each observation, (..., n); arguments as for the gradients."""
        return (_margins(theta, x) - y) ** 2 / 2

    def population_gradient(self, theta: npt.ArrayLike) -> np.ndarray:
        r"""Return :math:`\nabla F(\theta)` for weights (..., d), in the same shape."""
        return np.asarray(theta, dtype=np.float64) - self.target

    def risk(self, theta: npt.ArrayLike) -> np.ndarray:
        r"""Return the population risk :math:`F(\theta)`, (...), for weights (..., d)."""
        return ((self.population_gradient(theta) ** 2).sum(axis=-1) + self.noise**2) / 2

    def trace_at_start(self) -> float:
        r"""Return :math:`\operatorname{tr}\Sigma(0)`, the total variance of a gradient at 0.

        .. math:: \operatorname{tr}\Sigma(\theta) = (d \pm 1) \|\theta - w\|^2 + d\,\nu^2,

        with + for normal inputs and - on the sphere.
        """
        return self._spread * self.scale**2 + self.dimension * self.noise**2

    def trace_gradient_at_start(self) -> np.ndarray:
        r"""Return :math:`\nabla \operatorname{tr}\Sigma(0)`, (d,): :math:`-2 (d \pm 1)\,w`."""
        return -2 * self._spread * self.target

    @property
    def _spread(self):
        return self.dimension + (1 if self.inputs == "normal" else -1)

    def _responses(self, margins, generator):
        return margins + self.noise * generator.standard_normal(margins.shape)

    def _residuals(self, margins, y):
        return margins - y


@dataclass(frozen=True, kw_only=True)
class LogisticProblem(_Regression):
    r"""Logistic regression: labels 0 and 1, drawn from the model itself.

    .. math:: P(y = 1 \mid x) = \sigma(x \cdot w), \qquad
              \ell(\theta; x, y) = \ln(1 + e^{x \cdot \theta}) - y\,x \cdot \theta,
              \qquad \sigma(m) = \frac1{1 + e^{-m}}

    For normal inputs Stein's identity, :math:`E[x\,g(x \cdot \theta)] = \theta\,E[g'(x \cdot
    \theta)]`, leaves an integral in one variable:

    .. math:: \nabla F(\theta) = c(\|\theta\|)\,\theta - c(\|w\|)\,w, \qquad
              c(r) = E\,\sigma'(r\,T), \qquad T \sim N(0, 1).

    Integration by parts gives the same on the sphere, where T is then :math:`\sqrt d` times a
    coordinate of a uniform point on the unit sphere in d + 2 dimensions. The integral is done by
    the trapezoidal rule to about :math:`10^{-15}`; Gauss-Hermite nodes, the usual choice, would be
    too sparse for long weights, for which :math:`\sigma'` is a narrow spike.

    Attributes:
        dimension: d, 1 or more; 2 or more on the sphere.
        scale: The length :math:`\|w\|` of the true weights, from 0 (pure chance) to 10,000.
        inputs: "normal", or "sphere", of radius :math:`\sqrt d`.

    Raises:
        ValueError: A number or the kind of inputs makes no sense.

    Source: Stein (1981) for the identity, recalled.

    Example:
        At 0 the mean of :math:`x\,(1/2 - y)` points away from the true weights:

        >>> problem = LogisticProblem(dimension=4, scale=2.0)
        >>> problem.population_gradient(problem.start).round(4)
        array([-0.1514, -0.1514, -0.1514, -0.1514])
    """

    def __post_init__(self):
        super().__post_init__()
        if self.scale > LONGEST:
            raise ValueError(f"expected a scale of at most {LONGEST:g}, and got {self.scale}")

    @property
    def smoothness(self) -> float:
        r"""The least :math:`\beta` with which every loss is smooth: d/4, or inf for normal inputs.

        It is the greatest :math:`\sigma'(m) \|x\|^2`, with :math:`\sigma' \le 1/4`.
        """
        return self.dimension / 4 if self.inputs == "sphere" else math.inf

    @property
    def population_smoothness(self) -> float:
        r"""The Lipschitz constant of :math:`\nabla F`, which is 1/4."""
        return 0.25

    def losses(self, theta: npt.ArrayLike, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r"""Return the loss of each observation, (..., n); arguments as for the gradients."""
        margins = _margins(theta, x)
        return np.logaddexp(0.0, margins) - y * margins

    def population_gradient(self, theta: npt.ArrayLike) -> np.ndarray:
        r"""Return :math:`\nabla F(\theta)` for weights (..., d), in the same shape."""
        theta = np.asarray(theta, dtype=np.float64)
        factors = self._stein(np.linalg.norm(theta, axis=-1))
        return factors[..., None] * theta - self._stein(self.scale) * self.target

    def risk(self, theta: npt.ArrayLike) -> np.ndarray:
        r"""Return the population risk :math:`F(\theta)`, (...), for weights (..., d).

        .. math:: F(\theta) = E \ln(1 + e^{\|\theta\| T}) - c(\|w\|)\,w \cdot \theta,

        where here T is a coordinate of an input.
        """
        theta = np.asarray(theta, dtype=np.float64)
        lengths = np.linalg.norm(theta, axis=-1)
        t, weights = _rule(self.inputs, self.dimension, self.dimension, lengths)
        return np.logaddexp(0.0, lengths[..., None] * t) @ weights - self._stein(self.scale) * (
            theta @ self.target
        )

    def trace_at_start(self) -> float:
        r"""Return :math:`\operatorname{tr}\Sigma(0)`, the total variance of a gradient at 0.

        .. math:: \operatorname{tr}\Sigma(0) = \tfrac d4 - c(\|w\|)^2 \|w\|^2

        At 0 every residual is 1/2 or -1/2, so the mean of the squared norm is d/4.
        """
        return self.dimension / 4 - float(self._stein(self.scale) * self.scale) ** 2

    def trace_gradient_at_start(self) -> np.ndarray:
        r"""Return :math:`\nabla \operatorname{tr}\Sigma(0)`, (d,).

        .. math:: -\tfrac12 \bigl(d\,c(\|w\|) + E[T^2 \sigma'(\|w\| T)]\bigr)\,w \quad\text{and}
                  \quad -\tfrac12 (d - 1)\,c(\|w\|)\,w

        for normal inputs and on the sphere. It is the gradient of :math:`E[\|x\|^2 (\sigma(x \cdot
        \theta) - y)^2]`, which is :math:`\frac12 E[\|x\|^2 x (\frac12 - y)]` at 0, less twice the
        Hessian of F there, :math:`\frac14 I`, times :math:`\nabla F(0)`.
        """
        factor = (self.dimension - 1) * self._stein(self.scale)
        if self.inputs == "normal":
            t, weights = _rule("normal", self.dimension, self.dimension, self.scale)
            factor += ((1 + t**2) * _slope(self.scale * t)) @ weights
        return -factor / 2 * self.target

    def _stein(self, lengths):
        """Return c(r) for lengths r of weights."""
        lengths = np.asarray(lengths, dtype=np.float64)
        t, weights = _rule(self.inputs, self.dimension, self.dimension + 2, lengths)
        return _slope(lengths[..., None] * t) @ weights

    def _responses(self, margins, generator):
        return (generator.random(margins.shape) < expit(margins)).astype(np.float64)

    def _residuals(self, margins, y):
        return expit(margins) - y


def _margins(theta, x):
    return (x @ np.asarray(theta, dtype=np.float64)[..., None])[..., 0]


def _slope(margins):
    """Return the derivative of the logistic function, without cancellation far from 0."""
    return expit(margins) * expit(-margins)


def _rule(inputs, dimension, space, lengths):
    r"""Return points T and weights for the mean of a function of the logistic function of r T.

    T is standard normal, or the root of the dimension times a coordinate of a uniform point on the
    unit sphere in ``space`` dimensions. There T = sqrt(d) tanh(s), where s has a density
    proportional to cosh(s)^(1 - space). Both densities are analytic and die out fast, so that the
    trapezoidal rule errs by about exp(g - 2 pi a / h) for spacing h, if the function is analytic
    within a of the real line, and there at most exp(g) times as large as on it. The logistic
    function has its poles at odd multiples of i pi; g is that of the density.
    """
    largest = float(np.max(lengths, initial=0.0))
    if not largest <= LONGEST:
        raise ValueError(
            f"expected weights of length {LONGEST:g} at most, and got {largest:g}; try a smaller "
            "step_size"
        )
    if inputs == "normal":
        reach = 9.0
        clear = math.pi / max(largest, 1.0)
        growth = clear**2 / 2
    else:
        reach = 40.0 / (space - 1) + math.log(2.0)
        clear = math.atan(math.pi / max(largest * dimension**0.5, 1.0))
        growth = -(space - 1) * math.log(math.cos(clear))
    count = math.ceil(reach * (36.0 + growth) / (2 * math.pi * clear))
    s = np.linspace(-reach, reach, 2 * count + 1)
    if inputs == "normal":
        t, weights = s, np.exp(-(s**2) / 2)
    else:
        t = dimension**0.5 * np.tanh(s)
        weights = np.exp((1 - space) * np.log(np.cosh(s)))
    return t, weights / weights.sum()


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
        problem: A :class:`LinearProblem` or a :class:`LogisticProblem`.
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
        _check_whole(name, number, least)
    _check_number("step_size", step_size, above=True)
    if batch_size is not None:
        _check_whole("batch_size", batch_size, 1)
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
    _check_number("smoothness", smoothness)
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

    Full-batch steps, a start that does not depend on the sample, and a loss with two continuous
    derivatives and enough moments. The bias leads, for descent, towards more variance: on its own
    sample the weights look for a place where the gradients of single observations agree.

    Args:
        problem: A :class:`LinearProblem` or a :class:`LogisticProblem`; the start is 0.
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

    The assumptions, arguments and errors are those of :func:`first_order_bias`, except that one
    continuous derivative is enough.

    Source: Roberts (2021), arXiv 2104.04874; and Monte Carlo agrees.

    Example:
        >>> round(first_order_gap(LinearProblem(dimension=4), n=50, steps=3, step_size=0.01), 6)
        0.0054
    """
    return _moved(problem, n, steps, step_size) * problem.trace_at_start()


def _moved(problem, n, steps, step_size):
    _check_problem(problem)
    _check_whole("n", n, 2)
    _check_whole("steps", steps, 1)
    _check_number("step_size", step_size, above=True)
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
    _check_number("tolerance", tolerance)
    _check_setting(n, step_size, smoothness)
    _check_number("sigma", sigma)
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
    _check_whole("n", n, 2)
    _check_number("step_size", step_size, above=True)
    if smoothness == math.inf:
        raise ValueError(
            "expected losses with a common finite smoothness, and got inf: the bound does not "
            'cover inputs without a bound; try inputs="sphere"'
        )
    _check_number("smoothness", smoothness)
    # Two divided by the smoothness, and then multiplied by it, may be off by a rounding.
    if step_size * smoothness > 2 * (1 + 1e-12):
        raise ValueError(
            f"expected step_size * smoothness of at most 2, and got {step_size * smoothness:g}: "
            "longer steps need not be stable, and the bound does not hold; try step_size="
            f"{2 / smoothness:.3g} or less"
        )


def _check_whole(name, number, least):
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or number < least:
        raise ValueError(
            f"expected {name} as an integer of {least} or more, and got {number!r}; try "
            f"{max(least, 10)}"
        )


def _check_number(name, number, above=False):
    real = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    if not (real and math.isfinite(number) and (number > 0 if above else number >= 0)):
        wanted = "above 0" if above else "of 0 or more"
        raise ValueError(f"expected {name} as a finite number {wanted}, and got {number!r}")


def _checked_numbers(name, numbers):
    numbers = np.asarray(numbers, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(
            f"expected {name} as finite numbers of 0 or more, and got {numbers.tolist()}"
        )
    return numbers
