"""Problem sets: what an instructor has configured, and the master with its numbers filled in.

A set is three things in this folder: its words with the solutions (``ps1.md``, a notebook for Otter
Assign), its numbers and marks (``ps1.py``), and its entry in ``instances.yml``.
"""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import yaml

HERE = Path(__file__).resolve().parent
CONFIGURATION = "instances.yml"
FIELDS = {"release", "seed", "points", "limits"}
LIMITS = {"cell", "notebook", "part", "memory"}
PLACE = re.compile(r"<<(\w+)>>")
MINUTES = re.compile(r"^\*(\d+) minutes; ", re.MULTILINE)


class SetError(Exception):
    """Something is wrong with a set, and the message says what."""


@dataclass(frozen=True, kw_only=True)
class ProblemSet:
    """A problem set as it is configured.

    Attributes:
        name: The name of its files and of its entry.
        release: A whole number, which an instructor raises with each new student copy.
        seed: Where its numbers come from.
        points: The points of each part, by its number.
        limits: Seconds and MiB that grading may take.
        module: ``<name>.py``.
        master: The text of ``<name>.md``.
    """

    name: str
    release: int
    seed: int
    points: dict[str, float]
    limits: dict[str, float]
    module: ModuleType
    master: str

    @cached_property
    def numbers(self) -> dict:
        """What the seed decides."""
        return self.module.draw(self.seed)

    @property
    def rng(self) -> int:
        """The seed of what is tried when an answer is marked: another one than in the notebook."""
        return 1_000_003 + self.seed

    @cached_property
    def instance(self) -> str:
        """Hash of what the answers depend on; a submission names it."""
        text = repr((self.name, self.release, sorted(self.numbers.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def parts(self) -> dict[str, tuple[str, str]]:
        """The parts that are marked by a computer: variable, and what it is about."""
        return self.module.PARTS

    @property
    def by_hand(self) -> dict[str, str]:
        """The parts that a person marks, and what they are about."""
        return self.module.BY_HAND

    def filled(self) -> str:
        """Give the master with everything in its place.

        Raises:
            SetError: A name between angle brackets is unknown, or a known one does not occur.
        """
        values = self.module.texts(self.numbers) | {
            "set": self.name,
            "release": str(self.release),
            "instance": f"instance {self.instance}",
            "minutes": str(minutes(self.master)),
            "cell_seconds": f"{self.limits['cell']:g}",
            "notebook_seconds": f"{self.limits['notebook']:g}",
            **{f"points_{part}": f"{points:g}" for part, points in self.points.items()},
        }
        used = set(PLACE.findall(self.master))
        if used != set(values):
            wrong = ", ".join(sorted(used ^ set(values)))
            raise SetError(f"{self.name}.md: expected each known name and no other, see {wrong}")
        return PLACE.sub(lambda found: values[found[1]], self.master)


def title(master: str) -> str:
    """Find the title of a set in its master."""
    return re.search(r"^# (?!ASSIGNMENT|BEGIN|END)(.+)$", master, re.MULTILINE)[1]


def minutes(master: str) -> int:
    """Add up the minutes that a master gives its questions."""
    return sum(map(int, MINUTES.findall(master)))


def names(folder: Path = HERE) -> list[str]:
    """Name the sets that are configured."""
    return sorted(_configuration(folder))


def load(name: str, folder: Path = HERE) -> ProblemSet:
    """Read a set.

    Raises:
        SetError: There is no such set, or its entry does not make sense.
    """
    configured = _configuration(folder)
    if name not in configured:
        known = ", ".join(sorted(configured))
        raise SetError(f"expected a problem set among {known}, got {name!r}; see {CONFIGURATION}")
    entry = configured[name]
    module = _module(name, folder)
    _check(name, entry, [*module.PARTS, *module.BY_HAND])
    path = folder / f"{name}.md"
    master = path.read_text(encoding="utf8") if path.exists() else ""  # not in Otter's container
    return ProblemSet(name=name, module=module, master=master, **entry)


def _configuration(folder) -> dict:
    path = folder / CONFIGURATION
    found = yaml.safe_load(path.read_text(encoding="utf8"))
    if not isinstance(found, dict) or not found:
        raise SetError(f"{CONFIGURATION}: expected an entry for each problem set, got {found!r}")
    return found


def _module(name, folder) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check(name, entry, parts):
    def refuse(expected, got):
        raise SetError(f"{CONFIGURATION}, {name}: expected {expected}, got {got}")

    def is_count(value):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    if not isinstance(entry, dict) or set(entry) != FIELDS:
        refuse(f"the fields {', '.join(sorted(FIELDS))}", entry)
    for field in ("release", "seed"):
        if not is_count(entry[field]):
            refuse(f"a whole number as {field}", repr(entry[field]))
    for field, wanted in (("points", set(parts)), ("limits", LIMITS)):
        values = entry[field]
        if not isinstance(values, dict) or set(values) != wanted:
            refuse(f"{field} for {', '.join(sorted(wanted))} (in quotes)", values)
        least = 0 if field == "points" else 1e-3
        for value in values.values():
            if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
                refuse(f"numbers as {field}", values)
