"""Find phrases as the noun chunks of a spaCy pipeline, for languages and wordings that the rules (rules.py) do not know.
Leaves out: training or downloading pipelines. Imports spacy when a pipeline is loaded.

Pronouns, question words and properties ("the color" of "the bus") are left out. Options, instructions and "in the image"
are hidden from the pipeline, as rules.py hides them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from viewgen.errors import ModelError, brief
from viewgen.phrases.config import PhrasesConfig
from viewgen.phrases.lexicon import TAG_OF_WORD
from viewgen.phrases.rules import distinct, hide, names_a_thing
from viewgen.phrases.words import HIDDEN
from viewgen.records import Phrase

_ASKS = frozenset("WLTe#")
"""Tags of words.py for question words, properties and texts."""
_NO_HEAD = frozenset({"PRON", "DET", "ADV", "SCONJ"})


@dataclass(frozen=True, slots=True)
class SpacyFinder:
    """Finder with a loaded pipeline. The same question gets the same phrases."""

    config: PhrasesConfig
    pipeline: Any
    sha256: str

    @property
    def models(self) -> Mapping[str, str]:
        return MappingProxyType({self.config.model: self.sha256})

    def find(self, questions: Sequence[str]) -> list[tuple[Phrase, ...]]:
        """Return the noun chunks of each question that can name a thing."""
        # A blank per hidden letter: the pipeline reads around it, and offsets stay.
        texts = [hide(question).replace(HIDDEN, " ") for question in questions]
        docs = self.pipeline.pipe(texts)
        num = self.config.max_phrases
        return [distinct(tuple(_chunks(doc, q)))[:num] for doc, q in zip(docs, questions, strict=True)]


def _chunks(doc: Any, question: str) -> Iterator[Phrase]:  # noqa: ANN401 - spaCy's Doc
    for chunk in doc.noun_chunks:
        words = [token.text.casefold() for token in chunk]
        # "What color", "which kind": the words ask. "the color" asks as well, "the color wheel" does not.
        asks = TAG_OF_WORD.get(words[0]) in ("W", "e") or TAG_OF_WORD.get(words[-1]) in _ASKS
        if asks or chunk.root.pos_ in _NO_HEAD or not names_a_thing(chunk.text):
            continue
        start, end = chunk.start_char, chunk.end_char
        yield Phrase(text=question[start:end], start=start, end=end, rule="noun_chunk")


def load_spacy(config: PhrasesConfig) -> SpacyFinder:
    """Load a pipeline. Raises ModelError when spaCy or the pipeline is missing, or the pipeline finds no noun chunks."""
    try:
        spacy = import_module("spacy")
    except ImportError:
        raise ModelError(
            "phrases.method is 'spacy': spaCy is not installed. Run: pip install 'vzero-evidence[spacy]'"
        ) from None
    try:
        pipeline = spacy.load(config.model)
    except Exception as error:  # a broken pipeline can raise anything
        said = brief(error)
        remedy = "Give its folder, or install it: python -m spacy download en_core_web_sm"
        raise ModelError(f"phrases.model is {config.model!r}: not a spaCy pipeline here ({said}). {remedy}") from None
    try:
        list(pipeline("the red bus").noun_chunks)
    except (ValueError, NotImplementedError) as error:
        said = brief(error)
        raise ModelError(
            f"phrases.model is {config.model!r}: the pipeline finds no noun chunks ({said}). Give one with a parser."
        ) from None
    return SpacyFinder(config, pipeline, _hash_of(Path(pipeline.path)))


def _hash_of(folder: Path) -> str:
    """Return the SHA-256 of all names and bytes below the folder, in hex."""
    whole = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0")
        whole.update(sha256(path.read_bytes()).digest())
    return whole.hexdigest()
