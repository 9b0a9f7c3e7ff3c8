# `make` lists what can be done. python3 (3.11 to 3.13) and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install run test drill matrix campaign mutants bugsink lint types imports check bench lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## build .venv from the hashed lock

$(VENV)/.installed: requirements.lock build-constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python 3.11 to 3.13 is needed, this is %d.%d: make install PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/build-constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

run: install  ## demo: the simulated exchange and the daemon, in the foreground (Ctrl-C stops in order)
	$(BIN)/python run.py start --mode demo

# Two at a time, a file each: drills mostly wait, and on more cores more daemons at once would not make them faster.
# The seeded days come first and alone: they use both cores for two minutes.
TWO := -n 2 --dist loadfile
test: install  ## all tests, drills included
	$(BIN)/python -m pytest tests/campaign
	$(BIN)/python -m pytest $(TWO) --ignore tests/campaign --durations=15

drill: install  ## the drills on the running daemon, then the whole fault matrix (an hour)
	$(BIN)/python -m pytest $(TWO) tests/drills
	$(MAKE) matrix

MATRIX_SEED ?= 20261127
matrix: install  ## the fault matrix, 600 cases: make matrix MATRIX_SEED=7
	$(BIN)/python -m tests.drills.matrix --seed $(MATRIX_SEED)

SEEDS ?= 10000
FIRST ?= 1
campaign: install  ## seeded days in virtual time: make campaign SEEDS=10000
	$(BIN)/python -m tests.campaign --seeds $(SEEDS) --first $(FIRST)

mutants: install  ## planted bugs, each of which the seeded days must find (about half an hour)
	$(BIN)/python -m tests.campaign.mutants

BUGSINK := .bugsink
bugsink: $(BUGSINK)/.installed  ## a Sentry-compatible server in .bugsink, for the drill of crash reports

$(BUGSINK)/.installed:
	$(PYTHON) -m venv $(BUGSINK)
	$(BUGSINK)/bin/python -m pip install --quiet --disable-pip-version-check 'bugsink==2.6.2'
	touch $@

lint: install  ## ruff
	$(BIN)/ruff check .

types: install  ## mypy --strict
	$(BIN)/mypy

imports: install  ## the direction of imports
	$(BIN)/lint-imports

check: lint types imports  ## lint, types and imports

bench: install  ## the benchmarks (docs/performance.md says what they mean)
	$(BIN)/python -m benchmarks

lock: install  ## make requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --group dev pyproject.toml -o requirements.lock

clean:  ## remove what install and the tests made (never data/)
	rm -rf $(VENV) $(BUGSINK) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
