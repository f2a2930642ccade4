"""Files and folders are there whole, or as they were before."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl
import pytest
from safetensors import SafetensorError

from viewgen.files import write_whole, write_whole_folder


def test_a_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with write_whole(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [*path.parent.iterdir()] == [path]


def test_a_crash_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), write_whole(path) as partial:
        (partial / "below a file that is not there").write_text("half")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_the_old_file_is_replaced_and_not_written_into(tmp_path: Path) -> None:
    path, other_name = tmp_path / "a.txt", tmp_path / "link"
    path.write_text("old")
    other_name.hardlink_to(path)
    with write_whole(path) as partial:
        partial.write_text("new")
    assert (path.read_text(), other_name.read_text()) == ("new", "old")


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "step-1"
    for name in ("first", "second"):
        with write_whole_folder(path) as partial:
            (partial / name).write_text(name)
    assert [file.name for file in path.iterdir()] == ["second"]
    assert [*tmp_path.iterdir()] == [path]


def test_a_crash_leaves_the_old_folder_and_what_a_killed_writer_left_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "step-1"
    with write_whole_folder(path) as partial:
        (partial / "whole").write_text("old")
    left = tmp_path / ".step-1.partial"
    left.mkdir()
    (left / "stale").write_text("of a killed writer")
    with pytest.raises(FileNotFoundError), write_whole_folder(path) as partial:
        (partial / "stale").read_text()
    assert [file.name for file in path.iterdir()] == ["whole"]
    assert [*tmp_path.iterdir()] == [path]


def half_written(writing: AbstractContextManager[Path], error: Exception) -> None:
    with writing as partial:
        (partial / "model" if partial.is_dir() else partial).write_bytes(b"half")
        raise error


@pytest.mark.fault(26)
def test_a_full_disk_names_the_file_whichever_library_met_it(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        pl.exceptions.ComputeError("No space left on device (os error 28)"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ):
        with pytest.raises(OSError) as refusal:
            half_written(write_whole(path), error)
        assert (refusal.value.errno, refusal.value.filename) == (errno.ENOSPC, str(path))
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError) as refusal:
        half_written(write_whole_folder(tmp_path / "step"), SafetensorError("No space left on device"))
    assert refusal.value.filename == str(tmp_path / "step")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(26)
def test_any_other_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="space"), write_whole(tmp_path / "a"):
        raise KeyError("space")


def test_what_fails_on_the_way_leaves_the_old_file_and_no_half_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with write_whole(path) as partial:
            partial.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_a_file_while_it_is_replaced_goes_on_reading_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old and whole")
    with path.open() as reader:
        with write_whole(path) as partial:
            partial.write_text("new")
        assert reader.read() == "old and whole"
    assert path.read_text() == "new"
