"""Checkpoints: all that a run needs to go on, whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Generator

from trainer.checkpoint import STATE, RunPosition, checkpoint_path, latest_checkpoint, load_state, save_checkpoint
from trainer.engine.load import Loaded, ModelConfig, load
from trainer.errors import CheckpointError
from trainer.optimizer import OptimizerConfig, TwinAdamW


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load("embedded:drawn-vlm", ModelConfig(), "model.student")


def stepped(loaded: Loaded) -> TwinAdamW:
    optimizer = TwinAdamW([*loaded.model.parameters()][:2], OptimizerConfig(lr=1e-3, lr_end=1e-3))
    for weight in optimizer.weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    return optimizer


def test_optimizer_random_state_and_position_come_back(loaded: Loaded, tmp_path: Path) -> None:
    optimizer, generator = stepped(loaded), Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    path = checkpoint_path(tmp_path, 7)
    save_checkpoint(path, loaded, optimizer, generator, RunPosition(step=7, position=9))
    expected = torch.rand(3, generator=generator)
    fresh, other = stepped(loaded), Generator()
    for state in fresh.state.values():
        state["exp_avg"].zero_()
    assert load_state(path, fresh, other) == RunPosition(step=7, position=9)
    assert torch.equal(torch.rand(3, generator=other), expected)
    for mine, its in zip(fresh.state.values(), optimizer.state.values(), strict=True):
        assert torch.equal(mine["exp_avg"], its["exp_avg"])


def test_the_latest_is_that_of_the_most_steps_and_a_half_written_one_is_none(loaded: Loaded, tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for step in (2, 10):
        at = RunPosition(step=step, position=0)
        save_checkpoint(checkpoint_path(tmp_path, step), loaded, stepped(loaded), Generator(), at)
    half = tmp_path / "checkpoints" / ".step-000020.partial"
    half.mkdir()
    (half / STATE).write_bytes(b"")
    assert latest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 10)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_damaged_state_is_one_line_without_a_library_s_advice(loaded: Loaded, tmp_path: Path, damage: bytes) -> None:
    path = checkpoint_path(tmp_path, 1)
    save_checkpoint(path, loaded, stepped(loaded), Generator(), RunPosition(step=1, position=0))
    (path / STATE).write_bytes(damage)
    with pytest.raises(CheckpointError) as refusal:
        load_state(path, stepped(loaded), Generator())
    said = str(refusal.value)
    assert said.startswith(f"{path / STATE}: ")
    assert "weights_only" not in said
    assert "\n" not in said
    assert said.endswith("to go on from the one before.")


class Trap:
    """An object that runs a program when it is unpickled."""

    def __init__(self, told: Path) -> None:
        self.told = told

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.told,)


def test_a_state_is_never_unpickled(loaded: Loaded, tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 1)
    save_checkpoint(path, loaded, stepped(loaded), Generator(), RunPosition(step=1, position=0))
    torch.save({"step": Trap(tmp_path / "ran")}, path / STATE)
    with pytest.raises(CheckpointError, match=r"cannot be read \(damaged\)"):
        load_state(path, stepped(loaded), Generator())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("said", "is_disk"),
    [
        ("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0", True),
        ("PytorchStreamWriter failed WRITING file data/0: file write failed", True),
        ("a tensor is broken", False),
    ],
)
def test_a_full_disk_is_told_from_a_fault_of_ours(
    said: str, is_disk: bool, loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "save", fails)
    path, at = checkpoint_path(tmp_path, 1), RunPosition(step=1, position=0)
    with pytest.raises(OSError if is_disk else RuntimeError) as error:
        save_checkpoint(path, loaded, stepped(loaded), Generator(), at)
    if is_disk:
        assert isinstance(error.value, OSError)
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert latest_checkpoint(tmp_path) is None


def test_a_state_of_before_samples_were_counted_is_gone_on_with(loaded: Loaded, tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 1)
    save_checkpoint(path, loaded, stepped(loaded), Generator(), RunPosition(step=1, position=2, num_used=5))
    state = torch.load(path / STATE)
    torch.save({name: value for name, value in state.items() if name not in {"skipped", "num_used"}}, path / STATE)
    assert load_state(path, stepped(loaded), Generator()) == RunPosition(step=1, position=2)
