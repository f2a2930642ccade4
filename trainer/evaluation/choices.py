"""Read which option of a multiple-choice question an answer settles on. Pure.
Leaves out: comparison with the truth (scorers.py).

Chinese, Japanese and Korean set no blank between words: there a letter may touch its neighbours."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from trainer.evaluation.words import normalised

_NO_ARTICLE = r"(?!A\s+(?!(?:because|since|as|is)\b)[a-z])"
"""Before a letter: "Answer: A dog is ..." opens with an article, "answer: A because ..." does not."""
_MOST_OPTIONS = 8
_IN_WORD = r"[^\W\u3040-\u9fff\uac00-\ud7af]"
_NOT_AFTER, _NOT_BEFORE = f"(?<!{_IN_WORD})", f"(?!{_IN_WORD})"
_OPTION_LABEL = re.compile(r"(?:^|(?<=\s))\(?([A-H])[.):]\s*(?=\S)")


def read_choice(text: str, options: Sequence[str] = ()) -> str | None:
    """Return the letter of the option that the text settles on, or None. With no options given, the letters are A to H.

    The first of these that applies decides:
    1. the text is one letter, or opens with one ("B. blue", "B - blue", "B, because ...") and labels no other;
    2. the last "answer is X", "answer: X", "choose X", "correct option is X", "X is correct", "X is the answer";
    3. the only letter in brackets or stars, or after "option";
    4. the letter that ends the text ("..., so C.");
    5. the only option whose words stand in the text.
    Letters in a list ("B or C") and denied ones ("not B", "B is wrong") settle nothing. The article A, letters inside
    words and inside an option's own words are not letters of options.
    """
    letter = f"[{ascii_uppercase[: len(options) or _MOST_OPTIONS]}]"
    options = [_OPTION_LABEL.sub("", option, count=1) if len(option) > 2 else option for option in options]
    plain = unicodedata.normalize("NFKC", re.sub(r"</?\w+>", " ", text))
    settled = _without_unsettled(plain, letter)
    return (
        _lone_letter(settled, letter)
        or _stated_letter(settled, letter)
        or _marked_letter(settled, letter)
        or _ending_letter(settled, letter, options)
        or _only(_options_within(text, options))
    )


def _without_unsettled(text: str, letter: str) -> str:
    one = rf"{_NOT_AFTER}[(\[{{*]*{letter}[)\]}}*]*{_NOT_BEFORE}"
    join = r"(?:\bor\b|\band\b|/|&|或|和)(?:\s+(?:maybe|perhaps|possibly|even|also|is\s+it))?"
    listed = rf"{one}(?:\s*,\s*{one})*,?\s*{join}\s*{one}"
    denied = rf"(?:\bnot|n['’]t)\s+{one}|{one}\s+(?:is|are)(?:n['’]t|\s+(?:not|wrong|incorrect|false))\b"
    return re.sub(f"{listed}|{denied}", "?", text)


def _lone_letter(text: str, letter: str) -> str | None:
    whole = re.fullmatch(rf"[\W_]*(?i:({letter}))[\W_]*", text)
    label = re.match(rf"[(\[*\s]*({letter})[)\]*]*(?:[.):]+[)\]*]*\s|\s*[-–—]\s|,\s+(?:because|since|as)\b)", text)
    others = _labels(text, letter) + ([label[1]] if label else [])
    found = whole or (label if len(set(others)) == 1 else None)
    return str(found[1]).upper() if found else None


def _labels(text: str, letter: str) -> list[str]:
    return re.findall(rf"{_NOT_AFTER}({letter})[)\]*]*[.):]\s+\w", text)


def _stated_letter(text: str, letter: str) -> str | None:
    here = rf"[(\[{{*\"'\s]*{_NO_ARTICLE}({letter}|(?i:{letter})(?=\W*$)){_NOT_BEFORE}"
    link = r"(?:\s+(?:is|was|be|would be|should be|must be))?\W{0,3}(?:\s*(?:the|option|letter|choice))*"
    says = (
        r"(?:\b(?:answer|choose|pick|select|go with|boxed|(?:correct|right|best)\s+(?:option|choice|letter|one))"
        r"|答案|[应该]?选择?)"
    )
    stated = re.findall(rf"(?i:{says}{link})\s*[是为]?\W{{0,2}}{here}", text)
    praise = r"\s+is\s+(?:(?:the|my)\s+)?(?:final\s+)?(?:correct|right|best|answer|choice)\b"
    approved = re.findall(rf"{_NOT_AFTER}({letter})[)\]*]*{praise}", text)
    found = stated or approved
    return str(found[-1]).upper() if found else None


def _marked_letter(text: str, letter: str) -> str | None:
    marked = re.findall(rf"(?:[(\[{{*]\s*|\b(?i:option|choice)\s+){_NO_ARTICLE}({letter}){_NOT_BEFORE}", text)
    return _only([*marked, *_labels(text, letter)]) if marked else None


def _ending_letter(text: str, letter: str, options: Sequence[str]) -> str | None:
    for option in options:
        if len(option) > 1:
            text = re.sub(rf"{_NOT_AFTER}{re.escape(option)}{_NOT_BEFORE}", "?", text, flags=re.IGNORECASE)
    found = re.search(rf"(?<!['’]){_NOT_AFTER}({letter})[\W_]*$", text)
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


def options_in(question: str) -> tuple[str, ...]:
    """Return the options that a question lists under the labels A, B, C, ...; empty where it lists fewer than two.

    options_in("What colour?\\nA. red\\nB. blue")    # ("red", "blue")
    """
    labels: list[re.Match[str]] = []
    for match in _OPTION_LABEL.finditer(question):
        if len(labels) < _MOST_OPTIONS and match[1] == ascii_uppercase[len(labels)]:
            labels.append(match)
    ends = [*(match.start() for match in labels[1:]), len(question)]
    texts = [question[match.end() : end] for match, end in zip(labels, ends, strict=True)] if labels else []
    if len(texts) < 2:
        return ()
    # What follows the last option on other lines is an instruction.
    return tuple(text.strip().split("\n")[0].strip(" ,;") for text in texts)
