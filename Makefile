# `make demo` and `make test` need Python 3.11 or newer, make and git, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
# On Linux without a GPU, PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" saves gigabytes.
PIP_FLAGS ?=

# The numeric tests: what a processor's instructions can change.
NUMERIC := tests/test_golden.py tests/contract tests/methods tests/metrics tests/test_engine.py \
	tests/test_row_streaming.py tests/test_statistics.py tests/test_consistent.py tests/test_optim.py tests/test_train.py \
	tests/test_degrade.py tests/test_ops.py tests/test_color.py tests/test_noise.py tests/test_features.py \
	tests/test_lens.py tests/test_runner.py
# Of these, what no instruction changes: sizes, texts, files, memory, and what is compared on one processor with itself.
NOT_NUMERIC := any_size or reads_as_its_file or says_how_it_differs or bounds_and_help or is_refused or never_suffices \
	or publishers_file or another_backbone or resumption or declared_reach or same_at_each_run or depth_and_its_alpha

.PHONY: demo test test-avx2 test-reliability check bench bench-engine docs clean

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

# Two libraries choose their instructions: oneDNN, by the first variable, and torch's own kernels, by the second.
test-avx2: $(VENV)/test  ## the numeric tests once more, as a processor without AVX-512 computes
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest -n 2 --dist worksteal $(NUMERIC) -k "not ($(NOT_NUMERIC))"

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
