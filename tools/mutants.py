"""Breaks code on purpose, one change at a time, and runs its tests: each change must turn a test red.
Two kinds: mistakes that people make, listed in mutants.txt, and a sweep over operators, numbers, calls, statements. The
gate and the loss are swept whole; with --files others are too, a seeded sample of each (TARGETS).
Works on a copy of the packages in a temporary folder, never on the working tree.

Run from the repository root:  python tools/mutants.py [--jobs N] [--files boxes,checkpoint,...] [--sample 40]
Prints one line per mutant, a table for docs/log.md, and as its last line one JSON object; exits with 1 when one lives.
"""

import argparse
import ast
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/trainer/test_gate.py", "tests/trainer/test_loss.py")
LIMIT_S = 300
SLOW = (
    *("beartype", "numpy", "pydantic", "typer", "jinja2", "torchvision.transforms.v2"),
    *("transformers.models.auto.modeling_auto", "transformers.generation.utils"),
    "transformers.models.qwen3_vl.modeling_qwen3_vl",
)
"""Modules that tests import."""
GATE, LOSS = "trainer/gate.py", "trainer/loss.py"
_LOOP = "tests/trainer/test_loop.py"
_STEP = "tests/trainer/test_step.py"
_ENGINE = tuple(f"tests/trainer/engine/test_{name}.py" for name in ("states", "prefix", "tree", "models"))
TARGETS: dict[str, tuple[str, ...]] = {
    "viewgen/boxes.py": (),
    "viewgen/views/negatives.py": ("tests/viewgen/views/test_cutting.py",),
    "trainer/evaluation/scorers.py": (),
    "trainer/evaluation/choices.py": ("tests/trainer/evaluation/test_scorers.py",),
    "trainer/evaluation/statistics.py": (),
    "trainer/evaluation/evaluate.py": (_LOOP,),
    "trainer/step.py": (),
    "trainer/journal.py": (_LOOP,),
    "trainer/checkpoint.py": (_LOOP,),
    "trainer/batches.py": (_LOOP,),
    "trainer/loop.py": (),
    "trainer/rollout/sample.py": (_STEP,),
    "trainer/engine/prefix.py": (*_ENGINE, _STEP),
    "trainer/engine/tree.py": (*_ENGINE, _STEP),
    "trainer/engine/states.py": (*_ENGINE, _STEP),
    "trainer/engine/models.py": (*_ENGINE, _STEP),
}
"""Further files, and the tests that hold them beside the one of their name."""

HARMLESS = {
    "num_siblings_B = sibling_BB.sum(1).clamp(min=1): 1 -> 2": "one sibling differs by 0, whatever divides it",
}
"""Mutants of the sweep that change nothing that can be seen, by line and change, and why."""

PAIRS = (
    (ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr), (ast.And, ast.Or),
    (ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn),
)  # fmt: skip
SWAPS: dict[type[ast.AST], type[ast.AST]] = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}


@dataclass(frozen=True)
class Mutant:
    """One broken copy of one file."""

    file: str
    line: int
    what: str
    source: str
    tests: tuple[str, ...] = TESTS


def mistakes() -> Iterator[Mutant]:
    """Return the written list; a text that no longer stands exactly once stops the run, so the list cannot go stale."""
    for section in (ROOT / "tools" / "mutants.txt").read_text(encoding="utf-8").split("\n== ")[1:]:
        file, *blocks = section.strip().split("\n\n")
        source = (ROOT / file).read_text(encoding="utf-8")
        for block in blocks:
            what, old, new = re.fullmatch(r"(.*?)\n- (.*?)\n\+ ?(.*)", block, re.DOTALL).groups()  # type: ignore[union-attr]
            assert source.count(old) == 1, f"{file}: {source.count(old)} times, not once: {old!r}"
            line = source[: source.index(old)].count("\n") + 1
            yield Mutant(file, line, what, source.replace(old, new), tests_of(file))


def tests_of(file: str) -> tuple[str, ...]:
    """Return the tests that hold a file, the one of its name first."""
    own = f"tests/{Path(file).parent}/test_{Path(file).name}"
    return TESTS if file in {GATE, LOSS} else tuple(dict.fromkeys((own, *TARGETS[file])))


def sweep(file: str) -> Iterator[Mutant]:
    """Every operator swapped, number raised by 1, truth value flipped, method call or plain statement left out."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    typing = {id(below) for node in ast.walk(tree) for part in _without_effect(node) for below in ast.walk(part)}
    for position, node in enumerate(ast.walk(tree)):
        if id(node) in typing or not isinstance(node, ast.expr | ast.stmt):
            continue
        for change in range(_num_changes(node)):
            broken = deepcopy(tree)
            place = list(ast.walk(broken))[position]
            replacement, said = _change(place, change)
            _Replace(place, replacement).visit(broken)
            yield Mutant(file, node.lineno, said, ast.unparse(ast.fix_missing_locations(broken)))


def _without_effect(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what computes nothing: annotations, and decorators, which say how a record is made."""
    yield from getattr(node, "decorator_list", ())
    for field in ("annotation", "returns"):
        part = getattr(node, field, None)
        if isinstance(part, ast.AST):
            yield part


class _Replace(ast.NodeTransformer):
    def __init__(self, place: ast.AST, replacement: ast.AST) -> None:
        self.place, self.replacement = place, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        return self.replacement if node is self.place else self.generic_visit(node)


def _num_changes(node: ast.expr | ast.stmt) -> int:
    match node:
        case ast.Compare():
            return len(node.ops)
        case ast.BinOp(op=op) | ast.BoolOp(op=op):
            return int(type(op) in SWAPS)
        case ast.UnaryOp() | ast.Assign() | ast.Raise() | ast.Constant(value=bool() | int() | float()):
            return 1
        case ast.Call(func=ast.Attribute(value=owner)):
            return int(not (isinstance(owner, ast.Name) and owner.id in {"torch", "math", "ctx", "_ReverseKL", "cls"}))
    return 0


def _change(node: ast.AST, which: int) -> tuple[ast.AST, str]:
    """Return the replacement, and the change in words."""
    before = ast.unparse(node)
    match node:
        case ast.Compare():
            node.ops[which] = SWAPS[type(node.ops[which])]()  # type: ignore[call-overload]
        case ast.BinOp() | ast.BoolOp():
            node.op = SWAPS[type(node.op)]()  # type: ignore[assignment]
        case ast.UnaryOp():
            return node.operand, f"{before} -> {ast.unparse(node.operand)}"
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() | float() as value):
            node.value = value + 1
        case ast.Call(func=ast.Attribute(value=owner)):
            return owner, f"{before} -> {ast.unparse(owner)}"
        case _:
            return ast.Pass(), f"left out: {before}"
    return node, f"{before} -> {ast.unparse(node)}"


class _FirstFailure:
    """A pytest plugin that remembers what turned red first, and that the copy was what ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.killer = folder, ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.killer:
            self.killer = report.nodeid.partition("::")[2].partition("[")[0]

    def pytest_sessionfinish(self) -> None:
        loaded = sys.modules.get("trainer")
        assert loaded is None or str(self.folder) in str(loaded.__file__), "the working tree was tested, not the copy"


def try_mutant(mutant: Mutant | None, tests: tuple[str, ...] = ()) -> str:
    """Run the tests on a fresh copy: the first that failed, or "" when all passed. For a child process of its own."""
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(LIMIT_S)
    with TemporaryDirectory() as name, Path(os.devnull).open("w") as nowhere:
        folder = Path(name).resolve()
        tests = tests or (TESTS if mutant is None else mutant.tests)
        for package in ("trainer", "viewgen"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
            (folder / package / "weights").symlink_to(ROOT / package / "weights")
        for test in (*tests, *_conftests(tests), "pyproject.toml"):
            (folder / test).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / test, folder / test)
        if mutant is not None:
            (folder / mutant.file).write_text(mutant.source, encoding="utf-8")
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        watcher = _FirstFailure(folder)
        quiet = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main(["-x", *quiet, *tests], plugins=[watcher])
        os.chdir(ROOT)
    return "" if code == pytest.ExitCode.OK else watcher.killer or f"(nothing ran: pytest exit code {int(code)})"


def _out_of_time(*_: object) -> None:
    raise TimeoutError(f"ran for {LIMIT_S} s")  # turns the test red that was running


def _conftests(tests: tuple[str, ...]) -> list[str]:
    """Return the conftest files above the tests."""
    folders = {parent for test in tests for parent in Path(test).parents}
    return sorted(str(folder / "conftest.py") for folder in folders if (ROOT / folder / "conftest.py").is_file())


def sampled(names: str, num: int) -> list[Mutant]:
    """Return `num` mutants of each named file, drawn by its name."""
    found: list[Mutant] = []
    for name in names.split(","):
        file = _file(name)
        every = [replace(mutant, tests=tests_of(file)) for mutant in sweep(file)]
        found += random.Random(file).sample(every, min(num, len(every)))
    return found


def _file(name: str) -> str:
    return next(path for path in TARGETS if Path(path).stem == name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--mistakes-only", action="store_true", help="leave the sweep out")
    parser.add_argument(
        "--files", default="", help=f"sweep these instead, by name: {', '.join(Path(path).stem for path in TARGETS)}"
    )
    parser.add_argument("--sample", type=int, default=40, help="mutants of each of --files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for slow in SLOW:  # once here, not once in every child
        importlib.import_module(slow)
    wanted = {_file(name) for name in options.files.split(",") if name} or {GATE, LOSS}
    written = [mutant for mutant in mistakes() if mutant.file in wanted]
    swept = [] if options.mistakes_only or options.files else [*sweep(GATE), *sweep(LOSS)]
    swept += sampled(options.files, options.sample) if options.files and not options.mistakes_only else []
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        if any(mutant.file.startswith("trainer/") for mutant in written + swept if mutant.file not in {GATE, LOSS}):
            os.environ["VIEWGEN_DRAWN_VIEWS"] = build_drawn_views(folder)
        rows = try_all(written + swept, options.jobs)
    report(rows, len(written), time.monotonic() - began)
    return int(any(not killer and not _harmless(mutant) for mutant, killer in rows))


def build_drawn_views(folder: str) -> str:
    """Build the view set that tests share once, in a process of its own, and return its path."""
    build = f"from pathlib import Path; from tests.conftest import *; print(build_drawn_views(Path({folder!r})))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def try_all(mutants: list[Mutant], jobs: int) -> list[tuple[Mutant, str]]:
    """Try the mutants in processes of their own, and print each as it comes."""
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        for tests in dict.fromkeys(mutant.tests for mutant in mutants):
            sound = pool.apply(try_mutant, (None, tests))
            assert not sound, f"the tests fail without any mutant: {sound}"
        rows = []
        for mutant, killer in zip(mutants, pool.imap(try_mutant, mutants), strict=True):
            rows.append((mutant, killer))
            print(f"{'killed' if killer else 'LIVES ':6} {mutant.file}:{mutant.line} {mutant.what}", flush=True)
    return rows


def _harmless(mutant: Mutant) -> str:
    line = (ROOT / mutant.file).read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()
    return HARMLESS.get(f"{line}: {mutant.what}", "")


def report(rows: list[tuple[Mutant, str]], num_written: int, seconds: float) -> None:
    """Print the table for the log: each written mistake and its killer, then the sweep by killer; last line JSON."""
    print("\n| # | where | mistake | first test to turn red |\n|---|---|---|---|")
    for number, (mutant, killer) in enumerate(rows[:num_written], 1):
        print(f"| {number} | {mutant.file}:{mutant.line} | {mutant.what} | {killer or 'NONE'} |")
    lives = [
        f"{mutant.file}:{mutant.line} {mutant.what}" for mutant, killer in rows if not killer and not _harmless(mutant)
    ]
    harmless = [f"{mutant.what}: {_harmless(mutant)}" for mutant, killer in rows if not killer and _harmless(mutant)]
    for line in lives:
        print(f"LIVES: {line}")
    numbers = {
        "written": num_written,
        "written_killed": sum(bool(killer) for _, killer in rows[:num_written]),
        "swept": len(rows) - num_written,
        "swept_killed": sum(bool(killer) for _, killer in rows[num_written:]),
        "harmless": harmless,
        "lives": lives,
        "seconds": round(seconds, 1),
    }
    print(json.dumps(numbers))


if __name__ == "__main__":
    sys.exit(main())
