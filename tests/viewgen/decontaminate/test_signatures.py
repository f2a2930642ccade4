"""Signatures change little under what makes near copies, and much between photographs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from viewgen.decode import decode_image
from viewgen.decontaminate.signatures import BITS, CUTS, signature, words_of

PHOTOS = Path(__file__).parents[3] / "datasets" / "photos"


def photo(name: str) -> Image.Image:
    return decode_image((PHOTOS / f"{name}.jpg").read_bytes())


def test_a_signature_is_one_hash_of_32_bytes_per_cut() -> None:
    found = signature(photo("cat"))
    assert len(found) == len(CUTS) * BITS // 8 == 224
    assert words_of(found).shape == (7, 4)


@pytest.mark.parametrize("name", ["coffee", "raccoon"])
def test_the_hash_of_a_cut_is_that_of_the_cropped_image(name: str) -> None:
    """The cut of 2 % on the left of an image is the whole of the one that lost 2 % on its left."""
    image = photo(name)
    cropped = image.crop((round(0.02 * image.width), 0, image.width, image.height))
    cut, whole = words_of(signature(image))[3], words_of(signature(cropped))[0]
    assert np.bitwise_count(cut ^ whole).sum() <= 10
    assert np.bitwise_count(words_of(signature(image))[0] ^ whole).sum() > 10


def test_a_recompressed_image_keeps_nearly_all_bits() -> None:
    image, recompressed = photo("astronaut"), io.BytesIO()
    image.save(recompressed, "JPEG", quality=50)
    own, other = (words_of(signature(each))[0] for each in (image, decode_image(recompressed.getvalue())))
    assert np.bitwise_count(own ^ other).sum() <= 12


def test_an_image_without_detail_has_no_signature() -> None:
    across = np.linspace(0, 255, 300).astype(np.uint8)
    sky = Image.fromarray(np.repeat(np.tile(across, (200, 1))[..., None], 3, axis=2))
    assert signature(Image.new("RGB", (640, 480), (90, 120, 200))) == b""
    assert signature(sky) == b""


def test_images_of_one_pixel_and_of_one_line_have_no_signature_and_do_no_harm() -> None:
    assert signature(Image.new("RGB", (1, 1))) == b""
    assert signature(Image.new("RGB", (4000, 1))) == b""
