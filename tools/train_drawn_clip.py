"""Trains the small OpenCLIP model that viewgen ships for drawn scenes, and measures it through viewgen's own stages.
Leaves out: real photographs, for which any open_clip model can be named in the recipe instead.

    python tools/train_drawn_clip.py train viewgen/weights/drawn-clip     about 5 minutes on one CPU thread
    python tools/train_drawn_clip.py measure embedded:drawn-clip          about 15 seconds

Every tile of the 16-px grid of a fresh scene is compared with the phrase of every possible sign. The one tile that is
centred on a sign should match that sign's phrase, and nothing else should match anything: a sigmoid loss, as in SigLIP.
Tiles that show a sign off centre or in part, another sign, or none are thereby negatives, and so is every absent sign.
Shapes: N tiles, P phrases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import open_clip
import torch
import typer
from jaxtyping import Float, UInt8
from safetensors.torch import save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PreTrainedTokenizerFast

from viewgen.boxes import containment
from viewgen.grounding.evidence import EvidenceConfig, choose_evidence
from viewgen.grounding.regions import ImageQuery, RegionFinder, RegionsConfig, region_finder
from viewgen.phrases import find_phrases
from viewgen.records import Evidence, Question
from viewgen.retrieval.openclip import CONFIG_FILE
from viewgen.retrieval.retriever import RetrievalConfig
from viewgen.retrieval.tiles import tile_boxes
from viewgen.source.demo import (
    COLOURS,
    SHAPES,
    TOKEN_PX,
    DemoConfig,
    Scene,
    SceneQuestion,
    ask,
    draw_scene,
    scene_stream,
)

TILE_PX = 3 * TOKEN_PX
TEMPLATES = ("{phrase}", "a photo of {phrase}")
PHRASES = tuple(f"the {colour} {shape}" for colour, shape in product(COLOURS, SHAPES))
WORDS = ("<pad>", "<unknown>", "a", "photo", "of", "the", *COLOURS, *SHAPES, "<end>")
"""The vocabulary. <end> stands last: open_clip reads a text's vector at its largest token."""
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: int = 0,
    steps: int = 800,
    scenes: Annotated[int, typer.Option(help="Fresh scenes per step.")] = 16,
    tiles: Annotated[int, typer.Option(help="Tiles per scene and step.")] = 32,
    learning_rate: float = 2e-3,
) -> None:
    """Train from scratch and write a folder that open_clip loads as local-dir:OUT."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    texts = write_config(out)
    model = open_clip.CLIP(**model_config()["model_cfg"]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    start = time.monotonic()
    for step in range(steps):
        pixels_N, label_NP = draw_batch(seed, step, scenes, tiles)
        template = TEMPLATES[step % len(TEMPLATES)]
        logit_NP, _ = model.get_logits(pixels_N, texts([template.format(phrase=phrase) for phrase in PHRASES]))
        loss = binary_cross_entropy_with_logits(logit_NP, label_NP, reduction="sum") / len(label_NP)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            typer.echo(f"step {step + 1}/{steps}  loss {loss.item():.4f}  {time.monotonic() - start:.0f} s")
    # Half precision halves the file; `measure` and the test of the shipped weights read what is left of it.
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    (out / "open_clip_model.safetensors").write_bytes(save(weights))


@app.command()
def measure(
    model: Annotated[str, typer.Argument(help="As in a recipe: embedded:drawn-clip, local-dir:PATH, ...")],
    seed: int = 1,
    scenes: int = 300,
    min_margin: float = 6.5,
) -> None:
    """Ask about scenes that training never drew, and print how the evidence compares with the true boxes."""
    torch.set_num_threads(1)
    finder = region_finder(RegionsConfig(method="retrieval"), demo_retrieval(model))
    config = EvidenceConfig(min_margin=min_margin, pad_ratio=1.0, min_side_px=TILE_PX, max_share=1.0)
    outcomes: dict[str, list[Outcome]] = {}
    seconds = 0.0
    for index in range(scenes):
        stream = scene_stream(seed, "clip-measure", index)
        scene = draw_scene(stream, DemoConfig())
        asked = ask(stream, scene, num_relations=2)
        start = time.process_time()
        found = judge(finder, scene, asked, config)
        seconds += time.process_time() - start
        for question, outcome in zip(asked, found, strict=True):
            outcomes.setdefault(question.kind, []).append(outcome)
    cost_ms = 1000 * seconds / scenes
    typer.echo(
        f"{model}: {scenes} scenes, seed {seed}, min_margin {min_margin:g}, {cost_ms:.1f} ms of processor a scene"
    )
    for kind, rows in outcomes.items():
        report(kind, rows)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question: its least margin in nats, and the share of its signs in the evidence, if kept."""

    margin: float
    shown: float | None


def judge(finder: RegionFinder, scene: Scene, asked: Sequence[SceneQuestion], config: EvidenceConfig) -> list[Outcome]:
    """Return the outcome of each question of a scene, through the stages that a build uses."""
    questions = [Question(question_id=str(n), image_path="", text=each.text) for n, each in enumerate(asked)]
    pairs = tuple((question, find_phrases(question.text)) for question in questions)
    (search,) = finder.find([ImageQuery(image=scene.image, questions=pairs)])
    outcomes = []
    for each, (_, phrases), regions in zip(asked, pairs, search.regions, strict=True):
        evidence = choose_evidence(phrases, regions, scene.image.width, scene.image.height, config)
        margin = min(region.score for region in regions if region.rank == 0)
        shown = None
        if isinstance(evidence, Evidence):
            boxes = evidence.boxes  # two where signs are far apart: each sign counts where it is shown best
            shown = min((max(containment(sign.box, box) for box in boxes) for sign in each.signs), default=0.0)
        outcomes.append(Outcome(margin, shown))
    return outcomes


def report(kind: str, rows: Sequence[Outcome]) -> None:
    shown = [row.shown for row in rows if row.shown is not None]
    whole = sum(share >= 0.9 for share in shown)
    low, middle, high = np.quantile([row.margin for row in rows], [0.01, 0.5, 0.99])
    typer.echo(f"{kind:>9}: {len(rows)} asked, {len(shown)} kept, {whole} of them with 90 % or more of each sign")
    typer.echo(f"{'':>9}  margin in nats: {low:.2f} at 1 %, {middle:.2f} at 50 %, {high:.2f} at 99 %")


def write_config(out: Path) -> Callable[[list[str]], Tensor]:
    """Write the folder's config and tokenizer, and load the tokenizer as open_clip will."""
    out.mkdir(parents=True, exist_ok=True)
    word_tokenizer().save_pretrained(out)
    (out / CONFIG_FILE).write_text(json.dumps(model_config(), indent=2) + "\n")
    texts: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(f"local-dir:{out}")
    return texts


def model_config() -> dict[str, Any]:
    """In open_clip's own format. Patches are the grid's tokens: the middle one of nine holds the sign's number."""
    vision = {
        "image_size": TILE_PX,
        "patch_size": TOKEN_PX,
        "width": 96,
        "head_width": 32,
        "layers": 3,
        "mlp_ratio": 2.0,
    }
    text = {"context_length": 16, "vocab_size": len(WORDS), "width": 64, "heads": 2, "layers": 1, "mlp_ratio": 2.0}
    return {
        "model_cfg": {
            "embed_dim": 64,
            "init_logit_scale": 2.3,
            "init_logit_bias": -6.0,
            "vision_cfg": vision,
            "text_cfg": {"hf_tokenizer_name": "drawn-clip", **text},
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, <end> at the end of every text."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unknown>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = ("<end>", WORDS.index("<end>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[end])
    named = {"pad_token": "<pad>", "unk_token": "<unknown>", "eos_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)  # type: ignore[no-untyped-call]


def draw_batch(
    seed: int, step: int, num_scenes: int, num_tiles: int
) -> tuple[Float[Tensor, "N 3 h w"], Float[Tensor, "N P"]]:
    """Tiles of fresh scenes, centred ones first, num_tiles of each scene; label 1 where tile and phrase match."""
    stream = scene_stream(seed, "clip-tiles", step)
    picked = []
    for number in range(num_scenes):
        scene = draw_scene(scene_stream(seed, "clip", step * num_scenes + number), DemoConfig())
        tiles, label_NP = tiles_and_labels(scene)
        order = np.argsort(stream.random(len(tiles)) - label_NP.sum(axis=1), kind="stable")[:num_tiles]
        picked.append((tiles[order], label_NP[order]))
    tiles_N, labels_N = (np.concatenate(parts) for parts in zip(*picked, strict=True))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (torch.from_numpy(tiles_N) / 255 - mean) / std, torch.from_numpy(labels_N)


def tiles_and_labels(scene: Scene) -> tuple[UInt8[np.ndarray, "N 3 h w"], Float[np.ndarray, "N P"]]:
    """All tiles of a scene; label 1 where the tile is centred on the sign of the phrase."""
    boxes = tile_boxes(scene.image.width, scene.image.height, (TILE_PX,), (TOKEN_PX,))
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(scene.image), (TILE_PX, TILE_PX), axis=(0, 1))
    label_NP = np.zeros((len(boxes), len(PHRASES)), dtype=np.float32)
    centre_N2 = np.array([(box.x0 + box.x1, box.y0 + box.y1) for box in boxes])
    for sign in scene.signs:
        offset_N2 = centre_N2 - (sign.box.x0 + sign.box.x1, sign.box.y0 + sign.box.y1)
        label_NP[np.abs(offset_N2).max(axis=1).argmin(), PHRASES.index(sign.phrase)] = 1
    return windows[[box.y0 for box in boxes], [box.x0 for box in boxes]], label_NP


def demo_retrieval(model: str) -> RetrievalConfig:
    """Tiles on the grid of the scenes; phrases as they stand."""
    return RetrievalConfig(
        model=model, template=TEMPLATES[0], tile_px=(TILE_PX,), stride_px=(TOKEN_PX,), merge_nats=0.0
    )


if __name__ == "__main__":
    app()
