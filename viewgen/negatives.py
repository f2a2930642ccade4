"""Negative views: pictures that resemble the positive crop but do not show the evidence. One function per kind, each
pure: the same image, boxes, random stream and settings give the same pixels.
Leaves out: seeds, encoding and records (views.py); judging whether a negative still shows the evidence (audit).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside. `target` is the evidence box of the positive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from viewgen.boxes import Box, grow
from viewgen.records import Rejection

Fill = Literal["mean", "grey", "black"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Pixels of a view, and where they come from: None when they are the whole image."""

    image: Image.Image
    box: Box | None


def off_region(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, grid_px: int
) -> Cut | Rejection:
    """An exact cut of the target's size that overlaps no evidence box: differs from the positive in place alone.

    Every place that starts on a multiple of grid_px is equally likely. Rejects with no_room when there is none."""
    box = _free_box(image, evidence, target, stream, grid_px)
    return box if isinstance(box, Rejection) else Cut(image.crop(box.as_tuple()), box)


def off_region_downsampled(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    grid_px: int,
    factor: float,
) -> Cut | Rejection:
    """As off_region, then made `factor` times smaller and as large again: the published negative, which lacks sharpness
    too (arXiv 2606.25319). Only this cut is touched: neither the positive nor the full image is.

    Cut first, then resized: no filter can carry pixels of the evidence over the edge of the cut."""
    box = _free_box(image, evidence, target, stream, grid_px)
    if isinstance(box, Rejection):
        return box
    small = (max(1, round(box.width / factor)), max(1, round(box.height / factor)))
    blurred = image.crop(box.as_tuple()).resize(small, Image.Resampling.BOX)
    return Cut(blurred.resize((box.width, box.height), Image.Resampling.BICUBIC), box)


def masked(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    fill: Fill,
    grow_ratio: float,
) -> Cut | Rejection:
    """The full image with every evidence box, both sides times grow_ratio, filled with one colour. Draws nothing."""
    hidden = image.copy()
    colour = _fill_colour(image, fill)
    for box in evidence:
        hidden.paste(colour, grow(box, grow_ratio, 1, image.width, image.height).as_tuple())
    return Cut(hidden, None)


def shuffled_patches(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, patch_px: int
) -> Cut | Rejection:
    """The positive's own pixels in square patches of patch_px that changed places: same colours, no shapes.

    A strip that is too narrow for a patch, right and below, stays. Rejects with too_few_patches below two."""
    rows, columns = target.height // patch_px, target.width // patch_px
    if rows * columns < 2:
        found = f"a crop of {target.width} x {target.height} px holds {rows * columns} patches of {patch_px} px"
        return _rejection("too_few_patches", f"{found}, 2 needed")
    pixels = np.array(image.crop(target.as_tuple()))
    order = stream.permutation(rows * columns)
    while (order == np.arange(order.size)).all():
        order = stream.permutation(rows * columns)
    inner = pixels[: rows * patch_px, : columns * patch_px]
    split = inner.reshape(rows, patch_px, columns, patch_px, 3).swapaxes(1, 2).reshape(-1, patch_px, patch_px, 3)
    joined = split[order].reshape(rows, columns, patch_px, patch_px, 3).swapaxes(1, 2)
    pixels[: rows * patch_px, : columns * patch_px] = joined.reshape(inner.shape)
    return Cut(Image.fromarray(pixels), target)


KINDS: Mapping[str, Callable[..., Cut | Rejection]] = MappingProxyType(
    {
        "off_region": off_region,
        "off_region_downsampled": off_region_downsampled,
        "masked": masked,
        "shuffled_patches": shuffled_patches,
    }
)
"""Every kind of negative: fn(image, evidence, target, stream, **settings of the kind)."""


def _free_box(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, grid_px: int
) -> Box | Rejection:
    free_yx = free_places(image.width, image.height, evidence, target.width, target.height, grid_px)
    per_row = np.cumsum(free_yx.sum(axis=1))
    if not per_row[-1]:
        size = f"{target.width} x {target.height} px"
        return _rejection("no_room", f"no place for {size} beside the evidence in {image.width} x {image.height} px")
    # Count along rows rather than list all places: a large photograph has tens of millions.
    pick = int(stream.integers(per_row[-1]))
    row = int(np.searchsorted(per_row, pick, side="right"))
    column = int(np.flatnonzero(free_yx[row])[pick - (per_row[row - 1] if row else 0)])
    x0, y0 = column * grid_px, row * grid_px
    return Box(x0, y0, x0 + target.width, y0 + target.height)


def free_places(
    image_width: int, image_height: int, taken: Sequence[Box], width: int, height: int, grid_px: int
) -> Bool[np.ndarray, "rows columns"]:
    """Whether a box of width x height at (column * grid_px, row * grid_px) overlaps none of the taken boxes."""
    rows, columns = (image_height - height) // grid_px + 1, (image_width - width) // grid_px + 1
    free_yx = np.ones((rows, columns), dtype=bool)
    for box in taken:
        # Starts that collide along an axis: box start - size < start < box end.
        first_row, first_column = (max(0, (edge // grid_px) + 1) for edge in (box.y0 - height, box.x0 - width))
        free_yx[first_row : -(-box.y1 // grid_px), first_column : -(-box.x1 // grid_px)] = False
    return free_yx


def _fill_colour(image: Image.Image, fill: Fill) -> tuple[int, int, int]:
    if fill == "mean":
        red, green, blue = (round(float(level)) for level in _pixels(image).mean(axis=(0, 1)))
        return red, green, blue
    level = {"grey": 128, "black": 0}[fill]
    return level, level, level


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(image)


def _rejection(reason: str, message: str) -> Rejection:
    return Rejection(stage="views", reason=reason, message=message)
