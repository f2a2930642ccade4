"""One part of a build: open its images, find phrases, find regions, choose evidence, cut and measure views. Every
question leaves as a sample or as a rejection.
Leaves out: how each stage works; which parts there are (plan.py) and writing them (build.py).

The models work in this process, some images at a time; threads open images ahead of them and processes cut views
behind them. An image is decoded once: its pixels are handed on. Nothing depends on how many threads or processes
there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from viewgen.config import BuildConfig
from viewgen.cutting import CutTask, cut_all
from viewgen.errors import RecipeError
from viewgen.evidence import choose_evidence
from viewgen.images import Picture, PictureError, open_picture
from viewgen.phrases import find_phrases
from viewgen.plan import ImageTask, PartTask
from viewgen.records import Evidence, Phrase, Question, Region, Rejection, Sample
from viewgen.regions import RegionFinder
from viewgen.tables import End, Finished, SourceImage
from viewgen.views import Cuts, ViewSource
from viewgen.workers import Workers, ahead

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What stays the same from part to part: settings, loaded models, processes."""

    root: Path
    """Below which the images lie."""
    config: BuildConfig
    finder: RegionFinder
    workers: Workers
    num_threads: int
    """For opening images, 1 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An image task with its pixels, or with the reason why there are none."""

    task: ImageTask
    picture: Picture | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A question, what was looked for, and where it may be answered, or why that is not known."""

    question: Question
    phrases: tuple[Phrase, ...]
    regions: tuple[Region, ...]
    evidence: Evidence | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """An opened image after the search for evidence, all its questions in order."""

    opened: Opened
    located: tuple[Located, ...]


def make_part(part: PartTask, stages: Stages) -> Iterator[Finished]:
    """All images of a part, in order."""
    opened = ahead(partial(open_image, stages=stages), part.images, stages.num_threads)
    searched = (image for batch in batches(opened, stages.config.images_at_once) for image in search(batch, stages))
    return ahead(partial(finish, stages=stages), searched, max(1, stages.workers.num))


def open_image(task: ImageTask, stages: Stages) -> Opened:
    """Read and decode the image once for all of its questions."""
    if task.file.refusal:
        return Opened(task=task, picture=task.file.refusal)
    path = stages.root / task.file.path
    try:
        picture = open_picture(path, stages.config.images)
    except PictureError as error:
        return Opened(task=task, picture=Rejection(stage="images", reason=error.reason, message=error.what))
    if picture.sha256 != task.file.name:
        raise RecipeError(f"{path}: changed while the build was running. Build again when the source is at rest.")
    return Opened(task=task, picture=picture)


def search(batch: list[Opened], stages: Stages) -> Iterator[Searched]:
    """Phrases, regions and evidence of every question about some images; an image that did not open has its reason."""
    for opened in batch:
        questions = opened.task.questions
        if isinstance(opened.picture, Rejection):
            why = opened.picture
            located = [Located(question=one, phrases=(), regions=(), evidence=why) for one in questions]
        else:
            asked = [(question, find_phrases(question.text)) for question in questions]
            found = stages.finder.find(opened.picture.image, asked)
            located = [
                locate(question, phrases, regions, opened.picture, stages.config)
                for (question, phrases), regions in zip(asked, found, strict=True)
            ]
        yield Searched(opened=opened, located=tuple(located))


def locate(
    question: Question, phrases: tuple[Phrase, ...], regions: tuple[Region, ...], picture: Picture, config: BuildConfig
) -> Located:
    """Regions -> evidence, or the reason why there is none."""
    evidence: Evidence | Rejection = NO_PHRASE
    if phrases:
        evidence = choose_evidence(phrases, regions, picture.width_px, picture.height_px, config.evidence)
    return Located(question=question, phrases=phrases, regions=regions, evidence=evidence)


NO_PHRASE = Rejection(stage="phrases", reason="no_phrase", message="nothing in the question is worth looking for")


def finish(searched: Searched, stages: Stages) -> Finished:
    """Each question of one image becomes a sample or a rejection."""
    picture = searched.opened.picture
    if isinstance(picture, Rejection):
        return Finished(image=None, ends=tuple((one.question, picture) for one in searched.located))
    image = SourceImage(
        image_id=picture.sha256[:16],
        data=picture.data,
        sha256=picture.sha256,
        width_px=picture.width_px,
        height_px=picture.height_px,
        source_path=searched.opened.task.file.path,
    )
    shown = [one for one in searched.located if isinstance(one.evidence, Evidence)]
    cuts = iter(cut(shown, picture, stages))
    ends = ((one, one.evidence if isinstance(one.evidence, Rejection) else next(cuts)) for one in searched.located)
    return Finished(image=image, ends=tuple(end(one, image.image_id, cut) for one, cut in ends))


def cut(shown: list[Located], picture: Picture, stages: Stages) -> tuple[Cuts | Rejection, ...]:
    """The views of all questions about one image that have evidence, in a process of its own."""
    sources = tuple(
        ViewSource(
            image=picture.image,
            image_id=picture.sha256[:16],
            question_id=one.question.question_id,
            evidence=one.evidence,
            regions=one.regions,
        )
        for one in shown
        if isinstance(one.evidence, Evidence)
    )
    if not sources:
        return ()
    config = stages.config
    return stages.workers.call(
        cut_all, CutTask(sources=sources, seed=config.seed, views=config.views, keep_pixels=False)
    )


def end(one: Located, image_id: str, cuts: Cuts | Rejection) -> End:
    """What became of a question."""
    if isinstance(cuts, Rejection):
        return one.question, cuts
    assert isinstance(one.evidence, Evidence)
    return one.question, Sample(
        question=one.question,
        image_id=image_id,
        phrases=one.phrases,
        regions=one.regions,
        evidence=one.evidence,
        views=cuts.views,
        missing=cuts.missing,
    )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time; the last ones are fewer."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
