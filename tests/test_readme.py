"""The README: its picture and its pieces; its example runs as a doctest."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf8")


def test_the_picture_is_the_one_of_the_front_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "_ext"))
    spec = importlib.util.find_spec("gn_notebooks")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert f"({module.PICTURE})" in TEXT
    kept = (ROOT / module.PICTURE).read_text(encoding="utf8")
    made_of = re.search(r"<!-- made of (\S+) -->", kept)[1]
    assert made_of == module.picture_fingerprint(ROOT), "run `make notebooks`"


@pytest.mark.parametrize(
    "words", ["make book", "make test", "pip install -r requirements.txt", "jupyter-book build ."]
)
def test_the_commands_are_there(words):
    assert words in TEXT


def test_every_file_that_it_names_exists():
    named = re.findall(r"`((?:book|notebooks|_build)/[^`]*|[A-Z-]+(?:\.cff)?)`", TEXT)
    assert {"CITATION.cff", "LICENSE", "LICENSE-TEXT"} <= set(named)
    for name in named:
        assert name.startswith("_build/") or (ROOT / name).exists(), name


def test_versions_agree():
    import gradnotes

    for file, pattern in (
        ("pyproject.toml", r'^version = "(.+)"$'),
        ("CITATION.cff", r"^version: (.+)$"),
        ("CHANGELOG.md", r"^## (\S+), "),
        ("README.md", r"version (\d+\.\d+\.\d+)"),
    ):
        text = (ROOT / file).read_text(encoding="utf8")
        assert re.search(pattern, text, re.M)[1] == gradnotes.__version__, file
