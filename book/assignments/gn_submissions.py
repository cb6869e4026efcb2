"""Submissions: whose they are, whether they can be read, and of which set they are."""

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import gn_sets

LARGEST = 50_000_000  # bytes
LONGEST = 200  # bytes of a file's name: most systems take 255, with the ending
LINE = re.compile(r"^# gradnotes set (\w+), release (\d+), instance (\w+):", re.MULTILINE)
COPY = re.compile(r" ?\(\d+\)$")  # what a browser adds to the name of a second file
STUB = "_Type your answer here, replacing this text._"


class RefusedError(Exception):
    """A submission cannot be graded, and the message says why."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a student handed in.

    Attributes:
        student: The name of the file without its ending, or of its folder where there is one.
        paths: The notebooks; more than one is a fault.
    """

    student: str
    paths: tuple[Path, ...]

    @property
    def stem(self) -> str:
        """The beginning of the names of the student's files with results."""
        return file_stem(self.student)

    def content(self) -> bytes:
        """Read the one notebook.

        Raises:
            RefusedError: There are two, or it is too large or cannot be read.
        """
        if len(self.paths) > 1:
            alike = len({path.name for path in self.paths}) < len(self.paths)
            listed = ", ".join(
                f"{path.parent.name}/{path.name}" if alike else path.name for path in self.paths
            )
            raise RefusedError(
                f"there are {len(self.paths)} notebooks of this student ({listed}); keep one"
            )
        try:
            if self.paths[0].stat().st_size > LARGEST:
                raise RefusedError("the notebook is too large; clear its outputs")
            return self.paths[0].read_bytes()
        except OSError as error:
            raise RefusedError(f"the file cannot be read ({type(error).__name__})") from error


def find(folder: Path) -> tuple[list[Submission], dict[str, str]]:
    """List the submissions in a folder, and the files that are none, each with its student.

    A notebook in the folder itself is named after its student, and "name (1)" is a second one of
    "name". One in a folder inside it belongs to the student after whom that folder is named, as
    learning platforms export them.

    Raises:
        gn_sets.SetError: There is no such folder, or no notebook in it.
    """
    if not folder.is_dir():
        raise gn_sets.SetError(f"expected a folder with notebooks, and there is no folder {folder}")
    found, others, spelt = {}, {}, {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        own = inside.parts[0] if len(inside.parts) > 1 else COPY.sub("", path.stem)
        student = _in_one_line(own)
        if path.suffix.lower() != ".ipynb" or path.is_symlink():
            others[inside.as_posix()] = student
            continue
        # Two spellings that some systems take for the same file are one student.
        spelt.setdefault(student.casefold(), student)
        found.setdefault(student.casefold(), []).append(path)
    if not found:
        raise gn_sets.SetError(f"expected notebooks (*.ipynb) in {folder}, and there is none")
    submissions = [
        Submission(student=spelt[key], paths=tuple(paths)) for key, paths in found.items()
    ]
    return sorted(submissions, key=lambda one: one.student.casefold()), others


def file_stem(student: str) -> str:
    """Give what the names of a student's files begin with: the name, if a system takes it."""
    if len(student.encode("utf8")) <= LONGEST:
        return student
    mark = hashlib.sha256(student.encode("utf8")).hexdigest()[:12]
    start = student.encode("utf8")[: LONGEST - 13].decode("utf8", "ignore")
    return f"{start}-{mark}"


def _in_one_line(name: str) -> str:
    """Give the name of a file as text that fits into a line of a table."""
    name = name.encode("utf8", "surrogateescape").decode("utf8", "replace")
    broken = {letter for letter in name if unicodedata.category(letter) in ("Cc", "Zl", "Zp")}
    name = "".join(" " if letter in broken else letter for letter in name)
    return unicodedata.normalize("NFC", name).strip() or "no name"


def cells(content: bytes) -> tuple[dict, list[tuple[str, str]]]:
    """Read a notebook: its metadata, and type and source of each cell.

    Raises:
        RefusedError: It is no notebook.
    """
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
        if notebook.get("nbformat") != 4:
            raise RefusedError(
                "it is no notebook of format 4; open it in JupyterLab and save it again"
            )
        found = []
        for cell in notebook["cells"]:
            source = cell["source"]
            source = source if isinstance(source, str) else "".join(source)
            found.append((str(cell["cell_type"]), source))
        metadata = notebook.get("metadata")
        return metadata if isinstance(metadata, dict) else {}, found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"it is no readable notebook ({type(error).__name__})"
        raise RefusedError(f"{said}; was the file cut off, or is it of another kind?") from error


def check_version(metadata: dict, found: list[tuple[str, str]], one: gn_sets.ProblemSet) -> None:
    """See that a notebook was made from this set, in this release, with these numbers.

    Raises:
        RefusedError: It was not, or it does not say.
    """
    noted = metadata.get("gradnotes")
    if isinstance(noted, dict):
        name, release, instance = (noted.get(key) for key in ("set", "release", "instance"))
    else:  # some editors drop what they do not know: the first cell says it too
        lines = [LINE.search(source) for kind, source in found if kind == "code"]
        line = next(filter(None, lines), None)
        if line is None:
            raise RefusedError(
                "it does not say of which problem set it is; was it made from the copy?"
            )
        name, release, instance = line[1], int(line[2]), line[3]
    if name != one.name:
        raise RefusedError(f"it is of the set {str(name)[:40]}, and this is {one.name}")
    if release not in (one.release, str(one.release)) or instance != one.instance:
        raise RefusedError(
            f"it is of release {str(release)[:10]}, instance {str(instance)[:12]}, and this is "
            f"release {one.release}, instance {one.instance}; grade it with the files of its own"
        )


def written(found: list[tuple[str, str]], copy: list[tuple[str, str]]) -> str:
    """Give what a student has written as text: all that is not in the students' copy."""
    given = {" ".join(source.split()) for kind, source in copy if kind == "markdown"} | {"", STUB}
    own = [source.strip() for kind, source in found if kind in ("markdown", "raw")]
    return "\n\n".join(source for source in own if " ".join(source.split()) not in given)


def fingerprint(*parts: bytes) -> str:
    """Hash some contents, each with its length."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()
