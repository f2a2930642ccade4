"""Ground the phrases of a question in its image: find regions, choose the evidence.

In: decoded images, phrases, a detector and a retriever. Out: scored regions, and the evidence chosen from them, or an
abstention with its reason."""

from __future__ import annotations

from viewgen.grounding.evidence import EvidenceConfig, choose_evidence
from viewgen.grounding.regions import RegionFinder, RegionsConfig, region_finder

__all__ = ["EvidenceConfig", "RegionFinder", "RegionsConfig", "choose_evidence", "region_finder"]
