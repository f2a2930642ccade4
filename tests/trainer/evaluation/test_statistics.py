"""Intervals and tests against published examples, against sums that can be done by hand, and against drawn samples."""

import math
import random

import numpy as np
import pytest

from trainer.evaluation.statistics import (
    Estimate,
    PairedCounts,
    clustered_difference,
    clustered_proportion,
    count_pairs,
    mcnemar,
    paired_difference,
    proportion,
)

CULTURES = PairedCounts(both=20, only_after=12, only_before=2, neither=16)
"""Two media on 50 specimens: Armitage and Berry 1994, p. 127; its interval: Newcombe 1998; its test: Liddell 1983."""


def rounded(estimate: Estimate, digits: int = 4) -> tuple[float, float, float]:
    return round(estimate.value, digits), round(estimate.low, digits), round(estimate.high, digits)


@pytest.mark.parametrize(
    ("num_right", "num_total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_gives_the_published_examples(num_right: int, num_total: int, low: float, high: float) -> None:
    """Newcombe 1998, Stat. Med. 17, 857-872, table I, method 3."""
    assert rounded(proportion(num_right, num_total))[1:] == (low, high)


def test_wilsons_interval_by_hand() -> None:
    # 5 of 10, z = 1.959964, z2 / n = 0.384146: 0.5 -+ sqrt(0.384146 * (0.25 + 0.096036)) / 1.384146 = 0.5 -+ 0.263406
    assert rounded(proportion(5, 10), 6) == (0.5, 0.236593, 0.763407)


def test_all_and_nothing_stay_within_0_and_1() -> None:
    assert proportion(7, 7).high == 1.0
    assert proportion(7, 7).low < 1.0
    assert proportion(1, 1).low > 0.0
    assert proportion(0, 7).low == 0.0
    assert proportion(0, 7).high == pytest.approx(1 - proportion(7, 7).low)


def test_more_confidence_needs_a_wider_interval() -> None:
    wide, narrow = proportion(40, 100, confidence=0.99), proportion(40, 100, confidence=0.9)
    assert wide.low < narrow.low < 0.4 < narrow.high < wide.high


@pytest.mark.parametrize(("num_right", "num_total"), [(0, 0), (3, 2), (-1, 5)])
def test_a_share_of_nothing_is_refused(num_right: int, num_total: int) -> None:
    with pytest.raises(ValueError, match=f"^{num_right} right of {num_total}: give 0 <= right <= total"):
        proportion(num_right, num_total)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=f"confidence is {confidence}; give a number between 0 and 1"):
        proportion(1, 2, confidence=confidence)


def test_pairs_are_counted_question_by_question() -> None:
    before = [True, True, True, False, False, False, False, False, False, False]
    after = [True, False, False, True, True, True, False, False, False, False]
    pairs = count_pairs(before, after)
    assert pairs == PairedCounts(both=1, only_before=2, only_after=3, neither=4)
    assert pairs.total == 10


def test_answers_to_different_questions_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="shorter"):
        count_pairs([True, False], [True])


def test_the_paired_interval_gives_the_published_examples() -> None:
    assert rounded(paired_difference(CULTURES)) == (0.2, 0.0562, 0.3292)
    # Cavo et al. 2012, worked in Fagerland, Lydersen and Laake 2017, Statistical Analysis of Contingency Tables, ch. 8
    cavo = PairedCounts(both=59, only_after=6, only_before=16, neither=80)
    assert rounded(paired_difference(cavo)) == (-0.0621, -0.1186, -0.0046)


def test_the_paired_interval_turns_round_with_the_pairs() -> None:
    there = paired_difference(CULTURES)
    back = paired_difference(PairedCounts(both=20, only_after=2, only_before=12, neither=16))
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


@pytest.mark.parametrize(
    "pairs",
    [
        PairedCounts(both=3, only_before=3, only_after=1, neither=1),  # 3 * 1 - 3 * 1 = 0
        PairedCounts(both=3, only_before=2, only_after=1, neither=2),  # 3 * 2 - 2 * 1 = 4, which 8 / 2 takes away
        PairedCounts(both=2, only_before=2, only_after=1, neither=2),  # 2 * 2 - 2 * 1 = 2, of which nothing is left
    ],
)
def test_uncorrelated_pairs_have_the_interval_of_two_independent_shares(pairs: PairedCounts) -> None:
    difference = paired_difference(pairs)
    before = proportion(pairs.both + pairs.only_before, pairs.total)
    after = proportion(pairs.both + pairs.only_after, pairs.total)
    value = after.value - before.value
    assert difference.value == value
    assert difference.low == pytest.approx(value - math.hypot(after.value - after.low, before.high - before.value))
    assert difference.high == pytest.approx(value + math.hypot(after.high - after.value, before.value - before.low))


def test_a_negative_correlation_widens_the_interval() -> None:
    apart = paired_difference(PairedCounts(both=0, only_before=10, only_after=10, neither=0))
    together = paired_difference(PairedCounts(both=10, only_before=0, only_after=0, neither=10))
    unrelated = paired_difference(PairedCounts(both=5, only_before=5, only_after=5, neither=5))
    assert apart.low < unrelated.low < together.low < 0


def test_a_difference_with_an_empty_margin_has_an_interval() -> None:
    difference = paired_difference(PairedCounts(both=0, only_before=0, only_after=0, neither=10))
    assert difference.value == 0.0
    assert -1 < difference.low < 0 < difference.high < 1


def test_the_paired_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """1,000 samples of 200 pairs in which the true difference is 0.3 - 0.1 = 0.2."""
    rng = random.Random(1)
    covered = 0
    for _ in range(1000):
        drawn = rng.choices(["both", "only_before", "only_after", "neither"], [0.4, 0.1, 0.3, 0.2], k=200)
        difference = paired_difference(PairedCounts(**{kind: drawn.count(kind) for kind in PairedCounts.__slots__}))
        covered += difference.low <= 0.2 <= difference.high
    assert 930 <= covered <= 970


def answers(pairs: PairedCounts) -> tuple[list[bool], list[bool]]:
    before = [True] * (pairs.both + pairs.only_before) + [False] * (pairs.only_after + pairs.neither)
    after = [True] * pairs.both + [False] * pairs.only_before + [True] * pairs.only_after + [False] * pairs.neither
    return before, after


def test_with_one_question_per_scene_the_bootstrap_agrees_with_the_formula() -> None:
    pairs = PairedCounts(both=350, only_before=60, only_after=330, neither=260)
    before, after = answers(pairs)
    drawn = clustered_difference(before, after, range(1000), seed=3)
    formula = paired_difference(pairs)
    assert drawn.value == pytest.approx(0.27)
    assert (drawn.low, drawn.high) == pytest.approx((formula.low, formula.high), abs=0.005)


def test_questions_that_stand_and_fall_together_widen_the_interval() -> None:
    pairs = PairedCounts(both=350, only_before=60, only_after=330, neither=260)
    before, after = answers(pairs)  # equal outcomes stand side by side, so that a scene of 10 has one outcome
    single = clustered_difference(before, after, range(1000), seed=3)
    tens = clustered_difference(before, after, [i // 10 for i in range(1000)], seed=3)
    assert tens.value == single.value
    assert tens.high - tens.low == pytest.approx(math.sqrt(10) * (single.high - single.low), rel=0.1)


def test_the_bootstrap_repeats_with_its_seed_and_only_with_it() -> None:
    before, after = answers(CULTURES)
    again = [clustered_difference(before, after, [i % 17 for i in range(50)], seed=seed) for seed in (1, 1, 2)]
    assert again[0] == again[1]
    assert again[0] != again[2]


def test_scenes_count_by_their_questions() -> None:
    # one scene of 3 questions gained all of them, one of 1 question lost it
    difference = clustered_difference([False, False, False, True], [True, True, True, False], list("aaab"), seed=0)
    assert difference.value == 0.5
    assert (difference.low, difference.high) == (-1.0, 1.0)


def test_a_difference_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no question was counted"):
        clustered_difference([], [], [], seed=0)
    with pytest.raises(ValueError, match="0 right of 0"):
        paired_difference(PairedCounts(both=0, only_before=0, only_after=0, neither=0))


def test_the_exact_test_gives_the_published_example() -> None:
    # 12 against 2: 2 * (1 + 14 + 91) / 2^14
    assert mcnemar(CULTURES) == 2 * 106 / 16384
    assert round(mcnemar(CULTURES), 4) == 0.0129


@pytest.mark.parametrize(
    ("only_before", "only_after", "probability"),
    [(0, 0, 1.0), (1, 0, 1.0), (0, 5, 0.0625), (5, 0, 0.0625), (3, 3, 1.0), (2, 3, 1.0), (1, 7, 2 * 9 / 256)],
)
def test_the_exact_test_by_hand(only_before: int, only_after: int, probability: float) -> None:
    assert mcnemar(PairedCounts(both=4, only_before=only_before, only_after=only_after, neither=9)) == probability


def test_the_exact_test_stays_exact_for_thousands_of_differences() -> None:
    huge = PairedCounts(both=0, only_before=1000, only_after=3000, neither=0)
    assert 0 < mcnemar(huge) < 1e-200
    even = PairedCounts(both=0, only_before=1990, only_after=2010, neither=0)
    assert mcnemar(even) == pytest.approx(0.764, abs=0.001)  # normal approximation: z = 19 / sqrt(4000) = 0.3004


@pytest.mark.fault(14)
def test_alone_in_its_image_every_question_counts_as_one() -> None:
    right = [True] * 7 + [False] * 13
    assert clustered_proportion(right, range(20)) == proportion(7, 20)


@pytest.mark.fault(14)
def test_copies_of_a_question_count_as_one_question() -> None:
    """Ten images with six questions each that are right or wrong together are ten independent questions, but for the
    small-sample factor (n - 1) / n."""
    right = [number < 3 for number in range(10) for _ in range(6)]
    images = [number for number in range(10) for _ in range(6)]
    found = clustered_proportion(right, images)
    alone = proportion(3, 10)
    assert found.value == alone.value
    assert found.low == pytest.approx(alone.low, abs=0.02)
    assert found.high == pytest.approx(alone.high, abs=0.02)
    assert found.low < alone.low < proportion(18, 60).low


@pytest.mark.fault(14)
def test_the_interval_by_image_covers_the_truth_where_the_one_by_question_does_not() -> None:
    """40 images with six questions, whose share of right answers is drawn image by image: 0, 1 or 0.3."""
    draw, covered, covered_by_question = np.random.default_rng(3), 0, 0
    images = np.repeat(np.arange(40), 6)
    for _ in range(400):
        share_of_image = draw.choice([0.0, 1.0, 0.3], size=40, p=[0.5, 0.2, 0.3])
        right = [bool(hit) for hit in draw.random(240) < share_of_image[images]]
        by_image, by_question = clustered_proportion(right, images.tolist()), proportion(sum(right), 240)
        covered += by_image.low <= 0.29 <= by_image.high
        covered_by_question += by_question.low <= 0.29 <= by_question.high
    assert covered >= 370  # of 400, 95 % is 380
    assert covered_by_question < 330


@pytest.mark.fault(14)
def test_all_right_counts_images_and_one_image_tells_next_to_nothing() -> None:
    assert clustered_proportion([True] * 12, [0, 1, 2] * 4) == proportion(3, 3)
    alone = clustered_proportion([True, False, True], ["a", "a", "a"])
    assert alone.value == pytest.approx(2 / 3)
    assert alone.high - alone.low > 0.7


@pytest.mark.fault(14)
def test_answers_without_their_images_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        clustered_proportion([True, False], ["a"])
    with pytest.raises(ValueError, match="0 right of 0"):
        clustered_proportion([], [])


def test_the_bounds_of_nothing_and_of_all_are_exact() -> None:
    assert proportion(0, 7).low == 0.0
    assert proportion(7, 7).high == 1.0
    assert clustered_proportion([True] * 4, ["a", "a", "b", "b"]).high == 1.0


def test_pairs_without_a_margin_are_uncorrelated() -> None:
    """All right before: Wilson's two intervals alone, joined as for independent shares."""
    found = paired_difference(PairedCounts(both=3, only_before=2, only_after=0, neither=0))
    before, after = proportion(5, 5), proportion(3, 5)
    assert found.low == pytest.approx(-0.4 - ((0.6 - after.low) ** 2 + (before.high - 1) ** 2) ** 0.5)
    assert found.high == pytest.approx(-0.4 + ((after.high - 0.6) ** 2 + (1 - before.low) ** 2) ** 0.5)
