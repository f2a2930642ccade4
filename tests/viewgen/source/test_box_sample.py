"""Boxes that do not fit the images of a source are refused before a build begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from viewgen.boxes import Box
from viewgen.errors import RecipeError
from viewgen.records import Annotation, Question, SourceBox
from viewgen.source.box_sample import refuse_misfits
from viewgen.source.recipe import SourceConfig

pytestmark = pytest.mark.fault(3)

SOURCE = SourceConfig(root=".", query="")


def asked(folder: Path, boxes: list[Box], size: tuple[int, int], num_images: int = 2) -> list[Question]:
    """Return a question for each box, about images of one size in turn."""
    for number in range(num_images):
        Image.new("RGB", size).save(folder / f"{number}.png")
    questions = [
        Question(
            question_id=str(number),
            image_path=f"{number % num_images}.png",
            text="?",
            annotations=(Annotation(phrase="dog", box=box),),
        )
        for number, box in enumerate(boxes)
    ]
    return sorted(questions, key=lambda question: question.image_path)


def refusal(questions: list[Question], recipe: Path, source: SourceConfig = SOURCE) -> str:
    with pytest.raises(RecipeError) as refused:
        refuse_misfits(questions, source, recipe)
    return str(refused.value)


def test_a_source_with_half_of_its_boxes_outside_is_refused_and_one_with_fewer_is_not(tmp_path: Path) -> None:
    inside, outside = Box(1, 1, 9, 9), Box(100, 100, 200, 200)
    refuse_misfits(asked(tmp_path, [inside] * 5 + [outside] * 4, (50, 50)), SOURCE, tmp_path / "r.toml")
    refuse_misfits(asked(tmp_path, [outside] * 7, (50, 50)), SOURCE, tmp_path / "r.toml")  # too few to say so of all
    assert refusal(asked(tmp_path, [inside] * 5 + [outside] * 5, (50, 50)), tmp_path / "r.toml") == (
        f"{tmp_path}/r.toml: 5 of 10 boxes in a sample lie mostly outside their images (box_format xyxy, box_units "
        "unstated, box_basis upright). Set source.box_format, box_units or box_basis to what the boxes are."
    )


def test_boxes_that_end_at_1000_in_large_images_are_taken_for_parts_of_1000_unless_declared(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    boxes = [Box(10 * n, 10 * n, 10 * n + 50, 10 * n + 60) for n in range(1, 21)]
    assert refusal(asked(tmp_path, boxes, (1500, 1600)), recipe) == (
        f"{recipe}: none of 20 boxes in images of 1500 px and more ends beyond 1000. "
        'Set source.box_units = "0..1000", or "pixels" if they are pixels.'
    )
    refuse_misfits(asked(tmp_path, [*boxes, Box(900, 900, 1001, 950)], (1500, 1600)), SOURCE, recipe)
    refuse_misfits(asked(tmp_path, boxes, (1499, 1600)), SOURCE, recipe)
    stated = SourceConfig(root=".", query="", box_units="pixels")
    refuse_misfits(asked(tmp_path, boxes, (1500, 1600)), stated, recipe)


def test_images_that_cannot_be_opened_and_boxes_that_are_none_are_passed_over(tmp_path: Path) -> None:
    questions = asked(tmp_path, [Box(100, 100, 200, 200)] * 8, (50, 50), num_images=1)
    (tmp_path / "0.png").write_bytes(b"no image")
    refuse_misfits(questions, SOURCE, tmp_path / "r.toml")
    none = SourceBox(phrase="a", corners=(9.0, 9.0, 1.0, 1.0))
    strange = [Question(question_id=str(n), image_path="1.png", text="?", source_boxes=(none,)) for n in range(8)]
    Image.new("RGB", (50, 50)).save(tmp_path / "1.png")
    refuse_misfits(strange, SOURCE, tmp_path / "r.toml")
