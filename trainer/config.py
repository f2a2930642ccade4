"""Put the settings of a run together: one run file is one RunConfig.
Leaves out: the settings themselves, which stand with the part that they configure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from trainer.batches import DataConfig
from trainer.engine.load import EMBEDDED, ModelConfig
from trainer.engine.prompts import PromptConfig
from trainer.errors import DataError
from trainer.evaluation.evaluate import EvalConfig
from trainer.gate import GateConfig
from trainer.loss import LossConfig
from trainer.optimizer import OptimizerConfig
from trainer.rollouts import RolloutConfig
from trainer.step import StepConfig
from viewgen.settings import STRICT, read_toml, settings_from


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Length of a run, and the outputs that it keeps on the way."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    steps: int = 60
    """Optimizer steps; the paper's best was 60."""
    save_every: int = 20
    """Steps between checkpoints; the last step is always saved. 0: the last alone."""
    keep_rollouts_every: int = 1
    """Steps between kept rollouts; 0 keeps none."""
    micro_batch: int = 0
    """Rollouts in one forward and backward pass; 0 takes all at once. Changes memory, never the gradient."""
    seed: int = 0
    """Seed of data order and sampling."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; give a whole number >= 1")
        for name in ("save_every", "keep_rollouts_every", "micro_batch"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number >= 0")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}; give a whole number from 0 to below 2**63")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Every setting of a run, one table each."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    prompt: PromptConfig = PromptConfig()
    rollout: RolloutConfig = RolloutConfig()
    gate: GateConfig = GateConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loop: LoopConfig = LoopConfig()
    eval: EvalConfig = EvalConfig()

    def __post_init__(self) -> None:
        if self.eval.split and self.eval.split == self.data.split:
            split = self.data.split
            raise ValueError(
                f"data.split and eval.split are both {split!r}: evaluate on questions that are not trained on"
            )

    @property
    def step(self) -> StepConfig:
        return StepConfig(rollout=self.rollout, gate=self.gate, loss=self.loss, micro_batch=self.loop.micro_batch)


def read_run(path: Path) -> RunConfig:
    """Read the settings of a run file, with its folders relative to the file. Raises SettingsError, DataError."""
    config = settings_from(read_toml(path), RunConfig, path)
    if not config.data.view_set:
        raise DataError(f"{path}: setting 'data.view_set' is missing. Name the folder that `viewgen build` wrote.")
    here = path.parent
    model = replace(
        config.model, student=_found(here, config.model.student), teacher=_found(here, config.model.teacher)
    )
    view_set = str((here / config.data.view_set).resolve())
    return replace(config, data=replace(config.data, view_set=view_set), model=model)


def _found(here: Path, name: str) -> str:
    """Return a model's folder relative to the run file where there is one, else the name: a hub id or an embedded
    model."""
    if not name or name.startswith(EMBEDDED):
        return name
    return str((here / name).resolve()) if (here / name).is_dir() or name.startswith((".", "/")) else name
