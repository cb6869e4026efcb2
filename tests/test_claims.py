"""The claims ledger, the book and the tests keep in step, and a fault names its row."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from small_book import Book
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
LEDGER = BOOK / "claims.yml"
# How many assertions the two sources make.
SAID = {"Q": 9, "A": 14, "C": 9, "T": 22}
THEOREMS = r"theorem|lemma|corollary|proposition|conjecture|criterion|observation|property"


@pytest.fixture(scope="module")
def gn_claims():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "_ext"))
        yield importlib.import_module("gn_claims")


@pytest.fixture(scope="module")
def claims(gn_claims):
    return gn_claims.load(LEDGER)


@pytest.fixture(scope="module")
def book():
    return read_book(BOOK)


def read_book(folder):
    """The pages of a book, their names, and the names in the table of contents."""
    contents = yaml.safe_load((folder.parent / "_toc.yml").read_text(encoding="utf8"))
    listed = [contents["root"]]
    listed += [page["file"] for part in contents["parts"] for page in part["chapters"]]
    pages = {path.stem: path.read_text(encoding="utf8") for path in folder.glob("*.md")}
    return SimpleNamespace(pages=pages, listed={Path(name).name for name in listed})


def labels(text):
    """All that a page can be referred to by: sections, boxes, formulas and figures."""
    found = re.findall(r"^\(([\w-]+)\)=$|^:label: (\S+)$|^\$\$ \(([\w-]+)\)$", text, re.M)
    found += re.findall(r"^    (?:name): ()()(fig-\S+)$", text, re.M)
    return {name for names in found for name in names if name}


def badges(text):
    return set(re.findall(r"\{claim\}`([^`]*)`", text))


def out_of_step(claims, book):
    """What is wrong between the ledger and the pages, in words that name the row."""
    faults = []
    for letter, count in SAID.items():
        rows = {row for row in claims if row[0] == letter}
        wanted = {f"{letter}{number}" for number in range(1, count + 1)}
        faults += [f"{row}: a claim of a source, has no row" for row in sorted(wanted - rows)]
        faults += [f"{row}: no such claim in the sources" for row in sorted(rows - wanted)]
    for claim in claims.values():
        pages = [name for name, text in book.pages.items() if claim.place in labels(text)]
        if claim.place and not pages:
            faults.append(f"{claim.id}: no label {claim.place} in the book")
        elif claim.place and claim.id not in badges(book.pages[pages[0]]):
            faults.append(f"{claim.id}: no badge on {pages[0]}.md, where it is settled")
    for name, text in book.pages.items():
        for row in sorted(badges(text)):
            if row not in claims:
                faults.append(f"{row}: a badge on {name}.md, and no row")
            if name not in book.listed:
                faults.append(f"{row}: a badge on {name}.md, which the table of contents lacks")
        boxes = re.findall(rf"^(`{{3,}})\{{prf:(?:{THEOREMS})\}}(.*?)^\1$", text, re.M | re.S)
        for _, box in boxes:
            if not badges(box):
                faults.append(f"{name}.md: names no claim:{box.splitlines()[0]}")
    return faults


def settling(module):
    """The tests of a module that settle claims: their rows, and which variants they have."""
    found = {}
    for name, function in vars(module).items():
        marks = getattr(function, "pytestmark", [])
        rows = [row for mark in marks if mark.name == "claim" for row in mark.args]
        if rows:
            variants = [
                value for mark in marks if mark.name == "parametrize" for value in mark.args[1]
            ]
            broken = [value for value in variants if getattr(value, "marks", ())]
            found[name] = SimpleNamespace(
                rows=rows, right=len(variants) - len(broken), broken=len(broken)
            )
    return found


def untested(claims, tests):
    """What is wrong between the ledger and its tests, in words that name the row."""
    faults = []
    for claim in claims.values():
        for test in claim.tests:
            found = tests.get(test)
            if found is None or claim.id not in found.rows:
                what = "is not there" if found is None else f"lacks the mark claim({claim.id})"
                faults.append(f"{claim.id}: {test} {what}")
            elif not (found.right and found.broken):
                faults.append(f"{claim.id}: {test} needs a right and a broken variant")
    for test, found in tests.items():
        for row in found.rows:
            if row not in claims or test not in claims[row].tests:
                faults.append(f"{row}: {test} settles it, and its row does not say so")
    return faults


@pytest.fixture(scope="module")
def claim_tests():
    found = {}
    for path in sorted((ROOT / "tests").glob("test_claims_*.py")):
        module = importlib.import_module(path.stem)
        found |= {f"{path.name}::{name}": test for name, test in settling(module).items()}
    return found


# The real ledger


def test_the_ledger_and_the_book_are_in_step(claims, book):
    faults = out_of_step(claims, book)
    assert not faults, "\n".join(faults)


def test_every_claim_that_needs_a_test_has_one_that_can_fail(claims, claim_tests):
    faults = untested(claims, claim_tests)
    assert not faults, "\n".join(faults)


def test_no_test_of_a_claim_can_be_skipped():
    for path in (ROOT / "tests").glob("test_claims_*.py"):
        assert not re.search(r"skip|xfail", path.read_text(encoding="utf8")), path.name


@pytest.mark.parametrize(
    "row",
    [
        *("Q2", "Q3", "Q7", "Q8", "Q9", "A1"),
        *(f"A{n}" for n in range(7, 12)),
        *(f"T{n}" for n in range(1, 23)),
    ],
)
def test_the_claims_of_the_chapters_that_are_there_are_settled(row, claims):
    assert claims[row].verdict != "open"


def test_the_scoreboard_has_every_source(book):
    keys = re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(encoding="utf8"), re.M)
    cited = re.findall(r"\{cite:t\}`(\w+)`", book.pages["scoreboard"])
    assert sorted(set(cited)) == sorted(keys)


# Each way to fall out of step is seen


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("A8", "A8: a claim of a source, has no row"),
        ("B11", "B11: a badge on ripple.md, and no row"),
    ],
)
def test_a_lost_row_is_named(lost, message, claims, book):
    rest = {row: claim for row, claim in claims.items() if row != lost}
    assert message in out_of_step(rest, book)


def test_a_row_that_no_source_has_is_named(claims, book, gn_claims):
    more = claims | {"Q10": gn_claims.Claim(id="Q10", statement="More.", verdict="open")}
    assert out_of_step(more, book) == ["Q10: no such claim in the sources"]


@pytest.mark.parametrize(
    ("page", "old", "new", "message"),
    [
        ("ripple", "(sec-ripple-weights)=", "", "A9: no label sec-ripple-weights in the book"),
        ("ripple", ":label: thm-ripple", ":label: thm-wave", "A8: no label thm-ripple in the book"),
        ("ripple", "name: fig-ripple-gaps", "name: fig-gaps", "A11: no label fig-ripple-gaps in"),
        ("ripple", "(eq-ripple-weights)", "(eq-weights)", "B14: no label eq-ripple-weights in"),
        ("ripple", "{claim}`A11`", "", "A11: no badge on ripple.md, where it is settled"),
        ("ripple", "{claim}`A11`", "{claim}`A111`", "A111: a badge on ripple.md, and no row"),
        ("sinusoid", "{claim}`B1`", "", "sinusoid.md: names no claim: Two-point lower bound"),
    ],
)
def test_a_changed_page_is_named(page, old, new, message, claims, book):
    assert old in book.pages[page]
    pages = book.pages | {page: book.pages[page].replace(old, new)}
    faults = out_of_step(claims, SimpleNamespace(pages=pages, listed=book.listed))
    assert any(fault.startswith(message) for fault in faults), faults


def test_a_badge_on_a_page_without_contents_is_named(claims, book):
    pages = book.pages | {"draft": "Words {claim}`A8`."}
    faults = out_of_step(claims, SimpleNamespace(pages=pages, listed=book.listed))
    assert faults == ["A8: a badge on draft.md, which the table of contents lacks"]


def test_a_lost_or_renamed_or_toothless_test_is_named(claims, claim_tests):
    (test,) = claims["A8"].tests
    rest = {name: found for name, found in claim_tests.items() if name != test}
    assert untested(claims, rest) == [f"A8: {test} is not there"]
    found = claim_tests[test]
    renamed = rest | {f"{test}_again": found}
    assert f"A8: {test}_again settles it, and its row does not say so" in untested(claims, renamed)
    for right, broken in ((1, 0), (0, 1)):
        toothless = SimpleNamespace(rows=found.rows, right=right, broken=broken)
        faults = untested(claims, rest | {test: toothless})
        assert faults == [f"A8: {test} needs a right and a broken variant"]
    unmarked = SimpleNamespace(rows=[], right=1, broken=1)
    assert untested(claims, rest | {test: unmarked}) == [f"A8: {test} lacks the mark claim(A8)"]


# Rows with faults


GOOD = {
    "id": "A8",
    "statement": "It is so.",
    "verdict": "true",
    "evidence": ["checked"],
    "place": "thm-one",
    "tests": ["test_claims_one.py::test_one"],
}


def row(**changes):
    changed = GOOD | changes
    return {name: value for name, value in changed.items() if value is not None}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [row(verdict="maybe")],
            "A8: expected a verdict among true, true-if, false, not-testable, open, got maybe",
        ),
        ([row(verdict=True)], "A8: expected a verdict among"),
        (
            [row(evidence=["guessed"])],
            "A8: expected evidence among proved, symbolic, checked, "
            "measured, cited, got ['guessed']",
        ),
        ([row(tests=None)], "A8: has evidence or a verdict that needs a test, and names none"),
        ([row(verdict="false", evidence=["proved"], tests=None)], "A8: has evidence or a verdict"),
        ([row(place=None)], "A8: is settled, so it needs evidence and a place"),
        ([row(evidence=None, tests=None)], "A8: is settled, so it needs evidence and a place"),
        ([row(verdict="open")], "A8: is open, and so has no evidence, place or tests yet"),
        ([row(verdict="true-if")], "A8: needs a condition if its verdict is true-if"),
        ([row(condition="it rains.")], "A8: needs a condition if its verdict is true-if"),
        ([row(evidence=["cited"])], "A8: needs sources"),
        ([row(sources={"lerner": "read"})], "A8: needs sources"),
        ([row(evidence=["cited"], sources={"lerner": "heard"})], "A8: needs sources"),
        ([row(statement=None)], "A8: has no statement"),
        ([row(proof="none")], "A8: expected no field proof"),
        ([row(), row()], "A8: expected once, stands there twice"),
        ([row(id="X1")], "row 1: expected an id such as A8 or B1, got 'X1'"),
        ([row(), row(id=None)], "row 2: expected an id such as A8 or B1, got ''"),
        (["A8"], "row 1: expected an id such as A8 or B1, got ''"),
        ("nothing", "expected a list of rows"),
    ],
)
def test_a_faulty_row_is_refused_by_name(rows, message, tmp_path, gn_claims):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump(rows), encoding="utf8")
    with pytest.raises(ExtensionError) as caught:
        gn_claims.load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith("claims.yml:\n")


def test_a_field_that_stands_twice_is_refused(tmp_path, gn_claims):
    """The library would take the last one and say nothing."""
    text = yaml.safe_dump([row()]) + "  statement: It is not so.\n"
    (tmp_path / "claims.yml").write_text(text, encoding="utf8")
    with pytest.raises(ExtensionError, match="A8: expected statement once, stands there twice"):
        gn_claims.load(tmp_path / "claims.yml")


def test_all_faults_are_told_at_once(tmp_path, gn_claims):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump([row(place=None), row(id="A9", tests=None)]), encoding="utf8")
    with pytest.raises(ExtensionError, match=r"A8: .*\nA9: "):
        gn_claims.load(path)


# The page


TEST = '''
"""A test file."""


def test_one():
    """One is one."""
    assert 1 == 1  # the only line
'''
CHAPTER = """
# One

```{{prf:theorem}} Equality
:label: thm-one

One is one. {{claim}}`A8`
```

More words {{claim}}`{row}`.
"""
PAGE = """
# Ledger

```{claims-summary}
```

## Answer

```{claims} answer
```

## Book

```{claims} book
```
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A book with a ledger of two rows, built twice, the second time with a badge of no row."""
    chapters = {"one": CHAPTER.format(row="B1"), "ledger": PAGE}
    book = Book(tmp_path_factory.mktemp("ledger"), chapters)
    rows = [row(statement="One is $1$."), {"id": "B1", "statement": "Two.", "verdict": "open"}]
    book.write("book/claims.yml", yaml.safe_dump(rows))
    book.write("book/mutants.json", '{"mutants": [{"caught_by": "x"}, {"caught_by": null}]}')
    book.write("tests/test_claims_one.py", TEST)
    done = SimpleNamespace(book=book, first=book.build())
    done.pages = {name: book.page(name) for name in chapters}
    with book.changed("book/one.md", ("`B1`", "`B2`")):
        done.unknown = book.build()
    rows[1] |= {"verdict": "true", "evidence": ["proved"], "place": "thm-one"}
    with book.changed("book/claims.yml", ("verdict: open", "verdict: maybe")):
        done.faulty = book.build()
    book.write("book/claims.yml", yaml.safe_dump(rows))
    done.settled = book.build()
    done.later = {name: book.page(name) for name in chapters}
    book.write("book/claims.yml", yaml.safe_dump([row(place="thm-two"), rows[1]]))
    done.lost = book.build()
    return done


def test_badge_and_row_lead_to_each_other_and_to_the_test(small):
    assert not small.first.failed, small.first.output
    one, ledger = small.pages["one"], small.pages["ledger"]
    assert re.search(r'verdict-true" id="said-a8-\d".*?href="ledger.html#claim-a8"', one, re.S)
    assert re.search(r'verdict-open" id="said-b1-\d".*?>B1: open<', one, re.S)
    said = re.search(
        r'href="(one.html#said-a8-\d)">1. One<|href="(one.html#said-a8-\d)">One<', ledger
    )
    assert said
    assert f'id="{(said[1] or said[2]).split("#")[1]}"' in one
    assert re.search(r'href="one.html#thm-one".*?Theorem 1.1', ledger, re.S)
    assert "# the only line" in ledger
    assert re.search(r'<div class="claim verdict-true evidence-checked[^"]*" id="claim-a8"', ledger)


def test_the_summary_counts(small):
    text = re.sub(r"<[^>]+>", "", small.pages["ledger"])
    assert "Of 2 claims 1 are settled and 1 are open" in text
    assert "1 tests stand behind" in text
    assert "Of 2 deliberate errors in the formulas of the package, the tests caught 1." in text


def test_a_badge_of_an_unknown_claim_is_a_warning_with_its_place(small):
    assert small.unknown.failed
    assert re.search(r"book/one\.md:\d+: WARNING: no claim 'B2' in", small.unknown.output)


def test_a_faulty_row_stops_the_build(small):
    assert small.faulty.failed
    assert "B1: expected a verdict among" in small.faulty.output
    assert "Traceback" not in small.faulty.output.split("B1: expected")[0][-300:]


def test_a_changed_verdict_reaches_every_badge_and_runs_nothing(small):
    assert (small.settled.failed, small.settled.ran) == (False, [])
    assert ">B1: true<" in small.later["one"]
    assert "All 2 claims are settled. 1 tests stand behind" in re.sub(
        r"<[^>]+>", "", small.later["ledger"]
    )


def test_a_place_that_is_not_there_fails_the_build(small):
    assert small.lost.failed
    assert "thm-two" in small.lost.output
