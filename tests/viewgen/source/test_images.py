"""Image files of a source: opened within limits, or refused with a fixed reason."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from viewgen.decode import UnusableImageError, encode_png
from viewgen.errors import ImageError
from viewgen.source.images import ImageConfig, open_image, read_image_file

CONFIG = ImageConfig()
RED, WHITE = (255, 0, 0), (255, 255, 255)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def numbered() -> Image.Image:
    """3 x 2 pixels, each of its own grey."""
    return Image.fromarray(np.array([[0, 40, 80], [120, 160, 200]], dtype=np.uint8)).convert("RGB")


def bomb(side: int) -> bytes:
    """Return a PNG of a few hundred bytes that says it is side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_picture_knows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(numbered()))
    picture = open_image(path, CONFIG)
    assert (picture.width_px, picture.height_px) == (3, 2)
    assert picture.data == path.read_bytes()
    assert len(picture.sha256) == 64


def refusal_of(path: Path, config: ImageConfig = CONFIG) -> UnusableImageError:
    with pytest.raises(ImageError) as refusal:
        open_image(path, config)
    assert isinstance(refusal.value, UnusableImageError)
    assert str(refusal.value) == f"{path}: {refusal.value.what}"
    assert "\n" not in str(refusal.value)
    return refusal.value


def test_a_missing_file_and_a_pipe_are_missing_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.png", tmp_path / "pipe", tmp_path):
        refusal = refusal_of(path)
        assert (refusal.reason, refusal.what) == ("missing_image", "there is no such file")


def test_text_is_no_image_and_the_reason_is_the_same_in_every_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    refusal = refusal_of(tmp_path / "a.png")
    assert refusal.reason == "unreadable_image"
    assert refusal.what == "not an image that can be read whole (no known image format)"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_a_file_that_ends_too_early_is_unreadable(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    whole = file_of(noise, kind)
    for keep in (len(whole) // 2, 40):
        (tmp_path / "a").write_bytes(whole[:keep])
        assert refusal_of(tmp_path / "a").reason == "unreadable_image"


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bomb(50_000))
    refusal = refusal_of(tmp_path / "a.png")
    assert (refusal.reason, refusal.what) == ("oversize_image", "more than max_megapixels 89")


def test_pixels_and_bytes_above_the_settings_are_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(Image.new("RGB", (1000, 1500))))
    small = refusal_of(tmp_path / "a.png", ImageConfig(max_megapixels=1.0))
    assert (small.reason, small.what) == ("oversize_image", "1.5 megapixels, more than max_megapixels 1")
    (tmp_path / "a.png").write_bytes(b"x" * 200_000)
    heavy = refusal_of(tmp_path / "a.png", ImageConfig(max_file_mb=0.1))
    assert (heavy.reason, heavy.what) == ("oversize_image", "0.2 MB, more than max_file_mb 0.1")


@pytest.mark.parametrize("wrong", [{"max_megapixels": 0.0}, {"max_megapixels": 200.0}, {"max_file_mb": 0.0}])
def test_limits_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; it must be a number above 0"):
        ImageConfig(**wrong)


@pytest.mark.fault(6)
@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_fault_of_the_machine_is_tried_again_and_then_raised(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viewgen.source.images.RETRY_AFTER_S", (0.0, 0.0))
    path = tmp_path / "a.png"
    path.write_bytes(b"pixels")
    failures, read = [2], Path.read_bytes

    def fail(self: Path) -> bytes:
        failures[0] -= 1
        if failures[0] >= 0:
            raise OSError(code, os.strerror(code), str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert read_image_file(path, CONFIG) == b"pixels"
    failures[0] = 3
    with pytest.raises(OSError, match=os.strerror(code)):
        read_image_file(path, CONFIG)


@pytest.mark.fault(6)
def test_a_file_that_may_not_be_read_is_a_rejection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    (tmp_path / "a.png").write_bytes(b"pixels")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert refusal_of(tmp_path / "a.png").what == "cannot be read (Permission denied)"
