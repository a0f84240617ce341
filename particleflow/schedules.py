"""Numbers that change during a run: of the step or of the time.

A schedule is any callable `clock -> float`; those below are the usual ones. `of` says what they depend on: `by_step` (the default) or `by_time`.
Noise schedules may also look at the fit: `(clock, fit) -> float`.

>>> from particleflow.clouds import Clock
>>> Geometric(3.0, ratio=0.5, every=500)(Clock(step=1000))
0.75
"""

from __future__ import annotations

import bisect
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from particleflow import _checks
from particleflow.clouds import Clock

Schedule = Callable[..., float]


def by_step(clock: Clock) -> float:
    """The number of steps taken so far."""
    return float(clock.step)


def by_time(clock: Clock) -> float:
    """The flow's own time t."""
    return clock.t


@dataclass(frozen=True)
class Constant:
    """value, always."""

    value: float

    def __post_init__(self) -> None:
        _checks.real(self.value, "value")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        return self.value


@dataclass(frozen=True)
class Power:
    """initial (1 + s / scale)^(-exponent), s the step or the time."""

    initial: float
    exponent: float = 0.5
    scale: float = 1.0
    of: Callable[[Clock], float] = by_step

    def __post_init__(self) -> None:
        _checks.real(self.initial, "initial")
        _checks.real(self.exponent, "exponent")
        _checks.positive(self.scale, "scale")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        return self.initial * (1.0 + self.of(clock) / self.scale) ** -self.exponent


@dataclass(frozen=True)
class Geometric:
    """initial ratio^floor(s / every), s the step or the time; `smooth=True` leaves out the floor."""

    initial: float
    ratio: float = 0.5
    every: float = 1.0
    smooth: bool = False
    of: Callable[[Clock], float] = by_step

    def __post_init__(self) -> None:
        _checks.real(self.initial, "initial")
        _checks.positive(self.ratio, "ratio")
        _checks.positive(self.every, "every")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        times = self.of(clock) / self.every
        return self.initial * self.ratio ** (times if self.smooth else times // 1)


@dataclass(frozen=True)
class Piecewise:
    """values[i] where boundaries[i-1] <= s < boundaries[i]: one value more than boundaries."""

    boundaries: Sequence[float]
    values: Sequence[float]
    of: Callable[[Clock], float] = by_step

    def __post_init__(self) -> None:
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(f"`values` must be one more than `boundaries`, got {len(self.values)} values and {len(self.boundaries)} boundaries")
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"`boundaries` must increase, got {list(self.boundaries)}")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        return self.values[bisect.bisect_right(self.boundaries, self.of(clock))]


@dataclass(frozen=True)
class _OfClock:
    """A callable of the clock alone, where the fit is offered too."""

    of: Callable[[Clock], float]

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        return self.of(clock)


def _takes_a_fit(value: Schedule) -> bool:
    try:
        inspect.signature(value).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        pass
    return True


def as_schedule(value: float | Schedule | None, name: str) -> Schedule | None:
    """A number becomes `Constant`; a callable stays; None stays."""
    if isinstance(value, type):
        raise TypeError(f"`{name}` must be a number, a schedule or a callable, got the class {value.__name__}: pass what it makes")
    if callable(value):
        return value if _takes_a_fit(value) else _OfClock(value)
    if value is None:
        return None
    return Constant(_checks.non_negative(value, name, remedy="pass a number, a schedule such as pf.schedules.Geometric, or a callable"))
