"""The page for instructors: what it takes from the chapters, and that its paths lead somewhere."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "_ext"))

import gn_teaching  # noqa: E402
from sphinx.errors import ExtensionError  # noqa: E402
from test_chapters import CHAPTERS  # noqa: E402

PAGE = (ROOT / "book" / "instructors.md").read_text(encoding="utf8")
FOUND = gn_teaching.chapters(ROOT)


def test_each_chapter_has_its_goals_its_level_and_what_it_needs():
    assert list(FOUND) == ["tools", *CHAPTERS]
    for name, chapter in FOUND.items():
        goals = gn_teaching.GOAL.findall(chapter["box"])
        assert len(goals) >= 3, name
        assert gn_teaching.level(name, chapter).startswith("Level ")


def test_what_a_chapter_needs_comes_before_it():
    order = list(FOUND)
    needs = gn_teaching.needs(FOUND)
    assert needs["taylor"] == ["sinusoid"]
    for name, those in needs.items():
        assert all(order.index(other) < order.index(name) for other in those), name
    assert [name for name, those in needs.items() if not those] == ["tools"]


def test_a_box_without_a_level_is_an_error():
    with pytest.raises(ExtensionError, match=r"book/one\.md: expected a line `Level \.\.\.`"):
        gn_teaching.level("one", {"box": "- **one-1**: see;\n"})


def test_the_paths_take_the_minutes_that_they_say_and_name_chapters():
    table = PAGE.split("**One lecture, 50 minutes.**")[1].split("**One week")[0]
    assert sum(map(int, re.findall(r"^\| (\d+) \|", table, re.MULTILINE))) == 50
    week = PAGE.split("**One week")[1].split("For homework")[0]
    for row in re.findall(r"^\| \d \| ([\d +]+) \|", week, re.MULTILINE):
        assert sum(map(int, row.split("+"))) == 50
    for name in re.findall(r"\{doc\}`(\w+)`", PAGE):
        assert (ROOT / "book" / f"{name}.md").exists(), name


def test_the_commands_and_files_that_the_page_names_exist():
    make = (ROOT / "Makefile").read_text(encoding="utf8")
    for target in re.findall(r"`make (\w+)", PAGE):
        assert f"\n{target}:" in make, target
    for path in re.findall(r"(?:book/assignments|tests)/[\w.]+|requirements[\w-]*\.txt", PAGE):
        assert (ROOT / path).exists(), path
