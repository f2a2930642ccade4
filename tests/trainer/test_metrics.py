"""Metrics on real files: written, torn, read back, cut for a resume."""

import json
import math
from pathlib import Path

import pytest

from trainer.errors import CheckpointError
from trainer.metrics import METRICS, append_metrics, keep_metrics_until, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def three_steps(path: Path) -> None:
    for step in (1, 2, 3):
        append_metrics(path, step, {"loss": 1 / step, "seconds/step": 0.5})


def test_what_is_written_is_read_back(path: Path) -> None:
    three_steps(path)
    assert read_metrics(path) == [
        {"step": 1, "loss": 1.0, "seconds/step": 0.5},
        {"step": 2, "loss": 0.5, "seconds/step": 0.5},
        {"step": 3, "loss": 1 / 3, "seconds/step": 0.5},
    ]


def test_each_line_is_plain_json(path: Path) -> None:
    append_metrics(path, 7, {"trained_tokens": 12, "loss": 0.25})
    assert path.read_text() == '{"step": 7, "trained_tokens": 12, "loss": 0.25}\n'


def test_a_file_that_is_not_there_holds_no_steps(path: Path) -> None:
    assert read_metrics(path) == []
    keep_metrics_until(path, 5)
    assert not path.exists()


@pytest.mark.parametrize(("value", "said"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_number_that_is_not_finite_is_null_and_named(path: Path, value: float, said: str) -> None:
    append_metrics(path, 1, {"loss": value, "lr": 0.1})
    assert path.read_text() == f'{{"step": 1, "loss": null, "lr": 0.1, "non_finite": {{"loss": "{said}"}}}}\n'
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == read_metrics(path)[0]


def test_an_unknown_name_is_refused_and_nothing_is_written(path: Path) -> None:
    with pytest.raises(ValueError) as refusal:
        append_metrics(path, 1, {"loss": 1.0, "divergance": 2.0})
    assert str(refusal.value) == "no metric is called 'divergance'. Did you mean 'divergence'?"
    with pytest.raises(ValueError, match=r"no metric is called 'zzz'\. Add it to METRICS, with its unit"):
        append_metrics(path, 1, {"zzz": 2.0})
    assert not path.exists()


@pytest.mark.parametrize("torn", ['{"step": 4, "lo', "{", '{"step": 4, "loss": 1.0}'])
def test_a_line_cut_off_by_a_crash_is_not_read_and_then_cut_away(path: Path, torn: str) -> None:
    three_steps(path)
    whole = path.read_text()
    path.write_text(whole + torn)
    assert [record["step"] for record in read_metrics(path)] == [1, 2, 3]
    append_metrics(path, 4, {"loss": 0.25})
    assert path.read_text() == whole + '{"step": 4, "loss": 0.25}\n'


def test_a_file_that_holds_a_torn_line_alone_starts_over(path: Path) -> None:
    path.write_text('{"step"')
    assert read_metrics(path) == []
    append_metrics(path, 1, {"loss": 1.0})
    assert path.read_text() == '{"step": 1, "loss": 1.0}\n'


def test_every_prefix_of_a_file_reads_as_its_whole_lines(path: Path) -> None:
    three_steps(path)
    content = path.read_bytes()
    records = read_metrics(path)
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        assert read_metrics(path) == records[: content[:length].count(b"\n")]


def test_a_resumed_run_keeps_the_lines_up_to_its_step(path: Path) -> None:
    three_steps(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines) + '{"step": 4, "l')
    keep_metrics_until(path, 2)
    assert path.read_text() == "".join(lines[:2])
    append_metrics(path, 3, {"loss": 1 / 3, "seconds/step": 0.5})
    assert path.read_text() == "".join(lines)
    assert list(path.parent.iterdir()) == [path]


def test_the_cut_file_is_written_beside_so_that_a_crash_leaves_the_old_one(path: Path, tmp_path: Path) -> None:
    three_steps(path)
    old, other_name = path.read_bytes(), tmp_path / "link"
    other_name.hardlink_to(path)
    keep_metrics_until(path, 1)
    assert len(read_metrics(path)) == 1
    assert other_name.read_bytes() == old


def test_several_lines_of_one_step_are_kept_or_dropped_together(path: Path) -> None:
    append_metrics(path, 1, {"loss": 1.0})
    append_metrics(path, 2, {"loss": 0.5})
    append_metrics(path, 2, {"grad_norm": 0.7})
    append_metrics(path, 3, {"loss": 0.4})
    keep_metrics_until(path, 2)
    assert [record["step"] for record in read_metrics(path)] == [1, 2, 2]
    keep_metrics_until(path, 0)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("broken", ["{not json}", "[1, 2]", '{"loss": 1.0}', '{"step": "one"}', "7", "\xff"])
def test_a_broken_line_in_the_middle_is_one_clear_refusal(path: Path, broken: str) -> None:
    append_metrics(path, 1, {"loss": 1.0})
    with path.open("ab") as file:
        file.write(broken.encode("latin-1") + b"\n")
    append_metrics(path, 2, {"loss": 0.5})
    for reading in (lambda: read_metrics(path), lambda: keep_metrics_until(path, 1)):
        with pytest.raises(CheckpointError) as refusal:
            reading()
        said = str(refusal.value)
        assert said.startswith(f"{path}: line 2 is ")
        assert said.endswith('expected a JSON object with a whole "step". Remove the line.')
        assert "\n" not in said


def test_every_metric_says_what_it_means() -> None:
    for name, metric in METRICS.items():
        assert metric.meaning.endswith("."), name
        assert not {"step", "non_finite"} & {name}
