# The tasks of this checkout. Needs Python 3.11, 3.12, 3.13 or 3.14, and make.

.DEFAULT_GOAL := help

# Debian's Python can make environments only with a package of its own, or uv
USABLE := 'import shutil, sys; shutil.which("uv") or __import__("ensurepip"); \
	sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
# the first usable Python of these; PYTHON=... chooses another
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p -c $(USABLE) && echo $$p && break; done)
BIN := .venv/bin
# tests' files are in memory, where it has room for them: on a disk SQLite waits at each commit
MEMORY := $(shell [ "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 2000000 ] 2>/dev/null && echo /dev/shm)
# whatever the environment says, compiled modules are kept: tests start hundreds of programs
TESTING := PYTHONDONTWRITEBYTECODE= TMPDIR=$(or $(MEMORY),$${TMPDIR:-/tmp})
PYTEST := $(TESTING) $(BIN)/pytest -p no:schemathesis
# `make test` leaves out what needs a GPU, a Docker engine, several hosts or another version, and the fault tests
TEST := not gpu and not compose and not hosts and not upgrade and not faults
# `make quick` leaves out TensorFlow (tests/unit/workers/mnist), PostgreSQL and tests that take seconds
QUICK := not slow and not postgresql

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.PHONY: demo
demo: .venv/installed ## Train and evaluate the codelab's model on a local stack, and show the results
	@$(BIN)/trainshed demo

.PHONY: up
up: .venv/installed ## Run Redis, the API and a worker on this host until Ctrl-C
	@$(BIN)/trainshed up

.PHONY: quick
quick: .venv/installed ## Run the unit tests that start no PostgreSQL and no TensorFlow: under a minute
	@$(PYTEST) -n 3 --dist worksteal -m "$(QUICK)" tests/unit --ignore tests/unit/workers/mnist

.PHONY: unit
unit: .venv/installed ## Run all unit tests: 4 minutes
	@$(PYTEST) -n 3 --dist worksteal tests/unit

.PHONY: test
test: .venv/installed ## Run the tests on a real Redis, SQLite and a real PostgreSQL: about 10 minutes on 2 cores
	@echo "About 6,500 tests on a real Redis, SQLite, a real PostgreSQL and Chromium: 10 minutes on 2 cores"
	@$(PYTEST) -n 4 --dist worksteal -m "$(TEST)"

.PHONY: kills
kills: .venv/installed ## Run the quick ones of the fault tests, as CI does: 3 minutes
	@$(PYTEST) -n 4 --dist worksteal -m "faults and kills" tests/faults

.PHONY: faults
faults: .venv/installed ## Run all fault tests, which kill processes and servers: more than half an hour
	$(PYTEST) -n 2 --dist worksteal -m faults

.PHONY: upgrade-check
upgrade-check: .venv/installed ## Rehearse upgrade and rollback with the last release, under load: 3 minutes
	@$(PYTEST) -n 2 -p no:randomly -m upgrade tests/upgrade

.PHONY: e2e-compose
e2e-compose: .venv/installed ## Run the compose file of a fresh clone through a day, kills and restarts: needs a Docker engine
	$(BIN)/pytest -p no:schemathesis -p no:randomly -m compose tests/e2e

.PHONY: e2e-hosts
e2e-hosts: .venv/installed ## Cut hosts off from Redis and PostgreSQL for a minute, which needs root, and try nginx and Caddy
	$(TESTING) $(BIN)/pytest -p no:schemathesis -p no:randomly -rs -m hosts tests/faults tests/e2e

.PHONY: contract
contract: .venv/installed ## Test the API against its OpenAPI document with schemathesis: about 8 minutes
	$(TESTING) $(BIN)/python -m tests.contract

.PHONY: docs-check
docs-check: .venv/installed ## Run every command of the README, the tutorial and the references, and compare outputs: 4 minutes
	@$(TESTING) $(BIN)/python -m tests.docs

.PHONY: screenshots
screenshots: .venv/installed ## Train some jobs and take pictures of pages and terminals into screenshots/, and of the README's into docs/
	@$(BIN)/python -m tests.web.screenshots screenshots
	@$(BIN)/python -m tests.web.terminal_pictures screenshots/terminals

.PHONY: gpu
gpu: .venv/installed ## Run the tests that need a GPU
	$(BIN)/pytest -m gpu tests/gpu

.PHONY: check
check: .venv/installed ## Check format, lint, types and imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: fix
fix: .venv/installed ## Apply the fixes and the format of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: .venv/installed .venv-bench/installed ## Run the benchmarks against their peers, under 20 minutes; bench/results.md has results
	@$(BIN)/python -m bench

# uv, where it is installed, is faster than pip
.venv/installed: pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c $(USABLE) || { echo "Trainshed needs Python 3.11, 3.12, 3.13 or 3.14 with its module ensurepip:" \
		"install one (on Debian and Ubuntu: apt-get install python3-venv), or choose one with PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version), about 90 seconds the first time" >&2
	@{ if command -v uv >/dev/null; then \
		uv venv -q --allow-existing --python $(PYTHON) .venv && \
		PYTHONWARNINGS=ignore uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[local,traces,worker]' --group dev --compile-bytecode; \
	else \
		$(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1' && \
		PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[local,traces,worker]' --group dev; \
	fi; } || { echo "The packages could not be installed into .venv: see above what is missing, and run make again" >&2; exit 1; }
	@touch $@

# the peers' pins must not touch ours, so they have an environment of their own
.venv-bench/installed: pyproject.toml
	@echo "Setting up .venv-bench, about a minute the first time" >&2
	@if command -v uv >/dev/null; then \
		uv venv -q --allow-existing --python $(PYTHON) .venv-bench && \
		uv pip install -q --python .venv-bench/bin/python --group bench; \
	else \
		$(PYTHON) -m venv .venv-bench && \
		.venv-bench/bin/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1' && \
		.venv-bench/bin/python -m pip install -q --disable-pip-version-check --group bench; \
	fi
	@touch $@
