"""Tell in what two view sets differ: settings, questions, evidence, views, flags and scores. No image byte is read:
views are compared by their hashes.
Leaves out: damage (viewset/verify.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from viewgen.boxes import Box, iou
from viewgen.progress import printable
from viewgen.viewset.manifest import Manifest
from viewgen.viewset.shards import ViewSet

SCORES = (
    "evidence_overlap",
    "sharpness_ratio",
    "hash_distance",
    "detector_score",
    "phrase_similarity",
    "similarity_margin",
)
"""Columns of views that are compared as numbers."""
TOLERANCE = 1e-3
"""Scores that lie nearer are equal: batches of other sizes add in another order (docs/data-format.md)."""
MOST = 20
"""Settings and ids that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between view set A and view set B."""

    settings: Mapping[str, tuple[Any, Any]]
    """Dotted name -> its value in A and in B; None where it is not there."""
    only_a: tuple[str, ...]
    """Questions, kept or rejected, that B has not heard of."""
    only_b: tuple[str, ...]
    lost: Mapping[str, str]
    """Question that A keeps and B rejects -> stage and reason."""
    won: Mapping[str, str]
    """Question that A rejects and B keeps -> stage and reason."""
    reworded: tuple[str, ...]
    """Questions whose text, answer, options or split differ."""
    moved: Mapping[str, float]
    """Question -> IoU of its first evidence boxes, where its evidence differs; 0 where the numbers of boxes differ."""
    views: Mapping[str, tuple[int, int, int, int]]
    """Kind of view -> only in A, only in B, in both with other pixels, in both and equal."""
    flags: Mapping[str, tuple[int, int]]
    """Flag -> views that carry it in A alone, in B alone."""
    scores: Mapping[str, tuple[float, int]]
    """Column -> largest difference, and views that differ by more than TOLERANCE."""

    @property
    def is_empty(self) -> bool:
        """True where the questions, their evidence and their views are the same, whatever the settings say."""
        views = any(counts[:3] != (0, 0, 0) for counts in self.views.values())
        scores = any(num for _, num in self.scores.values())
        questions = (self.only_a, self.only_b, self.lost, self.won, self.reworded, self.moved)
        return not (any(questions) or views or self.flags or scores)


def diff(a: ViewSet, b: ViewSet) -> Difference:
    """Compare two view sets."""
    kept_a, kept_b = _questions(a), _questions(b)
    lost_a, lost_b = _rejects(a), _rejects(b)
    all_a, all_b = {*kept_a, *lost_a}, {*kept_b, *lost_b}
    both = [name for name in kept_a if name in kept_b]
    views_a, views_b = _views(a), _views(b)
    joined = views_a.join(views_b, on=["view_id", "kind"], how="full", suffix="_b", coalesce=True)
    return Difference(
        settings=dict(_settings(a.manifest, b.manifest)),
        only_a=tuple(sorted(all_a - all_b)),
        only_b=tuple(sorted(all_b - all_a)),
        lost={name: lost_b[name] for name in kept_a if name in lost_b},
        won={name: lost_a[name] for name in kept_b if name in lost_a},
        reworded=tuple(name for name in both if kept_a[name][0] != kept_b[name][0]),
        moved={name: _overlap(kept_a[name][1], kept_b[name][1]) for name in both if kept_a[name][1] != kept_b[name][1]},
        views=_by_kind(joined),
        flags=_flags(joined),
        scores=_scores(joined),
    )


def _settings(a: Manifest, b: Manifest) -> Iterator[tuple[str, tuple[Any, Any]]]:
    one, two = _flat(_facts(a)), _flat(_facts(b))
    for name in sorted(one.keys() | two.keys()):
        if one.get(name) != two.get(name):
            yield name, (one.get(name), two.get(name))


def _facts(manifest: Manifest) -> dict[str, Any]:
    named = {"schema_version": manifest.schema_version, "seed": manifest.seed, "models": manifest.models}
    return {**manifest.config, **named, "made_by": manifest.made_by}


def _flat(tables: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tables.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def _questions(views: ViewSet) -> dict[str, tuple[tuple[Any, ...], tuple[Box, ...]]]:
    """Return, by question_id, what it says, and its evidence."""
    wanted = ["question_id", "question", "answer", "split", "kind", "evidence"]
    rows = _read(views, "questions", [*wanted, "options"])
    return {
        row["question_id"]: (
            (row["question"], row["answer"], row["split"], row["kind"], tuple(row["options"] or ())),
            tuple(Box(**box) for box in row["evidence"]),
        )
        for row in rows.iter_rows(named=True)
    }


def _rejects(views: ViewSet) -> dict[str, str]:
    rows = _read(views, "rejects", ["question_id", "stage", "reason"])
    return {name: f"{stage}: {reason}" for name, stage, reason in rows.iter_rows()}


def _views(views: ViewSet) -> pl.DataFrame:
    return _read(views, "views", ["view_id", "kind", "sha256", "width_px", "flags", *SCORES])


def _read(views: ViewSet, table: str, columns: list[str]) -> pl.DataFrame:
    """Read columns of a table, those that a set of an older version lacks as null."""
    parts = []
    for path in views.table_paths(table):
        held = [name for name in columns if name in pl.read_parquet_schema(path)]
        rows = pl.read_parquet(path, columns=held, glob=False)
        parts.append(
            rows.with_columns(pl.lit(None).alias(name) for name in columns if name not in held).select(columns)
        )
    return pl.concat(parts, how="vertical_relaxed")


def _overlap(a: tuple[Box, ...], b: tuple[Box, ...]) -> float:
    return round(iou(a[0], b[0]), 4) if len(a) == len(b) else 0.0


def _by_kind(joined: pl.DataFrame) -> dict[str, tuple[int, int, int, int]]:
    in_a, in_b = pl.col("width_px").is_not_null(), pl.col("width_px_b").is_not_null()
    same = pl.col("sha256").eq_missing(pl.col("sha256_b")) & (pl.col("width_px") == pl.col("width_px_b"))
    counts = joined.group_by("kind").agg(
        (in_a & ~in_b).sum().alias("a"),
        (in_b & ~in_a).sum().alias("b"),
        (in_a & in_b & ~same).sum().alias("other"),
        (in_a & in_b & same).sum().alias("same"),
    )
    return {kind: (a, b, other, same) for kind, a, b, other, same in counts.sort("kind").iter_rows()}


def _flags(joined: pl.DataFrame) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    both = joined.filter(pl.col("width_px").is_not_null() & pl.col("width_px_b").is_not_null())
    for one, two in both.select("flags", "flags_b").iter_rows():
        for flag in {*one} ^ {*two}:
            in_a, in_b = found.get(flag, (0, 0))
            found[flag] = (in_a + (flag in one), in_b + (flag in two))
    return dict(sorted(found.items()))


def _scores(joined: pl.DataFrame) -> dict[str, tuple[float, int]]:
    found = {}
    for name in SCORES:
        one, two = joined[name].cast(pl.Float64), joined[f"{name}_b"].cast(pl.Float64)
        gap = (one - two).abs().drop_nulls()
        largest = float(gap.max() or 0.0)  # type: ignore[arg-type]
        if largest > 0:
            found[name] = (largest, int((gap > TOLERANCE).sum()))
    return found


def as_json(found: Difference) -> dict[str, Any]:
    """Return a difference as JSON holds it."""
    return {
        "settings": {name: list(pair) for name, pair in found.settings.items()},
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "lost": dict(found.lost),
        "won": dict(found.won),
        "reworded": list(found.reworded),
        "moved": dict(found.moved),
        "views": {kind: list(counts) for kind, counts in found.views.items()},
        "flags": {flag: list(counts) for flag, counts in found.flags.items()},
        "scores": {name: list(counts) for name, counts in found.scores.items()},
    }


def in_words(found: Difference) -> str:
    """Return a difference as text: a line per setting, a line per sort of question, a table of views."""
    lines = [f"{name}: {one!r} | {two!r}" for name, (one, two) in [*found.settings.items()][:MOST]]
    lines += [f"... and {len(found.settings) - MOST} settings more"] if len(found.settings) > MOST else []
    for what, names in (
        ("only in A", found.only_a),
        ("only in B", found.only_b),
        ("kept in A, rejected in B", [f"{name} ({why})" for name, why in found.lost.items()]),
        ("rejected in A, kept in B", [f"{name} ({why})" for name, why in found.won.items()]),
        ("worded otherwise", found.reworded),
        ("evidence elsewhere", [f"{name} (IoU {share:g})" for name, share in found.moved.items()]),
    ):
        if names:
            shown = ", ".join(map(printable, names[:3])) + (", ..." if len(names) > 3 else "")
            lines.append(f"questions {what}: {len(names):,}: {shown}")
    for kind, (a, b, other, same) in found.views.items():
        if a or b or other:
            lines.append(f"views {kind}: {a:,} only in A, {b:,} only in B, {other:,} with other pixels, {same:,} equal")
    lines += [f"flag {flag}: {a:,} views in A alone, {b:,} in B alone" for flag, (a, b) in found.flags.items()]
    lines += [
        f"{name}: differs by up to {largest:.3g}, in {num:,} views by more than {TOLERANCE:g}"
        for name, (largest, num) in found.scores.items()
    ]
    return "\n".join([*lines, "questions and views are the same" if found.is_empty else "they differ"])
