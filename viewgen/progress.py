"""Show the progress, rate and time left of long work: one line that is rewritten on a terminal, a plain line every few
seconds in a log. Used by viewgen and by trainer, so that both look alike.
Leaves out: measuring (the line is for people; nothing reads it back)."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

TERMINAL_EVERY_S = 0.1
LOG_EVERY_S = 10.0
T = TypeVar("T")


@runtime_checkable
class Stream(Protocol):
    """Destination of lines: standard error, a file, or text in memory."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


class Progress:
    """Count finished units of work and show them on `out` (standard error when not given).

    with Progress("build", total=300, unit="images") as progress:
        progress.add()              # build  12 of 300 images, 8.1 a second, 36 s left
        progress.add(note="loss 0.3")
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str,
        out: Stream | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._note = ""
        self._out = out or sys.stderr
        self._clock = clock
        self._every_s = TERMINAL_EVERY_S if self._out.isatty() else LOG_EVERY_S
        self._start_s = self._said_s = clock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last line in any case, so that a log ends with the final count."""
        self._say()
        if self._out.isatty():
            self._out.write("\n")
            self._out.flush()

    def add(self, num: int = 1, note: str = "") -> None:
        """Count `num` more units. The latest note stands at the end of the line."""
        self.done += num
        self._note = note or self._note
        if self._clock() - self._said_s >= self._every_s:
            self._say()

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; each counts as a finished unit when the next is requested."""
        for item in items:
            yield item
            self.add()

    def line(self) -> str:
        """Return the current line."""
        spent_s = self._clock() - self._start_s
        per_s = self.done / spent_s if spent_s > 0 else 0.0
        words = [f"{self.what}  {self.done:,} of {self.total:,} {self.unit}"]
        if per_s > 0:
            words.append(f"{per_s:,.1f} a second" if per_s >= 1 else f"{1 / per_s:.1f} s each")
            left = self.total - self.done
            words.append(f"{duration(left / per_s)} left" if left else f"{duration(spent_s)} in all")
        return ", ".join([*words, self._note] if self._note else words)

    def _say(self) -> None:
        self._said_s = self._clock()
        if self._out.isatty():  # rewritten from its start and cleared to its end; a wrapped line could not be
            self._out.write(f"\r{self.line()[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        else:
            self._out.write(f"{self.line()}\n")
        self._out.flush()


def counted(num: int, unit: str) -> str:
    """Format a count with its unit: 1 part, 2,000 parts."""
    return f"{num:,} {unit}{'' if num == 1 else 's'}"


def printable(text: str) -> str:
    """Escape the characters of text from data that would move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def duration(seconds: float) -> str:
    """Format seconds: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
