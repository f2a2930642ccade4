"""Columns are told by their names and types, and questions cleaned of what is no part of them."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from viewgen.source.columns import (
    as_text,
    cleaned,
    lettered,
    literal,
    named,
    phrases_and_boxes,
    question_field,
    quoted,
    reader_of,
    split_field,
)
from viewgen.source.values import SourceFaultError


def columns_of(select: str) -> dict[str, Any]:
    with duckdb.connect() as connection:
        return {name: kind for name, kind, *_ in connection.execute(select).description}


def value(sql: str, table: str = "") -> Any:
    with duckdb.connect() as connection:
        row = connection.execute(f"SELECT {sql} {table}").fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("files", "reader"),
    [("a.csv", "csv"), ("a.TSV", "csv"), ("data/*.parquet", "parquet"), ("a.jsonl.gz", "json"), ("x/a.json", "json")],
)
def test_files_are_read_by_their_ends(files: str, reader: str) -> None:
    assert reader_of(files) == reader


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(SourceFaultError, match=r"source\.files is 'a\.xlsx': expected \.csv"):
        reader_of("a.xlsx")


def test_names_are_told_in_any_case_and_the_first_of_several_counts() -> None:
    columns = columns_of('SELECT 1 AS "Multi-Choice Options", 2 AS ID, 3 AS question_id')
    assert named(columns, ("multi_choice_options",)) == "Multi-Choice Options"
    assert named(columns, ("question_id", "id")) == "question_id"
    assert named(columns, ("id", "question_id")) == "ID"
    assert named(columns, ("answer",)) == ""


def test_letters_count_from_a_on_without_a_gap() -> None:
    assert lettered(columns_of("SELECT 1 AS A, 2 AS B, 3 AS D")) == ("A", "B")
    assert lettered(columns_of("SELECT 1 AS A, 2 AS C")) == ()


def test_whoever_answers_sees_the_choices_that_are_there() -> None:
    table = "FROM (SELECT 'Which?' AS q, 'red' AS A, '' AS B, NULL AS C, 'blue' AS D)"
    assert value(question_field("q", ("A", "B", "C", "D")).sql, table) == "Which?\nA. red\nB. blue"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<image>\nWhat is it?", "What is it?"),
        ("What is <image> it? <crop>", "What is  it?".replace("  ", " ")),
        ("What is the <b>cup</b>?\n", "What is the <b>cup</b>?"),
        (
            "<image>\nIs it red? Please provide the bounding box coordinate of the region that can help you answer the "
            "question better.",
            "Is it red?",
        ),
    ],
)
def test_markers_and_requests_for_a_box_are_no_part_of_a_question(before: str, after: str) -> None:
    assert value(cleaned(literal(before))) == after


def test_the_split_is_a_column_or_the_name_of_a_file() -> None:
    columns = columns_of("SELECT 'test' AS split")
    (field,) = split_field("split", columns)
    assert field.sql == '"split"'
    (field,) = split_field("", columns, "train")
    for name, expected in (
        ("data/test-00000-of-00001.parquet", "test"),
        ("VAL.parquet".lower(), "val"),
        ("data/contest.parquet", "train"),
        ("data/constraints-train.parquet", "train"),
        ("validation/x.parquet", "validation"),
    ):
        assert value(field.sql, f"FROM (SELECT '{name}' AS filename)") == expected
    assert split_field("", columns) == []


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ("[1, 2, 3, 4]", [("evidence", [1, 2, 3, 4])]),
        ("[[1, 2, 3, 4], [5, 6, 7, 8]]", [("cup", [1, 2, 3, 4]), ("evidence", [5, 6, 7, 8])]),
        ("[{phrase: 'dog', box: [1, 2, 3, 4]}]", [("dog", [1, 2, 3, 4])]),
        ("[1.5]", None),
    ],
)
def test_boxes_get_the_phrases_that_the_source_gives(boxes: str, expected: Any) -> None:
    select = f"SELECT {boxes} AS bbox, ['cup'] AS target_object"
    names = {"boxes": "bbox", "phrases": "target_object"}
    fields = {field.name: field.sql for field in phrases_and_boxes(names, columns_of(select))}
    found = value(fields["boxes"], f"FROM ({select})")
    assert (found and [(box["phrase"], box["box"]) for box in found]) == expected
    assert value(fields["phrases"], f"FROM ({select})") == ["cup"]


def test_values_without_a_text_of_their_own_are_cast() -> None:
    columns = columns_of('SELECT true AS a, 1.5::DOUBLE AS b, \'x\' AS "c ""d"')
    assert [as_text(name, columns) for name in columns] == ['CAST("a" AS VARCHAR)', 'CAST("b" AS VARCHAR)', '"c ""d"']
    assert quoted('c "d') == '"c ""d"'
