"""Models of usual size with random weights, saved as their libraries save them: what grounding_speed.py runs.
Leaves out: anything that they could find; the time that a pass takes does not depend on its weights."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    SwinConfig,
)
from transformers.utils import logging as transformers_logging

PAD, UNKNOWN, START, END, DOT, QUESTION = 0, 100, 101, 102, 1012, 1029
"""BERT's numbers: GroundingDino's class has those that part phrases written into its code."""
WORDS = ("the", "red", "circle", "blue", "square")


def save_clip(folder: Path, name: str = "ViT-B-32") -> str:
    """One of open_clip's own architectures; returns what a recipe calls it."""
    torch.manual_seed(0)
    config = open_clip.get_model_config(name)
    net = open_clip.CLIP(**config)
    folder.mkdir(parents=True)
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    told = {
        "model_cfg": config,
        "preprocess_cfg": {**preprocess, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    weights = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def save_dino(folder: Path, edge_px: int) -> str:
    """Return a Grounding DINO with Swin-T, three layers each of encoder and decoder, and a small BERT, which reads
    images at `edge_px` on the shorter side; returns what a recipe calls it."""
    torch.manual_seed(0)
    swin = SwinConfig(image_size=224, window_size=7, out_features=["stage2", "stage3", "stage4"])  # type: ignore[call-arg]
    text = BertConfig(
        vocab_size=1100, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024
    )
    config = GroundingDinoConfig(backbone_config=swin, text_config=text, encoder_layers=3, decoder_layers=3)
    net = GroundingDinoForObjectDetection(config)
    net.model.text_projection.weight.data.mul_(0.02)  # or every score would be 0 or 1
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    net.save_pretrained(folder)
    words = [f"[unused{number}]" for number in range(1100)]
    named = {PAD: "[PAD]", UNKNOWN: "[UNK]", START: "[CLS]", END: "[SEP]", DOT: ".", QUESTION: "?"}
    named |= {104 + number: word for number, word in enumerate(WORDS)} | {103: "[MASK]"}
    for number, word in named.items():
        words[number] = word
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, model_max_length=256)
    images = GroundingDinoImageProcessor(size={"shortest_edge": edge_px, "longest_edge": 2 * edge_px})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return str(folder)
