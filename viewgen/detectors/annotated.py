"""The boxes that a source already has, taken as regions: no model, nothing guessed.
Leaves out: boxes that reach out of the image are cut to it; those wholly outside are dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from PIL import Image

from viewgen.boxes import clip
from viewgen.records import Annotation, Phrase, Question, Region

_ARTICLE = re.compile(r"^(?:the|a|an|this|that|these|those)\s+", re.IGNORECASE)


def bare(phrase: str) -> str:
    """The phrase without case, leading article and extra blanks: how annotations and phrases are compared."""
    return _ARTICLE.sub("", " ".join(phrase.split()).casefold())


class AnnotatedBoxes:
    """Boxes whose phrase is that of the question; all boxes when the source names none of the phrases."""

    @property
    def models(self) -> Mapping[str, str]:
        return MappingProxyType({})

    def detect(self, image: Image.Image, question: Question, phrases: Sequence[Phrase]) -> tuple[Region, ...]:
        """Each region has score 1 and rank 0: a source does not prefer one of its boxes to another."""
        named = {phrase.text: _named(question.annotations, phrase) for phrase in phrases}
        if not any(named.values()):
            named = dict.fromkeys(named, question.annotations)
        return tuple(
            Region(phrase=phrase, box=box, source="annotated", score=1.0, rank=0)
            for phrase, annotations in named.items()
            for annotation in annotations
            if (box := clip(annotation.box, image.width, image.height))
        )


def _named(annotations: Sequence[Annotation], phrase: Phrase) -> tuple[Annotation, ...]:
    return tuple(annotation for annotation in annotations if bare(annotation.phrase) == bare(phrase.text))
