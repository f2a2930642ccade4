"""How fast images of a view set are read in shuffled order: this reader against Hugging Face's `datasets`, on the same
files, in turn; and how long a set of 2,000 parts takes to open.

Run:      python benchmarks/reader_speed.py VIEWSET    (any view set with crop and off_region; `datasets` if installed)
Expected: a minute; questions a second of each contender, and as its last line one JSON object.

A question is its full image, its crop and its negative, as encoded bytes. Each contender reads the same questions in the
same order, in rounds in turn; the ratio is of the medians.
Leaves out: decoding, which is the same for both."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from viewgen.viewset import TABLES, StoredSample, ViewSet

KINDS = ("crop", "off_region")
ROUNDS = 5
Read = Callable[[Sequence[StoredSample]], int]


def main() -> None:
    """Read in turn, print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("view_set", type=Path)
    parser.add_argument("--num", type=int, default=300, help="questions of a round")
    given = parser.parse_args()
    contenders: dict[str, Read] = {"viewgen": own_reader(given.view_set)}
    try:
        contenders["datasets"] = datasets_reader(given.view_set)
    except ImportError:
        print("`datasets` is not installed: pip install datasets")
    samples = ViewSet.open(given.view_set).samples("train", KINDS)
    samples = [sample for sample in samples if all(sample.views.get(kind) for kind in KINDS)]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(ROUNDS):
        order = np.random.default_rng(number).permutation(len(samples))[: given.num]
        asked = [samples[index] for index in order]
        sizes = set()
        for name, read in contenders.items():
            began = time.perf_counter()
            sizes.add(read(asked))
            rates[name].append(len(asked) / (time.perf_counter() - began))
        assert len(sizes) == 1, "contenders read the same bytes"
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in medians.items():
        print(f"{name:<10}{rate:>10,.0f} questions a second")
    opened = seconds_to_open(given.view_set, 2000)
    print(f"2,000 parts open in {opened:.2f} s")
    ratio = medians["viewgen"] / medians["datasets"] if "datasets" in medians else None
    print(json.dumps({"benchmark": "reader_speed", **medians, "ratio": ratio, "open_2000_parts_s": opened}))


def own_reader(view_set: Path) -> Read:
    """Return a function that reads questions one by one with a cache too small for any of them to come from it."""
    opened = ViewSet.open(view_set, cache_mb=0.0)
    opened.samples("train", KINDS)

    def read(samples: Sequence[StoredSample]) -> int:
        size = 0
        for sample in samples:
            views = [sample.views[kind][0] for kind in KINDS]
            found = opened.image_bytes([sample.image_id]) | opened.view_bytes(views)
            size += sum(map(len, found.values()))
        return size

    return read


def datasets_reader(view_set: Path) -> Read:
    """Return the same with `datasets`: tables as memory-mapped Arrow, rows by number, images not decoded."""
    from datasets import Image, load_dataset  # type: ignore[attr-defined,unused-ignore]

    tables = {}
    for name in ("images", "views"):
        files = [str(path) for path in ViewSet.open(view_set).table_paths(name)]
        rows = load_dataset("parquet", data_files=files, split="train").cast_column("image", Image(decode=False))
        numbers = {key: number for number, key in enumerate(rows[TABLES[name].key])}
        tables[name] = rows.select_columns(["image"]), numbers

    def read(samples: Sequence[StoredSample]) -> int:
        size = 0
        for sample in samples:
            wanted = [("images", sample.image_id), *(("views", sample.views[kind][0]) for kind in KINDS)]
            for name, key in wanted:
                rows, numbers = tables[name]
                size += len(rows[numbers[key]]["image"]["bytes"])
        return size

    return read


def seconds_to_open(view_set: Path, num: int) -> float:
    """Make a view set of `num` links to the first part, and time its opening."""
    with tempfile.TemporaryDirectory(dir=view_set.parent) as temporary:
        folder = Path(temporary)
        manifest = json.loads((view_set / "manifest.json").read_text())
        first = manifest["parts"][0]
        for table in TABLES:
            (folder / table).mkdir()
            for part in range(num):
                os.link(view_set / table / "part-00000.parquet", folder / table / f"part-{part:05d}.parquet")
        manifest |= {"num_parts": num, "parts": [{**first, "part": part} for part in range(num)]}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        began = time.perf_counter()
        ViewSet.open(folder)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
