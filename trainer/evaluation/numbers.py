"""Read numbers in an answer, in digits or in English words. Pure.
Leaves out: units and comparison (scorers.py)."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_VALUES = {**{word: num for num, word in enumerate(_UNITS)}, **{word: 10 * num for num, word in enumerate(_TENS, 2)}}
_DIGITS = re.compile(r"(?:(?<!\w)[-−])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)")
"""A hyphen between two numbers is no minus sign; commas only where thousands have them."""
_UNIT, _TEN = "|".join(_UNITS), "|".join(_TENS)
_BELOW_100 = rf"(?:(?:{_TEN})(?:[\s-]+(?:{'|'.join(_UNITS[1:10])}))?|{_UNIT})"
_BELOW_1000 = rf"(?:(?:(?:{_UNIT}|a)\s+)?hundred(?:\s+(?:and\s+)?{_BELOW_100})?|{_BELOW_100})"
_THOUSANDS = rf"(?:(?:{_BELOW_1000}|an?)\s+(?:{'|'.join(_SCALES)}))"
_WORDS = re.compile(
    rf"\b(?:(?P<minus>minus|negative)\s+)?"
    rf"(?P<number>(?:{_THOUSANDS},?\s+(?:and\s+)?)*(?:{_THOUSANDS}|{_BELOW_1000}))\b"
)


def read_number(text: str) -> Decimal | None:
    """Return the last number in digits, or else the last one in words; None without either.

    read_number("twenty-one, no: two hundred and five")    # Decimal("205")
    """
    digits = _DIGITS.findall(text)
    if digits:
        return Decimal(digits[-1].replace(",", "").replace("−", "-"))
    words = [match for match in _WORDS.finditer(text.casefold()) if match["number"]]
    if not words:
        return None
    value = _value(re.findall(r"[a-z]+", words[-1]["number"]))
    return -value if words[-1]["minus"] else value


def _value(words: list[str]) -> Decimal:
    total = below = 0
    for word in words:
        if word in _SCALES:
            total, below = total + max(below, 1) * _SCALES[word], 0
        elif word == "hundred":
            below = max(below, 1) * 100
        else:
            below += _VALUES.get(word, 0)
    return Decimal(total + below)
