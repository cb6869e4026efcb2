"""Problem set 1, over Part I: what a seed decides, and how an answer is marked.

The words are in ``ps1.md``, with a name between double angle brackets wherever the seed decides.
The solutions are there too, computed from what the student sees.
"""

import math
from fractions import Fraction

import numpy as np
import sympy as sp

from gradnotes.checks import (
    CheckResult,
    check_difference_weights,
    check_first_wrong_step,
    check_hidden_wave,
    check_same_data,
    check_slope_bound,
    check_taylor_coefficient,
)
from gradnotes.targets import Target

# Each part is marked by itself: the variable that holds its answer, and what it is about.
PARTS = {
    "1a": ("c_2", "the coefficient of x^2"),
    "1b": ("c_3", "the coefficient of x^3"),
    "1c": ("c_4", "the coefficient of x^4"),
    "2": ("steeper", "a target with the same data and larger slopes"),
    "3": ("slope_bound", "a bound for the slope"),
    "4": ("weights", "weights that estimate a slope"),
    "5a": ("wrong_step", "the first wrong step"),
    "5b": ("frequency", "a number that breaks the proof"),
}
BY_HAND = {"6": "a proof in words"}

x, r, s, m = sp.symbols("x r s m", real=True)
M, h, t = sp.symbols("M h t", real=True)
FACTOR = sp.Rational(4, 3)
DOMAIN = (0, 3)
# Python and TeX of a loss of r; the number b is drawn.
LOSSES = [
    ("sp.log(sp.cosh({b} * r))", r"\log\cosh({b} r)"),
    ("sp.sqrt(1 + {b} * r**2) - 1", r"\sqrt{{1 + {b} r^2}} - 1"),
    ("sp.log(1 + {b} * r**2)", r"\log(1 + {b} r^2)"),
    ("1 - sp.exp(-{b} * r**2)", r"1 - e^{{-{b} r^2}}"),
    ("r**2 / (1 + {b} * r**2)", r"\frac{{r^2}}{{1 + {b} r^2}}"),
    ("sp.exp({b} * r) - {b} * r - 1", r"e^{{{b} r}} - {b} r - 1"),
]
TARGETS = [
    ("sp.exp(-x / {b})", r"e^{{-x/{b}}}"),
    ("sp.cos({b} * x)", r"\cos({b} x)"),
    ("sp.tanh({b} * x - 1)", r"\tanh({b} x - 1)"),
    ("x**3 / {b} - x", r"\frac{{x^3}}{{{b}}} - x"),
]
DENOMINATORS = [(3, 4), (4, 5), (3, 5), (2, 7), (5, 6), (3, 8)]
TOLERANCES = [(1, 50), (1, 100), (1, 200), (1, 40)]
SLOPES = [5, 8, 10, 12, 20]
ZERO_SLOPES = {
    "left": r"its slope is zero at the left end too, $r'(a) = 0$",
    "right": r"its slope is zero at the right end too, $r'(a + h) = 0$",
    "both": r"its slope is zero at both ends too, $r'(a) = r'(a + h) = 0$",
}
# Steps of a proof. "maybe": it is left out by some seeds; "wrong": it does not follow.
STEPS = [
    (
        "",
        r"The loss is a sum of squares divided by $N$, and it is zero. No square is negative. "
        r"So $r(x_i)^2 = 0$ for every $i$.",
    ),
    ("maybe", r"A number whose square is zero is zero. So $r(x_i) = 0$ for every $i$."),
    ("maybe", r"Since $r$ is smooth, so is $r^2$."),
    (
        "",
        r"The function $r^2$ is nowhere negative, and at $x_i$ it is zero. "
        r"So $x_i$ is a minimum of $r^2$.",
    ),
    (
        "",
        r"The slope of a smooth function is zero at a minimum inside its domain, and the domain is "
        r"the whole line. So $(r^2)'(x_i) = 0$.",
    ),
    ("", r"By the chain rule $(r^2)' = 2 r r'$. So $2\, r(x_i)\, r'(x_i) = 0$."),
    ("maybe", r"Divide by 2: $r(x_i)\, r'(x_i) = 0$."),
    ("wrong", r"Divide by $r(x_i)$: $r'(x_i) = 0$."),
    ("", r"Since $r = f - h$, we have $r' = f' - h'$. So $h'(x_i) = f'(x_i)$."),
    (
        "maybe wrong",
        r"This holds at every training point, and $r'$ is continuous. "
        r"So $h' = f'$ between the training points as well.",
    ),
]


def draw(seed: int) -> dict:
    """Give the numbers of a seed, by name; the same ones on every machine."""
    rng = np.random.default_rng(seed)

    def one_of(choices):
        return choices[int(rng.integers(len(choices)))]

    loss, loss_tex = one_of(LOSSES)
    b = int(rng.integers(2, 6))
    target, target_tex = one_of(TARGETS)
    c = int(rng.integers(2, 5))
    numbers = {
        "loss": loss.format(b=b),
        "loss_tex": loss_tex.format(b=b),
        "target": target.format(b=c),
        "target_tex": target_tex.format(b=c),
        "points": _points(rng, one_of(DENOMINATORS)),
        "tolerance": Fraction(*one_of(TOLERANCES)),
        "slope": one_of(SLOPES),
        "zero_slopes": one_of(list(ZERO_SLOPES)),
    }
    order = int(rng.integers(2, 4))
    side = one_of([1, -1])
    start = int(rng.integers(0, 2))
    steps = rng.choice(np.arange(1, 6), order, replace=False)
    offsets = [start, *(start + int(step) for step in sorted(steps))]
    proof = [(kind, text) for kind, text in STEPS if "maybe" not in kind or rng.integers(2)]
    return numbers | {
        "order": order,
        "offsets": [side * offset for offset in offsets],
        "spacing": Fraction(int(rng.integers(1, 9)), one_of([11, 13, 17, 19])),
        "count": int(rng.integers(6, 13)),
        "proof": [text for _, text in proof],
        "wrong": [n for n, (kind, _) in enumerate(proof, 1) if "wrong" in kind],
    }


def _points(rng, denominators) -> list[Fraction]:
    """Draw six irregular points of the domain; both denominators occur, as they are."""
    found = set()
    while len(found) < 6:
        denominator = denominators[len(found) % 2]
        numerator = int(rng.integers(1, DOMAIN[1] * denominator))
        if math.gcd(numerator, denominator) == 1:
            found.add(Fraction(numerator, denominator))
    return sorted(found)


def texts(numbers: dict) -> dict[str, str]:
    """Give what the master needs between its angle brackets: code and prose."""
    spacing, count = numbers["spacing"], numbers["count"]
    points = numbers["points"]
    return {
        "loss": numbers["loss"],
        "loss_tex": numbers["loss_tex"],
        "target": numbers["target"],
        "target_tex": numbers["target_tex"],
        "points": ", ".join(f'"{point}"' for point in points),
        "points_tex": ", ".join(_tex(point) for point in points),
        "tolerance": f'sp.Rational("{numbers["tolerance"]}")',
        "tolerance_tex": _tex(numbers["tolerance"]),
        "slope": str(numbers["slope"]),
        "zero_slopes": numbers["zero_slopes"],
        "zero_slopes_text": ZERO_SLOPES[numbers["zero_slopes"]],
        "order": str(numbers["order"]),
        "offsets": str(numbers["offsets"]),
        "estimate_tex": _estimate(numbers["offsets"]),
        "how_many": {3: "three", 4: "four"}[len(numbers["offsets"])],
        "spacing": f'sp.Rational("{spacing}")',
        "spacing_tex": _tex(spacing),
        "count": str(count),
        "last_tex": _tex(spacing * (count - 1)),
        "proof": "\n".join(f"{n}. {text}" for n, text in enumerate(numbers["proof"], 1)),
        "steps": str(len(numbers["proof"])),
        "wrong_step": str(min(numbers["wrong"])),
    }


def _tex(number: Fraction) -> str:
    if number.denominator == 1:
        return str(number)
    return rf"\frac{{{number.numerator}}}{{{number.denominator}}}"


def _estimate(offsets: list[int]) -> str:
    """Write the estimate of the slope as a formula."""

    def place(offset):
        size = "h" if abs(offset) == 1 else f"{abs(offset)} h"
        return "x" if offset == 0 else f"x {'+' if offset > 0 else '-'} {size}"

    return " + ".join(f"w_{n} f({place(offset)})" for n, offset in enumerate(offsets, 1))


def mark(part: str, answer, numbers: dict, rng: int) -> CheckResult:
    """Mark one part; the numbers are those of :func:`draw`, and rng draws what is tried."""
    if part in ("1a", "1b", "1c"):
        residual = s * x + m * x**2 / 2
        loss = _trusted(numbers["loss"]).xreplace({r: residual})
        return check_taylor_coefficient(answer, loss, x, {"1a": 2, "1b": 3, "1c": 4}[part], rng=rng)
    if part == "2":
        target = Target(_trusted(numbers["target"]), x, DOMAIN)
        return check_same_data(
            answer,
            target,
            numbers["points"],
            least_slope_difference=numbers["slope"],
            largest_difference=numbers["tolerance"],
        )
    if part == "3":
        ends = numbers["zero_slopes"]
        return check_slope_bound(answer, (M, h, t), zero_slopes=ends, factor=FACTOR, rng=rng)
    if part == "4":
        order, offsets = numbers["order"], numbers["offsets"]
        return check_difference_weights(answer, offsets, order=order, rng=rng)
    if part == "5a":
        return check_first_wrong_step(answer, numbers["wrong"], len(numbers["proof"]))
    if part == "5b":
        points = [i * numbers["spacing"] for i in range(numbers["count"])]
        return check_hidden_wave(answer, points)
    raise ValueError(f"expected a part among {', '.join(PARTS)}, got {part!r}")


def _trusted(code: str) -> sp.Expr:
    """Evaluate a formula of this file, never one of a student."""
    return eval(code, {"sp": sp, "x": x, "r": r, "__builtins__": {}})


def passes(part: str, answer) -> bool:
    """Mark one part of the set as it is configured: what Otter's hidden tests call."""
    import gn_sets

    one = gn_sets.load("ps1")
    return mark(part, answer, one.numbers, one.rng).passed
