"""Thumbnails: small images keep every pixel, equal ones are stored once."""

from __future__ import annotations

from PIL import Image

from viewgen.decode import encode_png
from viewgen.report.thumbnails import Store, shrunk, thumbnail


def test_a_thumbnail_is_at_most_as_long_as_asked_and_never_enlarged() -> None:
    assert (shrunk(Image.new("RGB", (300, 100)), 150).width, shrunk(Image.new("RGB", (300, 100)), 150).height) == (
        150,
        50,
    )
    small = thumbnail(encode_png(Image.new("RGB", (30, 10))), 150)
    assert small
    assert (small.width, small.height) == (30, 10)
    assert small.href.startswith("data:image/webp;base64,")


def test_bytes_that_are_no_image_give_none() -> None:
    assert thumbnail(b"no image", 100) is None


def test_equal_images_are_stored_once_and_cost_nothing_the_second_time() -> None:
    store = Store()
    one, other = shrunk(Image.new("RGB", (8, 8)), 64), shrunk(Image.new("RGB", (8, 8), (9, 9, 9)), 64)
    assert store.cost([one, one, None]) == len(one.href)
    assert store.add(one) == store.add(one)
    assert store.cost([one]) == 0
    assert store.add(other) != store.add(one)
    assert store.num_bytes == len(one.href) + len(other.href)
    assert store.add(None) is None
