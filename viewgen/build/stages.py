"""The stages of a build, in order. Each takes images with their questions and hands them on with more found; a rejected
question passes through untouched.
Leaves out: how each stage works (its own folder), the plan of parts (plan.py), writing tables (builder.py).

Threads open images ahead of the models, and worker processes cut views behind them. Results do not depend on how many of
either there are. Images that the models read together share a batch of `images_at_once`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from viewgen import grounding, views
from viewgen.audit.auditor import Auditor
from viewgen.boxes import Box
from viewgen.build.config import BuildConfig
from viewgen.build.cut_image import CutTask, cut_image
from viewgen.build.workers import Workers, ahead
from viewgen.decode import UnusableImageError, decode_image
from viewgen.decontaminate.matching import EvaluationIndex
from viewgen.decontaminate.signatures import COPY_DETAIL, signature
from viewgen.errors import RecipeError
from viewgen.grounding.regions import ImageQuery, RegionFinder
from viewgen.phrases import PhraseFinder, annotated_phrases, given_phrases
from viewgen.records import Donor, ImageRecord, Phrase, QuestionRecord, Region, Rejection
from viewgen.source.box_formats import placed_annotations
from viewgen.source.images import open_image
from viewgen.source.pictures import file_of
from viewgen.source.reviews import REASON, STAGE, Review

T = TypeVar("T")

MAX_DECODED = 4
"""Decoded images that are kept for the donors to come."""
NO_PHRASE = Rejection(stage="phrases", reason="no_phrase", message="nothing in the question is worth looking for")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """Settings, loaded models and workers: the same for every part of a build."""

    root: Path
    """Folder that holds the source's images."""
    config: BuildConfig
    phrases: PhraseFinder
    finder: RegionFinder
    auditor: Auditor
    workers: Workers
    num_threads: int
    """Threads that open images, 1 or more."""
    reviews: Mapping[str, Review]
    """Verdicts of reviewers, by question_id."""
    evaluation: EvaluationIndex | None = None
    """Evaluation sets whose images are left out."""


Stage = Callable[[Iterable[ImageRecord], BuildContext], Iterable[ImageRecord]]


def open_images(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Read and decode each image once for all its questions, and reject those that a reviewer rejected or that
    show an image of an evaluation set.

    Raises RecipeError when a file has changed since it was hashed."""
    return ahead(partial(_open, build=build), images, build.num_threads)


def find_phrases(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Find the phrases of each question that name something worth looking for: those that the source gives, else those
    that are found in the question, else those that the source's boxes belong to."""
    for batch in batches(images, build.config.images_at_once):
        kept = [record for image in batch for record in image.kept]
        phrases = {record.question_id: given_phrases(record.question) for record in kept}
        texts = {record.question_id: record.question.text for record in kept if not phrases[record.question_id]}
        phrases |= dict(zip(texts, build.phrases.find([*texts.values()]) if texts else (), strict=True))
        yield from (image.each(partial(_with_phrases, found=phrases)) for image in batch)


def find_regions(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Find scored regions for the phrases; the models read all images of a batch together."""
    for batch in batches(images, build.config.images_at_once):
        asked = {image.key: _query(image) for image in batch if image.kept}
        found = dict(zip(asked, build.finder.find([*asked.values()]), strict=True))
        for image in batch:
            if search := found.get(image.key):
                ids = [record.question_id for record in image.kept]
                regions = dict(zip(ids, search.regions, strict=True))
                image = replace(image.each(partial(_with_regions, found=regions)), tiles=search.index)
            yield image


def choose_evidence(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Choose the evidence of each question from its regions, or reject the question."""
    for image in images:
        chosen = image.each(partial(_with_evidence, image=image, build=build))
        yield replace(chosen, tiles=None)


def choose_donors(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Choose, for each question, the donor of its `swapped` view among the questions of the part.

    Only this stage waits for the whole part, and only where a kind needs donors."""
    return _with_donors(images, build) if build.config.views.needs_donors else images


def cut_views(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Cut, encode and measure the views of each question in worker processes."""
    return ahead(partial(_cut, build=build), images, max(1, build.workers.num))


def audit_views(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Flag the views, and reject the questions that the audit rejects unless a reviewer accepted them."""
    for batch in batches(images, build.config.images_at_once):
        kept = [record for image in batch for record in image.kept]
        judged = {record.question_id: record for record in _judge(kept, build)}
        yield from (image.each(lambda record, of=judged: of[record.question_id]) for image in batch)  # type: ignore[misc]


STAGES: tuple[Stage, ...] = (
    open_images,
    find_phrases,
    find_regions,
    choose_evidence,
    choose_donors,
    cut_views,
    audit_views,
)


def run_stages(images: Iterable[ImageRecord], build: BuildContext) -> Iterable[ImageRecord]:
    """Send the images of one part through all stages, in order."""
    if retriever := build.finder.retriever:
        retriever.forget()
    for stage in STAGES:
        images = stage(images, build)
    return images


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Group the items, `size` at a time; the last group may be smaller."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def _open(image: ImageRecord, build: BuildContext) -> ImageRecord:
    if not image.kept:
        return image
    path = file_of(image.source_path, build.root)
    try:
        decoded = open_image(path, build.config.images)
    except UnusableImageError as error:
        if not path.is_file():
            gone = "was there when the build began and is away now"
            raise RecipeError(f"{path}: {gone}. Bring it back and run the same command: it goes on.") from None
        why = Rejection(stage="images", reason=error.reason, message=error.what)
        return image.each(lambda record: replace(record, rejection=why))
    if decoded.sha256 != image.key:
        raise RecipeError(f"{path}: changed while the build was running. Build again when the source is at rest.")
    opened = replace(
        image,
        data=decoded.data,
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        orientation=decoded.orientation,
        pixels=decoded.image,
    )
    opened = _decontaminated(opened, build.evaluation)
    opened = opened.each(lambda record: replace(_reviewed(record, build.reviews), image_id=image.image_id))
    return opened.each(partial(_with_annotations, image=opened, build=build))


def _decontaminated(image: ImageRecord, evaluation: EvaluationIndex | None) -> ImageRecord:
    """Reject the questions about an image that occurs in an evaluation set, in the splits that are compared."""
    if evaluation is None:
        return image
    splits = evaluation.config.splits
    asked = [record.question_id for record in image.kept if not splits or record.question.split in splits]
    found = evaluation.find(image.key, signature(_pixels(image), COPY_DETAIL)) if asked else None
    if found is None:
        return image
    why = found.rejection
    return image.each(lambda record: replace(record, rejection=why) if record.question_id in asked else record)


def _with_annotations(record: QuestionRecord, image: ImageRecord, build: BuildContext) -> QuestionRecord:
    """Put the source's boxes into pixels of the upright image. A question whose boxes are none is rejected where the
    recipe's regions are those boxes, and loses them elsewhere."""
    placed = placed_annotations(record.question, image.width_px, image.height_px, image.orientation)
    if isinstance(placed, Rejection):
        if build.config.regions.method == "annotated":
            return replace(record, rejection=placed)
        placed = ()
    return replace(record, question=replace(record.question, annotations=placed, source_boxes=()))


def _reviewed(record: QuestionRecord, reviews: Mapping[str, Review]) -> QuestionRecord:
    verdict = reviews.get(record.question_id)
    if verdict is None or not verdict.is_reject:
        return record
    return replace(record, rejection=Rejection(stage=STAGE, reason=REASON, message=verdict.message))


def _with_phrases(record: QuestionRecord, found: Mapping[str, tuple[Phrase, ...]]) -> QuestionRecord:
    phrases = found[record.question_id] or annotated_phrases(record.question)
    return replace(record, phrases=phrases, rejection=None if phrases else NO_PHRASE)


def _query(image: ImageRecord) -> ImageQuery:
    assert image.pixels is not None, "a question is kept only where its image was opened"
    return ImageQuery(image=image.pixels, questions=tuple((record.question, record.phrases) for record in image.kept))


def _with_regions(record: QuestionRecord, found: Mapping[str, tuple[Region, ...]]) -> QuestionRecord:
    return replace(record, regions=found[record.question_id])


def _with_evidence(record: QuestionRecord, image: ImageRecord, build: BuildContext) -> QuestionRecord:
    config = build.config
    chosen = grounding.choose_evidence(record.phrases, record.regions, image.width_px, image.height_px, config.evidence)
    if isinstance(chosen, Rejection):
        return replace(record, rejection=chosen)
    tiles = image.tiles if config.views.needs_tiles else None
    hard_tile = tiles.hardest_tile(record.phrase_texts, chosen.boxes) if tiles else None
    return replace(record, evidence=chosen, hard_tile=hard_tile)


def _with_donors(images: Iterable[ImageRecord], build: BuildContext) -> Iterator[ImageRecord]:
    """Choose donors among the questions of the part. Pixels are let go while the part comes in and decoded again for the
    cutting: a part may hold hundreds of images of 45 MB each."""
    needs_vectors = build.config.views.needs_vectors
    held: list[ImageRecord] = []
    crops: list[Image.Image] = []
    for image in images:
        boxes = [_giving_box(record) for record in image.kept]
        crops += [_pixels(image).crop(box.as_tuple()) for box in boxes] if needs_vectors else []
        held.append(replace(image, pixels=None))
    givers = {record.question_id: (image, record) for image in held for record in image.kept}
    retriever = build.finder.retriever if needs_vectors else None
    vectors = retriever.embed(crops) if retriever else [None] * len(givers)
    candidates = [
        views.DonorCandidate(question_id=name, image_id=image.image_id, phrases=record.phrase_texts, vector_D=vector_D)
        for (name, (image, record)), vector_D in zip(givers.items(), vectors, strict=True)
    ]
    chosen = views.choose_donors(candidates, build.config.seed, build.config.views.donors)
    decoded = _Decoded(build.config.images.max_megapixels)

    def with_donor(record: QuestionRecord) -> QuestionRecord:
        giver = givers.get(chosen.get(record.question_id, ""))
        return record if giver is None else replace(record, donor=_as_donor(*giver, decoded))

    for image in held:
        yield replace(image.each(with_donor), pixels=decoded.of(image) if image.kept else None)


class _Decoded:
    """Pixels of the images used last, decoded from their files' bytes."""

    def __init__(self, max_megapixels: float) -> None:
        self._max_megapixels = max_megapixels
        self._held: OrderedDict[str, Image.Image] = OrderedDict()

    def of(self, image: ImageRecord) -> Image.Image:
        if image.key not in self._held:
            self._held[image.key] = decode_image(image.data, self._max_megapixels)
        self._held.move_to_end(image.key)
        if len(self._held) > MAX_DECODED:
            self._held.popitem(last=False)
        return self._held[image.key]


def _pixels(image: ImageRecord) -> Image.Image:
    assert image.pixels is not None, "a question is kept only where its image was opened"
    return image.pixels


def _giving_box(record: QuestionRecord) -> Box:
    return record.found_evidence.boxes[0]


def _as_donor(image: ImageRecord, record: QuestionRecord, decoded: _Decoded) -> Donor:
    return Donor(
        question_id=record.question_id, image_id=image.image_id, image=decoded.of(image), box=_giving_box(record)
    )


def _cut(image: ImageRecord, build: BuildContext) -> ImageRecord:
    if not image.kept:
        return replace(image, pixels=None)
    config = build.config
    task = CutTask(
        image=replace(image, data=b""),  # the file's own bytes are not needed there
        seed=config.seed,
        views=config.views,
        keep_pixels=build.auditor.reads_pixels,
        modules=views.kind_modules((*config.views.positive, *config.views.negative, *config.views.fallback)),
    )
    return replace(image, questions=build.workers.call(cut_image, task), pixels=None)


def _judge(records: Sequence[QuestionRecord], build: BuildContext) -> Iterator[QuestionRecord]:
    """Judge the records; one that a reviewer accepted is flagged but never rejected."""
    accepted = [record for record in records if record.question_id in build.reviews]
    others = [record for record in records if record.question_id not in build.reviews]
    lenient = replace(build.auditor, config=replace(build.auditor.config, reject=()))
    for record in (*build.auditor.judge(others), *lenient.judge(accepted)):
        # A part holds thousands of views: their pixels have served.
        yield replace(record, views=tuple(replace(view, pixels=None) for view in record.views))
