"""Loading student and teacher: what is refused, and in which words."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer.engine.families import family_of
from trainer.engine.load import Loaded, ModelConfig, check_pair, frozen_copy, load
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


# ---- folders that hold something else than the model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the shipped student's folder."""
    return Path(shutil.copytree(DRAWN, tmp_path / "model"))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelLoadError) as refused:
        load(str(folder), ModelConfig(), "model.student")
    said = str(refused.value)
    assert said.startswith(f"model.student = '{folder}': ")
    assert "\n" not in said
    return said.removeprefix(f"model.student = '{folder}': ")


@pytest.mark.fault(10)
def test_weights_under_a_wrapper_s_prefix_are_refused_by_name(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    wrapped = {f"base_model.wrapped.{name}": weight for name, weight in weights.items()}
    save_file(wrapped, folder / "model.safetensors", metadata={"format": "pt"})
    assert re.match(r"\d+ weights are missing, as '", refusal(folder))


@pytest.mark.fault(10)
@pytest.mark.parametrize("part", ["visual", "layers.1."])
def test_a_checkpoint_without_its_vision_tower_or_a_layer_is_refused_by_name(folder: Path, part: str) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    said = refusal(folder)
    assert f"{len(weights) - len(kept)} weights are missing, as '" in said
    assert part in said
    assert said.endswith("these would be random numbers. Give the whole model.")


@pytest.mark.fault(10)
def test_weights_that_no_layer_takes_are_refused_by_name(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "value_head.weight": torch.ones(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert refusal(folder).startswith("1 weights are unexpected, as 'value_head.weight': no layer takes these.")


@pytest.mark.fault(10)
def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "layers.0" in name)
    save_file({**weights, name: torch.ones(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    refusal(folder)


@pytest.mark.fault(26)
def test_adapters_and_quantised_weights_are_named_as_what_they_are(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    assert refusal(folder) == "is quantised, and quantised weights cannot be trained. Give the full model."
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    assert refusal(folder).startswith("holds an adapter (adapter_config.json), not a model. Merge")


@pytest.mark.fault(26)
def test_code_in_a_model_s_folder_is_neither_run_nor_asked_about(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModelForImageTextToText": "own.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own_kind", "auto_map": own}))
    (folder / "own.py").write_text("raise SystemExit('this ran')")
    assert "brings code of its own, which is never run" in refusal(folder)


# ---- pairs


def pair_with(student: Loaded, folder: Path, **changes: object) -> None:
    path = folder / "preprocessor_config.json"
    path = path if path.is_file() else folder / "processor_config.json"
    config = json.loads(path.read_text())
    (config.get("image_processor") or config).update(changes)
    path.write_text(json.dumps(config))
    check_pair(student, load(str(folder), ModelConfig(), "model.teacher"))


@pytest.mark.fault(23)
def test_pixels_decide_whether_two_image_processors_agree(folder: Path) -> None:
    student = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    pair_with(student, folder, an_unknown_setting=7)  # spelled otherwise, the same pixels
    mean = student.processor.image_processor.image_mean
    with pytest.raises(ModelLoadError, match="have image processors that make different pixels of an image of"):
        pair_with(student, folder, image_mean=[value + 0.1 for value in mean])


@pytest.mark.fault(23)
def test_a_setting_that_only_the_teacher_has_is_seen_too(folder: Path) -> None:
    student = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    teacher = load(str(folder), ModelConfig(), "model.teacher")
    teacher.processor.image_processor.do_normalize = False
    for one, other in ((student, teacher), (teacher, student)):
        with pytest.raises(ModelLoadError, match="make different pixels"):
            check_pair(one, other)


@pytest.mark.fault(23)
def test_padding_rows_of_the_vocabulary_are_no_difference() -> None:
    student = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    teacher = load("embedded:drawn-vlm", ModelConfig(), "model.teacher")
    rows = teacher.model.get_output_embeddings().out_features  # type: ignore[no-untyped-call]
    teacher.model.resize_token_embeddings(rows + 8)
    check_pair(student, teacher)
    check_pair(teacher, student)


@pytest.mark.fault(12)
def test_two_chat_templates_must_write_the_same(folder: Path) -> None:
    student = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    teacher = load(str(folder), ModelConfig(), "model.teacher")
    teacher.processor.chat_template += "{# a remark #}"
    check_pair(student, teacher)
    teacher.processor.chat_template += "<think>"
    with pytest.raises(ModelLoadError, match="chat templates that write different prompts"):
        check_pair(student, teacher)
