"""The page of a view set: what it says, that words stay words, and that it works in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import viewgen.report.sheet
from viewgen.errors import ShardError
from viewgen.report.inspect import summarise
from viewgen.report.page import kind_rows, report_path, write_report
from viewgen.report.sheet import SheetConfig
from viewgen.report.thumbnails import Store, shrunk, thumbnail
from viewgen.source.reviews import Review, read_reviews
from viewgen.viewset.shards import ViewSet

if TYPE_CHECKING:
    from tests.viewgen.report.conftest import Browser

SCRIPT = "<script>window.stolen = 1</script><img src=x onerror='window.stolen = 2'>\"'"
SHOWN = "[...document.querySelectorAll('.card h3')].map((title) => title.textContent)"
IDS = "[...document.querySelectorAll('.card .meta')].map((line) => line.textContent.match(/\\d+-(sign|ghost)/)[0])"


class Page(HTMLParser):
    """Tags with their attributes, and the text between them, as a browser takes them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(next(words for words in self.words if words.startswith('{"'))))


def page_of(view_set: Path, out: Path, **settings: Any) -> Page:
    write_report(view_set, out, SheetConfig(**settings), io.StringIO())
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def page(read_by_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "signs.html"
    write_report(read_by_models, out, progress_out=io.StringIO())
    return out


def choose(browser: Browser, name: str, value: str) -> None:
    change = f"e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change')); return e.value"
    assert browser.run(f"(() => {{ const e = document.getElementById('{name}'); {change} }})()") == value


# ---- what stands on it


def test_the_page_loads_nothing_from_anywhere(page: Path) -> None:
    found = Page(page.read_text(encoding="utf-8"))
    links = [attrs[name] for _, attrs in found.tags for name in ("href", "src") if name in attrs]
    assert links
    assert all(str(link).startswith("#") for link in links)
    assert all(href.startswith("data:image/webp;base64,") for href, _, _ in found.data["pictures"].values())
    assert "@import" not in found.html
    assert "url(" not in found.html
    policy = next(attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; img-src data:;")


def test_what_came_in_is_what_was_kept_and_rejected_with_its_reasons(page: Path) -> None:
    text = Page(page.read_text(encoding="utf-8")).text
    assert "10 questions came in = 5 kept + 5 rejected (5 evidence/no_region)." in text
    assert "test 4 2 2 train 6 3 3" in text


def test_every_kind_stands_in_the_table_with_what_is_missing_and_what_the_audit_finds(read_by_models: Path) -> None:
    rows = {row.kind: row for row in kind_rows(summarise(ViewSet.open(read_by_models)))}
    assert next(iter(rows)) == "crop"
    assert (rows["masked"].num, rows["masked"].flags) == (5, (("leaks_evidence", 1),))
    assert rows["shuffled_patches"].made_as == (("off_region", 5),)
    assert (rows["same_class"].num, rows["same_class"].missing) == (0, (("no_instance", 1),))


def test_a_card_holds_all_that_the_tables_say_of_its_question(page: Path) -> None:
    data = Page(page.read_text(encoding="utf-8")).data
    assert {card["question_id"] for card in data["kept"]} == {f"{number}-sign" for number in range(5)}
    card = next(card for card in data["kept"] if card["question_id"] == "2-sign")
    masked = next(view for view in card["views"] if view["kind"] == "masked")
    assert (card["answer"], card["source_path"], card["width_px"]) == ("answer-2", "2.png", 64)
    assert (masked["similarity_margin"], masked["detector_score"], masked["flags"]) == (2.0, 0.3, ["leaks_evidence"])
    assert card["regions"][0]["box"] == {"x0": 8, "y0": 16, "x1": 24, "y1": 32}
    assert card["views"][0]["role"] == "positive"
    assert isinstance(masked["seed"], str), "a seed has 64 bits, a number of JavaScript 53"
    assert {card["full"] for card in data["kept"]} == {card["full"] for card in data["rejected"]}


def test_equal_pictures_are_held_once(page: Path, read_by_models: Path) -> None:
    data = Page(page.read_text(encoding="utf-8")).data
    names = [card["full"] for card in data["kept"]] + [v["picture"] for card in data["kept"] for v in card["views"]]
    assert set(names) - {None} == set(data["pictures"])
    picture = shrunk(Image.new("RGB", (8, 8)), 64)
    store = Store()
    assert store.add(picture) == store.add(shrunk(Image.new("RGB", (8, 8)), 64))
    assert store.num_bytes == len(picture.href)
    assert store.add(None) is None


def test_small_pictures_keep_every_pixel_and_large_ones_are_shrunk() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(pixels(shrunk(Image.fromarray(noise), 224).href), noise)
    large = shrunk(Image.new("RGB", (3000, 1500), (250, 10, 10)), 224)
    assert (large.width, large.height) == (224, 112)
    assert pixels(large.href).shape == (112, 224, 3)
    assert len(large.href) < 1000
    assert thumbnail(b"no image", 224) is None


def pixels(href: str) -> Any:
    data = base64.b64decode(href.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_sample_is_drawn_by_its_seed_alone(read_by_models: Path, tmp_path: Path) -> None:
    def drawn(seed: int, num: int) -> list[str]:
        data = page_of(read_by_models, tmp_path / "page.html", num_questions=num, seed=seed).data
        return [card["question_id"] for card in data["kept"]]

    first, other = drawn(0, 5), drawn(1, 5)
    assert drawn(0, 2) == first[:2]
    assert {*first} == {*other}
    assert first != other


def test_of_rejected_questions_a_rare_reason_is_drawn_as_soon_as_a_common_one(
    rewritten: Callable[..., Path], tmp_path: Path
) -> None:
    view_set = rewritten("rejects", lambda row: {"reason": "rare" if row["question_id"] == "3-ghost" else "common"})
    for seed in range(2):
        data = page_of(view_set, tmp_path / "page.html", num_questions=2, seed=seed).data
        assert {card["reason"] for card in data["rejected"]} == {"rare", "common"}


def test_a_page_stops_growing_at_its_limit(
    read_by_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = page_of(read_by_models, tmp_path / "page.html")
    empty = page_of(read_by_models, tmp_path / "page.html", num_questions=0)
    monkeypatch.setattr(viewgen.report.sheet, "MAX_BYTES", 120_000)
    cut = page_of(read_by_models, tmp_path / "page.html")
    assert 0 < len(cut.data["kept"]) < len(whole.data["kept"])
    assert 60_000 < len(cut.html) - len(empty.html) < 120_000 < len(whole.html) - len(empty.html)
    hung = {card["full"] for card in cut.data["kept"] + cut.data["rejected"]}
    assert set(cut.data["pictures"]) == hung | {v["picture"] for card in cut.data["kept"] for v in card["views"]}
    assert f"{len(cut.data['kept'])} of 5 kept and" in cut.text
    assert "drawn by seed 0" in cut.text
    assert "drawn by seed" not in whole.text


def test_words_that_the_page_must_escape_count_as_long_as_they_become() -> None:
    assert viewgen.report.sheet._size({"question": "<" * 1000}) > 6000


def test_equal_sets_give_equal_pages_and_the_view_set_stays_as_it_was(
    read_by_models: Path, tmp_path: Path, all_bytes: Any
) -> None:
    before = all_bytes(read_by_models)
    pages = [page_of(read_by_models, tmp_path / f"{number}.html").html for number in range(2)]
    assert pages[0] == pages[1]
    assert all_bytes(read_by_models) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.html", "1.html"]
    assert report_path(tmp_path / "views") == tmp_path / "views.html"


def test_models_that_read_nothing_leave_their_plots_out(built: Path, tmp_path: Path) -> None:
    text = page_of(built, tmp_path / "page.html").text
    assert "Sharpness over the positive's" in text
    assert "Highest score of the phrases" not in text
    assert "None" not in re.sub(r"setting.*", "", text.split("How it was built")[0])


def test_rejected_questions_show_their_image_from_the_source_if_its_folder_is_given(
    rewritten: Callable[..., Path], tmp_path: Path
) -> None:
    paths = {"0-ghost": "deep/other.png", "1-ghost": "../secret.png", "2-ghost": "gone.png", "3-ghost": "text.png"}
    view_set = rewritten("rejects", lambda row: {"image_path": paths.get(row["question_id"], row["image_path"])})
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    Image.new("RGB", (30, 20), (9, 9, 9)).save(source / "deep" / "other.png")
    Image.new("RGB", (30, 20), (9, 9, 9)).save(tmp_path / "secret.png")
    (source / "text.png").write_text("no image")

    def shown(root: Path | None) -> set[str]:
        data = page_of(view_set, tmp_path / "page.html", root=root).data
        return {card["question_id"] for card in data["rejected"] if card["full"]}

    assert shown(None) == {"4-ghost"}
    assert shown(source) == {"4-ghost", "0-ghost"}


def test_a_folder_that_is_no_view_set_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"there is no such folder\. Make it with"):
        write_report(tmp_path / "gone", tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


# ---- in a browser


def test_words_stay_words_wherever_they_come_from(hostile: Path, tmp_path: Path, browser: Browser) -> None:
    out = tmp_path / "page.html"
    plain = page_of(hostile, out)
    assert sum(tag == "script" for tag, _ in plain.tags) == 2
    assert not [attrs for _, attrs in plain.tags if any(name.startswith("on") for name in attrs)]
    assert not [tag for tag, _ in plain.tags if tag == "img"]
    browser.open(out)
    choose(browser, "show", "all")
    assert browser.run(SHOWN) == [SCRIPT] * 10
    browser.click(".tile:nth-child(2)")
    assert SCRIPT in browser.run("document.getElementById('zoom').textContent")
    assert browser.run("window.stolen") is None
    assert browser.run("document.querySelectorAll('#list script, #zoom script, [onerror]').length") == 0
    assert SCRIPT in browser.run("document.getElementById('list').textContent")


def test_a_script_that_came_with_data_would_not_run(page: Path, tmp_path: Path, browser: Browser) -> None:
    evil = tmp_path / "evil.html"
    evil.write_text(page.read_text().replace("<main>", "<main><script>window.stolen = 1</script>"))
    browser.open(evil)
    assert browser.run("window.stolen") is None
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)
    browser.complaints.clear()


def test_filters_leave_the_questions_that_are_so(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert {*browser.run(IDS)} == {f"{number}-sign" for number in range(5)}
    choose(browser, "flag", "flag:leaks_evidence")
    assert browser.run(IDS) == ["2-sign"]
    choose(browser, "flag", "lacks:same_class")
    assert browser.run(IDS) == ["1-sign"]
    choose(browser, "flag", "no")
    assert {*browser.run(IDS)} == {f"{number}-sign" for number in (0, 1, 3, 4)}
    choose(browser, "flag", "as:shuffled_patches")
    assert len(browser.run(IDS)) == 5
    choose(browser, "flag", "")
    choose(browser, "split", "is:test")
    assert {*browser.run(IDS)} == {"1-sign", "3-sign"}
    choose(browser, "split", "")
    choose(browser, "show", "evidence/no_region")
    assert {*browser.run(IDS)} == {f"{number}-ghost" for number in range(5)}
    assert browser.run("document.getElementById('num').textContent") == "5 of 5 rejected questions shown"
    choose(browser, "sort-of", "is:sign")
    assert browser.run("document.getElementById('list').textContent") == "No question of the sheet is like this."
    choose(browser, "show", "all")
    assert len(browser.run(IDS)) == 5
    browser.click("#words")
    for key in "3.PNG":
        browser.press(key)
    assert browser.run(IDS) == ["3-sign"]


def test_a_kind_of_view_leaves_the_other_negatives_out(page: Path, browser: Browser) -> None:
    browser.open(page)
    choose(browser, "kind", "masked")
    kinds = "[...document.querySelectorAll('.tile .name')].map((name) => name.textContent)"
    assert {*browser.run(kinds)} == {"crop", "masked"}


def test_questions_are_sorted_by_the_margin_of_the_kind_that_is_shown(page: Path, browser: Browser) -> None:
    browser.open(page)
    choose(browser, "kind", "masked")
    choose(browser, "sort", "margin")
    assert browser.run(IDS) == [f"{number}-sign" for number in range(5)]
    choose(browser, "sort", "marginMost")
    assert browser.run(IDS) == [f"{number}-sign" for number in reversed(range(5))]
    choose(browser, "sort", "detector")
    assert browser.run(IDS)[0] == "4-sign"


def test_a_flag_in_the_table_of_kinds_leads_to_its_views(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.click("button[data-flag]")
    assert browser.run(IDS) == ["2-sign"]
    browser.click("button[data-show]")
    assert len(browser.run(IDS)) == 5
    assert browser.run("document.getElementById('show').value") == "evidence/no_region"


def test_keys_go_to_the_next_and_the_previous_question_and_stop_at_the_ends(page: Path, browser: Browser) -> None:
    browser.open(page)
    here = "[...document.querySelectorAll('.card')].indexOf(document.querySelector('.current'))"
    ways = [("j", 1), ("ArrowRight", 2), ("k", 1), ("ArrowLeft", 0), ("k", 0), *[("j", at) for at in (1, 2, 3, 4, 4)]]
    assert browser.run(here) == 0
    for key, at in ways:
        browser.press(key)
        assert browser.run(here) == at, key
        assert browser.run("document.activeElement === document.querySelector('.current')")
    top = browser.run("document.querySelector('.current').getBoundingClientRect().top")
    assert top >= browser.run("document.querySelector('.tools').getBoundingClientRect().bottom")


def test_marks_download_as_a_file_that_a_build_reads(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.run("document.getElementById('download').disabled")
    browser.press("a")
    browser.press("j")
    browser.press("x")
    browser.press("n")
    for key in 'dark, "twice" j':
        browser.press(key)
    browser.press("Enter")
    browser.press("j")
    browser.press("x")
    browser.press("u")
    ids = browser.run(IDS)
    browser.click("#download")
    data = browser.downloaded("signs-reviews.csv")
    assert data.startswith(b"question_id,verdict,note\r\n")
    rows = {row["question_id"]: row for row in csv.DictReader(io.StringIO(data.decode(), newline=""))}
    assert {name: row["verdict"] for name, row in rows.items()} == {ids[0]: "accept", ids[1]: "reject"}
    assert read_reviews(browser.downloads / "signs-reviews.csv") == {
        ids[0]: Review(verdict="accept"),
        ids[1]: Review(verdict="reject", note='dark, "twice" j'),
    }


@pytest.mark.fault(31)
def test_marks_hold_no_formula_and_are_read_back_as_they_were(page: Path, tmp_path: Path, browser: Browser) -> None:
    browser.open(page)
    odd = {"=cmd|' /C calc'!A0": "+1", "-2": "@x", "'=3": "'quoted'", "'plain": "", "plain": "a=b"}
    marked = json.dumps({name: {"verdict": "accept", "note": note} for name, note in odd.items()})
    browser.run("for (const name in marks) delete marks[name]")
    text = browser.run(f"(Object.assign(marks, {marked}), asCsv())")
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in {*"=+-@"}]
    (tmp_path / "marks.csv").write_text(text, encoding="utf-8", newline="")
    assert {name: review.note for name, review in read_reviews(tmp_path / "marks.csv").items()} == odd


@pytest.mark.fault(31)
def test_no_question_turns_its_line_round(turned: Path, tmp_path: Path, browser: Browser) -> None:
    write_report(turned, tmp_path / "turned.html")
    browser.open(tmp_path / "turned.html")
    shown = browser.run("document.getElementById('list').textContent")
    assert "What is on <U+202E>retsop eht?" in shown
    assert "\u202e" not in shown


def test_marks_stay_when_the_page_is_opened_again_and_can_be_filtered(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.press("x")
    first = browser.run(IDS)[0]
    browser.open(page)
    assert browser.run("document.querySelector('.card').classList.contains('reject')")
    choose(browser, "mark", "reject")
    assert browser.run(IDS) == [first]
    choose(browser, "mark", "none")
    assert first not in browser.run(IDS)
    assert len(browser.run(IDS)) == 4


def test_a_question_that_another_stage_rejected_cannot_be_accepted(page: Path, browser: Browser) -> None:
    browser.open(page)
    choose(browser, "show", "rejected")
    browser.press("a")
    assert browser.run("document.getElementById('download').disabled")
    browser.press("x")
    assert not browser.run("document.getElementById('download').disabled")


def test_boxes_stand_where_the_tables_say_and_pointing_at_a_view_shows_its_place(page: Path, browser: Browser) -> None:
    browser.open(page)
    boxes = """[...document.querySelector('.card svg').querySelectorAll('.box:not(.under)')].map((box) =>
        [box.getAttribute('class'), ...['x', 'y', 'width', 'height'].map((name) => +box.getAttribute(name))])"""
    assert browser.run(boxes) == [["box c0", 8, 16, 16, 16], ["box evidence", 8, 16, 16, 16]]
    browser.run("document.querySelector('.tile.positive').focus()")
    assert browser.run(boxes)[-1] == ["box look", 8, 16, 16, 16]
    browser.click("#legend input")
    seen = "getComputedStyle(document.querySelector('.box.evidence')).display"
    assert browser.run(seen) == "none"


@pytest.mark.parametrize("width", [1280, 820])
def test_nothing_is_wider_than_the_window(page: Path, browser: Browser, width: int) -> None:
    browser.look(width, 720)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= width
