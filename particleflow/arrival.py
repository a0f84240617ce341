"""Has a run arrived? Distances at its start and end, against the distance of two fresh samples of
the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from particleflow.clouds import Cloud
from particleflow.metrics import W2, SlicedW2, floor
from particleflow.subsets import in_own_order

# Points of each cloud that are compared: one exact distance takes some 15 ms.
COMPARED = 300
# Directions of the quick look.
DIRECTIONS = 32
# What falls by less than this share has not come nearer; a quick look is clear from the other share
# on.
PROGRESS, CLEAR = 1e-3, 1e-2
# Arrived: no farther than all but one of this many random splits of both clouds, a test of level 2
# / (SPLITS + 1).
SPLITS = 39
# A few stragglers would widen the splits that judge them: at most this many standard deviations of
# the floor, or this share of it, above it.
DEVIATIONS, ABOVE = 3.0, 1.1
# Arrived in any case, at this share of the first distance; a target of fewer points than `FEWEST`
# has no floor to measure beside.
LEFT, FEWEST = 1e-3, 4


@dataclass(frozen=True)
class Nearness:
    """W2 (the root) between particles and target, on at most `COMPARED` points of each cloud, drawn
    by a fixed seed.

    Attributes
    ----------
    first, last : float
        At the start and at the end of the run.
    floor : float
        W2 of two fresh samples of the target of these sizes, estimated from the target's own sample
        (`metrics.floor`); 0 for fewer than 4 points.
    bound : float
        Where W2 counts as arrived: the second largest W2 among 39 random splits of all points,
        particles and target together, into two clouds of their sizes, or a thousandth of `first`.
        Were the particles a fresh sample of the target's law, all splits would be alike, and theirs
        would be one of the two farthest of the 40 once in 20 times: a permutation test of level 5
        %. But at most three standard deviations above `floor`, or a tenth, since a few particles
        far from all others are as far in every split.
    compared : int
        Points of the larger cloud that were compared.
    """

    first: float
    last: float
    floor: float
    bound: float
    compared: int

    def drawn(self, *clouds: int) -> str:
        """ ", of 300 drawn" where one of the clouds, of so many points, is larger than what was
        compared; else nothing.
        """
        return f", of {self.compared} drawn" if max(clouds) > self.compared else ""

    @property
    def verdict(self) -> str:
        """ "arrived", "nearer" or "stalled"."""
        if self.last <= self.bound:
            return "arrived"
        return "nearer" if self.last < (1 - PROGRESS) * self.first else "stalled"


def nearness(start: Cloud, end: Cloud, target: Cloud) -> Nearness:
    """How near the particles were at the start and are at the end: the same in any order of the
    rows. Cost: some 0.2 s.
    """
    (x0, x1), y = (_drawn(cloud, 0) for cloud in (start, end)), _drawn(target, 1)
    metric = W2()
    first, last = metric(x0, y), metric(x1, y)
    compared, bound = max(len(x1), len(y)), LEFT * first
    if len(target) < FEWEST:
        return Nearness(first, last, 0.0, bound, compared)
    least = floor(metric, _drawn(target, 1, len(x1) + COMPARED), len(x1))
    highest = max(ABOVE * least.value, least.value + DEVIATIONS * least.spread)
    return Nearness(
        first,
        last,
        least.value,
        max(bound, min(highest, sorted(_splits(metric, x1, y))[-2])),
        compared,
    )


def _splits(metric: Callable[[Cloud, Cloud], float], x: Cloud, y: Cloud) -> list[float]:
    """The distances of random splits of the N + M points into N and M, other than the split that
    there is. Points keep their shares of a cloud.
    """
    shares = torch.cat([(cloud.mass / cloud.mass.mean()).double().cpu() for cloud in (x, y)])
    pool = Cloud(torch.cat([cloud.points.double().cpu() for cloud in (x, y)]), mass=shares)
    order, own = in_own_order(pool), np.arange(len(pool)) < len(x)
    rng = np.random.default_rng(0)
    values: list[float] = []
    while len(values) < SPLITS:
        rows = order[rng.permutation(len(order))]
        parts = rows[: len(x)], rows[len(x) :]
        if any(own[rows].all() for rows in parts):
            continue
        values.append(
            metric(
                *(
                    Cloud(pool.points[rows], mass=shares[rows] / shares[rows].sum())
                    for rows in parts
                )
            )
        )
    return values


def doubtful(start: Cloud, end: Cloud, target: Cloud) -> bool:
    """A quick look, some 5 ms: has the sliced distance to the target hardly fallen, so that
    `nearness` is worth its cost?
    """
    metric, y = SlicedW2(projections=DIRECTIONS), part(target)
    return not metric(part(end), y) < (1 - CLEAR) * metric(part(start), y)


def part(cloud: Cloud, most: int = COMPARED) -> Cloud:
    """At most `most` points, the same rows of every cloud of this size, with the masses that they
    have.
    """
    if len(cloud) <= most:
        return cloud
    return _rows(cloud, np.random.default_rng(0).choice(len(cloud), most, replace=False))


def _drawn(cloud: Cloud, seed: int, most: int = COMPARED) -> Cloud:
    """At most `most` points that have mass, the same in any order of the rows: a plain draw, as a
    random split is one.
    """
    rows = in_own_order(cloud)
    return _rows(
        cloud,
        rows
        if len(rows) <= most
        else rows[np.random.default_rng(seed).choice(len(rows), most, replace=False)],
    )


def _rows(cloud: Cloud, numbers: Int[np.ndarray, "n"]) -> Cloud:
    rows: Any = torch.from_numpy(numbers).to(cloud.points.device)
    return Cloud(
        cloud.points[rows], log_mass=None if cloud.log_mass is None else cloud.log_mass[rows]
    )
