"""A run folder as `trainer run` writes it, with made-up numbers, over a small real view set of drawn scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from viewgen.build.builder import BuildOptions, build_views
from viewgen.source.demo import DemoConfig, write_demo
from viewgen.viewset.shards import StoredSample, ViewSet

RECIPE = """
[source]
root = "scenes"
query = '''
    SELECT q.*, [{'phrase': '', 'x0': b.x0, 'y0': b.y0, 'x1': b.x1, 'y1': b.y1} for b in boxes] AS boxes
    FROM 'questions.parquet' q JOIN 'truth.parquet' USING (question_id) WHERE kind <> 'absent'
'''

[evidence]
pad_ratio = 1.0
min_side_px = 48
max_share = 0.5
max_aspect = 100

[views]
positive = ["crop"]
negative = ["off_region"]
grid_px = 16
"""


@dataclass
class RunMaker:
    """Writes the files of a run folder; each part can be left out or replaced."""

    folder: Path
    view_set: Path
    stream: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def samples(self, split: str) -> list[StoredSample]:
        return ViewSet.open(self.view_set).samples(split, ["crop", "off_region"], answers=True)

    def facts(self, **more: Any) -> None:
        facts = {
            "view_set": str(self.view_set),
            "name": "demo",
            "seed": 0,
            "minutes": 7.25,
            "num_parameters": 1_234_567,
        }
        config = {"gate": {"alpha": 1.0}, "rollout": {"num_siblings": 8, "temperature": 1.0}}
        self._json("run.json", {**facts, "config": config, "versions": {"torch": "2.15.0"}, **more})

    def metrics(self, num_steps: int) -> None:
        lines = [json.dumps(self._step(step, num_steps)) for step in range(1, num_steps + 1)]
        self._text("metrics.jsonl", "".join(f"{line}\n" for line in lines))

    def rollouts(self, steps: Sequence[int], num_siblings: int = 8, num_questions: int = 3, **more: Any) -> None:
        samples = self.samples("train")
        for step in steps:
            picked = self.stream.choice(len(samples), min(num_questions, len(samples)), replace=False)
            rows = [{**row, **more} for index in picked for row in self._group(samples[index], step, num_siblings)]
            path = self.folder / "rollouts" / f"step-{step:06d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pl.DataFrame(rows).write_parquet(path)

    def evals(self, share_before: float = 0.4, share_after: float = 0.7, **more: Any) -> None:
        samples = self.samples("test")
        for name, share in (("before", share_before), ("after", share_after)):
            rows = [{**self._verdict(sample, share), **more} for sample in samples]
            (self.folder / "evals").mkdir(parents=True, exist_ok=True)
            pl.DataFrame(rows).write_parquet(self.folder / "evals" / f"{name}.parquet")

    def summary(self, **more: Any) -> None:
        self._json("evals/summary.json", {**SUMMARY, **more})

    def whole(self, num_steps: int = 40) -> Path:
        self.facts()
        self.metrics(num_steps)
        self.rollouts(range(1, num_steps + 1, max(1, num_steps // 8)))
        self.evals()
        self.summary()
        return self.folder

    def _step(self, step: int, num_steps: int) -> Mapping[str, float | int | None]:
        done, noise = step / num_steps, self.stream.normal(0, 1, 8)
        return {
            "step": step,
            "loss": 0.9 * np.exp(-2 * done) + 0.05 * noise[0],
            "divergence": 0.8 * np.exp(-2 * done) + 0.04 * noise[1],
            "gate/score_mean": 0.6 + 0.2 * done + 0.05 * noise[2],
            "gate/weight_std": 0.5 + 0.04 * noise[3],
            "response_tokens": 4 + 0.2 * noise[4],
            "truncated_share": 0.0,
            "grad_norm": abs(1 + 0.3 * noise[5]),
            "lr": 6e-4 - 4e-4 * done,
            "seconds/step": 1.0 + 0.05 * noise[6],
            "seconds/rollout": 0.3,
            "seconds/score": 0.25 + 0.02 * noise[7],
            "seconds/update": 0.4,
            "gate/dropped_gaps": None if step % 3 else 0,
        }

    def _group(self, sample: StoredSample, step: int, num_siblings: int) -> list[dict[str, Any]]:
        answers = [sample.answer or "", *(f"{number}" for number in self.stream.integers(10, 99, 3))]
        given = [answers[index] for index in self.stream.integers(0, len(answers), num_siblings)]
        gaps = {answer: self._gaps(answer, answer == sample.answer) for answer in answers}
        scores = np.array([np.mean(gaps[answer]) for answer in given])
        advantages = (scores - scores.mean()) / (scores.std() + 1e-6)
        return [
            {
                "question_id": sample.question_id,
                "question": sample.question,
                "sibling": sibling,
                "step": step,
                "response": answer,
                "tokens": [*answer, "<|im_end|>"],
                "token_ids": list(range(len(answer) + 1)),
                "gap": gaps[answer],
                "score": float(scores[sibling]),
                "advantage": float(advantages[sibling]),
                "weight": float(np.clip(1 + advantages[sibling], 0, 2)),
                "truncated": False,
            }
            for sibling, answer in enumerate(given)
        ]

    def _gaps(self, answer: str, is_right: bool) -> list[float]:
        return [*self.stream.normal(1.5 if is_right else -0.8, 0.6, len(answer)).tolist(), 0.02]

    def _verdict(self, sample: StoredSample, share: float) -> dict[str, Any]:
        right = bool(self.stream.random() < share)
        return {
            "question_id": sample.question_id,
            "image_id": sample.image_id,
            "kind": sample.kind,
            "question": sample.question,
            "answer": sample.answer,
            "response": sample.answer if right else "57",
            "right": right,
        }

    def _json(self, name: str, value: Mapping[str, Any]) -> None:
        self._text(name, json.dumps(value))

    def _text(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


SUMMARY = {
    "before": {"accuracy": 0.412, "low": 0.403, "high": 0.421, "num": 8200},
    "after": {"accuracy": 0.671, "low": 0.66, "high": 0.682, "num": 8200},
    "difference": {"mean": 0.259, "low": 0.241, "high": 0.277},
    "by_kind": {
        "attribute": {
            "before": {"accuracy": 0.38, "low": 0.36, "high": 0.4, "num": 6200},
            "after": {"accuracy": 0.69, "low": 0.67, "high": 0.71, "num": 6200},
        },
        "relation": {
            "before": {"accuracy": 0.52, "low": 0.49, "high": 0.55, "num": 2000},
            "after": {"accuracy": 0.6, "low": 0.57, "high": 0.63, "num": 2000},
        },
    },
    "with_positive_view": {"accuracy": 0.95, "low": 0.94, "high": 0.96, "num": 8200},
    "with_negative_view": {"accuracy": 0.21, "low": 0.2, "high": 0.22, "num": 8200},
    "weight_right": 1.31,
    "weight_wrong": 0.79,
}


@pytest.fixture(scope="session")
def view_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("views"), RECIPE)


@pytest.fixture(scope="session")
def view_set_with_none(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with the negative view `none` too, which has no pixels."""
    return built(tmp_path_factory.mktemp("none"), RECIPE.replace('["off_region"]', '["off_region", "none"]'))


def built(folder: Path, recipe: str) -> Path:
    write_demo(folder / "scenes", DemoConfig(num_train=4, num_selection=0, num_test=4, num_relations=1))
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    build_views(folder / "recipe.toml", folder / "views", BuildOptions(num_threads=1))
    return folder / "views"


@pytest.fixture
def make_run(tmp_path: Path, view_set: Path) -> RunMaker:
    return RunMaker(tmp_path / "run", view_set)
