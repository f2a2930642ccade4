"""Put the settings of a run together: one run file is one RunConfig.
Leaves out: the settings themselves, which stand with the part that they configure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict

from trainer.batches import DataConfig
from trainer.engine.load import ModelConfig
from trainer.engine.prompts import PromptConfig
from trainer.errors import DataError
from trainer.evaluation.evaluate import EvalConfig
from trainer.gate import GateConfig
from trainer.loss import LossConfig
from trainer.optimizer import OptimizerConfig
from trainer.rollouts import RolloutConfig
from trainer.step import StepConfig
from viewgen.settings import STRICT, Range, SettingValueError, check_ranges, local_path, read_toml, settings_from


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Length of a run, and the outputs that it keeps on the way."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    steps: Annotated[int, Range(ge=1)] = 60
    """Optimizer steps; the paper's best was 60."""
    save_every: Annotated[int, Range(ge=0, unit="steps")] = 20
    """Steps between checkpoints; the last step is always saved. 0: the last alone."""
    keep_rollouts_every: Annotated[int, Range(ge=0, unit="steps")] = 1
    """Steps between kept rollouts; 0 keeps none."""
    micro_batch: Annotated[int, Range(ge=0, unit="rollouts")] = 0
    """Rollouts in one forward and backward pass; 0 takes all at once. Changes memory, never the gradient."""
    seed: Annotated[int, Range(ge=0, lt=2**63)] = 0
    """Seed of data order and sampling."""

    def __post_init__(self) -> None:
        check_ranges(self)


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
            remedy = "Evaluate on questions that training does not use."
            raise SettingValueError("eval.split", self.eval.split, "another split than data.split", remedy)

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
        config.model, student=local_path(config.model.student, here), teacher=local_path(config.model.teacher, here)
    )
    view_set = str((here / config.data.view_set).resolve())
    return replace(config, data=replace(config.data, view_set=view_set), model=model)
