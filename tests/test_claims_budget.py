"""The claims that the chapter on when to stop settles."""

from functools import cache

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken
from sklearn.datasets import load_digits

from gradnotes.monitors import ReuseMonitor
from gradnotes.reuse import LinearProblem, LogisticProblem, reuse_trajectory
from gradnotes.stopping import stored_study

REGRESSIONS, SIZES = ("linear", "logistic"), (100, 200, 400, 800)


@pytest.mark.claim("B55")
@pytest.mark.parametrize("half", [sp.Rational(1, 2), broken(1, by="a remainder without its half")])
def test_the_change_of_a_quadratic_risk(half):
    """In two dimensions, with any gradients of sample and risk."""
    alpha, *parts = sp.symbols("alpha s t u v", real=True)
    sample, true = sp.Matrix(parts[:2]), sp.Matrix(parts[2:])
    norm, agreement = sample.dot(sample), sample.dot(true) / sample.dot(sample)
    moved = true - alpha * sample
    change = (moved.dot(moved) - true.dot(true)) / 2
    assert sp.simplify(change + alpha * norm * (agreement - half * alpha)) == 0


@pytest.mark.claim("B55")
@pytest.mark.parametrize(
    "bend", [1.0, broken(-1.0, by="a risk that is not convex")], ids=lambda bend: str(bend)
)
def test_no_step_against_the_gradient_helps_a_convex_risk(bend):
    """Along lines, whose risk is a quartic plus a quadratic that may bend down, where a <= 0."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        at, steps = rng.normal(), 10 ** rng.uniform(-4, 1, 20)
        gradient = 4 * at**3 + 2 * bend * at
        sample = -np.sign(gradient) * rng.random() * 3  # points the wrong way
        risk = [w**4 + bend * w**2 for w in (at - steps * sample, at)]
        assert (risk[0] >= risk[1] - 1e-12).all()


@cache
def run(problem):
    options = {"n": 400, "steps": 300, "samples": 48, "rng": 5}
    step_size = 0.1 if isinstance(problem, LinearProblem) else 0.4
    return reuse_trajectory(problem, step_size=step_size, **options)


@pytest.mark.claim("Q7")
@pytest.mark.parametrize(
    "quantity",
    [
        "alignment",
        broken("error", by="the size of the error"),
        broken("relative_error", by="its size relative to the true gradient"),
    ],
)
@pytest.mark.parametrize(
    "problem", [LinearProblem(dimension=20), LogisticProblem(dimension=20, scale=2.0)]
)
def test_the_direction_tells_when_reuse_ends_and_the_size_does_not(problem, quantity):
    """Positive well before the best step of each sample, and not afterwards.

    A size is taken less its mean at the best step over the samples, which no rule would know.
    """
    found, best = run(problem), run(problem).risk.argmin(axis=1)
    signs = getattr(found, quantity)
    rows = np.arange(len(signs))
    if quantity != "alignment":
        signs = signs[rows, best].mean() - signs
    before, after = best // 2, np.minimum(2 * best, 300)
    assert (signs[rows, before] > 0).mean() > 0.95
    assert (signs[rows, after][after > best] <= 0).mean() > 0.95


@pytest.mark.claim("B56", "Q7")
@pytest.mark.parametrize(
    ("rule", "batch"),
    [
        ("folds", "full"),
        broken("standard error", "full", by="the standard error of the sample"),
        broken("path", "full", by="the bound of a stale gradient"),
        broken("never", "full", by="no rule"),
        broken("folds", "minibatch", by="minibatches"),
    ],
)
def test_folds_stop_close_to_the_best_step(rule, batch):
    study = stored_study()
    for problem in REGRESSIONS:
        for n in SIZES:
            assert np.median(study.regrets(problem, n, rule, batch)) <= 0.05
            assert study.compare(problem, n, rule, other="never", batch=batch).interval[1] < 0


@pytest.mark.claim("B57")
@pytest.mark.parametrize(
    ("rule", "least", "most"),
    [
        ("folds", 0.93, 1.0),
        ("holdout", 0.89, 1.0),
        broken("holdout", 0.93, 1.0, by="a hold-out that is as sure as folds"),
        broken("standard error", 0.89, 1.0, by="the sample's own standard error"),
        broken("folds", 0.99, 1.0, by="intervals that nearly always hold"),
    ],
)
def test_how_often_intervals_hold(rule, least, most):
    for problem in REGRESSIONS:
        for n in SIZES:
            for step in (0, 16, 64, 256):
                found = stored_study().coverage(problem, n, rule, step)
                assert least <= found.hits / found.samples <= most
                own = stored_study().coverage(problem, n, "standard error", step)
                assert step == 0 or own.hits / own.samples < 0.2


@pytest.mark.claim("B59")
@pytest.mark.parametrize(
    ("batch", "worse"),
    [
        ("full", False),
        ("minibatch", True),
        broken("full", True, by="losses that are worse on full batches too"),
        broken("minibatch", False, by="losses that are as good with minibatches"),
    ],
)
def test_gradients_against_losses_of_folds(batch, worse):
    """The paired difference: above zero, or less than a hundredth at both ends."""
    for problem in REGRESSIONS:
        for n in (100, 200, 400):
            found = stored_study().compare(problem, n, "fold losses", other="folds", batch=batch)
            low, high = found.interval
            assert low > 0 if worse else max(-low, high) < 0.01


@cache
def watched(seed):
    """The reports of a monitor, and the risk step by step, on noisy digits."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(len(labels)) < 0.2, rng.integers(0, 10, len(labels)), labels)
    order = rng.permutation(len(labels))
    x, y = torch.tensor(images[order] / 16), torch.tensor(labels[order])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)
        model = torch.nn.Sequential(*layers).double()
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checks = [10, 20, 30, 40, 60, 80, 120, 160, 240]
    watch = ReuseMonitor(model, loss, optimiser, x[:400], y[:400], checks=checks, rng=0)
    risk = []
    for _ in range(241):
        with torch.no_grad():
            risk.append(float(loss(model(x[400:]), y[400:]).mean()))
        optimiser.zero_grad()
        loss(model(x[:400]), y[:400]).mean().backward()
        optimiser.step()
        watch.step(None)
    return watch.reports, np.array(risk)


@pytest.mark.claim("B58")
@pytest.mark.parametrize(
    "times", [1, broken(3, by="three times as many steps as the monitor says")]
)
def test_the_monitor_stops_a_network_near_its_best_step(times):
    lost = []
    for seed in range(8):
        reports, risk = watched(seed)
        stop = min(240, times * next((report.step for report in reports if report.stop), 240))
        lost.append((risk[stop] - risk.min()) / (risk[-1] - risk.min()))
    assert max(lost) < 0.15
