"""A language model's answer: only words that stand in the question become phrases."""

from __future__ import annotations

import pytest

from viewgen.phrases.answers import phrases_in, prompt_for

QUESTION = "What is left of the red bus and the clock tower?"


def texts(answer: str, most: int = 4) -> list[str]:
    found = phrases_in(answer, QUESTION, most)
    assert all(phrase.text == QUESTION[phrase.start : phrase.end] for phrase in found)
    return [phrase.text for phrase in found]


def test_the_prompt_ends_with_the_question() -> None:
    assert prompt_for("  What is it? ").rstrip().endswith("Question: What is it?")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('["the clock tower", "the red bus"]', ["the red bus", "the clock tower"]),  # in the order of the question
        ('Sure: ["THE RED BUS"]', ["the red bus"]),
        ('["the blue bus", "the red bus"]', ["the red bus"]),  # what the question lacks is left out
        ('["red bu"]', []),  # whole words alone
        ('["it"]', []),
        ("no list", []),
        ('[1, null, "the red bus"]', ["the red bus"]),
        ('["a"] then ["the red bus"]', ["the red bus"]),  # the last list counts
    ],
)
def test_strings_of_the_question_become_phrases(answer: str, expected: list[str]) -> None:
    assert texts(answer) == expected


def test_at_most_so_many_are_kept() -> None:
    assert texts('["the red bus", "the clock tower"]', most=1) == ["the red bus"]
