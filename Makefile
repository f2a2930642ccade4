# Two commands, each doing its own set-up:  make demo   make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := build/demo
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test clean

# Always from the start: views and runs of an older version are not gone on with.
demo: $(VENV)/.installed
	rm -rf $(OUT)
	$(BIN)/viewgen demo --out $(OUT)/scenes
	$(BIN)/viewgen build datasets/demo.toml --out $(OUT)/views
	$(BIN)/trainer run runs/demo.toml --out $(OUT)/run
	$(BIN)/trainer report $(OUT)/run --picture $(OUT)/demo.png

test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# The stamp is older than pyproject.toml or the constraints after an upgrade: then install again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf build dist *.egg-info $(VENV)
