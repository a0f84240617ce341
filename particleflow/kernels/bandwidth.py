"""A length for the kernel, read off the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from particleflow import _checks

MOST_POINTS = 2000


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
        raise ValueError(
            f"`points` must not be a constant cloud: the median distance between its {len(cloud)} points is 0, so there is no scale "
            "for a bandwidth: pass bandwidth= yourself"
        )
    return median


def default_bandwidth(points: Any) -> float:
    """min(1, sqrt(d / 32)) times the median distance: a quarter of it in the plane.

    The median itself blurs a target that has parts. In the plane a quarter of it gives about .2 for the three rings and .45 for the four Gaussians,
    whose published bandwidths are .22 and .5; as d grows distances concentrate and the factor goes to one.
    """
    cloud = _checks.as_points(points, "points")
    return min(1.0, math.sqrt(cloud.shape[1] / 32)) * median_distance(cloud)
