"""Make the HTML pages of reports from templates: one frame (page_frame.html) with head, colours and basic styles,
which the page of a view set and that of a run extend. Everything that goes into a page is escaped.
Leaves out: the contents of the pages (report/page.py of both packages)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template

FRAME = "page_frame.html"


_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Controls of the writing direction: one in a question would turn round the rest of its line."""


def without_bidi(text: str) -> str:
    """Return the text with its controls of the writing direction spelled out, as in <U+202E>."""
    return _BIDI.sub(lambda match: f"<U+{ord(match.group()):04X}>", text)


def _finalized(value: object) -> object:
    return without_bidi(value) if type(value) is str else value  # markup is the template's own


def page_template(
    page: Path,
    filters: Mapping[str, Callable[..., object]] | None = None,
    tests: Mapping[str, Callable[[Any], bool]] | None = None,
) -> Template:
    """Load a page that extends the frame. A name that the page uses and rendering does not give raises an error.

    page_template(Path("page.html")).render(title="A run")
    """
    texts = {path.name: path.read_text(encoding="utf-8") for path in (Path(__file__).with_name(FRAME), page)}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=DictLoader(texts)
    )
    environment.finalize = _finalized
    environment.filters |= dict(filters or {})
    environment.tests |= dict(tests or {})
    return environment.get_template(page.name)
