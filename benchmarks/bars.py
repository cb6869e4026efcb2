"""The bars: ratios that the package has set itself, and whether the records meet them."""

from dataclasses import dataclass, field

import peers
from row_accuracy import GEKPLS, GENN
from row_sobolev import ONE_BY_ONE


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A number that must be at most ``limit`` in all records of a row that lie in ``where``.

    A bar is what the package promises itself; a goal lies beyond it.
    """

    row: str
    peer: str
    limit: float
    kind: str = "bar"
    number: str = "ratio"
    where: dict[str, tuple[float, float]] = field(default_factory=dict)


GRADIENTS = {"inputs": (1, 8), "batch": (10_000, 100_000)}
BARS = [
    Bar(row="value_gradient", peer=peers.AUTOGRAD, limit=0.80, where=GRADIENTS),
    Bar(row="value_gradient", peer=peers.JAX, limit=1.0, kind="goal", where=GRADIENTS),
    Bar(row="value_gradient", peer=peers.PRODUCTS, limit=2.5, kind="goal", where=GRADIENTS),
    Bar(row="hessian", peer=peers.TWICE, limit=0.65, where={"inputs": (2, 8)}),
    Bar(row="hessian", peer=peers.JAX, limit=1.0, kind="goal", where={"inputs": (2, 8)}),
    Bar(row="sobolev_step", peer=ONE_BY_ONE, limit=0.25),
    Bar(row="sobolev_step", peer=peers.JAX, limit=1.0, kind="goal"),
    Bar(row="accuracy", peer=GENN, limit=0.2),
    Bar(row="accuracy", peer=GENN, limit=1.0, number="cpu_ratio"),
    Bar(row="accuracy", peer=GEKPLS, limit=1.0, kind="goal"),
]


def verdict(bar: Bar, row: dict) -> dict:
    """Return whether the records of a row meet a bar, and where they do not."""
    judged = [record for record in row["records"] if _falls_under(bar, record)]
    if not judged:
        raise ValueError(f"expected records of {bar.row} for {bar.peer} in {bar.where}; got none")

    def sizes(record):
        return {name: record[name] for name in row["sizes"]}

    worst = max(judged, key=lambda record: record[bar.number])
    missed = [record for record in judged if record[bar.number] > bar.limit]
    return {
        "row": bar.row,
        "peer": bar.peer,
        "kind": bar.kind,
        "number": bar.number,
        "bar": bar.limit,
        "where": {name: list(ends) for name, ends in bar.where.items()},
        "worst": worst[bar.number],
        "worst_at": sizes(worst),
        "met": not missed,
        "records": len(judged),
        "missed_at": [{**sizes(record), bar.number: record[bar.number]} for record in missed],
    }


def _falls_under(bar, record):
    """Return whether a bar is about a record."""
    within = (low <= record[name] <= high for name, (low, high) in bar.where.items())
    return record["peer"] == bar.peer and all(within)
