"""CONTRIBUTING.md, CHANGELOG.md, CITATION.cff and `make help` describe this tree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_linked_file_is_there(name: str) -> None:
    links = [link.replace("\\", "") for link in re.findall(r"\]\(([^)#]+)\)", page(name))]
    assert not [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()]


def test_every_target_that_is_named_can_be_made() -> None:
    named = set(re.findall(r"^make ([\w-]+)", page("CONTRIBUTING.md"), re.MULTILINE))
    assert named
    assert named <= set(re.findall(r"^([\w-]+):(?!=)", page("Makefile"), re.MULTILINE))


def test_every_target_has_a_line_of_help() -> None:
    targets = set(re.findall(r"^([\w-]+):(?!=)", page("Makefile"), re.MULTILINE))
    assert targets == set(re.findall(r"^([\w-]+):.*  ## ", page("Makefile"), re.MULTILINE))


def test_the_light_tests_for_a_newer_python_are_there() -> None:
    (listed,) = re.findall(r"^LIGHT_TESTS := ((?:.*\\\n)*.*)$", page("Makefile"), re.MULTILINE)
    names = listed.replace("\\", "").split()
    assert names
    assert not [name for name in names if not (ROOT / name).exists()]


def test_the_citation_is_of_this_version_under_this_licence() -> None:
    citation = dict(re.findall(r"^([\w-]+): (.+)$", page("CITATION.cff"), re.MULTILINE))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"url: {PROJECT['urls']['Paper']}\n" in page("CITATION.cff")


def test_every_extra_that_the_changelog_removes_is_gone() -> None:
    (removed,) = re.findall(r"- The extras (.*): no code used them", page("CHANGELOG.md"))
    assert not set(re.findall(r"`(\w+)`", removed)) & set(PROJECT["optional-dependencies"])
