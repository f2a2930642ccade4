"""Find the file that a source's image_path names below the root, however it is written: a file:// URI, an absolute path
inside the root, backslashes, %20, composed or decomposed letters, blanks at its ends.
Leaves out: reading the file (images.py). The path as it stands comes first; another spelling is tried only where no file
has that name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from viewgen.decode import UnusableImageError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?=//)|data:(?=image/)")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def image_file(path: str, root: Path, follow_links: bool = False) -> str:
    """Return the path, relative to the root, of the file that `path` names; `path` itself where there is no such file.

    Raises UnusableImageError: remote_image for an address of the web or a store, outside_root for a path that leaves
    the root, link_outside_root for a link that does, unless `follow_links`.

    image_file("file:///data/photos/a%20b.jpg", Path("/data/photos"))    # "a b.jpg"
    """
    inside = _inside(path, root)
    for spelling in _spellings(inside):
        if _is_file(root / spelling):
            _refuse_link(spelling, root, follow_links)
            return spelling
    return inside


def _inside(path: str, root: Path) -> str:
    """Return the path relative to the root, lexically."""
    scheme = _SCHEME.match(path)
    if scheme and scheme[0].lower() != "file:":
        what = f"image_path is an address ({scheme[0]}). Set source.fetch = true to fetch it, or download it"
        raise UnusableImageError("remote_image", what)
    if scheme:
        uri = urlsplit(path)
        if uri.netloc not in {"", "localhost"}:
            raise UnusableImageError("remote_image", "image_path is the file:// URI of another machine. Copy the file")
        path = unquote(uri.path)
    if _DRIVE.match(path):
        raise UnusableImageError("outside_root", "image_path is a path of Windows with a drive. Make it relative")
    pure = PurePosixPath(path)
    if pure.is_absolute():
        pure = _relative(pure, root)
        path = str(pure)
    if ".." in pure.parts or ".." in path.replace("\\", "/").split("/"):
        raise UnusableImageError("outside_root", "image_path leaves the recipe's root")
    return path


def _relative(path: PurePosixPath, root: Path) -> PurePosixPath:
    for folder in (root, root.resolve()):
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    raise UnusableImageError("outside_root", "image_path leaves the recipe's root")


def _spellings(path: str) -> Iterator[str]:
    """Yield the path as it stands, then its other spellings, each once."""
    seen: set[str] = set()
    decoded = (path, path.replace("\\", "/"), unquote(path), unquote(path).replace("\\", "/"))
    for text in (each for form in decoded for each in (form, form.strip())):
        for spelling in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
            is_safe = not spelling.startswith("/") and ".." not in spelling.split("/") and "\0" not in spelling
            if is_safe and spelling not in seen:
                seen.add(spelling)
                yield spelling


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _refuse_link(path: str, root: Path, follow_links: bool) -> None:
    if not follow_links and not Path(os.path.realpath(root / path)).is_relative_to(os.path.realpath(root)):
        what = "image_path is a link that leaves the recipe's root; source.follow_links = true follows it"
        raise UnusableImageError("link_outside_root", what)
