"""Make trainer/weights/drawn-vlm: a small Qwen3-VL with its own tokenizer that reads drawn scenes.
It answers well when it sees a crop beside the picture and poorly from the picture alone: there is something to learn.

Run:      python tools/train_drawn_vlm.py --out trainer/weights/drawn-vlm
Expected: about 8 minutes on one core, and the table that stands in the weights' card.

Four phases, on scenes of splits that no view set has:
1. the vision tower alone learns to name the sign under each of its tokens (colour, shape, both digits), then is frozen
2. questions about small scenes with two or three signs, a third of them with a crop beside the picture
3. questions about middling scenes, only until the picture alone begins to be read
4. questions about scenes of full size, most with a crop: the crop becomes easy, the picture alone stays hard

S images   Q questions   N image tokens   K numbers of a patch   R answer tokens"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from trainer.engine.families import ImageFeatures, encode_images
from trainer.engine.head import head
from trainer.engine.prefix import Segment, branch, extend
from trainer.engine.prompts import Pixels, Processor, Prompt, PromptConfig, process_images, stack_pixels, write_prompt
from viewgen.boxes import Box
from viewgen.source.demo import (
    COLOURS,
    SHAPES,
    TOKEN_PX,
    DemoConfig,
    Scene,
    SceneQuestion,
    Sign,
    ask,
    draw_scene,
    scene_stream,
)

Model = Qwen3VLForConditionalGeneration
SEED = 7
NAMES = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad", "unk")
SPECIAL = [f"<|{name}|>" for name in NAMES]
WORDS = ["What", "number", "is", "on", "the", "Is", "left", "right", "of", "above", "below", "or", "none"]
TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['content'] is string %}{{ message['content'] }}{%- else %}{%- for part in message['content'] %}"
    "{%- if part['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{%- else %}{{ part['text'] }}"
    "{%- endif %}{%- endfor %}{%- endif %}{{ '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)
PROMPT = PromptConfig(view="")
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
COLOUR_NAMES, SHAPE_NAMES = sorted(COLOURS), sorted(SHAPES)
VIEW_TOKENS = 3
"""Tokens along a crop's side."""


def make_processor() -> Processor:
    """Word-level tokenizer (a space belongs to the word behind it, digits stand alone) and Qwen's image processor."""
    pieces = {*"0123456789?.:", "Ċ", "user", "assistant", "system", *(f"Ġ{digit}" for digit in range(10))}
    pieces |= {form for word in [*WORDS, *COLOURS, *SHAPES] for form in (word, f"Ġ{word}")}
    vocab = {piece: number for number, piece in enumerate([*SPECIAL, *sorted(pieces)])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<|unk|>"))
    words = pre_tokenizers.Split(Regex(r" ?\p{N}| ?\p{L}+|\s| ?[^\s\p{L}\p{N}]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|unk|>",
        additional_special_tokens=[token for token in SPECIAL if token != "<|unk|>"],
        model_max_length=2048,
    )
    patches: dict[str, Any] = {"patch_size": TOKEN_PX // 2, "merge_size": 2, "temporal_patch_size": 1}
    size = {"shortest_edge": 256, "longest_edge": 2**20}
    images = Qwen2VLImageProcessor(**patches, size=size, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    return Qwen3VLProcessor(images, fast, Qwen3VLVideoProcessor(**patches), chat_template=TEMPLATE)  # type: ignore[no-untyped-call]


def make_model(processor: Processor) -> Qwen3VLForConditionalGeneration:
    """1.0M parameters: a vision tower of 2 layers x 64, a language model of 4 layers x 128."""
    token = processor.tokenizer.convert_tokens_to_ids
    ids = {f"{name}_id": token(f"<|{text}|>") for name, text in TOKEN_NAMES.items()}
    text = {
        "vocab_size": len(processor.tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "rope_parameters": ROPE,
        "eos_token_id": processor.tokenizer.eos_token_id,
        "pad_token_id": processor.tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_heads": 4,
        "patch_size": TOKEN_PX // 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        "out_hidden_size": 128,
        "num_position_embeddings": 400,
        "deepstack_visual_indexes": [],
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    model = Qwen3VLForConditionalGeneration(config)
    eos, pad = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad)  # type: ignore[no-untyped-call]
    return model


TOKEN_NAMES = {f"{name}_token": f"{name}_pad" for name in ("image", "video")}
TOKEN_NAMES |= {f"vision_{end}_token": f"vision_{end}" for end in ("start", "end")}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A scene, its questions about one sign each, and its pictures after the frozen tower."""

    scene: Scene
    questions: tuple[SceneQuestion, ...]
    full: Pixels
    crops: tuple[Pixels, ...]


def cell(sign: Sign) -> tuple[int, int]:
    """Column and row of the token that a sign stands in."""
    return (sign.box.x0 + sign.box.x1) // (2 * TOKEN_PX), (sign.box.y0 + sign.box.y1) // (2 * TOKEN_PX)


def crop_box(sign: Sign) -> Box:
    column, row = cell(sign)
    return Box(*(TOKEN_PX * n for n in (column - 1, row - 1, column + 2, row + 2)))


def draw(processor: Processor, split: str, num: int, config: DemoConfig) -> list[Drawn]:
    """Scenes with their processed pictures."""
    drawn = []
    for index in range(num):
        stream = scene_stream(SEED, split, index)
        scene = draw_scene(stream, config)
        questions = tuple(q for q in ask(stream, scene, 0) if q.kind == "attribute")
        crops = [scene.image.crop(crop_box(q.signs[0]).as_tuple()) for q in questions]
        full, *views = process_images(processor, [scene.image, *crops])
        drawn.append(Drawn(scene, questions, full, tuple(views)))
    return drawn


def labels(scene: Scene) -> Tensor:
    """(rows, columns, 4): colour (the last means no sign), shape and digits of the sign centred in each token."""
    side = scene.image.width // TOKEN_PX
    found = torch.full((side, side, 4), -100)
    found[..., 0] = len(COLOUR_NAMES)
    for sign in scene.signs:
        column, row = cell(sign)
        digits = int(sign.number[0]) - 1, int(sign.number[1])
        found[row, column] = torch.tensor([COLOUR_NAMES.index(sign.colour), SHAPE_NAMES.index(sign.shape), *digits])
    return found


def teach_tower(
    model: Model, scenes: Sequence[Drawn], processor: Processor, steps: int, batch: int = 32, lr: float = 2e-3
) -> None:
    """Phase 1: every token of the tower names the sign centred in it; a quarter of the steps see crops."""
    sizes = {"colour": len(COLOUR_NAMES) + 1, "shape": len(SHAPE_NAMES), "tens": 9, "ones": 10}
    heads = nn.ModuleDict({name: nn.Linear(128, size) for name, size in sizes.items()})
    trained = [*model.model.visual.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.01, fused=True)
    rng, no_sign_less = np.random.default_rng(1), torch.tensor([1.0] * len(COLOUR_NAMES) + [0.2])
    for step in range(steps):
        set_lr(optimizer, lr, step, steps, warmup=50)
        chosen = [scenes[i] for i in rng.integers(0, len(scenes), batch)]
        if step % 4 == 3:
            pictures, target = random_crops(chosen, processor, rng)
        else:
            pictures, target = [s.full for s in chosen], torch.cat([labels(s.scene).flatten(0, 1) for s in chosen])
        inputs = stack_pixels(pictures)
        tower = model.model.visual
        out = tower(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"], return_dict=True).pooler_output
        signs = target[:, 1] >= 0
        loss = F.cross_entropy(heads["colour"](out), target[:, 0], no_sign_less)
        for number, name in enumerate(list(sizes)[1:], 1):
            loss = loss + F.cross_entropy(heads[name](out[signs]), target[signs, number])
        descend(optimizer, loss, trained)
        if step % 100 == 99:
            right = {
                n: (heads[n](out[signs]).argmax(-1) == target[signs, i]).float().mean() for i, n in enumerate(sizes)
            }
            print(f"tower {step + 1}", {name: round(float(share), 2) for name, share in right.items()}, flush=True)


def random_crops(
    scenes: Sequence[Drawn], processor: Processor, rng: np.random.Generator
) -> tuple[list[Pixels], Tensor]:
    images: list[Image.Image] = []
    target: list[Tensor] = []
    for drawn in scenes:
        most = drawn.scene.image.width // TOKEN_PX - VIEW_TOKENS
        x, y = (int(n) for n in rng.integers(0, most + 1, 2))
        corners = (x * TOKEN_PX, y * TOKEN_PX, (x + VIEW_TOKENS) * TOKEN_PX, (y + VIEW_TOKENS) * TOKEN_PX)
        images.append(drawn.scene.image.crop(corners))
        target.append(labels(drawn.scene)[y : y + VIEW_TOKENS, x : x + VIEW_TOKENS].flatten(0, 1))
    return process_images(processor, images), torch.cat(target)


def set_lr(
    optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int, warmup: int, decay: bool = True
) -> None:
    cosine = 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2 if decay else 1.0
    for group in optimizer.param_groups:
        group["lr"] = peak * min(1.0, (step + 1) / warmup) * cosine


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, trained: Sequence[nn.Parameter]) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()


@torch.no_grad()
def look(model: Model, scenes: Sequence[Drawn]) -> dict[Pixels, ImageFeatures]:
    """Every picture of the scenes through the frozen tower, once."""
    seen: dict[Pixels, ImageFeatures] = {}
    for drawn in scenes:
        images = [drawn.full, *drawn.crops]
        seen.update(zip(images, encode_images(model, images), strict=True))
    return seen


@dataclass(frozen=True, slots=True)
class Asked:
    """A question put to the model: which picture of the batch, its prompt, and the answer's tokens."""

    image: int
    prompt: Prompt
    answer: tuple[int, ...]
    how: str


def logits_of(
    model: Model, seen: dict[Pixels, ImageFeatures], images: Sequence[Drawn], asked: Sequence[Asked]
) -> tuple[Tensor, Tensor]:
    """Logits (R, V) and tokens (R) of all answers; each picture is read once for its questions."""
    cut = asked[0].prompt.image_ends[0]
    assert all(q.prompt.image_ends[0] == cut for q in asked), "pictures of one batch are of one size"
    first = {q.image: q.prompt.ids[:cut] for q in asked}
    _, trunk = extend(model, None, [Segment(first[i], (seen[drawn.full],)) for i, drawn in enumerate(images)])
    rows = branch(trunk, torch.tensor([q.image for q in asked]))
    segments = [Segment((*q.prompt.ids[cut:], *q.answer), tuple(seen[p] for p in q.prompt.images[1:])) for q in asked]
    hidden, _ = extend(model, rows, segments)
    starts = [len(q.prompt.ids) - cut - 1 for q in asked]
    places = [
        (row, start + k) for row, (start, q) in enumerate(zip(starts, asked, strict=True)) for k in range(len(q.answer))
    ]
    row_R, column_R = torch.tensor(places).T
    return head(model)(hidden[row_R, column_R]), torch.tensor([token for q in asked for token in q.answer])


def pose(processor: Processor, image: int, drawn: Drawn, number: int, view: Pixels | None, how: str) -> Asked:
    question = drawn.questions[number]
    prompt = write_prompt(processor, PROMPT, drawn.full, question.text, [] if view is None else [view])
    answer = (*processor.tokenizer(question.answer)["input_ids"], processor.tokenizer.eos_token_id)
    return Asked(image, prompt, answer, how)


def right_answers(logits: Tensor, tokens: Tensor, asked: Sequence[Asked]) -> list[bool]:
    """Whether every token of each answer is the likeliest."""
    hits = (logits.argmax(-1) == tokens).tolist()
    ends = np.cumsum([len(q.answer) for q in asked])
    return [all(hits[end - len(q.answer) : end]) for end, q in zip(ends, asked, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A stretch of question answering."""

    name: str
    steps: int
    images: int
    questions: int
    crop_share: float
    """Questions asked beside a crop of their sign."""
    wrong_share: float = 0.0
    """Questions asked beside another sign's crop: only who compares colours finds the answer in the picture."""
    decay: bool
    lr: float = 2e-3
    until: float = 1.0
    """Share right from the picture alone, over 20 steps, at which the lesson ends."""


def teach_answers(model: Model, scenes: Sequence[Drawn], processor: Processor, lesson: Lesson) -> None:
    """Phases 2 and 3: cross-entropy of the answers' tokens; the tower stays as it is."""
    model.model.visual.requires_grad_(False)
    seen = look(model, scenes)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lesson.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    rng, tally = np.random.default_rng(lesson.steps), defaultdict(list)
    for step in range(lesson.steps):
        set_lr(optimizer, lesson.lr, step, lesson.steps, warmup=100 if not lesson.decay else 10, decay=lesson.decay)
        images = [scenes[i] for i in rng.integers(0, len(scenes), lesson.images)]
        asked = []
        for image, drawn in enumerate(images):
            for number in rng.permutation(len(drawn.questions))[: lesson.questions]:
                other = (int(number) + 1) % len(drawn.crops)
                shown = {"crop": drawn.crops[number], "wrong crop": drawn.crops[other], "full": None}
                shares = (lesson.crop_share, lesson.wrong_share, 1 - lesson.crop_share - lesson.wrong_share)
                how = str(rng.choice(list(shown), p=shares))
                asked.append(pose(processor, image, drawn, int(number), shown[how], how))
        logits, tokens = logits_of(model, seen, images, asked)
        descend(optimizer, F.cross_entropy(logits, tokens), trained)
        for q, right in zip(asked, right_answers(logits, tokens, asked), strict=True):
            tally[q.how].append(right)
        if step % 20 == 19:
            right_share = {how: round(float(np.mean(rights)), 2) for how, rights in tally.items()}
            print(f"{lesson.name} {step + 1}", right_share, flush=True)
            if right_share["full"] >= lesson.until:
                break
            tally.clear()


@torch.no_grad()
def measure(model: Model, scenes: Sequence[Drawn], processor: Processor) -> dict[str, float]:
    """Share of answers whose every token is the likeliest: from the picture alone, with the right and a wrong crop."""
    seen, tally = look(model, scenes), defaultdict(list)
    for drawn in scenes:
        asked = []
        for number in range(len(drawn.questions)):
            wrong = drawn.crops[(number + 1) % len(drawn.crops)]
            for how, view in (
                ("full image", None),
                ("with crop", drawn.crops[number]),
                ("with another sign's crop", wrong),
            ):
                asked.append(pose(processor, 0, drawn, number, view, how))
        for q, right in zip(asked, right_answers(*logits_of(model, seen, [drawn], asked), asked), strict=True):
            tally[q.how].append(right)
    return {how: round(float(np.mean(rights)), 3) for how, rights in tally.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the drawn scenes' vision-language model.")
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    began = time.monotonic()
    processor = make_processor()
    model = make_model(processor)
    large = draw(processor, "pretrain", 1500, DemoConfig())
    teach_tower(model, large, processor, steps=500)
    small = draw(processor, "pretrain-small", 1500, DemoConfig(edge_px=80, min_signs=2, max_signs=3))
    teach_answers(model, small, processor, SMALL)
    middle = draw(processor, "pretrain-middle", 800, DemoConfig(edge_px=112, min_signs=3, max_signs=4))
    teach_answers(model, middle, processor, MIDDLE)
    teach_answers(model, large, processor, LARGE)
    held_out = draw(processor, "pretrain-test", 300, DemoConfig())
    # Half the bytes on disk; whoever loads it asks for float32.
    model.to(torch.float16).save_pretrained(out)  # type: ignore[arg-type]
    processor.save_pretrained(out)
    model.to(torch.float32)  # type: ignore[arg-type]
    figures = measure(model, held_out, processor)
    minutes = round((time.monotonic() - began) / 60, 1)
    print(json.dumps({"accuracy": figures, "scenes": len(held_out), "minutes": minutes, "seed": SEED}))


SMALL = Lesson(name="small", steps=500, images=24, questions=3, crop_share=0.3, wrong_share=0.1, decay=False)
MIDDLE = Lesson(
    name="middle", steps=400, images=16, questions=4, crop_share=0.3, wrong_share=0.1, decay=False, until=0.5
)
LARGE = Lesson(name="large", steps=120, images=10, questions=6, crop_share=0.85, decay=True, lr=1e-3)

if __name__ == "__main__":
    main()
