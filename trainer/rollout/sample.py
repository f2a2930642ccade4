"""Sample answers with our own engine: every prompt is read once, its state copied for each sibling, and prompts of all
lengths decode together. Finished rows leave the batch.
Leaves out: scoring (engine/models.py).

Q prompts   B = Q * G rollouts   T response positions   V vocabulary"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from transformers import PreTrainedModel

from trainer.engine.families import never_ids
from trainer.engine.head import head
from trainer.engine.models import Student
from trainer.engine.prefix import Prefix, branch, extend_ids
from trainer.engine.prompts import Prompt
from trainer.gate import widened
from trainer.rollouts import RolloutConfig, Rollouts


def answer(student: Student, prompts: Sequence[Prompt], config: RolloutConfig, generator: Generator) -> Rollouts:
    """Sample G sibling answers of the student to each prompt."""
    with torch.no_grad():
        read = student.read(prompts)
    banned = {*never_ids(student.model), *student.unnamed_ids}
    return sample_rollouts(student.model, read, config, student.eos_ids, sorted(banned), generator)


@torch.no_grad()
def sample_rollouts(
    model: PreTrainedModel,
    prompts: Prefix,
    config: RolloutConfig,
    eos_ids: Collection[int],
    banned_ids: Collection[int],
    generator: Generator,
) -> Rollouts:
    """Sample G answers to each prompt, row q of `prompts`.

    `banned_ids` are not sampled (image placeholders would break positions); any of `eos_ids` ends an answer. Equal
    seeds give equal answers on one kind of device."""
    device = model.device
    source = _on_device(generator, device)
    num_rows, max_new = prompts.num_rows * config.num_siblings, config.max_new_tokens
    question_B = torch.arange(prompts.num_rows, device=device).repeat_interleave(config.num_siblings)
    state = branch(prompts, question_B)
    alive = torch.arange(num_rows, device=device)  # the rollout in each row of `state`
    ids_BT = torch.zeros(num_rows, max_new, dtype=torch.long, device=device)
    response_BT = torch.zeros(num_rows, max_new, dtype=torch.bool, device=device)
    logp_BT, plain_logp_BT = widened(torch.zeros(2, num_rows, max_new, device=device, dtype=model.dtype))
    stop_V = torch.zeros(head(model).out_features, dtype=torch.bool, device=device)
    stop_V[list(eos_ids)] = True
    for step in range(max_new):
        plain_NV = widened(head(model)(state.last_BD)).log_softmax(-1)
        ids_N, logp_N = _draw(plain_NV, config.temperature, banned_ids, source)
        ids_BT[alive, step], response_BT[alive, step] = ids_N, True
        logp_BT[alive, step], plain_logp_BT[alive, step] = logp_N, plain_NV.gather(1, ids_N[:, None])[:, 0]
        going_N = ~stop_V[ids_N]
        if not going_N.all():
            alive, ids_N = alive[going_N], ids_N[going_N]
            if len(alive) == 0 or step == max_new - 1:
                break
            state = branch(state, going_N.nonzero()[:, 0])
        if step < max_new - 1:
            state = extend_ids(model, state, ids_N[:, None], torch.ones_like(ids_N[:, None], dtype=torch.bool))[1]
    truncated_B = torch.zeros(num_rows, dtype=torch.bool, device=device)
    truncated_B[alive] = True
    longest = int(response_BT.sum(1).max())
    return Rollouts(
        ids_BT=ids_BT[:, :longest],
        response_BT=response_BT[:, :longest],
        question_B=question_B,
        logp_BT=logp_BT[:, :longest],
        plain_logp_BT=plain_logp_BT[:, :longest],
        truncated_B=truncated_B,
        temperature=config.temperature,
    )


def _on_device(generator: Generator, device: torch.device) -> Generator:
    """Return a generator on the device of the logits, seeded by the given one: a number per token of a vocabulary is
    much to carry."""
    if generator.device == device:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return Generator(device).manual_seed(seed)


def _draw(
    plain_NV: Float[Tensor, "N V"], temperature: float, banned_ids: Collection[int], generator: Generator
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """Draw one token per row, with its log-prob under the distribution it was drawn from."""
    allowed_NV = plain_NV.clone()
    allowed_NV[:, list(banned_ids)] = -torch.inf
    if temperature == 0:
        ids_N = allowed_NV.argmax(-1)
        return ids_N, torch.zeros_like(ids_N, dtype=plain_NV.dtype)
    logp_NV = (allowed_NV / temperature).log_softmax(-1)
    # Gumbel's way: one uniform number per token of the vocabulary, no sorting, no sum that must be 1.
    uniform_NV = torch.rand(logp_NV.shape, generator=generator, device=generator.device)
    ids_N = (logp_NV + uniform_NV.clamp_(min=1e-20).log_().neg_().log_().neg_()).argmax(-1)
    return ids_N, logp_NV.gather(1, ids_N[:, None])[:, 0]
