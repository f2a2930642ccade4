"""The README's words are run: its queries, recipes, commands and its list of files."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import pytest

from viewgen.build.config import BuildConfig
from viewgen.settings import settings_from

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("query", blocks("sql"))
def test_every_query_runs_on_a_view_set(query: str, drawn_views: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drawn_views)
    with duckdb.connect() as database:
        assert database.sql(query).fetchall()


def test_three_queries_are_shown() -> None:
    assert len(blocks("sql")) == 3


@pytest.mark.parametrize("recipe", blocks("toml"))
def test_every_recipe_is_read_without_complaint(recipe: str) -> None:
    assert settings_from(tomllib.loads(recipe), BuildConfig, "README.md").source.query


def commands() -> list[list[str]]:
    return [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines() if line.strip()]


def test_every_command_is_one_that_exists() -> None:
    from typer.main import get_command

    from trainer.cli import app as trainer
    from viewgen.cli import app as viewgen

    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for program, verb, *arguments in commands():
        if program == "make":
            assert verb in targets
            continue
        command = get_command({"viewgen": viewgen, "trainer": trainer}[program]).commands[verb]  # type: ignore[attr-defined]
        command.make_context(verb, list(arguments))  # refuses what it does not know


def test_every_file_of_the_packages_stands_in_the_tree() -> None:
    (tree,) = [block for block in blocks("text") if block.startswith("viewgen/")]
    halves = {"viewgen": tree[: tree.index("\ntrainer/")], "trainer": tree[tree.index("\ntrainer/") :]}
    for package, half in halves.items():
        listed = set(re.findall(r"^  ([\w./]+)", half, re.MULTILINE))
        there = {path.name for path in (ROOT / package).glob("*.py") if path.name != "__init__.py"}
        folders = {
            f"{path.name}/" for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"
        }
        assert listed == there | folders


def test_its_python_runs_on_a_view_set(drawn_views: Path, tmp_path: Path) -> None:
    (program,) = blocks("python")
    (tmp_path / "build" / "demo").mkdir(parents=True)
    (tmp_path / "build" / "demo" / "views").symlink_to(drawn_views)
    assert len(program.strip().splitlines()) <= 11
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("?")
    assert {path.name for path in tmp_path.glob("*.png")} == {"crop.png", "off_region.png"}


def test_every_linked_file_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("https://"):
            assert (ROOT / link).exists(), link


def test_the_demo_target_runs_the_commands_that_the_files_name() -> None:
    made = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for file in ("datasets/demo.toml", "runs/demo.toml"):
        for line in re.findall(r"^#   (.+)$", (ROOT / file).read_text(), re.MULTILINE):
            assert line in made
