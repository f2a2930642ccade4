"""The records that travel down the build, one per thing: Question, Phrase, Region, Evidence, View, Rejection. Frozen, and
nothing else: no behaviour, no file access. Stages take records and hand on records, never parallel lists.
Leaves out: how they are stored (schema.py, shards.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from viewgen.boxes import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A box that the source already has, with the phrase it belongs to."""

    phrase: str
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question about one image, as the source gives it. The answer is carried for evaluation and for nothing else."""

    question_id: str
    image_path: str
    """Path below the recipe's root."""
    text: str
    answer: str | None = None
    kind: str = ""
    """The source's own sort of question (attribute, relation, ...), for tables and reports."""
    split: str = "train"
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Words of the question that name something worth looking for; text == question.text[start:end]."""

    text: str
    start: int
    end: int
    rule: str
    """The rule that found it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A place in the image that may show a phrase."""

    phrase: str
    box: Box
    source: str
    """Who proposed it: annotated, retrieval, or the detector's name."""
    score: float
    """Higher is likelier, comparable only within one source."""
    rank: int
    """0 for the best region of its phrase and source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where the answer can be seen: the boxes after growing, and the regions they were made from."""

    boxes: tuple[Box, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture to put beside the full image, as encoded bytes: what is stored is what was made."""

    role: str
    """positive or negative."""
    kind: str
    box: Box | None
    """Where in the image it was cut; None when it is not a plain cut."""
    image: bytes
    width_px: int
    height_px: int
    seed: int
    params: Mapping[str, float | int | str] = field(default_factory=dict)
    """Every setting that shaped the pixels, beside box and seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a question, or one kind of view of it, was not kept."""

    stage: str
    reason: str
    """A fixed word, for counting."""
    message: str
    """A sentence with the numbers, for reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A finished question: all that the tables hold of it."""

    question: Question
    image_id: str
    phrases: tuple[Phrase, ...]
    regions: tuple[Region, ...]
    evidence: Evidence
    views: tuple[View, ...]
