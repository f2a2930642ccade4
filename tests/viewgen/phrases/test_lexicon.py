"""The word lists: each word has one tag."""

from __future__ import annotations

import pytest

from viewgen.phrases import lexicon


@pytest.mark.parametrize(("word", "tag"), [("the", "D"), ("what", "W"), ("is", "B"), ("color", "L"), ("red", "J")])
def test_common_words_have_their_tags(word: str, tag: str) -> None:
    assert lexicon.TAG_OF_WORD[word] == tag


def test_words_are_lower_case_and_tags_single_letters() -> None:
    for word, tag in lexicon.TAG_OF_WORD.items():
        assert word == word.casefold()
        assert len(tag) == 1
