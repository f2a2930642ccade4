"""Measure how decontamination finds planted copies: recall by kind of copy, false hits, images hashed per second,
and the time to match 100,000 training images against 10,000 stored evaluation images.

    python -m benchmarks.decontamination [FOLDER_OF_PHOTOGRAPHS ...]

Real photographs: those of datasets/photos (and of the folders), each whole and as 4 + 9 + 16 tiles; neighbours in a
photograph are the hardest strangers that it offers. Drawn scenes: those of `viewgen demo`. Images with too little
detail for a signature are counted apart, and recall is of the others. `max_distance` and the limits of detail
were chosen on these photographs: pass folders of others to test them. Signatures of the timed match are random.
About a minute on one core. Prints a table, and JSON in the last line."""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.where import ROOT, commit, hardware
from viewgen.decode import decode_image
from viewgen.decontaminate.matching import DecontaminateConfig, EvaluationIndex
from viewgen.decontaminate.sets import EvaluationImage, EvaluationSet
from viewgen.decontaminate.signatures import COPY_DETAIL, CUTS, WORDS, signature
from viewgen.source.demo import DemoConfig, write_demo

NUM_SCENES = 400
NUM_STORED, NUM_TRAINING = 10_000, 100_000


def jpeg(image: Image.Image, quality: int = 50) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return decode_image(data.getvalue())


def half(image: Image.Image) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    x0, y0 = round(left * image.width), round(top * image.height)
    return image.crop((x0, y0, image.width - round(right * image.width), image.height - round(bottom * image.height)))


COPIES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 50": jpeg,
    "half size": half,
    "crop, 2 % of each side": lambda image: cropped(image, 0.02, 0.02, 0.02, 0.02),
    "crop, 2 % in total": lambda image: cropped(image, 0.01, 0.01, 0.01, 0.01),
    "crop, 2 % of the left": lambda image: cropped(image, 0.02, 0, 0, 0),
    "crop, 2 % of a corner": lambda image: cropped(image, 0.02, 0.02, 0, 0),
    "half, each side, JPEG 50": lambda image: jpeg(cropped(half(image), 0.02, 0.02, 0.02, 0.02)),
}


def photographs(folders: Sequence[Path]) -> Iterator[Image.Image]:
    """Yield each photograph, and its tiles as photographs of their own."""
    for path in sorted(path for folder in folders for path in folder.glob("*.jpg")):
        photo = decode_image(path.read_bytes())
        yield photo
        for num in (2, 3, 4):
            width, height = photo.width // num, photo.height // num
            for n in range(num * num):
                x0, y0 = n % num * width, n // num * height
                yield photo.crop((x0, y0, x0 + width, y0 + height))


def scenes() -> Iterator[Image.Image]:
    """Yield drawn scenes, which resemble each other much."""
    with tempfile.TemporaryDirectory() as folder:
        write_demo(Path(folder), DemoConfig(seed=7, num_train=NUM_SCENES, num_selection=0, num_test=0))
        for path in sorted((Path(folder) / "images").iterdir()):
            yield decode_image(path.read_bytes())


def index_of(signatures: Mapping[str, bytes]) -> EvaluationIndex:
    images = [EvaluationImage(name=name, sha256=name, signature=found) for name, found in signatures.items()]
    return EvaluationIndex([EvaluationSet(name="set", images=tuple(images))], DecontaminateConfig())


def study(images: Sequence[Image.Image]) -> dict[str, object]:
    """Plant copies of every image, and look for every image among the others."""
    signatures = {str(number): signature(image) for number, image in enumerate(images)}
    detailed = {name: found for name, found in signatures.items() if found}
    everything = index_of(detailed)
    recall = {}
    for kind, copy in COPIES.items():
        hits = [everything.find("copy", signature(copy(images[int(name)]), COPY_DETAIL)) for name in detailed]
        recall[kind] = float(np.mean([hit is not None for hit in hits]))
    asked = {str(number): signature(image, COPY_DETAIL) for number, image in enumerate(images)}
    halves = [index_of({name: found for name, found in detailed.items() if int(name) % 2 == side}) for side in (0, 1)]
    strangers = [(halves[1 - int(name) % 2], found) for name, found in asked.items() if found]
    return {
        "images": len(images),
        "without_signature": len(images) - len(detailed),
        "recall": recall,
        "strangers": len(strangers),
        "false_hits": sum(index.find("stranger", found) is not None for index, found in strangers),
    }


def rates(photo: Image.Image) -> dict[str, float]:
    """Hash a photograph, decoded already and from its file; match random signatures."""
    data = io.BytesIO()
    photo.save(data, "JPEG", quality=90)
    per_s = {}
    works: Mapping[str, Callable[[], bytes]] = {
        "hashed_per_s": lambda: signature(photo),
        "decoded_and_hashed_per_s": lambda: signature(decode_image(data.getvalue())),
    }
    for name, work in works.items():
        start_s, num = time.perf_counter(), 0
        while time.perf_counter() - start_s < 2:
            work()
            num += 1
        per_s[name] = num / (time.perf_counter() - start_s)
    stream = np.random.default_rng(0)
    num_bytes = len(CUTS) * WORDS * 8
    index = index_of({str(number): stream.bytes(num_bytes) for number in range(NUM_STORED)})
    training = [stream.bytes(num_bytes) for _ in range(NUM_TRAINING)]
    start_s = time.perf_counter()
    found = sum(index.find("none", own) is not None for own in training)
    assert found == 0, "random signatures are apart"
    return {"megapixels": photo.width * photo.height / 1e6, **per_s, "match_s": time.perf_counter() - start_s}


def main() -> None:
    folders = [ROOT / "datasets" / "photos", *map(Path, sys.argv[1:])]
    photos = list(photographs(folders))
    found = {"photographs and tiles": study(photos), "drawn scenes": study(list(scenes()))}
    speed = rates(photos[0])
    for name, figures in found.items():
        print(f"{name}: {figures['images']}, {figures['without_signature']} without enough detail")
        recall = figures["recall"]
        assert isinstance(recall, dict)
        for kind, share in recall.items():
            print(f"  {kind:28} {share:7.1%} found")
        print(f"  {'strangers':28} {figures['false_hits']} of {figures['strangers']} taken for copies")
    print(
        f"hashing {speed['hashed_per_s']:.0f} images a second, {speed['decoded_and_hashed_per_s']:.0f} with decoding,"
    )
    print(f"  at {speed['megapixels']:.2f} megapixels, one core")
    print(f"matching {NUM_TRAINING:,} images against {NUM_STORED:,}: {speed['match_s']:.0f} s, one core")
    print(json.dumps({"commit": commit(), "hardware": hardware(), **found, "speed": speed}))


if __name__ == "__main__":
    main()
