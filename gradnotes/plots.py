r"""Draw what was measured, the same way everywhere: arrays and an ``ax`` in, nothing computed.

Value is blue, gradient vermilion, a bound grey and dashed, a target black and dotted. A colour
never stands alone: tangents are short straight pieces, and curves that share a style have markers
of their own. No function changes a global setting.

:func:`explorer` draws nothing itself: it samples targets and networks for the figure that the
book's pages let the reader play with.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes

from gradnotes.expressions import FloatArray, check_points
from gradnotes.gaps import residual
from gradnotes.targets import Target

VALUE, GRADIENT, BOUND, TARGET = "#0072B2", "#D55E00", "#6E6E6E", "#000000"
_STYLES = {
    "value": {"color": VALUE, "linestyle": "-", "linewidth": 2.0},
    "gradient": {"color": GRADIENT, "linestyle": "-", "linewidth": 2.0},
    "bound": {"color": BOUND, "linestyle": "--", "linewidth": 1.5},
    "target": {"color": TARGET, "linestyle": ":", "linewidth": 1.5},
}
_MARKERS = ("o", "s", "^", "D")


def _style(kind: str) -> dict:
    if kind not in _STYLES:
        raise ValueError(f"expected a kind among {', '.join(_STYLES)}, got {kind!r}")
    return _STYLES[kind]


def _flat(**columns: npt.ArrayLike) -> list[np.ndarray]:
    """Flatten columns, and refuse columns of different lengths."""
    arrays = [np.ravel(column) for column in columns.values()]
    if len({len(array) for array in arrays}) > 1:
        got = ", ".join(f"{len(a)} {name}" for name, a in zip(columns, arrays, strict=True))
        raise ValueError(f"expected as many of each, got {got}; try one number for each point")
    return arrays


def _check_positive(name: str, numbers: npt.ArrayLike) -> None:
    """Refuse what a logarithmic axis would leave out without a word."""
    if not (np.asarray(numbers) > 0).all():
        raise ValueError(
            f"expected {name} above 0 on a logarithmic axis, got {np.min(numbers)}; "
            "try leaving zeros out"
        )


def plot_curve(ax: Axes, x: npt.ArrayLike, y: npt.ArrayLike, kind: str, **style) -> None:
    """Draw one curve in the style of its kind.

    Args:
        ax: Where to draw.
        x: Positions, shape (n,) or (n, 1).
        y: Heights, shape (n,).
        kind: "value", "gradient", "bound" or "target".
        style: Keywords for :meth:`matplotlib.axes.Axes.plot` that win over the style of the kind.

    Raises:
        ValueError: The kind is unknown, or the shapes differ.

    Source: the book's conventions for figures.

    Example:
        A curve that is not in the book:

        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> plot_curve(ax, [[0.0], [1.0]], [2.0, 3.0], "bound", label="limit")
        >>> ax.lines[0].get_linestyle()
        '--'
    """
    ax.plot(*_flat(positions=x, heights=y), **{**_style(kind), **style})


def plot_data(ax: Axes, points: npt.ArrayLike, values: npt.ArrayLike) -> None:
    """Draw training data as black dots on top of everything else.

    Args:
        ax: Where to draw.
        points: Positions, shape (n,) or (n, 1).
        values: Heights, shape (n,).

    Raises:
        ValueError: The shapes differ.

    Source: the book's conventions for figures.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> plot_data(ax, [[0.0], [1.0]], [2.0, 3.0])
        >>> len(ax.collections[0].get_offsets())
        2
    """
    x, y = _flat(points=points, values=values)
    ax.scatter(x, y, s=30, color=TARGET, zorder=5, label="data")


def plot_tangents(
    ax: Axes,
    points: npt.ArrayLike,
    values: npt.ArrayLike,
    slopes: npt.ArrayLike,
    kind: str,
    *,
    half_width: float,
    **style,
) -> None:
    """Draw a short tangent through each point.

    Args:
        ax: Where to draw.
        points: Positions, shape (n,) or (n, 1).
        values: Heights, shape (n,).
        slopes: Slopes, shape (n,) or (n, 1), in heights per unit of position.
        kind: "value", "gradient", "bound" or "target".
        half_width: How far a tangent reaches to each side, in units of position.
        style: Keywords for :meth:`matplotlib.axes.Axes.plot`.

    Raises:
        ValueError: The kind is unknown, or the shapes differ.

    Source: the book's conventions for figures.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> plot_tangents(ax, [1.0], [0.0], [2.0], "gradient", half_width=0.5)
        >>> ax.lines[0].get_ydata()
        array([-1.,  1.])
    """
    x, y, slope = _flat(points=points, values=values, slopes=slopes)
    style = {**_style(kind), **style}
    label = style.pop("label", None)
    step = np.array([-half_width, half_width])
    for i in range(len(x)):
        ax.plot(x[i] + step, y[i] + slope[i] * step, label=None if i else label, **style)


def plot_powers(
    ax: Axes,
    sizes: npt.ArrayLike,
    curves: Mapping[str, tuple[str, npt.ArrayLike]],
    references: Mapping[str, tuple[npt.ArrayLike, float]] | None = None,
) -> None:
    """Draw curves on two logarithmic axes, with reference lines of known slope.

    Args:
        ax: Where to draw.
        sizes: Positions, shape (n,), all positive.
        curves: Label to (kind, heights (n,), all positive).
        references: Label to (heights (n,) of the reference line, where its label stands as a
            fraction of the axis from 0 to 1).

    Raises:
        ValueError: A kind is unknown, the shapes differ, a number is not positive, or a label
            stands outside the axis.

    Source: the book's conventions for figures.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> sizes = np.array([1.0, 10.0])
        >>> plot_powers(ax, sizes, {"error": ("value", 3 * sizes**2)})
        >>> ax.get_xscale(), ax.get_yscale()
        ('log', 'log')
    """
    _check_positive("sizes", sizes)
    for _, heights in curves.values():
        _check_positive("heights", heights)
    ax.set(xscale="log", yscale="log")
    for marker, (label, (kind, heights)) in zip(cycle(_MARKERS), curves.items(), strict=False):
        plot_curve(ax, sizes, heights, kind, marker=marker, markersize=4, label=label)
    for label, (heights, where) in (references or {}).items():
        if not 0 <= where <= 1:
            raise ValueError(f"expected a place of {label!r} from 0 to 1, got {where}; try 0.5")
        _check_positive("heights", heights)
        plot_curve(ax, sizes, heights, "bound", linewidth=1.0)
        index = round(where * (len(np.ravel(sizes)) - 1))
        place = (np.ravel(sizes)[index], np.ravel(heights)[index])
        ax.annotate(label, place, (-4, 4), textcoords="offset points", color=BOUND, ha="right")


def plot_implications(
    ax: Axes,
    boxes: Mapping[str, tuple[float, float]],
    arrows: Sequence[tuple[str, str, bool, str]],
) -> None:
    """Draw statements as boxes and implications as arrows, with what is known of each beside it.

    An arrow that holds is a solid black line; one that fails is dashed, vermilion and crossed out.

    Args:
        ax: Where to draw; its axes are hidden.
        boxes: Statement to its place, from (0, 0) at the bottom left to (1, 1).
        arrows: Tuples (from, to, whether it holds, the words beside it).

    Raises:
        ValueError: An arrow starts or ends at no box.

    Source: the book's conventions for figures.

    Example:
        An implication that is not in the book:

        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> boxes = {"wet": (0.5, 0.0), "rain": (0.5, 1.0)}
        >>> plot_implications(ax, boxes, [("wet", "rain", False, "sprinkler")])
        >>> [text.get_text() for text in ax.texts if text.get_text()]
        ['wet', 'rain', 'sprinkler', '\N{MULTIPLICATION X}']
    """
    for name in (name for start, end, *_ in arrows for name in (start, end)):
        if name not in boxes:
            raise ValueError(f"expected an arrow between {list(boxes)}, got {name!r}")
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    frame = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": TARGET}
    drawn = {
        statement: ax.text(*place, statement, ha="center", va="center", bbox=frame, fontsize=9)
        for statement, place in boxes.items()
    }
    for start, end, holds, words in arrows:
        _draw_implication(ax, drawn[start], drawn[end], holds, words)


def _draw_implication(ax, start, end, holds, words):
    colour, line = (TARGET, "-") if holds else (GRADIENT, "--")
    ends = {"patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch()}
    arrow = {"arrowstyle": "-|>", "color": colour, "linestyle": line, "linewidth": 1.5, **ends}
    tail, tip = np.array(start.get_position()), np.array(end.get_position())
    ax.annotate("", tip, tail, arrowprops=arrow, zorder=4)
    middle = (tail + tip) / 2
    if tail[1] == tip[1]:
        beside = {"xytext": (0, 10), "ha": "center", "va": "bottom"}
    else:
        beside = {"xytext": (-12, 4), "ha": "right", "va": "center"}
    ax.annotate(words, middle, textcoords="offset points", fontsize=8, **beside)
    if not holds:
        cross = {"color": colour, "ha": "center", "va": "center", "size": 14, "zorder": 5}
        ax.text(*middle, "\N{MULTIPLICATION X}", **cross)


_STEPS = 400  # of the grid on which the explorer knows its curves
_APART = 5  # no two dots come nearer, in steps
_MOST_BYTES = 60_000


@dataclass(frozen=True)
class Explorer:
    """The samples behind an interactive figure, which a page carries where nobody sees them.

    Args:
        data: What the figure's script reads: "domain", the pair (low, high); "steps", how many
            equal steps the grid has; "apart", how many of them lie at least between two dots;
            "dots", the steps at which the dots are at home; "slope", that of the ripple at the
            first dot; and "choices", one mapping for each common target, with its "name", and
            "target" and "network", each a list of the values and a list of the slopes on the grid.

    Source: the book's conventions for figures.

    Example:
        >>> Explorer({"dots": [0, 400]})._repr_html_()
        '<script type="application/json" class="gradnotes-explorer">{"dots":[0,400]}</script>'
    """

    data: Mapping = field(repr=False)

    def _repr_html_(self) -> str:
        # No "<" inside: a name with "</script>" in it would end the element.
        text = json.dumps(self.data, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")
        return f'<script type="application/json" class="gradnotes-explorer">{text}</script>'


def explorer(
    targets: Mapping[str, Target],
    points: npt.ArrayLike,
    networks: Mapping[str, torch.nn.Module],
    *,
    slope: float = np.pi,
) -> Explorer:
    r"""Sample targets and networks for the book's interactive figure of dots and slopes.

    The figure shows a target or, at the press of a button, another one with the same values at the
    dots: the target plus a ripple. Between neighbouring dots :math:`x_i < x_{i+1}`, which the
    reader may move along the grid, the ripple is one half-wave:

    .. math:: (-1)^i\, \frac{s h_i}{\pi} \sin\frac{\pi (x - x_i)}{h_i}, \qquad
              h_i = x_{i+1} - x_i, \quad \text{slopes } s, -s, s, \dots \text{ at the dots.}

    With :math:`s = \pi` and dots at 0, 1, 2 and so on it is :math:`\sin \pi x`, as in
    :func:`~gradnotes.counterexamples.same_data_pair`. Values and slopes are taken at 401 equally
    spaced points and rounded to seven significant digits, many more than the figure shows.

    Args:
        targets: Name of a target, as it is to be read on the page, to the target, in one variable;
            all on the same finite domain.
        points: The dots, shape (n, 1), n >= 3, increasing, among the 401 points, at least five
            steps apart, with one at each end of the domain.
        networks: The same names to networks that were trained on the dots, each an
            :class:`~gradnotes.networks.MLP` or a module that maps (m, 1) to (m, 1) or (m,).
        slope: The slope s of the ripple at the first dot, not zero.

    Returns:
        The samples, which a notebook or a page shows as an invisible element.

    Raises:
        TypeError: A target or a network is of another kind, or the points are not float64.
        ValueError: The names, domains or points do not fit, a number is not finite, the slope is
            zero, or there would be more than 60 000 characters.

    Source: the book's first example.

    Example:
        A target that is not in the book, with a module in place of a trained network:

        >>> from sympy import Symbol
        >>> z = Symbol("z", real=True)
        >>> square = Target(z**2, z, (0, 4))
        >>> figure = explorer({"z²": square}, square.grid(5), {"z²": torch.nn.Linear(1, 1)})
        >>> figure.data["dots"], figure.data["slope"]
        ([0, 100, 200, 300, 400], 3.141593)
        >>> figure.data["choices"][0]["target"][0][100]
        1.0
    """
    if not targets or set(targets) != set(networks):
        raise ValueError(
            f"expected a network for each of at least one target, got targets {list(targets)} and "
            f"networks {list(networks)}; try the same names in both"
        )
    if not np.isfinite(slope) or slope == 0:
        raise ValueError(f"expected a finite slope other than 0, got {slope}; try numpy.pi")
    domain = _common_domain(targets)
    grid = np.linspace(*domain, _STEPS + 1)[:, None]
    dots = _steps_of(points, grid)
    choices = [
        {
            "name": name,
            "target": _rounded([target.value(grid), target.gradient(grid)[:, 0]]),
            "network": _rounded(_network_on(name, networks[name], target, grid)),
        }
        for name, target in targets.items()
    ]
    grids = {"domain": domain, "steps": _STEPS, "apart": _APART, "dots": dots}
    figure = Explorer({**grids, "slope": _rounded(slope), "choices": choices})
    size = len(figure._repr_html_())
    if size > _MOST_BYTES:
        raise ValueError(
            f"expected at most {_MOST_BYTES} characters on a page, got {size}; try fewer targets"
        )
    return figure


def _common_domain(targets) -> list[float]:
    for name, target in targets.items():
        if not isinstance(target, Target):
            raise TypeError(
                f"expected a Target for {name!r}, got {type(target).__name__}; try Target(...)"
            )
    domains = {name: target.domain for name, target in targets.items()}
    first = next(iter(domains.values()))
    if len(first) != 1 or not np.isfinite(first).all() or set(domains.values()) != {first}:
        raise ValueError(
            f"expected one variable and one finite domain for all, got {domains}; "
            "try Target(expression, x, (0, 8)) for each"
        )
    return list(first[0])


def _steps_of(points, grid: FloatArray) -> list[int]:
    """Give the numbers of the grid points at which the dots are, once all of them fit."""
    x = check_points(points, 1)[:, 0]
    low, high = grid[0, 0], grid[-1, 0]
    if len(x) < 3 or x[0] != low or x[-1] != high or not (np.diff(x) > 0).all():
        raise ValueError(
            f"expected three or more increasing points from {low} to {high}, the ends of the "
            f"domain, got {x.tolist()}; try target.grid(9)"
        )
    steps = np.rint((x - low) / (high - low) * _STEPS).astype(int)
    if not np.allclose(grid[steps, 0], x, rtol=0, atol=1e-9 * (high - low)):
        raise ValueError(
            f"expected points at whole numbers of steps of {(high - low) / _STEPS}, "
            f"got {x.tolist()}; try rounding them to such a number"
        )
    if np.diff(steps).min() < _APART:
        raise ValueError(
            f"expected points at least {_APART * (high - low) / _STEPS} apart, got {x.tolist()}; "
            "try fewer of them"
        )
    return steps.tolist()


def _network_on(name, network, target: Target, grid: FloatArray) -> list[FloatArray]:
    """Give the values and the slopes of one network on the grid."""
    if not isinstance(network, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module for {name!r}, got {type(network).__name__}")
    nothing = Target(0, target.variables, target.domain)
    values, slopes = residual(nothing, network, grid)
    if values.shape != (len(grid),):
        raise ValueError(
            f"expected one network for {name!r}, got an ensemble of {len(values)}; "
            "try network.member(0)"
        )
    return [values, slopes[:, 0]]


def _rounded(numbers):
    """Round a number, or numbers in lists, to seven significant digits."""
    if np.ndim(numbers):
        return [_rounded(part) for part in numbers]
    return float(f"{numbers:.7g}")
