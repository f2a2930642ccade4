"""Rules of the house that a program can check: where things live, how long they are, what never gets committed."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("viewgen", "trainer")
NO_NAMES = {"utils.py", "util.py", "common.py", "base.py", "helpers.py", "misc.py"}
MOST_LINES = {"function": 60, "module": 400}
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("work", "root", "home", "Users"))


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def committed() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_is_named_after_nothing() -> None:
    for path in sources(*PACKAGES):
        assert path.name not in NO_NAMES, path


def test_data_is_no_python() -> None:
    assert not sources("datasets")


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_fit_on_their_pages(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES["module"]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            num_lines = (node.end_lineno or 0) - node.lineno + 1
            assert num_lines <= MOST_LINES["function"], f"{node.name} has {num_lines} lines"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_the_path_of_a_machine_is_never_committed() -> None:
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = [part for part in MACHINE_PATHS if part in text]
        assert not found, f"{path.relative_to(ROOT)} holds {found[0]}"
