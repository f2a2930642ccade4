"""Keep the encoded images that were read last, up to a number of bytes.
Leaves out: reading them (shards.py)."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict


class ImageCache:
    """Encoded images used last, up to a number of bytes; the newest always stays. A copy begins empty."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._start()

    def _start(self) -> None:
        self._held: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._num_bytes = 0
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def __getstate__(self) -> int:
        return self._max_bytes

    def __setstate__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._start()

    def get(self, key: tuple[str, str]) -> bytes | None:
        if self._pid != os.getpid():  # another thread may have held the lock when this process was forked
            self._start()
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: tuple[str, str], data: bytes) -> None:
        with self._lock:
            self._num_bytes += len(data) - len(self._held.pop(key, b""))
            self._held[key] = data
            while len(self._held) > 1 and self._num_bytes > self._max_bytes:
                self._num_bytes -= len(self._held.popitem(last=False)[1])


class OpenFiles:
    """Files that are read by place, each opened once, and at most so many at a time. A copy begins with none. Safe to use
    from several threads and on both sides of a fork: reading moves no common place."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._start()

    def _start(self) -> None:
        self._held: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.RLock()

    def __getstate__(self) -> int:
        return self._most

    def __setstate__(self, most: int) -> None:
        self._most = most
        self._start()

    def __del__(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)

    def read(self, path: str, start: int, length: int) -> bytes:
        """Read bytes of a file. Raises OSError; returns fewer bytes where the file ends before."""
        with self._lock:
            descriptor = self._held.get(path)
            if descriptor is None:
                descriptor = self._held[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if len(self._held) > self._most:
                    os.close(self._held.popitem(last=False)[1])
            return os.pread(descriptor, length, start)
