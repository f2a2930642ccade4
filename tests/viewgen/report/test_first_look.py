"""What `viewgen init` prints: each column with its origin and an example, then rows with their images."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from viewgen.cli import run


def test_the_command_says_what_it_understood_and_writes_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    Path("q.csv").write_text('id,file,question,answer\n1,a.png,"What is\tit?",cup\n2,gone.png,Where?,left\n')
    assert run(["init", "q.csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "csv: q.csv",
        "",
        "column       from            example",
        "question_id  id              1",
        "image        file            a.png",
        "question     question        What is it?",
        "answer       answer          cup",
        "options      -",
        "phrases      -",
        "boxes        -",
        "kind         -",
        "split        names of files  train",
        "source       -",
        "",
        "first 2 rows:",
        "  1  a.png  64 x 48 px  What is it?",
        "  2  gone.png  NO IMAGE: there is no such file  Where?",
        "",
        "recipe.toml: written. Next: viewgen build recipe.toml --out VIEWSET",
    ]
    assert run(["init", "q.csv"]) == 2
    assert capsys.readouterr().err == "error: recipe.toml: is there already. Name another file by --out.\n"
