"""Has a run arrived? Its distances to the target are compared with those of two fresh samples.

`nearness` judges a run that has ended; `Arrived` ends a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.integrators import State
from particleflow.memories import Remembered
from particleflow.metrics import W2, Floor, SlicedW2, floor
from particleflow.spaces import PLAIN, Group, Space, rows_of
from particleflow.stops import Beginning
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
# The relative fall of W2 between looks that counts as progress of a run that is not yet there.
FALLING = 1e-2


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
    most = _most(len(groups))
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
    rows, y = _rows_drawn(paths, 0, most), _drawn(target, 1, most)
    x1 = rows_of(end, rows)
    few = len(target) < FEWEST
    return _Part(
        metric(rows_of(start, rows), y),
        math.nan if late is None else metric(rows_of(late, rows), y),
        metric(x1, y),
        Floor(0.0, 0.0) if few else floor(metric, _drawn(target, 1, len(x1) + most), len(x1)),
        [0.0] * SPLITS if few else _splits(metric, x1, y),
        max(len(x1), len(y)),
    )


def _most(groups: int) -> int:
    """Points of each cloud that are compared in each of so many groups."""
    return max(FEWEST_OF_CLASS, COMPARED // groups)


def _spread(groups: Sequence[Group], parts: Sequence[_Part], floor: float) -> float:
    """The standard deviation of the floor of all groups, whose floors are independent."""
    if len(parts) == 1 or not floor > 0:
        return parts[0].floor.spread if len(parts) == 1 else 0.0
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


@dataclass(frozen=True)
class Arrived:
    r"""End a run whose particles are as near to the target as a fresh sample, or come no nearer.

    .. math::

        W_2(x, y) \le \max\bigl( \text{floor},\; 10^{-3}\, W_2(x_0, y) \bigr)

    Every `every` steps W2 (the root, in the units of the coordinates) is compared with its floor,
    the W2 of two fresh samples, which is estimated from the target's own points (`metrics.floor`; 0
    for fewer than 4 points). At most 300 points of each cloud are compared, the same rows each
    time. Classes of `labelled` are compared each with its own part of the target, and a box of
    `Periodic` by distances around it. The run also ends where `patience` looks have brought no fall
    of 1 %.
    `path.report["stopped"]` says why.

    Parameters
    ----------
    after : int
        >= 0, the steps before the first look, such as those of a `Continuation`.
    every : int
        The steps from one look to the next.
    patience : int
        The looks without progress after which the run ends.

    Raises
    ------
    TypeError
        A number is no whole number.
    ValueError
        `after` < 0, `every` < 1 or `patience` < 1. At the start of a run: the flow has no target.

    Cost: about 15 ms a look, and 0.2 s once for the floor.

    A target in one place has the floor 0. There the run ends at a thousandth of the first distance:

    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(2.0))
    >>> x, y = torch.tensor([[0.0]]), torch.tensor([[2.0], [2.0]])
    >>> path = pf.simulate(flow, x, y, steps=500, dt=2.0, stop=pf.Arrived(every=5))
    >>> int(path.steps[-1])
    15
    >>> path.report["stopped"]
    'W2 to the target, 0.000116, is at most a thousandth of that at the start'
    """

    after: int = 0
    every: int = 20
    patience: int = 10

    def __post_init__(self) -> None:
        _checks.count(self.after, "after", least=0)
        _checks.count(self.every, "every")
        _checks.count(self.patience, "patience")

    def begin(self) -> Beginning:
        """The rule of one run: why it ends at a state, or nothing."""
        return _Looks(self)


class _Looks(Beginning):
    """The looks of one run."""

    def __init__(self, rule: Arrived) -> None:
        self.rule = rule
        self.first: int | None = None
        self.best = math.inf
        self.idle = 0
        self._known: tuple[Cloud, float] | None = None

    def remembered(self) -> Remembered:
        if self.first is None:
            return Remembered({}, {"first": None})
        facts = {"first": self.first, "began": self.began, "best": self.best, "idle": self.idle}
        return Remembered({"rows": torch.from_numpy(self.rows)}, facts)

    def recall(self, tensors: Memory, facts: Mapping[str, Any]) -> None:
        if facts["first"] is not None:
            self.first, self.began = facts["first"], facts["began"]
            self.best, self.idle = facts["best"], facts["idle"]
            self.rows = tensors["rows"].numpy()

    def begin_at(self, state: State) -> None:
        if state.target is None:
            raise ValueError(
                "`stop` Arrived() needs a target, got None: pass samples of the target distribution"
            )

    def __call__(self, state: State) -> str:
        assert state.target is not None
        if self.first is None:
            self.first = state.clock.step - 1
            self.rows = self._rows_drawn(state.x)
            self.began = self._distance(state.x, state.target)
        taken = state.clock.step - self.first
        if taken < max(self.rule.after, self.rule.every) or taken % self.rule.every:
            return ""
        distance = self._distance(state.x, state.target)
        w2 = f"W2 to the target{f' {self.space.said}' if self.space.said else ''}, {distance:.3g},"
        least = self._floor(state.x, state.target)
        if distance <= LEFT * self.began:
            return f"{w2} is at most a thousandth of that at the start"
        if distance <= least:
            return f"{w2} is no more than that of two fresh samples, {least:.3g}"
        self.idle = 0 if distance < (1 - FALLING) * self.best else self.idle + 1
        self.best = min(self.best, distance)
        if self.idle < self.rule.patience:
            return ""
        return (
            f"{w2} has not fallen by {FALLING:.0%} in {self.rule.patience * self.rule.every} steps"
        )

    def _rows_drawn(self, x: Cloud) -> Int[np.ndarray, "n"]:
        """The rows of the particles that are compared, group by group."""
        groups = self.space.groups(x)
        most = _most(len(groups))
        drawn = []
        for group in groups:
            rows = _rows_drawn(rows_of(x, group.particles), 0, most)
            drawn.append(rows if group.particles is None else group.particles[rows])
        return np.concatenate(drawn)

    def _mine(self, group: Group) -> Int[np.ndarray, "n"]:
        """The rows of a group that are compared."""
        return self.rows if group.particles is None else np.intersect1d(self.rows, group.particles)

    def _distance(self, x: Cloud, target: Cloud) -> float:
        groups = self.space.groups(x)
        most = _most(len(groups))
        return self.space.distance(
            [group.share for group in groups],
            [
                self.space.metric(
                    rows_of(x, self._mine(group)), _drawn(rows_of(target, group.targets), 1, most)
                )
                for group in groups
            ],
        )

    def _floor(self, x: Cloud, target: Cloud) -> float:
        """W2 of two fresh samples; 0 for a target too small to be split."""
        if self._known is None or self._known[0] is not target:
            groups = self.space.groups(x)
            most = _most(len(groups))
            values = []
            for group in groups:
                y, n = rows_of(target, group.targets), len(self._mine(group))
                known = len(y) >= FEWEST
                values.append(
                    floor(self.space.metric, _drawn(y, 1, n + most), n).value if known else 0.0
                )
            self._known = target, self.space.distance([g.share for g in groups], values)
        return self._known[1]


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


def _drawn(cloud: Cloud, seed: int, most: int = COMPARED) -> Cloud:
    """At most `most` points that have mass, drawn plainly; the order of the rows does not matter.

    A plain draw is as random as the splits that it is compared with.
    """
    return rows_of(cloud, _rows_drawn(cloud, seed, most))


def _rows_drawn(cloud: Cloud, seed: int, most: int = COMPARED) -> Int[np.ndarray, "n"]:
    rows = in_own_order(cloud)
    if len(rows) <= most:
        return rows
    return rows[np.random.default_rng(seed).choice(len(rows), most, replace=False)]
