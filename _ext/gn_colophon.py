"""What the colophon says: versions, the machine, and how long each page runs.

``{versions}`` is a table of what the book was made with, ``{run-times}`` one of its notebooks. The
page is read again whenever another one is.
"""

import os
import platform
from importlib import metadata

import gn_execute
from gn_claims import Written

PAGE = "book/colophon"
PACKAGES = ("gradnotes", "torch", "numpy", "scipy", "sympy", "matplotlib", "scikit-learn")
PACKAGES += ("jupyter-book", "sphinx", "myst-nb")


def read_again(app, env, docnames):
    """Read the colophon after the pages that it tells of have run."""
    if docnames and PAGE in env.found_docs and PAGE not in docnames:
        docnames.append(PAGE)


class VersionsDirective(Written):
    """What the book was made with."""

    def run(self):
        lines = ["| what | version |", "|:--|:--|", f"| Python | {platform.python_version()} |"]
        for name in PACKAGES:
            version = metadata.version(name).partition("+")[0]
            lines.append(f"| {name} | {version} |")
        return self.parsed("\n".join(lines))


class RunTimesDirective(Written):
    """The seconds that each notebook took, the longest first, and where that was."""

    def run(self):
        found = sorted(gn_execute.run_times(self.env).items(), key=lambda item: -item[1])
        lines = ["| page | seconds |", "|:--|--:|"]
        lines += [f"| {{doc}}`/{name}` | {seconds:.0f} |" for name, seconds in found]
        total = sum(seconds for _, seconds in found)
        lines += [f"| all {len(found)} | {total:.0f} |", ""]
        system, cores = f"{platform.system()} on {platform.machine()}", os.cpu_count()
        lines.append(f"This build: {system}, {cores} cores, Python {platform.python_version()}.")
        return self.parsed("\n".join(lines))


def setup(app):
    app.add_directive("versions", VersionsDirective)
    app.add_directive("run-times", RunTimesDirective)
    app.connect("env-before-read-docs", read_again, priority=800)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
