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
_NUM_PLACES = 16
"""Places whose pixels are compared when a part is looked for in a view."""
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


def shown_anywhere(part: UInt8[np.ndarray, "h w"], view: UInt8[np.ndarray, "H W"]) -> float:
    """Return the largest share of the edges of `part`, by height, that some place of the view shows unchanged, 0 to 1;
    0 for a flat part and for one that is larger than the view.

    The places compared are those where levels correlate most with the part's, of all there are."""
    height, width = part.shape
    if height > view.shape[0] or width > view.shape[1]:
        return 0.0
    steps = _steps(part)
    total = sum(int(np.abs(step).sum()) for step in steps)
    if not total:
        return 0.0
    best = 0
    for y, x in _likeliest_places(part, view):
        found = _steps(view[y : y + height, x : x + width])
        kept = sum(int(np.abs(old[old == new]).sum()) for old, new in zip(steps, found, strict=True))
        best = max(best, kept)
    return best / total


def _steps(grey: UInt8[np.ndarray, "h w"]) -> tuple[Int[np.ndarray, "rows w"], Int[np.ndarray, "h columns"]]:
    """Return the differences of neighbouring levels, down and across."""
    levels = grey.astype(np.int16)
    return np.diff(levels, axis=0), np.diff(levels, axis=1)


def _likeliest_places(part: UInt8[np.ndarray, "h w"], view: UInt8[np.ndarray, "H W"]) -> list[tuple[int, int]]:
    """Return the places (y, x) of the view where its levels correlate most with the part's, by the Fourier transform."""
    height, width = part.shape
    wanted = part - part.mean()
    size = view.shape[0], view.shape[1]
    levels = view - view.mean()
    products = np.fft.irfft2(np.fft.rfft2(levels) * np.conj(np.fft.rfft2(wanted, size)), size)
    inner = slice(0, size[0] - height + 1), slice(0, size[1] - width + 1)
    sums, squares = _window_sums(levels, height, width), _window_sums(levels * levels, height, width)
    spread = np.maximum(squares - sums * sums / (height * width), 1.0)  # flat places hold no edge
    likeness = products[inner] / np.sqrt(spread)
    num = min(_NUM_PLACES, likeness.size)
    places = np.argpartition(-likeness, num - 1, axis=None)[:num]
    return [(int(place) // likeness.shape[1], int(place) % likeness.shape[1]) for place in places]


def _window_sums(values: Float[np.ndarray, "H W"], height: int, width: int) -> Float[np.ndarray, "rows columns"]:
    """Return the sum over the window of height x width that begins at each place."""
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums: Float[np.ndarray, "rows columns"] = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
    return sums


def contrast(image: Image.Image) -> int:
    """Return the span of the levels of all three channels, without the lowest and the highest hundredth, 0 to 255.

    A plain red sign spans red to green and blue; white, grey and nearly black images span nothing."""
    levels = np.asarray(image)
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    edge = levels.size // 100
    return int(np.searchsorted(counts, levels.size - edge)) - int(np.searchsorted(counts, edge, side="right"))


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
    basis_KN, lowest = cosine_basis(_THUMB_PX, _NUM_FREQUENCIES, HASH_BITS)
    found = (basis_KN @ thumb @ basis_KN.T).ravel()[lowest]
    found[np.abs(found) < _NOISE] = 0.0
    ordered = np.sort(found)
    bits = 2 * found > ordered[HASH_BITS // 2 - 1] + ordered[HASH_BITS // 2]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distance(first: int, second: int) -> int:
    """Count the bits in which two hashes differ, 0 to 64."""
    return (first ^ second).bit_count()


@cache
def cosine_basis(
    num_px: int, num_frequencies: int, bits: int
) -> tuple[Float[np.ndarray, "K N"], Int[np.ndarray, " bits"]]:
    """Return the first rows of the orthonormal DCT-II, and the places in K x K of the lowest frequencies but the mean."""
    frequencies = np.arange(num_frequencies)
    basis_KN = np.cos(np.pi / num_px * np.outer(frequencies, np.arange(num_px) + 0.5)) * np.sqrt(2 / num_px)
    basis_KN[0] /= np.sqrt(2)
    # By the sum of both frequencies; of those with equal sums, fewer down than across first.
    order = np.argsort(np.add.outer(frequencies, frequencies), axis=None, kind="stable")
    return basis_KN, order[1 : bits + 1]


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
