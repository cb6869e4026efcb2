"""The row of the reuse monitor: what its checks cost, in time and in memory.

As a program it prints the peak of one contestant's memory, in bytes: ``row_monitor.py NETWORK RULE
WORK LIMIT ROWS CONTESTANT``.
"""

import copy
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import peers
import timing
import torch
from scipy import stats
from summaries import ratio_records, rounded
from timing import Contestant
from torch import nn
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from gradnotes.monitors import ReuseMonitor

OURS, PLAIN, BACKPACK, OPACUS = "gradnotes", "plain step", "BackPACK", "Opacus"
ROWS, QUICK_ROWS = 1_000, 60
# So many folds, and such a part of the sample held out.
FOLDS = 5
MIB = 2**20
# The rule, what is measured, and the limit of the memory in MiB; the package's default is 64.
CASES = [
    ("standard error", "check", 64),
    ("standard error", "check", 4),
    ("holdout", "check", 64),
    ("folds", "check", 64),
    ("folds", "step", 64),
]
QUICK_CASES = [("standard error", "check", 4), ("folds", "check", 64)]
# More steps than any run takes: after its last check a monitor has nothing to do.
LAST, LEVEL = 20_000, 0.95
# Rounding errors of single precision, which the peers are used with.
AGREE = 1e-5


def monitor_check(quick: bool) -> list[dict]:
    """Time checks, and the steps of replicas, and measure the peaks of memory."""
    rounds, rows = (timing.QUICK_ROUNDS, QUICK_ROWS) if quick else (timing.ROUNDS, ROWS)
    names, cases = list(NETWORKS), CASES
    if quick:
        names, cases = names[:1], QUICK_CASES
    records = []
    places = [(name, *case) for name in names for case in cases]
    for place in tqdm(places, desc="monitor_check", leave=False, disable=None):
        name, rule, work, limit = place
        these = contestants(*place, rows)
        if (rule, work) == ("folds", "check"):
            # The monitor checks within a step, so the same step without a check is taken off.
            without = contestants(name, rule, "step", limit, rows)[:1]
            seconds = timing.time_rounds(these + without, rounds, AGREE)
            seconds[:, 0] -= seconds[:, -1]
        else:
            seconds = timing.time_rounds(these, rounds, AGREE)
        sizes = {"network": name, "rule": rule, "work": work, "limit_mib": limit}
        peaks = {c.name: rounded(_peak_elsewhere(*place, rows, c.name) / MIB) for c in these}
        weights = sum(p.numel() * p.element_size() for p in NETWORKS[name]().parameters())
        for record in ratio_records("monitor_check", sizes, these, seconds):
            record["ours_mib"], record["peer_mib"] = peaks[OURS], peaks[record["peer"]]
            record["matrix_mib"] = rounded(rows * weights / MIB)
            records.append(record)
    return records


def contestants(network: str, rule: str, work: str, limit: int, rows: int) -> list[Contestant]:
    """Return the package, a plain step, and the peers that do the work and are installed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NETWORKS[network]()
        x, y = torch.randn(rows, 1, 8, 8), torch.randint(10, (rows,))
        few = rows // FOLDS
        held = torch.randn(few, 1, 8, 8), torch.randint(10, (few,))
    these = [_ours(model, (x, y), held, rule, work, limit), _plain(model, x, y)]
    for name, (module, singles) in PEERS.items():
        if rule != "folds" and not peers.missing(module):
            these.append(_peer(name, singles, model, (x, y), None if rule != "holdout" else held))
    return these


def _ours(model, data, held, rule, work, limit):
    """Return a step of the monitor: with a check each time, or without any."""
    model, loss = copy.deepcopy(model), nn.CrossEntropyLoss(reduction="none")
    optimiser = torch.optim.Adam(model.parameters())
    monitor = ReuseMonitor(
        model,
        loss,
        optimiser,
        *data,
        checks=range(1, LAST + 1) if work == "check" else [LAST],
        rule=rule,
        folds=FOLDS,
        holdout=held if rule == "holdout" else None,
        level=LEVEL,
        memory=limit * MIB,
        rng=0 if rule == "folds" else None,
    )
    if rule == "folds":
        # The monitor compares the first step with the loop's, and follows without it afterwards.
        loss(model(data[0]), data[1]).mean().backward()
        optimiser.step()
        monitor.step(None)

    def run():
        report = monitor.step(None)
        return (report.agreement, *report.interval), (report.gradient_norm, report.error)

    return Contestant(name=OURS, run=run, checked=work == "check")


def _plain(model, x, y):
    """Return a step of Adam on the whole sample."""
    model, loss = copy.deepcopy(model), nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(model.parameters())

    def run():
        optimiser.zero_grad()
        loss(model(x), y).backward()
        optimiser.step()
        return ()

    return Contestant(name=PLAIN, run=run, checked=False)


def _peer(name, singles, model, data, held):
    """Return a check by a peer's gradients of single rows, all rows at once."""
    gradients, (x, y) = singles(copy.deepcopy(model)), held or data
    loss, parameters, count = nn.CrossEntropyLoss(), list(model.parameters()), len(y)

    def run():
        mean = torch.autograd.grad(loss(model(data[0]), data[1]), parameters) if held else None
        norm = apart = own = 0.0
        dots, squares = torch.zeros(2, count)
        for k, (here, each) in enumerate(gradients(x, y)):
            direction = mean[k] if held else here
            flat = each.flatten(1)
            dots += flat @ direction.flatten()
            squares += (flat**2).sum(1)
            norm += float((direction**2).sum())
            own += float((here**2).sum())
            apart += float(((direction - here) ** 2).sum())
        estimate = _held_out if held else _as_if_fresh
        return estimate(norm, dots.double().numpy(), squares.double().numpy(), own, apart)

    return Contestant(name=name, run=run)


def _as_if_fresh(norm, dots, squares, *_):
    """Return what a report by the rule "standard error" says."""
    n = len(dots)
    error = (squares.mean() - norm) / (n - 1)
    deviation = 2 * (n * dots - squares).std(ddof=1) / (n**0.5 * (n - 2))
    return _numbers(norm, norm - error, deviation, n - 1, error)


def _held_out(norm, dots, squares, own, apart):
    """Return what a report by the rule "holdout" says."""
    m = len(dots)
    error = apart - (squares.sum() / m - own) / (m - 1)
    return _numbers(norm, dots.mean(), dots.std(ddof=1) / m**0.5, m - 1, error)


def _numbers(norm, product, deviation, freedom, error):
    """Return agreement and interval, and norm and error, which have the unit of a gradient."""
    reach = stats.t.isf((1 - LEVEL) / (LAST + 1) / 2, freedom) * deviation
    interval = np.array([product, product - reach, product + reach]) / norm
    return interval, (norm**0.5, max(error, 0.0) ** 0.5)


# Gradients of single rows: each function takes a module, and returns a function from rows to the
# mean gradient and the gradients of the rows, for each parameter


def _by_backpack(model):
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    model, loss = extend(model), extend(nn.CrossEntropyLoss(reduction="sum"))

    def gradients(x, y):
        model.zero_grad()
        with backpack(BatchGrad()):
            loss(model(x), y).backward()
        for p in model.parameters():
            yield p.grad / len(y), p.grad_batch
            del p.grad_batch

    return gradients


def _by_opacus(model):
    from opacus import GradSampleModule

    model, loss = (
        GradSampleModule(model, loss_reduction="sum"),
        nn.CrossEntropyLoss(reduction="sum"),
    )

    def gradients(x, y):
        model.zero_grad()
        loss(model(x), y).backward()
        for p in model.parameters():
            yield p.grad / len(y), p.grad_sample
            p.grad_sample = None

    return gradients


PEERS = {BACKPACK: ("backpack", _by_backpack), OPACUS: ("opacus", _by_opacus)}


# Networks for images of 8 x 8 points, in ten classes


def _perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def _convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


NETWORKS = {"64-64-10": _perceptron, "convolutional": _convolutional}


# Memory


def peak_bytes(run) -> int:
    """Return the most bytes that torch's CPU tensors take during a call, beyond those before it.

    The profiler notes each block that torch's allocator gives out or takes back, on every system.
    What other libraries allocate is not seen: numpy's arrays, scratch memory of a library of
    kernels.
    """
    run()
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf8"))["traceEvents"]
    blocks = [event for event in events if event.get("name") == "[memory]"]
    changes = [block["args"]["Bytes"] for block in sorted(blocks, key=lambda block: block["ts"])]
    return int(max(np.cumsum(changes), default=0))


def _peak_elsewhere(*words):
    """Return the peak of a contestant's memory in a process of its own, where all start alike."""
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, capture_output=True, encoding="utf8", check=False)
    if done.returncode:
        raise RuntimeError(f"expected a peak of memory from {words}, and got:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def main(network: str, rule: str, work: str, limit: str, rows: str, name: str) -> None:
    """Print the peak of the memory of one contestant."""
    torch.set_num_threads(1)
    these = contestants(network, rule, work, int(limit), int(rows))
    print(peak_bytes(next(each.run for each in these if each.name == name)))


if __name__ == "__main__":
    main(*sys.argv[1:])
