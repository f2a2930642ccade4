"""Numbers -> the geometry of plots: histograms, and ranges by group on one axis, linear or logarithmic. Pure.
Leaves out: colours and fonts (page.html). Positions are units of an SVG view box, y down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from viewgen.geometry import Tick, log_ticks, nice_ticks, short

LEFT, RIGHT, TOP, BOTTOM = 44.0, 350.0, 12.0, 154.0
"""The plotting area of a histogram within its view box."""
NUM_BINS = 30
ROW_PX, ROWS_TOP = 22.0, 6.0
"""Height of a row of ranges, and where the first one begins."""
RANGES_LEFT, RANGES_RIGHT = 176.0, 545.0
"""Left end of the axis of ranges; labels stand to its left."""
MAX_DECADES = 5
"""Decades of a logarithmic axis; smaller values stand at its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bin of a histogram; it stands on the axis."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of values by place."""

    title: str
    unit: str
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    in_words: str
    """For those who cannot see it, and below it for those who can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRow:
    """One group: from its least to its most value, the middle 80 % of them, and the median."""

    label: str
    css: str
    y: float
    least: float
    low: float
    median: float
    high: float
    most: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Groups below each other on one axis."""

    title: str
    unit: str
    rows: tuple[RangeRow, ...]
    ticks: tuple[Tick, ...]
    height: float
    """Axis of all rows; ticks are labelled below."""
    mark: float | None
    """Position of the value to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From values to positions."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def at(self, value: float) -> float:
        """Return the position of a value; values beyond the axis stand at its end."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, max(value, self.low)))
        share = (min(value, high) - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, num: int) -> tuple[Tick, ...]:
        """Round numbers within the axis, about `num` of them."""
        found = log_ticks(self.low, self.high, num) if self.is_log else nice_ticks(self.low, self.high, num)
        slack = 1e-9 * (self.high - self.low)
        return tuple(
            Tick(self.at(tick), short(tick)) for tick in found if self.low - slack <= tick <= self.high + slack
        )

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.is_log else value


def draw_histogram(title: str, unit: str, values_N: Float[np.ndarray, " N"], is_log: bool = False) -> Histogram | None:
    """Bins of equal width, or of equal ratio when `is_log`; values that are not finite are left out, None without any."""
    finite = values_N[np.isfinite(values_N)]
    if not finite.size:
        return None
    axis = _axis(float(finite.min()), float(finite.max()), LEFT, RIGHT, is_log and bool(finite.max() > 0))
    scaled_low, scaled_high = (axis._scaled(bound) for bound in (axis.low, axis.high))
    edges = np.linspace(scaled_low, scaled_high, NUM_BINS + 1)
    edges = 10.0**edges if axis.is_log else edges
    # Rounding of the edges must lose no value at either end.
    counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
    height = _axis(0.0, float(counts.max()), BOTTOM, TOP, False)
    bars = (
        _bar(
            axis.at(float(edges[bin_])), axis.at(float(edges[bin_ + 1])), height.at(float(num)), _said(edges, bin_, num)
        )
        for bin_, num in enumerate(counts.tolist())
        if num
    )
    median = float(np.median(finite))
    bounds = f"from {short(float(finite.min()))} to {short(float(finite.max()))}"
    return Histogram(
        title=title,
        unit=unit,
        bars=tuple(bars),
        x_ticks=axis.ticks(5),
        y_ticks=tuple(tick for tick in height.ticks(3) if tick.label.isdigit() or "," in tick.label),
        in_words=f"{finite.size:,} values, median {short(median)}, {bounds}",
    )


def draw_ranges(
    title: str,
    unit: str,
    groups: Mapping[tuple[str, str], Sequence[float]],
    is_log: bool = False,
    mark: float | None = None,
) -> Ranges | None:
    """(label, css class) -> its least, 10 %, median, 90 % and most, one row each; None without groups.

    `mark`: a value to compare with, which is always on the axis."""
    if not groups:
        return None
    known = [*(value for five in groups.values() for value in five), *([] if mark is None else [mark])]
    axis = _axis(min(known), max(known), RANGES_LEFT, RANGES_RIGHT, is_log and max(known) > 0)
    rows = (
        _range(label, css, ROWS_TOP + ROW_PX * (number + 0.5), five, axis.at)
        for number, ((label, css), five) in enumerate(groups.items())
    )
    return Ranges(
        title=title,
        unit=unit,
        rows=tuple(rows),
        ticks=axis.ticks(6),
        height=ROWS_TOP + ROW_PX * len(groups),
        mark=None if mark is None else axis.at(mark),
    )


def _range(label: str, css: str, y: float, five: Sequence[float], at: Callable[[float], float]) -> RangeRow:
    least, low, median, high, most = five
    most_of = f"80 % from {short(low)} to {short(high)}"
    text = f"{label}: median {short(median)}, {most_of}, all from {short(least)} to {short(most)}"
    return RangeRow(
        label=label,
        css=css,
        y=y,
        least=at(least),
        low=at(low),
        median=at(median),
        high=at(high),
        most=at(most),
        text=text,
    )


def _axis(low: float, high: float, start: float, end: float, is_log: bool) -> Axis:
    """Return an axis over the values, to round numbers at both ends when it is linear."""
    if is_log:
        low = max(low, high / 10.0**MAX_DECADES)
        # Equal values would leave no room between the ends.
        low, high = (low / 2, high * 2) if low == high else (low, high)
    else:
        ticks = nice_ticks(low, high, 4)
        low, high = ticks[0], ticks[-1]
    return Axis(low=low, high=high, start=start, end=end, is_log=is_log)


def _bar(x0: float, x1: float, y: float, text: str) -> Bar:
    # At least one unit is seen: a single value among ten thousand is there too.
    top = min(y, BOTTOM - 1.0)
    return Bar(x=x0, y=top, width=round(max(x1 - x0 - 0.6, 0.4), 2), height=round(BOTTOM - top, 2), text=text)


def _said(edges: Float[np.ndarray, " M"], bin_: int, num: int) -> str:
    return f"{num:,} from {short(float(edges[bin_]))} to {short(float(edges[bin_ + 1]))}"
