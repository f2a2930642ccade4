"""Gated on-policy distillation without answer labels: view sets in, a student that sees better out.

    from trainer import read_run, train
    summary = train(read_run(Path("my-run.toml")), Path("my-run"), command="")

Names are imported when they are first used, so that `import trainer` loads no library. Everything else may change."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.config import RunConfig, read_run
    from trainer.errors import TrainerError
    from trainer.evaluation.scorers import scorer_named
    from trainer.gate import Gate, GateConfig, gate_rollouts
    from trainer.loop import train
    from trainer.loss import LossConfig, distill_loss
    from trainer.rollouts import Rollouts
    from trainer.step import distill_step

__version__ = "0.1.0"
__all__ = [
    "Gate",
    "GateConfig",
    "LossConfig",
    "Rollouts",
    "RunConfig",
    "TrainerError",
    "distill_loss",
    "distill_step",
    "gate_rollouts",
    "read_run",
    "scorer_named",
    "train",
]
_HOMES = {
    "Gate": "gate",
    "GateConfig": "gate",
    "LossConfig": "loss",
    "Rollouts": "rollouts",
    "RunConfig": "config",
    "TrainerError": "errors",
    "distill_loss": "loss",
    "distill_step": "step",
    "gate_rollouts": "gate",
    "read_run": "config",
    "scorer_named": "evaluation.scorers",
    "train": "loop",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
