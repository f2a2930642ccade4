"""Look at some images of a source before a build begins, and refuse boxes that do not fit them: boxes mostly outside of
their images, or numbers 0 to 1000 taken for pixels.
Leaves out: single boxes that do not fit, which reject their questions (build/stages.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from viewgen.boxes import Box, containment
from viewgen.decode import UnusableImageError
from viewgen.errors import RecipeError
from viewgen.records import Question
from viewgen.source.box_formats import MIN_INSIDE, is_inverted, upright_box
from viewgen.source.images import ImageConfig, open_image
from viewgen.source.pictures import locate
from viewgen.source.recipe import SourceConfig, root_of

NUM_IMAGES = 24
"""Images that are opened, spread over the source."""
MIN_BOXES = 8
"""Fewer boxes say nothing about a source."""
MIN_LARGE_BOXES = 20
LARGE_PX = 1500
"""Among so many boxes in images with both sides from here on, one ends beyond 1000 px if they are pixels."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A box of the sample in its image."""

    box: Box
    width_px: int
    height_px: int

    @property
    def is_outside(self) -> bool:
        return containment(self.box, Box(0, 0, self.width_px, self.height_px)) < MIN_INSIDE

    @property
    def is_in_a_large_image(self) -> bool:
        return min(self.width_px, self.height_px) >= LARGE_PX


def refuse_misfits(
    questions: Sequence[Question], source: SourceConfig, recipe: Path, config: ImageConfig | None = None
) -> None:
    """Raise RecipeError, with counts and the remedy, when at least half of the boxes in a sample of the images lie mostly
    outside, or when undeclared boxes look like numbers 0 to 1000. Images that cannot be opened are passed over."""
    seen = list(_sample(questions, source, root_of(source, recipe), config or ImageConfig()))
    outside = sum(each.is_outside for each in seen)
    if len(seen) >= MIN_BOXES and 2 * outside >= len(seen):
        declared = f"box_format {source.box_format}, box_units {source.box_units}, box_basis {source.box_basis}"
        what = f"{outside:,} of {len(seen):,} boxes in a sample lie mostly outside their images ({declared})"
        raise RecipeError(f"{recipe}: {what}. Set source.box_format, box_units or box_basis to what the boxes are.")
    large = [each for each in seen if each.is_in_a_large_image]
    ends = [max(each.box.x1, each.box.y1) for each in large]
    if source.box_units == "unstated" and len(large) >= MIN_LARGE_BOXES and max(ends) <= 1000:
        what = f"none of {len(large):,} boxes in images of {LARGE_PX} px and more ends beyond 1000"
        raise RecipeError(f'{recipe}: {what}. Set source.box_units = "0..1000", or "pixels" if they are pixels.')


def _sample(questions: Sequence[Question], source: SourceConfig, root: Path, config: ImageConfig) -> Iterator[_Seen]:
    boxed = [each for each in questions if (each.annotations or each.source_boxes) and each.box_basis == "upright"]
    by_image = [list(group) for _, group in groupby(boxed, key=lambda question: question.image_path)]
    for group in by_image[:: max(1, len(by_image) // NUM_IMAGES)][:NUM_IMAGES]:
        try:
            _, file = locate(group[0].image_path, root, config, source.follow_links, source.fetch)
            image = open_image(file, config)
        except UnusableImageError:
            continue
        size = image.width_px, image.height_px
        for question in group:
            boxes = [annotation.box for annotation in question.annotations]
            given = [box for box in question.source_boxes if not is_inverted(box.corners)]
            boxes += [upright_box(box, question.box_basis, *size) for box in given]
            yield from (_Seen(box, *size) for box in boxes)
