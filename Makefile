# `make help` lists what there is. Needs make and Python 3.10 or newer; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip of the venv, or the system's pip where python3 comes without ensurepip
PIP = $$( [ -x $(BIN)/pip ] && echo "$(BIN)/python -m pip" || echo "$(PYTHON) -m pip --python $(BIN)/python" )
INSTALL = $(PIP) install --quiet --disable-pip-version-check
DEMO := demo-out

.DEFAULT_GOAL := help
.PHONY: help demo test lint type bench docs clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed ## build the demo corpus on a local Dask cluster into ./demo-out
	$(BIN)/fstriplets build quickstart --output $(DEMO) --overwrite
	$(BIN)/fstriplets inspect $(DEMO) --sheet $(DEMO)/sheet.png

test: $(VENV)/.installed-dev ## run the tests, a process a core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.installed-dev ## check types
	$(BIN)/mypy

bench: $(VENV)/.installed-dev ## measure this machine: the table of docs/benchmarks.md
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed-dev ## check the commands, links and snippets of README and docs
	$(BIN)/python -m pytest tests/test_docs.py tests/test_recipes.py

clean: ## remove .venv and the demo's output
	rm -rf $(VENV) $(DEMO)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --without-pip $(VENV)

# The stamps make an install happen once, and again only when pyproject.toml changed.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV): some minutes the first time"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV): some minutes the first time"
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.installed $@
