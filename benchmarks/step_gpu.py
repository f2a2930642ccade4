"""What a step of a 4B student costs on a GPU: seconds of rollout, scoring and update, tokens per second, share of the
matmul rate that the machine reaches, peak memory, each beside reading every prompt again (share_prompts = false).

Run:      python -m benchmarks.step_gpu      (one GPU of 80 GB; --tiny: a tiny model, which a CPU can run too)
Expected: some minutes; a table, and as its last line one JSON object.

Weights are random, of Qwen3.5-4B's shape: 32 layers of width 2560, three of four with linear attention. Prompts are
random words: the vision tower is left out, as its features are computed once per image either way. Student and teacher
are of one size; the teacher is a copy. Sampling without sharing would read a prompt once for every token, so what
stands beside our rollout is the prefill of G whole prompts alone.

P prompt tokens   C view tokens   T answer tokens   G siblings"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator
from transformers import PreTrainedModel, Qwen3_5Config, Qwen3_5ForConditionalGeneration

from benchmarks.where import commit, hardware
from trainer.engine.families import disable_sharing
from trainer.engine.load import Loaded, frozen_copy
from trainer.engine.models import Student, Teacher
from trainer.engine.prompts import Prompt
from trainer.loss import Denominators, LossConfig, distill_loss
from trainer.rollout.sample import sample_rollouts
from trainer.rollouts import RolloutConfig, Rollouts

SEED = 0
FIRST_WORD = 1000
FOUR_B: dict[str, Any] = {
    "vocab_size": 248_320,
    "hidden_size": 2560,
    "intermediate_size": 9216,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
}
TINY: dict[str, Any] = {
    **FOUR_B,
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of one question."""

    prompt: int = 4000
    view: int = 500
    answer: int = 256
    siblings: int = 8
    micro_batch: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One part of a step."""

    seconds: float
    peak_gb: float
    """Beyond what was held before; 0 on a CPU."""


def make_model(text: dict[str, Any], device: torch.device) -> PreTrainedModel:
    """Random weights, in bfloat16 on a GPU."""
    torch.manual_seed(SEED)
    vision = {**VISION, "out_hidden_size": text["hidden_size"]}
    config = Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=True)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.set_default_dtype(dtype)
    with device:
        model = Qwen3_5ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    return model


def words(num: int, seed: int, vocabulary: int) -> tuple[int, ...]:
    return tuple(torch.randint(FIRST_WORD, vocabulary, (num,), generator=Generator().manual_seed(seed)).tolist())


def timed(run: Callable[[], object], device: torch.device, repetitions: int = 2) -> Timed:
    """Return the fastest of some runs, after one that does not count."""
    is_gpu = device.type == "cuda"
    taken = []
    held = torch.cuda.memory_allocated() if is_gpu else 0
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        run()
        if is_gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    peak = (torch.cuda.max_memory_allocated() - held) / 1e9 if is_gpu else 0.0
    return Timed(seconds=min(taken[1:]), peak_gb=peak)


def matmul_rate(device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product in the model's precision."""
    side, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    return 2 * side**3 / timed(lambda: a @ b, device, 5).seconds


def update(student: Student, asked: Prompt, rollouts: Rollouts, micro_batch: int) -> None:
    """Run the sampled loss against a constant teacher, backward."""
    denominators = Denominators.of(rollouts.response_BT)
    pos_BT = torch.full(rollouts.ids_BT.shape, -5.0, device=rollouts.ids_BT.device)
    with student.reading([asked]) as prompts:
        for part in rollouts.micro_batches(micro_batch):
            some = rollouts.rows(part)
            terms, weight_B = student.score(prompts, some, None), pos_BT.new_ones(some.num_rows)
            loss = distill_loss(terms, pos_BT[part], some.response_BT, weight_B, denominators, LossConfig())
            torch.autograd.backward(loss.total)
    student.model.zero_grad(set_to_none=True)


def measure(text: dict[str, Any], sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Every part, ours and with sharing switched off."""
    student = Student(Loaded(make_model(text, device), None, "random"), train_vision=False)
    teacher = Teacher(frozen_copy(Loaded(student.model, None, "random")))
    start = words(sizes.prompt, SEED, text["vocab_size"])
    asked = Prompt(start, (), (), ("image", "question", ""))
    pos, neg = (
        Prompt(start + words(sizes.view, seed, text["vocab_size"]), (), (), ("image", "question", str(seed)))
        for seed in (1, 2)
    )
    sampling = RolloutConfig(num_siblings=sizes.siblings, max_new_tokens=sizes.answer)

    def answer(config: RolloutConfig) -> Rollouts:
        with torch.no_grad():
            read = student.read([asked])
        return sample_rollouts(student.model, read, config, (), (), Generator().manual_seed(SEED))

    rollouts = answer(sampling)

    def prefill(num_rows: int) -> None:
        twins = [Prompt(start, (), (), (str(row),)) for row in range(num_rows)]
        with torch.no_grad():
            for twin in twins:
                student.read([twin])

    def parts() -> dict[str, Timed]:
        return {
            "scoring": timed(lambda: teacher.score(rollouts, [pos], [neg], sizes.micro_batch), device),
            "update": timed(lambda: update(student, asked, rollouts, sizes.micro_batch), device),
        }

    ours = {
        "prefill": timed(lambda: prefill(1), device),
        "rollout": timed(lambda: answer(sampling), device, 1),
        **parts(),
    }
    naive = {"prefill": timed(lambda: prefill(sizes.siblings), device)}
    disable_sharing(student.model)
    disable_sharing(teacher.model)
    try:
        naive |= parts()
    except torch.OutOfMemoryError:
        print("With sharing switched off the step does not fit into memory.")
    return {"ours": ours, "naive": naive, "parameters": sum(weight.numel() for weight in student.model.parameters())}


def tokens(sizes: Sizes) -> dict[str, dict[str, int]]:
    """Tokens that the model reads for a question. Without sharing, each prompt is read alone too, for first tokens."""
    p, c, t, g = sizes.prompt, sizes.view, sizes.answer, sizes.siblings
    ours = {"prefill": p, "rollout": p + g * t, "scoring": p + 2 * c + 2 * g * t, "update": p + g * t}
    naive = {"prefill": g * p, "scoring": 2 * (p + c + g * (p + c + t)), "update": p + g * (p + t)}
    return {"ours": ours, "naive": naive}


def tell(found: dict[str, Any], sizes: Sizes, rate: float) -> None:
    """Print the table. Reading a token costs two operations per weight, training on one six."""
    print(f"{found['hardware']}, torch {torch.__version__}, commit {found['commit']}, seed {SEED}")
    print(f"{found['parameters']:,} parameters, {sizes}; matmul {rate / 1e12:.1f} TFLOP/s\n")
    print("| part | ours, s | tokens/s | of the matmul rate | peak, GB | naive, s | peak, GB | ratio | of tokens |")
    print("|" + "---|" * 9)
    read = tokens(sizes)
    for part, ours in found["ours"].items():
        num, naive = read["ours"][part], found["naive"].get(part)
        share = (6 if part == "update" else 2) * found["parameters"] * num / ours.seconds / rate
        cells = [part, f"{ours.seconds:.3f}", f"{num / ours.seconds:,.0f}", f"{share:.2f}", f"{ours.peak_gb:.1f}"]
        if naive:
            cells += [f"{naive.seconds:.3f}", f"{naive.peak_gb:.1f}", f"{naive.seconds / ours.seconds:.2f}"]
            cells.append(f"{read['naive'][part] / num:.2f}")
        cells += [""] * (9 - len(cells))
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Measure on the GPU where there is one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model and short texts, on any machine")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not args.tiny:
        parser.error("there is no GPU here: give --tiny")
    sizes = Sizes(prompt=96, view=16, answer=4, siblings=4) if args.tiny else Sizes()
    found = measure(TINY if args.tiny else FOUR_B, sizes, device)
    rate = matmul_rate(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else hardware()
    found |= {"hardware": name, "commit": commit(), "seed": SEED, "tokens": tokens(sizes), "matmul_per_s": rate}
    tell(found, sizes, rate)
    print(json.dumps(found, default=lambda timing: {"seconds": timing.seconds, "peak_gb": timing.peak_gb}))


if __name__ == "__main__":
    main()
