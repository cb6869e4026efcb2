"""Put deliberate errors into the package, one at a time, and see that a test fails for each.

``tests/mutants.yml`` lists the errors; ``book/mutants.json`` says which test caught which. Words
after the command (``python tests/mutants.py losses``) pick the files whose name holds one of them;
then nothing is written.
"""

import gc
import json
import multiprocessing
import os
import shutil
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
OPTIONS = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:anyio")
OPTIONS += ("-W", "ignore:Module already imported")
SECONDS, TIME_LIMIT, NOTE, OUTPUT = 1800, "time limit", "first_failure.txt", "output.txt"
# With CI set, Hypothesis tries the same examples every time, however long they take.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CI": "true"}
# On Linux each run is forked from a process that has imported this, and nothing of the package.
PRELOADED = ["hypothesis", "matplotlib.pyplot", "pytest", "scipy.stats", "sympy", "torch"]
PROCESSES = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    PROCESSES.set_forkserver_preload(PRELOADED)


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
        if mutant:
            text = changed(root, mutant)
            (copy / mutant["file"]).write_text(text, encoding="utf8", newline="\n")
        process = PROCESSES.Process(target=_pytest, args=(copy, tests, early))
        process.start()
        process.join(SECONDS)
        late = process.is_alive()
        process.kill()
        process.join()
        if (copy / NOTE).exists():
            return (copy / NOTE).read_text(encoding="utf8")
        if late:
            return TIME_LIMIT
        if process.exitcode:
            output = (copy / OUTPUT).read_text(encoding="utf8", errors="replace")
            raise RuntimeError(f"the tests {tests} did not run:\n{output}")
    return None


def _pytest(copy, tests, early):
    """Run tests in this process, a new one that has imported nothing of the package."""
    os.chdir(copy)
    os.environ.update(ENVIRONMENT)
    sys.path.insert(0, str(copy))
    with open(OUTPUT, "w", encoding="utf8") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    gc.freeze()  # or each run would search again and again through what was loaded before
    import pytest

    options = [*OPTIONS, f"--basetemp={copy / 'temporary'}"]
    sys.exit(pytest.main([*options, *tests], plugins=[Plugin(copy, early)]))


class Plugin:
    """What the run on a copy asks of pytest."""

    def __init__(self, copy, early):
        self.copy, self.early = copy, early

    def pytest_configure(self):
        """Stop unless the package that is imported is the copy; let no example be simplified."""
        from hypothesis import Phase, settings

        import gradnotes

        if Path(gradnotes.__file__).resolve().parent.parent != self.copy:
            raise ImportError(f"expected the package of the copy, got {gradnotes.__file__}")
        phases = set(Phase) - {Phase.shrink, Phase.explain}
        settings.register_profile("mutants", settings.get_profile("ci"), phases=phases)
        settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items):
        """Put the test first that caught this error the last time; else keep the order."""
        items.sort(key=lambda item: item.nodeid != self.early)

    def pytest_runtest_logreport(self, report):
        """Note the first test that fails."""
        note = self.copy / NOTE
        if report.failed and not note.exists():
            note.write_text(report.nodeid, encoding="utf8")

    def pytest_unconfigure(self):
        """Stop the processes that tests have left idle, or this one would wait for them."""
        for process in multiprocessing.active_children():
            process.terminate()

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
    os.environ.update(ENVIRONMENT)
    sys.exit(run(ROOT, sys.argv[1:]))
