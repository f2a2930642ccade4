"""Keep two processes from writing into one folder.
Leaves out: what is written (files.py). A lock ends with its process, however that comes about."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
"""Name of the file in the folder. One that a killed process left behind is taken over."""


@contextmanager
def locked(folder: Path, error: type[Exception]) -> Iterator[None]:
    """Hold the folder alone, and make it where there is none. Raises `error` when another process holds it.

    with locked(Path("run"), CheckpointError):
        ...    # nobody else writes there
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = _take(path, error)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # the folder itself may be gone
            path.unlink()
        os.close(file)
        if is_new:
            with suppress(OSError):  # something was written, which stays
                folder.rmdir()


def _take(path: Path, error: type[Exception]) -> int:
    """Lock the file and return its descriptor."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            busy = "another process is writing there"
            raise error(f"{path.parent}: {busy}. Wait until it ends, or name another folder.") from None
        if _is_at(file, path):
            return file
        os.close(file)  # its owner removed the file between our opening and our locking it


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
