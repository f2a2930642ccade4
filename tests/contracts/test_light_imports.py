"""What an import costs: viewgen's entrance and the doors to it load no model library, and trainer loads no detector.
Each is tried in a process of its own, started from the repository root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "torchvision", "transformers", "open_clip", "timm", "groundingdino", "spacy", "ray", "vllm"}
LOADS_A_MODEL = {
    "viewgen.viewset.torch_stream",
    "viewgen.retrieval.openclip",
    *(f"viewgen.detectors.{name}" for name in ("groundingdino", "groundingdino_net", "transformers")),
}
DETECTING = {"open_clip", "groundingdino", *(f"viewgen.{name}" for name in ("detectors", "retrieval", "build"))}


def run_python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modules(package: str) -> list[str]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


def loaded_by(*modules: str) -> set[str]:
    return set(run_python(f"import sys, {', '.join(modules)}; print(*sys.modules)").split())


def test_only_a_few_modules_of_viewgen_load_model_libraries() -> None:
    light = {*modules("viewgen")} - LOADS_A_MODEL
    loaded = loaded_by(*sorted(light))
    assert light <= loaded
    assert not loaded & (HEAVY | LOADS_A_MODEL)


def test_the_command_lines_wait_for_nothing_before_they_know_what_to_do() -> None:
    slow = HEAVY | {"polars", "duckdb", "PIL"}
    assert not loaded_by("viewgen.cli") & slow
    assert not loaded_by("trainer.cli") & slow


def test_trainer_imports_from_the_repository_root_and_loads_no_detector() -> None:
    names = modules("trainer")
    loaded = loaded_by(*names)
    assert {"trainer.gate", *names} <= loaded
    assert not loaded & DETECTING


def test_the_folder_datasets_never_stands_in_the_way_of_hugging_faces_package(tmp_path: Path) -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists()
    package = tmp_path / "datasets"
    package.mkdir()
    (package / "__init__.py").write_text("here = 'the installed one'\n")
    assert run_python("import datasets; print(datasets.here)", PYTHONPATH=str(tmp_path)) == "the installed one"
