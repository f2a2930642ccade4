"""Measure the structure of the packages viewgen and trainer: files per folder, floors, functions, docstrings, names
defined twice, modules without a test file.

    python tools/house.py                       the working tree
    python tools/house.py --commit COMMIT       that commit and the working tree, side by side
    python tools/house.py --root FOLDER         another tree with the same two packages

Prints a table, the lists behind its counts, and as its last line one JSON object. Nothing is imported or run: figures
come from the syntax tree, and from ruff for D401. Leaves out: what is good and what is bad; contract tests say that.

Floors: the longest chain of imports between modules of one package, lazy imports and imports for types included. An
`__init__.py` only hands on, so it is no floor of its own. Entries: modules and folders directly in a package's folder.
Lines of a function: without its decorators. Words are counted, not judged: "beside" of pictures counts as well."""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("viewgen", "trainer")
MAX_MODULE_LINES, MAX_FUNCTION_LINES = 400, 60
NOUN_CLAUSES = ("What", "Whose", "Where", "Whether", "How", "Why")
"""First words of a docstring that describes a result as a noun clause."""
PASSIVE_PERSON = re.compile(r"\b(?:is|are|was|were|be|been|being)\s+(?:asked|told|looked\s+(?:at|for)|believed)\b")
BESIDE = re.compile(r"\bbeside\b", re.IGNORECASE)
CAMEL_CASE = re.compile(r"[A-Z]\w*[a-z]\w*")
ALIASED = (ast.Subscript, ast.BinOp, ast.Name, ast.Attribute)
"""Expressions that a type alias may give a name to."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
Figures = dict[str, Any]
"""Counts and shares by name; lists of names where there is something to list."""


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file of a package. Its path is relative to the root of the tree."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Dotted name; a folder's name for its __init__."""
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")

    @property
    def is_init(self) -> bool:
        """True for an __init__.py."""
        return self.path.name == "__init__.py"


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring, or the sentence below an attribute, and the line it begins on."""

    path: PurePosixPath
    line: int
    owner: str
    text: str


def main() -> None:
    """Measure, print a table, the lists, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", help="measure this commit as well")
    parser.add_argument("--root", type=Path, default=ROOT, help="tree to measure, and repository of COMMIT")
    given = parser.parse_args()
    found = {}
    if given.commit:
        with tempfile.TemporaryDirectory() as temporary:
            unpack(given.root, given.commit, Path(temporary))
            found[given.commit[:12]] = measure(Path(temporary))
    found["now"] = measure(given.root)
    print(table(found))
    print(lists(found))
    print(json.dumps(found))


def unpack(repository: Path, commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder."""
    command = ["git", "-C", str(repository), "archive", "--format=tar", f"{commit}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        told = done.stderr.decode().strip()
        raise SystemExit(
            f"--commit {commit}: {repository} has no such commit ({told}). `git log --oneline` lists them."
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def measure(root: Path) -> Figures:
    """Return every figure of a tree, by its name in the table."""
    modules = read_modules(root)
    if not modules:
        raise SystemExit(f"--root {root}: no Python files in {' or '.join(PACKAGES)} there. Name the project's folder.")
    figures: Figures = files_per_folder(modules)
    for package in PACKAGES:
        figures |= floors(package, modules)
    figures |= module_lines(modules) | function_figures(modules) | docstring_figures(modules, not_imperative(root))
    names = names_defined_twice(modules)
    figures |= {"names defined twice": len(names), "names defined twice, list": names}
    tests = [path.relative_to(root).as_posix() for path in root.glob("tests/**/test_*.py")]
    return figures | mirror_figures(modules, tests)


def read_modules(root: Path) -> list[Module]:
    """Read and parse the Python files of both packages."""
    found = []
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(Module(PurePosixPath(path.relative_to(root).as_posix()), text, ast.parse(text)))
    return found


def files_per_folder(modules: Sequence[Module]) -> Figures:
    """Count Python files flat in each folder, and the entries of each package's folder."""
    folders = Counter(module.path.parent.as_posix() for module in modules)
    figures: Figures = {"files": len(modules), "folders": len(folders)}
    figures |= {"files flat in one folder, max": max(folders.values()), "files per folder, list": dict(folders)}
    for package in PACKAGES:
        inside = {module.path.parts[1].removesuffix(".py") for module in modules if module.path.parts[0] == package}
        figures[f"entries of {package}/"] = len(inside - {"__init__"})
    return figures


def floors(package: str, modules: Sequence[Module]) -> Figures:
    """Return the longest chain of imports in a package, and its length."""
    chain = longest_chain([module for module in modules if module.path.parts[0] == package])
    return {f"floors of {package}": len(chain), f"longest chain of {package}, list": list(chain)}


def longest_chain(modules: Sequence[Module]) -> tuple[str, ...]:
    """Return the longest chain of modules of which each imports the one before. Circles raise graphlib.CycleError."""
    known = {module.name for module in modules}
    inits = {module.name for module in modules if module.is_init}
    graph = {module.name: imports(module, known) for module in modules}
    chains: dict[str, tuple[str, ...]] = {}
    for name in TopologicalSorter(graph).static_order():
        below = max((chains[other] for other in sorted(graph[name])), key=len, default=())
        chains[name] = below if name in inits else (*below, name)
    return max(chains.values(), key=len, default=())


def imports(module: Module, known: set[str]) -> set[str]:
    """Return the known modules that a module imports anywhere, less itself and the folders it lies in."""
    found = {innermost(name, known) for name in imported_names(module)}
    return {name for name in found if name and not f"{module.name}.".startswith(f"{name}.")}


def imported_names(module: Module) -> Iterator[str]:
    """Yield the dotted name of everything imported: `from a.b import c` -> a.b.c. Relative imports are resolved."""
    folder = module.path.parent.parts
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else ()
            start = ".".join((*above, *filter(None, [node.module])))
            yield from (f"{start}.{alias.name}" for alias in node.names)


def innermost(name: str, known: set[str]) -> str:
    """Return the longest known beginning of a dotted name, or an empty string."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def module_lines(modules: Sequence[Module]) -> Figures:
    """Return the lines of modules: median, max, and the modules that are too long."""
    lines = {str(module.path): len(module.text.splitlines()) for module in modules}
    long = {name: num for name, num in lines.items() if num > MAX_MODULE_LINES}
    figures: Figures = {"module lines, median": median(lines.values()), "module lines, max": max(lines.values())}
    return figures | long_ones("modules", MAX_MODULE_LINES, long)


def long_ones(what: str, limit: int, found: Mapping[str, int]) -> Figures:
    """Return the number and the list of those above a limit of lines."""
    return {f"{what} over {limit} lines": len(found), f"{what} over {limit} lines, list": dict(found)}


def function_figures(modules: Sequence[Module]) -> Figures:
    """Return number, lines and annotations of all functions, methods and inner functions included."""
    found = [(f"{module.path}:{node.name}", node) for module in modules for node in functions(module)]
    lines = [(name, (node.end_lineno or node.lineno) - node.lineno + 1) for name, node in found]
    counts = [num for _, num in lines] or [0]
    figures: Figures = {
        "functions": len(found),
        "function lines, mean": round(mean(counts), 1),
        "function lines, median": median(counts),
        "function lines, max": max(counts),
        "functions with every parameter annotated, %": percent(
            sum(is_annotated(node) for _, node in found), len(found)
        ),
    }
    return figures | long_ones("functions", MAX_FUNCTION_LINES, {n: k for n, k in lines if k > MAX_FUNCTION_LINES})


def functions(module: Module) -> Iterator[Function]:
    """Yield every function of a module."""
    yield from (node for node in ast.walk(module.tree) if isinstance(node, Function))


def is_annotated(node: Function) -> bool:
    """Return whether every parameter but self and cls is annotated; True when there is none."""
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args]
    if named and named[0].arg in ("self", "cls"):
        named = named[1:]
    rest = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return all(argument.annotation for argument in (*named, *arguments.kwonlyargs, *rest))


def docstring_figures(modules: Sequence[Module], flagged: set[tuple[str, int]]) -> Figures:
    """Return how docstrings begin and which words they use. `flagged`: path and line of those that break D401."""
    found = [docstring for module in modules for docstring in docstrings(module)]
    of_functions = [docstring for docstring in found if docstring.owner == "function"]
    clauses = [docstring for docstring in of_functions if is_noun_clause(docstring.text)]
    bad = flagged | {(str(docstring.path), docstring.line) for docstring in clauses}
    num = len(of_functions)
    return {
        "docstrings": len(found),
        "docstrings of functions": num,
        "of functions: fine by D401, no noun clause, %": percent(num - len(bad), num),
        "of functions: against D401, %": percent(len(flagged), num),
        "of functions: noun clauses, %": percent(len(clauses), num),
        "docstrings that are noun clauses": sum(is_noun_clause(docstring.text) for docstring in found),
        "passive persons in docstrings": sum(len(PASSIVE_PERSON.findall(docstring.text)) for docstring in found),
        '"beside" in docstrings': sum(len(BESIDE.findall(docstring.text)) for docstring in found),
    }


def docstrings(module: Module) -> Iterator[Docstring]:
    """Yield the docstrings of a module, its classes and functions, and the texts below attributes."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            owner = "function" if isinstance(node, Function) else "class or module"
            for above, statement in zip((None, *node.body), node.body, strict=False):
                what = owner if above is None else "attribute"
                is_described = above is None or is_attribute(above, owner)
                if is_described and (text := text_of(statement)) is not None:
                    yield Docstring(module.path, statement.lineno, what, text)


def is_attribute(statement: ast.stmt, owner: str) -> bool:
    """Return whether a statement sets an attribute of a module or class, so that a text below it describes it."""
    return owner != "function" and isinstance(statement, ast.Assign | ast.AnnAssign)


def text_of(statement: ast.stmt) -> str | None:
    """Return the text of a statement that is nothing but a string."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        value = statement.value.value
        return value if isinstance(value, str) else None
    return None


def is_noun_clause(text: str) -> bool:
    """Return whether a docstring begins with What, Whose, Where, Whether, How or Why."""
    return bool(re.match(rf"\s*(?:{'|'.join(NOUN_CLAUSES)})\b", text))


def not_imperative(root: Path) -> set[tuple[str, int]]:
    """Return path and line of each docstring that breaks D401, as ruff finds them under its own settings."""
    folders = [package for package in PACKAGES if (root / package).is_dir()]
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select=D401",
        "--no-cache",
        "--output-format=json",
    ]
    done = subprocess.run([*command, *folders], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"ruff: {done.stderr.strip()}. Install it with `pip install -e '.[dev]'`.")
    here = root.resolve()
    return {
        (Path(hit["filename"]).resolve().relative_to(here).as_posix(), hit["location"]["row"])
        for hit in json.loads(done.stdout)
    }


def names_defined_twice(modules: Sequence[Module]) -> dict[str, list[str]]:
    """Return the classes and type aliases that stand at the top of more than one module, with those modules."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for name in sorted(set(types_of(module))):
            places[name].append(module.name)
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def types_of(module: Module) -> Iterator[str]:
    """Yield the names of classes and type aliases at the top of a module: `Box = tuple[int, ...]`."""
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(node.value, ALIASED):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            yield from (name for name in names if CAMEL_CASE.fullmatch(name))
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).endswith("TypeAlias"):
            yield ast.unparse(node.target)


def mirror_figures(modules: Sequence[Module], tests: Iterable[str]) -> Figures:
    """Count the modules without a test_NAME.py anywhere, and without one in the folder that mirrors theirs.

    `tests`: paths relative to the root; tests/viewgen/audit/test_flags.py mirrors viewgen/audit/flags.py."""
    paths = {PurePosixPath(test) for test in tests}
    names = {path.name for path in paths}
    mirrors = {
        str(module.path): PurePosixPath("tests") / module.path.parent / f"test_{module.path.stem}.py"
        for module in modules
        if not module.is_init
    }
    nowhere = [name for name, mirror in mirrors.items() if mirror.name not in names]
    elsewhere = [name for name, mirror in mirrors.items() if mirror not in paths]
    return {
        "modules without a test file of their name": len(nowhere),
        "modules without a test file in the mirrored folder": len(elsewhere),
        "modules without a test file in the mirrored folder, list": elsewhere,
    }


def percent(part: int, whole: int) -> float:
    """Return a share in percent, to one decimal; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


def table(found: Mapping[str, Figures]) -> str:
    """Return a line for each figure, a column for each tree."""
    rows = [name for name in next(iter(found.values())) if not name.endswith(", list")]
    wide = max(map(len, rows))
    lines = ["".join((" " * wide, *(f"{tree:>12}" for tree in found)))]
    for name in rows:
        lines.append(f"{name:<{wide}}" + "".join(f"{format(figures[name], ','):>12}" for figures in found.values()))
    return "\n".join(lines)


def lists(found: Mapping[str, Figures]) -> str:
    """Return the names behind the counts, a paragraph for each list that is not empty."""
    paragraphs = []
    for tree, figures in found.items():
        for name, listed in figures.items():
            if name.endswith(", list") and listed:
                paragraphs.append(f"\n{tree}, {name.removesuffix(', list')}:\n" + "\n".join(entries(listed)))
    return "\n".join(paragraphs)


def entries(listed: Mapping[str, Any] | Sequence[str]) -> Iterator[str]:
    """Yield a line for each entry of a list, or each name and what belongs to it."""
    if isinstance(listed, Mapping):
        for name, value in listed.items():
            yield f"  {name}: {', '.join(value) if isinstance(value, list) else value}"
    else:
        yield from (f"  {name}" for name in listed)


if __name__ == "__main__":
    main()
