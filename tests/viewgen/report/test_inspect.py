"""A view set in numbers: they add up, and no image byte is read for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import duckdb
import polars as pl
import pytest

from viewgen.cli import run
from viewgen.errors import ShardError
from viewgen.report.inspect import QUANTILES, in_words, measures_in_words, summarise
from viewgen.viewset.database import connect
from viewgen.viewset.schema import TABLES
from viewgen.viewset.shards import ViewSet


def blank(path: Path, *, images: bool) -> None:
    """Overwrite the image bytes of a Parquet file, or everything but them and the footer."""
    query = (
        "SELECT path_in_schema, coalesce(dictionary_page_offset, data_page_offset), total_compressed_size "
        "FROM parquet_metadata(?)"
    )
    data = bytearray(path.read_bytes())
    for column, start, size in duckdb.execute(query, [str(path)]).fetchall():
        if (column == "image, bytes") == images:
            data[start : start + size] = b"\xff" * size
    path.write_bytes(data)


def test_what_came_in_is_what_was_kept_and_rejected_in_all_and_in_each_split(built: Path) -> None:
    summary = summarise(ViewSet.open(built))
    assert (summary.came_in, summary.kept, summary.rejected, summary.images) == (10, 5, 5, 5)
    assert summary.splits == (
        {"split": "test", "came_in": 4, "kept": 2, "rejected": 2},
        {"split": "train", "came_in": 6, "kept": 3, "rejected": 3},
    )
    assert summary.reasons == ({"stage": "evidence", "reason": "no_region", "num": 5},)
    assert summary.rejects == (
        {"split": "test", "stage": "evidence", "reason": "no_region", "num": 2},
        {"split": "train", "stage": "evidence", "reason": "no_region", "num": 3},
    )


def test_views_are_counted_by_role_and_kind_and_by_how_they_were_made(built: Path) -> None:
    summary = summarise(ViewSet.open(built))
    assert summary.views[0] == {"role": "positive", "kind": "crop", "made_as": "crop", "num": 5}
    assert [row["kind"] for row in summary.views[1:]] == [
        "masked",
        "off_region",
        "off_region_downsampled",
        "shuffled_patches",
    ]
    assert summary.fallbacks == summary.missing_views == ()


def change(view_set: Path, table: str, lacking: Sequence[str] = (), **columns: pl.Expr) -> None:
    """Columns of every part of a table, and what the manifest says of its files' size."""
    manifest = json.loads((view_set / "manifest.json").read_text())
    for part, path in zip(manifest["parts"], ViewSet.open(view_set).table_paths(table), strict=True):
        rows = pl.read_parquet(path).with_columns(**columns).cast(pl.Schema(TABLES[table].polars))
        rows.drop(lacking).write_parquet(path)
        part["files"][table]["bytes"] = path.stat().st_size
    (view_set / "manifest.json").write_text(json.dumps(manifest))


def test_fallbacks_missing_views_and_flags_are_counted(own: Path) -> None:
    is_masked = pl.col("kind") == "masked"
    flags = pl.when(is_masked).then(pl.lit(["leaks_evidence"])).otherwise(pl.lit([], dtype=pl.List(pl.String)))
    fallback = pl.when(is_masked).then(pl.format("no_instance: no other {} can be shown", "view_id"))
    made_as = pl.when(is_masked).then(pl.lit("blank")).otherwise(pl.col("made_as"))
    change(own, "views", flags=flags, fallback=fallback, made_as=made_as)
    missing = pl.struct(kind=pl.lit("same_class"), reason=pl.lit("no_instance"), message=pl.lit("one sign"))
    change(own, "questions", missing_views=pl.concat_list(missing))
    summary = summarise(ViewSet.open(own))
    assert summary.fallbacks == ({"kind": "masked", "made_as": "blank", "reason": "no_instance", "num": 5},)
    assert summary.missing_views == ({"kind": "same_class", "reason": "no_instance", "num": 5},)
    assert summary.flags == ({"flag": "leaks_evidence", "role": "negative", "kind": "masked", "num": 5},)
    assert {"role": "negative", "kind": "masked", "made_as": "blank", "num": 5} in summary.views
    lines = ["flags of the audit", "  flag            role      kind    num", "  leaks_evidence  negative  masked    5"]
    assert "\n".join(lines) in in_words(summary)


def test_measures_are_told_by_quantiles_and_those_that_nothing_has_are_left_out(own: Path) -> None:
    before = summarise(ViewSet.open(own)).measures
    share = {"num": 5, **dict.fromkeys(QUANTILES, 0.0625)}
    assert before["evidence_share"] == (share,)
    assert before["region_score"] == ({"source": "annotated", "num": 5, **dict.fromkeys(QUANTILES, 1.0)},)
    assert before["detector_score"] == before["similarity_margin"] == ()
    number = pl.col("question_id").str.head(1).cast(pl.Float64)
    change(own, "views", similarity_margin=pl.when(pl.col("kind") == "masked").then(number))
    (margin,) = summarise(ViewSet.open(own)).measures["similarity_margin"]
    expected = dict(zip(QUANTILES, (0, 0, 2, 4, 4), strict=True))
    assert margin == {"role": "negative", "kind": "masked", "num": 5, **expected}
    page = measures_in_words(summarise(ViewSet.open(own)))
    assert "similarity_margin: similarity of the positive less that of the view (nats)" in page
    assert "detector_score" not in page


def test_a_view_set_without_a_column_that_may_be_null_is_counted_as_if_it_were_null(own: Path) -> None:
    change(own, "views", lacking=("fallback", "detector_score", "box"))
    change(own, "questions", lacking=("answer",))
    assert summarise(ViewSet.open(own)).fallbacks == ()
    with connect(ViewSet.open(own)) as connection:
        counts = connection.execute("SELECT count(*), count(box.x0), count(detector_score) FROM views").fetchone()
        assert counts == (25, 0, 0)
        assert connection.execute("SELECT count(answer) FROM questions").fetchone() == (0,)


def test_no_image_byte_is_read(own: Path) -> None:
    before = summarise(ViewSet.open(own))
    for table in ("images", "views"):
        for path in ViewSet.open(own).table_paths(table):
            blank(path, images=True)
    assert summarise(ViewSet.open(own)) == before


def test_a_broken_column_is_one_line_and_no_traceback(own: Path) -> None:
    for path in ViewSet.open(own).table_paths("questions"):
        blank(path, images=False)
    with pytest.raises(ShardError, match=r"own: cannot be counted \(.*\)\. Rebuild it with --force\.") as error:
        summarise(ViewSet.open(own))
    assert "\n" not in str(error.value)


def test_the_connection_has_every_table_and_can_neither_write_nor_look_elsewhere(built: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a\n1\n")
    with connect(ViewSet.open(built)) as connection:
        for table in TABLES:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() is not None
        elsewhere = f"FROM '{tmp_path}/other.csv'", f"COPY (SELECT 1) TO '{tmp_path}/new.csv'"
        for query in (*elsewhere, f"FROM glob('{built}/*')"):
            with pytest.raises(duckdb.PermissionException):
                connection.execute(query)


def test_the_page_says_the_numbers_in_aligned_columns(built: Path) -> None:
    page = in_words(summarise(ViewSet.open(built)))
    assert "5 images, 3 parts, " in page
    assert "10 questions came in = 5 kept + 5 rejected" in page
    lines = ["  split  came_in  kept  rejected", "  test         4     2         2", "  train        6     3         3"]
    assert "\n".join(["split", *lines, ""]) in page


def test_the_command_prints_both_pages_or_json(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summarise(ViewSet.open(built))
    assert run(["inspect", str(built)]) == 0
    assert capsys.readouterr().out == f"{in_words(summary)}\n\n{measures_in_words(summary)}\n"
    assert run(["inspect", str(built), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(asdict(summary)))
