"""Write each chapter as a notebook that a reader can run: no outputs, no solutions, plain Markdown.

The text comes from the finished page, so numbers, references and included code are filled in; the
code comes from the source. Cells tagged ``remove-cell`` hold the book's own assertions and stay
out. ``python _ext/gn_notebooks.py`` copies the notebooks of the last build to ``notebooks/``, and
the picture of the front page to where the README shows it.
"""

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
from docutils import nodes
from gn_execute import notebook_of
from sphinx.addnodes import toctree
from sphinx_design.dropdown import dropdown_main
from sphinx_exercise.nodes import exercise_enumerable_node, solution_node
from sphinx_markdown_builder.translator import MarkdownTranslator

BUILT = "_notebooks"
PICTURE = "book/images/two-targets.svg"
MARK = re.compile(r"^%%cell:(\d+|text)%%$", re.MULTILINE)
UNWANTED = (solution_node, toctree, nodes.comment, nodes.target, nodes.raw, nodes.image)
PREFACE = """
*This notebook is made from `{source}`. It runs from any folder in which Python finds the
`gradnotes` package.{solutions}*
""".strip().replace("\n", " ")
SOLUTIONS = " The solutions of the exercises are in the book."


class verbatim(nodes.Element):  # noqa: N801 - docutils writes node classes in lower case
    """A line that is Markdown already."""


class NotebookTranslator(MarkdownTranslator):
    """The Markdown writer, with lines that pass through and display formulas that Jupyter reads."""

    def visit_PassthroughTextElement(self, node):  # noqa: N802 - the name of a sphinx-design node
        """A card's title: its words are enough."""

    def visit_Text(self, node):  # noqa: N802 - the name of a docutils node
        if self.status.escape_text and "$" in node:
            self.add(node.replace("$", r"\$"))  # or Jupyter would see a formula
        else:
            super().visit_Text(node)

    def visit_verbatim(self, node):
        self.add(node["text"], prefix_eol=2, suffix_eol=2)
        raise nodes.SkipNode

    def visit_math_block(self, node):
        tag = rf" \tag{{{node['number']}}}" if node["number"] else ""
        self.add(f"$$\n{node.astext().strip()}{tag}\n$$", prefix_eol=2, suffix_eol=2)
        raise nodes.SkipNode


def plain(document, app, docname):
    """Copy of a finished page in which every box, fold, link and cell is plain Markdown."""
    page = document.deepcopy()
    numbers = app.env.toc_fignumbers.get(docname, {})
    for unwanted in UNWANTED:
        for node in list(page.findall(unwanted)):
            node.parent.remove(node)
    for container in list(page.findall(nodes.container)):
        if container.get("nb_element") == "cell_code":
            container.replace_self(_cell(container, numbers))
    for fold in list(page.findall(dropdown_main)):
        title, body = fold.children
        start = f"<details><summary>{title.astext().strip()}</summary>"
        fold.replace_self([verbatim(text=start), *body.children, verbatim(text="</details>")])
    for box in list(page.findall(lambda node: isinstance(node, nodes.Admonition))):
        if box.parent is not None:
            box.replace_self(_box(box, numbers))
    for formula in page.findall(nodes.math_block):
        formula["number"] = _number(numbers, "displaymath", formula["ids"])
    for section in list(page.findall(nodes.section)):
        section.insert(0, verbatim(text="%%cell:text%%"))
    for link in list(page.findall(nodes.reference)):
        _relink(link, app)
    return page


def _cell(container, numbers):
    parts = [verbatim(text=f"%%cell:{container['cell_index']}%%")]
    for figure in container.findall(nodes.figure):
        for caption in figure.findall(nodes.caption):
            number = _number(numbers, "figure", figure["ids"])
            label = nodes.strong("", f"Figure {number}." if number else "Figure.")
            words = nodes.paragraph("", "", label, nodes.Text(" "), *caption.children)
            parts += [verbatim(text="%%cell:text%%"), words]
    return [*parts, verbatim(text="%%cell:text%%")]


def _box(box, numbers):
    """A theorem, an exercise or an admonition as a title and its text between two rules."""
    children = list(box.children)
    if children and isinstance(children[0], nodes.title):
        title = children.pop(0).children
    else:
        title = [nodes.Text(box.tagname.title())]
    kind = box.get("realtype") or ("exercise" if isinstance(box, exercise_enumerable_node) else "")
    if kind:
        number = _number(numbers, box.get("countertype") or kind, box["ids"])
        words = [kind.title(), number] if number else [kind.title()]
        title = [nodes.Text(" ".join(words)), *title]
    body = [
        grandchild
        for child in children
        for grandchild in (child.children if isinstance(child, nodes.section) else [child])
    ]
    rule = [verbatim(text="---")]
    heading = nodes.paragraph("", "", nodes.strong("", "", *title))
    return [*rule, heading, *body, *rule]


def _number(numbers, kind, ids):
    found = [numbers.get(kind, {}).get(one) for one in ids]
    return next((".".join(map(str, number)) for number in found if number), "")


def _relink(link, app):
    """Point links between chapters at notebooks; leave other links in the book as their text."""
    uri = link.get("refuri", "")
    if re.match(r"[a-z]+:", uri):
        return
    page = f"book/{Path(uri.partition('#')[0]).stem}"
    if uri.partition("#")[0] and page in chapters(app):
        link["refuri"], link["internal"] = f"{Path(page).name}.ipynb", False
        link.attributes.pop("refid", None)
    else:
        link.replace_self(link.children)


def chapters(app):
    """Names of the pages that have code to run."""
    return {name for name, key in app.env.gn_keys.items() if key}


def convert(app, document, docname):
    """Write the notebook of one finished page into the built book."""
    if app.builder.format != "html" or docname not in chapters(app):
        return
    translator = NotebookTranslator(document, app.builder)
    plain(document, app, docname).walkabout(translator)
    pieces = MARK.split(translator.astext())
    source = notebook_of(app, docname)
    cells = [_markdown(pieces[0])]
    for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if mark != "text":
            cells.append(_code(source.cells[int(mark)]))
        cells.append(_markdown(text))
    cells = [cell for cell in cells if cell.source]
    origin = os.path.relpath(app.env.doc2path(docname), app.srcdir).replace(os.sep, "/")
    solutions = "" if app.config.gn_student else SOLUTIONS
    cells[0].source += f"\n\n{PREFACE.format(source=origin, solutions=solutions)}"
    for number, cell in enumerate(cells):
        cell.id = f"{Path(docname).name}-{number}"
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=_metadata(app, docname))
    target = Path(app.outdir) / BUILT / f"{Path(docname).name}.ipynb"
    target.parent.mkdir(exist_ok=True)
    target.write_text(nbformat.writes(notebook) + "\n", encoding="utf8", newline="\n")


def _markdown(text):
    lines = (line.rstrip() for line in text.strip().splitlines())
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    # Two boxes in a row need one rule between them, and a cell none at its ends.
    text = re.sub(r"(^|\n\n)---(\n\n---)+", r"\1---", text)
    return nbformat.v4.new_markdown_cell(re.sub(r"^---$|^---\n\n|\n\n---$", "", text).strip())


def _code(cell):
    tags = cell.metadata.get("tags", [])
    hidden = any(tag in tags for tag in ("hide-input", "remove-input", "hide-cell"))
    metadata = {"jupyter": {"source_hidden": True}} if hidden else {}
    return nbformat.v4.new_code_cell(cell.source, metadata=metadata)


def _metadata(app, docname):
    made_of = [app.env.doc2path(docname), __file__]
    included = [Path(app.srcdir) / path for path in app.env.dependencies.get(docname, ())]
    # Not the pictures that the cells drew: a fresh checkout has none.
    built = Path(app.outdir).resolve().parent
    made_of += [path for path in included if built not in path.resolve().parents]
    return {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "gradnotes": {"made_of": fingerprints(made_of, Path(app.srcdir))},
    }


def fingerprints(paths, root):
    """Hash of each file that a notebook is made of, under its path from the root."""
    return {
        Path(path).resolve().relative_to(root.resolve()).as_posix(): fingerprint(Path(path))
        for path in sorted(map(str, paths))
    }


def fingerprint(path):
    """Hash of a text, whatever its line ends, or of a picture."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:16]


def offer(app, pagename, templatename, context, doctree):
    """Put the notebook into the page's download menu."""
    if pagename not in chapters(app):
        return
    for group in context.get("header_buttons", []):
        if group.get("label") == "download-buttons":
            group["buttons"].insert(
                0,
                {
                    "type": "link",
                    "url": context["pathto"](f"{BUILT}/{Path(pagename).name}.ipynb", 1),
                    "text": ".ipynb",
                    "icon": "fas fa-code",
                    "tooltip": "Download this page as a notebook",
                    "label": "download-notebook-button",
                },
            )


def drop_stale(app, exception):
    """Delete the notebooks of pages that are gone or have no code any more."""
    if exception is not None:
        return
    current = {Path(name).name for name in chapters(app)}
    for path in (Path(app.outdir) / BUILT).glob("*.ipynb"):
        if path.stem not in current:
            path.unlink()


def setup(app):
    app.setup_extension("sphinx_markdown_builder")
    app.add_node(verbatim)
    app.connect("doctree-resolved", convert, priority=900)
    app.connect("html-page-context", offer, priority=900)
    app.connect("build-finished", drop_stale)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}


def main():
    """Copy the last build's notebooks, and the picture of its front page, to where they stay."""
    root = Path(__file__).resolve().parent.parent
    html = root / "_build" / "html"
    built = sorted((html / BUILT).glob("*.ipynb"))
    if not built:
        sys.exit("no built notebooks: run `jupyter-book build .` first")
    for old in (root / "notebooks").glob("*.ipynb"):
        old.unlink()
    for path in built:
        shutil.copyfile(path, root / "notebooks" / path.name)
    page = (html / "book" / "index.html").read_text(encoding="utf8")
    picture = html / "book" / re.search(r'src="([^"]+\.svg)" */?>', page)[1]
    note = f"<!-- made of {picture_fingerprint(root)} -->\n"
    kept = picture.read_text(encoding="utf8") + note
    (root / PICTURE).write_text(kept, encoding="utf8", newline="\n")
    print(f"{len(built)} notebooks copied to notebooks/, the front page's picture to {PICTURE}")


def picture_fingerprint(root):
    """Hash of what the picture of the README is made of."""
    made_of = (root / "book" / "index.md", root / "gradnotes" / "plots.py")
    return "-".join(fingerprint(path) for path in made_of)


if __name__ == "__main__":
    main()
