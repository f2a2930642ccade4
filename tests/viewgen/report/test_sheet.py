"""The contact sheet: drawn by a seed, as large as its limit. What a browser makes of it is tested with the page."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

import viewgen.report.sheet
from viewgen.report.sheet import Sheet, SheetConfig, draw_sheet, finite
from viewgen.viewset import ViewSet
from viewgen.viewset.database import connect


def drawn(built: Path, **settings: int) -> Sheet:
    view_set = ViewSet.open(built)
    with connect(view_set) as connection:
        return draw_sheet(view_set, connection, SheetConfig(**settings), StringIO())  # type: ignore[arg-type]


def test_a_card_holds_its_views_positives_first_and_every_name_has_its_picture(built: Path) -> None:
    sheet = drawn(built)
    assert len(sheet.kept) == len(sheet.rejected) == 5
    card = sheet.kept[0]
    assert card["views"][0]["role"] == "positive"
    assert {view["picture"] for view in card["views"]} | {card["full"]} <= {*sheet.pictures}


def test_fewer_questions_are_a_beginning_of_more_and_another_seed_draws_others(built: Path) -> None:
    def names(**settings: int) -> list[str]:
        return [card["question_id"] for card in drawn(built, **settings).kept]

    assert names(num_questions=2) == names()[:2]
    assert names(seed=3) != names()
    assert sorted(names(seed=3)) == sorted(names())
    assert names(num_questions=0) == []


def test_the_sheet_ends_where_its_limit_is(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewgen.report.sheet, "MAX_BYTES", 30_000)
    assert len(drawn(built).kept) < 5


def test_numbers_are_short_and_json_has_no_nan() -> None:
    assert finite({"a": [1.23456789, float("nan")], "b": "x"}) == {"a": [1.2346, None], "b": "x"}
