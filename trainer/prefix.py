"""A prompt computed once and shared by all that continues it, with gradient or without, exactly.
A Prefix is the state of a model after some tokens, for several rows: `extend` reads further tokens, `branch` gives rows
their own copies, `Trunk` lets many micro-batches run backward above one prefix and the prefix itself once.
Leaves out: what the tokens mean (prompts.py), sampling (rollout/), and what the hidden states are used for.

B rows   L new tokens   P columns already cached   D hidden size   V vocabulary
Rows of one call may differ in length: the shorter ones are padded on the right. Padding is harmless for the tokens before
it; what follows is told by `real_BP` which columns to skip. A model whose state is not a plain list of tokens (linear
attention, sliding windows) could not skip them, so its rows are never padded before something that continues them:
see `pads_freely`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image after the vision tower: what stands in for its placeholder tokens. Computed once, read anywhere."""

    grid: tuple[int, int, int]
    """Patches along time, height and width."""
    embeds: Float[Tensor, "N D"]
    deepstack: tuple[Float[Tensor, "N D"], ...] = ()
    """Further features that some models add to their first layers."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Tokens of one row to read next, and the pictures whose placeholders are among them, in order."""

    ids: tuple[int, ...]
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """The state of a model after some tokens, one row per sequence."""

    cache: Cache
    real_BP: Bool[Tensor, "B P"]
    """False on padding columns."""
    position_B: Int[Tensor, " B"]
    """Position of the next token."""
    last_BD: Float[Tensor, "B D"]
    """Hidden state of each row's last token: it predicts the next one."""

    @property
    def num_rows(self) -> int:
        return len(self.position_B)


def pads_freely(model: PreTrainedModel) -> bool:
    """Whether padding in the middle of a row can be masked out: plain attention in every layer."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None)
    return kinds is None or set(kinds) == {"full_attention"}


def see(model: PreTrainedModel, pixels: Float[Tensor, "S K"], grids: Int[Tensor, "I 3"]) -> list[Picture]:
    """Run the vision tower once over I images whose patches lie one after another (S patches of K numbers)."""
    features = model.model.get_image_features(pixels, grids, return_dict=True)
    stacks = [tuple(layer[i] for layer in getattr(features, "deepstack_features", ())) for i in range(len(grids))]
    sizes = [tuple(int(n) for n in grid) for grid in grids.tolist()]
    return [
        Picture((size[0], size[1], size[2]), embeds, stack)
        for size, embeds, stack in zip(sizes, features.pooler_output, stacks, strict=True)
    ]


def extend(model: PreTrainedModel, prefix: Prefix | None, segments: Sequence[Segment]) -> tuple[Tensor, Prefix]:
    """Read one segment per row on top of a prefix (or of nothing).

    Returns the hidden states of the new tokens (B, L, D) and the prefix after them; the prefix given is left as it was.
    Rows shorter than L are padded on the right; their states at padding are meaningless."""
    device = model.device
    lengths = [len(segment.ids) for segment in segments]
    ids_BL = torch.zeros(len(segments), max(lengths), dtype=torch.long)
    for row, segment in zip(ids_BL, segments, strict=True):
        row[: len(segment.ids)] = torch.tensor(segment.ids)
    length_B = torch.tensor(lengths)
    real_BL = torch.arange(max(lengths)) < length_B[:, None]
    start_B = torch.zeros(len(segments), dtype=torch.long) if prefix is None else prefix.position_B.cpu()
    position, next_B = _positions(model, segments, ids_BL, start_B)
    pictures = [picture for segment in segments for picture in segment.pictures]
    hidden_BLD, cache = _forward(
        model, ids_BL.to(device), position.to(device), real_BL.to(device), prefix, _features(pictures)
    )
    before_BP = real_BL[:, :0] if prefix is None else prefix.real_BP
    last_BD = hidden_BLD[torch.arange(len(segments), device=device), (length_B - 1).to(device)]
    after = Prefix(cache, torch.cat([before_BP.to(device), real_BL.to(device)], 1), next_B.to(device), last_BD)
    return hidden_BLD, after


def extend_ids(
    model: PreTrainedModel, prefix: Prefix, ids_BL: Int[Tensor, "B L"], real_BL: Bool[Tensor, "B L"]
) -> tuple[Tensor, Prefix]:
    """Read plain tokens, right-padded, on top of a prefix: `extend` without pictures and without Python per row."""
    steps = torch.arange(ids_BL.shape[1], device=ids_BL.device)
    position_BL = prefix.position_B[:, None] + steps
    position = position_BL.expand(3, -1, -1) if hasattr(model.model, "get_rope_index") else position_BL
    hidden_BLD, cache = _forward(model, ids_BL, position, real_BL, prefix, None)
    length_B = real_BL.sum(1)
    last_BD = hidden_BLD[torch.arange(len(ids_BL), device=ids_BL.device), length_B - 1]
    return hidden_BLD, Prefix(cache, torch.cat([prefix.real_BP, real_BL], 1), prefix.position_B + length_B, last_BD)


def branch(prefix: Prefix, row_N: Int[Tensor, " N"]) -> Prefix:
    """A prefix of N rows, row n a copy of row row_N[n]; differentiable, and the given prefix stays untouched."""
    row_N = row_N.to(prefix.last_BD.device)
    cache = _copy(prefix.cache, lambda state: state.index_select(0, row_N))
    return Prefix(cache, prefix.real_BP[row_N], prefix.position_B[row_N], prefix.last_BD.index_select(0, row_N))


def join(prefixes: Sequence[Prefix]) -> Prefix:
    """All rows of several prefixes in one, in order. Shorter ones are padded on the left; the padding is masked out."""
    if len(prefixes) == 1:
        return prefixes[0]
    width = max(prefix.real_BP.shape[1] for prefix in prefixes)
    widened = [_copy(p.cache, partial(_pad_left, num=width - p.real_BP.shape[1]), tokens=True) for p in prefixes]
    cache = copy.copy(widened[0])
    cache.layers = [_join_layers(layers) for layers in zip(*(c.layers for c in widened), strict=True)]
    real_BP = torch.cat([F.pad(p.real_BP, (width - p.real_BP.shape[1], 0)) for p in prefixes])
    position_B = torch.cat([prefix.position_B for prefix in prefixes])
    return Prefix(cache, real_BP, position_B, torch.cat([prefix.last_BD for prefix in prefixes]))


class Trunk:
    """A prefix with its graph, cut off from what grows on it, so that the backward pass of the prefix runs once.

    Work on `tip`, call backward as often as there are micro-batches, then `backward()` once: the gradients that have
    gathered at the cut go down through the prefix. Peak memory holds one prefix and one micro-batch."""

    def __init__(self, prefix: Prefix) -> None:
        self._roots: list[Tensor] = []
        self._leaves: list[Tensor] = []
        cache = _copy(prefix.cache, self._cut)
        self.tip = Prefix(cache, prefix.real_BP, prefix.position_B, self._cut(prefix.last_BD))

    def _cut(self, state: Tensor) -> Tensor:
        leaf = state.detach().requires_grad_(state.requires_grad)
        if state.requires_grad:
            self._roots.append(state)
            self._leaves.append(leaf)
        return leaf

    def backward(self) -> None:
        """Send the gradients gathered at the cut through the prefix."""
        pairs = [(r, leaf.grad) for r, leaf in zip(self._roots, self._leaves, strict=True) if leaf.grad is not None]
        if pairs:
            torch.autograd.backward([root for root, _ in pairs], [grad for _, grad in pairs])


def head(model: PreTrainedModel) -> nn.Linear:
    """Hidden states -> logits."""
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert isinstance(output, nn.Linear)
    return output


def _forward(
    model: PreTrainedModel,
    ids_BL: Tensor,
    position: Tensor,
    real_BL: Tensor,
    prefix: Prefix | None,
    features: dict[str, Any] | None,
) -> tuple[Tensor, Cache]:
    if prefix is None:
        cache: Cache = DynamicCache(config=model.config.get_text_config())
        real_BP = real_BL
    else:
        cache, real_BP = _copy(prefix.cache, lambda state: state), torch.cat([prefix.real_BP, real_BL], 1)
    out = model.model(
        input_ids=ids_BL,
        position_ids=position,
        # Trailing padding needs no mask (nothing real looks ahead), and no mask is the fast path of every kernel.
        attention_mask=None if bool(real_BP[:, : real_BP.shape[1] - ids_BL.shape[1]].all()) else real_BP.long(),
        past_key_values=cache,
        use_cache=True,
        mm_encoder_outputs=features,
    )
    return out.last_hidden_state, out.past_key_values


def _positions(
    model: PreTrainedModel, segments: Sequence[Segment], ids_BL: Tensor, start_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Position ids of the new tokens and of the token after them. A segment's positions are those it would have alone,
    moved on by where it starts: both image blocks and text count on from the largest position before them."""
    if not hasattr(model.model, "get_rope_index"):
        length_B = torch.tensor([len(segment.ids) for segment in segments])
        return start_B[:, None] + torch.arange(ids_BL.shape[1]), start_B + length_B
    position_3BL = torch.zeros(3, *ids_BL.shape, dtype=torch.long)
    next_B = start_B.clone()
    known: dict[tuple[object, ...], Tensor] = {}  # rows alike in length, placeholders and grids share their positions
    for row, segment in enumerate(segments):
        ids_L = ids_BL[row, : len(segment.ids)]
        image_L = ids_L == model.config.image_token_id
        grids = tuple(picture.grid for picture in segment.pictures)
        key = (tuple(image_L.tolist()), grids)
        if key not in known:
            alone = model.model.get_rope_index(
                ids_L[None],
                mm_token_type_ids=image_L[None].int(),
                image_grid_thw=torch.tensor(grids) if grids else None,
            )[0]
            known[key] = alone[:, 0]
        position_3BL[:, row, : len(ids_L)] = known[key] + start_B[row]
        next_B[row] = start_B[row] + int(known[key].max()) + 1
    return position_3BL, next_B


def _features(pictures: Sequence[Picture]) -> dict[str, Any] | None:
    """Pictures in the form in which a model's forward takes features that were computed before."""
    if not pictures:
        return None
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    layers: Any = list(zip(*(picture.deepstack for picture in pictures), strict=True))
    embeds: Any = tuple(picture.embeds for picture in pictures)
    return {"image": BaseModelOutputWithDeepstackFeatures(pooler_output=embeds, deepstack_features=layers)}


def _states(layer: Any) -> Iterator[tuple[dict[Any, Any], Any]]:  # noqa: ANN401 - cache layers share no useful type
    """(owner, key) of every state tensor in a layer of a cache."""
    if hasattr(layer, "recurrent_states"):
        for states in (layer.conv_states, layer.recurrent_states):
            yield from ((states, index) for index in states)
    if isinstance(layer, DynamicLayer) and layer.is_initialized:
        yield layer.__dict__, "keys"
        yield layer.__dict__, "values"


def _pad_left(state_BHPK: Tensor, num: int) -> Tensor:
    return F.pad(state_BHPK, (0, 0, num, 0))


def _join_layers(layers: Sequence[Any]) -> Any:  # noqa: ANN401
    """One layer of a cache with the rows of all."""
    joined = layers[0]
    for spots in zip(*(list(_states(layer)) for layer in layers), strict=True):
        owner, key = spots[0]
        owner[key] = torch.cat([o[k] for o, k in spots])
    return joined


def _copy(cache: Cache, change: Callable[[Tensor], Tensor], tokens: bool = False) -> Cache:
    """A cache of its own whose states are change(state); with `tokens`, only the states that grow with each token."""
    twin = copy.copy(cache)
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in twin.layers:
        for name in ("conv_states", "recurrent_states"):
            if hasattr(layer, name):
                setattr(layer, name, dict(getattr(layer, name)))
        for owner, key in list(_states(layer)):
            if owner[key] is not None and (not tokens or owner is layer.__dict__):
                owner[key] = change(owner[key])
        _keep_graph(layer)
    return twin


def _keep_graph(layer: Any) -> None:  # noqa: ANN401
    """Linear-attention layers write into their state, which autograd forbids: let a copy assign instead."""
    if hasattr(layer, "recurrent_states"):
        layer.update_conv_state = MethodType(_assign_conv, layer)
        layer.update_recurrent_state = MethodType(_assign_recurrent, layer)


def _assign_conv(self: Any, conv_states: Tensor, state_idx: int = 0, **_: object) -> Tensor:  # noqa: ANN401
    full = torch.cat([self.conv_states[state_idx], conv_states], -1)
    self.conv_states[state_idx] = full[..., -self.conv_kernel_size[state_idx] :]
    return full


def _assign_recurrent(self: Any, recurrent_states: Tensor, state_idx: int = 0, **_: object) -> Tensor:  # noqa: ANN401
    self.recurrent_states[state_idx] = recurrent_states
    return recurrent_states
