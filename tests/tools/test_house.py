"""Small trees whose figures can be counted by hand."""

from __future__ import annotations

import ast
import subprocess
from graphlib import CycleError
from pathlib import Path, PurePosixPath

import pytest

from tools.house import (
    Module,
    docstring_figures,
    docstrings,
    files_per_folder,
    function_figures,
    imports,
    lists,
    longest_chain,
    measure,
    mirror_figures,
    module_lines,
    names_defined_twice,
    not_imperative,
    table,
    unpack,
)


def module(path: str, text: str = "") -> Module:
    return Module(PurePosixPath(path), text, ast.parse(text))


def test_files_are_counted_in_the_folder_they_lie_flat_in() -> None:
    names = ("viewgen/__init__.py", "viewgen/cli.py", "viewgen/audit/__init__.py", "viewgen/audit/flags.py")
    figures = files_per_folder([module(name) for name in (*names, "viewgen/audit/auditor.py", "trainer/gate.py")])
    assert figures["files per folder, list"] == {"viewgen": 2, "viewgen/audit": 3, "trainer": 1}
    assert (figures["files"], figures["folders"], figures["files flat in one folder, max"]) == (6, 3, 3)
    assert (figures["entries of viewgen/"], figures["entries of trainer/"]) == (2, 1)  # cli and audit; gate


def test_floors_are_the_longest_chain_and_an_init_is_none() -> None:
    chain = longest_chain(
        [
            module("viewgen/boxes.py"),
            module("viewgen/viewset/__init__.py", "from viewgen.viewset.shards import read"),
            module("viewgen/viewset/shards.py", "from ..boxes import Box"),
            module("viewgen/cli.py", "def main():\n    from viewgen.viewset import read"),  # lazy, through the __init__
        ]
    )
    assert chain == ("viewgen.boxes", "viewgen.viewset.shards", "viewgen.cli")


def test_imports_in_a_circle_have_no_floors() -> None:
    with pytest.raises(CycleError):
        longest_chain([module("trainer/a.py", "import trainer.b"), module("trainer/b.py", "import trainer.a")])


def test_a_module_does_not_import_the_folders_it_lies_in_nor_strangers() -> None:
    text = "import numpy\nfrom viewgen import boxes, __version__\nfrom . import measures\nfrom .measures import edge"
    known = {"viewgen", "viewgen.boxes", "viewgen.audit", "viewgen.audit.measures", "viewgen.audit.flags"}
    assert imports(module("viewgen/audit/flags.py", text), known) == {"viewgen.boxes", "viewgen.audit.measures"}


def test_modules_and_functions_that_are_too_long_are_named() -> None:
    long = "def wide():\n" + "    pass\n" * 60 + "\n" * 340
    modules = [module("trainer/long.py", long), module("trainer/short.py", "x = 1\n")]
    lines = module_lines(modules)
    assert (lines["module lines, median"], lines["module lines, max"]) == (201, 401)
    assert lines["modules over 400 lines, list"] == {"trainer/long.py": 401}
    assert function_figures(modules)["functions over 60 lines, list"] == {"trainer/long.py:wide": 61}


def test_functions_are_counted_with_methods_and_inner_ones_and_without_decorators() -> None:
    text = """
class Thing:
    @property
    def name(self) -> str:
        return "a"

    def given(self, value: int, *rest: int, **more: int) -> None:
        def inner(bare): ...
        async def late(*bare): ...
"""
    figures = function_figures([module("trainer/thing.py", text)])
    assert (figures["functions"], figures["functions with every parameter annotated, %"]) == (4, 50.0)
    lines = [figures[f"function lines, {of}"] for of in ("mean", "median", "max")]
    assert lines == [1.8, 1.5, 3]  # 2, 3, 1, 1


DOCSTRINGS = '''"""Where things lie beside others."""
LIMIT = 1
"""What nobody is asked."""
print()
"""No docstring: it stands below no attribute."""


class Thing:
    """A thing that is looked at."""

    size: int
    """Width in pixels."""


def good() -> None:
    """Return nothing; whatever happens."""
    done = 1
    """No docstring: it stands inside."""


def clause() -> None:
    """Whether somebody was told."""


def phrase() -> None:
    """The answer, besides."""


def both() -> None:
    """What is left."""


def silent() -> None: ...
'''


def test_docstrings_are_those_of_modules_classes_functions_and_attributes() -> None:
    found = [(docstring.line, docstring.owner) for docstring in docstrings(module("viewgen/a.py", DOCSTRINGS))]
    assert sorted(found) == [
        *((1, "class or module"), (3, "attribute"), (9, "class or module"), (12, "attribute")),
        *((16, "function"), (22, "function"), (26, "function"), (30, "function")),
    ]


def test_docstrings_of_functions_are_fine_when_neither_ruff_nor_the_noun_clauses_find_them(tmp_path: Path) -> None:
    (tmp_path / "viewgen").mkdir()
    (tmp_path / "viewgen" / "a.py").write_text(DOCSTRINGS)
    flagged = not_imperative(tmp_path)
    assert ("viewgen/a.py", 26) in flagged  # The answer
    assert ("viewgen/a.py", 16) not in flagged  # Return nothing
    figures = docstring_figures([module("viewgen/a.py", DOCSTRINGS)], {("viewgen/a.py", 26), ("viewgen/a.py", 30)})
    assert (figures["docstrings"], figures["docstrings of functions"]) == (8, 4)
    assert figures["of functions: fine by D401, no noun clause, %"] == 25.0
    assert figures["of functions: against D401, %"] == 50.0
    assert figures["of functions: noun clauses, %"] == 50.0
    assert figures["docstrings that are noun clauses"] == 4
    assert figures["passive persons in docstrings"] == 3
    assert figures['"beside" in docstrings'] == 1


def test_classes_and_aliases_of_one_name_in_two_modules_are_listed() -> None:
    first = module("viewgen/a.py", "class Card: ...\nBox = tuple[int, int]\nLIMITS = table[0]\nclass Once: ...")
    second = module("trainer/b.py", "Card = int | None\nBox: TypeAlias = list\nLIMITS = table[1]\nOnce = make()")
    inside = module("trainer/c.py", "def inner():\n    class Once: ...")
    places = ["viewgen.a", "trainer.b"]
    assert names_defined_twice([first, second, inside]) == {"Box": places, "Card": places}


def test_a_test_file_of_the_same_name_counts_anywhere_and_in_the_mirrored_folder() -> None:
    modules = [module(f"viewgen/audit/{name}.py") for name in ("__init__", "flags", "measures", "readings")]
    figures = mirror_figures(modules, ["tests/viewgen/audit/test_flags.py", "tests/viewgen/test_measures.py"])
    assert figures["modules without a test file of their name"] == 1
    elsewhere = ["viewgen/audit/measures.py", "viewgen/audit/readings.py"]
    assert figures["modules without a test file in the mirrored folder, list"] == elsewhere


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "trainer").mkdir(parents=True)
    (root / "trainer" / "gate.py").write_text('"""Weigh."""\n')
    for words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "first"]):
        git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
        subprocess.run(git, check=True, capture_output=True)
    return root


def test_a_commit_and_the_working_tree_stand_side_by_side(repository: Path, tmp_path: Path) -> None:
    (repository / "trainer" / "loss.py").write_text("class Loss: ...\n")
    unpack(repository, "HEAD", tmp_path / "old")
    found = {"HEAD": measure(tmp_path / "old"), "now": measure(repository)}
    lines = table(found).splitlines()
    assert lines[0].split() == ["HEAD", "now"]
    assert lines[1].split() == ["files", "1", "2"]
    assert "now, modules without a test file in the mirrored folder:\n  trainer/gate.py\n  trainer/loss.py" in lists(
        found
    )


def test_a_commit_that_is_not_there_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--commit abcdef0: .* has no such commit"):
        unpack(repository, "abcdef0", tmp_path)


def test_a_folder_without_the_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no Python files in viewgen or trainer there"):
        measure(tmp_path)
