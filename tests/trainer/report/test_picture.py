"""The README's picture, looked at pixel by pixel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from trainer.errors import TrainerError
from trainer.report.picture import (
    MARGIN,
    NEGATIVE_RGB,
    POSITIVE_RGB,
    RIGHT_PX,
    VIEW_PX,
    PictureSource,
    fit,
    gap_scale,
    readme_picture,
    strength,
    visible,
)
from trainer.report.run_folder import Group, RunFolder, Sibling

if TYPE_CHECKING:
    from tests.trainer.report.conftest import RunMaker


def group_of(*gaps: float | None) -> Group:
    sibling = Sibling(
        response="", tokens=("x",) * len(gaps), gap=gaps, score=0.0, advantage=0.0, weight=1.0, truncated=False
    )
    return Group(question_id="q", question="?", step=1, siblings=(sibling,))


def test_the_picture_shows_the_full_image_in_hard_pixels_at_its_left(make_run: RunMaker, tmp_path: Path) -> None:
    make_run.facts()
    make_run.rollouts([1], num_questions=1)
    drawn = np.asarray(Image.open(readme_picture(make_run.folder, tmp_path / "deep" / "picture.png")))
    run = RunFolder.read(make_run.folder)
    pictures = PictureSource(run).of(run.telling_groups(1)[0].question_id)
    full = np.asarray(pictures.full)
    assert drawn.shape[1] == 1200
    # Every third pixel, from the middle of the first: 160 px are shown as 480.
    top = MARGIN + 64 + 30
    shown = drawn[top + 1 : top + 480 : 3, MARGIN + 1 : MARGIN + 480 : 3]
    outside = np.ones((160, 160), dtype=bool)
    (box,) = pictures.boxes
    outside[box[1] : box[3], box[0] : box[2]] = False
    assert np.array_equal(shown[outside], full[outside])
    # The frame hides nothing inside of it but its own width.
    outside[box[1] + 3 : box[3] - 3, box[0] + 3 : box[2] - 3] = True
    assert np.array_equal(shown[outside], full[outside])
    assert not np.array_equal(shown, full)
    view = np.asarray(pictures.positive)
    assert np.array_equal(drawn[top + 3 : top + 3 + 6 * view.shape[0] : 6, RIGHT_PX + 3 :: 6][:, : view.shape[1]], view)


def test_bars_are_as_long_as_weights_are_large(make_run: RunMaker, tmp_path: Path) -> None:
    lengths = []
    for weight in (0.0, 1.0, 2.0):
        make_run.facts()
        make_run.rollouts([1], num_siblings=1, num_questions=1, weight=weight)
        drawn = np.asarray(Image.open(readme_picture(make_run.folder, tmp_path / "picture.png")).convert("L"))
        bars = drawn[430:, RIGHT_PX : RIGHT_PX + 101] < 80
        lengths.append(int(bars.sum(axis=1).max()))
    assert lengths == [0, 51, 101]


def test_a_run_without_rollouts_has_no_picture(make_run: RunMaker, tmp_path: Path) -> None:
    make_run.facts()
    with pytest.raises(TrainerError, match=r"holds no rollouts to draw\. Set the run to record some"):
        readme_picture(make_run.folder, tmp_path / "picture.png")


def test_full_colour_is_for_a_gap_that_19_of_20_do_not_reach() -> None:
    gaps = [float(number) for number in range(101)]
    assert gap_scale([group_of(*gaps[:50]), group_of(*gaps[50:], None, float("inf"))]) == 95.0
    assert gap_scale([group_of(0.01)]) == 0.1
    assert gap_scale([]) == 0.1


def test_strength_is_a_share_of_the_scale_and_nothing_for_what_is_not_finite() -> None:
    gaps = (1.0, -0.5, 9.0, -9.0, None, float("nan"))
    assert [strength(gap, 2.0) for gap in gaps] == [0.5, -0.25, 1.0, -1.0, 0.0, 0.0]


def test_tokens_that_gain_are_bluer_and_tokens_that_lose_are_redder() -> None:
    assert POSITIVE_RGB[2] > POSITIVE_RGB[0]
    assert NEGATIVE_RGB[0] > NEGATIVE_RGB[2]


def test_small_images_grow_by_whole_multiples_and_large_ones_fill_the_room() -> None:
    assert fit(Image.new("RGB", (160, 160)), (496, 496)).size == (480, 480)
    assert fit(Image.new("RGB", (1000, 500)), (496, 496)).size == (496, 248)
    assert fit(Image.new("RGB", (300, 100)), (496, 496)).size == (300, 100)
    assert fit(Image.new("RGB", (400, 300)), (200, 200)).size == (200, 150)


def test_blank_tokens_and_line_ends_can_be_seen() -> None:
    assert [visible(token) for token in ("a b", " ", "\n", "x\n", "")] == ["a b", "␣", "⏎", "x⏎", "∅"]


@pytest.mark.fault(31)
def test_a_run_against_no_negative_view_has_a_picture(
    make_run: RunMaker, view_set_with_none: Path, tmp_path: Path
) -> None:
    make_run.facts()
    make_run.rollouts([1, 2])
    whole = np.asarray(Image.open(readme_picture(make_run.folder, tmp_path / "whole.png")))
    make_run.facts(view_set=str(view_set_with_none), negative="none")
    picture = np.asarray(Image.open(readme_picture(make_run.folder, tmp_path / "demo.png")))
    assert picture.shape[1] == whole.shape[1] == 1200
    left, right = RIGHT_PX, RIGHT_PX + VIEW_PX[0] + 16
    top = slice(140, 140 + 120)
    assert (picture[top, left : left + 280] == whole[top, left : left + 280]).all()  # the positive view is where it was
    assert (picture[top, right : right + 280] == 255).all()
    assert not (whole[top, right : right + 280] == 255).all()
