"""The box convention: x0, y0, x1, y1 in whole pixels, far edges outside."""

from __future__ import annotations

import pytest

from viewgen.boxes import Box, clip, containment, grow, iou, overlap_area, place, union


def test_far_edges_lie_outside() -> None:
    box = Box(2, 3, 5, 10)
    assert (box.width, box.height, box.area) == (3, 7, 21)
    assert Box(0, 0, 4, 2).area == 4 * 2  # a whole image of 4 x 2 pixels


@pytest.mark.parametrize("edges", [(5, 0, 5, 9), (6, 0, 5, 9), (0, 3, 9, 3), (0, 4, 9, 3)])
def test_a_box_without_area_is_refused(edges: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="has no area: expected x0 < x1 and y0 < y1"):
        Box(*edges)


def test_boxes_that_only_touch_do_not_overlap() -> None:
    left = Box(0, 0, 10, 10)
    assert overlap_area(left, Box(10, 0, 20, 10)) == 0
    assert overlap_area(left, Box(0, 10, 10, 20)) == 0
    assert overlap_area(left, Box(9, 9, 20, 20)) == 1


def test_overlap_over_union_and_containment_by_hand() -> None:
    a, b = Box(0, 0, 10, 10), Box(5, 0, 15, 20)
    assert overlap_area(a, b) == overlap_area(b, a) == 50
    assert iou(a, b) == iou(b, a) == 50 / (100 + 200 - 50)
    assert containment(a, b) == 0.5
    assert containment(b, a) == 0.25
    assert iou(a, a) == containment(a, a) == 1.0


def test_the_union_is_the_smallest_box_around_all() -> None:
    assert union([Box(3, 8, 4, 9), Box(1, 9, 2, 30)]) == Box(1, 8, 4, 30)
    with pytest.raises(ValueError, match="the union of no boxes"):
        union([])


def test_a_box_is_clipped_to_its_image_or_lost() -> None:
    assert clip(Box(-5, -5, 3, 4), 10, 10) == Box(0, 0, 3, 4)
    assert clip(Box(8, 2, 20, 30), 10, 12) == Box(8, 2, 10, 12)
    assert clip(Box(10, 0, 20, 5), 10, 10) is None
    assert clip(Box(-5, 0, 0, 5), 10, 10) is None
    assert clip(Box(0, 10, 5, 20), 10, 10) is None
    assert clip(Box(0, -5, 5, 0), 10, 10) is None


def test_a_box_is_placed_as_near_to_a_centre_as_the_image_allows() -> None:
    assert place(4, 4, 20, 20, 100, 100) == Box(8, 8, 12, 12)
    assert place(4, 4, 0, 0, 100, 100) == Box(0, 0, 4, 4)
    assert place(4, 4, 400, 20, 100, 100) == Box(96, 8, 100, 12)
    assert place(4, 4, 20, 400, 100, 100) == Box(8, 96, 12, 100)
    assert place(3, 3, 20, 20, 100, 100) == Box(8, 8, 11, 11)  # half a pixel to the left
    assert place(400, 4, 20, 20, 100, 100) == Box(0, 8, 100, 12)


def test_growing_multiplies_both_sides_rounds_and_moves_into_the_image() -> None:
    box = Box(40, 40, 50, 60)
    assert grow(box, 1.5, 1, 200, 200) == Box(37, 35, 52, 65)
    assert grow(box, 1.26, 1, 200, 200).width == 13  # 12.6 rounds up, 25.2 down
    assert grow(box, 1.26, 1, 200, 200).height == 25
    assert grow(Box(40, 40, 60, 50), 1.26, 1, 200, 200).height == 13
    assert grow(box, 1.0, 30, 200, 200) == Box(30, 35, 60, 65)
    assert grow(Box(0, 0, 10, 10), 2.0, 1, 200, 200) == Box(0, 0, 20, 20)


def test_boxes_are_ordered_by_their_edges_from_left_to_right() -> None:
    assert sorted([Box(2, 0, 3, 1), Box(1, 5, 3, 6), Box(1, 4, 9, 6)])[0] == Box(1, 4, 9, 6)
