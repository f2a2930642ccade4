"""Tell whether a run folder holds this run: what must be equal is compared by content, what may differ is recorded.
Leaves out: loading checkpoints (checkpoint.py), writing run.json (provenance.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.config import RunConfig
from trainer.errors import CheckpointError
from viewgen.files import PARTIAL
from viewgen.locks import LOCK

FREE = frozenset(
    {
        *("model.device", "model.checkpoint_prefix", "model.share_prompts", "loop.micro_batch"),
        *("loop.save_every", "loop.keep_rollouts_every", "eval.images_per_batch"),
    }
)
"""Settings of hardware and of saving: another value makes no other run."""
BY_CONTENT = frozenset({"data.view_set", "model.student", "model.teacher"})
"""Settings that name a folder: its contents are compared, so that it may be moved."""

Facts = Mapping[str, Any]


def facts_before(out: Path) -> Facts | None:
    """Return run.json of a run that was begun at `out`; None for a folder that is empty but for halves of files.

    Raises CheckpointError for a file, and for a folder of something else."""
    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out}: is a file. Name a folder.")
    if not out.exists() or not any(_counts(path) for path in out.iterdir()):
        return None
    try:
        facts = json.loads((out / "run.json").read_text(encoding="utf-8"))
        assert isinstance(facts["config"], dict)
        assert isinstance(facts["view_set_sha256"], str)
    except (OSError, ValueError, KeyError, TypeError, AssertionError):
        raise CheckpointError(f"{out}: holds files but no readable run.json. Name an empty or new folder.") from None
    return dict(facts)


def _counts(path: Path) -> bool:
    return path.name != LOCK and not path.name.endswith((PARTIAL, ".part"))


def refuse_other_run(config: RunConfig, saved: Facts, contents: Mapping[str, str], out: Path, step: int) -> list[Facts]:
    """Return the changes of settings that are no other run, for run.json: setting, was, now, and the step from which on.

    `contents`: hashes of the view set and the models, by the names in run.json. Raises CheckpointError for anything that
    would mix two runs, by name."""
    mine = json.loads(json.dumps(asdict(config)))
    theirs, usual = saved["config"], json.loads(json.dumps(asdict(RunConfig())))
    changes: list[Facts] = []
    for table, settings in mine.items():
        for key, now in settings.items():
            # A run that was begun before a setting was there did what the setting's default does.
            name, was = f"{table}.{key}", theirs.get(table, {}).get(key, usual[table][key] if table in theirs else None)
            if was == now or (name in BY_CONTENT and not _appeared(name, was, now)):
                continue
            if name in FREE or (name == "loop.steps" and isinstance(was, int) and now >= step and table in theirs):
                changes.append({"setting": name, "was": was, "now": now, "from_step": step + 1})
                continue
            found = f"holds a run with {name} = {was!r}, now it is {now!r}"
            raise CheckpointError(f"{out}: {found}. Name another folder.")
    for name, now in contents.items():
        if saved.get(name, now) != now:
            what = name.removesuffix("_sha256").replace("_", " ")
            raise CheckpointError(
                f"{out}: the {what} holds something else than when this run began. Name another folder."
            )
    return changes


def _appeared(name: str, was: object, now: object) -> bool:
    """Return True for a teacher that is named now and was not before, or the other way round."""
    return name == "model.teacher" and bool(was) != bool(now)
