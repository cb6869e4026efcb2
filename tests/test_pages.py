"""Every page of the built book in a browser, with the network shut: whole, legible and light."""

import functools
import gzip
import http.server
import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import yaml

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Error, sync_playwright
except ImportError:
    Axe = sync_playwright = None

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "_build" / "html"
PAGES = sorted(
    path.relative_to(BOOK).as_posix()
    for path in BOOK.rglob("*.html")
    if path.relative_to(BOOK).parts[0] != "_static" and path != BOOK / "index.html"
)

WIDE = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}
OFF = ("background-networking", "component-update", "gpu", "quic", "sync")
FLAGS = ["--no-first-run", *(f"--disable-{what}" for what in OFF)]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
LOCAL = re.compile(r"(file://|data:|blob:|about:|http://127\.0\.0\.1[:/])")
REMOTE = re.compile(rf"^(?!{LOCAL.pattern})")

MOST_BYTES = 1_500_000
COMPRESSED = {".css", ".html", ".js", ".json", ".svg", ".txt"}


def lacking(what, remedy):
    """Skip for want of something, but fail where all must be there, as on every change."""
    stop = pytest.fail if os.environ.get("GRADNOTES_PAGES") == "required" else pytest.skip
    stop(f"{what}: {remedy}")


def need_book():
    if not PAGES:
        lacking("there is no built book", "run `make book` or `jupyter-book build .` first")


def launch(playwright):
    """Start the first browser there is: one on the path, an installed one, Playwright's own."""
    found = [{"executable_path": path} for path in map(shutil.which, BROWSERS) if path]
    is_root = sys.platform == "linux" and os.geteuid() == 0
    for which in [*found, {"channel": "chrome"}, {"channel": "msedge"}, {}]:
        try:
            return playwright.chromium.launch(args=FLAGS, chromium_sandbox=not is_root, **which)
        except Error:
            continue
    return None


@pytest.fixture(scope="module")
def browser():
    need_book()
    if sync_playwright is None:
        lacking("no browser driver", "run `pip install playwright axe-playwright-python`")
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        if chromium is None:
            lacking("no Chromium", "install Chromium, or run `playwright install chromium`")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser):
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce")
    context.route(REMOTE, lambda route: route.abort())
    yield context
    context.close()


def watch(context):
    """A new tab, and lists of what it asks for and of what goes wrong in it."""
    tab = context.new_page()
    seen = SimpleNamespace(tab=tab, asked=[], faults=[])
    tab.on("request", lambda request: seen.asked.append(request.url))
    tab.on("websocket", lambda socket: seen.asked.append(socket.url))
    note = seen.faults.append
    tab.on("requestfailed", lambda request: note(f"failed: {request.url}"))
    tab.on("response", lambda answer: answer.status < 400 or note(f"{answer.status}: {answer.url}"))
    tab.on("pageerror", lambda error: note(f"error: {error}"))
    tab.on("console", lambda line: line.type != "error" or note(f"console: {line.text}"))
    return seen


def go(seen, url):
    """Open a page, and wait for its formulas and its pictures, the lazy ones too."""
    seen.tab.goto(url)
    seen.tab.evaluate("window.MathJax?.startup?.promise?.then(() => null)")
    load = "(image.loading = 'eager') && image.decode()"
    every = f"[...document.images].map((image) => {load})"
    seen.tab.evaluate(f"Promise.allSettled({every}).then(() => null)")


EACH = PAGES or ["no page"]


@pytest.fixture(scope="module", params=EACH)
def opened(request, context):
    """One page of the book, opened as a file on a wide screen."""
    seen = watch(context)
    seen.path = BOOK / request.param
    go(seen, seen.path.as_uri())
    yield seen
    seen.tab.close()


@pytest.fixture
def tab(opened):
    """The tab of the opened page, wide and light."""
    opened.tab.set_viewport_size(WIDE)
    colour(opened.tab, "light")
    return opened.tab


def colour(tab, scheme):
    """Let the reader's system prefer light or dark, and wait until the page has followed."""
    tab.emulate_media(color_scheme=scheme)
    tab.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")


def test_a_page_asks_no_other_host_and_nothing_fails(opened):
    assert [url for url in opened.asked if not LOCAL.match(url)] == []
    assert opened.faults == []


def test_every_formula_is_typeset(opened, tab):
    in_source = len(re.findall(r'class="[^"]*\bmath notranslate', opened.path.read_text("utf8")))
    assert tab.locator(".math.notranslate:not(:has(mjx-container))").all_text_contents() == []
    assert tab.locator("mjx-container").count() >= in_source
    # MathJax prints an unknown macro in red instead of calling it an error.
    errors = tab.locator("merror, mjx-merror, mjx-mtext[style*='color: red']")
    assert errors.evaluate_all("all => all.map((one) => one.parentElement.outerHTML)") == []


def test_no_formula_is_left_in_the_text(tab):
    text = tab.evaluate(
        """() => {
            const page = document.querySelector("main").cloneNode(true);
            const other = "code, pre, script, style, textarea, mjx-container";
            page.querySelectorAll(other).forEach((element) => element.remove());
            return page.textContent;
        }"""
    )
    assert re.findall(r".{0,40}(?:\\\(|\\\[|\\begin\{|\$\$).{0,40}", text) == []


def test_every_picture_is_shown_and_described(tab):
    pictures = tab.evaluate(
        "() => [...document.querySelectorAll('img:not(.toggler)')]"
        ".map((one) => [one.src, one.naturalWidth, one.alt])"
    )
    assert [one for one in pictures if one[1] == 0] == []
    names = re.compile(r"_images|\.(svg|png|jpe?g|gif|webp)\b")
    assert [one for one in pictures if " " not in one[2].strip() or names.search(one[2])] == []


def test_no_page_scrolls_sideways_on_a_phone(tab):
    tab.set_viewport_size(PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    # Nor is anything cut off: what is too wide stands in a box that scrolls.
    cut = tab.evaluate(
        """(width) => {
            const scrolls = (one) => ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
            const boxed = (one) => one && (scrolls(one) || boxed(one.parentElement));
            return [...document.querySelectorAll("main .bd-article *")]
                .filter((one) => !one.closest("mjx-assistive-mml"))  // for ears, not for eyes
                .filter((one) => one.getBoundingClientRect().right > width + 1 && !boxed(one))
                .map((one) => one.outerHTML.slice(0, 120));
        }""",
        PHONE["width"],
    )
    assert cut == []


AA = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa"]}}
CONTRAST = {"runOnly": ["color-contrast"]}
OTHERS = {**AA, "rules": {"color-contrast": {"enabled": False}}}
# Contrast takes most of axe's time and depends on the scheme alone, the other rules do not.
AXE_RUNS = {
    "wide": (WIDE, "light", OTHERS),
    "phone": (PHONE, "light", OTHERS),
    "light": (WIDE, "light", CONTRAST),
    "dark": (WIDE, "dark", CONTRAST),
}
# The time for contrast grows with the square of a page, and colours hang on classes: of the claims
# and of the functions those are enough that have a class which none before them has.
ONE_OF_A_CLASS = """(only) => {
    const seen = new Set();
    for (const one of document.querySelectorAll("main .claim[id], main dl.py")) {
        const classes = [...one.classList];
        one.hidden = only && classes.every((name) => seen.has(name));
        classes.forEach((name) => seen.add(name));
    }
}"""


HAVE_TAB_STOPS = """() => {
    const scrolls = (one) =>
        one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight;
    const boxes = "pre, .cell_output > .output, .pst-scrollable-table-container";
    return [...document.querySelectorAll(boxes)]
        .every((one) => one.tabIndex === (scrolls(one) ? 0 : -1));
}"""


@pytest.mark.parametrize("run", AXE_RUNS)
def test_axe_finds_no_barrier(tab, run):
    size, scheme, options = AXE_RUNS[run]
    tab.set_viewport_size(size)
    colour(tab, scheme)
    tab.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    unfold = "all => all.forEach((one) => one.classList.remove('toggle-hidden'))"
    tab.locator(".toggle-hidden").evaluate_all(unfold)
    if size is PHONE:
        # The theme gives boxes that scroll a tab stop, a moment after the window changes.
        tab.wait_for_function(HAVE_TAB_STOPS)
    # Style sheets cannot be fetched by file://, so axe must not try.
    options = {**options, "preload": False, "resultTypes": ["violations"]}
    tab.evaluate(ONE_OF_A_CLASS, options["runOnly"] == ["color-contrast"])
    violations = Axe().run(tab, options=options).response["violations"]
    tab.evaluate(ONE_OF_A_CLASS, False)
    assert [(one["id"], node["html"]) for one in violations for node in one["nodes"]] == []


@functools.cache
def bytes_sent(path):
    content = path.read_bytes()
    return len(gzip.compress(content) if path.suffix in COMPRESSED else content)


def test_a_page_is_light(opened):
    urls = [urlsplit(url) for url in opened.asked]
    paths = {Path(url2pathname(url.path)) for url in urls if url.scheme == "file"}
    weights = {path: bytes_sent(path) for path in paths if path.is_file()}
    assert sum(weights.values()) <= MOST_BYTES, weights


def runs_code(page):
    source = BOOK / "_sources" / Path(page).with_suffix(".md")
    return source.is_file() and "{code-cell}" in source.read_text("utf8")


def test_the_book_has_chapters():
    need_book()
    chapters = ("index", "tools", "sinusoid", "taylor", "ripple", "question")
    assert {f"book/{name}.html" for name in chapters} <= set(filter(runs_code, PAGES))


def test_a_chapter_offers_its_notebook(opened, tab):
    if not runs_code(opened.path.relative_to(BOOK)):
        return
    tab.get_by_label("Download this page").click()
    link = tab.locator(".dropdown-download-buttons a[href$='.ipynb']")
    link.wait_for(state="visible")
    notebook = (opened.path.parent / link.get_attribute("href")).resolve()
    assert json.loads(notebook.read_text("utf8"))["cells"]


def test_print_is_light_unfolded_and_without_controls(opened, tab):
    controls = tab.locator(".bd-sidebar-primary, .bd-header-article").locator("visible=true")
    assert controls.count() > 0
    details = tab.locator("details")
    details.evaluate_all("all => all.forEach((one) => (one.open = false))")
    colour(tab, "dark")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("html[data-theme=light]").count() == 1
    assert tab.locator("details:not([open])").count() == 0
    assert controls.count() == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
    assert tab.locator("html[data-theme=dark]").count() == 1
    assert tab.locator("details:not([open])").count() == details.count()


@pytest.fixture
def ledger(context):
    """The ledger, opened as a file on a wide screen."""
    seen = watch(context)
    go(seen, (BOOK / "book" / "ledger.html").as_uri())
    yield seen.tab
    seen.tab.close()


def shown(ledger):
    """The ids of the claims that are shown."""
    visible = ledger.locator(".claim").locator("visible=true")
    return visible.evaluate_all("all => all.map((one) => one.id.slice(6).toUpperCase())")


def listed(said_by="", verdict="", evidence=""):
    """The ids of the claims in the file that the ledger is made from."""
    rows = yaml.safe_load((ROOT / "book" / "claims.yml").read_text(encoding="utf8"))
    return [
        row["id"]
        for row in rows
        if row["id"].startswith(said_by)
        and verdict in ("", row["verdict"])
        and (not evidence or evidence in row.get("evidence", []))
    ]


def test_the_ledger_is_filtered_by_each_of_its_three_lists(ledger):
    every = shown(ledger)
    assert len(every) == ledger.locator(".claim").count() > 90
    count = ledger.locator(".claim-filter output")
    assert count.text_content() == f"{len(every)} of {len(every)} claims shown"
    ledger.get_by_label("Said by").select_option("The thread")
    assert shown(ledger) == [f"T{n}" for n in range(1, 23)]
    ledger.get_by_label("Verdict").select_option("not-testable")
    assert shown(ledger) == listed("T", verdict="not-testable") == []
    ledger.get_by_label("Verdict").select_option("true-if")
    ledger.get_by_label("Said by").select_option("The comments")
    some_comments = listed("C", verdict="true-if")
    assert shown(ledger) == some_comments != []
    assert count.text_content() == f"{len(some_comments)} of {len(every)} claims shown"
    ledger.get_by_label("Said by").select_option("")
    ledger.get_by_label("Verdict").select_option("")
    ledger.get_by_label("Evidence").select_option("cited")
    assert shown(ledger) == listed(evidence="cited") != []
    ledger.get_by_label("Verdict").select_option("false")
    assert shown(ledger) == []
    assert count.text_content() == f"0 of {len(every)} claims shown"


def test_the_filter_of_the_ledger_works_from_the_keyboard(ledger):
    ledger.get_by_label("Said by").focus()
    ledger.keyboard.press("ArrowDown")
    assert set(shown(ledger)) == {f"Q{n}" for n in range(1, 10)}
    ledger.keyboard.press("Tab")
    ledger.keyboard.type("false")
    assert shown(ledger) == ["Q1"]


def test_a_link_to_a_claim_that_is_filtered_out_shows_all_again(ledger):
    every = shown(ledger)
    ledger.get_by_label("Verdict").select_option("not-testable")
    ledger.evaluate("location.hash = '#claim-b1'")
    ledger.wait_for_function(
        "document.querySelector('#claim-b1').getBoundingClientRect().top < 200"
    )
    assert shown(ledger) == every


def test_the_ledger_shows_every_claim_without_its_script_and_on_paper(browser, ledger):
    every = shown(ledger)
    plain = browser.new_context(java_script_enabled=False)
    tab = plain.new_page()
    tab.goto((BOOK / "book" / "ledger.html").as_uri())
    assert tab.locator(".claim").locator("visible=true").count() == len(every)
    assert tab.locator(".claim-filter").count() == 0
    plain.close()
    ledger.emulate_media(media="print")
    assert ledger.locator(".claim-filter").locator("visible=true").count() == 0
    assert shown(ledger) == every
    ledger.emulate_media(media="screen")


def test_a_badge_leads_to_its_row_and_the_row_leads_back(context):
    seen = watch(context)
    go(seen, (BOOK / "book" / "ripple.html").as_uri())
    seen.tab.locator(".claim-badge a", has_text="A9: true-if").first.click()
    seen.tab.wait_for_url("**/ledger.html#claim-a9")
    seen.tab.locator("#claim-a9 .claim-said a").first.click()
    seen.tab.wait_for_url("**/ripple.html#said-a9-*")
    assert seen.tab.locator(":target").text_content() == "A9: true-if"
    seen.tab.close()


def test_the_colophon_times_every_page_with_code():
    need_book()
    text = (BOOK / "book" / "colophon.html").read_text(encoding="utf8")
    table = text.split('id="how-long-it-runs"')[1].split("</table>")[0]
    rows = re.findall(r'href="(\w+)\.html.*?<p>(\d+)</p>', table, re.DOTALL)
    notebooks = {path.stem for path in (BOOK / "_notebooks").glob("*.ipynb")}
    assert {name for name, _ in rows} == notebooks
    seconds = [int(number) for _, number in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert f"all {len(notebooks)}" in table
    # The rounded numbers add up to the rounded sum, but for what rounding takes.
    total = int(re.findall(r"<p>(\d+)</p>", table)[-1])
    assert abs(total - sum(seconds)) <= len(rows) / 2 + 1


def test_the_root_leads_to_the_front_page(context):
    seen = watch(context)
    seen.tab.goto((BOOK / "index.html").as_uri())
    seen.tab.wait_for_url((BOOK / "book" / "index.html").as_uri())
    assert seen.tab.title().startswith("Does a good fit have a good gradient?")
    seen.tab.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    handler = functools.partial(Quiet, directory=BOOK)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("page", ["book/index.html", "book/sinusoid.html", "search.html?q=slope"])
def test_a_served_page_asks_no_other_host(context, address, page):
    seen = watch(context)
    go(seen, f"{address}/{page}")
    seen.tab.wait_for_load_state("networkidle")
    assert [url for url in seen.asked if not url.startswith(address)] == []
    assert seen.faults == []
    if "search" in page:
        assert seen.tab.locator("#search-results li").count() > 0
    seen.tab.close()
