"""Look at a file or a folder for the first time: recognise its form by its contents, and write the recipe for it.
Leaves out: what each form's columns mean (formats.py), building views of it (build/)."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from viewgen.decode import UnusableImageError
from viewgen.errors import RecipeError, ViewgenError
from viewgen.progress import counted
from viewgen.records import Question
from viewgen.settings import as_toml
from viewgen.source.box_formats import FIELDS, BoxFormat, BoxUnits, Corners, corners_of, is_inverted
from viewgen.source.formats import Format, Mapped
from viewgen.source.images import DecodedImage, ImageConfig, open_image
from viewgen.source.pictures import locate
from viewgen.source.recipe import SourceConfig, first_rows, root_of, understood_at
from viewgen.source.values import BoxFaultError, SourceFaultError, read_boxes

NUM_ROWS = 200
"""Rows that are looked at."""
NUM_SHOWN = 3
"""Rows whose images are opened for the table."""
SMALL_PX = 672
"""From this side on, the usual evidence of 224 px is a third of an image or less."""
NUM_OPENED = 24
"""Images that boxes are compared with."""
FITS = 0.98
"""Share of the boxes that must lie in their images."""
TABLES = ("csv", "tsv", "parquet", "json", "jsonl", "ndjson")
IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
PEEKED = 4_000_000
"""Bytes of a JSON file that are looked at."""
FORMS: tuple[tuple[BoxFormat, BoxUnits], ...] = (
    *(("xyxy", "pixels"), ("xywh", "pixels"), ("cxcywh", "pixels")),
    *(("xyxy", "0..1"), ("xywh", "0..1"), ("cxcywh", "0..1")),
    *(("xyxy", "0..1000"), ("xywh", "0..1000")),
)
"""Forms of boxes, the usual ones first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRow:
    """A row of the source with its image."""

    question: Question
    image: DecodedImage | None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """What was understood of a source."""

    source: SourceConfig
    mapped: Mapped
    rows: tuple[Mapping[str, Any], ...]
    """The first rows."""
    shown: tuple[FirstRow, ...]
    boxes: str = ""
    """What the boxes proved; empty without boxes."""

    @property
    def has_boxes(self) -> bool:
        return any(row.get("boxes") for row in self.rows)


def look(path: Path, recipe: Path, images: str = "") -> FirstLook:
    """Look at a file, or at a folder of files, for a recipe that will stand at `recipe`.

    `images`: folder that paths of images are relative to; found by trying where it is not given. Raises RecipeError for
    a source in no form that is known, or that lacks a question or an image."""
    if not path.exists():
        raise RecipeError(f"{path}: there is no such file or folder. Give the source's file, or its folder.")
    found = recognised(path)
    root = Path(os.path.relpath(path if path.is_dir() else path.parent, recipe.parent))
    source = SourceConfig(root=root.as_posix(), format=found[0], files=found[1], images=images)
    try:
        if not images:
            source = _with_images(source, recipe)
        rows = first_rows(source, recipe, NUM_ROWS)
        source, said = _with_boxes(source, rows, recipe)
        shown = tuple(_shown(row, source, recipe) for row in rows[:NUM_SHOWN])
        return FirstLook(source=source, mapped=understood_at(source, recipe), rows=tuple(rows), shown=shown, boxes=said)
    except SourceFaultError as error:
        raise RecipeError(f"{path}: {error}") from None
    except BoxFaultError as error:
        raise RecipeError(f"{path}: its boxes cannot be read: {error}. Write source.query yourself.") from None


def recognised(path: Path) -> tuple[Format, str]:
    """Return the form of a source, and the file or the pattern that holds its rows, relative to its root."""
    if path.is_file():
        return _form_of(path), path.name
    files = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
    by_end: dict[str, list[Path]] = {}
    for each in files:
        by_end.setdefault(each.suffix.lower().removeprefix("."), []).append(each)
    num_images = sum(len(by_end.get(end, ())) for end in IMAGES)
    if parquet := by_end.get("parquet"):
        return "hf", _pattern(parquet, path)
    tables = [each for end in TABLES for each in by_end.get(end, ())]
    beside = {each.with_suffix("") for each in files if each.suffix.lower().removeprefix(".") in IMAGES}
    sidecars = [each for each in files if each.suffix.lower() in {".json", ".txt"} and each.with_suffix("") in beside]
    if sidecars:
        end = Counter(each.suffix.lower() for each in sidecars).most_common(1)[0][0]
        return "folder", f"**/*{end}"
    if len(tables) == 1:
        return _form_of(tables[0]), tables[0].relative_to(path).as_posix()
    if tables:
        names = ", ".join(each.relative_to(path).as_posix() for each in tables[:6])
        raise RecipeError(f"{path}: holds {counted(len(tables), 'table')} ({names}). Give the one with the questions.")
    held = f"holds {counted(num_images, 'image')} and no questions" if num_images else "holds neither tables nor images"
    raise RecipeError(f"{path}: {held}. Give a folder with a .csv, .json, .jsonl or .parquet file of questions.")


def _pattern(files: Sequence[Path], root: Path) -> str:
    """Return a pattern for Parquet files of one folder; those of several splits are read together."""
    folders = {each.parent for each in files}
    if len(files) == 1:
        return files[0].relative_to(root).as_posix()
    if len(folders) > 1:
        return "**/*.parquet"
    below = folders.pop().relative_to(root).as_posix()
    return "*.parquet" if below == "." else f"{below}/*.parquet"


def _form_of(path: Path) -> Format:
    end = path.suffix.lower().removeprefix(".")
    if end in {"csv", "tsv"}:
        return "csv"
    if end == "parquet":
        return "hf"
    if end not in {"json", "jsonl", "ndjson"}:
        raise RecipeError(f"{path}: is no table. Expected one of: {', '.join(f'.{each}' for each in TABLES)}.")
    row = _first_object(path)
    if {"images", "annotations", "categories"} <= row.keys():
        return "coco"
    if "bboxs" in row or "###[" in json.dumps(row.get("image", "")):
        return "visual-cot"
    return "llava" if {"conversations", "messages", "conversation"} & row.keys() else "hf"


def _first_object(path: Path) -> dict[str, Any]:
    """Return the first object of a JSON file: its first line, its first item, or itself, as far as a look shows."""
    with path.open("rb") as file:
        text = file.read(PEEKED).decode("utf-8-sig", "replace").lstrip()
    decoder = json.JSONDecoder()
    start = text.find("{")
    try:
        value = decoder.raw_decode(text, start)[0] if start >= 0 else {}
    except json.JSONDecodeError:  # one object, longer than the look: the names of its first level are enough
        value = {name: None for name in ("images", "annotations", "categories") if f'"{name}"' in text}
        if "images" in value:
            value |= dict.fromkeys(("annotations", "categories"))
    if not isinstance(value, dict) or not value:
        raise RecipeError(f"{path}: holds no JSON objects. Expected a list of them, or one to a line.")
    return value


def _with_images(source: SourceConfig, recipe: Path) -> SourceConfig:
    """Return the source with the folder of its images, where the paths of the first rows are found below exactly one."""
    if source.format == "coco":
        source = replace(source, question="Where is the {phrase}?")
    root = root_of(source, recipe)
    paths = [row["image_path"] for row in first_rows(source, recipe, NUM_OPENED)]
    if any(_is_there(path, root, source) for path in paths):
        return source
    folders = [each for each in sorted(root.rglob("*")) if each.is_dir()][:2_000]
    found = [each for each in folders if any((each / path).is_file() for path in paths)]
    return replace(source, images=found[0].relative_to(root).as_posix()) if found else source


def _is_there(path: str, root: Path, source: SourceConfig) -> bool:
    try:
        _, file = locate(path, root, ImageConfig(), source.follow_links, fetch=False)
    except UnusableImageError as error:
        return error.reason == "remote_image"
    return file.is_file()


def _shown(row: Mapping[str, Any], source: SourceConfig, recipe: Path) -> FirstRow:
    question = Question(
        question_id=row["question_id"],
        image_path=row["image_path"],
        text=row["question"],
        answer=row.get("answer"),
        options=row.get("options") or (),
    )
    try:
        return FirstRow(question=question, image=_opened(row, source, recipe))
    except ViewgenError as error:
        return FirstRow(question=question, image=None, fault=getattr(error, "what", str(error)))


def _opened(row: Mapping[str, Any], source: SourceConfig, recipe: Path) -> DecodedImage:
    root = root_of(source, recipe)
    _, file = locate(row["image_path"], root, ImageConfig(), source.follow_links or _is_hub(root), fetch=source.fetch)
    return open_image(file, ImageConfig())


def _is_hub(root: Path) -> bool:
    """Return True in a snapshot of the hub's cache, whose files are links to ../../blobs."""
    return root.parent.name == "snapshots"


def _with_boxes(source: SourceConfig, rows: Sequence[Mapping[str, Any]], recipe: Path) -> tuple[SourceConfig, str]:
    """Return the source with the form of its boxes, and what proves it; the usual form where nothing does."""
    if source.format in {"coco", "visual-cot"}:
        return replace(source, box_units="pixels"), f"pixels, as {source.format} has them"
    named = _named_format(rows)
    sized = list(_sized(rows, source, recipe, named or "xyxy"))
    if not sized:
        return source, "not compared with images: none was opened" if any(row.get("boxes") for row in rows) else ""
    forms: Sequence[tuple[BoxFormat, BoxUnits]] = FORMS
    if named:
        forms = ((named, "pixels"), (named, "0..1"), (named, "0..1000"))
    fitting = [form for form in forms if _share(sized, "xyxy" if named else form[0], form[1]) >= FITS]
    ones = [form for form in fitting if form[1] == "0..1"] if _all_below_one(sized) else []
    candidates = ones or [form for form in fitting if form[1] != "0..1"]
    if not candidates:
        said = f"none of the usual forms fits the {len(sized):,} that were tried: say in [source] what they are"
        return replace(source, box_format=named or source.box_format), said
    box_format, units = candidates[0]
    others = [f"{other} in {unit}" for other, unit in candidates[1:]]
    proof = f"not proven: {', '.join(others)} would fit too" if others else "no other usual form fits"
    return replace(source, box_format=box_format, box_units=units), f"{box_format} in {units}; {proof}"


def _named_format(rows: Sequence[Mapping[str, Any]]) -> BoxFormat | None:
    """Return the format that the names of a box's numbers tell; None for lists of four."""
    boxes = next((row["boxes"] for row in rows if row.get("boxes")), ())
    names = boxes[0].keys() if not isinstance(boxes, str) and boxes and isinstance(boxes[0], Mapping) else set()
    return next((form for form, known in FIELDS.items() if set(known) <= names), None)


def _sized(
    rows: Sequence[Mapping[str, Any]], source: SourceConfig, recipe: Path, box_format: BoxFormat
) -> Iterator[tuple[Corners, int, int]]:
    """Yield the corners of each box as they are in this format, with the width and height of its image."""
    sizes: dict[str, tuple[int, int] | None] = {}
    for row in rows:
        if not row.get("boxes") or (row["image_path"] not in sizes and len(sizes) >= NUM_OPENED):
            continue
        if row["image_path"] not in sizes:
            try:
                image = _opened(row, source, recipe)
                sizes[row["image_path"]] = image.width_px, image.height_px
            except ViewgenError:
                sizes[row["image_path"]] = None
        if size := sizes[row["image_path"]]:
            yield from ((box.corners, *size) for box in read_boxes(row["boxes"], box_format, "pixels"))


def _all_below_one(sized: Sequence[tuple[Corners, int, int]]) -> bool:
    return all(max(corners) <= 1 for corners, _, _ in sized)


def _share(sized: Sequence[tuple[Corners, int, int]], box_format: BoxFormat, units: BoxUnits) -> float:
    """Return the share of the boxes that lie in their images when they are taken for this form, with 2 % to spare."""
    fits = 0
    for numbers, width, height in sized:
        x0, y0, x1, y1 = corners = corners_of(numbers, box_format)
        across, down = {"0..1": (1.0, 1.0), "0..1000": (1000.0, 1000.0)}.get(units, (float(width), float(height)))
        inside = min(x0 / across, y0 / down) >= -0.02 and max(x1 / across, y1 / down) <= 1.02
        fits += inside and not is_inverted(corners)
    return fits / len(sized)


def recipe_text(seen: FirstLook, recipe: Path) -> str:
    """Return the recipe of a source, as TOML with comments."""
    source = seen.source
    set_here = {
        name: getattr(source, name)
        for name in ("root", "format", "files", "images", "question", "box_format", "box_units")
        if getattr(source, name) != getattr(SourceConfig(root=""), name)
    }
    lines = [
        f"# Written by `viewgen init`. Next: viewgen build {recipe.name} --out views",
        "# Every setting: docs/settings.md, or `viewgen settings`.",
        "",
        "seed = 0",
        "",
        "[source]",
        *(f"{name} = {as_toml(value)}" for name, value in set_here.items()),
    ]
    lines += ["# The boxes: " + seen.boxes] if seen.boxes else []
    if any(shown.fault for shown in seen.shown):
        lines.append('# images = "..."    # folder of the images, where paths are relative to another than root')
    lines += ["# is_evaluation = true    # a benchmark: no views to train on are made of it", "", "[regions]"]
    if seen.has_boxes:
        return "\n".join([*lines, 'method = "annotated"    # the source\'s own boxes', "", *_evidence(seen)])
    lines += [
        'method = "fused"    # a detector and retrieval; the question is rejected where they name other places',
        "",
        "[detector]",
        'library = "groundingdino"',
        'model = "hf-hub:ShilongLiu/GroundingDINO"    # fetched once; a path to a checkpoint works too',
        "",
        "[retrieval]",
        'model = "ViT-B-32"',
        'pretrained = "laion2b_s34b_b79k"',
        "",
        *_evidence(seen),
    ]
    return "\n".join(lines)


def _evidence(seen: FirstLook) -> list[str]:
    """Return the settings of the evidence for images that are small: the usual crop would be most of them."""
    sides = [side for row in seen.shown if row.image for side in (row.image.width_px, row.image.height_px)]
    least = min(sides, default=SMALL_PX)
    if least >= SMALL_PX:
        return []
    return ["[evidence]", f"min_side_px = {max(least // 24 * 8, 16)}    # of images of {least} px; 224 otherwise", ""]
