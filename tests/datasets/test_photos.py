"""The photographs that ship with the code: their files, their card, their boxes, and what the build makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from viewgen.boxes import Box, containment
from viewgen.build.config import read_config
from viewgen.grounding.evidence import choose_evidence
from viewgen.grounding.regions import ImageQuery, region_finder
from viewgen.phrases import find_phrases
from viewgen.records import Evidence, Question, QuestionRecord, Rejection
from viewgen.source.recipe import read_questions, root_of
from viewgen.views.cutting import cut_views

RECIPE = Path(__file__).parents[2] / "datasets" / "photos.toml"
FOLDER = RECIPE.parent / "photos"


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return read_questions(read_config(RECIPE).source, RECIPE)


@pytest.fixture(scope="module")
def images(questions: tuple[Question, ...]) -> dict[str, Image.Image]:
    root = root_of(read_config(RECIPE).source, RECIPE)
    return {name: Image.open(root / name).convert("RGB") for name in {question.image_path for question in questions}}


def evidence_of(question: Question, image: Image.Image) -> Evidence | Rejection:
    config = read_config(RECIPE)
    phrases = find_phrases(question.text)
    asked = ImageQuery(image=image, questions=((question, phrases),))
    ((regions,),) = (search.regions for search in region_finder(config.regions, config.retrieval).find([asked]))
    return choose_evidence(phrases, regions, image.width, image.height, config.evidence)


def card_rows() -> dict[str, list[str]]:
    """Photograph -> the cells of its row on the card."""
    lines = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row for row in rows if row[0].endswith(".jpg")}


def test_every_photograph_has_a_row_on_the_card_with_a_free_licence_and_its_package() -> None:
    rows = card_rows()
    assert sorted(rows) == sorted(path.name for path in FOLDER.glob("*.jpg"))
    for _, split, what, author, licence, package, done in rows.values():
        assert split in {"train", "test"}
        assert what
        assert author
        assert licence.split(":")[0] in {"CC0 1.0", "public domain"}
        assert package.startswith(("PyPI ", "npm ", "Debian "))
        assert done.startswith(("as it was", "JPEG 93"))


def test_the_photographs_are_small_enough_to_ship() -> None:
    sizes = [path.stat().st_size for path in FOLDER.glob("*.jpg")]
    assert len(sizes) >= 10
    assert max(sizes) < 600_000
    assert sum(sizes) < 3_000_000


def test_there_are_three_questions_or_more_about_every_photograph(questions: tuple[Question, ...]) -> None:
    asked = [question.image_path for question in questions]
    assert len(asked) >= 40
    assert set(asked) == {path.name for path in FOLDER.glob("*.jpg")}
    assert min(asked.count(name) for name in set(asked)) >= 3


def test_no_photograph_is_in_two_splits_and_the_card_names_its_split(questions: tuple[Question, ...]) -> None:
    splits = {(question.image_path, question.split) for question in questions}
    assert sorted(splits) == sorted((name, row[1]) for name, row in card_rows().items())


def test_every_question_has_an_answer_a_kind_and_boxes_inside_its_photograph(
    questions: tuple[Question, ...], images: dict[str, Image.Image]
) -> None:
    for question in questions:
        size = images[question.image_path].size
        boxes = [annotation.box for annotation in question.annotations]
        named = [annotation for annotation in question.annotations if annotation.score == 1.0]
        assert question.answer, question.question_id
        assert question.kind in {"attribute", "text", "count", "relation"}, question.question_id
        assert len(named) == (2 if question.kind == "relation" else 1), question.question_id
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= size[0] and box.y1 <= size[1] for box in boxes), question


def test_the_query_reads_the_boxes_as_they_stand_in_the_file(questions: tuple[Question, ...]) -> None:
    lines = (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    written: dict[str, list[dict[str, Any]]] = {row["question_id"]: row["boxes"] for row in map(json.loads, lines)}
    read = {
        question.question_id: [
            {"phrase": a.phrase, "x0": a.box.x0, "y0": a.box.y0, "x1": a.box.x1, "y1": a.box.y1, "score": a.score}
            for a in question.annotations
        ]
        for question in questions
    }
    assert read == {name: [{"score": 1.0, **box} for box in boxes] for name, boxes in written.items()}


def test_the_evidence_of_every_question_holds_all_of_its_boxes_and_stays_small(
    questions: tuple[Question, ...], images: dict[str, Image.Image]
) -> None:
    for question in questions:
        image = images[question.image_path]
        evidence = evidence_of(question, image)
        assert isinstance(evidence, Evidence), (question.question_id, evidence)
        (box,) = evidence.boxes
        assert all(containment(a.box, box) == 1.0 for a in question.annotations if a.score), question.question_id
        assert box.area <= 0.25 * image.width * image.height, question.question_id


def test_a_positive_shows_the_boxes_and_an_off_region_negative_none_of_them(
    questions: tuple[Question, ...], images: dict[str, Image.Image]
) -> None:
    config = read_config(RECIPE)
    for question in [next(q for q in questions if q.image_path == name) for name in sorted(images)]:
        evidence = evidence_of(question, images[question.image_path])
        assert isinstance(evidence, Evidence)
        record = QuestionRecord(question=question, image_id="i", evidence=evidence)
        cuts = cut_views(images[question.image_path], record, config.seed, config.views)
        assert cuts.rejection is None, cuts.rejection
        shown = {view.kind: view.box for view in cuts.views if view.kind in {"crop", "off_region"}}
        assert hides(shown["off_region"], question)
        assert not hides(shown["crop"], question)


def hides(box: Box | None, question: Question) -> bool:
    assert box is not None
    return all(containment(annotation.box, box) == 0.0 for annotation in question.annotations if annotation.score)
