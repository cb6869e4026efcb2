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
from urllib.parse import unquote, urlsplit

import pytest

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Error, sync_playwright
except ImportError:
    Axe = sync_playwright = None

BOOK = Path(__file__).parents[1] / "_build" / "html"
PAGES = sorted(
    path.relative_to(BOOK).as_posix()
    for path in BOOK.rglob("*.html")
    if path.relative_to(BOOK).parts[0] != "_static" and path != BOOK / "index.html"
)
FRONT = "book/index.html"

WIDE = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}
FLAGS = (
    "--disable-background-networking --disable-component-update --disable-gpu --disable-quic "
    "--disable-sync --no-first-run"
).split()
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
LOCAL = re.compile(r"(file://|data:|blob:|about:|http://127\.0\.0\.1[:/])")
REMOTE = re.compile(rf"^(?!{LOCAL.pattern})")

MOST_BYTES = 1_500_000
COMPRESSED = {".css", ".html", ".js", ".json", ".svg", ".txt"}


def lacking(what, remedy):
    """Skip for want of something, but fail where all must be there."""
    message = f"{what}: {remedy}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(message)
    pytest.skip(message)


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
    if not PAGES:
        lacking("there is no built book", "run `make book` or `jupyter-book build .` first")
    if sync_playwright is None:
        lacking("no browser driver", "run `pip install playwright axe-playwright-python`")
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        if chromium is None:
            lacking("no Chromium", "install Chromium or Chrome, or run `playwright install chromium`")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser):
    context = browser.new_context(color_scheme="light", viewport=WIDE)
    context.route(REMOTE, lambda route: route.abort())
    yield context
    context.close()


def watch(context):
    """A new tab, and lists of what it asks for and of what goes wrong in it."""
    tab = context.new_page()
    seen = SimpleNamespace(tab=tab, asked=[], faults=[])
    tab.on("request", lambda request: seen.asked.append(request.url))
    tab.on("websocket", lambda socket: seen.asked.append(socket.url))
    tab.on("requestfailed", lambda request: seen.faults.append(f"failed: {request.url}"))
    tab.on("pageerror", lambda error: seen.faults.append(f"error: {error}"))

    def on_response(response):
        if response.status >= 400:
            seen.faults.append(f"{response.status}: {response.url}")

    def on_console(message):
        if message.type == "error":
            seen.faults.append(f"console: {message.text}")

    tab.on("response", on_response)
    tab.on("console", on_console)
    return seen


def go(seen, url):
    """Open a page, and wait for its formulas and its pictures, the lazy ones too."""
    seen.tab.goto(url)
    seen.tab.evaluate("window.MathJax?.startup?.promise?.then(() => null)")
    seen.tab.evaluate(
        """() => Promise.allSettled([...document.images].map((image) => {
            image.loading = "eager";
            return image.decode();
        })).then(() => null)"""
    )


@pytest.fixture(scope="module", params=PAGES or ["no page"])
def opened(request, context):
    """One page of the book, opened as a file on a wide screen; pytest runs its tests in a row."""
    seen = watch(context)
    seen.path = BOOK / request.param
    go(seen, seen.path.as_uri())
    yield seen
    seen.tab.close()


@pytest.fixture
def tab(opened):
    """The tab of the opened page, wide and light."""
    opened.tab.set_viewport_size(WIDE)
    opened.tab.emulate_media(color_scheme="light")
    return opened.tab


def test_a_page_asks_no_other_host_and_nothing_fails(opened):
    assert [url for url in opened.asked if not LOCAL.match(url)] == []
    assert opened.faults == []


def test_every_formula_is_typeset(opened, tab):
    in_source = len(re.findall(r'class="[^"]*\bmath notranslate', opened.path.read_text("utf8")))
    empty = tab.evaluate(
        """() => [...document.querySelectorAll(".math.notranslate")]
            .filter((formula) => !formula.querySelector("mjx-container"))
            .map((formula) => formula.textContent)"""
    )
    assert empty == []
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
        "() => [...document.images].map((one) => [one.src, one.naturalWidth, one.alt])"
    )
    assert [source for source, width, _ in pictures if width == 0] == []
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
                .filter((one) => one.getBoundingClientRect().right > width + 1 && !boxed(one))
                .map((one) => one.outerHTML.slice(0, 120));
        }""",
        PHONE["width"],
    )
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_no_barrier(tab, scheme, size):
    tab.set_viewport_size(size)
    tab.emulate_media(color_scheme=scheme)
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    options = {
        "preload": False,  # style sheets cannot be fetched by file://
        "resultTypes": ["violations"],
        "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa"]},
    }
    violations = Axe().run(tab, options=options).response["violations"]
    assert [(one["id"], node["html"]) for one in violations for node in one["nodes"]] == []


@functools.cache
def bytes_sent(path):
    content = path.read_bytes()
    return len(gzip.compress(content) if path.suffix in COMPRESSED else content)


def test_a_page_is_light(opened):
    files = {unquote(urlsplit(url).path) for url in opened.asked if url.startswith("file:")}
    # A Windows path comes as /C:/...
    paths = [Path(re.sub(r"^/(?=[A-Za-z]:)", "", file)) for file in files]
    weights = sorted(((bytes_sent(path), path.name) for path in paths), reverse=True)
    assert sum(weight for weight, _ in weights) <= MOST_BYTES, weights[:5]


def runs_code(page):
    source = BOOK / "_sources" / Path(page).with_suffix(".md")
    return source.is_file() and "{code-cell}" in source.read_text("utf8")


def test_the_book_has_chapters():
    if not PAGES:
        lacking("there is no built book", "run `make book` or `jupyter-book build .` first")
    assert {f"book/{name}.html" for name in ("index", "tools", "sinusoid", "taylor")} <= {
        page for page in PAGES if runs_code(page)
    }


def test_a_chapter_offers_its_notebook(opened, tab):
    if not runs_code(opened.path.relative_to(BOOK)):
        return
    tab.get_by_label("Download this page").click()
    link = tab.locator(".dropdown-download-buttons a[href$='.ipynb']")
    link.wait_for(state="visible", timeout=2000)
    notebook = (opened.path.parent / link.get_attribute("href")).resolve()
    assert json.loads(notebook.read_text("utf8"))["cells"]
    tab.keyboard.press("Escape")


def test_print_shows_what_is_folded_and_hides_the_controls(opened, tab):
    if not runs_code(opened.path.relative_to(BOOK)):
        return
    closed = tab.locator("main details:not([open])")
    before = closed.count()
    tab.emulate_media(media="print", color_scheme="dark")
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert closed.count() == 0
    assert tab.evaluate("document.documentElement.dataset.theme") == "light"
    assert not tab.locator(".bd-sidebar-primary, .bd-header-article").locator("visible=true").count()
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen", color_scheme="light")
    assert closed.count() == before


def test_the_root_leads_to_the_front_page(context):
    seen = watch(context)
    seen.tab.goto((BOOK / "index.html").as_uri())
    seen.tab.wait_for_url((BOOK / FRONT).as_uri(), timeout=5000)
    seen.tab.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    handler = functools.partial(Quiet, directory=BOOK)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", [FRONT, "book/sinusoid.html", "search.html?q=gradient"])
def test_a_served_page_asks_no_other_host(context, address, page):
    seen = watch(context)
    go(seen, f"{address}/{page}")
    seen.tab.wait_for_load_state("networkidle")
    assert [url for url in seen.asked if not url.startswith(address)] == []
    assert seen.faults == []
    if "search" in page:
        assert seen.tab.locator("#search-results li").count() > 0
    seen.tab.close()
