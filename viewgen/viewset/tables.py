"""Turn finished images with their questions into rows of the tables. Pure.
Leaves out: the meaning of columns (schema.py), writing files (shards.py)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from viewgen.boxes import Box
from viewgen.records import Audit, ImageRecord, QuestionRecord, Region
from viewgen.viewset.schema import TABLES

TableRow = dict[str, Any]


def part_tables(images: Sequence[ImageRecord]) -> dict[str, pl.DataFrame]:
    """Make the rows of each table, in the order of the images and of their questions.

    Images that no view was made from are left out; one that lost its own questions may still have given a view to
    another's."""
    shown = {view.image_id for image in images for record in image.kept for view in record.views}
    shown |= {image.image_id for image in images if image.kept}
    rows: dict[str, list[TableRow]] = {
        "images": [_image_row(image) for image in images if image.is_opened and image.image_id in shown],
        "questions": [_question_row(image, record) for image in images for record in image.kept],
        "views": [row for image in images for record in image.kept for row in _view_rows(record)],
        "rejects": [_reject_row(record) for image in images for record in image.questions if record.rejection],
    }
    return {name: pl.DataFrame(rows[name], schema=table.polars, orient="row") for name, table in TABLES.items()}


def _image_row(image: ImageRecord) -> TableRow:
    return {
        "image_id": image.image_id,
        "image": {"bytes": image.data, "path": image.source_path},
        "width_px": image.width_px,
        "height_px": image.height_px,
        "sha256": image.key,
        "source_path": image.source_path,
        "orientation": image.orientation,
    }


def _question_row(image: ImageRecord, record: QuestionRecord) -> TableRow:
    question, boxes = record.question, record.found_evidence.boxes
    return {
        "question_id": question.question_id,
        "image_id": image.image_id,
        "split": question.split,
        "kind": question.kind,
        "question": question.text,
        "answer": question.answer,
        "options": list(question.options),
        "source": question.source,
        "box_basis": question.box_basis if question.annotations else None,
        "phrases": [
            {"text": phrase.text, "start": phrase.start, "end": phrase.end, "rule": phrase.rule}
            for phrase in record.phrases
        ],
        "regions": [_region(region) for region in record.regions],
        "evidence": [_box(box) for box in boxes],
        "missing_views": [asdict(missing) for missing in record.missing],
        "evidence_share": sum(box.area for box in boxes) / (image.width_px * image.height_px),
    }


def _view_rows(record: QuestionRecord) -> Iterator[TableRow]:
    numbers: dict[tuple[str, str], int] = {}
    for view in record.views:
        number = numbers.get((view.role, view.kind), 0)
        numbers[view.role, view.kind] = number + 1
        view_id = f"{record.question_id}/{view.role}/{view.kind}/{number}"
        yield {
            "view_id": view_id,
            "question_id": record.question_id,
            "image_id": view.image_id,
            "role": view.role,
            "kind": view.kind,
            "made_as": view.made_as,
            "fallback": view.fallback or None,
            "image": None if view.image is None else {"bytes": view.image, "path": f"{view_id}.png"},
            "sha256": None if view.image is None else hashlib.sha256(view.image).hexdigest(),
            "width_px": view.width_px,
            "height_px": view.height_px,
            "box": view.box and _box(view.box),
            "seed": view.seed,
            "params": json.dumps(dict(view.params), sort_keys=True),
            **_audit(view.audit),
        }


def _audit(audit: Audit | None) -> TableRow:
    assert audit is not None, "every view is measured before it is stored"
    return {**asdict(audit), "flags": list(audit.flags)}


def _reject_row(record: QuestionRecord) -> TableRow:
    question, why = record.question, record.rejection
    assert why is not None, "a kept question is no reject"
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


def _region(region: Region) -> TableRow:
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


def _box(box: Box) -> TableRow:
    return {"x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1}
