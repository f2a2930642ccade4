"""Load vision-language models with their processors, and check that a student and a teacher fit together.
Leaves out: everything a loaded model computes (models.py)."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from huggingface_hub import snapshot_download
from PIL import Image
from pydantic import ConfigDict
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from trainer.engine.families import disable_sharing
from trainer.engine.head import head
from trainer.engine.prompts import Pixels, Processor, process_image
from trainer.errors import DataError, ModelLoadError
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
    folder = str(model_folder(name)) if name.startswith(EMBEDDED) else name
    local = Path(folder)
    if not local.is_dir() and (name.startswith((EMBEDDED, ".", "/")) or name.count("/") != 1):
        raise ModelLoadError(
            f"{setting} = {name!r}: there is no such folder. Give a model's folder, a hub id or embedded:drawn-vlm."
        )
    set_verbosity_error()  # type: ignore[no-untyped-call]  # its table of missing weights is told in one line below
    if not sys.stderr.isatty():
        disable_progress_bar()  # type: ignore[no-untyped-call]
    _refuse_unloadable(local, f"{setting} = {name!r}")
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)  # type: ignore[no-untyped-call]
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=getattr(torch, config.dtype), trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, ImportError) as error:
        said = "it brings code of its own, which is never run" if "custom code" in str(error) else brief(error)
        raise ModelLoadError(f"{setting} = {name!r}: cannot be loaded as a vision-language model ({said}).") from None
    model, keys = loaded
    _refuse_keys(keys, f"{setting} = {name!r}")
    if not getattr(processor, "chat_template", None):
        raise ModelLoadError(f"{setting} = {name!r}: has no chat template. Choose a model that was trained to answer.")
    try:
        model.to(device_of(config))
    except (RuntimeError, AssertionError) as error:
        said = brief(error)
        raise ModelLoadError(
            f"model.device = {config.device!r}: cannot be used ({said}). Give cpu, cuda or auto."
        ) from None
    if not config.share_prompts:
        disable_sharing(model)
    return Loaded(model, processor, name)


def model_folder(name: str) -> Path:
    """Return the folder that holds a model: that of the name, of the package, or of the hub's cache on this machine.

    Raises ModelLoadError for a hub id that is not stored here."""
    if name.startswith(EMBEDDED):
        return Path(str(files("trainer"))) / "weights" / name.removeprefix(EMBEDDED)
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{name}: is not stored on this machine ({brief(error)}). Download it first.") from None


def _refuse_unloadable(folder: Path, where: str) -> None:
    """Refuse folders that hold something else than the weights of a model, by what their own files say."""
    if (folder / "adapter_config.json").is_file():
        remedy = "Merge the adapter into its model, save that, and give its folder."
        raise ModelLoadError(f"{where}: holds an adapter (adapter_config.json), not a model. {remedy}")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return  # transformers says what is wrong with it, or it is a hub id
    if isinstance(config, dict) and config.get("quantization_config"):
        raise ModelLoadError(f"{where}: is quantised, and quantised weights cannot be trained. Give the full model.")


def _refuse_keys(keys: Mapping[str, Any], where: str) -> None:
    """Refuse a model with weights that its file lacks, which would be random, or that no layer takes."""
    for what, remedy in (
        ("missing_keys", "these would be random numbers. Give the whole model"),
        (
            "unexpected_keys",
            "no layer takes these. Give a checkpoint of this class of model, without a wrapper's prefix",
        ),
        ("mismatched_keys", "their shapes are others than config.json says. Give the config.json that belongs to them"),
    ):
        names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys.get(what, ()))
        if names:
            some = f"{len(names):,} weights are {what.removesuffix('_keys')}, as {names[0]!r}"
            raise ModelLoadError(f"{where}: {some}: {remedy}.")


def device_of(config: ModelConfig) -> torch.device:
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_pair(student: Loaded, teacher: Loaded) -> None:
    """Raise ModelLoadError unless both read the same token ids and the same prompts: answers are handed over as ids,
    never as text, and one prompt is written for both."""
    mine, other = (pair.processor.tokenizer.get_vocab() for pair in (student, teacher))
    if mine == other:
        return _check_images(student, teacher)
    odd = sorted(set(mine.items()) ^ set(other.items()))[0][0]
    raise ModelLoadError(
        f"teacher {teacher.name!r} and student {student.name!r} have different tokenizers: {odd!r} is "
        f"{mine.get(odd)} for the student and {other.get(odd)} for the teacher. Choose two models of one family."
    )


def _check_images(student: Loaded, teacher: Loaded) -> None:
    """Raise ModelLoadError unless both have logits for the same tokens, and make the same of images and of messages."""
    num_tokens = 1 + max(student.processor.tokenizer.get_vocab().values())
    sizes = [head(pair.model).out_features for pair in (student, teacher)]
    if sizes[0] != sizes[1] and min(sizes) < num_tokens:
        what = f"vocabularies of {sizes[1]:,} and {sizes[0]:,} rows for {num_tokens:,} tokens"
    elif size := _image_read_otherwise(student.processor, teacher.processor):
        what = f"image processors that make different pixels of an image of {size[0]} x {size[1]} px"
    elif student.processor.chat_template != teacher.processor.chat_template and not _write_alike(student, teacher):
        what = "chat templates that write different prompts"
    else:
        return
    raise ModelLoadError(
        f"teacher {teacher.name!r} and student {student.name!r} have {what}. Choose two of one family."
    )


PROBES = ((64, 64), (56, 40), (40, 120), (333, 250), (640, 480), (1280, 200))
"""Sizes of images, width and height in pixels, that two image processors must agree on."""


def _image_read_otherwise(one: Processor, other: Processor) -> tuple[int, int] | None:
    """Return the size of an image that the two processors make different pixels of; None where they agree."""
    for number, (width, height) in enumerate(PROBES):
        levels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        read = [_read(processor, Image.fromarray(levels)) for processor in (one, other)]
        mine, theirs = read
        if mine is None or theirs is None:
            if mine is not theirs:
                return width, height
            continue
        same = mine.inputs.keys() == theirs.inputs.keys() and mine.placeholder == theirs.placeholder
        if not same or not all(_equal(mine.inputs[name], theirs.inputs[name]) for name in mine.inputs):
            return width, height
    return None


def _read(processor: Processor, image: Image.Image) -> Pixels | None:
    """Return the image as the processor hands it over; None for an image that it refuses."""
    try:
        return process_image(processor, image)
    except DataError:
        return None


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), atol=1e-4)


def _write_alike(student: Loaded, teacher: Loaded) -> bool:
    """Return True when both chat templates write the same text of the messages that a run sends."""
    image = {"type": "image"}
    user = {
        "role": "user",
        "content": [image, {"type": "text", "text": "What?"}, {"type": "text", "text": "Look:"}, image],
    }
    for messages in ([user], [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, user]):
        written = []
        for pair in (student, teacher):
            try:
                written.append(pair.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
            except Exception as error:  # templates raise what they like: jinja2's TemplateError, TypeError
                written.append(type(error).__name__)
        if written[0] != written[1]:
            return False
    return True


def frozen_copy(student: Loaded) -> Loaded:
    """Return a frozen copy of the student as it is now."""
    return Loaded(copy.deepcopy(student.model), student.processor, student.name)
