"""Return the phrases that a source itself gives, with a question or with its boxes, in any language. Pure.
Leaves out: finding phrases in a question (rules.py, spacy.py, chat.py, local.py)."""

from __future__ import annotations

from collections.abc import Iterable

from viewgen.records import Phrase, Question


def given_phrases(question: Question) -> tuple[Phrase, ...]:
    """Return the phrases of the source's own column; empty without any."""
    return _placed(question.phrases or (), question.text, "given")


def annotated_phrases(question: Question) -> tuple[Phrase, ...]:
    """Return the phrases that the source's boxes belong to, for a question in which none was found."""
    return _placed((annotation.phrase for annotation in question.annotations), question.text, "annotated")


def _placed(texts: Iterable[str], question: str, rule: str) -> tuple[Phrase, ...]:
    """Make phrases with their places in the question, each text once; -1 for a text that does not stand in it."""
    phrases = []
    for text in dict.fromkeys(each.strip() for each in texts):
        start = question.find(text)
        end = start + len(text) if start >= 0 else -1
        if text:
            phrases.append(Phrase(text=text, start=start, end=end, rule=rule))
    return tuple(phrases)
