"""Trains the small Grounding DINO that viewgen ships for drawn scenes.
Leaves out: measuring it (measure_drawn_dino.py); real photographs, for which any zero-shot detector can be named instead.

    python tools/train_drawn_dino.py viewgen/weights/drawn-dino     17 minutes of one thread of an AMD EPYC

A caption names up to ten signs, some of them not there; the words of a phrase should match the place of its sign, and
nothing else. The class is transformers' GroundingDinoForObjectDetection, unchanged. Its built-in loss is not used: it
gives the encoder's proposals no gradient, and counts the phrases of a batch so that images get each other's. Here each
cell at a sign's middle proposes that sign, and after each decoder layer the query that fits a sign best is its.
Shapes: B images, S cells of the feature map, Q queries, T tokens (L: with room for the longest caption), M signs asked
for and there in all images of the batch, N of these once per cell, D dimensions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import generalized_box_iou  # type: ignore[import-untyped]
from transformers import (
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
)

from viewgen.boxes import Box, clip
from viewgen.source.demo import COLOURS, SHAPES, DemoConfig, Scene, draw_scene, scene_stream

CELL_PX = 8
"""Side of a cell of the feature map in pixels of the image."""
NEAR_PX = 5.5
"""A cell no further than this from a sign's middle, along either axis, proposes it: four cells at most."""
MOST_PHRASES = 10
CROP_PX = tuple(range(48, 105, CELL_PX))
NAMES = tuple(product(COLOURS, SHAPES))
ARTICLES = ("the ", "the ", "the ", "", "a ")
PAD, UNKNOWN, START, END, MASK, DOT, QUESTION = 0, 100, 101, 102, 103, 1012, 1029
"""BERT's numbers: GroundingDino's class has those that part phrases written into its code."""
WORDS = ("a", "an", "the", "and", "of", "with", "number", "sign", *COLOURS, *SHAPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the training, with an optimizer and a one-cycle schedule of its own."""

    steps: int
    cycle: int
    """Steps that the schedule is made for; more than are taken ends it early."""
    learning_rate: float
    far_px: float
    """Of a cell between NEAR_PX and this from a sign's middle nothing is asked; one further off must not propose it."""
    share_there: float
    """Of phrases, those of signs that are there."""
    share_colour: float
    """Of phrases, those that share a sign's colour and may differ in shape; up to 0.8 follow those of its shape."""


STAGES = (
    Stage(steps=1200, cycle=1600, learning_rate=1e-3, far_px=13.0, share_there=0.6, share_colour=0.1),
    # Cells beside a sign's middle would use up the queries when all signs are asked for, and shapes come after colours.
    Stage(steps=500, cycle=500, learning_rate=6e-4, far_px=NEAR_PX, share_there=0.45, share_colour=0.25),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture and the signs in it: colour, shape, box. Signs that are neither there nor gone are `unsure`."""

    image: Image.Image
    signs: dict[tuple[str, str], Box]
    unsure: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    inputs: dict[str, Tensor]
    """What the model reads."""
    image_M: Int[Tensor, " M"]
    """The image of each sign that is asked for and there."""
    words_MT: Bool[Tensor, "M T"]
    """Its phrase's tokens."""
    box_M4: Float[Tensor, "M 4"]
    """Middle x and y, width and height, as shares of its image."""
    size_M2: Float[Tensor, "M 2"]
    """Width and height of its image in pixels."""


def train(out: Annotated[Path, typer.Argument(help="Folder to write.")], seed: int = 0) -> None:
    """Train from scratch and write a folder that transformers loads."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    processor = make_processor()
    model = make_model().train()
    first = 0
    for stage in STAGES:
        run_stage(stage, model, (draw_batch(processor, stage, seed, first + step) for step in range(stage.steps)))
        first += stage.steps
        model.save_pretrained(out)
        processor.save_pretrained(out)


def run_stage(stage: Stage, model: GroundingDinoForObjectDetection, batches: Iterable[Batch]) -> None:
    """AdamW without decay of norms and biases. Prints mean losses now and then."""
    weights = [[p for p in model.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False)]
    groups = [{"params": weights[0], "weight_decay": 0.01}, {"params": weights[1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, stage.learning_rate, stage.cycle, pct_start=0.1)
    start, recent = time.monotonic(), np.zeros(6)
    for step, batch in enumerate(batches):
        parts = losses(model, batch, stage.far_px)
        optimizer.zero_grad()
        torch.autograd.backward(parts.sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent = recent + (parts.detach().numpy() - recent) / min(step + 1, 50)
        if step % 50 == 49:
            shown = " ".join(f"{part:.3f}" for part in recent)
            typer.echo(f"step {step + 1}/{stage.steps}  losses {shown}  {time.monotonic() - start:.0f} s")


def make_model() -> GroundingDinoForObjectDetection:
    """Small, without dropout, and with first scores near the rate at which cells and words match."""
    width = 64
    layers = {"layers": 2, "ffn_dim": 2 * width, "attention_heads": 4}
    backbone = {"hidden_sizes": [32, 64], "depths": [2, 3], "num_stages": 2, "layer_scale_init_value": 0.0}
    text = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 2 * width}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    num_words = QUESTION + 1 + len(WORDS)
    config: dict[str, Any] = {
        "backbone_config": {"model_type": "convnext", "out_features": ["stage2"], **backbone},
        "text_config": {
            "model_type": "bert",
            "vocab_size": num_words,
            "max_position_embeddings": 256,
            **text,
            **dropout,
        },
        "d_model": width,
        "num_queries": 32,
        "num_feature_levels": 1,
        "dropout": 0.0,
        "fusion_droppath": 0.0,
        **{f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in layers.items()},
    }
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(**config))
    set_first_scores(model)
    return model


@torch.no_grad()
def set_first_scores(model: GroundingDinoForObjectDetection) -> None:
    """Scores are products of normed vectors without a bias: opposite biases of the norms stand in for one of -4."""
    inner = model.model
    text_norm = inner.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    shift = 2 / math.sqrt(inner.config.d_model)
    inner.enc_output_norm.bias.fill_(shift)
    inner.decoder.layer_norm.bias.fill_(shift)
    text_norm.bias.fill_(-shift)
    text_norm.weight.fill_(0.25)
    for layer in inner.encoder.layers:  # at the usual 1e-4 image and text would not meet within so few steps
        layer.fusion_layer.vision_param.fill_(0.05)
        layer.fusion_layer.text_param.fill_(0.05)


def make_processor() -> GroundingDinoProcessor:
    """Pictures as they are; words of the scenes in BERT's format and, for the special ones, at BERT's numbers."""
    names = {PAD: "[PAD]", UNKNOWN: "[UNK]", START: "[CLS]", END: "[SEP]", MASK: "[MASK]", DOT: ".", QUESTION: "?"}
    words = [names.get(number, f"[unused{number}]") for number in range(QUESTION + 1)] + list(WORDS)
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, model_max_length=256)
    edge = DemoConfig().edge_px
    images = GroundingDinoImageProcessor(
        do_resize=False,
        size={"shortest_edge": edge, "longest_edge": edge},
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    )
    return GroundingDinoProcessor(images, tokenizer)  # type: ignore[no-untyped-call]


def draw_batch(processor: GroundingDinoProcessor, stage: Stage, seed: int, step: int) -> Batch:
    """Fresh scenes with captions; at every fourth step pieces of scenes, of several sizes, as views are."""
    stream = scene_stream(seed, "dino-batches", step)
    pieces = step % 4 == 3
    num = 32 if pieces else 16
    most = int(stream.choice(CROP_PX))
    shown, captions = [], []
    for number in range(num):
        scene = draw_scene(scene_stream(seed, "dino", step * 32 + number), DemoConfig())
        shown.append(cut_piece(stream, scene, most) if pieces else disturb(stream, scene))
        captions.append(choose_phrases(stream, shown[-1], stage))
    return make_batch(processor, shown, captions)


def disturb(stream: np.random.Generator, scene: Scene) -> Shown:
    """Return the whole scene; now and then less sharp, or with one sign covered."""
    image, signs = scene.image.copy(), {(sign.colour, sign.shape): sign.box for sign in scene.signs}
    if stream.random() < 0.15:
        soft = (image.width // 2, image.height // 2)
        image = image.resize(soft, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)
    if stream.random() < 0.2:
        box = signs.pop(list(signs)[stream.integers(len(signs))])
        cover(stream, image, box)
    return Shown(image=image, signs=signs)


def cover(stream: np.random.Generator, image: Image.Image, box: Box) -> None:
    """Fill a little more than the box with a mean, black, a blur or noise, in place."""
    grow = int(stream.integers(1, 5))
    edges = (box.x0 - grow, box.y0 - grow, box.x1 + grow, box.y1 + grow)
    hidden = image.crop(edges)
    match int(stream.integers(4)):
        case 0:
            hidden = hidden.resize((1, 1), Image.Resampling.BOX).resize(hidden.size)
        case 1:
            ImageDraw.Draw(hidden).rectangle((0, 0, *hidden.size), fill=(0, 0, 0))
        case 2:
            hidden = hidden.filter(ImageFilter.GaussianBlur(float(stream.uniform(6, 16))))
        case _:
            hidden = Image.fromarray(stream.integers(0, 256, (hidden.height, hidden.width, 3), dtype=np.uint8))
    image.paste(hidden, edges[:2])


def cut_piece(stream: np.random.Generator, scene: Scene, most: int) -> Shown:
    """Return a piece of at most `most` pixels, half of the time around a sign; signs cut through are neither there nor
    gone."""
    width, height = (
        most if stream.random() < 0.6 else int(stream.choice([n for n in CROP_PX if n <= most])) for _ in "xy"
    )
    edge = scene.image.width
    x0, y0 = int(stream.integers(edge - width + 1)), int(stream.integers(edge - height + 1))
    if stream.random() < 0.5:
        box = scene.signs[stream.integers(len(scene.signs))].box
        x0 = int(np.clip((box.x0 + box.x1 - width) // 2 + stream.integers(-8, 9), 0, edge - width))
        y0 = int(np.clip((box.y0 + box.y1 - height) // 2 + stream.integers(-8, 9), 0, edge - height))
    signs, unsure = {}, set()
    for sign in scene.signs:
        left, top, right, bottom = sign.box.as_tuple()
        seen = clip(Box(left - x0, top - y0, right - x0, bottom - y0), width, height)
        if seen and seen.area >= 0.7 * sign.box.area:
            signs[sign.colour, sign.shape] = seen
        elif seen and seen.area >= 0.2 * sign.box.area:
            unsure.add((sign.colour, sign.shape))
    return Shown(image=scene.image.crop((x0, y0, x0 + width, y0 + height)), signs=signs, unsure=frozenset(unsure))


def choose_phrases(stream: np.random.Generator, shown: Shown, stage: Stage) -> list[tuple[str, str]]:
    """Signs to ask for: those there, those that differ from one in colour or shape, and any."""
    there, chosen = list(shown.signs), []
    for _ in range(int(stream.integers(1, MOST_PHRASES + 1))):
        colour, shape = NAMES[stream.integers(len(NAMES))]
        luck = stream.random()
        if there and luck < 0.8:
            like = there[stream.integers(len(there))]
            luck -= stage.share_there
            colour, shape = like if luck < 0 else (like[0], shape) if luck < stage.share_colour else (colour, like[1])
        if (colour, shape) not in chosen and (colour, shape) not in shown.unsure:
            chosen.append((colour, shape))
    return chosen or [next(name for name in NAMES if name not in shown.unsure)]


def make_batch(
    processor: GroundingDinoProcessor, shown: Sequence[Shown], asked: Sequence[Sequence[tuple[str, str]]]
) -> Batch:
    """Articles go round, so that phrases with and without one are learned."""
    texts = [
        [f"{ARTICLES[(i + j) % len(ARTICLES)]}{colour} {shape}" for j, (colour, shape) in enumerate(names)]
        for i, names in enumerate(asked)
    ]
    inputs = processor(images=[each.image for each in shown], text=texts, return_tensors="pt", padding=True)
    phrase_BT = phrase_numbers(inputs["input_ids"])
    found = [
        (b, phrase_BT[b] == j, each.signs[name], each.image.size)
        for b, (each, names) in enumerate(zip(shown, asked, strict=True))
        for j, name in enumerate(names)
        if name in each.signs
    ]
    corner_M4 = torch.tensor([box.as_tuple() for _, _, box, _ in found], dtype=torch.float32).view(-1, 4)
    size_M2 = torch.tensor([size for *_, size in found], dtype=torch.float32).view(-1, 2)
    low_M2, high_M2 = corner_M4[:, :2] / size_M2, corner_M4[:, 2:] / size_M2
    return Batch(
        inputs=dict(inputs),
        image_M=torch.tensor([b for b, *_ in found], dtype=torch.long),
        words_MT=torch.stack([words for _, words, *_ in found]) if found else phrase_BT[:0] == 0,
        box_M4=torch.cat([(low_M2 + high_M2) / 2, high_M2 - low_M2], dim=1),
        size_M2=size_M2,
    )


def phrase_numbers(ids_BT: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """For each token the number of its phrase in the caption, from 0; -1 for what belongs to none."""
    special = torch.tensor([PAD, START, END, DOT])
    return torch.where(torch.isin(ids_BT, special), -1, (ids_BT == DOT).cumsum(dim=1))


def losses(model: GroundingDinoForObjectDetection, batch: Batch, far_px: float) -> Float[Tensor, " 6"]:
    """Of words and of boxes, for the encoder's proposals and after each of the two decoder layers."""
    out = model(**batch.inputs)
    attend_BT = batch.inputs["attention_mask"].bool()
    parts = [*proposal_losses(out.enc_outputs_class, out.enc_outputs_coord_logits.sigmoid(), batch, attend_BT, far_px)]
    references = [out.init_reference_points, *out.intermediate_reference_points.unbind(1)]
    for layer, hidden_BQD in enumerate(out.intermediate_hidden_states.unbind(1)):
        change_BQ4 = model.bbox_embed[layer](hidden_BQD)
        box_BQ4 = (change_BQ4 + torch.special.logit(references[layer], eps=1e-5)).sigmoid()
        logit_BQT = model.class_embed[layer](hidden_BQD, out.encoder_last_hidden_state_text, attend_BT)
        parts += query_losses(logit_BQT, box_BQ4, batch, attend_BT)
    return torch.stack(parts)


def proposal_losses(
    logit_BST: Float[Tensor, "B S L"],
    box_BS4: Float[Tensor, "B S 4"],
    batch: Batch,
    attend_BT: Bool[Tensor, "B T"],
    far_px: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Assign the cells at a sign's middle to it; of those a little further off nothing is asked."""
    height, width = (n // CELL_PX for n in batch.inputs["pixel_values"].shape[2:])
    y_S, x_S = ((torch.cartesian_prod(torch.arange(height), torch.arange(width)) + 0.5) * CELL_PX).unbind(1)
    middle_M2 = batch.box_M4[:, :2] * batch.size_M2
    off_MS = torch.maximum((x_S - middle_M2[:, :1]).abs(), (y_S - middle_M2[:, 1:]).abs())
    near_MS = off_MS <= NEAR_PX
    target_BST = spread(near_MS, batch, len(attend_BT))
    doubt_BST = spread((off_MS < far_px) & ~near_MS, batch, len(attend_BT))
    weight_BST = attend_BT[:, None, :] * (1 - doubt_BST)
    sign_N, cell_N = near_MS.nonzero().unbind(1)
    boxes_N4 = box_BS4[batch.image_M[sign_N], cell_N]
    return word_loss(logit_BST, target_BST, weight_BST), box_loss(boxes_N4, batch.box_M4[sign_N])


def query_losses(
    logit_BQT: Float[Tensor, "B Q L"],
    box_BQ4: Float[Tensor, "B Q 4"],
    batch: Batch,
    attend_BT: Bool[Tensor, "B T"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Each sign's is the query that fits it best, by words and box."""
    with torch.no_grad():
        score_MQT = logit_BQT[batch.image_M, :, : attend_BT.shape[1]].sigmoid()
        word_MQ = torch.einsum("mqt,mt->mq", score_MQT, batch.words_MT / batch.words_MT.sum(dim=1, keepdim=True))
        guess_MQ4 = box_BQ4[batch.image_M]
        off_MQ = (guess_MQ4 - batch.box_M4[:, None]).abs().sum(dim=2)
        fit_BQM = generalized_box_iou(corners(box_BQ4.flatten(0, 1)), corners(batch.box_M4)).unflatten(
            0, box_BQ4.shape[:2]
        )
        fit_MQ = fit_BQM[batch.image_M, :, torch.arange(len(batch.image_M))]
        best_M = (2 * word_MQ - 5 * off_MQ + 2 * fit_MQ).argmax(dim=1)
        chosen_MQ = torch.arange(off_MQ.shape[1]) == best_M[:, None]
    target_BQT = spread(chosen_MQ, batch, len(attend_BT))
    weight_BQT = attend_BT[:, None, :].float().expand_as(target_BQT)
    return word_loss(logit_BQT, target_BQT, weight_BQT), box_loss(box_BQ4[batch.image_M, best_M], batch.box_M4)


def spread(place_MS: Bool[Tensor, "M S"], batch: Batch, num_images: int) -> Float[Tensor, "B S T"]:
    """1 where a place belongs to a sign and a token to its phrase."""
    match_MST = (place_MS[:, :, None] & batch.words_MT[:, None, :]).float()
    match_BST = match_MST.new_zeros(num_images, *match_MST.shape[1:])
    return match_BST.index_add_(0, batch.image_M, match_MST).clamp_(max=1)


def word_loss(
    logit_BST: Float[Tensor, "B S L"], target_BST: Float[Tensor, "B S T"], weight_BST: Float[Tensor, "B S T"]
) -> Float[Tensor, ""]:
    """Focal loss with Grounding DINO's alpha and gamma, per match."""
    # Tokens beyond the caption score minus infinity, whose loss is no number even at weight 0.
    logit_BST = logit_BST[..., : target_BST.shape[2]].clamp(min=-50)
    score_BST = logit_BST.sigmoid()
    miss_BST = (target_BST - score_BST).abs()
    alpha_BST = 0.75 - 0.5 * target_BST
    each_BST = binary_cross_entropy_with_logits(logit_BST, target_BST, alpha_BST * weight_BST, reduction="none")
    return (each_BST * miss_BST**2).sum() / target_BST.sum().clamp(min=1)


def box_loss(box_N4: Float[Tensor, "N 4"], true_N4: Float[Tensor, "N 4"]) -> Float[Tensor, ""]:
    """Grounding DINO's sum of L1 and generalised IoU, per box."""
    if len(box_N4) == 0:
        return box_N4.sum()
    fit_N: Tensor = generalized_box_iou(corners(box_N4), corners(true_N4)).diagonal()
    return 5 * (box_N4 - true_N4).abs().sum(dim=1).mean() + 2 * (1 - fit_N).mean()


def corners(box_N4: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    return torch.cat([box_N4[:, :2] - box_N4[:, 2:] / 2, box_N4[:, :2] + box_N4[:, 2:] / 2], dim=1)


if __name__ == "__main__":
    typer.run(train)
