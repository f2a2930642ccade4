"""Show that nothing changed: run the demo with the code of another commit and with this working tree, and compare
every part of the view set, the trained weights, the metrics and the summary of the evaluation.

    python tools/same_as.py COMMIT                    about 12 minutes on two cores; 6 when COMMIT's outputs are kept
    python tools/same_as.py COMMIT --quick            a few scenes and steps, about a minute
    python tools/same_as.py COMMIT --keep FOLDER      leave the outputs there, and use those of COMMIT again

Exits with 1 when something differs. Of the code of COMMIT only its command lines are used, so its files may lie
elsewhere. Recipe and run file are each taken from their own tree, and copied, so that no checkout is written to.
Numbers in seconds are not compared. Weights depend on the number of threads: use kept outputs under the same
OMP_NUM_THREADS. Leaves out: why something differs. The last line is JSON."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("images", "questions", "views", "rejects")
QUICK_SCENES = ("--train", "12", "--selection", "1", "--test", "6")
QUICK_SETTINGS = {"steps": "4", "save_every": "2"}
"""Of the run file. Few scenes make few questions for the evaluation."""
PROGRAM = """
import sys
import {package}
from {package}.cli import main
assert {package}.__file__.startswith({tree!r}), f"{{ {package}.__file__ }} is not the code of " + {tree!r}
sys.argv[0] = {package!r}
sys.exit(main())
"""
DONE = "done"
"""File that says that a folder of outputs is whole."""


def main() -> int:
    """Compare, print a table and one JSON object, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exit removes the worktree, a bare SIGTERM would not
    commit = git(ROOT, "rev-parse", "--verify", "--short=12", f"{options.commit}^{{commit}}")
    found = hashes(ROOT, commit, options.keep, options.quick)
    print(table(found))
    differing = [what for what, (before, now) in found.items() if before != now]
    size = size_of(options.quick)
    print(json.dumps({"commit": commit, "size": size, "compared": len(found), "differing": differing}))
    return 1 if differing else 0


def hashes(root: Path, commit: str, keep: Path | None, quick: bool) -> dict[str, tuple[str, str]]:
    """Run the demo with the code of a commit and of the working tree; return both hashes of each output."""
    with tempfile.TemporaryDirectory() as temporary, worktree(root, commit, Path(temporary)) as old:
        kept = keep or Path(temporary)
        before = outputs(old, kept / f"{commit}-{size_of(quick)}", quick, again=False)
        now = outputs(root, kept / f"now-{size_of(quick)}", quick, again=True)
        return compare(digests(before), digests(now))


def size_of(quick: bool) -> str:
    """Return the word for the size of the demo; it names the folders that are kept."""
    return "quick" if quick else "whole"


@contextmanager
def worktree(root: Path, commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out into a folder of its own; yield the folder and remove it at the end."""
    place = folder / "tree"
    git(root, "worktree", "add", "--quiet", "--detach", str(place), commit)
    try:
        yield place
    finally:
        git(root, "worktree", "remove", "--force", str(place))


def git(root: Path, *arguments: str) -> str:
    """Return the output of one git command in a repository; stop when it fails."""
    done = subprocess.run(["git", "-C", str(root), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{root}: `git {' '.join(arguments)}` failed: {done.stderr.strip()}. Name a commit of this repository."
        )
    return done.stdout.strip()


def outputs(tree: Path, folder: Path, quick: bool, *, again: bool) -> Path:
    """Run the demo's commands with the code of a tree, into a folder; kept outputs are used unless `again`."""
    if (folder / DONE).exists() and not again:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("datasets", "runs"):
        (folder / name).mkdir(parents=True)
        text = (tree / name / "demo.toml").read_text(encoding="utf-8")
        text = with_settings(text, QUICK_SETTINGS) if quick and name == "runs" else text
        (folder / name / "demo.toml").write_text(text, encoding="utf-8")
    scenes = QUICK_SCENES if quick else ()
    run(tree, folder, "viewgen", "demo", "--out", "build/demo/scenes", *scenes)
    run(tree, folder, "viewgen", "build", "datasets/demo.toml", "--out", "build/demo/views")
    run(tree, folder, "trainer", "run", "runs/demo.toml", "--out", "build/demo/run")
    (folder / DONE).touch()
    return folder


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return the text of a TOML file with other values for settings that stand in it once."""
    for name, value in settings.items():
        text, num = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
        if num != 1:
            raise SystemExit(f"runs/demo.toml: `{name} = ` stands there {num} times; --quick needs it once.")
    return text


def run(tree: Path, folder: Path, package: str, *arguments: str) -> None:
    """Run one command with the code of the tree, in the folder; stop when it fails or other code is loaded."""
    program = PROGRAM.format(package=package, tree=f"{tree}{os.sep}")
    environment = {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}
    command = f"{package} {' '.join(arguments)}"
    print(f"{tree.name}: {command}", file=sys.stderr)
    called = [sys.executable, "-c", program, *arguments]
    if code := subprocess.run(called, cwd=folder, env=environment, check=False).returncode:
        raise SystemExit(
            f"{tree}: `{command}` ended with exit code {code}; nothing was compared. See its output above."
        )


def digests(folder: Path) -> dict[str, str]:
    """Return the hash of everything that must be equal, by name."""
    views, training = folder / "build/demo/views", folder / "build/demo/run"
    files = [path for name in TABLES for path in sorted((views / name).glob("*.parquet"))]
    files += [max(training.glob("checkpoints/*/model.safetensors")), training / "evals" / "summary.json"]
    found = {path.relative_to(folder / "build/demo").as_posix(): sha256(path.read_bytes()) for path in files}
    metrics = (training / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found["run/metrics.jsonl"] = sha256("\n".join(map(without_seconds, metrics)).encode())
    return found


def without_seconds(line: str) -> str:
    """Return a line of metrics without its times."""
    row = {name: value for name, value in json.loads(line).items() if not name.startswith("seconds")}
    return json.dumps(row, sort_keys=True)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def compare(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return both hashes of everything that one of the two has; "missing" for what it lacks."""
    names = [*before, *(name for name in now if name not in before)]
    return {name: (before.get(name, "missing"), now.get(name, "missing")) for name in names}


def table(found: Mapping[str, tuple[str, str]]) -> str:
    """Return a line for each thing: whether it is equal, and both hashes, shortened."""
    lines = [f"{'':<9}{'before':<14}{'now':<14}"]
    for what, (before, now) in found.items():
        lines.append(f"{'equal' if before == now else 'DIFFERS':<9}{before[:12]:<14}{now[:12]:<14}{what}")
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
