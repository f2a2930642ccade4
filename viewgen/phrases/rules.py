"""Find the phrases of an English question by rules. Pure.
Leaves out: tags of words (words.py), parsers and language models (spacy.py, chat.py, local.py), finding the thing in the
image (grounding/regions.py).

Words that cannot name a thing are hidden first: answer options, instructions, and "in the image". Each word left becomes
one letter (words.py), and a rule is a pattern over those letters. Rules are tried in order; the first with phrases that
all name a thing wins. A question that no rule fits has no phrase."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from viewgen.phrases.lead import lead_end
from viewgen.phrases.words import HIDDEN, Token, tokens_of
from viewgen.records import Phrase

_PICTURE = r"(?:image|picture|photo|photograph|scene|figure|screenshot|painting|drawing)"
_THE = r"(?:the|this|that)\s+(?:(?:given|provided|above|following|whole)\s+)?"
_THE_PICTURE = rf"{_THE}{_PICTURE}\b(?!\s+(?:frame|book|of)\b)"
_THE_CHART = rf"{_THE}(?:(?:line|bar|pie|flow)[\s-]?)?(?:chart|graph|diagram|plot|table)\b"
_PART = (
    r"(?:(?:upper|lower|left|right|top|bottom|middle|central|far|very|hand)[\s-]+){0,4}"
    r"(?:side|part|corner|half|area|region|section|edge|left|right|top|bottom|middle|center|centre|background|foreground)"
)

_TO_HIDE = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"</?[a-z|][^<>\n]{0,300}>",
        r"\b(?:options|choices)\s*:.*",
        # The first option and all that follows: "(A) red (B) blue", "A. red", "A) red", at a line's start or after "?".
        r"(?:(?<=[?.:\n])|^)\s{0,8}\(?[A-E1-5][.):]\s.*",
        r"\(A\)\s.*",
        r"\b(?:please\s+)?(?:answer|respond|reply|choose|select)\s+(?:with|the|in|using|from|by|directly|briefly)\b[^?\n]*",
        r"\bthe\s+best\s+answer\s+is\b.*",
        r"\bis\s+it\s+(?:true|correct|the\s+case)\s+that\b",
        rf"\b(?:(?:on|in|at)\s+)?(?:the\s+)?{_PART}\s+of\s+{_THE_PICTURE}",
        rf"\b(?:according\s+to|based\s+on|(?:as\s+)?(?:shown|seen|visible|depicted|displayed)\s+(?:in|on)|within|from|in|on)"
        rf"\s+{_THE_PICTURE}",
        rf"\b(?:according\s+to|based\s+on)\s+{_THE_CHART}|\bin\s+{_THE_CHART}(?=\s*[,?.])",
    )
)

# A noun phrase over the letters of words.py: a core, then what is said of it.
_CORE = r"(?:[DUb]{0,2}[NJLTQ]*[NLTQ])"
_AT = rf"(?:K|P?[PSFi]{_CORE})"
_WHICH = rf"(?:w(?:[BAVYGRZJx]++{_CORE}?|{_CORE}[BAVG]++)|(?<=[NLT])[DU]N++BG)"
_DOING = rf"(?:G(?:[xJ]?{_AT}|{_CORE})|[RZ][xJ]?{_AT})"
_NP = rf"(?:{_CORE}(?:{_AT}|{_WHICH}|{_DOING}(?:&{_DOING})*)*)"
_A, _B, _NEAR_B = rf"(?P<a>{_NP})", rf"(?P<b>{_NP})", rf"(?P<b>{_CORE}{_AT}*)"

_START = r"(?:^|(?<=[.,&]))"
_END = r"(?=[.,;]|$)"
_ASKED = r"[We][NJLTF]*"  # "what", "which kind of animal"
_BEING = r"B[RGZx]*"
_AND_SIDES = r"(?:[KJSP][C&,]+)+"  # "left or", "above or"

_RULES = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("source", rf"O(?!U){_A}"),
        ("relation", rf"@F{_A}P{_B}"),
        ("relation", rf"@(?:P|{_BEING}){_A}P{_NEAR_B}"),
        ("relation", rf"i{_A}&{_B}"),
        ("relation", rf"(?:F|{_BEING}){_A}[RGZ]*~{_B}"),
        ("relation", rf"(?:{_START}B|X){_A}[RGZx]*{_AND_SIDES}[S~]{_B}"),
        ("relation", rf"{_START}{_A}B[RGZx]*(?:{_AND_SIDES})?S{_NEAR_B}{_END}"),
        ("relation", rf"{_START}B{_A}[RGZx]*S{_NEAR_B}(?=[.,;C]|$)"),
        ("relation", rf"W[NJ]F{_A}B{_B}"),
        ("choice", rf"W[^.]*?,{_A},?C{_B}"),
        ("pair", rf"[BA]b?{_A}&{_B}(?=[DUNJRGVYLTKS])"),
        ("pair", rf"Xb?{_A}[&C]{_B}"),
        ("pair", rf"[LT]Fb?{_A}&{_B}"),
        ("reading", rf"[SP]Q[PS]{_A}"),
        ("reading", rf"A{_A}x?Y"),
        ("reading", rf"AM[VY][PS]+(?!Q){_A}"),
        ("reading", rf"{_START}{_ASKED}{_BEING}[PSi]+Q[PS]{_A}"),
        ("reading", rf"Z[PSF]+(?!Q){_A}"),
        ("reading", rf"T[wB]*[RZGV]*[PSFi]+(?!Q){_A}"),
        ("place", rf"{_ASKED}{_BEING}[PSi]+{_A}"),
        ("place", rf"{_ASKED}BD[NJLTF]+w{_BEING}[PSi]+{_A}"),
        ("place", rf"AM[VN][PS]+{_A}"),
        ("attribute", rf"{_ASKED}L[NJLTF]*B{_A}V?{_END}"),
        ("counting", rf"#[NJLTFP]*[BX]*[RGZ]*[PSi]+(?=[DU]){_A}"),
        ("counting", rf"#[NJLTFP]*A{_A}V"),
        ("counting", rf"#[NJLTF]+B(?=[DU]){_A}"),
        ("counting", rf"#F?{_A}"),
        ("action", rf"W[NJLTF]+B{_A}(?:G|[RZ]P?{_END})"),
        ("attribute", rf"L(?:PL)?F{_A}"),
        ("attribute", rf"L[PSi](?=[DU]){_A}"),
        ("existence", rf"Xb?{_A}"),
        ("existence", rf"{_START}BM(?=D){_A}"),
        ("existence", rf"{_START}B{_A};"),
        ("action", rf"{_ASKED}A{_A}V"),
        ("action", rf"{_ASKED}B{_A}(?:[GV]|[RZ]P?{_END})"),
        ("action", rf"{_ASKED}B{_A}[SP]+{_END}"),
        ("action", rf"{_START}{_A}BGW"),
        ("action", rf"{_ASKED}{_BEING}{_A}[GRZ]"),
        ("place", rf"{_ASKED}[VY]U[NJ]+[PSi]+{_A}"),
        ("action", rf"{_ASKED}(?:BG|[VY])[PSx]*{_A}"),
        ("attribute", rf"{_ASKED}L[NJLTF]*{_A}B{_END}"),
        ("place", rf"e{_BEING}{_A}"),
        ("attribute", rf"W[NJ]*B(?=[DU]){_A}"),
        ("yes_no", rf"{_START}B{_A}(?=[JNGRZDKPSx])"),
        ("yes_no", rf"{_START}A{_A}V"),
        ("quoted", r"(?P<a>Q)"),
        ("noun_phrase", rf"(?=[DU]){_A}"),
        ("asked", r"W[LTF]*(?P<a>[NJ]*N)"),
    )
)
_MAX_TOKENS = 1000
_WORD = re.compile(r"\w+")
_EMPTY = frozenset(
    _WORD.findall(
        "the a an this that these those his her their its it they he she you i we them there any some one thing things"
        " object objects left right side top bottom middle center centre background foreground"
    )
)
_EDGES = " \t\r\n.,;:?!" + HIDDEN
_QUOTES = "\"“”'‘’"


def find_phrases(question: str) -> tuple[Phrase, ...]:
    """Find the phrases of a question, in order; text == question[start:end]. Empty when no rule fits.

    Of more than 1000 words only the last 1000 are read: a question stands at the end of its story.

    find_phrases("What is on the red sign?")[0].text    # "the red sign"
    """
    shown = hide(question)
    tokens = _without_hidden(tokens_of(shown))[-_MAX_TOKENS:]
    tags = "".join(token.tag for token in tokens)
    for name, rule in _RULES:
        for match in rule.finditer(tags):
            phrases = tuple(_phrases(question, shown, name, match, tokens))
            if len(phrases) == len(match.groupdict()) and all(names_a_thing(phrase.text) for phrase in phrases):
                return distinct(phrases)
    return ()


def hide(question: str) -> str:
    """Replace what stands before the question, options, instructions, markup and "in the image" by as many HIDDEN
    letters; offsets stay those of the question."""
    before = lead_end(question)
    shown = HIDDEN * before + question[before:]
    for pattern in _TO_HIDE:
        shown = pattern.sub(lambda match: HIDDEN * len(match.group()), shown)
    return shown


def _without_hidden(tokens: Sequence[Token]) -> list[Token]:
    """Drop hidden tokens unless they end a sentence: "is the dog in the image?" is about a dog."""
    after = [*(token.tag for token in tokens[1:]), "."]
    return [token for token, tag in zip(tokens, after, strict=False) if token.tag != ";" or tag == "."]


def _phrases(question: str, shown: str, rule: str, match: re.Match[str], tokens: Sequence[Token]) -> Iterator[Phrase]:
    for first, after in (match.span(group) for group in match.groupdict()):
        start, end = tokens[first].start, tokens[after - 1].end
        # A phrase that runs into something hidden ends there.
        end = min(end, shown.find(HIDDEN, start) if HIDDEN in shown[start:end] else end)
        edges = _EDGES + (_QUOTES if match.string[first:after] == "Q" else "")
        start += len(shown[start:end]) - len(shown[start:end].lstrip(edges))
        end = start + len(shown[start:end].rstrip(edges))
        if start < end:
            name = "quoted" if match.string[first:after] == "Q" else rule
            yield Phrase(text=question[start:end], start=start, end=end, rule=name)


def names_a_thing(text: str) -> bool:
    """Return True unless every word of the text only points: "it", "the one on the left"."""
    return any(word not in _EMPTY for word in _WORD.findall(text.casefold()))


def distinct(phrases: Sequence[Phrase]) -> tuple[Phrase, ...]:
    """Return each text once, at its first place."""
    first: dict[str, Phrase] = {}
    for phrase in phrases:
        first.setdefault(phrase.text.casefold(), phrase)
    return tuple(first.values())
