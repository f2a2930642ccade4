"""Decode the bytes of any image file into upright RGB pixels, safely; encode pixels as PNG, with equal bytes every time.
Leaves out: colour profiles (pixels are taken as they are), all frames but the first, reading files (source/images.py).

How pixels become RGB: EXIF orientation is applied once, by the loader or here, and a broken EXIF block ignored;
transparency is laid on white; 16-bit grey is scaled to 8 bits, by the bits that a TIFF file declares; CMYK, palette, grey
and bilevel are converted by Pillow. Floating-point and 32-bit grey have no agreed range and are refused."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from functools import cache
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


FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000"),
    *("PPM", "TGA", "PCX", "ICO", "QOI", "HEIF"),
)
"""Formats that are tried, whatever a file is called. No other is, above all none that starts another program."""
_JPEG_END = b"\xff\xd9"
_BITS_TAG = 258
_NO_IMAGES = {
    b"version https://git-lfs": "a Git LFS pointer instead of the image; run `git lfs pull`",
    b"%!ps": "PostScript, which is a program and is not run; convert it to PNG",
    b"%pdf": "PDF, not an image; render its page as PNG",
    b"<!doctype html": "an HTML page instead of the image; fetch it again",
    b"<html": "an HTML page instead of the image; fetch it again",
    b"pk\x03\x04": "a ZIP archive, not an image; unpack it",
}
"""Begin of a file that is no image -> what it is."""
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
MAX_MEGAPIXELS = 178.0
"""Pillow refuses more as a decompression bomb."""


def decode_image(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """Decode an image file's bytes into upright RGB pixels.

    The default limit admits every size that a recipe may allow: a view set holds the images that its own build admitted.
    Raises UnusableImageError: oversize_image above `max_megapixels`, unreadable_image for bytes that are no image of
    FORMATS or that cannot be read whole. A fault of the machine, as of its memory, is raised as it is.

    decode_image(Path("photo.jpg").read_bytes()).size    # (width, height) in pixels, upright
    """
    return decode_oriented(data, max_megapixels)[0]


def decode_oriented(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[Image.Image, int]:
    """Decode as decode_image does, and return with the pixels the EXIF orientation, 1 to 8, that turned the stored pixels
    upright: boxes of the stored image are turned by it too."""
    try:
        return _decoded(data, max_megapixels)
    except (UnusableImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UnusableImageError("oversize_image", f"more than max_megapixels {max_megapixels:g}") from None
    except Exception as error:  # decoders of broken files raise nearly everything: SyntaxError, struct.error, KeyError
        if isinstance(error, OSError) and error.errno is not None:  # of the machine: Pillow's own have no number
            raise
        if mended := _mended(data, error):
            return decode_oriented(mended, max_megapixels)
        raise UnusableImageError("unreadable_image", _fault(data, error)) from None


def _decoded(data: bytes, max_megapixels: float) -> tuple[Image.Image, int]:
    with _QUIET, Image.open(io.BytesIO(data), formats=_opened_formats()) as opened:
        megapixels = opened.width * opened.height / 1e6
        if megapixels <= max_megapixels:
            return _upright_rgb(opened)
    found = f"{megapixels:.1f} megapixels, more than max_megapixels {max_megapixels:g}"
    raise UnusableImageError("oversize_image", found)


@cache
def _opened_formats() -> tuple[str, ...]:
    """Return those of FORMATS that this Pillow knows; HEIF comes with a plugin."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _mended(data: bytes, error: Exception) -> bytes:
    """Return the bytes of a flawed file whose pixels are all there; nothing for any other."""
    if data.startswith(_PNG) and "too large" in str(error).casefold():
        return _without_text(data)
    is_cut_off = data.startswith(b"\xff\xd8") and "truncated" in str(error) and not data.endswith(_JPEG_END)
    return data + _JPEG_END if is_cut_off and _has_its_rows(data + _JPEG_END) else b""


def _without_text(data: bytes) -> bytes:
    """Return a PNG file without its texts and its colour profile, which may be larger than Pillow reads."""
    kept, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    shorter = b"".join(kept)
    return shorter if len(shorter) < len(data) else b""


def _has_its_rows(data: bytes) -> bool:
    """Return True when a JPEG file that lacks its end lacks next to nothing: missing rows are filled with one colour."""
    try:
        with _QUIET, Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            rows = np.asarray(opened.convert("L"))
    except Exception:  # whatever a decoder raises
        return False
    is_flat = (rows == rows[:, :1]).all(axis=1)
    num_flat = int(np.argmin(is_flat[::-1])) if not is_flat.all() else len(rows)
    return num_flat <= max(16, len(rows) // 32)


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


def _upright_rgb(opened: Image.Image) -> tuple[Image.Image, int]:
    stored = _orientation(opened)
    opened.load()
    # Some loaders turn the pixels themselves, TIFF's for one, and say so by taking the tag away.
    left = _orientation(opened)
    turn = _UPRIGHT.get(left)
    image = _to_rgb(opened)
    upright = _bare(image.transpose(turn) if turn is not None else image)
    applied = int(opened.info.get("original_orientation") or stored)
    return upright, applied if applied in _UPRIGHT else 1


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
    """Convert 16-bit grey to RGB, white becoming 255. Pillow's own conversion would cut everything above 255 to white."""
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        found = f"pixels of mode {image.mode} from {levels.min():g} to {levels.max():g}"
        raise UnusableImageError("unreadable_image", f"{found} have no agreed range")
    white = max(_white_level(image), int(levels.max()))
    return Image.fromarray(((levels.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")


def _white_level(image: Image.Image) -> int:
    """Return the level that means white: 65535, or less where a TIFF file declares fewer bits."""
    declared = getattr(image, "tag_v2", {}).get(_BITS_TAG)
    bits = int(np.max(declared)) if declared else 16
    return 2**bits - 1 if 8 < bits < 16 else 65535


def _bare(image: Image.Image) -> Image.Image:
    """Return the pixels without profile, EXIF or transparency notes, which would otherwise be written into every cut."""
    if not image.info:
        return image
    bare = image.copy()
    bare.info = {}
    return bare


def _fault(data: bytes, error: Exception) -> str:
    """Describe what the bytes are instead of an image, where they tell, and what to do."""
    for begins, what in _NO_IMAGES.items():
        if data[:1024].lstrip().lower().startswith(begins):
            return what
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "HEIC, which Pillow opens only with a plugin; convert it to JPEG or PNG"
    if b"<svg" in data[:4096].lower():
        return "SVG, a drawing without pixels; render it as PNG"
    if not data:
        return "an empty file; fetch it again"
    return f"not an image that can be read whole ({_cause(error)})"


def _cause(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its own words hold a memory address, which differs from run to run
        return "no known image format"
    return " ".join(str(error).split()) or type(error).__name__
