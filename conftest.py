"""Settings for all tests: one thread, no hurry, and the longest first."""

import os
from pathlib import Path

# Before NumPy is imported, and for all processes that the tests start: small arrays are fastest on
# one thread, and two processes with a thread for each core wait for one another.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
# On a busy machine an example may take long to draw and to try.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Two processes share the tests, a file at a time. With these first, in this order, neither is left
# alone with a long file at the end; a test of the first two may go to either.
LONG = ("repeatability", "notebooks", "pages", "student", "build", "sweeps", "explorer")
LONG += (
    "stopping",
    "grading",
    "assignments",
    "monitors",
    "scaling",
    "mutants",
    "benchmarks",
    "checks",
    "reuse",
    "fitting",
)
APART = tuple(f"tests/test_{name}.py::" for name in LONG[:2])


def pytest_collection_modifyitems(items):
    """Put the files that take longest first."""
    ranks = {f"test_{name}.py": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(Path(item.path).name, len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let the tests of some files go one by one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if nodeid.startswith(APART) else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None
