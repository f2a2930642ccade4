"""A stream gives every question once an epoch, to one rank and one worker, in an order that follows from its seed."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from viewgen.errors import ShardError
from viewgen.viewset.database import matching
from viewgen.viewset.shards import ViewSet
from viewgen.viewset.stream import Item, ViewStream

KINDS = ("crop", "off_region")


@pytest.fixture
def views(drawn_views: Path) -> ViewSet:
    return ViewSet.open(drawn_views)


def ids(items: Any) -> list[str]:
    return [item.sample.question_id for item in items]


def stream(views: ViewSet, **settings: Any) -> ViewStream:
    return ViewStream(views, "train", KINDS, **settings)


def test_in_order_of_the_files_with_the_bytes_of_the_reader(views: ViewSet) -> None:
    samples = views.samples("train", KINDS)
    items = list(stream(views))
    assert ids(items) == [sample.question_id for sample in samples]
    assert len(stream(views)) == len(samples)
    for item in items[:5]:
        (image,) = views.image_bytes([item.sample.image_id]).values()
        assert item.image == image
        shown = {kind: views.view_bytes(item.sample.views[kind]) for kind in KINDS}
        assert {kind: tuple(pictures.values()) for kind, pictures in shown.items()} == dict(item.views)
        picture, decoded = item.decoded()
        assert picture.mode == "RGB"
        assert [one.size for one in decoded["crop"]] == [one.size for one in decoded["off_region"]]


def test_every_epoch_has_an_order_of_its_own_and_a_seed_gives_it_again(views: ViewSet) -> None:
    one, same, other = (stream(views, shuffle_seed=seed) for seed in (0, 0, 1))
    first, second = ids(one), ids(one)
    assert sorted(first) == sorted(second) == sorted(ids(stream(views)))
    assert first != second
    assert first == ids(same) != ids(other)
    assert one.state_dict() == {"epoch": 2, "position": 0}


@pytest.mark.parametrize("num_ranks", [2, 3, 5])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_ranks_and_workers_share_the_questions_without_overlap(
    num_ranks: int, num_workers: int, views: ViewSet
) -> None:
    whole = ids(stream(views, shuffle_seed=4))
    shares = [stream(views, shuffle_seed=4, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    assert sum(map(len, shares)) == len(whole)
    for rank, share in enumerate(shares):
        parts = [ids(share.share(worker, num_workers)) for worker in range(num_workers)]
        assert in_turn(parts) == whole[rank::num_ranks]
    equal = [stream(views, rank=rank, num_ranks=num_ranks, equal_lengths=True) for rank in range(num_ranks)]
    assert {len(ids(share)) for share in equal} == {len(whole) // num_ranks}


def in_turn(parts: Sequence[Sequence[str]]) -> list[str]:
    """Take from each in turn, as a DataLoader does."""
    return [part[n] for n in range(max(map(len, parts))) for part in parts if n < len(part)]


def test_a_position_is_gone_on_from_in_another_process(views: ViewSet) -> None:
    one = stream(views, shuffle_seed=2, rank=1, num_ranks=2)
    ids(one)
    given = ids(islice(one, 7))
    assert one.state_dict() == {"epoch": 1, "position": 7}
    other = pickle.loads(pickle.dumps(stream(views, shuffle_seed=2, rank=1, num_ranks=2)))
    other.load_state_dict(one.state_dict())
    rest = ids(other)
    whole = stream(views, shuffle_seed=2, rank=1, num_ranks=2)
    ids(whole)
    assert given + rest == ids(whole)
    assert ids(one) == rest
    for state in ({"epoch": -1, "position": 0}, {"epoch": 0, "position": len(one) + 1}):
        with pytest.raises(ValueError, match="is no position in epochs of"):
            one.load_state_dict(state)


def test_questions_are_chosen_by_a_condition_and_read_by_their_ids(views: ViewSet) -> None:
    chosen = matching(views, "kind = 'attribute'")
    some = stream(views, ids=chosen)
    assert {*ids(some)} == {sample.question_id for sample in views.samples("train", KINDS)} & chosen
    name = some.samples[3].question_id
    assert isinstance(some[name], Item)
    assert some[name].sample.question_id == name
    with pytest.raises(KeyError):
        some["no such question"]
    with pytest.raises(ShardError, match="is among the 1 ids"):
        stream(views, ids=frozenset({"no such question"}))
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        stream(views, rank=2, num_ranks=2)


def test_answers_are_there_only_where_they_are_asked_for(views: ViewSet) -> None:
    assert all(sample.answer is None for sample in stream(views).samples)
    assert any(sample.answer for sample in stream(views, answers=True).samples)
