"""Write phrases into captions for a detector, no longer than its limit, with the tokens of every phrase. Pure.
Leaves out: the tokenizer (given as a function), the scores of tokens (groundingdino.py, transformers.py).

Grounding DINO separates phrases at full stops and question marks, and cuts captions silently at its limit: stops inside a
phrase become blanks, a list that is too long becomes several captions, and a phrase that is too long for a
caption several pieces, of which the best counts.
Shapes: Q boxes, T tokens of a caption, P pieces in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

TokensOf = Callable[[str], Sequence[tuple[int, int]]]
"""Function: text -> (start, end) of each token in characters, end outside, without special tokens."""
_BLANKS = str.maketrans(dict.fromkeys(".?", " "))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A phrase, or a part of one, in a caption."""

    phrase: str
    """The caller's phrase."""
    text: str
    """The phrase, or its part, as it stands in the caption."""
    first_token: int
    last_token: int
    """Outside: the tokens are first_token to last_token - 1, with the caption's leading special token as token 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Text for a detector, with the pieces in it. Empty text: the pieces are separate queries."""

    text: str
    pieces: tuple[Piece, ...]


def captions(phrases: Sequence[str], tokens_of: TokensOf, max_tokens: int) -> tuple[Caption, ...]:
    """Write the distinct phrases, in order, into captions of at most `max_tokens` tokens, two special ones included.

    Lower case, joined by " . ", ending in "."; a phrase without tokens is left out. Raises ValueError below 4 tokens.

    captions(["A bus", "the tower"], words, 256)[0].text    # "a bus . the tower ."
    """
    if max_tokens < 4:
        raise ValueError(f"a caption of {max_tokens} tokens holds no phrase: expected 4 or more")
    found: list[Caption] = []
    waiting: list[tuple[str, str]] = []
    room = max_tokens - 2
    for phrase, text in parts(phrases, tokens_of, room - 1):
        needed = len(tokens_of(text)) + 1
        if needed > room:
            found.append(_caption(waiting, tokens_of))
            waiting, room = [], max_tokens - 2
        waiting.append((phrase, text))
        room -= needed
    return (*found, _caption(waiting, tokens_of)) if waiting else tuple(found)


def parts(phrases: Sequence[str], tokens_of: TokensOf, max_tokens: int) -> list[tuple[str, str]]:
    """Return (phrase, text in lower case) for every distinct phrase; a long phrase has several texts of `max_tokens` or
    fewer tokens."""
    return [(phrase, text) for phrase in dict.fromkeys(phrases) for text in _cut(phrase, tokens_of, max_tokens)]


def scores(token_QT: Float[np.ndarray, "Q T"], caption: Caption) -> Float[np.ndarray, "Q P"]:
    """Return the score of each piece in each box: the maximum over its tokens."""
    return np.stack([token_QT[:, piece.first_token : piece.last_token].max(axis=1) for piece in caption.pieces], axis=1)


def _cut(phrase: str, tokens_of: TokensOf, max_tokens: int) -> list[str]:
    text = " ".join(phrase.lower().translate(_BLANKS).split())
    pieces = []
    while len(tokens := tokens_of(text)) > max_tokens:
        end = tokens[max_tokens][0]
        while len(tokens_of(text[:end])) > max_tokens:  # part of a word can be more tokens than it was in the whole
            end -= 1
        blank = text.rfind(" ", 0, end + 1)
        end = blank if blank > 0 else end
        pieces.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*pieces, text] if tokens else pieces


def _caption(texts: Sequence[tuple[str, str]], tokens_of: TokensOf) -> Caption:
    caption = " . ".join(text for _, text in texts) + " ."
    tokens = tokens_of(caption)
    pieces, start = [], 0
    for phrase, text in texts:
        inside = [n for n, (first, last) in enumerate(tokens) if start <= first and last <= start + len(text)]
        pieces.append(Piece(phrase=phrase, text=text, first_token=inside[0] + 1, last_token=inside[-1] + 2))
        start += len(text) + len(" . ")
    return Caption(text=caption, pieces=tuple(pieces))
