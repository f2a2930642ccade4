"""The shipped model, measured on scenes that its training never drew: what it finds, and when it abstains."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import pytest
import torch

from viewgen.boxes import Box, containment
from viewgen.grounding.evidence import EvidenceConfig, choose_evidence
from viewgen.grounding.regions import ImageQuery, RegionsConfig, region_finder
from viewgen.phrases import find_phrases
from viewgen.records import Evidence, Question, Rejection
from viewgen.retrieval.retriever import RetrievalConfig
from viewgen.source.demo import DemoConfig, SceneQuestion, ask, draw_scene, scene_stream

RETRIEVAL = RetrievalConfig(
    model="embedded:drawn-clip", template="{phrase}", tile_px=(48,), stride_px=(16,), merge_nats=0.0
)
EVIDENCE = EvidenceConfig(min_margin=6.5, pad_ratio=1.0, min_side_px=48, max_share=1.0)
NUM_SCENES = 30


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[SceneQuestion, Evidence | Rejection]]:
    torch.set_num_threads(1)  # threads of a busy machine wait for each other longer than these small products take
    finder = region_finder(RegionsConfig(method="retrieval"), RETRIEVAL)
    judged: list[tuple[SceneQuestion, Evidence | Rejection]] = []
    for index in range(NUM_SCENES):
        stream = scene_stream(11, "drawn-clip-test", index)
        scene = draw_scene(stream, DemoConfig())
        asked = ask(stream, scene, num_relations=2)
        pairs = tuple((Question(question_id="q", image_path="", text=q.text), find_phrases(q.text)) for q in asked)
        (search,) = finder.find([ImageQuery(image=scene.image, questions=pairs)])
        for each, (_, phrases), regions in zip(asked, pairs, search.regions, strict=True):
            judged.append((each, choose_evidence(phrases, regions, 160, 160, EVIDENCE)))
    return judged


@pytest.mark.parametrize("kind", ["attribute", "relation"])
def test_the_evidence_shows_what_is_asked_about(
    kind: str, outcomes: list[tuple[SceneQuestion, Evidence | Rejection]]
) -> None:
    asked = [(question, outcome) for question, outcome in outcomes if question.kind == kind]
    kept = [(question, outcome.boxes) for question, outcome in asked if isinstance(outcome, Evidence)]
    assert len(kept) >= 0.9 * len(asked)

    def shown(question: SceneQuestion, boxes: Sequence[Box]) -> bool:
        return all(max(containment(sign.box, box) for box in boxes) >= 0.9 for sign in question.signs)

    assert sum(shown(question, boxes) for question, boxes in kept) >= 0.99 * len(kept)


def test_evidence_of_one_sign_is_one_tile_of_the_grid(
    outcomes: list[tuple[SceneQuestion, Evidence | Rejection]],
) -> None:
    for question, outcome in outcomes:
        if question.kind == "attribute" and isinstance(outcome, Evidence):
            (box,) = outcome.boxes
            assert (box.width, box.height, box.x0 % 16, box.y0 % 16) == (48, 48, 0, 0)


def test_most_questions_about_absent_signs_are_abstained_from(
    outcomes: list[tuple[SceneQuestion, Evidence | Rejection]],
) -> None:
    absent = [outcome for question, outcome in outcomes if question.kind == "absent"]
    refused = [outcome for outcome in absent if isinstance(outcome, Rejection)]
    assert len(absent) == NUM_SCENES
    assert {outcome.reason for outcome in refused} == {"no_region"}
    assert len(refused) >= 0.8 * len(absent)


def test_the_shipped_folder_is_small_and_has_its_card() -> None:
    folder = files("viewgen") / "weights" / "drawn-clip"
    sizes = {entry.name: len(entry.read_bytes()) for entry in folder.iterdir()}
    assert sum(sizes.values()) <= 3_000_000
    assert {"README.md", "open_clip_config.json", "open_clip_model.safetensors"} <= set(sizes)
