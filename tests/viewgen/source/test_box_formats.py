"""Boxes in the source's format, units and basis become pixels of the upright image, or are refused with counts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from viewgen.boxes import Box
from viewgen.decode import decode_image
from viewgen.records import Annotation, Question, Rejection, SourceBox
from viewgen.source.box_formats import (
    BoxFormat,
    Corners,
    corners_of,
    fault_of,
    placed_annotations,
    source_fault,
    upright_box,
)

pytestmark = pytest.mark.fault(3)


def box(*corners: float, units: str = "unstated") -> SourceBox:
    a, b, c, d = map(float, corners)
    return SourceBox(phrase="dog", corners=(a, b, c, d), units=units)


@pytest.mark.parametrize(
    ("box_format", "numbers"),
    [("xyxy", (10.0, 20.0, 40.0, 60.0)), ("xywh", (10.0, 20.0, 30.0, 40.0)), ("cxcywh", (25.0, 40.0, 30.0, 40.0))],
)
def test_every_format_names_the_same_corners(box_format: BoxFormat, numbers: Corners) -> None:
    assert corners_of(numbers, box_format) == (10, 20, 40, 60)


@pytest.mark.parametrize(
    ("units", "corners"),
    [
        ("pixels", (20.0, 10.0, 100.0, 50.0)),
        ("unstated", (20.0, 10.0, 100.0, 50.0)),
        ("0..1", (0.1, 0.1, 0.5, 0.5)),
        ("0..1000", (100.0, 100.0, 500.0, 500.0)),
    ],
)
def test_units_are_parts_of_the_image_or_its_pixels(units: str, corners: Corners) -> None:
    assert upright_box(box(*corners, units=units), "upright", 200, 100) == Box(20, 10, 100, 50)


def test_parts_of_pixels_count_whole_and_rounding_errors_do_not() -> None:
    assert upright_box(box(1.2, 1.9, 3.1, 4.0), "upright", 9, 9) == Box(1, 1, 4, 4)
    assert upright_box(box(0.1, 0.2, 0.7, 0.6, units="0..1"), "upright", 10, 10) == Box(1, 2, 7, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("units", ["pixels", "0..1", "0..1000"])
def test_stored_boxes_are_turned_as_the_pixels_are(orientation: int, units: str) -> None:
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)  # 60 x 40 px as they are stored
    pixels[4:16, 6:27] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", exif=exif)
    upright = np.asarray(decode_image(file.getvalue()))
    rows, columns = np.nonzero(upright[..., 0])
    shown = Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    scale = {"pixels": (1, 1), "0..1": (1 / 60, 1 / 40), "0..1000": (1000 / 60, 1000 / 40)}[units]
    given = box(6 * scale[0], 4 * scale[1], 27 * scale[0], 16 * scale[1], units=units)
    height, width = upright.shape[:2]
    assert upright_box(given, "stored", width, height, orientation) == shown
    relative = box(shown.x0 / width, shown.y0 / height, shown.x1 / width, shown.y1 / height, units="0..1")
    assert upright_box(relative, "upright", width, height, orientation) == shown


def placed(*boxes: SourceBox, basis: str = "upright", annotations: tuple[Annotation, ...] = ()) -> object:
    question = Question(
        question_id="q", image_path="a", text="b", source_boxes=boxes, annotations=annotations, box_basis=basis
    )
    found = placed_annotations(question, 200, 100, 1)
    return found.reason if isinstance(found, Rejection) else [annotation.box for annotation in found]


def test_a_box_mostly_outside_its_image_rejects_the_question_and_is_not_cut() -> None:
    assert placed(box(150, 10, 240, 50)) == [Box(150, 10, 240, 50)]  # 50 of 90 px lie inside
    assert placed(box(160, 10, 250, 50)) == "box_outside"
    assert placed(box(10, 10, 20, 20), box(500, 10, 520, 50)) == "box_outside"  # else the weaker box became evidence
    assert placed(annotations=(Annotation(phrase="dog", box=Box(300, 0, 400, 50)),)) == "box_outside"
    assert placed(box(0.9, 0, 1.4, 0.5, units="0..1")) == "box_outside"


def test_single_boxes_that_cannot_be_what_they_are_said_to_be_reject_their_question() -> None:
    assert placed(box(40, 10, 30, 50)) == "box_inverted"
    assert placed(box(0.1, 0.1, 0.5, 0.9)) == "box_units"
    assert placed(box(0.1, 0.1, 0.5, 0.9, units="0..1000")) == "box_units"
    assert placed(box(0.1, 0.1, 0.5, 0.9, units="0..1")) == [Box(20, 10, 100, 90)]
    fault = fault_of(box(0.1, 0.1, 0.5, 0.9))
    assert fault is not None
    assert fault.message == "the box 0.1, 0.1, 0.5, 0.9 of 'dog' lies within 0 to 1, which are no pixels"


def fault(*boxes: SourceBox) -> str | None:
    return source_fault([(f"q{number}", [each]) for number, each in enumerate(boxes)])


def test_a_source_of_other_units_is_refused_with_counts_and_the_setting() -> None:
    good, small = box(10, 10, 50, 50), box(0.1, 0.1, 0.5, 0.5)
    assert fault(*[good] * 3) is None
    assert fault(small, good, good) is None  # a row, not the source
    assert fault(good, small, small) == (
        "2 of 3 boxes, as of question 'q1', lie within 0 to 1, which are no pixels. Set source.box_units = \"0..1\"."
    )
    assert fault(*[box(10, 10, 50, 50, units="0..1")] * 2) == (
        "2 of 2 boxes, as of question 'q0', reach beyond 0..1. "
        "Set source.box_units to the units they have: pixels, 0..1, or 0..1000."
    )
    assert "no numbers 0..1000" in str(fault(box(0.1, 0.1, 0.5, 0.5, units="0..1000")))


def test_a_source_of_another_format_is_refused_where_more_than_one_in_twenty_is_inverted() -> None:
    good, inverted = box(10, 10, 50, 50), box(100, 10, 50, 50)
    assert fault(*[good] * 19, inverted) is None
    said = fault(*[good] * 18, inverted, inverted)
    assert said == (
        "2 of 20 boxes, as of question 'q18', have x1 <= x0 or y1 <= y0. "
        'Set source.box_format = "xywh" or "cxcywh" if they are that; else change the query.'
    )
