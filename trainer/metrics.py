"""Write and read the metrics of a run: named numbers with units, one JSON object a line, readable while the run goes on.
Leaves out: computing them (journal.py, loop.py), drawing them (report/charts.py).

A line is {"step": 12, "loss": 0.41, ...}, names from METRICS. JSON has no NaN: a number that is not finite is written
as null, and the line's "non_finite" says which it was: {"loss": "nan"}. Only whole lines count: one without its line
end was cut off by a crash; it is never read, and the next append cuts it away."""

import difflib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from trainer.errors import CheckpointError
from viewgen.files import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Meaning of a number; `unit` is empty where there is none."""

    meaning: str
    unit: str = ""


def _metric(meaning: str, unit: str = "") -> Metric:
    return Metric(meaning=meaning, unit=unit)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "loss": _metric("What is differentiated. In the sampled form a surrogate: watch `divergence`."),
        "divergence": _metric("Reverse KL from the teacher's positive view, every weight taken as 1.", "nats/token"),
        "gate/score_mean": _metric("Mean score: what the evidence adds, over rollouts.", "nats/token"),
        "gate/score_std": _metric("Standard deviation of the score over rollouts.", "nats/token"),
        "gate/weight_mean": _metric("Mean weight over rollouts; 1 but for clipping."),
        "gate/weight_std": _metric("Standard deviation of the weight over rollouts; 0 when the gate does nothing."),
        "gate/at_min_share": _metric("Rollouts whose weight is w_min.", "0..1"),
        "gate/at_max_share": _metric("Rollouts whose weight is w_max.", "0..1"),
        "gate/dropped_gaps": _metric("Response tokens whose gap was not finite.", "tokens"),
        "clamped_tokens": _metric("Tokens whose log-ratio the loss clamped.", "tokens"),
        "trained_tokens": _metric("Tokens in the loss.", "tokens"),
        "response_tokens": _metric("Mean length of an answer, end token included.", "tokens"),
        "truncated_share": _metric("Answers cut off at the length limit.", "0..1"),
        "skipped_samples": _metric("Samples left out so far, as too long or unreadable.", "samples"),
        "grad_norm": _metric("Norm of the gradient before it is clipped."),
        "lr": _metric("Learning rate of this step."),
        "seconds/step": _metric("The whole step.", "s"),
        "seconds/data": _metric("Reading the samples and writing their prompts.", "s"),
        "seconds/rollout": _metric("Sampling the answers.", "s"),
        "seconds/score": _metric("The teacher's scores under both views.", "s"),
        "seconds/update": _metric("The student's forward and backward passes, and the optimizer.", "s"),
    }
)
"""Every name that a line may hold beside `step` and `non_finite`."""


def append_metrics(path: Path, step: int, values: Mapping[str, float | int]) -> None:
    """Add one line, in one write, after cutting away a torn one. Makes the file when it is not there. Raises ValueError
    for a name that METRICS does not hold: a number without a meaning is of no use to anyone."""
    unknown = [name for name in values if name not in METRICS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], METRICS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Add it to METRICS, with its unit."
        raise ValueError(f"no metric is called {unknown[0]!r}. {hint}")
    strange = {name: str(float(value)) for name, value in values.items() if not math.isfinite(value)}
    record: dict[str, Any] = {"step": step, **{name: None if name in strange else values[name] for name in values}}
    if strange:
        record["non_finite"] = strange
    line = json.dumps(record, allow_nan=False).encode() + b"\n"
    with path.open("ab+") as file:
        _cut_torn_line(file)
        file.write(line)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every whole line in order; none when there is no file. Raises CheckpointError for a line that is no record."""
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(_whole_lines(path.read_bytes()), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise CheckpointError(
                f'{path}: line {number} is {line[:40]!r}, expected a JSON object with a whole "step". Remove the line.'
            )
        records.append(record)
    return records


def keep_metrics_until(path: Path, step: int) -> None:
    """Drop the lines of later steps, which a run resumed at `step` will write again. The file is replaced whole.
    Raises CheckpointError as read_metrics does."""
    kept = [record for record in read_metrics(path) if record["step"] <= step]
    if not path.exists():
        return
    with write_whole(path) as partial:
        partial.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in kept))


def _whole_lines(content: bytes) -> list[str]:
    return [line.decode(errors="replace") for line in content.split(b"\n")[:-1]]


def _cut_torn_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    if file.read() not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
