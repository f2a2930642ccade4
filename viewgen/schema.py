"""The tables of a view set, column by column: type, unit, meaning. docs/data-format.md is printed from here.
Leaves out: reading and writing (shards.py). Imports neither torch nor a model library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    DataType = pl.DataType
else:
    DataType = object
    """beartype, which checks annotations while tests run, refuses a class whose metaclass has its own repr."""

SCHEMA_VERSION = 1
"""Goes up when a column changes its meaning, type or name; a reader refuses any other version."""

IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})
"""Hugging Face `datasets` decodes this as an image: the encoded file, and a file name that tells its format."""
BOX = pl.Struct({"x0": pl.Int32, "y0": pl.Int32, "x1": pl.Int32, "y1": pl.Int32})
PHRASE = pl.Struct({"text": pl.String, "start": pl.Int32, "end": pl.Int32, "rule": pl.String})
REGION = pl.Struct({"phrase": pl.String, "box": BOX, "source": pl.String, "score": pl.Float64, "rank": pl.Int32})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: `unit` is empty where there is none; `nullable` says whether a row may lack it."""

    type: DataType
    meaning: str
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: its sentence, its key column and its columns in order."""

    meaning: str
    key: str
    columns: Mapping[str, Column]

    @property
    def polars(self) -> dict[str, DataType]:
        return {name: column.type for name, column in self.columns.items()}


def _table(meaning: str, key: str, **columns: Column) -> Table:
    return Table(meaning=meaning, key=key, columns=MappingProxyType(columns))


_TEXT, _INT, _REAL = pl.String(), pl.Int32(), pl.Float64()

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "images": _table(
            "One row per distinct source image of at least one kept question.",
            "image_id",
            image_id=Column(type=_TEXT, meaning="First 16 hex digits of `sha256`."),
            image=Column(type=IMAGE, meaning="The source's own file, byte for byte."),
            width_px=Column(type=_INT, unit="px", meaning="Width once the EXIF orientation is applied."),
            height_px=Column(type=_INT, unit="px", meaning="Height once the EXIF orientation is applied."),
            sha256=Column(type=_TEXT, meaning="Of the file's bytes, in hex."),
            source_path=Column(type=_TEXT, meaning="Where the file lay, below the recipe's root."),
        ),
        "questions": _table(
            "One row per question that was kept.",
            "question_id",
            question_id=Column(type=_TEXT, meaning="The source's own name for it; distinct in the view set."),
            image_id=Column(type=_TEXT, meaning="Row of `images`."),
            split=Column(type=_TEXT, meaning="train, selection, test, or what the source calls it."),
            kind=Column(type=_TEXT, meaning="The source's sort of question; empty where it has none."),
            question=Column(type=_TEXT, meaning="As the source words it."),
            answer=Column(type=_TEXT, nullable=True, meaning="Where the source has one. Evaluation only: training never reads it."),
            phrases=Column(type=pl.List(PHRASE), meaning="Words looked for: question[start:end], and the rule that found them."),
            regions=Column(type=pl.List(REGION), meaning="Places proposed for each phrase, best first, by source."),
            evidence=Column(type=pl.List(BOX), unit="px", meaning="Where the answer can be seen, after growing."),
            evidence_share=Column(type=_REAL, unit="0..1", meaning="Area of the evidence boxes over the image's."),
        ),
        "views": _table(
            "One row per view.",
            "view_id",
            view_id=Column(type=_TEXT, meaning="question_id, role, kind and number, joined by '/'."),
            question_id=Column(type=_TEXT, meaning="Row of `questions`."),
            image_id=Column(type=_TEXT, meaning="Row of `images` it was made from."),
            role=Column(type=_TEXT, meaning="positive: shows the evidence. negative: does not."),
            kind=Column(type=_TEXT, meaning="How it was made: crop, off_region, masked, ..."),
            image=Column(type=IMAGE, meaning="The view, encoded without loss (PNG)."),
            width_px=Column(type=_INT, unit="px", meaning="Width of the view."),
            height_px=Column(type=_INT, unit="px", meaning="Height of the view."),
            box=Column(type=BOX, unit="px", nullable=True, meaning="Where in the image it was cut; null when it is the whole image."),
            evidence_overlap=Column(type=_REAL, unit="0..1", meaning="Largest share of an evidence box that the view's box shows; masks count as not shown."),
            seed=Column(type=pl.UInt64(), meaning="Of the view's own random stream, drawn from (build seed, question_id, kind)."),
            params=Column(type=_TEXT, meaning="Every other setting that shaped the pixels, as JSON with sorted keys."),
        ),
        "rejects": _table(
            "One row per question that was not kept.",
            "question_id",
            question_id=Column(type=_TEXT, meaning="The source's own name for it."),
            image_path=Column(type=_TEXT, meaning="Below the recipe's root."),
            split=Column(type=_TEXT, meaning="As in `questions`."),
            kind=Column(type=_TEXT, meaning="As in `questions`."),
            question=Column(type=_TEXT, meaning="As the source words it."),
            stage=Column(type=_TEXT, meaning="The stage that gave it up: images, phrases, regions, evidence, views."),
            reason=Column(type=_TEXT, meaning="A fixed word, for counting."),
            message=Column(type=_TEXT, meaning="A sentence with the numbers."),
        ),
    }
)
