"""The choice of the states of a run that are recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from particleflow import _checks

# About how many states are recorded by default: one for each frame of 5 s of film at 20 frames a
# second.
RECORDS = 100


@dataclass(frozen=True)
class SaveAt:
    """Which states of a run are recorded. The first and the last always are.

    Without `every` and `steps` about 100 states are recorded, spread over the run.

    Parameters
    ----------
    every : int
        Record the steps whose numbers are multiples of it.
    steps : sequence of int
        Record these steps.
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
        """A function that tells whether a step is recorded, in a run of `total` steps."""
        if self.steps is not None:
            chosen = frozenset(self.steps)
            return lambda step: step in chosen
        every = self._spacing(total)
        return lambda step: step % every == 0

    def between(self, first: int, last: int) -> int:
        """The number of records after step `first` and before `last`, in a run of `last` steps."""
        if self.steps is not None:
            return sum(first < step < last for step in frozenset(self.steps))
        every = self._spacing(last)
        return max(0, (last - 1) // every - first // every)

    def _spacing(self, total: int) -> int:
        return self.every or max(1, -(-total // RECORDS))
