"""Data flows one way: a module imports only modules that stand above it in its package's list, and trainer enters
viewgen through a few doors. The lists are the design: a new module is put where it belongs, here and in the README."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VIEWGEN = """
    errors settings progress boxes records schema images manifest card shards recipe reviews phrases detectors
    openclip tiles retrieval regions evidence cuts degrade positives negatives views donors measures flags readings
    audit cutting workers tables config plan locating stages build inspect sql plots thumbnails sheet report demo
    cli
"""
TRAINER = """
    errors gate loss prompts states families prefix tree rollout models batches step optimizer checkpoint metrics scorers
    statistics evaluate config journal loop run_folder charts picture report cli
"""
ORDER = {"viewgen": tuple(VIEWGEN.split()), "trainer": tuple(TRAINER.split())}
DOORS = {"schema", "shards", "settings", "progress", "errors"}
"""The modules of viewgen that trainer may import: data, how settings are read, how progress is told, what they raise."""


def files(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py"))


def unit(path: Path) -> str:
    """The module, or the sub-package that a file belongs to; empty for the package's own __init__."""
    first = path.relative_to(ROOT).parts[1]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports anywhere, lazily or for types alone too: viewgen.boxes, ..."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: imports of ours are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ORDER)


@pytest.mark.parametrize("package", sorted(ORDER))
def test_every_module_stands_in_its_packages_list_once(package: str) -> None:
    here = {unit(path) for path in files(package)} - {""}
    assert sorted(ORDER[package]) == sorted(here), "put the module into ORDER where it belongs"


@pytest.mark.parametrize("package", sorted(ORDER))
def test_a_module_imports_only_what_stands_above_it(package: str) -> None:
    order = ORDER[package]
    for path in files(package):
        for name in imported(path):
            owner, *rest = name.split(".")
            if owner == package and rest and rest[0] in order and rest[0] != unit(path):
                above = order[: order.index(unit(path))] if unit(path) else []
                assert rest[0] in above, f"{path.relative_to(ROOT)} imports {name}, which stands below it"


def test_viewgen_does_not_know_trainer() -> None:
    for path in files("viewgen"):
        assert not [name for name in imported(path) if name.startswith("trainer")], path


def test_trainer_enters_viewgen_through_its_doors_alone() -> None:
    for path in files("trainer"):
        for name in imported(path):
            if name.startswith("viewgen"):
                assert name.split(".")[1] in DOORS, f"{path.relative_to(ROOT)} imports {name}, which is no door"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph: dict[str, set[str]] = {}
    for package in ORDER:
        for path in files(package):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            graph[name] = set(imported(path))
    # `from package.module import thing` names package.module.thing: cut what is no module.
    for name, targets in graph.items():
        known = {t if t in graph else t.rpartition(".")[0] for t in targets}
        graph[name] = {t for t in known if t in graph and t != name}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())
