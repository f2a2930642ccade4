"""Sampling: what may be sampled, when an answer ends, and what is written down of it."""

from __future__ import annotations

import pytest
import torch
from torch import Generator
from transformers import PreTrainedModel

from trainer.engine.head import head
from trainer.engine.prefix import Prefix, Segment, extend, join
from trainer.rollout.sample import sample_rollouts
from trainer.rollouts import RolloutConfig, Rollouts

LENGTHS = (7, 4, 9)


def prompts(model: PreTrainedModel) -> Prefix:
    """Three text prompts of different lengths, decoded together."""
    with torch.no_grad():
        return join([extend(model, None, [Segment(tuple(range(20, 20 + n)))])[1] for n in LENGTHS])


def sample(
    model: PreTrainedModel, seed: int = 0, never: tuple[int, ...] = (), eos: tuple[int, ...] = (2,), **settings: float
) -> Rollouts:
    config = RolloutConfig(**{"num_siblings": 4, "max_new_tokens": 6, **settings})  # type: ignore[arg-type]
    return sample_rollouts(model, prompts(model), config, eos, never, Generator().manual_seed(seed))


def loud(model: PreTrainedModel, token: int, strength: float) -> PreTrainedModel:
    """Return the model with one token much likelier, whatever came before: its row of the head points along every
    state."""
    with torch.no_grad():
        states = prompts(model).last_BD
        head(model).linear.weight[token] = strength * states.mean(0) / states.mean(0).norm()
    return model


def test_equal_seeds_give_equal_answers_and_other_seeds_others(tiny_model: PreTrainedModel) -> None:
    assert torch.equal(sample(tiny_model).ids_BT, sample(tiny_model).ids_BT)
    assert not torch.equal(sample(tiny_model).ids_BT, sample(tiny_model, seed=1).ids_BT)


def test_siblings_stand_side_by_side_and_differ(tiny_model: PreTrainedModel) -> None:
    found = sample(tiny_model)
    assert found.question_B.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len({tuple(ids) for ids in found.ids_BT[:4].tolist()}) > 1


def test_log_probs_are_those_of_the_whole_sequence_at_both_temperatures(tiny_model: PreTrainedModel) -> None:
    found = sample(tiny_model, temperature=0.7, never=(5, 6))
    for row, question in enumerate(found.question_B.tolist()):
        asked = list(range(20, 20 + LENGTHS[question]))
        answer = found.ids_BT[row][found.response_BT[row]]
        ids = torch.tensor([[*asked, *answer.tolist()]])
        with torch.no_grad():
            logits = tiny_model(input_ids=ids, use_cache=False).logits[0, len(asked) - 1 : -1]
        plain = logits.log_softmax(-1).gather(-1, answer[:, None])[:, 0]
        logits[:, [5, 6]] = -torch.inf
        drawn = (logits / 0.7).log_softmax(-1).gather(-1, answer[:, None])[:, 0]
        assert (found.plain_logp_BT[row][: len(answer)] - plain).abs().max() < 1e-5
        assert (found.logp_BT[row][: len(answer)] - drawn).abs().max() < 1e-5


def test_temperature_zero_takes_the_likeliest_token(tiny_model: PreTrainedModel) -> None:
    found = sample(tiny_model, temperature=0.0)
    assert all(len({tuple(ids) for ids in found.ids_BT[4 * q : 4 * q + 4].tolist()}) == 1 for q in range(3))
    with torch.no_grad():
        likeliest = head(tiny_model)(prompts(tiny_model).last_BD).argmax(-1)
    assert found.ids_BT[::4, 0].tolist() == likeliest.tolist()


def test_tokens_that_must_not_be_sampled_never_are(tiny_model: PreTrainedModel) -> None:
    model = loud(tiny_model, 5, 50.0)
    assert (sample(model).ids_BT[:, 0] == 5).any()
    assert not (sample(model, never=(5,)).ids_BT == 5).any()


def test_any_end_token_ends_an_answer_and_belongs_to_it(tiny_model: PreTrainedModel) -> None:
    found = sample(tiny_model, eos=tuple(range(0, 200, 3)))
    assert not found.truncated_B.all()
    for row in range(found.num_rows):
        length = int(found.response_BT[row].sum())
        answer = found.ids_BT[row, :length].tolist()
        assert found.response_BT[row, :length].all()
        assert all(token % 3 for token in answer[:-1])
        assert (answer[-1] % 3 == 0) is not bool(found.truncated_B[row])


def test_an_answer_that_ends_at_the_limit_is_not_truncated(tiny_model: PreTrainedModel) -> None:
    found = sample(tiny_model, max_new_tokens=1, eos=tuple(range(0, 200, 2)))
    assert found.ids_BT.shape == (12, 1)
    assert found.truncated_B.tolist() == [token % 2 == 1 for token in found.ids_BT[:, 0].tolist()]


def test_no_end_token_at_all_truncates_every_answer_at_the_limit(tiny_model: PreTrainedModel) -> None:
    found = sample(tiny_model, eos=())
    assert found.truncated_B.all()
    assert found.response_BT.all()
    assert found.ids_BT.shape == (12, 6)


def test_sampled_frequencies_follow_the_distribution(tiny_model: PreTrainedModel) -> None:
    with torch.no_grad():
        expected = head(tiny_model)(prompts(tiny_model).last_BD[:1])[0].softmax(-1)
    config = RolloutConfig(num_siblings=20_000, max_new_tokens=1)
    one = extend(tiny_model, None, [Segment(tuple(range(20, 27)))])[1]
    drawn = sample_rollouts(tiny_model, one, config, (2,), (), Generator().manual_seed(0)).ids_BT[:, 0]
    found = torch.bincount(drawn, minlength=len(expected)) / 20_000
    assert (found - expected).abs().max() < 5 * (expected.max() / 20_000).sqrt()


def test_a_token_as_likely_as_all_others_together_is_drawn_every_second_time(tiny_model: PreTrainedModel) -> None:
    """A sampler 25 % sharper than its log-probs would draw it more often, or less."""
    one = extend(tiny_model, None, [Segment(tuple(range(20, 27)))])[1]
    with torch.no_grad():
        state_D, token = one.last_BD[0], 9
        logits = head(tiny_model)(one.last_BD)[0]
        weight = head(tiny_model).linear.weight
        others = torch.cat([logits[:token], logits[token + 1 :]]).logsumexp(0)
        weight[token] += (others - logits[token]) * state_D / state_D.dot(state_D)
        expected = head(tiny_model)(one.last_BD)[0].softmax(-1)[token]
    config = RolloutConfig(num_siblings=20_000, max_new_tokens=1)
    drawn = sample_rollouts(tiny_model, one, config, (2,), (), Generator().manual_seed(0)).ids_BT[:, 0]
    assert expected == pytest.approx(0.5, abs=0.1)
    assert float((drawn == token).float().mean()) == pytest.approx(float(expected), abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_siblings": 0},
            "num_siblings is 0; it must be a whole number at least 1. Leave it out for the default, 8.",
        ),
        (
            {"temperature": -1.0},
            "temperature is -1.0; it must be a number at least 0. Leave it out for the default, 1.0.",
        ),
        (
            {"max_new_tokens": 0},
            "max_new_tokens is 0; it must be a whole number at least 1 tokens. Leave it out for the default, 2048.",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        RolloutConfig(**settings)  # type: ignore[arg-type]
    assert str(refusal.value) == message
