"""Held-out questions, their answers, and the comparison before and after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from torch import Generator

from trainer.batches import PromptWriter
from trainer.engine.load import ModelConfig, load
from trainer.engine.models import Student
from trainer.engine.prompts import PromptConfig
from trainer.errors import CheckpointError, DataError
from trainer.evaluation.evaluate import (
    EvalConfig,
    ScoredAnswer,
    accuracy,
    by_kind,
    difference,
    evaluate,
    held_out,
    options_of,
    read_answers,
    weights_by_right,
    write_answers,
)
from trainer.rollout.sample import answer
from trainer.rollouts import RolloutConfig
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


def test_the_place_of_the_question_follows_from_the_image_so_that_every_place_is_asked_for(drawn_views: Path) -> None:
    views = ViewSet.open(drawn_views)
    of_image: dict[str, list[str]] = {}
    for sample in views.samples("test", (), answers=True):
        if sample.kind == "attribute":
            of_image.setdefault(sample.image_id, []).append(sample.question_id)
    config = EvalConfig(scorer="number", question_kinds=("attribute",))
    asked = {sample.image_id: sample.question_id for sample in held_out(views, config, ())}
    assert asked == {image: names[int(image[:8], 16) % len(names)] for image, names in of_image.items()}
    assert any(asked[image] != names[0] for image, names in of_image.items())


def test_answers_are_the_likeliest_ones_and_are_judged_without_their_thoughts(
    drawn_views: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, loaded = ViewSet.open(drawn_views), load("embedded:drawn-vlm", ModelConfig(), "model.student")
    student = Student(loaded, train_vision=False)
    config = EvalConfig(scorer="number", question_kinds=("attribute",), max_new_tokens=4, images_per_batch=5)
    asked = held_out(views, config, ("crop",))

    def writer() -> PromptWriter:
        return PromptWriter(views, loaded.processor, PromptConfig(view=""), 10_000)

    for kind in ("", "crop"):
        found = evaluate(student, writer(), asked, config, kind, "")
        prompts = [prompt for _, (prompt,) in writer().write(asked, (kind,))]
        greedy = RolloutConfig(num_siblings=1, temperature=0.0, max_new_tokens=4)
        likeliest = student.texts(answer(student, prompts, greedy, Generator().manual_seed(9)))
        assert [one.response for one in found] == likeliest
        assert [one.question_id for one in found] == [sample.question_id for sample in asked]
    truths = {sample.question_id: sample.answer for sample in asked}
    cut_off = iter([f"<think>it may be {truth}" for truth in truths.values()])
    monkeypatch.setattr(Student, "texts", lambda self, rollouts: [next(cut_off) for _ in range(rollouts.num_rows)])
    assert not any(one.right for one in evaluate(student, writer(), asked, config, "", ""))


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


@pytest.mark.fault(14)
def test_intervals_count_by_image_where_questions_share_one() -> None:
    before = [replace(a, image_id=f"i{n // 5}") for n, a in enumerate(scored(*[n < 5 for n in range(30)]))]
    after = [replace(a, right=n < 15) for n, a in enumerate(before)]
    alone = [replace(a, image_id=a.question_id) for a in before]
    shared, single = accuracy(before), accuracy(alone)
    assert (shared["accuracy"], shared["num"], shared["images"]) == (single["accuracy"], 30, 6)
    assert single["images"] == 30
    assert shared["low"] < single["low"] - 0.02
    assert shared["high"] > single["high"] + 0.1
    gain = difference(before, after)
    narrow = difference(alone, [replace(a, image_id=a.question_id) for a in after])
    assert (gain["mean"], narrow["mean"]) == pytest.approx((1 / 3, 1 / 3))
    assert gain["high"] - gain["low"] > 1.3 * (narrow["high"] - narrow["low"])
    kind = by_kind(before, after)["even"]["before"]
    assert (kind["num"], kind["images"]) == (15, 6)


@pytest.mark.fault(14)
def test_a_number_of_questions_is_a_sample_that_follows_from_the_seed(drawn_views: Path) -> None:
    views = ViewSet.open(drawn_views)

    def ids(num: int, seed: int = 0) -> list[str]:
        config = EvalConfig(question_kinds=("attribute",), one_per_image=False, num_questions=num, seed=seed)
        return [sample.question_id for sample in held_out(views, config, ())]

    every = ids(0)
    assert ids(5) == ids(5) != every[:5]
    assert ids(5) != ids(5, seed=1)
    assert ids(5) == [name for name in every if name in set(ids(5))]  # in the order of the files
    assert set(ids(5)) < set(ids(8))
    assert ids(len(every) + 1) == every


@pytest.mark.fault(32)
def test_options_come_from_the_source_or_from_the_question(drawn_views: Path) -> None:
    sample = ViewSet.open(drawn_views).samples("test", (), answers=True)[0]
    listed = replace(sample, question="Which colour?\nA. red\nB. blue")
    assert options_of(sample) == ()
    assert options_of(listed) == ("red", "blue")
    assert options_of(replace(listed, options=("green", "grey"))) == ("green", "grey")


@pytest.mark.fault(12)
def test_weights_are_told_apart_by_the_answer_and_not_by_the_thought(drawn_views: Path, tmp_path: Path) -> None:
    samples = ViewSet.open(drawn_views).samples("test", (), answers=True)
    sample = next(sample for sample in samples if sample.kind == "attribute")
    rows = [
        {"question_id": sample.question_id, "response": f"-1?</think>{sample.answer}", "weight": 1.5},
        {"question_id": sample.question_id, "response": f"{sample.answer}?</think>-1", "weight": 0.5},
        {"question_id": sample.question_id, "response": f"cut off, yet it is {sample.answer}", "weight": 0.25},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "step-000001.parquet")
    assert weights_by_right(tmp_path, samples, "number") == {"weight_right": 1.5, "weight_wrong": 0.375}
