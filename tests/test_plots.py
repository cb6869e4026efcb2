"""The plots: what is drawn is what was given, in the style of its kind; nothing global moves."""

import json

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy as sp
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gradnotes.networks import MLP
from gradnotes.plots import (
    BOUND,
    GRADIENT,
    TARGET,
    VALUE,
    Explorer,
    explorer,
    plot_curve,
    plot_data,
    plot_implications,
    plot_powers,
    plot_tangents,
)
from gradnotes.targets import Target, zero

COLOURS = {"value": "#0072b2", "gradient": "#d55e00", "bound": "#6e6e6e", "target": "#000000"}
LINES = {"value": "-", "gradient": "-", "bound": "--", "target": ":"}
SIZES = np.array([0.5, 2.0, 8.0, 32.0])
CROSS = "\N{MULTIPLICATION X}"


@pytest.fixture
def ax():
    """Axes of a figure that pyplot does not know."""
    return Figure().subplots()


def drawn(line):
    return np.column_stack([line.get_xdata(), line.get_ydata()]).tolist()


def draw_everything():
    figure = Figure()
    curves, powers, statements = figure.subplots(1, 3)
    plot_curve(curves, SIZES[:, None], SIZES**2, "value", label="a")
    plot_data(curves, SIZES, SIZES)
    plot_tangents(curves, SIZES, SIZES, SIZES, "gradient", half_width=0.1)
    plot_powers(powers, SIZES, {"a": ("value", SIZES)}, {"b": (SIZES, 0.5)})
    plot_implications(statements, {"p": (0.5, 0.0), "q": (0.5, 1.0)}, [("p", "q", False, "no")])
    return figure


# Curves and data


@pytest.mark.parametrize("kind", COLOURS)
@pytest.mark.parametrize("column", [False, True])
def test_a_curve_is_what_was_given_in_the_style_of_its_kind(ax, kind, column):
    x, y = np.array([0.0, 0.25, 3.0]), np.array([1.0, -2.0, 0.1])
    plot_curve(ax, x[:, None] if column else x, y, kind, label="name")
    (line,) = ax.lines
    assert drawn(line) == [[0.0, 1.0], [0.25, -2.0], [3.0, 0.1]]
    assert to_hex(line.get_color()) == COLOURS[kind]
    assert line.get_linestyle() == LINES[kind]
    assert line.get_label() == "name"
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")


def test_the_colours_have_names():
    assert [c.lower() for c in (VALUE, GRADIENT, BOUND, TARGET)] == list(COLOURS.values())


def test_a_given_style_wins_for_this_curve_only(ax):
    plot_curve(ax, [0, 1], [0, 1], "value", linestyle=":", linewidth=0.5, color="red")
    plot_curve(ax, [0, 1], [0, 1], "value")
    first, second = ax.lines
    assert (first.get_linestyle(), first.get_linewidth()) == (":", 0.5)
    assert to_hex(first.get_color()) == "#ff0000"
    assert (second.get_linestyle(), second.get_linewidth()) == ("-", 2.0)
    assert to_hex(second.get_color()) == COLOURS["value"]


def test_data_are_dots_on_top(ax):
    plot_curve(ax, [0.0, 1.0], [0.0, 1.0], "target")
    plot_data(ax, [[0.5], [2.0]], [3.0, -1.0])
    (dots,) = ax.collections
    assert dots.get_offsets().tolist() == [[0.5, 3.0], [2.0, -1.0]]
    assert to_hex(dots.get_facecolor()[0]) == COLOURS["target"]
    assert dots.get_label() == "data"
    assert dots.get_zorder() > ax.lines[0].get_zorder()


# Tangents


def test_a_tangent_goes_through_its_point_with_its_slope(ax):
    plot_tangents(ax, [[0.0], [2.0]], [1.0, -1.0], [[4.0], [-0.5]], "target", half_width=0.25)
    assert [drawn(line) for line in ax.lines] == [
        [[-0.25, 0.0], [0.25, 2.0]],
        [[1.75, -0.875], [2.25, -1.125]],
    ]
    assert all(to_hex(line.get_color()) == COLOURS["target"] for line in ax.lines)
    assert all(line.get_linestyle() == ":" for line in ax.lines)


def test_tangents_have_one_label_together(ax):
    plot_tangents(ax, SIZES, SIZES, SIZES, "gradient", half_width=0.1, label="slopes", linewidth=3)
    assert ax.get_legend_handles_labels()[1] == ["slopes"]
    assert [line.get_linewidth() for line in ax.lines] == [3.0] * 4


# Powers


def test_powers_are_drawn_on_logarithmic_axes(ax):
    errors = {"one": ("value", 3 * SIZES), "two": ("gradient", SIZES**2), "b": ("bound", SIZES)}
    plot_powers(ax, SIZES[:, None], errors)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [line.get_label() for line in ax.lines] == ["one", "two", "b"]
    for line, (kind, heights) in zip(ax.lines, errors.values(), strict=True):
        assert drawn(line) == np.column_stack([SIZES, heights]).tolist()
        assert to_hex(line.get_color()) == COLOURS[kind]
        assert line.get_linestyle() == LINES[kind]
    markers = [line.get_marker() for line in ax.lines]
    assert len(set(markers)) == 3
    assert "" not in markers


@pytest.mark.parametrize(("where", "index"), [(0.0, 0), (0.34, 1), (1.0, 3)])
def test_a_reference_line_has_its_label_beside_it(ax, where, index):
    plot_powers(ax, SIZES, {}, {"slope 2": (SIZES**2, where)})
    (line,), (text,) = ax.lines, ax.texts
    assert drawn(line) == np.column_stack([SIZES, SIZES**2]).tolist()
    assert (line.get_linestyle(), to_hex(line.get_color())) == ("--", COLOURS["bound"])
    assert text.get_text() == "slope 2"
    assert tuple(text.xy) == (SIZES[index], SIZES[index] ** 2)
    assert ax.get_legend_handles_labels()[1] == []


# Implications


def test_implications_are_arrows_between_boxes(ax):
    boxes = {"p": (0.5, 0.0), "q": (0.5, 1.0), "r": (0.0, 1.0)}
    plot_implications(ax, boxes, [("p", "q", True, "always"), ("q", "r", False, "not always")])
    assert not ax.axison
    places = {text.get_text(): text.get_position() for text in ax.texts if text.get_text() in boxes}
    assert places == boxes
    arrows = [text.arrow_patch for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert [to_hex(arrow.get_edgecolor()) for arrow in arrows] == ["#000000", "#d55e00"]
    assert [arrow.get_linestyle() for arrow in arrows] == ["-", "--"]
    ends = [(text.xyann, text.xy) for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert [np.array(end).tolist() for end in ends] == [
        [[0.5, 0.0], [0.5, 1.0]],
        [[0.5, 1.0], [0.0, 1.0]],
    ]


def test_only_an_implication_that_fails_is_crossed_out(ax):
    boxes = {"p": (0.0, 0.0), "q": (1.0, 0.5)}
    plot_implications(ax, boxes, [("p", "q", True, "yes")])
    assert CROSS not in [text.get_text() for text in ax.texts]
    plot_implications(ax, boxes, [("q", "p", False, "no")])
    (cross,) = (text for text in ax.texts if text.get_text() == CROSS)
    assert cross.get_position() == (0.5, 0.25)
    words = {text.get_text(): text.xy for text in ax.texts if text.get_text() in ("yes", "no")}
    assert {word: tuple(place) for word, place in words.items()} == {
        "yes": (0.5, 0.25),
        "no": (0.5, 0.25),
    }


# The interactive figure

T = sp.Symbol("t", real=True)
INTEGERS = np.arange(5.0)[:, None]
START = '<script type="application/json" class="gradnotes-explorer">'


class Parabola(torch.nn.Module):
    """A module whose values and slopes one knows: -3 t**2 and -6 t."""

    def forward(self, points):
        return -3 * points**2


def cubic(domain=(0, 4)):
    """The target 5 t**3 / 7, whose values and slopes one knows too."""
    return Target(5 * T**3 / 7, T, domain)


def carried(figure):
    """What a page reads: the data inside the one invisible element."""
    html = figure._repr_html_()
    assert html.startswith(START)
    assert html.endswith("</script>")
    assert "<" not in html[len(START) : -len("</script>")]
    return json.loads(html[len(START) : -len("</script>")])


def test_the_explorer_carries_targets_networks_and_dots():
    targets = {"cubic": cubic(), "zero": zero((0, 4))}
    networks = {"cubic": Parabola(), "zero": MLP(1, (3,), domain=[(0, 4)], rng=5)}
    data = carried(explorer(targets, INTEGERS, networks))
    assert sorted(data) == ["apart", "choices", "domain", "dots", "slope", "steps"]
    assert (data["domain"], data["steps"], data["apart"]) == ([0, 4], 400, 5)
    assert (data["dots"], data["slope"]) == ([0, 100, 200, 300, 400], 3.141593)
    first, second = data["choices"]
    assert (first["name"], second["name"]) == ("cubic", "zero")
    t = np.linspace(0, 4, 401)
    near = {"rtol": 5e-7, "atol": 0}
    np.testing.assert_allclose(first["target"], [5 / 7 * t**3, 15 / 7 * t**2], **near)
    np.testing.assert_allclose(first["network"], [-3 * t**2, -6 * t], **near)
    assert second["target"] == [[0] * 401] * 2
    exact = networks["zero"].value_and_gradient(torch.from_numpy(t[:, None]))
    np.testing.assert_allclose(second["network"][0], exact[0], **near)
    np.testing.assert_allclose(second["network"][1], exact[1][:, 0], **near)


def test_the_explorer_takes_other_dots_and_another_slope():
    uneven = np.array([-1, -0.5, -0.375, 0, 0.995 - 0.5, 1])[:, None]
    data = explorer({"a": cubic((-1, 1))}, uneven, {"a": Parabola()}, slope=-2.5).data
    assert (data["domain"], data["slope"]) == ([-1, 1], -2.5)
    assert data["dots"] == [0, 100, 125, 200, 299, 400]
    assert data["choices"][0]["target"][0][0] == pytest.approx(-5 / 7, rel=1e-6)


def test_numbers_of_the_explorer_have_seven_digits():
    data = explorer({"a": cubic()}, INTEGERS, {"a": Parabola()}, slope=1 / 3).data
    (choice,) = data["choices"]
    for number in [data["slope"], *choice["target"][0], *choice["network"][1]]:
        assert type(number) is float
        assert float(f"{number:.7g}") == number


def test_two_targets_fit_a_page_and_no_name_ends_the_element():
    name = "</script><b>&\u2028"
    targets, networks = {name: cubic(), "b": cubic()}, {name: Parabola(), "b": Parabola()}
    figure = explorer(targets, INTEGERS, networks)
    assert carried(figure)["choices"][0]["name"] == name
    assert len(figure._repr_html_()) < 45_000
    assert figure._repr_html_().isascii()
    assert len(repr(figure)) < 30


def test_the_explorer_refuses_numbers_that_a_page_cannot_read():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Explorer({"dots": [np.nan]})._repr_html_()


DIFFERENT = {"a": cubic(), "b": cubic((0, 5))}


@pytest.mark.parametrize(
    ("targets", "points", "networks", "words"),
    [
        ({}, INTEGERS, {}, "at least one target, got targets \\[\\] and networks \\[\\]; try"),
        (
            {"a": cubic()},
            INTEGERS,
            {"b": Parabola()},
            "got targets \\['a'\\] and networks \\['b'\\]",
        ),
        (DIFFERENT, INTEGERS, dict.fromkeys("ab", Parabola()), "one finite domain for all, got"),
        ({"a": cubic((0, sp.oo))}, INTEGERS, {"a": Parabola()}, "one finite domain for all, got"),
        ({"a": cubic()}, INTEGERS * 1.25, {"a": Parabola()}, r"from 0.0 to 4.0, .*, 5.0\]; try"),
        ({"a": cubic()}, INTEGERS - 1, {"a": Parabola()}, r"from 0.0 to 4.0, .* got \[-1.0"),
        ({"a": cubic()}, INTEGERS[::-1], {"a": Parabola()}, "expected three or more increasing"),
        ({"a": cubic()}, INTEGERS[[0, 2, 1, 4]], {"a": Parabola()}, "three or more increasing"),
        ({"a": cubic()}, INTEGERS[[0, 4]], {"a": Parabola()}, "expected three or more increasing"),
        ({"a": cubic()}, INTEGERS[[0, 1, 1, 4]], {"a": Parabola()}, "three or more increasing"),
        ({"a": cubic()}, [[0.0], [1.003], [4.0]], {"a": Parabola()}, "numbers of steps of 0.01"),
        ({"a": cubic()}, [[0.0], [1.0], [1.04], [4.0]], {"a": Parabola()}, "at least 0.05 apart"),
        ({"a": cubic()}, [[0.0], [np.nan], [4.0]], {"a": Parabola()}, "finite"),
        ({"a": cubic()}, INTEGERS[:, 0], {"a": Parabola()}, "shape"),
        (
            {"a": cubic()},
            INTEGERS,
            {"a": MLP(1, (2,), members=3, rng=0)},
            "got an ensemble of 3; try",
        ),
        ({"a": cubic()}, INTEGERS, {"a": torch.nn.Linear(2, 1)}, "cannot take points of shape"),
    ],
)
def test_what_the_explorer_cannot_show_is_refused(targets, points, networks, words):
    with pytest.raises(ValueError, match=words):
        explorer(targets, points, networks)


@pytest.mark.parametrize("slope", [0, np.nan, np.inf])
def test_a_ripple_without_a_slope_is_refused(slope):
    with pytest.raises(ValueError, match=f"a finite slope other than 0, got {slope}; try numpy.pi"):
        explorer({"a": cubic()}, INTEGERS, {"a": Parabola()}, slope=slope)


def test_a_number_that_is_not_finite_is_refused():
    holes = Target(1 / (T - 1), T, (0, 4))
    with pytest.raises(ValueError, match="not a finite number"):
        explorer({"a": holes}, INTEGERS, {"a": Parabola()})
    broken = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(broken.weight, torch.inf)
    with pytest.raises(ValueError, match="finite"):
        explorer({"a": cubic()}, INTEGERS, {"a": broken})


def test_other_kinds_than_targets_and_networks_are_refused():
    with pytest.raises(TypeError, match="expected a Target for 'a', got Parabola; try Target"):
        explorer({"a": Parabola()}, INTEGERS, {"a": Parabola()})
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module for 'a', got function"):
        explorer({"a": cubic()}, INTEGERS, {"a": carried})
    with pytest.raises(TypeError, match="float64"):
        explorer({"a": cubic()}, INTEGERS.astype(np.float32), {"a": Parabola()})


def test_a_page_never_carries_more_than_it_should():
    names = "abcde"
    with pytest.raises(ValueError, match=r"expected at most 60000 characters .* try fewer targets"):
        explorer(dict.fromkeys(names, cubic()), INTEGERS, dict.fromkeys(names, Parabola()))


# Nothing else moves


def test_no_global_setting_figure_or_argument_changes():
    settings, figures, sizes = dict(mpl.rcParams), plt.get_fignums(), SIZES.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_everything().canvas.draw()
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures
    np.testing.assert_array_equal(SIZES, sizes)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


# Errors


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax, kind: plot_curve(ax, SIZES, SIZES, kind),
        lambda ax, kind: plot_tangents(ax, SIZES, SIZES, SIZES, kind, half_width=1.0),
        lambda ax, kind: plot_powers(ax, SIZES, {"a": (kind, SIZES)}),
    ],
)
@pytest.mark.parametrize("kind", ["Value", "slope", ""])
def test_an_unknown_kind_is_refused(ax, draw, kind):
    words = f"expected a kind among value, gradient, bound, target, got '{kind}'"
    with pytest.raises(ValueError, match=words):
        draw(ax, kind)
    assert not ax.lines


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda ax: plot_curve(ax, SIZES, SIZES[:3], "value"), "4 positions, 3 heights"),
        (lambda ax: plot_curve(ax, SIZES, np.ones((4, 2)), "value"), "4 positions, 8 heights"),
        (lambda ax: plot_data(ax, np.ones((4, 2)), SIZES), "8 points, 4 values"),
        (
            lambda ax: plot_tangents(ax, SIZES, SIZES, SIZES[:2], "value", half_width=1.0),
            "4 points, 4 values, 2 slopes",
        ),
        (lambda ax: plot_powers(ax, SIZES, {"a": ("value", SIZES[1:])}), "4 positions, 3 heights"),
    ],
)
def test_shapes_that_differ_are_refused(ax, draw, words):
    with pytest.raises(ValueError, match=f"expected as many of each, got {words}; try one number"):
        draw(ax)
    assert not ax.lines
    assert not ax.collections


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_what_a_logarithmic_axis_would_leave_out_is_refused(ax, bad):
    numbers = np.array([1.0, bad, 2.0, 3.0])
    words = f"above 0 on a logarithmic axis, got {bad}; try leaving zeros out"
    with pytest.raises(ValueError, match=f"expected sizes {words}"):
        plot_powers(ax, numbers, {"a": ("value", SIZES)})
    with pytest.raises(ValueError, match=f"expected heights {words}"):
        plot_powers(ax, SIZES, {"a": ("value", numbers)})
    with pytest.raises(ValueError, match=f"expected heights {words}"):
        plot_powers(ax, SIZES, {}, {"a": (numbers, 0.5)})


@pytest.mark.parametrize("where", [-0.5, 1.5])
def test_a_label_outside_the_axis_is_refused(ax, where):
    with pytest.raises(ValueError, match=f"a place of 'a' from 0 to 1, got {where}; try 0.5"):
        plot_powers(ax, SIZES, {}, {"a": (SIZES, where)})


@pytest.mark.parametrize("ends", [("p", "s"), ("s", "p")])
def test_an_arrow_to_no_box_is_refused(ax, ends):
    with pytest.raises(ValueError, match=r"expected an arrow between \['p', 'q'\], got 's'"):
        plot_implications(ax, {"p": (0, 0), "q": (1, 1)}, [(*ends, True, "")])
