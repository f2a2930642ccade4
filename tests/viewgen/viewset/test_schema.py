"""The tables explain themselves, and the printed format says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from viewgen.viewset.card import data_format
from viewgen.viewset.schema import TABLES

PRINTED = Path(__file__).parents[3] / "docs" / "data-format.md"


def test_the_printed_format_is_that_of_the_code() -> None:
    message = "run: viewgen schema > docs/data-format.md"
    assert PRINTED.read_text(encoding="utf-8") == data_format(), message


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_has_a_sentence_and_the_key_is_one_of_them(name: str) -> None:
    table = TABLES[name]
    assert table.key == next(iter(table.columns))
    for column in table.columns.values():
        assert column.meaning[0].isupper() or column.meaning.startswith(("train", "question_id", "positive"))
        assert column.meaning.endswith(".")


def test_lengths_and_shares_name_their_unit() -> None:
    for table in TABLES.values():
        for name, column in table.columns.items():
            assert (column.unit == "px") == (name.endswith("_px") or name in {"box", "evidence"})
            assert not name.endswith(("_share", "_overlap")) or column.unit == "0..1"


def test_the_format_spells_types_as_a_reader_of_parquet_knows_them() -> None:
    page = data_format()
    assert "| `image` | {bytes: binary, path: string} |" in page
    assert "| `evidence` | list of {x0: int32, y0: int32, x1: int32, y1: int32} | px |" in page
    assert "| `answer` | string, may be null |" in page
    assert "| `seed` | uint64 |" in page
