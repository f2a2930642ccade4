"""What models make of pictures: the detector's best score, the OpenCLIP model's logits. Equal pictures are read once.
Leaves out: which pictures, and what the numbers mean for a view (audit.py).

A picture is named by a hash of its pixels. Logits are nats."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from PIL import Image

from viewgen.detectors import Ask, Detector
from viewgen.retrieval import Retriever

Asked = tuple[str, tuple[str, ...]]
"""A picture, and the phrases that it is read for."""
Looked = tuple[str, str]
"""A picture, and one phrase."""


def picture_name(image: Image.Image) -> str:
    """Equal for equal pixels and sizes alone."""
    return blake2b(image.tobytes(), digest_size=16, key=f"{image.width} x {image.height}".encode()).hexdigest()


def best_scores(detector: Detector, pictures: Mapping[Asked, Image.Image]) -> dict[Asked, float]:
    """The highest score of any of the phrases in each picture; 0 where the detector finds none of them."""
    found = detector.detect([Ask(image=image, phrases=phrases) for (_, phrases), image in pictures.items()])
    return {key: max((box.score for box in boxes), default=0.0) for key, boxes in zip(pictures, found, strict=True)}


def phrase_logits(retriever: Retriever, pictures: Mapping[Asked, Image.Image]) -> dict[Looked, float]:
    """(picture, phrase) -> logit of the picture, or of the best tile of a large one."""
    shown = {(name, phrase): image for (name, phrases), image in pictures.items() for phrase in phrases}
    found = retriever.similarity(list(shown.values()), [(phrase,) for _, phrase in shown])
    return {key: logit for key, logit in zip(shown, found, strict=True) if logit is not None}
