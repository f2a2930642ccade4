"""Run the steps, and around them schedule, optimizer, metrics, kept rollouts, checkpoints and the evaluations before and
after. The same command on the same folder goes on where it stopped.
Leaves out: the step itself (step.py), the contents of a run folder (report/run_folder.py)."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from trainer.batches import Batches, PromptWriter
from trainer.checkpoint import RunPosition, checkpoint_path, latest_checkpoint, load_state, save_checkpoint
from trainer.config import RunConfig
from trainer.engine.load import Loaded, check_pair, frozen_copy, load
from trainer.engine.models import Student, Teacher
from trainer.errors import CheckpointError, TrainerError
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
from trainer.provenance import manifest_sha256, minutes_before, run_facts, write_json, write_run_json
from trainer.step import distill_step
from viewgen.progress import Progress
from viewgen.viewset import StoredSample, ViewSet


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
    generator: Generator
    """Generator of sampling, apart from the data's streams: another data order changes no other random number."""

    def new_writer(self) -> PromptWriter:
        """Return a writer of prompts with its own count of skipped samples: one for training, one for each evaluation."""
        return PromptWriter(self.views, self.loaded.processor, self.config.prompt, self.config.data.max_prompt_tokens)


def train(config: RunConfig, out: Path, command: str) -> dict[str, Any]:
    """Run, or go on with a run, to its end; returns the summary of its evaluations (empty without one).
    Raises TrainerError and ViewgenError for what a user can mend."""
    began = time.monotonic()
    parts, at = _prepare(config, out)
    spent = minutes_before(out)
    write_run_json(out, facts_of(parts, command), spent)
    asked = held_out(parts.views, config.eval, config.eval.views) if config.eval.split else []
    if asked and at.step == 0:
        _before(parts, asked)
    try:
        _train_steps(parts, at)
        return _after(parts, asked) if asked else {}
    finally:
        write_run_json(out, facts_of(parts, command), spent + (time.monotonic() - began) / 60)


def _prepare(config: RunConfig, out: Path) -> tuple[Parts, RunPosition]:
    """Load what the run needs, from its last checkpoint where it has one."""
    views = ViewSet.open(Path(config.data.view_set))
    saved = latest_checkpoint(out)
    _refuse_other_run(config, views, out)
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
    )
    return parts, at


def _refuse_other_run(config: RunConfig, views: ViewSet, out: Path) -> None:
    """Refuse a folder of another configuration or view set: going on would mix two runs."""
    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out}: is a file. Name a folder.")
    if not out.exists() or not any(out.iterdir()):
        return
    mine = json.loads(json.dumps(asdict(config)))
    try:
        saved = json.loads((out / "run.json").read_text(encoding="utf-8"))
        settings = [(t, k, saved["config"].get(t, {}).get(k), mine[t][k]) for t in mine for k in mine[t]]
        same_views = saved["view_set_sha256"] == manifest_sha256(views)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{out}: holds files but no readable run.json. Name an empty or new folder.") from None
    for table, key, was, now in settings:
        if was != now:
            found = f"holds a run with {table}.{key} = {was!r}, now it is {now!r}"
            raise CheckpointError(f"{out}: {found}. Name another folder.")
    if not same_views:
        raise CheckpointError(f"{out}: {views.path} was rebuilt since this run began. Name another folder.")


def _train_steps(parts: Parts, at: RunPosition) -> None:
    config = parts.config.loop
    with Progress("train", config.steps - at.step, "steps") as progress:
        for step in range(at.step, config.steps):
            began = time.perf_counter()
            batch = next(parts.batches)
            done = distill_step(parts.student, parts.teacher, batch, parts.config.step, parts.generator)
            grad_norm = _update(parts, lr_at(step, config.steps, parts.config.optimizer), step)
            metrics = {
                **step_metrics(done, parts.config.gate),
                "grad_norm": grad_norm,
                "seconds/step": time.perf_counter() - began,
            }
            metrics["lr"] = parts.optimizer.param_groups[0]["lr"]
            metrics["skipped_samples"] = parts.writer.skipped.total()
            append_metrics(parts.out / "metrics.jsonl", step + 1, metrics)
            if config.keep_rollouts_every and step % config.keep_rollouts_every == 0:
                rows = rollout_rows(step + 1, batch, done, parts.student)
                write_rollouts(parts.out / "rollouts" / f"step-{step + 1:06d}.parquet", rows)
            if step + 1 == config.steps or (config.save_every and (step + 1) % config.save_every == 0):
                path, now = checkpoint_path(parts.out, step + 1), RunPosition(step=step + 1, position=batch.position)
                save_checkpoint(path, parts.loaded, parts.optimizer, parts.generator, now)
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
    return run_facts(parts.config, parts.views, parts.student.model, command)
