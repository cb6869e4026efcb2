"""The claims that the chapter on kinks settles."""

import functools

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken

from gradnotes.fitting import fit
from gradnotes.gaps import residual
from gradnotes.inequalities import variation_bound
from gradnotes.networks import MLP
from gradnotes.targets import Target

T, X, Y = sp.symbols("t x y", real=True)
SQUARE = ((-1, 1), (-1, 1))
F1 = Target(sp.sin(4 * T) + T**2, T, (-1, 1))
F2 = Target(sp.sin(2 * X + Y) + X * Y**2, (X, Y), SQUARE)
AXIS = (np.arange(200) + 0.5) / 100 - 1
MIDDLES = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), -1).reshape(-1, 2)


# On a line: pieces whose slope goes from `left` to `right` in a straight line


def exactly(left, right, widths):
    """Half the range, V, F and the mean square slope, from formulas."""
    heights, extremes = np.append(0, np.cumsum(widths * (left + right) / 2)), [0.0]
    for s, t, w, low in zip(left, right, widths, heights[:-1], strict=True):
        if s * t < 0:  # an extreme inside the piece
            u = w * s / (s - t)
            extremes.append(low + s * u / 2)
    everything = np.append(heights, extremes)
    variation = np.abs(right - left).sum() + np.abs(left[1:] - right[:-1]).sum()
    square = (widths * (left**2 + left * right + right**2)).sum() / 3 / widths.sum()
    return np.ptp(everything) / 2, variation, abs(left[0]) + abs(right[-1]), square


def sampled(left, right, widths, count=400_000):
    """The same numbers, from values of the function on a grid alone."""
    edges = np.append(0, np.cumsum(widths))
    x = np.linspace(0, edges[-1], count + 1)
    piece = np.minimum(np.searchsorted(edges, x, side="right") - 1, len(widths) - 1)
    u = x - edges[piece]
    heights = np.append(0, np.cumsum(widths * (left + right) / 2))
    r = heights[piece] + left[piece] * u + (right - left)[piece] * u**2 / 2 / widths[piece]
    slopes = np.diff(r) / np.diff(x)
    flux = abs(slopes[0]) + abs(slopes[-1])
    return np.ptp(r) / 2, np.abs(np.diff(slopes)).sum(), flux, (slopes**2).mean()


def straight(slopes, widths):
    slopes, widths = np.array(slopes, float), np.array(widths, float)
    return slopes, slopes, widths


def zigzag(teeth, slope=1.0):
    return straight(slope * (-1.0) ** np.arange(teeth), np.ones(teeth) / teeth)


def cliff(steep, eps=0.01):
    width = 2 * eps / steep
    return straight((-steep, 2 * eps / (1 - width)), (width, 1 - width))


def random_shapes():
    rng = np.random.default_rng(0)
    for _ in range(300):
        count = rng.integers(1, 7)
        yield *rng.normal(size=(2, count)), rng.uniform(0.1, 1, count)


@pytest.mark.claim("B70")
@pytest.mark.parametrize(
    ("size", "ends", "mean"),
    [
        (1, 1, 4),
        broken(0.9, 1, 4, by="a smaller factor of the size"),
        broken(1, 0, 4, by="no boundary term"),
        broken(1, 0.5, 4, by="one end instead of two"),
        broken(1, 1, 3.9, by="a smaller mean slope"),
    ],
)
def test_size_and_variation_bound_the_mean_square(size, ends, mean):
    for shape in [*random_shapes(), *map(zigzag, (1, 2, 5, 50))]:
        eps, variation, flux, square = exactly(*shape)
        length = shape[2].sum()
        bound = size * eps / length * (variation + ends * flux)
        assert square <= bound * (1 + 1e-9)
        assert flux <= (variation + mean * eps / length) * (1 + 1e-9)
        package = variation_bound(eps, variation, length=length, flux=flux).value
        assert np.isclose(package**2, bound, rtol=1e-9)
        whole = variation_bound(eps, variation, length=length).value ** 2
        wanted = 2 * eps * variation / length + (2 * eps / length) ** 2
        assert np.isclose(whole, wanted, rtol=1e-9)


@pytest.mark.claim("B70")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([zigzag(1), zigzag(7), zigzag(40, 3.0), cliff(20)], [zigzag(1), cliff(1000)]),
        broken([straight((1, 2, 1), (1, 1, 1))], [zigzag(1)], by="a path that never turns"),
        broken([zigzag(1)], [zigzag(7)], by="a zigzag, for the bound without the ends"),
        broken([zigzag(1)], [cliff(1)], by="a cliff that is not steep"),
    ],
)
def test_the_bounds_of_the_mean_square_are_attained(first, second):
    """Zigzags and cliffs attain the first; a line does, and cliffs nearly do, the second."""
    for shape in first:
        for eps, variation, flux, square in (exactly(*shape), sampled(*shape)):
            assert np.isclose(square, eps * (variation + flux) / shape[2].sum(), rtol=1e-2)
    for shape in second:
        for eps, variation, _, square in (exactly(*shape), sampled(*shape)):
            assert np.isclose(square, 2 * eps * variation + 4 * eps**2, rtol=1e-2)


@pytest.mark.claim("B71")
@pytest.mark.parametrize(
    "power", [2, broken(1, by="the level itself"), broken(3, by="the cube of the level")]
)
def test_the_share_of_bad_points_falls_like_the_square(power):
    for level in (0.5, 3.0):
        shape = zigzag(9, level)
        eps, variation, flux, _ = sampled(*shape)
        share = (np.abs(np.diff(np.interp(*ridge(shape)))) * 9000 > level * 0.99).mean()
        assert np.isclose(share, eps * (variation + flux) / level**power, rtol=1e-2)
        for width in (0.1, 0.01):  # hats, flat but for a share of twice their half-width
            shape = straight((0, level, -level, 0), (0.5 - width, width, width, 0.5 - width))
            eps, variation, flux, _ = exactly(*shape)
            assert flux == 0
            assert np.isclose(2 * width, eps * (variation + flux) / level**power)
    for shape in random_shapes():
        eps, variation, flux, _ = exactly(*shape)
        length = shape[2].sum()
        slopes = np.interp(np.linspace(0, length, 2001), *steps(shape))
        for level in (0.3, 1.0, 2.0):
            share = (np.abs(slopes) >= level).mean()
            assert share <= eps * (variation + flux) / length / level**2 + 0.01


def ridge(shape, count=9000):
    """Places, and the corners of a function of straight pieces, for interpolation."""
    edges = np.append(0, np.cumsum(shape[2]))
    heights = np.append(0, np.cumsum(shape[0] * shape[2]))
    return np.linspace(0, 1, count + 1), edges, heights


def steps(shape):
    """The slope as a function: places and heights, two for each piece."""
    edges = np.append(0, np.cumsum(shape[2]))
    places = np.stack([edges[:-1], edges[1:] - 1e-9], axis=1).ravel()
    return places, np.stack(shape[:2], axis=1).ravel()


# The hypotheses


def of_zigzag(eps):
    shape = zigzag(round(1 / (2 * eps)))
    return exactly(*shape)[0], np.inf, 2, np.sqrt(exactly(*shape)[3])


def of_saw(eps):
    """Teeth that rise with slope 1 and drop: no kink, but jumps of the value."""
    teeth = round(1 / (2 * eps))
    x = np.linspace(0, 1, 200_000, endpoint=False)
    r = (x * teeth % 1) / teeth
    rises = np.diff(r)[np.diff(r) > 0] / np.diff(x).mean()
    return np.ptp(r) / 2, np.abs(np.diff(rises)).max(), 2, np.sqrt((rises**2).mean())


def of_hat(eps):
    """The largest slope, with a variation of 4."""
    delta = 2 * eps
    shape = straight((0, 1, -1, 0), (0.5 - delta, delta, delta, 0.5 - delta))
    size, variation, flux, _ = exactly(*shape)
    return size, variation, flux, np.abs(shape[0]).max()


def of_edge(eps, frequency=lambda eps: 2 / eps**2):
    """The harmonic function eps e^(-ky) cos(kx) on [0, 1]^2, by quadrature."""
    k = frequency(eps)
    y = np.geomspace(1e-9, 1 + 1e-9, 200_001) - 1e-9
    square = (eps * k * np.exp(-k * y)) ** 2
    mean = ((square[1:] + square[:-1]) / 2 * np.diff(y)).sum()
    laplacian = sp.diff(sp.exp(-K * Y) * sp.cos(K * X), X, 2)
    laplacian += sp.diff(sp.exp(-K * Y) * sp.cos(K * X), Y, 2)
    return eps, float(sp.simplify(laplacian)), np.inf, np.sqrt(mean)


K = sp.Symbol("k", positive=True)


def rms_of(shape):
    return lambda eps: (*exactly(*shape(eps))[:3], np.sqrt(exactly(*shape(eps))[3]))


@pytest.mark.claim("B72")
@pytest.mark.parametrize(
    ("family", "most_variation", "most_flux"),
    [
        (of_zigzag, np.inf, 2),
        (of_saw, 1e-6, 2),
        (of_hat, 4, 0),
        (of_edge, 0, np.inf),
        broken(of_zigzag, 4, 2, by="a bounded variation"),
        broken(rms_of(lambda e: cliff(1, e)), 4, 2, by="a cliff, which has all hypotheses"),
        broken(rms_of(lambda e: straight((2 * e,), (1,))), 4, 2, by="a line"),
        broken(lambda e: of_edge(e, lambda _: 50.0), 0, np.inf, by="a fixed frequency"),
    ],
)
def test_without_one_hypothesis_the_slope_stays(family, most_variation, most_flux):
    """While the size falls from 0.1 to 0.001, the slope that is bounded stays 1."""
    for eps in (0.1, 0.01, 0.001):
        size, variation, flux, slope = family(eps)
        assert size <= eps * (1 + 1e-9)
        assert variation <= most_variation + 1e-9
        assert flux <= most_flux + 1e-9
        assert np.isclose(slope, 1, rtol=0.02)


# In the plane


def chord(w, b):
    """The length of the line w . x + b = 0 in the square [-1, 1]^2, from its corners."""
    found = []
    for i in (0, 1):
        if w[1 - i]:
            for side in (-1.0, 1.0):
                other = -(b + w[i] * side) / w[1 - i]
                if abs(other) <= 1:
                    found.append((side, other) if i == 0 else (other, side))
    if not found:
        return 0.0
    found = np.array(found)
    return np.linalg.norm(found[:, None] - found[None], axis=-1).max()


def network(w, b, a):
    """The values and gradients of sum a max(w . x + b, 0) at points."""

    def at(points):
        inner = points @ w.T + b
        return np.maximum(inner, 0) @ a, ((inner > 0) * a) @ w

    return at


def in_plane(units, target=None):
    """Half the range, V, F and the integral of |grad r|^2 over the square, r = target - net."""
    w, b, a = units
    net = network(w, b, a)

    def rest(points):
        value, gradient = net(points)
        if target is None:
            return -value, -gradient
        return target.value(points) - value, target.gradient(points) - gradient

    fine = np.linspace(-1, 1, 401)
    grid = np.stack(np.meshgrid(fine, fine, indexing="ij"), -1).reshape(-1, 2)
    lengths = np.array([chord(*pair) for pair in zip(w, b, strict=True)])
    jumps = np.abs(a) * np.linalg.norm(w, axis=1)
    variation = [jumps, lengths]
    curved = 0.0
    if target is not None:
        curved = 4 * np.abs(np.trace(target.hessian(MIDDLES), axis1=1, axis2=2)).mean()
    flux, ones = 0.0, np.ones_like(AXIS)
    for side in (-1, 1):
        for i, edge in enumerate(([side * ones, AXIS], [AXIS, side * ones])):
            flux += 2 * np.abs(rest(np.stack(edge, axis=1))[1][:, i]).mean()
    square = 4 * (rest(MIDDLES)[1] ** 2).sum(axis=1).mean()
    return np.ptp(rest(grid)[0]) / 2, variation, curved, flux, square


def random_units(rng, count):
    w = rng.normal(size=(count, 2))
    kinks_at = rng.uniform(-1, 1, size=(count, 2))
    return w, -(w * kinks_at).sum(axis=1), rng.normal(size=count)


def ridge_units(teeth):
    """A zigzag of slope 1 in x, which does not depend on y."""
    places = np.linspace(-1, 1, teeth + 1)[:-1]
    places[0] = -2.0
    jumps = np.append(1.0, 2 * (-1.0) ** np.arange(1, teeth))
    return np.stack([np.ones(teeth), np.zeros(teeth)], axis=1), -places, jumps


@pytest.mark.claim("B33")
@pytest.mark.parametrize(
    ("size", "lengths", "boundary"),
    [
        (1, True, 1),
        broken(0.9, True, 1, by="a smaller factor of the size"),
        broken(1, False, 1, by="kinks of length 1"),
        broken(1, True, 0, by="no flux"),
    ],
)
def test_variation_and_flux_bound_the_mean_square_in_the_plane(size, lengths, boundary):
    """Random networks and targets, and zigzags, for which there is equality."""
    rng = np.random.default_rng(0)
    cases = [(random_units(rng, count), F2) for count in (1, 3, 10, 30)]
    cases += [(ridge_units(teeth), None) for teeth in (1, 2, 10)]
    for units, target in cases:
        eps, (jumps, inside), curved, flux, square = in_plane(units, target)
        kinks = (jumps * inside).sum() if lengths else jumps[inside > 0].sum()
        assert square <= size * eps * (curved + kinks + boundary * flux) * (1 + 1e-3)
        if target is None:
            assert np.isclose(square, 4, rtol=1e-9)
            assert np.isclose(eps * (kinks + flux), 4, rtol=1e-2)


@pytest.mark.claim("B33")
@pytest.mark.parametrize(
    ("section", "norms"),
    [
        (2 * np.sqrt(2), True),
        broken(2, True, by="the side of the square as the longest line"),
        broken(2 * np.sqrt(2), False, by="outer weights alone"),
    ],
)
def test_weights_bound_variation_and_flux(section, norms):
    rng, steepest = np.random.default_rng(1), np.linalg.norm(F2.gradient(MIDDLES), axis=1).max()
    diagonal = np.array([[1.0, 1.0]]), np.zeros(1), np.ones(1)
    steep = np.array([[10.0, 0.0]]), np.zeros(1), np.ones(1)
    for units in (diagonal, steep, *(random_units(rng, count) for count in (1, 5, 20))):
        _, (jumps, inside), _, flux, _ = in_plane(units, F2)
        path = jumps.sum() if norms else np.abs(units[2]).sum()
        assert (jumps * inside).sum() <= path * section * (1 + 1e-9)
        assert flux <= (path + steepest) * 8 * (1 + 1e-2)


@pytest.mark.claim("B73")
@pytest.mark.parametrize(
    ("size", "bend"),
    [
        (1, 0.5),
        broken(0.9, 0.5, by="a smaller factor of the size"),
        broken(1, 0, by="no curvature"),
        broken(1, 0.2, by="too little of the curvature"),
    ],
)
def test_away_from_kinks_the_gradient_is_bounded(size, bend):
    """Waves in balls of two and three variables, a plane, which attains it, and a parabola."""
    rng = np.random.default_rng(0)
    for dimension in (2, 3):
        directions = rng.normal(size=(4000, dimension))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        for trial in range(60):
            rho = rng.uniform(0.2, 3)
            k = rng.normal(size=(3, dimension)) * (0 if trial == 0 else 2)
            c, phase = rng.normal(size=3), rng.uniform(0, 6, 3)
            tilt = rng.normal(size=dimension) * (trial % 3 == 0)
            gradient = tilt - (c * np.sin(phase)) @ k
            along = np.append(directions, [gradient / (np.linalg.norm(gradient) + 1e-12)], axis=0)
            inside = np.concatenate([u * rho * along for u in np.linspace(-1, 1, 21)])
            r = inside @ tilt + np.cos(inside @ k.T + phase) @ c
            curvature = (np.abs(c) * (k**2).sum(axis=1)).sum()
            bound = size * np.ptp(r) / 2 / rho + bend * curvature * rho
            assert np.linalg.norm(gradient) <= bound * (1 + 1e-6)
    # A parabola turned over at its centre, with a slope that the curvature must pay for.
    for slope in (0.5, 1.0):
        x = np.linspace(-1, 1, 2001)
        r = slope * x - slope / 2 * x * np.abs(x)  # curvature `slope`, flat at the ends
        assert slope <= size * np.ptp(r) / 2 + bend * slope + 1e-12


# Trained networks


@functools.cache
def trained(activation, counts=(4, 8, 16, 32)):
    """Value gaps, RMS and largest slope gaps, and V of the networks, (sizes, 8)."""
    grid, rows = F1.grid(4001), []
    for units in counts:
        points = F1.grid(8 * units)
        start = MLP(1, (units,), activation=activation, members=8, rng=3)
        net = fit(start, points, F1.value(points), steps=100, rng=0).model
        r, slopes = residual(net, F1, grid)
        own = net.value_and_gradient(torch.from_numpy(grid))[1].numpy()[..., 0]
        s = np.abs(slopes[..., 0])
        variation = np.abs(np.diff(own, axis=1)).sum(axis=1)
        rows.append((np.ptp(r, axis=1) / 2, np.sqrt((s**2).mean(axis=1)), s.max(axis=1), variation))
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def exponents(size, gap):
    pairs = zip(size.T, gap.T, strict=True)
    return np.array([np.polyfit(np.log(e), np.log(g), 1)[0] for e, g in pairs])


@pytest.mark.claim("B74")
@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        ("relu", 0.45, 0.65),
        broken("relu", 0.8, 1.2, by="a gap in proportion to the value gap"),
        broken("relu", 0.1, 0.4, by="the third root"),
        broken("tanh", 0.45, 0.65, by="tanh networks"),
    ],
)
def test_the_mean_gap_of_trained_relu_networks_falls_like_the_root(activation, low, high):
    size, rms, largest, variation = trained(activation)
    found = exponents(size, rms)
    assert (found > low).all()
    assert (found < high).all()
    bend = 2 * np.abs(F1.hessian(F1.grid(4001))).mean()
    assert (variation < 1.6 * bend).all()
    bound = np.sqrt(size * (variation + bend) + size**2)
    assert (rms <= bound).all()
    assert (rms > 0.15 * bound).all()
    assert np.median(exponents(size, largest)) < np.median(found) - 0.05


@pytest.mark.claim("B74")
@pytest.mark.parametrize(
    ("activation", "least"),
    [("tanh", 0.8), broken("relu", 0.8, by="ReLU networks"), broken("tanh", 1.6, by="a square")],
)
def test_the_mean_gap_of_trained_tanh_networks_falls_faster(activation, least):
    size, rms, _, _ = trained(activation, (2, 4, 8, 16))
    assert (exponents(size, rms) > least).all()


@pytest.mark.claim("B74")
@pytest.mark.parametrize(
    ("factor", "moved"),
    [
        (1, 0),
        broken(1, 0.4, by="the same lines, moved"),
        broken(4, 0, by="four times as much"),
    ],
)
def test_the_gradient_error_is_large_along_kinks(factor, moved):
    """The fifth of the points nearest to a kink against the farthest fifth, eight networks."""
    sites = F2.grid(16)
    start = MLP(2, (32,), activation="relu", members=8, rng=0)
    net = fit(start, sites, F2.value(sites), steps=100, rng=0).model
    gaps = np.linalg.norm(residual(net, F2, MIDDLES)[1], axis=-1)
    w, b = net.weights[0].detach().numpy(), net.biases[0].detach().numpy()
    for k in range(8):
        lines = np.abs((MIDDLES + moved) @ w[k] + b[k]) / np.linalg.norm(w[k], axis=0)
        to_kink = lines.min(axis=1)
        near, far = to_kink <= np.quantile(to_kink, 0.2), to_kink >= np.quantile(to_kink, 0.8)
        ratio = (gaps[k][near] ** 2).mean() / (gaps[k][far] ** 2).mean()
        assert ratio > 1.5 * factor
        rms = np.sqrt((gaps[k] ** 2).mean())
        assert gaps[k].max() > 2.5 * rms
        assert (gaps[k] > 2 * rms).mean() < 0.08


@pytest.mark.claim("B74")
@pytest.mark.parametrize("factor", [1, broken(1.01, by="one per cent more")])
def test_straight_pieces_cannot_have_better_slopes(factor):
    """Best slopes on random pieces, and equal ones, for which there is equality."""
    rng = np.random.default_rng(0)
    x = (np.arange(100_000) + 0.5) / 100_000
    for n in (1, 2, 5, 20):
        for edges in (np.arange(1, n) / n, np.sort(rng.uniform(0, 1, n - 1))):
            piece = np.searchsorted(edges, x)
            for slopes, least in ((3 * x, 3.0), (np.exp(x), 1.0)):
                means = np.bincount(piece, slopes, n) / np.maximum(np.bincount(piece, None, n), 1)
                rms = np.sqrt(((slopes - means[piece]) ** 2).mean())
                assert rms >= factor * least / (np.sqrt(12) * n) * (1 - 1e-6)
