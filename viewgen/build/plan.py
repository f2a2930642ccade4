"""Plan a build: divide images and questions among parts, with a fingerprint of all that each part is made from; and
open an output folder that may hold finished parts of the same plan.
Leaves out: doing the work (stages.py, builder.py). Every image file is hashed once here; equal files are one image."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl

from viewgen.build.config import BuildConfig
from viewgen.decode import UnusableImageError
from viewgen.errors import ShardError
from viewgen.locks import LOCK
from viewgen.progress import counted
from viewgen.records import ImageRecord, Question, QuestionRecord, Rejection
from viewgen.source.images import ImageConfig, read_image_file
from viewgen.source.pictures import check_kept, locate
from viewgen.source.reviews import Review
from viewgen.viewset.manifest import MANIFEST, Manifest, PartRecord, fingerprint, read_manifest, write_manifest
from viewgen.viewset.parts import file_fault, file_record, table_path
from viewgen.viewset.schema import SCHEMA_VERSION, TABLES

_LIBRARIES = ("duckdb", "numpy", "pillow", "polars")
"""Another version of one of these may write other bytes, whatever the recipe uses."""
_NO_EFFECT = (
    "report/",
    "cli.py",
    "progress.py",
    "viewset/card.py",
    "source/demo.py",
    "source/first_look.py",
    "source/reviews.py",
    "build/workers.py",
    "build/estimate.py",
)
"""Folders and files of viewgen that do not shape a table."""
PASSING_REASONS = frozenset({"missing_image", "link_outside_root", "remote_image"})
"""Reasons of a rejection that may pass: the next build looks again."""
_NOT_COMPARED = ("source",)
"""The questions and image files themselves are compared, not how they were found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """A source file, hashed; or why it was not."""

    path: str
    """As the source gives it."""
    name: str
    """SHA-256 of its bytes, in hex; of an unread file, its path and the reason."""
    num_bytes: int
    refusal: Rejection | None = None
    found: str = ""
    """Path of the file below the root, which the source may spell otherwise; empty where the file was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTask:
    """Inputs of one part."""

    part: int
    images: tuple[ImageRecord, ...]
    fingerprint: str

    @property
    def num_questions(self) -> int:
        return sum(len(image.questions) for image in self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole build before it is done: the manifest it starts from, and its parts."""

    manifest: Manifest
    parts: tuple[PartTask, ...]


def hash_image_file(
    path: str, root: Path, config: ImageConfig, follow_links: bool = False, fetch: bool = False
) -> ImageFile:
    """Hash one image. A path that leaves the root is refused unread, so is a link that does unless `follow_links`, and an
    address unless `fetch`."""
    try:
        found, file = locate(path, root, config, follow_links, fetch)
        data = read_image_file(file, config)
        sha256 = hashlib.sha256(data).hexdigest()
        check_kept(path, sha256)
    except UnusableImageError as error:
        refusal = Rejection(stage="images", reason=error.reason, message=error.what)
        return ImageFile(path=path, name=f"{path}: {error.reason}", num_bytes=0, refusal=refusal)
    return ImageFile(path=path, name=sha256, num_bytes=len(data), found=found)


def plan_build(
    config: BuildConfig,
    models: Mapping[str, str],
    questions: Sequence[Question],
    files: Sequence[ImageFile],
    reviews: Mapping[str, Review],
    evaluation: Mapping[str, str] | None = None,
) -> Plan:
    """Divide the images among parts of at most images_per_part images and about part_mb, in the order of the files.

    `evaluation`: name of each evaluation set that images are compared with -> hash of its hashes."""
    made_by = {
        **base_versions(),
        **_installed(libraries_used(config)),
        **_resolved(config),
        **{f"evaluation set {name}": sha256 for name, sha256 in (evaluation or {}).items()},
    }
    chunks = list(_chunks(_image_records(questions, files), config))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        made_by=made_by,
        seed=config.seed,
        config={name: as_json(value) for name, value in asdict(config).items()},
        models=dict(models),
        num_parts=len(chunks),
        parts=(),
    )
    common = fingerprint(_compared(manifest))
    parts = tuple(_part(number, chunk, common, reviews) for number, chunk in enumerate(chunks))
    return Plan(manifest=manifest, parts=parts)


def base_versions() -> dict[str, str]:
    """Return the versions of all that shapes bytes whatever the recipe uses."""
    own = {"viewgen": version("vzero-evidence"), "code": code_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    return {**own, **_installed(_LIBRARIES)}


def libraries_used(config: BuildConfig) -> tuple[str, ...]:
    """Return the distributions whose version may change what this recipe gives."""
    retrieves, detects = _uses(config)
    chats = config.phrases.method == "chat" and not config.phrases.base_url
    used = set(_LIBRARIES)
    used |= {"torch", "open_clip_torch", "timm"} if retrieves else set()
    used |= {"torch", "torchvision", "transformers"} if detects or chats else set()
    used |= {"groundingdino-py"} if detects and config.detector.library == "groundingdino" else set()
    used |= {"spacy", *({config.phrases.model} - {""})} if config.phrases.method == "spacy" else set()
    return tuple(sorted(used))


def _uses(config: BuildConfig) -> tuple[bool, bool]:
    """Return True for a recipe that retrieves, and for one that detects."""
    method, views = config.regions.method, config.views
    return method in {"retrieval", "fused"} or views.needs_tiles or views.needs_vectors, method in {"detector", "fused"}


def _resolved(config: BuildConfig) -> dict[str, str]:
    """Return the device that `auto` means on this machine, where a model is used whose settings say so."""
    retrieves, detects = _uses(config)
    devices = [config.retrieval.device] * retrieves + [config.detector.device] * detects
    if config.phrases.method == "chat" and not config.phrases.base_url:
        devices.append(config.phrases.device)
    if "auto" not in devices:
        return {}
    import torch

    return {"device auto": "cuda" if torch.cuda.is_available() else "cpu"}


def _installed(libraries: Sequence[str]) -> dict[str, str]:
    """Return the versions of the libraries that are installed: boxes of the source need no model library."""
    found = {}
    for name in libraries:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def open_folder(out: Path, plan: Plan, force: bool, only: Sequence[int]) -> Manifest:
    """Write and return the manifest to go on from: its finished parts stay, all others are to be made.

    With `force` none stays; those in `only` never do. Raises ShardError when `out` holds anything that this plan did
    not make, naming the setting that differs."""
    for part in only:
        if not 0 <= part < len(plan.parts):
            raise ShardError(f"{out}: there is no part {part}: this build has parts 0 to {len(plan.parts) - 1}.")
    refuse_file(out)
    is_used = out.exists() and any(path.name not in {f"{MANIFEST}.partial", LOCK} for path in out.iterdir())
    if is_used and not (out / MANIFEST).is_file():
        raise ShardError(f"{out}: holds other files and no {MANIFEST}. Name a new or an empty folder.")
    kept: tuple[PartRecord, ...] = ()
    if is_used and not force:
        found = read_manifest(out)
        back = returned_files(out, found, plan)
        _refuse_other(out, found, plan.manifest, may_have_grown=bool(back))
        kept = tuple(record for record in found.parts if record.part not in only and _is_whole(out, record))
        if back:  # what they shift in other parts is made again with them
            kept = tuple(record for record in kept if _is_as_planned(record, plan))
        _refuse_changed(out, kept, plan)
    manifest = with_parts(plan.manifest, kept)
    write_manifest(out, manifest)
    _remove_strays(out, manifest)
    return manifest


def refuse_file(out: Path) -> None:
    """Raise ShardError for an output that is no folder."""
    if out.exists() and not out.is_dir():
        raise ShardError(f"{out}: is a file. Name a new or an empty folder.")


def returned_files(out: Path, found: Manifest, plan: Plan) -> frozenset[str]:
    """Return the image files that an earlier build missed and that are there now."""
    there = {record.question.image_path for part in plan.parts for image in part.images for record in image.kept}
    missed: set[str] = set()
    for record in found.parts:
        path = table_path(out, "rejects", record.part)
        if not file_fault(path, "rejects", record.files["rejects"]):
            rows = pl.read_parquet(path, columns=["image_path", "reason"])
            missed |= {*rows.filter(pl.col("reason").is_in([*PASSING_REASONS]))["image_path"]}
    return frozenset(missed & there)


def _is_as_planned(record: PartRecord, plan: Plan) -> bool:
    return record.part < len(plan.parts) and record.fingerprint == plan.parts[record.part].fingerprint


def with_parts(manifest: Manifest, parts: Sequence[PartRecord]) -> Manifest:
    """Return the manifest with these finished parts, in order."""
    return replace(manifest, parts=tuple(sorted(parts, key=lambda record: record.part)))


@cache
def code_version() -> str:
    """Return the hash of the source files that shape tables, as they were when this process first asked."""
    folder = Path(__file__).parents[1]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    shaping = [name for name in names if not name.startswith(_NO_EFFECT)]
    contents = [[name, hashlib.sha256((folder / name).read_bytes()).hexdigest()] for name in shaping]
    return fingerprint(contents)[:16]


def _image_records(questions: Sequence[Question], files: Sequence[ImageFile]) -> list[ImageRecord]:
    """Make one image of equal files, that of the first path. Questions about a file that was refused are rejected."""
    first: dict[str, ImageFile] = {}
    name_of = {file.path: first.setdefault(file.name, file).name for file in files}
    asked: dict[str, list[Question]] = {name: [] for name in first}
    for question in questions:
        asked[name_of[question.image_path]].append(question)
    return [
        ImageRecord(
            key=name,
            source_path=file.found or file.path,
            num_bytes=file.num_bytes,
            questions=tuple(QuestionRecord(question=question, rejection=file.refusal) for question in asked[name]),
        )
        for name, file in first.items()
    ]


def _chunks(images: Sequence[ImageRecord], config: BuildConfig) -> Iterator[tuple[ImageRecord, ...]]:
    chunk: list[ImageRecord] = []
    size_mb, num = 0.0, 0
    for image in images:
        image_mb = image.num_bytes / 1e6
        if chunk and image_mb and (num == config.images_per_part or size_mb + image_mb > config.part_mb):
            yield tuple(chunk)
            chunk, size_mb, num = [], 0.0, 0
        chunk.append(image)
        size_mb += image_mb
        num += image.num_bytes > 0  # files that could not be read take no room
    yield tuple(chunk)


def _part(number: int, images: tuple[ImageRecord, ...], common: str, reviews: Mapping[str, Review]) -> PartTask:
    made_from: list[Any] = [[image.key, [asdict(record.question) for record in image.questions]] for image in images]
    names = [record.question_id for image in images for record in image.questions]
    reviewed = [[name, asdict(reviews[name])] for name in names if name in reviews]
    made_from += [reviewed] if reviewed else []
    return PartTask(part=number, images=images, fingerprint=fingerprint([common, made_from]))


def _compared(manifest: Manifest) -> dict[str, Any]:
    """Return everything but the sources that shapes the tables: dotted name -> value."""
    config = {name: value for name, value in manifest.config.items() if name not in _NOT_COMPARED}
    others = {"schema_version": manifest.schema_version, "models": manifest.models, "made_by": manifest.made_by}
    return dict(_flat({**config, **others}))


def as_json(value: Any) -> Any:  # noqa: ANN401 - a setting of any type
    """Return a setting as JSON holds it; JSON has no infinity."""
    if isinstance(value, Mapping):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _flat(tables: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _refuse_other(out: Path, found: Manifest, planned: Manifest, may_have_grown: bool = False) -> None:
    old, new = _compared(found), _compared(planned)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            differs = f"was built with {name} = {old.get(name)!r}, now it is {new.get(name)!r}"
            raise ShardError(f"{out}: {differs}. Build into another folder, or rebuild this one with --force.")
    if found.num_parts != planned.num_parts and not may_have_grown:
        differs = f"was built from a source of {counted(found.num_parts, 'part')}, now of {planned.num_parts:,}"
        raise ShardError(f"{out}: {differs}. Build into another folder, or rebuild this one with --force.")


def _refuse_changed(out: Path, kept: Sequence[PartRecord], plan: Plan) -> None:
    for record in kept:
        if record.fingerprint != plan.parts[record.part].fingerprint:
            differs = f"part {record.part} was built from other questions, image files or reviews"
            again = f"with --only {record.part}, or everything with --force"
            raise ShardError(f"{out}: {differs}. Build into another folder, or rebuild it {again}.")


def _is_whole(out: Path, record: PartRecord) -> bool:
    """Check a part byte by byte: unlike a reader, a build never looks at a finished part again."""
    files = [(name, table_path(out, name, record.part), record.files[name]) for name in TABLES]
    return all(not file_fault(path, name, said) and file_record(path) == said for name, path, said in files)


def _remove_strays(out: Path, manifest: Manifest) -> None:
    """Remove parts of an earlier, longer build, and half-written files of a killed one."""
    for table in TABLES:
        named = {table_path(out, table, part) for part in range(manifest.num_parts)}
        for path in (out / table).glob("part-*.parquet*"):
            if path not in named:
                path.unlink()
