r"""Fit networks to values, or to values and gradients, of a function at given points.

:func:`fit` has two methods: Levenberg-Marquardt, a damped Gauss-Newton method that reaches the
rounding error on small problems, and Adam, the usual choice for large ones.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gradnotes.expressions import check_points
from gradnotes.networks import MLP, make_generator
from gradnotes.solvers import Data, adam, levenberg_marquardt, outputs_of
from gradnotes.solvers import FitDiverged as FitDiverged  # what `fit` raises is found beside it

REACHED, LIMIT, STALLED = "tolerance reached", "step limit", "no further decrease"


@dataclass(frozen=True, kw_only=True)
class FitResult:
    r"""A fitted network and how the fit went; arrays of length S for an ensemble.

    Attributes:
        model: The fitted network, a new one.
        method: "levenberg-marquardt" or "adam".
        rms: Root mean square of the value residuals on the data, in units of the values.
        gradient_rms: Root mean square of the lengths of the gradient residuals, or None.
        converged: Whether the square root of the loss is at most the tolerance.
        reason: "tolerance reached", "step limit" or "no further decrease".
        steps: The number of steps taken, by the member that took most.
        history: The loss before each step and at the end, (steps + 1,) or (steps + 1, S). With
            minibatches it is the loss on the minibatch; the last entry is on all data.
        seconds: The time that the fit took.
    """

    model: MLP
    method: str
    rms: float | np.ndarray
    gradient_rms: float | np.ndarray | None
    converged: bool | np.ndarray
    reason: str | tuple[str, ...]
    steps: int
    history: np.ndarray
    seconds: float

    def __str__(self) -> str:
        text = f"{self.method}, {self.steps} steps: value RMS {np.max(self.rms):.2e}"
        if self.gradient_rms is not None:
            text += f", gradient RMS {np.max(self.gradient_rms):.2e}"
        count, total = np.sum(self.converged), np.size(self.converged)
        return f"{text} ({count} of {total} reached the tolerance)"


def fit(
    model: MLP,
    points: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    gradients: npt.ArrayLike | None = None,
    method: str = "levenberg-marquardt",
    steps: int | None = None,
    gradient_weight: float = 1.0,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    tolerance: float = 1e-13,
    rng: int | np.random.Generator = None,
) -> FitResult:
    r"""Fit a network, or each member of an ensemble, to values and, if given, gradients.

    .. math:: \text{loss} = \frac1n \sum_i (f(x_i) - y_i)^2
              + \frac{\text{gradient\_weight}}{n} \sum_i \|\nabla f(x_i) - g_i\|_2^2

    The fit starts from the present weights and works on a copy: ``model`` is left as it was, and
    ``fit(result.model, ...)`` goes on where a fit ended. The same arguments give the same weights.
    Small networks are fitted fastest on one thread (``torch.set_num_threads(1)``).

    Args:
        model: The network or ensemble to start from, in float64.
        points: Shape (n, d).
        values: Shape (n,); or (S, n), where each member of an ensemble gets its own data.
        gradients: None, or shape (n, d) or (S, n, d), in units of values over units of points.
        method: "levenberg-marquardt", or "adam" (its learning rate falls to 0 along a cosine).
        steps: The greatest number of steps; None means 500, for Adam 2000.
        gradient_weight: The weight of the gradient term, 0 or more.
        learning_rate: Of Adam's first step; None means 0.01.
        batch_size: The number of points in a minibatch of Adam; None means all points.
        tolerance: A fit has converged when the square root of the loss is at most this number, in
            units of the values.
        rng: An integer seed or a generator, required. Adam draws its minibatches from it;
            Levenberg-Marquardt draws nothing.

    Raises:
        TypeError: ``rng`` is missing, or data are not float64.
        ValueError: Shapes do not fit, data are not finite, or an option makes no sense.
        FitDiverged: The loss is not finite.

    Source: Marquardt (1963); Kingma and Ba (2015); Czarnecki and others (2017).

    Example:
        A target that is not in the book:

        >>> x = np.linspace(0.0, 1.0, 6)[:, None]
        >>> result = fit(MLP(1, (8,), domain=[(0, 1)], rng=1), x, np.exp(x[:, 0]), rng=0)
        >>> bool(result.rms < 1e-12), result.reason
        (True, 'tolerance reached')
    """
    generator = make_generator(rng, "fit")
    _check_model(model)
    data = _checked_data(model, points, values, gradients, gradient_weight)
    steps = _checked_options(method, steps, learning_rate, batch_size, tolerance)
    work = copy.deepcopy(model)
    start = time.perf_counter()
    if method == "adam":
        history = adam(work, data, steps, learning_rate or 0.01, batch_size, generator)
        stalled = np.zeros(len(data.wanted), dtype=bool)
    else:
        history, stalled = levenberg_marquardt(work, data, steps, tolerance)
    seconds = time.perf_counter() - start
    return _summarise(work, data, method, history, stalled, tolerance, seconds)


def _summarise(model, data, method, history, stalled, tolerance, seconds):
    """Return the result, without the member axis for a single network."""
    with torch.no_grad():
        outputs = outputs_of(model, data, slice(None), create_graph=False)
    squares = (outputs - data.wanted).square().mean(1).numpy()
    history, single = history.numpy(), model.members is None
    converged = np.sqrt(history[-1]) <= tolerance
    reasons = np.where(converged, REACHED, np.where(stalled, STALLED, LIMIT)).tolist()
    fitted = squares.shape[1] > 1
    gradient_rms = np.sqrt(squares[:, 1:].sum(1))
    return FitResult(
        model=model,
        method=method,
        rms=_per_member(np.sqrt(squares[:, 0]), single),
        gradient_rms=_per_member(gradient_rms, single) if fitted else None,
        converged=_per_member(converged, single),
        reason=reasons[0] if single else tuple(reasons),
        steps=len(history) - 1,
        history=history[:, 0] if single else history,
        seconds=seconds,
    )


def _per_member(array, single):
    return array[0].item() if single else array


def _check_model(model):
    if not isinstance(model, MLP):
        raise TypeError(f"expected a gradnotes MLP, and got {type(model).__name__}; try MLP(...)")
    if any(p.dtype != torch.float64 for p in model.parameters()):
        raise TypeError("fit works in float64, and got a network of another dtype; try .double()")
    if not all(p.requires_grad for p in model.parameters()):
        raise ValueError("fit trains all weights, and some are frozen; try model.requires_grad_()")


def _checked_data(model, points, values, gradients, gradient_weight):
    """Return the data as tensors with a member axis."""
    points = check_points(_as_array(points), model.inputs)
    if len(points) == 0:
        raise ValueError("expected at least one point, and got none")
    if not (math.isfinite(gradient_weight) and gradient_weight >= 0):
        raise ValueError(f"expected a finite gradient_weight >= 0, and got {gradient_weight}")
    wanted = _checked_wanted(values, (len(points),), model.members, "values")[..., None]
    factors = [1.0]
    if gradients is not None:
        slopes = _checked_wanted(gradients, points.shape, model.members, "gradients")
        wanted = np.concatenate([wanted, slopes], axis=-1)
        factors += [math.sqrt(gradient_weight)] * model.inputs
    return Data(
        points=torch.from_numpy(np.array(points)),
        wanted=torch.from_numpy(np.array(wanted)),
        factors=torch.tensor(factors, dtype=torch.float64),
    )


def _checked_wanted(data, shape, members, name):
    """Return wanted values or gradients with a member axis in front."""
    array = np.asarray(_as_array(data))
    if array.dtype != np.float64:
        raise TypeError(
            f"expected {name} of dtype float64, and got {array.dtype}; "
            f"try {name}.astype(numpy.float64)"
        )
    full = (members or 1, *shape)
    allowed = [shape] if members is None else [shape, full]
    if array.shape not in allowed:
        expected = " or ".join(str(tuple(shape)) for shape in allowed)
        raise ValueError(f"expected {name} of shape {expected}, and got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite {name}, and got infinite ones or NaN; try dropping them")
    return np.broadcast_to(array, full)


def _as_array(data):
    return data.detach().cpu().numpy() if isinstance(data, torch.Tensor) else data


def _checked_options(method, steps, learning_rate, batch_size, tolerance):
    """Return the number of steps, once all options make sense."""
    defaults = {"levenberg-marquardt": 500, "adam": 2000}
    if method not in defaults:
        raise ValueError(f"expected a method among {', '.join(defaults)}, and got {method!r}")
    if method != "adam" and (learning_rate is not None or batch_size is not None):
        raise ValueError('learning_rate and batch_size are options of method="adam" only')
    for name, number in (("steps", steps), ("batch_size", batch_size)):
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if number is not None and (not whole or number < 1):
            raise ValueError(f"expected {name} as an integer of 1 or more, and got {number!r}")
    if learning_rate is not None and not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"expected a finite learning_rate above 0, and got {learning_rate}")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"expected a finite tolerance of 0 or more, and got {tolerance}")
    return defaults[method] if steps is None else steps
