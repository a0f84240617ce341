"""Has a run arrived? Its distances to the target are compared with those of two fresh samples.

`nearness` judges a run that has ended; `particleflow.arrival.Arrived` ends a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.metrics import W2, Floor, SlicedW2, floor
from particleflow.spaces import PLAIN, Group, Space, rows_of
from particleflow.subsets import in_own_order

# Points of each cloud that are compared; one exact distance then takes about 15 ms.
COMPARED = 300
# Directions of the quick check.
DIRECTIONS = 32
# The relative change of W2 that counts as none: below the three digits that are shown.
PROGRESS = 1e-3
# The share of a run's mean pace at which it has not slowed down.
STEADY = 0.5
# The share of the way from which a pace is trusted; twenty such runs would arrive.
BEGUN = 0.05
# The last part of a run, whose pace is that of the end: long enough for a fall to be seen, and
# short beside the run.
LATE = 0.1
# The same where particles move at random: the fall in a tenth is often less than chance.
LATE_AT_RANDOM = 0.5
# How many standard deviations of W2 between fresh samples a change must exceed where particles
# move at random. It has that standard deviation at equilibrium too.
SHAKEN = 2.0
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
# Points of each cloud that are compared in a class, at least.
FEWEST_OF_CLASS = 50


@dataclass(frozen=True)
class Nearness:
    """W2 (the root) between particles and target.

    At most `COMPARED` points of each cloud are compared, drawn with a fixed seed; of many classes
    at most `FEWEST_OF_CLASS` of each.

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
    late : float or None
        W2 at the record nearest to nine tenths of the run's time, or to the half of it where
        particles move at random; None stands for `first`.
    share : float
        The share of the run's time after that record.
    slack : float
        The change of W2 that counts as none: two standard deviations of W2 between fresh samples
        where particles move at random (noise, diffusion, a network, minibatches), else 0.
    """

    first: float
    last: float
    floor: float
    bound: float
    compared: int
    late: float | None = None
    share: float = 1.0
    slack: float = 0.0

    @property
    def pace(self) -> float:
        """The fall of W2 in as long a run again, at the pace of its last part.

        (late - last) / share; negative where W2 rose, 0 for a change within `slack`.
        """
        fall = (self.first if self.late is None else self.late) - self.last
        return fall / self.share if abs(fall) > self.slack else 0.0

    @property
    def falling(self) -> bool:
        """Was W2 still falling at the end, so that more steps are worth their time?

        pace > last - bound: as long a run again would arrive at this pace. Or
        pace > (first - last) / 2 in a run that took off a twentieth of `first` at least: it has
        not slowed down.

        Flows slow down. Of 146 runs (MMD, KALE, MonoFlow; rings, moons, four Gaussians; 20 to 400
        steps) 39 met the first condition, and all arrived within four times the steps. Of the
        others 9 did.
        """
        whole = self.first - self.last
        steady = self.pace > STEADY * whole and whole > BEGUN * self.first
        return self.pace > self.last - self.bound or steady

    @property
    def fell(self) -> bool:
        """Is W2 lower at the end than at the start?"""
        return self.last < (1 - PROGRESS) * self.first

    def drawn(self, *clouds: int) -> str:
        """The words ", of 300 drawn" for clouds of these sizes; empty for small ones."""
        part = self.part_of(*clouds)
        return f", of {part} drawn" if part else ""

    def part_of(self, *clouds: int) -> int:
        """The points that were drawn of clouds of these sizes; 0 where all were compared."""
        return self.compared if max(clouds) > self.compared else 0

    @property
    def verdict(self) -> str:
        """One of four, tried in this order.

        - "arrived": last <= bound.
        - "farther": last > 1.001 first + slack.
        - "on its way": `falling`.
        - "stalled": none of these.
        """
        if self.last <= self.bound:
            return "arrived"
        if self.last > (1 + PROGRESS) * self.first + self.slack:
            return "farther"
        return "on its way" if self.falling else "stalled"


def nearness(
    start: Cloud,
    end: Cloud,
    target: Cloud,
    *,
    late: Cloud | None = None,
    share: float = 1.0,
    random: bool = False,
    space: Space = PLAIN,
) -> Nearness:
    """The distances to the target at the start and at the end, in any order of the rows.

    The same particles are compared at the start, at `late` and at the end. `late` is the cloud at
    the time after which a share `share` of the run is left. In a `space` with classes each class is
    compared with its own part of the target. Cost: about 0.2 s.
    """
    groups = space.groups(end)
    most = most_of(len(groups))
    parts = [
        _compared(
            rows_of(start, group.particles),
            None if late is None else rows_of(late, group.particles),
            rows_of(end, group.particles),
            rows_of(target, group.targets),
            space.metric,
            most,
        )
        for group in groups
    ]
    whole = partial(space.distance, [group.share for group in groups])
    first, last = whole([part.first for part in parts]), whole([part.last for part in parts])
    between = None if late is None else whole([part.late for part in parts])
    least = whole([part.floor.value for part in parts])
    spread = _spread(groups, parts, least)
    highest = max(ABOVE * least, least + DEVIATIONS * spread)
    splits = sorted(whole(values) for values in zip(*(part.splits for part in parts), strict=True))
    return Nearness(
        first,
        last,
        least,
        max(LEFT * first, min(highest, splits[-2])),
        sum(part.compared for part in parts),
        between,
        share,
        SHAKEN * spread if random else 0.0,
    )


class _Part(NamedTuple):
    """The distances of one group: see `Nearness`. `splits` are those of its random splits."""

    first: float
    late: float
    last: float
    floor: Floor
    splits: list[float]
    compared: int


def _compared(
    start: Cloud, late: Cloud | None, end: Cloud, target: Cloud, metric: W2, most: int
) -> _Part:
    # particles that start in one place are told apart by where they end
    paths = Cloud(torch.cat([start.points, end.points], 1), log_mass=end.log_mass)
    rows, y = rows_drawn(paths, 0, most), drawn(target, 1, most)
    x1 = rows_of(end, rows)
    return _Part(
        metric(rows_of(start, rows), y),
        math.nan if late is None else metric(rows_of(late, rows), y),
        metric(x1, y),
        floor_of(metric, target, len(x1), most),
        _splits(metric, x1, y) if len(target) >= FEWEST else [0.0] * SPLITS,
        max(len(x1), len(y)),
    )


def most_of(groups: int) -> int:
    """Points of each cloud that are compared in each of so many groups."""
    return max(FEWEST_OF_CLASS, COMPARED // groups)


def floor_of(metric: W2, target: Cloud, n: int, most: int) -> Floor:
    """W2 of n and of at most `most` fresh points; 0 for a target too small to be split."""
    if len(target) < FEWEST:
        return Floor(0.0, 0.0)
    return floor(metric, drawn(target, 1, n + most), n)


def _spread(groups: Sequence[Group], parts: Sequence[_Part], floor: float) -> float:
    """The standard deviation of the floor of all groups, whose floors are independent."""
    if len(parts) == 1:
        return parts[0].floor.spread
    if not floor > 0:
        return 0.0
    moved = [g.share * p.floor.value * p.floor.spread for g, p in zip(groups, parts, strict=True)]
    return math.hypot(*moved) / floor


def nearness_of_run(
    cloud: Callable[[int], Cloud],
    times: Float[Tensor, "T"],
    target: Cloud,
    *,
    random: bool,
    space: Space = PLAIN,
) -> Nearness:
    """`nearness` from the records of a run: `cloud(k)` is the one at `times[k]`.

    A run with two records is seen as a whole: its last part is not known.
    """
    part = LATE_AT_RANDOM if random else LATE
    length = float(times[-1] - times[0])
    k = int((times[:-1] - (times[-1] - part * length)).abs().argmin()) if len(times) > 2 else 0
    if k == 0 or not length > 0:
        return nearness(cloud(0), cloud(-1), target, random=random, space=space)
    share = float(times[-1] - times[k]) / length
    return nearness(
        cloud(0), cloud(-1), target, late=cloud(k), share=share, random=random, space=space
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
    return rows_of(cloud, np.random.default_rng(0).choice(len(cloud), most, replace=False))


def drawn(cloud: Cloud, seed: int, most: int = COMPARED) -> Cloud:
    """At most `most` points that have mass, drawn plainly; the order of the rows does not matter.

    A plain draw is as random as the splits that it is compared with.
    """
    return rows_of(cloud, rows_drawn(cloud, seed, most))


def rows_drawn(cloud: Cloud, seed: int, most: int = COMPARED) -> Int[np.ndarray, "n"]:
    rows = in_own_order(cloud)
    if len(rows) <= most:
        return rows
    return rows[np.random.default_rng(seed).choice(len(rows), most, replace=False)]
