"""Reduce an answer to the words that are compared, and cut the thought off it. Pure.
Leaves out: reading choices (choices.py) and numbers (numbers.py) in them."""

from __future__ import annotations

import re
import unicodedata

_ARTICLE = re.compile(r"(?<![^\s\"“'(\[])(?:a|an|the)(?=\s)", re.IGNORECASE)
"""An article stands before a blank: "a/b" and "plan a" hold none."""
_THOUGHT_END = "</think>"
_THOUGHT_BEGIN = "<think>"


def without_thought(response: str, opened: bool = False) -> str:
    """Return the answer behind the thought; empty for a thought that was cut off.

    `opened`: the prompt itself begins the thought, so that the response needs no <think>.

    without_thought("<think>red or blue?</think>\\nred")    # "red"
    """
    _, end, answer = response.rpartition(_THOUGHT_END)
    if _THOUGHT_BEGIN in answer or (opened and not end):
        return ""
    return answer.strip() if end else response


def normalised(text: str) -> str:
    """Lower-case words joined by single spaces, no punctuation, no articles; the text itself if nothing is left."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "").replace("−", "-")
    plain = _ARTICLE.sub(" ", plain)
    spaced = "".join(char if _counts(plain, i) else " " for i, char in enumerate(plain))
    # "A" can be the answer ("which letter is it?"), so an article stays when nothing else does.
    return " ".join(spaced.split()) or " ".join(plain.split())


def _counts(text: str, i: int) -> bool:
    """Return True for a character that is more than punctuation; inside and before numbers, some punctuation is."""
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    if text[i] in ".,:/" and before.isdigit() and after.isdigit():
        return True
    if text[i] == "-" and after.isdigit() and not before.isalnum():
        return True
    return not unicodedata.category(text[i]).startswith("P")
