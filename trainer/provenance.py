"""Write run.json: command, view set, seed, hardware, commit, versions and settings of a run, for people and for the
report.
Leaves out: refusing another run in the same folder (loop.py), reading a run folder (report/run_folder.py)."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from trainer.config import RunConfig
from trainer.engine.load import model_folder
from viewgen.files import write_whole
from viewgen.viewset import ViewSet

_MODEL_FILES = frozenset({".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"})
LIBRARIES = ("torch", "transformers", "polars", "duckdb", "vzero-evidence")


def run_facts(
    config: RunConfig,
    contents: Mapping[str, str],
    changes: Sequence[Mapping[str, Any]],
    model: PreTrainedModel,
    command: str,
) -> dict[str, Any]:
    """Return the facts of a run by the names in run.json, but for the minutes that it took.

    `contents`: hashes of view set and models. `changes`: settings that changed since the run began."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "command": command,
        "view_set": str(Path(config.data.view_set).resolve()),
        **contents,
        "changes": list(changes),
        "positive": config.data.positive,
        "negative": config.data.negative,
        "seed": config.loop.seed,
        "num_parameters": sum(num for num, _ in sizes),
        "num_trainable": sum(num for num, trained in sizes if trained),
        "hardware": _hardware(model.device),
        "commit": _commit(),
        "versions": {name: version(name) for name in LIBRARIES},
        "config": asdict(config),
    }


def write_run_json(out: Path, facts: Mapping[str, Any], minutes: float) -> None:
    """Write run.json into the run folder; minutes of 0 are left out."""
    spent = {"minutes": round(minutes, 2)} if minutes else {}
    write_json(out / "run.json", {**facts, **spent})


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with write_whole(path) as partial:
        partial.write_text(json.dumps(facts, indent=1), encoding="utf-8")


def minutes_before(out: Path) -> float:
    """Return the minutes that earlier commands spent on this run."""
    if not (out / "run.json").exists():
        return 0.0
    minutes = json.loads((out / "run.json").read_text(encoding="utf-8")).get("minutes", 0.0)
    return float(minutes)


def contents_of(config: RunConfig, views: ViewSet) -> dict[str, str]:
    """Return what tells the contents of view set and models apart, by the names in run.json."""
    named = {"student": config.model.student, "teacher": config.model.teacher}
    models = {f"{role}_sha256": model_sha256(name) for role, name in named.items() if name}
    return {"view_set_sha256": manifest_sha256(views), **models}


def model_sha256(name: str) -> str:
    """Return the hash of a model's weights, settings, tokenizer and templates, whatever its folder is called; of a hub id
    the revision that is stored here. A file that has not changed in size and time is read once per process."""
    folder = model_folder(name)
    files = sorted(path for path in folder.iterdir() if path.suffix in _MODEL_FILES and path.is_file())
    hashes = [(path.name, _file_sha256(str(path), path.stat().st_size, path.stat().st_mtime_ns)) for path in files]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


@cache
def _file_sha256(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_sha256(views: ViewSet) -> str:
    """Return the hash that tells one build of a view set from another."""
    return hashlib.sha256((views.path / "manifest.json").read_bytes()).hexdigest()


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch on {device}"
    return f"{platform.machine()}, {os.cpu_count()} cores, torch on {torch.get_num_threads()} threads"


def _commit() -> str:
    """Return the commit of the checkout that this file lies in; empty outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
