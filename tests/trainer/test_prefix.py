"""The engine against the plain computation: every row on its own, the whole sequence at once, no cache."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainer.models import Loaded, Scores, Student, Teacher
from trainer.prefix import Picture, Segment, Trunk, branch, extend, extend_ids, head, join, pads_freely, see
from trainer.prompts import Pixels, Prompt, common_length, stack_pixels
from trainer.rollout import Rollouts

IMAGE, START, END = 5, 3, 4
NATS = 1e-5


def pixels(seed: int, rows: int, columns: int) -> Pixels:
    noise = torch.randn(rows * columns, 48, generator=torch.Generator().manual_seed(seed))
    return Pixels(noise, torch.tensor([1, rows, columns]), "", rows * columns // 4)


def prompt(question: Sequence[int], images: Sequence[Pixels], path: tuple[str, ...] = ()) -> Prompt:
    """User's image, question, and views behind it; ends like a chat template does."""
    ids, ends = [1, 10], []
    for number, image in enumerate(images):
        ids += [START, *[IMAGE] * image.num_tokens]
        ends.append(len(ids))
        ids += [END, *question] if number == 0 else [END]
    return Prompt((*ids, 2, 7, 8), tuple(images), tuple(ends), path)


def plain_logp(model: PreTrainedModel, asked: Prompt, answer: Sequence[int]) -> Tensor:
    """log p of each answer token by one forward pass over the whole sequence."""
    ids = torch.tensor([[*asked.ids, *answer]])
    patches, grids = stack_pixels(asked.images)
    kinds = (ids == IMAGE).int()
    inputs = {"pixel_values": patches, "image_grid_thw": grids, "mm_token_type_ids": kinds}
    logits = model(input_ids=ids, use_cache=False, **inputs).logits[0]
    logp = logits.log_softmax(-1)[len(asked.ids) - 1 : -1]
    return torch.gather(logp, -1, torch.tensor(answer)[:, None])[:, 0]


def rollouts(answers: Sequence[Sequence[int]], question: Sequence[int], width: int = 0) -> Rollouts:
    longest = max(width, *(len(answer) for answer in answers))
    ids = torch.full((len(answers), longest), 9)
    real = torch.zeros(len(answers), longest, dtype=torch.bool)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)], real[row, : len(answer)] = torch.tensor(answer), True
    nothing = torch.zeros(len(answers), longest)
    return Rollouts(
        ids_BT=ids,
        response_BT=real,
        question_B=torch.tensor(question),
        logp_BT=nothing,
        plain_logp_BT=nothing,
        truncated_B=torch.zeros(len(answers), dtype=torch.bool),
        temperature=1.0,
    )


FULL, OTHER, CROP, AWAY = pixels(0, 8, 8), pixels(1, 6, 8), pixels(2, 4, 4), pixels(3, 4, 6)
PROMPTS = [
    prompt([20, 21, 22], [FULL], ("a", "1", "")),
    prompt([20, 23], [FULL], ("a", "2", "")),
    prompt([30, 31, 32, 33], [OTHER], ("b", "3", "")),
    prompt([20, 21, 22], [FULL, CROP], ("a", "1", "crop")),
    prompt([20, 21, 22], [FULL, AWAY], ("a", "1", "away")),
]
ANSWERS = [[40, 41, 42], [43], [44, 45], [46, 47, 48, 49], [2], [50, 51]]
ASKED = [0, 0, 1, 2, 3, 4]
"""The third answer's question differs from the first's in length, the fourth's image in size."""


def student_of(model: PreTrainedModel, train_vision: bool = False) -> Student:
    return Student(Loaded(model, None, "tiny"), train_vision)


def expected(model: PreTrainedModel) -> list[Tensor]:
    return [plain_logp(model, PROMPTS[q], answer) for q, answer in zip(ASKED, ANSWERS, strict=True)]


def test_log_probs_equal_those_of_whole_sequences_first_and_last_token_included(tiny_model: PreTrainedModel) -> None:
    student = student_of(tiny_model)
    given = rollouts(ANSWERS, ASKED)
    with torch.no_grad():
        shared = student.score(student.read(PROMPTS), given, None).logp_BT
        for row, plain in enumerate(expected(tiny_model)):
            assert (shared[row, : len(plain)] - plain).abs().max() < NATS
            assert shared[row, len(plain) :].abs().sum() == 0


def gradient(model: PreTrainedModel) -> Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad and p.grad is not None])
    model.zero_grad()
    return found


def plain_gradient(model: PreTrainedModel) -> Tensor:
    torch.autograd.backward(torch.stack([logp.mean() for logp in expected(model)]).sum())
    return gradient(model)


@pytest.mark.parametrize("train_vision", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 4, 0])
def test_gradients_equal_those_of_whole_sequences(
    tiny_model: PreTrainedModel, micro_batch: int, train_vision: bool
) -> None:
    student = student_of(tiny_model, train_vision)
    given = rollouts(ANSWERS, ASKED, width=6)
    with student.reading(PROMPTS) as read:
        for part in given.micro_batches(micro_batch):
            some = given.rows(part)
            logp_BT = student.score(read, some, None).logp_BT
            torch.autograd.backward((logp_BT.sum(1) / some.response_BT.sum(1)).sum())
    shared = gradient(tiny_model)
    plain = plain_gradient(tiny_model)
    assert shared.shape == plain.shape
    assert (shared - plain).norm() / plain.norm() < 1e-5


def test_teacher_scores_both_views_as_whole_sequences_would(tiny_model: PreTrainedModel) -> None:
    teacher = Teacher(Loaded(tiny_model, None, "tiny"))
    given = rollouts(ANSWERS[:2], [0, 0])
    scores = teacher.score(given, PROMPTS[3:4], PROMPTS[4:5], micro_batch=1)
    for found, asked in zip(scores, PROMPTS[3:], strict=True):
        assert isinstance(found, Scores)
        assert not found.logp_BT.requires_grad
        for row, answer in enumerate(ANSWERS[:2]):
            plain = plain_logp(tiny_model, asked, answer)
            assert (found.logp_BT[row, : len(answer)] - plain).abs().max() < NATS


def test_every_shared_token_is_read_once(tiny_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    import trainer.tree

    def counted(model: PreTrainedModel, prefix: object, segments: Sequence[Segment]) -> object:
        read.extend(len(segment.ids) for segment in segments)
        return extend(model, prefix, segments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.tree, "extend", counted)
    student_of(tiny_model).read(PROMPTS)
    image, other = len(PROMPTS[0].ids) - 3, len(PROMPTS[2].ids)
    # Image a with the token 20 once; each question's rest; each view with its tail; image b with its question.
    tails = 3 + (1 + 3) + (1 + CROP.num_tokens + 1 + 3) + (1 + AWAY.num_tokens + 1 + 3)
    assert sum(read) == image + tails + other


def test_prompts_about_other_images_share_nothing_behind_the_first_placeholder() -> None:
    twin = pixels(9, 8, 8)
    assert common_length([prompt([20], [FULL]), prompt([20], [twin])]) == 3
    assert common_length([prompt([20], [FULL]), prompt([20], [FULL, CROP])]) == len(prompt([20], [FULL]).ids) - 3


def test_a_cut_never_runs_through_an_image() -> None:
    small, large = prompt([20], [FULL, CROP]), prompt([20], [FULL, AWAY])
    assert common_length([small, large]) == small.image_ends[1] - CROP.num_tokens


def test_a_branch_leaves_its_prefix_as_it_was(tiny_model: PreTrainedModel) -> None:
    read = student_of(tiny_model).read(PROMPTS[:1])
    twins = branch(read, torch.tensor([0, 0]))
    tokens = torch.tensor([[40, 41], [42, 43]])
    with torch.no_grad():
        first = extend_ids(tiny_model, twins, tokens, torch.ones_like(tokens, dtype=torch.bool))[0]
        twins = branch(read, torch.tensor([0, 0]))
        again = extend_ids(tiny_model, twins, tokens, torch.ones_like(tokens, dtype=torch.bool))[0]
    assert torch.equal(first, again)


def test_joined_prefixes_of_other_lengths_go_on_as_they_would_alone(tiny_model: PreTrainedModel) -> None:
    student = student_of(tiny_model)
    alone = [student.read([asked]) for asked in PROMPTS[:3]]
    tokens = torch.tensor([[40, 41]])
    real = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        together = extend_ids(tiny_model, join(alone), tokens.expand(3, -1), real.expand(3, -1))[0]
        for row, prefix in enumerate(alone):
            assert (extend_ids(tiny_model, prefix, tokens, real)[0][0] - together[row]).abs().max() < 1e-5


def test_the_trunk_runs_backward_once_whatever_the_number_of_micro_batches(tiny_model: PreTrainedModel) -> None:
    passes = []
    prefix = student_of(tiny_model).read(PROMPTS[:1])
    prefix.last_BD.register_hook(lambda _: passes.append(1))  # type: ignore[no-untyped-call]
    trunk = Trunk(prefix)
    for _ in range(3):
        torch.autograd.backward(head(tiny_model)(trunk.tip.last_BD).sum())
    assert not passes
    trunk.backward()
    assert len(passes) == 1


def test_rows_are_padded_before_what_continues_them_only_where_attention_can_skip_the_padding(
    tiny_model: PreTrainedModel,
) -> None:
    linear = "linear_attention" in (getattr(tiny_model.config.get_text_config(), "layer_types", None) or [])
    assert pads_freely(tiny_model) is not linear


def test_an_image_is_looked_at_once_however_often_it_is_shown(tiny_model: PreTrainedModel) -> None:
    student = student_of(tiny_model)
    first = student.look(PROMPTS)
    assert set(first) == {FULL, OTHER, CROP, AWAY}
    assert all(student.look(PROMPTS)[image] is first[image] for image in first)
    patches, grids = stack_pixels([FULL])
    with torch.no_grad():
        alone: Picture = see(tiny_model, patches, grids)[0]
    assert (first[FULL].embeds - alone.embeds).abs().max() < 1e-5
