"""The stages in order: each finds one more thing, and a rejected question passes through untouched."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from viewgen.audit.auditor import Auditor
from viewgen.audit.flags import AuditConfig
from viewgen.build.config import read_config
from viewgen.build.plan import hash_image_file, plan_build
from viewgen.build.stages import (
    MAX_DECODED,
    STAGES,
    BuildContext,
    audit_views,
    batches,
    choose_donors,
    choose_evidence,
    cut_views,
    find_phrases,
    find_regions,
    open_images,
    run_stages,
)
from viewgen.build.workers import Workers
from viewgen.grounding.regions import region_finder
from viewgen.phrases import phrase_finder
from viewgen.records import ImageRecord, QuestionRecord, Rejection
from viewgen.source.recipe import read_questions, root_of
from viewgen.source.reviews import Review
from viewgen.views.cutting import ViewsConfig

if TYPE_CHECKING:
    from tests.viewgen.conftest import Source


@pytest.fixture
def context(source: Source) -> Iterator[BuildContext]:
    config = read_config(source.recipe)
    finder = region_finder(config.regions, config.retrieval)
    with Workers(0) as workers:
        yield BuildContext(
            root=root_of(config.source, source.recipe),
            config=config,
            phrases=phrase_finder(config.phrases),
            finder=finder,
            auditor=Auditor(config.audit, finder.retriever, finder.detector),
            workers=workers,
            num_threads=1,
            reviews={},
        )


@pytest.fixture
def images(source: Source, context: BuildContext) -> list[ImageRecord]:
    """Return two planned images with two questions each, one of which has no box."""
    questions = [q for q in read_questions(context.config.source, source.recipe) if q.image_path in {"0.png", "1.png"}]
    files = [hash_image_file(name, context.root, context.config.images) for name in ("0.png", "1.png")]
    (part,) = plan_build(context.config, {}, questions, files, {}).parts
    return [*part.images]


def test_the_list_of_stages_reads_as_the_diagram() -> None:
    assert (
        open_images,
        find_phrases,
        find_regions,
        choose_evidence,
        choose_donors,
        cut_views,
        audit_views,
    ) == STAGES


def test_each_stage_finds_one_more_thing(images: list[ImageRecord], context: BuildContext) -> None:
    found = []
    for stage in STAGES:
        images = [*stage(images, context)]
        record = next(record for record in images[0].questions if record.question_id == "0-sign")
        has = (images[0].pixels, record.phrases, record.regions, record.evidence, record.views)
        audited = bool(record.views and record.views[0].audit and record.views[0].pixels is None)
        found.append(["x" if thing else "-" for thing in has] + ["x" if audited else "-"])
    assert ["".join(row) for row in found] == [
        "x-----",  # opened
        "xx----",  # phrases
        "xxx---",  # regions
        "xxxx--",  # evidence
        "xxxx--",  # no kind needs donors
        "-xxxxx",  # cut and measured; the image's pixels have served
        "-xxxxx",
    ]


def test_a_rejected_question_passes_through_untouched(images: list[ImageRecord], context: BuildContext) -> None:
    why = Rejection(stage="test", reason="taken_out", message="before anything was found")
    taken = [replace(image, questions=tuple(replace(q, rejection=why) for q in image.questions)) for image in images]
    (first, second) = run_stages(taken, context)
    assert first.questions == taken[0].questions
    assert second.questions == taken[1].questions
    assert not first.is_opened  # nobody asks about it


def test_a_question_without_evidence_is_rejected_and_its_sibling_is_kept(
    images: list[ImageRecord], context: BuildContext
) -> None:
    ends = {record.question_id: record.rejection for image in run_stages(images, context) for record in image.questions}
    assert {name: why and (why.stage, why.reason) for name, why in ends.items()} == {
        "0-ghost": ("evidence", "no_region"),
        "0-sign": None,
        "1-ghost": ("evidence", "no_region"),
        "1-sign": None,
    }


def test_a_reviewer_overrules_the_audit_and_takes_questions_out(
    images: list[ImageRecord], context: BuildContext
) -> None:
    strict = replace(context, auditor=Auditor(AuditConfig(reject=("sharpness_differs",))))
    alone = [record.rejection for image in run_stages(images, strict) for record in image.questions]
    assert [why.reason for why in alone if why and why.stage == "audit"] == ["sharpness_differs"] * 2
    reviews = {"0-sign": Review(verdict="accept"), "1-sign": Review(verdict="reject", note="blurred")}
    judged = run_stages(images, replace(strict, reviews=reviews))
    ends = {record.question_id: record.rejection for image in judged for record in image.questions}
    assert ends["0-sign"] is None
    why = ends["1-sign"]
    assert why
    assert (why.stage, why.message) == ("review", "a reviewer rejected it: blurred")


def test_batches_keep_the_order_and_the_last_may_be_smaller() -> None:
    assert [*batches(range(5), 2)] == [[0, 1], [2, 3], [4]]


@pytest.mark.fault(17)
def test_questions_that_no_rule_reads_are_kept_where_the_source_gives_phrases_or_boxes(
    images: list[ImageRecord], context: BuildContext
) -> None:
    def reworded(image: ImageRecord, text: str, phrases: tuple[str, ...] | None) -> ImageRecord:
        return image.each(lambda record: replace(record, question=replace(record.question, text=text, phrases=phrases)))

    def found(text: str, phrases: tuple[str, ...] | None = None) -> dict[str, list[str]]:
        asked = [reworded(image, text, phrases) for image in images]
        kept = [record for image in run_stages(asked, context) for record in image.kept]
        return {record.question_id: [f"{phrase.rule}: {phrase.text}" for phrase in record.phrases] for record in kept}

    assert found("Describe it.") == {"0-sign": ["annotated: the red sign"], "1-sign": ["annotated: the red sign"]}
    assert found("标志上是什么?") == found("Describe it.")
    assert found("标志上是什么?", ("标志",)) == {"0-sign": ["given: 标志"], "1-sign": ["given: 标志"]}
    assert found("What is on the red sign?")["0-sign"] == ["place: the red sign"]


@pytest.mark.fault(34)
def test_a_part_with_donors_holds_a_few_decoded_images_at_once(
    images: list[ImageRecord], context: BuildContext
) -> None:
    swaps = replace(context, config=replace(context.config, views=ViewsConfig(negative=("swapped",))))

    def renamed(record: QuestionRecord, number: int) -> QuestionRecord:
        return replace(record, question=replace(record.question, question_id=f"{record.question_id}-{number}"))

    many = [image.each(partial(renamed, number=number)) for number in range(10) for image in images]
    opened = [*open_images(many, swaps)]
    alive: list[weakref.ref[Image.Image]] = [weakref.ref(image.pixels) for image in opened if image.pixels]
    with_evidence = [*choose_evidence(find_regions(find_phrases(opened, swaps), swaps), swaps)]
    assert len(alive) == len(with_evidence) == 20
    del opened, many
    coming = iter(choose_donors((with_evidence.pop(0) for _ in range(20)), swaps))
    first = next(coming)
    assert first.pixels is not None
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= MAX_DECODED
    rest = [*coming]
    assert len(rest) == 19
    assert all(image.pixels is not None for image in rest)
