"""Prompts of other families, written with their own real processors around a tokenizer of a few words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Generator
from transformers import (
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from trainer.engine.families import encode_images
from trainer.engine.prompts import Processor, Prompt, PromptConfig, process_images, write_prompt

SIZE = {"height": 16, "width": 16}
NAMES = ["<pad>", "<s>", "</s>", "<boi>", "<eoi>", "<image>", "<video>", "<fake_token_around_image>", "<global-img>"]
TILES = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]


def tokenizer(**named: str) -> PreTrainedTokenizerFast:
    """Whole words; the tiny models' image token has their number, 5."""
    special = [*NAMES, *TILES]
    words = {word: number for number, word in enumerate([*special, "<unk>", "what", "is", "it", "closer"])}
    core = Tokenizer(WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = Whitespace()
    ends = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, additional_special_tokens=special, extra_special_tokens=named, **ends
    )


def template(image: str) -> str:
    part = f"{{% if c.type == 'image' %}}{image}{{% else %}}{{{{ c.text }}}}{{% endif %}}"
    return f"{{% for m in messages %}}<s>{{% for c in m.content %}}{part}{{% endfor %}}{{% endfor %}}</s>"


def gemma3() -> Processor:
    words = tokenizer(image_token="<image>", boi_token="<boi>", eoi_token="<eoi>")
    return Gemma3Processor(Gemma3ImageProcessor(size=SIZE), words, template("<boi>"), image_seq_length=4)


def internvl() -> Processor:
    bounds = {"start_image_token": "<boi>", "end_image_token": "<eoi>"}
    words = tokenizer(**bounds, context_image_token="<image>", video_token="<video>")
    cutter = GotOcr2ImageProcessor(size=SIZE, crop_to_patches=True, max_patches=4)
    return InternVLProcessor(
        cutter, words, InternVLVideoProcessor(), image_seq_length=4, chat_template=template("<image>")
    )


def idefics3() -> Processor:
    cutter = Idefics3ImageProcessor(size={"longest_edge": 32}, max_image_size={"longest_edge": 16})
    words = tokenizer(image_token="<image>")
    return Idefics3Processor(cutter, words, image_seq_len=4, chat_template=template("<image>"))


def llava_onevision() -> Processor:
    cutter = LlavaOnevisionImageProcessor(size=SIZE, image_grid_pinpoints=[[16, 16], [16, 32], [32, 16], [32, 32]])
    words = tokenizer(image_token="<image>", video_token="<video>")
    choice = {"num_image_tokens": 16, "vision_feature_select_strategy": "full", "chat_template": template("<image>")}
    return LlavaOnevisionProcessor(cutter, words, LlavaOnevisionVideoProcessor(), **choice)  # type: ignore[no-untyped-call]


PROCESSORS: dict[str, Callable[[], Processor]] = {
    make.__name__: make for make in (gemma3, internvl, idefics3, llava_onevision)
}


def noise(width: int, height: int) -> Image.Image:
    values = torch.randint(0, 256, (height, width, 3), generator=Generator().manual_seed(width), dtype=torch.uint8)
    return Image.fromarray(values.numpy())


@pytest.fixture(params=list(PROCESSORS))
def pair(
    request: pytest.FixtureRequest, tiny_named: Callable[[str], PreTrainedModel]
) -> tuple[PreTrainedModel, Processor]:
    """Return a model and its processor. Qwen's write the prompts of test_batches.py; SmolVLM's is Idefics3's with
    videos."""
    return tiny_named(request.param), PROCESSORS[request.param]()


def theirs(processor: Any, images: list[Image.Image]) -> list[int]:
    """Return the ids that the model's own processor makes of the same prompt."""
    words = [{"type": "text", "text": "what is it"}, {"type": "text", "text": " closer"}]
    content = [{"type": "image"}, words[0], *([words[1], {"type": "image"}] if len(images) > 1 else [])]
    text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    found: list[int] = processor(text=[text], images=[images], add_special_tokens=False)["input_ids"][0]
    return found


def test_prompts_are_those_of_the_models_own_processor(pair: tuple[PreTrainedModel, Processor]) -> None:
    model, processor = pair
    images = [noise(30, 40), noise(16, 16)]
    if model.config.model_type == "llava_onevision":
        images = images[:1]  # with two it would cut neither into tiles, and an image could not be shared
    pictures = process_images(processor, images)
    mine = write_prompt(processor, PromptConfig(view=" closer"), pictures[0], "what is it", pictures[1:])
    assert list(mine.ids) == theirs(processor, images)


def test_features_are_as_many_as_their_placeholders(pair: tuple[PreTrainedModel, Processor]) -> None:
    model, processor = pair
    pictures = process_images(processor, [noise(30, 40), noise(16, 16), noise(40, 20)])
    assert model.config.model_type == "gemma3" or len({picture.num_tokens for picture in pictures}) > 1
    with torch.no_grad():
        together = encode_images(model, pictures)
        alone = [encode_images(model, [picture])[0] for picture in pictures]
    for picture, one, other in zip(pictures, together, alone, strict=True):
        assert one.embeds is not None
        assert other.embeds is not None
        assert len(one.embeds) == picture.num_tokens
        assert (one.embeds - other.embeds).abs().max() < 1e-5


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    ("ids", "within"),
    [((5, 1), True), ((5, 1, 6), True), ((1, 2), False), ((1, 2, 5, 1), True), ((5, 2), False), ((), False)],
)
def test_a_prompt_ends_within_a_thought_that_it_begins_and_does_not_end(ids: tuple[int, ...], within: bool) -> None:
    assert Prompt(ids, (), ()).ends_within(1, 2) == within
