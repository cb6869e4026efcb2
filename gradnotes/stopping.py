r"""When to stop training on one sample: rules, what each costs, and how far to trust it.

A sample of n observations is reused for many gradient steps. At planned times a rule looks at
gradients and says whether to stop; :func:`stopping_sweep` measures what that costs in risk, beside
the best step of the same trajectory, and how often intervals for the true progress hold.
:func:`study` makes the book's table, which ``load_table("stopping")`` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

from gradnotes.arguments import check_whole
from gradnotes.regressions import LinearProblem, LogisticProblem
from gradnotes.reuse import stale_gradient_bound
from gradnotes.sweeps import cell_generator, in_groups, load_table, run_cells, store_study

REGRESSIONS = {
    "linear": LinearProblem(dimension=20),
    "logistic": LogisticProblem(dimension=20, scale=2.0),
}
PROBLEMS = (*REGRESSIONS, "network")
STEP_SIZES = {"linear": 0.1, "logistic": 0.4, "network": 0.5}
STEPS = 400
BATCHES = ("full", "minibatch")
# The times of the checks: a quarter of an octave apart.
CHECKS = (0, *sorted({round(2 ** (j / 4)) for j in range(99) if 2 ** (j / 4) <= STEPS}))
RULES = (
    "folds",
    "fold losses",
    "least fold loss",
    "standard error",
    "half standard error",
    "holdout",
    "split",
    "path",
    "never",
    "oracle",
)
FOLDS, BATCHES_IN_EPOCH, HOLDOUT = 5, 10, 4
# Of a multiple of this, a fifth, a tenth and a quarter are whole numbers.
UNIT = 20
CONFIDENCE = 0.95
COVERED = ("folds", "standard error", "holdout")
COVERAGE_STEPS = (0, 16, 64, 256)
# The network, and the number of inputs that stand for its population.
INPUTS, HIDDEN, POOL = 10, 16, 8192
# The output weights of the teacher are so many times those of a student at its start.
TEACHER = 6.0
# How many samples run together, and of how many the stored table keeps each step and regret.
GROUP, KEPT = 8, 128
TIE = 1e-9


# What is trained


class _Regression:
    """Linear or logistic regression, with exact risks."""

    def __init__(self, name, _):
        self.problem, self.logistic = REGRESSIONS[name], name == "logistic"
        self.smoothness = self.problem.population_smoothness

    def start(self, _):
        """Return the weights before any step, (p,)."""
        return self.problem.start

    def draw(self, n, generator):
        """Return n observations."""
        return self.problem.draw(n, rng=generator)

    def gradients(self, theta, x, y, shares):
        """Return gradients of weighted mean losses, (s, r, p), of r replicas for s samples.

        Weights are (s, r, p), observations (s, n, d) and (s, n), and the shares of the observations
        (s or 1, r, n).
        """
        return (shares * self._residuals(theta, x, y)) @ x

    def losses(self, theta, x, y, shares):
        """Return the weighted mean losses, (s, r); arguments as for the gradients."""
        margins = theta @ x.swapaxes(-1, -2)
        each = _log_losses(margins, y) if self.logistic else (margins - y[:, None]) ** 2 / 2
        return (shares * each).sum(axis=-1)

    def squares(self, theta, x, y):
        """Return the squared norm of the gradient of each observation, (s, n), at (s, p)."""
        return self._residuals(theta[:, None], x, y)[:, 0] ** 2 * (x**2).sum(axis=-1)

    def risk(self, theta):
        """Return the risk, (s,), at (s, p)."""
        return self.problem.risk(theta)

    def _residuals(self, theta, x, y):
        margins = theta @ x.swapaxes(-1, -2)
        return (_logistic(margins) if self.logistic else margins) - y[:, None]


class _Network:
    """A tanh network with the logistic loss, labels from another one, and a pool as population.

    Its weights are flat: input weights (row by row), hidden biases, output weights, output bias.
    """

    smoothness = None

    def __init__(self, _, rng):
        generator = cell_generator(rng, population="network")
        self.teacher = self.start(generator)
        self.teacher[-HIDDEN - 1 :] *= TEACHER
        self.pool = generator.standard_normal((POOL, INPUTS))
        self.chances = self._chances(self.pool)

    def start(self, generator):
        first = generator.standard_normal(INPUTS * HIDDEN) / INPUTS**0.5
        second = generator.standard_normal(HIDDEN) / HIDDEN**0.5
        return np.concatenate([first, np.zeros(HIDDEN), second, [0.0]])

    def draw(self, n, generator):
        x = generator.standard_normal((n, INPUTS))
        return x, (generator.random(n) < self._chances(x)).astype(np.float64)

    def gradients(self, theta, x, y, shares):
        hidden, margins = self._forward(theta, x)
        slopes = self._slopes(theta, hidden)
        residuals = shares * (_logistic(margins) - y[:, None])
        signals = residuals.swapaxes(-1, -2)[..., None] * slopes
        replicas = theta.shape[:-1]
        first = x.swapaxes(-1, -2) @ signals.reshape(*x.shape[:-1], -1)
        first = first.reshape(-1, INPUTS, replicas[1], HIDDEN).swapaxes(1, 2)
        second = residuals[:, :, None] @ hidden.transpose(0, 2, 1, 3)
        parts = first, signals.sum(axis=1), second, residuals.sum(axis=-1)
        return np.concatenate([part.reshape(*replicas, -1) for part in parts], axis=-1)

    def losses(self, theta, x, y, shares):
        return (shares * _log_losses(self._forward(theta, x)[1], y)).sum(axis=-1)

    def squares(self, theta, x, y):
        hidden, margins = self._forward(theta[:, None], x)
        ahead = 1 + (hidden[:, :, 0] ** 2).sum(axis=-1)
        behind = (self._slopes(theta[:, None], hidden)[:, :, 0] ** 2).sum(axis=-1)
        behind *= 1 + (x**2).sum(axis=-1)
        return (_logistic(margins[:, 0]) - y) ** 2 * (ahead + behind)

    def risk(self, theta):
        margins = self._forward(theta[None], self.pool[None])[1][0]
        # The mean over labels is taken exactly, which leaves the chance of the inputs alone.
        return (np.logaddexp(0.0, margins) - self.chances * margins).mean(axis=-1)

    def _chances(self, x):
        return _logistic(self._forward(self.teacher[None, None], x[None])[1][0, 0])

    def _forward(self, theta, x):
        """Return hidden values, (s, n, r, h), and margins, (s, r, n)."""
        weights = theta[..., : INPUTS * HIDDEN].reshape(*theta.shape[:-1], INPUTS, HIDDEN)
        bias, output, last = np.split(theta[..., INPUTS * HIDDEN :], [HIDDEN, 2 * HIDDEN], axis=-1)
        # One product for all replicas, which see the same inputs.
        sums = x @ weights.swapaxes(1, 2).reshape(len(theta), INPUTS, -1)
        sums = sums.reshape(*sums.shape[:2], -1, HIDDEN)
        sums += bias[:, None]
        hidden = np.tanh(sums, out=sums)
        margins = (hidden.transpose(0, 2, 1, 3) @ output[..., None])[..., 0] + last
        return hidden, margins

    def _slopes(self, theta, hidden):
        """Return the derivatives, (s, n, r, h), of the margins with respect to sums of inputs."""
        return (1 - hidden**2) * theta[:, None, :, -HIDDEN - 1 : -1]


def _log_losses(margins, y):
    return np.logaddexp(0.0, margins) - y[:, None] * margins


def _logistic(margins):
    # The hyperbolic tangent is several times as fast as SciPy's expit.
    return 0.5 + 0.5 * np.tanh(margins / 2)


# One group of samples of a cell


def _cell(problem, n, batch, samples, rng):
    """Return what a sweep keeps of some samples, as lists over them."""
    model = (_Network if problem == "network" else _Regression)(problem, rng)
    drawn = []
    for number in samples:
        # Without the batch: both kinds of steps get the same samples.
        generator = cell_generator(rng, problem=problem, n=n, sample=number)
        sampling, holding, batching, starting = generator.spawn(4)
        parts = *model.draw(n, sampling), *model.draw(n // HOLDOUT, holding), model.start(starting)
        drawn.append([*parts, _batches(n, batching) if batch == "minibatch" else []])
    data = (np.stack(part) for part in zip(*drawn, strict=True))
    risk, split_risk, signs, held_losses, states = _follow(
        model, *data, step_size=STEP_SIZES[problem]
    )
    least = risk.min(axis=1)
    scale = risk[:, 0] - least
    stops = {rule: _first_stop(values) for rule, values in signs.items()}
    # Weights that have come to rest differ in the last digits only.
    best = (risk <= (least + TIE * scale)[:, None]).argmax(axis=1)
    stops["least fold loss"] = np.array(CHECKS)[held_losses.argmin(axis=1)]
    stops |= {"never": np.full(len(samples), STEPS), "oracle": best}
    result = {"start_risk": risk[:, 0].tolist(), "least_risk": least.tolist()}
    result |= {"steps": {}, "regrets": {}, "off": {}, "hits": {}}
    for rule, steps in stops.items():
        reached = (split_risk if rule == "split" else risk)[range(len(steps)), steps]
        result["steps"][rule] = steps.tolist()
        # Where no step lowers the risk, nothing is there to be lost.
        lost = zip((reached - least).tolist(), scale.tolist(), strict=True)
        result["regrets"][rule] = [loss / gain if gain > 0 else None for loss, gain in lost]
    for rule in COVERED if states else ():
        estimate, truth, reach = np.swapaxes([INTERVALS[rule](*state) for state in states], 0, 1)
        result["off"][rule] = (estimate - truth).T.tolist()
        result["hits"][rule] = (np.abs(estimate - truth) <= reach).astype(int).T.tolist()
    return result


def _batches(n, generator):
    """Return the places, (steps, n / 10), of the batch of each step, in a new order each epoch."""
    orders = [generator.permutation(n) for _ in range(0, STEPS, BATCHES_IN_EPOCH)]
    return np.concatenate(orders).reshape(-1, n // BATCHES_IN_EPOCH)


def _follow(model, x, y, more_x, more_y, start, batches, *, step_size):
    """Take the steps; return what :func:`_cell` needs.

    Replica 0 is trained on the whole sample, and replica k + 1 without fold k.

    Returns:
        The risks of replicas 0 and 1, (s, steps + 1), the latter nan where nobody asks; for each
        rule numbers (s, checks) that say stop when they are not positive; the mean losses of the
        folds, (s, checks); and the states of a regression at the steps where intervals are tried.
    """
    samples, n = y.shape
    kept = np.ones((FOLDS + 1, n), dtype=bool)
    for k, fold in enumerate(np.split(np.arange(n), FOLDS)):
        kept[k + 1, fold] = False
    inside, outside, everything = _shares(kept), _shares(~kept[1:]), 1 / more_y.shape[1]
    theta = np.repeat(start[:, None], FOLDS + 1, axis=1)
    risk, split_risk = np.full((2, samples, STEPS + 1), np.nan)
    signs, held_losses, states = [], [], []
    for k in range(STEPS + 1):
        risk[:, k] = model.risk(theta[:, 0])
        if k in CHECKS or k == STEPS:
            split_risk[:, k] = model.risk(theta[:, 1])
        if k in CHECKS or not batches.size:
            own = model.gradients(theta, x, y, inside)
        if k in CHECKS:
            held = model.gradients(theta[:, 1:], x, y, outside)
            more = model.gradients(theta[:, :1], more_x, more_y, everything)[:, 0]
            error = _standard_error(own[:, 0], model.squares(theta[:, 0], x, y))
            if k == 0:
                first_error = error
            distance = np.linalg.norm(theta[:, 0] - start, axis=-1)
            path = stale_gradient_bound(first_error, distance, smoothness=model.smoothness or 0.0)
            signs.append(_signs(own, held, more, error, path))
            held_losses.append(model.losses(theta[:, 1:], x, y, outside).mean(axis=1))
        if k in COVERAGE_STEPS and model.smoothness is not None:
            states.append((model.problem, theta, own, x, y, more_x, more_y))
        if k < STEPS and batches.size:
            chosen = batches[:, k]
            parts = np.take_along_axis(x, chosen[..., None], 1), np.take_along_axis(y, chosen, 1)
            own = model.gradients(theta, *parts, _shares(kept[:, chosen].swapaxes(0, 1)))
        theta = theta - step_size * own
    signs = {rule: np.stack([at[rule] for at in signs], axis=1) for rule in signs[0]}
    if model.smoothness is None:
        del signs["path"]
    held_losses = np.stack(held_losses, axis=1)
    # The first check has nothing to compare with.
    signs["fold losses"] = -np.diff(held_losses, axis=1, prepend=np.inf)
    return risk, split_risk, signs, held_losses, states


def _shares(kept):
    """Return equal weights with sum 1 where something is kept, and 0 where nothing is."""
    return kept / np.maximum(kept.sum(axis=-1, keepdims=True), 1)


def _signs(own, held, more, error, path):
    """Return for each rule the numbers, (s,), that say stop when they are not positive."""
    norm = np.linalg.norm(own[:, 0], axis=-1)
    products = (own[:, 1:] * held).sum(axis=-1)
    return {
        "folds": products.mean(axis=1),
        "standard error": norm - error,
        "half standard error": norm - error / 2,
        "holdout": (own[:, 0] * more).sum(axis=-1),
        # The first replica is the one that a split would train.
        "split": products[:, 0],
        "path": norm - path,
    }


def _first_stop(values):
    """Return the first check, (s,), at which values (s, checks) are not positive, or all steps."""
    stop = values <= 0
    return np.where(stop.any(axis=1), np.array(CHECKS)[stop.argmax(axis=1)], STEPS)


def _standard_error(mean, squares):
    r"""Return the root of tr Sigma / n, (s,), from means (s, p) and squared norms (s, n)."""
    n = squares.shape[1]
    spread = squares.mean(axis=1) - (mean**2).sum(axis=-1)
    return np.sqrt(np.maximum(spread, 0.0) / (n - 1))


# Intervals for the true progress: the estimate, the truth and the half-width, each (s,)


def _folds_interval(problem, theta, own, x, y, *_):
    """Take twice the variance within each fold."""
    samples, n = y.shape
    theta, own = theta[:, 1:], own[:, 1:]
    parts = x.reshape(samples, FOLDS, n // FOLDS, -1), y.reshape(samples, FOLDS, n // FOLDS)
    terms = (problem.gradients(theta, *parts) @ own[..., None])[..., 0]
    truth = (own * problem.population_gradient(theta)).sum(axis=-1).mean(axis=1)
    # Twice, as in the monitor: each fold's noise is in the other replicas.
    variance = 2 * terms.var(axis=2, ddof=1).mean(axis=1)
    return terms.mean(axis=(1, 2)), truth, _quantile(n - FOLDS) * np.sqrt(variance / n)


def _holdout_interval(problem, theta, own, _x, _y, more_x, more_y):
    theta, own, m = theta[:, 0], own[:, 0], more_y.shape[1]
    terms = (problem.gradients(theta, more_x, more_y) @ own[..., None])[..., 0]
    truth = (own * problem.population_gradient(theta)).sum(axis=-1)
    return terms.mean(axis=1), truth, _quantile(m - 1) * np.sqrt(terms.var(axis=1, ddof=1) / m)


def _standard_error_interval(problem, theta, _own, x, y, *_):
    """Take the mean product of two different gradients, and its jackknife."""
    n, theta = y.shape[1], theta[:, 0]
    each = problem.gradients(theta, x, y)
    squares, total = (each**2).sum(axis=-1), each.sum(axis=1)
    crossed = (total**2).sum(axis=-1) - squares.sum(axis=1)
    # Without observation i, all products with it are missing.
    fewer = crossed[:, None] - 2 * ((each @ total[..., None])[..., 0] - squares)
    variance = (n - 1) * (fewer / ((n - 1) * (n - 2))).var(axis=1)
    truth = (problem.population_gradient(theta) ** 2).sum(axis=-1)
    return crossed / (n * (n - 1)), truth, _quantile(n - 1) * np.sqrt(variance)


def _quantile(freedom):
    return stats.t.ppf((1 + CONFIDENCE) / 2, freedom)


INTERVALS = {
    "folds": _folds_interval,
    "holdout": _holdout_interval,
    "standard error": _standard_error_interval,
}


# The sweep


@dataclass(frozen=True, kw_only=True)
class Difference:
    r"""A mean paired difference of regrets.

    Attributes:
        mean: The mean over the samples of the regret of one rule less that of the other.
        interval: The 95 % interval (low, high) of the mean.
        samples: The number of samples.
    """

    mean: float
    interval: tuple[float, float]
    samples: int


@dataclass(frozen=True, kw_only=True)
class Coverage:
    r"""How often an interval, made at one step, holds the truth.

    Attributes:
        hits: The number of samples whose 95 % interval does.
        samples: The number of samples.
        interval: The exact 95 % interval (low, high) of the chance of a hit (Clopper and Pearson).
        bias: The mean of estimate less truth, in squared units of a gradient.
        bias_error: The standard error of that mean over the samples; nan for one sample.
    """

    hits: int
    samples: int
    interval: tuple[float, float]
    bias: float
    bias_error: float


@dataclass(frozen=True, kw_only=True)
class StoppingSweep:
    r"""Where each rule stopped on each sample, and what that cost.

    Attributes:
        rows: Dicts with "problem", "n", "batch" and the number of "samples"; "steps" and "regrets",
            dicts of lists over the samples for each rule (in the stored study, over the first 128);
            "start_risk" and "least_risk", medians over the samples; "hits", a dict of strings of 0
            and 1 over the samples, one for each of the steps 0, 16, 64 and 256, for each rule that
            has an interval; and "bias", mean and standard error in the same places. The last two
            are empty for networks.
    """

    rows: tuple[dict, ...]

    def regrets(self, problem: str, n: int, rule: str, batch: str = "full") -> np.ndarray:
        r"""Return the regret of a rule on each sample, (samples,).

        .. math:: \frac{F(\theta_{\text{stop}}) - \min_k F(\theta_k)}
                       {F(\theta_0) - \min_k F(\theta_k)}

        It is nan for a sample on which no step lowers the risk.

        Raises:
            ValueError: The sweep has no such cell, or the cell no such rule.

        Example:
            >>> stored_study().regrets("linear", 100, "oracle").max() <= 1e-9
            np.True_
        """
        return np.array(self._of_rule("regrets", problem, n, rule, batch), dtype=np.float64)

    def stopping_steps(self, problem: str, n: int, rule: str, batch: str = "full") -> np.ndarray:
        r"""Return the number of steps after which a rule stopped, (samples,).

        Raises:
            ValueError: The sweep has no such cell, or the cell no such rule.

        Example:
            >>> set(stored_study().stopping_steps("linear", 100, "never").tolist())
            {400}
        """
        return np.array(self._of_rule("steps", problem, n, rule, batch))

    def compare(
        self, problem: str, n: int, rule: str, other: str = "never", batch: str = "full"
    ) -> Difference:
        r"""Return the mean difference of the regrets of two rules, paired by sample.

        .. math:: \bar D \pm t_{0.975,\,S-1} \frac{\operatorname{sd}(D)}{\sqrt S}

        Samples on which no step lowers the risk are left out.

        Raises:
            ValueError: The sweep has no such cell or rule, or fewer than 2 samples are left.

        Source: Student (1908).

        Example:
            >>> stored_study().compare("linear", 40, "folds").mean < -0.5
            True
        """
        first, second = (self.regrets(problem, n, name, batch) for name in (rule, other))
        difference = (first - second)[~np.isnan(first)]
        count = len(difference)
        if count < 2:
            raise ValueError(f"expected 2 samples or more, and got {count}; try samples=100")
        mean = float(difference.mean())
        reach = float(_quantile(count - 1) * difference.std(ddof=1) / count**0.5)
        return Difference(mean=mean, interval=(mean - reach, mean + reach), samples=count)

    def coverage(self, problem: str, n: int, rule: str, step: int, batch: str = "full") -> Coverage:
        r"""Tell how often the 95 % interval of a rule, made at one step, holds the truth.

        ==================  ==========================================  ==========================
        rule                estimate                                    truth
        ==================  ==========================================  ==========================
        "folds"             the mean over folds of                      the same with
                            :math:`g_k \cdot h_k`                       :math:`\nabla F(\theta_k)`
        "holdout"           :math:`g_S \cdot g_H`                       :math:`g_S \cdot \nabla F`
        "standard error"    :math:`\|g_S\|^2 -                          :math:`\|\nabla F\|^2`
                            \operatorname{tr} \hat\Sigma_S / n`
        ==================  ==========================================  ==========================

        The intervals are Student's: with twice the variance within folds, as in
        :class:`~gradnotes.monitors.ReuseMonitor`, and n - 5 degrees of freedom, with the variance
        of the m held-out terms and m - 1, and with that of the jackknife and n - 1. The
        second one treats :math:`g_S` as given, as it may. The first one takes the folds for
        independent, which is right for large n. The last one would need a fresh sample, and has no
        guarantee on one that was trained on.

        Raises:
            ValueError: The sweep has no such cell, rule or step.

        Source: Bayle, Bayle, Janson and Mackey (2020), recalled, for the folds.

        Example:
            >>> found = stored_study().coverage("linear", 100, "holdout", 64)
            >>> 0.9 < found.hits / found.samples < 1.0
            True
        """
        if step not in COVERAGE_STEPS:
            raise ValueError(f"expected a step among {COVERAGE_STEPS}, and got {step!r}")
        place = COVERAGE_STEPS.index(step)
        hits = self._of_rule("hits", problem, n, rule, batch)[place]
        bias, error = self._of_rule("bias", problem, n, rule, batch)[place]
        found = hits.count("1")
        low, high = stats.binomtest(found, len(hits)).proportion_ci(CONFIDENCE, "exact")
        return Coverage(
            hits=found,
            samples=len(hits),
            interval=(float(low), float(high)),
            bias=bias,
            bias_error=np.nan if error is None else error,
        )

    def _of_rule(self, column, problem, n, rule, batch):
        rows = {_key(row): row for row in self.rows}
        if (problem, n, batch) not in rows:
            raise ValueError(f"expected a cell among {sorted(rows)}, and got {(problem, n, batch)}")
        of_rules = rows[problem, n, batch][column]
        if rule not in of_rules:
            there = ", ".join(of_rules) or f"none, as {problem!r} has no exact gradient"
            raise ValueError(f"expected a rule among {there}, and got {rule!r}")
        return of_rules[rule]


def _key(row):
    return row["problem"], row["n"], row["batch"]


def stopping_sweep(
    *,
    problems: Sequence[str],
    sizes: Sequence[int],
    batches: Sequence[str] = BATCHES,
    samples: int,
    rng: int,
    store: str | Path | None = None,
    progress: bool = True,
) -> StoppingSweep:
    r"""Let rules stop gradient descent on many samples, and measure what each costs in risk.

    Each sample S has n observations, and 400 steps are taken on it. With :math:`g_S` the mean
    gradient of S, a rule stops at the first of the checks at which its condition holds; they are at
    0 and at the rounded powers :math:`2^{j/4}`. A rule that never stops takes all steps.

    =====================  =====================================================================
    rule                   stops when
    =====================  =====================================================================
    "folds"                :math:`\frac15 \sum_k g_k \cdot h_k \le 0`: replica k is trained
                           without the k-th fifth of S, :math:`g_k` is its gradient there, and
                           :math:`h_k` at the same weights that of the fifth
    "fold losses"          the mean loss of the held-out fifths has not fallen since the last check
    "least fold loss"      looking back on all checks, that loss was least
    "standard error"       :math:`\|g_S\| \le \text{SE}`, with :math:`\text{SE}^2 =
                           \operatorname{tr} \hat\Sigma_S / n` (divisor n - 1)
    "half standard error"  :math:`\|g_S\| \le \text{SE} / 2`; the half was chosen after the fact
    "holdout"              :math:`g_S \cdot g_H \le 0`, with n/4 more observations H
    "split"                :math:`g_1 \cdot h_1 \le 0`: one fold only. It goes on with the
                           replica, so its regret may be negative
    "path"                 :math:`\|g_S\| \le \text{SE}_0 + \beta \|\theta_k - \theta_0\|`, the
                           bound of a gradient that was taken at the start; not for the network
    "never"                never
    "oracle"               the risk is least, over all steps, not only at checks; or within
                           :math:`10^{-9}` of it, in units of regret
    =====================  =====================================================================

    All rules but "split" are judged by the risk of the trajectory on the whole of S. Steps are on
    the whole sample, or on minibatches of n/10 that go through it in a random order, new for each
    epoch; replicas take the same batches without their fold. Gradients at checks are of all of S.

    - "linear" and "logistic": regression in 20 dimensions with weights of length 1 and 2, from 0,
      with step sizes 0.1 and 0.4, and exact risks (:mod:`gradnotes.regressions`).
    - "network": 10 inputs, 16 tanh units and one output, from random weights, with step size 0.5.
      The labels are drawn from another network of this kind, with 6 times larger output weights,
      whose error rate is about 0.11. The population is a pool of 8192 inputs, with the mean over
      labels taken exactly. What training gains in risk has a standard error from the pool: 7 % for
      n = 40, and 1 % for n = 800.

    Each sample has random numbers of its own, the same for both kinds of batches: more samples
    leave the first ones as they are.

    Args:
        problems: Among "linear", "logistic" and "network".
        sizes: The numbers n, multiples of 20.
        batches: Among "full" and "minibatch".
        samples: The number of samples for each problem, size and batch, 1 or more.
        rng: An integer seed.
        store: None, or a folder that keeps what is done (:func:`gradnotes.sweeps.run_cells`).
        progress: Whether a terminal shows a progress bar.

    Raises:
        TypeError: ``rng`` is missing or is not an integer.
        ValueError: A problem, a batch or a number makes no sense, or the store does not fit.

    Source: the book's page on reuse; early stopping by a held-out set is folklore.

    Example:
        >>> options = {"problems": ["linear"], "sizes": [40], "batches": ["full"], "rng": 3}
        >>> sweep = stopping_sweep(**options, samples=8)
        >>> np.median(sweep.stopping_steps("linear", 40, "folds")) < 40
        np.True_
        >>> sweep.compare("linear", 40, "folds").mean < 0
        True
    """
    cells = _cells(problems, sizes, batches, samples, rng)
    return _merged(cells, run_cells(_cell, cells, store=store, progress=progress))


def _cells(problems, sizes, batches, samples, rng):
    """Return the cells of a sweep, with a few samples each."""
    cell_generator(rng)  # refuses a seed that makes no sense
    for name, found, known in (("problem", problems, PROBLEMS), ("batch", batches, BATCHES)):
        for one in found:
            if one not in known:
                raise ValueError(f"expected a {name} among {', '.join(known)}, and got {one!r}")
    check_whole("samples", samples, 1)
    for n in sizes:
        check_whole("a size n", n, UNIT)
        if n % UNIT:
            raise ValueError(
                f"expected a size n that is a multiple of {UNIT}, so that its fifth, tenth and "
                f"quarter are whole, and got {n}; try {UNIT * round(n / UNIT)}"
            )
    return [
        {
            "problem": problem,
            "n": int(n),
            "batch": batch,
            "samples": group,
            "rng": int(rng),
        }
        for problem, n, batch in product(problems, sizes, batches)
        for group in in_groups(samples, GROUP)
    ]


def _merged(cells, results):
    """Return the results of groups of samples as one row for each problem, size and batch."""
    groups = {}
    for cell, result in zip(cells, results, strict=True):
        groups.setdefault(_key(cell), []).append(result)
    return StoppingSweep(rows=tuple(_row(*item) for item in groups.items()))


def _row(key, groups):
    row = dict(zip(("problem", "n", "batch"), key, strict=True))
    row["samples"] = sum(len(group["least_risk"]) for group in groups)
    for name in ("start_risk", "least_risk"):
        row[name] = float(np.median(np.concatenate([group[name] for group in groups])))
    for name in ("steps", "regrets", "hits", "off"):
        rules = [rule for rule in RULES if rule in groups[0][name]]
        row[name] = {r: np.concatenate([group[name][r] for group in groups]) for r in rules}
    row["bias"] = {rule: [_mean_and_error(at) for at in off.T] for rule, off in row["off"].items()}
    row["hits"] = {
        r: ["".join(map(str, at)) for at in hits.T.tolist()] for r, hits in row["hits"].items()
    }
    row |= {name: {r: row[name][r].tolist() for r in row[name]} for name in ("steps", "regrets")}
    del row["off"]
    return row


def _mean_and_error(numbers):
    count = len(numbers)
    error = None if count < 2 else float(numbers.std(ddof=1) / count**0.5)
    return [float(numbers.mean()), error]


# The study of the book

SIZES = [40, 100, 200, 400, 800]
STUDY = [
    {"problems": ["linear", "logistic"], "sizes": SIZES, "samples": 400},
    {"problems": ["network"], "sizes": SIZES, "samples": 24},
]


def study(*, rng: int = 0, store: str | Path | None = None, progress: bool = True) -> StoppingSweep:
    r"""Run the study of stopping that the book reports; it takes some minutes on two cores.

    It has 400 samples for each regression, size and batch, and 24 for each network. ``python -m
    gradnotes.stopping`` runs it and stores the table.

    Args:
        rng: An integer seed; the book's table has 0.
        store: None, or a folder that keeps what is done.
        progress: Whether a terminal shows a progress bar.

    Raises:
        ValueError: The store does not fit.

    Source: the book's page on reuse.
    """
    cells = [cell for part in STUDY for cell in _cells(**part, batches=BATCHES, rng=rng)]
    return _merged(cells, run_cells(_cell, cells, store=store, progress=progress))


def stored_study() -> StoppingSweep:
    r"""Return the study that comes with the package, with six digits and the first 128 regrets.

    Source: the book's page on reuse.

    Example:
        >>> sorted({row["n"] for row in stored_study().rows})
        [40, 100, 200, 400, 800]
    """
    return StoppingSweep(rows=tuple(load_table("stopping")["rows"]))


def check_against_study(sweep: StoppingSweep) -> int:
    r"""Check that regressions stop and cost what they do in the stored study; count what agrees.

    Steps and hits must be the same, and regrets but for round-off, to :math:`10^{-5}`.

    Args:
        sweep: Of "linear" and "logistic" with ``rng=0``, sizes of the study and up to 128 samples.

    Raises:
        ValueError: A number is another than the stored one, or the study does not have it.

    Source: the book's page on reuse.

    Example:
        >>> live = stopping_sweep(problems=["linear"], sizes=[40], batches=["full"], samples=2,
        ...     rng=0)
        >>> check_against_study(live)
        64
    """
    stored = {_key(row): row for row in stored_study().rows}
    count = 0
    for row in sweep.rows:
        key = _key(row)
        if row["problem"] not in REGRESSIONS or key not in stored:
            raise ValueError(f"expected regressions at sizes of the study, and got {key}")
        for column in ("steps", "regrets", "hits"):
            for rule in row[column]:
                live, kept = (_numbers(r, column, rule, row["samples"]) for r in (row, stored[key]))
                if live.shape != kept.shape or not np.allclose(
                    live, kept, rtol=1e-5, atol=1e-9, equal_nan=True
                ):
                    raise ValueError(
                        f"the {column} of {rule!r} for {key} are not those of the stored study: "
                        f"{live.tolist()} against {kept.tolist()}; try rng=0 and at most {KEPT} "
                        "samples, or `make studies`"
                    )
                count += live.size
    return count


def _numbers(row, column, rule, samples):
    """Return steps, regrets or hits of the first samples, at most as many as a table keeps."""
    if column == "hits":
        return np.array([list(map(int, hits[:samples])) for hits in row[column][rule]])
    return np.array(row[column][rule][:samples], dtype=np.float64)


def main(path: Path | None = None) -> None:
    """Run the study on all cores and store its table, by default in the package."""
    store_study(
        lambda store: [{**row, **_first(row)} for row in study(store=store).rows],
        path,
        settings={"rng": 0, "kept": KEPT, "study": STUDY},
        module=__name__,
        digits=6,
    )


def _first(row):
    """Return the steps and regrets that the table keeps."""
    return {
        column: {rule: numbers[:KEPT] for rule, numbers in row[column].items()}
        for column in ("steps", "regrets")
    }


if __name__ == "__main__":
    # Under its own name the module is what other processes import.
    from gradnotes import stopping

    stopping.main()
