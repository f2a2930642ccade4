"""A view set on disk: whole files or none, and a reader that checks before it believes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from torch.utils.data import DataLoader

from viewgen.boxes import Box
from viewgen.decode import decode_image
from viewgen.errors import ShardError
from viewgen.viewset import shards
from viewgen.viewset.manifest import fingerprint, read_manifest, write_manifest
from viewgen.viewset.parts import file_record, table_path, write_table
from viewgen.viewset.schema import SCHEMA_VERSION, TABLES
from viewgen.viewset.shards import ViewSet

KINDS = ("crop", "off_region")


def refusal(path: Path, act: Callable[[ViewSet], object] = lambda view_set: None) -> str:
    with pytest.raises(ShardError) as error:
        act(ViewSet.open(path))
    assert "\n" not in str(error.value)
    return str(error.value)


def edit_manifest(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_samples_hold_what_the_tables_say_in_their_order(built: Path) -> None:
    samples = ViewSet.open(built).samples("train", KINDS)
    assert [sample.question_id for sample in samples] == ["0-sign", "2-sign", "4-sign"]
    first = samples[0]
    assert (first.question, first.kind, first.split, first.part) == ("What is on the red sign?", "sign", "train", 0)
    assert first.evidence == (Box(8, 16, 24, 32),)
    assert first.views == {"crop": ("0-sign/positive/crop/0",), "off_region": ("0-sign/negative/off_region/0",)}
    assert [sample.part for sample in samples] == [0, 1, 2]


def test_view_and_image_bytes_come_by_id_from_any_part(built: Path) -> None:
    view_set = ViewSet.open(built)
    samples = view_set.samples("train", KINDS)
    crops = view_set.view_bytes(sample.views["crop"][0] for sample in samples)
    images = view_set.image_bytes(sample.image_id for sample in samples)
    for sample in samples:
        image, crop = decode_image(images[sample.image_id]), decode_image(crops[sample.views["crop"][0]])
        assert crop.tobytes() == image.crop(sample.evidence[0].as_tuple()).tobytes()


def test_a_small_cache_gives_the_same_bytes_as_a_large_one(built: Path) -> None:
    ids = [sample.views["crop"][0] for sample in ViewSet.open(built).samples("train", KINDS)] * 2
    small, large = ViewSet.open(built, cache_mb=0.0), ViewSet.open(built)
    assert [small.view_bytes([name]) for name in ids] == [large.view_bytes([name]) for name in ids]
    assert len(small._cache._held) == 1
    assert len(large._cache._held) == 3


@pytest.mark.fault(34)
def test_only_rows_that_are_asked_for_are_kept_in_memory(built: Path) -> None:
    view_set = ViewSet.open(built)
    (sample, *_) = view_set.samples("train", KINDS)
    view_set.view_bytes(sample.views["crop"])
    assert [*view_set._cache._held] == [("views", "0-sign/positive/crop/0")]


def blank_column(path: Path, column: str) -> None:
    """Overwrite the pages of a column in a Parquet file: whoever reads it now gets an error or nonsense."""
    query = "SELECT coalesce(dictionary_page_offset, data_page_offset), total_compressed_size FROM parquet_metadata(?) "
    places = duckdb.execute(query + "WHERE path_in_schema = ?", [str(path), column]).fetchall()
    assert places
    data = bytearray(path.read_bytes())
    for start, size in places:
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)


def test_answers_are_not_read_from_disk_unless_asked_for(own: Path) -> None:
    answers = [sample.answer for sample in ViewSet.open(own).samples("train", KINDS, answers=True)]
    assert answers == ["answer-0", "answer-2", "answer-4"]
    for path in ViewSet.open(own).table_paths("questions"):
        blank_column(path, "answer")
    samples = ViewSet.open(own).samples("train", KINDS)
    assert [sample.answer for sample in samples] == [None, None, None]
    assert "cannot be read" in refusal(own, lambda view_set: view_set.samples("train", KINDS, answers=True))


def test_a_view_set_without_its_answers_is_read_like_one_with_them(own: Path) -> None:
    manifest = read_manifest(own)
    parts = []
    for part in manifest.parts:
        path = table_path(own, "questions", part.part)
        record = write_table(path, pl.read_parquet(path).drop("answer"))
        parts.append(replace(part, files={**part.files, "questions": record}))
    write_manifest(own, replace(manifest, parts=tuple(parts)))
    for answers in (False, True):
        samples = ViewSet.open(own).samples("train", KINDS, answers=answers)
        assert [sample.answer for sample in samples] == [None, None, None]


def test_an_unknown_split_is_answered_with_those_that_are_there(built: Path) -> None:
    message = refusal(built, lambda view_set: view_set.samples("tset", KINDS))
    assert message == f"{built}: holds no kept question of split 'tset'. It has: test (2), train (3)."


def test_a_kind_of_view_that_is_lacking_is_counted_and_those_here_are_named(built: Path) -> None:
    message = refusal(built, lambda view_set: view_set.samples("train", ("crop", "blurred")))
    kinds = "crop, masked, off_region, off_region_downsampled, shuffled_patches"
    assert message == (
        f"{built}: 3 of 3 samples of split 'train' have no view of kind 'blurred'. "
        f"Kinds here: {kinds}. Ask for one of them or rebuild with it."
    )


def test_an_unknown_id_is_named(built: Path) -> None:
    message = refusal(built, lambda view_set: view_set.view_bytes(["nobody/positive/crop/0"]))
    assert message == f"{built}: no 'nobody/positive/crop/0' in table views. Ask for ids that this view set gave."


def test_a_missing_folder_and_a_folder_of_something_else_are_told_apart(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert refusal(none) == f"{none}: there is no such folder. Make it with `viewgen build RECIPE --out {none}`."
    message = f"{tmp_path}: holds no manifest.json, so it is no view set. Give a folder of `viewgen build`."
    assert refusal(tmp_path) == message


def test_another_schema_version_is_refused_with_both_numbers(own: Path) -> None:
    edit_manifest(own, schema_version=SCHEMA_VERSION + 1)
    assert refusal(own) == (
        f"{own / 'manifest.json'}: schema version {SCHEMA_VERSION + 1}, this viewgen reads 2 and 3. "
        f"Rebuild with `viewgen build RECIPE --out {own} --force`."
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "JSONDecodeError: Expecting property name"),
        ("[]", "TypeError: "),
        ("{}", "KeyError: 'schema_version'"),
        (f'{{"schema_version": {SCHEMA_VERSION}}}', "made_by: "),
    ],
)
def test_a_broken_manifest_is_told_in_one_line(own: Path, text: str, what: str) -> None:
    (own / "manifest.json").write_text(text)
    message = refusal(own)
    assert message.startswith(f"{own / 'manifest.json'}: broken ({what}")
    assert message.endswith(f"Rebuild with `viewgen build RECIPE --out {own} --force`.")


def test_a_manifest_whose_parts_make_no_sense_is_broken(own: Path) -> None:
    parts = json.loads((own / "manifest.json").read_text())["parts"]
    edit_manifest(own, parts=[parts[1], parts[0], parts[2]])
    assert "parts are numbered [1, 0, 2]: expected rising numbers below 3" in refusal(own)
    del parts[2]["files"]["views"]
    edit_manifest(own, parts=parts)
    assert "part 2 has files of ['images', 'questions', 'rejects']" in refusal(own)


def test_an_unfinished_view_set_is_refused(own: Path) -> None:
    edit_manifest(own, num_parts=5)
    found = "3 of 5 parts are finished. Run the same `viewgen build` again: it goes on where it stopped."
    assert refusal(own) == f"{own}: {found}"


def test_a_missing_a_cut_and_a_swapped_file_are_refused_with_the_remedy(own: Path) -> None:
    path = table_path(own, "views", 1)
    again = f"Rebuild this part with `viewgen build RECIPE --out {own} --only 1`."
    data = path.read_bytes()
    path.unlink()
    assert refusal(own) == f"{path}: missing. {again}"
    path.write_bytes(data[:-10])
    said = f"has {len(data) - 10:,} bytes, the manifest says {len(data):,}"
    assert refusal(own) == f"{path}: {said}. {again}"
    path.write_bytes(b"\0" * len(data))
    assert refusal(own).startswith(f"{path}: cannot be read (")


def put(own: Path, part: int, table: str, rows: pl.DataFrame, said: int | None = None) -> None:
    """Write other rows and have the manifest agree, but for the number of rows when `said` is given."""
    manifest = read_manifest(own)
    record = replace(write_table(table_path(own, table, part), rows), rows=rows.height if said is None else said)
    parts = [replace(p, files={**p.files, table: record}) if p.part == part else p for p in manifest.parts]
    write_manifest(own, replace(manifest, parts=tuple(parts)))


def test_columns_and_row_counts_are_checked_against_schema_and_manifest(own: Path) -> None:
    path = table_path(own, "questions", 0)
    rows = pl.read_parquet(path)
    put(own, 0, "questions", rows, said=9)
    assert f"{path}: has {rows.height} rows, the manifest says 9." in refusal(own)
    put(own, 0, "questions", rows.with_columns(pl.col("evidence_share").cast(pl.String)))
    assert f"{path}: column 'evidence_share' is String, expected Float64." in refusal(own)
    put(own, 0, "questions", rows.drop("kind"))
    assert f"{path}: column 'kind' is None, expected String." in refusal(own)


@pytest.mark.parametrize(("table", "name"), [("images", None), ("views", "0-sign/positive/crop/0")])
def test_a_row_without_image_bytes_is_named_with_its_table_and_file(own: Path, table: str, name: str | None) -> None:
    path = table_path(own, table, 0)
    rows = pl.read_parquet(path)
    name = name or rows["image_id"][0]
    no_bytes = pl.col("image").struct.with_fields(pl.lit(None, pl.Binary).alias("bytes"))
    is_it = pl.col(TABLES[table].key) == name
    put(own, 0, table, rows.with_columns(pl.when(is_it).then(no_bytes).otherwise(pl.col("image")).alias("image")))
    read = ViewSet.image_bytes if table == "images" else ViewSet.view_bytes
    again = f"Rebuild this part with `viewgen build RECIPE --out {own} --only 0`."
    message = refusal(own, lambda view_set: read(view_set, [name]))
    assert message == f"{path}: row {name!r} of table {table} holds no image bytes. {again}"


def test_the_footer_holds_no_image_bytes(built: Path) -> None:
    for path in ViewSet.open(built).table_paths("views"):
        assert int.from_bytes(path.read_bytes()[-8:-4], "little") < 10_000


def test_a_fingerprint_names_content_and_not_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert len({fingerprint(thing) for thing in ([1, 2], [2, 1], ["1", 2], [[1], 2], {"1": 2})}) == 5


def test_a_view_set_can_be_moved(built: Path, tmp_path: Path) -> None:
    def contents(path: Path) -> Mapping[str, Any]:
        view_set = ViewSet.open(path)
        samples = view_set.samples("test", KINDS, answers=True)
        return {"samples": samples, "images": view_set.image_bytes(sample.image_id for sample in samples)}

    assert contents(built) == contents(Path(shutil.copytree(built, tmp_path / "elsewhere")))


# ---- faults found in use


def as_version_2(view_set: Path, **options: Any) -> None:
    """Write the files anew as version 2 had them: without checksums of views, and what the manifest says of it."""
    manifest = json.loads((view_set / "manifest.json").read_text())
    for part in manifest["parts"]:
        for table in ("images", "views", "questions"):
            path = table_path(view_set, table, part["part"])
            new = ("sha256",) if table == "views" else ("orientation", "options", "source", "box_basis")
            rows = pl.read_parquet(path)
            rows.drop([name for name in new if name in rows.columns]).write_parquet(path, **options)
            part["files"][table] = asdict(file_record(path))
    (view_set / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 2}))


def every_image(view_set: ViewSet) -> dict[str, bytes]:
    samples = view_set.samples("train", KINDS)
    ids = [view_id for sample in samples for views in sample.views.values() for view_id in views]
    return view_set.view_bytes(ids) | view_set.image_bytes(sample.image_id for sample in samples)


@pytest.mark.fault(7)
def test_every_bit_that_flips_in_an_image_is_noticed(own: Path) -> None:
    stream = np.random.default_rng(0)
    for number in range(24):
        table = ("images", "views")[number % 2]
        path = table_path(own, table, number % 3)
        whole = path.read_bytes()
        kept = pl.read_parquet(path).filter(pl.col("image").is_not_null())
        if table == "views":
            kept = kept.filter(
                pl.col("kind").is_in(KINDS) & pl.col("question_id").is_in(["0-sign", "2-sign", "4-sign"])
            )
        else:
            kept = kept.filter(pl.col("source_path").is_in(["0.png", "2.png", "4.png"]))
        image = kept["image"].struct.field("bytes")[0]
        at = whole.index(image) + int(stream.integers(len(image)))
        spoilt = bytearray(whole)
        spoilt[at] ^= 1 << int(stream.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises(
            ShardError, match=r"part-0000\d\.parquet: the image of row '.+' is damaged\. Rebuild this part"
        ):
            every_image(ViewSet.open(own))
        path.write_bytes(whole)
    every_image(ViewSet.open(own))


@pytest.mark.fault(7)
@pytest.mark.parametrize("compression", ["zstd", "uncompressed"])
def test_a_set_of_version_2_is_read_with_the_checks_that_it_has(built: Path, own: Path, compression: str) -> None:
    as_version_2(own, compression=compression)
    old = ViewSet.open(own)
    assert every_image(old) == every_image(ViewSet.open(built))
    sample = old.samples("train", KINDS)[0]
    assert (sample.options, sample.source) == ((), "")


@pytest.mark.fault(24)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_workers_of_a_data_loader_read_what_this_process_reads(
    built: Path, own: Path, start: str, packed: bool
) -> None:
    if packed:
        as_version_2(own, compression="zstd")
    view_set = ViewSet.open(own)
    ids: Any = [view_id for sample in view_set.samples("train", KINDS) for view_id in sample.views["crop"]]
    view_set.view_bytes(ids[:1])  # the cache and polars' threads are at work before the fork
    loader: Any = DataLoader(
        ids, batch_size=1, num_workers=2, multiprocessing_context=start, collate_fn=view_set.view_bytes, timeout=100
    )
    read = {name: data for batch in loader for name, data in batch.items()}
    assert read == ViewSet.open(built).view_bytes(ids)


@pytest.mark.fault(24)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_reader_that_has_read_nothing_can_be_used_behind_a_fork(built: Path) -> None:
    ids: Any = [sample.image_id for sample in ViewSet.open(built).samples("train", KINDS)]
    loader: Any = DataLoader(
        ids,
        batch_size=1,
        num_workers=1,
        multiprocessing_context="fork",
        collate_fn=ViewSet.open(built).image_bytes,
        timeout=100,
    )
    assert {name for batch in loader for name in batch} == {*ids}


@pytest.mark.fault(34)
def test_of_many_parts_the_columns_are_checked_when_a_part_is_read(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "EAGER_PARTS", 2)
    path = table_path(own, "views", 1)
    pl.read_parquet(path).with_columns(pl.lit(1).alias("role")).write_parquet(path)
    manifest = read_manifest(own)
    parts = [
        replace(part, files={**part.files, "views": file_record(path)}) if part.part == 1 else part
        for part in manifest.parts
    ]
    write_manifest(own, replace(manifest, parts=tuple(parts)))
    opened = ViewSet.open(own)
    with pytest.raises(ShardError, match=r"views/part-00001\.parquet: column 'role' is Int32, expected String"):
        opened.view_kinds("positive")


@pytest.mark.fault(34)
def test_reading_one_row_reads_little_more_than_its_bytes(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view_set = ViewSet.open(own)
    names = view_set.samples("train", KINDS)[0].views["crop"]
    view_set.view_bytes(view_set.samples("train", KINDS)[1].views["crop"])
    monkeypatch.setattr(ViewSet, "_read", None)  # no table is read for it
    (data,) = view_set.view_bytes(names).values()
    place = view_set._places["views", 0]
    assert place is not None
    assert len(data) in {length for _, length in filter(None, place[1])}
