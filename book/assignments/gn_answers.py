"""Answers as data: numbers, texts, lists, SymPy expressions and targets, and nothing else.

A submission's process writes them, and another process rebuilds them from a short list of known
names. Nothing that came from a student is ever evaluated, imported or unpickled.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice

import numpy as np
import sympy as sp

from gradnotes.functions import Bump, CosPi, SinPi
from gradnotes.targets import Target

BITS = 4000  # of a number
PARTS = 4000  # of an expression or a list, all in all
DEPTH = 120
LETTERS = 10_000
BYTES = 2_000_000  # of a file with answers

OPERATIONS = [sp.Add, sp.Mul, sp.Pow, sp.Min, sp.Max, sp.Piecewise, SinPi, CosPi, Bump]
OPERATIONS += [sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.cot, sp.sec, sp.csc, sp.sinc]
OPERATIONS += [sp.asin, sp.acos, sp.atan, sp.acot, sp.atan2, sp.Heaviside]
OPERATIONS += [sp.sinh, sp.cosh, sp.tanh, sp.coth, sp.sech, sp.csch, sp.asinh, sp.acosh, sp.atanh]
OPERATIONS += [sp.Abs, sp.sign, sp.re, sp.im, sp.conjugate, sp.arg, sp.floor, sp.ceiling, sp.Mod]
OPERATIONS += [sp.Eq, sp.Ne, sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.And, sp.Or, sp.Not]
OPERATIONS += [sp.functions.elementary.piecewise.ExprCondPair]
BY_NAME = {operation.__name__: operation for operation in OPERATIONS}
CONSTANTS = {"pi": sp.pi, "E": sp.E, "I": sp.I, "oo": sp.oo, "-oo": -sp.oo, "zoo": sp.zoo}
CONSTANTS |= {"nan": sp.nan, "true": sp.true, "false": sp.false, "GoldenRatio": sp.GoldenRatio}
NAMES = {constant: name for name, constant in CONSTANTS.items()}


class NoAnswerError(Exception):
    """Something cannot be an answer, and the message says why."""


# From objects to data


def encode(answer):
    """Turn an answer into lists, texts and numbers for JSON.

    Raises:
        NoAnswerError: It is of a kind that no question asks for, or too large.
    """
    try:
        return _encode(answer, [0], 0)
    except RecursionError:
        raise NoAnswerError("it is nested too deeply") from None


def _encode(answer, count, depth):
    count[0] += 1
    if count[0] > PARTS:
        raise NoAnswerError(f"it has more than {PARTS} parts; try a shorter form")
    if depth > DEPTH:
        raise NoAnswerError("it is nested too deeply")

    def inner(part):
        return _encode(part, count, depth + 1)

    if answer is None or answer is ...:
        return ["blank"]
    if isinstance(answer, bool | np.bool_):
        return ["bool", bool(answer)]
    if isinstance(answer, int | np.integer):
        return ["int", _digits(int(answer))]
    if isinstance(answer, float | np.floating):
        return ["float", float(answer).hex()]
    if isinstance(answer, Fraction):
        return ["fraction", _digits(answer.numerator), _digits(answer.denominator)]
    if isinstance(answer, str):
        if len(answer) > LETTERS:
            raise NoAnswerError(f"the text has more than {LETTERS} letters")
        return ["text", str(answer)]
    if isinstance(answer, np.ndarray):
        if answer.size > PARTS:
            raise NoAnswerError(f"expected an array of at most {PARTS} numbers")
        return inner(answer.tolist())
    if isinstance(answer, list | tuple | sp.Tuple):
        return ["list", *map(inner, islice(answer, PARTS + 1))]
    if isinstance(answer, Target):
        domain = [[low.hex(), high.hex()] for low, high in answer.domain]
        return ["target", inner(answer.expression), list(map(inner, answer.variables)), domain]
    if isinstance(answer, sp.MatrixBase):
        return ["list", *map(inner, islice(answer.flat(), PARTS + 1))]
    if isinstance(answer, sp.Basic):
        return _encode_sympy(answer, inner)
    raise NoAnswerError(f"an object of the type {type(answer).__name__} is no answer")


def _encode_sympy(answer, inner):
    if answer in NAMES:
        return ["constant", NAMES[answer]]
    if isinstance(answer, sp.Rational):
        return ["rational", _digits(int(answer.p)), _digits(int(answer.q))]
    if isinstance(answer, sp.Float):
        sign, mantissa, exponent, _ = answer._mpf_
        if max(abs(exponent), int(mantissa).bit_length(), answer._prec) > BITS:
            raise NoAnswerError("a decimal is too large, too small or too long")
        return ["decimal", int(sign), _digits(int(mantissa)), int(exponent), int(answer._prec)]
    if type(answer) is sp.Symbol:
        return ["symbol", answer.name[:40], answer.is_real is True]
    name = type(answer).__name__
    if BY_NAME.get(name) is not type(answer):
        raise NoAnswerError(f"it holds {name[:40]}, which no question asks for; try .doit() on it")
    return [name, *map(inner, answer.args)]


def _digits(number: int) -> str:
    if number.bit_length() > BITS:
        raise NoAnswerError(
            f"it holds a number of more than {BITS} binary digits; try a smaller one"
        )
    return str(number)


# From data to objects


def decode(data):
    """Rebuild an answer from data that anyone may have written.

    Raises:
        NoAnswerError: The data are not what :func:`encode` gives.
    """
    try:
        return _decode(data, [0], 0)
    except NoAnswerError:
        raise
    except Exception as error:
        raise NoAnswerError(f"it cannot be read ({type(error).__name__})") from error


def _decode(data, count, depth):
    count[0] += 1
    if count[0] > 2 * PARTS or depth > 2 * DEPTH or not isinstance(data, list) or not data:
        raise NoAnswerError("it cannot be read")
    kind, *parts = data

    def inner(part):
        return _decode(part, count, depth + 1)

    if kind == "blank":
        return ...
    if kind == "bool":
        return bool(parts[0])
    if kind == "int":
        return _whole(parts[0])
    if kind == "float":
        return float.fromhex(_word(parts[0]))
    if kind == "fraction":
        return Fraction(_whole(parts[0]), _whole(parts[1]))
    if kind == "text":
        return _word(parts[0], LETTERS)
    if kind == "list":
        return [inner(part) for part in parts]
    if kind == "target":
        expression, variables, domain = parts
        pairs = [tuple(float.fromhex(_word(end)) for end in pair) for pair in domain]
        return Target(inner(expression), [inner(variable) for variable in variables], pairs)
    if kind == "constant":
        return CONSTANTS[_word(parts[0])]
    if kind == "rational":
        return sp.Rational(_whole(parts[0]), _whole(parts[1]))
    if kind == "decimal":
        return _decimal(*parts)
    if kind == "symbol":
        return sp.Symbol(_word(parts[0], 40), real=True if parts[1] is True else None)
    operation = BY_NAME[_word(kind)]
    arguments = [inner(part) for part in parts]
    if operation is sp.Pow:
        _refuse_giant(*arguments)
    return operation(*arguments)


def _word(text, longest=4 * BITS) -> str:
    if not isinstance(text, str) or len(text) > longest:
        raise NoAnswerError("it cannot be read")
    return text


def _whole(text) -> int:
    number = int(_word(text, BITS))
    if number.bit_length() > BITS:
        raise NoAnswerError("it cannot be read")
    return number


def _decimal(sign, mantissa, exponent, precision) -> sp.Float:
    if any(type(part) is not int for part in (sign, exponent, precision)):
        raise NoAnswerError("it cannot be read")
    if sign not in (0, 1) or abs(exponent) > BITS or not 1 <= precision <= BITS:
        raise NoAnswerError("it cannot be read")
    number = _whole(mantissa)
    if number < 0:
        raise NoAnswerError("it cannot be read")
    return sp.Float._new((sign, number, exponent, number.bit_length()), precision)


def _refuse_giant(base, exponent):
    """Refuse a power of numbers that would have too many digits: SymPy would write them all."""
    if not (base.is_number and exponent.is_number):
        return
    try:
        size, power = abs(complex(base)), abs(complex(exponent))
        giant = size > 0 and power * abs(math.log2(size)) > BITS
    except OverflowError:
        giant = True
    except (TypeError, ValueError):
        giant = False  # an infinity, or no number after all
    if giant:
        raise NoAnswerError(
            f"it holds a power of more than {BITS} binary digits; try a smaller one"
        )


def short(answer: object) -> str:
    """Write an answer in at most 300 letters, for feedback."""
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        text = "[" + ", ".join(short(part) for part in islice(answer, 12)) + "]"
    else:
        text = "..." if answer is ... else str(answer)
    return text if len(text) <= 300 else text[:297] + "..."
