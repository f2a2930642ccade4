"""Finders: the one that the settings ask for, one entry per question, and models named for the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewgen.boxes import Box, containment, iou
from viewgen.detectors import Ask, DetectorConfig, ScoredBox
from viewgen.errors import ModelError, SettingsError
from viewgen.grounding.evidence import EvidenceConfig, choose_evidence
from viewgen.grounding.regions import (
    Finder,
    ImageQuery,
    ImageRegions,
    Method,
    RegionFinder,
    RegionsConfig,
    region_finder,
    without_overlaps,
)
from viewgen.phrases import find_phrases
from viewgen.records import Annotation, Phrase, Question, Rejection
from viewgen.retrieval.retriever import RetrievalConfig, Retriever
from viewgen.settings import settings_from
from viewgen.source.demo import DemoConfig, draw_scene, scene_stream

RETRIEVAL = RetrievalConfig(
    model="embedded:drawn-clip", template="{phrase}", tile_px=(48,), stride_px=(16,), merge_nats=0.0, num_best=2
)


def asked(text: str, number: int = 0, *annotations: Annotation) -> tuple[Question, tuple[Phrase, ...]]:
    question = Question(question_id=str(number), image_path="a.png", text=text, annotations=annotations)
    return question, find_phrases(text)


@pytest.fixture(scope="module")
def retrieval() -> RegionFinder:
    return region_finder(RegionsConfig(method="retrieval"), RETRIEVAL)


def test_annotated_boxes_need_no_model() -> None:
    finder = region_finder(RegionsConfig(), RETRIEVAL)
    assert dict(finder.models) == {}
    box = Box(1, 2, 3, 4)
    (search,) = finder.find(
        [
            ImageQuery(
                image=Image.new("RGB", (9, 9)),
                questions=(
                    asked("Why?"),
                    asked("Where is the cat?", 1, Annotation(phrase="cat", box=box)),
                    asked("Where is the dog?", 2),
                ),
            )
        ]
    )
    assert search.index is None
    found = search.regions
    assert [[(region.phrase, region.box) for region in regions] for regions in found] == [[], [("the cat", box)], []]


def test_retrieval_answers_every_question_of_an_image_in_order(retrieval: RegionFinder) -> None:
    scene = draw_scene(scene_stream(5, "regions", 0), DemoConfig())
    first, second = scene.signs[0].phrase, scene.signs[1].phrase
    texts = [f"What number is on {second}?", "Why?", f"Is {first} left or right of {second}?"]
    (search,) = retrieval.find(
        [ImageQuery(image=scene.image, questions=tuple(asked(text, number) for number, text in enumerate(texts)))]
    )
    found = search.regions
    assert [[region.phrase for region in regions] for regions in found] == [
        [second] * 2,
        [],
        [first] * 2 + [second] * 2,
    ]
    assert found[0] == found[2][2:]


def test_retrieval_names_its_model_by_the_hash_of_its_file(retrieval: RegionFinder) -> None:
    weights = (files("viewgen") / "weights" / "drawn-clip" / "open_clip_model.safetensors").read_bytes()
    assert dict(retrieval.models) == {"embedded:drawn-clip": sha256(weights).hexdigest()}


NAMED = {"the red circle": (214, 40, 40), "the blue square": (30, 70, 205)}


class ColourDetector:
    """A detector of flat colours: its boxes are those of the patches of a phrase's colour, column by column. The score
    is larger the further left a patch lies."""

    name = "colours"
    models: Mapping[str, str] = {"colours": "0" * 64}

    def __init__(self) -> None:
        self.asks: list[tuple[str, ...]] = []

    def detect(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        self.asks += [ask.phrases for ask in asks]
        return [tuple(box for phrase in ask.phrases for box in self._boxes(ask.image, phrase)) for ask in asks]

    def _boxes(self, image: Image.Image, phrase: str) -> Iterator[ScoredBox]:
        shown = (np.asarray(image) == NAMED.get(phrase, (1, 2, 3))).all(axis=2)
        edges = np.flatnonzero(np.diff(shown.any(axis=0).astype(int), prepend=0, append=0)).tolist()
        for x0, x1 in zip(edges[::2], edges[1::2], strict=True):
            rows = np.flatnonzero(shown[:, x0:x1].any(axis=1)).tolist()
            box = Box(x0, rows[0], x1, rows[-1] + 1)
            yield ScoredBox(phrase=phrase, box=box, score=round(1 - x0 / image.width, 4))


def patches(*boxes: Box, colour: str = "the red circle") -> Image.Image:
    image = Image.new("RGB", (160, 160), (120, 120, 120))
    for box in boxes:
        image.paste(NAMED[colour], box.as_tuple())
    return image


def found_by(kind: Method, image: Image.Image, *texts: str, **settings: Any) -> tuple[ColourDetector, ImageRegions]:
    detector = ColourDetector()
    finder = Finder(
        config=RegionsConfig(method=kind, **settings),
        detector=detector if kind in {"detector", "fused"} else None,
        retriever=Retriever.load(RETRIEVAL) if kind in {"retrieval", "fused"} else None,
    )
    questions = tuple(asked(text, number) for number, text in enumerate(texts))
    (search,) = finder.find([ImageQuery(image=image, questions=questions)])
    return detector, search


RED = "What number is on the red circle?"
BLUE = "What number is on the blue square?"


def test_a_detector_s_boxes_are_ranked_and_counted() -> None:
    boxes = Box(100, 20, 120, 40), Box(10, 60, 40, 90)
    _, search = found_by("detector", patches(*boxes), RED, BLUE)
    assert [(each.box, each.rank, each.num_instances, each.source) for each in search.regions[0]] == [
        (boxes[1], 0, 2, "colours"),
        (boxes[0], 1, 2, "colours"),
    ]
    assert {(each.agreement, each.retrieval_rank) for each in search.regions[0]} == {(None, None)}
    assert search.regions[1] == ()
    assert search.index is None


def test_boxes_that_overlap_are_one_instance() -> None:
    boxes = [
        ScoredBox(phrase="x", box=box, score=score)
        for box, score in ((Box(0, 0, 10, 10), 0.5), (Box(0, 0, 10, 20), 0.9), (Box(0, 0, 10, 21), 0.6))
    ]
    assert without_overlaps(boxes, 0.5) == [boxes[1], boxes[0]]  # an IoU of 0.5 with the best, and of 0.95
    assert without_overlaps(boxes, 0.49) == [boxes[1]]


def test_a_question_is_asked_alone_or_with_all_others_about_its_image() -> None:
    image = patches(Box(10, 60, 40, 90))
    texts = (RED, "Why?", "Is the red circle left or right of the blue square?", BLUE)
    alone, first = found_by("detector", image, *texts, caption="question")
    both = ("the red circle", "the blue square")
    assert alone.asks == [both[:1], both, both[1:]]
    together, second = found_by("detector", image, *texts, caption="image")
    assert together.asks == [both]
    assert first == second
    assert [len(regions) for regions in first.regions] == [1, 0, 1, 0]


def test_a_detector_is_not_asked_about_images_without_a_phrase() -> None:
    for caption in ("image", "question"):
        detector, search = found_by("detector", patches(), "Why?", caption=caption)
        assert detector.asks == []
        assert search.regions == ((),)


def test_fused_regions_say_how_far_the_other_source_agrees() -> None:
    scenes = (draw_scene(scene_stream(5, "regions", index), DemoConfig()) for index in range(100))
    scene, sign = next((scene, sign) for scene in scenes for sign in scene.signs if sign.phrase == "the red circle")
    text = f"What number is on {sign.phrase}?"
    _, search = found_by("fused", scene.image, text)
    (box, *tiles), index = search.regions[0], search.index
    assert [region.source for region in search.regions[0]] == ["colours", "retrieval", "retrieval"]
    assert index is not None
    assert [replace(tile, agreement=None) for tile in tiles] == list(index.regions(sign.phrase))
    assert containment(box.box, tiles[0].box) == 1
    assert box.retrieval_rank == 0
    overlaps = [round(iou(box.box, tile.box), 4) for tile in tiles]
    assert [tile.agreement for tile in tiles] == overlaps
    assert box.agreement == max(overlaps) > 0.1


def test_fused_regions_keep_what_one_source_alone_has_found() -> None:
    boxes = Box(100, 20, 120, 40)
    _, search = found_by("fused", patches(boxes), RED, BLUE)
    sources = [[region.source for region in regions] for regions in search.regions]
    assert sources == [["colours"] + ["retrieval"] * 2, ["retrieval"] * 2]
    assert [region.agreement for region in search.regions[1]] == [0.0, 0.0]


def test_several_images_are_answered_in_order(retrieval: RegionFinder) -> None:
    scenes = [draw_scene(scene_stream(5, "regions", index), DemoConfig()) for index in range(3)]
    images = [ImageQuery(image=each.image, questions=(asked(f"Where is {each.signs[0].phrase}?"),)) for each in scenes]
    together = retrieval.find(images)
    for image, search in zip(images, together, strict=True):
        (alone,) = retrieval.find([image])
        assert search.index is not None
        assert [region.box for region in alone.regions[0]] == [region.box for region in search.regions[0]]
    assert retrieval.find([]) == []


def test_tiles_are_read_without_being_regions_where_views_need_them() -> None:
    finder = region_finder(RegionsConfig(method="annotated"), RETRIEVAL, needs_tiles=True)
    box = Box(1, 2, 3, 4)
    question = asked("Where is the cat?", 1, Annotation(phrase="cat", box=box))
    (search,) = finder.find([ImageQuery(image=patches(), questions=(question,))])
    assert [(region.source, region.box, region.agreement) for region in search.regions[0]] == [("annotated", box, None)]
    assert search.index is not None
    assert list(finder.models) == ["embedded:drawn-clip"]
    assert finder.retriever is not None
    assert finder.detector is None


def test_a_detector_that_is_missing_is_one_line() -> None:
    config = DetectorConfig(library="transformers", model="embedded:drawn-dog")
    for kind in ("detector", "fused"):
        with pytest.raises(
            ModelError, match=r"^embedded:drawn-dog: viewgen ships no such detector\. Expected one of: "
        ):
            region_finder(settings_from({"method": kind}, RegionsConfig, "r.toml"), RETRIEVAL, config)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^r.toml: method is 'sam'; it must be one of "):
        settings_from({"method": "sam"}, RegionsConfig, "r.toml")


def test_an_iou_out_of_range_is_refused() -> None:
    with pytest.raises(
        SettingsError,
        match=r"^r.toml: instance_iou is 1.5; it must be a number from 0 to 1. Leave it out for the default, 0.5.$",
    ):
        settings_from({"instance_iou": 1.5}, RegionsConfig, "r.toml")


@pytest.mark.parametrize("text", ["", "   ", "?"])
def test_an_empty_question_costs_no_model_a_look_and_is_rejected(text: str) -> None:
    detector, search = found_by("fused", patches(), text)
    assert detector.asks == []
    assert search.regions == ((),)
    outcome = choose_evidence(find_phrases(text), search.regions[0], 160, 160, EvidenceConfig())
    assert outcome == Rejection(stage="evidence", reason="no_region", message="no phrase was looked for")


def test_an_image_without_any_region_is_rejected_with_the_phrase() -> None:
    _, search = found_by("detector", patches(), RED)
    (_, phrases) = asked(RED)
    outcome = choose_evidence(phrases, search.regions[0], 160, 160, EvidenceConfig())
    message = "no region was found for 'the red circle'"
    assert outcome == Rejection(stage="evidence", reason="no_region", message=message)
