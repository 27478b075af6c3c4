# Thin commands: each sets up what it needs, in any order, from an empty clone.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# Two test processes, one thread each: threads of both on the same cores wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
NOTEBOOK ?= 03
GRID ?= -g encoder=tfidf,minilm -g geometry_name=raw,zca

.PHONY: run test unit lab sweep study bench lint notebooks report setup assets clean

run: assets            ## execute every notebook into runs/ and print what each found
	$(PY) -m recsys_lib run

test: lint assets      ## lint, types, unit tests, doctests, and every notebook against its committed outputs
	$(ONE_THREAD) $(PY) -m pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout 600 -q

unit: assets           ## the same without the notebooks
	$(ONE_THREAD) $(PY) -m pytest -n 2 --dist loadfile -q tests recsys_lib

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check recsys_lib tests conftest.py
	$(PY) -m mypy

lab: assets            ## JupyterLab in notebooks/
	$(PY) -m recsys_lib lab

sweep: assets          ## one notebook over a grid: make sweep NOTEBOOK=03 GRID="-g encoder=minilm,e5"
	$(PY) -m recsys_lib sweep $(NOTEBOOK) $(GRID)

# Readers and budgets of the recorded studies; each sweep is resumable.
FILMS := -p compared '["labels", "tfidf", "wordllama", "minilm", "e5", "smollm2", "smollm2 echo"]'
BOOKS := -p compared '["labels", "tfidf", "wordllama", "minilm", "e5", "smollm2"]'
MODELS := -p models '["wordllama", "minilm", "e5", "smollm2"]'
ROUNDED := -p bits "[8, 7, 6, 5, 4, 3, 2]" -p methods '["nearest", "nearest, per channel", "GPTQ"]'
PATHS := ["torch float32", "torch bfloat16", "torch int8", "native float32", "native bfloat16", "native int8", "compile float32", \
  "openvino float32", "openvino bfloat16", "openvino int8", "torchao int8-weight", "torchao int4-weight", "onnxruntime float32", "onnxruntime int8"]
STUDY := $(PY) -m recsys_lib sweep
study: assets          ## rerun the full studies of notebooks 04 to 07 and refresh data/measurements/: about five hours
	$(STUDY) 04 -g "protocol=ml-100k random" -p trials 12 -p seeds 5 -j 1 $(FILMS) -p left_out "[]" --record data/measurements/ranking-study.json
	$(STUDY) 04 -g "protocol=ml-100k temporal" -p trials 6 -p seeds 5 -j 1 $(FILMS) -p left_out "[]" --record data/measurements/ranking-study.json
	$(STUDY) 04 -g "protocol=ml-100k leave-one-out" -p trials 6 -p seeds 1 -j 1 $(FILMS) -p left_out "[]" --record data/measurements/ranking-study.json
	$(STUDY) 04 -g "protocol=book-crossing random" -p trials 5 -p seeds 5 -j 1 $(BOOKS) -p left_out '["SLIM"]' --record data/measurements/ranking-study.json
	$(STUDY) 05 -g "protocol=ml-100k random" -p trials 6 -p seeds 5 -j 1 $(MODELS) --record data/measurements/cold-study.json
	$(STUDY) 05 -g "protocol=book-crossing random" -p trials 3 -p seeds 5 -j 1 -p kept "[0, 1, 2, 4, 8, 16]" -p at_least 26 \
	  --record data/measurements/cold-study.json
	$(STUDY) 06 -g "sizes=[1682,36055,269862],[1000000]" -p largest_graph 1000000 -j 1 --record data/measurements/search-study.json
	$(STUDY) 07 -g encoder=minilm -g "paths=[]" $(ROUNDED) -p decoder_bits "[8, 6, 5, 4, 3, 2]" -p decoder_methods '["nearest", "GPTQ"]' \
	  -p ladders '["minilm", "smollm2"]' -p dimensions "[]" -j 1 --record data/measurements/model-quantization-study.json
	$(STUDY) 07 -g encoder=e5 -g "paths=[]" $(ROUNDED) -p decoder_bits "[]" -p ladders '["e5"]' -p dimensions "[]" -j 1 \
	  --record data/measurements/model-quantization-study.json
	$(STUDY) 07 -g encoder=minilm -g 'paths=$(PATHS)' -p bits "[8]" -p methods '["nearest"]' -p decoder_bits "[]" -j 1 \
	  -p shapes '{"tokens": [8, 32, 128], "texts": [1, 8, 64]}' -p weighed '$(PATHS)' --record data/measurements/model-quantization-study.json

bench: $(READY) assets ## against peers, in one run
	$(PY) -m recsys_lib bench similarity
	$(PY) -m recsys_lib bench encode
	$(PY) -m recsys_lib bench recommend
	$(PY) -m recsys_lib bench search

notebooks: assets      ## execute the committed notebooks in place and refresh figures/
	$(PY) -m recsys_lib run --in-place

report: assets         ## render the notebooks as a static site
	$(PY) -m recsys_lib report

setup: $(READY)

assets: $(READY)
	$(PY) -m recsys_lib fetch

# The stamp is written last: an interrupted set-up is done again.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements.txt
	$(PY) -m pip install --quiet --no-deps -e .
	touch $@

clean:
	rm -rf runs site .pytest_cache .mypy_cache .ruff_cache
