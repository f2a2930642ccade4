"""Locks of folders, with real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from viewgen.errors import ShardError
from viewgen.locks import LOCK, locked

HOLD = """
import sys
from pathlib import Path
from viewgen.errors import ShardError
from viewgen.locks import locked
with locked(Path(sys.argv[1]), ShardError):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.fault(25)
def test_a_folder_is_held_by_one_process_until_that_ends(tmp_path: Path) -> None:
    folder = tmp_path / "views"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdin
    assert other.stdout.readline() == "held\n"
    with pytest.raises(ShardError) as refusal, locked(folder, ShardError):
        pass
    assert str(refusal.value) == (
        f"{folder}: another process is writing there. Wait until it ends, or name another folder."
    )
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert (folder / LOCK).exists()  # left behind by the killed process, and taken over
    with locked(folder, ShardError):
        assert (folder / LOCK).exists()
    assert list(folder.iterdir()) == []


@pytest.mark.fault(25)
def test_a_lock_ends_with_an_error_inside_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path, ShardError):
        raise KeyError
    with locked(tmp_path, ShardError):
        assert (tmp_path / LOCK).exists()
