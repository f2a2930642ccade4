"""Finished images become rows: every view has its own id, and what was not kept is not stored."""

from __future__ import annotations

from dataclasses import replace

from viewgen.boxes import Box
from viewgen.records import (
    Audit,
    Evidence,
    ImageRecord,
    Phrase,
    Question,
    QuestionRecord,
    Region,
    Rejection,
    View,
)
from viewgen.viewset.tables import part_tables

IMAGE = ImageRecord(key="ab" * 32, source_path="folder/a.jpg", questions=(), data=b"file", width_px=100, height_px=50)
OWN, OTHERS = "ab" * 8, "cd" * 8
QUESTION = Question(question_id="q/1", image_path="folder/a.jpg", text="What is on the dog?", answer="a hat")
AUDIT = Audit(
    evidence_overlap=0.25,
    evidence_iou=0.125,
    sharpness=12.5,
    sharpness_ratio=0.5,
    contrast=100,
    same_size=True,
    same_encoding=True,
    hash_distance=9,
    flags=("leaks_evidence",),
)
LEFT, RIGHT = Box(0, 0, 10, 10), Box(50, 0, 60, 20)


def view(kind: str, box: Box | None, role: str = "positive") -> View:
    return View(
        role=role,
        kind=kind,
        made_as=kind,
        image_id=OWN,
        box=box,
        image=b"png",
        width_px=10,
        height_px=10,
        seed=7,
        params={"z": 1, "a": "b"},
        audit=AUDIT,
    )


SAMPLE = QuestionRecord(
    question=QUESTION,
    image_id=OWN,
    phrases=(Phrase(text="the dog", start=11, end=18, rule="reading"),),
    regions=(Region(phrase="the dog", box=LEFT, source="annotated", score=1.0, rank=0),),
    evidence=Evidence(boxes=(LEFT, RIGHT), regions=()),
    views=(view("crop", LEFT), view("crop", RIGHT), view("masked", None, "negative"), view("crop", LEFT, "negative")),
)
WHY = Rejection(stage="views", reason="no_room", message="no place")
LOST = QuestionRecord(question=replace(QUESTION, question_id="q/2"), rejection=WHY)
FINISHED = replace(IMAGE, questions=(SAMPLE, LOST))


def test_views_of_one_kind_are_numbered_within_their_role() -> None:
    views = part_tables([FINISHED])["views"]
    assert views["view_id"].to_list() == [
        "q/1/positive/crop/0",
        "q/1/positive/crop/1",
        "q/1/negative/masked/0",
        "q/1/negative/crop/0",
    ]
    assert views["image"].struct.field("path").to_list()[1] == "q/1/positive/crop/1.png"


def test_a_view_keeps_its_place_its_seed_and_its_settings_in_one_spelling() -> None:
    views = part_tables([FINISHED])["views"]
    assert views["box"].to_list()[1:3] == [{"x0": 50, "y0": 0, "x1": 60, "y1": 20}, None]
    assert views["params"].to_list()[0] == '{"a": "b", "z": 1}'
    assert views["seed"].to_list() == [7, 7, 7, 7]
    assert views["evidence_overlap"].to_list() == [0.25] * 4


def test_a_question_keeps_its_phrases_regions_and_the_share_of_all_its_evidence() -> None:
    (row,) = part_tables([FINISHED])["questions"].to_dicts()
    assert row["phrases"] == [{"text": "the dog", "start": 11, "end": 18, "rule": "reading"}]
    assert row["regions"][0]["box"] == {"x0": 0, "y0": 0, "x1": 10, "y1": 10}
    assert [box["x0"] for box in row["evidence"]] == [0, 50]
    assert row["evidence_share"] == (100 + 200) / 5000
    assert (row["answer"], row["split"], row["kind"]) == ("a hat", "train", "")


def test_an_image_without_a_kept_question_is_not_stored_and_its_rejects_are() -> None:
    nothing = replace(IMAGE, questions=(LOST,))
    other = replace(LOST, question=replace(QUESTION, question_id="q/3"))
    unopened = ImageRecord(key="folder/b.jpg: missing_image", source_path="folder/b.jpg", questions=(other,))
    tables = part_tables([nothing, unopened])
    assert [tables[name].height for name in ("images", "questions", "views")] == [0, 0, 0]
    assert tables["rejects"].select("question_id", "stage", "reason", "message").rows() == [
        ("q/2", "views", "no_room", "no place"),
        ("q/3", "views", "no_room", "no place"),
    ]


def test_an_image_that_only_gave_a_view_to_another_question_is_stored() -> None:
    swapped = replace(view("swapped", LEFT, "negative"), image_id=OTHERS)
    taker = replace(IMAGE, questions=(replace(SAMPLE, views=(*SAMPLE.views, swapped)),))
    giver = replace(IMAGE, key="cd" * 32, source_path="folder/b.jpg", questions=(LOST,))
    stranger = replace(giver, key="ef" * 32, source_path="folder/c.jpg")
    tables = part_tables([taker, giver, stranger])
    assert tables["images"]["source_path"].to_list() == ["folder/a.jpg", "folder/b.jpg"]
    assert set(tables["views"]["image_id"]) <= set(tables["images"]["image_id"])


def test_the_source_file_is_stored_byte_for_byte_under_its_path() -> None:
    (row,) = part_tables([FINISHED])["images"].to_dicts()
    assert row["image"] == {"bytes": b"file", "path": "folder/a.jpg"}
    assert (row["width_px"], row["height_px"], row["sha256"]) == (100, 50, "ab" * 32)
