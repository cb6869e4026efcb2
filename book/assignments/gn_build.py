"""Build each problem set from its one source: ``python book/assignments/gn_build.py [SET ...]``.

Otter Assign makes three things of the master: the students' notebook, the notebook with solutions,
and a zip file that grades in a container or on Gradescope. It also grades the solutions, which must
get full marks. All goes to ``_build/assignments/<set>/``; the students' notebook is copied to
``student/`` beside this file, where the book links it.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gn_sets
import nbformat
from myst_nb.core.read import read_myst_markdown_notebook

ROOT = gn_sets.HERE.parent.parent
BUILT = ROOT / "_build" / "assignments"
COPIES = gn_sets.HERE / "student"
NEEDED = ("numpy", "pyyaml", "sympy")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.json")
MARKS = ("# SOLUTION", "# BEGIN SOLUTION", "# END SOLUTION", "# HIDDEN", "passes(")


def master_notebook(one: gn_sets.ProblemSet) -> nbformat.NotebookNode:
    """Read the filled master as the notebook that Otter Assign takes."""
    notebook = read_myst_markdown_notebook(one.filled())
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"{one.name}-{number}", {}
        if cell.cell_type == "code" and cell.source.startswith("# HIDDEN"):
            # What the call must print, as Otter reads it.
            data = {"text/plain": "True"}
            cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=1)]
    return notebook


def build(one: gn_sets.ProblemSet, folder: Path) -> None:
    """Make the three things in a folder, which is replaced as a whole."""
    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch).resolve() / "source", Path(scratch).resolve() / "made"
        source.mkdir()
        nbformat.write(master_notebook(one), source / f"{one.name}.ipynb")
        for name in ("gn_sets.py", f"{one.name}.py", gn_sets.CONFIGURATION):
            shutil.copyfile(gn_sets.HERE / name, source / name)
        shutil.copytree(ROOT / "gradnotes", source / "gradnotes", ignore=NOT_COPIED)
        needed = _pinned()
        (source / "requirements.txt").write_text(needed, encoding="utf8", newline="\n")
        _assign(source / f"{one.name}.ipynb", made)
        out = Path(scratch) / "out"
        (out / "student").mkdir(parents=True)
        (out / "solutions").mkdir()
        student = nbformat.read(made / "student" / f"{one.name}.ipynb", as_version=4)
        solved = nbformat.read(made / "autograder" / f"{one.name}.ipynb", as_version=4)
        write(cleaned(student, one), out / "student" / f"{one.name}.ipynb")
        write(cleaned(solved, one), out / "solutions" / f"{one.name}.ipynb")
        leaks = leaks_in((out / "student" / f"{one.name}.ipynb").read_text("utf8"), one)
        if leaks:
            raise gn_sets.SetError(f"the students' copy of {one.name} holds {leaks[0]!r}")
        (zipped,) = (made / "autograder").glob("*.zip")
        shutil.copyfile(zipped, out / "autograder.zip")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(out, folder)


def _pinned() -> str:
    """Give what a container needs, in the versions of the lock: the checks need no torch."""
    locked = (ROOT / "requirements.txt").read_text(encoding="utf8").splitlines()
    return "".join(f"{line}\n" for line in locked if line.partition("==")[0].lower() in NEEDED)


def _assign(master: Path, made: Path) -> None:
    """Run Otter Assign, which also grades the solutions, in a process of its own."""
    # The tests import the set's module from the folder in which Otter runs them.
    path = os.pathsep.join(filter(None, [str(master.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "otter", "assign", "--no-pdfs", str(master), str(made)],
        env=os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1"},
        cwd=master.parent,
        capture_output=True,
        encoding="utf8",
        errors="replace",
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise gn_sets.SetError(f"Otter Assign did not get full marks for its solutions:\n{said}")


def cleaned(notebook: nbformat.NotebookNode, one: gn_sets.ProblemSet) -> nbformat.NotebookNode:
    """Take Otter's own notes out of a notebook, and put in which set it is of."""
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"{one.name}-{number}", {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "gradnotes": {"set": one.name, "release": one.release, "instance": one.instance},
        "otter": {"assignment_name": one.name},  # its zip file takes no other
    }
    return notebook


def solution_lines(one: gn_sets.ProblemSet) -> list[str]:
    """List the lines of the filled master that no student may see, without what is in stubs."""
    found, solving = [], False
    for cell in master_notebook(one).cells:
        first = cell.source.splitlines()[0] if cell.source else ""
        if cell.cell_type == "raw":
            solving = {"# BEGIN SOLUTION": True, "# END SOLUTION": False}.get(first, solving)
        elif first == "# HIDDEN":
            found += cell.source.splitlines()[1:]
        elif solving:
            found += [line for line in cell.source.splitlines() if line.strip()]
    return found


def leaks_in(text: str, one: gn_sets.ProblemSet) -> list[str]:
    """List what a text has that no student may see."""
    lines = [json.dumps(line, ensure_ascii=False)[1:-1] for line in solution_lines(one)]
    return [word for word in (*MARKS, *lines) if word in text]


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, the same way on each system."""
    nbformat.validate(notebook)
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf8", newline="\n")


def main() -> None:
    """Build the sets that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", help="names of sets; all where none is given")
    options = parser.parse_args()
    if importlib.util.find_spec("otter") is None:
        sys.exit("expected Otter-Grader; try `make assignments`, or `pip install '.[grade]'`")
    try:
        for name in options.sets or gn_sets.names():
            one = gn_sets.load(name)
            build(one, BUILT / name)
            COPIES.mkdir(exist_ok=True)
            shutil.copyfile(BUILT / name / "student" / f"{name}.ipynb", COPIES / f"{name}.ipynb")
            print(f"built {BUILT / name}, and {COPIES / name}.ipynb for the book")
    except gn_sets.SetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
