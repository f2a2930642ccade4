"""docs/kinds.md is printed from the records of the kinds and flags."""

from __future__ import annotations

import re
from pathlib import Path

from viewgen.audit.catalogue import kinds_page
from viewgen.audit.flags import FLAGS
from viewgen.views import KINDS, ViewsConfig

PRINTED = Path(__file__).parents[3] / "docs" / "kinds.md"


def test_the_document_is_what_the_code_prints() -> None:
    assert PRINTED.read_text(encoding="utf-8") == kinds_page(), "run: viewgen kinds > docs/kinds.md"


def test_every_kind_has_its_section_and_every_flag_its_meaning() -> None:
    page = kinds_page()
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == list(KINDS)
    assert all(f"| `{flag}` | {meaning} |" in page for flag, meaning in FLAGS.items())


def test_a_kind_names_only_flags_and_settings_that_exist() -> None:
    for kind in KINDS.values():
        assert set(kind.flags) <= set(FLAGS), kind.name
        assert all(hasattr(ViewsConfig(), setting) for setting in kind.settings.values()), kind.name
