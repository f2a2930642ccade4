"""Phrases -> captions that a detector can read: no longer than its limit, with the place of every phrase in each.
Leaves out: the tokenizer (given as a function) and the scores (groundingdino.py, zero_shot.py). Pure.

Grounding DINO parts phrases at full stops and question marks, and cuts what is beyond its limit without a word: stops
inside a phrase become blanks, a list that is too long becomes several captions, and a phrase that is too long for any
caption several pieces, of which the best counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

TokensOf = Callable[[str], Sequence[tuple[int, int]]]
"""A text -> first and last character (outside) of each of its tokens, special tokens left out."""
_BLANKS = str.maketrans(dict.fromkeys(".?", " "))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A phrase, or a part of one, in a caption."""

    phrase: str
    """As it was asked for."""
    text: str
    """As the detector reads it."""
    first_token: int
    last_token: int
    """Outside: the tokens are first_token to last_token - 1, counted with the special token that opens a caption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Text that a detector reads with one image."""

    text: str
    pieces: tuple[Piece, ...]


def captions(phrases: Sequence[str], tokens_of: TokensOf, max_tokens: int) -> tuple[Caption, ...]:
    """Captions of at most `max_tokens` tokens, two special ones included, that hold every distinct phrase in order.

    Lower case, joined by " . ", ending in "."; a phrase without any token is in none."""
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
    """Every distinct phrase beside its text in lower case, or beside each of several pieces of `max_tokens` or fewer."""
    return [(phrase, text) for phrase in dict.fromkeys(phrases) for text in _cut(phrase, tokens_of, max_tokens)]


def scores(token_QT: Float[np.ndarray, "Q T"], caption: Caption) -> Float[np.ndarray, "Q P"]:
    """Score of each of P pieces in each of Q boxes: that of its likeliest token."""
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
