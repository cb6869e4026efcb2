"""The student edition: the same book, with no solution in any of its files.

With ``GRADNOTES_STUDENT=1`` in the environment, pages are read without their solutions, and with
nothing in the removed cells below ``## Exercises``, which hold the right answers and their checks.
These cells still run, so that both editions share the results of the notebooks.
"""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import gn_execute
import nbformat
from markdown_it.renderer import RendererHTML
from myst_parser.parsers.mdit import create_md_parser
from sphinx.environment import CONFIG_OK
from sphinx.errors import ExtensionError
from sphinx_exercise.nodes import solution_node

HEADING = re.compile(r"^## Exercises\s*$", re.MULTILINE)
DIRECTIVE = re.compile(r"\s*\{([^}]+)\}")


def read(text):
    """Read a page as a notebook with its outputs, but with nothing in the cells with answers."""
    notebook = gn_execute.read(text)
    for number in answers(notebook):
        tags = nbformat.from_dict({"tags": ["remove-cell"]})  # and no caption or alternative text
        notebook.cells[number].update(source="", outputs=[], metadata=tags)
    return notebook


def answers(notebook):
    """Numbers of the removed cells below the heading of the exercises, to the end of the page."""
    cells = list(enumerate(notebook.cells))
    start = [n for n, cell in cells if cell.cell_type == "markdown" and HEADING.search(cell.source)]
    removed = [n for n, cell in cells if "remove-cell" in cell.metadata.get("tags", [])]
    return [n for n in removed if start and n > start[0]]


def hidden(config, text, cells=(), start=0):
    """First line, and line after the last, of each solution and of the cells that start there."""
    blocks = replace(config, disable_syntax=[*config.disable_syntax, "inline"])
    for token in create_md_parser(blocks, RendererHTML).parse(text):
        name = DIRECTIVE.match(token.info) if "fence" in token.type else None
        if name is None:
            continue
        first, after = (start + line for line in token.map)
        if name[1] == "solution" or first in cells:
            yield first, after
        elif name[1] != "code-cell":
            yield from hidden(config, token.content, start=first + 1)


def drop_solutions(app, docname, text):
    """Read empty lines in place of the solutions, so that what follows keeps its line."""
    lines = text[0].split("\n")
    for first, after in hidden(app.env.myst_config, text[0]):
        lines[first:after] = [""] * (after - first)
    text[0] = "\n".join(lines)


def rewrite_sources(app, exception):
    """Take solutions and answers out of the sources, which Sphinx copies as they are."""
    for path in (Path(app.outdir) / "_sources").rglob("*.md"):
        text = path.read_text(encoding="utf8")
        notebook = gn_execute.parse(text)
        cells = {notebook.metadata["source_map"][n] - 1 for n in answers(notebook)}
        lines = text.split("\n")
        for first, after in sorted(hidden(app.env.myst_config, text, cells), reverse=True):
            while after < len(lines) and not lines[after].strip():
                after += 1
            del lines[first:after]
        path.write_text("\n".join(lines), encoding="utf8", newline="\n")


def refuse_others(app, doctree):
    """Stop at a solution that came in another way, such as between gates or from another file."""
    for node in doctree.findall(solution_node):
        place = f"solution of {node['target_label']} in {app.env.docname}"
        raise ExtensionError(f"{place}: expected the directive `solution` in the page itself")


def start_afresh(app):
    """Delete what a build with other settings left, which may show solutions."""
    if app.env.config_status != CONFIG_OK:
        shutil.rmtree(Path(app.outdir).parent / "jupyter_execute", ignore_errors=True)
        shutil.rmtree(app.outdir)
        Path(app.outdir).mkdir()


def begin(app, config):
    """Connect what the student edition needs."""
    if config.gn_student:
        config.html_title += " (student edition)"
        config.nb_custom_formats = {".md": ["gn_student.read", {}, False]}
        app.connect("builder-inited", start_afresh, priority=1)
        app.connect("source-read", drop_solutions)
        app.connect("doctree-read", refuse_others)
        app.connect("build-finished", rewrite_sources)


def setup(app):
    wanted = os.environ.get("GRADNOTES_STUDENT", "") not in ("", "0")
    app.add_config_value("gn_student", wanted, "env", bool)
    app.connect("config-inited", begin)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
