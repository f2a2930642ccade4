"""Find the evaluation image that a training image is a copy of: equal files by SHA-256, near copies by the bits in which
their signatures differ.
Leaves out: reading evaluation sets (sets.py), computing signatures (signatures.py).

A training image's whole is compared with every cut of an evaluation image, and its cuts with the evaluation image's
whole: either may be a crop of the other.   M hashes   Q hashes that are looked for   W words of 64 bits"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import UInt64
from pydantic import ConfigDict

from viewgen.decontaminate.sets import EvaluationSet, read_set
from viewgen.decontaminate.signatures import BITS, CUTS, words_of
from viewgen.progress import Stream
from viewgen.records import Rejection
from viewgen.settings import STRICT, Range, check_ranges

REASON = "in_evaluation_set"
_BLOCK = 1 << 13
"""Hashes compared at once: few enough for a processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecontaminateConfig:
    """Evaluation sets whose images must not be trained on."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    against: tuple[str, ...] = ()
    """Evaluation sets, by paths relative to the recipe: recipes (.toml), hashes stored by `viewgen hash` (.parquet), view
    sets, folders of images. A question about an image that occurs in one of them is rejected. Empty: nothing is
    compared."""
    max_distance: Annotated[int, Range(ge=0, le=64, unit="bits")] = 32
    """Bits, of 256, in which the perceptual hashes of an image and of its copy may differ, 0 to 64. Ours: chosen on
    datasets/photos and their tiles, where it finds copies at JPEG quality 50, half the size or cropped by 2 %."""
    splits: tuple[str, ...] = ()
    """Splits whose images are compared; empty for all."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An evaluation image that equals a training image, or nearly does."""

    set_name: str
    image: str
    distance: int
    """Bits, of 256, in which the perceptual hashes differ; 0 for equal files."""
    is_same_file: bool

    @property
    def rejection(self) -> Rejection:
        """Rejection of the questions about the training image."""
        how = "the same file" if self.is_same_file else f"{self.distance} of {BITS} bits differ"
        message = f"shows image {self.image!r} of the evaluation set {self.set_name!r} ({how})"
        return Rejection(stage="images", reason=REASON, message=message)


class EvaluationIndex:
    """Evaluation sets, ready to be searched; from several threads too.

    index = EvaluationIndex([read_set(Path("benchmark"), "benchmark")], DecontaminateConfig())
    index.find(sha256, signature(image))    # None: the image may be trained on"""

    def __init__(self, sets: Sequence[EvaluationSet], config: DecontaminateConfig) -> None:
        self.config = config
        self.fingerprints = {each.name: each.fingerprint for each in sets}
        """Name of each set -> hash of what was taken from it."""
        named = [(each.name, image) for each in sets for image in each.images]
        self._files = {image.sha256: (name, image.name) for name, image in reversed(named)}
        self._names = [(name, image.name) for name, image in named if image.signature]
        hashes_MW = words_of(b"".join(image.signature for _, image in named))
        # By words: each is compared with all hashes at once.
        self._cuts = np.ascontiguousarray(hashes_MW.T)
        self._wholes = np.ascontiguousarray(hashes_MW[:: len(CUTS)].T)

    def find(self, sha256: str, signature: bytes) -> Match | None:
        """Return the evaluation image that this one equals, else the nearest within `max_distance`; None without any."""
        if sha256 in self._files:
            name, image = self._files[sha256]
            return Match(set_name=name, image=image, distance=0, is_same_file=True)
        if not signature or not self._names:
            return None
        own = words_of(signature)
        by_cuts = _nearest(self._cuts, own[:1], self.config.max_distance)
        by_wholes = _nearest(self._wholes, own[1:], self.config.max_distance)
        found = [(distance, row // len(CUTS)) for distance, row in by_cuts] + by_wholes
        if not found:
            return None
        distance, number = min(found)
        name, image = self._names[number]
        return Match(set_name=name, image=image, distance=distance, is_same_file=False)


def read_index(
    config: DecontaminateConfig, recipe: Path, num_threads: int, out: Stream | None
) -> EvaluationIndex | None:
    """Read the evaluation sets of a recipe; None without any. Raises RecipeError for one that cannot be read."""
    if not config.against:
        return None
    sets = [read_set(recipe.parent / name, name, num_threads, out) for name in config.against]
    return EvaluationIndex(sets, config)


def _nearest(
    stored_WM: UInt64[np.ndarray, "W M"], asked_QW: UInt64[np.ndarray, "Q W"], max_distance: int
) -> list[tuple[int, int]]:
    """Return (distance, row) of the nearest stored hash, if it is within max_distance."""
    found = [
        (distance, start + row)
        for start in range(0, stored_WM.shape[1], _BLOCK)
        for asked_W in asked_QW
        for distance, row in _within(stored_WM[:, start : start + _BLOCK], asked_W, max_distance)
    ]
    return [min(found)] if found else []


def _within(
    stored_WM: UInt64[np.ndarray, "W M"], asked_W: UInt64[np.ndarray, " W"], max_distance: int
) -> list[tuple[int, int]]:
    """Return (distance, row) of all hashes of a block within max_distance."""
    # Half of the words rules nearly all out: a distance only grows with the rest.
    half_M = np.bitwise_count(stored_WM[0] ^ asked_W[0])
    half_M += np.bitwise_count(stored_WM[1] ^ asked_W[1])
    rows = (half_M <= max_distance).nonzero()[0]
    if not rows.size:
        return []
    far = np.bitwise_count(stored_WM[:, rows] ^ asked_W[:, None]).sum(axis=0, dtype=np.int64).tolist()
    return [(distance, row) for distance, row in zip(far, rows.tolist(), strict=True) if distance <= max_distance]
