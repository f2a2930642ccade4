"""Read the image files of a source within limits, and decode them.
Leaves out: decoding bytes (decode.py), the choice of the files (recipe.py)."""

from __future__ import annotations

import errno
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from PIL import Image
from pydantic import ConfigDict

from viewgen.decode import MAX_MEGAPIXELS, UnusableImageError, decode_oriented
from viewgen.settings import STRICT, Range, check_ranges

PASSING = frozenset(
    {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY}
    | {errno.ENOTCONN, errno.EHOSTDOWN, errno.EINTR, errno.ENODEV, errno.EREMOTEIO}
)
"""Errors of the machine, which say nothing about the file."""
RETRY_AFTER_S = (0.1, 1.0)
"""Seconds before a second and a third try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """Limits of images: a small file can unfold to more pixels than memory holds."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_megapixels: Annotated[float, Range(gt=0, le=MAX_MEGAPIXELS, unit="megapixels")] = 89.0
    """Width x height in millions of pixels, above 0 and up to 178. Pillow warns above 89 and refuses above 178."""
    max_file_mb: Annotated[float, Range(gt=0, unit="MB")] = 100.0
    """Size of the file in millions of bytes, above 0. Ours: the largest photographs have some 50."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedImage:
    """A decoded image with the bytes of its file."""

    image: Image.Image
    """RGB, upright, pixels loaded, no metadata."""
    data: bytes
    """The file, byte for byte."""
    sha256: str
    """SHA-256 of `data`, in hex."""
    width_px: int
    height_px: int
    orientation: int
    """EXIF orientation, 1 to 8, that turned the stored pixels upright."""


def read_image_file(path: Path, config: ImageConfig) -> bytes:
    """Read the bytes of an image file. Raises UnusableImageError: missing_image for a path that is no plain file,
    unreadable_image, or oversize_image above max_file_mb. A fault of the machine is tried again, then raised."""
    for wait_s in (*RETRY_AFTER_S, None):
        try:
            return _file_bytes(path, config)
        except OSError as error:
            if error.errno not in PASSING:
                raise UnusableImageError("unreadable_image", f"cannot be read ({error.strerror})", path) from None
            if wait_s is None:
                raise
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _file_bytes(path: Path, config: ImageConfig) -> bytes:
    if not path.is_file():  # also keeps pipes and devices out, which would block or never end
        raise UnusableImageError("missing_image", "there is no such file", path)
    size_mb = path.stat().st_size / 1e6
    if size_mb <= config.max_file_mb:
        return path.read_bytes()
    raise UnusableImageError("oversize_image", f"{size_mb:.1f} MB, more than max_file_mb {config.max_file_mb:g}", path)


def open_image(path: Path, config: ImageConfig) -> DecodedImage:
    """Read and decode the image at `path`. Raises UnusableImageError: missing_image, unreadable_image or oversize_image
    (above max_file_mb or max_megapixels).

    open_image(Path("photo.jpg"), ImageConfig()).image.size    # (width, height) in pixels, upright
    """
    data = read_image_file(path, config)
    try:
        image, orientation = decode_oriented(data, config.max_megapixels)
    except UnusableImageError as error:
        raise UnusableImageError(error.reason, error.what, path) from None
    return DecodedImage(
        image=image,
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        width_px=image.width,
        height_px=image.height,
        orientation=orientation,
    )
