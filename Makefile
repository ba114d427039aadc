# `make demo` and `make test` need Python 3.11 or newer, make and git, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
# On Linux without a GPU, PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" saves gigabytes.
PIP_FLAGS ?=

.PHONY: demo test test-reliability check bench bench-engine docs clean

$(VENV)/python:
	$(PYTHON) -c 'import sys; sys.exit("Safelight needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	touch $@

$(VENV)/demo: $(VENV)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e ".[demo]"
	touch $@

$(VENV)/test: $(VENV)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e ".[test]"
	touch $@

demo: $(VENV)/demo  ## upscale a sample photograph and write the picture and a report to out/
	$(BIN)/python examples/demo.py --out out

check: $(VENV)/test  ## lint, types, layers, generated documents
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

# Two tests at a time with one thread each: two that share two threads wait for each other.
test: check  ## lint, types, layers, documents and the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/reliability

test-reliability: $(VENV)/test  ## broken files, kills, full disks, hostile weights: minutes, and each alone
	$(BIN)/python -m pytest tests/reliability

bench: $(VENV)/test  ## remake results/ on the test sets in DATA
	for task in upscale denoise deblock; do $(BIN)/safelight bench $$task --data $(DATA) --out results || exit 1; done

bench-engine: $(VENV)/test  ## measure the engine on this machine; needs no data
	$(BIN)/python tools/measure_engine.py

docs: $(VENV)/test  ## refresh the tables and the included files in the documents
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache .hypothesis
