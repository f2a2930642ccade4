"""What every kind of view is made with: its pixels and where they lie, a kind's entry in the registry, and places for a
box of a given size. Pure.
Leaves out: the kinds themselves (positives.py, negatives.py), how pixels are spoilt (degrade.py).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from PIL import Image

from viewgen.boxes import Box, overlap_area
from viewgen.records import Rejection


@dataclass(frozen=True, slots=True)
class Cut:
    """Pixels of a view, None for no picture at all, and where they come from: None when that is no plain cut."""

    image: Image.Image | None
    box: Box | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one kind of view is made, and what its pixels can be trusted with."""

    make: Callable[..., Cut | Rejection]
    """fn(image, evidence, target, stream, **settings of the kind)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Parameter of `make` -> the setting of ViewsConfig that gives it."""
    is_single: bool = False
    """One view for all evidence boxes together; else one for each of them."""
    hides_evidence: bool = False
    """Shows nothing of the evidence wherever its box lies: it is covered, or the pixels come from elsewhere."""


def rejected(reason: str, message: str) -> Rejection:
    return Rejection(stage="views", reason=reason, message=message)


def cut_at(image: Image.Image, box: Box) -> Cut:
    """The pixels of a box as they are."""
    return Cut(image.crop(box.as_tuple()), box)


def box_text(box: Box) -> str:
    """A box as a row's params hold it: x0,y0,x1,y1."""
    return ",".join(str(edge) for edge in box.as_tuple())


def read_box(text: str) -> Box:
    x0, y0, x1, y1 = (int(edge) for edge in text.split(","))
    return Box(x0, y0, x1, y1)


class _Band(NamedTuple):
    """Rows of the grid in which the same columns are free."""

    first_row: int
    num_rows: int
    columns: Int[np.ndarray, " free"]


def any_free_box(
    image: Image.Image, taken: Sequence[Box], width: int, height: int, grid_px: int, stream: np.random.Generator
) -> Box | None:
    """A box of width x height that overlaps none of the taken ones and starts on multiples of grid_px. Every such place
    is equally likely; None when there is none."""
    # Bands, not a map of all places: a large photograph has tens of millions.
    bands = list(_bands(image.width, image.height, taken, width, height, grid_px))
    ends = np.cumsum([band.num_rows * band.columns.size for band in bands])
    if not bands or not ends[-1]:
        return None
    pick = int(stream.integers(ends[-1]))
    number = int(np.searchsorted(ends, pick, side="right"))
    band = bands[number]
    row, column = divmod(pick - (int(ends[number - 1]) if number else 0), band.columns.size)
    x0, y0 = int(band.columns[column]) * grid_px, (band.first_row + row) * grid_px
    return Box(x0, y0, x0 + width, y0 + height)


def _bands(
    image_width: int, image_height: int, taken: Sequence[Box], width: int, height: int, grid_px: int
) -> Iterator[_Band]:
    num_rows, num_columns = (image_height - height) // grid_px + 1, (image_width - width) // grid_px + 1
    if num_rows < 1 or num_columns < 1:
        return
    # Starts that collide along an axis: box start - size < start < box end.
    rows = [_colliding(box.y0 - height, box.y1, grid_px, num_rows) for box in taken]
    columns = [_colliding(box.x0 - width, box.x1, grid_px, num_columns) for box in taken]
    edges = sorted({0, num_rows, *(edge for span in rows for edge in span)})
    for first, end in pairwise(edges):
        is_free = np.ones(num_columns, dtype=bool)
        for row, column in zip(rows, columns, strict=True):
            if row[0] <= first < row[1]:
                is_free[slice(*column)] = False
        yield _Band(first, end - first, np.flatnonzero(is_free))


def _colliding(after: int, before: int, grid_px: int, count: int) -> tuple[int, int]:
    """Numbers of the multiples of grid_px strictly between `after` and `before`, as a span within 0..count."""
    first, end = max(after // grid_px + 1, 0), -(-before // grid_px)
    return min(first, count), min(max(end, first), count)


def nearest_free_box(image: Image.Image, taken: Sequence[Box], width: int, height: int, thing: Box) -> Box | None:
    """The box of width x height nearest to the middle of `thing` that overlaps none of the taken ones and shows as much
    of `thing` as its size allows; None when there is none."""
    last_x, last_y = image.width - width, image.height - height
    if last_x < 0 or last_y < 0:
        return None
    wish_x = min(max((thing.x0 + thing.x1 - width) // 2, 0), last_x)
    wish_y = min(max((thing.y0 + thing.y1 - height) // 2, 0), last_y)
    # The nearest free place keeps the wished coordinate or touches a taken box, along each axis.
    starts_x = {wish_x, *(edge for box in taken for edge in (box.x0 - width, box.x1))}
    starts_y = {wish_y, *(edge for box in taken for edge in (box.y0 - height, box.y1))}
    most = min(width, thing.width) * min(height, thing.height)
    found: list[tuple[int, Box]] = []
    for x0, y0 in ((x, y) for x in starts_x if 0 <= x <= last_x for y in starts_y if 0 <= y <= last_y):
        box = Box(x0, y0, x0 + width, y0 + height)
        if overlap_area(box, thing) == most and not any(overlap_area(box, other) for other in taken):
            found.append(((x0 - wish_x) ** 2 + (y0 - wish_y) ** 2, box))
    return min(found)[1] if found else None
