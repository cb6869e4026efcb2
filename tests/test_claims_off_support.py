"""The claims that the chapter on data on a thin set settles."""

import functools

import numpy as np
import pytest
import sympy as sp
import torch
from claims import broken

from gradnotes.fitting import fit
from gradnotes.gaps import residual
from gradnotes.inequalities import euler_spline, landau_bound
from gradnotes.networks import MLP
from gradnotes.targets import Target

X, Y, S = sp.symbols("x y s", real=True)
PLANE = ((-3, 3), (-3, 3))
TURNS = np.linspace(0, 2 * np.pi, 20_001)


# Along and across a curve


@pytest.mark.claim("B83")
@pytest.mark.parametrize(
    "share",
    [1, broken(0, by="the Hessian of r only"), broken(-1, by="a curve that bends the other way")],
)
def test_the_second_derivative_along_holds_the_slope_across(share):
    """On circles of three radii, where N points to the centre and the curvature is 1/radius."""
    r = X**3 - 2 * X * Y + Y**2 + 3 * X - Y
    for radius in (sp.Rational(1, 2), 1, 3):
        point = {X: radius * sp.cos(S / radius), Y: radius * sp.sin(S / radius)}
        tangent = sp.Matrix([-sp.sin(S / radius), sp.cos(S / radius)])
        normal = -sp.Matrix([sp.cos(S / radius), sp.sin(S / radius)])
        gradient = sp.Matrix([r.diff(X), r.diff(Y)]).subs(point)
        hessian = sp.hessian(r, (X, Y)).subs(point)
        formula = (tangent.T * hessian * tangent)[0] + share * (normal.T * gradient)[0] / radius
        assert sp.simplify(r.subs(point).diff(S, 2) - formula) == 0


def along_an_ellipse(r, half_axis):
    """Values of r along an ellipse, its slope along, and the second derivative, by differences."""
    target = Target(r, (X, Y), PLANE)
    rows = np.stack([half_axis * np.cos(TURNS), np.sin(TURNS)], axis=-1)
    speed = np.hypot(half_axis * np.sin(TURNS), np.cos(TURNS))
    tangents = np.stack([-half_axis * np.sin(TURNS), np.cos(TURNS)], axis=-1) / speed[:, None]
    values = target.value(rows)
    length = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(TURNS))])
    slopes = (target.gradient(rows) * tangents).sum(axis=1)
    assert np.allclose(np.gradient(values, length)[1:-1], slopes[1:-1], atol=1e-4)
    second = np.gradient(slopes, length)
    straight = np.einsum("ni,nij,nj->n", tangents, target.hessian(rows), tangents)
    return np.abs(values).max(), np.abs(slopes).max(), np.abs(second).max(), np.abs(straight).max()


@pytest.mark.claim("B83")
@pytest.mark.parametrize(
    ("constant", "along_the_curve"),
    [
        (np.sqrt(2), True),
        broken(1.38, True, by="a smaller constant"),
        broken(np.sqrt(2), False, by="the Hessian of r in place of the second derivative of q"),
    ],
)
def test_values_on_a_curve_bound_the_slope_along(constant, along_the_curve):
    """On ellipses, for a straight line and waves; and for parabolic arcs, which attain it."""
    rng = np.random.default_rng(0)
    shapes = [X, 0.1 * Y]
    for a, b, c in rng.normal(size=(20, 3)).tolist():
        shapes.append(sp.sin(2 * a * X + 2 * b * Y + c) + b * X * Y)
    for r in shapes:
        for half_axis in (1.0, 2.5):
            eps, slope, second, straight = along_an_ellipse(r, half_axis)
            bend = second if along_the_curve else straight
            assert slope <= constant * np.sqrt(eps * bend) * (1 + 1e-3)
    arcs, slopes = euler_spline(2)(5 * TURNS) / 25, euler_spline(1)(5 * TURNS) / 5
    assert np.abs(slopes).max() <= constant * np.sqrt(np.abs(arcs).max()) * (1 + 1e-6)


def nearest_on_ellipse(rows, angles):
    """The angles of the nearest points on the ellipse x^2/4 + y^2 = 1, by Newton's method."""
    for _ in range(20):
        c, s = np.cos(angles), np.sin(angles)
        off = np.stack([2 * c - rows[:, 0], s - rows[:, 1]], axis=-1)
        first, second = np.stack([-2 * s, c], axis=-1), np.stack([-2 * c, -s], axis=-1)
        slope = (off * first).sum(axis=1)
        angles = angles - slope / ((first**2).sum(axis=1) + (off * second).sum(axis=1))
    return angles


@pytest.mark.claim("B83")
@pytest.mark.parametrize(
    "shape",
    [
        lambda u: u,
        broken(lambda u: u**2, by="the square of the distance"),
        broken(np.abs, by="the distance without a sign"),
        broken(lambda u: u + 0.01, by="a function that is not zero on the curve"),
    ],
)
def test_the_slope_across_is_free(shape):
    """The construction of the proof on an ellipse, with difference quotients to both sides."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.stack([2 * np.cos(angles), np.sin(angles)], axis=-1)
    normals = np.stack([np.cos(angles), 2 * np.sin(angles)], axis=-1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)

    def r(rows):
        there = nearest_on_ellipse(rows, angles)
        foot = np.stack([2 * np.cos(there), np.sin(there)], axis=-1)
        outward = np.stack([np.cos(there), 2 * np.sin(there)], axis=-1)
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        return (3 + np.cos(3 * there)) * shape(((rows - foot) * outward).sum(axis=1))

    assert np.abs(r(points)).max() < 1e-12
    for side in (-1, 1):
        step = 1e-6 * side
        found = [(r(points + step * axis) - r(points)) / step for axis in np.eye(2)]
        wanted = (3 + np.cos(3 * angles))[:, None] * normals
        assert np.allclose(np.stack(found, axis=-1), wanted, atol=1e-3)


@pytest.mark.claim("B84")
@pytest.mark.parametrize(
    ("thin", "thick"),
    [
        (lambda eps, M, w: eps / w + M * w / 2, lambda eps, M: np.sqrt(2 * eps * M)),
        broken(
            lambda eps, M, w: eps / w + M * w / 4,
            lambda eps, M: np.sqrt(2 * eps * M),
            by="half of the bend",
        ),
        broken(
            lambda eps, M, w: np.sqrt(2 * eps * M),
            lambda eps, M: np.sqrt(2 * eps * M),
            by="no price of a thin band",
        ),
        broken(
            lambda eps, M, w: eps / w + M * w / 2,
            lambda eps, M: np.sqrt(eps * M),
            by="a smaller constant in a thick band",
        ),
    ],
)
def test_a_band_bounds_the_slope_across(thin, thick):
    """For random profiles across, and for arcs of a parabola, which attain it."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        w, speed, size, phase = rng.uniform(0.01, 1), *rng.uniform(0.1, 8, 2), rng.uniform(0, 7)
        across = np.linspace(-w, w, 2001)
        profile = size * np.sin(speed * across + phase)
        eps, M = np.abs(profile).max(), np.abs(speed**2 * profile).max()
        bound = thick(eps, M) if w >= np.sqrt(2 * eps / M) else thin(eps, M, w)
        assert abs(size * speed * np.cos(phase)) <= bound * (1 + 1e-3)
    for eps, M in ((0.01, 2.0), (0.5, 3.0)):
        enough = np.sqrt(2 * eps / M)
        for w in (enough / 5, enough / 2, 2 * enough):
            reach = min(w, enough)
            top = eps / reach + M * reach / 2
            across = np.clip(np.linspace(-w, w, 2001), -reach, reach)
            assert np.abs(top * across - M / 2 * across * np.abs(across)).max() <= eps * (1 + 1e-9)
            bound = thick(eps, M) if w >= enough else thin(eps, M, w)
            assert top <= bound * (1 + 1e-9)
            assert np.isclose(landau_bound(eps, M, length=2 * w, margin=w).value, bound)


# Trained networks


@functools.cache
def on_the_circle(w, draw=1):
    """Errors along and across, over eight networks, of fits to 40 points in a band."""
    f = Target(sp.sin(2 * X + Y) + X * Y**2, (X, Y), PLANE)
    angles = 2 * np.pi * np.arange(40) / 40
    pushed = 1 + w * np.random.default_rng(draw).uniform(-1, 1, 40)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * pushed[:, None]
    start = MLP(2, (24, 24), members=8, rng=0)
    model = fit(start, points, f.value(points), steps=200, rng=0).model
    angles = 2 * np.pi * np.arange(300) / 300
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    values, slopes = residual(model, f, circle)
    tangents = np.stack([-np.sin(angles), np.cos(angles)], axis=-1)
    truth = [(f.gradient(circle) * side).sum(axis=-1) for side in (tangents, circle)]
    errors = [(slopes * side).sum(axis=-1) for side in (tangents, circle)]
    sizes = [np.sqrt((part**2).mean()) for part in truth]
    return values, errors, sizes


@pytest.mark.claim("B85")
@pytest.mark.parametrize(
    ("w", "along"),
    [
        (0.0, 0.01),
        broken(0.03, 0.01, by="points in a band"),
        broken(0.0, 1e-9, by="a slope along that is exact"),
    ],
)
def test_values_on_a_circle_leave_the_slope_across_open(w, along):
    values, errors, sizes = on_the_circle(w)
    rms = [np.sqrt((error**2).mean(axis=-1)) for error in errors]
    assert np.abs(values).max() < 5e-4
    assert rms[0].max() < along * sizes[0]
    assert rms[1].min() > 0.3 * sizes[1]
    assert np.sqrt(errors[1].var(axis=0).mean()) > 0.3 * sizes[1]


@pytest.mark.claim("B85")
@pytest.mark.parametrize(
    ("w", "factor"),
    [
        (0.03, 5),
        broken(0.0, 5, by="no band"),
        broken(0.0001, 5, by="a band that is too thin"),
        broken(0.03, 300, by="a larger gain"),
    ],
)
def test_a_thin_band_fixes_the_slope_across(w, factor):
    """And a wide band, with as many points, is worse again, for three draws of the moves."""
    for draw in (1, 2, 3):
        error = {
            width: np.median(np.sqrt((on_the_circle(width, draw)[1][1] ** 2).mean(axis=-1)))
            for width in (0.0, w, 0.3)
        }
        assert error[w] < error[0.0] / factor
        assert error[w] < error[0.3] < error[0.0]


@pytest.mark.claim("B86")
@pytest.mark.parametrize(
    ("told", "shift"),
    [
        (True, 0.0),
        broken(False, 0.0, by="networks that were told nothing"),
        broken(True, 0.5, by="stories with another slope along the data"),
    ],
)
def test_the_same_values_with_two_explanations(told, shift):
    """Sixteen networks on one curve: in eight x alone counts, and in eight y alone."""
    t = np.linspace(-1, 1, 20)
    rise, slope = (1 + 3 * t**2) / 2, 2 + 1.5 * np.cos(3 * t) + shift
    stories = np.stack([slope, 0 * t], axis=-1), np.stack([0 * t, slope / rise], axis=-1)
    points, values = np.stack([t, (t + t**3) / 2], axis=-1), 2 * t + np.sin(3 * t) / 2
    fine = np.linspace(-1, 1, 301)
    curve = torch.from_numpy(np.stack([fine, (fine + fine**3) / 2], axis=-1))
    found = []
    for axis, story in enumerate(stories):
        start = MLP(2, (20, 20), members=8, rng=3)
        wanted = story if told else None
        model = fit(start, points, values, gradients=wanted, steps=60, rng=0).model
        v, g = (part.numpy() for part in model.value_and_gradient(curve))
        assert np.abs(v - 2 * fine - np.sin(3 * fine) / 2).max() < 2e-3
        assert (np.abs(g[..., axis]).sum(axis=1) > 0.99 * np.abs(g).sum(axis=(1, 2))).all()
        found.append(g[..., 0] + (1 + 3 * fine**2) / 2 * g[..., 1])
    assert np.ptp(np.concatenate(found), axis=0).max() < 0.1


# A subspace


RNG = np.random.default_rng(0)
BASIS = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
ALONG, ACROSS = BASIS[:, :2], BASIS[:, 2:]
COORDINATES = RNG.uniform(-1, 1, (20, 2))
WANTED = np.sin(2 * COORDINATES[:, 0]) + COORDINATES[:, 1]
INPUTS = COORDINATES @ ALONG.T


def first_layers(optimizer, *, off=0.0, weight_of_slopes=0.0, **options):
    """The first layer's weights across, before and after 50 steps of a rule of torch's."""
    model = MLP(8, (12,), members=4, scale=1.0, rng=5)
    before = ACROSS.T @ model.weights[0].detach().numpy()
    inputs, wanted = INPUTS.copy(), torch.from_numpy(WANTED)
    inputs[0] += off * ACROSS[:, 0]
    rule = optimizer(model.parameters(), **options)
    for _ in range(50):
        rule.zero_grad()
        rows = torch.from_numpy(inputs)
        values, slopes = model.value_and_gradient(rows, create_graph=True)
        loss = ((values - wanted) ** 2).mean() + weight_of_slopes * slopes.square().mean()
        loss.backward()
        rule.step()
    return before, ACROSS.T @ model.weights[0].detach().numpy()


@pytest.mark.claim("B87")
@pytest.mark.parametrize(
    ("optimizer", "setting"),
    [
        (torch.optim.SGD, {"lr": 0.1}),
        (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
        broken(torch.optim.Adam, {"lr": 0.01}, by="a rule that rescales each entry"),
        broken(torch.optim.SGD, {"lr": 0.1, "off": 0.5}, by="a point outside of the subspace"),
        broken(
            torch.optim.SGD, {"lr": 0.1, "weight_of_slopes": 0.1}, by="a loss with input gradients"
        ),
        broken(torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01}, by="weight decay"),
    ],
)
def test_descent_leaves_the_weights_across(optimizer, setting):
    before, after = first_layers(optimizer, **setting)
    assert np.abs(after - before).max() < 1e-13


@pytest.mark.claim("B87")
@pytest.mark.parametrize("power", [50, broken(49, by="a step too few"), broken(0, by="no decay")])
def test_decay_shrinks_the_weights_across_like_a_power(power):
    before, after = first_layers(torch.optim.SGD, lr=0.1, weight_decay=0.05)
    assert np.allclose(after, (1 - 0.1 * 0.05) ** power * before, rtol=1e-9, atol=0)


def descend(weights, biases, outer, steps=200, rate=0.1):
    """Descent on the mean squared error for networks (seeds, units, 8), derivatives by hand."""
    for _ in range(steps):
        units = np.tanh(np.einsum("ski,ni->snk", weights, INPUTS) + biases[:, None])
        errors = 2 * (np.einsum("snk,sk->sn", units, outer) - WANTED) / len(WANTED)
        back = errors[..., None] * (1 - units**2) * outer[:, None]
        outer = outer - rate * np.einsum("sn,snk->sk", errors, units)
        weights = weights - rate * np.einsum("snk,ni->ski", back, INPUTS)
        biases = biases - rate * back.sum(axis=1)
    return weights, biases, outer


@pytest.mark.claim("B87")
@pytest.mark.parametrize(
    ("spread", "tied"),
    [
        (0.5, False),
        broken(0.6, False, by="another variance"),
        broken(0.5, True, by="output weights that depend on the weights across"),
    ],
)
def test_the_slope_across_is_normal_noise(spread, tied):
    """Over 400 starts with standard deviation 0.5: mean, variance and fourth moment."""
    rng = np.random.default_rng(1)
    weights, biases = rng.normal(0, 0.5, (400, 10, 8)), rng.uniform(-1, 1, (400, 10))
    outer = weights @ ACROSS[:, 0] if tied else rng.normal(0, 0.3, (400, 10))
    first = weights @ ACROSS
    weights, biases, outer = descend(weights, biases, outer)
    assert np.abs(weights @ ACROSS - first).max() < 1e-12
    units = np.tanh(weights @ INPUTS[0] + biases)
    delta = (1 - units**2) * outer
    slopes = np.einsum("sk,ski->si", delta, weights) @ ACROSS
    scores = slopes / (spread * np.linalg.norm(delta, axis=1, keepdims=True))
    assert abs(scores.mean()) < 4 / np.sqrt(scores.size)
    assert abs((scores**2).mean() - 1) < 4 * np.sqrt(2 / scores.size)
    assert abs((scores**4).mean() - 3) < 4 * np.sqrt(96 / scores.size)


@pytest.mark.claim("B87")
@pytest.mark.parametrize("side", [ACROSS, broken(ALONG, by="weights along that are changed")])
def test_values_do_not_depend_on_the_weights_across(side):
    rng = np.random.default_rng(2)
    start = rng.normal(0, 0.5, (5, 10, 8)), rng.uniform(-1, 1, (5, 10)), rng.normal(size=(5, 10))
    changed = start[0] + 3 * rng.normal(size=(5, 10, side.shape[1])) @ side.T
    values = []
    for weights in (start[0], changed):
        weights, biases, outer = descend(weights, *start[1:], steps=100, rate=0.05)
        units = np.tanh(np.einsum("ski,ni->snk", weights, INPUTS) + biases[:, None])
        values.append(np.einsum("snk,sk->sn", units, outer))
    assert np.abs(values[1] - values[0]).max() < 1e-9
