"""Write the files of a part, and tell their faults: missing, of another size, with other columns or rows.
Leaves out: reading rows (shards.py), the manifest's own form (manifest.py), making rows (tables.py)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import polars as pl

from viewgen.files import write_whole
from viewgen.viewset.manifest import FileRecord
from viewgen.viewset.schema import TABLES

ROW_GROUP_BYTES = 32_000_000
"""Encoded images per row group. Hugging Face's viewer refuses groups over 300 MB, and a reader keeps one in memory:
32 to 64 MB suits both."""
MIN_ROWS = 512
"""Minimum row-group size of tables without images: groups of a few small rows read slowly."""


def table_path(folder: Path, table: str, part: int) -> Path:
    """Return the path of one part of a table in the view set at `folder`."""
    return folder / table / f"part-{part:05d}.parquet"


def write_table(path: Path, rows: pl.DataFrame) -> FileRecord:
    """Write rows to `path`, whole or not at all; equal rows give equal bytes. Row groups take about ROW_GROUP_BYTES."""
    with write_whole(path) as partial:
        # Images are compressed already; as plain bytes each can be read alone, by its place in the file.
        packing: Literal["uncompressed", "zstd"] = "uncompressed" if "image" in rows.columns else "zstd"
        rows.write_parquet(partial, compression=packing, row_group_size=_rows_per_group(rows))
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
        return f"cannot be read ({one_line(error)})"
    return None if num_rows == record.rows else f"has {num_rows:,} rows, the manifest says {record.rows:,}"


def size_fault(path: Path, record: FileRecord) -> str | None:
    """Describe a file that is missing or of another size; None for any other."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    return None if size == record.bytes else f"has {size:,} bytes, the manifest says {record.bytes:,}"


def _form_fault(path: Path, table: str, record: FileRecord) -> str | None:
    """Describe the fault of a file's size or columns."""
    if fault := size_fault(path, record):
        return fault
    try:
        found = pl.scan_parquet(path, glob=False).collect_schema()
    except (OSError, pl.exceptions.PolarsError) as error:
        return f"cannot be read ({one_line(error)})"
    for name, column in TABLES[table].columns.items():
        if found.get(name, None if column.nullable else "no such column") not in {column.type, None}:
            return f"column {name!r} is {found.get(name)}, expected {column.type}"
    return None


def _rows_per_group(rows: pl.DataFrame) -> int:
    if "image" not in rows.columns or not rows.height:
        return max(rows.height, MIN_ROWS)
    num_bytes = int(rows["image"].struct.field("bytes").bin.size().sum())
    return max(1, ROW_GROUP_BYTES * rows.height // max(num_bytes, 1))


def _num_rows(path: Path) -> int:
    """Count rows from the footer alone."""
    return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())


def rebuild(folder: Path, part: int) -> str:
    """Return the remedy for a damaged part."""
    return f"Rebuild this part with `viewgen build RECIPE --out {folder} --only {part}`."


def one_line(error: Exception) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split())
