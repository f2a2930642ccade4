"""Two view sets are told apart by what matters in them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from viewgen.build.builder import BuildOptions, build_views
from viewgen.cli import run
from viewgen.report.diff import TOLERANCE, _flags, _scores, diff, in_words
from viewgen.viewset.shards import ViewSet

if TYPE_CHECKING:
    from tests.viewgen.conftest import Source

QUIET = BuildOptions(progress_out=io.StringIO(), num_threads=1, num_workers=0)


def built_again(source: Source, out: Path, more: str = "", query: str = "FROM 'questions.jsonl'") -> ViewSet:
    source.write_recipe(query=query, more=more)
    build_views(source.recipe, out, replace(QUIET))
    return ViewSet.open(out)


def test_equal_builds_do_not_differ(source: Source, tmp_path: Path) -> None:
    a, b = (built_again(source, tmp_path / name) for name in "ab")
    found = diff(a, b)
    assert found.is_empty
    assert found.settings == {}
    assert in_words(found) == "questions and views are the same"


def test_questions_evidence_and_views_that_differ_are_counted_by_name(source: Source, tmp_path: Path) -> None:
    a = built_again(source, tmp_path / "a")
    rows = source.rows()
    rows[0]["question"] += " Really?"
    moved = next(row for row in rows if row["question_id"] == "1-sign")
    moved["boxes"][0]["x0"] += 3
    moved["boxes"][0]["x1"] += 3
    lost = next(row for row in rows if row["question_id"] == "2-sign")
    lost["boxes"] = []
    rows.append({**rows[0], "question_id": "new"})
    source.write_rows([row for row in rows if row["question_id"] != "4-sign"])
    b = built_again(source, tmp_path / "b")
    found = diff(a, b)
    assert not found.is_empty
    assert found.only_a == ("4-sign",)
    assert found.only_b == ("new",)
    assert [*found.lost] == ["2-sign"]
    assert found.reworded == (rows[0]["question_id"],)
    assert 0.3 < found.moved["1-sign"] < 1
    assert diff(b, a).won == found.lost
    crops = found.views["crop"]
    assert crops[0] == 2
    assert crops[1] == 1
    assert crops[2] >= 1
    assert sum(crops) == len({*_ids(a, "crop"), *_ids(b, "crop")})


def _ids(views: ViewSet, kind: str) -> list[str]:
    rows = pl.read_parquet(views.table_paths("views")[0].parent / "*.parquet")
    return rows.filter(pl.col("kind") == kind)["view_id"].to_list()


def test_flags_and_scores_are_compared_view_by_view() -> None:
    columns = {"width_px": [1, 1, 1], "width_px_b": [1, 1, None]}
    flags = {"flags": [["x"], ["x", "y"], ["z"]], "flags_b": [["x"], ["y", "w"], None]}
    assert _flags(pl.DataFrame({**columns, **flags})) == {"w": (0, 1), "x": (1, 0)}
    scores = {name: [0.5, 0.5, 0.5] for name in ("evidence_overlap", "sharpness_ratio", "hash_distance")}
    more = {name: [None, 1.0, 1.0] for name in ("detector_score", "phrase_similarity", "similarity_margin")}
    others = {f"{name}_b": [0.5, 0.5 + TOLERANCE / 2, 0.9] for name in scores}
    table = pl.DataFrame({**scores, **others, **more, **{f"{name}_b": [None, 1.0, None] for name in more}})
    found = _scores(table)
    assert {*found} == {*scores}
    largest, num = found["evidence_overlap"]
    assert largest == pytest.approx(0.4)
    assert num == 1


def test_the_command_exits_with_one_where_they_differ(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built_again(source, tmp_path / "a")
    built_again(source, tmp_path / "b", more="\n[images]\nmax_file_mb = 50\n")
    assert run(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "images.max_file_mb: 100.0 | 50.0",
        "questions and views are the same",
    ]
    built_again(source, tmp_path / "c", query="FROM 'questions.jsonl' WHERE question_id <> '1-sign'")
    assert run(["diff", str(tmp_path / "a"), str(tmp_path / "c"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["only_a"] == ["1-sign"]
