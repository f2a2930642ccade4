"""The picture of step_speed.py: what our update and scoring cost, and what they gain over naive, against G and P; beside
each line what tokens alone would give. SVG, without a library.
Leaves out: measuring (step_speed.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.report.charts import svg_path
from viewgen.geometry import nice_ticks, position, short

PANEL = (380, 250)
LEFT, RIGHT, TOP, BOTTOM = 50, 365, 34, 205
COLOURS = {"update": "#1f77b4", "scoring": "#d95f02"}
Row = Mapping[str, Any]
Value = Callable[[Row, str, str], float]


def draw_plot(sweep: Sequence[Row], num_siblings: int) -> str:
    """Return an SVG of four panels. `num_siblings`: G of the rows in which P differs."""
    middle = next(row for row in sweep if row["G"] == num_siblings)
    against_g = sorted((row for row in sweep if row["P"] == middle["P"]), key=lambda row: int(row["G"]))
    against_p = sorted((row for row in sweep if row["G"] == num_siblings), key=lambda row: int(row["P"]))

    def cost(row: Row, what: str, of: str) -> float:
        """Seconds; by tokens: those of the middle row, moved on in proportion."""
        key = f"{what} ours"
        if of == "seconds":
            return float(row["seconds"][key])
        return float(middle["seconds"][key] * row["tokens"][key] / middle["tokens"][key])

    def gain(row: Row, what: str, of: str) -> float:
        return float(row[of][f"{what} naive"] / row[of][f"{what} ours"])

    titles = (f"P = {middle['P']}", f"G = {num_siblings}")
    panels = [
        _panel((0, 0), f"seconds a question, {titles[0]}", "G", against_g, cost),
        _panel((1, 0), f"seconds a question, {titles[1]}", "P", against_p, cost),
        _panel((0, 1), f"times faster than naive, {titles[0]}", "G", against_g, gain),
        _panel((1, 1), f"times faster than naive, {titles[1]}", "P", against_p, gain),
    ]
    width, height = 2 * PANEL[0], 2 * PANEL[1]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(at: tuple[int, int], title: str, axis: str, rows: Sequence[Row], value: Value) -> str:
    marks = nice_ticks(
        0, max(value(row, what, of) for row in rows for what in COLOURS for of in ("seconds", "tokens")), 4
    )
    last = max(row[axis] for row in rows)
    x = [position(row[axis], 0, last, LEFT, RIGHT) for row in rows]

    def y_of(number: float) -> float:
        return position(number, marks[0], marks[-1], BOTTOM, TOP)

    drawn = [f'<text x="{LEFT}" y="18" font-weight="bold">{title}</text>']
    drawn += [_across(y_of(mark), short(mark)) for mark in marks]
    drawn += [_text(at_x, BOTTOM + 15, str(row[axis]), "middle") for at_x, row in zip(x, rows, strict=True)]
    drawn.append(_text(RIGHT, BOTTOM + 32, axis, "end"))
    for number, (what, colour) in enumerate(COLOURS.items()):
        lines = {of: [y_of(value(row, what, of)) for row in rows] for of in ("seconds", "tokens")}
        for of, dashes in (("seconds", ""), ("tokens", ' stroke-dasharray="4 4"')):
            drawn.append(f'<path d="{svg_path(x, lines[of])}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        drawn += [
            f'<circle cx="{a}" cy="{b}" r="3" fill="{colour}"/>' for a, b in zip(x, lines["seconds"], strict=True)
        ]
        drawn.append(f'<text x="{LEFT + 70 * number}" y="{BOTTOM + 32}" fill="{colour}">{what}</text>')
    drawn.append(_text(LEFT + 145, BOTTOM + 32, "dashed: by tokens alone", "start"))
    return f'<g transform="translate({at[0] * PANEL[0]} {at[1] * PANEL[1]})">{"".join(drawn)}</g>'


def _across(y: float, label: str) -> str:
    return f'<path d="M{LEFT},{y} L{RIGHT},{y}" stroke="#dddddd"/>' + _text(LEFT - 6, y + 4, label, "end")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" fill="#444444" text-anchor="{anchor}">{words}</text>'
