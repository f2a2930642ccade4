"""Loading student and teacher: what is refused, and in which words."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from trainer.engine.families import family_of
from trainer.engine.load import ModelConfig, check_pair, frozen_copy, load
from trainer.errors import ModelLoadError

DRAWN = Path(str(files("trainer") / "weights" / "drawn-vlm"))


def test_a_teacher_with_another_tokenizer_is_refused_with_the_first_token_that_differs(tmp_path: Path) -> None:
    shutil.copytree(DRAWN, tmp_path / "other")
    tokenizer = tmp_path / "other" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"Ġred"', '"Ġrot"'))
    student = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    teacher = load(str(tmp_path / "other"), ModelConfig(), "model.teacher")
    number = student.processor.tokenizer.convert_tokens_to_ids("Ġred")
    with pytest.raises(ModelLoadError) as refusal:
        check_pair(student, teacher)
    assert str(refusal.value) == (
        f"teacher '{tmp_path / 'other'}' and student 'embedded:drawn-vlm' have different tokenizers: 'Ġred' is {number} "
        "for the student and None for the teacher. Choose two models of one family."
    )
    check_pair(student, load(str(DRAWN), ModelConfig(), "model.teacher"))


@pytest.mark.parametrize("name", ["./no/such/folder", "embedded:drawn-vml", "qwen"])
def test_a_model_that_is_not_there_is_refused_with_the_setting_that_names_it(name: str) -> None:
    with pytest.raises(ModelLoadError) as refusal:
        load(name, ModelConfig(), "model.student")
    assert str(refusal.value) == (
        f"model.student = {name!r}: there is no such folder. Give a model's folder, a hub id or embedded:drawn-vlm."
    )


def test_a_folder_that_holds_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError) as refusal:
        load(str(tmp_path), ModelConfig(), "model.teacher")
    said = str(refusal.value)
    assert said.startswith(f"model.teacher = '{tmp_path}': cannot be loaded as a vision-language model (")
    assert "\n" not in said


def test_a_hub_id_that_cannot_be_reached_is_refused_in_one_line() -> None:
    said = r"^model\.student = 'nobody/nothing': cannot be loaded as a vision-language"
    with pytest.raises(ModelLoadError, match=said):
        load("nobody/nothing", ModelConfig(), "model.student")


@pytest.mark.parametrize("share", [True, False])
def test_student_and_its_copy_share_prompts_unless_the_run_says_otherwise(share: bool) -> None:
    student = load("embedded:drawn-vlm", ModelConfig(share_prompts=share), "model.student")
    assert [family_of(loaded.model) is not None for loaded in (student, frozen_copy(student))] == [share, share]
