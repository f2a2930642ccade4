"""A kind of view is one function and one record; and the free places that kinds are cut at."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import StringIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageOps

from viewgen.boxes import Box, overlap_area
from viewgen.build import BuildOptions, build_views
from viewgen.decode import decode_image
from viewgen.views import KINDS, Kind, kind_modules, kinds_of, register
from viewgen.views.kinds import Cut, any_free_box, box_text, nearest_free_box, read_box
from viewgen.viewset import table_path

if TYPE_CHECKING:
    from tests.viewgen.conftest import Source

MIRRORED = """
from PIL import ImageOps

from viewgen.views.kinds import DIFFERS, Cut, Kind, register


def mirrored(image, evidence, target, stream):
    return Cut(ImageOps.mirror(image.crop(target.as_tuple())), target)


register(
    Kind(
        name="mirrored",
        role="negative",
        make=mirrored,
        about="The positive with left and right exchanged.",
        judged_by=(),
        flags=DIFFERS,
    )
)
"""


@pytest.fixture
def mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    """Register a kind that is defined in a module of its own, outside viewgen."""
    (tmp_path / "my_kinds.py").write_text(MIRRORED)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("my_kinds")
    yield KINDS["mirrored"]
    del KINDS["mirrored"], sys.modules["my_kinds"]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_new_kind_is_one_function_and_one_record(
    mirrored: Kind, source: Source, tmp_path: Path, num_workers: int
) -> None:
    source.write_recipe(images_per_part=5)
    # A margin around the sign: left and right differ.
    recipe = source.recipe.read_text().replace("min_side_px = 16", "min_side_px = 20")
    recipe = re.sub("negative = .*", 'negative = ["mirrored"]', recipe)
    source.recipe.write_text(recipe)
    build_views(source.recipe, tmp_path / "views", BuildOptions(num_workers=num_workers, progress_out=StringIO()))
    views = pl.read_parquet(table_path(tmp_path / "views", "views", 0))
    assert views["kind"].to_list() == ["crop", "mirrored"] * 5
    positive, negative = (decode_image(image["bytes"]) for image in views["image"].to_list()[:2])
    assert positive.tobytes() == ImageOps.mirror(negative).tobytes() != negative.tobytes()
    assert not any("leaks_evidence" in flags for flags in views["flags"].to_list())


def test_a_name_is_given_once() -> None:
    def again(*_: object) -> Cut:
        return Cut(None, None)

    with pytest.raises(ValueError, match="there is a kind of view 'crop' already"):
        register(Kind(name="crop", role="positive", make=again, about=""))


def test_kinds_are_told_apart_by_role_and_positives_come_first() -> None:
    assert list(KINDS) == [*kinds_of("positive"), *kinds_of("negative")]
    assert len(kinds_of("positive")) == 4
    assert len(kinds_of("negative")) == 14


def test_a_worker_is_told_the_modules_that_define_the_kinds() -> None:
    assert kind_modules(["masked", "crop", "none"]) == (
        "viewgen.views.altered",
        "viewgen.views.negatives",
        "viewgen.views.positives",
    )


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def every_box(image: Image.Image, width: int, height: int, grid_px: int = 1) -> list[Box]:
    """All boxes of a size that start on the grid, row by row."""
    ys, xs = range(0, image.height - height + 1, grid_px), range(0, image.width - width + 1, grid_px)
    return [Box(x, y, x + width, y + height) for y, x in product(ys, xs)]


def is_free(box: Box, taken: tuple[Box, ...]) -> bool:
    return not any(overlap_area(box, other) for other in taken)


@pytest.mark.parametrize("grid_px", [1, 5, 16])
def test_a_free_box_is_the_drawn_one_of_all_that_a_look_at_every_place_finds(grid_px: int) -> None:
    image, taken = Image.new("RGB", (61, 47)), (Box(3, 4, 21, 17), Box(30, 1, 34, 30), Box(32, 20, 50, 40))
    free = [box for box in every_box(image, 12, 9, grid_px) if is_free(box, taken)]
    for seed in range(100):
        assert any_free_box(image, taken, 12, 9, grid_px, stream(seed)) == free[stream(seed).integers(len(free))]


def test_every_free_place_is_drawn_about_equally_often() -> None:
    taken = (Box(16, 16, 32, 32),)
    drawn = [any_free_box(Image.new("RGB", (64, 48)), taken, 16, 16, 16, stream(seed)) for seed in range(2200)]
    counts = np.unique([box.as_tuple() for box in drawn if box], axis=0, return_counts=True)[1]
    assert len(counts) == 11  # 4 x 3 cells without the taken one
    assert counts.min() > 150  # 200 expected each, standard deviation 13.5
    assert counts.max() < 250


def test_a_box_larger_than_the_image_has_no_place() -> None:
    image = Image.new("RGB", (30, 20))
    assert any_free_box(image, (), 31, 20, 1, stream()) is None
    assert any_free_box(image, (), 30, 20, 1, stream()) == Box(0, 0, 30, 20)
    assert nearest_free_box(image, (), 30, 21, Box(0, 0, 5, 5)) is None


def test_the_nearest_free_box_is_the_one_that_a_look_at_every_place_finds() -> None:
    draws, image = stream(5), Image.new("RGB", (26, 20))
    num_found = 0
    for _ in range(100):
        (ax, ay, bx, by, tx, ty), sizes = draws.integers(0, 16, 6).tolist(), draws.integers(2, 11, 8).tolist()
        taken = (Box(ax, ay, ax + sizes[0], ay + sizes[1]), Box(bx, by, bx + sizes[2], by + sizes[3]))
        thing, (width, height) = Box(tx, ty, min(tx + sizes[4], 26), min(ty + sizes[5], 20)), sizes[6:]
        wish_x = min(max((thing.x0 + thing.x1 - width) // 2, 0), 26 - width)
        wish_y = min(max((thing.y0 + thing.y1 - height) // 2, 0), 20 - height)
        most = min(width, thing.width) * min(height, thing.height)
        fit = [b for b in every_box(image, width, height) if is_free(b, taken) and overlap_area(b, thing) == most]
        nearest = min(((b.x0 - wish_x) ** 2 + (b.y0 - wish_y) ** 2, b) for b in fit)[1] if fit else None
        assert nearest_free_box(image, taken, width, height, thing) == nearest
        num_found += bool(fit)
    assert 20 < num_found < 90


def test_a_box_survives_being_written_into_a_row() -> None:
    assert box_text(Box(32, 16, 80, 64)) == "32,16,80,64"
    assert read_box("32,16,80,64") == Box(32, 16, 80, 64)
