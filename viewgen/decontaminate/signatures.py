"""Compute the signature of an image: perceptual hashes of the whole and of slightly smaller cuts, by which near copies
are found again: recompressed, resized, or cropped by up to some 2 % of a side. Pure.
Leaves out: comparing signatures (matching.py), the audit's hash of 64 bits (audit/measures.py), too coarse for many
images.

A hash has 256 bits, one per low frequency of the cosine transform. S cuts   W words of 64 bits   N px of the thumbnail
K frequencies"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt64
from PIL import Image

from viewgen.audit.measures import cosine_basis

BITS = 256
WORDS = BITS // 64
FORM = "dct256-7cuts-1"
"""Name of this way to compute signatures; a stored signature of another way is refused."""
CUTS = (
    (0.0, 0.0, 0.0, 0.0),
    (0.01, 0.01, 0.01, 0.01),
    (0.02, 0.02, 0.02, 0.02),
    (0.02, 0.0, 0.0, 0.0),
    (0.0, 0.02, 0.0, 0.0),
    (0.0, 0.0, 0.02, 0.0),
    (0.0, 0.0, 0.0, 0.02),
)
"""Shares of the sides that are cut off left, above, right and below; the whole first."""
MIN_DETAIL = 96
"""Frequencies, of 256, that an evaluation image must hold: the hashes of skies and of blank pages are all alike."""
COPY_DETAIL = 72
"""As MIN_DETAIL, of an image that may be a copy: copying loses some."""
_THUMB_PX = 64
_READ_PX = 256
_NUM_FREQUENCIES = 24
_NOISE = 16.0
"""Orthonormal coefficients of a thumbnail below this count as 0: waves of half a level, as from rounding."""


def signature(image: Image.Image, min_detail: int = MIN_DETAIL) -> bytes:
    """Compute the signature of an upright RGB image: a hash of 32 bytes for each of CUTS, one after another. Empty for an
    image with less than `min_detail`, which cannot be told from others.

    signature(decode_image(data))    # 224 bytes"""
    shrunk = image.reduce((max(1, image.width // _READ_PX), max(1, image.height // _READ_PX))).convert("L")
    whole = _waves(shrunk, CUTS[0])
    if np.count_nonzero(whole) < min_detail:
        return b""
    return b"".join(_bits(waves) for waves in (whole, *(_waves(shrunk, cut) for cut in CUTS[1:])))


def words_of(stored: bytes) -> UInt64[np.ndarray, "S W"]:
    """Return the hashes of a signature as words, which only serve to be compared."""
    return np.frombuffer(stored, dtype=np.uint64).reshape(-1, WORDS)


def _waves(grey: Image.Image, cut: tuple[float, float, float, float]) -> Float[np.ndarray, " bits"]:
    """Return the low frequencies of a cut of the image but the mean, lowest first."""
    left, top, right, bottom = cut
    box = (left * grey.width, top * grey.height, (1 - right) * grey.width, (1 - bottom) * grey.height)
    thumb_NN = np.asarray(grey.resize((_THUMB_PX, _THUMB_PX), Image.Resampling.BOX, box=box), dtype=np.float64)
    basis_KN, lowest = cosine_basis(_THUMB_PX, _NUM_FREQUENCIES, BITS)
    # Rounded: processors differ in the last bits of a sum, and equal frequencies must stay equal.
    found: Float[np.ndarray, " bits"] = np.round((basis_KN @ thumb_NN @ basis_KN.T).ravel()[lowest], 6)
    found[np.abs(found) < _NOISE] = 0.0
    return found


def _bits(waves: Float[np.ndarray, " bits"]) -> bytes:
    """Return 1 for each frequency above the median (pHash, Zauner 2010)."""
    ordered = np.sort(waves)
    return np.packbits(2 * waves > ordered[BITS // 2 - 1] + ordered[BITS // 2]).tobytes()
