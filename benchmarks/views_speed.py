"""Views per second of the stage that cuts, degrades, measures and encodes, against the bound set by decoding the images
and encoding the views alone, and from 1 to 2 worker processes. Each figure is the best of --turns, all in one run.

    python benchmarks/views_speed.py                  a table, and JSON as the last line

Sources: the photographs of datasets/photos as they are, and enlarged to 12 megapixels, with their own boxes; no model
takes part. The stage is what a build does with each image once its evidence is known: pixels travel to a worker,
encoded and measured views travel back."""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from viewgen.boxes import Box
from viewgen.build.config import BuildConfig, read_config
from viewgen.build.cut_image import CutTask, cut_image
from viewgen.build.workers import Workers, ahead
from viewgen.decode import decode_image, encode_png
from viewgen.grounding.evidence import choose_evidence
from viewgen.grounding.regions import ImageQuery, RegionsConfig, region_finder
from viewgen.phrases import find_phrases
from viewgen.records import Annotation, Donor, Evidence, ImageRecord, Question, QuestionRecord
from viewgen.source.recipe import read_questions, root_of

ROOT = Path(__file__).parents[1]
SETS = {"plain": ROOT / "datasets" / "photos.toml", "every kind": ROOT / "datasets" / "photos_kinds.toml"}
LARGE_PX = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image file with the evidence of its questions, as a build knows it before views are cut."""

    data: bytes
    image: ImageRecord


def jobs(config: BuildConfig, recipe: Path, large: bool) -> list[Job]:
    """Return the photographs with their evidence; with `large`, enlarged until their longer side has LARGE_PX pixels."""
    questions = read_questions(config.source, recipe)
    root = root_of(config.source, recipe)
    finder = region_finder(RegionsConfig(method="annotated"), config.retrieval)
    made = []
    for name in dict.fromkeys(question.image_path for question in questions):
        data = (root / name).read_bytes()
        own = [question for question in questions if question.image_path == name]
        if large:
            data, own = enlarged(data, own)
        image = decode_image(data)
        asked = tuple((question, find_phrases(question.text)) for question in own)
        (found,) = finder.find([ImageQuery(image=image, questions=asked)])
        records = []
        for (question, phrases), regions in zip(asked, found.regions, strict=True):
            evidence = choose_evidence(phrases, regions, image.width, image.height, config.evidence)
            if isinstance(evidence, Evidence):
                record = QuestionRecord(question=question, image_id=name[:16], phrases=phrases, regions=regions)
                records.append(replace(record, evidence=evidence, hard_tile=Box(0, 0, 64, 64)))
        made.append(
            Job(data=data, image=ImageRecord(key=name, source_path=name, questions=tuple(records), pixels=image))
        )
    return with_donors(made)


def enlarged(data: bytes, questions: list[Question]) -> tuple[bytes, list[Question]]:
    """Return the image, as JPEG of camera quality, and its boxes, some times larger."""
    image = decode_image(data)
    factor = LARGE_PX / max(image.size)
    file = io.BytesIO()
    image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC).save(
        file, format="JPEG", quality=93
    )

    def grown(annotation: Annotation) -> Annotation:
        return replace(annotation, box=Box(*(round(edge * factor) for edge in annotation.box.as_tuple())))

    return file.getvalue(), [replace(one, annotations=tuple(map(grown, one.annotations))) for one in questions]


def with_donors(made: list[Job]) -> list[Job]:
    """Give each question the first one of the next image as its donor."""
    donors = [donor_of(job.image) for job in made[1:] + made[:1]]
    return [
        replace(job, image=job.image.each(partial(replace, donor=donor)))
        for job, donor in zip(made, donors, strict=True)
    ]


def donor_of(image: ImageRecord) -> Donor:
    """Return the first question of an image as a donor."""
    first = image.questions[0]
    assert image.pixels
    box = first.found_evidence.boxes[0]
    return Donor(question_id=first.question_id, image_id=image.image_id, image=image.pixels, box=box)


def stage(made: list[Job], config: BuildConfig, workers: Workers, keep: list[Any] | None = None) -> None:
    """Do what a build does with images whose evidence is known: decode, cut, degrade, measure, encode."""

    def opened(job: Job) -> CutTask:
        image = replace(job.image, pixels=decode_image(job.data))
        return CutTask(image=image, seed=config.seed, views=config.views, keep_pixels=False)

    if not workers.num:  # one thread: two that share a core would look slower than they are
        for job in made:
            records = cut_image(opened(job))
            if keep is not None:
                keep.extend(records)
        return
    tasks = ahead(opened, made, workers.num)
    for _ in ahead(partial(workers.call, cut_image), tasks, workers.num):
        pass


def bound(made: list[Job], pictures: list[Image.Image]) -> None:
    """Do the minimum of any such stage: decode each image and encode each view."""
    for job in made:
        decode_image(job.data)
    for picture in pictures:
        encode_png(picture)


def best_s(works: Sequence[tuple[Callable[[], None], Callable[[], float]]], turns: int) -> list[float]:
    """Seconds of each work on its own clock, the best of some turns that all of them take one after the other."""
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(turns):
        for each, (work, clock) in zip(spent, works, strict=True):
            start = clock()
            work()
            each.append(clock() - start)
    return [min(each) for each in spent]


def measured(name: str, size: str, turns: int) -> dict[str, Any]:
    """One row of the table."""
    config = read_config(SETS[name])
    made = jobs(config, SETS[name], large=size == "12 MP")
    kept: list[Any] = []
    with Workers(0) as here, Workers(1) as one, Workers(2) as two:
        stage(made, config, here, kept)
        views = [view for record in kept if record.rejection is None for view in record.views if view.image]
        pictures = [decode_image(view.image) for view in views]
        for workers in (one, two):  # processes start, modules are loaded
            stage(made, config, workers)
        # One process against one process: processor time, which other work on the machine leaves alone.
        works = [(partial(bound, made, pictures), time.process_time)]
        works += [(partial(stage, made, config, here), time.process_time)]
        works += [(partial(stage, made, config, workers), time.perf_counter) for workers in (one, two)]
        bound_s, here_s, one_s, two_s = best_s(works, turns)
    num = len(views)
    return {
        "views": name,
        "images": size,
        "num_views": num,
        "bound_per_s": round(num / bound_s, 1),
        "here_per_s": round(num / here_s, 1),
        "one_per_s": round(num / one_s, 1),
        "two_per_s": round(num / two_s, 1),
        "of_bound": round(bound_s / here_s, 3),
        "one_to_two": round(one_s / two_s, 3),
    }


def rows(turns: int, sizes: list[str]) -> Iterator[dict[str, Any]]:
    for name in SETS:
        for size in sizes:
            yield measured(name, size, turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="each figure is the best of so many")
    parser.add_argument("--sizes", nargs="+", default=["photo", "12 MP"], choices=["photo", "12 MP"])
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    for row in rows(args.turns, args.sizes):
        if not found:
            print("  ".join(f"{name:>11}" for name in row))
        found.append(row)
        print("  ".join(f"{value!s:>11}" for value in row.values()), flush=True)
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0], "turns": args.turns, "rows": found}))


if __name__ == "__main__":
    main()
