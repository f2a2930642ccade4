"""run.json: what a run is, and the minutes of all its commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest

from trainer.batches import DataConfig
from trainer.config import RunConfig
from trainer.engine.load import ModelConfig, load
from trainer.errors import ModelLoadError
from trainer.provenance import contents_of, manifest_sha256, minutes_before, model_sha256, run_facts, write_run_json
from viewgen.viewset import ViewSet


def test_a_run_says_what_it_was_made_from(drawn_views: Path, tmp_path: Path) -> None:
    config = RunConfig(data=DataConfig(view_set=str(drawn_views)))
    model = load("embedded:drawn-vlm", ModelConfig(), "model.student").model
    config = replace(config, model=ModelConfig(student="embedded:drawn-vlm"))
    contents = contents_of(config, ViewSet.open(drawn_views))
    facts = run_facts(config, contents, [], model, "trainer run x.toml")
    write_run_json(tmp_path, facts, 1.239)
    read = json.loads((tmp_path / "run.json").read_text())
    assert read["command"] == "trainer run x.toml"
    assert read["minutes"] == 1.24
    assert read["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert read["config"]["gate"]["alpha"] == 1.0
    assert read["view_set_sha256"] == sha256((drawn_views / "manifest.json").read_bytes()).hexdigest()
    assert read["student_sha256"] == model_sha256("embedded:drawn-vlm")
    assert "teacher_sha256" not in read
    assert minutes_before(tmp_path) == 1.24


def test_a_new_run_has_spent_nothing(tmp_path: Path) -> None:
    assert minutes_before(tmp_path) == 0.0
    write_run_json(tmp_path, {"command": ""}, 0.0)
    assert "minutes" not in json.loads((tmp_path / "run.json").read_text())
    assert minutes_before(tmp_path) == 0.0


def test_another_build_of_a_view_set_has_another_hash(drawn_views: Path) -> None:
    assert len(manifest_sha256(ViewSet.open(drawn_views))) == 64


@pytest.mark.fault(11)
def test_a_model_is_told_by_its_contents_and_not_by_its_folder(tmp_path: Path) -> None:
    shipped = Path(str(files("trainer"))) / "weights" / "drawn-vlm"
    one, other = (Path(shutil.copytree(shipped, tmp_path / name)) for name in ("one", "other"))
    assert model_sha256(str(one)) == model_sha256(str(other)) == model_sha256("embedded:drawn-vlm")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert model_sha256(str(other)) != model_sha256(str(one))
    template = other / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    (other / "model.safetensors").write_bytes((one / "model.safetensors").read_bytes())
    assert model_sha256(str(other)) != model_sha256(str(one))


@pytest.mark.fault(11)
def test_a_hub_id_that_is_not_stored_here_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="nobody/nothing: is not stored on this machine"):
        model_sha256("nobody/nothing")
