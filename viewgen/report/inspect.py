"""Count the contents of a view set, through DuckDB views over its tables. Read-only; no image byte is read, because
Parquet keeps columns apart and none of these counts needs the images.
Leaves out: a user's own queries (sql.py), the page (page.py), flagging views (audit/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from viewgen.errors import ShardError, database_fault
from viewgen.progress import counted, printable
from viewgen.viewset.database import Database, connect
from viewgen.viewset.schema import TABLES
from viewgen.viewset.shards import ViewSet

Rows = tuple[dict[str, Any], ...]
QUANTILES = {"least": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "most": 1.0}

_COUNTS = {
    "splits": """
        SELECT split, sum(kept) + sum(rejected) AS came_in, sum(kept) AS kept, sum(rejected) AS rejected
        FROM (SELECT split, 1 AS kept, 0 AS rejected FROM questions UNION ALL SELECT split, 0, 1 FROM rejects)
        GROUP BY split ORDER BY split
    """,
    "reasons": "SELECT stage, reason, count(*) AS num FROM rejects GROUP BY ALL ORDER BY num DESC, stage, reason",
    "rejects": """
        SELECT split, stage, reason, count(*) AS num FROM rejects
        GROUP BY ALL ORDER BY split, num DESC, stage, reason
    """,
    "views": "SELECT role, kind, made_as, count(*) AS num FROM views GROUP BY ALL ORDER BY role DESC, kind, made_as",
    "fallbacks": """
        SELECT kind, made_as, split_part(fallback, ':', 1) AS reason, count(*) AS num
        FROM views WHERE fallback IS NOT NULL GROUP BY ALL ORDER BY num DESC, kind, made_as, reason
    """,
    "missing_views": """
        SELECT missing.kind, missing.reason, count(*) AS num
        FROM (SELECT unnest(missing_views) AS missing FROM questions)
        GROUP BY ALL ORDER BY num DESC, missing.kind, missing.reason
    """,
    "flags": """
        SELECT flag, role, kind, count(*) AS num FROM (SELECT unnest(flags) AS flag, role, kind FROM views)
        GROUP BY ALL ORDER BY flag, role DESC, kind
    """,
}

_REGIONS = "(SELECT unnest(regions, recursive := true) FROM questions)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number that many rows have: where it is found, and what it is told apart by."""

    title: str
    unit: str
    """Empty where there is none."""
    table: str
    """Rows to select from."""
    column: str
    by: tuple[str, ...]
    """Columns: one row of quantiles for each of their values."""
    where: str = "true"


MEASURES: Mapping[str, Measure] = {
    "evidence_share": Measure(
        title="share of the image that is evidence", unit="0..1", table="questions", column="evidence_share", by=()
    ),
    "region_score": Measure(
        title="score of the best region of each phrase",
        unit="comparable within a source",
        table=_REGIONS,
        column="score",
        by=("source",),
        where="rank = 0",
    ),
    "agreement": Measure(
        title="IoU of the best region with one of another source",
        unit="0..1",
        table=_REGIONS,
        column="agreement",
        by=("source",),
        where="rank = 0",
    ),
    **{
        column: Measure(title=title, unit=unit, table="views", column=column, by=("role", "kind"), where=where)
        for column, title, unit, where in (
            ("similarity_margin", "similarity of the positive less that of the view", "nats", "role = 'negative'"),
            ("detector_score", "highest score of the phrases in the view", "0..1", "true"),
            ("phrase_similarity", "similarity of the view to the phrases", "nats", "true"),
            ("sharpness_ratio", "sharpness over the positive's", "", "role = 'negative'"),
            ("evidence_overlap", "share of the evidence that the view shows", "0..1", "true"),
            ("hash_distance", "difference from the positive in its perceptual hash", "bits of 64", "role = 'negative'"),
        )
    },
}
"""Name -> what is measured of a view set. Those that no row has (nulls throughout) have no quantiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of a view set; came_in == kept + rejected, in all and in each split."""

    path: str
    schema_version: int
    seed: int
    num_parts: int
    num_bytes: int
    """Bytes of all tables on disk."""
    came_in: int
    """Questions."""
    kept: int
    rejected: int
    images: int
    splits: Rows
    """split, came_in, kept, rejected"""
    reasons: Rows
    """stage, reason, num: of rejected questions"""
    rejects: Rows
    """split, stage, reason, num"""
    views: Rows
    """role, kind, made_as, num"""
    fallbacks: Rows
    """kind, made_as, fallback (why), num"""
    missing_views: Rows
    """kind, reason, num: views that kept questions lack though the recipe asks for them"""
    flags: Rows
    """flag, role, kind, num"""
    measures: Mapping[str, Rows]
    """Name of MEASURES -> by ..., num (values that are not null), and one column for each of QUANTILES"""


def shortfall(summary: Summary) -> str:
    """Return a sentence about a view set that keeps nothing or lost more than half of its questions to one reason, with
    the command that shows them; empty for any other."""
    worst = max(summary.reasons, key=lambda row: int(row["num"]), default=None)
    is_lost = worst is not None and 2 * int(worst["num"]) > summary.came_in
    if worst is None or not (is_lost or summary.kept == 0):
        return ""
    what = "nothing was kept" if summary.kept == 0 else f"only {summary.kept:,} were kept"
    lost = f"{int(worst['num']):,} were lost to {worst['stage']}/{worst['reason']}"
    query = f"SELECT message FROM rejects WHERE reason = '{worst['reason']}' LIMIT 20"
    asked = counted(summary.came_in, "question")
    return f'{what} of {asked}: {lost}. See why: viewgen sql {summary.path} "{query}".'


def summarise(view_set: ViewSet) -> Summary:
    """Count what a view set holds. Raises ShardError when a table turns out to be broken."""
    manifest = view_set.manifest
    rows = {table: sum(part.files[table].rows for part in manifest.parts) for table in TABLES}
    try:
        with connect(view_set) as connection:
            counts = {name: rows_of(connection, query) for name, query in _COUNTS.items()}
            measures = {name: quantiles(connection, measure) for name, measure in MEASURES.items()}
    except duckdb.Error as error:
        what = f"cannot be counted ({database_fault(error)})"
        raise ShardError(f"{view_set.path}: {what}. Rebuild it with --force.") from None
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
        measures=measures,
        **counts,
    )


def quantiles(connection: Database, measure: Measure) -> Rows:
    """by ..., num and QUANTILES of a measure: one row for each group that has a value."""
    shares = ", ".join(map(str, QUANTILES.values()))
    found = rows_of(
        connection,
        f"SELECT {''.join(f'{name}, ' for name in measure.by)} count({measure.column}) AS num, "
        f"quantile_disc({measure.column}, [{shares}]) AS found FROM {measure.table} WHERE {measure.where} "
        f"GROUP BY ALL HAVING num > 0 ORDER BY {' DESC, '.join(measure.by) or 'num'}",
    )
    values = [row.pop("found") for row in found]
    return tuple({**row, **dict(zip(QUANTILES, given, strict=True))} for row, given in zip(found, values, strict=True))


def in_words(summary: Summary) -> str:
    """Return the counts as a page of text."""
    counts = f"{counted(summary.came_in, 'question')} came in = {summary.kept:,} kept + {summary.rejected:,} rejected"
    size = [counted(summary.images, "image"), counted(summary.num_parts, "part"), f"{summary.num_bytes / 1e6:,.1f} MB"]
    several = len(summary.splits) > 1
    blocks = [
        f"{summary.path}: {', '.join(size)}, schema version {summary.schema_version}, seed {summary.seed}\n{counts}",
        _table("split", summary.splits),
        _table("rejected because", summary.reasons),
        _table("rejected because, by split", summary.rejects) if several else "",
        _table("views", summary.views),
        _table("made another way because", summary.fallbacks),
        _table("views that kept questions lack because", summary.missing_views),
        _table("flags of the audit", summary.flags),
    ]
    return "\n\n".join(block for block in blocks if block)


def measures_in_words(summary: Summary) -> str:
    """Return the quantiles as a page of text."""
    blocks = (
        _table(f"{name}: {MEASURES[name].title}{f' ({unit})' if (unit := MEASURES[name].unit) else ''}", rows)
        for name, rows in summary.measures.items()
    )
    return "\n\n".join(block for block in blocks if block)


def rows_of(connection: Database, query: str, *values: Any) -> Rows:  # noqa: ANN401 - whatever DuckDB takes
    """Return the rows of a query by column; `values` stand in for its question marks."""
    result = connection.execute(query, list(values))
    names = [column[0] for column in result.description]
    return tuple(dict(zip(names, row, strict=True)) for row in result.fetchall())


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a heading and aligned columns; nothing for no rows."""
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
    return f"{value:,}" if isinstance(value, int) else printable(str(value))
