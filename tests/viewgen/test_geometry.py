"""Ticks, positions and short numbers of plots, worked out by hand."""

from __future__ import annotations

import pytest

from viewgen.geometry import log_ticks, nice_ticks, position, short


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (-0.01234, "−0.0123"), (1234.5, "1,234"), (1e-7, "1e−7"), (12.34, "12.3")]
)
def test_a_number_is_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_position_is_a_share_of_the_way_and_the_middle_where_there_is_none() -> None:
    assert position(5, 0, 10, 100, 200) == 150
    assert position(0, 0, 10, 200, 100) == 200
    assert position(7, 7, 7, 0, 50) == 25


def test_ticks_are_round_evenly_spaced_and_reach_over_both_ends() -> None:
    assert nice_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(0.13, 0.87, 4) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(3, 3, 4) == [0.0, 1.0, 2.0, 3.0]
    assert nice_ticks(0, 0, 4)[-1] == 1.0


def test_logarithmic_ticks_are_powers_or_their_multiples_within_the_axis() -> None:
    assert log_ticks(1.0, 100.0, 7) == [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    assert log_ticks(1.0, 1e6, 7) == pytest.approx([1, 10, 100, 1e3, 1e4, 1e5, 1e6])
    assert log_ticks(3.0, 4.0, 5) == [3, 4]
