"""Turn the values that DuckDB returns into text, lists of text and boxes, without changing them; or refuse a column whose
values have no text of their own.
Leaves out: reading files so that values arrive unchanged (scans.py), the columns of a source (recipe.py)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from viewgen.records import SourceBox
from viewgen.source.box_formats import FIELDS, BoxFormat, BoxUnits, Corners, corners_of
from viewgen.source.pictures import taken

Json = str | bool | int | float | None | list[Any] | dict[str, Any]

_WHOLE = tuple(f"{sign}{size}int" for sign in ("", "u") for size in ("tiny", "small", "big", "huge"))
_NULL = ("null", '"null"', "sqlnull")
_TEXT = frozenset({"varchar", "enum", "uuid", "decimal", "integer", "uinteger", "bignum", "varint", *_WHOLE, *_NULL})
"""Types of DuckDB whose values have one text."""
_MOMENTS = ("date", "time", "timestamp", "interval")


class SourceFaultError(ValueError):
    """A fault of a source: the message without the recipe's path."""


class BoxFaultError(ValueError):
    """A box that is none."""


def refuse_type(name: str, kind: Any) -> None:  # noqa: ANN401 - a DuckDB type, whose class differs between its modules
    """Raise SourceFaultError for a column of text whose type has no text of its own. Its remedy stands in the message."""
    if kind.id in _TEXT:
        return
    type_name = _short(str(kind))
    if kind.id in {"list", "array"}:
        remedy = f"Choose one, as {name}[1], or array_to_string({name}, '; ')"
    elif kind.id in {"struct", "union"}:
        fields = [field for field, inner in kind.children if inner.id in _TEXT]
        remedy = f"Choose one of its values, as {name}.{'path' if 'path' in fields else (fields or ['NAME'])[0]}"
    elif kind.id == "boolean":
        remedy = f"Write CASE WHEN {name} THEN 'yes' ELSE 'no' END, or CAST({name} AS VARCHAR)"
    elif kind.id in {"float", "double"}:
        remedy = f"Write printf('%g', {name}), or CAST({name} AS VARCHAR): 4 or 4.0"
    elif kind.id.startswith(_MOMENTS):
        remedy = f"Write strftime({name}, FORMAT), or CAST({name} AS VARCHAR)"
    else:
        remedy = f"Write decode({name})" if kind.id == "blob" else f"Write CAST({name} AS VARCHAR)"
    raise SourceFaultError(f"column {name!r} is {type_name}, which has no text of its own. {remedy}, in the query.")


def refuse_list_type(name: str, kind: Any) -> None:  # noqa: ANN401 - as above
    """Raise SourceFaultError for a column that is no list of text (or such a list as JSON text)."""
    if kind.id in {"list", "array"}:
        refuse_type(f"{name}[1]", kind.children[0][1])
    elif kind.id not in {"varchar", *_NULL}:
        raise SourceFaultError(f"column {name!r} is {_short(str(kind))}: expected a list of text. Write [A, B, C].")


def text_reader(name: str, kind: Any) -> Callable[[Any], str | None]:  # noqa: ANN401 - as above
    """Return the function that turns a value of this type into text, or NULL into None."""
    if str(kind) == "JSON":
        return lambda value: None if value is None else _json_text(name, value)
    return lambda value: None if value is None else _text(value)


def list_reader(name: str, kind: Any) -> Callable[[Any], tuple[str, ...]]:  # noqa: ANN401 - as above
    """Return the function that turns a value of this type into a tuple of text; NULL is empty, NULLs at the end are left
    out: a question of three choices in a table with columns for five."""
    inner = text_reader(name, kind.children[0][1]) if kind.id in {"list", "array"} else None

    def read(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever the query gives
        if value is None or value == "":
            return ()
        items = [inner(item) for item in value] if inner else _json_list(name, value)
        while items and items[-1] is None:
            items.pop()
        if None in items:
            raise SourceFaultError(f"column {name!r} holds NULL inside a list. Leave it out with list_filter().")
        return tuple(item for item in items if item is not None)

    return read


def value_reader(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - as above
    """Return the function that turns a value of this type into lists, dicts, text and numbers: JSON inside is read."""
    if str(kind) == "JSON":
        return lambda value: value if value is None else json.loads(value)
    if kind.id == "list" and "JSON" in str(kind):
        inner = value_reader(kind.children[0][1])
        return lambda value: value and [inner(item) for item in value]
    if kind.id == "struct" and "JSON" in str(kind):
        fields = {name: value_reader(child) for name, child in kind.children}
        return lambda value: value and {name: read(value[name]) for name, read in fields.items()}
    return lambda value: value


def refuse_picture_type(name: str, kind: Any) -> None:  # noqa: ANN401 - as above
    """Raise SourceFaultError for a column whose values are no pictures: neither paths nor bytes nor {bytes, path}, nor
    lists of these."""
    if kind.id in {"list", "array"}:
        refuse_picture_type(name, kind.children[0][1])
    elif kind.id == "struct":
        fields = {field: str(inner) for field, inner in kind.children}
        if not fields.keys() <= {"bytes", "path"} or fields.get("bytes", "BLOB") not in {"BLOB", '"NULL"'}:
            one = next((field for field in ("path", "bytes") if field in fields), "NAME")
            what = f"column {name!r} is {_short(str(kind))}: expected a path, bytes, or {{bytes, path}}"
            raise SourceFaultError(f"{what}. Choose one of its values, as {name}.{one}, in the query.")
    elif kind.id != "blob":
        refuse_type(name, kind)


def picture_reader(name: str, kind: Any) -> Callable[[Any], str | None]:  # noqa: ANN401 - as above
    """Return the function that turns a value of this type into the name of a picture. NULL stays NULL where paths are
    expected, and is a picture without bytes elsewhere."""
    if kind.id in {"list", "array"}:
        inner = picture_reader(name, kind.children[0][1])
        return lambda value: inner(_only(name, value))
    if kind.id in {"struct", "blob"}:
        return lambda value: taken(value or b"")
    text = text_reader(name, kind)
    return lambda value: None if (path := text(value)) is None else taken(path)


def _only(name: str, value: Any) -> Any:  # noqa: ANN401 - a list of whatever
    if value is not None and len(value) > 1:
        what = f"column {name!r} holds {len(value)} pictures in a row: a question is about one"
        raise SourceFaultError(f"{what}. Choose one, as {name}[1], in the query.")
    return value[0] if value else None


def read_boxes(value: Any, box_format: BoxFormat, units: BoxUnits) -> tuple[SourceBox, ...]:  # noqa: ANN401
    """Return the boxes of a row: a list of {phrase, and the four numbers of the format or box: [the same]}, or the same
    as JSON text. Raises BoxFaultError."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except json.JSONDecodeError as error:
            raise BoxFaultError(f"no JSON ({error})") from None
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(box, Mapping) for box in value):
        raise BoxFaultError(f"{_short(str(value))} is no list of boxes with names")
    return tuple(_box(box, box_format, units) for box in value)


def _box(box: Mapping[str, Any], box_format: BoxFormat, units: BoxUnits) -> SourceBox:
    phrase = box.get("phrase")
    if not isinstance(phrase, str):
        raise BoxFaultError("a box has no phrase" if phrase is None else f"phrase is {phrase!r}, no text")
    return SourceBox(
        phrase=phrase,
        corners=corners_of(_numbers(box, box_format), box_format),
        units=units,
        score=_score(box.get("score")),
    )


def _numbers(box: Mapping[str, Any], box_format: BoxFormat) -> Corners:
    given = box.get("box")
    if given is None:
        names = FIELDS[box_format]
        if missing := [name for name in names if box.get(name) is None]:
            other = next((other for other, known in FIELDS.items() if set(known) <= box.keys()), None)
            hint = f'; set source.box_format = "{other}"' if other and other != box_format else ""
            raise BoxFaultError(f"a box has no {missing[0]}{hint}")
        given = [box[name] for name in names]
    if not isinstance(given, list | tuple) or len(given) != 4:
        raise BoxFaultError(f"box is {given!r}, no list of four numbers")
    a, b, c, d = (_number(number) for number in given)
    return a, b, c, d


def _number(value: Any) -> float:  # noqa: ANN401 - whatever the query gives, Decimal and text too
    try:
        number = float(value) if not isinstance(value, bool) and "_" not in str(value) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BoxFaultError(f"{_short(repr(value))} is no number")
    return number


def _score(given: Any) -> float:  # noqa: ANN401 - as above
    score = 1.0 if given is None else _number(given)
    if not 0 <= score <= 1:
        raise BoxFaultError(f"score is {score:g}, not from 0 to 1")
    return score


def _text(value: Any) -> str:  # noqa: ANN401 - a value of a type in _TEXT
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _json_text(name: str, value: str) -> str | None:
    """Return the text of a JSON value: strings without their quotes, numbers and true or false as they are written."""
    if value[:1] not in {'"', "[", "{"}:
        return None if value == "null" else value
    inner: Json = json.loads(value)
    if not isinstance(inner, str):
        what = f"column {name!r} is a list or an object in some rows, as {_short(value)}"
        raise SourceFaultError(
            f"{what}. Choose a value, as {name}->>0, or write CAST({name} AS VARCHAR), in the query."
        )
    return inner


def _json_list(name: str, value: str) -> list[str | None]:
    fault = SourceFaultError(f"column {name!r} is {_short(value)!r}: expected a list of text. Write [A, B, C].")
    try:
        items: Json = json.loads(value)
    except json.JSONDecodeError:
        raise fault from None
    if not isinstance(items, list):
        raise fault
    return [item if isinstance(item, str) or item is None else _json_text(name, json.dumps(item)) for item in items]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
