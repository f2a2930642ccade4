"""A TOML file -> a frozen dataclass, or one clear line that says which setting is wrong. Pure but for reading the file.
Leaves out: what the settings are; each stands beside what it configures. Used by viewgen and by trainer, so that both
refuse in the same words."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from viewgen.errors import SettingsError

STRICT = ConfigDict(extra="forbid", strict=False)
"""Give it to a settings dataclass as `__pydantic_config__`; unknown keys are then refused. Nested ones need it too."""

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file. Raises SettingsError when it is missing, unreadable, or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file. Give the path of a TOML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as text ({error}). Give the path of a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}.") from None


def settings_from(tables: Mapping[str, Any], kind: type[T], where: Path | str) -> T:
    """Tables -> an instance of the dataclass `kind`. Raises SettingsError that names the setting and the remedy."""
    try:
        return TypeAdapter(kind).validate_python(dict(tables))
    except ValidationError as refusal:
        first = refusal.errors()[0]
        path = [str(step) for step in first["loc"]]
        raise SettingsError(f"{where}: {_complaint(kind, path, first)}") from None


def _complaint(kind: type[Any], path: list[str], error: Mapping[str, Any]) -> str:
    name = ".".join(path)
    if error["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = sorted(f.name for f in fields(_settings_at(kind, path[:-1])))
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
        return f"unknown setting {name!r}. {hint}"
    if error["type"] in {"missing", "missing_argument"}:
        return f"setting {name!r} is missing. Add it."
    if error["type"] == "value_error" and not path:
        return f"{error['ctx']['error']}"
    said = str(error["ctx"]["error"]) if error["type"] == "value_error" else str(error["msg"])
    end = "" if said.endswith(("?", ".")) else "."
    return f"setting {name!r} is {error['input']!r}: {said[:1].lower()}{said[1:]}{end} Change it."


def _settings_at(kind: Any, path: list[str]) -> Any:  # noqa: ANN401 - a dataclass type, found by walking annotations
    """Return the dataclass that holds the setting at `path` below `kind`."""
    for step in path:
        hint = get_type_hints(kind).get(step)
        choices = [hint, *get_args(hint)]
        kind = next((c for c in choices if is_dataclass(c)), kind)
    return kind
