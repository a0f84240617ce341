"""The choice of the states of a run that are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud, corners
from particleflow.integrators import Snapshot
from particleflow.memories import Remembered

# About how many states are recorded by default: one for each frame of 5 s of film at 20 frames a
# second.
RECORDS = 100
# Points along each side of the grid on which the witness is recorded, by dimension: a heat map of
# 64 x 64 points looks smooth once it is interpolated.
POINTS = {1: 256, 2: 64}
# The grid is a square whose side is that of the box around start and target, and this share more at
# either end: particles that leave the box a little still show on it.
MARGIN = 0.3
# The ratio of the step numbers that are recorded besides, where the number of steps is not known:
# the early steps of a run are short, and 25 records for each power of ten show them.
RATIO = 1.1


@dataclass(frozen=True)
class Grid:
    """The points (axes[i, 0], axes[j, 1]) of a square in d = 2, or axes[i, 0] of an interval."""

    axes: Float[Tensor, "G d"]

    @property
    def points(self) -> Float[Tensor, "Q d"]:
        """All points, as rows; the last axis varies fastest."""
        return torch.cartesian_prod(*self.axes.T).view(-1, self.axes.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values at the points: (G,) or (G, G)."""
        return (len(self.axes),) * self.axes.shape[1]


@dataclass(frozen=True)
class SaveAt:
    r"""The choice of the states of a run that are recorded; the first and the last always are.

    .. math::

        n \bmod \text{every} = 0 \qquad \text{or} \qquad n \in \text{steps} .

    Without `every` and `steps` about 100 states are recorded, spread over the run: every ceil(steps
    / 100)-th. Where an integrator chooses the lengths of its steps, a run to a time `t1` has an
    unknown number of steps: about 100 states are then recorded evenly in time, and the early steps
    more densely. Steps are counted from the start of the first run, also in a run that goes on.

    Parameters
    ----------
    every : int, optional
        Record the steps whose numbers are multiples of it, >= 1.
    steps : sequence of int, optional
        Record these steps, each >= 0. `every` or `steps`, not both.
    velocity : bool
        Record the velocities too, (T, N, d) in `Trajectory.velocity`.
    witness : bool
        Record the witness on a grid too (`Trajectory.witness`), in d = 1 or 2: at 256 points of a
        line, or at 64 x 64 points of a plane. The grid is a square (an interval) around start and
        target, with a margin of 0.3 of the longest side at either end.

    Raises
    ------
    ValueError
        Both `every` and `steps` are given, `every` is < 1, or one of `steps` < 0.
    TypeError
        `every` or one of `steps` is no integer; `velocity` or `witness` is not True or False.

    Cost: a copy of the particles for each record; with `velocity` one evaluation of the velocity,
    with `witness` one of the witness at the points of the grid.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> save = pf.SaveAt(every=4)
    >>> path = pf.simulate(drift, [[1.0]], steps=10, dt=0.1, save=save)
    >>> path.steps.tolist()
    [0, 4, 8, 10]
    """

    every: int | None = None
    steps: Sequence[int] | None = None
    velocity: bool = False
    witness: bool = False

    def __post_init__(self) -> None:
        if self.every is not None and self.steps is not None:
            told = f"got every={_checks.said(self.every)} and steps={_checks.said(self.steps)}"
            raise ValueError(f"pass `every` or `steps`, not both, {told}: leave one out")
        if self.every is not None:
            _checks.count(
                self.every, "every", remedy="the number of steps between two records, e.g. 10"
            )
        if self.steps is not None:
            steps = _checks.several(
                self.steps,
                "steps",
                remedy=(
                    "pass a list of step numbers, e.g. [0, 10, 100]; for every 5 steps"
                    " SaveAt(every=5)"
                ),
            )
            remedy = "pass whole numbers >= 0, e.g. [0, 10, 100]"
            object.__setattr__(
                self,
                "steps",
                tuple(_checks.count(step, "steps", least=0, remedy=remedy) for step in steps),
            )
        object.__setattr__(self, "velocity", _checks.flag(self.velocity, "velocity"))
        object.__setattr__(self, "witness", _checks.flag(self.witness, "witness"))

    def grid(self, start: Cloud, target: Cloud | None) -> Grid | None:
        """The points at which the witness is recorded; None where it is not.

        Parameters
        ----------
        start : Cloud
            The particles at the start, (N, d).
        target : Cloud or None
            The target at the start, (M, d).

        Returns
        -------
        Grid or None
            `axes` (G, d), the coordinates along each axis; `points` (Q, d), all points as rows.

        Raises
        ------
        ValueError
            The clouds have more than two dimensions.
        """
        if not self.witness:
            return None
        d = start.points.shape[1]
        if d not in POINTS:
            raise ValueError(
                f"`save` can record the witness in d = 1 or 2, got clouds in d = {d}: leave out"
                " witness=True"
            )
        low, high = corners(*(cloud.points for cloud in (start, target) if cloud is not None))
        half = (0.5 + MARGIN) * (float((high - low).max()) or 1.0)
        shares = torch.linspace(-1, 1, POINTS[d], dtype=low.dtype, device=low.device)[:, None]
        return Grid((low + high) / 2 + half * shares)

    def wants(self, total: int) -> Callable[[int], bool]:
        """Make the function that tells of each step number whether it is recorded."""
        if self.steps is not None:
            chosen = frozenset(self.steps)
            return lambda step: step in chosen
        every = self._spacing(total)
        return lambda step: step % every == 0

    def wanted(self, total: int, span: tuple[float, float] | None = None) -> Wanted:
        """The choice in a run of `total` steps; `span` are its times, where `t1` was given.

        Returns
        -------
        callable (Snapshot) -> bool
            Asked for each state once, in the order of the steps.
        """
        free = self.every is None and self.steps is None
        return Wanted(self.wants(total), span if free else None)

    def between(self, first: int, last: int) -> int:
        """The number of records after step `first` and before `last`, in a run of `last` steps."""
        if self.steps is not None:
            return sum(first < step < last for step in frozenset(self.steps))
        every = self._spacing(last)
        return max(0, (last - 1) // every - first // every)

    def _spacing(self, total: int) -> int:
        return self.every or max(1, -(-total // RECORDS))


@dataclass
class Wanted:
    """Tells of each state of a run, in order, whether it is recorded.

    Attributes
    ----------
    by_step : step -> bool
    span : (float, float) or None
        Start and end of a run that goes to a time. Where the lengths of the steps are chosen,
        states are recorded evenly in time, and at step numbers of the ratio `RATIO`.
    """

    by_step: Callable[[int], bool]
    span: tuple[float, float] | None = None
    _part: int = field(default=0, init=False)
    _later: float = field(default=1.0, init=False)
    _first: int | None = field(default=None, init=False)

    def remembered(self) -> Remembered:
        return Remembered({}, {"part": self._part, "later": self._later, "first": self._first})

    def recall(self, tensors: Memory, facts: Mapping[str, Any]) -> None:
        self._part, self._later, self._first = facts["part"], facts["later"], facts["first"]

    def __call__(self, state: Snapshot) -> bool:
        step = state.clock.step
        first = self._first = step if self._first is None else self._first
        if self.span is None or "dt" not in state.stepper:
            return self.by_step(step)
        t0, t1 = self.span
        part, before = int((state.clock.t - t0) / (t1 - t0) * RECORDS), self._part
        self._part = max(before, part)
        early = step - first >= self._later
        if early:
            self._later = max(self._later + 1, self._later * RATIO)
        return early or part > before
