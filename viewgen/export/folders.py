"""The forms that are folders or archives of files: Hugging Face's datasets, JSON Lines of boxes, COCO, WebDataset.
Leaves out: forms that are tables (consumers.py), reading rows (rows.py)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl

from viewgen.boxes import Box
from viewgen.detectors.annotated import bare
from viewgen.export.consumers import IMAGE, IMAGES, TEXT, Record
from viewgen.export.rows import ExportRow

HF_TYPES: Mapping[str, object] = {
    "question_id": TEXT,
    "question": TEXT,
    "answer": TEXT,
    "options": pl.List(TEXT),
    "kind": TEXT,
    "source": TEXT,
    "image": IMAGE,
    "positive": IMAGES,
    "negative": IMAGES,
}
"""Columns of a folder for Hugging Face's datasets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileForm:
    """A form that is written file by file."""

    name: str
    about: str
    write: Callable[[Iterable[ExportRow], Path], int]
    """Function of the rows and the place of the folder or archive; returns how many rows it wrote."""
    is_archive: bool = False
    needs_positive: bool = False
    needs_negative: bool = False


def hf_record(row: ExportRow) -> Record:
    """Return a row for Hugging Face's datasets, pictures in columns that it decodes."""
    return {
        "question_id": row.question_id,
        "question": row.question,
        "answer": row.answer,
        "options": list(row.options),
        "kind": row.kind,
        "source": row.source,
        "image": row.image.as_struct(),
        "positive": [picture.as_struct() for picture in row.positives],
        "negative": [picture.as_struct() for picture in row.negatives],
    }


def write_boxes(rows: Iterable[ExportRow], folder: Path) -> int:
    """Write boxes.jsonl and the images: one line per question, boxes in pixels and in 0 to 1000."""
    num, saved = 0, set[str]()
    with (folder / "boxes.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            num += 1
            image = _save(row, folder / "images", saved)
            size = row.image.width_px, row.image.height_px
            boxes = [
                {"phrase": phrase, "box_px": list(box.as_tuple()), "box_1000": in_thousands(box, *size)}
                for phrase, box in row.boxes
            ]
            evidence = [list(box.as_tuple()) for box in row.evidence]
            line = {
                "question_id": row.question_id,
                "image": f"images/{image}",
                "width_px": size[0],
                "height_px": size[1],
                "question": row.question,
                "answer": row.answer,
                "phrases": list(row.phrases),
                "boxes": boxes,
                "evidence_px": evidence,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return num


def in_thousands(box: Box, width_px: int, height_px: int) -> list[int]:
    """Return a box in parts of a thousand of its image, rounded, as Qwen's and others' grounding has it.

    in_thousands(Box(10, 20, 30, 40), 100, 200)    # [100, 100, 300, 200]
    """
    x0, y0, x1, y1 = box.as_tuple()
    return [
        round(1000 * edge / side) for edge, side in ((x0, width_px), (y0, height_px), (x1, width_px), (y1, height_px))
    ]


def write_coco(rows: Iterable[ExportRow], folder: Path) -> int:
    """Write labels.json in COCO's form and the images in data/, as FiftyOne and detectors read them. A category is a
    phrase without its article; a box that several questions share is one annotation."""
    images: dict[str, Record] = {}
    categories: dict[str, int] = {}
    boxes: dict[tuple[int, int, Box], None] = {}
    num, saved = 0, set[str]()
    for row in rows:
        num += 1
        name = _save(row, folder / "data", saved)
        image = {"file_name": name, "width": row.image.width_px, "height": row.image.height_px}
        number = images.setdefault(name, {"id": len(images) + 1, **image})["id"]
        for phrase, box in row.boxes:
            boxes[number, categories.setdefault(bare(phrase), len(categories) + 1), box] = None
    annotations = [
        {
            "id": number,
            "image_id": image_id,
            "category_id": category,
            "bbox": [box.x0, box.y0, box.width, box.height],
            "area": box.area,
            "iscrowd": 0,
        }
        for number, (image_id, category, box) in enumerate(boxes, 1)
    ]
    named = [{"id": number, "name": phrase} for phrase, number in categories.items()]
    whole = {"images": [*images.values()], "annotations": annotations, "categories": named}
    (folder / "labels.json").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    return num


def write_webdataset(rows: Iterable[ExportRow], archive: Path) -> int:
    """Write a tar in WebDataset's form: KEY.json, KEY.image.EXT, KEY.positive0.EXT, ... Equal rows give equal bytes."""
    num = 0
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            key, num = f"{row.index:08d}", num + 1
            facts = {
                "question_id": row.question_id,
                "question": row.question,
                "answer": row.answer,
                "options": list(row.options),
                "kind": row.kind,
                "split": row.split,
                "source": row.source,
                "evidence_px": [list(box.as_tuple()) for box in row.evidence],
            }
            _add(tar, f"{key}.json", json.dumps(facts, ensure_ascii=False).encode())
            _add(tar, f"{key}.image.{row.image.end}", row.image.data)
            for role, pictures in (("positive", row.positives), ("negative", row.negatives)):
                for number, picture in enumerate(pictures):
                    _add(tar, f"{key}.{role}{number}.{picture.end}", picture.data)
    return num


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # without time and owner
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _save(row: ExportRow, folder: Path, saved: set[str]) -> str:
    """Save the image of a row, once, and return its name."""
    name = f"{row.image_id}.{row.image.end}"
    if name not in saved:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(row.image.data)
        saved.add(name)
    return name


_FILES = (
    FileForm(
        name="boxes",
        about="JSON Lines of boxes, in pixels and in 0 to 1000, with the images.",
        write=write_boxes,
    ),
    FileForm(
        name="coco",
        about="COCO's boxes for detectors and FiftyOne: labels.json and data/.",
        write=write_coco,
    ),
    FileForm(
        name="webdataset",
        about="A tar for webdataset: KEY.json, KEY.image.EXT, KEY.positive0.EXT, KEY.negative0.EXT.",
        write=write_webdataset,
        is_archive=True,
        needs_positive=True,
        needs_negative=True,
    ),
)
FILE_FORMS: Mapping[str, FileForm] = MappingProxyType({form.name: form for form in _FILES})
"""Forms that are written file by file, by name."""
