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
from tokenizers.processors import TemplateProcessing
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
from trainer.engine.load import ModelConfig, load
from trainer.engine.prompts import (
    Processor,
    Prompt,
    PromptConfig,
    process_image,
    process_images,
    write_prompt,
)
from trainer.errors import DataError, ModelLoadError

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


def theirs(processor: Any, images: list[Image.Image], system: str = "") -> list[int]:
    """Return the ids that the model's own processor makes of the same messages."""
    words = [{"type": "text", "text": "what is it"}, {"type": "text", "text": " closer"}]
    shown = [{"type": "image", "image": image} for image in images]
    content = [shown[0], words[0], *([words[1], shown[1]] if len(images) > 1 else [])]
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": content})  # type: ignore[dict-item]
    made = processor.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=True)
    found: list[int] = made["input_ids"][0]
    return found


def test_prompts_are_those_of_the_models_own_processor(pair: tuple[PreTrainedModel, Processor]) -> None:
    model, processor = pair
    images = [noise(30, 40), noise(16, 16)]
    if model.config.model_type == "llava_onevision":
        images = images[:1]  # with two it would cut neither into tiles, and an image could not be shared
    pictures = process_images(processor, images)
    mine = write_prompt(processor, PromptConfig(view=" closer"), pictures[0], "what is it", pictures[1:])
    assert list(mine.ids) == theirs(processor, images)


@pytest.mark.fault(8)
def test_a_begin_that_the_template_leaves_to_the_tokenizer_is_written(
    tiny_named: Callable[[str], PreTrainedModel],
) -> None:
    processor = gemma3()
    processor.chat_template = processor.chat_template.replace("<s>", "").replace("</s>", "")
    backend = processor.tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    images = [noise(30, 40), noise(16, 16)]
    pictures = process_images(processor, images)
    mine = write_prompt(processor, PromptConfig(view=" closer"), pictures[0], "what is it", pictures[1:])
    assert mine.ids[0] == 1
    assert mine.ids.count(1) == 1
    assert list(mine.ids) == theirs(processor, images)


PUBLISHED = {
    # What published templates do to messages, in few words: Qwen's, LLaVA's, Gemma's (which strips), Idefics3's.
    "qwen": "{% for m in messages %}<s>{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}</s>{% endfor %}",
    "gemma": "{{ bos_token }}{% for m in messages %}{% if m.content is string %}{{ m.content | trim }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text | trim }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}",
}
REFUSED = {
    # LLaVA-OneVision's puts every image first; older ones know no system message; one keeps the last text only.
    "images first": (
        "{% for m in messages %}{% for c in m.content if c.type == 'image' %}<image>{% endfor %}"
        "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}{% endfor %}",
        "",
        "moves an image of the user message",
    ),
    "no system": (
        "{% for m in messages if m.role == 'user' %}{% for c in m.content %}{% if c.type == 'image' %}<image>"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}",
        "closer closer",
        "loses 'closer closer' of the system message",
    ),
    "one text": (
        "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image>{% endif %}{% endfor %}"
        "{{ (m.content | selectattr('type', 'equalto', 'text') | list | last).text }}{% endfor %}",
        "",
        "loses 'what is it' of the user message",
    ),
    "raises": ("{{ raise_exception('System role not supported') }}", "is", "refuses the run's messages"),
}


@pytest.mark.fault(8)
@pytest.mark.parametrize("name", PUBLISHED)
def test_system_question_and_view_stand_in_the_prompt_in_order(name: str) -> None:
    processor = idefics3()
    processor.chat_template = PUBLISHED[name]
    pictures = process_images(processor, [noise(16, 16), noise(16, 16)])
    config = PromptConfig(view=". closer", system="is")
    ids = write_prompt(processor, config, pictures[0], "what is it", pictures[1:]).ids
    words = processor.tokenizer.convert_ids_to_tokens([i for i in ids if i >= 4])
    named = [word for word in words if word in ("what", "is", "it", "closer")]
    assert named == ["is", "what", "is", "it", "closer"]
    places = [place for place, token in enumerate(ids) if token == 5]
    closer = ids.index(processor.tokenizer.convert_tokens_to_ids("closer"))
    assert len([place for place in places if place < closer]) == pictures[0].num_tokens
    assert len([place for place in places if place > closer]) == pictures[1].num_tokens


@pytest.mark.fault(8)
@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_loses_or_moves_something_is_refused(name: str) -> None:
    processor = idefics3()
    processor.chat_template, system, said = REFUSED[name]
    pictures = process_images(processor, [noise(16, 16), noise(16, 16)])
    with pytest.raises(ModelLoadError) as refusal:
        write_prompt(processor, PromptConfig(view=" closer", system=system), pictures[0], "what is it", pictures[1:])
    assert f"the model's chat template {said}" in str(refusal.value)
    assert str(refusal.value).endswith("Change [prompt] of the run file, or choose another model.")


@pytest.mark.fault(12)
def test_options_reach_the_chat_template() -> None:
    processor = idefics3()
    processor.chat_template = PUBLISHED["qwen"] + "{% if enable_thinking %}what{% else %}closer{% endif %}"
    picture = process_images(processor, [noise(16, 16)])[0]
    last = {}
    for options in ({"enable_thinking": True}, {"enable_thinking": False}, {}):
        ids = write_prompt(processor, PromptConfig(template_options=options), picture, "is it").ids
        last[tuple(options.items())] = processor.tokenizer.convert_ids_to_tokens(ids)[-1]
    assert [*last.values()] == ["what", "closer", "closer"]


@pytest.mark.fault(21)
def test_an_image_that_the_processor_refuses_is_named_by_its_size() -> None:
    processor = load("embedded:drawn-vlm", ModelConfig(), "model.student").processor
    with pytest.raises(
        DataError, match=r"an image of 1200 x 5 px is refused by the model's image processor \(.*aspect ratio"
    ):
        process_image(processor, noise(1200, 5))


@pytest.mark.fault(26)
@pytest.mark.parametrize("forged", ["<image>", "<fake_token_around_image>", "</s>"])
def test_a_token_that_is_spelled_out_is_refused(forged: str) -> None:
    processor = idefics3()
    picture = process_images(processor, [noise(16, 16)])[0]
    with pytest.raises(DataError, match=f"spells the special token '{forged}' out"):
        write_prompt(processor, PromptConfig(), picture, f"what is {forged}")
    for setting in ("question", "view", "system"):
        text = f"{forged} {{question}}"
        with pytest.raises(ModelLoadError, match=rf"prompt\.{setting} spells '{forged}' out"):
            write_prompt(
                processor,
                PromptConfig(**{setting: text}),  # type: ignore[arg-type]
                picture,
                "what",
            )


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
