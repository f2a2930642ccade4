"""Is this answer right? One rule per scorer, in its docstring. No model judges and nothing is guessed: an answer that
the rule cannot read is wrong, every time. Pure.
Leaves out: where answers come from and what is counted (evaluate.py).

A scorer takes the answer, the truth, and the options in their order, which only multiple_choice looks at."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TypeVar

from trainer.errors import DataError, TrainerError
from trainer.evaluation.choices import read_choice
from trainer.evaluation.numbers import read_number
from trainer.evaluation.words import normalised

Reading = TypeVar("Reading", str, Decimal)
Scorer = Callable[[str, str, Sequence[str]], bool]


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
    ("twenty-one", "two hundred") count when there is no digit. Units are not read. Raises DataError when the truth holds
    no number."""
    return read_number(answer) == _readable(read_number(truth), truth, "a number")


def yes_no(answer: str, truth: str, options: Sequence[str] = ()) -> bool:
    """Compare yes and no: the answer begins with one of them or holds only one. Raises DataError when the truth is
    neither."""
    return read_yes_no(answer) == _readable(read_yes_no(truth), truth, "yes or no")


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {"exact_match": exact_match, "multiple_choice": multiple_choice, "number": number, "yes_no": yes_no}
)
"""By the name that a run's settings give."""


def read_yes_no(text: str) -> str | None:
    """yes, no, or None: the first word, if it is one of the two; else the only one of the two that occurs."""
    words = re.findall(r"\w+", text.casefold())
    if words[:1] in (["yes"], ["no"]):
        return str(words[0])
    held = {"yes", "no"}.intersection(words)
    return held.pop() if len(held) == 1 else None


def _readable(read: Reading | None, truth: str, expected: str) -> Reading:
    if read is None:
        raise DataError(f"the true answer {truth!r} cannot be scored: expected {expected}. Mend the column `answer`.")
    return read
