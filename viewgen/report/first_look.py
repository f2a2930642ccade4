"""Show what was understood of a source at first sight: a table of its columns, and its first rows with their images.
Leaves out: looking (source/first_look.py)."""

from __future__ import annotations

from viewgen.progress import counted, printable
from viewgen.source.first_look import FirstLook, FirstRow

WIDEST = 60
"""Characters of an example."""
ALL = ("question_id", "image", "question", "answer", "options", "phrases", "boxes", "kind", "split", "source")


def as_text(seen: FirstLook) -> str:
    """Return the tables as text."""
    source, fields = seen.source, {field.name: field for field in seen.mapped.fields}
    first = seen.rows[0]
    rows = []
    for name in ALL:
        value = first.get("image_path" if name == "image" else name)
        origin = fields[name].origin if name in fields else "-"
        rows.append((name, origin, "" if name not in fields else _short(value)))
    if "split" not in fields:
        rows[ALL.index("split")] = ("split", "-", f"{source.usual_split} (source.split)")
    widths = [max(len(row[place]) for row in rows) for place in (0, 1)]
    lines = [f"{source.format}: {source.files or 'images'}", ""]
    lines += [f"{'column':{widths[0]}}  {'from':{widths[1]}}  example"]
    lines += [f"{name:{widths[0]}}  {origin:{widths[1]}}  {example}".rstrip() for name, origin, example in rows]
    if seen.boxes:
        lines += ["", f"boxes: {seen.boxes}"]
    lines += ["", f"first {counted(len(seen.shown), 'row')}:", *map(_row, seen.shown)]
    return "\n".join(lines)


def _row(shown: FirstRow) -> str:
    question = shown.question
    size = f"{shown.image.width_px} x {shown.image.height_px} px" if shown.image else f"NO IMAGE: {shown.fault}"
    return f"  {_short(question.question_id)}  {_short(question.image_path)}  {size}  {_short(question.text)}"


def _short(value: object) -> str:
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
