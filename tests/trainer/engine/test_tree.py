"""Prompts that share their beginnings: every shared token is read once, and each state is that of the prompt alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from transformers import PreTrainedModel

import trainer.engine.tree
from trainer.engine.families import encode_images
from trainer.engine.load import Loaded, ModelConfig, load
from trainer.engine.models import Student
from trainer.engine.prefix import Segment, extend
from trainer.engine.prompts import Pixels, Prompt, PromptConfig, process_images, write_prompt
from trainer.engine.tree import read_prompts


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    found = load("embedded:drawn-vlm", ModelConfig(), "model.student")
    found.model.to(torch.float64)  # type: ignore[arg-type]
    return found


@pytest.fixture
def prompts(loaded: Loaded) -> list[Prompt]:
    """Return three prompts: two questions about one image, one about another."""
    images = process_images(loaded.processor, [Image.new("RGB", (160, 160), colour) for colour in ("red", "blue")])
    asked = [(0, "what is on the red sign ?"), (0, "what is on the blue sign ?"), (1, "what is on the red sign ?")]
    return [
        write_prompt(loaded.processor, PromptConfig(), images[n], text, (), (f"image {n}", text)) for n, text in asked
    ]


def test_each_state_is_that_of_the_prompt_read_alone_in_whatever_order(loaded: Loaded, prompts: list[Prompt]) -> None:
    student = Student(loaded, train_vision=False)
    with torch.no_grad():
        alone = torch.cat([student.read([prompt]).last_BD for prompt in prompts])
        together = student.read(prompts).last_BD
        turned = student.read([prompts[2], prompts[0], prompts[1]]).last_BD
    assert (together - alone).abs().max() < 1e-10
    assert (turned - alone[[2, 0, 1]]).abs().max() < 1e-10


def test_tokens_of_an_image_are_read_once_for_its_questions(
    loaded: Loaded, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    num_read = 0

    def counting(model: object, prefix: object, segments: list[Segment]) -> object:
        nonlocal num_read
        num_read += sum(len(segment.ids) for segment in segments)
        return extend(model, prefix, segments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.engine.tree, "extend", counting)
    with torch.no_grad():
        Student(loaded, train_vision=False).read(prompts)
    lengths = [len(prompt.ids) for prompt in prompts]
    shared = max(n for n in range(lengths[0]) if prompts[0].ids[:n] == prompts[1].ids[:n])
    assert num_read == sum(lengths) - shared
    assert shared > prompts[0].images[0].num_tokens


def plain(ids: tuple[int, ...], *path: object, images: tuple[Pixels, ...] = (), ends: tuple[int, ...] = ()) -> Prompt:
    return Prompt(ids=ids, images=images, image_ends=ends, path=tuple(map(str, path)))


def test_rows_of_several_lengths_come_back_in_their_order(tiny_named: Callable[[str], PreTrainedModel]) -> None:
    """A model whose rows cannot be padded reads them length by length: an order that is not its own inverse."""
    model = tiny_named("qwen3_5")
    lengths = (4, 6, 7, 4, 6)
    asked = [plain(tuple(range(20 + 9 * n, 20 + 9 * n + length)), n) for n, length in enumerate(lengths)]
    with torch.no_grad():
        alone = torch.cat([read_prompts(model, [prompt], {}).last_BD for prompt in asked])
        together = read_prompts(model, asked, {}).last_BD
    assert (together - alone).abs().max() < 1e-5
    assert (alone[0] - alone[3]).abs().max() > 1e-3


def test_a_picture_that_ends_where_prompts_part_is_read_once(
    tiny_named: Callable[[str], PreTrainedModel], paint: Callable[..., Pixels]
) -> None:
    model = tiny_named("qwen3_vl")
    image = paint(model, 1, 4, 4)
    before = (20, 3, 5, 5, 5, 5)
    asked = [plain((*before, first, 22), "image", first, images=(image,), ends=(len(before),)) for first in (30, 31)]
    with torch.no_grad():
        features = {image: encode_images(model, [image])[0]}
        alone = torch.cat([read_prompts(model, [prompt], features).last_BD for prompt in asked])
        together = read_prompts(model, asked, features).last_BD
    assert (together - alone).abs().max() < 1e-5
