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
FOLDERS = ("gradnotes", "tests", "_ext")
FILES = ("conftest.py", "pyproject.toml", "README.md", "book/claims.yml")
COMMAND = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
SECONDS, TIME_LIMIT, NOTE, EARLY = 300, "time limit", "first_failure.txt", "EARLY_TEST"


def fault(root, mutant):
    """Say why an entry of the list cannot be applied; nothing if it can."""
    if sorted(mutant) != ["file", "new", "old", "wrong"]:
        return "expected the fields file, old, new, wrong"
    if not (root / mutant["file"]).is_file():
        return "there is no such file"
    count = (root / mutant["file"]).read_text(encoding="utf8").count(mutant["old"])
    if count != 1:
        return f"expected `old` once in the file, and found it {count} times"
    return "`old` and `new` are the same" if mutant["old"] == mutant["new"] else ""


def changed(root, mutant):
    """Give the text of the file with the error in it."""
    return (root / mutant["file"]).read_text(encoding="utf8").replace(mutant["old"], mutant["new"])


def first_failure(root, tests, mutant=None, early=""):
    """Run tests on a copy of the package, with or without an error; name the first that fails.

    The test ``early``, if it is among them, runs before the others.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        (copy / "book").mkdir()
        for name in filter(lambda name: (root / name).exists(), FOLDERS):
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in filter(lambda name: (root / name).exists(), FILES):
            shutil.copy(root / name, copy / name)
        shutil.copy(__file__, copy / "mutants.py")
        if mutant:
            text = changed(root, mutant)
            (copy / mutant["file"]).write_text(text, encoding="utf8", newline="\n")
        # With CI set, Hypothesis tries the same examples every time, however long they take.
        environment = {"OMP_NUM_THREADS": "1", "CI": "true", EARLY: early or ""}
        options = {"env": {**os.environ, **environment}, "timeout": SECONDS}
        options |= {"capture_output": True, "encoding": "utf8", "errors": "replace"}
        try:
            done = subprocess.run([*COMMAND, "-p", "mutants", *tests], cwd=copy, **options)
        except subprocess.TimeoutExpired:
            return TIME_LIMIT
        if (copy / NOTE).exists():
            return (copy / NOTE).read_text(encoding="utf8")
    if done.returncode:
        raise RuntimeError(f"the tests {tests} did not run:\n{done.stdout}{done.stderr}")
    return None


# In a copy this script is a plugin of pytest as well, with what follows up to the next line.


def pytest_configure():
    """Stop unless the package that the tests import is the copy."""
    import gradnotes

    if Path(gradnotes.__file__).resolve().parent.parent != Path(__file__).resolve().parent:
        raise ImportError(f"expected the package of the copy, got {gradnotes.__file__}")


def pytest_collection_modifyitems(items):
    """Put the test first that caught this error the last time; the order is otherwise kept."""
    items.sort(key=lambda item: item.nodeid != os.environ[EARLY])


def pytest_runtest_logreport(report):
    """Note the first test that fails."""
    note = Path(__file__).with_name(NOTE)
    if report.failed and not note.exists():
        note.write_text(report.nodeid, encoding="utf8")


pytest_collectreport = pytest_runtest_logreport  # for a file that cannot be imported

# Which tests see an error, and the run


def tests_of(root, file):
    """The doctests of a module and its own tests, or those of its users where it has none."""
    modules, name = sorted((root / "gradnotes").glob("*.py")), Path(file).stem
    users = [m for m in modules if f"gradnotes.{name} import" in m.read_text(encoding="utf8")]
    return (file, *(_tests(root, [Path(file)]) or _tests(root, users)))


def all_tests(root, file):
    """The tests of all modules, and those of the claims, whatever the file."""
    modules = sorted((root / "gradnotes").glob("*.py"))
    claims = sorted((root / "tests").glob("test_claims_*.py"))
    return ("gradnotes", *_tests(root, modules), *(f"tests/{path.name}" for path in claims))


def _tests(root, modules):
    names = [f"tests/test_{module.stem}.py" for module in modules]
    return [name for name in names if (root / name).exists()]


def _two_at_a_time(root, *jobs, desc):
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(partial(first_failure, root), *jobs)
        return list(tqdm(found, total=len(jobs[0]), desc=desc, disable=None, leave=False))


def _caught_before(root):
    """Say of each change in the last record which test caught it: it likely does so again."""
    path = root / RECORD
    record = json.loads(path.read_text(encoding="utf8"))["mutants"] if path.exists() else []
    return {_change(mutant): mutant["caught_by"] for mutant in record}


def _change(mutant):
    return mutant["file"], mutant["old"], mutant["new"]


def _without_error(suites, found):
    """Give the tests that have to pass on the package as it is: those that caught an error."""
    caught = sorted({test for test in found if test and test != TIME_LIMIT})
    slow = {suite for suite, test in zip(suites, found, strict=True) if test == TIME_LIMIT}
    return [*filter(None, (caught[0::2], caught[1::2])), *sorted(slow)]


def run(root, words=()):
    """Try the errors in the files that the words pick, and give 1 where one survives."""
    listed = yaml.safe_load((root / LIST).read_text(encoding="utf8"))
    faults = [f"{mutant}: {fault(root, mutant)}" for mutant in listed if fault(root, mutant)]
    if faults:
        sys.exit(f"{LIST}:\n" + "\n".join(faults))
    picked = [m for m in listed if not words or any(word in m["file"] for word in words)]
    caught_before = _caught_before(root)
    record = left = [{**mutant, "caught_by": None} for mutant in picked]
    for tests_that_see in (tests_of, all_tests):
        suites = [tests_that_see(root, mutant["file"]) for mutant in left]
        early = [caught_before.get(_change(mutant)) for mutant in left]
        found = _two_at_a_time(root, suites, left, early, desc="one error each")
        for mutant, test in zip(left, found, strict=True):
            mutant["caught_by"] = test
        for failure in filter(
            None, _two_at_a_time(root, _without_error(suites, found), desc="no error")
        ):
            sys.exit(f"{failure} fails without any error in the package; mend it first")
        left = [mutant for mutant in left if mutant["caught_by"] is None]
    if not words:
        text = json.dumps({"mutants": record}, indent=1, ensure_ascii=False) + "\n"
        (root / RECORD).write_text(text, encoding="utf8", newline="\n")
    print(f"{len(record) - len(left)} of {len(record)} errors are caught")
    for mutant in left:
        print(f"survives  {mutant['file']:30}  {mutant['wrong']}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(run(ROOT, sys.argv[1:]))
