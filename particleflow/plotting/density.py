"""Crowds as pictures: how dense the points lie at each pixel, and how dark that is. No drawing
here.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter

Image = Float32[np.ndarray, "H W"]

# Standard deviation in pixels of the Gaussian that softens a picture, at least, and in pixels that
# hold one point on average.
SOFT, SPREAD = 1.0, 0.5
# Where fewer points than ENOUGH lie under that Gaussian they are softened by one so many times
# WIDER: thin haze, not dots.
ENOUGH, WIDER = 128, 3
# tone = x / (1 + x), x = (density / level)^GAMMA.
GAMMA = 0.8


def density(
    points: Float[np.ndarray, "N 2"],
    weights: Float[np.ndarray, "N"] | None,
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
    shape: tuple[int, int],
) -> Image:
    """The share of the points per unit of area, at each of H x W pixels between the corners low and
    high, the uppermost row first.

    A histogram under a narrow Gaussian where n, the points under it, are many, and under a wide one
    where they are few: the share n / (n + ENOUGH) of the points of a pixel is softened by the
    narrow one, so that the whole is kept. `weights` sum up to the number of points; points outside
    are missed. Cost O(N + H W), about 40 ms for a million points.
    """
    height, width = shape
    scale = np.array([width, height]) / (high - low)
    column = (points[:, 0] - float(low[0])) * float(scale[0])
    row = (float(high[1]) - points[:, 1]) * float(scale[1])
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = row[inside].astype(np.int32) * width + column[inside].astype(np.int32)
    count = (
        np.bincount(pixel, None if weights is None else weights[inside], minlength=height * width)
        .reshape(shape)
        .astype(np.float32)
    )
    narrow = max(SOFT, SPREAD * (height * width / len(points)) ** 0.5)
    under = 4 * np.pi * narrow**2 * gaussian_filter(count, WIDER * narrow, mode="constant")
    many = count * (under / (under + ENOUGH))
    soft = gaussian_filter(many, narrow, mode="constant") + gaussian_filter(
        count - many, WIDER * narrow, mode="constant"
    )
    return soft * np.float32(scale.prod() / len(points))


def typical(picture: Image) -> float:
    """The density that half of the points exceed; 0 where there are none."""
    falling = np.sort(picture, axis=None)[::-1]
    shares = falling.cumsum(dtype=np.float64)
    return float(falling[np.searchsorted(shares, shares[-1] / 2)])


def tone(picture: Image, level: float) -> Image:
    """Darkness in [0, 1) by a logistic curve of the logarithm: 1/2 where the density is `level`, so
    that 1/100 and 100 times it both show.
    """
    x = (picture / np.float32(level)) ** np.float32(GAMMA)
    return x / (1 + x)
