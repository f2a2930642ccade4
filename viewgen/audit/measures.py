"""Measure images without a model: sharpness, perceptual hash, detail kept, encoding. Pure.
Leaves out: the choice of the images to compare (auditor.py), thresholds (flags.py).

Grey levels are 0 to 255. Sums are of whole numbers, so that every machine computes the same figure.
H x W are the pixels of an image, N x N those of its thumbnail, K x K the frequencies of the hash."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

HASH_BITS = 64
_THUMB_PX = 32
_NUM_FREQUENCIES = 11
_NOISE = 8.0
"""Orthonormal DCT coefficients of a thumbnail below this count as 0: waves of half a level, as from rounding."""
_BAND_PIXELS = 1 << 17
"""Pixels per step: few enough for a processor's cache."""


def grey_levels(image: Image.Image) -> UInt8[np.ndarray, "H W"]:
    """Convert RGB to grey levels with Pillow's weights (ITU-R 601)."""
    return np.asarray(image.convert("L"))


def sharpness(grey: UInt8[np.ndarray, "H W"]) -> float:
    """Compute the variance of the Laplacian (4 neighbours less 4 times the pixel), in levels squared.

    The outermost ring of pixels has no whole neighbourhood and is left out; without inner pixels the
    variance is 0. Pech-Pacheco et al., ICPR 2000."""
    height, width = grey.shape
    if min(height, width) < 3:
        return 0.0
    total = squares = 0
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height - 2, rows):
        band_N = _laplacian(grey[top : min(top + rows, height - 2) + 2])
        total += int(band_N.sum())
        squares += int(band_N @ band_N)
    count = (height - 2) * (width - 2)
    variance: float = (count * squares - total * total) / (count * count)
    return variance


def detail_kept(before: UInt8[np.ndarray, "H W"], after: UInt8[np.ndarray, "H W"]) -> float:
    """Compute the share of fine detail that is kept: the squared correlation of both Laplacians, 0 to 1.

    0 for a flat image before."""
    if min(before.shape) < 3:
        return 0.0
    old_N, new_N = _laplacian(before), _laplacian(after)
    count, old, new = old_N.size, int(old_N.sum()), int(new_N.sum())
    spread = (count * int(old_N @ old_N) - old * old) * (count * int(new_N @ new_N) - new * new)
    shared: int = count * int(old_N @ new_N) - old * new
    return shared * shared / spread if spread else 0.0


def edges_kept(before: UInt8[np.ndarray, "H W"], after: UInt8[np.ndarray, "H W"]) -> float:
    """Compute the share of edges that are kept: of neighbouring pixels that differ before, those that differ by as much
    after, 0 to 1; 0 without an edge before.

    Edges rather than pixels: a cover may have the colour of the ground, and white stays white when it is
    blurred."""
    num_edges = num_kept = 0
    for axis in (0, 1):
        old, new = (np.diff(image.astype(np.int16), axis=axis) for image in (before, after))
        edge = old != 0
        num_edges += int(np.count_nonzero(edge))
        num_kept += int(np.count_nonzero(edge & (old == new)))
    return num_kept / num_edges if num_edges else 0.0


def _laplacian(grey: UInt8[np.ndarray, "H W"]) -> Float[np.ndarray, " inner"]:
    """Compute the Laplacian of the inner pixels. Whole numbers: their sums, below 2^53, are exact in any order."""
    levels = grey.astype(np.int16)
    found = levels[:-2, 1:-1] + levels[2:, 1:-1]
    found += levels[1:-1, :-2]
    found += levels[1:-1, 2:]
    found -= 4 * levels[1:-1, 1:-1]
    return found.astype(np.float64).ravel()


def perceptual_hash(grey: UInt8[np.ndarray, "H W"]) -> int:
    """Compute a hash of 64 bits, one per low frequency but the mean: 1 above their median (pHash, Zauner 2010).

    The image is first shrunk to 32 x 32 px. Light, contrast, sharpness and size change few bits, another content half."""
    thumb = np.asarray(Image.fromarray(grey).resize((_THUMB_PX, _THUMB_PX), Image.Resampling.BOX), dtype=np.float64)
    basis_KN, lowest = _dct()
    found = (basis_KN @ thumb @ basis_KN.T).ravel()[lowest]
    found[np.abs(found) < _NOISE] = 0.0
    ordered = np.sort(found)
    bits = 2 * found > ordered[HASH_BITS // 2 - 1] + ordered[HASH_BITS // 2]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distance(first: int, second: int) -> int:
    """Count the bits in which two hashes differ, 0 to 64."""
    return (first ^ second).bit_count()


@cache
def _dct() -> tuple[Float[np.ndarray, "K N"], Int[np.ndarray, " bits"]]:
    """Return the first rows of the orthonormal DCT-II, and the places in K x K of the lowest frequencies but the mean."""
    frequencies = np.arange(_NUM_FREQUENCIES)
    basis_KN = np.cos(np.pi / _THUMB_PX * np.outer(frequencies, np.arange(_THUMB_PX) + 0.5)) * np.sqrt(2 / _THUMB_PX)
    basis_KN[0] /= np.sqrt(2)
    # By the sum of both frequencies; of those with equal sums, fewer down than across first.
    order = np.argsort(np.add.outer(frequencies, frequencies), axis=None, kind="stable")
    return basis_KN, order[1 : HASH_BITS + 1]


def encoding(data: bytes) -> tuple[str, bytes]:
    """Read (format, quality) from an image file's own bytes; equal pairs mean equally encoded.

    PNG: bit depth and colour type. JPEG: sampling factors and quantisation tables. WebP: lossy or lossless. Any other
    format: its first four bytes."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", data[24:26]
    if data.startswith(b"\xff\xd8"):
        return "JPEG", _jpeg_quality(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP", b"lossless" if b"VP8L" in data[12:64] else b"lossy"
    return "other", data[:4]


def _jpeg_quality(data: bytes) -> bytes:
    """Read the contents of the DQT segments, and each component's sampling factors from the SOF segment."""
    found, at = b"", 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # until the scan starts
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        body = data[at + 4 : at + 2 + length]
        if marker == 0xDB:
            found += body
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            found += body[7::3]
        at += 2 + length
    return found
