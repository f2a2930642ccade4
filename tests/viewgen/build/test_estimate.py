"""What a build would take is counted and measured, and nothing is written."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from viewgen.build.builder import BuildOptions, build_views
from viewgen.build.estimate import estimate, in_words
from viewgen.cli import run
from viewgen.viewset.shards import ViewSet

if TYPE_CHECKING:
    from tests.viewgen.conftest import Source

QUIET = BuildOptions(progress_out=StringIO(), num_threads=2, num_workers=0)


def test_an_estimate_is_that_of_the_build_that_follows(source: Source, tmp_path: Path) -> None:
    (source.data / "3.png").unlink()
    found = estimate(source.recipe, QUIET)
    assert (found.num_questions, found.num_images, found.num_missing, found.num_parts) == (10, 5, 1, 2)
    assert found.models == ()
    assert (found.num_measured, found.kept_share) == (4, 0.5)
    assert found.seconds_per_image > 0
    build_views(source.recipe, tmp_path / "views", QUIET)
    opened = ViewSet.open(tmp_path / "views")
    size = sum(
        file.bytes for part in opened.manifest.parts for name, file in part.files.items() if name in {"images", "views"}
    )
    assert found.size_mb == pytest.approx(size / 1e6, rel=0.3)


def test_the_command_writes_nothing(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run(["build", str(source.recipe), "--out", str(tmp_path / "views"), "--plan", "--workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["questions", "images", "parts", "models", "measured", "time", "size"]
    assert lines[0] == "questions  10"
    assert sorted(tmp_path.rglob("*")) == before
    assert in_words(estimate(source.recipe, QUIET)).count("\n") == 6
