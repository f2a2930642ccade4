"""Numbers -> the geometry of drawn charts: ticks, SVG paths, positions. Pure; knows nothing of runs or of HTML.
Leaves out: colours and fonts (page.html). Positions are units of an SVG view box, y down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from viewgen.geometry import Number, Tick, nice_ticks, position, short

Value = Number | None
WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 50, 350, 10, 164
"""The plotting area within the view box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series: every value as a faint line, its moving mean as a strong one."""

    name: str
    raw: str
    """SVG path; broken where a value is missing or not finite."""
    smooth: str
    """SVG path of the moving mean."""
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One small chart over steps."""

    title: str
    unit: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]

    @property
    def in_words(self) -> str:
        """For those who cannot see it."""
        return "; ".join(f"{line.name}: from {line.first} to {line.last}" for line in self.lines)


def draw_chart(title: str, unit: str, steps: Sequence[int], series: Mapping[str, Sequence[Value]]) -> Chart | None:
    """Draw a chart of series over steps, one value for each step; None when no value is finite."""
    shown = {name: values for name, values in series.items() if any(map(is_number, values))}
    known = [value for values in shown.values() for value in values if is_number(value)]
    if not known:
        return None
    first, last = float(min(steps)), float(max(steps))
    x_ticks = [tick for tick in nice_ticks(first, last, 5) if first <= tick <= last and tick == round(tick)]
    y_ticks = nice_ticks(min(known), max(known), 4)

    def x_of(step: Number) -> float:
        return position(step, first, last, LEFT, RIGHT)

    def y_of(value: Number) -> float:
        return position(value, y_ticks[0], y_ticks[-1], BOTTOM, TOP)

    return Chart(
        title=title,
        unit=unit,
        x_ticks=tuple(Tick(x_of(tick), short(tick)) for tick in x_ticks),
        y_ticks=tuple(Tick(y_of(tick), short(tick)) for tick in y_ticks),
        lines=tuple(_line(name, [x_of(step) for step in steps], values, y_of) for name, values in shown.items()),
    )


def _line(name: str, x: Sequence[Number], values: Sequence[Value], y_of: Callable[[Number], float]) -> Line:
    finite = [value for value in values if is_number(value)]
    smooth = moving_mean(values, reach_of(len(values)))
    return Line(
        name=name,
        raw=svg_path(x, [y_of(value) if is_number(value) else None for value in values]),
        smooth=svg_path(x, [y_of(value) if is_number(value) else None for value in smooth]),
        first=short(finite[0]),
        last=short(finite[-1]),
    )


def is_number(value: object) -> TypeGuard[Number]:
    """Return True for a finite number that is no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def reach_of(num_steps: int) -> int:
    """Return the number of steps on either side that the strong line of a chart averages."""
    return num_steps // 40


def moving_mean(values: Sequence[Value], reach: int) -> list[Value]:
    """Mean of the finite values at most `reach` places away on either side; None where a value is not finite."""
    means: list[Value] = []
    for index, value in enumerate(values):
        near = [near for near in values[max(0, index - reach) : index + reach + 1] if is_number(near)]
        means.append(sum(near) / len(near) if is_number(value) else None)
    return means


def svg_path(x: Sequence[Number], y: Sequence[Value]) -> str:
    """Return the `d` of an SVG path through the points; a missing y breaks it, and a lone point is drawn as a dot."""
    runs: list[list[str]] = [[]]
    for at_x, at_y in zip(x, y, strict=True):
        if at_y is None:
            runs.append([])
        else:
            runs[-1].append(f"{at_x:g},{at_y:g}")
    return " ".join(f"M{' L'.join(points if len(points) > 1 else points * 2)}" for points in runs if points)
