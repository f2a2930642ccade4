"""What a view shows of the evidence, and in what else it differs from the positive view of its question.
Leaves out: making views (views.py).

Boxes are x0, y0, x1, y1 in pixels of the upright RGB image, far edges outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from viewgen.boxes import containment, iou
from viewgen.records import Audit, Evidence, View


def measure(views: Sequence[View], evidence: Evidence) -> tuple[View, ...]:
    """The views with their pixel measures; each negative is compared with the first positive."""
    first = next(view for view in views if view.role == "positive")
    base = max(_sharpness(first.pixels), 1e-9)
    return tuple(replace(view, audit=_audit(view, first, base, evidence)) for view in views)


def _audit(view: View, first: View, base: float, evidence: Evidence) -> Audit:
    sharpness = _sharpness(view.pixels)
    return Audit(
        evidence_overlap=evidence_overlap(view, evidence),
        evidence_iou=max((iou(box, view.box) for box in evidence.boxes), default=0.0) if view.box else 0.0,
        sharpness=sharpness,
        sharpness_ratio=sharpness / base,
        same_size=(view.width_px, view.height_px) == (first.width_px, first.height_px),
        same_encoding=True,
        hash_distance=int((_hash(view.pixels) != _hash(first.pixels)).sum()),
    )


def evidence_overlap(view: View, evidence: Evidence) -> float:
    """Largest share of an evidence box inside the view's box, 0 to 1. Masked evidence counts as not shown."""
    if view.box is None:
        return 0.0 if view.kind == "masked" else 1.0
    return max(containment(box, view.box) for box in evidence.boxes)


def _grey(image: Image.Image | None) -> Float[np.ndarray, "H W"]:
    return np.asarray(image.convert("L"), dtype=np.float64) if image is not None else np.zeros((3, 3))


def _sharpness(image: Image.Image | None) -> float:
    grey = np.pad(_grey(image), 1, mode="edge")
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def _hash(image: Image.Image | None) -> Bool[np.ndarray, "8 8"]:
    small = np.asarray((image or Image.new("L", (9, 8))).convert("L").resize((9, 8)), dtype=np.int16)
    return small[:, 1:] > small[:, :-1]
