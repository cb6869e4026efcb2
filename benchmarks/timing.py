"""Time contestants that do the same work, side by side in one process, on one thread.

Machines are noisy, and more so when others use them: a round times each contestant once, a ratio
is taken within a round, and the median over the rounds is what counts. Seconds are CPU seconds.
"""

import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

ROUNDS, QUICK_ROUNDS = 15, 3
AT_LEAST = 0.05
AGREE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Something to time: ``run`` does the work once and returns arrays.

    Attributes:
        name: The name in the records.
        run: Takes nothing, and returns a tuple of arrays.
        checked: Whether the arrays must be those of the package.
        compile_seconds: The time of a compilation that came before, or None.
        work: How many units of work, such as steps, one call of ``run`` does.
        first: How many of the package's entries along the first axis it computes; None means all.
    """

    name: str
    run: Callable[[], tuple]
    checked: bool = True
    compile_seconds: float | None = None
    work: int = 1
    first: int | None = None


class PeerDiffersError(ValueError):
    """A peer does not compute what the package computes, so that timing it means nothing."""


def settle_memory() -> None:
    """Free one block of 24 MB.

    Linux's allocator gives large blocks back to the system and asks for them again, page by page,
    until it has seen one that large: before, the same call takes up to twice the time, so that
    whoever is timed first would seem slow.
    """
    torch.zeros(3_000_000, dtype=torch.float64)


def check_same(ours: tuple, theirs: tuple, peer: str, tolerance: float = AGREE) -> None:
    """Raise unless two tuples of arrays agree, relative to the norm of each array."""
    if len(ours) != len(theirs):
        raise PeerDiffersError(
            f"expected {len(ours)} arrays from {peer}, and got {len(theirs)}; let it return what "
            "the package returns"
        )
    for position, pair in enumerate(zip(ours, theirs, strict=True)):
        expected, got = (np.asarray(array, dtype=np.float64) for array in pair)
        if expected.shape != got.shape:
            raise PeerDiffersError(
                f"expected shape {expected.shape} for array {position} of {peer}, and got "
                f"{got.shape}; try another order of the axes"
            )
        distance = np.linalg.norm(got - expected)
        # `not <=` rather than `>`, so that a NaN is a difference.
        if not distance <= tolerance * np.linalg.norm(expected):
            raise PeerDiffersError(
                f"expected array {position} of {peer} within {tolerance:g} of the package's, "
                f"relative to its norm, and got {distance / np.linalg.norm(expected):.2g}; the two "
                "do not compute the same"
            )


def cpu_seconds(run: Callable, repeats: int) -> float:
    """Return the CPU time of one call, from so many calls in a row.

    Python's garbage collector rests meanwhile: its runs grow with all that has been imported.
    """
    return timeit.Timer(run, timer=time.process_time).timeit(repeats) / repeats


def time_rounds(contestants: list[Contestant], rounds: int, tolerance: float = AGREE) -> np.ndarray:
    """Return CPU seconds per unit of work, (rounds, contestants), the first's agreed with by all.

    Each round starts with another contestant, so that none always follows the same one.
    """
    settle_memory()
    ours = contestants[0].run()
    for peer in contestants[1:]:
        if peer.checked:
            same = tuple(array[: peer.first] for array in ours)
            check_same(same, peer.run(), peer.name, tolerance)
    repeats = [_repeats(contestant.run) for contestant in contestants]
    count = len(contestants)
    seconds = np.empty((rounds, count))
    for turn in range(rounds):
        for k in np.roll(np.arange(count), -turn):
            seconds[turn, k] = cpu_seconds(contestants[k].run, repeats[k]) / contestants[k].work
    return seconds


def compiled(function: Callable, *arguments) -> tuple[Callable, float]:
    """Return a jitted function that is compiled for these arguments, and how long that took."""
    import jax

    jitted = jax.jit(function)
    start = time.perf_counter()
    jax.block_until_ready(jitted(*arguments))
    return jitted, time.perf_counter() - start


def _repeats(run):
    """Return how many calls take ``AT_LEAST`` seconds, after a first one to warm up.

    With a single call, what the last contestant left in the caches would count as well.
    """
    run()
    once = max(cpu_seconds(run, 1), 1e-6)
    return max(1, int(np.ceil(AT_LEAST / once)))
