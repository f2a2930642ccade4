"""Write the prompt for a language model, and parse its answer into phrases of the question. Pure.
Leaves out: running the model (chat.py, local.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from viewgen.phrases.rules import distinct, hide, names_a_thing
from viewgen.records import Phrase

PROMPT = """\
Which things must be looked at in the picture to answer the question? Copy the words that name them from the question, \
letter by letter, with the words that tell them from other things of their kind. Leave out what is asked about them, the \
answer options and the picture itself. Give a JSON list of strings and nothing else.

Question: What colour is the scarf of the woman on the bench?
["the scarf of the woman on the bench"]

Question: Is the red bus left or right of the clock tower in the image?
["the red bus", "the clock tower"]

Question: {question}
"""


def prompt_for(question: str) -> str:
    """Return the prompt for a question."""
    return PROMPT.replace("{question}", question.strip())


def phrases_in(answer: str, question: str, max_phrases: int) -> tuple[Phrase, ...]:
    """Parse the last JSON list of an answer: its strings that occur in the question as whole words, outside options and
    instructions, in the order of the question and at most `max_phrases`. All other strings are left out.

    phrases_in('["the red bus"]', "Is the red bus full?", 4)    # one phrase, question[3:14]
    """
    shown = hide(question)
    found = [phrase for text in _listed(answer) for phrase in _placed(text, question, shown)]
    return distinct(sorted(found, key=lambda phrase: (phrase.start, phrase.end)))[:max_phrases]


def _listed(answer: str) -> list[str]:
    for flat in reversed(re.findall(r"\[[^\[\]]*\]", answer)):
        try:
            return [text for text in json.loads(flat) if isinstance(text, str)]
        except (ValueError, RecursionError):  # braces may nest without end
            continue
    return []


def _placed(text: str, question: str, shown: str) -> Iterator[Phrase]:
    words = text.split()
    if not words or not names_a_thing(text):
        return
    spelled = r"\s+".join(re.escape(word) for word in words)
    match = re.search(rf"(?<!\w){spelled}(?!\w)", shown, re.IGNORECASE)
    if match:
        yield Phrase(text=question[match.start() : match.end()], start=match.start(), end=match.end(), rule="chat")
