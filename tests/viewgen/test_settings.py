"""Refusals of settings: one line that names the file, the one setting, its value, what was expected and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import ConfigDict

from viewgen.errors import SettingsError
from viewgen.settings import (
    STRICT,
    Range,
    SettingValueError,
    as_toml,
    assigned,
    check_names,
    check_ranges,
    local_path,
    read_toml,
    settings_from,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    __renamed__: ClassVar[Mapping[str, str]] = {"old_px": "size_px"}

    size_px: Annotated[int, Range(ge=1, unit="px")] = 8
    rate: Annotated[float, Range(gt=0, le=1)] = 0.5
    sides: Annotated[tuple[int, ...], Range(ge=2)] = (2, 4)
    limit: Annotated[float, Range(ge=1, infinite=True)] = float("inf")
    tile: Annotated[int, Range(ge=32, unit="px", or_zero=True)] = 0
    how: Literal["fast", "good"] = "good"
    is_on: bool = True
    words: tuple[str, ...] = ("a",)

    def __post_init__(self) -> None:
        check_ranges(self)
        check_names("words", self.words, ("a", "blurred"), "Read about them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    needed: str
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (
            {"size_px": 0},
            "inner.size_px is 0; it must be a whole number at least 1 px. Leave it out for the default, 8.",
        ),
        (
            {"rate": 0},
            "inner.rate is 0.0; it must be a number above 0 and at most 1. Leave it out for the default, 0.5.",
        ),
        ({"rate": float("nan")}, "inner.rate is nan; it must be a number above 0 and at most 1. "),
        ({"sides": [4, 1]}, "inner.sides is [4, 1]; it must be a whole number at least 2. "),
        (
            {"limit": 0.5},
            "inner.limit is 0.5; it must be a number at least 1, or inf. Leave it out for the default, inf.",
        ),
        ({"tile": 16}, "inner.tile is 16; it must be a whole number at least 32 px, or 0. "),
        ({"size_px": "many"}, "inner.size_px is 'many'; it must be a whole number. Leave it out for the default, 8."),
        (
            {"is_on": "perhaps"},
            "inner.is_on is 'perhaps'; it must be true or false. Leave it out for the default, true.",
        ),
        (
            {"how": "well"},
            "inner.how is 'well'; it must be one of 'fast', 'good'. Leave it out for the default, \"good\".",
        ),
        ({"words": ["blured"]}, "inner.words is ['blured']; it must be a list of a, blurred. Did you mean 'blurred'?"),
        ({"words": ["xyz"]}, "inner.words is ['xyz']; it must be a list of a, blurred. Read about them."),
        ({"sise_px": 3}, "unknown setting 'inner.sise_px'. Did you mean 'size_px'?"),
        ({"old_px": 3}, "inner.old_px is called inner.size_px now. Rename it."),
    ],
)
def test_the_one_setting_that_is_wrong_is_named(inner: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_from({"needed": "x", "inner": inner}, Outer, "a.toml")
    said = str(refusal.value)
    assert said.startswith(f"a.toml: {message}")
    assert "\n" not in said


def test_a_missing_setting_and_a_table_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"^a.toml: setting 'needed' is missing. Add it.$"):
        settings_from({}, Outer, "a.toml")
    with pytest.raises(SettingsError, match=r"^a.toml: inner is 3; it must be a table of settings. "):
        settings_from({"needed": "x", "inner": 3}, Outer, "a.toml")


def test_right_values_pass_at_their_bounds() -> None:
    inner = {"size_px": 1, "rate": 1.0, "limit": float("inf"), "tile": 32, "sides": [2]}
    assert settings_from({"needed": "x", "inner": inner}, Outer, "a.toml").inner.rate == 1.0


def test_a_settings_dataclass_refuses_when_it_is_made_in_python_too() -> None:
    with pytest.raises(SettingValueError, match=r"^size_px is -1; it must be a whole number at least 1 px"):
        Inner(size_px=-1)


def test_a_file_that_is_missing_or_no_toml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("[a")
    with pytest.raises(SettingsError, match=r"a\.toml: not TOML: "):
        read_toml(tmp_path / "a.toml")


@pytest.mark.fault(28)
def test_a_byte_order_mark_of_an_editor_is_no_part_of_the_toml(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfneeded = 'x'\n")
    assert read_toml(tmp_path / "a.toml") == {"needed": "x"}


@pytest.mark.parametrize("name", ["./m", "../m", "/m", "here"])
def test_a_path_is_relative_to_the_file_that_names_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    assert local_path(name, tmp_path) == str((tmp_path / name).resolve())


@pytest.mark.parametrize("name", ["Qwen/Qwen3-VL-2B", "embedded:drawn-vlm", "ViT-B-32", ""])
def test_all_else_is_a_name(name: str, tmp_path: Path) -> None:
    assert local_path(name, tmp_path) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (1.5, "1.5"), ('a"\n\\', '"a\\"\\n\\\\"'), (("a", 1), '["a", 1]'), (float("inf"), "inf")],
)
def test_values_are_written_as_toml_reads_them(value: object, text: str) -> None:
    import tomllib

    assert as_toml(value) == text
    read = tomllib.loads(f"a = {text}")["a"]
    assert read == (list(value) if isinstance(value, tuple) else value)


def test_settings_on_a_command_line_are_toml_or_plain_words() -> None:
    assert assigned(["fill=black", "side = 14", "on=true"], "here") == {"fill": "black", "side": 14, "on": True}
    with pytest.raises(SettingsError, match=r"^here: 'fill' sets nothing; it must be NAME=VALUE\."):
        assigned(["fill"], "here")
