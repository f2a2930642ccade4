"""Two versions of a small project with the demo's command lines are compared by what they write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.same_as import QUICK_SETTINGS, compare, hashes, run, table, with_settings, without_seconds

WRITE = """
import sys
from pathlib import Path

def write(name, text):
    path = Path(sys.argv[sys.argv.index("--out") + 1]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
"""
VIEWGEN = f"""{WRITE}
def main():
    if sys.argv[1] == "build":
        for table in ("images", "questions", "views", "rejects"):
            write(f"{{table}}/part-00000.parquet", table)
"""
TRAINER = f"""{WRITE}
def main():
    steps = Path("runs/demo.toml").read_text()
    write("checkpoints/step-2/model.safetensors", "early")
    write("checkpoints/step-4/model.safetensors", "late")
    write("evals/summary.json", steps)
    write("metrics.jsonl", '{{"loss": 1.5, "seconds/step": %d}}' % __import__("time").time_ns())
"""
FILES = {
    "viewgen/__init__.py": "",
    "viewgen/cli.py": VIEWGEN,
    "trainer/__init__.py": "",
    "trainer/cli.py": TRAINER,
    "datasets/demo.toml": "",
    "runs/demo.toml": "steps = 240\nsave_every = 80\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "first"]):
        git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
        subprocess.run(git, check=True, capture_output=True)
    return root


def differing(found: dict[str, tuple[str, str]]) -> list[str]:
    return [what for what, (before, now) in found.items() if before != now]


def test_the_same_code_writes_the_same_whatever_its_seconds(repository: Path, tmp_path: Path) -> None:
    found = hashes(repository, "HEAD", tmp_path / "kept", quick=True)
    assert differing(found) == []
    assert list(found) == [
        *(f"views/{name}/part-00000.parquet" for name in ("images", "questions", "views", "rejects")),
        "run/checkpoints/step-4/model.safetensors",
        "run/evals/summary.json",
        "run/metrics.jsonl",
    ]
    kept = tmp_path / "kept" / "now-quick"
    assert (kept / "build/demo/run/evals/summary.json").read_text() == "steps = 4\nsave_every = 2\n"


def test_a_changed_weight_and_a_part_more_are_found(repository: Path, tmp_path: Path) -> None:
    trainer, viewgen = repository / "trainer/cli.py", repository / "viewgen/cli.py"
    trainer.write_text(trainer.read_text().replace("late", "other"))
    viewgen.write_text(f"{viewgen.read_text()}            write(f'{{table}}/part-00001.parquet', 'more')\n")
    found = hashes(repository, "HEAD", tmp_path / "kept", quick=False)
    assert differing(found) == [
        "run/checkpoints/step-4/model.safetensors",
        *(f"views/{name}/part-00001.parquet" for name in ("images", "questions", "views", "rejects")),
    ]


def test_neither_checkout_is_written_to_and_the_worktree_is_gone(repository: Path, tmp_path: Path) -> None:
    hashes(repository, "HEAD", None, quick=True)
    told = subprocess.run(
        ["git", "-C", str(repository), "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert len(told.stdout.splitlines()) == 1
    written = {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}
    assert {name for name in written if not name.startswith(".git/") and "__pycache__" not in name} == set(FILES)


def test_outputs_of_the_commit_that_were_kept_are_used_again(repository: Path, tmp_path: Path) -> None:
    hashes(repository, "HEAD", tmp_path / "kept", quick=True)
    (before,) = (path for path in (tmp_path / "kept").iterdir() if not path.name.startswith("now"))
    (before / "build/demo/run/evals/summary.json").write_text("kept")
    assert differing(hashes(repository, "HEAD", tmp_path / "kept", quick=True)) == ["run/evals/summary.json"]


def test_a_command_that_fails_stops_the_comparison(repository: Path, tmp_path: Path) -> None:
    (repository / "viewgen/cli.py").write_text("def main():\n    return 2\n")
    with pytest.raises(SystemExit, match=r"`viewgen demo --out build/demo/scenes` ended with exit code 2; nothing was"):
        hashes(repository, "HEAD", tmp_path, quick=False)


def test_the_code_of_another_tree_is_never_taken_for_this_one(repository: Path, tmp_path: Path) -> None:
    (repository / "viewgen").rename(repository / "elsewhere")
    with pytest.raises(SystemExit, match="ended with exit code 1"):
        run(repository, tmp_path, "viewgen", "demo")


def test_a_commit_that_is_not_there_is_refused(repository: Path) -> None:
    with pytest.raises(SystemExit, match="Name a commit of this repository"):
        hashes(repository, "abcdef0", None, quick=True)


def test_a_setting_that_is_not_there_once_is_refused() -> None:
    assert with_settings("steps = 240\nsave_every = 80", QUICK_SETTINGS) == "steps = 4\nsave_every = 2"
    with pytest.raises(SystemExit, match="`save_every = ` stands there 0 times"):
        with_settings("steps = 240", QUICK_SETTINGS)


def test_rows_of_metrics_are_compared_without_their_seconds() -> None:
    assert without_seconds('{"loss": 1, "seconds/step": 2, "seconds": 3}') == '{"loss": 1}'
    assert without_seconds('{"a": 1, "b": 2}') == without_seconds('{"b": 2, "a": 1}') != without_seconds('{"a": 1}')


def test_what_one_side_lacks_differs_and_is_said_so() -> None:
    found = compare({"a": "1" * 64, "b": "2" * 64}, {"a": "1" * 64, "c": "3" * 64})
    rows = [line.split() for line in table(found).splitlines()]
    assert rows == [
        ["before", "now"],
        ["equal", "1" * 12, "1" * 12, "a"],
        ["DIFFERS", "2" * 12, "missing", "b"],
        ["DIFFERS", "missing", "3" * 12, "c"],
    ]
