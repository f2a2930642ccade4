"""Words of a question and their tags, settled by their neighbours."""

from __future__ import annotations

import pytest

from viewgen.phrases.words import tokens_of


def tags(question: str) -> str:
    return "".join(token.tag for token in tokens_of(question))


def test_a_token_knows_its_place() -> None:
    question = "What is on the red sign?"
    assert [question[token.start : token.end] for token in tokens_of(question)][:4] == ["What", "is", "on", "the"]


@pytest.mark.parametrize(
    ("question", "expected"), [("What is on the red sign", "WBPDJN"), ("the man and the dog", "DN&DN")]
)
def test_words_are_tagged(question: str, expected: str) -> None:
    assert tags(question) == expected


def test_an_unknown_word_is_a_noun_and_one_in_ing_is_doing_something() -> None:
    assert tags("the zorp") == "DN"
    assert tags("the zorp zorping")[-1] == "G"
