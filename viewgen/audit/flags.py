"""Turn the audit's numbers into flags: fixed words for the faults of a view, by thresholds in the settings. Pure.
Leaves out: the numbers themselves (measures.py, readings.py, auditor.py).

A kind of view says which numbers show its leak, and which flags can be raised on it (views/kinds.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import ConfigDict

from viewgen.records import Audit
from viewgen.settings import STRICT, Range, check_names, check_ranges
from viewgen.views.kinds import KINDS, Kind, cut_at

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "leaks_evidence": "A negative that still shows the evidence, by its place, by detail that is left, or to a "
        "model.",
        "positive_lacks_evidence": "A positive that shows too little of an evidence box, or in which the detector "
        "finds no phrase.",
        "positive_is_blank": "A positive that shows next to nothing: the levels of its channels span fewer than "
        "`min_contrast`.",
        "duplicate": "A negative whose perceptual hash equals the positive's.",
        "near_duplicate": "A negative whose perceptual hash differs from the positive's by at most "
        "`max_hash_distance` bits.",
        "sharpness_differs": "A negative that is sharper or blunter than the positive by more than "
        "`max_sharpness_ratio`.",
        "size_differs": "A negative of another width or height than the positive.",
        "encoding_differs": "A negative in another file format or quality than the positive.",
    }
)
"""Every word that `flags` can hold and its meaning, the gravest first. Settings named here are those of [audit]."""
_UNKNOWN = Kind(name="unknown", role="negative", make=cut_at, about="")
"""A kind from another version of viewgen: any number shows its leak, every flag applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """From which number on a view is flagged, and which flags reject its question."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    reject: tuple[str, ...] = ("leaks_evidence",)
    """Flags that reject the question; none for looking only. Ours: a negative that leaks misleads the gate, all else
    is for the user to weigh."""
    max_overlap: Annotated[float, Range(ge=0, le=1)] = 0.1
    """Largest share of an evidence box that a negative may show, 0 to 1. Ours: a tenth of a padded box is its margin."""
    max_detail: Annotated[float, Range(ge=0, le=1)] = 0.3
    """Largest share of the fine detail of the evidence that a degraded or shuffled negative may keep, 0 to 1. Ours:
    photographs keep about 0.65 when made 1.25 times smaller on the way, 0.25 at 2 times, nothing at 8 times."""
    max_detector_score: Annotated[float, Range(ge=0, le=1)] = 0.35
    """A negative in which the detector finds a phrase with at least this score leaks, 0 to 1. Grounding DINO's usual box
    threshold."""
    min_similarity_margin: Annotated[float, Range(unit="nats")] = 1.0
    """A negative less than this below its positive leaks, in nats under the model's own temperature, any number. Ours: at
    1 nat the model holds the positive for the better picture of the phrase by less than 3 to 1."""
    min_positive_overlap: Annotated[float, Range(ge=0, le=1)] = 0.9
    """Least share of an evidence box that a positive shows, 0 to 1. Ours."""
    min_positive_score: Annotated[float, Range(ge=0, le=1)] = 0.35
    """Least score of a phrase in a positive when a detector reads it, 0 to 1. Grounding DINO's usual box threshold."""
    min_contrast: Annotated[int, Range(ge=0, le=255, unit="levels")] = 16
    """Least span of the levels of a positive's channels, without the lowest and the highest hundredth, 0 to 255. Ours:
    12-bit levels read as 16-bit ones span 15, and nobody sees them."""
    max_hash_distance: Annotated[int, Range(ge=0, le=64, unit="bits")] = 8
    """Negatives of other places or things within so many of 64 bits are near duplicates, 0 to 64. Ours: a copy at two
    thirds of the resolution mostly differs by less, another place of the same picture by 10 and more, usually by 30."""
    max_sharpness_ratio: Annotated[float, Range(ge=1)] = 4.0
    """A negative whose sharpness is more than this many times the positive's, or fewer than one in so many, differs in
    it; 1 or more. Ours: half the resolution makes a photograph about 6 times less sharp."""
    use_detector: bool = True
    """Read every view again with the detector, where the build has one: per view as slow as finding regions."""
    use_similarity: bool = True
    """Compare every view with the phrases by the OpenCLIP model, where the build has one."""
    shift_px: Annotated[int, Range(ge=0, unit="px")] = 0
    """Step, in pixels, by which views up to a tile in size are shifted every way before they are compared, the best copy
    counting; 0 for not at all. For models that know things in the middle of a tile only; (side / shift_px)² times as
    slow."""

    def __post_init__(self) -> None:
        check_ranges(self)
        check_names("reject", self.reject, FLAGS, "Run `viewgen kinds` to read about each.")


def flags(audit: Audit, role: str, kind: str, config: AuditConfig) -> tuple[str, ...]:
    """Return the flags of a view of this role and kind (as it was made), in the order of FLAGS."""
    return tuple(findings(audit, role, kind, config))


def findings(audit: Audit, role: str, kind: str, config: AuditConfig) -> dict[str, str]:
    """Return each flag with the numbers that raise it and their limits, for reading."""
    made_as = KINDS.get(kind, _UNKNOWN)
    if role == "positive":
        found = {"positive_lacks_evidence": _lacks(audit, made_as, config), "positive_is_blank": _blank(audit, config)}
    else:
        found = {"leaks_evidence": _leaks(audit, made_as, config)} | _copies(audit, config) | _differs(audit, config)
    return {flag: ", ".join(found[flag]) for flag in FLAGS if found.get(flag) and flag in made_as.flags}


def _lacks(audit: Audit, kind: Kind, config: AuditConfig) -> list[str]:
    found = {
        "evidence_overlap": _below("evidence_overlap", audit.evidence_overlap, config.min_positive_overlap),
        "detector_score": _below("detector_score", audit.detector_score, config.min_positive_score),
    }
    return [said for name in kind.judged_by for said in found.get(name, ())]


def _blank(audit: Audit, config: AuditConfig) -> list[str]:
    is_blank = audit.contrast < config.min_contrast
    return [f"contrast {audit.contrast} below {config.min_contrast}"] if is_blank else []


def _leaks(audit: Audit, kind: Kind, config: AuditConfig) -> list[str]:
    max_shown = config.max_detail if kind.shown == "detail" else config.max_overlap
    found = {
        "evidence_overlap": _above("evidence_overlap", audit.evidence_overlap, max_shown),
        "detector_score": _above("detector_score", audit.detector_score, config.max_detector_score),
        "similarity_margin": _below("similarity_margin", audit.similarity_margin, config.min_similarity_margin),
    }
    return [said for name in kind.judged_by for said in found[name]]


def _copies(audit: Audit, config: AuditConfig) -> dict[str, list[str]]:
    if audit.hash_distance > config.max_hash_distance:
        return {}
    said = [f"hash_distance {audit.hash_distance} up to {config.max_hash_distance}"]
    return {"near_duplicate" if audit.hash_distance else "duplicate": said}


def _differs(audit: Audit, config: AuditConfig) -> dict[str, list[str]]:
    """Return differences from the positive in more than relevance."""
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
