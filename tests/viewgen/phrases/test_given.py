"""Phrases that a source gives, with a question or with its boxes."""

from __future__ import annotations

import pytest

from viewgen.boxes import Box
from viewgen.phrases.given import annotated_phrases, given_phrases
from viewgen.records import Annotation, Phrase, Question


def question(text: str, phrases: tuple[str, ...] | None = None, boxes: tuple[str, ...] = ()) -> Question:
    annotations = tuple(Annotation(phrase=phrase, box=Box(0, 0, 9, 9)) for phrase in boxes)
    return Question(question_id="a", image_path="a.png", text=text, phrases=phrases, annotations=annotations)


@pytest.mark.fault(17)
def test_given_phrases_have_their_place_or_none() -> None:
    asked = question("¿De qué color es la taza?", phrases=(" la taza ", "the cup", "", "la taza"))
    assert given_phrases(asked) == (
        Phrase(text="la taza", start=17, end=24, rule="given"),
        Phrase(text="the cup", start=-1, end=-1, rule="given"),
    )
    assert asked.text[17:24] == "la taza"


@pytest.mark.fault(17)
def test_boxes_name_phrases_once() -> None:
    asked = question("Describe it.", boxes=("cup", "cup", "plate"))
    assert annotated_phrases(asked) == (
        Phrase(text="cup", start=-1, end=-1, rule="annotated"),
        Phrase(text="plate", start=-1, end=-1, rule="annotated"),
    )


@pytest.mark.fault(17)
def test_a_source_that_gives_nothing_gives_no_phrase() -> None:
    assert given_phrases(question("What is on the sign?")) == ()
    assert given_phrases(question("What is on the sign?", phrases=())) == ()
    assert annotated_phrases(question("What is on the sign?")) == ()
