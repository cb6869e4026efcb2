"""Refresh the lock files, or (``--check``) see that they resolve on every system.

A lock names one version of each package for all systems. What torch pins for itself on Linux with
a GPU is left out: torch asks for exactly those versions, and its CPU wheel asks for none of them.
Versions that stand in the lock stay as they are unless ``--upgrade`` is given.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
ADDED = {
    "dev": (ROOT / "requirements-dev.txt", "the maintainers' own tools"),
    "bench": (ROOT / "requirements-bench.txt", "the peers of the benchmarks"),
    "grade": (ROOT / "requirements-grade.txt", "the builder of problem sets"),
}
PINNED_BY_TORCH = re.compile(r"^(nvidia-|cuda-|triton\b)")
SYSTEMS = {
    "Linux": "x86_64-unknown-linux-gnu",
    "Windows": "x86_64-pc-windows-msvc",
    "macOS on Apple silicon": "aarch64-apple-darwin",
}
PYTHONS = ("3.11", "3.12", "3.13")
HEAD = "# Every package of {whom}, one version each. Made by `make lock`.\n"


def uv(*arguments):
    """Run uv and give what it prints; stop with its own words where it fails."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
    # The oldest macOS that the README promises; uv would take an older one.
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, encoding="utf8"
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def lock(*extras, kept, upgrade):
    """Versions that fit all systems for the package with these extras."""
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old.txt"
        old.write_text("\n".join(kept), encoding="utf8")
        wanted = [word for extra in extras for word in ("--extra", extra)]
        options = ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
        options += ["--no-annotate", "--output-file", str(old)]
        uv("pyproject.toml", *wanted, *options, *(["--upgrade"] if upgrade else []))
        lines = old.read_text(encoding="utf8").splitlines()
    return [line for line in lines if not PINNED_BY_TORCH.match(line)]


def pins(path):
    """The lines of a lock that name a version."""
    text = path.read_text(encoding="utf8") if path.exists() else ""
    return [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]


def refresh(upgrade):
    """Write the reader's lock, and what each further extra adds to it."""
    reader = lock("book", "test", kept=pins(LOCK), upgrade=upgrade)
    write(LOCK, "the reader's environment", [*reader, "-e ."])
    for extra, (path, whom) in ADDED.items():
        everyone = lock("book", "test", extra, kept=[*reader, *pins(path)], upgrade=False)
        added = [line for line in everyone if line not in reader]
        write(path, whom, ["-r requirements.txt", *added])


def write(path, whom, lines):
    """Write one lock file."""
    path.write_text(HEAD.format(whom=whom) + "\n".join(lines) + "\n", encoding="utf8", newline="\n")


def check():
    """Resolve the reader's lock on each system and Python from wheels alone."""
    for name, system in SYSTEMS.items():
        for python in PYTHONS:
            where = ["--python-platform", system, "--python-version", python]
            uv("requirements.txt", *where, "--only-binary", ":all:", "--no-annotate")
            print(f"resolves: {name}, Python {python}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="resolve the lock on every system")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions")
    options = parser.parse_args()
    check() if options.check else refresh(options.upgrade)
