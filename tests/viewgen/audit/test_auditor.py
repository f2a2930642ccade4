"""What the audit finds in views: in pixels, with overlaps worked out by hand, and by models that read them again."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from viewgen.audit.auditor import Auditor, evidence_overlap, measure, partners_of
from viewgen.audit.flags import AuditConfig
from viewgen.audit.measures import detail_kept, grey_levels
from viewgen.audit.readings import best_scores, image_name, phrase_logits, shifted
from viewgen.boxes import Box
from viewgen.decode import encode_png
from viewgen.detectors import Ask, ScoredBox
from viewgen.records import Audit, Evidence, Phrase, Question, QuestionRecord, Region, Rejection, View
from viewgen.retrieval.retriever import RetrievalConfig, Retriever
from viewgen.source.demo import DemoConfig, Scene, draw_scene, scene_stream
from viewgen.views.cutting import ViewsConfig, cut_views
from viewgen.views.degrade import shuffle

BOX = Box(40, 40, 80, 60)
EVIDENCE = Evidence(boxes=(BOX,), regions=())


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8))


def view(kind: str, pixels: Image.Image | None, box: Box | None = None, **more: Any) -> View:
    role = "positive" if kind in {"crop", "crop_exact", "full", "random_crop"} else "negative"
    width, height = pixels.size if pixels else (0, 0)
    fields: dict[str, Any] = {
        "role": role, "kind": kind, "made_as": kind, "image_id": "i", "box": box, "width_px": width,
        "height_px": height, "image": encode_png(pixels) if pixels else None, "seed": 0, "pixels": pixels,
    }  # fmt: skip
    return View(**{**fields, **more})


def cut(image: Image.Image, kind: str, box: Box, **more: Any) -> View:
    return view(kind, image.crop(box.as_tuple()), box, **more)


def audits(*views: View, evidence: Evidence = EVIDENCE) -> list[Audit]:
    return [measured.audit for measured in measure(views, evidence) if measured.audit]


def filled(image: Image.Image, box: Box, colour: tuple[int, int, int] = (128, 128, 128)) -> Image.Image:
    hidden = image.copy()
    hidden.paste(colour, box.as_tuple())
    return hidden


def test_overlap_is_the_share_of_the_evidence_that_the_cut_holds(image: Image.Image) -> None:
    crop = cut(image, "crop", BOX)
    aside, away = cut(image, "off_region", Box(70, 50, 110, 70)), cut(image, "off_region", Box(80, 40, 120, 60))
    found = audits(crop, aside, away)
    assert [audit.evidence_overlap for audit in found] == [1.0, 10 * 10 / 800, 0.0]
    assert [audit.evidence_iou for audit in found] == [1.0, 100 / 1500, 0.0]


def test_the_box_that_a_view_shows_most_of_counts(image: Image.Image) -> None:
    two = Evidence(boxes=(BOX, Box(100, 40, 110, 50)), regions=())
    assert evidence_overlap(cut(image, "off_region", Box(105, 40, 145, 60)), two) == 0.5


def test_a_full_view_holds_all_and_nothing_holds_nothing(image: Image.Image) -> None:
    whole = Box(0, 0, 160, 120)
    found = audits(
        view("full", image, whole), view("blank", Image.new("RGB", (40, 20))), view("none", None), view("full", image)
    )
    assert [audit.evidence_overlap for audit in found] == [1.0, 0.0, 0.0, 1.0]
    assert found[0].evidence_iou == found[3].evidence_iou == 800 / (160 * 120)


def test_a_view_of_another_image_holds_nothing_wherever_it_was_cut(image: Image.Image) -> None:
    found = audits(cut(image, "crop", BOX), cut(image, "swapped", BOX, image_id="another"))
    assert found[1].evidence_overlap == found[1].evidence_iou == 0.0


@pytest.mark.parametrize("positive", ["crop", "full"])
def test_a_spoilt_view_of_the_evidence_shows_as_much_as_its_detail_that_is_left(
    image: Image.Image, positive: str
) -> None:
    crop = cut(image, positive, BOX if positive == "crop" else Box(0, 0, 160, 120))
    own = image.crop(BOX.as_tuple())
    weak, strong = (view("blurred", own.filter(ImageFilter.GaussianBlur(radius)), BOX) for radius in (0.4, 6))
    shuffled = view("shuffled_patches", shuffle(own, np.random.default_rng(0), 5), BOX)
    shares = [audit.evidence_overlap for audit in audits(crop, view("noised", own, BOX), weak, strong, shuffled)[1:]]
    assert shares[0] == 1.0
    assert shares[1] == detail_kept(grey_levels(own), grey_levels(weak.pixels or own))
    assert shares[1] > 0.7
    assert max(shares[2:]) < 0.1


def test_detail_counts_as_kept_where_no_positive_shows_what_was_there(image: Image.Image) -> None:
    assert evidence_overlap(cut(image, "blurred", BOX), EVIDENCE) == 1.0
    assert evidence_overlap(cut(image, "blurred", BOX), EVIDENCE, [cut(image, "crop", Box(0, 0, 40, 20))]) == 1.0


@pytest.mark.parametrize("positive", ["crop", "full"])
def test_what_a_mask_leaves_is_measured_in_pixels(image: Image.Image, positive: str) -> None:
    crop = cut(image, positive, BOX if positive == "crop" else Box(0, 0, 160, 120))
    gone = view("masked", filled(image, BOX))
    half = view("masked", filled(image, Box(40, 40, 60, 60)))
    beside = view("masked", filled(image, Box(0, 0, 40, 20)))
    shares = [audit.evidence_overlap for audit in audits(crop, gone, half, beside)[1:]]
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.5, abs=0.03)  # edges across the rim of the mask are lost
    assert shares[2] == 1.0


def test_a_mask_of_the_colour_of_a_plain_ground_still_hides_what_is_on_it() -> None:
    page = Image.new("RGB", (160, 120), (255, 255, 255))
    page.paste((0, 0, 0), (50, 45, 55, 55))
    crop, hidden = cut(page, "crop", BOX), view("masked", filled(page, BOX, (255, 255, 255)))
    found = audits(crop, hidden, view("masked", page))
    assert [audit.evidence_overlap for audit in found[1:]] == [0.0, 1.0]


def test_a_mask_elsewhere_leaves_the_evidence_and_is_said_to(image: Image.Image) -> None:
    control = view("mask_random", filled(image, Box(100, 80, 140, 100)))
    assert audits(cut(image, "crop", BOX), control)[1].evidence_overlap == 1.0


def test_a_mask_is_taken_at_its_word_when_no_positive_shows_what_was_there(image: Image.Image) -> None:
    assert evidence_overlap(view("masked", image), EVIDENCE) == 0.0
    assert evidence_overlap(view("mask_random", image), EVIDENCE) == 1.0


def test_size_sharpness_and_likeness_are_relative_to_the_positive(image: Image.Image) -> None:
    flat = Image.new("RGB", (40, 20), (90, 90, 90))
    found = audits(cut(image, "crop", BOX), view("off_region", flat), cut(image, "off_region", Box(0, 0, 41, 20)))
    assert found[0].sharpness_ratio == 1.0
    assert found[1].sharpness == 0.0
    assert found[1].sharpness_ratio == pytest.approx(1 / found[0].sharpness)  # below 1 level squared counts as 1
    assert [audit.same_size for audit in found] == [True, True, False]
    assert found[0].hash_distance == 0
    assert found[1].hash_distance > 20


def test_a_flat_negative_of_a_flat_positive_is_as_sharp() -> None:
    plain = Image.new("RGB", (160, 120), (90, 90, 90))
    found = audits(cut(plain, "crop", BOX), cut(plain, "off_region", Box(0, 0, 40, 20)))
    assert (found[1].sharpness_ratio, found[1].hash_distance) == (1.0, 0)


def test_encoding_is_that_of_the_bytes(image: Image.Image) -> None:
    file = io.BytesIO()
    image.crop((0, 0, 40, 20)).save(file, format="JPEG")
    other = replace(cut(image, "off_region", Box(0, 0, 40, 20)), image=file.getvalue())
    found = audits(cut(image, "crop", BOX), cut(image, "off_region", Box(0, 0, 40, 20)), other)
    assert [audit.same_encoding for audit in found] == [True, True, False]


def test_a_view_that_is_not_there_has_the_numbers_of_nothing(image: Image.Image) -> None:
    nothing = audits(cut(image, "crop", BOX), view("none", None))[1]
    assert (nothing.sharpness, nothing.same_size, nothing.same_encoding, nothing.hash_distance) == (0, False, False, 64)


def test_a_negative_is_compared_with_the_positive_of_its_own_box(image: Image.Image) -> None:
    boxes = (BOX, Box(100, 80, 130, 110))
    views = [
        *(cut(image, "crop", box, params={"evidence_box": n}) for n, box in enumerate(boxes)),
        cut(image, "crop_exact", boxes[1], params={"evidence_box": 1}),
        *(cut(image, "off_region", Box(0, 0, 30, 30), params={"evidence_box": n}) for n in (0, 1, 2)),
    ]
    assert partners_of(views) == [0, 1, 1, 0, 1, 0]
    found = audits(*views, evidence=Evidence(boxes=boxes, regions=()))
    assert [audit.same_size for audit in found[3:]] == [False, True, False]


def test_a_cut_is_the_measure_of_negatives_before_the_full_image(image: Image.Image) -> None:
    boxes = (BOX, Box(100, 80, 130, 110))
    views = [
        replace(view("full", image), role="positive"),
        *(cut(image, "crop", box, params={"evidence_box": n}) for n, box in enumerate(boxes)),
        *(cut(image, "off_region", Box(0, 0, 30, 30), params={"evidence_box": n}) for n in (0, 1)),
    ]
    assert partners_of(views) == [1, 1, 2, 1, 2]


def test_pixels_are_read_from_the_encoded_view_where_they_are_not_kept(image: Image.Image) -> None:
    views = [cut(image, "crop", BOX), cut(image, "off_region", Box(0, 0, 40, 20)), view("masked", filled(image, BOX))]
    assert audits(*views) == audits(*(replace(one, pixels=None) for one in views))


# Models ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReddestPixels:
    """A real, if simple, detector: everything named red is where red outweighs blue and green; score: its share."""

    name: str = "reddest"
    asked: tuple[int, ...] = ()

    @property
    def models(self) -> Mapping[str, str]:
        return {"reddest": "0"}

    def detect(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        object.__setattr__(self, "asked", (*self.asked, len(asks)))
        return [tuple(box for phrase in ask.phrases for box in self._find(ask.image, phrase)) for ask in asks]

    def _find(self, image: Image.Image, phrase: str) -> list[ScoredBox]:
        pixels = np.asarray(image).astype(int)
        share = float((pixels[..., 0] > pixels[..., 1] + pixels[..., 2]).mean())
        box = Box(0, 0, image.width, image.height)
        return [ScoredBox(phrase=phrase, box=box, score=round(share, 4))] if "red" in phrase and share else []


@dataclass(frozen=True)
class Annotated(ReddestPixels):
    @property
    def models(self) -> Mapping[str, str]:
        return {}


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    torch.set_num_threads(1)
    return Retriever.load(
        RetrievalConfig(model="embedded:drawn-clip", template="{phrase}", tile_px=(48,), stride_px=(16,))
    )


def sample(*views: View, phrases: Sequence[str] = ("the red car",), evidence: Evidence = EVIDENCE) -> QuestionRecord:
    return QuestionRecord(
        question=Question(question_id="q", image_path="", text=""),
        image_id="i",
        phrases=tuple(Phrase(text=text, start=0, end=len(text), rule="r") for text in phrases),
        regions=(),
        evidence=evidence,
        views=measure(views, evidence),
    )


def red(share: float) -> Image.Image:
    """Return a noisy picture of 40 x 20 px, this share of whose columns is red."""
    pixels = np.random.default_rng(0).integers(100, 140, (20, 40, 3), dtype=np.uint8)
    pixels[:, : round(40 * share)] = (250, 10, 10)
    return Image.fromarray(pixels)


def judged(auditor: Auditor, *samples: QuestionRecord) -> list[QuestionRecord]:
    verdicts = auditor.judge(samples)
    assert not [verdict.rejection for verdict in verdicts if verdict.rejection]
    return verdicts


LOOK = AuditConfig(reject=())


def test_the_detector_reads_every_view_and_its_best_score_counts() -> None:
    shown = sample(view("crop", red(0.8), BOX), view("off_region", red(0.25), Box(0, 0, 40, 20)), view("none", None))
    (verdict,) = judged(Auditor(LOOK, None, ReddestPixels()), shown)
    assert [one.audit.detector_score for one in verdict.views if one.audit] == [0.8, 0.25, None]


def test_a_phrase_that_is_not_found_scores_nothing_which_is_not_the_same_as_not_asked() -> None:
    shown = sample(view("crop", red(0.8), BOX), view("off_region", red(0.0), Box(0, 0, 40, 20)))
    (read,) = judged(Auditor(LOOK, None, ReddestPixels()), shown)
    (unread,) = judged(Auditor(LOOK, None, None), shown)
    assert [verdict.views[1].audit.detector_score for verdict in (read, unread) if verdict.views[1].audit] == [
        0.0,
        None,
    ]


@pytest.mark.parametrize(
    "auditor", [Auditor(replace(LOOK, use_detector=False), None, ReddestPixels()), Auditor(LOOK, None, Annotated())]
)
def test_a_detector_that_is_switched_off_or_has_no_model_is_not_asked(auditor: Auditor) -> None:
    (verdict,) = judged(auditor, sample(view("crop", red(0.8), BOX)))
    assert verdict.views[0].audit
    assert verdict.views[0].audit.detector_score is None
    assert verdict.views[0].audit.flags == ()


def test_equal_pictures_of_many_samples_are_read_once_and_all_in_one_call() -> None:
    detector = ReddestPixels()
    one = sample(view("crop", red(0.8), BOX), view("off_region", red(0.25), Box(0, 0, 40, 20)))
    judged(Auditor(LOOK, None, detector), one, one, replace(one, views=one.views[:1]))
    assert detector.asked == (2,)


def test_views_are_flagged_without_any_model() -> None:
    shown = sample(view("crop", red(0.8), BOX), view("off_region", red(0.8), Box(60, 40, 100, 60)))
    (verdict,) = judged(Auditor(LOOK), shown)
    assert [one.audit.flags for one in verdict.views if one.audit] == [(), ("leaks_evidence", "duplicate")]


def test_a_chosen_flag_rejects_the_question_with_its_numbers() -> None:
    shown = sample(view("crop", red(0.8), BOX), view("off_region", red(0.5), Box(60, 40, 100, 60)))
    other = sample(view("crop", red(0.8), BOX), view("off_region", red(0.1), Box(0, 0, 40, 20)))
    verdicts = Auditor(AuditConfig(), None, ReddestPixels()).judge([shown, other])
    said = "negative off_region: evidence_overlap 0.50 above 0.1, detector_score 0.50 above 0.35"
    assert verdicts[0].rejection == Rejection(stage="audit", reason="leaks_evidence", message=said)
    assert verdicts[1].rejection is None


def test_the_first_flag_in_the_settings_is_the_reason() -> None:
    shown = sample(view("crop", red(0.8), BOX), view("off_region", red(0.8), Box(60, 40, 100, 60)))
    for first, second in (("duplicate", "leaks_evidence"), ("leaks_evidence", "duplicate")):
        (verdict,) = Auditor(AuditConfig(reject=(first, second))).judge([shown])
        assert verdict.rejection
        assert verdict.rejection.reason == first


def test_a_view_is_judged_as_what_it_was_made_as() -> None:
    crop = view("crop", red(0.8), BOX)
    stand_in = view("same_class", red(0.5), Box(0, 0, 40, 20), made_as="off_region")
    (verdict,) = judged(Auditor(LOOK, None, ReddestPixels()), sample(crop, stand_in))
    assert verdict.views[1].audit
    assert "leaks_evidence" in verdict.views[1].audit.flags


# The shipped OpenCLIP model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(scene_stream(5, "audit", 0), DemoConfig())


def tile(scene: Scene, number: int) -> Box:
    """Return the tile of the 16-px grid with this sign in its middle."""
    box = scene.signs[number].box
    x0, y0 = ((low + high) // 2 // 16 * 16 - 16 for low, high in ((box.x0, box.x1), (box.y0, box.y1)))
    return Box(x0, y0, x0 + 48, y0 + 48)


def scene_sample(scene: Scene, numbers: Sequence[int], *kinds: tuple[str, Box]) -> QuestionRecord:
    """Return a question about these signs, whose evidence boxes are their tiles."""
    phrases = [scene.signs[number].phrase for number in numbers]
    boxes = tuple(tile(scene, number) for number in numbers)
    regions = tuple(
        Region(phrase=phrase, box=box, source="retrieval", score=9.0, rank=0)
        for phrase, box in zip(phrases, boxes, strict=True)
    )
    views = [cut(scene.image, "crop", box, params={"evidence_box": n}) for n, box in enumerate(boxes)]
    views += [cut(scene.image, kind, box, params={"evidence_box": 0}) for kind, box in kinds]
    return sample(*views, phrases=phrases, evidence=Evidence(boxes=boxes, regions=regions))


def test_the_margin_is_large_for_another_sign_and_zero_for_the_same(scene: Scene, retriever: Retriever) -> None:
    same, other = tile(scene, 0), tile(scene, 1)
    shown = scene_sample(scene, [0], ("off_region", same), ("off_region", other))
    (verdict,) = judged(Auditor(LOOK, retriever), shown)
    found = [one.audit for one in verdict.views if one.audit]
    assert found[0].similarity_margin == found[1].similarity_margin == 0.0
    assert found[0].phrase_similarity is not None
    assert found[2].phrase_similarity is not None
    margin = found[0].phrase_similarity - found[2].phrase_similarity
    assert found[2].similarity_margin == pytest.approx(margin, abs=1e-4)
    assert margin > 6
    assert "leaks_evidence" not in found[2].flags


def test_similarity_can_be_switched_off(scene: Scene, retriever: Retriever) -> None:
    (verdict,) = judged(Auditor(replace(LOOK, use_similarity=False), retriever), scene_sample(scene, [0]))
    assert verdict.views[0].audit
    assert verdict.views[0].audit.phrase_similarity is None


def test_each_positive_is_read_for_the_phrases_that_it_was_cut_for(scene: Scene, retriever: Retriever) -> None:
    (verdict,) = judged(Auditor(LOOK, retriever), scene_sample(scene, [0, 1]))
    for number, one in enumerate(verdict.views):
        alone = retriever.similarity([one.pixels or Image.new("RGB", (1, 1))], [(scene.signs[number].phrase,)])
        assert one.audit
        assert one.audit.phrase_similarity == alone[0]


def test_of_two_phrases_the_one_that_is_seen_best_makes_the_margin(scene: Scene, retriever: Retriever) -> None:
    first, second = (scene.signs[n].phrase for n in (0, 1))
    box = tile(scene, 0)
    both = sample(
        cut(scene.image, "full", Box(0, 0, 160, 160)),
        cut(scene.image, "off_region", tile(scene, 1)),
        phrases=(first, second),
        evidence=Evidence(boxes=(box,), regions=()),
    )
    (verdict,) = judged(Auditor(LOOK, retriever), both)
    audit = verdict.views[1].audit
    assert audit
    assert audit.similarity_margin == pytest.approx(0.0, abs=0.01)  # the second sign is seen as well as in the image
    assert "leaks_evidence" in audit.flags


def test_a_sign_at_the_edge_is_seen_when_the_view_is_shifted(scene: Scene, retriever: Retriever) -> None:
    box = tile(scene, 0)
    x0, y0 = min(max(box.x0 + 10, 0), 112), min(max(box.y0 - 10, 0), 112)
    pixels = scene.image.crop((x0, y0, x0 + 48, y0 + 48))
    key = (image_name(pixels), (scene.signs[0].phrase,))
    (still,), (moved,) = (phrase_logits(retriever, {key: pixels}, step).values() for step in (0, 4))
    assert still < 0 < moved


def test_shifted_copies_repeat_the_edge_and_hold_the_picture_itself() -> None:
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    copies = [np.asarray(copy)[..., 0].tolist() for copy in shifted(picture, 1)]
    assert len(copies) == 9
    assert copies[0] == [[0, 0], [0, 0]]
    assert copies[4] == [[0, 3], [6, 9]]
    assert copies[5] == [[3, 3], [9, 9]]


def test_pictures_of_equal_bytes_and_other_shape_have_other_names() -> None:
    wide, high = Image.new("RGB", (4, 2)), Image.new("RGB", (2, 4))
    assert wide.tobytes() == high.tobytes()
    assert image_name(wide) != image_name(high)
    assert image_name(wide) == image_name(Image.new("RGB", (4, 2)))


def test_the_best_of_all_phrases_counts() -> None:
    picture = red(0.5)
    key = (image_name(picture), ("the blue van", "the red car"))
    assert best_scores(ReddestPixels(), {key: picture}) == {key: 0.5}


# ---- evidence that is moved


def scene_with(size_px: int, seed: int) -> tuple[Image.Image, Box]:
    """Draw a thing of noise on a smooth ground."""
    stream = np.random.default_rng(seed)
    rough = Image.fromarray(stream.integers(60, 200, (8, 8, 3), dtype=np.uint8))
    image = rough.resize((320, 320), Image.Resampling.BICUBIC)
    x0, y0 = (int(edge) for edge in stream.integers(100, 200, 2))
    thing = Image.fromarray(stream.integers(0, 256, (size_px, size_px, 3), dtype=np.uint8))
    image.paste(thing, (x0, y0))
    return image, Box(x0, y0, x0 + size_px, y0 + size_px)


def region(box: Box) -> Region:
    return Region(phrase="the thing", box=box, source="annotated", score=1.0, rank=0)


def shows_whole(thing: np.ndarray, shown: np.ndarray) -> bool:
    """Look at every place."""
    height, width = thing.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(shown[:, :, 0], (height, width))
    return bool((windows == thing[:, :, 0]).all(axis=(2, 3)).any())


@pytest.mark.fault(4)
@pytest.mark.parametrize("size_px", [8, 20])
def test_no_shuffled_view_shows_a_small_thing_whole(size_px: int) -> None:
    num_whole = 0
    for seed in range(40):
        image, box = scene_with(size_px, seed)
        target = Box(box.x0 - 92, box.y0 - 92, box.x0 + 132, box.y0 + 132)
        evidence = Evidence(boxes=(target,), regions=(region(box),))
        asked = Question(question_id=str(seed), image_path="", text="")
        record = QuestionRecord(question=asked, image_id="i", evidence=evidence)
        positive, negative = cut_views(image, record, 0, ViewsConfig(negative=("shuffled_patches",))).views
        assert negative.params["max_patch_px"] == size_px // 3
        thing = np.asarray(image.crop(box.as_tuple()))
        num_whole += shows_whole(thing, np.asarray(negative.pixels))
        shown = evidence_overlap(negative, evidence, [positive])
        assert shown < 0.3, "and the audit does not see what is not there"
    assert num_whole == 0


@pytest.mark.fault(4)
def test_the_audit_finds_moved_evidence_that_a_large_patch_holds() -> None:
    """Patches of 28 px, as if the evidence had no region to go by: the audit says of each view what is so."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(40):
        image, box = scene_with(8, seed)
        left, upper = box.x0 - 84 - seed % 28, box.y0 - 70 - seed % 14
        target = Box(left, upper, left + 224, upper + 224)
        evidence = Evidence(boxes=(target,), regions=(region(box),))
        crop = cut(image, "crop", target)
        moved = shuffle(image.crop(target.as_tuple()), np.random.default_rng(seed), 28)
        thing = np.asarray(image.crop(box.as_tuple()))
        share = evidence_overlap(view("shuffled_patches", moved, target), evidence, [crop])
        found[shows_whole(thing, np.asarray(moved))].append(share)
    assert len(found[True]) > 10
    assert min(found[True]) > 0.999
    assert len(found[False]) > 10
    assert max(found[False]) < 0.95


@pytest.mark.fault(33)
def test_a_white_positive_has_no_contrast() -> None:
    image, box = scene_with(20, 0)
    white = Image.new("RGB", image.size, (255, 255, 255))
    shown, blank = (audits(cut(each, "crop", box))[0] for each in (image, white))
    assert shown.contrast > 100
    assert blank.contrast == 0
