"""The student edition: it has no solution in any file, and it runs nothing again."""

import html
import importlib
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from myst_parser.config.main import MdParserConfig
from small_book import COMMAND, Book
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).resolve().parent.parent
STUDENT = ("--path-output", "_build/student")

# Words that are their own stem, so that the index of the search has them as they are.
IN_SOLUTIONS = ("albrok", "belmuk", "corvig", "dulnop", "ekraft", "folbik", "gurmol", "hivrak")
IN_CODE, IN_OUTPUTS = ("jolbug", "kilmor"), ("lomprak", "mivtog")
# A page in pieces. Those that begin with an empty line are in the full edition only.
PIECES = [
    """# Rich

```{code-cell} python
import gradnotes

gradnotes.ran("rich")
```

```{code-cell} python
:tags: [remove-cell]
from myst_nb import glue

glue("kept", gradnotes.square(6) + 6, display=False)
```

The number is {glue:text}`kept`.

## Exercises

```{exercise} How many?
:label: ex-many

A first question.

:::{dropdown} Hint
A first hint.
:::
```
""",
    """
```{solution} ex-many
:class: dropdown

It is albrok, and {glue:text}`told`:

$$
x_{belmuk} = 1 .
$$

| a | b      |
|:--|:-------|
| 1 | corvig |
```
""",
    """```{code-cell} python
answer = 1  # put your own here
```
""",
    """
```{code-cell} python
:tags: [remove-cell]
jolbug = "lom" + "prak"
print(jolbug)
glue("told", "miv" + "tog", display=False)
```
""",
    """```{exercise} How few?
:label: ex-few

A second question.
```
""",
    """
````{solution} ex-few
:label: sol-few

```python
print("dulnop")
```

:::{dropdown} More
Not yet the end.
:::

But ekraft.
````
""",
    """
:::::{solution} ex-few
::::{dropdown} More
:::{note}
Here folbik.
:::
::::
:::::
""",
    """````{dropdown} All in one
Words before.
""",
    """
```{solution} ex-few
Inside gurmol.
```
""",
    """Words behind.
````

1. An item
""",
    """
   ```{solution} ex-few
   In a list hivrak.
   ```
""",
    """2. another item

## Last words
""",
    """
```{code-cell} python
---
tags: [remove-cell]
mystnb: {image: {alt: A kilmor.}}
---
kilmor = 1
```
""",
    "At the end.\n",
]
RICH = "\n".join(piece.removeprefix("\n") for piece in PIECES)
SHOWN = "\n".join(piece for piece in PIECES if piece[0] != "\n")
PLAIN = (
    '# Plain\n\nWords.\n\n```{code-cell} python\nimport gradnotes\n\ngradnotes.ran("plain")\n```\n'
)


def secrets_in(folder):
    """For each secret word the files that have it, in small letters or large ones."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    found = {word: set() for word in (*IN_SOLUTIONS, *IN_CODE, *IN_OUTPUTS)}
    for path in paths:
        content = path.read_bytes().lower()
        for word in found:
            if word.encode() in content:
                found[word].add(path.relative_to(folder).as_posix())
    return {word: files for word, files in found.items() if files}


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A small book after a full build, a student build and another full build."""
    book = Book(tmp_path_factory.mktemp("student"), {"rich": RICH, "plain": PLAIN})
    book.header = book.read("book/rich.md").removesuffix(RICH)
    book.student = book.root / "_build" / "student" / "_build"
    book.full = book.build()
    found = secrets_in(book.root / "_build")
    # Not the executed notebooks, which both editions share.
    book.full.secrets = {
        word: {name for name in names if not name.startswith(".executed")}
        for word, names in found.items()
    }
    book.full.files = files(book.html)
    book.first = book.build(*STUDENT, student="1")
    book.again = book.build()
    return book


def of_student(book, name):
    return (book.student / "html" / name).read_text(encoding="utf8")


def test_both_editions_build_and_the_second_runs_nothing(book):
    for done in (book.full, book.first, book.again):
        assert not done.failed, done.output
    assert [one.ran for one in (book.full, book.first, book.again)] == [["plain", "rich"], [], []]


def test_no_file_of_the_student_edition_has_a_secret(book):
    assert len(files(book.student)) > 50
    assert secrets_in(book.student) == {}


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (
            IN_SOLUTIONS,
            ["html/book/rich.html", "html/searchindex.js", ".doctrees/book/rich.doctree"],
        ),
        ((*IN_SOLUTIONS, *IN_CODE), ["html/_sources/book/rich.md"]),
        ((*IN_SOLUTIONS, *IN_CODE, IN_OUTPUTS[0]), ["jupyter_execute/book/rich.ipynb"]),
        ((IN_OUTPUTS[1],), ["jupyter_execute/book/rich.glue.json", "html/book/rich.html"]),
    ],
)
def test_the_full_edition_has_each_secret_in_these_files(book, words, places):
    for word in words:
        assert set(places) <= book.full.secrets[word], word


def test_the_student_edition_has_all_the_rest(book):
    assert of_student(book, "_sources/book/rich.md") == book.header + SHOWN
    page = of_student(book, "book/rich.html")
    for words in (">42<", "first question", "first hint", "put your own", "second question"):
        assert words in page, words
    for words in ("Words before", "Words behind", "another item", "At the end"):
        assert words in page, words
    assert "(student edition)</title>" in page
    assert "student edition" not in book.page("rich")
    for name in ("rich", "plain"):
        notebook = (book.student / "html" / "_notebooks" / f"{name}.ipynb").read_text("utf8")
        full = book.notebook(name).read_text("utf8")
        assert notebook == full.replace(" The solutions of the exercises are in the book.", "")
        assert notebook != full


def test_a_page_without_exercises_is_the_same(book):
    article = re.compile(r"<article.*</article>", re.DOTALL)
    page = article.search(of_student(book, "book/plain.html"))[0]
    assert page == article.search(book.page("plain"))[0]
    assert of_student(book, "_sources/book/plain.md") == book.read("book/plain.md")


def test_the_student_edition_leaves_the_full_one_alone(book):
    assert files(book.html) == book.full.files


def test_a_changed_page_stays_free_of_secrets(book):
    with book.changed("book/rich.md", ("At the end", "In the end")):
        again = book.build(*STUDENT, student="1")
    assert (again.failed, again.ran) == (False, [])
    assert "In the end" in of_student(book, "book/rich.html")
    assert secrets_in(book.student) == {}


def test_in_one_folder_each_edition_replaces_the_other(book):
    full = book.build(*STUDENT, student="0")
    assert (full.failed, full.ran) == (False, [])
    assert secrets_in(book.student) == book.full.secrets
    student = book.build(*STUDENT, student="yes")
    assert (student.failed, student.ran) == (False, [])
    assert secrets_in(book.student) == {}


def test_a_solution_in_another_form_is_an_error(book):
    old, new = (
        "````{solution} ex-few\n",
        "````{solution-start} ex-few\n````\n\n````{solution-end}\n",
    )
    with book.changed("book/rich.md", (old, new)):
        done = book.build(*STUDENT, student="1")
    assert done.failed
    assert "solution of ex-few in book/rich: expected the directive `solution`" in done.output


@pytest.fixture(scope="module")
def machinery():
    """The modules that make the student edition and run the notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "_ext"))
        names = ("gn_student", "gn_execute")
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\n```{solution} x\nb\n```\nc", "a\n\n\n\nc"),
        ("~~~~ {solution} x\n~~~\nb\n~~~~~\nc", "\n\n\n\nc"),
        ("``````{solution} x\n`````\nb\n``````\n```python\nc\n```", "\n\n\n\n```python\nc\n```"),
        (":::{solution} x\n:::\n\n:::{note}\nc\n:::", "\n\n\n:::{note}\nc\n:::"),
        ("> ```{solution} x\n> b\n> ```\n>\n> c", "\n\n\n>\n> c"),
        (
            "```{exercise} A\n:label: a\n\n:::{solution} x\n:::\n```",
            "```{exercise} A\n:label: a\n\n\n\n```",
        ),
        ("a\n\n```{solution} x\nb, to the end", "a\n\n\n"),
        ("````{code-cell} python\n'''\n```{solution} x\n```\n'''\n````", None),
        ("```markdown\n{solution}\n```\n\n$x$ {solution}", None),
    ],
)
def test_what_is_a_solution(machinery, text, left):
    config = MdParserConfig(enable_extensions={"colon_fence", "dollarmath"})
    app, lines = SimpleNamespace(env=SimpleNamespace(myst_config=config)), [text]
    machinery.gn_student.drop_solutions(app, "page", lines)
    assert lines == [text if left is None else left]


# From here on the real book.

SOLUTION = re.compile(r"^(`{3,}|:{3,})\{solution\} (\S+)\n(.*?)^\1\n\n?", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(
    r"^```\{code-cell\} python\n:tags: \[remove-cell\]\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
# What pages show besides their own text.
OTHERS = ("book/*.bib", "book/*.yml", "gradnotes/**/*.py", "tests/test_claims_*.py")
READABLE = {".html", ".md", ".txt", ".json", ".ipynb", ".js", ".doctree", ".pickle"}


def lacking(what, remedy):
    """Skip for want of something, but fail where all must be there, as on every change."""
    stop = pytest.fail if os.environ.get("GRADNOTES_PAGES") == "required" else pytest.skip
    stop(f"{what}: {remedy}")


def pages():
    return {path.stem: path.read_text(encoding="utf8") for path in (ROOT / "book").glob("*.md")}


def split_pages():
    """What is hidden from students, by page and exercise or cell, and the rest of each page."""
    hidden, rest = {}, {}
    for page, text in pages().items():
        hidden |= {f"{page}, {label}": body for _, label, body in SOLUTION.findall(text)}
        text = SOLUTION.sub("", text)
        text, heading, exercises = text.partition("\n## Exercises\n")
        cells = enumerate(ANSWER.findall(exercises), start=1)
        hidden |= {f"{page}, removed cell {number}": body for number, body in cells}
        rest[page] = text + heading + ANSWER.sub("", exercises)
    return hidden, rest


def windows(text):
    """All runs of five words."""
    words = re.findall(r"[^\W_]+", text.lower())
    return set(zip(*(words[start:] for start in range(5)), strict=False))


@pytest.fixture(scope="module")
def known(machinery):
    """What is hidden, and all other text that the book is made of, with what its cells print."""
    hidden, rest = split_pages()
    others = [path.read_text(encoding="utf8") for name in OTHERS for path in ROOT.glob(name)]
    execute = machinery.gn_execute
    surroundings = execute.surroundings_fingerprint(ROOT / "requirements.txt")
    results = execute.Results(ROOT / "_build" / ".executed", surroundings, 0)
    for page, text in pages().items():
        key = results.key(execute.parse(text))
        if key and not results.path(key).exists():
            lacking(f"the page {page} has not run yet", "run `make book` first")
        if key:
            run = nbformat.read(results.path(key), as_version=4)
            answers = machinery.gn_student.answers(run)
            others += strings(
                [c.get("outputs") for n, c in enumerate(run.cells) if n not in answers]
            )
    seen = "\n".join([*rest.values(), *others])
    # The ledger shows the names of its tests as words.
    return SimpleNamespace(hidden=hidden, rest=seen + seen.replace("_", " "))


def strings(data):
    """All strings in what a JSON file holds."""
    if isinstance(data, str):
        return [data]
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else []
    return [text for part in parts for text in strings(part)]


def text_of(path):
    """The words of a file, without tags and escapes."""
    text = path.read_bytes().decode("utf8", "ignore")
    if path.suffix == ".html":
        return html.unescape(re.sub(r"<[^>]+>", " ", text))
    return "\n".join(strings(json.loads(text))) if path.suffix in (".ipynb", ".json") else text


class Edition:
    """What the files of a built book say."""

    def __init__(self, folder, parts=("",)):
        found = [path for part in parts for path in (folder / part).rglob("*")]
        paths = {path.relative_to(folder).as_posix(): path for path in found}
        readable = {name: path for name, path in paths.items() if path.suffix in READABLE}
        self.windows = {name: windows(text_of(path)) for name, path in readable.items()}
        self.pages = {
            name: path.read_text(encoding="utf8")
            for name, path in readable.items()
            if path.suffix == ".html"
        }
        index = (folder / "html" / "searchindex.js").read_text(encoding="utf8")
        index = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
        self.terms = {*index["terms"], *index["titleterms"]}

    def lines_of(self, known):
        """Words that are hidden, by exercise and by the file in which they stand nevertheless."""
        rest = windows(known.rest)
        return {
            (name, file): " ".join(min(common))
            for name, text in known.hidden.items()
            for file, inside in self.windows.items()
            if (common := (lines(text) - rest) & inside)
        }

    def terms_of(self, known):
        """Terms that are hidden and that the search has nevertheless, by exercise."""
        rest = terms(known.rest)
        found = {name: (terms(text) - rest) & self.terms for name, text in known.hidden.items()}
        return {name: words for name, words in found.items() if words}

    def links(self):
        """Boxes of solutions, and links to them, by page."""
        found = {
            name: re.findall(
                r'class="[^"]*\bsolution\b[^"]*"|(?:href|id)="[^"]*solution[^"]*"', text
            )
            for name, text in self.pages.items()
        }
        return {name: parts for name, parts in found.items() if parts}


def lines(text):
    """The runs of five words in each line."""
    return set().union(*map(windows, text.splitlines()))


def terms(text):
    """What the search makes of the words of a text, but not the numbers, which may be glued."""
    english = SearchEnglish({})
    words = {word.lower() for word in english.split(text)}
    stems = {
        english.stem(word) if english.word_filter(english.stem(word)) else word for word in words
    }
    return {stem for stem in stems if english.word_filter(stem) and not stem.isdigit()}


@pytest.fixture(scope="module")
def student(known):
    """The student edition of the real book, made with the plain command."""
    prefix, folder = "student-", ROOT / "_build"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True) as out:
        done = subprocess.run(
            [*COMMAND, "build", ".", "--path-output", out],
            cwd=ROOT,
            env={**os.environ, "GRADNOTES_STUDENT": "1", "PYTHONIOENCODING": "utf8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf8",
            timeout=900,
        )
        assert done.returncode == 0, done.stdout
        assert not re.search(r"\bran \S+ in \d", done.stdout), "a page ran again"
        yield Edition(Path(out) / "_build")


@pytest.fixture(scope="module")
def full():
    """The full edition of the real book, as it was built last."""
    for page, text in pages().items():
        copy = ROOT / "_build" / "html" / "_sources" / "book" / f"{page}.md"
        if not copy.is_file() or copy.read_text(encoding="utf8") != text:
            lacking(f"the built book has not the page {page} as it is now", "run `make book` first")
    return Edition(ROOT / "_build", ("html", ".doctrees", "jupyter_execute"))


def test_this_file_sees_every_solution_and_every_answer():
    hidden, rest = split_pages()
    assert len(hidden) > 10
    for page, text in rest.items():
        assert "{solution" not in text, page
        assert "remove-cell" not in text.partition("\n## Exercises\n")[2], page


def test_no_line_of_a_solution_is_left(student, known):
    assert student.lines_of(known) == {}


def test_no_word_that_only_solutions_have_is_searched(student, known):
    assert student.terms_of(known) == {}


def test_no_link_leads_to_a_solution(student):
    assert len(student.pages) > 10
    assert student.links() == {}


def test_the_full_edition_has_all_that(full, known):
    """Or the three tests above could not fail."""
    found = full.lines_of(known)
    for name in known.hidden:
        page, _, what = name.partition(", ")
        places = [f"html/_sources/book/{page}.md", f"jupyter_execute/book/{page}.ipynb"]
        if not what.startswith("removed cell"):
            places += [f"html/book/{page}.html", f".doctrees/book/{page}.doctree"]
            assert f"html/book/{page}.html" in full.links()
        assert {(name, place) for place in places} <= set(found), name
    assert full.terms_of(known)
