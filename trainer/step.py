"""One training step: the paper's diagram, one line per arrow (arXiv 2606.25319, figure 2).
Leaves out: optimizer, logging, saving, hardware, schedules (loop.py).

Q questions   B = Q * G rollouts   T response positions"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from trainer.batches import Batch
from trainer.engine.logprobs import Scores
from trainer.engine.models import Student, Teacher
from trainer.engine.prompts import Prompt
from trainer.gate import Gate, GateConfig, answer_tokens, gate_rollouts
from trainer.loss import Denominators, Loss, LossConfig, distill_loss, trained_tokens
from trainer.rollout.sample import answer
from trainer.rollouts import RolloutConfig, Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """Settings of everything that a step computes."""

    rollout: RolloutConfig
    gate: GateConfig
    loss: LossConfig
    micro_batch: int = 0
    """Rollouts in one forward and backward pass; 0 takes all at once. Scoring reads both views of them together. Changes
    memory, and the gradient by no more than rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Outcome of a step; the gradient is in the student's parameters."""

    rollouts: Rollouts
    gate: Gate
    losses: Sequence[Loss]
    """One per micro-batch; they add up."""
    seconds: dict[str, float]
    """Seconds of rollout, score and update."""


def distill_step(student: Student, teacher: Teacher, batch: Batch, config: StepConfig, generator: Generator) -> Step:
    """Answer, score under both views, gate, and add the loss's gradient to the student's."""
    clock = PhaseTimer(student.model.device)
    rollouts = answer(student, batch.student, config.rollout, generator)
    clock.lap("rollout")
    pos, neg = teacher.score(rollouts, batch.positive, batch.negative, config.micro_batch)
    counted_BT = gated_tokens(student, batch.student, rollouts, config.gate)
    gate = gate_rollouts(pos.logp_BT, neg.logp_BT, counted_BT, rollouts.question_B, config.gate)
    clock.lap("score")
    losses = pull(student, batch.student, rollouts, pos, gate, config)
    clock.lap("update")
    return Step(rollouts=rollouts, gate=gate, losses=losses, seconds=clock.seconds)


def gated_tokens(
    student: Student, asked: Sequence[Prompt], rollouts: Rollouts, config: GateConfig
) -> Bool[Tensor, "B T"]:
    """Return True on the tokens whose gaps make a rollout's score: all of the response, or its answer alone."""
    thought = student.thought_ids
    if config.tokens == "all" or thought is None:
        return rollouts.response_BT
    opened = [prompt.ends_within(*thought) for prompt in asked]
    opened_B = torch.tensor(opened, device=rollouts.ids_BT.device)[rollouts.question_B]
    return answer_tokens(rollouts.ids_BT, rollouts.response_BT, opened_B, *thought)


def pull(
    student: Student, asked: Sequence[Prompt], rollouts: Rollouts, pos: Scores, gate: Gate, config: StepConfig
) -> list[Loss]:
    """Backpropagate the weighted divergence from the teacher's positive view, in micro-batches above prompts that are
    read once; their own backward pass runs once too, when the block ends."""
    trained_BT = trained_tokens(rollouts.response_BT, rollouts.truncated_B, config.loss)
    denominators = Denominators.of(trained_BT)
    losses = []
    with student.reading(asked) as prompts:
        for part in rollouts.micro_batches(config.micro_batch):
            against = pos.rows(part) if config.loss.divergence == "exact" else None
            terms, weight_B = student.score(prompts, rollouts.rows(part), against), gate.weight_B[part]
            loss = distill_loss(terms, pos.logp_BT[part], trained_BT[part], weight_B, denominators, config.loss)
            torch.autograd.backward(loss.total)
            losses.append(loss)
    return losses


class PhaseTimer:
    """Seconds between one lap and the next, by name. A GPU has finished its work before the clock is read."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._since = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def lap(self, name: str) -> None:
        """Record the time since the lap before under `name`."""
        now = self._now()
        self.seconds[name], self._since = now - self._since, now
