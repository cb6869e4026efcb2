"""Run one submission and write its answers as data: ``gn_collect.py NOTEBOOK ANSWERS PLAN``.

This is the process that runs what a student wrote; nothing that it says is trusted. Answers are
written after each cell, so that what comes later cannot lose them. The notebook has been read
before: NOTEBOOK is a JSON list of the sources of its code cells. PLAN holds the names of the
answers and the limits.
"""

import _thread
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

LATE = 97  # the exit code where the notebook took too long


def limit_resources(plan):
    """Limit memory and the size of files, where the system can."""
    try:
        import resource
    except ImportError:
        return  # Windows
    megabyte = 2**20
    limits = [("RLIMIT_AS", plan["memory"] * megabyte), ("RLIMIT_FSIZE", 64 * megabyte)]
    for name, size in [*limits, ("RLIMIT_CORE", 0)]:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            kind = getattr(resource, name)
            _, hard = resource.getrlimit(kind)
            size = int(size) if hard == resource.RLIM_INFINITY else min(int(size), hard)
            resource.setrlimit(kind, (size, hard))


class Alarm:
    """Interrupt a cell that takes too long, as Ctrl-C would, on any system."""

    def __init__(self, seconds):
        self.seconds, self.rang = seconds, False

    def __enter__(self):
        self.timer = threading.Timer(self.seconds, self._ring)
        self.timer.daemon = True
        self.timer.start()
        return self

    def _ring(self):
        self.rang = True
        if hasattr(signal, "pthread_kill"):  # it wakes a cell that sleeps, too
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        else:
            _thread.interrupt_main()

    def __exit__(self, *_):
        self.timer.cancel()
        self.timer.join()  # an alarm that rings now still interrupts what it was set for


def main(notebook, answers, plan):
    """Run the cells, and after each of them write the answers that are there."""
    # Only what a student has: the package, not the folder of this file (python -P sees to it).
    here = str(Path(__file__).resolve().parent)
    cells = json.loads(Path(notebook).read_text(encoding="utf8"))
    plan = json.loads(Path(plan).read_text(encoding="utf8"))
    sys.path.insert(0, here)
    import gn_answers
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    import gradnotes.checks  # noqa: F401 - each notebook has it: its time is not the student's

    sys.path.remove(here)
    limit_resources(plan)
    sys.path.insert(0, os.getcwd())
    watch = threading.Timer(plan["notebook"], os._exit, [LATE])
    watch.daemon = True
    settings = Config()
    settings.HistoryManager.enabled = False
    shell, process = InteractiveShell.instance(config=settings), os.getpid()
    report = {"answers": {}, "refused": {}, "errors": [], "cell": 0, "done": False}

    def write():
        if os.getpid() != process:
            os._exit(0)  # a copy of this process, which a cell has made
        temporary = f"{answers}.new"
        with open(temporary, "w", encoding="utf8", newline="\n") as file:
            json.dump(report, file)
        os.replace(temporary, answers)

    def gather():
        for name in plan["names"]:
            if name not in shell.user_ns:
                continue
            try:
                report["answers"][name] = gn_answers.encode(shell.user_ns[name])
                report["refused"].pop(name, None)
            except Exception as error:
                known = isinstance(error, gn_answers.NoAnswerError)
                said = str(error) if known else f"it is no answer ({type(error).__name__})"
                report["answers"].pop(name, None)
                report["refused"][name] = said

    def run(source):
        error = "it was interrupted"
        with contextlib.suppress(KeyboardInterrupt), Alarm(plan["cell"]) as alarm:
            result = shell.run_cell(source, silent=False, store_history=False)
            error = result.error_before_exec or result.error_in_exec
        if alarm.rang:
            return f"it was stopped after {plan['cell']:g} seconds"
        if isinstance(error, BaseException):
            try:
                return f"{type(error).__name__}: {error}"
            except Exception:  # a class of the notebook's own
                return type(error).__name__
        return error

    write()
    watch.start()
    for number, source in enumerate(cells, 1):
        report["cell"] = number
        write()
        error = run(source)
        if error is not None and len(report["errors"]) < 50:
            report["errors"].append([number, str(error)[:300]])
        with contextlib.suppress(KeyboardInterrupt), Alarm(plan["cell"]):
            gather()
        write()
    report["done"] = True
    write()


if __name__ == "__main__":
    main(*sys.argv[1:4])
    sys.stdout.flush()
    os._exit(0)  # threads that the notebook left do not keep the process alive
