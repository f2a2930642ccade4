"""Encoded images -> small pictures inside a page, each of them once. Pure but for the store that counts them.
Leaves out: which images a page shows (sheet.py) and how large they appear (page.html)."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from viewgen.decode import decode_image
from viewgen.errors import ImageError

WHOLE_PX = 64
"""Pictures of at most this many pixels, squared, keep every pixel; larger ones are shrunk if need be and lose some."""
QUALITY = 78
"""WebP's, 0 to 100: a page of 300 questions with 16 views each stays below 20 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A picture as a page holds it."""

    href: str
    """A data URL."""
    width: int
    height: int
    """Pixels of the picture in the page, which may be smaller than what it was made from."""


def thumbnail(data: bytes, longest_px: int) -> Thumbnail | None:
    """Shrink an image file's bytes to WebP of at most `longest_px` pixels a side; None when it cannot be opened
    safely."""
    try:
        image = decode_image(data)
    except ImageError:
        return None
    return shrunk(image, longest_px)


def shrunk(image: Image.Image, longest_px: int) -> Thumbnail:
    """RGB pixels -> WebP of at most `longest_px` pixels a side, without loss when there are few pixels."""
    shown = image.copy()
    shown.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    shown.save(file, format="WEBP", quality=QUALITY, method=3, lossless=shown.width * shown.height <= WHOLE_PX**2)
    href = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Thumbnail(href=href, width=shown.width, height=shown.height)


class Store:
    """The pictures of a page by name: equal pictures have equal names and are held once."""

    def __init__(self) -> None:
        self.held: dict[str, Thumbnail] = {}
        self.num_bytes = 0
        """Bytes of all thumbnails, as text."""

    def cost(self, pictures: Iterable[Thumbnail | None]) -> int:
        """By how many bytes the store would grow."""
        new = {_name(picture): len(picture.href) for picture in pictures if picture}
        return sum(num for name, num in new.items() if name not in self.held)

    def add(self, picture: Thumbnail | None) -> str | None:
        """Store the image and return its name; None for None."""
        if picture is None:
            return None
        name = _name(picture)
        if name not in self.held:
            self.held[name] = picture
            self.num_bytes += len(picture.href)
        return name


def _name(picture: Thumbnail) -> str:
    return hashlib.blake2b(picture.href.encode(), digest_size=8).hexdigest()
