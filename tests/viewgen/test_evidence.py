"""Evidence: one box around what was found, or an abstention that says why."""

from __future__ import annotations

import pytest

from viewgen.boxes import Box
from viewgen.errors import SettingsError
from viewgen.evidence import EvidenceConfig, choose_evidence
from viewgen.records import Evidence, Phrase, Region, Rejection
from viewgen.settings import settings_from

EXACT = EvidenceConfig(pad_ratio=1.0, least_side_px=1, max_share=1.0, max_aspect=100.0)


def phrases(*texts: str) -> list[Phrase]:
    return [Phrase(text=text, start=0, end=len(text), rule="test") for text in texts]


def region(phrase: str, box: Box, score: float = 1.0, rank: int = 0, source: str = "annotated") -> Region:
    return Region(phrase=phrase, box=box, source=source, score=score, rank=rank)


def kept(outcome: Evidence | Rejection) -> Evidence:
    assert isinstance(outcome, Evidence), outcome
    return outcome


def refused(outcome: Evidence | Rejection) -> tuple[str, str]:
    assert isinstance(outcome, Rejection)
    assert outcome.stage == "evidence"
    return outcome.reason, outcome.message


def test_a_box_grows_by_the_ratio_around_its_centre() -> None:
    config = EvidenceConfig(pad_ratio=1.5, least_side_px=1)
    dog = region("dog", Box(100, 100, 120, 140))
    evidence = kept(choose_evidence(phrases("dog"), [dog], 400, 400, config))
    assert evidence == Evidence(boxes=(Box(95, 90, 125, 150),), regions=(dog,))


def test_a_small_box_grows_to_the_least_side_and_stays_in_the_image() -> None:
    config = EvidenceConfig(pad_ratio=1.0, least_side_px=48)
    evidence = kept(choose_evidence(phrases("dog"), [region("dog", Box(0, 50, 10, 60))], 160, 160, config))
    assert evidence.boxes == (Box(0, 31, 48, 79),)


def test_a_thin_box_is_widened_to_the_aspect_limit() -> None:
    config = EvidenceConfig(pad_ratio=1.0, least_side_px=1, max_aspect=4.0)
    evidence = kept(choose_evidence(phrases("pole"), [region("pole", Box(100, 0, 102, 100))], 400, 400, config))
    assert evidence.boxes == (Box(88, 0, 113, 100),)


def test_an_image_too_thin_for_the_aspect_limit_gives_no_evidence() -> None:
    config = EvidenceConfig(pad_ratio=1.0, least_side_px=1, max_aspect=4.0, max_share=1.0)
    outcome = choose_evidence(phrases("sky"), [region("sky", Box(0, 0, 100, 5))], 400, 10, config)
    assert refused(outcome) == (
        "too_thin",
        "the evidence is 100 x 10 px of 400 x 10 px, an aspect of 10.0, above max_aspect 4",
    )


def test_two_phrases_share_the_box_around_both() -> None:
    dog, cat = region("dog", Box(16, 16, 64, 64)), region("cat", Box(48, 80, 96, 128))
    evidence = kept(choose_evidence(phrases("dog", "cat"), [dog, cat], 160, 160, EXACT))
    assert evidence == Evidence(boxes=(Box(16, 16, 96, 128),), regions=(dog, cat))


def test_every_annotated_box_of_a_phrase_is_evidence() -> None:
    dogs = [region("dog", Box(0, 0, 10, 10)), region("dog", Box(30, 0, 40, 10))]
    assert kept(choose_evidence(phrases("dog"), dogs, 100, 100, EXACT)).boxes == (Box(0, 0, 40, 10),)


def test_only_the_best_retrieved_tile_is_evidence() -> None:
    tiles = [
        region("dog", Box(16, 0, 64, 48), 3.0, 0, "retrieval"),
        region("dog", Box(80, 80, 128, 128), 2.0, 1, "retrieval"),
    ]
    evidence = kept(choose_evidence(phrases("dog"), tiles, 160, 160, EXACT))
    assert evidence == Evidence(boxes=(Box(16, 0, 64, 48),), regions=(tiles[0],))


def test_evidence_that_takes_more_than_its_share_is_refused_with_the_numbers() -> None:
    dog = [region("dog", Box(0, 0, 50, 50))]
    config = EvidenceConfig(pad_ratio=1.0, least_side_px=1, max_share=0.25)
    assert kept(choose_evidence(phrases("dog"), dog, 100, 100, config)).boxes == (Box(0, 0, 50, 50),)
    assert refused(choose_evidence(phrases("dog"), [region("dog", Box(0, 0, 50, 51))], 100, 100, config)) == (
        "too_large",
        "the evidence is 50 x 51 px of 100 x 100 px, a share of 0.255, above max_share 0.25",
    )


def test_two_things_far_apart_are_too_large_though_each_is_small() -> None:
    pair = [region("dog", Box(0, 0, 10, 10)), region("cat", Box(90, 90, 100, 100))]
    config = EvidenceConfig(pad_ratio=1.0, least_side_px=1, max_share=0.25)
    assert refused(choose_evidence(phrases("dog", "cat"), pair, 100, 100, config))[0] == "too_large"


def test_nothing_found_is_said_of_the_phrase_that_lacks_it() -> None:
    outcome = choose_evidence(phrases("the dog", "the cat"), [region("the dog", Box(0, 0, 9, 9))], 90, 90, EXACT)
    assert refused(outcome) == ("no_region", "no region was found for 'the cat'")
    assert refused(choose_evidence([], [], 90, 90, EXACT)) == ("no_region", "no phrase was looked for")


def test_a_retrieved_tile_that_does_not_stand_out_is_not_believed() -> None:
    config = EvidenceConfig(pad_ratio=1.0, least_side_px=1, max_share=1.0, min_margin=2.0)
    tile = Box(0, 0, 9, 9)
    below = choose_evidence(phrases("dog"), [region("dog", tile, 1.996, source="retrieval")], 90, 90, config)
    assert refused(below) == ("no_region", "the best region for 'dog' has margin 1.996, below min_margin 2")
    at = choose_evidence(phrases("dog"), [region("dog", tile, 2.0, source="retrieval")], 90, 90, config)
    assert kept(at).boxes == (tile,)
    annotated = choose_evidence(phrases("dog"), [region("dog", tile, 1.0)], 90, 90, config)
    assert kept(annotated).boxes == (tile,)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"pad_ratio": 0.9}, "pad_ratio is 0.9: expected 1 or more"),
        ({"pad_ratio": float("nan")}, "pad_ratio is nan: expected 1 or more"),
        ({"least_side_px": 0}, "least_side_px is 0: expected 1 or more pixels"),
        ({"max_aspect": 0.5}, "max_aspect is 0.5: expected 1 or more"),
        ({"max_share": 0.0}, "max_share is 0.0: expected a share above 0 and up to 1"),
        ({"max_share": 1.1}, "max_share is 1.1: expected a share above 0 and up to 1"),
        ({"min_margin": -1.0}, "min_margin is -1.0: expected 0 or more"),
        ({"pad_ration": 1.0}, "unknown setting 'pad_ration'. Did you mean 'pad_ratio'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_from(table, EvidenceConfig, "recipe.toml")
    assert str(refusal.value) == f"recipe.toml: {message}"
