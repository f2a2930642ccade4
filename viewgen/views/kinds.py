"""Kinds of view: one record says how a kind is made, which inputs it needs, how a leak shows and which flags apply. Also
the tools that kinds are made with: exact cuts, and free places for a box of a given size. Pure.
Leaves out: the kinds themselves (positives.py, negatives.py), how pixels are degraded (degrade.py).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int
from PIL import Image

from viewgen.boxes import Box, overlap_area
from viewgen.records import QuestionRecord, Rejection

Params = dict[str, float | int | str]
"""Inputs of a view as its row holds them: numbers, words, and boxes as text."""
Role = Literal["positive", "negative"]
Need = Literal["regions", "tiles", "donor"]
Shown = Literal["area", "edges", "detail", "nothing"]

LEAKS = ("leaks_evidence",)
COPIES = ("duplicate", "near_duplicate")
DIFFERS = ("sharpness_differs", "size_differs", "encoding_differs")
LACKS = ("positive_lacks_evidence", "positive_is_blank")
MODELS_AND_PLACE = ("evidence_overlap", "detector_score", "similarity_margin")
"""Numbers of the audit that show a leak in a view of another place: where it was cut, and what models see in it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Pixels of a view, and the box they come from."""

    image: Image.Image | None
    """None for a view that shows nothing at all."""
    box: Box | None
    """None where the view is no plain cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of view: its making, its needs, its leaks, its flags and its paragraph in docs/kinds.md.

    register(Kind(name="mirrored", role="negative", make=mirrored, about="The positive, left and right exchanged."))
    """

    name: str
    role: Role
    make: Callable[..., Cut | Rejection]
    """Function (image, evidence, target, stream, **inputs and settings) of the pixels, without side effects. `target` is
    the evidence box that the view is for."""
    about: str
    """Paragraph for docs/kinds.md."""
    source: str = ""
    """Paper that the kind comes from; empty for our own."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Parameter of `make` -> field of ViewsConfig that gives its value."""
    needs: frozenset[Need] = frozenset()
    """regions: the regions that the evidence was chosen from. tiles: a retrieval model. donor: another question; its
    image is then the one that is cut."""
    inputs: Callable[[Image.Image, QuestionRecord, int, Box], Params | Rejection] | None = None
    """Function (image, question, number of the evidence box, target) of the inputs that depend on the question. They
    are stored in the row, so that the row alone reproduces the view."""
    boxes: tuple[str, ...] = ()
    """Inputs that are boxes."""
    is_single: bool = False
    """One view for all evidence boxes together; else one for each of them."""
    keeps_margin: bool = False
    """The target is the whole evidence box even where the first positive is crop_exact."""
    is_plain: bool = False
    """The pixels are those of the image: other views of the question can be compared with them in place."""
    moves_pixels: bool = False
    """Pixels stand at other places than in the image: the evidence is looked for anywhere in the view."""
    shows_evidence_alone: bool = False
    """A cut around the evidence: the positive that negatives are compared with, where there is one."""
    shown: Shown = "area"
    """Measure of the evidence that the view shows: area of the evidence boxes inside its box; edges that a mask leaves;
    fine detail that is left of the positive; nothing, whatever the box."""
    judged_by: tuple[str, ...] = MODELS_AND_PLACE
    """Numbers of the audit that show a leak in a negative, or a lack in a positive."""
    flags: tuple[str, ...] = (*LEAKS, *COPIES, *DIFFERS)
    """Flags of the audit that can be raised on it."""


KINDS: dict[str, Kind] = {}
"""Every kind of view by name, positives first; filled by positives.py, negatives.py and whoever registers more."""


def register(*kinds: Kind) -> None:
    """Make kinds known to settings, cutting and audit. Raises ValueError for a name that another kind has."""
    for kind in kinds:
        if kind.name in KINDS:
            raise ValueError(f"there is a kind of view {kind.name!r} already. Give the new one another name.")
        KINDS[kind.name] = kind


def kinds_of(role: Role) -> dict[str, Kind]:
    """Return the kinds of one role, by name."""
    return {name: kind for name, kind in KINDS.items() if kind.role == role}


def kind_modules(names: Iterable[str]) -> tuple[str, ...]:
    """Return the modules that define these kinds: a worker process imports them before it cuts."""
    return tuple(sorted({KINDS[name].make.__module__ for name in names}))


def rejected(reason: str, message: str) -> Rejection:
    """Return the rejection of a view."""
    return Rejection(stage="views", reason=reason, message=message)


def cut_at(image: Image.Image, box: Box) -> Cut:
    """Cut the pixels of a box as they are."""
    return Cut(image.crop(box.as_tuple()), box)


def box_text(box: Box) -> str:
    """Write a box as a row's params hold it: x0,y0,x1,y1."""
    return ",".join(str(edge) for edge in box.as_tuple())


def read_box(text: str) -> Box:
    """Read a box that box_text wrote."""
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
    """Draw a box of width x height that overlaps none of the taken ones and starts on multiples of grid_px.

    Every such place is equally likely. Returns None when there is none."""
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
    """Return the numbers of the multiples of grid_px strictly between `after` and `before`, as a span within 0..count."""
    first, end = max(after // grid_px + 1, 0), -(-before // grid_px)
    return min(first, count), min(max(end, first), count)


def nearest_free_box(image: Image.Image, taken: Sequence[Box], width: int, height: int, thing: Box) -> Box | None:
    """Find the box of width x height nearest to the middle of `thing` that overlaps none of the taken ones and shows as
    much of `thing` as its size allows. Returns None when there is none."""
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
