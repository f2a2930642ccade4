"""A whole build on a small real source: every question is kept or rejected, and no kill or change is ever hidden."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from PIL import Image

from viewgen.build.builder import BuildOptions, BuildReport, build_views
from viewgen.decode import decode_image, encode_png
from viewgen.errors import ModelError, RecipeError, ReviewsError, ShardError
from viewgen.grounding.regions import Finder, ImageQuery, ImageRegions, RegionFinder, RegionsConfig
from viewgen.viewset.manifest import read_manifest
from viewgen.viewset.parts import table_path
from viewgen.viewset.schema import TABLES
from viewgen.viewset.shards import ViewSet

if TYPE_CHECKING:
    from tests.viewgen.conftest import Source

Files = Callable[[Path], Mapping[str, bytes]]
QUIET = BuildOptions(progress_out=StringIO(), num_threads=2, num_workers=0)
ANNOTATED = Finder(config=RegionsConfig(method="annotated"))


class Killed(BaseException):
    """Stands for whatever ends a process."""


class DiesAt:
    """The annotated finder, until the image of that number."""

    models: Mapping[str, str] = {}
    detector = None
    retriever = None

    def __init__(self, number: int) -> None:
        self.left = number

    def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
        self.left -= len(images)
        if self.left < 0:
            raise Killed
        return ANNOTATED.find(images)


class Weighted:
    """The annotated finder with a model to its name."""

    detector = None
    retriever = None

    def __init__(self, sha256: str) -> None:
        self.models = {"finder": sha256}

    def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
        return ANNOTATED.find(images)


def build(source: Source, out: Path, options: BuildOptions = QUIET, finder: RegionFinder | None = None) -> BuildReport:
    return build_views(source.recipe, out, options, finder)


def rows(out: Path, table: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in ViewSet.open(out).table_paths(table)])


def refusal(source: Source, out: Path, options: BuildOptions = QUIET, finder: RegionFinder | None = None) -> str:
    with pytest.raises(ShardError) as error:
        build(source, out, options, finder)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{out}: ")


def rejects(out: Path) -> list[tuple[str, str, str]]:
    return rows(out, "rejects").select("question_id", "stage", "reason").rows()


def test_every_question_is_kept_with_its_views_or_rejected_with_its_reason(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "views"
    report = build(source, out)
    assert (report.num_parts, report.num_made, report.num_reused) == (3, 3, 0)
    kept = rows(out, "questions")
    assert kept["question_id"].to_list() == [f"{number}-sign" for number in range(5)]
    assert rejects(out) == [(f"{number}-ghost", "evidence", "no_region") for number in range(5)]
    assert kept["evidence_share"].to_list() == [16 * 16 / (64 * 64)] * 5
    assert rows(out, "views").height == 5 * 5
    assert rows(out, "images").height == 5
    assert sum(part.num_questions for part in read_manifest(out).parts) == len(source.rows())


def test_every_table_has_the_columns_of_the_schema_and_no_null_where_none_may_be(built: Path) -> None:
    for name, table in TABLES.items():
        held = rows(built, name)
        assert dict(held.schema) == dict(pl.Schema(table.polars))
        for column_name, column in table.columns.items():
            assert column.nullable or held[column_name].null_count() == 0


def test_keys_are_distinct_and_every_reference_is_met_within_the_part(built: Path) -> None:
    for table in TABLES.values():
        assert rows(built, next(name for name, t in TABLES.items() if t is table))[table.key].is_unique().all()
    for part in ViewSet.open(built).parts:
        held = {name: pl.read_parquet(table_path(built, name, part)) for name in TABLES}
        assert set(held["views"]["question_id"]) == set(held["questions"]["question_id"])
        assert set(held["questions"]["image_id"]) == set(held["images"]["image_id"])


def test_the_positive_view_is_the_exact_cut_and_the_negative_does_not_touch_it(source: Source, tmp_path: Path) -> None:
    build(source, tmp_path / "views")
    view_set = ViewSet.open(tmp_path / "views")
    (sample, *_) = view_set.samples("train", ("crop", "off_region"))
    crop = decode_image(view_set.view_bytes(sample.views["crop"])[sample.views["crop"][0]])
    assert crop.tobytes() == Image.open(source.data / "0.png").crop((8, 16, 24, 32)).tobytes()
    views = rows(tmp_path / "views", "views").filter(pl.col("question_id") == "0-sign")
    cut = views.filter(pl.col("kind") != "shuffled_patches")
    overlaps = dict(cut.select("kind", "evidence_overlap").iter_rows())
    assert overlaps == {
        "crop": 1.0,
        "off_region": 0.0,
        "off_region_downsampled": 0.0,
        "masked": 0.0,
    }


def test_images_that_cannot_be_opened_reject_their_questions_and_the_rest_is_built(
    source: Source, tmp_path: Path
) -> None:
    (source.data / "0.png").write_bytes(b"no image")
    (source.data / "1.png").unlink()
    (source.data / "2.png").write_bytes(encode_png(Image.new("RGB", (400, 300))))
    held = source.rows()
    held[6]["image_path"] = "../recipe.toml"
    held[7]["image_path"] = "/etc/hostname"
    source.write_rows(held)
    source.write_recipe(more="[images]\nmax_megapixels = 0.1\n")
    build(source, tmp_path / "views")
    columns = ["question_id", "stage", "reason", "message"]
    reasons = rows(tmp_path / "views", "rejects").sort("question_id").select(columns)
    broken = "not an image that can be read whole (no known image format)"
    large = "0.1 megapixels, more than max_megapixels 0.1"
    outside = "image_path leaves the recipe's root"
    assert reasons.rows() == [
        ("0-ghost", "images", "unreadable_image", broken),
        ("0-sign", "images", "unreadable_image", broken),
        ("1-ghost", "images", "missing_image", "there is no such file"),
        ("1-sign", "images", "missing_image", "there is no such file"),
        ("2-ghost", "images", "oversize_image", large),
        ("2-sign", "images", "oversize_image", large),
        ("3-ghost", "images", "outside_root", outside),
        ("3-sign", "images", "outside_root", outside),
        ("4-ghost", "evidence", "no_region", reasons["message"][8]),
    ]
    assert rows(tmp_path / "views", "questions")["question_id"].to_list() == ["4-sign"]


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("box_format", "units", "box"),
    [("xyxy", "0..1", (8, 16, 24, 32)), ("xywh", "pixels", (8, 16, 16, 16)), ("cxcywh", "0..1000", (16, 24, 16, 16))],
)
def test_declared_boxes_give_the_views_of_pixel_boxes(
    source: Source, tmp_path: Path, box_format: str, units: str, box: tuple[int, ...]
) -> None:
    build_views(source.recipe, tmp_path / "pixels", QUIET)
    scale = {"0..1": 1 / 64, "pixels": 1, "0..1000": 1000 / 64}[units]
    rows = source.rows()
    for row in rows:
        row["boxes"] = [{"phrase": "the red sign", "box": [number * scale for number in box]}] * len(row["boxes"])
    source.write_rows(rows)
    text = source.recipe.read_text()
    declared = f'[source]\nbox_format = "{box_format}"\nbox_units = "{units}"\n'
    source.recipe.write_text(text.replace("[source]\n", declared))
    build_views(source.recipe, tmp_path / "declared", QUIET)
    for table in ("questions", "views", "rejects"):
        pixels, other = (pl.read_parquet(tmp_path / name / table / "*.parquet") for name in ("pixels", "declared"))
        assert pixels.equals(other), table
        assert pixels.height


@pytest.mark.fault(3)
def test_a_box_outside_its_image_is_a_rejected_row_and_units_of_a_whole_source_stop_the_build(
    source: Source, tmp_path: Path
) -> None:
    rows = source.rows()
    outside = {"phrase": "the red sign", "x0": 50, "y0": 10, "x1": 90, "y1": 30, "score": 1.0}
    rows[0]["boxes"] = [outside, {**rows[0]["boxes"][0], "score": 0.2}]  # the weaker box must not take its place
    source.write_rows(rows)
    build_views(source.recipe, tmp_path / "views", QUIET)
    rejects = pl.read_parquet(tmp_path / "views" / "rejects" / "*.parquet").filter(question_id=rows[0]["question_id"])
    assert rejects.select("stage", "reason").rows() == [("evidence", "box_outside")]
    assert rejects["message"].item() == "the box (50, 10, 90, 30) of 'the red sign' lies to 65% outside the 64 x 64 px"
    for row in rows:
        row["boxes"] = [{"phrase": "the red sign", "box": [0.1, 0.2, 0.3, 0.4]} for _ in row["boxes"]]
    source.write_rows(rows)
    with pytest.raises(RecipeError, match=r'6 of 6 boxes, .* lie within 0 to 1, .* Set source.box_units = "0..1"\.$'):
        build_views(source.recipe, tmp_path / "others", QUIET)


def test_a_path_that_no_file_can_have_rejects_its_question_alone(source: Source, tmp_path: Path) -> None:
    held = source.rows()
    held[0]["image_path"] = "a" * 300 + ".png"
    held[2]["image_path"] = "a\0b.png"
    source.write_rows(held)
    build(source, tmp_path / "views")
    assert {name for name, stage, _ in rejects(tmp_path / "views") if stage == "images"} == {"0-sign", "1-sign"}
    kept = rows(tmp_path / "views", "questions")["question_id"]
    assert kept.to_list() == ["2-sign", "3-sign", "4-sign"]


def test_a_question_without_a_phrase_is_rejected_by_that_stage(source: Source, tmp_path: Path) -> None:
    held = source.rows()
    held[0] |= {"question": "Hm?", "boxes": []}
    source.write_rows(held)
    build(source, tmp_path / "views")
    assert ("0-sign", "phrases", "no_phrase") in rejects(tmp_path / "views")


def test_a_source_of_which_nothing_is_kept_is_still_a_whole_view_set(source: Source, tmp_path: Path) -> None:
    source.write_rows([row for row in source.rows() if row["kind"] == "ghost"])
    build(source, tmp_path / "views")
    assert len(rejects(tmp_path / "views")) == 5
    assert rows(tmp_path / "views", "images").height == 0


def test_equal_files_are_one_image_whatever_their_names(source: Source, tmp_path: Path) -> None:
    (source.data / "4.png").write_bytes((source.data / "0.png").read_bytes())
    build(source, tmp_path / "views")
    images = rows(tmp_path / "views", "images")
    assert images["source_path"].to_list() == ["0.png", "1.png", "2.png", "3.png"]
    questions = rows(tmp_path / "views", "questions")
    assert questions["question_id"].to_list() == ["0-sign", "4-sign", "1-sign", "2-sign", "3-sign"]
    assert questions["image_id"][0] == questions["image_id"][1] == images["image_id"][0] == images["sha256"][0][:16]


def test_parts_end_at_their_number_of_images_and_at_their_size(source: Source, tmp_path: Path) -> None:
    def images_per_part(out: Path) -> list[int]:
        return [part.files["images"].rows for part in read_manifest(out).parts]

    build(source, tmp_path / "two")
    assert images_per_part(tmp_path / "two") == [2, 2, 1]
    image_mb = max(path.stat().st_size for path in source.data.glob("*.png")) / 1e6
    many = source.recipe.read_text().replace("images_per_part = 2", "images_per_part = 9")
    source.recipe.write_text(f"part_mb = {3.5 * image_mb}\n{many}")
    build(source, tmp_path / "large")
    assert images_per_part(tmp_path / "large") == [3, 2]
    source.recipe.write_text(f"part_mb = 1e-9\n{many}")
    build(source, tmp_path / "tiny")
    assert images_per_part(tmp_path / "tiny") == [1, 1, 1, 1, 1]


def test_two_builds_of_one_recipe_are_equal_byte_for_byte_wherever_and_by_however_many_workers(
    source: Source, tmp_path: Path, all_bytes: Files
) -> None:
    build(source, tmp_path / "a")
    moved = source.folder.rename(tmp_path / "moved")
    build_views(moved / "recipe.toml", tmp_path / "b", replace(QUIET, num_threads=7, num_workers=3))
    assert len(all_bytes(tmp_path / "a")) == 3 * len(TABLES) + 2
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(source: Source, tmp_path: Path, all_bytes: Files) -> None:
    build(source, tmp_path / "whole")
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        build(source, out, finder=DiesAt(3))
    assert [part.part for part in read_manifest(out).parts] == [0]
    with pytest.raises(ShardError, match="1 of 3 parts are finished"):
        ViewSet.open(out)
    before = table_path(out, "views", 0).stat().st_mtime_ns
    report = build(source, out)
    assert (report.num_made, report.num_reused) == (2, 1)
    assert table_path(out, "views", 0).stat().st_mtime_ns == before
    assert all_bytes(out) == all_bytes(tmp_path / "whole")


def test_a_process_killed_at_any_moment_leaves_what_the_next_can_finish(
    source: Source, tmp_path: Path, all_bytes: Files
) -> None:
    source.write_recipe(images_per_part=1)
    build(source, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "viewgen.cli", "build", str(source.recipe), "--out", str(out), "--threads", "1"]
    program = "import sys; from viewgen.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *command[3:]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(1000):
            if table_path(out, "views", 0).exists() or process.poll() is not None:
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    build(source, out)
    assert all_bytes(out) == all_bytes(tmp_path / "whole")


def test_building_again_changes_no_file(source: Source, tmp_path: Path) -> None:
    def times(table: str) -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted((tmp_path / "views" / table).iterdir())]

    build(source, tmp_path / "views")
    before = {table: times(table) for table in TABLES}
    report = build(source, tmp_path / "views")
    assert (report.num_made, report.num_reused) == (0, 3)
    assert {table: times(table) for table in TABLES} == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pad_ratio = 1.0", "pad_ratio = 1.5", "evidence.pad_ratio = 1.0, now it is 1.5"),
        ("seed = 3", "seed = 4", "seed = 3, now it is 4"),
        ("images_per_part = 2", "images_per_part = 3", "images_per_part = 2, now it is 3"),
        ("patch_px = 8", "patch_px = 8\ngrid_px = 4", "views.grid_px = 1, now it is 4"),
    ],
)
def test_a_changed_setting_is_never_skipped_in_silence(
    source: Source, tmp_path: Path, old: str, new: str, said: str
) -> None:
    build(source, tmp_path / "views")
    source.recipe.write_text(source.recipe.read_text().replace(old, new))
    remedy = "Build into another folder, or rebuild this one with --force."
    assert refusal(source, tmp_path / "views") == f"was built with {said}. {remedy}"


def test_another_model_is_another_build(source: Source, tmp_path: Path) -> None:
    build(source, tmp_path / "views", finder=Weighted("aa"))
    build(source, tmp_path / "views", finder=Weighted("aa"))
    assert "was built with models.finder = 'aa', now it is 'bb'" in refusal(
        source, tmp_path / "views", finder=Weighted("bb")
    )


def test_another_viewgen_is_another_build(source: Source, tmp_path: Path) -> None:
    build(source, tmp_path / "views")
    path = tmp_path / "views" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "made_by": {**manifest["made_by"], "code": "older"}}))
    assert refusal(source, tmp_path / "views").startswith("was built with made_by.code = 'older', now it is '")


def test_changed_questions_and_images_are_found_and_rebuilt_one_part_alone(
    source: Source, tmp_path: Path, all_bytes: Files
) -> None:
    out = tmp_path / "views"
    build(source, out)
    held = source.rows()
    held[4]["answer"] = "another"
    source.write_rows(held)
    said = "part 1 was built from other questions, image files or reviews. Build into another folder, or rebuild it"
    assert refusal(source, out) == f"{said} with --only 1, or everything with --force."
    assert build(source, out, replace(QUIET, only=(1,))).num_made == 1
    with Image.open(source.data / "2.png") as image:
        image.putpixel((0, 0), (1, 2, 3))
        image.save(source.data / "2.png")
    assert refusal(source, out).startswith("part 1 was built from other questions, image files or reviews.")
    build(source, out, replace(QUIET, only=(1,)))
    build(source, tmp_path / "fresh")
    assert all_bytes(out) == all_bytes(tmp_path / "fresh")


def test_a_grown_source_is_another_build(source: Source, tmp_path: Path) -> None:
    source.write_rows(source.rows()[:4])
    build(source, tmp_path / "views")
    source.write_rows([*source.rows(), {**source.rows()[0], "question_id": "new", "image_path": "4.png"}])
    assert refusal(source, tmp_path / "views").startswith("was built from a source of 1 part, now of 2.")


def test_a_query_that_gives_the_same_questions_is_the_same_build(source: Source, tmp_path: Path) -> None:
    build(source, tmp_path / "views")
    source.write_recipe(query="SELECT * FROM 'questions.jsonl' ORDER BY question_id DESC")
    assert build(source, tmp_path / "views").num_reused == 3
    assert "DESC" in read_manifest(tmp_path / "views").config["source"]["query"]


def test_force_rebuilds_everything_and_leaves_nothing_of_the_old(
    source: Source, tmp_path: Path, all_bytes: Files
) -> None:
    source.write_recipe(images_per_part=1)
    build(source, tmp_path / "views")
    source.write_recipe(images_per_part=4)
    assert build(source, tmp_path / "views", replace(QUIET, force=True)).num_made == 2
    build(source, tmp_path / "fresh")
    assert all_bytes(tmp_path / "views") == all_bytes(tmp_path / "fresh")


def test_force_mends_a_broken_manifest_and_another_schema_version(source: Source, tmp_path: Path) -> None:
    for text in ("{", '{"schema_version": 99}'):
        build(source, tmp_path / "views", replace(QUIET, force=True))
        (tmp_path / "views" / "manifest.json").write_text(text)
        assert "--force" in refusal(source, tmp_path / "views")
    assert build(source, tmp_path / "views", replace(QUIET, force=True)).is_complete


def test_a_damaged_part_is_built_again(source: Source, tmp_path: Path, all_bytes: Files) -> None:
    build(source, tmp_path / "views")
    whole = all_bytes(tmp_path / "views")
    table_path(tmp_path / "views", "images", 2).write_bytes(b"short")
    table_path(tmp_path / "views", "rejects", 0).unlink()
    report = build(source, tmp_path / "views")
    assert (report.num_made, report.num_reused) == (2, 1)
    assert all_bytes(tmp_path / "views") == whole


def test_a_part_with_one_wrong_byte_is_built_again(source: Source, tmp_path: Path, all_bytes: Files) -> None:
    build(source, tmp_path / "views")
    whole = all_bytes(tmp_path / "views")
    path = table_path(tmp_path / "views", "images", 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    report = build(source, tmp_path / "views")
    assert (report.num_made, report.num_reused) == (1, 2)
    assert all_bytes(tmp_path / "views") == whole


def test_only_names_a_part_that_exists(source: Source, tmp_path: Path) -> None:
    said = "there is no part 7: this build has parts 0 to 2."
    assert refusal(source, tmp_path / "views", replace(QUIET, only=(7,))) == said


def test_a_folder_of_something_else_is_left_alone_even_with_force(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "letters"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    for options in (QUIET, replace(QUIET, force=True)):
        said = "holds other files and no manifest.json. Name a new or an empty folder."
        assert refusal(source, out, options) == said
    assert [path.name for path in out.iterdir()] == ["letter.txt"]


def test_an_image_that_changes_while_it_is_built_stops_the_build(source: Source, tmp_path: Path) -> None:
    class Rewrites(DiesAt):
        """Overwrites an image that is still to come."""

        def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
            (source.data / "4.png").write_bytes((source.data / "0.png").read_bytes())
            return ANNOTATED.find(images)

    with pytest.raises(RecipeError, match=r"4\.png: changed while the build was running"):
        build(source, tmp_path / "views", finder=Rewrites(9))


def test_the_card_and_the_manifest_count_the_same(built: Path) -> None:
    card = (built / "README.md").read_text()
    assert "| questions | 5 |" in card
    assert "| rejects | 5 |" in card
    assert "| views | 25 |" in card


def test_the_card_tells_hugging_face_every_table_column_and_image(built: Path) -> None:
    header = pytest.importorskip("yaml").safe_load((built / "README.md").read_text().split("---\n")[1])
    files = [{"split": "rows", "path": f"{name}/*.parquet"} for name in TABLES]  # the word all is kept by Hugging Face
    assert [config["data_files"] for config in header["configs"]] == [[file] for file in files]
    for config, (name, table) in zip(header["dataset_info"], TABLES.items(), strict=True):
        assert config["config_name"] == name
        assert [feature["name"] for feature in config["features"]] == list(table.columns)
    images = [f["name"] for c in header["dataset_info"] for f in c["features"] if f.get("dtype") == "image"]
    assert images == ["image", "image"]


def write_reviews(source: Source, *lines: str) -> BuildOptions:
    path = source.folder / "reviews.csv"
    path.write_text("\n".join(["question_id,verdict,note", *lines]) + "\n")
    return replace(QUIET, reviews=path)


def test_a_question_that_a_reviewer_rejects_is_rejected_and_one_that_is_accepted_stays(
    source: Source, tmp_path: Path
) -> None:
    options = write_reviews(source, "0-sign,reject,wrong sign", "1-sign,accept,", "2-ghost,reject,")
    build(source, tmp_path / "views", options)
    assert rows(tmp_path / "views", "questions")["question_id"].to_list() == [f"{n}-sign" for n in (1, 2, 3, 4)]
    reviewed = rows(tmp_path / "views", "rejects").filter(pl.col("stage") == "review")
    assert reviewed.select("question_id", "reason", "message").rows() == [
        ("0-sign", "reviewed", "a reviewer rejected it: wrong sign"),
        ("2-ghost", "reviewed", "a reviewer rejected it"),
    ]
    assert rows(tmp_path / "views", "rejects").height + 4 == len(source.rows())


def test_other_verdicts_are_another_build_of_their_part_alone(source: Source, tmp_path: Path, all_bytes: Files) -> None:
    out = tmp_path / "views"
    build(source, out)
    options = write_reviews(source, "2-sign,reject,")
    assert refusal(source, out, options).startswith("part 1 was built from other questions, image files or reviews.")
    assert build(source, out, replace(options, only=(1,))).num_made == 1
    assert build(source, out, options).num_reused == 3
    build(source, tmp_path / "fresh", options)
    assert all_bytes(out) == all_bytes(tmp_path / "fresh")


def test_verdicts_on_other_questions_are_refused(source: Source, tmp_path: Path) -> None:
    options = write_reviews(source, "0-sign,reject,", "9-sign,reject,", "8-sign,accept,")
    with pytest.raises(ReviewsError, match="2 verdicts on questions that the source lacks, as '8-sign'") as error:
        build(source, tmp_path / "views", options)
    assert str(error.value).startswith(f"{options.reviews}: ")
    assert not (tmp_path / "views").exists()


def test_what_the_audit_rejects_is_counted_and_a_reviewer_can_keep_it(source: Source, tmp_path: Path) -> None:
    recipe = source.recipe.read_text().replace("reject = []", 'reject = ["positive_lacks_evidence"]')
    source.recipe.write_text(recipe.replace("[views]", '[views]\npositive = ["crop", "random_crop"]'))
    build(source, tmp_path / "views", write_reviews(source, "3-sign,accept,"))
    assert rows(tmp_path / "views", "questions")["question_id"].to_list() == ["3-sign"]
    (flags,) = rows(tmp_path / "views", "views").filter(pl.col("kind") == "random_crop")["flags"]
    assert flags.to_list() == ["positive_lacks_evidence"]
    found = [(name, reason) for name, stage, reason in rejects(tmp_path / "views") if stage == "audit"]
    assert found == [(f"{number}-sign", "positive_lacks_evidence") for number in (0, 1, 2, 4)]
    assert rows(tmp_path / "views", "rejects").height + 1 == len(source.rows())


def test_a_kind_that_needs_a_model_says_so_when_there_is_none(source: Source, tmp_path: Path) -> None:
    recipe = re.sub("negative = .*", 'negative = ["hard_off_region"]', source.recipe.read_text())
    source.recipe.write_text(f'{recipe}\n[retrieval]\nmodel = "local-dir:{tmp_path}/none"\n')
    with pytest.raises(ModelError) as error:
        build(source, tmp_path / "views")
    said = str(error.value)
    assert said.startswith(
        f"{source.recipe}: hard_off_region needs the OpenCLIP model of [retrieval]. {tmp_path}/none: "
    )
    assert "\n" not in said


def test_progress_is_told_while_building(source: Source, tmp_path: Path) -> None:
    said = StringIO()
    build(source, tmp_path / "views", replace(QUIET, progress_out=said))
    assert "hash  5 of 5 images" in said.getvalue()
    assert "build  5 of 5 images" in said.getvalue()


# ---- faults found in use


def build_and_read(source: Source, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Build, and return the rows of each table by its key, whatever part they stand in."""
    build(source, out)
    tables = {name: rows(out, name).sort(TABLES[name].key) for name in TABLES}
    return {name: table.to_dicts() for name, table in tables.items()}


@pytest.mark.fault(6)
def test_files_that_are_back_are_built_by_the_next_build(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "views"
    whole = build_and_read(source, tmp_path / "whole")
    (source.data / "3.png").rename(tmp_path / "3.png")
    build(source, out)
    missed = {name for name, _, reason in rejects(out) if reason == "missing_image"}
    assert missed == {"3-sign", "3-ghost"}
    (tmp_path / "3.png").rename(source.data / "3.png")
    report = build(source, out)
    assert report.num_made > 0
    assert build_and_read(source, out) == whole
    assert build(source, out).num_made == 0


@pytest.mark.fault(6)
def test_a_file_that_goes_away_while_its_part_is_made_stops_the_build(source: Source, tmp_path: Path) -> None:
    class TakesAway(Weighted):
        def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
            (source.data / "4.png").unlink(missing_ok=True)
            return ANNOTATED.find(images)

    kept = (source.data / "4.png").read_bytes()
    with pytest.raises(RecipeError, match=r"4\.png: was there when the build began and is away now\. Bring it back"):
        build(source, tmp_path / "views", replace(QUIET, num_threads=1), TakesAway("0"))
    (source.data / "4.png").write_bytes(kept)
    build(source, tmp_path / "views", finder=Weighted("0"))
    assert not [reason for _, stage, reason in rejects(tmp_path / "views") if stage == "images"]


@pytest.mark.fault(20)
def test_half_of_the_files_missing_is_said_before_anything_is_made(source: Source, tmp_path: Path) -> None:
    for number in (0, 2, 3):
        (source.data / f"{number}.png").unlink()
    with pytest.raises(RecipeError) as refusal:
        build(source, tmp_path / "views")
    said = f"{source.recipe}: 3 of 5 image files are missing below {str(source.data)!r}, as '0.png'."
    assert str(refusal.value).startswith(said)
    assert not (tmp_path / "views").exists()
    build(source, tmp_path / "views", replace(QUIET, allow_missing=True))
    assert rows(tmp_path / "views", "questions")["question_id"].to_list() == ["1-sign", "4-sign"]


def test_a_benchmark_s_rows_are_not_made_into_training_views_unless_asked_for(source: Source, tmp_path: Path) -> None:
    recipe = source.recipe.read_text().replace("[source]", "[source]\nis_evaluation = true")
    source.recipe.write_text(recipe)
    named = {row.get("split", "train") for row in source.rows()}
    assert "train" in named
    with pytest.raises(RecipeError, match=r"rows of an evaluation set \(source\.is_evaluation\) are of split 'train'"):
        build(source, tmp_path / "views")
    assert not (tmp_path / "views").exists()
    build(source, tmp_path / "views", replace(QUIET, allow_eval_data=True))
    assert read_manifest(tmp_path / "views").config["source"]["is_evaluation"] is True


def test_a_first_look_takes_whole_images_and_the_same_ones_every_time(source: Source, tmp_path: Path) -> None:
    for num, images in ((1, 1), (3, 2), (1000, 5)):
        build(source, tmp_path / str(num), replace(QUIET, limit=num))
        names = [
            row["question_id"]
            for table in ("questions", "rejects")
            for row in rows(tmp_path / str(num), table).to_dicts()
        ]
        assert len({name[0] for name in names}) == images
        assert len(names) == 2 * images
    few, more = ({*rows(tmp_path / name, "images")["source_path"]} for name in ("1", "3"))
    assert few < more
    with pytest.raises(ShardError, match="Build into another folder"):
        build(source, tmp_path / "3")


def test_parts_with_a_failure_are_made_again(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "views"
    build(source, out)
    reasons = {row["reason"] for row in rows(out, "rejects").to_dicts()}
    (reason,) = reasons
    report = build(source, out, replace(QUIET, retry_failed=(reason,)))
    assert (report.num_made, report.num_reused) == (3, 0)
    report = build(source, out, replace(QUIET, retry_failed=(reason,), only=(1,)))
    assert (report.num_made, report.num_reused, report.is_complete) == (3, 0, True)
    (out / "rejects" / "part-00001.parquet").write_bytes(b"damaged")
    assert build(source, out, replace(QUIET, retry_failed=(reason,))).is_complete
    with pytest.raises(ShardError, match=rf"no question was rejected for oversize_image\. Reasons there: {reason}\.$"):
        build(source, out, replace(QUIET, retry_failed=("oversize_image",)))


@pytest.mark.fault(25)
def test_two_builds_at_once_in_one_folder_are_one_line(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "views"

    class BuildsToo(Weighted):
        said = ""

        def find(self, images: Sequence[ImageQuery]) -> list[ImageRegions]:
            with pytest.raises(ShardError) as refusal:
                build(source, out, finder=Weighted("0"))
            BuildsToo.said = str(refusal.value)
            return ANNOTATED.find(images)

    build(source, out, finder=BuildsToo("0"))
    assert BuildsToo.said == f"{out}: another process is writing there. Wait until it ends, or name another folder."
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == ["README.md", "manifest.json"]
    (out / ".lock").write_text("")  # a killed process leaves it behind
    assert build(source, out, finder=Weighted("0")).num_made == 0


def decontaminate(source: Source, more: str = "") -> None:
    """Let the recipe leave out images 1 and 2, the one as a half-size copy, of a folder beside it."""
    folder = source.recipe.parent / "bench"
    folder.mkdir(exist_ok=True)
    (folder / "equal.png").write_bytes((source.data / "1.png").read_bytes())
    image = decode_image((source.data / "2.png").read_bytes())
    image.resize((48, 48), Image.Resampling.BICUBIC).save(folder / "smaller.png")
    source.recipe.write_text(source.recipe.read_text() + f'\n[decontaminate]\nagainst = ["bench"]\n{more}')


def test_questions_about_images_of_an_evaluation_set_are_rejected_by_name(source: Source, tmp_path: Path) -> None:
    decontaminate(source)
    build(source, tmp_path / "views")
    assert rows(tmp_path / "views", "questions")["question_id"].to_list() == ["0-sign", "3-sign", "4-sign"]
    assert rows(tmp_path / "views", "images")["source_path"].to_list() == ["0.png", "3.png", "4.png"]
    held = rows(tmp_path / "views", "rejects").filter(pl.col("reason") == "in_evaluation_set")
    assert held.select("question_id", "stage").rows() == [
        (name, "images") for name in ("1-ghost", "1-sign", "2-ghost", "2-sign")
    ]
    assert held["message"][0] == "shows image 'equal.png' of the evaluation set 'bench' (the same file)"
    assert re.fullmatch(r"shows image 'smaller.png' .* \(\d+ of 256 bits differ\)", held["message"][2])


def test_only_the_splits_that_are_named_are_compared_with_evaluation_sets(source: Source, tmp_path: Path) -> None:
    decontaminate(source, 'splits = ["train"]')  # images 0, 2 and 4
    build(source, tmp_path / "views")
    assert rows(tmp_path / "views", "questions")["question_id"].to_list() == ["0-sign", "1-sign", "3-sign", "4-sign"]


def test_a_split_to_decontaminate_that_no_row_has_is_refused(source: Source, tmp_path: Path) -> None:
    decontaminate(source, 'splits = ["tarin"]')
    with pytest.raises(RecipeError, match=r"decontaminate\.splits names 'tarin'; the splits .* are test, train\."):
        build(source, tmp_path / "views")


def test_a_grown_evaluation_set_is_another_build(source: Source, tmp_path: Path) -> None:
    decontaminate(source)
    build(source, tmp_path / "views")
    (source.recipe.parent / "bench" / "more.png").write_bytes((source.data / "0.png").read_bytes())
    assert refusal(source, tmp_path / "views").startswith("was built with made_by.evaluation set bench = ")
