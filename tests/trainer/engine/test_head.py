"""Logits are the model's own, whatever it does to them behind its last layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen3VLForConditionalGeneration

from trainer.engine.head import LogitHead, head
from trainer.errors import ModelLoadError

IDS = torch.tensor([[7, 8, 9, 10, 11]])


def own_logits(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return the model's own logits of some text, and its last hidden states."""
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits, model.model(
            input_ids=IDS, use_cache=False
        ).last_hidden_state


@pytest.mark.fault(9)
def test_the_logits_of_every_family_are_its_own(tiny_model: PreTrainedModel) -> None:
    logits, hidden = own_logits(tiny_model)
    assert (head(tiny_model)(hidden) - logits).abs().max() < 1e-5
    assert head(tiny_model) is head(tiny_model)


@pytest.mark.fault(9)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_capped_logits_are_capped(tiny_named: Callable[[str], PreTrainedModel], dtype: torch.dtype) -> None:
    model = tiny_named("gemma3")
    model.config.text_config.final_logit_softcapping = 3.0
    model.get_output_embeddings().weight.data.mul_(200)  # type: ignore[no-untyped-call]
    model.to(dtype)  # type: ignore[arg-type]
    logits, hidden = own_logits(model)
    assert (head(model)(hidden) - logits).abs().max() < 1e-5
    is_capped = float(logits.abs().max()) <= 3.0
    assert head(model).cap == (3.0 if is_capped else None)


class Scaled(Qwen3VLForConditionalGeneration):  # type: ignore[no-untyped-call]
    """Multiply logits behind the last layer, as Cohere's and Granite's models do."""

    def forward(self, *args: Any, **more: Any) -> Any:
        made = super().forward(*args, **more)
        made.logits = made.logits * 0.0625
        return made


class Capped(Qwen3VLForConditionalGeneration):  # type: ignore[no-untyped-call]
    """Cap logits behind the last layer, as Gemma's models do."""

    def forward(self, *args: Any, **more: Any) -> Any:
        made = super().forward(*args, **more)
        made.logits = torch.tanh(made.logits / 3.0) * 3.0
        return made


class Shifted(Qwen3VLForConditionalGeneration):  # type: ignore[no-untyped-call]
    """Do what no LogitHead can say."""

    def forward(self, *args: Any, **more: Any) -> Any:
        made = super().forward(*args, **more)
        made.logits = made.logits + torch.arange(made.logits.shape[-1])
        return made


def as_class(kind: type[PreTrainedModel], tiny_named: Callable[[str], PreTrainedModel]) -> PreTrainedModel:
    plain = tiny_named("qwen3_vl")
    plain.config.text_config.final_logit_softcapping = 3.0
    model = kind(plain.config)
    model.load_state_dict(plain.state_dict())
    model.get_output_embeddings().weight.data.mul_(50)  # type: ignore[no-untyped-call]
    return model.eval()  # type: ignore[no-untyped-call, no-any-return]


@pytest.mark.fault(9)
@pytest.mark.parametrize(("kind", "scale", "cap"), [(Scaled, 0.0625, None), (Capped, 1.0, 3.0)])
def test_what_a_model_does_to_its_logits_is_done_here_too(
    tiny_named: Callable[[str], PreTrainedModel], kind: type[PreTrainedModel], scale: float, cap: float | None
) -> None:
    model = as_class(kind, tiny_named)
    logits, hidden = own_logits(model)
    assert (head(model)(hidden) - logits).abs().max() < 1e-5
    assert (head(model).scale, head(model).cap) == (scale, cap)
    assert (model.get_output_embeddings()(hidden) - logits).abs().max() > 0.1  # type: ignore[no-untyped-call]


@pytest.mark.fault(9)
def test_what_cannot_be_done_here_is_refused(tiny_named: Callable[[str], PreTrainedModel]) -> None:
    with pytest.raises(ModelLoadError, match="changes its logits behind the last layer in an unknown way"):
        head(as_class(Shifted, tiny_named))


def test_a_head_counts_its_rows() -> None:
    assert LogitHead(nn.Linear(4, 7)).out_features == 7
