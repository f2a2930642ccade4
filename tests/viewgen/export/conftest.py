"""A small real view set with all that an export can meet: a turned photograph, a grey picture, options, several boxes,
markers in a question."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from viewgen.build.builder import BuildOptions, build_views
from viewgen.viewset.shards import ViewSet

RECIPE = """
[source]
root = "."
query = "FROM 'q.parquet'"
box_units = "pixels"
[evidence]
pad_ratio = 1.0
min_side_px = 32
[views]
negative = ["off_region", "masked"]
"""


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def box(phrase: str, x: int, y: int) -> dict[str, object]:
    return {"phrase": phrase, "x0": x, "y0": y, "x1": x + 40, "y1": y + 40}


@pytest.fixture(scope="session")
def exported_from(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the view set. Question a: a JPEG that EXIF turns; b: a grey PNG; c: two evidence boxes; d: a marker; e: a
    drawn box; f: no answer; t: split test."""
    folder = tmp_path_factory.mktemp("export")
    turned = Image.Exif()
    turned[0x0112] = 6
    noise(300, 200, 1).save(folder / "0.jpg", exif=turned)
    noise(300, 200, 2).convert("L").save(folder / "1.png")
    noise(400, 300, 3).save(folder / "2.png")
    cup, dog = box("cup", 20, 30), box("dog", 100, 100)
    rows = [
        ("a", "0.jpg", "What colour is the cup?", "A", ["red", "blue"], [cup], "train"),
        ("b", "1.png", "What colour is the cup?", "blue", ["red", "blue"], [cup], "train"),
        ("c", "2.png", "Is the cup left of the dog?", "yes", [], [cup, dog], "train"),
        ("d", "2.png", "What does the sign <image> say about the cup?", "no", [], [cup], "train"),
        ("f", "2.png", "Where is the dog?", None, [], [dog], "train"),
        ("t", "2.png", "Where is the dog?", "right", [], [dog], "test"),
    ]
    names = ("question_id", "image", "question", "answer", "options", "boxes", "split")
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(folder / "q.parquet")
    (folder / "recipe.toml").write_text(RECIPE)
    build_views(folder / "recipe.toml", folder / "views", BuildOptions(num_workers=0, progress_out=io.StringIO()))
    return folder / "views"


@pytest.fixture
def views(exported_from: Path) -> ViewSet:
    return ViewSet.open(exported_from)
