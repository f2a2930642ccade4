"""Files of a query: every value arrives as the file says, at any row, in CSV, JSON and Parquet."""

from __future__ import annotations

import datetime
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from viewgen.boxes import Box
from viewgen.errors import RecipeError
from viewgen.records import Question
from viewgen.source.recipe import SourceConfig, read_questions

pytestmark = pytest.mark.fault(2)

LATE = 21_000
"""More rows than DuckDB looks at (20,480) before it decides on the types."""
WORDS = [
    "yes",
    "no",
    "10:30",
    "3.50",
    "03/04/2021",
    "2021-04-03",
    "007",
    "1e3",
    "NaN",
    " x ",
    '"quoted"',
    "#5",
    "-0",
    "+7",
]
BOX = {"phrase": "dog", "x0": 1, "y0": 2.5, "x1": 30, "y1": 40}


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str], tuple[Question, ...]]:
    """ask(query) -> questions; the files of the query stand in the same folder as the recipe."""
    return lambda query: read_questions(SourceConfig(root=".", query=query), tmp_path / "recipe.toml")


def refusal(ask: Callable[[str], object], query: str) -> str:
    with pytest.raises(RecipeError) as refused:
        ask(query)
    message = str(refused.value).split("recipe.toml: ", 1)[1]
    assert "\n" not in message
    return message


def write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    quoted = [
        ['"' + value.replace('"', '""') + '"' if set(value) & set(',"\n') else value for value in row] for row in rows
    ]
    path.write_text("\n".join(",".join(row) for row in [names, *quoted]) + "\n", encoding="utf-8")


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_json(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def as_strings(word: str, row: int) -> dict[str, str]:
    return {"question_id": f"{word}/{row}", "image_path": word, "question": word, "answer": word, "kind": word}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "jsonl", "json", "parquet"])
def test_a_column_of_words_that_look_like_something_else_stays_as_it_is(
    kind: str, word: str, tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    rows = [as_strings(word, row) for row in range(3)]
    path = tmp_path / f"q.{kind}"
    if kind.startswith(("csv", "tsv")):
        write_csv(tmp_path / "q.csv", list(rows[0]), [list(row.values()) for row in rows])
        text = (tmp_path / "q.csv").read_text()
        path.write_bytes(gzip.compress(text.encode()) if kind == "csv.gz" else text.replace(",", "\t").encode())
        (tmp_path / "q.csv").write_text(text)
    elif kind == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        (write_json if kind == "json" else write_jsonl)(path, rows)
    read = ask(f"FROM 'q.{kind}'")
    assert [(q.question_id, q.image_path, q.text, q.answer, q.kind) for q in read] == [
        tuple(row.values()) for row in rows
    ]


def late_rows(last: dict[str, Any], **always: Any) -> list[dict[str, Any]]:
    """Return LATE plain rows and then one that says what none before said."""
    plain = [{"question_id": row, "image_path": "a", "question": "b", "answer": row, **always} for row in range(LATE)]
    return [*plain, {"question_id": "late", "image_path": "a", "question": "b", **last}]


@pytest.mark.parametrize("write", [write_json, write_jsonl])
def test_json_after_the_first_20480_rows_is_neither_lost_nor_rounded(
    write: Callable[[Path, Sequence[dict[str, Any]]], None], tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    rows = late_rows({"answer": 2.75, "kind": "10:30", "boxes": [BOX]}, boxes=None)
    write(tmp_path / "q.json", [{**row, "question_id": str(row["question_id"])} for row in rows])
    query = "SELECT question_id, image_path, question, printf('%g', answer) AS answer, kind, boxes FROM 'q.json'"
    by_id = {
        question.question_id: question for question in ask(query.replace(" kind,", " coalesce(kind, '') AS kind,"))
    }
    assert len(by_id) == LATE + 1
    assert (by_id["late"].answer, by_id["late"].kind, by_id["7"].answer) == ("2.75", "10:30", "7")
    assert [a.box for a in by_id["late"].annotations] == [Box(1, 2, 30, 40)]
    said = refusal(ask, "SELECT question_id, image_path, question, answer FROM 'q.json'")
    assert said.startswith("column 'answer' is DOUBLE, which has no text of its own. Write printf('%g', answer)")


def test_json_of_numbers_and_late_words_keeps_both(tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]) -> None:
    write_jsonl(tmp_path / "q.jsonl", late_rows({"answer": 'say "no"'}))
    by_id = {question.question_id: question.answer for question in ask("FROM 'q.jsonl'")}
    assert (by_id["20999"], by_id["late"]) == ("20999", 'say "no"')


@pytest.mark.parametrize("last", ["2.75", "yes", "007", 'say ""x"", or\nnot', ""])
def test_csv_after_the_first_20480_rows_is_as_it_stands(
    last: str, tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    rows = [[str(row), "a", "b", str(row)] for row in range(LATE)]
    write_csv(
        tmp_path / "q.csv", ["question_id", "image_path", "question", "answer"], [*rows, ["late", "a", "b", last]]
    )
    by_id = {question.question_id: question.answer for question in ask("FROM 'q.csv'")}
    assert len(by_id) == LATE + 1
    assert (by_id["20999"], by_id["late"]) == ("20999", last or None)


def test_parquet_after_the_first_20480_rows_keeps_its_boxes(
    tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    rows = [
        {**row, "question_id": str(row["question_id"])} for row in late_rows({"answer": 5, "boxes": [BOX]}, boxes=None)
    ]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_path / "q.parquet", row_group_size=5_000)
    by_id = {question.question_id: question for question in ask("FROM 'q.parquet'")}
    assert [a.box for a in by_id["late"].annotations] == [Box(1, 2, 30, 40)]
    assert by_id["late"].answer == "5"


def test_json_values_of_many_kinds_in_one_column_are_their_text(
    tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    answers = ["007", 7, True, 2.5, 'a "b"', None, 12345678901234567890]
    write_jsonl(tmp_path / "q.jsonl", [{"i": row, "a": answer} for row, answer in enumerate(answers)])
    read = ask("SELECT i AS question_id, 'x' AS image_path, 'y' AS question, a AS answer FROM 'q.jsonl'")
    assert [q.answer for q in read] == ["007", "7", "true", "2.5", 'a "b"', None, "12345678901234567890"]


def test_text_inside_of_lists_and_structs_is_no_date_either(
    tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    row = {"s": {"at": "2021-04-03", "ok": True}, "l": ["10:30", "11:00"], "u": "123E4567-E89B-12D3-A456-426614174000"}
    write_jsonl(tmp_path / "q.jsonl", [row])
    (question,) = ask(
        "SELECT u AS question_id, s.at AS image_path, l[1] AS question, s.ok AS answer, l AS options FROM 'q.jsonl'"
    )
    assert (question.question_id, question.image_path, question.text) == (row["u"], "2021-04-03", "10:30")
    assert (question.answer, question.options) == ("true", ("10:30", "11:00"))


def test_whole_numbers_of_a_csv_file_can_be_counted_with(
    tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    write_csv(tmp_path / "q.csv", ["id", "x", "w"], [["1", "5", "100"], ["2", "50", "9"], ["3", "7", "1000"]])
    boxes = "[{phrase: 'a', x0: x, y0: 0, x1: x + w, y1: 9}] AS boxes"
    read = ask(
        f"SELECT id AS question_id, id || '.png' AS image_path, 'q' AS question, {boxes} FROM 'q.csv' WHERE w > x"
    )
    assert [(q.image_path, q.annotations[0].box.x1) for q in read] == [("1.png", 105), ("3.png", 1007)]


@pytest.mark.parametrize(
    "part",
    [
        "WHERE x1 > x0",
        "WHERE x0 BETWEEN x1 AND x1",
        "WHERE least(x0, x1) = x0",
        "WHERE x0 = 3",
        "ORDER BY x0 LIMIT 1",
        "QUALIFY row_number() OVER (ORDER BY x0) = 1",
        "WHERE x0 IN (3, 4)",
    ],
)
def test_numbers_that_stay_text_are_never_compared_as_text(
    part: str, tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    write_csv(tmp_path / "q.csv", ["id", "x0", "x1"], [["1", "9.50", "10.25"], ["2", "3.50", "4"]])
    select = "SELECT id AS question_id, 'a' AS image_path, 'q' AS question FROM 'q.csv'"
    said = refusal(ask, f"{select} {part}")
    assert said.startswith("source.query compares text: column 'x0' stays text, for '9.50' is") or "'x1'" in said
    assert "CAST(x" in said


def test_numbers_that_stay_text_compare_as_the_query_casts_them(
    tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    write_csv(tmp_path / "q.csv", ["id", "x0", "x1"], [["1", "9.50", "10.25"], ["2", "3.50", "2"]])
    select = "SELECT id AS question_id, 'a' AS image_path, x0 AS question FROM 'q.csv'"
    assert [q.text for q in ask(f"{select} WHERE CAST(x1 AS DOUBLE) > CAST(x0 AS DOUBLE)")] == ["9.50"]
    assert [q.text for q in ask(f"{select} WHERE x0 = '3.50'")] == ["3.50"]
    assert [q.text for q in ask(f"{select} ORDER BY x0::DOUBLE LIMIT 1")] == ["3.50"]


def test_arithmetic_on_text_is_refused_with_the_cast(tmp_path: Path, ask: Callable[[str], object]) -> None:
    write_csv(tmp_path / "q.csv", ["x", "w"], [["9.50", "1"]])
    said = refusal(ask, "SELECT x + w AS question_id, 'a' AS image_path, 'q' AS question FROM 'q.csv'")
    assert said.startswith(
        "source.query failed: Binder Error: No function matches the given name and argument types '+(V"
    )
    assert said.endswith("unless all its values are plain whole numbers: write CAST(NAME AS DOUBLE).")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([True], "column 'answer' is BOOLEAN, which has no text of its own. Write CASE WHEN answer THEN 'yes'"),
        ([3.5], "column 'answer' is DOUBLE, which has no text of its own. Write printf('%g', answer), or CAST(answer"),
        ([datetime.date(2021, 4, 3)], "column 'answer' is DATE, which has no text of its own. Write strftime(answer,"),
        (
            [["a", "b"]],
            "column 'answer' is VARCHAR[], which has no text of its own. Choose one, as answer[1], or array_",
        ),
        (
            [{"en": "a"}],
            "column 'answer' is STRUCT(en VARCHAR), which has no text of its own. Choose one of its values, as",
        ),
        ([b"abc"], "column 'answer' is BLOB, which has no text of its own. Write decode(answer), in the query."),
    ],
)
def test_columns_of_parquet_without_a_text_of_their_own_are_refused(
    values: list[Any], said: str, tmp_path: Path, ask: Callable[[str], object]
) -> None:
    pl.DataFrame({"question_id": ["1"], "image_path": ["a"], "question": ["b"], "answer": values}).write_parquet(
        tmp_path / "q.parquet"
    )
    assert refusal(ask, "FROM 'q.parquet'").startswith(said)


def test_a_json_list_in_a_column_of_text_is_refused_not_printed(tmp_path: Path, ask: Callable[[str], object]) -> None:
    rows = [{"question_id": "1", "image_path": "a", "question": "b", "answer": answer} for answer in ("x", ["y", "z"])]
    write_jsonl(tmp_path / "q.jsonl", rows)
    assert refusal(ask, "FROM 'q.jsonl'").startswith(
        'column \'answer\' is a list or an object in some rows, as ["y","z"]'
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_of_one_pattern_that_differ_are_refused(kind: str, tmp_path: Path, ask: Callable[[str], object]) -> None:
    first = {"question_id": [1], "image_path": ["a"], "question": ["b"]}
    more = {"answer": [2.75]} if kind == "csv" else {"question_id": [2.75]}
    for name, columns in (("q1", first), ("q2", {**first, **more})):
        table = pl.DataFrame(columns)
        table.write_csv(tmp_path / f"{name}.csv") if kind == "csv" else table.write_parquet(
            tmp_path / f"{name}.parquet"
        )
    column = "answer" if kind == "csv" else "question_id"
    said = refusal(ask, f"FROM 'q*.{kind}'")
    assert said == (
        f"source.query: the files of 'q*.{kind}' differ in column '{column}'. "
        f"Add union_by_name = true to its {kind} reader, or name others."
    )


def test_what_the_query_says_about_types_stays(tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]) -> None:
    write_csv(tmp_path / "q.csv", ["id", "x"], [["007", "9.50"]])
    select = "SELECT id AS question_id, 'a' AS image_path, printf('%.3f', x) AS question"
    (question,) = ask(f"{select} FROM read_csv('q.csv', types = {{'x': 'DOUBLE'}})")
    assert (question.question_id, question.text) == ("007", "9.500")
    (question,) = ask(f"{select} FROM read_csv('q.csv', columns = {{'id': 'BIGINT', 'x': 'DOUBLE'}}) ")
    assert question.question_id == "7"


def test_names_aliases_and_joins_work_as_in_duckdb(tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]) -> None:
    write_csv(tmp_path / "q.v1.csv", ["id", "text"], [["007", "a"], ["008", "b"]])
    write_csv(tmp_path / "q.csv", ["id"], [["007"]])
    write_jsonl(tmp_path / "a.jsonl", [{"id": "007", "answer": "10:30"}])
    (question,) = ask(
        "WITH joined AS (SELECT q.id, q.text, read_json.answer, p.filename AS f FROM 'q.v1.csv' "
        "JOIN (SELECT *, filename FROM q.csv) AS p USING (id) JOIN read_json('a.jsonl') USING (id)) "
        "SELECT id AS question_id, f AS image_path, text AS question, answer FROM joined"
    )
    assert (question.question_id, question.image_path, question.answer) == ("007", "q.csv", "10:30")


@pytest.mark.fault(28)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_a_byte_order_mark_is_no_part_of_the_first_value(
    kind: str, tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    rows = [{"question_id": "007", "image_path": "a", "question": "b"}]
    path = tmp_path / f"q.{kind}"
    if kind == "csv":
        write_csv(path, list(rows[0]), [list(rows[0].values())])
    else:
        (write_json if kind == "json" else write_jsonl)(path, rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert ask(f"FROM 'q.{kind}'") == (Question(question_id="007", image_path="a", text="b"),)


@pytest.mark.fault(18)
@pytest.mark.parametrize("name", ["data/q.parquet", "data/*.parquet"])
def test_files_of_the_hub_s_cache_are_read_through_their_links(
    name: str, tmp_path: Path, ask: Callable[[str], tuple[Question, ...]]
) -> None:
    blob = tmp_path / "models" / "blobs" / "5ac1"
    folder = tmp_path / "models" / "snapshots" / "main" / "data"
    blob.parent.mkdir(parents=True)
    folder.mkdir(parents=True)
    pl.DataFrame({"question_id": ["1"], "image_path": ["a"], "question": ["b"]}).write_parquet(blob)
    (folder / "q.parquet").symlink_to("../../../blobs/5ac1")
    recipe = tmp_path / "recipe.toml"
    source = SourceConfig(root="models/snapshots/main", query=f"FROM '{name}'")
    assert [question.question_id for question in read_questions(source, recipe)] == ["1"]
    (tmp_path / "secret.csv").write_text("question_id,image_path,question\n1,a,b\n")
    for outside in (str(blob.parent / "*"), "../../../secret.csv", str(tmp_path / "secret.csv")):
        other = SourceConfig(root="models/snapshots/main", query=f"SELECT * FROM read_csv('{outside}'), '{name}'")
        with pytest.raises(RecipeError, match="may only read below"):
            read_questions(other, recipe)
