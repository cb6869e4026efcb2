"""Grade a folder of notebooks: ``python book/assignments/gn_grade.py SET SUBMISSIONS``.

Each notebook runs in a process of its own, which writes answers as data; another process, which
never runs what a student wrote, marks them. Next to the folder, in ``<SUBMISSIONS>-graded``, stand

- ``grades.csv``, a row for each student;
- ``feedback/``, a file for each student;
- ``written/``, what each student wrote in words, and ``by_hand.csv``, the points for it: a person
  fills it in, and this program only adds lines for new students;
- ``results/``, what was found, so that an interrupted run goes on where it stopped.

What this protects against, and what not, says the page for instructors.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import gn_sets
import gn_submissions
from gn_processes import Marker, collect
from gn_submissions import RefusedError, Submission
from tqdm import tqdm

GRADERS = ("gn_answers.py", "gn_collect.py", "gn_mark.py", "gn_processes.py", "gn_submissions.py")
HAND = "by_hand.csv"
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a formula of a spreadsheet begins with
TRIES = 2
INTERRUPTED = "interrupted"
# Of a notebook that is gone, and was graded before the set had this part.
NOT_ASKED = {"passed": False, "message": "it was not asked for", "answer": ""}


# One submission


def graded(submission: Submission, one: gn_sets.ProblemSet, markers: queue.Queue) -> dict:
    """Grade one submission; whatever happens, the result says it."""
    try:
        content = submission.content()
        metadata, found = gn_submissions.cells(content)
        gn_submissions.check_version(metadata, found, one)
    except RefusedError as refusal:
        return not_graded(str(refusal))
    began = time.monotonic()
    report = collect([source for kind, source in found if kind == "code"], one)
    parts, marker = {}, markers.get()
    try:
        for part, (variable, _) in one.parts.items():
            parts[part] = _marked(part, variable, report, marker)
    finally:
        markers.put(marker)
    return {
        "status": report["ended"] or "graded",
        "parts": parts,
        "errors": report["errors"],
        "written": gn_submissions.written(found, students_copy(one)),
        "seconds": round(time.monotonic() - began, 2),
    }


def not_graded(reason: str) -> dict:
    """Give the result of a submission that was not graded."""
    return {"status": f"not graded: {reason}", "parts": {}, "written": "", "seconds": 0.0}


def _marked(part, variable, report, marker) -> dict:
    if variable in report["refused"]:
        return {"passed": False, "message": report["refused"][variable], "answer": ""}
    if variable not in report["answers"]:
        said = f"there is no variable `{variable}`"
        return {"passed": False, "message": said, "answer": ""}
    return marker.mark(part, report["answers"][variable])


def students_copy(one: gn_sets.ProblemSet) -> list[tuple[str, str]]:
    """Give the cells that every student was given; none where there is no copy."""
    path = gn_sets.HERE / "student" / f"{one.name}.ipynb"
    try:
        return gn_submissions.cells(path.read_bytes())[1]
    except (OSError, RefusedError):
        return []


# All of them


class Grading:
    """A folder of submissions, and where its results go."""

    def __init__(self, one: gn_sets.ProblemSet, submissions: Path, output: Path):
        self.one, self.output = one, output
        self.submissions, self.others = gn_submissions.find(submissions)
        self.students = {submission.student for submission in self.submissions}
        self.results, self.running = {}, set()
        parts = [*one.parts, *one.by_hand]
        self.columns = ["student", *parts, "total", "of", "status"]

    def key(self, submission: Submission) -> str:
        """Hash of all that a result depends on: the submission, the set and the grader."""
        return gn_submissions.fingerprint(*map(_content, submission.paths), self._own)

    def prepare(self) -> list[Submission]:
        """Read earlier results, and give the submissions that are still to be graded."""
        self._own = _own_fingerprint(self.one)
        for name in ("feedback", "results", "written"):
            (self.output / name).mkdir(parents=True, exist_ok=True)
        for path in sorted((self.output / "results").glob("*.json")):
            with contextlib.suppress(ValueError, OSError, RecursionError):
                result = json.loads(path.read_text(encoding="utf8"))
                if _is_result(result):
                    self.results[result["student"]] = result
        waiting = [
            submission
            for submission in self.submissions
            if self.results.get(submission.student, {}).get("key") != self.key(submission)
        ]
        # What was running most often when the grader ended comes last: it cannot stop the others.
        return sorted(waiting, key=lambda submission: len(self._beginnings(submission)))

    def _begun(self, submission: Submission) -> Path:
        return self.output / "results" / f"{submission.stem}.begun"

    def _beginnings(self, submission: Submission) -> list[str]:
        """Read how often grading of a submission has begun, and did not end: a word for each."""
        path = self._begun(submission)
        return path.read_text(encoding="utf8").split() if path.exists() else []

    def forgive(self, submission: Submission) -> None:
        """Note that grading of a submission was interrupted now, which is nobody's fault."""
        if submission.student in self.running:
            *earlier, _ = self._beginnings(submission)
            write(self._begun(submission), " ".join([*earlier, INTERRUPTED]) + "\n")

    def begin(self, submission: Submission) -> int:
        """Note that grading of a submission begins, and count how often that was."""
        beginnings = [*self._beginnings(submission), self.key(submission)]
        write(self._begun(submission), " ".join(beginnings) + "\n")
        self.running.add(submission.student)
        return beginnings.count(beginnings[-1])

    def end(self, submission: Submission) -> None:
        """Note that grading of a submission is over."""
        self._begun(submission).unlink(missing_ok=True)
        self.running.discard(submission.student)

    def attempt(self, submission: Submission, markers: queue.Queue) -> dict:
        """Grade a submission, unless it has ended the grader twice; nothing stops the others."""
        key = self.key(submission)
        try:
            if self.begin(submission) > TRIES:
                said = "the grader was ended each time that it ran; look at the notebook"
                return not_graded(said) | {"key": key}
            return graded(submission, self.one, markers) | {"key": key}
        except Exception as error:  # not the student's fault: the next run tries again
            return not_graded(f"the grader failed ({type(error).__name__}: {error})") | {"key": ""}

    def keep(self, submission: Submission, result: dict) -> None:
        """Write a result as soon as it is there."""
        student = submission.student
        result = {"student": student} | result
        earlier = self.results.get(student, {})
        if not result["parts"] and earlier.get("parts"):
            # A fault of the new file takes nothing from what was graded before.
            result["earlier"] = earlier
        self.results[student] = result
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        write(self.output / "results" / f"{submission.stem}.json", text)
        self.end(submission)
        if result["written"]:
            write(self.output / "written" / f"{submission.stem}.md", result["written"] + "\n")

    def finish(self) -> None:
        """Write the table and the feedback, with the points that were given by hand."""
        hand = self.read_by_hand()
        rows = []
        for student in sorted(self.results, key=str.casefold):
            row = self.row(student, hand.get(student, {}))
            rows.append(row)
            path = self.output / "feedback" / f"{gn_submissions.file_stem(student)}.md"
            write(path, self.feedback(student, row, hand))
        rows += self.rows_of_others()
        table = io.StringIO()
        writer = csv.DictWriter(table, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
        write(self.output / "grades.csv", table.getvalue())
        self.ask_by_hand(hand)

    def rows_of_others(self) -> list[dict]:
        """Give a row for each student who has handed in something, and no notebook."""
        known = {student.casefold() for student in {*self.results, *self.students}}
        files = {}
        for name, student in self.others.items():
            if student.casefold() not in known:
                files.setdefault(student, []).append(name)
        said = "not graded: there is no notebook, but"
        return [
            {"student": student, "status": f"{said} {', '.join(names)}"}
            for student, names in files.items()
        ]

    def row(self, student: str, hand: dict) -> dict:
        """Give a student's points; no number where nothing was graded."""
        result, points = self.results[student], self.one.points
        row = {"student": student, "of": sum(points.values()), "status": result["status"]}
        if student not in self.students:
            row["status"] += "; the notebook is no longer in the folder"
        if not result["parts"]:
            return row | {"total": ""}
        for part in self.one.parts:
            row[part] = points[part] if result["parts"].get(part, NOT_ASKED)["passed"] else 0
        for part in self.one.by_hand:
            row[part] = hand.get(part, "" if result["written"] else 0)
        total = sum(row[part] for part in points if row[part] != "")
        waiting = [part for part in self.one.by_hand if row[part] == ""]
        empty = [part for part in self.one.by_hand if not result["written"] and part not in hand]
        for said, those in (("still to be read", waiting), ("no text", empty)):
            if those:
                row["status"] += f"; {said}: question {', '.join(those)}"
        return row | {"total": total}

    def feedback(self, student: str, row: dict, hand: dict) -> str:
        """Write what a student is told."""
        result, one = self.results[student], self.one
        lines = [f"# {gn_sets.title(one.master)}", "", f"{student}: {row['status']}.", ""]
        if not result["parts"]:
            return "\n".join(lines)
        lines += [f"**{row['total']:g} of {row['of']:g} points.**", ""]
        for part, (variable, about) in one.parts.items():
            found = result["parts"].get(part, NOT_ASKED)
            lines += [f"## {part}. {about}: {row[part]:g} of {one.points[part]:g}", ""]
            verdict = "passed" if found["passed"] else "not right"
            lines += [f"`{variable}`: {verdict}: {found['message']}.", ""]
            if found["answer"] and found["answer"] != "...":
                lines += ["Your answer was", "", "    " + found["answer"].replace("\n", " "), ""]
        for part, about in one.by_hand.items():
            given = f"{row[part]:g}" if row[part] != "" else "not yet read"
            lines += [f"## {part}. {about}: {given} of {one.points[part]:g}", ""]
            comment = hand.get(student, {}).get("comment", "")
            lines += [comment, ""] if comment else []
        if result["errors"]:
            lines += ["## Cells that ended with an error", ""]
            errors = [(cell, error.replace("\n", " ")) for cell, error in result["errors"]]
            lines += [f"- code cell {cell}: {error}" for cell, error in errors] + [""]
        return "\n".join(lines)

    def read_by_hand(self) -> dict[str, dict]:
        """Read the points that a person has given.

        Raises:
            gn_sets.SetError: A row cannot be understood; the file stays as it is.
        """
        path = self.output / HAND
        if not path.exists():
            return {}
        fields, rows = _table(path)
        wanted = ["student", *self.one.by_hand, "comment"]
        if fields != wanted:
            raise gn_sets.SetError(f"{path}: expected the columns {wanted}, got {fields}")
        found = {}
        for row in rows:
            surplus = [text for text in row.pop(None, []) if text.strip()]
            if not any(filter(None, row.values())) and not surplus:
                continue
            student = _plain(row["student"].strip())
            if surplus:
                raise gn_sets.SetError(
                    f"{path}, {student}: expected {len(wanted)} columns, and there are more; try "
                    "quotation marks around a comment, and 3.5 with a point for points"
                )
            if student in found:
                raise gn_sets.SetError(f"{path}: there are two rows of {student}; keep one")
            given = {"comment": (row["comment"] or "").strip()}
            for part in self.one.by_hand:
                text, most = (row[part] or "").strip(), self.one.points[part]
                if text:
                    given[part] = _points(text, most, f"{path}, {student}, question {part}")
            found[student] = given
        return found

    def ask_by_hand(self, hand: dict) -> None:
        """Add lines for new students to the file of a person; change nothing that is there."""
        path = self.output / HAND
        new = [student for student in self.results if self.results[student]["parts"]]
        new = [student for student in sorted(new, key=str.casefold) if student not in hand]
        old = path.read_text(encoding="utf8") if path.exists() else ""
        if old and not new:
            return
        table = io.StringIO()
        writer = csv.writer(table, delimiter=_delimiter(old), lineterminator="\n")
        if not old:
            writer.writerow(["student", *self.one.by_hand, "comment"])
        writer.writerows([_harmless(name), *["" for _ in self.one.by_hand], ""] for name in new)
        with open(path, "a", encoding="utf8", newline="\n") as file:
            file.write(("\n" if old and not old.endswith("\n") else "") + table.getvalue())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.stat().st_size <= gn_submissions.LARGEST else b"too large"
    except OSError:
        return b"unreadable"


def _own_fingerprint(one) -> bytes:
    files = [gn_sets.HERE / name for name in (*GRADERS, f"{one.name}.py")]
    files += sorted((gn_sets.HERE.parent.parent / "gradnotes").glob("*.py"))
    contents = [path.read_bytes().replace(b"\r\n", b"\n") for path in files]
    limits = json.dumps(one.limits, sort_keys=True).encode()
    return gn_submissions.fingerprint(one.instance.encode(), limits, *contents).encode()


def _is_result(found) -> bool:
    """Tell whether what is stored has all that the table and the feedback need."""

    def has(mapping, kinds):
        return isinstance(mapping, dict) and all(
            isinstance(mapping.get(name), kind) for name, kind in kinds.items()
        )

    whole = has(found, {"student": str, "status": str, "written": str, "parts": dict})
    if whole and found["parts"]:
        whole = has(found, {"errors": list})
    part = {"passed": bool, "message": str, "answer": str}
    return whole and all(has(marked, part) for marked in found["parts"].values())


def _table(path: Path) -> tuple[list[str] | None, list[dict]]:
    """Read the columns and the rows of a table that a person or a spreadsheet has saved.

    Raises:
        gn_sets.SetError: It cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = io.StringIO(text, newline="")
        reader = csv.DictReader(lines, delimiter=_delimiter(text), restval="", strict=True)
        return reader.fieldnames, list(reader)
    except UnicodeDecodeError as error:
        raise gn_sets.SetError(
            f"{path}: expected a table in UTF-8, got another encoding; try to save it anew, as "
            "'CSV UTF-8' where the program has that choice"
        ) from error
    except csv.Error as error:
        raise gn_sets.SetError(
            f"{path}: expected a table in CSV, got what cannot be read ({error}); is there a "
            "quotation mark that is not closed?"
        ) from error


def _delimiter(text: str) -> str:
    header = text.splitlines()[0] if text else ""
    return ";" if ";" in header and "," not in header else ","


def _points(text, most, where) -> float:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise gn_sets.SetError(f"{where}: expected points from 0 to {most:g}, got {text!r}")
    return int(number) if number == int(number) else number


def _harmless(value):
    """Keep a spreadsheet from taking a name or a message for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def _plain(name: str) -> str:
    """Take away what :func:`_harmless` has added."""
    return name[1:] if name.startswith("'") and name[1:].startswith(FORMULAS) else name


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf8", errors="replace", newline="\n")
    os.replace(temporary, path)


def see_that_a_notebook_runs(one: gn_sets.ProblemSet) -> None:
    """Stop before the class is graded if not even an easy cell runs here.

    Raises:
        gn_sets.SetError: It does not.
    """
    (variable, _), *_ = one.parts.values()
    report = collect(["import gradnotes.checks", f"{variable} = 7"], one)
    if report["answers"].get(variable) != ["int", "7"] or report["errors"]:
        said = report["ended"] or report["errors"]
        raise gn_sets.SetError(
            f"no notebook can run here ({said}); is gradnotes installed for {sys.executable}, and "
            f"is the limit of {one.limits['memory']:g} MiB enough?"
        )


def grade(one: gn_sets.ProblemSet, submissions: Path, output: Path, jobs: int = 2) -> Grading:
    """Grade a folder; what is done already is not done again."""
    grading = Grading(one, submissions, output)
    waiting = grading.prepare()
    grading.read_by_hand()  # a fault in it shows before the long work
    if grading.results:  # the table has what is known, however this run ends
        grading.finish()
    markers: queue.Queue = queue.Queue()
    if waiting:
        see_that_a_notebook_runs(one)
    for _ in range(min(jobs, len(waiting))):
        markers.put(Marker(one))
    pool = ThreadPoolExecutor(max(1, min(jobs, len(waiting))))
    jobs_of = {pool.submit(grading.attempt, each, markers): each for each in waiting}
    try:
        bar = {"desc": f"grading {one.name}", "disable": None, "unit": "notebook"}
        for done in tqdm(as_completed(list(jobs_of)), total=len(jobs_of), **bar):
            grading.keep(jobs_of[done], done.result())
            del jobs_of[done]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for each in waiting:  # before the wait, which may be interrupted too
            grading.forgive(each)
        pool.shutdown()
        for done, each in jobs_of.items():  # what was running has come to its end
            if not done.cancelled():
                grading.keep(each, done.result())
        while not markers.empty():
            markers.get().stop()
        grading.finish()
    return grading


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, grade, and say what needs a look."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", help="the name of a problem set, such as ps1")
    parser.add_argument("submissions", help="a folder with notebooks")
    parser.add_argument("--output", type=Path, help="where results go instead")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    options = parser.parse_args(arguments)
    if not options.submissions.strip():  # as `make grade SET=ps1` has it; it is not this folder
        parser.error("expected a folder with notebooks, got nothing; try SUBMISSIONS=folder")
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")  # no name of a student is an error
    folder = Path(options.submissions).resolve()
    output = options.output or folder.with_name(f"{folder.name}-graded")
    try:
        one = gn_sets.load(options.set)
        grading = grade(one, folder, output.resolve(), max(1, options.jobs))
    except (gn_sets.SetError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on where it stopped")
    for name in grading.others:
        print(f"left out, since it is no notebook: {name}")
    refused = [student for student, found in grading.results.items() if not found["parts"]]
    for student in refused:
        print(f"{student}: {grading.results[student]['status']}")
    print(f"{len(grading.results)} students, {len(refused)} not graded; see {output}")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
