"""Cut other kinds of view from a view set: images, questions and evidence are in it, so nothing is grounded again.
Leaves out: cutting and auditing (stages.py), grounding, and with it every kind that needs a model.

The views have the bytes that a fresh build with the same kinds gives. No model reads them: the audit measures pixels
alone. Questions that the first build rejected stay rejected, since their evidence is not stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from viewgen.audit.auditor import Auditor
from viewgen.boxes import Box
from viewgen.build.builder import BuildOptions, write_card
from viewgen.build.config import BuildConfig
from viewgen.build.plan import as_json, base_versions
from viewgen.build.stages import BuildContext, audit_views, choose_donors, cut_views
from viewgen.build.workers import Workers
from viewgen.decode import decode_image
from viewgen.errors import SettingsError, ShardError
from viewgen.files import write_whole_folder
from viewgen.grounding.evidence import choose_evidence
from viewgen.grounding.regions import Finder, RegionsConfig
from viewgen.phrases import PhrasesConfig, phrase_finder
from viewgen.progress import Progress
from viewgen.records import Evidence, ImageRecord, Phrase, Question, QuestionRecord, Region
from viewgen.settings import check_names, settings_from
from viewgen.views.cutting import ViewsConfig
from viewgen.views.kinds import KINDS
from viewgen.viewset.manifest import MANIFEST, Manifest, PartRecord, fingerprint, write_manifest
from viewgen.viewset.parts import table_path, write_table
from viewgen.viewset.schema import SCHEMA_VERSION, TABLES
from viewgen.viewset.shards import ViewSet
from viewgen.viewset.tables import part_tables

WHERE = "viewgen recut"
"""Begin of messages about settings that the command was given."""
AFTER_DONORS = ("views", "audit")
"""Stages whose rejected questions could still give their crop to another's `swapped`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecutReport:
    """Counts of a finished recut."""

    num_kept: int
    num_rejected: int
    """Questions that were kept before, and of which the new views cannot be made or fail the audit."""
    num_views: int


def recut(
    view_set: Path, out: Path, kinds: Sequence[str], settings: Mapping[str, Any], options: BuildOptions | None = None
) -> RecutReport:
    """Cut views of `kinds` for every kept question of a view set, as a view set of its own at `out`, whole or not at all.

    Kinds of a role that `kinds` does not name, and `settings` of [views] that are not given, are those of the view set.
    Raises SettingsError for a wrong kind or setting and one that needs a model, ShardError for a view set that
    cannot be read or an `out` that holds anything.

    recut(Path("views"), Path("masked"), ["masked", "blurred"], {"mask_fill": "black"})"""
    options = options or BuildOptions()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ShardError(f"{out}: is there already. Name a new or an empty folder.")
    views = ViewSet.open(view_set)
    config = recut_config(views.manifest, view_set, kinds, settings)
    _refuse_other_donors(views, config)
    build = BuildContext(
        root=view_set,
        config=config,
        phrases=phrase_finder(PhrasesConfig()),
        finder=Finder(config=RegionsConfig(method="annotated")),
        auditor=Auditor(config.audit),
        workers=Workers(options.num_workers),
        num_threads=options.num_threads,
        reviews={},
    )
    total = sum(part.files["images"].rows for part in views.manifest.parts)
    with (
        write_whole_folder(out) as partial,
        build.workers,
        Progress("recut", total, "images", options.progress_out) as progress,
    ):
        manifest = _manifest(views.manifest, config)
        parts = tuple(_write_part(partial, views, part, build, progress) for part in views.manifest.parts)
        manifest = replace(manifest, parts=parts)
        write_manifest(partial, manifest)
        write_card(partial, manifest)
    return _report(views.manifest, manifest)


def recut_config(manifest: Manifest, path: Path, kinds: Sequence[str], settings: Mapping[str, Any]) -> BuildConfig:
    """Return the settings of a view set with other views, and no model in the audit. Raises SettingsError."""
    before = settings_from(manifest.config, BuildConfig, path / MANIFEST)
    try:
        check_names("kinds", tuple(kinds), KINDS, "Run `viewgen kinds` to read about each.")
    except ValueError as error:
        raise SettingsError(f"{WHERE}: {error}") from None
    named = {role: tuple(kind for kind in kinds if KINDS[kind].role == role) for role in ("positive", "negative")}
    held = {each.name: getattr(before.views, each.name) for each in fields(ViewsConfig)}
    given = {role: names for role, names in named.items() if names}
    views = settings_from(held | dict(settings) | given, ViewsConfig, WHERE)
    _refuse_models(views)
    # A manifest whose audit says what was not done would mislead.
    audit = replace(before.audit, use_detector=False, use_similarity=False)
    return replace(before, views=views, audit=audit)


def _refuse_models(views: ViewsConfig) -> None:
    remedy = "Make it with `viewgen build`"
    if views.needs_tiles:
        what = "hard_off_region needs the tiles of a retrieval model, which no view set holds"
        raise SettingsError(f"{WHERE}: {what}. {remedy}, or name other kinds by --kinds.")
    if views.needs_vectors:
        what = "the nearest donors of swapped need a retrieval model"
        raise SettingsError(f"{WHERE}: {what}. {remedy}, or draw them by --set donors=random.")


def _refuse_other_donors(views: ViewSet, config: BuildConfig) -> None:
    """Refuse donors where a fresh build would draw them among questions that the view set lacks."""
    if not config.views.needs_donors:
        return
    lost = sum(
        pl.read_parquet(path, columns=["stage"])["stage"].is_in(AFTER_DONORS).sum()
        for path in views.table_paths("rejects")
    )
    if lost:
        what = (
            f"swapped draws donors among all questions with evidence, and that of {lost:,} rejected ones is not stored"
        )
        raise SettingsError(f"{WHERE}: {what}. Make it with `viewgen build`, or name other kinds by --kinds.")


def _manifest(before: Manifest, config: BuildConfig) -> Manifest:
    """Return the manifest of the new view set, which has no parts yet. Regions are still those of the first build's
    models."""
    origin = fingerprint([record.fingerprint for record in before.parts])
    return replace(
        before,
        schema_version=SCHEMA_VERSION,
        made_by={**before.made_by, **base_versions(), "recut of": origin},
        config={name: as_json(value) for name, value in asdict(config).items()},
        parts=(),
    )


def _write_part(out: Path, views: ViewSet, part: PartRecord, build: BuildContext, progress: Progress) -> PartRecord:
    stored = {name: pl.read_parquet(table_path(views.path, name, part.part)) for name in ("images", "questions")}
    images: Any = progress.each(_images(views, stored, build.config))
    for stage in (choose_donors, cut_views, audit_views):
        images = stage(images, build)
    tables = part_tables(list(images))
    tables["questions"] = _with_basis(tables["questions"], stored["questions"])
    rejects = pl.read_parquet(table_path(views.path, "rejects", part.part))
    tables["rejects"] = pl.concat([rejects, tables["rejects"]])
    num_ends = tables["questions"].height + tables["rejects"].height
    assert num_ends == part.num_questions, f"{part.num_questions} questions came in, {num_ends} were kept or rejected"
    files = {name: write_table(table_path(out, name, part.part), rows) for name, rows in tables.items()}
    made_from = fingerprint([part.fingerprint, as_json(asdict(build.config.views)), base_versions()])
    return PartRecord(part=part.part, num_questions=part.num_questions, fingerprint=made_from, files=files)


def _with_basis(made: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return the questions with the stored box_basis: the source's own boxes, which say it, are not stored."""
    if "box_basis" not in stored.columns:
        return made
    basis = dict(stored.select("question_id", "box_basis").iter_rows())
    values = [basis[name] for name in made["question_id"]]
    return made.with_columns(pl.Series("box_basis", values, dtype=TABLES["questions"].columns["box_basis"].type))


def _images(views: ViewSet, stored: Mapping[str, pl.DataFrame], config: BuildConfig) -> Iterator[ImageRecord]:
    """Yield the images of the kept questions of a part, decoded, in the order of the build."""
    asked: dict[str, list[dict[str, Any]]] = {}
    for row in stored["questions"].iter_rows(named=True):
        asked.setdefault(row["image_id"], []).append(row)
    columns = ["image_id", "sha256", "source_path", "orientation"]
    held = stored["images"].select(name for name in columns if name in stored["images"].columns)
    files = {row["image_id"]: row for row in held.iter_rows(named=True)}
    for image_id, rows in asked.items():
        data = views.image_bytes([image_id])[image_id]
        pixels = decode_image(data, config.images.max_megapixels)
        image = ImageRecord(
            key=files[image_id]["sha256"],
            source_path=files[image_id]["source_path"],
            questions=(),
            num_bytes=len(data),
            data=data,
            width_px=pixels.width,
            height_px=pixels.height,
            orientation=files[image_id].get("orientation") or 1,
            pixels=pixels,
        )
        yield replace(image, questions=tuple(_record(row, image, config, views.path) for row in rows))


def _record(row: Mapping[str, Any], image: ImageRecord, config: BuildConfig, path: Path) -> QuestionRecord:
    """Return a stored question with its evidence, whose boxes and regions are chosen as the build chose them."""
    phrases = tuple(Phrase(**phrase) for phrase in row["phrases"])
    regions = tuple(Region(**{**region, "box": Box(**region["box"])}) for region in row["regions"])
    evidence = choose_evidence(phrases, regions, image.width_px, image.height_px, config.evidence)
    if not isinstance(evidence, Evidence) or evidence.boxes != tuple(Box(**box) for box in row["evidence"]):
        what = f"the evidence of question {row['question_id']!r} is not what its regions give in this version"
        raise ShardError(f"{path}: {what}. Build with `viewgen build` instead.")
    return QuestionRecord(
        question=Question(
            question_id=row["question_id"],
            image_path=image.source_path,
            text=row["question"],
            answer=row.get("answer"),
            kind=row["kind"],
            split=row["split"],
            options=tuple(row.get("options") or ()),
            source=row.get("source") or "",
        ),
        image_id=image.image_id,
        phrases=phrases,
        regions=regions,
        evidence=evidence,
    )


def _report(before: Manifest, after: Manifest) -> RecutReport:
    def rows(manifest: Manifest, table: str) -> int:
        return sum(part.files[table].rows for part in manifest.parts)

    return RecutReport(
        num_kept=rows(after, "questions"),
        num_rejected=rows(after, "rejects") - rows(before, "rejects"),
        num_views=rows(after, "views"),
    )
