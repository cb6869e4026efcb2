import contextlib
import copy
import random
from importlib import resources
from itertools import product

import joblib
import numpy as np
import pytest
import torch
from scipy import stats

from gradnotes import scaling
from gradnotes.interpolants import interpolate
from gradnotes.scaling import (
    CosineSum,
    ScalingSweep,
    check_against_study,
    effective_counts,
    expected_exponent,
    fit_power_law,
    random_cosines,
    scaling_sweep,
    stored_study,
)
from gradnotes.sweeps import cell_generator, is_stale, load_table

SIZES = 2.0 ** np.arange(4, 10)


def simulated(
    generator, exponent=-1.0, *, bend=0.0, floor=0.0, noise=0.1, spread=0.05, seeds=8, sizes=SIZES
):
    """Errors of power laws with noise, (sizes, seeds): each seed has its own exponent."""
    x = np.log(sizes)[:, None]
    slopes = exponent + spread * generator.standard_normal(seeds)
    logs = 0.5 + slopes * x + bend * (x - x.mean()) ** 2
    return np.exp(logs + noise * generator.standard_normal((len(x), seeds))) + floor


# Fits of power laws


@pytest.mark.parametrize("exponent", [-4.0, -1.0, -0.25, 0.0, 1.5])
def test_an_exact_power_law_is_found(exponent):
    constants = np.array([0.5, 2.0, 1.0])
    law = fit_power_law(SIZES, constants * SIZES[:, None] ** exponent)
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.interval == pytest.approx((exponent, exponent), abs=1e-12)
    assert law.constant == pytest.approx(1.0, rel=1e-11)
    assert law.curvature == pytest.approx(0.0, abs=1e-11)
    assert law.curved is False
    assert law.seeds == 3
    assert law.sizes.tolist() == SIZES.tolist()


def test_the_fit_against_formulas_written_out():
    errors = simulated(np.random.default_rng(3), seeds=5, spread=0.3)
    law = fit_power_law(SIZES, errors)
    x, y = np.log(SIZES), np.log(errors)
    centred = x - x.mean()
    slopes = centred @ y / (centred @ centred)
    # Student's quantile for four degrees of freedom is 2.776445.
    reach = 2.776445 * slopes.std(ddof=1) / 5**0.5
    assert law.exponent == pytest.approx(slopes.mean(), rel=1e-12)
    low, high = slopes.mean() - reach, slopes.mean() + reach
    assert law.interval == pytest.approx((low, high), rel=1e-6)
    assert law.constant == pytest.approx(np.exp((y.mean(0) - slopes * x.mean()).mean()))
    columns = np.stack([np.ones(6), x, x**2], axis=1)
    bends = np.linalg.lstsq(columns, y, rcond=None)[0][2]
    reach = 2.776445 * bends.std(ddof=1) / 5**0.5
    assert law.curvature == pytest.approx(bends.mean(), rel=1e-8)
    low, high = bends.mean() - reach, bends.mean() + reach
    assert law.curvature_interval == pytest.approx((low, high), rel=1e-6)
    assert f"{law.exponent:.3f}" in str(law)


@pytest.mark.parametrize(
    ("seeds", "noise", "spread"), [(2, 0.1, 0.05), (8, 0.1, 0.05), (16, 0.4, 0.0)]
)
def test_the_interval_covers_as_often_as_it_says(seeds, noise, spread):
    generator = np.random.default_rng([seeds, 1])
    options = {"seeds": seeds, "noise": noise, "spread": spread}
    laws = [fit_power_law(SIZES, simulated(generator, **options)) for _ in range(700)]
    covered = np.mean([law.interval[0] <= -1.0 <= law.interval[1] for law in laws])
    curved = np.mean([law.curved for law in laws])
    # Three standard deviations of a count among 700 are 2.5 %.
    assert 0.925 < covered < 0.975
    assert 0.025 < curved < 0.075


def test_a_bend_is_found():
    generator = np.random.default_rng(5)
    for bend in (-0.1, 0.1):
        laws = [fit_power_law(SIZES, simulated(generator, bend=bend)) for _ in range(200)]
        assert np.mean([law.curved for law in laws]) > 0.95
        assert np.mean([law.curvature for law in laws]) == pytest.approx(bend, abs=0.01)


def refused(errors, sizes=SIZES):
    try:
        fit_power_law(sizes, errors)
    except ValueError as error:
        return "reach a floor near" in str(error)
    return False


@pytest.mark.parametrize(
    ("exponent", "floor", "noise"), [(-1.0, 0.03, 0.1), (-1.0, 0.1, 0.1), (-4.0, 1e-7, 0.3)]
)
def test_a_floor_is_found(exponent, floor, noise):
    generator = np.random.default_rng(6)
    sizes = 2.0 ** np.arange(2, 12)
    options = {"noise": noise, "sizes": sizes}
    for _ in range(100):
        errors = simulated(generator, exponent, floor=floor, **options)
        assert refused(errors, sizes)
        assert not refused(errors - floor, sizes)


@pytest.mark.parametrize("exponent", [-4.0, -0.25, -0.02, 0.0, 0.5])
def test_a_power_law_is_hardly_ever_taken_for_a_floor(exponent):
    generator = np.random.default_rng(7)
    found = [refused(simulated(generator, exponent, noise=noise)) for noise in [0.03, 0.5] * 150]
    # One in 200 at most, and three standard deviations of a count among 300.
    assert np.mean(found) <= 0.005 + 3 * (0.005 / 300) ** 0.5


def test_what_is_said_of_a_floor():
    sizes = 10.0 ** np.arange(1, 8)
    errors = (1.0 / sizes[:, None] + 1e-4) * np.array([1.0, 1.1, 1.2])
    with pytest.raises(
        ValueError, match=r"floor near 1\.1e-04: the slope is -0\.0. over the last 3"
    ):
        fit_power_law(sizes, errors)
    with pytest.raises(ValueError, match=r"after -0\.98; try leaving out sizes from 100000 on"):
        fit_power_law(sizes, errors)
    assert fit_power_law(sizes[:4], errors[:4]).exponent == pytest.approx(-1.0, abs=0.1)


def test_round_off_is_a_floor(monkeypatch):
    monkeypatch.setitem(scaling.POOLED["grid"], 1, 64)
    sweep = scaling_sweep(
        methods=["hermite"], dimensions=[1], points_counts=[4**k for k in range(2, 9)],
        seeds=4, design="grid", rng=0,
    )  # fmt: skip
    counts, errors = sweep.series("hermite", 1, quantity="value", design="grid")
    assert errors[-1].max() < 1e-14
    assert refused(errors, counts)
    assert fit_power_law(counts[:4], errors[:4]).exponent == pytest.approx(-4.0, abs=0.05)


TWO = np.ones((3, 2))


@pytest.mark.parametrize(
    ("sizes", "errors", "words"),
    [
        ([1, 2], TWO[:2], "a power law asked of two points"),
        ([[1, 2, 3]], TWO, "3 sizes or more"),
        ([1, 2, 2], TWO, "increasing sizes"),
        ([0, 1, 2], TWO, "increasing sizes above 0"),
        ([1, 2, np.inf], TWO, "increasing sizes"),
        ([1, 2, 4], TWO[:, :1], r"2 seeds or more, and got \(3, 1\)"),
        ([1, 2, 4], TWO[:, 0], r"got \(3,\)"),
        ([1, 2, 4], TWO.T, r"expected errors of shape \(3, seeds\)"),
        ([1, 2, 4], [[1, 1], [1, 0], [1, 1]], "got 0.0 for size 2, seed 1; try leaving out"),
        ([1, 2, 4], [[1, 1], [1, 1], [-1, 1]], "got -1.0 for size 4, seed 0"),
        ([1, 2, 4], [[1, np.nan], [1, 1], [1, 1]], "got nan for size 1, seed 1"),
    ],
)
def test_what_no_power_law_can_be_fitted_to(sizes, errors, words):
    with pytest.raises(ValueError, match=words):
        fit_power_law(sizes, errors)


# What theory says


@pytest.mark.parametrize(
    ("method", "dimension", "value", "gradient"),
    [
        ("nearest", 1, -1, 0),
        ("nearest", 4, -1 / 4, 0),
        ("linear", 1, -2, -1),
        ("linear", 3, -2 / 3, -1 / 3),
        ("taylor", 2, -1, -1 / 2),
        ("taylor", 7, -2 / 7, -1 / 7),
        ("hermite", 1, -4, -3),
        ("hermite", 2, -3 / 2, -1),
    ],
)
def test_expected_exponents(method, dimension, value, gradient):
    assert expected_exponent(method, dimension, "value") == value
    assert expected_exponent(method, dimension, "gradient") == gradient
    assert str(expected_exponent("nearest", dimension, "gradient")) == "0.0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("network", 1, "value"), "no law for networks"),
        (("linear", 0, "value"), "of 1 or more"),
        (("linear", 1.0, "value"), "whole dimension"),
        (("hermite", 3, "value"), "from 1 to 2"),
        (("linear", 1, "rms"), "value, gradient, and got 'rms'"),
    ],
)
def test_what_theory_says_nothing_about(arguments, words):
    with pytest.raises(ValueError, match=words):
        expected_exponent(*arguments)


# Targets and designs


def test_the_gradient_of_a_sum_of_cosines():
    target = random_cosines(3, rng=2)
    points = np.random.default_rng(0).random((20, 3))
    for j, step in enumerate(1e-6 * np.eye(3)):
        rise = (target.value(points + step) - target.value(points - step)) / 2e-6
        np.testing.assert_allclose(rise, target.gradient(points)[:, j], atol=1e-8)
    one = CosineSum(frequencies=np.array([[2.0]]), phases=np.array([0.0]))
    np.testing.assert_allclose(one.value(np.array([[0.0], [np.pi / 2]])), [2**0.5, -(2**0.5)])


def test_random_cosines_are_of_the_size_and_smoothness_they_say():
    targets = [random_cosines(2, rng=seed) for seed in range(200)]
    lengths = np.concatenate([np.linalg.norm(t.frequencies, axis=1) for t in targets])
    assert 1.0 <= lengths.min() < 1.05
    assert 2.95 < lengths.max() <= 3.0
    values = [t.value(np.array([[0.3, 0.6]]))[0] for t in targets]
    assert np.mean(np.square(values)) == pytest.approx(1.0, abs=0.3)
    angles = np.concatenate([np.arctan2(*t.frequencies.T) for t in targets])
    assert stats.kstest(angles, "uniform", (-np.pi, 2 * np.pi)).pvalue > 0.01


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_a_random_design_is_as_dense_as_it_says(dimension):
    generator = np.random.default_rng(dimension)
    designs = [scaling._design("random", dimension, 64, generator) for _ in range(50)]
    inside = [((points >= 0) & (points < 1)).all(axis=1).sum() for points in designs]
    assert np.mean(inside) == pytest.approx(64, abs=4)
    in_box = [((points > 0.25) & (points < 0.75)).all(axis=1).sum() for points in designs]
    expected = 64 / 2**dimension
    assert np.mean(in_box) == pytest.approx(expected, abs=4 * (expected / 50) ** 0.5)
    large = scaling._design(
        "random", dimension, 10**6 if dimension == 1 else 20**dimension, generator
    )
    margin = (scaling.MARGIN[dimension] / 20 if dimension > 1 else 0.0) - 0.25
    assert large.min() == pytest.approx(min(0.0, -margin), abs=1e-12)


@pytest.mark.parametrize(("dimension", "per_axis"), [(1, 16), (2, 4), (3, 4), (4, 3)])
def test_a_grid_is_regular_with_a_random_origin(dimension, per_axis):
    generator = np.random.default_rng(0)
    origins = []
    for _ in range(200):
        points = scaling._design("grid", dimension, per_axis**dimension, generator)
        assert ((points >= 0) & (points < 1)).all(axis=1).sum() == per_axis**dimension
        for axis in points.T:
            np.testing.assert_allclose(np.diff(np.unique(axis)), 1 / per_axis, rtol=1e-9)
            assert axis.min() <= 0.25
            assert axis.max() >= 0.75
        origins += (points[0] * per_axis % 1).tolist()
    assert stats.kstest(origins, "uniform").pvalue > 0.01


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_test_points_do_not_feel_the_edge(dimension):
    """Without the outer tenth of the design nearly all values are the same."""
    generator, target = np.random.default_rng([dimension, 8]), random_cosines(dimension, rng=1)
    changes = []
    for _ in range(8):
        points = scaling._design("random", dimension, 64, generator)
        reach = np.abs(points - 0.5).max(axis=1)
        corners = points[-(2**dimension) :]
        fewer = np.concatenate([points[reach < 0.9 * reach.max()], corners])
        at = generator.uniform(0.25, 0.75, (200, dimension))
        whole, part = (
            interpolate(p, target.value(p), method="linear").value(at) for p in (points, fewer)
        )
        changes.append(np.mean(np.abs(whole - part) > 1e-9))
    assert len(fewer) < 0.95 * len(points)
    assert np.mean(changes) < 0.01


# The errors of a cell, against other ways to them


def cell(method, seeds=(0,), **changes):
    base = {"method": method, "dimension": 1, "design": "random", "points_count": 64, "rng": 0}
    return scaling._cell_errors(**{**base, "seeds": list(seeds), **changes})


def test_the_errors_of_a_cell_by_hand(monkeypatch):
    monkeypatch.setitem(scaling.POOLED["random"], 1, 128)  # two designs
    squares, largest = [], []
    target = random_cosines(1, rng=cell_generator(5, dimension=1, seed=3))
    for number in range(2):
        content = {"dimension": 1, "design": "random", "points": 64, "seed": 3, "number": number}
        generator = cell_generator(5, **content)
        points = scaling._design("random", 1, 64, generator)
        at = generator.uniform(0.25, 0.75, (512, 1))
        nearest = np.abs(at - points.T).argmin(axis=1)
        off = target.value(points)[nearest] - target.value(at)
        slope = np.abs(target.gradient(at)[:, 0])
        squares.append([np.mean(off**2), np.mean(slope**2)])
        largest.append([np.abs(off).max(), slope.max()])
    found = cell("nearest", seeds=[3], rng=5)
    rms, largest = np.sqrt(np.mean(squares, axis=0)), np.mean(largest, axis=0)
    assert found["value_rms"] == pytest.approx([rms[0]], rel=1e-12)
    assert found["gradient_rms"] == pytest.approx([rms[1]], rel=1e-12)
    assert found["value_max"] == pytest.approx([largest[0]], rel=1e-12)
    assert found["gradient_max"] == pytest.approx([largest[1]], rel=1e-12)


def test_the_nearest_neighbour_has_the_error_that_is_known(monkeypatch):
    """In 1-D the square of the distance to the nearest of D points has the mean 1 / (2 D^2)."""
    monkeypatch.setitem(scaling.POOLED["random"], 1, 2**14)
    found = cell("nearest", seeds=range(4), points_count=1024)
    expected = np.array(found["gradient_rms"]) / (2**0.5 * 1024)
    assert np.mean(found["value_rms"] / expected) == pytest.approx(1.0, abs=0.04)


def test_the_parabola_between_two_points_of_a_grid_is_known():
    """On cells of width h, chords are off by f'' h^2 / 120^(1/2), slopes by f'' h / 12^(1/2)."""
    found = cell("linear", design="grid", points_count=256)
    ratio = found["value_rms"][0] / found["gradient_rms"][0]
    assert ratio == pytest.approx(0.1**0.5 / 256, rel=0.01)


def test_seeds_are_different_and_do_not_depend_on_their_group():
    together = cell("linear", seeds=[0, 1, 2])
    apart = [cell("linear", seeds=[seed]) for seed in (0, 1, 2)]
    for column in scaling.COLUMNS:
        assert together[column] == [errors[column][0] for errors in apart]
        assert len(set(together[column])) == 3
    assert cell("linear", rng=1)["value_rms"] != cell("linear")["value_rms"]
    assert cell("linear", dimension=2)["value_rms"] != cell("linear")["value_rms"]


# Sweeps


SMALL = {
    "methods": ["nearest", "taylor"],
    "dimensions": [1, 2],
    "points_counts": [256, 64],
    "rng": 4,
}


def test_a_sweep_has_a_curve_for_each_method_and_dimension():
    sweep = scaling_sweep(**SMALL, seeds=6)
    assert len(sweep.rows) == 8
    for method in SMALL["methods"]:
        for dimension in (1, 2):
            counts, errors = sweep.series(method, dimension, quantity="gradient", norm="max")
            assert counts.tolist() == [64, 256]
            assert errors.shape == (2, 6)
            direct = cell(method, range(6), dimension=dimension, points_count=256, rng=4)
            assert errors[1].tolist() == direct["gradient_max"]
    with pytest.raises(ValueError, match=r"expected a curve among .*'nearest', 1, 'random'"):
        sweep.series("linear", 1, quantity="value")
    with pytest.raises(ValueError, match="a norm among rms, max, and got 'value' and 'sup'"):
        sweep.series("nearest", 1, quantity="value", norm="sup")


def test_a_sweep_is_the_same_from_a_store(tmp_path, monkeypatch):
    alone = scaling_sweep(**SMALL, seeds=2)
    assert scaling_sweep(**SMALL, seeds=2, store=tmp_path) == alone
    assert len(list(tmp_path.iterdir())) == 8
    monkeypatch.delattr(scaling, "_interpolant_errors")
    assert scaling_sweep(**SMALL, seeds=2, store=tmp_path) == alone


def test_global_random_state_is_left_alone():
    def state():
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        return python, numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()

    before = state()
    methods = ["linear", "network with gradients"]
    scaling_sweep(methods=methods, dimensions=[1], points_counts=[8], seeds=2, steps=2, rng=0)
    assert state() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["spline"]}, "a method among nearest, linear, .*, and got 'spline'"),
        ({"methods": ["hermite"], "dimensions": [3]}, "from 1 to 2 for 'hermite', and got 3"),
        ({"dimensions": [5]}, "from 1 to 4 for 'nearest', and got 5"),
        ({"points_counts": [1]}, "a number of points as an integer of 2 or more"),
        ({"points_counts": [64.0]}, "a number of points as an integer"),
        ({"seeds": 1}, "seeds as an integer of 2 or more, and got 1"),
        ({"steps": 0}, "steps as an integer of 1 or more"),
        ({"design": "sobol"}, "a design among random, grid"),
        ({"design": "grid", "points_counts": [64, 63]}, "make a grid in 2-D, and got 63; try 64"),
        ({"design": "grid", "methods": ["network"]}, "expected design=\"random\" for 'network'"),
        ({"rng": -1}, "a seed of 0 or more"),
    ],
)
def test_sweeps_that_make_no_sense(changes, words):
    with pytest.raises(ValueError, match=words):
        scaling_sweep(**{**SMALL, **changes})


def test_a_sweep_needs_a_seed():
    with pytest.raises(TypeError, match="rng"):
        scaling_sweep(**{**SMALL, "rng": None})


# The stored study

STUDY = stored_study()
CURVES = sorted({scaling._curve(row) for row in STUDY.rows})
FEW = "the test box holds only 4 to 64 points, and the law has not set in"
SLIVERS = "nearly flat simplices, on which the gradient may be off by any amount"
SHAPES = (
    "the constant of the element depends on the shape of the triangle, and more of them are worse"
)
COARSE = "the grid has two to five cells over three sizes, and the law has not set in"
STEEPEST = (
    "the largest slope at few test points is below that in the box, and rises with their number"
)
EXCEPTIONS = {
    ("nearest", 4, "random", "gradient", "max"): STEEPEST,
    ("linear", 3, "random", "gradient", "max"): SLIVERS,
    ("linear", 4, "random", "gradient", "max"): SLIVERS,
    ("hermite", 2, "random", "gradient", "max"): SHAPES,
    ("linear", 4, "random", "value", "max"): FEW,
    ("taylor", 4, "random", "value", "max"): FEW,
    ("linear", 4, "grid", "gradient", "max"): COARSE,
}
LAWS = [
    (*curve, quantity, norm)
    for curve in CURVES
    if curve[0] not in scaling.NETWORKS
    for quantity in scaling.QUANTITIES
    for norm in scaling.NORMS
]


def stored_law(method, dimension, design, quantity, norm):
    counts, errors = STUDY.series(method, dimension, quantity=quantity, norm=norm, design=design)
    of_holes = norm == "max" and design == "random"
    return fit_power_law(effective_counts(counts, dimension) if of_holes else counts, errors)


def test_the_stored_study_is_what_the_code_makes(pytestconfig):
    table = load_table("scaling")
    if pytestconfig.pluginmanager.has_plugin("mutants"):
        pytest.skip("any deliberate error is a change of the code, so this test would see nothing")
    assert not is_stale(table), "the code has changed since; run `make studies`"
    assert table["settings"]["rng"] == 0
    assert table["settings"]["study"] == scaling.STUDY
    assert (resources.files("gradnotes") / "scaling.json").stat().st_size < 300_000


def test_the_stored_study_has_every_method_dimension_and_design():
    methods = {1: 4, 2: 4, 3: 3, 4: 3}
    for dimension, design in product(methods, scaling.DESIGNS):
        found = [m for m, d, g in CURVES if (d, g) == (dimension, design)]
        assert len(set(found) - set(scaling.NETWORKS)) == methods[dimension]
    assert {d for m, d, _ in CURVES if m == "network with gradients"} == {1, 2, 4}
    for row in STUDY.rows:
        seeds = 8 if row["method"] in scaling.NETWORKS else 16
        assert all(len(row[column]) == seeds for column in scaling.COLUMNS)


@pytest.mark.parametrize("wanted", LAWS, ids=lambda law: "-".join(map(str, law)))
def test_stored_exponents_are_those_of_theory(wanted):
    method, dimension, _, quantity, _ = wanted
    law, theory = stored_law(*wanted), expected_exponent(method, dimension, quantity)
    # A tenth of the exponent, for its deviation and for the half-width of its interval.
    allowed = 0.1 * abs(theory) or 0.02
    deviation, reach = abs(law.exponent - theory), law.interval[1] - law.exponent
    assert (max(deviation, reach) > allowed) == (wanted in EXCEPTIONS), (
        f"{law}, theory {theory:.3f}"
    )


def test_only_largest_errors_are_exceptions():
    assert all(norm == "max" for *_, norm in EXCEPTIONS)
    assert set(EXCEPTIONS) <= set(LAWS)


@pytest.mark.parametrize("dimension", [3, 4])
def test_slivers_keep_the_largest_gradient_error_from_falling(dimension):
    law = stored_law("linear", dimension, "random", "gradient", "max")
    assert law.interval[1] > -0.05
    assert stored_law("taylor", dimension, "random", "gradient", "max").interval[1] < -0.15


def test_the_largest_gradient_errors_are_on_flat_simplices():
    ranks = []
    for seed in range(3):
        generator, target = np.random.default_rng(seed), random_cosines(3, rng=seed)
        points = scaling._design("random", 3, 512, generator)
        chords = interpolate(points, target.value(points), method="linear")
        corners = points[chords.simplices]
        inside = (np.abs(corners - 0.5) < 0.25).all(axis=(1, 2))
        middles = corners.mean(axis=1)[inside]
        errors = np.linalg.norm(chords.gradient(middles) - target.gradient(middles), axis=1)
        edges = corners[inside, 1:] - corners[inside, :1]
        flatness = np.abs(np.linalg.det(edges)) / np.linalg.norm(edges, axis=2).max(axis=1) ** 3
        ranks.append((flatness < flatness[errors.argmax()]).mean())
    assert max(ranks) < 0.05


def test_networks_are_better_than_any_classical_method_and_follow_no_law():
    for dimension, count in ((1, 16), (2, 64), (4, 256)):
        counts, errors = STUDY.series("network", dimension, quantity="value")
        others, theirs = STUDY.series("taylor", dimension, quantity="value")
        ours = np.median(errors[counts == count])
        assert ours < 0.5 * np.median(theirs[others == max(count, 64)])
    for method, dimension in product(["network", "linear"], (1, 2, 4)):
        counts, errors = STUDY.series(method, dimension, quantity="value")
        steps = np.diff(np.log(errors).mean(axis=1)) / np.diff(np.log(counts))
        # A power law has the same exponent everywhere, but for chance.
        assert (steps.min() < 2 * steps.max()) == (method == "network")


@pytest.mark.parametrize("quantity", ["value", "gradient"])
@pytest.mark.parametrize(("dimension", "count"), [(1, 8), (2, 16), (2, 32), (4, 16), (4, 32)])
def test_true_gradients_help_a_network(dimension, count, quantity):
    medians = []
    for method in scaling.NETWORKS:
        counts, errors = STUDY.series(method, dimension, quantity=quantity)
        medians.append(np.median(errors[counts == count]))
    assert medians[1] < 0.5 * medians[0]


@pytest.mark.parametrize("method", scaling.NETWORKS)
def test_a_network_fitted_now_is_like_the_stored_ones(method):
    sweep = scaling_sweep(methods=[method], dimensions=[2], points_counts=[16, 32], seeds=8, rng=0)
    for quantity in scaling.QUANTITIES:
        _, live = sweep.series(method, 2, quantity=quantity)
        _, kept = STUDY.series(method, 2, quantity=quantity)
        ratio = np.median(live, axis=1) / np.median(kept[:2], axis=1)
        # Rounding differs between machines, and after many steps so may the weights.
        assert ((ratio > 0.25) & (ratio < 4.0)).all()


def test_a_slice_computed_now_agrees_with_the_stored_study():
    live = scaling_sweep(
        methods=["nearest", "linear", "taylor", "hermite"], dimensions=[1, 2],
        points_counts=[256, 1024], seeds=2, rng=0, progress=False,
    )  # fmt: skip
    assert check_against_study(live) == 8 * 2 * 4 * 2
    rows = copy.deepcopy(live.rows)
    rows[5]["gradient_max"][1] *= 1 + 1e-4
    with pytest.raises(ValueError, match=r"the gradient_max of .* is not that of the stored study"):
        check_against_study(ScalingSweep(rows=rows))


@pytest.mark.parametrize(
    "changes",
    [{"points_counts": [65]}, {"methods": ["network"], "points_counts": [16], "steps": 1}],
)
def test_what_the_study_does_not_have(changes):
    options = {
        "methods": ["nearest"],
        "dimensions": [2],
        "points_counts": [64],
        "seeds": 2,
        "rng": 0,
    }
    sweep = scaling_sweep(**{**options, **changes})
    with pytest.raises(ValueError, match="interpolants at sizes of the study"):
        check_against_study(sweep)


def test_more_seeds_than_stored_or_another_root_seed_do_not_agree():
    options = {"methods": ["nearest"], "dimensions": [3], "points_counts": [64]}
    for other in ({"seeds": 17, "rng": 0}, {"seeds": 2, "rng": 1}):
        with pytest.raises(ValueError, match="try rng=0 and at most 16 seeds"):
            check_against_study(scaling_sweep(**options, **other))


def test_the_command_stores_the_table_and_leaves_no_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"methods": ["nearest", "network"], "dimensions": [1], "points_counts": [16, 8]}
    monkeypatch.setattr(scaling, "STUDY", [{**small, "seeds": 2}])
    monkeypatch.setattr(joblib, "parallel_config", lambda **_: contextlib.nullcontext())
    scaling.main(tmp_path / "table.json")
    assert capsys.readouterr().out == "wrote table.json with 4 rows\n"
    table = load_table(tmp_path / "table.json")
    assert not is_stale(table)
    assert table["settings"]["study"] == scaling.STUDY
    full = scaling.study(progress=False)
    for kept, exact in zip(table["rows"], full.rows, strict=True):
        assert kept["value_max"] == pytest.approx(exact["value_max"], rel=1e-6)
        assert kept["value_max"] != exact["value_max"]
    assert list((tmp_path / "_build" / "studies").iterdir()) == []


# Effective numbers of points


def test_the_largest_hole_among_uniform_points():
    """In 1-D, the mean largest of n gaps of D points is near (ln n + 0.5772) / D."""
    counts = np.array([256, 4096])
    found = []
    for count in counts:
        gaps = np.random.default_rng(0).exponential(1 / count, (4000, count // 2)).max(axis=1)
        found.append(gaps.mean() - 0.5772 / count)
    np.testing.assert_allclose(found, 1 / effective_counts(counts, 1), rtol=0.02)
    with pytest.raises(ValueError, match="expected more than 43 points in 4-D"):
        effective_counts([16, 64], 4)
