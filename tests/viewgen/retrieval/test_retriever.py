"""Retrieval: tiles, margins, places, pictures as open_clip wants them, and what is read once.
The model is the one shipped for drawn scenes; test_drawn_clip.py says how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from viewgen.boxes import Box
from viewgen.errors import SettingsError
from viewgen.retrieval.retriever import Recent, RetrievalConfig, Retriever
from viewgen.retrieval.tiles import TileIndex, margins, tile_boxes
from viewgen.settings import settings_from
from viewgen.source.demo import DemoConfig, Scene, draw_scene, scene_stream

CONFIG = RetrievalConfig(
    model="embedded:drawn-clip", template="{phrase}", tile_px=(48,), stride_px=(16,), merge_nats=0.0
)


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    torch.set_num_threads(1)  # threads of a busy machine wait for each other longer than these small products take
    return Retriever.load(CONFIG)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(scene_stream(5, "retrieval", 0), DemoConfig())


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_tiles_step_over_the_image_row_by_row() -> None:
    assert tile_boxes(96, 64, (48,), (16,)) == tuple(
        Box(x, y, x + 48, y + 48) for y in (0, 16) for x in (0, 16, 32, 48)
    )


def test_the_last_tile_ends_at_the_edge_when_steps_do_not() -> None:
    assert [box.x0 for box in tile_boxes(100, 48, (48,), (16,))] == [0, 16, 32, 48, 52]


def test_every_pixel_lies_in_a_tile_of_each_size() -> None:
    for tile, stride in ((30, 17), (64, 64)):
        seen = np.zeros((101, 150), dtype=bool)
        for box in tile_boxes(150, 101, (tile,), (stride,)):
            seen[box.y0 : box.y1, box.x0 : box.x1] = True
            assert (box.width, box.height) == (tile, tile)
        assert seen.all()


def test_a_tile_larger_than_the_image_is_cut_to_its_shorter_side() -> None:
    boxes = tile_boxes(100, 60, (48, 200, 300), (48, 100, 150))
    assert boxes[6:] == tuple(Box(x, 0, x + 60, 60) for x in (0, 30, 40))  # once, though two sizes ask for it


def test_tiles_cut_to_a_strip_leave_no_place_of_it_out() -> None:
    # Steps of half a tile: half of 100 px, where 112 or 224 px would leave gaps.
    boxes = tile_boxes(1000, 100, (224, 448), (112, 224))
    assert boxes == tuple(Box(x, 0, x + 100, 100) for x in range(0, 901, 50))
    assert tile_boxes(5, 1, (448,), (16,)) == tuple(Box(x, 0, x + 1, 1) for x in range(5))


def test_a_margin_is_the_lead_over_the_best_tile_elsewhere() -> None:
    boxes = [Box(0, 0, 10, 10), Box(5, 0, 15, 10), Box(10, 0, 20, 10), Box(0, 10, 10, 20)]
    box_N4 = np.array([box.as_tuple() for box in boxes])
    logit_N = np.array([5.0, 4.0, 1.5, 2.0])
    # Tile 1 overlaps tile 0; tiles 2 and 3 only touch it.
    assert margins(box_N4, logit_N, list(enumerate(boxes[:3]))) == [3.0, 2.0, -3.5]
    assert margins(box_N4, logit_N, [(0, Box(0, 0, 10, 20))]) == [3.5]  # a region that holds tile 3 leads it no more


def test_without_a_tile_elsewhere_nothing_stands_out() -> None:
    places = [(0, Box(0, 0, 10, 10))]
    assert margins(np.array([(0, 0, 10, 10), (5, 0, 15, 10)]), np.array([5.0, 4.0]), places) == [0.0]


def by_hand(logits: Sequence[float], boxes: Sequence[Box], merge_nats: float = 0.0, num_best: int = 3) -> TileIndex:
    """Return an index of one dimension, in which a tile's logit is given: for phrase "x" as it stands, for "-x"
    negated."""
    return TileIndex(
        boxes=tuple(boxes),
        box_N4=np.array([box.as_tuple() for box in boxes]),
        scaled_ND=np.array(logits, dtype=np.float64)[:, None],
        text=lambda phrase, question: np.array([-1.0 if phrase == "-x" else 1.0]),
        num_best=num_best,
        merge_nats=merge_nats,
    )


ROW = [Box(x, 0, x + 20, 20) for x in range(0, 100, 10)]
"""Ten tiles in steps of half a tile."""


def test_unmerged_places_are_the_best_tiles() -> None:
    found = by_hand([0, 1, 5, 4, 0, 0, 3, 0, 0, 2], ROW).regions("x")
    assert [region.box for region in found] == [ROW[2], ROW[3], ROW[6]]
    assert [region.score for region in found] == [2.0, 1.0, -2.0]
    assert [region.rank for region in found] == [region.retrieval_rank for region in found] == [0, 1, 2]


def test_neighbours_that_fit_about_as_well_are_merged_and_places_do_not_overlap() -> None:
    found = by_hand([0, 4.1, 5, 4, 0, 0, 3, 0, 0, 2], ROW, merge_nats=1.0).regions("x")
    assert [region.box for region in found] == [Box(10, 0, 50, 20), ROW[6], ROW[9]]
    assert [region.score for region in found] == [2.0, -2.0, -3.0]
    assert [region.retrieval_rank for region in found] == [0, 3, 4]


def test_a_neighbour_that_would_reach_into_a_better_place_is_not_merged() -> None:
    # Tile 3 fits about as well as tile 4, but shares pixels with the place of tile 2.
    found = by_hand([0, 0, 5, 2.5, 3, 2.4, 0, 0, 0, 0], ROW, merge_nats=1.0, num_best=2).regions("x")
    assert [region.box for region in found] == [ROW[2], Box(40, 0, 70, 20)]


def test_only_tiles_that_overlap_the_best_one_are_merged_with_it() -> None:
    (region,) = by_hand([5.0] * 10, ROW, merge_nats=1.0, num_best=1).regions("x")
    assert region.box == Box(0, 0, 30, 20)
    assert by_hand([5.0] * 10, ROW, num_best=1).regions("x")[0].box == ROW[0]  # 0 merges no equal ones either


def test_a_larger_tile_is_not_merged_into_a_smaller_one() -> None:
    boxes = [Box(40, 40, 60, 60), Box(30, 40, 50, 60), Box(0, 0, 100, 100)]
    assert by_hand([5, 4.5, 4.9], boxes, merge_nats=1.0).regions("x")[0].box == Box(30, 40, 60, 60)
    assert by_hand([4.9, 4.5, 5], boxes, merge_nats=1.0).regions("x")[0].box == Box(0, 0, 100, 100)


def test_a_box_has_the_rank_of_the_best_tile_that_shows_it() -> None:
    index = by_hand([0, 1, 5, 4, 0, 0, 3, 0, 0, 2], ROW)
    inside, half, larger, outside = Box(42, 5, 48, 9), Box(75, 0, 85, 20), Box(0, 0, 40, 90), Box(0, 50, 20, 70)
    # In tiles 3 and 4; half of it in 6, and in 7 and 8; all of tiles 0 to 2 and half of 3; nowhere.
    assert index.ranks("x", [inside, half, larger, outside]) == [1, 2, 0, None]


def test_the_hardest_tile_fits_all_phrases_best_and_overlaps_no_box() -> None:
    index = by_hand([0, 1, 5, 4, 0, 0, 3, 0, 0, 2], ROW)
    assert index.hardest_tile(["x"], []) == ROW[2]
    assert index.hardest_tile(["x"], [Box(39, 0, 41, 9)]) == ROW[6]
    assert index.hardest_tile(["x"], [Box(39, 0, 41, 9), Box(0, 0, 9, 9), Box(79, 0, 80, 2)]) == ROW[9]
    assert index.hardest_tile(["x"], [Box(0, 0, 200, 200)]) is None
    assert index.hardest_tile([], []) is None
    assert index.hardest_tile(["x", "-x", "-x"], []) == ROW[0]  # by the mean, which is a third of the negated logit


def test_pixels_of_the_model_s_own_size_are_those_of_open_clip(retriever: Retriever) -> None:
    tiles = np.asarray(noise(48, 48)).transpose(2, 0, 1)[None]
    assert torch.equal(retriever.clip.pixels(tiles)[0], retriever.clip.preprocess(noise(48, 48)))


def test_pixels_of_another_size_are_resized_as_open_clip_does(retriever: Retriever) -> None:
    tiles = np.asarray(noise(64, 64)).transpose(2, 0, 1)[None].repeat(2, axis=0)
    pixels = retriever.clip.pixels(tiles)
    assert pixels.shape == (2, 3, 48, 48)
    assert torch.equal(pixels[1], retriever.clip.preprocess(noise(64, 64)))


def test_each_tile_s_own_pixels_are_read_whatever_its_image_and_size(retriever: Retriever, scene: Scene) -> None:
    wide = noise(200, 130)
    for batch_size in (7, 1000):
        config = replace(CONFIG, tile_px=(48, 64), stride_px=(16, 32), batch_size=batch_size)
        indexes = Retriever(config, retriever.clip).index([scene.image, wide])
        for image, index in zip((scene.image, wide), indexes, strict=True):
            assert index.boxes == tile_boxes(image.width, image.height, (48, 64), (16, 32))
            vector_ND = index.scaled_ND / retriever.clip.temperature
            assert np.allclose(np.linalg.norm(vector_ND, axis=1), 1, atol=1e-5)
            for n in (0, 9, len(index.boxes) - 1):
                alone = np.asarray(image.crop(index.boxes[n].as_tuple())).transpose(2, 0, 1)[None]
                assert np.abs(vector_ND[n] - retriever.clip.embed_tiles(alone)[0].numpy()).max() < 1e-5


def test_no_images_have_no_tiles(retriever: Retriever) -> None:
    assert retriever.index([]) == []


def test_regions_are_the_best_tiles_in_order(retriever: Retriever, scene: Scene) -> None:
    phrase = scene.signs[0].phrase
    (index,) = retriever.index([scene.image])
    regions = index.regions(phrase)
    assert [region.rank for region in regions] == [0, 1, 2]
    assert {region.source for region in regions} == {"retrieval"}
    logit_N = index.scaled_ND @ retriever.clip.embed_texts([phrase])[0].numpy()
    assert [region.box for region in regions] == [index.boxes[n] for n in np.argsort(-logit_N)[:3]]


def test_a_phrase_s_regions_do_not_depend_on_what_was_asked_before(retriever: Retriever, scene: Scene) -> None:
    phrases = [sign.phrase for sign in scene.signs]
    (index,) = Retriever(CONFIG, retriever.clip).index([scene.image])
    first = {phrase: index.regions(phrase) for phrase in phrases}
    (again,) = Retriever(CONFIG, retriever.clip).index([scene.image])
    for phrase in reversed(phrases):
        assert again.regions(phrase) == first[phrase]


def test_the_template_is_what_the_model_reads(retriever: Retriever, scene: Scene) -> None:
    photo = Retriever(replace(CONFIG, template="a photo of {phrase}"), retriever.clip)
    (index,) = photo.index([scene.image])
    wanted = index.scaled_ND @ retriever.clip.embed_texts(["a photo of the red circle"])[0].numpy()
    assert (index.logits("the red circle") == wanted).all()


def test_a_question_has_the_weight_that_the_settings_give_it(retriever: Retriever, scene: Scene) -> None:
    phrase, question = "the red circle", "the blue square"
    plain, mixed = (
        Retriever(replace(CONFIG, question_weight=weight), retriever.clip).index([scene.image])[0]
        for weight in (0.0, 0.25)
    )
    assert (plain.logits(phrase, question) == plain.logits(phrase)).all()
    wanted = 0.75 * plain.logits(phrase) + 0.25 * plain.logits(question)
    assert np.abs(mixed.logits(phrase, question) - wanted).max() < 1e-4


def count_reads(retriever: Retriever) -> list[int]:
    """How many pictures the model will have read, batch by batch."""
    read: list[int] = []
    retriever.clip.net.visual.register_forward_hook(lambda net, given, made: read.append(len(made)))
    return read


def test_a_picture_is_read_once_and_again_when_forgotten(scene: Scene) -> None:
    retriever = Retriever.load(replace(CONFIG, batch_size=2))
    read = count_reads(retriever)
    crops = [scene.image.crop((x, 0, x + 48, 48)) for x in (0, 16, 0, 32, 0)]
    vector_ND = retriever.embed(crops)
    assert read == [2, 1]
    assert (vector_ND[0] == vector_ND[2]).all()
    assert (retriever.embed(crops[2:4]) == vector_ND[2:4]).all()
    assert sum(read) == 3
    retriever.forget()
    retriever.embed(crops[:1])
    assert sum(read) == 4


def test_the_latest_pictures_alone_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viewgen.retrieval.retriever._REMEMBERED", 2)
    kept = Recent()
    vectors = [np.array([float(n)]) for n in range(3)]
    kept.put("a", vectors[0])
    kept.put("b", vectors[1])
    assert kept.get("a") is vectors[0]
    kept.put("c", vectors[2])
    assert [kept.get(name) is not None for name in "abc"] == [True, False, True]


def test_pictures_of_equal_bytes_and_another_shape_are_others(retriever: Retriever) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (24, 96, 3), dtype=np.uint8)
    wide, high = Image.fromarray(pixels), Image.fromarray(pixels.reshape(96, 24, 3))
    vector_ND = retriever.embed([wide, high])
    assert np.abs(vector_ND[0] - vector_ND[1]).max() > 0.01


def test_a_whole_picture_is_seen_to_its_ends(retriever: Retriever) -> None:
    pixels = np.full((48, 144, 3), 200, dtype=np.uint8)
    pixels[:, :24] = (250, 0, 0)
    fitted = retriever.clip.fit(Image.fromarray(pixels))
    assert fitted.shape == (3, 48, 48)
    assert (fitted[:, 24, 2] == (250, 0, 0)).all()  # open_clip's own preprocessing would have cut it off
    assert (np.abs(fitted[:, 2, 24].astype(int) - 128) <= 1).all()  # the bars have the model's mean colour


def test_similarity_is_the_mean_over_phrases_of_the_logit(retriever: Retriever, scene: Scene) -> None:
    sign, other = scene.signs[:2]
    (index,) = retriever.index([scene.image])
    best = index.regions(sign.phrase)[0].box
    crop = scene.image.crop(best.as_tuple())
    logit = {p: index.logits(p)[index.boxes.index(best)] for p in (sign.phrase, other.phrase)}
    alone, both, none = retriever.similarity([crop] * 3, [[sign.phrase], [sign.phrase, other.phrase], []])
    assert alone == pytest.approx(logit[sign.phrase], abs=1e-3)
    assert both == pytest.approx(sum(logit.values()) / 2, abs=1e-3)
    assert none is None
    assert retriever.similarity([], []) == []


def test_a_large_picture_is_as_similar_as_its_best_tile(retriever: Retriever, scene: Scene) -> None:
    phrase = scene.signs[0].phrase
    (index,) = retriever.index([scene.image])
    (similarity,) = retriever.similarity([scene.image], [[phrase]])
    assert similarity == pytest.approx(index.logits(phrase).max(), abs=1e-3)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"template": "a photo"},
            "template is 'a photo'; it must be text with {phrase} in it, once. Write \"{phrase}\" there.",
        ),
        (
            {"tile_px": [48]},
            "stride_px is [112, 224]; it must be as long as tile_px, which has 1 sides. Give one step per side.",
        ),
        (
            {"tile_px": [48], "stride_px": [49]},
            "stride_px is [49]; it must be at most 48 for tiles of 48 px. Lower it.",
        ),
        (
            {"tile_px": [8], "stride_px": [8]},
            "tile_px is [8]; it must be a whole number at least 16 px. Leave it out for the default, [224, 448].",
        ),
        (
            {"merge_nats": -1.0},
            "merge_nats is -1.0; it must be a number at least 0 nats, or inf. Leave it out for the default, 1.0.",
        ),
        (
            {"question_weight": 2.0},
            "question_weight is 2.0; it must be a number from 0 to 1. Leave it out for the default, 0.0.",
        ),
        ({"num_best": 0}, "num_best is 0; it must be a whole number at least 1. Leave it out for the default, 3."),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number at least 1. Leave it out for the default, 64."),
        ({"tiles_px": [48]}, "unknown setting 'tiles_px'. Did you mean 'tile_px'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from(table, RetrievalConfig, "recipe.toml")
    assert str(refused.value) == f"recipe.toml: {message}"


def test_rows_of_tiles_overlap_by_the_step() -> None:
    rows = sorted({box.y0 for box in tile_boxes(160, 160, (48,), (16,))})
    assert all(after - before == 16 for before, after in pairwise(rows))
