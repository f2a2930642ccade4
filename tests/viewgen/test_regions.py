"""Finders: the one that the settings ask for, one entry per question, and models named for the manifest."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

import pytest
from PIL import Image

from viewgen.boxes import Box
from viewgen.demo import DemoConfig, draw_scene, scene_stream
from viewgen.errors import SettingsError
from viewgen.phrases import find_phrases
from viewgen.records import Annotation, Phrase, Question
from viewgen.regions import AskedImage, RegionFinder, RegionsConfig, Search, region_finder
from viewgen.retrieval import RetrievalConfig
from viewgen.settings import settings_from

RETRIEVAL = RetrievalConfig(
    model="embedded:drawn-clip", template="{phrase}", tile_px=(48,), stride_px=(16,), merge_nats=0.0, num_best=2
)


def asked(text: str, number: int = 0, *annotations: Annotation) -> tuple[Question, tuple[Phrase, ...]]:
    question = Question(question_id=str(number), image_path="a.png", text=text, annotations=annotations)
    return question, find_phrases(text)


@pytest.fixture(scope="module")
def retrieval() -> RegionFinder:
    return region_finder(RegionsConfig(kind="retrieval"), RETRIEVAL)


def test_annotated_boxes_need_no_model() -> None:
    finder = region_finder(RegionsConfig(), RETRIEVAL)
    assert dict(finder.models) == {}
    box = Box(1, 2, 3, 4)
    (search,) = finder.find(
        [
            AskedImage(
                image=Image.new("RGB", (9, 9)),
                asked=(
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
        [AskedImage(image=scene.image, asked=tuple(asked(text, number) for number, text in enumerate(texts)))]
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


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^r.toml: setting 'kind' is 'sam': "):
        settings_from({"kind": "sam"}, RegionsConfig, "r.toml")
