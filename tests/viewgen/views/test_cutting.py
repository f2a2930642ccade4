"""Views: what is cut, what is recorded of it, and that the record suffices to cut it again."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewgen.audit.auditor import evidence_overlap
from viewgen.boxes import Box, containment, overlap_area
from viewgen.decode import decode_image
from viewgen.errors import SettingsError
from viewgen.records import Donor, Evidence, Missing, Question, QuestionRecord, Region, Rejection, View
from viewgen.settings import settings_from
from viewgen.views.cutting import ViewsConfig, cut_views, recompute_view, view_seed
from viewgen.views.kinds import kinds_of

POSITIVES, NEGATIVES = kinds_of("positive"), kinds_of("negative")
CONFIG = ViewsConfig(grid_px=4, patch_px=8, downsample_factor=1.5, mask_fill="grey", mask_grow_ratio=1.25)
EVERY = replace(CONFIG, positive=tuple(POSITIVES), negative=tuple(NEGATIVES), mask_fill="noise", swap_fit="resize")
SINGLE = {"full", "masked", "mask_random", "none"}
"""Kinds of which there is one view for all evidence boxes."""
CUT = {"crop", "crop_exact", "full", "random_crop", "off_region", "same_class", "hard_off_region", "swapped"}
"""Kinds whose pixels are those of the recorded box."""


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def region(phrase: str, box: Box, rank: int = 0, source: str = "annotated") -> Region:
    return Region(phrase=phrase, box=box, source=source, score=1.0 - 0.1 * rank, rank=rank)


DOG, BALL = region("the dog", Box(40, 24, 72, 56)), region("the ball", Box(105, 104, 125, 120))
OTHER_DOG, FAR_DOG = region("the dog", Box(150, 30, 170, 50), rank=2), region("the dog", Box(240, 40, 260, 60), rank=3)
OTHER_BALL = region("the ball", Box(10, 110, 30, 130), rank=1)
HAT = region("the hat", Box(150, 130, 170, 150))
ONE = Evidence(boxes=(Box(32, 16, 80, 64),), regions=(DOG,))
TWO = Evidence(boxes=(Box(32, 16, 80, 64), Box(100, 100, 130, 124)), regions=(DOG, BALL))
DONOR = Donor(question_id="d", image_id="j", image=noise(90, 90, seed=2), box=Box(10, 20, 50, 40))


@pytest.fixture
def image() -> Image.Image:
    return noise(280, 160)


@dataclass(frozen=True)
class Asked:
    """A question about an image."""

    image: Image.Image
    record: QuestionRecord

    def cut(self, seed: int, config: ViewsConfig) -> QuestionRecord:
        return cut_views(self.image, self.record, seed, config)


def source_of(image: Image.Image, evidence: Evidence, **more: Any) -> Asked:
    told: dict[str, Any] = {
        "regions": (DOG, BALL, OTHER_DOG, FAR_DOG, OTHER_BALL, HAT),
        "hard_tile": Box(200, 100, 232, 132),
        "donor": DONOR,
    }
    question = Question(question_id="q", image_path="i.png", text="Where is the dog?")
    return Asked(image, QuestionRecord(question=question, image_id="i", evidence=evidence, **(told | more)))


def cuts_of(source: Asked, config: ViewsConfig = CONFIG, seed: int = 7) -> QuestionRecord:
    cuts = source.cut(seed, config)
    assert cuts.rejection is None, cuts.rejection
    return cuts


def rejection_of(source: Asked, seed: int, config: ViewsConfig) -> Rejection:
    rejection = source.cut(seed, config).rejection
    assert rejection
    return rejection


def views_of(image: Image.Image, evidence: Evidence, seed: int = 7, config: ViewsConfig = CONFIG) -> tuple[View, ...]:
    return cuts_of(source_of(image, evidence), config, seed).views


def as_row(view: View) -> dict[str, Any]:
    """Return what the table of views keeps of it, without the pixels."""
    params = json.dumps(dict(view.params), sort_keys=True)
    names = ("role", "kind", "made_as", "image_id", "seed")
    return {name: getattr(view, name) for name in names} | {"params": params, "fallback": view.fallback or None}


def shown(view: View) -> Image.Image:
    assert view.image is not None
    return decode_image(view.image)


def test_a_question_gets_each_kind_once_positives_first(image: Image.Image) -> None:
    made = [(view.role, view.kind) for view in views_of(image, ONE, config=EVERY)]
    assert made == [*(("positive", kind) for kind in POSITIVES), *(("negative", kind) for kind in NEGATIVES)]


@pytest.mark.fault(34)
def test_without_settings_there_are_one_positive_and_three_negatives_none_as_large_as_the_image(
    image: Image.Image,
) -> None:
    views = views_of(image, ONE)
    assert [view.kind for view in views] == ["crop", "off_region", "off_region_downsampled", "shuffled_patches"]
    assert all((view.width_px, view.height_px) != image.size for view in views)


@pytest.mark.parametrize("kind", [*POSITIVES, *NEGATIVES])
@pytest.mark.parametrize("evidence", [ONE, TWO], ids=["one box", "two boxes"])
def test_any_view_can_be_made_again_from_its_row_and_its_image(
    image: Image.Image, evidence: Evidence, kind: str
) -> None:
    views = [view for view in views_of(image, evidence, config=EVERY) if view.kind == kind]
    assert len(views) == (1 if kind in SINGLE else len(evidence.boxes))
    images = {"i": image, "j": DONOR.image}
    boxes_alone = Evidence(boxes=evidence.boxes, regions=())
    for view in views:
        again = recompute_view(images[view.image_id], boxes_alone, as_row(view))
        assert again == view
        assert (again.pixels is None) == (kind == "none")
        assert again.pixels is None or again.pixels.tobytes() == shown(view).tobytes()


@pytest.mark.parametrize("kind", [*POSITIVES, *NEGATIVES])
def test_size_and_pixels_of_every_view_are_those_recorded(image: Image.Image, kind: str) -> None:
    for view in views_of(image, TWO, config=replace(EVERY, swap_fit="cut")):
        if view.kind == kind == "none":
            assert (view.image, view.pixels, view.width_px, view.height_px, view.box) == (None, None, 0, 0, None)
        elif view.kind == kind:
            assert shown(view).size == (view.width_px, view.height_px)
            assert view.image_id == ("j" if kind == "swapped" else "i")
            if kind in CUT:
                assert view.box is not None
                origin = DONOR.image if kind == "swapped" else image
                assert shown(view).tobytes() == origin.crop(view.box.as_tuple()).tobytes()


def test_the_positive_is_an_exact_cut_of_the_evidence(image: Image.Image) -> None:
    positive = views_of(image, ONE)[0]
    assert (positive.box, positive.width_px, positive.height_px) == (ONE.boxes[0], 48, 48)
    assert shown(positive).tobytes() == image.crop(ONE.boxes[0].as_tuple()).tobytes()


def test_an_exact_positive_shows_the_thing_without_surroundings_and_its_negatives_are_as_small(
    image: Image.Image,
) -> None:
    config = replace(EVERY, positive=("crop_exact",), negative=("off_region", "blurred", "blank", "swapped"))
    views = views_of(image, TWO, config=config)
    assert [view.box for view in views if view.kind == "crop_exact"] == [DOG.box, BALL.box]
    for kind in config.negative:
        assert [(v.width_px, v.height_px) for v in views if v.kind == kind] == [(32, 32), (20, 16)]
    assert [view.box for view in views if view.kind == "blurred"] == [DOG.box, BALL.box]
    for view in views:
        images = {"i": image, "j": DONOR.image}
        assert recompute_view(images[view.image_id], Evidence(boxes=TWO.boxes, regions=()), as_row(view)) == view


def test_a_crop_beside_an_exact_positive_still_shows_the_surroundings(image: Image.Image) -> None:
    views = views_of(image, TWO, config=replace(EVERY, positive=("crop_exact", "crop"), negative=("blank",)))
    assert [view.box for view in views if view.kind == "crop_exact"] == [DOG.box, BALL.box]
    assert [view.box for view in views if view.kind == "crop"] == list(TWO.boxes)
    for view in (view for view in views if view.kind == "crop"):
        assert recompute_view(image, TWO, as_row(view)) == replace(view, image_id="i")


def test_evidence_made_from_no_region_has_no_exact_crop(image: Image.Image) -> None:
    bare = Evidence(boxes=ONE.boxes, regions=())
    outcome = rejection_of(source_of(image, bare), 7, replace(CONFIG, positive=("crop_exact",)))
    message = "crop_exact: the evidence was made from no region"
    assert outcome == Rejection(stage="views", reason="no_region", message=message)


def test_the_full_positive_is_the_whole_image_once(image: Image.Image) -> None:
    (full,) = (v for v in views_of(image, TWO, config=replace(CONFIG, positive=("full",))) if v.kind == "full")
    assert full.box == Box(0, 0, 280, 160)
    assert shown(full).tobytes() == image.tobytes()


def test_a_random_crop_lies_anywhere_on_the_grid_and_is_as_large_as_the_evidence(image: Image.Image) -> None:
    config = replace(CONFIG, positive=("random_crop",), negative=("none",), grid_px=16)
    boxes = {views_of(image, ONE, seed, config)[0].box for seed in range(300)}
    starts = {(box.x0, box.y0) for box in boxes if box}
    assert starts == {(x, y) for x in range(0, 233, 16) for y in range(0, 113, 16)} & starts
    assert len(starts) > 80  # of 15 x 8
    assert any(overlap_area(box, ONE.boxes[0]) for box in boxes if box)
    assert {(box.width, box.height) for box in boxes if box} == {(48, 48)}


def test_another_of_the_same_class_is_the_best_region_beside_the_evidence(image: Image.Image) -> None:
    config = replace(CONFIG, negative=("same_class",))
    view = views_of(image, ONE, config=config)[1]
    assert view.box == Box(136, 16, 184, 64)
    assert view.params["instance"] == "150,30,170,50"
    of_two = [view.params["instance"] for view in views_of(image, TWO, config=config) if view.role == "negative"]
    assert of_two == ["150,30,170,50", "10,110,30,130"]
    without = source_of(image, ONE, regions=(DOG, FAR_DOG, HAT))
    assert cuts_of(without, config).views[1].params["instance"] == "240,40,260,60"


@pytest.mark.parametrize(
    "regions",
    [
        (),
        (DOG, HAT),
        (DOG, region("the dog", Box(60, 30, 90, 50), rank=1)),
        (DOG, region("the dog", Box(150, 30, 170, 50), rank=1, source="retrieval")),
    ],
    ids=["nothing", "another thing", "on the evidence", "a tile"],
)
def test_without_another_of_the_same_class_the_row_says_so(image: Image.Image, regions: tuple[Region, ...]) -> None:
    source = source_of(image, ONE, regions=regions)
    cuts = cuts_of(source, replace(CONFIG, negative=("same_class", "masked")))
    message = "no other 'the dog' can be shown, 0 found beside the evidence"
    assert cuts.missing == (Missing(kind="same_class", reason="no_instance", message=message),)
    assert [view.kind for view in cuts.views] == ["crop", "masked"]


def test_the_hard_negative_lies_around_the_tile_that_is_given(image: Image.Image) -> None:
    config = replace(CONFIG, negative=("hard_off_region",))
    assert views_of(image, ONE, config=config)[1].box == Box(192, 92, 240, 140)
    outcome = rejection_of(source_of(image, ONE, hard_tile=None), 7, config)
    message = "hard_off_region: no tile lies beside the evidence"
    assert outcome == Rejection(stage="views", reason="no_tile", message=message)


def test_a_swapped_view_comes_from_the_donor_s_image_and_names_the_donor(image: Image.Image) -> None:
    view = views_of(image, ONE, config=replace(CONFIG, negative=("swapped",)))[1]
    assert (view.image_id, view.box) == ("j", Box(6, 6, 54, 54))
    assert dict(view.params) == {"evidence_box": 0, "fit": "cut", "donor": "d", "donor_box": "10,20,50,40"}
    outcome = rejection_of(source_of(image, ONE, donor=None), 7, replace(CONFIG, negative=("swapped",)))
    assert outcome.reason == "no_donor"


def test_every_setting_of_a_kind_is_in_its_row(image: Image.Image) -> None:
    config = replace(
        EVERY, shrink_factor=3.0, block_px=5, blur_px=2.5, noise_step=300, noise_schedule="cosine", blank_fill="black"
    )
    recorded = {view.kind: dict(view.params) for view in views_of(image, ONE, config=config)}
    assert {kind: params.pop("evidence_box") for kind, params in recorded.items()} == dict.fromkeys(recorded, 0)
    assert recorded == {
        "crop": {},
        "crop_exact": {"exact": "40,24,72,56"},
        "full": {},
        "random_crop": {"grid_px": 4},
        "off_region": {"grid_px": 4},
        "off_region_downsampled": {"grid_px": 4, "factor": 1.5},
        "same_class": {"instance": "150,30,170,50"},
        "hard_off_region": {"tile": "200,100,232,132"},
        "shuffled_patches": {"patch_px": 8, "max_patch_px": 10},
        "swapped": {"fit": "resize", "donor": "d", "donor_box": "10,20,50,40"},
        "masked": {"fill": "noise", "grow_ratio": 1.25},
        "mask_random": {"fill": "noise", "grow_ratio": 1.25},
        "downsampled": {"factor": 3.0},
        "pixelated": {"block_px": 5},
        "blurred": {"radius_px": 2.5},
        "noised": {"step": 300, "schedule": "cosine"},
        "blank": {"fill": "black"},
        "none": {},
    }


def test_several_evidence_boxes_give_a_view_of_each_but_one_for_all_where_the_whole_image_is_shown(
    image: Image.Image,
) -> None:
    views = views_of(image, TWO, config=EVERY)
    kinds = [view.kind for view in views]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        kind: 1 if kind in SINGLE else 2 for kind in (*POSITIVES, *NEGATIVES)
    }
    assert len({(view.kind, view.seed) for view in views}) == len(views)
    sizes = [(view.width_px, view.height_px) for view in views if view.kind == "off_region"]
    assert sizes == [(48, 48), (30, 24)]


def test_equal_seeds_give_equal_views_and_other_seeds_other_ones(image: Image.Image) -> None:
    assert views_of(image, TWO, seed=7, config=EVERY) == views_of(image, TWO, seed=7, config=EVERY)
    drawn = {
        "random_crop",
        "off_region",
        "off_region_downsampled",
        "shuffled_patches",
        "masked",
        "mask_random",
        "noised",
    }
    for view, other in zip(views_of(image, ONE, 7, EVERY), views_of(image, ONE, 8, EVERY), strict=True):
        assert (view.image == other.image) == (view.kind not in drawn), view.kind


def test_a_view_does_not_depend_on_which_other_kinds_are_made(image: Image.Image) -> None:
    every = {view.kind: view for view in views_of(image, ONE, config=EVERY)}
    for kind in NEGATIVES:
        alone = views_of(image, ONE, config=replace(EVERY, positive=("crop",), negative=(kind,)))
        assert alone == (every["crop"], every[kind])


def test_a_view_is_the_same_in_another_process(image: Image.Image) -> None:
    source = source_of(image, TWO)
    there = pickle.loads(pickle.dumps(source))
    cuts = cuts_of(source, EVERY)
    assert cuts_of(there, EVERY) == cuts
    assert pickle.loads(pickle.dumps(cuts)) == cuts


def test_the_seed_is_a_known_number_of_build_question_and_kind() -> None:
    assert view_seed(0, "q", "off_region") == 5562590226632348906
    seeds = {view_seed(seed, name, kind) for seed in (0, 1) for name in ("p", "q") for kind in ("a", "b")}
    seeds |= {view_seed(0, "q", "a", number=1)}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_no_negative_that_is_cut_off_the_evidence_touches_any_of_it(image: Image.Image) -> None:
    beside = ("off_region", "off_region_downsampled", "same_class", "hard_off_region")
    for seed in range(20):
        for view in views_of(image, TWO, seed, replace(CONFIG, negative=beside)):
            if view.role == "negative":
                assert view.box is not None
                assert not any(containment(box, view.box) for box in TWO.boxes)


def test_overlap_is_one_for_the_positive_and_none_for_off_region_and_mask(image: Image.Image) -> None:
    config = replace(CONFIG, negative=("off_region", "off_region_downsampled", "masked", "shuffled_patches"))
    overlaps = {view.kind: evidence_overlap(view, ONE) for view in views_of(image, ONE, config=config)}
    expected = {"crop": 1.0, "off_region": 0.0, "off_region_downsampled": 0.0, "masked": 0.0, "shuffled_patches": 1.0}
    assert overlaps == expected


SMALL = Evidence(boxes=(Box(0, 0, 40, 40),), regions=(region("the dog", Box(0, 0, 40, 40)),))
NO_ROOM = "no place for 40 x 40 px beside the evidence in 60 x 60 px"


def test_a_kind_that_cannot_be_made_is_missing_and_the_row_says_why() -> None:
    cuts = cuts_of(source_of(noise(60, 60), SMALL), replace(CONFIG, negative=("off_region", "blurred")))
    assert [view.kind for view in cuts.views] == ["crop", "blurred"]
    assert cuts.missing == (Missing(kind="off_region", reason="no_room", message=NO_ROOM),)


def test_a_kind_that_cannot_be_made_rejects_the_question_when_that_is_asked_for() -> None:
    config = replace(CONFIG, negative=("blurred", "off_region"), on_missing="reject")
    outcome = rejection_of(source_of(noise(60, 60), SMALL), 0, config)
    assert outcome == Rejection(stage="views", reason="no_room", message=f"off_region: {NO_ROOM}")


def test_a_question_without_any_negative_is_rejected_whatever_is_asked_for() -> None:
    config = replace(CONFIG, negative=("off_region", "swapped"))
    outcome = rejection_of(source_of(noise(60, 60), SMALL, donor=None), 0, config)
    assert outcome == Rejection(stage="views", reason="no_room", message=f"off_region: {NO_ROOM}")


def test_a_kind_is_missing_though_it_could_be_made_of_one_of_two_boxes() -> None:
    evidence = Evidence(boxes=(Box(0, 0, 8, 8), Box(20, 0, 60, 40)), regions=())
    cuts = cuts_of(source_of(noise(60, 60), evidence), replace(CONFIG, negative=("off_region", "none")))
    assert [(view.kind, view.width_px) for view in cuts.views[2:]] == [("off_region", 8), ("none", 0)]
    assert [gap.kind for gap in cuts.missing] == ["off_region"]


def test_a_kind_that_can_be_made_of_no_box_is_missing_once() -> None:
    evidence = Evidence(boxes=(Box(0, 0, 40, 40), Box(0, 20, 40, 60)), regions=())
    cuts = cuts_of(source_of(noise(60, 60), evidence), replace(CONFIG, negative=("off_region", "none")))
    assert cuts.missing == (Missing(kind="off_region", reason="no_room", message=NO_ROOM),)


def test_the_first_fallback_that_can_be_made_stands_in_and_the_row_says_so() -> None:
    image = noise(60, 60)
    config = replace(CONFIG, negative=("off_region",), fallback=("crop_exact", "swapped", "blurred", "masked"))
    source = source_of(image, SMALL, donor=None)
    cuts = cuts_of(source, config)
    (view,) = cuts.views[1:]
    assert (view.kind, view.made_as, view.fallback) == ("off_region", "blurred", f"no_room: {NO_ROOM}")
    assert cuts.missing == ()
    assert dict(view.params) == {"evidence_box": 0, "radius_px": 8.0}
    assert recompute_view(image, SMALL, as_row(view)) == view


def test_a_positive_falls_back_on_positives(image: Image.Image) -> None:
    config = replace(CONFIG, positive=("crop_exact",), fallback=("masked", "crop"))
    view = views_of(image, Evidence(boxes=ONE.boxes, regions=()), config=config)[0]
    assert (view.role, view.kind, view.made_as, view.box) == ("positive", "crop_exact", "crop", ONE.boxes[0])


def test_a_stand_in_lies_elsewhere_than_the_view_whose_kind_it_has(image: Image.Image) -> None:
    config = replace(CONFIG, negative=("off_region", "swapped"), fallback=("off_region",))
    _, own, stand_in = cuts_of(source_of(image, ONE, donor=None), config).views
    assert (own.made_as, stand_in.made_as) == ("off_region", "off_region")
    assert own.box != stand_in.box


def test_settings_say_what_a_build_has_to_prepare() -> None:
    def needs(**settings: Any) -> tuple[bool, bool, bool]:
        config = ViewsConfig(**settings)
        return config.needs_tiles, config.needs_donors, config.needs_vectors

    assert needs() == (False, False, False)
    assert needs(donors="nearest") == (False, False, False)
    assert needs(negative=("hard_off_region",)) == needs(fallback=("hard_off_region",)) == (True, False, False)
    assert needs(negative=("swapped",)) == needs(fallback=("swapped",)) == (False, True, False)
    assert needs(negative=("swapped",), donors="nearest") == (False, True, True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"negative": ["of_region"]},
            "negative is ['of_region']; it must be a list of off_region, off_region_downsampled, same_class, "
            "hard_off_region, swapped, blank, none, shuffled_patches, masked, mask_random, downsampled, pixelated, "
            "blurred, noised. Did you mean 'off_region'?",
        ),
        (
            {"negative": ["zzz"]},
            "negative is ['zzz']; it must be a list of off_region, off_region_downsampled, same_class, "
            "hard_off_region, swapped, blank, none, shuffled_patches, masked, mask_random, downsampled, pixelated, "
            "blurred, noised. Run `viewgen kinds` to read about each.",
        ),
        (
            {"positive": ["masked"]},
            "positive is ['masked']; it must be a list of crop, crop_exact, full, random_crop. Run `viewgen kinds` to "
            "read about each.",
        ),
        (
            {"negative": []},
            "negative is []; it must be one or more distinct kinds. Choose among off_region, off_region_downsampled, "
            "same_class, hard_off_region, swapped, blank, none, shuffled_patches, masked, mask_random, downsampled, "
            "pixelated, blurred, noised.",
        ),
        (
            {"negative": ["masked", "masked"]},
            "negative is ['masked', 'masked']; it must be one or more distinct kinds. Choose among off_region, "
            "off_region_downsampled, same_class, hard_off_region, swapped, blank, none, shuffled_patches, masked, "
            "mask_random, downsampled, pixelated, blurred, noised.",
        ),
        (
            {"fallback": ["blured"]},
            "fallback is ['blured']; it must be a list of crop, crop_exact, full, random_crop, off_region, "
            "off_region_downsampled, same_class, hard_off_region, swapped, blank, none, shuffled_patches, masked, "
            "mask_random, downsampled, pixelated, blurred, noised. Did you mean 'blurred'?",
        ),
        (
            {"fallback": ["none", "none"]},
            "fallback is ['none', 'none']; it must be one or more distinct kinds. Choose among crop, crop_exact, "
            "full, random_crop, off_region, off_region_downsampled, same_class, hard_off_region, swapped, blank, "
            "none, shuffled_patches, masked, mask_random, downsampled, pixelated, blurred, noised.",
        ),
        (
            {"on_missing": "drop"},
            "on_missing is 'drop'; it must be one of 'keep', 'reject'. Leave it out for the default, \"keep\".",
        ),
        (
            {"donors": "closest"},
            "donors is 'closest'; it must be one of 'random', 'nearest'. Leave it out for the default, \"random\".",
        ),
        (
            {"swap_fit": "stretch"},
            "swap_fit is 'stretch'; it must be one of 'cut', 'resize'. Leave it out for the default, \"cut\".",
        ),
        ({"grid_px": 0}, "grid_px is 0; it must be a whole number at least 1 px. Leave it out for the default, 1."),
        ({"patch_px": 0}, "patch_px is 0; it must be a whole number at least 1 px. Leave it out for the default, 28."),
        ({"block_px": 1}, "block_px is 1; it must be a whole number at least 2 px. Leave it out for the default, 16."),
        (
            {"downsample_factor": 1.0},
            "downsample_factor is 1.0; it must be a number above 1. Leave it out for the default, 2.0.",
        ),
        (
            {"shrink_factor": float("inf")},
            "shrink_factor is inf; it must be a number above 1. Leave it out for the default, 8.0.",
        ),
        (
            {"mask_grow_ratio": 0.5},
            "mask_grow_ratio is 0.5; it must be a number at least 1. Leave it out for the default, 1.0.",
        ),
        (
            {"mask_fill": "red"},
            "mask_fill is 'red'; it must be one of 'mean', 'grey', 'black', 'blur', 'noise'. ",
        ),
        ({"blur_px": 0.0}, "blur_px is 0.0; it must be a number above 0 px. Leave it out for the default, 8.0."),
        (
            {"blur_px": float("nan")},
            "blur_px is nan; it must be a number above 0 px. Leave it out for the default, 8.0.",
        ),
        (
            {"noise_step": 0},
            "noise_step is 0; it must be a whole number from 1 to 1000 steps. Leave it out for the default, 500.",
        ),
        (
            {"noise_step": 1001},
            "noise_step is 1001; it must be a whole number from 1 to 1000 steps. Leave it out for the default, 500.",
        ),
        (
            {"noise_schedule": "linear"},
            "noise_schedule is 'linear'; it must be one of 'sigmoid', 'cosine'. ",
        ),
        (
            {"blank_fill": "blur"},
            "blank_fill is 'blur'; it must be one of 'mean', 'grey', 'black'. Leave it out for the default, \"grey\".",
        ),
        ({"grid": 4}, "unknown setting 'grid'. Did you mean 'grid_px'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_from(table, ViewsConfig, "recipe.toml")
    assert str(refusal.value).startswith(f"recipe.toml: {message}")
