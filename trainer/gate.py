"""The gate: teacher log-probs of the same answers under both views -> one weight per rollout. Pure.
Leaves out: where the log-probs come from (engine/models.py), what the weights multiply (loss.py), what is reported.

Shapes: B rollouts, T response positions (padded to the longest answer of the batch).
Units: gaps in nats, scores in nats per token; advantages and weights have none."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import ConfigDict
from torch import Tensor

from viewgen.settings import STRICT, Range, check_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """Strength and bounds of the weights. Equations and defaults: arXiv 2606.25319, eq. 17-20, except gamma."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    alpha: Annotated[float, Range(ge=0)] = 1.0
    """Weight gained per standard deviation of score among siblings; >= 0. 0 turns the gate off: every weight is
    exactly 1. The paper has 1, its public code 0.5."""
    gamma: Annotated[float, Range(ge=0)] = 1.0
    """Price of a nat that the evidence takes away, against a nat that it adds; >= 0. 1, from the paper's public code,
    makes the score the plain mean gap."""
    w_min: Annotated[float, Range(ge=0, le=1)] = 0.0
    """Least weight, 0..1: a rollout that nothing is known about weighs 1, so 1 must lie within the bounds."""
    w_max: Annotated[float, Range(ge=1)] = 2.0
    """Largest weight, >= 1."""
    tokens: Literal["all", "answer"] = "all"
    """Tokens whose gaps make the score. all: those of the whole response, as in the paper. answer: those behind the
    thought of a thinking model; a thought that was cut off has none, and weighs 1."""
    eps: Annotated[float, Range(gt=0, unit="nats per token")] = 1e-6
    """Added to the standard deviation, nats per token; > 0. Siblings whose scores differ by much less than this are
    as good as tied: their advantages shrink towards 0 instead of blowing rounding noise up to whole deviations."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Gaps, scores, advantages and weights of rollouts. Nothing here carries a gradient."""

    gap_BT: Float[Tensor, "B T"]
    """log pi_t(y | x, z+) - log pi_t(y | x, z-), nats; 0 where kept_BT is False."""
    kept_BT: Bool[Tensor, "B T"]
    """True where a gap entered its rollout's score: response tokens whose gap is finite."""
    score_B: Float[Tensor, " B"]
    """Mean kept gap, nats per token; 0 for a rollout without any."""
    advantage_B: Float[Tensor, " B"]
    """Standard deviations above the mean score of the siblings; 0 for a rollout without a kept gap."""
    weight_B: Float[Tensor, " B"]
    """Between w_min and w_max; exactly 1 for a rollout that cannot be compared."""
    num_dropped_B: Int[Tensor, " B"]
    """Response tokens whose gap was not finite."""


def gate_rollouts(
    pos_BT: Float[Tensor, "B T"],  # log pi_t(y | x, z+), nats
    neg_BT: Float[Tensor, "B T"],  # log pi_t(y | x, z-), nats
    response_BT: Bool[Tensor, "B T"],  # True on response tokens, EOS included
    question_B: Int[Tensor, " B"],  # siblings share a number; they need not be neighbours
    config: GateConfig,
) -> Gate:
    """Weigh each rollout by what the evidence adds to it, relative to its siblings (arXiv 2606.25319, eq. 17-20).

    A gap that is not finite (a token impossible under a view) is left out of the score and counted. A rollout without
    any finite gap, an empty answer for one, says nothing about the evidence: its weight is 1, and its siblings are
    compared without it. So is a group of one, and a group whose scores are equal: weight exactly 1.
    Values outside response_BT may be anything. Computed in float32 or, when a log-prob is float64, in float64.
    """
    gap_BT = widened(pos_BT.detach()) - widened(neg_BT.detach())
    kept_BT = response_BT & gap_BT.isfinite()
    gap_BT = gap_BT.where(kept_BT, 0.0)
    score_B = _score(gap_BT, kept_BT, config.gamma)
    advantage_B = _advantage(score_B, kept_BT.any(1), question_B, config.eps)
    return Gate(
        gap_BT=gap_BT,
        kept_BT=kept_BT,
        score_B=score_B,
        advantage_B=advantage_B,
        weight_B=(1.0 + config.alpha * advantage_B).clip(config.w_min, config.w_max),
        num_dropped_B=(response_BT & ~kept_BT).sum(1),
    )


def answer_tokens(
    ids_BT: Int[Tensor, "B T"],
    response_BT: Bool[Tensor, "B T"],
    opened_B: Bool[Tensor, " B"],  # True where the prompt itself begins a thought
    begin_id: int,
    end_id: int,
) -> Bool[Tensor, "B T"]:
    """Return True on the response tokens behind the last end of a thought; on none where a thought has no end."""
    begins_BT, ends_BT = (response_BT & (ids_BT == token) for token in (begin_id, end_id))
    cut_off_B = begins_BT.sum(1) + opened_B > ends_BT.sum(1)
    thought_BT = ends_BT.flip(1).cumsum(1).flip(1) > 0  # up to and with the last end
    return response_BT & ~thought_BT & ~cut_off_B[:, None]


def widened(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the numbers in float32 at least: differences of bfloat16 log-probs keep two or three digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _score(gap_BT: Float[Tensor, "B T"], kept_BT: Bool[Tensor, "B T"], gamma: float) -> Float[Tensor, " B"]:
    """Mean over the kept tokens of relu(gap) - gamma * relu(-gap)."""
    priced_BT = gap_BT.relu() - gamma * (-gap_BT).relu()
    # Divide by kept tokens, not T: a long pad must not make a short answer look unsure.
    return priced_BT.sum(1) / kept_BT.sum(1).clamp(min=1)


def _advantage(
    score_B: Float[Tensor, " B"],
    scored_B: Bool[Tensor, " B"],  # False: left out of its group
    question_B: Int[Tensor, " B"],
    eps: float,
) -> Float[Tensor, " B"]:
    """(score - mean over siblings) / (population standard deviation + eps), the rollout itself among the siblings."""
    sibling_BB = (question_B[:, None] == question_B) & scored_B & scored_B[:, None]
    num_siblings_B = sibling_BB.sum(1).clamp(min=1)
    # The mean of differences, not the difference to a mean: equal scores then give exactly 0, whatever their size.
    above_B = (score_B[:, None] - score_B).where(sibling_BB, 0.0).sum(1) / num_siblings_B
    variance_B = above_B.square().where(sibling_BB, 0.0).sum(1) / num_siblings_B
    return above_B / (variance_B.sqrt() + eps)
