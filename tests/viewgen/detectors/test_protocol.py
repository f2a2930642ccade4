"""What every detector shares: its settings, how a kind is chosen, and the boxes that a source already has."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from viewgen.boxes import Box
from viewgen.detectors import Ask, Detector, DetectorConfig, ScoredBox
from viewgen.detectors.annotated import AnnotatedBoxes
from viewgen.errors import SettingsError
from viewgen.records import Annotation
from viewgen.settings import settings_from

IMAGE = Image.new("RGB", (100, 80))
DOG, CAT, LEASH = Box(10, 10, 30, 30), Box(50, 40, 70, 60), Box(30, 20, 50, 40)
Boxed = tuple[Annotation, ...]


def annotated(*pairs: tuple[str, Box]) -> Boxed:
    return tuple(Annotation(phrase=phrase, box=box) for phrase, box in pairs)


def found(annotations: Boxed, *phrases: str) -> list[tuple[str, Box]]:
    (boxes,) = AnnotatedBoxes().detect([Ask(image=IMAGE, phrases=phrases, annotations=annotations)])
    return [(one.phrase, one.box) for one in boxes]


def test_a_phrase_gets_the_boxes_that_carry_its_name_whatever_the_case_or_article() -> None:
    boxes = annotated(("The  Dog", DOG), ("a cat", CAT), ("dog", LEASH))
    assert found(boxes, "the dog") == [("the dog", DOG), ("the dog", LEASH)]
    assert found(boxes, "the Dog", "the cat") == [("the Dog", DOG), ("the Dog", LEASH), ("the cat", CAT)]


def test_boxes_come_with_the_scores_of_the_source_best_first() -> None:
    boxes = (Annotation(phrase="dog", box=CAT, score=0.5), Annotation(phrase="dog", box=DOG))
    (answer,) = AnnotatedBoxes().detect([Ask(image=IMAGE, phrases=("dog",), annotations=boxes)])
    assert [(one.box, one.score) for one in answer] == [(DOG, 1.0), (CAT, 0.5)]


def test_an_article_is_only_cut_off_as_a_whole_word() -> None:
    assert found(annotated(("athlete", DOG), ("thlete", CAT)), "the athlete") == [("the athlete", DOG)]


def test_a_phrase_that_the_source_does_not_name_gets_nothing_when_another_is_named() -> None:
    assert found(annotated(("dog", DOG), ("leash", LEASH)), "the dog", "the cat") == [("the dog", DOG)]


def test_boxes_without_any_of_the_names_belong_to_every_phrase() -> None:
    boxes = annotated(("", DOG), ("animal", CAT))
    assert found(boxes, "the dog", "the cat") == [(t, b) for t in ("the dog", "the cat") for b in (DOG, CAT)]


def test_a_question_without_boxes_or_phrases_gets_nothing() -> None:
    assert found(annotated(), "the dog") == []
    assert found(annotated(("dog", DOG))) == []


def test_boxes_are_cut_to_the_image_and_dropped_outside_it() -> None:
    boxes = annotated(("dog", Box(90, 70, 120, 90)), ("dog", Box(100, 0, 110, 10)))
    assert found(boxes, "the dog") == [("the dog", Box(90, 70, 100, 80))]


def test_annotated_boxes_answer_ask_by_ask_and_prefer_none() -> None:
    detector = AnnotatedBoxes()
    asks = [
        Ask(image=IMAGE, phrases=("dog",), annotations=annotated(("dog", DOG), ("dog", LEASH))),
        Ask(image=IMAGE, phrases=("dog",)),
        Ask(image=IMAGE, phrases=("cat",), annotations=annotated(("cat", CAT))),
    ]
    assert detector.detect(asks) == [
        tuple(ScoredBox(phrase="dog", box=box, score=1.0) for box in (DOG, LEASH)),
        (),
        (ScoredBox(phrase="cat", box=CAT, score=1.0),),
    ]
    assert isinstance(detector, Detector)
    assert (detector.name, dict(detector.models)) == ("annotated", {})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"box_threshold": 1.5},
            "box_threshold is 1.5; it must be a number from 0 to 1. Leave it out for the default, 0.35.",
        ),
        (
            {"text_threshold": -0.1},
            "text_threshold is -0.1; it must be a number from 0 to 1. Leave it out for the default, 0.25.",
        ),
        ({"nms_iou": 2}, "nms_iou is 2.0; it must be a number from 0 to 1. Leave it out for the default, 0.5."),
        (
            {"tile_overlap": 0.95},
            "tile_overlap is 0.95; it must be a number from 0 to 0.9. Leave it out for the default, 0.25.",
        ),
        ({"num_best": 0}, "num_best is 0; it must be a whole number at least 1. Leave it out for the default, 20."),
        (
            {"batch_size": -1},
            "batch_size is -1; it must be a whole number at least 0. Leave it out for the default, 0.",
        ),
        (
            {"tile_px": 16},
            "tile_px is 16; it must be a whole number at least 32 px, or 0. Leave it out for the default, 0.",
        ),
        ({"box_treshold": 0.3}, "unknown setting 'box_treshold'. Did you mean 'box_threshold'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from(table, DetectorConfig, "recipe.toml")
    assert str(refused.value) == f"recipe.toml: {message}"


def test_an_empty_model_is_the_official_one_of_the_kind() -> None:
    assert DetectorConfig().model_name == "hf-hub:ShilongLiu/GroundingDINO"
    assert DetectorConfig(library="transformers").model_name == "hf-hub:IDEA-Research/grounding-dino-tiny"
    assert DetectorConfig(model="a.pth").model_name == "a.pth"
