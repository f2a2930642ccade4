"""Files of parts: equal rows make equal files, and every fault of a file is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest

from viewgen.viewset import parts
from viewgen.viewset.manifest import read_manifest
from viewgen.viewset.parts import file_fault, file_record, size_fault, table_path, write_table
from viewgen.viewset.schema import TABLES


def test_equal_rows_make_equal_files_and_large_images_many_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 10_000)
    schema = {"view_id": pl.String(), "image": TABLES["views"].columns["image"].type}
    data = [bytes([number]) * 1000 for number in range(100)]
    rows = pl.DataFrame([{"view_id": str(n), "image": {"bytes": d, "path": "a"}} for n, d in enumerate(data)], schema)
    records = [write_table(tmp_path / name, rows) for name in ("a", "b")]
    assert records[0] == records[1]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    groups = "SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata(?)"
    assert sorted(duckdb.execute(groups, [str(tmp_path / "a")]).fetchall()) == [(n, 10) for n in range(10)]


def test_a_sound_file_has_no_fault_and_any_other_is_told(own: Path) -> None:
    path, record = table_path(own, "views", 0), read_manifest(own).parts[0].files["views"]
    assert file_record(path) == record
    assert file_fault(path, "views", record) is None
    assert file_fault(path, "views", replace(record, rows=3)) == f"has {record.rows} rows, the manifest says 3"
    assert size_fault(path, replace(record, bytes=7)) == f"has {record.bytes:,} bytes, the manifest says 7"
    assert size_fault(own / "nothing", record) == "missing"
    assert file_fault(path, "questions", record) == "column 'split' is None, expected String"
