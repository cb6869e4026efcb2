r"""Losses of a residual, as functions from a SymPy expression to a SymPy expression."""

import sympy as sp


def squared(residual: sp.Expr) -> sp.Expr:
    r"""Give the squared error.

    .. math:: \ell(r) = r^2

    Args:
        residual: r, target minus model, a SymPy expression.

    Returns:
        The SymPy expression of the loss, in units of values squared.

    Source: Legendre and Gauss, the method of least squares.

    Example:
        A residual that is not in the book:

        >>> z = sp.Symbol("z", real=True)
        >>> squared(3 * z - 1)
        (3*z - 1)**2
    """
    return residual**2


def absolute(residual: sp.Expr) -> sp.Expr:
    r"""Give the absolute error.

    .. math:: \ell(r) = |r|

    Args:
        residual: r, target minus model, a SymPy expression.

    Returns:
        The SymPy expression of the loss, in units of values.

    Source: Laplace, the method of least absolute deviations.

    Example:
        A residual that is not in the book:

        >>> z = sp.Symbol("z", real=True)
        >>> absolute(3 * z - 1)
        Abs(3*z - 1)
    """
    return sp.Abs(residual)


def huber(residual: sp.Expr, delta: sp.Expr | float = 1) -> sp.Expr:
    r"""Give Huber's loss, a parabola that goes over into straight lines.

    .. math:: \ell(r) = \tfrac12 r^2 \text{ for } |r| \le \delta, \qquad
        \delta\,(|r| - \tfrac12 \delta) \text{ beyond}

    Args:
        residual: r, target minus model, a SymPy expression.
        delta: Where the parabola ends, a positive number or symbol, in units of values.

    Returns:
        The SymPy expression of the loss, in units of values squared.

    Raises:
        ValueError: delta is not known to be positive.

    Source: Huber, Robust estimation of a location parameter (1964).

    Example:
        A residual that is not in the book:

        >>> z = sp.Symbol("z", real=True)
        >>> huber(z).subs(z, 3)
        5/2
    """
    delta = sp.sympify(delta)
    if delta.is_positive is not True:
        raise ValueError(f"expected delta > 0, got {delta}; try a number or a positive symbol")
    size = sp.Abs(residual)
    return sp.Piecewise((residual**2 / 2, size <= delta), (delta * (size - delta / 2), True))


def log_cosh(residual: sp.Expr) -> sp.Expr:
    r"""Give the log-cosh loss, which is nearly half the square for small residuals.

    .. math:: \ell(r) = \log \cosh r

    Args:
        residual: r, target minus model, a SymPy expression.

    Returns:
        The SymPy expression of the loss, in units of values squared, for small residuals.

    Source: a usual smooth stand-in for the absolute error.

    Example:
        A residual that is not in the book:

        >>> z = sp.Symbol("z", real=True)
        >>> log_cosh(z).series(z, 0, 4)
        z**2/2 + O(z**4)
    """
    return sp.log(sp.cosh(residual))


def kl(residual: sp.Expr, target_logit: sp.Expr | float) -> sp.Expr:
    r"""Give the divergence of the model's probability from a soft label, in logits.

    .. math::
        \mathrm{KL}\bigl(\sigma(z) \,\|\, \sigma(z - r)\bigr)
        = \log(1 + e^{z - r}) - \log(1 + e^z) + \sigma(z)\, r

    Args:
        residual: r, the target's logit minus the model's logit.
        target_logit: z, the target's logit; it may depend on the variables.

    Returns:
        The SymPy expression of the loss.

    Source: the two-class case of the Kullback-Leibler divergence.

    Example:
        A label that is not in the book, one half:

        >>> r = sp.Symbol("r", real=True)
        >>> kl(r, 0).series(r, 0, 3)
        r**2/8 + O(r**3)
    """
    z = sp.sympify(target_logit)
    probability = sp.exp(z) / (1 + sp.exp(z))
    return sp.log(1 + sp.exp(z - residual)) - sp.log(1 + sp.exp(z)) + probability * residual


def logistic(margin: sp.Expr) -> sp.Expr:
    r"""Give the logistic loss of a hard label.

    .. math:: \ell(m) = \log(1 + e^{-m})

    Args:
        margin: m, the label (plus or minus one) times the logit, a SymPy expression.

    Returns:
        The SymPy expression of the loss, a pure number.

    Source: the negative log-likelihood of logistic regression.

    Example:
        A margin that is not in the book:

        >>> z = sp.Symbol("z", real=True)
        >>> logistic(2 * z).subs(z, 0)
        log(2)
    """
    return sp.log(1 + sp.exp(-margin))
