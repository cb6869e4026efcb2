r"""Multilayer perceptrons in float64: one network, or an ensemble of the same shape.

An :class:`MLP` is a :class:`torch.nn.Module`. Next to its values it gives its gradient in the
inputs, its Hessian, and the Jacobian of values and gradients in the weights, each in one pass that
is written by hand (:mod:`gradnotes.derivatives`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from gradnotes import derivatives
from gradnotes.arguments import make_generator
from gradnotes.derivatives import ACTIVATIONS, Layers


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
        activation: "tanh", "softplus", "sin" or "relu". At the kink of "relu", and there only, its
            derivative is not defined; it is taken as 0, as torch does. Its second derivative is
            taken as 0 everywhere: the jumps of the gradient do not show in the Hessian.
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
        pairs = checked_domain([(-1.0, 1.0)] * inputs if domain is None else domain, inputs)
        self.register_buffer("centre", torch.from_numpy(pairs.mean(axis=1)))
        self.register_buffer("half_width", torch.from_numpy((pairs[:, 1] - pairs[:, 0]) / 2))
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
            create_graph: If true, torch's own reverse pass is used and a graph is kept, so that a
                loss of both results can be differentiated in the weights.

        Returns:
            Values (n,) and gradients (n, d), in units of the value over units of the input; for
            an ensemble (S, n) and (S, n, d).

        Raises:
            ValueError: A weight is infinite or NaN.

        Source: Rumelhart, Hinton and Williams (1986).
        """
        if not create_graph:
            layers, inputs = self._scaled(points)
            value, gradient = derivatives.value_and_gradient(layers, inputs)
            return self._single(value), self._single(gradient) / self.half_width
        self._scaled(points)
        # Each member gets its own copy of the points: a shared one would sum their gradients.
        shape = points.shape if self.members is None else (self.members, *points.shape)
        inputs = points.detach().expand(shape).clone().requires_grad_(True)
        with torch.enable_grad():
            values = self._evaluate(self.weights, self.biases, inputs)
            (gradients,) = torch.autograd.grad(values.sum(), inputs, create_graph=True)
        return values, gradients

    def value_gradient_and_hessian(self, points: torch.Tensor):
        r"""Return the values, the gradients and the Hessians :math:`\nabla^2 f(x)` in the inputs.

        Args:
            points: As for :meth:`value_and_gradient`, which raises the same errors.

        Returns:
            Shapes (n,), (n, d) and (n, d, d); for an ensemble with a first axis more, of length S.
            The Hessian is in units of the value over squared units of the input.

        Source: Bishop (1992).

        Example:
            >>> model = MLP(3, (5,), activation="softplus", rng=1)
            >>> _, _, hessian = model.value_gradient_and_hessian(torch.ones(2, 3).double())
            >>> hessian.shape, torch.allclose(hessian, hessian.mT)
            (torch.Size([2, 3, 3]), True)
        """
        layers, inputs = self._scaled(points)
        results = derivatives.value_gradient_and_hessian(layers, inputs)
        value, gradient, hessian = map(self._single, results)
        scale = self.half_width
        return value, gradient / scale, hessian / (scale[:, None] * scale)

    def hessian_vector_product(self, points: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        r"""Return the Hessian times a vector at each point, :math:`\nabla^2 f(x_i)\,v_i`.

        This takes about twice the time of a gradient, whatever the number of inputs.

        Args:
            points: As for :meth:`value_and_gradient`, which raises the same errors.
            vectors: Shape (n, d), in units of the inputs; for an ensemble (S, n, d) as well.

        Returns:
            Shape (n, d), or (S, n, d) for an ensemble.

        Raises:
            ValueError: The vectors have another shape.

        Source: Pearlmutter (1994).

        Example:
            >>> model, points = MLP(2, (5,), rng=1), torch.ones(4, 2).double()
            >>> along_x = torch.tensor([1.0, 0.0]).double().expand(4, 2)
            >>> column = model.value_gradient_and_hessian(points)[2][:, :, 0]
            >>> torch.allclose(model.hessian_vector_product(points, along_x), column)
            True
        """
        layers, inputs = self._scaled(points)
        self._check_kind(vectors, "vectors")
        full = (self.members or 1, *points.shape)
        if tuple(vectors.shape) not in {tuple(points.shape), full[self.members is None :]}:
            raise ValueError(
                f"expected vectors of shape {tuple(points.shape)}, one for each point, and got "
                f"{tuple(vectors.shape)}; try torch.ones_like(points)"
            )
        scaled = (vectors.detach() / self.half_width).reshape(-1, *points.shape)
        product = derivatives.hessian_vector_product(layers, inputs, scaled)
        return self._single(product) / self.half_width

    def weight_jacobian(self, points: torch.Tensor, *, gradients: bool = False):
        r"""Return the Jacobian of the values in the weights, :math:`\partial f(x_i)/\partial w_p`.

        Args:
            points: As for :meth:`value_and_gradient`, which raises the same errors.
            gradients: If true, return as well the Jacobian of the input gradients,
                :math:`\partial^2 f(x_i)/\partial x_k \partial w_p`.

        Returns:
            A tensor (n, P), the weights flattened as in :meth:`flat_weights`; with ``gradients`` a
            pair (n, P) and (n, d, P). For an ensemble each has a first axis more, of length S.

        Source: Rumelhart, Hinton and Williams (1986).

        Example:
            The derivative in the last bias, that of the output, is 1:

            >>> jacobian = MLP(1, (4,), rng=0).weight_jacobian(torch.ones(3, 1).double())
            >>> jacobian.shape, jacobian[:, -1].tolist()
            (torch.Size([3, 13]), [1.0, 1.0, 1.0])
        """
        layers, inputs = self._scaled(points)
        if not gradients:
            return self._single(derivatives.weight_jacobian(layers, inputs)[0])
        axes = torch.diag(1.0 / self.half_width)[None, :, None, :]
        return tuple(map(self._single, derivatives.weight_jacobian(layers, inputs, axes)))

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
        layers = self.layers_from(flat.detach().reshape(-1, self.size))
        with torch.no_grad():
            entries = layers.weights + layers.biases
            for parameter, new in zip(self.parameters(), entries, strict=True):
                parameter.copy_(new.reshape(parameter.shape))

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

    @classmethod
    def from_sequential(cls, sequential: torch.nn.Sequential) -> MLP:
        r"""Return a single network with the layers of a :class:`torch.nn.Sequential`.

        The layers are :class:`torch.nn.Linear` and one activation in turn, and the last has one
        output; :class:`torch.nn.Flatten` may follow it. The weights are copied and converted to
        float64, which is exact. A softplus becomes the exact :math:`\log(1 + e^z)`, from which
        torch's, with its usual threshold, is up to 2e-9 away.

        Args:
            sequential: The network, on the CPU.

        Raises:
            TypeError: This is no ``Sequential``, or its weights are complex or not on the CPU.
            ValueError: A layer is of another kind, or the shapes do not fit.

        Source: the definition of a network above.

        Example:
            >>> torch_layers = MLP(2, (7, 5), activation="sin", rng=4).to_sequential()
            >>> model = MLP.from_sequential(torch_layers)
            >>> model.inputs, model.hidden, model.activation
            (2, (7, 5), 'sin')
        """
        linears, activation = _layers_of(sequential)
        widths = [linears[0].in_features, *(linear.out_features for linear in linears)]
        model = cls(widths[0], tuple(widths[1:-1]), activation=activation, rng=0)
        with torch.no_grad():
            for linear, weight, bias in zip(linears, model.weights, model.biases, strict=True):
                weight.copy_(linear.weight.T)
                bias.zero_() if linear.bias is None else bias.copy_(linear.bias)
        return model

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
            layers += [linear, copy.deepcopy(ACTIVATIONS[self.activation].layer)]
        return torch.nn.Sequential(*layers[:-1], torch.nn.Flatten(0))

    def _evaluate(self, weights, biases, points):
        """Return the values at (..., n, d), for weights (in, out) or (S, in, out)."""
        activate, weights, biases = ACTIVATIONS[self.activation].layer, list(weights), list(biases)
        layer = (points - self.centre) / self.half_width
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            layer = activate(layer @ weight + bias.unsqueeze(-2))
        return (layer @ weights[-1] + biases[-1].unsqueeze(-2)).squeeze(-1)

    def layers_from(self, flat: torch.Tensor) -> Layers:
        """Return the layers that weights (S, P), laid out as in :meth:`flat_weights`, stand for."""
        return Layers.from_flat(flat, (self.inputs, *self.hidden, 1), ACTIVATIONS[self.activation])

    def scaled(self, points: torch.Tensor) -> torch.Tensor:
        """Return the points in the units of the domain, as the first layer sees them."""
        return (points - self.centre) / self.half_width

    def _scaled(self, points):
        """Return the layers and the scaled points, once both are sound."""
        self._check(points)
        flat = self.flat_weights()
        if not flat.isfinite().all():
            raise ValueError(
                "expected finite weights, and got infinite ones or NaN; "
                "try a smaller learning rate, or fit the network anew"
            )
        return self.layers_from(flat.reshape(-1, self.size)), self.scaled(points.detach())

    def _single(self, result):
        """Return a result with a member axis, or without it for a single network."""
        return result[0] if self.members is None else result

    def _check(self, points):
        """Raise unless ``points`` is a tensor (n, d) as the weights are."""
        self._check_kind(points, "points")
        if points.ndim != 2 or points.shape[1] != self.inputs:
            flat = points.ndim < 2 or (self.inputs == 1 and 1 in points.shape)
            hint = f"points.reshape(-1, {self.inputs})" if flat else "a row for each point"
            raise ValueError(
                f"expected points of shape (n, {self.inputs}), and got {tuple(points.shape)}; "
                f"try {hint}"
            )

    def _check_kind(self, tensor, name):
        """Raise unless this is a tensor in the dtype and on the device of the weights."""
        if not isinstance(tensor, torch.Tensor):
            kind = type(tensor).__name__
            raise TypeError(f"expected a tensor, and got {kind}; try torch.from_numpy({name})")
        for what in ("dtype", "device"):
            ours, theirs = getattr(self.centre, what), getattr(tensor, what)
            if ours != theirs:
                raise TypeError(
                    f"expected {name} in {ours}, as the weights are, and got {theirs}; "
                    f"try {name}.to({str(ours) if what == 'dtype' else repr(str(ours))})"
                )


def _layers_of(sequential):
    """Return the linear layers of a plain perceptron, and the name of its activation."""
    if not isinstance(sequential, torch.nn.Sequential):
        kind = type(sequential).__name__
        raise TypeError(f"expected a torch.nn.Sequential, and got {kind}")
    layers = list(sequential)
    if layers and isinstance(layers[-1], torch.nn.Flatten):
        layers.pop()
    linears, between = layers[::2], layers[1::2]
    names = {_activation_of(layer) for layer in between}
    plain = len(linears) == len(between) + 1 and len(names) == 1 and None not in names
    if not plain or not all(type(layer) is torch.nn.Linear for layer in linears):
        kinds = ", ".join(type(layer).__name__ for layer in sequential)
        raise ValueError(
            "expected Linear layers with one activation between them, among "
            f"{', '.join(ACTIVATIONS)}, and got {kinds}; gradnotes.gaps takes any module as it is"
        )
    for weight in sequential.parameters():
        if weight.device.type != "cpu" or not weight.is_floating_point():
            raise TypeError(
                f"expected real weights on the CPU, and got {weight.dtype} on {weight.device}; "
                "try sequential.to('cpu', torch.float64)"
            )
    for before, after in pairwise(linears):
        if before.out_features != after.in_features:
            raise ValueError(
                f"expected layers that fit, and got {before.out_features} outputs before "
                f"{after.in_features} inputs"
            )
    if linears[-1].out_features != 1:
        raise ValueError(f"expected one output, and got {linears[-1].out_features}")
    return linears, names.pop()


def _activation_of(layer):
    """Return the name of an activation layer, or None."""
    for name, activation in ACTIVATIONS.items():
        if type(layer) is type(activation.layer):
            return None if getattr(layer, "beta", 1) != 1 else name
    return None


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


def checked_domain(domain: Sequence[tuple[float, float]], inputs: int) -> np.ndarray:
    r"""Return a domain, one pair (low, high) for each input, as an array (d, 2).

    Args:
        domain: The pairs; for one input (low, high) is enough.
        inputs: The number of inputs.

    Raises:
        ValueError: The pairs are not finite, not in order, or not as many as the inputs.

    Source: the definition of a domain in the book.

    Example:
        >>> checked_domain((0, 2), 1)
        array([[0., 2.]])
    """
    try:
        pairs = np.array(domain, dtype=np.float64)
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
    return pairs
