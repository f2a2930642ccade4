"""AdamW and its schedule, for weights of any precision.
Leaves out: gradients (step.py), clipping and saving (loop.py, checkpoint.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor
from torch.optim import AdamW

from viewgen.settings import STRICT, Range, SettingValueError, check_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its schedule."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    lr: Annotated[float, Range(gt=0)] = 1e-6
    """Peak learning rate; > 0. The paper has 1e-6."""
    lr_end: Annotated[float, Range(ge=0)] = 1e-6
    """Learning rate at the last step, reached by half a cosine; 0..lr."""
    warmup_steps: Annotated[int, Range(ge=0, unit="steps")] = 0
    """Steps of linear rise from 0."""
    weight_decay: Annotated[float, Range(ge=0)] = 0.0
    """Weight decay of AdamW; >= 0."""
    beta1: Annotated[float, Range(ge=0, lt=1)] = 0.9
    """Decay of AdamW's mean gradient. 0.9, as AdamW's own paper."""
    beta2: Annotated[float, Range(ge=0, lt=1)] = 0.999
    """Decay of AdamW's mean squared gradient."""
    clip_norm: Annotated[float, Range(gt=0)] = 1.0
    """Largest norm of the whole gradient; > 0. The paper has 1."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.lr_end > self.lr:
            raise SettingValueError("lr_end", self.lr_end, f"at most lr, {self.lr:g}", "Lower it or raise lr.")


class TwinAdamW(AdamW):
    """AdamW whose steps are never rounded away: a weight of 16 bits follows a float32 twin, which takes the steps.

    bfloat16 keeps 8 bits, so that a weight of 0.03 moves by 1e-4 or not at all, and a learning rate of 1e-6 would move
    nothing. Weights of float32 are their own twins."""

    def __init__(self, weights: Sequence[Tensor], config: OptimizerConfig) -> None:
        self.weights = list(weights)
        self._twins = [weight.detach().float() if weight.element_size() < 4 else weight for weight in self.weights]
        betas = (config.beta1, config.beta2)
        super().__init__(self._twins, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=True)

    @property
    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Weights that have a twin, and the twin."""
        return [pair for pair in zip(self.weights, self._twins, strict=True) if pair[0] is not pair[1]]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients of the weights."""
        for weight, twin in self._pairs:
            twin.grad = None if weight.grad is None else weight.grad.float()
        super().step()
        for weight, twin in self._pairs:
            weight.copy_(twin)
            twin.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the weights."""
        for weight in self.weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        """All that going on exactly needs beside the weights."""
        return {**super().state_dict(), "twins": [twin for _, twin in self._pairs]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state. Raises KeyError or ValueError when it is that of other weights."""
        state = dict(state_dict)
        twins = state.pop("twins")
        super().load_state_dict(state)
        for (_, twin), saved in zip(self._pairs, twins, strict=True):
            twin.copy_(saved)


def lr_at(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Learning rate of step 0, 1, ..., num_steps - 1: a linear rise, then half a cosine down to lr_end."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(num_steps - 1 - config.warmup_steps, 1)
    return config.lr_end + (config.lr - config.lr_end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
