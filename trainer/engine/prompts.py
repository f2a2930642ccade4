"""Write questions and views as chat messages, token ids and pixels. Token in, token out: answers are never decoded and
encoded again, and every later stage reads the ids of one prompt.
Leaves out: running the model (prefix.py).

The layout puts what is shared first: the full image, the question, and only then the view. Student, positive and negative
prompts of one question thus agree up to the view, which prefix sharing finds from the ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jinja2 import TemplateError
from PIL import Image
from pydantic import ConfigDict
from torch import Tensor

from trainer.errors import DataError, ModelLoadError
from viewgen.errors import brief
from viewgen.settings import STRICT, SettingValueError

Processor = Any
"""A processor of transformers: image processor, tokenizer and chat template of one model (not typed there)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """The words around question and view."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    question: str = "{question}"
    """Text after the full image; {question} is replaced."""
    view: str = "\nA closer view of the part that matters:"
    """Text between the question and the view, in the teacher's prompts alone."""
    system: str = ""
    """A system message; empty for none."""
    template_options: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    """Options of the model's chat template, as enable_thinking = false for Qwen's; none by default. What a template does
    not know it ignores."""

    def __post_init__(self) -> None:
        for name in ("question", "view", "system"):
            if "<|" in getattr(self, name):
                raise SettingValueError(name, getattr(self, name), "words without special tokens", "Take them out.")
        if "{question}" not in self.question:
            raise SettingValueError(
                "question", self.question, "text with {question} in it", 'Write "{question}" there.'
            )


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Pixels:
    """One image, processed once: the inputs of the model, and the text that replaces its placeholder."""

    inputs: Mapping[str, Tensor]
    """Output of the model's own image processor for this image alone: pixel_values, and a grid, sizes or a mask."""
    placeholder: str
    num_tokens: int
    """Placeholder tokens that the image's features stand in for."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Token ids, and the images whose placeholders are among them, in order."""

    ids: tuple[int, ...]
    images: tuple[Pixels, ...]
    image_ends: tuple[int, ...]
    """End in `ids` of each image's last placeholder."""
    path: tuple[str, ...] = ()
    """Image, question and view of the prompt, widest first. Prompts that agree in a first step share it."""

    @property
    def image_starts(self) -> tuple[int, ...]:
        """Start in `ids` of each image's first placeholder. Tokens that name its tiles may lie between them."""
        befores = (0, *self.image_ends)
        pairs = zip(befores, self.image_ends, strict=False)
        return tuple(self.ids.index(self.ids[end - 1], before) for before, end in pairs)

    def ends_within(self, begin_id: int, end_id: int) -> bool:
        """Return True when the last token `begin_id` has no `end_id` behind it: the chat template opens a thought."""
        backwards = self.ids[::-1]
        return begin_id in backwards and end_id not in backwards[: backwards.index(begin_id)]


def process_images(processor: Processor, images: Sequence[Image.Image]) -> list[Pixels]:
    """Resize and cut images as the model's own image processor does, each as the only one of its prompt: what an image
    turns into must not depend on those beside it, or it could not be shared."""
    return [process_image(processor, image) for image in images]


def process_image(processor: Processor, image: Image.Image) -> Pixels:
    """Resize and cut one image as the model's own image processor does, as the only one of its prompt.

    Raises DataError for an image that the processor refuses, of an extreme shape for one."""
    try:
        return _process(processor, image)
    except (ValueError, RuntimeError, ZeroDivisionError, IndexError) as error:
        size = f"{image.width} x {image.height} px"
        raise DataError(f"an image of {size} is refused by the model's image processor ({brief(error)})") from None


def _process(processor: Processor, image: Image.Image) -> Pixels:
    cutter = processor.image_processor
    # Where tiles are announced one by one, the text is written from how many rows and columns of them there are.
    options = {"return_row_col_info": True} if hasattr(cutter, "return_row_col_info") else {}
    inputs = cutter(images=[image], return_tensors="pt", **options)
    text = processor.replace_image_token(inputs, image_idx=0)
    tensors = {name: tensor for name, tensor in inputs.items() if isinstance(tensor, Tensor)}
    return Pixels(tensors, text, text.count(_placeholder(processor)))


def _placeholder(processor: Processor) -> str:
    """Return the token that features replace; some chat templates write another for the whole image."""
    return str(getattr(processor.tokenizer, "image_token", None) or processor.image_token)


def write_prompt(
    processor: Processor,
    config: PromptConfig,
    image: Pixels,
    question: str,
    views: Sequence[Pixels] = (),
    path: tuple[str, ...] = (),
) -> Prompt:
    """Write the prompt whose next token is the answer's first: without views the student's, with views a teacher's.

    Raises DataError for a question that spells a special token out: it would become one."""
    if forged := _forged(processor, question):
        raise DataError(f"question {question!r} spells the special token {forged!r} out. Reword it.")
    for name in ("question", "view", "system"):
        if forged := _forged(processor, getattr(config, name)):
            raise ModelLoadError(f"prompt.{name} spells {forged!r} out, a special token of the model. Take it out.")
    content: list[Mapping[str, str]] = [
        {"type": "image"},
        {"type": "text", "text": config.question.replace("{question}", question)},
    ]
    if views:
        content += [{"type": "text", "text": config.view}] if config.view else []
        content += [{"type": "image"}] * len(views)
    messages: list[Mapping[str, Any]] = [{"role": "system", "content": config.system}] if config.system else []
    messages.append({"role": "user", "content": content})
    try:
        text = processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **config.template_options
        )
    except TemplateError as error:
        raise ModelLoadError(
            f"the model's chat template refuses the run's messages ({brief(error)}). {REMEDY}"
        ) from None
    images = (image, *views)
    _refuse_reordered(text, messages, processor.image_token)
    first, *rest = text.split(processor.image_token)
    filled = first + "".join(i.placeholder + piece for i, piece in zip(images, rest, strict=True))
    begins = processor.tokenizer.bos_token is not None and filled.startswith(processor.tokenizer.bos_token)
    # As the processor itself does: the tokenizer adds what the template leaves to it.
    ids = tuple(processor.tokenizer(filled, add_special_tokens=not begins)["input_ids"])
    placeholder = processor.tokenizer.convert_tokens_to_ids(_placeholder(processor))
    return Prompt(ids, images, _image_ends(ids, images, placeholder), path)


def _forged(processor: Processor, text: str) -> str:
    """Return a token of the tokenizer's own making that the text spells out; empty without any."""
    known = {*processor.tokenizer.all_special_tokens, *processor.tokenizer.get_added_vocab(), processor.image_token}
    return next((token for token in sorted(known) if token.strip() and token in text), "")


REMEDY = "Change [prompt] of the run file, or choose another model."


def _refuse_reordered(text: str, messages: Sequence[Mapping[str, Any]], image_token: str) -> None:
    """Raise ModelLoadError unless every word and image stands in the prompt once, in the order given."""
    at, num_images = 0, 0
    for message in messages:
        content = message["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        for part in parts:
            is_image = part["type"] == "image"
            num_images += is_image
            wanted = image_token if is_image else part["text"].strip()
            found = text.find(wanted, at)
            if found < 0:
                what = "an image" if is_image else f"{wanted[:60]!r}"
                lost = "loses" if wanted not in text else "moves"
                raise ModelLoadError(
                    f"the model's chat template {lost} {what} of the {message['role']} message. {REMEDY}"
                )
            at = found + len(wanted)
    if text.count(image_token) != num_images:
        found_images = f"{text.count(image_token)} image placeholders for {num_images} images"
        raise ModelLoadError(f"the model's chat template writes {found_images}. {REMEDY}")


def _image_ends(ids: Sequence[int], images: Sequence[Pixels], image_token_id: int) -> tuple[int, ...]:
    places = [place for place, token in enumerate(ids) if token == image_token_id]
    assert len(places) == sum(image.num_tokens for image in images), "placeholders and image features differ in number"
    return tuple(places[num - 1] + 1 for num in accumulate(image.num_tokens for image in images))


def common_length(prompts: Sequence[Prompt]) -> int:
    """Count the first tokens that all the prompts share, the images behind placeholders included.

    One token at least is left to each, so that every prompt has something of its own to read."""
    first = prompts[0]
    starts = first.image_starts
    length = min(len(prompt.ids) for prompt in prompts) - 1
    for prompt in prompts[1:]:
        length = next((i for i in range(length) if prompt.ids[i] != first.ids[i]), length)
        images = zip(first.images, prompt.images, starts, strict=False)
        length = next((min(start, length) for mine, other, start in images if mine is not other), length)
    # An image is read whole or not at all: a cut through its placeholders moves to before them.
    for start, end in zip(starts, first.image_ends, strict=True):
        if start < length < end:
            length = start
    return length


def stack_inputs(inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack the inputs of several images. Fewer tiles than the maximum are padded with zeros, which every model that cuts
    images into tiles leaves out."""
    return {name: _stack([one[name] for one in inputs]) for name in inputs[0]}


def stack_pixels(images: Sequence[Pixels]) -> dict[str, Tensor]:
    """Stack the inputs of several images, as one call of the model takes them."""
    return stack_inputs([image.inputs for image in images])


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    if len(tensors[0].shape) < 2:
        return torch.cat(list(tensors))
    largest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        missing = [n - m for n, m in zip(largest, tensor.shape[1:], strict=True)]
        padded.append(F.pad(tensor, [side for num in reversed(missing) for side in (0, num)]))
    return torch.cat(padded)
