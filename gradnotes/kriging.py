r"""Kriging: Gaussian processes fitted to values, or to values and gradients, of a function.

:func:`krige` is the classical rival of a network for smooth functions at some hundred points. With
gradients it is exact gradient-enhanced Kriging: value and slopes are jointly normal, with the
derivatives of the kernel as covariances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from gradnotes.expressions import check_points
from gradnotes.interpolants import interpolate

KERNELS = ("squared exponential", "matern")
# Lengths are searched from these, in units of the spread of the points, and between these.
STARTS, SHORTEST, LONGEST = (0.5, 2.0), 0.02, 50.0


@dataclass(frozen=True, kw_only=True)
class Kriging:
    r"""The mean of a Gaussian process that knows values, or values and gradients, at points.

    Attributes:
        kernel: "squared exponential" or "matern".
        lengths: The length of each variable, (d,), in units of the points.
        mean: The constant :math:`\beta`, in units of the values.
        variance: :math:`\sigma^2`, in squared units of the values.
        log_likelihood: The logarithm of the density of the data, :math:`\log L`.
        nugget: What was added to the diagonal of the correlation matrix.
        points: The points, (n, d).
        weights: The solution of the linear system, a row for the values, and one for the slopes in
            each variable in units of the lengths, if there are any: (1, n) or (1 + d, n).
    """

    kernel: str
    lengths: np.ndarray
    mean: float
    variance: float
    log_likelihood: float
    nugget: float
    points: np.ndarray
    weights: np.ndarray

    def value(self, points: npt.ArrayLike) -> np.ndarray:
        """Give the values at float64 points (n, d), as an array (n,)."""
        return self._evaluate(points)[0]

    def gradient(self, points: npt.ArrayLike) -> np.ndarray:
        """Give the gradients at float64 points (n, d), as an array (n, d)."""
        return self._evaluate(points)[1]

    def _evaluate(self, points):
        rows = check_points(points, len(self.lengths))
        values, gradients = np.empty(len(rows)), np.empty(rows.shape)
        scaled = torch.from_numpy(self.points / self.lengths)
        weights = torch.from_numpy(self.weights.reshape(-1))
        for first in range(0, len(rows), 1024):
            part = slice(first, first + 1024)
            at = torch.from_numpy(rows[part] / self.lengths)
            blocks = _correlations(self.kernel, at, scaled, (True, len(self.weights) > 1))
            found = (blocks @ weights).reshape(-1, len(at)).numpy()
            values[part] = self.mean + found[0]
            gradients[part] = found[1:].T / self.lengths
        return values, gradients


def _correlations(kernel, first, second, slopes):
    r"""Return the correlations of the data at some points, in units of the lengths, with others.

    With :math:`q = \frac12 |u - v|^2` and k a function of q,
    :math:`\partial_{v_j} k = -k' \Delta_j` and
    :math:`\partial_{u_i} \partial_{v_j} k = -k'' \Delta_i \Delta_j - k' \delta_{ij}`. Slopes of
    either side follow its values if wanted, variable by variable.
    """
    away = first[:, None] - second[None]
    square = away.square().sum(-1)
    if kernel == "matern":
        # The square root has no derivative at 0, and the kernel does not feel it there.
        far = (5.0 * square + 1e-300).sqrt()
        decay = torch.exp(-far)
        k, k1, k2 = (1 + far + far**2 / 3) * decay, -5 / 3 * (1 + far) * decay, 25 / 3 * decay
    else:
        k = torch.exp(-square / 2)
        k1, k2 = -k, k
    along = (k1[..., None] * away).movedim(-1, 0)  # of the slopes of the first with the values
    columns = [torch.cat([k, *along]) if slopes[0] else k]
    for j in range(first.shape[1] if slopes[1] else 0):
        column = [-along[j]]
        if slopes[0]:
            both = -k2 * away[..., j]
            column += [both * away[..., i] - (k1 if i == j else 0.0) for i in range(len(along))]
        columns.append(torch.cat(column))
    return torch.cat(columns, 1)


def _solve(kernel, logs, points, data, nugget):
    """Return log L, mean, variance and weights, at logarithms of the lengths, as tensors.

    Mean and variance have their most likely values.
    """
    lengths = logs.exp()
    slopes = len(data) > 1
    factors = torch.cat([torch.ones(1, dtype=lengths.dtype), lengths])[: len(data), None]
    y = (data * factors).reshape(-1)
    matrix = _correlations(kernel, points / lengths, points / lengths, (slopes, slopes))
    diagonal = matrix.diagonal()
    lower, failed = torch.linalg.cholesky_ex(matrix + torch.diag(nugget * diagonal))
    if failed:
        return None
    ones = torch.zeros_like(y)
    ones[: data.shape[1]] = 1.0
    solved = torch.cholesky_solve(torch.stack([y, ones], 1), lower)
    mean = (ones @ solved[:, 0]) / (ones @ solved[:, 1])
    weights = solved[:, 0] - mean * solved[:, 1]
    variance = ((y - mean * ones) @ weights) / len(y)
    # The data are in units of the lengths: back to their own units.
    units = data.shape[1] * logs.sum() if slopes else 0.0
    log_density = units - lower.diagonal().log().sum()
    log_density = log_density - len(y) / 2 * (1 + math.log(2 * math.pi) + variance.log())
    return log_density, mean, variance, weights


def krige(
    points: npt.ArrayLike,
    values: npt.ArrayLike,
    gradients: npt.ArrayLike | None = None,
    *,
    kernel: str | None = None,
    lengths: npt.ArrayLike | None = None,
    nugget: float = 1e-12,
) -> Kriging:
    r"""Fit a Gaussian process to values, or to values and gradients, with the most likely lengths.

    The values are those of :math:`\beta + \sigma g`, where g is normal with mean 0 and, with
    :math:`s^2 = \sum_j (x_j - x_j')^2/\ell_j^2`, has the correlations

    .. math:: e^{-s^2/2} \quad \text{or (Matérn 5/2)} \quad
              \bigl(1 + \sqrt5 s + \tfrac53 s^2\bigr) e^{-\sqrt5 s} .

    Slopes have the derivatives of these. :math:`\beta`, :math:`\sigma^2` and the lengths maximise
    the likelihood, the lengths by L-BFGS from two starts. The matrix has side n, or n(1 + d) with
    gradients; sides up to some hundred take seconds.

    Args:
        points: Shape (n, d), float64, all different, 2 or more.
        values: Shape (n,), float64, not all equal.
        gradients: None, or shape (n, d), float64, in units of values over units of points.
        kernel: "squared exponential" or "matern"; None takes the one that is more likely.
        lengths: None, or the lengths to be used, (d,), in units of the points.
        nugget: Above 0, added to each diagonal entry of the correlation matrix as a share of it. It
            stands for noise, and for round-off.

    Raises:
        TypeError: The data are not float64.
        ValueError: Shapes do not fit, data are not finite, points are equal, an option makes no
            sense, or the matrix is singular up to round-off at all lengths that were tried.

    Source: Krige (1951) and Matheron (1963), as recalled, for values; Morris, Mitchell and
    Ylvisaker (1993) for gradients.

    Example:
        A function that is not in the book:

        >>> x = np.linspace(0.0, 3.0, 7)[:, None]
        >>> model = krige(x, np.exp(-x[:, 0]), -np.exp(-x))
        >>> bool(abs(model.value([[1.7]])[0] - np.exp(-1.7)) < 1e-4)
        True
    """
    # These two methods take any points in any dimension, and check what is needed here.
    given = interpolate(
        points, values, gradients, method="nearest" if gradients is None else "taylor"
    )
    count, dimension = given.points.shape
    if count < 2 or np.ptp(given.values) == 0:
        raise ValueError(
            f"expected 2 points or more, with values that differ, got {count} with the values "
            f"{given.values[:3].tolist()}...; try other points"
        )
    data = [given.values] if gradients is None else [given.values, *given.gradients.T]
    if kernel is not None and kernel not in KERNELS:
        raise ValueError(f"expected a kernel among {', '.join(KERNELS)}, got {kernel!r}")
    if not (math.isfinite(nugget) and nugget > 0):
        raise ValueError(f"expected a finite nugget above 0, got {nugget}; try nugget=1e-12")
    fixed = None if lengths is None else _checked_lengths(lengths, dimension)
    rows, wanted = torch.from_numpy(given.points.copy()), torch.from_numpy(np.array(data))
    fits = []
    for name in KERNELS if kernel is None else (kernel,):
        found = fixed if fixed is not None else _most_likely(name, rows, wanted, nugget)
        solved = found is not None and _solve(name, torch.from_numpy(found), rows, wanted, nugget)
        if solved:
            fits.append((solved[0].item(), name, found, solved))
    if not fits:
        raise ValueError(
            "expected a correlation matrix that is not singular up to round-off; try a larger "
            f"nugget than {nugget:g}, or fewer points"
        )
    likelihood, name, logs, (_, mean, variance, weights) = max(fits, key=lambda fit: fit[0])
    return Kriging(
        kernel=name,
        lengths=np.exp(logs),
        mean=mean.item(),
        variance=variance.item(),
        log_likelihood=likelihood,
        nugget=nugget,
        points=given.points,
        weights=weights.reshape(-1, count).numpy(),
    )


def _checked_lengths(lengths, dimension):
    lengths = np.asarray(lengths, dtype=np.float64)
    if lengths.shape != (dimension,) or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError(
            f"expected {dimension} finite lengths above 0, got {lengths.tolist()}; try "
            "lengths=None, which finds them"
        )
    return np.log(lengths)


def _most_likely(kernel, points, data, nugget):
    """Return the logarithms of the most likely lengths, or None where nothing can be solved."""
    spread = np.log(points.numpy().std(axis=0) * 12**0.5 / 2 + 1e-300)

    def minus_log_density(logs):
        logs = torch.from_numpy(logs).requires_grad_(True)
        solved = _solve(kernel, logs, points, data, nugget)
        if solved is None or not solved[0].isfinite():
            return 1e10, np.zeros(len(logs))
        (slope,) = torch.autograd.grad(-solved[0], logs)
        return -solved[0].item(), np.nan_to_num(slope.numpy())

    bounds = [(s + math.log(SHORTEST), s + math.log(LONGEST)) for s in spread]
    options = {"maxiter": 50, "ftol": 1e-6}
    found = [
        minimize(
            minus_log_density,
            spread + math.log(start),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options=options,
        )
        for start in STARTS
    ]
    best = min(found, key=lambda result: result.fun)
    return best.x if best.fun < 1e10 else None
