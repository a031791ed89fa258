# Every target installs what it lacks into .venv; each works alone in a fresh clone.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: setup demo test test-long test-slurm bench lint doctor clean

setup: .venv/.runtime
demo: .venv/.runtime .venv/.demo
	$(BIN)/python tools/quickstart.py
test: .venv/.runtime .venv/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not long and not slurm'
test-long: .venv/.runtime .venv/.tests
	$(BIN)/python -m pytest tests -q -s -m long
test-slurm: .venv/.runtime .venv/.tests
	tests/install_slurm.sh
	$(BIN)/python -m pytest tests -q -rs -m slurm
bench: .venv/.runtime .venv/.tests
	for part in infer train post text data metrics backbones; do $(BIN)/python tools/benchmark.py $$part --json bench.json || exit 1; done
	$(BIN)/python tools/benchmark.py scale --quick --json bench.json
lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
doctor: .venv/.runtime
	$(BIN)/python tools/doctor.py

.PHONY: docs notebooks
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'the pages are in site/index.html'
notebooks: .venv/.runtime .venv/.tests .venv/.notebooks
	$(BIN)/python -m pytest tests/test_notebooks.py -q -s -m long

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.10, 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11 ...'; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo 'no virtual environment: install python3-venv'; exit 1; }

.venv/.runtime: requirements/runtime.txt requirements/mminstall.txt setup.py | .venv/bin/python
	@echo 'installing torch and the OpenMMLab packages into .venv (about 8 GB, some minutes)'
	$(BIN)/python -m pip install -q -r requirements/runtime.txt -r requirements/mminstall.txt
	$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

.venv/.demo: requirements/optional.txt | .venv/.runtime
	$(BIN)/python -m pip install -q -r requirements/optional.txt
	@touch $@

.venv/.tests: requirements/tests.txt | .venv/.runtime
	$(BIN)/python -m pip install -q -r requirements/tests.txt
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
	rm -rf .venv data/quickstart work_dirs/quickstart
