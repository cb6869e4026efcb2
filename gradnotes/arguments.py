r"""What functions of the package ask of their arguments: whole numbers, numbers, generators."""

import math

import numpy as np


def make_generator(
    rng: int | np.random.Generator, caller: str = "this call"
) -> np.random.Generator:
    r"""Return the NumPy generator that ``rng`` stands for.

    Args:
        rng: An integer seed, 0 or more, or a generator, which is returned as it is.
        caller: The name that an error message uses.

    Raises:
        TypeError: ``rng`` is missing, or is neither an integer nor a generator.
        ValueError: The seed is negative.

    Source: NumPy's ``default_rng``.

    Example:
        >>> make_generator(5).integers(10) == make_generator(5).integers(10)
        np.True_
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        raise TypeError(
            f"{caller} needs rng=..., an integer seed or a numpy Generator, and got {rng!r}; "
            "try rng=0"
        )
    if rng < 0:
        raise ValueError(f"{caller} needs a seed of 0 or more, and got rng={rng}; try rng=0")
    return np.random.default_rng(rng)


def check_whole(name: str, number: object, least: int) -> None:
    r"""Check that an argument is a whole number of at least ``least``.

    Raises:
        ValueError: It is not.

    Source: this module.

    Example:
        >>> check_whole("n", 5, 2)
    """
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or number < least:
        raise ValueError(
            f"expected {name} as an integer of {least} or more, and got {number!r}; try "
            f"{max(least, 10)}"
        )


def check_number(name: str, number: object, above: bool = False) -> None:
    r"""Check that an argument is a finite number of 0 or more, or ``above`` 0.

    Raises:
        ValueError: It is not.

    Source: this module.

    Example:
        >>> check_number("step_size", 0.1, above=True)
    """
    real = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    if not (real and math.isfinite(number) and (number > 0 if above else number >= 0)):
        wanted = "above 0" if above else "of 0 or more"
        raise ValueError(f"expected {name} as a finite number {wanted}, and got {number!r}")
