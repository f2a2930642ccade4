"""Hand a view set on to other trainers and tools, each in the form that it reads, after its own checks have been made on
every row.

In: a ViewSet. Out: Parquet files, JSON or a tar, whole or not at all, with a count of what was left out and why."""

from __future__ import annotations

from viewgen.export.run import CONSUMERS, ExportConfig, ExportReport, export

__all__ = ["CONSUMERS", "ExportConfig", "ExportReport", "export"]
