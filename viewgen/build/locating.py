"""The first half of a part: its images opened, and for every question the evidence, or the reason why there is none.
Leaves out: how each stage works; cutting and judging views (stages.py).

The models work in this process, some images at a time, and an image is decoded once: its pixels are handed on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from viewgen.build.config import BuildConfig
from viewgen.views.donors import Candidate, choose_donors
from viewgen.errors import RecipeError
from viewgen.grounding.evidence import choose_evidence
from viewgen.decode import PictureError
from viewgen.source.images import Picture, open_picture
from viewgen.phrases import PhraseFinder
from viewgen.build.plan import ImageTask
from viewgen.records import Phrase, Question, Region, Rejection
from viewgen.grounding.regions import AskedImage, RegionFinder, Search
from viewgen.source.reviews import REASON, STAGE, Verdict
from viewgen.views.cut_views import Donor, ViewSource

NO_PHRASE = Rejection(stage="phrases", reason="no_phrase", message="nothing in the question is worth looking for")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An image task with its pixels, or with the reason why there are none."""

    task: ImageTask
    picture: Picture | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """A question and what is looked for, or why nothing is."""

    question: Question
    phrases: tuple[Phrase, ...] = ()
    given_up: Rejection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A question, what was looked for, and all that its views are made from, or why there are none."""

    question: Question
    phrases: tuple[Phrase, ...]
    found: ViewSource | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """An opened image and all its questions, in order."""

    opened: Opened
    located: tuple[Located, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locator:
    """What stays the same from part to part while evidence is searched."""

    root: Path
    """Below which the images lie."""
    config: BuildConfig
    phrases: PhraseFinder
    finder: RegionFinder
    reviews: Mapping[str, Verdict]
    """question_id -> what a person decided about it."""

    @property
    def accepted(self) -> frozenset[str]:
        """Questions that a reviewer keeps whatever the audit finds."""
        return frozenset(name for name, verdict in self.reviews.items() if not verdict.is_reject)

    def open(self, task: ImageTask) -> Opened:
        """Read and decode the image once for all of its questions. Raises RecipeError when the file has changed."""
        if task.file.refusal:
            return Opened(task=task, picture=task.file.refusal)
        path = self.root / task.file.path
        try:
            picture = open_picture(path, self.config.images)
        except PictureError as error:
            return Opened(task=task, picture=Rejection(stage="images", reason=error.reason, message=error.what))
        if picture.sha256 != task.file.name:
            raise RecipeError(f"{path}: changed while the build was running. Build again when the source is at rest.")
        return Opened(task=task, picture=picture)

    def search(self, batch: Sequence[Opened]) -> Iterator[Searched]:
        """Phrases, regions and evidence of every question about some images, which the models read together."""
        sought = self._seek(batch)
        asked = [_asked(opened, each) for opened, each in zip(batch, sought, strict=True)]
        found = iter(self.finder.find([image for image in asked if image]))
        for opened, each, image in zip(batch, sought, asked, strict=True):
            search = next(found) if image else Search(regions=())
            yield Searched(opened=opened, located=tuple(self._locate(each, opened, search)))

    def give_donors(self, searched: Sequence[Searched]) -> Iterator[Searched]:
        """The images of a whole part, each question with another one whose positive crop can stand in for its own."""
        sources = {
            one.question.question_id: (one, one.found)
            for image in searched
            for one in image.located
            if isinstance(one.found, ViewSource)
        }
        crops = [source.image.crop(source.evidence.boxes[0].as_tuple()) for _, source in sources.values()]
        is_nearest = self.config.views.needs_vectors and self.finder.retriever
        vectors = self.finder.retriever.embed(crops) if is_nearest and self.finder.retriever else [None] * len(crops)
        candidates = [
            Candidate(question_id=name, image_id=source.image_id, phrases=_texts(one.phrases), vector_D=vector_D)
            for (name, (one, source)), vector_D in zip(sources.items(), vectors, strict=True)
        ]
        donors = choose_donors(candidates, self.config.seed, self.config.views.donors)
        given = {name: replace(sources[name][1], donor=_donor(sources[other][1])) for name, other in donors.items()}
        for image in searched:
            located = (replace(one, found=given.get(one.question.question_id, one.found)) for one in image.located)
            yield replace(image, located=tuple(located))

    def _seek(self, batch: Sequence[Opened]) -> list[tuple[Sought, ...]]:
        """What is looked for in each image, or why nothing is."""
        asked = [one.text for opened in batch for one in opened.task.questions if not self._given_up(one, opened)]
        found = iter(self.phrases.find(asked) if asked else ())
        return [tuple(self._sought(one, opened, found) for one in opened.task.questions) for opened in batch]

    def _sought(self, question: Question, opened: Opened, found: Iterator[tuple[Phrase, ...]]) -> Sought:
        if why := self._given_up(question, opened):
            return Sought(question=question, given_up=why)
        phrases = next(found)
        return Sought(question=question, phrases=phrases, given_up=None if phrases else NO_PHRASE)

    def _given_up(self, question: Question, opened: Opened) -> Rejection | None:
        """Why nothing is looked for."""
        verdict = self.reviews.get(question.question_id)
        if isinstance(opened.picture, Rejection):
            return opened.picture
        if verdict and verdict.is_reject:
            return Rejection(stage=STAGE, reason=REASON, message=verdict.message)
        return None

    def _locate(self, sought: Sequence[Sought], opened: Opened, search: Search) -> Iterator[Located]:
        regions = iter(search.regions)
        for one in sought:
            found = one.given_up or self._source(one, opened.picture, next(regions), search)
            yield Located(question=one.question, phrases=one.phrases, found=found)

    def _source(
        self, one: Sought, picture: Picture | Rejection, regions: tuple[Region, ...], search: Search
    ) -> ViewSource | Rejection:
        assert isinstance(picture, Picture), "nothing is looked for in an image that did not open"
        evidence = choose_evidence(one.phrases, regions, picture.width_px, picture.height_px, self.config.evidence)
        if isinstance(evidence, Rejection):
            return evidence
        tiles = search.index if self.config.views.needs_tiles else None
        return ViewSource(
            image=picture.image,
            image_id=picture.sha256[:16],
            question_id=one.question.question_id,
            evidence=evidence,
            regions=regions,
            hard_box=tiles.hardest_tile(_texts(one.phrases), evidence.boxes) if tiles else None,
        )


def _asked(opened: Opened, sought: Sequence[Sought]) -> AskedImage | None:
    asked = tuple((one.question, one.phrases) for one in sought if not one.given_up)
    return (
        AskedImage(image=opened.picture.image, asked=asked) if asked and isinstance(opened.picture, Picture) else None
    )


def _donor(source: ViewSource) -> Donor:
    return Donor(
        question_id=source.question_id, image_id=source.image_id, image=source.image, box=source.evidence.boxes[0]
    )


def _texts(phrases: Sequence[Phrase]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase.text for phrase in phrases))
