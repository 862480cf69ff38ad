# Everything that is done with this checkout, one target each. Needs Python 3.11-3.13 and make, nothing else.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# the first of these that is a Python we support; PYTHON=... chooses another
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# what needs a GPU has its own target; of the fault tests only the quick ones run every time
QUICK := not gpu and (not faults or kills)

.PHONY: help
help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: demo
demo: .venv/installed ## Train and evaluate the codelab's model on a stack of its own, and show the results
	@$(BIN)/trainshed demo

.PHONY: up
up: .venv/installed ## Start Redis, the API and a worker here, until Ctrl-C
	@$(BIN)/trainshed up

.PHONY: test
test: .venv/installed ## Run the tests, with a real Redis, SQLite and a real PostgreSQL
	$(BIN)/pytest -n 3 --dist worksteal -m "$(QUICK)"

.PHONY: faults
faults: .venv/installed ## Run every fault test: half an hour of killing processes
	$(BIN)/pytest -n 2 --dist worksteal -m faults

.PHONY: contract
contract: .venv/installed ## Hold the API against its OpenAPI document: about 9 minutes of schemathesis
	$(BIN)/python -m tests.contract

.PHONY: gpu
gpu: .venv/installed ## Run the tests that need a GPU
	$(BIN)/pytest -m gpu tests/gpu

.PHONY: check
check: .venv/installed ## Check format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: fix
fix: .venv/installed ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: .venv/installed ## Run the benchmarks; bench/results.md keeps what they printed
	@for module in $$(grep -l __main__ bench/*.py); do $(BIN)/python -m bench.$$(basename $$module .py) || exit; done

# uv is quicker where it is there; pip does the same
.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Trainshed needs Python 3.11, 3.12 or 3.13: install one, or name it by PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version), about 90 seconds the first time" >&2
	@if command -v uv >/dev/null; then \
		uv venv -q --allow-existing --python $(PYTHON) .venv && \
		PYTHONWARNINGS=ignore uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[local,worker]' --group dev --compile-bytecode; \
	else \
		$(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1' && \
		PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[local,worker]' --group dev; \
	fi
	@touch $@
