"""Read views with models: the detector's best score, the OpenCLIP model's logits. Equal images are read once.
Leaves out: the choice of images, and the meaning of the numbers for a view (auditor.py).

An image is named by a hash of its pixels. Logits are nats."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from PIL import Image

from viewgen.detectors import Ask, Detector
from viewgen.retrieval.retriever import Retriever

ImagePhrases = tuple[str, tuple[str, ...]]
"""A picture, and the phrases that it is read for."""
ImagePhrase = tuple[str, str]
"""A picture, and one phrase."""


def image_name(image: Image.Image) -> str:
    """Equal for equal pixels and sizes alone."""
    return blake2b(image.tobytes(), digest_size=16, key=f"{image.width} x {image.height}".encode()).hexdigest()


def best_scores(detector: Detector, pictures: Mapping[ImagePhrases, Image.Image]) -> dict[ImagePhrases, float]:
    """Return the highest score of any of the phrases in each image; 0 where the detector finds none of them."""
    found = detector.detect([Ask(image=image, phrases=phrases) for (_, phrases), image in pictures.items()])
    return {key: max((box.score for box in boxes), default=0.0) for key, boxes in zip(pictures, found, strict=True)}


def phrase_logits(
    retriever: Retriever, pictures: Mapping[ImagePhrases, Image.Image], shift_px: int = 0
) -> dict[ImagePhrase, float]:
    """(picture, phrase) -> logit of the picture, or of the best tile of a large one.

    With shift_px, of the best of a small picture's copies that are shifted in such steps (shifted)."""
    most = max(retriever.config.tile_px)
    looked = {(name, phrase): image for (name, phrases), image in pictures.items() for phrase in phrases}
    reads = [
        (key, copy)
        for key, image in looked.items()
        for copy in (shifted(image, shift_px) if shift_px and max(image.size) <= most else [image])
    ]
    found = retriever.similarity([copy for _, copy in reads], [(phrase,) for (_, phrase), _ in reads])
    logits: dict[ImagePhrase, float] = {}
    for (key, _), logit in zip(reads, found, strict=True):
        assert logit is not None, "a phrase was given"
        logits[key] = max(logit, logits.get(key, logit))
    return logits


def shifted(image: Image.Image, step_px: int) -> list[Image.Image]:
    """Return copies of an RGB image moved by multiples of step_px, up to half its sides each way, its edge pixels
    repeated.

    A model that only knows things in the middle of a tile sees what stands at the edge in one of them."""
    down, across = image.height // 2, image.width // 2
    wide = np.pad(np.asarray(image), ((down, down), (across, across), (0, 0)), mode="edge")
    return [
        Image.fromarray(wide[y : y + image.height, x : x + image.width])
        for y in range(down % step_px, 2 * down + 1, step_px)
        for x in range(across % step_px, 2 * across + 1, step_px)
    ]
