"""The benchmarks: their arithmetic, their guard against unlike peers, and what they recorded.

Nothing here is timed, and no peer's package is needed.
"""

import datetime
import json
import math
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gradnotes.networks import MLP

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
# The command, as it is where no peer's package is installed.
WITHOUT_PEERS = (
    "import runpy, sys; sys.modules.update(jax=None, smt=None, backpack=None, opacus=None); "
    "sys.path.insert(0, {folder!r}); sys.argv = ['run.py', *{words!r}]; "
    "runpy.run_path({script!r}, run_name='__main__')"
)


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def run_without_peers(*words):
    code = WITHOUT_PEERS.format(
        folder=str(FOLDER), script=str(FOLDER / "run.py"), words=[str(word) for word in words]
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, encoding="utf8", timeout=600)


# Arithmetic


def test_a_known_ratio():
    from summaries import ratio

    theirs = np.array([1.0, 2.0, 5.0])
    assert ratio(0.5 * theirs, theirs) == {"ratio": 0.5, "low": 0.5, "high": 0.5}
    spread = ratio(np.arange(1.0, 12.0), np.ones(11))
    assert spread == {"ratio": 6.0, "low": 2.0, "high": 10.0}
    # The ratio is taken within a round: a machine that is slow for a round changes nothing.
    slow = np.array([1.0, 1.0, 30.0])
    assert ratio(3.0 * slow, slow)["high"] == 3.0


def test_an_exact_power_law_has_its_exponent():
    from summaries import growth, growth_exponent

    sizes = np.array([1.0, 10.0, 100.0, 1e3])
    assert growth_exponent(sizes, 3.0 * sizes**1.7) == pytest.approx(1.7)
    # The fixed part of a call hides the growth at small sizes, which are left out.
    seconds = 3.0 * sizes**1.7 + np.array([1e3, 0.0, 0.0, 0.0])
    assert growth(sizes, np.stack([seconds, 2.0 * seconds]), 3)["exponent"] == 1.7
    assert growth(sizes, seconds[None], 4)["exponent"] < 1.0


def test_a_geometric_mean_and_its_interval():
    from summaries import geometric_mean

    found = geometric_mean(np.array([1.0, 2.0, 4.0]))
    # Student's quantile for two degrees of freedom is 4.302653.
    factor = 2.0 ** (4.302653 / math.sqrt(3.0))
    assert found["ratio"] == 2.0
    assert found["low"] == pytest.approx(2.0 / factor, rel=1e-3)
    assert found["high"] == pytest.approx(2.0 * factor, rel=1e-3)


def test_the_clock_is_divided_by_calls_and_by_work(monkeypatch):
    import timing

    now = [0.0]
    monkeypatch.setattr(timing.time, "process_time", lambda: now[0])

    def taking(seconds, work):
        def run():
            now[0] += seconds
            return (np.ones(2),)

        return timing.Contestant(name="", run=run, work=work)

    seconds = timing.time_rounds([taking(1e-3, 1), taking(0.1, 10), taking(2.0, 1)], 4)
    assert seconds.shape == (4, 3)
    np.testing.assert_allclose(seconds, np.tile([1e-3, 1e-2, 2.0], (4, 1)))


# The guard


@pytest.mark.parametrize(
    "theirs",
    [
        (np.ones(3), np.eye(2)[:1]),
        (np.ones(3),),
        (np.ones(3), np.eye(2) * (1.0 + 1e-9)),
        (np.array([1.0, 1.0, np.nan]), np.eye(2)),
        (-np.ones(3), np.eye(2)),
    ],
    ids=["shape", "count", "digits", "nan", "sign"],
)
def test_other_numbers_are_refused(theirs):
    from timing import PeerDiffersError, check_same

    ours = (np.ones(3), np.eye(2))
    check_same(ours, (np.ones(3) * (1.0 + 1e-12), np.eye(2)), "a good peer")
    with pytest.raises(PeerDiffersError, match=r"expected .* a bad peer.* and got"):
        check_same(ours, theirs, "a bad peer")


def test_a_peer_with_other_weights_is_not_timed():
    import peers
    from timing import Contestant, PeerDiffersError, time_rounds

    model, points = MLP(2, (5, 5), rng=1), peers.uniform_points(7, 2)
    ours = Contestant(name="gradnotes", run=lambda: model.value_and_gradient(points))
    time_rounds([ours, peers.autograd_value_gradient(model, points)], 1)
    wrong = peers.autograd_value_gradient(MLP(2, (5, 5), rng=2), points)
    with pytest.raises(PeerDiffersError):
        time_rounds([ours, wrong], 1)


# The row of accuracy


@pytest.mark.parametrize(
    ("name", "place", "least"),
    [
        ("Styblinski-Tang", [-2.903534, -2.903534], -78.332331),
        ("Rosenbrock", [1.0, 1.0], 0.0),
        ("Ackley", [0.0, 0.0], 0.0),
        ("Beale", [3.0, 0.5], 0.0),
        ("Booth", [1.0, 3.0], 0.0),
    ],
)
def test_the_functions_have_their_known_minima(name, place, least):
    from row_accuracy import functions

    target = functions()[name]
    assert target.value([place])[0] == pytest.approx(least, abs=1e-5)
    assert target.value(target.grid(21)).min() >= least - 1e-5


def test_relative_errors_of_a_constant():
    from row_accuracy import relative_errors

    values, gradients = np.array([1.0, 3.0]), np.array([[3.0, 4.0], [3.0, 4.0]])
    mean = (np.full(2, 2.0), np.zeros((2, 2)))
    assert relative_errors(mean, (values, gradients)) == (1.0, 1.0)
    assert relative_errors((values, 2.0 * gradients), (values, gradients)) == (0.0, 1.0)


# The row of the monitor


def one_row_at_a_time(model):
    """Return gradients of single rows as the peers of the row do, by a loop."""
    parameters, loss = list(model.parameters()), torch.nn.CrossEntropyLoss()

    def gradients(x, y):
        rows = [
            torch.autograd.grad(loss(model(a), b), parameters)
            for a, b in zip(x.split(1), y.split(1), strict=True)
        ]
        for each in map(torch.stack, zip(*rows, strict=True)):
            yield each.mean(0), each

    return gradients


@pytest.mark.parametrize("rule", ["standard error", "holdout"])
def test_the_peers_of_the_monitor_do_its_work(rule, monkeypatch):
    import row_monitor
    from timing import PeerDiffersError, check_same

    def a_little_longer(model):
        gradients = one_row_at_a_time(model)
        return lambda x, y: ((mean, each * 1.001) for mean, each in gradients(x, y))

    ways = {"a loop": ("torch", one_row_at_a_time), "a wrong loop": ("torch", a_little_longer)}
    monkeypatch.setattr(row_monitor, "PEERS", ways)
    ours, _, good, bad = row_monitor.contestants("convolutional", rule, "check", 4, 40)
    numbers = ours.run()
    check_same(numbers, good.run(), good.name, row_monitor.AGREE)
    with pytest.raises(PeerDiffersError):
        check_same(numbers, bad.run(), bad.name, row_monitor.AGREE)


def test_the_peak_of_known_tensors():
    from row_monitor import MIB, peak_bytes

    before = torch.ones(MIB, dtype=torch.uint8)

    def run():
        one = torch.zeros(MIB, dtype=torch.uint8)
        two = one + 1
        del one
        return (two + before,)

    # Two blocks at a time, and the few bytes of scalars.
    assert 2 * MIB <= peak_bytes(run) < 2.01 * MIB
    assert peak_bytes(lambda: ()) == 0


def test_a_quick_run_of_the_row_of_the_monitor(tmp_path):
    path = tmp_path / "quick.json"
    done = run_without_peers("--quick", "--only", "monitor_check", "--output", path)
    assert done.returncode == 0, done.stderr
    records = json.loads(path.read_text(encoding="utf8"))["rows"]["monitor_check"]["records"]
    assert {record["peer"] for record in records} == {"plain step"}
    assert {record["rule"] for record in records} == {"standard error", "folds"}
    assert all(record["ours_mib"] > 0 and record["peer_mib"] > 0 for record in records)


# The command


def test_a_quick_run_without_the_peers_that_are_not_installed(tmp_path):
    path = tmp_path / "quick.json"
    done = run_without_peers("--quick", "--only", "hessian", "--output", path)
    assert done.returncode == 0, done.stderr
    skipped = "skipped, since they are not installed: the peers in jax, smt, backpack-for-pytorch"
    assert skipped in done.stdout
    found = json.loads(path.read_text(encoding="utf8"))
    assert list(found["rows"]) == ["hessian"]
    records = found["rows"]["hessian"]["records"]
    assert {record["peer"] for record in records} == {"double backward", "torch.func"}
    assert all(0.0 < record["low"] <= record["ratio"] <= record["high"] for record in records)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_run_asks_for_the_peers():
    done = run_without_peers()
    assert done.returncode == 1
    assert (
        "expected jax, smt, backpack-for-pytorch, opacus to be installed; try make bench"
        in done.stderr
    )


def test_an_unknown_row_is_refused():
    done = run_without_peers("--quick", "--only", "speed")
    assert done.returncode == 1
    assert "expected a row among value_gradient, " in done.stderr
    assert "and got speed" in done.stderr


def test_rows_of_other_versions_are_not_mixed(tmp_path):
    import run

    path = tmp_path / "old.json"
    old = {"machine": run.machine(), "versions": run.versions(), "rows": {"growth": {}}}
    path.write_text(json.dumps(old), encoding="utf8")
    assert run.kept_rows(path) == {"growth": {}}
    # A peer that came later has no part in the old rows.
    del old["versions"]["opacus"]
    path.write_text(json.dumps(old), encoding="utf8")
    assert run.kept_rows(path) == {"growth": {}}
    old["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(old), encoding="utf8")
    with pytest.raises(SystemExit, match=r"expected the versions of old\.json"):
        run.kept_rows(path)


def test_the_peers_are_no_part_of_the_readers_lock():
    reader, bench = (
        (ROOT / name).read_text(encoding="utf8").splitlines()
        for name in ("requirements.txt", "requirements-bench.txt")
    )
    assert bench[1] == "-r requirements.txt"
    packages = {line.split("==")[0] for line in bench[2:]}
    assert {"jax", "smt", "backpack-for-pytorch", "opacus"} <= packages
    assert not packages & {line.split("==")[0] for line in reader}
    # BackPACK needs torchvision; torch itself stays the reader's.
    packages -= {"torchvision"}
    assert not [name for name in packages if name.startswith(("nvidia", "cuda", "torch", "triton"))]


# The record


@pytest.fixture(scope="module")
def record():
    return json.loads((ROOT / "gradnotes" / "performance.json").read_text(encoding="utf8"))


def test_the_record_says_when_where_and_with_what(record):
    import run

    assert datetime.date.fromisoformat(record["made"]) >= datetime.date(2026, 11, 25)
    assert list(record["versions"]) == list(run.PACKAGES)
    assert all(re.match(r"\d+\.\d+", version) for version in record["versions"].values())
    assert set(record["machine"]) == {"processor", "cores", "system", "python"}
    assert record["threads"] == 1


def test_the_record_names_no_person_and_no_place(record):
    text = json.dumps(record)
    assert "://" not in text
    assert str(Path.home()) not in text
    assert str(ROOT) not in text
    assert platform.node() not in re.findall(r"[\w.-]+", text)


def test_each_row_is_there_with_its_fields(record):
    from rows import ROWS

    assert list(record["rows"]) == list(ROWS)
    for name, row in record["rows"].items():
        datetime.date.fromisoformat(row["made"])
        assert row["sizes"] == ROWS[name].sizes
        assert row["fields"] == ROWS[name].fields
        assert row["records"], name
        for each in row["records"]:
            assert each["row"] == name
            assert set(each) - {"row", "peer"} == set(row["sizes"]) | set(row["fields"])
            assert each.get("rounds", 7) >= 7
            assert each.get("failures", 0) + each.get("seeds", 8) >= 8


def test_each_row_has_all_sizes_for_all_peers(record):
    import row_accuracy
    import row_derivatives
    import row_growth
    import row_sobolev

    expected = {
        "value_gradient": (row_derivatives.GRADIENT_SIZES, 4),
        "hessian": (row_derivatives.HESSIAN_SIZES, 3),
        "hessian_vector_product": (row_derivatives.PRODUCT_SIZES, 3),
        "weight_jacobian": (row_derivatives.JACOBIAN_SIZES, 2),
        "sobolev_step": (
            [("-".join(map(str, s)), row_sobolev.MEMBERS, row_sobolev.POINTS)
             for s in row_sobolev.SIZES], 5),
        "accuracy": (
            [(name, quantity) for name in row_accuracy.functions()
             for quantity in ("value", "gradient")], 3),
        "growth": ([(series.work, series.variable) for series in row_growth.all_series()], 1),
    }  # fmt: skip
    for name, (sizes, peers) in expected.items():
        row = record["rows"][name]
        found = {}
        for each in row["records"]:
            size = tuple(each[key] for key in row["sizes"])
            found.setdefault(size, set()).add(each.get("peer"))
        assert sorted(found) == sorted(sizes), name
        assert {len(names) for names in found.values()} == {peers}, name


def test_the_row_of_grading_has_all_its_notebooks(record):
    import row_grading

    records = record["rows"]["grading"]["records"]
    assert [each["notebook"] for each in records] == list(row_grading.KINDS)
    assert all(0 < each["low"] <= each["seconds"] <= each["high"] < 60 for each in records)


def test_the_row_of_the_monitor_has_all_its_contestants(record):
    import row_monitor

    row, found = record["rows"]["monitor_check"], {}
    for each in row["records"]:
        found.setdefault(tuple(each[key] for key in row["sizes"]), []).append(each["peer"])
    assert found == {
        (network, *case): ["plain step"] + (["BackPACK", "Opacus"] if case[0] != "folds" else [])
        for network in row_monitor.NETWORKS
        for case in row_monitor.CASES
    }


def test_growth_follows_from_the_times(record):
    from summaries import growth_exponent

    for each in record["rows"]["growth"]["records"]:
        assert len(each["sizes"]) >= 4
        upper = each["sizes"].index(each["fitted_from"])
        slope = growth_exponent(each["sizes"][upper:], each["ms"][upper:])
        assert slope == pytest.approx(each["exponent"], abs=0.15)


def test_each_bar_has_the_verdict_that_its_records_give(record):
    from bars import BARS

    judged = [(v["row"], v["peer"], v["number"], v["kind"], v["bar"]) for v in record["bars"]]
    assert judged == [(bar.row, bar.peer, bar.number, bar.kind, bar.limit) for bar in BARS]
    for verdict in record["bars"]:
        numbers = [
            each[verdict["number"]]
            for each in record["rows"][verdict["row"]]["records"]
            if each["peer"] == verdict["peer"]
            and all(low <= each[key] <= high for key, (low, high) in verdict["where"].items())
        ]
        assert len(numbers) == verdict["records"]
        assert max(numbers) == verdict["worst"]
        assert verdict["met"] == (max(numbers) <= verdict["bar"])
        missed = [place[verdict["number"]] for place in verdict["missed_at"]]
        assert missed == [number for number in numbers if number > verdict["bar"]]


def test_a_bar_without_records_is_an_error():
    from bars import BARS, verdict

    with pytest.raises(ValueError, match="expected records of value_gradient"):
        verdict(BARS[0], {"sizes": {}, "records": []})
