"""The row of grading: what a submission to the first problem set takes, from file to points."""

import json
import os
import queue
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from summaries import rounded
from tqdm import tqdm

ROUNDS, QUICK_ROUNDS = 11, 1
FOLDER = Path(__file__).resolve().parent.parent / "book" / "assignments"
KINDS = ("blank", "solved", "stopped")


def grading(quick: bool) -> list[dict]:
    """Grade three kinds of notebooks, one at a time, in turns."""
    sys.path.append(str(FOLDER))
    import gn_grade
    import gn_processes
    import gn_sets

    one = gn_sets.load("ps1")
    markers: queue.Queue = queue.Queue()
    markers.put(gn_processes.Marker(one))
    rounds = QUICK_ROUNDS if quick else ROUNDS
    seconds = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        files = _notebooks(one, Path(scratch))
        for kind in KINDS:  # the process that marks starts once for a whole class
            gn_grade.graded(files[kind], one, markers)
        for _ in tqdm(range(rounds), desc="grading", leave=False, disable=None):
            for kind in KINDS:
                before, cpu = time.perf_counter(), _cpu()
                result = gn_grade.graded(files[kind], one, markers)
                passed = sum(part["passed"] for part in result["parts"].values())
                assert passed == {"blank": 0, "solved": len(one.parts), "stopped": 4}[kind]
                seconds[kind].append((time.perf_counter() - before, _cpu() - cpu))
    markers.get().stop()
    records = []
    for kind in KINDS:
        wall, of_cpu = np.array(seconds[kind]).T
        low, high = np.quantile(wall, [0.1, 0.9])
        spread = {"seconds": np.median(wall), "low": low, "high": high, "cpu_s": np.median(of_cpu)}
        record = {name: rounded(value) for name, value in spread.items()}
        records.append({"row": "grading", "notebook": kind, **record, "rounds": rounds})
    return records


def _cpu() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _notebooks(one, folder) -> dict:
    """Write the three notebooks: with no answer, with all, and with a loop after four."""
    import gn_build
    import gn_submissions

    blank = json.loads((FOLDER / "student" / f"{one.name}.ipynb").read_text(encoding="utf8"))
    cells = [cell for cell in gn_build.master_notebook(one).cells if cell.cell_type == "code"]
    cells = [cell for cell in cells if not cell.source.startswith("# HIDDEN")]
    solved = blank | {"cells": cells}
    at = next(n for n, cell in enumerate(cells) if cell.source.startswith("M, h, t ="))
    # It ends its own process at once, where a loop would wait for the limit.
    stop = dict(cells[at], source="import os\nos._exit(1)")
    stopped = blank | {"cells": [*cells[:at], stop, *cells[at:]]}
    found = {}
    for kind, notebook in (("blank", blank), ("solved", solved), ("stopped", stopped)):
        path = folder / f"{kind}.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf8", newline="\n")
        found[kind] = gn_submissions.Submission(student=kind, paths=(path,))
    return found
