"""The contact sheet of a page: a seeded sample of kept and rejected questions with all that the tables say of them, and
their pictures, until the page is as large as it may be.
Leaves out: shrinking pictures (thumbnails.py), counts and plots (inspect.py, plots.py), looks (page.html).

Boxes are x0, y0, x1, y1 in pixels of the upright source image."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import polars as pl
from jinja2.utils import htmlsafe_json_dumps

from viewgen.errors import ImageError, ShardError
from viewgen.progress import Progress, Stream
from viewgen.report.inspect import rows_of
from viewgen.report.thumbnails import Store, Thumbnail, shrunk, thumbnail
from viewgen.source.images import ImageConfig, open_image
from viewgen.source.recipe import Connection
from viewgen.viewset.schema import TABLES
from viewgen.viewset.shards import ViewSet

FULL_PX, VIEW_PX = 640, 224
"""Longest side, in the page, of a full image and of a view."""
MAX_BYTES = 18_000_000
"""Bytes of cards and images; plots and the page's own text add about 0.1 MB."""
REJECTED_SHARE = 0.2
"""Most of MAX_BYTES that rejected questions may take."""
AT_ONCE = 400
"""Questions whose small pictures are made before it is known whether there is room for them."""
READ_AT_ONCE = 64
"""Stored images that are in memory at the same time, encoded."""
MAX_REGIONS = 6
"""Best regions of each phrase and source that are shown."""

Card = dict[str, Any]

_KEPT = """
    SELECT question_id, image_id, split, kind, question, answer, phrases, evidence, evidence_share, missing_views,
           list_filter(regions, lambda region: region.rank < {most}) AS regions,
           images.width_px, images.height_px, source_path
    FROM questions JOIN images USING (image_id) WHERE question_id IN (SELECT unnest(?))
"""
_VIEWS = """
    SELECT question_id, view_id, image_id, role, kind, made_as, fallback, width_px, height_px, box, seed, params,
           evidence_overlap, sharpness, sharpness_ratio, same_size, same_encoding, hash_distance,
           detector_score, phrase_similarity, similarity_margin, flags
    FROM views WHERE question_id IN (SELECT unnest(?))
"""
_NUM_VIEWS = "SELECT count(*) AS num FROM views WHERE width_px > 0 AND question_id IN (SELECT unnest(?))"
_REASONS = "SELECT question_id, stage || '/' || reason AS why FROM rejects"
_REJECTED = """
    SELECT question_id, split, kind, question, stage, reason, message, image_path AS source_path, image_id
    FROM rejects LEFT JOIN images ON image_path = source_path WHERE question_id IN (SELECT unnest(?))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetConfig:
    """Choice of the questions to show."""

    num_questions: int = 300
    """Kept ones at most, and rejected ones at most, 0 or more. Ours: more than one looks through at a sitting."""
    seed: int = 0
    """Another seed draws others."""
    root: Path | None = None
    """Folder of the source's images, for rejected questions whose image the view set does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Questions that the page shows one by one, ready for JSON; `picture` and `full` name entries of `pictures`."""

    kept: tuple[Card, ...]
    rejected: tuple[Card, ...]
    pictures: Mapping[str, Thumbnail]


def draw_sheet(view_set: ViewSet, connection: Connection, config: SheetConfig, out: Stream | None = None) -> Sheet:
    """Cards of kept and rejected questions, drawn by a hash of (seed, question_id); of rejected ones each reason in turn.

    Fewer than asked for when the page would outgrow MAX_BYTES. Raises ShardError when a table cannot be read."""
    store = Store()
    rejected = _rejected(view_set, connection, config, store)
    kept: list[Card] = []
    num_bytes = sum(map(_size, rejected))
    ids = [row["question_id"] for row in rows_of(connection, "SELECT question_id FROM questions")]
    drawn = sorted(ids, key=lambda name: _lot(config.seed, name))[: config.num_questions]
    (views,) = rows_of(connection, _NUM_VIEWS, drawn)
    with Progress("report", views["num"], "views", out) as progress:
        for start in range(0, len(drawn), AT_ONCE):
            cards = _kept(view_set, connection, drawn[start : start + AT_ONCE])
            pictures = _pictures(view_set, cards, progress)
            for card in cards:
                wanted = [
                    pictures.get(name) for name in (card["image_id"], *(view["view_id"] for view in card["views"]))
                ]
                num_bytes += _size(card)
                if num_bytes + store.num_bytes + store.cost(wanted) > MAX_BYTES:
                    return Sheet(kept=tuple(kept), rejected=rejected, pictures=store.held)
                kept.append(_hung(card, pictures, store))
    return Sheet(kept=tuple(kept), rejected=rejected, pictures=store.held)


def _lot(seed: int, name: str) -> bytes:
    """Return the place of a question in the draw: neither the order of the files nor other questions matter."""
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()


def _kept(view_set: ViewSet, connection: Connection, ids: Sequence[str]) -> list[Card]:
    """Read kept questions from the tables, in the order of `ids`; views in the order of the recipe."""
    asked = view_set.manifest.config.get("views", {})
    kinds = [*asked.get("positive", ()), *asked.get("negative", ())]

    def place(view: Mapping[str, Any]) -> tuple[bool, int, str]:
        return view["role"] != "positive", kinds.index(view["kind"]) if view["kind"] in kinds else 999, view["view_id"]

    views: dict[str, list[Card]] = defaultdict(list)
    for view in sorted(rows_of(connection, _VIEWS, ids), key=place):
        # 64 bits: JavaScript's numbers have 53.
        views[view.pop("question_id")].append({**view, "seed": str(view["seed"])})
    found = {row["question_id"]: row for row in rows_of(connection, _KEPT.format(most=MAX_REGIONS), ids)}
    return [{**found[name], "views": views[name]} for name in ids if name in found]


def _rejected(view_set: ViewSet, connection: Connection, config: SheetConfig, store: Store) -> tuple[Card, ...]:
    """Rejected questions with their image, as far as it can be had and the room for them allows."""
    found = rows_of(connection, _REASONS)
    lots = sorted(found, key=lambda row: _lot(config.seed, row["question_id"]))
    turns: dict[str, int] = defaultdict(int)
    for row in lots:
        turns[row["why"]] += 1
        row["turn"] = turns[row["why"]]
    drawn = [row["question_id"] for row in sorted(lots, key=lambda row: row["turn"])][: config.num_questions]
    cards = {row["question_id"]: row for row in rows_of(connection, _REJECTED, drawn)}
    names = [card["image_id"] for card in cards.values() if card["image_id"]]
    pictures = dict(_shrunk(_read(view_set, "images", names), FULL_PX))
    shown: list[Card] = []
    num_bytes = 0
    for card in (cards[name] for name in drawn):
        held = pictures.get(card["image_id"]) or _from_source(card["source_path"], config.root)
        num_bytes += _size(card)
        if num_bytes + store.num_bytes + store.cost([held]) > REJECTED_SHARE * MAX_BYTES:
            break
        shown.append({**card, "full": store.add(held)})
    return tuple(shown)


def _from_source(source_path: str, root: Path | None) -> Thumbnail | None:
    """Open the image of a rejected question below `root`; None when it is not given, lies elsewhere or cannot be
    opened."""
    pure = PurePath(source_path)
    if root is None or pure.is_absolute() or ".." in pure.parts:
        return None
    try:
        return shrunk(open_image(root / pure, ImageConfig()).image, FULL_PX)
    except ImageError:
        return None


def _pictures(view_set: ViewSet, cards: Sequence[Card], progress: Progress) -> dict[str, Thumbnail | None]:
    """Small pictures of the cards' images and views, by id."""
    full = dict(_shrunk(_read(view_set, "images", [card["image_id"] for card in cards]), FULL_PX))
    names = [view["view_id"] for card in cards for view in card["views"] if view["width_px"]]
    return full | dict(progress.each(_shrunk(_read(view_set, "views", names), VIEW_PX)))


def _hung(card: Card, pictures: Mapping[str, Thumbnail | None], store: Store) -> Card:
    """Return the card with the names of its pictures; null where there is none."""
    views = [{**view, "picture": store.add(pictures.get(view["view_id"]))} for view in card["views"]]
    return {**card, "full": store.add(pictures.get(card["image_id"])), "views": views}


def _read(view_set: ViewSet, table: str, names: Iterable[str]) -> Iterator[list[tuple[str, bytes]]]:
    """Read stored images by id, a few at a time. Only the parts and columns that hold them are read."""
    key, wanted = TABLES[table].key, set(names)
    for path in view_set.table_paths(table) if wanted else ():
        rows = pl.scan_parquet(path, glob=False)
        try:
            here = [name for name in rows.select(key).collect()[key] if name in wanted]
            for start in range(0, len(here), READ_AT_ONCE):
                some = rows.filter(pl.col(key).is_in(here[start : start + READ_AT_ONCE]))
                yield list(some.select(key, pl.col("image").struct.field("bytes")).collect().iter_rows())
        except (OSError, pl.exceptions.PolarsError) as error:
            again = "Rebuild the view set with --force."
            raise ShardError(f"{path}: cannot be read ({' '.join(str(error).split())}). {again}") from None


def _shrunk(
    stored: Iterable[Sequence[tuple[str, bytes | None]]], longest_px: int
) -> Iterator[tuple[str, Thumbnail | None]]:
    """Ids with small pictures, in order; Pillow lets several threads work."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for some in stored:
            made = pool.map(lambda data: thumbnail(data, longest_px) if data else None, [data for _, data in some])
            yield from zip((name for name, _ in some), made, strict=True)


def _size(card: Card) -> int:
    """Bytes of a card in the page, without its pictures but with their names."""
    return len(htmlsafe_json_dumps(card, default=str)) + 32 * (1 + len(card.get("views", ())))


def finite(value: Any) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Return the value for JSON: numbers to five significant digits, null where not finite."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value
