"""Tiny random models of the real classes, for tests of the engine and the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    PreTrainedModel,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

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
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def attention_model() -> PreTrainedModel:
    """Qwen3-VL: attention in every layer, deepstack features in the first."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [3, 3, 2], "mrope_interleaved": True}
    text = {**TEXT, "num_hidden_layers": 2, "rope_parameters": rope}
    vision = {**VISION, "deepstack_visual_indexes": [0]}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **IDS))


def hybrid_model() -> PreTrainedModel:
    """Qwen3.5: three linear-attention layers for each attention layer."""
    heads = {"linear_num_value_heads": 4, "linear_num_key_heads": 2}
    dims = {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
    text = {**TEXT, "num_hidden_layers": 4, **heads, **dims}
    return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=VISION, **IDS))


@pytest.fixture(params=[attention_model, hybrid_model], ids=["attention", "hybrid"])
def tiny_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    make: Callable[[], PreTrainedModel] = request.param
    torch.manual_seed(0)
    model = make()
    model.eval()  # type: ignore[no-untyped-call]
    return model
