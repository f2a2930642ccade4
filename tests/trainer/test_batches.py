"""Batches: their order, their position, what is skipped, and that nobody asks for answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from trainer.batches import Batch, Batches, DataConfig, PromptWriter
from trainer.engine.load import Loaded, ModelConfig, load
from trainer.engine.prompts import PromptConfig, process_images, stack_pixels, write_prompt
from trainer.errors import DataError
from viewgen.errors import ViewgenError
from viewgen.viewset.shards import ViewSet

DATA = DataConfig(view_set="unused", question_kinds=("attribute",), images_per_step=3, questions_per_image=2)


@pytest.fixture(scope="module")
def drawn_vlm() -> Loaded:
    return load("embedded:drawn-vlm", ModelConfig(), "model.student")


def batches(views: Path, loaded: Loaded, data: DataConfig = DATA, seed: int = 0) -> Batches:
    opened = ViewSet.open(views)
    return Batches(opened, data, PromptWriter(opened, loaded.processor, PromptConfig(), data.max_prompt_tokens), seed)


def names(batch: Batch) -> list[str]:
    return [sample.question_id for sample in batch.samples]


def test_an_epoch_shows_every_image_at_most_once_and_the_next_in_another_order(
    drawn_views: Path, drawn_vlm: Loaded
) -> None:
    stream = batches(drawn_views, drawn_vlm)
    epochs = [[[s.image_id for s in next(stream).samples] for _ in range(stream.num_per_epoch)] for _ in range(2)]
    for epoch in epochs:
        shown = [image for batch in epoch for image in dict.fromkeys(batch)]
        assert len(shown) == len(set(shown)) == 3 * stream.num_per_epoch
    assert epochs[0] != epochs[1]


def test_a_batch_follows_from_seed_and_position_alone(drawn_views: Path, drawn_vlm: Loaded) -> None:
    first = batches(drawn_views, drawn_vlm)
    given = [next(first) for _ in range(5)]
    again = batches(drawn_views, drawn_vlm)
    again.position = given[2].position
    assert names(next(again)) == names(given[3])
    assert names(next(batches(drawn_views, drawn_vlm, seed=1))) != names(given[0])


def test_rows_of_the_three_prompts_are_about_one_question_and_share_it(drawn_views: Path, drawn_vlm: Loaded) -> None:
    batch = next(batches(drawn_views, drawn_vlm))
    decode = drawn_vlm.processor.tokenizer.decode
    for row, sample in enumerate(batch.samples):
        student, positive, negative = batch.student[row], batch.positive[row], batch.negative[row]
        assert sample.question in decode(student.ids)
        assert [len(p.images) for p in (student, positive, negative)] == [1, 2, 2]
        assert student.images[0] is positive.images[0] is negative.images[0]
        shared = student.image_ends[0] + len(drawn_vlm.processor.tokenizer(sample.question)["input_ids"])
        assert student.ids[:shared] == positive.ids[:shared] == negative.ids[:shared]


def test_the_positive_prompt_shows_the_positive_view_and_the_negative_one_the_negative(
    drawn_views: Path, drawn_vlm: Loaded
) -> None:
    views, batch = ViewSet.open(drawn_views), next(batches(drawn_views, drawn_vlm))
    writer = PromptWriter(views, drawn_vlm.processor, PromptConfig(view=""), 1000)
    assert writer.num_used == 0
    for kind, prompts in (("crop", batch.positive), ("off_region", batch.negative)):
        written = writer.write(batch.samples, (kind,))
        for (_, (expected,)), prompt in zip(written, prompts, strict=True):
            shown, mine = expected.images[1].inputs["pixel_values"], prompt.images[1].inputs["pixel_values"]
            assert (shown == mine).all()
    both = [prompts[0].images[1].inputs["pixel_values"] for prompts in (batch.positive, batch.negative)]
    assert not (both[0] == both[1]).all()
    assert writer.num_used == 2 * len(batch.samples)


def test_a_kind_that_is_nowhere_is_answered_with_the_kinds_that_are_there(drawn_views: Path, drawn_vlm: Loaded) -> None:
    with pytest.raises(ViewgenError, match=r"have no view of kind 'swapped'\. Kinds here: crop, "):
        batches(drawn_views, drawn_vlm, replace(DATA, negative="swapped"))


def test_prompts_are_those_of_the_models_own_processor(drawn_views: Path, drawn_vlm: Loaded) -> None:
    batch = next(batches(drawn_views, drawn_vlm))
    processor: Any = drawn_vlm.processor
    image, view = Image.new("RGB", (96, 64), (200, 30, 30)), Image.new("RGB", (48, 48))
    question = batch.samples[0].question
    config = PromptConfig(view="Is it above ?", system="below")
    pictures = process_images(processor, [image, view])
    mine = write_prompt(processor, config, pictures[0], question, pictures[1:])
    content = [{"type": "image"}, {"type": "text", "text": question}, {"type": "text", "text": "Is it above ?"}]
    messages = [
        {"role": "system", "content": "below"},
        {"role": "user", "content": [*content, {"type": "image"}]},
    ]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    theirs = processor(text=[text], images=[image, view], return_tensors="pt")
    assert list(mine.ids) == theirs["input_ids"][0].tolist()
    assert theirs["pixel_values"].equal(stack_pixels(pictures)["pixel_values"])


def test_a_prompt_over_the_limit_is_skipped_and_counted_and_the_others_go_on(
    drawn_views: Path, drawn_vlm: Loaded
) -> None:
    opened = ViewSet.open(drawn_views)
    samples = opened.samples("train", ["crop"])[:3]
    long = replace(samples[1], question=samples[1].question * 30)
    writer = PromptWriter(opened, drawn_vlm.processor, PromptConfig(), max_tokens=200)
    written = writer.write([samples[0], long, samples[2]], ["crop"])
    assert [sample.question_id for sample, _ in written] == [samples[0].question_id, samples[2].question_id]
    (reason,) = writer.skipped
    assert reason.startswith(f"question {long.question_id!r} has ")
    assert reason.endswith("prompt tokens, more than the limit of 200")


def test_a_question_that_spells_a_special_token_out_is_skipped(drawn_views: Path, drawn_vlm: Loaded) -> None:
    opened = ViewSet.open(drawn_views)
    sample = replace(opened.samples("train", ["crop"])[0], question="What is <|image_pad|>?")
    writer = PromptWriter(opened, drawn_vlm.processor, PromptConfig(), max_tokens=1000)
    assert writer.write([sample], ["crop"]) == []
    assert list(writer.skipped) == [
        "question 'What is <|image_pad|>?' spells the special token '<|image_pad|>' out. Reword it."
    ]


def test_a_view_set_of_which_no_question_can_be_asked_is_refused(drawn_views: Path, drawn_vlm: Loaded) -> None:
    stream = batches(drawn_views, drawn_vlm, replace(DATA, max_prompt_tokens=20))
    with pytest.raises(DataError, match=r"no question can be asked: question .* more than the limit of 20\. Raise"):
        next(stream)


def test_a_benchmark_is_not_trained_on_unless_asked_for(drawn_views: Path, drawn_vlm: Loaded, tmp_path: Path) -> None:
    views = Path(shutil.copytree(drawn_views, tmp_path / "views"))
    manifest = json.loads((views / "manifest.json").read_text())
    manifest["config"]["source"]["is_evaluation"] = True
    (views / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"is made of a benchmark.*or set data\.allow_eval_data = true\.$"):
        batches(views, drawn_vlm)
    assert next(batches(views, drawn_vlm, replace(DATA, allow_eval_data=True))).samples


def test_a_condition_chooses_the_questions(drawn_views: Path, drawn_vlm: Loaded) -> None:
    where = "length(question) < 40 AND EXISTS (FROM views v WHERE v.question_id = questions.question_id)"
    stream = batches(drawn_views, drawn_vlm, replace(DATA, where=where))
    samples = [sample for _ in range(6) for sample in next(stream).samples]
    assert samples
    assert all(len(sample.question) < 40 for sample in samples)
    with pytest.raises(DataError, match=r"no question of \d+ fulfils data\.where = 'false'\. Change it\.$"):
        batches(drawn_views, drawn_vlm, replace(DATA, where="false"))
    with pytest.raises(ViewgenError, match="where: "):
        batches(drawn_views, drawn_vlm, replace(DATA, where="no_such_column > 3"))


def test_kinds_of_question_choose_and_an_unknown_one_is_answered_with_the_known(
    drawn_views: Path, drawn_vlm: Loaded
) -> None:
    stream = batches(drawn_views, drawn_vlm, replace(DATA, question_kinds=("relation",)))
    assert {sample.kind for sample in next(stream).samples} == {"relation"}
    with pytest.raises(DataError) as refusal:
        batches(drawn_views, drawn_vlm, replace(DATA, question_kinds=("colour",)))
    assert str(refusal.value) == (
        f"{drawn_views}: no question is of a kind in data.question_kinds = ['colour']. It has: attribute, relation."
    )


def test_answers_never_reach_a_batch(drawn_views: Path, drawn_vlm: Loaded) -> None:
    assert all(sample.answer is None for sample in next(batches(drawn_views, drawn_vlm)).samples)


def test_a_view_that_cannot_be_decoded_is_skipped_and_named_and_the_others_go_on(
    drawn_views: Path, drawn_vlm: Loaded, tmp_path: Path
) -> None:
    sample = ViewSet.open(drawn_views).samples("train", ["crop"])[0]
    (view_id,) = sample.views["crop"]
    cut = {"bytes": b"not a picture", "path": "x.png"}
    broken = tmp_path / "views"
    shutil.copytree(drawn_views, broken)
    edit(broken, "views", lambda row: {**row, "image": cut} if row["view_id"] == view_id else row)
    opened = ViewSet.open(broken)
    writer = PromptWriter(opened, drawn_vlm.processor, PromptConfig(), max_tokens=1000)
    samples = opened.samples("train", ["crop"])[:3]
    assert [kept.question_id for kept, _ in writer.write(samples, ["crop"])] == [s.question_id for s in samples[1:]]
    (reason,) = writer.skipped
    assert reason.startswith(f"image {view_id!r} of {broken} cannot be used: ")


def edit(views: Path, table: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Rewrite the rows of the first part of a table, without those that change into nothing."""
    part = views / table / "part-00000.parquet"
    found = pl.read_parquet(part)
    rows = [changed for row in found.iter_rows(named=True) if (changed := change(row)) is not None]
    pl.DataFrame(rows, schema=found.schema).write_parquet(part)
    manifest = json.loads((views / "manifest.json").read_text())
    manifest["parts"][0]["files"][table] |= {"bytes": part.stat().st_size, "rows": len(rows)}
    (views / "manifest.json").write_text(json.dumps(manifest))


def test_a_question_that_says_which_view_it_lacks_is_skipped_where_that_view_is_asked_for(
    drawn_views: Path, drawn_vlm: Loaded, tmp_path: Path
) -> None:
    views = tmp_path / "views"
    shutil.copytree(drawn_views, views)
    lacking = ViewSet.open(views).samples("train", ["crop"])[1].question_id
    gone = f"{lacking}/negative/off_region/0"
    edit(views, "views", lambda row: None if row["view_id"] == gone else row)
    with pytest.raises(ViewgenError, match=r"1 of \d+ samples of split 'train' have no view of kind 'off_region'"):
        ViewSet.open(views).samples("train", ["off_region"])
    why = [{"kind": "off_region", "reason": "no_room", "message": "no place"}]
    edit(views, "questions", lambda row: {**row, "missing_views": why} if row["question_id"] == lacking else row)
    opened = ViewSet.open(views)
    samples = opened.samples("train", ["crop", "off_region"])[:3]
    writer = PromptWriter(opened, drawn_vlm.processor, PromptConfig(), max_tokens=1000)
    asked = [sample.question_id for sample, _ in writer.write(samples, ["crop", "off_region"])]
    assert asked == [samples[0].question_id, samples[2].question_id]
    (reason,) = writer.skipped
    assert reason == "there is no view of kind 'off_region' of the question, for a reason that the view set gives"
    assert len(writer.write(samples, ["crop"])) == 3


def test_a_view_that_shows_nothing_leaves_the_prompt_of_the_full_image(
    drawn_views: Path, drawn_vlm: Loaded, tmp_path: Path
) -> None:
    views = tmp_path / "views"
    shutil.copytree(drawn_views, views)
    nothing = {"kind": "none", "image": None, "width_px": 0, "height_px": 0}
    edit(views, "views", lambda row: {**row, **nothing} if row["kind"] == "masked" else row)
    opened = ViewSet.open(views)
    sample = opened.samples("train", ["crop", "none"])[0]
    writer = PromptWriter(opened, drawn_vlm.processor, PromptConfig(), max_tokens=1000)
    ((_, (plain, without, beside)),) = writer.write([sample], ["", "none", "crop"])
    assert without.ids == plain.ids
    assert len(without.images) == 1
    assert len(beside.images) == 2


def test_a_view_of_the_other_role_is_refused(drawn_views: Path, drawn_vlm: Loaded) -> None:
    with pytest.raises(DataError) as refusal:
        batches(drawn_views, drawn_vlm, replace(DATA, positive="masked"))
    assert str(refusal.value) == (
        f"data.positive = 'masked': is no positive view in {drawn_views}. Expected one of: crop."
    )
    with pytest.raises(DataError, match=r"^data\.negative = 'crop': is no negative view in .*: masked, off_region, "):
        batches(drawn_views, drawn_vlm, replace(DATA, negative="crop"))
