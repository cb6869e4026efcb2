"""The two kinds of process: one runs what a student wrote, the other marks and never does."""

import contextlib
import json
import os
import queue
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import gn_answers
import gn_collect
import gn_sets

KEPT = ("PATH", "PYTHONPATH", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "LANG")
KEPT += ("LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "NUMBER_OF_PROCESSORS")
TOKEN = "GRADNOTES_SUBMISSION"
WINDOWS = os.name == "nt"
# Not of this file's folder (-P), and whatever the locale is, texts are UTF-8.
PYTHON = [sys.executable, "-P", "-X", "utf8"]
START = 60  # seconds to start Python and import what is needed, on a busy machine


def _environment(folder: Path) -> dict:
    """Give a process nothing of the instructor's but the way to Python's packages."""
    own = {name: os.environ[name] for name in KEPT if name in os.environ}
    places = dict.fromkeys(("HOME", "USERPROFILE", "IPYTHONDIR", "TMPDIR", "TEMP"), str(folder))
    places |= dict.fromkeys(("TMP", "MPLCONFIGDIR", "APPDATA", "LOCALAPPDATA"), str(folder))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    fixed = {"MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    return own | places | threads | fixed


def _start(command: list[str], environment: dict, folder: Path, **streams) -> subprocess.Popen:
    group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if WINDOWS else {}
    group = group or {"start_new_session": True}
    return subprocess.Popen(command, env=environment, cwd=folder, **group, **streams)


def _end(process: subprocess.Popen, token: str = "") -> None:
    """Kill a process and what it has started, as far as that can be found."""
    for _ in range(50):
        if WINDOWS:
            words = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            subprocess.run(words, capture_output=True, check=False)
        else:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        left = _with_token(token) if token else []
        for one in left:
            with contextlib.suppress(OSError):
                os.kill(one, signal.SIGKILL)
        if not left:
            break
        time.sleep(0.02)
    process.wait()


def _with_token(token: str) -> list[int]:
    """Find processes that have inherited a token, also those that left their family (Linux)."""
    found, wanted = [], f"{TOKEN}={token}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def collect(sources: list[str], one: gn_sets.ProblemSet) -> dict:
    """Run the code cells of a submission in a process of its own, and give its report.

    The report has answers as data, the reasons why others are no answers, the errors of cells, the
    seconds that it took, and how it ended: "", or what went wrong.
    """
    token, began = uuid.uuid4().hex, time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder, work = Path(scratch), Path(scratch) / "work"
        work.mkdir()
        names = [variable for variable, _ in one.parts.values()]
        plan = {"names": names, **one.limits}
        for name, content in (("cells.json", sources), ("plan.json", plan)):
            text = json.dumps(content)
            (folder / name).write_text(text, encoding="utf8", errors="surrogatepass", newline="\n")
        program = [*PYTHON, str(gn_sets.HERE / "gn_collect.py")]
        files = [str(folder / name) for name in ("cells.json", "answers.json", "plan.json")]
        environment = _environment(work) | {TOKEN: token}
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        process = _start([*program, *files], environment, work, **nothing)
        limit, code, ended = one.limits["notebook"], gn_collect.LATE, ""
        try:
            # The process keeps the limit itself, if it can, once it has imported what it needs.
            code = process.wait(timeout=START + limit)
            ended = f"its process ended by itself (exit code {code})"
        except subprocess.TimeoutExpired:
            pass  # it is late
        finally:
            _end(process, token)
        report = _read_report(folder / "answers.json", names)
    if code == gn_collect.LATE:
        ended = f"it was stopped after {limit:g} seconds"
    if report is None:
        return _nothing(f"no answer was found: {ended}", began)
    if report.pop("done"):
        ended = ""
    else:
        ended += f" in code cell {report['cell']}, and the answers up to there count"
    return report | {"ended": ended, "seconds": time.monotonic() - began}


def _nothing(ended, began) -> dict:
    seconds = time.monotonic() - began
    return {
        "answers": {},
        "refused": {},
        "errors": [],
        "cell": 0,
        "ended": ended,
        "seconds": seconds,
    }


def _read_report(path: Path, names: list[str]) -> dict | None:
    """Read what a submission's process has written; anything may be in it."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > gn_answers.BYTES:
            return None
        report = json.loads(path.read_text(encoding="utf8"))
        answers, refused = report["answers"], report["refused"]
        errors = [[int(cell), str(error)[:300]] for cell, error in report["errors"][:50]]
        return {
            "answers": {name: answers[name] for name in names if name in answers},
            "refused": {name: str(refused[name])[:300] for name in names if name in refused},
            "errors": errors,
            "cell": int(report["cell"]),
            "done": report["done"] is True,
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return None
    except RecursionError:
        return None


class Marker:
    """A process that marks answers, and is started anew when it had to be killed."""

    def __init__(self, one: gn_sets.ProblemSet):
        self.one, self.process = one, None

    def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            gn_sets.SetError: It does not start, or it has another set.
        """
        self.scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = Path(self.scratch.name)
        program = [*PYTHON, str(gn_sets.HERE / "gn_mark.py"), self.one.name]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = _start(program, _environment(folder), folder, encoding="utf8", **streams)
        self.lines = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, self.lines), daemon=True).start()
        if self._reply(START) != {"ready": self.one.instance}:
            self.stop()
            raise gn_sets.SetError("the process that marks did not start; see what it printed")

    @staticmethod
    def _listen(process, lines):
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def _reply(self, seconds) -> dict | None:
        """Wait for an answer: None if it does not come in time, {} if the process is gone."""
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            return None
        return json.loads(line) if line else {}

    def mark(self, part: str, data) -> dict:
        """Mark one answer; if that takes too long or breaks the process, say so."""
        try:
            request = json.dumps({"part": part, "data": data})
        except RecursionError:
            return {"passed": False, "message": "it is nested too deeply", "answer": ""}
        said = "the process that looks at this answer ends before it is done"
        for _ in range(2):  # it may be somebody else who has ended it
            if self.process is None:
                self.start()
            seconds = self.one.limits["part"]
            try:
                print(request, file=self.process.stdin, flush=True)
                reply = self._reply(seconds)
            except OSError:
                reply = {}
            if reply:
                return reply
            self.stop()
            if reply is None:
                said = f"to look at this answer takes more than {seconds:g} seconds"
                break
        return {"passed": False, "message": said, "answer": ""}

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            _end(self.process)
            for stream in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()
            self.scratch.cleanup()
            self.process = None
