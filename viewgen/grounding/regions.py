"""Find scored regions for phrases by the method of the settings: boxes of the source, tiles that a CLIP model finds most
similar, boxes of a detector, or the last two together with their agreement.
Leaves out: the choice of the evidence (evidence.py). Boxes are pixels of the upright image.

A finder is asked for several images at once, each with all of its questions, so that a model reads full batches and every
image once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Protocol, runtime_checkable

from PIL import Image
from pydantic import ConfigDict

from viewgen.boxes import Box, iou
from viewgen.detectors import Ask, Detector, DetectorConfig, ScoredBox, load_detector
from viewgen.detectors.annotated import AnnotatedBoxes
from viewgen.records import Phrase, Question, Region
from viewgen.retrieval.retriever import RetrievalConfig, Retriever
from viewgen.retrieval.tiles import TileIndex
from viewgen.settings import STRICT, Range, check_ranges

QuestionPhrases = tuple[Question, tuple[Phrase, ...]]
"""A question and the phrases found in it."""
Method = Literal["annotated", "retrieval", "detector", "fused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionsConfig:
    """Method of finding regions."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    __renamed__: ClassVar[Mapping[str, str]] = {"kind": "method"}

    method: Method = "annotated"
    """annotated: the source's own boxes. retrieval: the tiles that an OpenCLIP model finds nearest to the phrase.
    detector: boxes of the model in [detector]. fused: detector and retrieval, and how far they agree."""
    instance_iou: Annotated[float, Range(ge=0, le=1)] = 0.5
    """Boxes of one phrase that overlap by more than this are one thing, of which the best box is kept; 0 to 1. The usual
    threshold of non-maximum suppression."""
    caption: Literal["question", "image"] = "question"
    """Phrases that a detector reads at once: those of one question or, in fewer passes, those of all questions about
    an image. A model trained on captions with many phrases loses little by the second."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuery:
    """An image and all that is asked about it."""

    image: Image.Image
    """RGB, upright."""
    asked: tuple[QuestionPhrases, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegions:
    """Regions of all questions about one image."""

    regions: tuple[tuple[Region, ...], ...]
    """One entry per asked question: for each of its phrases the detector's or source's boxes, then the tiles."""
    index: TileIndex | None = None
    """The image's tiles; None where no retrieval model is at work."""


@runtime_checkable
class RegionFinder(Protocol):
    """Finds regions for all questions about some images."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file, for the manifest and the fingerprint."""
        ...

    @property
    def detector(self) -> Detector | None:
        """A model that can also be asked about views; None where there is none."""
        ...

    @property
    def retriever(self) -> Retriever | None:
        """None where no retrieval model is at work."""
        ...

    def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
        """One entry per image, in order; a phrase without a region has none in it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """The finder of every kind: what it is made of says what it does."""

    config: RegionsConfig
    detector: Detector | None = None
    retriever: Retriever | None = None

    @property
    def models(self) -> Mapping[str, str]:
        sources = [source for source in (self.detector, self.retriever) if source]
        return MappingProxyType({name: sha256 for source in sources for name, sha256 in source.models.items()})

    def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
        indexes = self.retriever.index([each.image for each in images]) if self.retriever else [None] * len(images)
        boxes = iter(self._detected(images))
        return [
            ImageRegions(
                regions=tuple(self._regions(question, phrases, next(boxes), index) for question, phrases in each.asked),
                index=index,
            )
            for each, index in zip(images, indexes, strict=True)
        ]

    def _detected(self, images: Sequence[ImageQuery]) -> list[tuple[ScoredBox, ...]]:
        """Return the boxes for each question in turn; none where tiles alone are searched."""
        questions = [(each, question, phrases) for each in images for question, phrases in each.asked]
        if self.config.method == "retrieval":
            return [()] * len(questions)
        if self.config.method != "annotated" and self.config.caption == "image":
            found = self._ask([Ask(image=each.image, phrases=_texts(each.asked)) for each in images])
            return [boxes for boxes, each in zip(found, images, strict=True) for _ in each.asked]
        return self._ask(
            [
                Ask(image=each.image, phrases=_texts([(question, phrases)]), annotations=question.annotations)
                for each, question, phrases in questions
            ]
        )

    def _ask(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        """Run the detector on the images that have a phrase."""
        detector = AnnotatedBoxes() if self.config.method == "annotated" else self.detector
        assert detector is not None, f"regions of method {self.config.method} need a detector"
        answers = iter(detector.detect([ask for ask in asks if ask.phrases]))
        return [next(answers) if ask.phrases else () for ask in asks]

    def _regions(
        self, question: Question, phrases: tuple[Phrase, ...], boxes: Sequence[ScoredBox], index: TileIndex | None
    ) -> tuple[Region, ...]:
        source = self.detector.name if self.detector and self.config.method != "annotated" else "annotated"
        ranked = index if self.config.method in {"retrieval", "fused"} else None
        found: list[Region] = []
        for text in _texts([(question, phrases)]):
            seen = self._instances(source, [box for box in boxes if box.phrase == text])
            tiles = ranked.regions(text, question.text) if ranked else ()
            if ranked and self.config.method == "fused":
                seen, tiles = _with_agreement(seen, tiles), _with_agreement(tiles, seen)
                ranks = ranked.ranks(text, [one.box for one in seen], question.text)
                seen = tuple(replace(one, retrieval_rank=rank) for one, rank in zip(seen, ranks, strict=True))
            found += [*seen, *tiles]
        return tuple(found)

    def _instances(self, source: str, boxes: Sequence[ScoredBox]) -> tuple[Region, ...]:
        """Turn a phrase's boxes into regions: all those of the source, one per object of a detector."""
        kept = boxes if source == "annotated" else distinct(boxes, self.config.instance_iou)
        return tuple(
            Region(
                phrase=one.phrase,
                box=one.box,
                source=source,
                score=one.score,
                # Equal scores share a rank: a source does not prefer one of its boxes to another.
                rank=sum(other.score > one.score for other in kept),
                num_instances=len(kept),
            )
            for one in kept
        )


def distinct(boxes: Sequence[ScoredBox], max_iou: float) -> list[ScoredBox]:
    """Return the boxes, best first, without those that overlap a better one by more than max_iou."""
    kept: list[ScoredBox] = []
    for box in sorted(boxes, key=lambda one: -one.score):
        if all(iou(box.box, other.box) <= max_iou for other in kept):
            kept.append(box)
    return kept


def _with_agreement(regions: Sequence[Region], others: Sequence[Region]) -> tuple[Region, ...]:
    """Return the regions with their agreement: largest IoU with a region of the other source, 0 where that has none."""

    def agreement(box: Box) -> float:
        return round(max((iou(box, other.box) for other in others), default=0.0), 4)

    return tuple(replace(region, agreement=agreement(region.box)) for region in regions)


def _texts(asked: Sequence[QuestionPhrases]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase.text for _, phrases in asked for phrase in phrases))


def region_finder(
    regions: RegionsConfig,
    retrieval: RetrievalConfig,
    detector: DetectorConfig | None = None,
    *,
    needs_tiles: bool = False,
) -> Finder:
    """Load the finder of the settings; `needs_tiles` loads the retrieval model where regions alone would not.
    Raises ModelError when a model cannot be loaded."""
    detects = regions.method in {"detector", "fused"}
    return Finder(
        config=regions,
        detector=load_detector(detector or DetectorConfig()) if detects else None,
        retriever=Retriever.load(retrieval) if needs_tiles or regions.method in {"retrieval", "fused"} else None,
    )
