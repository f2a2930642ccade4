"""Negatives made of the image's own pixels: masks, shuffled patches, less detail; and when they cannot be made."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from viewgen.boxes import Box
from viewgen.records import Rejection
from viewgen.views.altered import mask_random, masked, shuffled_patches
from viewgen.views.kinds import KINDS, Cut

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
    cut = made(KINDS["masked"].make(noise(160, 160), (EVIDENCE,), EVIDENCE, stream(), fill=fill, grow_ratio=1.5))
    grown = pixels(cut.image)[4:76, 20:92]
    assert (grown == level).all()
    assert not (pixels(cut.image)[3] == level).all(axis=1)[20:92].all()
    assert not (pixels(cut.image)[:, 92] == level).all(axis=1)[4:76].all()


@pytest.mark.parametrize("fill", ["mean", "grey", "black", "blur", "noise"])
@pytest.mark.parametrize("kind", ["masked", "mask_random"])
def test_no_pixel_under_a_mask_is_what_it_was_and_all_others_are(kind: str, fill: str) -> None:
    image, other = noise(200, 160), Box(100, 100, 130, 124)
    cut = made(KINDS[kind].make(image, (EVIDENCE, other), EVIDENCE, stream(), fill=fill, grow_ratio=1.25))
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
        make = KINDS[kind].make
        first, second = (made(make(image, (EVIDENCE,), EVIDENCE, stream(), **told)) for image in (dark, bright))
        assert first.box == EVIDENCE
        assert pixels(first.image).shape == (48, 48, 3)
        assert (pixels(first.image) == pixels(second.image)).all()
        assert (pixels(first.image) != pixels(noise(48, 48))).any()


def test_the_image_itself_is_never_written_to() -> None:
    image = noise(160, 160)
    before = image.tobytes()
    masked(image, (EVIDENCE,), EVIDENCE, stream(), fill="black", grow_ratio=1.0)
    mask_random(image, (EVIDENCE,), EVIDENCE, stream(), fill="noise", grow_ratio=1.0)
    shuffled_patches(image, (EVIDENCE,), EVIDENCE, stream(), patch_px=8)
    assert image.tobytes() == before
