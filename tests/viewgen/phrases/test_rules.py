"""Phrases: what is found in a question, by which rule, and what is left alone."""

from __future__ import annotations

import time

import pytest

from viewgen.phrases import find_phrases
from viewgen.source.demo import DemoConfig, ask, draw_scene, scene_stream

FOUND = [
    ("What is the color of the dog's collar?", "attribute", ["the dog's collar"]),
    ("What color is the dog's collar in the image?", "attribute", ["the dog's collar"]),
    ("Based on the picture, which color is the hat of the boy?", "attribute", ["the hat of the boy"]),
    ("What is the brand of the laptop on the desk?", "attribute", ["the laptop on the desk"]),
    ("What kind of animal is on the bench?", "place", ["the bench"]),
    ("What type of vehicle is this?", "attribute", ["vehicle"]),
    ("What number is on the red triangle?", "reading", ["the red triangle"]),
    ("What number is written on the white bus in the picture?", "reading", ["the white bus"]),
    ("What does the sign above the door say?", "reading", ["the sign above the door"]),
    ('What digit is on the sign that says "STOP"?', "reading", ['the sign that says "STOP"']),
    ("What is printed on the badge of the astronaut?", "reading", ["the badge of the astronaut"]),
    ("Is the red triangle left or right of the blue circle?", "relation", ["the red triangle", "the blue circle"]),
    ("Is the red triangle above or below the blue circle?", "relation", ["the red triangle", "the blue circle"]),
    ("Is the dog on the left or right side of the bicycle?", "relation", ["the dog", "the bicycle"]),
    ("Is the dog to the left of the bicycle?", "relation", ["the dog", "the bicycle"]),
    ("On which side of the car is the man?", "relation", ["the car", "the man"]),
    ("How far is the tree from the house?", "relation", ["the tree", "the house"]),
    ("What is between the cup and the plate?", "relation", ["the cup", "the plate"]),
    ("Which is larger, the red triangle or the blue circle?", "choice", ["the red triangle", "the blue circle"]),
    ("Are the cat and the dog the same color?", "pair", ["the cat", "the dog"]),
    ("How many dogs are on the sofa?", "counting", ["the sofa"]),
    ("How many dogs are there in the image?", "counting", ["dogs"]),
    ("How many windows does the red house have?", "counting", ["the red house"]),
    ("Is there a dog in the picture?", "existence", ["a dog"]),
    ("Can you see a ladder?", "existence", ["a ladder"]),
    ("What is the man in the red shirt doing?", "action", ["the man in the red shirt"]),
    ("What is the table made of?", "action", ["the table"]),
    ("Where is the cat?", "place", ["the cat"]),
    ("Who is standing next to the bus?", "place", ["the bus"]),
    ("Is the umbrella red or blue?", "yes_no", ["the umbrella"]),
    ("Does the dog wear a collar?", "yes_no", ["the dog"]),
    ('What is written above "EXIT"?', "quoted", ["EXIT"]),
    ("Describe the red car.", "noun_phrase", ["the red car"]),
    ("According to the sign near the gate, when does the park close?", "source", ["the sign near the gate"]),
    ("Where is the taxi positioned relative to the tram?", "relation", ["the taxi", "the tram"]),
    ("Is it true that the cup is to the left of the plate?", "relation", ["the cup", "the plate"]),
    ("Is the box on the left side of the tree or on the right side of it?", "relation", ["the box", "the tree"]),
    ("Are there any benches or chairs?", "pair", ["benches", "chairs"]),
    ("What are the colors of the hat and the scarf?", "pair", ["the hat", "the scarf"]),
    ('What word is below "SALE" on the window?', "reading", ["the window"]),
    ("What is the man standing on the ladder holding?", "action", ["the man standing on the ladder"]),
    ("Are the shoes that the player is wearing white?", "yes_no", ["the shoes that the player is wearing"]),
    ("What is the colour of the umbrella held by the tall man?", "attribute", ["the umbrella held by the tall man"]),
    ("What does the machine in the corner dispense?", "action", ["the machine in the corner"]),
    ("What animals are there?", "asked", ["animals"]),
    ("Is the trash can near the bus stop full?", "yes_no", ["the trash can near the bus stop"]),
    ("Is the lamp on the left tower on or off?", "yes_no", ["the lamp on the left tower"]),
    ("What is on the left tower?", "place", ["the left tower"]),
    ("What colour is the cat in the image on the mat?", "attribute", ["the cat"]),
    ("There is a girl on the swing. Is she laughing?", "existence", ["a girl on the swing"]),
    ("Is the fire hydrant in the image?", "existence", ["the fire hydrant"]),
    ("What is in the left part of the picture next to the cup?", "place", ["the cup"]),
]


@pytest.mark.parametrize(("question", "rule", "texts"), FOUND, ids=[question for question, _, _ in FOUND])
def test_a_question_names_what_must_be_seen_to_answer_it(question: str, rule: str, texts: list[str]) -> None:
    phrases = find_phrases(question)
    assert [phrase.text for phrase in phrases] == texts
    assert {phrase.rule for phrase in phrases} == {rule}
    assert all(phrase.text == question[phrase.start : phrase.end] for phrase in phrases)


@pytest.mark.parametrize(
    "options",
    [
        " (A) the red one (B) the blue one",
        "\nA. rubber\nB. the cotton of the shirt",
        "\nA) rubber B) cotton",
        " Options: rubber, cotton",
        "\nAnswer with the option's letter from the given choices directly.",
    ],
)
def test_options_and_instructions_name_nothing(options: str) -> None:
    (phrase,) = find_phrases("What is the material of the oven mitt?" + options)
    assert phrase.text == "the oven mitt"
    assert find_phrases("Why?" + options) == ()


def test_offsets_count_from_the_question_as_it_was_asked() -> None:
    question = "According to the image, what is the shape of the cookie shown in the picture?"
    (phrase,) = find_phrases(question)
    assert (phrase.text, phrase.start, phrase.end) == ("the cookie", 45, 55)
    assert question[45:55] == "the cookie"


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What does the sign in the image say?", "the sign"),
        ("What is on the table , in the photo?", "the table"),
        ('What stands below " EXIT "?', "EXIT"),
    ],
)
def test_a_phrase_has_no_blank_or_hidden_letter_at_its_ends(question: str, text: str) -> None:
    (phrase,) = find_phrases(question)
    assert phrase.text == text
    assert phrase.rule != "noun_phrase"  # the rule that takes what the others leave


def test_a_picture_frame_is_a_thing() -> None:
    (phrase,) = find_phrases("What is the color of the dog in the picture frame?")
    assert phrase.text == "the dog in the picture frame"


@pytest.mark.parametrize(
    "question", ["", "Why?", "What is this?", "What is in the image?", "Is it on the left?", "???"]
)
def test_a_question_that_names_nothing_has_no_phrase(question: str) -> None:
    assert find_phrases(question) == ()


def test_phrases_come_in_the_order_in_which_they_stand() -> None:
    question = "On which side of the car is the man?"
    car, man = find_phrases(question)
    assert (car.start, man.start) == (17, 28)


@pytest.mark.parametrize(
    "piece",
    [
        "dog ",
        "the ",
        "not ",
        "of the dog that is ",
        "is the dog in the ",
        "what is the man wearing a hat and ",
        "top ",
        "\n",
        '"',
        "( ",
        "A. ",
        "1. ",
        "tell me ",
        "A. B. C. ",
        "U.S.",
    ],
)
def test_a_question_as_long_as_a_book_is_read_in_seconds(piece: str) -> None:
    started = time.process_time()
    find_phrases(piece * (20_000 // len(piece)))
    assert time.process_time() - started < 5


def test_of_a_long_story_the_question_at_its_end_is_read() -> None:
    question = "The sun sets behind a hill. " * 300 + "What colour is the kite?"
    (phrase,) = find_phrases(question)
    assert phrase.text == question[phrase.start : phrase.end] == "the kite"


def test_a_thing_named_twice_is_looked_for_once() -> None:
    assert [phrase.text for phrase in find_phrases("Is the dog left of the dog?")] == ["the dog"]


def test_every_question_of_the_drawn_scenes_names_its_signs() -> None:
    for index in range(20):
        stream = scene_stream(3, "phrases", index)
        scene = draw_scene(stream, DemoConfig())
        for asked in ask(stream, scene, num_relations=2):
            texts = [phrase.text for phrase in find_phrases(asked.text)]
            assert len(texts) == (2 if asked.kind == "relation" else 1)
            assert asked.kind == "absent" or texts == [sign.phrase for sign in asked.signs]
