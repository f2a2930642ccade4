"""Conditions choose among the questions of a view set, and reach nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from viewgen.errors import QueryError
from viewgen.viewset.database import connect, matching
from viewgen.viewset.parts import write_table
from viewgen.viewset.shards import ViewSet


@pytest.fixture
def views(built: Path) -> ViewSet:
    return ViewSet.open(built)


def test_a_condition_chooses_by_columns_and_by_other_tables(views: ViewSet) -> None:
    every = {sample.question_id for split in views.splits() for sample in views.samples(split, ())}
    assert matching(views, "true") == every
    assert matching(views, "question_id = '1-sign'") == {"1-sign"}
    assert matching(views, "question_id LIKE '1-%' OR question_id IN ('2-sign') -- a remark") == {"1-sign", "2-sign"}
    shown = "EXISTS (FROM views v WHERE v.question_id = questions.question_id AND v.kind = 'crop' AND v.width_px > 0)"
    assert matching(views, shown) == every
    assert matching(views, "image_id NOT IN (SELECT image_id FROM images)") == frozenset()


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("colour = 'red'", 'Referenced column "colour" not found'),
        ("split = ", "syntax error"),
        ("true) UNION SELECT question_id FROM rejects WHERE (true", "more than one expression"),
        ("true); DROP VIEW questions; SELECT (true", "where: "),
        ("true, false", "where: Conversion Error"),
        ("question_id IN (SELECT content FROM read_text('/etc/passwd'))", "may read the view set's tables alone"),
        ("", "where: "),
    ],
)
def test_what_is_no_condition_is_one_line(condition: str, said: str, views: ViewSet) -> None:
    with pytest.raises(QueryError) as refusal:
        matching(views, condition)
    message = str(refusal.value)
    assert message.startswith("where: ")
    assert said in message
    assert "\n" not in message


def test_a_view_set_without_a_column_of_lists_is_asked_all_the_same(built: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(built, tmp_path / "views"))
    manifest = json.loads((old / "manifest.json").read_text())
    for part in manifest["parts"]:
        path = old / "questions" / f"part-{part['part']:05d}.parquet"
        part["files"]["questions"] = asdict(write_table(path, pl.read_parquet(path).drop("options", "source")))
    (old / "manifest.json").write_text(json.dumps(manifest))
    views = ViewSet.open(old)
    assert matching(views, "options IS NULL") == matching(views, "true")
    with connect(views) as connection:
        assert connection.execute("SELECT count(options), count(source) FROM questions").fetchone() == (0, 0)
