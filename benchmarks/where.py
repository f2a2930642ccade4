"""On what a figure was measured: the commit, the machine.
Leaves out: the figures."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commit() -> str:
    """Return the checked-out commit, "with changes" when files of the packages, benchmarks or recipes differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "viewgen", "trainer", "benchmarks", "datasets")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def hardware() -> str:
    """Cores, processor, and how busy the machine is with other work."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{os.cpu_count()} cores of {model}, load {os.getloadavg()[0]:.1f}"
