"""Spoilt pictures: how much is left of the picture, by numbers that can be checked by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from viewgen.views.degrade import add_noise, blur, colour, fill_for, moments, pixelate, shrink, shuffle, signal_share


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(stream(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(image)


def one_channel(rows: list[list[int]]) -> Image.Image:
    return Image.fromarray(np.array(rows, dtype=np.uint8)[:, :, None].repeat(3, axis=2))


def test_shrinking_keeps_the_size_and_loses_stripes_of_one_pixel_in_both_directions() -> None:
    stripes = np.zeros((40, 60, 3), dtype=np.uint8)
    stripes[::2] = 200
    for picture in (stripes, stripes.swapaxes(0, 1)):
        small = pixels(shrink(Image.fromarray(picture), 2.0))
        assert small.shape == picture.shape
        assert (small == 100).all()


def test_a_larger_factor_leaves_less() -> None:
    left = [pixels(shrink(noise(64, 64), factor)).std() for factor in (1.5, 2.0, 4.0, 16.0)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 6


def test_a_picture_smaller_than_the_factor_becomes_one_colour() -> None:
    assert (pixels(shrink(one_channel([[0, 100], [100, 200]]), 50.0)) == 100).all()


def test_each_block_has_the_mean_of_its_own_pixels_at_the_edges_too() -> None:
    picture = one_channel([[0, 10, 50], [20, 30, 71], [7, 9, 200]])
    blocks = pixels(pixelate(picture, 2))[:, :, 0].tolist()
    assert blocks == [[15, 15, 60], [15, 15, 60], [8, 8, 200]]  # 60.5 and 8: to the even neighbour


def test_blocks_larger_than_the_picture_leave_one_colour() -> None:
    assert len(set(pixelate(noise(9, 7), 16).get_flattened_data())) == 1


def test_a_blur_spreads_a_dot_and_keeps_a_plain_picture() -> None:
    dot = np.zeros((41, 41, 3), dtype=np.uint8)
    dot[20, 20] = 255
    spread = pixels(blur(Image.fromarray(dot), 1.0)).astype(int)[:, :, 0]
    assert 0.13 < spread[20, 20] / 255 < 0.2  # 1 / (2 pi) = 0.159 for an ideal one
    assert abs(spread - spread.T).max() <= 1
    assert (pixels(blur(Image.new("RGB", (9, 9), (3, 4, 5)), 4.0)) == (3, 4, 5)).all()


def test_signal_share_multiplies_the_betas_of_visual_contrastive_decoding() -> None:
    shares = [1.0]
    for t in range(1000):
        beta = 1e-5 + (0.5e-2 - 1e-5) / (1 + math.exp(6 - 12 * t / 999))
        shares.append(shares[-1] * (1 - beta))
    for step in (0, 1, 2, 499, 500, 999, 1000):
        assert signal_share(step, "sigmoid") == pytest.approx(shares[step])
    assert signal_share(500, "sigmoid") == pytest.approx(0.746, abs=0.002)


def test_the_cosine_schedule_halves_the_signal_near_its_middle_and_ends_without_any() -> None:
    assert signal_share(0, "cosine") == 1.0
    assert signal_share(500, "cosine") == pytest.approx(math.cos(math.pi / 2 * 0.508 / 1.008) ** 2, rel=1e-3)
    assert signal_share(1000, "cosine") == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["sigmoid", "cosine"])
def test_noise_has_the_deviation_that_the_schedule_leaves_it(schedule: str) -> None:
    grey = Image.new("RGB", (200, 200), (140, 140, 140))
    step = 60
    share = signal_share(step, schedule)  # type: ignore[arg-type]
    noised = pixels(add_noise(grey, stream(), step, schedule)).astype(float)  # type: ignore[arg-type]
    assert noised.std() == pytest.approx(127.5 * math.sqrt(1 - share), rel=0.02)
    assert noised.mean() == pytest.approx(127.5 + math.sqrt(share) * 12.5, abs=0.5)


def test_one_step_of_noise_hardly_shows_and_a_thousand_leave_nothing() -> None:
    picture = noise(64, 64)
    likeness = [
        float(np.corrcoef(pixels(picture).ravel(), pixels(add_noise(picture, stream(), step, "cosine")).ravel())[0, 1])
        for step in (1, 300, 600, 1000)
    ]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > 0.99
    assert abs(likeness[-1]) < 0.05


def test_equal_streams_give_equal_noise_and_others_other() -> None:
    first, again, other = (add_noise(noise(8, 8), stream(seed), 500, "sigmoid").tobytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_shuffled_patches_are_the_same_in_another_order() -> None:
    picture = noise(48, 48)

    def patches(image: Image.Image) -> list[bytes]:
        corners = product(range(0, 48, 8), range(0, 48, 8))
        return [image.crop((x, y, x + 8, y + 8)).tobytes() for y, x in corners]

    before, after = patches(picture), patches(shuffle(picture, stream(), 8))
    assert sorted(before) == sorted(after)
    assert before != after


def test_two_patches_always_change_places() -> None:
    picture = noise(40, 20)
    for seed in range(20):
        shuffled = pixels(shuffle(picture, stream(seed), 20))
        assert (shuffled == pixels(picture)[:, [*range(20, 40), *range(20)]]).all()


def test_strips_too_narrow_for_a_patch_stay_where_they_are() -> None:
    picture = noise(50, 30)
    shuffled = pixels(shuffle(picture, stream(), 12))
    assert (shuffled[24:] == pixels(picture)[24:]).all()
    assert (shuffled[:, 48:] == pixels(picture)[:, 48:]).all()


def test_moments_are_those_of_all_pixels() -> None:
    picture = noise(31, 17)
    mean_3, deviation_3 = moments(picture)
    assert mean_3 == pytest.approx(pixels(picture).mean(axis=(0, 1)))
    assert deviation_3 == pytest.approx(pixels(picture).std(axis=(0, 1)))
    assert moments(Image.new("RGB", (3, 3), (9, 9, 9)))[1].tolist() == [0, 0, 0]


def test_a_plain_fill_is_the_mean_of_the_image_grey_or_black() -> None:
    picture = Image.fromarray(np.array([[[0, 10, 255], [11, 20, 255]]], dtype=np.uint8))
    assert colour(picture, "mean") == (6, 15, 255)  # 5.5: to the even neighbour
    assert (colour(picture, "grey"), colour(picture, "black")) == ((128,) * 3, (0,) * 3)
    assert (pixels(fill_for(picture, noise(5, 4), "black", stream())) == 0).all()


def test_a_noise_fill_has_the_mean_and_the_deviation_of_the_image() -> None:
    picture = Image.fromarray(stream(3).normal((90, 120, 150), (10, 20, 5), (80, 80, 3)).astype(np.uint8))
    filled = pixels(fill_for(picture, Image.new("RGB", (150, 90)), "noise", stream())).astype(float)
    assert filled.shape == (90, 150, 3)
    assert filled.mean(axis=(0, 1)) == pytest.approx(pixels(picture).mean(axis=(0, 1)), abs=0.6)
    assert filled.std(axis=(0, 1)) == pytest.approx(pixels(picture).std(axis=(0, 1)), rel=0.05)


def test_a_blurred_fill_keeps_the_colour_of_what_is_there_and_none_of_its_detail() -> None:
    part = noise(40, 24)
    filled = pixels(fill_for(part, part, "blur", stream())).astype(float)
    assert filled.mean() == pytest.approx(pixels(part).mean(), abs=3)
    assert filled.std() < 0.15 * pixels(part).std()
