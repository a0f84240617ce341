"""Which states of a run are recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from particleflow import _checks

# Records of a run, about, where nothing is said.
RECORDS = 100


@dataclass(frozen=True)
class SaveAt:
    """Which states are recorded: every so many steps, given steps, or (the default) some hundred
    spread over the run. The first and last always are.

    Parameters
    ----------
    every : int
        Steps that are multiples of it.
    steps : sequence of int
        These steps.
    velocity : bool
        Record the velocities too (`Trajectory.velocity`).
    """

    every: int | None = None
    steps: Sequence[int] | None = None
    velocity: bool = False

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

    def wants(self, total: int) -> Callable[[int], bool]:
        """Is a step recorded, in a run of `total` steps?"""
        if self.steps is not None:
            chosen = frozenset(self.steps)
            return lambda step: step in chosen
        every = self._spacing(total)
        return lambda step: step % every == 0

    def between(self, first: int, last: int) -> int:
        """How many steps after `first` and before `last` are recorded, in a run of `last` steps."""
        if self.steps is not None:
            return sum(first < step < last for step in frozenset(self.steps))
        every = self._spacing(last)
        return max(0, (last - 1) // every - first // every)

    def _spacing(self, total: int) -> int:
        return self.every or max(1, -(-total // RECORDS))
