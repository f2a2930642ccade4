"""Describe the families of vision-language models: the form in which they take image features, and the layers whose
state can be branched. A family that is not in the table still trains: each row is then read whole by itself, with a
warning.
Leaves out: the states themselves (states.py), sharing (prefix.py).

N tokens of an image   D hidden size   B rows   L tokens   P columns already cached"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from trainer.engine.prompts import Pixels, stack_inputs
from trainer.engine.states import layer_kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The form in which a family of models takes image features that were computed before."""

    title: str
    layers: str = "attention"
    """Kinds of its layers, in words."""
    kinds: frozenset[type] = frozenset({DynamicLayer})
    """The kinds of state that its layers may keep. Families whose text model can be exchanged share only with these."""
    listed: bool = True
    """It takes a list with each image's features; else one tensor of all."""
    seen_both_ways: bool = False
    """Tokens of one image attend to each other in both directions, so the model must be told which they are."""


SLIDING = frozenset({DynamicLayer, DynamicSlidingWindowLayer})
HYBRID = frozenset({DynamicLayer, LinearAttentionLayer})
FAMILIES: Mapping[str, Family] = {
    "qwen3_5": Family(title="Qwen3.5", layers="attention and linear attention", kinds=HYBRID),
    "qwen3_vl": Family(title="Qwen3-VL"),
    "qwen2_5_vl": Family(title="Qwen2.5-VL"),
    "smolvlm": Family(title="SmolVLM"),
    "idefics3": Family(title="Idefics3"),
    "llava_onevision": Family(title="LLaVA-OneVision"),
    "internvl": Family(title="InternVL", listed=False),
    "gemma3": Family(
        title="Gemma 3", layers="attention and sliding windows", kinds=SLIDING, listed=False, seen_both_ways=True
    ),
}
"""By the model's own `model_type`. Each is tested against the plain computation."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Features of one image that stand in for its placeholder tokens. Computed once, read anywhere."""

    embeds: Float[Tensor, "N D"] | None
    """None where the model's family does not share: it then encodes `inputs` anew each time it reads."""
    deepstack: tuple[Float[Tensor, "N D"], ...] = ()
    """Further features that some models add to their first layers."""
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """Further inputs of the image: its grid, where positions follow it; all inputs where embeds is None."""


def disable_sharing(model: PreTrainedModel) -> None:
    """Make the model, and every copy of it, read each answer with its whole prompt: to compare with the shared form."""
    vars(model)["sharing_is_disabled"] = True


def family_of(model: PreTrainedModel) -> Family | None:
    """Return the model's family, or None where the state after its prompts cannot be shared (warned once) or shall not
    be."""
    if getattr(model, "sharing_is_disabled", False):
        return None
    family = FAMILIES.get(model.config.model_type)
    if family is not None and layer_kinds(model) <= family.kinds:
        return family
    _warn_once(str(model.config.model_type), str(model.config.get_text_config(decoder=True).model_type))
    return None


_warned: set[tuple[str, str]] = set()


def _warn_once(model_type: str, text_type: str) -> None:
    if (model_type, text_type) in _warned:
        return
    _warned.add((model_type, text_type))
    warnings.warn(
        f"A model of type {model_type!r} with text layers of type {text_type!r} does not share prompts: each answer is "
        f"read with its whole prompt, which is right but slow. Types that share: {', '.join(FAMILIES)}.",
        stacklevel=3,
    )


def can_pad_inside(model: PreTrainedModel) -> bool:
    """Return True when padding inside a row can be masked out: plain attention in every layer, or no sharing at all."""
    return family_of(model) is None or layer_kinds(model) == {DynamicLayer}


def can_pack_siblings(model: PreTrainedModel) -> bool:
    """Return True when siblings may lie in one row: plain attention in every layer, by a kernel that takes our mask."""
    plain = family_of(model) is not None and layer_kinds(model) == {DynamicLayer}
    return plain and model.config.get_text_config(decoder=True)._attn_implementation in ("sdpa", "eager")


def vision_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """Return the weights behind an image's features: the vision tower and the projector to the text model."""
    text = {id(weight) for weight in model.get_decoder().parameters()}  # type: ignore[no-untyped-call]
    return [weight for weight in model.model.parameters() if id(weight) not in text]


def encode_images(model: PreTrainedModel, images: Sequence[Pixels]) -> list[ImageFeatures]:
    """Run the vision tower once over several images. A family that does not share runs it later."""
    moved = [{name: _to(model, tensor) for name, tensor in image.inputs.items()} for image in images]
    if family_of(model) is None:
        return [ImageFeatures(None, inputs=inputs) for inputs in moved]
    look = model.model.get_image_features
    features = look(**_accepted(look, stack_inputs(moved)), return_dict=True)
    sizes = [image.num_tokens for image in images]
    embeds = torch.split(_flat(features.pooler_output), sizes)
    layers = [torch.split(_flat(layer), sizes) for layer in getattr(features, "deepstack_features", ())]
    grids = [{name: tensor for name, tensor in inputs.items() if name == "image_grid_thw"} for inputs in moved]
    stacks = [tuple(layer[i] for layer in layers) for i in range(len(images))]
    return [ImageFeatures(*parts) for parts in zip(embeds, stacks, grids, strict=True)]


def model_features(family: Family, features: Sequence[ImageFeatures]) -> dict[str, Any] | None:
    """Return image features in the form that a model's forward takes."""
    if not features:
        return None
    listed = [feature.embeds for feature in features if feature.embeds is not None]
    embeds: Any = listed if family.listed else torch.cat(listed)
    layers: Any = list(zip(*(feature.deepstack for feature in features), strict=True))
    return {"image": BaseModelOutputWithDeepstackFeatures(pooler_output=embeds, deepstack_features=layers)}


def token_kinds(
    model: PreTrainedModel, family: Family, ids_BL: Int[Tensor, "B L"], num_before: int
) -> dict[str, Int[Tensor, "B PL"]]:
    """Return the token types that mark images, for families that need them; cached columns belong to no new image."""
    if not family.seen_both_ways:
        return {}
    return {"token_type_ids": F.pad((ids_BL == model.config.image_token_id).long(), (num_before, 0))}


def read_whole(
    model: PreTrainedModel, ids_L: Int[Tensor, " L"], features: Sequence[ImageFeatures]
) -> Float[Tensor, "L D"]:
    """Compute one row plainly, from its first token to its last, images included; no state is kept."""
    ids_1L = ids_L[None].to(model.device)
    image_1L = (ids_1L == model.config.image_token_id).long()
    given = {**stack_inputs([feature.inputs for feature in features])} if features else {}
    given |= {"token_type_ids": image_1L, "mm_token_type_ids": image_1L}
    forward = model.model.forward
    hidden_LD: Tensor = model.model(input_ids=ids_1L, use_cache=False, **_accepted(forward, given)).last_hidden_state[0]
    return hidden_LD


def never_ids(model: PreTrainedModel) -> list[int]:
    """Placeholders of images and videos, and what brackets them: an answer must not contain them."""
    placeholders, bounds = ("image_token_id", "video_token_id"), ("vision_start_token_id", "vision_end_token_id")
    names = (*placeholders, *bounds, "boi_token_index", "eoi_token_index")
    found = {getattr(model.config, name, None) for name in names}
    return sorted(i for i in found if i is not None)


def sharing_table() -> str:
    """Return the table of families in docs/engine.md, in Markdown."""
    rows = [f"| {f.title} | `{name}` | {f.layers} | computed once |" for name, f in FAMILIES.items()]
    head = ["| family | `model_type` | layers | prompt |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, "| any other | any other | any | read again for each answer |"]) + "\n"


def _to(model: PreTrainedModel, tensor: Tensor) -> Tensor:
    return tensor.to(model.device, model.dtype) if tensor.is_floating_point() else tensor.to(model.device)


def _accepted(function: Callable[..., Any], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the inputs that a function takes by name."""
    known = inspect.signature(function).parameters
    return {name: tensor for name, tensor in given.items() if name in known}


def _flat(features: Tensor | Sequence[Tensor]) -> Float[Tensor, "N D"]:
    """Features of all images one after another, however a model hands them out."""
    parts = [features] if isinstance(features, Tensor) else features
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
