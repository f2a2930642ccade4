"""The part of a build that runs on all cores: from pixels and evidence to encoded and measured views, all questions of
one image at a time.
Leaves out: how a view is made (views.py) and what is measured (audit.py). Loads no model library, so that a worker
starts quickly and stays small."""

from __future__ import annotations

from dataclasses import dataclass, replace

from viewgen.audit.auditor import measure
from viewgen.records import Rejection
from viewgen.views.cut_views import Cuts, ViewsConfig, ViewSource, cut_views


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTask:
    """What is cut at once. Sources share an image, which is handed over once."""

    sources: tuple[ViewSource, ...]
    seed: int
    """The build's."""
    views: ViewsConfig
    keep_pixels: bool
    """Whether models will look at the views; encoded bytes alone are smaller to hand back."""


def cut_all(task: CutTask) -> tuple[Cuts | Rejection, ...]:
    """One entry per source, in order: its measured views, or why there are none."""
    return tuple(_cut(source, task) for source in task.sources)


def _cut(source: ViewSource, task: CutTask) -> Cuts | Rejection:
    cuts = cut_views(source, task.seed, task.views)
    if isinstance(cuts, Rejection):
        return cuts
    measured = measure(cuts.views, source.evidence)
    kept = measured if task.keep_pixels else tuple(replace(view, pixels=None) for view in measured)
    return replace(cuts, views=kept)
