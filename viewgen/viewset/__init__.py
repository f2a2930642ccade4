"""The view set on disk: its schema, its manifest, the writer of its parts and their checked reader. The one door into
viewgen for the trainer and for everybody else who reads views; loads no model library.

In: finished records of a build, or the path of a folder. Out: Parquet parts with a manifest, or a ViewSet."""

from __future__ import annotations

from viewgen.viewset.database import matching
from viewgen.viewset.manifest import Manifest, read_manifest
from viewgen.viewset.parts import table_path, write_table
from viewgen.viewset.schema import SCHEMA_VERSION, TABLES
from viewgen.viewset.shards import StoredSample, ViewSet
from viewgen.viewset.stream import Item, ViewStream

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "Item",
    "Manifest",
    "StoredSample",
    "ViewSet",
    "ViewStream",
    "matching",
    "read_manifest",
    "table_path",
    "write_table",
]
