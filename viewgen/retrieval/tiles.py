"""Rank the tiles of an image for a phrase, and merge neighbours into scored regions. Pure.
Leaves out: embedding tiles with a model (retriever.py).

Cosines of CLIP models are not comparable between models or phrases, so a region's score is its margin: the logit of its
best tile less that of the best tile elsewhere. A phrase that is not in the image has no tile that stands out.
Shapes: N tiles, K regions, D dimensions of the model. Boxes are pixels of the upright image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from viewgen.boxes import Box, overlap_area, union
from viewgen.records import Region

SHOWN = 0.5
"""Minimum overlap, as a share of the smaller one, of a tile that shows a box. Ours: not IoU, since a tile is often a
hundred times larger than the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileIndex:
    """The embedded tiles of one image. Retriever.index() makes one."""

    boxes: tuple[Box, ...]
    box_N4: Int[np.ndarray, "N 4"]
    scaled_ND: Float[np.ndarray, "N D"]
    """Unit vectors times the model's temperature: their products with the vectors of texts are logits, in nats."""
    text: Callable[[str, str], Float[np.ndarray, " D"]]
    """Function: (phrase, question) -> the text vector to compare tiles with."""
    num_best: int
    merge_nats: float

    def logits(self, phrase: str, question: str = "") -> Float[np.ndarray, " N"]:
        """Return the logit of every tile for the phrase, in nats."""
        logit_N: Float[np.ndarray, " N"] = self.scaled_ND @ self.text(phrase, question)
        return logit_N

    def regions(self, phrase: str, question: str = "") -> tuple[Region, ...]:
        """Return the best places for a phrase, best first, with margins in nats.

        With merge_nats, a place is a tile joined with those neighbours that fit about as well, and no two places
        overlap; without, a place is one tile."""
        logit_N = self.logits(phrase, question)
        order = np.argsort(-logit_N, kind="stable").tolist()
        places: list[tuple[int, Box]] = []
        for n in order:
            if len(places) == self.num_best:
                break
            if not self.merge_nats:
                places.append((n, self.boxes[n]))
            elif not any(overlap_area(self.boxes[n], box) for _, box in places):
                places.append((n, self._merged(logit_N, n, [box for _, box in places])))
        scores = margins(self.box_N4, logit_N, places)
        return tuple(
            Region(phrase=phrase, box=box, source="retrieval", score=score, rank=rank, retrieval_rank=order.index(n))
            for rank, ((n, box), score) in enumerate(zip(places, scores, strict=True))
        )

    def ranks(self, phrase: str, boxes: Sequence[Box], question: str = "") -> list[int | None]:
        """Rank each box: the number of tiles with a higher logit than the best tile that shows the box; None for a box
        that no tile shows."""
        logit_N = self.logits(phrase, question)
        shown = [overlap_share(self.box_N4, box) >= SHOWN for box in boxes]
        return [int((logit_N > logit_N[one_N].max()).sum()) if one_N.any() else None for one_N in shown]

    def hardest_tile(self, phrases: Sequence[str], apart_from: Sequence[Box]) -> Box | None:
        """Return the tile with the highest logit, mean over phrases, among those that overlap none of the boxes; None
        without such a tile or without a phrase."""
        apart_N = np.ones(len(self.boxes), dtype=bool)
        for box in apart_from:
            apart_N &= ~overlaps_one(self.box_N4, box)
        if not phrases or not apart_N.any():
            return None
        logit_N = np.mean([self.logits(phrase) for phrase in phrases], axis=0)
        return self.boxes[int(np.where(apart_N, logit_N, -np.inf).argmax())]

    def _merged(self, logit_N: Float[np.ndarray, " N"], chosen: int, apart_from: Sequence[Box]) -> Box:
        # Larger tiles around the chosen one would only blur its place.
        near_N = overlaps_one(self.box_N4, self.boxes[chosen]) & (
            self.box_N4[:, 2] - self.box_N4[:, 0] <= self.boxes[chosen].width
        )
        alike_N = logit_N >= logit_N[chosen] - self.merge_nats
        place = self.boxes[chosen]
        for n in np.flatnonzero(near_N & alike_N).tolist():
            wider = union((place, self.boxes[n]))
            if not any(overlap_area(wider, box) for box in apart_from):
                place = wider
        return place


def tile_boxes(width: int, height: int, tile_px: Sequence[int], stride_px: Sequence[int]) -> tuple[Box, ...]:
    """Return every tile of an image, by size, row by row; the last of a row or column ends at the image's edge.

    A tile larger than the image is cut to the image's shorter side, and its step in the same ratio: otherwise a strip
    would have places outside of all tiles.

    tile_boxes(300, 200, (200,), (100,))    # (Box(0, 0, 200, 200), Box(100, 0, 300, 200))
    """
    boxes: list[Box] = []
    for tile, stride in zip(tile_px, stride_px, strict=True):
        side = min(tile, width, height)
        step = max(1, stride * side // tile)
        columns, rows = _starts(width, side, step), _starts(height, side, step)
        boxes += [Box(x, y, x + side, y + side) for y in rows for x in columns]
    return tuple(dict.fromkeys(boxes))


def margins(
    box_N4: Int[np.ndarray, "N 4"], logit_N: Float[np.ndarray, " N"], places: Sequence[tuple[int, Box]]
) -> list[float]:
    """Return, for each (tile, region around it), the tile's logit less that of the best tile off the region, in nats; 0
    when every tile overlaps the region.

    Under the model's own temperature these are log odds between two places, so they need no scale of cosines."""
    if not places:
        return []
    region_K4 = np.array([box.as_tuple() for _, box in places])
    apart_KN = ~overlaps(box_N4, region_K4)
    rival_K = np.where(apart_KN, logit_N, -np.inf).max(axis=1)
    margin_K = np.where(apart_KN.any(axis=1), logit_N[[n for n, _ in places]] - rival_K, 0.0)
    return [round(margin, 4) for margin in margin_K.tolist()]  # further decimals differ between machines


def overlaps(box_N4: Int[np.ndarray, "N 4"], region_K4: Int[np.ndarray, "K 4"]) -> Bool[np.ndarray, "K N"]:
    """Compare all tiles with all regions: True for a pair that shares a pixel."""
    x0_N, y0_N, x1_N, y1_N = box_N4.T
    left_K, top_K, right_K, bottom_K = region_K4.T[:, :, None]
    shared_KN: Bool[np.ndarray, "K N"] = (x0_N < right_K) & (left_K < x1_N) & (y0_N < bottom_K) & (top_K < y1_N)
    return shared_KN


def overlaps_one(box_N4: Int[np.ndarray, "N 4"], box: Box) -> Bool[np.ndarray, " N"]:
    """Compare all tiles with one box: True for a tile that shares a pixel with it."""
    shared_N: Bool[np.ndarray, " N"] = overlaps(box_N4, np.array([box.as_tuple()]))[0]
    return shared_N


def overlap_share(box_N4: Int[np.ndarray, "N 4"], box: Box) -> Float[np.ndarray, " N"]:
    """Return the overlap of each tile with the box, as a share of the smaller of the two, 0 to 1."""
    x0_N, y0_N, x1_N, y1_N = box_N4.T
    width_N = np.clip(np.minimum(x1_N, box.x1) - np.maximum(x0_N, box.x0), 0, None)
    height_N = np.clip(np.minimum(y1_N, box.y1) - np.maximum(y0_N, box.y0), 0, None)
    share_N: Float[np.ndarray, " N"] = width_N * height_N / np.minimum((x1_N - x0_N) * (y1_N - y0_N), box.area)
    return share_N


def _starts(length: int, side: int, stride: int) -> list[int]:
    last = length - side
    return [*range(0, last, stride), last]
