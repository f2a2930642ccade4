"""Drawn scenes: seeded, truthful about where their signs are, and with the truth kept out of a build's reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from viewgen.boxes import overlap_area
from viewgen.errors import RecipeError
from viewgen.source.demo import COLOURS, SHAPES, TOKEN_PX, DemoConfig, Scene, ask, draw_scene, scene_stream, write_demo

SMALL = DemoConfig(num_train=4, num_selection=2, num_test=3)


def scene(index: int, split: str = "train", seed: int = 0) -> Scene:
    return draw_scene(scene_stream(seed, split, index), DemoConfig())


def test_a_scene_follows_from_seed_split_and_index_alone() -> None:
    again = scene(3)
    assert scene(3).image.tobytes() == again.image.tobytes()
    assert scene(3).signs == again.signs
    others = [scene(4), scene(3, split="test"), scene(3, seed=1)]
    assert all(other.image.tobytes() != again.image.tobytes() for other in others)


@pytest.mark.parametrize("index", range(12))
def test_a_signs_box_holds_its_colour_out_to_its_edges_and_no_other_sign(index: int) -> None:
    drawn = scene(index)
    pixels = np.asarray(drawn.image).astype(int)
    assert len({sign.colour for sign in drawn.signs}) == len(drawn.signs)
    for sign in drawn.signs:
        x0, y0, x1, y1 = sign.box.as_tuple()
        near = (np.abs(pixels[y0:y1, x0:x1] - COLOURS[sign.colour]).sum(-1) < 30).astype(int)
        assert near.mean() > 0.15
        rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        assert rows[0] <= 6
        assert columns[0] <= 6
        assert rows[-1] >= len(near) - 7
        assert columns[-1] >= near.shape[1] - 7
        assert all(overlap_area(sign.box, other.box) == 0 for other in drawn.signs if other is not sign)


def test_signs_stand_near_the_middle_of_a_token() -> None:
    for sign in [sign for index in range(20) for sign in scene(index).signs if sign.shape == "circle"]:
        for middle in ((sign.box.x0 + sign.box.x1) / 2, (sign.box.y0 + sign.box.y1) / 2):
            assert abs(middle % TOKEN_PX - TOKEN_PX / 2) <= 2


def test_questions_are_answered_by_the_signs_they_name() -> None:
    for index in range(20):
        drawn = scene(index)
        by_phrase = {sign.phrase: sign for sign in drawn.signs}
        asked = ask(scene_stream(1, "ask", index), drawn, num_relations=3)
        kinds = [question.kind for question in asked]
        assert kinds == ["attribute"] * len(drawn.signs) + ["relation"] * 3 + ["absent"]
        for question in asked:
            named = [sign for phrase, sign in by_phrase.items() if phrase in question.text]
            assert set(named) == set(question.signs)
            if question.kind == "attribute":
                assert question.answer == named[0].number
            if question.kind == "absent":
                assert question.answer == "none"
                assert not any(f"the {sign.colour} " in question.text for sign in drawn.signs)


def test_relations_hold_between_the_boxes() -> None:
    signs = 0
    for index in range(30):
        drawn = scene(index)
        for question in ask(scene_stream(1, "ask", index), drawn, num_relations=4):
            if question.kind != "relation":
                continue
            first, second = question.signs
            right = first.box.x0 + first.box.x1 - second.box.x0 - second.box.x1
            down = first.box.y0 + first.box.y1 - second.box.y0 - second.box.y1
            assert {"right": right > 0, "left": right < 0, "below": down > 0, "above": down < 0}[question.answer]
            assert question.text.startswith(f"Is {first.phrase} ")
            signs += 1
    assert signs == 120


def test_what_is_written_can_be_read_again_and_the_truth_lies_apart(tmp_path: Path) -> None:
    assert write_demo(tmp_path / "scenes", SMALL) == 9
    questions = pl.read_parquet(tmp_path / "scenes" / "questions.parquet")
    truth = pl.read_parquet(tmp_path / "scenes" / "truth.parquet")
    assert questions["question_id"].is_unique().all()
    assert truth["question_id"].to_list() == questions["question_id"].to_list()
    assert set(questions.columns) == {"question_id", "image_path", "question", "answer", "kind", "split"}
    counts = questions.group_by("split").agg(pl.col("image_path").n_unique()).sort("split")
    assert counts.rows() == [("selection", 2), ("test", 3), ("train", 4)]
    for path in questions["image_path"].unique():
        with Image.open(tmp_path / "scenes" / path) as image:
            assert image.size == (160, 160)
    write_demo(tmp_path / "again", SMALL)
    for path in ["questions.parquet", "truth.parquet", "images/test-00002.png"]:
        assert (tmp_path / "scenes" / path).read_bytes() == (tmp_path / "again" / path).read_bytes()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(RecipeError) as refusal:
        write_demo(tmp_path, SMALL)
    assert str(refusal.value) == f"{tmp_path}: holds files that are not drawn scenes. Name an empty or new folder."
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def drawn_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fewer_scenes_leave_none_of_the_old_and_what_is_not_ours(tmp_path: Path) -> None:
    write_demo(tmp_path / "scenes", SMALL)
    few = DemoConfig(seed=1, num_train=1, num_selection=0, num_test=1)
    (tmp_path / "scenes" / "images" / "test-of-mine.png").write_bytes(b"mine")
    write_demo(tmp_path / "scenes", few)
    write_demo(tmp_path / "fresh", few)
    assert drawn_files(tmp_path / "scenes") == {**drawn_files(tmp_path / "fresh"), "images/test-of-mine.png": b"mine"}


def test_questions_of_another_source_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "questions.parquet").write_bytes(b"mine")
    with pytest.raises(RecipeError, match="holds files that are not drawn scenes"):
        write_demo(tmp_path, SMALL)
    assert drawn_files(tmp_path) == {"questions.parquet": b"mine"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_train": 0, "num_selection": 0, "num_test": 0},
            "num_train is 0; it must be above 0 where no other split has scenes. Ask for one scene or more.",
        ),
        (
            {"num_train": 5, "num_selection": -1, "num_test": 0},
            "num_selection is -1; it must be a whole number at least 0. Leave it out for the default, 100.",
        ),
        ({"edge_px": 100}, "edge_px is 100; it must be a multiple of 16. Round it."),
        ({"max_signs": 10}, "max_signs is 10; it must be from min_signs, 5, to 9. Change one of the two."),
        ({"min_signs": 1}, "min_signs is 1; it must be a whole number at least 2. Leave it out for the default, 5."),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        DemoConfig(**settings)
    assert str(refusal.value) == message


def test_every_shape_and_colour_is_drawn_sooner_or_later() -> None:
    signs = [sign for index in range(60) for sign in scene(index).signs]
    assert {sign.shape for sign in signs} == set(SHAPES)
    assert {sign.colour for sign in signs} == set(COLOURS)
    assert all(10 <= int(sign.number) <= 99 for sign in signs)
