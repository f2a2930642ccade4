"""A user's own query: what it gives, what it may not do, and the queries of the documents."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import pytest

from viewgen.cli import run
from viewgen.errors import QueryError
from viewgen.report.sql import MOST_SHOWN, Answer, as_csv, as_json, as_table, ask
from viewgen.viewset.shards import ViewSet

QUERIES = re.findall(r"```sql\n(.*?)```", (Path(__file__).parents[3] / "docs" / "queries.md").read_text(), re.DOTALL)
FIRST_ROWS: list[tuple[object, ...]] = [
    ("test", "ghost", 0, 2),
    ("evidence", "no_region", 5, "What is on the red ghost?", "no region was found for 'the red ghost'"),
    ("0-sign", "What is on the red sign?", 0.063, "64 x 64", "0.png"),
    ("positive", "crop", 5, 0),
]
"""Of the first queries."""


def answer_of(view_set: Path, query: str) -> Answer:
    return ask(ViewSet.open(view_set), query)


# ---- what it gives


def test_the_tables_are_there_by_their_names(built: Path) -> None:
    answer = answer_of(built, "SELECT count(*) AS num FROM questions UNION ALL SELECT count(*) FROM rejects")
    assert (answer.columns, answer.rows) == (("num",), ((5,), (5,)))
    tables = {row[0] for row in answer_of(built, "SHOW TABLES").rows}
    assert tables == {"images", "questions", "rejects", "views"}


@pytest.mark.parametrize("query", ["FROM views LIMIT 1;", "WITH v AS (FROM views) FROM v -- v", "DESCRIBE views"])
def test_whatever_only_reads_is_answered(built: Path, query: str) -> None:
    assert answer_of(built, query).rows


def test_bytes_are_shown_as_their_number_at_any_depth(built: Path) -> None:
    query = "SELECT image, image.bytes AS b, [image.bytes] AS l, octet_length(image.bytes) AS num FROM images LIMIT 1"
    ((image, alone, inside, num),) = answer_of(built, query).rows
    assert num > 100
    assert image == {"bytes": f"<{num} bytes>", "path": "0.png"}
    assert (alone, inside) == (f"<{num} bytes>", [f"<{num} bytes>"])
    nothing = answer_of(built, "SELECT NULL::BLOB AS b, NULL::STRUCT(bytes BLOB) AS s")
    assert nothing.rows == ((None, None),)


def test_rows_with_bytes_keep_their_order_and_columns_their_names(built: Path) -> None:
    query = "SELECT image_id, a.image, b.image FROM images a JOIN images b USING (image_id) ORDER BY source_path DESC"
    with pytest.raises(QueryError, match="mbiguous"):
        answer_of(built, query)
    answer = answer_of(built, query.replace("source_path", "a.source_path"))
    assert answer.columns == ("image_id", "image", "image_1")
    assert [row[1]["path"] for row in answer.rows] == [f"{number}.png" for number in (4, 3, 2, 1, 0)]


def test_a_table_has_aligned_columns_and_says_how_many_rows_are_left(built: Path) -> None:
    text = as_table(answer_of(built, "SELECT split, count(*) AS num FROM questions GROUP BY ALL ORDER BY split"))
    assert text.splitlines() == ["split  num", "-----  ---", "test     2", "train    3"]
    long = as_table(answer_of(built, f"SELECT range AS n, NULL AS nothing FROM range({MOST_SHOWN + 2})"))
    assert long.splitlines()[-2:] == [
        f"{MOST_SHOWN - 1}     NULL",
        "... and 2 more rows: --csv or --json gives all.",
    ]
    assert as_table(answer_of(built, "SELECT 1 AS n WHERE false")).splitlines() == ["n", "-"]


def test_a_cell_of_a_table_is_one_short_line(built: Path) -> None:
    *_, cell = as_table(answer_of(built, "SELECT repeat('a\nb ', 100) AS long")).splitlines()
    assert cell.startswith("a b a b")
    assert (len(cell), cell[-1]) == (80, "…")


def test_csv_has_every_row_and_quotes_what_needs_it(built: Path) -> None:
    text = "".join(as_csv(answer_of(built, "SELECT 'a,\"b\"' AS t, NULL AS n, [1, 2] AS l FROM range(300)")))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 300
    assert rows[0] == {"t": 'a,"b"', "n": "", "l": "[1, 2]"}


def test_json_is_a_list_of_objects_and_has_no_nan(built: Path) -> None:
    numbers = "'nan'::DOUBLE AS n, {'x': ['inf'::DOUBLE]} AS deep, 1.5 AS d"
    (row,) = json.loads(as_json(answer_of(built, f"SELECT 1 AS a, 2 AS a, {numbers}, DATE '2020-02-01' AS day")))
    assert row == {"a": 1, "a_1": 2, "n": None, "deep": {"x": [None]}, "day": "2020-02-01", "d": 1.5}


def test_a_folder_with_odd_signs_in_its_name_is_read(built: Path, tmp_path: Path) -> None:
    odd = shutil.copytree(built, tmp_path / "it's [1] * ?" / "views")
    assert answer_of(odd, "SELECT count(*) FROM questions").rows == ((5,),)


# ---- what it may not do


@pytest.mark.parametrize(
    "query",
    [
        "COPY views TO '{elsewhere}/new.csv'",
        "COPY (SELECT 1) TO '{view_set}/views/part-00000.parquet'",
        "EXPORT DATABASE '{elsewhere}'",
        "ATTACH '{elsewhere}/other.db' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET allowed_paths",
        "PRAGMA memory_limit = '1GB'",
        "CREATE TABLE mine AS FROM views",
        "DROP VIEW views",
        "DELETE FROM rejects",
        "INSERT INTO rejects FROM rejects",
        "CALL pragma_version()",
        "EXPLAIN ANALYZE COPY views TO '{elsewhere}/new.csv'",
        "SELECT 1; COPY views TO '{elsewhere}/new.csv'",
        "",
    ],
)
def test_anything_but_one_select_is_refused(
    own: Path, tmp_path: Path, query: str, all_bytes: Callable[[Path], Mapping[str, bytes]]
) -> None:
    before = all_bytes(own)
    with pytest.raises(QueryError, match=r"the query (holds .*: expected one SELECT|failed: )"):
        answer_of(own, query.format(elsewhere=tmp_path, view_set=own))
    assert all_bytes(own) == before
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize(
    "source",
    [
        "'{elsewhere}/other.csv'",
        "read_csv('{elsewhere}/other.csv')",
        "read_text('{elsewhere}/other.csv')",
        "read_blob('{elsewhere}/other.csv')",
        "read_parquet('{elsewhere}/*.parquet')",
        "glob('{elsewhere}/*')",
        "sniff_csv('{elsewhere}/other.csv')",
        "parquet_metadata('{elsewhere}/other.parquet')",
        "'{view_set}/manifest.json'",
        "read_text('{view_set}/../other.csv')",
        "query('FROM read_text(''{elsewhere}/other.csv'')')",
        "read_csv('https://example.com/a.csv')",
        "read_parquet('s3://bucket/a.parquet')",
        "sqlite_scan('{elsewhere}/other.db', 'a')",
        "rows",
    ],
)
def test_nothing_outside_of_the_tables_is_read(own: Path, tmp_path: Path, source: str) -> None:
    rows = [1, 2, 3]  # a variable of Python's, which DuckDB could look for
    assert rows
    (tmp_path / "other.csv").write_text("a\n1\n")
    duckdb.execute("COPY (SELECT 1 AS a) TO $1", [str(tmp_path / "other.parquet")])
    with pytest.raises(QueryError) as refusal:
        answer_of(own, f"SELECT * FROM {source}".format(elsewhere=tmp_path, view_set=own))
    assert "\n" not in str(refusal.value)


def test_a_table_that_is_a_link_is_read_and_what_lies_beside_its_target_is_not(own: Path, tmp_path: Path) -> None:
    path = own / "views" / "part-00000.parquet"
    (tmp_path / "store").mkdir()
    blob = path.rename(tmp_path / "store" / "blob")
    (tmp_path / "store" / "secret.csv").write_text("a\n1\n")
    path.symlink_to(blob)
    assert answer_of(own, "SELECT count(*) > 0 FROM views").rows == ((True,),)
    with pytest.raises(QueryError, match="the view set's tables alone"):
        answer_of(own, f"FROM read_csv('{tmp_path}/store/secret.csv')")


# ---- on the command line


def test_the_command_prints_a_table_csv_or_json(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT split, count(*) AS num FROM questions GROUP BY ALL ORDER BY split"
    assert run(["sql", str(built), query]) == 0
    assert capsys.readouterr().out == "split  num\n-----  ---\ntest     2\ntrain    3\n"
    assert run(["sql", str(built), query, "--csv"]) == 0
    assert capsys.readouterr().out == "split,num\ntest,2\ntrain,3\n"
    assert run(["sql", str(built), query, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {"split": "train", "num": 3}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["SELCT 1"], 'error: the query failed: Parser Error: syntax error at or near "SELCT".'),
        (["SELECT nope FROM views"], "error: the query failed: Binder Error: Referenced column"),
        (["DROP VIEW views"], "error: the query holds DROP: expected one SELECT, which reads and changes nothing."),
        (["SELECT 1", "--csv", "--json"], "error: --csv and --json are two forms of one answer. Give one of them."),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    built: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["sql", str(built), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1


# ---- the queries of the documents


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_every_query_of_the_documents_is_answered(built: Path, number: int) -> None:
    answer = answer_of(built, QUERIES[number])
    assert answer.columns
    if number < len(FIRST_ROWS):
        assert answer.rows[0] == FIRST_ROWS[number]


def test_every_query_of_the_documents_runs_in_the_folder_of_a_view_set(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(QUERIES) >= 10
    monkeypatch.chdir(built)
    for query, first in zip(QUERIES, FIRST_ROWS, strict=False):
        plain = re.sub(r"\b(FROM|JOIN) (images|questions|views|rejects)\b", r"\1 '\2/*.parquet'", query)
        with duckdb.connect() as connection:
            assert connection.execute(plain).fetchall()[0] == first


def test_what_would_move_the_cursor_is_spelt_out(built: Path) -> None:
    answer = ask(ViewSet.open(built), "SELECT chr(27) || '[31mred' AS word")
    assert "\\x1b[31mred" in as_table(answer)
    assert "\x1b" not in as_table(answer)


def test_a_remark_behind_the_semicolon_is_no_part_of_the_query(built: Path) -> None:
    assert ask(ViewSet.open(built), "SELECT 1 AS one; -- done\n").rows == ((1,),)


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("SELECT '; -- ' AS v;", "; -- "),
        ("SELECT 'é; -- ' AS v; -- é; and 'more'", "é; -- "),
        ("SELECT $$;$$ AS v;;", ";"),
        ("SELECT $t$ $$;$t$ AS v; /* ; */", " $$;"),
        ("SELECT 'it''s;' AS v /* ; /* ; */ */ ; -- ;", "it's;"),
        ("SELECT E'\\';' AS v;", "';"),
        ("; -- nothing yet\nSELECT 7 AS v;", 7),
        ('SELECT v FROM (SELECT 1 AS v, 2 AS ";")  ;\n\n', 1),
    ],
)
def test_a_semicolon_ends_a_query_only_where_duckdb_reads_one(built: Path, query: str, value: object) -> None:
    answer = answer_of(built, query)
    assert (answer.columns, answer.rows) == (("v",), ((value,),))


@pytest.mark.fault(29)
def test_many_remarks_are_read_in_no_time(built: Path) -> None:
    began = time.process_time()
    assert answer_of(built, "SELECT 1 AS v; " + "--\n" * 2000).rows == ((1,),)
    assert time.process_time() - began < 20  # with an exponential pattern, 22 remarks took a minute


@pytest.mark.fault(29)
def test_times_of_a_zone_are_shown_at_any_depth(built: Path) -> None:
    at = "TIMESTAMPTZ '2021-04-03 10:30:00+00'"
    query = f"SELECT {at} AS t, {{'t': {at}, 'n': 1}} AS s, [{at}] AS l, NULL::TIMESTAMPTZ AS z, 2 AS t"
    ((alone, inside, listed, none, two),) = answer_of(built, query).rows
    assert re.fullmatch(r"2021-04-0[234] \d\d:\d\d:00[+-]\d\d(:\d\d)?", alone)
    assert inside == {"t": alone, "n": 1}
    assert listed == f"['{alone}']" or listed == f"[{alone}]"
    assert (none, two) == (None, 2)
    assert json.loads(as_json(answer_of(built, query)))[0]["t"] == alone
