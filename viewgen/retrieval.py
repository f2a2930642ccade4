"""Tile retrieval: an image is cut into overlapping tiles; each phrase gets those that an OpenCLIP model finds nearest.
Leaves out: loading the model (openclip.py); when a region is good enough (evidence.py).

Cosines of such models are not comparable between models or phrases, so a tile's score is its margin: how far its logit
is above that of the best tile that does not overlap it. A phrase that is not in the image has no tile that stands out.
Shapes: N tiles, D dimensions of the model. Boxes are pixels of the upright image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from pydantic import ConfigDict

from viewgen.boxes import Box
from viewgen.records import Region
from viewgen.settings import STRICT

if TYPE_CHECKING:
    from viewgen.openclip import ClipModel


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """Which model reads which tiles."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model: str = "ViT-B-32"
    """embedded:NAME (shipped with viewgen), local-dir:PATH (from the working folder), hf-hub:OWNER/NAME, or a name of
    open_clip's own."""
    pretrained: str = "laion2b_s34b_b79k"
    """Tag of the weights for open_clip's own names; the other forms ignore it."""
    template: str = "a photo of {phrase}"
    """What the model reads for a phrase; holds {phrase} once. The default is CLIP's usual prompt."""
    tile_px: tuple[int, ...] = (224, 448)
    """Sides of the square tiles, in pixels of the image, 16 or more each. RAP uses 112 to 448."""
    stride_px: tuple[int, ...] = (112, 224)
    """Steps between tiles, one per side, 1 px to that side. Ours: half a tile, which shows a small object whole."""
    num_best: int = 3
    """Regions kept per phrase, best first, 1 or more."""
    batch_size: int = 64
    """Tiles that the model reads at once, 1 or more. More needs more memory and changes nothing else."""

    def __post_init__(self) -> None:
        if self.template.count("{phrase}") != 1:
            raise ValueError(f"template is {self.template!r}: expected {{phrase}} in it, once")
        if not self.tile_px or len(self.tile_px) != len(self.stride_px):
            found = f"tile_px has {len(self.tile_px)} sides, stride_px {len(self.stride_px)} steps"
            raise ValueError(f"{found}: expected one step per side")
        for tile, stride in zip(self.tile_px, self.stride_px, strict=True):
            if tile < 16 or not 1 <= stride <= tile:
                raise ValueError(
                    f"tiles of {tile} px, steps of {stride} px: expected 16 px or more, steps of 1 to a tile"
                )
        for name in ("num_best", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more")


@dataclass(frozen=True, slots=True)
class Retriever:
    """A model and how it is asked. Texts that it has read once are remembered."""

    config: RetrievalConfig
    clip: ClipModel
    known: dict[str, Float[np.ndarray, " D"]] = field(default_factory=dict)

    @classmethod
    def load(cls, config: RetrievalConfig) -> Retriever:
        """Raises ModelError when the model is unknown, or its weights are missing or do not fit."""
        from viewgen.openclip import load_model  # torch takes seconds to import: only when a model is asked for

        return cls(config, load_model(config.model, config.pretrained))

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file."""
        return MappingProxyType({self.config.model: self.clip.sha256})

    def regions(self, image: Image.Image, phrases: Sequence[str]) -> dict[str, tuple[Region, ...]]:
        """The best tiles of an RGB image for each phrase, best first, with margins in nats. One embedding pass."""
        if not phrases:
            return {}
        boxes = tile_boxes(image.width, image.height, self.config.tile_px, self.config.stride_px)
        box_N4 = np.array([box.as_tuple() for box in boxes])
        tile_ND = self.clip.temperature * self._tiles(image, boxes)
        # One phrase at a time: a score must not depend, in its last bits, on which phrases were asked for beside it.
        return {phrase: self._best(phrase, box_N4, tile_ND @ self._text(phrase)) for phrase in phrases}

    def _best(
        self, phrase: str, box_N4: Int[np.ndarray, "N 4"], logit_N: Float[np.ndarray, " N"]
    ) -> tuple[Region, ...]:
        order = np.argsort(-logit_N, kind="stable")[: self.config.num_best].tolist()
        return tuple(
            Region(
                phrase=phrase,
                box=Box(*box_N4[n].tolist()),
                source="retrieval",
                score=round(margin(box_N4, logit_N, n), 4),  # further decimals differ between machines
                rank=rank,
            )
            for rank, n in enumerate(order)
        )

    def _tiles(self, image: Image.Image, boxes: Sequence[Box]) -> Float[np.ndarray, "N D"]:
        pixels = np.asarray(image)
        batches = [self.clip.embed_tiles(batch).numpy() for batch in _batches(pixels, boxes, self.config.batch_size)]
        return np.concatenate(batches)

    def _text(self, phrase: str) -> Float[np.ndarray, " D"]:
        if phrase not in self.known:
            (self.known[phrase],) = self.clip.embed_texts([self.config.template.replace("{phrase}", phrase)]).numpy()
        return self.known[phrase]


def tile_boxes(width: int, height: int, tile_px: Sequence[int], stride_px: Sequence[int]) -> tuple[Box, ...]:
    """Every tile of an image, by size, row by row; the last of a row or column ends at the image's edge.

    A tile larger than the image is cut to the image's shorter side."""
    boxes: list[Box] = []
    for tile, stride in zip(tile_px, stride_px, strict=True):
        side = min(tile, width, height)
        columns, rows = _starts(width, side, stride), _starts(height, side, stride)
        boxes += [Box(x, y, x + side, y + side) for y in rows for x in columns]
    return tuple(dict.fromkeys(boxes))


def margin(box_N4: Int[np.ndarray, "N 4"], logit_N: Float[np.ndarray, " N"], chosen: int) -> float:
    """Logit of the chosen tile above that of the best tile that does not overlap it, in nats; 0 when all overlap it.

    Under the model's own temperature these are log odds between two places, so they need no scale of cosines."""
    x0, y0, x1, y1 = box_N4[chosen]
    apart_N = (box_N4[:, 2] <= x0) | (x1 <= box_N4[:, 0]) | (box_N4[:, 3] <= y0) | (y1 <= box_N4[:, 1])
    return float(logit_N[chosen] - logit_N[apart_N].max()) if apart_N.any() else 0.0


def _starts(length: int, side: int, stride: int) -> list[int]:
    last = length - side
    return [*range(0, last, stride), last]


def _batches(
    pixels: UInt8[np.ndarray, "height width 3"], boxes: Sequence[Box], batch_size: int
) -> Iterator[UInt8[np.ndarray, "N 3 H W"]]:
    """Pixels of consecutive tiles of equal size, at most batch_size at a time."""
    first = 0
    while first < len(boxes):
        side = boxes[first].width
        batch = [box for box in boxes[first : first + batch_size] if box.width == side]
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(0, 1))
        yield windows[[box.y0 for box in batch], [box.x0 for box in batch]]
        first += len(batch)
