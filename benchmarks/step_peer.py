"""TRL's DistillationTrainer on the benchmark's questions: the peer of step_speed.py, taking turns with our step.

What is alike: weights, images, words, number of completions, tokens of each, float32, threads, reverse KL over the whole
vocabulary, frozen vision towers, no activation checkpointing. Images are processed within the time of both; neither's
optimizer step is counted. What is not: TRL scores one view, ours two; TRL knows no siblings: each question comes G times.
Leaves out: what our step is (step_speed.py)."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from benchmarks.step_world import ANSWER, COLOURS, QUESTION, World, make_processor


def peer_version() -> str | None:
    """TRL's version, or None where it is not installed."""
    return version("trl") if find_spec("trl") else None


class Turns(TrainerCallback):
    """Times each of the peer's steps up to its optimizer, and then one of ours."""

    def __init__(self, ours: Callable[[], float]) -> None:
        self.ours_s: list[float] = []
        self.peer_s: list[float] = []
        self._ours, self._began = ours, 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        self._began = time.perf_counter()

    def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
        self.peer_s.append(time.perf_counter() - self._began)

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ours_s.append(self._ours())


def race_peer(world: World, num_siblings: int, num_steps: int, ours: Callable[[], float], accumulate: int) -> Turns:
    """Time steps of the peer and of ours, in turn. `accumulate`: parts into which the peer splits its batch."""
    from trl import DistillationConfig, DistillationTrainer

    rows = [_row(world, question) for question in range(len(world.pictures)) for _ in range(num_siblings)]
    turns = Turns(ours)
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            "max_completion_length": ANSWER,
            "generation_kwargs": {"min_new_tokens": ANSWER},  # no answer ends early
            "temperature": 1.0,
            "beta": 1.0,
            "per_device_train_batch_size": len(rows) // accumulate,
            "gradient_accumulation_steps": accumulate,
            "max_steps": num_steps,
            "max_grad_norm": 0.0,
            "gradient_checkpointing": False,
            "bf16": False,
            "use_cpu": True,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "logging_steps": 10**6,
            "dataloader_pin_memory": False,
        }
        trainer = DistillationTrainer(
            model=copy.deepcopy(world.student.model),
            teacher_model=copy.deepcopy(world.teacher.model),
            args=DistillationConfig(output_dir=folder, **settings),
            train_dataset=rows,
            processing_class=make_processor(eos=True),
            callbacks=[turns],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return turns


def _row(world: World, question: int) -> dict[str, Any]:
    said = {"role": "user", "content": QUESTION.format(colour=COLOURS[question])}
    return {"prompt": [said], "image": world.pictures[question][0]}
