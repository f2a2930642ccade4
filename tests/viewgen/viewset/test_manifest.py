"""The manifest: read back as it was written, refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from viewgen.errors import ShardError
from viewgen.viewset.manifest import fingerprint, read_manifest, write_manifest


def test_a_manifest_is_read_back_as_it_was_written(built: Path, tmp_path: Path) -> None:
    manifest = read_manifest(built)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert manifest.is_complete
    assert not replace(manifest, parts=manifest.parts[:-1]).is_complete


def test_equal_things_have_equal_fingerprints_whatever_their_order() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint(None)) == 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 99}, "schema version 99, this viewgen reads"),
        ({"num_parts": "many"}, "broken \\(num_parts"),
        ({"unknown": 1}, "broken \\(unknown"),
    ],
)
def test_a_manifest_that_is_none_is_one_line_with_the_remedy(own: Path, change: dict[str, object], said: str) -> None:
    path = own / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ShardError, match=said) as refusal:
        read_manifest(own)
    assert str(refusal.value).endswith("--force`.")
    assert "\n" not in str(refusal.value)


def test_a_folder_without_one_is_no_view_set(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"holds no manifest\.json, so it is no view set"):
        read_manifest(tmp_path)
    with pytest.raises(ShardError, match="there is no such folder"):
        read_manifest(tmp_path / "gone")
