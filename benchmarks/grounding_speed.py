"""What our own code costs around the models that find regions, and what batching gains.

Run:      python -m benchmarks.grounding_speed          (--quick: fewer images, one turn)
Expected: about 5 minutes on two idle cores; two tables, and as its last line one JSON object.

All in one run: contenders take turns, and the median of each counts, after one turn that does not count. The stage is
that of a build: image files are decoded in a thread ahead of the models, phrases are looked for in some images at a time,
and evidence is chosen. `in the model` is the time between the start and the end of its forward passes, as a share of the
stage's. `one by one` asks about the same images with batches of one picture. `plain loop` is what one writes with
open_clip alone: each tile cropped and preprocessed by open_clip's own transform, one batch per image, cosines, argmax.

Models of usual size have random weights, which take as long as trained ones: ViT-B-32 on the tiles of photographs, and
Grounding DINO with Swin-T on images of 320 x 480 px. The shipped ones are far smaller, so that our part weighs more."""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.grounding_models import save_clip, save_dino
from benchmarks.where import ROOT, commit, hardware
from viewgen.build.config import read_config
from viewgen.build.workers import ahead
from viewgen.detectors import Ask, DetectorConfig
from viewgen.detectors.transformers import load_zero_shot
from viewgen.errors import ModelError
from viewgen.grounding.evidence import EvidenceConfig, choose_evidence
from viewgen.grounding.regions import Finder, ImageQuery, RegionsConfig
from viewgen.records import Phrase, Question
from viewgen.retrieval.openclip import ClipModel
from viewgen.retrieval.retriever import RetrievalConfig, Retriever
from viewgen.retrieval.tiles import tile_boxes
from viewgen.source.demo import DemoConfig, draw_scene, scene_stream
from viewgen.source.images import ImageConfig, open_image

SEED = 7
AT_ONCE = 8
EDGE_PX = 320
SHARE, OVER_PLAIN = 0.90, 1.0
PHRASES = ("the red circle", "the blue square")


def now() -> float:
    """Seconds, when a GPU has done what it was told to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(slots=True)
class Watch:
    """Seconds spent in a model."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        began = now()
        try:
            yield
        finally:
            self.seconds += now() - began

    def on(self, net: Any, *names: str) -> None:  # noqa: ANN401 - a model of either library
        """Time these methods of a model from now on."""
        for name in names:
            setattr(net, name, self._timed(getattr(net, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: object, **kwargs: object) -> object:
            with self.running():
                return call(*args, **kwargs)

        return timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """One model: our stage, the same without batches, and where there is one a plain loop."""

    name: str
    files: Sequence[Path]
    ours: Finder
    one_by_one: Finder
    watch: Watch
    plain: Callable[[], object] | None = None
    counts: bool = True
    """Whether the targets are meant for it."""


def stage(files: Sequence[Path], finder: Finder, at_once: int = AT_ONCE) -> None:
    """Image files -> evidence, as a build does it."""
    opened = ahead(lambda path: open_image(path, ImageConfig()).image, files, 1)
    images = (ImageQuery(image=image, questions=asked()) for image in opened)
    while some := list(islice(images, at_once)):
        for image, search in zip(some, finder.find(some), strict=True):
            for (_, phrases), regions in zip(image.questions, search.regions, strict=True):
                choose_evidence(phrases, regions, image.image.width, image.image.height, EvidenceConfig())


def asked() -> tuple[tuple[Question, tuple[Phrase, ...]], ...]:
    return tuple(
        (
            Question(question_id=text, image_path="", text=text),
            (Phrase(text=text, start=0, end=len(text), rule="given"),),
        )
        for text in PHRASES
    )


def plain_loop(files: Sequence[Path], clip: ClipModel, config: RetrievalConfig) -> None:
    """Run the loop that one writes with open_clip, for the same tiles; texts are read before, as ours are."""
    text_PD = clip.embed_texts([config.template.replace("{phrase}", phrase) for phrase in PHRASES])
    for path in files:
        with Image.open(path) as file:
            image = file.convert("RGB")
        boxes = tile_boxes(image.width, image.height, config.tile_px, config.stride_px)
        tiles = torch.stack([clip.preprocess(image.crop(box.as_tuple())) for box in boxes])
        with torch.inference_mode():
            parts = tiles.to(clip.mean_C.device, clip.dtype).split(config.batch_size)  # type: ignore[no-untyped-call]
            tile_ND = torch.cat([clip.net.encode_image(part, normalize=True).float().cpu() for part in parts])
        (clip.temperature * tile_ND @ text_PD.T).topk(min(config.num_best, len(boxes)), dim=0)


def retrieval_race(name: str, files: Sequence[Path], config: RetrievalConfig, counts: bool) -> Race:
    ours = Finder(config=RegionsConfig(method="retrieval"), retriever=Retriever.load(config))
    assert ours.retriever is not None
    clip, watch = ours.retriever.clip, Watch()
    watch.on(clip.net, "encode_image", "encode_text")
    single = replace(ours, retriever=Retriever(replace(config, batch_size=1), clip))
    return Race(
        name=name,
        files=files,
        ours=ours,
        one_by_one=single,
        watch=watch,
        plain=lambda: plain_loop(files, clip, config),
        counts=counts,
    )


def detector_race(name: str, files: Sequence[Path], config: DetectorConfig, counts: bool) -> Race:
    detector = load_zero_shot(config)
    watch = Watch()
    watch.on(detector.network.net, "forward")  # type: ignore[attr-defined]
    settings = RegionsConfig(method="detector")
    return Race(
        name=name,
        files=files,
        ours=Finder(config=settings, detector=detector),
        one_by_one=Finder(config=settings, detector=replace(detector, config=replace(config, batch_size=1))),
        watch=watch,
        counts=counts,
    )


def run(race: Race, repetitions: int) -> dict[str, Any]:
    """Median seconds of each contender, and of the model within ours."""
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: stage(race.files, race.ours),
        "one by one": lambda: stage(race.files, race.one_by_one),
    }
    if race.plain:
        contenders["plain loop"] = race.plain
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    shares: list[float] = []
    for turn in range(repetitions + 1):
        for name, contender in contenders.items():
            race.watch.seconds = 0.0
            began = time.perf_counter()
            contender()
            taken = time.perf_counter() - began
            if turn:
                seconds[name].append(taken)
                shares += [race.watch.seconds / taken] if name == "ours" else []
    took = {name: statistics.median(each) for name, each in seconds.items()}
    return {
        "images": len(race.files),
        "images a second": round(len(race.files) / took["ours"], 3),
        "in the model": round(statistics.median(shares), 4),
        "over one by one": round(took["one by one"] / took["ours"], 3),
        "over the plain loop": round(took["plain loop"] / took["ours"], 3) if race.plain else None,
        "counts": race.counts,
    }


def photographs(folder: Path, num: int) -> list[Path]:
    """Blots and grain, 672 x 448, as JPEG."""
    stream, files = np.random.default_rng(SEED), []
    for number in range(num):
        blots = Image.fromarray(stream.integers(0, 256, (14, 21, 3), dtype=np.uint8)).resize((672, 448))
        grain = stream.integers(-20, 21, (448, 672, 1))
        files.append(folder / f"photograph-{number}.jpg")
        Image.fromarray(np.clip(np.asarray(blots) + grain, 0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def scenes(folder: Path, num: int) -> list[Path]:
    files = []
    for number in range(num):
        files.append(folder / f"scene-{number}.png")
        draw_scene(scene_stream(SEED, "speed", number), DemoConfig()).image.save(files[-1])
    return files


def races(folder: Path, quick: bool) -> Iterator[Race]:
    """One at a time: of two models of usual size each takes a gigabyte."""
    large, small = photographs(folder, 2 if quick else 6), scenes(folder, 32 if quick else 128)
    yield retrieval_race("retrieval, ViT-B-32", large, RetrievalConfig(model=save_clip(folder / "clip")), True)
    model = save_dino(folder / "dino", EDGE_PX)
    yield detector_race("detector, Swin-T", large, few_boxes(model, large[0]), True)
    recipe = read_config(ROOT / "datasets" / "demo.toml")
    yield retrieval_race("retrieval, shipped", small, recipe.retrieval, False)
    try:
        yield detector_race("detector, shipped", small, recipe.detector, False)
    except ModelError as error:
        print(f"The detector of datasets/demo.toml is left out: {error}")


def few_boxes(model: str, file: Path) -> DetectorConfig:
    """Return settings by which a model of random weights finds about ten boxes in an image, as trained ones do."""
    config = DetectorConfig(library="transformers", model=model, box_threshold=0.0, text_threshold=0.0, tiles=False)
    detector = load_zero_shot(replace(config, num_best=10, nms_iou=1.0))
    (found,) = detector.detect([Ask(image=open_image(file, ImageConfig()).image, phrases=PHRASES[:1])])
    least = min(box.score for box in found)
    return replace(config, box_threshold=least, text_threshold=least)


def tell(results: Mapping[str, Mapping[str, Any]]) -> None:
    columns = ("images", "images a second", "in the model", "over one by one", "over the plain loop")
    print("| stage | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name, found in results.items():
        print(f"| {name} | " + " | ".join(str(found[column] or "") for column in columns) + " |")
    large = [found for found in results.values() if found["counts"]]
    share = min(found["in the model"] for found in large)
    plain = min(found["over the plain loop"] for found in large if found["over the plain loop"])
    print(f"\nmodels of usual size: {share:.1%} or more of the time is the model's (target {SHARE:.0%}); ", end="")
    print(f"{plain:.2f} times as fast as a plain open_clip loop (target {OVER_PLAIN:g})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, one turn")
    parser.add_argument("--threads", type=int, default=2, help="of torch, for all contenders")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", FutureWarning)
    results: dict[str, Mapping[str, Any]] = {}
    with TemporaryDirectory() as folder:
        for race in races(Path(folder), args.quick):
            results[race.name] = run(race, 1 if args.quick else 3)
            print(f"{race.name}: {results[race.name]}", flush=True)
    tell(results)
    told = {"commit": commit(), "hardware": hardware(), "threads": args.threads, "seed": SEED, "stages": results}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
