"""Annotated boxes as regions: which boxes belong to which phrase."""

from __future__ import annotations

from PIL import Image

from viewgen.boxes import Box
from viewgen.detectors.annotated import AnnotatedBoxes
from viewgen.records import Annotation, Phrase, Question, Region

IMAGE = Image.new("RGB", (100, 80))
DOG, CAT, LEASH = Box(10, 10, 30, 30), Box(50, 40, 70, 60), Box(30, 20, 50, 40)


def annotated(*pairs: tuple[str, Box]) -> Question:
    annotations = tuple(Annotation(phrase=phrase, box=box) for phrase, box in pairs)
    return Question(question_id="q", image_path="a.png", text="", annotations=annotations)


def phrase(text: str) -> Phrase:
    return Phrase(text=text, start=0, end=len(text), rule="test")


def found(question: Question, *texts: str) -> list[tuple[str, Box]]:
    regions = AnnotatedBoxes().detect(IMAGE, question, [phrase(text) for text in texts])
    return [(region.phrase, region.box) for region in regions]


def test_a_phrase_gets_the_boxes_that_carry_its_name_whatever_the_case_or_article() -> None:
    question = annotated(("The  Dog", DOG), ("a cat", CAT), ("dog", LEASH))
    assert found(question, "the dog") == [("the dog", DOG), ("the dog", LEASH)]
    assert found(question, "the Dog", "the cat") == [("the Dog", DOG), ("the Dog", LEASH), ("the cat", CAT)]


def test_an_article_is_only_cut_off_as_a_whole_word() -> None:
    assert found(annotated(("athlete", DOG), ("thlete", CAT)), "the athlete") == [("the athlete", DOG)]


def test_a_phrase_that_the_source_does_not_name_gets_nothing_when_another_is_named() -> None:
    assert found(annotated(("dog", DOG), ("leash", LEASH)), "the dog", "the cat") == [("the dog", DOG)]


def test_boxes_without_any_of_the_names_belong_to_every_phrase() -> None:
    question = annotated(("", DOG), ("animal", CAT))
    assert found(question, "the dog", "the cat") == [(t, b) for t in ("the dog", "the cat") for b in (DOG, CAT)]


def test_a_question_without_boxes_or_phrases_gets_no_region() -> None:
    assert found(annotated(), "the dog") == []
    assert found(annotated(("dog", DOG))) == []


def test_boxes_are_cut_to_the_image_and_dropped_outside_it() -> None:
    question = annotated(("dog", Box(90, 70, 120, 90)), ("dog", Box(100, 0, 110, 10)))
    assert found(question, "the dog") == [("the dog", Box(90, 70, 100, 80))]


def test_regions_say_where_they_come_from_and_none_is_preferred() -> None:
    question = annotated(("dog", DOG), ("dog", LEASH))
    regions = AnnotatedBoxes().detect(IMAGE, question, [phrase("dog")])
    assert regions == tuple(
        Region(phrase="dog", box=box, source="annotated", score=1.0, rank=0) for box in (DOG, LEASH)
    )
    assert dict(AnnotatedBoxes().models) == {}
