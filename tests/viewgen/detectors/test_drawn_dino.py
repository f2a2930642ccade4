"""The shipped detector, read with transformers' official classes and measured on scenes that its training never drew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor, GroundingDinoForObjectDetection

from viewgen.boxes import Box, iou
from viewgen.detectors import Ask, DetectorConfig, load_detector
from viewgen.source.demo import DemoConfig, Scene, ask, draw_scene, scene_stream

FOLDER = Path(str(files("viewgen"))) / "weights" / "drawn-dino"
THRESHOLD = 0.21
"""The card's."""
NUM_SCENES = 60


@dataclass(frozen=True)
class Found:
    score: float
    overlap: float


@dataclass(frozen=True)
class Official:
    """The model and its processor, and nothing of viewgen."""

    model: Any
    processor: Any

    def best(self, image: Image.Image, phrases: list[str]) -> list[tuple[float, Box]]:
        """Each phrase's best box; one caption for all, each phrase scored by its three words."""
        inputs = self.processor(images=image, text=[phrases], return_tensors="pt")
        with torch.inference_mode():
            outputs = self.model(**inputs)
        (found,) = self.processor.post_process_grounded_object_detection(
            outputs, threshold=-1.0, text_threshold=1.0, target_sizes=[(image.height, image.width)]
        )
        answers = []
        for number in range(len(phrases)):
            first = 1 + 4 * number  # "[CLS] the red circle . the blue star . [SEP]"
            score_Q = outputs.logits[0, :, first : first + 3].sigmoid().amax(dim=1)
            query = int(score_Q.argmax())
            answers.append((float(score_Q[query]), Box(*(round(edge) for edge in found["boxes"][query].tolist()))))
        return answers


@pytest.fixture(scope="module")
def official() -> Official:
    torch.set_num_threads(1)  # threads of a busy machine wait for each other longer than these small products take
    model: Any
    model, report = AutoModelForZeroShotObjectDetection.from_pretrained(
        FOLDER, local_files_only=True, output_loading_info=True
    )
    assert isinstance(model, GroundingDinoForObjectDetection)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    processor: Any = AutoProcessor.from_pretrained(FOLDER, local_files_only=True)  # type: ignore[no-untyped-call]
    return Official(model, processor)


def scenes() -> Iterator[tuple[Scene, str]]:
    """Fresh scenes, each with the phrase of a sign that is not there."""
    for index in range(NUM_SCENES):
        stream = scene_stream(13, "drawn-dino-test", index)
        scene = draw_scene(stream, DemoConfig())
        *_, absent = ask(stream, scene, num_relations=0)
        yield scene, absent.text.removeprefix("What number is on ").removesuffix("?")


@pytest.fixture(scope="module")
def found(official: Official) -> tuple[list[Found], list[float]]:
    """Signs that are there, and scores of signs that are not."""
    there, absent = [], []
    for scene, phrase in scenes():
        *boxes, (score, _) = official.best(scene.image, [*(sign.phrase for sign in scene.signs), phrase])
        there += [Found(score, iou(box, sign.box)) for sign, (score, box) in zip(scene.signs, boxes, strict=True)]
        absent.append(score)
    return there, absent


def test_the_best_box_of_a_phrase_lies_on_its_sign(found: tuple[list[Found], list[float]]) -> None:
    there, _ = found
    assert len(there) >= 5 * NUM_SCENES
    assert sum(one.overlap >= 0.5 for one in there) >= 0.9 * len(there)


def test_a_threshold_tells_signs_that_are_there_from_absent_ones(found: tuple[list[Found], list[float]]) -> None:
    there, absent = found
    assert sum(one.score >= THRESHOLD for one in there) >= 0.9 * len(there)
    assert len(absent) == NUM_SCENES
    assert sum(score < THRESHOLD for score in absent) >= 0.8 * len(absent)


def test_an_image_with_fewer_cells_than_the_model_has_queries_is_read_all_the_same() -> None:
    config = DetectorConfig(library="transformers", model="embedded:drawn-dino", box_threshold=0.0, text_threshold=0.0)
    detector, scene = load_detector(config), next(scenes())[0]
    sign = scene.signs[0]
    cut = scene.image.crop(sign.box.as_tuple())
    assert max(cut.size) < 48
    found, strip = detector.detect(
        [Ask(image=cut, phrases=(sign.phrase,)), Ask(image=cut.crop((0, 0, 3, 20)), phrases=(sign.phrase,))]
    )
    assert found[0].score >= THRESHOLD
    assert iou(found[0].box, Box(0, 0, *cut.size)) >= 0.5
    assert all(one.box.x1 <= 3 and one.box.y1 <= 20 for one in strip)


def test_viewgen_reads_it_as_the_official_classes_do(official: Official) -> None:
    config = DetectorConfig(
        library="transformers",
        model="embedded:drawn-dino",
        box_threshold=0.0,
        text_threshold=0.0,
        num_best=1,
        device="cpu",
    )
    detector = load_detector(config)
    for _, (scene, _) in zip(range(3), scenes(), strict=False):
        phrases = [sign.phrase for sign in scene.signs]
        (seen,) = detector.detect([Ask(image=scene.image, phrases=tuple(phrases))])
        wanted = official.best(scene.image, phrases)
        assert [one.phrase for one in seen] == phrases
        assert [one.box for one in seen] == [box for _, box in wanted]
        assert [one.score for one in seen] == pytest.approx([score for score, _ in wanted], abs=1e-3)


def test_the_shipped_weights_are_small_and_have_their_card() -> None:
    sizes = {
        path.relative_to(FOLDER.parent): path.stat().st_size for path in FOLDER.parent.rglob("*") if path.is_file()
    }
    assert sum(sizes.values()) <= 8_000_000
    assert max(sizes.values()) <= 4_000_000
    assert {"README.md", "config.json", "model.safetensors"} <= {path.name for path in FOLDER.iterdir()}
