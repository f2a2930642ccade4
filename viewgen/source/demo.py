"""Draw scenes with small signs, with questions and answers, from a seed: a data set without a download.
A scene is a textured ground with clutter and a few small signs; each sign has its own colour, a shape and a two-digit
number. Questions ask for the number on one sign, for the relation of two, or for a sign that is not there.
Leaves out: everything a build does (build/). True boxes go to truth.parquet, for measurements; no build reads it.

Signs are centred near the centres of a TOKEN_PX grid, so that a small vision-language model with tokens of that size sees
a sign in the middle of one of them. Boxes are x0, y0, x1, y1 in pixels, far edges outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from viewgen.boxes import Box
from viewgen.errors import RecipeError
from viewgen.progress import Progress
from viewgen.settings import Range, SettingValueError, check_ranges

TOKEN_PX = 16
MARKER = ".drawn-scenes"
"""Name of the file that marks a folder of scenes, an unfinished one too."""
COLOURS = {
    "red": (214, 40, 40),
    "orange": (255, 146, 20),
    "yellow": (250, 226, 40),
    "green": (30, 150, 60),
    "cyan": (60, 214, 222),
    "blue": (30, 70, 205),
    "purple": (140, 50, 180),
    "pink": (255, 135, 195),
    "white": (250, 250, 250),
    "black": (22, 22, 22),
}
SHAPES = {  # corners on a 4 x 4 board centred at 0, or None for a circle
    "circle": None,
    "square": ((-1.6, -1.6), (1.6, -1.6), (1.6, 1.6), (-1.6, 1.6)),
    "triangle": ((0.0, -2.2), (2.25, 1.7), (-2.25, 1.7)),
    "diamond": ((0.0, -2.2), (2.2, 0.0), (0.0, 2.2), (-2.2, 0.0)),
    "hexagon": ((-1.1, -1.8), (1.1, -1.8), (2.1, 0.0), (1.1, 1.8), (-1.1, 1.8), (-2.1, 0.0)),
}
QuestionType = Literal["attribute", "relation", "absent"]
_SMOOTH = 4  # shapes are drawn this many times larger and shrunk, for smooth edges
_SCENE_FILE = re.compile(r"(train|selection|test)-\d{5,}\.png")
_UNIT_PX = 6.0  # one step of the 4 x 4 board


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """Numbers of scenes, and their size. Splits share no scene."""

    seed: int = 0
    num_train: Annotated[int, Range(ge=0)] = 1600
    """Scenes to learn from."""
    num_selection: Annotated[int, Range(ge=0)] = 100
    """Scenes for choosing settings or a checkpoint."""
    num_test: Annotated[int, Range(ge=0)] = 1100
    """Scenes for the final figure."""
    edge_px: Annotated[int, Range(ge=4 * TOKEN_PX, unit="px")] = 160
    """Width and height of a scene; a multiple of TOKEN_PX."""
    min_signs: Annotated[int, Range(ge=2)] = 5
    max_signs: int = 8
    num_relations: Annotated[int, Range(ge=0)] = 2
    """Relation questions per scene; an absent-sign question is added to every scene."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.num_train + self.num_selection + self.num_test:
            raise SettingValueError(
                "num_train", 0, "above 0 where no other split has scenes", "Ask for one scene or more."
            )
        if self.edge_px % TOKEN_PX:
            raise SettingValueError("edge_px", self.edge_px, f"a multiple of {TOKEN_PX}", "Round it.")
        room = ((self.edge_px // TOKEN_PX - 1) // 2) ** 2
        num_max = min(room, len(COLOURS) - 1)
        if not self.min_signs <= self.max_signs <= num_max:
            limits = f"from min_signs, {self.min_signs}, to {num_max}"
            raise SettingValueError("max_signs", self.max_signs, limits, "Change one of the two.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A small sign with a two-digit number on it."""

    colour: str
    shape: str
    number: str
    box: Box
    """Box around the drawn shape, pixels of the scene."""

    @property
    def phrase(self) -> str:
        """Words of the questions for the sign: the red circle."""
        return f"the {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An RGB image and the signs in it."""

    image: Image.Image
    signs: tuple[Sign, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneQuestion:
    """A question about a scene, with its answer."""

    text: str
    answer: str
    kind: QuestionType
    signs: tuple[Sign, ...]
    """Signs named in the question; none when the sign is absent."""


def scene_stream(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the random stream of one scene; it depends on seed, split and index alone."""
    digest = blake2b(f"{seed}/{split}/{index}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def draw_scene(stream: np.random.Generator, config: DemoConfig) -> Scene:
    """Draw one scene: ground, clutter, then signs."""
    image = _ground(stream, config.edge_px)
    _clutter(stream, image)
    num_signs = int(stream.integers(config.min_signs, config.max_signs + 1))
    centres = _centres(stream, num_signs, config.edge_px)
    colours = stream.permutation(sorted(COLOURS))[:num_signs]
    shapes = stream.choice(sorted(SHAPES), num_signs)
    signs = [_draw_sign(stream, image, str(c), str(s), at) for c, s, at in zip(colours, shapes, centres, strict=True)]
    return Scene(image=image, signs=tuple(signs))


def ask(stream: np.random.Generator, scene: Scene, num_relations: int) -> list[SceneQuestion]:
    """Write one question about each sign, `num_relations` about two signs, and one about a sign that is not there."""
    asked = [
        SceneQuestion(text=number_question(sign.phrase), answer=sign.number, kind="attribute", signs=(sign,))
        for sign in scene.signs
    ]
    for _ in range(num_relations):
        first, second = (scene.signs[i] for i in stream.permutation(len(scene.signs))[:2])
        asked.append(_relation(first, second))
    missing = sorted(set(COLOURS) - {sign.colour for sign in scene.signs})
    phrase = f"the {stream.choice(missing)} {stream.choice(sorted(SHAPES))}"
    asked.append(SceneQuestion(text=number_question(phrase), answer="none", kind="absent", signs=()))
    return asked


def number_question(phrase: str) -> str:
    """Return the text of a question about one sign."""
    return f"What number is on {phrase}?"


def _relation(first: Sign, second: Sign) -> SceneQuestion:
    """Write a question about two signs, along the axis on which they lie further apart."""
    right = first.box.x0 + first.box.x1 - second.box.x0 - second.box.x1
    down = first.box.y0 + first.box.y1 - second.box.y0 - second.box.y1
    if abs(right) >= abs(down):
        words, answer = "left or right of", "right" if right > 0 else "left"
    else:
        words, answer = "above or below", "below" if down > 0 else "above"
    text = f"Is {first.phrase} {words} {second.phrase}?"
    return SceneQuestion(text=text, answer=answer, kind="relation", signs=(first, second))


def _ground(stream: np.random.Generator, edge_px: int) -> Image.Image:
    """Draw a muted colour with soft patches and some grain."""
    base = stream.uniform(95, 165) + stream.uniform(-18, 18, 3)
    coarse = stream.normal(0, 14, (7, 7, 1)) + stream.normal(0, 5, (7, 7, 3))
    patches = Image.fromarray(np.clip(base + coarse, 0, 255).astype(np.uint8)).resize(
        (edge_px, edge_px), Image.Resampling.BICUBIC
    )
    grain = stream.integers(-6, 7, (edge_px, edge_px, 1)) * (stream.random((edge_px, edge_px, 1)) < 0.06)
    return Image.fromarray(np.clip(np.asarray(patches).astype(np.int16) + grain, 0, 255).astype(np.uint8))


def _clutter(stream: np.random.Generator, image: Image.Image) -> None:
    """Draw lines, blobs and blocks in colours near the ground's: none of them is a sign."""
    draw = ImageDraw.Draw(image)
    edge = image.width
    for _ in range(int(stream.integers(8, 15))):
        x, y = (int(v) for v in stream.integers(0, edge, 2))
        pixel = image.getpixel((x, y))
        assert isinstance(pixel, tuple)
        tone = tuple(int(np.clip(c + stream.integers(-38, 39), 0, 255)) for c in pixel)
        width, height = (int(v) for v in stream.integers(4, 26, 2))
        match int(stream.integers(3)):
            case 0:
                draw.line((x, y, x + 2 * width - 30, y + 2 * height - 30), fill=tone, width=int(stream.integers(1, 4)))
            case 1:
                draw.ellipse((x, y, x + width, y + height), fill=tone)
            case _:
                draw.rectangle((x, y, x + width, y + height), fill=tone)


def _centres(stream: np.random.Generator, num_signs: int, edge_px: int) -> list[tuple[int, int]]:
    """Choose centres of distinct grid cells, two or more cells apart and one from the edge, each up to a pixel off."""
    cells = edge_px // TOKEN_PX
    while True:  # a bad start can leave no room for the last sign: then start anew
        chosen: list[tuple[int, int]] = []
        for spot in stream.permutation((cells - 2) ** 2):
            column, row = 1 + int(spot) % (cells - 2), 1 + int(spot) // (cells - 2)
            if all(max(abs(column - c), abs(row - r)) >= 2 for c, r in chosen):
                chosen.append((column, row))
            if len(chosen) == num_signs:
                jitter = stream.integers(-1, 2, (num_signs, 2))
                half = TOKEN_PX // 2
                return [
                    (c * TOKEN_PX + half + int(dx), r * TOKEN_PX + half + int(dy))
                    for (c, r), (dx, dy) in zip(chosen, jitter, strict=True)
                ]


def _draw_sign(stream: np.random.Generator, image: Image.Image, colour: str, shape: str, at: tuple[int, int]) -> Sign:
    number = str(stream.integers(10, 100))
    face = COLOURS[colour]
    ink = (0, 0, 0) if sum(face) > 330 else (255, 255, 255)
    rim = tuple(int(c * 0.45) if ink == (0, 0, 0) else min(c + 70, 255) for c in face)
    side = 2 * TOKEN_PX
    board = Image.new("RGBA", (side * _SMOOTH, side * _SMOOTH), (*face, 0))
    draw = ImageDraw.Draw(board)
    middle, step = side * _SMOOTH / 2, _UNIT_PX * _SMOOTH
    corners = SHAPES[shape]
    if corners is None:
        reach = 1.95 * step
        draw.ellipse(
            (middle - reach, middle - reach, middle + reach, middle + reach), (*face, 255), (*rim, 255), _SMOOTH
        )
    else:
        points = [(middle + x * step, middle + y * step) for x, y in corners]
        draw.polygon(points, (*face, 255), (*rim, 255), _SMOOTH)
    drawn = board.resize((side, side), Image.Resampling.BOX)
    left, top = at[0] - TOKEN_PX, at[1] - TOKEN_PX
    image.paste(drawn, (left, top), drawn)
    # Numbers stand a little low in a triangle, where it is wide enough for them.
    below = 3 if shape == "triangle" else 0
    ImageDraw.Draw(image).text((at[0], at[1] + below), number, fill=ink, font=_font(), anchor="mm")
    x0, y0, x1, y1 = drawn.getchannel("A").getbbox() or (0, 0, side, side)
    return Sign(colour=colour, shape=shape, number=number, box=Box(left + x0, top + y0, left + x1, top + y1))


_loaded: list[ImageFont.FreeTypeFont | ImageFont.ImageFont] = []


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load Pillow's own scalable font once: two digits are 13 px wide."""
    if not _loaded:
        _loaded.append(ImageFont.load_default(size=12))
    return _loaded[0]


def splits(config: DemoConfig) -> Iterator[tuple[str, int]]:
    """Yield (split, index) of every scene."""
    for split, num in (("train", config.num_train), ("selection", config.num_selection), ("test", config.num_test)):
        for index in range(num):
            yield split, index


def _make_room(out: Path) -> None:
    """Mark a folder as ours before the first scene is drawn, and remove earlier scenes."""
    marker = out / MARKER
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise RecipeError(f"{out}: holds files that are not drawn scenes. Name an empty or new folder.")
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()
    (out / "images").mkdir(exist_ok=True)
    for name in ("questions.parquet", "truth.parquet"):
        (out / name).unlink(missing_ok=True)
    for path in (out / "images").iterdir():
        if _SCENE_FILE.fullmatch(path.name):
            path.unlink()


def write_demo(out: Path, config: DemoConfig) -> int:
    """Write images/*.png, questions.parquet and truth.parquet below `out`; return the number of scenes.

    Earlier scenes in `out` are removed. Raises RecipeError when `out` contains other files.

    write_demo(Path("scenes"), DemoConfig(num_train=12, num_selection=0, num_test=0))    # 12
    """
    _make_room(out)
    questions: list[dict[str, object]] = []
    truth: list[dict[str, object]] = []
    scenes = list(splits(config))
    with Progress("draw", len(scenes), "scenes") as progress:
        for split, index in progress.each(scenes):
            stream = scene_stream(config.seed, split, index)
            scene = draw_scene(stream, config)
            path = f"images/{split}-{index:05d}.png"
            scene.image.save(out / path, compress_level=3)
            for number, asked in enumerate(ask(stream, scene, config.num_relations)):
                name = f"{split}-{index:05d}-{number}"
                row = {"question_id": name, "image_path": path, "question": asked.text, "answer": asked.answer}
                questions.append({**row, "kind": asked.kind, "split": split})
                boxes = [dict(zip(("x0", "y0", "x1", "y1"), s.box.as_tuple(), strict=True)) for s in asked.signs]
                truth.append({"question_id": name, "boxes": boxes})
    box = pl.Struct({"x0": pl.Int32, "y0": pl.Int32, "x1": pl.Int32, "y1": pl.Int32})
    pl.DataFrame(truth, schema={"question_id": pl.String, "boxes": pl.List(box)}).write_parquet(out / "truth.parquet")
    pl.DataFrame(questions).write_parquet(out / "questions.parquet")
    return len(scenes)
