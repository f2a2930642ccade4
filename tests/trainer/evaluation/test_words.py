"""Words that are compared, and thoughts that are not."""

import pytest

from trainer.evaluation.words import normalised, without_thought


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    ("response", "opened", "answer"),
    [
        ("red", False, "red"),
        ("<think>red or blue?</think>\n\nblue", False, "blue"),
        ("red or blue?</think>\nblue", True, "blue"),
        ("red or blue?</think>blue", False, "blue"),
        ("<think>the answer is red", False, ""),
        ("the answer is red", True, ""),
        ("<think>a</think>red<think>b", False, ""),
        ("<think></think>", False, ""),
    ],
)
def test_only_what_stands_behind_a_finished_thought_is_the_answer(response: str, opened: bool, answer: str) -> None:
    assert without_thought(response, opened) == answer


@pytest.mark.fault(32)
def test_an_article_is_a_word_of_its_own() -> None:
    assert normalised("a/b") == "a b"
    assert normalised("The dog, a cat and an owl") == "dog cat and owl"
    assert normalised("A") == "a"
    assert normalised("(the sign)") == "sign"
