r"""Guaranteed bounds for a given network, and certified gaps.

A maximum over a grid says nothing of what is between the points. A bound of the gradient or of the
Hessian of a network, which its weights give, does: :func:`lipschitz_bound`,
:func:`curvature_bound`, :func:`slope_variation`. With the same knowledge of the target,
:func:`certify_gaps` turns values and gradients at the points of a grid into bounds on the whole
box. :func:`constant` is for targets of the network's own kind, of which nothing is sampled.

For a network of this package (:class:`~gradnotes.networks.MLP`) with one output,

.. math:: \nabla h = W_1 D_1 W_2 D_2 \cdots W_{L-1} D_{L-1} w, \qquad
          \nabla^2 h = \sum_{l=1}^{L-1} J_l\, W_l \operatorname{diag}(\sigma''(z_l)\, g_l)
          W_l^T J_l^T,

where :math:`D_l = \operatorname{diag} \sigma'(z_l)`, :math:`w` are the output weights,
:math:`J_l = W_1 D_1 \cdots W_{l-1} D_{l-1}`, and :math:`g_l` is the gradient of the output in the
units of layer l. The scaling of the inputs is taken into :math:`W_1`. All bounds here follow from
:math:`\alpha \le \sigma' \le \beta` and :math:`|\sigma''| \le s`:

.. math:: 0 \le \tanh' \le 1,\; |\tanh''| \le \tfrac{4}{3\sqrt 3}; \quad
          0 \le \mathrm{softplus}' \le 1,\; 0 \le \mathrm{softplus}'' \le \tfrac14; \quad
          |\sin'|, |\sin''| \le 1; \quad 0 \le \mathrm{relu}' \le 1 .

Round-off: the bounds of networks are rounded up by one part in a billion, which is more than
float64 and LAPACK lose at widths up to some thousands. Powers of 2 are taken out of the weights
first, so that none is too small or too large to be squared.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np
import torch
from tqdm import tqdm

from gradnotes.arguments import check_number
from gradnotes.inequalities import Bound, best_bound
from gradnotes.networks import MLP, checked_domain
from gradnotes.targets import Target

# Of each activation, the range of the slope and that of the second derivative.
TANH = 4 / (3 * math.sqrt(3))
SLOPES = {"tanh": (0.0, 1.0), "softplus": (0.0, 1.0), "sin": (-1.0, 1.0), "relu": (0.0, 1.0)}
BENDS = {"tanh": (-TANH, TANH), "softplus": (0.0, 0.25), "sin": (-1.0, 1.0)}
UP = 1 + 1e-9
TINY = 1e-100  # more than underflow loses, where the largest weight of a layer is about 1
CHUNK = 16_384  # points at a time, times networks
MOST, MOST_ON_AXIS = 10**10, 10**8  # points: hours, and a gigabyte
WIDTH = 76


def lipschitz_bound(network: MLP) -> float | np.ndarray:
    r"""Bound the gradient of a network on the whole space.

    .. math:: \sup_x |\nabla h(x)|_2 \le \beta^{L-1} \|W_1\|_2 \cdots \|W_{L-1}\|_2\, |w|_2

    and no more than what follows from the smaller of this and the next line at each layer. For one
    hidden layer with inner weights :math:`w_j` and outer ones :math:`a_j`, let
    :math:`v_j = a_j w_j`:

    .. math:: |\nabla h|_2 \le \frac{|\alpha + \beta|}{2} \Bigl|\sum_j v_j\Bigr|_2 +
              \frac{\beta - \alpha}{2} \Bigl(\sum_{i,j} |v_i \cdot v_j|\Bigr)^{1/2}

    Proof: the first is the product of the norms of the factors. For the second, the slope of a unit
    is the middle of its range plus :math:`\frac{\beta - \alpha}2 e_j` with :math:`|e_j| \le 1`, and
    :math:`|\sum_j e_j v_j|^2 = \sum e_i e_j\, v_i \cdot v_j`. A lower layer has instead of
    :math:`a_j` a number between :math:`\pm G_j`, and there the middle is 0.

    Args:
        network: One network or an ensemble; ReLU is allowed.

    Returns:
        The bound in units of the values over units of the inputs; an array (S,) for an ensemble.

    Raises:
        TypeError: This is no ``MLP``.
        ValueError: A weight is infinite or NaN.

    Source: the proof above; the product is standard (Szegedy et al., 2014, recalled).

    Example:
        Half the weight pulls up and half pulls down, so that one half is all there can be:

        >>> import torch
        >>> model = MLP(1, (2,), rng=0)
        >>> model.set_flat_weights(torch.tensor([3.0, 3.0, 1.0, -1.0, 0.0, 0.0, 0.0]).double())
        >>> round(lipschitz_bound(model), 6)
        3.0
    """
    matrices, _, outer = _layers(network)
    matrices, outer, powers = _even(matrices, outer)
    *_, (size, _) = _backward(matrices, outer, SLOPES[network.activation])
    return _single(network, _up(size, sum(powers), matrices, outer))


def curvature_bound(network: MLP) -> float | np.ndarray:
    r"""Bound the spectral norm of the Hessian of a network on the whole space.

    .. math:: \sup_x \|\nabla^2 h(x)\|_2 \le s \sum_{l=1}^{L-1} \Lambda_l^2
              \min\bigl(\lambda_{\max}(W_l \operatorname{diag}(G_l) W_l^T),\;
              \gamma_l \|W_l\|_2 \max_j |W_l e_j|_2 \bigr)

    with :math:`\Lambda_l = \beta^{l-1}\|W_1\|_2 \cdots \|W_{l-1}\|_2`, and with bounds
    :math:`G_l` of the entries and :math:`\gamma_l` of the length of :math:`g_l`, both from the
    output downwards as in :func:`lipschitz_bound`. For one hidden layer this is
    :math:`s\,\lambda_{\max}(\sum_j |a_j| w_j w_j^T)`, and for softplus, whose second derivative
    has one sign, the larger of the two sums over the units of one sign.

    Proof: :math:`\|J_l\| \le \Lambda_l`. A diagonal matrix between :math:`\pm\operatorname{diag} G`
    gives the first term. For the second, with :math:`q = W_l^T v` and :math:`|v| = 1`,
    :math:`|\sum_j g_j q_j^2| \le |g|\,|q|\max_j|q_j|`. Replacing the second term by
    :math:`\gamma_l\|W_l\|^2` gives the usual recursion over layers, which is never smaller.

    Args:
        network: One network or an ensemble.

    Returns:
        The bound in units of the values over squared units of the inputs; (S,) for an ensemble.

    Raises:
        TypeError: This is no ``MLP``.
        ValueError: A weight is infinite or NaN, or the activation is ReLU.

    Source: the proof above; Singla and Feizi (2020) bound deep networks more tightly (abstract
    read).

    Example:
        One unit attains it:

        >>> import torch
        >>> model = MLP(1, (1,), activation="sin", rng=0)
        >>> model.set_flat_weights(torch.tensor([3.0, 2.0, 0.0, 0.0]).double())
        >>> round(curvature_bound(model), 6)
        18.0
    """
    matrices, _, outer = _layers(network)
    if network.activation not in BENDS:
        raise ValueError(
            "expected a smooth activation, and got relu: the Hessian of ReLU has no bound, as its "
            "gradient jumps; try inequalities.variation_bound with slope_variation(network)"
        )
    matrices, outer, powers = _even(matrices, outer)
    slopes, bends = SLOPES[network.activation], BENDS[network.activation]
    largest = max(map(abs, bends))
    lengths = [np.ones(len(outer))]
    for matrix in matrices[:-1]:
        lengths.append(lengths[-1] * max(map(abs, slopes)) * _norms(matrix))
    total = np.zeros(len(outer))
    pairs = reversed([*_backward(matrices, outer, slopes)][:-1])
    for layer, (matrix, length, (size, entries)) in enumerate(
        zip(matrices, lengths, pairs, strict=True)
    ):
        signs = [largest * entries]
        if matrix is matrices[-1]:
            signs = [np.maximum(bends[0] * a, bends[1] * a) for a in (outer, -outer)]
        first = np.max([_norms(matrix * np.sqrt(g)[:, None]) ** 2 for g in signs], axis=0)
        columns = np.linalg.norm(matrix, axis=1).max(-1)
        term = length**2 * np.minimum(first, largest * size * _norms(matrix) * columns)
        # The weights of this layer and of those below count twice.
        total += _up(term, sum(powers) + sum(powers[: layer + 1]), matrices, outer)
    return _single(network, total)


def slope_variation(network: MLP) -> float | np.ndarray:
    r"""Return the total variation of the slope of a ReLU network of one input and one hidden layer.

    .. math:: V(h') \le \sum_j |a_j w_j|

    With equality on the line if no two kinks coincide. It is what
    :func:`~gradnotes.inequalities.variation_bound` asks for, once that of the target is added.

    Args:
        network: One network or an ensemble, activation "relu", one input, one hidden layer.

    Returns:
        The variation in units of the values over units of the input; (S,) for an ensemble.

    Raises:
        TypeError: This is no ``MLP``.
        ValueError: A weight is infinite or NaN, or the network is of another kind.

    Source: at its kink the slope of unit j jumps by :math:`|a_j w_j|`.

    Example:
        The absolute value, whose slope jumps from -1 to 1:

        >>> import torch
        >>> model = MLP(1, (2,), activation="relu", rng=0)
        >>> model.set_flat_weights(torch.tensor([1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).double())
        >>> round(slope_variation(model), 6)
        2.0
    """
    matrices, _, outer = _layers(network)
    if network.activation != "relu" or network.inputs != 1 or len(matrices) > 1:
        raise ValueError(
            f"expected one input, one hidden layer and relu, and got MLP({network.extra_repr()}); "
            "try curvature_bound"
        )
    matrices, outer, powers = _even(matrices, outer)
    jumps = np.abs(matrices[0][:, 0] * outer).sum(-1)
    return _single(network, _up(jumps, sum(powers), matrices, outer))


@dataclass(frozen=True, kw_only=True)
class Constant:
    r"""A number c such that close values mean close gradients; printing it says for whom.

    Attributes:
        value: c, in 1 over units of the inputs.
        eps: The largest distance of the values, in units of the values.
        gradient: c times eps, the bound of the gradient gap.
        inner: For each hidden layer, how large its weights may be: for the first the largest length
            of the weights of a unit, in 1 over units of the inputs; for the others the largest sum
            of the absolute weights of a unit.
        outer: The sum of the absolute output weights, with the output bias.
        activation: That of the network, and of the targets.
        domain: The box as pairs (low, high), or None for the whole space.
        bounds: The inequality that was used, or one for each axis of the box.
    """

    value: float
    eps: float
    gradient: float
    inner: tuple[float, ...]
    outer: float
    activation: str
    domain: tuple[tuple[float, float], ...] | None
    bounds: tuple[Bound, ...]

    def __str__(self) -> str:
        where = "everywhere" if self.domain is None else "on the box"
        inner = ", ".join(_rounded(size, 3, ROUND_FLOOR) for size in self.inner)
        outer, eps = _rounded(self.outer, 3, ROUND_FLOOR), _exact(self.eps)
        names = " and ".join(sorted({bound.name for bound in self.bounds}))
        layers = f"{len(self.inner)} hidden layer{'s' * (len(self.inner) > 1)}"
        return textwrap.fill(
            f"c = {_rounded(self.value, 3)}: a {self.activation} network with {layers}, inner "
            f"weights up to {inner} and outer weights that sum to {outer} at most, and with values "
            f"within {eps} of this one's {where}, has a gradient within c times {eps} of this "
            f"one's there ({names}).",
            WIDTH,
        )


def constant(
    network: MLP, *, eps: float, domain: Sequence[tuple[float, float]] | None = None
) -> Constant:
    r"""Return a c for a network: targets of its class whose values are close have close gradients.

    .. math:: |f - h| \le \varepsilon \text{ everywhere} \quad\Longrightarrow\quad
              |\nabla f - \nabla h| \le c\,\varepsilon \text{ everywhere}

    for all f of the class: networks of the same activation and number of hidden layers, of any
    width, whose weights are no larger than those of h. The sizes are :math:`\omega_1`, the largest
    length of the weights of a unit of the first layer; :math:`\omega_l` for the layers above, the
    largest sum :math:`\sum_k |W_{kj}|` of a unit; and :math:`A = \sum_j |a_j| + |b|`.

    Proof for tanh: on a straight line, with parameter z, the difference :math:`r = f - h` is
    analytic. If :math:`|y| \le \pi/4`, then :math:`|\tanh(x + iy)| \le 1` and
    :math:`|\operatorname{Im} \tanh(x + iy)| \le \tan|y|`. So it is at most 2A where all layers stay
    in that strip, that is, up to :math:`t_1/\omega_1` from the line, with
    :math:`t_{L-1} = \pi/4` and :math:`t_{l-1} = \min(\pi/4, \arctan(t_l/\omega_l))`; for one hidden
    layer :math:`\pi/(4\omega_1)`. This is what the strip and the ellipse need. Both functions have
    second derivatives along the line of at most :math:`A\,C_{L-1}`, with
    :math:`C_l = s\,(\omega_l \cdots \omega_1)^2 + \omega_l C_{l-1}`, which is what Hadamard and
    Landau need. On the space, one hidden layer of tanh has the sharper bound
    :func:`~gradnotes.inequalities.tanh_bound`, and one of sines, with no frequency above
    :math:`\omega_1`, has :math:`c \le \omega_1` for all eps. The smallest bound is taken.

    Args:
        network: One network, "tanh" of any depth, or "sin" of one hidden layer.
        eps: :math:`\varepsilon`, above 0. A smaller one has a larger c; for tanh by a
            logarithm on the space, and by its square on a box.
        domain: Pairs (low, high), one for each input, where the values are close; None for all of
            the space. On a box, partial derivatives are bounded axis by axis.

    Raises:
        TypeError: This is no ``MLP``.
        ValueError: The network is of another kind or an ensemble, or a number makes no sense.

    Source: the proof above, with :mod:`gradnotes.inequalities`.

    Example:
        >>> import torch
        >>> model = MLP(1, (2,), rng=0)
        >>> model.set_flat_weights(torch.tensor([2.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0]).double())
        >>> [round(constant(model, eps=eps).value, 2) for eps in (0.1, 0.001)]
        [6.28, 12.14]
    """
    matrices, biases, outer = _layers(network)
    if network.members is not None:
        raise ValueError(
            f"expected one network, and got members={network.members}; try network.member(0)"
        )
    kind = network.activation
    if kind != "tanh" and (kind != "sin" or len(matrices) > 1):
        raise ValueError(
            "expected tanh, or sin with one hidden layer, and got "
            f"{kind} with {len(matrices)}; softplus and relu are not bounded"
        )
    check_number("eps", eps, above=True)
    inner = [float(np.hypot.reduce(matrices[0], axis=1).max())]
    inner += [float(np.abs(matrix).sum(1).max()) for matrix in matrices[1:]]
    top = float(np.abs(outer).sum() + np.abs(biases[-1]).sum())
    strip, slope, bend = math.pi / 4, 1.0, 0.0
    for size in reversed(inner[1:]):
        strip = min(math.pi / 4, math.atan(strip / size)) if size else math.pi / 4
    for size in inner:
        slope *= size
        bend = max(BENDS[kind]) * slope**2 + size * bend
    if any(size and not 1e-60 < size < 1e60 for size in (*inner, top, top * bend)):
        raise ValueError("expected weights that are neither huge nor tiny; try other units")
    half_width = strip / inner[0] if inner[0] else math.inf
    known = {"curvature": UP * 2 * top * bend}
    if kind == "tanh" and half_width < math.inf:
        known |= {"half_width": half_width / UP, "strip_max": UP * 2 * top}
    if domain is None:
        if kind == "sin":
            known |= {"bandwidth": UP * inner[0]}
        elif len(inner) == 1:
            known |= {"outer_sum": UP * 2 * top, "inner_max": UP * inner[0]}
        bounds = (best_bound(eps, margin=math.inf, **known),)
        box = None
    else:
        box = checked_domain(domain, network.inputs)
        bounds = tuple(best_bound(eps, **_on_interval(known, high - low)) for low, high in box)
        box = tuple((float(low), float(high)) for low, high in box)
    gradient = math.hypot(*(bound.value for bound in bounds))
    return Constant(
        value=gradient / eps,
        eps=float(eps),
        gradient=gradient,
        inner=tuple(inner),
        outer=top,
        activation=kind,
        domain=box,
        bounds=bounds,
    )


def _on_interval(known, length):
    """Return what is known of a function on an interval, if it is known in a strip."""
    facts = {"curvature": known["curvature"], "length": float(length)}
    if "half_width" in known:
        height = 2 * known["half_width"] / length
        # Rounded down: for a long interval only the last digits of rho count.
        rho = (height + math.hypot(1, height)) * (1 - 1e-15)
        if rho > 1:
            facts |= {"ellipse_max": known["strip_max"], "rho": float(rho)}
    return facts


@dataclass(frozen=True, kw_only=True)
class Certificate:
    r"""Certified gaps between a target and a network on a box; arrays (S,) for an ensemble.

    They hold if the numbers in ``assumptions`` do. The round-off of networks is covered; that of
    the formula of a :class:`~gradnotes.targets.Target` is not.

    Attributes:
        value: A bound of the largest :math:`|f - h|` on the box, in units of the values.
        gradient: A bound of the largest :math:`|\nabla f - \nabla h|_2`, in units of the values
            over units of the inputs.
        sampled_value: The grid maximum of the first, from below.
        sampled_gradient: The grid maximum of the second; NaN if no curvature is known.
        curvature: M, a bound of the Hessian of the residual; inf if not known.
        lipschitz: L, a bound of its gradient from the weights and the target; inf if not known.
        round_off: What is added to the two grid maxima for round-off.
        spacing: The distance of neighbouring points on each axis.
        points_count: The number of points.
        domain: The box as pairs (low, high).
        assumptions: What was taken for granted, in sentences.
    """

    value: float | np.ndarray
    gradient: float | np.ndarray
    sampled_value: float | np.ndarray
    sampled_gradient: float | np.ndarray
    curvature: float | np.ndarray
    lipschitz: float | np.ndarray
    round_off: tuple[float | np.ndarray, float | np.ndarray]
    spacing: tuple[float, ...]
    points_count: int
    domain: tuple[tuple[float, float], ...]
    assumptions: tuple[str, ...]

    def __str__(self) -> str:
        box = " x ".join(f"[{_exact(low)}, {_exact(high)}]" for low, high in self.domain)
        who = "" if np.ndim(self.value) == 0 else f"For each of {len(self.value)} networks: "
        value, gradient, seen, seen_gradient = (
            float(np.max(x))
            for x in (self.value, self.gradient, self.sampled_value, self.sampled_gradient)
        )
        value, gradient = _rounded(value, 4), _rounded(gradient, 4)
        steep = ""
        if not math.isnan(seen_gradient):
            steep = f" and {_rounded(seen_gradient, 4, ROUND_FLOOR)}"
        sentences = (
            f"{who}|f - h| <= {value} and |grad f - grad h| <= {gradient} on {box}.",
            f"The largest that {self.points_count} points show: "
            f"{_rounded(seen, 4, ROUND_FLOOR)}{steep}.",
            *self.assumptions,
        )
        return "\n".join(textwrap.fill(sentence, WIDTH) for sentence in sentences)

    def points_needed(self, tolerance: float, *, gap: str = "gradient") -> int:
        r"""Return how many points bring a certified gap near its grid maximum.

        .. math:: n = 1 + \Bigl\lceil \frac{M \ell}{2 t} \Bigr\rceil \text{ an axis for the
                  gradient}, \qquad 1 + \Bigl\lceil \min\Bigl(\ell \sqrt{\frac{M}{8t}},\;
                  \frac{L \ell}{2t}\Bigr) \Bigr\rceil \text{ for the value},

        with :math:`\ell` the diagonal of the box.

        Args:
            tolerance: t, above 0, in the units of the gap; round-off is left out.
            gap: "gradient" or "value".

        Returns:
            The number of points of the grid, :math:`n^d`, for the worst network of an ensemble.

        Raises:
            ValueError: The tolerance or the gap makes no sense, or no number of points is enough.
        """
        check_number("tolerance", tolerance, above=True)
        if gap not in ("gradient", "value"):
            raise ValueError(f'expected gap as "gradient" or "value", and got {gap!r}')
        curvature, lipschitz = float(np.max(self.curvature)), float(np.max(self.lipschitz))
        if gap == "gradient" and curvature == math.inf:
            raise ValueError(
                "expected a known curvature, and got none: no number of points brings the gradient "
                'gap down; try target_curvature in certify_gaps, or gap="value"'
            )
        diagonal = math.hypot(*(high - low for low, high in self.domain))
        steps = diagonal * curvature / (2 * tolerance)
        if gap == "value":
            steps = diagonal * min(
                math.sqrt(curvature / (8 * tolerance)), lipschitz / (2 * tolerance)
            )
        if not math.isfinite(steps):
            raise ValueError(f"expected a larger tolerance, and got {tolerance!r}")
        return (1 + max(1, math.ceil(steps))) ** len(self.domain)


def certify_gaps(
    network: MLP,
    target: Target | MLP,
    domain: Sequence[tuple[float, float]] | None = None,
    *,
    target_curvature: float | None = None,
    target_lipschitz: float | None = None,
    points_count: int = 16_384,
) -> Certificate:
    r"""Certify the value gap and the gradient gap between a network and a target on a box.

    With residual :math:`r = f - h` at the points :math:`x_i` of a regular grid of spacing
    :math:`\Delta_k` on axis k, :math:`\tau = \frac12(\sum_k \Delta_k^2)^{1/2}`, and with
    :math:`|\nabla r| \le L` and :math:`\|\nabla^2 r\|_2 \le M`,

    .. math:: \sup|r| \le \max_i |r(x_i)| + \min\Bigl(L\tau,\; \frac M8 \sum_k
              \Delta_k^2\Bigr) + \rho_0, \qquad
              \sup|\nabla r| \le \min\bigl(\max_i |\nabla r(x_i)| + M\tau + \rho_1,\;
              L\bigr).

    Proof: no point is further than :math:`\tau` from the grid. In a cell, interpolation along
    axis k is off by at most :math:`M\Delta_k^2/8`, and it enlarges neither the maximum nor a
    second derivative along another axis; so multilinear interpolation is off by at most the sum,
    and it lies between the values at the corners. L and M are the sums of those of the network
    (:func:`lipschitz_bound`, :func:`curvature_bound`) and those of the target.

    :math:`\rho_0, \rho_1` bound the round-off of the networks, from the rounding of each sum and
    product, and from elementary functions that are right to 2 units in the last place. The values
    and gradients of a ``Target`` are taken as they are.

    Args:
        network: One network or an ensemble.
        target: A :class:`~gradnotes.targets.Target`, or a network, whose bounds are then computed.
        domain: One pair (low, high) for each input; None means that of the target.
        target_curvature: A bound of the spectral norm of the target's Hessian on the box, 0 or
            more, in units of the values over squared units of the inputs.
        target_lipschitz: A bound of its gradient. One of the two is needed; for a ReLU network it
            is this one, and then nothing better than L is known of the gradient.
        points_count: The least number of points, at most 1e10, and 1e8 for one input; they become
            the next regular grid.

    Raises:
        TypeError: The network is no ``MLP``, or the target is neither that nor a ``Target``.
        ValueError: Nothing, or something impossible, is known of the target; the target breaks what
            is said of it; a number is not finite; a domain or number makes no sense; or two
            ensembles differ in size.

    Source: the proof above.

    Example:
        A network of weight 0 against a parabola; the error of the certificate is the last term.

        >>> import torch
        >>> from sympy import Symbol
        >>> x = Symbol("x", real=True)
        >>> model = MLP(1, (1,), rng=0)
        >>> model.set_flat_weights(torch.zeros(4).double())
        >>> parabola = Target(x * (1 - x), (x,), (0, 1))
        >>> result = certify_gaps(model, parabola, target_curvature=2.0, points_count=2)
        >>> result.sampled_value, round(result.value, 6)
        (0.0, 0.25)
        >>> result.points_needed(0.001), result.points_needed(0.001, gap="value")
        (1001, 17)
    """
    lipschitz, curvature = _of_residual(network, target, target_lipschitz, target_curvature)
    if isinstance(points_count, bool) or not isinstance(points_count, int | np.integer):
        raise ValueError(f"expected points_count as an integer, and got {points_count!r}")
    if points_count < 1:
        raise ValueError(f"expected points_count of 1 or more, and got {points_count}; try 16384")
    if domain is None and not isinstance(target, Target):
        raise ValueError("expected a domain, since no side is a Target; try domain=[(0, 1), ...]")
    box = checked_domain(target.domain if domain is None else domain, network.inputs)
    if points_count > (MOST_ON_AXIS if len(box) == 1 else MOST):
        raise ValueError(
            f"expected points_count of at most {MOST:.0e}, and {MOST_ON_AXIS:.0e} for one input, "
            f"and got {float(min(points_count, 10**300)):.1e}; try a larger tolerance"
        )
    per_axis = max(2, round(points_count ** (1 / len(box))))
    per_axis += per_axis ** len(box) < points_count
    axes = [np.linspace(low, high, per_axis) for low, high in box]
    spacing = [float(np.diff(axis).max()) * (1 + 1e-15) for axis in axes]
    smooth = bool(np.isfinite(curvature).all())
    seen, steepest = _maxima(network, target, axes, smooth, target_lipschitz, target_curvature)
    parts = [_round_off(side, box) for side in (network, target) if isinstance(side, MLP)]
    round_off = [sum(part) for part in zip(*parts, strict=True)]
    tau = math.hypot(*spacing) / 2
    between = np.minimum(lipschitz, curvature * tau / 2) * tau
    direct = steepest + curvature * tau + round_off[1] if smooth else math.inf
    results = {
        "value": UP * (seen + between + round_off[0]),
        "gradient": UP * np.minimum(direct, lipschitz),
        "sampled_value": seen,
        "sampled_gradient": steepest,
        "curvature": curvature,
        "lipschitz": lipschitz,
    }
    single = np.ndim(seen) == 0
    return Certificate(
        **{
            name: float(number) if single else number + 0 * seen for name, number in results.items()
        },
        round_off=tuple(float(part) if single else part for part in round_off),
        spacing=tuple(spacing),
        points_count=per_axis ** len(box),
        domain=tuple((float(low), float(high)) for low, high in box),
        assumptions=_assumptions(target, target_lipschitz, target_curvature),
    )


# Layers, and the pass from the output down


def _layers(network):
    """Return the matrices (S, in, out), in the units of x, the biases, and the outer weights."""
    # A subclass may compute something else.
    if type(network) is not MLP:
        raise TypeError(
            f"expected a gradnotes.networks.MLP, and got {type(network).__name__}; "
            "try MLP.from_sequential(network)"
        )
    if network.centre.dtype != torch.float64:
        raise TypeError(f"expected float64, and got {network.centre.dtype}; try network.double()")
    if not network.flat_weights().isfinite().all():
        raise ValueError("expected finite weights, and got infinite ones or NaN; try to fit anew")
    count = network.members or 1
    weights = [w.detach().numpy().reshape(count, *w.shape[-2:]) for w in network.weights]
    biases = [b.detach().numpy().reshape(count, -1) for b in network.biases]
    with np.errstate(all="ignore"):
        first = weights[0] / network.half_width.numpy()[:, None]
    largest, before = (np.abs(matrix).max((-2, -1)) for matrix in (first, weights[0]))
    if not (largest[before > 0] > 1e-200).all() or not (largest < 1e200).all():
        raise ValueError("expected inner weights that are neither huge nor tiny; try other units")
    weights[0] = first
    return weights[:-1], biases, weights[-1][:, :, 0]


def _even(matrices, outer):
    """Return the weights with powers of 2 taken out, so that the largest of a layer is near 1."""
    layers, powers = [], []
    for layer in (*matrices, outer):
        flat = np.abs(layer).reshape(len(layer), -1)
        powers.append(np.frexp(flat.max(-1))[1])
        layers.append(np.ldexp(layer, -powers[-1].reshape(-1, *[1] * (layer.ndim - 1))))
    return layers[:-1], layers[-1], powers


def _up(number, power, matrices, outer):
    """Round a bound up, for even weights, and put the power of 2 back."""
    alive = np.prod([np.abs(x).reshape(len(x), -1).any(-1) for x in (*matrices, outer)], axis=0)
    with np.errstate(over="ignore"):
        number = np.ldexp(UP * number + TINY * alive, power)
    if not np.isfinite(number).all():
        raise ValueError(
            "expected weights with a finite bound, and got one that is too large; try other units"
        )
    return np.where(alive, np.nextafter(number, math.inf), 0.0)


def _norms(matrices):
    """Return the spectral norm of each matrix."""
    return np.linalg.norm(matrices, 2, axis=(-2, -1))


def _backward(matrices, outer, slopes):
    """Yield bounds of the gradient in the units of each layer, its length and its entries.

    The first pair is for the last hidden layer, the last pair for the inputs.
    """
    middle, half = abs(sum(slopes)) / 2, (slopes[1] - slopes[0]) / 2
    size, entries = np.linalg.norm(outer, axis=-1), np.abs(outer)
    yield size, entries
    for matrix in reversed(matrices):
        terms = matrix * outer[:, None]
        angles = np.sqrt(np.abs(terms.mT @ terms).sum((-2, -1)))
        sums = np.abs(terms.sum(-1))
        largest = middle + half
        size = np.minimum(
            middle * np.linalg.norm(sums, axis=-1) + half * angles,
            largest * _norms(matrix) * size,
        )
        entries = middle * sums + half * np.abs(terms).sum(-1)
        yield size, entries
        # Below, only the size of the weight of a unit is known, no longer its sign.
        outer, middle, half = entries, 0.0, largest


def _single(network, numbers):
    return numbers if network.members is not None else float(numbers[0])


def _rounded(number, digits, way=ROUND_CEILING):
    """Return a number with few digits, rounded up: a bound in print has to be a bound."""
    return f"{float(Context(digits, way).create_decimal_from_float(number)):.{digits}g}"


def _exact(number):
    """Return a number with all its digits."""
    return repr(float(number)).removesuffix(".0")


# Parts of a certificate


def _of_residual(network, target, target_lipschitz, target_curvature):
    """Return L and M of the residual; inf where one is not known."""
    own = lipschitz_bound(network)
    if not isinstance(target, Target | MLP):
        raise TypeError(
            f"expected a gradnotes Target or MLP as target, and got {type(target).__name__}; "
            "try Target(expression, variables, domain)"
        )
    width = target.inputs if isinstance(target, MLP) else target.dimension
    if width != network.inputs:
        raise ValueError(f"expected a target of {network.inputs} inputs, and got one of {width}")
    if isinstance(target, MLP) and len({network.members, target.members} - {None}) > 1:
        raise ValueError(
            f"expected two ensembles of one size, and got members={network.members} and "
            f"{target.members}; try .member(0)"
        )
    known = {"target_lipschitz": target_lipschitz, "target_curvature": target_curvature}
    for name, number in known.items():
        if number is not None:
            check_number(name, number)
    smooth = network.activation in BENDS
    if isinstance(target, MLP):
        if target_curvature is not None and target.activation not in BENDS:
            raise ValueError(
                "expected no target_curvature for a ReLU target, whose gradient jumps; try without"
            )
        target_lipschitz = lipschitz_bound(target) if target_lipschitz is None else target_lipschitz
        if target_curvature is None and target.activation in BENDS:
            target_curvature = curvature_bound(target)
    if target_lipschitz is None and (target_curvature is None or not smooth):
        got = "neither" if target_curvature is None else "a curvature for a ReLU network"
        raise ValueError(
            f"expected target_curvature or target_lipschitz, and got {got}: without a bound of "
            "what the target does between the points nothing can be certified; try "
            f"{'target_curvature' if smooth else 'target_lipschitz'}=..., a number that you know"
        )
    lipschitz = math.inf if target_lipschitz is None else own + target_lipschitz
    if target_curvature is None or not smooth:
        return lipschitz, math.inf
    return lipschitz, curvature_bound(network) + target_curvature


def _assumptions(target, target_lipschitz, target_curvature):
    known = (("gradient", target_lipschitz), ("Hessian", target_curvature))
    parts = [f"its {name} is at most {_exact(bound)}" for name, bound in known if bound is not None]
    needs = f"Of the target it is taken for granted that {' and '.join(parts)}." if parts else ""
    formula = "; that of the target's formula is not" if isinstance(target, Target) else ""
    return (*filter(None, (needs,)), f"The round-off of networks is covered{formula}.")


def _maxima(network, target, axes, smooth, target_lipschitz, target_curvature):
    """Return the largest residual and residual gradient on the grid that the axes span."""
    shape = tuple(map(len, axes))
    total = math.prod(shape)
    chunk = max(64, CHUNK // max(getattr(side, "members", None) or 1 for side in (network, target)))
    seen, steepest = 0.0, 0.0 if smooth else math.nan
    bar = tqdm(desc="certify", total=total, unit="pt", disable=None, leave=False, delay=1.0)
    with bar:
        for start in range(0, total, chunk):
            indices = np.unravel_index(np.arange(start, min(start + chunk, total)), shape)
            points = np.stack([axis[i] for axis, i in zip(axes, indices, strict=True)], axis=-1)
            wanted, slopes = _evaluate(target, points, smooth)
            _check_target(points, wanted[..., None], target_lipschitz, "target_lipschitz")
            values, gradients = _evaluate(network, points, smooth)
            seen = np.maximum(seen, np.abs(wanted - values).max(-1))
            if smooth:
                _check_target(points, slopes, target_curvature, "target_curvature")
                lengths = np.linalg.norm(slopes - gradients, axis=-1)
                steepest = np.maximum(steepest, lengths.max(-1))
            bar.update(len(points))
    if not np.isfinite(seen).all() or (smooth and not np.isfinite(steepest).all()):
        raise ValueError("expected finite residuals, and got infinite ones or NaN; try other units")
    return seen, steepest


def _evaluate(function, points, smooth):
    """Return the values, and, if they are asked for, the gradients."""
    if isinstance(function, Target):
        return function.value(points), function.gradient(points) if smooth else None
    rows = torch.from_numpy(points)
    results = function.value_and_gradient(rows) if smooth else (function(rows).detach(),)
    return results[0].numpy(), results[1].numpy() if smooth else None


def _check_target(points, heights, limit, name):
    """Raise if neighbouring points show that the target breaks what is said of it."""
    if limit is None or len(points) < 2:
        return
    rises = np.linalg.norm(np.diff(heights, axis=-2), axis=-1)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    slack = 1e-9 * np.abs(heights).max()
    if not (rises <= limit * (1 + 1e-9) * steps + slack).all():
        least = float((rises / steps).max())
        raise ValueError(
            f"expected a target with {name} of at most {limit:g}, and got one with at least "
            f"{least:.6g} between two points; try a larger {name}"
        )


def _round_off(network, box):
    """Bound the round-off of the values and of the gradients of a network on a box.

    As an error analysis of each layer: a sum of n products is off by at most (n + 2) u times the
    sum of their sizes, and errors pass on by the slopes. An activation is off by at most 12 u and
    its slope by 26 u, if exp, expm1, log1p and sine are by 4 u: tanh is e / (e + 2) with e from
    expm1, and its slope is 1 - tanh^2. Of all numbers only bounds are used, so it is the same for
    all points.
    """
    unit = 1.01 * 2.0**-53
    matrices, biases, outer = _layers(network)
    scale = network.half_width.numpy()
    slope = max(map(abs, SLOPES[network.activation]))
    bend = max(map(abs, BENDS.get(network.activation, (0.0,))))
    centred = np.abs(box - network.centre.numpy()[:, None]).max(-1) / scale
    size = np.broadcast_to(centred, (len(outer), 1, len(scale)))
    error, errors = 3 * unit * size, []
    weights = [np.abs(matrices[0]) * scale[:, None], *map(np.abs, matrices[1:])]
    for weight, bias in zip([*weights, np.abs(outer)[..., None]], biases, strict=True):
        offset = np.abs(bias)[:, None]
        rounding = (weight.shape[1] + 3) * unit * ((size + error) @ weight + offset)
        error, size = error @ weight + rounding, size @ weight + offset
        errors.append(error)
        size = np.minimum(size, 1.0) if network.activation in ("tanh", "sin") else size + 1.0
        error = slope * error + 12 * unit * size
    value = errors.pop()[:, 0, 0]
    gradient, change = np.abs(outer)[:, None], np.zeros((1, 1, 1))
    for weight, error in zip(reversed(weights), reversed(errors), strict=True):
        off = np.minimum(bend * error, 2 * slope) + 28 * unit * slope
        change = (slope + off) * change + gradient * off
        gradient = slope * gradient
        rounding = (weight.shape[2] + 3) * unit * ((gradient + change) @ weight.mT)
        change, gradient = change @ weight.mT + rounding, gradient @ weight.mT
    change = (change + 2 * unit * gradient)[:, 0] / scale
    return _single(network, value), _single(network, np.linalg.norm(change, axis=-1))
