"""Build the view set of a recipe: read questions, hash images, plan parts, run the stages of each, write it.
Leaves out: the stages (stages.py), the plan and its fingerprints (plan.py).

A killed build goes on after its last finished part, and ends with the same bytes as one that was never killed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import polars as pl

from viewgen.audit.auditor import Auditor
from viewgen.build.config import BuildConfig, read_config, with_local_models
from viewgen.build.plan import (
    ImageFile,
    PartTask,
    Plan,
    hash_image_file,
    open_folder,
    plan_build,
    refuse_file,
    with_parts,
)
from viewgen.build.stages import BuildContext, run_stages
from viewgen.build.workers import Workers, ahead
from viewgen.decontaminate.matching import read_index
from viewgen.errors import ModelError, RecipeError, ReviewsError, ShardError
from viewgen.files import write_whole
from viewgen.grounding.regions import RegionFinder, region_finder
from viewgen.locks import locked
from viewgen.phrases import phrase_finder
from viewgen.progress import Progress, Stream, counted
from viewgen.records import ImageRecord, Question
from viewgen.source.box_sample import refuse_misfits
from viewgen.source.recipe import read_questions, root_of
from viewgen.source.reviews import Review, read_reviews
from viewgen.viewset.card import card
from viewgen.viewset.manifest import Manifest, PartRecord, read_manifest, write_manifest
from viewgen.viewset.parts import file_fault, table_path, write_table
from viewgen.viewset.tables import part_tables

TRAIN = "train"
"""Split that is trained on, unless a run names another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of a build that shape no content of its view set."""

    force: bool = False
    """Rebuild every part of an existing view set."""
    only: tuple[int, ...] = ()
    """Rebuild these parts and leave the others as they are; empty for all that are not finished."""
    retry_failed: tuple[str, ...] = ()
    """Rebuild also the parts that hold a question rejected for one of these reasons."""
    limit: int = 0
    """Build some images of the source with at least so many questions; 0: all."""
    reviews: Path | None = None
    """CSV of verdicts (source/reviews.py). A finished part whose verdicts changed is refused unless `force` or `only`
    makes it again."""
    num_threads: int = os.cpu_count() or 1
    """For hashing and opening images, 1 or more."""
    num_workers: int = os.cpu_count() or 1
    """Processes that cut, encode and measure views; with 0 this one does."""
    allow_eval_data: bool = False
    """Make training views of a benchmark's rows too."""
    allow_missing: bool = False
    """Go on where half of the image files or more are missing."""
    progress_out: Stream | None = None
    """Stream of the progress lines; standard error when not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """Counts of a finished build."""

    num_parts: int
    """Parts of the finished view set."""
    num_made: int
    num_reused: int
    """Parts that were finished already."""

    @property
    def is_complete(self) -> bool:
        return self.num_made + self.num_reused == self.num_parts


def build_views(
    recipe: Path, out: Path, options: BuildOptions | None = None, finder: RegionFinder | None = None
) -> BuildReport:
    """Build the view set of a recipe at `out`, or finish one that was begun. `finder` replaces the recipe's own.

    Raises ViewgenError for every mistake in the recipe, and for a folder that another build made."""
    options = options or BuildOptions()
    plan, context = prepared(recipe, options, finder)
    refuse_file(out)
    with locked(out, ShardError):
        return _build(out, plan, options, context)


def prepared(recipe: Path, options: BuildOptions, finder: RegionFinder | None = None) -> tuple[Plan, BuildContext]:
    """Read the questions of a recipe, hash its images, load its models and plan its parts: all of a build but the making.

    Raises ViewgenError for every mistake in the recipe."""
    config = read_config(recipe)
    root = root_of(config.source, recipe)
    questions = read_questions(config.source, recipe)
    if not options.allow_eval_data:
        refuse_evaluation(questions, config, recipe)
    refuse_splits(questions, config, recipe)
    if options.limit:
        questions = limited(questions, options.limit)
    if config.regions.method == "annotated":
        refuse_misfits(questions, config.source, recipe, config.images)
    reviews = reviews_of(questions, options.reviews)
    evaluation = read_index(config.decontaminate, recipe, options.num_threads, options.progress_out)
    files = hash_images(questions, root, config, options)
    if not options.allow_missing:
        refuse_missing(files, root, recipe)
    local = with_local_models(config, recipe.parent)
    phrases = phrase_finder(local.phrases)
    finder = finder or load_finder(local, recipe)
    known = evaluation.fingerprints if evaluation else {}
    plan = plan_build(config, {**phrases.models, **finder.models}, questions, files, reviews, known)
    context = BuildContext(
        root=root,
        config=config,
        phrases=phrases,
        finder=finder,
        auditor=Auditor(config.audit, finder.retriever, finder.detector),
        workers=Workers(options.num_workers),
        num_threads=options.num_threads,
        reviews=reviews,
        evaluation=evaluation,
    )
    return plan, context


def limited(questions: Sequence[Question], num: int) -> tuple[Question, ...]:
    """Return at least `num` of the questions, all those of some images, drawn by the images' names: a first look at a
    large source. The same images are drawn every time, and are among those of a larger number."""
    by_image: dict[str, list[Question]] = {}
    for question in questions:
        by_image.setdefault(question.image_path, []).append(question)
    drawn: set[str] = set()
    left = num
    for path in sorted(by_image, key=lambda path: blake2b(path.encode("utf-8", "surrogateescape")).digest()):
        if left <= 0:
            break
        drawn.add(path)
        left -= len(by_image[path])
    return tuple(question for question in questions if question.image_path in drawn)


def failed_parts(out: Path, reasons: Sequence[str]) -> tuple[int, ...]:
    """Return the finished parts that hold a question rejected for one of the reasons. Raises ShardError for a folder that
    is no view set, or in which no question was rejected so."""
    manifest = read_manifest(out)
    found: dict[int, set[str]] = {}
    for record in manifest.parts:
        path = table_path(out, "rejects", record.part)
        if not file_fault(path, "rejects", record.files["rejects"]):  # a damaged part is made again anyway
            found[record.part] = {*pl.read_parquet(path, columns=["reason"], glob=False)["reason"]}
    parts = tuple(part for part, held in found.items() if held & {*reasons})
    if not parts:
        known = ", ".join(sorted(set().union(*found.values()))) or "none"
        raise ShardError(f"{out}: no question was rejected for {' or '.join(reasons)}. Reasons there: {known}.")
    return parts


def _build(out: Path, plan: Plan, options: BuildOptions, context: BuildContext) -> BuildReport:
    """Make the parts that are not finished, in a folder that is held."""
    retried = failed_parts(out, options.retry_failed) if options.retry_failed else ()
    manifest = open_folder(out, plan, options.force, (*options.only, *retried))
    num_reused = len(manifest.parts)
    todo = parts_to_make(plan, manifest, (*options.only, *retried) if options.only else ())
    total = sum(len(part.images) for part in todo)
    with (
        context.workers,
        Progress("build", total, "images", options.progress_out) as progress,
    ):
        for part in todo:
            manifest = write_part(out, manifest, part, list(progress.each(run_stages(part.images, context))))
    write_card(out, manifest)
    return BuildReport(num_parts=len(plan.parts), num_made=len(todo), num_reused=num_reused)


def load_finder(config: BuildConfig, recipe: Path) -> RegionFinder:
    """Load the models that the settings name. Raises ModelError when one cannot be loaded."""
    views = config.views
    needs_tiles = views.needs_tiles or views.needs_vectors
    try:
        return region_finder(config.regions, config.retrieval, config.detector, needs_tiles=needs_tiles)
    except ModelError as error:
        if not needs_tiles or config.regions.method in {"retrieval", "fused"}:
            raise
        what = "hard_off_region" if views.needs_tiles else "the nearest donor of swapped"
        raise ModelError(f"{recipe}: {what} needs the OpenCLIP model of [retrieval]. {error}") from None


def reviews_of(questions: Sequence[Question], path: Path | None) -> Mapping[str, Review]:
    """Read the verdicts in a file; none without one. Raises ReviewsError when one is about a question of another
    source."""
    if path is None:
        return {}
    reviews = read_reviews(path)
    strangers = list(reviews.keys() - {question.question_id for question in questions})
    if strangers:
        found = f"{counted(len(strangers), 'verdict')} on questions that the source lacks, as {min(strangers)!r}"
        raise ReviewsError(f"{path}: {found}. Give the file that was saved from a view set of this recipe.")
    return reviews


def hash_images(
    questions: Sequence[Question], root: Path, config: BuildConfig, options: BuildOptions
) -> list[ImageFile]:
    """Hash every image file that a question names, once."""
    paths = list(dict.fromkeys(question.image_path for question in questions))
    with Progress("hash", len(paths), "images", options.progress_out) as progress:
        source = config.source
        hashed = partial(
            hash_image_file, root=root, config=config.images, follow_links=source.follow_links, fetch=source.fetch
        )
        files = ahead(hashed, paths, options.num_threads)
        return list(progress.each(files))


def refuse_evaluation(questions: Sequence[Question], config: BuildConfig, recipe: Path) -> None:
    """Raise RecipeError where rows of a benchmark would be trained on: its scores would mean nothing afterwards."""
    num = sum(question.split == TRAIN for question in questions)
    if config.source.is_evaluation and num:
        what = f"{num:,} of {len(questions):,} rows of an evaluation set (source.is_evaluation) are of split {TRAIN!r}"
        raise RecipeError(f"{recipe}: {what}. Give them another split, or build with --allow-eval-data.")


def refuse_splits(questions: Sequence[Question], config: BuildConfig, recipe: Path) -> None:
    """Raise RecipeError for a split to decontaminate that no row has: a misspelt one would be passed over in silence."""
    held = sorted({question.split for question in questions})
    for split in config.decontaminate.splits:
        if split not in held:
            what = f"decontaminate.splits names {split!r}; the splits of the source are {', '.join(held)}"
            raise RecipeError(f"{recipe}: {what}. Name one of them, or leave the setting out for all.")


def refuse_missing(files: Sequence[ImageFile], root: Path, recipe: Path) -> None:
    """Raise RecipeError when half of the image files or more are not there: it is said before models are loaded."""
    remote = [file.path for file in files if file.refusal and file.refusal.reason == "remote_image"]
    if remote and 2 * len(remote) >= len(files):
        what = f"{len(remote):,} of {len(files):,} images are addresses, as {remote[0]!r}"
        raise RecipeError(f"{recipe}: {what}. Set source.fetch = true to fetch them, or download them.")
    missing = [file.path for file in files if file.refusal and file.refusal.reason == "missing_image"]
    if missing and 2 * len(missing) >= len(files):
        share = f"{len(missing):,} of {len(files):,} image files"
        found = f"{share} are missing below {str(root)!r}, as {missing[0]!r}"
        remedy = "Correct source.root or image_path, or build without them by --allow-missing."
        raise RecipeError(f"{recipe}: {found}. {remedy}")


def parts_to_make(plan: Plan, manifest: Manifest, only: Sequence[int]) -> list[PartTask]:
    """Return the parts that are not finished, or those of them that are in `only`."""
    finished = {record.part for record in manifest.parts}
    return [part for part in plan.parts if part.part not in finished and (not only or part.part in only)]


def write_part(out: Path, manifest: Manifest, part: PartTask, images: Sequence[ImageRecord]) -> Manifest:
    """Write a part's tables, then the manifest that says that they are whole."""
    tables = part_tables(images)
    num_ends = tables["questions"].height + tables["rejects"].height
    assert num_ends == part.num_questions, f"{part.num_questions} questions came in, {num_ends} were kept or rejected"
    files = {name: write_table(table_path(out, name, part.part), rows) for name, rows in tables.items()}
    record = PartRecord(part=part.part, num_questions=part.num_questions, fingerprint=part.fingerprint, files=files)
    manifest = with_parts(manifest, [*manifest.parts, record])
    write_manifest(out, manifest)
    return manifest


def write_card(out: Path, manifest: Manifest) -> None:
    """Write README.md, once every part is there."""
    if manifest.is_complete:
        with write_whole(out / "README.md") as partial:
            partial.write_text(card(manifest), encoding="utf-8")
