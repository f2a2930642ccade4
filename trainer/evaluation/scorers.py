"""Is this answer right? One rule per scorer, in its docstring. No model judges and nothing is guessed: an answer that
the rule cannot read is wrong, every time. Pure.
Leaves out: where answers come from and what is counted (evaluate.py).

A scorer takes the answer, the truth, and the options in their order, which only multiple_choice looks at."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from string import ascii_uppercase
from types import MappingProxyType
from typing import TypeVar

from trainer.errors import DataError, TrainerError

Reading = TypeVar("Reading", str, Decimal)
Scorer = Callable[[str, str, Sequence[str]], bool]

_ARTICLES = {"a", "an", "the"}
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_DIGITS = re.compile(r"(?:(?<!\w)[-−])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
"""A hyphen between two numbers is no minus sign; commas only where thousands have them."""
_NO_ARTICLE = r"(?!A\s+(?!(?:because|since|as|is)\b)[a-z])"
"""Before a letter: "Answer: A dog is ..." opens with an article, "answer: A because ..." does not."""
_MOST_OPTIONS = 8


def scorer_named(name: str) -> Scorer:
    """Return the scorer of that name. Raises TrainerError, with the nearest known name, for any other."""
    if name in SCORERS:
        return SCORERS[name]
    near = difflib.get_close_matches(name, SCORERS, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Give one of {', '.join(SCORERS)}."
    raise TrainerError(f"there is no scorer {name!r}. {hint}")


def exact_match(answer: str, truth: str, options: Sequence[str] = ()) -> bool:
    """Compare words: letter case, punctuation, white space and the articles a, an, the do not count. Decimal points
    and minus signs do, so that 1.5 is not 15."""
    return normalised(answer) == normalised(truth)


def multiple_choice(answer: str, truth: str, options: Sequence[str] = ()) -> bool:
    """Compare the letter that `read_choice` reads with the one it reads in the truth, which may be a letter or an
    option's text. Raises DataError when the truth names no option."""
    return read_choice(answer, options) == _readable(
        read_choice(truth, options), truth, "the letter or text of one option"
    )


def number(answer: str, truth: str, options: Sequence[str] = ()) -> bool:
    """Compare the last number of the answer with the truth's, as numbers: 7 = 7.0 = 07, 1,200 = 1200. Number words
    from zero to twenty count when there is no digit. Units are not read. Raises DataError when the truth holds no
    number."""
    return read_number(answer) == _readable(read_number(truth), truth, "a number")


def yes_no(answer: str, truth: str, options: Sequence[str] = ()) -> bool:
    """Compare yes and no: the answer begins with one of them or holds only one. Raises DataError when the truth is
    neither."""
    return read_yes_no(answer) == _readable(read_yes_no(truth), truth, "yes or no")


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {"exact_match": exact_match, "multiple_choice": multiple_choice, "number": number, "yes_no": yes_no}
)
"""By the name that a run's settings give."""


def normalised(text: str) -> str:
    """Lower-case words joined by single spaces, no punctuation, no articles; the text itself if nothing is left."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "").replace("−", "-")
    spaced = "".join(char if _counts(plain, i) else " " for i, char in enumerate(plain))
    words = spaced.split()
    kept = [word for word in words if word not in _ARTICLES]
    # "A" can be the answer ("which letter is it?"), so an article stays when nothing else does.
    return " ".join(kept or words[-1:]) or plain.strip()


def _counts(text: str, i: int) -> bool:
    """Return True for a character that is more than punctuation; inside and before numbers, some punctuation is."""
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    if text[i] in ".,:/" and before.isdigit() and after.isdigit():
        return True
    if text[i] == "-" and after.isdigit() and not before.isalnum():
        return True
    return not unicodedata.category(text[i]).startswith("P")


def read_number(text: str) -> Decimal | None:
    """Return the last number in digits, or else the last number word from zero to twenty; None without either."""
    digits = _DIGITS.findall(text)
    if digits:
        return Decimal(digits[-1].replace(",", "").replace("−", "-"))
    words = [word for word in re.findall(r"[a-z]+", text.casefold()) if word in _NUMBER_WORDS]
    return Decimal(_NUMBER_WORDS.index(words[-1])) if words else None


def read_yes_no(text: str) -> str | None:
    """yes, no, or None: the first word, if it is one of the two; else the only one of the two that occurs."""
    words = re.findall(r"\w+", text.casefold())
    if words[:1] in (["yes"], ["no"]):
        return str(words[0])
    held = {"yes", "no"}.intersection(words)
    return held.pop() if len(held) == 1 else None


def read_choice(text: str, options: Sequence[str] = ()) -> str | None:
    """Return the letter of the option that the text settles on, or None. With no options given, the letters are A to H.

    The first of these that applies decides:
    1. the text is one letter, or opens with one as a label ("B. blue") and labels no other;
    2. the last "answer is X", "answer: X", "choose X", "X is correct";
    3. the only letter in brackets or stars, or after "option";
    4. the letter that ends the text ("..., so C.");
    5. the only option whose words stand in the text.
    Letters in a list ("B or C") and denied ones ("not B", "B is wrong") settle nothing. The article A, letters inside
    words and inside an option's own words are not letters of options.
    """
    letter = f"[{ascii_uppercase[: len(options) or _MOST_OPTIONS]}]"
    settled = _without_unsettled(re.sub(r"</?\w+>", " ", text), letter)
    return (
        _lone_letter(settled, letter)
        or _stated_letter(settled, letter)
        or _marked_letter(settled, letter)
        or _ending_letter(settled, letter, options)
        or _only(_options_within(text, options))
    )


def _without_unsettled(text: str, letter: str) -> str:
    one = rf"(?<!\w)[(\[{{*]*{letter}[)\]}}*]*(?!\w)"
    listed = rf"{one}(?:\s*,\s*{one})*,?\s*(?:\bor\b|\band\b|/|&)\s*{one}"
    denied = rf"(?:\bnot|n['’]t)\s+{one}|{one}\s+(?:is|are)(?:n['’]t|\s+(?:not|wrong|incorrect|false))\b"
    return re.sub(f"{listed}|{denied}", "?", text)


def _lone_letter(text: str, letter: str) -> str | None:
    whole = re.fullmatch(rf"[\W_]*(?i:({letter}))[\W_]*", text)
    label = re.match(rf"[(\[*\s]*({letter})[)\]*]*[.):]+[)\]*]*\s", text)
    others = re.findall(rf"(?<!\w)({letter})[)\]*]*[.):]", text)
    found = whole or (label if len(set(others)) == 1 else None)
    return str(found[1]).upper() if found else None


def _stated_letter(text: str, letter: str) -> str | None:
    here = rf"[(\[{{*\"'\s]*{_NO_ARTICLE}({letter}|(?i:{letter})(?=\W*$))(?!\w)"
    link = r"(?:\s+(?:is|was|be|would be|should be|must be))?\W{0,3}(?:\s*(?:the|option|letter|choice))*"
    stated = re.findall(rf"(?i:\b(?:answer|choose|pick|select|go with|boxed){link})\s*{here}", text)
    approved = re.findall(rf"(?<!\w)({letter})[)\]*]*\s+is\s+(?:the\s+)?(?:correct|right|best)\b", text)
    found = stated or approved
    return str(found[-1]).upper() if found else None


def _marked_letter(text: str, letter: str) -> str | None:
    return _only(re.findall(rf"(?:[(\[{{*]\s*|\b(?i:option|choice)\s+){_NO_ARTICLE}({letter})(?!\w)", text))


def _ending_letter(text: str, letter: str, options: Sequence[str]) -> str | None:
    for option in options:
        if len(option) > 1:
            text = re.sub(rf"(?<!\w){re.escape(option)}(?!\w)", "?", text, flags=re.IGNORECASE)
    found = re.search(rf"(?<![\w'’])({letter})[\W_]*$", text)
    return str(found[1]) if found else None


def _options_within(text: str, options: Sequence[str]) -> list[str]:
    """Letters of the options whose words stand in the text; not those that are part of a longer one that does."""
    answer = f" {normalised(text)} "
    words = {letter: f" {normalised(option)} " for letter, option in zip(ascii_uppercase, options, strict=False)}
    found = {letter: said for letter, said in words.items() if said in answer}
    return [
        letter for letter, said in found.items() if not any(said in other for other in found.values() if other != said)
    ]


def _only(letters: Sequence[str]) -> str | None:
    return letters[0] if len(set(letters)) == 1 else None


def _readable(read: Reading | None, truth: str, expected: str) -> Reading:
    if read is None:
        raise DataError(f"the true answer {truth!r} cannot be scored: expected {expected}. Mend the column `answer`.")
    return read
