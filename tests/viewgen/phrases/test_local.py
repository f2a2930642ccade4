"""Phrases from a language model on this machine: a tiny one of transformers' own class, taught one answer by heart."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from viewgen.errors import ModelError
from viewgen.phrases import PhrasesConfig, phrase_finder
from viewgen.phrases.answers import prompt_for

QUESTION = "Where is the red bus?"
ANSWER = '["the red bus"]'
TEMPLATE = "{% for m in messages %}user: {{ m['content'] }} model: {% endfor %}"


def make_tokenizer() -> Any:
    letters = sorted(set(prompt_for(QUESTION) + ANSWER + "0123456789user: model:"))
    words = Tokenizer(
        WordLevel({letter: i for i, letter in enumerate(["<eos>", "<unk>", *letters])}, unk_token="<unk>")
    )
    words.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    words.decoder = Fuse()
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>")


def teach(net: LlamaForCausalLM, tokenizer: Any, prompt: str) -> None:
    """Until the model gives ANSWER after the prompt's last letters."""
    tokens = tokenizer(prompt + ANSWER)["input_ids"] + [tokenizer.eos_token_id]
    tokens_BS = torch.tensor([tokens])
    labels_BS = tokens_BS.clone()
    labels_BS[:, : len(tokens) - len(ANSWER) - 1] = -100
    steps = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(200):
        loss = net(input_ids=tokens_BS, labels=labels_BS).loss
        if loss.item() < 0.05:
            return
        steps.zero_grad()
        loss.backward()
        steps.step()
    pytest.fail(f"the tiny model has not learnt its answer: loss {loss.item():.2f}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=0,
    )
    net = LlamaForCausalLM(shape)
    teach(net, tokenizer, prompt_for(QUESTION))
    # What a published model may set: sampling, which would make answers differ from run to run.
    sampling: Any = net.generation_config
    sampling.update(do_sample=True, temperature=2.0, top_k=5)
    where = tmp_path_factory.mktemp("language-model")
    net.save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


def config(folder: Path, **changes: Any) -> PhrasesConfig:
    settings: dict[str, Any] = {"model": str(folder), "max_new_tokens": 24, "device": "cpu", **changes}
    return PhrasesConfig(method="chat", **settings)


def test_what_the_model_names_is_placed_in_the_question(folder: Path) -> None:
    finder = phrase_finder(config(folder))
    again, empty, (bus,) = finder.find([QUESTION, " ", QUESTION])
    assert (bus.text, bus.start, bus.end, bus.rule) == ("the red bus", 9, 20, "chat")
    assert (again, empty) == ((bus,), ())


def test_an_answer_does_not_depend_on_its_neighbours(folder: Path) -> None:
    questions = [QUESTION, "Where is the red cup?", "Where is it?", "Where is the bus that is red?"]
    together = phrase_finder(config(folder, batch_size=3)).find(questions)
    alone = phrase_finder(config(folder, batch_size=1))
    assert together == [alone.find([question])[0] for question in questions]
    for question, phrases in zip(questions, together, strict=True):
        assert all(phrase.text == question[phrase.start : phrase.end] for phrase in phrases)


def test_a_chat_model_is_asked_through_its_template(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(TEMPLATE)
    finder: Any = phrase_finder(config(tmp_path / "model"))
    read = finder.tokenizer.decode(finder._tokens(QUESTION))
    assert read == f"user: {prompt_for(QUESTION)} model: "
    assert len(finder.find([QUESTION])) == 1


def test_the_weights_are_told_by_their_hash(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    assert dict(phrase_finder(config(folder)).models) == {str(folder): hashlib.sha256(weights).hexdigest()}


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (["config.json"], "no language model here: expected a folder with config.json, weights and a tokenizer"),
        (["model.safetensors"], "holds no weights: expected *.safetensors or *.bin. Download the whole model."),
        (["tokenizer.json", "tokenizer_config.json"], "not a language model that transformers can load: "),
    ],
)
def test_a_folder_that_lacks_something_is_refused_in_one_line(
    folder: Path, tmp_path: Path, lost: list[str], said: str
) -> None:
    shutil.copytree(folder, tmp_path / "model")
    for name in lost:
        (tmp_path / "model" / name).unlink()
    with pytest.raises(ModelError) as refused:
        phrase_finder(config(tmp_path / "model"))
    assert str(refused.value).startswith(f"{tmp_path / 'model'}: {said}")
    assert "\n" not in str(refused.value)


def test_weights_that_are_missing_are_refused_and_not_made_up(folder: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(folder, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"its weights lack 1 .*first model\.layers\.0\.mlp\.up_proj\.weight\)\. Use"):
        phrase_finder(config(model))


@pytest.mark.parametrize("device", ["cuda:99", "abacus", "meta", "hpu"])
def test_a_device_that_is_not_here_is_refused(folder: Path, device: str) -> None:
    with pytest.raises(ModelError, match=rf"^phrases\.device is '{device}': torch"):
        phrase_finder(config(folder, device=device))
