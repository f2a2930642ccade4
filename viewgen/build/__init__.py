"""The build: settings of a recipe, the plan of its parts, the list of stages (stages.STAGES), workers, and writing.

In: the path of a recipe. Out: a view set, part by part; a killed build goes on after its last finished part. Names are
imported when they are first used: a worker process needs few of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viewgen.build.builder import BuildOptions, BuildReport, build_views
    from viewgen.build.config import BuildConfig, read_config

__all__ = ["BuildConfig", "BuildOptions", "BuildReport", "build_views", "read_config"]
_HOMES = {
    "BuildConfig": "config",
    "BuildOptions": "builder",
    "BuildReport": "builder",
    "build_views": "builder",
    "read_config": "config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
