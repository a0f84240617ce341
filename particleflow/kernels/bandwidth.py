"""Bandwidths of a kernel that are computed from the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.clouds import Cloud, as_cloud
from particleflow.kernels.contract import Kernel
from particleflow.subsets import places

# Most places of a cloud that enter a median distance or a cross-validation, which cost O(n^2).
MOST_POINTS = 2000
MOST_LEFT_OUT = 1000
# Rows of a matrix of pairs that are computed at once, to bound the memory.
ROWS = 250
# Ratio of neighbouring bandwidths in the grid of CrossValidated.
RATIO = 2**0.25
# Share of the median distance below which two points are copies of one point: rounding, such as in
# a change of units, separates copies.
COPY = 1e-6


class ScaleError(ValueError):
    """An error for a cloud whose points, all or most, coincide; `found` names what was found."""

    def __init__(self, message: str, found: str) -> None:
        super().__init__(message)
        self.found = found


def read_off(clouds: str, rule: Callable[[], float]) -> float:
    """Return the bandwidth that a rule computes from `clouds`, which are named in backticks.

    Where the rule finds none, the error is that of an estimator without a `kernel`.
    """
    try:
        return rule()
    except ScaleError as error:
        raise ValueError(
            f"{clouds} must not be a constant cloud for a bandwidth to be chosen from it, got"
            f" {error.found}: pass kernel= yourself, e.g. kernel=pf.kernels.Gaussian(0.2)"
        ) from error


def median_distance(points: Any) -> float:
    r"""The median distance between two places of a cloud, the scale of the "median heuristic".

    .. math::

        \operatorname{median} \left\{ \left| x_p - x_q \right| : p < q \right\} ,
        \qquad \text{the pair } (p, q) \text{ with the weight } m_p m_q .

    Repeats of a point are one place, so that repeats and masses give the same median. The order of
    the rows does not matter. A cloud of more than 2000 places is represented by 2000 of them: the
    median of 20000 normal points is then right within 2 %.

    Parameters
    ----------
    points : (N, d) array, tensor or Cloud
        The points, with their masses where it is a `Cloud`.

    Returns
    -------
    float
        The median, in units of the coordinates, > 0.

    Raises
    ------
    TypeError
        `points` are no numbers.
    ValueError
        All points are in one place, or `points` is no (N, d) array of finite numbers.

    Cost: O(n^2 d), n <= 2000 places; memory O(n^2).

    Source: Garreau, Jitkrittum and Kanagawa (2017).

    >>> pf.kernels.median_distance([[0.0], [1.0], [3.0]])  # of 1, 2 and 3
    2.0
    """
    cloud = as_cloud(points, "points")
    median = _median_distance(*places(cloud, MOST_POINTS))
    if median <= 0:
        raise ScaleError(
            f"`points` must not be a constant cloud: the median distance between its {len(cloud)}"
            " points is 0, so there is no scale for a bandwidth: pass bandwidth= yourself",
            f"{len(cloud)} points whose median distance is 0",
        )
    return median


def default_bandwidth(points: Any) -> float:
    r"""A bandwidth for a flow's kernel, read off the target.

    .. math::

        \ell = \min\left( 1, \sqrt{\frac{d}{32}} \right)
        \operatorname{median}_{p < q} \left| y_p - y_q \right|

    In the plane the factor is a quarter. The median itself blurs a target that has parts. A quarter
    of it gives about 0.2 for the three rings and 0.45 for the four Gaussians, whose published
    bandwidths are 0.22 and 0.5. As d grows, distances concentrate and the factor goes to one.
    `pf.auto_flow` ends with this bandwidth, and a flow on `KDE` without a kernel takes it.

    Parameters
    ----------
    points : (M, d) array, tensor or Cloud
        The target's points, with their masses where it is a `Cloud`.

    Returns
    -------
    float
        The bandwidth, in units of the coordinates, > 0.

    Raises
    ------
    TypeError
        `points` are no numbers.
    ValueError
        All points are in one place, or `points` is no (M, d) array of finite numbers.

    Cost: O(n^2 d), n <= 2000 places, as `median_distance`.

    >>> pf.kernels.default_bandwidth([[0.0, 0.0], [4.0, 0.0]])  # a quarter of 4
    1.0
    """
    cloud = as_cloud(points, "points")
    return min(1.0, math.sqrt(cloud.dim / 32)) * median_distance(cloud)


@runtime_checkable
class Bandwidth(Protocol):
    """A rule for the bandwidth of a Gaussian kernel density estimate of one cloud.

    `of` takes a `Cloud` and returns the bandwidth > 0: the standard deviation of the Gaussian that
    stands for each point, in units of the coordinates. `KDE(rule)` asks it of both clouds.
    """

    def of(self, cloud: Cloud) -> float: ...


def is_rule(value: Any) -> TypeGuard[Bandwidth]:
    """Tell whether `value` is a rule for a bandwidth, and not a kernel that has a method `of`."""
    return (
        isinstance(value, Bandwidth)
        and not isinstance(value, type)
        and not isinstance(value, Kernel)
    )


@dataclass(frozen=True)
class Median:
    r"""The rule of the median: a factor times `median_distance`.

    .. math::

        \ell = c\, \operatorname{median}_{p < q} \left| x_p - x_q \right|

    With factor 1 this blurs a cloud that has parts; None takes the factor of `default_bandwidth`.

    Parameters
    ----------
    factor : float or None
        c > 0. None: :math:`\min(1, \sqrt{d / 32})`.

    Raises
    ------
    TypeError
        `factor` is no number.
    ValueError
        `factor` is not positive and finite. Later, from `of`: all points of the cloud are in one
        place.

    Cost: O(n^2 d), n <= 2000 places.

    Source: Garreau, Jitkrittum and Kanagawa (2017).

    >>> pf.kernels.Median().of(pf.Cloud([[0.0], [1.0], [3.0]]))
    2.0
    """

    factor: float | None = 1.0

    def __post_init__(self) -> None:
        if self.factor is not None:
            object.__setattr__(self, "factor", _checks.positive(self.factor, "factor"))

    def of(self, cloud: Cloud) -> float:
        return (
            default_bandwidth(cloud)
            if self.factor is None
            else self.factor * median_distance(cloud)
        )


@dataclass(frozen=True)
class Scott:
    r"""Scott's rule: the best bandwidth for one Gaussian bump, up to its factor.

    .. math::

        \ell = c\, \sigma\, n^{-1/(d+4)} ,
        \qquad
        \sigma^2 = \frac{1}{d} \sum_{k=1}^{d} \operatorname{Var} x_k ,
        \qquad
        n = \frac{\left( \sum_p m_p \right)^2}{\sum_p m_p^2} .

    The sums go over places: repeats of a point are one place with their total mass. The rule is too
    wide for a cloud with parts. :math:`c = (4 / (d + 2))^{1/(d+4)}` gives Silverman's rule.

    Parameters
    ----------
    factor : float
        c > 0.

    Raises
    ------
    TypeError
        `factor` is no number.
    ValueError
        `factor` is not positive and finite. Later, from `of`: all points of the cloud are in one
        place.

    Cost: O(N (d + log N)).

    Source: Scott (1992), for one bandwidth; Silverman (1986).

    >>> round(pf.kernels.Scott().of(pf.Cloud([[-1.0], [1.0]])), 4)  # 2^(-1/5)
    0.8706
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _checks.positive(self.factor, "factor"))

    def of(self, cloud: Cloud) -> float:
        points, share = places(cloud)
        if len(points) == 1:
            found = f"{len(cloud)} points whose standard deviation is 0"
            raise ScaleError(
                f"`cloud` must have a scale, got {found}: pass a kernel with a bandwidth of"
                " your own",
                found,
            )
        centred = points - share @ points
        sigma = math.sqrt(float((share @ centred.square()).mean()))
        return self.factor * sigma * float(share.square().sum()) ** (1 / (cloud.dim + 4))


@dataclass(frozen=True)
class CrossValidated:
    r"""The rule of cross-validation: the bandwidth with the largest leave-one-out likelihood.

    .. math::

        \max_{\ell} \sum_i m_i \log
        \frac{\sum_{j \text{ not at } i} m_j\, e^{-\left| x_i - x_j \right|^2 / (2 \ell^2)}}
        {(1 - M_i)\, (2 \pi \ell^2)^{d/2}}

    A point is left out together with its repeats, since :math:`\ell = 0` would explain repeats
    best. Repeats are the points nearer than 1e-6 median distances, and :math:`M_i` is their mass.
    The maximum does not lie below :math:`\sqrt{\sum_i m_i r_i^2 / d}`, where :math:`r_i` is the
    distance to the nearest point that is left: below this bound each further decrease of
    :math:`\ell` lowers the likelihood.

    The search covers the median distance times :math:`2^{k/4}`, k <= 4. First it goes down in steps
    of 4 in k, until two values in a row are worse or the bound is passed. Then it searches around
    the best value. A bandwidth found for n of a cloud's N places is scaled by
    :math:`(n / N)^{1/(d+4)}`, the rate of the best bandwidth. `of` refuses (ValueError) a cloud
    whose points are in one place.

    Cost: O(n^2 (d + 20)), n <= 1000 places; the median distance O(n^2 d), n <= 2000.

    Source: Habbema, Hermans and van den Broek (1974); Duin (1976).

    >>> rule = pf.kernels.CrossValidated()
    >>> rule.of(pf.Cloud([[-1.0], [1.0]]))  # of two points: distance / sqrt(d)
    2.0
    """

    def of(self, cloud: Cloud) -> float:
        points, share = places(cloud, MOST_LEFT_OUT)
        median = median_distance(cloud)
        squares = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
        copies = squares <= (COPY * median) ** 2
        left = 1 - copies.to(share) @ share
        squares[copies] = math.inf
        least = math.sqrt(float(share @ squares.amin(1)) / cloud.dim)
        lowest = math.floor(math.log(least / median, RATIO))
        scores: dict[int, float] = {}
        best = k = 4
        while k >= max(lowest - 3, best - 8):
            scores[k] = _left_out(squares, share, left, median * RATIO**k, cloud.dim)
            best, k = max(scores, key=scores.__getitem__), k - 4
        for k in range(max(lowest, best - 3), best + 4):
            if k not in scores:
                scores[k] = _left_out(squares, share, left, median * RATIO**k, cloud.dim)
        best = max(scores, key=scores.__getitem__)
        return median * RATIO**best * (len(points) / len(places(cloud)[0])) ** (1 / (cloud.dim + 4))


def spacing(cloud: Cloud) -> float:
    """Return the median over the mass of the distance from a place to the nearest other place.

    One place gives 0. Cost O(n^2 d) on n <= 1000 places.
    """
    points, share = places(cloud, MOST_LEFT_OUT)
    distances = torch.cdist(
        points, points, compute_mode="donot_use_mm_for_euclid_dist"
    ).fill_diagonal_(math.inf)
    return 0.0 if len(points) == 1 else _weighted_median(distances.amin(1), share)


def _median_distance(points: Tensor, share: Tensor) -> float:
    """Return the weighted median distance of places; one place gives 0."""
    if len(points) == 1:
        return 0.0
    first, second = torch.triu_indices(len(points), len(points), offset=1, device=points.device)
    return _weighted_median(torch.pdist(points), share[first] * share[second])


def _weighted_median(values: Tensor, weights: Tensor) -> float:
    """Return the value below which half of the weight lies; between two values, their mean."""
    if bool((weights == weights[0]).all()):
        low, high = (len(values) + 1) // 2, len(values) // 2 + 1
        return 0.5 * float(values.kthvalue(low).values + values.kthvalue(high).values)
    ordered, order = values.sort()
    sums = weights[order].cumsum(0)
    half, rounding = 0.5 * float(sums[-1]), 1e-12 * float(sums[-1])
    low, high = (
        min(int(torch.searchsorted(sums, level)), len(sums) - 1)
        for level in (half - rounding, half + rounding)
    )
    return 0.5 * float(ordered[low] + ordered[high])


def _left_out(squares: Tensor, share: Tensor, left: Tensor, bandwidth: float, d: int) -> float:
    """Return the leave-one-out log-likelihood of a bandwidth.

    squares (n, n) is infinite where the column is left out for the row. left (n,) is the mass of
    the other columns.
    """
    log_share, log_left, total = share.log(), left.log(), 0.0
    for rows in torch.arange(len(share), device="cpu").split(ROWS):
        logs = (
            torch.logsumexp(squares[rows].mul_(-0.5 / bandwidth**2).add_(log_share), 1)
            - log_left[rows]
        )
        total += float(share[rows] @ logs)
    return total - 0.5 * d * math.log(2 * math.pi * bandwidth**2)
