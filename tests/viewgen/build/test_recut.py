"""Views that are cut again have the bytes of a fresh build."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import polars as pl
import pytest

from viewgen.build.builder import BuildOptions, build_views
from viewgen.build.recut import recut
from viewgen.errors import SettingsError, ShardError
from viewgen.source.demo import DemoConfig, write_demo
from viewgen.viewset.shards import ViewSet

DATASETS = Path(__file__).parents[3] / "datasets"
QUIET = BuildOptions(progress_out=StringIO(), num_threads=1, num_workers=0)
READ_BY_MODELS = ["detector_score", "phrase_similarity", "similarity_margin", "flags"]


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in ViewSet.open(out).table_paths(name)])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every kind of view of two photographs that needs no model, and with the plain recipe's of
    them."""
    folder = tmp_path_factory.mktemp("recut")
    where = "WHERE question_id IN ('cat-1', 'cat-5', 'coffee-2')"
    query = "read_json('questions.jsonl')"
    for name in ("photos", "photos_kinds"):
        text = (DATASETS / f"{name}.toml").read_text().replace('"photos"', f'"{DATASETS / "photos"}"')
        assert query in text
        text = text.replace(query, f"{query} {where}").replace(' "hard_off_region",', "")
        (folder / f"{name}.toml").write_text(text)
        build_views(folder / f"{name}.toml", folder / name, QUIET)
    return folder


def test_every_kind_cut_again_equals_a_fresh_build(photos: Path, tmp_path: Path) -> None:
    fresh = table(photos / "photos_kinds", "views")
    config = ViewSet.open(photos / "photos_kinds").manifest.config["views"]
    roles = ("positive", "negative", "fallback")
    settings = {name: value for name, value in config.items() if name not in roles} | {"donors": "random"}
    kinds = [kind for kind in (*config["positive"], *config["negative"]) if kind != "swapped"]
    report = recut(photos / "photos", tmp_path / "new", kinds, settings, QUIET)
    made = table(tmp_path / "new", "views")
    wanted = fresh.filter(pl.col("kind").is_in(kinds))
    assert report.num_views == made.height == wanted.height > 20
    assert made.drop(READ_BY_MODELS).equals(wanted.drop(READ_BY_MODELS))
    assert {*made["kind"]} == {*kinds} - {"same_class"}  # no other thing of that class is boxed in these


def test_questions_and_images_are_those_of_the_first_build(photos: Path, tmp_path: Path) -> None:
    recut(photos / "photos", tmp_path / "new", ["masked", "blurred"], {"mask_fill": "black"}, QUIET)
    for name in ("questions", "images", "rejects"):
        made, before = (table(path, name) for path in (tmp_path / "new", photos / "photos"))
        asked = pl.exclude("missing_views")  # of the kinds that were asked for
        assert made.select(asked).equals(before.select(asked)), name
    new = ViewSet.open(tmp_path / "new", verify=True)
    assert new.view_kinds("negative") == ("blurred", "masked")
    assert new.view_kinds("positive") == ViewSet.open(photos / "photos").view_kinds("positive")
    assert new.manifest.config["views"]["mask_fill"] == "black"
    assert new.manifest.made_by["recut of"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with view sets of drawn scenes, by their negatives."""
    folder = tmp_path_factory.mktemp("scenes")
    write_demo(folder / "scenes", DemoConfig(seed=11, num_train=0, num_selection=0, num_test=3))
    text = (DATASETS / "demo.toml").read_text().replace("../build/demo/scenes", "scenes")
    negative = next(line for line in text.splitlines() if line.startswith("negative"))
    for name, kinds in {"old": '["masked"]', "lossy": '["off_region"]', "fresh": '["swapped", "blank"]'}.items():
        recipe = folder / f"{name}.toml"
        recipe.write_text(text.replace(negative, f"negative = {kinds}"))
        build_views(recipe, folder / name, QUIET)
    return folder


def test_a_recut_of_found_regions_equals_a_fresh_build_and_draws_the_same_donors(scenes: Path, tmp_path: Path) -> None:
    """Regions of a retrieval model are stored: no model is loaded to cut again."""
    recut(scenes / "old", tmp_path / "new", ["swapped", "blank"], {}, QUIET)
    new, fresh = (table(path, "views").drop(READ_BY_MODELS) for path in (tmp_path / "new", scenes / "fresh"))
    assert new.height >= 12
    assert new.equals(fresh)


def test_donors_are_refused_where_the_evidence_of_rejected_questions_is_gone(scenes: Path, tmp_path: Path) -> None:
    assert "views" in table(scenes / "lossy", "rejects")["stage"].to_list()
    with pytest.raises(SettingsError, match=r"that of 1 rejected ones is not stored"):
        recut(scenes / "lossy", tmp_path / "new", ["swapped"], {}, QUIET)


@pytest.mark.parametrize(
    ("kinds", "settings", "message"),
    [
        (
            ["hard_off_region"],
            {},
            r"hard_off_region needs the tiles of a retrieval model.*Make it with `viewgen build`",
        ),
        (["swapped"], {"donors": "nearest"}, r"nearest donors of swapped.*by --set donors=random\."),
        (["maskd"], {}, r"viewgen recut: kinds is \['maskd'\].*Did you mean 'masked'\?"),
        (["masked"], {"mask_fil": "black"}, r"viewgen recut: unknown setting 'mask_fil'\. Did you mean 'mask_fill'\?"),
    ],
)
def test_a_kind_that_needs_a_model_and_a_wrong_setting_are_refused(
    built: Path, tmp_path: Path, kinds: list[str], settings: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        recut(built, tmp_path / "new", kinds, settings, QUIET)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_anything_is_refused(built: Path, own: Path) -> None:
    before = sorted(own.rglob("*"))
    with pytest.raises(ShardError, match="is there already"):
        recut(built, own, ["masked"], {}, QUIET)
    assert sorted(own.rglob("*")) == before
