"""Work on all cores: threads for what waits or leaves Python's lock, processes for what needs it. Results come in the
order of the items.
Leaves out: what the work is. Whoever hands a function to Workers keeps its module light: a process loads it anew.

A worker is a fresh interpreter that reads pickled calls from a pipe until the pipe ends. It shares nothing with the
process that asks, so neither a model's threads nor a script without a main guard can trip it, and it ends when its
owner ends, however that comes about."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, LifoQueue
from types import TracebackType
from typing import BinaryIO, TypeVar

from viewgen.errors import WorkerError

T = TypeVar("T")
R = TypeVar("R")

_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from viewgen.build.workers import serve; serve()"


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""One thread for each worker: there are as many workers as cores, and their threads would wait for each other."""


class Workers:
    """At most `num` processes, each started when there is work for it; with 0, work is done in this process."""

    def __init__(self, num: int) -> None:
        self.num = num
        self._all: list[_Worker] = []
        self._idle: LifoQueue[_Worker] = LifoQueue()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._all:
            worker.end()

    def call(self, work: Callable[[T], R], item: T) -> R:
        """work(item) in an idle process; called from at most `num` threads at once.

        Raises WorkerError when the process ends before it answers. What `work` raises is raised here."""
        if not self.num:
            return work(item)
        worker = self._take()
        try:
            return worker.call(work, item)
        finally:
            self._idle.put(worker)

    def _take(self) -> _Worker:
        try:
            return self._idle.get_nowait()
        except Empty:
            worker = _Worker()
            self._all.append(worker)
            assert len(self._all) <= self.num, "no more threads than processes may ask"
            return worker


class _Worker:
    """One process, seen from its owner."""

    def __init__(self) -> None:
        # A process group of its own: Ctrl-C is for the owner to handle, the worker ends with its pipe.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            env={**os.environ, **dict.fromkeys(_THREADS, "1")},
        )

    def call(self, work: Callable[[T], R], item: T) -> R:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in
        assert pipe_out
        try:
            pickle.dump((work, item), pipe_in, pickle.HIGHEST_PROTOCOL)
            pipe_in.flush()
            answer, error = pickle.load(pipe_out)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise WorkerError(_obituary(self._process.wait())) from None
        if error:
            raise error
        result: R = answer
        return result

    def end(self) -> None:
        """Close its pipe and wait for it; what it was doing is finished first."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # it is dead, and part of a call was still to be written
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve() -> None:
    """Live as a worker: answer calls until there are no more."""
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not come between the answers
    try:
        while True:
            pickle.dump(_answer(calls), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
    except EOFError:
        pass
    except BrokenPipeError:  # the owner is gone; there is nobody left to answer
        os._exit(1)


def _answer(calls: BinaryIO) -> tuple[object, Exception | None]:
    work, item = pickle.load(calls)
    try:
        return work(item), None
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return None, error


def ahead(work: Callable[[T], R], items: Iterable[T], num_threads: int) -> Iterator[R]:
    """work(item) of each item, in order, on threads. Few results wait to be taken: memory does not grow with items."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(num_threads)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _obituary(code: int) -> str:
    if code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
        why = "out of memory, probably" if -code == signal.SIGKILL else "a broken library, probably"
    else:
        how, why = f"ended with exit code {code}", "its own message stands above"
    remedy = "What is finished stays: the same command goes on from there; --workers 1 needs less memory."
    return f"a worker process {how} ({why}). {remedy}"
