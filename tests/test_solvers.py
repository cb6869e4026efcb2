import io
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.func import grad, jacrev, vmap
from tqdm import tqdm

from gradnotes import derivatives, solvers
from gradnotes.networks import MLP
from gradnotes.solvers import Problem, adam, lbfgs, levenberg_marquardt

torch.set_num_threads(1)

KINDS = ["values", "gradients", "directions"]


def problem_of(model, kind="values", count=7):
    """Residuals with random data, along the axes or one random direction, and the weights."""
    generator = np.random.default_rng(count)
    flat = model.flat_weights().reshape(-1, model.size)

    def draw(*shape):
        return torch.from_numpy(generator.standard_normal(shape))

    members, inputs, units = len(flat), draw(count, model.inputs), None
    if kind != "values":
        axes = torch.eye(model.inputs, dtype=torch.float64)[None, :, None] * 0.7
        units = axes if kind == "gradients" else draw(members, 1, count, model.inputs)
    slopes = None if units is None else draw(members, units.shape[1], count)
    values = draw(members, count)
    return Problem(layers_from=model.layers_from, inputs=inputs, values=values, slopes=slopes,
                   directions=units), flat  # fmt: skip


def peer(problem, member):
    """The residuals of a member as a function of its weights, in plain torch."""
    inputs, count = problem.inputs, len(problem.inputs)

    def value(weights, point):
        layers = problem.layers_from(weights[None])
        for matrix, bias in zip(layers.weights[:-1], layers.biases[:-1], strict=True):
            point = torch.tanh(point @ matrix[0] + bias[0, 0])
        return (point @ layers.weights[-1][0] + layers.biases[-1][0, 0])[0]

    def residuals(weights):
        parts = [vmap(value, (None, 0))(weights, inputs) - problem.values[member]]
        if problem.slopes is not None:
            gradients = vmap(grad(value, 1), (None, 0))(weights, inputs)
            units = problem.directions[member if len(problem.directions) > 1 else 0]
            pairs = zip(units, problem.slopes[member], strict=True)
            parts += [(gradients * unit).sum(-1) - slopes for unit, slopes in pairs]
        return torch.cat(parts) / count**0.5

    return residuals


def peer_loss(problem, flat):
    """The losses (S,) in plain torch; their sum can be differentiated."""
    residuals = [peer(problem, member)(weights) for member, weights in enumerate(flat)]
    return torch.stack([part.square().sum() for part in residuals])


def assert_near(found, expected, tolerance=1e-11):
    """Compare whole arrays, by their norms."""
    assert found.shape == expected.shape
    assert torch.linalg.norm(found - expected) <= tolerance * torch.linalg.norm(expected)


# The residuals and their derivatives


@pytest.mark.parametrize(
    ("kind", "members", "count"),
    [
        *((kind, members, 7) for kind in KINDS for members in (1, 3)),
        # The passes take 1024 rows at a time here: two of them, and two members one by one.
        ("directions", 1, 1030),
        ("directions", 2, 600),
    ],
)
def test_residuals_and_all_their_matrices_are_those_of_autograd(kind, members, count, monkeypatch):
    monkeypatch.setattr(derivatives, "ENTRIES", 4 * 1024)
    problem, flat = problem_of(MLP(2, (4, 3), members=members, rng=1), kind, count)
    functions = [peer(problem, member) for member in range(members)]
    pairs = [*zip(functions, flat, strict=True)]
    residuals = torch.stack([function(weights) for function, weights in pairs])
    jacobian = torch.stack(
        [jacrev(function, chunk_size=64)(weights) for function, weights in pairs]
    )
    assert problem.count == residuals.shape[1]
    assert_near(problem.residuals(flat), residuals)
    assert_near(problem.jacobian(flat), jacobian)
    assert_near(problem.gram(flat), jacobian @ jacobian.mT)
    assert_near(problem.normal_matrix(flat), jacobian.mT @ jacobian)
    vectors = residuals.cos()
    assert_near(problem.pulled_back(flat, vectors), (vectors[:, None] @ jacobian)[:, 0])
    loss, gradient = problem.loss_and_gradient(flat)
    of_loss = grad(lambda weights: peer_loss(problem, weights).sum())(flat)
    assert_near(loss, peer_loss(problem, flat))
    assert_near(gradient, of_loss)


@pytest.mark.parametrize(
    ("members", "rows"),
    [
        (slice(1, 3), slice(2, 6)),
        (torch.tensor([2, 0]), torch.tensor([6, 1, 3])),
        (torch.tensor([True, False, True]), torch.arange(7) % 3 == 0),
    ],
    ids=["slices", "numbers", "masks"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_some_members_at_some_points_have_the_same_residuals(kind, members, rows):
    problem, flat = problem_of(MLP(2, (4,), members=3, rng=1), kind)
    part = problem.some(members, rows)
    whole = problem.residuals(flat).unflatten(1, (-1, 7))[members][:, :, rows]
    expected = (whole * (7 / whole.shape[2]) ** 0.5).flatten(1)
    assert_near(part.residuals(flat[members]), expected)
    loss, gradient = part.loss_and_gradient(flat[members])
    assert_near(loss, expected.square().sum(1))
    assert_near(gradient, 2.0 * part.pulled_back(flat[members], expected))


# One step of Levenberg-Marquardt


@pytest.mark.parametrize("solve", [solvers._step, solvers._orthogonal_step])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [(1,), (12,)], ids=["tall", "wide"])
def test_a_step_solves_the_damped_normal_equations_of_each_member(hidden, kind, solve):
    problem, flat = problem_of(MLP(2, hidden, members=2, rng=1), kind)
    wide = flat.shape[1] > problem.count
    jacobian, residuals = problem.jacobian(flat), problem.residuals(flat)
    damping = torch.tensor([0.02, 0.5], dtype=torch.float64)
    matrix = problem.gram(flat) if wide else problem.normal_matrix(flat)
    normal = (jacobian.mT @ jacobian).numpy()
    normal += damping[:, None, None].numpy() * np.eye(flat.shape[1])
    right = (jacobian.mT @ residuals[..., None]).numpy()
    expected = torch.from_numpy(-np.linalg.solve(normal, right)[..., 0])
    before = matrix.clone()
    # Condition numbers are a thousand or less, so that this leaves a factor of ten.
    assert_near(solve(problem, wide, flat, residuals, damping, matrix), expected, 1e-11)
    assert torch.equal(matrix, before)


def nearly_singular(hidden, count):
    """Residuals whose Jacobian has singular values from 1 down to 1e-10 or below."""
    problem, flat = problem_of(MLP(2, hidden, rng=1), count=count)
    if flat.shape[1] > count:  # two points that nearly coincide
        problem.inputs[1] = problem.inputs[0] + 1e-9
    else:  # two units that do: columns of the first weights, their biases, and the output's rows
        layers = problem.layers_from(flat)
        for part in (layers.weights[0][0], layers.biases[0][0], layers.weights[1][0].T):
            part[:, 1] = part[:, 0] * (1.0 + 1e-9)
    return problem, flat


@pytest.mark.parametrize("damping", [1e-16, 1e-18])
@pytest.mark.parametrize("hidden", [(2,), (12,)], ids=["tall", "wide"])
def test_orthogonal_factors_stay_accurate_where_cholesky_does_not(hidden, damping):
    problem, flat = nearly_singular(hidden, count=12)
    wide = flat.shape[1] > 12
    jacobian, residuals = problem.jacobian(flat), problem.residuals(flat)
    u, sizes, vt = np.linalg.svd(jacobian[0].numpy(), full_matrices=False)
    damping *= sizes[0] ** 2
    filtered = sizes / (sizes**2 + damping) * (u.T @ residuals[0].numpy())
    expected = torch.from_numpy(-vt.T @ filtered)
    matrix = problem.gram(flat) if wide else problem.normal_matrix(flat)
    now = (problem, wide, flat, residuals, torch.tensor([damping]), matrix)
    by_cholesky, by_factors = (
        torch.linalg.norm(solve(*now)[0] - expected) / torch.linalg.norm(expected)
        for solve in (solvers._step, solvers._orthogonal_step)
    )
    # The system of the factors has a condition number of 1e10 at most: the error is near 1e-6.
    # Its square is beyond float64: Cholesky's method fails, or loses all digits but one or two.
    assert by_factors < 1e-4
    assert not by_cholesky < 1e-3


@pytest.mark.parametrize("matrix", [torch.ones(7, 7), -torch.eye(7)], ids=["singular", "negative"])
def test_a_system_that_cholesky_cannot_solve_gives_no_step(matrix):
    problem, flat = problem_of(MLP(2, (12,), rng=1))
    now = (flat, problem.residuals(flat), torch.zeros(1).double(), matrix.double()[None])
    step = solvers._step(problem, True, *now)
    assert step.shape == flat.shape
    assert step.isnan().all()


# Fits by Levenberg-Marquardt


def watch(patch, name, note):
    """Call ``note(flat, result)`` whenever a problem is asked for something."""
    original = getattr(Problem, name)

    def watched(problem, flat):
        result = original(problem, flat)
        note(flat.clone(), result.clone())
        return result

    patch.setattr(Problem, name, watched)


tall_and_wide = pytest.mark.parametrize("hidden", [(3,), (20,)], ids=["tall", "wide"])


@tall_and_wide
def test_a_step_is_accepted_below_the_larger_of_the_last_two_and_the_best_is_kept(
    hidden, monkeypatch
):
    problem, flat = problem_of(MLP(2, hidden, rng=1), count=20)
    tried, accepted = [], []
    with monkeypatch.context() as patch:
        watch(patch, "residuals", lambda *call: tried.append(call))
        for name in ("gram", "normal_matrix"):  # after each accepted step there is a new one
            watch(patch, name, lambda *_: accepted.append(len(tried) - 1))
        found, history, _ = levenberg_marquardt(problem, flat, 40, 0.0)
    losses = [residuals.square().sum().item() for _, residuals in tried]
    recent, expected = [losses[0]] * 2, [0]
    for step, loss in enumerate(losses[1:], 1):
        if loss < max(recent):
            recent = [recent[1], loss]
            expected.append(step)
    assert accepted == expected
    assert history[:, 0].tolist() == np.minimum.accumulate(losses).tolist()
    assert torch.equal(found, tried[np.argmin(losses)][0])
    # A fit that ends with a step uphill returns the weights before it.
    last = next(b for a, b in pairwise(accepted) if losses[b] > losses[a])
    found, history, _ = levenberg_marquardt(problem, flat, last, 0.0)
    assert torch.equal(found, tried[np.argmin(losses[:last])][0])
    assert history[-1] == min(losses[:last])


@tall_and_wide
def test_groups_of_members_keep_to_the_memory_and_give_what_all_give_together(hidden, monkeypatch):
    problem, flat = problem_of(MLP(2, hidden, members=5, rng=1), "directions", count=10)
    # The last member, alone in the third group, is done at the start.
    exact = problem.some(slice(4, 5)).residuals(flat[4:])[0] * 10**0.5
    problem.values[4] += exact[:10]
    problem.slopes[4] += exact[10:]
    together = levenberg_marquardt(problem, flat, 8, 1e-6)
    side, shapes = min(20, flat.shape[1]), []
    monkeypatch.setattr(solvers, "ENTRIES", 3 * side**2 - 1)
    for name in ("gram", "normal_matrix"):
        watch(monkeypatch, name, lambda _, matrix: shapes.append(tuple(matrix.shape)))
    apart = levenberg_marquardt(problem, flat, 8, 1e-6)
    for ours, theirs in zip(apart, together, strict=True):
        assert_near(ours.double(), theirs.double(), 1e-9)
    assert torch.equal(apart[0][4], flat[4])
    assert max(shapes) == (2, side, side)


def test_members_whose_matrix_is_nearly_singular_are_solved_by_orthogonal_factors(monkeypatch):
    # A plane wave with its gradients, at points so dense that Gram matrices lose all digits.
    problem, flat = problem_of(MLP(2, (32, 32), members=8, rng=2), "gradients", count=40)
    wave = torch.tensor([2.0, -1.0], dtype=torch.float64)
    problem.inputs.mul_(0.5)
    phase = problem.inputs @ wave
    problem.values[:] = phase.sin()
    problem.slopes[:] = 0.7 * wave[:, None] * phase.cos()
    medians = []
    for _ in range(2):
        _, history, _ = levenberg_marquardt(problem, flat, 60, 1e-13)
        medians.append(np.median(history[-1].sqrt()))
        monkeypatch.setattr(solvers, "_orthogonal_step", solvers._step)
    # Measured: all eight below 1e-14; by Cholesky's method alone none below 1e-6 but one.
    assert medians[0] <= 1e-12
    assert medians[1] >= 1e-7


# L-BFGS and Adam


@pytest.mark.parametrize("kind", KINDS)
def test_lbfgs_takes_the_steps_of_scipy_on_the_loss_of_torch(kind):
    problem, flat = problem_of(MLP(2, (3,), members=2, rng=1), kind)
    found, history, stalled = lbfgs(problem, flat, 8, 0.0)
    for member in range(2):
        residuals = peer(problem, member)

        def loss_and_gradient(weights, residuals=residuals):
            weights = torch.from_numpy(weights).requires_grad_(True)
            loss = residuals(weights).square().sum()
            loss.backward()
            return loss.item(), weights.grad.numpy()

        options = {"maxiter": 8, "maxcor": 20, "ftol": 0.0, "gtol": 0.0}
        theirs = minimize(
            loss_and_gradient, flat[member].numpy(), jac=True, method="L-BFGS-B", options=options
        )
        assert_near(found[member], torch.from_numpy(theirs.x), 1e-9)
        assert history[-1, member].item() == pytest.approx(theirs.fun, rel=1e-9)
    assert history.shape == (9, 2)
    assert stalled.tolist() == [False, False]


both_solvers = pytest.mark.parametrize("solver", [levenberg_marquardt, lbfgs])


@both_solvers
def test_a_fit_ends_in_a_minimum_with_the_loss_that_it_reports(solver):
    problem, flat = problem_of(MLP(2, (1,), members=3, rng=1), count=20)
    # The start is near a minimum: the values of the networks themselves, with noise.
    own_values = derivatives.values(problem.layers_from(flat), problem.inputs)
    problem.values.mul_(0.1).add_(own_values)
    found, history, stalled = solver(problem, flat, 3000, 0.0)
    loss, gradient = problem.loss_and_gradient(found)
    assert stalled.all()
    assert len(history) < 500
    assert_near(history[-1], loss, 1e-14)
    assert loss.min() > 0.01
    # Losses near 0.01 are rounded by 1e-18, and so a slope below its root, 1e-9, does not show.
    assert gradient.abs().max() < 1e-7


def test_a_fit_that_finds_no_further_decrease_finds_none_when_it_goes_on():
    # The second member goes uphill from its best weights, and may come to rest above them.
    problem, flat = problem_of(MLP(2, (1,), members=3, rng=1), "directions", count=20)
    found, history, stalled = levenberg_marquardt(problem, flat, 2000, 0.0)
    assert stalled.all()
    _, again, _ = levenberg_marquardt(problem, found, 2000, 0.0)
    assert_near(again[-1], history[-1], 1e-6)


@both_solvers
def test_each_member_stops_at_the_first_loss_whose_root_is_within_the_tolerance(solver):
    problem, flat = problem_of(MLP(2, (20,), members=2, rng=1))
    # The second member has arrived; it is not exact, so that it would move if it went on.
    problem.values[1] += problem.residuals(flat)[1] * 7**0.5 + 1e-7
    found, history, _ = solver(problem, flat, 500, 1e-6)
    reached = history.sqrt() <= 1e-6
    assert len(history) > 5
    assert reached[:, 0].tolist() == [False] * (len(history) - 1) + [True]
    assert (history[:, 1] == history[0, 1]).all()
    assert torch.equal(found[1], flat[1])


@pytest.mark.parametrize("batch_size", [None, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_adam_agrees_with_a_plain_torch_loop(kind, batch_size):
    problem, flat = problem_of(MLP(2, (4,), members=2, rng=1), kind)
    generator = np.random.default_rng(9)
    order = [rows for _ in range(3) for rows in np.split(generator.permutation(7), [3, 6])]
    weights = flat.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([weights], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=8)
    losses = []
    for step in range(8):
        part = problem.some(rows=order[step] if batch_size == 3 else slice(None))
        losses.append(peer_loss(part, weights))
        optimiser.zero_grad()
        losses[-1].sum().backward()
        optimiser.step()
        schedule.step()
    losses.append(peer_loss(problem, weights))
    found, history, _ = adam(problem, flat, 8, 0.05, batch_size, np.random.default_rng(9))
    assert_near(found, weights.detach())
    assert_near(history, torch.stack(losses).detach())


# The progress bar


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("solver", "options", "total"),
    [
        # Two groups of members, or three members, that take all six steps, or none at all.
        (levenberg_marquardt, [0.0], 12),
        (levenberg_marquardt, [1e9], 12),
        (lbfgs, [0.0], 18),
        (lbfgs, [1e9], 18),
        (adam, [0.01, 3, np.random.default_rng(0)], 6),
    ],
)
def test_a_bar_is_complete_at_the_end_and_only_in_a_terminal(
    solver, options, total, terminal, monkeypatch
):
    bars, screen = [], io.StringIO()

    def bar_at_once(**options):
        bars.append(tqdm(**options | {"delay": 0, "mininterval": 0}))
        return bars[-1]

    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(solvers, "tqdm", bar_at_once)
    monkeypatch.setattr(solvers, "ENTRIES", 2 * 7**2)
    solver(*problem_of(MLP(2, (12,), members=3, rng=1)), 6, *options)
    assert len(bars) == 1
    if terminal:
        assert (bars[0].n, bars[0].total) == (total, total)
        assert f"| {total}/{total} [" in screen.getvalue()
    else:
        assert screen.getvalue() == ""
