"""The loss against numbers that can be checked by hand, against the equations written out with floats, against
autograd of another formula, and against every way of cutting a batch into pieces.

Shapes: B rollouts, T response positions, N rows of logits, V vocabulary. Units: nats."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import trainer.loss
from trainer.loss import (
    MIN_LOGP,
    Aggregation,
    Denominators,
    Loss,
    LossConfig,
    StudentTerms,
    distill_loss,
    exact_divergence,
    trained_tokens,
)
from viewgen.errors import SettingsError
from viewgen.settings import settings_from

INF, NAN = math.inf, math.nan
SAMPLED, EXACT = LossConfig(), LossConfig(divergence="exact")
FORMS = [
    LossConfig(divergence=divergence, aggregation=aggregation)
    for divergence in ("sampled", "exact")
    for aggregation in ("sequence_mean", "token_mean")
]


def real(rows: Sequence[Sequence[float]] | Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def leaf(rows: Sequence[Sequence[float]]) -> Tensor:
    return real(rows).requires_grad_()


def whole_batch(student: StudentTerms, pos_BT: Tensor, mask_BT: Tensor, weight_B: Tensor, config: LossConfig) -> Loss:
    return distill_loss(student, pos_BT, mask_BT, weight_B, Denominators.of(mask_BT), config)


# By hand: student -1, -2 and -3; teacher -1.5, -1 and -3.5; the second answer has one token.
# log pi_s - log pi_t = 0.5, -1 and 0.5; times log pi_s = -0.5, 2 and -1.5.
HAND_POS, HAND_MASK = real([[-1.5, -1.0], [-3.5, NAN]]), torch.tensor([[True, True], [True, False]])
HAND_WEIGHT = real([2.0, 0.5])


def hand_student() -> StudentTerms:
    return StudentTerms(logp_BT=leaf([[-1.0, -2.0], [-3.0, NAN]]))


def test_the_sampled_loss_by_hand() -> None:
    student = hand_student()
    loss = whole_batch(student, HAND_POS, HAND_MASK, HAND_WEIGHT, SAMPLED)
    assert loss.total.item() == 0.375  # (2 * (-0.5 + 2) / 2 + 0.5 * -1.5) / 2
    slope = gradient(loss.total, student.logp_BT)
    assert slope.tolist() == [[0.25, -0.5], [0.125, 0.0]]  # weight * ratio / tokens / rollouts
    assert loss.divergence.item() == 0.125  # mean ratios -0.25 and 0.5, over the two rollouts, unweighted
    assert loss.num_tokens_B.tolist() == [2, 1]


def test_the_token_mean_by_hand() -> None:
    student = hand_student()
    config = replace(SAMPLED, aggregation="token_mean")
    loss = whole_batch(student, HAND_POS, HAND_MASK, HAND_WEIGHT, config)
    assert loss.total.item() == 0.75  # (2 * 1.5 + 0.5 * -1.5) / 3 tokens
    slope = gradient(loss.total, student.logp_BT)
    assert slope.tolist()[0] == pytest.approx([1 / 3, -2 / 3], abs=1e-15)
    assert slope.tolist()[1] == pytest.approx([0.25 / 3, 0.0], abs=1e-15)
    assert loss.divergence.item() == 0.0  # (0.5 - 1 + 0.5) / 3


def test_the_token_mean_of_one_token_is_that_token() -> None:
    student, one = StudentTerms(logp_BT=leaf([[-3.0]])), torch.ones(1, 1, dtype=torch.bool)
    config = replace(SAMPLED, aggregation="token_mean")
    assert whole_batch(student, real([[-3.5]]), one, real([1.0]), config).total.item() == -1.5


def test_the_exact_loss_by_hand() -> None:
    divergence_BT = leaf([[0.25, 0.75], [1.5, NAN]])
    student = StudentTerms(logp_BT=real([[NAN, NAN], [NAN, NAN]]), divergence_BT=divergence_BT)
    loss = whole_batch(student, HAND_POS, HAND_MASK, HAND_WEIGHT, EXACT)
    assert loss.total.item() == 0.875  # (2 * 0.5 + 0.5 * 1.5) / 2
    slope = gradient(loss.total, divergence_BT)
    assert slope.tolist() == [[0.5, 0.5], [0.25, 0.0]]
    assert loss.divergence.item() == 1.0  # 0.5 and 1.5, unweighted
    assert loss.num_clamped_B.tolist() == [0, 0]


def test_the_log_ratio_is_clamped_on_both_sides_and_counted() -> None:
    logp_BT = leaf([[-1.0, -1.0, -20.0, -1.0, -1.0]])
    pos_BT = real([[-12.0, -INF, -1.0, -11.0, -3.5]])  # ratios 11, inf, -19, 10 and 2.5
    loss = whole_batch(StudentTerms(logp_BT=logp_BT), pos_BT, torch.ones(1, 5, dtype=torch.bool), real([1.0]), SAMPLED)
    slope = gradient(loss.total, logp_BT)
    assert slope.tolist() == [[2.0, 2.0, -2.0, 2.0, 0.5]]  # clamped ratio / 5
    assert loss.num_clamped_B.tolist() == [3]  # a ratio of exactly 10 is not changed
    assert loss.divergence.item() == 4.5  # (10 + 10 - 10 + 10 + 2.5) / 5


def test_the_clamp_can_be_set() -> None:
    logp_BT = leaf([[-1.0, -1.0]])
    loss = whole_batch(
        StudentTerms(logp_BT=logp_BT),
        real([[-4.0, -1.25]]),
        torch.ones(1, 2, dtype=torch.bool),
        real([1.0]),
        LossConfig(clamp_nats=0.5),
    )
    slope = gradient(loss.total, logp_BT)
    assert slope.tolist() == [[0.25, 0.125]]
    assert loss.num_clamped_B.tolist() == [1]


@dataclass(frozen=True)
class Batch:
    """A tiny student whose parameters can be differentiated: a table of logits per rollout and position."""

    logits_BTV: Tensor
    teacher_BTV: Tensor
    ids_BT: Tensor
    mask_BT: Tensor
    weight_B: Tensor

    def rows(self, index: Sequence[int] | Tensor, width: int) -> "Batch":
        """Return these rollouts, cut or padded with NaN to a width."""
        chosen = Batch(
            self.logits_BTV[index],
            self.teacher_BTV[index],
            self.ids_BT[index],
            self.mask_BT[index],
            self.weight_B[index],
        )
        more = max(0, width - self.ids_BT.shape[1])
        return Batch(
            torch.nn.functional.pad(chosen.logits_BTV, (0, 0, 0, more), value=NAN)[:, :width],
            torch.nn.functional.pad(chosen.teacher_BTV, (0, 0, 0, more), value=NAN)[:, :width],
            torch.nn.functional.pad(chosen.ids_BT, (0, more))[:, :width],
            torch.nn.functional.pad(chosen.mask_BT, (0, more))[:, :width],
            chosen.weight_B,
        )

    def loss(self, denominators: Denominators, config: LossConfig) -> Loss:
        student = StudentTerms(
            logp_BT=picked(self.logits_BTV, self.ids_BT),
            divergence_BT=exact_divergence(self.logits_BTV.flatten(0, 1), self.teacher_BTV.flatten(0, 1)).view_as(
                self.ids_BT
            ),
        )
        return distill_loss(
            student, picked(self.teacher_BTV, self.ids_BT), self.mask_BT, self.weight_B, denominators, config
        )


def picked(logits_BTV: Tensor, ids_BT: Tensor) -> Tensor:
    return logits_BTV.log_softmax(-1).gather(-1, ids_BT[..., None])[..., 0]


def random_batch(seed: int, num_rollouts: int = 6, width: int = 7, vocabulary: int = 5) -> Batch:
    """Answers of 0 to `width` tokens; the last rollout fills the width."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, width + 1, (num_rollouts,), generator=generator)
    lengths[-1] = width

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Batch(
        (2 * normal(num_rollouts, width, vocabulary)).requires_grad_(),
        2 * normal(num_rollouts, width, vocabulary),
        torch.randint(0, vocabulary, (num_rollouts, width), generator=generator),
        torch.arange(width) < lengths[:, None],
        normal(num_rollouts).abs(),
    )


def gradient(total: Tensor, at: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(total, at)
    return slope


def loss_in_plain_python(batch: Batch, config: LossConfig) -> tuple[float, list[float]]:
    """Equations 21 and 24 once more, one float at a time: the loss, and the mean divergence of each rollout."""
    logp, logq = batch.logits_BTV.log_softmax(-1).tolist(), batch.teacher_BTV.log_softmax(-1).tolist()
    num_tokens, per_rollout, weighted, means = 0, [], 0.0, []
    for b, weight in enumerate(batch.weight_B.tolist()):
        terms, divergences = [], []
        for t in range(int(batch.mask_BT[b].sum())):
            y = int(batch.ids_BT[b, t])
            if config.divergence == "exact":
                divergences.append(sum(math.exp(p) * (p - q) for p, q in zip(logp[b][t], logq[b][t], strict=True)))
                terms.append(divergences[-1])
            else:
                divergences.append(max(-config.clamp_nats, min(config.clamp_nats, logp[b][t][y] - logq[b][t][y])))
                terms.append(divergences[-1] * logp[b][t][y])
        num_tokens += len(terms)
        weighted += weight * sum(terms)
        means.append(sum(divergences) / len(divergences) if divergences else 0.0)
        if terms:
            per_rollout.append(weight * sum(terms) / len(terms))
    loss = weighted / num_tokens if config.aggregation == "token_mean" else sum(per_rollout) / len(per_rollout)
    return loss, means


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.divergence}, {c.aggregation}")
@pytest.mark.parametrize("seed", range(10))
def test_random_batches_agree_with_the_equations_in_plain_python(seed: int, config: LossConfig) -> None:
    batch = random_batch(seed)
    config = replace(config, clamp_nats=2.0)  # so that the clamp acts on about half of the tokens
    loss = batch.loss(Denominators.of(batch.mask_BT), config)
    total, means = loss_in_plain_python(batch, config)
    assert loss.total.item() == pytest.approx(total, abs=1e-12)
    num_B = loss.num_tokens_B.tolist()
    by_token = sum(mean * num for mean, num in zip(means, num_B, strict=True)) / sum(num_B)
    by_rollout = sum(means) / sum(num > 0 for num in num_B)
    expected = by_token if config.aggregation == "token_mean" else by_rollout
    assert loss.divergence.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean"])
def test_the_sampled_gradient_is_weight_times_ratio_times_the_slope_of_the_students_log_prob(
    aggregation: Aggregation,
) -> None:
    batch = random_batch(3)
    denominators = Denominators.of(batch.mask_BT)
    config = LossConfig(aggregation=aggregation, clamp_nats=1.5)
    found = gradient(batch.loss(denominators, config).total, batch.logits_BTV)
    # d log softmax(z)_y / d z = onehot(y) - softmax(z), written out
    ratio_BT = (picked(batch.logits_BTV, batch.ids_BT) - picked(batch.teacher_BTV, batch.ids_BT)).detach()
    factor_BT = batch.weight_B[:, None] * ratio_BT.clamp(-1.5, 1.5)
    if aggregation == "sequence_mean":
        factor_BT = factor_BT / batch.mask_BT.sum(1).clamp(min=1)[:, None] / denominators.num_rollouts
    else:
        factor_BT = factor_BT / denominators.num_tokens
    onehot_BTV = torch.nn.functional.one_hot(batch.ids_BT, 5)
    slope_BTV = onehot_BTV - batch.logits_BTV.detach().softmax(-1)
    expected = factor_BT[..., None] * slope_BTV * batch.mask_BT[..., None]
    assert torch.allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.divergence}, {c.aggregation}")
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5], [2, 4], [5], [1]], ids=str)
def test_micro_batches_add_up_to_the_batch(config: LossConfig, cuts: list[int]) -> None:
    batch = random_batch(11)
    denominators = Denominators.of(batch.mask_BT)
    whole = batch.loss(denominators, config)
    slope = gradient(whole.total, batch.logits_BTV)
    pieces = []
    for start, end in zip([0, *cuts], [*cuts, 6], strict=True):
        narrow = int(batch.mask_BT[start:end].sum(1).max())  # each piece has its own padding width
        pieces.append(batch.rows(range(start, end), narrow).loss(denominators, config))
    total = torch.stack([piece.total for piece in pieces]).sum()
    assert total.item() == pytest.approx(whole.total.item(), abs=1e-12)
    assert torch.allclose(gradient(total, batch.logits_BTV), slope, rtol=0, atol=1e-12)
    divergence = sum(piece.divergence.item() for piece in pieces)
    assert divergence == pytest.approx(whole.divergence.item(), abs=1e-12)


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.divergence}, {c.aggregation}")
def test_neither_order_nor_padding_width_changes_loss_or_gradient(config: LossConfig) -> None:
    batch = random_batch(12)
    denominators = Denominators.of(batch.mask_BT)
    whole = batch.loss(denominators, config)
    slope = gradient(whole.total, batch.logits_BTV)
    for order, width in (([5, 3, 1, 0, 2, 4], 7), (list(range(6)), 40), ([2, 4, 5, 1, 3, 0], 9)):
        turned = batch.rows(order, width).loss(denominators, config)
        assert turned.total.item() == pytest.approx(whole.total.item(), abs=1e-12)
        # the pad's logits are NaN: what reaches the real logits through it would show
        assert torch.allclose(gradient(turned.total, batch.logits_BTV), slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.divergence}, {c.aggregation}")
def test_garbage_outside_the_mask_reaches_neither_loss_nor_gradient(config: LossConfig) -> None:
    clean = random_batch(13)
    denominators = Denominators.of(clean.mask_BT)
    for garbage in (NAN, INF, -INF, 1e30):
        outside_BT1 = ~clean.mask_BT[..., None]
        dirty = replace(
            clean,
            logits_BTV=clean.logits_BTV.detach().masked_fill(outside_BT1, garbage).requires_grad_(),
            teacher_BTV=clean.teacher_BTV.masked_fill(outside_BT1, garbage),
        )
        student = StudentTerms(
            logp_BT=dirty.logits_BTV[..., 0].clone(),
            divergence_BT=dirty.logits_BTV[..., 1].clone(),
        )
        loss = distill_loss(student, dirty.teacher_BTV[..., 0], clean.mask_BT, clean.weight_B, denominators, config)
        assert loss.total.isfinite()
        assert loss.divergence.isfinite()
        slope = gradient(loss.total, dirty.logits_BTV)
        assert slope.isfinite().all()
        assert not slope[~clean.mask_BT].any()


def test_an_end_token_that_shares_its_id_with_the_pad_is_learned() -> None:
    end = pad = 4
    ids_BT = torch.tensor([[0, 1, end, pad]])
    batch = replace(
        random_batch(1, num_rollouts=1, width=4), ids_BT=ids_BT, mask_BT=torch.tensor([[True, True, True, False]])
    )
    slope = gradient(batch.loss(Denominators.of(batch.mask_BT), SAMPLED).total, batch.logits_BTV)
    assert slope[0, 2].abs().sum() > 0.01
    assert slope[0, 3].abs().sum() == 0


@pytest.mark.parametrize("config", [SAMPLED, EXACT], ids=["sampled", "exact"])
@pytest.mark.parametrize("position", [0, 6], ids=["first", "last"])
def test_the_first_and_the_last_token_count_like_any_other(position: int, config: LossConfig) -> None:
    batch = random_batch(21, num_rollouts=1)
    denominators = Denominators.of(batch.mask_BT)
    before = batch.loss(denominators, config)
    moved_BTV = batch.teacher_BTV.clone()
    moved_BTV[0, position, batch.ids_BT[0, position]] += 1.0
    after = replace(batch, teacher_BTV=moved_BTV).loss(denominators, config)
    changed_T = (gradient(after.total, batch.logits_BTV) - gradient(before.total, batch.logits_BTV)).abs().sum(-1)[0]
    assert changed_T.nonzero().flatten().tolist() == [position]
    assert after.divergence.item() != before.divergence.item()


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.divergence}, {c.aggregation}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_student_that_is_the_teacher_has_no_loss_and_no_gradient(config: LossConfig, dtype: torch.dtype) -> None:
    batch = random_batch(31)
    logits_BTV = batch.logits_BTV.detach().to(dtype).requires_grad_()
    same = replace(batch, logits_BTV=logits_BTV, teacher_BTV=logits_BTV.detach().clone())
    loss = same.loss(Denominators.of(batch.mask_BT), config)
    assert loss.total.item() == 0.0
    assert loss.divergence.item() == 0.0
    assert gradient(loss.total, logits_BTV).abs().max().item() == 0.0


def test_a_step_down_the_gradient_brings_the_student_nearer_to_the_teacher() -> None:
    batch = random_batch(41)
    denominators = Denominators.of(batch.mask_BT)
    before = batch.loss(denominators, EXACT)
    moved = (batch.logits_BTV - 0.1 * gradient(before.total, batch.logits_BTV)).detach()
    assert replace(batch, logits_BTV=moved).loss(denominators, EXACT).total < before.total


def test_the_sampled_gradient_averages_to_the_exact_one() -> None:
    """Summed over the vocabulary with the student's own probabilities, eq. 24 is the gradient of eq. 21."""
    student_V = real([0.3, -1.0, 2.0, 0.0]).requires_grad_()
    teacher_V = real([1.0, 0.5, -0.5, 0.0])
    exact = gradient(exact_divergence(student_V[None], teacher_V[None]).sum(), student_V)
    logp_V, one = student_V.log_softmax(-1), torch.ones(1, 1, dtype=torch.bool)
    expected = torch.zeros(4, dtype=torch.float64)
    for y in range(4):
        terms = StudentTerms(logp_BT=student_V.log_softmax(-1)[None, None, y])
        loss = whole_batch(terms, teacher_V.log_softmax(-1)[None, None, y], one, real([1.0]), SAMPLED)
        expected += logp_V[y].exp().detach() * gradient(loss.total, student_V)
    assert torch.allclose(exact, expected, rtol=0, atol=1e-12)


def test_no_gradient_goes_to_the_teacher_or_to_the_weights() -> None:
    teacher_BT, weight_B = leaf([[-1.0, -2.0]]), leaf([[1.5]])
    mask_BT = torch.ones(1, 2, dtype=torch.bool)
    student = StudentTerms(logp_BT=leaf([[-0.5, -0.5]]), divergence_BT=leaf([[0.5, 0.25]]))
    for config in (SAMPLED, EXACT):
        loss = whole_batch(student, teacher_BT, mask_BT, weight_B[0], config)
        assert gradient_or_none(loss.total, teacher_BT) is None
        assert gradient_or_none(loss.total, weight_B) is None
        assert not loss.divergence.requires_grad
    logits_NV, teacher_NV = leaf([[0.5, 1.0]]), leaf([[0.0, 2.0]])
    assert gradient_or_none(exact_divergence(logits_NV, teacher_NV).sum(), teacher_NV) is None


def gradient_or_none(total: Tensor, at: Tensor) -> Tensor | None:
    (slope,) = torch.autograd.grad(total, at, allow_unused=True, retain_graph=True)
    return slope


# exact divergence


def test_the_exact_divergence_by_hand() -> None:
    student = real([[math.log(0.5), math.log(0.5)], [math.log(0.9), math.log(0.1)]])
    teacher = real([[math.log(0.25), math.log(0.75)], [math.log(0.9), math.log(0.1)]])
    # 0.5 ln(0.5 / 0.25) + 0.5 ln(0.5 / 0.75) = 0.5 ln 2 + 0.5 ln (2 / 3) = 0.143841
    assert exact_divergence(student, teacher).tolist() == pytest.approx([0.1438410362, 0.0], abs=1e-10)
    # the other way round it would be 0.25 ln 0.5 + 0.75 ln 1.5 = 0.130812
    assert exact_divergence(teacher, student)[0].item() == pytest.approx(0.1308120359, abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_the_exact_gradient_agrees_with_autograd_of_another_formula(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student_NV = (3 * torch.randn(7, 11, generator=generator, dtype=torch.float64)).requires_grad_()
    teacher_NV = 3 * torch.randn(7, 11, generator=generator, dtype=torch.float64)
    scale_N = torch.randn(7, generator=generator, dtype=torch.float64)
    ours = exact_divergence(student_NV, teacher_NV)
    theirs = torch.nn.functional.kl_div(
        teacher_NV.log_softmax(-1), student_NV.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    slope = gradient((scale_N * ours).sum(), student_NV)
    assert torch.allclose(slope, gradient((scale_N * theirs).sum(), student_NV), rtol=0, atol=1e-12)


def test_the_exact_divergence_in_chunks_is_the_exact_divergence() -> None:
    batch = random_batch(51)
    student_NV, teacher_NV = batch.logits_BTV.flatten(0, 1), batch.teacher_BTV.flatten(0, 1)
    whole = exact_divergence(student_NV, teacher_NV)
    pieces = torch.cat([exact_divergence(student_NV[i : i + 4], teacher_NV[i : i + 4]) for i in range(0, 42, 4)])
    assert torch.equal(whole, pieces)
    assert torch.equal(gradient(whole.sum(), batch.logits_BTV), gradient(pieces.sum(), batch.logits_BTV))


def test_shifted_logits_are_the_same_distribution() -> None:
    logits_NV = leaf([[0.5, 1.0, -2.0]])
    divergence_N = exact_divergence(logits_NV, logits_NV.detach() + 40.0)
    assert divergence_N.item() == pytest.approx(0.0, abs=1e-12)
    assert gradient(divergence_N.sum(), logits_NV).abs().max().item() < 1e-12


def test_a_token_that_only_the_teacher_holds_impossible_costs_much_but_not_everything() -> None:
    student_NV, teacher_NV = leaf([[0.0, 0.0]]), real([[0.0, -INF]])
    divergence_N = exact_divergence(student_NV, teacher_NV)
    # 0.5 ln 0.5 + 0.5 (ln 0.5 + 103)
    assert divergence_N.item() == pytest.approx(math.log(0.5) + 0.5 * 103.0, abs=1e-12)
    slope = gradient(divergence_N.sum(), student_NV)
    assert slope.isfinite().all()
    assert slope[0, 1] > 20  # downhill is away from the impossible token
    assert MIN_LOGP == -103.0
    assert math.exp(MIN_LOGP - 1) < torch.finfo(torch.float32).smallest_normal * 2**-23 < math.exp(MIN_LOGP)


def test_a_token_that_both_hold_impossible_adds_nothing() -> None:
    student_NV = leaf([[math.log(0.5), math.log(0.5), -INF]])
    divergence_N = exact_divergence(student_NV, real([[math.log(0.25), math.log(0.75), -INF]]))
    assert divergence_N.item() == pytest.approx(0.1438410362, abs=1e-10)
    slope = gradient(divergence_N.sum(), student_NV)
    assert slope.isfinite().all()
    assert slope[0, 2] == 0


def test_a_token_that_only_the_student_holds_impossible_adds_nothing() -> None:
    student_NV = leaf([[0.0, -INF]])
    divergence_N = exact_divergence(student_NV, real([[0.0, 0.0]]))
    assert divergence_N.item() == pytest.approx(math.log(2), abs=1e-12)
    assert gradient(divergence_N.sum(), student_NV).tolist() == [[0.0, 0.0]]


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    logits_NV = leaf([[0.5, 1.0]])
    squared = exact_divergence(logits_NV, real([[0.0, 2.0]])).square().sum()
    (slope,) = torch.autograd.grad(squared, logits_NV, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        torch.autograd.backward(slope.square().sum())


def test_half_precision_logits_are_widened_and_their_gradient_comes_back_in_half() -> None:
    student_NV = torch.tensor([[1.0, -3.0, 0.5]], dtype=torch.bfloat16, requires_grad=True)
    teacher_NV = torch.tensor([[0.5, 2.0, -1.0]], dtype=torch.bfloat16)
    divergence_N = exact_divergence(student_NV, teacher_NV)
    assert divergence_N.dtype == torch.float32
    full = exact_divergence(student_NV.detach().double(), teacher_NV.double())
    assert divergence_N.item() == pytest.approx(full.item(), rel=1e-6)
    assert gradient(divergence_N.sum(), student_NV).dtype == torch.bfloat16


# masks, denominators, settings


def test_truncated_answers_are_masked_only_when_asked() -> None:
    response_BT = torch.tensor([[True, True, True], [True, True, False]])
    truncated_B = torch.tensor([True, False])
    kept_BT = trained_tokens(response_BT, truncated_B, LossConfig())
    masked_BT = trained_tokens(response_BT, truncated_B, LossConfig(mask_truncated=True))
    assert kept_BT.tolist() == response_BT.tolist()
    assert masked_BT.tolist() == [[False, False, False], [True, True, False]]


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.divergence}, {c.aggregation}")
def test_a_masked_rollout_is_as_if_it_had_not_been_sampled(config: LossConfig) -> None:
    batch = random_batch(61)
    truncated_B = torch.tensor([False, True, False, False, True, False])
    mask_BT = trained_tokens(batch.mask_BT, truncated_B, replace(config, mask_truncated=True))
    masked = replace(batch, mask_BT=mask_BT).loss(Denominators.of(mask_BT), config)
    without = batch.rows([0, 2, 3, 5], 7)
    assert masked.total.item() == pytest.approx(without.loss(Denominators.of(without.mask_BT), config).total.item())
    assert masked.num_tokens_B[[1, 4]].tolist() == [0, 0]


def test_the_denominators_count_what_is_in_the_loss() -> None:
    mask_BT = torch.tensor([[True, True, False], [False, False, False], [True, False, False]])
    assert Denominators.of(mask_BT) == Denominators(num_rollouts=2, num_tokens=3)


@pytest.mark.parametrize("config", FORMS, ids=lambda c: f"{c.divergence}, {c.aggregation}")
def test_a_batch_without_a_token_in_the_loss_has_loss_0_and_gradient_0(config: LossConfig) -> None:
    batch = random_batch(71)
    nothing = replace(batch, mask_BT=torch.zeros_like(batch.mask_BT))
    loss = nothing.loss(Denominators.of(nothing.mask_BT), config)
    assert loss.total.item() == 0.0
    assert loss.divergence.item() == 0.0
    assert loss.divergence.item() == 0.0
    assert not gradient(loss.total, batch.logits_BTV).any()


def test_nan_inside_the_mask_is_passed_on() -> None:
    one = torch.ones(1, 1, dtype=torch.bool)
    student = StudentTerms(logp_BT=leaf([[-1.0]]))
    assert whole_batch(student, real([[NAN]]), one, real([1.0]), SAMPLED).total.isnan()


@pytest.mark.parametrize("config", [SAMPLED, EXACT], ids=["sampled", "exact"])
def test_half_precision_terms_are_widened(config: LossConfig) -> None:
    half = torch.bfloat16
    student = StudentTerms(
        logp_BT=torch.tensor([[-0.00390625, -1.0]], dtype=half),
        divergence_BT=torch.tensor([[8.0625, 0.00390625]], dtype=half),
    )
    pos_BT = torch.tensor([[-8.0625, -1.0]], dtype=half)
    mask_BT = torch.ones(1, 2, dtype=torch.bool)
    loss = whole_batch(student, pos_BT, mask_BT, torch.ones(1, dtype=half), config)
    assert loss.total.dtype == torch.float32
    # the difference, or the sum, needs 12 bits; bfloat16 has 8
    assert loss.divergence.item() * 2 == (8.05859375 if config is SAMPLED else 8.06640625)


def test_the_exact_form_without_divergences_is_a_mistake_in_the_code() -> None:
    with pytest.raises(AssertionError, match=r"needs StudentTerms\.divergence_BT"):
        whole_batch(hand_student(), HAND_POS, HAND_MASK, HAND_WEIGHT, EXACT)


def test_the_defaults_are_the_papers() -> None:
    expected = LossConfig(divergence="sampled", aggregation="sequence_mean", clamp_nats=10.0, mask_truncated=False)
    assert LossConfig() == expected


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            {"clamp_nats": 0.0},
            "clamp_nats is 0.0; it must be a number above 0 nats. Leave it out for the default, 10.0.",
        ),
        (
            {"clamp_nats": INF},
            "clamp_nats is inf; it must be a number above 0 nats. Leave it out for the default, 10.0.",
        ),
        (
            {"clamp_nats": NAN},
            "clamp_nats is nan; it must be a number above 0 nats. Leave it out for the default, 10.0.",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        LossConfig(**setting)
    assert str(refusal.value) == said


def test_a_misspelt_loss_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"run\.toml: unknown setting 'clamp'\. Did you mean 'clamp_nats'\?"):
        settings_from({"clamp": 5.0}, LossConfig, "run.toml")


@pytest.mark.parametrize(
    ("name", "known"), [("divergence", "'sampled', 'exact'"), ("aggregation", "'sequence_mean', 'token_mean'")]
)
def test_an_unknown_form_in_a_file_is_one_line(name: str, known: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_from({name: "forward"}, LossConfig, "run.toml")
    assert str(refusal.value).startswith(f"run.toml: {name} is 'forward'; it must be one of {known}. Leave it out for")


def test_random_weights_scale_their_own_rollout_alone() -> None:
    rng = random.Random(0)
    batch = random_batch(81)
    denominators = Denominators.of(batch.mask_BT)
    slope = gradient(batch.loss(denominators, SAMPLED).total, batch.logits_BTV)
    scale_B = real([rng.uniform(0, 2) for _ in range(6)])
    scaled = replace(batch, weight_B=batch.weight_B * scale_B)
    found = gradient(scaled.loss(denominators, SAMPLED).total, batch.logits_BTV)
    assert torch.allclose(found, slope * scale_B[:, None, None], rtol=0, atol=1e-14)


@pytest.mark.parametrize("record", [kind for kind in vars(trainer.loss).values() if is_dataclass(kind)], ids=str)
def test_records_are_frozen_and_filled_by_name(record: Any) -> None:
    assert record.__dataclass_params__.frozen
    assert all(field.kw_only for field in fields(record))
    assert "__slots__" in vars(record)
