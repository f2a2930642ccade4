"""Degrade images: shrink, pixelate, blur, add noise, shuffle, fill. Each function takes pixels and returns new pixels
of the same size; randomness comes from the stream that it takes.
Leaves out: the choice of pixels to degrade (altered.py, negatives.py)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageFilter

Fill = Literal["mean", "grey", "black", "blur", "noise"]
Schedule = Literal["sigmoid", "cosine"]

NUM_STEPS = 1000
"""Length of the noise schedules, as in the papers they come from."""
BLUR_SHARE = 0.25
"""Radius of the blur that fills a box, over the box's shorter side: nothing in it stays recognisable."""


def shrink(image: Image.Image, factor: float) -> Image.Image:
    """Shrink an image `factor` times by averaging, and enlarge it again."""
    small = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


def pixelate(image: Image.Image, block_px: int) -> Image.Image:
    """Draw square blocks of block_px, each of its own mean colour; those at the right and lower edge may be narrower."""
    starts_y, starts_x = np.arange(0, image.height, block_px), np.arange(0, image.width, block_px)
    sums = np.add.reduceat(np.add.reduceat(np.asarray(image, dtype=np.uint32), starts_y, axis=0), starts_x, axis=1)
    heights, widths = np.diff(starts_y, append=image.height), np.diff(starts_x, append=image.width)
    means = np.rint(sums / np.outer(heights, widths)[:, :, None]).astype(np.uint8)
    return Image.fromarray(means.repeat(heights, axis=0).repeat(widths, axis=1))


def blur(image: Image.Image, radius_px: float) -> Image.Image:
    """Apply a Gaussian blur with a standard deviation of radius_px."""
    return image.filter(ImageFilter.GaussianBlur(radius_px))


def add_noise(image: Image.Image, stream: np.random.Generator, step: int, schedule: Schedule) -> Image.Image:
    """Return the image after `step` of NUM_STEPS steps of a diffusion: sqrt(a) x + sqrt(1 - a) e, with a =
    signal_share(step), levels scaled to -1..1, e normal, the outcome clipped (arXiv 2311.16922, there on levels
    normalised for the model)."""
    share = signal_share(step, schedule)
    levels = np.asarray(image, dtype=np.float32) / np.float32(127.5) - np.float32(1)
    noise: Float32[np.ndarray, "height width 3"] = stream.standard_normal(levels.shape, dtype=np.float32)
    mixed = np.float32(share**0.5) * levels + np.float32((1 - share) ** 0.5) * noise
    return Image.fromarray(_as_levels((mixed + np.float32(1)) * np.float32(127.5)))


def signal_share(step: int, schedule: Schedule) -> float:
    """Compute the image's share of the variance after `step` steps, 1 to 0: the product of 1 - beta up to there.

    sigmoid: the betas of visual contrastive decoding (arXiv 2311.16922). cosine: arXiv 2102.09672, eq. 17."""
    if schedule == "cosine":
        start, here = (np.cos((t / NUM_STEPS + 0.008) / 1.008 * np.pi / 2) ** 2 for t in (0, step))
        return float(here / start)
    betas_T: Float[np.ndarray, " T"] = 1e-5 + (0.005 - 1e-5) / (1 + np.exp(-np.linspace(-6, 6, NUM_STEPS)))
    return float(np.prod(1 - betas_T[:step]))


def shuffle(image: Image.Image, stream: np.random.Generator, patch_px: int) -> Image.Image:
    """Put square patches of patch_px in another order; a strip too narrow for a patch, right and below, stays.

    The image must contain two patches or more."""
    rows, columns = image.height // patch_px, image.width // patch_px
    assert rows * columns > 1, "one patch has no other order"
    pixels = np.array(image)
    order = stream.permutation(rows * columns)
    while (order == np.arange(order.size)).all():
        order = stream.permutation(rows * columns)
    inner = pixels[: rows * patch_px, : columns * patch_px]
    split = inner.reshape(rows, patch_px, columns, patch_px, 3).swapaxes(1, 2).reshape(-1, patch_px, patch_px, 3)
    joined = split[order].reshape(rows, columns, patch_px, patch_px, 3).swapaxes(1, 2)
    pixels[: rows * patch_px, : columns * patch_px] = joined.reshape(inner.shape)
    return Image.fromarray(pixels)


def fill_for(image: Image.Image, part: Image.Image, fill: Fill, stream: np.random.Generator) -> Image.Image:
    """Return the pixels that replace `part` of an image: one colour, the part itself blurred past recognition, or noise
    with the image's own mean and deviation in each channel. Only noise draws from the stream."""
    if fill == "blur":
        return blur(part, BLUR_SHARE * min(part.size))
    if fill == "noise":
        mean_3, deviation_3 = moments(image)
        noise = stream.standard_normal((part.height, part.width, 3), dtype=np.float32)
        return Image.fromarray(_as_levels(noise * deviation_3.astype(np.float32) + mean_3.astype(np.float32)))
    return Image.new("RGB", part.size, colour(image, fill))


def colour(image: Image.Image, fill: Literal["mean", "grey", "black"]) -> tuple[int, int, int]:
    """Return the red, green and blue of a fill, 0 to 255."""
    if fill == "mean":
        red, green, blue = (round(float(level)) for level in moments(image)[0])
        return red, green, blue
    level = {"grey": 128, "black": 0}[fill]
    return level, level, level


def moments(image: Image.Image) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Compute mean and standard deviation of the levels of each channel."""
    # By counting levels: as exact as a sum over all pixels, and many times faster.
    counts = np.array(image.histogram(), dtype=np.float64).reshape(3, 256)
    levels = np.arange(256.0)
    total = image.width * image.height
    mean = counts @ levels / total
    return mean, np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0))


def _as_levels(values: Float32[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    levels: UInt8[np.ndarray, "height width 3"] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels
