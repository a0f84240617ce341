"""Rules that end a run: where its velocity or its energy is small, or where nothing is gained.

`particleflow.arrival.Arrived` is the rule that compares the particles with the target.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.integrators import Course, State
from particleflow.memories import Remembered
from particleflow.spaces import PLAIN, Space


class Beginning(ABC):
    """The stop of one run that sees the run's first state too. Declared by inheriting.

    The run sets `space` before the first state.
    """

    space: Space = PLAIN

    @abstractmethod
    def begin_at(self, state: State) -> None:
        """Look at the first state; raise ValueError where the rule cannot serve the run."""

    @abstractmethod
    def __call__(self, state: State) -> str:
        """Why the run ends at a state; empty where it goes on."""

    def remembered(self) -> Remembered:
        """The numbers that a checkpoint keeps: all attributes but the rule."""
        unkept = ("rule", "space")
        return Remembered({}, {name: n for name, n in vars(self).items() if name not in unkept})

    def recall(self, tensors: Memory, facts: Mapping[str, Any]) -> None:
        """The inverse of `remembered`."""
        vars(self).update(facts)


@dataclass(frozen=True)
class AtRest:
    r"""End a run whose particles hardly move any more.

    .. math::

        u \le \text{atol} + \text{rtol} \max u , \qquad
        u^2 = \frac{\sum_i m_i |v_i|^2}{\sum_i m_i} ,

    with the root mean square velocity u, and the largest one of the looks so far. u^2 is the rate
    at which the energy of a gradient flow falls. Particles that are stuck far from the target are
    at rest too: see `Arrived`.

    Parameters
    ----------
    rtol : float
        >= 0, a share of the largest speed.
    atol : float
        >= 0, a speed: units of the coordinates per time. `rtol` or `atol` is > 0.
    every : int
        The steps from one look to the next.

    Raises
    ------
    ValueError
        `rtol` and `atol` are both 0, or one is < 0; `every` is < 1. At the start of a run: the flow
        has diffusion, so that its particles never rest.
    TypeError
        `rtol` or `atol` is no number, or `every` no integer.

    Cost: one velocity a look.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> path = pf.simulate(drift, [[1.0]], steps=999, dt=0.5, stop=pf.AtRest())
    >>> path.state.clock.step  # each step halves v, and 2^-10 < 1e-3
    10
    """

    rtol: float = 1e-3
    atol: float = 0.0
    every: int = 10

    def __post_init__(self) -> None:
        _tolerances(self.rtol, self.atol, self.every)

    def begin(self) -> Beginning:
        """The rule of one run."""
        return _Speeds(self)


@dataclass(frozen=True)
class EnergyBelow:
    r"""End a run whose energy is small.

    .. math::

        E \le \text{atol} + \text{rtol}\, |E_0| ,

    with E the `Fit.value` of each look (MMD^2 / 2, KALE, ...), and E_0 that at the start. An energy
    that is small does not say that the target is near: see `Arrived`.

    Parameters
    ----------
    rtol : float
        >= 0, a share of the first energy. With a kernel whose bandwidth changes the first energy
        is that of another functional: give `atol`, and rtol=0.
    atol : float
        >= 0, in units of the energy. `rtol` or `atol` is > 0.
    every : int
        The steps from one look to the next.

    Raises
    ------
    ValueError
        `rtol` and `atol` are both 0, or one is < 0; `every` is < 1. At the start of a run: the fits
        of the flow have no value.
    TypeError
        `rtol` or `atol` is no number, or `every` no integer.

    Cost: one energy a look, O((N + M) N d) for MMD with exact sums.

    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    >>> y = [[1.0], [1.0], [1.0]]
    >>> stop = pf.EnergyBelow()
    >>> path = pf.simulate(flow, [[0.0]], y, steps=999, dt=0.5, stop=stop)
    >>> print(path.report["stopped"])
    the energy, ..., is at most 0.001 of that at the start, 0.393
    """

    rtol: float = 1e-3
    atol: float = 0.0
    every: int = 10

    def __post_init__(self) -> None:
        _tolerances(self.rtol, self.atol, self.every)

    def begin(self) -> Beginning:
        """The rule of one run."""
        return _Energies(self)


@dataclass(frozen=True)
class NoProgress:
    r"""End a run whose energy does not fall any more.

    .. math::

        E_\text{least} - E \le \text{rtol}\, |E_\text{least}|

    in `patience` looks in a row, with the least energy of the looks that brought progress.
    `Arrived` does the same with W2, the distance to the target.

    Parameters
    ----------
    rtol : float
        > 0, the relative fall of the energy that counts as progress.
    every : int
        The steps from one look to the next.
    patience : int
        The looks without progress after which the run ends.

    Raises
    ------
    ValueError
        `rtol` is not > 0; `every` or `patience` is < 1. At the start of a run: the fits of the flow
        have no value, or the kernel's bandwidth changes: the energies are then of different
        functionals.
    TypeError
        `rtol` is no number; `every` or `patience` is no integer.

    Cost: one energy a look, O((N + M) N d) for MMD with exact sums.

    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    >>> stop = pf.NoProgress(every=5, patience=2)
    >>> y = [[50.0], [50.0], [50.0]]  # beyond the reach of the kernel
    >>> path = pf.simulate(flow, [[0.0]], y, steps=999, dt=0.5, stop=stop)
    >>> path.state.clock.step
    10
    """

    rtol: float = 1e-2
    every: int = 20
    patience: int = 10

    def __post_init__(self) -> None:
        _checks.positive(self.rtol, "rtol", remedy="a share of the energy, e.g. 0.01")
        _checks.count(self.every, "every")
        _checks.count(self.patience, "patience")

    def begin(self) -> Beginning:
        """The rule of one run."""
        return _Progress(self)


class _Speeds(Beginning):
    """The speeds of one run."""

    def __init__(self, rule: AtRest) -> None:
        self.rule = rule
        self.largest = 0.0

    def begin_at(self, state: State) -> None:
        if course_of(state, self.rule).flow.diffusion is not None:
            raise ValueError(
                "`stop` AtRest() needs a flow without diffusion, got one whose particles never"
                " rest: use pf.Arrived(), or leave it out"
            )
        self.first = state.clock.step
        self.largest = self._speed(state)

    def __call__(self, state: State) -> str:
        if (state.clock.step - self.first) % self.rule.every:
            return ""
        speed = self._speed(state)
        self.largest = max(self.largest, speed)
        if speed > self.rule.atol + self.rule.rtol * self.largest:
            return ""
        return (
            f"the root mean square velocity, {speed:.3g}, is at most"
            f" {_bound(self.rule.rtol, self.rule.atol)} the largest one, {self.largest:.3g}"
        )

    def _speed(self, state: State) -> float:
        velocity, _ = course_of(state, self.rule).flow.velocity(state.x, state.fit, state.clock)
        mass = state.x.mass
        return math.sqrt(float(mass @ velocity.square().sum(1)) / float(mass.sum()))


class _Energies(Beginning):
    """The energies of one run."""

    def __init__(self, rule: EnergyBelow) -> None:
        self.rule = rule

    def begin_at(self, state: State) -> None:
        self.first = state.clock.step
        self.start = abs(energy_of(state, self.rule))

    def __call__(self, state: State) -> str:
        if (state.clock.step - self.first) % self.rule.every:
            return ""
        energy = energy_of(state, self.rule)
        if energy > self.rule.atol + self.rule.rtol * self.start:
            return ""
        return (
            f"the energy, {energy:.3g}, is at most {_bound(self.rule.rtol, self.rule.atol)} that at"
            f" the start, {self.start:.3g}"
        )


class _Progress(Beginning):
    """The least energy of one run, and the looks since it fell."""

    def __init__(self, rule: NoProgress) -> None:
        self.rule = rule
        self.idle = 0

    def begin_at(self, state: State) -> None:
        if course_of(state, self.rule).flow.annealed:
            raise ValueError(
                "`stop` NoProgress() needs a flow with one bandwidth, got one whose bandwidth"
                " changes, and with it the energy: use pf.Arrived()"
            )
        self.first = state.clock.step
        self.best = energy_of(state, self.rule)

    def __call__(self, state: State) -> str:
        if (state.clock.step - self.first) % self.rule.every:
            return ""
        energy = energy_of(state, self.rule)
        fell = self.best - energy > self.rule.rtol * abs(self.best)
        self.idle = 0 if fell else self.idle + 1
        self.best = min(self.best, energy) if fell else self.best
        if self.idle < self.rule.patience:
            return ""
        return (
            f"the energy, {energy:.3g}, has not fallen by {self.rule.rtol:.2g} of its size in"
            f" {self.rule.patience * self.rule.every} steps"
        )


def course_of(state: State, rule: object) -> Course:
    """The run that made a state, which its flow is read off."""
    if state.course is None:
        raise ValueError(
            f"`stop` {type(rule).__name__}() needs states of pf.iterate or pf.simulate, got one"
            " without a course: pass those states as they came"
        )
    return state.course


def energy_of(state: State, rule: object) -> float:
    """The energy of a state's fit."""
    if state.fit.value is None:
        raise ValueError(
            f"`stop` {type(rule).__name__}() needs fits with a value, got None from"
            f" {type(course_of(state, rule).flow.estimator).__name__}: use pf.AtRest() or"
            " pf.Arrived()"
        )
    return float(state.fit.value)


def _bound(rtol: float, atol: float) -> str:
    """The words for a tolerance, before what it is relative to."""
    return f"{rtol:.3g} of" if not atol else f"{atol:.3g} + {rtol:.3g} of"


def _tolerances(rtol: float, atol: float, every: int) -> None:
    _checks.non_negative(rtol, "rtol")
    _checks.non_negative(atol, "atol")
    if not rtol and not atol:
        raise ValueError("`rtol` or `atol` must be > 0, got 0 for both: e.g. rtol=1e-3")
    _checks.count(every, "every")
