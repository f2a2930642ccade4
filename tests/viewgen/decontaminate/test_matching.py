"""Planted copies are found, other photographs are not, and a copy may be either's crop."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

from viewgen.decode import decode_image
from viewgen.decontaminate.matching import DecontaminateConfig, EvaluationIndex, read_index
from viewgen.decontaminate.sets import EvaluationImage, EvaluationSet
from viewgen.decontaminate.signatures import signature
from viewgen.errors import RecipeError

PHOTOS = Path(__file__).parents[3] / "datasets" / "photos"


@cache
def photos() -> Mapping[str, Image.Image]:
    return {path.stem: decode_image(path.read_bytes()) for path in sorted(PHOTOS.glob("*.jpg"))}


@cache
def index() -> EvaluationIndex:
    """Every second photograph is one of the evaluation set."""
    images = [
        EvaluationImage(name=name, sha256=f"sha of {name}", signature=signature(image))
        for name, image in [*photos().items()][::2]
    ]
    return EvaluationIndex([EvaluationSet(name="set", images=tuple(images))], DecontaminateConfig())


def jpeg(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=50)
    return decode_image(data.getvalue())


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def crop(image: Image.Image, share: float) -> Image.Image:
    x, y = round(share * image.width), round(share * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 50": jpeg,
    "half": half,
    "2 % of each side": lambda image: crop(image, 0.02),
    "2 % in total": lambda image: crop(image, 0.01),
    "all of it": lambda image: jpeg(half(crop(image, 0.02))),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_the_evaluation_set_are_found_and_of_others_are_not(kind: str) -> None:
    for number, (name, image) in enumerate(photos().items()):
        found = index().find("another file", signature(COPIES[kind](image)))
        assert (found and found.image) == (name if number % 2 == 0 else None), name


def test_the_image_that_the_evaluation_set_holds_a_crop_of_is_found() -> None:
    image = photos()["harbour"]
    held = EvaluationImage(name="crop", sha256="of the crop", signature=signature(crop(image, 0.02)))
    only = EvaluationIndex([EvaluationSet(name="set", images=(held,))], DecontaminateConfig(max_distance=16))
    found = only.find("of the whole", signature(image))
    assert found is not None
    assert found.image == "crop"


def test_the_same_file_is_found_without_a_signature() -> None:
    found = index().find("sha of airplane", b"")
    assert found is not None
    assert found.rejection.message == "shows image 'airplane' of the evaluation set 'set' (the same file)"
    assert found.rejection.reason == "in_evaluation_set"
    assert index().find("of another", b"") is None


def test_max_distance_0_finds_equal_pixels_alone() -> None:
    image = photos()["cat"]
    held = EvaluationImage(name="cat", sha256="of the file", signature=signature(image))
    strict = EvaluationIndex([EvaluationSet(name="set", images=(held,))], DecontaminateConfig(max_distance=0))
    found = strict.find("stored anew", signature(image))
    assert found is not None
    assert found.rejection.message.endswith("(0 of 256 bits differ)")
    assert strict.find("half", signature(half(image))) is None


def test_an_index_without_signatures_finds_files() -> None:
    blank = EvaluationImage(name="blank", sha256="blank", signature=b"")
    only = EvaluationIndex([EvaluationSet(name="set", images=(blank,))], DecontaminateConfig())
    assert only.find("cat", signature(photos()["cat"])) is None
    assert only.find("blank", b"") is not None


def test_sets_are_read_relative_to_the_recipe_and_named_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    data = (PHOTOS / "cat.jpg").read_bytes()
    (tmp_path / "images" / "cat.jpg").write_bytes(data)
    config = DecontaminateConfig(against=("images",))
    found = read_index(config, tmp_path / "recipe.toml", 1, StringIO())
    assert found is not None
    match = found.find(hashlib.sha256(data).hexdigest(), b"")
    assert match is not None
    assert (match.set_name, match.image) == ("images", "cat.jpg")
    assert read_index(DecontaminateConfig(), tmp_path / "recipe.toml", 1, StringIO()) is None
    with pytest.raises(RecipeError, match="is no evaluation set"):
        read_index(DecontaminateConfig(against=("gone",)), tmp_path / "recipe.toml", 1, StringIO())
