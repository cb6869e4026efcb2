import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from gradnotes.critics import (
    KINDS,
    Classifier,
    GradientModule,
    gradient_errors,
    r_squared,
    scales_of,
)


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
        (lambda: gradient_errors(tensor(1, 2, 3), tensor(1, 2, 4)), ValueError, "of one shape"),
        (lambda: gradient_errors(tensor(1, 2, 3), 0 * tensor(1, 2, 3)), ValueError, "not all zero"),
        (lambda: r_squared(tensor(1, 3), tensor(1, 4)), ValueError, "losses of one shape"),
        (lambda: r_squared(tensor(1, 3), 0 * tensor(1, 3)), ValueError, "not all equal"),
    ],
)
def test_wrong_networks_and_shapes(call, error, message):
    with pytest.raises(error, match=message):
        call()
