"""A DataLoader over a stream gives the order of one process, with workers of either kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from viewgen.viewset.shards import ViewSet
from viewgen.viewset.stream import Item, ViewStream


def id_of(items: list[Item]) -> list[str]:
    return [item.sample.question_id for item in items]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_the_order_of_one_process(start: str, drawn_views: Path) -> None:
    views = ViewSet.open(drawn_views)
    alone = ViewStream(views, "train", ["crop"], shuffle_seed=3, rank=1, num_ranks=2)
    expected = [item.sample.question_id for item in alone]
    stream = ViewStream(views, "train", ["crop"], shuffle_seed=3, rank=1, num_ranks=2)
    stream.load_state_dict({"epoch": 0, "position": 4})
    loader = DataLoader(
        stream.torch(), batch_size=1, num_workers=2, multiprocessing_context=start, collate_fn=id_of, timeout=100
    )
    assert [name for names in loader for name in names] == expected[4:]
    assert stream.state_dict() == {"epoch": 0, "position": 4}


def test_without_workers_the_position_moves(drawn_views: Path) -> None:
    stream = ViewStream(ViewSet.open(drawn_views), "train", ["crop"])
    dataset = stream.torch()
    loader = DataLoader(dataset, batch_size=4, collate_fn=id_of)
    names = [name for names in loader for name in names]
    assert len(names) == len(stream) == len(dataset)
    assert stream.state_dict() == {"epoch": 1, "position": 0}
