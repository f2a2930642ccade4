"""Student and teacher: loading them, and the three things a step asks of them: answer, score, and score with gradient.
Leaves out: what prompts say (prompts.py), sharing (tree.py, prefix.py), what is done with the scores (gate.py, loss.py).

Q prompts   B rollouts   T response positions   N response tokens   D hidden size   V vocabulary
Log-probs are in nats, at the temperature that sampled the answers."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from pydantic import ConfigDict
from safetensors import SafetensorError
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from trainer.errors import ModelError
from trainer.families import Picture, eyes, never_ids, read_apart, see
from trainer.gate import widened
from trainer.loss import StudentTerms, exact_divergence
from trainer.prefix import Prefix, Trunk, extend_siblings, head
from trainer.prompts import Pixels, Processor, Prompt
from trainer.rollout import RolloutConfig, Rollouts
from trainer.rollout.sample import sample_rollouts
from trainer.states import checkpointed
from trainer.tree import read_prompts
from viewgen.settings import STRICT

EMBEDDED = "embedded:"
LOGITS_AT_ONCE = 2**24
"""Numbers of a chunk of logits: 64 MB in float32, whatever the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which weights, where and how precise."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    student: str = "Qwen/Qwen3.5-4B"
    """A folder (relative to the run file), a hub id, or `embedded:drawn-vlm`. The paper's is Qwen3.5-4B."""
    teacher: str = ""
    """Likewise; empty: the student as it was at the start, frozen."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights and activations. The optimizer keeps trained bfloat16 weights in float32 as well, so that small steps
    add up: 16 bytes a weight in all, as with float32, and 4 more while a step is taken."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a teacher says of given tokens under given prompts."""

    logp_BT: Float[Tensor, "B T"]
    """0 at padding."""
    hidden_BTD: Float[Tensor, "B T D"]
    """The states that predict each token: with `output`, the whole distribution, before the vocabulary makes it large."""
    output: nn.Linear
    """Hidden states -> logits."""

    def rows(self, part: slice) -> Scores:
        """A run of rows."""
        return Scores(logp_BT=self.logp_BT[part], hidden_BTD=self.hidden_BTD[part], output=self.output)


def load(name: str, config: ModelConfig, setting: str) -> Loaded:
    """Load a vision-language model and its processor. Raises ModelError; never runs code from a model's folder."""
    folder = str(files("trainer") / "weights" / name.removeprefix(EMBEDDED)) if name.startswith(EMBEDDED) else name
    local = Path(folder)
    if not local.is_dir() and (name.startswith((EMBEDDED, ".", "/")) or name.count("/") != 1):
        raise ModelError(
            f"{setting} = {name!r}: there is no such folder. Give a model's folder, a hub id or embedded:drawn-vlm."
        )
    if not sys.stderr.isatty():
        disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        processor = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, config.dtype))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300]
        raise ModelError(f"{setting} = {name!r}: cannot be loaded as a vision-language model ({said}).") from None
    if not getattr(processor, "chat_template", None):
        raise ModelError(f"{setting} = {name!r}: has no chat template. Choose a model that was trained to answer.")
    try:
        model.to(device_of(config))  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(
            f"model.device = {config.device!r}: cannot be used ({said}). Give cpu, cuda or auto."
        ) from None
    if not config.share_prompts:
        read_apart(model)
    return Loaded(model, processor, name)


def device_of(config: ModelConfig) -> torch.device:
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_pair(student: Loaded, teacher: Loaded) -> None:
    """Raises ModelError unless both read the same token ids: answers are handed over as ids, never as text."""
    mine, other = (pair.processor.tokenizer.get_vocab() for pair in (student, teacher))
    if mine == other:
        return _check_images(student, teacher)
    odd = sorted(set(mine.items()) ^ set(other.items()))[0][0]
    raise ModelError(
        f"teacher {teacher.name!r} and student {student.name!r} have different tokenizers: {odd!r} is "
        f"{mine.get(odd)} for the student and {other.get(odd)} for the teacher. Choose two models of one family."
    )


def _check_images(student: Loaded, teacher: Loaded) -> None:
    """Both are given the same tokens and the same processed images."""
    sizes = [head(pair.model).out_features for pair in (student, teacher)]
    images = [pair.processor.image_processor.to_dict() for pair in (student, teacher)]
    if sizes[0] != sizes[1]:
        what = f"vocabularies of {sizes[1]:,} and {sizes[0]:,} rows"
    elif odd := [key for key in images[0] if images[0][key] != images[1].get(key)]:
        what = f"image processors that differ in {odd[0]!r}"
    else:
        return
    raise ModelError(f"teacher {teacher.name!r} and student {student.name!r} have {what}. Choose two of one family.")


class Reader:
    """A model that reads prompts. Its vision tower sees each image once as long as the image is kept."""

    def __init__(self, loaded: Loaded, sees_with: Reader | None = None) -> None:
        """`sees_with`: another reader with an equal, frozen vision tower, whose features serve here too."""
        self.model = loaded.model
        self.processor = loaded.processor
        self._seen: WeakKeyDictionary[Pixels, Picture] = sees_with._seen if sees_with else WeakKeyDictionary()

    def look(self, prompts: Sequence[Prompt]) -> dict[Pixels, Picture]:
        """The pictures of all images in the prompts."""
        images = list(dict.fromkeys(image for prompt in prompts for image in prompt.images))
        new = [image for image in images if image not in self._seen]
        if new:
            with torch.no_grad():
                self._seen.update(zip(new, see(self.model, new), strict=True))
        return {image: self._seen[image] for image in images}

    def read(self, prompts: Sequence[Prompt]) -> Prefix:
        """The state after each prompt."""
        return read_prompts(self.model, prompts, self.look(prompts))

    def hidden(
        self, prompts: Prefix, row_B: Int[Tensor, " B"], ids_BT: Int[Tensor, "B T"], response_BT: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        """The states that predict each response token, on top of row row_B[b] of read prompts. Meaningless at padding."""
        first_B1D = prompts.last_BD[row_B, None]
        if ids_BT.shape[1] == 1:
            return first_B1D
        # The last token predicts nothing that is asked for.
        rest_BTD = extend_siblings(self.model, prompts, row_B, ids_BT[:, :-1], response_BT[:, :-1])
        return torch.cat([first_B1D, rest_BTD], 1)


class Student(Reader):
    """The model that is trained."""

    def __init__(self, loaded: Loaded, train_vision: bool, checkpoint_prefix: bool = False) -> None:
        super().__init__(loaded)
        # No dropout: an update must price the tokens under the distribution that they were sampled from.
        self.model.eval()  # type: ignore[no-untyped-call]
        self._trains_vision = train_vision
        self._checkpoints = checkpoint_prefix
        if not train_vision:
            for weight in eyes(self.model):
                weight.requires_grad_(False)

    def look(self, prompts: Sequence[Prompt]) -> dict[Pixels, Picture]:
        """The pictures of all images in the prompts; looked at anew, with gradient, when the tower is trained."""
        if not self._trains_vision:
            return super().look(prompts)
        images = list(dict.fromkeys(image for prompt in prompts for image in prompt.images))
        return dict(zip(images, see(self.model, images), strict=True))

    def answer(self, prompts: Sequence[Prompt], config: RolloutConfig, generator: Generator) -> Rollouts:
        """Sample G siblings for each prompt."""
        with torch.no_grad():
            read = self.read(prompts)
        return sample_rollouts(self.model, read, config, self._eos_ids(), never_ids(self.model), generator)

    @contextmanager
    def reading(self, prompts: Sequence[Prompt]) -> Iterator[Prefix]:
        """The prompts' states with gradient; their own backward pass runs once, when the block ends."""
        with checkpointed(self.model) if self._checkpoints else nullcontext():
            trunk = Trunk(self.read(prompts))
        yield trunk.tip
        trunk.backward()

    def score(self, prompts: Prefix, rollouts: Rollouts, against: Scores | None) -> StudentTerms:
        """Log-probs of the student's own tokens with gradient, and divergences from a teacher's distributions."""
        ids_BT, mask_BT = rollouts.ids_BT, rollouts.response_BT
        hidden_BTD = self.hidden(prompts, rollouts.question_B, ids_BT, mask_BT)
        teacher = None if against is None else (against.output, against.hidden_BTD[mask_BT])
        logp_N, divergence_N = token_terms(
            head(self.model), hidden_BTD[mask_BT], ids_BT[mask_BT], rollouts.temperature, teacher
        )
        divergence_BT = None if divergence_N is None else _spread(divergence_N, mask_BT)
        return StudentTerms(logp_BT=_spread(logp_N, mask_BT), divergence_BT=divergence_BT)

    def texts(self, rollouts: Rollouts) -> list[str]:
        """The answers in words, without special tokens."""
        rows = zip(rollouts.ids_BT.tolist(), rollouts.response_BT.tolist(), strict=True)
        ids = [[i for i, real in zip(*row, strict=True) if real] for row in rows]
        return [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def tokens(self, rollouts: Rollouts) -> list[list[str]]:
        """The text of each response token."""
        rows = zip(rollouts.ids_BT.tolist(), rollouts.response_BT.tolist(), strict=True)
        decode = self.processor.tokenizer.decode
        return [[decode([i]) for i, real in zip(*row, strict=True) if real] for row in rows]

    def _eos_ids(self) -> set[int]:
        config = self.model.generation_config
        named = None if config is None else config.eos_token_id
        listed = named if isinstance(named, list) else [named]
        return {i for i in [*listed, self.processor.tokenizer.eos_token_id] if i is not None}


class Teacher(Reader):
    """A frozen model. Nothing it computes carries a gradient."""

    def __init__(self, loaded: Loaded, sees_with: Reader | None = None) -> None:
        super().__init__(loaded, sees_with)
        self.model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def score(
        self, rollouts: Rollouts, positive: Sequence[Prompt], negative: Sequence[Prompt], micro_batch: int = 0
    ) -> tuple[Scores, Scores]:
        """The same tokens under both views. What the two prompts of a question share is computed once."""
        read = self.read([*positive, *negative])
        parts = [self._score(read, len(positive), rollouts.rows(part)) for part in rollouts.micro_batches(micro_batch)]
        pos, neg = zip(*parts, strict=True)
        return _all_rows(pos), _all_rows(neg)

    def _score(self, read: Prefix, num_questions: int, rollouts: Rollouts) -> tuple[Scores, Scores]:
        """Under the positive and under the negative views, whose prompts follow those, in one batch."""
        ids_BT, mask_BT, row_B = rollouts.ids_BT, rollouts.response_BT, rollouts.question_B
        row_2B = torch.cat([row_B, row_B + num_questions])
        pos_BTD, neg_BTD = self.hidden(read, row_2B, ids_BT.repeat(2, 1), mask_BT.repeat(2, 1)).chunk(2)
        return self._price(pos_BTD, rollouts), self._price(neg_BTD, rollouts)

    def _price(self, hidden_BTD: Float[Tensor, "B T D"], rollouts: Rollouts) -> Scores:
        output, mask_BT = head(self.model), rollouts.response_BT
        logp_N, _ = token_terms(output, hidden_BTD[mask_BT], rollouts.ids_BT[mask_BT], rollouts.temperature, None)
        return Scores(logp_BT=_spread(logp_N, mask_BT), hidden_BTD=hidden_BTD, output=output)


def _all_rows(parts: Sequence[Scores]) -> Scores:
    """The scores of consecutive micro-batches together."""
    logp_BT, hidden_BTD = torch.cat([p.logp_BT for p in parts]), torch.cat([p.hidden_BTD for p in parts])
    return Scores(logp_BT=logp_BT, hidden_BTD=hidden_BTD, output=parts[0].output)


def frozen_copy(student: Loaded) -> Loaded:
    """The student as it is now."""
    return Loaded(copy.deepcopy(student.model), student.processor, student.name)


def token_terms(
    output: nn.Linear,
    hidden_ND: Float[Tensor, "N D"],
    ids_N: Int[Tensor, " N"],
    temperature: float,
    teacher: tuple[nn.Linear, Float[Tensor, "N D"]] | None,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"] | None]:
    """Log-probs of the tokens and, given a teacher's states, KL(student || teacher) of each position. Logits exist a
    chunk at a time and are computed again for backward, so a large vocabulary costs time, not memory."""

    def chunk(hidden: Tensor, ids: Tensor, teacher_hidden: Tensor | None) -> tuple[Tensor, Tensor | None]:
        logits = widened(output(hidden)) / (temperature or 1.0)
        logp = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        if teacher is None or teacher_hidden is None:
            return logp, None
        with torch.no_grad():
            teacher_logits = widened(teacher[0](teacher_hidden)) / (temperature or 1.0)
        return logp, exact_divergence(logits, teacher_logits)

    size = max(LOGITS_AT_ONCE // output.out_features, 1)
    save = torch.is_grad_enabled() and len(ids_N) > size
    found = []
    for start in range(0, max(len(ids_N), 1), size):
        part = slice(start, start + size)
        given = (hidden_ND[part], ids_N[part], None if teacher is None else teacher[1][part])
        found.append(checkpoint(chunk, *given, use_reentrant=False) if save else chunk(*given))
    divergences = [divergence for _, divergence in found if divergence is not None]
    return torch.cat([logp for logp, _ in found]), torch.cat(divergences) if divergences else None


def _spread(values_N: Float[Tensor, " N"], mask_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Values of the masked positions back in their places, 0 elsewhere."""
    return values_N.new_zeros(mask_BT.shape).masked_scatter(mask_BT, values_N)
