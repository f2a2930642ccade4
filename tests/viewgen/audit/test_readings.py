"""Readings of models: equal images have equal names and are read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from viewgen.audit.readings import best_scores, image_name, shifted
from viewgen.boxes import Box
from viewgen.detectors import Ask, ScoredBox


@dataclass
class Brightness:
    """A detector that finds every phrase with the image's mean level as its score."""

    num_read: int = 0
    name: str = "brightness"
    models: dict[str, str] = field(default_factory=lambda: {"brightness": "0"})

    def detect(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        self.num_read += len(asks)
        return [
            tuple(
                ScoredBox(phrase=phrase, box=Box(0, 0, 1, 1), score=float(np.asarray(ask.image).mean()) / 255)
                for phrase in ask.phrases
            )
            for ask in asks
        ]


def test_equal_pixels_have_equal_names_and_shapes_count() -> None:
    assert image_name(Image.new("RGB", (4, 2))) == image_name(Image.new("RGB", (4, 2)))
    assert image_name(Image.new("RGB", (4, 2))) != image_name(Image.new("RGB", (2, 4)))
    assert image_name(Image.new("RGB", (4, 2))) != image_name(Image.new("RGB", (4, 2), (0, 0, 1)))


def test_the_best_score_of_any_phrase_counts_and_each_image_is_read_once() -> None:
    detector = Brightness()
    white, black = Image.new("RGB", (2, 2), (255, 255, 255)), Image.new("RGB", (2, 2))
    images: dict[tuple[str, tuple[str, ...]], Image.Image] = {
        (image_name(image), ("a", "b")): image for image in (white, black, white)
    }
    assert list(best_scores(detector, images).values()) == [1.0, 0.0]
    assert detector.num_read == 2


def test_copies_are_shifted_by_whole_steps_and_hold_the_image_itself() -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    copies = shifted(image, 2)
    assert len(copies) == 9
    assert any(copy.tobytes() == image.tobytes() for copy in copies)
