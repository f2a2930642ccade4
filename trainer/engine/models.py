"""Student and teacher: read prompts, and score the tokens of rollouts on top of them.
Leaves out: loading (load.py), sampling (rollout/), sharing (tree.py, prefix.py), using scores (gate.py, loss.py).

Q prompts   B rollouts   T response positions   N response tokens   D hidden size   V vocabulary
Log-probs are in nats, at the temperature that sampled the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trainer.engine.families import ImageFeatures, encode_images, vision_parameters
from trainer.engine.head import head
from trainer.engine.load import Loaded
from trainer.engine.logprobs import Scores, all_rows, spread, token_terms
from trainer.engine.prefix import Prefix, Trunk, extend_siblings
from trainer.engine.prompts import Pixels, Prompt
from trainer.engine.states import checkpointed
from trainer.engine.tree import read_prompts
from trainer.loss import StudentTerms
from trainer.rollouts import Rollouts


class Reader:
    """A model that reads prompts. Its vision tower encodes each image once as long as the image is kept."""

    def __init__(self, loaded: Loaded, shares_vision_with: Reader | None = None) -> None:
        """Share the image features of `shares_vision_with`, another reader with an equal, frozen vision tower."""
        self.model = loaded.model
        self.processor = loaded.processor
        self._seen: WeakKeyDictionary[Pixels, ImageFeatures] = (
            shares_vision_with._seen if shares_vision_with else WeakKeyDictionary()
        )

    def image_features(self, prompts: Sequence[Prompt]) -> dict[Pixels, ImageFeatures]:
        """Return the features of all images in the prompts."""
        images = list(dict.fromkeys(image for prompt in prompts for image in prompt.images))
        new = [image for image in images if image not in self._seen]
        if new:
            with torch.no_grad():
                self._seen.update(zip(new, encode_images(self.model, new), strict=True))
        return {image: self._seen[image] for image in images}

    def read(self, prompts: Sequence[Prompt]) -> Prefix:
        """Return the state after each prompt."""
        return read_prompts(self.model, prompts, self.image_features(prompts))

    def hidden(
        self, prompts: Prefix, row_B: Int[Tensor, " B"], ids_BT: Int[Tensor, "B T"], response_BT: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        """Return the hidden states that predict each response token, on top of row row_B[b] of read prompts.

        Meaningless at padding."""
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
            for weight in vision_parameters(self.model):
                weight.requires_grad_(False)

    def image_features(self, prompts: Sequence[Prompt]) -> dict[Pixels, ImageFeatures]:
        """Return the features of all images in the prompts; computed anew, with gradient, when the tower is trained."""
        if not self._trains_vision:
            return super().image_features(prompts)
        images = list(dict.fromkeys(image for prompt in prompts for image in prompt.images))
        return dict(zip(images, encode_images(self.model, images), strict=True))

    @contextmanager
    def reading(self, prompts: Sequence[Prompt]) -> Iterator[Prefix]:
        """Yield the prompts' states with gradient; their own backward pass runs once, when the block ends."""
        with checkpointed(self.model) if self._checkpoints else nullcontext():
            trunk = Trunk(self.read(prompts))
        yield trunk.tip
        trunk.backward()

    def score(self, prompts: Prefix, rollouts: Rollouts, against: Scores | None) -> StudentTerms:
        """Return log-probs of the student's own tokens with gradient, and divergences from a teacher's distributions."""
        ids_BT, mask_BT = rollouts.ids_BT, rollouts.response_BT
        hidden_BTD = self.hidden(prompts, rollouts.question_B, ids_BT, mask_BT)
        teacher = None if against is None else (against.output, against.hidden_BTD[mask_BT])
        logp_N, divergence_N = token_terms(
            head(self.model), hidden_BTD[mask_BT], ids_BT[mask_BT], rollouts.temperature, teacher
        )
        divergence_BT = None if divergence_N is None else spread(divergence_N, mask_BT)
        return StudentTerms(logp_BT=spread(logp_N, mask_BT), divergence_BT=divergence_BT)

    def texts(self, rollouts: Rollouts) -> list[str]:
        """Decode the answers, without special tokens."""
        rows = zip(rollouts.ids_BT.tolist(), rollouts.response_BT.tolist(), strict=True)
        ids = [[i for i, real in zip(*row, strict=True) if real] for row in rows]
        return [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def tokens(self, rollouts: Rollouts) -> list[list[str]]:
        """Decode each response token."""
        rows = zip(rollouts.ids_BT.tolist(), rollouts.response_BT.tolist(), strict=True)
        decode = self.processor.tokenizer.decode
        return [[decode([i]) for i, real in zip(*row, strict=True) if real] for row in rows]

    @cached_property
    def unnamed_ids(self) -> tuple[int, ...]:
        """Rows of the head that stand for no token of the tokenizer: padding of the vocabulary."""
        named = set(self.processor.tokenizer.get_vocab().values())
        return tuple(row for row in range(head(self.model).out_features) if row not in named)

    @property
    def thought_ids(self) -> tuple[int, int] | None:
        """Tokens that begin and end a thought; None where the tokenizer has none."""
        known = self.processor.tokenizer.get_added_vocab()
        begin, end = known.get("<think>"), known.get("</think>")
        return None if begin is None or end is None else (begin, end)

    @property
    def eos_ids(self) -> set[int]:
        """Tokens that end an answer."""
        config = self.model.generation_config
        named = None if config is None else config.eos_token_id
        listed = named if isinstance(named, list) else [named]
        return {i for i in [*listed, self.processor.tokenizer.eos_token_id] if i is not None}


class Teacher(Reader):
    """A frozen model. Nothing it computes carries a gradient."""

    def __init__(self, loaded: Loaded, shares_vision_with: Reader | None = None) -> None:
        super().__init__(loaded, shares_vision_with)
        self.model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def score(
        self, rollouts: Rollouts, positive: Sequence[Prompt], negative: Sequence[Prompt], micro_batch: int = 0
    ) -> tuple[Scores, Scores]:
        """Score the same tokens under both views. The part that both prompts of a question share is computed once."""
        read = self.read([*positive, *negative])
        parts = [self._score(read, len(positive), rollouts.rows(part)) for part in rollouts.micro_batches(micro_batch)]
        pos, neg = zip(*parts, strict=True)
        return all_rows(pos), all_rows(neg)

    def _score(self, read: Prefix, num_questions: int, rollouts: Rollouts) -> tuple[Scores, Scores]:
        """Under the positive and under the negative views, whose prompts follow those, in one batch."""
        ids_BT, mask_BT, row_B = rollouts.ids_BT, rollouts.response_BT, rollouts.question_B
        row_2B = torch.cat([row_B, row_B + num_questions])
        pos_BTD, neg_BTD = self.hidden(read, row_2B, ids_BT.repeat(2, 1), mask_BT.repeat(2, 1)).chunk(2)
        return self._price(pos_BTD, rollouts), self._price(neg_BTD, rollouts)

    def _price(self, hidden_BTD: Float[Tensor, "B T D"], rollouts: Rollouts) -> Scores:
        output, mask_BT = head(self.model), rollouts.response_BT
        logp_N, _ = token_terms(output, hidden_BTD[mask_BT], rollouts.ids_BT[mask_BT], rollouts.temperature, None)
        return Scores(logp_BT=spread(logp_N, mask_BT), hidden_BTD=hidden_BTD, output=output)
