"""Kriging: against scikit-learn, finite differences and formulas, and its errors."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

from gradnotes import kriging
from gradnotes.kriging import KERNELS, krige

POINTS = np.random.default_rng(0).uniform(-1, 1, (15, 2))
AT = np.random.default_rng(1).uniform(-1, 1, (40, 2))


def wave(x):
    return np.sin(2 * x[:, 0] + x[:, 1]) + x[:, 0] * x[:, 1] ** 2


def wave_gradient(x):
    slope = np.cos(2 * x[:, 0] + x[:, 1])
    return np.column_stack([2 * slope + x[:, 1] ** 2, slope + 2 * x[:, 0] * x[:, 1]])


def peer(model):
    """The same process in scikit-learn, which has no unknown mean."""
    shape = RBF(model.lengths) if model.kernel == KERNELS[0] else Matern(model.lengths, nu=2.5)
    kernel = ConstantKernel(model.variance) * shape
    noise = model.nugget * model.variance
    return GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)


@pytest.mark.parametrize("kernel", KERNELS)
def test_on_values_it_is_the_process_of_scikit_learn(kernel):
    model = krige(POINTS, wave(POINTS), kernel=kernel, nugget=1e-8)
    theirs = peer(model).fit(POINTS, wave(POINTS) - model.mean)
    np.testing.assert_allclose(model.value(AT), model.mean + theirs.predict(AT), atol=1e-6)
    density = theirs.log_marginal_likelihood_value_
    assert model.log_likelihood == pytest.approx(density, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_lengths_are_at_least_as_likely_as_those_that_scikit_learn_finds(kernel):
    ours = krige(POINTS, wave(POINTS), kernel=kernel, nugget=1e-6)
    start = peer(ours)
    found = GaussianProcessRegressor(
        start.kernel, alpha=start.alpha, n_restarts_optimizer=5, random_state=0
    ).fit(POINTS, wave(POINTS) - ours.mean)
    assert ours.log_likelihood > found.log_marginal_likelihood_value_ - 0.5


@pytest.mark.parametrize("kernel", KERNELS)
def test_correlations_of_slopes_are_the_derivatives_of_the_kernel(kernel):
    first, second = (torch.from_numpy(x).requires_grad_() for x in (POINTS[:4], AT[:3]))
    found = kriging._correlations(kernel, first, second, (True, True)).detach()
    for i in range(4):
        for j in range(3):

            def plain(u, v):
                return kriging._correlations(kernel, u[None], v[None], (False, False))[0, 0]

            u, v = first[i].detach(), second[j].detach()
            jac = torch.autograd.functional.jacobian(plain, (u, v))
            hessian = torch.autograd.functional.hessian(plain, (u, v))[0][1]
            assert torch.isclose(found[i, j], plain(u, v))
            assert torch.allclose(found[4 + i :: 4, j], jac[0])
            assert torch.allclose(found[i, 3 + j :: 3], jac[1])
            assert torch.allclose(found[4 + i :: 4, 3 + j :: 3], hessian)


def test_the_kernels_against_their_formulas():
    distance = np.linalg.norm((POINTS[:3, None] - AT[None, :5]), axis=-1)
    far = np.sqrt(5) * distance
    expected = {
        "squared exponential": np.exp(-(distance**2) / 2),
        "matern": (1 + far + far**2 / 3) * np.exp(-far),
    }
    pair = torch.from_numpy(POINTS[:3]), torch.from_numpy(AT[:5])
    for kernel, numbers in expected.items():
        found = kriging._correlations(kernel, *pair, (False, False))
        np.testing.assert_allclose(found.numpy(), numbers, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("with_gradients", [False, True])
def test_data_are_met_and_the_gradient_is_that_of_the_value(kernel, with_gradients):
    slopes = wave_gradient(POINTS) if with_gradients else None
    model = krige(POINTS, wave(POINTS), slopes, kernel=kernel, nugget=1e-9)
    np.testing.assert_allclose(model.value(POINTS), wave(POINTS), atol=1e-3)
    if with_gradients:
        np.testing.assert_allclose(model.gradient(POINTS), slopes, atol=1e-3)
    h = 1e-5
    for k, step in enumerate(h * np.eye(2)):
        quotient = (model.value(AT + step) - model.value(AT - step)) / (2 * h)
        np.testing.assert_allclose(model.gradient(AT)[:, k], quotient, atol=1e-4)


def test_gradients_help_on_a_smooth_function():
    plain = krige(POINTS, wave(POINTS))
    told = krige(POINTS, wave(POINTS), wave_gradient(POINTS))
    for quantity, truth in (("value", wave(AT)), ("gradient", wave_gradient(AT))):
        errors = [np.square(getattr(m, quantity)(AT) - truth).mean() for m in (plain, told)]
        assert errors[1] < errors[0] / 25


def test_the_density_of_values_and_slopes_is_that_of_a_normal_distribution():
    """By NumPy, in the units of the data, with differences of the kernel for its derivatives."""
    lengths, h = np.array([0.7, 1.3]), 1e-4
    model = krige(
        POINTS[:4],
        wave(POINTS[:4]),
        wave_gradient(POINTS[:4]),
        kernel="squared exponential",
        lengths=lengths,
        nugget=1e-8,
    )

    def kernel(u, v):
        return np.exp(-np.square((u[:, None] - v[None]) / lengths).sum(-1) / 2)

    moves = [(1.0, np.zeros(2))], *([(0.5 / h, h * e), (-0.5 / h, -h * e)] for e in np.eye(2))
    points = POINTS[:4]
    matrix = np.block(
        [
            [sum(a * b * kernel(points + u, points + v) for a, u in row for b, v in column)
             for column in moves]
            for row in moves
        ]
    )  # fmt: skip
    y = np.concatenate([wave(points) - model.mean, *wave_gradient(points).T])
    covariance = model.variance * matrix
    density = -0.5 * (
        y @ np.linalg.solve(covariance, y)
        + np.linalg.slogdet(covariance)[1]
        + len(y) * np.log(2 * np.pi)
    )
    assert model.log_likelihood == pytest.approx(density, rel=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_mean_and_variance_have_their_most_likely_values(kernel):
    model = krige(POINTS, wave(POINTS), kernel=kernel, lengths=[0.5, 0.8], nugget=1e-8)
    best = model.log_likelihood
    for mean, variance in ((0.1, 1.0), (-0.1, 1.0), (0.0, 1.1), (0.0, 0.9)):
        other = dataclasses.replace(
            model, mean=model.mean + mean, variance=model.variance * variance
        )
        theirs = peer(other).fit(POINTS, wave(POINTS) - other.mean)
        assert theirs.log_marginal_likelihood_value_ < best - 1e-3


def test_units_do_not_matter():
    slopes, units = wave_gradient(POINTS), np.array([1000.0, 0.01])
    model = krige(POINTS, wave(POINTS), slopes, kernel="matern")
    other = krige(POINTS * units, 50 * wave(POINTS) + 7, 50 * slopes / units, kernel="matern")
    np.testing.assert_allclose(
        other.value(AT * units), 50 * model.value(AT) + 7, rtol=1e-3, atol=0.1
    )
    np.testing.assert_allclose(other.lengths, model.lengths * units, rtol=0.02)


def test_the_more_likely_kernel_is_taken():
    x = np.linspace(-1, 1, 20)[:, None]
    fits = {kernel: krige(x, np.abs(x[:, 0]), kernel=kernel) for kernel in KERNELS}
    best = max(fits.values(), key=lambda fit: fit.log_likelihood)
    assert krige(x, np.abs(x[:, 0])).kernel == best.kernel == "matern"
    assert krige(POINTS, wave(POINTS)).kernel == "squared exponential"


def test_a_constant_is_no_news():
    model = krige(POINTS, wave(POINTS), lengths=[1.0, 1.0], kernel="matern")
    lifted = krige(POINTS, wave(POINTS) + 100, lengths=[1.0, 1.0], kernel="matern")
    assert lifted.mean == pytest.approx(model.mean + 100, abs=1e-4)
    far = np.array([[1e6, 1e6]])
    assert lifted.value(far)[0] == pytest.approx(lifted.mean)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"values": np.ones(14)}, ValueError, "expected values of shape"),
        ({"values": np.ones(15)}, ValueError, "with values that differ"),
        ({"points": POINTS[:1], "values": np.ones(1)}, ValueError, "2 points or more"),
        ({"points": POINTS.astype(np.float32)}, TypeError, "float64"),
        ({"points": np.repeat(POINTS[:1], 15, 0)}, ValueError, "expected different points"),
        ({"gradients": np.ones((15, 3))}, ValueError, "expected shape"),
        ({"gradients": np.ones((14, 2))}, ValueError, "gradients of shape"),
        ({"gradients": np.full((15, 2), np.nan)}, ValueError, "finite"),
        ({"kernel": "cubic"}, ValueError, "expected a kernel among"),
        ({"nugget": 0.0}, ValueError, "nugget above 0"),
        ({"lengths": [1.0]}, ValueError, "expected 2 finite lengths"),
        ({"lengths": [1.0, -1.0]}, ValueError, "expected 2 finite lengths"),
        ({"lengths": [1e9, 1e9], "nugget": 1e-300}, ValueError, "larger nugget"),
    ],
)
def test_bad_input_is_refused(changed, error, words):
    given = {"points": POINTS, "values": wave(POINTS), "gradients": None, **changed}
    with pytest.raises(error, match=words):
        krige(given.pop("points"), given.pop("values"), given.pop("gradients"), **given)


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match="shape"):
        krige(POINTS, wave(POINTS)).value(np.ones((3, 3)))
