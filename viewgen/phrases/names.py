"""Tell whether two phrases may name one thing. Pure.
Leaves out: synonyms; finding phrases (rules.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_POINTING = {
    *("the", "a", "an", "this", "that", "these", "those", "his", "her", "its", "their", "my", "your", "our", "some"),
    *("any", "one", "each", "every", "all", "both", "another", "other", "first", "second", "third"),
}
_PLURALS = (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss"), ("s", ""))


def words_named(phrase: str) -> frozenset[str]:
    """Return the words of a phrase that say what it names: lower case, singular, without articles.

    words_named("The two red Circles") == words_named("two red circle")    # True
    """
    words = [word for word in _WORD.findall(phrase.casefold()) if word not in _POINTING]
    return frozenset(map(_singular, words)) or frozenset(_WORD.findall(phrase.casefold()))


def may_name_the_same(some: Iterable[str], others: Iterable[str]) -> bool:
    """Return True when a phrase of either side names what one of the other side names, or a sort of it: a red circle is
    a circle."""
    named, named_too = ([words_named(phrase) for phrase in phrases] for phrases in (some, others))
    return any(mine <= theirs or theirs <= mine for mine in named for theirs in named_too)


def _singular(word: str) -> str:
    for ending, instead in _PLURALS:
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith(("ss", "us", "is")):
            return word.removesuffix(ending) + instead
    return word
