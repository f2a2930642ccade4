"""Images and phrases -> scored regions, by the way that the settings name.
Leaves out: which region is believed (evidence.py). Boxes are pixels of the upright image.

A finder is asked once per image for all of that image's questions, so that a model reads the image once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from PIL import Image
from pydantic import ConfigDict

from viewgen.detectors import Ask, Detector, ScoredBox
from viewgen.detectors.annotated import AnnotatedBoxes
from viewgen.records import Phrase, Question, Region
from viewgen.retrieval import RetrievalConfig, Retriever
from viewgen.settings import STRICT

Asked = tuple[Question, tuple[Phrase, ...]]
"""A question and the phrases found in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionsConfig:
    """How regions are found."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["annotated", "retrieval"] = "annotated"
    """annotated: the source's own boxes. retrieval: the tiles that an OpenCLIP model finds nearest to the phrase."""


@runtime_checkable
class RegionFinder(Protocol):
    """Finds regions for all questions about one image."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file, for the manifest and the fingerprint."""
        ...

    def find(self, image: Image.Image, asked: Sequence[Asked]) -> list[tuple[Region, ...]]:
        """One entry per asked question, in order; a phrase without a region has none in it."""
        ...


@dataclass(frozen=True, slots=True)
class DetectorFinder:
    """Asks a detector one question at a time."""

    detector: Detector

    @property
    def models(self) -> Mapping[str, str]:
        return self.detector.models

    def find(self, image: Image.Image, asked: Sequence[Asked]) -> list[tuple[Region, ...]]:
        asks = [
            Ask(image=image, phrases=tuple(p.text for p in phrases), annotations=question.annotations)
            for question, phrases in asked
        ]
        return [self._regions(boxes) for boxes in self.detector.detect(asks)]

    def _regions(self, boxes: Sequence[ScoredBox]) -> tuple[Region, ...]:
        # Equal scores share a rank: a source does not prefer one of its boxes to another.
        return tuple(
            Region(
                phrase=one.phrase,
                box=one.box,
                source=self.detector.name,
                score=one.score,
                rank=sum(other.phrase == one.phrase and other.score > one.score for other in boxes),
            )
            for one in boxes
        )


@dataclass(frozen=True, slots=True)
class RetrievalFinder:
    """Embeds the tiles of an image once and ranks them for every distinct phrase of its questions."""

    retriever: Retriever

    @property
    def models(self) -> Mapping[str, str]:
        return self.retriever.models

    def find(self, image: Image.Image, asked: Sequence[Asked]) -> list[tuple[Region, ...]]:
        wanted = list(dict.fromkeys(phrase.text for _, phrases in asked for phrase in phrases))
        found = self.retriever.regions(image, wanted)
        return [
            tuple(region for text in dict.fromkeys(p.text for p in phrases) for region in found[text])
            for _, phrases in asked
        ]


def region_finder(regions: RegionsConfig, retrieval: RetrievalConfig) -> RegionFinder:
    """The finder that the settings ask for. Raises ModelError when its model cannot be loaded."""
    if regions.kind == "retrieval":
        return RetrievalFinder(Retriever.load(retrieval))
    return DetectorFinder(AnnotatedBoxes())
