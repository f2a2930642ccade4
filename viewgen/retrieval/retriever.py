"""Embed images, their overlapping tiles and phrases with an OpenCLIP model, and compare them.
Leaves out: loading the model (openclip.py); tiles, scores and ranks of one image (tiles.py); the choice among regions
(grounding/evidence.py).

Shapes: N images or tiles, D dimensions of the model, K neighbours. Boxes are pixels of the upright image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from pydantic import ConfigDict

from viewgen.boxes import Box
from viewgen.retrieval.tiles import TileIndex, tile_boxes
from viewgen.settings import STRICT, Range, SettingValueError, check_ranges

if TYPE_CHECKING:
    from viewgen.retrieval.openclip import ClipModel

Vector = Float[np.ndarray, " D"]
T = TypeVar("T")
Tile = tuple[int, int, Box]
"""(position among all tiles of all images, number of the image, box)."""
_REMEMBERED = 4096
"""Maximum of vectors kept, of texts and of images each: 20 MB for a model of 1152 dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """Retrieval model, and the tiles that it reads."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model: str = "ViT-B-32"
    """embedded:NAME (shipped with viewgen), local-dir:PATH (relative to the recipe), hf-hub:OWNER/NAME, or a name of
    open_clip's own."""
    pretrained: str = "laion2b_s34b_b79k"
    """Tag of the weights for open_clip's own names; the other forms ignore it."""
    template: str = "a photo of {phrase}"
    """Text that the model reads for a phrase; holds {phrase} once. The default is CLIP's usual prompt."""
    question_weight: Annotated[float, Range(ge=0, le=1)] = 0.0
    """Share of the question's own text in a tile's logit, 0 to 1; the phrase has the rest. RAP ranks by the question
    alone (1), V* looks for the phrase alone (0): most words of a question name nothing that a tile can show."""
    tile_px: Annotated[tuple[int, ...], Range(ge=16, unit="px")] = (224, 448)
    """Sides of the square tiles, in pixels of the image, 16 or more each. RAP uses 112 to 448."""
    stride_px: Annotated[tuple[int, ...], Range(ge=1, unit="px")] = (112, 224)
    """Steps between tiles, one per side, 1 px to that side. Ours: half a tile, which shows a small object whole."""
    merge_nats: Annotated[float, Range(ge=0, unit="nats", infinite=True)] = 1.0
    """Tiles that overlap the best one, are no larger, and have logits at most this far below its own, in nats, become
    one region with it; 0 leaves tiles alone. Ours: within a factor e of the best tile's odds."""
    num_best: Annotated[int, Range(ge=1)] = 3
    """Regions kept per phrase, best first, 1 or more. Ours."""
    batch_size: Annotated[int, Range(ge=1)] = 64
    """Tiles that the model reads at once, 1 or more. More needs more memory; it changes the last bits alone."""
    device: str = "auto"
    """auto: the GPU where there is one. Else torch's name of a device: cpu, cuda, cuda:1."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the model. auto: float16 on a GPU, float32 elsewhere."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.template.count("{phrase}") != 1:
            raise SettingValueError(
                "template", self.template, "text with {phrase} in it, once", 'Write "{phrase}" there.'
            )
        if not self.tile_px:
            raise SettingValueError("tile_px", list(self.tile_px), "one side or more", "Give e.g. [224, 448].")
        if len(self.tile_px) != len(self.stride_px):
            sides = f"as long as tile_px, which has {len(self.tile_px)} sides"
            raise SettingValueError("stride_px", list(self.stride_px), sides, "Give one step per side.")
        for tile, stride in zip(self.tile_px, self.stride_px, strict=True):
            if stride > tile:
                raise SettingValueError(
                    "stride_px", list(self.stride_px), f"at most {tile} for tiles of {tile} px", "Lower it."
                )


@dataclass(frozen=True, slots=True)
class Recent:
    """Vectors of the texts or images read last, by content."""

    vectors: OrderedDict[str | bytes, Vector] = field(default_factory=OrderedDict)

    def get(self, key: str | bytes) -> Vector | None:
        """Return the vector of a key, which becomes the latest; None for an unknown key."""
        if key in self.vectors:
            self.vectors.move_to_end(key)
        return self.vectors.get(key)

    def put(self, key: str | bytes, vector: Vector) -> None:
        """Keep a vector, and drop the oldest beyond the maximum."""
        self.vectors[key] = vector
        self.vectors.move_to_end(key)
        if len(self.vectors) > _REMEMBERED:
            self.vectors.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Retriever:
    """An OpenCLIP model with its settings. Vectors of recent texts and images are kept. Not safe for several threads.

    retriever = Retriever.load(RetrievalConfig(model="embedded:drawn-clip"))
    (index,) = retriever.index([image])                    # image: RGB, any size
    index.regions("the red bus")[0].box                    # best place for the phrase, in pixels of the image
    retriever.similarity([image], [("the red bus",)])      # [logit in nats]
    """

    config: RetrievalConfig
    clip: ClipModel
    texts: Recent = field(default_factory=Recent)
    images: Recent = field(default_factory=Recent)

    @classmethod
    def load(cls, config: RetrievalConfig) -> Retriever:
        """Load the model of the settings. Raises ModelError when it is unknown, its weights are missing or do not fit,
        or its device cannot be used."""
        # torch takes seconds to import: only when a model is loaded.
        from viewgen.retrieval.openclip import load_model

        return cls(config, load_model(config.model, config.pretrained, config.device, config.dtype))

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file."""
        return MappingProxyType({self.config.model: self.clip.sha256})

    def forget(self) -> None:
        """Forget the vectors of images. Vectors depend, in their last bits, on the other images of a batch: every part
        of a build begins with forget(), so that its bytes do not depend on the parts before."""
        self.images.vectors.clear()

    def index(self, images: Sequence[Image.Image]) -> list[TileIndex]:
        """Embed the tiles of RGB images: one TileIndex per image. Batches run on from one image to the next."""
        if not images:
            return []
        config = self.config
        boxes = [tile_boxes(image.width, image.height, config.tile_px, config.stride_px) for image in images]
        return [
            TileIndex(
                boxes=each,
                box_N4=np.array([box.as_tuple() for box in each]),
                scaled_ND=self.clip.temperature * vector_ND,
                text=self._text,
                num_best=config.num_best,
                merge_nats=config.merge_nats,
            )
            for each, vector_ND in zip(boxes, self._tiles(images, boxes), strict=True)
        ]

    def embed(self, images: Iterable[Image.Image]) -> Float[np.ndarray, "N D"]:
        """Embed whole RGB images, resized by ClipModel.fit(), as unit vectors. Recent equal images are not read again."""
        keys: list[bytes] = []
        known = dict(self.images.vectors)
        for chunk in _ahead(_chunks(self._unread(images, keys, frozenset(known)), self.config.batch_size)):
            vector_ND = self.clip.embed_tiles(np.stack([pixels for _, pixels in chunk])).numpy()
            known |= {key: vector for (key, _), vector in zip(chunk, vector_ND, strict=True)}
        for key in dict.fromkeys(keys):
            self.images.put(key, known[key])
        return np.stack([known[key] for key in keys]) if keys else np.empty((0, 0), dtype=np.float32)

    def _unread(
        self, images: Iterable[Image.Image], keys: list[bytes], known: Set[str | bytes]
    ) -> Iterator[tuple[bytes, UInt8[np.ndarray, "3 H W"]]]:
        """Yield key and pixels of each distinct image without a known vector; append the keys of all images to `keys`."""
        seen = set(known)
        for image in images:
            keys.append(_content(image))
            if keys[-1] not in seen:
                seen.add(keys[-1])
                yield keys[-1], self.clip.fit(image)

    def similarity(self, images: Sequence[Image.Image], phrases_of: Sequence[Sequence[str]]) -> list[float | None]:
        """Return the logit (temperature times cosine, in nats) of each RGB image for its phrases, mean over phrases, 4
        decimals; None without a phrase.

        An image larger than the largest tile is read whole and in tiles of that size, and for each phrase the best of
        them counts: a small object in a full image must not be lost."""
        windows = [self._windows(image) if phrases else [] for image, phrases in zip(images, phrases_of, strict=True)]
        crops = (image.crop(box.as_tuple()) for image, boxes in zip(images, windows, strict=True) for box in boxes)
        vectors = iter(self.embed(crops))
        parts = [list(islice(vectors, len(boxes))) for boxes in windows]
        return [
            round(self.clip.temperature * self._fit(np.stack(part), phrases), 4) if part else None
            for part, phrases in zip(parts, phrases_of, strict=True)
        ]

    def _windows(self, image: Image.Image) -> list[Box]:
        whole = Box(0, 0, image.width, image.height)
        tile, stride = max(zip(self.config.tile_px, self.config.stride_px, strict=True))
        tiles = tile_boxes(image.width, image.height, (tile,), (stride,)) if max(image.size) > tile else ()
        return list(dict.fromkeys((whole, *tiles)))

    def _fit(self, window_ND: Float[np.ndarray, "N D"], phrases: Sequence[str]) -> float:
        return float(np.mean([(window_ND @ self._text(phrase)).max() for phrase in phrases]))

    def _tiles(self, images: Sequence[Image.Image], boxes: Sequence[Sequence[Box]]) -> list[Float[np.ndarray, "N D"]]:
        """Return the vectors of each image's tiles."""
        pixels = [np.asarray(image) for image in images]
        batches = _batches(boxes, self.config.batch_size)
        prepared = (([tile[0] for tile in batch], self.clip.pixels(_cut(pixels, batch))) for batch in batches)
        read = [(positions, self.clip.embed_pixels(batch).numpy()) for positions, batch in _ahead(prepared)]
        vector_ND = np.concatenate([vectors for _, vectors in read])
        vector_ND[np.concatenate([positions for positions, _ in read])] = vector_ND.copy()
        return np.split(vector_ND, np.cumsum([len(each) for each in boxes])[:-1])

    def _text(self, phrase: str, question: str = "") -> Vector:
        """Embed the phrase in the template, mixed with the question by question_weight."""
        vector_D = self._read(self.config.template.replace("{phrase}", phrase))
        weight = self.config.question_weight if question else 0.0
        return (1 - weight) * vector_D + weight * self._read(question) if weight else vector_D

    def _read(self, text: str) -> Vector:
        vector_D = self.texts.get(text)
        if vector_D is None:
            # One by one: a score must not depend, in its last bits, on the other texts of a batch.
            (vector_D,) = self.clip.embed_texts([text]).numpy()
            self.texts.put(text, vector_D)
        return vector_D


def _content(image: Image.Image) -> bytes:
    return blake2b(image.tobytes(), digest_size=16, key=repr(image.size).encode()).digest()


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items; each is made in a thread while the caller uses the one before."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, iterator, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, iterator, None)
            yield item


def _batches(boxes: Sequence[Sequence[Box]], batch_size: int) -> Iterator[list[Tile]]:
    """Yield batches of tiles of equal size, one image after the other."""
    numbered = enumerate((image, box) for image, each in enumerate(boxes) for box in each)
    by_side: dict[int, list[Tile]] = {}
    for position, (image, box) in numbered:
        by_side.setdefault(box.width, []).append((position, image, box))
    for tiles in by_side.values():
        yield from _chunks(tiles, batch_size)


def _cut(
    pixels: Sequence[UInt8[np.ndarray, "_height _width 3"]], tiles: Sequence[Tile]
) -> UInt8[np.ndarray, "N 3 H W"]:
    side = tiles[0][2].width
    cut = np.empty((len(tiles), 3, side, side), dtype=np.uint8)
    for n, (_, image, box) in enumerate(tiles):
        cut[n] = pixels[image][box.y0 : box.y1, box.x0 : box.x1].transpose(2, 0, 1)
    return cut
