r"""When to stop training on one sample: rules, what each costs, and how far to trust it.

A sample of n observations is reused for many gradient steps. At planned times a rule looks at
gradients and says whether to stop; :func:`stopping_sweep` measures what risk that costs, in
comparison with the best step of the same trajectory. :func:`study` makes the book's table, which
``load_table("stopping")`` reads.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import joblib
import numpy as np
from scipy import stats
from scipy.special import expit

from gradnotes.reuse import LinearProblem, LogisticProblem, stale_gradient_bound
from gradnotes.sweeps import cell_generator, load_table, run_cells, save_table, source_hash

PROBLEMS = ("linear", "logistic", "network")
BATCHES = ("full", "minibatch")
RULES = (
    "folds",
    "standard error",
    "half standard error",
    "holdout",
    "split",
    "path",
    "never",
    "oracle",
)
STEP_SIZES = {"linear": 0.1, "logistic": 0.4, "network": 0.5}
STEPS = {"linear": 400, "logistic": 400, "network": 400}
REGRESSIONS = {
    "linear": LinearProblem(dimension=20),
    "logistic": LogisticProblem(dimension=20, scale=2.0),
}
FOLDS = 5
# With a multiple of this, a fifth, a quarter and a tenth of a sample are whole numbers.
UNIT = 20
CONFIDENCE = 0.95
COVERED = ("folds", "standard error", "holdout")
COVERAGE_STEPS = (0, 16, 64, 256)
# The network, and the pool of inputs that stands for its population.
INPUTS, HIDDEN, POOL = 10, 16, 8192
FIRST_SCALE, OUTPUT_SCALE = 2.0, 6.0
GROUP = 8


# What is trained: a model has flat weights, and gradients of weighted mean losses


class _Regression:
    """Linear or logistic regression, with exact risks."""

    def __init__(self, name):
        self.problem, self.logistic = REGRESSIONS[name], name == "logistic"

    def start(self, _):
        return self.problem.start

    def draw(self, n, generator):
        return self.problem.draw(n, rng=generator)

    def risk(self, theta):
        return self.problem.risk(theta)

    def gradients(self, theta, x, y, shares):
        residuals, _ = self._residuals(theta, x, y)
        return (shares * residuals) @ x

    def squares(self, theta, x, y):
        residuals, _ = self._residuals(theta, x, y)
        return residuals**2 * (x**2).sum(axis=-1)[:, None]

    def _residuals(self, theta, x, y):
        margins = theta @ x.swapaxes(-1, -2)
        return (expit(margins) if self.logistic else margins) - y[:, None], None


class _Network:
    """A tanh network with one hidden layer and the logistic loss; a pool stands for the risk."""

    def __init__(self, rng):
        generator = cell_generator(rng, population="network")
        self.teacher = self.start(generator)
        self.teacher[: INPUTS * HIDDEN] *= FIRST_SCALE
        self.teacher[-HIDDEN - 1 :] *= OUTPUT_SCALE
        self.pool = generator.standard_normal((POOL, INPUTS))
        self.chances = expit(self._outputs(self.teacher, self.pool))

    def start(self, generator):
        first = generator.standard_normal(INPUTS * HIDDEN) / INPUTS**0.5
        second = generator.standard_normal(HIDDEN) / HIDDEN**0.5
        return np.concatenate([first, np.zeros(HIDDEN), second, [0.0]])

    def draw(self, n, generator):
        x = generator.standard_normal((n, INPUTS))
        return x, (generator.random(n) < expit(self._outputs(self.teacher, x))).astype(float)
