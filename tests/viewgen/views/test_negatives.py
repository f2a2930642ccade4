"""Negatives: what each kind shows, what it must not show, and when it cannot be made. And the places they are cut at."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from viewgen.boxes import Box, containment, overlap_area
from viewgen.records import Rejection
from viewgen.views.kinds import Cut, any_free_box, box_text, nearest_free_box, read_box
from viewgen.views.negatives import (
    NEGATIVES,
    blank,
    hard_off_region,
    mask_random,
    masked,
    off_region,
    off_region_downsampled,
    same_class,
    shuffled_patches,
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


@pytest.mark.parametrize("grid_px", [1, 5, 16])
def test_a_free_box_is_the_drawn_one_of_all_that_a_look_at_every_place_finds(grid_px: int) -> None:
    image, taken = Image.new("RGB", (61, 47)), (Box(3, 4, 21, 17), Box(30, 1, 34, 30), Box(32, 20, 50, 40))
    free = [box for box in every_box(image, 12, 9, grid_px) if is_free(box, taken)]
    for seed in range(100):
        assert any_free_box(image, taken, 12, 9, grid_px, stream(seed)) == free[stream(seed).integers(len(free))]


def test_every_free_place_is_drawn_about_equally_often() -> None:
    taken = (Box(16, 16, 32, 32),)
    drawn = [any_free_box(Image.new("RGB", (64, 48)), taken, 16, 16, 16, stream(seed)) for seed in range(2200)]
    counts = np.unique([box.as_tuple() for box in drawn if box], axis=0, return_counts=True)[1]
    assert len(counts) == 11  # 4 x 3 cells without the taken one
    assert counts.min() > 150  # 200 expected each, standard deviation 13.5
    assert counts.max() < 250


def test_a_box_larger_than_the_image_has_no_place() -> None:
    image = Image.new("RGB", (30, 20))
    assert any_free_box(image, (), 31, 20, 1, stream()) is None
    assert any_free_box(image, (), 30, 20, 1, stream()) == Box(0, 0, 30, 20)
    assert nearest_free_box(image, (), 30, 21, Box(0, 0, 5, 5)) is None


def test_the_nearest_free_box_is_the_one_that_a_look_at_every_place_finds() -> None:
    draws, image = stream(5), Image.new("RGB", (26, 20))
    num_found = 0
    for _ in range(100):
        (ax, ay, bx, by, tx, ty), sizes = draws.integers(0, 16, 6).tolist(), draws.integers(2, 11, 8).tolist()
        taken = (Box(ax, ay, ax + sizes[0], ay + sizes[1]), Box(bx, by, bx + sizes[2], by + sizes[3]))
        thing, (width, height) = Box(tx, ty, min(tx + sizes[4], 26), min(ty + sizes[5], 20)), sizes[6:]
        wish_x = min(max((thing.x0 + thing.x1 - width) // 2, 0), 26 - width)
        wish_y = min(max((thing.y0 + thing.y1 - height) // 2, 0), 20 - height)
        most = min(width, thing.width) * min(height, thing.height)
        fit = [b for b in every_box(image, width, height) if is_free(b, taken) and overlap_area(b, thing) == most]
        nearest = min(((b.x0 - wish_x) ** 2 + (b.y0 - wish_y) ** 2, b) for b in fit)[1] if fit else None
        assert nearest_free_box(image, taken, width, height, thing) == nearest
        num_found += bool(fit)
    assert 20 < num_found < 90


def test_a_box_survives_being_written_into_a_row() -> None:
    assert box_text(EVIDENCE) == "32,16,80,64"
    assert read_box("32,16,80,64") == EVIDENCE


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
    cut = made(NEGATIVES["masked"].make(noise(160, 160), (EVIDENCE,), EVIDENCE, stream(), fill=fill, grow_ratio=1.5))
    grown = pixels(cut.image)[4:76, 20:92]
    assert (grown == level).all()
    assert not (pixels(cut.image)[3] == level).all(axis=1)[20:92].all()
    assert not (pixels(cut.image)[:, 92] == level).all(axis=1)[4:76].all()


@pytest.mark.parametrize("fill", ["mean", "grey", "black", "blur", "noise"])
@pytest.mark.parametrize("kind", ["masked", "mask_random"])
def test_no_pixel_under_a_mask_is_what_it_was_and_all_others_are(kind: str, fill: str) -> None:
    image, other = noise(200, 160), Box(100, 100, 130, 124)
    cut = made(NEGATIVES[kind].make(image, (EVIDENCE, other), EVIDENCE, stream(), fill=fill, grow_ratio=1.25))
    changed = (pixels(cut.image) != pixels(image)).any(axis=2)
    area = 60 * 60 + 38 * 30
    assert 0.99 * area < changed.sum() <= area  # a random pixel rarely has the colour that covers it
    if kind == "masked":
        assert changed[10:70, 26:86].mean() > 0.99
    else:
        shown = pixels(cut.image)[16:64, 32:80], pixels(cut.image)[100:124, 100:130]
        assert (shown[0] == pixels(image)[16:64, 32:80]).all()
        assert (shown[1] == pixels(image)[100:124, 100:130]).all()


def test_a_random_mask_is_nowhere_twice_and_has_no_room_beside_a_large_evidence() -> None:
    half = Box(0, 0, 40, 60)
    outcome = mask_random(noise(80, 60), (half,), half, stream(), fill="black", grow_ratio=1.1)
    assert outcome == Rejection(
        stage="views", reason="no_room", message="no place for 44 x 60 px beside the evidence in 80 x 60 px"
    )
    left, right = Box(0, 0, 20, 20), Box(70, 0, 90, 20)
    for seed in range(20):
        cut = made(mask_random(noise(90, 25), (left, right), left, stream(seed), fill="black", grow_ratio=1.0))
        assert (pixels(cut.image) == 0).all(axis=2).sum() == 800


def test_the_image_itself_is_never_written_to() -> None:
    image = noise(160, 160)
    before = image.tobytes()
    masked(image, (EVIDENCE,), EVIDENCE, stream(), fill="black", grow_ratio=1.0)
    mask_random(image, (EVIDENCE,), EVIDENCE, stream(), fill="noise", grow_ratio=1.0)
    shuffled_patches(image, (EVIDENCE,), EVIDENCE, stream(), patch_px=8)
    assert image.tobytes() == before


def test_a_crop_with_fewer_than_two_patches_cannot_be_shuffled() -> None:
    outcome = shuffled_patches(noise(60, 60), (EVIDENCE,), Box(0, 0, 27, 55), stream(), patch_px=28)
    message = "a crop of 27 x 55 px holds 0 patches of 28 px, 2 needed"
    assert outcome == Rejection(stage="views", reason="too_few_patches", message=message)
    one = shuffled_patches(noise(60, 60), (EVIDENCE,), Box(0, 0, 28, 55), stream(), patch_px=28)
    assert isinstance(one, Rejection)


def test_a_spoilt_positive_has_its_place_and_its_size_and_none_of_its_surroundings() -> None:
    dark, bright = Image.new("RGB", (160, 160)), Image.new("RGB", (160, 160), (255, 255, 255))
    for image in (dark, bright):
        image.paste(noise(48, 48), EVIDENCE.as_tuple())
    for kind, told in (
        ("downsampled", {"factor": 4.0}),
        ("pixelated", {"block_px": 10}),
        ("blurred", {"radius_px": 6.0}),
        ("noised", {"step": 500, "schedule": "sigmoid"}),
        ("shuffled_patches", {"patch_px": 8}),
    ):
        make = NEGATIVES[kind].make
        first, second = (made(make(image, (EVIDENCE,), EVIDENCE, stream(), **told)) for image in (dark, bright))
        assert first.box == EVIDENCE
        assert pixels(first.image).shape == (48, 48, 3)
        assert (pixels(first.image) == pixels(second.image)).all()
        assert (pixels(first.image) != pixels(noise(48, 48))).any()


def test_a_blank_is_as_large_as_the_positive_and_of_one_colour() -> None:
    cut = made(blank(noise(160, 160), (EVIDENCE,), Box(0, 0, 30, 20), stream(), fill="grey"))
    assert cut.box is None
    assert pixels(cut.image).shape == (20, 30, 3)
    assert (pixels(cut.image) == 128).all()
