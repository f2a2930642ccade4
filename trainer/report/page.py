"""One self-contained HTML page of a run: what it reached, its curves, what the gate made of rollouts, answers before
and after. Opens from disk and loads nothing.
Leaves out: the page's looks (page.html), the geometry of charts (charts.py), the README's picture (picture.py), and
reading the run: run_folder.py says file by file and column by column what a run folder must hold.

All that comes from data is escaped by the template; pictures are data URLs; a page stops growing at MAX_BYTES."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from trainer.report.charts import Chart, Value, draw_chart, is_number, reach_of
from trainer.report.picture import SMALL_PX, PictureSource, gap_scale, readme_picture, strength, visible
from trainer.report.run_folder import Group, RunFolder, ScoredQuestion
from viewgen.files import write_whole
from viewgen.geometry import Number, Tick, position, short
from viewgen.pages import page_template

__all__ = ["CHARTS", "readme_picture", "write_report"]

PAGE = "report.html"
TEMPLATE = "page.html"
NUM_GROUPS = 24
"""Questions whose rollouts are shown."""
NUM_VERDICTS = 4
"""Questions shown for each way in which answers change."""
MAX_BYTES = 18_000_000
"""Bytes of images; the page's text adds little."""
FULL_PX, VIEW_PX = 800, 400
"""Longest side, on the page, of a full image and of a view."""

CHARTS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("Loss", "", {"loss": "loss"}),
    ("Divergence from the teacher", "nats", {"divergence": "divergence"}),
    ("Evidence score", "nats/token", {"gate/score_mean": "mean", "gate/score_std": "std"}),
    ("Gate weights", "", {"gate/weight_mean": "mean", "gate/weight_std": "std"}),
    ("Weights at a bound", "share", {"gate/at_min_share": "minimum", "gate/at_max_share": "maximum"}),
    ("Response length", "tokens", {"response_tokens": "tokens"}),
    ("Truncated answers", "share", {"truncated_share": "share"}),
    ("Gradient norm", "before clipping", {"grad_norm": "norm"}),
    ("Learning rate", "", {"lr": "rate"}),
    ("Trained tokens", "a step", {"trained_tokens": "tokens"}),
    (
        "Left out",
        "count",
        {"gate/dropped_gaps": "gaps", "clamped_tokens": "clamped tokens", "skipped_samples": "samples so far"},
    ),
    (
        "Time",
        "seconds",
        {
            "seconds/step": "step",
            "seconds/data": "data",
            "seconds/rollout": "rollout",
            "seconds/score": "score",
            "seconds/update": "update",
        },
    ),
)
"""Title, unit, and metric -> its name in the chart."""

FACTS = {
    "command": "Command",
    "view_set": "View set",
    "positive": "Positive view",
    "negative": "Negative view",
    "num_parameters": "Parameters",
    "num_trainable": "Trained parameters",
    "minutes": "Minutes",
    "hardware": "Hardware",
    "commit": "Commit",
    "seed": "Seed",
}
"""Key of run.json -> what the page calls it."""

ROW_PX, AXIS_PX = 34, (210, 690)
"""Height of a row of the accuracy plot, and where its axis from 0 to 1 runs, in units of its view box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A picture inside the page."""

    href: str
    width: int
    height: int
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    """x0, y0, x1, y1 in pixels of width x height."""
    is_small: bool
    """To be shown in hard pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionCard:
    """A question in pictures, and what there is to say about it."""

    about: Group | ScoredQuestion
    full: Embedded
    positive: Embedded | None
    negative: Embedded | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerChange:
    """Held-out questions whose answers changed, or did not, in one way."""

    title: str
    num: int
    """Number of them; `shown` are drawn from them by a hash of their ids."""
    shown: tuple[ScoredQuestion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """An accuracy in the plot: positions in units of the view box."""

    css: str
    at: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """A line of the accuracy plot."""

    label: str
    y: int
    dots: tuple[Dot, ...]


def write_report(run_dir: Path) -> Path:
    """Write RUN/report.html, whole or not at all, and return its path. Raises TrainerError or ShardError, one line."""
    run = RunFolder.read(run_dir)
    pictures = PictureSource(run)
    groups = run.telling_groups(NUM_GROUPS)
    changed = changes(run.verdicts)
    cards = _cards(pictures, [*groups, *(verdict for change in changed for verdict in change.shown)])
    scale = gap_scale(groups)
    filters: dict[str, Callable[..., object]] = {
        "short": short,
        "percent": percent,
        "signed": signed,
        "visible": visible,
    }
    template = page_template(Path(__file__).with_name(TEMPLATE), filters, {"number": is_number})
    page = template.render(
        title=run.facts.get("name") or run_dir.resolve().name,
        summary=run.summary,
        rows=accuracy_rows(run.summary),
        ticks=[Tick(_on_axis(share / 4), f"{share * 25} %") for share in range(5)],
        row_px=ROW_PX,
        charts=draw_charts(run.metrics),
        num_steps=len(run.metrics),
        reach=reach_of(len(run.metrics)),
        group_cards=[cards[group] for group in groups if group in cards],
        changes=changed,
        cards=cards,
        kinds=(run.facts.get("positive", "crop"), run.facts.get("negative", "off_region")),
        scale=scale,
        strength=lambda gap: round(100 * strength(gap, scale)),
        facts=[(label, run.facts[key]) for key, label in FACTS.items() if run.facts.get(key) not in (None, "")],
        settings=list(flat(run.facts.get("config", {}))),
        versions=flat(run.facts.get("versions", {})),
    )
    with write_whole(run_dir / PAGE) as partial:
        partial.write_text(page, encoding="utf-8")
    return run_dir / PAGE


def percent(share: Number) -> str:
    """0.415 -> 41.5 %"""
    return f"{100 * share:.1f} %"


def signed(value: Value, num_digits: int) -> str:
    """0.06 -> +0.1; a dash for what is missing or not finite, no sign before a zero."""
    if not is_number(value):
        return "–"
    text = f"{value:+.{num_digits}f}".replace("-", "−")
    return text if float(f"{value:.{num_digits}f}") else text[1:]


def draw_charts(metrics: Sequence[Mapping[str, float]]) -> list[Chart]:
    """Draw the charts of CHARTS that have values, then one for every other metric, by name."""
    steps = [int(step["step"]) for step in metrics]
    named = {metric for _, _, series in CHARTS for metric in series}
    others = sorted({name for step in metrics for name in step} - named - {"step"})
    drawn: list[Chart] = []
    for title, unit, series in (*CHARTS, *((name, "", {name: name}) for name in others)):
        values = {name: [step.get(metric) for step in metrics] for metric, name in series.items()}
        if chart := draw_chart(title, unit, steps, values):
            drawn.append(chart)
    return drawn


def accuracy_rows(summary: Mapping[str, Any]) -> list[AccuracyRow]:
    """Before and after, over all questions and by kind; then what the model reached when shown a view as well."""
    by_kind = summary.get("by_kind", {})
    # A single kind would repeat the first row.
    kinds = sorted(by_kind) if len(by_kind) > 1 else []
    found = [("All questions", _dots(summary, "before", "after"))]
    found += [(kind or "no kind", _dots(by_kind[kind], "before", "after")) for kind in kinds]
    found += [(f"Before, with {role} view", _dots(summary, f"with_{role}_view")) for role in ("positive", "negative")]
    drawn = [(label, dots) for label, dots in found if dots]
    return [AccuracyRow(label=label, y=ROW_PX * index, dots=dots) for index, (label, dots) in enumerate(drawn)]


def _dots(accuracies: Mapping[str, Any], *keys: str) -> tuple[Dot, ...]:
    return tuple(_dot(key, accuracies[key]) for key in keys if key in accuracies)


def _dot(css: str, found: Mapping[str, Any]) -> Dot:
    at, low, high = found["accuracy"], found.get("low", found["accuracy"]), found.get("high", found["accuracy"])
    text = f"{css.replace('_', ' ')}: {percent(at)}, 95 % interval {percent(low)} to {percent(high)}"
    return Dot(css=css, at=_on_axis(at), low=_on_axis(low), high=_on_axis(high), text=text)


def _on_axis(share: Number) -> float:
    return position(share, 0.0, 1.0, *AXIS_PX)


def changes(verdicts: Sequence[ScoredQuestion]) -> list[AnswerChange]:
    """Group answers by the four ways in which they can change, with some questions of each; empty without verdicts."""
    titles = {
        (False, True): "wrong before, right after",
        (True, False): "right before, wrong after",
        (False, False): "wrong before and after",
        (True, True): "right before and after",
    }
    # Drawn by a hash: neither picked by hand nor the first of the file.
    drawn = sorted(verdicts, key=lambda verdict: hashlib.sha256(verdict.question_id.encode()).digest())
    found = {way: [v for v in drawn if (v.was_right, v.is_right) == way] for way in titles}
    return [
        AnswerChange(title=title, num=len(found[way]), shown=tuple(found[way][:NUM_VERDICTS]))
        for way, title in titles.items()
        if verdicts
    ]


def _cards(
    pictures: PictureSource, wanted: Sequence[Group | ScoredQuestion]
) -> dict[Group | ScoredQuestion, QuestionCard]:
    """As many cards, in order, as MAX_BYTES of pictures allow."""
    cards: dict[Group | ScoredQuestion, QuestionCard] = {}
    num_bytes = 0
    for about in wanted:
        found = pictures.of(about.question_id)
        full = embed(found.full, FULL_PX, found.boxes)
        positive, negative = (
            None if view is None else embed(view, VIEW_PX) for view in (found.positive, found.negative)
        )
        num_bytes += sum(len(image.href) for image in (full, positive, negative) if image)
        if num_bytes > MAX_BYTES:
            break
        cards[about] = QuestionCard(about=about, full=full, positive=positive, negative=negative)
    return cards


def embed(image: Image.Image, longest_px: int, boxes: tuple[tuple[int, int, int, int], ...] = ()) -> Embedded:
    """Return the image as a data URL: a small one without loss (PNG), a large one shrunk (JPEG); boxes stay as they
    are."""
    is_small = max(image.size) <= SMALL_PX
    shown = image if is_small else image.copy()
    shown.thumbnail((max(longest_px, SMALL_PX), max(longest_px, SMALL_PX)))
    file = io.BytesIO()
    shown.save(file, format="PNG" if is_small else "JPEG", quality=85)
    kind = "png" if is_small else "jpeg"
    href = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Embedded(href=href, width=image.width, height=image.height, boxes=boxes, is_small=is_small)


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings -> their full names and values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
