"""Tag the words of an English question, one letter per token, by lists of words and by context. Pure.
Leaves out: the word lists (lexicon.py), phrases (rules.py). An unknown word is tagged as a noun, which most unknown words
of a question about an image are.

Tags   D the, a, this     U his, its           N noun, or unknown     J adjective that can end a question
       L property: colour T text: number       Q "quoted"             K place: on the left
       G -ing form        R -ed form           Z written, shown       V verb      Y verb of telling: say, show
       W what, which      e where              # how many             B is, are   A does, can
       S next to, left of i between            ~ relative to          F of, for   P other preposition
       M it, you          X is there, you see  O according to         @ how far, distance
       w that, who (relative)                  & and    C or          b both      x not and other fillers
       ; hidden words     , and .              punctuation"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from viewgen.phrases.lexicon import ALSO_NOUNS, NO_ED, NO_ING, TAG_OF_WORD

HIDDEN = "\x00"
"""Stands for a hidden letter, so that offsets stay those of the question."""
NOUNS = "NLTQ"
"""Tags that can end a noun phrase."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or several that act as one, at question[start:end]."""

    tag: str
    start: int
    end: int


_LEFT = r"(?:(?:far|immediate|direct|lower|upper|bottom|top|front|back|rear)[\s-]+){0,2}(?:left|right)(?:[\s-]+hand)?"
_EDGE = rf"(?:{_LEFT}|top|bottom|upper|lower|front|back|rear|north|south|east|west)"
_WHERE = r"(?:on|to|at|in|from|toward|towards)\s+(?:the\s+|its\s+|his\s+|her\s+|their\s+)?(?:very\s+)?"
_PART = r"(?:\s+(?:side|corner|end|part|half|edge)s?)"
_MORE = (
    r"(?:bigger|larger|smaller|taller|shorter|longer|higher|lower|closer|closest|nearer|nearest|farther|further|wider|narrower"
    r"|brighter|darker|lighter|older|younger|newer|thicker|thinner|heavier|deeper|(?:more|less)\s+\w+)"
)
_AMOUNT = r"(?:number|amount|count|quantity)"
_MEDIUM = r"(?:information|text|words?|writing|content|label)"

_ABBREVIATION = (
    r"\b(?:(?:[A-Za-z]\.){2,}(?!\s+(?:what|which|who|where|how|is|are|does|do|can)\b)"
    r"|(?:Dr|Mr|Mrs|Ms|Prof|St|Mt|Ft|Jr|Sr|Inc|Ltd|Ave|Blvd|Rd|Gen|Sgt|Capt|Lt|Rev|vs|approx)\.(?=\s+\w)|No\.(?=\s*\d))"
)
"""Words whose full stop ends no sentence."""

_WORDS_TOGETHER = (
    ("H", rf"{HIDDEN}+"),
    ("Q", r"[\"“”][^\"“”\x00]*[\"“”]|(?<![\w'])'[^'\x00\n]+'(?!\w)|‘[^’\x00\n]+’"),
    (
        "O",
        rf"\b(?:according\s+to|based\s+on|judging\s+(?:by|from)|(?:from|by)\s+the\s+{_MEDIUM}\s+(?:on|in|from|of))\b",
    ),
    ("rel", r"\b(?:relative\s+to|in\s+relation\s+to|with\s+(?:respect|regard)\s+to|compared\s+(?:to|with))\b"),
    (
        "X",
        r"\b(?:is|are|was|were)\s+there(?:\s+any)?\b|\bthere(?:\s+(?:is|are|was|were)\b|['’]s\b)"
        r"|\b(?:do|did|can|could)\s+(?:you|we|i)\s+(?:see|spot|find|notice)(?:\s+any)?\b",
    ),
    ("far", r"\b(?:relative\s+(?:position|location)|distance|how\s+far(?:\s+away)?)\b"),
    (
        "many",
        rf"\bhow\s+(?:many|much|few)\b|\b(?:the\s+)?(?:total\s+)?{_AMOUNT}\s+of(?!\s+(?:the|this|that|a|an|his|her|its)\b)",
    ),
    ("i", r"\b(?:in\s+)?between\b"),
    (
        "S",
        r"\b(?:(?:directly|just|immediately|right|slightly)\s+)?(?:"
        rf"{_WHERE}{_LEFT}{_PART}?\s+of|(?<!the\s){_LEFT}{_PART}?\s+of|(?:to|at|in)\s+the\s+{_EDGE}{_PART}?\s+of"
        r"|in\s+the\s+(?:middle|center|centre)\s+of"
        rf"|{_MORE}\s+(?:than|to)|next\s+to|close\s+to|near(?:\s+to)?|ahead\s+of|across\s+from|opposite(?:\s+to)?"
        r"|in\s+front\s+of|on\s+top\s+of|(?<!the\s)(?:in|out)side\s+of|above|below|under|underneath|beneath|behind|besides?|over|(?<!the\s)inside"
        r"|(?<!the\s)outside|beyond|atop)\b",
    ),
    (
        "K",
        rf"\b(?:{_WHERE}{_EDGE}{_PART}?\b(?!\s+of\b)|in\s+front|on\s+top|in\s+the\s+(?:middle|center|centre|background|foreground))\b",
    ),
    ("noun", r"\b(?:traffic|street|stop|brake|head|tail|red|green)[\s-]lights?\b"),
    ("wh", r"\b(?:what|where|who|which|how)(?=['’]s\b)"),
    ("is", r"(?<=what)['’]s\b|(?<=where)['’]s\b|(?<=who)['’]s\b|(?<=which)['’]s\b|(?<=how)['’]s\b"),
    ("word", rf"{_ABBREVIATION}|\w+(?:[-.'’/]\w+)*(?:(?<=s)['’](?!\w))?"),
    ("comma", r"[,;:()–—]"),
    ("stop", r"[.?!\n]"),
)
_TOKEN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _WORDS_TOGETHER), re.IGNORECASE)
"""Alternatives are tried in order at every place: tokens of several words come before single words."""
_TAG_OF_GROUP = {
    "H": ";",
    "rel": "~",
    "far": "@",
    "many": "#",
    "noun": "N",
    "wh": "W",
    "is": "B",
    "comma": ",",
    "stop": ".",
}


def tokens_of(shown: str) -> list[Token]:
    """Tag the tokens of a question, in order, with the letters of the module's docstring; `shown` may contain HIDDEN
    letters.

    "".join(token.tag for token in tokens_of("Is the dog red?"))    # "BDNJ."
    """
    first = [Token(_first_tag(match), *match.span()) for match in _TOKEN.finditer(shown)]
    return _reread(first, shown)


def _first_tag(match: re.Match[str]) -> str:
    group = str(match.lastgroup)
    return _tag_of_word(match.group().casefold()) if group == "word" else _TAG_OF_GROUP.get(group, group)


def _tag_of_word(word: str) -> str:
    if word in TAG_OF_WORD:
        return TAG_OF_WORD[word]
    if word.endswith("ing") and word not in NO_ING:
        return "G"
    return "R" if word.endswith("ed") and word not in NO_ED else "N"


def _reread(first: Sequence[Token], shown: str) -> list[Token]:
    """Correct the tags from left to right, by the tags before and after."""
    tokens: list[Token] = []
    clause = ""  # tags since the last full stop
    for token, after in zip(first, _tags_after(first), strict=True):
        word = shown[token.start : token.end].casefold()
        if token.tag == "K" and after in "NLT" and word[-4:] not in ("side", "part"):
            new = _apart(token, word)  # "on the left tower"
        else:
            new = [Token(_tag_in_context(word, token.tag, clause, after), token.start, token.end)]
        tokens += new
        clause = "" if token.tag == "." else clause + "".join(each.tag for each in new if each.tag not in "x;")
    return _with_verbs(tokens)


def _tags_after(tokens: Sequence[Token]) -> list[str]:
    """Return, for each token, the next tag that is not a filler; "." at the end."""
    tags, after = [], "."
    for token in reversed(tokens):
        tags.append(after)
        after = after if token.tag in "x;" else token.tag
    return tags[::-1]


def _tag_in_context(word: str, tag: str, clause: str, after: str) -> str:
    before = clause[-1:] or "."
    if word in ("that", "which", "who", "whom", "whose"):
        if before in NOUNS + "K" and not (tag == "D" and after in NOUNS and "A" not in clause):
            return "w"
        return "M" if tag == "D" and after not in NOUNS + "JGRZV" else tag
    if word in ("this", "these", "those", "her"):
        return tag if after in NOUNS + "JGRZV" else "M"
    if tag == "A":
        return _auxiliary(word, clause, after)
    if tag in "VY":
        return tag if _is_verb(word, clause, after) else "N"
    if tag == "J":
        if word == "light" and before == "D":  # "is the light green", but also "the light green coat"
            return "N"
        ends = after not in NOUNS + ("JGRZ" if before in "DUJ" else "JRZ" if before in "PSFi" else after)
        return "N" if ends else tag
    if tag in "GRZ":
        if before in "DUJ#PSFiG" and after in NOUNS + "J" and not (before == "G" and tag == "G"):
            return "J"
        return "N" if before in "DU" else tag
    return "J" if word in ("on", "off") and before in NOUNS and after in ".,C" else tag


def _auxiliary(word: str, clause: str, after: str) -> str:
    before = clause[-1:] or "."
    if word == "can" and before in "DUNJ" and after not in "MDU":
        return "N"
    return "V" if word.startswith("ha") and (_awaits_a_verb(clause) or before in NOUNS + "WewM") else "A"


def _awaits_a_verb(clause: str) -> bool:
    return "A" in clause and not set("VY") & set(clause[clause.rindex("A") :])


def _is_verb(word: str, clause: str, after: str) -> bool:
    before = clause[-1:] or "."
    may_be_noun = word in ALSO_NOUNS
    if before == "W":
        return not may_be_noun or (word.endswith("s") and after != "B")
    if before in "wMA.,":
        return True
    if before in NOUNS + "JKG":
        first = not set("BAVYXGP") & set(clause) and bool(set("W#") & set(clause))
        return _awaits_a_verb(clause) or (first and after != "B")
    return not may_be_noun


def _apart(token: Token, word: str) -> list[Token]:
    """Split a place that a noun follows into its words: "on the left tower"."""
    parts = [(match.group(), *match.span()) for match in re.finditer(r"\w+", word)]
    tags = [{"P": "P", "D": "D", "U": "U"}.get(_tag_of_word(part), "J") for part, _, _ in parts]
    return [Token(tag, token.start + a, token.start + b) for tag, (_, a, b) in zip(tags, parts, strict=True)]


def _with_verbs(tokens: list[Token]) -> list[Token]:
    """Tag an unknown word as the main verb of "does" or "can": "what does the machine dispense"."""
    tags = "".join(token.tag for token in tokens)
    for match in re.finditer(r"A([^.,VYBAG]*)(?=[.,]|$)", tags):
        known = list(re.finditer(r"M[NJ](?![NLTQ])|[NLTQJ]N(?=[DUMPSFiKC&.,;b]|$)", match.group(1)))
        if known:
            at = match.start(1) + known[-1].end() - 1
            tokens[at] = Token("V", tokens[at].start, tokens[at].end)
    return tokens
