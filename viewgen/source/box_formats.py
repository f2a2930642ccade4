"""Turn the boxes of a source, in its own format, units and basis, into pixels of the upright image; and find boxes that
cannot be in the format they are said to be in. Pure.
Leaves out: reading the boxes (values.py), the size of the image (images.py).

Formats: xyxy is x0, y0, x1, y1; xywh is x, y of the near corner and the size; cxcywh is the centre and the size.
Basis: `upright` boxes refer to the image as it is shown, `stored` ones to its pixels before the EXIF orientation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from viewgen.boxes import Box, containment
from viewgen.records import Annotation, Question, Rejection, SourceBox

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
BoxUnits = Literal["unstated", "pixels", "0..1", "0..1000"]
BoxBasis = Literal["upright", "stored"]
Corners = tuple[float, float, float, float]

FIELDS: Mapping[BoxFormat, tuple[str, str, str, str]] = {
    "xyxy": ("x0", "y0", "x1", "y1"),
    "xywh": ("x", "y", "w", "h"),
    "cxcywh": ("cx", "cy", "w", "h"),
}
"""Names of the four numbers of a box, by format."""
MIN_INSIDE = 0.5
"""A box of which less lies in its image is not a box of that image."""
CLEAR_SHARE = 0.5
"""From this share of boxes on, it is the source that has other units, not a row."""
CLEAR_INVERTED = 0.05
_SCALE = {"0..1": 1.0, "0..1000": 1000.0}

_TURNED: Mapping[int, Callable[[float, float, float, float], tuple[float, float]]] = {
    1: lambda x, y, w, h: (x, y),
    2: lambda x, y, w, h: (w - x, y),
    3: lambda x, y, w, h: (w - x, h - y),
    4: lambda x, y, w, h: (x, h - y),
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}
"""EXIF orientation -> the upright place of a stored point, in an image that is stored with w x h pixels."""


def corners_of(numbers: Corners, box_format: BoxFormat) -> Corners:
    """Return x0, y0, x1, y1 of four numbers in a format. No order is promised: x1 <= x0 for a width of 0 or less."""
    a, b, c, d = numbers
    if box_format == "xywh":
        return a, b, a + c, b + d
    if box_format == "cxcywh":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return numbers


def is_inverted(corners: Corners) -> bool:
    """Return True for corners without an area between them."""
    x0, y0, x1, y1 = corners
    return x1 <= x0 or y1 <= y0


def is_pixels(box: SourceBox, basis: str) -> bool:
    """Return True for a box that is pixels of the upright image already, as far as can be said without the image."""
    return box.units in {"unstated", "pixels"} and basis == "upright" and not fault_of(box)


def fault_of(box: SourceBox) -> Rejection | None:
    """Return the rejection of a box that is none in its units, whatever its image."""
    shown = ", ".join(f"{number:g}" for number in box.corners)
    if is_inverted(box.corners):
        return _rejection("box_inverted", f"the box {shown} of {box.phrase!r} has x1 <= x0 or y1 <= y0")
    if _is_below_one(box) and box.units != "0..1":
        what = f"the box {shown} of {box.phrase!r} lies within 0 to 1, which are no {_named(box.units)}"
        return _rejection("box_units", what)
    return None


def source_fault(questions: Sequence[tuple[str, Sequence[SourceBox]]]) -> str | None:
    """Return the sentence, with the counts and the remedy, about boxes that are in another format or in other units than
    the source says; None when at most single boxes are wrong. `questions`: question_id and boxes."""
    boxes = [(name, box) for name, found in questions for box in found]
    inverted = [name for name, box in boxes if is_inverted(box.corners)]
    if len(inverted) > CLEAR_INVERTED * len(boxes):
        what = f"{_counted(inverted, boxes)} have x1 <= x0 or y1 <= y0"
        return f'{what}. Set source.box_format = "xywh" or "cxcywh" if they are that; else change the query.'
    below = [name for name, box in boxes if _is_below_one(box) and box.units != "0..1"]
    if boxes and len(below) >= CLEAR_SHARE * len(boxes):
        what = f"{_counted(below, boxes)} lie within 0 to 1, which are no {_named(boxes[0][1].units)}"
        return f'{what}. Set source.box_units = "0..1".'
    above = [name for name, box in boxes if _is_above(box)]
    if boxes and len(above) >= CLEAR_SHARE * len(boxes):
        what = f"{_counted(above, boxes)} reach beyond {boxes[0][1].units}"
        return f"{what}. Set source.box_units to the units they have: pixels, 0..1, or 0..1000."
    return None


def upright_box(box: SourceBox, basis: str, width_px: int, height_px: int, orientation: int = 1) -> Box:
    """Return a box in pixels of the upright image of width_px x height_px, rounded outwards: parts of pixels count whole.

    `orientation`: the EXIF orientation, 1 to 8, that turned the stored pixels upright; it matters for stored boxes.

    upright_box(SourceBox(phrase="dog", corners=(0.0, 0.0, 0.5, 0.25), units="0..1"), "upright", 200, 100)
    # Box(0, 0, 100, 25)
    """
    is_stored = basis == "stored"
    width, height = (height_px, width_px) if is_stored and orientation >= 5 else (width_px, height_px)
    across, down = (1.0, 1.0)
    if scale := _SCALE.get(box.units):
        across, down = width / scale, height / scale
    x0, y0, x1, y1 = box.corners
    turn = _TURNED[orientation if is_stored else 1]
    a, b = turn(x0 * across, y0 * down, width, height), turn(x1 * across, y1 * down, width, height)
    return rounded((min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])))


def rounded(corners: Corners) -> Box:
    """Return the whole pixels that the corners touch. A hair's breadth, from multiplying, touches none."""
    x0, y0, x1, y1 = (round(corner, 6) for corner in corners)
    return Box(math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))


def placed_annotations(
    question: Question, width_px: int, height_px: int, orientation: int = 1
) -> tuple[Annotation, ...] | Rejection:
    """Return the boxes of a question in pixels of its upright image, or the rejection: box_inverted, box_units, or
    box_outside for a box that lies mostly outside the image."""
    found = list(question.annotations)
    for box in question.source_boxes:
        if fault := fault_of(box):
            return fault
        place = upright_box(box, question.box_basis, width_px, height_px, orientation)
        found.append(Annotation(phrase=box.phrase, box=place, score=box.score))
    image = Box(0, 0, width_px, height_px)
    for annotation in found:
        share = containment(annotation.box, image)
        if share < MIN_INSIDE:
            where = f"the box {annotation.box.as_tuple()} of {annotation.phrase!r}"
            return _rejection("box_outside", f"{where} lies to {1 - share:.0%} outside the {width_px} x {height_px} px")
    return tuple(found)


def _is_below_one(box: SourceBox) -> bool:
    return all(-1 <= corner <= 1 for corner in box.corners)


def _is_above(box: SourceBox) -> bool:
    return max(map(abs, box.corners)) > 1.5 * _SCALE.get(box.units, math.inf)


def _named(units: str) -> str:
    return f"numbers {units}" if units in _SCALE else "pixels"


def _counted(some: Sequence[str], boxes: Sequence[object]) -> str:
    return f"{len(some):,} of {len(boxes):,} boxes, as of question {some[0]!r},"


def _rejection(reason: str, message: str) -> Rejection:
    return Rejection(stage="evidence", reason=reason, message=message)
