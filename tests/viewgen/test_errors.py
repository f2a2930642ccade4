"""Every error that a user can cause is a ViewgenError, so that the command line prints it alone."""

from __future__ import annotations

import inspect
from pathlib import Path

import duckdb
import pytest

from viewgen import errors


def test_every_error_is_a_viewgen_error_that_says_what_it_is_for() -> None:
    classes = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__]
    assert len(classes) > 5
    for one in classes:
        assert issubclass(one, errors.ViewgenError)
        assert one.__doc__


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("No file.\nTry again with internet.", "No file"),
        ("v1.5 of a.pth is bad (see https://x.y/z) now", "v1.5 of a.pth is bad now"),
        ("Weights only load failed. Set `weights_only` to False.", "Weights only load failed"),
        ("", "ValueError"),
    ],
)
def test_a_library_s_first_sentence_is_told_and_not_its_advice(message: str, text: str) -> None:
    assert errors.brief(ValueError(message)) == text
    assert len(errors.brief(ValueError("x" * 999))) == 200


@pytest.mark.fault(28)
@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "SELECT idd FROM (SELECT 1 AS id)",
            'Referenced column "idd" not found in FROM clause! Candidate bindings: "id"',
        ),
        ("SELECT 'a' + 1.5::DOUBLE + INTERVAL 1 DAY", "No function matches the given name and argument types"),
        ("SELECT * FROM read_csv('none.csv')", 'No files found that match the pattern "none.csv"'),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        (f"SELECT {{'{'x' * 5_000}': 1}} + 1", "No function matches the given name and argument types '+(STRUCT("),
    ],
)
def test_of_a_database_s_error_the_line_that_matters_is_told(query: str, text: str) -> None:
    with duckdb.connect() as connection, pytest.raises(duckdb.Error) as error:
        connection.execute(query)
    said = errors.database_fault(error.value)
    assert text in said
    assert len(said) <= 300
    assert not {"\n", "\t"} & set(said)
    assert "Candidate functions" not in said
    assert "LINE 1" not in said
    assert not said.endswith(".")


@pytest.mark.fault(28)
def test_of_a_broken_csv_file_the_line_and_its_fault_are_told(tmp_path: Path) -> None:
    rows = "".join(f"{row},b\n" for row in range(30_000))
    (tmp_path / "a.csv").write_text(f"id,text\n{rows}x,y,z{'z' * 9_000}\n")
    with duckdb.connect() as connection, pytest.raises(duckdb.Error) as error:
        connection.execute(f"SELECT * FROM read_csv('{tmp_path}/a.csv', all_varchar = true)").fetchall()
    said = errors.database_fault(error.value)
    assert "CSV Error on Line: 30002" in said
    assert "Expected Number of Columns: 2 Found: 3" in said
    assert len(said) <= 300
