import contextlib
import json
import linecache
import math
import os
import random
import struct
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from gradnotes import sweeps
from gradnotes.scaling import scaling_sweep
from gradnotes.sweeps import (
    cell_generator,
    is_stale,
    load_table,
    run_cells,
    save_table,
    source_hash,
    versions,
)

ROOT = Path(__file__).resolve().parent.parent


def lacking(what, remedy):
    """Skip for want of something, but fail where all must be there, as on every change."""
    stop = pytest.fail if os.environ.get("GRADNOTES_PAGES") == "required" else pytest.skip
    stop(f"{what}: {remedy}")


def draw(seed, points=3, rng=0):
    generator = cell_generator(rng, seed=seed, points=points)
    return {"seed": seed, "numbers": generator.standard_normal(points).tolist()}


def logged(folder, number):
    """Leave a line for each call, so that a test can count them."""
    with (Path(folder) / "calls.txt").open("a", encoding="utf8") as file:
        file.write(f"{number}\n")
    return number**2


def calls(folder):
    file = Path(folder) / "calls.txt"
    return sorted(map(int, file.read_text(encoding="utf8").split())) if file.exists() else []


def echo(what):
    return what


SEEDS = [{"seed": seed} for seed in range(7)]


def logged_cells(tmp_path, count):
    return [{"folder": str(tmp_path), "number": number} for number in range(count)]


# What comes back


def test_results_are_in_the_order_of_the_cells():
    results = run_cells(draw, SEEDS[::-1])
    assert [result["seed"] for result in results] == [6, 5, 4, 3, 2, 1, 0]
    assert results == [draw(**cell) for cell in SEEDS[::-1]]
    assert run_cells(draw, []) == []


def late_first(seed):
    time.sleep(0.3 if seed == 0 else 0.0)
    return seed


def test_the_order_stays_when_the_first_cell_is_the_last_to_finish():
    with joblib.parallel_config(n_jobs=2):
        assert run_cells(late_first, SEEDS) == list(range(7))


def test_two_processes_give_the_same_bits_as_one():
    alone = run_cells(draw, SEEDS)
    with joblib.parallel_config(n_jobs=2):
        assert run_cells(draw, SEEDS) == alone


def test_floats_keep_every_bit(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2**64, 4000, dtype=np.uint64)
    numbers = bits.view(np.float64)
    special = [0.1, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2**53 + 1.0]
    numbers = [*special, *numbers[np.isfinite(numbers)].tolist()]
    for _ in range(2):  # the second time from the store
        (back,) = run_cells(echo, [{"what": numbers}], store=tmp_path)
        assert struct.pack(f"{len(back)}d", *back) == struct.pack(f"{len(back)}d", *numbers)


SCALING = {
    "methods": ["linear", "network"],
    "dimensions": [2],
    "points_counts": [256],
    "seeds": 5,
    "steps": 2,
    "rng": 0,
}


def test_a_sweep_of_the_package_is_the_same_in_two_processes():
    alone = scaling_sweep(**SCALING)
    with joblib.parallel_config(n_jobs=2):
        assert scaling_sweep(**SCALING) == alone


def which_process(seed):
    return os.getpid()


def test_two_processes_take_part_when_asked_to():
    assert set(run_cells(which_process, SEEDS)) == {os.getpid()}
    with joblib.parallel_config(n_jobs=2):
        assert os.getpid() not in run_cells(which_process, SEEDS)


def threads(seed):
    return torch.get_num_threads()


def broken(seed):
    raise RuntimeError("no convergence")


def test_a_cell_has_one_thread_and_the_caller_keeps_its_own():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert run_cells(threads, SEEDS) == [1] * 7
        assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError, match="no convergence"):
            run_cells(broken, SEEDS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with joblib.parallel_config(n_jobs=2):
        assert run_cells(threads, SEEDS) == [1] * 7


def test_an_error_names_its_cell():
    with pytest.raises(RuntimeError) as caught:
        run_cells(broken, [{"seed": 17}])
    assert "'seed': 17" in caught.value.__notes__[0]
    with joblib.parallel_config(n_jobs=2), pytest.raises(RuntimeError) as caught:
        run_cells(broken, [{"seed": 17}, {"seed": 18}])
    assert "'seed': 1" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("cells", "error", "words"),
    [
        ([{"what": 1}, {"what": 2}, {"what": 1}], ValueError, "cells 0 and 2"),
        ([{"what": np.arange(2)}], TypeError, "tolist"),
        ([{"what": (1, 2)}], TypeError, "lists for tuples"),
        ([{"what": {1: 2}}], TypeError, "strings as keys"),
        ([{"what": math.nan}], ValueError, "finite"),
    ],
)
def test_cells_that_json_cannot_hold_are_refused(cells, error, words):
    with pytest.raises(error, match=words):
        run_cells(echo, cells)


def not_json(what):
    return {"nan": math.nan, "array": np.arange(2)}[what]


@pytest.mark.parametrize(("what", "error"), [("nan", ValueError), ("array", TypeError)])
def test_results_that_json_cannot_hold_are_refused(what, error):
    with pytest.raises(error, match=f"the result of .*{what}"):
        run_cells(not_json, [{"what": what}])


def test_a_bar_is_shown_to_a_terminal_only(capsys, monkeypatch):
    run_cells(draw, SEEDS)
    assert capsys.readouterr() == ("", "")
    made = []
    monkeypatch.setattr(sweeps, "tqdm", lambda **k: made.append(k) or contextlib.nullcontext(bar))
    monkeypatch.setattr(sweeps, "Parallel", lambda **k: lambda tasks: ())
    bar = None
    run_cells(draw, [])
    run_cells(draw, [], progress=False)
    assert [options["disable"] for options in made] == [None, True]


# Random numbers


def test_a_generator_depends_on_the_content_alone():
    first = cell_generator(1, points=4, seed=2).random(5)
    assert (cell_generator(1, seed=2, points=4).random(5) == first).all()
    others = [(2, 4, 2), (1, 5, 2), (1, 4, 3), (1, 4, 2.0)]
    for rng, points, seed in others:
        assert (cell_generator(rng, points=points, seed=seed).random(5) != first).all()


def test_generators_of_neighbouring_cells_are_not_correlated():
    draws = [cell_generator(0, seed=seed).standard_normal(1000) for seed in range(30)]
    correlations = np.corrcoef(draws)[np.triu_indices(30, 1)]
    assert np.abs(correlations).max() < 0.15
    assert correlations.std() == pytest.approx(1000**-0.5, rel=0.2)


@pytest.mark.parametrize(
    ("rng", "error"),
    [(None, TypeError), (True, TypeError), (0.5, TypeError), (np.random.default_rng(0), TypeError),
     (-1, ValueError)],
)  # fmt: skip
def test_a_cell_needs_an_integer_seed(rng, error):
    with pytest.raises(error, match="try rng=0"):
        cell_generator(rng, seed=0)


def test_global_random_state_is_left_alone(tmp_path):
    def state():
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        return python, numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()

    before = state()
    run_cells(draw, SEEDS, store=tmp_path)
    assert state() == before


# Stores


def test_what_is_stored_is_not_computed_again(tmp_path):
    cells = logged_cells(tmp_path, 5)
    store = tmp_path / "new" / "store"
    assert run_cells(logged, cells[1:3], store=store) == [1, 4]
    kept = {path: path.read_bytes() for path in store.iterdir()}
    assert len(kept) == 2
    assert run_cells(logged, cells, store=store) == [0, 1, 4, 9, 16]
    assert calls(tmp_path) == [0, 1, 2, 3, 4]
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list(store.iterdir())) == 5
    assert run_cells(logged, cells[::-1], store=store) == [16, 9, 4, 1, 0]
    assert calls(tmp_path) == [0, 1, 2, 3, 4]


def interrupted(folder, number):
    if number == 3 and not (Path(folder) / "again").exists():
        raise KeyboardInterrupt
    return logged(folder, number)


def test_an_interrupt_loses_nothing_that_is_done(tmp_path):
    cells, store = logged_cells(tmp_path, 6), tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        run_cells(interrupted, cells, store=store)
    assert len(list(store.glob("*.json"))) == 3
    (tmp_path / "again").touch()
    assert run_cells(interrupted, cells, store=store) == [0, 1, 4, 9, 16, 25]
    assert calls(tmp_path) == [0, 1, 2, 3, 4, 5]


WORK = """
import time
from pathlib import Path

from gradnotes.sweeps import cell_generator, run_cells


def slow(folder, seed):
    with (Path(folder) / "calls.txt").open("a", encoding="utf8") as file:
        file.write(f"{seed}\\n")
    time.sleep(0.15)
    return cell_generator(0, seed=seed).random(3).tolist()


def sweep(folder):
    cells = [{"folder": folder, "seed": seed} for seed in range(12)]
    return run_cells(slow, cells, store=Path(folder) / "store")
"""


def test_a_killed_run_is_resumed_and_gives_the_same(tmp_path, monkeypatch):
    (tmp_path / "swept_work.py").write_text(WORK, encoding="utf8")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import swept_work; "
    code += "swept_work.sweep(sys.argv[1])"
    store = tmp_path / "store"
    # The package may stand in a copy that is not installed.
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    limit = time.monotonic() + 300
    while len(list(store.glob("*.json"))) < 3 and time.monotonic() < limit:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait(timeout=300)
    kept = {path: path.read_bytes() for path in store.glob("*.json")}
    assert 3 <= len(kept) < 12
    before = calls(tmp_path)
    assert len(before) in (len(kept), len(kept) + 1)
    monkeypatch.syspath_prepend(str(tmp_path))
    import swept_work

    expected = [cell_generator(0, seed=seed).random(3).tolist() for seed in range(12)]
    assert swept_work.sweep(str(tmp_path)) == expected
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(calls(tmp_path)) == len(before) + 12 - len(kept)


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    seen = []
    replace = os.replace

    def stop_at_second(old, new):
        seen.append((Path(old), Path(new), Path(new).exists(), Path(old).read_text("utf8")))
        if len(seen) == 2:
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        run_cells(draw, SEEDS, store=tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 1
    old, new, was_there, text = seen[1]
    assert old.parent == new.parent
    assert not was_there
    assert json.loads(text)["cell"] == {"seed": 1}
    monkeypatch.undo()
    assert run_cells(draw, SEEDS, store=tmp_path) == run_cells(draw, SEEDS)


def the_part(store):
    (path,) = store.glob("*.json")
    return path


def change(path, **changes):
    part = json.loads(path.read_text(encoding="utf8"))
    part["settings"] |= changes
    path.write_text(json.dumps(part), encoding="utf8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "franke"}, "target: stored 'franke', asked 'runge'"),
        ({"function": "other.draw"}, "function: stored 'other.draw', asked '.*draw'"),
        ({"code": "0123"}, "code: stored '0123', asked '[0-9a-f]{24}'"),
        ({"versions": {"numpy": "1"}}, "versions: stored {'numpy': '1'}, asked {'python'"),
        ({"more": 1}, "more: stored 1, asked None"),
    ],
)
def test_a_part_of_other_settings_is_refused(tmp_path, changes, words):
    cells, settings = [{"seed": 0}], {"target": "runge"}
    expected = run_cells(draw, cells, store=tmp_path, settings=settings)
    assert run_cells(draw, cells, store=tmp_path, settings=settings) == expected
    change(the_part(tmp_path), **changes)
    before = the_part(tmp_path).read_bytes()
    with pytest.raises(ValueError, match=words) as caught:
        run_cells(draw, cells, store=tmp_path, settings=settings)
    assert "try another store=" in str(caught.value)
    assert str(caught.value).count("stored") == 1
    assert the_part(tmp_path).read_bytes() == before


def test_nothing_is_computed_when_a_part_is_refused(tmp_path):
    cells, store = logged_cells(tmp_path, 4), tmp_path / "store"
    run_cells(logged, cells[3:], store=store, settings={"target": "runge"})
    with pytest.raises(ValueError, match="target: stored 'runge', asked 'franke'"):
        run_cells(logged, cells, store=store, settings={"target": "franke"})
    assert calls(tmp_path) == [3]


def test_other_code_of_the_function_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    # Compiled code of the first version would be taken for that of the second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = tmp_path / "swept_twice.py"
    for body, ok in [("seed", True), ("seed  # as before", False), ("seed + 1", False)]:
        module.write_text(f"def f(seed):\n    return {body}\n\n\nOTHER = {ok}\n", encoding="utf8")
        sys.modules.pop("swept_twice", None)
        import swept_twice

        linecache.checkcache()
        if ok:
            assert run_cells(swept_twice.f, [{"seed": 4}], store=tmp_path / "store") == [4]
        else:
            with pytest.raises(ValueError, match="code: stored"):
                run_cells(swept_twice.f, [{"seed": 4}], store=tmp_path / "store")


@pytest.mark.parametrize("damage", ["truncated", "empty", "digit", "other cell", "list", "bytes"])
def test_a_damaged_part_is_refused(tmp_path, damage):
    run_cells(draw, [{"seed": 5}], store=tmp_path)
    path = the_part(tmp_path)
    text = path.read_text(encoding="utf8")
    number = str(draw(5)["numbers"][0])
    damaged = {
        "truncated": text[: len(text) // 2],
        "empty": "",
        "digit": text.replace(number, number[:-1] + str((int(number[-1]) + 1) % 10)),
        "other cell": text.replace('"cell": {"seed": 5}', '"cell": {"seed": 6}'),
        "list": "[1, 2]",
        "bytes": "",
    }[damage]
    assert damaged != text
    path.write_text(damaged, encoding="utf8")
    if damage == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"is damaged.*try deleting it"):
        run_cells(draw, [{"seed": 5}], store=tmp_path)
    assert path.read_bytes() == before
    path.unlink()
    assert run_cells(draw, [{"seed": 5}], store=tmp_path) == [draw(5)]


def test_a_store_is_a_folder_and_keeps_what_else_is_in_it(tmp_path):
    mine = tmp_path / "notes.json"
    mine.write_text("mine", encoding="utf8")
    with pytest.raises(ValueError, match="expected a folder"):
        run_cells(draw, SEEDS, store=mine)
    run_cells(draw, SEEDS, store=tmp_path)
    assert mine.read_text(encoding="utf8") == "mine"
    assert len(list(tmp_path.iterdir())) == 8


def test_a_store_needs_a_function_that_can_be_read(tmp_path):
    names = {"__name__": "nowhere"}
    exec("def unseen(seed): return seed", names)
    assert run_cells(names["unseen"], [{"seed": 3}]) == [3]
    with pytest.raises(ValueError, match=r"source can be read.*try a function in a file"):
        run_cells(names["unseen"], [{"seed": 3}], store=tmp_path)


def test_names_of_settings_that_are_taken(tmp_path):
    with pytest.raises(ValueError, match="code, versions are taken"):
        run_cells(draw, SEEDS, store=tmp_path, settings={"versions": 1, "code": 2})


# A cluster


def test_dask_workers_give_the_same_bits(tmp_path):
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        lacking("no dask.distributed", "run `pip install gradnotes[dask]`")
    alone = run_cells(draw, SEEDS)
    with warnings.catch_warnings():
        # The cluster and its processes leave sockets to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        # On a busy machine it takes workers long to start.
        patient = dict.fromkeys(("connect", "tcp"), "180s")
        with (
            dask.config.set({"distributed.comm.timeouts": patient}),
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster, timeout=180) as client,
        ):
            client.wait_for_workers(2, timeout=180)
            workers = set(client.run(os.getpid).values())
            with joblib.parallel_config(backend="dask", wait_for_workers_timeout=180):
                assert run_cells(draw, SEEDS, store=tmp_path) == alone
                assert set(run_cells(which_process, SEEDS)) <= workers
                assert run_cells(threads, SEEDS) == [1] * 7
                swept = scaling_sweep(**SCALING)
    assert swept == scaling_sweep(**SCALING)
    assert len(workers) == 2
    assert run_cells(draw, SEEDS, store=tmp_path) == alone


# Tables


def rows():
    return [{"x": 1, "errors": [0.1, 1e-300]}, {"x": 2, "errors": []}]


def test_a_table_comes_back_with_how_it_was_made(tmp_path):
    path = tmp_path / "table.json"
    for _ in range(2):  # a table may be replaced
        save_table(path, rows(), settings={"rng": 3}, modules=["gradnotes.targets"])
    table = load_table(path)
    assert table["rows"] == rows()
    assert table["settings"] == {"rng": 3}
    assert table["modules"] == ["gradnotes.targets"]
    assert table["versions"] == versions()
    assert table["code"] == source_hash(["gradnotes.targets"])
    assert time.strptime(table["made"], "%Y-%m-%d")
    assert sorted(tmp_path.iterdir()) == [path]


def test_only_a_table_is_replaced(tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text('{"rows": []}', encoding="utf8")
    with pytest.raises(ValueError, match=r"something else.*try another name"):
        save_table(mine, rows(), settings={}, modules=["gradnotes.targets"])
    assert mine.read_text(encoding="utf8") == '{"rows": []}'
    with pytest.raises(ValueError, match="is damaged"):
        load_table(mine)
    with pytest.raises(FileNotFoundError, match=r"no study 'mine' .* try Path"):
        load_table("mine")
    with pytest.raises(ValueError, match="finite numbers in row 0"):
        save_table(tmp_path / "t.json", [{"x": math.inf}], settings={}, modules=[])


def test_versions_are_those_of_the_packages():
    assert versions()["numpy"] == np.__version__
    assert versions()["torch"] == torch.__version__.partition("+")[0]
    assert versions()["python"] == ".".join(map(str, sys.version_info[:3]))


SOURCE = '''
"""A module."""

from gradnotes import targets
from gradnotes.losses import squared


def f(x):
    """Square x."""
    # A comment.
    return "# no comment" + x**2
'''


def test_what_counts_as_code():
    same = textwrap.dedent(
        '''
        """Another docstring,

        over lines."""
        from gradnotes import targets
        from gradnotes.losses import squared
        def f(x):

            """As before."""
            return "# no comment" + x**2
        '''
    )
    assert sweeps._bare(same) == sweeps._bare(SOURCE)
    for old, new in [("x**2", "x**3"), ("squared", "huber"), ("no comment", "comment")]:
        assert sweeps._bare(SOURCE.replace(old, new)) != sweeps._bare(SOURCE)
    stub = "def f(): ...\n\n\ndef g():\n    1.5\n    return 2\n"
    assert sweeps._bare(stub) == stub.replace("\n\n\n", "\n").rstrip("\n")


def test_what_a_module_uses_counts_too():
    assert sweeps._imports(SOURCE) == {"gradnotes.targets", "gradnotes.losses"}
    assert sweeps._imports("import gradnotes.gaps\nimport numpy") == {"gradnotes.gaps"}
    assert sweeps._imports("from gradnotes import __version__\nfrom . import x") == set()
    uses = sweeps._closure(["gradnotes.gaps"])
    assert {"gradnotes.gaps", "gradnotes.networks", "gradnotes.expressions"} <= set(uses)
    assert "gradnotes.fitting" not in uses


def test_a_table_is_stale_when_a_module_below_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    save_table(path, rows(), settings={}, modules=["gradnotes.gaps"])
    table = load_table(path)
    assert not is_stale(table)
    source = sweeps._source

    def other(name, of, replacement):
        return source(name).replace(*replacement) if name == of else source(name)

    change = ("self.inputs", "self.input")
    assert change[0] in source("gradnotes.networks")
    monkeypatch.setattr(sweeps, "_source", lambda n: other(n, "gradnotes.networks", change))
    assert is_stale(table)
    monkeypatch.setattr(sweeps, "_source", lambda n: other(n, "gradnotes.fitting", ("a", "b")))
    assert not is_stale(table)
