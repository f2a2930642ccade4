"""Write files and folders whole or not at all: next to their place first, synced, then renamed. Used by viewgen and
trainer.
Leaves out: the contents. A crash leaves the old file or the new one, never a part of one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"
"""End of the names of what is not yet whole; readers pass over it, writers start it anew."""


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file takes its place at `path` when the block ends well, and only then.

    with write_whole(folder / "summary.json") as partial:
        partial.write_text("{}")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{PARTIAL}")
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except Exception as error:
        raise _named(error, path) from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def write_whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes its place at `path` when the block ends well, in place of an older one.

    Its name begins with a dot, so that no pattern for finished folders finds it."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            _sync(file)
        _sync(partial)
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
        _sync(path.parent)
    except Exception as error:
        raise _named(error, path) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _named(error: Exception, path: Path) -> Exception:
    """Return the error; one of the disk as an OSError that names the file, whichever library met it."""
    if isinstance(error, OSError):
        error.filename = error.filename or str(path)
        return error
    said = str(error)
    codes = (code for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS) if os.strerror(code) in said)
    code = next(codes, None)
    return error if code is None else OSError(code, os.strerror(code), str(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
