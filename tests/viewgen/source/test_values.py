"""Values become text, lists of text and boxes without a change, or their column is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from viewgen.errors import RecipeError
from viewgen.records import Question, SourceBox
from viewgen.source.recipe import SourceConfig, read_questions
from viewgen.source.values import BoxFaultError, read_boxes

ONE = "SELECT 'q' AS question_id, 'a.png' AS image_path, 'What?' AS question"


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str], Question]:
    """ask(query) -> the one question of a query."""

    def read(query: str) -> Question:
        (question,) = read_questions(SourceConfig(root=".", query=query), tmp_path / "r.toml")
        return question

    return read


def refusal(ask: Callable[[str], object], query: str) -> str:
    with pytest.raises(RecipeError) as refused:
        ask(query)
    message = str(refused.value).split("r.toml: ", 1)[1]
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("'007'", "007"),
        ("7", "7"),
        ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
        ("3.50", "3.50"),
        ("0.00000000", "0.00000000"),
        ("'\"a\"'::JSON", "a"),
        ("'3.50'::JSON", "3.50"),
        ("'true'::JSON", "true"),
        ("'null'::JSON", None),
        ("NULL", None),
        ("'123e4567-e89b-12d3-a456-426614174000'::UUID", "123e4567-e89b-12d3-a456-426614174000"),
        ("'a'::ENUM ('a', 'b')", "a"),
        ("' '", " "),
    ],
)
def test_a_value_with_one_text_is_that_text(value: str, text: str | None, ask: Callable[[str], Question]) -> None:
    assert ask(f"{ONE}, {value} AS answer").answer == text


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    "value", ["TIME '10:30'", "now()", "INTERVAL 1 DAY", "1::FLOAT", "MAP {'a': 1}", "'[1]'::JSON"]
)
def test_a_value_without_a_text_of_its_own_is_refused(value: str, ask: Callable[[str], Question]) -> None:
    assert refusal(ask, f"{ONE}, {value} AS answer").startswith("column 'answer' is ")


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("['red', 'blue']", ("red", "blue")),
        ("['007', '3.50']", ("007", "3.50")),
        ("[1, 2]", ("1", "2")),
        ("['red', NULL, NULL]", ("red",)),
        ("""'["red", "10:30", 2.50]'""", ("red", "10:30", "2.5")),
        ("""'["a"]'::JSON""", ("a",)),
        ("NULL", ()),
        ("[]", ()),
        ("''", ()),
    ],
)
def test_lists_of_text_come_as_lists_or_as_json(
    value: str, items: tuple[str, ...], ask: Callable[[str], Question]
) -> None:
    question = ask(f"{ONE}, {value} AS options, {value} AS phrases")
    assert question.options == items
    assert question.phrases == (items or None)


@pytest.mark.fault(17)
def test_phrases_that_the_question_lacks_and_the_name_of_the_data_set_are_taken(ask: Callable[[str], Question]) -> None:
    question = ask(f"{ONE}, ['un chien', 'the sky'] AS phrases, 'textvqa' AS source")
    assert (question.phrases, question.source) == (("un chien", "the sky"), "textvqa")
    assert ask(f"{ONE}, NULL AS source").source == ""


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("7", "column 'options' is INTEGER: expected a list of text. Write [A, B, C]."),
        ("'red, blue'", "column 'options' is 'red, blue': expected a list of text. Write [A, B, C]."),
        ("['a', NULL, 'b']", "column 'options' holds NULL inside a list. Leave it out with list_filter()."),
        ("[true]", "column 'options[1]' is BOOLEAN, which has no text of its own."),
        ("[['a']]", "column 'options[1]' is VARCHAR[], which has no text of its own."),
    ],
)
def test_what_is_no_list_of_text_is_refused(value: str, said: str, ask: Callable[[str], Question]) -> None:
    assert refusal(ask, f"{ONE}, {value} AS options").startswith(said)


@pytest.mark.fault(19)
def test_a_struct_that_is_no_picture_is_refused_with_the_value_to_choose(ask: Callable[[str], Question]) -> None:
    select = "SELECT 'q' AS question_id, 'What?' AS question, "
    said = refusal(ask, f"{select} {{'width': 7, 'path': 'a.png'}} AS image_path")
    assert said.endswith("Choose one of its values, as image_path.path, in the query.")
    assert refusal(ask, f"{select} [{{'path': 'a.png', 'url': 'b'}}] AS image").startswith("column 'image' is STRUCT")
    assert refusal(ask, f"{select} true AS image").startswith("column 'image' is BOOLEAN, which has no text")
    said = refusal(ask, f"{select} ['a.png', 'b.png'] AS image")
    assert said == (
        "column 'image' holds 2 pictures in a row: a question is about one. Choose one, as image[1], in the query."
    )


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    "boxes",
    [
        [{"phrase": "a", "x": 1, "y": 2, "w": 3, "h": 4}],
        [{"phrase": "a", "box": [1, 2, 3, 4]}],
        '[{"phrase": "a", "box": ["1", "2.0", 3, 4]}]',
    ],
)
def test_boxes_have_the_names_of_their_format_or_a_list_of_four(boxes: object) -> None:
    assert read_boxes(boxes, "xywh", "pixels") == (
        SourceBox(phrase="a", corners=(1.0, 2.0, 4.0, 6.0), units="pixels", score=1.0),
    )


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([{"phrase": "a", "x": 1, "y": 2, "w": 3, "h": 4}], 'a box has no x0; set source.box_format = "xywh"'),
        ([{"phrase": "a", "cx": 1, "cy": 2, "w": 3, "h": 4}], 'a box has no x0; set source.box_format = "cxcywh"'),
        ([{"phrase": "a", "box": [1, 2, 3]}], r"box is \[1, 2, 3\], no list of four numbers"),
        ([{"phrase": "a", "box": [1, 2, "1_0", 4]}], "'1_0' is no number"),
        ([{"phrase": "a", "box": [1, 2, True, 4]}], "True is no number"),
        ([{"phrase": "a", "box": [1, 2, float("inf"), 4]}], "inf is no number"),
        ([{"box": [1, 2, 3, 4]}], "a box has no phrase"),
        ([{"phrase": 7, "box": [1, 2, 3, 4]}], "phrase is 7, no text"),
        ("[1, 2", "no JSON"),
    ],
)
def test_what_is_no_box_is_refused(boxes: object, said: str) -> None:
    with pytest.raises(BoxFaultError, match=said):
        read_boxes(boxes, "xyxy", "unstated")


@pytest.mark.fault(2)
def test_every_type_of_duckdb_is_either_text_or_refused(ask: Callable[[str], Question]) -> None:
    """A type that a later DuckDB adds is refused until it is known."""
    with duckdb.connect() as connection:
        names = {row[0] for row in connection.execute("SELECT DISTINCT logical_type FROM duckdb_types()").fetchall()}
    whole = {name for name in names if name.endswith(("INT", "INTEGER"))}
    assert len(whole) == 10
    for name in sorted(whole):
        assert ask(f"{ONE}, CAST(7 AS {name}) AS answer").answer == "7"
    for name in sorted(names & {"BIT", "TIME", "DATE", "TIMESTAMP", "TIMESTAMP_NS", "BLOB", "DOUBLE", "BOOLEAN"}):
        assert refusal(ask, f"{ONE}, CAST(NULL AS {name}) AS answer").startswith("column 'answer' is ")
