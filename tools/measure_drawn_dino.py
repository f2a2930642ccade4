"""Measures a detector on drawn scenes that its training never drew, through viewgen's own detector stage.
Leaves out: training (train_drawn_dino.py); what a build makes of the boxes.

    python tools/measure_drawn_dino.py embedded:drawn-dino     about 40 s of one CPU thread for 300 scenes

Phrases are those of the demo's questions. For each its best box is taken, whatever the score: is it in the right place
(IoU of 0.5 or more with the sign), and does the score tell signs that are there from signs that are not?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from viewgen.boxes import Box, iou
from viewgen.detectors import Ask, Detector, DetectorConfig, ScoredBox, load_detector
from viewgen.phrases import find_phrases
from viewgen.source.demo import SHAPES, TOKEN_PX, DemoConfig, Scene, ask, draw_scene, scene_stream

PIECE_PX = 3 * TOKEN_PX
THERE = ("in the scene, with others", "in the scene, alone", "in a piece of 48 px", "in a less sharp piece")
ABSENT = ("absent, colour too", "absent, colour is there", "absent from a piece", "covered in the scene")
SHARE_KEPT = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a phrase did: the score of its best box and that box's overlap (IoU) with its sign, 0 without one."""

    kind: str
    score: float
    overlap: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question put to the detector, and how to judge its answer. No sign: the phrase is absent."""

    kind: str
    image: Image.Image
    phrases: tuple[str, ...]
    signs: tuple[Box | None, ...]


def main(
    model: Annotated[str, typer.Argument(help="As in a recipe: embedded:drawn-dino, or a folder.")],
    seed: int = 1,
    scenes: int = 300,
) -> None:
    """Choose a threshold on the demo's selection scenes, then measure on scenes that nothing was chosen by."""
    torch.set_num_threads(1)
    detector = load_detector(
        DetectorConfig(
            library="transformers", model=model, box_threshold=0.0, text_threshold=0.0, num_best=1, device="cpu"
        )
    )
    threshold = keeping(judge(detector, asked_of(0, "selection", 100)))
    asked = asked_of(seed, "dino-measure", scenes)
    whole = [each for each in asked if each.kind == THERE[0]]
    start = time.process_time()
    judge(detector, whole)
    cost_ms = 1000 * (time.process_time() - start) / len(whole)
    typer.echo(
        f"{model}: {scenes} scenes, seed {seed}, threshold {threshold:.2f}, {cost_ms:.1f} ms of processor a scene"
    )
    kinds = report(judge(detector, asked), threshold)
    typer.echo(json.dumps({"model": model, "threshold": threshold, "ms_per_scene": round(cost_ms, 1), "kinds": kinds}))


def report(rows: Sequence[Outcome], threshold: float) -> dict[str, dict[str, float]]:
    """Print a line per kind and returns its numbers."""
    numbers: dict[str, dict[str, float]] = {}
    for kind in (*THERE, *ABSENT):
        own = [row for row in rows if row.kind == kind]
        low, middle, high = (round(float(q), 3) for q in np.quantile([row.score for row in own], [0.01, 0.5, 0.99]))
        placed = float(np.mean([row.overlap >= 0.5 for row in own]))
        kept = float(np.mean([row.score >= threshold for row in own]))
        numbers[kind] = {"asked": len(own), "placed": placed, "kept": kept, "p01": low, "p50": middle, "p99": high}
        where = f"right place {placed:6.1%}" if kind in THERE else " " * 18
        typer.echo(
            f"{kind:>26}: {len(own):4} asked  {where}  kept {kept:6.1%}  score {low:.2f} {middle:.2f} {high:.2f}"
        )
    typer.echo(f"{'':>26}  (score at 1 %, 50 % and 99 %)")
    return numbers


def judge(detector: Detector, asked: Sequence[Asked]) -> list[Outcome]:
    outcomes = []
    found = detector.detect([Ask(image=each.image, phrases=each.phrases) for each in asked])
    for each, boxes in zip(asked, found, strict=True):
        best: dict[str, ScoredBox] = {box.phrase: box for box in reversed(boxes)}
        for phrase, sign in zip(each.phrases, each.signs, strict=True):
            kind = each.kind if sign or each.kind != THERE[0] else ABSENT[0]
            overlap = iou(best[phrase].box, sign) if sign else 0.0
            outcomes.append(Outcome(kind=kind, score=best[phrase].score, overlap=overlap))
    return outcomes


def asked_of(seed: int, split: str, num_scenes: int) -> list[Asked]:
    streams = [scene_stream(seed, split, index) for index in range(num_scenes)]
    return [asked for stream in streams for asked in _asked(stream, draw_scene(stream, DemoConfig()))]


def _asked(stream: np.random.Generator, scene: Scene) -> Iterator[Asked]:
    """All questions of a scene at once, as in a build; the first sign alone, and what has its colour alone; its piece."""
    phrases = [find_phrases(question.text)[0].text for question in ask(stream, scene, num_relations=0)]
    boxes = [sign.box for sign in scene.signs]
    yield Asked(kind=THERE[0], image=scene.image, phrases=tuple(phrases), signs=(*boxes, None))
    first, last = scene.signs[0], scene.signs[-1]
    yield Asked(kind=THERE[1], image=scene.image, phrases=(first.phrase,), signs=(first.box,))
    other = next(shape for shape in SHAPES if shape != first.shape)
    yield Asked(kind=ABSENT[1], image=scene.image, phrases=(f"the {first.colour} {other}",), signs=(None,))
    covered = scene.image.copy()
    covered.paste(scene.image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) or 0, first.box.as_tuple())
    yield Asked(kind=ABSENT[3], image=covered, phrases=(first.phrase,), signs=(None,))
    yield from _pieces(scene, first.box, first.phrase, last.phrase)


def _pieces(scene: Scene, box: Box, there: str, absent: str) -> Iterator[Asked]:
    """Return the tile of the grid around a sign, as a build cuts it, asked about that sign and about one elsewhere."""
    x0, y0 = ((low + high) // 2 // TOKEN_PX * TOKEN_PX - TOKEN_PX for low, high in ((box.x0, box.x1), (box.y0, box.y1)))
    piece = scene.image.crop((x0, y0, x0 + PIECE_PX, y0 + PIECE_PX))
    inside = Box(box.x0 - x0, box.y0 - y0, box.x1 - x0, box.y1 - y0)
    soft = piece.resize((PIECE_PX // 2,) * 2, Image.Resampling.BOX).resize(piece.size, Image.Resampling.BILINEAR)
    yield Asked(kind=THERE[2], image=piece, phrases=(there,), signs=(inside,))
    yield Asked(kind=THERE[3], image=soft, phrases=(there,), signs=(inside,))
    yield Asked(kind=ABSENT[2], image=piece, phrases=(absent,), signs=(None,))


def keeping(rows: Sequence[Outcome]) -> float:
    """Return the highest score, in steps of 0.01, that SHARE_KEPT of the signs of whole scenes reach."""
    score_N = [row.score for row in rows if row.kind == THERE[0]]
    return floor(100 * float(np.quantile(score_N, 1 - SHARE_KEPT))) / 100


if __name__ == "__main__":
    typer.run(main)
