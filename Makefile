# Every target installs what it lacks into .venv; each works alone in a fresh clone.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
TRAINED := work_dirs/quickstart

.PHONY: setup demo test test-export test-long test-serve test-slurm bench lint doctor clean
.PHONY: test-upstream test-newest gpu-check web test-web

setup: .venv/.runtime
demo: .venv/.runtime .venv/.demo
	$(BIN)/python tools/quickstart.py
test: .venv/.runtime .venv/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not long and not slurm and not export and not web'
test-export: .venv/.runtime .venv/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_export.py -q -n 2 --dist loadgroup -m export
test-long: .venv/.runtime .venv/.tests
	$(BIN)/python -m pytest tests -q -s -m long
# the server under load for a minute; prints answers each second, waiting times and memory
test-serve: .venv/.runtime .venv/.tests
	$(BIN)/python -m pytest tests/test_serving.py tests/test_serving_load.py -q -s
test-slurm: .venv/.runtime .venv/.tests
	tests/install_slurm.sh
	$(BIN)/python -m pytest tests -q -rs -m slurm
test-web: .venv/.runtime .venv/.tests .venv/.web
	tests/install_chromium.sh
	$(BIN)/python -m pytest tests/test_page_in_browser.py -q -s -rs -m web
web: .venv/.runtime .venv/.demo .venv/.tests
	@test -f $(TRAINED)/last_checkpoint || { echo 'no trained model yet: training it, as make demo does'; $(BIN)/python tools/quickstart.py; }
	$(BIN)/oneformer export "$$(cat $(TRAINED)/last_checkpoint)" --out-dir $(TRAINED)/exported --overwrite
	$(BIN)/oneformer page $(TRAINED)/exported --out $(TRAINED)/page
bench: .venv/.runtime .venv/.tests
	rm -f bench.json  # keys of an earlier run stay, as each part adds its own
	start=$$(date +%s); failed=; \
	for part in 'start --repeats 3' infer train post text data metrics backbones 'scale --quick' 'jobs --images 10' 'growth --without windows'; \
		do $(BIN)/python tools/benchmark.py $$part --json bench.json || failed="$$failed $$part;"; done; \
	echo "all of it: $$((($$(date +%s) - start) / 60)) minutes"; \
	if [ -n "$$failed" ]; then echo "ended with an error:$$failed"; exit 1; fi
gpu-check: .venv/.runtime .venv/.tests
	$(BIN)/python tools/gpu_check.py
lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
doctor: .venv/.runtime
	$(BIN)/python tools/doctor.py

.PHONY: coverage dist
coverage: .venv/.runtime .venv/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not long and not slurm and not export and not web' --cov --cov-report=term-missing:skip-covered
dist: .venv/.release
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
.venv/.release: requirements/release.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements/release.txt
	@touch $@
.PHONY: docs notebooks
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'the pages are in site/index.html; with search: python -m http.server -d site'
notebooks: .venv/.runtime .venv/.tests .venv/.notebooks
	$(BIN)/python -m pytest tests/test_notebooks.py -q -s -m long

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.10, 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11 ...'; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo 'no virtual environment: install python3-venv'; exit 1; }

# -c: the versions that are tested
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c requirements/constraints.txt
SHELL := /bin/bash -o pipefail
.venv/.runtime: requirements/runtime.txt requirements/onedl.txt requirements/constraints.txt setup.py | .venv/bin/python
	@echo 'installing torch and the OpenMMLab packages into .venv: about 3 GB to fetch, 8 GB on disk, 3 to 10 minutes'
	$(PIP) --progress-bar off -e ".[onedl]" 2>&1 | tee .venv/setup.log | awk -f requirements/progress.awk \
		|| { tail -5 .venv/setup.log; echo 'the set-up failed; all of it is in .venv/setup.log'; exit 1; }
	@touch $@

.venv/.demo: requirements/demo.txt | .venv/.runtime
	$(PIP) -q -r requirements/demo.txt
	@touch $@

.venv/.tests: requirements/tests.txt | .venv/.runtime
	$(PIP) -q -r requirements/tests.txt
	@touch $@

.venv/.web: requirements/web.txt | .venv/.runtime
	$(PIP) -q -r requirements/web.txt
	@touch $@

.venv/.lint: requirements/lint.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements/lint.txt
	@touch $@

.venv/.docs: requirements/docs.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements/docs.txt
	@touch $@

.venv/.notebooks: requirements/notebooks.txt | .venv/.runtime
	$(BIN)/python -m pip install -q -r requirements/notebooks.txt
	@touch $@

clean:
	rm -rf .venv .venv-openmmlab .venv-newest site data/quickstart work_dirs/quickstart

# The original OpenMMLab packages with the oldest torch that is supported, beside .venv: the suite's
# core. What is left out, and why, is in tests/upstream.py.
UPSTREAM := .venv-openmmlab
UPSTREAM_TESTS := $(addprefix tests/test_,$(addsuffix .py,backbones compat conversion criterion datasets evaluation \
	fusion hf_parity hostile_inputs inferencer late_loading lines resume tools training_parity unpickling vernier weights zoo))
test-upstream: $(UPSTREAM)/.ready
	OMP_NUM_THREADS=1 $(UPSTREAM)/bin/python -m pytest $(UPSTREAM_TESTS) -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not long and not slurm and not export and not web'

$(UPSTREAM)/.ready: requirements/runtime.txt requirements/openmmlab.txt requirements/tests.txt requirements/constraints-openmmlab.txt
	@echo 'installing torch 2.4 and the original OpenMMLab packages into $(UPSTREAM) (about 6 GB, some minutes)'
	rm -rf $(UPSTREAM)
	$(PYTHON) -m venv $(UPSTREAM)
	$(UPSTREAM)/bin/python -m pip install -q -c requirements/constraints-openmmlab.txt -r requirements/runtime.txt -r requirements/openmmlab.txt -r requirements/tests.txt
	$(UPSTREAM)/bin/python -m pip install -q --no-deps -e .
	@touch $@

# The newest torch, numpy and everything else that the requirements allow; not part of CI. The
# outcome of the last run is in docs/versions.md.
NEWEST := .venv-newest
NEWEST_TESTS := $(addprefix tests/test_,$(addsuffix .py,compat criterion datasets evaluation fusion hf_parity inferencer \
	late_loading lines resume training_parity unpickling zoo))
test-newest:
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install -q -r requirements/runtime.txt -r requirements/onedl.txt -r requirements/tests.txt
	$(NEWEST)/bin/python -m pip install -q --no-deps -e .
	$(NEWEST)/bin/python -m pip list
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest $(NEWEST_TESTS) -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not long and not slurm and not export and not web'
