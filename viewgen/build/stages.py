"""One part of a build: open its images, find evidence, cut and measure views, judge them. Every question leaves as a
sample or as a rejection.
Leaves out: how evidence is found (locating.py) and views are cut (cutting.py); which parts there are (plan.py) and
writing them (build.py).

Threads open images ahead of the models and processes cut views behind them. Nothing depends on how many of either there
are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from viewgen.audit.auditor import Auditor
from viewgen.build.cutting import CutTask, cut_all
from viewgen.source.images import Picture
from viewgen.build.locating import Located, Locator, Searched
from viewgen.build.plan import PartTask
from viewgen.records import Rejection, Sample
from viewgen.viewset.tables import Finished, SourceImage
from viewgen.views.cut_views import Cuts, ViewSource
from viewgen.build.workers import Workers, ahead

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What stays the same from part to part: settings, loaded models, processes."""

    locator: Locator
    auditor: Auditor
    workers: Workers
    num_threads: int
    """For opening images, 1 or more."""

    def make_part(self, part: PartTask) -> Iterator[Finished]:
        """All images of a part, in order."""
        config = self.locator.config
        if retriever := self.locator.finder.retriever:
            retriever.forget()
        opened = ahead(self.locator.open, part.images, self.num_threads)
        searched: Iterable[Searched] = (
            image for batch in batches(opened, config.images_at_once) for image in self.locator.search(batch)
        )
        if config.views.needs_donors:
            searched = self.locator.give_donors(list(searched))
        finished = ahead(self.finish, searched, max(1, self.workers.num))
        return (image for batch in batches(finished, config.images_at_once) for image in self.judge(batch))

    def finish(self, searched: Searched) -> Finished:
        """Each question of one image becomes a sample or a rejection."""
        cuts = iter(self.cut([one.found for one in searched.located if isinstance(one.found, ViewSource)]))
        ends = (
            (one.question, end(one, next(cuts) if isinstance(one.found, ViewSource) else one.found))
            for one in searched.located
        )
        return Finished(image=source_image(searched), ends=tuple(ends))

    def cut(self, sources: list[ViewSource]) -> tuple[Cuts | Rejection, ...]:
        """The measured views of questions about one image, made in a process of its own."""
        if not sources:
            return ()
        config = self.locator.config
        task = CutTask(sources=tuple(sources), seed=config.seed, views=config.views, keep_pixels=self._models_look)
        return self.workers.call(cut_all, task)

    @property
    def _models_look(self) -> bool:
        """Whether the audit reads pixels again, and not their measures alone."""
        auditor, detector = self.auditor, self.auditor.detector
        reads = bool(detector and detector.models and auditor.config.use_detector)
        return reads or bool(auditor.retriever and auditor.config.use_similarity)

    def judge(self, batch: list[Finished]) -> Iterator[Finished]:
        """The images with their samples flagged, or rejected by the audit unless a reviewer accepted them."""
        samples = [sample for image in batch for sample in image.samples]
        accepted = [sample for sample in samples if sample.question.question_id in self.locator.accepted]
        others = [sample for sample in samples if sample.question.question_id not in self.locator.accepted]
        lenient = replace(self.auditor, config=replace(self.auditor.config, reject=()))
        judged = [*self.auditor.judge(others), *lenient.judge(accepted)]
        names = [sample.question.question_id for sample in (*others, *accepted)]
        ends = dict(zip(names, map(without_pixels, judged), strict=True))
        for image in batch:
            yield replace(image, ends=tuple((one, ends.get(one.question_id, end)) for one, end in image.ends))


def end(one: Located, cuts: Cuts | Rejection) -> Sample | Rejection:
    """What becomes of a question."""
    if isinstance(cuts, Rejection):
        return cuts
    assert isinstance(one.found, ViewSource), "views are cut from something"
    return Sample(
        question=one.question,
        image_id=one.found.image_id,
        phrases=one.phrases,
        regions=one.found.regions,
        evidence=one.found.evidence,
        views=cuts.views,
        missing=cuts.missing,
    )


def without_pixels(end: Sample | Rejection) -> Sample | Rejection:
    """The sample as it is stored: a part holds thousands of views."""
    if isinstance(end, Rejection):
        return end
    return replace(end, views=tuple(replace(view, pixels=None) for view in end.views))


def source_image(searched: Searched) -> SourceImage | None:
    """The image as it is stored; None when it could not be opened."""
    picture = searched.opened.picture
    if not isinstance(picture, Picture):
        return None
    return SourceImage(
        image_id=picture.sha256[:16],
        data=picture.data,
        sha256=picture.sha256,
        width_px=picture.width_px,
        height_px=picture.height_px,
        source_path=searched.opened.task.file.path,
    )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time; the last ones are fewer."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
