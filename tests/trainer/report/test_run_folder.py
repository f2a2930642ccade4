"""Reading a run folder: what is there, what may be absent, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from trainer.errors import TrainerError
from trainer.report.run_folder import RunFolder, evenly, read_groups

if TYPE_CHECKING:
    from tests.trainer.report.conftest import RunMaker


def test_run_json_alone_is_a_run_without_anything_to_show(make_run: RunMaker) -> None:
    make_run.facts()
    run = RunFolder.read(make_run.folder)
    assert (run.metrics, run.summary, run.verdicts, run.rollout_files) == ((), {}, (), ())
    assert run.telling_groups(24) == []


def test_siblings_come_in_order_with_all_that_the_file_says_of_them(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([3], num_siblings=8, num_questions=2)
    path = make_run.folder / "rollouts" / "step-000003.parquet"
    rows = pl.read_parquet(path)
    rows.reverse().write_parquet(path)
    groups = read_groups(path)
    assert [len(group.siblings) for group in groups] == [8, 8]
    for group in groups:
        expected = rows.filter(question_id=group.question_id)
        assert group.step == 3
        assert [sibling.weight for sibling in group.siblings] == expected["weight"].to_list()
        assert [list(sibling.gap) for sibling in group.siblings] == expected["gap"].to_list()
        assert group.spread == expected["weight"].max() - expected["weight"].min()  # type: ignore[operator]


def test_equal_answers_count_as_one_and_the_heaviest_comes_first(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([1], num_siblings=8, num_questions=1)
    (group,) = read_groups(make_run.folder / "rollouts" / "step-000001.parquet")
    weights = [sibling.weight for sibling, _ in group.distinct]
    assert weights == sorted(weights, reverse=True)
    assert sum(num for _, num in group.distinct) == 8
    assert len({sibling.tokens for sibling, _ in group.distinct}) == len(group.distinct)


def test_the_groups_shown_are_the_most_divided_of_steps_spread_over_the_run(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts(range(1, 12))
    run = RunFolder.read(make_run.folder)
    groups = run.telling_groups(3)
    assert [group.step for group in groups] == [1, 6, 11]
    for group in groups:
        file = make_run.folder / "rollouts" / f"step-{group.step:06d}.parquet"
        assert group.spread == max(other.spread for other in read_groups(file))


def test_few_steps_give_several_groups_each_and_never_more_than_asked_for(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([1, 2], num_questions=3)
    groups = RunFolder.read(make_run.folder).telling_groups(5)
    assert [group.step for group in groups] == [1, 1, 1, 2, 2]
    assert len({(group.step, group.question_id) for group in groups}) == 5


def test_even_picks_hold_the_first_and_the_last_of_many_and_the_last_alone_when_one_is_asked_for() -> None:
    files = tuple(Path(str(number)) for number in range(10))
    assert [int(file.name) for file in evenly(files, 4)] == [0, 3, 6, 9]
    assert evenly(files, 1) == [files[9]]
    assert evenly(files[:2], 4) == list(files[:2])


def test_a_question_counts_only_when_it_was_answered_both_before_and_after(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.evals(share_before=0.0, share_after=1.0)
    after = make_run.folder / "evals" / "after.parquet"
    pl.read_parquet(after).head(3).reverse().write_parquet(after)
    verdicts = RunFolder.read(make_run.folder).verdicts
    before = pl.read_parquet(make_run.folder / "evals" / "before.parquet")
    assert [verdict.question_id for verdict in verdicts] == before["question_id"].head(3).to_list()
    assert [(verdict.was_right, verdict.is_right, verdict.before) for verdict in verdicts] == [(False, True, "57")] * 3
    assert [verdict.after for verdict in verdicts] == before["answer"].head(3).to_list()


def test_a_last_line_without_an_end_is_a_step_that_was_not_finished(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.metrics(4)
    path = make_run.folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 5, "lo')
    assert [step["step"] for step in RunFolder.read(make_run.folder).metrics] == [1, 2, 3, 4]


def test_metrics_are_numbers_and_anything_else_is_left_out(make_run: RunMaker) -> None:
    make_run.facts()
    (make_run.folder / "metrics.jsonl").write_text('{"step": 1, "loss": NaN, "lr": 1, "note": "hot", "none": null}\n')
    (step,) = RunFolder.read(make_run.folder).metrics
    assert sorted(step) == ["loss", "lr", "step"]


def test_the_view_set_may_be_named_relative_to_the_run(make_run: RunMaker) -> None:
    (make_run.folder / "views").mkdir(parents=True)
    make_run.facts(view_set="views")
    assert RunFolder.read(make_run.folder).view_set == make_run.folder / "views"
    make_run.facts(view_set="elsewhere/views")
    assert RunFolder.read(make_run.folder).view_set == Path("elsewhere/views")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.json", "{", "run.json: not JSON (JSONDecodeError: "),
        ("run.json", "[]", "run.json: holds list, expected an object. Restore it or run it again."),
        ("evals/summary.json", "nonsense", "summary.json: not JSON (JSONDecodeError: "),
        (
            "metrics.jsonl",
            '{"step": 1}\n{"loss": 2}\n',
            "metrics.jsonl: line 2 is '{\"loss\": 2}', expected a JSON object",
        ),
        ("evals/before.parquet", "text", "before.parquet: cannot be read ("),
    ],
)
def test_a_broken_file_is_refused_by_name(make_run: RunMaker, file: str, text: str, message: str) -> None:
    make_run.facts()
    make_run.evals()
    (make_run.folder / file).write_text(text)
    with pytest.raises(TrainerError) as refusal:
        RunFolder.read(make_run.folder)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_rollout_file_without_weights_is_refused_with_the_columns_it_needs(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([1])
    path = make_run.folder / "rollouts" / "step-000001.parquet"
    pl.read_parquet(path).drop("weight").write_parquet(path)
    with pytest.raises(TrainerError, match=r"step-000001\.parquet: cannot be read .* columns question_id, .*, weight"):
        read_groups(path)


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as refusal:
        RunFolder.read(tmp_path)
    expected = f"{tmp_path}: holds no run.json, so it is no run. Give the folder that `trainer run` wrote."
    assert str(refusal.value) == expected


def test_a_run_that_names_no_view_set_is_told_to(make_run: RunMaker) -> None:
    make_run.facts(view_set=None)
    with pytest.raises(TrainerError, match=r"run\.json: names no view_set\. Add the path of the run's view set\."):
        _ = RunFolder.read(make_run.folder).view_set
