"""Show that nothing changed: run the demo with the code of another commit and with this working tree, and compare
every part of the view set, the trained weights, the metrics and the summary of the evaluation.

    python tools/same_as.py COMMIT                    about 12 minutes on two cores; 6 when COMMIT's outputs are kept
    python tools/same_as.py COMMIT --quick            a few scenes and steps, about a minute
    python tools/same_as.py COMMIT --keep FOLDER      leave the outputs there, and use those of COMMIT again

Exits with 1 when something differs. Of the code of COMMIT only its command lines are used, so its files may lie
elsewhere. Recipe and run file are each taken from their own tree. Numbers in seconds are not compared. Leaves out: why
something differs."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("images", "questions", "views", "rejects")
QUICK_SCENES = ("--train", "12", "--selection", "1", "--test", "6")
QUICK_STEPS = 4
DONE = "done"
"""File that says that a folder of outputs is whole."""


def main() -> int:
    """Compare, print a table and one JSON object, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, worktree(options.commit, Path(temporary)) as (name, old):
        kept = options.keep or Path(temporary)
        size = "quick" if options.quick else "whole"
        before = outputs(old, kept / f"{name}-{size}", options.quick, again=False)
        now = outputs(ROOT, kept / f"now-{size}", options.quick, again=True)
        found = compare(digests(before), digests(now))
    for what, (first, second) in found.items():
        print(f"{'equal  ' if first == second else 'DIFFERS'}  {first[:12]:<12}  {second[:12]:<12}  {what}")
    differing = [what for what, (first, second) in found.items() if first != second]
    print(json.dumps({"commit": name, "size": size, "compared": len(found), "differing": differing}))
    return 1 if differing else 0


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Check a commit out into a folder of its own; yield its short hash and the folder."""
    name = git("rev-parse", "--short=12", f"{commit}^{{commit}}")
    place = folder / "tree"
    git("worktree", "add", "--quiet", "--detach", str(place), name)
    try:
        yield name, place
    finally:
        git("worktree", "remove", "--force", str(place))


def git(*arguments: str) -> str:
    """Return the output of one git command in this repository."""
    asked = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def outputs(tree: Path, folder: Path, quick: bool, *, again: bool) -> Path:
    """Run the demo's commands with the code of a tree, into a folder; kept outputs are used unless `again`."""
    if (folder / DONE).exists() and not again:
        return folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    for name in ("datasets", "runs"):
        (folder / name).mkdir(parents=True)
        text = (tree / name / "demo.toml").read_text(encoding="utf-8")
        (folder / name / "demo.toml").write_text(shortened(text) if quick else text, encoding="utf-8")
    scenes = QUICK_SCENES if quick else ()
    run(tree, folder, "viewgen", "demo", "--out", "build/demo/scenes", *scenes)
    run(tree, folder, "viewgen", "build", "datasets/demo.toml", "--out", "build/demo/views")
    run(tree, folder, "trainer", "run", "runs/demo.toml", "--out", "build/demo/run")
    (folder / DONE).touch()
    return folder


def shortened(text: str) -> str:
    """Return a run file with few steps; other files stay as they are."""
    return text.replace("steps = 240", f"steps = {QUICK_STEPS}").replace("save_every = 80", "save_every = 2")


def run(tree: Path, folder: Path, package: str, *arguments: str) -> None:
    """Run one command with the code of the tree, in the folder."""
    program = f"import sys; from {package}.cli import main; sys.argv[0] = {package!r}; main()"
    environment = {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}
    print(f"{tree.name}: {package} {' '.join(arguments)}", file=sys.stderr)
    subprocess.run([sys.executable, "-c", program, *arguments], cwd=folder, env=environment, check=True)


def digests(folder: Path) -> dict[str, str]:
    """Return the hash of everything that must be equal, by name."""
    views, training = folder / "build/demo/views", folder / "build/demo/run"
    files = [path for table in TABLES for path in sorted((views / table).glob("*.parquet"))]
    weights = sorted(training.glob("checkpoints/*/model.safetensors"))
    files += [*weights[-1:], training / "evals" / "summary.json"]
    found = {path.relative_to(folder / "build/demo").as_posix(): sha256(path.read_bytes()) for path in files}
    metrics = (training / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found["run/metrics.jsonl"] = sha256("\n".join(map(without_seconds, metrics)).encode())
    return found


def without_seconds(line: str) -> str:
    """Return a line of metrics without its times."""
    return json.dumps({name: value for name, value in json.loads(line).items() if not name.startswith("seconds")})


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def compare(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return both hashes of everything that one of the two has; "missing" for what it lacks."""
    names = [*before, *(name for name in now if name not in before)]
    return {name: (before.get(name, "missing"), now.get(name, "missing")) for name in names}


if __name__ == "__main__":
    sys.exit(main())
