"""A recipe -> a view set: read questions, hash images, plan parts; then for each image: open it, find phrases, find
regions, choose evidence, cut views; then write the part. Every question leaves as a sample or as a rejection.
Leaves out: how each stage works; what a part is made from and when it is done again (plan.py).

A killed build goes on after its last finished part, and ends with the same bytes as one that was never killed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from viewgen.audit import measure
from viewgen.card import card
from viewgen.config import BuildConfig, read_config
from viewgen.errors import RecipeError
from viewgen.evidence import choose_evidence
from viewgen.images import Picture, PictureError, open_picture
from viewgen.manifest import Manifest, PartRecord, beside, write_manifest
from viewgen.phrases import find_phrases
from viewgen.plan import ImageFile, ImageTask, PartTask, Plan, hash_image_file, open_folder, plan_build, with_parts
from viewgen.progress import Progress, Stream
from viewgen.recipe import read_questions, root_of
from viewgen.records import Phrase, Question, Region, Rejection, Sample
from viewgen.regions import RegionFinder, region_finder
from viewgen.shards import table_path, write_table
from viewgen.tables import Finished, SourceImage, part_tables
from viewgen.views import ViewSource, cut_views

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a build may be told that does not shape its result."""

    force: bool = False
    """Rebuild every part of an existing view set."""
    only: tuple[int, ...] = ()
    """Rebuild these parts and leave the others as they are; empty for all that are not finished."""
    num_threads: int = os.cpu_count() or 1
    """For opening images and for cutting and encoding views, 1 or more."""
    progress_out: Stream | None = None
    """Where progress is said; standard error when not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a build did."""

    num_parts: int
    """Of the finished view set."""
    num_made: int
    num_reused: int
    """Parts that were finished already."""

    @property
    def is_complete(self) -> bool:
        return self.num_made + self.num_reused == self.num_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A question, where it may be answered in its image, and what was looked for."""

    question: Question
    phrases: tuple[Phrase, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An image task with its pixels, or with the reason why there are none."""

    task: ImageTask
    picture: Picture | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """An opened image task after the search for regions; nothing was searched in an image that did not open."""

    opened: Opened
    located: tuple[Located, ...]


def build_views(
    recipe: Path, out: Path, options: BuildOptions | None = None, finder: RegionFinder | None = None
) -> BuildReport:
    """Build the view set of a recipe at `out`, or finish one that was begun. `finder` replaces the recipe's own.

    Raises ViewgenError for every mistake in the recipe, and for a folder that another build made."""
    options = options or BuildOptions()
    config = read_config(recipe)
    root = root_of(config.source, recipe)
    questions = read_questions(config.source, recipe)
    finder = finder or region_finder(config.regions, config.retrieval)
    files = hash_images(questions, root, config, options)
    plan = plan_build(config, finder.models, questions, files)
    manifest = open_folder(out, plan, options.force, options.only)
    num_reused = len(manifest.parts)
    todo = parts_to_make(plan, manifest, options.only)
    with Progress("build", sum(len(part.images) for part in todo), "images", options.progress_out) as progress:
        for part in todo:
            images = progress.each(make_part(part, root, config, finder, options.num_threads))
            manifest = write_part(out, manifest, part, list(images))
    write_card(out, manifest)
    return BuildReport(num_parts=len(plan.parts), num_made=len(todo), num_reused=num_reused)


def hash_images(
    questions: Sequence[Question], root: Path, config: BuildConfig, options: BuildOptions
) -> list[ImageFile]:
    """Every image file that a question names, once."""
    paths = list(dict.fromkeys(question.image_path for question in questions))
    with Progress("hash", len(paths), "images", options.progress_out) as progress:
        files = ahead(lambda path: hash_image_file(path, root, config.images), paths, options.num_threads)
        return list(progress.each(files))


def parts_to_make(plan: Plan, manifest: Manifest, only: Sequence[int]) -> list[PartTask]:
    """The parts that are not finished, or those of them that are in `only`."""
    finished = {record.part for record in manifest.parts}
    return [part for part in plan.parts if part.part not in finished and (not only or part.part in only)]


def make_part(
    part: PartTask, root: Path, config: BuildConfig, finder: RegionFinder, num_threads: int
) -> Iterator[Finished]:
    """All images of a part, in order. Threads open, cut and encode; the finder works in this one, image by image."""
    opened = ahead(lambda task: open_image(task, root, config), part.images, num_threads)
    searched = (search(image, finder) for image in opened)
    return ahead(lambda image: finish(image, config), searched, num_threads)


def open_image(task: ImageTask, root: Path, config: BuildConfig) -> Opened:
    """Read and decode the image once for all of its questions."""
    if task.file.refusal:
        return Opened(task=task, picture=task.file.refusal)
    path = root / task.file.path
    try:
        picture = open_picture(path, config.images)
    except PictureError as error:
        return Opened(task=task, picture=Rejection(stage="images", reason=error.reason, message=error.what))
    if picture.sha256 != task.file.name:
        raise RecipeError(f"{path}: changed while the build was running. Build again when the source is at rest.")
    return Opened(task=task, picture=picture)


def search(opened: Opened, finder: RegionFinder) -> Searched:
    """Phrases of every question, and the regions that the finder proposes for them."""
    if isinstance(opened.picture, Rejection):
        return Searched(opened=opened, located=())
    asked = [(question, find_phrases(question.text)) for question in opened.task.questions]
    found = finder.find(opened.picture.image, asked)
    located = (
        Located(question=question, phrases=phrases, regions=regions)
        for (question, phrases), regions in zip(asked, found, strict=True)
    )
    return Searched(opened=opened, located=tuple(located))


def finish(searched: Searched, config: BuildConfig) -> Finished:
    """Each question of one image becomes a sample or a reject."""
    task, picture = searched.opened.task, searched.opened.picture
    if isinstance(picture, Rejection):
        return Finished(image=None, samples=(), rejects=tuple((question, picture) for question in task.questions))
    image = SourceImage(
        image_id=picture.sha256[:16],
        data=picture.data,
        sha256=picture.sha256,
        width_px=picture.width_px,
        height_px=picture.height_px,
        source_path=task.file.path,
    )
    ends = [(located.question, make_sample(located, picture, config)) for located in searched.located]
    return Finished(
        image=image,
        samples=tuple(end for _, end in ends if isinstance(end, Sample)),
        rejects=tuple((question, end) for question, end in ends if isinstance(end, Rejection)),
    )


def make_sample(located: Located, picture: Picture, config: BuildConfig) -> Sample | Rejection:
    """Phrases and regions -> evidence -> views, or the first stage's reason to give the question up."""
    if not located.phrases:
        return Rejection(stage="phrases", reason="no_phrase", message="no rule finds a phrase worth looking for")
    size = picture.width_px, picture.height_px
    evidence = choose_evidence(located.phrases, located.regions, *size, config.evidence)
    if isinstance(evidence, Rejection):
        return evidence
    image_id = picture.sha256[:16]
    source = ViewSource(
        image=picture.image,
        image_id=image_id,
        question_id=located.question.question_id,
        evidence=evidence,
        regions=located.regions,
    )
    cuts = cut_views(source, config.seed, config.views)
    if isinstance(cuts, Rejection):
        return cuts
    return Sample(
        question=located.question,
        image_id=image_id,
        phrases=located.phrases,
        regions=located.regions,
        evidence=evidence,
        views=tuple(replace(view, pixels=None) for view in measure(cuts.views, evidence)),
        missing=cuts.missing,
    )


def write_part(out: Path, manifest: Manifest, part: PartTask, finished: Sequence[Finished]) -> Manifest:
    """Write a part's tables, then the manifest that says that they are whole."""
    tables = part_tables(finished)
    num_ends = tables["questions"].height + tables["rejects"].height
    assert num_ends == part.num_questions, f"{part.num_questions} questions came in, {num_ends} were kept or rejected"
    files = {name: write_table(table_path(out, name, part.part), rows) for name, rows in tables.items()}
    record = PartRecord(
        part=part.part, num_questions=part.num_questions, fingerprint=part.fingerprint, files=files
    )
    manifest = with_parts(manifest, [*manifest.parts, record])
    write_manifest(out, manifest)
    return manifest


def write_card(out: Path, manifest: Manifest) -> None:
    """README.md, once every part is there."""
    if manifest.is_complete:
        with beside(out / "README.md") as partial:
            partial.write_text(card(manifest), encoding="utf-8")


def ahead(work: Callable[[T], R], items: Iterable[T], num_threads: int) -> Iterator[R]:
    """work(item) of each item, in order, on threads. Few results wait to be taken: memory does not grow with items."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
