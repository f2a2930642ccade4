"""Steps that 16 bits would round away add up, and weights of 32 bits are stepped as ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW

from trainer.optimizer import OptimizerConfig, TwinAdamW

SMALL = OptimizerConfig(lr=1e-6, lr_end=1e-6)


def weights(dtype: torch.dtype) -> list[Tensor]:
    return [torch.full((3,), 0.03, dtype=dtype, requires_grad=True), torch.ones(2, 2, dtype=dtype, requires_grad=True)]


def slope(weight: Tensor, step: int) -> Tensor:
    return torch.cos(torch.arange(weight.numel()) + step).reshape(weight.shape).to(weight.dtype)


def run(optimizer: AdamW, found: list[Tensor], steps: range, gradient: Callable[[Tensor, int], Tensor]) -> None:
    for step in steps:
        for weight in found:
            weight.grad = gradient(weight, step)
        optimizer.step()
        optimizer.zero_grad()
        assert all(weight.grad is None for weight in found)


def ones(weight: Tensor, _: int) -> Tensor:
    return torch.ones_like(weight)


def test_steps_that_bfloat16_would_round_away_add_up() -> None:
    plain, ours = weights(torch.bfloat16), weights(torch.bfloat16)
    run(AdamW(plain, lr=1e-6, weight_decay=0.0), plain, range(1000), ones)
    run(TwinAdamW(ours, SMALL), ours, range(1000), ones)
    assert plain[0].equal(weights(torch.bfloat16)[0])
    assert ours[0].dtype == torch.bfloat16
    # Adam's step is the learning rate where the gradient stays the same: 1,000 of 1e-6.
    assert ours[0].float().tolist() == pytest.approx([0.03 - 1e-3] * 3, abs=2**-14)


def test_float32_weights_are_stepped_as_adamw_steps_them() -> None:
    plain, ours = weights(torch.float32), weights(torch.float32)
    run(AdamW(plain, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1, fused=True), plain, range(5), slope)
    optimizer = TwinAdamW(ours, OptimizerConfig(lr=1e-2, lr_end=0.0, beta1=0.9, beta2=0.95, weight_decay=0.1))
    run(optimizer, ours, range(5), slope)
    assert all(mine.equal(theirs) for mine, theirs in zip(ours, plain, strict=True))
    assert optimizer.state_dict()["twins"] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_going_on_from_a_state_ends_where_never_stopping_does(dtype: torch.dtype) -> None:
    config = OptimizerConfig(lr=1e-3, lr_end=0.0)
    whole, first = weights(dtype), weights(dtype)
    optimizer = TwinAdamW(whole, config)
    run(optimizer, whole, range(20), slope)
    half = TwinAdamW(first, config)
    run(half, first, range(9), slope)
    state = half.state_dict()
    second = [weight.detach().clone().requires_grad_() for weight in first]
    going_on = TwinAdamW(second, config)
    going_on.load_state_dict(state)
    run(going_on, second, range(9, 20), slope)
    assert all(mine.equal(theirs) for mine, theirs in zip(second, whole, strict=True))
    twins = zip(going_on.state_dict()["twins"], optimizer.state_dict()["twins"], strict=True)
    assert all(mine.equal(theirs) for mine, theirs in twins)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_without_a_gradient_stays_as_it_is(dtype: torch.dtype) -> None:
    moved, still = weights(dtype)
    optimizer = TwinAdamW([moved, still], OptimizerConfig(lr=0.1, lr_end=0.1, weight_decay=0.5))
    moved.grad = torch.ones_like(moved)
    optimizer.step()
    assert not moved.equal(weights(dtype)[0])
    assert still.equal(weights(dtype)[1])


def test_the_state_of_weights_of_another_precision_is_refused() -> None:
    state = TwinAdamW(weights(torch.float32), SMALL).state_dict()
    with pytest.raises(ValueError, match="shorter"):
        TwinAdamW(weights(torch.bfloat16), SMALL).load_state_dict(state)
