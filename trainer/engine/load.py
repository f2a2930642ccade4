"""Load vision-language models with their processors, and check that a student and a teacher fit together.
Leaves out: everything a loaded model computes (models.py)."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from trainer.engine.families import disable_sharing
from trainer.engine.prefix import head
from trainer.engine.prompts import Processor
from trainer.errors import ModelLoadError
from viewgen.errors import brief
from viewgen.settings import STRICT

EMBEDDED = "embedded:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Weights of student and teacher, device and precision."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    student: str = "Qwen/Qwen3.5-4B"
    """A folder (relative to the run file), a hub id, or `embedded:drawn-vlm`. The paper's is Qwen3.5-4B."""
    teacher: str = ""
    """Likewise; empty: the student as it was at the start, frozen."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of weights and activations. The optimizer keeps trained bfloat16 weights in float32 as well, so that
    small steps add up: 16 bytes a weight in all, as with float32, and 4 more while a step is taken."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."""
    train_vision: bool = False
    """Train the vision tower too. Frozen, its features are computed once per image for student, teacher and views."""
    share_prompts: bool = True
    """Compute each prompt once for all that continues it. false reads every answer with its whole prompt: the same
    gradients, many times slower; to check the engine on a model of your own."""
    checkpoint_prefix: bool = False
    """Keep of a prompt's layers only what goes in and their state, and compute the rest again for the backward pass:
    less memory for long prompts, one more forward pass of theirs. The gradient is the same. Without effect where
    prompts are not shared."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model and the processor that writes its prompts."""

    model: PreTrainedModel
    processor: Processor
    name: str


def load(name: str, config: ModelConfig, setting: str) -> Loaded:
    """Load a vision-language model and its processor. Raises ModelLoadError; never runs code from a model's folder."""
    folder = str(files("trainer") / "weights" / name.removeprefix(EMBEDDED)) if name.startswith(EMBEDDED) else name
    local = Path(folder)
    if not local.is_dir() and (name.startswith((EMBEDDED, ".", "/")) or name.count("/") != 1):
        raise ModelLoadError(
            f"{setting} = {name!r}: there is no such folder. Give a model's folder, a hub id or embedded:drawn-vlm."
        )
    if not sys.stderr.isatty():
        disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        processor = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, config.dtype))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        said = brief(error)
        raise ModelLoadError(f"{setting} = {name!r}: cannot be loaded as a vision-language model ({said}).") from None
    if not getattr(processor, "chat_template", None):
        raise ModelLoadError(f"{setting} = {name!r}: has no chat template. Choose a model that was trained to answer.")
    try:
        model.to(device_of(config))  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        said = brief(error)
        raise ModelLoadError(
            f"model.device = {config.device!r}: cannot be used ({said}). Give cpu, cuda or auto."
        ) from None
    if not config.share_prompts:
        disable_sharing(model)
    return Loaded(model, processor, name)


def device_of(config: ModelConfig) -> torch.device:
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_pair(student: Loaded, teacher: Loaded) -> None:
    """Raise ModelLoadError unless both read the same token ids: answers are handed over as ids, never as text."""
    mine, other = (pair.processor.tokenizer.get_vocab() for pair in (student, teacher))
    if mine == other:
        return _check_images(student, teacher)
    odd = sorted(set(mine.items()) ^ set(other.items()))[0][0]
    raise ModelLoadError(
        f"teacher {teacher.name!r} and student {student.name!r} have different tokenizers: {odd!r} is "
        f"{mine.get(odd)} for the student and {other.get(odd)} for the teacher. Choose two models of one family."
    )


def _check_images(student: Loaded, teacher: Loaded) -> None:
    """Raise ModelLoadError unless both take the same tokens and the same processed images."""
    sizes = [head(pair.model).out_features for pair in (student, teacher)]
    images = [pair.processor.image_processor.to_dict() for pair in (student, teacher)]
    if sizes[0] != sizes[1]:
        what = f"vocabularies of {sizes[1]:,} and {sizes[0]:,} rows"
    elif odd := [key for key in images[0] if images[0][key] != images[1].get(key)]:
        what = f"image processors that differ in {odd[0]!r}"
    else:
        return
    raise ModelLoadError(
        f"teacher {teacher.name!r} and student {student.name!r} have {what}. Choose two of one family."
    )


def frozen_copy(student: Loaded) -> Loaded:
    """Return a frozen copy of the student as it is now."""
    return Loaded(copy.deepcopy(student.model), student.processor, student.name)
