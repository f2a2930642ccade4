"""Find phrases with a language model on this machine, from a folder that transformers can load.
Leaves out: the prompt and the parsing of answers (answers.py). Imports torch and transformers when a model is loaded.

Shapes: B questions of one batch, all of S tokens. Nothing is padded, so an answer does not depend on its neighbours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from viewgen.errors import ModelError, brief
from viewgen.phrases.answers import phrases_in, prompt_for
from viewgen.phrases.config import PhrasesConfig
from viewgen.records import Phrase

_WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True, slots=True)
class LocalFinder:
    """A language model and its tokenizer. Decoding is greedy: the same question gets the same answer."""

    config: PhrasesConfig
    net: Any
    tokenizer: Any
    sha256: str

    @property
    def models(self) -> Mapping[str, str]:
        return MappingProxyType({self.config.model: self.sha256})

    def find(self, questions: Sequence[str]) -> list[tuple[Phrase, ...]]:
        """Return the phrases of each question that the model names. Each distinct question is read once."""
        prompts = {question: self._tokens(question) for question in questions if question.strip()}
        found: dict[str, tuple[Phrase, ...]] = {}
        for batch in self._batches(prompts):
            for question, answer in zip(batch, self._answers([prompts[each] for each in batch]), strict=True):
                found[question] = phrases_in(answer, question, self.config.max_phrases)
        return [found.get(question, ()) for question in questions]

    def _tokens(self, question: str) -> list[int]:
        prompt = prompt_for(question)
        if self.tokenizer.chat_template:
            turns = [{"role": "user", "content": prompt}]
            # Templates of reasoning models know the last argument; others ignore it.
            prompt = self.tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False, enable_thinking=False
            )
            return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer(prompt)["input_ids"])

    def _batches(self, prompts: Mapping[str, Sequence[int]]) -> Iterator[list[str]]:
        by_length: defaultdict[int, list[str]] = defaultdict(list)
        for question, tokens in prompts.items():
            by_length[len(tokens)].append(question)
        for alike in by_length.values():
            for first in range(0, len(alike), self.config.batch_size):
                yield alike[first : first + self.config.batch_size]

    def _answers(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        import torch

        tokens_BS = torch.tensor(prompts, device=self.net.device)
        with torch.inference_mode():
            whole_BS = self.net.generate(input_ids=tokens_BS, attention_mask=torch.ones_like(tokens_BS))
        answers: list[str] = self.tokenizer.batch_decode(whole_BS[:, tokens_BS.shape[1] :], skip_special_tokens=True)
        return answers


def load_local(config: PhrasesConfig) -> LocalFinder:
    """Load a finder from a folder. Raises ModelError when the folder, its weights or its tokenizer are missing or not
    of a language model."""
    folder = Path(config.model)
    if not (folder / "config.json").is_file():
        expected = "expected a folder with config.json, weights and a tokenizer, as transformers saves them"
        raise ModelError(f"{folder}: no language model here: {expected}. Or set base_url to ask an endpoint.")
    weights = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not weights:
        raise ModelError(f"{folder}: holds no weights: expected *.safetensors or *.bin. Download the whole model.")

    transformers = import_module("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        net, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype="auto", output_loading_info=True
        )
    except Exception as error:  # transformers raises many kinds for files that do not fit
        said = brief(error)
        raise ModelError(f"{folder}: not a language model that transformers can load: {said}") from error
    if missing := sorted(report["missing_keys"]):  # transformers fills them in at random, with a warning at most
        lack = f"its weights lack {len(missing)} that its config.json asks for (first {missing[0]})"
        raise ModelError(f"{folder}: {lack}. Use files that belong together.")
    net.generation_config = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=config.max_new_tokens,
        eos_token_id=net.generation_config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
    return LocalFinder(config, net.eval().to(_device(config.device)), tokenizer, _hash_of(weights))


def _device(name: str) -> str:
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(("cuda" if num_gpus else "cpu") if name == "auto" else name)
    except RuntimeError:
        raise ModelError(f"phrases.device is {name!r}: torch knows no such device. Say auto, cpu or cuda.") from None
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        raise ModelError(f"phrases.device is {name!r}: torch finds {num_gpus} GPUs here. Say auto or cpu.")
    try:
        torch.zeros(1, device=device).cpu()  # torch knows names of devices that it was not built for
    except (RuntimeError, AssertionError, ImportError):
        raise ModelError(f"phrases.device is {name!r}: torch cannot use it here. Say auto or cpu.") from None
    return str(device)


def _hash_of(files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of the hashes of several in the order of their names, in hex."""
    hashes = []
    for path in files:
        with path.open("rb") as file:
            hashes.append(file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()
