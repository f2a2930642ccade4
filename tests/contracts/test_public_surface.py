"""The names that users may rely on, and that importing the packages stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import trainer
import viewgen
import viewgen.viewset

ROOT = Path(__file__).parents[2]
PUBLIC = {
    "viewgen": """BuildConfig BuildOptions BuildReport Kind StoredSample ViewSet ViewgenError build_views decode_image
        read_config recompute_view register""",
    "viewgen.viewset": """SCHEMA_VERSION TABLES Item Manifest StoredSample ViewSet ViewStream matching read_manifest
        table_path write_table""",
    "trainer": """Gate GateConfig LossConfig Rollouts RunConfig TrainerError distill_loss distill_step gate_rollouts
        read_run scorer_named train""",
}


@pytest.mark.parametrize("module", [viewgen, viewgen.viewset, trainer], ids=lambda module: module.__name__)
def test_the_public_names_are_these_and_each_is_there(module: object) -> None:
    names = PUBLIC[module.__name__].split()  # type: ignore[attr-defined]
    assert sorted(module.__all__) == sorted(names)  # type: ignore[attr-defined]
    for name in names:
        thing = getattr(module, name)
        assert thing is not None
        assert type(thing).__name__ != "module", f"{name} is hidden by a module of its name"


@pytest.mark.parametrize("name", ["viewgen", "trainer"])
def test_an_init_is_one_page(name: str) -> None:
    assert len((ROOT / name / "__init__.py").read_text(encoding="utf-8").splitlines()) <= 65


@pytest.mark.parametrize("statement", ["import viewgen, trainer", "from viewgen import ViewSet, Kind"])
def test_the_surface_is_light(statement: str) -> None:
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "open_clip", "groundingdino"} & set(done.stdout.split())


def test_a_name_that_is_not_there_is_said_so() -> None:
    with pytest.raises(AttributeError, match="module 'viewgen' has no attribute 'Nothing'"):
        viewgen.Nothing  # noqa: B018
