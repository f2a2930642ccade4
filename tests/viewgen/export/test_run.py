"""Exports are written whole or not at all, divided by size, and say what they left out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest

from viewgen.cli import run
from viewgen.errors import SettingsError, ShortfallError
from viewgen.export.run import CONSUMERS, ExportConfig, export
from viewgen.settings import settings_from
from viewgen.viewset.shards import ViewSet


def test_a_table_is_divided_into_files_of_one_schema(views: ViewSet, tmp_path: Path) -> None:
    whole = export(views, ExportConfig(to="verl"), tmp_path / "whole.parquet", io.StringIO())
    parts = export(views, ExportConfig(to="verl", file_mb=0.3), tmp_path / "parts.parquet", io.StringIO())
    names = [path.name for path in parts.files]
    assert len(names) > 1
    assert names == [f"parts-{number:05d}-of-{len(names):05d}.parquet" for number in range(len(names))]
    assert len({str(pl.read_parquet_schema(path)) for path in parts.files}) == 1
    joined = pl.concat([pl.read_parquet(path) for path in parts.files])
    assert joined.equals(pl.read_parquet(whole.files[0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["whole.parquet", *names])


def test_nothing_is_written_where_nothing_can_be_handed_on(views: ViewSet, tmp_path: Path) -> None:
    for name, out in (("trl-dpo", "dpo"), ("llama-factory", "lf"), ("swift-dpo", "dpo.parquet")):
        with pytest.raises(ShortfallError, match=r"no question of 1 can be handed on: of 1, as 'f', it has no answer"):
            export(views, ExportConfig(to=name, where="question_id = 'f'"), tmp_path / out, io.StringIO())
    with pytest.raises(ShortfallError, match="no question of 1 can be handed on: of 1, as 'd', its question holds"):
        export(views, ExportConfig(to="coco", where="question_id = 'd'"), tmp_path / "coco", io.StringIO())
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_and_names_have_the_end_that_is_read(views: ViewSet, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(SettingsError, match=r"mine: is there already\. Name another place\.$"):
        export(views, ExportConfig(to="hf"), tmp_path / "mine", io.StringIO())
    with pytest.raises(SettingsError, match=r"out\.pt: verl is read by the end of its name\. Call it out\.parquet\.$"):
        export(views, ExportConfig(to="verl"), tmp_path / "out.pt", io.StringIO())
    with pytest.raises(SettingsError, match=r"Call it out\.tar\.$"):
        export(views, ExportConfig(to="webdataset"), tmp_path / "out", io.StringIO())


def test_an_unknown_form_is_answered_with_the_known() -> None:
    with pytest.raises(SettingsError, match=r"to is 'swft'.*swift"):
        settings_from({"to": "swft"}, ExportConfig, "viewgen export")
    with pytest.raises(SettingsError, match=r"take no pairs of images: swift-dpo does"):
        settings_from({"to": "mdpo"}, ExportConfig, "viewgen export")


def test_the_command_says_what_was_left_out_and_why(
    exported_from: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train.parquet"
    assert run(["export", str(exported_from), "--to", "swift", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "5 questions = 4 written + 1 left out",
        "  1: its question holds '<image>', which loaders take for a picture ('d')",
        str(out),
    ]
    folder = tmp_path / "dpo"
    assert run(["export", str(exported_from), "--to", "trl-dpo", "--out", str(folder)]) == 3
    assert folder.is_dir()
    assert "more than half of the questions were left out" in capsys.readouterr().err


def test_a_folder_has_a_header_by_which_datasets_decodes_its_pictures(views: ViewSet, tmp_path: Path) -> None:
    for name in ("hf", "llama-factory"):
        export(views, ExportConfig(to=name), tmp_path / name, io.StringIO())
    header = (tmp_path / "hf" / "README.md").read_text().split("---")[1]
    assert "  - split: train\n    path: data/*.parquet\n" in header
    assert "  - name: image\n    dtype: image\n" in header
    assert "  - name: positive\n    list: image\n" in header
    entry = json.loads((tmp_path / "llama-factory" / "dataset_info.json").read_text())["viewgen"]
    assert entry["file_name"] == "data"
    assert (tmp_path / "llama-factory" / "data" / "rows.parquet").is_file()


def test_two_folders_are_told_apart_in_the_cache_of_datasets(views: ViewSet, tmp_path: Path) -> None:
    for name, where in (("one", "question_id = 'a'"), ("two", "question_id = 'b'"), ("same", "question_id = 'a'")):
        export(views, ExportConfig(to="hf", where=where), tmp_path / name, io.StringIO())
    one, two, same = ((tmp_path / name / "README.md").read_text().split("---")[1] for name in ("one", "two", "same"))
    assert one == same != two
    datasets = pytest.importorskip("datasets")  # our own folder of that name stands in for it where it is not installed
    if not hasattr(datasets, "load_dataset"):
        pytest.skip("Hugging Face's datasets is not installed")
    for name, expected in (("one", "a"), ("two", "b")):
        (row,) = datasets.load_dataset(str(tmp_path / name), split="train", cache_dir=str(tmp_path / "cache"))
        assert row["question_id"] == expected
        assert row["image"].mode == "RGB"
        assert [picture.size for picture in row["positive"]] == [(40, 40)]


def test_every_form_says_who_reads_it(views: ViewSet, tmp_path: Path) -> None:
    ends = {"webdataset": ".tar", **dict.fromkeys(("hf", "trl-dpo", "llama-factory", "boxes", "coco"), "")}
    for name, about in CONSUMERS.items():
        assert about.endswith(".")
        report = export(
            views,
            ExportConfig(to=name, where="answer = 'A'"),
            tmp_path / f"{name}{ends.get(name, '.parquet')}",
            io.StringIO(),
        )
        assert report.num_rows == 1
