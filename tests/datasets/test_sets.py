"""Recipes of the field's sets, each on rows in the form that its own loaders read: question, answer, options, boxes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from viewgen.boxes import Box
from viewgen.build.config import read_config
from viewgen.errors import RecipeError
from viewgen.records import Question
from viewgen.source.pictures import file_of
from viewgen.source.recipe import SourceConfig, read_questions

SETS = Path(__file__).parents[2] / "datasets" / "sets"
HINT = "Only focus on the objects inside the red bounding box in the image to answer this question."


def picture(colour: str, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (640, 480), colour).save(file, format=kind)
    return file.getvalue()


def text(colour: str) -> str:
    return base64.b64encode(picture(colour, "JPEG")).decode()


def struct(colour: str) -> dict[str, Any]:
    return {"bytes": picture(colour), "path": f"{colour}.png"}


def save(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(colour, "JPEG" if path.suffix == ".jpg" else "PNG"))


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], list[Question]]:
    """read(name) -> the questions of a set whose files stand in tmp_path."""

    def questions(name: str) -> list[Question]:
        source = replace(read_config(SETS / f"{name}.toml").source, root=str(tmp_path))
        found = read_questions(source, tmp_path / "r.toml")
        for question in found:
            with Image.open(file_of(question.image_path, tmp_path)) as image:
                assert image.size == (640, 480)
        return sorted(found, key=lambda question: question.question_id)

    return questions


def colour(question: Question, root: Path) -> tuple[int, ...]:
    with Image.open(file_of(question.image_path, root)) as image:
        found = image.convert("RGB").getpixel((5, 5))
    assert isinstance(found, tuple)
    return tuple(round(level / 64) for level in found)


RED, BLUE = (4, 0, 0), (0, 0, 4)


def test_every_recipe_reads_and_every_benchmark_is_marked() -> None:
    training = {"zwz", "vision-opd", "visual-cot"}
    for path in SETS.glob("*.toml"):
        source = read_config(path).source
        assert source.is_evaluation == (path.stem not in training), path
        assert source.usual_split == ("train" if path.stem in training else "test")
        assert f"viewgen build datasets/sets/{path.stem}.toml" in path.read_text()
    assert {path.stem for path in SETS.glob("*.toml")} == {
        line.split("`")[1] for line in (SETS / "README.md").read_text().splitlines() if line.startswith("| `")
    }


def zwz_row(status: str = "valid vqa") -> dict[str, Any]:
    mcq = {
        "mcq_question": f"What colour is the kite?\n\n{HINT}\n\nA. red\nB. blue",
        "all_options": ["red", "blue"],
        "correct_option": "B",
        "distractors": ["red"],
        "correct_answer_text": "blue",
    }
    return {
        "bbox_image_path": "boxed/abc.png",
        "original_image_path": "originals/1.jpg",
        "bbox": [10.5, 20.0, 60.0, 80.0],
        "status": status,
        "mcq": mcq,
        "qwen8b_eval": {"answers": ["B"]},
    }


def test_zwz_takes_the_original_and_never_the_picture_with_the_box(
    read: Callable[[str], list[Question]], tmp_path: Path
) -> None:
    save(tmp_path / "originals" / "1.jpg", "blue")
    save(tmp_path / "boxed" / "abc.png", "red")
    lines(tmp_path / "stage.jsonl", [{"vqa_results": [zwz_row(), zwz_row("invalid"), zwz_row()]}])
    one, two = read("zwz")
    assert (one.question_id, two.question_id) == ("1-1", "1-3")
    assert (one.image_path, colour(one, tmp_path)) == ("originals/1.jpg", BLUE)
    assert one.text == "What colour is the kite?\n\nA. red\nB. blue"
    assert (one.answer, one.options, one.source) == ("B", ("red", "blue"), "ZwZ-RL-VQA")
    assert one.annotations[0].box == Box(10, 20, 60, 80)


def test_the_released_zwz_file_whose_pictures_hold_the_box_is_refused(tmp_path: Path) -> None:
    row = {"images": ["boxed/abc.png"], "problem": f"What colour?\n\n{HINT}\n\nA. red\nB. blue", "answer": "B"}
    pl.DataFrame([{**row, "bbox": [1.0, 2.0, 30.0, 40.0], "status": "valid vqa"}]).write_parquet(
        tmp_path / "train.parquet"
    )
    with pytest.raises(RecipeError, match="1 of 1 questions speak of a box that is drawn into the image"):
        read_questions(SourceConfig(root=".", format="hf", files="train.parquet"), tmp_path / "r.toml")


def test_vision_opd_loses_markers_and_hints(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    save(tmp_path / "images" / "1.jpg", "red")
    row = {
        "problem": f"<image>\nWhat is on the sign?\n\n{HINT}",
        "images": ["images/1.jpg"],
        "teacher_images": ["teacher_images/1.jpg"],
        "answer": "STOP",
        "extra_info": {"index": 0},
    }
    lines(tmp_path / "train.jsonl", [row])
    (one,) = read("vision-opd")
    assert (one.question_id, one.text, one.answer) == ("000001", "What is on the sign?", "STOP")
    assert colour(one, tmp_path) == RED


def test_visual_cot_joins_its_boxes_to_one_evidence(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    save(tmp_path / "cot" / "cub" / "a.jpg", "red")
    save(tmp_path / "cot" / "textvqa" / "b.jpg", "blue")
    size = {"width": 640, "height": 480, "split": "train"}
    boxes = [[10, 30, 50, 60], [100, 20, 200, 50]]
    row = {"question": "What colour is the wing?", "answer": "grey", "bboxs": boxes, "image": "a.jpg", "dataset": "cub"}
    other = {"question": "What does it say?", "answer": "hi", "bboxs": boxes[:1], "image": "b.jpg"}
    lines(tmp_path / "metadata" / "cub_cot_train.jsonl", [{**row, **size}])
    lines(tmp_path / "metadata" / "textcap_cot_train.jsonl", [{**other, "dataset": "textcap", **size}])
    one, two = read("visual-cot")
    assert [annotation.box for annotation in one.annotations] == [Box(10, 20, 200, 60)]
    assert (one.text, one.answer, one.split, one.source) == ("What colour is the wing?", "grey", "train", "cub")
    assert (two.image_path, colour(two, tmp_path)) == ("cot/textvqa/b.jpg", BLUE)


def test_visual_cot_in_llava_s_form(tmp_path: Path) -> None:
    save(tmp_path / "cot" / "a.jpg", "red")
    ask = "Please provide the bounding box coordinate of the region that can help you answer the question better."
    turns = [
        {"from": "human", "value": f"<image>\nWhat colour is the wing? {ask}"},
        {"from": "gpt", "value": "[0.1, 0.2, 0.3, 0.4]"},
        {"from": "human", "value": "<image>"},
        {"from": "gpt", "value": "grey"},
    ]
    row = {"dataset": "cub", "split": "train", "question_id": 7, "image": ["a.jpg", "a.jpg###[10, 20, 200, 60]"]}
    (tmp_path / "viscot.json").write_text(json.dumps([{**row, "conversations": turns}]))
    source = SourceConfig(root=".", format="visual-cot", files="viscot.json", images="cot")
    (one,) = read_questions(source, tmp_path / "r.toml")
    assert (one.question_id, one.image_path) == ("7", "cot/a.jpg")
    assert (one.text, one.answer) == ("What colour is the wing?", "grey")
    assert one.annotations[0].box == Box(10, 20, 200, 60)


def test_vstar_as_its_authors_give_it(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    for kind, names, boxes in (
        ("direct_attributes", ["glove"], [[600, 400, 30, 40]]),
        ("relative_position", ["dog", "red bus"], [[1, 2, 3, 4], [50, 60, 70, 80]]),
    ):
        save(tmp_path / kind / "sa_1.jpg", "red")
        options = ["The first is right.", "not this"]
        row = {"question": "What of it?", "options": options, "target_object": names, "bbox": boxes}
        (tmp_path / kind / "sa_1.json").write_text(json.dumps(row))
    one, two = read("vstar")
    assert (one.question_id, one.kind, one.split) == ("direct_attributes/sa_1", "direct_attributes", "test")
    assert (one.answer, one.options) == ("The first is right.", ("The first is right.", "not this"))
    assert (one.phrases, one.annotations[0].box) == (("glove",), Box(600, 400, 630, 440))
    assert [(each.phrase, each.box) for each in two.annotations] == [
        ("dog", Box(1, 2, 4, 6)),
        ("red bus", Box(50, 60, 120, 140)),
    ]


def test_vstar_as_parquet(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    asked = "What colour is it?\n(A) red (B) blue (a dark one)\nAnswer with the option's letter directly."
    rows = {"image": [struct("red")], "text": [asked], "label": ["B"], "question_id": ["17"], "category": ["direct"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    (one,) = read("vstar-parquet")
    assert (one.question_id, one.text, one.answer, one.kind, one.split) == ("17", asked, "B", "direct", "test")
    assert colour(one, tmp_path) == RED


@pytest.mark.parametrize("size", ["4k", "8k"])
def test_hr_bench_with_its_cycles(size: str, read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    options = {"A": ["red"], "B": ["blue"], "C": ["grey"], "D": ["black"]}
    rows = {"index": [3], "question": ["What colour is the kite?"], "answer": ["C"], "category": ["single"], **options}
    table = pl.DataFrame({**rows, "cycle_category": ["cycle_1"], "image": [text("red")]})
    table.write_parquet(tmp_path / f"hr_bench_{size}.parquet")
    (one,) = read(f"hr-bench-{size}")
    assert one.text == (
        "What colour is the kite?\nA. red\nB. blue\nC. grey\nD. black\nAnswer the option letter directly."
    )
    assert (one.answer, one.options, one.kind) == ("C", ("red", "blue", "grey", "black"), "single/cycle_1")
    assert colour(one, tmp_path) == RED


def test_zoombench(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = {"id": ["a", "b"], "query": ["Which?\n(A) x\n(B) y", "What is it?"], "response": ["A", "a cup"]}
    pictures = {"image": [struct("red"), struct("blue")], "crop_image": [struct("lime"), None]}
    pl.DataFrame({**rows, **pictures}).write_parquet(tmp_path / "data" / "test.parquet")
    one, two = read("zoombench")
    assert (one.text, one.answer, two.answer, one.split) == ("Which?\n(A) x\n(B) y", "A", "a cup", "test")
    assert (colour(one, tmp_path), colour(two, tmp_path)) == (RED, BLUE)


@pytest.mark.parametrize("name", ["mme-realworld", "mme-realworld-lite", "mme-realworld-cn"])
def test_mme_realworld(name: str, read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = ["(A) red", "(B) blue", "(C) grey", "(D) black", "(E) It is not in the image."]
    rows = {"bytes": [text("red")], "index": [9], "question": ["What colour is the kite?"], "answer": ["E"]}
    rows |= {"multi-choice options": [options], "category": ["Perception/Monitoring"], "l2-category": ["vehicle"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "data" / "train-00000-of-00009.parquet")
    (one,) = read(name)
    assert one.text.startswith("What colour is the kite? The choices are listed below:\n(A) red\n(B) blue\n")
    assert one.text.endswith("of the correct option.\nThe best answer is: ")
    assert one.options == ("red", "blue", "grey", "black", "It is not in the image.")
    assert (one.answer, one.kind, one.split) == ("E", "Perception/Monitoring", "test")
    assert colour(one, tmp_path) == RED


def test_treebench_with_the_boxes_of_its_targets(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    rows = {"index": [4], "image": [text("red")], "question": ["What is it?"], "answer": ["B"]}
    rows |= {"category": ["Perception/Attributes"], "target_instances": ["[[1, 2, 30, 40], [50, 60, 70, 80]]"]}
    rows |= {"multi-choice options": ["A. a cat\nB. a dog"]}
    pl.DataFrame(rows).write_csv(tmp_path / "TreeBench.tsv", separator="\t")
    (one,) = read("treebench")
    assert (one.text, one.options) == ("What is it? Options:\nA. a cat\nB. a dog", ("a cat", "a dog"))
    assert [each.box for each in one.annotations] == [Box(1, 2, 30, 40), Box(50, 60, 70, 80)]
    assert (one.answer, one.kind) == ("B", "Perception/Attributes")


def test_visualprobe_in_its_three_folders(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    for folder, path in (("VisualProbe_Easy", "images/1.jpg"), ("VisualProbe_Hard", "VisualProbe_Hard/images/2.jpg")):
        save(tmp_path / path if path.startswith(folder) else tmp_path / folder / path, "red")
        row = {"images": [path], "doc_id": 5, "problem": "<image>\nWhat is it?", "solution": "a cup"}
        (tmp_path / folder / "val.json").write_text(json.dumps([{**row, "data_source": folder}]))
    one, two = read("visualprobe")
    assert (one.question_id, one.text, one.answer) == ("VisualProbe_Easy-5", "What is it?", "a cup")
    assert [each.image_path for each in (one, two)] == [
        "VisualProbe_Easy/images/1.jpg",
        "VisualProbe_Hard/images/2.jpg",
    ]


def test_mmstar_with_raw_bytes(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    rows = {"index": [0], "question": ["Which?\nOptions: A: x, B: y"], "answer": ["A"], "category": ["coarse"]}
    rows |= {"l2_category": ["image scene"], "image": [picture("red")]}
    pl.DataFrame(rows).write_parquet(tmp_path / "mmstar.parquet")
    (one,) = read("mmstar")
    assert (one.text, one.answer, one.kind) == ("Which?\nOptions: A: x, B: y", "A", "coarse/image scene")
    assert colour(one, tmp_path) == RED


def test_pope_whose_question_ids_repeat_between_categories(
    read: Callable[[str], list[Question]], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    rows: dict[str, list[Any]] = {
        "id": ["0", "0"],
        "question_id": ["1", "1"],
        "question": ["Is there a cup in the image?"] * 2,
    }
    rows |= {"answer": ["yes", "no"], "image_source": ["COCO_1"] * 2, "image": [struct("red")] * 2}
    pl.DataFrame({**rows, "category": ["popular", "random"]}).write_parquet(
        tmp_path / "data" / "test-00000-of-00003.parquet"
    )
    one, two = read("pope")
    assert (one.question_id, two.question_id) == ("popular-1-0", "random-1-0")
    assert one.text == "Is there a cup in the image?\nAnswer the question using a single word or phrase."
    assert (one.answer, two.answer) == ("yes", "no")
    assert one.image_path == two.image_path


def test_cv_bench_in_two_files(read: Callable[[str], list[Question]], tmp_path: Path) -> None:
    for number, kind in enumerate(("2D", "3D")):
        rows = {"idx": [1], "type": [kind], "task": ["Count"], "image": [struct("red")], "question": ["How many?"]}
        rows |= {"choices": [["1", "2"]], "answer": ["(B)"], "prompt": ["How many? Select: (A) 1 (B) 2"]}
        rows |= {"filename": ["x.png"], "source": ["COCO" if number else "ADE20K"]}
        pl.DataFrame(rows).write_parquet(tmp_path / f"test_{kind.lower()}.parquet")
    one, two = read("cv-bench")
    assert (one.question_id, two.question_id) == ("2D-1", "3D-1")
    assert (one.text, one.answer, one.options) == ("How many? Select: (A) 1 (B) 2", "B", ("1", "2"))
    assert (one.kind, one.source) == ("2D/Count", "ADE20K")
