"""Read a view set as rows to hand on: a question, its full image, and its views, upright RGB pictures all of them.
Leaves out: the forms of consumers (consumers.py and others), writing files (run.py).

Several loaders open bytes without looking at their EXIF orientation, so that a turned image would lie sideways beside an
upright crop: here it is turned."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from viewgen.boxes import Box
from viewgen.decode import decode_oriented, encode_png
from viewgen.errors import ShardError, ViewgenError
from viewgen.source.columns import DRAWN, MARKER
from viewgen.viewset.database import connect, matching
from viewgen.viewset.shards import StoredSample, ViewSet

PLAIN = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
"""Formats that every loader opens -> ends of file names."""
AT_ONCE = 64
"""Questions whose pictures are in memory together."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An upright RGB picture, encoded."""

    data: bytes
    end: str
    """End of a file name: jpg, png, webp."""
    width_px: int
    height_px: int

    def as_struct(self, name: str = "") -> dict[str, object]:
        """Return it as Hugging Face's loaders have it."""
        return {"bytes": self.data, "path": f"{name}.{self.end}" if name else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRow:
    """A question with all that a consumer may want of it."""

    index: int
    """Number of the question among those that are handed on."""
    question_id: str
    image_id: str
    question: str
    answer: str | None
    kind: str
    split: str
    source: str
    options: tuple[str, ...]
    phrases: tuple[str, ...]
    boxes: tuple[tuple[str, Box], ...]
    """Phrase and box of each region that the evidence was made from; pixels of the upright image."""
    evidence: tuple[Box, ...]
    image: Picture
    positives: tuple[Picture, ...] = ()
    negatives: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Questions and views to hand on."""

    split: str = "train"
    positive: str = "crop"
    negative: str = "off_region"
    where: str = ""
    needs_positive: bool = True
    needs_negative: bool = True


@dataclass(slots=True)
class Lost:
    """Questions that are not handed on, by reason."""

    reasons: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, question_id: str) -> None:
        self.reasons.setdefault(reason, []).append(question_id)

    @property
    def num(self) -> int:
        return sum(map(len, self.reasons.values()))


def export_rows(views: ViewSet, choice: Choice, lost: Lost) -> Iterator[ExportRow]:
    """Yield the questions of a choice with their pictures, in order of the files; note in `lost` those that lack one.

    Raises ShardError for a split or a kind of view that is not there."""
    kinds = [
        *([choice.positive] if choice.needs_positive else []),
        *([choice.negative] if choice.needs_negative else []),
    ]
    samples = views.samples(choice.split, kinds, answers=True)
    if choice.where:
        ids = matching(views, choice.where)
        samples = [sample for sample in samples if sample.question_id in ids]
        if not samples:
            raise ShardError(
                f"{views.path}: no question of split {choice.split!r} fulfils {choice.where!r}. Change it."
            )
    found = _grounding(views, choice.split)
    index = 0
    for start in range(0, len(samples), AT_ONCE):
        some = samples[start : start + AT_ONCE]
        pictures = _pictures(views, some, kinds)
        for sample in some:
            row = _row(sample, choice, pictures, found, index)
            if isinstance(row, str):
                lost.add(row, sample.question_id)
            else:
                yield row
                index += 1


def _row(
    sample: StoredSample,
    choice: Choice,
    pictures: Mapping[str, Picture],
    found: Mapping[str, tuple[tuple[str, ...], tuple[tuple[str, Box], ...]]],
    index: int,
) -> ExportRow | str:
    """Return the row of a sample, or the reason why there is none."""
    if marker := re.search(MARKER, sample.question):
        return f"its question holds {marker[0]!r}, which loaders take for a picture"
    if DRAWN.search(sample.question):
        return "its question speaks of a box that is drawn into the image"
    if sample.image_id not in pictures:
        return "its image cannot be decoded"
    shown: dict[str, tuple[Picture, ...]] = {}
    for kind, is_needed in ((choice.positive, choice.needs_positive), (choice.negative, choice.needs_negative)):
        ids = sample.views.get(kind, ()) if is_needed else ()
        if is_needed and not ids:
            return f"it has no view of kind {kind!r}"
        if any(name not in pictures for name in ids):
            return f"a view of kind {kind!r} cannot be decoded"
        shown[kind] = tuple(pictures[name] for name in ids)
    phrases, boxes = found.get(sample.question_id, ((), ()))
    return ExportRow(
        index=index,
        question_id=sample.question_id,
        image_id=sample.image_id,
        question=sample.question,
        answer=sample.answer,
        kind=sample.kind,
        split=sample.split,
        source=sample.source,
        options=sample.options,
        phrases=phrases,
        boxes=boxes,
        evidence=sample.evidence,
        image=pictures[sample.image_id],
        positives=shown.get(choice.positive, ()) if choice.needs_positive else (),
        negatives=shown.get(choice.negative, ()) if choice.needs_negative else (),
    )


def _pictures(views: ViewSet, samples: Sequence[StoredSample], kinds: Sequence[str]) -> dict[str, Picture]:
    """Return the pictures of some samples, by id; those that cannot be decoded are left out."""
    ids = [name for sample in samples for kind in kinds for name in sample.views.get(kind, ())]
    found: dict[str, Picture] = {}
    for read, names in ((views.image_bytes, [sample.image_id for sample in samples]), (views.view_bytes, ids)):
        for name, data in read(names).items():
            try:
                found[name] = upright(data)
            except ViewgenError:
                continue
    return found


def upright(data: bytes) -> Picture:
    """Return a picture upright, in RGB, in a format that every loader opens: as it is where it is that already.

    Raises UnusableImageError."""
    image, orientation = decode_oriented(data)
    with Image.open(io.BytesIO(data)) as opened:
        end, mode = PLAIN.get(str(opened.format)), opened.mode
    if end is None or mode != "RGB" or orientation != 1:
        data, end = encode_png(image), "png"
    return Picture(data, end, image.width, image.height)


def _grounding(views: ViewSet, split: str) -> dict[str, tuple[tuple[str, ...], tuple[tuple[str, Box], ...]]]:
    """Return, by question_id, the texts of its phrases, and its best region for each of them."""
    best = "list_filter(regions, lambda r: r.rank = 0)"
    edges = "[r.box.x0, r.box.y0, r.box.x1, r.box.y1]"
    query = f"""
        SELECT question_id, list_transform(phrases, lambda p: p.text), list_transform({best}, lambda r: r.phrase),
               list_transform({best}, lambda r: {edges})
        FROM questions WHERE split = ?
    """
    found = {}
    with connect(views) as connection:
        for question_id, phrases, names, boxes in connection.execute(query, [split]).fetchall():
            regions: dict[str, Box] = {}
            for phrase, box in zip(names, boxes, strict=True):
                regions.setdefault(phrase, Box(*box))
            found[str(question_id)] = (tuple(phrases), tuple(regions.items()))
    return found
