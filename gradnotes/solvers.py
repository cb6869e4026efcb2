r"""Solvers for networks: Levenberg-Marquardt and Adam, for one network or an ensemble at once.

They train in place and check nothing; :func:`gradnotes.fitting.fit` does that around them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tqdm import tqdm


class FitDiverged(RuntimeError):  # noqa: N818 (the name says what happened)
    r"""The loss of a fit is infinite or not a number, at the step ``step`` (0 is the start)."""

    def __init__(self, step: int, loss: float):
        hint = (
            'a smaller learning_rate, a smaller scale, or method="levenberg-marquardt"'
            if step > 0
            else "data of smaller size, or a network with finite weights and a smaller scale"
        )
        super().__init__(f"the loss at step {step} is {loss}, expected a finite number; try {hint}")
        self.step, self.loss = step, loss


@dataclass(frozen=True, kw_only=True)
class Data:
    """Points (n, d), wanted outputs (S, n, k) and the factors (k,) of their residuals."""

    points: torch.Tensor
    wanted: torch.Tensor
    factors: torch.Tensor


def levenberg_marquardt(model, data, steps, tolerance):
    """Fit in place; each member has its own damping, and stops by itself.

    A trial step whose loss is not finite counts as a rejected one.
    """
    linearise = _linearisation(model, data)
    flat = model.flat_weights().reshape(-1, model.size)
    running = torch.arange(len(flat))
    residuals, jacobian = linearise(flat, running)
    loss = residuals.square().sum(1)
    history = [loss.clone()]
    _check_finite(loss, 0)
    unit = jacobian.square().sum((1, 2)) / min(jacobian.shape[1:])
    damping = 1e-3 * unit
    for _ in _progress(steps):
        running = ((loss.sqrt() > tolerance) & (damping <= 1e8 * unit)).nonzero()[:, 0]
        if len(running) == 0:
            break
        change = _damped_step(jacobian[running], residuals[running], damping[running])
        trial = flat[running] + change
        trial_residuals, trial_jacobian = linearise(trial, running)
        trial_loss = trial_residuals.square().sum(1)
        # A decrease within rounding error is none: without this the fit would wander for ever.
        better = trial_loss < loss[running] * (1.0 - 1e-12)
        accepted = running[better]
        flat[accepted], residuals[accepted] = trial[better], trial_residuals[better]
        jacobian[accepted], loss[accepted] = trial_jacobian[better], trial_loss[better]
        damping[running] *= torch.where(better, 0.1, 3.0).to(damping.dtype)
        damping = torch.maximum(damping, 1e-20 * unit)
        history.append(loss.clone())
    model.set_flat_weights(flat.reshape(model.flat_weights().shape))
    return torch.stack(history), (damping > 1e8 * unit).numpy()


def _linearisation(model, data):
    """Return a function from flat weights to the residuals (S, m) and their Jacobian (S, m, P)."""
    function = model.as_function(gradients=data.wanted.shape[-1] > 1)

    def twice(flat, point):
        outputs = function(flat, point)
        return outputs, outputs

    at_points = torch.func.vmap(torch.func.jacrev(twice, has_aux=True), (None, 0))
    in_members = torch.func.vmap(at_points, (0, None))
    factors = data.factors / math.sqrt(len(data.points))

    def linearise(flat, members):
        jacobian, outputs = in_members(flat, data.points)
        residuals = (outputs - data.wanted[members]) * factors
        return residuals.flatten(1), (jacobian * factors[:, None]).flatten(1, 2)

    return linearise


def _damped_step(jacobian, residuals, damping):
    r"""Solve :math:`(J^T J + \lambda I) \delta = -J^T r`, by the smaller of the two Gram matrices.

    Where Cholesky's method fails the step is not a number, and so is rejected.
    """
    wide = jacobian.shape[2] > jacobian.shape[1]
    factor = jacobian.mT if wide else jacobian
    gram = factor.mT @ factor
    gram.diagonal(dim1=-2, dim2=-1).add_(damping[:, None])
    lower, failed = torch.linalg.cholesky_ex(gram)
    right = residuals[..., None] if wide else jacobian.mT @ residuals[..., None]
    step = torch.cholesky_solve(right, lower)
    step = -(factor @ step if wide else step)[..., 0]
    return step.masked_fill((failed > 0)[:, None], torch.nan)


@torch.enable_grad()
def adam(model, data, steps, learning_rate, batch_size, generator):
    """Fit in place, and return the history of the loss."""
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    batches = _batches(len(data.points), batch_size, generator)
    history = []
    for step in _progress(steps):
        loss = _loss(model, data, next(batches))
        _check_finite(loss.detach(), step)
        history.append(loss.detach())
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.step()
    optimiser.zero_grad()
    history.append(_loss(model, data, slice(None)).detach())
    _check_finite(history[-1], steps)
    return torch.stack(history)


def _loss(model, data, rows):
    """Return the loss on some of the points, per member (S,)."""
    residuals = outputs_of(model, data, rows, create_graph=True) - data.wanted[:, rows]
    return (residuals * data.factors).square().sum(2).mean(1)


def outputs_of(model, data, rows, create_graph):
    """Return values, with input gradients behind them if they are fitted: (S, n, k)."""
    if data.wanted.shape[-1] == 1:
        outputs = model(data.points[rows])[..., None]
    else:
        values, gradients = model.value_and_gradient(data.points[rows], create_graph=create_graph)
        outputs = torch.cat([values[..., None], gradients], -1)
    return outputs if model.members else outputs[None]


def _batches(count, batch_size, generator):
    """Yield the rows of one minibatch after another; each pass is shuffled anew."""
    if batch_size is None or batch_size >= count:
        while True:
            yield slice(None)
    while True:
        yield from torch.from_numpy(generator.permutation(count)).split(batch_size)


def _progress(steps):
    """Return range(steps) with a progress bar, which only a terminal shows."""
    return tqdm(range(steps), desc="fit", disable=None, leave=False, delay=1.0)


def _check_finite(loss, step):
    if not torch.isfinite(loss).all():
        raise FitDiverged(step, float(loss[~torch.isfinite(loss)][0]))
