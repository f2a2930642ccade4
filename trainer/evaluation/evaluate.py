"""Answer the questions of a held-out split greedily and score the answers: the student before and after, with intervals.
Leaves out: the rules of right and wrong (scorers.py), intervals (statistics.py). Nothing else reads the answers'
column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, ClassVar

import polars as pl
import torch
from pydantic import ConfigDict

from trainer.batches import PromptWriter, of_kinds
from trainer.engine.models import Student
from trainer.errors import CheckpointError, DataError, TrainerError
from trainer.evaluation.choices import options_in
from trainer.evaluation.scorers import SCORERS, scorer_named
from trainer.evaluation.statistics import (
    Estimate,
    clustered_difference,
    clustered_proportion,
    count_pairs,
    paired_difference,
)
from trainer.evaluation.words import without_thought
from trainer.rollout.sample import answer
from trainer.rollouts import RolloutConfig
from viewgen.errors import brief
from viewgen.files import write_whole
from viewgen.progress import Progress
from viewgen.settings import STRICT, Range, check_names, check_ranges
from viewgen.viewset import StoredSample, ViewSet


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """Questions of an evaluation, the length of answers, the scorer."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    split: str = "test"
    """Empty: no evaluation."""
    question_kinds: tuple[str, ...] = ()
    """Sorts of question to ask, as the source names them; empty: all."""
    num_questions: Annotated[int, Range(ge=0)] = 0
    """Questions at most, a sample drawn from `seed`; 0: all."""
    seed: int = 0
    """Of the sample of `num_questions`: the same seed draws the same questions."""
    one_per_image: bool = True
    """Ask each image one question, so that questions are independent. Otherwise intervals count by image."""
    scorer: str = "exact_match"
    """Rule of right and wrong: exact_match, multiple_choice, number, yes_no."""
    max_new_tokens: Annotated[int, Range(ge=1, unit="tokens")] = 64
    """Tokens of an answer at most, EOS included."""
    images_per_batch: Annotated[int, Range(ge=1)] = 25
    """Questions that are answered together."""
    views: tuple[str, ...] = ()
    """Kinds of view beside which the student is also asked before training: what there is to gain."""

    def __post_init__(self) -> None:
        check_ranges(self)
        check_names("scorer", self.scorer, SCORERS, "Each is documented in trainer/evaluation/scorers.py.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """One held-out question and what the model made of it."""

    question_id: str
    image_id: str
    kind: str
    question: str
    answer: str
    response: str
    right: bool


def held_out(views: ViewSet, config: EvalConfig, kinds: Sequence[str]) -> list[StoredSample]:
    """Return the questions of the evaluation, with their answers. Raises DataError when none has an answer."""
    samples = of_kinds(views.samples(config.split, kinds, answers=True), config.question_kinds, "eval", views.path)
    samples = [sample for sample in samples if sample.answer is not None]
    if config.one_per_image:
        # The place among an image's questions follows from the image, so that every place is asked for.
        of_image: dict[str, list[StoredSample]] = {}
        for sample in samples:
            of_image.setdefault(sample.image_id, []).append(sample)
        samples = [asked[int(image_id[:8], 16) % len(asked)] for image_id, asked in of_image.items()]
    if not samples:
        raise DataError(
            f"{views.path}: no question of split {config.split!r} has an answer. Set eval.split to another."
        )
    if 0 < config.num_questions < len(samples):
        drawn = set(sorted((sample.question_id for sample in samples), key=_lot(config.seed))[: config.num_questions])
        samples = [sample for sample in samples if sample.question_id in drawn]
    for sample in samples:  # an answer that the rule cannot read is said now, not after the training
        scorer_named(config.scorer)("", sample.answer or "", options_of(sample))
    return samples


def _lot(seed: int) -> Callable[[str], bytes]:
    """Return a key that orders ids at random, the same way whatever else is among them."""
    return lambda name: blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()


def options_of(sample: StoredSample) -> tuple[str, ...]:
    """Return the options of a question: the source's, else those that the question itself lists."""
    return sample.options or options_in(sample.question)


def evaluate(
    student: Student, writer: PromptWriter, samples: Sequence[StoredSample], config: EvalConfig, kind: str, name: str
) -> list[ScoredAnswer]:
    """Ask each question once, greedily, beside a view of the given kind ("" for the full image alone)."""
    rollout = RolloutConfig(num_siblings=1, temperature=0.0, max_new_tokens=config.max_new_tokens)
    right, thought = scorer_named(config.scorer), student.thought_ids
    answered: list[ScoredAnswer] = []
    with Progress(f"evaluate {name}", len(samples), "questions") as progress:
        for start in range(0, len(samples), config.images_per_batch):
            rows = writer.write(samples[start : start + config.images_per_batch], (kind,))
            if not rows:
                continue
            prompts = [prompt for _, (prompt,) in rows]
            rollouts = answer(student, prompts, rollout, torch.Generator())
            for (sample, (prompt,)), response in zip(rows, student.texts(rollouts), strict=True):
                assert sample.answer is not None
                opened = thought is not None and prompt.ends_within(*thought)
                said = without_thought(response, opened)
                answered.append(_judged(sample, response, right(said, sample.answer, options_of(sample))))
            progress.add(len(rows))
    if not answered:
        raise DataError(f"no question of split {config.split!r} can be asked: {next(iter(writer.skipped))}")
    return answered


def _judged(sample: StoredSample, response: str, right: bool) -> ScoredAnswer:
    return ScoredAnswer(
        question_id=sample.question_id,
        image_id=sample.image_id,
        kind=sample.kind,
        question=sample.question,
        answer=sample.answer or "",
        response=response,
        right=right,
    )


def accuracy(answered: Sequence[ScoredAnswer]) -> dict[str, float]:
    """Return the share of right answers with its 95 % interval (Wilson's, by image), and the number of questions and
    of images."""
    images = [a.image_id for a in answered]
    share = clustered_proportion([a.right for a in answered], images)
    num_images = len(set(images))
    return {"accuracy": share.value, "low": share.low, "high": share.high, "num": len(answered), "images": num_images}


def difference(before: Sequence[ScoredAnswer], after: Sequence[ScoredAnswer]) -> dict[str, float]:
    """Return the gain in accuracy with the 95 % interval of the paired difference: Newcombe's, or where questions share
    an image a bootstrap by image."""
    assert [a.question_id for a in before] == [a.question_id for a in after], "pairs are of one question each"
    was, is_now, images = [a.right for a in before], [a.right for a in after], [a.image_id for a in before]
    shares_images = len(set(images)) < len(images)
    found: Estimate = (
        clustered_difference(was, is_now, images, seed=0)
        if shares_images
        else paired_difference(count_pairs(was, is_now))
    )
    return {"mean": found.value, "low": found.low, "high": found.high}


def by_kind(before: Sequence[ScoredAnswer], after: Sequence[ScoredAnswer]) -> dict[str, Any]:
    """Return both accuracies for each question kind."""
    kinds = sorted({a.kind for a in before})
    pairs = {kind: [[a for a in b if a.kind == kind] for b in (before, after)] for kind in kinds}
    return {kind: dict(zip(("before", "after"), map(accuracy, both), strict=True)) for kind, both in pairs.items()}


def write_answers(path: Path, answered: Sequence[ScoredAnswer]) -> None:
    """Write one row per answer as Parquet, whole or not at all."""
    with write_whole(path) as partial:
        pl.DataFrame([asdict(a) for a in answered]).write_parquet(partial)


def read_answers(path: Path) -> list[ScoredAnswer]:
    """Read the answers that write_answers wrote. Raises CheckpointError."""
    try:
        return [ScoredAnswer(**row) for row in pl.read_parquet(path).iter_rows(named=True)]
    except (OSError, TypeError, pl.exceptions.PolarsError) as error:
        said = brief(error)
        raise CheckpointError(f"{path}: cannot be read ({said}). Name another folder and run again.") from None


def weights_by_right(rollouts: Path, samples: Sequence[StoredSample], scorer: str) -> dict[str, float]:
    """Return the mean gate weight of right and of wrong rollouts that were kept, after training; empty without both.

    `samples` come with answers: this looks back at a run, nothing of it reaches the training."""
    answered = {sample.question_id: sample for sample in samples if sample.answer is not None}
    right = scorer_named(scorer)
    weights: dict[bool, list[float]] = {True: [], False: []}
    for path in sorted(rollouts.glob("step-*.parquet")):
        rows = pl.read_parquet(path, columns=["question_id", "response", "weight"])
        responses = rows["response"].to_list()
        # A thought that ends and never begins was begun by the prompt.
        opened = any("</think>" in response and "<think>" not in response for response in responses)
        for question_id, response, weight in rows.iter_rows():
            sample = answered.get(question_id)
            try:
                if sample is not None:
                    said = without_thought(response, opened)
                    weights[right(said, sample.answer or "", options_of(sample))].append(weight)
            except TrainerError:  # a sort of question that this rule does not judge
                continue
    if not all(weights.values()):
        return {}
    means = {name: sum(weights[key]) / len(weights[key]) for name, key in (("right", True), ("wrong", False))}
    return {f"weight_{name}": mean for name, mean in means.items()}
