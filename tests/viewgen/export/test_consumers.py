"""Records for trainers, read back as each trainer's own code reads them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from viewgen.export.consumers import TABLES_OF, Record, preferred
from viewgen.export.rows import Choice, ExportRow, Lost, Picture, export_rows
from viewgen.export.run import ExportConfig, checked, export
from viewgen.viewset.shards import ViewSet


@pytest.fixture
def rows(views: ViewSet) -> dict[str, ExportRow]:
    return {row.question_id: row for row in export_rows(views, Choice(), Lost())}


def read(views: ViewSet, tmp_path: Path, name: str) -> list[Record]:
    report = export(views, ExportConfig(to=name), tmp_path / f"{name}.parquet", io.StringIO())
    assert report.files == (tmp_path / f"{name}.parquet",)
    return list(pl.read_parquet(report.files[0]).iter_rows(named=True))


def opened(pictures: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Open pictures as loaders do: bytes, no EXIF, no conversion."""
    sizes = []
    for picture in pictures:
        with Image.open(io.BytesIO(picture["bytes"])) as image:
            assert image.mode == "RGB"
            sizes.append(image.size)
    return sizes


def v_zero(messages: list[dict[str, str]], images: list[Any], crops: list[Any]) -> list[str]:
    """Read a prompt as V-Zero's loader does: markers take pictures in order, and none may be left."""
    said, taken = [], {"<image>": 0, "<crop>": 0}
    for message in messages:
        assert isinstance(message["content"], str)
        for piece in re.split(r"(<image>|<crop>|<video>|<audio>)", message["content"]):
            assert piece not in ("<video>", "<audio>")
            if piece in taken:
                assert taken[piece] < len(images if piece == "<image>" else crops)
                taken[piece] += 1
            said.append(piece)
    assert taken == {"<image>": len(images), "<crop>": len(crops)}
    return said


def test_verl_reads_as_v_zero_s_loader_reads_it(views: ViewSet, tmp_path: Path) -> None:
    records = read(views, tmp_path, "verl")
    assert [record["extra_info"]["question_id"] for record in records] == ["a", "b", "c", "f"]
    assert [record["extra_info"]["index"] for record in records] == [0, 1, 2, 3]
    for record in records:
        said = v_zero(record["prompt"], record["images"], [])
        assert said[:2] == ["", "<image>"]
        v_zero(record["teacher_raw_prompt"], record["images"], record["teacher_images"])
        v_zero(record["teacher_raw_prompt"], record["images"], record["teacher_neg_images"])
        assert len(record["teacher_images"]) >= 1
        assert opened(record["teacher_images"]) == opened(record["teacher_neg_images"])
        opened(record["images"])
    assert records[0]["prompt"] == [{"role": "user", "content": "<image>\nWhat colour is the cup?"}]
    assert records[2]["teacher_raw_prompt"][0]["content"] == "<image>\nIs the cup left of the dog?\n<crop>\n<crop>"
    assert records[0]["reward_model"] == {"style": "rule", "ground_truth": "A"}
    assert records[3]["reward_model"]["ground_truth"] == ""
    assert records[0]["teacher_images"] != records[0]["teacher_neg_images"]


def test_vision_opd_gives_the_teacher_the_full_image_and_the_crops(views: ViewSet, tmp_path: Path) -> None:
    for record in read(views, tmp_path, "vision-opd"):
        num = sum(message["content"].count("<image>") for message in record["teacher_prompt"])
        assert num == len(record["bbox_images"]) >= 2
        assert record["bbox_images"][0] == record["images"][0]
        assert record["prompt"][0]["content"].count("<image>") == len(record["images"]) == 1
        assert record["reward_model"]["style"] == "none"
        opened(record["bbox_images"])


def test_swift_gives_the_teacher_its_own_prompt(views: ViewSet, tmp_path: Path) -> None:
    for record in read(views, tmp_path, "swift"):
        assert record["messages"][-1]["role"] == "user"
        assert record["teacher_prompt"].count("<image>") == len(record["teacher_images"]) >= 2
        assert record["teacher_prompt"].replace("<image>", "") == record["messages"][0]["content"].replace(
            "<image>", ""
        )
        opened(record["teacher_images"])


def test_swift_dpo_compares_pictures_beside_one_answer(views: ViewSet, tmp_path: Path) -> None:
    records = read(views, tmp_path, "swift-dpo")
    assert [record["messages"][1] for record in records] == [
        {"role": "assistant", "content": answer} for answer in ("A", "blue", "yes")
    ]
    for record in records:
        assert len(record["images"]) == len(record["rejected_images"])
        assert record["images"][0] == record["rejected_images"][0]
        assert record["images"][1:] != record["rejected_images"][1:]


def test_papo_and_image_pairs(views: ViewSet, tmp_path: Path) -> None:
    for record in read(views, tmp_path, "papo"):
        assert record["problem"].count("<image>") == len(record["images"]) == 1
        assert record["answer"]
        assert "images_aug" not in record
    for record in read(views, tmp_path, "image-pairs"):
        positive, negative = opened([record["positive"], record["negative"]])
        assert positive == negative
        assert record["positive"] != record["negative"]


def test_a_wrong_answer_is_one_of_the_options_and_of_the_form_of_the_right_one(rows: dict[str, ExportRow]) -> None:
    letter, text = rows["a"], rows["b"]
    assert preferred(letter) == ("A", "B")
    assert preferred(text) == ("blue", "red")
    assert preferred(replace(letter, answer="(B)")) == ("(B)", "A")
    many = replace(letter, options=("one", "two", "three", "four"))
    drawn = {preferred(replace(many, question_id=f"q{number}"))[1] for number in range(40)}
    assert drawn == {"B", "C", "D"}
    assert preferred(many) == preferred(many)
    for row in (rows["f"], rows["c"], replace(text, answer="purple")):
        assert isinstance(preferred(row), str)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("verl", {"images": []}, "prompt holds 1 <image> for 0 pictures"),
        ("verl", {"teacher_neg_images": []}, "teacher_raw_prompt holds 1 <crop> for 0 pictures"),
        (
            "verl",
            {"teacher_images": [{"bytes": None, "path": "a.png"}]},
            "teacher_images holds a picture without bytes",
        ),
        ("vision-opd", {"bbox_images": []}, "teacher_prompt holds 2 <image> for 0 pictures"),
        ("swift", {"teacher_images": []}, "teacher_prompt holds 2 <image> for 0 pictures"),
        ("swift", {"teacher_images": [], "teacher_prompt": "What?"}, "teacher_images is empty"),
        ("swift", {"messages": [{"role": "assistant", "content": "<image>"}]}, "messages end with another"),
        ("swift-dpo", {"rejected_images": []}, "messages holds 2 <image> for 0 pictures"),
        ("trl-dpo", {"images": []}, "images is empty"),
        ("trl-dpo", {"rejected": [{"role": "assistant", "content": "A"}]}, "chosen and rejected are equal"),
        ("trl-dpo", {"prompt": [{"role": "human", "content": "?"}]}, "a role of ['assistant', 'human'] is not known"),
        ("papo", {"answer": ""}, "it has no answer"),
        ("papo", {"problem": "What?"}, "problem holds 0 <image> for 1 pictures"),
        ("llama-factory", {"images": []}, "messages holds 2 <image> for 0 pictures"),
    ],
)
def test_what_a_consumer_would_stumble_over_is_found(
    name: str, spoil: dict[str, Any], said: str, rows: dict[str, ExportRow]
) -> None:
    form = TABLES_OF[name]
    record = form.make(rows["a"])
    assert isinstance(record, dict)
    assert form.check(record) == ""
    assert form.check({**record, **spoil}).startswith(said)


def test_pictures_that_are_equal_are_no_pair(rows: dict[str, ExportRow]) -> None:
    same = replace(rows["a"], negatives=rows["a"].positives)
    for name in ("swift-dpo", "image-pairs"):
        record = TABLES_OF[name].make(same)
        assert isinstance(record, dict)
        assert "are equal" in TABLES_OF[name].check(record)


def test_unequal_numbers_of_views_are_left_out_and_the_rest_numbered_on(rows: dict[str, ExportRow]) -> None:
    lost = Lost()
    given = [
        replace(rows["a"], negatives=()),
        rows["b"],
        replace(rows["c"], positives=rows["c"].positives[:1]),
        rows["f"],
    ]
    records = list(checked(TABLES_OF["verl"], given, lost))
    assert [(record["extra_info"]["index"], record["extra_info"]["question_id"]) for record in records] == [
        (0, "b"),
        (1, "f"),
    ]
    assert lost.reasons == {
        "it has 1 positive and 0 negative views; the loader wants as many": ["a"],
        "it has 1 positive and 2 negative views; the loader wants as many": ["c"],
    }


def test_every_record_has_the_columns_of_its_table(rows: dict[str, ExportRow]) -> None:
    for form in TABLES_OF.values():
        record = form.make(rows["a"])
        assert isinstance(record, dict)
        assert list(record) == list(form.types), form.name
        table = pl.DataFrame([record], schema=dict(form.types))
        assert table.row(0, named=True).keys() == record.keys()
    assert Picture(b"x", "jpg", 1, 1).as_struct("a") == {"bytes": b"x", "path": "a.jpg"}
