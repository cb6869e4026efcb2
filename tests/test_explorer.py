"""The interactive figure in a browser, with the network shut: what it shows, does and says."""

import itertools
import json
import re

import numpy as np
import pytest
import sympy as sp
import test_pages
from scipy.interpolate import CubicHermiteSpline
from test_pages import AA, BOOK, LOCAL, PHONE, WIDE, Axe, colour, watch

from gradnotes.counterexamples import same_data_pair
from gradnotes.gaps import measure_gaps
from gradnotes.targets import Target, zero

browser, context = test_pages.browser, test_pages.context

X = sp.Symbol("x", real=True)
CURVED, FLAT = "cos x + x²/16", "0"
PAIRS = {
    CURVED: same_data_pair(Target(sp.cos(X) + X**2 / 16, X, (0, 8))),
    FLAT: same_data_pair(zero()),
}
ON_PAGES = {"index": [CURVED], "sinusoid": [CURVED, FLAT]}
GRID = np.linspace(0, 8, 401)
HOME = np.arange(9.0)
MODELS = ("network", "nearest", "linear", "hermite")
# Half of the last digit that is shown, and what seven digits of the samples can do to it.
SHOWN = 0.5e-3 + 1e-5
LAST = 7  # the last dot that moves; the first and the last of all stay at the ends


def address(page="index"):
    return (BOOK / "book" / f"{page}.html").as_uri()


class Figure:
    """The figure of a page, as a reader sees it."""

    def __init__(self, seen, page):
        self.seen, self.tab = seen, seen.tab
        self.tab.goto(address(page))
        self.box = self.tab.locator("figure.explorer-on .explorer")
        self.data = json.loads(self.tab.locator("script.gradnotes-explorer").text_content())

    def click(self, name):
        self.box.get_by_role("button", name=name).click()

    def flip(self):
        self.click("Other target")

    def take(self, model):
        self.box.get_by_label("Model").select_option(model)

    def dot(self, i):
        return self.box.get_by_role("slider", name=f"Dot {i + 1}", exact=True)

    def at(self, i):
        return float(self.dot(i).get_attribute("aria-valuenow"))

    def dots(self):
        return np.array([0.0, *map(self.at, range(1, 8)), 8.0])

    def press(self, i, *keys):
        self.dot(i).focus()
        for key in keys:
            self.tab.keyboard.press(key)

    def gaps(self):
        return [number(text) for text in self.box.locator("output strong").all_text_contents()]

    def table(self):
        """Position, residual, and its slope on the left and on the right, of each dot."""
        cells = [number_list(text) for text in self.box.locator("td").all_text_contents()]
        rows = [cells[i] + cells[i + 1] + cells[i + 2] for i in range(0, len(cells), 3)]
        return np.array([[*row[:3], row[-1]] for row in rows])

    def paths(self, kind):
        lines = self.box.locator(f".explorer-plot .explorer-{kind}")
        return lines.evaluate_all("all => all.map((one) => one.getAttribute('d'))")

    def places(self):
        dots = self.box.locator(".explorer-plot > g + g")
        return dots.evaluate_all("all => all.map((one) => one.getAttribute('transform'))")

    def note(self):
        return " ".join(self.box.locator("[role=status]").text_content().split())

    def centre(self, i):
        box = self.dot(i).locator(".explorer-point").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def unit(self):
        """How many pixels the dots at 1 and 2 are apart."""
        return self.centre(2)[0] - self.centre(1)[0]


def number_list(text):
    return [float(part) for part in text.replace("\N{MINUS SIGN}", "-").split(", ")]


def number(text):
    (only,) = number_list(text)
    return only


@pytest.fixture(scope="module")
def seen(context):
    """One tab for all tests on a wide, light screen; each opens its page afresh."""
    seen = watch(context)
    # No formula matters here, and the pages open faster.
    seen.tab.route("**/_mathjax/**", lambda route: route.fulfill(body=""))
    yield seen
    seen.tab.close()


@pytest.fixture
def figure(seen):
    seen.tab.set_viewport_size(WIDE)
    seen.tab.emulate_media(media="screen", color_scheme="light")
    return Figure(seen, "index")


@pytest.fixture
def open_page(seen):
    return lambda page: Figure(seen, page)


# What the page carries


@pytest.mark.parametrize("page", ON_PAGES)
def test_a_page_carries_its_targets_and_a_network_through_the_dots(open_page, page):
    data = open_page(page).data
    assert [choice["name"] for choice in data["choices"]] == ON_PAGES[page]
    assert data["dots"] == list(range(0, 401, 50))
    for choice in data["choices"]:
        target = PAIRS[choice["name"]].first
        rows = target.value(GRID[:, None]), target.gradient(GRID[:, None])[:, 0]
        np.testing.assert_allclose(choice["target"], rows, rtol=1e-6, atol=1e-12)
        values, slopes = choice["network"]
        at_dots = target.value(HOME[:, None])
        np.testing.assert_allclose(np.array(values)[::50], at_dots, rtol=0, atol=0.02)
        # The slopes are those of the values.
        differences = np.gradient(values, GRID, edge_order=2)
        np.testing.assert_allclose(slopes, differences, rtol=0, atol=2e-3)


@pytest.mark.parametrize("page", ON_PAGES)
def test_a_page_with_the_figure_asks_no_other_host_and_nothing_fails(seen, open_page, page):
    seen.asked.clear(), seen.faults.clear()
    figure = open_page(page)
    figure.flip()
    assert figure.paths("target") != []
    assert "explorer.js" in " ".join(seen.asked)
    assert [url for url in seen.asked if not LOCAL.match(url)] == []
    assert seen.faults == []
    assert len(figure.tab.locator("script.gradnotes-explorer").text_content()) < 60_000


def test_script_and_style_are_small():
    test_pages.need_book()
    sizes = {name: (BOOK / "_static" / f"explorer.{name}").stat().st_size for name in ("js", "css")}
    assert sizes["js"] < 14_500
    assert sizes["css"] < 3_200


# What it does


@pytest.mark.parametrize("page", ON_PAGES)
def test_the_button_flips_the_tangents_while_dots_and_curve_stay(open_page, page):
    figure = open_page(page)
    before, gaps, slopes = figure.paths("model"), figure.gaps(), figure.paths("slopes")
    upper, lower = before[0].split("M")[1:]
    places, table = figure.places(), figure.table()
    button = figure.box.get_by_role("button", name="Other target")
    assert button.get_attribute("aria-pressed") == "false"
    figure.flip()
    assert button.get_attribute("aria-pressed") == "true"
    after_upper, after_lower = figure.paths("model")[0].split("M")[1:]
    assert after_upper == upper
    assert after_lower != lower
    assert figure.places() == places
    assert figure.paths("slopes") != slopes
    assert gaps[1] < 0.5
    assert figure.gaps()[1] > np.pi - 0.5
    # The residuals at the dots stay, and their slopes change by pi, up and down in turn.
    np.testing.assert_array_equal(figure.table()[:, :2], table[:, :2])
    turned = np.pi * (-1.0) ** np.arange(9)
    np.testing.assert_allclose(figure.table()[:, 2] - table[:, 2], turned, atol=2 * SHOWN)
    assert "ripple" in figure.tab.locator("figure.explorer-on figcaption").inner_text()
    figure.flip()
    assert (figure.gaps(), figure.paths("slopes"), figure.paths("model")) == (gaps, slopes, before)
    assert "ripple" not in figure.tab.locator("figure.explorer-on figcaption").inner_text()


def test_the_tangents_that_are_drawn_are_tangents_of_the_curves(figure):
    figure.flip()
    # Each half is "M x y l dx dy": the first of an inner dot goes left, the second right.
    (path,) = figure.paths("slopes")
    halves = [list(map(float, re.findall(r"[-\d.e]+", half))) for half in path.split("M")[1:]]
    upper = [half for half in halves if half[1] < 250]
    assert len(upper) == len(halves) - len(upper) == 16
    places = [list(map(float, re.findall(r"[-\d.]+", place))) for place in figure.places()]
    heights = PAIRS[CURVED].first.value(HOME[:, None])
    rise = (places[0][1] - places[8][1]) / (heights[8] - heights[0])
    wanted = PAIRS[CURVED].second.gradient(HOME[:, None])[:, 0]
    drawn = [-dy / rise / (dx / figure.unit()) for _, _, dx, dy in upper]
    np.testing.assert_allclose(drawn, np.repeat(wanted, 2)[1:-1], rtol=0.02, atol=0.02)
    assert all(abs(np.hypot(dx, dy) - 22) < 0.1 for _, _, dx, dy in halves)


def ripple(at, dots):
    """Values and slopes of half-waves between the dots that start upwards with slope pi."""
    values, slopes = np.zeros_like(at), np.zeros_like(at)
    for i, (start, end) in enumerate(itertools.pairwise(dots)):
        inside = (start <= at) & (at <= end)
        turn = np.pi * (at[inside] - start) / (end - start)
        values[inside] = (-1) ** i * (end - start) * np.sin(turn)
        slopes[inside] = (-1) ** i * np.pi * np.cos(turn)
    return values, slopes


def truth(name, at, dots, other):
    """Values and slopes of the target, without the samples of the page."""
    at = np.asarray(at)
    if np.array_equal(dots, HOME):
        target = PAIRS[name].second if other else PAIRS[name].first
        return target.value(at[:, None]), target.gradient(at[:, None])[:, 0]
    target, wave = PAIRS[name].first, ripple(at, dots)
    return [
        target.value(at[:, None]) + other * wave[0],
        target.gradient(at[:, None])[:, 0] + other * wave[1],
    ]


def one_sided(figure, name, model, at, dots, other, side):
    """Values and slopes of the model at grid points, as they are from one side (-1 or 1)."""
    if model == "network":
        (choice,) = (one for one in figure.data["choices"] if one["name"] == name)
        return [np.interp(at, GRID, column) for column in choice["network"]]
    nudged = np.clip(at + side * 1e-9, 0, 8)
    heights, told = truth(name, dots, dots, other)
    if model == "nearest":
        nearest = np.abs(nudged[:, None] - dots).argmin(axis=1)
        return heights[nearest], np.zeros_like(at)
    if model == "linear":
        piece = np.clip(np.searchsorted(dots, nudged) - 1, 0, len(dots) - 2)
        return np.interp(at, dots, heights), (np.diff(heights) / np.diff(dots))[piece]
    spline = CubicHermiteSpline(dots, heights, told)
    return spline(at), spline(at, 1)


def expected(figure, name, model, dots, other):
    """The two gaps, and the rows of the table, by another way than the script's."""
    value, slope = truth(name, GRID, dots, other)
    sides = [one_sided(figure, name, model, GRID, dots, other, side) for side in (-1, 1)]
    value_gap = max(np.abs(value - h).max() for h, _ in sides)
    gradient_gap = max(np.abs(slope - s).max() for _, s in sides)
    at_dots = np.rint(dots * 50).astype(int)
    columns = [value - sides[0][0], slope - sides[0][1], slope - sides[1][1]]
    return [value_gap, gradient_gap], np.column_stack([dots, *(c[at_dots] for c in columns)])


MOVES = {
    1: ["PageUp"],
    3: ["PageDown", "ArrowRight"],
    4: ["End"],
    6: ["ArrowLeft"] * 3,
    7: ["Home"],
}


@pytest.mark.parametrize("model", MODELS)
def test_the_numbers_are_those_that_python_computes(open_page, model):
    figure = open_page("sinusoid")
    figure.take(model)
    for moved in (False, True)[: 1 if model == "network" else 2]:
        for i, keys in MOVES.items() if moved else ():
            figure.press(i, *keys)
        dots = figure.dots()
        assert (np.abs(dots - HOME).max() > 0.8) == moved
        for name, other in itertools.product(PAIRS, (0, 1)):
            figure.box.get_by_label("Target").select_option(label=name)
            if figure.box.get_by_role("button", pressed=True).count() != other:
                figure.flip()
            gaps, table = expected(figure, name, model, dots, other)
            np.testing.assert_allclose(figure.gaps(), gaps, rtol=0, atol=SHOWN)
            np.testing.assert_allclose(figure.table(), table, rtol=0, atol=SHOWN)


def test_a_gap_of_the_figure_is_a_gap_of_the_package(figure):
    """With straight lines between other dots than the script ever sees: a Piecewise target."""
    figure.take("linear")
    figure.press(4, "PageUp")
    dots = figure.dots()
    heights = PAIRS[CURVED].first.value(dots[:, None])
    secants = np.diff(heights) / np.diff(dots)
    lines = [
        (h + s * (X - float(a)), float(b) >= X)
        for h, s, a, b in zip(heights, secants, dots, dots[1:], strict=False)
    ]
    model = Target(sp.Piecewise(*lines), X, (0, 8))
    gaps = measure_gaps(model, PAIRS[CURVED].first, GRID[:, None], norm="max")
    assert figure.gaps()[0] == pytest.approx(gaps.value, abs=SHOWN)
    assert figure.gaps()[1] >= gaps.gradient - SHOWN


def test_the_other_target_makes_the_gradient_gap_large_for_all_but_the_told_model(figure):
    figure.flip()
    slopes = {}
    for model in MODELS:
        figure.take(model)
        slopes[model] = np.abs(figure.table()[:, 2:]).max(axis=1)
    assert min(slopes[model].min() for model in MODELS[:3]) > 1.5
    assert slopes["hermite"].max() == 0
    words = figure.tab.locator("figure.explorer-on figcaption").inner_text()
    assert "told the target's slopes" in words


def test_the_figure_between_the_points_has_other_dots(open_page):
    """Nine dots that are not whole numbers apart: what is shown at home, and after a flip."""
    figure = open_page("between_points")
    target = Target(sp.sin(5 * X / 2 + 1) + sp.cos(3 * X / 2) / 3, X, (0, 6))
    dots, grid = target.grid(9), target.grid(401)
    figure.take("linear")
    straight = np.interp(grid[:, 0], dots[:, 0], target.value(dots))
    secants = np.diff(target.value(dots)) / 0.75
    value = np.abs(target.value(grid) - straight).max()
    assert figure.gaps()[0] == pytest.approx(value, abs=SHOWN)
    table, slopes = figure.table(), target.gradient(dots)[:, 0]
    np.testing.assert_allclose(table[1:, 2], slopes[1:] - secants, rtol=0, atol=SHOWN)
    np.testing.assert_allclose(table[:-1, 3], slopes[:-1] - secants, rtol=0, atol=SHOWN)
    figure.flip()
    # The ripple adds pi to the slopes and takes it away in turn, and nothing to the dots.
    flipped = figure.table()
    turns = np.pi * (-1.0) ** np.arange(9)
    np.testing.assert_allclose(flipped[:, 1], 0, atol=SHOWN)
    np.testing.assert_allclose(
        flipped[:, 2:] - table[:, 2:], turns[:, None] * [1, 1], atol=2 * SHOWN
    )
    figure.press(4, "ArrowRight")
    assert figure.at(4) > 3


# Keyboard, mouse and touch


def test_keys_move_a_dot_and_neighbours_stop_it(figure):
    figure.take("linear")
    before, drawn = figure.gaps(), figure.paths("model")
    steps = {"ArrowRight": 3.1, "ArrowUp": 3.2, "ArrowLeft": 3.1, "ArrowDown": 3.0}
    steps |= {"PageUp": 3.5, "PageDown": 3.0, "Home": 2.1, "End": 3.9}
    for key, goal in steps.items():
        figure.press(3, key)
        assert figure.at(3) == pytest.approx(goal), key
    assert figure.gaps() != before
    assert figure.paths("model") != drawn
    assert figure.table()[3, 0] == 3.9
    figure.press(3, "PageUp", "ArrowRight")
    assert figure.at(3) == pytest.approx(3.9)
    dot = figure.dot(3)
    limits = [float(dot.get_attribute(f"aria-value{name}")) for name in ("min", "max")]
    assert limits == pytest.approx([2.1, 3.9])
    assert float(figure.dot(4).get_attribute("aria-valuemin")) == pytest.approx(4.0)
    assert re.fullmatch(r"x = 3\.9, height \S+", dot.get_attribute("aria-valuetext"))
    for keys in ("Control+ArrowLeft", "Alt+ArrowLeft", "a", "Enter"):
        figure.press(3, keys)
        assert figure.at(3) == pytest.approx(3.9)
    figure.click("Dots back to their places")
    np.testing.assert_array_equal(figure.dots(), HOME)
    assert (figure.gaps(), figure.paths("model")) == (before, drawn)


def test_the_tab_key_reaches_every_control_and_the_focus_is_seen(figure):
    reached = []
    figure.box.get_by_role("button", name="Other target").focus()
    for _ in range(11):
        reached.append(
            figure.tab.evaluate(
                "(({ role, ariaLabel, textContent, localName, nextElementSibling }) =>"
                "role ? ariaLabel : localName == 'select' ? localName : textContent)"
                "(document.activeElement)"
            )
        )
        figure.tab.keyboard.press("Tab")
    dots = [f"Dot {i + 1}" for i in range(1, 8)]
    back = "Dots back to their places"
    assert reached == ["Other target", "select", back, *dots, "The numbers at the dots"]
    figure.tab.keyboard.press("Shift+Tab")
    figure.tab.keyboard.press("Shift+Tab")
    ring = figure.dot(LAST).locator(".explorer-ring")
    style = ring.evaluate(
        "one => [getComputedStyle(one).stroke, getComputedStyle(one).strokeWidth]"
    )
    assert style == ["rgb(0, 114, 178)", "3px"]
    other = figure.dot(2).locator(".explorer-ring")
    assert other.evaluate("one => getComputedStyle(one).stroke") == "none"


def test_a_mouse_drags_a_dot_until_it_lets_go(figure):
    figure.take("linear")
    before, unit = figure.table(), figure.unit()
    figure.dot(5).scroll_into_view_if_needed()
    x, y = figure.centre(5)
    mouse = figure.tab.mouse
    # By the rim of the dot: it does not jump under the pointer.
    mouse.move(x + 6, y)
    mouse.down()
    mouse.move(x + 6 + unit / 4, y + 20, steps=5)
    assert figure.at(5) == pytest.approx(5.25, abs=0.03)
    mouse.move(x + 6 - unit / 2, y - 40, steps=5)
    assert figure.at(5) == pytest.approx(4.5, abs=0.03)
    assert figure.centre(5)[0] == pytest.approx(x - unit / 2, abs=2)
    assert (np.abs(figure.table() - before)[4:7].max(axis=1) > 0.05).all()
    # The dot follows a pointer that leaves the figure, and is let go there.
    mouse.move(5, y, steps=5)
    assert figure.at(5) == pytest.approx(4.1)
    mouse.up()
    mouse.move(x + unit / 4, y, steps=3)
    assert figure.at(5) == pytest.approx(4.1)
    np.testing.assert_array_equal(np.delete(figure.dots(), 5), np.delete(HOME, 5))


def test_the_dots_at_the_ends_do_not_move(figure):
    figure.take("linear")
    assert figure.box.get_by_role("slider").count() == 7
    (x, y), unit = figure.centre(1), figure.unit()
    figure.tab.mouse.move(x - unit, y)
    figure.tab.mouse.down()
    figure.tab.mouse.move(x - unit / 2, y, steps=3)
    figure.tab.mouse.up()
    assert figure.table()[:, 0].tolist() == HOME.tolist()


def test_a_finger_drags_a_dot_and_scrolls_the_page_elsewhere(browser):
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    context.route(test_pages.REMOTE, lambda route: route.abort())
    figure = Figure(watch(context), "index")
    figure.take("linear")
    figure.dot(4).scroll_into_view_if_needed()
    unit, (x, y) = figure.unit(), figure.centre(4)
    client = context.new_cdp_session(figure.tab)

    def touch(kind, *points):
        spots = [{"x": x, "y": y} for x, y in points]
        client.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": spots})

    # A swipe across a dot is the figure's, one up or down is the page's.
    assert figure.dot(4).evaluate("one => getComputedStyle(one).touchAction") == "pan-y"
    scrolled = figure.tab.evaluate("scrollY")
    touch("Start", (x + 8, y))
    # Far to the left and half of it back: a scroll of the browser would end the drag early.
    for part in [*range(1, 25), *range(24, 7, -1)]:
        touch("Move", (x + 8 - part * unit / 16, y + part))
    touch("End")
    assert figure.at(4) == pytest.approx(3.5, abs=0.1)
    assert figure.tab.evaluate("scrollY") == scrolled
    # From the drawing beside the dots a finger scrolls, and moves nothing.
    touch("Start", (x, y + 150))
    for part in range(1, 9):
        touch("Move", (x, y + 150 - 20 * part))
    touch("End")
    figure.tab.wait_for_function(f"scrollY > {scrolled} + 50")
    assert figure.at(4) == pytest.approx(3.5, abs=0.1)
    context.close()


# The network stays where it was trained


def test_the_network_keeps_its_dots_and_says_so(figure):
    assert figure.note() == ""
    before = figure.places(), figure.gaps()
    figure.press(4, "ArrowRight", "ArrowRight")
    assert (figure.places(), figure.gaps()) == before
    assert figure.note().startswith("The network was trained on the dots where they are, so they")
    assert figure.dot(4).get_attribute("aria-readonly") == "true"
    figure.click("straight lines")
    assert figure.box.get_by_label("Model").input_value() == "linear"
    assert figure.note() == ""
    assert figure.dot(4).evaluate("one => one === document.activeElement")
    assert figure.dot(4).get_attribute("aria-readonly") == "false"
    figure.tab.keyboard.press("ArrowRight")
    assert figure.at(4) == pytest.approx(4.1)
    figure.take("network")
    assert "they are back" in figure.note()
    assert (figure.places(), figure.gaps()) == before
    figure.take("nearest")
    assert figure.note() == ""


def test_a_mouse_cannot_drag_what_the_network_keeps(figure):
    figure.dot(2).scroll_into_view_if_needed()
    (x, y), before = figure.centre(2), figure.places()
    figure.tab.mouse.move(x, y)
    figure.tab.mouse.down()
    assert figure.note() == ""
    figure.tab.mouse.move(x + 30, y, steps=3)
    figure.tab.mouse.up()
    assert figure.places() == before
    assert "so they stay" in figure.note()


def test_numbers_are_read_aloud_when_they_rest(figure):
    output = figure.box.locator("output[aria-live=polite][aria-atomic=true]")
    figure.take("linear")
    assert output.get_attribute("aria-busy") in (None, "false")
    figure.press(4, "ArrowRight")
    assert output.get_attribute("aria-busy") == "true"
    figure.tab.wait_for_function("document.querySelector('.explorer output').ariaBusy == 'false'")


# Every reader


@pytest.mark.parametrize("page", ON_PAGES)
def test_the_figure_fits_a_phone(seen, open_page, page):
    seen.tab.set_viewport_size(PHONE)
    figure = open_page(page)
    figure.take("nearest")
    figure.flip()
    figure.box.locator("summary").click()
    assert seen.tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    edges = figure.box.locator("*").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().right)"
    )
    assert max(edges) <= PHONE["width"]
    # Nothing is scaled: an em of the text in the drawing is as wide as it says.
    assert figure.box.locator(".explorer-plot").evaluate("one => one.getScreenCTM().a") == 1
    for i in range(1, 8):
        hit = figure.dot(i).locator(".explorer-hit").bounding_box()
        assert min(hit["width"], hit["height"]) >= 24
    seen.tab.set_viewport_size(WIDE)
    seen.tab.wait_for_function(
        "document.querySelector('.explorer-plot').viewBox.baseVal.width > 600"
    )


def luminance(colour):
    parts = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_are_seen_in_light_and_in_the_dark(figure, scheme):
    colour(figure.tab, scheme)
    style = "one => getComputedStyle(one).{}".format
    ground = figure.box.evaluate(style("backgroundColor"))
    assert (luminance(ground) > 0.9) == (scheme == "light")
    if scheme == "light":
        assert ground == "rgb(255, 255, 255)"
    colours = {}
    for kind in ("target", "model", "slopes"):
        line = figure.box.locator(f".explorer-plot .explorer-{kind}").first
        colours[kind] = line.evaluate(style("stroke"))
        light, dark = sorted([luminance(colours[kind]), luminance(ground)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= (7 if kind == "target" else 3)
    if scheme == "light":
        book = {"target": "rgb(0, 0, 0)", "model": "rgb(0, 114, 178)", "slopes": "rgb(213, 94, 0)"}
        assert colours == book
    # No colour stands alone: the lines differ in their dashes or in their width too.
    looks = [
        figure.box.locator(f".explorer-plot .explorer-{kind}").first.evaluate(
            "one => getComputedStyle(one).strokeDasharray + getComputedStyle(one).strokeWidth"
        )
        for kind in colours
    ]
    assert len(set(looks)) == 3
    assert [look.startswith("none") for look in looks] == [False, True, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_in_the_figure(figure, scheme):
    colour(figure.tab, scheme)
    figure.press(3, "ArrowRight")
    figure.flip()
    figure.box.locator("summary").click()
    assert figure.note()
    rules = [*AA["runOnly"]["values"], "wcag21a", "wcag21aa", "wcag22aa"]
    options = {"runOnly": rules, "preload": False, "resultTypes": ["violations"]}
    found = Axe().run(figure.tab, context="figure.explorer-on", options=options).response
    violations = found["violations"]
    assert [(one["id"], node["html"]) for one in violations for node in one["nodes"]] == []
    assert found["testEngine"]["name"] == "axe-core"


def test_on_paper_there_are_no_controls_but_what_they_chose(figure):
    figure.take("linear")
    figure.press(4, "PageUp")
    figure.flip()
    controls = figure.box.locator("button, select").locator("visible=true")
    assert controls.count() == 3
    colour(figure.tab, "dark")
    figure.tab.emulate_media(media="print")
    figure.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert controls.count() == 0
    assert figure.box.locator(".explorer-plot").is_visible()
    assert figure.box.locator("table").is_visible()
    line = figure.box.locator(".explorer-plot .explorer-target")
    assert line.evaluate("one => getComputedStyle(one).stroke") == "rgb(0, 0, 0)"
    words = figure.tab.locator("figure.explorer-on figcaption").inner_text()
    assert "plus a ripple" in words
    assert "straight lines" in words
    figure.tab.evaluate("dispatchEvent(new Event('afterprint'))")
    figure.tab.emulate_media(media="screen", color_scheme="light")


# Where it cannot run


def picture(tab, page):
    """The figure that the page's cell drew, and the words below it."""
    name = {"index": "dots", "sinusoid": "pair"}[page]
    return tab.locator(f"figure#fig-{page}-{name}")


def is_plain(tab, page):
    whole = picture(tab, page)
    image, words = whole.locator("img"), whole.locator(".caption-text")
    return (image.is_visible(), words.is_visible(), tab.locator(".explorer").count()) == (
        True,
        True,
        0,
    )


@pytest.mark.parametrize("page", ON_PAGES)
def test_the_figure_takes_the_place_of_the_picture(open_page, page):
    figure = open_page(page)
    whole = picture(figure.tab, page)
    assert whole.locator(".explorer").is_visible()
    assert not whole.locator("img").is_visible()
    assert not whole.locator(".caption-text").is_visible()
    assert figure.tab.locator(".explorer").count() == 1
    # The cell that carries the samples takes no room.
    cell = figure.tab.locator(".cell:has(script.gradnotes-explorer)")
    assert cell.count() == 1
    assert cell.bounding_box() is None


@pytest.mark.parametrize("page", ON_PAGES)
def test_without_scripts_the_picture_is_there(browser, page):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address(page))
    assert is_plain(tab, page)
    assert len(picture(tab, page).locator("img").get_attribute("alt")) > 80
    context.close()


BREAKS = {
    "no data": "JSON.parse = () => ({})",
    "half of the data": "const parse = JSON.parse; JSON.parse = (text) =>"
    " text.includes('choices') ? { ...parse(text), choices: [{ name: 'x' }] } : parse(text)",
    "an old browser": "delete Array.prototype.findLastIndex",
    "no observer": "delete window.ResizeObserver",
}


@pytest.mark.parametrize("how", BREAKS)
def test_when_the_script_fails_the_picture_is_there(context, how):
    tab = context.new_page()
    tab.add_init_script(BREAKS[how])
    tab.goto(address())
    assert is_plain(tab, "index")
    tab.close()


def test_when_it_fails_later_the_picture_comes_back(figure):
    assert not is_plain(figure.tab, "index")
    figure.tab.evaluate("void (Math.hypot = () => { throw new Error('an error on purpose'); })")
    figure.flip()
    assert is_plain(figure.tab, "index")
    assert figure.tab.locator("figure.explorer-on").count() == 0
    assert "Target:" not in picture(figure.tab, "index").inner_text()
