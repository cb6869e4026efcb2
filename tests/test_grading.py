"""Grading a folder of notebooks: good ones get their marks, whatever the bad ones do."""

import contextlib
import csv
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "book" / "assignments"
sys.path.insert(0, str(FOLDER))

import gn_answers  # noqa: E402
import gn_build  # noqa: E402
import gn_grade  # noqa: E402
import gn_processes  # noqa: E402
import gn_sets  # noqa: E402
import gn_submissions  # noqa: E402

from gradnotes.functions import Bump, CosPi, SinPi  # noqa: E402
from gradnotes.targets import Target  # noqa: E402

PS1 = gn_sets.load("ps1")
# Short, for loops that never end, and long enough to start Python on a busy machine.
QUICK = replace(PS1, limits={"cell": 3, "notebook": 20, "part": 20, "memory": 3000})
POSIX = os.name != "nt"
LINUX = sys.platform == "linux"


# Submissions


def cell(source):
    shape = {"metadata": {}, "outputs": [], "execution_count": None}
    return {"cell_type": "code", "source": source, **shape}


def text_cell(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def notebook(*cells, metadata=None):
    cells = [cell(one) if isinstance(one, str) else one for one in cells]
    noted = {"set": "ps1", "release": PS1.release, "instance": PS1.instance}
    metadata = {"gradnotes": noted} if metadata is None else metadata
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def right_cells():
    """The master's cells with solutions, by question, without the checks, which load torch."""
    sources = [one.source for one in gn_build.master_notebook(PS1).cells if one.cell_type == "code"]
    sources = [one for one in sources if "HIDDEN" not in one and "print(" not in one]
    setup, *others = sources
    setup = setup.replace("from gradnotes import checks\n", "")
    return setup, ["\n".join(pair) for pair in zip(others[::2], others[1::2], strict=True)]


SETUP, QUESTIONS = right_cells()
Q1, Q2, Q3, Q4, Q5 = QUESTIONS
FULL = {"1a": 1, "1b": 2, "1c": 3, "2": 6, "3": 6, "4": 4, "5a": 2, "5b": 2}
STUBBORN = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
FORK = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    time.sleep(300)
"""
SILENT = """
class Silent(Exception):
    def __str__(self): raise RuntimeError("no")
raise Silent()
"""
THREAD = """
import threading, time
threading.Thread(target=lambda: time.sleep(300), daemon=False).start()
"""
FORGED = """
import json, os, sys
path = sys.argv[2]
os.remove(path)
{what}
os._exit(0)
"""
PATCHED = """
import gradnotes.checks as checks, gn_answers
from gradnotes.checks import CheckResult
def always(*_, **__):
    return CheckResult(passed=True, message="very good")
for name in dir(checks):
    if name.startswith("check_"):
        setattr(checks, name, always)
print(checks.check_hidden_wave(3, [0]))
c_2 = c_3 = c_4 = s + 1
steeper = f
slope_bound, weights, wrong_step, frequency = M, [1] * len(offsets), 1, 3
"""
ODD = """
class Text(str):
    def __eq__(self, other): return True
    def __str__(self): raise RuntimeError("no")
class Five(int):
    def bit_length(self): raise RuntimeError("no")
class Evil:
    def __getattr__(self, name): raise RuntimeError("no")
    def __class__(self): raise RuntimeError("no")
c_2, c_3, c_4 = Text("8*s**2"), Five(5), Evil()
steeper = lambda x: x
slope_bound = __import__("numpy").array([M, h])
weights = {1: 2}
wrong_step = [[[[[[[]]]]]]]
for _ in range(500):
    wrong_step = [wrong_step]
frequency = float("nan")
"""


def without(*questions):
    return {part: 0 if part[0] in "".join(questions) else points for part, points in FULL.items()}


# What is handed in; the points it must get (None: not graded); words of its status.
SUBMISSIONS = {
    "right": ([SETUP, *QUESTIONS, text_cell("My own proof.")], FULL, "graded"),
    "blank": (None, without("12345"), "graded"),
    "half": ([SETUP, Q1, Q2, Q4], without("35"), "graded"),
    "endless": ([SETUP, Q1, Q2, "while True:\n    pass", Q4, Q5], without("3"), "graded"),
    "stubborn": ([SETUP, Q1, Q2, STUBBORN, *QUESTIONS[2:]], without("345"), "stopped after 20 sec"),
    "asleep": ([SETUP, Q1, "import time\ntime.sleep(1000)", *QUESTIONS[1:]], FULL, "graded"),
    "sysexit": ([SETUP, Q1, "import sys\nsys.exit(3)", *QUESTIONS[1:]], FULL, "graded"),
    "osexit": (
        [SETUP, Q1, Q2, "import os\nos._exit(0)", *QUESTIONS[2:]],
        without("345"),
        "exit code",
    ),
    "silent": ([SETUP, Q1, SILENT, *QUESTIONS[1:]], FULL, "graded"),
    "importerror": (["import no_such_package", SETUP, *QUESTIONS], FULL, "graded"),
    "patched": ([SETUP, *QUESTIONS, PATCHED], without("12345"), "graded"),
    "fork": ([SETUP, *QUESTIONS[:3], FORK, *QUESTIONS[3:]], FULL, "graded"),
    "thread": ([SETUP, THREAD, *QUESTIONS], FULL, "graded"),
    "output": (
        [SETUP, "for _ in range(2000):\n    print('x' * 100_000)", *QUESTIONS],
        FULL,
        "graded",
    ),
    "power": ([SETUP, *QUESTIONS, "c_2 = 9**9**9"], FULL, "stopped after 20 sec"),
    "tower": (
        [SETUP, *QUESTIONS, "c_4 = sp.Pow(9, sp.Pow(9, 9, evaluate=False), evaluate=False)"],
        FULL | {"1c": 0},
        "graded",
    ),
    "memory": ([SETUP, *QUESTIONS, "hog = [bytearray(10**9) for _ in range(50)]"], FULL, "graded"),
    "odd": ([SETUP, *QUESTIONS, ODD], without("12345"), "graded"),
    "forged": (
        [SETUP, *QUESTIONS, FORGED.format(what="os.mkfifo(path)")],
        None,
        "no answer was found",
    ),
    "linked": (
        [SETUP, *QUESTIONS, FORGED.format(what="os.symlink(os.devnull, path)")],
        None,
        "no answer was found",
    ),
    "moved": ([SETUP, "import os, shutil\nshutil.rmtree('.')", *QUESTIONS], FULL, "graded"),
    "=cmd()": ([SETUP, *QUESTIONS], FULL, "graded"),
    "nonote": ([SETUP, *QUESTIONS], FULL, "graded"),
    "other": ([SETUP, *QUESTIONS], None, "it is of release 1, instance 000000000000, and this is"),
    "otherset": ([SETUP, *QUESTIONS], None, "it is of the set ps9, and this is ps1"),
    "noset": (["x = 1"], None, "it does not say of which problem set it is"),
    "broken": (b'{"cells": [{"cell_type"', None, "it is no readable notebook"),
    "binary": (b"\x00\xff\xfe", None, "it is no readable notebook"),
    "nested": (b"[" * 100_000, None, "it is no readable notebook"),
    "old": (b'{"worksheets": [], "nbformat": 3}', None, "it is no notebook of format 4"),
}
if not POSIX:
    for unusual in ("fork", "forged", "linked"):
        del SUBMISSIONS[unusual]
METADATA = {
    "nonote": {},
    "noset": {},
    "other": {"gradnotes": {"set": "ps1", "release": 1, "instance": "0" * 12}},
    "otherset": {"gradnotes": {"set": "ps9", "release": 1, "instance": PS1.instance}},
}


def hand_in(folder, name, cells):
    if cells is None:
        content = (FOLDER / "student" / "ps1.ipynb").read_bytes()
    elif isinstance(cells, bytes):
        content = cells
    else:
        content = json.dumps(notebook(*cells, metadata=METADATA.get(name))).encode()
    (folder / f"{name}.ipynb").write_bytes(content)


def table(output):
    with open(output / "grades.csv", encoding="utf8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The folder with all submissions after one run, and the rows of its table."""
    folder = tmp_path_factory.mktemp("class") / "ps1"
    folder.mkdir()
    for name, (cells, _, _) in SUBMISSIONS.items():
        hand_in(folder, name, cells)
    (folder / "two").mkdir()
    for name in ("a", "b"):
        hand_in(folder / "two", name, [SETUP])
    hand_in(folder, "Twin", [SETUP])
    (folder / "twin").mkdir()
    hand_in(folder / "twin", "ps1", [SETUP])
    (folder / "letter.pdf").write_bytes(b"%PDF")
    (folder / ".ipynb_checkpoints").mkdir()
    hand_in(folder / ".ipynb_checkpoints", "right-checkpoint", [SETUP])
    output = folder.parent / "out"
    grading = gn_grade.grade(QUICK, folder, output)
    return folder, output, grading, table(output)


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_a_submission_gets_its_points_and_a_clear_status(graded, name):
    _, output, _, rows = graded
    _, points, words = SUBMISSIONS[name]
    row = rows["'" + name if name.startswith("=") else name]
    assert words in row["status"]
    feedback = (output / "feedback" / f"{name}.md").read_text(encoding="utf8")
    assert words in feedback
    if points is None:
        given = {part: row[part] for part in FULL}
        assert set(given.values()) <= {"", "0"}
        assert ("not graded" in row["status"]) == (row["total"] == "")
    else:
        assert {part: float(row[part]) for part in FULL} == points, feedback
        assert float(row["total"]) == sum(points.values())
    assert row["of"] == "30"


def test_all_students_are_in_the_table(graded):
    _, _, grading, rows = graded
    assert len(rows) == len(SUBMISSIONS) + 3 >= 20
    assert grading.others == {"letter.pdf": "letter"}
    assert rows["letter"]["status"] == "not graded: there is no notebook, but letter.pdf"
    assert rows["letter"]["total"] == ""
    for student, files in (("two", "a.ipynb, b.ipynb"), ("Twin", "Twin.ipynb, ps1.ipynb")):
        assert (
            f"there are 2 notebooks of this student ({files}); keep one" in rows[student]["status"]
        )
        assert rows[student]["total"] == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("endless", "- code cell 4: it was stopped after 3 seconds"),
        ("endless", "`slope_bound`: not right: there is no variable `slope_bound`."),
        ("sysexit", "- code cell 3: SystemExit: 3"),
        ("silent", "- code cell 3: Silent"),
        ("importerror", "- code cell 1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("tower", "`c_4`: not right: it holds a power of more than 4000 binary digits"),
        ("odd", "`c_4`: not right: it is no answer ("),
        ("odd", "`steeper`: not right: an object of the type function is no answer"),
        ("odd", "`wrong_step`: not right: it is nested too deeply"),
        ("odd", "`weights`: not right: an object of the type dict is no answer"),
        ("blank", "`c_2`: not right: there is no answer yet."),
        ("patched", "`frequency`: not right: at x = "),
        ("stubborn", "in code cell 4, and the answers up to there count"),
        ("right", "Your answer was"),
    ],
)
def test_feedback_says_what_happened(graded, name, words):
    _, output, _, _ = graded
    assert words in (output / "feedback" / f"{name}.md").read_text(encoding="utf8")


def test_no_feedback_has_a_solution(graded):
    _, output, _, _ = graded
    names = {}
    for source in (SETUP, *QUESTIONS):
        exec(source, names)
    secrets = [
        str(names[variable]) for variable, _ in PS1.parts.values() if variable != "wrong_step"
    ]
    for name in ("blank", "patched", "odd"):
        text = (output / "feedback" / f"{name}.md").read_text(encoding="utf8")
        assert not [secret for secret in secrets if secret in text]


@pytest.mark.skipif(not LINUX, reason="reads the environment of processes")
def test_no_process_of_a_submission_lives_on(graded):
    token, alive = f"{gn_processes.TOKEN}=".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            alive += [path] if token in path.read_bytes() else []
    assert alive == []


def test_what_is_done_is_not_done_again(graded, monkeypatch):
    folder, output, _, rows = graded

    def never(*_):
        raise AssertionError("it runs again")

    monkeypatch.setattr(gn_grade, "collect", never)
    gn_grade.grade(QUICK, folder, output)
    assert table(output) == rows


# Small pieces of the run


def run(tmp_path, one=QUICK, **submissions):
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for name, cells in submissions.items():
        hand_in(folder, name, cells)
    gn_grade.grade(one, folder, tmp_path / "out")
    return table(tmp_path / "out")


@pytest.fixture
def instant(monkeypatch):
    """Grading without processes: for all that stands around it."""
    monkeypatch.setattr(gn_grade, "see_that_a_notebook_runs", lambda one: None)
    ran = []

    def collect(sources, one):
        ran.append(sources)
        names = {}
        for source in sources:
            exec(source, names)
        found = [variable for variable, _ in one.parts.values() if variable in names]
        answers = {variable: gn_answers.encode(names[variable]) for variable in found}
        nothing = {"refused": {}, "errors": [], "cell": 0, "ended": "", "seconds": 0}
        return {"answers": answers, **nothing}

    class Marker:
        def __init__(self, one):
            self.one = one

        def mark(self, part, data):
            import gn_mark

            return gn_mark.outcome(self.one, {"part": part, "data": data})

        def stop(self):
            pass

    monkeypatch.setattr(gn_grade, "collect", collect)
    monkeypatch.setattr(gn_grade, "Marker", Marker)
    return ran


def test_points_given_by_hand_are_added_and_never_overwritten(tmp_path, instant):
    rows = run(tmp_path, anna=[SETUP, Q1, text_cell("A proof.")], bert=[SETUP, Q1])
    by_hand = tmp_path / "out" / "by_hand.csv"
    assert by_hand.read_text(encoding="utf8") == "student,6,comment\nanna,,\nbert,,\n"
    assert (tmp_path / "out" / "written" / "anna.md").read_text("utf8") == "A proof.\n"
    assert not (tmp_path / "out" / "written" / "bert.md").exists()
    assert rows["anna"]["status"] == "graded; still to be read: question 6"
    assert (rows["anna"]["total"], rows["bert"]["total"], rows["bert"]["6"]) == ("6", "6", "0")
    mine = "\ufeffstudent;6;comment\nanna;3,5;Good, but see line 2\nbert;;\n"
    by_hand.write_text(mine, encoding="utf8")
    rows = run(tmp_path, carl=[SETUP, Q1])
    assert (rows["anna"]["6"], rows["anna"]["total"], rows["anna"]["status"]) == (
        "3.5",
        "9.5",
        "graded",
    )
    assert by_hand.read_text(encoding="utf8") == mine + "carl;;\n"
    assert "Good, but see line 2" in (tmp_path / "out" / "feedback" / "anna.md").read_text("utf8")
    assert len(instant) == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("student,6,comment\nanna,5,\n", "anna, question 6: expected points from 0 to 4, got '5'"),
        ("student,6,comment\nanna,nan,\n", "expected points from 0 to 4, got 'nan'"),
        ("student,6,comment\nanna,many,\n", "expected points from 0 to 4, got 'many'"),
        ("student,6,comment\nanna,1,\nanna,2,\n", "there are two rows of anna; keep one"),
        ("student,6,comment\nanna,3,5,Good\n", "anna: expected 3 columns, and there are more"),
        ("student,6,comment\nanna,3,Good, but\n", "try quotation marks around a comment"),
        ('student,6,comment\nanna,3,"Good\nbert,1,"No\n', "is there a quotation mark"),
        ("name,6\nanna,5\n", "expected the columns"),
    ],
)
def test_a_fault_in_the_points_given_by_hand_is_named_before_anything_runs(
    tmp_path, instant, rows, words
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "by_hand.csv").write_text(rows, encoding="utf8")
    with pytest.raises(gn_sets.SetError, match=re.escape(words)):
        run(tmp_path, anna=[SETUP, Q1])
    assert instant == []
    assert (tmp_path / "out" / "by_hand.csv").read_text(encoding="utf8") == rows


def test_points_saved_in_another_encoding_are_no_crash(tmp_path, instant):
    (tmp_path / "out").mkdir()
    for encoding in ("cp1252", "utf16"):
        saved = "student;6;comment\r\nanna;3;schön\r\n".encode(encoding)
        (tmp_path / "out" / "by_hand.csv").write_bytes(saved)
        with pytest.raises(gn_sets.SetError, match="expected a table in UTF-8"):
            run(tmp_path, anna=[SETUP, Q1])
        assert (tmp_path / "out" / "by_hand.csv").read_bytes() == saved


def test_a_table_from_a_spreadsheet_keeps_its_empty_rows_and_its_long_comments(tmp_path, instant):
    rows = [
        "anna;3,5;line 1\x0bline 2\u2028line 3",
        'bert;2;"one\ntwo"',
        "'t Hooft;4;",
        "'=1+1;1;",
        ";;",
        ";;",
    ]
    mine = "\r\n".join(["student;6;comment", *rows, ""])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "by_hand.csv").write_bytes(mine.encode())
    names = ("anna", "bert", "'t Hooft", "=1+1")
    found = run(tmp_path, **{name: [SETUP, Q1] for name in names})
    given = {student: row["6"] for student, row in found.items()}
    assert given == {"anna": "3.5", "bert": "2", "'t Hooft": "4", "'=1+1": "1"}
    assert (tmp_path / "out" / "by_hand.csv").read_bytes() == mine.encode()
    assert "one\ntwo" in (tmp_path / "out" / "feedback" / "bert.md").read_text("utf8")


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, instant, monkeypatch):
    keep, kept, interrupts = gn_grade.Grading.keep, [], [KeyboardInterrupt]

    def interrupted(self, submission, result):
        if len(kept) == 2 and interrupts:
            raise interrupts.pop()
        kept.append(submission.student)
        keep(self, submission, result)

    students = {f"student{n}": [SETUP, Q1] for n in range(5)}
    monkeypatch.setattr(gn_grade.Grading, "keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, **students)
    assert set(table(tmp_path / "out")) == set(kept)
    monkeypatch.setattr(gn_grade.Grading, "keep", keep)
    before = len(instant)
    rows = run(tmp_path)
    assert {row["total"] for row in rows.values()} == {"6"}
    assert len(rows) == 5
    assert len(instant) - before <= 3
    assert not list((tmp_path / "out").rglob("*.begun"))
    assert not list((tmp_path / "out").rglob("*.new"))


def test_what_runs_when_the_grader_is_interrupted_is_kept_and_stops_nobody(
    tmp_path, instant, monkeypatch
):
    collect = gn_grade.collect
    pressed = threading.Event()

    def slow(sources, one):
        if len(sources) == 3:
            pressed.set()
            time.sleep(0.5)
        return collect(sources, one)

    def pressing(jobs):
        pressed.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(gn_grade, "collect", slow)
    monkeypatch.setattr(gn_grade, "as_completed", pressing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, anna=[SETUP, Q1, Q2])
    assert table(tmp_path / "out")["anna"]["total"] == "12"
    # Interrupted once more, while it waits for the end of what runs.
    monkeypatch.setattr(gn_grade.ThreadPoolExecutor, "shutdown", interrupt_when_waiting)
    pressed.clear()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, bert=[SETUP, Q1, Q3])
    monkeypatch.undo()
    hand_in(tmp_path / "in", "carl", [SETUP])
    hand_in(tmp_path / "in", "dora", [SETUP])
    for order in (["carl", "dora", "bert"], ["dora", "carl", "bert"], ["carl", "dora", "bert"]):
        grading = gn_grade.Grading(QUICK, tmp_path / "in", tmp_path / "out")
        waiting = grading.prepare()
        assert [one.student for one in waiting] == order
        for one in (waiting[0], waiting[-1]):  # interrupted again, with one of the others
            assert grading.begin(one) == 1
            grading.forgive(one)
        grading.forgive(waiting[1])  # which has not begun
    # Whatever ends the grader, the next run begins with a table of what is known.
    (tmp_path / "out" / "grades.csv").unlink()
    monkeypatch.setattr(gn_grade, "see_that_a_notebook_runs", pressing)
    with pytest.raises(KeyboardInterrupt):
        gn_grade.grade(QUICK, tmp_path / "in", tmp_path / "out")
    assert set(table(tmp_path / "out")) == {"anna"}


def interrupt_when_waiting(self, wait=True, **_):
    if wait:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "spoilt", ["", "[", "[]", "{}", '{"student": "anna"}', '{"student": []}', "[" * 100_000]
)
def test_a_result_that_something_has_spoilt_is_found_anew(tmp_path, instant, spoilt):
    run(tmp_path, anna=[SETUP, Q1])
    (tmp_path / "out" / "results" / "anna.json").write_text(spoilt, encoding="utf8")
    assert run(tmp_path)["anna"]["total"] == "6"
    assert len(instant) == 2


def test_a_part_that_came_later_has_no_points_for_a_notebook_that_is_gone(tmp_path, instant):
    run(tmp_path, anna=[SETUP, Q1], bert=[SETUP, Q1])
    path = tmp_path / "out" / "results" / "anna.json"
    result = json.loads(path.read_text(encoding="utf8"))
    del result["parts"]["5b"]
    path.write_text(json.dumps(result), encoding="utf8")
    (tmp_path / "in" / "anna.ipynb").unlink()
    rows = run(tmp_path)
    assert (rows["anna"]["5b"], rows["anna"]["total"]) == ("0", "6")
    assert "it was not asked for" in (tmp_path / "out" / "feedback" / "anna.md").read_text("utf8")


def test_no_name_of_a_file_stops_the_others(tmp_path, instant):
    long = ["x" * 240, "x" * 241, "ü" * 120]
    odd = ["two\nlines", "tab\there", "--help", "$(touch a)", 'quote"', "\u2028a", "'t Hooft", " "]
    odd += [os.fsdecode(b"latin\xfc")] if LINUX else []
    names = [*long, *(odd if POSIX else [])]
    for _ in range(2):
        cells = (SETUP, Q1, text_cell("Proof."))
        rows = run(tmp_path, **dict.fromkeys([*names, "anna"], cells))
        assert len(rows) == len(names) + 1
        assert {row["total"] for row in rows.values()} == {"6"}
        assert len(instant) == len(names) + 1
        for name in ("feedback", "written", "results"):
            assert len(list((tmp_path / "out" / name).iterdir())) == len(names) + 1
    assert set(long) <= set(rows)
    by_hand = (tmp_path / "out" / "by_hand.csv").read_text(encoding="utf8")
    assert len(by_hand.splitlines()) == len(names) + 2


def test_another_notebook_another_limit_and_another_grader_run_again(
    tmp_path, instant, monkeypatch
):
    run(tmp_path, anna=[SETUP, Q1], bert=[SETUP, Q1])
    rows = run(tmp_path, anna=[SETUP, Q1, Q2])
    assert (len(instant), rows["anna"]["total"], rows["bert"]["total"]) == (3, "12", "6")
    run(tmp_path, one=replace(QUICK, limits=QUICK.limits | {"cell": 4}))
    assert len(instant) == 5
    # Other points for a question are no reason to run anything.
    rows = run(
        tmp_path,
        one=replace(QUICK, limits=QUICK.limits | {"cell": 4}, points=QUICK.points | {"2": 9}),
    )
    assert (len(instant), rows["anna"]["total"]) == (5, "15")
    monkeypatch.setattr(gn_grade, "_own_fingerprint", lambda one: b"another")
    run(tmp_path)
    assert len(instant) == 7


def test_whoever_hands_in_something_else_has_a_row_that_says_so(tmp_path, instant):
    names = ("photo.pdf", "dora.pdf", "eve/proof.png", "eve/proof.txt", "anna/more.txt")
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    cells = {"anna": [SETUP, Q1], "bert": [SETUP, Q1], "bert (1)": [SETUP], "dora(2)": [SETUP]}
    rows = run(tmp_path, **cells)
    assert rows.keys() == {"anna", "bert", "dora", "eve", "photo"}
    assert "(bert (1).ipynb, bert.ipynb); keep one" in rows["bert"]["status"]
    assert rows["photo"]["status"] == "not graded: there is no notebook, but photo.pdf"
    said = "not graded: there is no notebook, but eve/proof.png, eve/proof.txt"
    assert rows["eve"]["status"] == said
    assert rows["anna"]["status"] == rows["dora"]["status"] == "graded; no text: question 6"
    assert (rows["anna"]["total"], rows["dora"]["total"], rows["eve"]["total"]) == ("6", "0", "")


def test_a_student_whose_notebook_is_gone_or_spoilt_keeps_what_was_found(tmp_path, instant):
    run(tmp_path, anna=[SETUP, Q1], bert=[SETUP, Q1])
    (tmp_path / "in" / "anna.ipynb").unlink()
    rows = run(tmp_path, bert=b"{")
    assert rows["anna"]["total"] == "6"
    assert "; the notebook is no longer in the folder" in rows["anna"]["status"]
    assert rows["bert"]["total"] == ""
    stored = json.loads((tmp_path / "out" / "results" / "bert.json").read_text("utf8"))
    assert stored["earlier"]["parts"]["1a"]["passed"]


def test_a_notebook_that_ends_the_grader_is_left_out_the_third_time(tmp_path, instant):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    hand_in(folder, "killer", [SETUP])
    hand_in(folder, "anna", [SETUP, Q1])
    for _ in range(2):  # as if the grader had been killed
        grading = gn_grade.Grading(QUICK, folder, output)
        (killer,) = [one for one in grading.prepare() if one.student == "killer"]
        grading.begin(killer)
    rows = run(tmp_path)
    assert "the grader was ended each time that it ran" in rows["killer"]["status"]
    assert rows["anna"]["total"] == "6"
    # A new version of the notebook has a new chance.
    rows = run(tmp_path, killer=[SETUP, Q1])
    assert rows["killer"]["total"] == "6"


def test_a_fault_of_the_grader_stops_nobody_and_is_tried_again(tmp_path, instant, monkeypatch):
    collect = gn_grade.collect

    def full(sources, one):
        if len(sources) == 3:
            raise OSError("no space left")
        return collect(sources, one)

    monkeypatch.setattr(gn_grade, "collect", full)
    rows = run(tmp_path, anna=[SETUP, Q1], bert=[SETUP, Q1, Q2])
    assert "not graded: the grader failed (OSError: no space left)" in rows["bert"]["status"]
    assert rows["anna"]["total"] == "6"
    monkeypatch.setattr(gn_grade, "collect", collect)
    assert run(tmp_path)["bert"]["total"] == "12"


def test_bad_folders_and_an_unknown_set_are_clear_errors(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "letter.txt").touch()
    (tmp_path / "file").touch()
    for arguments, words in (
        (["ps1", str(tmp_path / "empty")], "expected notebooks (*.ipynb) in"),
        (["ps1", str(tmp_path / "nowhere")], "there is no folder"),
        (["ps1", str(tmp_path / "file")], "there is no folder"),
        (["ps7", str(tmp_path / "empty")], "expected a problem set among ps1, got 'ps7'"),
    ):
        with pytest.raises(SystemExit) as ended:
            gn_grade.main(arguments)
        assert words in str(ended.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


@pytest.mark.parametrize("nothing", ["", " "])
def test_no_folder_is_not_this_folder(tmp_path, monkeypatch, capsys, nothing):
    hand_in(tmp_path, "anna", [SETUP])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        gn_grade.main(["ps1", nothing])
    assert ended.value.code == 2
    assert "expected a folder with notebooks, got nothing" in capsys.readouterr().err


def test_a_place_where_nothing_can_be_written_is_a_clear_error(tmp_path, instant):
    (tmp_path / "in").mkdir()
    hand_in(tmp_path / "in", "anna", [SETUP])
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        gn_grade.main(["ps1", str(tmp_path / "in"), "--output", str(tmp_path / "file")])
    assert str(ended.value).startswith("error: ")
    assert "file" in str(ended.value)


def test_the_command_names_what_was_not_graded(tmp_path, instant, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    hand_in(folder, "anna", [SETUP, Q1])
    hand_in(folder, "bert", b"{")
    (folder / "letter.pdf").touch()
    with pytest.raises(SystemExit) as ended:
        gn_grade.main(["ps1", str(folder)])
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "left out, since it is no notebook: letter.pdf" in said
    assert "bert: not graded: it is no readable notebook" in said
    assert "2 students, 1 not graded" in said
    assert (tmp_path / "in-graded" / "grades.csv").exists()
    # Results beside the folder are not taken for submissions.
    assert len(gn_submissions.find(folder)[0]) == 2


def test_a_marker_that_is_killed_by_somebody_else_loses_nobody_a_point():
    marker = gn_processes.Marker(PS1)
    right = gn_answers.encode(sp.pi / PS1.numbers["spacing"])
    try:
        assert marker.mark("5b", right)["passed"]
        threading.Timer(0.0, marker.process.kill).start()
        time.sleep(0.5)
        assert marker.mark("5b", right)["passed"]
        slow = replace(PS1, limits=PS1.limits | {"part": 1e-3})
        marker.one = slow
        assert "takes more than 0.001 seconds" in marker.mark("3", ["symbol", "M", True])["message"]
        marker.one = PS1
        assert marker.mark("5b", right)["passed"]
    finally:
        marker.stop()


def test_an_environment_in_which_nothing_runs_is_no_fault_of_the_students(tmp_path):
    broken = replace(QUICK, limits=QUICK.limits | {"memory": 10})
    if not LINUX:
        pytest.skip("no limit of memory here")
    with pytest.raises(gn_sets.SetError, match="no notebook can run here"):
        run(tmp_path, one=broken, anna=[SETUP, Q1])


# Answers as data


x, y = sp.symbols("x y", real=True)
PLAIN = sp.Symbol("x")
KEPT = {
    "expressions": [
        sp.sin(x) ** 2 / 3 + sp.exp(-x) * sp.sqrt(2),
        sp.Piecewise((x, sp.And(x > 0, x <= 3)), (-x, sp.Or(x < -5, sp.Ne(x, 1))), (0, True)),
        sp.Min(x, 1 - x, y) + sp.Max(x, 2) + sp.Abs(x - sp.Rational(1, 3)),
        SinPi(2 * x) + CosPi(x) + Bump(x**2),
        PLAIN**2 + sp.I * sp.pi + sp.E,
        sp.Float(0.1) * x + sp.Float("1.25", 40),
        sp.im(sp.exp(sp.I * x)) + sp.atan2(x, y) + sp.floor(x) + sp.Mod(x, 2),
        sp.oo,
        sp.nan,
        sp.zoo,
        sp.Rational(-7, 3),
        sp.Integer(5) ** 100,
    ],
    "others": [
        *(0, -3, True, 2.5, -0.0, float("inf"), Fraction(-1, 3), "words", "ä∫", ...),
        *([1, [2.0, Fraction(1, 2)], x], [], 10**1000),
    ],
}


@pytest.mark.parametrize("answer", KEPT["expressions"], ids=str)
def test_an_expression_comes_back_as_it_was(answer):
    back = gn_answers.decode(json.loads(json.dumps(gn_answers.encode(answer))))
    assert back == answer
    assert sp.srepr(back) == sp.srepr(answer)


@pytest.mark.parametrize("answer", KEPT["others"], ids=lambda answer: str(answer)[:20])
def test_other_answers_come_back_as_they_were(answer):
    back = gn_answers.decode(json.loads(json.dumps(gn_answers.encode(answer))))
    assert (type(back), back) == (type(answer), answer)


def test_targets_arrays_tuples_and_matrices_come_back():
    target = Target(sp.exp(-x / 2) + SinPi(4 * x) / 10, x, (0, sp.oo))
    back = gn_answers.decode(gn_answers.encode(target))
    assert (back.expression, back.variables, back.domain) == (
        target.expression,
        (x,),
        target.domain,
    )
    exact = [sp.Integer(1), sp.Integer(2)]
    rows = (np.array(exact), sp.Tuple(*exact), sp.Matrix(exact), sp.Matrix([exact]))
    for answer in ((1, 2), np.array([1, 2]), np.array([1.0, 2.0]), *rows):
        assert gn_answers.decode(gn_answers.encode(answer)) == [1, 2]
    # What a linear system in fractions gives, and what the check in the notebook takes.
    thirds = np.array([sp.Rational(1, 3), Fraction(2, 3)])
    assert gn_answers.decode(gn_answers.encode(thirds)) == [sp.Rational(1, 3), Fraction(2, 3)]
    assert gn_answers.decode(gn_answers.encode(np.float64(0.5))) == 0.5
    assert gn_answers.decode(gn_answers.encode(None)) is ...


class Loud:
    def __reduce__(self):
        raise AssertionError("somebody pickles")


@pytest.mark.parametrize(
    "answer",
    [
        *(Loud(), len, Loud, {1: 2}, {1}, b"bytes", 1j, sp.Integral(x, x), sp.Function("f")(x)),
        *(sp.Integer(10) ** 5000, 10**5000, [0] * 10_000, "x" * 20_000, sp.Lambda(x, x)),
        *(sp.Float((0, 1, 10**9, 1)), sp.Add(*[sp.sin(k * x) for k in range(2000)])),
        np.array([Loud()]),
    ],
    ids=lambda answer: str(type(answer)),
)
def test_what_no_question_asks_for_is_refused(answer):
    with pytest.raises(gn_answers.NoAnswerError):
        gn_answers.encode(answer)


def deep(depth):
    data = ["symbol", "x", True]
    for _ in range(depth):
        data = ["sin", data]
    return data


NINE = ["rational", "9", "1"]


@pytest.mark.parametrize(
    "data",
    [
        *(None, 3, "pi", [], [[]], {}, ["eval", "1"], ["__import__", ["text", "os"]], ["Loud"]),
        *(
            ["int", "9" * 100_000],
            ["int", 7],
            ["int", "1e9"],
            ["float", "zz"],
            ["rational", "1", "x"],
        ),
        *(
            ["text", "x" * 10**6],
            ["text", 5],
            ["symbol", "x" * 100, True],
            ["target", NINE, [], []],
        ),
        *(["Pow", NINE, ["Pow", NINE, NINE]], ["Pow", NINE, ["rational", "100000", "1"]]),
        *(["Pow", ["decimal", 0, "9", 0, 53], ["rational", "1" + "0" * 9, "1"]],),
        *(
            ["decimal", 0, "1", 10**9, 53],
            ["decimal", 0, "1", 1, 10**9],
            ["decimal", 2, "1", 1, 53],
        ),
        *(
            ["decimal", 0, "-1", 1, 53],
            ["decimal", True, "1", 1, 53],
            ["Add", NINE, "x"],
            deep(5000),
        ),
        ["list", *[["int", "1"]] * 20_000],
    ],
    ids=itertools.count(),
)
def test_data_that_nobody_encodes_are_refused_at_once(data):
    start = time.process_time()
    with pytest.raises(gn_answers.NoAnswerError):
        gn_answers.decode(data)
    assert time.process_time() - start < 3.0


def test_the_grader_holds_no_way_to_run_text():
    for name in (
        "gn_answers.py",
        "gn_mark.py",
        "gn_grade.py",
        "gn_processes.py",
        "gn_submissions.py",
    ):
        text = (FOLDER / name).read_text(encoding="utf8")
        assert not re.search(r"\b(eval|exec|sympify|pickle|parse_expr|nsimplify)\b\(?", text), name


# The folder


def test_students_are_named_by_their_file_or_their_folder(tmp_path):
    for name in (
        "anna.ipynb",
        "Bert Müller_123/ps1.ipynb",
        "carl/deep/er/x.IPYNB",
        ".hidden.ipynb",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "carl" / "notes.txt").touch()
    found, others = gn_submissions.find(tmp_path)
    assert [one.student for one in found] == ["anna", "Bert Müller_123", "carl"]
    assert others == {"carl/notes.txt": "carl"}
    if POSIX:
        (tmp_path / "link.ipynb").symlink_to(tmp_path / "anna.ipynb")
        assert gn_submissions.find(tmp_path)[1] == {"carl/notes.txt": "carl", "link.ipynb": "link"}


def test_notebooks_of_the_same_name_are_told_apart(tmp_path):
    for name in ("export/anna", "export/bert"):
        (tmp_path / name).mkdir(parents=True)
        hand_in(tmp_path / name, "ps1", [SETUP])
    (found,), _ = gn_submissions.find(tmp_path)
    with pytest.raises(gn_submissions.RefusedError, match=r"\(anna/ps1.ipynb, bert/ps1.ipynb\)"):
        found.content()


def test_a_program_that_rewrites_a_notebook_changes_neither_its_version_nor_its_text():
    copy = [("markdown", "A question\nin two lines."), ("markdown", gn_submissions.STUB)]
    given = "A question\r\nin two lines. \r\n"
    found = [("markdown", given), ("raw", "My\nproof."), ("markdown", "  "), ("code", "x = 1")]
    assert gn_submissions.written(found, copy) == "My\nproof."
    for release in (PS1.release, str(PS1.release), float(PS1.release)):
        noted = {"set": "ps1", "release": release, "instance": PS1.instance}
        gn_submissions.check_version({"gradnotes": noted}, found, PS1)


def test_the_modules_use_no_shell_and_no_call_of_one_system_alone():
    for path in FOLDER.glob("gn_*.py"):
        text = path.read_text(encoding="utf8")
        assert "shell=True" not in text
        assert not re.search(r"import (fcntl|pwd|grp|termios)|os\.(fork|system|popen)\(", text)
        for call in re.findall(r"(?:write_text|(?<!P)open)\([^)]*\)", text):
            assert "encoding" in call or "os.dup" in call, (path.name, call)


def test_the_graders_are_started_without_the_readers_folder_on_the_path(tmp_path):
    """A notebook cannot import the grader's modules by name, and sees nothing of our own."""
    os.environ["GN_TEST_SECRET"] = "hush"
    try:
        seen = "[find_spec('gn_grade') is None, os.environ.get('GN_TEST_SECRET') is None]"
        source = f"import os\nfrom importlib.util import find_spec\nc_2 = {seen}"
        report = gn_processes.collect([source], QUICK)
    finally:
        del os.environ["GN_TEST_SECRET"]
    assert gn_answers.decode(report["answers"]["c_2"]) == [True, True]


def test_plain_commands_show_their_help():
    for name in ("gn_grade.py", "gn_build.py"):
        done = subprocess.run(
            [sys.executable, str(FOLDER / name), "--help"], capture_output=True, encoding="utf8"
        )
        assert done.returncode == 0, done.stderr
