"""Numbers of single pictures, each checked against what can be worked out by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from viewgen.audit.measures import (
    HASH_BITS,
    contrast,
    detail_kept,
    edges_kept,
    encoding,
    grey_levels,
    hash_distance,
    perceptual_hash,
    sharpness,
    shown_anywhere,
)
from viewgen.decode import encode_png

STEPS = np.arange(32)


def grey(levels: list[list[int]]) -> np.ndarray:
    return np.array(levels, dtype=np.uint8)


def wave(down: int, across: int, amplitude: float = 100, ground: float = 128) -> np.ndarray:
    """One frequency of the DCT alone, on 32 x 32 pixels."""
    y, x = (np.cos(np.pi / 32 * frequency * (STEPS + 0.5)) for frequency in (down, across))
    return np.clip(np.rint(ground + amplitude * np.outer(y, x)), 0, 255).astype(np.uint8)


def noise(seed: int, height: int = 48, width: int = 48) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(0, 256, (7, 7), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def test_grey_weighs_red_green_and_blue_as_the_eye_does() -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    assert grey_levels(Image.fromarray(pixels)).tolist() == [[76, 150, 29]]


def test_sharpness_is_the_variance_of_the_laplacian_over_inner_pixels() -> None:
    # Inner pixels: the dot has 0 + 0 + 0 + 0 - 4 * 10 = -40, its right neighbour 10: mean -15, variance 625.
    assert sharpness(grey([[0, 0, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0]])) == 625.0


def test_a_slope_is_not_sharp_and_a_board_is() -> None:
    slope = np.add.outer(3 * STEPS, 2 * STEPS).astype(np.uint8)
    board = (np.add.outer(STEPS, STEPS) % 2 * 200).astype(np.uint8)
    assert sharpness(slope) == 0.0
    assert sharpness(board) == 800.0**2  # neighbours differ by 200 each: the Laplacian is 800 or -800


@pytest.mark.parametrize("shape", [(2, 9), (9, 2), (1, 1)])
def test_a_picture_without_inner_pixels_has_no_sharpness(shape: tuple[int, int]) -> None:
    assert sharpness(np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)) == 0.0


def test_sharpness_of_a_picture_that_is_read_in_bands_is_that_of_the_whole() -> None:
    tall = np.random.default_rng(0).integers(0, 256, (700, 500), dtype=np.uint8)
    whole = tall.astype(np.int64)
    laplacian = whole[:-2, 1:-1] + whole[2:, 1:-1] + whole[1:-1, :-2] + whole[1:-1, 2:] - 4 * whole[1:-1, 1:-1]
    assert sharpness(tall) == pytest.approx(laplacian.var(), rel=1e-12)


def test_detail_kept_is_the_squared_correlation_of_laplacians() -> None:
    # Inner pixels of the first: -40 and 10; of the second, whose dot stands beside: 10 and -40. Both deviate by 25.
    first, second = grey([[0] * 4, [0, 10, 0, 0], [0] * 4]), grey([[0] * 4, [0, 0, 10, 0], [0] * 4])
    assert detail_kept(first, first) == 1.0
    assert detail_kept(first, second) == 1.0  # -1, squared
    # Inner pixels (0, 0, 10, -40, 10, 0) and (10, -40, 10, 0, 0, 0): sums -20, squares 1800, products 100.
    left, right = (grey([[0] * 8, [0] * at + [10] + [0] * (7 - at), [0] * 8]) for at in (2, 4))
    assert detail_kept(left, right) == pytest.approx(((6 * 100 - 400) / (6 * 1800 - 400)) ** 2)


def test_light_and_contrast_keep_detail_and_what_is_flat_has_none() -> None:
    picture = np.random.default_rng(0).integers(0, 100, (30, 40), dtype=np.uint8)
    assert detail_kept(picture, picture * 2 + 20) == pytest.approx(1.0)
    assert detail_kept(picture, picture // 8 * 8) < 1.0
    assert detail_kept(np.full((9, 9), 7, dtype=np.uint8), np.full((9, 9), 7, dtype=np.uint8)) == 0.0
    assert detail_kept(picture[:2], picture[:2]) == 0.0


def test_detail_is_lost_with_every_step_of_blur() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    kept = [
        detail_kept(np.asarray(picture), np.asarray(picture.resize((n, n), Image.Resampling.BOX).resize((64, 64))))
        for n in (64, 60, 48, 32, 8)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 1.0
    assert kept[-1] < 0.01


def test_edges_are_kept_where_neighbours_differ_as_before() -> None:
    # One edge in each row; in the second picture that of the lower row is elsewhere.
    stripe, moved = grey([[255, 0, 0], [255, 0, 0]]), grey([[255, 0, 0], [255, 255, 0]])
    assert edges_kept(stripe, stripe) == edges_kept(stripe.T, stripe.T) == 1.0
    assert edges_kept(stripe, moved) == edges_kept(stripe.T, moved.T) == 0.5
    assert edges_kept(moved, stripe) == pytest.approx(1 / 3)  # two edges across and one down, of which one is left
    assert edges_kept(stripe, np.zeros_like(stripe)) == 0.0
    assert edges_kept(np.zeros_like(stripe), np.zeros_like(stripe)) == 0.0


def test_one_wave_sets_the_bit_of_its_frequency_alone() -> None:
    # Frequencies are counted by their sum, then by the one that goes down: (0, 1), (1, 0), (0, 2), (1, 1), (2, 0), ...
    order = [(0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (0, 3)]
    for place, (down, across) in enumerate(order):
        assert perceptual_hash(wave(down, across)) == 1 << (HASH_BITS - 1 - place)


def test_a_wave_upside_down_lies_below_the_median_and_sets_no_bit() -> None:
    assert perceptual_hash(wave(0, 1, amplitude=-100)) == 0
    assert perceptual_hash(wave(9, 9)) == 0  # too high a frequency to be looked at


def test_flat_pictures_and_those_with_a_little_noise_have_the_same_hash() -> None:
    flat = np.full((40, 60), 77, dtype=np.uint8)
    speckled = flat + (np.random.default_rng(0).random((40, 60)) < 0.05).astype(np.uint8)
    assert perceptual_hash(flat) == perceptual_hash(speckled) == 0


def test_distance_counts_the_bits_that_differ() -> None:
    assert hash_distance(0b1011, 0b0010) == 2
    assert hash_distance(0, 2**64 - 1) == 64


@pytest.mark.parametrize("seed", range(5))
def test_light_size_and_sharpness_change_few_bits_and_another_picture_many(seed: int) -> None:
    first = noise(seed)
    image = Image.fromarray(first)
    changed = {
        "darker": (first * 0.7).astype(np.uint8),
        "larger": np.asarray(image.resize((96, 96), Image.Resampling.BICUBIC)),
        "blunter": np.asarray(image.resize((24, 24), Image.Resampling.BOX).resize((48, 48), Image.Resampling.BICUBIC)),
    }
    for what, pixels in changed.items():
        assert hash_distance(perceptual_hash(first), perceptual_hash(pixels)) <= 6, what
    assert hash_distance(perceptual_hash(first), perceptual_hash(noise(seed + 100))) >= 16


def saved(file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(3)).convert("RGB").save(file, format=file_format, **options)
    return file.getvalue()


def test_encoding_is_read_from_the_bytes() -> None:
    assert encoding(encode_png(Image.fromarray(noise(3)).convert("RGB"))) == ("PNG", b"\x08\x02")  # 8 bits, RGB
    assert encoding(saved("JPEG"))[0] == "JPEG"
    assert encoding(saved("BMP"))[0] == "other"


def test_jpeg_quality_and_subsampling_tell_files_apart_and_pixels_do_not() -> None:
    assert encoding(saved("JPEG", quality=90)) != encoding(saved("JPEG", quality=80))
    assert encoding(saved("JPEG", quality=90, subsampling=0)) != encoding(saved("JPEG", quality=90, subsampling=2))
    file = io.BytesIO()
    Image.fromarray(noise(4, 30, 70)).convert("RGB").save(file, format="JPEG", quality=90)
    assert encoding(saved("JPEG", quality=90)) == encoding(file.getvalue())


def test_webp_with_and_without_loss_differ() -> None:
    assert encoding(saved("WEBP", lossless=True)) == ("WEBP", b"lossless")
    assert encoding(saved("WEBP", quality=80)) == ("WEBP", b"lossy")


def test_png_of_another_depth_or_colour_type_differs() -> None:
    grey_file, paletted = io.BytesIO(), io.BytesIO()
    Image.fromarray(noise(3)).save(grey_file, format="PNG")
    Image.fromarray(noise(3)).convert("P").save(paletted, format="PNG")
    kinds = {encoding(data) for data in (grey_file.getvalue(), paletted.getvalue(), saved("PNG"))}
    assert len(kinds) == 3


def test_a_jpeg_that_ends_early_is_read_as_far_as_it_goes() -> None:
    assert encoding(saved("JPEG")[:30])[0] == "JPEG"


@pytest.mark.fault(4)
@pytest.mark.parametrize("size", [2, 3, 8, 20, 31])
def test_a_part_is_found_wherever_it_stands(size: int) -> None:
    view = np.random.default_rng(size).integers(0, 256, (48, 40), dtype=np.uint8)
    part = np.random.default_rng(99).integers(0, 256, (size, size), dtype=np.uint8)
    assert shown_anywhere(part, view) < (0.5 if size > 3 else 1.0)
    for y, x in ((0, 0), (48 - size, 40 - size), (5, 7)):
        holding = view.copy()
        holding[y : y + size, x : x + size] = part
        assert shown_anywhere(part, holding) == 1.0


@pytest.mark.fault(4)
def test_half_of_a_part_is_half_of_its_edges() -> None:
    part = np.random.default_rng(5).integers(0, 256, (20, 20), dtype=np.uint8)
    holding = np.full((64, 64), 100, dtype=np.uint8)
    holding[10:20, 30:50] = part[:10]
    assert shown_anywhere(part, holding) == pytest.approx(0.48, abs=0.06)


@pytest.mark.fault(4)
def test_a_flat_part_and_one_that_does_not_fit_are_found_nowhere() -> None:
    view = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
    assert shown_anywhere(np.full((4, 4), 7, dtype=np.uint8), view) == 0.0
    assert shown_anywhere(np.random.default_rng(2).integers(0, 256, (17, 3), dtype=np.uint8), view) == 0.0
    assert shown_anywhere(view[3:7, 2:9], np.full((16, 16), 7, dtype=np.uint8)) == 0.0


@pytest.mark.fault(33)
def test_contrast_leaves_out_the_lowest_and_the_highest_hundredth() -> None:
    def contrast_of(levels: np.ndarray) -> int:
        return contrast(Image.fromarray(np.repeat(levels[:, :, None], 3, axis=2)))

    assert contrast_of(np.full((10, 10), 255, dtype=np.uint8)) == 0
    assert contrast_of(np.arange(256, dtype=np.uint8).reshape(16, 16)) == 251
    specks = np.full((100, 100), 50, dtype=np.uint8)
    specks[0, :100] = 255
    assert contrast_of(specks) == 0
    specks[1, 0] = 255
    assert contrast_of(specks) == 205
    assert contrast_of(np.array([[3, 9]], dtype=np.uint8)) == 6


@pytest.mark.fault(33)
def test_a_plain_colour_has_contrast_and_plain_grey_has_none() -> None:
    assert contrast(Image.new("RGB", (9, 9), (200, 30, 40))) == 170
    assert contrast(Image.new("RGB", (9, 9), (90, 90, 90))) == 0
