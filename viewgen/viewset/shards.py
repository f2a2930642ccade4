"""Read a view set, checked.
Leaves out: the meaning of the columns (schema.py), writing parts and checking their files (parts.py).

Part k of every table speaks of the same images, so a reader needs part k alone. Images are read row by row, checked
against their SHA-256 and kept in a cache of bounded size; columns that the caller does not request are not read, above
all not the answers. A reader can be pickled, and used on both sides of a fork."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl

from viewgen.boxes import Box
from viewgen.errors import ShardError
from viewgen.viewset.cache import ImageCache, OpenFiles
from viewgen.viewset.manifest import Manifest, PartRecord, read_manifest
from viewgen.viewset.parts import file_fault, one_line, rebuild, size_fault, table_path
from viewgen.viewset.plain import NotPlainError, Place, byte_places
from viewgen.viewset.schema import TABLES
from viewgen.viewset.verify import refuse_damage

_PART = "__part"
"""Column with the number of the part."""
EAGER_PARTS = 64
"""Parts of a view set whose columns and row counts are checked when it is opened."""


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
        self._cache = ImageCache(round(cache_mb * 1e6))
        self._files = OpenFiles()
        self._rows: dict[str, dict[str, _Row]] = {}
        self._places: dict[tuple[str, int], tuple[str, list[Place | None]] | None] = {}
        self._checked: set[tuple[str, int]] = set()
        self._records = {record.part: record for record in manifest.parts}

    @classmethod
    def open(cls, path: Path, cache_mb: float = 512.0, verify: bool = False) -> ViewSet:
        """Open a view set: check manifest, schema version, completeness and every file's size; of up to 64 parts also
        columns and row counts; of more, those that are read, when they are.

        `cache_mb`: memory for encoded images, in millions of bytes; the images used last stay in it. `verify`: also every
        hash, reference and image, to the last bit. Raises ShardError, with the remedy, for a folder that is missing,
        unfinished, damaged or of another schema version."""
        manifest = read_manifest(path)
        if not manifest.is_complete:
            found = f"{len(manifest.parts)} of {manifest.num_parts} parts are finished"
            raise ShardError(f"{path}: {found}. Run the same `viewgen build` again: it goes on where it stopped.")
        if verify:
            refuse_damage(path)
        opened = cls(path, manifest, cache_mb)
        check = opened._check if len(manifest.parts) <= EAGER_PARTS else opened._check_size
        for part in manifest.parts:
            for table in TABLES:
                check(table, part)
        return opened

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
        views = self._columns("views", ["kind", "role"]).unique()
        return tuple(sorted(views.filter(pl.col("role") == role if role else pl.lit(True))["kind"].unique()))

    def samples(self, split: str, kinds: Sequence[str], answers: bool = False) -> list[StoredSample]:
        """Return the kept questions of a split with the ids of their views of `kinds`, in order of the files.

        Without `answers` the column of answers is not even read from disk. Raises ShardError for an unknown split, and
        for a sample that lacks a view of one of the `kinds` without naming it in `missing`.

        views.samples("train", ["crop"])[0].views["crop"]    # the ids of one question's views
        """
        samples = self._samples(split, kinds, answers)
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

    def _samples(self, split: str, kinds: Sequence[str], answers: bool) -> list[StoredSample]:
        wanted = ["question_id", "image_id", "question", "kind", "split", "evidence", "missing_views"]
        wanted += ["options", "source"]
        wanted += ["answer"] if answers else []
        questions = self._columns("questions", wanted).filter(pl.col("split") == split)
        views = self._columns("views", ["view_id", "question_id", "kind", "width_px"])
        views = views.filter(pl.col("kind").is_in(list(kinds)))
        ids: dict[str, dict[str, tuple[str, ...]]] = {}
        for view_id, question_id, kind, width_px in views.select(
            "view_id", "question_id", "kind", "width_px"
        ).iter_rows():
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
                part=row[_PART],
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
        rows = self._index(table)
        found: dict[str, bytes] = {}
        packed: dict[int, list[str]] = {}
        for name in dict.fromkeys(ids):
            row = rows.get(name)
            if row is None:
                raise ShardError(f"{self.path}: no {name!r} in table {table}. Ask for ids that this view set gave.")
            data = self._cache.get((table, name))
            if data is None:
                places = self._places_in(table, row.part)
                if places is None:
                    packed.setdefault(row.part, []).append(name)
                    continue
                data = self._at(places, row, table, name)
                self._verify(table, row, name, data)
                self._cache.put((table, name), data)
            found[name] = data
        for part, names in packed.items():
            for name, data in self._part_bytes(table, part, names).items():
                self._verify(table, rows[name], name, data)
                self._cache.put((table, name), data)
                found[name] = data
        return found

    def _index(self, table: str) -> dict[str, _Row]:
        """Return id -> row, read once per table."""
        if table not in self._rows:
            columns = [TABLES[table].key, *(["sha256"] if table == "views" else [])]
            self._rows[table] = dict(self._keys(table, columns))
        return self._rows[table]

    def _keys(self, table: str, columns: Sequence[str]) -> Iterator[tuple[str, _Row]]:
        """Yield id and row of each image of a table."""
        if _FORKED:
            for part in self.parts:
                for number, (name, *sha256) in enumerate(self._forked_rows(table, part, columns)):
                    yield name, _Row(part, number, sha256[0] if sha256 and sha256[0] else "")
            return
        rows = self._columns(table, columns)
        hashes = rows["sha256"].to_list() if "sha256" in rows.columns else [""] * len(rows)
        before, number = -1, 0
        for name, part, sha256 in zip(rows[columns[0]].to_list(), rows[_PART].to_list(), hashes, strict=True):
            number = number + 1 if part == before else 0
            before = part
            yield name, _Row(part, number, sha256 or "")

    def _forked_rows(self, table: str, part: int, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """Return columns of a part where polars' threads are not there."""
        path = table_path(self.path, table, part)
        with duckdb.connect(config={"threads": 1}) as connection:
            held = {row[0] for row in connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()}
            names = ", ".join(f'"{name}"' for name in columns if name in held)
            found: list[tuple[str, ...]] = connection.execute(
                f"SELECT {names} FROM read_parquet(?, file_row_number = true) ORDER BY file_row_number", [str(path)]
            ).fetchall()
            return found

    def _part_bytes(self, table: str, part: int, names: Sequence[str]) -> dict[str, bytes]:
        """Read the images of some rows of a packed part, through DuckDB."""
        path = table_path(self.path, table, part)
        try:
            found = self._packed_bytes(table, path, names)
        except (OSError, duckdb.Error) as error:
            raise ShardError(f"{path}: cannot be read ({one_line(error)}). {rebuild(self.path, part)}") from None
        for name in names:
            if found.get(name) is None:
                raise self._no_bytes(table, part, name)
        return {name: bytes(found[name] or b"") for name in names}

    def _packed_bytes(self, table: str, path: Path, names: Sequence[str]) -> dict[str, bytes | None]:
        """Read a packed part through DuckDB: all its images, or all its views of the kinds in question. Those that are
        sound are kept for whoever comes next, since a packed row cannot be read alone."""
        key = TABLES[table].key
        kinds = " AND kind IN (SELECT kind FROM read_parquet($path) WHERE view_id IN (SELECT unnest($names)))"
        query = f"SELECT {key}, image.bytes FROM read_parquet($path) WHERE image IS NOT NULL"
        with duckdb.connect(config={"threads": 1}) as connection:
            asked: dict[str, object] = {"path": str(path)} | ({"names": list(names)} if table == "views" else {})
            found = dict(connection.execute(query + (kinds if table == "views" else ""), asked).fetchall())
        for name, data in found.items():
            if name not in names and data is not None:
                with suppress(ShardError):  # said to whoever asks for it
                    self._verify(table, self._index(table)[name], name, bytes(data))
                    self._cache.put((table, name), bytes(data))
        return found

    def _at(self, places: tuple[str, list[Place | None]], row: _Row, table: str, name: str) -> bytes:
        """Read an image by its place in its file."""
        path, of_rows = places
        place = of_rows[row.number]
        if place is None:
            raise self._no_bytes(table, row.part, name)
        try:
            return self._files.read(path, *place)
        except OSError as error:
            raise ShardError(f"{path}: cannot be read ({one_line(error)}). {rebuild(self.path, row.part)}") from None

    def _no_bytes(self, table: str, part: int, name: str) -> ShardError:
        path = table_path(self.path, table, part)
        return ShardError(f"{path}: row {name!r} of table {table} holds no image bytes. {rebuild(self.path, part)}")

    def _places_in(self, table: str, part: int) -> tuple[str, list[Place | None]] | None:
        """Return the file of a part and where its images lie in it; None where they are packed."""
        key = (table, part)
        if key not in self._places:
            path = table_path(self.path, table, part)
            try:
                places = byte_places(path, ("image", "bytes"))
            except NotPlainError:
                places = None
            except OSError as error:
                raise ShardError(f"{path}: cannot be read ({one_line(error)}). {rebuild(self.path, part)}") from None
            num_rows = self._records[part].files[table].rows
            self._places[key] = (str(path), places) if places and len(places) == num_rows else None
        return self._places[key]

    def _verify(self, table: str, row: _Row, name: str, data: bytes) -> None:
        """Raise ShardError for an image whose bytes are not those that were written."""
        sha256 = row.sha256 or (name if table == "images" else "")
        if sha256 and not hashlib.sha256(data).hexdigest().startswith(sha256):
            path = table_path(self.path, table, row.part)
            raise ShardError(f"{path}: the image of row {name!r} is damaged. {rebuild(self.path, row.part)}")

    def _check_size(self, table: str, part: PartRecord) -> None:
        path = table_path(self.path, table, part.part)
        if fault := size_fault(path, part.files[table]):
            raise ShardError(f"{path}: {fault}. {rebuild(self.path, part.part)}")

    def _check(self, table: str, part: PartRecord) -> None:
        """Check a file's size, columns and row count, once."""
        if (table, part.part) not in self._checked:
            path = table_path(self.path, table, part.part)
            if fault := file_fault(path, table, part.files[table]):
                raise ShardError(f"{path}: {fault}. {rebuild(self.path, part.part)}")
            self._checked.add((table, part.part))

    def _columns(self, table: str, columns: Sequence[str]) -> pl.DataFrame:
        """Read columns of all parts together, with the number of the part; part by part where one differs, to name it."""
        num_rows = [self._records[part].files[table].rows for part in self.parts]
        rows = None if _FORKED else self._together(table, columns)
        if rows is None or len(rows) != sum(num_rows):
            rows = pl.concat([self._read(table, part, columns) for part in self.parts])
        return rows.with_columns(pl.Series(_PART, np.repeat(self.parts, num_rows), dtype=pl.Int64))

    def _together(self, table: str, columns: Sequence[str]) -> pl.DataFrame | None:
        """Read columns of all parts at once; None where a part has other columns than the first or than the schema."""
        types = TABLES[table].columns
        try:
            held = pl.read_parquet_schema(self.table_paths(table)[0])
            wanted = [name for name in columns if name in held or not types[name].nullable]
            rows = pl.scan_parquet(self.table_paths(table), glob=False).select(wanted).collect()
        except (OSError, pl.exceptions.PolarsError):
            return None
        return rows if all(kind == types[name].type for name, kind in rows.schema.items()) else None

    def _read(self, table: str, part: int, columns: Sequence[str]) -> pl.DataFrame:
        """Read columns of a part; nullable columns if the file has them."""
        path = table_path(self.path, table, part)
        if _FORKED:
            raise ShardError(
                f"{self.path}: tables cannot be read in a forked process. Ask for samples before the fork."
            )
        self._check(table, self._records[part])
        try:
            rows = pl.scan_parquet(path, glob=False)
            held = rows.collect_schema()
            columns = [name for name in columns if name in held or not TABLES[table].columns[name].nullable]
            return rows.select(columns).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ShardError(f"{path}: cannot be read ({one_line(error)}). {rebuild(self.path, part)}") from None


class _Row(NamedTuple):
    """Row of an image in its table."""

    part: int
    number: int
    """In the part's file, from 0."""
    sha256: str
    """Of its bytes; empty where the table does not hold it."""


_FORKED = False
"""True in a process that was forked: polars' threads are not there, and whoever waits for them waits for ever."""


def _was_forked() -> None:
    global _FORKED
    _FORKED = True


os.register_at_fork(after_in_child=_was_forked)
