"""Save and load all that a run needs to go on exactly where it stood: weights, optimizer, random state, data position,
step. A checkpoint is a folder that plain transformers loads, with trainer_state.pt beside the weights. It is written
beside and then renamed, so that a folder under its name is whole.
Leaves out: when to save (loop.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Generator
from torch.optim import Optimizer

from trainer.engine.load import Loaded
from trainer.errors import CheckpointError
from viewgen.errors import brief
from viewgen.files import write_whole_folder

STATE = "trainer_state.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPosition:
    """Position of a run."""

    step: int
    """Optimizer steps done."""
    position: int
    """Position of the data stream."""


def checkpoint_path(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:06d}"


def latest_checkpoint(run: Path) -> Path | None:
    """Return the finished checkpoint of the most steps."""
    found = sorted(path.parent for path in (run / "checkpoints").glob(f"step-*/{STATE}"))
    return found[-1] if found else None


def save_checkpoint(path: Path, student: Loaded, optimizer: Optimizer, generator: Generator, at: RunPosition) -> None:
    """Write a checkpoint, whole or not at all."""
    state = {
        "step": at.step,
        "position": at.position,
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
    }
    with write_whole_folder(path) as partial:
        student.model.save_pretrained(partial)
        student.processor.save_pretrained(partial)
        torch.save(state, partial / STATE)


def load_state(path: Path, optimizer: Optimizer, generator: Generator) -> RunPosition:
    """Set optimizer and generator as they were. The weights are loaded as any model's are. Raises CheckpointError."""
    try:
        # Whatever device wrote it: the optimizer moves its part to the weights, the generator's is the CPU's.
        state: dict[str, Any] = torch.load(path / STATE, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        return RunPosition(step=state["step"], position=state["position"])
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, TypeError, UnpicklingError) as error:
        # An unpickler's own message advises to trust the file.
        found = f"cannot be read ({'damaged' if isinstance(error, UnpicklingError) else brief(error)})"
        raise CheckpointError(f"{path / STATE}: {found}. Remove {path} to go on from the one before.") from None
