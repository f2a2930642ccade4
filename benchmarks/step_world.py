"""What step_speed.py runs: a random model, questions about noise, and each part of a step in two ways.
- ours: the trainer's own code.
- naive: whole sequences, all G siblings of a question in one forward pass; no padding, as all prompts are of one length.
  An image's features are handed to it ready-made, once per image, as ours has them: what differs is the prefix alone.
Leaves out: clocks, tables and plots (step_speed.py), the peer (step_peer.py).

Q questions   G siblings   B = Q * G rows   P prompt tokens   C view tokens   T answer tokens   L tokens of a row
D hidden size   N = G * T"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Generator, Tensor
from transformers import PreTrainedModel, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from trainer.batches import Batch
from trainer.engine.families import family_of, model_features
from trainer.engine.head import head
from trainer.engine.load import Loaded, ModelConfig, frozen_copy, load
from trainer.engine.logprobs import token_terms
from trainer.engine.models import Reader, Student, Teacher
from trainer.engine.prefix import branch
from trainer.engine.prompts import Processor, Prompt, PromptConfig, process_images, write_prompt
from trainer.loss import Denominators, LossConfig, StudentTerms, distill_loss
from trainer.rollouts import Rollouts

NUM_WORDS = 1024
TOKEN_PX = 16
ANSWER = 24
QUESTION = "What number is on the {colour} sign?"
COLOURS = ("red", "green", "blue", "yellow")
GRIDS = {300: (16, 17), 600: (24, 25), 1200: (34, 35), 2400: (48, 50)}
"""Image tokens down and across for about so many prompt tokens."""
VIEW = (10, 10)
PROMPT = PromptConfig(view="")
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A student, its teacher, and questions about one image each."""

    student: Student
    teacher: Teacher
    pictures: tuple[tuple[Image.Image, Image.Image, Image.Image], ...]
    """Full image, positive and negative view of each question."""

    def batch(self) -> Batch:
        """Process the images and write the prompts, as the trainer's data stream does."""
        processor, prompts = self.student.processor, []
        for number, pictures in enumerate(self.pictures):
            full, *views = process_images(processor, pictures)
            question = QUESTION.format(colour=COLOURS[number])
            paths = [(str(number), str(number), kind) for kind in ("", "pos", "neg")]
            shown: list[list[Any]] = [[], *([view] for view in views)]
            prompts.append(
                [write_prompt(processor, PROMPT, full, question, s, p) for s, p in zip(shown, paths, strict=True)]
            )
        student, positive, negative = zip(*prompts, strict=True)
        return Batch(samples=(), student=student, positive=positive, negative=negative, position=0)


def make_model() -> PreTrainedModel:
    """Return a random Qwen3-VL of 4.06 million parameters."""
    text: dict[str, Any] = {
        "vocab_size": NUM_WORDS,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [12, 10, 10],
            "mrope_interleaved": True,
        },
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_heads": 4,
        "patch_size": TOKEN_PX // 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        "out_hidden_size": 256,
        "num_position_embeddings": 400,
        "deepstack_visual_indexes": [0],
    }
    ids: dict[str, Any] = {"image_token_id": 5, "video_token_id": 6}
    ids |= {"vision_start_token_id": 3, "vision_end_token_id": 4}
    torch.manual_seed(SEED)
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **ids))


def make_processor(eos: bool = False) -> Processor:
    """Return the shipped student's, with words added up to a vocabulary that a head has work with."""
    processor = load("embedded:drawn-vlm", ModelConfig(device="cpu"), "model.student").processor
    tokenizer = processor.tokenizer
    tokenizer.add_tokens([f"word{i}" for i in range(NUM_WORDS - len(tokenizer))])
    tokenizer.model_max_length = 4096
    if not eos:
        tokenizer.eos_token = None
    return processor


def make_world(model: PreTrainedModel, processor: Processor, num_questions: int, prompt_tokens: int) -> World:
    noise = np.random.default_rng(SEED)

    def picture(grid: tuple[int, int]) -> Image.Image:
        size = (grid[0] * TOKEN_PX, grid[1] * TOKEN_PX, 3)
        return Image.fromarray(noise.integers(0, 256, size, dtype=np.uint8))

    loaded = Loaded(model, processor, "random")
    student = Student(loaded, train_vision=False)
    pictures = [(picture(GRIDS[prompt_tokens]), picture(VIEW), picture(VIEW)) for _ in range(num_questions)]
    return World(student=student, teacher=Teacher(frozen_copy(loaded), student), pictures=tuple(pictures))


def random_rollouts(num_questions: int, num_siblings: int) -> Rollouts:
    """Answers of T words each."""
    num_rows = num_questions * num_siblings
    ids_BT = torch.randint(100, NUM_WORDS, (num_rows, ANSWER), generator=Generator().manual_seed(SEED))
    nothing_BT = torch.zeros(num_rows, ANSWER)
    return Rollouts(
        ids_BT=ids_BT,
        response_BT=torch.ones_like(ids_BT, dtype=torch.bool),
        question_B=torch.arange(num_questions).repeat_interleave(num_siblings),
        logp_BT=nothing_BT,
        plain_logp_BT=nothing_BT,
        truncated_B=torch.ones(num_rows, dtype=torch.bool),
        temperature=1.0,
    )


def ours_update(world: World, batch: Batch, rollouts: Rollouts, micro_batch: int = 0) -> None:
    denominators = Denominators.of(rollouts.response_BT)
    with world.student.reading(batch.student) as prompts:
        for part in rollouts.micro_batches(micro_batch):
            some = rollouts.rows(part)
            backward(world.student.score(prompts, some, None), some, denominators)


def naive_update(world: World, batch: Batch, rollouts: Rollouts) -> None:
    denominators = Denominators.of(rollouts.response_BT)
    for question, prompt in enumerate(batch.student):
        some = siblings(rollouts, question, len(batch.student))
        backward(StudentTerms(logp_BT=whole_logp(world.student, prompt, some)), some, denominators)


def backward(terms: StudentTerms, rollouts: Rollouts, denominators: Denominators) -> None:
    """Run the trainer's own loss against a constant teacher."""
    weight_B, pos_BT = torch.ones(rollouts.num_rows), torch.full(rollouts.ids_BT.shape, -5.0)
    loss = distill_loss(terms, pos_BT, rollouts.response_BT, weight_B, denominators, LossConfig())
    torch.autograd.backward(loss.total)


def naive_scoring(world: World, batch: Batch, rollouts: Rollouts) -> list[Float[Tensor, "B T"]]:
    """Log-probs under the positive and under the negative views."""
    num = len(batch.student)
    with torch.no_grad():
        return [
            torch.cat([whole_logp(world.teacher, p, siblings(rollouts, q, num)) for q, p in enumerate(prompts)])
            for prompts in (batch.positive, batch.negative)
        ]


def ours_prefill(world: World, batch: Batch, num_siblings: int) -> None:
    with torch.no_grad():
        read = world.student.read(batch.student)
        branch(read, torch.arange(read.num_rows).repeat_interleave(num_siblings))


def naive_prefill(world: World, batch: Batch, num_siblings: int) -> None:
    with torch.no_grad():
        for prompt in batch.student:
            ids_GP = torch.tensor(prompt.ids).expand(num_siblings, -1)
            whole_hidden(world.student, prompt, ids_GP, use_cache=True)


def siblings(rollouts: Rollouts, question: int, num_questions: int) -> Rollouts:
    size = rollouts.num_rows // num_questions
    return rollouts.rows(slice(question * size, (question + 1) * size))


def whole_logp(reader: Reader, prompt: Prompt, rollouts: Rollouts) -> Float[Tensor, "G T"]:
    """Log-probs from whole sequences, prompt and answer, of all siblings in one forward pass."""
    prompt_GP = torch.tensor(prompt.ids).expand(rollouts.num_rows, -1)
    hidden_GLD = whole_hidden(reader, prompt, torch.cat([prompt_GP, rollouts.ids_BT[:, :-1]], 1), use_cache=False)
    hidden_ND = hidden_GLD[:, len(prompt.ids) - 1 :].flatten(0, 1)
    logp_N, _ = token_terms(head(reader.model), hidden_ND, rollouts.ids_BT.flatten(), rollouts.temperature, None)
    return logp_N.view(rollouts.ids_BT.shape)


def whole_hidden(reader: Reader, prompt: Prompt, ids_GL: Int[Tensor, "G L"], use_cache: bool) -> Float[Tensor, "G L D"]:
    """Hidden states of rows that begin with the same prompt, its image's placeholders among their tokens."""
    family, seen = family_of(reader.model), reader.image_features([prompt])
    assert family is not None
    pictures = [seen[image] for image in prompt.images]
    grids = torch.cat([image.inputs["image_grid_thw"] for image in prompt.images])
    out = reader.model.model(
        input_ids=ids_GL,
        mm_token_type_ids=(ids_GL == reader.model.config.image_token_id).int(),
        image_grid_thw=grids.repeat(len(ids_GL), 1),
        mm_encoder_outputs=model_features(family, pictures * len(ids_GL)),
        use_cache=use_cache,
    )
    hidden_GLD: Tensor = out.last_hidden_state
    return hidden_GLD


def gradient(world: World) -> Float[Tensor, " weights"]:
    """Return the student's gradient and clear it."""
    found = [p.grad.flatten() for p in world.student.model.parameters() if p.grad is not None]
    world.student.model.zero_grad()
    return torch.cat(found)


def agreement(world: World, batch: Batch, rollouts: Rollouts) -> dict[str, float]:
    """How far ours is from naive: log-probs in nats, the gradient relative to its length."""
    ours_update(world, batch, rollouts)
    ours = gradient(world)
    naive_update(world, batch, rollouts)
    naive = gradient(world)
    scores = world.teacher.score(rollouts, batch.positive, batch.negative)
    apart = [s.logp_BT - n for s, n in zip(scores, naive_scoring(world, batch, rollouts), strict=True)]
    return {
        "gradient": float((ours - naive).norm() / naive.norm()),
        "nats": max(float(d.abs().max()) for d in apart),
    }
