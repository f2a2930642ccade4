"""Negatives: what each kind shows, what it must not show, and when it cannot be made."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from viewgen.boxes import Box, containment, overlap_area
from viewgen.records import Rejection
from viewgen.views.kinds import Cut
from viewgen.views.negatives import (
    blank,
    hard_off_region,
    off_region,
    off_region_downsampled,
    same_class,
    swapped,
)

EVIDENCE = Box(32, 16, 80, 64)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pixels(image: Image.Image | None) -> UInt8[np.ndarray, "height width 3"]:
    assert image is not None
    return np.asarray(image)


def made(outcome: Cut | Rejection) -> Cut:
    assert isinstance(outcome, Cut), outcome
    return outcome


def every_box(image: Image.Image, width: int, height: int, grid_px: int = 1) -> list[Box]:
    """All boxes of a size that start on the grid, row by row."""
    ys, xs = range(0, image.height - height + 1, grid_px), range(0, image.width - width + 1, grid_px)
    return [Box(x, y, x + width, y + height) for y, x in product(ys, xs)]


def is_free(box: Box, taken: tuple[Box, ...]) -> bool:
    return not any(overlap_area(box, other) for other in taken)


def test_an_off_region_is_an_exact_cut_of_equal_size_that_overlaps_no_evidence() -> None:
    image, other = noise(160, 160), Box(96, 96, 128, 128)
    for seed in range(200):
        cut = made(off_region(image, (EVIDENCE, other), EVIDENCE, stream(seed), grid_px=16))
        assert cut.box is not None
        assert (cut.box.width, cut.box.height) == (EVIDENCE.width, EVIDENCE.height)
        assert is_free(cut.box, (EVIDENCE, other))
        assert (cut.box.x0 % 16, cut.box.y0 % 16) == (0, 0)
        x0, y0, x1, y1 = cut.box.as_tuple()
        assert (pixels(cut.image) == pixels(image)[y0:y1, x0:x1]).all()


def test_the_only_free_place_is_found() -> None:
    image = noise(100, 40)
    cut = made(off_region(image, (Box(0, 0, 60, 40),), Box(0, 0, 40, 40), stream(), grid_px=1))
    assert cut.box == Box(60, 0, 100, 40)


def test_without_a_free_place_there_is_no_off_region() -> None:
    outcome = off_region(noise(99, 40), (Box(0, 0, 60, 40),), Box(0, 0, 40, 40), stream(), grid_px=1)
    message = "no place for 40 x 40 px beside the evidence in 99 x 40 px"
    assert outcome == Rejection(stage="views", reason="no_room", message=message)


def test_a_downsampled_off_region_is_a_cut_of_equal_pixel_size_from_the_smaller_image() -> None:
    image = noise(240, 200)
    half = image.resize((120, 100), Image.Resampling.BOX)
    for seed in range(20):
        cut = made(off_region_downsampled(image, (EVIDENCE,), EVIDENCE, stream(seed), grid_px=2, factor=2.0))
        assert cut.box is not None
        assert (cut.box.width, cut.box.height) == (96, 96)
        assert is_free(cut.box, (EVIDENCE,))
        in_half = tuple(edge // 2 for edge in cut.box.as_tuple())
        assert (pixels(cut.image) == pixels(half.crop(in_half))).all()  # type: ignore[arg-type]


def test_a_downsampled_off_region_needs_room_for_all_that_it_shows() -> None:
    outcome = off_region_downsampled(noise(160, 144), (EVIDENCE,), EVIDENCE, stream(), grid_px=1, factor=2.0)
    message = "no place for 96 x 96 px beside the evidence in 160 x 144 px"
    assert outcome == Rejection(stage="views", reason="no_room", message=message)


def test_a_downsampled_off_region_takes_no_pixel_from_outside_its_cut() -> None:
    dark, bright = noise(260, 200), noise(260, 200)
    dark.paste((0, 0, 0), EVIDENCE.as_tuple())
    bright.paste((255, 255, 255), EVIDENCE.as_tuple())
    for seed in range(30):
        first, second = (
            made(off_region_downsampled(image, (EVIDENCE,), EVIDENCE, stream(seed), grid_px=1, factor=2.5))
            for image in (dark, bright)
        )
        assert (pixels(first.image) == pixels(second.image)).all()


@pytest.mark.parametrize(("make", "told"), [(same_class, "instance"), (hard_off_region, "tile")])
def test_another_thing_is_cut_at_the_evidence_s_size_around_its_middle(make: object, told: str) -> None:
    image = noise(200, 160)
    cut = made(make(image, (EVIDENCE,), EVIDENCE, stream(), **{told: Box(120, 90, 140, 110)}))  # type: ignore[operator]
    assert cut.box == Box(106, 76, 154, 124)
    assert (pixels(cut.image) == pixels(image)[76:124, 106:154]).all()


def test_a_thing_beside_the_evidence_is_shown_off_centre_so_that_the_evidence_is_not() -> None:
    thing = Box(84, 30, 96, 42)
    cut = made(same_class(noise(200, 160), (EVIDENCE,), EVIDENCE, stream(), instance=thing))
    assert cut.box == Box(80, 12, 128, 60)
    assert containment(thing, cut.box) == 1.0


@pytest.mark.parametrize(("make", "told"), [(same_class, "instance"), (hard_off_region, "tile")])
def test_another_thing_is_shown_without_any_of_several_evidence_boxes(make: object, told: str) -> None:
    other = Box(140, 80, 180, 130)
    cut = made(make(noise(240, 200), (EVIDENCE, other), EVIDENCE, stream(), **{told: Box(120, 90, 138, 110)}))  # type: ignore[operator]
    assert cut.box == Box(92, 76, 140, 124)
    assert not overlap_area(cut.box, other)


def test_a_thing_that_cannot_be_shown_without_the_evidence_is_no_negative() -> None:
    outcome = same_class(noise(100, 80), (EVIDENCE,), EVIDENCE, stream(), instance=Box(82, 30, 94, 42))
    message = "no place for 48 x 48 px shows (82, 30, 94, 42) without the evidence"
    assert outcome == Rejection(stage="views", reason="no_room", message=message)


def test_a_swapped_crop_shows_the_donor_s_evidence_at_the_own_size_and_unresized() -> None:
    donor = noise(120, 100)
    cut = made(swapped(donor, (EVIDENCE,), EVIDENCE, stream(), donor="d", donor_box=Box(60, 40, 70, 60), fit="cut"))
    assert cut.box == Box(41, 26, 89, 74)
    assert (pixels(cut.image) == pixels(donor)[26:74, 41:89]).all()


def test_a_swapped_crop_can_be_the_donor_s_own_resized() -> None:
    donor = noise(120, 100)
    box = Box(60, 40, 70, 60)
    cut = made(swapped(donor, (EVIDENCE,), EVIDENCE, stream(), donor="d", donor_box=box, fit="resize"))
    assert cut.box == box
    assert (pixels(cut.image) == pixels(donor.crop(box.as_tuple()).resize((48, 48), Image.Resampling.BICUBIC))).all()


def test_a_donor_s_image_may_be_too_small() -> None:
    outcome = swapped(noise(47, 90), (EVIDENCE,), EVIDENCE, stream(), donor="d", donor_box=Box(0, 0, 9, 9), fit="cut")
    message = "a cut of 48 x 48 px is larger than the donor's 47 x 90 px"
    assert outcome == Rejection(stage="views", reason="no_room", message=message)


def test_a_blank_is_as_large_as_the_positive_and_of_one_colour() -> None:
    cut = made(blank(noise(160, 160), (EVIDENCE,), Box(0, 0, 30, 20), stream(), fill="grey"))
    assert cut.box is None
    assert pixels(cut.image).shape == (20, 30, 3)
    assert (pixels(cut.image) == 128).all()
