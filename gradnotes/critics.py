r"""Modules that predict, from a hidden layer of a classifier, the loss above it or its gradient.

A :class:`Classifier` is split after one of its layers. A :class:`GradientModule` sees the hidden
values h below the split and the label, and predicts the gradient in h of the loss, which the layers
above would send back: as the gradient of a predicted loss (a critic), or directly.
:func:`gradient_errors` and :func:`r_squared` compare the predictions with what is exact.
:mod:`gradnotes.synthetic` trains such modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from gradnotes.arguments import check_whole, make_generator

KINDS = ("critic", "sobolev", "direct", "gradients")
HIDDEN, SCALE = 64, 2.0


# Layers


class _Layers(torch.nn.Module):
    """Dense layers of S networks, each of which has points of its own: (S, n, in) to (S, n, out).

    The networks are drawn one after the other, so that more of them do not change the first.
    """

    def __init__(self, widths, scale, generators):
        super().__init__()
        drawn = [
            [g.standard_normal(shape) / shape[0] ** 0.5 for shape in pairwise(widths)]
            for g in generators
        ]
        weights = [torch.from_numpy(np.stack(layer)) for layer in zip(*drawn, strict=True)]
        weights[0] *= scale
        self.weights = torch.nn.ParameterList(weights)
        self.biases = torch.nn.ParameterList(w.new_zeros(len(w), 1, w.shape[2]) for w in weights)

    def sums(self, x, layer):
        """Return what a layer feeds to its activation."""
        return torch.baddbmm(self.biases[layer], x, self.weights[layer])


class Classifier(torch.nn.Module):
    r"""A tanh network with the cross-entropy loss, split after one of its layers; or S of them.

    .. math:: h = \tanh(\dots \tanh(x W_1 + b_1) \dots), \qquad
              L(h, y) = -\ln \operatorname{softmax}(\text{upper}(h))_y

    The lower part gives the hidden values h, the upper part the loss. The networks are independent:
    each has its own weights and, where points have a first axis of length S, its own points.

    Args:
        widths: Inputs, hidden widths, and the number of classes, such as (64, 32, 32, 10).
        split: After which hidden layer the network is split: 1 to the number of hidden layers.
        members: The number S of networks.
        rng: An integer seed or a generator, required; each network draws from a child of it.

    Raises:
        TypeError: ``rng`` is missing.
        ValueError: A width makes no sense, or there is no hidden layer to split after.

    Source: Rumelhart, Hinton and Williams (1986).

    Example:
        >>> classifier = Classifier((5, 4, 3), split=1, members=2, rng=0)
        >>> hidden = classifier.lower(torch.ones(7, 5).double())
        >>> hidden.shape, classifier.upper(hidden).shape
        (torch.Size([2, 7, 4]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        split: int,
        members: int = 1,
        rng: int | np.random.Generator | Sequence[np.random.Generator] = None,
    ):
        super().__init__()
        generators = member_generators(rng, members, "Classifier")
        for width in widths:
            check_whole("a width", width, 1)
        last = len(widths) - 2
        whole = isinstance(split, int | np.integer) and not isinstance(split, bool)
        if not whole or not 1 <= split <= last:
            raise ValueError(
                f"expected a split after one of the hidden layers, 1 to {last}, of a network with "
                f"the widths {tuple(widths)}, and got {split!r}; try split=1"
            )
        self.widths, self.split, self.members = tuple(widths), int(split), members
        self.layers = _Layers(self.widths, 1.0, generators)

    @property
    def classes(self) -> int:
        r"""The number of classes."""
        return self.widths[-1]

    @property
    def hidden(self) -> int:
        r"""The number of hidden values at the split."""
        return self.widths[self.split]

    def lower(self, points: torch.Tensor) -> torch.Tensor:
        r"""Return the hidden values (S, n, w) at points (n, d) or (S, n, d)."""
        x = self._checked(points, self.widths[0], "points")
        for layer in range(self.split):
            x = torch.tanh(self.layers.sums(x, layer))
        return x

    def upper(self, hidden: torch.Tensor) -> torch.Tensor:
        r"""Return the logits (S, n, classes) at hidden values (n, w) or (S, n, w)."""
        x = self._checked(hidden, self.hidden, "hidden values")
        for layer in range(self.split, len(self.widths) - 2):
            x = torch.tanh(self.layers.sums(x, layer))
        return self.layers.sums(x, len(self.widths) - 2)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        r"""Return the logits (S, n, classes) at points (n, d) or (S, n, d)."""
        return self.upper(self.lower(points))

    def losses(self, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        r"""Return the loss of each sample, (S, n), at hidden values, with labels (n,) or (S, n)."""
        logits = self.upper(hidden)
        labels = labels.expand(logits.shape[:2])
        picked = torch.gather(logits, 2, labels.unsqueeze(-1))[..., 0]
        return torch.logsumexp(logits, -1) - picked

    def loss_and_gradient(self, hidden: torch.Tensor, labels: torch.Tensor):
        r"""Return the loss of each sample, (S, n), and its gradient in the hidden values.

        .. math:: L(h_i, y_i), \qquad g_i = \nabla_h L(h_i, y_i)

        Args:
            hidden: h, (S, n, w), as :meth:`lower` gives it.
            labels: y, (n,) or (S, n), whole numbers from 0.

        Returns:
            Losses (S, n) and gradients (S, n, w), cut off from all graphs.

        Source: Rumelhart, Hinton and Williams (1986).

        Example:
            >>> classifier = Classifier((5, 4, 3), split=1, rng=0)
            >>> hidden, step = torch.zeros(1, 1, 4).double(), torch.eye(4).double() * 1e-6
            >>> label = torch.tensor([2])
            >>> loss, gradient = classifier.loss_and_gradient(hidden, label)
            >>> ahead, _ = classifier.loss_and_gradient(hidden + step, label)
            >>> torch.allclose((ahead - loss) / 1e-6, gradient[:, 0], atol=1e-5)
            True
        """
        hidden = self._checked(hidden, self.hidden, "hidden values").detach().requires_grad_(True)
        with torch.enable_grad():
            losses = self.losses(hidden, labels)
            (gradients,) = torch.autograd.grad(losses.sum(), hidden)
        return losses.detach(), gradients

    def pull_back(self, points: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        r"""Return what gradients in h are as a gradient in the weights of the lower part.

        .. math:: \frac1n \sum_i \Bigl(\frac{\partial h_i}{\partial \theta}\Bigr)^T g_i

        Args:
            points: x, (n, d) or (S, n, d).
            gradients: g, (S, n, w), exact or synthetic.

        Returns:
            Shape (S, P), with the P weights and biases of the lower part, layer by layer.

        Raises:
            ValueError: The gradients have a wrong shape.

        Source: Rumelhart, Hinton and Williams (1986).

        Example:
            >>> classifier = Classifier((5, 4, 3), split=1, rng=0)
            >>> classifier.pull_back(torch.ones(7, 5).double(), torch.ones(1, 7, 4).double()).shape
            torch.Size([1, 24])
        """
        with torch.enable_grad():
            hidden = self.lower(points)
            _check_gradients(gradients, hidden)
            found = torch.autograd.grad(hidden, self._lower_parameters(), gradients.detach())
        return torch.cat([part.flatten(1) for part in found], 1) / hidden.shape[1]

    def accuracy(self, points: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
        r"""Return the share of right labels of each network, (S,)."""
        with torch.no_grad():
            right = self(points).argmax(-1) == labels
        return right.double().mean(1).numpy()

    def _lower_parameters(self):
        pairs = zip(self.layers.weights, self.layers.biases, strict=True)
        return [parameter for pair in list(pairs)[: self.split] for parameter in pair]

    def _checked(self, points, width, name):
        return stacked_points(points, width, self.members, name)


def member_generators(
    rng: int | np.random.Generator | list[np.random.Generator], members: int, caller: str
) -> list[np.random.Generator]:
    r"""Return a generator for each of S networks: children of ``rng``, or a list as it is.

    Raises:
        TypeError: ``rng`` is missing, or is something else.
        ValueError: The number of networks is below 1, or the seed is negative.

    Source: NumPy's ``Generator.spawn``.

    Example:
        >>> first, second = member_generators(0, 2, "this call")
        >>> first.random() == second.random()
        False
    """
    check_whole("members", members, 1)
    if isinstance(rng, list) and len(rng) == members:
        return rng
    return make_generator(rng, caller).spawn(members)


def stacked_points(points: torch.Tensor, width: int, members: int, name: str) -> torch.Tensor:
    r"""Return points (n, width) or (S, n, width) as (S, n, width), once they are sound.

    Raises:
        TypeError: They are not a tensor in float64.
        ValueError: They have another shape.

    Source: the shapes of :class:`Classifier`.

    Example:
        >>> stacked_points(torch.ones(7, 5).double(), 5, 2, "points").shape
        torch.Size([2, 7, 5])
    """
    if not isinstance(points, torch.Tensor) or points.dtype != torch.float64:
        kind = getattr(points, "dtype", type(points).__name__)
        raise TypeError(f"expected {name} in torch.float64, and got {kind}; try .double()")
    shape = tuple(points.shape)
    stacked = len(shape) == 3 and shape[0] == members
    if not (len(shape) == 2 or stacked) or shape[-1] != width:
        raise ValueError(
            f"expected {name} of shape (n, {width}) or ({members}, n, {width}), and got {shape}; "
            "try a row for each sample"
        )
    return points if stacked else points.expand(members, *shape)


def _check_gradients(gradients, hidden):
    if gradients.shape != hidden.shape:
        raise ValueError(
            f"expected gradients of shape {tuple(hidden.shape)}, one for each hidden value, and "
            f"got {tuple(gradients.shape)}; try those of Classifier.loss_and_gradient"
        )


# Modules


class GradientModule(torch.nn.Module):
    r"""A network that sees hidden values h and a label y, and predicts the gradient of the loss.

    With :math:`z = (h, e_y) W + b`, where :math:`e_y` has a one for the label and zeros else, it is

    .. math:: v = \operatorname{softplus}(z) \cdot a + c, \qquad
              \hat g = \nabla_h v = W_h (a \odot \operatorname{softplus}'(z))

    with one output v for all kinds but "direct", which has w outputs that are :math:`\hat g`. The
    kinds differ in what is fitted, each part relative to the spread of what it fits:

    ===========  ===================================================  =====================
    kind         loss                                                 numbers from a sample
    ===========  ===================================================  =====================
    critic       :math:`|v - L|^2`                                    1
    sobolev      :math:`|v - L|^2 + |\hat g - g|^2`                   1 + w, or 1 + q
    direct       :math:`|\hat g - g|^2`, a network for the gradient   w
    gradients    :math:`|\hat g - g|^2`, the gradient of a value      w
    ===========  ===================================================  =====================

    Args:
        kind: "critic", "sobolev", "direct" or "gradients".
        inputs: The number w of hidden values.
        classes: The number of classes.
        hidden: The number of softplus units.
        projections: None, or q: at each step "sobolev" fits the gradient along q random directions
            at right angles only.
        members: The number S of modules.
        rng: An integer seed or a generator, required.

    Raises:
        TypeError: ``rng`` is missing.
        ValueError: There is no such kind, a number makes no sense, or there are more projections
            than dimensions.

    Source: Jaderberg et al. (2017) for "direct", Czarnecki et al. (2017) for "critic" and
    "sobolev", Miyato et al. (2017) for "gradients"; all as recalled.

    Example:
        >>> module = GradientModule("critic", 4, 3, rng=0)
        >>> value, gradient = module(torch.zeros(7, 4).double(), torch.arange(7) % 3)
        >>> value.shape, gradient.shape, module.scalars
        (torch.Size([1, 7]), torch.Size([1, 7, 4]), 1)
    """

    def __init__(
        self,
        kind: str,
        inputs: int,
        classes: int,
        *,
        hidden: int = HIDDEN,
        projections: int | None = None,
        members: int = 1,
        rng: int | np.random.Generator | Sequence[np.random.Generator] = None,
    ):
        super().__init__()
        generators = member_generators(rng, members, "GradientModule")
        if kind not in KINDS:
            raise ValueError(f"expected a kind among {', '.join(KINDS)}, and got {kind!r}")
        for name, number in (("inputs", inputs), ("classes", classes), ("hidden", hidden)):
            check_whole(name, number, 1)
        _check_projections(projections, kind, inputs)
        self.kind, self.inputs, self.classes = kind, inputs, classes
        self.projections, self.members = projections, members
        outputs = inputs if kind == "direct" else 1
        self.layers = _Layers((inputs + classes, hidden, outputs), SCALE, generators)

    @property
    def scalars(self) -> int:
        r"""How many numbers of a sample the module is trained on."""
        slopes = self.inputs if self.projections is None else self.projections
        return {"critic": 1, "sobolev": 1 + slopes}.get(self.kind, slopes)

    def forward(self, hidden: torch.Tensor, labels: torch.Tensor):
        r"""Return the predicted losses and gradients, :math:`v` and :math:`\hat g`.

        Args:
            hidden: h, (n, w) or (S, n, w).
            labels: y, (n,) or (S, n).

        Returns:
            Values (S, n), or None from "direct", and gradients (S, n, w).
        """
        sums = self._sums(hidden, labels)
        outputs = self._outputs(sums)
        return (None, outputs) if self.kind == "direct" else (outputs[..., 0], self._slope(sums))

    def loss(
        self,
        hidden: torch.Tensor,
        labels: torch.Tensor,
        losses: torch.Tensor,
        gradients: torch.Tensor,
        *,
        directions: torch.Tensor | None = None,
        scales: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        r"""Return what the module minimises, (S,): mean squared errors over spreads.

        .. math:: \frac{\overline{(v - L)^2}}{\operatorname{var} L}, \qquad
                  \frac{\overline{|\hat g - g|^2}}{\overline{|g|^2}}

        for "sobolev" their sum. Along q of w directions U the second numerator is
        :math:`\frac wq \overline{|U^T(\hat g - g)|^2}`, which has the same mean.

        Args:
            hidden: h, (n, w) or (S, n, w).
            labels: y, (n,) or (S, n).
            losses: L, (S, n).
            gradients: g, (S, n, w).
            directions: U, (S, w, q), for "sobolev" with projections.
            scales: The variance of L and the mean of :math:`|g|^2`, each (S,); None takes them
                from the samples.

        Raises:
            ValueError: The losses or the gradients have a wrong shape.
        """
        hidden = stacked_points(hidden, self.inputs, self.members, "hidden values")
        _check_gradients(gradients, hidden)
        if losses.shape != hidden.shape[:2]:
            raise ValueError(
                f"expected losses of shape {tuple(hidden.shape[:2])}, one for each sample, and got "
                f"{tuple(losses.shape)}"
            )
        variance, square = scales_of(losses, gradients) if scales is None else scales
        sums = self._sums(hidden, labels)
        outputs = self._outputs(sums)
        total = 0.0
        if self.kind in ("critic", "sobolev"):
            total = ((outputs[..., 0] - losses) ** 2).mean(1) / variance
        if self.kind == "critic":
            return total
        predicted = outputs if self.kind == "direct" else self._slope(sums)
        errors, factor = predicted - gradients, 1.0
        if directions is not None:
            errors, factor = errors @ directions, self.inputs / directions.shape[-1]
        return total + factor * (errors**2).sum(-1).mean(1) / square

    def _sums(self, hidden, labels):
        hidden = stacked_points(hidden, self.inputs, self.members, "hidden values")
        codes = torch.nn.functional.one_hot(labels, self.classes).double()
        return self.layers.sums(torch.cat([hidden, codes.expand(*hidden.shape[:2], -1)], -1), 0)

    def _outputs(self, sums):
        return self.layers.sums(torch.nn.functional.softplus(sums), 1)

    def _slope(self, sums):
        weights, outer = self.layers.weights
        return (torch.sigmoid(sums) * outer.mT) @ weights[:, : self.inputs].mT


def _check_projections(projections, kind, inputs):
    if projections is None:
        return
    check_whole("projections", projections, 1)
    if projections > inputs or kind != "sobolev":
        raise ValueError(
            f'expected at most {inputs} projections, one for each dimension, of "sobolev", and got '
            f"{projections} of {kind!r}; try None for the whole gradient"
        )


def scales_of(losses: torch.Tensor, gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Return the variance of losses (S, n) and the mean square of gradients (S, n, w), each (S,).

    Source: the loss of :class:`GradientModule`.

    Example:
        >>> scales_of(torch.tensor([[1.0, 3.0]]), torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
        (tensor([1.]), tensor([12.5000]))
    """
    tiny = torch.finfo(losses.dtype).tiny
    variance = losses.var(1, correction=0).clamp(min=tiny)
    return variance, (gradients**2).sum(-1).mean(1).clamp(min=tiny)


# Measures


@dataclass(frozen=True, kw_only=True)
class GradientErrors:
    r"""How far synthetic gradients :math:`\hat g` are from exact ones g, for each of S networks.

    All are in the root mean square over samples: with
    :math:`\langle a, b \rangle = \overline{a_i \cdot b_i}` and the norm that belongs to it.

    Attributes:
        relative_error: :math:`\|\hat g - g\| / \|g\|`, (S,); the zero vector has 1.
        cosine: :math:`\langle g, \hat g \rangle / (\|g\| \|\hat g\|)`, (S,); 0 if
            :math:`\hat g = 0`.
        ratio: :math:`\|\hat g\| / \|g\|`, (S,).
        sample_cosine: The mean over samples of their own cosines, (S,).
    """

    relative_error: np.ndarray
    cosine: np.ndarray
    ratio: np.ndarray
    sample_cosine: np.ndarray

    @property
    def rescaled_error(self) -> np.ndarray:
        r"""The least relative error of all multiples, (S,), :math:`\sqrt{1 - \cos^2}` or 1."""
        return np.sqrt(1.0 - np.maximum(self.cosine, 0.0) ** 2)


def gradient_errors(predicted: torch.Tensor, exact: torch.Tensor) -> GradientErrors:
    r"""Compare synthetic gradients (S, n, w) with exact ones.

    Args:
        predicted: :math:`\hat g`, (S, n, w).
        exact: g, (S, n, w), not all zero for any network.

    Raises:
        ValueError: The shapes differ, or the exact gradients of a network are all zero.

    Source: the book's page on critics.

    Example:
        Half of the exact gradient is in the right direction, and off by a half:

        >>> exact = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
        >>> errors = gradient_errors(exact / 2, exact)
        >>> errors.cosine.round(6).item(), errors.relative_error.round(6).item()
        (1.0, 0.5)
    """
    if predicted.shape != exact.shape or exact.ndim != 3:
        raise ValueError(
            f"expected gradients of one shape (S, n, w), and got {tuple(predicted.shape)} and "
            f"{tuple(exact.shape)}"
        )
    g, other = exact.detach().numpy(), predicted.detach().numpy()
    size, length = (np.sqrt((a**2).sum((1, 2))) for a in (g, other))
    if not (size > 0).all():
        raise ValueError("expected exact gradients that are not all zero; try other samples")
    inner = (g * other).sum((1, 2))
    lengths = np.linalg.norm(g, axis=2) * np.linalg.norm(other, axis=2)
    own = np.divide((g * other).sum(2), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return GradientErrors(
        relative_error=np.sqrt(((g - other) ** 2).sum((1, 2))) / size,
        cosine=np.divide(inner, size * length, out=np.zeros_like(inner), where=length > 0),
        ratio=length / size,
        sample_cosine=own.mean(1),
    )


def r_squared(predicted: torch.Tensor, exact: torch.Tensor) -> np.ndarray:
    r"""Return the coefficient of determination of predicted losses, (S,).

    .. math:: R^2 = 1 - \overline{(v - L)^2} / \operatorname{var} L

    Args:
        predicted: v, (S, n).
        exact: L, (S, n), not all equal for any network.

    Raises:
        ValueError: The shapes differ, or the losses of a network are all equal.

    Source: the definition.

    Example:
        The mean of the losses explains nothing:

        >>> losses = torch.tensor([[1.0, 2.0, 6.0]])
        >>> r_squared(torch.full((1, 3), 3.0), losses).item(), r_squared(losses, losses).item()
        (0.0, 1.0)
    """
    if predicted.shape != exact.shape or exact.ndim != 2:
        raise ValueError(
            f"expected losses of one shape (S, n), and got {tuple(predicted.shape)} and "
            f"{tuple(exact.shape)}"
        )
    v, losses = predicted.detach().numpy(), exact.detach().numpy()
    variance = losses.var(axis=1)
    if not (variance > 0).all():
        raise ValueError("expected losses that are not all equal; try more samples")
    return 1.0 - ((v - losses) ** 2).mean(axis=1) / variance
