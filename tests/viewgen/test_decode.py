"""Opening images: whatever the file, upright RGB pixels come out or one clear reason does."""

from __future__ import annotations

import contextlib
import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewgen.decode import UnusableImageError, decode_image, encode_png
from viewgen.source.images import ImageConfig, open_image

CONFIG = ImageConfig()
RED, WHITE = (255, 0, 0), (255, 255, 255)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def pixels(image: Image.Image) -> list[Any]:
    assert image.mode == "RGB"
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


def numbered() -> Image.Image:
    """3 x 2 pixels, each of its own grey."""
    return Image.fromarray(np.array([[0, 40, 80], [120, 160, 200]], dtype=np.uint8)).convert("RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    upright = np.asarray(numbered())
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = decode_image(file_of(Image.fromarray(np.ascontiguousarray(stored)), exif=exif))
    assert opened.size == (3, 2)
    assert pixels(opened) == pixels(numbered())


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 8])
def test_a_broken_exif_block_does_not_cost_the_picture(exif: bytes) -> None:
    assert decode_image(file_of(numbered(), "JPEG", exif=exif)).size == (3, 2)


def test_flaws_that_pillow_can_live_with_are_not_told_and_other_warnings_still_are() -> None:
    flawed = file_of(numbered(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 8)
    before = warnings.filters[:]
    with ThreadPoolExecutor(8) as pool:
        assert {image.size for image in pool.map(decode_image, [flawed] * 200)} == {(3, 2)}
    assert warnings.filters == before


def test_an_orientation_that_does_not_exist_is_taken_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 42
    assert pixels(decode_image(file_of(numbered(), exif=exif))) == pixels(numbered())


def test_transparency_is_laid_on_white() -> None:
    glass = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    glass.putpixel((0, 0), (255, 0, 0, 255))
    assert pixels(decode_image(file_of(glass))) == [RED, WHITE]
    assert pixels(decode_image(file_of(Image.new("LA", (1, 1), (0, 0))))) == [WHITE]


def test_a_palette_with_a_see_through_colour_becomes_that_colour_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    assert pixels(decode_image(file_of(image))) == [RED, (0, 255, 0)]
    assert pixels(decode_image(file_of(image, transparency=1))) == [RED, WHITE]


def test_sixteen_bit_grey_is_scaled_and_not_cut_to_white() -> None:
    levels = np.array([[128, 129, 257 * 7, 65535]], dtype=np.uint16)
    scaled = [(0, 0, 0), (1, 1, 1), (7, 7, 7), WHITE]
    assert pixels(decode_image(file_of(Image.fromarray(levels)))) == scaled
    assert pixels(decode_image(file_of(Image.fromarray(levels.astype(np.int32)), "TIFF"))) == scaled


@pytest.mark.parametrize("levels", [np.array([[0.5]], dtype=np.float32), np.array([[-1, 70000]], dtype=np.int32)])
def test_pixels_without_an_agreed_range_are_refused(levels: np.ndarray) -> None:
    with pytest.raises(UnusableImageError, match="have no agreed range") as refusal:
        decode_image(file_of(Image.fromarray(levels), "TIFF"))
    assert refusal.value.reason == "unreadable_image"


def test_cmyk_grey_and_bilevel_become_rgb() -> None:
    assert pixels(decode_image(file_of(Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "TIFF"))) == [WHITE]
    assert pixels(decode_image(file_of(Image.new("L", (1, 1), 9)))) == [(9, 9, 9)]
    assert pixels(decode_image(file_of(Image.new("1", (1, 1), 1)))) == [WHITE]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    exact = {"lossless": True} if kind == "WEBP" else {}
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **exact)
    with Image.open(io.BytesIO(data)) as animation:
        assert animation.n_frames == 2  # type: ignore[attr-defined]
    assert set(pixels(decode_image(data))) == {RED}


def test_notes_of_the_file_do_not_travel_into_what_is_cut_from_it() -> None:
    noted = file_of(Image.new("RGB", (4, 4)), icc_profile=b"profile", dpi=(300, 300))
    opened = decode_image(noted)
    assert opened.info == {}
    opened.info["icc_profile"] = b"profile"
    assert encode_png(opened) == encode_png(Image.new("RGB", (4, 4)))


@pytest.mark.parametrize(("width", "height"), [(7, 9), (1, 1), (1, 300), (300, 1)])
def test_encoding_loses_nothing_and_repeats_itself(width: int, height: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    assert encode_png(image) == encode_png(image.copy())
    assert pixels(decode_image(encode_png(image))) == pixels(image)


def test_a_photograph_is_about_as_small_as_pillow_makes_it() -> None:
    image = open_image(Path(__file__).parents[2] / "datasets" / "photos" / "cat.jpg", CONFIG).image
    assert len(encode_png(image)) < 1.03 * len(file_of(image, compress_level=1))


def test_random_bytes_after_a_good_start_never_raise_anything_else() -> None:
    whole = bytearray(file_of(Image.new("P", (32, 32))))
    stream = np.random.default_rng(0)
    for _ in range(200):
        spoilt = bytearray(whole)
        for place in stream.integers(8, len(whole), 6):
            spoilt[place] = int(stream.integers(256))
        with contextlib.suppress(UnusableImageError):
            assert decode_image(bytes(spoilt)).mode == "RGB"


def test_an_image_just_inside_the_limit_is_opened_and_pillow_stays_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(encode_png(Image.new("RGB", (1000, 1000))), max_megapixels=1.0).size == (1000, 1000)


def test_what_a_build_let_in_is_decoded_again_without_its_settings() -> None:
    large = file_of(Image.new("1", (9_500, 9_500)))  # 90 megapixels, above the default of builds
    with pytest.raises(UnusableImageError, match=r"90\.2 megapixels"):
        decode_image(large, ImageConfig().max_megapixels)
    assert decode_image(large).size == (9_500, 9_500)
