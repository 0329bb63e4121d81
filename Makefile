# Everything is set up by the targets themselves: a fresh Debian or Ubuntu with Python 3.11+ and make is enough.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Two cores are enough for all of it in some minutes; a file's tests stay together, for they share their servers.
PYTEST_ARGS ?= -n 2 --dist loadfile
# One virtual environment, in two layers: what the product needs, and what its tests need on top.
RUN_STAMP := $(VENV)/.run-stamp
DEV_STAMP := $(VENV)/.dev-stamp

.PHONY: help demo test test-faults test-fuzz lint bench bench-soak bench-large lock chromium postgres clean

help: ## show this list
	@printf 'Tallystick: a ledger that lets anyone check what happened to a product.\n\n'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(RUN_STAMP) ## watch a pack's journey happen, be proven, and be tampered with (DEMO_SERVE=0 ends by itself)
	@$(BIN)/tallystick demo

test: $(DEV_STAMP) chromium postgres lint ## check imports, style and types, then run every test
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-faults: $(DEV_STAMP) postgres ## the long fault run: FAULT_ROUNDS=100 kills of each process under load
	@FAULT_ROUNDS=$${FAULT_ROUNDS:-100} $(BIN)/python -m pytest -m fault $(PYTEST_ARGS)

test-fuzz: $(DEV_STAMP) ## the long run of schemathesis over our OpenAPI: FUZZ_EXAMPLES=50 random requests an operation
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-50} $(BIN)/python -m pytest tests/api/test_openapi_fuzz.py $(PYTEST_ARGS)

lint: $(DEV_STAMP) ## ruff, mypy strict, and the one-way import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(DEV_STAMP) postgres ## rates as ratios to this machine's signature floor, in one run (BENCH_ARGS)
	@$(BIN)/python -m bench $(BENCH_ARGS)

bench-soak: $(DEV_STAMP) ## ten minutes at full rate: the memory must stay flat (SOAK_S=60 for a short form)
	@$(BIN)/python -m bench.soak --seconds $${SOAK_S:-600} $(BENCH_ARGS)

bench-large: $(DEV_STAMP) postgres ## grow a ledger to 100 million names and plot what sags (BENCH_ROWS=5000000 for a short form)
	@$(BIN)/python -m bench.large --rows $${BENCH_ROWS:-100000000} $(BENCH_ARGS)

lock: $(DEV_STAMP) ## renew the requirement locks (hashes, no addresses)
	@$(BIN)/uv pip compile requirements-build.in $(LOCK_ARGS) -o requirements-build.lock
	@$(BIN)/uv pip compile pyproject.toml $(LOCK_ARGS) -c requirements-build.lock -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK_ARGS) -c requirements.lock -c requirements-build.lock -o requirements-dev.lock

LOCK_ARGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--overrides requirements.overrides --custom-compile-command 'make lock'

chromium: ## install Debian's Chromium for the page tests, where that is allowed
	@bin/ensure-chromium

postgres: ## install Debian's PostgreSQL for the store's tests, where that is allowed
	@bin/ensure-postgres

clean: ## remove what the targets made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info

$(VENV)/bin/python:
	@bin/ensure-venv $(PYTHON) $(VENV)

# merkletools comes as source and asks for pysha3, which is neither needed nor safe: so everything is
# installed from hashes, without looking at dependencies, after the two hashed build tools.
$(RUN_STAMP): requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo 'Setting up: the libraries that requirements.lock names (about a minute the first time)'
	@$(PIP) install --require-hashes --no-deps -r requirements-build.lock
	@$(PIP) install --require-hashes --no-deps --no-build-isolation -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	@echo 'Setting up: the tools that the tests need'
	@$(PIP) install --require-hashes --no-deps --no-build-isolation -r requirements-dev.lock
	@touch $@
