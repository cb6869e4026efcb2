import copy

import numpy as np
import pytest
import sympy as sp
import torch

from gradnotes.gaps import estimate_gaps, measure_gaps, residual
from gradnotes.interpolants import interpolate
from gradnotes.networks import MLP
from gradnotes.targets import Target

torch.set_num_threads(1)

X, Y = sp.symbols("x y", real=True)
SQUARE = [(-2.0, 2.0), (-2.0, 2.0)]
ZERO = Target(sp.Integer(0), (X, Y), SQUARE)
WAVE = Target(sp.sin(X) * sp.exp(Y / 2), (X, Y), SQUARE)
POINTS = np.random.default_rng(8).uniform(-2.0, 2.0, (9, 2))


class Mapping(torch.nn.Module):
    """A module without parameters that applies a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, points):
        return self.function(points)


def layers(*middle, dtype=torch.float64):
    first = torch.nn.utils.skip_init(torch.nn.Linear, 2, 3, dtype=dtype)
    last = torch.nn.utils.skip_init(torch.nn.Linear, 3, 1, dtype=dtype)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.5], [-0.25, 2.0], [0.75, -1.0]]))
        first.bias.copy_(torch.tensor([0.5, -0.25, 0.125]))
        last.weight.copy_(torch.tensor([[1.5, -0.5, 0.25]]))
        last.bias.fill_(0.25)
    return torch.nn.Sequential(first, *middle, last)


LAYERS_AS_TARGET = Target(
    sp.Rational(3, 2) * sp.tanh(X + Y / 2 + sp.Rational(1, 2))
    - sp.tanh(-X / 4 + 2 * Y - sp.Rational(1, 4)) / 2
    + sp.tanh(3 * X / 4 - Y + sp.Rational(1, 8)) / 4
    + sp.Rational(1, 4),
    (X, Y),
    SQUARE,
)


def test_closed_form_of_both_norms():
    target = Target(3 * X + 4 * Y**2, (X, Y), SQUARE)
    points = [[0.0, 0.0], [1.0, 1.0], [-1.0, 0.5], [0.0, -1.0]]
    # r = 0, 7, -2, 4 and |grad r|^2 = 9, 9 + 64, 9 + 16, 9 + 64
    rms = measure_gaps(ZERO, target, points)
    assert rms.value == pytest.approx(np.sqrt(69 / 4), rel=1e-15)
    assert rms.gradient == pytest.approx(np.sqrt(180 / 4), rel=1e-15)
    assert (rms.norm, rms.method, rms.dtype, rms.points_count) == ("rms", "exact", "float64", 4)
    largest = measure_gaps(ZERO, target, points, norm="max")
    assert largest.value == 7.0
    assert largest.gradient == pytest.approx(np.sqrt(73), rel=1e-15)
    assert largest.norm == "max"
    assert measure_gaps(target, ZERO, points, norm="max").value == 7.0


def test_the_residual_is_target_minus_model():
    values, gradients = residual(ZERO, WAVE, POINTS)
    np.testing.assert_array_equal(values, WAVE.value(POINTS))
    np.testing.assert_array_equal(gradients, WAVE.gradient(POINTS))
    swapped = residual(WAVE, ZERO, POINTS)
    np.testing.assert_array_equal(swapped[0], -values)
    np.testing.assert_array_equal(swapped[1], -gradients)


def test_a_network_against_its_own_formula():
    model = layers(torch.nn.Tanh())
    gaps = measure_gaps(model, LAYERS_AS_TARGET, POINTS, norm="max")
    assert gaps.value < 1e-14
    assert gaps.gradient < 1e-14
    assert (gaps.method, gaps.dtype) == ("autograd", "float64")
    assert type(gaps.value) is float


def test_a_module_is_evaluated_in_its_own_dtype():
    gaps = measure_gaps(layers(torch.nn.Tanh(), dtype=torch.float32), LAYERS_AS_TARGET, POINTS)
    assert gaps.dtype == "float32"
    assert 1e-9 < gaps.value < 1e-6
    assert 1e-9 < gaps.gradient < 1e-6
    both = measure_gaps(layers(torch.nn.Tanh(), dtype=torch.float32), MLP(2, (3,), rng=0), POINTS)
    assert both.dtype == "float32 and float64"
    assert measure_gaps(MLP(2, (3,), rng=0).float(), WAVE, POINTS).dtype == "float32"


@pytest.mark.parametrize("norm", ["rms", "max"])
def test_an_ensemble_gives_the_gaps_of_its_members(norm):
    model = MLP(2, (4,), members=3, rng=1)
    gaps = measure_gaps(model, WAVE, POINTS, norm=norm)
    singles = [measure_gaps(model.member(s), WAVE, POINTS, norm=norm) for s in range(3)]
    np.testing.assert_allclose(gaps.value, [g.value for g in singles], rtol=1e-13)
    np.testing.assert_allclose(gaps.gradient, [g.gradient for g in singles], rtol=1e-13)
    assert gaps.value.shape == (3,)
    assert gaps.points_count == 9


def test_two_ensembles_are_compared_member_by_member():
    first, second = MLP(2, (4,), members=3, rng=1), MLP(2, (5,), members=3, rng=2)
    values, gradients = residual(first, second, POINTS)
    expected = residual(first.member(2), second.member(2), POINTS)
    np.testing.assert_allclose(values[2], expected[0], atol=1e-14)
    np.testing.assert_allclose(gradients[2], expected[1], atol=1e-14)
    with pytest.raises(ValueError, match=r"ensembles of one length, and got \[2, 3\]"):
        residual(first, MLP(2, (4,), members=2, rng=0), POINTS)


def test_rows_and_columns_and_modules_without_parameters():
    flat = Mapping(lambda p: p[:, 0] ** 2 * p[:, 1])
    column = Mapping(lambda p: (p[:, 0] ** 2 * p[:, 1])[:, None])
    target = Target(X**2 * Y, (X, Y), SQUARE)
    for module in (flat, column):
        gaps = measure_gaps(module, target, torch.from_numpy(POINTS), norm="max")
        assert gaps.value < 1e-15
        assert gaps.gradient < 1e-15
        assert gaps.dtype == "float64"


def test_the_module_is_left_as_it_was():
    model = layers(torch.nn.BatchNorm1d(3, dtype=torch.float64), torch.nn.Dropout(0.5)).eval()
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    measure_gaps(model, WAVE, POINTS)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 5
    assert (model[3].weight.grad == 1.0).all()
    assert model[0].bias.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert layers(torch.nn.Tanh()).training
    measure_gaps(layers(torch.nn.Tanh()), WAVE, POINTS)


class Centred(torch.nn.Module):
    def forward(self, points):
        return (points - points.mean(0)).sum(1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (layers(torch.nn.BatchNorm1d(3, dtype=torch.float64)), r"statistics.*try model\.eval\(\)"),
        (
            layers(torch.nn.BatchNorm1d(3, track_running_stats=False, dtype=torch.float64)).eval(),
            "track_running_stats=True",
        ),
        (layers(torch.nn.Dropout(0.1)), r"Dropout draws random numbers.*try model\.eval\(\)"),
        (Centred(), "Centred gives other values for the same points in a smaller batch"),
        (Mapping(lambda p: p.cumsum(0).sum(1)), "in a smaller batch"),
        (Mapping(lambda p: (p - p[:1]).sum(1)), "in a smaller batch"),
        (Mapping(lambda p: torch.arange(1.0, len(p) + 1) * p.sum(1)), "in a smaller batch"),
        (Mapping(lambda p: p.sort(0).values.sum(1)), "in a smaller batch"),
        (Mapping(lambda p: p.sum(1) + 1e-12 * torch.randn(len(p))), "Mapping draws random numbers"),
        (Mapping(lambda p: torch.nn.functional.dropout(p, 0.01).sum(1)), "draws random numbers"),
        (Mapping(lambda p: p.data.mul_(2.0).sum(1) + p.sum(1)), r"in place; try points\.clone\(\)"),
        (torch.nn.Linear(3, 1, dtype=torch.float64), r"cannot take points of shape \(9, 2\).*2 in"),
        (Mapping(lambda p: p), r"maps \(9, 2\) to \(9,\) or \(9, 1\), and got \(9, 2\)"),
        (Mapping(lambda p: p.sum()), r"and got \(\); try a module with one output"),
        (Mapping(lambda p: 3.0), "and got float"),
        (Mapping(lambda p: p.detach().sum(1)), "without a gradient; try a forward without detach"),
        (Mapping(lambda p: p.sum(1).log()), "infinite or NaN"),
    ],
)
def test_modules_that_would_give_wrong_numbers_are_refused(model, words):
    with pytest.raises(ValueError, match=words):
        measure_gaps(model, WAVE, POINTS)


def test_a_random_module_draws_nothing_from_the_global_generator():
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="draws random numbers"):
        measure_gaps(Mapping(lambda p: torch.randn(len(p))), WAVE, POINTS)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_point_is_enough():
    gaps = measure_gaps(Mapping(lambda p: p[:, 0] * p[:, 1]), ZERO, [[0.5, -2.0]])
    assert gaps.value == 1.0
    assert gaps.gradient == pytest.approx(np.sqrt(4.25), rel=1e-15)


class WithShortcut(torch.nn.Module):
    """A reader's module: float32, a residual connection, dropout, normalisation."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = (
            torch.nn.utils.skip_init(torch.nn.Linear, *shape) for shape in ((2, 8), (8, 8), (8, 1))
        )
        self.dropout, self.normalise = torch.nn.Dropout(0.5), torch.nn.LayerNorm(8)
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))

    def forward(self, points):
        hidden = torch.tanh(self.first(points))
        hidden = hidden + self.dropout(torch.tanh(self.middle(self.normalise(hidden))))
        return self.last(hidden)


def test_a_readers_module_goes_through_unchanged():
    model = WithShortcut().eval()
    twin = copy.deepcopy(model).double()
    for points in (POINTS, POINTS[:1]):
        values, gradients = residual(model, WAVE, points)
        assert values.shape == (len(points),)
        inputs = torch.from_numpy(points).requires_grad_(True)
        outputs = twin(inputs)[:, 0]
        (slopes,) = torch.autograd.grad(outputs.sum(), inputs)
        np.testing.assert_allclose(values, WAVE.value(points) - outputs.detach().numpy(), atol=2e-6)
        np.testing.assert_allclose(gradients, WAVE.gradient(points) - slopes.numpy(), atol=1e-5)
        assert measure_gaps(model, WAVE, points).dtype == "float32"
    gaps = estimate_gaps(model, WAVE, points_count=256, rng=0)
    assert (gaps.dtype, gaps.method) == ("float32", "autograd")
    with pytest.raises(ValueError, match="Dropout draws random numbers"):
        measure_gaps(model.train(), WAVE, POINTS)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("make", [lambda: layers(torch.nn.Tanh()), lambda: MLP(2, (3,), rng=0)])
def test_parameters_that_are_not_finite_are_refused(make, bad):
    model = make()
    with torch.no_grad():
        next(model.parameters())[0, 0] = bad
    with pytest.raises(ValueError, match=r"finite parameters in (Sequential|MLP).*or NaN; try a"):
        measure_gaps(model, WAVE, POINTS)


def test_modules_without_data_or_on_two_devices_are_refused():
    with pytest.raises(TypeError, match=r"Sequential on one device with data, and got meta; try"):
        measure_gaps(layers(torch.nn.Tanh()).to("meta"), WAVE, POINTS)
    model = layers(torch.nn.Tanh())
    model[2] = model[2].to("meta")
    with pytest.raises(TypeError, match="and got cpu, meta"):
        measure_gaps(model, WAVE, POINTS)


EXPONENTIAL = Target(sp.exp(X) * Y**2, (X, Y), [(0.0, 1.0), (-1.0, 2.0)])
NOTHING = Target(sp.Integer(0), (X, Y), EXPONENTIAL.domain)


def root_of_mean_square(*parts):
    total = sum(part**2 for part in parts)
    return float(sp.sqrt(sp.integrate(total, (X, 0, 1), (Y, -1, 2)) / 3))


def test_the_interval_of_a_root_mean_square_holds_the_exact_one_19_times_in_20():
    formula = EXPONENTIAL.expression
    exact = (root_of_mean_square(formula), root_of_mean_square(formula.diff(X), formula.diff(Y)))
    found = [estimate_gaps(NOTHING, EXPONENTIAL, points_count=1024, rng=s) for s in range(200)]
    for interval, gap, value in zip(
        ("value_interval", "gradient_interval"), ("value", "gradient"), exact, strict=True
    ):
        ends = np.array([getattr(gaps, interval) for gaps in found])
        held = ((ends[:, 0] <= value) & (value <= ends[:, 1])).sum()
        # 190 are expected, with a standard deviation of 3.1.
        assert 180 <= held <= 199
        assert np.median(ends[:, 1] - ends[:, 0]) < 0.015 * value
        assert abs(np.mean([getattr(gaps, gap) for gaps in found]) - value) < 0.002 * value


def test_more_points_give_a_narrower_interval_faster_than_independent_ones():
    widths = []
    for points_count in (2**8, 2**14):
        ends = [
            estimate_gaps(NOTHING, EXPONENTIAL, points_count=points_count, rng=s).value_interval
            for s in range(8)
        ]
        widths.append(np.median([high - low for low, high in ends]))
    # Independent points would gain a factor of 8, and begin wider.
    assert widths[0] / widths[1] > 24
    square, fourth = (root_of_mean_square(EXPONENTIAL.expression**k) for k in (1, 2))
    independent = 2 * 1.96 * (fourth**2 - square**4) ** 0.5 / 2**4 / (2 * square)
    assert widths[0] < independent / 3


def test_an_estimate_for_an_ensemble_is_that_of_its_members():
    model = MLP(2, (4,), members=3, domain=EXPONENTIAL.domain, rng=1)
    gaps = estimate_gaps(model, EXPONENTIAL, points_count=64, rng=5)
    assert gaps.gradient_interval.shape == (3, 2)
    for s in range(3):
        single = estimate_gaps(model.member(s), EXPONENTIAL, points_count=64, rng=5)
        assert single.value == pytest.approx(gaps.value[s], rel=1e-13)
        assert single.gradient_interval == pytest.approx(tuple(gaps.gradient_interval[s]))
        low, high = single.value_interval
        assert low < single.value < high
    assert (gaps.points_count, gaps.sampling) == (64, "scrambled Sobol points")
    assert gaps.method == "exact"


@pytest.mark.parametrize(("asked", "got"), [(1, 16), (16, 16), (17, 32), (1000, 1024)])
def test_the_number_of_points_is_rounded_up(asked, got):
    assert estimate_gaps(NOTHING, EXPONENTIAL, points_count=asked, rng=0).points_count == got


def test_a_maximum_over_a_domain_is_that_of_a_grid():
    for asked, got in ((1, 4), (4, 4), (5, 9), (100, 100), (1000, 32**2)):
        gaps = estimate_gaps(NOTHING, EXPONENTIAL, norm="max", points_count=asked)
        assert (gaps.points_count, gaps.sampling, gaps.norm) == (got, "grid", "max")
        assert gaps.value == pytest.approx(4 * np.e, rel=1e-15)
        assert gaps.value_interval is None
        assert gaps.gradient_interval is None
    three = Target(sp.Symbol("a", real=True), sp.symbols("a b c", real=True), [(0, 1)] * 3)
    assert estimate_gaps(three, three, norm="max", points_count=1000).points_count == 1000


def test_the_domain_is_the_targets_unless_it_is_given():
    model = MLP(2, (3,), rng=0)
    options = {"norm": "max", "points_count": 4}
    whole = estimate_gaps(ZERO, WAVE, **options)
    assert whole.value == pytest.approx(np.sin(2) * np.e, rel=1e-14)
    part = estimate_gaps(ZERO, WAVE, [(0, 1), (-2, 0)], **options)
    assert part.value == pytest.approx(np.sin(1), rel=1e-14)
    swapped = estimate_gaps(WAVE, model, **options)
    assert swapped.value == pytest.approx(estimate_gaps(model, WAVE, **options).value)
    line = Mapping(lambda p: 3.0 * p[:, 0])
    assert estimate_gaps(line, MLP(1, (2,), rng=0), (0, 1), **options).points_count == 4
    with pytest.raises(ValueError, match="a domain, since no side is a Target; try domain="):
        estimate_gaps(model, line, rng=0)
    for domain in ([(0, 1)], [(0, 1), (2, 2)], [(0, 1), (0, np.inf)], "ab", 3):
        with pytest.raises(ValueError, match=r"a domain of 2 finite pairs.*try domain=\[\(0, 1"):
            estimate_gaps(model, WAVE, domain, rng=0)
    endless = Target(X, (X,), [(0, sp.oo)])
    with pytest.raises(ValueError, match="a domain of 1 finite pairs"):
        estimate_gaps(endless, endless, rng=0)


def test_an_estimate_needs_a_seed_and_repeats_itself():
    first, again, other = (
        estimate_gaps(NOTHING, EXPONENTIAL, points_count=64, rng=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with pytest.raises(TypeError, match=r"estimate_gaps needs rng=.*try rng=0"):
        estimate_gaps(NOTHING, EXPONENTIAL)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    for count in (0, -5, 2.5, True, None):
        with pytest.raises(ValueError, match="expected points_count"):
            estimate_gaps(NOTHING, EXPONENTIAL, points_count=count, rng=0)
    with pytest.raises(ValueError, match="among rms, max, and got 'mean'"):
        estimate_gaps(NOTHING, EXPONENTIAL, norm="mean", rng=0)


@pytest.mark.parametrize("model", [MLP(1, (3,), rng=0), Target(X, X, (-2, 2))], ids=["MLP", "1D"])
def test_functions_of_other_widths_are_refused(model):
    for points in (POINTS, POINTS[:, :1]):
        with pytest.raises(ValueError, match=r"got 1 for the model and 2 .* try MLP\(2, \.\.\.\)"):
            measure_gaps(model, WAVE, points)


def test_wrong_dtypes_are_refused():
    mixed = layers(torch.nn.Tanh())
    mixed[0].float()
    with pytest.raises(TypeError, match=r"one floating dtype.*torch.float32, torch.float64; try"):
        measure_gaps(mixed, WAVE, POINTS)
    mixed = layers(torch.nn.Tanh())
    mixed.register_buffer("offset", torch.zeros(1, dtype=torch.float32))
    with pytest.raises(TypeError, match="one floating dtype"):
        measure_gaps(mixed, WAVE, POINTS)
    with pytest.raises(TypeError, match=r"values in torch.float64.*got torch.float32"):
        measure_gaps(Mapping(lambda p: p.sum(1).float()), WAVE, POINTS)
    with pytest.raises(TypeError, match="float64"):
        measure_gaps(ZERO, WAVE, POINTS.astype(np.float32))
    with pytest.raises(TypeError, match=r"an Interpolant or a torch.nn.Module, and got function"):
        measure_gaps(lambda p: p, WAVE, POINTS)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="among rms, max, and got 'l1'"):
        measure_gaps(ZERO, WAVE, POINTS, norm="l1")
    with pytest.raises(ValueError, match="at least one point, and got none"):
        measure_gaps(ZERO, WAVE, np.zeros((0, 2)))
    for model in (ZERO, MLP(2, (3,), rng=0), Mapping(lambda p: p.sum(1))):
        with pytest.raises(ValueError, match="shape"):
            measure_gaps(model, WAVE, np.zeros((3, 1)))
        with pytest.raises(ValueError, match="finite"):
            measure_gaps(model, WAVE, [[0.0, np.nan]])


def test_a_ripple_that_shrinks_with_its_wavelength_keeps_its_gradient_gap():
    x = np.linspace(0.0, 2.0, 4001)[:-1, None]
    flat = Target(sp.Integer(0), (X,), [(0.0, 2.0)])
    for k in (1, 4, 16):
        ripple = Target(sp.sin(sp.pi * k * X) / k, (X,), [(0.0, 2.0)])
        gaps = measure_gaps(flat, ripple, x)
        assert gaps.value == pytest.approx(1 / (k * np.sqrt(2)), rel=1e-12)
        assert gaps.gradient == pytest.approx(np.pi / np.sqrt(2), rel=1e-12)


def data(target, per_axis, gradients=False):
    points = target.grid(per_axis)
    return points, target.value(points), target.gradient(points) if gradients else None


def test_an_interpolant_stands_on_either_side():
    model = interpolate(*data(WAVE, 4), method="linear")
    values, gradients = residual(model, WAVE, POINTS)
    np.testing.assert_array_equal(values, WAVE.value(POINTS) - model.value(POINTS))
    np.testing.assert_array_equal(gradients, WAVE.gradient(POINTS) - model.gradient(POINTS))
    assert np.abs(values).min() > 1e-4
    swapped = residual(WAVE, model, POINTS)
    np.testing.assert_array_equal(swapped[0], -values)
    np.testing.assert_array_equal(swapped[1], -gradients)
    gaps = measure_gaps(model, WAVE, POINTS)
    assert (gaps.method, gaps.dtype, gaps.norm) == ("exact", "float64", "rms")
    assert gaps.value == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-14)
    assert gaps.gradient == pytest.approx(np.sqrt(np.mean(gradients**2) * 2), rel=1e-14)
    other = interpolate(*data(WAVE, 4, True), method="hermite")
    both = measure_gaps(other, model, POINTS, norm="max")
    assert both.method == "exact"
    assert both.value == np.abs(model.value(POINTS) - other.value(POINTS)).max()


def test_an_interpolant_beside_a_module():
    model, target = layers(torch.nn.Tanh()), interpolate(*data(WAVE, 4), method="nearest")
    gaps = measure_gaps(model, target, POINTS)
    assert (gaps.method, gaps.dtype) == ("autograd", "float64")
    expected = measure_gaps(LAYERS_AS_TARGET, target, POINTS)
    assert gaps.value == pytest.approx(expected.value, rel=1e-13)
    assert gaps.gradient == pytest.approx(measure_gaps(model, ZERO, POINTS).gradient, rel=1e-15)
    ensemble = MLP(2, (4,), members=3, rng=1)
    assert measure_gaps(ensemble, target, POINTS).value.shape == (3,)
    assert measure_gaps(MLP(2, (4,), rng=1), target, POINTS).method == "exact"


def test_the_domain_beside_an_interpolant_is_that_of_the_other_side():
    # Chords of x^2 on intervals of length h: the residual is t (t - h), its slope 2 t - h.
    target, h = Target(X**2, X, (0, 2)), 0.5
    chords = interpolate(*data(target, 5), method="linear")
    for sides in ((chords, target), (target, chords)):
        gaps = estimate_gaps(*sides, rng=0)
        low, high = gaps.value_interval
        assert low <= h**2 / np.sqrt(30) <= high
        low, high = gaps.gradient_interval
        assert low <= h / np.sqrt(3) <= high
        assert high - low < 1e-3
        # The grid holds the ends of the intervals and their middles.
        largest = estimate_gaps(*sides, norm="max", points_count=17)
        assert largest.value == pytest.approx(h**2 / 4, rel=1e-14)
        assert largest.gradient == pytest.approx(h, rel=1e-14)
    part = estimate_gaps(chords, target, (0.5, 0.75), norm="max", points_count=2)
    assert part.value == pytest.approx(h**2 / 4, rel=1e-14)
    for other in (chords, MLP(1, (2,), rng=0)):
        with pytest.raises(ValueError, match="a domain, since no side is a Target; try domain="):
            estimate_gaps(chords, other, rng=0)


def test_interpolants_that_do_not_fit_are_refused():
    short = interpolate(*data(Target(X**2, X, (0, 1)), 3), method="linear")
    with pytest.raises(ValueError, match=r"convex hull of the data, got \[2\.\] in row 1"):
        estimate_gaps(short, Target(X, X, (0, 2)), norm="max", points_count=2)
    with pytest.raises(ValueError, match="got 1 for the model and 2 for the target"):
        measure_gaps(short, WAVE, POINTS)
    with pytest.raises(ValueError, match="at least one point, and got none"):
        measure_gaps(short, short, np.zeros((0, 1)))
