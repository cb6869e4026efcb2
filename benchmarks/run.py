"""Measure the package against its peers, and write ``gradnotes/performance.json``.

``make bench`` does it all. ``--only ROW`` measures one row anew and leaves the others as they are;
``--quick`` tries the code on small sizes, with the peers that are installed, and writes only where
``--output`` says.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
from pathlib import Path

RECORD = Path(__file__).resolve().parent.parent / "gradnotes" / "performance.json"
# The peers' packages, and what each is imported as.
PEERS = {"jax": "jax", "smt": "smt", "backpack-for-pytorch": "backpack", "opacus": "opacus"}
PACKAGES = ("torch", "numpy", *PEERS, "gradnotes")


def hold_to_one_thread() -> None:
    """Hold the libraries to one thread, which works only before they are imported."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def machine() -> dict:
    """Return what kind of machine this is."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf8"))
    except OSError:
        found = None
    return {
        "processor": found[1] if found else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict:
    """Return the versions of what is measured, or None where it is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def measured(names: list[str], quick: bool) -> dict:
    """Measure rows, and return them by name."""
    hold_to_one_thread()
    import torch
    from rows import ROWS

    torch.set_num_threads(1)
    found = {}
    for name in names:
        row = ROWS[name]
        records = row.measure(quick)
        _show(name, row.sizes, records)
        found[name] = {
            "made": datetime.date.today().isoformat(),
            "about": row.about,
            "sizes": row.sizes,
            "fields": row.fields,
            "records": records,
        }
    return found


def document(rows: dict, quick: bool) -> dict:
    """Return what the file holds: rows, where they were measured, and the verdicts on the bars."""
    from bars import BARS, verdict

    # A bar is about sizes that a quick run does not measure.
    bars = [] if quick else [bar for bar in BARS if bar.row in rows]

    return {
        "made": max(row["made"] for row in rows.values()),
        "machine": machine(),
        "versions": versions(),
        "threads": 1,
        "bars": [verdict(bar, rows[bar.row]) for bar in bars],
        "rows": rows,
    }


def kept_rows(path: Path) -> dict:
    """Return the rows of an earlier run, once it is certain that they go with a new one."""
    if not path.exists():
        return {}
    old = json.loads(path.read_text(encoding="utf8"))
    for name, now in (("machine", machine()), ("versions", versions())):
        # The old rows do not rest on a peer that came later.
        if any(now.get(part) != value for part, value in old[name].items()):
            sys.exit(
                f"expected the {name} of {path.name}, {old[name]}, and got {now}: rows measured "
                "under both do not go together; try without --only"
            )
    return old["rows"]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="ROW", help="measure this row, and keep the others")
    parser.add_argument("--quick", action="store_true", help="small sizes; writes nothing")
    parser.add_argument("--output", type=Path, help="where to write instead")
    options = parser.parse_args(arguments)
    absent = [name for name, module in PEERS.items() if importlib.util.find_spec(module) is None]
    if absent and not options.quick:
        sys.exit(f"expected {', '.join(absent)} to be installed; try make bench")
    if absent:
        print(f"skipped, since they are not installed: the peers in {', '.join(absent)}")
    hold_to_one_thread()
    from rows import ROWS

    if options.only not in (None, *ROWS):
        sys.exit(f"expected a row among {', '.join(ROWS)}, and got {options.only}")
    path = options.output or (None if options.quick else RECORD)
    kept = kept_rows(path) if path and options.only else {}
    rows = kept | measured([options.only] if options.only else list(ROWS), options.quick)
    if path:
        ordered = {name: rows[name] for name in ROWS if name in rows}
        text = json.dumps(document(ordered, options.quick), indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf8", newline="\n")


def _show(name, sizes, records):
    """Print the numbers of a row."""
    print(name)
    for record in records:
        number = record.get("ratio", record.get("exponent", record.get("seconds")))
        place = ", ".join(f"{size} {record[size]}" for size in sizes)
        spread = f"{number:10.4g}  [{record['low']:.4g}, {record['high']:.4g}]"
        print(f"  {spread:36} {record.get('peer', ''):40} {place}", flush=True)


if __name__ == "__main__":
    main()
