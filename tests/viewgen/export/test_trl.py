"""An export for TRL is trained on: one real step of its DPOTrainer, where TRL is installed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.engine.load import ModelConfig, load
from viewgen.export.run import ExportConfig, export
from viewgen.viewset.shards import ViewSet


@pytest.mark.filterwarnings("ignore")
def test_trl_s_dpo_trainer_takes_a_step(views: ViewSet, tmp_path: Path) -> None:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    config = ExportConfig(to="trl-dpo", where="len(options) > 0")
    assert export(views, config, tmp_path / "dpo", io.StringIO()).num_rows == 2
    rows: Any = datasets.load_dataset(str(tmp_path / "dpo"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[0]["images"][0].mode == "RGB"
    loaded = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    before = [weight.detach().clone() for weight in loaded.model.parameters()]
    trainer = trl.DPOTrainer(
        model=loaded.model,
        args=trl.DPOConfig(
            output_dir=str(tmp_path / "run"),
            per_device_train_batch_size=2,
            max_steps=1,
            learning_rate=1e-2,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            max_length=None,
        ),
        train_dataset=rows,
        processing_class=loaded.processor,
    )
    trainer.train()
    assert trainer.state.global_step == 1
    moved = [not torch.equal(one, other) for one, other in zip(before, loaded.model.parameters(), strict=True)]
    assert any(moved)
