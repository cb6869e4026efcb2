r"""How large the gradient of a residual can be, if the residual is small and of a known smoothness.

Throughout, r is a residual with :math:`|r| \le \varepsilon`, and a :class:`Bound` is about its
gradient. Each function is one kind of smoothness; :func:`best_bound` takes what one knows and gives
the smallest. Nothing is measured: a bound is as good as the numbers that are put in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import numpy.typing as npt
import sympy as sp


@dataclass(frozen=True, kw_only=True)
class Bound:
    r"""A bound of the gradient of a residual; printing it says what it needs.

    Attributes:
        value: The bound, in units of the values over units of x.
        size: A bound of :math:`|r|` on the domain, in units of the values.
        name: What the inequality is called.
        assumptions: What has to hold, and at which points the bound then holds, in sentences.
        source: Where it comes from; "recalled" means that the text was not read again.
        sharp: Whether no smaller constants would do, as a function attains or approaches the bound.
        norm: "max" if it bounds the largest gradient, "rms" if only its root mean square.
        others: From :func:`best_bound`, the other bounds that apply, smallest first.
        reason: From :func:`best_bound`, what it chose from.
    """

    value: float
    size: float
    name: str
    assumptions: tuple[str, ...]
    source: str
    sharp: bool
    norm: str = "max"
    others: tuple[Bound, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        head = f"{self.name}: the gradient is at most {self.value:.4g} ({self.norm})."
        return " ".join(filter(None, (head, *self.assumptions, self.reason)))


def _bound(name, value, eps, needs, where, source="", *, sharp=True, norm="max"):
    return Bound(
        value=float(value),
        size=float(eps),
        name=name,
        assumptions=(f"|r| <= {eps:g}.", needs, where),
        source=source or "the proof in the docstring",
        sharp=bool(sharp),
        norm=norm,
    )


def _where(margin):
    if margin == inf:
        return "The domain is the whole line or space."
    place = f"at distance {margin:g} or more from the boundary" if margin else "of the domain"
    return f"It holds at all points {place}."


def landau_bound(eps: float, curvature: float, *, length: float = inf, margin: float = 0) -> Bound:
    r"""Bound the slope at the points of an interval or a half line, by size and curvature.

    .. math:: |r'(x)| \le \min_{0 \le s \le \delta,\; 0 \le t \le a - \delta}
              \frac{2\varepsilon + \frac M2 (s^2 + t^2)}{s + t}

    At the ends, :math:`\delta = 0`, this is Landau's :math:`2\sqrt{\varepsilon M}` if
    :math:`a \ge 2\sqrt{\varepsilon/M}`, and :math:`2\varepsilon/a + aM/2` on a shorter interval.
    From :math:`\delta = \sqrt{2\varepsilon/M}` on it is Hadamard's :math:`\sqrt{2\varepsilon M}`.
    Proof: :math:`r(x + t) - r(x - s)` is at most :math:`2\varepsilon`, and by Taylor's formula at
    least :math:`(s + t)\,r'(x) - \frac M2(s^2 + t^2)`. :func:`landau_extremal` attains it.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        curvature: M with :math:`|r''| \le M`, or a Lipschitz constant of r', 0 or more.
        length: a, the length of the interval, above 0; inf for a half line.
        margin: :math:`\delta`, the distance of x from the nearer end; 0 covers all points.

    Raises:
        ValueError: A number makes no sense, or no point has that margin.

    Source: Landau (1913), Hadamard (1914); the form in between is proved above.

    Example:
        >>> [round(landau_bound(0.02, 4.0, margin=m).value, 4) for m in (0.0, 0.05, 0.1)]
        [0.5657, 0.4325, 0.4]
    """
    _check(eps=eps, curvature=curvature)
    _check_interval(length, margin)
    value = 0.0
    if eps and (curvature or length < inf):
        best = math.sqrt(2 * eps) / math.sqrt(curvature) if curvature else inf
        left = min(margin, best)
        right = min(length - left, math.sqrt(2) * math.hypot(left, best) - left)
        root = math.hypot(left, right)
        value = (2 * eps / root + curvature / 2 * root) * (root / (left + right))
    needs = f"|r''| <= {curvature:g} on an interval of length {length:g}."
    return _bound("Landau", value, eps, needs, _where(margin), "Landau (1913), Hadamard (1914)")


def hadamard_bound(
    eps: float, curvature: float, *, exponent: float = 1, margin: float = inf, sides: int = 2
) -> Bound:
    r"""Bound a Lipschitz or Hoelder continuous gradient, on the space or away from the boundary.

    .. math:: |\nabla r(x)| \le \min_{0 < t \le \delta} \Bigl(\frac{\varepsilon}{t} +
              \frac{M t^\gamma}{1 + \gamma}\Bigr) = M h^\gamma \text{ if } \delta \ge h =
              \Bigl(\frac{1+\gamma}{\gamma}\,\frac{\varepsilon}{M}\Bigr)^{1/(1+\gamma)}

    With :math:`\gamma = 1` this is Hadamard's :math:`\sqrt{2\varepsilon M}`. Proof: the difference
    of r between :math:`x + tu` and :math:`x - tu`, u along the gradient. A function of one
    coordinate attains it; in the space, with slope :math:`M \max(h^\gamma - |x_1|^\gamma, 0)`.

    If only :math:`r'' \le M`, or only :math:`r'' \ge -M`, put :math:`2\varepsilon` for
    :math:`\varepsilon`: now it is :math:`2\sqrt{\varepsilon M}`, approached, not attained. Proof of
    the first: a step t against the gradient lowers r by at least
    :math:`t|\nabla r(x)| - \frac M2 t^2` and at most :math:`2\varepsilon`. A target of curvature up
    to M minus a convex model is such an r.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        curvature: M with :math:`|\nabla r(x) - \nabla r(y)| \le M |x - y|^\gamma`, 0 or more; if
            :math:`\gamma = 1`, the largest spectral norm of the Hessian.
        exponent: :math:`\gamma`, above 0 and at most 1.
        margin: :math:`\delta`, the distance of x from the boundary, above 0; inf for the space.
        sides: 2, or 1 if M bounds the eigenvalues of the Hessian on one side only, for exponent 1.

    Raises:
        ValueError: A number makes no sense.

    Source: Hadamard (1914) for the square root; the proofs above.

    Example:
        >>> [round(hadamard_bound(0.02, 4.0, sides=sides).value, 4) for sides in (2, 1)]
        [0.4, 0.5657]
    """
    _check(eps=eps, curvature=curvature, exponent=exponent, margin=margin)
    _check_whole("sides", sides, 1, 2)
    change, step, value = 2 * eps / sides, margin, 0.0
    if curvature:
        power = 1 / (1 + exponent)
        step = min(margin, ((1 + 1 / exponent) * change) ** power / curvature**power)
    if 0 < step < inf:
        value = change / step + curvature * step**exponent / (1 + exponent)
    needs = (
        f"The gradient has Hoelder constant {curvature:g}, exponent {exponent:g}, sides {sides}."
    )
    name = "Hadamard" if sides == 2 else "Hadamard, one-sided"
    return _bound(name, value, eps, needs, _where(margin), "Hadamard (1914), and the docstring")


def grid_bound(eps: float, curvature: float, *, spacing: float, cells: int) -> Bound:
    r"""Bound values and slopes on an interval by values at points of equal spacing, and curvature.

    .. math:: |r| \le \varepsilon + \frac{M \Delta^2}{8}, \qquad |r'| \le
              \min_{j = 1, \dots, m} \Bigl(\frac{2\varepsilon}{j\Delta} + \frac{M j \Delta}{2}\Bigr)

    Proof: linear interpolation is off by at most :math:`\frac M2 u(\Delta - u)`. And at two points
    that are :math:`j\Delta` apart, with x between them at distances s and t, the values differ by
    at most :math:`2\varepsilon` and at least :math:`j\Delta\,|r'(x)| - \frac M2(s^2 + t^2)`.
    Parabolas attain the first, and the second at an end where j = m is best; linear programmes
    attain it for other j.

    Args:
        eps: :math:`\varepsilon`, a bound of :math:`|r|` at the points, 0 or more.
        curvature: M with :math:`|r''| \le M`, 0 or more.
        spacing: :math:`\Delta`, above 0.
        cells: m, the number of steps between the m + 1 points, 1 or more.

    Raises:
        ValueError: A number makes no sense.

    Source: the proof above.

    Example:
        >>> bound = grid_bound(0.1, 4.0, spacing=0.5, cells=10)
        >>> round(bound.size, 6), round(bound.value, 6)
        (0.225, 1.4)
    """
    _check(eps=eps, curvature=curvature, spacing=spacing)
    _check_whole("cells", cells, 1)
    best = 2 * math.sqrt(eps) / math.sqrt(curvature) / spacing if curvature else inf
    below = math.floor(max(1, min(best, cells)))
    steps = (spacing * below, spacing * min(below + 1, cells))
    value = min(2 * eps / step + curvature * step / 2 for step in steps)
    needs = f"|r''| <= {curvature:g}, and |r| <= {eps:g} at points {spacing:g} apart."
    return _bound("Landau on a grid", value, eps + curvature * spacing**2 / 8, needs, _where(0))


def variation_bound(
    eps: float, variation: float, *, length: float, flux: float | None = None
) -> Bound:
    r"""Bound the root mean square slope of a residual with kinks, such as one of ReLU networks.

    .. math:: \frac1a \int |\nabla r|^2 \le \frac{\varepsilon}{a} (V + F), \qquad
              F \le V + \frac{4\varepsilon}{a} \text{ on an interval}

    Proof: integrate by parts. The mean slope is at most :math:`2\varepsilon/a`, and the two end
    slopes are together at most V away from it. A zigzag attains the first, and a straight line the
    second. The largest slope has no such bound: a hat may be low and steep.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        variation: V, the total variation of r' inside, 0 or more: for one hidden layer of ReLU the
            sum of :math:`|a_j w_j|` over its kinks. In general, the mass of the Laplacian.
        length: a, the length of the interval, or the volume of the domain, above 0.
        flux: F, a bound of the integral of :math:`|\partial_n r|` over the boundary, 0 or more: of
            the two end slopes together. None, on an interval only, if it is not known.

    Raises:
        ValueError: A number makes no sense.

    Source: Green's formula; the proof above.

    Example:
        >>> round(variation_bound(0.01, 4.0, length=2.0, flux=2.0).value, 4)
        0.1732
    """
    _check(eps=eps, variation=variation, length=length)
    flux = variation + 4 * eps / length if flux is None else flux
    _check(flux=flux)
    needs = f"The slope has total variation {variation:g}, and flux {flux:g} at the boundary."
    value = math.sqrt(eps * (variation + flux) / length)
    return _bound("Green", value, eps, needs, _where(0), norm="rms")


def kolmogorov_constant(order: int, k: int = 1) -> sp.Expr:
    r"""Return Kolmogorov's constant, exactly.

    .. math:: C(n, k) = \frac{K_{n-k}}{K_n^{1 - k/n}}, \qquad
              K_n = \frac4\pi \sum_{j \ge 0} \Bigl(\frac{(-1)^j}{2j + 1}\Bigr)^{n+1}

    Args:
        order: n, 2 or more.
        k: From 1 to n - 1.

    Raises:
        ValueError: An order is out of range.

    Source: Kolmogorov (1939), recalled, with Favard's numbers; linear programmes agree.

    Example:
        >>> kolmogorov_constant(2), kolmogorov_constant(4, 2)
        (sqrt(2), sqrt(30)/5)
    """
    _check_whole("order", order, 2)
    _check_whole("k", k, 1, order - 1)

    def favard(n):
        # Euler's polynomial is largest at 1/2 if its degree is even, and at 0 if it is odd.
        return sp.pi**n * abs(sp.euler(n, sp.Rational(1 - n % 2, 2))) / sp.factorial(n)

    return favard(order - k) / favard(order) ** (1 - sp.Rational(k, order))


def kolmogorov_bound(eps: float, derivative_max: float, *, order: int, k: int = 1) -> Bound:
    r"""Bound a derivative on the whole line or space by size and a higher derivative.

    .. math:: \|r^{(k)}\| \le C(n, k)\, \varepsilon^{1 - k/n}\, \|r^{(n)}\|^{k/n}

    In space the derivatives are those along straight lines. :func:`euler_spline` attains it.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        derivative_max: A bound of the derivative of order n, 0 or more.
        order: n, 2 or more.
        k: The order of the derivative to bound, from 1 to n - 1; 1 is the gradient.

    Raises:
        ValueError: A number makes no sense, or an order is out of range.

    Source: Kolmogorov (1939), recalled, with :func:`kolmogorov_constant`.

    Example:
        >>> round(kolmogorov_bound(0.001, 8.0, order=3).value, 5)
        0.0208
    """
    _check(eps=eps, derivative_max=derivative_max)
    constant = float(kolmogorov_constant(order, k))
    value = constant * eps ** (1 - k / order) * derivative_max ** (k / order)
    needs = f"Derivative {order} is at most {derivative_max:g}; the one bounded is number {k}."
    return _bound("Kolmogorov", value, eps, needs, _where(inf), "Kolmogorov (1939), recalled")


def markov_bound(eps: float, degree: int, *, length: float, margin: float = 0) -> Bound:
    r"""Bound the slope of a polynomial on an interval, by Markov's and Bernstein's inequalities.

    .. math:: |p'(x)| \le \varepsilon \min\Bigl(\frac{2n^2}{a},\;
              \frac{n}{\sqrt{\delta(a - \delta)}}\Bigr)

    Chebyshev's polynomial attains the first at the ends, the second at its zeros.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        degree: n, 0 or more.
        length: a, the length of the interval, above 0.
        margin: :math:`\delta`, the distance of x from the nearer end; 0 covers all points.

    Raises:
        ValueError: A number makes no sense, or no point has that margin.

    Source: Markov (1889) and Bernstein (1912), both recalled.

    Example:
        >>> [markov_bound(0.1, 4, length=2.0, margin=m).value for m in (0.0, 1.0)]
        [1.6, 0.4]
    """
    _check(eps=eps, length=length)
    _check_interval(length, margin)
    _check_whole("degree", degree, 0)
    inner = math.sqrt(margin * (length - margin))
    inside = 2 * degree * inner > length
    value = eps * (degree / inner if inside else 2 * degree**2 / length)
    needs = f"r is a polynomial of degree at most {degree} on an interval of length {length:g}."
    source = f"{'Bernstein (1912)' if inside else 'Markov (1889)'}, recalled"
    sharp = inside or not margin
    return _bound("Markov", value, eps, needs, _where(margin), source, sharp=sharp)


def bernstein_bound(eps: float, bandwidth: float) -> Bound:
    r"""Bound the gradient of a band-limited function, such as a network of sines, on the space.

    .. math:: |\nabla r| \le W \varepsilon

    A sine attains it. On an interval it is false, however long the interval.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        bandwidth: W, the largest length of a frequency, in radians over units of x.

    Raises:
        ValueError: A number makes no sense.

    Source: Bernstein (1912), recalled.

    Example:
        >>> bernstein_bound(0.5, 3.0).value
        1.5
    """
    _check(eps=eps, bandwidth=bandwidth)
    needs = f"r has no frequency above {bandwidth:g}."
    source = "Bernstein (1912), recalled"
    return _bound("Bernstein", bandwidth * eps, eps, needs, _where(inf), source)


def strip_bound(eps: float, strip_max: float, *, half_width: float) -> Bound:
    r"""Bound the slope of a function that is analytic and bounded in a strip about the real line.

    .. math:: |r'| \le \min\Bigl(\frac{\pi B}{4a},\; \frac ea\, \varepsilon
              \max\bigl(1, \ln \tfrac B\varepsilon\bigr)\Bigr)

    Proof: the three-lines theorem gives :math:`|r| \le \varepsilon (B/\varepsilon)^{d/a}` where
    :math:`|\operatorname{Im} z| \le d`; Cauchy's estimate divides it by d; take
    :math:`d = a/\ln(B/\varepsilon)`. The other term is the lemma of Schwarz and Pick; tanh attains
    it. A hidden layer of tanh, with inner weights up to W and outer weights and bias that sum to B,
    has :math:`a = \pi/(4W)`. A sine is within a factor e.

    Args:
        eps: :math:`\varepsilon` on the line, 0 or more.
        strip_max: B, a bound of :math:`|r|` in the strip, 0 or more.
        half_width: a, where the strip is :math:`|\operatorname{Im} z| < a`, above 0.

    Raises:
        ValueError: A number makes no sense.

    Source: the proof above.

    Example:
        >>> [round(strip_bound(e, 1.0, half_width=1.0).value, 4) for e in (0.001, 1.0)]
        [0.0188, 0.7854]
    """
    _check(eps=eps, strip_max=strip_max, half_width=half_width)
    value = math.pi / 4 * strip_max / half_width if eps else 0.0
    if 0 < eps < strip_max:
        log = math.log(strip_max) - math.log(eps)
        value = min(value, math.e / half_width * eps * max(1.0, log))
    needs = f"r is analytic up to {half_width:g} from the line, with |r| <= {strip_max:g} there."
    return _bound("Strip", value, eps, needs, _where(inf), sharp=eps >= strip_max)


def tanh_bound(eps: float, outer_sum: float, *, inner_max: float) -> Bound:
    r"""Bound the gradient of a sum of tanh units, of any number of them, on the space.

    .. math:: |\nabla r| \le \min\Bigl(W B,\; \frac{2W}{\pi}\, \varepsilon
              \Bigl(1 + \operatorname{arsinh} \frac{4B}{\pi\varepsilon}\Bigr)\Bigr)

    for :math:`r(x) = c + \sum_j a_j \tanh(w_j \cdot x + b_j)`, :math:`|w_j|_2 \le W` and
    :math:`\sum_j |a_j| \le B`. Proof: M. Riesz's formula writes the slope of a function without
    frequencies above k as a mean, with signs, of its values, times k. The Fourier transform of the
    slope of a unit falls so fast that the formula is off by at most
    :math:`\frac{8W}{\pi^2} B / \sinh\frac{\pi k}{2W}`; take the best k. For small
    :math:`\varepsilon` no factor below :math:`\frac2\pi` will do.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        outer_sum: B, the sum of the absolute outer weights, 0 or more. For the difference of two
            networks, of both together.
        inner_max: W, the largest length of the inner weights of a unit, 0 or more.

    Raises:
        ValueError: A number makes no sense.

    Source: the book's chapter on bounded weights, with the full proof.

    Example:
        >>> [round(tanh_bound(eps, 2.0, inner_max=1.0).value / eps, 2) for eps in (0.1, 0.001)]
        [3.14, 6.07]
    """
    _check(eps=eps, outer_sum=outer_sum, inner_max=inner_max)
    value = 0.0
    if eps and outer_sum:
        # For large u, arsinh(u) is ln(2u) to the last digit, and u may be too large a number.
        log = math.log(4 / math.pi) + math.log(outer_sum) - math.log(eps)
        area = math.asinh(math.exp(log)) if log < 300 else log + math.log(2)
        value = inner_max * min(outer_sum, 2 / math.pi * eps * (1 + area))
    needs = f"r is a sum of tanh units, inner weights up to {inner_max:g}, outer {outer_sum:g}."
    source = "the chapter on bounded weights"
    return _bound("Tanh units", value, eps, needs, _where(inf), source, sharp=False)


def ellipse_bound(eps: float, ellipse_max: float, *, rho: float, length: float = 2.0) -> Bound:
    r"""Bound the slope on an interval of a function analytic and bounded in an ellipse about it.

    .. math:: |r'| \le \frac{2\varepsilon}{a} \min_{0 < u \le \ln\rho}
              \frac{e^{uL/\ln\rho}}{\cosh u - 1}
              \le \frac{e^2\varepsilon}{a} \Bigl(\frac{\max(2, L)}{\ln \rho}\Bigr)^2,
              \qquad L = \ln\frac B\varepsilon

    Proof for [-1, 1]: the two-constants theorem gives :math:`|r| \le \varepsilon e^{uL/\ln\rho}` in
    the ellipse of parameter :math:`e^u`, which is :math:`\cosh u - 1` away from the interval; then
    Cauchy's estimate. Chebyshev's polynomials are within a factor 4.

    Args:
        eps: :math:`\varepsilon` on the interval, 0 or more.
        ellipse_max: B, a bound of :math:`|r|` in the ellipse, 0 or more.
        rho: :math:`\rho`, above 1, the sum of the half axes where the interval is [-1, 1]. A strip
            of half-width h about it holds the ellipse with :math:`\rho = h + \sqrt{1 + h^2}`.
        length: a, the length of the interval, above 0.

    Raises:
        ValueError: A number makes no sense.

    Source: the proof above.

    Example:
        >>> round(ellipse_bound(0.001, 1.0, rho=2.0).value, 3)
        0.366
    """
    _check(eps=eps, ellipse_max=ellipse_max, length=length, rho=rho)
    value = 0.0
    if eps and ellipse_max:
        log, radius = math.log(ellipse_max) - math.log(eps), math.log(rho)
        u = min(radius, 2 * math.atanh(radius / log)) if log > radius else radius
        value = eps * math.exp(u * log / radius) / math.sinh(u / 2) ** 2 / length
    needs = f"r is analytic in the ellipse of parameter {rho:g}, with |r| <= {ellipse_max:g} there."
    return _bound("Ellipse", value, eps, needs, _where(0), "two constants, Cauchy", sharp=False)


def landau_extremal(
    eps: float, curvature: float, *, length: float = inf, margin: float = 0
) -> Callable[[npt.ArrayLike], tuple[np.ndarray, np.ndarray]]:
    r"""Return a function that attains :func:`landau_bound` and :func:`hadamard_bound` at 0.

    .. math:: r'(x) = \max(p - M|x|, 0), \qquad -\delta \le x \le a - \delta

    with p the bound. The function takes points, and gives an array of values and one of slopes.

    Args:
        eps: :math:`\varepsilon`, in units of the values, 0 or more.
        curvature: M, 0 or more.
        length: a, the length of the interval.
        margin: :math:`\delta`, the distance of 0 from the left end; inf for the line.

    Raises:
        ValueError: As :func:`landau_bound`.

    Source: equality in the proof of :func:`landau_bound`.

    Example:
        >>> [part.round(4) for part in landau_extremal(0.5, 1.0)([0.0, 1.0])]
        [array([-0.5   ,  0.4142]), array([1.4142, 0.4142])]
    """
    top = landau_bound(eps, curvature, length=length, margin=margin).value
    reach = top / curvature if curvature else inf
    left = min(margin, reach) if top else 0.0
    middle = top * left - curvature * left**2 / 2 - eps

    def extremal(x):
        x = np.clip(np.asarray(x, dtype=np.float64), -reach, reach)
        return middle + top * x - curvature * x * np.abs(x) / 2, top - curvature * np.abs(x)

    return extremal


def euler_spline(order: int) -> Callable[[npt.ArrayLike], np.ndarray]:
    r"""Return the Euler spline, which attains all of Kolmogorov's inequalities.

    .. math:: \varphi_n(x) = \frac4\pi \sum_{j \ge 0}
              \frac{\sin\bigl((2j + 1)x - \frac{\pi n}{2}\bigr)}{(2j + 1)^{n+1}}

    Its derivative is :math:`\varphi_{n-1}`, and :math:`\varphi_0` is the sign of the sine. On
    :math:`[0, \pi]` it is :math:`\pi^n E_n(x/\pi)/n!`, with Euler's polynomial.

    Args:
        order: n, 0 or more.

    Raises:
        ValueError: The order is not a whole number of 0 or more.

    Source: Favard, Kolmogorov, recalled; the series agree.

    Example:
        >>> euler_spline(2)([0.0, 1.0, 4.0]).round(4)
        array([ 0.    , -1.0708,  0.98  ])
    """
    _check_whole("order", order, 0)
    polynomial = sp.Poly(sp.euler(order, sp.Symbol("u")), sp.Symbol("u"))
    scale = np.pi**order / math.factorial(order)
    coefficients = [scale * float(c) for c in polynomial.all_coeffs()]

    def spline(x):
        turns = np.asarray(x, dtype=np.float64) / np.pi
        half_turns = np.floor(turns)
        return (1 - 2 * (half_turns % 2)) * np.polyval(coefficients, turns - half_turns)

    return spline


SPACE, RMS = "margin=math.inf", 'norm="rms" without margin'
# Of each bound, what has to be known beside eps, and what else it can use.
RULES = (
    (landau_bound, ("curvature", "length"), ("margin",)),
    (hadamard_bound, ("curvature", "margin"), ()),
    (hadamard_bound, ("hoelder_constant", "exponent", "margin"), ()),
    (hadamard_bound, ("upper_curvature", "margin"), ()),
    (grid_bound, ("curvature", "spacing", "cells"), ()),
    (variation_bound, ("variation", "length", RMS), ("flux",)),
    (kolmogorov_bound, ("derivative_max", "order", SPACE), ()),
    (markov_bound, ("degree", "length"), ("margin",)),
    (bernstein_bound, ("bandwidth", SPACE), ()),
    (strip_bound, ("strip_max", "half_width", SPACE), ()),
    (tanh_bound, ("outer_sum", "inner_max", SPACE), ()),
    (ellipse_bound, ("ellipse_max", "rho", "length"), ()),
)


def best_bound(eps: float, *, norm: str = "max", **known: float) -> Bound:
    r"""Return the smallest bound of the gradient that follows from what is known of a residual.

    .. math:: |\nabla r| \le \min_i b_i \qquad \text{over the bounds of this module that apply}

    The domain has to be known: ``length`` for all points of an interval, ``margin`` for the points
    that far from the boundary in any dimension, both for such points of an interval, or
    ``margin=math.inf`` for the whole space.

    Args:
        eps: :math:`\varepsilon`, 0 or more; with ``spacing``, only at points from end to end.
        norm: "max" for the largest gradient, or "rms" for its root mean square.
        **known: Numbers by the names that the other functions give them; beside these,
            ``upper_curvature`` (one-sided), and ``hoelder_constant`` with ``exponent``.

    Raises:
        ValueError: A name is unknown, a number makes no sense, or nothing follows.

    Source: this module.

    Example:
        >>> print(best_bound(0.01, curvature=9.0, degree=3, length=2.0).reason)
        It is the smallest of: Markov 0.09, Landau 0.6. Of no use here: nothing.
    """
    names = {name for _, *parts in RULES for part in parts for name in part} - {SPACE, RMS}
    if strange := sorted((known.keys() - names) | ({norm} - {"max", "rms"})):
        raise ValueError(
            f'expected norm as "max" or "rms" and names among {", ".join(sorted(names))}, and got '
            f"{', '.join(strange)}"
        )
    signs = {SPACE: known.get("margin") == inf, RMS: norm == "rms" and "margin" not in known}
    facts = {*known, *filter(signs.get, signs)}
    bounds, used, size = [], set(), eps
    if "spacing" in known:
        if "curvature" not in known:
            raise ValueError("expected curvature beside spacing, and got none; try without spacing")
        size = grid_bound(eps, known["curvature"], spacing=known["spacing"], cells=1).size
    for function, needed, optional in RULES:
        if facts.issuperset(needed):
            given = {name: known[name] for name in needed + optional if name in known}
            used |= given.keys()
            for name, sides in (("upper_curvature", 1), ("hoelder_constant", 2)):
                if name in given:
                    _check(**{name: given[name]})
                    given |= {"curvature": given.pop(name), "sides": sides}
            bounds.append(function(eps if function is grid_bound else size, **given))
    if not bounds:
        lacking = (" and ".join(sorted({*needed} - facts)) for _, needed, _ in RULES)
        raise ValueError(
            f"expected more knowledge, and got {', '.join(known) or 'only eps'}; try to add one of "
            f"these: {'; or '.join(dict.fromkeys(lacking))}"
        )
    bounds.sort(key=lambda bound: bound.value)
    values = ", ".join(f"{bound.name} {bound.value:.4g}" for bound in bounds)
    unused = ", ".join(sorted(known.keys() - used)) or "nothing"
    reason = f"It is the smallest of: {values}. Of no use here: {unused}."
    return replace(bounds[0], others=tuple(bounds[1:]), reason=reason)


# Checks: numbers with these names are above and at most these; others are finite, and 0 or more.
ABOVE = {"length": 0, "margin": 0, "spacing": 0, "half_width": 0, "exponent": 0, "rho": 1}
MOST = {"margin": inf, "exponent": 1}


def _check(**numbers):
    for name, number in numbers.items():
        real = isinstance(number, int | float | np.integer | np.floating)
        high = real and number <= MOST.get(name, float(np.finfo(float).max))
        low = high and (number > ABOVE[name] if name in ABOVE else number >= 0)
        if not low or isinstance(number, bool):
            wanted = f"above {ABOVE[name]}" if name in ABOVE else "of 0 or more"
            most = f"and at most {MOST[name]}" if name in MOST else "and finite"
            hint = "; for kinks, as of ReLU, try variation_bound" if "curv" in name else ""
            raise ValueError(f"expected {name} {wanted} {most}, and got {number!r}{hint}")


def _check_whole(name, number, least, most=inf):
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or not least <= number <= most:
        end = "or more" if most == inf else f"to {most}"
        raise ValueError(f"expected {name} as an integer of {least} {end}, and got {number!r}")


def _check_interval(length, margin):
    _check(**{"length": length} if length != inf else {}, **{"margin": margin} if margin else {})
    if margin > length / 2:
        raise ValueError(f"expected margin of at most {length:g} / 2, and got {margin:g}; try 0")
