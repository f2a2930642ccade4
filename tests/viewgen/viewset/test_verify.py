"""A bit that is flipped anywhere is found, and named with the row where it is one of an image."""

from __future__ import annotations

import io
import json
import random
import shutil
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from viewgen.cli import run
from viewgen.errors import ShardError
from viewgen.viewset.parts import write_table
from viewgen.viewset.shards import ViewSet
from viewgen.viewset.verify import Checked, refuse_damage, verify


def check(views: Path) -> Checked:
    return verify(views, 2, io.StringIO())


def rewrite(views: Path, table: str, change: pl.Expr | None = None, drop: int | None = None) -> Path:
    """Change a table's rows and make the manifest agree."""
    path = views / table / "part-00000.parquet"
    rows = pl.read_parquet(path)
    rows = rows if change is None else rows.with_columns(change)
    rows = rows if drop is None else rows.slice(drop)
    manifest = json.loads((views / "manifest.json").read_text())
    manifest["parts"][0]["files"][table] = asdict(write_table(path, rows))
    (views / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return path


def test_a_sound_view_set_is_as_it_was_written(built: Path) -> None:
    checked = check(built)
    assert checked.damages == ()
    opened = ViewSet.open(built)
    assert checked.num_files == 4 * len(opened.parts)
    images, views = (pl.read_parquet(built / table / "*.parquet") for table in ("images", "views"))
    assert checked.num_images == len(images) + int(views["image"].is_not_null().sum())
    refuse_damage(built)
    assert ViewSet.open(built, verify=True).parts == opened.parts


def test_one_flipped_bit_is_found_wherever_it_is(own: Path) -> None:
    draw = random.Random(7)
    files = sorted(path for path in own.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".parquet", ".json", ".md"}
    for path in files * 3:
        whole = path.read_bytes()
        place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            found = [damage.path for damage in check(own).damages]
        except ShardError as error:  # a manifest that is no JSON any more
            found = [path] if str(path) in str(error) else []
        assert found, f"{path.name}: bit {bit} of byte {place}"
        if path.suffix == ".parquet":
            assert found[0] == path
        path.write_bytes(whole)
    assert check(own).damages == ()


def test_the_row_of_a_damaged_image_is_named(own: Path) -> None:
    path = own / "views" / "part-00000.parquet"
    rows = pl.read_parquet(path)
    name, data = rows["view_id"][1], rows["image"][1]["bytes"]
    whole = path.read_bytes()
    place = whole.index(data) + len(data) // 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    said = [damage.what for damage in check(own).damages]
    assert said == [
        "its bytes are not those that were written (SHA-256)",
        f"row {name!r}: its image is not the one that was written (SHA-256)",
    ]


def test_rows_that_speak_of_rows_that_are_not_there(own: Path) -> None:
    path = rewrite(own, "images", drop=1)
    said = {damage.path: damage.what for damage in check(own).damages if "stand in no row" in damage.what}
    assert {path.parent.name for path in said} == {"questions", "views"}
    assert all("1 of its image_id stand in no row of images, as " in what for what in said.values())
    assert path.parent.name == "images"


def test_sizes_that_are_others_than_those_of_the_pixels(own: Path) -> None:
    rewrite(own, "views", pl.col("width_px") + 1)
    assert any("its row says" in damage.what for damage in check(own).damages)


@pytest.mark.parametrize(("table", "key"), [("images", "image_id"), ("views", "view_id"), ("questions", "question_id")])
def test_keys_that_stand_twice_are_named_whatever_else_is_wrong(table: str, key: str, own: Path) -> None:
    path = own / table / "part-00000.parquet"
    name = pl.read_parquet(path)[key][0]
    rewrite(own, table, pl.lit(name).alias(key))
    damages = check(own).damages
    assert len(damages) > 1
    found = [damage.path for damage in damages if damage.what == f"{key} {name!r} stands in several rows"]
    others = {damage.path for damage in damages}
    assert found == [path] or path in others


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("description: viewgen", "description: viewgem", "was changed since it was written"),
        ("# A view set", "# A view sat", "was changed since it was written"),
        ("SHA-256 of what stands", "SHA-256 of what stinks", "was changed since it was written"),
        (" -->\n", " -->", "was changed since it was written"),
    ],
)
def test_a_changed_card_is_found_whatever_changed_in_it(was: str, now: str, said: str, own: Path) -> None:
    card = own / "README.md"
    card.write_text(card.read_text().replace(was, now))
    assert [(damage.path, damage.what) for damage in check(own).damages] == [(card, said)]


def test_a_manifest_that_still_reads_well_is_told_by_the_card(own: Path) -> None:
    path = own / "manifest.json"
    text = path.read_text()
    assert '"seed": 3' in text
    path.write_text(text.replace('"seed": 3', '"seed": 4'))
    assert [(damage.path.name, damage.what) for damage in check(own).damages] == [
        ("README.md", "is not the card of this manifest")
    ]


def test_a_card_of_an_earlier_version_is_no_damage(own: Path) -> None:
    """It named no hash, and its words were others."""
    card = own / "README.md"
    card.write_text("---\nconfigs:\n---\n# A view set\n\nMade by hand.\n")
    assert check(own).damages == ()
    card.unlink()
    assert [damage.what for damage in check(own).damages] == ["missing"]


def test_questions_that_are_neither_kept_nor_rejected(own: Path) -> None:
    rewrite(own, "rejects", drop=1)
    assert any("questions came in, " in damage.what for damage in check(own).damages)


def test_strange_files_and_missing_ones(own: Path) -> None:
    shutil.copy(own / "views" / "part-00000.parquet", own / "views" / "part-00077.parquet")
    (own / "images" / "part-00001.parquet").unlink()
    said = {damage.path.name: damage.what for damage in check(own).damages}
    assert said == {"part-00077.parquet": "stands in no line of manifest.json", "part-00001.parquet": "missing"}


def test_the_command_names_the_parts_to_make_again(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(own)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(": all as written")
    path = own / "questions" / "part-00002.parquet"
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    assert run(["verify", str(own)]) == 2
    told = capsys.readouterr()
    assert str(path) in told.out
    assert f"viewgen build RECIPE --out {own} --only 2" in told.err
    with pytest.raises(ShardError, match="See all: viewgen verify"):
        ViewSet.open(own, verify=True)
