"""A question -> the phrases in it that name something worth looking for in the image."""

from __future__ import annotations

from viewgen.phrases.rules import find_phrases

__all__ = ["find_phrases"]
