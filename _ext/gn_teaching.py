"""What the pages for instructors and students say of the chapters and problem sets, from these.

``{goals}`` lists the goals of each chapter, ``{prerequisites}`` says what needs what, and
``{problem-sets}`` has a row for each set, with a link to the students' copy.
"""

import re
import sys
from pathlib import Path

import yaml
from gn_claims import Written
from sphinx.errors import ExtensionError

BOX = re.compile(r"^:::\{admonition\} Goals\n:class: goals\n(.*?)^:::$", re.MULTILINE | re.DOTALL)
GOAL = re.compile(r"^- \*\*[\w-]+\*\*: .+$", re.MULTILINE)
LEVEL = re.compile(r"^Level [ABC].*$", re.MULTILINE)
NEEDS = re.compile(r"\{doc\}`(\w+)`")
SETS = "book/assignments"


def chapters(root):
    """Names of the pages with goals, in the order of the book, each with its title and its box."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    found = {}
    for part in toc["parts"]:
        for page in part["chapters"]:
            path = root / f"{page['file']}.md"
            text = path.read_text(encoding="utf8")
            box = BOX.search(text)
            if box:
                title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
                found[path.stem] = {"title": title, "part": part["caption"], "box": box[1]}
    return found


def level(name, chapter):
    """The line of a box that says for whom the chapter is, and what it needs."""
    found = LEVEL.search(chapter["box"])
    if not found:
        raise ExtensionError(f"book/{name}.md: expected a line `Level ...` in the box of goals")
    return found[0]


def needs(found):
    """For each chapter the chapters that its box names."""
    return {
        name: [other for other in NEEDS.findall(level(name, chapter)) if other in found]
        for name, chapter in found.items()
    }


class Teaching(Written):
    """A directive that reads the chapters."""

    def chapters(self):
        root = Path(self.env.srcdir)
        found = chapters(root)
        for name in ("_toc.yml", *(f"book/{name}.md" for name in found)):
            self.env.note_dependency(str(root / name))
        return found


class GoalsDirective(Teaching):
    """The goals of each chapter, with its level and what it needs."""

    def run(self):
        lines = []
        for name, chapter in self.chapters().items():
            lines += [f"**{{doc}}`{name}`.** {level(name, chapter)}", ""]
            lines += [*GOAL.findall(chapter["box"]), ""]
        return self.parsed("\n".join(lines))


class PrerequisitesDirective(Teaching):
    """A table of what each chapter needs, and of what needs it."""

    def run(self):
        found = self.chapters()
        needed = needs(found)
        lines = ["| chapter | part | needs | is needed by |", "|:--|:--|:--|:--|"]
        for name, chapter in found.items():
            after = [other for other in found if name in needed[other]]
            cells = [f"{{doc}}`{name}`", chapter["part"]]
            cells += [
                ", ".join(f"{{doc}}`{one}`" for one in those) for those in (needed[name], after)
            ]
            lines.append("| " + " | ".join(cells) + " |")
        return self.parsed("\n".join(lines))


class ProblemSetsDirective(Written):
    """A table of the problem sets, with their students' copies."""

    def run(self):
        folder = Path(self.env.srcdir) / SETS
        sys.path.append(str(folder))
        import gn_sets

        configured = yaml.safe_load((folder / gn_sets.CONFIGURATION).read_text(encoding="utf8"))
        self.env.note_dependency(str(folder / gn_sets.CONFIGURATION))
        lines = ["| notebook | release | minutes | points |", "|:--|--:|--:|--:|"]
        for name, entry in sorted(configured.items()):
            path = folder / f"{name}.md"
            self.env.note_dependency(str(path))
            master = path.read_text(encoding="utf8")
            points, copy = sum(entry["points"].values()), f"assignments/student/{name}.ipynb"
            title = f"{{download}}`{gn_sets.title(master)} <{copy}>`"
            cells = [title, entry["release"], gn_sets.minutes(master), f"{points:g}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        return self.parsed("\n".join(lines))


def setup(app):
    app.add_directive("goals", GoalsDirective)
    app.add_directive("prerequisites", PrerequisitesDirective)
    app.add_directive("problem-sets", ProblemSetsDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
