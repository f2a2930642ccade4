"""Turn a step into its metrics and into rows of rollouts.
Leaves out: writing metrics (metrics.py), the choice of steps whose rollouts are kept (loop.py).

B rollouts   T response positions"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from trainer.batches import Batch
from trainer.engine.models import Student
from trainer.gate import GateConfig
from trainer.step import Step
from viewgen.files import write_whole


def step_metrics(done: Step, config: GateConfig) -> dict[str, float]:
    """Return the metrics of a step, by the names in metrics.py."""
    gate, rollouts = done.gate, done.rollouts
    length_B = rollouts.response_BT.sum(1).float()
    return {
        "loss": sum(float(loss.total.detach()) for loss in done.losses),
        "divergence": sum(float(loss.divergence) for loss in done.losses),
        "gate/score_mean": float(gate.score_B.mean()),
        "gate/score_std": float(gate.score_B.std(correction=0)),
        "gate/weight_mean": float(gate.weight_B.mean()),
        "gate/weight_std": float(gate.weight_B.std(correction=0)),
        "gate/at_min_share": float((gate.weight_B <= config.w_min).float().mean()),
        "gate/at_max_share": float((gate.weight_B >= config.w_max).float().mean()),
        "gate/dropped_gaps": int(gate.num_dropped_B.sum()),
        "clamped_tokens": sum(int(loss.num_clamped_B.sum()) for loss in done.losses),
        "trained_tokens": sum(int(loss.num_tokens_B.sum()) for loss in done.losses),
        "response_tokens": float(length_B.mean()),
        "truncated_share": float(rollouts.truncated_B.float().mean()),
        **{f"seconds/{name}": value for name, value in done.seconds.items()},
    }


def rollout_rows(step: int, batch: Batch, done: Step, student: Student) -> list[dict[str, Any]]:
    """Return one row per rollout: the answer, its tokens, its gaps, score and weight."""
    rollouts, gate = done.rollouts, done.gate
    per_row = zip(
        rollouts.question_B.tolist(),
        student.texts(rollouts),
        student.tokens(rollouts),
        rollouts.ids_BT.tolist(),
        gate.gap_BT.tolist(),
        gate.kept_BT.tolist(),
        strict=True,
    )
    asked: dict[int, int] = {}
    rows = []
    for row, (question, text, tokens, ids, gaps, kept) in enumerate(per_row):
        asked[question] = asked.get(question, -1) + 1
        sample = batch.samples[question]
        rows.append(
            {
                "question_id": sample.question_id,
                "question": sample.question,
                "sibling": asked[question],
                "step": step,
                "response": text,
                "tokens": tokens,
                "token_ids": ids[: len(tokens)],
                "gap": [gap if finite else None for gap, finite in zip(gaps, kept, strict=True)][: len(tokens)],
                "score": float(gate.score_B[row]),
                "advantage": float(gate.advantage_B[row]),
                "weight": float(gate.weight_B[row]),
                "truncated": bool(rollouts.truncated_B[row]),
            }
        )
    return rows


def write_rollouts(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows of one step as Parquet, whole or not at all."""
    types = {"tokens": pl.List(pl.String), "token_ids": pl.List(pl.Int64), "gap": pl.List(pl.Float64)}
    with write_whole(path) as partial:
        pl.DataFrame(rows, schema_overrides=types).write_parquet(partial)
