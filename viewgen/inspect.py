"""What a view set holds, in numbers, through DuckDB views over its tables. Read-only; no image byte is read, because
Parquet keeps columns apart and none of these questions needs the images.
Leaves out: pictures (report.py) and judging the views (audit.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from viewgen.errors import ShardError
from viewgen.progress import counted
from viewgen.recipe import Connection, open_reader
from viewgen.schema import TABLES
from viewgen.shards import ViewSet

_SPLITS = """
    SELECT split, sum(kept) + sum(rejected) AS came_in, sum(kept) AS kept, sum(rejected) AS rejected
    FROM (SELECT split, 1 AS kept, 0 AS rejected FROM questions UNION ALL SELECT split, 0, 1 FROM rejects)
    GROUP BY split ORDER BY split
"""
_REJECTS = """
    SELECT split, stage, reason, count(*) AS num FROM rejects GROUP BY ALL ORDER BY split, num DESC, stage, reason
"""
_VIEWS = "SELECT role, kind, count(*) AS num FROM views GROUP BY ALL ORDER BY role DESC, kind"
_SHARES = """
    SELECT unnest([0, 0.1, 0.5, 0.9, 1]::DOUBLE[]) AS quantile,
           unnest(quantile_disc(evidence_share, [0, 0.1, 0.5, 0.9, 1])) AS share FROM questions
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of a view set; came_in == kept + rejected, in all and in each split."""

    path: str
    schema_version: int
    seed: int
    num_parts: int
    num_bytes: int
    """Of all tables on disk."""
    came_in: int
    """Questions."""
    kept: int
    rejected: int
    images: int
    splits: tuple[dict[str, Any], ...]
    """split, came_in, kept, rejected"""
    rejects: tuple[dict[str, Any], ...]
    """split, stage, reason, num"""
    views: tuple[dict[str, Any], ...]
    """role, kind, num"""
    evidence_share: tuple[dict[str, Any], ...]
    """quantile, share: of the image's area that the evidence takes, over kept questions"""


def connect(view_set: ViewSet) -> Connection:
    """A DuckDB with one view per table, which can read this view set and nothing else."""
    connection = open_reader(view_set.path.resolve())
    for table in TABLES:
        files = [str(path.resolve()) for path in view_set.table_paths(table)]
        connection.read_parquet(files).create_view(table)
    return connection


def summarise(view_set: ViewSet) -> Summary:
    """Count what a view set holds. Raises ShardError when a table turns out to be broken."""
    manifest = view_set.manifest
    rows = {table: sum(part.files[table].rows for part in manifest.parts) for table in TABLES}
    try:
        with connect(view_set) as connection:
            queries = (_SPLITS, _REJECTS, _VIEWS, _SHARES)
            splits, rejects, views, shares = (_rows(connection, query) for query in queries)
    except duckdb.Error as error:
        what = " ".join(str(error).split())
        raise ShardError(f"{view_set.path}: cannot be counted ({what}). Rebuild it with --force.") from None
    return Summary(
        path=str(view_set.path),
        schema_version=manifest.schema_version,
        seed=manifest.seed,
        num_parts=manifest.num_parts,
        num_bytes=sum(file.bytes for part in manifest.parts for file in part.files.values()),
        came_in=sum(part.num_questions for part in manifest.parts),
        kept=rows["questions"],
        rejected=rows["rejects"],
        images=rows["images"],
        splits=splits,
        rejects=rejects,
        views=views,
        evidence_share=shares,
    )


def in_words(summary: Summary) -> str:
    """The summary as a page of text."""
    counts = f"{counted(summary.came_in, 'question')} came in = {summary.kept:,} kept + {summary.rejected:,} rejected"
    size = [counted(summary.images, "image"), counted(summary.num_parts, "part"), f"{summary.num_bytes / 1e6:,.1f} MB"]
    blocks = [
        f"{summary.path}: {', '.join(size)}, schema version {summary.schema_version}, seed {summary.seed}\n{counts}",
        _table("split", summary.splits),
        _table("rejected because", summary.rejects),
        _table("views", summary.views),
        _table("share of the image that is evidence", summary.evidence_share),
    ]
    return "\n\n".join(block for block in blocks if block)


def _rows(connection: Connection, query: str) -> tuple[dict[str, Any], ...]:
    result = connection.execute(query)
    names = [column[0] for column in result.description]
    return tuple(dict(zip(names, row, strict=True)) for row in result.fetchall())


def _table(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """A heading and aligned columns; nothing for no rows."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    is_number = [not isinstance(value, str) for value in rows[0].values()]
    lines = (
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, is_number, strict=True)
        ).rstrip()
        for row in cells
    )
    return "\n  ".join([title, *lines])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
