"""The forms of trainers that read tables: one record and one function each, and the checks that the trainer itself makes,
made here on every record before anything is written.
Leaves out: folders of files (folders.py), reading rows (rows.py), writing (run.py).

Each check replays what stops the consumer, or silently goes wrong in it: the data set classes of V-Zero's and of
Vision-OPD's forks of verl, the preprocessor of ms-swift 4.6, TRL 1.16, PAPO, and LLaMA-Factory, as their code stood in
November 2026."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Literal

import polars as pl

from viewgen.export.rows import ExportRow, Picture

Record = dict[str, Any]
Shape = Literal["table", "folder", "tar"]

TEXT = pl.String
IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})
IMAGES = pl.List(IMAGE)
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """A form in which views are handed on."""

    name: str
    about: str
    """Who reads it, and how it is named there."""
    make: Callable[[ExportRow], Record | str]
    """Function of a row; returns the record, or the reason why there can be none."""
    check: Callable[[Record], str]
    """Function of a record; returns what the consumer would stumble over, empty for nothing."""
    types: Mapping[str, Any]
    """Columns of its table, in order."""
    shape: Shape = "table"
    needs_positive: bool = True
    needs_negative: bool = False


def _message(content: str, role: str = "user") -> Record:
    return {"role": role, "content": content}


def _asked(row: ExportRow, num_pictures: int = 1) -> str:
    return f"{'<image>' * num_pictures}\n{row.question}"


def _structs(pictures: Sequence[Picture]) -> list[dict[str, object]]:
    return [picture.as_struct() for picture in pictures]


def count_of(marker: str, messages: str | Sequence[Mapping[str, str]]) -> int:
    """Return how often a marker stands in messages, or in text."""
    texts = [messages] if isinstance(messages, str) else [message["content"] for message in messages]
    return sum(text.count(marker) for text in texts)


def unequal(name: str, marker: str, messages: str | Sequence[Mapping[str, str]], pictures: Sequence[object]) -> str:
    """Return the fault of messages whose markers are not as many as their pictures."""
    markers = count_of(marker, messages)
    return "" if markers == len(pictures) else f"{name} holds {markers} {marker} for {len(pictures)} pictures"


def faulty_pictures(name: str, pictures: Sequence[Mapping[str, Any]]) -> str:
    """Return the fault of a list of pictures: empty, or one without bytes."""
    if not pictures:
        return f"{name} is empty"
    return "" if all(picture["bytes"] for picture in pictures) else f"{name} holds a picture without bytes"


def first(*faults: str) -> str:
    return next(filter(None, faults), "")


def verl(row: ExportRow) -> Record | str:
    """V-Zero's fork of verl: the teacher's prompt has a <crop> for each view."""
    if len(row.negatives) != len(row.positives):
        return f"it has {len(row.positives)} positive and {len(row.negatives)} negative views; the loader wants as many"
    crops = "\n<crop>" * len(row.positives)
    return {
        "data_source": row.source or "viewgen",
        "prompt": [_message(_asked(row))],
        "images": _structs([row.image]),
        "teacher_raw_prompt": [_message(_asked(row) + crops)],
        "teacher_images": _structs(row.positives),
        "teacher_neg_images": _structs(row.negatives),
        "reward_model": {"style": "rule", "ground_truth": row.answer or ""},
        "extra_info": {"index": row.index, "question_id": row.question_id, "split": row.split},
    }


def check_verl(record: Record) -> str:
    """Replay the loader: markers and pictures are as many, pictures are bytes, both kinds of view are there."""
    return first(
        unequal("prompt", "<image>", record["prompt"], record["images"]),
        unequal("teacher_raw_prompt", "<image>", record["teacher_raw_prompt"], record["images"]),
        unequal("teacher_raw_prompt", "<crop>", record["teacher_raw_prompt"], record["teacher_images"]),
        unequal("teacher_raw_prompt", "<crop>", record["teacher_raw_prompt"], record["teacher_neg_images"]),
        *(faulty_pictures(name, record[name]) for name in ("images", "teacher_images", "teacher_neg_images")),
    )


def vision_opd(row: ExportRow) -> Record | str:
    """Vision-OPD's fork of verl: the teacher sees the full image and the crops, by teacher_prompt."""
    return {
        "data_source": row.source or "viewgen",
        "prompt": [_message(_asked(row))],
        "images": _structs([row.image]),
        "bbox_images": _structs([row.image, *row.positives]),
        "teacher_prompt": [_message(_asked(row, 1 + len(row.positives)))],
        "ability": row.kind or "vision",
        "reward_model": {"style": "none", "ground_truth": row.answer or ""},
        "extra_info": {
            "index": row.index,
            "question_id": row.question_id,
            "question": row.question,
            "answer": row.answer or "",
        },
    }


def check_vision_opd(record: Record) -> str:
    """Replay the teacher's batch: as many markers as pictures, none of them without bytes."""
    return first(
        unequal("prompt", "<image>", record["prompt"], record["images"]),
        unequal("teacher_prompt", "<image>", record["teacher_prompt"], record["bbox_images"]),
        *(faulty_pictures(name, record[name]) for name in ("images", "bbox_images")),
    )


def swift(row: ExportRow) -> Record | str:
    """ms-swift's GKD: the teacher reads teacher_prompt, which replaces the last message, with teacher_images."""
    return {
        "messages": [_message(_asked(row))],
        "images": _structs([row.image]),
        "teacher_prompt": _asked(row, 1 + len(row.positives)),
        "teacher_images": _structs([row.image, *row.positives]),
    }


def check_swift(record: Record) -> str:
    """Replay the teacher's data: an empty list of teacher_images would train a blind teacher without a word."""
    return first(
        "" if record["messages"][-1]["role"] == "user" else "messages end with another than the user",
        unequal("messages", "<image>", record["messages"], record["images"]),
        unequal("teacher_prompt", "<image>", record["teacher_prompt"], record["teacher_images"]),
        *(faulty_pictures(name, record[name]) for name in ("images", "teacher_images")),
    )


def swift_dpo(row: ExportRow) -> Record | str:
    """ms-swift's DPO over pictures: one answer, beside the positive views and, rejected, beside the negative ones."""
    if not row.answer:
        return "it has no answer"
    if len(row.negatives) != len(row.positives):
        return f"it has {len(row.positives)} positive and {len(row.negatives)} negative views"
    return {
        "messages": [_message(_asked(row, 1 + len(row.positives))), _message(row.answer, "assistant")],
        "images": _structs([row.image, *row.positives]),
        "rejected_images": _structs([row.image, *row.negatives]),
    }


def check_swift_dpo(record: Record) -> str:
    """Replay the preprocessor: rejected_images alone tells the pair apart, so they must differ."""
    return first(
        unequal("messages", "<image>", record["messages"], record["images"]),
        unequal("messages", "<image>", record["messages"], record["rejected_images"]),
        *(faulty_pictures(name, record[name]) for name in ("images", "rejected_images")),
        "images and rejected_images are equal" if record["images"] == record["rejected_images"] else "",
    )


def preferred(row: ExportRow) -> tuple[str, str] | str:
    """Return the right answer and a wrong one of the options, drawn by the question's id; or why there is none."""
    if not row.answer:
        return "it has no answer"
    letters = [chr(ord("A") + number) for number in range(len(row.options))]
    known = letters if re.fullmatch(r"\(?[A-Z][.)]?", row.answer.strip()) else list(row.options)
    plain = row.answer.strip().strip("().") if known is letters else row.answer
    wrong = [option for option in known if option.strip().casefold() != plain.strip().casefold()]
    if not row.options or len(wrong) == len(known):
        return "it has no options among which the answer is one: no wrong answer is known"
    draw = int.from_bytes(blake2b(row.question_id.encode(), digest_size=8).digest(), "big")
    return row.answer, wrong[draw % len(wrong)]


def trl_dpo(row: ExportRow) -> Record | str:
    """TRL's DPO: one list of images for both answers, so that only answers can be told apart, not pictures."""
    pair = preferred(row)
    if isinstance(pair, str):
        return pair
    return {
        "images": _structs([row.image, *row.positives]),
        "prompt": [_message(row.question)],
        "chosen": [_message(pair[0], "assistant")],
        "rejected": [_message(pair[1], "assistant")],
    }


def check_trl_dpo(record: Record) -> str:
    """Replay the messages: text without placeholders gets all images in front, and roles are known ones."""
    roles = {message["role"] for name in ("prompt", "chosen", "rejected") for message in record[name]}
    return first(
        "" if roles <= {"system", "user", "assistant", "tool"} else f"a role of {sorted(roles)} is not known",
        faulty_pictures("images", record["images"]),
        "chosen and rejected are equal" if record["chosen"] == record["rejected"] else "",
    )


def papo(row: ExportRow) -> Record | str:
    """PAPO and EasyR1: prompt_key problem, answer_key answer, image_key images. No column images_aug, which stops its
    loader today: without it PAPO masks patches itself."""
    return {
        "problem": _asked(row),
        "answer": row.answer or "",
        "images": _structs([row.image]),
        "question_id": row.question_id,
    }


def check_papo(record: Record) -> str:
    """Replay the loader: as many markers as pictures, and an answer for the reward."""
    return first(
        unequal("problem", "<image>", record["problem"], record["images"]),
        faulty_pictures("images", record["images"]),
        "" if record["answer"] else "it has no answer, which the reward compares with",
    )


def llama_factory(row: ExportRow) -> Record | str:
    """LLaMA-Factory, supervised: `formatting` sharegpt, `columns` messages and images."""
    if not row.answer:
        return "it has no answer"
    return {
        "messages": [_message(_asked(row, 1 + len(row.positives))), _message(row.answer, "assistant")],
        "images": _structs([row.image, *row.positives]),
    }


def check_llama_factory(record: Record) -> str:
    """Replay the plugin for pictures: as many markers as pictures."""
    return first(
        unequal("messages", "<image>", record["messages"], record["images"]),
        faulty_pictures("images", record["images"]),
    )


def image_pairs(row: ExportRow) -> Record | str:
    """Contrastive decoding and its kin: a question with its image, a positive and a negative view of it."""
    if not row.positives or not row.negatives:
        return "it has no pair of views"
    return {
        "question_id": row.question_id,
        "question": row.question,
        "answer": row.answer,
        "image": row.image.as_struct(),
        "positive": row.positives[0].as_struct(),
        "negative": row.negatives[0].as_struct(),
    }


def check_image_pairs(record: Record) -> str:
    return "positive and negative are equal" if record["positive"] == record["negative"] else ""


_EXTRA = {"index": pl.Int64, "question_id": TEXT}
_TABLES = (
    Consumer(
        name="verl",
        about="V-Zero's loader (a fork of verl): data.train_files.",
        make=verl,
        check=check_verl,
        types={
            "data_source": TEXT,
            "prompt": MESSAGES,
            "images": IMAGES,
            "teacher_raw_prompt": MESSAGES,
            "teacher_images": IMAGES,
            "teacher_neg_images": IMAGES,
            "reward_model": pl.Struct({"style": TEXT, "ground_truth": TEXT}),
            "extra_info": pl.Struct({**_EXTRA, "split": TEXT}),
        },
        needs_negative=True,
    ),
    Consumer(
        name="vision-opd",
        about="Vision-OPD's loader (a fork of verl): self_distillation.teacher_image_key=bbox_images.",
        make=vision_opd,
        check=check_vision_opd,
        types={
            "data_source": TEXT,
            "prompt": MESSAGES,
            "images": IMAGES,
            "bbox_images": IMAGES,
            "teacher_prompt": MESSAGES,
            "ability": TEXT,
            "reward_model": pl.Struct({"style": TEXT, "ground_truth": TEXT}),
            "extra_info": pl.Struct({**_EXTRA, "question": TEXT, "answer": TEXT}),
        },
    ),
    Consumer(
        name="swift",
        about="ms-swift 4.6, GKD: --dataset FILE --rlhf_type gkd.",
        make=swift,
        check=check_swift,
        types={"messages": MESSAGES, "images": IMAGES, "teacher_prompt": TEXT, "teacher_images": IMAGES},
    ),
    Consumer(
        name="swift-dpo",
        about="ms-swift 4.6, DPO over pictures: --dataset FILE --rlhf_type dpo.",
        make=swift_dpo,
        check=check_swift_dpo,
        types={"messages": MESSAGES, "images": IMAGES, "rejected_images": IMAGES},
        needs_negative=True,
    ),
    Consumer(
        name="trl-dpo",
        about="TRL's DPOTrainer: datasets.load_dataset(FOLDER). Answers are compared, for it takes one list of images.",
        make=trl_dpo,
        check=check_trl_dpo,
        types={"images": IMAGES, "prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
        shape="folder",
    ),
    Consumer(
        name="papo",
        about="PAPO and EasyR1: data.train_files, prompt_key=problem, answer_key=answer, image_key=images.",
        make=papo,
        check=check_papo,
        types={"problem": TEXT, "answer": TEXT, "images": IMAGES, "question_id": TEXT},
        needs_positive=False,
    ),
    Consumer(
        name="llama-factory",
        about="LLaMA-Factory, supervised: the folder is its dataset_dir.",
        make=llama_factory,
        check=check_llama_factory,
        types={"messages": MESSAGES, "images": IMAGES},
        shape="folder",
    ),
    Consumer(
        name="image-pairs",
        about="Contrastive decoding and its kin: one positive and one negative view of each question.",
        make=image_pairs,
        check=check_image_pairs,
        types={
            "question_id": TEXT,
            "question": TEXT,
            "answer": TEXT,
            "image": IMAGE,
            "positive": IMAGE,
            "negative": IMAGE,
        },
        needs_negative=True,
    ),
)
TABLES_OF: Mapping[str, Consumer] = MappingProxyType({consumer.name: consumer for consumer in _TABLES})
"""Consumers that read tables, by name."""
