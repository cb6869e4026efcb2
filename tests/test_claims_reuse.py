"""The claims that the chapter on reused samples settles."""

from functools import cache

import numpy as np
import pytest
from claims import broken
from scipy import stats

from gradnotes.reuse import (
    LinearProblem,
    LogisticProblem,
    first_order_bias,
    first_order_gap,
    reuse_trajectory,
    stability_bound,
    stale_gradient_bound,
)


def rms(errors):
    return np.sqrt((errors**2).mean(axis=0))


@pytest.mark.claim("B49", "Q8")
@pytest.mark.parametrize(
    "factor", [1.0, broken(0.9, by="a smaller constant"), broken(0.0, by="no distance at all")]
)
@pytest.mark.parametrize("problem", [LinearProblem, LogisticProblem])
def test_a_stale_gradient_errs_by_at_most_the_distance(problem, factor):
    """In one dimension, where the error may point against the way that was gone."""
    problem = problem(dimension=1)
    run = reuse_trajectory(problem, n=20, steps=40, step_size=0.2, samples=100, rng=0)
    smoothness = factor * problem.population_smoothness
    bound = stale_gradient_bound(run.error[:, :1], run.distance, smoothness=smoothness)
    assert np.all(run.stale_error <= bound * (1 + 1e-12))


def exact_errors(curvatures, slopes, chance, n, step_size, steps, start):
    """Root mean squares over all samples of two kinds of parabolas: the errors, and the noise."""
    count = np.arange(n + 1)
    weights, share = stats.binom.pmf(count, n, chance), np.stack([count / n, 1 - count / n])
    theta, kinds = start(share[0]), np.array([chance, 1 - chance])
    errors, noise = [], []
    for _ in range(steps + 1):
        gradients = np.outer(curvatures, theta) + np.array(slopes)[:, None]
        mean, true = (share * gradients).sum(axis=0), kinds @ gradients
        errors.append((weights @ (mean - true) ** 2) ** 0.5)
        noise.append((kinds @ (gradients - true) ** 2 @ weights) ** 0.5)
        theta = theta - step_size * mean
    return np.array(errors), np.array(noise)


@pytest.mark.claim("B50", "Q8")
@pytest.mark.parametrize("price", [1.0, broken(0.0, by="the error of a fresh sample as the bound")])
def test_the_theorem_holds_exactly_in_small_cases(price):
    """By going through all samples, without chance; steps of all lengths that are allowed."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        curvatures, n = rng.random(2), int(rng.integers(2, 12))
        smoothness = curvatures.max()
        step_size = 2 * rng.random() ** 0.3 / smoothness
        start = 3 * rng.standard_normal()
        errors, noise = exact_errors(
            curvatures,
            rng.standard_normal(2),
            rng.random(),
            n,
            step_size,
            10,
            start=lambda share, start=start: np.full(share.shape, start),
        )
        bound = stability_bound(
            np.arange(11),
            n=n,
            step_size=step_size,
            smoothness=smoothness,
            sigma=noise,
            largest_sigma=np.maximum.accumulate(noise),
        )
        fresh = noise / n**0.5
        assert np.all(errors <= (fresh + price * (bound - fresh)) * (1 + 1e-9))


@pytest.mark.claim("B50")
@pytest.mark.parametrize("warm", [20.0, broken(0.0, by="a start that does not depend on it")])
def test_a_start_that_depends_on_the_sample_breaks_the_theorem(warm):
    """Two convex, 2-smooth losses and no step: only the third hypothesis is dropped."""
    errors, noise = exact_errors(
        [2.0, 0.0], [0.0, 0.0], 0.5, 10, 0.0, 0, start=lambda share: 1 + warm * abs(share - 0.5)
    )
    assert errors[0] > 1.3 * noise[0] / 10**0.5


@pytest.mark.claim("B51")
@pytest.mark.parametrize(
    ("n", "margin"),
    [(100, 10), broken(100, 1000, by="a bound that is far worse"), broken(10, 10, by="few data")],
)
def test_the_bound_is_loose_and_the_error_that_of_a_fresh_sample(n, margin):
    problem = LogisticProblem(dimension=20, scale=2.0, inputs="sphere")
    setting = {"n": n, "step_size": 0.1}
    run = reuse_trajectory(problem, **setting, steps=300, samples=64, rng=1)
    sigma = rms(run.fresh_error) * n**0.5
    bound = stability_bound(
        np.arange(301),
        **setting,
        smoothness=problem.smoothness,
        sigma=sigma,
        largest_sigma=np.maximum.accumulate(sigma),
    )
    assert bound[30] > margin * rms(run.error)[30]
    ratio = rms(run.error) / rms(run.fresh_error)
    assert ratio.min() > 0.75
    assert ratio.max() < 1.25


@pytest.mark.claim("B52")
@pytest.mark.parametrize(
    ("bias_factor", "gap_factor"),
    [
        (1.0, 1.0),
        broken(2.0, 1.0, by="a bias without the half"),
        broken(-1.0, 1.0, by="a bias towards more variance"),
        broken(1.0, 0.5, by="half of the gap"),
    ],
)
@pytest.mark.parametrize(
    "problem", [LinearProblem(dimension=3), LogisticProblem(dimension=3, scale=2.0)]
)
def test_the_first_order_formulas_hold(problem, bias_factor, gap_factor):
    """By Monte Carlo with short steps, along the true weights, less the errors at the start."""
    n, steps, step_size = 10, 4, 2e-3
    x, y = problem.draw((60_000, n), rng=3)
    theta, found = np.zeros((60_000, 3)), []
    for _ in range(steps + 1):
        mean = problem.gradients(theta, x, y).mean(axis=1)
        along = (mean - problem.population_gradient(theta)) @ problem.target
        found.append((along, problem.risk(theta) - problem.losses(theta, x, y).mean(axis=1)))
        theta = theta - step_size * mean
    setting = {"n": n, "steps": steps, "step_size": step_size}
    formulas = (
        bias_factor * first_order_bias(problem, **setting) @ problem.target,
        gap_factor * first_order_gap(problem, **setting),
    )
    for wanted, first, last in zip(formulas, found[0], found[-1], strict=True):
        draws = last - first
        error = draws.std() / len(draws) ** 0.5
        assert error < 0.03 * abs(wanted)
        assert abs(draws.mean() - wanted) < 4 * error + 0.05 * abs(wanted)


@cache
def long_run(problem, resample):
    return reuse_trajectory(
        problem,
        n=100,
        steps=300,
        step_size=0.1 if isinstance(problem, LinearProblem) else 0.4,
        samples=32,
        resample=resample,
        rng=2,
    )


@pytest.mark.claim("B53")
@pytest.mark.parametrize("resample", [False, broken(True, by="a new sample at each step")])
@pytest.mark.parametrize(
    "problem", [LinearProblem(dimension=20), LogisticProblem(dimension=20, scale=2.0)]
)
def test_errors_on_one_sample_add_up(problem, resample):
    """The exponents between step 30 and step 300."""
    run, late = long_run(problem, resample), np.arange(30, 301)
    growth = [
        np.polyfit(np.log(late), np.log(rms(sums)[30:]), 1)[0]
        for sums in (run.accumulated_error, run.fresh_accumulated_error)
    ]
    assert 0.9 < growth[0] < 1.1
    assert growth[1] < 0.6


@pytest.mark.claim("B54")
@pytest.mark.parametrize(
    ("kept", "low", "high"),
    [
        (False, -0.29, -0.21),
        (True, -0.55, -0.45),
        broken(False, -0.55, -0.45, by="the rate of gradients for values of fresh samples"),
        broken(True, -0.29, -0.21, by="the slow rate for values of one sample"),
    ],
)
def test_values_of_fresh_samples_lose_the_rate(kept, low, high):
    """Difference quotients in simulation, with the best of many steps for each n."""
    problem, at, errors = LogisticProblem(dimension=1), 0.5, []
    truth, steps = problem.population_gradient([at])[0], np.logspace(-2.5, 0.7, 25)
    counts = (100, 1000, 10_000)
    for n in counts:
        squares = np.zeros((300, len(steps)))
        for k in range(300):
            x, y = problem.draw(n, rng=k)
            here = problem.losses([at], x, y).mean()
            if not kept:
                x, y = problem.draw(n, rng=1000 + k)
            there = problem.losses(at + steps[:, None], x, y).mean(axis=1)
            squares[k] = ((there - here) / steps - truth) ** 2
        errors.append(squares.mean(axis=0).min() ** 0.5)
    assert low < np.polyfit(np.log(counts), np.log(errors), 1)[0] < high


@pytest.mark.claim("B60")
@pytest.mark.parametrize(
    ("noise", "shrunk"),
    [
        (0.7, 1.0),
        broken(0.7, 0.5, by="weights of half the length"),
    ],
)
@pytest.mark.parametrize(("n", "d"), [(12, 5), (40, 20), (200, 20)])
def test_at_least_squares_the_error_is_that_of_a_fresh_sample(n, d, noise, shrunk):
    """Both mean squares by simulation, within five standard errors of the formula."""
    problem = LinearProblem(dimension=d, noise=noise)
    x, y = problem.draw((4000, n), rng=d)
    normal = x.swapaxes(1, 2) @ x
    theta = shrunk * np.linalg.solve(normal, x.swapaxes(1, 2) @ y[..., None])[..., 0]
    true = problem.population_gradient(theta)
    exact = noise**2 * d / (n - d - 1)
    for sample in ((x, y), problem.draw((4000, n), rng=n)):
        squares = ((problem.gradients(theta, *sample).mean(axis=1) - true) ** 2).sum(axis=1)
        error = squares.std() / len(squares) ** 0.5
        assert error < 0.05 * exact
        assert abs(squares.mean() - exact) < 5 * error
