"""The rule of pleasantness against loops and closed forms."""

import math

import numpy as np
import pytest

from guidebench.data.pleasantness import border_unrest, colorfulness, pleasantness


def halves(first: tuple[int, int, int], second: tuple[int, int, int], side: int = 16) -> np.ndarray:
    """Left half one colour, right half another, (1, side, side, 3)."""
    image = np.zeros((1, side, side, 3), np.uint8)
    image[:, :, : side // 2], image[:, :, side // 2 :] = first, second
    return image


def test_colorfulness_of_two_colors_in_closed_form() -> None:
    assert colorfulness(halves((90, 90, 90), (90, 90, 90))) == 0
    # rg is 255 and -255, yb 127.5 and 127.5: deviations 255 and 0, means 0 and 127.5
    assert colorfulness(halves((255, 0, 0), (0, 255, 0))) == pytest.approx(255 + 0.3 * 127.5)
    # rg is 100 and 0, yb 50 and -200: deviations 50 and 125, means 50 and -75
    expected = math.hypot(50, 125) + 0.3 * math.hypot(50, -75)
    assert colorfulness(halves((100, 0, 0), (0, 0, 200))) == pytest.approx(expected)


def test_border_unrest_against_loops() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 24, 3), dtype=np.uint8)
    luma = (0.299 * image[0, ..., 0]) + (0.587 * image[0, ..., 1]) + (0.114 * image[0, ..., 2])

    def in_border(y: int, x: int) -> bool:
        return not (2 <= y < 14 and 3 <= x < 21)

    steps = [
        abs(luma[y, x] - luma[y + dy, x + dx])
        for y in range(16)
        for x in range(24)
        for dy, dx in ((0, 1), (1, 0))
        if y + dy < 16 and x + dx < 24 and in_border(y, x) and in_border(y + dy, x + dx)
    ]
    assert border_unrest(image)[0] == pytest.approx(np.mean(steps))


def test_the_middle_is_no_background() -> None:
    image = np.full((1, 64, 64, 3), 128, np.uint8)
    image[:, 10:50, 10:50] = np.random.default_rng(0).integers(0, 256, (40, 40, 3))
    assert border_unrest(image) == 0


def test_the_sum_in_closed_form_and_its_ends() -> None:
    flat = np.full((1, 16, 16, 3), 77, np.uint8)
    assert pleasantness(flat) == pytest.approx(1 + 9 * 0.3)  # colourless and flat, but calm
    halved = halves((100, 0, 0), (0, 0, 200))
    color = (math.hypot(50, 125) + 0.3 * math.hypot(50, -75)) / 109
    lumas = 0.299 * 100, 0.114 * 200
    contrast = abs(lumas[0] - lumas[1]) / 2 / 64
    # the edge crosses the border in 2 + 2 of 16 rows
    unrest = 4 * abs(lumas[0] - lumas[1]) / border_pairs(16)
    expected = 1 + 9 * (0.4 * min(color, 1) + 0.3 * contrast + 0.3 * (1 - unrest / 16))
    assert pleasantness(halved) == pytest.approx(expected)
    noise = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    assert ((pleasantness(noise) >= 1) & (pleasantness(noise) <= 10)).all()
    best = np.full((1, 64, 64, 3), (0, 0, 255), np.uint8)
    best[:, 8:56, 8:56] = (255, 255, 0)
    assert pleasantness(best) == pytest.approx(10)


def border_pairs(side: int) -> int:
    """Neighbours that both lie in the outer eighth, counted one by one."""
    edge = side // 8
    cells = {
        (y, x)
        for y in range(side)
        for x in range(side)
        if not (edge <= y < side - edge and edge <= x < side - edge)
    }
    return sum(((y, x + 1) in cells) + ((y + 1, x) in cells) for y, x in cells)


def test_images_are_judged_alone_and_not_changed() -> None:
    images = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    before = images.copy()
    np.testing.assert_allclose([pleasantness(image[None])[0] for image in images], pleasantness(images))
    assert np.array_equal(images, before)


def test_gray_and_unrest_are_less_pleasant() -> None:
    colorful = halves((220, 60, 40), (30, 60, 220), 64)
    gray = np.repeat(colorful.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    noise = np.random.default_rng(3).normal(0, 12, colorful.shape)
    unrest = np.clip(colorful + noise, 0, 255).astype(np.uint8)
    assert pleasantness(gray) < pleasantness(colorful) - 1
    assert pleasantness(unrest) < pleasantness(colorful) - 0.5
