"""What the results of a page depend on, and how long they are kept."""

import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def execute():
    """The module that runs the notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "_ext"))
        return importlib.import_module("gn_execute")


FORMULA = '''"""What it is for."""


class Curve:
    """A curve."""

    power = 2


def value(x):
    """Value of the curve."""
    return x**2 + 1
'''


@pytest.fixture
def package(tmp_path):
    (tmp_path / "formula.py").write_text(FORMULA, encoding="utf8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "table.csv").write_text("1,2\n", encoding="utf8")
    return tmp_path


def replace(path, old, new):
    assert path.read_text(encoding="utf8").count(old) == 1
    path.write_text(path.read_text(encoding="utf8").replace(old, new), encoding="utf8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is for", "Something else"),
        ("A curve", "A line"),
        ("Value of the curve", "The value"),
        ("+ 1", "+  1  # a comment"),
        ("\n\n\ndef", "\n\n\n\n# More.\n\ndef"),
    ],
)
def test_docstrings_comments_and_space_leave_the_fingerprint(execute, package, old, new):
    before = execute.package_fingerprint(package)
    replace(package / "formula.py", old, new)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "formula.pyc").write_bytes(b"1")
    assert execute.package_fingerprint(package) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("formula.py", "+ 1", "- 1"),
        ("formula.py", "power = 2", "power = 3"),
        ("formula.py", "value(x)", "values(x)"),
        ("sub/table.csv", "2", "3"),
    ],
)
def test_code_and_data_change_the_fingerprint(execute, package, name, old, new):
    before = execute.package_fingerprint(package)
    replace(package / name, old, new)
    assert execute.package_fingerprint(package) != before


@pytest.mark.parametrize("name", ["formula.py", "sub/table.csv"])
def test_a_new_name_changes_the_fingerprint(execute, package, name):
    before = execute.package_fingerprint(package)
    (package / name).rename((package / name).with_stem("zeta"))
    assert execute.package_fingerprint(package) != before


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda words, code: words.update(source="Others."), True),
        (lambda words, code: code.metadata.update(mystnb={"image": {"alt": "A line."}}), True),
        (lambda words, code: code.metadata.update(tags=["a", "b"]), True),
        (lambda words, code: code.metadata.update(tags=["a"]), False),
        (lambda words, code: code.update(source="1 + 3"), False),
    ],
)
def test_results_depend_on_code_and_tags_only(execute, tmp_path, change, same):
    words = new_markdown_cell("Words.")
    code = new_code_cell("1 + 2", metadata={"tags": ["b", "a"]})
    page = new_notebook(cells=[words, code])
    results = execute.Results(tmp_path, "surroundings", 1)
    before = results.key(page)
    change(words, code)
    assert (results.key(page) == before) == same
    assert execute.Results(tmp_path, "others", 1).key(page) != results.key(page)
    assert results.key(new_notebook(cells=[words])) is None


def test_lock_and_package_change_the_surroundings(execute, package, tmp_path_factory, monkeypatch):
    found = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(execute, "find_spec", {"gradnotes": found}.get)
    lock = tmp_path_factory.mktemp("lock") / "requirements.txt"
    lock.write_text("numpy==1.0\n", encoding="utf8")
    prints = [execute.surroundings_fingerprint(lock)]
    assert execute.surroundings_fingerprint(lock) == prints[0]
    lock.write_text("numpy==1.1\n", encoding="utf8")
    prints.append(execute.surroundings_fingerprint(lock))
    replace(package / "formula.py", "+ 1", "- 1")
    prints.append(execute.surroundings_fingerprint(lock))
    monkeypatch.setattr(execute.sys, "version", "another Python")
    prints.append(execute.surroundings_fingerprint(lock))
    assert len(set(prints)) == 4


def test_results_unused_for_a_month_are_forgotten(execute, tmp_path):
    for name in ("used", "old", "recent"):
        (tmp_path / f"{name}.ipynb").write_text("{}", encoding="utf8")
    for name in ("used", "old"):
        os.utime(tmp_path / f"{name}.ipynb", (0, 0))
    execute.Results(tmp_path, "surroundings", 1).forget_old({"used", None})
    assert {path.stem for path in tmp_path.iterdir()} == {"used", "recent"}
    assert (tmp_path / "used.ipynb").stat().st_mtime > 0
