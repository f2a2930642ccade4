"""Scripts that measure and train are not run by the tests, but they load, and say how they are run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for folder in ("benchmarks", "tools") for path in (ROOT / folder).glob("*.py"))
HELPERS = {"step_peer", "step_plot", "step_world", "grounding_models", "where"}
"""Parts of a script, without a command of their own."""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_loads_and_says_how_it_is_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    assert module.__doc__
    if path.stem not in HELPERS:
        assert (
            f"{path.parent.name}/{path.name}" in module.__doc__ or f"{path.parent.name}.{path.stem}" in module.__doc__
        )
