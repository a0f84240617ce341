"""Schedules: numbers that change with the step or the time of a run.

A schedule is any callable `clock -> float`; this file has the usual ones. Their field `of` says
what they depend on: `by_step` (the default) or `by_time`. Noise schedules may also depend on the
fit: `(clock, fit) -> float`. `Decreasing` follows the values of the fits instead.

>>> from particleflow.clouds import Clock
>>> Geometric(3.0, ratio=0.5, every=500)(Clock(step=1000))
0.75
"""

from __future__ import annotations

import bisect
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from particleflow import _checks, _words
from particleflow._typing import Memory
from particleflow.clouds import Clock

__all__ = [
    "Constant",
    "Cosine",
    "Decreasing",
    "Geometric",
    "GeometricBetween",
    "Piecewise",
    "Power",
    "by_step",
    "by_time",
]

__getattr__, __dir__ = _words.suggesting(__name__)

# The least lam of `Decreasing`, in units of its start: a lam of zero would divide by zero where the
# clouds coincide.
TINY = 1e-8

Schedule = Callable[..., float]


def by_step(clock: Clock) -> float:
    """The number of steps taken so far."""
    return float(clock.step)


def by_time(clock: Clock) -> float:
    """The flow's own time t."""
    return clock.t


@dataclass(frozen=True)
class Constant:
    """The same value always."""

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
        _checks.function(self.of, "of", remedy="pass pf.schedules.by_step or by_time")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        return self.initial * (1.0 + self.of(clock) / self.scale) ** -self.exponent


@dataclass(frozen=True)
class Geometric:
    """initial ratio^floor(s / every), s the step or the time; without the floor if `smooth`."""

    initial: float
    ratio: float = 0.5
    every: float = 1.0
    smooth: bool = False
    of: Callable[[Clock], float] = by_step

    def __post_init__(self) -> None:
        _checks.real(self.initial, "initial")
        _checks.positive(self.ratio, "ratio")
        _checks.positive(self.every, "every")
        _checks.flag(self.smooth, "smooth")
        _checks.function(self.of, "of", remedy="pass pf.schedules.by_step or by_time")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        times = self.of(clock) / self.every
        return self.initial * self.ratio ** (times if self.smooth else times // 1)


@dataclass(frozen=True)
class GeometricBetween:
    """From initial to final > 0 over `length`, by equal factors; then constant.

    initial (final / initial)^min(1, s / length), s the step or the time.
    """

    initial: float
    final: float
    length: float
    of: Callable[[Clock], float] = by_step

    def __post_init__(self) -> None:
        _checks.positive(self.initial, "initial")
        _checks.positive(self.final, "final")
        _check_length(self.length)
        _checks.function(self.of, "of", remedy="pass pf.schedules.by_step or by_time")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        way = self.of(clock) / self.length
        # the end itself, without the rounding of a power
        return self.final if way >= 1 else self.initial * (self.final / self.initial) ** way


@dataclass(frozen=True)
class Cosine:
    """From initial to final over `length` along half a cosine; then constant.

    final + (initial - final) (1 + cos(pi min(1, s / length))) / 2, s the step or the time. It
    begins and ends with slope 0.
    """

    initial: float
    final: float
    length: float
    of: Callable[[Clock], float] = by_step

    def __post_init__(self) -> None:
        _checks.real(self.initial, "initial")
        _checks.real(self.final, "final")
        _check_length(self.length)
        _checks.function(self.of, "of", remedy="pass pf.schedules.by_step or by_time")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        way = self.of(clock) / self.length
        left = 0.0 if way >= 1 else 0.5 * (1.0 + math.cos(math.pi * way))
        return self.final + (self.initial - self.final) * left


def _check_length(length: float) -> None:
    _checks.positive(length, "length", remedy="it is the number of steps, or the time, to the end")


@dataclass(frozen=True)
class Piecewise:
    """values[i] where boundaries[i-1] <= s < boundaries[i]: one value more than boundaries."""

    boundaries: Sequence[float]
    values: Sequence[float]
    of: Callable[[Clock], float] = by_step

    def __post_init__(self) -> None:
        for name, given in (("boundaries", self.boundaries), ("values", self.values)):
            numbers = _checks.several(
                given,
                name,
                remedy="pass a list of numbers, e.g. boundaries=[100], values=[1.0, 0.1]",
            )
            for number in numbers:
                _checks.real(number, name)
            object.__setattr__(self, name, given if isinstance(given, Sequence) else tuple(numbers))
        if len(self.values) != len(self.boundaries) + 1:
            told = f"got {len(self.values)} values and {len(self.boundaries)} boundaries"
            raise ValueError(
                f"`values` must be one more than `boundaries`, {told}: the first value is that"
                " before the first boundary"
            )
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"`boundaries` must increase, got {list(self.boundaries)}: sort them")
        _checks.function(self.of, "of", remedy="pass pf.schedules.by_step or by_time")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        return self.values[bisect.bisect_right(self.boundaries, self.of(clock))]


@dataclass(frozen=True)
class Decreasing:
    """lam_n = start sqrt(D_{n-1} / D_0), kept within [least, start].

    D are the values of the fits so far: lam falls as the clouds meet. D is the value that the
    estimator reports, a divergence or an MMD^2. This is not a schedule of the clock: it depends on
    the flow's own past. An estimator keeps that past in its memory (`at`, `after`), so that a run
    resumes bit for bit.

    The rule is the adaptive one of the de-regularised MMD flow, lam_n ~ D_n^{1 / (1 + r)}, at r = 1
    (Chen, Mustafi, Glaser, Korba, Gretton and Sriperumbudur 2025). It balances the bias of lam
    against the steps that a small lam allows. Two finite samples need a positive `least`: below
    some lam the value is D/(2 lam), whatever the distributions (see the page on KALE).
    """

    start: float
    least: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        remedy = "it is the first lam, e.g. 0.1"
        object.__setattr__(self, "start", _checks.positive(self.start, "start", remedy=remedy))
        object.__setattr__(self, "least", _checks.non_negative(self.least, "least"))
        if self.least > self.start:
            raise ValueError(
                f"`least` must be <= `start`, got {self.least:g} > {self.start:g}: the rule only"
                " decreases"
            )

    def next(self, lam0: float, value0: float, value: float) -> float:
        """lam0 sqrt(value / value0) within [least, lam0].

        Values below 0, which rounding makes, count as 0. lam stays where value0 is 0.
        """
        if not value0 > 0:
            return lam0
        return min(lam0, max(self.least, lam0 * math.sqrt(max(value, 0.0) / value0), TINY * lam0))

    def at(self, memory: Memory) -> float:
        """The lam of the fit that starts from `memory`; `start` before the first fit."""
        values = memory.get("values")
        return (
            self.start
            if values is None
            else self.next(self.start, float(values[0]), float(values[1]))
        )

    def after(self, memory: Memory, value: float) -> Memory:
        """The memory to add after a fit of this value: the first value and the last."""
        values = memory.get("values")
        return {
            "values": torch.tensor(
                [value if values is None else float(values[0]), value],
                dtype=torch.float64,
                device="cpu",
            )
        }


@dataclass(frozen=True)
class _OfClock:
    """A callable of the clock alone, called with the fit too."""

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
    """A schedule of the value: a number becomes `Constant`; a callable and None stay."""
    if isinstance(value, type):
        raise TypeError(
            f"`{name}` must be a number, a schedule or a callable, got the class {value.__name__}:"
            " pass what it makes"
        )
    if callable(value):
        return value if _takes_a_fit(value) else _OfClock(value)
    if value is None:
        return None
    return Constant(
        _checks.non_negative(
            value,
            name,
            remedy="pass a number, a schedule such as pf.schedules.Geometric, or a callable",
        )
    )
