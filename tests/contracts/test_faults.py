"""Every fault that was found in use is held by a test: docs/log.md lists their kinds, tests carry their numbers."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAST = 34


def test_every_number_has_a_test_and_a_line_in_the_log() -> None:
    marks = re.compile(r"^@pytest\.mark\.fault\((\d+)\)$", re.MULTILINE)
    held = {int(number) for path in (ROOT / "tests").rglob("test_*.py") for number in marks.findall(path.read_text())}
    assert held == {*range(LAST + 1)}
    log = (ROOT / "docs" / "log.md").read_text()
    listed = {int(number) for number in re.findall(r"^- \*\*(\d+)\*\* ", log, re.MULTILINE)}
    assert listed == {*range(LAST + 1)}
