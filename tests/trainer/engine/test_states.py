"""What a checkpointed prefix keeps between its forward and its backward pass."""

from __future__ import annotations

import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, UntypedStorage, nn
from transformers import PreTrainedModel

from trainer.engine.prefix import Segment, extend
from trainer.engine.states import checkpointed

TEXT = Segment(tuple(range(20, 60)))


def kept(model: PreTrainedModel, checkpoint: bool) -> int:
    """How many outputs of the linear maps within layers are still held for the backward pass."""
    seen: list[weakref.ref[UntypedStorage]] = []

    def remember(_module: nn.Module, _given: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append(weakref.ref(out.untyped_storage()))

    maps = [part for part in model.get_decoder().layers.modules() if isinstance(part, nn.Linear)]  # type: ignore[no-untyped-call]
    hooks = [part.register_forward_hook(remember) for part in maps]
    with checkpointed(model) if checkpoint else nullcontext():
        hidden, prefix = extend(model, None, [TEXT])
    alive = sum(one() is not None for one in seen)
    torch.autograd.backward(hidden.sum() + prefix.last_BD.sum())
    for hook in hooks:
        hook.remove()
    return alive


def test_a_checkpointed_prefix_holds_states_alone(sharing_model: PreTrainedModel) -> None:
    layers = sharing_model.config.get_text_config().num_hidden_layers
    assert kept(sharing_model, checkpoint=False) >= 2 * layers  # both factors of each feed-forward gate at the least
    assert kept(sharing_model, checkpoint=True) == 0


def fail_while_checkpointed(model: PreTrainedModel) -> None:
    with checkpointed(model):
        raise ZeroDivisionError


def test_layers_are_themselves_again_behind_the_block_whatever_happened(sharing_model: PreTrainedModel) -> None:
    with checkpointed(sharing_model):
        assert all("forward" in vars(layer) for layer in sharing_model.get_decoder().layers)  # type: ignore[no-untyped-call]
    with pytest.raises(ZeroDivisionError):
        fail_while_checkpointed(sharing_model)
    assert not any("forward" in vars(layer) for layer in sharing_model.get_decoder().layers)  # type: ignore[no-untyped-call]


def test_a_checkpointed_prefix_is_read_once_forward_and_once_again_for_backward(sharing_model: PreTrainedModel) -> None:
    calls = []
    first = next(p for p in sharing_model.get_decoder().layers[0].modules() if isinstance(p, nn.Linear))  # type: ignore[no-untyped-call]
    first.register_forward_hook(lambda *_: calls.append(1))
    with checkpointed(sharing_model):
        hidden, prefix = extend(sharing_model, None, [TEXT])
        more, _ = extend(sharing_model, prefix, [Segment((61, 62))])
    assert len(calls) == 2
    torch.autograd.backward(hidden.sum() + more.sum())
    assert len(calls) == 4
