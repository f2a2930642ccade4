"""The audit's numbers -> flags: fixed words for what is wrong with a view, by thresholds in the settings. Pure.
Leaves out: the numbers themselves (measures.py, readings.py, audit.py).

What counts as a leak depends on what a kind of negative promises: another place (off_region and its kin), the evidence
hidden (masked), no shapes (shuffled_patches), less detail (downsampled and its kin), another thing (same_class,
swapped)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from pydantic import ConfigDict

from viewgen.records import Audit
from viewgen.settings import STRICT

FLAGS = (
    "leaks_evidence",
    "positive_lacks_evidence",
    "duplicate",
    "near_duplicate",
    "sharpness_differs",
    "size_differs",
    "encoding_differs",
)
"""Every word that `flags` can hold, the gravest first."""
DEGRADED = frozenset({"downsampled", "pixelated", "blurred", "noised"})
"""The positive with less detail: a leak only when it lost hardly any."""
OTHER_THING = frozenset({"same_class", "swapped"})
"""Shows another thing that may well fit the phrase: only its place, and a near copy, can tell a leak."""
SHOWS_NOTHING = frozenset({"blank", "none"})
CONTROL = frozenset({"mask_random"})
"""Shows the evidence on purpose."""
SPOILT = DEGRADED | {"shuffled_patches"}
"""Made of the positive's own pixels."""
ALTERED = SPOILT | CONTROL | {"masked"}
"""Made of the positive's own pixels, or of those around them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """From which number on a view is flagged, and which flags reject its question."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    reject: tuple[str, ...] = ("leaks_evidence",)
    """Flags that reject the question; none for looking only. Ours: a negative that leaks misleads the gate, all else
    is for the user to weigh."""
    max_overlap: float = 0.1
    """Largest share of an evidence box that a negative may show, 0 to 1. Ours: a tenth of a padded box is its margin."""
    max_detail: float = 0.3
    """Largest share of the fine detail of the evidence that a degraded or shuffled negative may keep, 0 to 1. Ours:
    photographs keep about 0.65 when made 1.25 times smaller on the way, 0.25 at 2 times, nothing at 8 times."""
    max_detector_score: float = 0.35
    """A negative in which the detector finds a phrase with at least this score leaks, 0 to 1. Grounding DINO's usual box
    threshold."""
    min_similarity_margin: float = 1.0
    """A negative less than this below its positive leaks, in nats under the model's own temperature, any number. Ours: at
    1 nat the model holds the positive for the better picture of the phrase by less than 3 to 1."""
    min_positive_overlap: float = 0.9
    """Least share of an evidence box that a positive shows, 0 to 1. Ours."""
    min_positive_score: float = 0.35
    """Least score of a phrase in a positive when a detector reads it, 0 to 1. Grounding DINO's usual box threshold."""
    max_hash_distance: int = 8
    """Negatives of other places or things within so many of 64 bits are near duplicates, 0 to 64. Ours: a copy at two
    thirds of the resolution mostly differs by less, another place of the same picture by 10 and more, usually by 30."""
    max_sharpness_ratio: float = 4.0
    """A negative whose sharpness is more than this many times the positive's, or fewer than one in so many, differs in
    it; 1 or more. Ours: half the resolution makes a photograph about 6 times less sharp."""
    use_detector: bool = True
    """Whether the detector, where the build has one, reads every view again: as slow as looking for regions, per view."""
    use_similarity: bool = True
    """Whether the OpenCLIP model, where the build has one, compares every view with the phrases."""
    shift_px: int = 0
    """Step, in pixels, by which views up to a tile in size are shifted every way before they are compared, the best copy
    counting; 0 for not at all. For models that know things in the middle of a tile only; (side / shift_px)² times as
    slow."""

    def __post_init__(self) -> None:
        for flag in self.reject:
            if flag not in FLAGS:
                near = get_close_matches(flag, FLAGS, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(FLAGS)}."
                raise ValueError(f"reject holds {flag!r}, which is no flag of the audit. {hint}")
        for name in ("max_overlap", "max_detail", "max_detector_score", "min_positive_overlap", "min_positive_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 to 1")
        if not math.isfinite(self.min_similarity_margin):
            raise ValueError(f"min_similarity_margin is {self.min_similarity_margin}: expected a number of nats")
        if not 0 <= self.max_hash_distance <= 64:
            raise ValueError(f"max_hash_distance is {self.max_hash_distance}: expected 0 to 64 bits")
        if self.shift_px < 0:
            raise ValueError(f"shift_px is {self.shift_px}: expected 0 or more pixels")
        if not 1 <= self.max_sharpness_ratio < math.inf:
            raise ValueError(f"max_sharpness_ratio is {self.max_sharpness_ratio}: expected 1 or more")


def flags(audit: Audit, role: str, kind: str, config: AuditConfig) -> tuple[str, ...]:
    """What is wrong with a view of this role and kind (as it was made), in the order of FLAGS."""
    return tuple(findings(audit, role, kind, config))


def findings(audit: Audit, role: str, kind: str, config: AuditConfig) -> dict[str, str]:
    """Flag -> the numbers that raise it and their limits, for reading."""
    if role == "positive":
        found = {"positive_lacks_evidence": _lacks(audit, kind, config)}
    else:
        found = {"leaks_evidence": _leaks(audit, kind, config), **_resembles(audit, kind, config)}
        found |= _differs(audit, kind, config)
    return {flag: ", ".join(found[flag]) for flag in FLAGS if found.get(flag)}


def _lacks(audit: Audit, kind: str, config: AuditConfig) -> list[str]:
    # crop_exact leaves the margin of the evidence box out, and so holds little of it when a small thing was grown.
    overlap = 1.0 if kind == "crop_exact" else audit.evidence_overlap
    return [
        *_below("evidence_overlap", overlap, config.min_positive_overlap),
        *_below("detector_score", audit.detector_score, config.min_positive_score),
    ]


def _leaks(audit: Audit, kind: str, config: AuditConfig) -> list[str]:
    if kind in SHOWS_NOTHING | CONTROL:
        return []
    shown = _above(
        "evidence_overlap", audit.evidence_overlap, config.max_detail if kind in SPOILT else config.max_overlap
    )
    if kind in DEGRADED | OTHER_THING:
        return shown
    seen = _above("detector_score", audit.detector_score, config.max_detector_score)
    if kind in SPOILT:  # shuffled, its colours are the positive's, which is much of what the OpenCLIP model goes by
        return [*shown, *seen]
    return [*shown, *seen, *_below("similarity_margin", audit.similarity_margin, config.min_similarity_margin)]


def _resembles(audit: Audit, kind: str, config: AuditConfig) -> dict[str, list[str]]:
    """Kinds made of the positive's own pixels, or around them, resemble it by nature."""
    if kind in ALTERED | SHOWS_NOTHING or audit.hash_distance > config.max_hash_distance:
        return {}
    said = [f"hash_distance {audit.hash_distance} up to {config.max_hash_distance}"]
    return {"near_duplicate" if audit.hash_distance else "duplicate": said}


def _differs(audit: Audit, kind: str, config: AuditConfig) -> dict[str, list[str]]:
    """In more than relevance. A view that is not there differs in nothing."""
    if kind == "none":
        return {}
    most, ratio = config.max_sharpness_ratio, audit.sharpness_ratio
    blunt = [] if 1 / most <= ratio <= most else [f"sharpness_ratio {ratio:.3g} not from {1 / most:.3g} to {most:g}"]
    return {
        "sharpness_differs": blunt,
        "size_differs": [] if audit.same_size else ["other size than the positive"],
        "encoding_differs": [] if audit.same_encoding else ["other format or quality than the positive"],
    }


def _above(name: str, value: float | None, limit: float) -> list[str]:
    return [f"{name} {value:.2f} above {limit:g}"] if value is not None and value > limit else []


def _below(name: str, value: float | None, limit: float) -> list[str]:
    return [f"{name} {value:.2f} below {limit:g}"] if value is not None and value < limit else []
