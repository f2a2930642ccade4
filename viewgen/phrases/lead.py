"""Find the end of what stands before a question: numbers, labels, instructions, answer options. Pure.
Leaves out: what stands behind it or inside it (rules.py)."""

from __future__ import annotations

import re

_PICTURE = (
    r"(?:the|this|that|given|following|attached)\s+(?:(?:given|following|attached|provided)\s+)?"
    r"(?:image|picture|photo|photograph|figure|scene)"
)
_SENTENCE_END = r"(?:[.!:](?=\s)|\n)"
_REST = rf"(?:[^.!?:\n]|[.!:](?=\S))*{_SENTENCE_END}"
"""The rest of a sentence without a question mark."""

_LEADS = tuple(
    re.compile(rf"\s*+{pattern}\s*+", re.IGNORECASE)
    for pattern in (
        r"[-*•#>]+\s",
        r"</?[a-z|][^<>\n]{0,300}>",
        r"[\[(*#_]*(?:question|query|q|task|problem|user|human|prompt)\s*\d{0,4}[\])*_]*[:.)\]*_]+",
        r"#*+\s*+(?:question|query|task|problem)\s*\d{0,4}\n",
        r"\(?(?:\d{1,3}|[a-z])[.):](?=\s)",
        rf"(?:hint\s*:\s*)?(?:please\s+)?(?:answer|respond|reply|choose|select)\s+"
        rf"(?:with|the|this|these|in|using|from|by|directly|briefly|only)\b{_REST}",
        r"(?:please\s+)?answer\s*:",
        rf"(?:please\s+)?(?:look\s+(?:carefully\s+)?at|observe|examine|study|inspect|consider|view|see)\s+{_PICTURE}\b"
        rf"(?:\s+(?:carefully|closely|below|above))*(?:{_SENTENCE_END}|,?\s+and\s+(?:please\s+)?(?:answer|tell\s+me){_REST})",
        rf"(?:please\s+)?(?:look\s+carefully|think\s+(?:carefully|step\s+by\s+step)|let['’]s\s+think){_REST}",
        rf"(?:given|based\s+on|using|with)\s+{_PICTURE},?\s+(?:please\s+)?answer{_REST}",
        r"(?:please\s+)?(?:(?:can|could|would|will)\s+you\s+(?:please\s+)?)?tell\s+(?:me|us)\s*[,:]?(?=\s)",
        r"(?:yes\s+or\s+no|true\s+or\s+false)\s*[:,?]",
    )
)
"""Things that may stand before a question, one after another."""
_HEADING = re.compile(r"\s*+(?:options|choices|answers)\s*+:?\s*+", re.IGNORECASE)
_LABEL = re.compile(r"(?:(?<=\s)|^)\(?([A-H1-8])[.):]\s")
_OPTION_END = re.compile(r"\n|\.\s+(?=[A-Z])")
_MAX_PIECES = 16
_LETTER = re.compile(r"\w")


def lead_end(question: str) -> int:
    """Return where the lead ends and the question proper begins; 0 without a lead, and where nothing would be left.

    lead_end("1. What is on the red sign?")    # 3
    """
    end = 0
    for _ in range(_MAX_PIECES):
        end = max(end, _step(question, end))
    return end


def _step(question: str, begin: int) -> int:
    """Return the end of the next piece of the lead; 0 when there is none."""
    last_option = _last_option(question, begin)
    if last_option is not None:
        end = _options_end(question, last_option)
    else:
        end = max((match.end() for lead in _LEADS if (match := lead.match(question, begin))), default=0)
    return end if end > begin and _LETTER.search(question, end) else 0


def _last_option(question: str, begin: int) -> int | None:
    """Return the place behind the last label of answer options that begin here; None where none do."""
    heading = _HEADING.match(question, begin)
    at = heading.end() if heading else begin
    labels = list(_LABEL.finditer(question, at))
    if not labels or question[at : labels[0].start()].strip() or labels[0][1] not in "A1":
        return None
    last = labels[0]
    for label in labels[1:]:
        if ord(label[1]) == ord(last[1]) + 1:
            last = label
    is_list = last is not labels[0] and "?" not in question[at : last.start()]
    return last.end() if is_list else None


def _options_end(question: str, last: int) -> int:
    """Return the end of the last option; 0 where it runs to the end of the text."""
    end = _OPTION_END.search(question, last)
    return end.end() if end else 0
