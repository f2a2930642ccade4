"""Read views with models: the detector's best score, the OpenCLIP model's logits. Equal images are read once.
Leaves out: the choice of images, and the meaning of the numbers for a view (auditor.py).

Images are named by a hash of their pixels. Logits are in nats."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from PIL import Image

from viewgen.detectors import Ask, Detector
from viewgen.retrieval.retriever import Retriever

ImagePhrases = tuple[str, tuple[str, ...]]
"""Name of an image, and the phrases to read it for."""
ImagePhrase = tuple[str, str]
"""Name of an image, and one phrase."""


def image_name(image: Image.Image) -> str:
    """Hash pixels and size of an image, in hex."""
    return blake2b(image.tobytes(), digest_size=16, key=f"{image.width} x {image.height}".encode()).hexdigest()


def best_scores(detector: Detector, images: Mapping[ImagePhrases, Image.Image]) -> dict[ImagePhrases, float]:
    """Return the highest score of any of the phrases in each image, 0 to 1; 0 when the detector finds no box."""
    found = detector.detect([Ask(image=image, phrases=phrases) for (_, phrases), image in images.items()])
    return {key: max((box.score for box in boxes), default=0.0) for key, boxes in zip(images, found, strict=True)}


def phrase_logits(
    retriever: Retriever, images: Mapping[ImagePhrases, Image.Image], shift_px: int = 0
) -> dict[ImagePhrase, float]:
    """Return the logit of each image for each of its phrases, of the best tile of a large image.

    With shift_px, a small image counts by the best of its copies that are shifted in such steps (shifted())."""
    largest_px = max(retriever.config.tile_px)
    pairs = {(name, phrase): image for (name, phrases), image in images.items() for phrase in phrases}
    reads = [
        (key, copy)
        for key, image in pairs.items()
        for copy in (shifted(image, shift_px) if shift_px and max(image.size) <= largest_px else [image])
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

    A model that recognises objects only in the middle of a tile recognises one at the edge in some copy."""
    down, across = image.height // 2, image.width // 2
    wide = np.pad(np.asarray(image), ((down, down), (across, across), (0, 0)), mode="edge")
    return [
        Image.fromarray(wide[y : y + image.height, x : x + image.width])
        for y in range(down % step_px, 2 * down + 1, step_px)
        for x in range(across % step_px, 2 * across + 1, step_px)
    ]
