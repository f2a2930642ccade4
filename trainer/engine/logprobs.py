"""Compute log-probs of given tokens, and divergences from a teacher's distributions, from hidden states, a chunk of
logits at a time.
Leaves out: reading prompts (tree.py), student and teacher (models.py).

B rollouts   T response positions   N response tokens   D hidden size   V vocabulary
Log-probs are in nats, at the temperature that sampled the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainer.engine.head import LogitHead
from trainer.gate import widened
from trainer.loss import exact_divergence

LOGITS_AT_ONCE = 2**24
"""Numbers of a chunk of logits: 64 MB in float32, whatever the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A teacher's log-probs of given tokens under given prompts."""

    logp_BT: Float[Tensor, "B T"]
    """0 at padding."""
    hidden_BTD: Float[Tensor, "B T D"]
    """The states that predict each token: with `output`, the whole distribution, before the vocabulary makes it large."""
    output: LogitHead
    """Hidden states -> logits."""

    def rows(self, part: slice) -> Scores:
        """Return the scores of some rows."""
        return Scores(logp_BT=self.logp_BT[part], hidden_BTD=self.hidden_BTD[part], output=self.output)


def all_rows(parts: Sequence[Scores]) -> Scores:
    """Concatenate the scores of consecutive micro-batches."""
    logp_BT, hidden_BTD = torch.cat([p.logp_BT for p in parts]), torch.cat([p.hidden_BTD for p in parts])
    return Scores(logp_BT=logp_BT, hidden_BTD=hidden_BTD, output=parts[0].output)


def token_terms(
    output: LogitHead,
    hidden_ND: Float[Tensor, "N D"],
    ids_N: Int[Tensor, " N"],
    temperature: float,
    teacher: tuple[LogitHead, Float[Tensor, "N D"]] | None,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"] | None]:
    """Return log-probs of the tokens and, given a teacher's states, KL(student || teacher) of each position. Logits
    exist a chunk at a time and are computed again for backward, so a large vocabulary costs time, not memory."""

    def chunk(hidden: Tensor, ids: Tensor, teacher_hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        logits = widened(output(hidden)) / (temperature or 1.0)
        logp = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        if teacher is None or teacher_hidden is None:
            return logp, None
        with torch.no_grad():
            teacher_logits = widened(teacher[0](teacher_hidden)) / (temperature or 1.0)
        # Two models of one tokenizer may pad their vocabularies to different lengths.
        shared = min(logits.shape[-1], teacher_logits.shape[-1])
        return logp, exact_divergence(logits[:, :shared], teacher_logits[:, :shared])

    size = max(LOGITS_AT_ONCE // output.out_features, 1)
    save = torch.is_grad_enabled() and len(ids_N) > size
    found = []
    for start in range(0, max(len(ids_N), 1), size):
        part = slice(start, start + size)
        given = (hidden_ND[part], ids_N[part], None if teacher is None else teacher[1][part])
        found.append(checkpoint(chunk, *given, use_reentrant=False) if save else chunk(*given))
    divergences = [divergence for _, divergence in found if divergence is not None]
    return torch.cat([logp for logp, _ in found]), torch.cat(divergences) if divergences else None


def spread(values_N: Float[Tensor, " N"], mask_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Put values back into the masked positions, 0 elsewhere."""
    return values_N.new_zeros(mask_BT.shape).masked_scatter(mask_BT, values_N)
