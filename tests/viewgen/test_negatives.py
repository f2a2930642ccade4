"""Negatives: what each kind shows, what it must not show, and when it cannot be made."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from viewgen.boxes import Box, overlap_area
from viewgen.negatives import (
    KINDS,
    Cut,
    free_places,
    masked,
    off_region,
    off_region_downsampled,
    shuffled_patches,
)
from viewgen.records import Rejection

EVIDENCE = Box(32, 16, 80, 64)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pixels(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(image)


def made(outcome: Cut | Rejection) -> Cut:
    assert isinstance(outcome, Cut), outcome
    return outcome


@pytest.mark.parametrize("grid_px", [1, 5, 16])
def test_free_places_are_those_that_a_look_at_every_one_finds(grid_px: int) -> None:
    taken = [Box(3, 4, 21, 17), Box(30, 1, 34, 30)]
    free_yx = free_places(61, 47, taken, 12, 9, grid_px)
    assert free_yx.shape == ((47 - 9) // grid_px + 1, (61 - 12) // grid_px + 1)
    for row, column in product(*(range(length) for length in free_yx.shape)):
        x0, y0 = column * grid_px, row * grid_px
        collides = any(overlap_area(Box(x0, y0, x0 + 12, y0 + 9), box) for box in taken)
        assert free_yx[row, column] == (not collides)


def test_an_off_region_is_an_exact_cut_of_equal_size_that_overlaps_no_evidence() -> None:
    image, other = noise(160, 160), Box(96, 96, 128, 128)
    for seed in range(200):
        cut = made(off_region(image, (EVIDENCE, other), EVIDENCE, stream(seed), grid_px=16))
        assert cut.box is not None
        assert cut.image.size == (EVIDENCE.width, EVIDENCE.height)
        assert not overlap_area(cut.box, EVIDENCE)
        assert not overlap_area(cut.box, other)
        assert (cut.box.x0 % 16, cut.box.y0 % 16) == (0, 0)
        x0, y0, x1, y1 = cut.box.as_tuple()
        assert (pixels(cut.image) == pixels(image)[y0:y1, x0:x1]).all()


def test_every_free_place_is_drawn_about_equally_often() -> None:
    image = noise(64, 48)
    evidence = (Box(16, 16, 32, 32),)
    drawn = [made(off_region(image, evidence, evidence[0], stream(seed), grid_px=16)).box for seed in range(2200)]
    counts = np.unique([box.as_tuple() for box in drawn if box], axis=0, return_counts=True)[1]
    assert len(counts) == 11  # 4 x 3 cells without the evidence's own
    assert counts.min() > 150  # 200 expected each, standard deviation 13.5
    assert counts.max() < 250


def test_the_only_free_place_is_found() -> None:
    image = noise(100, 40)
    cut = made(off_region(image, (Box(0, 0, 60, 40),), Box(0, 0, 40, 40), stream(), grid_px=1))
    assert cut.box == Box(60, 0, 100, 40)


@pytest.mark.parametrize("kind", ["off_region", "off_region_downsampled"])
def test_without_a_free_place_there_is_no_off_region(kind: str) -> None:
    settings = {"grid_px": 1} | ({"factor": 2.0} if kind == "off_region_downsampled" else {})
    outcome = KINDS[kind](noise(99, 40), (Box(0, 0, 60, 40),), Box(0, 0, 40, 40), stream(), **settings)
    message = "no place for 40 x 40 px beside the evidence in 99 x 40 px"
    assert outcome == Rejection(stage="views", reason="no_room", message=message)


def test_a_downsampled_off_region_keeps_its_size_and_loses_its_detail() -> None:
    image = noise(160, 160)
    cut = made(off_region_downsampled(image, (EVIDENCE,), EVIDENCE, stream(), grid_px=1, factor=2.0))
    assert cut.box is not None
    assert cut.image.size == (48, 48)
    assert not overlap_area(cut.box, EVIDENCE)
    sharp = pixels(image.crop(cut.box.as_tuple())).astype(float)
    assert pixels(cut.image).astype(float).std() < 0.7 * sharp.std()
    # Blocks of 2 x 2 noise average out to half the deviation; their mean is that of the sharp cut.
    assert abs(pixels(cut.image).mean() - sharp.mean()) < 1


def test_stripes_one_pixel_wide_vanish_in_both_directions() -> None:
    stripes = np.zeros((160, 160, 3), dtype=np.uint8)
    stripes[::2] = 200
    for picture in (Image.fromarray(stripes), Image.fromarray(stripes.swapaxes(0, 1))):
        cut = made(off_region_downsampled(picture, (EVIDENCE,), EVIDENCE, stream(), grid_px=1, factor=2.0))
        assert (pixels(cut.image) == 100).all()


def test_a_downsampled_off_region_takes_no_pixel_from_outside_its_cut() -> None:
    dark, bright = noise(160, 160), noise(160, 160)
    dark.paste((0, 0, 0), EVIDENCE.as_tuple())
    bright.paste((255, 255, 255), EVIDENCE.as_tuple())
    for seed in range(50):
        first, second = (
            made(off_region_downsampled(image, (EVIDENCE,), EVIDENCE, stream(seed), grid_px=16, factor=3.0))
            for image in (dark, bright)
        )
        assert first.image.tobytes() == second.image.tobytes()


def test_a_mask_hides_every_evidence_box_and_nothing_else() -> None:
    image, other = noise(160, 120), Box(100, 80, 120, 100)
    cut = made(masked(image, (EVIDENCE, other), EVIDENCE, stream(), fill="mean", grow_ratio=1.0))
    hidden = np.zeros((120, 160), dtype=bool)
    for box in (EVIDENCE, other):
        hidden[box.y0 : box.y1, box.x0 : box.x1] = True
    mean = np.round(pixels(image).mean(axis=(0, 1)))
    assert cut.box is None
    assert (pixels(cut.image)[hidden] == mean).all()
    assert (pixels(cut.image)[~hidden] == pixels(image)[~hidden]).all()


@pytest.mark.parametrize(("fill", "level"), [("grey", 128), ("black", 0)])
def test_a_mask_has_the_colour_and_the_size_that_are_asked_for(fill: str, level: int) -> None:
    cut = made(KINDS["masked"](noise(160, 160), (EVIDENCE,), EVIDENCE, stream(), fill=fill, grow_ratio=1.5))
    grown = Box(20, 4, 92, 76)
    assert (pixels(cut.image.crop(grown.as_tuple())) == level).all()
    assert not (pixels(cut.image)[3] == level).all(axis=1)[20:92].all()
    assert not (pixels(cut.image)[:, 92] == level).all(axis=1)[4:76].all()


def test_the_image_itself_is_never_written_to() -> None:
    image = noise(160, 160)
    before = image.tobytes()
    masked(image, (EVIDENCE,), EVIDENCE, stream(), fill="black", grow_ratio=1.0)
    shuffled_patches(image, (EVIDENCE,), EVIDENCE, stream(), patch_px=8)
    assert image.tobytes() == before


def test_shuffled_patches_are_the_positive_s_own_in_another_order() -> None:
    image = noise(160, 160)
    cut = made(shuffled_patches(image, (EVIDENCE,), EVIDENCE, stream(), patch_px=8))
    assert cut.box == EVIDENCE

    def patches(picture: Image.Image) -> list[bytes]:
        corners = product(range(0, 48, 8), range(0, 48, 8))
        return [picture.crop((x, y, x + 8, y + 8)).tobytes() for y, x in corners]

    before, after = patches(image.crop(EVIDENCE.as_tuple())), patches(cut.image)
    assert sorted(before) == sorted(after)
    assert before != after


def test_two_patches_always_change_places() -> None:
    image, target = noise(40, 20), Box(0, 0, 40, 20)
    for seed in range(20):
        cut = made(shuffled_patches(image, (target,), target, stream(seed), patch_px=20))
        assert (pixels(cut.image) == pixels(image)[:, [*range(20, 40), *range(20)]]).all()


def test_strips_too_narrow_for_a_patch_stay_where_they_are() -> None:
    image, target = noise(50, 30), Box(0, 0, 50, 30)
    cut = made(shuffled_patches(image, (target,), target, stream(), patch_px=12))
    assert (pixels(cut.image)[24:] == pixels(image)[24:]).all()
    assert (pixels(cut.image)[:, 48:] == pixels(image)[:, 48:]).all()


def test_a_crop_with_fewer_than_two_patches_cannot_be_shuffled() -> None:
    outcome = shuffled_patches(noise(60, 60), (EVIDENCE,), Box(0, 0, 27, 55), stream(), patch_px=28)
    message = "a crop of 27 x 55 px holds 0 patches of 28 px, 2 needed"
    assert outcome == Rejection(stage="views", reason="too_few_patches", message=message)
    one = shuffled_patches(noise(60, 60), (EVIDENCE,), Box(0, 0, 28, 55), stream(), patch_px=28)
    assert isinstance(one, Rejection)
