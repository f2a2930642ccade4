"""Read the files that a query names so that values stay what the files say. DuckDB guesses the type of a column from its
first 20,480 rows: yes becomes true, 10:30 a time, 007 a 7, and what comes later is lost, rounded or an error.

Here every file that the query scans (`FROM 'a.csv'`, `read_csv(...)`, JSON and Parquet alike) becomes a view whose types
rest on all rows. A column of a CSV file is text, unless all its values are whole numbers as numbers are written. In a
JSON file, text, numbers, lists and structs stay what they are: no text becomes a date. Options that the query gives stay.
Leaves out: turning values into text (values.py), running the query (recipe.py).

The query is parsed and written by DuckDB itself, as JSON: nothing here reads SQL."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from viewgen.source.values import SourceFaultError

if TYPE_CHECKING:
    Connection = duckdb.DuckDBPyConnection
else:  # beartype, which checks annotations while tests run, would keep DuckDB's classes alive beyond DuckDB's own end
    Connection = object

Node = dict[str, Any]
"""A node of the parsed query, as DuckDB's json_serialize_sql writes it."""

_READERS = {
    "read_csv": "csv",
    "read_csv_auto": "csv",
    "read_json": "json",
    "read_json_auto": "json",
    "read_ndjson": "json",
    "read_ndjson_auto": "json",
    "read_parquet": "parquet",
    "parquet_scan": "parquet",
}
_FILE = re.compile(r"\.(csv|tsv|json|jsonl|ndjson|parquet)(\.gz|\.zst)?$", re.IGNORECASE)
_KINDS = {"csv": "read_csv", "tsv": "read_csv", "parquet": "read_parquet"}
_BOM = b"\xef\xbb\xbf"
_GUESSED = frozenset({"date", "time", "uuid", "boolean"})
_ORDERED = frozenset({"min", "max", "least", "greatest", "arg_min", "arg_max", "min_by", "max_by"})


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a reading function in the query."""

    kind: str
    """csv, json or parquet."""
    function: Node
    alias: str
    options: frozenset[str]
    """Names of the options that the query gives."""
    patterns: tuple[str, ...]
    """Names of files, and patterns of names, as far as they are constants."""


@dataclass(slots=True)
class Scans:
    """A query whose files are read by views of ours."""

    tree: Node
    text_numbers: dict[str, str] = field(default_factory=dict)
    """Columns of numbers that stay text -> a value that a number would not keep."""

    def run(self, connection: Connection) -> Connection:
        """Run the query. Raises duckdb.Error."""
        return connection.execute("SELECT * FROM json_execute_serialized_sql(?)", [json.dumps(self.tree)])

    def columns(self, connection: Connection) -> list[Any]:
        """Return name and type of each column. Raises duckdb.Error."""
        none = "SELECT * FROM json_execute_serialized_sql(?) LIMIT 0"
        return list(connection.execute(none, [json.dumps(self.tree)]).description)

    def stream(self, connection: Connection) -> Connection:
        """Run the query so that rows come as they are taken, where `run` gathers all of them first. Raises duckdb.Error.

        It is written as SQL again; where DuckDB does not read that as the same query, `run` it is."""
        written = _value(connection, "SELECT json_deserialize_sql(?)", json.dumps(self.tree))
        if _without_place(parse(connection, written)) != _without_place(self.tree):
            return self.run(connection)
        connection.execute("SET threads = 1")  # each thread holds some thousand rows, with their pictures
        return connection.execute(written)


def parse(connection: Connection, query: str) -> Node:
    """Return the parsed query. Raises duckdb.ParserException, or SourceFaultError for what cannot be written as JSON."""
    tree: Node = json.loads(_value(connection, "SELECT json_serialize_sql(?)", query))
    if tree["error"]:
        message = str(tree["error_message"])
        raise SourceFaultError(f"source.query cannot be followed: {message}. Write it as one SELECT without PIVOT.")
    return tree


def linked_files(tree: Node, root: Path) -> list[str]:
    """Return the files named by the query, relative to the root, that are links leading out of the root, as in the cache
    of the Hugging Face hub. The recipe names them, so they may be read."""
    real_root = os.path.realpath(root)
    patterns = {pattern for node in _nodes(tree) for pattern in _patterns(node)}
    found = {name for pattern in patterns if _is_below(pattern) for name in _matches(pattern, root)}
    return sorted(name for name in found if not Path(os.path.realpath(root / name)).is_relative_to(real_root))


def prepare(connection: Connection, tree: Node, root: Path) -> Scans:
    """Put views of ours in the place of the files that the query scans. Raises SourceFaultError, or duckdb.Error for
    files that cannot be read."""
    scans = Scans(tree)
    made: dict[str, str] = {}
    asks_file = any(_column(node) == "filename" for node in _nodes(tree))
    for node in [*_nodes(tree)]:
        if call := _call(connection, node):
            key = json.dumps([call.kind, [_without_place(each) for each in call.function["arguments"]]])
            if key not in made:
                made[key] = f"__scan_{len(made)}"
                extra = {"filename": "true"} if asks_file and not _has_own_filename(connection, call) else {}
                select = _SELECTS[call.kind](connection, call, extra, scans, root)
                connection.execute(f"CREATE VIEW {made[key]} AS {select}")
            _replace(connection, node, made[key], call.alias)
    _refuse_text_order(scans)
    return scans


def _has_own_filename(connection: Connection, call: _Call) -> bool:
    """Return True for a file with a column of that name, which DuckDB's own would hide."""
    if "filename" in call.options:
        return False
    return any(name.lower() == "filename" for name, _ in _described(connection, _select(connection, call, {})))


def _without_place(tree: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(tree, dict):
        return {name: _without_place(inner) for name, inner in tree.items() if not name.startswith("query_location")}
    return [_without_place(inner) for inner in tree] if isinstance(tree, list) else tree


def _nodes(tree: Any) -> Iterator[Node]:  # noqa: ANN401 - JSON
    if isinstance(tree, dict):
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(inner)


def _patterns(node: Node) -> Iterator[str]:
    """Yield the constants among the first argument of a table function, or the name of a file that is scanned."""
    if node.get("type") == "TABLE_FUNCTION":
        arguments = [each for each in node["function"]["arguments"] if not _option(each)]
        for inner in _nodes(arguments[:1]):
            if inner.get("class") == "CONSTANT" and inner["literal"].get("kind") == "STRING":
                yield inner["literal"]["text"]
    elif node.get("type") == "BASE_TABLE":
        yield ".".join(node["qualified_name"]["path"])


def _is_below(pattern: str) -> bool:
    is_relative = bool(pattern) and "://" not in pattern and not Path(pattern).is_absolute()
    return is_relative and ".." not in pattern.split("/")


def _matches(pattern: str, root: Path) -> list[str]:
    """Return the files below the root that a pattern names, relative to it."""
    return [path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file()]


def _call(connection: Connection, node: Node) -> _Call | None:
    """Return the call of a reader that a node is, or stands for: `FROM 'a.csv'` is read_csv('a.csv')."""
    alias = str(node.get("alias"))
    if node.get("type") == "BASE_TABLE" and (named := _FILE.search(path := next(_patterns(node)))):
        alias = alias or Path(path).name.partition(".")[0]  # as DuckDB calls it
        reader = _KINDS.get(named[1].lower(), "read_json")
        node = _table(connection, f"SELECT * FROM {reader}({_literal(path)})")
    if node.get("type") != "TABLE_FUNCTION":
        return None
    function = node["function"]
    name = str(function["function_name"]).lower()
    if name not in _READERS:
        return None
    options = frozenset(filter(None, map(_option, function["arguments"])))
    patterns = tuple(_patterns(node))
    return _Call(kind=_READERS[name], function=function, alias=alias or name, options=options, patterns=patterns)


def _option(argument: Node) -> str:
    """Return the name of an option, given as `name = value` or `name => value`; empty for the file itself."""
    inner = argument["expression"]
    is_equal = inner.get("type") == "COMPARE_EQUAL" and inner["left"].get("class") == "COLUMN_REF"
    return str(argument["name"] or (_column(inner["left"]) if is_equal else "")).lower()


def _column(node: Node) -> str:
    """Return the name, in small letters, of the column that a node refers to; empty for any other node."""
    return str(node["column_names"][-1]).lower() if node.get("class") == "COLUMN_REF" and node["column_names"] else ""


def _replace(connection: Connection, node: Node, view: str, alias: str) -> None:
    kept = {name: node[name] for name in ("sample", "column_name_alias", "query_location", "query_location_length")}
    table = _table(connection, f"SELECT * FROM {view}")
    node.clear()
    node.update({**table, **kept, "alias": alias})


def _table(connection: Connection, select: str) -> Node:
    """Return the node behind FROM."""
    table: Node = parse(connection, select)["statements"][0]["node"]["from_table"]
    return table


def _select(connection: Connection, call: _Call, options: Mapping[str, str]) -> str:
    """Return the SELECT of a call with these options besides those that the query gives."""
    added = "".join(f", {name} => {value}" for name, value in options.items() if name not in call.options)
    tree = parse(connection, f"SELECT * FROM read_csv(''{added})")
    table = tree["statements"][0]["node"]["from_table"]
    arguments = [*call.function["arguments"], *table["function"]["arguments"][1:]]
    table["function"] = {**call.function, "arguments": arguments}
    select: str = _value(connection, "SELECT json_deserialize_sql(?)", json.dumps(tree))
    return select


def _csv(connection: Connection, call: _Call, extra: Mapping[str, str], scans: Scans, root: Path) -> str:
    if call.options & {"columns", "auto_detect"}:
        return _select(connection, call, extra)
    options = {"sample_size": "-1", "comment": "''", "all_varchar": "true", **extra}
    select = _select(connection, call, options)
    _refuse_differing(connection, call, options)
    if "all_varchar" in call.options:
        return select
    columns = [name for name, kind in _described(connection, select) if str(kind) == "VARCHAR"]
    whole = _whole(connection, select, columns, scans)
    replaced = ", ".join(f"CAST({_quoted(name)} AS BIGINT) AS {_quoted(name)}" for name in whole)
    return f"SELECT * REPLACE ({replaced}) FROM ({select})" if whole else select


def _whole(connection: Connection, select: str, columns: Sequence[str], scans: Scans) -> list[str]:
    """Return the columns of text that whole numbers keep; note those of other numbers, each with an example."""
    if not columns:
        return []
    tests = ", ".join(
        f"bool_and({whole}), bool_and(TRY_CAST({column} AS DOUBLE) IS NOT NULL) FILTER (WHERE {column} IS NOT NULL), "
        f"any_value({column}) FILTER (WHERE NOT ({whole}))"
        for column in map(_quoted, columns)
        for whole in [f"CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR) IS NOT DISTINCT FROM {column}"]
    )
    row = connection.execute(f"SELECT {tests} FROM ({select})").fetchone()
    assert row is not None
    found = {name: row[3 * at : 3 * at + 3] for at, name in enumerate(columns)}
    others = {name.lower(): str(example) for name, (whole, number, example) in found.items() if number and not whole}
    scans.text_numbers.update(others)
    return [name for name, (whole, number, _) in found.items() if number and whole]


def _json(connection: Connection, call: _Call, extra: Mapping[str, str], scans: Scans, root: Path) -> str:
    begins = any(_begins_with_bom_and_list(root / name) for name in _files(call, root))
    fixed = {**extra, "format": "'array'"} if begins else {**extra}
    if "columns" in call.options:
        return _select(connection, call, fixed)
    select = _select(connection, call, {"sample_size": "-1", "maximum_sample_files": "-1", **fixed})
    described = _described(connection, select)
    kinds = {name: _stated(kind) for name, kind in described}
    for name in [name for name, kind in described if str(kind) == "JSON"]:
        if not _holds_lists(connection, select, name):
            kinds[name] = "VARCHAR"
    if all(kinds[name] == str(kind) for name, kind in described):
        return select
    made = {name for name in kinds if any(f"{name}=" in pattern for pattern in call.patterns)}
    made |= {"filename"} & ({*fixed} | call.options)
    columns = ", ".join(f"{_literal(name)}: {_literal(kind)}" for name, kind in kinds.items() if name not in made)
    return _select(connection, call, {**fixed, "columns": f"{{{columns}}}"})


def _stated(kind: Any) -> str:  # noqa: ANN401 - a DuckDB type, whose class differs between its modules
    """Return the type with text for what DuckDB guessed from the form of strings, at any depth, and for true and false,
    which are text that way too."""
    if kind.id in _GUESSED or kind.id.startswith("timestamp"):
        return "VARCHAR"
    if kind.id == "list":
        return f"{_stated(kind.children[0][1])}[]"
    if kind.id == "struct":
        return f"STRUCT({', '.join(f'{_quoted(name)} {_stated(inner)}' for name, inner in kind.children)})"
    if kind.id == "map":
        return f"MAP({', '.join(_stated(inner) for _, inner in kind.children)})"
    return str(kind)


def _holds_lists(connection: Connection, select: str, name: str) -> bool:
    test = f"json_type({_quoted(name)}) IN ('ARRAY', 'OBJECT')"
    return bool(_value(connection, f"SELECT coalesce(bool_or({test}), false) FROM ({select})"))


def _files(call: _Call, root: Path) -> list[str]:
    return [name for pattern in call.patterns if _is_below(pattern) for name in _matches(pattern, root)]


def _begins_with_bom_and_list(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(64)
    return start.startswith(_BOM) and start.removeprefix(_BOM).lstrip().startswith(b"[")


def _parquet(connection: Connection, call: _Call, extra: Mapping[str, str], scans: Scans, root: Path) -> str:
    _refuse_differing(connection, call, extra)
    return _select(connection, call, extra)


_SELECTS: Mapping[str, Callable[[Connection, _Call, Mapping[str, str], Scans, Path], str]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}


def _refuse_differing(connection: Connection, call: _Call, options: Mapping[str, str]) -> None:
    """Refuse several files with other columns or types: DuckDB takes those of the first, and rounds or drops the rest."""
    is_one = len(call.patterns) == 1 and not glob.has_magic(call.patterns[0])
    if is_one or "union_by_name" in call.options:
        return
    taken, united = (
        {(name, str(kind)) for name, kind in _described(connection, _select(connection, call, {**options, **more}))}
        for more in ({}, {"union_by_name": "true"})
    )
    if differing := sorted(united - taken):
        what = f"the files of {call.patterns[0] if call.patterns else 'a scan'!r} differ in column {differing[0][0]!r}"
        remedy = f"Add union_by_name = true to its {call.kind} reader, or name others"
        raise SourceFaultError(f"source.query: {what}. {remedy}.")


def _described(connection: Connection, select: str) -> list[tuple[str, Any]]:
    """Return names and types of the columns of a SELECT."""
    return [(str(name), kind) for name, kind, *_ in connection.execute(f"{select} LIMIT 0").description]


def _refuse_text_order(scans: Scans) -> None:
    """Refuse what would compare numbers as text, "9" after "10", where a column of numbers had to stay text."""
    names = scans.text_numbers
    for node in _nodes(scans.tree):  # other names of the same column
        if node.get("alias") and _column(node) in names:
            names.setdefault(str(node["alias"]).lower(), names[_column(node)])
    for node in _nodes(scans.tree) if names else ():
        for operand in _compared(node):
            if (name := _column(operand)) in names:
                why = f"column {name!r} stays text, for {names[name]!r} is a number in a form that numbers do not keep"
                remedy = f"Write CAST({name} AS DOUBLE) there, or CAST({name} AS VARCHAR) to compare text"
                raise SourceFaultError(f"source.query compares text: {why}. {remedy}.")


def _compared(node: Node) -> list[Node]:
    """Return the expressions that a node puts in order; none for a comparison with a constant of text."""
    kind = str(node.get("type", ""))
    if kind.startswith(("COMPARE_LESS", "COMPARE_GREATER")):
        both = [node["left"], node["right"]]
    elif kind == "COMPARE_BETWEEN":
        both = [node["input"], node["lower"], node["upper"]]
    elif node.get("class") == "FUNCTION" and node["function_name"].lower() in _ORDERED:
        both = [argument["expression"] for argument in node["arguments"]]
    elif node.get("class") == "WINDOW":
        both = [order["expression"] for order in node["orders"]]
    elif any(each.get("type") == "LIMIT_MODIFIER" for each in node.get("modifiers") or ()):
        both = [order["expression"] for each in node["modifiers"] for order in each.get("orders", ())]
    elif kind == "COMPARE_IN" and any(_is_number(each) for each in node["children"][1:]):
        both = node["children"][:1]
    elif kind in {"COMPARE_EQUAL", "COMPARE_NOTEQUAL"} and (_is_number(node["left"]) or _is_number(node["right"])):
        both = [node["left"], node["right"]]
    else:
        return []
    return [] if any(each.get("class") == "CONSTANT" and not _is_number(each) for each in both) else both


def _is_number(node: Node) -> bool:
    return node.get("class") == "CONSTANT" and node["literal"].get("kind") in {"INTEGER", "NUMERIC"}


def _value(connection: Connection, query: str, *values: str) -> Any:  # noqa: ANN401 - whatever DuckDB gives
    row = connection.execute(query, list(values)).fetchone()
    assert row is not None
    return row[0]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
