"""The command viewgen: what it prints, and that a mistake is one line and exit code 2."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from viewgen.cli import run
from viewgen.viewset.card import data_format
from viewgen.viewset.shards import ViewSet

if TYPE_CHECKING:
    from tests.viewgen.conftest import Source

Printed = pytest.CaptureFixture[str]


def refused(capsys: Printed, *arguments: str) -> str:
    """Return the one line on standard error of a command that must fail with code 2."""
    capsys.readouterr()
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if not line.startswith(("hash ", "build "))]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def test_build_then_inspect_tell_the_same_counts(source: Source, tmp_path: Path, capsys: Printed) -> None:
    out = str(tmp_path / "views")
    assert run(["build", str(source.recipe), "--out", out, "--threads", "1"]) == 0
    told = capsys.readouterr().out
    assert "10 questions came in = 5 kept + 5 rejected" in told
    assert "train  evidence  no_region    3" in told
    assert told.splitlines()[-1].startswith(f"{out}: 3 parts built in ")
    assert told.splitlines()[-1].endswith(", 0 reused, of 3.")
    assert run(["inspect", out]) == 0
    assert capsys.readouterr().out.startswith(told.rpartition("\n\n")[0])


def test_inspect_gives_json_that_adds_up(built: Path, capsys: Printed) -> None:
    assert run(["inspect", str(built), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["came_in"] == summary["kept"] + summary["rejected"] == 10
    assert summary["views"][0]["kind"] == "crop"


def test_building_again_reuses_and_force_does_not(source: Source, tmp_path: Path, capsys: Printed) -> None:
    command = ["build", str(source.recipe), "--out", str(tmp_path / "views")]
    for more, end in (([], ", 0 reused, of 3."), ([], ", 3 reused, of 3."), (["--force"], ", 0 reused, of 3.")):
        assert run([*command, *more]) == 0
        assert capsys.readouterr().out.rstrip().endswith(end)
    assert run([*command, "--only", "0", "--only", "2"]) == 0
    assert "2 parts built in" in capsys.readouterr().out


def test_an_unfinished_build_is_told_as_such(source: Source, tmp_path: Path, capsys: Printed) -> None:
    assert run(["build", str(source.recipe), "--out", str(tmp_path / "views"), "--only", "1"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(", 0 reused, of 3.")
    assert "1 of 3 parts are finished" in refused(capsys, "inspect", str(tmp_path / "views"))


def test_demo_draws_scenes_that_a_recipe_can_read(tmp_path: Path, capsys: Printed) -> None:
    out = tmp_path / "scenes"
    command = ["demo", "--out", str(out), "--seed", "5", "--train", "2", "--selection", "0", "--test", "1"]
    assert run(command) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 3 scenes drawn.")
    rows = pl.read_parquet(out / "questions.parquet")
    assert set(rows["split"]) == {"train", "test"}
    assert all((out / path).is_file() for path in rows["image_path"])


def test_schema_prints_the_format(capsys: Printed) -> None:
    assert run(["schema"]) == 0
    assert capsys.readouterr().out == data_format()


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_the_commands_and_stands_in_for_no_command(arguments: list[str], capsys: Printed) -> None:
    assert run(arguments) == 0
    told = capsys.readouterr().out
    assert all(command in told for command in ("build", "inspect", "demo", "schema", "kinds", "settings"))


def test_the_version_is_the_distribution_s(capsys: Printed) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"vzero-evidence {version('vzero-evidence')}\n"


def test_kinds_and_settings_are_printed(capsys: Printed) -> None:
    assert run(["kinds"]) == run(["settings"]) == 0
    told = capsys.readouterr().out
    assert "### `off_region`" in told
    assert "\n[views]\n" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bild"], "No such command 'bild'."),
        (["build"], "Missing argument 'RECIPE'."),
        (["build", "r.toml"], "Missing option '--out'."),
        (["inspect", "x", "--jsn"], "No such option: --jsn"),
        (["build", "r.toml", "--out", "o", "--threads", "0"], "Invalid value for '--threads'"),
        (["build", "r.toml", "--out", "o", "--workers", "-1"], "Invalid value for '--workers'"),
    ],
)
def test_a_mistyped_command_is_one_line(capsys: Printed, arguments: list[str], message: str) -> None:
    told = refused(capsys, *arguments)
    assert told.startswith(message)
    assert told.endswith("Try `viewgen --help`.")


def test_a_missing_recipe_is_one_line(tmp_path: Path, capsys: Printed) -> None:
    recipe = tmp_path / "none.toml"
    told = refused(capsys, "build", str(recipe), "--out", str(tmp_path / "views"))
    assert told == f"{recipe}: there is no such file. Give the path of a TOML file."


def test_a_misspelt_setting_is_answered_with_the_nearest(source: Source, tmp_path: Path, capsys: Printed) -> None:
    source.write_recipe(more="[images]\nmax_megapixel = 3\n")
    told = refused(capsys, "build", str(source.recipe), "--out", str(tmp_path / "views"))
    assert told == f"{source.recipe}: unknown setting 'images.max_megapixel'. Did you mean 'max_megapixels'?"
    assert not (tmp_path / "views").exists()


def test_a_query_error_and_duplicate_ids_are_one_line(source: Source, tmp_path: Path, capsys: Printed) -> None:
    command = ("build", str(source.recipe), "--out", str(tmp_path / "views"))
    source.write_recipe(query="SELECT nothing FROM 'questions.jsonl'")
    assert 'source.query failed: Binder Error: Referenced column "nothing" not found' in refused(capsys, *command)
    source.write_recipe(query="FROM 'questions.jsonl' UNION ALL FROM 'questions.jsonl'")
    assert "stands in 2 rows. Give every question its own." in refused(capsys, *command)


def test_an_unreadable_image_is_no_mistake_but_a_rejection(source: Source, tmp_path: Path, capsys: Printed) -> None:
    (source.data / "0.png").write_bytes(b"no image")
    assert run(["build", str(source.recipe), "--out", str(tmp_path / "views")]) == 0
    assert "train  images    unreadable_image    2" in capsys.readouterr().out


def test_a_missing_a_broken_and_an_older_view_set_are_one_line_each(own: Path, tmp_path: Path, capsys: Printed) -> None:
    assert "there is no such folder" in refused(capsys, "inspect", str(tmp_path / "none"))
    assert "so it is no view set" in refused(capsys, "inspect", str(tmp_path))
    (own / "manifest.json").write_text('{"schema_version": 0}')
    assert "schema version 0, this viewgen reads 2 and 3." in refused(capsys, "inspect", str(own))
    (own / "manifest.json").write_text('{"schema_version": "1"}')
    assert "schema version '1', this viewgen reads 2 and 3." in refused(capsys, "inspect", str(own))
    (own / "manifest.json").write_text("no json")
    assert "manifest.json: broken (JSONDecodeError: " in refused(capsys, "inspect", str(own))


def test_a_changed_setting_is_refused_by_the_command_too(source: Source, tmp_path: Path, capsys: Printed) -> None:
    command = ("build", str(source.recipe), "--out", str(tmp_path / "views"))
    assert run(command) == 0
    source.recipe.write_text(source.recipe.read_text().replace("seed = 3", "seed = 4"))
    assert "was built with seed = 3, now it is 4." in refused(capsys, *command)
    assert "Give one of the two." in refused(capsys, *command, "--force", "--only", "1")


def test_a_place_that_cannot_be_written_is_one_line(source: Source, tmp_path: Path, capsys: Printed) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    told = refused(capsys, "build", str(source.recipe), "--out", str(file))
    assert told == f"{file}: is a file. Name a new or an empty folder."
    assert refused(capsys, "build", str(source.recipe), "--out", f"{file}/views").endswith(
        ": Not a directory. Name another place."
    )
    assert file.read_text() == "mine"


def test_a_wrong_number_of_scenes_is_one_line(tmp_path: Path, capsys: Printed) -> None:
    assert "Invalid value for '--train'" in refused(capsys, "demo", "--out", str(tmp_path / "d"), "--train", "-1")
    none = ("--train", "0", "--selection", "0", "--test", "0")
    told = refused(capsys, "demo", "--out", str(tmp_path / "d"), *none)
    assert told.startswith("viewgen demo: num_train is 0; it must be above 0 ")
    assert not (tmp_path / "d").exists()


def test_the_installed_command_ends_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "viewgen"), "inspect", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_ends_with_code_130_and_says_that_the_same_command_goes_on(tmp_path: Path) -> None:
    program = (
        "import signal, sys; from viewgen.cli import run; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "demo", "--out", str(tmp_path / "scenes")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(4000):
            if list(tmp_path.glob("scenes/images/*.png")) or process.poll() is not None:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    last = said.splitlines()[-1]
    assert last == "stopped. What is finished stays: the same command goes on from there."
    assert "Traceback" not in said
    assert run(["demo", "--out", str(tmp_path / "scenes"), "--train", "1", "--selection", "0", "--test", "0"]) == 0
    assert [path.name for path in (tmp_path / "scenes" / "images").iterdir()] == ["train-00000.png"]


def test_what_the_command_builds_trainer_can_open(source: Source, tmp_path: Path) -> None:
    assert run(["build", str(source.recipe), "--out", str(tmp_path / "views")]) == 0
    assert len(ViewSet.open(tmp_path / "views").samples("test", ["crop", "masked"])) == 2


@pytest.mark.fault(20)
def test_a_build_that_keeps_nothing_says_so_and_exits_with_code_3(
    source: Source, tmp_path: Path, capsys: Printed
) -> None:
    held = [row for row in source.rows() if row["question_id"].endswith("ghost")]
    source.write_rows(held)
    out = str(tmp_path / "views")
    assert run(["build", str(source.recipe), "--out", out, "--workers", "0"]) == 3
    printed = capsys.readouterr()
    assert "5 questions came in = 0 kept + 5 rejected" in printed.out
    assert printed.err.splitlines()[-1] == (
        f"error: {out}: nothing was kept of 5 questions: 5 were lost to evidence/no_region. See why: "
        f"viewgen sql {out} \"SELECT message FROM rejects WHERE reason = 'no_region' LIMIT 20\"."
    )
    assert run(["inspect", out]) == 0  # the view set is whole


@pytest.mark.fault(20)
def test_a_build_that_loses_more_than_half_to_one_reason_exits_with_code_3(
    source: Source, tmp_path: Path, capsys: Printed
) -> None:
    held = [row for row in source.rows() if row["question_id"] != "0-sign"]
    source.write_rows(held)
    assert run(["build", str(source.recipe), "--out", str(tmp_path / "views"), "--workers", "0"]) == 3
    assert "only 4 were kept of 9 questions: 5 were lost to evidence/no_region." in capsys.readouterr().err


def test_hash_stores_an_evaluation_set_and_recut_cuts_other_views(
    source: Source, built: Path, tmp_path: Path, capsys: Printed
) -> None:
    stored = tmp_path / "hashes.parquet"
    assert run(["hash", str(source.recipe), "--out", str(stored)]) == 0
    assert capsys.readouterr().out == f"{stored}: hashes of 5 images.\n"
    assert refused(capsys, "hash", str(source.data), "--out", str(tmp_path / "a.csv")).endswith(
        "must end in .parquet. Give it such a name."
    )
    new = tmp_path / "new"
    again = ["recut", str(built), "--out", str(new), "--kinds", "masked, blurred", "--workers", "0"]
    assert run([*again, "--set", "mask_fill=black"]) == 0
    assert capsys.readouterr().out == f"{new}: 15 views of 5 questions.\n"
    assert "is there already" in refused(capsys, *again)
    assert refused(capsys, *again, "--set", "mask_fill").startswith("viewgen recut: 'mask_fill' sets nothing;")
