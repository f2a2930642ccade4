"""Cut, encode and measure the views of all questions about one image: the part of a build that runs in worker processes.
Leaves out: how a view is made (views/), the audit by models (audit/auditor.py). Loads no model library and no table
library, so that a worker starts quickly and stays small."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module

from viewgen.audit.auditor import measure
from viewgen.records import ImageRecord, QuestionRecord
from viewgen.views.cutting import ViewsConfig, cut_views


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTask:
    """One image to cut, as it is handed to a worker."""

    image: ImageRecord
    seed: int
    """Seed of the build."""
    views: ViewsConfig
    keep_pixels: bool
    """Return decoded pixels too, for an audit by models; encoded bytes alone are smaller to hand back."""
    modules: tuple[str, ...] = ()
    """Modules that define the kinds; a worker imports them, so that kinds from outside viewgen are known there too."""


def cut_image(task: CutTask) -> tuple[QuestionRecord, ...]:
    """Return the questions of the image with their measured views, or with the rejection that none could be cut."""
    for module in task.modules:
        import_module(module)
    return task.image.each(lambda record: _cut(record, task)).questions


def _cut(record: QuestionRecord, task: CutTask) -> QuestionRecord:
    assert task.image.pixels is not None, "an image is opened before it is cut"
    cut = cut_views(task.image.pixels, record, task.seed, task.views)
    # The donor's pixels have served: they would be handed back from a worker for nothing.
    cut = replace(cut, donor=None)
    if cut.rejection:
        return cut
    measured = measure(cut.views, cut.found_evidence)
    kept = measured if task.keep_pixels else tuple(replace(view, pixels=None) for view in measured)
    return replace(cut, views=kept)
