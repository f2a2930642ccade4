"""Choose the evidence among regions: the box, or the boxes, that a positive view must show; or abstain. Pure.
Leaves out: finding regions (regions.py), cutting views (views/cutting.py). Boxes are pixels of the upright image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict

from viewgen.boxes import Box, grow, overlap_area, union
from viewgen.records import Evidence, Phrase, Region, Rejection
from viewgen.settings import STRICT, Range, check_ranges

COUNTING = "counting"
"""Rule of phrases that stand for every instance of a class."""
SAME_PLACE = 0.5
"""Minimum overlap, as a share of the smaller one, of two boxes at the same place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceConfig:
    """Acceptance of regions, and the margin of the image around them that counts as evidence."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    __renamed__: ClassVar[Mapping[str, str]] = {"least_side_px": "min_side_px"}

    min_score: Annotated[float, Range(ge=0, le=1)] = 0.35
    """Least score of a detector's region, 0 to 1. 0.35 is Grounding DINO's own box threshold; V* believes 0.5, then 0.3;
    Zooming without Zooming 0.75 of SAM 3. Depends on the model."""
    min_margin: Annotated[float, Range(ge=0, unit="nats", infinite=True)] = 1.0
    """Least score of a retrieval region, in nats, 0 or more: how far its logit is above the best tile elsewhere.
    Depends on the model; choose it on questions about absent objects. Ours: under the model's own temperature, e times
    as likely as any other place. Regions of other sources need none."""
    ambiguity: Annotated[float, Range(ge=0, le=1)] = 0.1
    """A detector's box that scores at most this below the phrase's best one, and shows another place, conflicts with it;
    0 to 1; 0 leaves ties alone. Milder than Zooming without Zooming, which takes exactly one box above 0.75 or none."""
    need: Literal["detector", "both", "either"] = "detector"
    """Finders that must agree on a phrase where both detector and retrieval are at work. detector: retrieval may find
    nothing that stands out. both: each of them. either: a tile that stands out is enough too. Ours."""
    min_agreement: Annotated[float, Range(ge=0, le=1)] = 0.5
    """A detector's box and a retrieval region show the same place when they share at least this part of the smaller of
    them; 0 to 1; 0 lets them differ. Where a tile stands out and none of the phrase's regions is where the box is, they
    disagree. Ours: not IoU, for a tile is often a hundred times larger than the thing in it."""
    pad_ratio: Annotated[float, Range(ge=1)] = 1.2
    """Both sides of a region's box are multiplied by it, 1 or more. 1.2 is what V* and ZoomEye use."""
    min_side_px: Annotated[int, Range(ge=1, unit="px")] = 224
    """Shortest side of the evidence, in pixels of the image, 1 or more. 224 is what V* uses; DeepEyes refuses 30."""
    grid_px: Annotated[int, Range(ge=1, unit="px")] = 1
    """Boxes start and end at its multiples, or at the image's edge, in pixels, 1 or more. 1: anywhere. Choose the side of
    the reader's tokens, and a crop shows whole ones."""
    max_aspect: Annotated[float, Range(ge=1, infinite=True)] = 10.0
    """Longest side over shortest, 1 or more; a thinner box is widened. DeepEyes allows 100. Ours: image processors refuse
    extreme shapes."""
    max_share: Annotated[float, Range(gt=0, le=1)] = 0.25
    """Largest part of the image's area that the evidence may take in all, above 0 and up to 1. Ours: a larger crop tells
    little that the full image does not; Zooming without Zooming allows 0.1."""
    join_growth: Annotated[float, Range(ge=1, infinite=True)] = 4.0
    """Two boxes become the one around both where that is at most so many times as large as the two together, 1 or more;
    inf: always. Otherwise each stays evidence of its own, with a view of its own. Ours: boxes of equal size, side by side
    at twice their width, or a little less far apart on a diagonal, are joined."""

    def __post_init__(self) -> None:
        check_ranges(self)


def choose_evidence(
    phrases: Sequence[Phrase],
    regions: Sequence[Region],
    width_px: int,
    height_px: int,
    config: EvidenceConfig,
) -> Evidence | Rejection:
    """Choose boxes around the accepted regions of every phrase, near ones joined, in pixels of the upright image.

    Return a Rejection of stage `evidence` when that fails: no_region, ambiguous, disagree, too_large or too_thin. Every
    phrase needs a region: half of a relation is not evidence for it.

    evidence = choose_evidence(find_phrases(text), regions, image.width, image.height, EvidenceConfig())
    """
    by_text: dict[str, Phrase] = {}
    for phrase in phrases:
        by_text.setdefault(phrase.text, phrase)
    accepted: list[Region] = []
    for phrase in by_text.values():
        chosen = _accepted(phrase, [region for region in regions if region.phrase == phrase.text], config)
        if isinstance(chosen, Rejection):
            return chosen
        accepted += chosen
    if not accepted:
        return _rejection("no_region", "no phrase was looked for")
    padded = [_pad(region.box, width_px, height_px, config) for region in accepted]
    boxes = tuple(_joined(padded, width_px * height_px, config))
    return _sized(Evidence(boxes=boxes, regions=tuple(accepted)), width_px, height_px, config)


def _accepted(phrase: Phrase, regions: Sequence[Region], config: EvidenceConfig) -> Sequence[Region] | Rejection:
    """Return the accepted regions of a phrase, or the rejection. Within each source regions are best first."""
    annotated = [region for region in regions if region.source == "annotated"]
    tiles = [region for region in regions if region.source == "retrieval"]
    boxes = [region for region in regions if region.source not in {"annotated", "retrieval"}]
    if annotated:
        return [region for region in annotated if region.rank == 0]
    if boxes or (tiles and tiles[0].agreement is not None):  # tiles have an agreement when a detector ran as well
        return _detected(phrase, boxes, tiles, config)
    return tiles[:1] if _stands_out(tiles, config) else _nothing(phrase, tiles, "margin", config.min_margin)


def _detected(
    phrase: Phrase, boxes: Sequence[Region], tiles: Sequence[Region], config: EvidenceConfig
) -> Sequence[Region] | Rejection:
    """Choose among the boxes of a detector, with the tiles of retrieval, if any."""
    seen = [box for box in boxes if box.score >= config.min_score]
    stands_out = _stands_out(tiles, config)
    if not seen:
        if config.need == "either" and stands_out:
            return tiles[:1]
        return _nothing(phrase, boxes, "score", config.min_score)
    if config.need == "both" and not stands_out:
        return _nothing(phrase, tiles, "margin", config.min_margin)
    if phrase.rule == COUNTING:
        return seen
    rivals = [seen[0], *(box for box in seen[1:] if _conflicts(box, seen[0], config))]
    backed = _backed(rivals, tiles, config) if stands_out and config.min_agreement else rivals
    if not backed:
        places = f"{seen[0].box.as_tuple()} by the detector, {tiles[0].box.as_tuple()} by retrieval"
        shared = f"they share less than min_agreement {config.min_agreement:g} of the smaller one"
        return _rejection("disagree", f"the best places for {phrase.text!r} are {places}: {shared}")
    if len(backed) > 1:
        scores = (
            f"{len(backed)} places for {phrase.text!r} have scores from {backed[0].score:g} to {backed[-1].score:g}"
        )
        return _rejection("ambiguous", f"{scores}, within ambiguity {config.ambiguity:g} of one another")
    return backed


def _stands_out(tiles: Sequence[Region], config: EvidenceConfig) -> bool:
    return bool(tiles) and tiles[0].score >= config.min_margin


def _conflicts(box: Region, best: Region, config: EvidenceConfig) -> bool:
    """Return True for a box that scores about as high as the best one and lies at another place."""
    is_near = config.ambiguity > 0 and round(best.score - box.score, 4) <= config.ambiguity
    return is_near and _shared(box.box, best.box) < SAME_PLACE


def _backed(rivals: Sequence[Region], tiles: Sequence[Region], config: EvidenceConfig) -> list[Region]:
    """Return the boxes of a detector at the place of retrieval's best region; without one, at the place of any region."""
    by_tile = [[box for box in rivals if _shared(box.box, tile.box) >= config.min_agreement] for tile in tiles]
    return by_tile[0] or [box for box in rivals if any(box in found for found in by_tile)]


def _shared(a: Box, b: Box) -> float:
    """Return the overlap of two boxes as a share of the smaller one, 0 to 1."""
    return overlap_area(a, b) / min(a.area, b.area)


def _nothing(phrase: Phrase, found: Sequence[Region], measure: str, minimum: float) -> Rejection:
    if not found:
        return _rejection("no_region", f"no region was found for {phrase.text!r}")
    best = f"the best region for {phrase.text!r} has {measure} {found[0].score:.4g}"
    return _rejection("no_region", f"{best}, below min_{measure} {minimum:g}")


def _pad(box: Box, width_px: int, height_px: int, config: EvidenceConfig) -> Box:
    padded = grow(box, config.pad_ratio, config.min_side_px, width_px, height_px)
    widened = math.ceil(max(padded.width, padded.height) / config.max_aspect)
    wide = grow(padded, 1.0, widened, width_px, height_px)
    x0, x1 = _on_grid((wide.x0, wide.x1), (box.x0, box.x1), width_px, config.grid_px)
    y0, y1 = _on_grid((wide.y0, wide.y1), (box.y0, box.y1), height_px, config.grid_px)
    return Box(x0, y0, x1, y1)


def _on_grid(span: tuple[int, int], inner: tuple[int, int], length_px: int, grid_px: int) -> tuple[int, int]:
    """Return the span widened to whole cells of the grid, with the number of cells that its length needs, placed nearest
    to its centre, and with all cells of the inner span."""
    num_cells = math.ceil((span[1] - span[0]) / grid_px)
    first = (sum(span) - num_cells * grid_px + grid_px) // (2 * grid_px)
    first = min(first, math.ceil(length_px / grid_px) - num_cells, inner[0] // grid_px)
    last = max(first + num_cells, math.ceil(inner[1] / grid_px))
    return max(0, first * grid_px), min(last * grid_px, length_px)


def _joined(boxes: Sequence[Box], image_area: int, config: EvidenceConfig) -> list[Box]:
    """Join near boxes into the box around them, until no two are near enough."""
    for a, b in combinations(boxes, 2):
        both = union((a, b))
        fits = both.area <= config.max_share * image_area or math.isinf(config.join_growth)
        if fits and both.area <= config.join_growth * (a.area + b.area):
            return _joined([both, *(box for box in boxes if box not in (a, b))], image_area, config)
    return list(boxes)


def _sized(evidence: Evidence, width_px: int, height_px: int, config: EvidenceConfig) -> Evidence | Rejection:
    share = sum(box.area for box in evidence.boxes) / (width_px * height_px)
    size = " and ".join(f"{box.width} x {box.height}" for box in evidence.boxes)
    size = f"the evidence is {size} px of {width_px} x {height_px} px"
    if share > config.max_share:
        return _rejection("too_large", f"{size}, a share of {share:.3f}, above max_share {config.max_share:g}")
    aspect = max(max(box.width / box.height, box.height / box.width) for box in evidence.boxes)
    if aspect > config.max_aspect:
        return _rejection("too_thin", f"{size}, an aspect of {aspect:.1f}, above max_aspect {config.max_aspect:g}")
    return evidence


def _rejection(reason: str, message: str) -> Rejection:
    return Rejection(stage="evidence", reason=reason, message=message)
