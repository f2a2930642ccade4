"""Positive views: images that show the evidence, and one that may not, for comparison. One function and one record per
kind; each function is pure: the same image, boxes, random stream and settings give the same pixels.
Leaves out: seeds, encoding and rows (cutting.py).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside. `target` is the evidence box that the view is for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from viewgen.boxes import Box, containment, union
from viewgen.records import Evidence, QuestionRecord, Region, Rejection
from viewgen.views.kinds import LACKS, Cut, Kind, Params, any_free_box, box_text, cut_at, register, rejected


def crop(image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator) -> Cut:
    """Cut the evidence box, with the margin that was grown around it."""
    return cut_at(image, target)


def crop_exact(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, exact: Box
) -> Cut:
    """Cut the regions that the evidence was chosen from, without margin."""
    return cut_at(image, exact)


def full(image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator) -> Cut:
    """Return the whole image: evidence without any hint of its place."""
    return Cut(image, Box(0, 0, image.width, image.height))


def random_crop(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, grid_px: int
) -> Cut:
    """Cut a box of the target's size anywhere in the image, on the evidence or off it (arXiv 2606.25319, ablation).

    Every place that starts on a multiple of grid_px is equally likely."""
    box = any_free_box(image, (), target.width, target.height, grid_px, stream)
    assert box is not None, "an evidence box fits into its image"
    return cut_at(image, box)


def exact_box(evidence: Evidence, number: int) -> Box | None:
    """Return the box around the regions that the numbered evidence box was made from; None when it was made from none."""
    own = own_regions(evidence, number)
    return union(region.box for region in own) if own else None


def own_regions(evidence: Evidence, number: int) -> list[Region]:
    """Return the regions of the evidence that the numbered box shows most of; of equal boxes the first counts."""

    def home(region: Region) -> int:
        shares = [containment(region.box, box) for box in evidence.boxes]
        return shares.index(max(shares))

    return [region for region in evidence.regions if home(region) == number]


def _exact(image: Image.Image, record: QuestionRecord, number: int, target: Box) -> Params | Rejection:
    exact = exact_box(record.found_evidence, number)
    return {"exact": box_text(exact)} if exact else rejected("no_region", "the evidence was made from no region")


register(
    Kind(
        name="crop",
        role="positive",
        make=crop,
        about="An exact cut of the evidence box, with the margin that was grown around the regions. The paper's "
        "positive.",
        source="arXiv 2606.25319",
        keeps_margin=True,
        is_plain=True,
        shows_evidence_alone=True,
        judged_by=("evidence_overlap", "detector_score"),
        flags=LACKS,
    ),
    Kind(
        name="crop_exact",
        role="positive",
        make=crop_exact,
        about="An exact cut of the regions that the evidence was chosen from, without margin: the object and nothing "
        "else. When it is the first positive, negatives take its size. It cannot be made where evidence came from no "
        "region.",
        needs=frozenset({"regions"}),
        inputs=_exact,
        boxes=("exact",),
        is_plain=True,
        shows_evidence_alone=True,
        # It leaves the margin of the evidence box out, and so holds little of it where a small object was grown.
        judged_by=("detector_score",),
        flags=LACKS,
    ),
    Kind(
        name="full",
        role="positive",
        make=full,
        about="The whole image a second time: it holds the evidence without any hint of its place. A control for the "
        "crop.",
        is_single=True,
        is_plain=True,
        judged_by=("evidence_overlap", "detector_score"),
        flags=LACKS,
    ),
    Kind(
        name="random_crop",
        role="positive",
        make=random_crop,
        about="An exact cut of the target's size anywhere in the image, on the evidence or off it: the \"random "
        'positive" '
        "of the paper's ablation. A placebo, not a view of the evidence.",
        source="arXiv 2606.25319",
        settings={"grid_px": "grid_px"},
        is_plain=True,
        judged_by=("evidence_overlap", "detector_score"),
        flags=LACKS,
    ),
)
