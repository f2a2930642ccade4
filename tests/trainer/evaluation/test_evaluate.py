"""Held-out questions, their answers, and the comparison before and after."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from trainer.errors import CheckpointError, DataError
from trainer.evaluation.evaluate import (
    EvalConfig,
    ScoredAnswer,
    accuracy,
    by_kind,
    difference,
    held_out,
    read_answers,
    weights_by_right,
    write_answers,
)
from viewgen.viewset import ViewSet


def scored(*rights: bool) -> list[ScoredAnswer]:
    return [
        ScoredAnswer(
            question_id=f"q{n}",
            image_id=f"i{n}",
            kind="even" if n % 2 == 0 else "odd",
            question="?",
            answer="1",
            response="1" if right else "2",
            right=right,
        )
        for n, right in enumerate(rights)
    ]


def test_each_image_is_asked_one_question_that_follows_from_the_image(drawn_views: Path) -> None:
    views = ViewSet.open(drawn_views)
    config = EvalConfig(scorer="number", question_kinds=("attribute",))
    asked = held_out(views, config, ())
    assert len({sample.image_id for sample in asked}) == len(asked) > 5
    assert held_out(views, config, ()) == asked
    every = held_out(views, EvalConfig(scorer="number", question_kinds=("attribute",), one_per_image=False), ())
    assert len(every) > len(asked)
    assert len(held_out(views, EvalConfig(scorer="number", question_kinds=("attribute",), num_questions=3), ())) == 3


def test_a_split_without_answers_of_the_kind_is_refused(drawn_views: Path) -> None:
    with pytest.raises(DataError, match=r"no question is of a kind in eval\.question_kinds"):
        held_out(ViewSet.open(drawn_views), EvalConfig(question_kinds=("nothing",)), ())


def test_accuracy_and_gain_by_hand() -> None:
    before, after = scored(True, False, False, False), scored(True, True, True, False)
    assert accuracy(before)["accuracy"] == 0.25
    gain = difference(before, after)
    assert gain["mean"] == 0.5
    assert gain["low"] < 0.5 < gain["high"]
    kinds = by_kind(before, after)
    assert kinds["even"]["before"]["accuracy"] == 0.5
    assert kinds["odd"]["after"]["accuracy"] == 0.5


def test_answers_are_read_back_and_a_broken_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "evals" / "before.parquet"
    write_answers(path, scored(True, False))
    assert read_answers(path) == scored(True, False)
    path.write_bytes(b"PAR1")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_answers(path)


def test_weights_are_told_apart_by_right_and_wrong(drawn_views: Path, tmp_path: Path) -> None:
    samples = ViewSet.open(drawn_views).samples("test", (), answers=True)
    sample = next(sample for sample in samples if sample.kind == "attribute")
    rows = [
        {"question_id": sample.question_id, "response": sample.answer, "weight": 1.5},
        {"question_id": sample.question_id, "response": "-1", "weight": 0.5},
        {"question_id": "unknown", "response": "7", "weight": 9.0},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "step-000001.parquet")
    assert weights_by_right(tmp_path, samples, "number") == {"weight_right": 1.5, "weight_wrong": 0.5}
