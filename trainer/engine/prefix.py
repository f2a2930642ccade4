"""A prompt computed once and shared by all that continues it, with gradient or without, exactly.
A Prefix is the state of a model after some tokens, for several rows: `extend` reads further tokens, `branch` gives rows
their own copies, `Trunk` lets many micro-batches run backward above one prefix and the prefix itself once.
Leaves out: what the tokens mean (prompts.py), images (families.py), the states (states.py), sampling (rollout/).

B rows   L new tokens   P columns already cached   D hidden size   V vocabulary
Rows of one call may differ in length: the shorter ones are padded on the right. Padding is harmless for the tokens before
it; what follows is told by `real_BP` which columns to skip. A model whose state is not a plain list of tokens (linear
attention, sliding windows) could not skip them, so its rows are never padded before something that continues them:
see `pads_freely`. Where a model's state cannot be shared, a Prefix is the text so far, and reading reads it all again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from trainer.engine.families import ImageFeatures, can_pack_siblings, family_of, model_features, read_whole, token_kinds
from trainer.engine.states import copy_cache, empty_cache, join_caches


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Tokens of one row to read next, and the features whose placeholders are among them, in order."""

    ids: tuple[int, ...]
    features: tuple[ImageFeatures, ...] = ()

    def then(self, more: Segment) -> Segment:
        """Return both, one after the other."""
        return Segment(self.ids + more.ids, self.features + more.features)


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """The state of a model after some tokens, one row per sequence."""

    cache: Cache | None
    """None where it cannot be shared."""
    real_BP: Bool[Tensor, "B P"]
    """False on padding columns."""
    position_B: Int[Tensor, " B"]
    """Position of the next token."""
    last_BD: Float[Tensor, "B D"]
    """Hidden state of each row's last token: it predicts the next one."""
    texts: tuple[Segment, ...] = ()
    """All that each row has read, where there is no cache."""

    @property
    def num_rows(self) -> int:
        return len(self.position_B)


def extend(model: PreTrainedModel, prefix: Prefix | None, segments: Sequence[Segment]) -> tuple[Tensor, Prefix]:
    """Read one segment per row on top of a prefix (or of nothing).

    Returns the hidden states of the new tokens (B, L, D) and the prefix after them; the prefix given is left as it was.
    Rows shorter than L are padded on the right; their states at padding are meaningless."""
    if family_of(model) is None:
        return _extend_whole(model, prefix, segments)
    device = model.device
    lengths = [len(segment.ids) for segment in segments]
    ids_BL = torch.zeros(len(segments), max(lengths), dtype=torch.long)
    for row, segment in zip(ids_BL, segments, strict=True):
        row[: len(segment.ids)] = torch.tensor(segment.ids)
    length_B = torch.tensor(lengths)
    real_BL = torch.arange(max(lengths)) < length_B[:, None]
    start_B = torch.zeros(len(segments), dtype=torch.long) if prefix is None else prefix.position_B.cpu()
    position, next_B = _positions(model, segments, ids_BL, start_B)
    features = [feature for segment in segments for feature in segment.features]
    real_BX = real_BL.to(device) if prefix is None else torch.cat([prefix.real_BP, real_BL.to(device)], 1)
    mask = _padding_mask(real_BX, ids_BL.shape[1])
    hidden_BLD, cache = _forward(model, ids_BL.to(device), position.to(device), mask, prefix, features)
    last_BD = hidden_BLD[torch.arange(len(segments), device=device), (length_B - 1).to(device)]
    return hidden_BLD, Prefix(cache, real_BX, next_B.to(device), last_BD)


def extend_ids(
    model: PreTrainedModel, prefix: Prefix, ids_BL: Int[Tensor, "B L"], real_BL: Bool[Tensor, "B L"]
) -> tuple[Tensor, Prefix]:
    """Read plain tokens, right-padded, on top of a prefix: `extend` without features and without Python per row."""
    if prefix.cache is None:
        rows = zip(ids_BL.tolist(), real_BL.sum(1).tolist(), strict=True)
        hidden_BLD, after = _extend_whole(model, prefix, [Segment(tuple(ids[:length])) for ids, length in rows])
        return F.pad(hidden_BLD, (0, 0, 0, ids_BL.shape[1] - hidden_BLD.shape[1])), after
    steps = torch.arange(ids_BL.shape[1], device=ids_BL.device)
    position = _axes(model, prefix.position_B[:, None] + steps)
    real_BX = torch.cat([prefix.real_BP, real_BL], 1)
    hidden_BLD, cache = _forward(model, ids_BL, position, _padding_mask(real_BX, len(steps)), prefix, ())
    length_B = real_BL.sum(1)
    last_BD = hidden_BLD[torch.arange(len(ids_BL), device=ids_BL.device), length_B - 1]
    return hidden_BLD, Prefix(cache, real_BX, prefix.position_B + length_B, last_BD)


def extend_siblings(
    model: PreTrainedModel,
    prefix: Prefix,
    row_B: Int[Tensor, " B"],
    ids_BL: Int[Tensor, "B L"],
    real_BL: Bool[Tensor, "B L"],
) -> Float[Tensor, "B L D"]:
    """Return hidden states of plain tokens, right-padded, that row b reads on top of row row_B[b] of a prefix.

    Where padding is harmless, siblings lie one after another in a single row under a mask that hides them from each
    other, so that none needs a copy of the prefix: reading them costs their own tokens and nothing else."""
    if not can_pack_siblings(model):
        return extend_ids(model, branch(prefix, row_B), ids_BL, real_BL)[0]
    width, length = prefix.real_BP.shape[1], ids_BL.shape[1]
    # More tokens side by side than the prefix has would pay more for attention among strangers than copies cost.
    fold = _fold(row_B, max(width // length, 1))
    ids_NFL = ids_BL.new_zeros(len(fold.row_N), fold.num_slots, length)
    ids_NFL[fold.group_B, fold.slot_B] = ids_BL
    base = branch(prefix, fold.row_N)
    steps_L = torch.arange(length, device=ids_BL.device)
    position_NFL = (base.position_B[:, None, None] + steps_L).expand_as(ids_NFL)
    mask = _sibling_mask(base.real_BP, fold.num_slots, length, model.dtype)
    hidden_NXD, _ = _forward(model, ids_NFL.flatten(1), _axes(model, position_NFL.flatten(1)), mask, base, ())
    return hidden_NXD.view(*ids_NFL.shape, -1)[fold.group_B, fold.slot_B]


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """Assignment of rollouts to rows, and to slots in them."""

    row_N: Int[Tensor, " N"]
    """Row of the prefix that each group continues."""
    group_B: Int[Tensor, " B"]
    slot_B: Int[Tensor, " B"]
    num_slots: int


def _fold(row_B: Int[Tensor, " B"], most: int) -> _Fold:
    """Group rollouts on top of equal rows, at most `most` in a group, in whatever order they come."""
    order_B = row_B.argsort(stable=True)
    sorted_B = row_B[order_B]
    place_B = torch.empty_like(order_B)
    place_B[order_B] = torch.arange(len(row_B), device=row_B.device) - torch.searchsorted(sorted_B, sorted_B)
    key_B = row_B * len(row_B) + place_B // most
    key_N, group_B = torch.unique(key_B, return_inverse=True)
    return _Fold(key_N // len(row_B), group_B, place_B % most, min(int(place_B.max()) + 1, most))


def _sibling_mask(
    real_NP: Bool[Tensor, "N P"], num_slots: int, length: int, dtype: torch.dtype
) -> Float[Tensor, "N 1 X PX"]:
    """Return the additive mask of X = slots * length tokens, 0 or -inf: each attends to the prefix and to its own
    sibling's tokens up to itself."""
    place_X = torch.arange(num_slots * length, device=real_NP.device)
    slot_X = place_X // length
    own_XX = (slot_X[:, None] == slot_X) & (place_X[:, None] >= place_X)
    # -inf, not a large number: strangers weigh exactly 0 in every precision, so siblings do not shift each other.
    seen = torch.cat([real_NP[:, None].expand(-1, len(own_XX), -1), own_XX.expand(len(real_NP), -1, -1)], 2)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)[:, None]


def branch(prefix: Prefix, row_N: Int[Tensor, " N"]) -> Prefix:
    """Return a prefix of N rows, row n a copy of row row_N[n]; differentiable, and the given prefix stays untouched."""
    row_N = row_N.to(prefix.last_BD.device)
    if torch.equal(row_N, torch.arange(prefix.num_rows, device=row_N.device)):
        return prefix  # whoever reads on top copies what it changes
    cache = prefix.cache and copy_cache(prefix.cache, lambda state: state.index_select(0, row_N))
    last_ND = prefix.last_BD.index_select(0, row_N)
    texts = tuple(prefix.texts[row] for row in row_N.tolist()) if prefix.texts else ()
    return Prefix(cache, prefix.real_BP[row_N], prefix.position_B[row_N], last_ND, texts)


def join(prefixes: Sequence[Prefix]) -> Prefix:
    """Join the rows of several prefixes, in order. Shorter ones are padded on the left; the padding is masked out."""
    if len(prefixes) == 1:
        return prefixes[0]
    caches = [prefix.cache for prefix in prefixes if prefix.cache is not None]
    widths = [prefix.real_BP.shape[1] for prefix in prefixes]
    real_BP = torch.cat([F.pad(p.real_BP, (max(widths) - p.real_BP.shape[1], 0)) for p in prefixes])
    position_B = torch.cat([prefix.position_B for prefix in prefixes])
    last_BD = torch.cat([prefix.last_BD for prefix in prefixes])
    texts = tuple(text for prefix in prefixes for text in prefix.texts)
    return Prefix(join_caches(caches, widths) if caches else None, real_BP, position_B, last_BD, texts)


class Trunk:
    """A prefix with its graph, cut off from what grows on it, so that the backward pass of the prefix runs once.

    Work on `tip`, call backward as often as there are micro-batches, then `backward()` once: the gradients that have
    gathered at the cut go down through the prefix. Peak memory holds one prefix and one micro-batch."""

    def __init__(self, prefix: Prefix) -> None:
        self._roots: list[Tensor] = []
        self._leaves: list[Tensor] = []
        cache = prefix.cache and copy_cache(prefix.cache, self._cut)
        self.tip = replace(prefix, cache=cache, last_BD=self._cut(prefix.last_BD))

    def _cut(self, state: Tensor) -> Tensor:
        # A leaf gathers the gradients of all micro-batches by addition; the graph below it is walked once, not once each.
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


def _forward(
    model: PreTrainedModel,
    ids_BL: Tensor,
    position: Tensor,
    mask: Tensor | None,
    prefix: Prefix | None,
    features: Sequence[ImageFeatures],
) -> tuple[Tensor, Cache]:
    family = family_of(model)
    assert family is not None
    if prefix is None:
        cache, num_before = empty_cache(model), 0
    else:
        assert prefix.cache is not None
        cache, num_before = copy_cache(prefix.cache, lambda state: state), prefix.real_BP.shape[1]
    out = model.model(
        input_ids=ids_BL,
        position_ids=position,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
        mm_encoder_outputs=model_features(family, features),
        **(token_kinds(model, family, ids_BL, num_before) if features else {}),
    )
    return out.last_hidden_state, out.past_key_values


def _padding_mask(real_BX: Bool[Tensor, "B X"], num_new: int) -> Int[Tensor, "B X"] | None:
    """Return the mask of padding, or None where nothing before the new tokens is padding: trailing padding needs no
    mask, as nothing real looks ahead, and no mask is the fast path of every kernel."""
    return None if bool(real_BX[:, : real_BX.shape[1] - num_new].all()) else real_BX.long()


def _axes(model: PreTrainedModel, position_BL: Int[Tensor, "B L"]) -> Int[Tensor, "..."]:
    """Return positions of text as the model takes them: three times over where images have a height and a width too."""
    return position_BL.expand(3, -1, -1) if hasattr(model.model, "get_rope_index") else position_BL


def _extend_whole(model: PreTrainedModel, prefix: Prefix | None, segments: Sequence[Segment]) -> tuple[Tensor, Prefix]:
    """Extend without sharing: read each row by itself from its first token on."""
    texts = tuple(segments)
    if prefix is not None:
        texts = tuple(before.then(more) for before, more in zip(prefix.texts, segments, strict=True))
    states = [read_whole(model, torch.tensor(text.ids), text.features) for text in texts]
    new = [state[-len(more.ids) :] for state, more in zip(states, segments, strict=True)]
    position_B = torch.tensor([len(text.ids) for text in texts], device=model.device)
    real_BP = torch.ones(len(texts), 0, dtype=torch.bool, device=model.device)
    after = Prefix(None, real_BP, position_B, torch.stack([state[-1] for state in states]), texts)
    return pad_sequence(new, batch_first=True), after


def _positions(
    model: PreTrainedModel, segments: Sequence[Segment], ids_BL: Tensor, start_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Return position ids of the new tokens and of the token after them. A segment's positions are those it would have
    alone, moved on by where it starts: both image blocks and text count on from the largest position before them."""
    if not hasattr(model.model, "get_rope_index"):
        length_B = torch.tensor([len(segment.ids) for segment in segments])
        return start_B[:, None] + torch.arange(ids_BL.shape[1]), start_B + length_B
    position_3BL = torch.zeros(3, *ids_BL.shape, dtype=torch.long)
    next_B = start_B.clone()
    known: dict[tuple[object, ...], Tensor] = {}  # rows alike in length, placeholders and grids share their positions
    for row, segment in enumerate(segments):
        ids_L = ids_BL[row, : len(segment.ids)]
        image_L = ids_L == model.config.image_token_id
        grids = [feature.inputs["image_grid_thw"].cpu() for feature in segment.features]
        key = (tuple(image_L.tolist()), tuple(tuple(grid[0].tolist()) for grid in grids))
        if key not in known:
            alone = model.model.get_rope_index(
                ids_L[None],
                mm_token_type_ids=image_L[None].int(),
                image_grid_thw=torch.cat(grids) if grids else None,
            )[0]
            known[key] = alone[:, 0]
        position_3BL[:, row, : len(ids_L)] = known[key] + start_B[row]
        next_B[row] = start_B[row] + int(known[key].max()) + 1
    return position_3BL, next_B
