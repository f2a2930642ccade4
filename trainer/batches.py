"""View sets -> batches of prompts, in an order drawn from a seed; the position can be saved and set again.
Leaves out: reading files (viewgen.viewset.shards), what prompts say (engine/prompts.py). Never asks for answers.

Questions of one image come together, so that the image is computed once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import ConfigDict

from trainer.engine.prompts import Pixels, Processor, Prompt, PromptConfig, process_image, write_prompt
from trainer.errors import DataError
from viewgen.decode import decode_image
from viewgen.errors import ViewgenError
from viewgen.settings import STRICT, Range, check_ranges
from viewgen.viewset import StoredSample, ViewSet, matching


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Questions to train on, and the views of them."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    view_set: str = ""
    """Folder that `viewgen build` wrote, relative to the run file."""
    split: str = "train"
    """Split to train on, as the source names it."""
    question_kinds: tuple[str, ...] = ()
    """Sorts of question to ask, as the source names them; empty: all."""
    where: str = ""
    """Condition on questions, in DuckDB's SQL over the view set's tables: "evidence_share < 0.01"; empty for all."""
    positive: str = "crop"
    """Kind of view that shows the evidence."""
    negative: str = "off_region"
    """Kind of view that does not."""
    images_per_step: Annotated[int, Range(ge=1)] = 8
    """Images in a batch; >= 1."""
    questions_per_image: Annotated[int, Range(ge=1)] = 4
    """Questions asked of each of them at most; >= 1. The paper's batch is 32 questions."""
    allow_eval_data: bool = False
    """Train on a view set that is made of a benchmark."""
    max_prompt_tokens: Annotated[int, Range(ge=1, unit="tokens")] = 25_000
    """Longer prompts are skipped and counted. The paper has 25,000."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Questions of one step, and their prompts: row q of each list is about the same question."""

    samples: tuple[StoredSample, ...]
    student: tuple[Prompt, ...]
    positive: tuple[Prompt, ...]
    negative: tuple[Prompt, ...]
    position: int
    """Position of the stream after this batch."""


ReadImages = Callable[[Iterable[str]], dict[str, bytes]]
"""Reader of images by their ids."""


def _alone(read: ReadImages, name: str) -> bytes:
    return read([name])[name]


class PromptWriter:
    """Write prompts of samples. Each image is processed once for all the prompts it is in."""

    def __init__(self, views: ViewSet, processor: Processor, config: PromptConfig, max_tokens: int) -> None:
        self._views, self._processor, self._config, self._max_tokens = views, processor, config, max_tokens
        self.skipped: Counter[str] = Counter()
        """Samples that could not be used, by reason."""
        self.num_used = 0
        """Samples whose prompts were written."""

    def write(self, samples: Sequence[StoredSample], kinds: Sequence[str]) -> list[tuple[StoredSample, list[Prompt]]]:
        """Write, for each usable sample, one prompt per view kind; the kind "" is the full image alone."""
        view_ids = [view_id for sample in samples for kind in kinds if kind for view_id in sample.views.get(kind, ())]
        images, broken = {}, {}
        data = self._read(self._views.image_bytes, [sample.image_id for sample in samples])
        data |= self._read(self._views.view_bytes, view_ids)
        for name, encoded in data.items():
            try:
                images[name] = decode_image(encoded() if callable(encoded) else encoded)
            except ViewgenError as refusal:
                broken[name] = f"image {name!r} of {self._views.path} cannot be used: {refusal}"
        pixels = {}
        for name, image in images.items():
            try:
                pixels[name] = process_image(self._processor, image)
            except DataError as refusal:
                broken[name] = f"image {name!r} of {self._views.path} cannot be used: {refusal}"
        written = []
        for sample in samples:
            shown = [sample.image_id, *(view_id for kind in kinds for view_id in sample.views.get(kind, ()))]
            try:
                if fault := next((broken[name] for name in shown if name in broken), ""):
                    raise DataError(fault)
                written.append((sample, [self._prompt(sample, kind, pixels) for kind in kinds]))
            except DataError as refusal:
                self.skipped[str(refusal)] += 1
        self.num_used += len(written)
        return written

    def _read(self, read: ReadImages, names: Sequence[str]) -> dict[str, bytes | Callable[[], bytes]]:
        """Read images together; where one of them is damaged, each by itself, when it is wanted."""
        try:
            return {**read(names)}
        except ViewgenError:
            return {name: partial(_alone, read, name) for name in names}

    def _prompt(self, sample: StoredSample, kind: str, pixels: Mapping[str, Pixels]) -> Prompt:
        if kind and kind not in sample.views:
            raise DataError(f"there is no view of kind {kind!r} of the question, for a reason that the view set gives")
        views = [pixels[view_id] for view_id in sample.views.get(kind, ())]
        path = (sample.image_id, sample.question_id, kind)
        prompt = write_prompt(self._processor, self._config, pixels[sample.image_id], sample.question, views, path)
        if len(prompt.ids) > self._max_tokens:
            found, name = f"{len(prompt.ids):,} prompt tokens", sample.question_id
            raise DataError(f"question {name!r} has {found}, more than the limit of {self._max_tokens:,}")
        return prompt


class Batches:
    """An endless stream of batches. `position` says how many have been given; set it to go on from there."""

    def __init__(self, views: ViewSet, data: DataConfig, writer: PromptWriter, seed: int) -> None:
        self._views, self._data, self._writer, self._seed = views, data, writer, seed
        self._by_image: dict[str, list[StoredSample]] = {}
        if is_benchmark(views) and not data.allow_eval_data:
            what = "is made of a benchmark (source.is_evaluation), whose scores would mean nothing afterwards"
            raise DataError(f"{views.path}: {what}. Name another view set, or set data.allow_eval_data = true.")
        known = {role: views.view_kinds(role) for role in ("positive", "negative")}
        for role, kind in (("positive", data.positive), ("negative", data.negative)):
            if kind not in known[role] and any(kind in kinds for kinds in known.values()):
                held = ", ".join(known[role])
                raise DataError(f"data.{role} = {kind!r}: is no {role} view in {views.path}. Expected one of: {held}.")
        samples = views.samples(data.split, [data.positive, data.negative])
        if data.where:
            samples = chosen(samples, views, data.where)
        for sample in of_kinds(samples, data.question_kinds, "data", views.path):
            self._by_image.setdefault(sample.image_id, []).append(sample)
        self.position = 0

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Images that are trained on."""
        return tuple(self._by_image)

    @property
    def num_per_epoch(self) -> int:
        """Number of batches in which every image comes once; a rest that fills no batch waits for the next epoch's
        order."""
        return max(len(self._by_image) // self._data.images_per_step, 1)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch. Raises DataError when no question of an epoch can be used."""
        for _ in range(self.num_per_epoch + 1):
            rows = self._writer.write(self._choose(self.position), ("", self._data.positive, self._data.negative))
            self.position += 1
            if rows:
                student, positive, negative = zip(*(prompts for _, prompts in rows), strict=True)
                samples = tuple(sample for sample, _ in rows)
                prompts = {"student": student, "positive": positive, "negative": negative}
                return Batch(samples=samples, **prompts, position=self.position)
        why = next(iter(self._writer.skipped), "there is none")
        raise DataError(
            f"{self._views.path}: no question can be asked: {why}. Raise data.max_prompt_tokens or rebuild."
        )

    def _choose(self, position: int) -> list[StoredSample]:
        """Choose the questions of a batch: a new order of images every epoch, a new choice of questions every time."""
        epoch, place = divmod(position, self.num_per_epoch)
        images = sorted(self._by_image)
        order = self._stream("images", epoch).permutation(len(images))
        num = self._data.images_per_step
        pick = self._stream("questions", position)
        chosen: list[StoredSample] = []
        for index in order[place * num : (place + 1) * num]:
            asked = self._by_image[images[index]]
            which = pick.permutation(len(asked))[: self._data.questions_per_image]
            chosen += [asked[i] for i in sorted(which)]
        return chosen

    def _stream(self, what: str, number: int) -> np.random.Generator:
        digest = blake2b(f"{self._seed}/{what}/{number}".encode(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))


def is_benchmark(views: ViewSet) -> bool:
    """Return True for a view set whose recipe marks its source as an evaluation set."""
    source = views.manifest.config.get("source")
    return isinstance(source, Mapping) and source.get("is_evaluation") is True


def chosen(samples: Sequence[StoredSample], views: ViewSet, where: str) -> list[StoredSample]:
    """Return the samples that fulfil a condition. Raises QueryError for what is none, DataError when nothing is left."""
    ids = matching(views, where)
    kept = [sample for sample in samples if sample.question_id in ids]
    if not kept:
        raise DataError(f"{views.path}: no question of {len(samples):,} fulfils data.where = {where!r}. Change it.")
    return kept


def of_kinds(samples: Sequence[StoredSample], kinds: Sequence[str], table: str, where: Path) -> list[StoredSample]:
    """Return the samples of some question kinds, all when none is named. Raises DataError when nothing is left."""
    kept = [sample for sample in samples if not kinds or sample.kind in kinds]
    if not kept:
        known = ", ".join(sorted({sample.kind for sample in samples}))
        raise DataError(
            f"{where}: no question is of a kind in {table}.question_kinds = {list(kinds)}. It has: {known}."
        )
    return kept
