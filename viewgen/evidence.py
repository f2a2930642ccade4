"""Regions -> the evidence: the one box that a positive view must show, or an abstention with its reason. Pure.
Leaves out: finding regions (regions.py), cutting views (views.py). Boxes are pixels of the upright image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from viewgen.boxes import Box, grow, union
from viewgen.records import Evidence, Phrase, Region, Rejection
from viewgen.settings import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceConfig:
    """When a region is believed, and how much of the image around it counts as evidence."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    min_margin: float = 0.0
    """Least score of a retrieval region, in nats, 0 or more: how far its logit is above the best tile elsewhere.
    Depends on the model; choose it on questions about absent objects. Regions of other sources need none."""
    pad_ratio: float = 1.2
    """Both sides of a region's box are multiplied by it, 1 or more. 1.2 is what V* and ZoomEye use."""
    least_side_px: int = 224
    """Shortest side of the evidence, in pixels of the image, 1 or more. 224 is what V* uses."""
    max_aspect: float = 10.0
    """Longest side over shortest, 1 or more; a thinner box is widened. Ours: image processors refuse extreme shapes."""
    max_share: float = 0.25
    """Largest part of the image's area that the evidence may take, above 0 and up to 1. Ours: a larger crop tells
    little that the full image does not."""

    def __post_init__(self) -> None:
        if not self.min_margin >= 0:
            raise ValueError(f"min_margin is {self.min_margin}: expected 0 or more")
        if not 1 <= self.pad_ratio < math.inf:
            raise ValueError(f"pad_ratio is {self.pad_ratio}: expected 1 or more")
        if self.least_side_px < 1:
            raise ValueError(f"least_side_px is {self.least_side_px}: expected 1 or more pixels")
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect is {self.max_aspect}: expected 1 or more")
        if not 0 < self.max_share <= 1:
            raise ValueError(f"max_share is {self.max_share}: expected a share above 0 and up to 1")


def choose_evidence(
    phrases: Sequence[Phrase],
    regions: Sequence[Region],
    width_px: int,
    height_px: int,
    config: EvidenceConfig,
) -> Evidence | Rejection:
    """One box around the best regions of all phrases, or a Rejection: no_region, too_large or too_thin.

    Every phrase needs a region: half of a relation is not evidence for it."""
    believed: list[Region] = []
    for text in dict.fromkeys(phrase.text for phrase in phrases):
        best = [region for region in regions if region.phrase == text and region.rank == 0]
        good = [region for region in best if _is_believed(region, config)]
        if not good:
            return _rejection("no_region", _nothing_for(text, best, config))
        believed += good
    if not believed:
        return _rejection("no_region", "no phrase was looked for")
    box = union(_pad(region.box, width_px, height_px, config) for region in believed)
    return _sized(Evidence(boxes=(box,), regions=tuple(believed)), width_px, height_px, config)


def _is_believed(region: Region, config: EvidenceConfig) -> bool:
    return region.source != "retrieval" or region.score >= config.min_margin


def _nothing_for(text: str, best: Sequence[Region], config: EvidenceConfig) -> str:
    if not best:
        return f"no region was found for {text!r}"
    score = max(region.score for region in best)
    return f"the best region for {text!r} has margin {score:.4g}, below min_margin {config.min_margin:g}"


def _pad(box: Box, width_px: int, height_px: int, config: EvidenceConfig) -> Box:
    padded = grow(box, config.pad_ratio, config.least_side_px, width_px, height_px)
    widened = math.ceil(max(padded.width, padded.height) / config.max_aspect)
    return grow(padded, 1.0, widened, width_px, height_px)


def _sized(evidence: Evidence, width_px: int, height_px: int, config: EvidenceConfig) -> Evidence | Rejection:
    (box,) = evidence.boxes
    share = box.area / (width_px * height_px)
    size = f"the evidence is {box.width} x {box.height} px of {width_px} x {height_px} px"
    if share > config.max_share:
        return _rejection("too_large", f"{size}, a share of {share:.3f}, above max_share {config.max_share:g}")
    aspect = max(box.width / box.height, box.height / box.width)
    if aspect > config.max_aspect:
        return _rejection("too_thin", f"{size}, an aspect of {aspect:.1f}, above max_aspect {config.max_aspect:g}")
    return evidence


def _rejection(reason: str, message: str) -> Rejection:
    return Rejection(stage="evidence", reason=reason, message=message)
