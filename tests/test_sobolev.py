"""Sobolev training: scaled targets, what a sweep fits, comparisons over seeds, and the study."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from gradnotes import sobolev, targets
from gradnotes.fitting import fit
from gradnotes.kriging import krige
from gradnotes.networks import MLP
from gradnotes.sobolev import (
    CONDITIONS,
    FUNCTIONS,
    SobolevSweep,
    check_against_study,
    named_target,
    paired_ratio,
    points_needed,
    scale_target,
    sobolev_sweep,
    stored_study,
    wrong_field,
)
from gradnotes.sweeps import cell_generator, is_stale, load_table


def sweep(**changed):
    settings = {
        "targets": ["booth"],
        "learners": ["tanh"],
        "data": ["gradients"],
        "points_counts": [10],
        "seeds": 2,
        "rng": 3,
    }
    return sobolev_sweep(**{**settings, **changed})


# Targets


def test_a_quadratic_is_scaled_by_its_exact_moments():
    """Of Booth's function all the integrals are known; the midpoints are off by 1/64 squared."""

    def moment(power):
        def at(y, x):
            return ((x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2) ** power

        return integrate.dblquad(at, -10, 10, -10, 10, epsabs=1e-6)[0] / 400

    mean, scaled = moment(1), named_target("booth")
    deviation = (moment(2) - mean**2) ** 0.5
    # The gradient is [10x + 8y - 34, 8x + 10y - 38], and x^2 has the mean 100/3.
    square = 2 * (100 + 64) * 100 / 3 + 34**2 + 38**2
    assert scaled.mean == pytest.approx(mean, rel=1e-3)
    assert scaled.deviation == pytest.approx(deviation, rel=1e-3)
    want = 100 * square / deviation**2
    assert scaled.mean_square_gradient == pytest.approx(want, rel=2e-3)


@pytest.mark.parametrize("name", [*FUNCTIONS, "ackley_2", "bukin_flank", "cosines_4", "cosines_1"])
def test_scaled_targets_have_mean_zero_variance_one_and_the_right_slopes(name):
    scaled = named_target(name, seed=1)
    at = scaled.test_points
    assert at.shape == (4096, len(scaled.centre))
    assert np.abs(at).max() <= 1
    assert abs(at.mean()) < 1e-3
    assert scaled.value(at).mean() == pytest.approx(0, abs=1e-10)
    assert scaled.value(at).std() == pytest.approx(1)
    square = np.square(scaled.gradient(at)).sum(axis=1).mean()
    assert scaled.mean_square_gradient == pytest.approx(square)
    inner, h = 0.9 * at[::97], 1e-6
    for k, step in enumerate(h * np.eye(at.shape[1])):
        quotient = (scaled.value(inner + step) - scaled.value(inner - step)) / (2 * h)
        np.testing.assert_allclose(scaled.gradient(inner)[:, k], quotient, rtol=1e-3, atol=1e-3)


def test_relative_errors_are_0_for_the_target_and_known_for_others():
    scaled = named_target("rosenbrock")
    assert scaled.relative_errors(scaled.value, scaled.gradient) == (0.0, 0.0)
    errors = scaled.relative_errors(
        lambda t: scaled.value(t) + 0.25, lambda t: 3 * scaled.gradient(t)
    )
    assert errors == pytest.approx((0.25, 2.0))


def test_boxes_of_names():
    for name, low, high in (
        ("ackley_2", [3, 3], [5, 5]),
        ("ackley_0.5", [4.5, 4.5], [5, 5]),
        ("bukin_flank", [-15, -3], [-5, 0]),
        ("cosines_3", [0, 0, 0], [1, 1, 1]),
    ):
        scaled = named_target(name)
        assert (scaled.centre - scaled.half_width).tolist() == low
        assert (scaled.centre + scaled.half_width).tolist() == high
    waves = [named_target("cosines_2", seed=s, rng=r).target for s, r in ((0, 0), (1, 0), (0, 1))]
    assert len({w.phases.tobytes() for w in waves}) == 3
    # The valley of Bukin's function is above the flank, everywhere.
    assert np.abs(named_target("bukin_flank").gradient(np.array([[1.0, 1.0]]))).max() < 10


def test_the_mean_square_gradient_of_bukin_depends_on_the_points(monkeypatch):
    sizes = []
    for per_axis in (32, 64, 256, 1024):
        monkeypatch.setattr(sobolev, "PER_AXIS", per_axis)
        sizes.append([named_target(name).mean_square_gradient for name in ("bukin", "bukin_flank")])
    kinked, flank = np.array(sizes).T
    assert (np.diff(kinked[1:]) > 0.05 * kinked[1]).all()
    assert np.ptp(flank) < 0.02 * flank[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ackely", "expected a target among styblinski_tang"),
        ("ackley_11", "got 'ackley_11'"),
        ("ackley_0", "got 'ackley_0'"),
        ("ackley_x", "try ackley_2"),
        ("cosines_0", "got 'cosines_0'"),
        ("cosines", "cosines_8"),
    ],
)
def test_names_that_are_none(name, words):
    with pytest.raises(ValueError, match=words):
        named_target(name)


def test_targets_that_cannot_be_scaled():
    with pytest.raises(ValueError, match="not constant"):
        scale_target(targets.zero())
    with pytest.raises(ValueError, match="finite domain"):
        scale_target(targets.zero((0, np.inf)))
    with pytest.raises(ValueError, match="low < high"):
        scale_target(targets.booth(), [(1, 0), (0, 1)])


# The task


def by_hand(scaled, seed, count, rng, data="gradients", weight=1.0, noise=(0.0, 0.0), added=0.0):
    """The same fit with the plain pieces."""
    points = cell_generator(rng, dimension=2, seed=seed).random((count, 2)) * 2 - 1
    draws = cell_generator(rng, noise=2, seed=seed).standard_normal((count, 3))
    size = scaled.mean_square_gradient**0.5
    values = scaled.value(points) + noise[0] * draws[:, 0]
    slopes = scaled.gradient(points) + noise[1] * size / np.sqrt(2) * draws[:, 1:] + added
    start = cell_generator(rng, network="tanh", seed=seed)
    model = MLP(2, (20, 20), domain=[(-1, 1)] * 2, rng=start)
    options = {} if data == "values" else {"gradients": slopes, "gradient_weight": weight / size**2}
    options |= {"directions": 1} if data == "projections" else {}
    fitted = fit(model, points, values, steps=200, rng=start, **options).model
    ours, our_slopes = fitted.value_and_gradient(torch.from_numpy(scaled.test_points))
    off = our_slopes.numpy() - scaled.gradient(scaled.test_points)
    value = np.sqrt(np.mean((ours.numpy() - scaled.value(scaled.test_points)) ** 2))
    return value, np.sqrt((off**2).sum(axis=1).mean()) / size


@pytest.mark.parametrize("data", sobolev.DATA)
def test_a_sweep_fits_what_it_says(data):
    rows = sweep(data=[data], seeds=3)
    scaled = named_target("booth")
    for seed in range(3):
        value, gradient = by_hand(scaled, seed, 10, 3, data)
        for quantity, want in (("value", value), ("gradient", gradient)):
            found = rows.errors("booth", "tanh", data, 10, quantity=quantity)
            assert found.shape == (3,)
            assert found[seed] == pytest.approx(want, rel=1e-3)


def test_weight_and_noise_and_fields_are_what_they_say(monkeypatch):
    scaled = named_target("booth")
    options = {"weight": 7.0, "value_noise": 0.2, "gradient_noise": 0.4}
    rows = sweep(**options)
    want = by_hand(scaled, 1, 10, 3, weight=7.0, noise=(0.2, 0.4))
    found = [
        rows.errors("booth", "tanh", "gradients", 10, quantity=q, **options)[1]
        for q in ("value", "gradient")
    ]
    assert found == pytest.approx(want, rel=1e-2)
    rows = sweep(field="curl", field_size=0.3)
    points = cell_generator(3, dimension=2, seed=0).random((10, 2)) * 2 - 1
    added = 0.3 * scaled.mean_square_gradient**0.5 * wrong_field("curl", points)
    want = by_hand(scaled, 0, 10, 3, added=added)
    found = rows.errors("booth", "tanh", "gradients", 10, field="curl", field_size=0.3)[0]
    assert found == pytest.approx(want[0], rel=1e-2)


def test_noise_has_the_size_that_it_should():
    draws = np.concatenate(
        [cell_generator(0, noise=2, seed=s).standard_normal((500, 3)) for s in range(8)]
    )
    assert draws[:, 0].std() == pytest.approx(1, abs=0.05)
    length = np.sqrt((draws[:, 1:] ** 2).sum(axis=1).mean() / 2)
    assert length == pytest.approx(1, abs=0.05)


def test_kriging_gets_the_same_points():
    rows = sweep(learners=["kriging"], data=["values", "gradients"])
    scaled = named_target("booth")
    points = cell_generator(3, dimension=2, seed=0).random((10, 2)) * 2 - 1
    for data, slopes in (("values", None), ("gradients", scaled.gradient(points))):
        model = krige(points, scaled.value(points), slopes)
        want = scaled.relative_errors(model.value, model.gradient)
        for quantity, number in zip(("value", "gradient"), want, strict=True):
            found = rows.errors("booth", "kriging", data, 10, quantity=quantity)
            assert found[0] == pytest.approx(number, rel=1e-6)


def test_relu_networks_are_fitted_by_adam(monkeypatch):
    monkeypatch.setitem(sobolev.STEPS, "relu", 20)
    seen = []
    plain = sobolev.fit

    def spy(model, *data, **options):
        seen.append((model.hidden, model.activation, options["method"], options["steps"]))
        return plain(model, *data, **options)

    monkeypatch.setattr(sobolev, "fit", spy)
    rows = sweep(learners=["relu"], data=["values", "gradients"])
    assert set(seen) == {((256, 256), "relu", "adam", 20)}
    assert rows.errors("booth", "relu", "gradients", 10, quantity="loss").max() < 10


def test_wrong_fields_are_equally_long_and_one_is_orthogonal_to_gradients():
    axis = (np.arange(400) + 0.5) / 200 - 1
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    along, across = (wrong_field(field, points) for field in ("gradient", "curl"))
    np.testing.assert_allclose(
        np.linalg.norm(along, axis=1), np.linalg.norm(across, axis=1), atol=1e-12
    )
    assert np.square(across).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
    assert np.abs((along * across).sum(axis=1)).max() < 1e-12
    x, y = points.T
    for slopes in ([np.exp(x + 2 * y), 2 * np.exp(x + 2 * y)], [2 * x * y**3, 3 * x**2 * y**2]):
        products = [np.mean(q[:, 0] * slopes[0] + q[:, 1] * slopes[1]) for q in (along, across)]
        assert abs(products[1]) < 1e-4
    edge = np.array([[1.0, 0.3], [-1.0, 0.3], [0.3, 1.0], [0.3, -1.0]])
    normal = np.abs(edge) == 1
    assert np.abs(wrong_field("curl", edge)[normal]).max() < 1e-12
    h, inner = 1e-6, 0.9 * points[::1001]
    divergence = sum(
        (wrong_field("curl", inner + step) - wrong_field("curl", inner - step))[:, k] / (2 * h)
        for k, step in enumerate(h * np.eye(2))
    )
    assert np.abs(divergence).max() < 1e-8
    for k, step in enumerate(h * np.eye(2)):
        potential = [
            2**1.5 / np.pi * np.cos(np.pi / 2 * a[:, 0]) * np.cos(np.pi / 2 * a[:, 1])
            for a in (inner + step, inner - step)
        ]
        quotient = (potential[0] - potential[1]) / (2 * h)
        np.testing.assert_allclose(wrong_field("gradient", inner)[:, k], quotient, atol=1e-6)


def test_points_for_more_begin_with_the_points_for_fewer():
    few, many = (cell_generator(0, dimension=2, seed=5).random((count, 2)) for count in (20, 60))
    assert (many[:20] == few).all()


def test_a_sweep_is_resumed_from_its_store(tmp_path):
    first = sweep(store=tmp_path)
    assert sweep(store=tmp_path).rows == first.rows
    assert len(list(tmp_path.iterdir())) == 1
    assert sweep().rows == first.rows


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"targets": ["boot"]}, "got 'boot'"),
        ({"learners": ["forest"]}, "a learner among tanh, small, relu, kriging, and got 'forest'"),
        ({"data": ["hessians"]}, "data among values, gradients, projections, and got 'hessians'"),
        ({"field": "wind"}, "a field among none, gradient, curl, and got 'wind'"),
        ({"learners": ["kriging"], "data": ["projections"]}, "networks for projections"),
        ({"targets": ["cosines_4"], "field": "curl"}, "two variables for a field"),
        ({"points_counts": [1]}, "a number of points as an integer of 2 or more"),
        ({"seeds": 1}, "seeds as an integer of 2 or more"),
        ({"weight": 0.0}, "weight as a finite number above 0"),
        ({"value_noise": -1.0}, "value_noise as a finite number of 0 or more"),
        ({"gradient_noise": np.inf}, "gradient_noise as a finite number"),
        ({"field_size": np.nan}, "field_size as a finite number"),
        ({"rng": -1}, "a seed of 0 or more"),
    ],
)
def test_settings_that_make_no_sense(changed, words):
    with pytest.raises(ValueError, match=words):
        sweep(**changed)


def test_settings_that_a_sweep_does_not_have():
    rows = sweep(learners=["kriging"])
    for wanted, options in (
        (("ackley", "kriging", "gradients", 10), {}),
        (("booth", "kriging", "gradients", 11), {}),
        (("booth", "kriging", "gradients", 10), {"weight": 2.0}),
        (("booth", "kriging", "gradients", 10), {"quantity": "hessian"}),
        (("booth", "kriging", "gradients", 10), {"colour": 1}),
    ):
        with pytest.raises(ValueError, match="expected a setting and a quantity of the sweep"):
            rows.errors(*wanted, **options)
    with pytest.raises(ValueError, match=r"expected points of shape"):
        wrong_field("curl", np.ones(3))
    with pytest.raises(ValueError, match="a field among gradient, curl"):
        wrong_field("none", np.ones((1, 2)))


# Comparisons


def test_a_paired_ratio_against_the_formula():
    generator = np.random.default_rng(1)
    a, b = np.exp(generator.normal(size=(2, 9)))
    found, logs = paired_ratio(a, b), np.log(a / b)
    reach = stats.t.ppf(0.975, 8) * logs.std(ddof=1) / 3
    assert found.ratio == pytest.approx(np.exp(logs.mean()))
    assert found.interval == pytest.approx(tuple(np.exp(logs.mean() + reach * np.array([-1, 1]))))
    assert found.wins == (a > b).sum()
    assert found.seeds == 9
    turned = paired_ratio(b, a)
    assert turned.ratio == pytest.approx(1 / found.ratio)
    assert turned.interval[0] == pytest.approx(1 / found.interval[1])


def test_intervals_of_ratios_hold_as_often_as_they_say():
    generator, held = np.random.default_rng(2), 0
    for _ in range(400):
        common = np.exp(3 * generator.normal(size=8))
        a = 2 * common * np.exp(generator.normal(size=8))
        low, high = paired_ratio(a, common).interval
        held += low <= 2 <= high
    assert 0.92 < held / 400 < 0.98


def test_equal_ratios_have_no_width():
    found = paired_ratio([2.0, 4.0], [1.0, 2.0])
    assert found.interval == pytest.approx((2.0, 2.0))
    assert str(found) == "2.00 [2.00, 2.00]"


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (([1.0], [1.0]), "2 seeds or more"),
        (([1.0, 2.0], [1.0, 2.0, 3.0]), r"got \(2,\) and \(3,\)"),
        (([1.0, 0.0], [1.0, 2.0]), "finite errors above 0"),
        (([1.0, np.nan], [1.0, 2.0]), "finite errors above 0"),
        (([[1.0, 2.0]], [[1.0, 2.0]]), "one shape"),
    ],
)
def test_pairs_that_are_none(pair, words):
    with pytest.raises(ValueError, match=words):
        paired_ratio(*pair)


def test_points_needed_on_a_power_law_are_exact():
    counts = np.array([10, 20, 40, 80])
    errors = np.array([3.0, 5.0]) * counts[:, None] ** -2.0
    wanted = np.array([25.0, 63.0])
    found = points_needed(counts, errors, np.array([3.0, 5.0]) * wanted**-2.0)
    np.testing.assert_allclose(found, wanted)
    assert points_needed(counts, errors, errors[0] * 2).tolist() == [-np.inf] * 2
    assert points_needed(counts, errors, errors[-1] / 2).tolist() == [np.inf] * 2
    np.testing.assert_allclose(points_needed(counts, errors, errors[2]), 40)


def test_points_needed_takes_the_first_crossing():
    found = points_needed([1, 2, 4, 8], [[4.0], [1.0], [3.0], [0.1]], [2.0])
    assert found[0] == pytest.approx(2**0.5)
    for arguments in (([1, 2], [[1.0]], [1.0]), ([1, 2], [[1.0], [2.0]], [1.0, 2.0])):
        with pytest.raises(ValueError, match=r"expected shapes \(k,\), \(k, S\) and \(S,\)"):
            points_needed(*arguments)


# The study


def test_the_stored_study_is_that_of_the_code():
    table = load_table("sobolev")
    assert not is_stale(table)
    assert table["settings"]["study"] == sobolev.STUDY
    cells = [cell for part in sobolev.STUDY for cell in sobolev._cells(**part, seeds=8, rng=0)]
    wanted = {sobolev._head({**CONDITIONS, **cell}) for cell in cells}
    assert {sobolev._head(row) for row in table["rows"]} == wanted
    for row in table["rows"]:
        for column in ("value", "gradient", "loss"):
            assert len(row[column]) == 8


def test_a_part_computed_anew_agrees_with_the_study():
    live = sweep(
        targets=["booth", "mccormick"],
        learners=["tanh", "kriging"],
        data=["values", "gradients"],
        seeds=8,
        rng=0,
    )
    assert check_against_study(live) == 16


def test_what_does_not_agree_with_the_study_is_refused():
    study = stored_study()
    row = next(r for r in study.rows if r["learner"] == "tanh" and r["points_count"] == 10)
    assert check_against_study(SobolevSweep(rows=(row,))) == 2
    for change, words in (
        ({"value": [2 * v for v in row["value"]]}, "the value error of"),
        ({"gradient": [v / 2 for v in row["gradient"]]}, "the gradient error of"),
        ({"points_count": 11}, "expected settings of the study"),
        ({"value": row["value"][:4]}, "with 4"),
    ):
        with pytest.raises(ValueError, match=words):
            check_against_study(SobolevSweep(rows=({**row, **change},)))


def test_the_study_is_made_and_stored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # or this would wait for other processes to start
    part = sobolev._part(["booth"], ["kriging"], ["values"], [5])
    monkeypatch.setattr(sobolev, "STUDY", [part])
    sobolev.main(tmp_path / "small.json")
    table = load_table(tmp_path / "small.json")
    assert len(table["rows"]) == 1
    assert "wrote small.json with 1 rows" in capsys.readouterr().out
