"""Small books, built to the end, show that the machinery in _ext/ keeps its promises."""

import re
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from small_book import ALPHA, BETA, GAMMA, HEADER, PICTURE, Book

RUN = '```{{code-cell}} python\nimport gradnotes\n\ngradnotes.ran("{name}")\n```\n'


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    book = Book(tmp_path_factory.mktemp("good"), {"alpha": ALPHA, "beta": BETA, "gamma": GAMMA})
    stray = HEADER + "# Stray\n\n" + RUN.format(name="stray")
    notebook = new_notebook(cells=[new_code_cell('import gradnotes\ngradnotes.ran("stray")')])
    for folder in (".venv", ".venv/lib/site-packages/one", "env/lib/site-packages/one"):
        book.write(f"{folder}/stray.md", stray)
        book.write(f"{folder}/other.ipynb", nbformat.writes(notebook))
    return book


@pytest.fixture(scope="module")
def first(book):
    """The first build of the good book, with the notebook that it made of the rich page."""
    done = book.build()
    assert book.notebook("alpha").exists(), done.output
    done.notebook = nbformat.read(book.notebook("alpha"), as_version=4)
    return done


@pytest.fixture(scope="module")
def notebook(first):
    return first.notebook


@pytest.fixture(scope="module")
def words(notebook):
    """All text of the rich page's notebook."""
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def test_a_good_book_builds_without_a_warning(book, first):
    assert not first.failed, first.output
    assert "WARNING" not in first.output
    assert (book.html / "index.html").exists()
    assert first.ran == ["alpha", "beta", "gamma"]
    assert "<p>A first sentence.</p>" in book.page("beta")
    assert "one more than nine is 10" in book.page("gamma")


def test_two_pages_run_at_once(first):
    # Each of the two waits for a file of the other, and raises when it does not come.
    assert "never met" not in first.output


def test_an_environment_in_the_root_is_neither_built_nor_run(book, first):
    assert "stray" not in first.ran
    found = [path for name in ("stray*", "other*") for path in book.html.rglob(name)]
    assert found == []


def test_no_page_asks_another_host_and_no_link_is_dead(book, first):
    for page in (book.html / "book").glob("*.html"):
        text = page.read_text(encoding="utf8")
        assert not re.search(r'<(script|img)[^>]*src="(https?:)?//', text)
        assert not re.search(r"<script[^>]*>[^<]*https?://", text)
        assert not re.search(r'<link[^>]*rel="(stylesheet|preload)"[^>]*href="(https?:)?//', text)
        targets = set(re.findall(r'(?:href|src)="([^"#?]+)', text))
        local = [name for name in targets if not re.match(r"[a-z]+:|//", name)]
        assert page.name != "alpha.html" or any("_mathjax/" in name for name in local)
        assert [name for name in local if not (page.parent / name).exists()] == []


def test_the_download_menu_offers_notebooks_of_pages_with_code_only(book, first):
    for name in ("alpha", "beta", "gamma"):
        assert f'href="../_notebooks/{name}.ipynb"' in book.page(name)
    for name in ("index", "words"):
        assert ".ipynb" not in book.page(name)
        assert not book.notebook(name).exists()


def test_a_page_read_again_runs_nothing_and_gives_the_same_notebook(book, first):
    before = book.notebook("alpha").read_bytes()
    book.notebook("alpha").unlink()
    (book.root / "book" / "alpha.md").touch()
    again = book.build()
    assert (again.failed, again.ran) == (False, [])
    assert book.notebook("alpha").read_bytes() == before


def test_words_alt_texts_docstrings_and_comments_run_nothing(book, first):
    with (
        book.changed("book/beta.md", ("A first", "Another"), ("A thin line.", "A thick line.")),
        book.changed("gradnotes/__init__.py", ("by itself.", "twice."), ("# once", "# again")),
    ):
        again = book.build()
    assert (again.failed, again.ran) == (False, [])
    assert "Another sentence." in book.page("beta")
    assert 'alt="A thick line."' in book.page("beta")
    assert "Multiply a number twice." in book.page("alpha")
    assert "Multiply a number twice." in book.notebook("alpha").read_text(encoding="utf8")


def test_a_changed_style_reaches_the_built_book(book, first):
    with book.changed("book/_static/gradnotes.css", ("height: 5rem", "height: 4rem")):
        again = book.build()
        assert (again.failed, again.ran) == (False, [])
        assert "height: 4rem" in book.read("_build/html/_static/gradnotes.css")


def test_a_changed_cell_and_changed_tags_run_these_pages_and_no_other(book, first):
    with (
        book.changed("book/gamma.md", ("(3) + 1", "(4) + 1")),
        book.changed("book/beta.md", ("---\nmystnb", "---\ntags: [hide-input]\nmystnb")),
    ):
        again = book.build()
    assert (again.failed, again.ran) == (False, ["beta", "gamma"])
    assert "one more than nine is 17" in book.page("gamma")


def test_a_changed_package_runs_every_page(book, first):
    with book.changed("gradnotes/__init__.py", ("x * x ", "x * x * x ")):
        again = book.build()
    assert (again.failed, again.ran) == (False, ["alpha", "beta", "gamma"])
    assert "one more than nine is 28" in book.page("gamma")


def test_notebooks_of_lost_pages_and_lost_code_go_away(book, first):
    code = BETA[BETA.index("```{code-cell}") : BETA.index("(sec-there)")]
    picture = BETA[BETA.rindex("```{code-cell}") :]
    with (
        book.changed("_toc.yml", (", {file: book/gamma}", "")),
        book.changed("book/beta.md", (code, ""), (picture, "")),
    ):
        again = book.build()
    assert (again.failed, again.ran) == (False, [])
    assert [path.name for path in book.notebook("alpha").parent.iterdir()] == ["alpha.ipynb"]
    assert ".ipynb" not in book.page("beta")
    assert "beta.ipynb" not in book.notebook("alpha").read_text(encoding="utf8")


def test_the_notebooks_are_copied_to_where_they_are_committed(book, first):
    book.write("notebooks/old.ipynb", "{}")
    done = book.command(sys.executable, "_ext/gn_notebooks.py")
    built = {path.name: path.read_bytes() for path in book.notebook("alpha").parent.iterdir()}
    assert f"{len(built)} notebooks" in done.stdout
    assert {p.name: p.read_bytes() for p in (book.root / "notebooks").iterdir()} == built


def test_the_notebook_is_valid_and_has_no_outputs(notebook):
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [f"alpha-{n}" for n in range(9)]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_the_notebook_has_the_code_of_the_page_without_removed_cells(notebook):
    cells = re.findall(r"```\{code-cell\} python\n(.*?)\n```", ALPHA, re.DOTALL)
    bare = [re.sub(r"\A(---\n.*?\n---|:tags:.*)\n", "", cell, flags=re.DOTALL) for cell in cells]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "remove-cell" in cells[1]
    assert [cell.source for cell in code] == [bare[0], *bare[2:]]
    hidden = [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in code]
    assert hidden == [False, True, True]


def test_the_notebook_is_plain_markdown(words):
    assert not re.search(r"^\s*(`{3,}|:{3,}) *\{", words, re.MULTILINE)
    assert not re.search(r"\{[a-z:]+\}`|^\s*:[a-z]+:|^\([a-z-]+\)=", words, re.MULTILINE)
    assert "%%cell" not in words
    assert "SECRET" not in words


@pytest.mark.parametrize(
    "part",
    [
        "*This notebook is made from `book/alpha.md`.",
        "**Goals**\n\nRead (1.1), Theorem 1.1, Fig. 1.1 and First words here, and\n"
        "[Beta](beta.ipynb), [its second part](beta.ipynb), [Lemma 2.1](beta.ipynb), "
        "[(2.1)](beta.ipynb),\nWords and `gradnotes.square()` elsewhere.\n\n---",
        "The rest is in Lerner [n.d.], and in [the manual](https://docs.python.org/3/).",
        "The square is 1722.2, the colours are red and blue.",
        "\n\n$$\n\\sum_{i=1}^n i = \\frac{n (n + 1)}{2} \\tag{1.1}\n$$\n\n",
        "\n---\n\n**Theorem 1.1 (The sum of $n$ squares)**\n\nFor $n \\ge 1$\n\n$$\n",
        "{6} .\n$$\n\n---\n\n**Example 1.1 (One number)**\n\nFor $n = 1$ it is 1.\n\n---\n\n",
        "\n\n<details><summary>Proof</summary>\n\nBy induction, $n \\to n + 1$:\n\n",
        "1. one term more\n   - on the left\n\n     $$\n     (n + 1)^2\n     $$\n   - on the "
        "right\n2. the same sum\n\n</details>",
        '\n```python\ndef square(x):\n    """Multiply a number by itself."""\n    return x * x ',
        "**Figure 1.1.** A line, see (1.1).",
        "**Exercise 1.1 (Sum up)**\n\nHow large is $1 + 2 + 3$?\n\n"
        "<details><summary>Hint</summary>\n\nUse (1.1).\n\n</details>",
        "## Last words\n\nAs in Theorem 1.1, `x * y` and `{a: 1}`, at the end.",
    ],
)
def test_the_notebook_says_what_the_page_says(words, part):
    assert part in words


def test_the_notebook_has_the_table(words):
    rows = [re.findall(r"[^|\s][^|]*[^|\s]|[^|\s]", line) for line in words.splitlines()]
    assert rows.index(["1", "red and blue"]) == rows.index(["$n$", "word"]) + 2


def test_display_formulas_stand_alone(words):
    lines = [line.strip() for line in words.splitlines() if "$$" in line]
    assert lines == ["$$"] * 6


def test_the_notebook_names_what_it_is_made_of(book, notebook):
    made_of = set(notebook.metadata["gradnotes"]["made_of"])
    wanted = {"book/alpha.md", "_ext/gn_notebooks.py", "gradnotes/__init__.py"}
    # Not what was built, which is not there in a fresh checkout.
    assert made_of == wanted | {"book/images/logo.svg", "book/images/dot.png"}


FAILING = {
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "sleeps": ("import time\n\ntime.sleep(60)", "CellTimeoutError"),
    "dies": ("import os\n\nos._exit(1)", "DeadKernelError"),
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A book with failing pages and a good one, and its first build."""
    cell = "\nWords.\n\n```{{code-cell}} python\n:tags: [hide-input]\n{}\n```\n"
    pages = {
        name: f"# {name}\n\n" + RUN.format(name=name) + cell.format(code)
        for name, (code, _) in {**FAILING, "good": ("1", "")}.items()
    }
    book = Book(tmp_path_factory.mktemp("failing"), pages)
    with book.changed("_config.yml", ("timeout: 600", "timeout: 8")):
        return SimpleNamespace(book=book, first=book.build())


@pytest.mark.parametrize("name", FAILING)
def test_a_failing_cell_is_an_error_with_its_place(failing, name):
    assert failing.first.failed
    lines = failing.book.read(f"book/{name}.md").splitlines()
    line = [n for n, text in enumerate(lines, start=1) if "{code-cell}" in text][1]
    place = rf"book/{name}\.md:{line}: code cell 2 raised {FAILING[name][1]}"
    assert re.search(place, failing.first.output), failing.first.output
    assert "book/good.md:" not in failing.first.output


def test_results_of_good_pages_outlive_the_failure_of_others(failing):
    book = failing.book
    assert failing.first.ran == sorted([*FAILING, "good"])
    for name, (code, _) in FAILING.items():
        book.write(f"book/{name}.md", book.read(f"book/{name}.md").replace(code, "1"))
    again = book.build()
    assert not again.failed, again.output
    assert again.ran == sorted(FAILING)
    assert book.notebook("good").exists()


ALERT = '```{code-cell} python\nimport warnings\n\nwarnings.warn("careful")\n```'
FAULTS = {
    "stderr": (RUN.format(name="faulty") + ALERT, "stderr"),
    "ref": ("{ref}`no-label`", "no-label"),
    "doc": ("{doc}`no-page`", "no-page"),
    "numref": ("{numref}`no-figure`", "no-figure"),
    "eq": ("{eq}`no-equation`", "no-equation"),
    "theorem": ("{prf:ref}`no-theorem`", "no-theorem"),
    "python": ("{py:func}`gradnotes.nothing`", "gradnotes.nothing"),
    "link": ("[words](no-file.md)", "no-file"),
    "glue": ("{glue:text}`no-key`", "no-key"),
    "citation": ("{cite:p}`nobody`", "nobody"),
    "role": ("{norole}`x`", "norole"),
    "solution": ("```{solution} no-exercise\nSix.\n```", "no-exercise"),
    "image": ("![](images/logo.svg)", "alt text"),
    "one word": ("![Logo](images/logo.svg)", "alt text"),
    "figure": ("```{figure} images/logo.svg\n```", "alt text"),
    "output": (f"```{{code-cell}} python\n{PICTURE.strip()}\n```", "alt text"),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A book with one page for each fault, and its first two builds."""
    pages = {
        f"fault{n}": f"# Fault {n}\n\nWords.\n\n{text}\n"
        for n, (text, _) in enumerate(FAULTS.values())
    }
    book = Book(tmp_path_factory.mktemp("faulty"), pages)
    return SimpleNamespace(first=book.build(), second=book.build())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_a_warning_with_its_place(faulty, name):
    page, what = f"book/fault{list(FAULTS).index(name)}.md", FAULTS[name][1]
    # sphinx-exercise warns with a wrong place, of all the faults.
    place = ".*" if name == "solution" else rf".*{page}:[0-9]*"
    warned = [line for line in faulty.first.output.splitlines() if "WARNING" in line]
    assert any(re.match(rf"{place}: WARNING: .*{what}", line) for line in warned), warned


def test_a_build_with_warnings_fails_each_time_and_runs_its_cells_once(faulty):
    assert [one.failed for one in (faulty.first, faulty.second)] == [True, True]
    assert [one.ran for one in (faulty.first, faulty.second)] == [["faulty"], []]
