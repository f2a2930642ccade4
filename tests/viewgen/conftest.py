"""A small real source that tests build from: drawn images, questions as JSON lines, a recipe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewgen.build.builder import BuildOptions, build_views

SIDE_PX = 64
SIGN = (8, 16, 24, 32)
RECIPE = """
seed = 3
images_per_part = {images_per_part}

[source]
root = "data"
query = "{query}"

[evidence]
pad_ratio = 1.0
min_side_px = 16

[views]
negative = ["off_region", "off_region_downsampled", "masked", "shuffled_patches"]
patch_px = 8

# A plain sign stays itself when its patches are shuffled, which the audit would reject.
[audit]
reject = []
"""


@dataclass(frozen=True)
class Source:
    """A folder with recipe.toml and data/: drawn images with two questions each. The first has a box and is kept; the
    second asks about something that is not there and is rejected."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.data / "questions.jsonl").read_text().splitlines()]

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        (self.data / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")

    def write_recipe(self, query: str = "FROM 'questions.jsonl'", images_per_part: int = 2, more: str = "") -> None:
        self.recipe.write_text(RECIPE.format(query=query, images_per_part=images_per_part) + more)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Five images, ten questions, three parts; not yet built."""
    return _draw(tmp_path / "source", num_images=5)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the view set of such a source: for reading only."""
    folder = tmp_path_factory.mktemp("built")
    build_views(_draw(folder / "source", num_images=5).recipe, folder / "views", BuildOptions(progress_out=StringIO()))
    return folder / "views"


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Path:
    """Return a copy of the built view set, to be spoilt."""
    return Path(shutil.copytree(built, tmp_path / "own"))


@pytest.fixture
def all_bytes() -> Callable[[Path], Mapping[str, bytes]]:
    """all_bytes(folder) -> every file below it by its path."""
    return lambda folder: {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _draw(folder: Path, num_images: int) -> Source:
    source = Source(folder)
    source.data.mkdir(parents=True)
    stream = np.random.default_rng(0)
    rows = []
    for number in range(num_images):
        image = Image.fromarray(stream.integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8))
        image.paste((255, 0, 0), SIGN)
        image.save(source.data / f"{number}.png")
        rows += [_row(number, "sign", with_box=True), _row(number, "ghost", with_box=False)]
    source.write_rows(rows)
    source.write_recipe()
    return source


def _row(number: int, thing: str, with_box: bool) -> dict[str, Any]:
    x0, y0, x1, y1 = SIGN
    box = {"phrase": f"the red {thing}", "x0": x0, "y0": y0, "x1": x1, "y1": y1}
    return {
        "question_id": f"{number}-{thing}",
        "image_path": f"{number}.png",
        "question": f"What is on the red {thing}?",
        "answer": f"answer-{number}",
        "kind": thing,
        "split": "train" if number % 2 == 0 else "test",
        "boxes": [box] if with_box else [],
    }
