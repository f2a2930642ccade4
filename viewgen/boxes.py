"""Boxes in pixels: area, overlap, containment, growing, clipping. Pure.
Leaves out: finding boxes (grounding/), cutting views with them (views/).

The one convention: x0, y0, x1, y1 in whole pixels, x to the right, y down, far edges outside. Width is x1 - x0; a box
over a whole image of w x h pixels is (0, 0, w, h); two boxes that only touch do not overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A rectangle of whole pixels, far edges outside. Raises ValueError when it has no area.

    Box(10, 20, 40, 30).area    # 300: 30 px wide, 10 px high
    """

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise ValueError(f"box {self.x0, self.y0, self.x1, self.y1} has no area: expected x0 < x1 and y0 < y1")

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        return self.width * self.height

    def as_tuple(self) -> tuple[int, int, int, int]:
        return self.x0, self.y0, self.x1, self.y1


def overlap_area(a: Box, b: Box) -> int:
    """Count the pixels that lie in both boxes; 0 for boxes that only touch."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0) * max(height, 0)


def iou(a: Box, b: Box) -> float:
    """Compute intersection over union, 0 to 1."""
    shared = overlap_area(a, b)
    return shared / (a.area + b.area - shared)


def containment(inner: Box, outer: Box) -> float:
    """Compute the share of the area of `inner` that lies in `outer`, 0 to 1."""
    return overlap_area(inner, outer) / inner.area


def union(boxes: Iterable[Box]) -> Box:
    """Return the smallest box around all boxes. Raises ValueError for no boxes."""
    all_boxes = list(boxes)
    if not all_boxes:
        raise ValueError("the union of no boxes is not a box")
    return Box(
        min(b.x0 for b in all_boxes),
        min(b.y0 for b in all_boxes),
        max(b.x1 for b in all_boxes),
        max(b.y1 for b in all_boxes),
    )


def clip(box: Box, width: int, height: int) -> Box | None:
    """Return the part of a box inside an image of width x height pixels; None for a box outside of it.

    clip(Box(-5, 0, 5, 10), 8, 8)    # Box(0, 0, 5, 8)
    """
    return clip_to(box, Box(0, 0, width, height))


def clip_to(box: Box, outer: Box) -> Box | None:
    """Return the part of a box that lies in another; None where they do not overlap."""
    x0, y0, x1, y1 = max(box.x0, outer.x0), max(box.y0, outer.y0), min(box.x1, outer.x1), min(box.y1, outer.y1)
    return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def place(width: int, height: int, centre_x2: int, centre_y2: int, image_width: int, image_height: int) -> Box:
    """Place a box of the given size as near to a centre as the image allows; a larger box is cut to the image.

    The centre is doubled (x0 + x1, y0 + y1), so that half pixels stay whole numbers; an odd rest goes to the left and
    up."""
    width, height = min(width, image_width), min(height, image_height)
    x0 = min(max((centre_x2 - width) // 2, 0), image_width - width)
    y0 = min(max((centre_y2 - height) // 2, 0), image_height - height)
    return Box(x0, y0, x0 + width, y0 + height)


def grow(box: Box, ratio: float, min_side_px: int, image_width: int, image_height: int) -> Box:
    """Multiply both sides of a box by `ratio`, to `min_side_px` or more, and move it (not squeeze it) into the image.

    grow(Box(0, 40, 20, 60), 1.5, 1, 100, 100)    # Box(0, 35, 30, 65)
    """
    width = max(round(box.width * ratio), min_side_px)
    height = max(round(box.height * ratio), min_side_px)
    return place(width, height, box.x0 + box.x1, box.y0 + box.y1, image_width, image_height)
