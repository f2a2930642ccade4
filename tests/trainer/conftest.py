"""Tiny random models of the real classes, and images as each of them takes them, for tests of the engine and the step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from trainer.engine.families import family_of
from trainer.engine.prompts import Pixels

IDS: dict[str, Any] = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 1,
    "out_hidden_size": 64,
    "num_position_embeddings": 64,
}
TEXT: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIGLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}


def qwen3_vl() -> PreTrainedModel:
    """Attention in every layer, deepstack features in the first."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [3, 3, 2], "mrope_interleaved": True}
    text = {**TEXT, "rope_parameters": rope}
    vision = {**VISION, "deepstack_visual_indexes": [0]}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **IDS))


def qwen3_5() -> PreTrainedModel:
    """Three linear-attention layers for each attention layer."""
    heads = {"linear_num_value_heads": 4, "linear_num_key_heads": 2}
    dims = {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
    text = {**TEXT, "num_hidden_layers": 4, **heads, **dims}
    return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=VISION, **IDS))


def qwen2_5_vl() -> PreTrainedModel:
    """Windows in the vision tower, plain attention behind it."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    text = {**TEXT, **SPECIAL, "rope_parameters": rope}
    vision = {**VISION, "window_size": 16, "fullatt_block_indexes": [1]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **IDS))


def smolvlm() -> PreTrainedModel:
    """Cut an image into tiles, each with its own placeholders."""
    text = {**TEXT, **SPECIAL, "model_type": "llama"}
    config = SmolVLMConfig(text_config=text, vision_config=SIGLIP, image_token_id=5, scale_factor=2)
    return SmolVLMForConditionalGeneration(config)


def idefics3() -> PreTrainedModel:
    """Tiles too; the older of the two."""
    text = {**TEXT, **SPECIAL, "model_type": "llama"}
    config = Idefics3Config(text_config=text, vision_config=SIGLIP, image_token_id=5, scale_factor=2)
    return Idefics3ForConditionalGeneration(config)


def llava_onevision() -> PreTrainedModel:
    """Tiles whose features are packed into one picture, with the picture's own shape."""
    text = {**TEXT, **SPECIAL, "model_type": "qwen2"}
    vision = {**SIGLIP, "model_type": "siglip_vision_model", "vision_use_head": False}
    config = LlavaOnevisionConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=5,
        video_token_index=6,
        image_grid_pinpoints=[[16, 16], [16, 32], [32, 16], [32, 32]],
    )
    return LlavaOnevisionForConditionalGeneration(config)


def internvl() -> PreTrainedModel:
    """Tiles, each of them a batch row of the tower."""
    vision = {**SIGLIP, "image_size": [16, 16], "patch_size": [4, 4]}
    text = {**TEXT, **SPECIAL, "model_type": "qwen2"}
    config = InternVLConfig(text_config=text, vision_config=vision, image_token_id=5, image_seq_length=4)
    return InternVLForConditionalGeneration(config)


def gemma3() -> PreTrainedModel:
    """Windows shorter than the prompts, and images that attend in both directions."""
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    text = {**TEXT, **SPECIAL, "num_hidden_layers": 3, "layer_types": kinds, "sliding_window": 8}
    ids: dict[str, Any] = {"image_token_index": 5, "boi_token_index": 3, "eoi_token_index": 4, "mm_tokens_per_image": 4}
    vision = {**SIGLIP, "vision_use_head": False}
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config={**text, "query_pre_attn_scalar": 16}, vision_config=vision, **ids)
    )


def lfm2_vl() -> PreTrainedModel:
    """Convolutions that write into their state: a family that does not share."""
    text = {**TEXT, **SPECIAL, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    vision = {**SIGLIP, "num_patches": 16, "vision_use_head": False}
    vision.pop("image_size")
    config = Lfm2VlConfig(text_config=text, vision_config=vision, image_token_id=5, projector_hidden_size=32)
    return Lfm2VlForConditionalGeneration(config)


SHARING: dict[str, Callable[[], PreTrainedModel]] = {
    make.__name__: make
    for make in (qwen3_5, qwen3_vl, qwen2_5_vl, smolvlm, idefics3, llava_onevision, internvl, gemma3)
}
MODELS = {**SHARING, "lfm2_vl": lfm2_vl}
Paint = Callable[[PreTrainedModel, int, int, int], Pixels]


def tiny(name: str) -> PreTrainedModel:
    """Return a model with seeded weights, ready for use."""
    torch.manual_seed(0)
    model = MODELS[name]()
    model.eval()  # type: ignore[no-untyped-call]
    return model


def picture(model: PreTrainedModel, seed: int, rows: int, columns: int) -> Pixels:
    """Noise of about rows x columns patches of 4 x 4 pixels, as the model's image processor would hand it over."""
    inputs = _inputs(model.config.model_type, seed, rows, columns)
    if "image_grid_thw" in inputs:
        return Pixels(inputs, "", rows * columns // 4)
    with torch.no_grad():
        features = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    return Pixels(inputs, "", sum(part.numel() for part in features) // 64)


def _inputs(family: str, seed: int, rows: int, columns: int) -> dict[str, Tensor]:
    """Return what a family's image processor hands over for one image."""

    def noise(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=Generator().manual_seed(seed))

    tiles = max(rows * columns // 16, 1)
    if family.startswith("qwen"):
        return {"pixel_values": noise(rows * columns, 48), "image_grid_thw": torch.tensor([[1, rows, columns]])}
    if family in ("smolvlm", "idefics3"):
        mask = torch.ones(1, tiles, 16, 16, dtype=torch.bool)
        return {"pixel_values": noise(1, tiles, 3, 16, 16), "pixel_attention_mask": mask}
    if family == "llava_onevision":
        high, wide = 1 + (rows > 4), 1 + (columns > 4)
        return {
            "pixel_values": noise(1, 1 + high * wide, 3, 16, 16),
            "image_sizes": torch.tensor([[4 * rows, 4 * columns]]),
        }
    if family == "lfm2_vl":
        shape = torch.tensor([[rows, columns]])
        mask = torch.ones(1, rows * columns, dtype=torch.long)
        return {"pixel_values": noise(1, rows * columns, 48), "spatial_shapes": shape, "pixel_attention_mask": mask}
    return {"pixel_values": noise(tiles if family == "internvl" else 1, 3, 16, 16)}


@pytest.fixture
def paint() -> Paint:
    """Make images for a model: from a seed, rows and columns."""
    return picture


@pytest.fixture
def tiny_named() -> Callable[[str], PreTrainedModel]:
    """Make the model of a family."""
    return tiny


@pytest.fixture(params=list(MODELS))
def tiny_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each family that shares, and one that does not (its warning has a test of its own)."""
    model = tiny(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        family_of(model)
    return model


@pytest.fixture(params=list(SHARING))
def sharing_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each family that shares."""
    return tiny(request.param)


@pytest.fixture
def lonely_model() -> PreTrainedModel:
    """Return a model of a family that does not share."""
    return tiny("lfm2_vl")
