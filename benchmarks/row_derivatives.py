"""Rows of derivatives: gradients, Hessians, their products, Jacobians in the weights."""

import peers
import timing
from summaries import ratio_records
from timing import Contestant
from tqdm import tqdm

from gradnotes.networks import MLP

OURS, WIDE, NARROW = "gradnotes", (64, 64), (32, 32)
GRADIENT_SIZES = [(d, n) for d in (1, 2, 4, 8, 16, 64) for n in (100, 1_000, 10_000)]
GRADIENT_SIZES += [(d, 100_000) for d in (2, 8, 64)]
HESSIAN_SIZES = [(d, n) for d in (1, 2, 4, 8) for n in (1_000, 10_000)]
PRODUCT_SIZES = [(d, n) for d in (2, 8, 32) for n in (1_000, 10_000)]
JACOBIAN_SIZES = [(2, False), (8, False), (2, True)]


def value_gradient(quick: bool) -> list[dict]:
    """Time values and gradients of 64-64 networks."""

    def contestants(inputs, batch):
        model, points = MLP(inputs, WIDE, rng=0), peers.uniform_points(batch, inputs)
        yield Contestant(name=OURS, run=lambda: model.value_and_gradient(points))
        yield peers.autograd_value_gradient(model, points)
        yield peers.func_value_gradient(model, points)
        if not peers.missing("jax"):
            yield peers.jax_value_gradient(model, points)
        yield peers.matrix_products(model, points)

    sizes = [(2, 100), (8, 1_000)] if quick else GRADIENT_SIZES
    return _measure("value_gradient", ("inputs", "batch"), sizes, contestants, quick)


def hessian(quick: bool) -> list[dict]:
    """Time values, gradients and Hessians of 64-64 networks."""

    def contestants(inputs, batch):
        model, points = MLP(inputs, WIDE, rng=0), peers.uniform_points(batch, inputs)
        yield Contestant(name=OURS, run=lambda: model.value_gradient_and_hessian(points))
        yield peers.twice_hessian(model, points)
        yield peers.func_hessian(model, points)
        if not peers.missing("jax"):
            yield peers.jax_hessian(model, points)

    sizes = [(2, 100)] if quick else HESSIAN_SIZES
    return _measure("hessian", ("inputs", "batch"), sizes, contestants, quick)


def hessian_vector_product(quick: bool) -> list[dict]:
    """Time products of the Hessians of 64-64 networks with a vector at each point."""

    def contestants(inputs, batch):
        model, points = MLP(inputs, WIDE, rng=0), peers.uniform_points(batch, inputs)
        vectors = peers.uniform_points(batch, inputs, seed=1)
        yield Contestant(name=OURS, run=lambda: (model.hessian_vector_product(points, vectors),))
        yield peers.twice_product(model, points, vectors)
        yield peers.func_product(model, points, vectors)
        if not peers.missing("jax"):
            yield peers.jax_product(model, points, vectors)

    sizes = [(2, 100)] if quick else PRODUCT_SIZES
    return _measure("hessian_vector_product", ("inputs", "batch"), sizes, contestants, quick)


def weight_jacobian(quick: bool) -> list[dict]:
    """Time the Jacobians in the weights of 32-32 networks, at 200 points."""

    def contestants(inputs, gradients):
        model, points = MLP(inputs, NARROW, rng=0), peers.uniform_points(200, inputs)

        def run():
            jacobian = model.weight_jacobian(points, gradients=gradients)
            return jacobian if gradients else (jacobian,)

        yield Contestant(name=OURS, run=run)
        yield peers.func_weight_jacobian(model, points, gradients)
        if not peers.missing("jax"):
            yield peers.jax_weight_jacobian(model, points, gradients)

    sizes = [(2, True)] if quick else JACOBIAN_SIZES
    return _measure("weight_jacobian", ("inputs", "gradients"), sizes, contestants, quick)


def _measure(row, names, sizes, contestants, quick):
    """Return the records of all sizes of a row."""
    records = []
    for size in tqdm(sizes, desc=row, leave=False, disable=None):
        these = list(contestants(*size))
        seconds = timing.time_rounds(these, timing.QUICK_ROUNDS if quick else timing.ROUNDS)
        records += ratio_records(row, dict(zip(names, size, strict=True)), these, seconds)
    return records
