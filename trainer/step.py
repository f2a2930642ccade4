"""One training step: the paper's diagram, one line per arrow (arXiv 2606.25319, figure 2).
Leaves out: optimizer, logging, saving, hardware, schedules (loop.py).

Q questions   B = Q * G rollouts   T response positions"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator

from trainer.batches import Batch
from trainer.gate import Gate, GateConfig, gate_rollouts
from trainer.loss import Denominators, Loss, LossConfig, distill_loss, trained_tokens
from trainer.models import Student, Teacher
from trainer.rollout import RolloutConfig, Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """What a step computes."""

    rollout: RolloutConfig
    gate: GateConfig
    loss: LossConfig
    micro_batch: int = 0
    """Rollouts in one forward and backward pass; 0 takes all at once. Changes memory, never the gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened; the gradient is in the student's parameters."""

    rollouts: Rollouts
    gate: Gate
    losses: Sequence[Loss]
    """One per micro-batch; they add up."""
    seconds: dict[str, float]
    """Of rollout, score and update."""


def distill_step(student: Student, teacher: Teacher, batch: Batch, config: StepConfig, generator: Generator) -> Step:
    """Answer, score under both views, gate, and add the loss's gradient to the student's."""
    began = time.perf_counter()
    rollouts = student.answer(batch.student, config.rollout, generator)
    answered = time.perf_counter()

    pos, neg = teacher.score(rollouts, batch.positive, batch.negative, config.micro_batch)
    gate = gate_rollouts(pos.logp_BT, neg.logp_BT, rollouts.response_BT, rollouts.question_B, config.gate)
    scored = time.perf_counter()

    trained_BT = trained_tokens(rollouts.response_BT, rollouts.truncated_B, config.loss)
    denominators, losses = Denominators.of(trained_BT), []
    with student.reading(batch.student) as prompts:  # read once, with gradient; its backward runs once, on leaving
        for part in rollouts.micro_batches(config.micro_batch):
            against = pos.rows(part) if config.loss.divergence == "exact" else None
            terms, weight_B = student.score(prompts, rollouts.rows(part), against), gate.weight_B[part]
            loss = distill_loss(terms, pos.logp_BT[part], trained_BT[part], weight_B, denominators, config.loss)
            torch.autograd.backward(loss.total)
            losses.append(loss)
    updated = time.perf_counter()
    seconds = {"rollout": answered - began, "score": scored - answered, "update": updated - scored}
    return Step(rollouts=rollouts, gate=gate, losses=losses, seconds=seconds)
