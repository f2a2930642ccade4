"""The how-to pages are run: files are written, commands and Python executed in order, their output compared with the
page. Pages that go on from one another share a folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from trainer.cli import main as trainer
from viewgen.build.config import BuildConfig
from viewgen.cli import main as viewgen
from viewgen.settings import settings_from

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "docs" / "howto"
CHAINS = (
    ("own-set",),
    ("exports",),
    ("decontamination",),
    ("checking-views",),
    ("reading-views",),
    ("own-csv", "looking-at-views"),
    ("training", "reading-the-run-page"),
)
"""Pages in the order in which they are read; each goes on in the folder of the one before it."""
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


class Block(NamedTuple):
    language: str
    title: str
    """File that the block is written to; empty for a block that is no file."""
    text: str


def blocks(page: str) -> list[Block]:
    text = (HOWTO / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    assert 2 * len(found) == len(re.findall(r"^```", text, re.MULTILINE)), f"{page}: a block that the test cannot read"
    return [Block(*parts) for parts in found]


def run_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `viewgen ...` or `trainer ...` in this process, as its console script would."""
    program, *arguments = shlex.split(line, comments=True)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as end:
        {"viewgen": viewgen, "trainer": trainer}[program]()
    assert end.value.code == 0, line


def run_python(program: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loosely(line: str) -> str:
    """Return the line with single blanks, and with decimals as one sign: they may differ between machines, whole
    numbers not."""
    return " ".join(NUMBER.sub(lambda number: "#" if "." in number[0] else number[0], line).split())


def missing_lines(shown: str, printed: str) -> Iterator[str]:
    """Lines that the page shows and the command did not print in this order."""
    rest = iter([loosely(line) for line in printed.splitlines()])
    for line in shown.splitlines():
        if loosely(line) not in rest:
            yield line


def follow(page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Do all that a page says, in the folder worked in."""
    printed = ""
    for block in blocks(page):
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            for line in block.text.splitlines():
                run_command(line, monkeypatch)
            printed = capsys.readouterr().out
        elif block.language == "python":
            printed = run_python(block.text)
        else:
            assert block.language == "text", f"{page}: a block of {block.language!r} that is neither run nor written"
            assert not list(missing_lines(block.text, printed)), f"{page}: not printed\n{printed}"


@pytest.mark.parametrize("chain", CHAINS, ids=" then ".join)
def test_every_page_can_be_followed_to_its_end(
    chain: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for page in chain:
        follow(page, monkeypatch, capsys)


def test_no_page_is_left_out() -> None:
    assert sorted(page for chain in CHAINS for page in chain) == sorted(path.stem for path in HOWTO.glob("*.md"))


def test_the_recipe_for_photographs_is_one_that_a_build_reads() -> None:
    (recipe,) = [block for block in blocks("own-csv") if block.title == "photographs.toml"]
    config = settings_from(tomllib.loads(recipe.text), BuildConfig, recipe.title)
    assert config.regions.method == "fused"
    assert config.detector.model_name == "hf-hub:ShilongLiu/GroundingDINO"


def test_a_line_that_was_not_printed_is_found() -> None:
    printed = "kept  4 of 6, 0.25 s\nrejected  2\n"
    assert not list(missing_lines("kept 4 of 6, 0.3 s\nrejected 2\n", printed))
    assert list(missing_lines("kept 5 of 6, 0.3 s\n", printed)) == ["kept 5 of 6, 0.3 s"]
    assert list(missing_lines("rejected 2\nkept 4 of 6, 0.3 s\n", printed)) == ["kept 4 of 6, 0.3 s"]
