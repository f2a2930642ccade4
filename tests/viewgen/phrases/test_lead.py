"""What may stand before a question hides none of its phrases."""

from __future__ import annotations

import pytest

from viewgen.phrases.lead import lead_end
from viewgen.phrases.rules import find_phrases

QUESTIONS = {
    "What is the color of the dog's collar?": ["the dog's collar"],
    "Is the red cup left of the blue plate?": ["the red cup", "the blue plate"],
    "What number is written on the white bus?": ["the white bus"],
    "How many birds are on the wire?": ["the wire"],
    "Is there a fire hydrant in the image?": ["a fire hydrant"],
}
LEADS = (
    "1. ",
    "12) ",
    "(1) ",
    "a) ",
    "A. ",
    "(B) ",
    "- ",
    "Q: ",
    "Q1. ",
    "Question 3: ",
    "**Question:** ",
    "[Question] ",
    "### Question\n",
    "<image>\n",
    "<image> ",
    "<|image|>",
    "<img src='x.png'>",
    "<p>",
    "Please answer: ",
    "Answer with yes or no. ",
    "Yes or no: ",
    "Please answer the question. ",
    "Please answer the following question: ",
    "Answer the question using a single word or phrase. ",
    "Given the image, answer the following question. ",
    "Look at the image and answer: ",
    "Look at the picture carefully. ",
    "Options: A. red B. blue. ",
    "Options: A. red B. blue\n",
    "Options:\nA. red\nB. blue\nQuestion: ",
    "Choices: (A) red (B) blue (C) green\n",
    "(A) red (B) blue\n",
    "Hint: Please answer the question and provide the correct option letter at the end.\nQuestion: ",
    "Select the best answer to the following multiple-choice question based on the image. Respond with only the letter"
    " (A, B, C, or D) of the correct option.\n",
    "Can you tell me ",
    "USER: <image>\n1. ",
)


@pytest.mark.fault(17)
@pytest.mark.parametrize("lead", LEADS)
def test_what_stands_before_a_question_hides_no_phrase(lead: str) -> None:
    for question, wanted in QUESTIONS.items():
        phrases = find_phrases(lead + question)
        assert [phrase.text for phrase in phrases] == wanted
        assert all((lead + question)[phrase.start : phrase.end] == phrase.text for phrase in phrases)


@pytest.mark.fault(17)
@pytest.mark.parametrize("lead", ["1. ", "Q1. ", "Options: A. red B. blue\n", "Answer with yes or no. ", "- (B) "])
def test_a_lead_ends_where_the_question_begins(lead: str) -> None:
    assert lead_end(f"{lead}Is the dog red?") == len(lead)


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    "text",
    ["Is the dog red?", "Select the red cup.", "Answer with yes or no.", "A. red B. blue", "U.S. flags are where?", ""],
)
def test_a_text_without_a_lead_or_without_anything_else_is_left_whole(text: str) -> None:
    assert lead_end(text) == 0


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("1. What color is the cup?\nA. red\nB. blue", "the cup"),
        ("What color is the cup? (A) red (B) blue", "the cup"),
        ("What color is the Dr. Pepper can?", "the Dr. Pepper can"),
        ("What number is on the U.S. mail truck?", "the U.S. mail truck"),
        ("What is written on the St. Louis sign?", "the St. Louis sign"),
        ("What is the number on No. 7's jersey?", "No. 7's jersey"),
        ("We are in the U.S. What color is the flag?", "the flag"),
    ],
)
def test_options_behind_a_question_and_abbreviations_in_it(question: str, wanted: str) -> None:
    assert [phrase.text for phrase in find_phrases(question)] == [wanted]
