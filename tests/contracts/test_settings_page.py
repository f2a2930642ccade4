"""docs/settings.md and the TOML of `viewgen settings` and `trainer settings` are what the code says."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from trainer.config import RunConfig
from viewgen.build.config import BuildConfig
from viewgen.setting_docs import setting_docs, settings_page, settings_toml, tables_of
from viewgen.settings import settings_from

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """# Settings

Printed from the code. `viewgen settings` and `trainer settings` print the same as TOML files with every default.

"""
PROGRAMS = {"viewgen build": BuildConfig, "trainer run": RunConfig}


def test_the_document_is_what_the_code_prints() -> None:
    printed = HEAD + "\n".join(settings_page(program, config) for program, config in PROGRAMS.items())
    assert PAGE.read_text(encoding="utf-8") == printed, "print it anew: python -m tests.contracts.test_settings_page"


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_printed_file_holds_every_default(program: str) -> None:
    config = PROGRAMS[program]
    tables = tomllib.loads(settings_toml(program, config))
    if config is BuildConfig:
        tables["source"] = {"root": "data", "query": "FROM 'a.csv'"}
    read: Any = settings_from(tables, config, "printed.toml")
    defaults: Any = BuildConfig(source=read.source) if isinstance(read, BuildConfig) else RunConfig()
    assert read == defaults


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_setting_has_a_sentence_and_every_number_a_range(program: str) -> None:
    for table, kind in tables_of(PROGRAMS[program]):
        hints = get_type_hints(kind)
        for doc in setting_docs(kind):
            assert doc.sentence, f"[{table}] {doc.name} has no sentence"
            if "number" in doc.type:
                assert doc.limits or doc.name == "seed", f"[{table}] {doc.name} has no range"
        assert len(setting_docs(kind)) == sum(not is_dataclass(hints[field.name]) for field in fields(kind))


if __name__ == "__main__":
    PAGE.write_text(HEAD + "\n".join(settings_page(program, config) for program, config in PROGRAMS.items()))
