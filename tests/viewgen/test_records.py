"""The records that travel: a rejected question passes through untouched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from viewgen.records import ImageRecord, Phrase, Question, QuestionRecord, Rejection

WHY = Rejection(stage="phrases", reason="no_phrase", message="nothing")


def record(name: str, rejection: Rejection | None = None) -> QuestionRecord:
    return QuestionRecord(question=Question(question_id=name, image_path="a.png", text="?"), rejection=rejection)


IMAGE = ImageRecord(key="ab" * 32, source_path="a.png", questions=(record("kept"), record("lost", WHY)))


def test_a_change_reaches_the_questions_that_are_kept_alone() -> None:
    changed = IMAGE.each(lambda one: replace(one, image_id="seen"))
    assert [one.image_id for one in changed.questions] == ["seen", ""]
    assert changed.questions[1] is IMAGE.questions[1]


def test_an_image_knows_its_id_and_what_is_kept() -> None:
    assert IMAGE.image_id == "ab" * 8
    assert [one.question_id for one in IMAGE.kept] == ["kept"]
    assert not IMAGE.is_opened
    assert replace(IMAGE, width_px=4, height_px=3).is_opened


def test_phrases_that_are_found_twice_are_looked_for_once() -> None:
    phrases = tuple(Phrase(text=text, start=0, end=3, rule="r") for text in ("the cat", "a dog", "the cat"))
    assert replace(IMAGE.questions[0], phrases=phrases).phrase_texts == ("the cat", "a dog")


def test_evidence_that_was_never_chosen_is_a_mistake_in_the_code() -> None:
    with pytest.raises(AssertionError, match="evidence is chosen before views are cut"):
        _ = IMAGE.questions[0].found_evidence
