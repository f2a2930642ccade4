"""Define the protocol of detectors, and the settings of detection models.
Leaves out: choosing a detector (__init__.py), finding regions with it (grounding/regions.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, runtime_checkable

from PIL import Image
from pydantic import ConfigDict

from viewgen.boxes import Box
from viewgen.records import Annotation
from viewgen.settings import STRICT, Range, check_ranges

EMBEDDED, LOCAL, HUB = "embedded:", "local-dir:", "hf-hub:"
OFFICIAL = {
    "groundingdino": "hf-hub:ShilongLiu/GroundingDINO",
    "transformers": "hf-hub:IDEA-Research/grounding-dino-tiny",
}
"""Library -> model of `model = ""`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """An image and the phrases to detect in it."""

    image: Image.Image
    """RGB, upright."""
    phrases: tuple[str, ...]
    annotations: tuple[Annotation, ...] = ()
    """Boxes of the source; models ignore them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredBox:
    """A scored box for a phrase, in pixels of the upright image."""

    phrase: str
    box: Box
    score: float
    """Higher is likelier, comparable only within one detector; 4 decimals, since further ones differ between machines."""


@runtime_checkable
class Detector(Protocol):
    """Finder of boxes for phrases."""

    @property
    def name(self) -> str:
        """Source of its regions: annotated, groundingdino, transformers."""
        ...

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights file; empty when no model is used."""
        ...

    def detect(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        """Return one entry per ask: the boxes of its distinct phrases in order, those of one phrase best first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """Detection model, and its thresholds and tiles."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    __renamed__: ClassVar[Mapping[str, str]] = {"kind": "library"}

    library: Literal["groundingdino", "transformers"] = "groundingdino"
    """groundingdino: the groundingdino-py package with its official checkpoints. transformers: a zero-shot detector of
    the transformers library (Grounding DINO, MM-Grounding-DINO, OWLv2)."""
    model: str = ""
    """A path relative to the recipe, hf-hub:OWNER/NAME, or, with transformers, embedded:NAME (shipped with viewgen).
    groundingdino wants a checkpoint file (.pth, .safetensors), transformers a folder in its own format. Empty: the
    official model of the library."""
    architecture: Literal["swin-t", "swin-b"] = "swin-t"
    """Architecture of a groundingdino checkpoint; transformers reads it from the model's own config."""
    text_encoder: str = "hf-hub:google-bert/bert-base-uncased"
    """Tokenizer of groundingdino: a folder or hf-hub:OWNER/NAME. Only its vocabulary is read."""
    box_threshold: Annotated[float, Range(ge=0, le=1)] = 0.35
    """Least score of a box, 0 to 1: of its likeliest word over all phrases. Grounding DINO's own; OWLv2 wants 0.1."""
    text_threshold: Annotated[float, Range(ge=0, le=1)] = 0.25
    """Least score of a phrase in such a box, 0 to 1. Grounding DINO's own; OWLv2 gives each box one phrase and ignores
    it."""
    num_best: Annotated[int, Range(ge=1)] = 20
    """Boxes kept per phrase, best first, 1 or more. Ours: enough to count by."""
    nms_iou: Annotated[float, Range(ge=0, le=1)] = 0.5
    """IoU, 0 to 1, above which the worse of two boxes of one phrase is dropped. The usual value."""
    tiles: bool = True
    """Search images that the model would shrink in overlapping tiles too, at their own size."""
    tile_px: Annotated[int, Range(ge=32, unit="px", or_zero=True)] = 0
    """Side of the square tiles in pixels of the image, 32 or more; every larger image is then searched in them. 0: the
    side that the model reads without shrinking it."""
    tile_overlap: Annotated[float, Range(ge=0, le=0.9)] = 0.25
    """Least share of a tile's side that its neighbour shows too, 0 to 0.9. What is smaller is whole in some tile."""
    batch_size: Annotated[int, Range(ge=0)] = 0
    """Pictures (images or tiles) that the model reads at once, 1 or more. 0: as many as its size and the device make
    fastest; on a CPU a large model reads one by one."""
    device: str = "auto"
    """auto: the GPU where there is one. Else torch's name of a device: cpu, cuda, cuda:1."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the model. auto: float16 on a GPU, float32 elsewhere."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def model_name(self) -> str:
        """Name of the model; the library's official one where the settings give none."""
        return self.model or OFFICIAL[self.library]
