"""Negative views made of the image's own pixels with the evidence altered: masked, shuffled, or with less detail. One
function and one record per kind; each function is pure: the same image, boxes, random stream and settings give the
same pixels.
Leaves out: views of another place or object (negatives.py), seeds, encoding and rows (cutting.py), whether a view
still shows the evidence (audit/auditor.py).

Boxes are x0, y0, x1, y1 in pixels of the image, far edges outside. `target` is the evidence box that the view is for;
`evidence` are all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from viewgen.boxes import Box, grow
from viewgen.records import QuestionRecord, Rejection
from viewgen.views import degrade
from viewgen.views.degrade import Fill, Schedule
from viewgen.views.kinds import DIFFERS, LEAKS, Cut, Kind, Params, any_free_box, register, rejected
from viewgen.views.negatives import no_room
from viewgen.views.positives import own_regions

PATCHES_ACROSS = 3
"""Patches along the shorter side of a region, at least: one patch shows a ninth of it."""
MIN_PATCH_PX = 2
NUM_TRIES = 20
"""Draws of mask_random for several boxes before it rejects with no_room."""


def shuffled_patches(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    patch_px: int,
    max_patch_px: int | None = None,
) -> Cut | Rejection:
    """Exchange square patches within the positive, of patch_px or, where that is less, of max_patch_px: equal colours,
    no shapes.

    A strip that is too narrow for a patch, right and below, stays. Rejects with too_few_patches below two."""
    patch_px = min(patch_px, max_patch_px or patch_px)
    num = (target.height // patch_px) * (target.width // patch_px)
    if num < 2:
        found = f"a crop of {target.width} x {target.height} px holds {num} patches of {patch_px} px"
        return rejected("too_few_patches", f"{found}, 2 needed")
    return Cut(degrade.shuffle(image.crop(target.as_tuple()), stream, patch_px), target)


def masked(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    fill: Fill,
    grow_ratio: float,
) -> Cut:
    """Fill every evidence box of the full image, both sides times grow_ratio."""
    grown = [grow(box, grow_ratio, 1, image.width, image.height) for box in evidence]
    return Cut(_covered(image, grown, fill, stream), None)


def mask_random(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    fill: Fill,
    grow_ratio: float,
) -> Cut | Rejection:
    """Fill boxes of the evidence's sizes at random places that overlap neither the evidence nor one another.

    Rejects with no_room when one of them finds no place."""
    grown = [grow(box, grow_ratio, 1, image.width, image.height) for box in evidence]
    # One box can stand in the only room for another: then all are drawn again.
    for _ in range(NUM_TRIES):
        places: list[Box] = []
        for size in grown:
            free = any_free_box(image, (*evidence, *places), size.width, size.height, 1, stream)
            if free is None:
                lacking = size
                break
            places.append(free)
        else:
            return Cut(_covered(image, places, fill, stream), None)
    return no_room(image, lacking.width, lacking.height)


def downsampled(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, factor: float
) -> Cut:
    """Make the positive `factor` times smaller and as large again."""
    return Cut(degrade.shrink(image.crop(target.as_tuple()), factor), target)


def pixelated(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, block_px: int
) -> Cut:
    """Show the positive in square blocks of one colour each."""
    return Cut(degrade.pixelate(image.crop(target.as_tuple()), block_px), target)


def blurred(
    image: Image.Image, evidence: Sequence[Box], target: Box, stream: np.random.Generator, *, radius_px: float
) -> Cut:
    """Blur the positive with a Gaussian; nothing from outside the cut flows in."""
    return Cut(degrade.blur(image.crop(target.as_tuple()), radius_px), target)


def noised(
    image: Image.Image,
    evidence: Sequence[Box],
    target: Box,
    stream: np.random.Generator,
    *,
    step: int,
    schedule: Schedule,
) -> Cut:
    """Add the noise of visual contrastive decoding to the positive (arXiv 2311.16922)."""
    return Cut(degrade.add_noise(image.crop(target.as_tuple()), stream, step, schedule), target)


def _patch_side(image: Image.Image, record: QuestionRecord, number: int, target: Box) -> Params:
    """Return a side of patches that cuts every region of the evidence, at most the setting's (_make joins the two)."""
    sides = [min(region.box.width, region.box.height) for region in own_regions(record.found_evidence, number)]
    return {"max_patch_px": max(MIN_PATCH_PX, min(sides) // PATCHES_ACROSS)} if sides else {}


def _covered(image: Image.Image, boxes: Sequence[Box], fill: Fill, stream: np.random.Generator) -> Image.Image:
    covered = image.copy()
    for box in boxes:
        part = image.crop(box.as_tuple())
        covered.paste(degrade.fill_for(image, part, fill, stream), box.as_tuple()[:2])
    return covered


def _degraded(make: Callable[..., Cut], about: str, settings: Mapping[str, str], source: str = "") -> Kind:
    """Describe a kind that is the positive with less detail: models may well recognise it, so detail alone is a leak."""
    return Kind(
        name=make.__name__,
        role="negative",
        make=make,
        about=about,
        source=source,
        settings=settings,
        shown="detail",
        judged_by=("evidence_overlap",),
        flags=(*LEAKS, *DIFFERS),
    )


register(
    Kind(
        name="shuffled_patches",
        role="negative",
        make=shuffled_patches,
        about="The positive's own pixels in square patches that change places: equal colours, no shapes. A patch is "
        "`patch_px` wide, or a third of the shorter side of the smallest region of the evidence where that is less "
        "(`max_patch_px` in the row's params): nothing that is asked for fits into one. Colours are much of what a "
        "retrieval model goes by, so a leak shows in detail that is left at any place of the view, or to the detector.",
        settings={"patch_px": "patch_px"},
        inputs=_patch_side,
        moves_pixels=True,
        shown="detail",
        judged_by=("evidence_overlap", "detector_score"),
        flags=(*LEAKS, *DIFFERS),
    ),
    Kind(
        name="masked",
        role="negative",
        make=masked,
        about="The full image with every evidence box filled (`mask_fill`, `mask_grow_ratio`). A leak shows in edges "
        "that the mask leaves, or to the models. As large as the full image, stored without loss: some 11 MB at 12 "
        "megapixels for each question, so it is not made unless it is named.",
        settings={"fill": "mask_fill", "grow_ratio": "mask_grow_ratio"},
        is_single=True,
        shown="edges",
        flags=(*LEAKS, *DIFFERS),
    ),
    Kind(
        name="mask_random",
        role="negative",
        make=mask_random,
        about="As `masked`, with boxes of the same sizes at random places off the evidence: a control that shows what a "
        "mask does to an image apart from hiding the evidence. It shows the evidence on purpose, so it never leaks.",
        settings={"fill": "mask_fill", "grow_ratio": "mask_grow_ratio"},
        is_single=True,
        shown="edges",
        judged_by=(),
        flags=DIFFERS,
    ),
    _degraded(
        downsampled,
        about="The positive made `shrink_factor` times smaller and as large again: equal place, little detail. It leaks "
        "when more than `max_detail` of the fine detail is left.",
        settings={"factor": "shrink_factor"},
    ),
    _degraded(
        pixelated,
        about="The positive in square blocks of `block_px`, each of its mean colour. Leaks as `downsampled` does.",
        settings={"block_px": "block_px"},
    ),
    _degraded(
        blurred,
        about="The positive under a Gaussian blur of `blur_px`. Leaks as `downsampled` does.",
        settings={"radius_px": "blur_px"},
    ),
    _degraded(
        noised,
        about="The positive under the noise of visual contrastive decoding (`noise_step`, `noise_schedule`). Leaks as "
        "`downsampled` does.",
        source="arXiv 2311.16922",
        settings={"step": "noise_step", "schedule": "noise_schedule"},
    ),
)
