"""What is printed of settings: name, type, range, default and the sentence beneath the field."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import Annotated, Literal

from viewgen.setting_docs import setting_docs, settings_page, settings_toml, tables_of
from viewgen.settings import Range


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of two."""

    size: Annotated[int, Range(ge=1, unit="px")] = 8
    """Side of
    the box."""
    how: Literal["a", "b"] = "b"
    """Way to do it."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """All of it."""

    root: str
    """Folder."""
    table: Table = field(default_factory=Table)


def test_a_setting_is_told_in_full() -> None:
    size, how = setting_docs(Table)
    assert (size.name, size.type, size.limits, size.default, size.sentence) == (
        "size",
        "whole number",
        "at least 1 px",
        "8",
        "Side of the box.",
    )
    assert (how.type, how.limits, how.default) == ("`a`, `b`", "", '"b"')


def test_tables_follow_the_settings_at_the_top() -> None:
    assert list(tables_of(Whole)) == [("", Whole), ("table", Table)]
    assert list(tables_of(Table)) == [("", Table)]


def test_the_page_has_a_row_for_each_setting_and_says_what_is_required() -> None:
    page = settings_page("program", Whole)
    assert "| `root` | text | | required | Folder. |" in page
    assert '| `how` | `a`, `b` | | `"b"` | Way to do it. |' in page
    assert "### `[table]`\n\nA table of two.\n" in page


def test_the_toml_holds_every_default_and_leaves_required_settings_to_the_user() -> None:
    text = settings_toml("program", Whole)
    assert tomllib.loads(text) == {"table": {"size": 8, "how": "b"}}
    assert '# root = ""    (required)' in text
    assert "# Side of the box. (whole number; at least 1 px)" in text
