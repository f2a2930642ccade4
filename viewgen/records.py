"""Records that travel down the build: an ImageRecord holds a QuestionRecord for each of its questions, and that the
phrases, regions, evidence and views found so far, or the rejection. Frozen; stages take records and hand on records,
never parallel lists.
Leaves out: how records are stored (viewset/schema.py, viewset/tables.py).

Boxes are x0, y0, x1, y1 in pixels of the upright RGB image, far edges outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from PIL import Image

from viewgen.boxes import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A box that the source already has, with the phrase it belongs to."""

    phrase: str
    box: Box
    score: float = 1.0
    """Confidence, 0 to 1. Boxes scored below the best of their phrase are other instances of the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBox:
    """A box as the source gives it, before the size of its image is known."""

    phrase: str
    corners: tuple[float, float, float, float]
    """x0, y0, x1, y1, in units."""
    units: str = "unstated"
    """pixels, unstated (taken for pixels), 0..1, or 0..1000."""
    score: float = 1.0
    """Confidence, 0 to 1."""


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
    source_boxes: tuple[SourceBox, ...] = ()
    """Boxes that become annotations when the image is opened: until then they are not pixels of it."""
    options: tuple[str, ...] = ()
    """Choices of a multiple-choice question, in order."""
    source: str = ""
    """Data set that it is from, as the source names it."""
    phrases: tuple[str, ...] | None = None
    """Phrases as the source gives them, each a part of the text; None: they are found by the recipe's method."""
    box_basis: str = "upright"
    """Image that the annotations refer to: stored (before the EXIF orientation) or upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Words that name something worth looking for. text == question.text[start:end]; a phrase that the source gives need
    not stand in the question, and start and end are -1 then."""

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
    """Name of its source: annotated, retrieval, or the detector's name."""
    score: float
    """Higher is likelier, comparable only within one source."""
    rank: int
    """0 for the best region of its phrase and source."""
    agreement: float | None = None
    """Largest IoU, 0 to 1, with a region that another source proposes for the phrase; None when one source was asked."""
    retrieval_rank: int | None = None
    """Rank among the image's tiles, for this phrase, of the best tile that shows the region; None without retrieval."""
    num_instances: int = 1
    """Distinct objects that the source proposes for the phrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Place of the answer in the image: the boxes after growing, and the regions they were made from."""

    boxes: tuple[Box, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Measures of a view: the evidence it shows, and its other differences from the positive view of its question."""

    evidence_overlap: float
    """Largest share of an evidence box that the view shows, 0 to 1."""
    evidence_iou: float
    """Largest IoU of the view's box with an evidence box, 0 to 1."""
    sharpness: float
    """Variance of the Laplacian of its grey levels (0 to 255), in levels squared."""
    sharpness_ratio: float
    """Over the positive's; 1 for the positive itself."""
    contrast: int
    """Span of the levels of its three channels, without the lowest and the highest hundredth, 0 to 255."""
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
    """Faults of the view, as fixed words: leaks_evidence, sharpness_differs, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One image to put beside the full image, as encoded bytes."""

    role: str
    """positive or negative."""
    kind: str
    """As the recipe asks for it."""
    made_as: str
    """As it was made: another kind where a fallback stands in for one that cannot be made."""
    fallback: str = ""
    """Reason for a fallback; empty without one."""
    image_id: str = ""
    """The image that its pixels come from: that of the question, or of another one."""
    box: Box | None
    """Box of the cut in that image; None when it is not a plain cut."""
    image: bytes | None
    """Encoded; None for a view that shows nothing at all."""
    width_px: int
    height_px: int
    seed: int
    params: Mapping[str, float | int | str] = field(default_factory=dict)
    """Every setting that shaped the pixels, besides box and seed."""
    pixels: Image.Image | None = field(default=None, compare=False, repr=False)
    """The image before it was encoded, for as long as the build needs it."""
    audit: Audit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A kind of view that a kept question lacks, with the reason."""

    kind: str
    reason: str
    """A fixed word, for counting."""
    message: str
    """A sentence with the numbers, for reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Reason to leave out a question, or one kind of view of it."""

    stage: str
    reason: str
    """A fixed word, for counting."""
    message: str
    """A sentence with the numbers, for reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Donor:
    """Another question, whose positive crop can stand in for a question's own."""

    question_id: str
    image_id: str
    image: Image.Image
    """RGB, upright."""
    box: Box
    """First evidence box of that question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRecord:
    """A question with all that the build has found for it so far, or its rejection."""

    question: Question
    rejection: Rejection | None = None
    """Reason to leave the question out; None while it is in."""
    image_id: str = ""
    """Image of the question, once that was opened."""
    phrases: tuple[Phrase, ...] = ()
    regions: tuple[Region, ...] = ()
    evidence: Evidence | None = None
    hard_tile: Box | None = None
    """Tile off the evidence that is most similar to the phrases; None without retrieval."""
    donor: Donor | None = None
    views: tuple[View, ...] = ()
    """Positives first."""
    missing: tuple[Missing, ...] = ()

    @property
    def question_id(self) -> str:
        return self.question.question_id

    @property
    def phrase_texts(self) -> tuple[str, ...]:
        """Distinct texts of the phrases, in order."""
        return tuple(dict.fromkeys(phrase.text for phrase in self.phrases))

    @property
    def found_evidence(self) -> Evidence:
        """The evidence of a question that has come so far."""
        assert self.evidence is not None, "evidence is chosen before views are cut"
        return self.evidence


@runtime_checkable
class Tiles(Protocol):
    """Tiles of one image with their scores, from a retrieval model."""

    def hardest_tile(self, phrases: Sequence[str], apart_from: Sequence[Box]) -> Box | None:
        """Return the tile most similar to the phrases of those that overlap none of the boxes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image of the source with all its questions."""

    key: str
    """SHA-256 of the file's bytes, in hex; of a file that could not be read, its path and the reason."""
    source_path: str
    """Path below the recipe's root; the first of several equal files."""
    questions: tuple[QuestionRecord, ...]
    num_bytes: int = 0
    """Size of the file; 0 when it could not be read."""
    data: bytes = b""
    """The file, byte for byte; empty until it is opened."""
    width_px: int = 0
    height_px: int = 0
    orientation: int = 1
    """EXIF orientation that decoding applied, 1 to 8."""
    pixels: Image.Image | None = None
    """RGB, upright; None before the image is opened and after its views are cut."""
    tiles: Tiles | None = None
    """Kept from the search for regions until evidence is chosen."""

    @property
    def image_id(self) -> str:
        return self.key[:16]

    @property
    def is_opened(self) -> bool:
        return self.width_px > 0

    @property
    def kept(self) -> tuple[QuestionRecord, ...]:
        """Questions that are not rejected, in order."""
        return tuple(record for record in self.questions if record.rejection is None)

    def each(self, change: Callable[[QuestionRecord], QuestionRecord]) -> ImageRecord:
        """Return the image with `change` applied to every question that is not rejected."""
        changed = (record if record.rejection else change(record) for record in self.questions)
        return replace(self, questions=tuple(changed))
