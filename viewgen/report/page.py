"""One self-contained HTML page of a view set: what came in and why some of it left, what was measured, and a contact
sheet to look through, with marks that `viewgen build --reviews` honours. Opens from disk and loads nothing.
Leaves out: the page's looks and its script (page.html), counting (inspect.py), choosing and shrinking (sheet.py).

All that comes from data is escaped by the template; pictures are data URLs; scripts but the page's own do not run."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from jaxtyping import Float

from viewgen.errors import ShardError, database_fault
from viewgen.files import write_whole
from viewgen.pages import page_template
from viewgen.progress import Stream
from viewgen.report.inspect import MEASURES, QUANTILES, Measure, Summary, summarise
from viewgen.report.plots import Histogram, Ranges, draw_histogram, draw_ranges
from viewgen.report.sheet import Sheet, SheetConfig, draw_sheet, finite
from viewgen.source.recipe import Connection
from viewgen.viewset.database import connect
from viewgen.viewset.manifest import Manifest
from viewgen.viewset.shards import ViewSet

TEMPLATE = "page.html"
LOGARITHMIC = {"evidence_share", "evidence_side", "sharpness_ratio"}
MARKS = {"sharpness_ratio": 1.0, "similarity_margin": 0.0}
"""Measure -> the value that a plot marks: as sharp as the positive, as similar as the positive."""
_SIDE = Measure(
    title="side of a square as large as the evidence",
    unit="px",
    table="(SELECT sqrt(list_sum([(box.x1 - box.x0) * (box.y1 - box.y0) FOR box IN evidence])) AS side FROM questions)",
    column="side",
    by=(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """One kind of view in the table of kinds."""

    role: str
    kind: str
    num: int
    made_as: tuple[tuple[str, int], ...]
    """Other kinds that stand in for it, and how often."""
    missing: tuple[tuple[str, int], ...]
    """Reasons why questions lack it, with counts."""
    flags: tuple[tuple[str, int], ...]
    """Flags of the audit, with counts."""


def report_path(view_set: Path) -> Path:
    """Return the default path of the page: next to the view set, which stays as it was built."""
    whole = view_set.resolve()
    return whole.with_name(f"{whole.name}.html")


def write_report(path: Path, out: Path, config: SheetConfig | None = None, progress_out: Stream | None = None) -> Sheet:
    """Write the page of the view set at `path` to `out`, whole or not at all; equal sets and settings give equal pages.

    Returns what its contact sheet shows. Raises ShardError when the view set is missing or broken."""
    config = config or SheetConfig()
    view_set = ViewSet.open(path)
    summary = summarise(view_set)
    try:
        with connect(view_set) as connection:
            histograms = list(draw_histograms(connection))
            sheet = draw_sheet(view_set, connection, config, progress_out)
    except duckdb.Error as error:
        raise ShardError(f"{path}: cannot be read ({database_fault(error)}). Rebuild it with --force.") from None
    name = view_set.path.resolve().name
    page = page_template(Path(__file__).with_name(TEMPLATE), {"counted": lambda num: f"{num:,}"}).render(
        name=name,
        summary=summary,
        kinds=kind_rows(summary),
        histograms=histograms,
        ranges=list(draw_all_ranges(summary)),
        sheet=sheet,
        data=_data(name, view_set.manifest, sheet),
        nonce=_name_of(view_set.manifest),
        seed=config.seed,
        models=view_set.manifest.models,
        made_by=view_set.manifest.made_by,
        settings=list(flat(view_set.manifest.config)),
    )
    with write_whole(out) as partial:
        partial.write_text(page, encoding="utf-8")
    return sheet


def draw_histograms(connection: Connection) -> Iterator[Histogram]:
    """Plot region scores and agreement, one plot for each source, and the share of the evidence."""
    for name in ("region_score", "agreement"):
        measure = MEASURES[name]
        found = connection.execute(f"SELECT DISTINCT source FROM {measure.table} ORDER BY source").fetchall()
        for (source,) in found:
            # Scores can be compared within one source alone, so each has its own plot, and its name for a unit.
            yield from _histogram(connection, name, measure, source, f"{measure.where} AND source = ?", source)
    for name, measure in (("evidence_share", MEASURES["evidence_share"]), ("evidence_side", _SIDE)):
        yield from _histogram(connection, name, measure, measure.unit)


def _histogram(
    connection: Connection, name: str, measure: Measure, unit: str, where: str = "true", *values: str
) -> Iterator[Histogram]:
    query = f"SELECT {measure.column}::DOUBLE AS value FROM {measure.table} WHERE {where} AND value IS NOT NULL"
    found: Float[np.ndarray, " N"] = np.asarray(connection.execute(query, list(values)).fetchnumpy()["value"])
    if plot := draw_histogram(_sentence(measure.title), unit, found, name in LOGARITHMIC):
        yield plot


def draw_all_ranges(summary: Summary) -> Iterator[Ranges]:
    """Plot the measures of views, kind by kind."""
    for name, rows in summary.measures.items():
        measure = MEASURES[name]
        if measure.table != "views":
            continue
        groups = {(row["kind"], row["role"]): [float(row[quantile]) for quantile in QUANTILES] for row in rows}
        if plot := draw_ranges(_sentence(measure.title), measure.unit, groups, name in LOGARITHMIC, MARKS.get(name)):
            yield plot


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def kind_rows(summary: Summary) -> list[KindRow]:
    """Return the kinds of view that were made or are missing, positives first."""
    num: dict[tuple[str, str], int] = defaultdict(int)
    made_as: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in summary.views:
        num[row["role"], row["kind"]] += row["num"]
        if row["made_as"] != row["kind"]:
            made_as[row["kind"]].append((row["made_as"], row["num"]))
    missing: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in summary.missing_views:
        missing[row["kind"]].append((row["reason"], row["num"]))
        if row["kind"] not in {kind for _, kind in num}:
            num["negative", row["kind"]] = 0
    flags: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for row in summary.flags:
        flags[row["role"], row["kind"]].append((row["flag"], row["num"]))
    return [
        KindRow(
            role=role,
            kind=kind,
            num=count,
            made_as=tuple(made_as[kind]),
            missing=tuple(missing[kind]),
            flags=tuple(flags[role, kind]),
        )
        for (role, kind), count in num.items()
    ]


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings -> their full names and values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _data(name: str, manifest: Manifest, sheet: Sheet) -> dict[str, Any]:
    """Return the data that the page's script works on."""
    pictures = {key: [held.href, held.width, held.height] for key, held in sheet.pictures.items()}
    # Marks belong to what was built, wherever it lies and whichever questions are shown.
    marks = f"viewgen-marks-{_name_of(manifest)}"
    cards = {"kept": finite(sheet.kept), "rejected": finite(sheet.rejected)}
    return {"name": name, "marks": marks, "pictures": pictures, **cards}


def _name_of(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(asdict(manifest), sort_keys=True).encode()).hexdigest()[:24]
