r"""Two regression problems whose risk and its gradient are known: what samples are compared with.

:class:`LinearProblem` and :class:`LogisticProblem` draw samples, and give the loss and the gradient
of each observation as well as those of the whole population.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from gradnotes.arguments import check_number, check_whole, make_generator

INPUTS = ("normal", "sphere")
# Weights longer than this would need so many nodes that something else has gone wrong.
LONGEST = 1e4


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
        check_whole("the dimension", self.dimension, 2 if self.inputs == "sphere" else 1)
        check_number("the scale", self.scale)

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
        check_number("the noise", self.noise)

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
