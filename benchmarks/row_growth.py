"""The row of growth: how the time of the package grows with the size of the work."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import peers
import timing
from summaries import growth, rounded
from timing import Contestant
from tqdm import tqdm

from gradnotes.fitting import fit
from gradnotes.networks import MLP

# The sizes that an exponent is fitted to: the largest ones.
UPPER = 3
STEPS = 4


@dataclass(frozen=True)
class Series:
    """What is timed, the variable that grows, its sizes, and a function from a size to the work.

    ``prepare`` returns the number that the time is fitted to, and the contestant.
    """

    work: str
    variable: str
    sizes: tuple[int, ...]
    prepare: Callable


def growing(quick: bool) -> list[dict]:
    """Return a record for each series, with its exponent and its times."""
    rounds = timing.QUICK_ROUNDS if quick else timing.ROUNDS
    records = []
    for series in tqdm(all_series(), desc="growth", leave=False, disable=None):
        sizes = series.sizes[:4] if quick else series.sizes
        amounts, these = zip(*map(series.prepare, sizes), strict=True)
        seconds = timing.time_rounds(these, rounds)
        records.append(
            {
                "row": "growth",
                "work": series.work,
                "variable": series.variable,
                "fitted_from": amounts[-UPPER],
                "fitted_to": amounts[-1],
                **growth(amounts, seconds, UPPER),
                "sizes": list(amounts),
                "ms": [rounded(ms) for ms in np.median(seconds, axis=0) * 1e3],
                "rounds": rounds,
            }
        )
    return records


def all_series() -> list[Series]:
    """Return all series; what does not grow is as in the other rows."""
    gradient, hessian = "value_and_gradient", "value_gradient_and_hessian"
    step, wide = "Levenberg-Marquardt step, dual form", (64, 64)
    return [
        Series(
            gradient,
            "points",
            (500, 2_000, 8_000, 32_000, 128_000),
            lambda n: (n, _evaluation(gradient, 2, wide, n)),
        ),
        Series(
            gradient,
            "inputs",
            (4, 16, 64, 256, 1024),
            lambda d: (d, _evaluation(gradient, d, wide, 2_000)),
        ),
        Series(
            gradient,
            "width",
            (16, 32, 64, 128, 256, 512),
            lambda width: (width, _evaluation(gradient, 2, (width, width), 2_000)),
        ),
        Series(
            gradient,
            "hidden layers",
            (1, 2, 4, 8, 16),
            lambda depth: (depth, _evaluation(gradient, 2, (64,) * depth, 2_000)),
        ),
        Series(
            hessian,
            "inputs",
            (2, 4, 8, 16, 32, 64),
            lambda d: (d, _evaluation(hessian, d, wide, 500)),
        ),
        Series(
            step,
            "points",
            (25, 50, 100, 200, 400),
            lambda n: (n, _marquardt(MLP(2, wide, rng=0), n)),
        ),
        Series(step, "weights", (16, 32, 64, 128, 256), _of_width),
    ]


def _evaluation(method, inputs, hidden, count):
    """Return the derivatives of one network at so many points."""
    model, points = MLP(inputs, hidden, rng=0), peers.uniform_points(count, inputs)
    return Contestant(name=method, run=lambda: getattr(model, method)(points), checked=False)


def _of_width(width):
    """Return the number of weights of a network, and a fit of it."""
    model = MLP(2, (width, width), rng=0)
    return model.size, _marquardt(model, 50)


def _marquardt(model, count):
    """Return a few steps on noise, which no network fits so soon, in values and gradients."""
    generator = np.random.default_rng(0)
    values, gradients = generator.normal(size=count), generator.normal(size=(count, 2))
    data = (peers.uniform_points(count, 2), values)

    def run():
        result = fit(model, *data, gradients=gradients, steps=STEPS, tolerance=0.0, rng=0)
        if result.steps != STEPS:
            raise RuntimeError(f"expected {STEPS} steps, and got {result.steps}; try other data")
        return ()

    return Contestant(name="fit", run=run, checked=False, work=STEPS)
