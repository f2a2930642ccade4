"""The how-to pages are run: their files are written, their commands run in order, and what they print is compared."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from viewgen.build.config import BuildConfig
from viewgen.settings import settings_from

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PARSED_ONLY = {"photographs.toml"}
"""Recipes that need weights from a hub."""


def run(program: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(line: str) -> str:
    package, *arguments = shlex.split(line)
    assert package in {"viewgen", "trainer"}
    return f"import sys; from {package}.cli import main; sys.argv = {[package, *arguments]!r}; main()"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_works_from_its_first_line_to_its_last(page: Path, tmp_path: Path) -> None:
    printed = ""
    num_compared = 0
    for language, title, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if title in PARSED_ONLY:
            assert settings_from(tomllib.loads(text), BuildConfig, title).source.query
        elif title:
            (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title).write_text(text, encoding="utf-8")
        elif language == "sh":
            printed = "".join(run(command(line), tmp_path) for line in text.splitlines())
        elif language == "python":
            run(text, tmp_path)
        elif language == "text":
            assert printed.strip() == text.strip()
            num_compared += 1
    made = {path.name for path in tmp_path.iterdir()}
    assert made & {"my-views", "views"}
    expected = {"own-csv": 1, "looking-at-views": 2}
    assert num_compared == expected.get(page.stem, 0)


def test_each_how_to_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(PAGES) >= 4
    assert all(f"howto/{page.name}" in nav for page in PAGES)
