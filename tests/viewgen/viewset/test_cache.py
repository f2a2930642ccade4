"""The cache of images: bounded, the last used stays, and a copy begins empty."""

from __future__ import annotations

import pickle

import pytest

from viewgen.viewset.cache import ImageCache


def held(cache: ImageCache) -> list[str]:
    return [name for _, name in cache._held]


def test_what_was_used_longest_ago_goes_first_and_the_newest_always_stays() -> None:
    cache = ImageCache(10)
    for name in "abc":
        cache.put(("views", name), b"1234")
    assert held(cache) == ["b", "c"]
    assert cache.get(("views", "b")) == b"1234"
    cache.put(("views", "d"), b"1234")
    assert held(cache) == ["b", "d"]
    cache.put(("views", "large"), b"x" * 100)
    assert held(cache) == ["large"]
    assert cache.get(("views", "b")) is None


def test_an_image_that_is_put_twice_counts_once() -> None:
    cache = ImageCache(10)
    for _ in range(5):
        cache.put(("views", "a"), b"1234")
    cache.put(("views", "b"), b"1234")
    assert held(cache) == ["a", "b"]


@pytest.mark.fault(24)
def test_a_copy_in_another_process_begins_empty_with_the_same_bound() -> None:
    cache = ImageCache(10)
    cache.put(("views", "a"), b"1234")
    copy = pickle.loads(pickle.dumps(cache))
    assert held(copy) == []
    for name in "abc":
        copy.put(("views", name), b"1234")
    assert held(copy) == ["b", "c"]
