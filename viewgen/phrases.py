"""A question -> the phrases in it that name something worth looking for in the image. By rules, for English. Pure.
Leaves out: language models and parsers; whether the thing is there (regions.py).

What cannot name a thing is hidden first: answer options, instructions, and "in the image". Rules are then tried in
order on what is left; the first whose phrases hold a word that can be seen wins. A question that no rule fits has no
phrase."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from viewgen.records import Phrase

_HIDDEN = "\x00"  # stands for a hidden letter, so that offsets stay those of the question
_PICTURE = r"(?:image|picture|photo|photograph|scene|figure|screenshot|painting|drawing)"

_TO_HIDE = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"\b(?:options|choices)\s*:.*",
        # The first option and all that follows: "(A) red (B) blue", "A. red", "A) red", at a line's start or after "?".
        r"(?:(?<=[?.:\n])|^)\s*\(?[A-D1-4][.):]\s.*",
        r"\(A\)\s.*",
        r"\b(?:please\s+)?(?:answer|respond|reply|choose|select)\s+(?:with|the|in|using|from|by|directly|briefly)\b[^?\n]*",
        rf"\b(?:according\s+to|based\s+on|(?:as\s+)?(?:shown|seen|visible|depicted|displayed)\s+(?:in|on)|within|from|in|on)"
        rf"\s+(?:the|this|that)\s+(?:given\s+|provided\s+|above\s+|following\s+)?{_PICTURE}\b(?!\s+(?:frame|book|of)\b)",
    )
)

_LOOKS = r"colou?r|shape|material|size|pattern|texture|brand|type|kind|style|make|model|gender|age|position|condition"
_TEXTS = (
    r"numbers?|digits?|letters?|words?|texts?|symbols?|codes?|names?|signs?|logos?|times?|prices?|titles?|characters?"
)
_SEEN = r"written|printed|shown|displayed|painted|drawn|visible|located|seen"
_SIDE = (
    r"left|right|above|below|over|under|underneath|beneath|behind|in\s+front|front|next|beside|near|inside|outside|on\s+top"
    r"|top|bottom|bigger|larger|smaller|taller|shorter|higher|lower|closer|nearer|farther|further|wider|brighter|darker"
)
_BETWEEN = (
    rf"(?:located\s+|positioned\s+|placed\s+|standing\s+|sitting\s+)?(?:(?:on|to|at|in)\s+)?(?:the\s+)?(?:{_SIDE})"
    rf"(?:(?:\s*,\s*|\s+(?:side\s+)?or\s+)(?:(?:on|to|at|in)\s+)?(?:the\s+)?(?:{_SIDE}))*"
    r"(?:[\s-]+hand)?(?:\s+sides?)?(?:\s+(?:of|to|than|from))?"
)
_BE = r"(?:is|are|was|were|'s)"
_END = r"\s*(?=[?!;\x00]|[.,](?:\s|$)|$)"
_ARTICLE = r"(?:the|a|an|this|that|these|those|his|her|their|its)"

_A, _B = rf"(?P<a>{_ARTICLE}\s.+?)", rf"(?P<b>{_ARTICLE}\s.+?)"
_VERBS = r"have|wear|hold|carry|look|appear|seem|contain|show|belong|face|touch"
_NO_PHRASE = r"\b(?:is|are|was|were|does|do|has|have|that|which|on|in|at|to|or|and)\b"

_RULES = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("relation", rf"\b{_BE}\s+{_A}\s+{_BETWEEN}\s+{_B}{_END}"),
        ("relation", rf"\bhow\s+far\s+(?:away\s+)?{_BE}\s+{_A}\s+from\s+{_B}{_END}"),
        ("relation", rf"\bside\s+of\s+{_B}\s+{_BE}\s+{_A}{_END}"),
        ("relation", rf"\bbetween\s+{_A}\s+and\s+{_B}{_END}"),
        ("choice", rf"\b(?:which|what|who)\b.*?[,:]\s*{_A},?\s+or\s+{_B}{_END}"),
        ("pair", rf"\b(?:are|do|does|is)\s+{_A}\s+and\s+{_B}\s+(?:have|share|(?:of\s+)?the\s+same|both|touching)\b"),
        ("reading", r"\bwhat\s+(?:does|do|did)\s+(?P<a>.+?)\s+(?:say|read|show|display)\b"),
        ("attribute", rf"\b(?:kind|type|sort|breed)\s+of\s+[\w-]+\s+{_BE}\s+(?:\w+\s+){{0,3}}?{_A}{_END}"),
        ("attribute", rf"\b(?:kind|type|sort|breed)\s+of\s+(?P<a>[\w-]+)\s+{_BE}\b"),
        ("attribute", rf"\b(?:{_LOOKS})\s+(?:of|for)\s+(?P<a>.+?){_END}"),
        ("attribute", rf"\b(?:what|which)\s+(?:{_LOOKS})\s+(?:{_BE}|do|does)\s+(?P<a>.+?)(?:\s+(?:have|has))?{_END}"),
        (
            "reading",
            rf"\b(?:{_TEXTS})\s+(?:that\s+)?(?:{_BE}\s+)?(?:(?:{_SEEN})\s+)?(?:on|in|inside|at|of|above|below)\s+"
            rf"(?P<a>.+?){_END}",
        ),
        ("reading", rf"\bwhat\s*{_BE}\s+(?:{_SEEN})?\s*(?:on|inside)\s+(?P<a>.+?){_END}"),
        ("counting", rf"\bhow\s+many\s+.+?\s+(?:is|are)\s+(?:there\s+)?(?:on|in|inside|at)\s+{_A}{_END}"),
        ("counting", r"\bhow\s+many\s+.+?\s+(?:does|do)\s+(?P<a>.+?)\s+have\b"),
        ("counting", rf"\bhow\s+many\s+(?P<a>.+?)(?:\s+(?:are|is|can|do|does|were|have)\b.*?)?{_END}"),
        ("existence", rf"\b(?:is|are)\s+there\s+(?:any\s+)?(?P<a>.+?){_END}"),
        ("existence", rf"\b(?:do|can|could)\s+you\s+see\s+(?:any\s+)?(?P<a>.+?){_END}"),
        ("action", rf"\bwhat\s*{_BE}\s+(?P<a>.+?)\s+\w+ing(?:\s+(?:on|in|at|to|with|for))?{_END}"),
        ("action", rf"\bwhat\s*{_BE}\s+(?P<a>.+?)\s+made\s+(?:of|from){_END}"),
        ("place", rf"\bwhere\s*{_BE}\s+(?P<a>.+?)(?:\s+(?:located|standing|sitting|placed))?{_END}"),
        ("place", rf"\b(?:what|who)\s*{_BE}\s+(?:\w+ing\s+)?{_BETWEEN}\s+{_A}{_END}"),
        ("yes_no", rf"\b(?:is|are|was|were)\s+{_A}\s+\S+(?:\s+or\s+\S+)?{_END}"),
        ("yes_no", rf"\b(?:do|does|did)\s+{_A}\s+(?:{_VERBS})\b"),
        ("quoted", r"[\"“](?P<a>[^\"“”]+)[\"”]"),
        ("noun_phrase", rf"\b(?P<a>(?:the|this|that|his|her|their)\s(?:(?!{_NO_PHRASE})[^?.,;!\x00])+)"),
    )
)
_WORD = re.compile(r"\w+")
_EMPTY = frozenset(
    _WORD.findall(
        "the a an this that these those his her their its it they he she you i we them there any some one thing things"
        " object objects left right side top bottom middle center centre background foreground"
    )
)
_EDGES = " \t\r\n.,;:?!" + _HIDDEN


def find_phrases(question: str) -> tuple[Phrase, ...]:
    """The phrases to look for, in the order in which they stand; text == question[start:end]. Empty if no rule fits."""
    shown = _hide(question)
    for name, rule in _RULES:
        for match in rule.finditer(shown):
            phrases = tuple(_phrases(question, shown, name, match))
            if len(phrases) == len(match.groupdict()) and all(_names_a_thing(phrase.text) for phrase in phrases):
                return _distinct(phrases)
    return ()


def _hide(question: str) -> str:
    shown = question
    for pattern in _TO_HIDE:
        shown = pattern.sub(lambda match: _HIDDEN * len(match.group()), shown)
    return shown


def _phrases(question: str, shown: str, rule: str, match: re.Match[str]) -> Iterator[Phrase]:
    for start, end in (match.span(group) for group in match.groupdict()):
        # A phrase that runs into something hidden ends there.
        start += len(shown[start:end]) - len(shown[start:end].lstrip(_EDGES))
        end = min(end, shown.find(_HIDDEN, start) if _HIDDEN in shown[start:end] else end)
        end = start + len(shown[start:end].rstrip(_EDGES))
        if start < end:
            yield Phrase(text=question[start:end], start=start, end=end, rule=rule)


def _names_a_thing(text: str) -> bool:
    return any(word not in _EMPTY for word in _WORD.findall(text.casefold()))


def _distinct(phrases: Sequence[Phrase]) -> tuple[Phrase, ...]:
    return tuple({phrase.text.casefold(): phrase for phrase in reversed(phrases)}.values())[::-1]
