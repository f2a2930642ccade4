"""Ask a view set questions in SQL: its tables as views of a DuckDB that reaches nothing else, and conditions that choose
among the questions.
Leaves out: a user's whole queries (report/sql.py)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from viewgen.errors import QueryError, database_fault
from viewgen.viewset.schema import TABLES, DataType
from viewgen.viewset.shards import ViewSet

if TYPE_CHECKING:
    Database = duckdb.DuckDBPyConnection
else:  # beartype, which checks annotations while tests run, would keep DuckDB's classes alive beyond DuckDB's own end
    Database = object


def connect(view_set: ViewSet) -> Database:
    """Open a DuckDB with one view per table, which reads the tables' own files and reaches nothing else: no other
    file, no network, no extension, no Python variable; it spills nothing to disk and its settings are locked."""
    files = {table: [str(path.resolve()) for path in view_set.table_paths(table)] for table in TABLES}
    connection = duckdb.connect(config={"python_enable_replacements": False, "autoload_known_extensions": False})
    connection.execute("SET temp_directory = ''")
    connection.execute("SET parquet_metadata_cache = true")  # else every query reads every footer again
    connection.execute(
        f"SET allowed_paths = [{', '.join(_quoted(path) for paths in files.values() for path in paths)}]"
    )
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    for table, paths in files.items():
        rows = connection.read_parquet(paths, union_by_name=True)
        # A view set may be handed on without a column that may be null: it is null then.
        columns = (
            name if name in rows.columns else f"CAST(NULL AS {_sql_type(column.type)}) AS {name}"
            for name, column in TABLES[table].columns.items()
        )
        rows.project(", ".join(columns)).create_view(table)
    return connection


def matching(view_set: ViewSet, condition: str) -> frozenset[str]:
    """Return the ids of the kept questions that fulfil a condition: one DuckDB expression over the columns of
    `questions`, with the other tables in subqueries. Raises QueryError, one line, for anything else.

    matching(views, "split = 'train' AND evidence_share < 0.01")
    matching(views, "EXISTS (FROM views v WHERE v.question_id = questions.question_id AND hash_distance > 20)")
    """
    try:
        with connect(view_set) as connection:
            _refuse_more(connection, condition)
            rows = connection.execute(f"SELECT question_id FROM questions WHERE (\n{condition}\n)").fetchall()
            return frozenset(name for (name,) in rows)
    except duckdb.PermissionException as error:
        raise QueryError(f"where: may read the view set's tables alone: {database_fault(error)}.") from None
    except duckdb.Error as error:
        raise QueryError(f"where: {database_fault(error)}. Write a condition over the columns of questions.") from None


def _refuse_more(connection: Database, condition: str) -> None:
    """Refuse what is more than one expression: a bracket that closes ours, a second statement."""
    row = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({condition}\n)"]).fetchone()
    assert row is not None
    tree: dict[str, Any] = json.loads(row[0])
    if tree["error"]:
        raise QueryError(f"where: {tree['error_message']}. Write a condition over the columns of questions.")
    nodes = [statement["node"] for statement in tree["statements"]]
    is_one = len(nodes) == 1 and nodes[0]["type"] == "SELECT_NODE" and len(nodes[0]["select_list"]) == 1
    if not is_one or nodes[0]["from_table"]["type"] != "EMPTY" or nodes[0]["modifiers"] or nodes[0]["where_clause"]:
        raise QueryError("where: holds more than one expression. Write a condition over the columns of questions.")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sql_type(of: DataType) -> str:
    """DuckDB's name for the type of a column that may be null."""
    if isinstance(of, pl.Struct):
        return f"STRUCT({', '.join(f'{field.name} {_sql_type(field.dtype)}' for field in of.fields)})"  # type: ignore[arg-type]
    if isinstance(of, pl.List):
        return f"{_sql_type(of.inner)}[]"  # type: ignore[arg-type]
    names = {pl.String: "VARCHAR", pl.Float64: "DOUBLE", pl.Int32: "INTEGER", pl.Binary: "BLOB"}
    return next(name for kind, name in names.items() if of == kind)
