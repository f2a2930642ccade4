"""The geometry of charts, on numbers that can be checked by hand."""

from __future__ import annotations

import math

import pytest

from trainer.report.charts import BOTTOM, LEFT, RIGHT, TOP, draw_chart, moving_mean, svg_path
from viewgen.geometry import nice_ticks, position, short


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.13, 0.89, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 3.0, [-4.0, -2.0, 0.0, 2.0, 4.0]),
        (2e-4, 6e-4, [2e-4, 3e-4, 4e-4, 5e-4, 6e-4]),
        (0.0, 0.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (40.0, 40.0, [0.0, 10.0, 20.0, 30.0, 40.0]),
        (-8.0, -8.0, [-8.0, -6.0, -4.0, -2.0, 0.0]),
    ],
)
def test_ticks_are_round_numbers_that_reach_over_the_data(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, 4) == pytest.approx(ticks)


def test_a_value_lies_as_far_along_the_axis_as_along_its_range() -> None:
    assert position(0.25, 0.0, 1.0, 100, 200) == 125
    assert position(0.25, 0.0, 1.0, 200, 100) == 175
    assert position(7.0, 7.0, 7.0, 0, 10) == 5


def test_a_path_breaks_where_a_value_is_missing_and_shows_a_lone_value_as_a_dot() -> None:
    assert svg_path([0, 1, 2, 3, 4], [5.0, 6.0, None, 7.0, None]) == "M0,5 L1,6 M3,7 L3,7"
    assert svg_path([0, 1], [None, None]) == ""


def test_the_mean_looks_to_both_sides_and_leaves_out_what_is_not_finite() -> None:
    assert moving_mean([1.0, 2.0, 6.0, math.nan, 8.0], 1) == [1.5, 3.0, 4.0, None, 8.0]
    assert moving_mean([1.0, None, 3.0], 0) == [1.0, None, 3.0]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0006, "0.0006"), (-1.2345, "−1.23"), (1_234_567, "1,234,567"), (0, "0"), (2e-7, "2e−7")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_chart_puts_the_lowest_tick_at_the_bottom_and_the_first_step_at_the_left() -> None:
    chart = draw_chart("Loss", "nats", [1, 2, 3], {"loss": [0.0, 0.5, 1.0]})
    assert chart is not None
    assert (chart.y_ticks[0].at, chart.y_ticks[0].label) == (BOTTOM, "0")
    assert (chart.y_ticks[-1].at, chart.y_ticks[-1].label) == (TOP, "1")
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]
    (line,) = chart.lines
    assert line.raw == f"M{LEFT},{BOTTOM} L{(LEFT + RIGHT) // 2},{(TOP + BOTTOM) // 2} L{RIGHT},{TOP}"
    assert chart.in_words == "loss: from 0 to 1"


def test_a_series_without_a_finite_value_is_no_line_and_a_chart_without_lines_is_none() -> None:
    chart = draw_chart("Time", "s", [1, 2], {"step": [1.0, 2.0], "rollout": [None, math.nan]})
    assert chart is not None
    assert [line.name for line in chart.lines] == ["step"]
    assert draw_chart("Time", "s", [1, 2], {"rollout": [None, math.inf]}) is None
    assert draw_chart("Time", "s", [], {"step": []}) is None
