"""Tiled search: small things in large images are found, and each thing is found once. The network is a small real one: it
shrinks images as large as its input allows and names the coloured blots that are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewgen.boxes import Box, iou
from viewgen.detectors import Ask, Detector, DetectorConfig, ScoredBox
from viewgen.detectors.captions import Caption, captions
from viewgen.detectors.tiles import Hit, Look, TiledDetector, _Sighting, hits, merge, pairwise_iou, suppress, tile_grid

COLOURS = {"red blot": (255, 0, 0), "blue blot": (0, 0, 255)}
SIDE_PX = 400


@dataclass
class Blots:
    """Reads images at up to SIDE_PX, in which it sees blots of 10 or more pixels across, and scores them by how much of
    their box they fill."""

    name: str = "blots"
    models: Mapping[str, str] = field(default_factory=dict)
    tile_px: int = SIDE_PX
    min_px: int = 1
    batch_size: int = 5
    batches: list[list[Look]] = field(default_factory=list)

    def read_size(self, width: int, height: int) -> tuple[int, int]:
        shrink = min(1.0, SIDE_PX / max(width, height))
        return round(width * shrink), round(height * shrink)

    def alike(self, look: Look) -> tuple[int, ...]:
        return self.read_size(*look.size)

    def captions(self, phrases: Sequence[str]) -> tuple[Caption, ...]:
        return captions(phrases, lambda text: [(0, len(text))] if " ." not in text else [(0, text.index(" ."))], 4)

    def prepare(self, looks: Sequence[Look]) -> Any:
        return [np.asarray(look.pixels().resize(self.read_size(*look.size), Image.Resampling.BOX)) for look in looks]

    def read(self, looks: Sequence[Look], prepared: Any) -> list[list[Hit]]:
        self.batches.append(list(looks))
        return [self._blots(look, pixels) for look, pixels in zip(looks, prepared, strict=True)]

    def _blots(self, look: Look, pixels: np.ndarray) -> list[Hit]:
        (piece,) = look.caption.pieces
        scale = look.size[0] / pixels.shape[1]
        near = np.abs(pixels.astype(int) - COLOURS[piece.phrase]).max(axis=2) < 60
        found = []
        while near.any():
            y0, x0 = np.argwhere(near)[0].tolist()
            x1 = x0 + int(np.argmin(np.append(near[y0, x0:], False)))
            y1 = y0 + int(np.argmin(np.append(near[y0:, x0], False)))
            score = float(near[y0:y1, x0:x1].mean())
            near[y0:y1, max(x0 - 1, 0) : x1 + 1] = False  # blots are upright; the margin is a blurred edge
            if min(y1 - y0, x1 - x0) >= 10:
                box = (x0 * scale, y0 * scale, x1 * scale, y1 * scale)
                found.append(Hit(phrase=piece.phrase, box=box, score=score))
        return found


def drawn(width: int, height: int, *boxes: Box, colour: str = "red blot") -> Image.Image:
    image = Image.new("RGB", (width, height), (200, 200, 200))
    for box in boxes:
        image.paste(COLOURS[colour], box.as_tuple())
    return image


def found(image: Image.Image, *phrases: str, **settings: Any) -> list[ScoredBox]:
    detector = TiledDetector(Blots(), DetectorConfig(**settings))
    assert isinstance(detector, Detector)
    (boxes,) = detector.detect([Ask(image=image, phrases=phrases or ("red blot",))])
    return list(boxes)


def boxes(image: Image.Image, **settings: Any) -> list[Box]:
    return [one.box for one in found(image, **settings)]


def test_a_thing_of_20_px_in_an_image_of_4000_px_is_found_with_tiles_and_not_without() -> None:
    thing = Box(3111, 1777, 3131, 1797)
    image = drawn(4000, 3000, thing)
    assert boxes(image, tiles=False) == []
    assert boxes(image) == [thing]


@pytest.mark.parametrize("x0", range(260, 440, 12))
def test_a_thing_is_found_once_and_whole_wherever_tiles_meet(x0: int) -> None:
    thing = Box(x0, x0 // 2, x0 + 60, x0 // 2 + 60)  # visible in the shrunk whole, in one to four tiles, or cut by them
    assert [iou(box, thing) > 0.9 for box in boxes(drawn(1000, 700, thing))] == [True]


def test_a_thing_larger_than_a_tile_is_found_as_a_whole() -> None:
    thing = Box(100, 50, 900, 650)
    (box,) = boxes(drawn(1000, 700, thing))
    assert iou(box, thing) > 0.95


def test_a_thing_too_thin_for_the_whole_and_too_long_for_a_tile_is_joined_from_its_pieces() -> None:
    thing = Box(100, 300, 1900, 312)
    image = drawn(2000, 700, thing)
    assert boxes(image, tiles=False) == []
    assert boxes(image) == [thing]


def test_things_side_by_side_stay_apart() -> None:
    things = [Box(x, y, x + 30, y + 30) for y in (100, 600) for x in range(50, 950, 100)]
    assert sorted(boxes(drawn(1000, 700, *things), num_best=30)) == sorted(things)
    assert len(boxes(drawn(1000, 700, *things), num_best=5)) == 5


def test_images_that_the_network_does_not_shrink_are_read_once() -> None:
    detector = TiledDetector(Blots(), DetectorConfig())
    assert detector.windows(400, 300) == (Box(0, 0, 400, 300),)
    assert detector.windows(401, 300)[0] == Box(0, 0, 401, 300)
    assert detector.windows(401, 300)[1:] == (Box(0, 0, 400, 300), Box(1, 0, 401, 300))
    assert TiledDetector(Blots(), DetectorConfig(tiles=False)).windows(4000, 300) == (Box(0, 0, 4000, 300),)
    smaller = TiledDetector(Blots(), DetectorConfig(tile_px=200))
    assert len(smaller.windows(400, 300)) == 1 + 3 * 2
    assert len(smaller.windows(200, 150)) == 1


@pytest.mark.parametrize(
    ("length", "side", "overlap"), [(1000, 400, 0.25), (4000, 800, 0.25), (801, 800, 0.5), (99, 33, 0.0)]
)
def test_tiles_reach_from_edge_to_edge_and_share_what_was_asked(length: int, side: int, overlap: float) -> None:
    columns = tile_grid(length, side // 2, side, overlap)
    assert {(box.width, box.height) for box in columns} == {(side, side // 2)}
    assert (columns[0].x0, columns[-1].x1) == (0, length)
    shared = [before.x1 - after.x0 for before, after in pairwise(columns)]
    assert min(shared) >= int(side * overlap)
    assert max(shared) - min(shared) <= 1
    assert tile_grid(99, 50, 200, 0.25) == (Box(0, 0, 99, 50),)


def test_asks_are_answered_in_order_phrase_by_phrase() -> None:
    red, blue = Box(10, 10, 40, 40), Box(500, 300, 530, 330)
    image = drawn(1000, 700, red)
    image.paste(COLOURS["blue blot"], blue.as_tuple())
    empty = drawn(300, 300)
    detector = TiledDetector(Blots(), DetectorConfig(batch_size=3))
    asks = [
        Ask(image=image, phrases=("blue blot", "red blot", "blue blot")),
        Ask(image=empty, phrases=("red blot",)),
        Ask(image=image, phrases=()),
        Ask(image=drawn(300, 300, red), phrases=("red blot",)),
    ]
    answers = detector.detect(asks)
    assert [[(one.phrase, one.box) for one in answer] for answer in answers] == [
        [("blue blot", blue), ("red blot", red)],
        [],
        [],
        [("red blot", red)],
    ]
    assert answers == [detector.detect([ask])[0] for ask in asks]
    assert detector.detect([]) == []


def test_windows_of_one_size_are_read_together_whatever_image_they_are_of() -> None:
    network = Blots()
    detector = TiledDetector(network, DetectorConfig(batch_size=4))
    thing = Box(10, 10, 40, 40)
    detector.detect([Ask(image=drawn(300, 200, thing), phrases=("red blot",)) for _ in range(6)])
    assert [len(batch) for batch in network.batches] == [4, 2]
    network.batches.clear()
    TiledDetector(network, DetectorConfig()).detect(
        [Ask(image=drawn(300, 200, thing), phrases=("red blot",)) for _ in range(6)]
    )
    assert [len(batch) for batch in network.batches] == [5, 1]  # as the network likes it
    network.batches.clear()
    detector.detect([Ask(image=drawn(1000, 700, thing), phrases=("red blot",)) for _ in range(2)])
    assert sorted(len(batch) for batch in network.batches) == [2, 4, 4, 4]  # the images, and six tiles of each
    assert all(len({look.size for look in batch}) == 1 for batch in network.batches)


def test_a_narrow_strip_is_padded_and_boxes_stay_in_it() -> None:
    image = drawn(3000, 20, Box(1000, 0, 1060, 20))
    (look,) = TiledDetector(Blots(), DetectorConfig(tiles=False))._looks(Ask(image=image, phrases=("red blot",)))
    assert look.size == (3000, 300)
    assert look.pixels().getpixel((1030, 10)) == (255, 0, 0)
    assert look.pixels().getpixel((1030, 25)) == (124, 116, 104)
    assert boxes(image) == [Box(1000, 0, 1060, 20)]


def scored(box: Box, score: float) -> ScoredBox:
    return ScoredBox(phrase="dog", box=box, score=score)


def test_of_two_boxes_that_overlap_the_better_stays() -> None:
    first, near, far = scored(Box(0, 0, 10, 10), 0.5), scored(Box(0, 0, 10, 12), 0.6), scored(Box(5, 0, 15, 10), 0.4)
    assert suppress([first, near, far], 0.5) == [near, far]
    assert suppress([first, near, far], 0.9) == [near, first, far]
    assert suppress([far, replace(far, score=0.4)], 0.99) == [far]
    assert suppress([], 0.5) == []


def test_pieces_are_joined_when_different_tiles_saw_them_and_only_then() -> None:
    left, right = Box(0, 0, 400, 400), Box(300, 0, 700, 400)
    upper, lower = Box(350, 10, 400, 60), Box(340, 50, 400, 100)
    beside = Box(300, 10, 370, 60)
    same = [_Sighting("dog", upper, 0.5, left, True), _Sighting("dog", lower, 0.6, left, True)]
    assert merge("dog", same, 0.5) == [scored(lower, 0.6), scored(upper, 0.5)]
    other = [same[0], _Sighting("dog", beside, 0.7, right, True)]
    assert merge("dog", other, 0.5) == [scored(Box(300, 10, 400, 60), 0.7)]


def test_pairwise_overlaps_are_those_of_each_pair() -> None:
    some = [Box(0, 0, 10, 10), Box(5, 0, 15, 10), Box(10, 0, 20, 10), Box(0, 0, 3, 30)]
    wanted = [[iou(one, other) for other in some] for one in some]
    assert np.allclose(pairwise_iou(np.array([box.as_tuple() for box in some])), wanted)


def test_thresholds_ask_more_of_a_box_than_of_its_phrases() -> None:
    (caption,) = captions(["dog", "cat"], lambda text: [(0, 3), (4, 5), (6, 9), (10, 11)][: 4 if "." in text else 1], 9)
    box_Q4 = np.array([[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 4, 4], [np.nan, 0, 1, 1]])
    score_QP = np.array([[0.4, 0.3], [0.34, 0.3], [0.2, 0.5], [0.9, 0.9]])
    kept = hits(caption, box_Q4, score_QP, DetectorConfig())
    assert [(hit.phrase, hit.box[0], hit.score) for hit in kept] == [("dog", 0, 0.4), ("cat", 0, 0.3), ("cat", 2, 0.5)]
