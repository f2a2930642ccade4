"""A view set in numbers: they add up, and no image byte is read for them. The queries in the documents run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from viewgen.errors import ShardError
from viewgen.inspect import connect, in_words, summarise
from viewgen.schema import TABLES
from viewgen.shards import ViewSet

QUERIES = Path(__file__).parents[2] / "docs" / "queries.md"


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
    assert summary.rejects == (
        {"split": "test", "stage": "evidence", "reason": "no_region", "num": 2},
        {"split": "train", "stage": "evidence", "reason": "no_region", "num": 3},
    )


def test_views_are_counted_by_role_and_kind_and_the_evidence_by_its_share(built: Path) -> None:
    summary = summarise(ViewSet.open(built))
    assert summary.views[0] == {"role": "positive", "kind": "crop", "num": 5}
    assert [row["kind"] for row in summary.views[1:]] == [
        "masked",
        "off_region",
        "off_region_downsampled",
        "shuffled_patches",
    ]
    assert [row["quantile"] for row in summary.evidence_share] == [0, 0.1, 0.5, 0.9, 1]
    assert {row["share"] for row in summary.evidence_share} == {0.0625}


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
        for query in (f"FROM '{tmp_path}/other.csv'", f"COPY (SELECT 1) TO '{tmp_path}/new.csv'"):
            with pytest.raises(duckdb.PermissionException):
                connection.execute(query)


def test_the_page_says_the_numbers_in_aligned_columns(built: Path) -> None:
    page = in_words(summarise(ViewSet.open(built)))
    assert "5 images, 3 parts, " in page
    assert "10 questions came in = 5 kept + 5 rejected" in page
    lines = ["  split  came_in  kept  rejected", "  test         4     2         2", "  train        6     3         3"]
    assert "\n".join(["split", *lines, ""]) in page


@pytest.mark.parametrize("number", range(3))
def test_every_query_of_the_documents_runs_in_the_folder_of_a_view_set(
    built: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = re.findall(r"```sql\n(.*?)```", QUERIES.read_text(), flags=re.DOTALL)
    assert len(queries) == 3
    monkeypatch.chdir(built)
    rows = duckdb.execute(queries[number]).fetchall()
    assert rows[0] == [
        ("test", "ghost", 0, 2),
        ("evidence", "no_region", 5, "What is on the red ghost?", "no region was found for 'the red ghost'"),
        ("0-sign", "What is on the red sign?", 0.063, "64 x 64", "0.png"),
    ][number]


def test_the_documents_command_shows_the_answer_to_a_query(built: Path) -> None:
    page = QUERIES.read_text()
    commands = re.findall(r'`python -c "(.*?)"`', page)
    assert len(commands) == 1
    query = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)[0]
    shown = subprocess.run(
        [sys.executable, "-c", commands[0]], cwd=built, input=query, capture_output=True, text=True, check=True
    )
    assert "ghost" in shown.stdout
