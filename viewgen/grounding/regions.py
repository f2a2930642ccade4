"""Find scored regions for phrases by the method of the settings: boxes of the source, tiles that a CLIP model finds most
similar, boxes of a detector, or the last two together with their agreement.
Leaves out: the choice of the evidence (evidence.py). Boxes are pixels of the upright image.

A finder takes several images at once, each with all of its questions, so that a model reads full batches and every image
once."""

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
"""A question with its phrases."""
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
    """An image with all of its questions."""

    image: Image.Image
    """RGB, upright."""
    questions: tuple[QuestionPhrases, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegions:
    """Regions of all questions about one image."""

    regions: tuple[tuple[Region, ...], ...]
    """One entry per question: for each of its phrases the boxes of detector or source, then the tiles of retrieval."""
    index: TileIndex | None = None
    """The image's tiles; None without a retrieval model."""


@runtime_checkable
class RegionFinder(Protocol):
    """Finder of regions for the phrases of questions."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file, for the manifest and the fingerprint."""
        ...

    @property
    def detector(self) -> Detector | None:
        """Detection model, which also reads views for the audit; None without one."""
        ...

    @property
    def retriever(self) -> Retriever | None:
        """Retrieval model; None without one."""
        ...

    def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
        """Return one entry per image, in order. A phrase may have no region."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """Finder for every method of the settings, with the models that the method needs."""

    config: RegionsConfig
    detector: Detector | None = None
    retriever: Retriever | None = None

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file, for detector and retriever."""
        sources = [source for source in (self.detector, self.retriever) if source]
        return MappingProxyType({name: sha256 for source in sources for name, sha256 in source.models.items()})

    def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
        """Return one entry per image, in order, as RegionFinder.find()."""
        indexes = self.retriever.index([each.image for each in images]) if self.retriever else [None] * len(images)
        boxes = iter(self._detected(images))
        return [
            ImageRegions(
                regions=tuple(
                    self._regions(question, phrases, next(boxes), index) for question, phrases in each.questions
                ),
                index=index,
            )
            for each, index in zip(images, indexes, strict=True)
        ]

    def _detected(self, images: Sequence[ImageQuery]) -> list[tuple[ScoredBox, ...]]:
        """Return the boxes of each question in turn; no boxes for the method `retrieval`."""
        questions = [(each, question, phrases) for each in images for question, phrases in each.questions]
        if self.config.method == "retrieval":
            return [()] * len(questions)
        if self.config.method != "annotated" and self.config.caption == "image":
            found = self._ask([Ask(image=each.image, phrases=_texts(each.questions)) for each in images])
            return [boxes for boxes, each in zip(found, images, strict=True) for _ in each.questions]
        return self._ask(
            [
                Ask(image=each.image, phrases=_texts([(question, phrases)]), annotations=question.annotations)
                for each, question, phrases in questions
            ]
        )

    def _ask(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        """Run the detector on the asks that have phrases."""
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
        """Turn a phrase's boxes into regions: every box of the source, one per object of a detector."""
        kept = boxes if source == "annotated" else without_overlaps(boxes, self.config.instance_iou)
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


def without_overlaps(boxes: Sequence[ScoredBox], max_iou: float) -> list[ScoredBox]:
    """Return the boxes, best first, without those that overlap a better one by an IoU above max_iou."""
    kept: list[ScoredBox] = []
    for box in sorted(boxes, key=lambda one: -one.score):
        if all(iou(box.box, other.box) <= max_iou for other in kept):
            kept.append(box)
    return kept


def _with_agreement(regions: Sequence[Region], others: Sequence[Region]) -> tuple[Region, ...]:
    """Return the regions with their agreement: the largest IoU with a region of the other source, 0 without one."""

    def agreement(box: Box) -> float:
        return round(max((iou(box, other.box) for other in others), default=0.0), 4)

    return tuple(replace(region, agreement=agreement(region.box)) for region in regions)


def _texts(questions: Sequence[QuestionPhrases]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase.text for _, phrases in questions for phrase in phrases))


def region_finder(
    regions: RegionsConfig,
    retrieval: RetrievalConfig,
    detector: DetectorConfig | None = None,
    *,
    needs_tiles: bool = False,
) -> Finder:
    """Load the finder of the settings. `needs_tiles`: load the retrieval model even for methods without it.

    Raises ModelError when a model cannot be loaded.

    finder = region_finder(RegionsConfig(method="retrieval"), RetrievalConfig(model="embedded:drawn-clip"))
    question = Question(question_id="q", image_path="a.png", text="Is the red bus full?")
    (found,) = finder.find([ImageQuery(image=image, questions=((question, find_phrases(question.text)),))])
    found.regions[0]    # regions of the first question
    """
    detects = regions.method in {"detector", "fused"}
    return Finder(
        config=regions,
        detector=load_detector(detector or DetectorConfig()) if detects else None,
        retriever=Retriever.load(retrieval) if needs_tiles or regions.method in {"retrieval", "fused"} else None,
    )
