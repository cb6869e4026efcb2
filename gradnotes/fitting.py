r"""Fit networks to values, or to values and gradients, of a function at given points.

:func:`fit` has three methods: Levenberg-Marquardt, a damped Gauss-Newton method that reaches the
rounding error where weights outnumber data; L-BFGS, for more data than a Gauss-Newton matrix can
hold; and Adam, the usual choice for large networks.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gradnotes import derivatives
from gradnotes.arguments import make_generator
from gradnotes.expressions import check_points
from gradnotes.networks import MLP
from gradnotes.solvers import FitDiverged as FitDiverged  # what `fit` raises is found beside it
from gradnotes.solvers import Problem, adam, lbfgs, levenberg_marquardt

STEPS = {"levenberg-marquardt": 500, "l-bfgs": 2000, "adam": 2000}
REACHED, LIMIT, STALLED = "tolerance reached", "step limit", "no further decrease"


@dataclass(frozen=True, kw_only=True)
class FitResult:
    r"""A fitted network and how the fit went; arrays of length S for an ensemble.

    Attributes:
        model: The fitted network, a new one.
        method: "levenberg-marquardt", "l-bfgs" or "adam".
        rms: Root mean square of the value residuals on the data, in units of the values.
        gradient_rms: Root mean square of the lengths of the gradient residuals, or None.
        converged: Whether the square root of the loss is at most the tolerance.
        reason: "tolerance reached", "step limit" or "no further decrease".
        steps: The number of steps taken, by the member that took most.
        history: The loss before each step and at the end, (steps + 1,) or (steps + 1, S); for
            Levenberg-Marquardt the lowest so far. With minibatches it is the loss on the
            minibatch; the last entry is on all data.
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
    gradient_weight: float | None = None,
    directions: int | None = None,
    method: str = "levenberg-marquardt",
    steps: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    tolerance: float = 1e-13,
    rng: int | np.random.Generator = None,
) -> FitResult:
    r"""Fit a network, or each member of an ensemble, to values and, if given, gradients.

    .. math:: \text{loss} = \frac1n \sum_i (f(x_i) - y_i)^2
              + \frac{\text{gradient\_weight}}{n} \sum_i \|\nabla f(x_i) - g_i\|_2^2

    With ``directions`` = q the gradients are seen along q random directions only. Orthonormal
    :math:`u_{1i}, \dots, u_{qi}` are drawn once for each point and each member, and
    :math:`\frac dq \sum_k (u_{ki} \cdot (\nabla f(x_i) - g_i))^2` takes the place of the squared
    length in the second sum, which is its mean; for q = d the two are equal.

    The fit starts from the present weights and works on a copy: ``model`` is left as it was, and
    ``fit(result.model, ...)`` goes on where a fit ended. The same arguments give the same weights.
    Small networks are fitted fastest on one thread (``torch.set_num_threads(1)``). A terminal
    shows a progress bar.

    Levenberg-Marquardt solves a linear system in each step, whose side is the number of weights or
    of residuals, whichever is smaller; sides up to some thousand are practical. A step may raise
    the loss, if it stays below the larger of the last two; the best weights are returned.

    Args:
        model: The network or ensemble to start from, in float64.
        points: Shape (n, d).
        values: Shape (n,); or (S, n), where each member of an ensemble gets its own data.
        gradients: None, or shape (n, d) or (S, n, d), in units of values over units of points.
        gradient_weight: The weight of the gradient term, above 0; None means 1.
        directions: None for whole gradients, or a number of directions from 1 to d.
        method: "levenberg-marquardt"; "l-bfgs", one member after another; or "adam", whose learning
            rate falls to 0 along a cosine.
        steps: The greatest number of steps; None means 500, for L-BFGS and Adam 2000.
        learning_rate: Of Adam's first step; None means 0.01.
        batch_size: The number of points in a minibatch of Adam; None means all points.
        tolerance: A fit has converged when the square root of the loss is at most this number, in
            units of the values. Levenberg-Marquardt and L-BFGS then stop.
        rng: An integer seed or a generator, required. Directions and Adam's minibatches are drawn
            from it.

    Raises:
        TypeError: ``rng`` is missing, or data are not float64.
        ValueError: Shapes do not fit, data or weights are not finite, an option makes no sense, or
            equal points have different data, so that no function at all reaches the tolerance.
        FitDiverged: The loss is not finite.

    Source: Marquardt (1963), with steps accepted as in Grippo, Lampariello and Lucidi (1986); Liu
    and Nocedal (1989), as SciPy has it; Kingma and Ba (2015); Czarnecki and others (2017) for
    losses with gradients, whole or along random directions.

    Example:
        A target that is not in the book:

        >>> x = np.linspace(0.0, 1.0, 6)[:, None]
        >>> result = fit(MLP(1, (8,), domain=[(0, 1)], rng=1), x, np.exp(x[:, 0]), rng=0)
        >>> bool(result.rms < 1e-12), result.reason
        (True, 'tolerance reached')
    """
    generator = make_generator(rng, "fit")
    _check_model(model)
    steps = _checked_options(method, steps, learning_rate, batch_size, tolerance)
    weight = _checked_weight(gradient_weight, directions, gradients, model.inputs)
    data = _checked_data(model, points, values, gradients)
    _check_duplicates(*data, weight if directions is None else 0.0, tolerance)
    problem = _problem(model, *data, weight, directions, generator)
    flat = model.flat_weights().reshape(-1, model.size)
    start = time.perf_counter()
    if method == "adam":
        options = (learning_rate or 0.01, batch_size, generator)
        flat, history, stalled = adam(problem, flat, steps, *options)
    else:
        solver = lbfgs if method == "l-bfgs" else levenberg_marquardt
        flat, history, stalled = solver(problem, flat, steps, tolerance)
    seconds = time.perf_counter() - start
    fitted = copy.deepcopy(model)
    fitted.set_flat_weights(flat.reshape(model.flat_weights().shape))
    return _summarise(fitted, data, method, history.numpy(), stalled.numpy(), tolerance, seconds)


def _problem(model, points, values, gradients, weight, directions, generator):
    """Return the residuals to be squared, with the root of the weight in the directions."""
    slopes = None
    if gradients is not None:
        units = _directions(gradients.shape, directions, generator) * math.sqrt(weight)
        slopes = torch.from_numpy((gradients[:, None] * units).sum(-1))
        directions = torch.from_numpy(units) / model.half_width
    return Problem(
        layers_from=model.layers_from,
        inputs=model.scaled(torch.from_numpy(points)),
        values=torch.from_numpy(values),
        slopes=slopes,
        directions=directions,
    )


def _directions(shape, count, generator):
    """Return directions (S, q, n, d), or the axes (1, d, 1, d) where gradients are seen whole."""
    members, points, inputs = shape
    if count is None:
        return np.eye(inputs)[None, :, None, :]
    draws = generator.standard_normal((members, points, inputs, count))
    orthonormal = np.linalg.qr(draws).Q
    return np.moveaxis(orthonormal, -1, 1) * math.sqrt(inputs / count)


def _summarise(model, data, method, history, stalled, tolerance, seconds):
    """Return the result, without the member axis for a single network."""
    points, values, gradients = data
    layers = model.layers_from(model.flat_weights().reshape(-1, model.size))
    inputs, single = model.scaled(torch.from_numpy(points)), model.members is None
    ours, our_gradients = derivatives.value_and_gradient(layers, inputs)
    gradient_rms = None
    if gradients is not None:
        off = (our_gradients / model.half_width).numpy() - gradients
        gradient_rms = _per_member(np.sqrt(np.square(off).sum(-1).mean(-1)), single)
    converged = np.sqrt(history[-1]) <= tolerance
    reasons = np.where(converged, REACHED, np.where(stalled, STALLED, LIMIT)).tolist()
    return FitResult(
        model=model,
        method=method,
        rms=_per_member(np.sqrt(np.square(ours.numpy() - values).mean(-1)), single),
        gradient_rms=gradient_rms,
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
        raise TypeError(
            f"expected a gradnotes MLP, and got {type(model).__name__}; "
            "try MLP(...) or MLP.from_sequential(...)"
        )
    parameters = list(model.parameters())
    if any(p.dtype != torch.float64 for p in parameters):
        raise TypeError("fit works in float64, and got a network of another dtype; try .double()")
    if any(p.device.type != "cpu" for p in parameters):
        raise TypeError(f"fit works on the CPU, and got a network on {parameters[0].device}; "
                        "try .cpu()")  # fmt: skip
    if not all(p.requires_grad for p in parameters):
        raise ValueError("fit trains all weights, and some are frozen; try model.requires_grad_()")
    if not model.flat_weights().isfinite().all():
        raise ValueError(
            "expected finite weights, and got infinite ones or NaN; try a new MLP(...)"
        )


def _checked_weight(weight, directions, gradients, inputs):
    """Return the weight of the gradients, once it and the directions make sense."""
    for name, option in (("gradient_weight", weight), ("directions", directions)):
        if gradients is None and option is not None:
            raise ValueError(f"{name} is for fits of gradients, and none are given; "
                             "try gradients=...")  # fmt: skip
    if weight is not None and not (math.isfinite(weight) and weight > 0):
        raise ValueError(
            f"expected a finite gradient_weight above 0, and got {weight}; to fit values only, "
            "leave out gradients"
        )
    if directions is not None:
        whole = isinstance(directions, int | np.integer) and not isinstance(directions, bool)
        if not whole or not 1 <= directions <= inputs:
            raise ValueError(
                f"expected directions as an integer from 1 to {inputs}, and got {directions!r}"
            )
    return 1.0 if weight is None else weight


def _checked_data(model, points, values, gradients):
    """Return points, and values and gradients with a member axis, as arrays."""
    points = check_points(_as_array(points), model.inputs)
    if len(points) == 0:
        raise ValueError("expected at least one point, and got none")
    values = _checked_wanted(values, (len(points),), model.members, "values")
    if gradients is not None:
        gradients = _checked_wanted(gradients, points.shape, model.members, "gradients")
    return np.array(points), values, gradients


def _check_duplicates(points, values, gradients, weight, tolerance):
    """Refuse equal points whose data differ by more than the tolerance lets through.

    The best that a function can do at equal points is to take the mean of their data there.
    """
    # Adding 0 turns -0.0 into 0.0. NumPy 2.0.0 gives the inverse another axis.
    _, first, group = np.unique(points + 0.0, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    if len(first) == len(points):
        return
    wanted = values[..., None]
    if gradients is not None:
        wanted = np.concatenate([wanted, math.sqrt(weight) * gradients], -1)
    differs = (wanted != wanted[:, first[group]]).any((0, 2))
    if not differs.any():
        return
    sums = np.zeros((len(wanted), len(first), wanted.shape[-1]))
    np.add.at(sums, (slice(None), group), wanted)
    means = sums / np.bincount(group)[:, None]
    least = np.sqrt(np.square(wanted - means[:, group]).sum(-1).mean(-1)).max()
    if least > tolerance:
        row = int(differs.argmax())
        raise ValueError(
            f"points {first[group[row]]} and {row} are equal and their data differ, so that no "
            f"function gets the root of the loss below {least:.2e}; try means at equal points, or "
            f"a tolerance above that, such as tolerance={1.1 * least:.2e}"
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
    return np.array(np.broadcast_to(array, full))


def _as_array(data):
    return data.detach().cpu().numpy() if isinstance(data, torch.Tensor) else data


def _checked_options(method, steps, learning_rate, batch_size, tolerance):
    """Return the number of steps, once all options make sense."""
    if method not in STEPS:
        raise ValueError(f"expected a method among {', '.join(STEPS)}, and got {method!r}")
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
    return STEPS[method] if steps is None else steps
