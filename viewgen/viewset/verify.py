"""Check a view set to its last bit: every file against its SHA-256, every column, every reference from row to row, every
image against its own hash and size.
Leaves out: opening a view set for reading, which checks sizes and footers alone (shards.py).

A part is read at a time, its files in threads; memory holds one table of one part for each of them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from viewgen.decode import decode_image
from viewgen.errors import ShardError, ViewgenError
from viewgen.progress import Progress, Stream
from viewgen.viewset.card import card_fault
from viewgen.viewset.manifest import MANIFEST, Manifest, PartRecord, manifest_text, read_manifest
from viewgen.viewset.parts import file_fault, one_line, table_path
from viewgen.viewset.schema import TABLES

CARD = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as it was written."""

    path: Path
    what: str
    part: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Outcome of a check."""

    damages: tuple[Damage, ...]
    num_files: int
    num_images: int
    """Images and views that were decoded."""
    num_bytes: int
    seconds: float
    """Time that it took."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Parts that are damaged."""
        return tuple(sorted({damage.part for damage in self.damages if damage.part is not None}))


def verify(folder: Path, num_threads: int = os.cpu_count() or 1, progress_out: Stream | None = None) -> Checked:
    """Check the view set at `folder`: all that is damaged, in order of parts. Raises ShardError for a manifest that is
    missing or cannot be read.

    verify(Path("my-views")).damages    # ()
    """
    began = time.monotonic()
    manifest = read_manifest(folder)
    damages = [*_around(folder, manifest)]
    jobs: list[Callable[[], tuple[list[Damage], int]]] = []
    for part in manifest.parts:
        jobs += [partial(_table, folder, table, part) for table in TABLES]
        jobs.append(partial(_references, folder, part))
    num_images = 0
    num_bytes = sum(record.bytes for part in manifest.parts for record in part.files.values())
    with (
        Progress("verify", len(jobs), "tables", progress_out) as progress,
        ThreadPoolExecutor(max(1, num_threads)) as pool,
    ):
        for found, decoded in progress.each(pool.map(lambda job: job(), jobs)):
            damages += found
            num_images += decoded
    damages += _repeated(folder, manifest, {damage.path for damage in damages})
    num_files = len(manifest.parts) * len(TABLES)
    return Checked(
        damages=tuple(damages),
        num_files=num_files,
        num_images=num_images,
        num_bytes=num_bytes,
        seconds=time.monotonic() - began,
    )


def refuse_damage(folder: Path) -> None:
    """Raise ShardError, one line, for a view set that is damaged anywhere."""
    if damages := verify(folder).damages:
        more = f" and {len(damages) - 1} more" if len(damages) > 1 else ""
        raise ShardError(f"{damages[0]}{more}. See all: viewgen verify {folder}.")


def _around(folder: Path, manifest: Manifest) -> Iterator[Damage]:
    """Yield what is wrong beside the tables: an unfinished build, a changed manifest or card, strange files."""
    if not manifest.is_complete:
        what = f"{len(manifest.parts)} of {manifest.num_parts} parts are finished"
        yield Damage(path=folder, what=f"{what}; run the same build again")
    if (folder / MANIFEST).read_text(encoding="utf-8") != manifest_text(manifest):
        yield Damage(path=folder / MANIFEST, what="is not as it was written")
    if manifest.is_complete:
        text = (folder / CARD).read_text(encoding="utf-8", errors="replace") if (folder / CARD).is_file() else None
        if fault := "missing" if text is None else card_fault(text, manifest):
            yield Damage(path=folder / CARD, what=fault)
    known = {table_path(folder, table, part.part) for part in manifest.parts for table in TABLES}
    for table in TABLES:
        for path in sorted((folder / table).glob("*.parquet")):
            if path not in known:
                yield Damage(path=path, what=f"stands in no line of {MANIFEST}")


def _table(folder: Path, table: str, part: PartRecord) -> tuple[list[Damage], int]:
    """Check one file: its hash, its columns, and its images."""
    path = table_path(folder, table, part.part)
    if fault := file_fault(path, table, part.files[table]):
        return [Damage(path=path, what=fault, part=part.part)], 0
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    damages = []
    if sha256 != part.files[table].sha256:
        damages.append(Damage(path=path, what="its bytes are not those that were written (SHA-256)", part=part.part))
    if "image" not in TABLES[table].columns:
        return damages, 0
    try:
        rows = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        return [*damages, Damage(path=path, what=f"cannot be read ({one_line(error)})", part=part.part)], 0
    found = [*_images(rows, TABLES[table].key)]
    named = [Damage(path=path, what=f"row {name!r}: {what}", part=part.part) for name, what in found]
    return [*damages, *named], int(rows["image"].is_not_null().sum())


def _images(rows: pl.DataFrame, key: str) -> Iterator[tuple[str, str]]:
    """Yield the key of a row, and what is wrong with its image."""
    columns = [key, "image", "width_px", "height_px", *(["sha256"] if "sha256" in rows.columns else [])]
    for name, image, width, height, *rest in rows.select(columns).iter_rows():
        data = image and image["bytes"]
        if data is None:
            if width:
                yield name, "holds no bytes"
            continue
        if rest and rest[0] and hashlib.sha256(data).hexdigest() != rest[0]:
            yield name, "its image is not the one that was written (SHA-256)"
            continue
        try:
            size = decode_image(data).size
        except ViewgenError as error:
            yield name, f"its image cannot be decoded ({error})"
            continue
        if size != (width, height):
            yield name, f"its image has {size[0]} x {size[1]} px, its row says {width} x {height}"


def _references(folder: Path, part: PartRecord) -> tuple[list[Damage], int]:
    """Check that every row of a part speaks of rows that are there."""
    try:
        keys = {
            table: pl.read_parquet(
                table_path(folder, table, part.part),
                columns=[name for name in TABLES[table].columns if name in {"question_id", "image_id", "view_id"}],
                glob=False,
            )
            for table in TABLES
        }
    except (OSError, pl.exceptions.PolarsError):
        return [], 0  # said of the file itself
    damages = []
    for table, column, of in (
        ("questions", "image_id", "images"),
        ("views", "image_id", "images"),
        ("views", "question_id", "questions"),
    ):
        strangers = {*keys[table][column]} - {*keys[of][column]}
        if strangers:
            what = f"{len(strangers)} of its {column} stand in no row of {of}, as {min(strangers)!r}"
            damages.append(Damage(path=table_path(folder, table, part.part), what=what, part=part.part))
    num_ends = keys["questions"].height + keys["rejects"].height
    if num_ends != part.num_questions:
        what = f"{part.num_questions} questions came in, {num_ends} are kept or rejected"
        damages.append(Damage(path=table_path(folder, "questions", part.part), what=what, part=part.part))
    return damages, 0


def _repeated(folder: Path, manifest: Manifest, damaged: Set[Path]) -> Iterator[Damage]:
    """Yield sound tables whose keys are not distinct, within a part and between parts. An image may stand in two parts,
    where a question of another part borrows from it."""
    for name, table in TABLES.items():
        seen: set[str] = set()
        for part in manifest.parts:
            path = table_path(folder, name, part.part)
            if path in damaged:
                continue
            keys = pl.read_parquet(path, columns=[table.key], glob=False)[table.key]
            twice = {*keys.filter(keys.is_duplicated())} | (seen & {*keys})
            if twice:
                yield Damage(path=path, what=f"{table.key} {min(twice)!r} stands in several rows", part=part.part)
            seen |= {*keys} if name != "images" else set()


def in_words(checked: Checked, most: int = 20) -> list[str]:
    """Return a line for each damage, at most so many, and one with the counts."""
    lines = [str(damage) for damage in checked.damages[:most]]
    if len(checked.damages) > most:
        lines.append(f"... and {len(checked.damages) - most} more")
    counts = f"{checked.num_files:,} files, {checked.num_images:,} images, {checked.num_bytes / 1e6:,.1f} MB"
    counts += f" in {checked.seconds:,.1f} s ({checked.num_bytes / 1e6 / max(checked.seconds, 1e-6):,.0f} MB a second)"
    return [*lines, f"{counts}: {len(checked.damages):,} damaged" if lines else f"{counts}: all as written"]
