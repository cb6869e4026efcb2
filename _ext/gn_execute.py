"""Run the book's notebooks, two at a time, and remember what they gave.

A page's results are kept under a key of its code cells (text and tags), the package, the lock and
the Python version. A change of a sentence runs nothing; a change of any of the four runs the page
again. A cell that raises stops the build with the file, the line and the cell.
"""

import ast
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from sphinx.errors import ExtensionError
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)

AT_ONCE = 2
KEEP_SECONDS = 30 * 24 * 3600
# Pictures as SVG: sharp at every size. The log level silences a warning about the debugger.
KERNEL_ARGUMENTS = ["--log-level=40", "--InlineBackend.figure_formats={'svg'}"]
# The same picture gives the same file: no date in it, and no random names.
FIGURE_SETTINGS = Path(__file__).with_name("gn_matplotlibrc")
KERNEL_ENVIRONMENT = {"SOURCE_DATE_EPOCH": "0", "MATPLOTLIBRC": str(FIGURE_SETTINGS)}
# Two pages at a time, each with a thread for each core, wait for one another ten times as long.
KERNEL_ENVIRONMENT |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def package_fingerprint(folder):
    """Hash of a package: its syntax trees without docstrings, and its data files as they are."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        digest.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(_code_only(path) if path.suffix == ".py" else path.read_bytes())
    return digest.hexdigest()


def _code_only(path):
    tree = ast.parse(path.read_text(encoding="utf8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(node, DOCUMENTED):
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                body[0] = ast.Pass()
    return ast.dump(tree).encode()


def surroundings_fingerprint(lock):
    """Hash of all that a page's results depend on outside the page."""
    package = Path(next(iter(find_spec("gradnotes").submodule_search_locations)))
    parts = [sys.version, lock.read_text(encoding="utf8"), package_fingerprint(package)]
    parts += [*KERNEL_ARGUMENTS, FIGURE_SETTINGS.read_text(encoding="utf8")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Results:
    """The folder of executed notebooks, and the way from a page's text to its results."""

    def __init__(self, folder, surroundings, timeout):
        self.folder = Path(folder)
        self.surroundings = surroundings
        self.timeout = timeout

    def key(self, notebook):
        """Name of a notebook's results, None where there is nothing to run."""
        cells = [
            (cell.source, sorted(cell.metadata.get("tags", [])))
            for cell in notebook.cells
            if cell.cell_type == "code"
        ]
        if not cells:
            return None
        return hashlib.sha256(json.dumps([self.surroundings, cells]).encode()).hexdigest()

    def path(self, key):
        """Where the results of that name are."""
        return self.folder / f"{key}.ipynb"

    def fill(self, notebook):
        """Put the remembered outputs into a freshly read notebook."""
        key = self.key(notebook)
        if key is None:
            return notebook
        executed = nbformat.read(self.path(key), as_version=4)
        fresh = [cell for cell in notebook.cells if cell.cell_type == "code"]
        done = [cell for cell in executed.cells if cell.cell_type == "code"]
        for cell, result in zip(fresh, done, strict=True):
            cell.outputs, cell.execution_count = result.outputs, result.execution_count
        notebook.metadata["language_info"] = executed.metadata["language_info"]
        return notebook

    def run(self, notebook, name):
        """Execute a notebook in an empty folder and remember it; give the seconds it took."""
        start = time.monotonic()
        begun = []
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty:
            client = NotebookClient(
                notebook,
                timeout=self.timeout,
                startup_timeout=600,
                kernel_name="python3",
                resources={"metadata": {"path": empty}},
                extra_arguments=KERNEL_ARGUMENTS,
                coalesce_streams=True,
                on_cell_execute=lambda cell, cell_index: begun.append(cell_index),
            )
            try:
                client.execute(env={**os.environ, **KERNEL_ENVIRONMENT})
            except FAILURES as error:
                number = begun[-1] if begun else 0
                raise ExtensionError(_failure(notebook, number, name, error)) from error
        seconds = time.monotonic() - start
        notebook.metadata["seconds"] = seconds
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.path(self.key(notebook))
        partial = target.with_suffix(".partial")
        nbformat.write(notebook, partial)
        os.replace(partial, target)
        return seconds

    def seconds(self, key):
        """How long the run took that gave the results of that name."""
        return json.loads(self.path(key).read_text(encoding="utf8"))["metadata"].get("seconds")

    def forget_old(self, used):
        """Delete results that no page has used for a month."""
        for path in self.folder.glob("*.ipynb"):
            if path.stem in used:
                os.utime(path)
            elif time.time() - path.stat().st_mtime > KEEP_SECONDS:
                path.unlink()


def _failure(notebook, number, name, error):
    """One message that names the file, the line and the cell, with the traceback behind it."""
    line = notebook.metadata["source_map"][number]
    code = sum(cell.cell_type == "code" for cell in notebook.cells[: number + 1])
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, CellExecutionError):
        trace = re.sub(r"\x1b\[[0-9;]*m", "", error.traceback)
        what = f"{error.ename}: {error.evalue}\n{trace}"
    return f"{name}:{line}: code cell {code} raised {what}"


# The reader that myst-nb calls gets a text alone, so the results of this build stand here.
_RESULTS: Results | None = None
_MYST = None


def parse(text):
    """Read a page as a notebook without outputs."""
    return read_myst_markdown_notebook(text, config=_MYST, add_source_map=True)


def read(text):
    """Read a page as a notebook with its outputs (what ``nb_custom_formats`` names)."""
    return _RESULTS.fill(parse(text))


def prepare(app):
    """Say where results are and what they depend on."""
    global _RESULTS, _MYST
    _MYST = app.env.myst_config
    _RESULTS = Results(
        Path(app.srcdir) / "_build" / ".executed",  # one for all outputs
        surroundings_fingerprint(Path(app.srcdir) / "requirements.txt"),
        app.config.nb_execution_timeout,
    )


def notebook_of(app, docname):
    """Read a page of the book as a notebook without outputs."""
    text = [Path(app.env.doc2path(docname)).read_text(encoding="utf8")]
    app.emit("source-read", docname, text)
    return parse(text[0])


def outdated(app, env, added, changed, removed):
    """Read again the pages whose results would now come from another run."""
    keys = getattr(env, "gn_keys", {})
    return [
        docname
        for docname in env.found_docs - added - changed
        if keys.get(docname) != _RESULTS.key(notebook_of(app, docname))
    ]


def run_missing(app, env, docnames):
    """Run, two at a time, the notebooks among these pages that have no results yet."""
    keys = getattr(env, "gn_keys", {})
    env.gn_keys = {name: key for name, key in keys.items() if name in env.found_docs}
    waiting = {}
    for docname in docnames:
        notebook = notebook_of(app, docname)
        key = env.gn_keys[docname] = _RESULTS.key(notebook)
        if key and not _RESULTS.path(key).exists():
            waiting[docname] = notebook
    failures = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {
            pool.submit(
                _RESULTS.run, notebook, os.path.relpath(env.doc2path(name), app.srcdir)
            ): name
            for name, notebook in waiting.items()
        }
        for done in as_completed(running):
            try:
                LOGGER.info("ran %s in %.1f s", running[done], done.result())
            except ExtensionError as error:
                failures.append(str(error))
    _RESULTS.forget_old(set(env.gn_keys.values()))
    if failures:
        raise ExtensionError("\n\n".join(failures))


def run_times(env):
    """Give the pages that are notebooks, each with the seconds that its last run took."""
    found = {name: _RESULTS.seconds(key) for name, key in env.gn_keys.items() if key}
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def setup(app):
    app.connect("builder-inited", prepare, priority=900)
    app.connect("env-get-outdated", outdated)
    app.connect("env-before-read-docs", run_missing, priority=900)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
