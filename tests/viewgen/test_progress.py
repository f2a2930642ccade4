"""Progress: a line that people can read, on a terminal and in a log."""

from __future__ import annotations

from io import StringIO

import pytest

from viewgen.progress import Progress, counted, duration


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def worked(out: StringIO, clock: Clock, num: int, each_s: float) -> str:
    with Progress("build", 200, "images", out, clock) as progress:
        for _ in range(num):
            clock.now_s += each_s
            progress.add()
    return out.getvalue()


def test_a_log_gets_a_plain_line_every_ten_seconds_and_one_at_the_end(clock: Clock) -> None:
    assert worked(StringIO(), clock, num=25, each_s=1.0).splitlines() == [
        "build  10 of 200 images, 1.0 a second, 3 min 10 s left",
        "build  20 of 200 images, 1.0 a second, 3 min 00 s left",
        "build  25 of 200 images, 1.0 a second, 2 min 55 s left",
    ]


def test_a_terminal_has_one_line_that_is_rewritten_ten_times_a_second_at_most(clock: Clock) -> None:
    text = worked(Terminal(), clock, num=200, each_s=0.01)
    assert text.count("\n") == 1
    assert text.endswith("\rbuild  200 of 200 images, 100.0 a second, 2 s in all\x1b[K\n")
    assert 19 <= text.count("\r") <= 21


def test_a_narrow_terminal_never_wraps_the_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    lines = worked(Terminal(), clock, num=3, each_s=1.0).replace("\x1b[K", "").strip().split("\r")
    assert {len(line) for line in lines} == {19}


def test_slow_work_is_told_in_seconds_for_each_and_nothing_is_told_of_no_time(clock: Clock) -> None:
    assert "4.0 s each" in worked(StringIO(), clock, num=1, each_s=4.0)
    assert worked(StringIO(), Clock(), num=0, each_s=0.0) == "build  0 of 200 images\n"


def test_the_latest_note_stands_at_the_end(clock: Clock) -> None:
    progress = Progress("train", 9, "steps", StringIO(), clock)
    progress.add(note="loss 0.3")
    progress.add()
    assert progress.line() == "train  2 of 9 steps, loss 0.3"


def test_each_counts_an_item_when_the_next_is_asked_for(clock: Clock) -> None:
    progress = Progress("train", 3, "steps", StringIO(), clock)
    assert [(item, progress.done) for item in progress.each("abc")] == [("a", 0), ("b", 1), ("c", 2)]
    assert progress.done == 3


def test_work_that_fails_still_says_how_far_it_came(clock: Clock) -> None:
    out = StringIO()

    def fail() -> None:
        with Progress("build", 4, "images", out, clock) as progress:
            progress.add(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert out.getvalue() == "build  3 of 4 images\n"


def test_one_thing_is_told_as_one() -> None:
    assert [counted(num, "part") for num in (0, 1, 2000)] == ["0 parts", "1 part", "2,000 parts"]


def test_durations_are_told_as_people_do() -> None:
    told = [duration(seconds) for seconds in (0.4, 59.6, 185.0, 7800.0)]
    assert told == ["0 s", "1 min 00 s", "3 min 05 s", "2 h 10 min"]
