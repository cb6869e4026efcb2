"""Put deliberate errors into the package, one at a time, and see that a test fails for each.

``tests/mutants.yml`` lists the errors; ``book/mutants.json`` says which test caught which. Words
after the command (``python tests/mutants.py losses``) pick the files whose name holds one of them;
then nothing is written.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import yaml
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
LIST, RECORD = "tests/mutants.yml", "book/mutants.json"
FIELDS = ("file", "wrong", "old", "new")
COPIED = ("gradnotes", "tests", "_ext", "conftest.py", "pyproject.toml", "README.md")
COPIED += ("book/claims.yml",)
SECONDS, TIME_LIMIT = 300, "time limit"
NOTE = "first_failure.txt"


def load(root):
    """Read the list, or stop with every entry that cannot be applied."""
    mutants, faults = yaml.safe_load((root / LIST).read_text(encoding="utf8")), []
    for number, mutant in enumerate(mutants, start=1):
        fault = _fault(root, mutant)
        faults += [f"{LIST}, entry {number}, {mutant}: {fault}"] if fault else []
    if faults:
        sys.exit("\n".join(faults))
    return mutants


def _fault(root, mutant):
    if sorted(mutant) != sorted(FIELDS):
        return f"expected the fields {', '.join(FIELDS)}"
    if not (root / mutant["file"]).is_file():
        return "there is no such file"
    count = (root / mutant["file"]).read_text(encoding="utf8").count(mutant["old"])
    if count != 1:
        return f"expected `old` once in the file, and found it {count} times"
    return "`old` and `new` are the same" if mutant["old"] == mutant["new"] else ""


def changed(root, mutant):
    """Give the text of the file with the error in it."""
    return (root / mutant["file"]).read_text(encoding="utf8").replace(mutant["old"], mutant["new"])


def first_failure(root, tests, mutant=None):
    """Run tests on a copy of the package, with or without an error; name the first that fails."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        for name in COPIED:
            _copy(root / name, copy / name)
        _copy(Path(__file__), copy / "mutants.py")
        if mutant:
            text = changed(copy, mutant)
            (copy / mutant["file"]).write_text(text, encoding="utf8", newline="\n")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
        # With CI set, Hypothesis tries the same examples every time, however long they take.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CI": "true"}
        try:
            done = subprocess.run(
                [*command, "-p", "mutants", *tests],
                cwd=copy,
                env=environment,
                capture_output=True,
                encoding="utf8",
                errors="replace",
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return TIME_LIMIT
        if (copy / NOTE).exists():
            return (copy / NOTE).read_text(encoding="utf8")
        if done.returncode:
            raise RuntimeError(f"the tests {tests} did not run:\n{done.stdout}{done.stderr}")
        return None


def _copy(source, goal):
    goal.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
    elif source.exists():
        shutil.copy(source, goal)


# In a copy this script is a plugin of pytest as well, with the next two functions.


def pytest_configure():
    """Stop unless the package that the tests import is the copy."""
    import gradnotes

    if Path(gradnotes.__file__).resolve().parent.parent != Path(__file__).resolve().parent:
        raise ImportError(f"expected the package of the copy, got {gradnotes.__file__}")


def pytest_runtest_logreport(report):
    """Note the first test that fails."""
    note = Path(__file__).with_name(NOTE)
    if report.failed and not note.exists():
        note.write_text(report.nodeid, encoding="utf8")


pytest_collectreport = pytest_runtest_logreport  # a file that cannot be imported


def tests_of(root, file):
    """The doctests of a module and its own tests, or those of its users where it has none."""
    module = Path(file).stem
    users = [
        path.stem
        for path in sorted((root / "gradnotes").glob("*.py"))
        if f"from gradnotes.{module} import" in path.read_text(encoding="utf8")
    ]
    return (file, *(_existing(root, [module]) or _existing(root, users)))


def all_tests(root):
    """The tests of all modules, and those of the claims."""
    modules = [path.stem for path in sorted((root / "gradnotes").glob("*.py"))]
    claims = [f"tests/{path.name}" for path in sorted((root / "tests").glob("test_claims_*.py"))]
    return ("gradnotes", *_existing(root, modules), *claims)


def _existing(root, modules):
    names = [f"tests/test_{module}.py" for module in modules]
    return [name for name in names if (root / name).exists()]


def catch(root, mutants, suites):
    """Give for each error the test that catches it; first see that the tests pass without it."""
    clean = sorted(set(suites))
    for failure in _two_at_a_time(partial(first_failure, root), clean, desc="without errors"):
        if failure:
            sys.exit(f"{failure} fails without any error in the package; mend it first")
    return _two_at_a_time(partial(first_failure, root), suites, mutants, desc="with one error")


def _two_at_a_time(function, *jobs, desc):
    with ThreadPoolExecutor(2) as pool:
        bar = tqdm(pool.map(function, *jobs), total=len(jobs[0]), desc=desc, disable=None)
        return list(bar)


def run(root, words=()):
    """Try the errors in the files that the words pick, and give 1 where one survives."""
    mutants = [m for m in load(root) if not words or any(word in m["file"] for word in words)]
    if not mutants:
        sys.exit(f"no entry of {LIST} is about a file named like {', '.join(words)}")
    found = catch(root, mutants, [tests_of(root, mutant["file"]) for mutant in mutants])
    left = [number for number, test in enumerate(found) if test is None]
    if left:
        everything = [all_tests(root)] * len(left)
        again = catch(root, [mutants[number] for number in left], everything)
        for number, test in zip(left, again, strict=True):
            found[number] = test
    record = [
        {**{name: mutant[name] for name in FIELDS}, "caught_by": test}
        for mutant, test in zip(mutants, found, strict=True)
    ]
    if not words:
        text = json.dumps({"mutants": record}, indent=1, ensure_ascii=False) + "\n"
        (root / RECORD).write_text(text, encoding="utf8", newline="\n")
    survivors = [mutant for mutant in record if mutant["caught_by"] is None]
    print(f"{len(record) - len(survivors)} of {len(record)} errors are caught")
    for mutant in survivors:
        print(f"survives  {mutant['file']:30}  {mutant['wrong']}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(run(ROOT, sys.argv[1:]))
