"""Compute the geometry of plots and charts: round ticks, positions on an axis, short numbers. Pure. Used by the
reports of viewgen and of trainer.
Leaves out: kinds of plot (report/plots.py), colours and fonts (page_frame.html). Positions are units of an SVG view
box."""

from __future__ import annotations

import math
from dataclasses import dataclass

Number = float | int


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


def short(value: Number) -> str:
    """Format a number with three significant digits, without an exponent where that stays short.

    short(1234.5)    # 1,234
    short(-0.01234)  # −0.0123
    """
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−").replace("e−0", "e−")


def position(value: Number, low: Number, high: Number, start: Number, end: Number) -> float:
    """Return the position of `value` when `low` to `high` is spread over `start` to `end`; the middle when low ==
    high."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(start + share * (end - start), 2)


def nice_ticks(low: Number, high: Number, num: int) -> list[float]:
    """Return about `num` + 1 round numbers, evenly spaced, that reach from `low` or less to `high` or more."""
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0) if high or low else 1.0
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # A multiple of a step like 0.1 is not exact: round to what the step can tell apart.
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]


def log_ticks(low: float, high: float, num: int) -> list[float]:
    """Return about `num` ticks at 1, 2 and 5 times powers of ten within `low` to `high`, or at the powers alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) <= num + 1:
            break
    return found if len(found) > 1 else [low, high]
