"""The claims ledger: what the book claims, how it was settled, and where.

``book/claims.yml`` has a row for each claim. The role ``{claim}`` puts a badge that leads to a row;
the directive ``{claims}`` shows all rows of one origin, each with its test and with links back to
its badges; ``{claims-summary}`` counts them.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

LOGGER = logging.getLogger(__name__)

LEDGER = "book/ledger"
ORIGINS = {"Q": "question", "A": "answer", "C": "comments", "T": "thread", "B": "book"}
VERDICTS = ("true", "true-if", "false", "not-testable", "open")
EVIDENCE = ("proved", "symbolic", "checked", "measured", "cited")
TESTED = {"symbolic", "checked", "measured"}
KNOWN = ("read", "recalled")
# How to refer to a place, by the first part of its label.
ROLES = {"thm": "prf:ref", "fig": "numref", "eq": "eq"}
FAULTS = {
    "statement": "has no statement",
    "verdict": f"expected a verdict among {', '.join(VERDICTS)}, got {{}}",
    "evidence": f"expected evidence among {', '.join(EVIDENCE)}, got {{}}",
    "open": "is open, and so has no evidence, place or tests yet; try another verdict",
    "settled": "is settled, so it needs evidence and a place (a label in the book)",
    "condition": "needs a condition if its verdict is true-if, and has none otherwise",
    "tests": "has evidence or a verdict that needs a test, and names none",
    "sources": f"needs sources (a bibliography key: {' or '.join(KNOWN)}) exactly if it is cited",
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A row of the ledger."""

    id: str
    statement: str = ""
    verdict: str = ""
    condition: str = ""
    evidence: list[str] = field(default_factory=list)
    place: str = ""
    tests: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def origin(self):
        return ORIGINS[self.id[0]]

    @property
    def label(self):
        return f"claim-{self.id.lower()}"

    @property
    def needs_test(self):
        return self.verdict == "false" or bool(TESTED & set(self.evidence))

    def faults(self):
        """Say what is wrong with the row, in words."""
        is_open = self.verdict == "open"
        known = [how for how in self.sources.values() if how not in KNOWN]
        wrong = {
            "statement": not self.statement,
            "verdict": self.verdict not in VERDICTS,
            "evidence": not set(self.evidence) <= set(EVIDENCE),
            "open": is_open and bool(self.evidence or self.place or self.tests),
            "settled": not is_open and not (self.evidence and self.place),
            "condition": bool(self.condition) != (self.verdict == "true-if"),
            "tests": self.needs_test and not self.tests,
            "sources": bool(known) or bool(self.sources) != ("cited" in self.evidence),
        }
        return [
            f"{self.id}: {FAULTS[name].format(getattr(self, name, ''))}"
            for name, is_wrong in wrong.items()
            if is_wrong
        ]


def load(path):
    """Read the ledger; give its claims by id, or raise with every fault and the row it is in."""
    return _claims(path.name, path.read_text(encoding="utf8"))


@lru_cache(maxsize=1)  # every badge asks for the ledger
def _claims(name, text):
    rows = yaml.safe_load(text)
    if not isinstance(rows, list):
        raise ExtensionError(f"{name}:\nexpected a list of rows, got {type(rows).__name__}")
    claims, faults = {}, []
    nodes = yaml.compose(text).value
    for number, (row, node) in enumerate(zip(rows, nodes, strict=True), start=1):
        found = row.get("id", "") if isinstance(row, dict) else ""
        if not re.fullmatch(rf"[{''.join(ORIGINS)}][1-9]\d*", str(found)):
            faults.append(f"row {number}: expected an id such as A8 or B1, got {found!r}")
            continue
        names = [key.value for key, _ in node.value]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"{found}: expected {', '.join(repeated)} once, stands there twice")
            continue
        unknown = set(row) - {one.name for one in fields(Claim)}
        if unknown or found in claims:
            extra = ", ".join(sorted(unknown))
            what = f"expected no field {extra}" if unknown else "expected once, stands there twice"
            faults.append(f"{found}: {what}")
            continue
        claims[found] = Claim(**row)
        faults += claims[found].faults()
    if faults:
        raise ExtensionError(f"{name}:\n" + "\n".join(faults))
    return claims


def ledger_of(env):
    """Read the ledger for a page that depends on it from now on."""
    path = Path(env.srcdir) / "book" / "claims.yml"
    env.note_dependency(str(path))
    return load(path)


class badges(nodes.Element):  # noqa: N801 - docutils writes node classes in lower case
    """Stands for the links back from a row of the ledger to its badges."""


class ClaimRole(SphinxRole):
    """A badge: the id of a claim and its verdict, with a link to the row."""

    def run(self):
        claim = ledger_of(self.env).get(self.text)
        if claim is None:
            LOGGER.warning(
                "no claim %r in book/claims.yml", self.text, location=self.get_location()
            )
            return [nodes.inline(text=self.text)], []
        link = pending_xref(
            "",
            nodes.inline(text=f"{claim.id}: {claim.verdict}"),
            refdomain="std",
            reftype="ref",
            reftarget=claim.label,
            refexplicit=True,
            refwarn=True,
            refdoc=self.env.docname,
        )
        name = f"said-{claim.id.lower()}-{self.env.new_serialno('claim')}"
        classes = ["claim-badge", f"verdict-{claim.verdict}"]
        return [nodes.inline("", "", link, ids=[name], classes=classes, claim=claim.id)], []


class Written(SphinxDirective):
    """A directive that writes Markdown and has it read as if it stood on the page."""

    def parsed(self, text):
        self.env.note_dependency(__file__)
        parent = nodes.Element()
        lines = StringList(text.splitlines(), self.get_source_info()[0])
        self.state.nested_parse(lines, self.content_offset, parent)
        return parent.children


class ClaimsDirective(Written):
    """All rows of one origin."""

    required_arguments = 1

    def run(self):
        if self.arguments[0] not in ORIGINS.values():
            raise self.error(f"expected an origin among {', '.join(ORIGINS.values())}")
        rows = [row for row in ledger_of(self.env).values() if row.origin == self.arguments[0]]
        return [self.row(claim) for claim in rows]

    def row(self, claim):
        classes = ["claim", f"verdict-{claim.verdict}"]
        classes += [f"evidence-{one}" for one in claim.evidence]
        row = nodes.container("", classes=classes, ids=[claim.label], names=[claim.label])
        self.state.document.note_explicit_target(row)
        # A claim that an exercise asks for has its solution in its test.
        shows_tests = not (self.config.gn_student and claim.place.startswith("ex-"))
        row += self.parsed(written(claim, shows_tests))
        paragraphs = [child for child in row if isinstance(child, nodes.paragraph)]
        row.insert(len(paragraphs), badges(claim=claim.id))
        return row


def written(claim, shows_tests=True):
    """The Markdown of a row."""
    lines = [f"**{claim.id}** {{claim-verdict}}`{claim.verdict}` {claim.statement}"]
    if claim.condition:
        lines.append(f"True if {claim.condition}")
    if claim.note:
        lines.append(claim.note)
    if claim.place:
        role = ROLES.get(claim.place.partition("-")[0], "ref")
        lines.append(f"{'; '.join(claim.evidence).capitalize()}: {{{role}}}`{claim.place}`.")
    lines += [f"Source {how}: {{cite:t}}`{key}`." for key, how in claim.sources.items()]
    for test in claim.tests if shows_tests else ():
        file, _, name = test.partition("::")
        lines.append(
            f":::{{dropdown}} Test: {name.removeprefix('test_').replace('_', ' ')}\n"
            f"```{{literalinclude}} ../tests/{file}\n:language: python\n:pyobject: {name}\n```\n:::"
        )
    return "\n\n".join(lines)


class VerdictRole(SphinxRole):
    """The verdict of a row, in its colour."""

    def run(self):
        return [nodes.inline(text=self.text, classes=["claim-badge", f"verdict-{self.text}"])], []


class SummaryDirective(Written):
    """How many claims there are, by verdict and by evidence, and how well errors are caught."""

    def run(self):
        claims = ledger_of(self.env).values()
        record = Path(self.env.srcdir) / "book" / "mutants.json"
        self.env.note_dependency(str(record))
        mutants = json.loads(record.read_text(encoding="utf8"))["mutants"]
        return self.parsed(summary(claims, mutants))


def summary(claims, mutants):
    """The Markdown of the summary."""
    count = Counter(claim.verdict for claim in claims)
    kinds = Counter(kind for claim in claims for kind in claim.evidence)
    tests = {test for claim in claims for test in claim.tests}
    caught = sum(mutant["caught_by"] is not None for mutant in mutants)
    total = sum(count.values())
    table = ["| verdict | claims | evidence | claims |", "|:--|--:|:--|--:|"]
    table += [
        f"| {verdict} | {count[verdict]} | {kind} | {kinds[kind]} |"
        for verdict, kind in zip(VERDICTS, EVIDENCE, strict=True)
    ]
    settled = f"All {total} claims are settled."
    if count["open"]:
        settled = (
            f"Of {total} claims {total - count['open']} are settled and {count['open']} are open: "
            "they wait for later chapters."
        )
    return "\n".join(
        [
            f"{settled} {len(tests)} tests stand behind the settled ones. "
            f"Of {len(mutants)} deliberate errors in the formulas of the package, "
            f"the tests caught {caught}.",
            "",
            *table,
        ]
    )


def link_back(app, doctree, docname):
    """Put links to all badges of a claim into its row of the ledger."""
    places = list(doctree.findall(badges))
    if not places:
        return
    found = badge_places(app.env)
    for place in places:
        links = nodes.paragraph(classes=["claim-said"])
        for page, name in found.get(place["claim"], []):
            links += nodes.Text(", " if links.children else "Mentioned in ")
            target = f"{app.builder.get_relative_uri(docname, page)}#{name}"
            links += nodes.reference(
                "", app.env.titles[page].astext(), refuri=target, internal=True
            )
        place.replace_self(links if links.children else [])


def badge_places(env):
    """Where the badges of each claim are: pairs of a page and an id, one for each page."""
    found = {}
    for page in sorted(env.found_docs):
        for badge in env.get_doctree(page).findall(nodes.inline):
            if "claim" in badge:
                found.setdefault(badge["claim"], {}).setdefault(page, badge["ids"][0])
    return {claim: list(pages.items()) for claim, pages in found.items()}


def write_ledger(app, env):
    """Write the ledger again at each build: a badge on another page may be new."""
    return [LEDGER] if LEDGER in env.found_docs else []


def setup(app):
    app.add_node(badges)
    app.add_role("claim", ClaimRole())
    app.add_role("claim-verdict", VerdictRole())
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("claims-summary", SummaryDirective)
    app.connect("env-updated", write_ledger)
    app.connect("doctree-resolved", link_back, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
