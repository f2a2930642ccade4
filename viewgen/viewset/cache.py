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
