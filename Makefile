# Two commands, each doing its own set-up:  make demo   make test.  `make help` lists the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := build/demo
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false
export NO_MKDOCS_2_WARNING = 1
NEWER := $(firstword $(foreach version,3.14 3.13 3.12,$(shell command -v python$(version) 2>/dev/null)))

.PHONY: demo test test-newer docs help clean

demo: $(VENV)/.installed  ## draw scenes, build views, train a small model: six minutes on two cores
	rm -rf $(OUT)  # views and runs of an older version are not gone on with
	$(BIN)/viewgen demo --out $(OUT)/scenes
	$(BIN)/viewgen build datasets/demo.toml --out $(OUT)/views
	$(BIN)/trainer run runs/demo.toml --out $(OUT)/run
	$(BIN)/trainer report $(OUT)/run --picture $(OUT)/demo.png

test: $(VENV)/.installed  ## format, lint, types and the whole suite
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory test-newer
	$(BIN)/python -m pytest

test-newer:  ## the light tests on a newer Python, where one is on the PATH
ifeq ($(NEWER),)
	@echo "no Python newer than 3.11 on the PATH: nothing to test it with"
else
	$(NEWER) -m venv --clear .venv-newer
	.venv-newer/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . pytest
	.venv-newer/bin/python -m compileall -q viewgen trainer tools benchmarks
	.venv-newer/bin/python -m pytest --noconftest -o addopts= -q tests/viewgen/test_boxes.py tests/viewgen/test_files.py tests/viewgen/test_settings.py
endif

docs: $(VENV)/.installed  ## the documentation site, in build/site
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site
	@echo "build/site/index.html"

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

# The stamp is older than pyproject.toml or the constraints after an upgrade: then install again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:  ## remove what was built and installed
	rm -rf build dist *.egg-info $(VENV) .venv-newer
