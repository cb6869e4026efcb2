"""Problem sets: right answers under many seeds, wrong ones, and what students see of them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import nbformat
import pytest
import sympy as sp

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "book" / "assignments"
sys.path.insert(0, str(FOLDER))

import gn_build  # noqa: E402
import gn_sets  # noqa: E402

from gradnotes.checks import CheckResult  # noqa: E402
from gradnotes.functions import CosPi, SinPi  # noqa: E402
from gradnotes.targets import Target  # noqa: E402

SETS = gn_sets.names()
SEEDS = range(200)
PS1 = gn_sets.load("ps1")
# Otter is no part of the readers' environment; with this set, as in .ci/run, its tests must run.
REQUIRED = os.environ.get("GRADNOTES_OTTER") == "required"
needs_otter = pytest.mark.skipif(
    not REQUIRED and importlib.util.find_spec("otter") is None,
    reason="Otter-Grader is not installed: run `make assignments` first",
)


def code_cells(one, hidden=False):
    cells = [cell for cell in gn_build.master_notebook(one).cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if cell.source.startswith("# HIDDEN") == hidden]


def solved(one, checks=False):
    """Run the master's cells: what a student sees in them, and the solutions."""
    names = {}
    for source in code_cells(one):
        if checks or "print(" not in source:
            exec(source, names)
    return names


def verdict(one, part, answer):
    return one.module.mark(part, answer, one.numbers, one.rng)


# Right answers and wrong ones


def wrong_answers(names):
    """Three wrong answers or more to each part: mistakes that students make."""
    s, m, M, h, t = names["s"], names["m"], names["M"], names["h"], names["t"]
    c_2, c_3, c_4, f, x = (names[name] for name in ("c_2", "c_3", "c_4", "f", "x"))
    tolerance, q, n = names["tolerance"], names["q"], names["n"]
    weights, offsets, spacing = names["weights"], names["offsets"], names["spacing"]

    def ripple(expression):
        return Target(f.expression + expression, x, (0, 3))

    wave, between = tolerance * SinPi(2 * q * n * x), (t**2 + (1 - t) ** 2) / 2
    reversed_weights = weights[::-1]
    return {
        "1a": [2 * c_2, c_2.subs(s, 1) * s, -c_2, c_2 + m * s, 0],
        "1b": [6 * c_3, c_3 / 2, c_3 + s**3, c_2, c_3.subs(m, -m)],
        "1c": [24 * c_4, c_4.subs(m, 0), c_4.subs(m, m / 2), c_4 + m * s**2, c_4.subs(s, 0)],
        "2": [
            f,
            ripple(-wave),
            ripple(2 * wave),
            ripple(wave / 1000),
            ripple(tolerance * sp.sin(2 * sp.Float(3.14159) * q * n * x)),
            ripple(tolerance * SinPi(2 * (q * n + 1) * x)),
            ripple(wave + sp.Rational(1, 10**9)),
            ripple(wave.subs(x, x - sp.Rational(1, 1009))),
        ],
        "3": [
            M * h * between,
            M * h * t,
            M * h * (1 - t),
            M * h / 2,
            M * t * (1 - t) * h,
            names["slope_bound"] * h,
            names["slope_bound"] / 2,
            names["slope_bound"] * 3 / 2,
            M * h * sp.Max(t, 1 - t, between),
        ],
        "4": [
            [-weight for weight in weights],
            [weight / 2 for weight in weights],
            [sp.Rational(-1, offsets[1] - offsets[0]), sp.Rational(1, offsets[1] - offsets[0])]
            + [0] * (len(offsets) - 2),
            [weights[0] + sp.Rational(1, 1000), *weights[1:]],
            weights[:-1],
            *([reversed_weights] if reversed_weights != weights else []),
        ],
        "5a": [step for step in range(12) if step != names["wrong_step"]],
        "5b": [0, 1 / spacing, sp.pi, sp.pi * spacing, sp.pi / (2 * spacing), 3, sp.oo],
    }


@pytest.mark.parametrize("seeds", [range(first, 200, 8) for first in range(8)], ids=str)
def test_solutions_get_full_marks_and_wrong_answers_none_under_200_seeds(seeds):
    for seed in seeds:
        one = replace(PS1, seed=seed)
        names = solved(one)
        for part, (variable, _) in one.parts.items():
            result = verdict(one, part, names[variable])
            assert result.passed, (seed, part, str(result))
        for part, answers in wrong_answers(names).items():
            assert len(answers) >= 3
            for answer in answers:
                assert not verdict(one, part, answer).passed, (seed, part, answer)


def test_every_question_has_wrong_answers_and_the_seeds_differ():
    assert set(wrong_answers(solved(PS1))) == set(PS1.parts)
    drawn = [replace(PS1, seed=seed) for seed in SEEDS]
    assert len({one.instance for one in drawn}) == len(SEEDS)
    for name, least in {
        "loss": 24,
        "points": 190,
        "offsets": 50,
        "wrong": 6,
        "spacing": 28,
    }.items():
        assert len({str(one.numbers[name]) for one in drawn}) >= least, name
    assert {one.numbers["zero_slopes"] for one in drawn} == {"left", "right", "both"}


def other_forms(names):
    """The right answers of a seed, written in other ways, or other right answers."""
    s, m, M, h, t = names["s"], names["m"], names["M"], names["h"], names["t"]
    plain = {symbol: sp.Symbol(symbol.name) for symbol in (s, m, M, h, t, names["x"])}
    tolerance, q, n, f, x = (names[k] for k in ("tolerance", "q", "n", "f", "x"))
    angle, spacing, bound = 2 * q * n * x, names["spacing"], names["slope_bound"]
    ripples = [
        tolerance * sp.sin(sp.pi * angle),
        2 * tolerance * SinPi(angle / 2) * CosPi(angle / 2),
        tolerance * sp.cos(sp.pi * angle - sp.pi / 2),
        tolerance * SinPi(3 * angle),
        tolerance * (SinPi(angle) + SinPi(3 * angle)) / 2,
        (tolerance * sp.sin(sp.pi * angle)).xreplace(plain),
    ]
    variable = {True: plain[x], False: x}
    forms = {
        "2": [
            Target(
                f.expression.xreplace(plain) + r
                if plain[x] in r.free_symbols
                else f.expression + r,
                variable[plain[x] in r.free_symbols],
                (0, 3),
            )
            for r in ripples
        ],
        "3": [
            bound.xreplace(plain),
            bound.rewrite(sp.Piecewise),
            sp.expand(bound),
            bound * (1 + t / 1000),
        ],
        "4": [
            tuple(names["weights"]),
            [Fraction(int(w.p), int(w.q)) for w in names["weights"]],
            [sp.sqrt(w**2) * sp.sign(w) for w in names["weights"]],
        ],
        "5a": [sp.Integer(names["wrong_step"]), float(names["wrong_step"])],
        "5b": [-sp.pi / spacing, 3 * sp.pi / spacing, sp.acos(-1) / spacing, sp.pi * (1 / spacing)],
    }
    for part, name in (("1a", "c_2"), ("1b", "c_3"), ("1c", "c_4")):
        right = names[name]
        forms[part] = [sp.factor(right), right.xreplace(plain), right * sp.exp(s) * sp.exp(-s)]
        forms[part].append(right + sp.sin(m) ** 2 + sp.cos(m) ** 2 - 1)
    return forms


@pytest.mark.parametrize("seed", range(12))
def test_equivalent_forms_of_a_right_answer_pass(seed):
    one = replace(PS1, seed=seed)
    for part, answers in other_forms(solved(one)).items():
        for answer in answers:
            result = verdict(one, part, answer)
            assert result.passed, (seed, part, answer, str(result))


def test_an_answer_of_the_wrong_kind_is_never_right():
    for part in PS1.parts:
        for answer in (..., None, "sp.pi", [], {}, True, len, sp.Matrix([1]), sp.Eq(sp.pi, 1)):
            try:
                result, words = verdict(PS1, part, answer), ""
            except (TypeError, ValueError) as error:
                result = CheckResult(passed=False, message=str(error))
                words = "expected"
            assert not result.passed, (part, answer)
            assert words in result.message, (part, answer)


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="expected a part among 1a, 1b"):
        verdict(PS1, "9", 1)


def test_the_hidden_tests_mark_the_set_as_it_is_configured():
    names = solved(PS1, checks=True)
    calls = [source.splitlines()[1] for source in code_cells(PS1, hidden=True)]
    assert len(calls) == len(PS1.parts)
    for (part, (variable, _)), call in zip(PS1.parts.items(), calls, strict=True):
        assert call == f'__import__("ps1").passes("{part}", {variable})'
        assert eval(call, names) is True
        assert eval(call.replace(variable, "..."), names) is False


# What students see


def student_copy(name="ps1"):
    path = FOLDER / "student" / f"{name}.ipynb"
    return nbformat.read(path, as_version=4), path.read_text(encoding="utf8")


@pytest.mark.parametrize("name", SETS)
def test_the_students_copy_is_not_stale(name):
    one, (notebook, _) = gn_sets.load(name), student_copy(name)
    noted = {"set": name, "release": one.release, "instance": one.instance}
    assert notebook.metadata["gradnotes"] == noted, "run `make assignments`"
    # Cell by cell the filled master, with stubs for the solutions.
    shown = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    stubs = [source for source in shown if re.search(r"= \.\.\.$", source, re.MULTILINE)]
    assert [source for source in shown if source not in stubs] == [
        source for source in code_cells(one) if "# SOLUTION" not in source
    ], "run `make assignments`"
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for cell in gn_build.master_notebook(one).cells:
        if cell.cell_type == "markdown" and not cell.source.startswith("*Same distribution.*"):
            assert cell.source in words, "run `make assignments`"


@pytest.mark.parametrize("name", SETS)
def test_each_stub_has_a_solution_and_each_answer_a_stub(name):
    one = gn_sets.load(name)
    notebook, _ = student_copy(name)
    assigned = re.compile(r"^(\w+) = \.\.\.$", re.MULTILINE)
    stubs = [found for cell in notebook.cells for found in assigned.findall(cell.source)]
    assert stubs == [variable for variable, _ in one.parts.values()]
    solution = re.compile(r"^(\w+) = .*# SOLUTION$", re.MULTILINE)
    assert [found for source in code_cells(one) for found in solution.findall(source)] == stubs
    assert "_Type your answer here" in "\n".join(cell.source for cell in notebook.cells)


def test_the_students_copy_runs_and_no_check_passes(capsys):
    notebook, _ = student_copy()
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    said = capsys.readouterr().out
    assert said.count("not yet: there is no answer yet") == 7
    assert "passed" not in said
    for part, (variable, _) in PS1.parts.items():
        assert not verdict(PS1, part, names[variable]).passed


@pytest.mark.parametrize("name", SETS)
def test_the_students_copy_has_no_solution_and_no_hidden_test(name):
    one = gn_sets.load(name)
    notebook, text = student_copy(name)
    lines = gn_build.solution_lines(one)
    assert len(lines) >= 20
    assert gn_build.leaks_in(text, one) == []
    assert all(
        set(cell) <= {"cell_type", "id", "metadata", "source", "outputs", "execution_count"}
        and not cell.metadata
        for cell in notebook.cells
    )
    assert set(notebook.metadata) == {"gradnotes", "kernelspec", "language_info", "otter"}
    assert notebook.metadata["otter"] == {"assignment_name": name}
    # The test sees what it looks for.
    for line in lines:
        assert gn_build.leaks_in(json.dumps([line], ensure_ascii=False), one)


@pytest.mark.parametrize("name", SETS)
def test_no_built_page_has_a_solution_or_a_hidden_test(name):
    one = gn_sets.load(name)
    lines = [line.strip() for line in gn_build.solution_lines(one)]
    words = [line for line in lines if len(line) >= 20]
    words += ["# HIDDEN", 'passes("']
    for folder in (ROOT / "_build" / "html", ROOT / "_build" / "student" / "_build"):
        for path in folder.rglob("*") if folder.exists() else []:
            if path.suffix in (".html", ".md", ".js", ".ipynb", ".txt", ".doctree"):
                text = path.read_bytes().decode("utf8", errors="replace")
                for word in words:
                    assert word not in text, path


def test_a_set_takes_six_hours_at_most_and_says_so():
    for name in SETS:
        text = gn_sets.load(name).filled()
        minutes = [int(found) for found in gn_sets.MINUTES.findall(text)]
        assert gn_sets.title(text).startswith("Problem set ")
        assert sum(minutes) <= 360
        assert len(minutes) == len(re.findall(r"^## Question \d", text, re.MULTILINE))
        assert f"at most {sum(minutes)} minutes in all" in text
        assert text.count("**Hand in**") == len(minutes)


# The configuration


def changed_configuration(tmp_path, change):
    for name in ("ps1.md", "ps1.py"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    text = (FOLDER / "instances.yml").read_text(encoding="utf8")
    before, after = change
    assert text.count(before) == 1
    (tmp_path / "instances.yml").write_text(text.replace(before, after), encoding="utf8")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ps1:", "ps2:"), "expected a problem set among ps2, got 'ps1'"),
        (("seed: 2026", "seed: soon"), "expected a whole number as seed, got 'soon'"),
        (("  release: 1\n", ""), "expected the fields limits, points, release, seed"),
        (('"6": 4', '"7": 4'), "expected points for 1a, 1b, 1c, 2, 3, 4, 5a, 5b, 6"),
        (('"6": 4', '"6": -4'), "expected numbers as points"),
        (("part: 20", "part: 0"), "expected numbers as limits"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, change, words):
    folder = changed_configuration(tmp_path, change)
    with pytest.raises(gn_sets.SetError, match=re.escape(words)):
        gn_sets.load("ps1", folder)


def test_another_release_and_other_numbers_are_another_instance():
    assert replace(PS1, release=PS1.release + 1).instance != PS1.instance
    assert replace(PS1, seed=PS1.seed + 1).instance != PS1.instance
    assert replace(PS1, points={**PS1.points, "6": 9}).instance == PS1.instance


def test_an_unknown_place_in_the_master_is_refused():
    with pytest.raises(gn_sets.SetError, match="see colour"):
        replace(PS1, master=PS1.master + "<<colour>>").filled()


# With Otter


@needs_otter
def test_the_students_copy_is_what_otter_makes_and_the_zip_grades_it(tmp_path):
    gn_build.build(PS1, tmp_path / "ps1")
    made = (tmp_path / "ps1" / "student" / "ps1.ipynb").read_bytes()
    assert made == (FOLDER / "student" / "ps1.ipynb").read_bytes(), "run `make assignments`"
    zipped = str(tmp_path / "ps1" / "autograder.zip")
    environment = zipfile.ZipFile(zipped).read("environment.yml").decode()
    pinned = re.findall(r"- (\w+)==[\d.]+$", environment, re.MULTILINE)
    assert pinned == ["numpy", "pyyaml", "sympy"]
    for folder, total in (("solutions", 26), ("student", 0)):
        notebook = str(tmp_path / "ps1" / folder / "ps1.ipynb")
        code = f"found = grade_submission({notebook!r}, {zipped!r}, quiet=True)"
        code = f"from otter.api import grade_submission; {code}; print(found.total, found.possible)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf8")
        said = done.stdout.split()[-2:]
        assert list(map(float, said)) == [total, 26], done.stdout + done.stderr


@needs_otter
def test_a_wrong_solution_stops_the_build_and_leaves_what_was_there(tmp_path):
    kept = tmp_path / "ps1" / "kept"
    kept.parent.mkdir()
    kept.touch()
    master = PS1.master.replace("frequency = sp.pi / spacing", "frequency = 3 / spacing")
    with pytest.raises(gn_sets.SetError, match=r"(?s)full marks.*autograder tests failed"):
        gn_build.build(replace(PS1, master=master), tmp_path / "ps1")
    assert kept.exists()


@needs_otter
def test_a_leak_stops_the_build(tmp_path):
    master = PS1.master.replace("The claim is false,", "Think of `sp.pi / spacing  # SOLUTION`,")
    with pytest.raises(gn_sets.SetError, match="the students' copy of ps1 holds '# SOLUTION'"):
        gn_build.build(replace(PS1, master=master), tmp_path / "ps1")
    assert not (tmp_path / "ps1").exists()
