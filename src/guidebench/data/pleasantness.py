"""A rule of pleasantness: what the embedded suite's aesthetic heads learn to predict, and what checks them.

pleasantness = 1 + 9 (0.4 colour + 0.3 contrast + 0.3 calm), from 1 to 10, where

- colour is Hasler and Süsstrunk's colourfulness over 109, their "extremely colourful", at most 1;
- contrast is the standard deviation of the luma over 64 levels (a quarter of the range), at most 1;
- calm is 1 minus the mean difference of neighbouring pixels' luma along the border (the outer eighth of each side,
  where the background is) over 16 levels, at least 0.

It is a definition, not a finding about people's taste: a number that a picture has, that its content does not fix, and
that can be computed exactly.

References: Hasler, Süsstrunk, "Measuring colourfulness in natural images", Human Vision and Electronic Imaging VIII,
2003.
"""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Scores = NDArray[np.float64]


def pleasantness(images: Images) -> Scores:
    """The rule, (n,), of images (n, H, W, 3)."""
    color = np.minimum(colorfulness(images) / 109, 1)
    contrast = np.minimum(_luma(images).std(axis=(1, 2)) / 64, 1)
    calm = np.maximum(1 - border_unrest(images) / 16, 0)
    return 1 + 9 * (0.4 * color + 0.3 * contrast + 0.3 * calm)


def colorfulness(images: Images) -> Scores:
    """Hasler and Süsstrunk's M3 = sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2), (n,), of images (n, H, W, 3).

    Standard deviations s and means m over the pixels of rg = R - G and yb = (R + G) / 2 - B, in sRGB levels.
    """
    r, g, b = np.moveaxis(images.astype(np.float64), -1, 0)
    opponents = np.stack([r - g, (r + g) / 2 - b])
    deviation, mean = opponents.std(axis=(2, 3)), opponents.mean(axis=(2, 3))
    return np.hypot(*deviation) + 0.3 * np.hypot(*mean)


def border_unrest(images: Images) -> Scores:
    """Mean absolute difference of neighbouring luma levels along the border, (n,), of images (n, H, W, 3).

    A pair of neighbours counts where both lie in the outer eighth of a side.
    """
    luma = _luma(images)
    height, width = luma.shape[1:]
    inside = np.zeros((height, width), bool)
    inside[height // 8 : height - height // 8, width // 8 : width - width // 8] = True
    total, count = np.zeros(len(luma)), 0
    for axis in (0, 1):
        step = np.abs(np.diff(luma, axis=axis + 1))
        first, second = (np.take(inside, np.arange(inside.shape[axis] - 1) + k, axis) for k in (0, 1))
        border = ~(first | second)
        total, count = total + step[:, border].sum(axis=1), count + int(border.sum())
    return total / count


def _luma(images: Images) -> Scores:
    return images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
