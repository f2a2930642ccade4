"""Places of byte strings in Parquet files, against what polars and DuckDB read."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from viewgen.viewset.plain import NotPlainError, byte_places
from viewgen.viewset.schema import IMAGE

COLUMN = ("image", "bytes")


def table(num: int, null_every: int = 0) -> pl.DataFrame:
    stream = np.random.default_rng(num)
    images = [
        None
        if null_every and n % null_every == 0
        else {"bytes": stream.bytes(int(stream.integers(0, 3000))), "path": "p"}
        for n in range(num)
    ]
    return pl.DataFrame({"name": [f"n{n}" for n in range(num)], "image": pl.Series(images, dtype=IMAGE)})


def read(path: Path) -> list[bytes | None]:
    data = path.read_bytes()
    return [place and data[place[0] : place[0] + place[1]] for place in byte_places(path, COLUMN)]


@pytest.mark.fault(34)
@pytest.mark.parametrize("null_every", [0, 1, 3, 100])
@pytest.mark.parametrize("options", [{}, {"row_group_size": 7}, {"data_page_size": 5000}, {"row_group_size": 1}])
def test_places_hold_the_bytes_of_their_rows(tmp_path: Path, options: dict[str, Any], null_every: int) -> None:
    rows = table(150, null_every)
    rows.write_parquet(tmp_path / "a", compression="uncompressed", **options)
    assert read(tmp_path / "a") == rows["image"].struct.field("bytes").to_list()


@pytest.mark.fault(34)
def test_what_is_packed_or_broken_has_no_places(tmp_path: Path) -> None:
    rows, path = table(40), tmp_path / "a"
    rows.write_parquet(path, compression="zstd")
    with pytest.raises(NotPlainError, match="compressed"):
        byte_places(path, COLUMN)
    with pytest.raises(NotPlainError):
        byte_places(path, ("image", "nothing"))
    rows.write_parquet(path, compression="uncompressed")
    whole = path.read_bytes()
    for spoilt in (b"", b"PAR1", whole[:-9], whole[:-4] + b"PARX", whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:]):
        path.write_bytes(spoilt)
        with pytest.raises(NotPlainError):
            byte_places(path, COLUMN)
    stream = np.random.default_rng(0)
    for _ in range(200):  # damage anywhere is an error of one kind, or places of other bytes
        flipped = bytearray(whole)
        flipped[int(stream.integers(len(whole)))] ^= 1 << int(stream.integers(8))
        path.write_bytes(flipped)
        try:
            byte_places(path, COLUMN)
        except NotPlainError:
            continue


@pytest.mark.fault(34)
def test_a_file_that_duckdb_wrote_is_read_or_refused(tmp_path: Path) -> None:
    rows = table(60)
    rows.write_parquet(tmp_path / "a")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (FROM read_parquet('{tmp_path / 'a'}')) TO '{tmp_path / 'b'}' (COMPRESSION uncompressed)"
        )
    with contextlib.suppress(NotPlainError):
        assert read(tmp_path / "b") == rows["image"].struct.field("bytes").to_list()
