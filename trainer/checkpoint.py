"""Save and load all that a run needs to go on exactly where it stood: weights, optimizer, random state, data position,
step. A checkpoint is a folder that plain transformers loads, with trainer_state.pt beside the weights. It is written
beside and then renamed, so that a folder under its name is whole.
Leaves out: when to save (loop.py)."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Samples left out so far, by reason."""
    num_used: int = 0
    """Samples used so far."""


def checkpoint_path(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:06d}"


def latest_checkpoint(run: Path) -> Path | None:
    """Return the finished checkpoint of the most steps."""
    found = [path.parent for path in (run / "checkpoints").glob(f"step-*/{STATE}")]
    return max(found, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def save_checkpoint(path: Path, student: Loaded, optimizer: Optimizer, generator: Generator, at: RunPosition) -> None:
    """Write a checkpoint, whole or not at all."""
    state = {
        "step": at.step,
        "position": at.position,
        "skipped": dict(at.skipped),
        "num_used": at.num_used,
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
    }
    with write_whole_folder(path) as partial:
        student.model.save_pretrained(partial)
        student.processor.save_pretrained(partial)
        try:
            torch.save(state, partial / STATE)
        except RuntimeError as error:  # torch's writer says no more of a full disk than that it stopped
            if "unexpected pos" not in str(error) and "write" not in str(error).casefold():
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None


def load_state(path: Path, optimizer: Optimizer, generator: Generator) -> RunPosition:
    """Set optimizer and generator as they were. The weights are loaded as any model's are. Raises CheckpointError."""
    try:
        # Whatever device wrote it: the optimizer moves its part to the weights, the generator's is the CPU's.
        state: dict[str, Any] = torch.load(path / STATE, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        return RunPosition(
            step=state["step"],
            position=state["position"],
            skipped=state.get("skipped", {}),
            num_used=state.get("num_used", 0),
        )
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, TypeError, UnpicklingError) as error:
        # An unpickler's own message advises to trust the file.
        found = f"cannot be read ({'damaged' if isinstance(error, UnpicklingError) else brief(error)})"
        raise CheckpointError(f"{path / STATE}: {found}. Remove {path} to go on from the one before.") from None
