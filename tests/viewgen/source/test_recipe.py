"""Recipes: a query over the source's files becomes questions, or one line that says what to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from viewgen.boxes import Box
from viewgen.errors import RecipeError
from viewgen.records import Annotation, Question
from viewgen.source.recipe import SourceConfig, read_questions

ONE = "SELECT 'q' AS question_id, 'a.png' AS image_path, 'What?' AS question"


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[Question, ...]]:
    """ask(query) -> questions of a recipe whose root is data/ beside it."""
    (tmp_path / "data").mkdir()

    def read(query: str) -> tuple[Question, ...]:
        return read_questions(SourceConfig(root="data", query=query), tmp_path / "recipe.toml")

    return read


@pytest.fixture
def refused(ask: Callable[..., object], tmp_path: Path) -> Callable[[str], str]:
    """refused(query) -> the message after the recipe's path."""

    def read(query: str) -> str:
        with pytest.raises(RecipeError) as refusal:
            ask(query)
        start, message = str(refusal.value).split(": ", 1)
        assert start == str(tmp_path / "recipe.toml")
        assert "\n" not in message
        return message

    return read


def test_a_row_with_every_column_becomes_a_question_with_its_boxes(ask: Callable[..., tuple[Question, ...]]) -> None:
    boxes = "[{'phrase': 'the dog', 'x0': 1, 'y0': 2, 'x1': 30, 'y1': 40}] AS boxes"
    (question,) = ask(f"{ONE}, 'red' AS answer, 'colour' AS kind, 'test' AS split, {boxes}")
    assert question == Question(
        question_id="q",
        image_path="a.png",
        text="What?",
        answer="red",
        kind="colour",
        split="test",
        annotations=(Annotation(phrase="the dog", box=Box(1, 2, 30, 40)),),
    )


def test_boxes_carry_the_scores_of_a_source_that_has_some(ask: Callable[..., tuple[Question, ...]]) -> None:
    box = "'phrase': 'the dog', 'x0': 1, 'y0': 2, 'x1': 30, 'y1': 40"
    (question,) = ask(f"{ONE}, [{{{box}, 'score': 0.25}}, {{{box}, 'score': NULL}}] AS boxes")
    assert [annotation.score for annotation in question.annotations] == [0.25, 1.0]
    with pytest.raises(RecipeError, match="boxes of question 'q': score is 2, not from 0 to 1; expected a list"):
        ask(f"{ONE}, [{{{box}, 'score': 2}}] AS boxes")


def test_columns_that_a_source_lacks_have_defaults(ask: Callable[..., tuple[Question, ...]]) -> None:
    assert ask(ONE) == (Question(question_id="q", image_path="a.png", text="What?"),)


def test_numbers_become_text_and_parts_of_pixels_whole_ones(ask: Callable[..., tuple[Question, ...]]) -> None:
    boxes = "[{'phrase': 'dog', 'x0': 1.9, 'y0': 2.0, 'x1': 3.1, 'y1': 4.0}] AS boxes"
    (question,) = ask(f"SELECT 7 AS question_id, 'a' AS image_path, 'b' AS question, 12 AS answer, {boxes}")
    assert (question.question_id, question.answer) == ("7", "12")
    assert question.annotations[0].box == Box(1, 2, 4, 4)


def test_null_boxes_and_answers_mean_that_there_are_none(ask: Callable[..., tuple[Question, ...]]) -> None:
    (question,) = ask(f"{ONE}, NULL AS boxes, NULL AS answer")
    assert (question.answer, question.annotations) == (None, ())


def test_questions_come_in_order_of_image_and_id_whatever_the_query(ask: Callable[..., tuple[Question, ...]]) -> None:
    rows = "(VALUES ('2', 'b'), ('3', 'a'), ('1', 'b'), ('4', 'a')) AS t(question_id, image_path)"
    assert [q.question_id for q in ask(f"SELECT *, 'x' AS question FROM {rows}")] == ["3", "4", "1", "2"]


def test_file_names_are_relative_to_the_root_and_not_to_the_process(
    ask: Callable[..., tuple[Question, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in ((tmp_path, "wrong"), (tmp_path / "data", "right")):
        rows = pl.DataFrame({"question_id": [name], "image_path": ["a.png"], "question": ["What?"]})
        rows.write_parquet(folder / "rows.parquet")
    monkeypatch.chdir(tmp_path)
    assert ask("FROM 'rows.parquet'")[0].question_id == "right"
    assert Path.cwd() == tmp_path


def test_a_query_may_end_in_a_comment_and_a_semicolon(ask: Callable[..., tuple[Question, ...]]) -> None:
    assert len(ask(ONE + "; -- done")) == 1


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe.toml: source.root is '.*/nowhere', and there is no such folder"):
        read_questions(SourceConfig(root="nowhere", query=ONE), tmp_path / "recipe.toml")


def test_a_root_that_can_be_no_path_is_shown(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as refusal:
        read_questions(SourceConfig(root="da\0ta", query=ONE), tmp_path / "recipe.toml")
    said = r"source.root is 'da\x00ta', which is no path ("
    assert str(refusal.value).startswith(f"{tmp_path / 'recipe.toml'}: {said}")


def test_a_query_error_is_told_in_one_line(refused: Callable[[str], str]) -> None:
    assert refused("SELEC 1") == 'source.query failed: Parser Error: syntax error at or near "SELEC".'
    assert refused("FROM 'none.parquet'").startswith("source.query failed: IO Error: No files found that match")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("CREATE TABLE t (x INT)", "CREATE"),
        (f"COPY ({ONE}) TO 'out.parquet'", "COPY"),
        (f"{ONE}; {ONE}", "SELECT, SELECT"),
        ("INSTALL httpfs", "LOAD"),
        ("-- nothing", "nothing"),
    ],
)
def test_anything_but_one_select_is_refused(
    refused: Callable[[str], str], tmp_path: Path, query: str, found: str
) -> None:
    assert refused(query) == f"source.query holds {found}: expected one SELECT. Change it."
    assert list((tmp_path / "data").iterdir()) == []


def test_a_query_cannot_read_outside_of_its_root(refused: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("question_id,image_path,question\n1,a,b\n")
    for name in ("../secret.csv", str(tmp_path / "secret.csv")):
        assert refused(f"FROM '{name}'").startswith(f"source.query may only read below '{tmp_path}/data'")


def test_a_missing_column_is_named_with_those_that_are_there(refused: Callable[[str], str]) -> None:
    message = refused("SELECT 1 AS question_id, 'x' AS question")
    assert message == "source.query gives no column 'image_path', only question_id, question. Add it."


def test_a_misspelt_optional_column_is_not_left_out_in_silence(refused: Callable[[str], str]) -> None:
    assert refused(f"{ONE}, 'a' AS splits") == "source.query gives an unknown column 'splits'. Did you mean 'split'?"
    assert refused(f"{ONE}, 1 AS zzz").startswith("source.query gives an unknown column 'zzz'. Known: question_id,")
    assert "'kind' twice" in refused(f"{ONE}, 'a' AS kind, 'b' AS kind")


@pytest.mark.parametrize("name", ["question_id", "image_path", "question", "kind", "split"])
def test_null_is_refused_where_it_means_nothing(refused: Callable[[str], str], name: str) -> None:
    columns = {"question_id": "i", "image_path": "'a'", "question": "'b'", "kind": "'c'", "split": "'d'"}
    columns[name] = "CASE WHEN i > 0 THEN i END"
    select = ", ".join(f"{value} AS {column}" for column, value in columns.items())
    message = refused(f"SELECT {select} FROM range(3) AS t(i)")
    assert message == f"column '{name}' is NULL in 1 of 3 rows. Leave them out with WHERE, or use coalesce()."


def test_a_question_id_that_stands_twice_is_refused(refused: Callable[[str], str]) -> None:
    message = refused(f"{ONE} UNION ALL {ONE}")
    assert message == "question_id 'q' stands in 2 rows. Give every question its own."


def test_no_rows_are_refused(refused: Callable[[str], str]) -> None:
    assert refused(f"{ONE} LIMIT 0") == "source.query gave no rows. Run it in DuckDB to see why."


@pytest.mark.parametrize(
    "boxes",
    [
        "[{'phrase': 'a', 'x0': 0, 'y0': 0, 'x1': NULL, 'y1': 5}]",
        "[{'phrase': 'a', 'x0': 0, 'y0': 0, 'x1': 'nan'::DOUBLE, 'y1': 5}]",
        "[{'phrase': 'a', 'x': 0, 'y0': 0, 'x1': 2, 'y1': 5}]",
        "[1, 2, 3, 4]",
        "7",
    ],
)
def test_boxes_that_are_no_boxes_are_refused_by_question(refused: Callable[[str], str], boxes: str) -> None:
    message = refused(f"{ONE}, {boxes} AS boxes")
    assert message.startswith("boxes of question 'q': ")
    assert message.endswith("expected a list of {phrase, x0, y0, x1, y1}. Change the query.")
