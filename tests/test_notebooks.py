"""The readers' notebooks: fresh, free of answers, and running from an empty folder."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
MEND = "stale notebooks: run `make notebooks`, or build and run `python _ext/gn_notebooks.py`"


@pytest.fixture(scope="module")
def converter():
    spec = importlib.util.spec_from_file_location("gn_notebooks", ROOT / "_ext" / "gn_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "_ext"))
        spec.loader.exec_module(module)
    return module


def source_cells(name):
    text = (ROOT / "book" / f"{name}.md").read_text(encoding="utf8")
    return read_myst_markdown_notebook(text).cells


def read(path):
    return nbformat.read(path, as_version=4)


def test_every_page_with_code_has_a_notebook_and_no_other_has():
    pages = sorted((ROOT / "book").glob("*.md"))
    with_code = {page.stem for page in pages if "{code-cell}" in page.read_text(encoding="utf8")}
    assert set(NAMES) == with_code, MEND


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_not_stale(path, converter):
    made_of = read(path).metadata["gradnotes"]["made_of"]
    assert {f"book/{path.stem}.md", "_ext/gn_notebooks.py"} <= set(made_of)
    now = {name: converter.fingerprint(ROOT / name) for name in made_of}
    assert made_of == now, MEND


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_agrees_with_the_built_book(path):
    """Numbers may differ in their last digits from machine to machine; words and code may not."""
    built = ROOT / "_build" / "html" / "_notebooks" / path.name
    if not built.exists():
        pytest.skip("no built book: run `make book` first")

    def words(file):
        return [re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "#", cell.source) for cell in read(file).cells]

    assert words(path) == words(built), MEND


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_plain_and_gives_nothing_away(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        if cell.cell_type == "markdown":
            myst = re.search(r"^(```|:::+)\{|\{[a-z:]+\}`|^:label:", cell.source, re.M)
            assert not myst, cell.source
            assert "Solution" not in cell.source
    text = "\n".join(cell.source for cell in notebook.cells)
    solutions = re.findall(
        r"```\{solution\} \S+\n:class: dropdown\n\n(.{40})",
        (ROOT / "book" / f"{path.stem}.md").read_text(encoding="utf8"),
    )
    for start in solutions:
        assert start[:25] not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_has_the_code_of_the_page_without_its_assertions(path):
    code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    wanted = [
        cell.source
        for cell in source_cells(path.stem)
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", [])
    ]
    assert code == wanted
    assert not re.search(r"^\s*assert ", "\n".join(code), re.M)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_links_between_notebooks_lead_somewhere(path):
    text = json.dumps([cell.source for cell in read(path).cells])
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert target in {f"{name}.ipynb" for name in NAMES}, target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_from_an_empty_folder(path, tmp_path):
    client = NotebookClient(
        read(path),
        timeout=600,
        startup_timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
        extra_arguments=["--log-level=40"],
    )
    client.execute()
    written = [cell.get("outputs") for cell in client.nb.cells if cell.cell_type == "code"]
    assert any(written)
    errors = [out for outputs in written for out in outputs if out.get("name") == "stderr"]
    assert not errors
