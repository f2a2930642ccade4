"""Rows and metrics of a step, from a step of the shipped student."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from torch import Generator

from trainer.batches import Batch, Batches, DataConfig, PromptWriter
from trainer.engine.load import ModelConfig, frozen_copy, load
from trainer.engine.models import Student, Teacher
from trainer.engine.prompts import PromptConfig
from trainer.gate import GateConfig
from trainer.journal import rollout_rows, step_metrics, write_rollouts
from trainer.loss import LossConfig
from trainer.metrics import METRICS
from trainer.rollouts import RolloutConfig
from trainer.step import Step, StepConfig, distill_step
from viewgen.viewset import ViewSet

LOOP_METRICS = {"grad_norm", "lr", "skipped_samples", "seconds/step", "seconds/data"}
"""Metrics that the loop adds to those of a step."""


@pytest.fixture(scope="module")
def made(drawn_views: Path) -> tuple[Student, Batch, Step]:
    loaded = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    views = ViewSet.open(drawn_views)
    data = DataConfig(question_kinds=("attribute",), images_per_step=2, questions_per_image=2)
    batch = next(Batches(views, data, PromptWriter(views, loaded.processor, PromptConfig(view=""), 1000), seed=0))
    student, teacher = Student(loaded, train_vision=False), Teacher(frozen_copy(loaded))
    config = StepConfig(rollout=RolloutConfig(num_siblings=3, max_new_tokens=4), gate=GateConfig(), loss=LossConfig())
    return student, batch, distill_step(student, teacher, batch, config, Generator().manual_seed(0))


def test_every_metric_is_written_by_a_step_or_by_the_loop(made: tuple[Student, Batch, Step]) -> None:
    assert {*step_metrics(made[2], GateConfig())} | LOOP_METRICS == {*METRICS}


def test_metrics_are_those_of_the_gate_and_of_the_answers(made: tuple[Student, Batch, Step]) -> None:
    done = made[2]
    metrics = step_metrics(done, GateConfig())
    weights = done.gate.weight_B
    assert metrics["gate/weight_mean"] == pytest.approx(float(weights.sum()) / len(weights))
    assert metrics["trained_tokens"] == int(done.rollouts.response_BT.sum())
    assert metrics["gate/at_min_share"] == sum(weight == 0 for weight in weights.tolist()) / len(weights)


def test_a_row_holds_an_answer_with_one_gap_per_token(made: tuple[Student, Batch, Step], tmp_path: Path) -> None:
    student, batch, done = made
    rows = rollout_rows(5, batch, done, student)
    assert len(rows) == done.rollouts.num_rows == 3 * len(batch.samples)
    assert [row["question_id"] for row in rows[::3]] == [sample.question_id for sample in batch.samples]
    assert all(len(row["tokens"]) == len(row["gap"]) == len(row["token_ids"]) for row in rows)
    write_rollouts(tmp_path / "rollouts" / "step.parquet", rows)
    read = pl.read_parquet(tmp_path / "rollouts" / "step.parquet")
    assert read["weight"].to_list() == [row["weight"] for row in rows]
