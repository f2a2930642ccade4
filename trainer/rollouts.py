"""The Rollouts record: answers of the student, as token ids. Every engine in rollout/ makes this record.
Leaves out: sampling (rollout/sample.py), scoring (engine/models.py), weights (gate.py).

B rollouts   T response positions (padded on the right to the longest answer)"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from jaxtyping import Bool, Float, Int
from pydantic import ConfigDict
from torch import Tensor

from viewgen.settings import STRICT, Range, check_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """Number, temperature and length of the sampled answers."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    num_siblings: Annotated[int, Range(ge=1)] = 8
    """Answers per question, G; >= 1. The paper has 8."""
    temperature: Annotated[float, Range(ge=0)] = 1.0
    """Temperature of sampling; 0 takes the likeliest token. Student and teacher are scored at it as well, so that
    sampled tokens are priced under the distribution they came from."""
    max_new_tokens: Annotated[int, Range(ge=1, unit="tokens")] = 2048
    """Tokens of an answer at most, EOS included. The paper has 2048."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Siblings stand side by side, in order of their questions."""

    ids_BT: Int[Tensor, "B T"]
    """Sampled tokens; anything at padding."""
    response_BT: Bool[Tensor, "B T"]
    """True on response tokens, EOS included."""
    question_B: Int[Tensor, " B"]
    """Row of the prompt that was answered."""
    logp_BT: Float[Tensor, "B T"]
    """Under the distribution that was sampled from, nats; 0 at padding."""
    plain_logp_BT: Float[Tensor, "B T"]
    """At temperature 1 over the whole vocabulary, nats; 0 at padding."""
    truncated_B: Bool[Tensor, " B"]
    """True where the length limit came before EOS."""
    temperature: float
    """At which they were sampled; whoever scores them scores at the same."""

    @property
    def num_rows(self) -> int:
        return len(self.question_B)

    def rows(self, part: slice) -> Rollouts:
        """Return the rollouts of some rows."""
        return replace(
            self,
            ids_BT=self.ids_BT[part],
            response_BT=self.response_BT[part],
            question_B=self.question_B[part],
            logp_BT=self.logp_BT[part],
            plain_logp_BT=self.plain_logp_BT[part],
            truncated_B=self.truncated_B[part],
        )

    def micro_batches(self, size: int) -> Iterator[slice]:
        """Slices of `size` rows; 0 takes all rows at once."""
        step = size or self.num_rows
        for start in range(0, self.num_rows, step):
            yield slice(start, min(start + step, self.num_rows))
