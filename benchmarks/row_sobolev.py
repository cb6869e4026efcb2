"""The row of Sobolev training: Adam on values and gradients, for 64 networks at once."""

import math

import numpy as np
import peers
import timing
import torch
from summaries import ratio_records
from timing import Contestant
from torch.func import functional_call, grad_and_value, vmap
from tqdm import tqdm

from gradnotes.fitting import fit
from gradnotes.networks import MLP

MEMBERS, POINTS, STEPS, RATE = 64, 100, 20, 0.01
# One module at a time is slow and each takes the same time: a few stand for all.
ALONE = 4
SIZES = [(64, 64), (20, 20)]
ONE_BY_ONE = "one module at a time, double backward"
# Rounding errors grow along the steps.
AGREE = 1e-8


def sobolev_step(quick: bool) -> list[dict]:
    """Time a step of Adam per network; the contestants start from the same weights."""
    records, rounds = [], timing.QUICK_ROUNDS if quick else timing.ROUNDS
    members, steps, alone = (4, 5, 2) if quick else (MEMBERS, STEPS, ALONE)
    for hidden in tqdm(
        SIZES[1:] if quick else SIZES, desc="sobolev_step", leave=False, disable=None
    ):
        model = MLP(2, hidden, members=members, rng=0)
        data = _data()
        these = [
            _ours(model, data, steps),
            _one_by_one(model, data, steps, alone),
            _stacked(model, data, steps),
            _products(model, steps, peers.PRODUCTS, torch.bmm, torch.Tensor.detach),
            _products(model, steps, peers.NUMPY_PRODUCTS, np.matmul, torch.Tensor.numpy),
        ]
        if not peers.missing("jax"):
            these.append(_in_jax(model, data, steps))
        seconds = timing.time_rounds(these, rounds, AGREE)
        sizes = {"hidden": "-".join(map(str, hidden)), "members": members, "points": POINTS}
        records += ratio_records("sobolev_step", sizes, these, seconds)
    return records


def _data():
    """Return points and the values and gradients of a smooth function there."""
    points = peers.uniform_points(POINTS, 2)
    x, y = points.T
    values = torch.sin(3.0 * x) * torch.cos(2.0 * y)
    slopes = [
        3.0 * torch.cos(3.0 * x) * torch.cos(2.0 * y),
        -2.0 * torch.sin(3.0 * x) * torch.sin(2.0 * y),
    ]
    return points, values, torch.stack(slopes, 1)


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate of a step, as in ``gradnotes.fitting.fit``."""
    return RATE * (1.0 + math.cos(math.pi * step / steps)) / 2.0


def _ours(model, data, steps):
    points, values, gradients = data
    options = {"method": "adam", "steps": steps, "learning_rate": RATE, "rng": 0}

    def run():
        return (fit(model, points, values, gradients=gradients, **options).history[-1],)

    return Contestant(name="gradnotes", run=run, work=steps * model.members)


def _losses(values, gradients, data):
    """Return the loss of values (n,) and gradients (n, 2)."""
    return ((values - data[1]) ** 2).mean() + ((gradients - data[2]) ** 2).sum(1).mean()


def _one_by_one(model, data, steps, alone):
    """Train the first few members, each as an ordinary module with its own optimiser."""
    modules = [model.member(k).to_sequential() for k in range(alone)]
    starts = [[weight.detach().clone() for weight in module.parameters()] for module in modules]

    def loss_of(module):
        inputs = data[0].clone().requires_grad_(True)
        values = module(inputs)
        (gradients,) = torch.autograd.grad(values.sum(), inputs, create_graph=True)
        return _losses(values, gradients, data)

    def train(module, start):
        with torch.no_grad():
            for weight, old in zip(module.parameters(), start, strict=True):
                weight.copy_(old)
        optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate_at(step, steps)
            optimiser.zero_grad()
            loss_of(module).backward()
            optimiser.step()
        return loss_of(module).item()

    def run():
        return ([train(*pair) for pair in zip(modules, starts, strict=True)],)

    return Contestant(name=ONE_BY_ONE, run=run, work=steps * alone, first=alone)


def _stacked(model, data, steps):
    """Train all members as one module with stacked weights, by ``torch.func``."""
    modules = [model.member(k).to_sequential() for k in range(model.members)]
    start, _ = torch.func.stack_module_state(modules)

    def loss(weights):
        def total(inputs):
            values = functional_call(modules[0], weights, (inputs,))
            return values.sum(), values

        gradients, (_, values) = grad_and_value(total, has_aux=True)(data[0])
        return _losses(values, gradients, data)

    both = vmap(grad_and_value(loss))

    def run():
        weights = {name: weight.detach().clone() for name, weight in start.items()}
        optimiser = torch.optim.Adam(weights.values(), lr=RATE)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate_at(step, steps)
            slopes, _ = both(weights)
            for name, weight in weights.items():
                weight.grad = slopes[name]
            optimiser.step()
        return (both(weights)[1],)

    return Contestant(name=peers.FUNC, run=run, work=steps * model.members)


def _products(model, steps, name, multiply, convert, together=10):
    """Multiply the matrices of a step and nothing else: forward, back, and both once more.

    The second round trip carries one tangent; each weight gets two products for its gradient. Some
    members go together, since a product of all would not stay in the cache.
    """
    widths, triples = (model.inputs, *model.hidden, 1), []
    for group in zip(*(weight.detach().split(together) for weight in model.weights), strict=True):
        weights = [convert(weight) for weight in group]
        shapes = [(len(group[0]), POINTS, width) for width in widths]
        layers = [convert(torch.rand(shape, dtype=torch.float64)) for shape in shapes]
        triples += 2 * list(zip(layers, weights, layers[1:], strict=False))

    def run():
        for _ in range(steps):
            for before, weight, after in triples:
                multiply(before, weight)
                multiply(after, weight.mT)
                multiply(before.mT, after)
        return ()

    return Contestant(name=name, run=run, work=steps * model.members, checked=False)


def _in_jax(model, data, steps):
    """Train all members by JAX: a jitted step of all, with Adam written out."""
    import jax

    jnp = jax.numpy
    *weights, points, values, gradients = peers.in_jax(model, *data)
    data = (points, values, gradients)

    def loss(weights):
        def total(points):
            values = peers.jax_values(*weights, points)
            return values.sum(), values

        (_, values), gradients = jax.value_and_grad(total, has_aux=True)(points)
        return _losses(values, gradients, data)

    def step(weights, means, squares, count, rate):
        losses, slopes = jax.vmap(jax.value_and_grad(loss))(weights)
        tree = jax.tree.map
        means = tree(lambda m, g: 0.9 * m + 0.1 * g, means, slopes)
        squares = tree(lambda s, g: 0.999 * s + 0.001 * g * g, squares, slopes)
        # Adam's corrections of the two averages, and its eps, as in torch.
        first, second = 1.0 - 0.9**count, jnp.sqrt(1.0 - 0.999**count)
        weights = tree(
            lambda w, m, s: w - rate / first * m / (jnp.sqrt(s) / second + 1e-8),
            weights,
            means,
            squares,
        )
        return losses, weights, means, squares

    zeros = jax.tree.map(jnp.zeros_like, weights)
    jitted, seconds = timing.compiled(step, weights, zeros, zeros, 1.0, RATE)

    def run():
        now, means, squares = weights, zeros, zeros
        for k in range(steps):
            _, now, means, squares = jitted(now, means, squares, k + 1.0, rate_at(k, steps))
        return (np.asarray(jitted(now, means, squares, steps + 1.0, 0.0)[0]),)

    return Contestant(name=peers.JAX, run=run, compile_seconds=seconds, work=steps * model.members)
