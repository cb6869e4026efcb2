import contextlib
import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from gradnotes import sweeps, synthetic
from gradnotes.sweeps import is_stale, load_table
from gradnotes.synthetic import (
    CONTROLS,
    KINDS,
    Classifier,
    GradientModule,
    check_against_study,
    digits,
    follow_module,
    gradient_errors,
    r_squared,
    scales_of,
    stored_study,
    train_classifier,
    train_module,
    train_online,
)

GENERATOR = np.random.default_rng(11)
X = GENERATOR.normal(size=(240, 3))
LABELS = (X[:, 0] > X[:, 1] ** 2 - 0.5).astype(int) + (X[:, 2] > 1)
SMALL = {"widths": (6, 5), "seeds": 2, "rng": 3}


def tensor(*shape):
    return torch.from_numpy(np.random.default_rng(sum(shape)).normal(size=shape))


def small_classifier(members=3, split=1):
    return Classifier((3, 6, 5, 4), split=split, members=members, rng=2)


# The classifier


@pytest.mark.parametrize("split", [1, 2])
def test_the_classifier_against_formulas_written_out(split):
    classifier, points = small_classifier(split=split), tensor(7, 3)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    hidden = classifier.lower(points)
    assert hidden.shape == (3, 7, classifier.hidden)
    assert classifier.hidden == (6, 5)[split - 1]
    assert classifier.classes == 4
    for member in range(3):
        x = points.numpy()
        parts = zip(classifier.layers.weights, classifier.layers.biases, strict=True)
        for layer, (weight, bias) in enumerate(parts):
            x = x @ weight[member].detach().numpy() + bias[member].detach().numpy()
            x = np.tanh(x) if layer < 2 else x
            if layer == split - 1:
                np.testing.assert_allclose(hidden[member].detach().numpy(), x, atol=1e-14)
        losses = -log_softmax(x, axis=1)[np.arange(7), labels.numpy()]
        found = classifier.losses(hidden, labels)[member].detach().numpy()
        np.testing.assert_allclose(found, losses, atol=1e-13)
        share = (x.argmax(axis=1) == labels.numpy()).mean()
        assert classifier.accuracy(points, labels)[member] == share


def test_the_gradient_in_the_hidden_values_against_differences():
    classifier, hidden = small_classifier(), torch.tanh(tensor(3, 5, 6))
    labels = torch.tensor([[0, 1, 2, 3, 0], [1, 1, 1, 1, 1], [3, 2, 1, 0, 3]])
    _, gradients = classifier.loss_and_gradient(hidden, labels)
    for k in range(6):
        step = torch.zeros(6).double()
        step[k] = 1e-5
        ahead, behind = (
            classifier.loss_and_gradient(hidden + s * step, labels)[0] for s in (1, -1)
        )
        np.testing.assert_allclose(gradients[..., k], (ahead - behind) / 2e-5, atol=1e-9)


@pytest.mark.parametrize("split", [1, 2])
def test_the_exact_gradient_pulled_back_is_backpropagation(split):
    classifier, points = small_classifier(split=split), tensor(8, 3)
    labels = torch.arange(8) % 4
    hidden = classifier.lower(points).detach()
    _, gradients = classifier.loss_and_gradient(hidden, labels)
    found = classifier.pull_back(points, gradients)
    classifier.losses(classifier.lower(points), labels).mean(1).sum().backward()
    parts = []
    for layer in range(split):
        parts += [classifier.layers.weights[layer].grad, classifier.layers.biases[layer].grad]
    wanted = torch.cat([part.flatten(1) for part in parts], 1)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)


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


# The modules


def small_module(kind, **options):
    return GradientModule(kind, 4, 3, hidden=5, members=2, rng=6, **options)


HIDDEN, OWN = torch.tanh(tensor(2, 9, 4)), torch.arange(9) % 3
TRUTH = tensor(2, 9).abs(), tensor(2, 9, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_against_formulas_written_out(kind):
    module = small_module(kind)
    values, gradients = module(HIDDEN, OWN)
    (first, outer), (bias, last) = (
        [p.detach().numpy() for p in part] for part in (module.layers.weights, module.layers.biases)
    )
    codes = np.eye(3)[OWN.numpy()]
    for member in range(2):
        inputs = np.concatenate([HIDDEN[member].numpy(), codes], axis=1)
        z = inputs @ first[member] + bias[member]
        outputs = np.logaddexp(0.0, z) @ outer[member] + last[member]
        if kind == "direct":
            assert values is None
            np.testing.assert_allclose(gradients[member].detach(), outputs, atol=1e-13)
            continue
        np.testing.assert_allclose(values[member].detach(), outputs[:, 0], atol=1e-13)
        slope = (expit(z) * outer[member][:, 0]) @ first[member][:4].T
        np.testing.assert_allclose(gradients[member].detach(), slope, atol=1e-13)


@pytest.mark.parametrize("kind", ["critic", "sobolev", "gradients"])
def test_the_gradient_of_a_module_is_that_of_its_value(kind):
    module, hidden = small_module(kind), HIDDEN.clone().requires_grad_(True)
    values, gradients = module(hidden, OWN)
    (found,) = torch.autograd.grad(values.sum(), hidden)
    torch.testing.assert_close(found, gradients.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_what_each_kind_minimises(kind):
    module = small_module(kind)
    values, gradients = (None if a is None else a.detach().numpy() for a in module(HIDDEN, OWN))
    losses, exact = (a.numpy() for a in TRUTH)
    wanted = np.zeros(2)
    if kind in ("critic", "sobolev"):
        wanted += ((values - losses) ** 2).mean(axis=1) / losses.var(axis=1)
    if kind != "critic":
        wanted += ((gradients - exact) ** 2).sum(axis=(1, 2)) / (exact**2).sum(axis=(1, 2))
    found = module.loss(HIDDEN, OWN, *TRUTH)
    np.testing.assert_allclose(found.detach(), wanted, rtol=1e-12)
    twice = tuple(2 * scale for scale in scales_of(*TRUTH))
    np.testing.assert_allclose(
        module.loss(HIDDEN, OWN, *TRUTH, scales=twice).detach(), wanted / 2, rtol=1e-12
    )
    assert module.scalars == {"critic": 1, "sobolev": 5}.get(kind, 4)


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


# The measures


def test_the_errors_against_formulas_written_out():
    exact, other = tensor(3, 20, 4), tensor(3, 20, 4) + tensor(3, 20, 5)[..., :4]
    errors = gradient_errors(other, exact)
    g, p = exact.numpy(), other.numpy()
    for member in range(3):
        size = np.sqrt((g[member] ** 2).sum(axis=1).mean())
        off = np.sqrt(((g[member] - p[member]) ** 2).sum(axis=1).mean())
        assert errors.relative_error[member] == pytest.approx(off / size)
        own = [
            a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            for a, b in zip(g[member], p[member], strict=True)
        ]
        assert errors.sample_cosine[member] == pytest.approx(np.mean(own))
    # The identity that ties the three numbers together.
    rho, cosine = errors.ratio, errors.cosine
    np.testing.assert_allclose(errors.relative_error**2, 1 - 2 * rho * cosine + rho**2)
    best = np.linspace(0, 3, 30_001)[:, None] * rho
    least = np.sqrt((1 - 2 * best * cosine + best**2).min(axis=0))
    np.testing.assert_allclose(errors.rescaled_error, least, atol=1e-6)


def test_special_gradients():
    exact = tensor(1, 6, 3)
    nothing = gradient_errors(torch.zeros_like(exact), exact)
    assert (nothing.relative_error, nothing.cosine, nothing.sample_cosine) == (1.0, 0.0, 0.0)
    against = gradient_errors(-exact, exact)
    assert against.relative_error == pytest.approx(2.0)
    assert against.cosine == pytest.approx(-1.0)
    assert against.rescaled_error == 1.0


def test_r_squared_against_a_formula():
    v, losses = tensor(2, 30), tensor(2, 31)[:, :30]
    for member in range(2):
        rest = ((v[member] - losses[member]) ** 2).sum()
        total = ((losses[member] - losses[member].mean()) ** 2).sum()
        assert r_squared(v, losses)[member] == pytest.approx(float(1 - rest / total))


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
        (lambda: Classifier((3, 4, 2), split=2, rng=0), ValueError, "hidden layers, 1 to 1, of"),
        (lambda: Classifier((3, 4, 2), split=0, rng=0), ValueError, "and got 0; try split=1"),
        (lambda: Classifier((3, 4, 2), split=1.0, rng=0), ValueError, "and got 1.0; try split=1"),
        (lambda: Classifier((3, 2), split=1, rng=0), ValueError, "hidden layers, 1 to 0"),
        (lambda: Classifier((3, 4, 2), split=1), TypeError, "Classifier needs rng="),
        (lambda: Classifier((3, 0, 2), split=1, rng=0), ValueError, "a width as an integer"),
        (lambda: small_classifier().lower(tensor(7, 4)), ValueError, r"shape \(n, 3\) or \(3, n"),
        (lambda: small_classifier().lower(tensor(2, 7, 3)), ValueError, "a row for each sample"),
        (lambda: small_classifier().lower(tensor(7, 3).float()), TypeError, "points in torch.f"),
        (lambda: small_classifier().upper(tensor(7, 3)), ValueError, "hidden values of shape"),
        (
            lambda: small_classifier().pull_back(tensor(7, 3), tensor(3, 7, 5)),
            ValueError,
            r"gradients of shape \(3, 7, 6\), one for each hidden value, and got \(3, 7, 5\)",
        ),
        (lambda: small_module("actor"), ValueError, "a kind among critic, sobolev, direct, grad"),
        (lambda: small_module("sobolev", projections=5), ValueError, "at most 4 projections"),
        (lambda: small_module("sobolev", projections=0), ValueError, "projections as an integer"),
        (lambda: small_module("direct", projections=1), ValueError, "and got 1 of 'direct'"),
        (lambda: GradientModule("critic", 4, 3), TypeError, "GradientModule needs rng="),
        (
            lambda: small_module("direct").loss(HIDDEN, OWN, TRUTH[0], TRUTH[1][:, :3]),
            ValueError,
            r"gradients of shape \(2, 9, 4\)",
        ),
        (
            lambda: small_module("critic").loss(HIDDEN, OWN, TRUTH[0][:, :3], TRUTH[1]),
            ValueError,
            r"losses of shape \(2, 9\), one for each sample, and got \(2, 3\)",
        ),
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
        (lambda: gradient_errors(tensor(1, 2, 3), tensor(1, 2, 4)), ValueError, "of one shape"),
        (lambda: gradient_errors(tensor(1, 2, 3), 0 * tensor(1, 2, 3)), ValueError, "not all zero"),
        (lambda: r_squared(tensor(1, 3), tensor(1, 4)), ValueError, "losses of one shape"),
        (lambda: r_squared(tensor(1, 3), 0 * tensor(1, 3)), ValueError, "not all equal"),
    ],
)
def test_wrong_networks_and_shapes(call, error, message):
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
