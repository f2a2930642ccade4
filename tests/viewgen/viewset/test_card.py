"""The card of a view set and the printed data format."""

from __future__ import annotations

from pathlib import Path

import yaml

from viewgen.viewset import TABLES, read_manifest
from viewgen.viewset.card import card, data_format


def test_the_card_s_header_declares_every_column_of_every_table(built: Path) -> None:
    _, header, text = (built / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    declared = yaml.safe_load(header)
    assert [config["config_name"] for config in declared["configs"]] == list(TABLES)
    for entry in declared["dataset_info"]:
        names = [feature["name"] for feature in entry["features"]]
        assert names == list(TABLES[entry["config_name"]].columns)
    images = next(entry for entry in declared["dataset_info"] if entry["config_name"] == "images")
    assert {"name": "image", "dtype": "image"} in images["features"]
    assert "| questions | 5 |" in text


def test_the_card_follows_from_the_manifest_alone(built: Path) -> None:
    assert card(read_manifest(built)) == (built / "README.md").read_text(encoding="utf-8")


def test_the_format_has_a_row_for_every_column() -> None:
    page = data_format()
    for name, table in TABLES.items():
        assert f"## {name}" in page
        assert all(f"| `{column}` |" in page for column in table.columns)
