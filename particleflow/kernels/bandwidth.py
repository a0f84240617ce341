"""A length for the kernel, read off the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow.clouds import Cloud

MOST_POINTS = 2000
MOST_LEFT_OUT = 1000
ROWS = 250                                                                      # of a matrix of pairs at once
RATIO = 2**0.25                                                                 # of neighbours in the grid of CrossValidated


class ScaleError(ValueError):
    """A cloud all or most of whose points coincide; `found` tells what was looked at."""

    def __init__(self, message: str, found: str) -> None:
        super().__init__(message)
        self.found = found


def read_off(clouds: str, rule: Callable[[], float]) -> float:
    """The length that a rule reads off `clouds`, named in backticks; where it has none, the error of an estimator that was given no `kernel`."""
    try:
        return rule()
    except ScaleError as error:
        raise ValueError(
            f"{clouds} must not be a constant cloud for a bandwidth to be chosen from it, got {error.found}: pass kernel= yourself, "
            "e.g. kernel=pf.kernels.Gaussian(0.2)"
        ) from error


def median_distance(points: Any) -> float:
    """The median distance between two distinct points of a cloud, the scale of the "median heuristic".

    Cost O(n^2 d) on n <= 2000 points (an evenly strided subset of more).

    Raises
    ------
    ValueError
        When the median is zero: a constant cloud, or one in which most points coincide.
    """
    cloud = _checks.as_points(points, "points")
    cloud = cloud[:: math.ceil(len(cloud) / MOST_POINTS)]
    distances = torch.pdist(cloud.double())
    median = float(np.median(distances.cpu().numpy())) if len(distances) else 0.0
    if median <= 0:
        raise ScaleError(
            f"`points` must not be a constant cloud: the median distance between its {len(cloud)} points is 0, so there is no scale "
            "for a bandwidth: pass bandwidth= yourself",
            f"{len(cloud)} points whose median distance is 0",
        )
    return median


def default_bandwidth(points: Any) -> float:
    """min(1, sqrt(d / 32)) times the median distance: a quarter of it in the plane.

    The median itself blurs a target that has parts. In the plane a quarter of it gives about .2 for the three rings and .45 for the four Gaussians,
    whose published bandwidths are .22 and .5; as d grows distances concentrate and the factor goes to one.
    """
    cloud = _checks.as_points(points, "points")
    return min(1.0, math.sqrt(cloud.shape[1] / 32)) * median_distance(cloud)


@runtime_checkable
class Bandwidth(Protocol):
    """A rule: the bandwidth (standard deviation) of a Gaussian kernel density estimate of one cloud."""

    def of(self, cloud: Cloud) -> float: ...


@dataclass(frozen=True)
class Median:
    """factor times the median distance between two distinct points, pairs weighing m_i m_j. Cost O(n^2 d) on n <= 2000 points."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _checks.positive(self.factor, "factor"))

    def of(self, cloud: Cloud) -> float:
        if cloud.log_mass is None:
            return self.factor * median_distance(cloud.points)
        points, mass = _thinned(cloud, MOST_POINTS)
        first, second = torch.triu_indices(len(points), len(points), offset=1)
        distances, order = torch.pdist(points).sort()
        share = (mass[first] * mass[second])[order].cumsum(0)
        median = float(distances[torch.searchsorted(share, 0.5 * share[-1])]) if len(distances) else 0.0
        return self.factor * _some_scale(median, "median distance", len(points))


@dataclass(frozen=True)
class Scott:
    """factor sigma n^{-1/(d+4)}, sigma^2 the mean of the coordinates' variances and n = (sum m)^2 / sum m^2 (Scott 1992, of one bandwidth).

    Right for one Gaussian bump, and too wide for a cloud with parts. `factor = (4 / (d + 2))^{1/(d+4)}` is Silverman's rule. Cost O(n d^2).
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _checks.positive(self.factor, "factor"))

    def of(self, cloud: Cloud) -> float:
        mass, d = cloud.mass.double(), cloud.dim
        there = cloud.points[mass > 0]
        # of a constant cloud the moments leave rounding
        sigma = math.sqrt(float(cloud.double().moments()[1].trace()) / d) if bool((there != there[0]).any()) else 0.0
        n = float(mass.sum() ** 2 / mass.square().sum())
        return self.factor * _some_scale(sigma, "standard deviation", len(cloud)) * n ** (-1 / (d + 4))


@dataclass(frozen=True)
class CrossValidated:
    """The bandwidth l of the largest leave-one-out likelihood sum_i m_i log sum_{j != i} m_j k_l(x_i - x_j) / ((1 - m_i) (2 pi l^2)^{d/2}).

    Found among the median distance times 2^{k/4}, k <= 4: first in steps of 4, downwards until two in a row are worse, then around the best. Cost
    O(n^2 (d + 20)) on n <= 1000 points; what was found for n of a cloud's N points is scaled by (n / N)^{1/(d+4)}, the rate of the best bandwidth.

    Exact copies of points pull the likelihood's maximum to 0: the search then stops at 2^-16 of the median distance.

    Source: Habbema, Hermans and van den Broek (1974); Duin (1976).
    """

    def of(self, cloud: Cloud) -> float:
        points, mass = _thinned(cloud, MOST_LEFT_OUT)
        median, share = median_distance(points), mass / mass.sum()
        squares = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
        squares.fill_diagonal_(math.inf)
        scores: dict[int, float] = {}
        best = k = 4
        while k >= max(-64, best - 8):
            scores[k] = _left_out(squares, share, median * RATIO**k, cloud.dim)
            best, k = max(scores, key=scores.__getitem__), k - 4
        for k in range(best - 3, best + 4):
            scores.setdefault(k, _left_out(squares, share, median * RATIO**k, cloud.dim))
        best = max(scores, key=scores.__getitem__)
        return median * RATIO**best * (len(points) / len(cloud)) ** (1 / (cloud.dim + 4))


def _left_out(squares: Tensor, share: Tensor, bandwidth: float, d: int) -> float:
    """squares (n, n), infinite on the diagonal."""
    log_share, total = share.log(), 0.0
    for rows in torch.arange(len(share), device="cpu").split(ROWS):
        logs = torch.logsumexp(squares[rows].mul_(-0.5 / bandwidth**2).add_(log_share), 1) - torch.log1p(-share[rows])
        total += float(share[rows] @ logs)
    return total - 0.5 * d * math.log(2 * math.pi * bandwidth**2)


def _thinned(cloud: Cloud, most: int) -> tuple[Tensor, Tensor]:
    """Points with mass and their masses, in float64: evenly strided, at most so many."""
    mass = cloud.mass.detach().double()
    points, mass = cloud.points.detach().double()[mass > 0], mass[mass > 0]
    stride = math.ceil(len(points) / most)
    return points[::stride], mass[::stride]


def _some_scale(length: float, name: str, n: int) -> float:
    if not length > 0:
        found = f"{n} points whose {name} is 0"
        raise ScaleError(f"`cloud` must have a scale, got {found}: pass a kernel with a bandwidth of your own", found)
    return length
