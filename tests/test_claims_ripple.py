"""The claims that the chapter on ripples settles."""

import functools

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken

from gradnotes.counterexamples import hidden_points, ripple
from gradnotes.fitting import fit
from gradnotes.gaps import measure_gaps
from gradnotes.networks import MLP
from gradnotes.targets import Target

X, Y = sp.symbols("x y", real=True)
EPS, K = sp.symbols("epsilon k", positive=True)
WAVE = EPS * sp.sin(K * X / EPS)
G = Target(sp.tanh(2 * X - 1) - sp.tanh(3 * X + 2) / 2, X, (-2, 2))
PLANE, POINTS_IN_PLANE = ((-1, 1), (-1, 1)), np.random.default_rng(1).uniform(-1, 1, (50, 2))
GRID, UNIFORM = G.grid(4001), G.grid(256)
RANDOM = np.random.default_rng(0).uniform(-2, 2, (256, 1))


def rippled(half_waves):
    return G + ripple(half_waves, X, G.domain)


def hidden(half_waves):
    """At most 257 of the points that hide a ripple."""
    return hidden_points(half_waves, G.domain)[:: max(1, half_waves // 64)]


@functools.cache
def trained(design, half_waves):
    """Eight networks with 16 units, trained on a rippled target."""
    points = {"hidden": hidden(half_waves), "uniform": UNIFORM, "random": RANDOM}[design]
    start = MLP(1, (16,), members=8, domain=G.domain, rng=1)
    return fit(start, points, rippled(half_waves).value(points), steps=150, rng=0).model


@functools.cache
def teacher():
    """The network G, whose weights can be read off its formula."""
    network = MLP(1, (2,), rng=0)
    network.set_flat_weights(torch.tensor([2, 3, 1, -0.5, -1, 2, 0]).double())
    return network


def weight_gradient(half_waves, points):
    """The gradient of the training loss on a rippled target, by autograd."""
    network = teacher().requires_grad_(True)
    label = torch.from_numpy(rippled(half_waves).value(points))
    loss = ((network(torch.from_numpy(points)) - label) ** 2).mean()
    parts = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([part.flatten() for part in parts]).norm().item()


# The example itself


@pytest.mark.claim("A8")
@pytest.mark.parametrize(
    "size",
    [EPS, broken(EPS * sp.Rational(99, 100), by="one per cent less"), broken(EPS**2, by="eps^2")],
)
def test_the_ripple_is_within_eps(size):
    """By the formula, and on grids that meet the crests."""
    assert sp.simplify(WAVE.subs(X, sp.pi * EPS / (2 * K))) == size
    largest = [
        np.abs(ripple(n, X, (0, 1)).value(np.linspace(0, 1, 8 * n + 1)[:, None])).max()
        for n in (1, 4, 32)
    ]
    numbers = [float(size.subs(EPS, 1 / (np.pi * n))) for n in (1, 4, 32)]
    np.testing.assert_allclose(largest, numbers, rtol=1e-12)


@pytest.mark.claim("A7", "A10")
@pytest.mark.parametrize(
    "slope",
    [
        K * sp.cos(K * X / EPS),
        broken(EPS * sp.cos(K * X / EPS), by="a slope that shrinks with eps"),
        broken(K * sp.sin(K * X / EPS), by="a sine in place of the cosine"),
        broken(-K * sp.cos(K * X / EPS), by="the other sign"),
    ],
)
def test_the_slope_of_the_ripple_does_not_shrink(slope):
    """By the limit of quotients, and by the package at many points."""
    step = sp.Symbol("u", positive=True)
    for place in (0, EPS / K, -2 * EPS / K):
        quotient = (WAVE.subs(X, place + step) - WAVE.subs(X, place)) / step
        assert sp.simplify(sp.limit(quotient, step, 0) - slope.subs(X, place)) == 0
    for n in (1, 16, 256):
        written = sp.lambdify(X, slope.subs({K: 1, EPS: 1 / (sp.pi * n)}))(GRID[:, 0])
        np.testing.assert_allclose(ripple(n, X, G.domain).gradient(GRID)[:, 0], written, atol=1e-9)
        assert np.abs(written).max() > 0.999
    # In the plane the slope is that along the direction (3, -4) / 5.
    wave, places = ripple((3, -4), (X, Y), PLANE, slope=7), POINTS_IN_PLANE
    along = sp.lambdify(X, slope.subs({K: 7, EPS: 7 / (5 * sp.pi)}))(places @ [0.6, -0.8])
    np.testing.assert_allclose(wave.gradient(places), np.outer(along, [0.6, -0.8]), atol=1e-9)


@pytest.mark.claim("Q3", "A1")
@pytest.mark.parametrize(
    "waves_for",
    [
        lambda constant: 2 ** int(np.ceil(np.log2(constant))),
        broken(lambda constant: 1, by="a ripple that becomes small and keeps its length"),
        broken(lambda constant: max(1, constant // 8), by="eight times too long"),
    ],
)
def test_no_constant_serves_all_ripples(waves_for):
    """For each constant a ripple that breaks it, at its size and at a smaller one."""
    for constant in (1, 10, 1000):
        for slope in (2, 0.01):
            n = waves_for(constant)
            points = np.linspace(0, 1, 16 * n + 1)[:, None]
            wave = ripple(n, X, (0, 1), slope=slope)
            value_gap = np.abs(wave.value(points)).max()
            assert np.abs(wave.gradient(points)).max() > constant * value_gap


@pytest.mark.claim("B11")
@pytest.mark.parametrize(
    ("factor", "harmless"),
    [
        (1, lambda a: a >= 1),
        broken(2, lambda a: a >= 1, by="twice size times curvature"),
        broken(1, lambda a: a > 0, by="harmless as soon as the slope tends to zero"),
        broken(1, lambda a: a >= 2, by="harmless only from a = 2 on"),
    ],
)
def test_slope_squared_is_size_times_curvature(factor, harmless):
    """Size and curvature at a crest, the slope at a zero."""
    crest = sp.pi * EPS / (2 * K)
    size, slope, bend = (
        WAVE.subs(X, crest),
        WAVE.diff(X).subs(X, 0),
        -WAVE.diff(X, 2).subs(X, crest),
    )
    assert sp.simplify(slope**2 - factor * size * bend) == 0
    for a in (-1, 0, sp.Rational(1, 2), 1, sp.Rational(3, 2), 2):
        ratio = sp.limit((slope / size).subs(K, EPS**a), EPS, 0, "+")
        assert harmless(a) == (ratio < sp.oo)


# Hidden ripples


@pytest.mark.claim("B12")
@pytest.mark.parametrize(
    ("constant", "shift"),
    [
        (1, 0),
        broken(1.01, 0, by="one per cent more than k"),
        broken(1, 1 / 64, by="points that show the ripple"),
    ],
)
def test_no_learner_sees_a_hidden_ripple(constant, shift):
    """The same data, and a gap of k for one of the two, whatever the learner answers."""
    k, points = 3, hidden_points(16, G.domain)[1:-1] + shift
    up, down = G + ripple(16, X, G.domain, slope=k), G + ripple(16, X, G.domain, slope=-k)
    assert (up.value(points) == down.value(points)).all()
    answers = np.random.default_rng(0).normal(0, 3, (500, len(points)))
    answers = np.concatenate([answers, G.gradient(points).T])  # the last one attains it
    gaps = [np.abs(answers - f.gradient(points)[:, 0]) for f in (up, down)]
    assert (np.maximum(*gaps) >= constant * k - 1e-12).all()
    assert np.maximum(*gaps)[-1].max() <= k + 1e-12


@pytest.mark.claim("B39")
@pytest.mark.parametrize(
    "most", [lambda q, n: q**n, broken(lambda q, n: q, by="at most Q half-waves")]
)
def test_every_finite_set_nearly_hides_a_ripple(most):
    rng = np.random.default_rng(0)
    for n, q in [(1, 7), (2, 9), (3, 6)] * 20:
        points = rng.uniform(0, 1, (n, 1))
        off = np.abs(
            np.outer(np.arange(1, most(q, n) + 1), points)
            - np.round(np.outer(np.arange(1, most(q, n) + 1), points))
        )
        assert (off < 1 / q).all(axis=1).any()
        waves = int(np.argmax((off < 1 / q).all(axis=1))) + 1
        seen = np.abs(ripple(waves, X, (0, 1), slope=5).value(points)).max()
        assert seen <= 5 / (waves * q)


# Training


@pytest.mark.claim("A9")
@pytest.mark.parametrize(
    "points",
    [hidden(8), broken(UNIFORM, by="a uniform grid"), broken(RANDOM, by="random points")],
)
def test_training_on_hidden_ripples_gives_the_same_weights(points):
    """The same start and method, on the values of g and of g with the ripple."""
    start = MLP(1, (16,), members=8, domain=G.domain, rng=1)
    ends = [fit(start, points, f.value(points), steps=30, rng=0).model for f in (G, rippled(8))]
    assert torch.equal(*(model.flat_weights() for model in ends))
    stays = fit(teacher(), points, rippled(8).value(points), steps=20, rng=0).model
    assert torch.equal(stays.flat_weights(), teacher().flat_weights())


@pytest.mark.claim("A9", "B14")
@pytest.mark.parametrize(
    ("power", "factor"),
    [
        (2, 1),
        broken(1, 1, by="order eps"),
        broken(3, 1, by="order eps^3"),
        broken(2, 0.25, by="a bound four times smaller"),
    ],
)
def test_the_weight_gradient_at_g_is_of_order_eps_squared(power, factor):
    """The bound from integration by parts is kept, and is not far off."""
    dense = -2 + 4 * (np.arange(20_000)[:, None] + 0.5) / 20_000
    _, slope = teacher().weight_jacobian(torch.from_numpy(dense), gradients=True)
    ends = teacher().weight_jacobian(torch.tensor([[-2.0], [2.0]]).double())
    constant = ends.norm(dim=1).sum() + 4 * slope[:, 0].norm(dim=1).mean()
    for n in (2, 8, 32, 128):
        bound = factor * 2 / 4 * float(constant) * (1 / (np.pi * n)) ** power
        assert bound / 4 < weight_gradient(n, dense) <= bound
        assert weight_gradient(n, hidden(n)) < 1e-13


@pytest.mark.claim("B14")
@pytest.mark.parametrize(
    "power", [(1, 0.5), broken((2, 0.5), by="order eps^2"), broken((1, 1), by="order 1/n")]
)
def test_at_random_points_the_weight_gradient_is_of_order_eps(power):
    """Exponents in eps and in the number of points, from 64 draws each."""
    rng, sizes = np.random.default_rng(0), {}
    for n, count in ((8, 256), (64, 256), (64, 2304)):
        draws = [weight_gradient(n, rng.uniform(-2, 2, (count, 1))) for _ in range(64)]
        sizes[n, count] = np.sqrt(np.mean(np.square(draws)))
    in_eps = np.log(sizes[8, 256] / sizes[64, 256]) / np.log(8)
    in_count = np.log(sizes[64, 256] / sizes[64, 2304]) / np.log(9)
    assert abs(in_eps - power[0]) < 0.2
    assert abs(in_count - power[1]) < 0.2


FAST = [("hidden", 16), ("uniform", 32), ("random", 128)]


@pytest.mark.claim("A11")
@pytest.mark.parametrize(
    ("design", "half_waves"),
    [*FAST, broken("uniform", 1, by="a slow ripple that the data show")],
)
def test_trained_networks_have_good_values_and_bad_slopes(design, half_waves):
    """All eight networks: values within 3 eps everywhere, slopes off by nearly 1 somewhere."""
    gaps = measure_gaps(trained(design, half_waves), rippled(half_waves), GRID, norm="max")
    assert (gaps.value < 3 / (np.pi * half_waves)).all()
    assert (gaps.gradient > 0.95).all()


@pytest.mark.claim("B13")
@pytest.mark.parametrize(
    ("design", "half_waves"),
    [*FAST, broken("uniform", 2, by="a slow ripple"), broken("random", 1, by="a slow ripple")],
)
def test_fast_ripples_are_left_out(design, half_waves):
    """The networks are nearer to g than a tenth of the ripple or of its slope."""
    model = trained(design, half_waves)
    to_f = measure_gaps(model, rippled(half_waves), GRID)
    to_g = measure_gaps(model, G, GRID)
    assert (np.abs(to_f.gradient - np.sqrt(0.5)) < 0.05).all()
    assert (to_g.gradient < 0.1).all()


@pytest.mark.claim("B13")
@pytest.mark.parametrize(
    ("design", "half_waves"),
    [
        ("uniform", 1),
        ("random", 2),
        broken("hidden", 2, by="points that hide the ripple"),
        broken("uniform", 32, by="a fast ripple"),
    ],
)
def test_slow_ripples_are_learned(design, half_waves):
    gaps = measure_gaps(trained(design, half_waves), rippled(half_waves), GRID)
    assert (gaps.value < 0.1 / (np.pi * half_waves)).all()
    assert (gaps.gradient < 0.15).all()


@pytest.mark.claim("B15")
@pytest.mark.parametrize(
    ("activation", "scale", "learns"),
    [
        ("tanh", 2.0, False),
        ("tanh", 30.0, True),
        ("sin", 2.0, False),
        ("sin", 30.0, True),
        broken("sin", 2.0, True, by="the activation decides: a sine learns it"),
        broken("tanh", 30.0, False, by="the activation decides: a tanh does not"),
    ],
)
def test_the_scale_at_the_start_decides(activation, scale, learns):
    how = {"activation": activation, "scale": scale, "domain": G.domain, "members": 8}
    start = MLP(1, (64,), rng=1, **how)
    model = fit(start, UNIFORM, rippled(8).value(UNIFORM), steps=60, rng=0).model
    slope_gap = measure_gaps(model, rippled(8), GRID).gradient
    assert np.quantile(slope_gap, 0.75) < 0.35 if learns else (slope_gap > 0.6).all()


@functools.cache
def left_after_training(large, scale, steps=600):
    """How much of a slow and of a fast wave is left, in each of eight networks."""
    inputs = torch.from_numpy(UNIFORM)
    waves = torch.sin(torch.pi * inputs * torch.tensor([0.5, 4.0]))
    sizes = torch.tensor([1.0, 0.1] if large == "slow" else [0.1, 1.0]).double()
    net = MLP(1, (32,), activation="sin", scale=scale, members=8, domain=G.domain, rng=0)
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        adam.zero_grad()
        (waves @ sizes - net(inputs)).square().mean(dim=1).sum().backward()
        adam.step()
    missing = (waves @ sizes - net(inputs)).detach()
    return ((missing @ waves) / waves.square().sum(dim=0) / sizes).abs().numpy().T


@pytest.mark.claim("B16")
@pytest.mark.parametrize(
    ("large", "scale", "fast_is_left"),
    [
        ("slow", 2.0, True),
        ("fast", 2.0, True),
        ("slow", 30.0, False),
        ("fast", 30.0, False),
        broken("fast", 2.0, False, by="the larger wave first"),
        broken("slow", 30.0, True, by="the slow wave first from every scale"),
    ],
)
def test_slow_waves_are_learned_first(large, scale, fast_is_left):
    slow, fast = left_after_training(large, scale)
    assert np.median(slow) < 0.1
    assert np.median(fast) > 0.7 if fast_is_left else np.median(fast) < 0.2


@pytest.mark.claim("B17")
@pytest.mark.parametrize(
    "slope", [3, broken(0.1, by="a ripple without much slope"), broken(30, by="a large ripple")]
)
def test_a_calibrated_classifier_has_the_wrong_gradient(slope):
    """Eight classifiers: labels, probabilities, and the sign of the slope in x."""
    rng = np.random.default_rng(0)
    logit = Target(sp.cos(2 * X) + Y, (X, Y), ((-1, 1), (-1, 1)))
    truth = logit + ripple((8, 0), (X, Y), logit.domain, slope=slope)
    points = np.stack([rng.integers(-8, 9, 300) / 8, rng.uniform(-1, 1, 300)], axis=1)
    start = MLP(2, (24,), members=8, rng=0)
    model = fit(start, points, truth.value(points), steps=100, rng=0).model
    grid = logit.grid(101)
    true, found = truth.value(grid), model(torch.from_numpy(grid)).detach().numpy()
    at_points = model(torch.from_numpy(points)).detach().numpy()
    assert np.abs(at_points - truth.value(points)).max() < 4e-3  # at most 1e-3 in probability
    clear = np.abs(true) > 3 / (8 * np.pi)
    assert (np.sign(found) == np.sign(true))[:, clear].all()
    _, slopes = model.value_and_gradient(torch.from_numpy(grid))
    turned = np.sign(slopes[..., 0].numpy()) != np.sign(truth.gradient(grid)[:, 0])
    assert (turned.mean(axis=1) > 0.25).all()
