"""What the template of a chapter promises: goals, exercises, alt texts and limits."""

import re
from pathlib import Path

import pytest
import yaml
from myst_nb.core.read import read_myst_markdown_notebook

BOOK = Path(__file__).resolve().parent.parent / "book"
TOC = yaml.safe_load((BOOK.parent / "_toc.yml").read_text(encoding="utf8"))
CHAPTERS = [
    Path(page["file"]).name
    for part in TOC["parts"]
    if part.get("numbered")
    for page in part["chapters"]
    # One page, for a reader who comes from the original question.
    if page["file"] != "book/answer"
]
PAGES = [path.stem for path in sorted(BOOK.glob("*.md"))]
KIND = r"\*(By hand|By computer|Experiment), \d+ minutes, level [ABC], goals? "
HIDDEN = {"hide-input", "remove-input", "remove-cell", "hide-cell"}


def source(page):
    return (BOOK / f"{page}.md").read_text(encoding="utf8")


def code_cells(page, text=None):
    notebook = read_myst_markdown_notebook(text or source(page))
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def core(page):
    """What a class reads: everything before the exercises."""
    return source(page).split("\n## Exercises")[0]


def exercises(page):
    """Label, text and what follows up to the next exercise, of each exercise of a page."""
    found = re.split(r"```\{exercise\}[^\n]*\n:label: (\S+)\n", source(page))
    return list(zip(found[1::2], found[2::2], strict=True))


def test_the_table_of_contents_names_every_page():
    listed = [TOC["root"]] + [page["file"] for part in TOC["parts"] for page in part["chapters"]]
    assert sorted(Path(name).name for name in listed) == sorted(PAGES)


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_has_the_boxes_of_the_template(page):
    text = source(page)
    for words in (
        ":::{admonition} Goals",
        ":::{admonition} Predict first",
        ":::{admonition} Now you can say",
        "**You still cannot say**",
        "**What to change first.**",
        "**Further reading.**",
        "\n## Exercises",
    ):
        assert text.count(words) == 1, words
    assert re.search(r"^Level [ABC]\b", text, re.MULTILINE)
    assert re.search(r"\d+ minutes", text.split("Predict first")[0])


@pytest.mark.parametrize("page", [*CHAPTERS, "tools"])
def test_goals_have_ids_and_each_is_practised(page):
    goals = re.findall(rf"^- \*\*({page}-\d+)\*\*: ", source(page), re.MULTILINE)
    assert goals == [f"{page}-{number}" for number in range(1, len(goals) + 1)] != []
    asked = "\n".join(text for _, text in exercises(page))
    practised = set(re.findall(rf"(?<!ex-){page}-\d+", asked))
    assert practised <= set(goals), "an exercise names a goal that the chapter has not"
    assert len(practised) >= 2


@pytest.mark.parametrize("page", [*CHAPTERS, "tools"])
def test_exercises_say_what_they_ask_and_have_a_folded_solution(page):
    found = exercises(page)
    labels = [label for label, _ in found]
    assert labels == [f"ex-{page}-{number:02d}" for number in range(1, len(labels) + 1)] != []
    for label, text in found:
        assert re.match(rf"\s*{KIND}", text), label
        head = rf"```\{{solution\}} {label}\n:class: dropdown\n\n"
        solution = re.search(rf"{head}(.+?)\n```", text, re.S)
        assert solution, f"{label} has no folded solution"
        assert len(solution[1].split()) >= 15, label


@pytest.mark.parametrize("page", CHAPTERS)
def test_there_is_an_exercise_of_each_kind_and_its_check_rejects_wrong_answers(page):
    kinds = {label: re.search(KIND, text)[1] for label, text in exercises(page)}
    assert set(kinds.values()) == {"By hand", "By computer", "Experiment"}
    for label, text in exercises(page):
        assert ":::{dropdown} Hint" in text, label
        if kinds[label] == "By computer":
            cells = code_cells(page, f"```{{exercise}}\n{text}")
            shown = "\n".join(cell.source for cell in cells if not tags(cell))
            assert "gradnotes.checks" in shown, label
            hidden = "\n".join(cell.source for cell in cells if "remove-cell" in tags(cell))
            listed = re.findall(r"assert not .*passed", hidden)
            wrong = re.search(r"wrong = \[(.*)\]", hidden)
            assert len(listed) >= 2 or (listed and wrong and wrong[1].count(", ") >= 1), label
            assert re.search(r"assert (?!not\b).*passed", hidden), label


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_fits_one_class(page):
    text = core(page)
    prose = re.sub(r"^```\{code-cell\}.*?^```$|^---$.*?^---$", "", text, flags=re.M | re.S)
    assert len(prose.split()) <= 2500
    assert len(re.findall(r"\{prf:theorem\}", text)) <= 2
    visible = [cell for cell in code_cells(page, text) if not tags(cell) & HIDDEN]
    assert len(visible) <= 12
    for cell in visible:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 15, cell.source
        assert max(map(len, lines)) <= 84, max(lines, key=len)


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_has_a_caption_a_name_and_an_alt_text(page):
    for cell in code_cells(page):
        if "plt.subplots" in cell.source:
            options = cell.metadata["mystnb"]
            assert options["figure"]["name"].startswith(f"fig-{page}-")
            assert len(options["figure"]["caption"].split()) >= 8
            assert len(options["image"]["alt"].split()) >= 8


@pytest.mark.parametrize("page", PAGES)
def test_assertions_and_glue_stay_out_of_the_readers_cells(page):
    for cell in code_cells(page):
        if "remove-cell" not in tags(cell):
            assert not re.search(r"^\s*assert |\bglue\(", cell.source, re.M), cell.source


@pytest.mark.parametrize("page", PAGES)
def test_numbers_in_the_prose_are_computed(page):
    """A decimal in running text comes from a cell; in a formula or an exercise it is given."""
    text = core(page)
    text = re.sub(r"^(```|:::)\{code-cell\}.*?^\1$", "", text, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$|\$[^$]+\$|`[^`]*`|\{[^}]*\}|\]\([^)]*\)", "", text, flags=re.S)
    assert not re.findall(r"(?<![\w.])\d+\.\d+\b(?!\.\d)", text)
