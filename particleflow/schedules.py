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
    """The number of steps taken so far, :math:`s = n`: what schedules depend on by default.

    Parameters
    ----------
    clock : Clock
        The moment.

    Returns
    -------
    float
        The step number n.

    >>> pf.schedules.by_step(pf.Clock(t=0.5, step=10))
    10.0
    """
    return float(clock.step)


def by_time(clock: Clock) -> float:
    """The flow's own time, :math:`s = t`: a schedule of it does not change with dt.

    Parameters
    ----------
    clock : Clock
        The moment.

    Returns
    -------
    float
        The time t.

    >>> pf.schedules.by_time(pf.Clock(t=0.5, step=10))
    0.5
    """
    return clock.t


@dataclass(frozen=True)
class Constant:
    r"""The same value always: :math:`f(s) = \text{value}`. A number in its place means the same.

    Parameters
    ----------
    value : float
        Finite, in the unit of what it schedules. Noise and diffusion refuse negative numbers.

    Raises
    ------
    TypeError
        `value` is no number.
    ValueError
        `value` is not finite.

    >>> pf.schedules.Constant(0.3)(pf.Clock(step=1000))
    0.3
    """

    value: float

    def __post_init__(self) -> None:
        _checks.real(self.value, "value")

    def __call__(self, clock: Clock, fit: Any = None) -> float:
        return self.value


@dataclass(frozen=True)
class Power:
    r"""A power law of the step or the time, slow at the end:

    .. math::

        f(s) = \text{initial} \left( 1 + \frac{s}{\text{scale}} \right)^{-\text{exponent}} .

    Parameters
    ----------
    initial : float
        The value at s = 0.
    exponent : float
        How fast it falls; 0.5 is usual for noise and for the steps of a stochastic method.
    scale : float
        > 0, steps or time until the law sets in.
    of : callable (Clock) -> float
        s: `by_step` or `by_time`.

    Raises
    ------
    ValueError
        `scale` is not > 0, or a number is not finite.
    TypeError
        `initial`, `exponent` or `scale` is no number; `of` is no function.

    >>> schedule = pf.schedules.Power(3.0, exponent=0.5, scale=10.0)
    >>> schedule(pf.Clock(step=0)), schedule(pf.Clock(step=80))  # 3 / sqrt(1 + 8)
    (3.0, 1.0)
    """

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
    r"""The value times `ratio` after each `every` steps, or units of time:

    .. math::

        f(s) = \text{initial} \cdot \text{ratio}^{\lfloor s / \text{every} \rfloor} ,

    without the floor if `smooth`. Noise that is halved every few hundred steps lets an MMD flow
    come from far, and ends.

    Parameters
    ----------
    initial : float
        The value at s = 0.
    ratio : float
        > 0; above 1 the value grows.
    every : float
        > 0, steps or time from one change to the next.
    smooth : bool
        Change at every step, not by jumps.
    of : callable (Clock) -> float
        s: `by_step` or `by_time`.

    Raises
    ------
    ValueError
        `ratio` or `every` is not > 0, or a number is not finite.
    TypeError
        `initial`, `ratio` or `every` is no number; `smooth` is not True or False; `of` is no
        function.

    >>> schedule = pf.schedules.Geometric(3.0, ratio=0.5, every=500)
    >>> [schedule(pf.Clock(step=n)) for n in (0, 499, 500, 1000)]
    [3.0, 3.0, 1.5, 0.75]
    """

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
    r"""From initial to final > 0 over `length`, by equal factors; then constant:

    .. math::

        f(s) = \text{initial} \left( \frac{\text{final}}{\text{initial}}
        \right)^{\min(1,\; s / \text{length})} .

    For a lam or a bandwidth that must reach a given end.

    Parameters
    ----------
    initial : float
        > 0, the value at s = 0.
    final : float
        > 0, the value from s = length on, exactly.
    length : float
        > 0, the number of steps, or the time, to the end.
    of : callable (Clock) -> float
        s: `by_step` or `by_time`.

    Raises
    ------
    ValueError
        `initial`, `final` or `length` is not > 0, or not finite.
    TypeError
        `initial`, `final` or `length` is no number; `of` is no function.

    >>> schedule = pf.schedules.GeometricBetween(1.0, 0.01, length=100)
    >>> [round(schedule(pf.Clock(step=n)), 6) for n in (0, 50, 100, 200)]
    [1.0, 0.1, 0.01, 0.01]
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
    r"""From initial to final over `length` along half a cosine; then constant:

    .. math::

        f(s) = \text{final} + (\text{initial} - \text{final})\,
        \frac{1 + \cos(\pi \min(1, s / \text{length}))}{2} .

    It begins and ends with slope 0, and `final` may be 0.

    Parameters
    ----------
    initial : float
        The value at s = 0.
    final : float
        The value from s = length on.
    length : float
        > 0, the number of steps, or the time, to the end.
    of : callable (Clock) -> float
        s: `by_step` or `by_time`.

    Raises
    ------
    ValueError
        `length` is not > 0, or a number is not finite.
    TypeError
        `initial`, `final` or `length` is no number; `of` is no function.

    Source: Loshchilov and Hutter (2017), equation 5, without restarts.

    >>> schedule = pf.schedules.Cosine(2.0, 0.0, length=100)
    >>> [round(schedule(pf.Clock(step=n)), 6) for n in (0, 50, 100, 200)]
    [2.0, 1.0, 0.0, 0.0]
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
    r"""Constant pieces, with jumps at given steps or times:

    .. math::

        f(s) = \text{values}_i \quad \text{for} \quad
        \text{boundaries}_{i-1} \le s < \text{boundaries}_i .

    Parameters
    ----------
    boundaries : sequence of float
        Where the value changes, increasing.
    values : sequence of float
        One more than `boundaries`: the first is that before the first boundary.
    of : callable (Clock) -> float
        s: `by_step` or `by_time`.

    Raises
    ------
    ValueError
        `values` are not one more than `boundaries`, or `boundaries` do not increase.
    TypeError
        An entry is no number, or `of` is no function.

    >>> schedule = pf.schedules.Piecewise([100, 200], [1.0, 0.1, 0.0])
    >>> [schedule(pf.Clock(step=n)) for n in (0, 99, 100, 200)]
    [1.0, 1.0, 0.1, 0.0]
    """

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
    r"""A lam that falls as the clouds meet, by the values of the fits so far:

    .. math::

        \lambda_n = \text{start} \sqrt{\frac{D_{n-1}}{D_0}} , \qquad
        \text{kept within } [\text{least}, \text{start}] .

    D is the value that the estimator reports, a divergence or an MMD^2. This is not a schedule of
    the clock: it depends on the flow's own past. An estimator takes it as its lam (KALE, DrMMD),
    and keeps that past in its memory (`at`, `after`), so that a run resumes bit for bit.

    The rule is the adaptive one of the de-regularised MMD flow, lam_n ~ D_n^{1 / (1 + r)}, at r =
    1. It balances the bias of lam against the steps that a small lam allows. Two finite samples
    need a positive `least`: below some lam the value is D/(2 lam), whatever the distributions (see
    the page on KALE).

    Parameters
    ----------
    start : float
        > 0, the first lam.
    least : float
        From 0 to `start`. lam is at least 1e-8 of `start` in any case.

    Raises
    ------
    ValueError
        `start` is not > 0, `least` is < 0 or > `start`.
    TypeError
        One of them is no number.

    Source: Chen, Mustafi, Glaser, Korba, Gretton and Sriperumbudur (2025).

    >>> rule = pf.schedules.Decreasing(0.1, least=0.01)
    >>> rule.next(0.1, value0=4.0, value=1.0)  # 0.1 sqrt(1 / 4)
    0.05
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

        Parameters
        ----------
        lam0 : float
            The first lam.
        value0 : float
            The value of the first fit.
        value : float
            The value of the last fit.

        Returns
        -------
        float
            The next lam.
        """
        if not value0 > 0:
            return lam0
        return min(lam0, max(self.least, lam0 * math.sqrt(max(value, 0.0) / value0), TINY * lam0))

    def at(self, memory: Memory) -> float:
        """The lam of the fit that starts from a memory.

        Parameters
        ----------
        memory : mapping of name to tensor
            What the estimator remembers.

        Returns
        -------
        float
            `start` before the first fit.
        """
        values = memory.get("values")
        return (
            self.start
            if values is None
            else self.next(self.start, float(values[0]), float(values[1]))
        )

    def after(self, memory: Memory, value: float) -> Memory:
        """The memory to add after a fit.

        Parameters
        ----------
        memory : mapping of name to tensor
            What the fit started from.
        value : float
            Its value.

        Returns
        -------
        mapping of name to tensor
            `values` (2,): the first value and the last.
        """
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
