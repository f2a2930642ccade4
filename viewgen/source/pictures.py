"""Take pictures that are no files below the root: bytes and base64 inside of tables, and addresses of the web or of a
store (http, https, s3, gs, hf, ...). Each is kept once in a cache of this user's, and has a name that says nothing of
this machine.
Leaves out: files below the root (paths.py), reading and decoding (images.py).

A picture of a table is named bytes:SHA-NAME, by the first 16 hex digits of its SHA-256 and the file name that the table
gives, if any; a fetched one by its address."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from viewgen.decode import UnusableImageError
from viewgen.errors import RecipeError, brief
from viewgen.files import PARTIAL
from viewgen.source.images import ImageConfig
from viewgen.source.paths import image_file

CACHE = "VIEWGEN_CACHE"
"""Environment variable: the folder of the cache."""
SCHEMES = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "hf", "az", "abfs", "memory"})
"""Schemes that are fetched. fsspec opens others too, some of which read files of this machine."""
INSIDE = "bytes:"
RETRY_AFTER_S = (1.0, 5.0)
"""Seconds before a second and a third try to fetch."""
GONE = frozenset({401, 403, 404, 410})
"""Answers of a server that speak of the picture; all others speak of the server or of the way to it."""
_MAGIC = r"data:image/|(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk[01])"
BASE64 = re.compile(rf"data:image/|(?:{_MAGIC})(?:[A-Za-z0-9+/\s]{{40,}}={{0,2}}\s*$|[^\0]{{300}})")
"""A picture as text: a data: URI, or JPEG, PNG, GIF, WebP, TIFF or BMP in base64. A file's name is no longer than 255."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SAFE = re.compile(r"[^\w.\- ]+")


Opener = Callable[..., Any]
"""fsspec.open: an address and a mode -> an open file of any library."""


def cache_folder() -> Path:
    """Return the folder of the cache: that of the environment, else viewgen/images in the user's own for caches."""
    if named := os.environ.get(CACHE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "viewgen" / "images"


def is_inside(path: str) -> bool:
    """Return True for the name of a picture that came inside of a table."""
    return path.startswith(INSIDE)


def is_address(path: str) -> bool:
    """Return True for an address of the web or of a store, of one of SCHEMES. Chains of fsspec (zip://a::file://b), which
    could read files of this machine, are none."""
    scheme = _ADDRESS.match(path)
    return scheme is not None and scheme[1].lower() in SCHEMES and "::" not in path


def cached(name: str) -> Path:
    """Return the place in the cache of a picture with this name."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / digest[:2] / digest


def locate(path: str, root: Path, config: ImageConfig, follow_links: bool, fetch: bool) -> tuple[str, Path]:
    """Return the name of the image that a question's image_path names, and the file that holds it: below the root, or in
    the cache, into which it is fetched first where that is needed. The name of a file is its path below the root.

    Raises UnusableImageError for an image that is not there or that the recipe does not allow, RecipeError where it
    cannot be fetched for now."""
    if is_inside(path):
        return path, cached(path)
    if is_address(path) and fetch:
        return path, fetched(path, config.max_file_mb)
    other = _ADDRESS.match(path)
    if fetch and other and other[1].lower() != "file":
        what = f"image_path is an address of a kind that is not fetched ({other[0]})"
        raise UnusableImageError("remote_image", f"{what}. Download the image")
    found = image_file(path, root, follow_links)
    return found, root / found


def file_of(name: str, root: Path) -> Path:
    """Return the file of a located image, by its name."""
    return cached(name) if is_inside(name) or is_address(name) else root / name


def keep(data: bytes, file_name: str = "") -> str:
    """Keep the bytes of a picture, and return its name. Raises OSError for a full disk."""
    name = f"{INSIDE}{hashlib.sha256(data).hexdigest()[:16]}"
    if plain := _SAFE.sub("_", PurePosixPath(file_name.replace("\\", "/")).name)[-80:]:
        name = f"{name}-{plain}"
    _write(cached(name), data)
    return name


def taken(value: object) -> str:
    """Return the name of a picture as a table gives it: a path or an address as it stands; of bytes, a struct {bytes,
    path}, a data: URI or base64, which are kept. No bytes at all, or text that is none of these though it begins so,
    become a picture that cannot be opened.

    taken("photos/a.jpg")                                    # "photos/a.jpg"
    taken({"bytes": b"...", "path": "a.jpg"})                # "bytes:ab5df625bc76dbd4-a.jpg"
    """
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path") or ""
        return taken(path) if data is None and path else keep(bytes(data or b""), str(path))
    if isinstance(value, bytes | bytearray | memoryview):
        return keep(bytes(value))
    text = str(value)
    return keep(_decoded(text)) if BASE64.match(text) else text


def check_kept(name: str, sha256: str) -> None:
    """Raise UnusableImageError, and forget it, when a kept picture is not the one that its name says."""
    if is_inside(name) and not sha256.startswith(name.removeprefix(INSIDE)[:16]):
        cached(name).unlink(missing_ok=True)
        raise UnusableImageError("missing_image", "the cache held another picture, which was removed. Build again")


def fetched(address: str, max_file_mb: float) -> Path:
    """Return the place in the cache of a fetched picture; fetch it where it is not there yet.

    Raises UnusableImageError: missing_image for an address without a picture, oversize_image above max_file_mb; and
    RecipeError where the server or the way to it fails, after three tries: fetched pictures are kept."""
    path = cached(address)
    if not path.is_file():
        _write(path, _fetch(address, max_file_mb))
    return path


def _fetch(address: str, max_file_mb: float) -> bytes:
    opened = _opener(address)
    limit = int(max_file_mb * 1e6)
    fault: Exception | None = None
    for wait_s in (0.0, *RETRY_AFTER_S):
        time.sleep(wait_s)
        try:
            with opened(address, mode="rb") as file:
                data = bytes(file.read(limit + 1))
        except Exception as error:  # every library has its own kinds of errors
            if _is_gone(error):
                raise UnusableImageError("missing_image", f"{address}: there is no such image") from None
            fault = error
            continue
        if len(data) > limit:
            raise UnusableImageError("oversize_image", f"{address}: more than max_file_mb {max_file_mb:g}")
        return data
    assert fault is not None
    what = f"{_plain(address)}: cannot be fetched ({brief(fault)})"
    raise RecipeError(f"{what}. Run the same command again: images that were fetched are kept.")


def _opener(address: str) -> Opener:
    """Return fsspec.open. Raises RecipeError where a package is missing that this kind of address needs."""
    try:
        import fsspec

        fsspec.get_filesystem_class(urlsplit(address).scheme)
    except (ImportError, ValueError) as error:
        remedy = "Run `pip install 'vzero-evidence[remote]'`, or download the images"
        raise RecipeError(f"{_plain(address)}: cannot be fetched ({brief(error)}). {remedy}.") from None
    opened: Opener = fsspec.open
    return opened


def _is_gone(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "status", None) in GONE


def _plain(address: str) -> str:
    """Return an address without user, password and query, which may hold a secret."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _decoded(text: str) -> bytes:
    """Return the bytes of a data: URI or of base64; of broken ones, the text."""
    head, _, body = text.partition(",") if text.startswith("data:") else ("base64", "", text)
    try:
        if head.rpartition(";")[2] != "base64":
            return unquote_to_bytes(body)
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "surrogateescape")


def _write(path: Path, data: bytes) -> None:
    """Write a picture, whole or not at all, whatever other threads and processes write at the same time."""
    if path.is_file() and path.stat().st_size == len(data):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
