import copy
import dataclasses
import io
import math
import random

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from gradnotes import monitors
from gradnotes.monitors import ReuseMonitor, ReuseReport
from gradnotes.networks import MLP
from gradnotes.reuse import LinearProblem, LogisticProblem

SQUARED = nn.MSELoss(reduction="none")
RULES = ("standard error", "folds", "holdout")
every_rule = pytest.mark.parametrize("rule", RULES)


def squared(output, target):
    return ((output - target) ** 2).flatten(1).sum(1)


def data(n=20, dtype=torch.float64, seed=0, width=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, generator=generator, dtype=dtype)
    noise = torch.randn(n, 1, generator=generator, dtype=dtype)
    return x, x[:, :1] - 0.5 * x[:, 1:2] ** 2 + 0.3 * noise


def seeded(make):
    """Make a module without a trace in the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        return make()


def network(dtype=torch.float64, *layers):
    return seeded(
        lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), *layers, nn.Linear(5, 1)).to(dtype)
    )


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.last, self.dropout = nn.Linear(3, 1), nn.Dropout(0.4)

    def forward(self, x):
        x = x + self.dropout(torch.relu(self.one(x)))
        return self.last(x + self.dropout(torch.relu(self.two(x))))


def options(rule, **changes):
    needed = {"folds": {"rng": 3}, "holdout": {"holdout": data(9, seed=1)}}
    return {"checks": [2, 4], "rule": rule, **needed.get(rule, {}), **changes}


def made(rule="folds", *, model=None, optimiser=None, sample=None, loss=squared, **changes):
    model = network() if model is None else model
    optimiser = optimiser or torch.optim.SGD(model.parameters(), lr=0.05)
    x, y = data() if sample is None else sample
    return ReuseMonitor(model, loss, optimiser, x, y, **options(rule, **changes))


def stepped(monitor, batch=None):
    """Let the loop take a step on its batch, and the monitor follow."""
    rows = range(20) if batch is None else batch
    train(monitor._model, monitor._optimiser, *data(), torch.as_tensor(rows))
    return monitor.step(batch)


def train(model, optimiser, x, y, rows=None):
    x, y = (x, y) if rows is None else (x[rows], y[rows])

    def closure():
        optimiser.zero_grad()
        mean = squared(model(x), y).mean()
        mean.backward()
        return mean

    optimiser.step(closure)


def gradients(model, loss, x, y):
    """One observation after another."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(x)):
        value = loss(model(x[i : i + 1]), y[i : i + 1])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value.sum(), parameters)]))
    return torch.stack(rows).double().numpy()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def same(one, other):
    """Whether two reports agree but for the time they took."""
    times = {"seconds": 0.0, "replica_seconds": 0.0}
    return repr(dataclasses.replace(one, **times)) == repr(dataclasses.replace(other, **times))


# Gradients of single observations


def images(dtype):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(11, 2, 6, 6, generator=generator, dtype=dtype)
    y = torch.randint(3, (11,), generator=generator)
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        ).to(dtype)
    )
    return model, nn.CrossEntropyLoss(reduction="none"), x, y


def perceptron(dtype):
    return network(dtype), squared, *data(11, dtype)


@pytest.mark.parametrize("make", [perceptron, images])
@pytest.mark.parametrize(("dtype", "rel"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_norms_and_projections_one_observation_after_another(make, dtype, rel, monkeypatch):
    model, loss, x, y = make(dtype)
    expected = gradients(model, loss, x, y)
    rows = torch.tensor([0, 2, 3, 4, 6, 7, 9])
    monkeypatch.setattr(monitors, "PASS_ROWS", 3)
    names = [name for name, _ in model.named_parameters()]
    mean = monitors._mean_gradient(model, loss, (x, y), rows, names)
    flat = torch.cat([g.flatten() for g in mean.values()]).numpy()
    np.testing.assert_allclose(flat, expected[rows].mean(0), rtol=rel, atol=rel)
    held = torch.tensor([1, 5, 8, 10])
    for chunk in (1, 3, 100):
        dots, squares, other = monitors._projections(model, loss, (x, y), held, mean, chunk)
        np.testing.assert_allclose(dots, expected[held] @ flat, rtol=rel, atol=rel)
        np.testing.assert_allclose(squares, (expected[held] ** 2).sum(1), rtol=rel)
        flat_other = torch.cat([g.flatten() for g in other.values()]).numpy()
        np.testing.assert_allclose(flat_other, expected[held].mean(0), rtol=rel, atol=rel)
        assert dots.dtype == squares.dtype == flat.dtype == np.float64
    with torch.no_grad():
        again = monitors._mean_gradient(model, loss, (x, y), rows, names)
    assert all(torch.equal(again[name], mean[name]) for name in mean)


@every_rule
def test_memory_bounds_the_rows_at_once_and_changes_nothing(rule, monkeypatch):
    counts, vmap = [], monitors.vmap

    def counting(function, dims):
        mapped = vmap(function, dims)
        return lambda p, x, y: counts.append(len(x)) or mapped(p, x, y)

    monkeypatch.setattr(monitors, "vmap", counting)
    row = 26 * 8
    (whole,) = made(rule).reports
    assert max(counts) == {"folds": 4, "standard error": 20, "holdout": 9}[rule]
    assert whole.memory == row * max(counts)
    counts.clear()
    (chunked,) = made(rule, memory=3 * row + 5).reports
    assert max(counts) == 3
    assert chunked.memory == 3 * row
    assert chunked.agreement == pytest.approx(whole.agreement, rel=1e-12)
    assert chunked.interval == pytest.approx(whole.interval, rel=1e-12)
    assert chunked.error == pytest.approx(whole.error, rel=1e-9)
    with pytest.raises(ValueError, match=r"memory as an integer of at least 208 bytes.*got 207"):
        made(rule, memory=207)


# The estimates, by another route


def test_the_standard_error_rule_from_all_pairs_and_without_each_observation():
    g = np.random.default_rng(0).standard_normal((9, 4)) + 0.3

    def pairs(g):
        inner = g @ g.T
        return (inner.sum() - np.trace(inner)) / (len(g) * (len(g) - 1))

    mean = g.mean(0)
    found = monitors._as_if_fresh(mean @ mean, g @ mean, (g**2).sum(1))
    assert found.product == pytest.approx(pairs(g), rel=1e-12)
    assert found.error_square == pytest.approx(np.trace(np.cov(g.T)) / 9, rel=1e-12)
    without = np.array([pairs(np.delete(g, i, 0)) for i in range(9)])
    variance = 8 / 9 * ((without - without.mean()) ** 2).sum()
    assert found.deviation**2 == pytest.approx(variance, rel=1e-12)
    assert (found.freedom, found.norm_square) == (8, mean @ mean)


def test_the_held_out_rules_written_out():
    generator = np.random.default_rng(1)
    dots = [generator.standard_normal(size) + 0.2 for size in (3, 4, 5)]
    found = monitors._held_out([1.0, 2.0, 6.0], dots, [0.5, -0.2, 0.3])
    means = [sum(part) / len(part) for part in dots]
    assert found.product == pytest.approx(sum(means) / 3)
    variances = [
        sum((part - mean) ** 2) / (len(part) - 1) for part, mean in zip(dots, means, strict=True)
    ]
    expected = 2 * (variances[0] / 3 + variances[1] / 4 + variances[2] / 5) / 9
    assert found.deviation**2 == pytest.approx(expected)
    assert (found.freedom, found.norm_square) == (9, 3.0)
    assert found.error_square == pytest.approx(0.2)
    agreement, (low, high) = found.agreement(0.02)
    assert agreement == pytest.approx(found.product / 3)
    reach = stats.t.ppf(0.99, 9) * expected**0.5 / 3
    assert (low, high) == pytest.approx((agreement - reach, agreement + reach))
    one = monitors._held_out([2.0], dots[:1], [0.5])
    assert (one.freedom, one.deviation) == (2, pytest.approx((variances[0] / 3) ** 0.5))


def by_hand(rule, model, optimiser, x, y, monitor, batches):
    """The fields of the last report, from plain loops."""
    if rule == "folds":
        folds = monitor.state_dict()["folds"].numpy()
        runs = []
        for k in range(5):
            twin = copy.deepcopy(model)
            own = torch.optim.SGD(twin.parameters(), lr=0.05)
            for batch in batches:
                train(twin, own, x, y, [i for i in batch if folds[i] != k])
            runs.append((twin, folds != k, x[folds == k], y[folds == k]))
    else:
        twin = copy.deepcopy(model)
        own = torch.optim.SGD(twin.parameters(), lr=0.05)
        for batch in batches:
            train(twin, own, x, y, batch)
        held = data(9, seed=1) if rule == "holdout" else (x, y)
        runs = [(twin, np.full(len(x), True), *held)]
    products, variances, norms, errors, count = [], [], [], [], 0
    for twin, rows, x_held, y_held in runs:
        g = gradients(twin, squared, x[rows], y[rows]).mean(0)
        h = gradients(twin, squared, x_held, y_held)
        products.append((h @ g).mean())
        variances.append((h @ g).var(ddof=1) / len(h))
        norms.append(g @ g)
        trace = np.trace(np.cov(h.T)) / len(h)
        errors.append(((g - h.mean(0)) ** 2).sum() - trace)
        count += len(h)
    norm, k = np.mean(norms), len(runs)
    agreement = np.mean(products) / norm
    if rule == "standard error":
        return 1 - trace / norm, None, trace**0.5, norm**0.5
    doubled = 2 if rule == "folds" else 1
    reach = stats.t.ppf(1 - 0.05 / 6, count - k) * (doubled * sum(variances)) ** 0.5 / k / norm
    error = max(np.mean(errors), 0.0) ** 0.5
    return agreement, (agreement - reach, agreement + reach), error, norm**0.5


@every_rule
@pytest.mark.parametrize("n", [20, 23])
def test_a_report_by_hand(rule, n):
    model, (x, y) = network(), data(n)
    start = copy.deepcopy(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = made(rule, model=model, optimiser=optimiser, sample=(x, y))
    batches = [[1, 5, 7, 2], [0], [*range(n)], [3, 19]]
    for batch in batches:
        train(model, optimiser, x, y, batch)
        report = monitor.step(np.array(batch))
    agreement, interval, error, norm = by_hand(rule, start, optimiser, x, y, monitor, batches)
    assert report.agreement == pytest.approx(agreement, rel=1e-9)
    assert report.error == pytest.approx(error, rel=1e-9)
    assert report.gradient_norm == pytest.approx(norm, rel=1e-9)
    if interval:
        assert report.interval == pytest.approx(interval, rel=1e-9)
    assert [r.step for r in monitor.reports] == [0, 2, 4]
    assert (report.rule, report.checks, report.level) == (rule, 3, 0.95)
    assert report.guaranteed == (rule != "standard error")
    assert report.dtype == "float64"
    assert report.stop == (report.agreement <= 0)
    assert report.seconds > 0
    assert (report.replica_seconds > 0) == (rule == "folds")
    if rule == "folds":
        sizes = np.bincount(monitor.state_dict()["folds"])
        assert sorted(sizes) == ([4] * 5 if n == 20 else [4, 4, 5, 5, 5])


# Unbiased, and intervals that cover, on problems with a known population gradient


PROBLEMS = [LinearProblem(dimension=5), LogisticProblem(dimension=5, scale=2.0)]
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)


def descended(problem, x, y, steps):
    """Weights (..., d) after full-batch steps on each sample."""
    theta = np.zeros((*x.shape[:-2], problem.dimension))
    for _ in range(steps):
        theta -= 0.3 * problem.gradients(theta, x, y).mean(-2)
    return theta


def estimated(problem, samples, rng, steps=25, n=40, folds=5):
    """Estimates and truths (samples,) for fold and held-out rules, and for the sample itself."""
    x, y = problem.draw((samples, n), rng=rng)
    x_held, y_held = problem.draw((samples, 100), rng=rng)
    theta = descended(problem, x, y, steps)
    g = problem.gradients(theta, x, y).mean(1)
    h = problem.gradients(theta, x_held, y_held)
    truth = (g * problem.population_gradient(theta)).sum(1)
    norms, dots, true = [], [], []
    for part in np.split(np.arange(n), folds):
        kept = np.delete(np.arange(n), part)
        own = descended(problem, x[:, kept], y[:, kept], steps)
        own_g = problem.gradients(own, x[:, kept], y[:, kept]).mean(1)
        norms.append((own_g**2).sum(1))
        dots.append((problem.gradients(own, x[:, part], y[:, part]) * own_g[:, None]).sum(2))
        true.append((own_g * problem.population_gradient(own)).sum(1))
    norms, dots = np.stack(norms, 1), np.stack(dots, 1)
    holdout = [
        monitors._held_out([v], [d], [0.0])
        for v, d in zip((g**2).sum(1), (h * g[:, None]).sum(2), strict=True)
    ]
    fold = [monitors._held_out(v, d, [0.0]) for v, d in zip(norms, dots, strict=True)]
    return {
        "holdout": (holdout, truth),
        "folds": (fold, np.mean(true, 0)),
        "sample": ((g**2).sum(1), truth),
    }


@every_problem
def test_the_estimates_are_unbiased_where_the_sample_itself_is_not(problem):
    found = estimated(problem, 2000, np.random.default_rng(5))

    def bias(differences):
        return differences.mean() / (differences.std(ddof=1) / len(differences) ** 0.5)

    for rule in ("holdout", "folds"):
        estimates, truth = found[rule]
        assert abs(bias(np.array([e.product for e in estimates]) - truth)) < 4
    norm_square, truth = found["sample"]
    assert bias(norm_square - truth) > 8


@every_problem
@pytest.mark.parametrize(
    ("rule", "n", "least", "most"),
    [("holdout", 200, 0.93, 0.965), ("folds", 200, 0.95, 1.0), ("folds", 40, 0.93, 0.98)],
)
def test_intervals_at_a_fixed_time_cover_as_often_as_they_say(problem, rule, n, least, most):
    samples, covered = 1000, 0
    found = estimated(problem, samples, np.random.default_rng(6), steps=4, n=n)
    for estimate, t in zip(*found[rule], strict=True):
        low, high = estimate.agreement(0.05)[1]
        covered += low <= t / estimate.norm_square <= high
    # A true coverage between the two passes with a chance of 0.999 on each side.
    assert stats.binom.ppf(0.001, samples, least) <= covered
    assert covered <= stats.binom.ppf(0.999, samples, most)


def test_the_variance_of_folds_is_needed_twice_where_noise_rules_and_once_where_the_signal_does():
    noisy = LinearProblem(dimension=5, noise=3.0)
    for n, least, most in ((40, 0.85, 1.15), (1000, 0.6, 0.85)):
        found = estimated(noisy, 300, np.random.default_rng(7), steps=4, n=n)
        for rule, low, high in (("folds", least, most), ("holdout", 0.85, 1.15)):
            estimates, truth = found[rule]
            errors = np.array([e.product for e in estimates]) - truth
            claimed = np.mean([e.deviation**2 for e in estimates]) ** 0.5
            assert low < errors.std(ddof=1) / claimed < high


def test_more_checks_make_wider_intervals():
    (one,), (many,) = (made(checks=checks).reports for checks in ([1], range(1, 10)))
    assert one.agreement == many.agreement
    assert (one.checks, many.checks) == (2, 10)
    reach = [r.interval[1] - r.agreement for r in (one, many)]
    expected = stats.t.ppf(1 - 0.0025, 15) / stats.t.ppf(1 - 0.0125, 15)
    assert reach[1] / reach[0] == pytest.approx(expected)
    (sure,) = made(checks=[1], level=0.99).reports
    assert (sure.interval[1] - sure.agreement) / reach[0] == pytest.approx(
        stats.t.ppf(1 - 0.0025, 15) / stats.t.ppf(1 - 0.0125, 15)
    )


@every_rule
def test_a_monitor_of_a_torch_model_agrees_with_the_problem(rule):
    problem = PROBLEMS[0]
    x, y = problem.draw(40, rng=8)
    x_held, y_held = problem.draw(30, rng=9)
    model = nn.utils.skip_init(nn.Linear, 5, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.3)

    def loss(output, target):
        return (output - target)[:, 0] ** 2 / 2

    tensors = [torch.from_numpy(a) for a in (x, y[:, None], x_held, y_held[:, None])]
    changes = {"holdout": tensors[2:]} if rule == "holdout" else {}
    sample = tensors[:2]
    monitor = made(
        rule, model=model, optimiser=optimiser, sample=sample, loss=loss, checks=[4], **changes
    )
    for _ in range(4):
        optimiser.zero_grad()
        loss(model(sample[0]), sample[1]).mean().backward()
        optimiser.step()
        report = monitor.step(None)
    theta = descended(problem, x, y, 4)
    np.testing.assert_allclose(model.weight.detach().numpy()[0], theta, rtol=1e-12)
    if rule == "folds":
        folds = monitor.state_dict()["folds"].numpy()
        runs = []
        for k in range(5):
            own = descended(problem, x[folds != k], y[folds != k], 4)
            g = problem.gradients(own, x[folds != k], y[folds != k]).mean(0)
            runs.append((g, problem.gradients(own, x[folds == k], y[folds == k]) @ g))
        expected = monitors._held_out([g @ g for g, _ in runs], [d for _, d in runs], [0.0])
    else:
        each = problem.gradients(theta, x, y)
        g = each.mean(0)
        if rule == "holdout":
            dots = problem.gradients(theta, x_held, y_held) @ g
            expected = monitors._held_out([g @ g], [dots], [0.0])
        else:
            expected = monitors._as_if_fresh(g @ g, each @ g, (each**2).sum(1))
    agreement, interval = expected.agreement(0.025)
    assert report.agreement == pytest.approx(agreement, rel=1e-9)
    assert report.interval == pytest.approx(interval, rel=1e-9)


# What a report says


def test_stop_go_on_and_a_gradient_of_zero():
    x, _ = data()
    model = network()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    noise = torch.randn(20, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    balanced = torch.cat([noise[:10], -noise[:10]])
    (stop,) = made("standard error", model=model, sample=(x, balanced)).reports
    assert stop.stop
    assert stop.agreement < 0
    assert str(stop) == f"step 0: {stop.reason}"
    assert stop.reason == (
        "stop: per unit of training loss, the risk falls by "
        f"{stop.agreement:.2g} [{stop.interval[0]:.2g}, {stop.interval[1]:.2g}] "
        "(as if the sample were fresh)"
    )
    (on,) = made("folds").reports
    assert not on.stop
    assert on.agreement > 0
    assert on.reason.startswith("go on: per unit of training loss, the risk falls by ")
    for rule in RULES:
        (zero,) = made(rule, loss=lambda output, y: 0 * output[:, 0]).reports
        assert zero.stop
        assert math.isnan(zero.agreement)
        assert (zero.gradient_norm, zero.error) == (0.0, 0.0)
        assert "the training gradient is zero" in zero.reason
    with pytest.raises(dataclasses.FrozenInstanceError):
        on.step = 3
    with pytest.raises(TypeError, match="positional"):
        ReuseReport(*dataclasses.astuple(on))


def test_the_latest_report_is_returned_and_replicas_rest_after_the_last_check():
    monitor = made(checks=[2])
    assert [stepped(monitor).step for _ in range(4)] == [0, 2, 2, 2]
    before = monitor.state_dict()["replicas"]
    monitor.step(None)
    for (one, _), (other, _) in zip(before, monitor.state_dict()["replicas"], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


# Replicas


OPTIMISERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.3, max_iter=3),
}


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("warm", [False, True])
def test_replicas_train_like_the_loop_without_their_fold(kind, warm):
    x, y = data()
    model = network()
    optimiser = OPTIMISERS[kind](model.parameters())
    if warm:
        train(model, optimiser, *data(seed=5))
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 2, gamma=0.2)
    start = copy.deepcopy(model.state_dict()), copy.deepcopy(optimiser.state_dict())
    monitor = made(model=model, optimiser=optimiser)
    folds, after = monitor.state_dict()["folds"], []
    for _ in range(4):
        train(model, optimiser, x, y)
        before = weights(model)
        monitor.step(None)
        assert torch.equal(weights(model), before)
        scheduler.step()
        after.append([g["lr"] for g in optimiser.param_groups])
    replicas = monitor.state_dict()["replicas"]
    for k, (found, _) in enumerate(replicas):
        twin = network()
        own = OPTIMISERS[kind](twin.parameters())
        twin.load_state_dict(start[0])
        own.load_state_dict(copy.deepcopy(start[1]))
        schedule = torch.optim.lr_scheduler.StepLR(own, 2, gamma=0.2)
        for rates in after:
            train(twin, own, x[folds != k], y[folds != k])
            schedule.step()
            assert [g["lr"] for g in own.param_groups] == rates
        for name, value in twin.state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
    assert not torch.equal(replicas[0][0]["0.weight"], replicas[1][0]["0.weight"])


def test_hooks_of_the_optimiser_act_on_the_original_only():
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    calls = []
    optimiser.register_step_post_hook(lambda *_: calls.append(1))
    monitor = made(model=model, optimiser=optimiser)
    train(model, optimiser, *data())
    monitor.step(None)
    assert calls == [1]


def test_a_batch_within_one_fold_leaves_its_replica_alone():
    monitor = made(checks=[1])
    before, folds = monitor.state_dict()["replicas"], monitor.state_dict()["folds"]
    stepped(monitor, torch.tensor([7]))
    after = monitor.state_dict()["replicas"]
    for k in range(5):
        stayed = torch.equal(before[k][0]["0.weight"], after[k][0]["0.weight"])
        assert stayed == (k == folds[7])


def test_dropout_is_off_in_checks_and_on_in_replicas():
    model = seeded(Residual).double()
    x, y = data()
    monitor = made(model=model, checks=[1])
    (report,) = monitor.reports
    folds, model = monitor.state_dict()["folds"], copy.deepcopy(model).eval()
    parts = [
        (gradients(model, squared, x[folds != k], y[folds != k]).mean(0), folds == k)
        for k in range(5)
    ]
    products = [(gradients(model, squared, x[r], y[r]) @ g).mean() for g, r in parts]
    expected = np.mean(products) / np.mean([g @ g for g, _ in parts])
    assert report.agreement == pytest.approx(expected, rel=1e-9)
    monitor.step(None)
    trained = monitor.state_dict()["replicas"][0][0]
    train(model, torch.optim.SGD(model.parameters(), lr=0.05), x, y, folds != 0)
    assert not torch.allclose(trained["last.weight"], model.last.weight)


def test_replicas_follow_the_mode_of_the_model():
    model = seeded(Residual).double()
    monitor = made(model=model, checks=[1])
    model.eval()
    start, folds = copy.deepcopy(model), monitor.state_dict()["folds"]
    stepped(monitor)
    train(start, torch.optim.SGD(start.parameters(), lr=0.05), *data(), folds != 2)
    found = monitor.state_dict()["replicas"][2][0]
    torch.testing.assert_close(found["last.weight"], start.last.weight.detach(), rtol=1e-10, atol=0)


@every_rule
def test_nothing_of_the_caller_is_changed(rule):
    model = nn.Sequential(nn.BatchNorm1d(3).eval(), seeded(Residual)).double()
    model[1].one.eval()
    optimiser = torch.optim.Adam(model.parameters())
    x, y = data()
    train(model, optimiser, x, y)

    def state():
        flags = [module.training for module in model.modules()]
        own = [p.grad for p in model.parameters()]
        tensors = [*model.state_dict().values(), *own, torch.get_rng_state(), x, y]
        moments = repr(optimiser.state_dict())
        # The global generators.
        others = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        return [t.clone() for t in tensors], flags, moments, others

    before = state()
    monitor = made(rule, model=model, optimiser=optimiser, sample=(x, y))
    for _ in range(2):
        monitor.step(None)
    after = state()
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]
    assert [p.grad for p in model.parameters()] != [None] * 8


@every_rule
def test_only_what_the_optimiser_moves_counts(rule):
    model, frozen = network(), network()
    optimiser = torch.optim.SGD(model[2].parameters(), lr=0.05)
    one = made(rule, model=model, optimiser=optimiser, checks=[1])
    frozen[0].requires_grad_(False)
    other = made(rule, model=frozen, checks=[1])
    assert stepped(one).memory == 6 * 8 * {"folds": 4, "standard error": 20, "holdout": 9}[rule]
    stepped(other)
    assert all(same(a, b) for a, b in zip(one.reports, other.reports, strict=True))


@every_rule
@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_a_layer_frozen_and_freed_later(rule, kind):
    model, twin = network(), network()
    optimiser = OPTIMISERS[kind](model.parameters())
    own = OPTIMISERS[kind](twin.parameters())
    monitor = made(rule, model=model, optimiser=optimiser, checks=[2, 3], memory=26 * 8)
    x, y = data()
    kept = monitor.state_dict()["folds"] != 3 if rule == "folds" else torch.arange(20) >= 0
    for free in (True, False, True):
        model[0].requires_grad_(free)
        twin[0].requires_grad_(free)
        report = stepped(monitor)
        train(twin, own, x, y, kept)
        found = monitor._replicas[3][0] if rule == "folds" else model
        torch.testing.assert_close(weights(found), weights(twin), rtol=1e-10, atol=1e-12)
        if not free and rule == "standard error":
            g = gradients(twin, squared, x, y)
            assert g.shape == (20, 6)
            assert report.gradient_norm == pytest.approx(np.linalg.norm(g.mean(0)), rel=1e-9)
    # The rows at once fit the parameters of the moment.
    assert [r.memory // 8 for r in monitor.reports] == [26, 4 * 6, 26]
    few = network()
    few[0].requires_grad_(False)
    monitor = made(rule, model=few, checks=[1], memory=6 * 8)
    few[0].requires_grad_(True)
    assert stepped(monitor).memory == 26 * 8
    late = made(rule, checks=[1])
    late._model.requires_grad_(False)
    with pytest.raises((ValueError, RuntimeError), match=r"requires_grad|not require grad"):
        late.step(None)


def test_a_frozen_layer_does_not_count():
    model = network()
    model[0].requires_grad_(False)
    (report,) = made("standard error", model=model).reports
    g = gradients(model, squared, *data())
    assert g.shape == (20, 6)
    assert report.gradient_norm == pytest.approx(np.linalg.norm(g.mean(0)), rel=1e-12)
    assert report.memory == 20 * 6 * 8


def test_our_own_networks_and_float32():
    model = MLP(3, (4,), rng=0).float()
    x, y = data(dtype=torch.float32)
    (report,) = made(model=model, sample=(x, y[:, 0]), loss=SQUARED).reports
    assert report.dtype == "float32"


# Loops that replicas do not repeat


def own_step(monitor, mean, *, clip=None):
    monitor._optimiser.zero_grad()
    mean(monitor._model, *monitor._data).backward()
    if clip:
        nn.utils.clip_grad_norm_(monitor._model.parameters(), clip)
    monitor._optimiser.step()


def usual(model, x, y):
    return squared(model(x), y).mean()


def twice(monitor):
    for _ in range(2):
        own_step(monitor, usual)


def accumulated(monitor):
    x, y = monitor._data
    usual(monitor._model, x + 1, y).backward()
    usual(monitor._model, x, y).backward()
    monitor._optimiser.step()


def by_another_optimiser(monitor):
    given, monitor._optimiser = monitor._optimiser, copy.copy(monitor._optimiser)
    monitor._optimiser.state = type(given.state)(dict)
    own_step(monitor, usual)
    monitor._optimiser = given


def scheduled(monitor):
    own_step(monitor, usual)
    for group in monitor._optimiser.param_groups:
        group["lr"] *= 0.5


OTHER_LOOPS = {
    "sum": lambda m: own_step(m, lambda model, x, y: squared(model(x), y).sum()),
    "weights": lambda m: own_step(
        m, lambda model, x, y: (squared(model(x), y) * (1 + (y[:, 0] > 0))).mean()
    ),
    "clipped": lambda m: own_step(m, usual, clip=0.01),
    "penalty": lambda m: own_step(
        m,
        lambda model, x, y: (
            usual(model, x, y) + 0.01 * sum((p**2).sum() for p in m._model[0].parameters())
        ),
    ),
    "augmented": lambda m: own_step(m, lambda model, x, y: usual(model, x + 0.1, y)),
    "other rows": lambda m: own_step(m, lambda model, x, y: usual(model, x[:15], y[:15])),
    "accumulated": accumulated,
    "twice": twice,
    "never": lambda m: None,
    "scheduled": scheduled,
    "another optimiser": by_another_optimiser,
}


@pytest.mark.parametrize("loop", OTHER_LOOPS)
@pytest.mark.parametrize("kind", ["plain", "momentum", "adam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loop_that_replicas_would_not_repeat(loop, kind, dtype):
    if (loop, kind) == ("another optimiser", "plain"):
        return  # Another plain SGD takes the same step.
    kinds = {**OPTIMISERS, "plain": lambda p: torch.optim.SGD(p, lr=0.05)}
    model = network(dtype)
    optimiser = kinds[kind](model.parameters())
    monitor = made(model=model, optimiser=optimiser, sample=data(dtype=dtype))
    before = monitor.state_dict()
    OTHER_LOOPS[loop](monitor)
    words = r"the loop's first step to change .* would not repeat.*causes: .*try the mean of the sa"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"(?i){words}.*holdout"):
            monitor.step(None)
    # Nothing has been counted or moved.
    assert repr(monitor.state_dict()) == repr(before)


def test_class_weights_and_a_wrong_batch():
    model, _, x, y = images(torch.float32)
    x[3:], y = x[3:] + 1, y % 3
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    weight = torch.tensor([1.0, 2.0, 5.0])
    single = nn.CrossEntropyLoss(weight=weight, reduction="none")
    start = copy.deepcopy(model.state_dict())
    for mean, fits in (
        (nn.CrossEntropyLoss(weight=weight), False),
        (lambda o, t: single(o, t).mean(), True),
        (lambda o, t: single(o, t).sum() / len(t), True),
    ):
        model.load_state_dict(start)
        monitor = made(model=model, optimiser=optimiser, sample=(x, y), loss=single, folds=3)
        optimiser.zero_grad()
        mean(model(x), y).backward()
        optimiser.step()
        if fits:
            with pytest.raises(ValueError, match="first step"):
                monitor.step([0, 2, 1])
            monitor.step(None)
        else:
            with pytest.raises(ValueError, match="a sum or weighted mean"):
                monitor.step(None)


@pytest.mark.parametrize("kind", [*OPTIMISERS, "adagrad", "rprop"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_rounding_is_no_other_loop(kind, dtype):
    kinds = {**OPTIMISERS, "adagrad": torch.optim.Adagrad, "rprop": torch.optim.Rprop}
    if kind == "lbfgs" and dtype.itemsize == 2:
        return  # Not for half precision.
    for seed in range(4):
        model = network(dtype)
        x, y = data(23, dtype, seed)
        optimiser = kinds[kind](model.parameters())
        monitor = made(model=model, optimiser=optimiser, sample=(x, y))
        # Other orders of rows, and another way to the mean, round differently.
        order = torch.randperm(23, generator=torch.Generator().manual_seed(seed))

        def closure(model=model, optimiser=optimiser, x=x[order], y=y[order]):
            optimiser.zero_grad()
            mean = nn.functional.mse_loss(model(x), y)
            mean.backward()
            return mean

        optimiser.step(closure)
        monitor.step(None)


@pytest.mark.parametrize("seed", range(5))
def test_steps_that_are_rounding_are_no_other_loop(seed):
    # The gradient of the bias is zero but for rounding, of which Adam makes whole steps.
    model = seeded(lambda: nn.Linear(3, 40))
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(23, 3, generator=generator), torch.randn(23, 40, generator=generator)
    y = model(x).detach() + 100 * (y - y.mean(0))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    order = torch.randperm(23, generator=generator)
    monitor = made(model=model, optimiser=optimiser, sample=(x, y))
    train(model, optimiser, x, y, order)
    monitor.step(None)


def test_a_learning_rate_of_zero_and_random_numbers_pass():
    for model in (seeded(Residual).double(), network(torch.float64, nn.Dropout(0.01))):
        monitor = made(model=model)
        with torch.random.fork_rng(devices=[]):
            stepped(monitor)
        # A pass with dropout says nothing of the loop; without it, it does.
        for training in (True, False):
            other = made(model=model)
            model.train(training)
            if training:
                other.step(None)
            else:
                with pytest.raises(ValueError, match="first step"):
                    other.step(None)
    model = network()
    monitor = made(model=model, optimiser=torch.optim.SGD(model.parameters(), lr=0.0))
    # The last digit is rounding, and more is not.
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.nextafter(p, 2 * p))
    monitor.step(None)
    other = made(model=model, optimiser=torch.optim.SGD(model.parameters(), lr=0.0))
    with torch.no_grad():
        model[0].weight *= 1 + 1e-14
    with pytest.raises(ValueError, match="first step"):
        other.step(None)


def test_groups_added_later():
    model = network()
    optimiser = torch.optim.SGD(model[2].parameters(), lr=0.05)
    monitor = made(model=model, optimiser=optimiser)
    stepped(monitor)
    optimiser.add_param_group({"params": [*model[0].parameters()]})
    with pytest.raises(ValueError, match=r"groups .*\['SGD', 2\], and got \['SGD', 2, 2\]; try"):
        monitor.step(None)
    assert monitor.state_dict()["step"] == 1


# What a report guarantees after earlier steps


@pytest.mark.parametrize("kind", [*OPTIMISERS, "adagrad", "plain"])
@pytest.mark.parametrize("rule", ["folds", "holdout"])
def test_an_optimiser_that_has_stepped_before(kind, rule):
    kinds = {
        **OPTIMISERS,
        "adagrad": torch.optim.Adagrad,
        "plain": lambda p: torch.optim.SGD(p, lr=0.1),
    }
    model = network()
    optimiser = kinds[kind](model.parameters())
    fresh = made(rule, model=model, optimiser=optimiser)
    assert stepped(fresh).guaranteed
    state = fresh.state_dict()
    late = made(rule, model=model, optimiser=optimiser)
    assert late.reports[0].guaranteed == (kind == "plain")
    # A monitor that goes on from a state takes over what the first one saw.
    late.load_state_dict(state)
    stepped(late)
    assert late.reports[-1].step == 2
    assert late.reports[-1].guaranteed
    assert not made("standard error").reports[0].guaranteed


# Half precision


@every_rule
def test_half_precision_does_not_overflow_in_a_sum(rule):
    model = network(torch.float16)
    x, y = data(600, torch.float16)
    sample = 2 * x + 3, 50 * y + 500
    held = tuple(part[:300] for part in sample) if rule == "holdout" else None
    kept = tuple(part[300:] for part in sample) if rule == "holdout" else sample
    changes = {} if held is None else {"holdout": held}
    (report,) = made(rule, model=model, sample=kept, loss=absolute, **changes).reports
    exact = tuple(part.double() for part in kept)
    changes = {} if held is None else {"holdout": tuple(part.double() for part in held)}
    (expected,) = made(rule, model=model.double(), sample=exact, loss=absolute, **changes).reports
    assert report.gradient_norm == pytest.approx(expected.gradient_norm, rel=0.02)
    assert report.agreement == pytest.approx(expected.agreement, rel=0.05)


def absolute(output, target):
    return 900 * (output - target).abs().flatten(1).sum(1)


# Interruptions


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("place", ["_train", "_measured"])
def test_an_interrupted_step(error, place, monkeypatch):
    monitor, twin = made(checks=[2, 3]), made(checks=[2, 3])
    for each in (monitor, twin):
        stepped(each)
    state, weights_then = saved(monitor.state_dict()), copy.deepcopy(monitor._model.state_dict())
    usual_work, calls = getattr(ReuseMonitor, place), []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise error("now")
        return usual_work(self, *arguments)

    monkeypatch.setattr(ReuseMonitor, place, interrupted)
    with pytest.raises(error, match="now"):
        stepped(monitor)
    monkeypatch.undo()
    for call in (lambda: monitor.step(None), lambda: monitor.step("all"), monitor.state_dict):
        with pytest.raises(
            RuntimeError, match=r"step 2 was interrupted or failed.*load_state_dict"
        ):
            call()
    assert len(monitor.reports) == 1
    monitor.load_state_dict(state)
    monitor._model.load_state_dict(weights_then)
    for _ in range(2):
        assert same(stepped(monitor), stepped(twin))


# Checkpoints


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_rule
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_run_goes_on_from_a_checkpoint_as_if_nothing_had_been(rule, kind):
    def start():
        model = seeded(Residual).double()
        optimiser = OPTIMISERS[kind](model.parameters())
        return model, optimiser, made(rule, model=model, optimiser=optimiser, checks=[1, 5])

    def run(model, optimiser, monitor, steps):
        for _ in range(steps):
            train(model, optimiser, *data())
            monitor.step(None)

    with torch.random.fork_rng(devices=[]):
        model, optimiser, monitor = start()
        run(model, optimiser, monitor, 3)
        state = saved([model.state_dict(), optimiser.state_dict(), monitor.state_dict()])
        kept, generator = copy.deepcopy(state[2]), torch.get_rng_state()
        run(model, optimiser, monitor, 2)
        torch.set_rng_state(generator)
        again, other_optimiser, other = start()
        again.load_state_dict(state[0])
        other_optimiser.load_state_dict(state[1])
        other.load_state_dict(state[2])
        run(again, other_optimiser, other, 2)
    assert len(monitor.reports) == len(other.reports) == 3
    assert all(same(a, b) for a, b in zip(monitor.reports, other.reports, strict=True))
    one, two = monitor.state_dict(), other.state_dict()
    for a, b in zip(one["replicas"], two["replicas"], strict=True):
        assert all(torch.equal(a[0][name], b[0][name]) for name in a[0])
    # Neither run has written into what was saved.
    for a, b in zip(kept["replicas"], state[2]["replicas"], strict=True):
        assert repr(a) == repr(b)
    assert kept["step"] == 3


def test_folds_come_from_the_checkpoint_and_else_from_the_seed():
    one, same_seed, other = (made(rng=seed) for seed in (3, np.random.default_rng(3), 4))
    folds = [monitor.state_dict()["folds"] for monitor in (one, same_seed, other)]
    assert torch.equal(folds[0], folds[1])
    assert not torch.equal(folds[0], folds[2])
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.state_dict()["folds"], folds[0])
    assert same(stepped(one), stepped(other))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("model", {"model": network(torch.float64, nn.Linear(5, 5).double())}),
        ("optimiser", {"kind": "adam"}),
        ("sample", {"sample": data(seed=3)}),
        ("plan", {"checks": [2, 5]}),
        ("plan", {"level": 0.9}),
        ("plan", {"folds": 4}),
        ("plan", {"rule": "standard error"}),
    ],
)
def test_a_state_of_another_monitor(part, changes):
    monitor = made()
    stepped(monitor)
    changes = dict(changes)
    if kind := changes.pop("kind", None):
        changes["model"] = model = network()
        changes["optimiser"] = OPTIMISERS[kind](model.parameters())
    other = made(**changes)
    before = saved(other.state_dict())
    with pytest.raises(ValueError, match=f"expected a state with the same {part}, "):
        other.load_state_dict(monitor.state_dict())
    assert repr(before) == repr(other.state_dict())
    for nonsense in (None, {}, {"fingerprint": {}}):
        with pytest.raises(ValueError, match="expected a state that state_dict"):
            other.load_state_dict(nonsense)


@pytest.mark.parametrize("part", ["step", "reports", "replica_seconds", "folds", "replicas"])
def test_a_state_without_a_part(part):
    monitor, other = made(), made()
    stepped(monitor)
    state, before = saved(monitor.state_dict()), repr(other.state_dict())
    del state[part]
    with pytest.raises(ValueError, match=f"a part missing or changed, KeyError.*{part}.*; try"):
        other.load_state_dict(state)
    assert repr(other.state_dict()) == before
    for change in (
        lambda s: s["replicas"][4][0].pop("2.bias"),
        lambda s: s["replicas"].pop(),
        lambda s: s["reports"].clear(),
        lambda s: s["reports"][0].pop("agreement"),
    ):
        state = saved(monitor.state_dict())
        change(state)
        with pytest.raises(ValueError, match="a part missing or changed"):
            other.load_state_dict(state)
        assert repr(other.state_dict()) == before


def test_a_state_of_before_the_first_step():
    state = saved(made().state_dict())
    monitor = made(rng=4)
    monitor.load_state_dict(state)
    with pytest.raises(ValueError, match="first step"):
        monitor.step(None)
    stepped(monitor)


def test_a_state_for_another_hold_out():
    state = made("holdout").state_dict()
    with pytest.raises(ValueError, match="the same sample"):
        made("holdout", holdout=data(9, seed=2)).load_state_dict(state)


# What makes no sense


BAD = [
    ({"rule": "guess"}, "a rule among standard error, folds, holdout, and got 'guess'"),
    ({"folds": 1}, "folds as an integer of 2 or more, and got 1"),
    ({"folds": 2.0}, "folds as an integer"),
    ({"folds": True}, "folds as an integer"),
    ({"folds": 11}, "expected 22 rows or more for rule=.folds., and got 20"),
    ({"level": 0.0}, "a level between 0 and 1, and got 0.0"),
    ({"level": 1.0}, "a level between"),
    ({"level": "95"}, "a level between"),
    ({"level": math.nan}, "a level between"),
    ({"memory": 1e9}, "memory as an integer"),
    ({"memory": 0}, "memory as an integer"),
    ({"checks": []}, r"checks as increasing integers of 1 or more, and got \[\]"),
    ({"checks": [0, 2]}, "checks as"),
    ({"checks": [2, 2]}, "checks as"),
    ({"checks": [3, 2]}, "checks as"),
    ({"checks": [1.0]}, "checks as"),
    ({"checks": 5}, "checks as"),
    ({"rng": -1}, "a seed of 0 or more"),
    ({"rule": "standard error", "rng": 0}, "expected rng with rule=.folds. only"),
    ({"holdout": data(9, seed=1)}, "expected holdout with rule=.holdout. only"),
    ({"rule": "standard error", "sample": data(2)}, "expected 3 rows or more .* got 2"),
    ({"rule": "standard error", "sample": data(1)}, "expected 3 rows or more .* got 1"),
    ({"rule": "holdout", "sample": data(1)}, "expected 2 rows or more .* got 1"),
    ({"rule": "holdout", "holdout": data(1)}, "two held-out rows or more, and got 1"),
    ({"rule": "holdout", "holdout": data(9, torch.float32)}, "the device, dtype and shape of rows"),
    ({"rule": "holdout", "holdout": (data(9)[0], data(8)[1])}, "in holdout, and got 9 and 8"),
    ({"sample": (data(20)[0], data(19)[1])}, "as many inputs as targets .* 20 and 19"),
    ({"sample": [part.to("meta") for part in data()]}, "on the model's device, cpu, and got meta"),
    ({"sample": (data()[0], data()[1].to("meta"))}, "on the model's device, cpu, and got meta"),
    ({"loss": nn.MSELoss()}, "already reduced; try reduction='none'"),
    ({"loss": SQUARED}, r"\(4,\), and got \(4, 1\) for targets \(4, 1\); try targets in"),
    (
        {"loss": lambda a, b: (a - b) ** 2, "sample": (data()[0], data()[1][:, 0])},
        r"got \(4, 4\) for targets \(4,\); try targets in the shape of the output",
    ),
    ({"sample": data(dtype=torch.float32)}, "model's dtype, float64, and got torch.float32; try"),
    ({"sample": (data()[0] / 0, data()[1])}, "finite inputs in the sample, and got 60 values"),
    ({"sample": (data()[0], data()[1] * math.nan)}, "finite targets in the sample, and got 20"),
    (
        {"rule": "holdout", "holdout": (data(9)[0], data(9)[1] / 0)},
        "finite targets in holdout, and got 9",
    ),
    ({"loss": lambda a, b: squared(a, b)[:, None] - b[:, 0]}, r"\(4,\), and got \(4, 4\)"),
]


@pytest.mark.parametrize(("changes", "words"), BAD)
def test_arguments_that_make_no_sense(changes, words):
    changes = {"rule": "folds", **changes}
    with pytest.raises(ValueError, match=words):
        made(**changes)


def test_what_is_missing_or_of_the_wrong_kind():
    with pytest.raises(TypeError, match="ReuseMonitor needs rng="):
        made(rng=None)
    for nothing in (None, data(9)[0]):
        with pytest.raises(TypeError, match=r"expected holdout=\(inputs, targets\), and got"):
            made("holdout", holdout=nothing)
    x, y = data()
    for sample in ((x.numpy(), y), (x, y.tolist()), (torch.tensor(1.0), y)):
        with pytest.raises(TypeError, match=r"of the sample as tensors \(n, ...\)"):
            made(sample=sample)
    with pytest.raises(TypeError, match=r"loss as a function, such as MSELoss.* got 'mse'"):
        made(loss="mse")
    with pytest.raises(TypeError, match=r"model as a torch.nn.Module, and got <function"):
        made(model=squared, optimiser=torch.optim.SGD(network().parameters(), lr=0.1))
    with pytest.raises(TypeError, match=r"optimiser as of torch.optim, and got 'adam'"):
        made(optimiser="adam")


def test_equal_rows():
    x, y = data()
    copied = torch.cat([x, x[3:5]]), torch.cat([y, y[3:5]])
    with pytest.raises(ValueError, match="expected different rows, and got 2 that stand in"):
        made(sample=copied)
    made("standard error", sample=copied)
    zero = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([[0.0], [-0.0]]).double()
    zero[0][1] *= -1
    with pytest.raises(ValueError, match="got 1 that stand in"):
        made(sample=[torch.cat(parts) for parts in zip((x, y), zero, strict=True)])
    # An equal input with another target is another observation.
    made(sample=(copied[0], torch.cat([y, y[3:5] + 1])))
    held = data(9, seed=1)
    mixed = torch.cat([held[0], x[4:7]]), torch.cat([held[1], y[4:7]])
    with pytest.raises(ValueError, match="not in the sample, and got 3 with equal inputs"):
        made("holdout", holdout=mixed)
    made("holdout", holdout=(mixed[0], torch.cat([held[1], y[4:7] + 1])))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.BatchNorm1d(5, track_running_stats=False)])
@every_rule
def test_batch_normalisation(layer, rule):
    model = network(torch.float64, copy.deepcopy(layer))
    with pytest.raises(ValueError, match=r"BatchNorm1d takes its statistics from the batch.*Group"):
        made(rule, model=model)
    model.eval()
    if layer.track_running_stats:
        monitor = made(rule, model=model)
        model.train()
        with pytest.raises(ValueError, match="BatchNorm1d takes"):
            monitor.step(None)
    else:
        with pytest.raises(ValueError, match="BatchNorm1d takes"):
            made(rule, model=model)


class Centred(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x - 1e-3 * x.mean(0))


class Random(Centred):
    def forward(self, x):
        return self.layer(nn.functional.dropout(x, 0.5, training=True))


def test_rows_that_depend_on_each_other():
    for kind in (Centred, Random):
        with pytest.raises(ValueError, match=f"{kind.__name__} gives other outputs or losses"):
            made(model=kind(network()))
    with pytest.raises(ValueError, match="gives other outputs or losses"):
        made(loss=lambda output, target: squared(output, target) / len(target))
    # The loss alone would not show it.
    with pytest.raises(ValueError, match="gives other outputs or losses"):
        made(model=Centred(network()), loss=lambda output, target: 0 * output[:, 0])
    single = network(torch.float32)
    made(model=single, sample=data(dtype=torch.float32))


class Branching(Centred):
    def forward(self, x):
        return self.layer(x) if x.abs().sum() > 0 else x


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g


class Older(Centred):
    def forward(self, x):
        return Own.apply(self.layer(x))


@pytest.mark.parametrize("kind", [Branching, Older])
def test_what_torch_func_cannot_take(kind):
    words = rf"torch\.func can differentiate row by row, .* from {kind.__name__}, .*try"
    with pytest.raises(TypeError, match=words):
        made("standard error", model=kind(network()))


class Recurrent(Centred):
    def forward(self, x):
        return self.layer(x[:, None])[1][0]


@every_rule
def test_a_recurrent_layer_is_named(rule):
    model = Recurrent(seeded(lambda: nn.GRU(3, 1, batch_first=True).double()))
    with pytest.raises(TypeError, match=r"as every rule needs, and got from GRU, which it does"):
        made(rule, model=model)


def test_parameters():
    model, other = network(), network()
    with pytest.raises(ValueError, match="of the model's own parameters, and got 4 others"):
        made(model=model, optimiser=torch.optim.SGD(other.parameters(), lr=0.1))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="a parameter with requires_grad in the optimiser, and"):
        made(model=model, optimiser=optimiser)
    model[2].requires_grad_(True)
    with pytest.raises(ValueError, match="and got meta; try"):
        made(model=network().to("meta"), sample=[part.to("meta") for part in data()])
    body = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(ValueError, match="a parameter with requires_grad in the optimiser, and"):
        made(model=model, optimiser=body)


@every_rule
def test_what_is_not_finite(rule):
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e200)
    monitor = made(rule, model=model, optimiser=optimiser)
    model[0].eval()
    flags = [module.training for module in model.modules()]
    train(model, optimiser, *data())
    monitor.step(None)
    train(model, optimiser, *data())
    with pytest.raises(ValueError, match=r"finite gradients at step 2, .*: the weights cannot"):
        monitor.step(None)
    assert [module.training for module in model.modules()] == flags
    with pytest.raises(ValueError, match=r"at step 0, .*: a loss or its gradient cannot"):
        made(rule, loss=lambda output, target: (0 * output[:, 0]).sqrt())


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        ([0, 20], ValueError, r"row numbers from 0 to 19, and got \[0, 20\]"),
        ([-1], ValueError, "row numbers from 0"),
        ([[1, 2]], ValueError, "row numbers from 0"),
        (np.array([], dtype=int), ValueError, "row numbers from 0"),
        (3, ValueError, "row numbers from 0"),
        ([1, 2, 1], ValueError, "without repeated rows"),
        ([1.0, 2.0], TypeError, "a batch of integers, .* for all, and got torch.float32"),
        (torch.ones(20, dtype=torch.bool), TypeError, r"got torch.bool; .*arange\(20\)\[batch\]"),
        (slice(0, 4), TypeError, r"got slice\(0, 4, None\); .*arange\(20\)\[batch\] for a slice"),
        (
            "all",
            TypeError,
            "a batch of integers, the numbers of its rows, or None for all, .*'all'",
        ),
        (data(), TypeError, r"a batch of integers, .* and got \(tensor"),
        (data()[1], TypeError, "a batch of integers, .* and got torch.float64"),
        (torch.arange(60) % 3, ValueError, r"without repeated rows, and got .{60}; try"),
    ],
)
@every_rule
def test_batches_that_make_no_sense(rule, batch, error, words):
    monitor = made(rule)
    with pytest.raises(error, match=words):
        monitor.step(batch)
    assert monitor.state_dict()["step"] == 0
    assert stepped(monitor, [3, 5]).step == 0
    assert monitor.state_dict()["step"] == 1
