"""Loading student and teacher: what is refused, and in which words."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.engine.families import family_of
from trainer.engine.load import ModelConfig, check_pair, frozen_copy, load
from trainer.engine.logprobs import token_terms
from trainer.errors import ModelLoadError
from trainer.loss import exact_divergence

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


def terms(hidden: Tensor, at_once: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    monkeypatch.setattr("trainer.engine.logprobs.LOGITS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    student, teacher = nn.Linear(8, 30, bias=False), nn.Linear(8, 30, bias=False)
    for layer in (student, teacher):
        nn.init.normal_(layer.weight, generator=generator)
    ids, states = torch.arange(len(hidden)) % 30, torch.randn(len(hidden), 8, generator=generator)
    own = hidden.clone().requires_grad_()
    logp, divergence = token_terms(student, own, ids, 0.5, (teacher, states))
    assert divergence is not None
    torch.autograd.backward((logp * divergence).sum())
    assert own.grad is not None
    expected = (student(hidden) / 0.5).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    assert (logp - expected).abs().max() < 1e-5
    whole = exact_divergence(student(hidden) / 0.5, teacher(states) / 0.5)
    assert (divergence - whole).abs().max() < 1e-5
    return logp.detach(), divergence.detach(), own.grad


def test_chunks_of_the_vocabulary_change_neither_values_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = torch.randn(17, 8, generator=torch.Generator().manual_seed(1))
    whole, chunked = terms(hidden, 10**6, monkeypatch), terms(hidden, 90, monkeypatch)
    for one, other in zip(whole, chunked, strict=True):
        assert (one - other).norm() < 1e-5 * one.norm()
