# Needs make and Python 3.11 to 3.14; everything else lands in .venv, in the versions of constraints.txt.
# pip's own settings (an index, a proxy) are read from the environment as PIP_*.

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALL := $(PYTHON) -m pip install --quiet --constraint constraints.txt
BUILD_INPUTS := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/include/* native/src/*)
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all test-portable test-pure lint format docs bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@echo "  Further arguments: make test ARGS='-k sinkhorn'"

demo: $(VENV)/.demo ## compare real tables, print three verdicts, write one HTML report each to demo/
	$(PYTHON) scripts/demo.py

test: $(VENV)/.dev ## the gating tests and every docstring example
	$(PYTHON) -m pytest -m "not slow" $(ARGS)

test-slow: $(VENV)/.dev ## what `make test` leaves out: long and statistical tests
	$(PYTHON) -m pytest -m slow $(ARGS)

test-all: $(VENV)/.dev ## both
	$(PYTHON) -m pytest $(ARGS)

test-portable: $(VENV)/.dev ## the gating tests on the kernels that every processor runs
	HOWFAR_ISA=portable $(PYTHON) -m pytest -m "not slow" $(ARGS)

test-pure: $(VENV)/.dev ## the gating tests without the compiled library
	HOWFAR_NATIVE=0 $(PYTHON) -m pytest -m "not slow" $(ARGS)

lint: $(VENV)/.dev ## ruff (rules and layout), mypy
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: $(VENV)/.dev ## what ruff can mend by itself
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: $(VENV)/.dev ## make the tables and the pictures of README and docs anew
	$(PYTHON) -m scripts.pages && $(PYTHON) -m scripts.figures

bench: $(VENV)/.dev ## time ours against the peers that are installed
	$(PYTHON) -m benchmarks $(ARGS)

clean: ## remove the environment and everything built
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@for python in $(CANDIDATES); do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; $$python -m venv $(VENV) && touch $@; exit; \
	  fi; \
	done; \
	echo "howfar needs Python 3.11 to 3.14; tried $(CANDIDATES). Install one, or put it first on PATH." >&2; exit 1
	$(INSTALL) --upgrade pip

# A package at run time is a dependency of the package: only with what users get does the demo prove that they can run it.
$(VENV)/.demo: $(BUILD_INPUTS) | $(VENV)/.python
	$(INSTALL) --build-constraint constraints.txt --editable . --group demo
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(INSTALL) --group dev
	@touch $@
