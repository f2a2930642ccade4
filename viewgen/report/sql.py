"""A user's own query over a view set: one SELECT over images, questions, views and rejects, which can neither write nor
reach anything but the view set's own tables; and its answer as a table, CSV or JSON.
Leaves out: opening the tables (inspect.py); queries worth asking (docs/queries.md).

Bytes are shown as their number, which DuckDB computes: pictures are not carried out of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any

import duckdb

from viewgen.errors import QueryError, database_fault
from viewgen.progress import counted, printable
from viewgen.source.recipe import Connection
from viewgen.viewset.database import connect
from viewgen.viewset.shards import ViewSet

MOST_SHOWN = 200
"""Rows of a printed table; CSV and JSON have them all."""
WIDEST = 80
"""Characters of a cell in a printed table."""
_BYTES = "BLOB"
_ZONED = "WITH TIME ZONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The rows of a query."""

    columns: tuple[str, ...]
    """Their names, each once: the second `id` is called id_1."""
    rows: tuple[tuple[Any, ...], ...]
    """Bytes, at any depth, replaced by text that says how many they are."""


def ask(view_set: ViewSet, query: str) -> Answer:
    """Answer one SELECT (or DESCRIBE, SHOW, SUMMARIZE) over the tables. Raises QueryError, one line."""
    try:
        with connect(view_set) as connection:
            select = _one_select(connection, query)
            # Without a row first: only its columns are wanted here.
            described = connection.execute(f"FROM (\n{select}\n) LIMIT 0").description
            columns = tuple(str(name) for name, *_ in described)
            answer = connection.execute(_showable(select, [kind for _, kind, *_ in described]))
            return Answer(columns=columns, rows=tuple(tuple(map(_shown, row)) for row in answer.fetchall()))
    except duckdb.PermissionException as error:
        raise QueryError(f"the query may read the view set's tables alone: {database_fault(error)}.") from None
    except duckdb.Error as error:
        raise QueryError(f"the query failed: {database_fault(error)}.") from None


def _one_select(connection: Connection, query: str) -> str:
    """Return the query's text up to the semicolon that ends it, found by DuckDB's own tokenizer."""
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise QueryError(f"the query holds {kinds}: expected one SELECT, which reads and changes nothing.")
    text, began = query.encode(), False  # the tokenizer counts bytes
    for place, token in duckdb.tokenize(query):
        is_semicolon = token == duckdb.token_type.operator and text[place : place + 1] == b";"
        if began and is_semicolon:
            return text[:place].decode()
        if not (began or is_semicolon or token == duckdb.token_type.comment):
            text, began = b" " * place + text[place:], True
    return text.decode()


def _showable(select: str, kinds: Sequence[Any]) -> str:
    """Return a query for the same rows with the number of bytes in place of bytes, and times of a time zone as text, for
    which Python would need another library; the query itself when it gives neither."""
    if not any(_BYTES in str(kind) or _ZONED in str(kind) for kind in kinds):
        return select
    names = [f"c{number}" for number in range(len(kinds))]  # a query may give two columns one name
    shown = ", ".join(_shown_as(kind, name) for kind, name in zip(kinds, names, strict=True))
    return f"SELECT {shown} FROM (\n{select}\n) AS answer({', '.join(names)})"


def _shown_as(kind: Any, value: str) -> str:  # noqa: ANN401 - DuckDB's type, whose class differs between its modules
    """Return an expression for `value` whose bytes, alone or in a struct, are replaced by text; elsewhere _shown does
    it."""
    if kind.id == "blob":
        return f"CASE WHEN {value} IS NOT NULL THEN '<' || octet_length({value}) || ' bytes>' END"
    if kind.id == "struct" and (_BYTES in str(kind) or _ZONED in str(kind)):
        fields = ", ".join(f'"{name}": {_shown_as(child, _field(value, name))}' for name, child in kind.children)
        return f"CASE WHEN {value} IS NOT NULL THEN {{{fields}}} END"
    return f"CAST({value} AS VARCHAR)" if _ZONED in str(kind) else value


def _field(value: str, name: str) -> str:
    return f'{value}."{name}"'


def _shown(value: Any) -> Any:  # noqa: ANN401 - whatever DuckDB gives
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {name: _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list | tuple) else value


def as_table(answer: Answer) -> str:
    """Aligned columns under their names, at most MOST_SHOWN rows, and how many there are."""
    cells = [[_cell(value) for value in row] for row in answer.rows[:MOST_SHOWN]]
    widths = [max(map(len, column)) for column in zip(answer.columns, *cells, strict=True)]
    numeric = [
        all(isinstance(row[column], int | float | Decimal | None) for row in answer.rows)
        for column in range(len(answer.columns))
    ]

    def line(row: Sequence[str]) -> str:
        padded = zip(row, widths, numeric, strict=True)
        return "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in padded).rstrip()

    left = len(answer.rows) - len(cells)
    more = [f"... and {counted(left, 'more row')}: --csv or --json gives all."] if left else []
    return "\n".join([line(answer.columns), "  ".join("-" * width for width in widths), *map(line, cells), *more])


def as_csv(answer: Answer) -> Iterator[str]:
    """CSV, line by line with its end, names first; lists and structs as JSON, nothing for NULL."""
    for row in (answer.columns, *answer.rows):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([_plain(value) for value in row])
        yield text.getvalue()


def as_json(answer: Answer) -> str:
    """Return a JSON list with one object for each row; bytes as text, NaN and infinity as null."""
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return json.dumps(_finite(rows), indent=2, default=_text, ensure_ascii=False)


def _finite(value: Any) -> Any:  # noqa: ANN401 - whatever DuckDB gives
    """JSON has no NaN and no infinity: null, and keys are text."""
    if isinstance(value, dict):
        return {_plain(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _text(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(_finite(value), default=_text, ensure_ascii=False)
    return str(value)


def _cell(value: object) -> str:
    """One line of at most WIDEST characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "NULL" if value is None else printable(" ".join(_plain(value).split()))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
