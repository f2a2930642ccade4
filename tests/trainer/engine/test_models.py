"""Student and teacher as readers: images are encoded once, and a teacher carries no gradient."""

from __future__ import annotations

import pytest
from PIL import Image

import trainer.engine.models
from trainer.engine.families import encode_images
from trainer.engine.load import Loaded, ModelConfig, frozen_copy, load
from trainer.engine.models import Student, Teacher
from trainer.engine.prompts import PromptConfig, process_images, write_prompt


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load("embedded:drawn-vlm", ModelConfig(), "model.student")


@pytest.fixture
def num_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the images of each call of the vision tower."""
    counts: list[int] = []

    def counting(model: object, images: list[object]) -> object:
        counts.append(len(images))
        return encode_images(model, images)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.engine.models, "encode_images", counting)
    return counts


def test_an_image_is_encoded_once_for_all_prompts_and_for_the_teacher(loaded: Loaded, num_encoded: list[int]) -> None:
    student = Student(loaded, train_vision=False)
    teacher = Teacher(frozen_copy(loaded), student)
    (image,) = process_images(loaded.processor, [Image.new("RGB", (160, 160))])
    prompts = [write_prompt(loaded.processor, PromptConfig(), image, text) for text in ("red ?", "blue ?")]
    student.read(prompts)
    teacher.read(prompts)
    assert num_encoded == [1]


def test_a_trained_tower_encodes_anew_with_gradient(loaded: Loaded, num_encoded: list[int]) -> None:
    student = Student(load("embedded:drawn-vlm", ModelConfig(), "model.student"), train_vision=True)
    (image,) = process_images(loaded.processor, [Image.new("RGB", (160, 160))])
    prompt = write_prompt(loaded.processor, PromptConfig(), image, "red ?")
    features = [student.image_features([prompt])[image].embeds for _ in range(2)]
    assert num_encoded == [1, 1]
    assert all(embeds is not None and embeds.requires_grad for embeds in features)


def test_no_weight_of_a_teacher_can_be_trained(loaded: Loaded) -> None:
    teacher = Teacher(frozen_copy(loaded))
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_any_end_token_ends_an_answer(loaded: Loaded) -> None:
    assert loaded.processor.tokenizer.eos_token_id in Student(loaded, train_vision=False).eos_ids


def test_a_student_never_drops_out(loaded: Loaded) -> None:
    """An update must price the tokens under the distribution that they were sampled from."""
    loaded.model.train()
    assert not Student(loaded, train_vision=False).model.training
