"""The rule that ends a run where it has arrived, or comes no nearer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.integrators import State
from particleflow.memories import Remembered
from particleflow.nearness import LEFT, drawn, floor_of, most_of, rows_drawn
from particleflow.spaces import rows_of
from particleflow.stops import Beginning

# The relative fall of W2 between looks that counts as progress of a run that is not yet there.
FALLING = 1e-2


@dataclass(frozen=True)
class Arrived:
    r"""End a run whose particles are as near to the target as a fresh sample, or come no nearer.

    .. math::

        W_2(x, y) \le \max\bigl( \text{floor},\; 10^{-3}\, W_2(x_0, y) \bigr)

    Every `every` steps W2 (the root, in the units of the coordinates) is compared with its floor,
    the W2 of two fresh samples, which is estimated from the target's own points (`metrics.floor`; 0
    for fewer than 4 points). At most 300 points of each cloud are compared, the same rows each
    time. Classes of `labelled` are compared each with its own part of the target, at most 50 points
    of each where there are many, and in a box of `Periodic` distances go around it. The run also
    ends where `patience` looks have brought no fall of 1 %. `path.report["stopped"]` says why.

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
            self.rows = self._chosen(state.x)
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

    def _chosen(self, x: Cloud) -> Int[np.ndarray, "n"]:
        """The rows of the particles that are compared, group by group."""
        groups = self.space.groups(x)
        rows = [
            rows_drawn(rows_of(x, group.particles), 0, most_of(len(groups))) for group in groups
        ]
        return np.concatenate(
            [
                some if group.particles is None else group.particles[some]
                for some, group in zip(rows, groups, strict=True)
            ]
        )

    def _over_groups(
        self, x: Cloud, target: Cloud, distance: Callable[[Cloud, Cloud, int], float]
    ) -> float:
        """W2 over groups, from `distance(x, y, most)` of the particles and target of each."""
        groups, values = self.space.groups(x), []
        for group in groups:
            mine = group.particles
            rows = self.rows if mine is None else np.intersect1d(self.rows, mine)
            y = rows_of(target, group.targets)
            values.append(distance(rows_of(x, rows), y, most_of(len(groups))))
        return self.space.distance([group.share for group in groups], values)

    def _distance(self, x: Cloud, target: Cloud) -> float:
        metric = self.space.metric
        return self._over_groups(x, target, lambda x, y, most: metric(x, drawn(y, 1, most)))

    def _floor(self, x: Cloud, target: Cloud) -> float:
        if self._known is None or self._known[0] is not target:
            metric = self.space.metric
            value = self._over_groups(
                x, target, lambda x, y, most: floor_of(metric, y, len(x), most).value
            )
            self._known = target, value
        return self._known[1]
