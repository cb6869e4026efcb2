"""Keep the book strict, offline and described: no warning passes, no page asks another host."""

import hashlib
import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from sphinx.application import ENV_PICKLE_FILENAME
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)

# The data-only package that carries MathJax, and what a page needs of it.
MATHJAX_PACKAGE = "django-static-mathjax"
MATHJAX_ROOT = "mathjax/static/mathjax/es5"
MATHJAX_FILES = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2")
# Not under _static: the theme would load every script there on every page.
MATHJAX_TARGET = "_mathjax"


def be_strict(app):
    """Let the plain build command end with an error when there was any warning."""
    app.keep_going = True


def forget_after_warnings(app, exception):
    """Have the next build read every page again, or it would pass over the warnings of this one."""
    if app._warncount:
        (Path(app.doctreedir) / ENV_PICKLE_FILENAME).unlink(missing_ok=True)


def use_local_mathjax(app, config):
    """Point the pages at the copy of MathJax in the book itself."""
    config.mathjax_path = f"../{MATHJAX_TARGET}/{MATHJAX_FILES[0]}"


def copy_mathjax(app):
    """Copy MathJax's script and fonts from the installed package into the built book."""
    if app.builder.format != "html":
        return
    source = Path(distribution(MATHJAX_PACKAGE).locate_file(MATHJAX_ROOT))
    target = Path(app.outdir) / MATHJAX_TARGET
    for name in MATHJAX_FILES:
        found, wanted = source / name, target / name
        if wanted.exists():
            continue
        wanted.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, wanted)
        else:
            shutil.copyfile(found, wanted)


def drop_thebe(app):
    """Take out sphinx-thebe, which adds a script from another host to each page."""
    for listeners in app.events.listeners.values():
        listeners[:] = [one for one in listeners if "sphinx_thebe" not in one.handler.__module__]


def notice_static_files(app, env):
    """Write all pages again when a style or a script changed: Sphinx looks at the pages alone."""
    # The folders of other packages are absolute; they change with the lock.
    ours = [name for name in app.config.html_static_path if not Path(name).is_absolute()]
    found = (path for name in ours for path in (Path(app.confdir) / name).rglob("*"))
    files = sorted(path for path in found if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    before, env.gn_static = getattr(env, "gn_static", None), digest
    return [] if digest == before else sorted(env.found_docs)


def require_alt_texts(app, doctree, docname):
    """Warn of a picture without an alternative text, which is an error in a strict build."""
    for image in doctree.findall(nodes.image):
        if not re.search(r"\s", image.get("alt", "").strip()):
            LOGGER.warning("a picture without an alt text that says what it shows", location=image)


def setup(app):
    be_strict(app)
    app.connect("config-inited", use_local_mathjax)
    app.connect("builder-inited", drop_thebe, priority=1)
    app.connect("builder-inited", copy_mathjax)
    app.connect("env-updated", notice_static_files)
    app.connect("doctree-resolved", require_alt_texts)
    app.connect("build-finished", forget_after_warnings)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
