"""Negative views: pictures that resemble the positive but do not show the evidence. One function per kind, each
pure: the same image, boxes, random stream and settings give the same pixels.
Leaves out: seeds, encoding and records (views.py); judging whether a negative still shows the evidence (audit.py).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside. `target` is the evidence box that the view is for;
`evidence` are all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from PIL import Image

from viewgen.boxes import Box, grow, place
from viewgen.records import Rejection
from viewgen.views import degrade
from viewgen.views.degrade import Fill, Schedule
from viewgen.views.kinds import Cut, Kind, any_free_box, cut_at, nearest_free_box, rejected

Fit = Literal["cut", "resize"]
NUM_TRIES = 20
"""How often mask_random draws places for several boxes before it says that there is no room."""


def off_region(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, grid_px: int
) -> Cut | Rejection:
    """An exact cut of the target's size that overlaps no evidence box: differs from the positive in place alone.

    Every place that starts on a multiple of grid_px is equally likely. Rejects with no_room when there is none."""
    box = any_free_box(image, evidence, target.width, target.height, grid_px, stream)
    return cut_at(image, box) if box else _no_room(image, target.width, target.height)


def off_region_downsampled(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    grid_px: int,
    factor: float,
) -> Cut | Rejection:
    """As many pixels as the target has, off the evidence, of the image made `factor` times smaller: the published
    negative (arXiv 2606.25319), which shows more of the image in less detail. The full image itself is not touched.

    Cut first, then made smaller: the same pixels, but no filter carries evidence over the edge of the cut. The box is in
    the image as it was, `factor` times as wide and high as the view. Rejects with no_room when there is no place."""
    width, height = round(target.width * factor), round(target.height * factor)
    box = any_free_box(image, evidence, width, height, grid_px, stream)
    if box is None:
        return _no_room(image, width, height)
    return Cut(image.crop(box.as_tuple()).resize((target.width, target.height), Image.Resampling.BOX), box)


def same_class(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, instance: Box
) -> Cut | Rejection:
    """An exact cut of the target's size around another thing that the phrase names, as near to its middle as the
    evidence allows: right class, wrong one. Rejects with no_room when no such cut shows it without the evidence."""
    return _around(image, evidence, target, instance)


def hard_off_region(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, tile: Box
) -> Cut | Rejection:
    """An exact cut of the target's size around the tile that the retrieval model takes for the phrase most of all those
    off the evidence. Rejects with no_room when no such cut shows the tile without the evidence."""
    return _around(image, evidence, target, tile)


def shuffled_patches(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, patch_px: int
) -> Cut | Rejection:
    """The positive's own pixels in square patches of patch_px that changed places: same colours, no shapes.

    A strip that is too narrow for a patch, right and below, stays. Rejects with too_few_patches below two."""
    num = (target.height // patch_px) * (target.width // patch_px)
    if num < 2:
        found = f"a crop of {target.width} x {target.height} px holds {num} patches of {patch_px} px"
        return rejected("too_few_patches", f"{found}, 2 needed")
    return Cut(degrade.shuffle(image.crop(target.as_tuple()), stream, patch_px), target)


def swapped(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    donor: str,
    donor_box: Box,
    fit: Fit,
) -> Cut | Rejection:
    """The positive of another question; `image` is that question's image. `fit` makes it as large as the target.

    cut: a cut of the target's size with the donor's evidence in its middle, as sharp as it is; rejects with no_room when
    the donor's image is smaller. resize: the donor's own crop, stretched or shrunk."""
    if fit == "resize":
        own = image.crop(donor_box.as_tuple())
        return Cut(own.resize((target.width, target.height), Image.Resampling.BICUBIC), donor_box)
    middle = donor_box.x0 + donor_box.x1, donor_box.y0 + donor_box.y1
    box = place(target.width, target.height, *middle, image.width, image.height)
    if (box.width, box.height) != (target.width, target.height):
        size = f"{image.width} x {image.height} px"
        return rejected("no_room", f"a cut of {target.width} x {target.height} px is larger than the donor's {size}")
    return cut_at(image, box)


def masked(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    fill: Fill,
    grow_ratio: float,
) -> Cut:
    """The full image with every evidence box, both sides times grow_ratio, filled."""
    grown = [grow(box, grow_ratio, 1, image.width, image.height) for box in evidence]
    return Cut(_covered(image, grown, fill, stream), None)


def mask_random(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    fill: Fill,
    grow_ratio: float,
) -> Cut | Rejection:
    """As masked, but with boxes of the same sizes at random places beside the evidence and one another: what a mask does
    to a picture apart from hiding the evidence. Rejects with no_room when one of them finds no place."""
    grown = [grow(box, grow_ratio, 1, image.width, image.height) for box in evidence]
    # One box can stand in the only room for another: then all are drawn again.
    for _ in range(NUM_TRIES):
        places: list[Box] = []
        for size in grown:
            free = any_free_box(image, (*evidence, *places), size.width, size.height, 1, stream)
            if free is None:
                lacking = size
                break
            places.append(free)
        else:
            return Cut(_covered(image, places, fill, stream), None)
    return _no_room(image, lacking.width, lacking.height)


def downsampled(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, factor: float
) -> Cut:
    """The positive made `factor` times smaller and as large again."""
    return Cut(degrade.shrink(image.crop(target.as_tuple()), factor), target)


def pixelated(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, block_px: int
) -> Cut:
    """The positive in square blocks of one colour each."""
    return Cut(degrade.pixelate(image.crop(target.as_tuple()), block_px), target)


def blurred(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, radius_px: float
) -> Cut:
    """The positive under a Gaussian blur; nothing from outside the cut flows in."""
    return Cut(degrade.blur(image.crop(target.as_tuple()), radius_px), target)


def noised(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    step: int,
    schedule: Schedule,
) -> Cut:
    """The positive under the noise of visual contrastive decoding (arXiv 2311.16922)."""
    return Cut(degrade.add_noise(image.crop(target.as_tuple()), stream, step, schedule), target)


def blank(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    fill: Literal["mean", "grey", "black"],
) -> Cut:
    """A picture of the target's size in one colour."""
    return Cut(Image.new("RGB", (target.width, target.height), degrade.colour(image, fill)), None)


def none(image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator) -> Cut:
    """No picture at all: the full image and the question alone."""
    return Cut(None, None)


NEGATIVES: Mapping[str, Kind] = MappingProxyType(
    {
        "off_region": Kind(make=off_region, settings={"grid_px": "grid_px"}),
        "off_region_downsampled": Kind(
            make=off_region_downsampled, settings={"grid_px": "grid_px", "factor": "downsample_factor"}
        ),
        "same_class": Kind(make=same_class),
        "hard_off_region": Kind(make=hard_off_region),
        "shuffled_patches": Kind(make=shuffled_patches, settings={"patch_px": "patch_px"}),
        "swapped": Kind(make=swapped, settings={"fit": "swap_fit"}, hides_evidence=True),
        "masked": Kind(
            make=masked,
            settings={"fill": "mask_fill", "grow_ratio": "mask_grow_ratio"},
            is_single=True,
            hides_evidence=True,
        ),
        "mask_random": Kind(
            make=mask_random, settings={"fill": "mask_fill", "grow_ratio": "mask_grow_ratio"}, is_single=True
        ),
        "downsampled": Kind(make=downsampled, settings={"factor": "shrink_factor"}),
        "pixelated": Kind(make=pixelated, settings={"block_px": "block_px"}),
        "blurred": Kind(make=blurred, settings={"radius_px": "blur_px"}),
        "noised": Kind(make=noised, settings={"step": "noise_step", "schedule": "noise_schedule"}),
        "blank": Kind(make=blank, settings={"fill": "blank_fill"}, hides_evidence=True),
        "none": Kind(make=none, is_single=True, hides_evidence=True),
    }
)
"""Every kind of negative view."""


def _around(image: Image.Image, evidence: Sequence[Box], target: Box, thing: Box) -> Cut | Rejection:
    box = nearest_free_box(image, evidence, target.width, target.height, thing)
    if box is None:
        size = f"{target.width} x {target.height} px"
        return rejected("no_room", f"no place for {size} shows {thing.as_tuple()} without the evidence")
    return cut_at(image, box)


def _covered(image: Image.Image, boxes: Sequence[Box], fill: Fill, stream: np.random.Generator) -> Image.Image:
    covered = image.copy()
    for box in boxes:
        part = image.crop(box.as_tuple())
        covered.paste(degrade.fill_for(image, part, fill, stream), box.as_tuple()[:2])
    return covered


def _no_room(image: Image.Image, width: int, height: int) -> Rejection:
    size = f"{image.width} x {image.height} px"
    return rejected("no_room", f"no place for {width} x {height} px beside the evidence in {size}")
