import contextlib
import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_critics import HIDDEN, OWN, TRUTH, small_classifier, small_module, tensor

from gradnotes import sweeps, synthetic
from gradnotes.sweeps import is_stale, load_table
from gradnotes.synthetic import (
    CONTROLS,
    KINDS,
    Classifier,
    check_against_study,
    digits,
    follow_module,
    stored_study,
    train_classifier,
    train_module,
    train_online,
)

GENERATOR = np.random.default_rng(11)
X = GENERATOR.normal(size=(240, 3))
LABELS = (X[:, 0] > X[:, 1] ** 2 - 0.5).astype(int) + (X[:, 2] > 1)
SMALL = {"widths": (6, 5), "seeds": 2, "rng": 3}


def test_more_networks_do_not_change_the_first():
    few, many = small_classifier(members=2), small_classifier(members=4)
    assert torch.equal(few.lower(tensor(4, 3)), many.lower(tensor(4, 3))[:2])
    assert not torch.equal(few.lower(tensor(4, 3))[0], few.lower(tensor(4, 3))[1])
    trained = [
        train_classifier(classifier, X, LABELS, steps=5, rng=0).lower(tensor(4, 3))[:2]
        for classifier in (few, many)
    ]
    torch.testing.assert_close(*trained, rtol=1e-12, atol=1e-13)
    # A copy was trained.
    assert torch.equal(few.lower(tensor(4, 3)), small_classifier(members=2).lower(tensor(4, 3)))


def test_projections_have_the_mean_of_the_whole():
    module, generators = small_module("sobolev", projections=2), np.random.default_rng(0).spawn(2)
    assert module.scalars == 3
    whole = small_module("sobolev").loss(HIDDEN, OWN, *TRUTH).detach()
    losses = []
    for _ in range(400):
        directions = synthetic._directions(module, generators)
        square = directions.mT @ directions
        torch.testing.assert_close(square, torch.eye(2).double().expand(2, 2, 2))
        losses.append(module.loss(HIDDEN, OWN, *TRUTH, directions=directions).detach().numpy())
    np.testing.assert_allclose(np.mean(losses, axis=0), whole, rtol=0.02)
    assert np.std(losses, axis=0).min() > 0.01 * whole.min()
    # As many projections as dimensions are the whole, whatever their directions.
    full = small_module("sobolev", projections=4)
    directions = synthetic._directions(full, generators)
    found = full.loss(HIDDEN, OWN, *TRUTH, directions=directions).detach()
    torch.testing.assert_close(found, whole)


def test_training_stops_when_it_is_told_and_leaves_the_start_alone():
    start, seen = small_module("critic"), []
    weights = copy.deepcopy(start.state_dict())

    def observe(step, module):
        seen.append((step, module.loss(HIDDEN, OWN, *TRUTH).detach()))
        return step == 40

    trained = train_module(start, HIDDEN, OWN, *TRUTH, steps=400, observe=observe, rng=0)
    assert [step for step, _ in seen] == list(range(1, 41))
    assert (seen[-1][1] < seen[0][1]).all()
    assert all(torch.equal(weights[name], p) for name, p in start.state_dict().items())
    assert not torch.equal(start.layers.weights[0], trained.layers.weights[0])


def test_the_rate_falls_to_zero():
    """The last of many steps hardly moves a module, the first does."""
    moves, last = [], []

    def observe(_, module):
        last.append(module.layers.weights[0].detach().clone())
        if len(last) > 1:
            moves.append((last[-1] - last[-2]).abs().max().item())

    train_module(small_module("critic"), HIDDEN, OWN, *TRUTH, steps=100, observe=observe, rng=0)
    assert moves[-1] < 0.05 * max(moves)
    assert max(moves) < 2 * synthetic.MODULE_RATE


# Curves and online training


def test_a_curve_repeats_and_its_first_seeds_stay():
    options = {"kind": "critic", "network_steps": 10, "widths": (6, 5), "rng": 3}
    curve = follow_module(X, LABELS, steps=[5, 40], until=60, seeds=3, **options)
    again = follow_module(X, LABELS, steps=[40], until=60, seeds=2, **options)
    for name in synthetic.MEASURES:
        np.testing.assert_allclose(getattr(curve, name)[1:, :2], getattr(again, name), rtol=1e-9)
    assert curve.accuracy.shape == (3,)
    assert (curve.scalars, curve.samples) == (1, 160)
    assert curve.milliseconds > 0
    other = follow_module(X, LABELS, steps=[40], until=60, seeds=2, **{**options, "rng": 4})
    assert not np.allclose(other.cosine, again.cosine, rtol=1e-3)


def test_all_kinds_get_the_same_networks_and_the_measures_are_on_held_out_samples():
    accuracies = []
    for kind in KINDS:
        curve = follow_module(X, LABELS, kind=kind, network_steps=30, steps=[150], **SMALL)
        accuracies.append(curve.accuracy)
        assert (curve.r_squared is None) == (kind in ("direct", "gradients"))
        assert (curve.lower_cosine <= 1 + 1e-12).all()
        if kind != "critic":
            assert (curve.relative_error < 0.8).all()
    assert all(np.array_equal(a, accuracies[0]) for a in accuracies)
    few = follow_module(
        X, LABELS, kind="sobolev", network_steps=30, steps=[150], samples=4, **SMALL
    )
    assert few.samples == 4
    assert (few.r_squared < curve_of("sobolev").r_squared).all()


def curve_of(kind):
    return follow_module(X, LABELS, kind=kind, network_steps=30, steps=[150], **SMALL)


def test_a_deeper_split_has_another_width():
    curve = follow_module(X, LABELS, kind="direct", network_steps=5, steps=[20], split=2, **SMALL)
    assert curve.scalars == 5


@pytest.mark.parametrize("arm", CONTROLS)
def test_the_controls_send_what_they_say(arm):
    result = train_online(X, LABELS, arm=arm, steps=60, **SMALL)
    # A disturbance at right angles, of 0.9 of the size: the cosine is 1/sqrt(1 + 0.81).
    error = {"backprop": 0.0, "frozen": 1.0}.get(arm, 0.9)
    cosine = {"backprop": 1.0, "frozen": 0.0}.get(arm, 1.81**-0.5)
    np.testing.assert_allclose(result.relative_error, error, atol=0.02 if arm == "noisy" else 1e-9)
    np.testing.assert_allclose(result.cosine, cosine, atol=0.1 if error == 0.9 else 1e-9)
    assert result.test.shape == result.validation.shape == (2,)


def test_backprop_online_is_plain_training_and_frozen_layers_stay(monkeypatch):
    kept = {}
    accuracy = Classifier.accuracy

    def spy(self, points, labels):
        kept["classifier"] = self
        return accuracy(self, points, labels)

    monkeypatch.setattr(Classifier, "accuracy", spy)
    lower = []
    for arm in ("backprop", "frozen"):
        train_online(X, LABELS, arm=arm, steps=4, **SMALL)
        lower.append(kept["classifier"].layers.weights[0].detach())
    streams = [synthetic._streams(3, 2, what) for what in ("classifier", "samples")]
    start = Classifier((3, 6, 5, 3), split=1, members=2, rng=streams[0])
    data = synthetic._Samples(
        torch.from_numpy(X), torch.from_numpy(LABELS), [133, 40, 67], streams[1]
    )
    plain = synthetic._trained(start, data, 4)
    torch.testing.assert_close(lower[0], plain.layers.weights[0].detach(), rtol=1e-9, atol=1e-12)
    assert torch.equal(lower[1], start.layers.weights[0].detach())


@pytest.mark.parametrize("kind", KINDS)
def test_modules_online(kind):
    few, more = (
        train_online(X, LABELS, arm=kind, updates=updates, steps=60, **SMALL) for updates in (1, 6)
    )
    assert (more.updates, more.arm) == (6, kind)
    assert more.cosine.mean() > few.cosine.mean()
    assert (more.relative_error != few.relative_error).all()


# Wrong input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: train_module(small_module("critic"), HIDDEN, OWN, *TRUTH, steps=1),
            TypeError,
            "train_module needs rng=",
        ),
        (
            lambda: train_module(
                small_module("critic"), HIDDEN, OWN, *TRUTH, steps=1, learning_rate=0, rng=0
            ),
            ValueError,
            "the learning rate as a finite number above 0",
        ),
    ],
)
def test_wrong_training_of_a_module(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": np.ones(240, int)}, ValueError, "two classes or more, and got 1"),
        ({"labels": LABELS[:-1]}, ValueError, r"a label each, \(n,\), and got \(240, 3\) and"),
        ({"labels": LABELS - 1}, ValueError, "whole numbers from 0 as labels"),
        ({"labels": LABELS + 0.5}, ValueError, "try np.unique"),
        ({"x": X * np.nan}, ValueError, "finite points"),
        ({"x": X[:10], "labels": LABELS[:10]}, ValueError, "18 samples or more"),
        ({"rng": None}, TypeError, "try rng=0"),
        ({"split": 3}, ValueError, "a split after one of the hidden layers, 1 to 2"),
        ({"seeds": 0}, ValueError, "seeds as an integer of 1"),
    ],
)
def test_wrong_data(changes, error, message):
    options = {"x": X, "labels": LABELS, **SMALL, **changes}
    x, labels = options.pop("x"), options.pop("labels")
    with pytest.raises(error, match=message):
        follow_module(x, labels, kind="critic", network_steps=1, steps=[1], **options)
    with pytest.raises(error, match=message):
        train_online(x, labels, arm="direct", steps=1, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": [3, 3]}, "increasing steps from 1 on"),
        ({"steps": []}, "increasing steps from 1 on"),
        ({"until": 2}, "until as an integer of 5"),
        ({"samples": 161}, "at most 160 samples, two thirds of all"),
        ({"kind": "actor"}, "a kind among"),
        ({"projections": 7, "kind": "sobolev"}, "at most 6 projections"),
    ],
)
def test_wrong_curves(changes, message):
    options = {"kind": "critic", "network_steps": 1, "steps": [5], **SMALL, **changes}
    with pytest.raises(ValueError, match=message):
        follow_module(X, LABELS, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": "actor"}, "an arm among critic, sobolev, direct, gradients, backprop"),
        ({"updates": 0}, "updates as an integer of 1"),
        ({"learning_rate": -1.0}, "the learning rate as a finite number above 0"),
    ],
)
def test_wrong_online_training(changes, message):
    options = {"arm": "direct", "steps": 5, **SMALL, **changes}
    with pytest.raises(ValueError, match=message):
        train_online(X, LABELS, **options)


def test_one_class_is_refused_in_training_too():
    with pytest.raises(ValueError, match="two classes or more"):
        train_classifier(small_classifier(), X, np.zeros(240, int), steps=1, rng=0)
    with pytest.raises(TypeError, match="train_classifier needs rng="):
        train_classifier(small_classifier(), X, LABELS, steps=1)


def test_without_scikit_learn_the_digits_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        digits()


# The stored study


STUDY = stored_study()


def test_the_stored_study_was_made_by_this_code():
    assert not is_stale(load_table("synthetic"))


def test_the_study_has_its_cells():
    assert len(STUDY.static) == len(synthetic.STATIC) * len(synthetic.NETWORK_STEPS)
    assert len(STUDY.online) == len(synthetic.ONLINE)
    for network_steps in synthetic.NETWORK_STEPS:
        for settings in synthetic.STATIC:
            curve = STUDY.curve(
                settings["kind"],
                network_steps,
                projections=settings.get("projections"),
                samples=settings.get("samples"),
            )
            assert curve.cosine.shape == (len(synthetic.STEPS), synthetic.SEEDS)
            assert curve.steps.tolist() == synthetic.STEPS
    tuned = STUDY.tuned("critic")
    rows = [row for row in STUDY.online if row["arm"] == "critic"]
    assert len(rows) == 6
    assert np.mean(tuned["validation"]) == max(np.mean(row["validation"]) for row in rows)
    with pytest.raises(ValueError, match="a curve of the study, and got"):
        STUDY.curve("critic", 20)
    with pytest.raises(ValueError, match="an arm of the study, and got 'actor'"):
        STUDY.tuned("actor")


def live(kind="critic", steps=(30, 60), **changes):
    options = {"network_steps": 10, "until": synthetic.STEPS[-1], "seeds": 2, "rng": 0, **changes}
    return follow_module(*digits(), kind=kind, steps=steps, **options)


def test_a_slice_computed_now_agrees_with_the_stored_study():
    curve = live()
    assert check_against_study(curve, network_steps=10) == 4 * 2 * 2
    assert check_against_study(live(projections=None), network_steps=10) == 16
    off = replace(curve, cosine=curve.cosine + 0.03)
    with pytest.raises(ValueError, match="the cosine of 'critic' is not that of the stored study"):
        check_against_study(off, network_steps=10)
    with pytest.raises(ValueError, match="try rng=0, until=8000"):
        check_against_study(live(rng=1), network_steps=10)
    with pytest.raises(ValueError, match="steps of the study"):
        check_against_study(live(steps=[20]), network_steps=10)


def test_the_command_stores_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "digits": lambda: (X, LABELS),
        "SEEDS": 2,
        "STEPS": [2, 5],
        "NETWORK_STEPS": [1],
        "STATIC": [{"kind": "critic"}, {"kind": "sobolev", "projections": 1}],
        "ONLINE_STEPS": 3,
        "ONLINE": [{"arm": "frozen"}, {"arm": "direct", "updates": 2, "learning_rate": 0.01}],
    }.items():
        monkeypatch.setattr(synthetic, name, value)
    # In this process: another one would not know of the changes above.
    monkeypatch.setattr(sweeps, "parallel_config", lambda **_: contextlib.nullcontext())
    synthetic.main(tmp_path / "table.json")
    assert capsys.readouterr().out == "wrote table.json with 4 rows\n"
    rows = load_table(tmp_path / "table.json")["rows"]
    exact = synthetic.study(progress=False)
    assert [row["arm"] for row in rows[:2]] == ["frozen", "direct"]
    assert rows[2]["cosine"] == [pytest.approx(row, abs=1e-3) for row in exact.static[0]["cosine"]]
    assert rows[3]["settings"] == ["sobolev", 1, 1, None]
    assert list((tmp_path / "_build" / "studies").iterdir()) == []
