"""Make the HTML pages of reports from templates: one frame (page_frame.html) with head, colours and basic styles,
which the page of a view set and that of a run extend. Everything that goes into a page is escaped.
Leaves out: the contents of the pages (report/page.py of both packages)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template

FRAME = "page_frame.html"


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
    environment.filters |= dict(filters or {})
    environment.tests |= dict(tests or {})
    return environment.get_template(page.name)
