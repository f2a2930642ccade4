"""The step and the run around it, on the real small model and a small real view set."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from trainer.batches import Batch, Batches, DataConfig, PromptWriter
from trainer.engine.load import Loaded, ModelConfig, frozen_copy, load
from trainer.engine.models import Student, Teacher
from trainer.engine.prompts import PromptConfig
from trainer.gate import GateConfig
from trainer.loss import Denominators, LossConfig, distill_loss
from trainer.rollout.sample import answer
from trainer.rollouts import RolloutConfig, Rollouts
from trainer.step import Step, StepConfig, distill_step
from viewgen.viewset.shards import ViewSet

CONFIG = StepConfig(
    rollout=RolloutConfig(num_siblings=4, max_new_tokens=6), gate=GateConfig(), loss=LossConfig(), micro_batch=0
)


@pytest.fixture
def loaded() -> Loaded:
    """Return the shipped student, in float64: what is equal must be equal to many digits."""
    found = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    found.model.to(torch.float64)  # type: ignore[arg-type]
    return found


@pytest.fixture
def batch(drawn_views: Path, loaded: Loaded) -> Batch:
    data = DataConfig(question_kinds=("attribute",), images_per_step=3, questions_per_image=3)
    opened = ViewSet.open(drawn_views)
    return next(Batches(opened, data, PromptWriter(opened, loaded.processor, PromptConfig(view=""), 1000), seed=0))


def step(
    loaded: Loaded, batch: Batch, config: StepConfig = CONFIG, teacher: Loaded | None = None
) -> tuple[Step, Tensor]:
    """One step and the gradient it leaves."""
    student = Student(loaded, train_vision=False)
    done = distill_step(student, Teacher(teacher or frozen_copy(loaded)), batch, config, Generator().manual_seed(1))
    gradient = torch.cat([p.grad.flatten() for p in loaded.model.parameters() if p.grad is not None])
    loaded.model.zero_grad()
    return done, gradient


def test_the_gap_is_of_the_positive_view_over_the_negative_one(loaded: Loaded, batch: Batch) -> None:
    done, _ = step(loaded, batch)
    teacher, rollouts = Teacher(frozen_copy(loaded)), done.rollouts
    beside_pos, _ = teacher.score(rollouts, batch.positive, batch.positive)
    beside_neg, _ = teacher.score(rollouts, batch.negative, batch.negative)
    gap_BT = (beside_pos.logp_BT - beside_neg.logp_BT)[rollouts.response_BT]
    assert gap_BT.abs().max() > 0.1
    torch.testing.assert_close(done.gate.gap_BT[rollouts.response_BT], gap_BT)


def with_views(batch: Batch, positive: str, negative: str) -> Batch:
    prompts = {"student": batch.student, "positive": batch.positive, "negative": batch.negative}
    return replace(batch, positive=prompts[positive], negative=prompts[negative])


@pytest.mark.parametrize("divergence", ["sampled", "exact"])
def test_a_teacher_equal_to_the_student_that_sees_no_more_teaches_nothing(
    loaded: Loaded, batch: Batch, divergence: str
) -> None:
    config = replace(CONFIG, loss=LossConfig(divergence=divergence))  # type: ignore[arg-type]
    done, gradient = step(loaded, with_views(batch, "student", "negative"), config)
    assert abs(sum(float(loss.divergence) for loss in done.losses)) < 1e-12
    assert gradient.abs().max() < 1e-12


def test_equal_views_open_no_gap_and_every_weight_is_one(loaded: Loaded, batch: Batch) -> None:
    done, _ = step(loaded, with_views(batch, "positive", "positive"))
    assert done.gate.gap_BT.abs().max() == 0
    assert (done.gate.weight_B == 1).all()


@pytest.mark.parametrize("divergence", ["sampled", "exact"])
@pytest.mark.parametrize("micro_batch", [1, 5, 100])
def test_micro_batches_change_no_gradient(loaded: Loaded, batch: Batch, micro_batch: int, divergence: str) -> None:
    config = replace(CONFIG, loss=LossConfig(divergence=divergence))  # type: ignore[arg-type]
    whole, expected = step(loaded, batch, config)
    parts, found = step(loaded, batch, replace(config, micro_batch=micro_batch))
    assert torch.equal(whole.rollouts.ids_BT, parts.rollouts.ids_BT)
    assert expected.norm() > 0.01
    assert (found - expected).norm() / expected.norm() < 1e-6
    totals = [sum(float(loss.total.detach()) for loss in done.losses) for done in (whole, parts)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-9)


@pytest.mark.parametrize("num_at_once", [1, 2])
@pytest.mark.parametrize("extra_columns", [0, 3])
def test_prompts_read_a_few_at_a_time_and_padded_further_leave_the_same_gradient(
    loaded: Loaded, batch: Batch, num_at_once: int, extra_columns: int
) -> None:
    done, expected = step(loaded, batch)
    student, teacher = Student(loaded, train_vision=False), Teacher(frozen_copy(loaded))
    wide = padded(done.rollouts, extra_columns)
    denominators = Denominators.of(wide.response_BT)
    pos, _ = teacher.score(wide, batch.positive, batch.negative)
    for start in range(0, len(batch.student), num_at_once):
        inside_B = (wide.question_B >= start) & (wide.question_B < start + num_at_once)
        rows = slice(*(int(n) for n in (inside_B.nonzero()[0], inside_B.nonzero()[-1] + 1)))
        some = wide.rows(rows)
        some = replace(some, question_B=some.question_B - start)
        with student.reading(batch.student[start : start + num_at_once]) as prompts:
            terms, weight_B = student.score(prompts, some, None), done.gate.weight_B[rows]
            loss = distill_loss(terms, pos.logp_BT[rows], some.response_BT, weight_B, denominators, CONFIG.loss)
            torch.autograd.backward(loss.total)
    found = torch.cat([p.grad.flatten() for p in loaded.model.parameters() if p.grad is not None])
    assert (found - expected).norm() / expected.norm() < 1e-6


def padded(rollouts: Rollouts, extra: int) -> Rollouts:
    """Return the same answers with more padding behind them."""
    tensors = ("ids_BT", "response_BT", "logp_BT", "plain_logp_BT")
    wider: dict[str, Any] = {name: F.pad(getattr(rollouts, name), (0, extra)) for name in tensors}
    return replace(rollouts, **wider)


def test_the_order_of_questions_changes_no_score(loaded: Loaded, batch: Batch) -> None:
    order = list(range(len(batch.samples)))[::-1]
    turned = Batch(
        samples=tuple(batch.samples[q] for q in order),
        student=tuple(batch.student[q] for q in order),
        positive=tuple(batch.positive[q] for q in order),
        negative=tuple(batch.negative[q] for q in order),
        position=batch.position,
    )
    student, teacher = Student(loaded, train_vision=False), Teacher(frozen_copy(loaded))
    greedy = RolloutConfig(num_siblings=1, temperature=0.0, max_new_tokens=6)
    rollouts = answer(student, batch.student, greedy, Generator())
    mirrored = answer(student, turned.student, greedy, Generator())
    assert torch.equal(rollouts.ids_BT, mirrored.ids_BT.flip(0))
    pos, _ = teacher.score(rollouts, batch.positive, batch.negative)
    sop, _ = teacher.score(mirrored, turned.positive, turned.negative)
    assert (pos.logp_BT - sop.logp_BT.flip(0)).abs().max() < 1e-9


def test_the_frozen_tower_and_the_teacher_stay_as_they_are_and_the_language_model_moves(
    loaded: Loaded, batch: Batch
) -> None:
    teacher = frozen_copy(loaded)
    student = Student(loaded, train_vision=False)
    distill_step(student, Teacher(teacher, student), batch, CONFIG, Generator().manual_seed(1))
    with_gradient = {name for name, p in loaded.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert with_gradient
    assert not any("visual" in name for name in with_gradient)
    assert all(p.grad is None for p in teacher.model.parameters())


def test_one_step_brings_the_student_nearer_to_the_positive_view(loaded: Loaded, batch: Batch) -> None:
    teacher = frozen_copy(loaded)
    config = replace(CONFIG, loss=LossConfig(divergence="exact"))
    student = Student(loaded, train_vision=False)
    before = distill_step(student, Teacher(teacher), batch, config, Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.01)
    loaded.model.zero_grad()
    after, _ = step(loaded, batch, config, teacher)
    assert sum(float(x.divergence) for x in after.losses) < sum(float(x.divergence) for x in before.losses)


def test_sampled_tokens_are_priced_at_the_temperature_that_sampled_them(loaded: Loaded, batch: Batch) -> None:
    student = Student(loaded, train_vision=False)
    rollouts = answer(student, batch.student, replace(CONFIG.rollout, temperature=0.6), Generator().manual_seed(1))
    with torch.no_grad():
        logp_BT = student.score(student.read(batch.student), rollouts, None).logp_BT
    # They differ by what the placeholders that are never sampled would have taken.
    assert (logp_BT - rollouts.logp_BT)[rollouts.response_BT].abs().max() < 1e-4
    assert (logp_BT - rollouts.plain_logp_BT)[rollouts.response_BT].abs().max() > 0.01


def test_cut_off_answers_pull_unless_they_are_masked(loaded: Loaded, batch: Batch) -> None:
    short = replace(CONFIG, rollout=replace(CONFIG.rollout, max_new_tokens=1))
    _, pulled = step(loaded, batch, short)
    done, masked = step(loaded, batch, replace(short, loss=LossConfig(mask_truncated=True)))
    assert done.rollouts.truncated_B.all()
    assert pulled.norm() > 0.01
    assert masked.norm() == 0


@pytest.mark.fault(12)
def test_the_gate_may_look_at_the_answer_alone(loaded: Loaded, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token that an answer holds first stands for the end of a thought, which every prompt begins."""
    whole, _ = step(loaded, batch)
    end = int(whole.rollouts.ids_BT[0, 0])
    begin = int(batch.student[0].ids[-1])
    monkeypatch.setattr(Student, "thought_ids", (begin, end))
    assert all(prompt.ends_within(begin, end) for prompt in batch.student)
    answers = replace(CONFIG, gate=GateConfig(tokens="answer"))
    same, _ = step(loaded, batch)
    assert torch.equal(same.gate.kept_BT, whole.gate.kept_BT)  # tokens = "all" looks for no thought
    done, _ = step(loaded, batch, answers)
    for ids, real, kept in zip(
        done.rollouts.ids_BT.tolist(), done.rollouts.response_BT.tolist(), done.gate.kept_BT.tolist(), strict=True
    ):
        last = max((place for place, token in enumerate(ids) if real[place] and token == end), default=len(ids))
        assert kept == [real[place] and place > last for place in range(len(ids))]
    cut_off_B = ~done.gate.kept_BT.any(1)
    assert cut_off_B.any()
    assert not cut_off_B.all()
    assert (done.gate.weight_B[cut_off_B] == 1).all()


def test_a_step_says_where_its_time_went(loaded: Loaded, batch: Batch) -> None:
    began = time.perf_counter()
    done, _ = step(loaded, batch)
    whole = time.perf_counter() - began
    assert [*done.seconds] == ["rollout", "score", "update"]
    assert all(seconds > 0 for seconds in done.seconds.values())
    assert 0.5 * whole < sum(done.seconds.values()) < whole
    assert StepConfig(rollout=CONFIG.rollout, gate=CONFIG.gate, loss=CONFIG.loss).micro_batch == 0
