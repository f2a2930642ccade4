"""Cut the positive and negative views of a question, and record every setting and seed that shaped their pixels, so
that any view can be made again bit for bit from its row.
Leaves out: how each kind is made (positives.py, negatives.py), donors (donors.py), the audit (audit/).

Boxes are x0, y0, x1, y1 in pixels of the upright RGB image, far edges outside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import ConfigDict

import viewgen.views.altered  # noqa: F401 - registers its kinds
from viewgen.decode import encode_png
from viewgen.records import Evidence, Missing, QuestionRecord, Rejection, View
from viewgen.settings import STRICT, Range, SettingValueError, check_names, check_ranges
from viewgen.views.degrade import NUM_STEPS, Fill, Schedule
from viewgen.views.kinds import KINDS, Kind, Need, Params, box_text, kinds_of, read_box, rejected
from viewgen.views.negatives import Fit
from viewgen.views.positives import exact_box


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsConfig:
    """Kinds of view to make of each question, and their settings."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    positive: tuple[str, ...] = ("crop",)
    """Kinds that show the evidence: crop, crop_exact, full; and random_crop, for comparison. Negatives are as large as
    the first, where that is crop or crop_exact."""
    negative: tuple[str, ...] = ("off_region", "off_region_downsampled", "shuffled_patches")
    """Kinds that do not: off_region, off_region_downsampled, same_class, hard_off_region, shuffled_patches, swapped,
    masked, mask_random, downsampled, pixelated, blurred, noised, blank, none. Ours: masked and mask_random are as large
    as the full image, some 11 MB at 12 megapixels for each question, so they are made only where they are named."""
    fallback: tuple[str, ...] = ()
    """Kinds tried, in this order, where one cannot be made; each stands in for kinds of its own role, and the row says
    so. Ours: none, since a stand-in differs from the positive in another way than the rest of its kind."""
    on_missing: Literal["keep", "reject"] = "keep"
    """Fate of a question of which neither a kind nor a fallback can be made: keep it, with the reason in its row, or
    reject it. One that is left without any positive or any negative is always rejected. Ours: keep, since a training
    asks for one kind and skips the questions that lack it."""
    grid_px: Annotated[int, Range(ge=1, unit="px")] = 1
    """Off-region boxes and random crops start on multiples of it, in pixels, 1 or more. 1, anywhere, as in
    arXiv 2606.25319."""
    downsample_factor: Annotated[float, Range(gt=1)] = 2.0
    """Factor by which the image shrinks before off_region_downsampled is cut, above 1. 2 as in arXiv 2606.25319."""
    donors: Literal["random", "nearest"] = "random"
    """Donor of swapped: any other question, or the one with the most similar crop, which is the harder negative. Both
    are among questions about other images, and about other things, of the same part of a build."""
    swap_fit: Fit = "cut"
    """Way to make swapped as large as the positive: cut (from the donor's image, around its evidence) or resize (of its
    crop, which changes sharpness and shape). Ours: cut, so that only the content differs."""
    mask_fill: Fill = "mean"
    """Fill of masks: mean (of the image), grey, black, blur (of what is there) or noise. Ours: the mean
    stands out least."""
    mask_grow_ratio: Annotated[float, Range(ge=1)] = 1.0
    """Both sides of a mask over those of its evidence box, 1 or more, so that the evidence is always covered."""
    patch_px: Annotated[int, Range(ge=1, unit="px")] = 28
    """Side of the shuffled patches, in pixels, 1 or more. 28 is what one token shows to Qwen's vision towers."""
    shrink_factor: Annotated[float, Range(gt=1)] = 8.0
    """Factor by which downsampled shrinks on the way, above 1. Ours: letters of 20 px become 2 or 3 px high."""
    block_px: Annotated[int, Range(ge=2, unit="px")] = 16
    """Side of the blocks of pixelated, in pixels, 2 or more. Ours: larger than the strokes of what can be read."""
    blur_px: Annotated[float, Range(gt=0, unit="px")] = 8.0
    """Standard deviation of the blur of blurred, in pixels, above 0. Ours: as strong as a block of 16 px."""
    noise_step: Annotated[int, Range(ge=1, le=NUM_STEPS, unit="steps")] = 500
    """Steps of noise on noised, 1 to 1000. 500 as in visual contrastive decoding (arXiv 2311.16922)."""
    noise_schedule: Schedule = "sigmoid"
    """Growth of noise with steps: sigmoid as in visual contrastive decoding, or cosine (arXiv 2102.09672)."""
    blank_fill: Literal["mean", "grey", "black"] = "grey"
    """Colour of blank: mean (of the image), grey or black. Ours: grey is what image processors take for zero."""

    def __post_init__(self) -> None:
        check_ranges(self)
        _check_kinds("positive", self.positive, kinds_of("positive"))
        _check_kinds("negative", self.negative, kinds_of("negative"))
        if self.fallback:
            _check_kinds("fallback", self.fallback, KINDS)

    @property
    def needs_tiles(self) -> bool:
        """True when a kind needs the tiles of a retrieval model (QuestionRecord.hard_tile)."""
        return self._needs("tiles")

    @property
    def needs_donors(self) -> bool:
        """True when a kind needs another question (QuestionRecord.donor)."""
        return self._needs("donor")

    @property
    def needs_vectors(self) -> bool:
        """True when donors are chosen by the vectors of their crops."""
        return self.needs_donors and self.donors == "nearest"

    def _needs(self, need: Need) -> bool:
        return any(need in KINDS[name].needs for name in (*self.positive, *self.negative, *self.fallback))


def cut_views(image: Image.Image, record: QuestionRecord, seed: int, config: ViewsConfig) -> QuestionRecord:
    """Cut all views of one question, positives first; views are PNG. `image` is the question's own, upright and RGB.

    `seed` is the build's. Returns the record with its views and the kinds it lacks, or rejected with the reason of the
    first kind that could not be made: no_room, too_few_patches, no_instance, no_tile, no_donor, no_region."""
    views: list[View] = []
    missing: list[Missing] = []
    for kinds in (config.positive, config.negative):
        num_before = len(views)
        for kind in kinds:
            made = list(_views_of_kind(image, record, seed, config, kind))
            lacking = [view for view in made if isinstance(view, Rejection)]
            views += [view for view in made if isinstance(view, View)]
            missing += [Missing(kind=kind, reason=why.reason, message=why.message) for why in lacking[:1]]
        if missing and (config.on_missing == "reject" or len(views) == num_before):
            first = next(gap for gap in missing if gap.kind in kinds)
            return replace(record, rejection=rejected(first.reason, f"{first.kind}: {first.message}"))
    return replace(record, views=tuple(views), missing=tuple(missing))


def recompute_view(image: Image.Image, evidence: Evidence, row: Mapping[str, Any]) -> View:
    """Make a view again from its row in the `views` table: from kind, made_as, fallback, seed and params.

    `image` is that of the row's image_id, upright and RGB; `evidence` is that of its question (boxes suffice)."""
    kind, params = row.get("made_as") or row["kind"], json.loads(row["params"])
    view = _draw(image, evidence, KINDS[kind], row["seed"], params)
    assert isinstance(view, View), "a view that was made once can be made again"
    return replace(view, kind=row["kind"], fallback=row.get("fallback") or "", image_id=row.get("image_id") or "")


def view_seed(seed: int, question_id: str, kind: str, number: int = 0) -> int:
    """Return the 64-bit seed of one view's own random stream: no other question, kind or setting can shift it."""
    name = json.dumps([seed, question_id, kind, number])
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _views_of_kind(
    image: Image.Image, record: QuestionRecord, seed: int, config: ViewsConfig, kind: str
) -> Iterator[View | Rejection]:
    """Make one view for each evidence box, or a single one; each by the first of the kind and its fallbacks that
    works."""
    role = KINDS[kind].role
    stand_ins = [name for name in config.fallback if KINDS[name].role == role]
    for number in range(1 if KINDS[kind].is_single else len(record.found_evidence.boxes)):
        first: Rejection | None = None
        for tried in dict.fromkeys((kind, *stand_ins)):
            made = _make(image, record, config, KINDS[tried], view_seed(seed, record.question_id, kind, number), number)
            if isinstance(made, View):
                why = f"{first.reason}: {first.message}" if first else ""
                yield replace(made, kind=kind, fallback=why)
                break
            first = first or made
        else:
            assert first is not None
            yield first


def _make(
    image: Image.Image, record: QuestionRecord, config: ViewsConfig, kind: Kind, seed: int, number: int
) -> View | Rejection:
    evidence = record.found_evidence
    target = evidence.boxes[number]
    params: Params = {"evidence_box": number}
    # As large as the first positive; but a crop next to it still shows the margin.
    exact = exact_box(evidence, number) if config.positive[0] == "crop_exact" and not kind.keeps_margin else None
    if exact and exact != target:
        target = exact
        params["target"] = box_text(target)
    inputs = kind.inputs(image, record, number, target) if kind.inputs else {}
    if isinstance(inputs, Rejection):
        return inputs
    params |= {name: getattr(config, setting) for name, setting in kind.settings.items()} | inputs
    donor = record.donor if "donor" in kind.needs else None
    view = _draw(donor.image if donor else image, evidence, kind, seed, params)
    return replace(view, image_id=donor.image_id if donor else record.image_id) if isinstance(view, View) else view


def _draw(image: Image.Image, evidence: Evidence, kind: Kind, seed: int, params: Params) -> View | Rejection:
    """Make the pixels from what a row holds. In params, `evidence_box` is the number of the box that the view is for, and
    `target` the box that stands for it where that is another; the rest are the inputs and settings of the kind."""
    boxes = ("target", *kind.boxes)
    inputs: dict[str, Any] = {name: read_box(str(value)) if name in boxes else value for name, value in params.items()}
    number = inputs.pop("evidence_box")
    target = inputs.pop("target", evidence.boxes[number])
    cut = kind.make(image, evidence.boxes, target, np.random.default_rng(seed), **inputs)
    if isinstance(cut, Rejection):
        return cut
    return View(
        role=kind.role,
        kind=kind.name,
        made_as=kind.name,
        box=cut.box,
        image=encode_png(cut.image) if cut.image else None,
        width_px=cut.image.width if cut.image else 0,
        height_px=cut.image.height if cut.image else 0,
        seed=seed,
        params=params,
        pixels=cut.image,
    )


def _check_kinds(setting: str, kinds: tuple[str, ...], known: Mapping[str, Kind]) -> None:
    if not kinds or len(set(kinds)) < len(kinds):
        remedy = f"Choose among {', '.join(known)}."
        raise SettingValueError(setting, list(kinds), "one or more distinct kinds", remedy)
    check_names(setting, kinds, known, "Run `viewgen kinds` to read about each.")
