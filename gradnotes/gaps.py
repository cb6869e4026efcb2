r"""Measured distances between an approximation and a target: the value gap and the gradient gap.

:func:`measure_gaps` takes points, and :func:`estimate_gaps` a domain: a root mean square over it
comes with an interval, and a maximum over a grid stays a lower bound. Our own networks, targets and
interpolants have exact derivatives. The gradient of any other module is what autograd gives: one
that detaches a part of its result, or that has a wrong ``backward`` of its own, gets a wrong
gradient, and nothing here can see that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from gradnotes.arguments import make_generator
from gradnotes.expressions import check_points
from gradnotes.interpolants import Interpolant
from gradnotes.networks import MLP, checked_domain
from gradnotes.targets import Target, grid_over

NORMS = ("rms", "max")
REPETITIONS = 16
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Gaps:
    r"""The distances between two functions; arrays (S,) for an ensemble.

    Attributes:
        value: the value gap, in units of the values.
        gradient: the gradient gap, in units of values over units of inputs.
        norm: "rms" or "max"; "max" is a grid maximum.
        method: how gradients were had: "exact" for targets, interpolants and our own networks,
            "autograd" as soon as another module takes part.
        dtype: the dtype in which networks were evaluated, such as "float32".
        sampling: "given points", "grid", or "scrambled Sobol points".
        points_count: the number of points.
        value_interval: the 95 % interval (low, high) of the value gap over the domain, or, for an
            ensemble, an array (S, 2); None where there is none.
        gradient_interval: the same for the gradient gap.
    """

    value: float | np.ndarray
    gradient: float | np.ndarray
    norm: str
    method: str
    dtype: str
    points_count: int
    sampling: str = "given points"
    value_interval: tuple[float, float] | np.ndarray | None = None
    gradient_interval: tuple[float, float] | np.ndarray | None = None


def measure_gaps(
    model: torch.nn.Module | Target | Interpolant,
    target: torch.nn.Module | Target | Interpolant,
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
        model: an :class:`~gradnotes.networks.MLP`, a target, an
            :class:`~gradnotes.interpolants.Interpolant`, or any module that maps (n, d) to (n,) or
            (n, 1), each row by itself. A module is evaluated at the points rounded to its own
            dtype, and its results are then converted to float64.
        target: the same.
        points: shape (n, d), float64.
        norm: "rms" or "max".

    Raises:
        TypeError: if the points are not float64, or a module mixes dtypes.
        ValueError: if a shape is wrong, the norm is unknown, a value is not finite, or a module
            cannot take the points, changes them in place, draws random numbers, or has rows that
            depend on each other, or if a point is outside of a target's domain or an interpolant's
            hull.

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
    _check_norm(norm)
    return _gaps(model, target, *residual(model, target, points), norm)


def estimate_gaps(
    model: torch.nn.Module | Target | Interpolant,
    target: torch.nn.Module | Target | Interpolant,
    domain: Sequence[tuple[float, float]] | None = None,
    *,
    norm: str = "rms",
    points_count: int = 16_384,
    rng: int | np.random.Generator = None,
) -> Gaps:
    r"""Return the value gap and the gradient gap between two functions over a domain.

    With :math:`r = f - \hat f` on the domain D, the norm "rms" stands for

    .. math:: \Bigl(\frac1{|D|} \int_D r(x)^2\,dx\Bigr)^{1/2} \quad\text{and}\quad
              \Bigl(\frac1{|D|} \int_D \|\nabla r(x)\|_2^2\,dx\Bigr)^{1/2}.

    The integrals are estimated by quasi-Monte Carlo: 16 sets of Sobol' points, each scrambled by
    itself. The spread of the 16 results gives a 95 % interval by Student's t. It is an
    approximation, which is good where no small part of the domain rules the integral.

    The norm "max" gives the maximum on a regular grid: a lower bound of the supremum, without an
    interval, because nothing is known between the points.

    Args:
        model: as in :func:`measure_gaps`.
        target: as in :func:`measure_gaps`.
        domain: one pair (low, high) for each input; None means that of the target, or of the
            model if it is a :class:`~gradnotes.targets.Target`. An interpolant has no domain.
        norm: "rms" or "max".
        points_count: the least number of points in all. They become 16 powers of two, or the next
            regular grid with at least two points on an axis.
        rng: an integer seed or a generator, required for "rms".

    Raises:
        TypeError: as in :func:`measure_gaps`, or if ``rng`` is missing.
        ValueError: as in :func:`measure_gaps`, or if there is no finite domain, or the number of
            points is not an integer above 0.

    Source: A. B. Owen, Error estimation for quasi-Monte Carlo (2025), which discusses intervals
    from independent scramblings.

    Example:
        The sine and 0 on one period: the exact gaps are both the root of 1/2.

        >>> from sympy import Integer, Symbol, pi, sin
        >>> t = Symbol("t", real=True)
        >>> wave, zero = (Target(f, (t,), [(0.0, float(2 * pi))]) for f in (sin(t), Integer(0)))
        >>> gaps = estimate_gaps(zero, wave, rng=0)
        >>> low, high = gaps.value_interval
        >>> bool(low <= 0.5**0.5 <= high), bool(high - low < 1e-5), gaps.points_count
        (True, True, 16384)
    """
    _check_norm(norm)
    if isinstance(points_count, bool) or not isinstance(points_count, int | np.integer):
        raise ValueError(f"expected points_count as an integer, and got {points_count!r}")
    if points_count < 1:
        raise ValueError(f"expected points_count of 1 or more, and got {points_count}; try 16384")
    pairs = _domain_of(model, target, domain)
    if norm == "max":
        points = grid_over(pairs, max(2, math.ceil(points_count ** (1 / len(pairs)) - 1e-9)))
        return replace(measure_gaps(model, target, points, norm="max"), sampling="grid")
    generator = make_generator(rng, "estimate_gaps")
    power = max(0, math.ceil(math.log2(points_count / REPETITIONS)))
    residuals = []
    for _ in range(REPETITIONS):
        unit = stats.qmc.Sobol(len(pairs), scramble=True, rng=generator).random_base2(power)
        points = pairs[:, 0] + unit * (pairs[:, 1] - pairs[:, 0])
        residuals.append(residual(model, target, points))
    values = np.concatenate([r for r, _ in residuals], -1)
    gradients = np.concatenate([g for _, g in residuals], -2)
    return replace(
        _gaps(model, target, values, gradients, "rms"),
        sampling="scrambled Sobol points",
        value_interval=_interval([np.square(r).mean(-1) for r, _ in residuals]),
        gradient_interval=_interval([np.square(g).sum(-1).mean(-1) for _, g in residuals]),
    )


def _interval(mean_squares):
    """Return the interval of a root mean square from independent estimates of its square."""
    estimates = np.stack(mean_squares, axis=-1)
    centre = estimates.mean(-1)
    error = estimates.std(-1, ddof=1) / math.sqrt(REPETITIONS)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, REPETITIONS - 1) * error
    ends = np.sqrt(np.maximum(np.stack([centre - reach, centre + reach], axis=-1), 0.0))
    return ends if ends.ndim > 1 else (float(ends[0]), float(ends[1]))


def _domain_of(model, target, domain):
    """Return the domain as an array (d, 2)."""
    own = [side.domain for side in (target, model) if isinstance(side, Target)]
    if domain is None and not own:
        raise ValueError("expected a domain, since no side is a Target; try domain=[(0, 1), ...]")
    domain = own[0] if domain is None else domain
    width = _width(target) or _width(model)
    try:
        return checked_domain(domain, width or max(1, np.shape(domain)[0]))
    except (IndexError, ValueError, TypeError) as error:
        raise ValueError(f"{error}; try domain=[(0, 1), ...]") from error


def _check_norm(norm):
    if norm not in NORMS:
        raise ValueError(f"expected a norm among {', '.join(NORMS)}, and got {norm!r}")


def _gaps(model, target, values, gradients, norm):
    """Return the gaps that residuals at given points amount to."""
    modules = [side for side in (model, target) if isinstance(side, torch.nn.Module)]
    dtypes = {_dtype_of(side) for side in modules}
    return Gaps(
        value=_norm(np.abs(values), norm),
        gradient=_norm(np.linalg.norm(gradients, axis=-1), norm),
        norm=norm,
        method="exact" if all(isinstance(side, MLP) for side in modules) else "autograd",
        dtype=" and ".join(sorted(str(d).removeprefix("torch.") for d in dtypes)) or "float64",
        points_count=values.shape[-1],
    )


def residual(
    model: torch.nn.Module | Target | Interpolant,
    target: torch.nn.Module | Target | Interpolant,
    points: npt.ArrayLike,
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
    """Return values and gradients of a target, interpolant or module as float64 arrays."""
    if not isinstance(function, Target | Interpolant | torch.nn.Module):
        raise TypeError(
            "expected a Target, an Interpolant or a torch.nn.Module, and got "
            f"{type(function).__name__}"
        )
    points = check_points(points, _width(function) or np.atleast_1d(points).shape[-1])
    if len(points) == 0:
        raise ValueError("expected at least one point, and got none")
    if isinstance(function, Target | Interpolant):
        return function.value(points), function.gradient(points)
    dtype, device = _dtype_of(function), _device_of(function)
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


def _device_of(module):
    """Return the device of a module, once its parameters are there and finite."""
    parameters = [*module.parameters()]
    devices = {parameter.device for parameter in parameters} or {torch.device("cpu")}
    if len(devices) > 1 or any(device.type == "meta" for device in devices):
        raise TypeError(
            f"expected {type(module).__name__} on one device with data, and got "
            f"{', '.join(sorted(map(str, devices)))}; try module.to('cpu')"
        )
    if not all(parameter.detach().isfinite().all() for parameter in parameters):
        raise ValueError(
            f"expected finite parameters in {type(module).__name__}, and got infinite ones or NaN; "
            "try a training with a smaller learning rate"
        )
    return devices.pop()


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
