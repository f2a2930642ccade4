"""The usual forms of a source: each gives the questions that a query by hand would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from viewgen.boxes import Box
from viewgen.errors import RecipeError
from viewgen.records import Question
from viewgen.source.recipe import SourceConfig, read_questions

Read = Callable[..., list[Question]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(format, files, ...) -> questions in order of their ids."""

    def questions(form: str, files: str, **settings: Any) -> list[Question]:
        source = SourceConfig(root=".", format=form, files=files, **settings)  # type: ignore[arg-type]
        return sorted(read_questions(source, tmp_path / "r.toml"), key=lambda question: question.question_id)

    return questions


def refusal(read: Read, *asked: Any, **settings: Any) -> str:
    with pytest.raises(RecipeError) as refused:
        read(*asked, **settings)
    message = str(refused.value).split("r.toml: ", 1)[1]
    assert "\n" not in message
    return message


def test_a_csv_file_with_usual_names(read: Read, tmp_path: Path) -> None:
    rows = 'ID,Image,Query,Label,Choices,Category,split\n007,a b.jpg,"Which, then?",yes,-,x,test\n'
    (tmp_path / "q.csv").write_text(rows)
    (one,) = read("csv", "q.csv", images="photos")
    assert (one.question_id, one.image_path, one.text) == ("007", "photos/a b.jpg", "Which, then?")
    assert (one.answer, one.kind, one.split) == ("yes", "x", "test")


def test_rows_without_ids_are_numbered_and_files_name_the_split(read: Read, tmp_path: Path) -> None:
    for name in ("train", "validation"):
        table = pl.DataFrame({"image": ["a.jpg", "b.jpg"], "prompt": ["<image>\nWhat?", "Why?"]})
        (tmp_path / "data").mkdir(exist_ok=True)
        table.write_parquet(tmp_path / "data" / f"{name}-00000-of-00001.parquet")
    found = read("hf", "data/*.parquet")
    assert len({question.question_id for question in found}) == 4
    assert [question.split for question in found] == ["train", "train", "validation", "validation"]
    assert {question.text for question in found} == {"What?", "Why?"}


def test_a_column_called_filename_is_the_image_s(read: Read, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("id,filename,question\n1,a.jpg,What?\n")
    (one,) = read("csv", "q.csv", split="selection")
    assert (one.image_path, one.split) == ("a.jpg", "selection")


@pytest.mark.parametrize("form", ["conversations", "messages"])
def test_every_turn_of_a_person_is_a_question(form: str, read: Read, tmp_path: Path) -> None:
    role, said = ("from", "value") if form == "conversations" else ("role", "content")
    turns = [
        *({role: "system", said: "Be brief."}, {role: "human", said: "<image>\nWhat is it?"}),
        *({role: "gpt", said: "a cup"}, {role: "human", said: "What colour?"}, {role: "gpt", said: "red"}),
    ]
    rows = [{"id": "a", "image": "1.jpg", form: turns}, {"id": "b", "image": "2.jpg", form: turns[1:3]}]
    (tmp_path / "q.json").write_text(json.dumps([*rows, {"id": "text", form: turns[:3]}]))
    found = read("llava", "q.json", images="imgs")
    assert [(each.question_id, each.image_path, each.text, each.answer) for each in found] == [
        ("a-1", "imgs/1.jpg", "What is it?", "a cup"),
        ("a-2", "imgs/1.jpg", "What colour?", "red"),
        ("b", "imgs/2.jpg", "What is it?", "a cup"),
    ]


def test_several_images_in_a_row_are_refused_with_the_remedy(read: Read, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image><image>Which?"}, {"from": "gpt", "value": "this"}]
    (tmp_path / "q.jsonl").write_text(json.dumps({"id": "a", "image": ["1.jpg", "2.jpg"], "conversations": turns}))
    assert "holds 2 pictures in a row: a question is about one" in refusal(read, "llava", "q.jsonl")


def test_coco_asks_about_each_category_of_an_image(read: Read, tmp_path: Path) -> None:
    file = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5, "bbox": [10, 20, 30, 40], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 5, "bbox": [50.5, 60, 7, 8], "iscrowd": 0},
            {"id": 3, "image_id": 2, "category_id": 6, "bbox": [1, 2, 3, 4], "iscrowd": 0},
            {"id": 4, "image_id": 2, "category_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        ],
        "categories": [{"id": 5, "name": "traffic light"}, {"id": 6, "name": "dog's bed"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(file))
    one, two = read("coco", "instances.json", images="val", question="What is on the {phrase}?")
    assert (one.question_id, one.image_path, one.text) == ("1-5", "val/a.jpg", "What is on the traffic light?")
    assert sorted(each.box for each in one.annotations) == [Box(10, 20, 40, 60), Box(50, 60, 58, 68)]
    assert (one.phrases, two.phrases, two.text) == (("traffic light",), ("dog's bed",), "What is on the dog's bed?")
    assert refusal(read, "coco", "instances.json").startswith('source.format = "coco" needs source.question')


def test_a_folder_of_images_with_files_beside_them(read: Read, tmp_path: Path) -> None:
    for name in ("a/one.jpg", "a/two.PNG", "b/three.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "one.txt").write_text("What is it?\n")
    (tmp_path / "b" / "three.txt").write_text("Where?")
    found = read("folder", "**/*.txt")
    assert [(each.question_id, each.image_path, each.text, each.kind) for each in found] == [
        ("a/one", "a/one.jpg", "What is it?", "a"),
        ("b/three", "b/three.webp", "Where?", "b"),
    ]
    alone = read("folder", "", question="What is smallest?", is_evaluation=True)
    assert [(each.image_path, each.text, each.split) for each in alone] == [
        (name, "What is smallest?", "test") for name in ("a/one.jpg", "a/two.PNG", "b/three.webp")
    ]


def test_what_a_form_lacks_is_named_with_what_is_there(read: Read, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("id,picture,frage\n1,a.jpg,Was?\n")
    said = refusal(read, "csv", "q.csv")
    assert said.startswith("source.format = \"csv\": 'q.csv' has no column 'question', named as one of question, query")
    assert said.endswith('It has: id, picture, frage. Write source.query with format = "query".')
    assert refusal(read, "csv", "").startswith('source.format = "csv" needs source.files')
    said = refusal(read, "csv", "q.csv", query="SELECT 1")
    assert said == 'source.query is given beside source.format = "csv". Leave one of them out.'
    assert refusal(read, "query", "").startswith("source.query is missing.")
    (tmp_path / "q.json").write_text('[{"id": 1, "text": "no turns"}]')
    assert "'q.json' has no column 'conversations'" in refusal(read, "llava", "q.json")
    assert "'q.json' has no column 'question'" in refusal(read, "visual-cot", "q.json")
    assert "'q.json' has no column 'images'" in refusal(read, "coco", "q.json", question="{phrase}?")
