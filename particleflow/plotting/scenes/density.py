"""The density of points at each pixel, and its darkness; this module draws nothing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter

Image = Float32[np.ndarray, "H W"]

# Least standard deviation, in pixels, of the Gaussian that softens a picture.
SOFT = 1.0
# The same deviation in widths of a square that holds one point on average; the larger one counts.
SPREAD = 0.5
# Number of points under that Gaussian that counts as many: the share softened by it is then 1/2.
ENOUGH = 128
# Factor of the wider Gaussian that softens the rest, so that few points are haze and not dots.
WIDER = 3
# Exponent of tone = x / (1 + x), x = (density / level)^GAMMA: below 1, thin parts stay visible.
GAMMA = 0.8


def density(
    points: Float[np.ndarray, "N 2"],
    weights: Float[np.ndarray, "N"] | None,
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
    shape: tuple[int, int],
) -> Image:
    """Return the share of the points per unit of area at each of H x W pixels.

    The pixels lie between the corners low and high, the uppermost row first. The result is a
    histogram under a Gaussian. The Gaussian is narrow where n, the number of points under it, is
    large, and wide where n is small: a share n / (n + ENOUGH) of the points of a pixel is softened
    by the narrow one, the rest by the wide one, so that the total is kept. `weights` sum up to the
    number of points. Points outside are not counted in any pixel. Cost O(N + H W), about 40 ms for
    a million points.
    """
    height, width = shape
    scale = np.array([width, height]) / (high - low)
    row, column = _pixels(points, low, high, shape)
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


def blended(
    points: Float[np.ndarray, "N 2"],
    colours: Float[np.ndarray, "N 3"],
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
    shape: tuple[int, int],
) -> Float32[np.ndarray, "H W 3"]:
    """Return the mean colour of the points around each of H x W pixels, under a narrow Gaussian."""
    height, width = shape
    row, column = _pixels(points, low, high, shape)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = row[inside].astype(np.int32) * width + column[inside].astype(np.int32)
    narrow = max(SOFT, SPREAD * (height * width / len(points)) ** 0.5)

    def soft(weights: Float[np.ndarray, "n"] | None) -> Image:
        count = np.bincount(pixel, weights, minlength=height * width).reshape(shape)
        return gaussian_filter(count.astype(np.float32), WIDER * narrow, mode="constant")

    total = np.maximum(soft(None), np.finfo(np.float32).tiny)
    return np.clip(np.stack([soft(c) / total for c in colours[inside].T], axis=-1), 0, 1)


def typical(picture: Image) -> float:
    """Return the density that half of the points exceed; 0 without points."""
    falling = np.sort(picture, axis=None)[::-1]
    shares = falling.cumsum(dtype=np.float64)
    return float(falling[np.searchsorted(shares, shares[-1] / 2)])


def tone(picture: Image, level: float) -> Image:
    """Return darkness in [0, 1), a logistic curve of the logarithm of the density.

    Darkness is 1/2 where the density is `level`. Densities of 1/100 and 100 times `level` are both
    visible.
    """
    x = (picture / np.float32(level)) ** np.float32(GAMMA)
    return x / (1 + x)


def _pixels(
    points: Float[np.ndarray, "N 2"],
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
    shape: tuple[int, int],
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """Return row and column of each point, in pixels from the upper left corner."""
    height, width = shape
    scale = np.array([width, height]) / (high - low)
    column = (points[:, 0] - float(low[0])) * float(scale[0])
    row = (float(high[1]) - points[:, 1]) * float(scale[1])
    return row, column
