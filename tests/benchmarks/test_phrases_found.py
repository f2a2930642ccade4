"""The measure of phrases itself, and what the rules reach by it on the hand-written questions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.phrases_found import QUESTIONS, Asked, hits, judge, judge_file, read_questions, share
from viewgen.phrases import PhrasesConfig, find_phrases, phrase_finder
from viewgen.records import Phrase

FAMILIES = {"vstar", "hrbench", "textvqa", "gqa", "mme-realworld"}


def found(*texts: str) -> list[Phrase]:
    return [Phrase(text=text, start=0, end=len(text), rule="test") for text in texts]


def asked(*wanted: str) -> Asked:
    return Asked(family="gqa", question="?", wanted=tuple(tuple(target.split(" | ")) for target in wanted))


@pytest.mark.parametrize(
    ("phrase", "target", "hit"),
    [
        ("the dog's collar", "dog's collar", True),
        ("The Dog's Collar", "dog's collar", True),
        ("the collar", "dog's collar", False),
        ("the dog and its collar", "dog collar", False),  # not side by side
        ("the small red dog", "dog", True),  # two words more
        ("the very small red dog", "dog", False),  # three
        ("the dog in the house", "dog", True),  # articles are no words
        ("hotdog", "dog", False),
        ("", "dog", False),
    ],
)
def test_a_phrase_hits_a_target_that_it_holds_with_two_words_more_at_most(phrase: str, target: str, hit: bool) -> None:
    assert hits(phrase, [target]) is hit


def test_any_wording_of_a_target_will_do() -> None:
    assert hits("the bus", ["side of the bus", "bus"])
    assert not hits("the bus", ["side of the bus"])


def test_each_target_wants_a_phrase_of_its_own() -> None:
    assert judge(asked("dog", "cat"), found("the cat", "the dog")).exact
    one_for_two = judge(asked("dog", "cat"), found("the dog cat"))
    assert (one_for_two.found, len(one_for_two.missed), one_for_two.num_more) == (False, 1, 0)


@pytest.mark.parametrize(
    ("texts", "is_found", "is_exact"),
    [
        (["dog"], True, True),
        (["dog", "sky"], True, False),
        (["dog", "sky", "sea"], False, False),
        (["sky"], False, False),
    ],
)
def test_one_phrase_too_many_is_forgiven_and_counted(texts: list[str], is_found: bool, is_exact: bool) -> None:
    verdict = judge(asked("dog"), found(*texts))
    assert (verdict.found, verdict.exact) == (is_found, is_exact)


def test_where_nothing_is_wanted_any_phrase_is_wrong() -> None:
    assert judge(asked(), []).exact
    assert not judge(asked(), found("dog")).found


def test_the_set_is_large_enough_and_a_third_of_it_is_held_out() -> None:
    seen, held_out = (read_questions(QUESTIONS / f"{name}.jsonl") for name in ("seen", "held_out"))
    assert len(seen) + len(held_out) >= 180
    assert 0.32 <= len(held_out) / (len(seen) + len(held_out)) <= 0.35
    for part in (seen, held_out):
        counts = Counter(each.family for each in part)
        assert set(counts) == FAMILIES
        assert max(counts.values()) <= 1.1 * min(counts.values())
    assert not {each.question for each in seen} & {each.question for each in held_out}


def test_every_wanted_target_can_be_found() -> None:
    for name in ("seen", "held_out"):
        for each in read_questions(QUESTIONS / f"{name}.jsonl"):
            for target in each.wanted:
                assert any(wording in each.question for wording in target), each


@pytest.mark.parametrize("name", ["seen", "held_out"])
def test_the_rules_find_what_is_wanted_in_nine_questions_of_ten(name: str) -> None:
    verdicts = judge_file(QUESTIONS / f"{name}.jsonl", phrase_finder(PhrasesConfig()).find)
    assert share(verdicts) >= 0.9
    assert share(verdicts, "exact") >= 0.9


@pytest.mark.parametrize("path", sorted(QUESTIONS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_phrase_stands_where_it_says_whatever_is_cut_off_the_question(path: Path) -> None:
    for each in read_questions(path):
        for end in range(0, len(each.question) + 1, 7):
            question = each.question[:end]
            phrases = find_phrases(question)
            assert phrases == find_phrases(question)
            assert [phrase.start for phrase in phrases] == sorted(phrase.start for phrase in phrases)
            for phrase in phrases:
                assert phrase.text == question[phrase.start : phrase.end] == phrase.text.strip() != ""
