"""Options that answers settle on, and options that questions list."""

import pytest

from trainer.evaluation.choices import options_in, read_choice

VITAMINS = ("vitamin C", "iron", "zinc", "vitamin D")


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B. Unlike (A), it is red.", "B"),
        ("B is the answer", "B"),
        ("B is my final answer.", "B"),
        ("A, because it is red", "A"),
        ("B - blue", "B"),
        ("B – blue", "B"),
        ("The correct option is b", "B"),
        ("the right choice is (c).", "C"),
        ("Of A and B, B is the answer", "B"),
        ("答案是B", "B"),
        ("答案：B。", "B"),
        ("我选择C", "C"),
        ("Ｂ", "B"),
        ("（D）", "D"),
    ],
)
def test_a_letter_is_read_wherever_people_put_it(answer: str, letter: str) -> None:
    assert read_choice(answer) == letter
    assert read_choice(answer, ("w", "x", "y", "z")) == letter


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    "answer",
    [
        "The answer is A or maybe B",
        "The answer is A, or perhaps B.",
        "A and possibly B",
        "The answer is A and B",
        "B. blue (A) red",
        "A. red B. blue",
        "A cat - yes",
        "A is the first letter",
    ],
)
def test_an_answer_between_two_letters_settles_nothing(answer: str) -> None:
    assert read_choice(answer) is None


@pytest.mark.fault(32)
def test_options_decide_where_letters_cannot() -> None:
    assert read_choice("It is vitamin D", VITAMINS) == "D"
    assert (
        read_choice(
            "It is vitamin D", tuple(f"{letter}. {text}" for letter, text in zip("ABCD", VITAMINS, strict=True))
        )
        == "D"
    )
    assert read_choice("It is vitamin C", VITAMINS) == "A"


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Which colour?\nA. red\nB. blue\nAnswer with the letter.", ("red", "blue")),
        ("Which colour? (A) red (B) blue (C) a dog", ("red", "blue", "a dog")),
        ("A) red, B) blue", ("red", "blue")),
        ("What is in A. Smith's hand?", ()),
        ("What is on the sign?", ()),
        ("Is B. bigger than A. here?", ()),
    ],
)
def test_options_of_a_question_are_those_that_it_lists(question: str, options: tuple[str, ...]) -> None:
    assert options_in(question) == options


def test_the_label_of_an_option_is_no_word_of_it() -> None:
    """Options as some sources give them, with their letters: the words behind the label tell them apart."""
    options = ("A. a red cat", "B. a blue cat")
    assert read_choice("it is a blue cat", options) == "B"
    assert read_choice("so the blue cat, A", options) == "A"


def test_an_option_s_own_letter_at_the_end_is_no_choice() -> None:
    assert read_choice("the answer may be vitamin C", ("vitamin B", "vitamin C")) == "B"
    assert read_choice("I think of it as B", ("x", "y")) == "B"


def test_an_option_list_needs_two_labels() -> None:
    assert options_in("What?\nA. red") == ()
    assert options_in("What?\nA. red\nC. blue") == ()
    assert options_in("What?\nA. red\nB. blue,\nAnswer with a letter.") == ("red", "blue")
