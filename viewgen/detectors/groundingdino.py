"""Load and run Grounding DINO from the groundingdino-py package, with its official checkpoints.
Leaves out: the network itself (groundingdino_net.py), tiles (tiles.py). Imports torch: only load_detector() imports
this module.

Phrases are scored by their own tokens; the package's decoded phrases are never used, as they merge phrases.
Shapes: B images of H x W pixels, Q queries, T tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase

from viewgen.detectors.captions import Caption, captions, scores
from viewgen.detectors.groundingdino_net import ARCHITECTURES, Architecture
from viewgen.detectors.loading import device_of, fastest_batch, hash_of, located, reading
from viewgen.detectors.protocol import HUB, DetectorConfig
from viewgen.detectors.tiles import Hit, Look, TiledDetector, hits
from viewgen.errors import ModelError, brief

MAX_TOKENS = 256
OFFICIAL_FILES = {"swin-t": "groundingdino_swint_ogc.pth", "swin-b": "groundingdino_swinb_cogcoor.pth"}
SPARE = frozenset({"label_enc.weight", "bert.embeddings.position_ids"})
"""Weights of the official checkpoints without a place in the network: one for training, and a constant."""
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def load_groundingdino(
    config: DetectorConfig, architectures: Mapping[str, Architecture] = ARCHITECTURES
) -> TiledDetector:
    """Load the checkpoint and the tokenizer that the settings name.

    Raises ModelError when either is missing, or the checkpoint does not fit the named architecture."""
    device = device_of(config)
    path = _checkpoint_path(config)
    weights = _read_weights(path)
    architecture = architectures[config.architecture]
    net = architecture.built(_tokenizer(config.text_encoder, architecture))
    _fit(net, weights, path, config.architecture, architectures)
    models = MappingProxyType({config.model_name: hash_of([path])})
    return TiledDetector(GroundingDinoNetwork(config, net.to(device), architecture, device, models), config)


@dataclass(frozen=True, slots=True)
class GroundingDinoNetwork:
    """Grounding DINO as a Network: pixels and captions in, hits out."""

    config: DetectorConfig
    net: Any
    architecture: Architecture
    device: torch.device
    models: Mapping[str, str]
    name: str = "groundingdino"

    @property
    def tile_px(self) -> int:
        return self.architecture.short_px

    @property
    def min_px(self) -> int:
        return 1

    @property
    def batch_size(self) -> int:
        return fastest_batch(self.net, self.device)

    def read_size(self, width: int, height: int) -> tuple[int, int]:
        return read_size(width, height, self.architecture.short_px, self.architecture.long_px)

    def alike(self, look: Look) -> tuple[int, ...]:
        return self.read_size(*look.size)  # images of one size need no padding, which would change their boxes

    def captions(self, phrases: Sequence[str]) -> tuple[Caption, ...]:
        return captions(phrases, lambda text: offsets(self.net.tokenizer, text), MAX_TOKENS)

    def prepare(self, looks: Sequence[Look]) -> Float[Tensor, "B 3 H W"]:
        """Resize and normalise pixels as the package does for evaluation."""
        size = self.read_size(*looks[0].size)
        images = (look.pixels().resize(size, resample=2) for look in looks)
        pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
        return (pixels / 255 - _MEAN) / _STD

    def read(self, looks: Sequence[Look], prepared: Float[Tensor, "B 3 H W"]) -> list[list[Hit]]:
        with reading(self.config, self.device):
            found = self.net(prepared.to(self.device), captions=[look.caption.text for look in looks])
            token_BQT = found["pred_logits"].float().sigmoid().cpu().numpy()
            box_BQ4 = found["pred_boxes"].float().cpu().numpy()
        return [
            hits(look.caption, corners(box_Q4, *look.size), scores(token_QT, look.caption), self.config)
            for look, box_Q4, token_QT in zip(looks, box_BQ4, token_BQT, strict=True)
        ]


def read_size(width: int, height: int, short_px: int, long_px: int) -> tuple[int, int]:
    """Return width and height after DETR's resizing: the shorter side becomes short_px, unless the longer one would
    exceed long_px.

    read_size(640, 480, 800, 1333)    # (1066, 800)
    """
    short, long = min(width, height), max(width, height)
    if long / short * short_px > long_px:
        short_px = max(1, round(long_px * short / long))
    other = int(short_px * long / short)
    return (short_px, other) if width < height else (other, short_px)


def corners(box_Q4: Float[np.ndarray, "Q 4"], width: int, height: int) -> Float[np.ndarray, "Q 4"]:
    """Convert boxes from centre x and y, width and height, as shares of an image, to x0, y0, x1, y1 in its pixels."""
    middle_Q2, half_Q2 = box_Q4[:, :2], box_Q4[:, 2:] / 2
    shares_Q4 = np.concatenate([middle_Q2 - half_Q2, middle_Q2 + half_Q2], axis=1)
    pixels_Q4: Float[np.ndarray, "Q 4"] = shares_Q4 * np.array([width, height] * 2, dtype=shares_Q4.dtype)
    return pixels_Q4


def offsets(tokenizer: PreTrainedTokenizerBase, text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each token in characters, end outside, without special tokens."""
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [(first, last) for first, last in read["offset_mapping"]]


def _checkpoint_path(config: DetectorConfig) -> Path:
    name = config.model_name
    file = OFFICIAL_FILES[config.architecture]
    path = located(name, [file])
    if name.startswith(HUB):
        path = path / file
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is not there"
        raise ModelError(f"{path}: {found}. Expected a checkpoint file (.pth or .safetensors), such as {file}.")
    return path


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        read = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a broken file raises many kinds
        raise ModelError(f"{path}: cannot be read as weights: {brief(error)}.") from error
    weights = read.get("model", read) if isinstance(read, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ModelError(f"{path}: holds no weights under the key 'model'. Expected an official checkpoint.")
    return {name.removeprefix("module."): value for name, value in weights.items()}


def _fit(
    net: Any,  # noqa: ANN401 - the package has no types
    weights: Mapping[str, Shaped[Tensor, "..."]],
    path: Path,
    name: str,
    architectures: Mapping[str, Architecture],
) -> None:
    """Load weights that fit exactly: load_state_dict(strict=False) alone would accept another architecture. Raises
    ModelError."""
    wanted = net.state_dict(keep_vars=True)
    there = {id(value) for key, value in wanted.items() if key in weights}
    missing = [key for key, value in wanted.items() if key not in weights and id(value) not in there]
    unexpected = [key for key in weights if key not in wanted and key not in SPARE]
    other = [key for key, value in wanted.items() if key in weights and weights[key].shape != value.shape]
    if not (missing or unexpected or other):
        net.load_state_dict({key: value for key, value in weights.items() if key in wanted}, strict=False)
        return
    counts = ((missing, "missing"), (unexpected, "unexpected"), (other, "of another shape"))
    found = ", ".join(f"{len(keys)} {what} (first {keys[0]})" for keys, what in counts if keys)
    raise ModelError(f"{path}: does not fit architecture {name!r}: weights {found}. {_advice(weights, architectures)}")


def _advice(weights: Mapping[str, Shaped[Tensor, "..."]], architectures: Mapping[str, Architecture]) -> str:
    first = weights.get("backbone.0.patch_embed.proj.weight")
    fits = [name for name, it in architectures.items() if first is not None and it.embed_dim == first.shape[0]]
    return f"It may be {fits[0]!r}: change architecture." if fits else "Give an official Grounding DINO checkpoint."


def _tokenizer(name: str, architecture: Architecture) -> PreTrainedTokenizerBase:
    """Load BERT's tokenizer from a folder with its vocabulary. Raises ModelError for any other."""
    folder = located(name, ["vocab.txt", "tokenizer*.json", "special_tokens_map.json", "config.json"])
    try:
        has_kind = any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "config.json"))
        tokenizer = (AutoTokenizer if has_kind else BertTokenizer).from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # transformers raises many kinds
        raise ModelError(f"text_encoder {name}: has no tokenizer that loads: {brief(error)}. {_WANTED}") from error
    parted = len(offsets(tokenizer, "a . b ?")) == 4 and tokenizer.convert_tokens_to_ids(".") != tokenizer.unk_token_id
    if not parted or len(tokenizer) > architecture.vocabulary:
        raise ModelError(f"text_encoder {name}: its vocabulary of {len(tokenizer)} words does not fit. {_WANTED}")
    return tokenizer


_WANTED = "Expected a folder with bert-base-uncased's vocab.txt."
