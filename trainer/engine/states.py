"""The state that a model's layers keep of tokens they have read: copied, cut, joined and checkpointed, with its gradient.
Leaves out: whose rows these are (prefix.py), and which models may share at all (families.py).

B rows   H heads   P columns already cached   K size of a head"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, cat, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    LinearAttentionLayer,
)

Change = Callable[[Tensor], Tensor]


def empty_cache(model: PreTrainedModel) -> Cache:
    """Return the state before the first token."""
    return DynamicCache(config=model.config.get_text_config(decoder=True))


_kinds: WeakKeyDictionary[PreTrainedModel, frozenset[type]] = WeakKeyDictionary()


def layer_kinds(model: PreTrainedModel) -> frozenset[type]:
    """Return the kinds of state that the model's layers keep."""
    if model not in _kinds:
        _kinds[model] = frozenset(type(layer) for layer in empty_cache(model).layers)
    return _kinds[model]


def copy_cache(cache: Cache, change: Change) -> Cache:
    """Copy a cache, with change(state) as its state tensors."""
    twin = copy.copy(cache)
    twin.layers = [_copy_layer(layer, change) for layer in cache.layers]
    return twin


def join_caches(caches: Sequence[Cache], widths: Sequence[int]) -> Cache:
    """All rows of several caches in one; `widths` are their columns. Shorter ones are padded on the left."""
    joined = copy.copy(caches[0])
    layers = zip(*(cache.layers for cache in caches), strict=True)
    joined.layers = [_join_layers(those, widths) for those in layers]
    return joined


@contextmanager
def checkpointed(model: PreTrainedModel) -> Iterator[None]:
    """Within, a layer keeps its input and its state for the backward pass and computes the rest again.

    The library's own checkpointing switches the cache off; here each layer writes into a copy of its state, so that
    computing it again finds the state as it was."""
    layers = _decoder_layers(model)
    for index, layer in enumerate(layers):
        layer.forward = partial(_checkpointed_forward, layer.forward, index)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    layers = model.get_decoder().layers  # type: ignore[no-untyped-call]
    assert isinstance(layers, nn.ModuleList)
    return layers


def _checkpointed_forward(forward: Callable[..., Any], index: int, hidden: Tensor, *args: Any, **given: Any) -> Any:  # noqa: ANN401
    cache: Cache | None = given.get("past_key_values")
    if cache is None or not is_grad_enabled():
        return forward(hidden, *args, **given)
    before = cache.layers[index]

    def run(hidden: Tensor) -> tuple[Any, Any]:
        mine = copy.copy(cache)
        mine.layers = list(cache.layers)
        mine.layers[index] = _copy_layer(before, lambda state: state)
        return forward(hidden, *args, **{**given, "past_key_values": mine}), mine.layers[index]

    # Outputs leave as they are, the state among them: its keys and values carry their gradient.
    # Models are in evaluation mode: without dropout there is no random state to restore.
    out, cache.layers[index] = checkpoint(run, hidden, use_reentrant=False, preserve_rng_state=False)
    return out


def _states(layer: Any) -> Iterator[tuple[dict[Any, Any], Any]]:  # noqa: ANN401 - cache layers share no useful type
    """Yield (owner, key) of every state tensor in a layer of a cache."""
    if isinstance(layer, LinearAttentionLayer):
        for states in (layer.conv_states, layer.recurrent_states):
            yield from ((states, index) for index, state in states.items() if state is not None)
    if isinstance(layer, DynamicLayer) and layer.is_initialized:
        yield layer.__dict__, "keys"
        yield layer.__dict__, "values"


def _copy_layer(layer: Any, change: Change) -> Any:  # noqa: ANN401
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict):  # linear attention keeps its states, and what it knows of them, by number
            setattr(twin, name, dict(value))
    for owner, key in list(_states(twin)):
        changed = change(owner[key])
        # Linear attention writes a single new token into its state in place, and must not into another's.
        owner[key] = changed.clone() if changed is owner[key] and owner is not twin.__dict__ else changed
    if isinstance(twin, LinearAttentionLayer) and all(twin.has_previous_state.values()):
        # It would write into its state, which autograd forbids: let a copy assign instead.
        twin.update_conv_state = MethodType(_assign_conv, twin)  # type: ignore[method-assign]
        twin.update_recurrent_state = MethodType(_assign_recurrent, twin)  # type: ignore[method-assign]
    return twin


def _join_layers(layers: Sequence[Any], widths: Sequence[int]) -> Any:  # noqa: ANN401
    """Join the rows of several layers of a cache into one."""
    joined = _copy_layer(layers[widths.index(max(widths))], lambda state: state)
    for (owner, key), *spots in list(zip(_states(joined), *(_states(layer) for layer in layers), strict=True)):
        parts = [theirs[name] for theirs, name in spots]
        owner[key] = cat(_padded_left(parts) if owner is joined.__dict__ else parts)
    return joined


def _padded_left(states_BHPK: Sequence[Float[Tensor, "_ H _ K"]]) -> list[Tensor]:
    """States of one width. A sliding window holds its last columns, so on the left is where it is short as well."""
    width = max(state.shape[-2] for state in states_BHPK)
    return [F.pad(state, (0, 0, width - state.shape[-2], 0)) for state in states_BHPK]


def _assign_conv(self: Any, conv_states: Tensor, state_idx: int = 0, **_: object) -> Tensor:  # noqa: ANN401
    # Assigned, not written in place: the convolution of the tokens before still needs its state for the backward pass.
    full = cat([self.conv_states[state_idx], conv_states], -1)
    self.conv_states[state_idx] = full[..., -self.conv_kernel_size[state_idx] :]
    return full


def _assign_recurrent(self: Any, recurrent_states: Tensor, state_idx: int = 0, **_: object) -> Tensor:  # noqa: ANN401
    self.recurrent_states[state_idx] = recurrent_states
    return recurrent_states
