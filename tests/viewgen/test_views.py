"""Views: what is cut, what is recorded of it, and that the record suffices to cut it again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewgen.audit import evidence_overlap
from viewgen.boxes import Box
from viewgen.errors import SettingsError
from viewgen.images import decode
from viewgen.negatives import KINDS
from viewgen.records import Evidence, Rejection, View
from viewgen.settings import settings_from
from viewgen.views import Cuts, ViewsConfig, ViewSource, cut_views, recompute_view, view_seed

CONFIG = ViewsConfig(grid_px=4, patch_px=8, downsample_factor=2.5, mask_fill="grey", mask_grow_ratio=1.25)
ONE = Evidence(boxes=(Box(32, 16, 80, 64),), regions=())
TWO = Evidence(boxes=(Box(32, 16, 80, 64), Box(100, 100, 130, 124)), regions=())


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (160, 200, 3), dtype=np.uint8))


def views_of(image: Image.Image, evidence: Evidence, seed: int = 7, config: ViewsConfig = CONFIG) -> tuple[View, ...]:
    cuts = cut_views(source_of(image, evidence), seed, config)
    assert isinstance(cuts, Cuts), cuts
    return cuts.views


def source_of(image: Image.Image, evidence: Evidence) -> ViewSource:
    return ViewSource(image=image, image_id="i", question_id="q", evidence=evidence, regions=())


def as_row(view: View) -> dict[str, Any]:
    """What the table of views keeps of it, without the pixels."""
    params = json.dumps(dict(view.params), sort_keys=True)
    return {"role": view.role, "kind": view.kind, "seed": view.seed, "params": params}


def test_a_question_gets_each_kind_once_positives_first(image: Image.Image) -> None:
    made = [(view.role, view.kind) for view in views_of(image, ONE)]
    assert made == [("positive", "crop"), *(("negative", kind) for kind in KINDS)]


def test_the_positive_is_an_exact_cut_of_the_evidence(image: Image.Image) -> None:
    positive = views_of(image, ONE)[0]
    assert (positive.box, positive.width_px, positive.height_px) == (ONE.boxes[0], 48, 48)
    assert decode(positive.image).tobytes() == image.crop(ONE.boxes[0].as_tuple()).tobytes()


def test_size_and_pixels_of_every_view_are_those_recorded(image: Image.Image) -> None:
    for view in views_of(image, TWO):
        assert decode(view.image).size == (view.width_px, view.height_px)
        if view.kind in {"crop", "off_region"}:
            assert view.box is not None
            assert decode(view.image).tobytes() == image.crop(view.box.as_tuple()).tobytes()


@pytest.mark.parametrize("evidence", [ONE, TWO], ids=["one box", "two boxes"])
def test_any_view_can_be_made_again_from_its_row_and_its_image(image: Image.Image, evidence: Evidence) -> None:
    views = views_of(image, evidence)
    assert len(views) == (5 if evidence is ONE else 9)
    for view in views:
        assert recompute_view(image, evidence, as_row(view)) == view


def test_every_setting_of_a_kind_is_in_its_row(image: Image.Image) -> None:
    recorded = {view.kind: dict(view.params) for view in views_of(image, ONE)}
    assert recorded == {
        "crop": {"evidence_box": 0},
        "off_region": {"evidence_box": 0, "grid_px": 4},
        "off_region_downsampled": {"evidence_box": 0, "grid_px": 4, "factor": 2.5},
        "masked": {"evidence_box": 0, "fill": "grey", "grow_ratio": 1.25},
        "shuffled_patches": {"evidence_box": 0, "patch_px": 8},
    }


def test_several_evidence_boxes_give_a_view_of_each_but_one_mask_for_all(image: Image.Image) -> None:
    views = views_of(image, TWO)
    kinds = [view.kind for view in views]
    assert {kind: kinds.count(kind) for kind in kinds} == {"crop": 2, "masked": 1} | dict.fromkeys(
        ("off_region", "off_region_downsampled", "shuffled_patches"), 2
    )
    assert len({(view.kind, view.seed) for view in views}) == len(views)
    sizes = [(view.width_px, view.height_px) for view in views if view.kind == "off_region"]
    assert sizes == [(48, 48), (30, 24)]


def test_equal_seeds_give_equal_views_and_other_seeds_other_places(image: Image.Image) -> None:
    assert views_of(image, ONE, seed=7) == views_of(image, ONE, seed=7)
    places = {view.box for seed in range(6) for view in views_of(image, ONE, seed) if view.kind == "off_region"}
    assert len(places) > 3


def test_a_view_does_not_depend_on_which_other_kinds_are_made(image: Image.Image) -> None:
    every = {view.kind: view for view in views_of(image, ONE)}
    alone = views_of(image, ONE, config=replace(CONFIG, negative=("shuffled_patches",)))
    assert alone == (every["crop"], every["shuffled_patches"])


def test_the_seed_is_a_known_number_of_build_question_and_kind() -> None:
    assert view_seed(0, "q", "off_region") == 5562590226632348906
    seeds = {view_seed(seed, name, kind) for seed in (0, 1) for name in ("p", "q") for kind in ("a", "b")}
    seeds |= {view_seed(0, "q", "a", number=1)}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_overlap_is_one_for_the_positive_and_none_for_off_region_and_mask(image: Image.Image) -> None:
    shown = {view.kind: evidence_overlap(view, ONE) for view in views_of(image, ONE)}
    expected = {"crop": 1.0, "off_region": 0.0, "off_region_downsampled": 0.0, "masked": 0.0, "shuffled_patches": 1.0}
    assert shown == expected


def test_overlap_is_the_largest_share_of_any_evidence_box(image: Image.Image) -> None:
    view = replace(views_of(image, TWO)[0], box=Box(56, 16, 110, 124))
    assert evidence_overlap(view, TWO) == 0.5  # half of the first box, a third of the second
    assert evidence_overlap(replace(view, box=None), TWO) == 1.0


def test_a_kind_that_cannot_be_made_rejects_the_question_and_names_the_kind() -> None:
    small = Image.new("RGB", (60, 60))
    evidence = Evidence(boxes=(Box(0, 0, 40, 40),), regions=())
    assert cut_views(source_of(small, evidence), 0, CONFIG) == Rejection(
        stage="views",
        reason="no_room",
        message="off_region: no place for 40 x 40 px beside the evidence in 60 x 60 px",
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"negative": ["of_region"]}, "negative holds 'of_region': expected kinds among off_region, "),
        ({"positive": ["masked"]}, "positive holds 'masked': expected kinds among crop"),
        ({"negative": []}, "negative is []: expected one or more distinct kinds"),
        ({"negative": ["masked", "masked"]}, "negative is ['masked', 'masked']: expected one or more distinct kinds"),
        ({"grid_px": 0}, "grid_px is 0: expected 1 or more pixels"),
        ({"patch_px": 0}, "patch_px is 0: expected 1 or more pixels"),
        ({"downsample_factor": 1.0}, "downsample_factor is 1.0: expected more than 1"),
        ({"mask_grow_ratio": 0.5}, "mask_grow_ratio is 0.5: expected 1 or more"),
        ({"mask_fill": "red"}, "setting 'mask_fill' is 'red': "),
        ({"grid": 4}, "unknown setting 'grid'. Did you mean 'grid_px'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_from(table, ViewsConfig, "recipe.toml")
    assert str(refusal.value).startswith(f"recipe.toml: {message}")
