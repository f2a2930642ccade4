"""Load and run zero-shot detectors of the transformers library: Grounding DINO, MM-Grounding-DINO, OWLv2 (and OWL-ViT).
Leaves out: detectors of a fixed list of classes, tiles (tiles.py). Imports torch: only load_detector()
imports this module.

Boxes come from each model's official post-processing, labels do not: Grounding DINO's decoded labels merge phrases and
leak special tokens, so its phrases are scored by their own tokens; OWLv2's labels are numbers of queries.
Shapes: Q boxes, P phrases or pieces of such, T tokens."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
from transformers.utils import logging as transformers_logging

from viewgen.detectors.captions import Caption, Piece, captions, parts, scores
from viewgen.detectors.groundingdino import offsets, read_size
from viewgen.detectors.loading import device_of, fastest_batch, hash_of, located, reading
from viewgen.detectors.protocol import DetectorConfig
from viewgen.detectors.tiles import Hit, Look, TiledDetector, hits
from viewgen.errors import ModelError, brief

GROUNDED = ("grounding-dino", "mm-grounding-dino")
QUERIED = ("owlv2", "owlvit")
CELL_PX = 8
"""Side of the finest cells that Grounding DINO's backbones make."""
FILES = ("*.json", "*.txt", "*.safetensors")


def load_zero_shot(config: DetectorConfig) -> TiledDetector:
    """Load the model that the settings name. Raises ModelError when its folder is missing, incomplete or of another model
    type."""
    device = device_of(config)
    folder = located(config.model_name, FILES)
    family = _family(folder)
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise ModelError(f"{folder}: holds config.json but no weights. Put model.safetensors beside it.")
    with _quiet():
        try:
            net, report = AutoModelForZeroShotObjectDetection.from_pretrained(
                folder,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
        except Exception as error:  # transformers raises many kinds; all mean that this model cannot be used
            raise ModelError(f"{folder}: does not load as a {family} model: {brief(error)}.") from error
    _refuse_random(folder, report)
    kind = GroundedNetwork if family in GROUNDED else QueriedNetwork
    models = MappingProxyType({config.model_name: hash_of(weights)})
    return TiledDetector(kind(config, net.eval().to(device), processor, device, models), config)


@dataclass(frozen=True, slots=True)
class _Network:
    """Reading and post-processing of all families."""

    config: DetectorConfig
    net: Any
    processor: Any
    device: torch.device
    models: Mapping[str, str]
    name: str = "transformers"

    @property
    def size(self) -> Mapping[str, int]:
        """Size of the image processor: shortest_edge and longest_edge, or height and width."""
        return dict(self.processor.image_processor.size)

    @property
    def tile_px(self) -> int:
        size = self.size
        return size["shortest_edge"] if "shortest_edge" in size else min(size["height"], size["width"])

    @property
    def batch_size(self) -> int:
        return fastest_batch(self.net, self.device)

    def _found(self, looks: Sequence[Look], prepared: Any, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:  # noqa: ANN401
        """Run the model, and post-process its outputs with `asked`; boxes in pixels of each look's image."""
        with reading(self.config, self.device):
            outputs = self.net(**prepared.to(self.device))
            for name in ("logits", "pred_boxes"):
                outputs[name] = outputs[name].float()
            sizes = [(height, width) for width, height in (look.size for look in looks)]
            return outputs, self.processor.post_process_grounded_object_detection(outputs, target_sizes=sizes, **asked)


@dataclass(frozen=True, slots=True)
class GroundedNetwork(_Network):
    """Grounding DINO and MM-Grounding-DINO as a Network: one caption of many phrases per window."""

    @property
    def min_px(self) -> int:
        if self.processor.image_processor.do_resize:
            return 1
        # Its finest cells are of 8 px, and it needs one or more for each query.
        return CELL_PX * ceil(sqrt(self.net.config.num_queries))

    def read_size(self, width: int, height: int) -> tuple[int, int]:
        size = self.size
        if not self.processor.image_processor.do_resize:
            return width, height
        if "shortest_edge" in size:
            return read_size(width, height, size["shortest_edge"], size.get("longest_edge", 10**9))
        return size["width"], size["height"]

    def alike(self, look: Look) -> tuple[int, ...]:
        return self.read_size(*look.size)  # images of one size need no padding, which would change their boxes

    def captions(self, phrases: Sequence[str]) -> tuple[Caption, ...]:
        return captions(phrases, lambda text: offsets(self.processor.tokenizer, text), self.net.config.max_text_len)

    def prepare(self, looks: Sequence[Look]) -> Any:  # noqa: ANN401
        images, texts = [look.pixels() for look in looks], [look.caption.text for look in looks]
        return self.processor(images=images, text=texts, padding="longest", return_tensors="pt")

    def read(self, looks: Sequence[Look], prepared: Any) -> list[list[Hit]]:  # noqa: ANN401
        # All boxes and no words: thresholds are applied to the scores of the phrases instead.
        outputs, found = self._found(
            looks, prepared, input_ids=prepared["input_ids"], threshold=-1.0, text_threshold=2.0
        )
        token_BQT = outputs.logits.sigmoid().cpu().numpy()
        return [
            hits(look.caption, one["boxes"].cpu().numpy(), scores(token_QT, look.caption), self.config)
            for look, one, token_QT in zip(looks, found, token_BQT, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class QueriedNetwork(_Network):
    """OWLv2 and OWL-ViT as a Network: each phrase is a query, and each box belongs to one query."""

    @property
    def min_px(self) -> int:
        return 1

    def read_size(self, width: int, height: int) -> tuple[int, int]:
        # OWLv2 pads an image to a square and shrinks that, OWL-ViT squeezes it: both read every image at one size.
        return self.size["width"], self.size["height"]

    def alike(self, look: Look) -> tuple[int, ...]:
        return (len(look.caption.pieces),)  # fewer queries would be filled up by empty ones, which win boxes

    def captions(self, phrases: Sequence[str]) -> tuple[Caption, ...]:
        max_tokens = self.net.config.text_config.max_position_embeddings - 2
        queries = parts(phrases, lambda text: offsets(self.processor.tokenizer, text), max_tokens)
        pieces = tuple(Piece(phrase=phrase, text=text, first_token=0, last_token=0) for phrase, text in queries)
        return (Caption(text="", pieces=pieces),) if pieces else ()

    def prepare(self, looks: Sequence[Look]) -> Any:  # noqa: ANN401
        max_length = self.net.config.text_config.max_position_embeddings
        images = [look.pixels() for look in looks]
        texts = [[piece.text for piece in look.caption.pieces] for look in looks]
        return self.processor(
            images=images, text=texts, padding="max_length", max_length=max_length, return_tensors="pt"
        )

    def read(self, looks: Sequence[Look], prepared: Any) -> list[list[Hit]]:  # noqa: ANN401
        _, found = self._found(looks, prepared, threshold=self.config.box_threshold)
        return [
            [
                Hit(phrase=look.caption.pieces[label].phrase, box=tuple(box), score=score)
                for label, box, score in zip(
                    *(one[name].tolist() for name in ("labels", "boxes", "scores")), strict=True
                )
            ]
            for look, one in zip(looks, found, strict=True)
        ]


def _family(folder: Path) -> str:
    """Return the model type in config.json. Raises ModelError for any that is not supported here."""
    config = folder / "config.json"
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: is a file. Library transformers needs a folder; for a checkpoint set detector.library "
            "to groundingdino."
        )
    if not config.is_file():
        raise ModelError(f"{folder}: holds no config.json. Expected a folder in transformers' format.")
    try:
        family = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{config}: is not a model's config: {brief(error)}.") from None
    if family not in GROUNDED + QUERIED:
        known = ", ".join(GROUNDED + QUERIED)
        raise ModelError(f"{folder}: is a model of type {family!r}. Expected a zero-shot detector: {known}.")
    return str(family)


def _refuse_random(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuse weights that are missing or of another shape, which transformers fills in at random with a warning."""
    missing = sorted(report["missing_keys"])
    other = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    counts = ((missing, "missing"), (other, "of another shape"))
    found = ", ".join(f"{len(keys)} {what} (first {keys[0]})" for keys, what in counts if keys)
    if found:
        raise ModelError(f"{folder}: its weights do not fit its config.json: {found}. Use files that belong together.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars and reports of transformers; their faults are raised as ModelError."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
