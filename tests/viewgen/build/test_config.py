"""One TOML file for a whole build: wrong values never get in."""

from __future__ import annotations

from pathlib import Path

import pytest

from viewgen.build.config import BuildConfig, read_config
from viewgen.errors import SettingsError

SOURCE = '[source]\nroot = "."\nquery = "SELECT 1"\n'


def read(tmp_path: Path, before: str = "", after: str = "") -> BuildConfig:
    path = tmp_path / "recipe.toml"
    path.write_text(before + SOURCE + after)
    return read_config(path)


def refusal(tmp_path: Path, before: str = "", after: str = "") -> str:
    with pytest.raises(SettingsError) as error:
        read(tmp_path, before, after)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{tmp_path / 'recipe.toml'}: ")


def test_a_recipe_needs_a_source_alone(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert (config.source.root, config.seed, config.images_per_part) == (".", 0, 256)


def test_every_stage_is_set_in_its_own_table(tmp_path: Path) -> None:
    stages = "[images]\nmax_file_mb = 2\n[evidence]\npad_ratio = 2\n[views]\ngrid_px = 16\n[retrieval]\nnum_best = 1\n"
    config = read(tmp_path, "seed = 5\n", stages)
    assert config.seed == 5
    assert (config.images.max_file_mb, config.evidence.pad_ratio) == (2.0, 2.0)
    assert (config.views.grid_px, config.retrieval.num_best) == (16, 1)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("", "[evidence]\npad_ration = 1.5\n", "unknown setting 'evidence.pad_ration'. Did you mean 'pad_ratio'?"),
        ("sed = 1\n", "", "unknown setting 'sed'. Did you mean 'seed'?"),
        ("", "[vews]\n", "unknown setting 'vews'. Did you mean 'views'?"),
        (
            "images_per_part = 0\n",
            "",
            "images_per_part is 0; it must be a whole number at least 1. Leave it out for the default, 256.",
        ),
        ("part_mb = 0\n", "", "part_mb is 0.0; it must be a number above 0 MB. Leave it out for the default, 256.0."),
    ],
)
def test_a_wrong_setting_is_answered(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert refusal(tmp_path, before, after) == message


def test_a_value_out_of_range_is_refused_with_its_place(tmp_path: Path) -> None:
    message = refusal(tmp_path, "", "[images]\nmax_megapixels = 1000\n")
    assert "images" in message
    assert "images.max_megapixels is 1000.0; it must be a number above 0 and at most 178 megapixels. " in message


def test_a_recipe_without_a_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("seed = 1\n")
    with pytest.raises(SettingsError, match=r"setting 'source' is missing\. Add it\."):
        read_config(tmp_path / "recipe.toml")


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.toml: there is no such file. Give the path of a TOML file."):
        read_config(tmp_path / "none.toml")
