"""Name the errors that a user can cause. Each message is one line: file, value found, value expected, remedy.
Leaves out: mistakes of our own, which are assertions."""

from __future__ import annotations

import re
from typing import ClassVar


class ViewgenError(Exception):
    """An error that a user can cause and mend. The command line prints its message alone and exits with code 2."""

    exit_code: ClassVar[int] = 2


class SettingsError(ViewgenError):
    """A TOML file that holds a wrong, misspelt or missing setting."""


class RecipeError(ViewgenError):
    """A recipe whose source cannot be read as questions."""


class ImageError(ViewgenError):
    """An image that cannot be opened safely. A build turns it into rejected questions."""


class ModelError(ViewgenError):
    """A model that is missing, incomplete, or does not fit its own configuration."""


class ShardError(ViewgenError):
    """A view set that is missing, broken, or of another schema version."""


class ReviewsError(ViewgenError):
    """A file of reviews that is missing or malformed."""


class WorkerError(ViewgenError):
    """A worker process of a build that ended before its work was done."""


class ShortfallError(ViewgenError):
    """A command that ended with nothing, or with half lost to one reason. The command line exits with code 3."""

    exit_code = 3


class QueryError(ViewgenError):
    """A query over a view set that is wrong, or that does more than read its tables."""


def brief(error: Exception) -> str:
    """Return the first sentence of an error's message, on one line of at most 200 characters.

    The sentences after it are a library's advice, which need not fit here; addresses are left out for the same reason."""
    text = re.sub(r"\s*\([^()]*https?://[^()]*\)|\s*https?://\S+", "", " ".join(str(error).split()))
    first = re.split(r"(?<=[\w)'\"`])[.!]\s+(?=[A-Z`'\"])", text, maxsplit=1)[0]
    return first[:200].rstrip(" .:") or type(error).__name__


def database_fault(error: Exception) -> str:
    """Return the part of a DuckDB error that says what is wrong, on one line of at most 300 characters.

    Left out: the drawing of the place in the query, the functions that might have been meant, and lists of options.

    database_fault(error)    # 'Binder Error: Referenced column "idd" not found in FROM clause! Candidate bindings: "id"'
    """
    lines: list[str] = []
    for line in str(error).splitlines():
        if not line.strip() or line.startswith(_ADVICE):
            break
        lines.append(_cut(" ".join(line.split()), 160))
    return _cut(" ".join(lines), 300).removesuffix(".") or type(error).__name__


_ADVICE = ("LINE ", "Candidate functions", "\tCandidate", "Possible ", "Potential ", "* ", "Try ", "If you are trying")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
