# Two commands, each doing its own set-up:  make demo   make test      All of them:  make help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := build/demo
NEWER_VENV := .venv-newer
# What a newer Python runs: tests that need neither a model library nor a fixture that builds views.
LIGHT_TESTS := tests/contracts/test_house_rules.py tests/viewgen/source tests/viewgen/test_progress.py \
	tests/viewgen/test_decode.py tests/viewgen/views/test_degrade.py tests/viewgen/views/test_negatives.py \
	tests/viewgen/audit/test_measures.py tests/viewgen/grounding/test_evidence.py tests/viewgen/phrases/test_rules.py \
	tests/viewgen/viewset/test_schema.py
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false
export NO_MKDOCS_2_WARNING = 1

.PHONY: demo test test-newer docs clean help

# Always from the start: views and runs of an older version are not gone on with.
demo: $(VENV)/.installed  ## draw scenes, build views of them, train on them: about six minutes on two CPU cores
	rm -rf $(OUT)
	$(BIN)/viewgen demo --out $(OUT)/scenes
	$(BIN)/viewgen build datasets/demo.toml --out $(OUT)/views
	$(BIN)/trainer run runs/demo.toml --out $(OUT)/run
	$(BIN)/trainer report $(OUT)/run --picture $(OUT)/demo.png

# The whole suite comes last, so that its closing line does too.
test: $(VENV)/.installed  ## ruff, mypy --strict, a newer Python where there is one, and the whole suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory test-newer
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# A name on the PATH may be a shim of a Python that is not there: only one that starts counts.
test-newer: $(VENV)/.installed  ## tests without model libraries on the newest Python that is newer than the environment's
	@minor=$$($(BIN)/python -c 'import sys; print(sys.version_info.minor)'); \
	for newer in python3.14 python3.13 python3.12; do \
		$$newer -c "import sys; sys.exit(sys.version_info.minor <= $$minor)" 2>/dev/null || continue; \
		$(MAKE) --no-print-directory $(NEWER_VENV)/.$$newer || exit; \
		echo "Newer Python: $$($$newer --version)"; \
		$(NEWER_VENV)/bin/python -m compileall -q viewgen trainer tools benchmarks tests || exit; \
		$(NEWER_VENV)/bin/python -c 'import viewgen, viewgen.viewset, trainer' || exit; \
		exec $(NEWER_VENV)/bin/python -m pytest -q --noconftest --import-mode=importlib -p no:cacheprovider -o addopts= $(LIGHT_TESTS); \
	done; \
	echo "Newer Python: none found; looked for python3.14, 3.13 and 3.12, newer than 3.$$minor."

# Not --quiet: it drops the warnings that --strict counts.
docs: $(VENV)/.installed  ## the site, from docs/ and docstrings, in build/site
	$(BIN)/mkdocs build --strict
	@echo "Site: build/site/index.html"

clean:  ## remove what was built and installed
	rm -rf build dist *.egg-info $(VENV) $(NEWER_VENV)

help:  ## list these targets
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  make \1\t\2/p' Makefile | expand -t 20

# The stamp is older than pyproject.toml or the constraints after an upgrade: then install again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) ".[dev]"
	touch $@

# The base package and pytest alone, a few seconds; the name of the stamp is that of the Python.
$(NEWER_VENV)/.%: pyproject.toml constraints.txt
	$* -m venv --clear $(NEWER_VENV)
	$(NEWER_VENV)/bin/python $(INSTALL) . pytest
	touch $@
