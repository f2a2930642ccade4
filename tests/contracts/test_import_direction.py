"""Data flows one way: a module imports only what stands above it. First the ground floor's files, then the folders in
the order of the diagram, inside each folder its files in order. The lists are the design: a new module is put where it
belongs, here and, where it is a folder or on the ground floor, in the README."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VIEWGEN = """
    errors settings setting_docs progress files locks boxes records decode geometry pages commands
    viewset/     schema manifest parts plain cache card verify shards torch_stream stream database tables
    source/      images paths pictures box_formats values scans columns formats recipe box_sample first_look reviews demo
    phrases/     config lexicon words names lead given rules answers chat local spacy
    detectors/   protocol captions annotated loading tiles groundingdino_net groundingdino transformers
    retrieval/   openclip tiles retriever
    grounding/   regions evidence
    views/       kinds degrade positives negatives altered donors cutting
    audit/       measures flags readings auditor catalogue
    decontaminate/  signatures sets matching
    build/       config plan workers cut_image stages builder recut estimate
    export/      rows consumers folders run
    report/      first_look inspect diff sql plots thumbnails sheet page
    cli
"""
TRAINER = """
    errors gate loss rollouts
    engine/      prompts states families head prefix tree load logprobs models
    rollout/     sample
    batches step optimizer checkpoint metrics journal
    evaluation/  words choices numbers scorers statistics evaluate
    config provenance resume
    report/      charts run_folder picture page
    loop
    cli
"""
DOORS = {
    "viewgen.viewset",
    *(
        f"viewgen.{name}"
        for name in (
            "settings",
            "progress",
            "errors",
            "files",
            "locks",
            "decode",
            "geometry",
            "pages",
            "commands",
            "setting_docs",
        )
    ),
}
"""Modules of viewgen that trainer may import: the view set's own door, and the ground floor."""


def order_of(design: str) -> tuple[str, ...]:
    """Return the dotted names below the package, in order: errors, ..., viewset.schema, ..."""
    found: list[str] = []
    for line in design.strip().splitlines():
        first, *names = line.split()
        folder = first.removesuffix("/") if first.endswith("/") else ""
        found += [f"{folder}.{name}" for name in names] if folder else [first, *names]
    return tuple(found)


ORDER = {"viewgen": order_of(VIEWGEN), "trainer": order_of(TRAINER)}


def files(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py"))


def module(path: Path) -> str:
    """Return the dotted name below the package; a folder's name for its __init__, empty for the package's own."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(part for part in parts if part != "__init__")


def place(name: str, order: tuple[str, ...]) -> int:
    """Return the place of a module; a folder's __init__ stands after its last file, the package's own last."""
    return max(n for n, known in enumerate(order) if not name or known == name or known.startswith(f"{name}."))


def target(name: str, order: tuple[str, ...]) -> str:
    """Return the module or folder that an import names: `viewset.shards.ViewSet` -> viewset.shards."""
    folders = {known.partition(".")[0] for known in order if "." in known}
    parts = name.split(".")
    names = (".".join(parts[:length]) for length in (2, 1))
    return next((name for name in names if name in order or name in folders), "")


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
    here = {module(path) for path in files(package) if path.name != "__init__.py"}
    assert sorted(ORDER[package]) == sorted(here), "put the module into the list where it belongs"


@pytest.mark.parametrize("package", sorted(ORDER))
def test_every_folder_says_what_goes_in_and_what_comes_out(package: str) -> None:
    for folder in {name.partition(".")[0] for name in ORDER[package] if "." in name}:
        text = ast.get_docstring(ast.parse((ROOT / package / folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert "In: " in text, f"{package}/{folder}/__init__.py does not say what goes in"
        assert "Out: " in text, f"{package}/{folder}/__init__.py does not say what comes out"


@pytest.mark.parametrize("package", sorted(ORDER))
def test_a_module_imports_only_what_stands_above_it(package: str) -> None:
    order = ORDER[package]
    for path in files(package):
        mine = module(path)
        for name in imported(path):
            owner, _, rest = name.partition(".")
            found = target(rest, order) if owner == package else ""
            if found in ("", mine):
                continue
            told = f"{path.relative_to(ROOT)} imports {name}"
            assert not mine.startswith(f"{found}."), f"{told}: its own folder's __init__"
            is_inside = not mine or found.startswith(f"{mine}.")  # an __init__ hands on what stands below it
            assert is_inside or place(found, order) < place(mine, order), f"{told}, which stands below it"


def test_viewgen_does_not_know_trainer() -> None:
    for path in files("viewgen"):
        assert not [name for name in imported(path) if name.startswith("trainer")], path


def test_trainer_enters_viewgen_through_its_doors_alone() -> None:
    for path in files("trainer"):
        for name in imported(path):
            if name.startswith("viewgen"):
                assert name.rpartition(".")[0] in DOORS, f"{path.relative_to(ROOT)} imports {name}, which is no door"


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
