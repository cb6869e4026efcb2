r"""Synthetic gradients: the modules of :mod:`gradnotes.critics`, trained and measured.

:func:`follow_module` trains a module on a frozen classifier and measures it all along;
:func:`train_online` trains the layers below with it. :func:`study` makes the book's table, which
``load_table("synthetic")`` reads.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gradnotes.arguments import check_number, check_whole
from gradnotes.critics import (
    KINDS,
    Classifier,
    GradientModule,
    gradient_errors,
    member_generators,
    r_squared,
    scales_of,
    stacked_points,
)
from gradnotes.sweeps import cell_generator, load_table, run_cells, store_study

CONTROLS = ("backprop", "frozen", "noisy", "pushed")
WIDTHS, SPLIT = (32, 32), 1
BATCH, NETWORK_RATE, MODULE_RATE = 64, 3e-3, 1e-2
# The size of what "noisy" and "pushed" add to the exact gradient, over the size of that gradient.
DISTURBANCE = 0.9
MEASURES = ("r_squared", "relative_error", "cosine", "sample_cosine", "lower_cosine")


# Data


def digits() -> tuple[np.ndarray, np.ndarray]:
    r"""Return scikit-learn's handwritten digits: images (1797, 64) with grey values 0 to 1, labels.

    Raises:
        ImportError: scikit-learn is not installed.

    Source: Alpaydin and Kaynak (1998).

    Example:
        >>> x, labels = digits()
        >>> x.shape, float(x.max()), len(set(labels.tolist()))
        ((1797, 64), 1.0, 10)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed; try "
            "`pip install scikit-learn`, or pass data of your own as x and labels"
        ) from error
    data = load_digits()
    return data.data / 16.0, data.target.astype(np.int64)


def _checked_data(x, labels):
    """Return points and labels as tensors, once they are sound."""
    x = np.asarray(x, dtype=np.float64)
    labels = np.asarray(labels)
    if x.ndim != 2 or labels.shape != x.shape[:1] or not np.isfinite(x).all():
        raise ValueError(
            f"expected finite points (n, d) with a label each, (n,), and got {x.shape} and "
            f"{labels.shape}; try a row for each sample"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise ValueError(
            f"expected whole numbers from 0 as labels, and got {labels.dtype}; try "
            "np.unique(labels, return_inverse=True)[1]"
        )
    kinds = np.unique(labels)
    if len(kinds) < 2:
        raise ValueError(
            f"expected data of two classes or more, and got {len(kinds)}: the loss of a network "
            "that knows one class is zero everywhere; try more samples"
        )
    if len(x) < 18:
        raise ValueError(f"expected 18 samples or more, to split them, and got {len(x)}")
    return torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))


class _Samples:
    """The data of S networks: each has an order of its own, and draws batches of its own."""

    def __init__(self, x, labels, parts, generators):
        self.x, self.labels, self.generators = x, labels, generators
        orders = np.stack([g.permutation(len(x)) for g in generators])
        ends = np.cumsum([0, *parts])
        self.rows = [torch.from_numpy(orders[:, a:b]) for a, b in pairwise(ends)]

    def part(self, index):
        """Return points (S, n, d) and labels (S, n) of a part."""
        rows = self.rows[index]
        return self.x[rows], self.labels[rows]

    def batch(self, generators=None):
        """Return the points and labels of a batch from the first part."""
        drawn = _draw(generators or self.generators, self.rows[0].shape[1], BATCH)
        rows = torch.gather(self.rows[0], 1, drawn)
        return self.x[rows], self.labels[rows]


def _draw(generators, count, size):
    """Return indices below count, (S, size)."""
    return torch.from_numpy(np.stack([g.integers(count, size=size) for g in generators]))


def _streams(rng, seeds, what):
    """Return a generator for each seed, the same whatever the number of seeds."""
    return [cell_generator(rng, seed=seed, what=what) for seed in range(seeds)]


def _drawn(x, labels, widths, split, seeds, rng):
    """Return the classifiers that the seeds start from, for this data."""
    shape = (x.shape[1], *widths, int(labels.max()) + 1)
    return Classifier(shape, split=split, members=seeds, rng=_streams(rng, seeds, "classifier"))


def _step(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _decay(optimizer, rate, step, steps):
    for group in optimizer.param_groups:
        group["lr"] = rate * (1.0 - step / steps)


# A module on a frozen network


@dataclass(frozen=True, kw_only=True)
class ModuleCurve:
    r"""A module on frozen networks, measured on held-out samples all along its training.

    Attributes:
        kind: That of the :class:`~gradnotes.critics.GradientModule`.
        steps: After how many steps it was measured, (T,).
        r_squared: :math:`R^2` of the values, (T, S), or None if the module fits none.
        relative_error: As in :class:`~gradnotes.critics.GradientErrors`, (T, S).
        cosine: Likewise.
        sample_cosine: Likewise.
        lower_cosine: The cosine of the two mean gradients in the weights of the lower part, (T, S).
        accuracy: Of the frozen networks on the held-out samples, (S,).
        scalars: How many numbers of a sample the module saw.
        samples: The number of samples that it was trained on.
        milliseconds: CPU time of a step, for one network.
    """

    kind: str
    steps: np.ndarray
    r_squared: np.ndarray | None
    relative_error: np.ndarray
    cosine: np.ndarray
    sample_cosine: np.ndarray
    lower_cosine: np.ndarray
    accuracy: np.ndarray
    scalars: int
    samples: int
    milliseconds: float


def train_classifier(
    classifier: Classifier,
    x: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    steps: int,
    rng: int | np.random.Generator = None,
) -> Classifier:
    r"""Return a copy of a classifier after some steps of backpropagation on all samples.

    The steps are Adam's, with the rate 0.003 and batches of 64 samples, others for each network.

    Args:
        classifier: Where to start.
        x: Points, (n, d).
        labels: Whole numbers from 0, (n,).
        steps: The number of steps, 0 or more.
        rng: An integer seed or a generator for the batches, required.

    Raises:
        TypeError: ``rng`` is missing.
        ValueError: The data make no sense, or have one class only.

    Source: Rumelhart, Hinton and Williams (1986); Kingma and Ba (2015).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> labels = (x[:, 0] > 0).astype(int)
        >>> start = Classifier((2, 8, 2), split=1, rng=1)
        >>> trained = train_classifier(start, x, labels, steps=200, rng=2)
        >>> trained.accuracy(torch.from_numpy(x), torch.from_numpy(labels)).item() > 0.95
        True
    """
    check_whole("steps", steps, 0)
    x, labels = _checked_data(x, labels)
    generators = member_generators(rng, classifier.members, "train_classifier")
    return _trained(classifier, _Samples(x, labels, [len(x)], generators), steps)


def _trained(classifier, samples, steps):
    classifier = copy.deepcopy(classifier)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=NETWORK_RATE)
    for _ in range(steps):
        points, labels = samples.batch()
        _step(optimizer, classifier.losses(classifier.lower(points), labels).mean(1).sum())
    return classifier


def train_module(
    module: GradientModule,
    hidden: torch.Tensor,
    labels: torch.Tensor,
    losses: torch.Tensor,
    gradients: torch.Tensor,
    *,
    steps: int,
    learning_rate: float = MODULE_RATE,
    observe=None,
    rng: int | np.random.Generator = None,
) -> GradientModule:
    r"""Return a copy of a module, trained on hidden values and what the upper part says of them.

    The steps are Adam's, with a rate that falls linearly to 0, and batches of 64 samples.

    Args:
        module: Where to start.
        hidden: h, (S, n, w).
        labels: y, (n,) or (S, n).
        losses: L, (S, n).
        gradients: g, (S, n, w).
        steps: The number of steps, 1 or more.
        learning_rate: The rate at the first step, above 0.
        observe: None, or a function that is called with the number of each step that was done and
            the module as it then is; the training ends early if it returns something true.
        rng: An integer seed or a generator for batches and projections, required.

    Raises:
        TypeError: ``rng`` is missing.
        ValueError: The losses or the gradients have a wrong shape, or a number makes no sense.

    Source: Czarnecki et al. (2017), as recalled; Kingma and Ba (2015).

    Example:
        A critic of the loss :math:`h^2`, for one class:

        >>> hidden = torch.linspace(-1, 1, 64).double().reshape(1, 64, 1)
        >>> label, losses = torch.zeros(64, dtype=torch.int64), hidden[..., 0] ** 2
        >>> start = GradientModule("critic", 1, 1, rng=0)
        >>> module = train_module(start, hidden, label, losses, 2 * hidden, steps=500, rng=1)
        >>> r_squared(module(hidden, label)[0], losses).item() > 0.99
        True
    """
    check_whole("steps", steps, 1)
    check_number("the learning rate", learning_rate, above=True)
    module = copy.deepcopy(module)
    generators = member_generators(rng, module.members, "train_module")
    hidden = stacked_points(hidden, module.inputs, module.members, "hidden values")
    labels = labels.expand(hidden.shape[:2])
    with torch.no_grad():
        module.loss(hidden, labels, losses, gradients)  # refuses wrong shapes
    scales = scales_of(losses, gradients)
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
    for step in range(steps):
        rows = _draw(generators, hidden.shape[1], BATCH)
        wide = rows.unsqueeze(-1).expand(-1, -1, module.inputs)
        loss = module.loss(
            torch.gather(hidden, 1, wide),
            torch.gather(labels, 1, rows),
            torch.gather(losses, 1, rows),
            torch.gather(gradients, 1, wide),
            directions=_directions(module, generators),
            scales=scales,
        )
        _decay(optimizer, learning_rate, step, steps)
        _step(optimizer, loss.sum())
        if observe is not None and observe(step + 1, module):
            break
    return module


def _directions(module, generators):
    """Return new directions at right angles, (S, w, q), or None."""
    if module.projections is None:
        return None
    shape = module.inputs, module.projections
    drawn = torch.from_numpy(np.stack([g.standard_normal(shape) for g in generators]))
    return torch.linalg.qr(drawn)[0]


def follow_module(
    x: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    kind: str,
    network_steps: int,
    steps: Sequence[int],
    until: int | None = None,
    samples: int | None = None,
    projections: int | None = None,
    seeds: int = 8,
    widths: Sequence[int] = WIDTHS,
    split: int = SPLIT,
    rng: int | None = None,
) -> ModuleCurve:
    r"""Train networks, freeze them, train a module on each, and measure it all along.

    Two thirds of the samples, others for each seed, train the networks and the modules; the rest is
    held out, and measured on. The same seed gives the same networks to all kinds, and the first
    seeds are the same however many there are.

    Args:
        x: Points, (n, d).
        labels: Whole numbers from 0, (n,).
        kind: That of the :class:`~gradnotes.critics.GradientModule`.
        network_steps: How many steps of backpropagation the networks get, 0 or more.
        steps: After how many steps of the module to measure, increasing.
        until: The number of steps at which the learning rate reaches 0; None takes the last step.
        samples: None, or the number of samples that the module may see.
        projections: As for the :class:`~gradnotes.critics.GradientModule`.
        seeds: The number S of networks.
        widths: The hidden widths of the networks.
        split: As for the :class:`~gradnotes.critics.Classifier`.
        rng: An integer seed, required.

    Raises:
        TypeError: ``rng`` is not an integer.
        ValueError: The data, the split, the kind or a number makes no sense.

    Source: the book's page on critics.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 3))
        >>> labels = (x[:, 0] > x[:, 1] ** 2).astype(int)
        >>> curve = follow_module(x, labels, kind="direct", network_steps=20, steps=[10, 300],
        ...     seeds=2, widths=(8,), rng=0)
        >>> bool((curve.relative_error[1] < curve.relative_error[0]).all())
        True
    """
    x, labels = _checked_data(x, labels)
    check_whole("network_steps", network_steps, 0)
    check_whole("seeds", seeds, 1)
    steps = [int(step) for step in steps]
    if not steps or steps[0] < 1 or any(b <= a for a, b in pairwise(steps)):
        raise ValueError(f"expected increasing steps from 1 on, and got {steps}")
    until = steps[-1] if until is None else until
    check_whole("until", until, steps[-1])
    count = len(x) * 2 // 3
    used = count if samples is None else samples
    check_whole("samples", used, 2)
    if used > count:
        raise ValueError(f"expected at most {count} samples, two thirds of all, and got {used}")
    classifier = _drawn(x, labels, widths, split, seeds, rng)
    module = GradientModule(
        kind,
        classifier.hidden,
        classifier.classes,
        projections=projections,
        members=seeds,
        rng=_streams(rng, seeds, "module"),
    )
    data = _Samples(x, labels, [count, len(x) - count], _streams(rng, seeds, "samples"))
    classifier = _trained(classifier, data, network_steps)
    points, own = data.part(0)
    hidden = classifier.lower(points).detach()[:, :used]
    targets = classifier.loss_and_gradient(hidden, own[:, :used])
    held, held_labels = data.part(1)
    rows, seconds = [], [0.0]
    measure = _Measure(classifier, held, held_labels)

    def observe(step, trained):
        if step in steps:
            seconds[0] -= time.process_time()
            rows.append(measure(trained))
            seconds[0] += time.process_time()
        return step == steps[-1]

    start = time.process_time()
    train_module(
        module,
        hidden,
        own[:, :used],
        *targets,
        steps=until,
        observe=observe,
        rng=_streams(rng, seeds, "batches"),
    )
    spent = time.process_time() - start + seconds[0]
    columns = {name: np.array([row[name] for row in rows]) for name in MEASURES}
    if rows[0]["r_squared"] is None:
        columns["r_squared"] = None
    return ModuleCurve(
        kind=kind,
        steps=np.array(steps),
        accuracy=classifier.accuracy(held, held_labels),
        scalars=module.scalars,
        samples=used,
        milliseconds=1000 * spent / steps[-1] / seeds,
        **columns,
    )


class _Measure:
    """Compares a module with the exact losses and gradients of frozen networks, on some samples."""

    def __init__(self, classifier, points, labels):
        self.classifier, self.points, self.labels = classifier, points, labels
        self.hidden = classifier.lower(points).detach()
        self.losses, self.gradients = classifier.loss_and_gradient(self.hidden, labels)
        self.lower = classifier.pull_back(points, self.gradients)

    def __call__(self, module):
        with torch.no_grad():
            values, gradients = module(self.hidden, self.labels)
        errors = gradient_errors(gradients, self.gradients)
        lower = self.classifier.pull_back(self.points, gradients)
        fits = module.kind in ("critic", "sobolev")
        return {
            "r_squared": r_squared(values, self.losses) if fits else None,
            "relative_error": errors.relative_error,
            "cosine": errors.cosine,
            "sample_cosine": errors.sample_cosine,
            "lower_cosine": torch.nn.functional.cosine_similarity(lower, self.lower, 1).numpy(),
        }


# Both trained at once


@dataclass(frozen=True, kw_only=True)
class OnlineResult:
    r"""Networks whose lower layers were trained by a module, or by a control, for S seeds.

    Attributes:
        arm: The kind of the module, or the control.
        updates: Steps of the module for each step of the network.
        learning_rate: Of the module, at the first step.
        validation: Accuracy on the validation part, (S,), by which settings are chosen.
        test: Accuracy on the test part, (S,).
        relative_error: Of the gradients that the lower layers got, in the root mean square over all
            samples of all steps, (S,).
        cosine: Their cosine with the exact ones, likewise.
    """

    arm: str
    updates: int
    learning_rate: float
    validation: np.ndarray
    test: np.ndarray
    relative_error: np.ndarray
    cosine: np.ndarray


def train_online(
    x: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    arm: str,
    updates: int = 1,
    learning_rate: float = MODULE_RATE,
    steps: int,
    seeds: int = 8,
    widths: Sequence[int] = WIDTHS,
    split: int = SPLIT,
    rng: int | None = None,
) -> OnlineResult:
    r"""Train networks whose lower layers get synthetic gradients from a module trained alongside.

    The upper layers always get the exact gradient. Arms beside the four kinds of modules are

    - "backprop": the lower layers get the exact gradient as well;
    - "frozen": they stay as they were drawn;
    - "noisy": they get the exact gradient plus noise of mean zero, drawn anew for each sample, with
      0.9 of its size in the root mean square over the batch;
    - "pushed": plus a vector of that size, in one random direction all along.

    All steps are Adam's. Networks have the rate 0.003; that of modules falls linearly to 0.
    Five ninths of the samples are for training, a sixth for validation, the rest for the test.

    Args:
        x: Points, (n, d).
        labels: Whole numbers from 0, (n,).
        arm: "critic", "sobolev", "direct", "gradients", or one of the controls.
        updates: Steps of the module for each step of the network, each on a batch of its own.
        learning_rate: Of the module, at the first step.
        steps: The number of steps of the networks.
        seeds: The number S of networks; the same seed gives all arms the same start.
        widths: The hidden widths of the networks.
        split: As for the :class:`~gradnotes.critics.Classifier`.
        rng: An integer seed, required.

    Raises:
        TypeError: ``rng`` is not an integer.
        ValueError: The data, the split, the arm or a number makes no sense.

    Source: Jaderberg et al. (2017), as recalled.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 3))
        >>> labels = (x[:, 0] > x[:, 1] ** 2).astype(int)
        >>> result = train_online(x, labels, arm="backprop", steps=100, seeds=2, widths=(8,), rng=0)
        >>> result.cosine.round(9).tolist(), bool(result.test.mean() > 0.8)
        ([1.0, 1.0], True)
    """
    x, labels = _checked_data(x, labels)
    if arm not in (*KINDS, *CONTROLS):
        raise ValueError(f"expected an arm among {', '.join((*KINDS, *CONTROLS))}, and got {arm!r}")
    for name, number in (("updates", updates), ("steps", steps), ("seeds", seeds)):
        check_whole(name, number, 1)
    check_number("the learning rate", learning_rate, above=True)
    classifier = _drawn(x, labels, widths, split, seeds, rng)
    parts = [len(x) * 5 // 9, len(x) // 6]
    parts.append(len(x) - sum(parts))
    data = _Samples(x, labels, parts, _streams(rng, seeds, "samples"))
    source = _Source(arm, classifier, _streams(rng, seeds, "module"), learning_rate)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=NETWORK_RATE)
    sums = np.zeros((4, seeds))
    for step in range(steps):
        points, batch_labels = data.batch()
        hidden = classifier.lower(points)
        below = hidden.detach().requires_grad_(True)
        optimizer.zero_grad()
        classifier.losses(below, batch_labels).mean(1).sum().backward()
        exact = below.grad * BATCH
        sent = source.gradients(below.detach(), batch_labels, exact)
        if sent is not None:
            hidden.backward(sent / BATCH)
            pairs = ((sent, exact), (exact, exact), (sent, sent), (sent - exact, sent - exact))
            sums += np.stack([(a * b).sum((1, 2)).numpy() for a, b in pairs])
        optimizer.step()
        source.train(classifier, data, updates, step, steps)
    inner, size, length, off = sums if arm != "frozen" else np.ones((4, seeds))
    return OnlineResult(
        arm=arm,
        updates=updates,
        learning_rate=float(learning_rate),
        validation=classifier.accuracy(*data.part(1)),
        test=classifier.accuracy(*data.part(2)),
        relative_error=np.sqrt(off / size),
        cosine=inner / np.sqrt(size * length) if arm != "frozen" else np.zeros(seeds),
    )


class _Source:
    """Where the lower layers get their gradients from: a module, or a control."""

    def __init__(self, arm, classifier, generators, learning_rate):
        self.arm, self.generators, self.rate = arm, generators, learning_rate
        if arm in KINDS:
            shape = classifier.hidden, classifier.classes
            self.module = GradientModule(arm, *shape, members=len(generators), rng=generators)
            self.optimizer = torch.optim.Adam(self.module.parameters(), lr=learning_rate)
        else:
            pushes = np.stack([g.standard_normal(classifier.hidden) for g in generators])
            pushes /= np.linalg.norm(pushes, axis=1, keepdims=True)
            self.push = torch.from_numpy(pushes).unsqueeze(1)

    def gradients(self, hidden, labels, exact):
        """Return what the lower layers get, (S, n, w), or None."""
        if self.arm == "frozen":
            return None
        if self.arm == "backprop":
            return exact
        if self.arm in KINDS:
            with torch.no_grad():
                return self.module(hidden, labels)[1]
        size = DISTURBANCE * (exact**2).sum(-1).mean(1).sqrt()[:, None, None]
        if self.arm == "pushed":
            return exact + size * self.push
        shape = exact.shape[1:]
        noise = np.stack([g.standard_normal(shape) for g in self.generators]) / shape[1] ** 0.5
        return exact + size * torch.from_numpy(noise)

    def train(self, classifier, data, updates, step, steps):
        if self.arm not in KINDS:
            return
        _decay(self.optimizer, self.rate, step, steps)
        for _ in range(updates):
            points, labels = data.batch(self.generators)
            hidden = classifier.lower(points).detach()
            targets = classifier.loss_and_gradient(hidden, labels)
            _step(self.optimizer, self.module.loss(hidden, labels, *targets).sum())


# The study of the book

SEEDS = 12
STEPS = [30, 60, 120, 250, 500, 1000, 1500, 2500, 4000, 6000, 8000]
NETWORK_STEPS = [10, 50, 300]
# With 36 samples of 33 numbers, "sobolev" sees as many numbers as "critic" with all samples.
STATIC = [
    {"kind": "critic"},
    {"kind": "sobolev"},
    {"kind": "direct"},
    {"kind": "gradients"},
    {"kind": "sobolev", "projections": 1},
    {"kind": "sobolev", "samples": 36},
]
ONLINE_STEPS = 600
UPDATES, RATES = [1, 4, 16], [1e-2, 3e-2]
ONLINE = [{"arm": arm} for arm in CONTROLS] + [
    {"arm": kind, "updates": updates, "learning_rate": rate}
    for kind, updates, rate in product(KINDS, UPDATES, RATES)
]


@dataclass(frozen=True, kw_only=True)
class SyntheticStudy:
    r"""What the study of synthetic gradients found.

    Attributes:
        static: Rows of modules on frozen networks: the settings, and the fields of
            :class:`ModuleCurve` as lists.
        online: Rows of networks trained by modules: the fields of :class:`OnlineResult` as lists.
    """

    static: tuple[dict, ...]
    online: tuple[dict, ...]

    def curve(
        self,
        kind: str,
        network_steps: int,
        *,
        projections: int | None = None,
        samples: int | None = None,
    ) -> ModuleCurve:
        r"""Return one curve.

        Args:
            kind: "critic", "sobolev", "direct" or "gradients".
            network_steps: 10, 50 or 300 in the book's study.
            projections: None or 1.
            samples: None or 36.

        Raises:
            ValueError: The study does not have it.
        """
        wanted = (kind, network_steps, projections, samples)
        for row in self.static:
            if tuple(row["settings"]) == wanted:
                fields = {name: row[name] for name in ModuleCurve.__dataclass_fields__}
                return ModuleCurve(
                    **{k: np.array(v) if isinstance(v, list) else v for k, v in fields.items()}
                )
        raise ValueError(f"expected a curve of the study, and got {wanted}; it has other settings")

    def tuned(self, arm: str) -> dict:
        r"""Return the row of an arm with the best mean accuracy on the validation part.

        Raises:
            ValueError: The study does not have the arm.
        """
        rows = [row for row in self.online if row["arm"] == arm]
        if not rows:
            raise ValueError(f"expected an arm of the study, and got {arm!r}")
        return max(rows, key=lambda row: np.mean(row["validation"]))


def _cell(part, settings, seeds, rng):
    """Return a row of the study."""
    x, labels = digits()
    if part == "online":
        return _plain(asdict(train_online(x, labels, seeds=seeds, rng=rng, **settings)))
    curve = follow_module(x, labels, seeds=seeds, rng=rng, **settings)
    asked = [settings.get(k) for k in ("kind", "network_steps", "projections", "samples")]
    return {"settings": asked, **_plain(asdict(curve))}


def _plain(what):
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in what.items()}


def study(*, rng: int = 0, store: str | Path | None = None, progress: bool = True):
    r"""Run the study of synthetic gradients that the book reports; it takes half an hour of a core.

    ``python -m gradnotes.synthetic`` runs it and stores the table. It needs scikit-learn.

    Args:
        rng: An integer seed; the book's table has 0.
        store: None, or a folder that keeps what is done.
        progress: Whether a terminal shows a progress bar.

    Returns:
        A :class:`SyntheticStudy`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: The store does not fit.

    Source: the book's page on critics.
    """
    online = [{**arm, "steps": ONLINE_STEPS} for arm in ONLINE]
    static = [
        {**kind, "network_steps": network_steps, "steps": STEPS}
        for network_steps, kind in product(NETWORK_STEPS, STATIC)
    ]
    cells = [{"part": "online", "settings": s, "seeds": SEEDS, "rng": int(rng)} for s in online]
    cells += [{"part": "static", "settings": s, "seeds": SEEDS, "rng": int(rng)} for s in static]
    rows = run_cells(_cell, cells, store=store, progress=progress)
    return SyntheticStudy(static=tuple(rows[len(online) :]), online=tuple(rows[: len(online)]))


def stored_study() -> SyntheticStudy:
    r"""Return the study that comes with the package, to four digits.

    Source: the book's page on critics.

    Example:
        >>> study = stored_study()
        >>> study.curve("critic", 50).cosine.shape, len(study.tuned("direct")["test"])
        ((11, 12), 12)
    """
    rows = load_table("synthetic")["rows"]
    return SyntheticStudy(
        static=tuple(row for row in rows if "settings" in row),
        online=tuple(row for row in rows if "arm" in row),
    )


def check_against_study(curve: ModuleCurve, *, network_steps: int, tolerance: float = 0.02) -> int:
    r"""Check that a curve on the digits is that of the stored study; return how many numbers agree.

    It must have ``rng=0``, ``until=8000`` and steps of the study, for its first seeds. Training
    blows round-off up, so that the numbers agree only within a tolerance, on few steps.

    Args:
        curve: Of "critic", "sobolev", "direct" or "gradients", with all samples.
        network_steps: 10, 50 or 300.
        tolerance: How far relative errors and cosines may be apart.

    Raises:
        ValueError: A number is another than the stored one, or the study does not have it.

    Source: the book's page on critics.

    Example:
        >>> x, labels = digits()
        >>> curve = follow_module(x, labels, kind="direct", network_steps=10, steps=[30, 60],
        ...     until=8000, seeds=2, rng=0)
        >>> check_against_study(curve, network_steps=10)
        16
    """
    kept = stored_study().curve(curve.kind, network_steps)
    rows = [kept.steps.tolist().index(s) for s in curve.steps if s in kept.steps]
    if len(rows) < len(curve.steps):
        raise ValueError(
            f"expected steps of the study, {kept.steps.tolist()}, and got {curve.steps.tolist()}"
        )
    count = 0
    for name in MEASURES[1:]:
        live = getattr(curve, name)
        stored = getattr(kept, name)[rows][:, : live.shape[1]]
        if live.shape != stored.shape or np.abs(live - stored).max() > tolerance:
            raise ValueError(
                f"the {name} of {curve.kind!r} is not that of the stored study: {live.tolist()} "
                f"against {stored.tolist()}; try rng=0, until={STEPS[-1]} and at most {SEEDS} "
                "seeds, or `make studies`"
            )
        count += live.size
    return count


def main(path: Path | None = None) -> None:
    """Run the study on all cores and store its table, by default in the package."""
    store_study(
        lambda store: _rows(study(store=store)),
        path,
        settings={"rng": 0, "seeds": SEEDS, "static": STATIC, "online_steps": ONLINE_STEPS},
        module=__name__,
        digits=4,
    )


def _rows(result):
    return [*result.online, *result.static]


if __name__ == "__main__":
    # Under its own name the module is what other processes import.
    from gradnotes import synthetic

    synthetic.main()
