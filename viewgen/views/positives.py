"""Positive views: pictures that show the evidence, and one that may not, for comparison. One function per kind, each
pure: the same image, boxes, random stream and settings give the same pixels.
Leaves out: seeds, encoding and records (views.py).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside. `target` is the evidence box that the view is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from PIL import Image

from viewgen.boxes import Box, containment, union
from viewgen.records import Evidence, Region
from viewgen.views.kinds import Cut, Kind, any_free_box, cut_at


def crop(image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator) -> Cut:
    """An exact cut of the evidence box, the surroundings that were grown around it included."""
    return cut_at(image, target)


def crop_exact(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, exact: Box
) -> Cut:
    """An exact cut of what is believed to be the thing itself, without surroundings."""
    return cut_at(image, exact)


def full(image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator) -> Cut:
    """The whole image a second time: evidence without any hint of where it is."""
    return Cut(image, Box(0, 0, image.width, image.height))


def random_crop(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, grid_px: int
) -> Cut:
    """An exact cut of the target's size anywhere in the image, on the evidence or beside it: the "random positive" of
    arXiv 2606.25319's ablation. Every place that starts on a multiple of grid_px is equally likely."""
    box = any_free_box(image, (), target.width, target.height, grid_px, stream)
    assert box is not None, "an evidence box fits into its image"
    return cut_at(image, box)


def exact_box(evidence: Evidence, number: int) -> Box | None:
    """Around the believed regions that the numbered evidence box is for; None when it was made from none."""
    own = own_regions(evidence, number)
    return union(region.box for region in own) if own else None


def own_regions(evidence: Evidence, number: int) -> list[Region]:
    """The believed regions of which the numbered evidence box shows most, the first of equals."""

    def home(region: Region) -> int:
        shares = [containment(region.box, box) for box in evidence.boxes]
        return shares.index(max(shares))

    return [region for region in evidence.regions if home(region) == number]


POSITIVES: Mapping[str, Kind] = MappingProxyType(
    {
        "crop": Kind(make=crop),
        "crop_exact": Kind(make=crop_exact),
        "full": Kind(make=full, is_single=True),
        "random_crop": Kind(make=random_crop, settings={"grid_px": "grid_px"}),
    }
)
"""Every kind of positive view."""
