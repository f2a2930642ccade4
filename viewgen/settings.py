"""Read a TOML file into frozen dataclasses, or refuse it in one line that names the one setting that is wrong. Used by
viewgen and by trainer, so that both refuse in the same words:

    recipe.toml: views.blur_px is -3.0; it must be a number above 0 px. Leave it out for the default, 8.0.

Leaves out: the settings themselves, which stand with what they configure; docs/settings.md (setting_docs.py)."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from viewgen.errors import SettingsError

STRICT = ConfigDict(extra="forbid", strict=False)
"""Give it to a settings dataclass as `__pydantic_config__`; unknown keys are then refused. Nested ones need it too."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Bounds and unit of a number, as the annotation of its setting: `Annotated[float, Range(gt=0, unit="px")]`.

    Of a list, the bounds hold for each number. Not-a-number is always outside, infinity unless `infinite`."""

    gt: float | int | None = None
    ge: float | int | None = None
    lt: float | int | None = None
    le: float | int | None = None
    unit: str = ""
    infinite: bool = False
    """Infinity is allowed: it switches the limit off."""
    or_zero: bool = False
    """0 is allowed besides: it leaves the choice to the program."""

    def holds(self, value: float | int) -> bool:
        """Return True when the number lies within the bounds."""
        if self.or_zero and value == 0:
            return True
        bounds = (
            self.gt is None or value > self.gt,
            self.ge is None or value >= self.ge,
            self.lt is None or value < self.lt,
            self.le is None or value <= self.le,
        )
        return all(bounds) and not math.isnan(value) and (self.infinite or not math.isinf(value))

    def __str__(self) -> str:
        """Write the bounds as words: at least 1, from 0 to 1, above 0 and at most 178 megapixels."""
        unit = f" {self.unit}" if self.unit else ""
        if self.ge is not None and self.le is not None:
            words = f"from {self.ge:g} to {self.le:g}{unit}"
        else:
            named = {"above": self.gt, "at least": self.ge, "below": self.lt, "at most": self.le}
            words = " and ".join(f"{word} {bound:.12g}" for word, bound in named.items() if bound is not None) + unit
        return (f"{words}, or 0" if self.or_zero else words) + (", or inf" if self.infinite else "")


class SettingValueError(ValueError):
    """A value that a setting cannot have. `setting` is its name within its table."""

    def __init__(self, setting: str, value: object, expected: str, remedy: str) -> None:
        super().__init__(f"{setting} is {value!r}; it must be {expected}. {remedy}")
        self.setting = setting


def check_ranges(config: Any) -> None:  # noqa: ANN401 - any settings dataclass
    """Raise SettingValueError for the first setting outside its Range. For a settings dataclass's __post_init__."""
    for name, (hint, limits) in _ranges(type(config)).items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not limits.holds(number):
                kind = "a whole number" if "int" in hint else "a number"
                shown = list(value) if isinstance(value, tuple) else value
                raise SettingValueError(name, shown, f"{kind} {limits}", default_remedy(type(config), name))


def default_remedy(kind: type[Any], name: str) -> str:
    """Return the sentence that names the default of a setting, or asks for a value where it has none."""
    default = next(default_of(field) for field in fields(kind) if field.name == name)
    return "Give one." if default is MISSING else f"Leave it out for the default, {as_toml(default)}."


def default_of(field: Field[Any]) -> Any:  # noqa: ANN401 - a setting of any type
    """Return the default of a setting; MISSING where there is none."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def check_names(setting: str, names: str | Sequence[str], known: Iterable[str], remedy: str) -> None:
    """Raise SettingValueError for the first name that is not known, with the nearest known one."""
    choices = list(known)
    for name in [names] if isinstance(names, str) else names:
        if name not in choices:
            near = difflib.get_close_matches(name, choices, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else remedy
            expected = f"one of {', '.join(choices)}" if isinstance(names, str) else f"a list of {', '.join(choices)}"
            raise SettingValueError(setting, names if isinstance(names, str) else list(names), expected, hint)


def as_toml(value: object) -> str:
    """Write a setting's value as TOML does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_toml, value))}]"
    return str(value)


def read_toml(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file. Raises SettingsError when it is missing, unreadable, or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a byte order mark
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file. Give the path of a TOML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as text ({error}). Give the path of a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}.") from None


def settings_from(tables: Mapping[str, Any], kind: type[T], where: Path | str) -> T:
    """Make an instance of the dataclass `kind` from tables. Raises SettingsError that names the setting and the remedy.

    settings_from(read_toml(path), BuildConfig, path)
    """
    try:
        return TypeAdapter(kind).validate_python(dict(tables))
    except ValidationError as refusal:
        first = refusal.errors()[0]
        raise SettingsError(f"{where}: {_complaint(kind, [str(step) for step in first['loc']], first)}") from None


def assigned(texts: Sequence[str], where: str) -> dict[str, Any]:
    """Read settings written as NAME=VALUE; a value is TOML's, or a word without quotes. Raises SettingsError.

    assigned(["mask_fill=black", "patch_px=14"], "viewgen recut")    # {"mask_fill": "black", "patch_px": 14}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (piece.strip() for piece in text.partition("="))
        if not equals or not name:
            raise SettingsError(f"{where}: {text!r} sets nothing; it must be NAME=VALUE. Write it so.")
        try:
            found[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name] = value
    return found


def local_path(name: str, folder: Path) -> str:
    """Return a model's name or path: what begins with ./, ../ or /, or lies in the folder of the file that names it, is a
    path relative to that folder, which is returned absolute; all else is a hub id or a name, returned as it is.

    local_path("./model", Path("/recipes"))    # /recipes/model
    """
    is_path = name.startswith(("./", "../", "/")) or (bool(name) and (folder / name).exists())
    return str((folder / name).resolve()) if is_path else name


def _ranges(kind: type[Any]) -> dict[str, tuple[str, Range]]:
    """Return type and Range of each setting that has one."""
    found: dict[str, tuple[str, Range]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is Annotated:
            inner, *notes = get_args(hint)
            limits = next((note for note in notes if isinstance(note, Range)), None)
            found |= {name: (str(inner), limits)} if limits else {}
    return found


def range_of(kind: type[Any], name: str) -> Range | None:
    """Return the Range of a setting; None where it has none."""
    return _ranges(kind).get(name, (None, None))[1]


def _complaint(kind: type[Any], path: list[str], error: Mapping[str, Any]) -> str:
    name = ".".join(path)
    if error["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return _unknown(_settings_at(kind, path[:-1]), path)
    if error["type"] in {"missing", "missing_argument"}:
        return f"setting {name!r} is missing. Add it."
    cause = error["ctx"]["error"] if error["type"] == "value_error" else None
    if isinstance(cause, SettingValueError):  # raised by a table, which names the setting within it
        return f"{name}.{cause}" if path else str(cause)
    if cause is not None:
        return f"{name}: {cause}" if path else str(cause)
    setting = [step for step in path if not step.isdigit()]
    remedy = default_remedy(_settings_at(kind, setting[:-1]), setting[-1])
    return f"{'.'.join(setting)} is {error['input']!r}; it must be {_expected(error)}. {remedy}"


def _unknown(table: type[Any], path: list[str]) -> str:
    new_name = getattr(table, "__renamed__", {}).get(path[-1])
    if new_name:
        return f"{'.'.join(path)} is called {'.'.join([*path[:-1], new_name])} now. Rename it."
    known = sorted(field.name for field in fields(table))
    near = difflib.get_close_matches(path[-1], known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
    return f"unknown setting {'.'.join(path)!r}. {hint}"


_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "dataclass": "a table of settings",
    "dict": "a table of settings",
}


def _expected(error: Mapping[str, Any]) -> str:
    """Return the type that a setting needs, in words."""
    if error["type"] == "literal_error":
        return f"one of {error['ctx']['expected'].replace(' or ', ', ')}"
    return _EXPECTED.get(str(error["type"]).partition("_")[0], f"valid ({error['msg']})")


def _settings_at(kind: Any, path: list[str]) -> Any:  # noqa: ANN401 - a dataclass type, found by walking annotations
    """Return the dataclass that holds the setting at `path` below `kind`."""
    for step in path:
        hint = get_type_hints(kind).get(step)
        kind = next((choice for choice in (hint, *get_args(hint)) if is_dataclass(choice)), kind)
    return kind


def choices_of(kind: type[Any], name: str) -> tuple[str, ...]:
    """Return the words that a setting allows; empty where it allows others too."""
    hint = get_type_hints(kind).get(name)
    return tuple(get_args(hint)) if get_origin(hint) is Literal else ()
