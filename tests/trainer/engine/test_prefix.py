"""The engine against the plain computation: every row on its own, the whole sequence at once, no cache."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainer.engine.families import can_pack_siblings, can_pad_inside, disable_sharing, encode_images
from trainer.engine.head import head
from trainer.engine.load import Loaded
from trainer.engine.logprobs import Scores
from trainer.engine.models import Student, Teacher
from trainer.engine.prefix import Segment, Trunk, branch, extend, extend_ids, extend_siblings, join
from trainer.engine.prompts import Pixels, Prompt, common_length, stack_pixels
from trainer.rollouts import Rollouts

Paint = Callable[[PreTrainedModel, int, int, int], Pixels]
IMAGE, START, END = 5, 3, 4
NATS = 1e-5


def placed(image: Pixels) -> list[int]:
    """Return the tokens of an image; tiles are announced one by one, as the models that cut images into tiles have it."""
    shape = image.inputs["pixel_values"].shape if "pixel_values" in image.inputs else ()
    tiles = shape[1] if len(shape) == 5 and "image_sizes" not in image.inputs else 1
    return [START, *([IMAGE] * (image.num_tokens // tiles) + [11]) * tiles][:-1]


def prompt(question: Sequence[int], images: Sequence[Pixels], path: tuple[str, ...] = ()) -> Prompt:
    """User's image, question, and views behind it; ends like a chat template does."""
    ids, ends = [1, 10], []
    for number, image in enumerate(images):
        ids += placed(image)
        ends.append(len(ids))
        ids += [END, *question] if number == 0 else [END]
    return Prompt((*ids, 2, 7, 8), tuple(images), tuple(ends), path)


def plain_logp(model: PreTrainedModel, asked: Prompt, answer: Sequence[int]) -> Tensor:
    """log p of each answer token by one forward pass over the whole sequence."""
    ids = torch.tensor([[*asked.ids, *answer]])
    kinds = (ids == IMAGE).int()
    inputs = {**stack_pixels(asked.images), "mm_token_type_ids": kinds, "token_type_ids": kinds}
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    known = inspect.signature(model.forward).parameters
    given = {name: tensor for name, tensor in inputs.items() if name in known}
    logits = model(input_ids=ids, use_cache=False, **given).logits[0]
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


@dataclass
class World:
    """A model's images and the questions about them."""

    full: Pixels
    crop: Pixels
    away: Pixels
    prompts: list[Prompt]

    @classmethod
    def of(cls, model: PreTrainedModel, paint: Paint) -> World:
        sizes = [(8, 8), (6, 8), (4, 4), (4, 6)]
        full, other, crop, away = (paint(model, seed, *size) for seed, size in enumerate(sizes))
        prompts = [
            prompt([20, 21, 22], [full], ("a", "1", "")),
            prompt([20, 23], [full], ("a", "2", "")),
            prompt([30, 31, 32, 33], [other], ("b", "3", "")),
            prompt([20, 21, 22], [full, crop], ("a", "1", "crop")),
            prompt([20, 21, 22], [full, away], ("a", "1", "away")),
        ]
        return cls(full, crop, away, prompts)


@pytest.fixture
def world(tiny_model: PreTrainedModel, paint: Paint) -> World:
    return World.of(tiny_model, paint)


ANSWERS = [[40, 41, 42], [43], [44, 45], [46, 47, 48, 49], [2], [50, 51]]
ASKED = [0, 0, 1, 2, 3, 4]
"""The third answer's question differs from the first's in length, the fourth's image in size."""


def student_of(model: PreTrainedModel, train_vision: bool = False) -> Student:
    return Student(Loaded(model, None, "tiny"), train_vision)


def expected(model: PreTrainedModel, world: World) -> list[Tensor]:
    return [plain_logp(model, world.prompts[q], answer) for q, answer in zip(ASKED, ANSWERS, strict=True)]


def test_log_probs_equal_those_of_whole_sequences_first_and_last_token_included(
    tiny_model: PreTrainedModel, world: World
) -> None:
    student = student_of(tiny_model)
    given = rollouts(ANSWERS, ASKED)
    with torch.no_grad():
        shared = student.score(student.read(world.prompts), given, None).logp_BT
        for row, plain in enumerate(expected(tiny_model, world)):
            assert (shared[row, : len(plain)] - plain).abs().max() < NATS
            assert shared[row, len(plain) :].abs().sum() == 0


def gradient(model: PreTrainedModel) -> Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad and p.grad is not None])
    model.zero_grad()
    return found


def plain_gradient(model: PreTrainedModel, world: World) -> Tensor:
    torch.autograd.backward(torch.stack([logp.mean() for logp in expected(model, world)]).sum())
    return gradient(model)


@pytest.mark.parametrize("train_vision", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 4, 0])
def test_gradients_equal_those_of_whole_sequences(
    tiny_model: PreTrainedModel, world: World, micro_batch: int, train_vision: bool
) -> None:
    student = student_of(tiny_model, train_vision)
    given = rollouts(ANSWERS, ASKED, width=6)
    with student.reading(world.prompts) as read:
        for part in given.micro_batches(micro_batch):
            some = given.rows(part)
            logp_BT = student.score(read, some, None).logp_BT
            torch.autograd.backward((logp_BT.sum(1) / some.response_BT.sum(1)).sum())
    shared = gradient(tiny_model)
    plain = plain_gradient(tiny_model, world)
    assert shared.shape == plain.shape
    assert (shared - plain).norm() / plain.norm() < 1e-5


def test_a_checkpointed_prefix_has_the_gradient_of_a_plain_one(sharing_model: PreTrainedModel, paint: Paint) -> None:
    world, given, found = World.of(sharing_model, paint), rollouts(ANSWERS, ASKED), []
    loaded = Loaded(sharing_model, None, "tiny")
    for checkpoint in (False, True):
        student = Student(loaded, train_vision=False, checkpoint_prefix=checkpoint)
        with student.reading(world.prompts) as read:
            for part in given.micro_batches(4):
                torch.autograd.backward(student.score(read, given.rows(part), None).logp_BT.sum())
        found.append(gradient(sharing_model))
    assert (found[1] - found[0]).norm() / found[0].norm() < 1e-5


def test_bfloat16_is_within_its_rounding_of_whole_sequences(sharing_model: PreTrainedModel, paint: Paint) -> None:
    world, given = World.of(sharing_model, paint), rollouts(ANSWERS, ASKED)
    student = student_of(sharing_model.to(torch.bfloat16))  # type: ignore[arg-type]
    with torch.no_grad():
        shared = student.score(student.read(world.prompts), given, None).logp_BT
        for row, plain in enumerate(expected(sharing_model, world)):
            assert (shared[row, : len(plain)] - plain.float()).abs().max() < 0.05


def test_teacher_scores_both_views_as_whole_sequences_would(tiny_model: PreTrainedModel, world: World) -> None:
    teacher = Teacher(Loaded(tiny_model, None, "tiny"))
    given = rollouts(ANSWERS[:2], [0, 0])
    scores = teacher.score(given, world.prompts[3:4], world.prompts[4:5], micro_batch=1)
    for found, asked in zip(scores, world.prompts[3:], strict=True):
        assert isinstance(found, Scores)
        assert not found.logp_BT.requires_grad
        for row, answer in enumerate(ANSWERS[:2]):
            plain = plain_logp(tiny_model, asked, answer)
            assert (found.logp_BT[row, : len(answer)] - plain).abs().max() < NATS


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_each_question_is_scored_under_views_of_its_own(
    tiny_named: Callable[[str], PreTrainedModel], paint: Paint, micro_batch: int
) -> None:
    model = tiny_named("qwen3_vl")
    world, asked = World.of(model, paint), [0, 0, 1, 2, 2]
    views = ([world.prompts[3], world.prompts[1], world.prompts[2]], [world.prompts[q] for q in (4, 2, 0)])
    scores = Teacher(Loaded(model, None, "tiny")).score(rollouts(ANSWERS[:5], asked), *views, micro_batch)
    for found, prompts in zip(scores, views, strict=True):
        for row, (question, answer) in enumerate(zip(asked, ANSWERS[:5], strict=True)):
            plain = plain_logp(model, prompts[question], answer)
            assert (found.logp_BT[row, : len(answer)] - plain).abs().max() < NATS


SIBLINGS = [
    [40, 41, 42],
    [43],
    [44, 45],
    [46, 47, 48, 49, 52, 53],
    [2],
    [50, 51],
    [54, 55, 56],
    [57],
    [58, 59, 60],
    [61],
]
UNORDERED = [0, 2, 0, 1, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_siblings_read_side_by_side_are_read_as_if_each_were_alone(
    sharing_model: PreTrainedModel, paint: Paint, attention: str
) -> None:
    sharing_model.set_attn_implementation(attention)
    world, given = World.of(sharing_model, paint), rollouts(SIBLINGS, UNORDERED)
    with torch.no_grad():
        read = student_of(sharing_model).read(world.prompts[:3])
        together = extend_siblings(sharing_model, read, given.question_B, given.ids_BT, given.response_BT)
        for row, (question, answer) in enumerate(zip(UNORDERED, SIBLINGS, strict=True)):
            alone = extend(sharing_model, branch(read, torch.tensor([question])), [Segment(tuple(answer))])[0][0]
            assert (together[row, : len(answer)] - alone).abs().max() < 1e-5


def test_siblings_of_a_prompt_share_its_row_until_they_are_longer_than_it(
    sharing_model: PreTrainedModel, paint: Paint
) -> None:
    read = student_of(sharing_model).read(World.of(sharing_model, paint).prompts[:1])
    length = read.real_BP.shape[1] // 4
    given = rollouts([[40] * length] * 9, [0] * 9)
    shapes: list[tuple[int, ...]] = []
    sharing_model.model.register_forward_pre_hook(
        lambda _, __, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    extend_siblings(sharing_model, read, given.question_B, given.ids_BT, given.response_BT)
    assert shapes == [(3, 4 * length) if can_pack_siblings(sharing_model) else (9, length)]
    extend_siblings(sharing_model, read, given.question_B[:3], given.ids_BT[:3], given.response_BT[:3])
    assert shapes[1] == ((1, 3 * length) if can_pack_siblings(sharing_model) else (3, length))


def test_answers_longer_than_their_prompts_are_read_as_any_others(sharing_model: PreTrainedModel, paint: Paint) -> None:
    world, asked = World.of(sharing_model, paint), [2, 0, 2]
    answers = [[40 + k % 20 for k in range(2 * len(world.prompts[0].ids))], [2], [43, 44]]
    student = student_of(sharing_model)
    with torch.no_grad():
        shared = student.score(student.read(world.prompts), rollouts(answers, asked), None).logp_BT
        for row, (question, answer) in enumerate(zip(asked, answers, strict=True)):
            plain = plain_logp(sharing_model, world.prompts[question], answer)
            assert (shared[row, : len(answer)] - plain).abs().max() < NATS


@pytest.mark.parametrize(("attention", "takes_masks"), [("sdpa", True), ("eager", True), ("flash_attention_2", False)])
def test_siblings_share_a_row_only_where_attention_takes_a_mask_of_our_own(
    tiny_named: Callable[[str], PreTrainedModel], attention: str, takes_masks: bool
) -> None:
    model = tiny_named("qwen3_vl")
    model.config.get_text_config(decoder=True)._attn_implementation = attention
    assert can_pack_siblings(model) is takes_masks


def test_a_model_told_to_read_apart_has_the_gradient_of_one_that_shares(
    sharing_model: PreTrainedModel, paint: Paint
) -> None:
    apart = copy.deepcopy(sharing_model)
    disable_sharing(apart)
    world, given = World.of(sharing_model, paint), rollouts(ANSWERS, ASKED)
    found = []
    for model in (sharing_model, apart):
        student = student_of(model)
        with student.reading(world.prompts) as read:
            assert (read.cache is None) is (model is apart)
            torch.autograd.backward(student.score(read, given, None).logp_BT.sum())
        found.append(gradient(model))
    assert (found[1] - found[0]).norm() / found[0].norm() < 1e-5


def test_every_shared_token_is_read_once(
    sharing_model: PreTrainedModel, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    import trainer.engine.tree

    def counted(model: PreTrainedModel, prefix: object, segments: Sequence[Segment]) -> object:
        read.extend(len(segment.ids) for segment in segments)
        return extend(model, prefix, segments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.engine.tree, "extend", counted)
    world = World.of(sharing_model, paint)
    student_of(sharing_model).read(world.prompts)
    image, other = len(world.prompts[0].ids) - 3, len(world.prompts[2].ids)
    # Image a with the token 20 once; each question's rest; each view with its tail; image b with its question.
    tails = 3 + (1 + 3) + (len(placed(world.crop)) + 1 + 3) + (len(placed(world.away)) + 1 + 3)
    assert sum(read) == image + tails + other


def still(seed: int, num_tokens: int) -> Pixels:
    return Pixels({"pixel_values": torch.full((1, 1), float(seed))}, "", num_tokens)


def test_prompts_about_other_images_share_nothing_behind_the_first_placeholder() -> None:
    full, twin, crop = still(0, 16), still(1, 16), still(2, 4)
    assert common_length([prompt([20], [full]), prompt([20], [twin])]) == 3
    assert common_length([prompt([20], [full]), prompt([20], [full, crop])]) == len(prompt([20], [full]).ids) - 3


def test_a_cut_never_runs_through_an_image() -> None:
    full, crop, away = still(0, 16), still(2, 4), still(3, 6)
    small, large = prompt([20], [full, crop]), prompt([20], [full, away])
    assert common_length([small, large]) == small.image_ends[1] - crop.num_tokens


def test_a_cut_never_runs_between_the_tiles_of_an_image() -> None:
    tiled = Pixels({"pixel_values": torch.zeros(1, 4, 3, 2, 2)}, "", 16)
    one, other = prompt([20], [tiled]), prompt([20], [still(0, 7)])
    assert one.image_starts == (3,)
    assert one.image_ends == (3 + 16 + 3,)
    assert common_length([one, other]) == 3


def test_a_branch_leaves_its_prefix_as_it_was(tiny_model: PreTrainedModel, world: World) -> None:
    read = student_of(tiny_model).read(world.prompts[:1])
    twins = branch(read, torch.tensor([0, 0]))
    tokens = torch.tensor([[40, 41], [42, 43]])
    with torch.no_grad():
        first = extend_ids(tiny_model, twins, tokens, torch.ones_like(tokens, dtype=torch.bool))[0]
        twins = branch(read, torch.tensor([0, 0]))
        again = extend_ids(tiny_model, twins, tokens, torch.ones_like(tokens, dtype=torch.bool))[0]
    assert torch.equal(first, again)


@pytest.mark.parametrize("num_tokens", [1, 2])
def test_reading_on_leaves_a_prefix_as_it_was(tiny_model: PreTrainedModel, world: World, num_tokens: int) -> None:
    read, more = student_of(tiny_model).read(world.prompts[:1]), Segment(tuple(range(40, 40 + num_tokens)))
    with torch.no_grad():
        first, again = (extend(tiny_model, read, [more])[0] for _ in range(2))
    assert torch.equal(first, again)


def test_joined_prefixes_of_other_lengths_go_on_as_they_would_alone(tiny_model: PreTrainedModel, world: World) -> None:
    student = student_of(tiny_model)
    alone = [student.read([asked]) for asked in world.prompts[:3]]
    tokens = torch.tensor([[40, 41]])
    real = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        together = extend_ids(tiny_model, join(alone), tokens.expand(3, -1), real.expand(3, -1))[0]
        for row, prefix in enumerate(alone):
            assert (extend_ids(tiny_model, prefix, tokens, real)[0][0] - together[row]).abs().max() < 1e-5


def test_the_trunk_runs_backward_once_whatever_the_number_of_micro_batches(
    tiny_model: PreTrainedModel, world: World
) -> None:
    passes = []
    prefix = student_of(tiny_model).read(world.prompts[:1])
    prefix.last_BD.register_hook(lambda _: passes.append(1))  # type: ignore[no-untyped-call]
    trunk = Trunk(prefix)
    for _ in range(3):
        torch.autograd.backward(head(tiny_model)(trunk.tip.last_BD).sum())
    assert not passes
    trunk.backward()
    assert len(passes) == 1


def test_rows_are_padded_before_what_continues_them_only_where_attention_can_skip_the_padding(
    sharing_model: PreTrainedModel,
) -> None:
    kinds = set(getattr(sharing_model.config.get_text_config(), "layer_types", None) or ["full_attention"])
    assert can_pad_inside(sharing_model) is (kinds == {"full_attention"})


def test_an_image_is_looked_at_once_however_often_it_is_shown(sharing_model: PreTrainedModel, paint: Paint) -> None:
    student, world = student_of(sharing_model), World.of(sharing_model, paint)
    first = student.image_features(world.prompts)
    assert len(first) == 4
    assert all(student.image_features(world.prompts)[image] is first[image] for image in first)
    with torch.no_grad():
        alone = encode_images(sharing_model, [world.full])[0]
    together = first[world.full].embeds
    assert alone.embeds is not None
    assert together is not None
    assert (together - alone.embeds).abs().max() < 1e-5


def test_pictures_of_as_many_tokens_and_other_shapes_have_positions_of_their_own(
    tiny_named: Callable[[str], PreTrainedModel], paint: Paint
) -> None:
    model = tiny_named("qwen3_vl")
    features = encode_images(model, [paint(model, 1, 4, 8), paint(model, 1, 8, 4)])
    segments = [Segment((20, 3, *[5] * 8, 4, 21, 22), (feature,)) for feature in features]
    with torch.no_grad():
        together = extend(model, None, segments)[1]
        alone = [extend(model, None, [segment])[1] for segment in segments]
    assert together.position_B.tolist() == [int(one.position_B[0]) for one in alone]
    assert (together.last_BD - torch.cat([one.last_BD for one in alone])).abs().max() < 1e-5
    assert (together.last_BD[0] - together.last_BD[1]).abs().max() > 1e-4
