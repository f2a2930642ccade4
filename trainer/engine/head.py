"""Turn hidden states into logits exactly as the model itself does, whatever it does to them behind its last layer.
Leaves out: log-probs of tokens (logprobs.py), sampling (rollout/).

N positions   D hidden size   V vocabulary"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.errors import ModelLoadError

_SPAN = 60.0
"""Largest logit that a model is shown when it is found out what it does to logits."""


@dataclass(frozen=True, slots=True, eq=False)
class LogitHead:
    """The layer from hidden states to logits, and what the model does to logits behind it: cap · tanh(scale · x / cap),
    or scale · x without a cap."""

    linear: nn.Linear
    scale: float = 1.0
    cap: float | None = None

    @property
    def out_features(self) -> int:
        """Rows of the layer: the vocabulary, padding included."""
        return self.linear.out_features

    def __call__(self, hidden_ND: Float[Tensor, "*N D"]) -> Float[Tensor, "*N V"]:
        """Return the logits, in the model's own precision."""
        logits: Tensor = self.linear(hidden_ND)
        logits = logits if self.scale == 1.0 else logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


_HEADS: WeakKeyDictionary[PreTrainedModel, LogitHead] = WeakKeyDictionary()


def head(model: PreTrainedModel) -> LogitHead:
    """Return the model's way from hidden states to logits; found out once per model.

    Raises ModelLoadError for a model that does to its logits what no LogitHead can say."""
    if model not in _HEADS:
        output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        assert isinstance(output, nn.Linear)
        _HEADS[model] = _found_out(model, output)
    return _HEADS[model]


def _found_out(model: PreTrainedModel, output: nn.Linear) -> LogitHead:
    """Put known numbers in place of the layer's output, and compare what the model makes of them."""
    given_V = torch.linspace(-_SPAN, _SPAN, output.out_features, device=output.weight.device, dtype=output.weight.dtype)
    made_V = _made_of(model, output, given_V)
    shown_V = given_V.float()
    scale = round(float((made_V @ shown_V) / (shown_V @ shown_V)), 6)
    text = model.config.get_text_config(decoder=True)
    caps = [getattr(config, "final_logit_softcapping", None) for config in (text, model.config)]
    scales = [getattr(text, name, None) for name in ("logit_scale", "lm_head_multiplier")]
    divisors = [getattr(text, name, None) for name in ("logits_scaling",)]
    known = [1.0, *(s for s in scales if s), *(1 / d for d in divisors if d), scale]
    is_fine = torch.finfo(output.weight.dtype).bits >= 32
    for cap in (None, *(cap for cap in caps if cap)):
        for factor in known:
            found = LogitHead(output, factor, cap)
            expected_V = shown_V * factor if cap is None else torch.tanh(shown_V * factor / cap) * cap
            if torch.allclose(made_V, expected_V, rtol=1e-4 if is_fine else 2e-2, atol=1e-3):
                return found
    raise ModelLoadError(
        f"a model of type {model.config.model_type!r} changes its logits behind the last layer in an unknown way. "
        "Choose a model whose logits are scaled or capped at most."
    )


@torch.no_grad()
def _made_of(model: PreTrainedModel, output: nn.Linear, given_V: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
    hook = output.register_forward_hook(lambda layer, inputs, made: given_V.to(made.dtype).expand_as(made))
    was_training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    try:
        token_11 = torch.ones(1, 1, dtype=torch.long, device=given_V.device)
        logits: Tensor = model(input_ids=token_11, use_cache=False).logits
        return logits[0, -1].float()
    finally:
        hook.remove()
        model.train(was_training)
