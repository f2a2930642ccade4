"""Turn a network into a detector: search large images as a whole and in overlapping tiles, read the windows of all asks
in batches, and merge boxes that are found twice.
Leaves out: the networks (groundingdino.py, transformers.py), captions (captions.py).

Boxes of a network are x0, y0, x1, y1 in pixels of its window, not yet rounded. A box that ends where its tile was cut,
inside the image, may be a piece of an object: a whole box that contains half of it replaces it; otherwise it is joined
with the pieces in neighbouring tiles.
Shapes: Q boxes of a network, P pieces of a caption, N boxes of a phrase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from viewgen.boxes import Box, clip, containment, overlap_area, union
from viewgen.detectors.captions import Caption
from viewgen.detectors.protocol import Ask, DetectorConfig, ScoredBox

MAX_ASPECT = 10
"""Maximum of the longer side over the shorter one of a window; a narrower strip is padded, since too few cells would be
left to choose from."""
CUT_SHARE = 0.01
"""A box is cut when it ends within this share of a tile's side from where the tile was cut (1 px or more). Ours."""
HELD_SHARE = 0.5
"""A whole box replaces a cut one when it contains more than this share of it. Ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One input of a network: a window of an image, padded where it is small, and the caption to find in it."""

    image: Image.Image
    window: Box
    caption: Caption
    min_px: int
    """Minimum width and height; a smaller window is padded."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels: of the window, or more where that is small or a narrow strip."""
        width, height = self.window.width, self.window.height
        min_width, min_height = ceil(height / MAX_ASPECT), ceil(width / MAX_ASPECT)
        return max(width, min_width, self.min_px), max(height, min_height, self.min_px)

    def pixels(self) -> Image.Image:
        """Return the window as an image; where it is padded, at the upper left of grey."""
        whole = (0, 0, *self.image.size) == self.window.as_tuple()
        cut = self.image if whole else self.image.crop(self.window.as_tuple())
        if cut.size == self.size:
            return cut
        padded = Image.new("RGB", self.size, (124, 116, 104))  # the mean of photographs, which networks read as nothing
        padded.paste(cut)
        return padded


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A box of a network for a phrase, in pixels of the window."""

    phrase: str
    box: tuple[float, float, float, float]
    score: float


@runtime_checkable
class Network(Protocol):
    """Detection network that reads single windows."""

    @property
    def name(self) -> str:
        """Source of its regions."""
        ...

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file."""
        ...

    @property
    def tile_px(self) -> int:
        """Side of the largest square that is read without shrinking it."""
        ...

    @property
    def min_px(self) -> int:
        """Side of the smallest square that it can read."""
        ...

    @property
    def batch_size(self) -> int:
        """Pictures that it reads fastest at once, 1 or more."""
        ...

    def read_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after the network's own resizing, in pixels."""
        ...

    def alike(self, look: Look) -> tuple[int, ...]:
        """Return a key: looks with equal keys can share a batch without a change of their boxes."""
        ...

    def captions(self, phrases: Sequence[str]) -> tuple[Caption, ...]:
        """Write the phrases into as many captions as they need."""
        ...

    def prepare(self, looks: Sequence[Look]) -> Any:  # noqa: ANN401 - each network's own tensors
        """Prepare looks of one key for `read`; called in another thread while the network reads."""
        ...

    def read(self, looks: Sequence[Look], prepared: Any) -> list[list[Hit]]:  # noqa: ANN401
        """Return one entry per look: hits above the thresholds, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A hit in pixels of the whole image. `cut`: it ends where its window was cut."""

    phrase: str
    box: Box
    score: float
    window: Box
    cut: bool


@dataclass(frozen=True, slots=True)
class TiledDetector:
    """Detector that searches images with a network, as a whole and in tiles."""

    network: Network
    config: DetectorConfig

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def models(self) -> Mapping[str, str]:
        return self.network.models

    def detect(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        """Return one entry per ask, as Detector.detect(). An ask without phrases is not read."""
        seen: list[list[_Sighting]] = [[] for _ in asks]
        looks = [(number, look) for number, ask in enumerate(asks) for look in self._looks(ask)]
        for batch, hits in self._read(looks):
            for (number, look), found in zip(batch, hits, strict=True):
                seen[number] += [sighting for hit in found if (sighting := _sighting(hit, look))]
        return [self._merged(ask, sightings) for ask, sightings in zip(asks, seen, strict=True)]

    def _looks(self, ask: Ask) -> list[Look]:
        captions = self.network.captions(ask.phrases)
        windows = self.windows(ask.image.width, ask.image.height) if captions else ()
        return [
            Look(image=ask.image, window=window, caption=caption, min_px=self.network.min_px)
            for caption in captions
            for window in windows
        ]

    def windows(self, width: int, height: int) -> tuple[Box, ...]:
        """Return the whole image and its tiles; no tiles where the network would not shrink the image and the settings
        name no smaller tile."""
        whole, side = Box(0, 0, width, height), self.config.tile_px or self.network.tile_px
        read_width, read_height = self.network.read_size(width, height)
        shrunk = read_width < width or read_height < height
        if not self.config.tiles or not (shrunk or max(width, height) > self.config.tile_px > 0):
            return (whole,)
        return tuple(dict.fromkeys((whole, *tile_grid(width, height, side, self.config.tile_overlap))))

    def _read(self, looks: Sequence[tuple[int, Look]]) -> Iterator[tuple[list[tuple[int, Look]], list[list[Hit]]]]:
        batches = list(self._batches(looks))
        with ThreadPoolExecutor(1) as pool:
            # Windows are cut and resized while the network reads the batch before.
            ahead = pool.submit(self.network.prepare, [look for _, look in batches[0]]) if batches else None
            for number, batch in enumerate(batches):
                assert ahead is not None
                prepared = ahead.result()
                if number + 1 < len(batches):
                    ahead = pool.submit(self.network.prepare, [look for _, look in batches[number + 1]])
                yield batch, self.network.read([look for _, look in batch], prepared)

    def _batches(self, looks: Sequence[tuple[int, Look]]) -> Iterator[list[tuple[int, Look]]]:
        def alike(numbered: tuple[int, Look]) -> tuple[int, ...]:
            return self.network.alike(numbered[1])

        size = self.config.batch_size or self.network.batch_size
        for _, same in groupby(sorted(looks, key=alike), key=alike):
            batch = list(same)
            for first in range(0, len(batch), size):
                yield batch[first : first + size]

    def _merged(self, ask: Ask, sightings: Sequence[_Sighting]) -> tuple[ScoredBox, ...]:
        own: dict[str, list[_Sighting]] = {phrase: [] for phrase in ask.phrases}
        for sighting in sightings:
            own[sighting.phrase].append(sighting)
        merged = (merge(phrase, seen, self.config.nms_iou) for phrase, seen in own.items())
        return tuple(box for boxes in merged for box in boxes[: self.config.num_best])


def hits(
    caption: Caption, box_Q4: Float[np.ndarray, "Q 4"], score_QP: Float[np.ndarray, "Q P"], config: DetectorConfig
) -> list[Hit]:
    """Apply both thresholds as Grounding DINO does: a box is kept when its best piece reaches box_threshold, and is a hit
    for each piece that reaches text_threshold."""
    kept_QP = (score_QP.max(axis=1, keepdims=True) >= config.box_threshold) & (score_QP >= config.text_threshold)
    kept_QP &= np.isfinite(box_Q4).all(axis=1, keepdims=True)  # half precision may overflow
    return [
        Hit(phrase=caption.pieces[p].phrase, box=tuple(box_Q4[q].tolist()), score=float(score_QP[q, p]))
        for q, p in np.argwhere(kept_QP).tolist()
    ]


def tile_grid(width: int, height: int, side: int, overlap: float) -> tuple[Box, ...]:
    """Return tiles of equal size, row by row, evenly spaced from edge to edge, no wider or higher than the image.

    Neighbours share `overlap` of a side or more."""
    columns, rows = _starts(width, side, overlap), _starts(height, side, overlap)
    return tuple(Box(x, y, x + min(side, width), y + min(side, height)) for y in rows for x in columns)


def merge(phrase: str, sightings: Sequence[_Sighting], nms_iou: float) -> list[ScoredBox]:
    """Merge the sightings of one phrase in all windows of an image: one box per object, best first."""
    whole = suppress([_scored(phrase, s.box, s.score) for s in sightings if not s.cut], nms_iou)
    cut = [
        sighting
        for sighting in sightings
        if sighting.cut and not any(containment(sighting.box, one.box) > HELD_SHARE for one in whole)
    ]
    return suppress([*whole, *(_scored(phrase, box, score) for box, score in _joined(cut))], nms_iou)


def suppress(boxes: Sequence[ScoredBox], nms_iou: float) -> list[ScoredBox]:
    """Apply non-maximum suppression: best first, without boxes that overlap a better one by an IoU above `nms_iou`.

    Of equal scores the first wins."""
    best_first = sorted(boxes, key=lambda one: -one.score)
    iou_NN = pairwise_iou(np.array([one.box.as_tuple() for one in best_first], dtype=int).reshape(-1, 4))
    kept: list[int] = []
    for n in range(len(best_first)):
        if (iou_NN[n, kept] <= nms_iou).all():
            kept.append(n)
    return [best_first[n] for n in kept]


def pairwise_iou(box_N4: Int[np.ndarray, "N 4"]) -> Float[np.ndarray, "N N"]:
    """Compute the IoU of all pairs of boxes, 0 to 1."""
    far_NN2 = np.minimum(box_N4[:, None, 2:], box_N4[None, :, 2:])
    near_NN2 = np.maximum(box_N4[:, None, :2], box_N4[None, :, :2])
    shared_NN = np.clip(far_NN2 - near_NN2, 0, None).prod(axis=2)
    area_N = (box_N4[:, 2:] - box_N4[:, :2]).prod(axis=1)
    iou_NN: Float[np.ndarray, "N N"] = shared_NN / (area_N[:, None] + area_N[None, :] - shared_NN)
    return iou_NN


def _joined(cut: Sequence[_Sighting]) -> list[tuple[Box, float]]:
    """Join pieces that overlap and come from different windows into one object, with the score of its best piece."""
    things: list[list[_Sighting]] = []
    for piece in cut:
        touching = [t for t in things if any(p.window != piece.window and overlap_area(p.box, piece.box) for p in t)]
        joined = [piece, *(other for thing in touching for other in thing)]
        things = [thing for thing in things if thing not in touching] + [joined]
    return [(union(p.box for p in thing), max(p.score for p in thing)) for thing in things]


def _sighting(hit: Hit, look: Look) -> _Sighting | None:
    window, (x0, y0, x1, y1) = look.window, hit.box
    edges = (round(x0), round(y0), max(round(x1), round(x0) + 1), max(round(y1), round(y0) + 1))
    box = clip(Box(*edges), window.width, window.height)
    if box is None:
        return None
    near_x, near_y = (max(1, round(CUT_SHARE * side)) for side in (window.width, window.height))
    cut = (
        (window.x0 > 0 and box.x0 < near_x)
        or (window.y0 > 0 and box.y0 < near_y)
        or (window.x1 < look.image.width and box.x1 > window.width - near_x)
        or (window.y1 < look.image.height and box.y1 > window.height - near_y)
    )
    placed = Box(box.x0 + window.x0, box.y0 + window.y0, box.x1 + window.x0, box.y1 + window.y0)
    return _Sighting(hit.phrase, placed, hit.score, window, cut)


def _scored(phrase: str, box: Box, score: float) -> ScoredBox:
    return ScoredBox(phrase=phrase, box=box, score=round(score, 4))


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    steps = ceil((length - side) / max(1.0, side * (1 - overlap)))
    return [round(n * (length - side) / steps) for n in range(steps + 1)]
