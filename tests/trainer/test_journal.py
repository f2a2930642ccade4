"""Rows and metrics of a step, from a step of the shipped student."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Generator

from trainer.batches import Batch, Batches, DataConfig, PromptWriter
from trainer.engine.load import ModelConfig, frozen_copy, load
from trainer.engine.models import Student, Teacher
from trainer.engine.prompts import PromptConfig
from trainer.gate import Gate, GateConfig
from trainer.journal import rollout_rows, step_metrics, write_rollouts
from trainer.loss import Loss, LossConfig
from trainer.metrics import METRICS
from trainer.rollouts import RolloutConfig, Rollouts
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


def by_hand(made: tuple[Student, Batch, Step]) -> Step:
    """Return a step of four answers, of 3, 1, 2 and 1 tokens, whose every number is another one."""
    response_BT = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]]).bool()
    logp_BT = torch.zeros(4, 3)
    rollouts = Rollouts(
        ids_BT=made[2].rollouts.ids_BT[:4, :3],
        response_BT=response_BT,
        question_B=torch.tensor([0, 0, 1, 1]),
        logp_BT=logp_BT,
        plain_logp_BT=logp_BT,
        truncated_B=torch.tensor([False, False, True, False]),
        temperature=1.0,
    )
    gate = Gate(
        gap_BT=torch.tensor([[1.0, 2.0, 0.0], [4.0, 0.0, 0.0], [5.0, 6.0, 0.0], [7.0, 0.0, 0.0]]),
        kept_BT=response_BT & torch.tensor([True, True, False]),
        score_B=torch.tensor([1.5, 4.0, 5.5, 7.0]),
        advantage_B=torch.tensor([-1.0, 1.0, -0.5, 0.5]),
        weight_B=torch.tensor([0.0, 2.0, 2.0, 0.25]),
        num_dropped_B=torch.tensor([1, 0, 0, 0]),
    )
    losses = [
        Loss(
            total=torch.tensor(total, requires_grad=True),
            divergence=torch.tensor(divergence),
            num_tokens_B=torch.tensor(tokens),
            num_clamped_B=torch.tensor(clamped),
        )
        for total, divergence, tokens, clamped in ((0.5, 0.25, [3, 1], [1, 0]), (1.5, 0.5, [2, 1], [2, 0]))
    ]
    return Step(rollouts=rollouts, gate=gate, losses=losses, seconds={"rollout": 1.0, "score": 2.0, "update": 3.0})


def test_every_metric_of_a_step_by_hand(made: tuple[Student, Batch, Step]) -> None:
    assert step_metrics(by_hand(made), GateConfig(w_min=0.0, w_max=2.0)) == pytest.approx(
        {
            "loss": 2.0,
            "divergence": 0.75,
            "gate/score_mean": 4.5,
            "gate/score_std": (16.5 / 4) ** 0.5,
            "gate/weight_mean": 4.25 / 4,
            "gate/weight_std": (8.0625 / 4 - (4.25 / 4) ** 2) ** 0.5,
            "gate/at_min_share": 0.25,
            "gate/at_max_share": 0.5,
            "gate/dropped_gaps": 1,
            "clamped_tokens": 3,
            "trained_tokens": 7,
            "response_tokens": 7 / 4,
            "truncated_share": 0.25,
            "seconds/rollout": 1.0,
            "seconds/score": 2.0,
            "seconds/update": 3.0,
        }
    )


def test_every_field_of_a_row_by_hand(made: tuple[Student, Batch, Step]) -> None:
    student, batch, _ = made
    done = by_hand(made)
    rows = rollout_rows(5, batch, done, student)
    texts = student.texts(done.rollouts)
    expected: list[tuple[int, int, list[float | None], float, float, float, bool]] = [
        (0, 0, [1.0, 2.0, None], 1.5, -1.0, 0.0, False),
        (0, 1, [4.0], 4.0, 1.0, 2.0, False),
        (1, 0, [5.0, 6.0], 5.5, -0.5, 2.0, True),
        (1, 1, [7.0], 7.0, 0.5, 0.25, False),
    ]
    for number, (row, (question, sibling, gap, score, advantage, weight, truncated)) in enumerate(
        zip(rows, expected, strict=True)
    ):
        assert row == {
            "question_id": batch.samples[question].question_id,
            "question": batch.samples[question].question,
            "sibling": sibling,
            "step": 5,
            "response": texts[number],
            "tokens": student.tokens(done.rollouts)[number],
            "token_ids": done.rollouts.ids_BT[number, : len(gap)].tolist(),
            "gap": gap,
            "score": score,
            "advantage": advantage,
            "weight": weight,
            "truncated": truncated,
        }


def test_a_row_holds_an_answer_with_one_gap_per_token(made: tuple[Student, Batch, Step], tmp_path: Path) -> None:
    student, batch, done = made
    rows = rollout_rows(5, batch, done, student)
    assert len(rows) == done.rollouts.num_rows == 3 * len(batch.samples)
    assert [row["question_id"] for row in rows[::3]] == [sample.question_id for sample in batch.samples]
    assert all(len(row["tokens"]) == len(row["gap"]) == len(row["token_ids"]) for row in rows)
    write_rollouts(tmp_path / "rollouts" / "step.parquet", rows)
    read = pl.read_parquet(tmp_path / "rollouts" / "step.parquet")
    assert read["weight"].to_list() == [row["weight"] for row in rows]
