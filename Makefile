# Words for the daily work. Each makes what it needs: a fresh checkout and Python 3.11 with venv and pip
# are enough. `make setup` for everything, `make run` to try it, `make check test` before a commit.

PYTHON ?= python3.11
VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
# Long lists (crash points, random kills) are sampled by this seed. The same seed, the same sample.
# Drawn once: `?=` would draw another one at each mention, and print a seed that is not the one used.
ifndef SEED
SEED := $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
endif
# Most tests wait for something: several processes at once take a third of the time. A file of tests
# stays in one of them, but for those that tests/sharing.py shares out one by one.
WORKERS ?= 4
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

.DEFAULT_GOAL := help
.PHONY: help setup check test soak bench conformance docs run clean

help:
	@echo "make setup   make .venv with everything for working on Agency"
	@echo "make check   ruff, mypy, import-linter"
	@echo "make test    all tests; SEED=n repeats the samples of an earlier run"
	@echo "make soak    the long lists of crash points, random kills and simulated lives, whole"
	@echo "make bench   the figures beside those of others"
	@echo "make conformance TCK_DIR=… TCK_PYTHON=… MCP_CONFORMANCE=… NODE=…   the protocols' own suites"
	@echo "make docs    generate config.toml and the reference pages"
	@echo "make run     start the daemon with config.toml"

# One stamp for each set of dependencies, newer than what it was made from.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-run: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.stamp-%: pyproject.toml $(VENV)/.stamp-run
	$(PIP) --editable '.[$*]'
	@touch $@

# bubblewrap, where the system has none, and MCP servers of others; without them the tests that need
# them are skipped, and say so.
$(VENV)/.stamp-tools: $(wildcard tests/tools_setup/*.py) | $(BIN)/python
	$(BIN)/python -m tests.tools_setup.bubblewrap
	$(BIN)/python -m tests.tools_setup.mcp_servers
	@touch $@

setup: $(VENV)/.stamp-test $(VENV)/.stamp-check $(VENV)/.stamp-tools

check: $(VENV)/.stamp-test $(VENV)/.stamp-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.stamp-test $(VENV)/.stamp-tools
	@echo "seed: $(SEED)"
	SEED=$(SEED) $(BIN)/python -m pytest -m 'not soak' -rs -n $(WORKERS) --dist loadfile $(ARGS)

soak: $(VENV)/.stamp-test $(VENV)/.stamp-tools
	@echo "seed: $(SEED)"
	SOAK=1 SEED=$(SEED) $(BIN)/python -m pytest -m soak -rs $(ARGS)

# Peers have an environment of their own, so that theirs and ours do not choose each other's versions.
# Without them the benchmark still runs, and names whom it skips.
$(BENCH_VENV)/.stamp: pyproject.toml | $(BIN)/python
	@$(PYTHON) -m venv $(BENCH_VENV) && $(BENCH_VENV)/bin/python -m pip --disable-pip-version-check \
		--quiet install $$($(BIN)/python bench/peers.py) && touch $@ \
		|| echo "The peers could not be installed; they are skipped."

bench: $(VENV)/.stamp-run $(BENCH_VENV)/.stamp
	$(BIN)/python -m bench $(ARGS)

# The suites are not part of the project, and nothing is fetched: each runs if its place is given.
conformance: $(VENV)/.stamp-grpc
	TCK_DIR="$(TCK_DIR)" TCK_PYTHON="$(or $(TCK_PYTHON),python3)" MCP_CONFORMANCE="$(MCP_CONFORMANCE)" \
	NODE="$(or $(NODE),node)" OUT="$(OUT)" $(BIN)/python conformance/all.py

docs: $(VENV)/.stamp-run
	$(BIN)/python -m agency.daemon.local.reference
	$(BIN)/python -m agency.cli.reference
	$(BIN)/python -m agency.api.reference

run: $(VENV)/.stamp-run
	$(BIN)/agency-daemon --config config.toml $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH_VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
