"""A source seen for the first time: its form is recognised by what it holds, and its recipe builds views."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from viewgen.build.builder import BuildOptions, build_views
from viewgen.build.config import read_config
from viewgen.errors import RecipeError
from viewgen.source.first_look import look, recipe_text, recognised

TURNS = [{"from": "human", "value": "<image>\nWhere is the cup?"}, {"from": "gpt", "value": "left"}]
COCO: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}


def save(path: Path, size: tuple[int, int] = (400, 300)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


@pytest.mark.parametrize(
    ("files", "form", "found"),
    [
        ({"q.csv": "id\n1\n"}, "csv", "q.csv"),
        ({"q.json": [{"id": 1, "conversations": TURNS}], "a.jpg": None}, "llava", "q.json"),
        ({"q.jsonl": {"id": 1, "messages": TURNS}}, "llava", "q.jsonl"),
        ({"q.json": [{"id": 1, "question": "What?"}]}, "hf", "q.json"),
        ({"instances.json": COCO, "val/a.jpg": None}, "coco", "instances.json"),
        ({"m.jsonl": {"bboxs": [[1, 2, 3, 4]], "image": "a.jpg"}}, "visual-cot", "m.jsonl"),
        ({"v.json": [{"image": ["a.jpg", "a.jpg###[1, 2, 3, 4]"], "conversations": TURNS}]}, "visual-cot", "v.json"),
        ({"a/x.jpg": None, "a/x.json": {"question": "?"}, "b/y.png": None, "b/y.json": {}}, "folder", "**/*.json"),
        ({"x.jpg": None, "x.txt": "What?"}, "folder", "**/*.txt"),
    ],
)
def test_a_form_is_recognised_by_what_files_hold(files: dict[str, Any], form: str, found: str, tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            save(path)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert recognised(tmp_path) == (form, found)


def test_parquet_files_are_named_by_a_pattern(tmp_path: Path) -> None:
    for name in ("data/train-0.parquet", "data/test-0.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / name)
    assert recognised(tmp_path) == ("hf", "data/*.parquet")
    assert recognised(tmp_path / "data" / "test-0.parquet") == ("hf", "test-0.parquet")
    (tmp_path / "data" / "test-0.parquet").unlink()
    assert recognised(tmp_path) == ("hf", "data/train-0.parquet")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "holds neither tables nor images"),
        (["a.jpg"], "holds 1 image and no questions"),
        (["a.csv", "b.csv"], r"holds 2 tables \(a\.csv, b\.csv\)\. Give the one with the questions"),
    ],
)
def test_what_is_no_source_is_one_line(files: list[str], said: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(RecipeError, match=said):
        recognised(tmp_path)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[300.0, 200.0, 390.0, 290.0], [10.0, 290.0, 30.0, 299.0]], ("xyxy", "pixels")),
        ([[300.0, 200.0, 90.0, 90.0], [10.0, 200.0, 30.0, 9.0]], ("xywh", "pixels")),
        ([[0.3, 0.2, 0.9, 0.9], [0.5, 0.6, 0.9, 1.0]], ("xyxy", "0..1")),
        ([[0.7, 0.8, 0.1, 0.2], [0.5, 0.6, 0.4, 0.1]], ("xywh", "0..1")),
        ([[600.0, 800.0, 700.0, 990.0], [500.0, 10.0, 990.0, 90.0]], ("xyxy", "0..1000")),
    ],
)
def test_boxes_are_what_the_numbers_and_the_images_allow(
    boxes: list[list[float]], expected: tuple[str, str], tmp_path: Path
) -> None:
    save(tmp_path / "a.jpg")
    rows = {"id": [1, 2], "image": ["a.jpg"] * 2, "question": ["Where is the cup?"] * 2, "bbox": boxes}
    pl.DataFrame(rows).write_parquet(tmp_path / "q.parquet")
    seen = look(tmp_path / "q.parquet", tmp_path / "r.toml")
    assert (seen.source.box_format, seen.source.box_units) == expected
    assert seen.boxes.startswith(f"{expected[0]} in {expected[1]}; ")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ({"x": 300.0, "y": 200.0, "w": 90.0, "h": 90.0}, ("xywh", "pixels")),
        ({"cx": 0.5, "cy": 0.5, "w": 0.2, "h": 0.2}, ("cxcywh", "0..1")),
        ({"x0": 10.0, "y0": 10.0, "x1": 30.0, "y1": 40.0}, ("xyxy", "pixels")),
    ],
)
def test_names_of_numbers_tell_the_format_of_boxes(
    box: dict[str, float], expected: tuple[str, str], tmp_path: Path
) -> None:
    save(tmp_path / "a.jpg")
    rows = {"id": [1], "image": ["a.jpg"], "question": ["Where is the cup?"], "boxes": [[{"phrase": "cup", **box}]]}
    pl.DataFrame(rows).write_parquet(tmp_path / "q.parquet")
    source = look(tmp_path / "q.parquet", tmp_path / "r.toml").source
    assert (source.box_format, source.box_units) == expected


def test_boxes_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    for box in ({"x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0}, {"phrase": "cup", "left": 1.0}):
        rows = {"id": [1], "image": ["a.jpg"], "question": ["Where is the cup?"], "boxes": [[box]]}
        pl.DataFrame(rows).write_parquet(tmp_path / "q.parquet")
        with pytest.raises(RecipeError, match=r"q\.parquet: its boxes cannot be read: a box has no .*yourself\.$"):
            look(tmp_path / "q.parquet", tmp_path / "r.toml")


def test_the_recipe_of_a_llava_file_finds_its_images_and_builds(tmp_path: Path) -> None:
    data = tmp_path / "set"
    rows = [{"id": str(n), "image": f"{n}.jpg", "conversations": TURNS} for n in range(3)]
    for number in range(3):
        save(data / "pictures" / "train" / f"{number}.jpg")
    (data / "q.json").write_text(json.dumps(rows))
    recipe = tmp_path / "recipe.toml"
    seen = look(data, recipe)
    assert (seen.source.format, seen.source.root, seen.source.images) == ("llava", "set", "pictures/train")
    assert [shown.image and shown.image.width_px for shown in seen.shown] == [400, 400, 400]
    recipe.write_text(recipe_text(seen, recipe))
    assert read_config(recipe).source == seen.source
    assert read_config(recipe).regions.method == "fused"


def test_the_recipe_of_a_set_with_boxes_builds_as_it_is(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", (1000, 800))
    boxes = [[{"phrase": "cup", "x0": 20, "y0": 20, "x1": 60, "y1": 900 - 840}]]
    rows = {"id": ["1"], "image": ["a.jpg"], "question": ["Where is the cup?"], "boxes": boxes}
    pl.DataFrame(rows).write_parquet(tmp_path / "q.parquet")
    recipe = tmp_path / "recipe.toml"
    seen = look(tmp_path / "q.parquet", recipe)
    recipe.write_text(recipe_text(seen, recipe))
    build_views(recipe, tmp_path / "views", BuildOptions(num_workers=0, progress_out=io.StringIO()))
    assert pl.read_parquet(tmp_path / "views" / "questions" / "*.parquet")["question_id"].to_list() == ["1"]


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such file or folder"):
        look(tmp_path / "no.csv", tmp_path / "r.toml")
    (tmp_path / "x.json").write_text("no json")
    with pytest.raises(RecipeError, match="holds no JSON objects"):
        look(tmp_path / "x.json", tmp_path / "r.toml")
