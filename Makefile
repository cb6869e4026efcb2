# Short names for plain commands; what they do stands in _config.yml, _ext/ and the package.
# `make book` and `make test` need nothing but Python 3.11 or newer, make and a package registry.

PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
  BIN := $(VENV)/Scripts
else
  BIN := $(VENV)/bin
endif
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev
BENCH := $(VENV)/.ready-bench
GRADE := $(VENV)/.ready-grade

# `make book STUDENT=1` leaves the solutions out (_ext/gn_student.py).
ifneq ($(filter-out 0,$(STUDENT)),)
  export GRADNOTES_STUDENT := 1
  OUTPUT := --path-output _build/student
endif

.PHONY: help book test mutants bench studies lint lab notebooks assignments grade serve lock clean

help:
	@echo "make book       build the book into _build/html"
	@echo "                (with STUDENT=1: without solutions, into _build/student/_build/html)"
	@echo "make test       run the tests"
	@echo "make mutants    put errors into the formulas, and see that the tests catch each"
	@echo "make bench      measure the package against its peers, into gradnotes/performance.json"
	@echo "make studies    compute the stored studies anew, into gradnotes/"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make assignments build the problem sets into _build/assignments/"
	@echo "make grade      grade a folder of notebooks: make grade SET=ps1 SUBMISSIONS=folder"
	@echo "make serve      show the built book on this machine"
	@echo "make notebooks  build, and refresh notebooks/ from the chapters"
	@echo "make lint       check style and layers"
	@echo "make lock       refresh requirements.txt and the other locks, requirements-*.txt"
	@echo "make clean      remove what was built (the environment stays)"

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('gradnotes needs Python 3.11 or newer, this is ' + sys.version.split()[0] + '; try: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -c "import pathlib; pathlib.Path('$(READY)').touch()"

$(DEV): $(READY) requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -c "import pathlib; pathlib.Path('$(DEV)').touch()"

$(BENCH): $(READY) requirements-bench.txt
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-bench.txt
	$(BIN)/python -c "import pathlib; pathlib.Path('$(BENCH)').touch()"

$(GRADE): $(READY) requirements-grade.txt
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-grade.txt
	$(BIN)/python -c "import pathlib; pathlib.Path('$(GRADE)').touch()"

book: $(READY)
	$(BIN)/jupyter-book build . $(OUTPUT)

test: $(READY)
	$(BIN)/python -m pytest

mutants: $(READY)
	$(BIN)/python tests/mutants.py

bench: $(BENCH)
	$(BIN)/python benchmarks/run.py

studies: $(READY)
	$(BIN)/python -m gradnotes.scaling
	$(BIN)/python -m gradnotes.sobolev
	$(BIN)/python -m gradnotes.stopping
	$(BIN)/python -m gradnotes.synthetic

lab: $(READY)
	$(BIN)/jupyter lab notebooks

assignments: $(GRADE)
	$(BIN)/python book/assignments/gn_build.py

grade: $(READY)
	$(BIN)/python book/assignments/gn_grade.py "$(SET)" "$(SUBMISSIONS)"

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

notebooks: book
	$(BIN)/python _ext/gn_notebooks.py

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --isolated --select F821 notebooks
	$(BIN)/lint-imports

lock: $(DEV)
	$(BIN)/python .ci/lock.py

clean:
	$(PYTHON) -c "import shutil; shutil.rmtree('_build', ignore_errors=True)"
