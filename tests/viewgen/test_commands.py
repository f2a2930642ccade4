"""The frame of the command lines: a missing extra, a full disk and an interrupt are one line each."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from viewgen.commands import INTERRUPTED, new_app, run_app
from viewgen.errors import ViewgenError

ROOT = Path(__file__).parents[2]
BLOCKED = """
import sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "transformers", "open_clip", "groundingdino"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked())
"""
APP = new_app("Raise what a command may raise.")


@APP.command()
def work(what: str) -> None:
    """Raise one error."""
    errors = {"mendable": ViewgenError("a.toml: x is 1; it must be 2."), "interrupt": KeyboardInterrupt()}
    raise errors.get(what, OSError(28, "No space left on device", "views/part"))


@APP.command()
def other() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("mendable", 2, "error: a.toml: x is 1; it must be 2.\n"),
        ("disk", 2, "error: views/part: No space left on device. Free space or name another place.\n"),
        ("interrupt", INTERRUPTED, "stopped here.\n"),
    ],
)
def test_each_end_has_its_code_and_its_line(
    what: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(APP, "app", ["work", what], extra="build", when_stopped="stopped here.") == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("viewgen", ["build", "recipe.toml", "--out", "views"], "build"),
        ("trainer", ["run", "run.toml", "--out", "o"], "train"),
    ],
)
def test_a_missing_extra_is_one_line_that_says_how_to_install_it(
    package: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    (tmp_path / "recipe.toml").write_text(
        """[source]\nroot = "."\nquery = "SELECT 'q' AS question_id, 'i' AS image_path, 'a' AS question"\n"""
        """[regions]\nmethod = "retrieval"\n"""
    )
    (tmp_path / "i").write_bytes(b"there")
    (tmp_path / "run.toml").write_text('[data]\nview_set = "views"\n')
    program = f"import sys; from {package}.cli import main; sys.argv = {[package, *arguments]!r}; main()"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines[-1].startswith(f"error: `{package} {arguments[0]}` needs ")
    assert lines[-1].endswith(f"which is not installed. Run `pip install 'vzero-evidence[{extra}]'`.")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["inspect", "VIEWS"], ["sql", "VIEWS", "SELECT 1"], ["kinds"], ["settings"]])
def test_reading_views_needs_no_extra(arguments: list[str], drawn_views: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    given = ["viewgen", *(str(drawn_views) if word == "VIEWS" else word for word in arguments)]
    program = f"import sys; from viewgen.cli import main; sys.argv = {given!r}; main()"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.fault(26)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/a"), "/d/a: No space left on device. Free space or name"),
        (PermissionError(errno.EACCES, "Permission denied", "/d"), "/d: Permission denied. Change its permissions or"),
        (
            OSError(errno.EIO, "Input/output error"),
            "viewgen build: Input/output error. Run the same command again once",
        ),
        (OSError("odd"), "viewgen build: odd. Run the same command again once that is mended"),
    ],
)
def test_a_fault_of_the_machine_is_one_line_with_a_place_and_a_remedy(
    error: OSError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**more: object) -> None:
        raise error

    assert run_app(fail, "viewgen", ["build"], extra="build", when_stopped="") == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
