"""Trajectories on one sample, the bounds of their errors, and the budget."""

import dataclasses
import math
import random
from itertools import islice, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from test_regressions import NORMAL, every_problem

from gradnotes import reuse
from gradnotes.reuse import (
    LinearProblem,
    LogisticProblem,
    ReuseTrajectory,
    first_order_bias,
    first_order_gap,
    reuse_budget,
    reuse_trajectory,
    stability_bound,
    stale_gradient_bound,
)

SMALL = {"n": 6, "steps": 5, "step_size": 0.2, "samples": 3}
ARRAYS = [field.name for field in dataclasses.fields(ReuseTrajectory) if "array" in field.type]


def rms(errors):
    return np.sqrt((errors**2).mean(axis=0))


# Trajectories


def by_hand(problem, seed, batches=None, resample=False):
    """Each sample by itself, one number after another."""
    sampling, freshness, _ = np.random.default_rng(seed).spawn(3)
    alpha, n, samples = SMALL["step_size"], SMALL["n"], SMALL["samples"]
    drawn = [problem.draw((samples, n), rng=sampling) for _ in range(6 if resample else 1)]
    fresh = [problem.draw((samples, n), rng=freshness) for _ in range(6)]
    rows = {name: np.zeros((samples, 6)) for name in ARRAYS}
    batches = None if batches is None else list(islice(batches, 6))
    for s in range(samples):
        theta, total, fresh_total = problem.start, np.zeros(3), np.zeros(3)
        for k in range(6):
            x, y = (part[s] for part in drawn[k if resample else 0])
            gradients = problem.gradients(theta, x, y)
            mean, true = gradients.mean(axis=0), problem.population_gradient(theta)
            error = mean - true
            other = problem.gradients(theta, *(part[s] for part in fresh[k])).mean(axis=0) - true
            if k == 0:
                first, stale = error, mean
            total, fresh_total = total + error, fresh_total + other
            norm = np.linalg.norm
            values = {
                "error": norm(error),
                "relative_error": norm(error) / norm(true),
                "accumulated_error": alpha * norm(total),
                "persistence": error @ first / norm(error) / norm(first),
                "alignment": mean @ true / norm(mean) / norm(true),
                "standard_error": (np.trace(np.cov(gradients.T)) / n) ** 0.5,
                "fresh_error": norm(other),
                "fresh_accumulated_error": alpha * norm(fresh_total),
                "stale_error": norm(stale - true),
                "gradient_norm": norm(mean),
                "population_gradient_norm": norm(true),
                "distance": norm(theta),
                "risk": problem.risk(theta),
                "sample_risk": problem.losses(theta, x, y).mean(),
            }
            for name, value in values.items():
                rows[name][s, k] = value
            step = mean if batches is None else gradients[batches[k][s]].mean(axis=0)
            theta = theta - alpha * step
    return rows


@every_problem
@pytest.mark.parametrize("kind", ["full batch", "minibatch", "resampled"])
def test_a_trajectory_by_hand(problem, kind):
    batches, options = None, {}
    if kind == "minibatch":
        batches, options = (
            reuse._batches(6, 4, 3, np.random.default_rng(11).spawn(3)[2]),
            {"batch_size": 4},
        )
    elif kind == "resampled":
        options = {"resample": True}
    found = reuse_trajectory(problem, **SMALL, **options, rng=11)
    expected = by_hand(problem, 11, batches, kind == "resampled")
    assert len(ARRAYS) == 14
    for name in ARRAYS:
        assert getattr(found, name).shape == (3, 6)
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-10, atol=1e-13)
    assert found.least_risk == pytest.approx(problem.risk(problem.target))
    assert (found.n, found.step_size, found.resampled) == (6, 0.2, kind == "resampled")
    assert found.batch_size == options.get("batch_size")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.n = 7
    with pytest.raises(TypeError, match="positional"):
        ReuseTrajectory(*dataclasses.astuple(found))


def test_batches_go_through_the_sample_in_a_random_order():
    found = list(islice(reuse._batches(7, 3, 2, np.random.default_rng(0)), 400))
    for one, two in zip(found[::2], found[1::2], strict=True):
        for s in range(2):
            assert len({*one[s], *two[s]}) == 6
    places = np.array(found)
    assert (places[:, 0] != places[:, 1]).any()
    counts = np.bincount(places[::2].ravel(), minlength=7)
    # Of 1200 places a seventh each, within five standard deviations.
    assert np.abs(counts - 1200 / 7).max() < 5 * (1200 * 6 / 49) ** 0.5


def test_a_batch_of_all_is_a_full_batch_and_one_of_few_is_not():
    problem = NORMAL[1]
    whole, same, few = (
        reuse_trajectory(problem, **SMALL, batch_size=size, rng=2) for size in (None, 6, 1)
    )
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(same, name), getattr(whole, name), rtol=1e-9, atol=1e-12)
    assert (few.error[:, 0] == whole.error[:, 0]).all()
    assert (few.error[:, 1:] != whole.error[:, 1:]).all()


@every_problem
def test_the_same_seed_gives_the_same_and_no_global_state_is_touched(problem):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    others = random.getstate(), torch.get_rng_state()
    options = {**SMALL, "batch_size": 2}
    one, same, other = (reuse_trajectory(problem, **options, rng=seed) for seed in (5, 5, 6))
    generated = reuse_trajectory(problem, **options, rng=np.random.default_rng(5))
    for name in ARRAYS:
        first = getattr(one, name)
        np.testing.assert_array_equal(first, getattr(same, name))
        np.testing.assert_array_equal(first, getattr(generated, name))
        # Before the first step some are the same for all samples.
        assert (first[:, 1:] != getattr(other, name)[:, 1:]).all()
    longer = reuse_trajectory(problem, **{**options, "steps": 9}, rng=5)
    np.testing.assert_array_equal(longer.error[:, :6], one.error)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert others[0] == random.getstate()
    assert torch.equal(others[1], torch.get_rng_state())


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize(
    ("problem", "step_size"),
    [(LinearProblem(dimension=20), 0.1), (LogisticProblem(dimension=20, scale=2.0), 0.4)],
)
def test_errors_stay_as_large_as_fresh_ones_but_keep_their_direction(problem, step_size, n):
    options = {"n": n, "steps": 200, "step_size": step_size, "samples": 24, "rng": 0}
    reused = reuse_trajectory(problem, **options)
    resampled = reuse_trajectory(problem, **options, resample=True)
    ratio = rms(reused.error) / rms(reused.fresh_error)
    assert ratio.min() > 0.75
    assert ratio.max() < 1.25
    # The exponent with which the sums grow, after the first steps.
    x = np.log(np.arange(201) + 1)[10:]
    exponents = [
        np.polyfit(x, np.log(rms(errors)[10:]), 1)[0]
        for errors in (
            reused.accumulated_error, reused.fresh_accumulated_error, resampled.accumulated_error
        )
    ]  # fmt: skip
    assert exponents[0] > 0.9
    assert max(exponents[1:]) < 0.65
    assert reused.persistence.mean(axis=0).min() > 0.5
    assert abs(resampled.persistence[:, 1:].mean()) < 0.05
    # The signal sinks below the error, and the risk turns; with new samples it does not.
    assert reused.alignment[:, 0].mean() > 0.8
    assert reused.alignment[:, -1].mean() < 0.0
    excess = [t.risk.mean(axis=0)[-1] - t.least_risk for t in (reused, resampled)]
    assert excess[0] > 10 * excess[1]
    assert np.median(reused.risk.argmin(axis=1)) < 80


def test_the_standard_error_is_right_at_first_and_too_small_after_much_reuse():
    trajectory = reuse_trajectory(
        LogisticProblem(dimension=20, scale=2.0), n=40, steps=200, step_size=0.4, samples=200, rng=0
    )
    ratio = rms(trajectory.standard_error) / rms(trajectory.error)
    assert ratio[0] == pytest.approx(1.0, abs=0.06)
    assert ratio[-1] < 0.6
    fresh = rms(trajectory.fresh_error)[0]
    assert rms(trajectory.standard_error)[0] == pytest.approx(fresh, rel=0.06)


def test_for_small_steps_the_risk_falls_as_long_as_the_gradients_agree():
    trajectory = reuse_trajectory(
        LinearProblem(dimension=20), n=40, steps=300, step_size=0.01, samples=24, rng=1
    )
    falls = np.diff(trajectory.risk, axis=1) < 0
    agree = trajectory.alignment[:, :-1] > 0
    assert (falls == agree).mean() > 0.98
    assert 0.1 < agree.mean() < 0.9


def test_where_a_direction_or_a_ratio_is_not_defined():
    trajectory = reuse_trajectory(LinearProblem(dimension=2, scale=0.0, noise=0.0), **SMALL, rng=0)
    assert (trajectory.error == 0).all()
    assert np.isnan(trajectory.persistence).all()
    assert np.isnan(trajectory.alignment).all()
    assert np.isinf(trajectory.relative_error).all()


@pytest.mark.parametrize(
    ("problem", "words"), [(NORMAL[0], "after .* steps"), (NORMAL[1], "length")]
)
def test_steps_that_diverge(problem, words):
    with pytest.raises(ValueError, match=f"{words}.*try a smaller step_size"):
        reuse_trajectory(problem, n=6, steps=500, step_size=1e5, samples=3, rng=0)


# The stability bound, against exact means over all samples


def exact(gradient, chances, n, step_size, steps, start):
    """Root mean square errors and noise, (steps + 1) each, by going through all samples.

    Observations have K values; a sample is given by how often each occurs. ``gradient`` maps
    weights (C, d) to the gradients (C, K, d) of the K losses; ``start`` gives weights for shares.
    """
    chances = np.asarray(chances)
    if len(chances) == 2:
        counts = np.stack([np.arange(n + 1), n - np.arange(n + 1)], axis=1)
        weights = stats.binom.pmf(counts[:, 0], n, chances[0])
    else:
        firsts = product(range(n + 1), repeat=len(chances) - 1)
        counts = np.array([(*c, n - sum(c)) for c in firsts if sum(c) <= n])
        weights = stats.multinomial.pmf(counts, n, chances)
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)
    shares = counts / n
    theta, errors, noise = start(shares), [], []
    for _ in range(steps + 1):
        gradients = gradient(theta)
        mean, true = ((w[:, None, :] @ gradients)[:, 0] for w in (shares, chances[None]))
        errors.append((weights @ ((mean - true) ** 2).sum(axis=1)) ** 0.5)
        spread = ((gradients - true[:, None]) ** 2).sum(axis=2) @ chances
        noise.append((weights @ spread) ** 0.5)
        theta = theta - step_size * mean
    return np.array(errors), np.array(noise)


def bound_for(noise, n, step_size, smoothness):
    """Theorem and formula as they stand, for steps of any length."""
    t, largest = np.arange(len(noise)), np.maximum.accumulate(noise)
    moved = step_size * smoothness * t / n
    return noise / n**0.5 + 8 * largest * moved * np.exp(2 * moved)


def quadratics(curvatures, slopes):
    """Losses a x^2 / 2 + b x in one dimension."""
    return lambda theta: (theta * curvatures + slopes)[..., None]


def fixed(*weights):
    return lambda shares: np.tile(np.array(weights, dtype=np.float64), (len(shares), 1))


def random_discrete_problem(generator, kind):
    """The gradient, chances and smoothness of a convex problem with two or three observations."""
    values = int(generator.integers(2, 4))
    chances = generator.dirichlet(np.ones(values))
    if kind == "parabolas":
        curvatures, slopes = generator.random(values), generator.standard_normal(values)
        return quadratics(curvatures, slopes), chances, curvatures.max(), 1
    x = generator.standard_normal((values, 2))
    squares = (x**2).sum(axis=1).max()
    if kind == "squares":
        y = generator.standard_normal(values)
        return lambda theta: (theta @ x.T - y)[..., None] * x, chances, squares, 2
    y = generator.integers(0, 2, values)
    return lambda theta: (special.expit(theta @ x.T) - y)[..., None] * x, chances, squares / 4, 2


@pytest.mark.parametrize("kind", ["parabolas", "squares", "logistic"])
def test_the_stability_bound_holds_exactly(kind):
    generator = np.random.default_rng([len(kind), 3])
    shares, above_fresh = [], 0.0
    for _ in range(120):
        gradient, chances, smoothness, dimension = random_discrete_problem(generator, kind)
        n, steps = int(generator.integers(2, 9)), 8
        step_size = 2 * generator.random() ** 0.5 / smoothness
        start = fixed(*(3 * generator.standard_normal(dimension)))
        errors, noise = exact(gradient, chances, n, step_size, steps, start)
        found = stability_bound(
            np.arange(steps + 1), n=n, step_size=step_size, smoothness=smoothness, sigma=noise,
            largest_sigma=np.maximum.accumulate(noise),
        )  # fmt: skip
        np.testing.assert_allclose(found, bound_for(noise, n, step_size, smoothness), rtol=1e-12)
        assert np.all(errors <= found * (1 + 1e-12))
        assert errors[0] == pytest.approx(noise[0] / n**0.5)
        shares.append((errors / found)[1:].max())
        above_fresh = max(above_fresh, (errors * n**0.5 / noise).max())
    # It is not empty, and the error of a fresh sample alone would be no bound.
    assert max(shares) > 0.5
    assert above_fresh > 1.5


def exact_quadratics(curvatures, slopes, chances, n, step_size, steps, start):
    gradient = quadratics(np.array(curvatures), np.array(slopes))
    errors, noise = exact(gradient, chances, n, step_size, steps, start)
    return errors / bound_for(noise, n, step_size, np.abs(curvatures).max())


def test_without_convexity_the_bound_fails():
    """Nonconvex losses drive the weights apart, so that the farthest have the largest errors."""
    noise = [1e-3, -1e-3]
    setting = {"chances": [0.5, 0.5], "n": 100_000, "step_size": 1.0, "start": fixed(0.0)}
    shares = exact_quadratics([-1.0, -0.8], noise, steps=14, **setting)
    assert shares.max() > 1.15
    assert exact_quadratics([1.0, 0.8], noise, steps=14, **setting).max() <= 1 + 1e-9


def test_with_longer_steps_the_bound_fails():
    noise = [1e-3, -1e-3]
    setting = {"chances": [0.5, 0.5], "n": 1_000_000, "start": fixed(0.0)}
    shares = exact_quadratics([1.0, 0.8], noise, step_size=4.0, steps=14, **setting)
    assert shares.max() > 1.1
    assert exact_quadratics([1.0, 0.8], noise, step_size=2.0, steps=14, **setting).max() <= 1 + 1e-9
    with pytest.raises(ValueError, match="longer steps need not be stable"):
        stability_bound(14, n=1_000_000, step_size=4.0, smoothness=1.0, sigma=1.0)


def test_with_a_start_that_depends_on_the_sample_the_bound_fails():
    """Here it is farther out where the sample is farther off."""

    def warm(shares):
        return 1.0 + 20 * np.abs(shares[:, :1] - 0.5)

    setting = {"chances": [0.5, 0.5], "n": 10, "step_size": 0.01, "steps": 2}
    assert exact_quadratics([0.0, 2.0], [0.0, 0.0], start=warm, **setting).min() > 1.3
    assert exact_quadratics([0.0, 2.0], [0.0, 0.0], start=fixed(3.0), **setting).max() <= 1 + 1e-9


def chosen_by_a_look(n, step_size, steps, start, moves):
    """Root mean squares of error, noise and largest noise, for losses x^2 and -x, half and half.

    ``moves`` gives for shares of the first loss, and weights, the gradient that each step takes.
    """
    share = np.arange(n + 1) / n
    weights = stats.binom.pmf(np.arange(n + 1), n, 0.5)
    theta, noises = np.full(n + 1, start), []
    for k in range(steps + 1):
        noises.append((weights @ (theta + 0.5) ** 2) ** 0.5)
        error = (weights @ ((share - 0.5) * (2 * theta + 1)) ** 2) ** 0.5
        if k < steps:
            theta = theta - step_size * moves(share, theta)
    return error, noises[-1], max(noises)


def full(share, theta):
    return share * 2 * theta - (1 - share)


def batch_of_a_kind(share, theta):
    """Steps on the second loss alone where the sample is far off, and else on the first alone."""
    return np.where(abs(share - 0.5) * 2 * (len(share) - 1) ** 0.5 > 1, -1.0, 2 * theta)


def until_it_is_off(share, theta):
    """Full steps where the sample is far off; the others stop at once."""
    return np.where(abs(share - 0.5) * 2 * (len(share) - 1) ** 0.5 > 1, full(share, theta), 0.0)


@pytest.mark.parametrize(("start", "moves"), [(1.0, batch_of_a_kind), (-0.5, until_it_is_off)])
def test_with_batches_or_a_number_of_steps_chosen_by_a_look_the_bound_fails(start, moves):
    setting = {"n": 10_000, "step_size": 0.01}
    for move, least, most in ((moves, 1.15, 2.0), (full, 0.0, 1.0)):
        error, noise, largest = chosen_by_a_look(**setting, steps=100, start=start, moves=move)
        bound = stability_bound(
            100, **setting, smoothness=2.0, sigma=noise, largest_sigma=max(largest, noise)
        )
        assert least * bound < error <= most * bound


def test_with_observations_that_are_copies_the_bound_fails():
    """All n of them are the same, one of the two: no step is needed."""
    error = 2.0  # half of the distance of the two gradients, 4 and 0 at weight 2
    assert error > 3 * stability_bound(0, n=10, step_size=0.1, smoothness=2.0, sigma=error)


def test_without_smoothness_the_bound_fails():
    """A kink, which some samples cross: just those for which the slope behind it is off."""
    n, chances, step_size = 20, np.array([0.3, 0.7]), 1e-3
    before, after = 0.1 * np.array([-0.5, 0.5]), np.array([1.05, 0.05])

    def kinked(width):
        def gradient(theta):
            crossed = np.clip(theta / width, 0.0, 1.0) if width else np.where(theta > 0, 1.0, 0.0)
            return (before + crossed * (after - before))[..., None]

        return gradient

    errors, noise = exact(kinked(0.0), chances, n, step_size, 1, fixed(0.0))
    # Away from the kink the losses are straight; no claim of a modest smoothness would be true.
    for claimed in (0.0, 1.0, 10.0):
        assert errors[1] > 1.5 * bound_for(noise, n, step_size, claimed)[1]
    errors, noise = exact(kinked(1e-3), chances, n, step_size, 1, fixed(0.0))
    smoothness = (after - before).max() / 1e-3
    assert smoothness * step_size <= 2
    assert np.all(errors <= bound_for(noise, n, step_size, smoothness) * (1 + 1e-12))


@pytest.mark.parametrize(
    ("problem", "step_size"),
    [
        (LinearProblem(dimension=20, inputs="sphere"), 0.1),
        (LogisticProblem(dimension=20, scale=2.0, inputs="sphere"), 0.4),
    ],
)
def test_the_bound_holds_in_simulation_and_is_loose(problem, step_size):
    n, steps = 100, 300
    trajectory = reuse_trajectory(problem, n=n, steps=steps, step_size=step_size, samples=24, rng=0)
    noise, errors = rms(trajectory.fresh_error) * n**0.5, rms(trajectory.error)
    bound = stability_bound(
        np.arange(steps + 1), n=n, step_size=step_size, smoothness=problem.smoothness, sigma=noise,
        largest_sigma=np.maximum.accumulate(noise),
    )  # fmt: skip
    assert np.all(errors[1:] <= bound[1:])
    # At the start they are the same but for chance.
    assert errors[0] == pytest.approx(bound[0], rel=0.1)
    assert 2 < bound[1] / errors[1] < 4
    # What the caveats of a budget say.
    assert bound[100] > 1000 * errors[100]
    assert errors[100:].max() < 1.2 * rms(trajectory.fresh_error)[100:].min()
    assert (
        "a thousandfold"
        in reuse_budget(
            1.0, n=n, step_size=step_size, smoothness=problem.smoothness, sigma=5.0
        ).caveats[0]
    )


def test_the_formula_of_the_stability_bound():
    setting = {"n": 100, "step_size": 0.5, "smoothness": 3.0}
    found = stability_bound([0, 1, 20], **setting, sigma=2.0)
    by_hand = [0.2, 0.2 + 24 * 0.01 * math.exp(0.03), 0.2 + 24 * 0.2 * math.exp(0.6)]
    np.testing.assert_allclose(found, by_hand, rtol=1e-14)
    found = stability_bound(20, **setting, sigma=[0.0, 1.0], largest_sigma=2.0)
    np.testing.assert_allclose(found, [24 * 0.2 * math.exp(0.6), 0.1 + 24 * 0.2 * math.exp(0.6)])
    assert stability_bound(10**9, **setting, sigma=2.0) == np.inf
    assert stability_bound(10**9, **setting, sigma=0.0) == 0.0
    assert stability_bound(10**9, n=4, step_size=1.0, smoothness=0.0, sigma=2.0) == 1.0
    # The longest step that is allowed, whatever the rounding of 2 / smoothness.
    for smoothness in range(1, 200):
        stability_bound(1, n=10, step_size=2 / smoothness, smoothness=float(smoothness), sigma=1.0)


# The stale gradient


@every_problem
def test_the_bound_for_a_stale_gradient(problem):
    trajectory = reuse_trajectory(problem, n=20, steps=50, step_size=0.2, samples=20, rng=3)
    first, distance = trajectory.error[:, :1], trajectory.distance
    bound = stale_gradient_bound(first, distance, smoothness=problem.population_smoothness)
    assert np.all(trajectory.stale_error <= bound * (1 + 1e-12))
    assert np.all(trajectory.stale_error[:, 0] == first[:, 0])
    # Close to being reached; with half of the smoothness it would be wrong.
    assert (trajectory.stale_error / bound)[:, 1:].max() > 0.9
    smaller = stale_gradient_bound(first, distance, smoothness=problem.population_smoothness / 2)
    assert (trajectory.stale_error > smaller).any()


def test_the_bound_for_a_stale_gradient_is_sharp_and_needs_smoothness():
    np.testing.assert_allclose(
        stale_gradient_bound([0.5, 0.0], [2.0, 3.0], smoothness=4.0), [8.5, 12.0]
    )
    # In one dimension the two terms either add up or cancel.
    trajectory = reuse_trajectory(
        LinearProblem(dimension=1), n=20, steps=1, step_size=0.2, samples=50, rng=0
    )
    bound = stale_gradient_bound(trajectory.error[:, :1], trajectory.distance, smoothness=1.0)
    reached = np.isclose(trajectory.stale_error[:, 1], bound[:, 1], rtol=1e-12)
    assert 10 < reached.sum() < 40
    # The slope of |x| jumps by 2 between -d and d.
    assert stale_gradient_bound(0.0, 2e-6, smoothness=100.0) < 2.0


# The first order


@every_problem
def test_the_first_order_formulas_against_monte_carlo(problem):
    n, steps, step_size, samples = 5, 3, 1e-3, 100_000
    x, y = problem.draw((samples, n), rng=12)
    theta = np.zeros((samples, 3))

    def errors():
        mean = problem.gradients(theta, x, y).mean(axis=1)
        gap = problem.risk(theta) - problem.losses(theta, x, y).mean(axis=1)
        return mean - problem.population_gradient(theta), gap

    # At the start the mean error is 0; to take it off leaves less to chance.
    bias, gap = errors()
    for _ in range(steps):
        theta = theta - step_size * problem.gradients(theta, x, y).mean(axis=1)
    bias, gap = (after - before for after, before in zip(errors(), (bias, gap), strict=True))
    setting = {"n": n, "steps": steps, "step_size": step_size}
    for draws, exact_value in (
        (bias, first_order_bias(problem, **setting)),
        (gap, first_order_gap(problem, **setting)),
    ):
        error = draws.std(axis=0) / samples**0.5
        # Terms of second order are smaller by the step, times the curvature of a few losses.
        second = 5 * steps * step_size * np.abs(exact_value)
        assert np.all(np.abs(draws.mean(axis=0) - exact_value) < 5 * error + second)
        assert np.all(5 * error + second < 0.3 * np.abs(exact_value))


def test_the_first_order_formulas_written_out():
    problem, setting = (
        LinearProblem(dimension=4, noise=2.0, scale=1.0),
        {"steps": 5, "step_size": 0.1},
    )
    np.testing.assert_allclose(
        first_order_bias(problem, n=50, **setting), 0.05 * np.ones(4) / 2 / 5 * 5
    )
    assert first_order_gap(problem, n=50, **setting) == pytest.approx(0.01 * (5 + 16))
    sphere = dataclasses.replace(problem, inputs="sphere")
    assert first_order_gap(sphere, n=50, **setting) == pytest.approx(0.01 * (3 + 16))


# The budget


TAMED = {"allow_nan": False, "allow_infinity": False}
BUDGETS = {
    "over": st.floats(1e-3, 1e3, **TAMED),
    "n": st.integers(2, 10**7),
    "step_size": st.floats(1e-4, 10.0, **TAMED),
    "rate": st.floats(1e-4, 2.0, **TAMED),
    "sigma": st.floats(1e-6, 1e6, **TAMED),
}


@settings(deadline=None, max_examples=200)
@given(**BUDGETS)
def test_the_budget_is_the_largest_number_of_steps(over, n, step_size, rate, sigma):
    smoothness, tolerance = rate / step_size, (1 + over) * sigma / n**0.5
    budget = reuse_budget(tolerance, n=n, step_size=step_size, smoothness=smoothness, sigma=sigma)
    setting = {"n": n, "step_size": step_size, "smoothness": smoothness, "sigma": sigma}
    at, after = stability_bound([budget.steps, budget.steps + 1], **setting)
    assert at <= tolerance < after
    assert (at, after) == (budget.bound, budget.next_bound)
    # The other way: Lambert's W, which may round to the next number.
    u = special.lambertw((tolerance - sigma / n**0.5) / (4 * sigma)).real
    k = n * u / (2 * step_size * smoothness)
    assert budget.first_certified
    assert math.floor(k * (1 - 1e-9)) <= budget.steps <= math.floor(k * (1 + 1e-9))
    assert budget.fresh_error == pytest.approx(sigma / n**0.5)
    assert budget.doubling_steps == pytest.approx(n**0.5 / (8 * rate), rel=1e-9)


def test_the_budget_against_a_count():
    for tolerance in np.linspace(0.1, 0.4, 30):
        setting = {"n": 100, "step_size": 0.02, "smoothness": 1.5, "sigma": 1.0}
        bounds = stability_bound(np.arange(2000), **setting)
        count = int((bounds <= tolerance).sum())
        budget = reuse_budget(float(tolerance), **setting)
        assert budget.steps == count - 1
    # Twice the error of a fresh sample lasts for a little less than the doubling time.
    budget = reuse_budget(0.002, n=10**6, step_size=0.02, smoothness=1.5, sigma=1.0)
    assert 0.99 * budget.doubling_steps < budget.steps <= budget.doubling_steps


def test_what_zero_and_none_mean():
    setting = {"n": 100, "step_size": 0.5, "smoothness": 3.0, "sigma": 2.0}
    below = reuse_budget(0.19, **setting)
    assert (below.steps, below.first_certified, below.bound) == (0, False, 0.2)
    assert str(below).startswith("0 steps: even the first gradient has an error of 0.2, above")
    first = reuse_budget(0.2, **setting)
    assert (first.steps, first.first_certified) == (0, True)
    assert first.next_bound > 0.2
    assert str(first).startswith("0 steps: the bound is 0.2 then, and 0.447 one step later")
    one = reuse_budget(0.45, **setting)
    assert one.steps == 1
    assert str(one).startswith("1 step: ")
    for change, bound in (({"sigma": 0.0}, 0.0), ({"smoothness": 0.0}, 0.2)):
        unlimited = reuse_budget(0.2, **{**setting, **change})
        assert (unlimited.steps, unlimited.next_bound) == (None, None)
        assert unlimited.bound == pytest.approx(bound)
        assert str(unlimited).startswith("no limit: ")
    straight = reuse_budget(0.19, **{**setting, "smoothness": 0.0})
    assert (straight.steps, straight.first_certified) == (0, False)
    assert straight.doubling_steps == math.inf
    assert reuse_budget(0.0, **{**setting, "sigma": 0.0}).steps is None
    slow = {**setting, "step_size": 1e-300, "smoothness": 1e-20}
    assert reuse_budget(0.3, **slow).steps is None
    assert reuse_budget(0.3, **{**slow, "smoothness": 1e5}).steps > 10**290


def test_with_steps_of_full_length_and_few_observations_no_reuse_is_certified():
    for n, steps in ((63, 0), (80, 1)):
        setting = {"n": n, "step_size": 1.0, "smoothness": 1.0, "sigma": 1.0}
        assert reuse_budget(2.04 / n**0.5, **setting).steps == steps


def test_a_budget_says_that_it_is_loose_and_what_it_does_not_cover():
    budget = reuse_budget(0.3, n=100, step_size=0.02, smoothness=1.5, sigma=1.0)
    words = str(budget)
    for part in ("loose", "does not cover networks", "minibatches", "root mean square", "add up"):
        assert part in words
    assert f"{budget.steps} steps: the bound is {budget.bound:.3g}" in words
    with pytest.raises(dataclasses.FrozenInstanceError):
        budget.steps = 7


# What makes no sense


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 1}, "expected n as an integer of 2 or more, and got 1"),
        ({"n": 0}, "expected n"),
        ({"n": 6.0}, "expected n as an integer"),
        ({"n": True}, "expected n as an integer"),
        ({"steps": 0}, "expected steps as an integer of 1 or more, and got 0"),
        ({"samples": 0}, "expected samples"),
        ({"step_size": 0.0}, "expected step_size as a finite number above 0, and got 0.0"),
        ({"step_size": -0.1}, "expected step_size"),
        ({"step_size": np.nan}, "expected step_size"),
        ({"step_size": "0.1"}, "expected step_size"),
        ({"batch_size": 0}, "expected batch_size as an integer of 1"),
        (
            {"batch_size": 7},
            "expected a batch_size of at most n = 6, and got 7; try batch_size=None",
        ),
        ({"rng": -1}, "seed of 0 or more"),
    ],
)
def test_what_no_trajectory_can_have(changes, words):
    with pytest.raises(ValueError, match=words):
        reuse_trajectory(NORMAL[0], **{**SMALL, "rng": 0, **changes})


def test_a_trajectory_needs_a_seed_and_a_problem():
    with pytest.raises(TypeError, match="rng"):
        reuse_trajectory(NORMAL[0], **SMALL)
    with pytest.raises(TypeError, match="reuse_trajectory needs rng="):
        reuse_trajectory(NORMAL[0], **SMALL, rng=None)
    with pytest.raises(TypeError, match="rng"):
        NORMAL[0].draw(5)
    for call in (
        lambda: reuse_trajectory("linear", **SMALL, rng=0),
        lambda: first_order_gap("linear", n=5, steps=1, step_size=0.1),
    ):
        with pytest.raises(
            TypeError, match="expected a LinearProblem or a LogisticProblem, and got 'l"
        ):
            call()


BOUND = {"n": 100, "step_size": 0.5, "smoothness": 3.0, "sigma": 2.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 1}, "expected n as an integer of 2"),
        ({"step_size": 0.0}, "expected step_size"),
        ({"smoothness": -1.0}, "expected smoothness"),
        ({"smoothness": np.nan}, "expected smoothness"),
        ({"smoothness": math.inf}, 'a common finite smoothness, .*try inputs="sphere"'),
        ({"smoothness": 4.1}, r"at most 2, and got 2\.05: .*try step_size=0\.488 or less"),
        ({"sigma": -1.0}, "expected sigma"),
        ({"sigma": np.nan}, "expected sigma"),
    ],
)
def test_what_is_outside_of_the_theorem(changes, words):
    with pytest.raises(ValueError, match=words):
        stability_bound(3, **{**BOUND, **changes})
    with pytest.raises(ValueError, match=words):
        reuse_budget(1.0, **{**BOUND, **changes})


@pytest.mark.parametrize("tolerance", [-0.1, np.nan, np.inf])
def test_a_tolerance_that_makes_no_sense(tolerance):
    with pytest.raises(ValueError, match="expected tolerance as a finite number of 0 or more"):
        reuse_budget(tolerance, **BOUND)


def test_bounds_of_what_makes_no_sense():
    for steps in (-1, 1.5, [1, -2]):
        with pytest.raises(ValueError, match="expected steps as whole numbers of 0 or more"):
            stability_bound(steps, **BOUND)
    with pytest.raises(ValueError, match="expected a largest_sigma of at least sigma"):
        stability_bound(3, **BOUND, largest_sigma=1.0)
    for first, distance, smoothness in (
        (-1.0, 1.0, 1.0),
        (1.0, [0.0, np.nan], 1.0),
        (1.0, 1.0, -1.0),
    ):
        with pytest.raises(ValueError, match="of 0 or more"):
            stale_gradient_bound(first, distance, smoothness=smoothness)
    for call in (first_order_bias, first_order_gap):
        for changes in ({"n": 1}, {"steps": 0}, {"step_size": 0.0}):
            with pytest.raises(ValueError, match="expected"):
                call(NORMAL[0], **{"n": 5, "steps": 1, "step_size": 0.1, **changes})
