"""Log-probs and divergences from hidden states: a chunk of logits at a time changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.engine.head import LogitHead
from trainer.engine.logprobs import Scores, all_rows, spread, token_terms
from trainer.loss import exact_divergence


def terms(hidden: Tensor, at_once: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    monkeypatch.setattr("trainer.engine.logprobs.LOGITS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    student, teacher = LogitHead(nn.Linear(8, 30, bias=False)), LogitHead(nn.Linear(8, 30, bias=False))
    for layer in (student, teacher):
        nn.init.normal_(layer.linear.weight, generator=generator)
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


def test_values_go_back_to_their_places_and_padding_is_zero() -> None:
    mask_BT = torch.tensor([[True, True, False], [True, False, False]])
    assert spread(torch.tensor([1.0, 2.0, 3.0]), mask_BT).tolist() == [[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]]


def test_scores_are_cut_into_rows_and_put_together_again() -> None:
    output = LogitHead(nn.Linear(2, 3))
    scores = Scores(
        logp_BT=torch.arange(6.0).reshape(3, 2), hidden_BTD=torch.arange(12.0).reshape(3, 2, 2), output=output
    )
    parts = [scores.rows(slice(0, 1)), scores.rows(slice(1, 3))]
    again = all_rows(parts)
    assert torch.equal(again.logp_BT, scores.logp_BT)
    assert torch.equal(again.hidden_BTD, scores.hidden_BTD)
    assert again.output is output


def test_no_token_has_no_terms() -> None:
    output = LogitHead(nn.Linear(4, 5, bias=False))
    logp_N, divergence_N = token_terms(output, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 1.0, None)
    assert logp_N.shape == (0,)
    assert divergence_N is None


@pytest.mark.fault(23)
def test_of_two_padded_vocabularies_the_shared_rows_are_compared() -> None:
    torch.manual_seed(0)
    long, short = LogitHead(nn.Linear(4, 9, bias=False)), LogitHead(nn.Linear(4, 7, bias=False))
    states_ND, ids_N = torch.randn(5, 4), torch.arange(5)
    for student, teacher in ((long, short), (short, long)):
        _, divergence_N = token_terms(student, states_ND, ids_N, 1.0, (teacher, states_ND))
        expected_N = exact_divergence(student(states_ND)[:, :7], teacher(states_ND)[:, :7])
        assert divergence_N is not None
        assert torch.allclose(divergence_N, expected_N)
