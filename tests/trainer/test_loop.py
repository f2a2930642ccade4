"""A whole run, small: what it leaves, that it goes on exactly, and that it reads no answer."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import trainer.loop
from trainer.batches import DataConfig, PromptWriter
from trainer.config import LoopConfig, RunConfig
from trainer.engine.load import ModelConfig, load
from trainer.engine.prompts import PromptConfig
from trainer.errors import CheckpointError, DataError, LostSamplesError, TrainerError
from trainer.evaluation.evaluate import EvalConfig
from trainer.loop import refuse_shortfall, train
from trainer.metrics import read_metrics
from trainer.optimizer import OptimizerConfig, lr_at
from trainer.provenance import write_run_json
from trainer.rollouts import RolloutConfig
from trainer.step import distill_step
from viewgen.viewset.parts import write_table
from viewgen.viewset.shards import ViewSet


def config(views: Path, **changed: Any) -> RunConfig:
    small = RunConfig(
        data=DataConfig(view_set=str(views), question_kinds=("attribute",), images_per_step=2, questions_per_image=2),
        model=ModelConfig(student="embedded:drawn-vlm"),
        prompt=PromptConfig(view=""),
        rollout=RolloutConfig(num_siblings=3, max_new_tokens=4),
        optimizer=OptimizerConfig(lr=1e-3, lr_end=1e-4),
        loop=LoopConfig(steps=4, save_every=2),
        eval=EvalConfig(split=""),
    )
    return replace(small, **changed)


def weights(run: Path, step: int = 4) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:06d}" / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def without_answers(views: Path, to: Path) -> Path:
    """Return a copy of a view set whose questions lack the column of answers."""
    shutil.copytree(views, to)
    manifest = json.loads((to / "manifest.json").read_text())
    for part in manifest["parts"]:
        path = to / "questions" / f"part-{part['part']:05d}.parquet"
        pl.read_parquet(path).drop("answer").write_parquet(path)
        part["files"]["questions"]["bytes"] = path.stat().st_size
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


def test_a_view_set_without_answers_trains_to_equal_bits(drawn_views: Path, tmp_path: Path) -> None:
    train(config(drawn_views), tmp_path / "with", "")
    bare = without_answers(drawn_views, tmp_path / "bare")
    assert "answer" not in pl.read_parquet_schema(bare / "questions" / "part-00000.parquet")
    train(config(bare), tmp_path / "without", "")
    assert equal(weights(tmp_path / "with"), weights(tmp_path / "without"))


def test_training_changes_the_weights_and_equal_seeds_give_equal_bits(drawn_views: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        train(config(drawn_views, loop=LoopConfig(steps=2, save_every=1, seed=seed)), tmp_path / name, "")
    assert not equal(weights(tmp_path / "one", 1), weights(tmp_path / "one", 2))
    assert equal(weights(tmp_path / "one", 2), weights(tmp_path / "same", 2))
    assert not equal(weights(tmp_path / "one", 2), weights(tmp_path / "other", 2))


def test_a_run_that_was_stopped_goes_on_to_the_bits_of_one_that_was_not(
    drawn_views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(drawn_views), tmp_path / "whole", "")
    real, calls = distill_step, []

    def dies_in_step_four(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(trainer.loop, "distill_step", dies_in_step_four)
    with pytest.raises(KeyboardInterrupt):
        train(config(drawn_views), tmp_path / "cut", "")
    monkeypatch.setattr(trainer.loop, "distill_step", real)
    train(config(drawn_views), tmp_path / "cut", "")
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    timeless = [
        [
            {k: v for k, v in line.items() if "seconds" not in k}
            for line in read_metrics(tmp_path / run / "metrics.jsonl")
        ]
        for run in ("whole", "cut")
    ]
    assert timeless[0] == timeless[1]
    assert [line["step"] for line in timeless[1]] == [1, 2, 3, 4]


def test_a_run_in_bfloat16_clips_its_gradient_and_goes_on_with_float32_twins(drawn_views: Path, tmp_path: Path) -> None:
    half = ModelConfig(student="embedded:drawn-vlm", dtype="bfloat16")
    small = OptimizerConfig(lr=1e-6, lr_end=1e-6)
    train(config(drawn_views, model=half, optimizer=small, loop=LoopConfig(steps=2)), tmp_path / "run", "")
    assert all(line["grad_norm"] > 0 for line in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    state = torch.load(tmp_path / "run" / "checkpoints" / "step-000002" / "trainer_state.pt")
    assert {twin.dtype for twin in state["optimizer"]["twins"]} == {torch.float32}
    assert {weight.dtype for weight in weights(tmp_path / "run", 2).values()} == {torch.bfloat16}


def test_a_checkpoint_is_loaded_by_plain_transformers_and_answers(drawn_views: Path, tmp_path: Path) -> None:
    train(config(drawn_views), tmp_path / "run", "")
    folder = tmp_path / "run" / "checkpoints" / "step-000004"
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    from PIL import Image

    content = [{"type": "image"}, {"type": "text", "text": "What number is on the red circle?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[text], images=[Image.new("RGB", (160, 160))], return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > inputs["input_ids"].shape[1]


def test_a_run_leaves_answers_rollouts_and_a_summary_that_agree(drawn_views: Path, tmp_path: Path) -> None:
    asked = EvalConfig(scorer="number", question_kinds=("attribute",), max_new_tokens=4, views=("crop", "off_region"))
    summary = train(config(drawn_views, eval=asked), tmp_path / "run", "trainer run")
    before = pl.read_parquet(tmp_path / "run" / "evals" / "before.parquet")
    assert summary["before"]["accuracy"] == before["right"].mean()
    assert summary["before"]["num"] == before["image_id"].n_unique() == len(before) == 12
    assert summary["with_positive_view"]["accuracy"] > summary["with_negative_view"]["accuracy"]
    rollouts = pl.read_parquet(tmp_path / "run" / "rollouts" / "*.parquet")
    assert len(rollouts) == 4 * 2 * 2 * 3
    groups = rollouts.group_by("step", "question_id").agg(pl.col("weight").mean(), pl.len())
    assert (groups["len"] == 3).all()
    assert all(len(row["tokens"]) == len(row["token_ids"]) == len(row["gap"]) for row in rollouts.iter_rows(named=True))
    assert json.loads((tmp_path / "run" / "evals" / "summary.json").read_text()) == summary


def test_the_summary_compares_the_untrained_student_with_the_trained_one_also_after_a_resume(
    drawn_views: Path, tmp_path: Path
) -> None:
    """What the first command measured counts, whatever the student has learnt since: its answers are set to all wrong."""
    run, evals = tmp_path / "run", tmp_path / "run" / "evals"
    asked = EvalConfig(scorer="number", question_kinds=("attribute",), max_new_tokens=4, views=("crop", "off_region"))
    train(config(drawn_views, eval=asked, loop=LoopConfig(steps=1)), run, "")
    for number, name in enumerate(("before", "before-crop", "before-off_region")):
        path = evals / f"{name}.parquet"
        pl.read_parquet(path).with_columns(right=pl.int_range(pl.len()) < number).write_parquet(path)
    summary = train(config(drawn_views, eval=asked, loop=LoopConfig(steps=2)), run, "")
    after = float(pl.read_parquet(evals / "after.parquet")["right"].to_numpy().mean())
    assert after > 0
    assert (summary["before"]["accuracy"], summary["after"]["accuracy"]) == (0, after)
    assert summary["difference"]["mean"] == pytest.approx(after)
    assert 0 <= summary["difference"]["low"] <= after <= summary["difference"]["high"]
    of_kind = summary["by_kind"]["attribute"]
    assert (of_kind["before"]["accuracy"], of_kind["after"]["accuracy"]) == (0, after)
    assert summary["with_positive_view"]["accuracy"] == 1 / 12
    assert summary["with_negative_view"]["accuracy"] == 2 / 12


def test_the_gradient_is_clipped_and_the_schedule_applied(drawn_views: Path, tmp_path: Path) -> None:
    """AdamW divides by the gradient's own size but for 1e-8: a gradient of norm 1e-12 moves next to nothing."""
    schedule = OptimizerConfig(lr=1e-3, lr_end=1e-4, warmup_steps=1)
    clipped = replace(schedule, clip_norm=1e-12)
    for name, settings in (("free", schedule), ("clipped", clipped)):
        train(config(drawn_views, optimizer=settings, loop=LoopConfig(steps=3, save_every=1)), tmp_path / name, "")
        lines = read_metrics(tmp_path / name / "metrics.jsonl")
        assert [line["lr"] for line in lines] == pytest.approx([lr_at(step, 3, settings) for step in range(3)])
        assert all(line["grad_norm"] > 1e-3 for line in lines)  # as it was before clipping

    def moved(name: str) -> float:
        one, other = weights(tmp_path / name, 1), weights(tmp_path / name, 3)
        return max(float((one[key] - other[key]).abs().max()) for key in one)

    assert moved("free") > 1e-4
    assert moved("clipped") < 1e-6


def test_a_gradient_that_is_not_finite_is_refused_before_it_moves_a_weight(drawn_views: Path, tmp_path: Path) -> None:
    parts, _ = trainer.loop._prepare(config(drawn_views), tmp_path / "run")
    weight = parts.optimizer.weights[0]
    before = weight.detach().clone()
    weight.grad = torch.full_like(weight, torch.inf)
    with pytest.raises(TrainerError, match=r"the gradient of step 3 is inf\. Lower optimizer\.lr or use float32\."):
        trainer.loop._update(parts, 1e-3, 2)
    assert torch.equal(weight, before)


def test_gradients_of_a_step_are_forgotten_with_it(drawn_views: Path, tmp_path: Path) -> None:
    parts, _ = trainer.loop._prepare(config(drawn_views), tmp_path / "run")
    for _ in range(2):
        distill_step(parts.student, parts.teacher, next(parts.batches), parts.config.step, parts.generator)
        assert trainer.loop._update(parts, 0.0, 0) > 0
        assert all(weight.grad is None for weight in parts.optimizer.weights)


def test_another_teacher_looks_with_its_own_eyes(drawn_views: Path, tmp_path: Path) -> None:
    """A second model, whose vision tower differs, must not be handed what the student saw."""
    blind = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    with torch.no_grad():
        for name, weight in blind.model.named_parameters():
            if "visual" in name:
                weight.mul_(0.5)
    blind.model.save_pretrained(tmp_path / "blind")
    blind.processor.save_pretrained(tmp_path / "blind")
    for teacher, is_shared in (("", True), (str(tmp_path / "blind"), False)):
        models = ModelConfig(student="embedded:drawn-vlm", teacher=teacher)
        parts, _ = trainer.loop._prepare(config(drawn_views, model=models), tmp_path / f"run{is_shared}")
        prompts = next(parts.batches).student[:1]
        seen, also_seen = parts.student.image_features(prompts), parts.teacher.image_features(prompts)
        (image,) = prompts[0].images
        assert (seen[image] is also_seen[image]) == is_shared
        if not is_shared:
            mine, own = seen[image].embeds, also_seen[image].embeds
            assert mine is not None
            assert own is not None
            assert float((mine - own).abs().max()) > 1e-3


def test_a_teacher_that_reads_images_otherwise_is_refused(drawn_views: Path, tmp_path: Path) -> None:
    other = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    other.processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    other.model.save_pretrained(tmp_path / "other")
    other.processor.save_pretrained(tmp_path / "other")
    models = ModelConfig(student="embedded:drawn-vlm", teacher=str(tmp_path / "other"))
    with pytest.raises(TrainerError, match="teacher"):
        train(config(drawn_views, model=models), tmp_path / "run", "")


def test_a_run_that_passed_over_batches_goes_on_with_the_batch_after_the_last(
    drawn_views: Path, tmp_path: Path
) -> None:
    """Prompts of all lengths but the shortest are too long: some batches of one question give none."""
    limit = shortest(drawn_views)
    data = replace(config(drawn_views).data, question_kinds=(), images_per_step=1, questions_per_image=1)
    short = config(
        drawn_views, data=replace(data, max_prompt_tokens=limit), loop=LoopConfig(steps=4, save_every=2, seed=4)
    )
    train(short, tmp_path / "whole", "")
    for steps in (2, 4):
        train(replace(short, loop=LoopConfig(steps=steps, save_every=2, seed=4)), tmp_path / "cut", "")
    state = torch.load(tmp_path / "cut" / "checkpoints" / "step-000002" / "trainer_state.pt")
    assert state["position"] > state["step"] == 2
    asked = [
        pl.read_parquet(tmp_path / run / "rollouts" / "*.parquet")["question_id"].to_list() for run in ("whole", "cut")
    ]
    assert asked[0] == asked[1]


def test_a_folder_belongs_to_one_configuration(drawn_views: Path, tmp_path: Path) -> None:
    train(config(drawn_views, loop=LoopConfig(steps=2)), tmp_path / "run", "")
    for loop, said in ((LoopConfig(steps=1), "steps = 2, now it is 1"), (LoopConfig(seed=1, steps=2), "seed = 0, now")):
        with pytest.raises(CheckpointError, match=rf"run: holds a run with loop\.{said}.*\. Name another folder\.$"):
            train(config(drawn_views, loop=loop), tmp_path / "run", "")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(
        CheckpointError, match=r"full: holds files but no readable run\.json\. Name an empty or new folder"
    ):
        train(config(drawn_views), tmp_path / "full", "")


def test_a_view_set_that_was_rebuilt_is_not_gone_on_with(drawn_views: Path, tmp_path: Path) -> None:
    views = tmp_path / "views"
    shutil.copytree(drawn_views, views)
    train(config(views, loop=LoopConfig(steps=1)), tmp_path / "run", "")
    manifest = json.loads((views / "manifest.json").read_text())
    (views / "manifest.json").write_text(json.dumps({**manifest, "seed": 99}))
    with pytest.raises(CheckpointError) as refusal:
        train(config(views, loop=LoopConfig(steps=1)), tmp_path / "run", "")
    found = "the view set holds something else than when this run began"
    assert str(refusal.value) == f"{tmp_path / 'run'}: {found}. Name another folder."


def test_weights_that_blow_up_are_never_saved(drawn_views: Path, tmp_path: Path) -> None:
    wild = config(drawn_views, optimizer=OptimizerConfig(lr=1e38, lr_end=1e38), loop=LoopConfig(steps=1))
    with pytest.raises(TrainerError, match=r"step 1 made weights that are not finite\. Lower optimizer\.lr\."):
        train(wild, tmp_path / "run", "")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_minutes_add_up_over_the_commands_of_one_run(drawn_views: Path, tmp_path: Path) -> None:
    train(config(drawn_views, loop=LoopConfig(steps=1)), tmp_path / "run", "")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**facts, "minutes": 100.0}))
    train(config(drawn_views, loop=LoopConfig(steps=1)), tmp_path / "run", "")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["minutes"] >= 100.0


def test_questions_that_the_rule_cannot_judge_do_not_stop_a_trained_run(drawn_views: Path, tmp_path: Path) -> None:
    asked = EvalConfig(scorer="number", question_kinds=("attribute",), max_new_tokens=4)
    data = replace(config(drawn_views).data, question_kinds=())
    summary = train(config(drawn_views, data=data, eval=asked), tmp_path / "run", "")
    assert summary["after"]["num"] == 12


def test_the_learning_rate_rises_in_a_line_and_falls_in_half_a_cosine() -> None:
    schedule = OptimizerConfig(lr=1.0, lr_end=0.2, warmup_steps=4)
    rates = [lr_at(step, 9, schedule) for step in range(9)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([1.0, 0.8828427, 0.6, 0.3171573, 0.2])


# ---- faults found in use


def run_json(run: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((run / "run.json").read_text())
    return facts


@pytest.mark.fault(22)
def test_a_run_that_is_moved_goes_on_with_more_steps_on_other_hardware(drawn_views: Path, tmp_path: Path) -> None:
    views, run = Path(shutil.copytree(drawn_views, tmp_path / "views")), tmp_path / "run"
    train(config(views, loop=LoopConfig(steps=2, save_every=1)), run, "")
    moved, elsewhere = views.rename(tmp_path / "other"), run.rename(tmp_path / "elsewhere")
    student = Path(shutil.copytree(Path(str(files("trainer"))) / "weights" / "drawn-vlm", tmp_path / "copy"))
    changed = ModelConfig(student=str(student), device="cpu", checkpoint_prefix=True)
    train(config(moved, model=changed, loop=LoopConfig(steps=3, micro_batch=2, save_every=3)), elsewhere, "")
    assert [line["step"] for line in read_metrics(elsewhere / "metrics.jsonl")] == [1, 2, 3]
    changes = {
        change["setting"]: (change["was"], change["now"], change["from_step"])
        for change in run_json(elsewhere)["changes"]
    }
    assert changes == {
        "model.device": ("auto", "cpu", 3),
        "model.checkpoint_prefix": (False, True, 3),
        "loop.steps": (2, 3, 3),
        "loop.micro_batch": (0, 2, 3),
        "loop.save_every": (1, 3, 3),
    }


@pytest.mark.fault(11)
def test_a_student_that_was_overwritten_is_another_teacher(drawn_views: Path, tmp_path: Path) -> None:
    student = Path(shutil.copytree(Path(str(files("trainer"))) / "weights" / "drawn-vlm", tmp_path / "model"))
    mine = config(drawn_views, model=ModelConfig(student=str(student)), loop=LoopConfig(steps=1))
    train(mine, tmp_path / "run", "")
    for path in (tmp_path / "run" / "checkpoints" / "step-000001").iterdir():
        if path.name != "trainer_state.pt":
            shutil.copy(path, student)
    with pytest.raises(CheckpointError, match="run: the student holds something else than when this run began"):
        train(replace(mine, loop=LoopConfig(steps=2)), tmp_path / "run", "")


@pytest.mark.fault(13)
def test_images_that_are_trained_on_and_evaluated_on_are_refused(drawn_views: Path, tmp_path: Path) -> None:
    views = Path(shutil.copytree(drawn_views, tmp_path / "views"))
    manifest = json.loads((views / "manifest.json").read_text())
    for part in manifest["parts"]:
        path = views / "questions" / f"part-{part['part']:05d}.parquet"
        rows = pl.read_parquet(path)
        train_images = rows.filter(pl.col("split") == "train")["image_id"].unique().sort()
        if len(train_images):  # one image's questions are dealt out between the splits
            first = (pl.col("image_id") == train_images[0]) & (pl.col("question_id").str.ends_with("1"))
            rows = rows.with_columns(pl.when(first).then(pl.lit("test")).otherwise(pl.col("split")).alias("split"))
        part["files"]["questions"] = asdict(write_table(path, rows))
    (views / "manifest.json").write_text(json.dumps(manifest))
    asked = EvalConfig(scorer="exact_match", max_new_tokens=4, one_per_image=False)
    data = replace(config(views).data, question_kinds=())
    with pytest.raises(
        DataError, match=r"views: \d+ of \d+ images of split 'test' are in split 'train' too, as '[0-9a-f]{16}'"
    ):
        train(config(views, data=data, eval=asked), tmp_path / "run", "")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.fault(16)
def test_skipped_samples_are_counted_over_a_resume_and_time_has_names(
    drawn_views: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = shortest(drawn_views)
    data = replace(config(drawn_views).data, question_kinds=(), questions_per_image=8, max_prompt_tokens=limit)
    for steps in (3, 6):
        train(config(drawn_views, data=data, loop=LoopConfig(steps=steps, save_every=3)), tmp_path / "run", "")
    told = [line["skipped_samples"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert told == sorted(told)
    assert told[2] > 0
    assert told[5] > told[2]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped ")]
    assert sum(int(line.split()[1]) for line in lines[-len(lines) :]) >= told[5]
    for line in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        parts = [line[f"seconds/{name}"] for name in ("data", "rollout", "score", "update")]
        assert all(seconds > 0 for seconds in parts)
        assert sum(parts) <= line["seconds/step"] * 1.001
        assert sum(parts) > 0.5 * line["seconds/step"]


def shortest(views: Path) -> int:
    """Return the fewest prompt tokens of a sample: others have more."""
    processor = load("embedded:drawn-vlm", ModelConfig(), "model.student").processor
    opened = ViewSet.open(views)
    samples = opened.samples("train", ("crop",))
    rows = PromptWriter(opened, processor, PromptConfig(view=""), 10_000).write(samples, ("crop",))
    lengths = sorted({len(prompt.ids) for _, (prompt,) in rows})
    assert len(lengths) > 1
    return lengths[0]


@pytest.mark.fault(16)
def test_minutes_of_a_killed_process_are_counted(
    drawn_views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[float] = []
    monkeypatch.setattr(trainer.loop, "RECORD_EVERY_S", 0.0)

    def record(out: Path, facts: Any, minutes: float) -> None:
        written.append(minutes)
        write_run_json(out, facts, minutes)

    monkeypatch.setattr(trainer.loop, "write_run_json", record)
    train(config(drawn_views), tmp_path / "run", "")
    assert len(written) > 5  # with every step, not at the end alone
    assert written == sorted(written)
    assert written[0] < written[-1]


@pytest.mark.fault(20)
def test_a_run_that_could_use_less_than_half_of_its_samples_says_so(drawn_views: Path, tmp_path: Path) -> None:
    writer = PromptWriter(ViewSet.open(drawn_views), None, PromptConfig(), 100)
    writer.skipped.update({"too long": 5, "broken": 1})
    writer.num_used = 5
    with pytest.raises(LostSamplesError) as refusal:
        refuse_shortfall(writer, tmp_path)
    assert str(refusal.value).startswith(
        f"{tmp_path}: 6 of 11 samples could not be used, 5 of them because too long. The run is saved;"
    )
    assert refusal.value.exit_code == 3
    writer.num_used = 6
    refuse_shortfall(writer, tmp_path)


@pytest.mark.fault(25)
def test_two_runs_at_once_in_one_folder_are_one_line(
    drawn_views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    real = distill_step

    def runs_too(*given: Any) -> Any:
        with pytest.raises(CheckpointError) as refusal:
            train(config(drawn_views, loop=LoopConfig(steps=1)), tmp_path / "run", "")
        said.append(str(refusal.value))
        return real(*given)

    monkeypatch.setattr(trainer.loop, "distill_step", runs_too)
    train(config(drawn_views, loop=LoopConfig(steps=1)), tmp_path / "run", "")
    assert said == [
        f"{tmp_path / 'run'}: another process is writing there. Wait until it ends, or name another folder."
    ]
    assert not (tmp_path / "run" / ".lock").exists()
    assert [line["step"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1]


@pytest.mark.fault(26)
def test_halves_of_files_do_not_make_a_folder_another_run(drawn_views: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("run.json.part", "run.json.partial", ".lock"):
        (tmp_path / "run" / name).write_text("{")
    train(config(drawn_views, loop=LoopConfig(steps=1)), tmp_path / "run", "")
    assert run_json(tmp_path / "run")["changes"] == []
