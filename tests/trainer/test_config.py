"""A run file: its folders are relative to it, and settings of two tables are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config import read_run
from trainer.errors import DataError
from viewgen.errors import SettingsError


def written(folder: Path, text: str) -> Path:
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


def test_folders_are_relative_to_the_file_and_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    text = '[data]\nview_set = "../views"\n[model]\nstudent = "student"\nteacher = "Qwen/Qwen3-VL-2B"\n'
    config = read_run(written(tmp_path, text))
    assert config.data.view_set == str((tmp_path / "../views").resolve())
    assert config.model.student == str(tmp_path / "student")
    assert config.model.teacher == "Qwen/Qwen3-VL-2B"


def test_a_run_without_a_view_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run.toml: setting 'data.view_set' is missing. Name the folder"):
        read_run(written(tmp_path, ""))


def test_a_run_is_not_evaluated_on_what_it_trains_on(tmp_path: Path) -> None:
    text = '[data]\nview_set = "v"\nsplit = "test"\n'
    with pytest.raises(
        SettingsError, match=r"run.toml: eval.split is 'test'; it must be another split than data.split"
    ):
        read_run(written(tmp_path, text))


def test_the_settings_of_a_step_are_put_together(tmp_path: Path) -> None:
    text = '[data]\nview_set = "v"\n[rollout]\nnum_siblings = 3\n[loop]\nmicro_batch = 2\n[gate]\nalpha = 0.5\n'
    step = read_run(written(tmp_path, text)).step
    assert (step.rollout.num_siblings, step.micro_batch, step.gate.alpha) == (3, 2, 0.5)
