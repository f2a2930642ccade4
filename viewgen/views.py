"""Evidence and image -> positive and negative views, with every setting and seed that shaped their pixels recorded, so
that any view can be made again bit for bit from its row.
Leaves out: how each negative is made (negatives.py); what views are good for.

Boxes are x0, y0, x1, y1 in pixels of the upright RGB image, far edges outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import ConfigDict

from viewgen.boxes import Box
from viewgen.images import encode_png
from viewgen.negatives import KINDS, Cut, Fill
from viewgen.records import Evidence, Missing, Region, Rejection, View
from viewgen.settings import STRICT

POSITIVES = ("crop",)
Params = dict[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsConfig:
    """Which views are made of each question, and how. A question that lacks one of them is rejected."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    positive: tuple[str, ...] = POSITIVES
    """Kinds that show the evidence: crop."""
    negative: tuple[str, ...] = tuple(KINDS)
    """Kinds that do not: off_region, off_region_downsampled, masked, shuffled_patches."""
    grid_px: int = 1
    """Off-region boxes start on multiples of it, in pixels, 1 or more. 1 is anywhere, as in arXiv 2606.25319."""
    downsample_factor: float = 2.0
    """How many times smaller off_region_downsampled becomes on the way, above 1. 2 as in arXiv 2606.25319."""
    mask_fill: Fill = "mean"
    """Colour of the mask: mean (of the image), grey or black. Ours: the mean stands out least."""
    mask_grow_ratio: float = 1.0
    """Both sides of a mask over those of its evidence box, 1 or more, so that the evidence is always covered."""
    patch_px: int = 28
    """Side of the shuffled patches, in pixels, 1 or more. 28 is what one token shows to Qwen's vision towers."""

    def __post_init__(self) -> None:
        _check_kinds("positive", self.positive, POSITIVES)
        _check_kinds("negative", self.negative, tuple(KINDS))
        for name in ("grid_px", "patch_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more pixels")
        if not 1 < self.downsample_factor < float("inf"):
            raise ValueError(f"downsample_factor is {self.downsample_factor}: expected more than 1")
        if not 1 <= self.mask_grow_ratio < float("inf"):
            raise ValueError(f"mask_grow_ratio is {self.mask_grow_ratio}: expected 1 or more")


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
    """All views of one question, positives first; or a Rejection (no_room, too_few_patches) that names the kind.

    `seed` is the build's. The positive of each evidence box is an exact cut; views are PNG."""
    views: list[View] = []
    evidence, question_id = source.evidence, source.question_id
    for role, kinds in (("positive", config.positive), ("negative", config.negative)):
        for kind in kinds:
            for number in range(1 if kind == "masked" else len(evidence.boxes)):
                params: Params = {**_settings_of(kind, config), "evidence_box": number}
                view = _make(source.image, evidence, role, kind, view_seed(seed, question_id, kind, number), params)
                if isinstance(view, Rejection):
                    return view
                views.append(replace(view, image_id=source.image_id))
    return Cuts(views=tuple(views))


def recompute_view(image: Image.Image, evidence: Evidence, row: Mapping[str, Any]) -> View:
    """The view that a row of the `views` table speaks of, drawn anew from its role, kind, seed and params.

    `image` is the row's image, upright and RGB; `evidence` is that of its question (boxes suffice)."""
    view = _make(image, evidence, row["role"], row["kind"], row["seed"], json.loads(row["params"]))
    assert isinstance(view, View), "a view that was made once can be made again"
    return view


def view_seed(seed: int, question_id: str, kind: str, number: int = 0) -> int:
    """The 64-bit seed of one view's own random stream: no other question, kind or setting can shift it."""
    name = json.dumps([seed, question_id, kind, number])
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _make(image: Image.Image, evidence: Evidence, role: str, kind: str, seed: int, params: Params) -> View | Rejection:
    """In params, `evidence_box` is the number of the box that the view is for; the rest are the kind's settings."""
    settings = dict(params)
    target = evidence.boxes[int(settings.pop("evidence_box"))]
    if kind == "crop":
        cut: Cut | Rejection = Cut(image.crop(target.as_tuple()), target)
    else:
        cut = KINDS[kind](image, evidence.boxes, target, np.random.default_rng(seed), **settings)
    if isinstance(cut, Rejection):
        return Rejection(stage=cut.stage, reason=cut.reason, message=f"{kind}: {cut.message}")
    return View(
        role=role,
        kind=kind,
        made_as=kind,
        box=cut.box,
        image=encode_png(cut.image),
        width_px=cut.image.width,
        height_px=cut.image.height,
        seed=seed,
        params=params,
        pixels=cut.image,
    )


def _settings_of(kind: str, config: ViewsConfig) -> Params:
    match kind:
        case "off_region":
            return {"grid_px": config.grid_px}
        case "off_region_downsampled":
            return {"grid_px": config.grid_px, "factor": config.downsample_factor}
        case "masked":
            return {"fill": config.mask_fill, "grow_ratio": config.mask_grow_ratio}
        case "shuffled_patches":
            return {"patch_px": config.patch_px}
        case _:
            return {}


def _check_kinds(name: str, kinds: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not kinds or len(set(kinds)) < len(kinds):
        raise ValueError(f"{name} is {list(kinds)}: expected one or more distinct kinds")
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"{name} holds {kind!r}: expected kinds among {', '.join(known)}")
