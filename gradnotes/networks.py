r"""Multilayer perceptrons in float64: one network, or an ensemble of the same shape.

An :class:`MLP` is a :class:`torch.nn.Module`. Next to its values it gives its gradient in the
inputs (:meth:`MLP.value_and_gradient`) and the Jacobian of both in the weights
(:meth:`MLP.weight_jacobian`), which is what a least-squares solver needs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch


class Sine(torch.nn.Module):
    r"""The sine of each entry, as a layer: :math:`x \mapsto \sin x`."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        r"""Return the sine of each entry of ``inputs``."""
        return torch.sin(inputs)


# Torch's softplus becomes the identity above a threshold, by default 20, where it is still 2e-9
# away from it: a step in float64. At 40 the difference is below the rounding error.
ACTIVATIONS = {
    "tanh": torch.nn.Tanh(),
    "softplus": torch.nn.Softplus(threshold=40.0),
    "sin": Sine(),
    "relu": torch.nn.ReLU(),
}


def make_generator(
    rng: int | np.random.Generator, caller: str = "this call"
) -> np.random.Generator:
    r"""Return the NumPy generator that ``rng`` stands for.

    Args:
        rng: An integer seed, 0 or more, or a generator, which is returned as it is.
        caller: The name that an error message uses.

    Raises:
        TypeError: ``rng`` is missing, or is neither an integer nor a generator.
        ValueError: The seed is negative.

    Source: NumPy's ``default_rng``.

    Example:
        >>> make_generator(5).integers(10) == make_generator(5).integers(10)
        np.True_
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        raise TypeError(
            f"{caller} needs rng=..., an integer seed or a numpy Generator, and got {rng!r}; "
            "try rng=0"
        )
    if rng < 0:
        raise ValueError(f"{caller} needs a seed of 0 or more, and got rng={rng}; try rng=0")
    return np.random.default_rng(rng)


class MLP(torch.nn.Module):
    r"""A multilayer perceptron with one output, or an ensemble of such networks.

    With :math:`x_0 = (x - c)/h`, where :math:`c` and :math:`h` are the centre and the half-width
    of ``domain`` (fixed numbers, not trained; 0 and 1 without a domain), the network is

    .. math:: x_l = \sigma(x_{l-1} W_l + b_l), \quad l = 1, \dots, L-1, \qquad
              f(x) = x_{L-1} W_L + b_L .

    The scaling is part of the function: gradients are with respect to :math:`x`, in its own units.

    The weights are drawn from ``rng``: entries of :math:`W_l` are normal with standard deviation
    :math:`1/\sqrt{\text{fan-in}}`, times ``scale`` for the first layer. The first bias is
    :math:`-z \cdot w`, with a point :math:`z` drawn uniformly from the cube :math:`[-1, 1]^d` for
    each unit, so that the lines where units switch are spread over the scaled domain. The other
    biases are 0. An ensemble draws layer by layer, so its members are not the networks that
    the same seed gives one at a time; :meth:`member` takes one out.

    Args:
        inputs: The number of inputs, :math:`d`.
        hidden: The widths of the hidden layers, such as ``(16,)`` or ``(32, 32)``.
        activation: "tanh", "softplus", "sin" or "relu" (whose derivative at 0 is taken as 0).
        members: None for one network, or the number :math:`S` of networks in an ensemble.
        scale: The factor on the first layer's weights; a larger one gives a wigglier function.
            With "sin" and "softplus" a close fit may need 4 to 8.
        domain: None, or one pair (low, high) for each input, in the units of the input.
        rng: An integer seed or a :class:`numpy.random.Generator`; required.

    Raises:
        TypeError: ``rng`` is missing, or a size is not an integer.
        ValueError: A size, the activation, the scale or the domain makes no sense.

    Source: Rumelhart, Hinton and Williams (1986).

    Example:
        A network on a domain that is not in the book:

        >>> model = MLP(2, (5,), domain=[(0, 4), (-1, 1)], rng=3)
        >>> values, gradients = model.value_and_gradient(torch.ones(7, 2, dtype=torch.float64))
        >>> values.shape, gradients.shape, model.size
        (torch.Size([7]), torch.Size([7, 2]), 21)
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        *,
        activation: str = "tanh",
        members: int | None = None,
        scale: float = 2.0,
        domain: Sequence[tuple[float, float]] | None = None,
        rng: int | np.random.Generator = None,
    ):
        super().__init__()
        generator = make_generator(rng, "MLP")
        widths = _checked_sizes(inputs, hidden, members)
        if activation not in ACTIVATIONS:
            names = ", ".join(ACTIVATIONS)
            raise ValueError(f"expected an activation among {names}, and got {activation!r}")
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"expected a finite scale above 0, and got {scale}; try scale=2.0")
        self.inputs, self.hidden = widths[0], widths[1:-1]
        self.activation, self.members = activation, members
        centre, half_width = _checked_domain(domain, inputs)
        self.register_buffer("centre", torch.from_numpy(centre))
        self.register_buffer("half_width", torch.from_numpy(half_width))
        weights, biases = _draw(widths, members, scale, generator)
        self.weights = torch.nn.ParameterList(torch.from_numpy(w) for w in weights)
        self.biases = torch.nn.ParameterList(torch.from_numpy(b) for b in biases)

    @property
    def size(self) -> int:
        r"""The number :math:`P` of weights and biases of one network (of one member)."""
        return sum(parameter.numel() for parameter in self.parameters()) // (self.members or 1)

    def extra_repr(self) -> str:
        r"""Return what ``print`` shows of the network."""
        return f"{self.inputs}, {self.hidden}, {self.activation!r}, members={self.members}"

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        r"""Return the values at points of shape (n, d): shape (n,), or (S, n) for an ensemble.

        Args:
            points: A tensor of shape (n, d), in the dtype of the weights (float64).

        Raises:
            TypeError: The points are no tensor, or of another dtype than the weights.
            ValueError: The shape is not (n, d).
        """
        self._check(points)
        return self._evaluate(self.weights, self.biases, points)

    def value_and_gradient(self, points: torch.Tensor, *, create_graph: bool = False):
        r"""Return the values and the gradients in the inputs, :math:`f(x)` and :math:`\nabla f(x)`.

        The ``.grad`` of the parameters is left alone.

        Args:
            points: As for :meth:`forward`, which raises the same errors.
            create_graph: If true, a graph is kept, so that a loss of both results can be
                differentiated in the weights.

        Returns:
            Values (n,) and gradients (n, d), in units of the value over units of the input; for
            an ensemble (S, n) and (S, n, d).
        """
        self._check(points)
        # Each member gets its own copy of the points: a shared one would sum their gradients.
        shape = points.shape if self.members is None else (self.members, *points.shape)
        inputs = points.detach().expand(shape).clone().requires_grad_(True)
        with torch.enable_grad():
            values = self._evaluate(self.weights, self.biases, inputs)
            (gradients,) = torch.autograd.grad(values.sum(), inputs, create_graph=create_graph)
        return (values if create_graph else values.detach()), gradients

    def weight_jacobian(self, points: torch.Tensor, *, gradients: bool = False):
        r"""Return the Jacobian of the values in the weights, :math:`\partial f(x_i)/\partial w_p`.

        Args:
            points: As for :meth:`forward`, which raises the same errors.
            gradients: If true, return as well the Jacobian of the input gradients,
                :math:`\partial^2 f(x_i)/\partial x_k \partial w_p`.

        Returns:
            A tensor (n, P), the weights flattened as in :meth:`flat_weights`; with ``gradients`` a
            pair (n, P) and (n, d, P). For an ensemble each has a first axis more, of length S.

        Example:
            The derivative in the last bias, that of the output, is 1:

            >>> jacobian = MLP(1, (4,), rng=0).weight_jacobian(torch.ones(3, 1).double())
            >>> jacobian.shape, jacobian[:, -1].tolist()
            (torch.Size([3, 13]), [1.0, 1.0, 1.0])
        """
        self._check(points)
        in_one_network = torch.func.vmap(torch.func.jacrev(self.as_function(gradients)), (None, 0))
        if self.members is None:
            jacobian = in_one_network(self.flat_weights(), points)
        else:
            jacobian = torch.func.vmap(in_one_network, (0, None))(self.flat_weights(), points)
        return (jacobian[..., 0, :], jacobian[..., 1:, :]) if gradients else jacobian[..., 0, :]

    def as_function(self, gradients: bool = False):
        r"""Return one network as a function of its flattened weights and of one point.

        The function maps weights (P,) and a point (d,) to a tensor that holds the value, and with
        ``gradients`` the d entries of the input gradient behind it. It suits :mod:`torch.func`.
        """

        def value(flat, point):
            weights, biases = self._unflatten(flat)
            return self._evaluate(weights, biases, point[None])[0]

        def value_and_gradient(flat, point):
            gradient, at_point = torch.func.grad_and_value(value, argnums=1)(flat, point)
            return torch.cat([at_point[None], gradient])

        return value_and_gradient if gradients else lambda flat, point: value(flat, point)[None]

    def flat_weights(self) -> torch.Tensor:
        r"""Return a copy of the weights as one vector (P,), or (S, P) for an ensemble.

        The order is that of ``parameters()``: the matrices :math:`W_1, W_2, \dots`, of shape
        (fan-in, fan-out) and read row by row, then the biases :math:`b_1, b_2, \dots`.
        """
        leading = () if self.members is None else (self.members,)
        return torch.cat([p.detach().reshape(*leading, -1) for p in self.parameters()], -1)

    def set_flat_weights(self, flat: torch.Tensor) -> None:
        r"""Set all weights from a tensor laid out as in :meth:`flat_weights`."""
        expected = tuple(self.flat_weights().shape)
        if not isinstance(flat, torch.Tensor):
            kind = type(flat).__name__
            raise TypeError(f"expected a tensor, and got {kind}; try torch.from_numpy(flat)")
        if tuple(flat.shape) != expected:
            raise ValueError(f"expected weights of shape {expected}, and got {tuple(flat.shape)}")
        if flat.dtype != self.centre.dtype:
            raise TypeError(f"expected weights in {self.centre.dtype}, and got {flat.dtype}")
        weights, biases = self._unflatten(flat.detach())
        with torch.no_grad():
            for parameter, entries in zip(self.parameters(), weights + biases, strict=True):
                parameter.copy_(entries)

    def member(self, index: int) -> MLP:
        r"""Return a copy of one member of an ensemble as a single network."""
        if isinstance(index, bool) or not isinstance(index, int | np.integer):
            raise TypeError(f"expected the index of a member as an integer, and got {index!r}")
        if self.members is None or not -self.members <= index < self.members:
            raise ValueError(
                f"expected an ensemble with a member {index}, and got members={self.members}"
            )
        single = copy.deepcopy(self)
        single.members = None
        single.weights = torch.nn.ParameterList(w.detach()[index].clone() for w in self.weights)
        single.biases = torch.nn.ParameterList(b.detach()[index].clone() for b in self.biases)
        return single

    def to_sequential(self) -> torch.nn.Sequential:
        r"""Return a :class:`torch.nn.Sequential` that gives the same values (n,) as one network."""
        if self.members is not None:
            raise ValueError("expected a single network, and got an ensemble; try .member(0)")
        weights, biases = list(self.weights), list(self.biases)
        weights[0] = weights[0] / self.half_width[:, None]
        biases[0] = biases[0] - self.centre @ weights[0]
        layers = []
        for weight, bias in zip(weights, biases, strict=True):
            # Linear's own initialisation would draw from torch's global generator.
            linear = torch.nn.utils.skip_init(torch.nn.Linear, *weight.shape, dtype=weight.dtype)
            with torch.no_grad():
                linear.weight.copy_(weight.T)
                linear.bias.copy_(bias)
            layers += [linear, ACTIVATIONS[self.activation]]
        return torch.nn.Sequential(*layers[:-1], torch.nn.Flatten(0))

    def _evaluate(self, weights, biases, points):
        """Return the values at (..., n, d), for weights (in, out) or (S, in, out)."""
        activate, weights, biases = ACTIVATIONS[self.activation], list(weights), list(biases)
        layer = (points - self.centre) / self.half_width
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            layer = activate(layer @ weight + bias.unsqueeze(-2))
        return (layer @ weights[-1] + biases[-1].unsqueeze(-2)).squeeze(-1)

    def _unflatten(self, flat):
        """Split (..., P) into the lists of weights (..., in, out) and of biases (..., out)."""
        shapes = list(pairwise((self.inputs, *self.hidden, 1)))
        sizes = [rows * columns for rows, columns in shapes] + [width for _, width in shapes]
        pieces, count = flat.split(sizes, -1), len(shapes)
        weights = [w.unflatten(-1, shape) for w, shape in zip(pieces[:count], shapes, strict=True)]
        return weights, list(pieces[count:])

    def _check(self, points):
        """Raise unless ``points`` is a tensor (n, d) in the dtype of the weights."""
        if not isinstance(points, torch.Tensor):
            kind = type(points).__name__
            raise TypeError(f"expected a tensor, and got {kind}; try torch.from_numpy(points)")
        if points.dtype != self.centre.dtype:
            raise TypeError(
                f"expected points in {self.centre.dtype}, as the weights are, and got "
                f"{points.dtype}; try points.to({self.centre.dtype})"
            )
        if points.ndim != 2 or points.shape[1] != self.inputs:
            flat = points.ndim < 2 or (self.inputs == 1 and 1 in points.shape)
            hint = f"points.reshape(-1, {self.inputs})" if flat else "a row for each point"
            raise ValueError(
                f"expected points of shape (n, {self.inputs}), and got {tuple(points.shape)}; "
                f"try {hint}"
            )


def _draw(widths, members, scale, generator):
    """Draw the weights and biases of all layers as NumPy arrays."""
    leading = () if members is None else (members,)
    weights = [
        generator.standard_normal((*leading, *shape)) / math.sqrt(shape[0])
        for shape in pairwise(widths)
    ]
    weights[0] *= scale
    centres = generator.uniform(-1.0, 1.0, weights[0].shape)
    biases = [np.zeros((*leading, width)) for width in widths[1:]]
    biases[0] = -(weights[0] * centres).sum(-2)
    return weights, biases


def _checked_sizes(inputs, hidden, members):
    """Return the widths of all layers, from the inputs to the one output."""
    if isinstance(hidden, str) or not isinstance(hidden, Sequence) or not hidden:
        raise ValueError(f"expected hidden widths such as (16,), and got {hidden!r}")
    for size in (inputs, *hidden, 1 if members is None else members):
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(f"expected inputs, hidden, members as integers, and got {size!r}")
        if size < 1:
            raise ValueError(f"expected inputs, hidden, members of 1 or more, and got {size}")
    return (int(inputs), *(int(width) for width in hidden), 1)


def _checked_domain(domain, inputs):
    """Return the centre and the half-width of each input's interval."""
    try:
        pairs = np.array([(-1.0, 1.0)] * inputs if domain is None else domain, dtype=np.float64)
    except (TypeError, ValueError):
        pairs = np.empty(0)
    if inputs == 1 and pairs.shape == (2,):
        pairs = pairs[None]
    good = pairs.shape == (inputs, 2) and (np.abs(pairs) < 1e150).all()
    # Widths near the smallest or largest floats would make the scaled inputs infinite.
    if not good or not (pairs[:, 1] - pairs[:, 0] > 1e-150).all():
        raise ValueError(
            f"expected a domain of {inputs} finite pairs (low, high) with low < high, "
            f"and got {domain!r}"
        )
    return pairs.mean(axis=1), (pairs[:, 1] - pairs[:, 0]) / 2
