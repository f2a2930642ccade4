"""Evidence: one box around what was found, or an abstention that says why."""

from __future__ import annotations

import math
from typing import Any

import pytest

from viewgen.boxes import Box
from viewgen.errors import SettingsError
from viewgen.grounding.evidence import EvidenceConfig, choose_evidence
from viewgen.records import Evidence, Phrase, Region, Rejection
from viewgen.settings import settings_from

EXACT = EvidenceConfig(pad_ratio=1.0, min_side_px=1, max_share=1.0, max_aspect=100.0)


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
    config = EvidenceConfig(pad_ratio=1.5, min_side_px=1)
    dog = region("dog", Box(100, 100, 120, 140))
    evidence = kept(choose_evidence(phrases("dog"), [dog], 400, 400, config))
    assert evidence == Evidence(boxes=(Box(95, 90, 125, 150),), regions=(dog,))


def test_a_small_box_grows_to_the_least_side_and_stays_in_the_image() -> None:
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=48)
    evidence = kept(choose_evidence(phrases("dog"), [region("dog", Box(0, 50, 10, 60))], 160, 160, config))
    assert evidence.boxes == (Box(0, 31, 48, 79),)


@pytest.mark.parametrize(
    ("box", "snapped"),
    [
        (Box(19, 20, 45, 46), Box(16, 16, 64, 64)),  # grown to (8, 9, 56, 57), of which 16 is the nearest line
        (Box(80, 16, 128, 64), Box(80, 16, 128, 64)),  # on the grid already
        (Box(60, 60, 109, 100), Box(48, 48, 112, 112)),  # 49 px need four cells; 60 lies before 64
        (Box(140, 0, 150, 10), Box(112, 0, 160, 48)),
        (Box(8, 24, 56, 72), Box(0, 16, 64, 80)),  # moved to 16 it would lose what it is about
        (Box(150, 165, 170, 170), Box(128, 128, 170, 170)),  # the image ends within a cell
    ],
)
def test_boxes_lie_on_the_grid(box: Box, snapped: Box) -> None:
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=48, max_share=1.0, grid_px=16)
    side = 170 if box.x1 > 160 else 160
    assert kept(choose_evidence(phrases("dog"), [region("dog", box)], side, side, config)).boxes == (snapped,)


def test_a_thin_box_is_widened_to_the_aspect_limit() -> None:
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, max_aspect=4.0)
    evidence = kept(choose_evidence(phrases("pole"), [region("pole", Box(100, 0, 102, 100))], 400, 400, config))
    assert evidence.boxes == (Box(88, 0, 113, 100),)


def test_an_image_too_thin_for_the_aspect_limit_gives_no_evidence() -> None:
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, max_aspect=4.0, max_share=1.0)
    outcome = choose_evidence(phrases("sky"), [region("sky", Box(0, 0, 100, 5))], 400, 10, config)
    assert refused(outcome) == (
        "too_thin",
        "the evidence is 100 x 10 px of 400 x 10 px, an aspect of 10.0, above max_aspect 4",
    )


def test_two_phrases_share_the_box_around_both() -> None:
    dog, cat = region("dog", Box(16, 16, 64, 64)), region("cat", Box(48, 80, 96, 128))
    evidence = kept(choose_evidence(phrases("dog", "cat"), [dog, cat], 160, 160, EXACT))
    assert evidence == Evidence(boxes=(Box(16, 16, 96, 128),), regions=(dog, cat))


def test_another_thing_of_the_same_name_is_no_evidence() -> None:
    shown, other = region("dog", Box(10, 10, 20, 20)), region("dog", Box(60, 60, 70, 70), score=0.0, rank=1)
    assert kept(choose_evidence(phrases("dog"), [shown, other], 90, 90, EXACT)).regions == (shown,)


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
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, max_share=0.25)
    assert kept(choose_evidence(phrases("dog"), dog, 100, 100, config)).boxes == (Box(0, 0, 50, 50),)
    assert refused(choose_evidence(phrases("dog"), [region("dog", Box(0, 0, 50, 51))], 100, 100, config)) == (
        "too_large",
        "the evidence is 50 x 51 px of 100 x 100 px, a share of 0.255, above max_share 0.25",
    )


def test_two_things_far_apart_are_two_boxes_of_evidence() -> None:
    pair = [region("dog", Box(0, 0, 10, 10)), region("cat", Box(90, 90, 100, 100))]
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1)
    evidence = kept(choose_evidence(phrases("dog", "cat"), pair, 100, 100, config))
    assert evidence == Evidence(boxes=(Box(0, 0, 10, 10), Box(90, 90, 100, 100)), regions=tuple(pair))


def test_two_things_far_apart_are_too_large_where_one_box_is_wanted() -> None:
    pair = [region("dog", Box(0, 0, 10, 10)), region("cat", Box(90, 90, 100, 100))]
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, join_growth=math.inf)
    assert refused(choose_evidence(phrases("dog", "cat"), pair, 100, 100, config))[0] == "too_large"


@pytest.mark.parametrize(("left", "num_boxes"), [(70, 1), (71, 2)])
def test_boxes_are_joined_while_the_one_around_them_is_at_most_join_growth_times_as_large(
    left: int, num_boxes: int
) -> None:
    pair = [region("dog", Box(0, 0, 10, 10)), region("cat", Box(left, 0, left + 10, 10))]
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, join_growth=4.0, max_aspect=100.0)
    assert len(kept(choose_evidence(phrases("dog", "cat"), pair, 200, 200, config)).boxes) == num_boxes


def test_boxes_stay_apart_where_the_one_around_them_would_be_too_large() -> None:
    pair = [region("dog", Box(0, 0, 30, 30)), region("cat", Box(30, 30, 60, 60))]
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, max_share=0.25)
    assert len(kept(choose_evidence(phrases("dog", "cat"), pair, 120, 120, config)).boxes) == 1
    assert len(kept(choose_evidence(phrases("dog", "cat"), pair, 119, 119, config)).boxes) == 2


def test_a_joined_box_is_joined_with_what_is_near_it() -> None:
    trio = [region(name, Box(x, 0, x + 10, 10)) for name, x in (("a", 0), ("c", 120), ("b", 60))]
    evidence = kept(choose_evidence(phrases("a", "c", "b"), trio, 400, 400, EXACT))
    assert evidence.boxes == (Box(0, 0, 130, 10),)


def test_several_boxes_are_too_large_together() -> None:
    pair = [region("dog", Box(0, 0, 40, 40)), region("cat", Box(60, 60, 100, 100))]
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, max_share=0.25)
    assert refused(choose_evidence(phrases("dog", "cat"), pair, 100, 100, config)) == (
        "too_large",
        "the evidence is 40 x 40 and 40 x 40 px of 100 x 100 px, a share of 0.320, above max_share 0.25",
    )


def test_nothing_found_is_said_of_the_phrase_that_lacks_it() -> None:
    outcome = choose_evidence(phrases("the dog", "the cat"), [region("the dog", Box(0, 0, 9, 9))], 90, 90, EXACT)
    assert refused(outcome) == ("no_region", "no region was found for 'the cat'")
    assert refused(choose_evidence([], [], 90, 90, EXACT)) == ("no_region", "no phrase was looked for")


def test_a_retrieved_tile_that_does_not_stand_out_is_not_believed() -> None:
    config = EvidenceConfig(pad_ratio=1.0, min_side_px=1, max_share=1.0, min_margin=2.0)
    tile = Box(0, 0, 9, 9)
    below = choose_evidence(phrases("dog"), [region("dog", tile, 1.996, source="retrieval")], 90, 90, config)
    assert refused(below) == ("no_region", "the best region for 'dog' has margin 1.996, below min_margin 2")
    at = choose_evidence(phrases("dog"), [region("dog", tile, 2.0, source="retrieval")], 90, 90, config)
    assert kept(at).boxes == (tile,)
    annotated = choose_evidence(phrases("dog"), [region("dog", tile, 1.0)], 90, 90, config)
    assert kept(annotated).boxes == (tile,)


def dino(box: Box, score: float, rank: int = 0) -> Region:
    return region("dog", box, score, rank, "transformers")


def tile(box: Box, margin: float = 1.0, agreement: float | None = 0.1) -> Region:
    return Region(phrase="dog", box=box, source="retrieval", score=margin, rank=0, agreement=agreement)


def judged(regions: list[Region], rule: str = "test", **settings: Any) -> Evidence | Rejection:
    config = EvidenceConfig(**({"pad_ratio": 1.0, "min_side_px": 1, "max_share": 1.0} | settings))
    return choose_evidence([Phrase(text="dog", start=0, end=3, rule=rule)], regions, 400, 400, config)


HERE, THERE, ROUND = Box(10, 10, 30, 30), Box(200, 200, 220, 220), Box(0, 0, 100, 100)


def test_a_detector_s_box_is_believed_from_min_score_on() -> None:
    assert kept(judged([dino(HERE, 0.35)])).boxes == (HERE,)
    assert refused(judged([dino(HERE, 0.34)])) == (
        "no_region",
        "the best region for 'dog' has score 0.34, below min_score 0.35",
    )


def test_two_places_that_score_alike_are_ambiguous() -> None:
    assert refused(judged([dino(HERE, 0.8), dino(THERE, 0.7, 1)], ambiguity=0.1)) == (
        "ambiguous",
        "2 places for 'dog' have scores from 0.8 to 0.7, within ambiguity 0.1 of one another",
    )
    assert kept(judged([dino(HERE, 0.7), dino(THERE, 0.55, 1)], ambiguity=0.1)).boxes == (HERE,)
    assert kept(judged([dino(HERE, 0.7), dino(THERE, 0.7, 0)], ambiguity=0.0)).boxes == (HERE,)


def test_a_box_within_another_is_no_second_place() -> None:
    part, half_out = Box(12, 12, 20, 20), Box(21, 10, 43, 30)
    assert kept(judged([dino(HERE, 0.7), dino(part, 0.7, 1)])).boxes == (HERE,)
    assert refused(judged([dino(HERE, 0.7), dino(half_out, 0.7, 1)]))[0] == "ambiguous"


def test_a_counting_question_s_evidence_is_every_instance() -> None:
    three = [dino(HERE, 0.7), dino(THERE, 0.65, 1), dino(Box(300, 10, 320, 30), 0.3, 2)]
    assert kept(judged(three, rule="counting")).boxes == (HERE, THERE)


def test_retrieval_settles_which_of_two_places_is_meant() -> None:
    pair = [dino(HERE, 0.7), dino(THERE, 0.68, 1)]
    assert kept(judged([*pair, tile(Box(190, 190, 290, 290))])).boxes == (THERE,)
    unsure = tile(Box(190, 190, 290, 290), margin=0.4)
    assert refused(judged([*pair, unsure], min_margin=0.5))[0] == "ambiguous"


def test_retrieval_s_best_region_settles_it_where_two_regions_back_two_places() -> None:
    pair = [dino(HERE, 0.7), dino(THERE, 0.68, 1)]
    tiles = [tile(Box(190, 190, 290, 290)), tile(ROUND, 0.2)]
    assert kept(judged([*pair, *tiles])).boxes == (THERE,)
    elsewhere = tile(Box(300, 300, 400, 400))
    assert refused(judged([*pair, elsewhere, *tiles]))[0] == "ambiguous"


def test_detector_and_retrieval_that_place_it_apart_disagree() -> None:
    apart = [dino(HERE, 0.7), tile(THERE, margin=2.0)]
    assert refused(judged(apart)) == (
        "disagree",
        "the best places for 'dog' are (10, 10, 30, 30) by the detector, (200, 200, 220, 220) by retrieval: "
        "they share less than min_agreement 0.5 of the smaller one",
    )
    assert kept(judged(apart, min_agreement=0.0)).boxes == (HERE,)
    assert kept(judged(apart, min_margin=2.5)).boxes == (HERE,)  # retrieval has no opinion


def test_a_small_box_in_a_large_tile_agrees_with_it() -> None:
    assert kept(judged([dino(HERE, 0.7), tile(ROUND)])).boxes == (HERE,)
    assert kept(judged([dino(Box(90, 0, 110, 20), 0.7), tile(ROUND)])).boxes == (Box(90, 0, 110, 20),)
    assert refused(judged([dino(Box(91, 0, 111, 20), 0.7), tile(ROUND)]))[0] == "disagree"


def test_a_second_region_of_retrieval_can_agree_too() -> None:
    assert kept(judged([dino(HERE, 0.7), tile(THERE), tile(ROUND, 0.1)])).boxes == (HERE,)


def test_who_must_have_found_it_is_a_setting() -> None:
    alone, unsure = [tile(ROUND, 3.0, agreement=0.0)], [dino(HERE, 0.7), tile(ROUND, 1.0)]
    assert refused(judged(alone)) == ("no_region", "no region was found for 'dog'")
    assert kept(judged(alone, need="either")).boxes == (ROUND,)
    assert refused(judged(alone, need="either", min_margin=3.5))[0] == "no_region"
    assert kept(judged(unsure, min_margin=2.0)).boxes == (HERE,)
    assert refused(judged(unsure, min_margin=2.0, need="both")) == (
        "no_region",
        "the best region for 'dog' has margin 1, below min_margin 2",
    )


def test_a_tile_needs_no_detector_where_none_was_asked() -> None:
    assert kept(judged([tile(ROUND, 3.0, agreement=None)])).boxes == (ROUND,)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"pad_ratio": 0.9}, "pad_ratio is 0.9; it must be a number at least 1. Leave it out for the default, 1.2."),
        (
            {"pad_ratio": float("nan")},
            "pad_ratio is nan; it must be a number at least 1. Leave it out for the default, 1.2.",
        ),
        (
            {"min_side_px": 0},
            "min_side_px is 0; it must be a whole number at least 1 px. Leave it out for the default, 224.",
        ),
        ({"grid_px": 0}, "grid_px is 0; it must be a whole number at least 1 px. Leave it out for the default, 1."),
        (
            {"max_aspect": 0.5},
            "max_aspect is 0.5; it must be a number at least 1, or inf. Leave it out for the default, 10.0.",
        ),
        (
            {"max_share": 0.0},
            "max_share is 0.0; it must be a number above 0 and at most 1. Leave it out for the default, 0.25.",
        ),
        (
            {"max_share": 1.1},
            "max_share is 1.1; it must be a number above 0 and at most 1. Leave it out for the default, 0.25.",
        ),
        (
            {"min_margin": -1.0},
            "min_margin is -1.0; it must be a number at least 0 nats, or inf. Leave it out for the default, 1.0.",
        ),
        ({"min_score": 1.5}, "min_score is 1.5; it must be a number from 0 to 1. Leave it out for the default, 0.35."),
        ({"ambiguity": -0.1}, "ambiguity is -0.1; it must be a number from 0 to 1. Leave it out for the default, 0.1."),
        (
            {"min_agreement": 2.0},
            "min_agreement is 2.0; it must be a number from 0 to 1. Leave it out for the default, 0.5.",
        ),
        (
            {"join_growth": 0.5},
            "join_growth is 0.5; it must be a number at least 1, or inf. Leave it out for the default, 4.0.",
        ),
        ({"pad_ration": 1.0}, "unknown setting 'pad_ration'. Did you mean 'pad_ratio'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_from(table, EvidenceConfig, "recipe.toml")
    assert str(refusal.value) == f"recipe.toml: {message}"
