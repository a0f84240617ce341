"""Has a run arrived? Its distances to the target are compared with those of two fresh samples."""

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

# Points of each cloud that are compared; one exact distance then takes about 15 ms.
COMPARED = 300
# Directions of the quick check.
DIRECTIONS = 32
# The least relative fall of W2 that counts as coming nearer.
PROGRESS = 1e-3
# The relative fall of the sliced W2 from which the quick check needs no exact distance.
CLEAR = 1e-2
# Random splits that the end is compared with; a test of level 2 / (SPLITS + 1) = 5 %.
SPLITS = 39
# The bound is at most this many standard deviations above the floor: a few stragglers would
# otherwise widen the splits that judge them.
DEVIATIONS = 3.0
# The bound is at most this multiple of the floor, where that is more than DEVIATIONS allow.
ABOVE = 1.1
# The share of the first distance at which a run has arrived in any case.
LEFT = 1e-3
# Points that a target needs for a floor: with fewer it cannot be estimated.
FEWEST = 4


@dataclass(frozen=True)
class Nearness:
    """W2 (the root) between particles and target.

    At most `COMPARED` points of each cloud are compared, drawn with a fixed seed.

    Attributes
    ----------
    first, last : float
        W2 at the start and at the end of the run.
    floor : float
        W2 of two fresh samples of the target of these sizes, estimated from the target's own sample
        (`metrics.floor`); 0 for fewer than 4 points.
    bound : float
        The W2 at which a run counts as arrived: a permutation test of level 5 %.
        Particles and target points are put together and split at random into two clouds of the
        same sizes, 39 times. The bound is the second largest W2 of these splits. If the particles
        are a fresh sample of the target's distribution, their own split is like the others: once in
        20 times it is one of the two with the largest W2 of all 40.
        The bound is at most three standard deviations, or a tenth, above `floor`: a few particles
        far from all others are as far in every split. It is at least a thousandth of `first`.
    compared : int
        Points of the larger cloud that were compared.
    """

    first: float
    last: float
    floor: float
    bound: float
    compared: int

    def drawn(self, *clouds: int) -> str:
        """The words ", of 300 drawn" for clouds of these sizes; empty for small ones."""
        return f", of {self.compared} drawn" if max(clouds) > self.compared else ""

    @property
    def verdict(self) -> str:
        """One of "arrived", "nearer" and "stalled"."""
        if self.last <= self.bound:
            return "arrived"
        return "nearer" if self.last < (1 - PROGRESS) * self.first else "stalled"


def nearness(start: Cloud, end: Cloud, target: Cloud) -> Nearness:
    """The distances to the target at the start and at the end, in any order of the rows.

    Cost: about 0.2 s.
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
    """The W2 of random splits of the N + M points into N and M; the actual split is left out.

    Each point keeps its share of its cloud.
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
    """Has the sliced distance to the target hardly fallen, so that `nearness` is worth its cost?

    Cost: about 5 ms.
    """
    metric, y = SlicedW2(projections=DIRECTIONS), part(target)
    return not metric(part(end), y) < (1 - CLEAR) * metric(part(start), y)


def part(cloud: Cloud, most: int = COMPARED) -> Cloud:
    """At most `most` points with their masses: the same rows of every cloud of one size."""
    if len(cloud) <= most:
        return cloud
    return _rows(cloud, np.random.default_rng(0).choice(len(cloud), most, replace=False))


def _drawn(cloud: Cloud, seed: int, most: int = COMPARED) -> Cloud:
    """At most `most` points that have mass, drawn plainly; the order of the rows does not matter.

    A plain draw is as random as the splits that it is compared with.
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
