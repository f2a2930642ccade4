"""Write the parts of a view set, and read them back checked.
Leaves out: the meaning of the columns (schema.py), the manifest's own form (manifest.py), making rows (tables.py).

Part k of every table speaks of the same images, so a reader needs part k alone. Pixels are read part by part and kept
in a cache of bounded size; columns that the caller does not request are not read, above all not the answers."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from viewgen.boxes import Box
from viewgen.errors import ShardError
from viewgen.files import write_whole
from viewgen.viewset.manifest import FileRecord, Manifest, read_manifest
from viewgen.viewset.schema import TABLES

ROW_GROUP_BYTES = 32_000_000
"""Encoded images per row group. Hugging Face's viewer refuses groups over 300 MB, and a reader keeps one in memory:
32 to 64 MB suits both."""
MIN_ROWS = 512
"""Minimum row-group size of tables without images: groups of a few small rows read slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """A kept question as stored in a view set, without pixels."""

    question_id: str
    image_id: str
    question: str
    kind: str
    """The source's type of question (attribute, relation, ...)."""
    split: str
    part: int
    evidence: tuple[Box, ...]
    """Evidence boxes, pixels of the upright source image."""
    answer: str | None
    """Reference answer. None where the source has none, and always when samples() is called without `answers`."""
    views: Mapping[str, tuple[str, ...]]
    """Requested kind of view -> ids of its views, in order; no ids for the kind `none`, a view without pixels."""
    missing: frozenset[str]
    """Kinds of view that could not be made for the question."""
    options: tuple[str, ...] = ()
    """Choices of a multiple-choice question, in order."""
    source: str = ""
    """Data set that the question is from, as the source names it."""


def table_path(folder: Path, table: str, part: int) -> Path:
    """Return the path of one part of a table in the view set at `folder`."""
    return folder / table / f"part-{part:05d}.parquet"


def write_table(path: Path, rows: pl.DataFrame) -> FileRecord:
    """Write rows to `path`, whole or not at all; equal rows give equal bytes. Row groups take about ROW_GROUP_BYTES."""
    with write_whole(path) as partial:
        rows.write_parquet(partial, row_group_size=_rows_per_group(rows))
        read_back = _num_rows(partial)
        assert read_back == rows.height, f"{partial} has {read_back} rows, {rows.height} were written"
        return file_record(partial)


def file_record(path: Path) -> FileRecord:
    """Return row count, size in bytes and SHA-256 of a Parquet file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(rows=_num_rows(path), bytes=path.stat().st_size, sha256=sha256)


def file_fault(path: Path, table: str, record: FileRecord) -> str | None:
    """Describe the fault of a table's file, from its size and footer without reading rows; None for a sound file.

    A nullable column may also be absent: a view set can be handed on without its answers."""
    if fault := _form_fault(path, table, record):
        return fault
    try:
        num_rows = _num_rows(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        return f"cannot be read ({_one_line(error)})"
    return None if num_rows == record.rows else f"has {num_rows:,} rows, the manifest says {record.rows:,}"


def _form_fault(path: Path, table: str, record: FileRecord) -> str | None:
    """Describe the fault of a file's size or columns."""
    if not path.is_file():
        return "missing"
    if (size := path.stat().st_size) != record.bytes:
        return f"has {size:,} bytes, the manifest says {record.bytes:,}"
    try:
        found = pl.scan_parquet(path, glob=False).collect_schema()
    except (OSError, pl.exceptions.PolarsError) as error:
        return f"cannot be read ({_one_line(error)})"
    for name, column in TABLES[table].columns.items():
        if found.get(name, None if column.nullable else "no such column") not in {column.type, None}:
            return f"column {name!r} is {found.get(name)}, expected {column.type}"
    return None


def _are_sound(files: Sequence[tuple[Path, str, FileRecord]]) -> bool:
    """Return True when file_fault() finds nothing in any of the files."""
    if any(_form_fault(path, table, record) for path, table, record in files):
        return False
    try:
        counts = pl.collect_all([pl.scan_parquet(path, glob=False).select(pl.len()) for path, _, _ in files])
    except (OSError, pl.exceptions.PolarsError):
        return False
    return all(count.item() == record.rows for count, (_, _, record) in zip(counts, files, strict=True))


class ViewSet:
    """A finished view set, checked and opened for reading. Safe to read from several threads.

    ```python
    views = ViewSet.open(Path("my-views"))
    first = views.samples("train", ["crop", "off_region"])[0]
    png = views.view_bytes(first.views["crop"])[first.views["crop"][0]]
    ```
    """

    def __init__(self, path: Path, manifest: Manifest, cache_mb: float) -> None:
        self.path = path
        self.manifest = manifest
        self._cache = _Cache(round(cache_mb * 1e6))
        self._places: dict[str, dict[str, _Place]] = {}

    @classmethod
    def open(cls, path: Path, cache_mb: float = 512.0) -> ViewSet:
        """Open a view set: check manifest, schema version, completeness, every file's size, columns and row count.

        `cache_mb`: memory for encoded images, in millions of bytes; the images used last stay in it. Raises ShardError,
        with the remedy, for a folder that is missing, unfinished, damaged or of another schema version."""
        manifest = read_manifest(path)
        if not manifest.is_complete:
            found = f"{len(manifest.parts)} of {manifest.num_parts} parts are finished"
            raise ShardError(f"{path}: {found}. Run the same `viewgen build` again: it goes on where it stopped.")
        files = [(table_path(path, table, part.part), table, part) for part in manifest.parts for table in TABLES]
        # All at once takes a tenth of the time; one by one only to name the damaged file and its fault.
        is_sound = _are_sound([(file, table, part.files[table]) for file, table, part in files])
        for file, table, part in () if is_sound else files:
            if fault := file_fault(file, table, part.files[table]):
                raise ShardError(f"{file}: {fault}. {_rebuild(path, part.part)}")
        return cls(path, manifest, cache_mb)

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers of the parts, rising."""
        return tuple(record.part for record in self.manifest.parts)

    def table_paths(self, name: str) -> list[Path]:
        """Return the paths of a table's files, in order of parts."""
        return [table_path(self.path, name, part) for part in self.parts]

    def splits(self) -> dict[str, int]:
        """Count the kept questions of each split: {"test": 3, "train": 12}."""
        counts = self._columns("questions", ["split"])["split"].value_counts().sort("split")
        return dict(counts.iter_rows())

    def view_kinds(self, role: str = "") -> tuple[str, ...]:
        """Return the kinds of view in the set, sorted; with `role` ("positive" or "negative"), those of that role."""
        views = self._columns("views", ["kind", "role"])
        return tuple(sorted(views.filter(pl.col("role") == role if role else pl.lit(True))["kind"].unique()))

    def samples(self, split: str, kinds: Sequence[str], answers: bool = False) -> list[StoredSample]:
        """Return the kept questions of a split with the ids of their views of `kinds`, in order of the files.

        Without `answers` the column of answers is not even read from disk. Raises ShardError for an unknown split, and
        for a sample that lacks a view of one of the `kinds` without naming it in `missing`.

        views.samples("train", ["crop"])[0].views["crop"]    # the ids of one question's views
        """
        samples = [sample for part in self.parts for sample in self._part_samples(part, split, kinds, answers)]
        if not samples:
            held = ", ".join(f"{name} ({num:,})" for name, num in self.splits().items()) or "no questions at all"
            raise ShardError(f"{self.path}: holds no kept question of split {split!r}. It has: {held}.")
        for kind in kinds:
            if num := sum(kind not in sample.views and kind not in sample.missing for sample in samples):
                lacking = f"{num:,} of {len(samples):,} samples of split {split!r} have no view of kind {kind!r}"
                held = ", ".join(self.view_kinds())
                raise ShardError(f"{self.path}: {lacking}. Kinds here: {held}. Ask for one of them or rebuild with it.")
        return samples

    def image_bytes(self, image_ids: Iterable[str]) -> dict[str, bytes]:
        """Read source images, each as its own file's bytes (decode_image() turns them upright). Raises ShardError for an
        unknown id and an unreadable file."""
        return self._bytes("images", image_ids)

    def view_bytes(self, view_ids: Iterable[str]) -> dict[str, bytes]:
        """Read views as PNG bytes. Raises ShardError for an unknown id and an unreadable file."""
        return self._bytes("views", view_ids)

    def _part_samples(self, part: int, split: str, kinds: Sequence[str], answers: bool) -> list[StoredSample]:
        wanted = ["question_id", "image_id", "question", "kind", "split", "evidence", "missing_views"]
        wanted += ["options", "source"]
        wanted += ["answer"] if answers else []
        questions = self._read("questions", part, wanted).filter(pl.col("split") == split)
        views = self._read("views", part, ["view_id", "question_id", "kind", "width_px"])
        views = views.filter(pl.col("kind").is_in(list(kinds)))
        ids: dict[str, dict[str, tuple[str, ...]]] = {}
        for view_id, question_id, kind, width_px in views.iter_rows():
            of_question = ids.setdefault(question_id, {})
            # The view without pixels is a row, but has no image.
            of_question[kind] = (*of_question.get(kind, ()), *([view_id] if width_px else []))
        return [
            StoredSample(
                question_id=row["question_id"],
                image_id=row["image_id"],
                question=row["question"],
                kind=row["kind"],
                split=row["split"],
                part=part,
                evidence=tuple(Box(**box) for box in row["evidence"]),
                answer=row.get("answer"),
                views=ids.get(row["question_id"], {}),
                missing=frozenset(lack["kind"] for lack in row["missing_views"]),
                options=tuple(row.get("options") or ()),
                source=row.get("source") or "",
            )
            for row in questions.iter_rows(named=True)
        ]

    def _bytes(self, table: str, ids: Iterable[str]) -> dict[str, bytes]:
        wanted: dict[_Place, list[str]] = {}
        places = self._index(table)
        for name in dict.fromkeys(ids):
            if name not in places:
                raise ShardError(f"{self.path}: no {name!r} in table {table}. Ask for ids that this view set gave.")
            wanted.setdefault(places[name], []).append(name)
        found: dict[str, bytes] = {}
        for place, names in wanted.items():
            data = self._place_bytes(place)
            found |= {name: data[name] for name in names}
        return found

    def _index(self, table: str) -> dict[str, _Place]:
        """Return id -> place of its bytes, read once per table."""
        if table not in self._places:
            columns = [TABLES[table].key, *(["kind"] if table == "views" else [])]
            self._places[table] = {
                name: _Place(table, part, *kind)
                for part in self.parts
                for name, *kind in self._read(table, part, columns).iter_rows()
            }
        return self._places[table]

    def _place_bytes(self, place: _Place) -> dict[str, bytes]:
        if (cached := self._cache.get(place)) is not None:
            return cached
        key = TABLES[place.table].key
        rows = self._read(place.table, place.part, [key, "image"], place.kind)
        data = dict(zip(rows[key].to_list(), rows["image"].struct.field("bytes").to_list(), strict=True))
        for name, image in data.items():
            if image is None:
                path = table_path(self.path, place.table, place.part)
                again = _rebuild(self.path, place.part)
                raise ShardError(f"{path}: row {name!r} of table {place.table} holds no image bytes. {again}")
        self._cache.put(place, data)
        return data

    def _columns(self, table: str, columns: Sequence[str]) -> pl.DataFrame:
        return pl.concat([self._read(table, part, columns) for part in self.parts])

    def _read(self, table: str, part: int, columns: Sequence[str], kind: str = "") -> pl.DataFrame:
        """Read columns of a part, with `kind` only its rows of that kind; nullable columns if the file has them."""
        path = table_path(self.path, table, part)
        try:
            rows = pl.scan_parquet(path, glob=False)
            held = rows.collect_schema()
            columns = [name for name in columns if name in held or not TABLES[table].columns[name].nullable]
            return (rows.filter(pl.col("kind") == kind) if kind else rows).select(columns).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ShardError(f"{path}: cannot be read ({_one_line(error)}). {_rebuild(self.path, part)}") from None


class _Place(NamedTuple):
    """Unit of reading: one part of a table; of views, one kind in it."""

    table: str
    part: int
    kind: str = ""


class _Cache:
    """Encoded images of the places used last, up to a number of bytes; the newest always stays."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[_Place, dict[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: _Place) -> dict[str, bytes] | None:
        with self._lock:
            if place in self._held:
                self._held.move_to_end(place)
            return self._held.get(place)

    def put(self, place: _Place, data: dict[str, bytes]) -> None:
        with self._lock:
            self._held[place] = data
            while len(self._held) > 1 and self._held_bytes() > self._max_bytes:
                self._held.popitem(last=False)

    def _held_bytes(self) -> int:
        return sum(len(image) for held in self._held.values() for image in held.values())


def _rows_per_group(rows: pl.DataFrame) -> int:
    if "image" not in rows.columns or not rows.height:
        return max(rows.height, MIN_ROWS)
    num_bytes = int(rows["image"].struct.field("bytes").bin.size().sum())
    return max(1, ROW_GROUP_BYTES * rows.height // max(num_bytes, 1))


def _num_rows(path: Path) -> int:
    """Count rows from the footer alone."""
    return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())


def _rebuild(folder: Path, part: int) -> str:
    return f"Rebuild this part with `viewgen build RECIPE --out {folder} --only {part}`."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
