"""Evidence and image -> positive and negative views, with every setting and seed that shaped their pixels recorded, so
that any view can be made again bit for bit from its row.
Leaves out: how each kind is made (positives.py, negatives.py); what views are good for.

Boxes are x0, y0, x1, y1 in pixels of the upright RGB image, far edges outside."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import ConfigDict

from viewgen.boxes import Box, overlap_area
from viewgen.decode import encode_png
from viewgen.records import Evidence, Missing, Region, Rejection, View
from viewgen.settings import STRICT
from viewgen.views.degrade import NUM_STEPS, Fill, Schedule
from viewgen.views.kinds import Kind, box_text, nearest_free_box, read_box, rejected
from viewgen.views.negatives import NEGATIVES, Fit
from viewgen.views.positives import POSITIVES, exact_box, own_regions

KINDS: Mapping[str, Kind] = {**POSITIVES, **NEGATIVES}
BOXES = {"target", "exact", "instance", "tile", "donor_box"}
"""Params that hold a box as text."""
Params = dict[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsConfig:
    """Which views are made of each question, and how."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    positive: tuple[str, ...] = ("crop",)
    """Kinds that show the evidence: crop, crop_exact, full; and random_crop, for comparison. Negatives are as large as
    the first, where that is crop or crop_exact."""
    negative: tuple[str, ...] = ("off_region", "off_region_downsampled", "masked", "shuffled_patches")
    """Kinds that do not: off_region, off_region_downsampled, same_class, hard_off_region, shuffled_patches, swapped,
    masked, mask_random, downsampled, pixelated, blurred, noised, blank, none."""
    fallback: tuple[str, ...] = ()
    """Kinds tried, in this order, where one cannot be made; each stands in for kinds of its own role, and the row says
    so. Ours: none, since a stand-in differs from the positive in another way than the rest of its kind."""
    on_missing: Literal["keep", "reject"] = "keep"
    """What becomes of a question when neither a kind nor a fallback can be made: keep it, with the reason in its row, or
    reject it. One that is left without any positive or any negative is always rejected. Ours: keep, since a training
    asks for one kind and skips the questions that lack it."""
    grid_px: int = 1
    """Off-region boxes and random crops start on multiples of it, in pixels, 1 or more. 1, anywhere, as in
    arXiv 2606.25319."""
    downsample_factor: float = 2.0
    """How many times smaller the image is made before off_region_downsampled is cut, above 1. 2 as in
    arXiv 2606.25319."""
    donors: Literal["random", "nearest"] = "random"
    """Whose positive swapped takes: that of any other question, or of the one with the most similar crop, which is the
    harder negative. Both are among questions about other images, and about other things, of the same part of a build."""
    swap_fit: Fit = "cut"
    """How swapped becomes as large as the positive: cut (from the donor's image, around its evidence) or resize (of its
    crop, which changes sharpness and shape). Ours: cut, so that only the content differs."""
    mask_fill: Fill = "mean"
    """What masks are filled with: mean (of the image), grey, black, blur (of what is there) or noise. Ours: the mean
    stands out least."""
    mask_grow_ratio: float = 1.0
    """Both sides of a mask over those of its evidence box, 1 or more, so that the evidence is always covered."""
    patch_px: int = 28
    """Side of the shuffled patches, in pixels, 1 or more. 28 is what one token shows to Qwen's vision towers."""
    shrink_factor: float = 8.0
    """How many times smaller downsampled becomes on the way, above 1. Ours: letters of 20 px become 2 or 3 px high."""
    block_px: int = 16
    """Side of the blocks of pixelated, in pixels, 2 or more. Ours: larger than the strokes of what can be read."""
    blur_px: float = 8.0
    """Standard deviation of the blur of blurred, in pixels, above 0. Ours: as strong as a block of 16 px."""
    noise_step: int = 500
    """Steps of noise on noised, 1 to 1000. 500 as in visual contrastive decoding (arXiv 2311.16922)."""
    noise_schedule: Schedule = "sigmoid"
    """How noise grows with steps: sigmoid as in visual contrastive decoding, or cosine (arXiv 2102.09672)."""
    blank_fill: Literal["mean", "grey", "black"] = "grey"
    """Colour of blank: mean (of the image), grey or black. Ours: grey is what image processors take for zero."""

    def __post_init__(self) -> None:
        _check_kinds("positive", self.positive, POSITIVES)
        _check_kinds("negative", self.negative, NEGATIVES)
        if self.fallback:
            _check_kinds("fallback", self.fallback, KINDS)
        for name, least in (("grid_px", 1), ("patch_px", 1), ("block_px", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected {least} or more pixels")
        for name in ("downsample_factor", "shrink_factor"):
            if not 1 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 1")
        if not 1 <= self.mask_grow_ratio < float("inf"):
            raise ValueError(f"mask_grow_ratio is {self.mask_grow_ratio}: expected 1 or more")
        if not 0 < self.blur_px < float("inf"):
            raise ValueError(f"blur_px is {self.blur_px}: expected more than 0 pixels")
        if not 1 <= self.noise_step <= NUM_STEPS:
            raise ValueError(f"noise_step is {self.noise_step}: expected 1 to {NUM_STEPS} steps")

    @property
    def needs_tiles(self) -> bool:
        """Whether ViewSource.hard_box is looked at."""
        return "hard_off_region" in (*self.negative, *self.fallback)

    @property
    def needs_donors(self) -> bool:
        """Whether ViewSource.donor is looked at."""
        return "swapped" in (*self.negative, *self.fallback)

    @property
    def needs_vectors(self) -> bool:
        """Whether donors are chosen by the vectors of their crops."""
        return self.needs_donors and self.donors == "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Donor:
    """Another question, whose positive crop can stand in for one's own."""

    question_id: str
    image_id: str
    image: Image.Image
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSource:
    """All that the views of one question are made from."""

    image: Image.Image
    image_id: str
    question_id: str
    evidence: Evidence
    regions: tuple[Region, ...]
    hard_box: Box | None = None
    """The tile, off the evidence, that is most similar to the phrases."""
    donor: Donor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """The views of one question, positives first, and the kinds that it lacks."""

    views: tuple[View, ...]
    missing: tuple[Missing, ...] = ()


def cut_views(source: ViewSource, seed: int, config: ViewsConfig) -> Cuts | Rejection:
    """All views of one question, positives first; or a Rejection that names the kind. Views are PNG.

    `seed` is the build's. Reasons: no_room, too_few_patches, no_instance, no_tile, no_donor, no_region."""
    views: list[View] = []
    missing: list[Missing] = []
    for role, kinds in (("positive", config.positive), ("negative", config.negative)):
        num_before = len(views)
        for kind in kinds:
            made = list(_views_of_kind(source, seed, config, role, kind))
            lacking = [view for view in made if isinstance(view, Rejection)]
            views += [view for view in made if isinstance(view, View)]
            missing += [Missing(kind=kind, reason=why.reason, message=why.message) for why in lacking[:1]]
        if missing and (config.on_missing == "reject" or len(views) == num_before):
            first = next(gap for gap in missing if gap.kind in kinds)
            return rejected(first.reason, f"{first.kind}: {first.message}")
    return Cuts(views=tuple(views), missing=tuple(missing))


def recompute_view(image: Image.Image, evidence: Evidence, row: Mapping[str, Any]) -> View:
    """The view that a row of the `views` table speaks of, drawn anew from role, kind, made_as, fallback, seed and params.

    `image` is that of the row's image_id, upright and RGB; `evidence` is that of its question (boxes suffice)."""
    kind, params = row.get("made_as") or row["kind"], json.loads(row["params"])
    view = _draw(image, evidence, row["role"], kind, row["seed"], params)
    assert isinstance(view, View), "a view that was made once can be made again"
    return replace(view, kind=row["kind"], fallback=row.get("fallback") or "", image_id=row.get("image_id") or "")


def view_seed(seed: int, question_id: str, kind: str, number: int = 0) -> int:
    """The 64-bit seed of one view's own random stream: no other question, kind or setting can shift it."""
    name = json.dumps([seed, question_id, kind, number])
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _views_of_kind(
    source: ViewSource, seed: int, config: ViewsConfig, role: str, kind: str
) -> Iterator[View | Rejection]:
    """One outcome for each evidence box, or a single one; in each the first of the kind and its fallbacks that works."""
    known = POSITIVES if role == "positive" else NEGATIVES
    for number in range(1 if KINDS[kind].is_single else len(source.evidence.boxes)):
        first: Rejection | None = None
        for tried in dict.fromkeys((kind, *(name for name in config.fallback if name in known))):
            made = _make(source, config, role, tried, view_seed(seed, source.question_id, kind, number), number)
            if isinstance(made, View):
                why = f"{first.reason}: {first.message}" if first else ""
                yield replace(made, kind=kind, fallback=why)
                break
            first = first or made
        else:
            assert first is not None
            yield first


def _make(source: ViewSource, config: ViewsConfig, role: str, kind: str, seed: int, number: int) -> View | Rejection:
    target = source.evidence.boxes[number]
    params: Params = {"evidence_box": number}
    # As large as the first positive; but a crop beside it still shows the surroundings.
    exact = exact_box(source.evidence, number) if config.positive[0] == "crop_exact" and kind != "crop" else None
    if exact and exact != target:
        target = exact
        params["target"] = box_text(target)
    given = _given(source, kind, number, target)
    if isinstance(given, Rejection):
        return given
    params |= {name: getattr(config, setting) for name, setting in KINDS[kind].settings.items()} | given
    donor = source.donor if kind == "swapped" else None
    view = _draw(donor.image if donor else source.image, source.evidence, role, kind, seed, params)
    return replace(view, image_id=donor.image_id if donor else source.image_id) if isinstance(view, View) else view


def _given(source: ViewSource, kind: str, number: int, target: Box) -> Params | Rejection:
    """What a view of this kind needs to be told beside the settings; it goes into the row, so that the row suffices."""
    match kind:
        case "crop_exact":
            exact = exact_box(source.evidence, number)
            return (
                {"exact": box_text(exact)} if exact else rejected("no_region", "the evidence was made from no region")
            )
        case "same_class":
            return _other_instance(source, number, target)
        case "hard_off_region":
            tile = source.hard_box
            return {"tile": box_text(tile)} if tile else rejected("no_tile", "no tile lies beside the evidence")
        case "swapped":
            donor = source.donor
            if donor is None:
                return rejected("no_donor", "no other question is about another image and other things")
            return {"donor": donor.question_id, "donor_box": box_text(donor.box)}
        case _:
            return {}


def _other_instance(source: ViewSource, number: int, target: Box) -> Params | Rejection:
    """The best region of what the evidence box was believed to be that can be shown without any evidence; tiles of
    retrieval are no things."""
    phrases = {region.phrase for region in own_regions(source.evidence, number)}
    others = [
        region
        for region in source.regions
        if region.phrase in phrases
        and region.source != "retrieval"
        and not any(overlap_area(region.box, box) for box in source.evidence.boxes)
    ]
    size = target.width, target.height
    for region in sorted(others, key=lambda region: (region.rank, region.source, region.phrase, region.box)):
        if nearest_free_box(source.image, source.evidence.boxes, *size, region.box):
            return {"instance": box_text(region.box)}
    found = f"{len(others)} found beside the evidence"
    return rejected("no_instance", f"no other {' or '.join(map(repr, sorted(phrases)))} can be shown, {found}")


def _draw(image: Image.Image, evidence: Evidence, role: str, kind: str, seed: int, params: Params) -> View | Rejection:
    """In params, `evidence_box` is the number of the box that the view is for, and `target` the box that stands for it
    where that is another; the rest is what the kind's function is told."""
    told: dict[str, Any] = {name: read_box(str(value)) if name in BOXES else value for name, value in params.items()}
    number = told.pop("evidence_box")
    target = told.pop("target", evidence.boxes[number])
    cut = KINDS[kind].make(image, evidence.boxes, target, np.random.default_rng(seed), **told)
    if isinstance(cut, Rejection):
        return cut
    return View(
        role=role,
        kind=kind,
        made_as=kind,
        box=cut.box,
        image=encode_png(cut.image) if cut.image else None,
        width_px=cut.image.width if cut.image else 0,
        height_px=cut.image.height if cut.image else 0,
        seed=seed,
        params=params,
        pixels=cut.image,
    )


def _check_kinds(name: str, kinds: tuple[str, ...], known: Mapping[str, Kind]) -> None:
    if not kinds or len(set(kinds)) < len(kinds):
        raise ValueError(f"{name} is {list(kinds)}: expected one or more distinct kinds")
    for kind in kinds:
        if kind not in known:
            near = difflib.get_close_matches(kind, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected kinds among {', '.join(known)}"
            raise ValueError(f"{name} holds {kind!r}: {hint}")
