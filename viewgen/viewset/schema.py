"""Define the tables of a view set, column by column: type, unit, meaning. docs/data-format.md is printed from here.
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

SCHEMA_VERSION = 3
"""Raised when a column changes its meaning, type or name. Version 3 added columns that may be absent, and no more."""
READ_VERSIONS = (2, 3)
"""Versions that a reader takes; it refuses any other."""

IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})
"""Image column as Hugging Face `datasets` decodes it: the encoded file, and a file name whose suffix is its format."""
BOX = pl.Struct({"x0": pl.Int32, "y0": pl.Int32, "x1": pl.Int32, "y1": pl.Int32})
PHRASE = pl.Struct({"text": pl.String, "start": pl.Int32, "end": pl.Int32, "rule": pl.String})
REGION = pl.Struct(
    {
        "phrase": pl.String,
        "box": BOX,
        "source": pl.String,
        "score": pl.Float64,
        "rank": pl.Int32,
        "agreement": pl.Float64,
        "retrieval_rank": pl.Int32,
        "num_instances": pl.Int32,
    }
)
MISSING = pl.Struct({"kind": pl.String, "reason": pl.String, "message": pl.String})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. `unit` is empty for plain values; a `nullable` column may be null in a row, or absent."""

    type: DataType
    meaning: str
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: its description, its key column and its columns in order."""

    meaning: str
    key: str
    columns: Mapping[str, Column]

    @property
    def polars(self) -> dict[str, DataType]:
        """Column name -> polars type."""
        return {name: column.type for name, column in self.columns.items()}


def _table(meaning: str, key: str, **columns: Column) -> Table:
    return Table(meaning=meaning, key=key, columns=MappingProxyType(columns))


_TEXT, _INT, _REAL = pl.String(), pl.Int32(), pl.Float64()

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "images": _table(
            "One row per distinct source image that a kept question is about, or that a view was made from.",
            "image_id",
            image_id=Column(type=_TEXT, meaning="First 16 hex digits of `sha256`."),
            image=Column(type=IMAGE, meaning="The source's own file, byte for byte."),
            width_px=Column(type=_INT, unit="px", meaning="Width once the EXIF orientation is applied."),
            height_px=Column(type=_INT, unit="px", meaning="Height once the EXIF orientation is applied."),
            sha256=Column(type=_TEXT, meaning="Of the file's bytes, in hex."),
            source_path=Column(
                type=_TEXT,
                meaning="Path of the file below the recipe's root; an address that was fetched; or bytes:SHA-NAME of a picture inside of a table.",
            ),
            orientation=Column(
                type=_INT,
                nullable=True,
                meaning="EXIF orientation of the file, 1 to 8, that decoding applied; 1 without one.",
            ),
        ),
        "questions": _table(
            "One row per question that was kept.",
            "question_id",
            question_id=Column(type=_TEXT, meaning="The source's own name for it; distinct in the view set."),
            image_id=Column(type=_TEXT, meaning="Row of `images`."),
            split=Column(type=_TEXT, meaning="train, selection, test, or a name of the source's own."),
            kind=Column(type=_TEXT, meaning="The source's type of question; empty without one."),
            question=Column(type=_TEXT, meaning="As the source words it."),
            answer=Column(
                type=_TEXT,
                nullable=True,
                meaning="The source's answer; null without one. For evaluation only: training never reads it.",
            ),
            options=Column(
                type=pl.List(_TEXT),
                nullable=True,
                meaning="The choices of a multiple-choice question, in order; empty without any.",
            ),
            source=Column(
                type=_TEXT, nullable=True, meaning="The data set that the question is from, as the source names it."
            ),
            box_basis=Column(
                type=_TEXT,
                nullable=True,
                meaning="Image that the source's own boxes refer to: stored (before the EXIF orientation) or upright; null without boxes. Boxes in this table are all upright.",
            ),
            phrases=Column(
                type=pl.List(PHRASE),
                meaning="Phrases of the question: question[start:end] (-1 where the source gave one that does not stand in it), and the rule that found them.",
            ),
            regions=Column(type=pl.List(REGION), meaning="Places proposed for each phrase, best first, by source."),
            evidence=Column(type=pl.List(BOX), unit="px", meaning="Boxes that show the answer, after growing."),
            missing_views=Column(
                type=pl.List(MISSING),
                meaning="Kinds of view that it lacks although the recipe names them, with reasons.",
            ),
            evidence_share=Column(type=_REAL, unit="0..1", meaning="Area of the evidence boxes over the image's."),
        ),
        "views": _table(
            "One row per view.",
            "view_id",
            view_id=Column(type=_TEXT, meaning="question_id, role, kind and number, joined by '/'."),
            question_id=Column(type=_TEXT, meaning="Row of `questions`."),
            image_id=Column(type=_TEXT, meaning="Row of `images` it was made from; another question's for `swapped`."),
            role=Column(type=_TEXT, meaning="positive: shows the evidence. negative: does not."),
            kind=Column(type=_TEXT, meaning="As the recipe names it: crop, off_region, masked, ..."),
            made_as=Column(
                type=_TEXT,
                meaning="As it was made: another kind where a fallback stands in for one that cannot be made.",
            ),
            fallback=Column(type=_TEXT, nullable=True, meaning="Reason for a fallback; null without one."),
            image=Column(
                type=IMAGE,
                nullable=True,
                meaning="The view, encoded without loss (PNG); null for kind `none`.",
            ),
            sha256=Column(
                type=_TEXT, nullable=True, meaning="Of the view's encoded bytes, in hex; null for kind `none`."
            ),
            width_px=Column(type=_INT, unit="px", meaning="Width of the view; 0 for `none`."),
            height_px=Column(type=_INT, unit="px", meaning="Height of the view; 0 for `none`."),
            box=Column(
                type=BOX,
                unit="px",
                nullable=True,
                meaning="Box of the cut in the image; null for a view that is not a plain cut.",
            ),
            seed=Column(
                type=pl.UInt64(), meaning="Of the view's own random stream, drawn from (build seed, question_id, kind)."
            ),
            params=Column(type=_TEXT, meaning="Every other setting that shaped the pixels, as JSON with sorted keys."),
            evidence_overlap=Column(
                type=_REAL,
                unit="0..1",
                meaning="Largest share of an evidence box that the view shows: of its area; where it is masked, of its edges; where it is degraded, of its fine detail; where it is shuffled, also of the edges of a region, at any place of the view.",
            ),
            evidence_iou=Column(type=_REAL, unit="0..1", meaning="Largest IoU of the view's box with an evidence box."),
            sharpness=Column(
                type=_REAL, unit="levels²", meaning="Variance of the Laplacian of its grey levels (0 to 255)."
            ),
            sharpness_ratio=Column(
                type=_REAL,
                meaning="Its `sharpness` over that of the positive view of the same evidence box; values below 1 count as 1.",
            ),
            contrast=Column(
                type=_INT,
                unit="levels",
                nullable=True,
                meaning="Span of the levels of its three channels (0 to 255), without the lowest and the highest hundredth; 0 for `none`.",
            ),
            same_size=Column(type=pl.Boolean(), meaning="As wide and as high as the positive view."),
            same_encoding=Column(
                type=pl.Boolean(), meaning="Encoded in the same format and quality as the positive view."
            ),
            hash_distance=Column(
                type=_INT,
                unit="bits",
                meaning="Bits, of 64, in which its perceptual hash differs from the positive's; 64 for `none`.",
            ),
            detector_score=Column(
                type=_REAL,
                nullable=True,
                meaning="Highest score of the question's phrases when the detector reads the view; null without a detector.",
            ),
            phrase_similarity=Column(
                type=_REAL,
                unit="nats",
                nullable=True,
                meaning="Logit of the view for the question's phrases under the OpenCLIP model; null without one.",
            ),
            similarity_margin=Column(
                type=_REAL,
                unit="nats",
                nullable=True,
                meaning="Minimum, over the phrases the positive was cut for, of the positive's logit less this one's.",
            ),
            flags=Column(
                type=pl.List(_TEXT),
                meaning="Faults found by the audit: leaks_evidence, sharpness_differs, ...",
            ),
        ),
        "rejects": _table(
            "One row per question that was not kept.",
            "question_id",
            question_id=Column(type=_TEXT, meaning="The source's own name for it."),
            image_path=Column(type=_TEXT, meaning="Below the recipe's root."),
            split=Column(type=_TEXT, meaning="As in `questions`."),
            kind=Column(type=_TEXT, meaning="As in `questions`."),
            question=Column(type=_TEXT, meaning="As the source words it."),
            stage=Column(
                type=_TEXT,
                meaning="Stage that rejected it: images, phrases, regions, evidence, views, audit, review.",
            ),
            reason=Column(type=_TEXT, meaning="A fixed word, for counting."),
            message=Column(type=_TEXT, meaning="A sentence with the numbers."),
        ),
    }
)
