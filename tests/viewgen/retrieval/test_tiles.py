"""Tiles: they cover an image, and margins are told against the best tile elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from viewgen.boxes import Box
from viewgen.retrieval.tiles import TileIndex, margins, overlap_share, overlaps, overlaps_one, tile_boxes

BOXES = (Box(0, 0, 10, 10), Box(10, 0, 20, 10), Box(20, 0, 30, 10))
BOX_N4 = np.array([box.as_tuple() for box in BOXES])


def index(*logits: float, merge_nats: float = 0.0) -> TileIndex:
    scaled = np.array(logits)[:, None]
    return TileIndex(
        boxes=BOXES,
        box_N4=BOX_N4,
        scaled_ND=scaled,
        text=lambda phrase, question: np.ones(1),
        num_best=2,
        merge_nats=merge_nats,
    )


@pytest.mark.parametrize(("width", "height"), [(100, 60), (33, 90), (16, 16), (7, 50)])
def test_every_pixel_lies_in_a_tile(width: int, height: int) -> None:
    seen = np.zeros((height, width), dtype=bool)
    for box in tile_boxes(width, height, [16], [8]):
        assert box.x1 <= width
        assert box.y1 <= height
        seen[box.y0 : box.y1, box.x0 : box.x1] = True
    assert seen.all()


def test_a_margin_is_the_logit_above_the_best_tile_that_does_not_overlap() -> None:
    logit_N = np.array([5.0, 3.0, 1.0])
    assert margins(BOX_N4, logit_N, [(0, BOXES[0]), (2, BOXES[2])]) == [2.0, -4.0]
    assert margins(BOX_N4, logit_N, [(0, Box(0, 0, 30, 10))]) == [0.0]  # nothing lies elsewhere
    assert margins(BOX_N4, logit_N, []) == []


def test_touching_tiles_do_not_overlap_and_shares_are_of_the_smaller() -> None:
    assert overlaps(BOX_N4, np.array([[10, 0, 20, 10]])).tolist() == [[False, True, False]]
    assert overlaps_one(BOX_N4, Box(9, 0, 11, 5)).tolist() == [True, True, False]
    assert overlap_share(BOX_N4, Box(5, 0, 15, 10)).tolist() == [0.5, 0.5, 0.0]


def test_regions_are_the_best_tiles_with_their_ranks() -> None:
    first, second = index(1.0, 5.0, 3.0).regions("x")
    assert (first.box, first.score, first.rank, first.retrieval_rank) == (BOXES[1], 2.0, 0, 0)
    assert (second.box, second.rank) == (BOXES[2], 1)


def test_ranks_count_the_tiles_that_fit_better_than_those_that_show_the_box() -> None:
    assert index(1.0, 5.0, 3.0).ranks("x", [Box(0, 0, 9, 9), Box(12, 0, 18, 9)]) == [2, 0]


def test_the_hardest_tile_is_the_best_one_off_the_boxes() -> None:
    assert index(1.0, 5.0, 3.0).hardest_tile(["x"], [Box(12, 2, 13, 3)]) == BOXES[2]
    assert index(1.0, 5.0, 3.0).hardest_tile([], []) is None
    assert index(1.0, 5.0, 3.0).hardest_tile(["x"], [Box(0, 0, 30, 10)]) is None
