"""The Rollouts record: cut into micro-batches that cover every row once."""

from __future__ import annotations

import torch

from trainer.rollouts import Rollouts


def rollouts(num: int) -> Rollouts:
    return Rollouts(
        ids_BT=torch.arange(2 * num).reshape(num, 2),
        response_BT=torch.ones(num, 2, dtype=torch.bool),
        question_B=torch.arange(num) // 2,
        logp_BT=torch.zeros(num, 2),
        plain_logp_BT=torch.zeros(num, 2),
        truncated_B=torch.arange(num) % 2 == 0,
        temperature=1.0,
    )


def test_micro_batches_cover_every_row_once_and_the_last_may_be_smaller() -> None:
    assert [*rollouts(5).micro_batches(2)] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert [*rollouts(5).micro_batches(0)] == [slice(0, 5)]


def test_rows_are_cut_from_every_field() -> None:
    part = rollouts(6).rows(slice(2, 4))
    assert part.num_rows == 2
    assert part.ids_BT.tolist() == [[4, 5], [6, 7]]
    assert part.question_B.tolist() == [1, 1]
    assert part.truncated_B.tolist() == [True, False]
    assert part.temperature == 1.0
