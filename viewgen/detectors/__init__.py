"""What every detector promises. One file per kind beside this one; none is imported before it is asked for.
Leaves out: choosing among detectors (regions.py) and judging what they find (evidence.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from PIL import Image

from viewgen.records import Phrase, Question, Region


@runtime_checkable
class Detector(Protocol):
    """Finds where phrases of one question can be seen in its image."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file; empty when no model is used."""
        ...

    def detect(self, image: Image.Image, question: Question, phrases: Sequence[Phrase]) -> tuple[Region, ...]:
        """Regions in pixels of `image` (RGB, upright), for each phrase in turn, best first."""
        ...
