"""Whether a run folder holds this run."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from trainer.config import LoopConfig, RunConfig
from trainer.engine.load import ModelConfig
from trainer.errors import CheckpointError
from trainer.gate import GateConfig
from trainer.resume import facts_before, refuse_other_run

CONFIG = RunConfig(loop=LoopConfig(steps=10))
CONTENTS = {"view_set_sha256": "v", "student_sha256": "s"}
FACTS = {"config": json.loads(json.dumps(asdict(CONFIG))), **CONTENTS}
OUT = Path("run")


def test_the_same_run_changes_nothing() -> None:
    assert refuse_other_run(CONFIG, FACTS, CONTENTS, OUT, 5) == []


def test_a_setting_that_was_not_there_when_the_run_began_had_its_default() -> None:
    config = json.loads(json.dumps(asdict(CONFIG)))
    del config["data"]["where"], config["data"]["allow_eval_data"]
    facts = {**FACTS, "config": config}
    assert refuse_other_run(CONFIG, facts, CONTENTS, OUT, 5) == []
    chosen = replace(CONFIG, data=replace(CONFIG.data, where="split = 'train'"))
    with pytest.raises(CheckpointError, match=r"data\.where = '', now it is "):
        refuse_other_run(chosen, facts, CONTENTS, OUT, 5)


@pytest.mark.fault(22)
def test_more_steps_and_other_hardware_are_recorded_with_their_step() -> None:
    loop = LoopConfig(steps=20, micro_batch=4)
    assert refuse_other_run(replace(CONFIG, loop=loop), FACTS, CONTENTS, OUT, 5) == [
        {"setting": "loop.steps", "was": 10, "now": 20, "from_step": 6},
        {"setting": "loop.micro_batch", "was": 0, "now": 4, "from_step": 6},
    ]
    fewer = replace(CONFIG, loop=LoopConfig(steps=5))
    assert len(refuse_other_run(fewer, FACTS, CONTENTS, OUT, 5)) == 1
    with pytest.raises(CheckpointError, match=r"loop\.steps = 10, now it is 4"):
        refuse_other_run(replace(CONFIG, loop=LoopConfig(steps=4)), FACTS, CONTENTS, OUT, 5)


@pytest.mark.fault(22)
@pytest.mark.parametrize("changed", [{"gate": GateConfig(alpha=0.5)}, {"model": ModelConfig(dtype="bfloat16")}])
def test_what_shapes_the_weights_is_another_run(changed: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=r"run: holds a run with .* now it is .*\. Name another folder\."):
        refuse_other_run(replace(CONFIG, **changed), FACTS, CONTENTS, OUT, 5)  # type: ignore[arg-type]


@pytest.mark.fault(22)
def test_folders_are_told_by_their_contents() -> None:
    moved = replace(CONFIG, data=replace(CONFIG.data, view_set="elsewhere"), model=ModelConfig(student="a/b"))
    assert refuse_other_run(moved, FACTS, CONTENTS, OUT, 5) == []
    for name, what in (("view_set_sha256", "view set"), ("student_sha256", "student")):
        with pytest.raises(CheckpointError, match=f"run: the {what} holds something else than when this run began"):
            refuse_other_run(CONFIG, FACTS, CONTENTS | {name: "x"}, OUT, 5)
    with pytest.raises(CheckpointError, match=r"model\.teacher = \'\', now it is \'c/d\'"):
        refuse_other_run(replace(CONFIG, model=replace(CONFIG.model, teacher="c/d")), FACTS, CONTENTS, OUT, 5)


@pytest.mark.fault(26)
def test_an_empty_folder_holds_no_run_and_another_s_folder_is_refused(tmp_path: Path) -> None:
    assert facts_before(tmp_path / "new") is None
    assert facts_before(tmp_path) is None
    for name in ("run.json.part", "run.json.partial", ".lock"):
        (tmp_path / name).write_text("{")
    assert facts_before(tmp_path) is None
    for text in ("{", "[]", "{}", '{"config": 1, "view_set_sha256": "v"}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"holds files but no readable run\.json"):
            facts_before(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(FACTS))
    assert facts_before(tmp_path) == FACTS
    with pytest.raises(CheckpointError, match=r"run\.json: is a file"):
        facts_before(tmp_path / "run.json")
