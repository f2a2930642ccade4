"""Print every setting of a settings dataclass with default, range, unit and sentence: as Markdown for
docs/settings.md, and as a TOML file that holds every default. Used by viewgen and by trainer.
Leaves out: reading and refusing settings (settings.py). Sentences are the docstrings under the fields."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from viewgen.settings import as_toml, choices_of, default_of, range_of

_TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDoc:
    """One setting as the documents show it."""

    name: str
    type: str
    """Type, or the words that it allows."""
    limits: str
    """Range with unit; empty without one."""
    default: str
    """Default as TOML; empty where the setting is required."""
    sentence: str


def settings_page(program: str, config: type[Any]) -> str:
    """Return the Markdown section of a program's settings: a table for each TOML table."""
    lines = [f"## {program}\n"]
    for table, kind in tables_of(config):
        lines += [f"### {f'`[{table}]`' if table else 'At the top of the file'}\n"]
        if table:
            lines += [f"{inspect.cleandoc(kind.__doc__ or '')}\n"]
        lines += ["| setting | type | range | default | meaning |", "|---|---|---|---|---|"]
        for doc in setting_docs(kind):
            default = f"`{doc.default}`" if doc.default else "required"
            lines += [f"| `{doc.name}` | {doc.type} | {doc.limits} | {default} | {doc.sentence} |".replace("  ", " ")]
        lines += [""]
    return "\n".join(lines)


def settings_toml(program: str, config: type[Any]) -> str:
    """Return a TOML file with every setting, its default and its sentence. Required settings are commented out."""
    lines = [f"# Every setting of `{program}` with its default. Keep the lines that you change."]
    for table, kind in tables_of(config):
        lines += ["", f"[{table}]"] if table else [""]
        for doc in setting_docs(kind):
            about = "; ".join(filter(None, (doc.type, doc.limits)))
            lines += [f"# {line}" for line in textwrap.wrap(f"{doc.sentence} ({about})", 110)]
            lines += [f"{doc.name} = {doc.default}" if doc.default else f'# {doc.name} = ""    (required)']
    return "\n".join([*lines, ""])


def tables_of(config: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    """Yield the tables of a configuration: its own settings first, under the empty name, where it has any."""
    hints = get_type_hints(config)
    nested = [(name, hint) for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)]
    if len(nested) < len(fields(config)):
        yield "", config
    yield from nested


def setting_docs(kind: type[Any]) -> list[SettingDoc]:
    """Return the settings of one table, in order; tables within it are left out."""
    sentences, hints = _sentences(kind), get_type_hints(kind)
    return [
        SettingDoc(
            name=field.name,
            type=_type_words(kind, field.name, hints[field.name]),
            limits=str(range_of(kind, field.name) or ""),
            default="" if default_of(field) is MISSING else as_toml(default_of(field)),
            sentence=sentences.get(field.name, ""),
        )
        for field in fields(kind)
        if not is_dataclass(hints[field.name])
    ]


def _type_words(kind: type[Any], name: str, hint: Any) -> str:  # noqa: ANN401 - a type annotation
    if choices := choices_of(kind, name):
        return ", ".join(f"`{choice}`" for choice in choices)
    if hint in _TYPES:
        return _TYPES[hint]
    if getattr(hint, "__origin__", None) is Mapping:
        return "table"
    inner = next((argument for argument in getattr(hint, "__args__", ()) if argument in _TYPES), str)
    return f"list of {_TYPES[inner]}s" if inner is not str else "list of texts"


def _sentences(kind: type[Any]) -> dict[str, str]:
    """Return the docstring under each field, on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            found[statement.target.id] = " ".join(str(text).split())
    return found
