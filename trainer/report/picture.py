"""The pictures of one question, and one PNG of them with what the gate made of its answers: the README's first picture.
Leaves out: the page (page.py), reading the run (run_folder.py). Boxes and sizes are pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from trainer.errors import TrainerError
from trainer.report.run_folder import Group, RunFolder, Sibling
from viewgen.decode import decode_image
from viewgen.viewset import StoredSample, ViewSet

WIDTH, MARGIN = 1200, 40
FULL_PX, VIEW_PX = (496, 496), (288, 288)
"""Room for the full image, and for a view."""
RIGHT_PX, TOKENS_PX = 568, 748
"""Left edges of the right half, and in it of the answers."""
QUESTION_PX = 32
INK, GREY, PAPER, FRAME, EVIDENCE = "#1a1c1f", "#6b7077", "#ffffff", "#d5d9de", "#e8a100"
POSITIVE_RGB, NEGATIVE_RGB = (47, 111, 208), (208, 74, 47)
SMALL_PX = 384
"""An image whose sides are no longer than this is scaled up in hard pixels, so that one sees what a model is given."""
MOST_ANSWERS = 5
DRAWABLE = {"⏎": "\\n", "␣": "_", "∅": ""}
"""Signs that Pillow's own font lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionPictures:
    """Full image of a question, and the views that the teacher sees beside it."""

    full: Image.Image
    boxes: tuple[tuple[int, int, int, int], ...]
    """The evidence: x0, y0, x1, y1 in pixels of `full`."""
    positive: Image.Image | None
    """None for a kind without pixels, as `none` is, and where the question lacks the view."""
    negative: Image.Image | None


class PictureSource:
    """The pictures of a run's view set, by question."""

    def __init__(self, run: RunFolder) -> None:
        """Open the view set of a run. Raises ShardError when it cannot be read, TrainerError when run.json names none."""
        self._view_set = ViewSet.open(run.view_set)
        self._kinds = (str(run.facts.get("positive", "crop")), str(run.facts.get("negative", "off_region")))
        samples = (self._view_set.samples(split, self._kinds) for split in self._view_set.splits())
        self._samples: dict[str, StoredSample] = {s.question_id: s for some in samples for s in some}

    def of(self, question_id: str) -> QuestionPictures:
        """Return the images of a question. Raises TrainerError for one that the view set lacks."""
        if question_id not in self._samples:
            where = self._view_set.path
            raise TrainerError(f"{where}: has no question {question_id!r}. Correct view_set in the run's run.json.")
        sample = self._samples[question_id]
        positive, negative = (self._first(sample.views.get(kind, ())) for kind in self._kinds)
        full = decode_image(self._view_set.image_bytes([sample.image_id])[sample.image_id])
        boxes = tuple(box.as_tuple() for box in sample.evidence)
        return QuestionPictures(full=full, boxes=boxes, positive=positive, negative=negative)

    def _first(self, view_ids: Sequence[str]) -> Image.Image | None:
        """Return the first of the views, decoded; None where there is none."""
        data = self._view_set.view_bytes(view_ids[:1])
        return next((decode_image(encoded) for encoded in data.values()), None)


def gap_scale(groups: Iterable[Group]) -> float:
    """Return the gap in nats that is drawn in full colour: 19 of 20 gaps are smaller. At least 0.1."""
    gaps = sorted(
        abs(gap)
        for group in groups
        for sibling in group.siblings
        for gap in sibling.gap
        if gap is not None and math.isfinite(gap)
    )
    return max(0.1, gaps[int(0.95 * (len(gaps) - 1))]) if gaps else 0.1


def readme_picture(run_dir: Path, out: Path) -> Path:
    """One PNG, 1200 px wide: a question, its full image and both views, its answers with their weights and gaps.

    Of 24 groups spread over the run it shows one with three or more distinct answers, if there is one, whose weights
    differ most; the latest of such. Raises TrainerError or ShardError."""
    run = RunFolder.read(run_dir)
    groups = run.telling_groups(24)
    if not groups:
        raise TrainerError(f"{run_dir}: holds no rollouts to draw. Set the run to record some and run it again.")
    group = max(groups, key=lambda group: (len(group.distinct) >= 3, group.spread, group.step))
    canvas = draw_group(group, PictureSource(run).of(group.question_id))
    out.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(out, format="PNG", optimize=True)
    return out


def draw_group(group: Group, pictures: QuestionPictures) -> Image.Image:
    """Draw one group: the full image at the left; at its right both views, and the answers below them."""
    canvas = Image.new("RGB", (WIDTH, 1400), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), _cut_off(draw, group.question, WIDTH - 2 * MARGIN), INK, _font(QUESTION_PX))
    top = MARGIN + 64
    ends = [_draw_picture(canvas, "full image: all that the student sees", pictures.full, pictures.boxes, MARGIN, top)]
    captions = {"positive view: shows the evidence": pictures.positive, "negative view: does not": pictures.negative}
    for number, (caption, view) in enumerate(captions.items()):
        x = RIGHT_PX + number * (VIEW_PX[0] + 16)
        if view is None:
            draw.text((x, top), f"{caption.partition(':')[0]}: no image", GREY, _font(18))
            ends.append(top + 30)
        else:
            ends.append(_draw_picture(canvas, caption, view, (), x, top))
    y = _draw_legend(draw, max(ends[1:]) + 22, gap_scale([group]))
    for sibling, num in group.distinct[:MOST_ANSWERS]:
        y = _draw_answer(draw, sibling, num, y, gap_scale([group]))
    return canvas.crop((0, 0, WIDTH, max(ends[0], y) + MARGIN))


def _draw_picture(
    canvas: Image.Image, caption: str, image: Image.Image, boxes: Sequence[tuple[int, int, int, int]], x: int, y: int
) -> int:
    """Draw a caption and below it the image, its boxes framed; returns where it ends."""
    draw = ImageDraw.Draw(canvas)
    draw.text((x, y), caption, GREY, _font(18))
    scaled, top = fit(image, FULL_PX if x < RIGHT_PX else VIEW_PX), y + 30
    canvas.paste(scaled, (x, top))
    draw.rectangle((x - 1, top - 1, x + scaled.width, top + scaled.height), outline=FRAME)
    scale = scaled.width / image.width
    for x0, y0, x1, y1 in boxes:
        left, right, upper, lower = x + x0 * scale, x + x1 * scale - 1, top + y0 * scale, top + y1 * scale - 1
        draw.rectangle((left, upper, right, lower), outline="#000000", width=6)
        draw.rectangle((left + 1, upper + 1, right - 1, lower - 1), outline=EVIDENCE, width=4)
    return top + scaled.height


def _draw_legend(draw: ImageDraw.ImageDraw, y: int, scale: float) -> int:
    """Draw the legend; return the top of the answers."""
    draw.text((RIGHT_PX, y), "weight", GREY, _font(18))
    draw.text((TOKENS_PX, y), "answer", GREY, _font(18))
    draw.text((TOKENS_PX + 80, y + 1), f"-{scale:.1f}", GREY, _font(16))
    for step in range(-40, 41):
        draw.rectangle((TOKENS_PX + 158 + step, y + 4, TOKENS_PX + 158 + step, y + 18), fill=_colour(step / 40))
    draw.text((TOKENS_PX + 208, y + 1), f"+{scale:.1f} nats from evidence", GREY, _font(16))
    return y + 36


def _draw_answer(draw: ImageDraw.ImageDraw, sibling: Sibling, num: int, y: int, scale: float) -> int:
    """Draw one answer; return the top of the next. The bar's full length is weight 2; `num` siblings gave this answer."""
    draw.rectangle((RIGHT_PX, y + 8, RIGHT_PX + 100, y + 28), fill="#eef0f2")
    if (length := round(50 * min(sibling.weight, 2.0))) > 0:
        draw.rectangle((RIGHT_PX, y + 8, RIGHT_PX + length, y + 28), fill="#3a4048")
    draw.text((RIGHT_PX + 112, y + 4), f"{sibling.weight:.2f}", INK, _font(24))
    x = TOKENS_PX
    for token, gap in zip(sibling.tokens, sibling.gap, strict=True):
        text = "".join(DRAWABLE.get(letter, letter) for letter in visible(token))
        width = round(draw.textlength(text, _font(24))) + 12
        if x + width > WIDTH - MARGIN - 64:
            draw.text((x, y + 4), "...", GREY, _font(24))
            x += 30
            break
        draw.rectangle((x, y, x + width - 3, y + 36), fill=_colour(strength(gap, scale)))
        draw.text((x + 5, y + 4), text, INK, _font(24))
        x += width
    if num > 1:
        draw.text((x + 8, y + 9), f"{num} times", GREY, _font(18))
    return y + 44


def fit(image: Image.Image, room: tuple[int, int]) -> Image.Image:
    """Fit the image into the room: small ones in hard pixels, at whole multiples; large ones smoothly."""
    scale = min(room[0] / image.width, room[1] / image.height)
    if max(image.size) <= SMALL_PX and scale > 1:
        times = math.floor(scale)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def strength(gap: float | None, scale: float) -> float:
    """Return the gap as a share of the scale, -1 to 1; 0 for one that is missing or not finite."""
    return max(-1.0, min(1.0, gap / scale)) if gap is not None and math.isfinite(gap) else 0.0


def visible(token: str) -> str:
    """Return a token with its line ends and blanks shown."""
    return token.replace("\n", "⏎") if token.strip() else token.replace("\n", "⏎").replace(" ", "␣") or "∅"


def _colour(share: float) -> tuple[int, int, int]:
    """White at 0, blue at 1, red at -1; never so strong that text on it is hard to read."""
    target = POSITIVE_RGB if share > 0 else NEGATIVE_RGB
    red, green, blue = (round(255 + (channel - 255) * 0.65 * abs(share)) for channel in target)
    return red, green, blue


def _cut_off(draw: ImageDraw.ImageDraw, question: str, room_px: int) -> str:
    while draw.textlength(question, _font(QUESTION_PX)) > room_px:
        question = question.removesuffix("...")[:-1].rstrip() + "..."
    return question


def _font(size_px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size_px)
