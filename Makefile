# `make demo` and `make test` work on a bare machine with Python 3.11-3.13 and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
CORPUS ?=
BENCHES := startup fbank bootstrap pretrain_step loop feature_store masking strength kmeans
# Processes that run tests side by side, each file in one of them.
TESTS := -n 2 --dist loadfile
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test check bench parity docs clean setup
setup: $(VENV)/.ready

# uv installs in a fifth of pip's time; --find-links lets a wheel on disk be used where PIP_FIND_LINKS names one.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[dev]"
	touch $@

demo: setup  ## the whole way on generated speech, or on a corpus: make demo DATA=/path/to/ravdess
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/sottovoce demo -o demo $(if $(DATA),--data "$(DATA)") $(if $(CORPUS),--corpus $(CORPUS))

test: setup  ## every test that needs no corpus and no GPU
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest $(TESTS) -m "not gpu and not data"

check: setup  ## what a commit must pass: style, types, the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest $(TESTS) -m "not slow and not gpu and not data"

bench: setup  ## every benchmark, as the tables of bench/README.md
	for name in $(BENCHES); do $(BIN)/python -m bench.$$name || exit; done

parity: setup  ## COVAREP's columns beside the original's, every reference file; needs SOTTOVOCE_DATA
	$(BIN)/python -m bench.covarep_parity

docs: setup  ## the figures of docs/ again, from the commands that made them; needs SOTTOVOCE_DATA
	bash docs/make_results.sh

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache
