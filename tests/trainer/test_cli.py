"""The command line: one clear line and exit code 2 for each mistake a user can make."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from trainer.cli import execute

GOOD = """
[data]
view_set = "views"
question_kinds = ["attribute"]
images_per_step = 2
questions_per_image = 2
[model]
student = "embedded:drawn-vlm"
[prompt]
view = ""
[rollout]
num_siblings = 2
max_new_tokens = 4
[loop]
steps = 1
[eval]
scorer = "number"
question_kinds = ["attribute"]
max_new_tokens = 4
"""


@pytest.fixture
def run_file(tmp_path: Path, drawn_views: Path) -> Path:
    (tmp_path / "views").symlink_to(drawn_views)
    (tmp_path / "run.toml").write_text(GOOD)
    return tmp_path / "run.toml"


def refused(run_file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `trainer run` answers; it must be one line, and leave no folder behind."""
    out = run_file.parent / "run"
    assert execute(["run", str(run_file), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not out.exists()
    return said.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("[rollout]", "[rolout]", "unknown setting 'rolout'. Did you mean 'rollout'?"),
        ("num_siblings", "num_sibling", "unknown setting 'rollout.num_sibling'. Did you mean 'num_siblings'?"),
        (
            "steps = 1",
            'steps = "many"',
            "loop.steps is 'many'; it must be a whole number. Leave it out for the default, 60.",
        ),
        ("steps = 1", "steps = 0", "loop.steps is 0; it must be a whole number at least 1. "),
        ('"number"', '"numbers"', "numbers"),
        ('"views"', '""', "setting 'data.view_set' is missing. Name the folder that `viewgen build` wrote."),
        ("[data]", "[data", "not TOML"),
        (
            "[eval]",
            '[eval]\nsplit = "train"',
            "eval.split is 'train'; it must be another split than data.split. Evaluate on questions that",
        ),
        ("[eval]", "[optimizer]\nclip_norm = nan\n[eval]", "optimizer.clip_norm is nan; it must be a number above 0. "),
        ("[eval]", "[optimizer]\nlr = inf\n[eval]", "optimizer.lr is inf; it must be a number above 0. "),
        (
            "[eval]",
            "[optimizer]\nbeta1 = 1.5\n[eval]",
            "optimizer.beta1 is 1.5; it must be a number at least 0 and below 1. ",
        ),
        (
            "[eval]",
            "[optimizer]\nweight_decay = -1.0\n[eval]",
            "optimizer.weight_decay is -1.0; it must be a number at least 0. ",
        ),
        (
            "steps = 1",
            "steps = 1\nmicro_batch = -1",
            "loop.micro_batch is -1; it must be a whole number at least 0 rollouts. ",
        ),
        ("steps = 1", "steps = 1\nseed = -1", "loop.seed is -1; it must be a whole number at least 0 and below 9"),
        (
            'view = ""',
            'view = "<|image_pad|>"',
            "prompt.view is '<|image_pad|>'; it must be words without special tokens. ",
        ),
    ],
)
def test_a_wrong_setting_is_answered_with_its_name_and_the_remedy(
    run_file: Path, capsys: pytest.CaptureFixture[str], was: str, now: str, message: str
) -> None:
    run_file.write_text(GOOD.replace(was, now, 1))
    said = refused(run_file, capsys)
    assert said.startswith(f"{run_file}: ")
    assert message in said


def test_a_missing_run_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(tmp_path / "gone.toml", capsys)
    assert said == f"{tmp_path / 'gone.toml'}: there is no such file. Give the path of a TOML file."


def test_a_view_set_of_another_schema_version_is_one_line(
    run_file: Path, drawn_views: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_file.parent / "views").unlink()
    shutil.copytree(drawn_views, run_file.parent / "views")
    manifest = run_file.parent / "views" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))
    said = refused(run_file, capsys)
    assert "99" in said
    assert str(run_file.parent / "views") in said


def test_a_view_set_that_is_not_there_is_one_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_file.parent / "views").unlink()
    assert str(run_file.parent / "views") in refused(run_file, capsys)


def test_a_teacher_with_another_tokenizer_is_one_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = run_file.parent / "other"
    shutil.copytree(str(files("trainer") / "weights" / "drawn-vlm"), other)
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"Ġred"', '"Ġrot"'))
    run_file.write_text(GOOD.replace("[model]", '[model]\nteacher = "other"', 1))
    said = refused(run_file, capsys)
    assert said.startswith(f"teacher '{other}' and student 'embedded:drawn-vlm' have different tokenizers: 'Ġred' is ")
    assert said.endswith("Choose two models of one family.")


def test_a_teacher_of_another_vocabulary_size_or_image_processor_is_one_line(
    run_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run_file.parent / "other"
    shutil.copytree(str(files("trainer") / "weights" / "drawn-vlm"), other)
    run_file.write_text(GOOD.replace("[model]", '[model]\nteacher = "other"', 1))
    processor = other / "processor_config.json"
    settings = json.loads(processor.read_text())
    settings["image_processor"]["image_mean"] = [0.4, 0.4, 0.4]
    processor.write_text(json.dumps(settings))
    assert "have image processors that make different pixels of an image of 64 x 64 px. Choose two" in refused(
        run_file, capsys
    )


@pytest.mark.parametrize("device", ["gpu", "meta0"])
def test_a_device_that_is_not_there_is_one_line(
    run_file: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    run_file.write_text(GOOD.replace("[model]", f'[model]\ndevice = "{device}"', 1))
    assert refused(run_file, capsys).startswith(f"model.device = '{device}': cannot be used (")


def test_weights_that_were_cut_short_are_one_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = run_file.parent / "other"
    shutil.copytree(str(files("trainer") / "weights" / "drawn-vlm"), other)
    whole = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    run_file.write_text(GOOD.replace("embedded:drawn-vlm", "other", 1))
    assert refused(run_file, capsys).startswith(f"model.student = '{other}': cannot be loaded as a vision-language")


def test_a_place_that_cannot_be_written_to_is_one_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_file.parent / "file").touch()
    for out in ("file", "file/run"):
        assert execute(["run", str(run_file), "--out", str(run_file.parent / out)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupt_says_that_what_is_saved_stays(
    run_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import trainer.loop

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.loop, "_train_steps", interrupted)
    assert execute(["run", str(run_file), "--out", str(run_file.parent / "run")]) == 130
    assert "stopped. What is saved stays: the same command goes on" in capsys.readouterr().err


def test_an_unknown_kind_of_view_is_answered_with_the_known_ones(
    run_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file.write_text(GOOD.replace("[data]", '[data]\nnegative = "blurred"', 1))
    said = refused(run_file, capsys)
    assert "'blurred'" in said
    assert "crop, masked, off_region, off_region_downsampled, shuffled_patches" in said


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_the_commands_and_stands_in_for_no_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(arguments) == 0
    told = capsys.readouterr().out
    assert all(command in told for command in ("run", "report", "settings", "--version"))


def test_settings_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["settings"]) == 0
    assert "\n[gate]\n" in capsys.readouterr().out


def test_a_misspelt_option_or_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["run", "x.toml", "--outt", "y"]) == 2
    assert execute(["trian"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_run_says_what_it_reached_and_its_report_says_it_again(
    run_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_file.parent / "run"
    assert execute(["run", str(run_file), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "accuracy from the full image alone, 12 held-out questions, 95 % intervals" in said
    assert execute(["report", str(out), "--picture", str(run_file.parent / "one.png")]) == 0
    again = capsys.readouterr().out
    assert again.startswith(said[: said.index(f"{out}: done")])
    assert f"page       {out / 'report.html'}" in again
    assert (run_file.parent / "one.png").exists()
