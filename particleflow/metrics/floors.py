"""The floor of a metric: its value between two fresh samples of the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow.clouds import Cloud, as_clouds
from particleflow.metrics.base import normalised

# The number of random splits of the target that a floor is the mean of.
SPLITS = 8


@dataclass(frozen=True)
class Floor:
    """The mean and the standard deviation (`spread`) of a metric between two fresh samples.

    A metric cannot be expected to fall below it.
    """

    value: float
    spread: float


def floor(metric: Callable[[Any, Any], float], y: Any, n: int, *, seed: int = 0) -> Floor:
    """The value of `metric` between two fresh samples of the target, of n points and of M points.

    Only the M points y of the target's distribution are known. y is split at random into disjoint
    parts.

    - Where M >= 2 n the parts have n and M - n points (M - n is nearly M for few particles), and
      their distance is the floor.
    - Otherwise parts of M / 2 points and of M / 4 points are compared. The two means are continued
      to n and M as a power of the harmonic size n M / (n + M). Samples differ by a power of it,
      whose exponent lies between -1 (squared distances) and -1 / max(4, d).

    Each kind has eight splits, drawn with `seed`. Cost: 16 values of the metric on at most half of
    y each.

    >>> from particleflow.metrics import W2, floor
    >>> y = np.random.default_rng(0).standard_normal((400, 2))
    >>> bool(0.2 < floor(W2(), y, 300).value < 0.4)
    True

    Raises
    ------
    ValueError
        y has fewer than 4 points, too few to split.
    """
    cloud, _ = as_clouds(y, y, "y")
    _checks.count(n, "n")
    seed = _checks.count(seed, "seed", least=0)
    if isinstance(metric, type) or not callable(metric):
        raise TypeError(
            f"`metric` must be a metric, got {_checks.said(metric)}: e.g. pf.metrics.W2()"
        )
    if len(cloud) < 4:
        raise ValueError(
            f"`y` must hold at least 4 points to be split, got {len(cloud)}: there is no floor,"
            " compare with 0"
        )
    whole, rng = len(cloud), np.random.default_rng(seed)

    def between(a: int, b: int) -> tuple[float, float]:
        values = []
        for _ in range(SPLITS):
            rows = torch.from_numpy(rng.permutation(whole)).to(cloud.points.device)
            values.append(
                float(metric(_rows_of(cloud, rows[:a]), _rows_of(cloud, rows[a : a + b])))
            )
        return float(np.mean(values)), float(np.std(values, ddof=1))

    if whole >= 2 * n:
        return Floor(*between(n, whole - n))
    half, quarter = whole // 2, whole // 4
    (coarse, _), (fine, spread) = between(quarter, quarter), between(half, half)
    if not (fine > 0 and coarse > 0):
        return Floor(max(fine, 0.0), spread)
    power = min(1.0, max(1 / max(4, cloud.dim), math.log(coarse / fine) / math.log(half / quarter)))
    shrink = (half / 2 * (n + whole) / (n * whole)) ** power
    return Floor(fine * shrink, spread * shrink)


def _rows_of(cloud: Cloud, rows: Tensor) -> Cloud:
    """Some points with their masses, normalised to a total of 1."""
    return normalised(
        Cloud(cloud.points[rows], log_mass=None if cloud.log_mass is None else cloud.log_mass[rows])
    )
