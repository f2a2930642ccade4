"""The records that travel down the build, one per thing: Question, Phrase, Region, Evidence, View, Rejection. Frozen, and
nothing else: no behaviour, no file access. Stages take records and hand on records, never parallel lists.
Leaves out: how they are stored (schema.py, shards.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from viewgen.boxes import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A box that the source already has, with the phrase it belongs to."""

    phrase: str
    box: Box
    score: float = 1.0
    """How surely it shows what is asked about, 0 to 1. Below the best of its phrase it is another thing of that name."""


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
    agreement: float | None = None
    """Largest IoU, 0 to 1, with a region that another source proposes for the phrase; None when one source was asked."""
    retrieval_rank: int | None = None
    """Rank among the image's tiles, for this phrase, of the best tile that shows the region; None without retrieval."""
    num_instances: int = 1
    """Distinct things, of those the source was asked for, that it believes to be the phrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where the answer can be seen: the boxes after growing, and the regions they were made from."""

    boxes: tuple[Box, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a view shows of the evidence, and in what else it differs from the positive view of its question."""

    evidence_overlap: float
    """Largest share of an evidence box that the view shows, 0 to 1."""
    evidence_iou: float
    """Largest IoU of the view's box with an evidence box, 0 to 1."""
    sharpness: float
    """Variance of the Laplacian of its grey levels (0 to 255), in levels squared."""
    sharpness_ratio: float
    """Over the positive's; 1 for the positive itself."""
    same_size: bool
    """As many pixels, in width and in height, as the positive."""
    same_encoding: bool
    """Encoded in the same format and quality as the positive."""
    hash_distance: int
    """Bits, of 64, in which its perceptual hash differs from the positive's."""
    detector_score: float | None = None
    """Highest score of a phrase of the question when the detector reads this view; None without a detector."""
    phrase_similarity: float | None = None
    """Logit of the view for the question's phrases under the CLIP model, in nats; None without one."""
    similarity_margin: float | None = None
    """The positive's phrase_similarity less this one's, in nats."""
    flags: tuple[str, ...] = ()
    """What is wrong with it, as fixed words: leaks_evidence, sharpness_differs, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture to put beside the full image, as encoded bytes: what is stored is what was made."""

    role: str
    """positive or negative."""
    kind: str
    """As the recipe asks for it."""
    made_as: str
    """As it was made: another kind where a fallback stands in for one that cannot be made."""
    fallback: str = ""
    """Why a fallback stands in; empty when none does."""
    image_id: str = ""
    """The image that its pixels come from: that of the question, or of another one."""
    box: Box | None
    """Where in that image it was cut; None when it is not a plain cut."""
    image: bytes | None
    """Encoded; None for a view that shows nothing at all."""
    width_px: int
    height_px: int
    seed: int
    params: Mapping[str, float | int | str] = field(default_factory=dict)
    """Every setting that shaped the pixels, beside box and seed."""
    pixels: Image.Image | None = field(default=None, compare=False, repr=False)
    """The picture before it was encoded, for as long as the build needs it."""
    audit: Audit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A kind of view that a kept question lacks, and why."""

    kind: str
    reason: str
    """A fixed word, for counting."""
    message: str
    """A sentence with the numbers, for reading."""


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
    missing: tuple[Missing, ...] = ()
