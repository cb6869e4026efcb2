"""What the book prints does not hang on rounding: starts that differ by 1e-13 give the same."""

import contextlib
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import myst_nb
import numpy as np
import pytest
from myst_nb.core.read import read_myst_markdown_notebook

from gradnotes import networks

BOOK = Path(__file__).resolve().parent.parent / "book"
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
    return printed.getvalue(), glued


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", PAGES)
def test_a_start_perturbed_by_1e_13_changes_no_published_figure(page):
    text, glued = published(page, 0.0)
    other_text, other_glued = published(page, 1e-13)
    assert other_glued.keys() == glued.keys()
    for name, value in glued.items():
        ours, theirs = re.findall(NUMBER, str(value)), re.findall(NUMBER, str(other_glued[name]))
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
