"""Positive views: what each shows, and which regions an evidence box was made from."""

from __future__ import annotations

import numpy as np
from PIL import Image

from viewgen.boxes import Box
from viewgen.records import Evidence, Region
from viewgen.views.positives import crop, crop_exact, exact_box, full, own_regions, random_crop

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
BOX, FAR = Box(10, 10, 40, 30), Box(50, 40, 70, 55)
STREAM = np.random.default_rng(0)


def region(box: Box) -> Region:
    return Region(phrase="a", box=box, source="annotated", score=1.0, rank=0)


NEAR, INNER, OTHER = region(Box(12, 12, 20, 20)), region(Box(24, 14, 30, 28)), region(Box(55, 45, 60, 50))
EVIDENCE = Evidence(boxes=(BOX, FAR), regions=(NEAR, INNER, OTHER))


def test_a_crop_is_the_evidence_box_as_it_is() -> None:
    cut = crop(IMAGE, (BOX,), BOX, STREAM)
    assert cut.box == BOX
    assert cut.image
    assert cut.image.tobytes() == IMAGE.crop(BOX.as_tuple()).tobytes()


def test_an_exact_crop_leaves_the_margin_out() -> None:
    assert exact_box(EVIDENCE, 0) == Box(12, 12, 30, 28)
    assert crop_exact(IMAGE, (BOX,), BOX, STREAM, exact=Box(12, 12, 30, 28)).box == Box(12, 12, 30, 28)
    assert exact_box(Evidence(boxes=(BOX,), regions=()), 0) is None


def test_each_region_belongs_to_the_box_that_shows_most_of_it() -> None:
    assert own_regions(EVIDENCE, 0) == [NEAR, INNER]
    assert own_regions(EVIDENCE, 1) == [OTHER]


def test_the_full_view_is_the_image_and_a_random_crop_lies_anywhere() -> None:
    assert full(IMAGE, (BOX,), BOX, STREAM).box == Box(0, 0, 80, 60)
    boxes = {random_crop(IMAGE, (BOX,), BOX, np.random.default_rng(n), grid_px=1).box for n in range(30)}
    assert len(boxes) > 20
    assert all(box and (box.width, box.height) == (30, 20) for box in boxes)
