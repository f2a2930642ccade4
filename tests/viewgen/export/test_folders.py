"""Folders and archives, read back by the libraries that read them."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from viewgen.boxes import Box
from viewgen.export.folders import in_thousands
from viewgen.export.run import ExportConfig, export
from viewgen.viewset.shards import ViewSet


def written(views: ViewSet, name: str, out: Path) -> Path:
    export(views, ExportConfig(to=name), out, io.StringIO())
    return out


def test_boxes_in_pixels_and_in_thousands_beside_their_images(views: ViewSet, tmp_path: Path) -> None:
    folder = written(views, "boxes", tmp_path / "boxes")
    lines = {line["question_id"]: line for line in map(json.loads, (folder / "boxes.jsonl").read_text().splitlines())}
    assert sorted(lines) == ["a", "b", "c", "f"]
    turned = lines["a"]
    with Image.open(folder / turned["image"]) as image:
        assert image.size == (turned["width_px"], turned["height_px"]) == (200, 300)
    assert turned["boxes"] == [{"phrase": "the cup", "box_px": [20, 30, 60, 70], "box_1000": [100, 100, 300, 233]}]
    assert lines["c"]["evidence_px"] == [[20, 30, 60, 70], [100, 100, 140, 140]]
    assert lines["c"]["image"] == lines["f"]["image"]
    assert len(list((folder / "images").iterdir())) == 3


def test_parts_of_a_thousand_are_of_the_image_s_own_sides() -> None:
    assert in_thousands(Box(0, 0, 640, 480), 640, 480) == [0, 0, 1000, 1000]
    assert in_thousands(Box(1, 2, 3, 4), 640, 480) == [2, 4, 5, 8]


def test_coco_s_own_library_reads_the_labels(views: ViewSet, tmp_path: Path) -> None:
    folder = written(views, "coco", tmp_path / "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO(str(folder / "labels.json"))
    names = {category["id"]: category["name"] for category in labels.loadCats(labels.getCatIds())}
    assert sorted(names.values()) == ["cup", "dog"]
    found = set()
    for annotation in labels.loadAnns(labels.getAnnIds()):
        (image,) = labels.loadImgs(annotation["image_id"])
        with Image.open(folder / "data" / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])
        assert annotation["area"] == 40 * 40
        found.add((image["width"], names[annotation["category_id"]], tuple(annotation["bbox"])))
    assert found == {
        (200, "cup", (20, 30, 40, 40)),
        (300, "cup", (20, 30, 40, 40)),
        (400, "cup", (20, 30, 40, 40)),
        (400, "dog", (100, 100, 40, 40)),
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its file open
def test_a_webdataset_is_read_key_by_key_and_equal_views_give_equal_bytes(views: ViewSet, tmp_path: Path) -> None:
    one, two = (written(views, "webdataset", tmp_path / f"{name}.tar") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as tar:
        names = tar.getnames()
    assert names[:4] == ["00000000.json", "00000000.image.png", "00000000.positive0.png", "00000000.negative0.png"]
    webdataset = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset(str(one), shardshuffle=False).decode("pil"))
    assert [sample["json"]["question_id"] for sample in samples] == ["a", "b", "c", "f"]
    assert samples[0]["image.png"].size == (200, 300)
    assert {"positive0.png", "positive1.png", "negative0.png", "negative1.png"} <= samples[2].keys()
