"""What differs between families of vision-language models: how images go in, and whether the state after a prompt can be
branched. A family that is not in the table still trains: every row is then read on its own, whole, with a warning.
Leaves out: the states themselves (states.py), and sharing (prefix.py).

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
    """How a family of models takes images that were looked at before."""

    title: str
    layers: str = "attention"
    """What its layers are, in words."""
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
class Picture:
    """One image after the vision tower: what stands in for its placeholder tokens. Computed once, read anywhere."""

    embeds: Float[Tensor, "N D"] | None
    """None where the model's family does not share: then it looks at `inputs` anew each time it reads."""
    deepstack: tuple[Float[Tensor, "N D"], ...] = ()
    """Further features that some models add to their first layers."""
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """What else reading needs of the image: its grid, where positions follow it; all of it where embeds is None."""


def read_apart(model: PreTrainedModel) -> None:
    """Have the model, and every copy made of it, read each answer with its whole prompt: to compare with, or to doubt."""
    vars(model)["reads_apart"] = True


def family_of(model: PreTrainedModel) -> Family | None:
    """The model's family, or None where the state after its prompts cannot be shared (said once) or shall not be."""
    if getattr(model, "reads_apart", False):
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


def pads_freely(model: PreTrainedModel) -> bool:
    """Whether padding in the middle of a row can be masked out: plain attention in every layer, or no sharing at all."""
    return family_of(model) is None or layer_kinds(model) == {DynamicLayer}


def folds(model: PreTrainedModel) -> bool:
    """Whether siblings may lie in one row: plain attention in every layer, by a kernel that takes a mask of our own."""
    plain = family_of(model) is not None and layer_kinds(model) == {DynamicLayer}
    return plain and model.config.get_text_config(decoder=True)._attn_implementation in ("sdpa", "eager")


def eyes(model: PreTrainedModel) -> list[nn.Parameter]:
    """The weights behind an image's features: the vision tower, and what carries its output over to the text model."""
    text = {id(weight) for weight in model.get_decoder().parameters()}  # type: ignore[no-untyped-call]
    return [weight for weight in model.model.parameters() if id(weight) not in text]


def see(model: PreTrainedModel, images: Sequence[Pixels]) -> list[Picture]:
    """Run the vision tower once over several images. A family that does not share looks later."""
    moved = [{name: _to(model, tensor) for name, tensor in image.inputs.items()} for image in images]
    if family_of(model) is None:
        return [Picture(None, inputs=inputs) for inputs in moved]
    look = model.model.get_image_features
    features = look(**_accepted(look, stack_inputs(moved)), return_dict=True)
    sizes = [image.num_tokens for image in images]
    embeds = torch.split(_flat(features.pooler_output), sizes)
    layers = [torch.split(_flat(layer), sizes) for layer in getattr(features, "deepstack_features", ())]
    grids = [{name: tensor for name, tensor in inputs.items() if name == "image_grid_thw"} for inputs in moved]
    stacks = [tuple(layer[i] for layer in layers) for i in range(len(images))]
    return [Picture(*parts) for parts in zip(embeds, stacks, grids, strict=True)]


def features_of(family: Family, pictures: Sequence[Picture]) -> dict[str, Any] | None:
    """Pictures in the form in which a model's forward takes features that were computed before."""
    if not pictures:
        return None
    listed = [picture.embeds for picture in pictures if picture.embeds is not None]
    embeds: Any = listed if family.listed else torch.cat(listed)
    layers: Any = list(zip(*(picture.deepstack for picture in pictures), strict=True))
    return {"image": BaseModelOutputWithDeepstackFeatures(pooler_output=embeds, deepstack_features=layers)}


def token_kinds(
    model: PreTrainedModel, family: Family, ids_BL: Int[Tensor, "B L"], num_before: int
) -> dict[str, Int[Tensor, "B PL"]]:
    """Which tokens are an image's, for families that must be told; of the cached columns no new token is a part."""
    if not family.seen_both_ways:
        return {}
    return {"token_type_ids": F.pad((ids_BL == model.config.image_token_id).long(), (num_before, 0))}


def read_whole(model: PreTrainedModel, ids_L: Int[Tensor, " L"], pictures: Sequence[Picture]) -> Float[Tensor, "L D"]:
    """The plain computation: one row from its first token to its last, images and all, nothing kept."""
    ids_1L = ids_L[None].to(model.device)
    image_1L = (ids_1L == model.config.image_token_id).long()
    given = {**stack_inputs([picture.inputs for picture in pictures])} if pictures else {}
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
    """Which families share, in Markdown: the table in docs/engine.md."""
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
