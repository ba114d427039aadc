# `make demo` and `make test` need Python 3.11 or newer, make and git, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
# On Linux without a GPU, PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" saves gigabytes.
PIP_FLAGS ?=

.PHONY: demo test check bench docs clean

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

test: check  ## everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(VENV)/test  ## remake results/ on the test sets in DATA
	$(BIN)/safelight bench upscale --data $(DATA) --out results

docs: $(VENV)/test  ## refresh the tables and the included files in the documents
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache .hypothesis
