"""Choose, for each question, the donor whose positive crop becomes its `swapped` negative: a question about another image
no phrase of which may name the same. Pure.
Leaves out: embedding crops (retrieval/retriever.py), cutting the swapped view (negatives.py).

N candidates   D dimensions   K nearest candidates"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt64

from viewgen.phrases.names import may_name_the_same


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DonorCandidate:
    """A question that can give its positive crop and take another's."""

    question_id: str
    image_id: str
    phrases: tuple[str, ...]
    """Texts of the phrases that it asks about."""
    vector_D: Float[np.ndarray, " D"] | None = None
    """Unit vector of its positive crop; None where donors are chosen at random."""


def choose_donors(
    candidates: Sequence[DonorCandidate], seed: int, how: Literal["random", "nearest"]
) -> Mapping[str, str]:
    """Choose a donor for each question: question_id -> question_id of the donor. Questions without any are left out.

    random: every fit candidate is equally likely. nearest: the candidate with the largest cosine, compared to six
    decimals; of equals the first by question_id; every candidate must have a vector. The order of the candidates changes
    nothing, and without one candidate only the questions that took its crop get another donor."""
    ordered = sorted(candidates, key=lambda candidate: candidate.question_id)
    chosen: dict[str, str] = {}
    for number, order_N in enumerate(_orders(ordered, seed, how)):
        for other in order_N:
            is_other_image = other >= 0 and ordered[other].image_id != ordered[number].image_id
            if is_other_image and not may_name_the_same(ordered[other].phrases, ordered[number].phrases):
                chosen[ordered[number].question_id] = ordered[other].question_id
                break
    return chosen


def _orders(ordered: Sequence[DonorCandidate], seed: int, how: str) -> Iterator[Iterable[int] | Int[np.ndarray, " N"]]:
    """Yield, for each candidate, the numbers of all of them in the order in which they are tried."""
    if how == "random":
        yield from _random_orders(ordered, seed)
        return
    vectors = [candidate.vector_D for candidate in ordered if candidate.vector_D is not None]
    assert len(vectors) == len(ordered), "every candidate has a vector when the nearest is asked for"
    if vectors:
        yield from nearest(np.stack(vectors), [candidate.image_id for candidate in ordered], len(ordered))


def nearest(vector_ND: Float[np.ndarray, "N D"], image_N: Sequence[str], num: int) -> Int[np.ndarray, "N K"]:
    """Find, for each unit vector, the positions of the `num` most similar ones of another image, best first.

    -1 where there are too few. Of equal ones the first counts."""
    name_N = np.array(image_N)
    found_NK = np.full((len(vector_ND), num), -1)
    for n, vector_D in enumerate(vector_ND):
        other_M = np.flatnonzero(name_N != name_N[n])
        # Rounded: processors differ in the last bits of a sum, and equal crops must stay equal.
        best_K = other_M[np.argsort(-np.round(vector_ND[other_M] @ vector_D, 6), kind="stable")][:num]
        found_NK[n, : len(best_K)] = best_K
    return found_NK


def _random_orders(ordered: Sequence[DonorCandidate], seed: int) -> Iterator[Int[np.ndarray, " N"]]:
    """Order candidates by a number of each pair, so that whoever joins or leaves, two others keep their order (rendezvous
    hashing)."""
    givers_N = np.array([_number(seed, candidate.question_id, "gives") for candidate in ordered], dtype=np.uint64)
    for candidate in ordered:
        yield np.argsort(_mixed(givers_N ^ np.uint64(_number(seed, candidate.question_id, "donor"))), kind="stable")


def _number(*name: int | str) -> int:
    return int.from_bytes(blake2b(json.dumps(name).encode(), digest_size=8).digest(), "big")


def _mixed(number_N: UInt64[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """Mix every bit of a number with all its bits (finaliser of SplitMix64); products wrap around at 64 bits."""
    number_N = (number_N ^ (number_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number_N = (number_N ^ (number_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed_N: UInt64[np.ndarray, " N"] = number_N ^ (number_N >> np.uint64(31))
    return mixed_N
