"""run.json: what a run is, and the minutes of all its commands."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from trainer.batches import DataConfig
from trainer.config import RunConfig
from trainer.engine.load import ModelConfig, load
from trainer.provenance import manifest_sha256, minutes_before, run_facts, write_run_json
from viewgen.viewset import ViewSet


def test_a_run_says_what_it_was_made_from(drawn_views: Path, tmp_path: Path) -> None:
    config = RunConfig(data=DataConfig(view_set=str(drawn_views)))
    model = load("embedded:drawn-vlm", ModelConfig(), "model.student").model
    facts = run_facts(config, ViewSet.open(drawn_views), model, "trainer run x.toml")
    write_run_json(tmp_path, facts, 1.239)
    read = json.loads((tmp_path / "run.json").read_text())
    assert read["command"] == "trainer run x.toml"
    assert read["minutes"] == 1.24
    assert read["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert read["config"]["gate"]["alpha"] == 1.0
    assert read["view_set_sha256"] == sha256((drawn_views / "manifest.json").read_bytes()).hexdigest()
    assert minutes_before(tmp_path) == 1.24


def test_a_new_run_has_spent_nothing(tmp_path: Path) -> None:
    assert minutes_before(tmp_path) == 0.0
    write_run_json(tmp_path, {"command": ""}, 0.0)
    assert "minutes" not in json.loads((tmp_path / "run.json").read_text())
    assert minutes_before(tmp_path) == 0.0


def test_another_build_of_a_view_set_has_another_hash(drawn_views: Path) -> None:
    assert len(manifest_sha256(ViewSet.open(drawn_views))) == 64
