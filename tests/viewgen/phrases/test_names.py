"""Phrases that may name one thing."""

import pytest

from viewgen.phrases.names import may_name_the_same, words_named


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a red circle", "the red circle"),
        ("the red circle", "Red  Circles"),
        ("red circle", "the circle"),
        ("the man", "a man with a hat"),
        ("circle red", "the red circle"),
        ("these boxes", "a box"),
        ("two cherries", "two cherry"),
        ("glasses", "a glass"),
        ("the dog's collar", "a dog's collar"),
        ("one", "the one"),
    ],
)
def test_these_may_be_one_thing(one: str, other: str) -> None:
    assert may_name_the_same([one], [other])
    assert may_name_the_same(["a tree", other], [one, "a house"])


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("one", "other"),
    [("the red circle", "the blue circle"), ("the bus", "a truck"), ("the left shoe", "the left glove")],
)
def test_these_are_two_things(one: str, other: str) -> None:
    assert not may_name_the_same([one], [other])


@pytest.mark.fault(5)
def test_words_are_lower_case_singular_and_without_articles() -> None:
    assert words_named("The Red Circles") == {"red", "circle"}
    assert words_named("The") == {"the"}
    assert not may_name_the_same([], ["a dog"])
