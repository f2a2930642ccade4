"""Read and write manifest.json: the settings, seed and models of a view set, and the files of each finished part.
Leaves out: the tables themselves (shards.py).

A manifest stores neither time nor path: equal builds have equal manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from viewgen.errors import ShardError
from viewgen.files import write_whole
from viewgen.settings import STRICT
from viewgen.viewset.schema import READ_VERSIONS, TABLES

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Row count, size in bytes and SHA-256 of one Parquet file."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """A finished part of a view set: one file per table, about the same images."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    part: int
    num_questions: int
    """Questions that came in: kept and rejected."""
    fingerprint: str
    """Hash of the part's inputs: questions, image files, settings, seed, models, code."""
    files: Mapping[str, FileRecord]
    """Table -> its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Settings, seed, models and parts of a view set."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    schema_version: int
    made_by: Mapping[str, str]
    """Versions of viewgen and of the libraries that shape bytes; `code`: hash of viewgen's own source."""
    seed: int
    config: Mapping[str, Any]
    """Every setting of the build, defaults included."""
    models: Mapping[str, str]
    """Model -> sha256 of its weights."""
    num_parts: int
    """Number of parts of the finished build."""
    parts: tuple[PartRecord, ...]
    """Finished parts, in order."""

    def __post_init__(self) -> None:
        numbers = [record.part for record in self.parts]
        if numbers != sorted({*numbers} & {*range(self.num_parts)}):
            raise ValueError(f"parts are numbered {numbers}: expected rising numbers below {self.num_parts}")
        for record in self.parts:
            if {*record.files} != {*TABLES}:
                raise ValueError(f"part {record.part} has files of {sorted(record.files)}, expected {sorted(TABLES)}")

    @property
    def is_complete(self) -> bool:
        """True when every part is finished."""
        return len(self.parts) == self.num_parts


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the view set at `folder`. Raises ShardError when it is missing, broken or of another schema
    version."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ShardError(f"{folder}: there is no such folder. Make it with `viewgen build RECIPE --out {folder}`.")
    if not path.is_file():
        raise ShardError(f"{folder}: holds no {MANIFEST}, so it is no view set. Give a folder of `viewgen build`.")
    again = f"Rebuild with `viewgen build RECIPE --out {folder} --force`."
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
        version = tables["schema_version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path}: broken ({_one_line(error)}). {again}") from None
    if version not in READ_VERSIONS:
        known = " and ".join(map(str, READ_VERSIONS))
        raise ShardError(f"{path}: schema version {version!r}, this viewgen reads {known}. {again}")
    try:
        return TypeAdapter(Manifest).validate_python(tables)
    except ValidationError as refusal:
        first = refusal.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ShardError(f"{path}: broken ({where}: {first['msg']}). {again}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of the view set at `folder`."""
    with write_whole(folder / MANIFEST) as partial:
        partial.write_text(manifest_text(manifest), encoding="utf-8")


def manifest_text(manifest: Manifest) -> str:
    """Return the text of manifest.json."""
    return json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n"


def fingerprint(thing: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    """Hash a JSON value (SHA-256, hex), whatever the order of its keys. Raises ValueError for NaN and infinity."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
