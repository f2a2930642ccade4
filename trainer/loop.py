"""Run the steps, and around them schedule, optimizer, metrics, kept rollouts, checkpoints and the evaluations before and
after. The same command on the same folder goes on where it stopped.
Leaves out: the step itself (step.py), the contents of a run folder (report/run_folder.py)."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from trainer.batches import Batches, PromptWriter
from trainer.checkpoint import RunPosition, checkpoint_path, latest_checkpoint, load_state, save_checkpoint
from trainer.config import RunConfig
from trainer.engine.load import Loaded, check_pair, frozen_copy, load
from trainer.engine.models import Student, Teacher
from trainer.errors import CheckpointError, DataError, LostSamplesError, TrainerError
from trainer.evaluation.evaluate import (
    accuracy,
    by_kind,
    difference,
    evaluate,
    held_out,
    read_answers,
    weights_by_right,
    write_answers,
)
from trainer.journal import rollout_rows, step_metrics, write_rollouts
from trainer.metrics import append_metrics, keep_metrics_until
from trainer.optimizer import TwinAdamW, lr_at
from trainer.provenance import contents_of, minutes_before, run_facts, write_json, write_run_json
from trainer.resume import facts_before, refuse_other_run
from trainer.step import PhaseTimer, distill_step
from viewgen.locks import locked
from viewgen.progress import Progress
from viewgen.viewset import StoredSample, ViewSet

RECORD_EVERY_S = 30.0
"""Seconds between two writings of run.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Models, data, optimizer and random state of a run."""

    config: RunConfig
    out: Path
    views: ViewSet
    loaded: Loaded
    student: Student
    teacher: Teacher
    writer: PromptWriter
    batches: Batches
    optimizer: TwinAdamW
    contents: Mapping[str, str]
    """Hashes of view set and models."""
    changes: Sequence[Mapping[str, Any]]
    """Settings that changed since the run began, without making it another."""
    spent: float
    """Minutes that earlier commands spent on the run."""
    generator: Generator
    """Generator of sampling, apart from the data's streams: another data order changes no other random number."""

    def new_writer(self) -> PromptWriter:
        """Return a writer of prompts with its own count of skipped samples: one for training, one for each evaluation."""
        return PromptWriter(self.views, self.loaded.processor, self.config.prompt, self.config.data.max_prompt_tokens)


def train(config: RunConfig, out: Path, command: str) -> dict[str, Any]:
    """Run, or go on with a run, to its end; returns the summary of its evaluations (empty without one).
    Raises TrainerError and ViewgenError for what a user can mend."""
    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out}: is a file. Name a folder.")
    with locked(out, CheckpointError):
        return _train(config, out, command)


def _train(config: RunConfig, out: Path, command: str) -> dict[str, Any]:
    """Run in a folder that is held."""
    began = time.monotonic()
    parts, at = _prepare(config, out)

    def record() -> None:
        write_run_json(out, facts_of(parts, command), parts.spent + (time.monotonic() - began) / 60)

    record()
    asked = held_out(parts.views, config.eval, config.eval.views) if config.eval.split else []
    refuse_shared_images(parts.batches.image_ids, asked, config)
    if asked and at.step == 0:
        _before(parts, asked)
    try:
        _train_steps(parts, at, record)
        summary = _after(parts, asked) if asked else {}
    finally:
        record()
    refuse_shortfall(parts.writer, out)
    return summary


def refuse_shared_images(trained: Collection[str], asked: Sequence[StoredSample], config: RunConfig) -> None:
    """Raise DataError when an image that is trained on is evaluated on as well; equal files are one image."""
    shared = sorted({sample.image_id for sample in asked} & {*trained})
    if shared:
        images = len({sample.image_id for sample in asked})
        share = f"{len(shared):,} of {images:,} images of split {config.eval.split!r}"
        found = f"{share} are in split {config.data.split!r} too"
        remedy = "Split the source by image, or set eval.split to a split of other images."
        raise DataError(f"{config.data.view_set}: {found}, as {shared[0]!r}. {remedy}")


def refuse_shortfall(writer: PromptWriter, out: Path) -> None:
    """Raise LostSamplesError when more than half of the samples of a run could not be used."""
    num_skipped = writer.skipped.total()
    if num_skipped > writer.num_used:
        (why, num), *_ = writer.skipped.most_common(1)
        found = (
            f"{num_skipped:,} of {num_skipped + writer.num_used:,} samples could not be used, {num:,} of them because"
        )
        raise LostSamplesError(f"{out}: {found} {why}. The run is saved; rebuild its view set or change [data].")


def _prepare(config: RunConfig, out: Path) -> tuple[Parts, RunPosition]:
    """Load what the run needs, from its last checkpoint where it has one."""
    views = ViewSet.open(Path(config.data.view_set))
    saved, before = latest_checkpoint(out), facts_before(out)
    contents = contents_of(config, views)
    step = int(saved.name.removeprefix("step-")) if saved else 0
    changes = list(before.get("changes", ())) if before else []
    if before:
        changes += refuse_other_run(config, before, contents, out, step)
    first = load(config.model.student, config.model, "model.student")
    if config.model.teacher:
        second = load(config.model.teacher, config.model, "model.teacher")
        check_pair(first, second)
    else:
        second = frozen_copy(first)
    loaded = load(str(saved), config.model, "checkpoint") if saved else first
    student = Student(loaded, config.model.train_vision, config.model.checkpoint_prefix)
    # An equal, frozen vision tower sees the same in both: then an image is looked at once.
    shares = not config.model.teacher and not config.model.train_vision
    teacher = Teacher(second, student if shares else None)
    optimizer = TwinAdamW([p for p in student.model.parameters() if p.requires_grad], config.optimizer)
    generator = Generator().manual_seed(config.loop.seed)
    writer = PromptWriter(views, loaded.processor, config.prompt, config.data.max_prompt_tokens)
    batches = Batches(views, config.data, writer, config.loop.seed)
    at = load_state(saved, optimizer, generator) if saved else RunPosition(step=0, position=0)
    batches.position = at.position
    writer.skipped.update(at.skipped)
    writer.num_used = at.num_used
    out.mkdir(parents=True, exist_ok=True)
    keep_metrics_until(out / "metrics.jsonl", at.step)
    parts = Parts(
        config=config,
        out=out,
        views=views,
        loaded=loaded,
        student=student,
        teacher=teacher,
        writer=writer,
        batches=batches,
        optimizer=optimizer,
        generator=generator,
        contents=contents,
        changes=changes,
        spent=minutes_before(out),
    )
    return parts, at


def _train_steps(parts: Parts, at: RunPosition, record: Callable[[], None]) -> None:
    """Take the steps that are left. `record` writes run.json, with every checkpoint and every half minute."""
    config, recorded = parts.config.loop, time.monotonic()
    with Progress("train", config.steps - at.step, "steps") as progress:
        for step in range(at.step, config.steps):
            clock = PhaseTimer(parts.student.model.device)
            batch = next(parts.batches)
            clock.lap("data")
            done = distill_step(parts.student, parts.teacher, batch, parts.config.step, parts.generator)
            clock.lap("distill")
            grad_norm = _update(parts, lr_at(step, config.steps, parts.config.optimizer), step)
            clock.lap("optimizer")
            metrics = {
                **step_metrics(done, parts.config.gate),
                "grad_norm": grad_norm,
                "seconds/data": clock.seconds["data"],
                "seconds/update": done.seconds["update"] + clock.seconds["optimizer"],
                "seconds/step": sum(clock.seconds.values()),
            }
            metrics["lr"] = parts.optimizer.param_groups[0]["lr"]
            metrics["skipped_samples"] = parts.writer.skipped.total()
            append_metrics(parts.out / "metrics.jsonl", step + 1, metrics)
            if config.keep_rollouts_every and step % config.keep_rollouts_every == 0:
                rows = rollout_rows(step + 1, batch, done, parts.student)
                write_rollouts(parts.out / "rollouts" / f"step-{step + 1:06d}.parquet", rows)
            if step + 1 == config.steps or (config.save_every and (step + 1) % config.save_every == 0):
                writer = parts.writer
                now = RunPosition(
                    step=step + 1, position=batch.position, skipped=dict(writer.skipped), num_used=writer.num_used
                )
                path = checkpoint_path(parts.out, step + 1)
                save_checkpoint(path, parts.loaded, parts.optimizer, parts.generator, now)
                record()
            if time.monotonic() - recorded > RECORD_EVERY_S:  # what a killed process spent is not lost
                record()
                recorded = time.monotonic()
            progress.add(note=f"divergence {metrics['divergence']:.3f} nats a token")
    for reason, num in parts.writer.skipped.items():
        print(f"skipped {num} times: {reason}", file=sys.stderr)


def _update(parts: Parts, lr: float, step: int) -> float:
    """Clip, step and clear the gradient; returns its norm before clipping. Raises TrainerError when it is not finite."""
    trained = parts.optimizer.weights
    norm = float(torch.nn.utils.clip_grad_norm_(trained, parts.config.optimizer.clip_norm))
    if not math.isfinite(norm):
        raise TrainerError(
            f"{parts.out}: the gradient of step {step + 1} is {norm}. Lower optimizer.lr or use float32."
        )
    for group in parts.optimizer.param_groups:
        group["lr"] = lr
    parts.optimizer.step()
    parts.optimizer.zero_grad()
    if not all(bool(parameter.isfinite().all()) for parameter in trained):
        raise TrainerError(f"{parts.out}: step {step + 1} made weights that are not finite. Lower optimizer.lr.")
    return norm


def _before(parts: Parts, asked: list[StoredSample]) -> None:
    """Evaluate the untrained student: from the full image alone, then with views beside it."""
    config, out = parts.config.eval, parts.out / "evals"
    for kind in ("", *config.views):
        name = f"before with {kind}" if kind else "before"
        answered = evaluate(parts.student, parts.new_writer(), asked, config, kind, name)
        write_answers(out / f"before{'-' if kind else ''}{kind}.parquet", answered)


def _after(parts: Parts, asked: list[StoredSample]) -> dict[str, Any]:
    """Evaluate the trained student, and compare it with the untrained one."""
    config, out = parts.config.eval, parts.out / "evals"
    after = evaluate(parts.student, parts.new_writer(), asked, config, "", "after")
    write_answers(out / "after.parquet", after)
    before = read_answers(out / "before.parquet")
    summary: dict[str, Any] = {
        "before": accuracy(before),
        "after": accuracy(after),
        "difference": difference(before, after),
        "by_kind": by_kind(before, after),
    }
    for role, kind in (("positive", parts.config.data.positive), ("negative", parts.config.data.negative)):
        if kind in config.views:
            summary[f"with_{role}_view"] = accuracy(read_answers(out / f"before-{kind}.parquet"))
    truth = parts.views.samples(parts.config.data.split, (), answers=True)
    summary |= weights_by_right(parts.out / "rollouts", truth, config.scorer)
    write_json(out / "summary.json", summary)
    return summary


def facts_of(parts: Parts, command: str) -> dict[str, Any]:
    """Return the facts of a run for run.json."""
    return run_facts(parts.config, parts.contents, parts.changes, parts.student.model, command)
