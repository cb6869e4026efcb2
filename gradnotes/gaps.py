r"""Measured distances between a network and a target: the value gap and the gradient gap.

They are measured at given points. What happens between the points is not known from them. A
gradient is what autograd gives: a module that detaches a part of its result, or that has a wrong
``backward`` of its own, gets a wrong gradient, and nothing here can see that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from gradnotes.expressions import check_points
from gradnotes.networks import MLP
from gradnotes.targets import Target

NORMS = ("rms", "max")


@dataclass(frozen=True, kw_only=True)
class Gaps:
    r"""The distances between two functions at given points; arrays (S,) for an ensemble.

    Attributes:
        value: the value gap, in units of the values.
        gradient: the gradient gap, in units of values over units of inputs.
        norm: "rms" or "max"; "max" is a grid maximum.
        method: how gradients were had: "autograd", or "exact" for two targets.
        dtype: the dtype in which networks were evaluated, such as "float32".
        points_count: the number of points.
    """

    value: float | np.ndarray
    gradient: float | np.ndarray
    norm: str
    method: str
    dtype: str
    points_count: int


def measure_gaps(
    model: torch.nn.Module | Target,
    target: torch.nn.Module | Target,
    points: npt.ArrayLike,
    *,
    norm: str = "rms",
) -> Gaps:
    r"""Return the value gap and the gradient gap between two functions at given points.

    With :math:`r = f - \hat f`, target minus model, the norm "rms" gives

    .. math:: \Bigl(\frac1n \sum_i r(x_i)^2\Bigr)^{1/2} \quad\text{and}\quad
              \Bigl(\frac1n \sum_i \|\nabla r(x_i)\|_2^2\Bigr)^{1/2},

    and "max" gives :math:`\max_i |r(x_i)|` and :math:`\max_i \|\nabla r(x_i)\|_2`. This is a
    grid maximum: a lower bound of the supremum over the domain, never a bound from above.

    Args:
        model: an :class:`~gradnotes.networks.MLP`, a target, or any module that maps (n, d) to (n,)
            or (n, 1), each row by itself. A module is evaluated at the points rounded to its own
            dtype, and its results are then converted to float64.
        target: the same.
        points: shape (n, d), float64.
        norm: "rms" or "max".

    Raises:
        TypeError: if the points are not float64, or a module mixes dtypes.
        ValueError: if a shape is wrong, the norm is unknown, a value is not finite, or a module
            cannot take the points, changes them in place, draws random numbers, or has rows that
            depend on each other.

    Source: the definition of the two gaps in the book.

    Example:
        Two targets that are not in the book:

        >>> from sympy import Symbol
        >>> t = Symbol("t", real=True)
        >>> domain = [(0.0, 2.0)]
        >>> line, parabola = Target(t, (t,), domain), Target(t**2, (t,), domain)
        >>> gaps = measure_gaps(line, parabola, [[0.0], [1.0], [2.0]], norm="max")
        >>> gaps.value, gaps.gradient, gaps.method
        (2.0, 3.0, 'exact')
    """
    if norm not in NORMS:
        raise ValueError(f"expected a norm among {', '.join(NORMS)}, and got {norm!r}")
    values, gradients = residual(model, target, points)
    dtypes = {_dtype_of(side) for side in (model, target) if isinstance(side, torch.nn.Module)}
    return Gaps(
        value=_norm(np.abs(values), norm),
        gradient=_norm(np.linalg.norm(gradients, axis=-1), norm),
        norm=norm,
        method="autograd" if dtypes else "exact",
        dtype=" and ".join(sorted(str(d).removeprefix("torch.") for d in dtypes)) or "float64",
        points_count=values.shape[-1],
    )


def residual(
    model: torch.nn.Module | Target, target: torch.nn.Module | Target, points: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the residual :math:`r = f - \hat f`, target minus model, and its gradient.

    Args:
        model: as in :func:`measure_gaps`.
        target: as in :func:`measure_gaps`.
        points: shape (n, d), float64.

    Returns:
        Float64 arrays (n,) and (n, d); (S, n) and (S, n, d) if one side is an ensemble. Two
        ensembles of the same length are compared member by member.

    Raises:
        TypeError: as in :func:`measure_gaps`.
        ValueError: as in :func:`measure_gaps`, or if two ensembles differ in length.

    Source: the definition of the residual in the book.

    Example:
        A network against itself:

        >>> model = MLP(2, (3,), rng=4)
        >>> values, gradients = residual(model, model, [[0.5, 0.25]])
        >>> values, gradients
        (array([0.]), array([[0., 0.]]))
    """
    if isinstance(points, torch.Tensor):
        points = points.detach().cpu().numpy()
    widths = {_width(side) for side in (model, target)} - {None}
    if len(widths) > 1:
        raise ValueError(
            f"expected two functions of as many inputs, and got {_width(model)} for the model and "
            f"{_width(target)} for the target; try MLP({_width(target)}, ...)"
        )
    sizes = {side.members for side in (model, target) if isinstance(side, MLP) and side.members}
    if len(sizes) > 1:
        raise ValueError(f"expected ensembles of one length, and got {sorted(sizes)}")
    wanted, wanted_gradients = _value_and_gradient(target, points)
    values, gradients = _value_and_gradient(model, points)
    return wanted - values, wanted_gradients - gradients


def _norm(lengths, norm):
    """Return the norm over the last axis, as a float if no axis is left."""
    result = np.sqrt(np.square(lengths).mean(-1)) if norm == "rms" else lengths.max(-1)
    return float(result) if np.ndim(result) == 0 else result


def _value_and_gradient(function, points):
    """Return values and gradients of a target or module as float64 arrays."""
    if not isinstance(function, Target | torch.nn.Module):
        raise TypeError(
            f"expected a Target or a torch.nn.Module, and got {type(function).__name__}"
        )
    points = check_points(points, _width(function) or np.atleast_1d(points).shape[-1])
    if len(points) == 0:
        raise ValueError("expected at least one point, and got none")
    if isinstance(function, Target):
        return function.value(points), function.gradient(points)
    dtype, device = _dtype_of(function), next(function.parameters(), torch.empty(0)).device
    tensor = torch.from_numpy(np.array(points)).to(device, dtype)
    ours = isinstance(function, MLP)
    results = function.value_and_gradient(tensor) if ours else _by_autograd(function, tensor)
    if not all(torch.isfinite(result).all() for result in results):
        raise ValueError(
            f"a value or gradient of {type(function).__name__} is infinite or NaN; "
            "try points inside the region where it is defined"
        )
    if not ours:
        _check_same_in_another_batch(function, tensor, results[0])
    return [result.detach().cpu().double().numpy() for result in results]


def _width(function):
    """Return the number of inputs, or None for a reader's module, which does not say."""
    return getattr(function, "inputs" if isinstance(function, MLP) else "dimension", None)


def _dtype_of(module):
    """Return the one floating dtype of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    dtypes = {t.dtype for t in tensors if t.is_floating_point() or t.is_complex()}
    if not dtypes:
        return torch.float64
    if len(dtypes) > 1 or not next(iter(dtypes)).is_floating_point:
        raise TypeError(
            f"expected one floating dtype in {type(module).__name__}, and got "
            f"{', '.join(sorted(map(str, dtypes)))}; try module.to(torch.float64)"
        )
    return dtypes.pop()


def _by_autograd(module, points):
    """Return values and gradients of a reader's module, as tensors."""
    _check_rows_are_separate(module)
    gradients = None
    with torch.enable_grad():
        inputs = points.clone().requires_grad_(True)
        values = _checked_values(_called(module, inputs), inputs)
    if not torch.equal(inputs, points):
        raise ValueError(
            f"{type(module).__name__} changes its points in place; try points.clone() in forward"
        )
    with torch.enable_grad():
        if values.requires_grad:
            (gradients,) = torch.autograd.grad(values.sum(), inputs, allow_unused=True)
    if gradients is None:
        raise ValueError(
            "expected values that depend on the points, and got a result without a gradient; "
            "try a forward without detach(), numpy() or torch.no_grad()"
        )
    return values.detach(), gradients


def _check_rows_are_separate(module):
    """Refuse layers that mix the rows of a batch, or draw random numbers."""
    for layer in module.modules():
        name = type(layer).__name__
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
            raise ValueError(
                f"{name} takes its statistics from the batch, so that a value depends on the other "
                "points; try model.eval(), with track_running_stats=True"
            )
        if isinstance(layer, _DropoutNd) and layer.training and layer.p > 0:
            raise ValueError(f"{name} draws random numbers while it trains; try model.eval()")


def _called(module, inputs):
    """Call a module, and refuse one that cannot take the points or draws random numbers."""
    name = type(module).__name__
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        try:
            values = module(inputs)
        except (IndexError, RuntimeError) as error:
            raise ValueError(
                f"{name} cannot take points of shape {tuple(inputs.shape)}: {error}; "
                f"try a module with {inputs.shape[1]} inputs"
            ) from error
        if not torch.equal(before, torch.get_rng_state()):
            raise ValueError(f"{name} draws random numbers; try model.eval()")
    return values


def _checked_values(values, inputs):
    """Return values (n,) of a module, once their shape and dtype are right."""
    count = len(inputs)
    if not isinstance(values, torch.Tensor) or values.shape not in [(count,), (count, 1)]:
        shape = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise ValueError(
            f"expected a module that maps {tuple(inputs.shape)} to ({count},) or ({count}, 1), "
            f"and got {shape}; try a module with one output"
        )
    if values.dtype != inputs.dtype:
        raise TypeError(
            f"expected values in {inputs.dtype}, as the parameters are, and got {values.dtype}; "
            "try module.to(torch.float64)"
        )
    return values.reshape(count)


def _check_same_in_another_batch(module, points, values):
    """Refuse a module that gives other values to the last points alone, in reverse order."""
    half = len(points) // 2
    with torch.no_grad():
        again = module(points[half:].flip(0)).reshape(-1).flip(0)
    # Sums of another batch size may be rounded otherwise, but by far less than this.
    allowed = torch.finfo(values.dtype).eps ** 0.5 * (1.0 + values.abs().max())
    if not (again - values[half:]).abs().max() <= allowed:
        raise ValueError(
            f"{type(module).__name__} gives other values for the same points in a smaller batch: "
            "its rows depend on each other or on random numbers; try model.eval()"
        )
