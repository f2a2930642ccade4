"""Say what a build would do and take, before it is done: questions, images, parts, models, and time and size measured
on some images.
Leaves out: building (builder.py)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from viewgen.build.builder import BuildOptions, prepared
from viewgen.build.stages import run_stages
from viewgen.grounding.regions import RegionFinder
from viewgen.progress import counted, duration

NUM_MEASURED = 6
"""Images that are built to measure; the first of them does not count, for models wake up with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEstimate:
    """What a build would do and take."""

    num_questions: int
    num_images: int
    num_missing: int
    """Images that cannot be opened."""
    num_parts: int
    source_mb: float
    """Size of the images, in millions of bytes."""
    models: tuple[str, ...]
    """Names with the beginning of the SHA-256 of their weights."""
    seconds_per_image: float
    """Of one process; 0 where nothing could be measured."""
    views_mb_per_image: float
    num_measured: int
    kept_share: float
    """Share of the measured questions that were kept."""
    num_at_once: int
    """Processes that would share the work of cutting."""

    @property
    def seconds(self) -> float:
        """Time of the whole build by one process."""
        return self.seconds_per_image * (self.num_images - self.num_missing)

    @property
    def size_mb(self) -> float:
        """Size of the view set."""
        return self.source_mb + self.views_mb_per_image * (self.num_images - self.num_missing)


def estimate(recipe: Path, options: BuildOptions, finder: RegionFinder | None = None) -> BuildEstimate:
    """Plan a build, and build some of its images to measure; nothing is written. Raises ViewgenError as a build would."""
    plan, context = prepared(recipe, options, finder)
    images = [image for part in plan.parts for image in part.images]
    usable = [image for image in images if image.kept]
    measured = usable[:: max(1, len(usable) // NUM_MEASURED)][:NUM_MEASURED]
    seconds, views, kept, asked = 0.0, 0, 0, 0
    context = replace(context, num_threads=1, workers=type(context.workers)(0))
    with context.workers:
        for number, image in enumerate(measured):
            began = time.perf_counter()
            (made,) = run_stages([image], context)
            if number or len(measured) == 1:
                seconds += time.perf_counter() - began
            views += sum(len(view.image or b"") for record in made.kept for view in record.views)
            kept += len(made.kept)
            asked += len(made.questions)
    num_timed = max(len(measured) - 1, 1)
    return BuildEstimate(
        num_questions=sum(part.num_questions for part in plan.parts),
        num_images=len(images),
        num_missing=len(images) - len(usable),
        num_parts=len(plan.parts),
        source_mb=sum(image.num_bytes for image in images) / 1e6,
        models=tuple(f"{name} ({sha256[:12]})" for name, sha256 in sorted(plan.manifest.models.items())),
        seconds_per_image=seconds / num_timed if measured else 0.0,
        views_mb_per_image=views / 1e6 / len(measured) if measured else 0.0,
        num_measured=len(measured),
        kept_share=kept / asked if asked else 0.0,
        num_at_once=max(options.num_workers, 1),
    )


def in_words(found: BuildEstimate) -> str:
    """Return an estimate as text."""
    lines = [
        f"questions  {found.num_questions:,}",
        f"images     {found.num_images:,} ({found.source_mb:,.1f} MB), {found.num_missing:,} cannot be opened",
        f"parts      {found.num_parts:,}",
        f"models     {', '.join(found.models) or 'none'}",
    ]
    if not found.num_measured:
        return "\n".join([*lines, "no image could be opened to measure with"])
    each = f"{found.seconds_per_image:.3g} s an image, {100 * found.kept_share:.0f} % of questions kept"
    shared = f"; {found.num_at_once} processes share the cutting" if found.num_at_once > 1 else ""
    lines += [
        f"measured   {each}, on {counted(found.num_measured, 'image')} in one process",
        f"time       {duration(found.seconds)} by one process{shared}",
        f"size       {found.size_mb:,.1f} MB",
    ]
    return "\n".join(lines)
