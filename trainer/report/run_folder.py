"""A run folder, finished or not, read back as records.
Leaves out: writing it (loop.py), showing it (page.py, picture.py).

What a run folder holds. All but run.json may be absent; more keys and columns may be there.

run.json: an object. view_set is needed, the rest is shown where it is there.
    view_set                where pictures come from: absolute, or relative to the run folder or to the folder worked in
    positive, negative      the kinds of view that the teacher saw; default crop and off_region
    name, command, seed, num_parameters, num_trainable, minutes, commit, hardware   text or numbers
    versions                object, library -> version
    config                  object of objects: every setting
metrics.jsonl: an object a line, {"step": int, NAME: number or null, ...}, as metrics.py writes it. Values that are no
    numbers are left out. Names that report.CHARTS lists get its titles; any other name gets a chart under its name.
rollouts/step-XXXXXX.parquet: a row per rollout.
    question_id, question, response str; sibling, step int; tokens list[str], the text of each response token;
    gap list[float], nats, as long as tokens, null or non-finite where there is none; score float, nats per token;
    advantage, weight float; truncated bool. (token_ids list[int] is not read.)
evals/before.parquet, evals/after.parquet: a row per held-out question, the same questions in both.
    question_id, kind, question, answer (the reference), response str; right bool. (image_id str is not read.)
evals/summary.json: an object. An accuracy is {accuracy, low, high, num}: shares 0..1, 95 % interval, questions.
    before, after           accuracies
    difference              {mean, low, high}: of the paired differences, shares -1..1
    by_kind                 {KIND: {before: accuracy, after: accuracy}}
    with_positive_view, with_negative_view    accuracies of the model before training, shown that view beside the image
    weight_right, weight_wrong                mean gate weight of right and of wrong rollouts, floats
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trainer.errors import TrainerError
from trainer.metrics import read_metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """One rollout of a question."""

    response: str
    tokens: tuple[str, ...]
    gap: tuple[float | None, ...]
    """Nats per token: how much likelier the evidence makes it for the teacher."""
    score: float
    advantage: float
    weight: float
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The sibling rollouts of one question at one step."""

    question_id: str
    question: str
    step: int
    siblings: tuple[Sibling, ...]

    @property
    def distinct(self) -> list[tuple[Sibling, int]]:
        """One sibling for each distinct answer, and how many gave it; heaviest first."""
        counts = Counter(sibling.tokens for sibling in self.siblings)
        one_each = {sibling.tokens: sibling for sibling in self.siblings}
        heaviest_first = sorted(one_each.values(), key=lambda sibling: -sibling.weight)
        return [(sibling, counts[sibling.tokens]) for sibling in heaviest_first]

    @property
    def spread(self) -> float:
        """Largest weight less smallest."""
        weights = [sibling.weight for sibling in self.siblings]
        return max(weights) - min(weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredQuestion:
    """One held-out question, answered before and after."""

    question_id: str
    kind: str
    question: str
    answer: str | None
    before: str
    after: str
    was_right: bool
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """All of a run but its rollouts and weights."""

    path: Path
    facts: Mapping[str, Any]
    """run.json."""
    metrics: tuple[Mapping[str, float], ...]
    """One per step, in order of the file, finite or not; empty when there are none."""
    summary: Mapping[str, Any]
    """evals/summary.json; empty when there is none."""
    verdicts: tuple[ScoredQuestion, ...]
    """Questions that were answered both before and after; empty when either is missing."""
    rollout_files: tuple[Path, ...]

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Read a run folder. Raises TrainerError, one line, when it holds no run or something in it is broken."""
        if not (path / "run.json").is_file():
            raise TrainerError(f"{path}: holds no run.json, so it is no run. Give the folder that `trainer run` wrote.")
        return cls(
            path=path,
            facts=_read_json(path / "run.json"),
            metrics=tuple(map(_numbers, read_metrics(path / "metrics.jsonl"))),
            summary=_read_json(path / "evals" / "summary.json"),
            verdicts=_read_verdicts(path / "evals" / "before.parquet", path / "evals" / "after.parquet"),
            rollout_files=tuple(sorted((path / "rollouts").glob("step-*.parquet"))),
        )

    @property
    def view_set(self) -> Path:
        """Return the path of the view set. Raises TrainerError when run.json does not say."""
        if not isinstance(named := self.facts.get("view_set"), str):
            raise TrainerError(f"{self.path / 'run.json'}: names no view_set. Add the path of the run's view set.")
        return below if (below := self.path / named).is_dir() else Path(named)

    def telling_groups(self, num: int) -> list[Group]:
        """At most `num` groups, evenly spread over the steps: of each step those whose weights differ most."""
        if not self.rollout_files or num < 1:
            return []
        files = evenly(self.rollout_files, num)
        per_file = -(-num // len(files))
        telling = (
            sorted(read_groups(file), key=lambda group: (-group.spread, -len(group.distinct)))[:per_file]
            for file in files
        )
        return [group for groups in telling for group in groups][:num]


def evenly(items: tuple[Path, ...], num: int) -> list[Path]:
    """At most `num` items at even distances, first and last among them."""
    if len(items) <= num or num == 1:
        return list(items[-num:])
    return [items[round(index * (len(items) - 1) / (num - 1))] for index in range(num)]


def read_groups(path: Path) -> list[Group]:
    """Read the groups of one rollout file, in order of the file. Raises TrainerError."""
    columns = ["question_id", "question", "step", "sibling", "response", "tokens", "gap", "score", "advantage"]
    rows = _read_table(path, [*columns, "weight", "truncated"])
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows.sort("sibling", maintain_order=True).iter_rows(named=True):
        groups.setdefault((row["step"], row["question_id"]), []).append(row)
    return [
        Group(question_id=question_id, question=rows[0]["question"], step=step, siblings=tuple(map(_sibling, rows)))
        for (step, question_id), rows in groups.items()
    ]


def _sibling(row: Mapping[str, Any]) -> Sibling:
    return Sibling(
        response=row["response"],
        tokens=tuple(row["tokens"]),
        gap=tuple(row["gap"]),
        score=row["score"],
        advantage=row["advantage"],
        weight=row["weight"],
        truncated=row["truncated"],
    )


def _read_verdicts(before: Path, after: Path) -> tuple[ScoredQuestion, ...]:
    if not (before.is_file() and after.is_file()):
        return ()
    columns = ["question_id", "kind", "question", "answer", "response", "right"]
    both = _read_table(before, columns).join(
        _read_table(after, ["question_id", "response", "right"]),
        on="question_id",
        suffix="_after",
        maintain_order="left",
    )
    return tuple(
        ScoredQuestion(
            question_id=row["question_id"],
            kind=row["kind"],
            question=row["question"],
            answer=row["answer"],
            before=row["response"],
            after=row["response_after"],
            was_right=row["right"],
            is_right=row["right_after"],
        )
        for row in both.iter_rows(named=True)
    )


def _read_table(path: Path, columns: list[str]) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=columns, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        expected = f"expected a Parquet file with the columns {', '.join(columns)}"
        raise TrainerError(f"{path}: cannot be read ({_one_line(error)}); {expected}. Run it again.") from None


def _read_json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"{path}: not JSON ({_one_line(error)}). Restore it or run it again.") from None
    if not isinstance(value, dict):
        raise TrainerError(f"{path}: holds {type(value).__name__}, expected an object. Restore it or run it again.")
    return value


def _numbers(record: Mapping[str, Any]) -> Mapping[str, float]:
    return {name: float(value) for name, value in record.items() if isinstance(value, int | float)}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
