"""Find the phrases of a question: words that name a thing which the image may show.

In: questions. Out: Phrase records. One file per finder (rules, spaCy, a language model); a finder that needs a library or
a server is imported when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from viewgen.phrases.config import PhraseFinder, PhrasesConfig
from viewgen.phrases.given import annotated_phrases, given_phrases
from viewgen.phrases.rules import find_phrases
from viewgen.records import Phrase

__all__ = [
    "PhraseFinder",
    "PhrasesConfig",
    "annotated_phrases",
    "find_phrases",
    "given_phrases",
    "phrase_finder",
]


class RulesFinder:
    """Finder of the rules (rules.py). Uses no model."""

    @property
    def models(self) -> Mapping[str, str]:
        return MappingProxyType({})

    def find(self, questions: Sequence[str]) -> list[tuple[Phrase, ...]]:
        return [find_phrases(question) for question in questions]


def phrase_finder(config: PhrasesConfig) -> PhraseFinder:
    """Load the finder that the settings name.

    Raises ModelError when its library or model is missing, and SettingsError when the environment variable of the
    endpoint's key is not set.

    phrase_finder(PhrasesConfig()).find(["What is on the red sign?"])[0][0].text    # "the red sign"
    """
    if config.method == "rules":
        return RulesFinder()
    if config.method == "spacy":
        from viewgen.phrases.spacy import load_spacy

        return load_spacy(config)
    if config.base_url:
        from viewgen.phrases.chat import ChatFinder

        return ChatFinder.at(config)
    from viewgen.phrases.local import load_local

    return load_local(config)
