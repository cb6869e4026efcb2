r"""Monitor the reuse of a sample: is the gradient of the training loss still good for the true one?

:class:`ReuseMonitor` watches an ordinary PyTorch training loop. At steps that are fixed beforehand
it estimates, with an interval, how far the population risk falls for each unit by which the
training loss falls, and says stop when the estimate is 0 or less.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import stats
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from gradnotes.arguments import make_generator

# What the reason of each rule adds.
RULES = {
    "standard error": " (as if the sample were fresh)",
    "folds": "",
    "holdout": "",
}
# Rows of a pass, at most: more leave the cache.
PASS_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class ReuseReport:
    r"""What one check of a :class:`ReuseMonitor` found; printing it says so in words.

    Attributes:
        step: The number of steps taken before this check.
        rule: The rule of the monitor.
        agreement: The estimate of the agreement, without unit; nan if the gradient is 0.
        interval: Its interval (low, high).
        level: The level at which the intervals of all checks hold together.
        checks: The number of checks that the interval is corrected for, with that of step 0.
        guaranteed: Whether reuse leaves the estimate unbiased at this step. If not, the interval is
            that of a fresh sample. False as well if the optimiser had stepped before, perhaps on
            this sample; for plain SGD this cannot be seen.
        error: The estimated distance of the training gradient from the true one, in units of a
            gradient. For "folds" and "holdout" it is often 0, where the estimate of its square is
            negative: as a point estimate it is poor.
        gradient_norm: The norm of the training gradient, in units of a gradient; for "folds" the
            root mean square over the replicas.
        stop: Whether the agreement is 0 or less, or the training gradient is 0.
        reason: Why, in a sentence.
        seconds: How long the check took.
        replica_seconds: How long the steps of the replicas took since the last check.
        memory: A bound for the bytes of the gradients of single observations held at once.
        dtype: The dtype of the measured parameters, such as "float32".
    """

    step: int
    rule: str
    agreement: float
    interval: tuple[float, float]
    level: float
    checks: int
    guaranteed: bool
    error: float
    gradient_norm: float
    stop: bool
    reason: str
    seconds: float
    replica_seconds: float
    memory: int
    dtype: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.reason}"


class ReuseMonitor:
    r"""Watch whether the gradient on a reused sample is still good for the true gradient.

    With :math:`F_S` the mean loss on the sample S of n observations and F the population risk,

    .. math:: a = \frac{\langle \nabla F_S(w), \nabla F(w) \rangle}{\|\nabla F_S(w)\|^2}

    is the agreement at the weights w: how far the risk falls, for a small plain gradient step, for
    each unit by which the training loss falls. It is 1 for a perfect gradient, 0 where the step no
    longer helps, and negative where it harms. With g the training gradient, and :math:`g_i` and
    :math:`h_i` those of single observations in S and of others, the rules estimate it by

    .. math:: \frac{\|g\|^2 - \operatorname{tr}\hat\Sigma / n}{\|g\|^2}, \qquad
              \frac{\frac1K \sum_k \frac1{|k|} \sum_{i \in k} \langle g_k, h_i \rangle}
              {\frac1K \sum_k \|g_k\|^2}, \qquad
              \frac{\frac1m \sum_i \langle g, h_i \rangle}{\|g\|^2} .

    "standard error" takes S as fresh: the numerator is the mean of :math:`\langle g_i, g_j \rangle`
    over :math:`i \ne j`, so that it stops when :math:`\|g\|` is at most its own standard error. The
    interval, from the jackknife, is conservative for a fresh sample, and has NO guarantee after
    reuse, when the observations have shaped the weights. It costs no data.

    "folds" costs no data either. K replicas of model and optimiser take the same steps, replica k
    without fold k, whose gradients :math:`h_i` are taken at its weights. Given the replicas it is
    unbiased for their :math:`\langle g_k, \nabla F(w_k) \rangle`, averaged and divided as above: it
    speaks for a sample of n (1 - 1/K). The interval has twice the variance within folds. Once is
    enough where the signal rules, and Bayle et al. prove it for stable training. Where noise rules,
    with an agreement near 0, the estimate is a mean of products of two observations, each of which
    occurs twice, in either fold; then the variance is twice as large. So the interval is
    conservative, but for the few observations that Student's t always needs.

    "holdout" takes m rows that the training never sees, and Student's t. Like "folds" it is
    unbiased at steps fixed beforehand, if the first weights do not depend on the data: make the
    monitor before the first step on S. The intervals of all checks, with step 0, hold together by
    Bonferroni's correction, so that stopping at a check does not spoil them. They are approximate,
    and they are spoilt if the reports steer anything else.

    Gradients are over the parameters that the optimiser moves: those it has, with
    ``requires_grad`` at the time of the check. They are measured in eval mode: without dropout.
    Norms, projections, and sums over parameters and chunks of rows are float64. The gradients of
    single observations are taken in chunks that fit ``memory``, of 256 rows at most; activations,
    and a float64 copy of one parameter's part, come on top.

    Call :meth:`step` after ``optimiser.step()`` and before the step of a learning-rate scheduler:
    replicas take the learning rates that they then find. They minimise the mean loss of the batch,
    in the model's own mode, without weights or clipping. So at the first step copies of model and
    optimiser take it on the whole batch, and :meth:`step` refuses a loop that has taken another
    one. This is skipped where the training draws random numbers, as for dropout, and later steps
    are not compared. The monitor changes neither model nor optimiser nor global random states.

    Args:
        model: Any module that takes ``inputs``, each row by itself.
        loss: ``loss(output, target)`` gives one loss for each observation, (n,).
        optimiser: The optimiser of the loop, with all its groups.
        inputs: The sample, (n, ...), kept by reference, with the device and dtype of the model.
        targets: The targets, (n, ...).
        checks: The steps at which to check, increasing, from 1; step 0 is checked as well.
        rule: "folds", "standard error" or "holdout".
        folds: K, 2 or more; each fold has at least two rows.
        holdout: Held-out (inputs, targets), two rows or more; for "holdout" only.
        level: The level of all intervals together, between 0 and 1.
        memory: Bytes for the gradients of single observations.
        rng: An integer seed or a generator, which draws the folds; for "folds" only.

    Raises:
        TypeError: An argument is missing or of another kind, or ``torch.func`` cannot take it.
        ValueError: An argument makes no sense; rows depend on each other, as with batch
            normalisation; the loss is already reduced; data or a gradient are not finite; or the
            sample has a row twice, or in the held-out data, for "folds" and "holdout": equal rows
            cannot be told from copies, which would make the estimate too good.

    Source: the jackknife of a U-statistic; Bayle, Bayle, Janson and Mackey (2020) for the interval
        of "folds", recalled.

    Example:
        >>> from gradnotes.networks import MLP
        >>> x = torch.linspace(-1.0, 1.0, 24, dtype=torch.float64)[:, None]
        >>> y = x[:, 0] ** 3 + 0.1 * torch.cos(40.0 * x[:, 0])
        >>> model, loss = MLP(1, (8,), rng=0), torch.nn.MSELoss(reduction="none")
        >>> optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> monitor = ReuseMonitor(model, loss, optimiser, x, y, checks=[10, 20], rng=1)
        >>> for _ in range(20):
        ...     optimiser.zero_grad()
        ...     loss(model(x), y).mean().backward()
        ...     optimiser.step()
        ...     report = monitor.step(None)
        >>> report.step, report.checks, report.guaranteed, report.stop
        (20, 3, True, False)
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        optimiser: torch.optim.Optimizer,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        *,
        checks: Iterable[int],
        rule: str = "folds",
        folds: int = 5,
        holdout: tuple[torch.Tensor, torch.Tensor] | None = None,
        level: float = 0.95,
        memory: int = 64 * 2**20,
        rng: int | np.random.Generator | None = None,
    ):
        if rule not in RULES:
            raise ValueError(f"expected a rule among {', '.join(RULES)}, and got {rule!r}")
        for name, value, wanted in (("rng", rng, "folds"), ("holdout", holdout, "holdout")):
            if value is not None and rule != wanted:
                raise ValueError(
                    f'expected {name} with rule="{wanted}" only, and got it with rule="{rule}"; '
                    f"try {name}=None"
                )
        if not _is_whole(folds, 2):
            raise ValueError(f"expected folds as an integer of 2 or more, and got {folds!r}; try 5")
        if not isinstance(level, float) or not 0 < level < 1:
            raise ValueError(f"expected a level between 0 and 1, and got {level!r}; try 0.95")
        _check_kinds(model, loss, optimiser)
        self._model, self._loss, self._optimiser = model, loss, optimiser
        self._rule, self._level, self._checks = rule, float(level), _checked_steps(checks)
        self._data = _checked_data("the sample", inputs, targets)
        n = len(inputs)
        least = {"standard error": 3, "folds": 2 * folds, "holdout": 2}[rule]
        if n < least:
            raise ValueError(
                f'expected {least} rows or more for rule="{rule}", and got {n}; try fewer folds or '
                "more data"
            )
        _, row = _measured_parameters(model, optimiser)
        if not _is_whole(memory, 1) or memory < row:
            raise ValueError(
                f"expected memory as an integer of at least {row} bytes, for the gradient of one "
                f"observation, and got {memory!r}"
            )
        self._memory = int(memory)
        _check_places(model, *self._data)
        _check_finite("the sample", *self._data)
        _check_rows_are_separate(model, loss, *self._data)
        digests = _digests(*self._data)
        self._fold_of = None
        if rule == "folds":
            if copies := n - len(set(digests)):
                raise ValueError(
                    f"expected different rows, and got {copies} that stand in the sample already: "
                    "in two folds they would make the estimate too good; try the sample without "
                    'them, or rule="standard error"'
                )
            order = make_generator(rng, "ReuseMonitor").permutation(n)
            self._fold_of = torch.from_numpy(order.argsort() % folds)
        elif rule == "holdout":
            self._held = _checked_holdout(holdout, self._data)
            held = _digests(*self._held)
            if common := len(set(digests) & set(held)):
                raise ValueError(
                    f"expected held-out rows that are not in the sample, and got {common} with "
                    "equal inputs and targets; try a split into two parts without common rows"
                )
            digests += held
        self._replicas = [_twin(model, optimiser) for _ in range(folds if rule == "folds" else 0)]
        self._fingerprint = {
            "model": [[name, [*p.shape], str(p.dtype)] for name, p in model.named_parameters()],
            "optimiser": _kind(optimiser),
            "sample": [n, hashlib.sha256(b"".join(digests)).hexdigest()],
            "plan": [rule, [*self._checks], self._level, len(self._replicas)],
        }
        self._step, self._reports, self._replica_seconds = 0, [], 0.0
        # Some optimisers fill their state when they are made, with step 0.
        stepped = any(s and s.get("step", 1) != 0 for s in optimiser.state.values())
        self._guaranteed, self._interrupted = rule != "standard error" and not stepped, False
        self._check()

    @property
    def reports(self) -> tuple[ReuseReport, ...]:
        r"""The reports of all checks so far, that of step 0 first."""
        return tuple(self._reports)

    def step(self, batch: torch.Tensor | np.ndarray | None) -> ReuseReport:
        r"""Count a step of the loop, repeat it with the replicas, and check if the time has come.

        Args:
            batch: The numbers of the rows that the step was on, (rows,), or None for all.

        Returns:
            The latest report.

        Raises:
            TypeError: The batch has no whole numbers.
            ValueError: A row is out of range or there twice; a batch normalisation has been set to
                train; the optimiser has other groups; replicas would not repeat the loop's first
                step; or a gradient is not finite. Only the last counts the step.
            RuntimeError: An earlier step was interrupted, or failed after it was counted.
        """
        self._check_not_interrupted()
        n = len(self._data[0])
        rows = torch.arange(n) if batch is None else _checked_batch(batch, n)
        _check_batch_norm(self._model)
        if self._replicas:
            _check_groups(self._optimiser, self._fingerprint["optimiser"])
            if self._step == 0:
                self._check_repeats(rows)
        self._interrupted = True  # unless all of the following is done
        self._step += 1
        if self._replicas and self._step <= self._checks[-1]:
            self._follow(rows)
        if self._step in self._checks:
            self._check()
        self._interrupted = False
        return self._reports[-1]

    def state_dict(self) -> dict:
        r"""Return a copy of the state, of tensors and plain values, for ``torch.save``.

        With dropout, save the global random state of torch as well: replicas draw from a copy.
        After an interrupted step it is refused, as :meth:`step` is.
        """
        self._check_not_interrupted()
        replicas = [[m.state_dict(), optimiser.state_dict()] for m, optimiser in self._replicas]
        return copy.deepcopy(
            {
                "fingerprint": self._fingerprint,
                "step": self._step,
                "reports": [asdict(report) for report in self._reports],
                "replica_seconds": self._replica_seconds,
                "folds": self._fold_of,
                "replicas": replicas,
            }
        )

    def load_state_dict(self, state: dict) -> None:
        r"""Go on from a saved state, as if there had been no interruption or failure.

        The loop loads its own model and optimiser.

        Args:
            state: What :meth:`state_dict` returned for the same model, optimiser, sample and plan.

        Raises:
            ValueError: It is of others, or lacks a part; the monitor is then unchanged.
        """
        found = state.get("fingerprint") if isinstance(state, dict) else None
        if not isinstance(found, dict) or found.keys() != self._fingerprint.keys():
            raise ValueError("expected a state that state_dict() returned, and got something else")
        for part, own in self._fingerprint.items():
            if found[part] != own:
                raise ValueError(
                    f"expected a state with the same {part}, {own!r:.300}, and got "
                    f"{found[part]!r:.300}; try a monitor made as the saved one was"
                )
        state = copy.deepcopy(state)
        try:
            replicas = [_twin(*pair) for pair in self._replicas]
            for pair, saved in zip(replicas, state["replicas"], strict=True):
                for own, values in zip(pair, saved, strict=True):
                    own.load_state_dict(values)
            reports = [ReuseReport(**report) for report in state["reports"]]
            guaranteed = reports[0].guaranteed
            own = (state[key] for key in ("step", "replica_seconds", "folds"))
            self._step, self._replica_seconds, self._fold_of = own
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                "expected a state that state_dict() returned, and got one with a part missing or "
                f"changed, {error!r:.300}; try the file as it was saved"
            ) from error
        self._replicas, self._reports, self._guaranteed = replicas, reports, guaranteed
        self._interrupted = False

    def _check_not_interrupted(self):
        if self._interrupted:
            raise RuntimeError(
                f"expected steps that all ended, and step {self._step} was interrupted or failed: "
                "replicas may be half moved; try load_state_dict with a state saved before"
            )

    def _check_repeats(self, rows):
        """Refuse a loop whose first step replicas would not repeat."""
        one, two = (_twin(*self._replicas[0]) for _ in range(2))
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            random = torch.get_rng_state()
            self._train(*one, rows)
            if not torch.equal(random, torch.get_rng_state()):
                return  # the loop has drawn others
            # Reversed rows show what rounding can do: Adam makes whole steps of rounding errors.
            self._train(*two, rows.flip(0))
        start, reverse = _position(*self._replicas[0]), _position(*two)
        loop = _position(self._model, self._optimiser)
        eps = max(torch.finfo(p.dtype).eps for p in self._model.parameters() if p.requires_grad)
        for name, expected in _position(*one).items():
            zeros, found = [torch.zeros(())] * len(expected), loop.get(name, ())
            change = _distance(expected, start.get(name, zeros))
            # 0.001 of the change in float32, and the last digit of what changes.
            allowed = 3 * eps**0.5 * change + eps * _distance(expected, zeros)
            allowed += 10 * _distance(expected, reverse[name])
            apart = _distance(found, expected) if len(found) == len(expected) else math.inf
            if math.isfinite(change) and not apart <= allowed:
                raise ValueError(
                    f"expected the loop's first step to change {name} by {change:.2g}, as the mean "
                    f"of the losses of the batch does, and got values {apart:.2g} away: replicas "
                    "would not repeat the loop's steps. Likely causes: a sum or weighted mean of "
                    "losses; clipped or accumulated gradients; augmentation; lower precision; "
                    "another optimiser; other rows; an earlier step without monitor.step, or a "
                    "scheduler's step before it. Try the mean of the same losses, or "
                    'rule="holdout", which needs no replicas'
                )

    def _follow(self, rows):
        """Let each replica take the step that the loop took, without its fold."""
        began = time.perf_counter()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            for k, (model, optimiser) in enumerate(self._replicas):
                kept = rows[self._fold_of[rows] != k]
                if len(kept):
                    self._train(model, optimiser, kept)
        self._replica_seconds += time.perf_counter() - began

    def _train(self, model, optimiser, rows):
        for own, other in zip(self._model.modules(), model.modules(), strict=True):
            other.training = own.training
        for own, other in zip(self._model.parameters(), model.parameters(), strict=True):
            other.requires_grad_(own.requires_grad)
        for own, other in zip(self._optimiser.param_groups, optimiser.param_groups, strict=True):
            other.update({name: value for name, value in own.items() if name != "params"})
        x, y = (part[rows] for part in self._data)

        def closure():
            model.zero_grad()
            mean = self._loss(model(x), y).mean()
            mean.backward()
            return mean

        optimiser.step(closure)

    def _check(self):
        """Measure at the present weights, and add a report."""
        began = time.perf_counter()
        parameters, row = _measured_parameters(self._model, self._optimiser)
        chunk = max(1, min(self._memory // row, PASS_ROWS))
        found = [self._measured(*part, parameters, chunk) for part in self._parts()]
        norms, dots, squares, errors = zip(*found, strict=True)
        if self._rule == "standard error":
            estimate = _as_if_fresh(norms[0], dots[0], squares[0])
        else:
            estimate = _held_out(norms, dots, errors)
        count = len(self._checks) + 1
        agreement, interval = estimate.agreement((1 - self._level) / count)
        self._reports.append(
            ReuseReport(
                step=self._step,
                rule=self._rule,
                agreement=agreement,
                interval=interval,
                level=self._level,
                checks=count,
                guaranteed=self._guaranteed,
                error=math.sqrt(max(estimate.error_square, 0.0)),
                gradient_norm=math.sqrt(estimate.norm_square),
                stop=not agreement > 0,
                reason=_reason(agreement, interval, RULES[self._rule]),
                seconds=time.perf_counter() - began,
                replica_seconds=self._replica_seconds,
                memory=row * min(chunk, max(map(len, dots))),
                dtype=_listed({p.dtype for p in parameters.values()}),
            )
        )
        self._replica_seconds = 0.0

    def _parts(self):
        """Return each model to measure, its rows of the sample, and the held data and rows."""
        every = torch.arange(len(self._data[0]))
        if self._rule == "folds":
            return [
                (model, every[self._fold_of != k], self._data, every[self._fold_of == k])
                for k, (model, _) in enumerate(self._replicas)
            ]
        held = self._data if self._rule == "standard error" else self._held
        return [(self._model, every, held, torch.arange(len(held[0])))]

    def _measured(self, model, rows, held, held_rows, names, chunk):
        """Measure the gradient on rows of the sample, and held rows against it."""
        with _evaluating(model), torch.no_grad():
            mean = _mean_gradient(model, self._loss, self._data, rows, names)
            dots, squares, other = _projections(model, self._loss, held, held_rows, mean, chunk)
        norm = sum(float((g**2).sum()) for g in mean.values())
        if not (math.isfinite(norm) and np.isfinite(squares).all()):
            finite = all(p.isfinite().all() for p in model.parameters())
            raise ValueError(
                f"expected finite gradients at step {self._step}, and got infinite ones or NaN: "
                f"{'a loss or its gradient' if finite else 'the weights'} cannot be measured any "
                "more; try a smaller learning rate"
            )
        m = len(held_rows)
        apart = sum(float(((mean[name] - other[name]) ** 2).sum()) for name in mean)
        trace = (squares.sum() - m * sum(float((h**2).sum()) for h in other.values())) / (m - 1)
        return norm, dots, squares, apart - trace / m


# Estimates from projections and norms


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    """An estimate of <g, grad F> with its standard deviation, and what the report needs besides."""

    product: float
    deviation: float
    freedom: int
    norm_square: float
    error_square: float

    def agreement(self, miss):
        """Return agreement and interval, which misses with probability ``miss``."""
        if self.norm_square == 0:
            return math.nan, (math.nan, math.nan)
        reach = float(stats.t.isf(miss / 2, self.freedom)) * self.deviation
        low, middle, high = (
            float((self.product + side * reach) / self.norm_square) for side in (-1, 0, 1)
        )
        return middle, (low, high)


def _as_if_fresh(norm_square, dots, squares):
    """Estimate from <g_i, g> and |g_i|^2 alone, with the jackknife in closed form."""
    n = len(dots)
    error_square = (squares.mean() - norm_square) / (n - 1)
    # Without observation i the estimate changes by -2 / ((n - 1) (n - 2)) times this, centred.
    influence = n * dots - squares
    return _Estimate(
        product=float(norm_square - error_square),
        deviation=2 * influence.std(ddof=1) / (n**0.5 * (n - 2)),
        freedom=n - 1,
        norm_square=norm_square,
        error_square=float(error_square),
    )


def _held_out(norm_squares, dots, error_squares):
    """Estimate from <g_k, h_i> of each fold; a hold-out is a single fold."""
    folds = len(dots)
    variance = sum(part.var(ddof=1) / len(part) for part in dots) / folds**2
    if folds > 1:  # each fold's noise is in the other replicas
        variance *= 2
    return _Estimate(
        product=float(np.mean([part.mean() for part in dots])),
        deviation=float(variance) ** 0.5,
        freedom=sum(map(len, dots)) - folds,
        norm_square=float(np.mean(norm_squares)),
        error_square=float(np.mean(error_squares)),
    )


def _reason(agreement, interval, basis):
    if math.isnan(agreement):
        return "stop: the training gradient is zero, so that plain steps change nothing any more"
    low, high = interval
    return (
        f"{'go on' if agreement > 0 else 'stop'}: per unit of training loss, the risk falls by "
        f"{agreement:.2g} [{low:.2g}, {high:.2g}]{basis}"
    )


# Gradients


def _named(model, names):
    return {name: p.detach() for name, p in model.named_parameters() if name in names}


@contextmanager
def _evaluating(model):
    """Set every module to eval mode, and afterwards back to its own."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, training in flags:
            module.training = training


def _mean_loss(model, loss):
    """Return the mean loss as a function of parameters and rows."""
    # A module that assigns a buffer in forward then assigns it for this call only.
    buffers = dict(model.named_buffers())

    def mean(parameters, x, y):
        losses = loss(functional_call(model, (parameters, buffers), (x,)), y)
        # In half precision the gradient of a sum may overflow.
        return _checked_losses(losses, x, y).mean()

    return mean


def _differentiated(function, *arguments):
    try:
        return function(*arguments)
    except RuntimeError as error:
        places = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
        layers = [type(place).__name__ for place in places if isinstance(place, torch.nn.Module)]
        where = f" from {layers[-1]}, which it does not support" if layers else ""
        raise TypeError(
            "expected a model and a loss that torch.func can differentiate row by row, as every "
            f"rule needs, and got{where}: {error}; try other built-in layers and losses, without "
            "item(), branches on values or changes in place"
        ) from error


def _mean_gradient(model, loss, data, rows, names):
    """Return the gradient of the mean loss of these rows, float64, for each parameter named."""
    mean, parameters = grad(_mean_loss(model, loss)), _named(model, names)
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    for part in rows.split(PASS_ROWS):
        for name, g in _differentiated(mean, parameters, *(d[part] for d in data)).items():
            sums[name] += g.double() * len(part)
    return {name: g / len(rows) for name, g in sums.items()}


def _projections(model, loss, data, rows, direction, chunk):
    """Return <h_i, direction> and |h_i|^2 for each row, and the mean of all h_i."""
    each, parameters = vmap(grad(_mean_loss(model, loss)), (None, 0, 0)), _named(model, direction)
    dots, squares = torch.zeros(2, len(rows), dtype=torch.float64)
    sums = {name: torch.zeros_like(g) for name, g in direction.items()}
    for start in range(0, len(rows), chunk):
        here = slice(start, start + chunk)
        single = (d[rows[here]].unsqueeze(1) for d in data)
        for name, g in _differentiated(each, parameters, *single).items():
            flat = g.flatten(1).double()
            dots[here] += (flat @ direction[name].flatten()).cpu()
            sums[name] += flat.sum(0).view_as(sums[name])
            squares[here] += flat.square_().sum(1).cpu()
    return dots.numpy(), squares.numpy(), {name: g / len(rows) for name, g in sums.items()}


# Replicas


def _twin(model, optimiser):
    """Return copies of model and optimiser that belong together."""
    # A copy of the optimiser alone loses what L-BFGS keeps beside its state. Its hooks, and the
    # ``step`` that a scheduler puts on the instance, would act on the original.
    own = {
        name: value
        for name, value in vars(optimiser).items()
        if name != "step" and not name.startswith("_optimizer_")
    }
    model, own = copy.deepcopy((model, own))
    twin = object.__new__(type(optimiser))
    vars(twin).update(own)
    twin.__setstate__({})
    return model, twin


def _position(model, optimiser):
    """Return the parameters, and what the optimiser keeps in their shapes, in lists by name."""
    parts = defaultdict(list, {"the parameters": [p.detach() for p in model.parameters()]})
    for p in (p for group in optimiser.param_groups for p in group["params"]):
        for name, value in optimiser.state.get(p, {}).items():
            if isinstance(value, torch.Tensor) and value.shape == p.shape:
                parts[f"the optimiser's {name}"].append(value)
    return parts


def _distance(one, other):
    pairs = zip(one, other, strict=True)
    return math.sqrt(sum(float((a.double() - b.to(a.device)).square().sum()) for a, b in pairs))


# Checks of arguments


def _check_kinds(model, loss, optimiser):
    for name, value, fits, kind in (
        ("model", model, isinstance(model, torch.nn.Module), "a torch.nn.Module"),
        ("loss", loss, callable(loss), 'a function, such as MSELoss(reduction="none")'),
        ("optimiser", optimiser, isinstance(optimiser, torch.optim.Optimizer), "of torch.optim"),
    ):
        if not fits:
            raise TypeError(f"expected {name} as {kind}, and got {value!r:.60}")


def _is_whole(number, least):
    return isinstance(number, int | np.integer) and not isinstance(number, bool) and number >= least


def _checked_steps(checks):
    steps = list(checks) if isinstance(checks, Iterable) else [None]
    whole = all(_is_whole(step, 1) for step in steps)
    if not steps or not whole or any(b <= a for a, b in pairwise(steps)):
        raise ValueError(
            f"expected checks as increasing integers of 1 or more, and got {checks!r}; try [10, 50]"
        )
    return tuple(map(int, steps))


def _checked_data(name, inputs, targets):
    for part in (inputs, targets):
        if not isinstance(part, torch.Tensor) or part.ndim == 0:
            raise TypeError(
                f"expected inputs and targets of {name} as tensors (n, ...), and got {part!r:.60}; "
                "try torch.as_tensor"
            )
    if len(inputs) != len(targets):
        raise ValueError(
            f"expected as many inputs as targets in {name}, and got {len(inputs)} and "
            f"{len(targets)}"
        )
    return inputs.detach(), targets.detach()


def _checked_holdout(holdout, data):
    if not isinstance(holdout, tuple | list) or len(holdout) != 2:
        raise TypeError(
            f"expected holdout=(inputs, targets), and got {holdout!r:.60}; try a tenth of the data"
        )
    held = _checked_data("holdout", *holdout)
    if len(held[0]) < 2:
        raise ValueError(f"expected two held-out rows or more, and got {len(held[0])}")
    for part, own in zip(held, data, strict=True):
        kinds = [(p.device, p.dtype, tuple(p.shape[1:])) for p in (part, own)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                "expected held-out data with the device, dtype and shape of rows that the sample "
                f"has, {kinds[1]}, and got {kinds[0]}"
            )
    _check_finite("holdout", *held)
    return held


def _check_finite(name, inputs, targets):
    for kind, part in (("inputs", inputs), ("targets", targets)):
        if count := int((~part.isfinite()).sum()):
            raise ValueError(
                f"expected finite {kind} in {name}, and got {count} values of NaN or infinity; try "
                "the data without those rows"
            )


def _measured_parameters(model, optimiser):
    """Return the parameters that the optimiser moves, and the bytes of one gradient."""
    moved = {id(p) for group in optimiser.param_groups for p in group["params"]}
    if others := len(moved - {id(p) for p in model.parameters()}):
        raise ValueError(
            f"expected an optimiser of the model's own parameters, and got {others} others; try "
            "one made from model.parameters()"
        )
    names = [k for k, p in model.named_parameters() if p.requires_grad and id(p) in moved]
    if not names:
        raise ValueError("expected a parameter with requires_grad in the optimiser, and got none")
    found = _named(model, names)
    return found, sum(p.numel() * p.element_size() for p in found.values())


def _check_places(model, *data):
    devices, dtypes = {p.device for p in model.parameters()}, {p.dtype for p in model.parameters()}
    for part in data:
        if {part.device} != devices or part.is_meta:
            raise ValueError(
                f"expected the sample on the model's device, {_listed(devices)}, and got "
                f"{part.device}; try .to(...), and values, which meta has not"
            )
    if data[0].is_floating_point() and data[0].dtype not in dtypes:
        raise ValueError(
            f"expected inputs with the model's dtype, {_listed(dtypes)}, and got {data[0].dtype}; "
            "try inputs.to(...)"
        )


def _listed(kinds):
    return " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))


def _checked_losses(losses, x, y):
    shape = tuple(losses.shape)
    if shape == ():
        raise ValueError(
            "expected one loss for each observation, and got one already reduced; try "
            "reduction='none'"
        )
    if shape != (len(x),):
        raise ValueError(
            f"expected one loss for each observation, ({len(x)},), and got {shape} for targets "
            f"{tuple(y.shape)}; try targets in the shape of the output, and means over other axes"
        )
    return losses


def _checked_batch(batch, n):
    try:
        rows = torch.as_tensor(batch)
        kind = str(rows.dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        rows, kind = torch.zeros(0), f"{batch!r:.60}"
    if rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise TypeError(
            f"expected a batch of integers, the numbers of its rows, or None for all, and got "
            f"{kind}; try torch.arange({n})[batch] for a slice or a mask"
        )
    rows, listed = rows.cpu().long(), f"{rows.tolist()!r:.60}"
    if rows.ndim != 1 or not len(rows) or rows.min() < 0 or rows.max() >= n:
        raise ValueError(
            f"expected a batch (rows,) of row numbers from 0 to {n - 1}, and got {listed}"
        )
    if len(rows.unique()) < len(rows):
        raise ValueError(
            f"expected a batch without repeated rows, and got {listed}; try to draw each row once"
        )
    return rows


def _kind(optimiser):
    return [type(optimiser).__name__, *(len(group["params"]) for group in optimiser.param_groups)]


def _check_groups(optimiser, kind):
    if (found := _kind(optimiser)) != kind:
        raise ValueError(
            f"expected the groups of parameters of when the monitor was made, {kind}, and got "
            f"{found}; try a monitor made after add_param_group"
        )


def _check_batch_norm(model):
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
            raise ValueError(
                f"{type(layer).__name__} takes its statistics from the batch: the gradient of an "
                "observation depends on the others; try that layer in eval mode, or GroupNorm"
            )


def _check_rows_are_separate(model, loss, inputs, targets):
    """Refuse a model, or a loss, that gives other values to the same rows one by one."""
    _check_batch_norm(model)
    model = copy.deepcopy(model).eval()
    rows = torch.linspace(0, len(inputs) - 1, min(len(inputs), 4)).long()
    x, y = inputs[rows], targets[rows]

    def values(x, y):
        output = model(x)
        parts = [p for p in (output, _checked_losses(loss(output, y), x, y)) if torch.is_tensor(p)]
        return [p for p in parts if p.is_floating_point() and p.shape[:1] == x.shape[:1]]

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        whole = values(x, y)
        single = [values(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        for together, *alone in zip(whole, *single, strict=True):
            allowed = torch.finfo(together.dtype).eps ** 0.5 * together.abs().max()
            if (torch.cat(alone) - together).abs().max() > allowed:
                raise ValueError(
                    f"{type(model).__name__} gives other outputs or losses for the same rows one "
                    "by one: they depend on each other or on random numbers; try layers that treat "
                    "each row by itself, such as GroupNorm"
                )


def _digests(inputs, targets):
    """Return a hash of the values of each row."""
    # -0.0 is 0.0, with other bytes.
    parts = [(p + 0.0 if p.is_floating_point() else p).cpu() for p in (inputs, targets)]
    rows = [p.contiguous().flatten().view(torch.uint8).reshape(len(p), -1).numpy() for p in parts]
    return [
        hashlib.blake2b(x.tobytes() + y.tobytes(), digest_size=16).digest()
        for x, y in zip(*rows, strict=True)
    ]
