r"""Losses of a residual, as functions from a SymPy expression to a SymPy expression."""

import sympy as sp


def squared(residual: sp.Expr) -> sp.Expr:
    """Give the squared error, r**2."""
    return residual**2


def absolute(residual: sp.Expr) -> sp.Expr:
    """Give the absolute error, the modulus of r."""
    return sp.Abs(residual)


def huber(residual: sp.Expr, delta: sp.Expr | float = 1) -> sp.Expr:
    """Give Huber's loss: r**2/2 for residuals up to delta > 0, then delta*(abs(r) - delta/2)."""
    delta = sp.sympify(delta)
    if delta.is_positive is not True:
        raise ValueError(f"expected delta > 0, got {delta}; try a number or a positive symbol")
    size = sp.Abs(residual)
    return sp.Piecewise((residual**2 / 2, size <= delta), (delta * (size - delta / 2), True))


def log_cosh(residual: sp.Expr) -> sp.Expr:
    """Give the log-cosh loss, log(cosh(r))."""
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
        >>> r = sp.Symbol("r", real=True)
        >>> kl(r, 0).series(r, 0, 3)
        r**2/8 + O(r**3)
    """
    z = sp.sympify(target_logit)
    probability = sp.exp(z) / (1 + sp.exp(z))
    return sp.log(1 + sp.exp(z - residual)) - sp.log(1 + sp.exp(z)) + probability * residual


def logistic(margin: sp.Expr) -> sp.Expr:
    """Give the logistic loss of a hard label, log(1 + exp(-m)); the margin is label times logit."""
    return sp.log(1 + sp.exp(-margin))
