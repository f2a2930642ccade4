"""How good the evidence is, on drawn scenes that no model was trained on: by retrieval, by a detector, by both.

Run:      python -m benchmarks.grounding_quality        (--scenes 20 for a quick look, --kinds retrieval for one alone)
Expected: about 40 seconds on two cores; a table, and as its last line one JSON object.

Scenes of a seed of their own are drawn to files and read through the recipe's query; phrases, regions and evidence are
those of a build, by the recipe's settings but for the kind of regions. True boxes are used to measure, and for nothing
else. A kept question is well shown when its evidence holds 90 % or more of each sign that it is about, and is at most 25
times as large as those signs. Seconds are of processor time, over all threads."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import torch

from benchmarks.where import ROOT, commit, hardware
from viewgen.boxes import Box, containment
from viewgen.build.config import BuildConfig, read_config
from viewgen.errors import ModelError
from viewgen.grounding.evidence import choose_evidence
from viewgen.grounding.regions import Finder, ImageQuery, region_finder
from viewgen.phrases import phrase_finder
from viewgen.records import Evidence, Rejection
from viewgen.source.demo import DemoConfig, write_demo
from viewgen.source.images import open_image
from viewgen.source.recipe import read_questions, root_of

KINDS = ("retrieval", "detector", "fused")
PRESENT, ABSENT = ("attribute", "relation"), "absent"
WELL_SHOWN, ABSTAINED = 0.90, 0.80
LEAST_SHOWN, MOST_TIMES = 0.90, 25
AT_ONCE = 8
Truth = Mapping[str, Sequence[Box]]


@dataclass(slots=True)
class Tally:
    """What became of the questions of one kind."""

    asked: int = 0
    kept: int = 0
    well_shown: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Evidence | Rejection, signs: Sequence[Box]) -> None:
        self.asked += 1
        if isinstance(outcome, Rejection):
            self.reasons[outcome.reason] += 1
            return
        self.kept += 1
        self.well_shown += bool(signs) and is_well_shown(outcome, signs)


def is_well_shown(evidence: Evidence, signs: Sequence[Box]) -> bool:
    shown = min(max(containment(sign, box) for box in evidence.boxes) for sign in signs)
    size = sum(box.area for box in evidence.boxes) / sum(sign.area for sign in signs)
    return shown >= LEAST_SHOWN and size <= MOST_TIMES


def draw(folder: Path, recipe: Path, scenes: int, seed: int) -> tuple[BuildConfig, Truth]:
    """Return the recipe's settings with the drawn scenes as its source, and where the signs truly are."""
    # Of scenes to learn from the recipe takes every question; these are such by name alone.
    write_demo(folder, DemoConfig(seed=seed, num_train=scenes, num_selection=0, num_test=0))
    config = read_config(recipe)
    rows = pl.read_parquet(folder / "truth.parquet").iter_rows(named=True)
    truth = {row["question_id"]: [Box(**box) for box in row["boxes"]] for row in rows}
    return replace(config, source=replace(config.source, root=str(folder))), truth


def asked_images(config: BuildConfig, recipe: Path) -> Iterator[list[ImageQuery]]:
    """All questions of the source by image, some images at a time."""
    root = root_of(config.source, recipe)
    finder = phrase_finder(config.phrases)
    by_image = groupby(read_questions(config.source, recipe), key=lambda question: question.image_path)
    images: list[ImageQuery] = []
    for path, each in by_image:
        questions = list(each)
        phrases = finder.find([question.text for question in questions])
        image = open_image(root / path, config.images).image
        images.append(ImageQuery(image=image, questions=tuple(zip(questions, phrases, strict=True))))
        if len(images) == AT_ONCE:
            yield images
            images = []
    if images:
        yield images


def judge(config: BuildConfig, recipe: Path, finder: Finder, truth: Truth) -> tuple[dict[str, Tally], float]:
    """Return a tally per kind of question, and the seconds that finding regions took per scene."""
    tallies = {kind: Tally() for kind in (*PRESENT, ABSENT)}
    seconds, num_images = 0.0, 0
    for images in asked_images(config, recipe):
        began = time.process_time()
        searches = finder.find(images)
        seconds += time.process_time() - began
        num_images += len(images)
        for each, search in zip(images, searches, strict=True):
            for (question, phrases), regions in zip(each.questions, search.regions, strict=True):
                outcome = choose_evidence(phrases, regions, each.image.width, each.image.height, config.evidence)
                tallies[question.kind].add(outcome, truth[question.question_id])
    return tallies, seconds / num_images


def figures(tallies: Mapping[str, Tally], seconds: float) -> dict[str, Any]:
    present, absent = [tallies[kind] for kind in PRESENT], tallies[ABSENT]
    num_kept, num_asked = sum(each.kept for each in present), sum(each.asked for each in present)
    return {
        "well shown of kept": round(sum(each.well_shown for each in present) / max(1, num_kept), 4),
        "abstained, absent": round(1 - absent.kept / absent.asked, 4),
        "abstained, present": round(1 - num_kept / num_asked, 4),
        "ms a scene": round(1000 * seconds, 1),
        "by kind": {
            kind: {
                "asked": tally.asked,
                "kept": tally.kept,
                "well shown": tally.well_shown,
                "abstained": dict(sorted(tally.reasons.items())),
            }
            for kind, tally in tallies.items()
        },
    }


def tell(kind: str, found: Mapping[str, Any]) -> None:
    for question, row in found["by kind"].items():
        reasons = ", ".join(f"{num} {reason}" for reason, num in row["abstained"].items())
        well = "" if question == ABSENT else row["well shown"]
        print(f"| {kind} | {question} | {row['asked']} | {row['kept']} | {well} | {reasons} |")


def verdict(kind: str, found: Mapping[str, Any]) -> str:
    shown, abstained = found["well shown of kept"], found["abstained, absent"]
    return (
        f"{kind}: {shown:.1%} of the kept are well shown (target {WELL_SHOWN:.0%}), abstains on {abstained:.1%} of the "
        f"absent (target {ABSTAINED:.0%}) and on {found['abstained, present']:.1%} of the present; "
        f"{found['ms a scene']:.0f} ms a scene"
    )


def main() -> None:
    """Draw, search, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", type=Path, default=ROOT / "datasets" / "demo.toml")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=101, help="of the scenes; the demo's own is 0")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        config, truth = draw(Path(folder), args.recipe, args.scenes, args.seed)
        print("| regions | questions | asked | kept | well shown | abstained |\n|---|---|---|---|---|---|")
        for kind in args.kinds:
            settings = replace(config, regions=replace(config.regions, method=kind))
            try:
                finder = region_finder(settings.regions, settings.retrieval, settings.detector)
            except ModelError as error:
                print(f"| {kind} | left out: {error} | | | | |")
                continue
            results[kind] = figures(*judge(settings, args.recipe, finder, truth))
            tell(kind, results[kind])
    print("\n" + "\n".join(verdict(kind, found) for kind, found in results.items()))
    told = {"commit": commit(), "hardware": hardware(), "scenes": args.scenes, "seed": args.seed, "regions": results}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
