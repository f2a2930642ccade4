"""The page of a run, read as a browser would read it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from PIL import Image

import trainer.report.page
from trainer.errors import TrainerError
from trainer.metrics import METRICS
from trainer.report.page import CHARTS, accuracy_rows, changes, draw_charts, embed, signed, write_report
from trainer.report.run_folder import RunFolder, ScoredQuestion
from viewgen.errors import ShardError
from viewgen.viewset.parts import write_table
from viewgen.viewset.shards import ViewSet

if TYPE_CHECKING:
    from tests.trainer.report.conftest import RunMaker

SCRIPT = "<script>alert('stolen')</script>\"' onload=x"


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

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.tags if name in (attrs.get("class") or "").split()]


def lack_of_views(view_set: Path, kind: str) -> None:
    """Take the views of a kind out of a view set, with the reason that none could be made."""
    manifest = json.loads((view_set / "manifest.json").read_text())
    for record in manifest["parts"]:
        number = f"part-{record['part']:05d}.parquet"
        views = pl.read_parquet(view_set / "views" / number).filter(pl.col("kind") != kind)
        questions = pl.read_parquet(view_set / "questions" / number)
        missing = [[{"kind": kind, "reason": "no_room", "message": "no room"}]] * questions.height
        lists = pl.Series("missing_views", missing, dtype=questions.schema["missing_views"])
        for table, rows in (("views", views), ("questions", questions.with_columns(lists))):
            record["files"][table] = asdict(write_table(view_set / table / number, rows))
    (view_set / "manifest.json").write_text(json.dumps(manifest))


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_the_page_loads_nothing_from_anywhere(make_run: RunMaker) -> None:
    page = page_of(make_run.whole())
    links = [attrs[name] for _, attrs in page.tags for name in ("href", "src", "xlink:href") if name in attrs]
    assert links
    assert all(str(link).startswith(("data:image/", "#")) for link in links)
    assert "@import" not in page.html
    assert "url(" not in page.html
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; img-src data:;")


def test_everything_from_data_stays_text(make_run: RunMaker) -> None:
    plain = page_of(make_run.whole())
    make_run.facts(name=SCRIPT, hardware=SCRIPT, config={SCRIPT: {SCRIPT: SCRIPT}}, versions={SCRIPT: SCRIPT})
    make_run.rollouts(range(1, 41), question=SCRIPT, response=SCRIPT, tokens=[SCRIPT], gap=[1.0])
    make_run.evals(question=SCRIPT, response=SCRIPT, answer=SCRIPT, kind=SCRIPT)
    make_run.summary(by_kind={SCRIPT: {}, "other": make_run_kind()} | {SCRIPT: make_run_kind()})
    (make_run.folder / "metrics.jsonl").write_text('{"step": 1, "<script>alert(1)</script>": 2}\n')
    page = page_of(make_run.folder)
    assert page.text.count("<script>alert('stolen')</script>") > 100
    assert "<script>alert(1)</script>" in page.text
    for tag in ("script", "style", "iframe"):
        assert sum(t == tag for t, _ in page.tags) == sum(t == tag for t, _ in plain.tags)
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]


def make_run_kind() -> dict[str, dict[str, float]]:
    return {"before": {"accuracy": 0.5, "low": 0.4, "high": 0.6, "num": 10}}


def test_the_headline_says_before_after_and_the_difference_with_intervals(make_run: RunMaker) -> None:
    text = page_of(make_run.whole()).text
    assert "before training 41.2 % 40.3 % to 42.1 %" in text
    assert "after training 67.1 % 66.0 % to 68.2 %" in text
    assert "difference, in points +25.9 +24.1 to +27.7" in text
    assert "Right rollouts had a mean weight of 1.31 , wrong ones 0.79" in text
    assert "compare with a run whose gate.alpha is 0" in text


def test_an_accuracy_stands_where_it_belongs_between_nothing_and_all() -> None:
    accuracy = {"accuracy": 0.5, "low": 0.0, "high": 1.0, "num": 4}
    (row,) = accuracy_rows({"after": accuracy})
    (dot,) = row.dots
    assert (row.label, dot.css, dot.low, dot.at, dot.high) == ("All questions", "after", 210, 450, 690)
    assert dot.text == "after: 50.0 %, 95 % interval 0.0 % to 100.0 %"


def test_kinds_get_rows_of_their_own_when_there_are_several_and_views_come_last() -> None:
    half = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "num": 4}
    both = {"before": half, "after": half}
    one_kind = accuracy_rows({**both, "by_kind": {"number": both}})
    assert [row.label for row in one_kind] == ["All questions"]
    rows = accuracy_rows({**both, "by_kind": {"b": both, "a": both}, "with_positive_view": half})
    assert [row.label for row in rows] == ["All questions", "a", "b", "Before, with positive view"]
    assert [row.y for row in rows] == [0, 34, 68, 102]
    assert [len(row.dots) for row in rows] == [2, 2, 2, 1]


def test_every_metric_gets_a_chart_and_those_that_belong_together_share_one() -> None:
    charts = draw_charts(
        [{"step": 1.0, "loss": 2.0, "seconds/step": 1.0, "seconds/score": 0.5, "mine": 1.0, "empty": float("nan")}]
    )
    assert [(chart.title, [line.name for line in chart.lines]) for chart in charts] == [
        ("Loss", ["loss"]),
        ("Time", ["step", "score"]),
        ("mine", ["mine"]),
    ]


def test_all_that_a_run_measures_has_a_chart_with_a_title() -> None:
    named = [metric for _, _, series in CHARTS for metric in series]
    assert sorted(named) == sorted(METRICS)


def test_the_gallery_shows_24_questions_with_weights_and_pictures(make_run: RunMaker) -> None:
    page = page_of(make_run.whole())
    shown = RunFolder.read(make_run.folder).telling_groups(24)
    assert len(shown) == 24
    num_cards = len(page.with_class("card"))
    assert num_cards > 24
    assert sum(tag == "image" for tag, _ in page.tags) == 3 * num_cards
    assert len(page.with_class("weight")) == sum(len(group.distinct) for group in shown)
    first, num = shown[0].distinct[0]
    spoken = " ".join(f"{token} {signed(gap, 1)}" for token, gap in zip(first.tokens, first.gap, strict=True))
    assert f"{first.weight:.2f} {spoken} {num} {signed(first.score, 2)}" in page.text


def test_tokens_are_blue_where_the_evidence_helps_red_where_it_does_not_and_plain_where_it_is_unknown(
    make_run: RunMaker,
) -> None:
    make_run.facts()
    gap = [2.0, -1.0, 0.0, float("nan"), None]
    make_run.rollouts([1], num_siblings=2, num_questions=1, tokens=list("abcde"), gap=gap)
    page = page_of(make_run.folder)
    tokens = page.with_class("token")
    assert [str(token["class"]).split()[1] for token in tokens] == ["more", "less", "none", "none", "none"]
    assert [token["style"] for token in tokens[:3]] == ["--much: 100", "--much: 50", "--much: 0"]
    assert [token["title"] for token in tokens] == ["+2.000 nats", "−1.000 nats", "0.000 nats", "– nats", "– nats"]


def test_a_long_answer_has_no_numbers_below_its_tokens(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([1], num_siblings=1, num_questions=1, tokens=["x"] * 13, gap=[0.5] * 13)
    assert "+0.5 x" not in page_of(make_run.folder).text
    make_run.rollouts([1], num_siblings=1, num_questions=1, tokens=["x"] * 12, gap=[0.5] * 12)
    assert "x +0.5 x +0.5" in page_of(make_run.folder).text


def test_a_small_image_is_on_the_page_pixel_by_pixel_with_its_evidence_framed(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([1], num_questions=1)
    page = page_of(make_run.folder)
    (group,) = RunFolder.read(make_run.folder).telling_groups(1)
    (sample,) = [sample for sample in make_run.samples("train") if sample.question_id == group.question_id]
    stored = ViewSet.open(make_run.view_set).image_bytes([sample.image_id])[sample.image_id]
    shown, *_ = [attrs for tag, attrs in page.tags if tag == "image"]
    data = base64.b64decode(str(shown["href"]).removeprefix("data:image/png;base64,"))
    assert shown["class"] == "pixels"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(Image.open(io.BytesIO(stored))))
    (box,) = sample.evidence
    frames = [[int(str(attrs[name])) for name in ("x", "y", "width", "height")] for attrs in page.with_class("box")]
    assert frames == [[box.x0, box.y0, box.width, box.height]] * 2


def test_a_large_image_is_shrunk_but_its_boxes_keep_their_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 2400, 3), dtype=np.uint8)
    embedded = embed(Image.fromarray(noise), 800, ((2000, 1000, 2400, 1200),))
    kind, _, data = embedded.href.partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (800, 400)
    assert (embedded.width, embedded.height, embedded.boxes) == (2400, 1200, ((2000, 1000, 2400, 1200),))
    assert not embedded.is_small


def test_a_page_stops_growing_at_its_limit(make_run: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_report(make_run.whole()).stat().st_size
    monkeypatch.setattr(trainer.report.page, "MAX_BYTES", 400_000)
    page = page_of(make_run.folder)
    assert 0 < len(page.with_class("card")) < 24
    assert len(page.html) < 600_000 < whole < 20_000_000


def test_the_four_ways_of_change_add_up_to_all_questions() -> None:
    ways = [(False, True)] * 9 + [(True, False)] * 2 + [(True, True)]
    verdicts = [verdict(f"question {number}", *way) for number, way in enumerate(ways)]
    found = changes(verdicts)
    assert [(change.title, change.num, len(change.shown)) for change in found] == [
        ("wrong before, right after", 9, 4),
        ("right before, wrong after", 2, 2),
        ("wrong before and after", 0, 0),
        ("right before and after", 1, 1),
    ]
    # Drawn by their ids alone: the order of the file does not matter, and they are not simply its first.
    assert changes(verdicts[::-1]) == found
    assert found[0].shown != tuple(verdicts[:4])


def verdict(question_id: str, was_right: bool, is_right: bool) -> ScoredQuestion:
    said = {"kind": "", "question": "?", "answer": "7", "before": "7", "after": "7"}
    return ScoredQuestion(question_id=question_id, was_right=was_right, is_right=is_right, **said)


def test_answers_before_and_after_stand_beside_the_reference(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.evals(share_before=0.0, share_after=1.0)
    page = page_of(make_run.folder)
    num = len(make_run.samples("test"))
    assert f"{num} wrong before, right after" in page.text
    assert f"Wrong before, right after: 4 of {num}" in page.text
    (first, *_) = changes(RunFolder.read(make_run.folder).verdicts)[0].shown
    assert f"Before 57 wrong After {first.answer} right Reference {first.answer}" in page.text


def test_a_run_without_measurements_still_has_a_page(make_run: RunMaker) -> None:
    make_run.facts(config={"gate": {"alpha": 0.5}})
    page = page_of(make_run.folder)
    assert "The run Steps 0" in page.text
    assert "Parameters 1,234,567 Minutes 7.2 Seed 0 torch 2.15.0" in page.text
    assert "gate.alpha 0.5" in page.text
    assert not {"result", "curves", "rollouts", "answers"} & {attrs.get("id") for _, attrs in page.tags}


def test_the_same_run_gives_the_same_page_and_leaves_nothing_beside_it(make_run: RunMaker) -> None:
    first = write_report(make_run.whole()).read_bytes()
    before = sorted(path.name for path in make_run.folder.iterdir())
    assert write_report(make_run.folder).read_bytes() == first
    assert sorted(path.name for path in make_run.folder.iterdir()) == before
    assert before == ["evals", "metrics.jsonl", "report.html", "rollouts", "run.json"]


def test_a_question_that_the_view_set_lacks_is_named(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([1], question_id="stranger")
    expected = f"{make_run.view_set}: has no question 'stranger'. Correct view_set in the run's run.json."
    with pytest.raises(TrainerError) as refusal:
        write_report(make_run.folder)
    assert str(refusal.value) == expected


def test_a_view_set_that_is_gone_or_lacks_a_kind_is_named(make_run: RunMaker, tmp_path: Path) -> None:
    make_run.facts(view_set=str(tmp_path / "gone"))
    with pytest.raises(ShardError, match=r"gone: there is no such folder"):
        write_report(make_run.folder)
    make_run.facts(negative="masked")
    with pytest.raises(ShardError, match=r"have no view of kind 'masked'\. Kinds here: crop, off_region"):
        write_report(make_run.folder)


def test_answers_of_the_view_set_are_not_needed(make_run: RunMaker, tmp_path: Path) -> None:
    bare = shutil.copytree(make_run.view_set, tmp_path / "bare")
    make_run.whole()
    page = write_report(make_run.folder).read_bytes()
    for path in (bare / "questions").iterdir():
        pl.read_parquet(path).drop("answer").write_parquet(path)
        record = path.stat().st_size
        text = (bare / "manifest.json").read_text()
        old = (make_run.view_set / "questions" / path.name).stat().st_size
        (bare / "manifest.json").write_text(text.replace(f'"bytes": {old}', f'"bytes": {record}'))
    make_run.facts(view_set=str(bare))
    without = write_report(make_run.folder).read_text(encoding="utf-8")
    assert without.replace(str(bare), str(make_run.view_set)).encode() == page


def test_a_browser_opens_the_page_without_a_complaint(make_run: RunMaker, tmp_path: Path) -> None:
    if not (chromium := shutil.which("chromium")):
        pytest.skip("chromium is not installed")
    page = write_report(make_run.whole(num_steps=3))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={tmp_path}/b"]
    seen = subprocess.run([chromium, *flags, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True)
    assert seen.stdout.count('class="card"') == page.read_text(encoding="utf-8").count('class="card"')
    assert not re.findall(r"CONSOLE.*", seen.stderr)


@pytest.mark.fault(31)
def test_a_run_against_no_negative_view_has_a_page_that_says_so(make_run: RunMaker, view_set_with_none: Path) -> None:
    make_run.whole(num_steps=3)
    make_run.facts(view_set=str(view_set_with_none), negative="none")
    page = page_of(make_run.folder)
    cards = len(page.with_class("card"))
    assert cards > 3
    assert page.text.count("negative: none (no image)") == cards
    assert page.text.count("positive: crop (no image)") == 0


@pytest.mark.fault(31)
def test_a_question_that_lacks_the_view_is_shown_without_it(make_run: RunMaker, tmp_path: Path) -> None:
    lacking = shutil.copytree(make_run.view_set, tmp_path / "lacking")
    make_run.whole(num_steps=3)
    lack_of_views(lacking, "off_region")
    make_run.facts(view_set=str(lacking))
    page = page_of(make_run.folder)
    assert page.text.count("negative: off_region (no image)") == len(page.with_class("card")) > 3


@pytest.mark.fault(31)
def test_a_question_cannot_turn_its_line_round(make_run: RunMaker) -> None:
    make_run.facts()
    make_run.rollouts([1], question="What is on \u202eretsop eht?")
    page = page_of(make_run.folder)
    assert "What is on <U+202E>retsop eht?" in page.text
    assert "\u202e" not in page.html


@pytest.mark.fault(14)
def test_intervals_that_count_by_image_say_so(make_run: RunMaker) -> None:
    make_run.facts()
    share = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "num": 40}
    make_run.summary(before=share | {"images": 8}, after=share | {"images": 8})
    assert "40 questions about 8 images; intervals count by image." in page_of(make_run.folder).text
    make_run.summary(before=share | {"images": 40}, after=share | {"images": 40})
    assert "40 questions." in page_of(make_run.folder).text
