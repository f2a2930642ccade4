"""Which models share prompts, and what becomes of those that do not."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Generator
from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedModel

import trainer.engine.families
from trainer.engine.families import FAMILIES, family_of, never_ids, sharing_table, vision_parameters
from trainer.engine.load import Loaded
from trainer.engine.models import Student
from trainer.engine.prefix import Segment, extend
from trainer.rollout.sample import sample_rollouts
from trainer.rollouts import RolloutConfig

ENGINE = Path(__file__).parents[3] / "docs" / "engine.md"


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.engine.families, "_warned", set())


def test_the_document_holds_the_table_that_the_code_prints() -> None:
    program = "from trainer.engine.families import sharing_table; print(sharing_table())"
    message = f"paste the output of `python -c '{program}'` there"
    assert f"\n\n{sharing_table()}\n" in ENGINE.read_text(encoding="utf-8"), message


def test_every_family_in_the_table_is_tested(sharing_model: PreTrainedModel) -> None:
    assert family_of(sharing_model) is FAMILIES[sharing_model.config.model_type]


def test_a_model_that_does_not_share_says_so_once_and_answers(lonely_model: PreTrainedModel) -> None:
    with warnings.catch_warnings(record=True) as said, torch.no_grad():
        warnings.simplefilter("always")
        read = extend(lonely_model, None, [Segment((20, 21, 22)), Segment((23,))])[1]
        read = extend(lonely_model, read, [Segment((24,)), Segment((25, 26))])[1]
        config = RolloutConfig(num_siblings=2, max_new_tokens=3)
        found = sample_rollouts(lonely_model, read, config, (), (), Generator().manual_seed(0))
    assert [str(warning.message) for warning in said] == [
        "A model of type 'lfm2_vl' with text layers of type 'lfm2' does not share prompts: each answer is read with its "
        "whole prompt, which is right but slow. Types that share: qwen3_5, qwen3_vl, qwen2_5_vl, smolvlm, idefics3, "
        "llava_onevision, internvl, gemma3."
    ]
    assert found.ids_BT.shape == (4, 3)


def test_a_family_that_shares_does_not_with_a_text_model_of_other_layers(lonely_model: PreTrainedModel) -> None:
    text = lonely_model.config.text_config
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = InternVLForConditionalGeneration(InternVLConfig(text_config=text, vision_config=vision))
    with pytest.warns(UserWarning, match="type 'internvl' with text layers of type 'lfm2' does not share prompts"):
        assert family_of(model) is None


def test_a_model_that_shares_says_nothing(sharing_model: PreTrainedModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert family_of(sharing_model) is not None


def test_a_frozen_tower_takes_its_projector_with_it_and_leaves_the_text_model(tiny_model: PreTrainedModel) -> None:
    Student(Loaded(tiny_model, None, "tiny"), train_vision=False)
    frozen = {name for name, weight in tiny_model.named_parameters() if not weight.requires_grad}
    assert frozen == {
        name for name, _ in tiny_model.named_parameters() if ".language_model" not in name and ".text_model" not in name
    } - {"lm_head.weight"}
    assert len(frozen) == len(vision_parameters(tiny_model))


def test_an_answer_never_holds_a_placeholder(sharing_model: PreTrainedModel) -> None:
    assert 5 in never_ids(sharing_model)
    if sharing_model.config.model_type.startswith("qwen") or sharing_model.config.model_type == "gemma3":
        assert {3, 4} <= set(never_ids(sharing_model))
