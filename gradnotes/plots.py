r"""Draw what was measured, the same way everywhere: arrays and an ``ax`` in, nothing computed.

Value is blue, gradient vermilion, a bound grey and dashed, a target black and dotted. A colour
never stands alone: tangents are short straight pieces, and curves that share a style have markers
of their own. No function changes a global setting.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

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
