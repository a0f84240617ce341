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
    """The answer of `floor`: a metric between two fresh samples of the target.

    Particles whose metric to the target has come down to it are as near as a fresh sample. A flow
    may go below it: particles that fit the target's own points are nearer to these than a fresh
    sample is.

    Attributes
    ----------
    value : float
        The mean over random splits of the target, in the metric's unit.
    spread : float
        The standard deviation over the splits, in the same unit.
    """

    value: float
    spread: float


def floor(metric: Callable[[Any, Any], float], y: Any, n: int, *, seed: int = 0) -> Floor:
    r"""Estimate a metric between two fresh samples of the target, of n and of M points.

    .. math::

        \mathbb{E}\, \text{metric}(Y'_{1..n}, Y_{1..M}),
        \qquad Y', Y \sim \text{target, independent}

    Only the M points y of the target's distribution are known. y is split at random into disjoint
    parts, eight times.

    - Where M >= 2 n the parts have n and M - n points (M - n is nearly M for few particles), and
      the mean of their metric is the floor.
    - Otherwise parts of M/2 and of M/4 points are compared with their like. The two means are
      continued to n and M as a power of the harmonic size n M / (n + M): the metric between samples
      falls as such a power, whose exponent lies between -1 (squared distances) and -1 / max(4, d).

    The metric must vanish between equal clouds. Compare a run's last value with it: particles at
    the floor are as near to the target as a fresh sample. A flow may go below it, by fitting the
    target's own points; this is no gain against points that it never saw.

    Parameters
    ----------
    metric : callable (x, y) -> float
        A metric, e.g. `W2()`.
    y : (M, d) tensor, array or Cloud
        The target, M >= 4. Its masses count; each part is normalised to a total of 1.
    n : int
        The number of particles, >= 1.
    seed : int
        The seed of the splits, >= 0.

    Returns
    -------
    Floor
        `value` and `spread`, in the metric's unit.

    Raises
    ------
    TypeError
        `metric` is a class or no callable, `n` or `seed` is no integer, or y is not numeric.
    ValueError
        y has fewer than 4 points, too few to split, or is not (M, d) or not finite. Or `n` is < 1,
        or `seed` < 0.

    Cost: 8 values of the metric where M >= 2 n, else 16 on at most half of y each.

    >>> y = pf.samplers.Gaussian(dim=2).sample(400, seed=0)
    >>> lowest = pf.metrics.floor(pf.metrics.W2(), y, 300)
    >>> bool(0.2 < lowest.value < 0.4)  # not 0, though both are the target
    True
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
