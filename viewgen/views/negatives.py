"""Negative views: images that resemble the positive but do not show the evidence. One function and one record per
kind; each function is pure: the same image, boxes, random stream and settings give the same pixels.
Leaves out: seeds, encoding and rows (cutting.py); whether a negative still shows the evidence (audit/auditor.py).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside. `target` is the evidence box that the view is for;
`evidence` are all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from viewgen.boxes import Box, overlap_area, place
from viewgen.records import QuestionRecord, Rejection
from viewgen.views import degrade
from viewgen.views.kinds import (
    DIFFERS,
    Cut,
    Kind,
    Params,
    any_free_box,
    box_text,
    cut_at,
    nearest_free_box,
    register,
    rejected,
)
from viewgen.views.positives import own_regions

Fit = Literal["cut", "resize"]


def no_room(image: Image.Image, width: int, height: int) -> Rejection:
    """Return the rejection of a view that finds no place off the evidence."""
    size = f"{image.width} x {image.height} px"
    return rejected("no_room", f"no place for {width} x {height} px beside the evidence in {size}")


def off_region(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, grid_px: int
) -> Cut | Rejection:
    """Cut a box of the target's size that overlaps no evidence box: it differs from the positive in place alone.

    Every place that starts on a multiple of grid_px is equally likely. Rejects with no_room when there is none."""
    box = any_free_box(image, evidence, target.width, target.height, grid_px, stream)
    return cut_at(image, box) if box else no_room(image, target.width, target.height)


def off_region_downsampled(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    grid_px: int,
    factor: float,
) -> Cut | Rejection:
    """Cut off the evidence as many pixels as the target has, of the image made `factor` times smaller (arXiv 2606.25319).

    Shows more of the image in less detail. The full image itself is not touched.

    Cut first, then made smaller: the same pixels, but no filter carries evidence over the edge of the cut. The box is in
    the image as it was, `factor` times as wide and high as the view. Rejects with no_room when there is no place."""
    width, height = round(target.width * factor), round(target.height * factor)
    box = any_free_box(image, evidence, width, height, grid_px, stream)
    if box is None:
        return no_room(image, width, height)
    return Cut(image.crop(box.as_tuple()).resize((target.width, target.height), Image.Resampling.BOX), box)


def same_class(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, instance: Box
) -> Cut | Rejection:
    """Cut a box of the target's size around another instance of the phrase, as near to its middle as the evidence allows.

    Rejects with no_room when no such cut shows it without the evidence."""
    return _around(image, evidence, target, instance)


def hard_off_region(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, tile: Box
) -> Cut | Rejection:
    """Cut a box of the target's size around the tile off the evidence that is most similar to the phrases.

    Rejects with no_room when no such cut shows the tile without the evidence."""
    return _around(image, evidence, target, tile)


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
    """Cut the positive of another question; `image` is that question's image. `fit` makes it as large as the target.

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


def blank(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    fill: Literal["mean", "grey", "black"],
) -> Cut:
    """Return an image of the target's size in one colour."""
    return Cut(Image.new("RGB", (target.width, target.height), degrade.colour(image, fill)), None)


def none(image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator) -> Cut:
    """Return no image: the full image and the question stand alone."""
    return Cut(None, None)


def _other_instance(image: Image.Image, record: QuestionRecord, number: int, target: Box) -> Params | Rejection:
    """Choose the best region of the phrase that can be shown without any evidence; tiles of retrieval are no objects."""
    evidence = record.found_evidence
    phrases = {region.phrase for region in own_regions(evidence, number)}
    others = [
        region
        for region in record.regions
        if region.phrase in phrases
        and region.source != "retrieval"
        and not any(overlap_area(region.box, box) for box in evidence.boxes)
    ]
    for region in sorted(others, key=lambda region: (region.rank, region.source, region.phrase, region.box)):
        if nearest_free_box(image, evidence.boxes, target.width, target.height, region.box):
            return {"instance": box_text(region.box)}
    found = f"{len(others)} found beside the evidence"
    return rejected("no_instance", f"no other {' or '.join(map(repr, sorted(phrases)))} can be shown, {found}")


def _hard_tile(image: Image.Image, record: QuestionRecord, number: int, target: Box) -> Params | Rejection:
    tile = record.hard_tile
    return {"tile": box_text(tile)} if tile else rejected("no_tile", "no tile lies beside the evidence")


def _donor(image: Image.Image, record: QuestionRecord, number: int, target: Box) -> Params | Rejection:
    donor = record.donor
    if donor is None:
        return rejected("no_donor", "no other question is about another image and other things")
    return {"donor": donor.question_id, "donor_box": box_text(donor.box)}


def _around(image: Image.Image, evidence: Sequence[Box], target: Box, thing: Box) -> Cut | Rejection:
    box = nearest_free_box(image, evidence, target.width, target.height, thing)
    if box is None:
        size = f"{target.width} x {target.height} px"
        return rejected("no_room", f"no place for {size} shows {thing.as_tuple()} without the evidence")
    return cut_at(image, box)


register(
    Kind(
        name="off_region",
        role="negative",
        make=off_region,
        about="An exact cut of the positive's size that overlaps no evidence box, at a random place: it differs from the "
        "positive in place alone. Not made where the image has no such place (`no_room`).",
        settings={"grid_px": "grid_px"},
    ),
    Kind(
        name="off_region_downsampled",
        role="negative",
        make=off_region_downsampled,
        about="As many pixels as the positive has, off the evidence, of the image made `downsample_factor` times "
        "smaller: the paper's negative. It differs from the positive in sharpness as well as in place, which the "
        "audit flags.",
        source="arXiv 2606.25319",
        settings={"grid_px": "grid_px", "factor": "downsample_factor"},
    ),
    Kind(
        name="same_class",
        role="negative",
        make=same_class,
        about="A cut of the positive's size around another instance of the phrase: right class, wrong object. It needs "
        "boxes of a detector or of the source (`no_instance` without another one). Its content may well fit the "
        "phrase, so only its place, and a copy of the positive, can tell a leak.",
        needs=frozenset({"regions"}),
        inputs=_other_instance,
        boxes=("instance",),
        judged_by=("evidence_overlap",),
    ),
    Kind(
        name="hard_off_region",
        role="negative",
        make=hard_off_region,
        about="A cut of the positive's size around the tile off the evidence that the retrieval model finds most "
        "similar to the phrases: a hard negative of another place.",
        needs=frozenset({"tiles"}),
        inputs=_hard_tile,
        boxes=("tile",),
    ),
    Kind(
        name="swapped",
        role="negative",
        make=swapped,
        about="The positive crop of another question, about another image and other objects, as large as the positive. "
        "`donors` chooses that question at random or by the most similar crop, `swap_fit` makes it fit.",
        settings={"fit": "swap_fit"},
        needs=frozenset({"donor"}),
        inputs=_donor,
        boxes=("donor_box",),
        judged_by=("evidence_overlap",),
    ),
    Kind(
        name="blank",
        role="negative",
        make=blank,
        about="An image of the positive's size in one colour (`blank_fill`): no content at all. It cannot leak.",
        settings={"fill": "blank_fill"},
        shown="nothing",
        judged_by=(),
        flags=DIFFERS,
    ),
    Kind(
        name="none",
        role="negative",
        make=none,
        about="No view at all: the full image and the question alone. It cannot leak and has no flags.",
        is_single=True,
        shown="nothing",
        judged_by=(),
        flags=(),
    ),
)
