"""Finished images with their questions -> rows of the tables. Pure.
Leaves out: what the columns mean (schema.py) and writing them (shards.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from viewgen.boxes import Box
from viewgen.records import Audit, Question, Region, Rejection, Sample
from viewgen.viewset.schema import TABLES

Row = dict[str, Any]
End = tuple[Question, Sample | Rejection]
"""A question and what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """An image of the source as it is stored."""

    image_id: str
    data: bytes
    """The file, byte for byte."""
    sha256: str
    width_px: int
    height_px: int
    source_path: str
    """Below the recipe's root; the first of several equal files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One source image and what became of its questions: in order."""

    image: SourceImage | None
    """None when it could not be opened."""
    ends: tuple[End, ...]

    @property
    def samples(self) -> list[Sample]:
        return [end for _, end in self.ends if isinstance(end, Sample)]

    @property
    def rejects(self) -> list[tuple[Question, Rejection]]:
        return [(question, end) for question, end in self.ends if isinstance(end, Rejection)]


def part_tables(finished: Sequence[Finished]) -> dict[str, pl.DataFrame]:
    """Table -> its rows, in the order of the images and of their questions. Images that no view was made from are left
    out; one that lost its own questions may still have given a view to another's."""
    shown = {view.image_id for done in finished for sample in done.samples for view in sample.views}
    shown |= {sample.image_id for done in finished for sample in done.samples}
    rows: dict[str, list[Row]] = {
        "images": [_image_row(done.image) for done in finished if done.image and done.image.image_id in shown],
        "questions": [_question_row(done.image, sample) for done in finished if done.image for sample in done.samples],
        "views": [row for done in finished for sample in done.samples for row in _view_rows(sample)],
        "rejects": [_reject_row(question, why) for done in finished for question, why in done.rejects],
    }
    return {name: pl.DataFrame(rows[name], schema=table.polars, orient="row") for name, table in TABLES.items()}


def _image_row(image: SourceImage) -> Row:
    return {
        "image_id": image.image_id,
        "image": {"bytes": image.data, "path": image.source_path},
        "width_px": image.width_px,
        "height_px": image.height_px,
        "sha256": image.sha256,
        "source_path": image.source_path,
    }


def _question_row(image: SourceImage, sample: Sample) -> Row:
    question = sample.question
    return {
        "question_id": question.question_id,
        "image_id": sample.image_id,
        "split": question.split,
        "kind": question.kind,
        "question": question.text,
        "answer": question.answer,
        "phrases": [
            {"text": phrase.text, "start": phrase.start, "end": phrase.end, "rule": phrase.rule}
            for phrase in sample.phrases
        ],
        "regions": [_region(region) for region in sample.regions],
        "evidence": [_box(box) for box in sample.evidence.boxes],
        "missing_views": [asdict(missing) for missing in sample.missing],
        "evidence_share": sum(box.area for box in sample.evidence.boxes) / (image.width_px * image.height_px),
    }


def _view_rows(sample: Sample) -> Iterator[Row]:
    numbers: dict[tuple[str, str], int] = {}
    for view in sample.views:
        number = numbers.get((view.role, view.kind), 0)
        numbers[view.role, view.kind] = number + 1
        view_id = f"{sample.question.question_id}/{view.role}/{view.kind}/{number}"
        yield {
            "view_id": view_id,
            "question_id": sample.question.question_id,
            "image_id": view.image_id,
            "role": view.role,
            "kind": view.kind,
            "made_as": view.made_as,
            "fallback": view.fallback or None,
            "image": None if view.image is None else {"bytes": view.image, "path": f"{view_id}.png"},
            "width_px": view.width_px,
            "height_px": view.height_px,
            "box": view.box and _box(view.box),
            "seed": view.seed,
            "params": json.dumps(dict(view.params), sort_keys=True),
            **_audit(view.audit),
        }


def _audit(audit: Audit | None) -> Row:
    assert audit is not None, "every view is measured before it is stored"
    return {**asdict(audit), "flags": list(audit.flags)}


def _reject_row(question: Question, why: Rejection) -> Row:
    return {
        "question_id": question.question_id,
        "image_path": question.image_path,
        "split": question.split,
        "kind": question.kind,
        "question": question.text,
        "stage": why.stage,
        "reason": why.reason,
        "message": why.message,
    }


def _region(region: Region) -> Row:
    return {
        "phrase": region.phrase,
        "box": _box(region.box),
        "source": region.source,
        "score": region.score,
        "rank": region.rank,
        "agreement": region.agreement,
        "retrieval_rank": region.retrieval_rank,
        "num_instances": region.num_instances,
    }


def _box(box: Box) -> Row:
    return {"x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1}
