"""Words and files: the glossary holds every column, table of settings, kind, flag and metric; files that are named exist;
every extra is used."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.config import RunConfig
from trainer.metrics import METRICS
from viewgen.audit.flags import FLAGS
from viewgen.build.config import BuildConfig
from viewgen.setting_docs import tables_of
from viewgen.views import KINDS
from viewgen.viewset import TABLES

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
SOURCES = sorted(
    path for folder in ("viewgen", "trainer", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
EXAMPLES = {"my_kinds.py", "test_NAME.py", "page.html", "__init__.py", "report.html", "README.md"}
"""Files of a user's own in examples, and names that stand for many files."""
MODULES = {
    "PyYAML": "yaml",
    "open_clip_torch": "open_clip",
    "groundingdino-py": "groundingdino",
    "mkdocs-material": "material",
}
UNNAMED = {"matplotlib", "termcolor", "PyYAML", "accelerate", "aiohttp"}
"""Imported by groundingdino-py, by TRL and by fsspec, which do not declare them."""
SHARED = {"Config", "Row", "Sizes", "T", "R", "Number"}


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


@pytest.mark.parametrize(
    "name",
    [
        *sorted({column for table in TABLES.values() for column in table.columns}),
        *(f"[{name}]" for config in (BuildConfig, RunConfig) for name, _ in tables_of(config) if name),
        *KINDS,
        *FLAGS,
        *METRICS,
    ],
)
def test_the_glossary_has_the_word(name: str) -> None:
    assert f"`{name}`" in GLOSSARY


def test_a_word_of_the_glossary_stands_there_once() -> None:
    words = re.findall(r"^- \*\*`?([\w /-]+?)`?\*\*", GLOSSARY, re.MULTILINE)
    assert len(words) > 60
    assert sorted(words) == sorted(set(words))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_that_a_docstring_names_exists(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    homes = (path.parent, ROOT / package, ROOT, ROOT / "docs")
    for text in docstrings(path):
        for name in re.findall(r"(?<![\w.-])(?:[\w-]+/)*[\w-]+\.(?:py|html|md)(?![\w-])", text):
            known = any((home / name).exists() for home in homes) or Path(name).name in EXAMPLES
            assert known, f"{path.relative_to(ROOT)} names {name}"


def test_every_extra_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES) + (ROOT / "mkdocs.yml").read_text()
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in requirements if extra not in {"dev", "all"} else ():
            name = re.split(r"[<>=\[]", requirement)[0]
            module = MODULES.get(name, name)
            used = re.search(rf"(?:\b(?:import|from|name:)|-) {module}\b|import_module\(.{module}", code)
            assert used or name in UNNAMED, f"[{extra}] {name} is imported nowhere"


def test_no_name_of_a_type_means_two_things() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] not in {"viewgen", "trainer"}:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].add(path.relative_to(ROOT).as_posix())
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper():
                        homes[target.id].add(path.relative_to(ROOT).as_posix())
    twice = {name: places for name, places in homes.items() if len(places) > 1 and name not in SHARED}
    assert not twice
