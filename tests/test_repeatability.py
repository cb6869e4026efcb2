"""What the book prints does not hang on rounding: starts that differ by 1e-13 give the same."""

import contextlib
import importlib
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import myst_nb
import nbformat
import numpy as np
import pytest
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient

from gradnotes import networks

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
PAGES = [page.stem for page in sorted(BOOK.glob("*.md")) if "fit(" in page.read_text("utf8")]
NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?"
WITH_INTERVAL = re.compile(rf"({NUMBER})\s+\[({NUMBER}), ({NUMBER})\]")


def published(page, perturbation):
    """Run a page in this process; give what it prints, and the numbers in its sentences.

    The page's own assertions run too. Every weight that a network starts from is multiplied by 1
    plus a normal number of the given size.
    """
    glued, printed = {}, io.StringIO()
    generator, draw = np.random.default_rng(7), networks._draw

    def drawn(*arguments):
        return [
            [a * (1.0 + perturbation * generator.standard_normal(a.shape)) for a in arrays]
            for arrays in draw(*arguments)
        ]

    cells = read_myst_markdown_notebook((BOOK / f"{page}.md").read_text("utf8")).cells
    names = {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_draw", drawn)
        patch.setattr(myst_nb, "glue", lambda name, value, **_: glued.update({name: value}))
        for number, cell in enumerate(cells):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{page}, cell {number}", "exec"), names)
    plt.close("all")
    return printed.getvalue(), {name: repr(value) for name, value in glued.items()}


def built(page):
    """Give the same of the run of a page that the book shows, if it is built as it is now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "_ext"))
        execute = importlib.import_module("gn_execute")
    surroundings = execute.surroundings_fingerprint(ROOT / "requirements.txt")
    results = execute.Results(ROOT / "_build" / ".executed", surroundings, 0)
    path = results.path(results.key(execute.parse((BOOK / f"{page}.md").read_text("utf8"))))
    return shown(nbformat.read(path, as_version=4)) if path.exists() else None


def shown(notebook):
    """Give what the cells of an executed notebook printed, and what they glued."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    glued = {}
    for output in outputs:
        if glue := output.get("metadata", {}).get("scrapbook"):
            glued[glue["name"]] = output.data[f"{glue['mime_prefix']}text/plain"]
    return printed, glued


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", PAGES)
def test_a_start_perturbed_by_1e_13_changes_no_published_figure(page):
    text, glued = built(page) or published(page, 0.0)
    other_text, other_glued = published(page, 1e-13)
    assert other_glued.keys() == glued.keys()
    for name, value in glued.items():
        ours, theirs = re.findall(NUMBER, value), re.findall(NUMBER, other_glued[name])
        # They are rounded to two or three digits, of which the last may change.
        np.testing.assert_allclose(np.array(theirs, float), np.array(ours, float), rtol=0.02)
    figures, others = WITH_INTERVAL.findall(text), WITH_INTERVAL.findall(other_text)
    assert len(figures) == len(others)
    for (_, low, high), (other, _, _) in zip(figures, others, strict=True):
        assert float(low) <= float(other) <= float(high)


def test_a_figure_that_hangs_on_rounding_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.BOOK", tmp_path)
    page = "\n".join(
        (
            "---\njupytext:\n  text_representation:\n    format_name: myst\n---\n",
            "```{code-cell} python\nfrom gradnotes.networks import MLP",
            "first = MLP(1, (3,), rng=0).flat_weights()[0].item()",
            "digit = int(abs(first) * 1e13) % 10",
            'print(f"{digit} [{digit}, {digit}]")\n```\n',
        )
    )
    (tmp_path / "small.md").write_text(page, encoding="utf8")
    runs = [published("small", size)[0] for size in (0.0, 0.0, 1e-9)]
    assert runs[0] == runs[1]
    assert WITH_INTERVAL.findall(runs[0]) != WITH_INTERVAL.findall(runs[2])


def test_what_a_built_page_shows_is_what_it_gives_here(tmp_path, monkeypatch):
    """The run that a page has in the build, if there is one, stands for a run of this file."""
    monkeypatch.setattr(f"{__name__}.BOOK", tmp_path)
    page = "\n".join(
        (
            "---\njupytext:\n  text_representation:\n    format_name: myst\n---\n",
            "```{code-cell} python\nfrom myst_nb import glue\n",
            "print('2.5 [2, 3]')",
            "glue('half', 0.5, display=False)",
            "glue('words', '1 to 2', display=False)\n```\n",
            "```{code-cell} python\nprint('end')\n'a value that is not printed'\n```\n",
        )
    )
    (tmp_path / "small.md").write_text(page, encoding="utf8")
    assert built("small") is None
    notebook = read_myst_markdown_notebook(page)
    NotebookClient(notebook, timeout=600, startup_timeout=600, kernel_name="python3").execute()
    wanted = ("2.5 [2, 3]\nend\n", {"half": "0.5", "words": "'1 to 2'"})
    assert shown(notebook) == published("small", 0.0) == wanted
