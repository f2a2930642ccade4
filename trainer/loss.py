"""The loss: per-token divergence from the teacher x the rollout's weight, summed, over denominators of the WHOLE
batch, so that the losses of micro-batches add up to the loss of the batch, and so do their gradients. Pure.
Leaves out: the forward passes (engine/models.py), the weights (gate.py), backward (step.py), the optimizer
(optimizer.py).

Shapes: B rollouts, T response positions (padded), N rows of logits, V vocabulary.
Units: log-probs and divergences in nats, per token."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import ConfigDict
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from trainer.gate import widened
from viewgen.settings import STRICT, Range, check_ranges

Divergence = Literal["sampled", "exact"]
Aggregation = Literal["sequence_mean", "token_mean"]

MIN_LOGP = -103.0
"""Nats: log of the smallest positive float32. A probability below it is zero in float32 anyway, so impossible tokens
(-inf) count as this unlikely: the divergence stays finite and still pushes away from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Divergence, and the aggregation of tokens into one number."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    divergence: Divergence = "sampled"
    """sampled: at the sampled token alone (arXiv 2606.25319, eq. 24). exact: over the whole vocabulary (eq. 21)."""
    aggregation: Aggregation = "sequence_mean"
    """sequence_mean: over each answer's tokens, then over rollouts (the paper). token_mean: over all tokens of the
    batch (the paper's public code); long answers then weigh more."""
    clamp_nats: Annotated[float, Range(gt=0, unit="nats")] = 10.0
    """Largest |log pi_s - log pi_t| of a token in the sampled form, nats; > 0. From the paper's public code."""
    mask_truncated: bool = False
    """Leave answers that were cut off at the length limit out of the loss and out of its denominators."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denominators:
    """Divisors of the sums: counts over the whole batch, never over a micro-batch."""

    num_rollouts: int
    """Rollouts with at least one token in the loss."""
    num_tokens: int
    """Tokens in the loss."""

    @classmethod
    def of(cls, trained_BT: Bool[Tensor, "B T"]) -> "Denominators":
        """Count a whole batch's mask."""
        return cls(num_rollouts=int(trained_BT.any(1).sum()), num_tokens=int(trained_BT.sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentTerms:
    """Log-probs and divergences of the student on its own rollouts, with gradient."""

    logp_BT: Float[Tensor, "B T"]
    """log pi_s(y_k | x, y_<k), nats, at the temperature that sampled the answers."""
    divergence_BT: Float[Tensor, "B T"] | None = None
    """KL(pi_s || pi_t(. | z+)) of each position, nats, from `exact_divergence`. Only the exact form needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One micro-batch's share of the batch. `total` carries the gradient, the rest does not."""

    total: Float[Tensor, ""]
    """Backpropagate this; over micro-batches it adds up to the batch's loss. In the sampled form only its gradient
    means something: the value is a surrogate that may fall while the student moves away. Watch `divergence`."""
    divergence: Float[Tensor, ""]
    """Share of the batch's divergence, every weight taken as 1, nats per token; adds up like `total`. In the sampled
    form the Monte Carlo estimate: log pi_s - log pi_t, clamped as in the loss."""
    num_tokens_B: Int[Tensor, " B"]
    """Tokens in the loss."""
    num_clamped_B: Int[Tensor, " B"]
    """Tokens whose log-ratio the clamp changed; 0 in the exact form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenTerms:
    """Per token, 0 outside the loss: what is differentiated, what is reported, and whether the clamp acted."""

    term_BT: Float[Tensor, "B T"]
    divergence_BT: Float[Tensor, "B T"]
    clamped_BT: Bool[Tensor, "B T"]


def trained_tokens(
    response_BT: Bool[Tensor, "B T"],  # True on response tokens, EOS included
    truncated_B: Bool[Tensor, " B"],  # True where the length limit cut the answer off
    config: LossConfig,
) -> Bool[Tensor, "B T"]:
    """Return the mask of the tokens in the loss. Called once for the whole batch, because the denominators count it
    before it is split."""
    return response_BT & ~truncated_B[:, None] if config.mask_truncated else response_BT


def distill_loss(
    student: StudentTerms,
    pos_BT: Float[Tensor, "B T"],  # log pi_t(y | x, z+), nats
    trained_BT: Bool[Tensor, "B T"],  # rows of what trained_tokens gave
    weight_B: Float[Tensor, " B"],  # the gate's
    denominators: Denominators,  # of the whole batch that these rows are part of
    config: LossConfig,
) -> Loss:
    """Pull the student towards the teacher's positive view, rollout by weight (arXiv 2606.25319, eq. 21 and 24).

    Values outside trained_BT may be anything, NaN included: neither loss nor gradient sees them. A batch without a
    token in the loss has loss 0. Only the student's terms get a gradient. Computed in float32 at least.
    A NaN inside the mask comes from a broken model and is passed on, for the loop to stop at.
    """
    exact = config.divergence == "exact"
    tokens = _exact(student, trained_BT) if exact else _sampled(student, pos_BT, trained_BT, config)
    num_tokens_B = trained_BT.sum(1)
    if config.aggregation == "sequence_mean":
        divisor_B = num_tokens_B.clamp(min=1) * max(denominators.num_rollouts, 1)
    else:
        divisor_B = torch.full_like(num_tokens_B, max(denominators.num_tokens, 1))
    return Loss(
        total=(weight_B.detach() * tokens.term_BT.sum(1) / divisor_B).sum(),
        divergence=(tokens.divergence_BT.sum(1) / divisor_B).sum(),
        num_tokens_B=num_tokens_B,
        num_clamped_B=tokens.clamped_BT.sum(1),
    )


def _sampled(
    student: StudentTerms, pos_BT: Float[Tensor, "B T"], trained_BT: Bool[Tensor, "B T"], config: LossConfig
) -> _TokenTerms:
    """stop_gradient(clamped log pi_s - log pi_t) * log pi_s: unclamped, its gradient estimates the exact form's."""
    # Masked before anything is multiplied: 0 x NaN is NaN, and so is its gradient.
    logp_BT = widened(student.logp_BT).where(trained_BT, 0.0)
    ratio_BT = logp_BT.detach() - widened(pos_BT.detach()).where(trained_BT, 0.0)
    clamped_ratio_BT = ratio_BT.clamp(-config.clamp_nats, config.clamp_nats)
    return _TokenTerms(
        term_BT=clamped_ratio_BT * logp_BT,
        divergence_BT=clamped_ratio_BT,
        clamped_BT=ratio_BT.abs() > config.clamp_nats,
    )


def _exact(student: StudentTerms, trained_BT: Bool[Tensor, "B T"]) -> _TokenTerms:
    assert student.divergence_BT is not None, "the exact form needs StudentTerms.divergence_BT"
    term_BT = widened(student.divergence_BT).where(trained_BT, 0.0)
    return _TokenTerms(term_BT=term_BT, divergence_BT=term_BT.detach(), clamped_BT=torch.zeros_like(trained_BT))


def exact_divergence(
    student_logits_NV: Float[Tensor, "N V"],
    teacher_logits_NV: Float[Tensor, "N V"],
) -> Float[Tensor, " N"]:
    """KL(softmax(student) || softmax(teacher)) of each row, nats; gradient to the student (arXiv 2606.25319, eq. 21).

    Rows are independent, so a long batch may be given in chunks. Keeps one [N, V] tensor for backward. A token that
    the teacher holds impossible (-inf) counts as MIN_LOGP; one that the student holds impossible adds nothing.
    Computed in float32 at least. Bit-equal logits give exactly 0, and exactly zero gradient.
    """
    divergence_N: Tensor = _ReverseKL.apply(widened(student_logits_NV), widened(teacher_logits_NV))
    return divergence_N


class _ReverseKL(torch.autograd.Function):
    """The gradient is written out, p * (log p - log q - KL): autograd's own keeps several [N, V] tensors and leaves
    rounding noise where student and teacher agree."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, student_NV: Float[Tensor, "N V"], teacher_NV: Float[Tensor, "N V"]
    ) -> Float[Tensor, " N"]:
        logp_NV = student_NV.log_softmax(1)
        p_NV = logp_NV.exp()
        ratio_NV = logp_NV.clamp(min=MIN_LOGP) - teacher_NV.log_softmax(1).clamp(min=MIN_LOGP)
        divergence_N = (p_NV * ratio_NV).sum(1)
        ctx.save_for_backward(p_NV * (ratio_NV - divergence_N[:, None]))
        return divergence_N

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_N: Float[Tensor, " N"]) -> tuple[Float[Tensor, "N V"], None]:
        (slope_NV,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_N[:, None] * slope_NV, None
