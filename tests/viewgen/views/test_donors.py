"""Donors: never one's own image or things, the nearest when asked, and the same whatever the order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from viewgen.views.donors import DonorCandidate, choose_donors, nearest


def candidate(name: str, image: str, *phrases: str, vector: tuple[float, ...] | None = None) -> DonorCandidate:
    vector_D = None if vector is None else np.array(vector)
    return DonorCandidate(question_id=name, image_id=image, phrases=phrases, vector_D=vector_D)


def crowd() -> list[DonorCandidate]:
    """Sixty questions about twelve images and ten things, with vectors of length 1."""
    stream = np.random.default_rng(0)
    vectors_ND = stream.normal(size=(60, 8))
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return [
        DonorCandidate(
            question_id=f"q{n:02}", image_id=f"i{n % 12}", phrases=(f"thing {n % 10}",), vector_D=vectors_ND[n]
        )
        for n in range(60)
    ]


@pytest.mark.parametrize("how", ["random", "nearest"])
def test_a_donor_is_about_another_image_and_about_other_things(how: str) -> None:
    candidates = {candidate.question_id: candidate for candidate in crowd()}
    chosen = choose_donors(list(candidates.values()), 7, how)  # type: ignore[arg-type]
    assert set(chosen) == set(candidates)
    for own, donor in ((candidates[own], candidates[donor]) for own, donor in chosen.items()):
        assert own.image_id != donor.image_id
        assert set(own.phrases).isdisjoint(donor.phrases)


@pytest.mark.parametrize("how", ["random", "nearest"])
def test_the_order_of_the_candidates_changes_nothing(how: str) -> None:
    candidates = crowd()
    expected = choose_donors(candidates, 7, how)  # type: ignore[arg-type]
    for seed in range(3):
        mixed = [candidates[n] for n in np.random.default_rng(seed).permutation(len(candidates))]
        assert choose_donors(mixed, 7, how) == expected  # type: ignore[arg-type]


def test_one_phrase_in_common_is_one_too_many_whatever_its_case() -> None:
    candidates = [
        candidate("a", "1", "the dog", "the ball"),
        candidate("b", "2", "The Ball", "a hat"),
        candidate("c", "3", "a hat"),
    ]
    assert choose_donors(candidates, 0, "random") == {"a": "c", "c": "a"}


def test_who_has_no_fit_donor_is_left_out() -> None:
    assert choose_donors([], 0, "random") == choose_donors([], 0, "nearest") == {}
    assert choose_donors([candidate("a", "1", "x"), candidate("b", "1", "y")], 0, "random") == {}


def test_the_nearest_is_the_one_with_the_largest_cosine_among_those_that_fit() -> None:
    candidates = [
        candidate("a", "1", "x", vector=(1.0, 0.0)),
        candidate("same image", "1", "y", vector=(1.0, 0.0)),
        candidate("same thing", "2", "x", vector=(1.0, 0.0)),
        candidate("near", "3", "z", vector=(0.8, 0.6)),
        candidate("far", "4", "z", vector=(-1.0, 0.0)),
    ]
    assert choose_donors(candidates, 0, "nearest")["a"] == "near"


def test_of_equally_near_ones_the_first_by_name_gives() -> None:
    near = (0.6, 0.8)
    almost = (0.6 + 1e-9, 0.8)
    candidates = [
        candidate("a", "1", "x", vector=(1.0, 0.0)),
        candidate("c", "3", "z", vector=almost),
        candidate("b", "2", "y", vector=near),
    ]
    assert choose_donors(candidates, 0, "nearest")["a"] == "b"


def test_random_donors_are_spread_evenly_and_hang_on_the_seed() -> None:
    candidates = [candidate(f"q{n}", f"i{n}", f"thing {n}") for n in range(6)]
    donors = Counter(choose_donors(candidates, seed, "random")["q0"] for seed in range(500))
    assert sorted(donors) == ["q1", "q2", "q3", "q4", "q5"]
    assert min(donors.values()) > 70  # 100 expected each, standard deviation 9
    assert len({choose_donors(candidates, 1, "random")[f"q{n}"] for n in range(6)}) > 1


@pytest.mark.parametrize("how", ["random", "nearest"])
def test_when_one_leaves_only_those_whom_it_gave_to_get_another_donor(how: str) -> None:
    candidates = crowd()
    before = choose_donors(candidates, 7, how)  # type: ignore[arg-type]
    for gone in ("q00", "q17", "q59"):
        left = [candidate for candidate in candidates if candidate.question_id != gone]
        after = choose_donors(left, 7, how)  # type: ignore[arg-type]
        assert {name for name in after if after[name] != before[name]} == {
            name for name in after if before[name] == gone
        }


def test_the_nearest_pictures_are_of_other_images() -> None:
    vector_ND = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    found = nearest(vector_ND, ["a", "a", "b", "c"], 2)
    assert found.tolist() == [[2, 3], [2, 3], [0, 1], [2, 0]]
    assert nearest(vector_ND[:2], ["a", "b"], 2).tolist() == [[1, -1], [0, -1]]


@pytest.mark.fault(5)
@pytest.mark.parametrize("how", ["random", "nearest"])
def test_a_donor_names_nothing_that_is_asked_for(how: str) -> None:
    candidates = [
        candidate("a", "1", "a red circle", vector=(1.0, 0.0)),
        candidate("b", "2", "the red circle", vector=(1.0, 0.0)),
        candidate("c", "3", "Circles", vector=(1.0, 0.0)),
        candidate("d", "4", "the blue square", vector=(0.0, 1.0)),
    ]
    chosen = choose_donors(candidates, 0, how)  # type: ignore[arg-type]
    assert {name: chosen[name] for name in "abc"} == dict.fromkeys("abc", "d")
    assert chosen["d"] in {*"abc"}
