"""Pictures that come inside of tables or from addresses: kept once, named alike everywhere, lost to no passing fault."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from PIL import Image

from viewgen.build.builder import BuildOptions, build_views
from viewgen.decode import UnusableImageError
from viewgen.errors import RecipeError
from viewgen.records import Question
from viewgen.source import pictures
from viewgen.source.images import ImageConfig
from viewgen.source.pictures import cached, check_kept, fetched, file_of, keep, locate, taken
from viewgen.source.recipe import SourceConfig, read_questions

SILENT = BuildOptions(num_threads=2, num_workers=0, progress_out=io.StringIO())


SMALL = "[evidence]\nmin_side_px = 32\n"


def encoded(kind: str = "PNG", colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (400, 300), colour).save(file, format=kind)
    return file.getvalue()


@pytest.fixture
def names(tmp_path: Path) -> Callable[..., list[str]]:
    """names(values) -> image_path of each row whose column `image` holds them."""

    def read(values: list[Any], column: str = "image") -> list[str]:
        ids = [f"{number:03d}" for number in range(len(values))]
        pl.DataFrame({"question_id": ids, column: values, "question": "What?"}, strict=False).write_parquet(
            tmp_path / "q.parquet"
        )
        source = SourceConfig(root=".", query="FROM 'q.parquet'")
        found = {each.question_id: each.image_path for each in read_questions(source, tmp_path / "r.toml")}
        return [found[name] for name in ids]

    return read


@pytest.mark.fault(19)
@pytest.mark.parametrize("column", ["image", "image_path"])
def test_every_form_of_a_picture_is_the_same_picture(column: str, names: Callable[..., list[str]]) -> None:
    data, jpeg = encoded(), encoded("JPEG")
    text = base64.b64encode(data).decode()
    whole = "bytes:" + hashlib.sha256(data).hexdigest()[:16]
    for value in ([data], [text], [f"data:image/png;base64,{text}"], ["\n".join([text[:60], text[60:]])], [[data]]):
        assert names(value, column) == [whole]
    assert names([{"bytes": data, "path": "folder/a b.png"}], column) == [f"{whole}-a b.png"]
    assert names([{"bytes": data, "path": None}], column) == [whole]
    assert names([{"bytes": None, "path": "photos/a.png"}], column) == ["photos/a.png"]
    (name,) = names([base64.b64encode(jpeg).decode()], column)
    assert cached(name).read_bytes() == jpeg


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    "path", ["9j/a.png", "R0lGOD.gif", "x" * 5_000, "iVBORw0KGgo/" + "a" * 60 + ".png", "/9j/" + "a/b.jpg"]
)
def test_paths_that_look_a_little_like_pictures_are_paths(path: str) -> None:
    assert taken(path) == path


@pytest.mark.fault(19)
def test_what_is_no_picture_is_a_rejected_row_with_its_reason(tmp_path: Path) -> None:
    good, other = encoded(), encoded(colour="blue")
    broken = base64.b64encode(other).decode()[:-3] + "?"
    values = [good, None, b"", other[:90], b"no picture", other]
    ids = [f"q{number}" for number in range(len(values))]
    box = [[{"phrase": "cup", "x0": 20, "y0": 20, "x1": 60, "y1": 60}]] * len(values)
    rows = {"question_id": ids, "image": values, "question": "Where is the cup?", "boxes": box}
    pl.DataFrame(rows).write_parquet(tmp_path / "q.parquet")
    (tmp_path / "recipe.toml").write_text("[source]\nroot = '.'\nquery = \"FROM 'q.parquet'\"\n" + SMALL)
    build_views(tmp_path / "recipe.toml", tmp_path / "views", SILENT)
    kept = pl.read_parquet(tmp_path / "views" / "questions" / "*.parquet")["question_id"].sort().to_list()
    assert kept == ["q0", "q5"]
    images = pl.read_parquet(tmp_path / "views" / "images" / "*.parquet")
    assert {image["bytes"] for image in images["image"]} == {good, other}
    assert not any(str(tmp_path) in path for path in images["source_path"])
    rejects = pl.read_parquet(tmp_path / "views" / "rejects" / "*.parquet").sort("question_id")
    assert rejects["question_id"].to_list() == ["q1", "q2", "q3", "q4"]
    assert set(rejects["stage"]) == {"images"}
    assert set(rejects["reason"]) == {"unreadable_image"}
    assert cached(taken(broken)).is_file()  # text that begins like a picture: kept as it is, and unreadable
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(cached(taken(broken)))


@pytest.mark.fault(19)
def test_a_hub_cache_with_linked_parquet_files_of_pictures_is_read_as_it_lies(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc" / "data"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number in range(2):
        rows = {
            "id": [number * 2, number * 2 + 1],
            "image": [{"bytes": encoded(colour=c), "path": "image.png"} for c in ("red", "lime" if number else "blue")],
            "question": ["Where is the cup?"] * 2,
        }
        pl.DataFrame(rows).write_parquet(blobs / f"{number}")
        (snapshot / f"test-0000{number}-of-00002.parquet").symlink_to(Path("../../../blobs") / f"{number}")
    query = "SELECT id AS question_id, image, question, 'test' AS split FROM 'data/test-*.parquet'"
    questions = read_questions(SourceConfig(root="snapshots/abc", query=query), tmp_path / "r.toml")
    assert len(questions) == 4
    assert len({question.image_path for question in questions}) == 3  # equal bytes are one picture
    assert all(question.image_path.endswith("-image.png") for question in questions)


def test_a_kept_picture_is_checked_and_a_lost_one_is_looked_for_again(tmp_path: Path) -> None:
    name = keep(encoded(), "a.png")
    check_kept(name, name.removeprefix("bytes:")[:16] + "0" * 48)
    with pytest.raises(UnusableImageError, match=r"held another picture.*Build again"):
        check_kept(name, "0" * 64)
    assert not cached(name).exists()
    assert locate(name, tmp_path, ImageConfig(), follow_links=False, fetch=False) == (name, cached(name))
    assert file_of(name, tmp_path) == cached(name)
    assert file_of("a/b.png", tmp_path) == tmp_path / "a" / "b.png"


@pytest.fixture
def bucket() -> Iterator[Any]:
    """Return a store in memory, which fsspec knows by memory://."""
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/pictures", recursive=True)


def test_addresses_are_fetched_once_and_only_where_the_recipe_says_so(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("/pictures/a.png", encoded())
    address = "memory://pictures/a.png"
    with pytest.raises(UnusableImageError, match=r"is an address \(memory:\)\. Set source\.fetch = true"):
        locate(address, tmp_path, ImageConfig(), follow_links=False, fetch=False)
    name, file = locate(address, tmp_path, ImageConfig(), follow_links=False, fetch=True)
    assert (name, file.read_bytes()) == (address, encoded())
    bucket.pipe("/pictures/a.png", b"changed since")
    assert fetched(address, 100.0).read_bytes() == encoded()
    assert file_of(address, tmp_path) == file


@pytest.mark.parametrize(
    "address",
    [
        *("file:///etc/passwd", "local:///etc/passwd", "zip://a.png::file:///etc/x.zip"),
        *("https://a::file:///etc/passwd", "git://x/a.png", "reference://x"),
    ],
)
def test_an_address_that_could_read_files_of_this_machine_is_none(address: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableImageError) as refused:
        locate(address, tmp_path, ImageConfig(), follow_links=False, fetch=True)
    assert refused.value.reason in {"remote_image", "outside_root"}


def test_an_address_without_a_picture_is_missing_and_a_large_one_too_large(bucket: Any) -> None:
    bucket.pipe("/pictures/large.png", bytes(2_000))
    with pytest.raises(UnusableImageError, match=r"memory://pictures/no\.png: there is no such image") as missing:
        fetched("memory://pictures/no.png", 100.0)
    assert missing.value.reason == "missing_image"
    with pytest.raises(UnusableImageError, match=r"more than max_file_mb 0\.001") as large:
        fetched("memory://pictures/large.png", 0.001)
    assert large.value.reason == "oversize_image"
    assert not cached("memory://pictures/large.png").exists()


@pytest.mark.fault(6)
def test_a_passing_fault_of_the_way_is_tried_again_then_stops_and_loses_nothing(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe("/pictures/b.png", encoded(colour="blue"))
    address, real, faults = "memory://pictures/b.png?key=secret", fsspec.open, [TimeoutError("slow"), OSError("reset")]

    def shaky(address: str, mode: str) -> Any:
        if faults:
            raise faults.pop()
        return real(address.partition("?")[0], mode=mode)

    monkeypatch.setattr(pictures, "RETRY_AFTER_S", (0.0, 0.0))
    monkeypatch.setattr(fsspec, "open", shaky)
    assert fetched(address, 100.0).read_bytes() == encoded(colour="blue")
    cached(address).unlink()
    faults += [TimeoutError("slow")] * 3
    with pytest.raises(RecipeError) as stopped:
        fetched(address, 100.0)
    what = "memory://pictures/b.png: cannot be fetched (slow)"
    assert str(stopped.value) == f"{what}. Run the same command again: images that were fetched are kept."


def test_a_scheme_that_nothing_opens_is_one_line() -> None:
    with pytest.raises(RecipeError, match=r"^gopher://x\.org/a\.png: cannot be fetched \(.*Run `pip install"):
        fetched("gopher://x.org/a.png", 100.0)


def test_a_source_of_addresses_is_refused_before_anything_is_fetched_or_built(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("/pictures/a.png", encoded())
    box = "[{phrase: 'cup', x0: 20, y0: 20, x1: 60, y1: 60}] AS boxes"
    query = f"SELECT 'q' AS question_id, 'memory://pictures/a.png' AS image, 'Where is the cup?' AS question, {box}"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'[source]\nroot = "."\nquery = "{query}"\n{SMALL}')
    with pytest.raises(RecipeError, match=r"1 of 1 images are addresses, as 'memory:.*Set source\.fetch = true"):
        build_views(recipe, tmp_path / "views", SILENT)
    recipe.write_text(f'[source]\nroot = "."\nfetch = true\nquery = "{query}"\n{SMALL}')
    build_views(recipe, tmp_path / "views", SILENT)
    (image,) = pl.read_parquet(tmp_path / "views" / "images" / "*.parquet").iter_rows(named=True)
    assert (image["source_path"], image["image"]["bytes"]) == ("memory://pictures/a.png", encoded())


def test_exactly_one_column_names_the_image(tmp_path: Path) -> None:
    def refusal(columns: str) -> str:
        source = SourceConfig(root=".", query=f"SELECT 'q' AS question_id, 'What?' AS question{columns}")
        with pytest.raises(RecipeError) as refused:
            read_questions(source, tmp_path / "r.toml")
        return str(refused.value).partition("r.toml: ")[2]

    assert refusal(", 'a' AS image, 'b' AS image_path").startswith("source.query gives both 'image' and 'image_path'.")
    assert refusal("").startswith("source.query gives no column 'image_path', only ")
    (question,) = read_questions(
        SourceConfig(root=".", query="SELECT 'q' AS question_id, 'What?' AS question, 'a.png' AS image"),
        tmp_path / "r.toml",
    )
    assert isinstance(question, Question)
    assert question.image_path == "a.png"
