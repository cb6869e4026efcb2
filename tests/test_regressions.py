"""The two problems: what they draw, and their exact risks and gradients, by other routes."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from gradnotes import regressions
from gradnotes.regressions import LinearProblem, LogisticProblem

NORMAL = [LinearProblem(dimension=3, noise=0.7, scale=1.5), LogisticProblem(dimension=3, scale=2.0)]
PROBLEMS = NORMAL + [dataclasses.replace(problem, inputs="sphere") for problem in NORMAL]
every_problem = pytest.mark.parametrize(
    "problem", PROBLEMS, ids=lambda p: f"{type(p).__name__}-{p.inputs}"
)
# At 0, near, at the true weights' length, and long.
LENGTHS = (0.0, 0.3, 2.0, 7.0)


def along(problem, length):
    """Weights of this length, in a direction that is not special."""
    direction = np.random.default_rng(1).standard_normal(problem.dimension)
    return length * direction / np.linalg.norm(direction)


# The two problems


@every_problem
def test_inputs_are_centred_with_the_identity_as_covariance(problem):
    x, _ = problem.draw(40_000, rng=0)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=5 / 200)
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(3), atol=5 * 2**0.5 / 200)
    on_sphere = np.allclose((x**2).sum(axis=1), 3.0)
    assert on_sphere == (problem.inputs == "sphere")


def test_responses_come_from_the_model():
    linear, logistic = NORMAL
    x, y = linear.draw((2, 50_000), rng=3)
    left = y - x @ linear.target
    assert left.std() == pytest.approx(0.7, abs=0.01)
    assert abs((left[..., None] * x).mean()) < 0.01
    assert np.linalg.norm(linear.target) == pytest.approx(1.5)
    x, y = logistic.draw(100_000, rng=3)
    margins = x @ logistic.target
    assert set(np.unique(y)) == {0.0, 1.0}
    for low, high in ((-3, -2), (-0.5, 0.5), (1, 2)):
        part = (margins > low) & (margins < high)
        expected = special.expit(margins[part])
        allowed = 5 * np.sqrt((expected * (1 - expected)).sum()) / part.sum()
        assert abs(y[part].mean() - expected.mean()) < allowed


@every_problem
def test_gradients_are_the_derivatives_of_the_losses(problem):
    x, y = problem.draw((2, 5), rng=1)
    theta = np.random.default_rng(2).standard_normal((2, 3))
    found = problem.gradients(theta, x, y)
    assert found.shape == (2, 5, 3)
    for j, step in enumerate(1e-6 * np.eye(3)):
        rise = problem.losses(theta + step, x, y) - problem.losses(theta - step, x, y)
        np.testing.assert_allclose(found[..., j], rise / 2e-6, atol=1e-8)


@every_problem
@pytest.mark.parametrize("length", LENGTHS)
def test_population_gradient_and_risk_against_monte_carlo(problem, length):
    theta = along(problem, length)
    x, y = problem.draw(200_000, rng=4)
    for draws, exact in (
        (problem.gradients(theta, x, y), problem.population_gradient(theta)),
        (problem.losses(theta, x, y), problem.risk(theta)),
    ):
        error = draws.std(axis=0) / len(draws) ** 0.5
        # At 0 all logistic losses are the same.
        assert np.all(np.abs(draws.mean(axis=0) - exact) < 5 * error + 1e-12)
        # A tenth of a typical gradient would be seen.
        assert np.all(error < 0.02 * (1 + length))


@every_problem
@pytest.mark.parametrize("length", LENGTHS)
def test_the_population_gradient_is_the_derivative_of_the_risk(problem, length):
    theta = along(problem, length)
    for j, step in enumerate(1e-5 * np.eye(3)):
        rise = problem.risk(theta + step) - problem.risk(theta - step)
        assert rise / 2e-5 == pytest.approx(problem.population_gradient(theta)[j], abs=1e-9)


@every_problem
def test_the_true_weights_have_no_gradient_and_the_least_risk(problem):
    np.testing.assert_allclose(problem.population_gradient(problem.target), 0.0, atol=1e-15)
    around = problem.target + np.random.default_rng(0).standard_normal((50, 3))
    assert (problem.risk(around) > problem.risk(problem.target)).all()
    assert problem.risk(around).shape == (50,)
    assert problem.population_gradient(around.reshape(5, 10, 3)).shape == (5, 10, 3)


@pytest.mark.parametrize("length", [0.2, 1.0, 3.0])
def test_the_logistic_integral_by_gauss_hermite_without_steins_identity(length):
    """E[T s(r T)] / r, with the logistic function itself in place of its derivative."""
    nodes, weights = special.roots_hermitenorm(120)
    weights /= weights.sum()
    found = LogisticProblem(dimension=3)._stein(length)
    assert found == pytest.approx(
        weights @ (nodes * special.expit(length * nodes)) / length, rel=1e-8
    )
    theta = along(LogisticProblem(dimension=3), length)
    risk = LogisticProblem(dimension=3, scale=0.0).risk(theta)
    assert risk == pytest.approx(weights @ np.logaddexp(0.0, length * nodes), rel=1e-8)


@pytest.mark.parametrize("dimension", [2, 3, 4, 20, 100])
@pytest.mark.parametrize("length", [0.2, 1.0, 4.0])
def test_the_logistic_integral_on_the_sphere_by_gauss_jacobi(dimension, length):
    power = (dimension - 3) / 2
    nodes, weights = special.roots_jacobi(300, power, power)
    nodes, weights = dimension**0.5 * nodes, weights / weights.sum()
    problem = LogisticProblem(dimension=dimension, inputs="sphere", scale=0.0)
    expected = weights @ (nodes * special.expit(length * nodes)) / length
    assert problem._stein(length) == pytest.approx(expected, rel=1e-10)
    risk = problem.risk(along(problem, length))
    assert risk == pytest.approx(weights @ np.logaddexp(0.0, length * nodes), rel=1e-10)


@pytest.mark.parametrize("length", [20.0, 200.0, 9000.0])
def test_the_logistic_integral_for_long_weights(length):
    def integrand(s):
        return regressions._slope(s) * stats.norm.pdf(s / length) / length

    expected = 2 * integrate.quad(integrand, 0, 60, epsabs=0, epsrel=1e-12, limit=200)[0]
    problem = LogisticProblem(dimension=3)
    assert problem._stein(length) == pytest.approx(expected, rel=1e-10)
    # Together with shorter ones the rule is another, and the result is the same.
    together = problem._stein([1.0, length])
    np.testing.assert_allclose(together, [problem._stein(1.0), expected], rtol=1e-10)
    # On the sphere in 3-D a coordinate is uniform, and its mean slope known.
    sphere = dataclasses.replace(problem, inputs="sphere")
    r = length * 3**0.5

    def softplus_mean(s):
        return math.log1p(math.exp(-s)) / r

    tail = integrate.quad(softplus_mean, 0, 60, epsabs=0, epsrel=1e-12, limit=200)[0]
    risk = dataclasses.replace(sphere, scale=0.0).risk(along(problem, length))
    assert risk == pytest.approx(r / 4 + tail, rel=1e-10)


@every_problem
def test_the_variance_at_the_start_against_monte_carlo(problem):
    draws = problem.gradients(problem.start, *problem.draw(200_000, rng=6))
    squares = ((draws - draws.mean(axis=0)) ** 2).sum(axis=1)
    error = squares.std() / len(squares) ** 0.5
    assert abs(squares.mean() - problem.trace_at_start()) < 5 * error
    assert error < 0.01 * problem.trace_at_start()


@every_problem
def test_the_gradient_of_the_variance_against_monte_carlo(problem):
    """Twice the covariance of second and first derivatives, along the true weights."""
    x, y = problem.draw(400_000, rng=7)
    gradients = problem.gradients(problem.start, x, y)
    curvature = 1.0 if isinstance(problem, LinearProblem) else 0.25
    centred = gradients - problem.population_gradient(problem.start)
    draws = 2 * curvature * x * (x * centred).sum(axis=1, keepdims=True)
    error = draws.std(axis=0) / len(draws) ** 0.5
    exact = problem.trace_gradient_at_start()
    assert np.all(np.abs(draws.mean(axis=0) - exact) < 5 * error)
    assert np.all(error < 0.05 * np.abs(exact))


@every_problem
def test_smoothness_is_what_it_says(problem):
    generator = np.random.default_rng(8)
    one, other = generator.standard_normal((2, 400, 3))
    near = one + 1e-3 * (other - one)
    apart = np.linalg.norm(one - near, axis=1)
    change = problem.population_gradient(one) - problem.population_gradient(near)
    assert np.all(
        np.linalg.norm(change, axis=1) <= problem.population_smoothness * apart * (1 + 1e-9)
    )
    origin = 1e-4 * one
    change = problem.population_gradient(origin) - problem.population_gradient(-origin)
    slopes = np.linalg.norm(change, axis=1) / np.linalg.norm(2 * origin, axis=1)
    np.testing.assert_allclose(slopes, problem.population_smoothness, rtol=1e-3)
    x, y = problem.draw(4000, rng=9)
    # The curvature of a loss along its own input, at weights 0, is the largest there is.
    ends = 1e-4 * x[:, None, :]
    steep = [problem.gradients(sign * ends[:, 0], x[:, None], y[:, None])[:, 0] for sign in (1, -1)]
    curvatures = np.linalg.norm(steep[0] - steep[1], axis=1) / np.linalg.norm(
        2 * ends[:, 0], axis=1
    )
    if problem.inputs == "sphere":
        np.testing.assert_allclose(curvatures, problem.smoothness, rtol=1e-3)
    else:
        assert problem.smoothness == math.inf
        assert curvatures.max() > 4 * np.median(curvatures)


@pytest.mark.parametrize(
    ("make", "changes", "words"),
    [
        (LinearProblem, {"dimension": 0}, "the dimension as an integer of 1"),
        (LinearProblem, {"dimension": 1, "inputs": "sphere"}, "the dimension as an integer of 2"),
        (LinearProblem, {"inputs": "cube"}, "inputs among normal, sphere, and got 'cube'"),
        (LinearProblem, {"noise": -1.0}, "expected the noise"),
        (LinearProblem, {"noise": np.inf}, "expected the noise"),
        (LogisticProblem, {"scale": -1.0}, "expected the scale"),
        (LogisticProblem, {"scale": np.nan}, "expected the scale"),
        (LogisticProblem, {"scale": 2e4}, "a scale of at most 10000"),
    ],
)
def test_what_is_no_problem(make, changes, words):
    with pytest.raises(ValueError, match=words):
        make(**{"dimension": 3, **changes})


def test_weights_that_are_too_long():
    with pytest.raises(ValueError, match="length 10000 at most, and got 20000"):
        LogisticProblem(dimension=4).risk([1e4] * 4)
    with pytest.raises(ValueError, match="length 10000 at most, and got nan"):
        LogisticProblem(dimension=1).population_gradient([np.nan])
