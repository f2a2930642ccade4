"""Each flag, switched on and off by the number that it speaks of; and settings that cannot be meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from viewgen.audit.flags import FLAGS, AuditConfig, findings, flags
from viewgen.errors import SettingsError
from viewgen.records import Audit
from viewgen.settings import settings_from

CONFIG = AuditConfig()
CLEAN = Audit(
    evidence_overlap=0.0,
    evidence_iou=0.0,
    sharpness=100.0,
    sharpness_ratio=1.0,
    contrast=100,
    same_size=True,
    same_encoding=True,
    hash_distance=30,
    detector_score=0.1,
    phrase_similarity=-3.0,
    similarity_margin=9.0,
)
POSITIVE = replace(CLEAN, evidence_overlap=1.0, hash_distance=0, detector_score=0.8, similarity_margin=0.0)


def raised(kind: str = "off_region", config: AuditConfig = CONFIG, **changed: Any) -> tuple[str, ...]:
    return flags(replace(CLEAN, **changed), "negative", kind, config)


def test_a_clean_negative_and_a_good_positive_have_no_flag() -> None:
    assert raised() == ()
    assert flags(POSITIVE, "positive", "crop", CONFIG) == ()


@pytest.mark.parametrize("kind", ["off_region", "off_region_downsampled", "hard_off_region", "a_kind_to_come"])
@pytest.mark.parametrize(
    ("name", "leaks", "holds"),
    [("evidence_overlap", 0.11, 0.1), ("detector_score", 0.36, 0.35), ("similarity_margin", 0.99, 1.0)],
)
def test_a_negative_of_another_place_leaks_by_any_one_number(kind: str, name: str, leaks: Any, holds: Any) -> None:
    assert raised(kind, **{name: leaks}) == ("leaks_evidence",)
    assert raised(kind, **{name: holds}) == ()


def test_without_models_the_place_alone_is_judged() -> None:
    unread: dict[str, Any] = {"detector_score": None, "phrase_similarity": None, "similarity_margin": None}
    assert raised(**unread) == ()
    assert raised(evidence_overlap=0.5, **unread) == ("leaks_evidence",)


def test_a_mask_leaks_by_what_it_leaves_or_what_models_see() -> None:
    seen: list[dict[str, Any]] = [{"evidence_overlap": 0.4}, {"detector_score": 0.9}, {"similarity_margin": -1.0}]
    for changed in seen:
        assert raised("masked", **changed) == ("leaks_evidence",)
    assert raised("masked", hash_distance=0) == ()  # much of the picture may be as it was


@pytest.mark.parametrize("kind", ["same_class", "swapped"])
def test_another_thing_may_fit_the_phrase_but_may_not_lie_in_the_evidence(kind: str) -> None:
    assert raised(kind, detector_score=0.9, similarity_margin=-5.0) == ()
    assert raised(kind, evidence_overlap=0.2) == ("leaks_evidence",)


def test_shuffled_patches_leak_when_detail_is_left_or_the_detector_sees_the_thing() -> None:
    assert raised("shuffled_patches", evidence_overlap=0.3, similarity_margin=0.0, hash_distance=0) == ()
    assert raised("shuffled_patches", evidence_overlap=0.31) == ("leaks_evidence",)
    assert raised("shuffled_patches", detector_score=0.7) == ("leaks_evidence",)


@pytest.mark.parametrize("kind", ["downsampled", "pixelated", "blurred", "noised"])
def test_a_degraded_view_leaks_by_the_detail_that_is_left_whatever_models_recognise(kind: str) -> None:
    seen: dict[str, Any] = {"detector_score": 0.9, "similarity_margin": 0.0, "hash_distance": 0}
    assert raised(kind, evidence_overlap=0.3, **seen) == ()
    assert raised(kind, evidence_overlap=0.31, **seen) == ("leaks_evidence",)


@pytest.mark.parametrize("kind", ["mask_random", "blank", "none"])
def test_a_control_and_what_shows_nothing_never_leak(kind: str) -> None:
    seen: dict[str, Any] = {
        "evidence_overlap": 1.0,
        "detector_score": 0.9,
        "similarity_margin": -1.0,
        "hash_distance": 0,
    }
    assert raised(kind, **seen) == ()


@pytest.mark.parametrize("kind", ["off_region", "same_class", "swapped"])
def test_equal_hashes_are_duplicates_and_close_ones_near_duplicates(kind: str) -> None:
    assert raised(kind, hash_distance=0) == ("duplicate",)
    assert raised(kind, hash_distance=8) == ("near_duplicate",)
    assert raised(kind, hash_distance=9) == ()


def test_sharpness_differs_either_way() -> None:
    for ratio, found in ((4.1, True), (4.0, False), (0.25, False), (0.24, True)):
        assert raised(sharpness_ratio=ratio) == (("sharpness_differs",) if found else ())


def test_size_and_encoding_differ_when_they_do() -> None:
    assert raised(same_size=False) == ("size_differs",)
    assert raised(same_encoding=False) == ("encoding_differs",)


def test_a_view_that_is_not_there_differs_in_nothing() -> None:
    assert raised("none", same_size=False, same_encoding=False, sharpness_ratio=0.001, hash_distance=64) == ()
    assert "sharpness_differs" in raised("blank", sharpness_ratio=0.001)


def test_a_positive_lacks_the_evidence_when_cut_elsewhere_or_when_the_detector_misses_it() -> None:
    low: list[dict[str, Any]] = [{"evidence_overlap": 0.89}, {"detector_score": 0.34}]
    for changed in low:
        assert flags(replace(POSITIVE, **changed), "positive", "random_crop", CONFIG) == ("positive_lacks_evidence",)
    assert flags(replace(POSITIVE, evidence_overlap=0.2), "positive", "crop_exact", CONFIG) == ()
    assert flags(replace(POSITIVE, detector_score=None), "positive", "crop", CONFIG) == ()


def test_flags_come_in_the_order_of_their_list_with_their_numbers() -> None:
    audit = replace(CLEAN, evidence_overlap=0.42, detector_score=0.61, hash_distance=0, same_size=False)
    found = findings(audit, "negative", "off_region", CONFIG)
    assert list(found) == ["leaks_evidence", "duplicate", "size_differs"] == [f for f in FLAGS if f in found]
    assert found["leaks_evidence"] == "evidence_overlap 0.42 above 0.1, detector_score 0.61 above 0.35"


def test_every_threshold_moves_its_flag() -> None:
    assert raised(evidence_overlap=0.2, config=AuditConfig(max_overlap=0.3)) == ()
    assert raised("blurred", evidence_overlap=0.4, config=AuditConfig(max_detail=0.5)) == ()
    assert raised(detector_score=0.2, config=AuditConfig(max_detector_score=0.1)) == ("leaks_evidence",)
    assert raised(similarity_margin=5.0, config=AuditConfig(min_similarity_margin=6.0)) == ("leaks_evidence",)
    assert raised(hash_distance=12, config=AuditConfig(max_hash_distance=12)) == ("near_duplicate",)
    assert raised(sharpness_ratio=3.0, config=AuditConfig(max_sharpness_ratio=2.0)) == ("sharpness_differs",)
    strict = AuditConfig(min_positive_overlap=1.0, min_positive_score=0.9)
    assert "0.80 below 0.9" in findings(POSITIVE, "positive", "crop", strict)["positive_lacks_evidence"]


def test_a_flag_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        SettingsError, match=r"recipe\.toml: reject is \['leak_evidence'\]; .*Did you mean 'leaks_evidence'\?"
    ):
        settings_from({"reject": ["leak_evidence"]}, AuditConfig, "recipe.toml")
    with pytest.raises(SettingsError, match="a list of leaks_evidence, positive_lacks_evidence, positive_is_blank"):
        settings_from({"reject": ["xyz"]}, AuditConfig, "recipe.toml")


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("max_overlap", 1.1, "must be a number from 0 to 1"),
        ("max_detail", -0.5, "must be a number from 0 to 1"),
        ("max_detector_score", -0.1, "must be a number from 0 to 1"),
        ("min_positive_overlap", 2, "must be a number from 0 to 1"),
        ("min_positive_score", float("nan"), "must be a number from 0 to 1"),
        ("min_similarity_margin", float("nan"), "must be a number"),
        ("max_hash_distance", 65, "must be a whole number from 0 to 64 bits"),
        ("max_sharpness_ratio", 0.9, "must be a number at least 1"),
        ("shift_px", -1, "must be a whole number at least 0 px"),
    ],
)
def test_a_threshold_out_of_range_is_refused(setting: str, value: float, expected: str) -> None:
    with pytest.raises(SettingsError, match=f"{setting} is .*{expected}"):
        settings_from({setting: value}, AuditConfig, "recipe.toml")


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"'max_overlaps'. Did you mean 'max_overlap'\?"):
        settings_from({"max_overlaps": 0.5}, AuditConfig, "recipe.toml")


@pytest.mark.fault(33)
def test_a_positive_that_shows_next_to_nothing_is_blank_and_a_negative_may_be() -> None:
    def raised_on(role: str, contrast: int) -> tuple[str, ...]:
        return flags(
            replace(CLEAN, evidence_overlap=1.0, detector_score=0.9, contrast=contrast), role, "crop", AuditConfig()
        )

    assert raised_on("positive", 16) == ()
    assert raised_on("positive", 15) == ("positive_is_blank",)
    seen = replace(CLEAN, evidence_overlap=1.0, detector_score=0.9, contrast=0)
    why = findings(seen, "positive", "crop", AuditConfig(min_contrast=3))
    assert why == {"positive_is_blank": "contrast 0 below 3"}
    blank = flags(replace(CLEAN, contrast=0), "negative", "off_region", AuditConfig())
    assert "positive_is_blank" not in blank
