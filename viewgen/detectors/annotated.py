"""Return the boxes that a source already has, without a model. Boxes that reach out of the image are cut to it; those
wholly outside are dropped.
Leaves out: reading the boxes (source/recipe.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from viewgen.boxes import clip
from viewgen.detectors.protocol import Ask, ScoredBox
from viewgen.records import Annotation

_ARTICLE = re.compile(r"^(?:the|a|an|this|that|these|those)\s+", re.IGNORECASE)


def bare(phrase: str) -> str:
    """Return the phrase in lower case, without leading article and extra blanks, for comparison with other phrases."""
    return _ARTICLE.sub("", " ".join(phrase.split()).casefold())


class AnnotatedBoxes:
    """Detector that returns the source's boxes for each phrase; all boxes when none of the phrases has one."""

    @property
    def name(self) -> str:
        return "annotated"

    @property
    def models(self) -> Mapping[str, str]:
        return MappingProxyType({})

    def detect(self, asks: Sequence[Ask]) -> list[tuple[ScoredBox, ...]]:
        """Return boxes with the source's own scores, best first; a source without scores counts as 1."""
        return [_boxes(ask) for ask in asks]


def _boxes(ask: Ask) -> tuple[ScoredBox, ...]:
    named = {phrase: _named(ask.annotations, phrase) for phrase in ask.phrases}
    if not any(named.values()):
        named = dict.fromkeys(named, ask.annotations)
    return tuple(
        ScoredBox(phrase=phrase, box=box, score=annotation.score)
        for phrase, annotations in named.items()
        for annotation in sorted(annotations, key=lambda annotation: -annotation.score)
        if (box := clip(annotation.box, ask.image.width, ask.image.height))
    )


def _named(annotations: Sequence[Annotation], phrase: str) -> tuple[Annotation, ...]:
    return tuple(annotation for annotation in annotations if bare(annotation.phrase) == bare(phrase))
