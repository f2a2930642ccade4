"""The work of a worker process: views of all questions about one image, measured."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
from PIL import Image

from viewgen.boxes import Box
from viewgen.build.cut_image import CutTask, cut_image
from viewgen.records import Evidence, ImageRecord, Question, QuestionRecord, Rejection
from viewgen.views import ViewsConfig

PIXELS = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8))


def question(name: str, *boxes: Box) -> QuestionRecord:
    evidence = Evidence(boxes=boxes, regions=()) if boxes else None
    rejection = None if boxes else Rejection(stage="evidence", reason="no_region", message="none")
    asked = Question(question_id=name, image_path="a.png", text="?")
    return QuestionRecord(question=asked, image_id="i", evidence=evidence, rejection=rejection)


def task(*questions: QuestionRecord, keep_pixels: bool = False) -> CutTask:
    image = ImageRecord(
        key="i" * 64, source_path="a.png", questions=questions, pixels=PIXELS, width_px=96, height_px=96
    )
    return CutTask(image=image, seed=0, views=ViewsConfig(negative=("off_region",)), keep_pixels=keep_pixels)


def test_every_question_comes_back_in_order_with_measured_views_or_its_rejection() -> None:
    small, lost, huge = question("small", Box(0, 0, 16, 16)), question("lost"), question("huge", Box(0, 0, 90, 90))
    found = cut_image(task(small, lost, huge))
    assert [one.question_id for one in found] == ["small", "lost", "huge"]
    assert [view.kind for view in found[0].views] == ["crop", "off_region"]
    assert [view.audit and view.audit.evidence_overlap for view in found[0].views] == [1.0, 0.0]
    assert found[1] == lost
    assert found[2].rejection
    assert found[2].rejection.reason == "no_room"


def test_pixels_are_handed_back_only_where_models_will_read_them() -> None:
    one = question("small", Box(0, 0, 16, 16))
    assert all(view.pixels is None for record in cut_image(task(one)) for view in record.views)
    assert all(view.pixels for record in cut_image(task(one, keep_pixels=True)) for view in record.views)


def test_a_task_travels_to_another_process_and_gives_the_same_bytes() -> None:
    given = task(question("small", Box(0, 0, 16, 16)))
    here, there = cut_image(given), cut_image(pickle.loads(pickle.dumps(given)))
    assert [view.image for view in here[0].views] == [view.image for view in there[0].views]


def test_the_seed_of_the_build_shapes_what_is_random() -> None:
    given = task(question("small", Box(0, 0, 16, 16)))
    other = cut_image(replace(given, seed=1))
    assert cut_image(given)[0].views[0].image == other[0].views[0].image
    assert cut_image(given)[0].views[1].box != other[0].views[1].box
