"""What several folders of tests share: a small real view set of drawn scenes, built by the real stages."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

import pytest
import torch

from viewgen.build.builder import BuildOptions, build_views
from viewgen.source.demo import DemoConfig, write_demo

os.environ["HF_HUB_OFFLINE"] = "1"  # else every missing model is asked for again and again
torch.set_num_threads(1)  # small models: two threads wait for each other more than they work

RECIPE = """
[source]
root = "scenes"
query = "SELECT question_id, image_path, question, answer, kind, split FROM 'questions.parquet'"
[regions]
method = "retrieval"
[retrieval]
model = "embedded:drawn-clip"
template = "{phrase}"
tile_px = [48]
stride_px = [16]
[evidence]
min_margin = 6.5
pad_ratio = 1.0
min_side_px = 48
[views]
negative = ["off_region", "off_region_downsampled", "masked", "shuffled_patches"]
grid_px = 16
patch_px = 16
"""


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the pictures of tests out of the user's cache."""
    os.environ["VIEWGEN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


PREBUILT = "VIEWGEN_DRAWN_VIEWS"
"""Environment variable: a folder that build_drawn_views() filled before, for tests that run in many processes."""


@pytest.fixture(scope="session")
def drawn_views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return views of 10 scenes to train on and 12 to test on. Read only: whoever changes it changes a copy."""
    if built := os.environ.get(PREBUILT):
        return Path(built)
    return build_drawn_views(tmp_path_factory.mktemp("drawn"))


def build_drawn_views(folder: Path) -> Path:
    """Draw the scenes and build their views in a folder."""
    write_demo(folder / "scenes", DemoConfig(seed=5, num_train=10, num_selection=1, num_test=12))
    (folder / "recipe.toml").write_text(RECIPE)
    build_views(folder / "recipe.toml", folder / "views", BuildOptions(progress_out=StringIO()))
    return folder / "views"
