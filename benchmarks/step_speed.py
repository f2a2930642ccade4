"""What a training step costs when every prompt is computed once, beside computing it again for every sibling.

Run:      python -m benchmarks.step_speed --plot docs/step_speed.svg    (--quick: fewer sizes; --no-trl: without the peer)
Expected: about 7 minutes on two idle cores; a table, and as its last line one JSON object.
The peer is TRL's DistillationTrainer (`pip install -e .[bench]`); without it that part is left out, and said so.

All in one run: contenders take turns, and the median of each counts. step_world.py says what is computed, and how,
step_peer.py on what terms the peer runs. No answer ends early. The whole step is ours as it is trained: images processed,
prompts written, answers sampled, both views scored, exact reverse KL, backward.
Memory is what a fresh process grows by in one update: its peak (VmHWM, Linux) less what it held just before (VmRSS).

Q questions   G siblings   P prompt tokens   C view tokens   T answer tokens"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from benchmarks.step_peer import peer_version, race_peer
from benchmarks.step_plot import draw_plot
from benchmarks.step_world import (
    ANSWER,
    GRIDS,
    SEED,
    World,
    agreement,
    make_model,
    make_processor,
    make_world,
    naive_prefill,
    naive_scoring,
    naive_update,
    ours_prefill,
    ours_update,
    random_rollouts,
)
from benchmarks.where import ROOT, commit, hardware
from trainer.batches import Batch
from trainer.engine.families import disable_sharing
from trainer.engine.load import Loaded
from trainer.engine.models import Student
from trainer.gate import GateConfig
from trainer.loss import LossConfig
from trainer.rollouts import RolloutConfig
from trainer.step import StepConfig, distill_step

SIBLINGS, QUESTIONS, PROMPT_TOKENS = 8, 4, 600
MICRO_BATCH = 4
"""Rollouts in one pass while memory is measured."""
NUM_SIBLINGS = (1, 2, 4, 8, 16)
TARGETS = {"update": 4.0, "scoring": 5.0, "prefill": 4.0, "step over TRL": 3.0}
Contender = Callable[[], object]


def race(contenders: Mapping[str, Contender], repetitions: int) -> dict[str, float]:
    """Median seconds of each; they take turns, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repetitions + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def update_and_scoring(world: World, batch: Batch, num_siblings: int) -> dict[str, Contender]:
    rollouts = random_rollouts(len(batch.student), num_siblings)
    return {
        "update ours": lambda: ours_update(world, batch, rollouts),
        "update naive": lambda: naive_update(world, batch, rollouts),
        "scoring ours": lambda: world.teacher.score(rollouts, batch.positive, batch.negative),
        "scoring naive": lambda: naive_scoring(world, batch, rollouts),
    }


def bounds(batch: Batch, num_siblings: int) -> dict[str, int]:
    """Tokens that the language model reads for a question: what the seconds would follow if tokens were all."""
    prompt = len(batch.student[0].ids)
    view, answers = len(batch.positive[0].ids) - prompt, num_siblings * ANSWER
    return {
        "update ours": prompt + answers,
        "update naive": num_siblings * prompt + answers,
        "scoring ours": prompt + 2 * view + 2 * answers,
        "scoring naive": 2 * (num_siblings * (prompt + view) + answers),
        "prefill ours": prompt,
        "prefill naive": num_siblings * prompt,
    }


def parts(world: World, repetitions: int) -> dict[str, Any]:
    """Update, scoring and prefill of one batch, ours and naive."""
    batch = world.batch()
    apart = copy.deepcopy(world.student.model)
    disable_sharing(apart)
    switched, rollouts = Student(Loaded(apart, None, "apart"), train_vision=False), random_rollouts(QUESTIONS, SIBLINGS)
    contenders = update_and_scoring(world, batch, SIBLINGS) | {
        "update switched off": lambda: ours_update(replace(world, student=switched), batch, rollouts),
        "prefill ours": lambda: ours_prefill(world, batch, SIBLINGS),
        "prefill naive": lambda: naive_prefill(world, batch, SIBLINGS),
    }
    differ = agreement(world, batch, rollouts)
    tokens = {"P": len(batch.student[0].ids), "T": ANSWER, **bounds(batch, SIBLINGS)}
    return {"seconds": race(contenders, repetitions), "tokens": tokens, "ours less naive": differ}


def sweep(world_of: Callable[[int, int], World], sizes: Sequence[tuple[int, int]], repetitions: int) -> list[Any]:
    """One question's update and scoring at several (P, G)."""
    found = []
    for prompt_tokens, num_siblings in sizes:
        world = world_of(1, prompt_tokens)
        batch = world.batch()
        seconds = race(update_and_scoring(world, batch, num_siblings), repetitions)
        prompt = len(batch.student[0].ids)
        found.append({"P": prompt, "G": num_siblings, "seconds": seconds, "tokens": bounds(batch, num_siblings)})
        world.student.model.zero_grad()
    return found


def our_step(world: World, generator: Generator) -> Callable[[], float]:
    """Seconds of one whole step, from images to gradient."""
    rollout = RolloutConfig(num_siblings=SIBLINGS, max_new_tokens=ANSWER)
    config = StepConfig(rollout=rollout, gate=GateConfig(), loss=LossConfig(divergence="exact"))

    def run() -> float:
        began = time.perf_counter()
        done = distill_step(world.student, world.teacher, world.batch(), config, generator)
        seconds = time.perf_counter() - began
        assert done.rollouts.response_BT.all(), "an answer ended early"
        world.student.model.zero_grad()
        return seconds

    return run


def whole_step(world: World, repetitions: int) -> dict[str, Any]:
    """Ours and the peer's in turn, the peer's batch whole and in parts of one question's siblings."""
    ours_s: list[float] = []
    peer_s: dict[str, float] = {}
    for accumulate in (1, QUESTIONS):
        ours = our_step(world, Generator().manual_seed(SEED))
        turns = race_peer(world, SIBLINGS, repetitions + 1, ours, accumulate)
        ours_s += turns.ours_s[1:]
        peer_s[f"batch in {accumulate}"] = statistics.median(turns.peer_s[1:])
    num_tokens = QUESTIONS * SIBLINGS * ANSWER
    return {"ours": statistics.median(ours_s), "peer": peer_s, "completion tokens": num_tokens}


def peak_mb(way: str, num_siblings: int) -> float:
    """Growth of a fresh process in one update, MB."""
    command = [sys.executable, "-m", "benchmarks.step_speed", "--peak-of", way, str(num_siblings)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return float(told.split()[-1])


def measure_peak(way: str, num_siblings: int) -> float:
    """Measure this process's own growth in one update, MB."""
    model, processor = make_model(), make_processor()
    warm = make_world(model, processor, 1, min(GRIDS))
    ours_update(warm, warm.batch(), random_rollouts(1, 1))
    world = make_world(model, processor, QUESTIONS, PROMPT_TOKENS)
    batch, rollouts = world.batch(), random_rollouts(QUESTIONS, num_siblings)
    world.student.image_features(batch.student)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    held = resident_mb("VmRSS")
    if way == "ours":
        ours_update(world, batch, rollouts, MICRO_BATCH)
    else:
        naive_update(world, batch, rollouts)
    return resident_mb("VmHWM") - held


def resident_mb(which: str) -> float:
    """Resident memory of this process: VmRSS now, VmHWM at most. ru_maxrss would count the parent's with it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) * 1024 / 1e6


def ratios(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratios that have targets."""
    seconds = found["parts"]["seconds"]
    named = {what: seconds[f"{what} naive"] / seconds[f"{what} ours"] for what in ("update", "scoring", "prefill")}
    if found["step"]:
        named["step over TRL"] = min(found["step"]["peer"].values()) / found["step"]["ours"]
    named["memory G = 16 over 4"] = found["peak MB"]["ours 16"] / found["peak MB"]["ours 4"]
    return {name: round(ratio, 3) for name, ratio in named.items()}


def tell(found: Mapping[str, Any]) -> None:
    """Print the table."""
    parts, step, peak = found["parts"], found["step"], found["peak MB"]
    tokens, seconds = parts["tokens"], parts["seconds"]
    print(f"{found['hardware']}, {found['threads']} threads, torch {torch.__version__}")
    print(f"commit {found['commit']}, seed {SEED}")
    print(f"{found['parameters']:,} parameters; P = {tokens['P']}, T = {ANSWER}, G = {SIBLINGS}, {QUESTIONS} questions")
    apart = parts["ours less naive"]
    print(f"ours less naive: {apart['nats']:.1e} nats, gradient {apart['gradient']:.1e} of its length\n")
    print("| part | ours, s | naive, s | ratio | of tokens | target |\n|---|---|---|---|---|---|")
    for what in ("update", "scoring", "prefill"):
        ours, naive = seconds[f"{what} ours"], seconds[f"{what} naive"]
        bound = tokens[f"{what} naive"] / tokens[f"{what} ours"]
        print(f"| {what} | {ours:.3f} | {naive:.3f} | {naive / ours:.2f} | {bound:.2f} | {TARGETS[what]:g} |")
    off = seconds["update switched off"]
    print(f"update with share_prompts = false: {off:.3f} s, {off / seconds['update ours']:.2f} times ours")
    if step:
        best = min(step["peer"], key=step["peer"].get)
        ours, peer, num = step["ours"], step["peer"][best], step["completion tokens"]
        print(f"\nWhole step, TRL {found['peer']} ({best}), {num} completion tokens:")
        print(f"ours {ours:.3f} s ({1e3 * ours / num:.2f} ms a token, two views), ", end="")
        print(f"TRL {peer:.3f} s ({1e3 * peer / num:.2f} ms a token, one view): {peer / ours:.2f} (target 3)")
        print("  " + ", ".join(f"TRL, {name}: {s:.3f} s" for name, s in step["peer"].items()))
    print(f"\nPeak of an update, MB, micro-batches of {MICRO_BATCH}: ours {peak['ours 4']:.0f} at G = 4, ", end="")
    print(f"{peak['ours 16']:.0f} at G = 16 (ratio {peak['ours 16'] / peak['ours 4']:.2f}, target 1.2); ", end="")
    print(f"naive, G rows at once: {peak['naive 4']:.0f} and {peak['naive 16']:.0f}\n")
    tell_sweep(found["sweep"])


def tell_sweep(sweep: Sequence[Mapping[str, Any]]) -> None:
    """One row for each size: seconds, and how the gain compares with the gain in tokens."""
    head = "| P | G | update ours, s | naive, s | ratio | of tokens | scoring ours, s | naive, s | ratio | of tokens |"
    print(head + "\n|" + "---|" * 10)
    for row in sweep:
        cells = [str(row["P"]), str(row["G"])]
        for what in ("update", "scoring"):
            ours, naive = row["seconds"][f"{what} ours"], row["seconds"][f"{what} naive"]
            gain = row["tokens"][f"{what} naive"] / row["tokens"][f"{what} ours"]
            cells += [f"{ours:.3f}", f"{naive:.3f}", f"{naive / ours:.2f}", f"{gain:.2f}"]
        print("| " + " | ".join(cells) + " |")
    for what in ("update", "scoring"):
        low, high = against_tokens(sweep, what)
        print(f"{what}: gain over naive, as a share of the gain in tokens: {low:.2f} to {high:.2f}")


def against_tokens(sweep: Sequence[Mapping[str, Any]], what: str) -> tuple[float, float]:
    """Least and largest of: seconds saved over naive, divided by tokens saved, each as a ratio."""
    ours, naive = f"{what} ours", f"{what} naive"
    found = [row["seconds"][naive] / row["seconds"][ours] * row["tokens"][ours] / row["tokens"][naive] for row in sweep]
    return min(found), max(found)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything, in one run."""
    model, processor = make_model(), make_processor()
    repetitions = 1 if args.quick else 3

    def world_of(num_questions: int, prompt_tokens: int) -> World:
        return make_world(model, processor, num_questions, prompt_tokens)

    world = world_of(QUESTIONS, PROMPT_TOKENS)
    sizes = [(PROMPT_TOKENS, num) for num in NUM_SIBLINGS] + [(p, SIBLINGS) for p in GRIDS if p != PROMPT_TOKENS]
    peer = None if args.no_trl else peer_version()
    if peer is None:
        why = "--no-trl" if args.no_trl else "TRL is not installed; pip install -e .[bench] brings it"
        print(f"The whole step beside TRL is left out: {why}.")
    found: dict[str, Any] = {
        "commit": commit(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "seed": SEED,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "peer": peer,
        "parts": parts(world, repetitions),
        "step": whole_step(world, repetitions) if peer else None,
        "peak MB": {f"{way} {num}": peak_mb(way, num) for way in ("ours", "naive") for num in (4, 16)},
        "sweep": sweep(world_of, sizes[1:4] if args.quick else sizes, 1 if args.quick else 5),
    }
    return {**found, "ratios": ratios(found)}


def main() -> None:
    """Measure, or do one part for a parent process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one repetition, three sizes")
    parser.add_argument("--no-trl", action="store_true", help="leave the peer out")
    parser.add_argument("--plot", type=Path, help="SVG file to draw cost and gain in")
    parser.add_argument("--threads", type=int, default=2, help="of torch, for all contenders")
    parser.add_argument("--peak-of", nargs=2, metavar=("WAY", "G"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", FutureWarning)
    if args.peak_of:
        print(measure_peak(args.peak_of[0], int(args.peak_of[1])))
        return
    found = measure(args)
    tell(found)
    if args.plot:
        args.plot.write_text(draw_plot(found["sweep"], SIBLINGS), encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
