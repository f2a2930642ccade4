"""Each scorer against answers that models give and that other scorers are known to misjudge."""

import pytest

from trainer.errors import DataError, TrainerError
from trainer.evaluation.choices import read_choice
from trainer.evaluation.numbers import read_number
from trainer.evaluation.scorers import (
    SCORERS,
    exact_match,
    multiple_choice,
    number,
    read_yes_no,
    scorer_named,
    yes_no,
)
from trainer.evaluation.words import normalised

COLOURS = ("red", "green", "yellow", "blue")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("Because it is dark, the answer is C", "C"),
        ("The answer is (B)", "B"),
        ("Based on the image, (D)", "D"),
        ("Certainly! (D)", "D"),
        ("A dog is on the left. The answer is B.", "B"),
        ("Answer: B", "B"),
        ("The sign says STOP so C.", "C"),
    ],
)
@pytest.mark.parametrize(
    "options", [(), ("a cat", "a dog", "STOP", "a tree")], ids=["options unknown", "options known"]
)
def test_answers_that_other_scorers_misread_are_read(answer: str, letter: str, options: tuple[str, ...]) -> None:
    assert read_choice(answer, options) == letter
    for truth in "ABCD":
        assert multiple_choice(answer, truth, options) == (truth == letter)


def test_blue_is_not_option_b() -> None:
    assert read_choice("Blue.") is None
    assert not multiple_choice("Blue.", "B", ())
    assert not multiple_choice("Blue.", "B", COLOURS)
    assert multiple_choice("Blue.", "D", COLOURS)


@pytest.mark.parametrize(
    "answer", ["I cannot tell.", "", "???", "B or C", "The answer is B or C.", "(A) or (D)?", "not B"]
)
def test_an_answer_that_settles_nothing_is_wrong_whatever_the_truth(answer: str) -> None:
    assert read_choice(answer, COLOURS) is None
    assert not any(multiple_choice(answer, truth, COLOURS) for truth in "ABCD")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("b", "B"),
        ("(c)", "C"),
        ("a", "A"),
        ("**D**", "D"),
        ("B. green", "B"),
        ("(B) green", "B"),
        ("B) it is green, as I see", "B"),
        ("C: because of the light", "C"),
        (r"\boxed{C}", "C"),
        ("<answer>D</answer>", "D"),
        ("The final answer is **A**.", "A"),
        ("answer: b", "B"),
        ("The correct answer is option C.", "C"),
        ("The answer is: the letter D", "D"),
        ("The answer is A because the sign is red.", "A"),
        ("Answer: A dog is seen, so (C)", "C"),
        ("I would choose B here", "B"),
        ("C is correct.", "C"),
        ("(A) is wrong and so is the next one. Hence (B).", "B"),
        ("It is not B, so D.", "D"),
        ("It isn't B. Hence C.", "C"),
        ("A, B and C are ruled out. The answer is D.", "D"),
        ("First I said the answer is A. Now the answer is B.", "B"),
        ("Option C", "C"),
        ("I see the green one", "B"),
    ],
)
def test_the_rule_reads_what_a_person_would(answer: str, letter: str) -> None:
    assert read_choice(answer, COLOURS) == letter


@pytest.mark.parametrize(
    "answer", ["A dog is on the left.", "It is a dog.", "USA", "A's", "(A) cat (B) dog (C) cow (D) pig"]
)
def test_letters_that_are_no_choice_are_not_read(answer: str) -> None:
    assert read_choice(answer) is None


def test_a_letter_beyond_the_options_is_not_read() -> None:
    assert read_choice("(D)", ("yes", "no")) is None
    assert read_choice("(D)", ("yes", "no", "both", "neither")) == "D"
    assert read_choice("(H)") == "H"
    assert read_choice("(I)") is None


def test_an_option_that_is_itself_a_letter_does_not_hide_the_letters() -> None:
    assert read_choice("I say so: C.", ("C", "D", "E", "F")) == "C"


def test_an_options_own_letters_are_not_read_as_a_choice() -> None:
    vitamins = ("vitamin C", "vitamin D", "iron", "zinc")
    assert read_choice("It is vitamin C.", vitamins) == "A"
    assert read_choice("It is vitamin D", vitamins) == "B"


def test_the_longer_of_two_options_that_contain_each_other_is_meant() -> None:
    sides = ("left", "upper left", "right", "upper right")
    assert read_choice("on the upper left", sides) == "B"
    assert read_choice("on the left", sides) == "A"
    assert read_choice("left or right", sides) is None


def test_yes_as_an_option() -> None:
    assert multiple_choice("Yes.", "A", ("Yes", "No"))
    assert not multiple_choice("No.", "A", ("Yes", "No"))


def test_the_truth_may_be_an_options_text() -> None:
    assert multiple_choice("(D)", "blue", COLOURS)
    assert multiple_choice("(D)", "(D) blue", COLOURS)
    assert not multiple_choice("(C)", "blue", COLOURS)


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("Yes.", "yes"),
        ("  The   Red sign! ", "red sign"),
        ("blue-green", "Blue green"),
        ("don't", "dont"),
        ("don’t", "dont"),
        ("−5", "-5"),
        (" ?! ", "?!"),
        ("7", "7."),
        ("A", "a"),
        ("the A", "A"),
        ("ｒｅｄ", "red"),
        ("red 3 7", "red 3 7"),
    ],
)
def test_exact_match_looks_past_case_punctuation_space_and_articles(answer: str, truth: str) -> None:
    assert exact_match(answer, truth)


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("blue", "red"),
        ("1.5", "15"),
        ("-5", "5"),
        ("1,5", "15"),
        ("10:30", "1030"),
        ("the", "a"),
        ("", "a"),
        ("!", "?"),
        ("$5", "5"),
        ("red 37", "red 3 7"),
        ("the red sign", "red"),
        pytest.param("a/b", "b", marks=pytest.mark.fault(32)),
        pytest.param("plan a", "plan", marks=pytest.mark.fault(32)),
    ],
)
def test_exact_match_tells_different_answers_apart(answer: str, truth: str) -> None:
    assert not exact_match(answer, truth)


def test_what_normalising_leaves() -> None:
    assert normalised("  The 2 Signs, (red) & a -1.5° one...") == "2 signs red -1.5° one"
    assert normalised("?!") == "?!"
    assert normalised("red.5 5.red the.b") == "red 5 5 red the b"


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("There are 7 signs.", "7", True),
        ("07", "7", True),
        ("7.0", "7", True),
        ("I count 2 and 3, together 5", "5", True),
        ("1,200 people", "1200", True),
        ("minus: -5", "-5", True),
        ("pages 3-5", "5", True),
        ("−5", "-5", True),
        ("A7", "7", True),
        ("Seven", "7", True),
        ("the one on the left shows 4", "4", True),
        ("4 is the one", "4", True),
        pytest.param("twenty-one", "21", True, marks=pytest.mark.fault(32)),
        pytest.param("about two hundred of them", "200", True, marks=pytest.mark.fault(32)),
        pytest.param(".5", "0.5", True, marks=pytest.mark.fault(32)),
        pytest.param("twenty-one", "1", False, marks=pytest.mark.fault(32)),
        ("7", "-7", False),
        ("17", "7", False),
        ("1.5", "15", False),
        ("none", "1", False),
        ("someone", "1", False),
        ("", "0", False),
    ],
)
def test_numbers_are_compared_as_numbers(answer: str, truth: str, right: bool) -> None:
    assert number(answer, truth) == right


def test_an_answer_without_a_number_holds_none() -> None:
    assert read_number("no idea") is None
    assert read_number("twenty") == 20


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Yes.", "yes"),
        ("YES", "yes"),
        ("No, there is not.", "no"),
        ("Yes, there is no doubt.", "yes"),
        ("There is no dog.", "no"),
        ("I would say yes.", "yes"),
        ("yes or no?", "yes"),
        ("Either yes or no.", None),
        ("I do not know.", None),
        ("Noon", None),
        ("", None),
    ],
)
def test_yes_and_no_are_words(answer: str, read: str | None) -> None:
    assert read_yes_no(answer) == read
    assert yes_no(answer, "Yes") == (read == "yes")
    assert yes_no(answer, "no.") == (read == "no")


@pytest.mark.parametrize(
    ("name", "truth", "expected"),
    [
        ("multiple_choice", "purple", "the letter or text of one option"),
        ("number", "many", "a number"),
        ("yes_no", "perhaps", "yes or no"),
    ],
)
def test_a_truth_that_the_scorer_cannot_read_is_refused(name: str, truth: str, expected: str) -> None:
    with pytest.raises(DataError) as refusal:
        SCORERS[name]("A", truth, COLOURS)
    assert str(refusal.value) == (
        f"the true answer {truth!r} cannot be scored: expected {expected}. Mend the column `answer`."
    )


def test_scorers_are_found_by_name() -> None:
    assert scorer_named("exact_match") is exact_match
    assert all(scorer_named(name) is SCORERS[name] for name in ("multiple_choice", "number", "yes_no"))


def test_an_unknown_scorer_is_answered_with_the_nearest() -> None:
    with pytest.raises(TrainerError) as refusal:
        scorer_named("exactmatch")
    assert str(refusal.value) == "there is no scorer 'exactmatch'. Did you mean 'exact_match'?"
    with pytest.raises(TrainerError) as refusal:
        scorer_named("gpt")
    assert str(refusal.value) == ("there is no scorer 'gpt'. Give one of exact_match, multiple_choice, number, yes_no.")
