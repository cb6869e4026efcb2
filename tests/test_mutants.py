"""The deliberate errors: each one applies, each is caught, and one that is not would be named."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mutants
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
LISTED = yaml.safe_load((ROOT / mutants.LIST).read_text(encoding="utf8"))
IDS = [f"{Path(mutant['file']).stem}: {mutant['wrong']}" for mutant in LISTED]

DOUBLE = '''"""Doubles and halves."""


def double(x):
    """Double a number.

    >>> double(3)
    6
    """
    return 2 * x


def half(x):
    """Halve a number."""
    return x / 2


def quarter(x):
    """Halve a number twice."""
    return half(x) / 2
'''
TESTS = """from gradnotes.doubles import half


def test_half():
    assert half(8) == 4
"""
CAUGHT = {"wrong": "thrice", "old": "2 * x", "new": "3 * x"}
CAUGHT_LATER = {"wrong": "twice", "old": "return x / 2", "new": "return x * 2"}
SURVIVES = {"wrong": "no longer a quarter", "old": "half(x) / 2", "new": "half(x) / 3"}


@pytest.fixture
def root(tmp_path):
    """A small package with tests, of which one function has none."""

    def write(name, text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf8")

    write("gradnotes/__init__.py", '"""A package that is not the book\'s."""\n')
    write("gradnotes/doubles.py", DOUBLE)
    write("tests/test_doubles.py", TESTS)
    write("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "--doctest-modules"\n')
    write("book/index.md", "# A book\n")
    return tmp_path


def list_errors(root, *errors):
    entries = [{"file": "gradnotes/doubles.py", **error} for error in errors]
    (root / mutants.LIST).write_text(yaml.safe_dump(entries), encoding="utf8")


def recorded(root):
    return json.loads((root / mutants.RECORD).read_text(encoding="utf8"))["mutants"]


# The list and the record


def test_there_are_many_errors_in_every_module_with_formulas():
    modules = [Path(mutant["file"]).stem for mutant in LISTED]
    assert len(modules) >= 36
    without_formulas = {"__init__", "plots"}
    every = {path.stem for path in (ROOT / "gradnotes").glob("*.py")} - without_formulas
    assert {module: modules.count(module) >= 2 for module in every} == dict.fromkeys(every, True)


def test_no_two_errors_are_the_same():
    changes = {(mutant["file"], mutant["old"], mutant["new"]) for mutant in LISTED}
    assert len(changes) == len(LISTED)
    assert len(set(IDS)) == len(LISTED)


@pytest.mark.parametrize("mutant", LISTED, ids=IDS)
def test_an_error_is_valid_python_and_changes_more_than_a_docstring(mutant):
    assert mutants.fault(ROOT, mutant) == ""
    text = (ROOT / mutant["file"]).read_text(encoding="utf8")
    assert text.count(mutant["old"]) == 1
    # At this level of optimisation docstrings are dropped.
    with_error, without = (
        compile(code, "module", "exec", optimize=2, dont_inherit=True)
        for code in (mutants.changed(ROOT, mutant), text)
    )
    assert with_error != without


def test_the_record_says_of_each_error_which_test_caught_it():
    record = recorded(ROOT)
    listed = [{key: mutant[key] for key in mutant if key != "caught_by"} for mutant in record]
    assert listed == LISTED, "run `make mutants`"
    for mutant in record:
        caught_by = mutant["caught_by"]
        assert caught_by, f"survives: {mutant['wrong']}"
        file, _, test = caught_by.partition("::")
        assert caught_by == mutants.TIME_LIMIT or (ROOT / file).is_file(), caught_by
        assert caught_by == mutants.TIME_LIMIT or file.startswith(("tests/", "gradnotes/"))
        assert "/" not in test.partition("[")[0]


# The script


def test_a_survivor_is_named_and_fails_the_run(root, capsys):
    list_errors(root, CAUGHT, SURVIVES, CAUGHT_LATER)
    before = (root / "gradnotes" / "doubles.py").read_bytes()
    assert mutants.run(root) == 1
    said = capsys.readouterr().out
    assert "2 of 3 errors are caught" in said
    assert "no longer a quarter" in said
    assert "thrice" not in said
    assert [mutant["caught_by"] for mutant in recorded(root)] == [
        "gradnotes/doubles.py::gradnotes.doubles.double",
        None,
        "tests/test_doubles.py::test_half",
    ]
    assert [mutant["old"] for mutant in recorded(root)] == ["2 * x", "half(x) / 2", "return x / 2"]
    assert (root / "gradnotes" / "doubles.py").read_bytes() == before


def test_what_the_own_tests_miss_other_tests_may_catch(root):
    (root / "tests" / "test_claims_a.py").write_text(
        "from gradnotes.doubles import quarter\n\n\ndef test_a():\n    assert quarter(8) == 2\n",
        encoding="utf8",
    )
    list_errors(root, SURVIVES)
    assert mutants.run(root) == 0
    assert [mutant["caught_by"] for mutant in recorded(root)] == ["tests/test_claims_a.py::test_a"]


def test_the_test_that_caught_an_error_before_runs_first(root):
    """Of two tests that see it the second is recorded, and stays; without a record the first is."""
    both = TESTS + "\n\ndef test_more():\n    assert half(6) == 3\n"
    (root / "tests" / "test_doubles.py").write_text(both, encoding="utf8")
    list_errors(root, CAUGHT_LATER)
    for kept in ("test_half", "test_more", "test_gone"):
        (error,) = yaml.safe_load((root / mutants.LIST).read_text(encoding="utf8"))
        test = f"tests/test_doubles.py::{kept}"
        text = json.dumps({"mutants": [{**error, "caught_by": test}]})
        (root / mutants.RECORD).write_text(text, encoding="utf8")
        assert mutants.run(root) == 0
        found = kept if kept != "test_gone" else "test_half"
        assert recorded(root)[0]["caught_by"] == f"tests/test_doubles.py::{found}"


def test_words_pick_files_and_leave_the_record_alone(root, capsys):
    list_errors(root, CAUGHT)
    assert mutants.run(root, ["dou"]) == 0
    assert mutants.run(root, ["losses"]) == 0
    said = capsys.readouterr().out
    assert said == "1 of 1 errors are caught\n0 of 0 errors are caught\n"
    assert not (root / mutants.RECORD).exists()


def test_a_suite_that_fails_anyway_catches_nothing(root):
    file = root / "tests" / "test_doubles.py"
    file.write_text(TESTS.replace("== 4", "== 5"), encoding="utf8")
    list_errors(root, CAUGHT, CAUGHT_LATER)
    words = "tests/test_doubles.py::test_half fails without any error in the package"
    with pytest.raises(SystemExit, match=words):
        mutants.run(root)
    assert not (root / mutants.RECORD).exists()


def test_a_file_that_cannot_be_imported_and_a_time_limit_count_as_caught(root, monkeypatch):
    error = {"file": "gradnotes/doubles.py", "old": "def half", "new": "def halve"}
    tests = mutants.tests_of(root, error["file"])
    assert tests == ("gradnotes/doubles.py", "tests/test_doubles.py")
    assert mutants.first_failure(root, tests, error) == "tests/test_doubles.py"
    monkeypatch.setattr(mutants, "SECONDS", 0.01)
    assert mutants.first_failure(root, tests) == mutants.TIME_LIMIT


def test_a_failure_is_known_though_the_tests_after_it_or_their_workers_hang(root):
    """A worker that joblib keeps does not hold up the end, nor does a slow end hide a failure."""
    tests = "import joblib\n\nfrom gradnotes.doubles import half\n\n\ndef test_half():\n"
    tests += "    with joblib.parallel_config(n_jobs=2):\n"
    tests += "        halves = joblib.Parallel()(joblib.delayed(abs)(half(x)) for x in (8, 6))\n"
    tests += "    assert halves == [4, 3]\n"
    (root / "tests" / "test_doubles.py").write_text(tests, encoding="utf8")
    start = time.monotonic()
    assert mutants.first_failure(root, ["tests/test_doubles.py"]) is None
    error = {"file": "gradnotes/doubles.py", **CAUGHT_LATER}
    found = mutants.first_failure(root, ["tests/test_doubles.py"], error)
    assert found == "tests/test_doubles.py::test_half"
    # The workers would stay for 300 seconds.
    assert time.monotonic() - start < 250


def test_a_run_has_one_thread_and_draws_the_same_examples_of_which_none_is_shrunk(root):
    tests = "import os\n\nfrom hypothesis import Phase, settings\n\n\ndef test_settings():\n"
    tests += "    assert os.environ['OMP_NUM_THREADS'] == '1' and os.environ['CI'] == 'true'\n"
    tests += "    assert settings().derandomize and settings().deadline is None\n"
    tests += "    assert {Phase.explicit, Phase.generate} <= set(settings().phases)\n"
    tests += "    assert not {Phase.shrink, Phase.explain} & set(settings().phases)\n"
    (root / "tests" / "test_doubles.py").write_text(tests, encoding="utf8")
    assert mutants.first_failure(root, ["tests/test_doubles.py"]) is None


def test_one_run_sees_nothing_of_another(root):
    """Both are forked from the same process, where that is possible."""
    tests = "import sys\n\nimport gradnotes\n\n\ndef test_first():\n"
    tests += "    assert 'a mark' not in sys.modules\n"
    tests += "    sys.modules['a mark'] = gradnotes\n"
    (root / "tests" / "test_doubles.py").write_text(tests, encoding="utf8")
    for _ in range(2):
        assert mutants.first_failure(root, ["tests/test_doubles.py"]) is None


def test_what_is_imported_in_advance_holds_nothing_of_the_package_and_starts_no_thread():
    code = f"import os, sys\nfor name in {mutants.PRELOADED}:\n    __import__(name)\n"
    code += "assert not [name for name in sys.modules if name.startswith('gradnotes')]\n"
    # Only there is a process forked, which a thread could disturb.
    code += "assert sys.platform != 'linux' or len(os.listdir('/proc/self/task')) == 1"
    environment = {**os.environ, **mutants.ENVIRONMENT}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_another_package_of_the_name_is_refused(root):
    text = "__file__ = '/elsewhere/gradnotes/__init__.py'\n"
    (root / "gradnotes" / "__init__.py").write_text(text, encoding="utf8")
    with pytest.raises(RuntimeError, match=r"expected the package of the copy, got .*elsewhere"):
        mutants.first_failure(root, ["tests/test_doubles.py"])


def test_a_module_without_tests_of_its_own_has_those_of_its_users(root):
    (root / "gradnotes" / "twos.py").write_text('"""Two."""\n\nTWO = 2\n', encoding="utf8")
    assert mutants.tests_of(root, "gradnotes/twos.py") == ("gradnotes/twos.py",)
    module = root / "gradnotes" / "doubles.py"
    module.write_text(f"{DOUBLE}\nfrom gradnotes.twos import TWO\n", encoding="utf8")
    wanted = ("gradnotes/twos.py", "tests/test_doubles.py")
    assert mutants.tests_of(root, "gradnotes/twos.py") == wanted


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"old": "4 * x"}, "expected `old` once in the file, and found it 0 times"),
        ({"old": "return"}, "expected `old` once in the file, and found it 3 times"),
        ({"new": "2 * x"}, "`old` and `new` are the same"),
        ({"file": "gradnotes/triples.py"}, "there is no such file"),
        ({"right": "twice"}, "expected the fields file, old, new, wrong"),
    ],
)
def test_an_entry_that_does_not_apply_is_named_before_anything_runs(
    root, monkeypatch, change, words
):
    list_errors(root, SURVIVES, CAUGHT | change)
    monkeypatch.setattr(mutants, "first_failure", None)
    with pytest.raises(SystemExit, match=rf"mutants\.yml:\n.*'thrice'.*: {words}$"):
        mutants.run(root)
