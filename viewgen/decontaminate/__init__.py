"""Decontamination: find training images that occur in evaluation sets, as equal files or as near copies.

In: evaluation sets (recipes, view sets, folders of images, stored hashes), decoded training images. Out: the evaluation
image that a training image copies, if any."""

from __future__ import annotations

from viewgen.decontaminate.matching import DecontaminateConfig, EvaluationIndex, Match
from viewgen.decontaminate.sets import EvaluationSet, read_set, write_hashes

__all__ = ["DecontaminateConfig", "EvaluationIndex", "EvaluationSet", "Match", "read_set", "write_hashes"]
