"""Has a run arrived? Distances at its start and end, against the distance of two fresh samples of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from particleflow.clouds import Cloud
from particleflow.metrics import W2, SlicedW2, floor

# Points of each cloud that are compared: one exact distance takes some 15 ms.
COMPARED = 300
# Directions of the quick look.
DIRECTIONS = 32
# What falls by less than this share has not come nearer.
PROGRESS = 1e-3
# Arrived: at most this share above the floor, or this many of its standard deviations.
ABOVE, DEVIATIONS = 1.1, 2.0
# A target of fewer points has no floor to measure: its particles have arrived at this share of their first distance.
FEWEST, LEFT = 4, 1e-3


@dataclass(frozen=True)
class Nearness:
    """W2 (the root) between particles and target, on at most `COMPARED` points of each cloud, drawn by a fixed seed.

    Attributes
    ----------
    first, last : float
        At the start and at the end of the run.
    floor : float
        W2 of two fresh samples of the target of these sizes, estimated from the target's own sample (`metrics.floor`); 0 for fewer than 4 points.
    bound : float
        What counts as the floor: 1.1 times it, or two of its standard deviations above it.
    compared : int
        Points of the larger cloud that were compared.
    """

    first: float
    last: float
    floor: float
    bound: float
    compared: int

    def drawn(self, *clouds: int) -> str:
        """", of 300 drawn" where one of the clouds, of so many points, is larger than what was compared; else nothing."""
        return f", of {self.compared} drawn" if max(clouds) > self.compared else ""

    @property
    def verdict(self) -> str:
        """"arrived", "nearer" or "stalled"."""
        if self.last <= self.bound:
            return "arrived"
        return "stalled" if _no_nearer(self.first, self.last) else "nearer"


def nearness(start: Cloud, end: Cloud, target: Cloud) -> Nearness:
    """How near the particles were at the start and are at the end. Cost: some 50 ms."""
    x0, x1, y = (part(cloud) for cloud in (start, end, target))
    metric = W2()
    first, last = metric(x0, y), metric(x1, y)
    compared = max(len(x1), len(y))
    if len(target) < FEWEST:
        return Nearness(first, last, 0.0, LEFT * first, compared)
    least = floor(metric, part(target, len(x1) + COMPARED) if len(target) > COMPARED else y, len(x1))
    return Nearness(first, last, least.value, max(ABOVE * least.value, least.value + DEVIATIONS * least.spread), compared)


def no_nearer(start: Cloud, end: Cloud, target: Cloud) -> bool:
    """A quick look, some 5 ms: has the sliced distance to the target not fallen?"""
    metric, y = SlicedW2(projections=DIRECTIONS), part(target)
    return _no_nearer(metric(part(start), y), metric(part(end), y))


def _no_nearer(first: float, last: float) -> bool:
    return not last < (1 - PROGRESS) * first


def part(cloud: Cloud, most: int = COMPARED) -> Cloud:
    """At most `most` points, the same rows of every cloud of this size, with the masses that they have."""
    if len(cloud) <= most:
        return cloud
    rows: Any = torch.from_numpy(np.random.default_rng(0).choice(len(cloud), most, replace=False)).to(cloud.points.device)
    return Cloud(cloud.points[rows], log_mass=None if cloud.log_mass is None else cloud.log_mass[rows])
