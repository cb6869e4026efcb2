r"""Solvers for networks: Levenberg-Marquardt, L-BFGS and Adam, for one network or an ensemble.

They minimise the squared residuals of a :class:`Problem` over flattened weights (S, P), and check
nothing; :func:`gradnotes.fitting.fit` does that around them. Each returns the new weights, the
history of the loss, (steps + 1, S), and which members stalled, (S,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from tqdm import tqdm

from gradnotes import derivatives

# The number of matrix entries that Levenberg-Marquardt keeps at once: 128 MiB of float64.
ENTRIES = 2**24
# The number of points whose Jacobian a normal matrix takes at once.
ROWS = 1024
# One would be the monotone rule, which creeps along curved valleys. Three or five converge faster
# and more often still, but now and then a small network then ends in a wild interpolant.
MEMORY = 2


class FitDiverged(RuntimeError):  # noqa: N818 (the name says what happened)
    r"""The loss of a fit is infinite or not a number, at the step ``step`` (0 is the start)."""

    def __init__(self, step: int, loss: float):
        hint = (
            'a smaller learning_rate, a smaller scale, or method="levenberg-marquardt"'
            if step > 0
            else "data of smaller size, or a network with a smaller scale"
        )
        super().__init__(f"the loss at step {step} is {loss}, expected a finite number; try {hint}")
        self.step, self.loss = step, loss


@dataclass(frozen=True, kw_only=True)
class Problem:
    r"""The residuals of networks at n points, in values and in slopes along q directions.

    With :math:`s_{ki} = u_{ki} \cdot \nabla f(x_i)`, the residuals are
    :math:`(f(x_i) - y_i)/\sqrt n` and :math:`(s_{ki} - t_{ki})/\sqrt n`, in this order; the loss is
    the sum of their squares.

    Attributes:
        layers_from: Maps weights (S, P) to the layers of S networks.
        inputs: The points, in the units that the first layer sees: shape (n, d).
        values: The wanted values y, of shape (S, n).
        slopes: The wanted slopes t, of shape (S, q, n), or None.
        directions: The directions u, of shape (S or 1, q, n or 1, d), or None.
    """

    layers_from: Callable
    inputs: torch.Tensor
    values: torch.Tensor
    slopes: torch.Tensor | None = None
    directions: torch.Tensor | None = None

    @property
    def count(self) -> int:
        """The number of residuals of one network."""
        return len(self.inputs) * (1 + (0 if self.slopes is None else self.slopes.shape[1]))

    def some(self, members=slice(None), rows=slice(None)) -> Problem:
        """Return the problem for some of the members, at some of the points."""
        slopes, directions = self.slopes, self.directions
        if slopes is not None:
            slopes = slopes[members][:, :, rows]
            directions = directions[members] if len(directions) > 1 else directions
            directions = directions[:, :, rows] if directions.shape[2] > 1 else directions
        return Problem(
            layers_from=self.layers_from,
            inputs=self.inputs[rows],
            values=self.values[members][:, rows],
            slopes=slopes,
            directions=directions,
        )

    def residuals(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the residuals, (S, count)."""
        layers = self.layers_from(flat)
        if self.slopes is None:
            residuals = derivatives.values(layers, self.inputs) - self.values
        else:
            values, gradients = derivatives.value_and_gradient(layers, self.inputs)
            slopes = (gradients.unsqueeze(1) * self.directions).sum(-1) - self.slopes
            residuals = torch.cat([values - self.values, slopes.flatten(1)], 1)
        return residuals / math.sqrt(len(self.inputs))

    def gram(self, flat: torch.Tensor) -> torch.Tensor:
        """Return J J^T for the Jacobian J of the residuals: (S, count, count)."""
        layers = self.layers_from(flat)
        return derivatives.weight_gram(layers, self.inputs, self.directions) / len(self.inputs)

    def pulled_back(self, flat: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Return J^T times vectors (S, count): (S, P)."""
        count = len(self.inputs)
        vectors = vectors / math.sqrt(count)
        of_gradients = None
        if self.slopes is not None:
            of_slopes = vectors[:, count:].unflatten(1, (-1, count))
            of_gradients = (of_slopes.unsqueeze(-1) * self.directions).sum(1)

        def cotangents(rows, group, values, gradients):
            b = None if of_gradients is None else of_gradients[group, rows]
            return vectors[group, :count][:, rows], b

        return derivatives.weight_gradient(self.layers_from(flat), self.inputs, cotangents)

    def jacobian(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the Jacobian J of the residuals in the weights: (S, count, P)."""
        layers = self.layers_from(flat)
        of_values, *of_slopes = derivatives.weight_jacobian(layers, self.inputs, self.directions)
        rows = [of_values, *(block.transpose(1, 2).flatten(1, 2) for block in of_slopes)]
        return torch.cat(rows, 1) / math.sqrt(len(self.inputs))

    def normal_matrix(self, flat: torch.Tensor) -> torch.Tensor:
        """Return J^T J, (S, P, P), from J at a thousand points at a time."""
        count, total = len(self.inputs), 0.0
        for first in range(0, count, ROWS):
            part = self.some(rows=slice(first, first + ROWS))
            jacobian = part.jacobian(flat)
            total = total + (jacobian.mT @ jacobian) * (len(part.inputs) / count)
        return total

    def loss_and_gradient(self, flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, (S,), and its gradient in the weights, (S, P), in one pass."""
        count = len(self.inputs)
        loss = torch.zeros(len(flat), dtype=flat.dtype)

        def cotangents(rows, group, values, gradients):
            part = self.some(group, rows)
            a, b = values - part.values, None
            loss[group] += a.square().sum(1)
            if self.slopes is not None:
                off = (gradients.unsqueeze(1) * part.directions).sum(-1) - part.slopes
                loss[group] += off.square().sum((1, 2))
                b = (off.unsqueeze(-1) * part.directions).sum(1) * (2.0 / count)
            return a * (2.0 / count), b

        gradient = derivatives.weight_gradient(self.layers_from(flat), self.inputs, cotangents)
        return loss / count, gradient


def levenberg_marquardt(problem, flat, steps, tolerance):
    """Fit members in groups, as many at a time as keep ``ENTRIES`` matrix entries."""
    side = min(problem.count, flat.shape[1])
    groups = torch.arange(len(flat)).split(max(1, ENTRIES // side**2))
    with _progress(steps * len(groups)) as bar:
        fits = []
        for group in groups:
            fits.append(_fit_group(problem.some(group), flat[group], steps, tolerance, bar))
            bar.update(steps * len(fits) - bar.n)
    weights, histories, stalled = zip(*fits, strict=True)
    return torch.cat(weights), _side_by_side(histories), torch.cat(stalled)


def _fit_group(problem, flat, steps, tolerance, bar):
    """Fit members that all have a damping of their own, and stop by themselves.

    A step is accepted if the loss falls below the larger of the last two accepted ones: a fit that
    may go uphill for a step does not creep along the floor of a curved valley. The best weights so
    far are kept, and the history is that of their loss. A trial whose loss is not finite is
    rejected.

    A member whose step by Cholesky's method is rejected at a damping near the rounding errors of
    its matrix is solved by orthogonal factors from then on: dearer, but accurate there.
    """
    wide = flat.shape[1] > problem.count
    matrix_of = Problem.gram if wide else Problem.normal_matrix
    flat, best_flat = flat.clone(), flat.clone()
    residuals = problem.residuals(flat)
    loss = residuals.square().sum(1)
    _check_finite(loss, 0)
    best, recent = loss.clone(), loss.repeat(MEMORY, 1)
    history = [best.clone()]
    matrix = matrix_of(problem, flat)
    unit = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    damping = 1e-3 * unit
    careful = torch.zeros(len(flat), dtype=torch.bool)
    for _ in range(steps):
        running = (best.sqrt() > tolerance) & (damping <= 1e8 * unit)
        if not running.any():
            break
        trial, trial_residuals = flat.clone(), torch.full_like(residuals, torch.nan)
        for solve, members in ((_step, running & ~careful), (_orthogonal_step, running & careful)):
            if members.any():
                now = (flat[members], residuals[members], damping[members], matrix[members])
                trial[members] += solve(problem.some(members), wide, *now)
        trial_residuals[running] = problem.some(running).residuals(trial[running])
        trial_loss = trial_residuals.square().sum(1)
        # A decrease within rounding error is none: without this the fit would wander for ever.
        better = trial_loss < recent.amax(0) * (1.0 - 1e-12)
        flat[better], residuals[better] = trial[better], trial_residuals[better]
        recent = torch.where(better, torch.cat([recent[1:], trial_loss[None]]), recent)
        lowest = trial_loss < best
        best[lowest], best_flat[lowest] = trial_loss[lowest], trial[lowest]
        careful |= running & ~better & (damping < 1e-11 * unit)
        renewed = better & ~careful
        if renewed.any():
            matrix[renewed] = matrix_of(problem.some(renewed), flat[renewed])
        damping[running] *= torch.where(better, 0.1, 3.0).to(damping.dtype)[running]
        damping = torch.maximum(damping, 1e-20 * unit)
        # A member that rests above its best weights, after a step uphill, goes on from those.
        lost = (damping > 1e8 * unit) & (recent[-1] > best * (1.0 + 1e-9))
        if lost.any():
            flat[lost], recent[:, lost] = best_flat[lost], best[lost]
            part = problem.some(lost)
            residuals[lost], matrix[lost] = part.residuals(flat[lost]), matrix_of(part, flat[lost])
            damping[lost] = 1e-3 * unit[lost]
        history.append(best.clone())
        bar.update()
    return best_flat, torch.stack(history), damping > 1e8 * unit


def _step(problem, wide, flat, residuals, damping, matrix):
    r"""Solve :math:`(J^T J + \lambda I) \delta = -J^T r`, or in the dual form.

    The dual form, for more weights than residuals, is
    :math:`\delta = -J^T (J J^T + \lambda I)^{-1} r`. Where Cholesky's method fails the step is not
    a number, and so is rejected.
    """
    matrix = matrix.clone()
    matrix.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
    lower, failed = torch.linalg.cholesky_ex(matrix)
    right = residuals if wide else problem.pulled_back(flat, residuals)
    step = torch.cholesky_solve(right[..., None], lower)[..., 0]
    step = -(problem.pulled_back(flat, step) if wide else step)
    return step.masked_fill((failed > 0)[:, None], torch.nan)


def _orthogonal_step(problem, wide, flat, residuals, damping, matrix):
    r"""Solve the same, as least squares with J and :math:`\sqrt\lambda I` side by side.

    For more weights than residuals the solution of least norm is taken, without its last part.
    """
    steps = []
    for s in range(len(flat)):
        jacobian = problem.some(slice(s, s + 1)).jacobian(flat[s : s + 1])[0]
        side = torch.eye(min(jacobian.shape), dtype=flat.dtype) * damping[s].sqrt()
        system = torch.cat([jacobian, side], 1 if wide else 0)
        right = torch.nn.functional.pad(-residuals[s], (0, 0 if wide else len(side)))
        found = torch.linalg.lstsq(system, right[:, None], driver="gels").solution
        steps.append(found[: flat.shape[1], 0])
    return torch.stack(steps)


def lbfgs(problem, flat, steps, tolerance):
    """Fit one member after another by SciPy's L-BFGS-B, without bounds."""
    fits = []
    with _progress(steps * len(flat)) as bar:
        for s in range(len(flat)):
            fits.append(_fit_member(problem.some(slice(s, s + 1)), flat[s], steps, tolerance, bar))
            bar.update(steps * len(fits) - bar.n)
    weights, histories, stalled = zip(*fits, strict=True)
    return torch.stack(weights), _side_by_side(histories), torch.tensor(stalled)


def _fit_member(problem, flat, steps, tolerance, bar):
    """Fit one member, from weights (P,), until the tolerance is reached or SciPy gives up."""

    def loss_and_gradient(weights):
        loss, gradient = problem.loss_and_gradient(torch.from_numpy(weights)[None])
        return loss.item(), gradient[0].numpy()

    history = problem.residuals(flat[None]).square().sum(1)
    _check_finite(history, 0)
    if history[0].sqrt() <= tolerance:
        return flat, history[:, None], False

    def after_step(intermediate_result):
        nonlocal history
        loss = torch.tensor([intermediate_result.fun], dtype=flat.dtype)
        _check_finite(loss, len(history))
        history = torch.cat([history, loss])
        bar.update()
        if loss[0].sqrt() <= tolerance:
            raise StopIteration

    options = {"maxiter": steps, "maxfun": 50 * steps, "ftol": 0.0, "gtol": 0.0, "maxcor": 20}
    found = minimize(
        loss_and_gradient,
        flat.numpy().copy(),
        jac=True,
        method="L-BFGS-B",
        callback=after_step,
        options=options,
    )
    return torch.from_numpy(np.array(found.x)), history[:, None], len(history) <= steps


def adam(problem, flat, steps, learning_rate, batch_size, generator):
    """Fit all members at once; the learning rate falls to 0 along half a cosine."""
    flat = flat.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([flat], lr=learning_rate, fused=True)
    batches = _batches(len(problem.inputs), batch_size, generator)
    history = []
    with _progress(steps) as bar:
        for step in range(steps):
            part = problem.some(rows=next(batches))
            loss, flat.grad = part.loss_and_gradient(flat.detach())
            _check_finite(loss, step)
            history.append(loss)
            cosine = (1 + math.cos(math.pi * step / steps)) / 2
            optimiser.param_groups[0]["lr"] = learning_rate * cosine
            optimiser.step()
            bar.update()
    flat = flat.detach()
    history.append(problem.residuals(flat).square().sum(1))
    _check_finite(history[-1], steps)
    return flat, torch.stack(history), torch.zeros(len(flat), dtype=torch.bool)


def _batches(count, batch_size, generator):
    """Yield the rows of one minibatch after another; each pass is shuffled anew."""
    if batch_size is None or batch_size >= count:
        while True:
            yield slice(None)
    while True:
        yield from torch.from_numpy(generator.permutation(count)).split(batch_size)


def _side_by_side(histories):
    """Return histories (steps + 1, S) as one; those that ended early keep their last loss."""
    longest = max(len(history) for history in histories)
    padded = [
        torch.cat([history, history[-1:].expand(longest - len(history), -1)])
        for history in histories
    ]
    return torch.cat(padded, 1)


def _progress(total):
    """Return a progress bar, which only a terminal shows."""
    return tqdm(total=total, desc="fit", unit="step", disable=None, leave=False, delay=1.0)


def _check_finite(loss, step):
    if not torch.isfinite(loss).all():
        raise FitDiverged(step, float(loss[~torch.isfinite(loss)][0]))
