"""Captions: every phrase is in one, whole, where its tokens say, and none is longer than a detector reads."""

from __future__ import annotations

import re

import numpy as np
import pytest

from viewgen.detectors.captions import Caption, captions, parts, scores


def words(text: str) -> list[tuple[int, int]]:
    """Return a tokenizer: letters of up to four, or one other sign, to a token."""
    return [found.span() for found in re.finditer(r"[^\W\d_]{1,4}|\S", text)]


def tokens(caption: Caption) -> list[str]:
    """As a model counts them, with the special ones that open and close a caption."""
    return ["[CLS]", *(caption.text[first:last] for first, last in words(caption.text)), "[SEP]"]


def spans(caption: Caption) -> list[tuple[str, str]]:
    return [(piece.phrase, "".join(tokens(caption)[piece.first_token : piece.last_token])) for piece in caption.pieces]


def test_phrases_are_joined_as_grounding_dino_learned_them() -> None:
    (caption,) = captions(["The red sign", "a dog"], words, 256)
    assert caption.text == "the red sign . a dog ."
    assert tokens(caption) == ["[CLS]", "the", "red", "sign", ".", "a", "dog", ".", "[SEP]"]
    assert [(p.phrase, p.first_token, p.last_token) for p in caption.pieces] == [
        ("The red sign", 1, 4),
        ("a dog", 5, 7),
    ]


def test_stops_inside_a_phrase_do_not_part_it() -> None:
    (caption,) = captions(["Mr. Smith's no. 5?"], words, 256)
    assert caption.text == "mr smith's no 5 ."
    assert caption.text.count(".") == 1


def test_a_phrase_asked_twice_is_read_once_and_one_without_words_never() -> None:
    (caption,) = captions(["dog", "?", "dog", " . "], words, 256)
    assert caption.text == "dog ."
    assert captions(["", "..."], words, 256) == ()
    assert captions([], words, 256) == ()


@pytest.mark.parametrize("max_tokens", [4, 5, 9, 20])
def test_a_list_that_is_too_long_becomes_several_captions_that_hold_all_of_it(max_tokens: int) -> None:
    phrases = [f"the {colour} {thing}" for colour in ("red", "lightgreen") for thing in ("sign", "dog", "hippopotamus")]
    found = captions(phrases, words, max_tokens)
    assert all(len(tokens(caption)) <= max_tokens for caption in found)
    read = [span for caption in found for span in spans(caption)]
    for phrase in phrases:
        assert "".join(text for whose, text in read if whose == phrase) == phrase.replace(" ", "")
    assert list(dict.fromkeys(phrase for phrase, _ in read)) == phrases


def test_captions_are_as_full_as_they_can_be() -> None:
    assert [caption.text for caption in captions(["a b", "c d", "e"], words, 8)] == ["a b . c d .", "e ."]
    assert len(captions(["a b", "c d", "e"], words, 10)) == 1


def test_a_phrase_that_is_too_long_is_cut_between_words_where_there_are_any() -> None:
    assert [text for _, text in parts(["one two three four"], words, 3)] == ["one two", "three four"]
    assert parts(["abcdefghijkl m"], words, 2) == [("abcdefghijkl m", "abcdefgh"), ("abcdefghijkl m", "ijkl m")]


def test_a_piece_never_becomes_longer_by_being_cut() -> None:
    def greedy(text: str) -> list[tuple[int, int]]:
        """Three letters are one token, but only before a fourth."""
        return [found.span() for found in re.finditer(r"abc(?=d)|\S", text)]

    found = parts(["abcdabcd"], greedy, 1)
    assert all(len(greedy(text)) <= 1 for _, text in found)
    assert "".join(text for _, text in found) == "abcdabcd"


def test_a_score_is_that_of_the_likeliest_token_of_its_own() -> None:
    (caption,) = captions(["red sign", "dog"], words, 256)  # [CLS] red sign . dog . [SEP]
    token_QT = np.array([[0.9, 0.1, 0.2, 0.9, 0.3, 0.9, 0.9, 0.0], [0.9, 0.5, 0.4, 0.9, 0.0, 0.9, 0.9, 0.0]])
    assert scores(token_QT, caption).tolist() == [[0.2, 0.3], [0.5, 0.0]]


def test_a_limit_that_holds_no_phrase_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a caption of 3 tokens holds no phrase: expected 4 or more$"):
        captions(["dog"], words, 3)
