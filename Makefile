# Thin commands: each sets up what it needs, in any order, from an empty clone.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# Two test processes, one thread each: threads of both on the same cores wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -q
NOTEBOOK ?= 03
GRID ?= -g encoder=tfidf,minilm -g geometry_name=raw,zca

.PHONY: run test check suite fast unit lab sweep study bench serve lint notebooks report setup assets clean

run: assets            ## execute every notebook into runs/ and print what each found
	$(PY) -m recsys_lib run

# Types are checked on one core: beside the tests none waits for that.
test: assets           ## lint, types, unit tests, doctests, and every notebook against its committed outputs
	$(MAKE) --no-print-directory -j 2 lint suite

suite:
	$(PYTEST) --nbval --nbval-current-env --nbval-cell-timeout 600

unit: assets           ## the same without the notebooks
	$(PYTEST) tests recsys_lib

check: assets         ## lint, types, imports and the fast unit tests
	$(MAKE) --no-print-directory -j 2 lint fast

fast:
	$(PYTEST) -m "not slow" tests

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check recsys_lib tests conftest.py
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

lab: assets            ## JupyterLab in notebooks/
	$(PY) -m recsys_lib lab

sweep: assets          ## one notebook over a grid: make sweep NOTEBOOK=03 GRID="-g encoder=minilm,e5"
	$(PY) -m recsys_lib sweep $(NOTEBOOK) $(GRID)

study: assets          ## rerun the full studies of notebooks 04 to 09 and refresh data/measurements/: about seven hours
	$(PY) -m recsys_lib study

bench: $(READY) assets ## against baselines, in one run
	$(PY) -m recsys_lib bench similarity
	$(PY) -m recsys_lib bench encode
	$(PY) -m recsys_lib bench recommend
	$(PY) -m recsys_lib bench search

serve: assets          ## a recommender over HTTP on port 8000, fitted on MovieLens-100K first if there is none
	$(PY) -m recsys_lib serve

notebooks: assets      ## execute the committed notebooks in place and refresh figures/
	$(PY) -m recsys_lib run --in-place

report: assets         ## render the notebooks as a static site
	$(PY) -m recsys_lib report

setup: $(READY)

assets: $(READY)
	$(PY) -m recsys_lib fetch

# The stamp is written last: an interrupted set-up is done again.
$(READY): $(wildcard requirements*.txt) pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements.txt
	$(PY) -m pip install --quiet --no-deps -e .
	touch $@

clean:
	rm -rf runs site .pytest_cache .mypy_cache .ruff_cache
