"""Decode the bytes of any image file into upright RGB pixels, safely; encode pixels as PNG, with equal bytes every time.
Leaves out: colour profiles (pixels are taken as they are), all frames but the first, reading files (source/images.py).

How pixels become RGB: EXIF orientation is applied and a broken EXIF block ignored; transparency is laid on white;
16-bit grey is scaled to 8 bits; CMYK, palette, grey and bilevel are converted by Pillow. Floating-point and 32-bit grey
have no agreed range and are refused."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from viewgen.errors import ImageError

PNG_LEVEL = 1
"""zlib's effort, 0 to 9. At 3 a photograph is 5 % smaller and takes nearly twice as long."""
_PNG = b"\x89PNG\r\n\x1a\n"
_UP = 2
WHITE = (255, 255, 255, 255)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> transposition that turns the stored pixels upright; 1 is upright already."""


class UnusableImageError(ImageError):
    """An image that was not opened. `reason`: a fixed word (missing_image, oversize_image, unreadable_image). `what`: the
    sentence without the path, so that it is the same in every folder."""

    def __init__(self, reason: str, what: str, path: Path | None = None) -> None:
        super().__init__(f"{path}: {what}" if path else what)
        self.reason = reason
        self.what = what


MAX_MEGAPIXELS = 178
"""Pillow refuses more as a decompression bomb."""


def decode_image(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """Decode an image file's bytes into upright RGB pixels.

    The default limit admits every size that a recipe may allow: a view set holds the images that its own build admitted.
    Raises UnusableImageError: oversize_image above `max_megapixels`, unreadable_image for bytes that Pillow cannot read
    whole.

    decode_image(Path("photo.jpg").read_bytes()).size    # (width, height) in pixels, upright
    """
    try:
        with _QUIET, Image.open(io.BytesIO(data)) as opened:
            megapixels = opened.width * opened.height / 1e6
            if megapixels <= max_megapixels:
                return _upright_rgb(opened)
    except UnusableImageError:
        raise
    except Image.DecompressionBombError:
        raise UnusableImageError("oversize_image", f"more than max_megapixels {max_megapixels:g}") from None
    except Exception as error:  # decoders of broken files raise nearly everything: SyntaxError, struct.error, KeyError
        raise UnusableImageError("unreadable_image", f"not an image that can be read whole ({_cause(error)})") from None
    found = f"{megapixels:.1f} megapixels, more than max_megapixels {max_megapixels:g}"
    raise UnusableImageError("oversize_image", found)


def encode_png(image: Image.Image) -> bytes:
    """Encode an RGB image as PNG without metadata: equal pixels give equal bytes.

    Every row is stored as its difference from the one above (filter "up"). Trying all five filters on each row, as
    Pillow does, takes twice as long and saves nothing on photographs.

    decode_image(encode_png(image)).tobytes() == image.tobytes()    # True
    """
    assert image.mode == "RGB"
    rows = np.asarray(image).reshape(image.height, 3 * image.width)
    filtered = np.empty((image.height, 1 + 3 * image.width), dtype=np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, PNG_LEVEL)), (b"IEND", b"")
    return _PNG + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


class _Quiet:
    """Context without warnings, for several threads. Pillow warns of every flaw that it tolerates, a broken EXIF block
    for one. catch_warnings alone is not safe for threads: the first thread in opens it, the last one out closes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._catcher = warnings.catch_warnings(action="ignore")

    def __enter__(self) -> None:
        with self._lock:
            if not self._num_inside:
                self._catcher = warnings.catch_warnings(action="ignore")
                self._catcher.__enter__()
            self._num_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if not self._num_inside:
                self._catcher.__exit__(None, None, None)


_QUIET = _Quiet()


def _upright_rgb(opened: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(opened))
    opened.load()
    image = _to_rgb(opened)
    return _bare(image.transpose(turn) if turn is not None else image)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block says nothing; the pixels may still be whole
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _grey_16(image)
    if image.has_transparency_data:
        on_white = Image.new("RGBA", image.size, WHITE)
        on_white.alpha_composite(image.convert("RGBA"))
        return on_white.convert("RGB")
    return image.convert("RGB")


def _grey_16(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to RGB, 65535 becoming 255. Pillow's own conversion would cut everything above 255 to white."""
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        found = f"pixels of mode {image.mode} from {levels.min():g} to {levels.max():g}"
        raise UnusableImageError("unreadable_image", f"{found} have no agreed range")
    return Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)).convert("RGB")


def _bare(image: Image.Image) -> Image.Image:
    """Return the pixels without profile, EXIF or transparency notes, which would otherwise be written into every cut."""
    if not image.info:
        return image
    bare = image.copy()
    bare.info = {}
    return bare


def _cause(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its own words hold a memory address, which differs from run to run
        return "no known image format"
    return " ".join(str(error).split()) or type(error).__name__
