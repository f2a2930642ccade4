"""Compute intervals of a proportion and of a paired difference, and a paired test. Pure.
Leaves out: the rules of right and wrong (scorers.py), the choice of what to compare (evaluate.py).

Proportions and differences lie in 0..1 and -1..1. "Paired" means the same questions, answered before and after."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number and the interval that holds the true one with the stated confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCounts:
    """Counts of right answers of two systems on the same questions."""

    both: int
    only_before: int
    only_after: int
    neither: int

    @property
    def total(self) -> int:
        return self.both + self.only_before + self.only_after + self.neither


def count_pairs(before: Sequence[bool], after: Sequence[bool]) -> PairedCounts:
    """Right or wrong, question by question, both in the same order. Raises ValueError when the lengths differ."""
    pairs = list(zip(before, after, strict=True))
    return PairedCounts(
        both=sum(b and a for b, a in pairs),
        only_before=sum(b and not a for b, a in pairs),
        only_after=sum(a and not b for b, a in pairs),
        neither=sum(not b and not a for b, a in pairs),
    )


def proportion(num_right: int, num_total: int, confidence: float = 0.95) -> Estimate:
    """Share of right answers with Wilson's score interval (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212), without
    continuity correction. Raises ValueError when nothing was counted."""
    if not (0 <= num_right <= num_total and num_total > 0):
        raise ValueError(f"{num_right} right of {num_total}: give 0 <= right <= total, and at least one question")
    return _wilson(num_right / num_total, float(num_total), confidence)


def _wilson(share: float, num: float, confidence: float) -> Estimate:
    z2_share = _z(confidence) ** 2 / num
    middle = (share + z2_share / 2) / (1 + z2_share)
    reach = math.sqrt(z2_share * (share * (1 - share) + z2_share / 4)) / (1 + z2_share)
    # At 0 and at 1 the formula gives the bound itself, but for rounding.
    return Estimate(
        value=share,
        low=0.0 if share == 0 else middle - reach,
        high=1.0 if share == 1 else middle + reach,
    )


def clustered_proportion(
    right: Sequence[bool],
    cluster: Sequence[Hashable],  # questions of one image share a name
    confidence: float = 0.95,
) -> Estimate:
    """Share of right answers with Wilson's interval at the effective number of questions: as many independent ones as
    give the share the variance that it has between clusters, and never more than were counted (Korn and Graubard 1998,
    Surv. Methodol. 24, 193-201). Equal to `proportion` where every question has a cluster of its own. Raises ValueError
    when the lengths differ or nothing was counted.

    Where all answers are right, or all wrong, the clusters count: nothing tells how alike their questions are."""
    names = {name: number for number, name in enumerate(dict.fromkeys(cluster))}
    num_right, num = sum(right), len(list(zip(right, cluster, strict=True)))
    if len(names) == num:
        return proportion(num_right, num, confidence)
    share, excess = num_right / num, np.zeros(len(names))
    for is_right, name in zip(right, cluster, strict=True):
        excess[names[name]] += int(is_right) - share
    spread = float(excess @ excess) * len(names) / max(len(names) - 1, 1) / num**2
    effective = float(len(names)) if num_right in (0, num) or spread == 0 else share * (1 - share) / spread
    if len(names) == 1:
        effective = 1.0
    return _wilson(share, min(effective, float(num)), confidence)


def paired_difference(pairs: PairedCounts, confidence: float = 0.95) -> Estimate:
    """Share right after minus share right before, with Newcombe's square-and-add interval: Wilson's intervals of both,
    joined by their correlation (Newcombe 1998, Stat. Med. 17, 2635-2650, method 10). For independent questions; where
    several share a scene, use `clustered_difference`."""
    before = proportion(pairs.both + pairs.only_before, pairs.total, confidence)
    after = proportion(pairs.both + pairs.only_after, pairs.total, confidence)
    phi = _correlation(pairs)
    value = after.value - before.value
    return Estimate(
        value=value,
        low=value - _reach(after.value - after.low, before.high - before.value, phi),
        high=value + _reach(after.high - after.value, before.value - before.low, phi),
    )


def _reach(after: float, before: float, phi: float) -> float:
    return math.sqrt(max(after * after - 2 * phi * after * before + before * before, 0.0))


def _correlation(pairs: PairedCounts) -> float:
    """Phi of the paired table; a positive one is drawn towards 0 by half a question, as method 10 has it."""
    right_before, right_after = pairs.both + pairs.only_before, pairs.both + pairs.only_after
    margins = right_before * right_after * (pairs.total - right_before) * (pairs.total - right_after)
    if margins == 0:
        return 0.0
    excess = pairs.both * pairs.neither - pairs.only_before * pairs.only_after
    return (max(excess - pairs.total / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)


def clustered_difference(
    before: Sequence[bool],
    after: Sequence[bool],
    cluster: Sequence[Hashable],  # questions of one scene share a name
    seed: int,
    confidence: float = 0.95,
    num_draws: int = 10_000,
) -> Estimate:
    """Share right after minus share right before, with a percentile bootstrap that draws whole clusters: questions
    about one scene succeed and fail together, and counting them one by one makes the interval too narrow (Efron and
    Tibshirani 1993, An Introduction to the Bootstrap, ch. 13). The same seed gives the same interval, to the bit.
    Raises ValueError when the lengths differ or nothing was counted."""
    names = {name: number for number, name in enumerate(dict.fromkeys(cluster))}
    if not names:
        raise ValueError("no question was counted: give at least one")
    gain, size = np.zeros(len(names)), np.zeros(len(names))
    for was, is_now, name in zip(before, after, cluster, strict=True):
        gain[names[name]] += int(is_now) - int(was)
        size[names[name]] += 1
    draw = np.random.default_rng(seed).multinomial
    evenly = np.full(len(names), 1 / len(names))
    drawn = []
    for start in range(0, num_draws, 500):  # all draws at once would take 8 bytes per draw and scene
        times = draw(len(names), evenly, size=min(500, num_draws - start))
        drawn.append((times @ gain) / (times @ size))
    low, high = np.quantile(np.concatenate(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=float(gain.sum() / size.sum()), low=float(low), high=float(high))


def mcnemar(pairs: PairedCounts) -> float:
    """Two-sided exact probability of a split at least this uneven among the questions where the two differ, if neither
    were better (McNemar 1947, Psychometrika 12, 153-157, with the binomial distribution). 1 when they never differ."""
    num_differ = pairs.only_before + pairs.only_after
    fewer = min(pairs.only_before, pairs.only_after)
    # Whole numbers to the end: powers of two underflow past a thousand differences.
    ways = sum(math.comb(num_differ, k) for k in range(fewer + 1))
    return min(1.0, 2 * ways / int(2**num_differ))


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a number between 0 and 1, like 0.95")
    return NormalDist().inv_cdf((1 + confidence) / 2)
