"""Evaluation sets are read from whatever holds their images, and stored without them."""

from __future__ import annotations

import hashlib
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from PIL import Image

from viewgen.decontaminate.sets import EvaluationSet, read_set, write_hashes
from viewgen.errors import RecipeError, SettingsError

if TYPE_CHECKING:
    from tests.viewgen.conftest import Source


def read(path: Path) -> EvaluationSet:
    return read_set(path, "the set", 2, StringIO())


def test_a_recipe_a_folder_and_stored_hashes_of_one_set_are_the_same(source: Source, tmp_path: Path) -> None:
    by_recipe = read(source.recipe)
    assert [image.name for image in by_recipe.images] == [f"{number}.png" for number in range(5)]
    first = hashlib.sha256((source.data / "0.png").read_bytes()).hexdigest()
    assert by_recipe.images[0].sha256 == first
    assert len(by_recipe.images[0].signature) == 224
    stored = tmp_path / "hashes.parquet"
    write_hashes(by_recipe.images, stored)
    assert read(stored) == by_recipe == read(source.data)


def test_a_view_set_gives_the_images_of_its_kept_questions(built: Path, source: Source) -> None:
    assert read(built).images == read(source.recipe).images


def test_a_damaged_image_is_found_by_its_file_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    found = read(tmp_path)
    assert found.images[0].sha256 == hashlib.sha256(b"no image").hexdigest()
    assert (found.images[0].signature, found.num_exact_only) == (b"", 1)


def test_an_image_that_the_set_names_and_lacks_is_refused(source: Source) -> None:
    (source.data / "3.png").unlink()
    with pytest.raises(RecipeError, match=r"image '3\.png' of the evaluation set cannot be hashed: there is no such"):
        read(source.recipe)


def test_a_place_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds no image"):
        read(tmp_path)
    with pytest.raises(RecipeError, match=r"is no evaluation set; it must be a recipe"):
        read(tmp_path / "nowhere")


def test_a_misspelt_setting_of_an_evaluation_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "eval.toml").write_text('[source]\nroot = "."\nqery = "x"\n')
    with pytest.raises(SettingsError, match=r"eval\.toml: source: unknown setting 'qery'\. Did you mean 'query'\?"):
        read(tmp_path / "eval.toml")


def test_files_that_are_no_stored_hashes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hashes.parquet"
    path.write_bytes(b"no table")
    with pytest.raises(RecipeError, match=r"cannot be read as stored hashes .* Make it with `viewgen hash"):
        read(path)
    pl.DataFrame({"image": ["a"]}).write_parquet(path)
    with pytest.raises(RecipeError, match="is no file of stored hashes: it has image"):
        read(path)


def test_hashes_of_another_form_are_refused(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(tmp_path / "noise.png")
    path = tmp_path / "hashes.parquet"
    write_hashes(read(tmp_path).images, path)
    assert read(path).images[0].name == "noise.png"
    pl.read_parquet(path).with_columns(form=pl.lit("dhash-0")).write_parquet(path)
    with pytest.raises(RecipeError, match="hashes of the form dhash-0, this viewgen compares dct256-7cuts-1"):
        read(path)
