import contextlib
import copy
import random
from importlib import resources
from itertools import product

import joblib
import numpy as np
import pytest
import torch
from scipy import stats

from gradnotes import stopping
from gradnotes.reuse import stale_gradient_bound
from gradnotes.stopping import (
    BATCHES,
    CHECKS,
    PROBLEMS,
    REGRESSIONS,
    RULES,
    STEPS,
    StoppingSweep,
    check_against_study,
    stopping_sweep,
    stored_study,
)
from gradnotes.sweeps import cell_generator, is_stale, load_table

SMALL = {"problems": ["linear"], "sizes": [40], "batches": ["full"], "samples": 3, "rng": 0}


# A second way to everything that a cell reports: one sample and one replica at a time


class Plain:
    """Mean gradients and squared norms of a regression, from the gradients of observations."""

    def __init__(self, name):
        self.problem = REGRESSIONS[name]

    def each(self, theta, x, y):
        return self.problem.gradients(theta, x, y)

    def losses(self, theta, x, y):
        return self.problem.losses(theta, x, y)

    def risk(self, theta):
        return float(self.problem.risk(theta))


class PlainNetwork:
    """The same for the network, by automatic differentiation."""

    def __init__(self):
        self.model = stopping._Network(None, 0)
        self.pool = torch.from_numpy(self.model.pool)
        self.chances = torch.sigmoid(self.margins(torch.from_numpy(self.model.teacher), self.pool))

    @staticmethod
    def margins(theta, x):
        first, bias, second, last = torch.split(theta, [160, 16, 16, 1])
        return torch.tanh(x @ first.reshape(10, 16) + bias) @ second + last

    def loss(self, theta, x, y):
        margins = self.margins(theta, x)
        return torch.nn.functional.binary_cross_entropy_with_logits(margins, y, reduction="none")

    def losses(self, theta, x, y):
        return self.loss(*map(torch.from_numpy, (theta, x, y))).numpy()

    def each(self, theta, x, y):
        def loss(theta, one, label):
            return self.loss(theta, one[None], label[None])[0]

        gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
        return gradients(*map(torch.from_numpy, (theta, x, y))).numpy()

    def risk(self, theta):
        return float(self.loss(torch.from_numpy(theta), self.pool, self.chances).mean())


def drawn(problem, n, number, rng=0):
    """The sample, more observations, the start and the stream of the batches."""
    streams = cell_generator(rng, problem=problem, n=n, sample=number).spawn(4)
    model = (
        stopping._Network(None, rng) if problem == "network" else stopping._Regression(problem, 0)
    )
    return (
        model.draw(n, streams[0]),
        model.draw(n // 4, streams[1]),
        model.start(streams[3]),
        streams[2],
    )


def trained(plain, x, y, kept, start, batches, step_size, steps):
    """The weights of one replica after each step."""
    weights = [start]
    for k in range(steps):
        chosen = [i for i in (range(len(y)) if batches is None else batches[k]) if kept[i]]
        moved = weights[-1].copy()
        if chosen:
            moved -= step_size * plain.each(moved, x[chosen], y[chosen]).mean(axis=0)
        weights.append(moved)
    return weights


def plain_cell(problem, n, batch, number, steps=STEPS):
    """Everything that a cell says of one sample, written out."""
    plain = PlainNetwork() if problem == "network" else Plain(problem)
    (x, y), (more_x, more_y), start, stream = drawn(problem, n, number)
    batches = None
    if batch == "minibatch":
        batches = [
            part for _ in range(-(-steps // 10)) for part in np.split(stream.permutation(n), 10)
        ]
    fold_of = np.arange(n) // (n // 5)
    step_size = {"linear": 0.1, "logistic": 0.4, "network": 0.5}[problem]
    keeps = [fold_of >= 0, *(fold_of != k for k in range(5))]
    whole, *replicas = [
        trained(plain, x, y, kept, start, batches, step_size, steps) for kept in keeps
    ]
    risk = np.array([plain.risk(theta) for theta in whole])
    scale = risk[0] - risk.min()
    holds = {rule: [] for rule in RULES}
    terms, losses = {}, []
    for k in [k for k in CHECKS if k <= steps]:
        each = plain.each(whole[k], x, y)
        norm = np.linalg.norm(each.mean(axis=0))
        error = np.sqrt(np.trace(np.cov(each.T)) / n)
        if k == 0:
            first = error
        inner, held_losses = [], []
        for fold, replica in enumerate(replicas):
            gradients, out = plain.each(replica[k], x, y), fold_of == fold
            own = gradients[~out].mean(axis=0)
            inner.append((own, gradients[out] @ own, replica[k]))
            held_losses.append(plain.losses(replica[k], x[out], y[out]).mean())
        losses.append(np.mean(held_losses))
        more = plain.each(whole[k], more_x, more_y) @ each.mean(axis=0)
        holds["folds"].append(np.mean([t.mean() for _, t, _ in inner]) <= 0)
        holds["fold losses"].append(len(losses) > 1 and losses[-1] >= losses[-2])
        holds["standard error"].append(norm <= error)
        holds["half standard error"].append(2 * norm <= error)
        holds["holdout"].append(more.mean() <= 0)
        holds["split"].append(inner[0][1].mean() <= 0)
        if problem in REGRESSIONS:
            moved, smoothness = np.linalg.norm(whole[k] - start), {"linear": 1.0, "logistic": 0.25}
            bound = stale_gradient_bound(first, moved, smoothness=smoothness[problem])
            holds["path"].append(norm <= bound)
        terms[k] = (each, inner, more, whole[k])
    found = {}
    for rule, stop in holds.items():
        if stop:
            step = next((k for k, s in zip(CHECKS, stop, strict=True) if s), steps)
            at = replicas[0][step] if rule == "split" else whole[step]
            found[rule] = (step, (plain.risk(at) - risk.min()) / scale)
    step = CHECKS[losses.index(min(losses))]
    found["least fold loss"] = (step, (risk[step] - risk.min()) / scale)
    found["never"] = (steps, (risk[-1] - risk.min()) / scale)
    found["oracle"] = (int(np.flatnonzero(risk - risk.min() <= 1e-9 * scale)[0]), 0.0)
    return found, terms


@pytest.mark.parametrize(("problem", "batch"), list(product(REGRESSIONS, BATCHES)))
@pytest.mark.parametrize("n", [20, 40])
def test_a_cell_of_regressions_against_plain_loops(problem, batch, n):
    got = stopping._cell(problem, n, batch, [3, 5], 0)
    for place, number in enumerate([3, 5]):
        wanted, terms = plain_cell(problem, n, batch, number)
        assert set(wanted) == set(got["steps"]) == set(RULES)
        for rule, (step, regret) in wanted.items():
            assert got["steps"][rule][place] == step
            assert got["regrets"][rule][place] == pytest.approx(regret, rel=1e-7, abs=2e-9)
        for i, k in enumerate(stopping.COVERAGE_STEPS):
            for rule, (off, reach) in plain_coverage(REGRESSIONS[problem], n, *terms[k]).items():
                assert got["off"][rule][place][i] == pytest.approx(off, rel=1e-7, abs=1e-12)
                assert got["hits"][rule][place][i] == (abs(off) <= reach)


def plain_coverage(problem, n, each, inner, more, theta):
    """Estimate less truth, and the half-width of the interval, for each rule."""
    true, whole = problem.population_gradient(theta), each.mean(axis=0)

    def u(each):
        products = each @ each.T
        return (products.sum() - np.trace(products)) / (len(each) * (len(each) - 1))

    without = np.array([u(np.delete(each, i, axis=0)) for i in range(n)])
    jackknife = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    spread = np.mean([terms.var(ddof=1) for _, terms, _ in inner])
    truth = np.mean([own @ problem.population_gradient(at) for own, _, at in inner])
    estimate = whole @ whole - np.trace(np.cov(each.T)) / n
    assert estimate == pytest.approx(u(each), rel=1e-7, abs=1e-14)
    cases = {
        "folds": (np.mean([t.mean() for _, t, _ in inner]), truth, 2 * spread / n, n - 5),
        "holdout": (more.mean(), whole @ true, more.var(ddof=1) / len(more), len(more) - 1),
        "standard error": (u(each), true @ true, jackknife, n - 1),
    }
    return {
        rule: (e - t, stats.t.ppf(0.975, freedom) * variance**0.5)
        for rule, (e, t, variance, freedom) in cases.items()
    }


@pytest.mark.parametrize("problem", REGRESSIONS)
def test_half_widths_against_plain_loops(problem):
    n, plain, generator = 40, Plain(problem), np.random.default_rng(2)
    (x, y), (more_x, more_y), *_ = drawn(problem, n, 0)
    theta = generator.standard_normal((6, 20)) / 4
    fold_of, own, inner = np.arange(n) // 8, [plain.each(theta[0], x, y).mean(axis=0)], []
    for k in range(5):
        gradients = plain.each(theta[k + 1], x, y)
        own.append(gradients[fold_of != k].mean(axis=0))
        inner.append((own[-1], gradients[fold_of == k] @ own[-1], theta[k + 1]))
    more = plain.each(theta[0], more_x, more_y) @ own[0]
    each = plain.each(theta[0], x, y)
    wanted = plain_coverage(plain.problem, n, each, inner, more, theta[0])
    state = (part[None] for part in (theta, np.array(own), x, y, more_x, more_y))
    state = (plain.problem, *state)
    for rule, (off, reach) in wanted.items():
        estimate, truth, found = stopping.INTERVALS[rule](*state)
        assert estimate - truth == pytest.approx([off], rel=1e-9)
        assert found == pytest.approx([reach], rel=1e-9)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_cell_of_networks_against_automatic_differentiation(batch, monkeypatch):
    steps = 50
    checks = tuple(k for k in CHECKS if k <= steps)
    for module in (stopping, __import__(__name__)):
        monkeypatch.setattr(module, "CHECKS", checks)
    monkeypatch.setattr(stopping, "STEPS", steps)
    got = stopping._cell("network", 20, batch, [0, 7], 0)
    for place, number in enumerate([0, 7]):
        wanted, _ = plain_cell("network", 20, batch, number, steps)
        assert set(wanted) == set(got["steps"]) == set(RULES) - {"path"}
        for rule, (step, regret) in wanted.items():
            assert got["steps"][rule][place] == step
            assert got["regrets"][rule][place] == pytest.approx(regret, rel=1e-7, abs=1e-10)
    assert got["off"] == got["hits"] == {}


def test_gradients_of_networks_against_automatic_differentiation():
    plain, generator = PlainNetwork(), np.random.default_rng(1)
    model = plain.model
    theta = np.stack([model.start(generator) + 0.3 for _ in range(6)]).reshape(2, 3, -1)
    x, y = map(np.stack, zip(*(model.draw(7, generator) for _ in range(2)), strict=True))
    shares = generator.random((2, 3, 7))
    means, squares = model.gradients(theta, x, y, shares), model.squares(theta[:, 1], x, y)
    for s, r in product(range(2), range(3)):
        each = plain.each(theta[s, r], x[s], y[s])
        np.testing.assert_allclose(means[s, r], shares[s, r] @ each, atol=1e-13)
        if r == 1:
            np.testing.assert_allclose(squares[s], (each**2).sum(axis=1), rtol=1e-11)
    risks = [plain.risk(one) for one in theta[:, 0]]
    np.testing.assert_allclose(model.risk(theta[:, 0]), risks, rtol=1e-12)


def test_the_task_of_the_network_is_what_the_docstring_says():
    model = stopping._Network(None, 0)
    p = model.chances
    assert np.minimum(p, 1 - p).mean() == pytest.approx(0.11, abs=0.005)
    for n, wanted in ((40, 0.07), (800, 0.01)):
        (x, y), _, start, _ = drawn("network", n, 0)
        theta = start[None, None]
        for _ in range(60):
            theta = theta - 0.5 * model.gradients(theta, x[None], y[None], 1 / n)
        both = np.stack([start, theta[0, 0]])[None]
        margins = model._forward(both, model.pool[None])[1][0]
        losses = np.logaddexp(0, margins) - p * margins
        gain = losses[0] - losses[1]
        assert stats.sem(gain) / gain.mean() == pytest.approx(wanted, abs=0.005)


# Rules


def test_checks_are_a_quarter_of_an_octave_apart():
    assert CHECKS[:12] == (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13)
    assert CHECKS[-2:] == (304, 362)
    assert set(stopping.COVERAGE_STEPS) <= set(CHECKS)
    ratios = np.divide(CHECKS[10:], CHECKS[9:-1])
    np.testing.assert_allclose(ratios, 2**0.25, atol=0.1)


def test_the_first_stop_against_a_scan():
    values = np.random.default_rng(0).standard_normal((200, len(CHECKS))) + 1.5
    values[0], values[1, 3:] = 1.0, 0.0
    values[1, :3] = 1.0
    found = stopping._first_stop(values).tolist()
    for row, step in zip(values, found, strict=True):
        assert step == next((k for k, v in zip(CHECKS, row, strict=True) if v <= 0), STEPS)
    assert found[:2] == [STEPS, 3]
    assert len(set(found)) > 10


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("folds", {"held": [[1.0, 0.0]] + 4 * [[-0.3, 0.0]]}),
        ("standard error", {"error": 5.0}),
        ("half standard error", {"error": 10.0}),
        ("holdout", {"more": [-4.0, 2.9]}),
        ("split", {"held": [[0.0, 0.0]] + 4 * [[1.0, 0.0]]}),
        ("path", {"path": 5.0}),
    ],
)
def test_each_rule_stops_for_its_own_reason(rule, changes):
    state = {"held": [[1.0, 0.0]] * 5, "more": [1.0, 0.0], "error": 0.1, "path": 0.1}
    own = np.array([[[3.0, 4.0]] + [[1.0, 2.0]] * 5])

    def stops(state):
        arrays = {name: np.array([value]) for name, value in state.items()}
        return {r for r, values in stopping._signs(own, **arrays).items() if values[0] <= 0}

    assert stops(state) == set()
    also = {"standard error"} if rule == "half standard error" else set()
    assert stops({**state, **changes}) == {rule} | also


def test_shares_sum_to_one_or_are_all_zero():
    shares = stopping._shares(np.array([[True, False, True], [False, False, False]]))
    assert shares.tolist() == [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]


# Sweeps


def test_first_samples_do_not_depend_on_how_many_follow_or_on_where_they_run():
    options = {**SMALL, "problems": ["logistic"], "batches": ["minibatch"]}
    few, many = (stopping_sweep(**{**options, "samples": s}) for s in (3, 19))
    assert few.rows[0]["samples"] == 3
    assert many.rows[0]["samples"] == 19
    for rule in RULES:
        steps = [s.stopping_steps("logistic", 40, rule, "minibatch") for s in (few, many)]
        assert steps[0].tolist() == steps[1][:3].tolist()
        regrets = [s.regrets("logistic", 40, rule, "minibatch") for s in (few, many)]
        np.testing.assert_allclose(regrets[0], regrets[1][:3], rtol=1e-9, atol=1e-12)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert stopping_sweep(**{**options, "samples": 19}) == many
    other = stopping_sweep(**{**options, "rng": 1})
    assert other.rows[0]["regrets"] != few.rows[0]["regrets"]


def test_both_kinds_of_batches_get_the_same_samples():
    full, parts = (stopping._cell("linear", 40, batch, [0, 1], 0) for batch in BATCHES)
    for rule in stopping.COVERED:
        off = [np.array(cell["off"][rule]) for cell in (full, parts)]
        np.testing.assert_allclose(off[0][:, 0], off[1][:, 0], rtol=1e-12)
        assert (off[0][:, 2] != off[1][:, 2]).all()


def test_a_sweep_is_the_same_from_a_store(tmp_path, monkeypatch):
    alone = stopping_sweep(**{**SMALL, "samples": 9})
    assert stopping_sweep(**{**SMALL, "samples": 9}, store=tmp_path) == alone
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.delattr(stopping, "_follow")
    assert stopping_sweep(**{**SMALL, "samples": 9}, store=tmp_path) == alone


def test_global_random_state_is_left_alone():
    def state():
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        return python, numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()

    before = state()
    stopping_sweep(**{**SMALL, "batches": ["minibatch"]})
    assert state() == before


def test_a_difference_is_that_of_a_paired_t_interval():
    sweep = stopping_sweep(**{**SMALL, "samples": 12})
    found = sweep.compare("linear", 40, "folds", "holdout")
    regrets = [sweep.regrets("linear", 40, rule) for rule in ("folds", "holdout")]
    wanted = stats.ttest_rel(*regrets).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(regrets[0]) - np.mean(regrets[1]))
    assert found.interval == pytest.approx((wanted.low, wanted.high))
    assert found.samples == 12
    with pytest.raises(ValueError, match="2 samples or more, and got 1"):
        stopping_sweep(**{**SMALL, "samples": 1}).compare("linear", 40, "folds")


def test_coverage_has_an_exact_interval_and_the_bias():
    sweep = stopping_sweep(**{**SMALL, "samples": 12})
    cell = stopping._cell("linear", 40, "full", list(range(12)), 0)
    for rule, place in product(stopping.COVERED, range(4)):
        found = sweep.coverage("linear", 40, rule, stopping.COVERAGE_STEPS[place])
        hits = sum(one[place] for one in cell["hits"][rule])
        assert (found.hits, found.samples) == (hits, 12)
        low = stats.beta.ppf(0.025, hits, 13 - hits) if hits else 0.0
        high = stats.beta.ppf(0.975, hits + 1, 12 - hits) if hits < 12 else 1.0
        assert found.interval == pytest.approx((low, high))
        off = np.array(cell["off"][rule])[:, place]
        assert found.bias == pytest.approx(off.mean())
        assert found.bias_error == pytest.approx(stats.sem(off))
    alone = stopping_sweep(**{**SMALL, "samples": 1}).coverage("linear", 40, "folds", 0)
    assert np.isnan(alone.bias_error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problems": ["ridge"]}, "a problem among linear, logistic, network, and got 'ridge'"),
        ({"batches": ["half"]}, "a batch among full, minibatch, and got 'half'"),
        ({"sizes": [4]}, "a size n as an integer of 20 or more, and got 4"),
        ({"sizes": [50]}, "a multiple of 20, .*, and got 50; try 40"),
        ({"sizes": [40.0]}, "a size n as an integer"),
        ({"samples": 0}, "samples as an integer of 1 or more, and got 0"),
        ({"samples": True}, "samples as an integer"),
        ({"rng": -1}, "a seed of 0 or more"),
    ],
)
def test_sweeps_that_make_no_sense(changes, words):
    with pytest.raises(ValueError, match=words):
        stopping_sweep(**{**SMALL, **changes})


def test_a_sweep_needs_a_seed():
    with pytest.raises(TypeError, match="rng"):
        stopping_sweep(**{**SMALL, "rng": None})
    with pytest.raises(TypeError, match="rng"):
        stopping_sweep(**{k: v for k, v in SMALL.items() if k != "rng"})


def test_a_sample_whose_risk_only_rises_has_no_regret():
    """Sample 46 is one: 4 labels of 40 in a batch, and steps of 0.4."""
    cell = stopping._cell("logistic", 40, "minibatch", list(range(44, 48)), 0)
    row = stopping._row(("logistic", 40, "minibatch"), [cell])
    sweep = StoppingSweep(rows=(row,))
    for rule in RULES:
        none = np.isnan(sweep.regrets("logistic", 40, rule, "minibatch"))
        assert none.tolist() == [False, False, True, False]
    assert sweep.stopping_steps("logistic", 40, "oracle", "minibatch")[2] == 0
    found = sweep.compare("logistic", 40, "folds", batch="minibatch")
    assert found.samples == 3
    assert np.isfinite(found.mean)


@pytest.mark.parametrize(
    ("call", "arguments", "words"),
    [
        ("regrets", ("linear", 80, "folds"), r"a cell among .*, and got \('linear', 80, 'full'\)"),
        ("regrets", ("linear", 40, "folds", "minibatch"), "a cell among"),
        ("stopping_steps", ("linear", 40, "luck"), "a rule among folds, .*, and got 'luck'"),
        ("compare", ("linear", 40, "folds", "luck"), "a rule among"),
        ("coverage", ("linear", 40, "split", 16), "among folds, standard error, holdout, and"),
        ("coverage", ("linear", 40, "folds", 17), r"a step among \(0, 16, 64, 256\), and got 17"),
    ],
)
def test_what_a_sweep_does_not_have(call, arguments, words):
    sweep = stopping_sweep(**{**SMALL, "samples": 2})
    with pytest.raises(ValueError, match=words):
        getattr(sweep, call)(*arguments)


# The stored study

STUDY = stored_study()
CELLS = [stopping._key(row) for row in STUDY.rows]
# With minibatches and few observations the weights never come to rest, and no rule is good enough.
FAILURES = {
    ("linear", 100, "minibatch"): {"median", "never"},
    ("logistic", 100, "minibatch"): {"median"},
    ("logistic", 200, "minibatch"): {"median"},
}
RESTLESS = [key for key in FAILURES if key[1] == 100]


def test_the_stored_study_is_what_the_code_makes(pytestconfig):
    table = load_table("stopping")
    if pytestconfig.pluginmanager.has_plugin("mutants"):
        pytest.skip("any deliberate error is a change of the code, so this test would see nothing")
    assert not is_stale(table), "the code has changed since; run `make studies`"
    assert table["settings"] == {"rng": 0, "kept": stopping.KEPT, "study": stopping.STUDY}
    assert (resources.files("gradnotes") / "stopping.json").stat().st_size < 500_000


def test_the_stored_study_has_every_cell_rule_and_step():
    assert PROBLEMS == ("linear", "logistic", "network")
    assert list(product(PROBLEMS, [40, 100, 200, 400, 800], BATCHES)) == CELLS
    for row in STUDY.rows:
        regression = row["problem"] in REGRESSIONS
        assert row["samples"] == (400 if regression else 24)
        kept = 128 if regression else 24
        rules = set(RULES) - (set() if regression else {"path"})
        assert set(row["steps"]) == set(row["regrets"]) == rules
        for rule, steps in row["steps"].items():
            assert len(steps) == len(row["regrets"][rule]) == kept
            assert rule == "oracle" or set(steps) <= {*CHECKS, STEPS}
        covered = list(stopping.COVERED) if regression else []
        assert sorted(row["hits"]) == sorted(row["bias"]) == sorted(covered)
        for hits in row["hits"].values():
            assert len(hits) == 4
            assert all(len(at) == 400 and set(at) <= set("01") for at in hits)


@pytest.mark.parametrize("key", CELLS, ids=lambda key: "-".join(map(str, key)))
def test_the_oracle_has_no_regret_and_others_have_some(key):
    problem, n, batch = key
    for rule in RULES:
        if (problem, rule) == ("network", "path"):
            continue
        regrets = STUDY.regrets(problem, n, rule, batch)
        none = np.isnan(regrets)
        # On one sample no step lowers the risk.
        assert none.sum() == (key == ("logistic", 40, "minibatch"))
        if rule != "split":
            assert (regrets[~none] >= 0).all()
        steps, best = (STUDY.stopping_steps(problem, n, r, batch) for r in (rule, "oracle"))
        if rule == "oracle":
            assert (regrets[~none] <= 1e-9).all()
        elif rule != "split":
            # Before the best step, which is the first of its kind.
            assert (regrets[(steps < best) & ~none] > 1e-9).all()
            assert (regrets[(steps == best) & ~none] <= 1e-9).all()


@pytest.mark.parametrize("key", [k for k in CELLS if k[0] != "network" and k[1] >= 100], ids=str)
def test_folds_are_good_enough_but_where_it_is_said(key):
    problem, n, batch = key
    failed = set()
    if np.median(STUDY.regrets(problem, n, "folds", batch)) > 0.05:
        failed.add("median")
    if STUDY.compare(problem, n, "folds", batch=batch).interval[1] > 0.01:
        failed.add("never")
    assert failed == FAILURES.get(key, set())


@pytest.mark.parametrize("key", RESTLESS, ids=str)
def test_where_folds_fail_at_the_smallest_size_so_does_every_rule(key):
    problem, n, batch = key
    for rule in set(RULES) - {"oracle"}:
        assert np.median(STUDY.regrets(problem, n, rule, batch)) > 0.05


@pytest.mark.parametrize(("problem", "batch"), list(product(REGRESSIONS, BATCHES)))
def test_minibatches_make_folds_stop_later_and_not_earlier(problem, batch):
    for n in (100, 200, 400, 800):
        full, parts = (STUDY.stopping_steps(problem, n, "folds", b) for b in BATCHES)
        assert np.median(parts) > np.median(full)


@pytest.mark.parametrize("n", stopping.SIZES)
def test_networks_overfit_and_folds_stop_in_time(n):
    oracle = np.median(STUDY.stopping_steps("network", n, "oracle"))
    assert 15 < oracle < 150
    assert np.median(STUDY.regrets("network", n, "folds")) < 0.05
    found = STUDY.compare("network", n, "folds")
    assert found.interval[1] < -0.02


def test_intervals_for_a_difference_do_not_depend_on_skewness():
    """The bootstrap that corrects for it agrees, where the sign of a difference is in doubt."""
    for problem, n, batch in CELLS:
        found = STUDY.compare(problem, n, "folds", batch=batch)
        if problem == "network" or found.interval[0] < -0.1:
            continue
        regrets = (STUDY.regrets(problem, n, rule, batch) for rule in ("folds", "never"))
        difference = np.subtract(*regrets)
        other = stats.bootstrap((difference,), np.mean, rng=0, n_resamples=2000)
        reach = found.interval[1] - found.mean
        np.testing.assert_allclose(
            found.interval, other.confidence_interval, atol=0.25 * reach, rtol=0
        )


@pytest.mark.parametrize("key", [k for k in CELLS if k[0] != "network"], ids=str)
def test_held_out_gradients_are_not_biased_and_reused_ones_are(key):
    problem, n, batch = key
    for rule, step in product(stopping.COVERED, stopping.COVERAGE_STEPS):
        found = STUDY.coverage(problem, n, rule, step, batch)
        biased = abs(found.bias) > 4 * found.bias_error
        assert biased == (rule == "standard error" and step > 0), (rule, step)
        assert found.samples == 400
        if biased:
            assert found.bias < -40 * found.bias_error
            assert found.interval[1] < 0.2
        elif n >= 400:
            assert found.interval[1] > 0.9


def test_a_slice_computed_now_agrees_with_the_stored_study():
    options = {"batches": BATCHES, "samples": 24, "rng": 0, "progress": False}
    live = stopping_sweep(problems=["linear", "logistic"], sizes=[100], **options)
    assert check_against_study(live) == 4 * 24 * (2 * len(RULES) + 3 * 4)
    changes = [
        ("steps", "folds", lambda steps: [*steps[:-1], steps[-1] + 1]),
        ("regrets", "never", lambda regrets: [regrets[0] * (1 + 1e-4), *regrets[1:]]),
        ("regrets", "path", lambda regrets: [None, *regrets[1:]]),
        ("hits", "holdout", lambda hits: [*hits[:3], "10"[int(hits[3][0])] + hits[3][1:]]),
    ]
    for column, rule, change in changes:
        rows = copy.deepcopy(live.rows)
        rows[3][column][rule] = change(rows[3][column][rule])
        with pytest.raises(ValueError, match=f"the {column} of '{rule}' for .* are not those"):
            check_against_study(StoppingSweep(rows=rows))


@pytest.mark.parametrize("change", [{"n": 60}, {"problem": "network"}])
def test_what_the_study_does_not_have(change):
    row = {**stopping_sweep(**{**SMALL, "samples": 2}).rows[0], **change}
    with pytest.raises(ValueError, match="expected regressions at sizes of the study"):
        check_against_study(StoppingSweep(rows=(row,)))


def test_more_samples_than_kept_or_another_root_seed_do_not_agree():
    for other in ({"samples": 129}, {"rng": 1}):
        with pytest.raises(ValueError, match="try rng=0 and at most 128 samples"):
            check_against_study(stopping_sweep(**{**SMALL, **other}))


def test_the_command_stores_the_table_and_leaves_no_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"problems": ["logistic"], "sizes": [40], "samples": 5}
    monkeypatch.setattr(stopping, "STUDY", [small])
    monkeypatch.setattr(stopping, "KEPT", 4)
    monkeypatch.setattr(joblib, "parallel_config", lambda **_: contextlib.nullcontext())
    stopping.main(tmp_path / "table.json")
    assert capsys.readouterr().out == "wrote table.json with 2 rows\n"
    table = load_table(tmp_path / "table.json")
    assert not is_stale(table)
    assert table["settings"] == {"rng": 0, "kept": 4, "study": [small]}
    full = stopping.study(progress=False)
    for kept, exact in zip(table["rows"], full.rows, strict=True):
        assert kept["steps"]["folds"] == exact["steps"]["folds"][:4]
        assert kept["regrets"]["folds"] != exact["regrets"]["folds"][:4]
        assert kept["regrets"]["folds"] == pytest.approx(exact["regrets"]["folds"][:4], rel=1e-5)
        assert kept["hits"] == exact["hits"]
        assert kept["bias"]["folds"][1] == pytest.approx(exact["bias"]["folds"][1], rel=1e-5)
    assert list((tmp_path / "_build" / "studies").iterdir()) == []
