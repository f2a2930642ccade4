"""Measure how much of the evidence a view shows, and in what else it differs from the positive view of its question: in
pixels, next to the cutting (measure), then by the models that searched for the evidence, which read every view (Auditor).
Leaves out: making views (views/), the pixel measures one by one (measures.py), thresholds (flags.py).

Boxes are x0, y0, x1, y1 in pixels of the upright RGB image, far edges outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from viewgen.audit.flags import AuditConfig, findings
from viewgen.audit.measures import (
    HASH_BITS,
    contrast,
    detail_kept,
    edges_kept,
    encoding,
    grey_levels,
    hash_distance,
    perceptual_hash,
    sharpness,
    shown_anywhere,
)
from viewgen.audit.readings import ImagePhrase, ImagePhrases, best_scores, image_name, phrase_logits
from viewgen.boxes import Box, clip_to, containment, iou
from viewgen.decode import decode_image
from viewgen.detectors import Detector
from viewgen.records import Audit, Evidence, QuestionRecord, Rejection, View
from viewgen.retrieval.retriever import Retriever
from viewgen.views.kinds import KINDS, Kind, cut_at

MIN_MOVED = 0.5
"""Least share of a region's edges at one place that counts as the region moved there."""
_OUTSIDE = Kind(name="outside", role="negative", make=cut_at, about="")
"""A kind from another version of viewgen: the area inside its box counts."""


def measure(views: Sequence[View], evidence: Evidence) -> tuple[View, ...]:
    """Return the views with their pixel measures; each is compared with the first positive view of its evidence box.

    Looks at View.pixels, where they are kept, else at the encoded picture. Expects one positive view at least."""
    looks = [_look(view) for view in views]
    originals = _originals(looks)
    pairs = zip(looks, partners_of(views), strict=True)
    return tuple(replace(look.view, audit=_audit(look, looks[other], evidence, originals)) for look, other in pairs)


def partners_of(views: Sequence[View]) -> list[int]:
    """For each view the number of the positive it is compared with: of its evidence box, else of any; a cut of the
    evidence, else whatever positive comes first."""
    positives = [n for n, view in enumerate(views) if view.role == "positive"]
    positives.sort(
        key=lambda n: not _kind(views[n]).shows_evidence_alone
    )  # stable: cuts first, each sort in the order given
    firsts: dict[object, int] = {}
    for n in positives:
        firsts.setdefault(views[n].params.get("evidence_box", 0), n)
    return [firsts.get(view.params.get("evidence_box", 0), positives[0]) for view in views]


def image_of(view: View) -> Image.Image | None:
    """Its pixels; None for a view that shows nothing at all."""
    if view.pixels is None and view.image is not None:
        return decode_image(view.image)
    return view.pixels


@dataclass(frozen=True, slots=True)
class _Look:
    """A view by itself; without grey levels when it shows nothing at all."""

    view: View
    place: Box
    grey: UInt8[np.ndarray, "H W"] | None
    sharpness: float = 0.0
    contrast: int = 0
    hash: int | None = None

    def part(self, box: Box) -> UInt8[np.ndarray, "h w"] | None:
        """Its grey levels in this box of the image, if it shows the box whole and at the image's own scale."""
        place = self.place
        if self.grey is None or self.grey.shape != (place.height, place.width) or containment(box, place) < 1:
            return None
        return self.grey[box.y0 - place.y0 : box.y1 - place.y0, box.x0 - place.x0 : box.x1 - place.x0]


def _look(view: View) -> _Look:
    shown = image_of(view)
    if shown is None:
        return _Look(view, _place(view), None)
    grey = grey_levels(shown)
    return _Look(view, _place(view), grey, sharpness(grey), contrast(shown), perceptual_hash(grey))


def _place(view: View) -> Box:
    """Return the box of the cut; a view without one is as large as the image."""
    return view.box or Box(0, 0, max(view.width_px, 1), max(view.height_px, 1))


def _kind(view: View) -> Kind:
    return KINDS.get(view.made_as, _OUTSIDE)


def _originals(looks: Sequence[_Look]) -> list[_Look]:
    return [look for look in looks if look.view.role == "positive" and _kind(look.view).is_plain]


def _audit(look: _Look, base: _Look, evidence: Evidence, originals: Sequence[_Look]) -> Audit:
    share = _share(look, evidence, originals)
    return Audit(
        evidence_overlap=share,
        evidence_iou=max(iou(box, look.place) for box in evidence.boxes) if share else 0.0,
        sharpness=look.sharpness,
        # Rounding to whole levels alone makes about 1.7 levels squared: below 1, two images are equally flat.
        sharpness_ratio=max(look.sharpness, 1.0) / max(base.sharpness, 1.0),
        contrast=look.contrast,
        same_size=(look.view.width_px, look.view.height_px) == (base.view.width_px, base.view.height_px),
        same_encoding=_encoding(look.view) == _encoding(base.view),
        hash_distance=HASH_BITS if look.hash is None or base.hash is None else hash_distance(look.hash, base.hash),
    )


def _encoding(view: View) -> tuple[str, bytes] | None:
    return encoding(view.image) if view.image else None


def evidence_overlap(view: View, evidence: Evidence, originals: Sequence[View] = ()) -> float:
    """Largest share of an evidence box that the view shows, 0 to 1: of its area; of its edges, where the view is masked;
    of its fine detail, where it is shuffled or degraded.

    `originals` are positives with plain pixels. Where none shows what was there, a mask is taken at its word, and detail
    as kept. A view of another image shows nothing."""
    return _share(_look(view), evidence, _originals([_look(own) for own in originals]))


def _share(look: _Look, evidence: Evidence, originals: Sequence[_Look]) -> float:
    shown = _kind(look.view).shown
    if shown == "nothing" or any(look.view.image_id != own.view.image_id for own in originals):
        return 0.0
    if shown == "edges":
        return max(_unmasked(look, box, originals) for box in evidence.boxes)
    share = max(containment(box, look.place) for box in evidence.boxes)
    before = _before(look.place, originals)
    if shown != "detail" or before is None or look.grey is None or before.shape != look.grey.shape:
        return share
    in_place = share * detail_kept(before, look.grey)
    return max(in_place, _moved(look, evidence, originals)) if _kind(look.view).moves_pixels else in_place


def _moved(look: _Look, evidence: Evidence, originals: Sequence[_Look]) -> float:
    """Return the largest share of a region's edges that the view shows at any place; 0 for less than half of them, which
    is a piece and not the thing."""
    assert look.grey is not None, "a view that shows nothing moves no pixels"
    regions = [clip_to(region.box, look.place) for region in evidence.regions]
    parts = [_before(box, originals) for box in dict.fromkeys(regions) if box]
    shown = max((shown_anywhere(part, look.grey) for part in parts if part is not None), default=0.0)
    return shown if shown >= MIN_MOVED else 0.0


def _unmasked(look: _Look, box: Box, originals: Sequence[_Look]) -> float:
    before, after = _before(box, originals), look.part(box)
    if before is None or after is None:
        return 0.0 if _kind(look.view).judged_by else 1.0  # a control shows the evidence on purpose
    return edges_kept(before, after)


def _before(box: Box, originals: Sequence[_Look]) -> UInt8[np.ndarray, "h w"] | None:
    """Return the grey levels of the image in this box, if a positive shows it whole."""
    parts = (own.part(box) for own in originals)
    return next((part for part in parts if part is not None), None)


@dataclass(frozen=True, slots=True)
class Auditor:
    """Reads measured views again with the models that searched for the evidence, and flags them.

    A detector without a model has nothing to read again: its boxes say where the evidence is, not what a cut shows."""

    config: AuditConfig
    retriever: Retriever | None = None
    detector: Detector | None = None

    def judge(self, records: Sequence[QuestionRecord]) -> list[QuestionRecord]:
        """Flag the views of each question, and reject it for the first flag of `reject` that one of them has.

        Expects views that were measured, with pixels or encoded. Equal images are read once per call."""
        faces = [_faces(record) for record in records] if self.reads_pixels else [()] * len(records)
        images = {face.asked: face.image for each in faces for face in each if face}
        scores = best_scores(self.detector, images) if self.detector and self._detects else {}
        logits = (
            phrase_logits(self.retriever, images, self.config.shift_px) if self.retriever and self._compares else {}
        )
        return [
            _judged(_read(record, each, scores, logits) if each else record, self.config)
            for record, each in zip(records, faces, strict=True)
        ]

    @property
    def reads_pixels(self) -> bool:
        """True when a model reads the views again, and not their measures alone."""
        return self._detects or self._compares

    @property
    def _detects(self) -> bool:
        return self.detector is not None and bool(self.detector.models) and self.config.use_detector

    @property
    def _compares(self) -> bool:
        return self.retriever is not None and self.config.use_similarity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Face:
    """The image of a view, and the phrases that models read it for."""

    image: Image.Image
    asked: ImagePhrases
    """Its name, with all phrases of the question."""


def _faces(record: QuestionRecord) -> tuple[_Face | None, ...]:
    shown = (image_of(view) for view in record.views)
    texts = record.phrase_texts
    return tuple(_Face(image=image, asked=(image_name(image), texts)) if image else None for image in shown)


def _read(
    record: QuestionRecord,
    faces: Sequence[_Face | None],
    scores: Mapping[ImagePhrases, float],
    logits: Mapping[ImagePhrase, float],
) -> QuestionRecord:
    """Return the record with the readings of the models in the audits of its views."""
    views = list(record.views)
    for n, partner in enumerate(partners_of(record.views)):
        face, other = faces[n], faces[partner]
        if face is None or other is None:
            continue
        wanted = _phrases_shown(record, record.views[partner])
        own, base = ([logits.get((each.asked[0], phrase)) for phrase in wanted] for each in (face, other))
        compared = [(mine, its) for mine, its in zip(own, base, strict=True) if mine is not None and its is not None]
        audit = replace(
            _audited(views[n]),
            detector_score=scores.get(face.asked),
            phrase_similarity=_rounded(fmean(mine for mine, _ in compared)) if compared else None,
            similarity_margin=_rounded(min(its - mine for mine, its in compared)) if compared else None,
        )
        views[n] = replace(views[n], audit=audit)
    return replace(record, views=tuple(views))


def _phrases_shown(record: QuestionRecord, positive: View) -> tuple[str, ...]:
    """Return the phrases whose regions the positive was cut around; all of them where that is not known."""
    place = _place(positive)
    near = [region.phrase for region in record.found_evidence.regions if containment(region.box, place) >= 0.5]
    return tuple(dict.fromkeys(near or record.phrase_texts))


def _judged(record: QuestionRecord, config: AuditConfig) -> QuestionRecord:
    found = [findings(_audited(view), view.role, view.made_as, config) for view in record.views]
    for flag in config.reject:
        for view, why in zip(record.views, found, strict=True):
            if flag in why:
                message = f"{view.role} {view.kind}: {why[flag]}"
                return replace(record, rejection=Rejection(stage="audit", reason=flag, message=message))
    flagged = [
        replace(view, audit=replace(_audited(view), flags=tuple(why)))
        for view, why in zip(record.views, found, strict=True)
    ]
    return replace(record, views=tuple(flagged))


def _audited(view: View) -> Audit:
    assert view.audit is not None, "views are measured before they are judged"
    return view.audit


def _rounded(nats: float) -> float:
    return round(nats, 4)  # further decimals differ between machines
