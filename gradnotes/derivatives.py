r"""Exact derivatives of perceptrons, by forward and reverse passes written by hand.

A perceptron with weights :math:`W_l` and biases :math:`b_l` maps :math:`h_0 = x` to

.. math:: z_l = h_{l-1} W_l + b_l, \quad h_l = \sigma(z_l), \quad l = 1, \dots, L-1, \qquad
          f(x) = h_{L-1} W_L + b_L .

With :math:`g_l = \partial f/\partial h_l` and :math:`\delta_l = \partial f/\partial z_l`, the
reverse pass starts at :math:`g_{L-1} = W_L` and goes on with
:math:`\delta_l = g_l\,\sigma'(z_l)`, :math:`g_{l-1} = \delta_l W_l^T`; it ends at
:math:`g_0 = \nabla f(x)`. A dot marks the derivative along a direction in the inputs; each of the
two passes has such a tangent. Everything here is made of these four passes.

Rows are taken some at a time, a thousand if a layer has 64 units, so that a pass stays in the
processor's cache, and no graph is kept. Everything is for S networks of one shape at the same
inputs. :class:`gradnotes.networks.MLP` has these functions as methods, for points in their own
units; here inputs are scaled already, and nothing is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

# Entries of the arrays of a pass: half a megabyte, and a few of these fit into a usual cache.
ENTRIES = 2**16


class Sine(torch.nn.Module):
    r"""The sine of each entry, as a layer: :math:`x \mapsto \sin x`."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        r"""Return the sine of each entry of ``inputs``."""
        return torch.sin(inputs)


@dataclass(frozen=True)
class Activation:
    r"""An activation :math:`\sigma`, as a layer and with its first two derivatives.

    Attributes:
        layer: The activation as a :class:`torch.nn.Module`.
        value_and_slope: Maps z to :math:`\sigma(z)` and :math:`\sigma'(z)`; it may change z.
        bend: Maps g, :math:`\delta = g\,\sigma'(z)`, :math:`\sigma(z)` and :math:`\sigma'(z)` to
            :math:`g\,\sigma''(z)`.
    """

    layer: torch.nn.Module
    value_and_slope: Callable
    bend: Callable


def _times_plus(left, right, factor, constant=0.0):
    """Return factor * left * right + constant, in one pass over the memory."""
    return torch.addcmul(left.new_full((), constant), left, right, value=factor)


def _tanh(z):
    # With e = exp(2 z) - 1 this is e / (e + 2), which takes half the time of torch's own tanh and
    # is as accurate, near 0 as well. Beyond 20 it is 1 to the last bit.
    growth = z.clamp_(max=20.0).mul_(2.0).expm1_()
    value = growth.div_(growth + 2.0)
    return value, _times_plus(value, value, -1.0, 1.0)


def _relu(z):
    value = z.relu_()
    return value, (value > 0).to(value.dtype)


# Torch's softplus becomes the identity above a threshold, by default 20, where it is still 2e-9
# away from it: a step in float64. At 40 the difference is below the rounding error.
SOFTPLUS = torch.nn.Softplus(threshold=40.0)
ACTIVATIONS = {
    "tanh": Activation(
        torch.nn.Tanh(),
        _tanh,
        lambda grad, delta, value, slope: _times_plus(value, delta, -2.0),
    ),
    "softplus": Activation(
        SOFTPLUS,
        lambda z: (SOFTPLUS(z), torch.sigmoid(z)),
        lambda grad, delta, value, slope: torch.addcmul(delta, delta, slope, value=-1.0),
    ),
    "sin": Activation(
        Sine(),
        lambda z: (torch.sin(z), z.cos_()),
        lambda grad, delta, value, slope: _times_plus(grad, value, -1.0),
    ),
    "relu": Activation(
        torch.nn.ReLU(), _relu, lambda grad, delta, value, slope: torch.zeros_like(delta)
    ),
}


@dataclass(frozen=True)
class Layers:
    """The weights (S, in, out) and biases (S, 1, out) of the layers of S networks."""

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]
    activation: Activation

    @classmethod
    def from_flat(cls, flat: torch.Tensor, widths: Sequence[int], activation: Activation) -> Layers:
        """Return views of weights (S, P): the matrices, each row by row, then the biases."""
        shapes = list(pairwise(widths))
        sizes = [rows * columns for rows, columns in shapes] + list(widths[1:])
        pieces, count = flat.split(sizes, -1), len(shapes)
        weights = (w.unflatten(-1, shape) for w, shape in zip(pieces[:count], shapes, strict=True))
        return cls(tuple(weights), tuple(b.unsqueeze(-2) for b in pieces[count:]), activation)

    def members(self, group: slice) -> Layers:
        """Return the layers of some of the networks."""
        weights = tuple(weight[group] for weight in self.weights)
        return Layers(weights, tuple(bias[group] for bias in self.biases), self.activation)


@torch.no_grad()
def values(layers: Layers, inputs: torch.Tensor) -> torch.Tensor:
    """Return f at inputs (n, d): shape (S, n)."""

    def on_rows(part, rows, group):
        return (_forward(part, inputs[rows])[0],)

    return _in_chunks(on_rows, layers, len(inputs))[0]


@torch.no_grad()
def value_and_gradient(layers: Layers, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return f and its gradient: shapes (S, n) and (S, n, d)."""

    def on_rows(part, rows, group):
        value, _, slopes = _forward(part, inputs[rows])
        return value, _reverse(part, slopes)[0][0]

    return _in_chunks(on_rows, layers, len(inputs))


@torch.no_grad()
def value_gradient_and_hessian(layers: Layers, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    r"""Return f, its gradient and its Hessian: shapes (S, n), (S, n, d) and (S, n, d, d).

    The Hessian is :math:`\sum_l J_l^T \operatorname{diag}(g_l\,\sigma''(z_l))\,J_l` with
    :math:`J_l = \partial z_l/\partial x`, which needs no reverse tangent.
    """

    def on_rows(part, rows, group):
        value, gradient, slopes, (first, *bends) = _curved(part, inputs[rows])
        # In the first layer J is the same for all rows, and so are the products of two columns.
        weight = part.weights[0].mT
        pairs = weight.unsqueeze(-1) * weight.unsqueeze(-2)
        hessian = (first @ pairs.flatten(2)).unflatten(2, pairs.shape[2:])
        of_z = part.weights[0].unsqueeze(1)  # J, as (S, n or 1, d, width)
        for weight, slope, bend in zip(part.weights[1:-1], slopes, bends, strict=False):
            of_z = _times(of_z * slope.unsqueeze(2), weight)
            hessian += (of_z * bend.unsqueeze(2)) @ of_z.mT
        return value, gradient, hessian

    return _in_chunks(on_rows, layers, len(inputs), tangents=inputs.shape[1])


@torch.no_grad()
def hessian_vector_product(
    layers: Layers, inputs: torch.Tensor, vectors: torch.Tensor
) -> torch.Tensor:
    """Return the Hessian times vectors (S or 1, n, d): shape (S, n, d)."""

    def on_rows(part, rows, group):
        _, _, slopes, bends = _curved(part, inputs[rows])
        start = _pick(vectors.unsqueeze(1), rows, group)
        _, of_z = _tangents(part, slopes, start, last=False)
        changes = _reverse_tangents(part, slopes, bends, of_z)
        return (_times(changes[0], part.weights[0].mT)[:, 0],)

    return _in_chunks(on_rows, layers, len(inputs))[0]


@torch.no_grad()
def weight_jacobian(
    layers: Layers, inputs: torch.Tensor, directions: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """Return the Jacobian in the weights of f, (S, n, P), and of its slopes, (S, n, q, P).

    The slopes are those along ``directions``, of shape (S or 1, q, n or 1, d). Without directions
    only the first is returned.
    """

    def on_rows(part, rows, group):
        factors = _factors(part, inputs[rows], _pick(directions, rows, group))
        hiddens, deltas = factors[:2]
        of_value = torch.cat(_outer(hiddens, deltas) + deltas, -1)
        if directions is None:
            return (of_value,)
        tangents, delta_changes = factors[2:]
        hiddens, deltas = ([a.unsqueeze(1) for a in factor] for factor in (hiddens, deltas))
        pairs = zip(_outer(tangents, deltas), _outer(hiddens, delta_changes), strict=True)
        of_slope = torch.cat([a + b for a, b in pairs] + delta_changes, -1)
        return of_value, of_slope.transpose(1, 2)

    return _in_chunks(on_rows, layers, len(inputs))


@torch.no_grad()
def weight_gram(
    layers: Layers, inputs: torch.Tensor, directions: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Return :math:`J J^T` for the Jacobian J of :func:`weight_jacobian`, without forming J.

    The rows of J are those of the values, then those of the slopes along the first direction, and
    so on: the result has shape (S, (1 + q) n, (1 + q) n). A row of a value is, layer by layer, the
    outer product of h and delta, so that two rows have the product

    .. math:: \sum_l (1 + h_l \cdot h_l')\,(\delta_{l+1} \cdot \delta_{l+1}') ;

    for rows of slopes each of the two factors is differentiated in turn.
    """
    hiddens, deltas, *changes = _factors(layers, inputs, directions)
    if directions is None:
        products = ((h @ h.mT, d @ d.mT) for h, d in zip(hiddens, deltas, strict=True))
        return sum((1.0 + left) * right for left, right in products)
    gram = 0.0
    for hidden, delta, tangent, delta_change in zip(hiddens, deltas, *changes, strict=True):
        left, right = _products(hidden, tangent), _products(delta, delta_change)
        left[:, 0, :, 0] += 1.0
        gram = gram + left * right[:, :1, :, :1]
        gram[:, 1:] += left[:, :1] * right[:, 1:, :, :1]
        gram[:, :, :, 1:] += left[:, :, :, :1] * right[:, :1, :, 1:]
        gram[:, 1:, :, 1:] += left[:, :1, :, :1] * right[:, 1:, :, 1:]
    return gram.flatten(3, 4).flatten(1, 2)


@torch.no_grad()
def weight_gradient(layers: Layers, inputs: torch.Tensor, cotangents: Callable) -> torch.Tensor:
    r"""Return the gradient in the weights, (S, P), of a loss of values and input gradients.

    ``cotangents(rows, group, values, gradients)`` gets f and its gradient at some rows and for
    some members, and returns the derivatives a of the loss in the values, of the same shape, and b
    in the gradients, or None if it has none. It is called in torch's inference mode. Since
    :math:`b \cdot \nabla f` is the slope of f along b, a single tangent is enough, whatever the
    number of inputs.
    """

    def on_rows(part, rows, group):
        value, hiddens, slopes = _forward(part, inputs[rows])
        grads, deltas = _reverse(part, slopes)
        a, b = cotangents(rows, group, value, grads[0])
        if b is None:
            changes = [a.unsqueeze(-1) * delta for delta in deltas]
            of_weights = [h.mT @ change for h, change in zip(hiddens, changes, strict=True)]
        else:
            tangents, of_z = _tangents(part, slopes, b.unsqueeze(1))
            bends = _bends(part, hiddens, slopes, grads, deltas)
            # Both passes are linear in what they start from, so that one carries a and b.
            changes = _reverse_tangents(part, slopes, bends, of_z, a[:, None, :, None])
            changes = [change[:, 0] for change in changes]
            quadruples = zip(hiddens, changes, tangents, deltas, strict=True)
            of_weights = [
                torch.baddbmm(t[:, 0].mT @ delta, h.mT.expand(len(change), -1, -1), change)
                for h, change, t, delta in quadruples
            ]
        of_biases = [change.sum(1) for change in changes]
        return torch.cat([w.flatten(1) for w in of_weights] + of_biases, -1)

    totals = []
    for group, chunks in _chunks(layers, len(inputs)):
        part = layers.members(group)
        with torch.inference_mode():
            totals.append(sum(on_rows(part, rows, group) for rows in chunks))
    return torch.cat(totals)


def _forward(layers, inputs):
    """Return the values (S, n), the h_l from h_0 on, and the slopes of the activation."""
    hiddens, slopes = [inputs[None]], []
    count = len(layers.weights[0])
    for weight, bias in zip(layers.weights[:-1], layers.biases[:-1], strict=True):
        z = torch.baddbmm(bias, hiddens[-1].expand(count, -1, -1), weight)
        value, slope = layers.activation.value_and_slope(z)
        hiddens.append(value)
        slopes.append(slope)
    return torch.baddbmm(layers.biases[-1], value, layers.weights[-1])[..., 0], hiddens, slopes


def _reverse(layers, slopes):
    """Return the g_l from g_0 on, and the delta_l from delta_1 on; the last delta is 1."""
    grads = [layers.weights[-1].mT]
    deltas = [torch.ones_like(slopes[-1][..., :1])]
    for weight, slope in zip(layers.weights[-2::-1], slopes[::-1], strict=True):
        deltas.append(grads[-1] * slope)
        grads.append(deltas[-1] @ weight.mT)
    return grads[::-1], deltas[::-1]


def _tangents(layers, slopes, start, last=True):
    """Return the changes of h_l, from h_0 on, and of z_l, along directions (S, q, n, d).

    Without ``last`` that of the last h is left out: only the weights behind it need it.
    """
    tangents, changes = [start], []
    for weight, slope in zip(layers.weights[:-1], slopes, strict=True):
        changes.append(_times(tangents[-1], weight))
        if last or len(changes) < len(slopes):
            tangents.append(changes[-1] * slope.unsqueeze(1))
    return tangents, changes


def _curved(layers, inputs):
    """Return the values, the gradient, the slopes of the activation, and the bends.

    What else the two passes make is free again then, and its memory, still in the cache, serves
    for what follows.
    """
    value, hiddens, slopes = _forward(layers, inputs)
    grads, deltas = _reverse(layers, slopes)
    return value, grads[0], slopes, _bends(layers, hiddens, slopes, grads, deltas)


def _bends(layers, hiddens, slopes, grads, deltas):
    r"""Return the :math:`g_l\,\sigma''(z_l)`: what turns a change of z into one of delta."""
    parts = zip(grads[1:], deltas[:-1], hiddens[1:], slopes, strict=True)
    return [layers.activation.bend(*each) for each in parts]


def _reverse_tangents(layers, slopes, bends, of_z, start=None):
    """Return the changes (S, q, n, width) of the delta_l from delta_1 on.

    They start from that of the last delta, (S, q, n, 1), which is 0 by default.
    """
    changes = []
    of_g = None if start is None else start * layers.weights[-1].mT.unsqueeze(1)
    for k in reversed(range(len(slopes))):
        change = bends[k].unsqueeze(1) * of_z[k]
        if of_g is not None:
            change.addcmul_(of_g, slopes[k].unsqueeze(1))
        changes.append(change)
        of_g = _times(change, layers.weights[k].mT) if k else None
    last = torch.zeros_like(changes[0][..., :1]) if start is None else start
    return [*changes[::-1], last]


def _factors(layers, inputs, directions):
    """Return the h_l, the delta_l, and their changes along directions, if there are any."""
    _, hiddens, slopes = _forward(layers, inputs)
    grads, deltas = _reverse(layers, slopes)
    if directions is None:
        return hiddens, deltas
    tangents, of_z = _tangents(layers, slopes, directions)
    bends = _bends(layers, hiddens, slopes, grads, deltas)
    return hiddens, deltas, tangents, _reverse_tangents(layers, slopes, bends, of_z)


def _outer(lefts, rights):
    """Return the outer products of the last axes, flattened."""
    pairs = zip(lefts, rights, strict=True)
    return [(a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2) for a, b in pairs]


def _products(rows, changes):
    """Return the dot products (S, 1 + q, n, 1 + q, n) of rows and their changes."""
    members, count = max(len(rows), len(changes)), rows.shape[1]
    stack = torch.cat(
        [
            rows.unsqueeze(1).expand(members, 1, -1, -1),
            changes.expand(members, -1, count, -1),
        ],
        1,
    )
    flat, shape = stack.flatten(1, 2), (stack.shape[1], count)
    return (flat @ flat.mT).unflatten(2, shape).unflatten(1, shape)


def _times(rows, weight):
    """Return rows (S or 1, q, n, in) times weights (S, in, out)."""
    flat = rows.flatten(1, 2).expand(len(weight), -1, -1)
    return (flat @ weight).unflatten(1, rows.shape[1:3])


def _pick(directions, rows, group):
    """Return the directions (S or 1, q, n or 1, d) of some rows and some members."""
    if directions is None:
        return None
    own_rows, own_members = directions.shape[2] > 1, len(directions) > 1
    return directions[group if own_members else slice(None), :, rows if own_rows else slice(None)]


def _chunks(layers, count, tangents=0):
    """Yield slices of members, and for each the slices of rows, as many as ``ENTRIES`` allows.

    An array with tangents counts half: a pass has two or three, and many without.
    """
    widest = max(weight.shape[-2] for weight in layers.weights)
    most = max(128, 2 * ENTRIES // (widest * (2 + tangents)))
    rows = [slice(i, i + most) for i in range(0, max(count, 1), most)]
    together = max(1, most // max(1, min(count, most)))
    for first in range(0, len(layers.weights[0]), together):
        yield slice(first, first + together), rows


def _in_chunks(operation, layers, count, tangents=0):
    """Return the results of an operation on all rows and members, put together."""
    by_group = []
    for group, chunks in _chunks(layers, count, tangents):
        part = layers.members(group)
        # This notes even less than no_grad. What is put together outside it is an ordinary tensor
        # again, which autograd takes.
        with torch.inference_mode():
            pieces = [operation(part, rows, group) for rows in chunks]
        by_group.append([torch.cat(piece, 1) for piece in zip(*pieces, strict=True)])
    return tuple(torch.cat(piece) for piece in zip(*by_group, strict=True))
