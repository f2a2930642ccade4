"""Opening images: whatever the file, upright RGB pixels come out or one clear reason does."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from viewgen.decode import FORMATS, UnusableImageError, decode_image, decode_oriented, encode_png
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


# ---- faults found in use


def marked() -> Image.Image:
    """Draw three corners of 8 px: red, green and blue, the fourth black."""
    levels = np.zeros((32, 48, 3), dtype=np.uint8)
    levels[:16, :24], levels[:16, 24:], levels[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return Image.fromarray(levels)


def corners(image: Image.Image) -> str:
    """Name the colours of the corners, from the upper left clockwise."""
    places = ((4, 4), (image.width - 5, 4), (image.width - 5, image.height - 5), (4, image.height - 5))
    pixels = [image.getpixel(place) for place in places]
    return "".join("rgbk"[int(np.argmax([*pixel, 128])) if max(pixel) > 100 else 3] for pixel in pixels)  # type: ignore[arg-type, misc]


STORED = {1: "rgkb", 2: "grbk", 3: "kbrg", 4: "bkgr", 5: "rbkg", 6: "brgk", 7: "kgrb", 8: "gkbr"}
"""Corners of the marked image once the orientation was applied to it."""


def saved(image: Image.Image, form: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, form, exif=exif, **options)
    return file.getvalue()


@pytest.mark.fault(1)
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("MPO", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    ],
)
def test_an_image_is_upright_once_whatever_its_container(form: str, options: dict[str, Any], orientation: int) -> None:
    image, applied = decode_oriented(saved(marked(), form, orientation, **options))
    assert corners(image) == STORED[orientation]
    assert image.size == ((48, 32) if orientation < 5 else (32, 48))
    assert applied == orientation


@pytest.mark.fault(1)
@pytest.mark.parametrize("form", ["GIF", "BMP", "PPM", "TGA", "PCX", "JPEG2000", "QOI", "DIB"])
def test_a_format_without_an_orientation_stays_as_it_is(form: str) -> None:
    file = io.BytesIO()
    marked().save(file, form)
    image, applied = decode_oriented(file.getvalue())
    assert (corners(image), applied) == (STORED[1], 1)


@pytest.mark.fault(1)
def test_an_orientation_that_only_xmp_holds_is_applied() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    file = io.BytesIO()
    marked().save(file, "JPEG", quality=95, subsampling=0, xmp=xmp)
    image, applied = decode_oriented(file.getvalue())
    assert (corners(image), applied) == (STORED[6], 6)


@pytest.mark.fault(1)
def test_an_orientation_behind_the_pixels_of_a_png_is_applied() -> None:
    data = saved(marked(), "PNG", 6)
    at = data.index(b"eXIf") - 4
    length = int.from_bytes(data[at : at + 4], "big") + 12
    end = data.index(b"IEND") - 4
    moved = data[:at] + data[at + length : end] + data[at : at + length] + data[end:]
    assert moved.index(b"eXIf") > moved.index(b"IDAT")
    assert corners(decode_image(moved)) == STORED[6]


@pytest.mark.fault(6)
@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_fault_of_the_machine_is_no_fault_of_the_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **more: object) -> None:
        raise error

    data = saved(marked(), "PNG", 1)
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(type(error)):
        decode_image(data)


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer instead of the image"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC, which Pillow opens only with a plugin"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, a drawing without pixels"),
        (b"\n<!DOCTYPE html><html>404</html>", "an HTML page instead of the image"),
        (b"%PDF-1.7", "PDF, not an image"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, what: str) -> None:
    with pytest.raises(UnusableImageError) as refusal:
        decode_image(data)
    assert refusal.value.reason == "unreadable_image"
    assert refusal.value.what.startswith(what)
    assert ";" in refusal.value.what  # and what to do


@pytest.mark.fault(27)
def test_a_png_with_a_large_text_or_profile_is_opened() -> None:
    for options in ({"pnginfo": PngInfo()}, {"icc_profile": np.random.default_rng(0).bytes(3_000_000)}):
        if isinstance(info := options.get("pnginfo"), PngInfo):
            info.add_text("note", "x" * 70_000_000, zip=True)
        file = io.BytesIO()
        marked().save(file, "PNG", **options)
        assert decode_image(file.getvalue()).tobytes() == marked().tobytes()


@pytest.mark.fault(27)
def test_a_jpeg_that_lacks_its_last_bytes_is_opened_and_half_a_jpeg_is_not() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=80)
    data = file.getvalue()
    whole = np.asarray(decode_image(data))
    for lost in (1, 2, 40):
        opened = np.asarray(decode_image(data[:-lost]))
        assert (opened[:380] == whole[:380]).all()
    for kept in (0.5, 0.9):
        with pytest.raises(UnusableImageError, match="not an image that can be read whole"):
            decode_image(data[: round(kept * len(data))])


@pytest.mark.fault(30)
def test_postscript_is_not_run_whatever_its_file_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "photo.jpg").write_bytes(eps)
    with pytest.raises(UnusableImageError, match="PostScript, which is a program and is not run"):
        decode_image((tmp_path / "photo.jpg").read_bytes())
    assert not ran.exists()
    assert "EPS" not in FORMATS
    with pytest.raises(UnusableImageError):
        decode_image(b"P" + eps)


@pytest.mark.fault(33)
def test_twelve_bits_of_grey_fill_the_whole_range() -> None:
    levels = np.linspace(0, 4095, 64, dtype=np.uint16).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "TIFF", tiffinfo={258: (16,)})
    dark = np.asarray(decode_image(file.getvalue()))
    assert dark.max() == 16  # undeclared: 16 bits are taken at their word, and the audit flags what is nearly black
    packed = np.zeros((8, 12), dtype=np.uint8)  # two levels in three bytes
    packed[:, 0::3], packed[:, 1::3] = levels[:, 0::2] >> 4, (levels[:, 0::2] & 15) << 4 | levels[:, 1::2] >> 8
    packed[:, 2::3] = levels[:, 1::2] & 255
    entries = [(256, 3, 8), (257, 3, 8), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 3, 8), (279, 4, 96)]
    head = struct.pack("<2sHI", b"II", 42, 8 + 96)
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    tiff = head + packed.tobytes() + struct.pack("<H", len(entries)) + fields + struct.pack("<I", 0)
    shown = np.asarray(decode_image(tiff))[:, :, 0]
    assert shown.min() == 0
    assert shown.max() == 255
    assert np.abs(shown.astype(int) - np.round(levels / 4095 * 255)).max() <= 1
