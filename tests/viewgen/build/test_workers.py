"""Work on threads and processes comes back in order, and a worker that dies or stumbles says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from viewgen.build.workers import Workers, ahead
from viewgen.errors import ShardError, WorkerError
from viewgen.viewset.manifest import read_manifest


def test_work_ahead_keeps_its_order_and_takes_few_items_before_they_are_wanted() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def slow_for_even(number: int) -> int:
        time.sleep(0.001 * (number % 2 == 0))
        return -number

    results = ahead(slow_for_even, items(), num_threads=3)
    assert next(results) == 0
    assert len(taken) <= 8
    assert list(results) == [-number for number in range(1, 100)]


def test_work_that_is_no_longer_wanted_is_not_begun() -> None:
    begun = []

    def slow(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        return number

    results = ahead(slow, range(100), num_threads=1)
    assert next(results) == 0
    del results
    assert len(begun) <= 2


def test_processes_answer_in_order_and_each_is_another() -> None:
    with Workers(2) as workers:
        lengths = list(ahead(partial(workers.call, len), ["a" * n for n in range(40)], 2))
        assert lengths == list(range(40))
        nap_and_name = "__import__('time').sleep(0.3) or __import__('os').getpid()"
        pids = set(ahead(partial(workers.call, eval), [nap_and_name] * 2, 2))
    assert len(pids - {os.getpid()}) == 2


def test_without_processes_work_is_done_here() -> None:
    with Workers(0) as workers:
        assert workers.call(eval, "__import__('os').getpid()") == os.getpid()


def test_a_worker_that_is_killed_is_one_clear_line() -> None:
    with Workers(1) as workers, pytest.raises(WorkerError) as error:
        workers.call(signal.raise_signal, signal.SIGKILL)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("a worker process was ended by SIGKILL (out of memory, probably). What is ")


def test_a_worker_that_leaves_is_one_clear_line() -> None:
    with Workers(1) as workers, pytest.raises(WorkerError, match="a worker process ended with exit code 3"):
        workers.call(os._exit, 3)


def test_what_work_raises_is_raised_where_it_was_asked_for_with_the_place_it_came_from() -> None:
    with Workers(1) as workers:
        with pytest.raises(ValueError, match="invalid literal") as error:
            workers.call(int, "x")
        assert "in _answer" in error.value.__notes__[0]
        assert workers.call(int, "7") == 7


def test_an_error_of_ours_stays_what_it_is(tmp_path: Path) -> None:
    with Workers(1) as workers, pytest.raises(ShardError, match=r"holds no manifest\.json, so it is no view set"):
        workers.call(read_manifest, tmp_path)


def test_what_work_prints_does_not_come_between_the_answers(capfd: pytest.CaptureFixture[str]) -> None:
    with Workers(1) as workers:
        assert workers.call(print, "said") is None
        assert workers.call(len, "four") == 4
    assert capfd.readouterr().err == "said\n"


def test_a_worker_ends_with_its_owner_even_when_that_one_is_killed() -> None:
    program = (
        "import os, time; from viewgen.build.workers import Workers; workers = Workers(1); "
        "print(workers.call(eval, '__import__(\"os\").getpid()'), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        owner.kill()
    for _ in range(400):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} lives on")


def test_a_worker_loads_no_model_library() -> None:
    with Workers(1) as workers:
        workers.call(eval, "__import__('viewgen.build.cut_image') and None")
        loaded = set(workers.call(eval, "list(__import__('sys').modules)"))
    assert "viewgen.views.cutting" in loaded
    assert not loaded & {"torch", "open_clip", "transformers", "polars", "duckdb"}


@pytest.mark.fault(34)
def test_a_worker_computes_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with Workers(1) as workers:
        assert [workers.call(os.getenv, name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")] == ["1", "1"]
