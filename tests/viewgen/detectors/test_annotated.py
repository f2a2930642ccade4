"""Boxes of the source: matched with phrases by their words, clipped to the image."""

from __future__ import annotations

import pytest
from PIL import Image

from viewgen.boxes import Box
from viewgen.detectors import Ask
from viewgen.detectors.annotated import AnnotatedBoxes, bare
from viewgen.records import Annotation

IMAGE = Image.new("RGB", (100, 80))
DOG = Annotation(phrase="The  Dog", box=Box(10, 10, 30, 30))
FAR_DOG = Annotation(phrase="a dog", box=Box(60, 10, 80, 30), score=0.4)
CAT = Annotation(phrase="cat", box=Box(90, 70, 120, 90))


def found(*phrases: str) -> list[tuple[str, Box, float]]:
    (boxes,) = AnnotatedBoxes().detect([Ask(image=IMAGE, phrases=phrases, annotations=(FAR_DOG, DOG, CAT))])
    return [(box.phrase, box.box, box.score) for box in boxes]


@pytest.mark.parametrize(("phrase", "text"), [("The  Dog", "dog"), ("those dogs", "dogs"), ("there", "there")])
def test_phrases_are_compared_without_case_article_and_blanks(phrase: str, text: str) -> None:
    assert bare(phrase) == text


def test_a_phrase_finds_the_boxes_of_its_words_best_first() -> None:
    assert found("the dog") == [("the dog", DOG.box, 1.0), ("the dog", FAR_DOG.box, 0.4)]


def test_a_box_is_clipped_to_the_image() -> None:
    assert found("the cat") == [("the cat", Box(90, 70, 100, 80), 1.0)]


def test_where_no_phrase_is_named_every_box_stands_for_each() -> None:
    assert [box for _, box, _ in found("the animal")] == [DOG.box, Box(90, 70, 100, 80), FAR_DOG.box]
