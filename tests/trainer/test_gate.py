"""The gate against numbers that can be checked by hand, against the equations written out in plain Python, and against
the inputs that break such code: pads, dead tokens, ties, groups of one.

Shapes: B rollouts, T response positions. Units: nats."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import trainer.gate
from trainer.gate import Gate, GateConfig, answer_tokens, gate_rollouts
from viewgen.errors import SettingsError
from viewgen.settings import settings_from

INF, NAN = math.inf, math.nan
GARBAGE = 1e9
Rollout = tuple[Sequence[float], Sequence[float]]
"""Log-probs of one answer's tokens under the positive and under the negative view."""


def padded(rows: Sequence[Sequence[float]], fill: float, width: int, dtype: torch.dtype) -> Tensor:
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=dtype)


def weigh(
    *rollouts: Rollout,
    question: Sequence[int] | None = None,
    config: GateConfig | None = None,
    extra_pad: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Gate:
    """Return the gate of these rollouts, by default siblings of one question; the pad holds garbage."""
    width = max(len(pos) for pos, _ in rollouts) + extra_pad
    lengths = torch.tensor([len(pos) for pos, _ in rollouts])
    return gate_rollouts(
        padded([pos for pos, _ in rollouts], GARBAGE, width, dtype),
        padded([neg for _, neg in rollouts], NAN, width, dtype),
        torch.arange(width) < lengths[:, None],
        torch.tensor(question or [0] * len(rollouts)),
        config or GateConfig(),
    )


def with_scores(*scores: float) -> list[Rollout]:
    """One-token rollouts whose gaps, hence scores, are these."""
    return [([0.0], [-score]) for score in scores]


def test_the_rollout_that_needs_the_evidence_outweighs_its_sibling() -> None:
    seeing = ([-1.0, -1.0], [-3.0, -3.0])  # 2 nats per token come from the evidence
    guessing = ([-1.0, -1.0], [-1.0, -1.0])  # none do
    gate = weigh(seeing, guessing)
    assert gate.score_B.tolist() == [2.0, 0.0]
    assert gate.weight_B.tolist() == pytest.approx([2.0, 0.0], abs=1e-5)  # mean 1, deviation 1: one above, one below


def test_four_siblings_by_hand() -> None:
    gate = weigh(*with_scores(1.0, 2.0, 3.0, 6.0), config=GateConfig(alpha=0.5, w_max=3.0))
    # mean 3; squares 4 + 1 + 0 + 9 = 14, over 4 siblings (not 3): variance 3.5, deviation 1.870829
    assert gate.advantage_B.tolist() == pytest.approx([-1.069045, -0.534522, 0.0, 1.603567], abs=2e-6)
    assert gate.weight_B.tolist() == pytest.approx([0.465478, 0.732739, 1.0, 1.801784], abs=2e-6)


def test_weights_are_clipped_at_both_ends() -> None:
    config = GateConfig(w_min=0.7, w_max=1.2)
    gate = weigh(*with_scores(1.0, 2.0, 3.0, 6.0), config=config)  # unclipped: -0.07, 0.47, 1, 2.60
    assert gate.weight_B.tolist() == pytest.approx([0.7, 0.7, 1.0, 1.2], abs=1e-9)


def test_eps_is_added_to_the_deviation() -> None:
    gate = weigh(*with_scores(3.0, 1.0), config=GateConfig(eps=1.0))  # deviation 1, so 1 / (1 + 1)
    assert gate.advantage_B.tolist() == [0.5, -0.5]
    assert gate.weight_B.tolist() == [1.5, 0.5]


def test_gamma_prices_what_the_evidence_takes_away() -> None:
    mixed = ([-1.0, -1.0], [-5.0, -2.0]), ([-1.0, -3.0], [-5.0, -1.0])  # gaps 4, 1 and 4, -2
    assert weigh(*mixed).score_B.tolist() == [2.5, 1.0]
    assert weigh(*mixed, config=GateConfig(gamma=0.5)).score_B.tolist() == [2.5, 1.5]
    assert weigh(*mixed, config=GateConfig(gamma=3.0)).score_B.tolist() == [2.5, -1.0]


def test_the_score_is_a_mean_over_the_answers_own_tokens() -> None:
    short = ([-1.0], [-3.0])
    long = ([-1.0] * 4, [-3.0] * 4)
    gate = weigh(short, long)
    assert gate.score_B.tolist() == [2.0, 2.0]
    assert gate.weight_B.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("position", [0, 3], ids=["first", "last"])
def test_the_first_and_the_last_token_count_like_any_other(position: int) -> None:
    pos, neg = [-1.0, -2.0, -1.5, -0.5], [-2.0, -2.0, -2.0, -2.0]  # gaps 1, 0, 0.5, 1.5
    before = weigh((pos, neg)).score_B.item()
    assert before == 0.75
    pos[position] += 0.8
    gate = weigh((pos, neg))
    assert gate.score_B.item() == pytest.approx(0.95, abs=1e-12)
    assert gate.gap_BT[0, position].item() == pytest.approx([1.8, 0, 0, 2.3][position], abs=1e-12)


def test_an_end_token_that_shares_its_id_with_the_pad_is_scored() -> None:
    end = pad = 7
    ids = torch.tensor([[3, 4, end, pad], [3, end, pad, pad]])
    lengths = torch.tensor([3, 2])
    response_BT = torch.arange(4) < lengths[:, None]  # the end token inside, the pads outside, though the ids are equal
    pos_BT = torch.where(ids == end, -0.5, -1.0).double()
    neg_BT = torch.where(ids == end, -3.5, -1.0).double()
    gate = gate_rollouts(pos_BT, neg_BT, response_BT, torch.tensor([0, 0]), GateConfig())
    assert gate.score_B.tolist() == [1.0, 1.5]  # 3 nats of the end token, over 3 and over 2 tokens
    assert gate.kept_BT.tolist() == response_BT.tolist()


def test_the_pad_never_leaks() -> None:
    rollouts: list[Rollout] = [
        ([-1.0, -2.0], [-1.5, -4.0]),
        ([-1.0], [-1.25]),
        ([-0.5, -0.5, -0.5], [-0.5, -1.0, -3.0]),
    ]
    narrow, wide = weigh(*rollouts), weigh(*rollouts, extra_pad=50)
    assert torch.allclose(narrow.weight_B, wide.weight_B, rtol=0, atol=1e-12)
    assert wide.num_dropped_B.tolist() == [0, 0, 0]
    assert not wide.gap_BT[:, 3:].any()
    assert not wide.kept_BT[:, 3:].any()


def test_a_group_of_one_weighs_exactly_1() -> None:
    gate = weigh(([-1.0], [-9.0]), ([-3.0], [-1.0]), question=[4, 8])
    assert gate.weight_B.tolist() == [1.0, 1.0]
    assert gate.advantage_B.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_tied_group_weighs_exactly_1(dtype: torch.dtype) -> None:
    # 0.1 three times over has a rounded mean of 0.10000000000000002: the tie must not hang on that
    gate = weigh(*with_scores(0.1, 0.1, 0.1), dtype=dtype)
    assert gate.weight_B.tolist() == [1.0, 1.0, 1.0]
    gate = weigh(*with_scores(*[-7.3] * 7), dtype=dtype)
    assert gate.weight_B.tolist() == [1.0] * 7


def test_scores_that_differ_by_rounding_alone_stay_near_1() -> None:
    gate = weigh(*with_scores(0.3, 0.1 + 0.2))
    assert gate.score_B[0] != gate.score_B[1]
    assert gate.weight_B.tolist() == pytest.approx([1.0, 1.0], abs=1e-9)


def test_equal_views_weigh_exactly_1() -> None:
    same = [[-1.0, -2.5, -INF], [-0.1, -0.2, -0.3], [-4.0, -5.0, -6.0]]
    gate = weigh(*[(row, row) for row in same])
    assert gate.weight_B.tolist() == [1.0, 1.0, 1.0]
    assert gate.score_B.tolist() == [0.0, 0.0, 0.0]


def test_alpha_0_turns_the_gate_off() -> None:
    assert weigh(*with_scores(0.0, 5.0, -3.0), config=GateConfig(alpha=0.0)).weight_B.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("pos", "neg"),
    [(-INF, -INF), (-INF, -1.0), (-1.0, -INF), (NAN, -1.0), (-1.0, NAN)],
    ids=["both impossible", "positive impossible", "negative impossible", "positive nan", "negative nan"],
)
def test_a_gap_that_is_not_finite_is_dropped_and_counted(pos: float, neg: float) -> None:
    broken = ([-1.0, pos, -2.0], [-2.0, neg, -5.0])  # the finite gaps are 1 and 3
    sound = ([-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0])
    gate = weigh(broken, sound)
    assert gate.num_dropped_B.tolist() == [1, 0]
    assert gate.score_B.tolist() == [2.0, 0.0]  # over the two gaps that are left, not over three
    assert gate.gap_BT[0].tolist() == [1.0, 0.0, 3.0]
    assert gate.kept_BT[0].tolist() == [True, False, True]
    assert gate.weight_B.isfinite().all()


@pytest.mark.parametrize("silent", [([NAN, NAN], [-1.0, -1.0]), ([], [])], ids=["no finite gap", "empty answer"])
def test_a_rollout_that_says_nothing_weighs_1_and_leaves_its_siblings_alone(silent: Rollout) -> None:
    siblings = with_scores(1.0, 2.0, 3.0, 6.0)
    alone = weigh(*siblings)
    gate = weigh(*siblings[:2], silent, *siblings[2:])
    assert gate.weight_B[2].item() == 1.0
    assert gate.score_B[2].item() == 0.0
    assert gate.advantage_B[2].item() == 0.0
    assert gate.weight_B[[0, 1, 3, 4]].tolist() == alone.weight_B.tolist()
    assert gate.num_dropped_B.tolist() == [0, 0, len(silent[0]), 0, 0]


def test_a_group_where_nothing_is_finite_weighs_1() -> None:
    gate = weigh(([NAN], [-1.0]), ([-INF], [-INF]), ([], []))
    assert gate.weight_B.tolist() == [1.0, 1.0, 1.0]
    assert gate.advantage_B.tolist() == [0.0, 0.0, 0.0]


def test_groups_do_not_see_each_other() -> None:
    one, two = with_scores(0.0, 1.0, 5.0), with_scores(100.0, 90.0, -40.0)
    together = weigh(*one, *two, question=[3, 3, 3, 9, 9, 9])
    assert together.weight_B.tolist() == [*weigh(*one).weight_B.tolist(), *weigh(*two).weight_B.tolist()]


def test_the_order_of_rows_does_not_matter() -> None:
    rng = random.Random(5)
    rollouts = with_scores(*[rng.gauss(0, 2) for _ in range(12)])
    question = [0, 0, 0, 0, 7, 7, 7, -2, -2, -2, -2, -2]
    straight = weigh(*rollouts, question=question).weight_B
    for _ in range(5):
        order = rng.sample(range(12), 12)
        shuffled = weigh(*[rollouts[i] for i in order], question=[question[i] for i in order]).weight_B
        assert torch.allclose(shuffled, straight[order], rtol=0, atol=1e-12)


def weights_in_plain_python(
    rollouts: Sequence[Rollout], question: Sequence[int], config: GateConfig
) -> tuple[list[float], list[int]]:
    """Equations 17-20 once more, with the standard library alone."""
    scores: list[float | None] = []
    dropped = []
    for pos, neg in rollouts:
        gaps = [p - n for p, n in zip(pos, neg, strict=True)]
        finite = [gap for gap in gaps if math.isfinite(gap)]
        dropped.append(len(gaps) - len(finite))
        priced = [gap if gap >= 0 else config.gamma * gap for gap in finite]
        scores.append(statistics.fmean(priced) if priced else None)
    weights = []
    for score, name in zip(scores, question, strict=True):
        group = [s for s, other in zip(scores, question, strict=True) if other == name and s is not None]
        if score is None:
            weights.append(1.0)
            continue
        advantage = (score - statistics.fmean(group)) / (statistics.pstdev(group) + config.eps)
        weights.append(min(max(1 + config.alpha * advantage, config.w_min), config.w_max))
    return weights, dropped


def random_rollout(rng: random.Random) -> Rollout:
    def logp() -> float:
        return -INF if rng.random() < 0.05 else -rng.expovariate(0.5)

    length = rng.randrange(0, 9)
    return [logp() for _ in range(length)], [logp() for _ in range(length)]


@pytest.mark.parametrize("seed", range(40))
def test_random_batches_agree_with_the_equations_in_plain_python(seed: int) -> None:
    rng = random.Random(seed)
    rollouts = [([-1.0] * 9, [-1.5] * 9)] + [random_rollout(rng) for _ in range(rng.randrange(1, 20))]
    question = [rng.randrange(-2, 3) for _ in rollouts]
    config = GateConfig(
        alpha=rng.choice([0.0, 0.5, 1.0, 3.0]),
        gamma=rng.choice([0.0, 0.5, 1.0, 2.0]),
        w_min=rng.choice([0.0, 0.5, 1.0]),
        w_max=rng.choice([1.0, 2.0, 5.0]),
        eps=rng.choice([1e-6, 0.1]),
    )
    gate = weigh(*rollouts, question=question, config=config, extra_pad=rng.randrange(3))
    weights, dropped = weights_in_plain_python(rollouts, question, config)
    assert gate.weight_B.tolist() == pytest.approx(weights, abs=1e-9)
    assert gate.num_dropped_B.tolist() == dropped


def test_no_gradient_passes_through_the_gate() -> None:
    pos_BT = torch.tensor([[-1.0, -2.0], [-3.0, -0.5]], requires_grad=True)
    neg_BT = torch.tensor([[-2.0, -2.0], [-1.0, -0.5]], requires_grad=True)
    response_BT = torch.ones(2, 2, dtype=torch.bool)
    gate = gate_rollouts(pos_BT, neg_BT, response_BT, torch.tensor([0, 0]), GateConfig())
    for value in (gate.gap_BT, gate.score_B, gate.advantage_B, gate.weight_B):
        assert not value.requires_grad


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_short_floats_are_widened_before_they_are_subtracted(given: torch.dtype, computed: torch.dtype) -> None:
    pos, neg = -0.00390625, -8.0625  # both exact in 8 bits; their difference needs 12
    gate = weigh(([pos], [neg]), dtype=given)
    assert gate.gap_BT.dtype == gate.score_B.dtype == gate.weight_B.dtype == computed
    assert gate.gap_BT.item() == 8.05859375


def test_the_inputs_are_left_as_they_were() -> None:
    pos_BT, neg_BT = torch.tensor([[-1.0, NAN]]), torch.tensor([[-2.0, -INF]])
    response_BT = torch.tensor([[True, True]])
    gate_rollouts(pos_BT, neg_BT, response_BT, torch.tensor([0]), GateConfig())
    assert pos_BT[0, 0] == -1.0
    assert pos_BT[0, 1].isnan()
    assert neg_BT.tolist() == [[-2.0, -INF]]
    assert response_BT.all()


def test_a_batch_without_positions_weighs_1() -> None:
    assert weigh(([], []), ([], [])).weight_B.tolist() == [1.0, 1.0]


def test_the_shapes_are_checked() -> None:
    with pytest.raises(Exception, match="neg_BT"):
        gate_rollouts(
            torch.zeros(2, 3),
            torch.zeros(2, 4),
            torch.ones(2, 3, dtype=torch.bool),
            torch.zeros(2).long(),
            GateConfig(),
        )


def test_the_defaults_are_the_papers() -> None:
    assert GateConfig() == GateConfig(alpha=1.0, gamma=1.0, w_min=0.0, w_max=2.0, eps=1e-6)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"alpha": -0.1}, "alpha is -0.1; it must be a number at least 0. Leave it out for the default, 1.0."),
        ({"alpha": INF}, "alpha is inf; it must be a number at least 0. Leave it out for the default, 1.0."),
        ({"alpha": NAN}, "alpha is nan; it must be a number at least 0. Leave it out for the default, 1.0."),
        ({"gamma": -1.0}, "gamma is -1.0; it must be a number at least 0. Leave it out for the default, 1.0."),
        ({"gamma": INF}, "gamma is inf; it must be a number at least 0. Leave it out for the default, 1.0."),
        ({"w_min": 1.5}, "w_min is 1.5; it must be a number from 0 to 1. Leave it out for the default, 0.0."),
        ({"w_min": -0.5}, "w_min is -0.5; it must be a number from 0 to 1. Leave it out for the default, 0.0."),
        ({"w_max": 0.5}, "w_max is 0.5; it must be a number at least 1. Leave it out for the default, 2.0."),
        ({"w_max": INF}, "w_max is inf; it must be a number at least 1. Leave it out for the default, 2.0."),
        ({"eps": 0.0}, "eps is 0.0; it must be a number above 0 nats per token. Leave it out for the default, 1e-06."),
        ({"eps": INF}, "eps is inf; it must be a number above 0 nats per token. Leave it out for the default, 1e-06."),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        GateConfig(**setting)
    assert str(refusal.value).startswith(said)


def test_the_bounds_themselves_are_allowed() -> None:
    config = GateConfig(alpha=0.0, gamma=0.0, w_min=1.0, w_max=1.0)
    assert weigh(*with_scores(1.0, 4.0), config=config).weight_B.tolist() == [1.0, 1.0]


def test_a_misspelt_gate_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"run\.toml: unknown setting 'w_mim'\. Did you mean 'w_min'\?"):
        settings_from({"w_mim": 0.5}, GateConfig, "run.toml")


def test_a_wrong_value_from_a_file_is_one_line() -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_from({"alpha": -1}, GateConfig, "run.toml")
    assert (
        str(refusal.value)
        == "run.toml: alpha is -1.0; it must be a number at least 0. Leave it out for the default, 1.0."
    )


@pytest.mark.parametrize("record", [kind for kind in vars(trainer.gate).values() if is_dataclass(kind)], ids=str)
def test_records_are_frozen_and_filled_by_name(record: Any) -> None:
    assert record.__dataclass_params__.frozen
    assert all(field.kw_only for field in fields(record))
    assert "__slots__" in vars(record)


@pytest.mark.fault(12)
def test_the_answer_stands_behind_the_last_thought() -> None:
    """1 begins a thought, 2 ends it, 7 and 8 are words, 0 is padding."""
    rows = [
        ([1, 7, 2, 8, 8], False, [0, 0, 0, 1, 1]),
        ([7, 2, 8, 8, 0], True, [0, 0, 1, 1, 0]),
        ([7, 7, 8, 0, 0], False, [1, 1, 1, 0, 0]),
        ([7, 7, 8, 0, 0], True, [0, 0, 0, 0, 0]),
        ([1, 7, 8, 0, 0], False, [0, 0, 0, 0, 0]),
        ([1, 2, 8, 1, 7], False, [0, 0, 0, 0, 0]),
        ([1, 2, 1, 2, 8], False, [0, 0, 0, 0, 1]),
        ([8, 1, 7, 2, 8], False, [0, 0, 0, 0, 1]),
        ([1, 2, 0, 0, 0], False, [0, 0, 0, 0, 0]),
    ]
    ids_BT = torch.tensor([ids for ids, _, _ in rows])
    opened_B = torch.tensor([opened for _, opened, _ in rows])
    wanted_BT = torch.tensor([wanted for _, _, wanted in rows]).bool()
    found_BT = answer_tokens(ids_BT, ids_BT != 0, opened_B, 1, 2)
    assert found_BT.tolist() == wanted_BT.tolist()
    # What lies in the padding is not read.
    noise_BT = ids_BT.where(ids_BT != 0, 2)
    assert answer_tokens(noise_BT, ids_BT != 0, opened_B, 1, 2).tolist() == wanted_BT.tolist()
