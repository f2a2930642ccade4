"""Question-relevant evidence views: build them, store them as Parquet, read them back, look at them.

    from viewgen import ViewSet
    views = ViewSet.open(Path("my-views"))

Names are imported when they are first used, so that `import viewgen` loads no library. Everything else may change."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viewgen.build.builder import BuildOptions, BuildReport, build_views
    from viewgen.build.config import BuildConfig, read_config
    from viewgen.decode import decode_image
    from viewgen.errors import ViewgenError
    from viewgen.views.cutting import recompute_view
    from viewgen.views.kinds import Kind, register
    from viewgen.viewset.shards import StoredSample, ViewSet

__version__ = "0.1.0"
__all__ = [
    "BuildConfig",
    "BuildOptions",
    "BuildReport",
    "Kind",
    "StoredSample",
    "ViewSet",
    "ViewgenError",
    "build_views",
    "decode_image",
    "read_config",
    "recompute_view",
    "register",
]
_HOMES = {
    "BuildConfig": "build.config",
    "BuildOptions": "build.builder",
    "BuildReport": "build.builder",
    "Kind": "views",
    "StoredSample": "viewset",
    "ViewSet": "viewset",
    "ViewgenError": "errors",
    "build_views": "build.builder",
    "decode_image": "decode",
    "read_config": "build.config",
    "recompute_view": "views",
    "register": "views",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
