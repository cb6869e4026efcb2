r"""Sweeps: independent cells run side by side, resumed where they stopped, and stored as tables.

A cell is a small dict of arguments. :func:`run_cells` calls one function on many of them, on one
core, on several, or on a cluster; :func:`save_table` and :func:`load_table` keep what came out.
"""

from __future__ import annotations

import ast
import datetime
import hashlib
import importlib
import importlib.resources
import inspect
import json
import os
import platform
import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

import gradnotes

PACKAGE = gradnotes.__name__
PART = ("cell", "settings", "checksum", "result")
TABLE = ("made", "settings", "versions", "modules", "code", "rows")


def run_cells(
    function: Callable,
    cells: Sequence[dict],
    *,
    store: str | os.PathLike | None = None,
    settings: dict | None = None,
    progress: bool = True,
) -> list:
    r"""Return ``function(**cell)`` for each cell, in the order of the cells.

    .. math:: (c_1, \dots, c_n) \mapsto (f(c_1), \dots, f(c_n))

    The cells run in one process, unless the call stands in a context of joblib that says otherwise:

    - ``parallel_config(n_jobs=2)`` takes two processes;
    - ``parallel_config(backend="dask")`` takes the workers of the current
      ``dask.distributed.Client``.

    Each cell computes with one torch thread. The results are the same in all cases if the function
    draws its random numbers from :func:`cell_generator`.

    With a store, each result becomes one JSON file in that folder as soon as it is there. When the
    run is interrupted or killed, the same call reads these files and computes only the rest. A file
    that was made by other code or with other settings, or that is damaged, is refused before
    anything is computed. Files are never deleted, and only those of the same cell overwritten.

    Args:
        function: It can be pickled, and returns what JSON can hold: numbers, strings, None, and
            lists and dicts of these. Floats keep all their bits; tuples come back as lists, and
            keys as strings.
        cells: Different dicts of arguments, of what JSON can hold.
        store: None, or a folder, which is made if it is not there.
        settings: What else the results depend on, such as the name of a target; checked against
            the files of the store.
        progress: Whether a terminal shows a progress bar; nothing else ever does.

    Raises:
        TypeError: A cell, a setting or a result is not of what JSON can hold.
        ValueError: Two cells are equal; a number is not finite; the source of the function cannot
            be read, though there is a store; or the store holds files that do not fit.

    Source: the definition of a sweep in the book.

    Example:
        >>> run_cells(pow, [{"base": 2, "exp": 10}, {"base": 3, "exp": 2}])
        [1024, 9]
    """
    cells = list(cells)
    keys = [_checked_json(cell, f"cell {i}") for i, cell in enumerate(cells)]
    first = {}
    for i, key in enumerate(keys):
        if first.setdefault(key, i) < i:
            raise ValueError(
                f"expected different cells, and got {cells[i]} as cells {first[key]} and {i}; "
                "try a further argument, such as a seed"
            )
    texts, paths = [None] * len(cells), []
    if store is not None:
        settings = _all_settings(function, settings or {})
        folder = _made_folder(store)
        paths = [folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json" for key in keys]
        texts = [_read_part(*part, settings) for part in zip(paths, cells, strict=True)]
    todo = [i for i, text in enumerate(texts) if text is None]
    tasks = (delayed(_run)(function, i, cells[i]) for i in todo)
    # In batches, what is done would have to wait for its neighbours before it is stored.
    done = Parallel(return_as="generator_unordered", batch_size=1)(tasks)
    bar = tqdm(
        total=len(cells),
        initial=len(cells) - len(todo),
        desc="cells",
        unit="cell",
        disable=None if progress else True,
        leave=False,
        delay=1.0,
    )
    with bar:
        for i, text in done:
            if store is not None:
                _write_part(paths[i], cells[i], settings, text)
            texts[i] = text
            bar.update()
    return [json.loads(text) for text in texts]


def _run(function, index, cell):
    """Return the index of a cell and its result as JSON, computed with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return index, _checked_json(function(**cell), f"the result of {cell}", exact=False)
    except Exception as error:
        error.add_note(f"This happened in the cell {cell}.")
        raise
    finally:
        torch.set_num_threads(threads)


def _checked_json(what, name, exact=True):
    """Return JSON for this, with sorted keys; if ``exact``, it gives the same thing back."""
    try:
        text = json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ValueError(f"expected finite numbers in {name}: {error}; try None") from error
    except TypeError as error:
        raise TypeError(
            f"expected numbers, strings, lists and dicts in {name}: {error}; "
            "try int(...), float(...) or array.tolist()"
        ) from error
    if exact and json.loads(text) != what:
        raise TypeError(
            f"expected what JSON gives back as it is in {name}, and got {what}, which comes back "
            f"as {json.loads(text)}; try lists for tuples, and strings as keys"
        )
    return text


def cell_generator(rng: int, **content) -> np.random.Generator:
    r"""Return a generator for a cell, which depends on a seed and on the content of the cell only.

    Cells of other content have independent generators, in whatever order and wherever they run.

    Args:
        rng: An integer seed, 0 or more. A generator will not do: what it gives to a cell would
            depend on the cells before.
        **content: What tells the cell from others, of what JSON can hold.

    Raises:
        TypeError: The seed is not an integer, or the content is not of what JSON can hold.
        ValueError: The seed is negative.

    Source: NumPy's ``SeedSequence``, with a hash of the content as entropy.

    Example:
        >>> numbers = [cell_generator(7, points=64, seed=s).random() for s in (0, 1, 0)]
        >>> numbers[0] == numbers[2], numbers[0] == numbers[1]
        (True, False)
    """
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        raise TypeError(f"a cell needs rng=..., an integer seed, and got {rng!r}; try rng=0")
    if rng < 0:
        raise ValueError(f"a cell needs a seed of 0 or more, and got rng={rng}; try rng=0")
    digest = hashlib.sha256(_checked_json(content, "the content of a cell").encode()).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.default_rng(np.random.SeedSequence([int(rng), *words]))


def in_groups(count: int, size: int) -> list[list[int]]:
    r"""Return the numbers from 0 to ``count - 1`` in lists of ``size``, the last maybe shorter.

    Example:
        >>> in_groups(5, 2)
        [[0, 1], [2, 3], [4]]
    """
    return [list(range(first, min(first + size, count))) for first in range(0, count, size)]


def joined_groups(heads: Sequence[dict], results: Sequence[dict]) -> tuple[dict, ...]:
    r"""Return one row for each different head, with the lists of its results one after the other.

    Args:
        heads: What tells one setting from others; its groups of seeds have equal heads.
        results: For each head, dicts of lists over the seeds of its group.

    Example:
        >>> joined_groups([{"n": 4}, {"n": 4}], [{"error": [0.1, 0.2]}, {"error": [0.3]}])
        ({'n': 4, 'error': [0.1, 0.2, 0.3]},)
    """
    rows = {}
    for head, result in zip(heads, results, strict=True):
        row = rows.setdefault(tuple(head.values()), {**head, **{name: [] for name in result}})
        for name, numbers in result.items():
            row[name] = row[name] + numbers
    return tuple(rows.values())


# Parts of a store


def _all_settings(function, settings):
    """Return the settings that a part is stored with, the function and its code among them."""
    code = _function_hash(function)
    name = f"{function.__module__}.{function.__qualname__}"
    automatic = {"function": name, "code": code, "versions": versions()}
    taken = sorted(automatic.keys() & settings.keys())
    if taken:
        raise ValueError(f"the names {', '.join(taken)} are taken; try other names for settings")
    _checked_json(settings, "the settings")
    return {**automatic, **settings}


def _function_hash(function):
    """Return a hash of the source of a function and of the package's modules that it may use."""
    module = inspect.getmodule(function)
    if module is not None and module.__name__.startswith(f"{PACKAGE}."):
        return source_hash([module.__name__])
    try:
        own = _bare(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError) as error:
        raise ValueError(
            f"expected a function whose source can be read, so that a store can tell when it "
            f"changes, and got {function!r}; try a function in a file"
        ) from error
    try:
        uses = _imports(inspect.getsource(module))
    except (OSError, TypeError):
        uses = _used_modules(vars(module).values())
    return _hash([own, *map(_source, _closure(uses))])


def _used_modules(values):
    """Return the package's modules that the variables of a notebook come from."""
    names = {v.__name__ if inspect.ismodule(v) else getattr(v, "__module__", "") for v in values}
    return {name for name in names if isinstance(name, str) and name.startswith(f"{PACKAGE}.")}


def _made_folder(store):
    folder = Path(store)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder as store, and got the file {folder}; try another name")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read_part(path, cell, settings):
    """Return the stored result as JSON, or None if there is none; refuse what does not fit."""
    if not path.exists():
        return None
    part = _loaded(path, PART)
    text = json.dumps(part["result"], sort_keys=True, separators=(",", ":"))
    if part["cell"] != cell or part["checksum"] != hashlib.sha256(text.encode()).hexdigest():
        raise ValueError(f"{path} is damaged; try deleting it, and it is computed anew")
    differences = [
        f"{key}: stored {part['settings'].get(key)!r}, asked {settings.get(key)!r}"
        for key in sorted(part["settings"].keys() | settings.keys())
        if part["settings"].get(key) != settings.get(key)
    ]
    if differences:
        raise ValueError(
            f"{path}, the part for {cell}, was made with other settings ({'; '.join(differences)});"
            " try another store=, or delete the folder to compute all anew"
        )
    return text


def _write_part(path, cell, settings, text):
    checksum = hashlib.sha256(text.encode()).hexdigest()
    part = {"cell": cell, "settings": settings, "checksum": checksum, "result": json.loads(text)}
    _write(path, json.dumps(part))


def _write(path, text):
    """Write a file as a whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf8", newline="\n")
    os.replace(temporary, path)


def _loaded(path, keys):
    """Return the dict in a JSON file with exactly these keys."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or sorted(content) != sorted(keys):
        raise ValueError(
            f"{path} is damaged: expected JSON with {', '.join(keys)}; try deleting it, and it is "
            "computed anew"
        )
    return content


# Stored studies


def save_table(
    path: str | os.PathLike, rows: list[dict], *, settings: dict, modules: Iterable[str]
) -> None:
    r"""Write the rows of a study to a JSON file, with all that tells how they were made.

    Next to the rows the file holds the settings, the date, the versions of Python and of the
    packages, the modules, and a hash of their code (:func:`source_hash`).

    Args:
        path: The file. A table that is there is replaced, and nothing else is.
        rows: Dicts of what JSON can hold.
        settings: The arguments of the study, seeds among them.
        modules: The names of the modules of this package that made the rows.

    Raises:
        TypeError: Rows or settings are not of what JSON can hold.
        ValueError: A number is not finite, or the file is something else than a table.

    Source: the definition of a stored study in the book.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "squares.json"
        ...     save_table(path, [{"x": 3, "y": 9}], settings={}, modules=["gradnotes.sweeps"])
        ...     load_table(path)["rows"]
        [{'x': 3, 'y': 9}]
    """
    path, modules = Path(path), sorted(modules)
    if path.exists():
        try:
            _loaded(path, TABLE)
        except ValueError as error:
            raise ValueError(
                f"expected a table to be replaced, and {path} is something else; try another name"
            ) from error
    table = {
        "made": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
        "modules": modules,
        "code": source_hash(modules),
    }
    lines = [_checked_json(row, f"row {i}") for i, row in enumerate(rows)]
    _checked_json(settings, "the settings")
    head = json.dumps({**table, "settings": settings}, indent=1)
    # A row a line: what a new run changes can then be read in a comparison of versions.
    _write(path, head.removesuffix("\n}") + ',\n "rows": [\n' + ",\n".join(lines) + "\n ]\n}\n")


def store_study(
    study: Callable[[Path], Iterable[dict]],
    path: str | os.PathLike | None,
    *,
    settings: dict,
    module: str,
    digits: int,
) -> None:
    r"""Run a study on all cores, and save its rows; after an interrupt it goes on where it was.

    What is done is kept in ``_build/studies``, in a folder that is deleted at the end.

    Args:
        study: Takes this folder, as the ``store`` of :func:`run_cells`, and returns the rows.
        path: The file, as for :func:`save_table`; None takes the one that comes with the package.
        settings: The arguments of the study.
        module: The name of its module.
        digits: How many significant digits are kept of each number that is not whole.

    Raises:
        TypeError: See :func:`save_table`.
        ValueError: See :func:`save_table`.

    Source: the definition of a stored study in the book.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path, settings = Path(folder) / "thirds.json", {"rng": 0}
        ...     options = {"settings": settings, "module": "gradnotes.sweeps", "digits": 3}
        ...     store_study(lambda store: [{"x": 1, "third": 1 / 3}], path, **options)
        ...     load_table(path)["rows"]
        wrote thirds.json with 1 rows
        [{'third': 0.333, 'x': 1}]
    """
    if path is None:
        path = Path(gradnotes.__file__).with_name(f"{module.rpartition('.')[2]}.json")
    path = Path(path)
    # Parts of other code are of no use; under another name they are not in the way either.
    store = Path("_build") / "studies" / f"{path.stem}-{source_hash([module])}"
    with parallel_config(n_jobs=-1):
        rows = [_rounded(row, digits) for row in study(store)]
    save_table(path, rows, settings=settings, modules=[module])
    shutil.rmtree(store, ignore_errors=True)
    print(f"wrote {path.name} with {len(rows)} rows")


def _rounded(what, digits):
    if isinstance(what, dict):
        return {key: _rounded(value, digits) for key, value in what.items()}
    if isinstance(what, list):
        return [_rounded(value, digits) for value in what]
    return float(f"{what:.{digits}g}") if isinstance(what, float) else what


def load_table(source: str | Path) -> dict:
    r"""Return a stored study as a dict: "rows", "settings", "versions", "modules", "code", "made".

    Args:
        source: The name of a study that comes with the package, such as "scaling"; or the path of
            a file, as a :class:`pathlib.Path`.

    Raises:
        FileNotFoundError: There is no such study or file.
        ValueError: The file is not a table.

    Source: the definition of a stored study in the book.

    Example:
        >>> sorted(load_table("scaling"))
        ['code', 'made', 'modules', 'rows', 'settings', 'versions']
    """
    if isinstance(source, Path):
        return _loaded(source, TABLE)
    file = importlib.resources.files(PACKAGE) / f"{source}.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no study {source!r} in the package; for a file, try Path({str(source)!r})"
        )
    return _loaded(file, TABLE)


def is_stale(table: dict) -> bool:
    r"""Tell whether the code that made a table, as :func:`load_table` gives it, has changed since.

    Docstrings, comments and blank lines do not count.

    Raises:
        ModuleNotFoundError: A module that made the table is no longer there.

    Source: the definition of a stored study in the book.

    Example:
        >>> modules = ["gradnotes.targets"]
        >>> is_stale({"modules": modules, "code": source_hash(modules)})
        False
    """
    return source_hash(table["modules"]) != table["code"]


def versions() -> dict[str, str]:
    r"""Return the versions of Python and of the packages that numbers depend on.

    Example:
        >>> sorted(versions())
        ['gradnotes', 'numpy', 'python', 'scipy', 'torch']
    """
    # A local version, such as that of a wheel without GPU support, is the same source.
    packages = {name: metadata.version(name) for name in ("numpy", "scipy", "torch")}
    public = {name: version.partition("+")[0] for name, version in packages.items()}
    return {"python": platform.python_version(), "gradnotes": gradnotes.__version__, **public}


def source_hash(modules: Iterable[str]) -> str:
    r"""Return a hash of the code of modules, and of all modules of this package that they import.

    Docstrings, comments that fill a line, and blank lines do not count. The hash is the same with
    every version of Python.

    Args:
        modules: Names such as "gradnotes.targets".

    Raises:
        ModuleNotFoundError: There is no such module.

    Source: the definition of a stored study in the book.

    Example:
        >>> source_hash(["gradnotes.gaps"]) == source_hash(["gradnotes.gaps", "gradnotes.targets"])
        True
        >>> source_hash(["gradnotes.gaps"]) == source_hash(["gradnotes.targets"])
        False
    """
    return _hash(map(_source, _closure(set(modules))))


def _hash(texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _closure(names):
    """Return the names, and those of all modules of the package that they import, sorted."""
    found, todo = set(), set(names)
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= _imports(inspect.getsource(importlib.import_module(name))) - found
    return sorted(found)


def _source(name):
    return f"{name}\n{_bare(inspect.getsource(importlib.import_module(name)))}"


def _imports(source):
    """Return the modules of the package that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            names |= {f"{PACKAGE}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    modules = importlib.resources.files(PACKAGE)
    return {
        name
        for name in names
        if name.startswith(f"{PACKAGE}.") and (modules / f"{name[len(PACKAGE) + 1 :]}.py").is_file()
    }


def _bare(source):
    """Return a source without docstrings, comments that fill a line, and blank lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            for number in range(first.lineno - 1, first.end_lineno):
                lines[number] = ""
    kept = (line.rstrip() for line in lines)
    return "\n".join(line for line in kept if line and not line.lstrip().startswith("#"))
