"""The geometry of plots: every value lies in a bin, positions are worked out by hand."""

from __future__ import annotations

import numpy as np

from viewgen.report.plots import BOTTOM, LEFT, RIGHT, Axis, draw_histogram, draw_ranges


def test_an_axis_runs_from_start_to_end_and_holds_on_to_what_lies_beyond() -> None:
    axis = Axis(low=0.0, high=10.0, start=100.0, end=200.0, is_log=False)
    assert [axis.at(value) for value in (0.0, 5.0, 10.0, 99.0, -5.0)] == [100, 150, 200, 200, 100]
    log = Axis(low=1.0, high=100.0, start=0.0, end=100.0, is_log=True)
    assert [log.at(value) for value in (1.0, 10.0, 100.0, 0.0)] == [0, 50, 100, 0]


def test_a_histogram_counts_every_finite_value_once() -> None:
    drawn = draw_histogram("t", "px", np.array([0.0, 1.0, 1.0, np.nan, np.inf, 3.0]))
    assert drawn
    assert sum(int(bar.text.split()[0]) for bar in drawn.bars) == 4
    assert drawn.in_words == "4 values, median 1, from 0 to 3"
    assert all(LEFT <= bar.x <= RIGHT and bar.y <= BOTTOM for bar in drawn.bars)
    assert draw_histogram("t", "", np.array([np.nan])) is None


def test_ranges_share_one_axis_and_the_mark_is_always_on_it() -> None:
    drawn = draw_ranges(
        "t",
        "nats",
        {("a", "positive"): (0.0, 1.0, 2.0, 3.0, 4.0), ("b", "negative"): (2.0, 2.0, 2.0, 2.0, 2.0)},
        mark=9.0,
    )
    assert drawn
    first, second = drawn.rows
    assert first.least < first.low < first.median < first.high < first.most
    assert second.median == first.median
    assert drawn.mark
    assert drawn.mark > first.most
    assert "median 2" in second.text
    assert draw_ranges("t", "", {}) is None
