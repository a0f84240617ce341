"""Flows with known solutions, on which `check_integrator` measures an order."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit


@dataclass(frozen=True)
class Potential:
    """A witness: w and grad w at z, from functions."""

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], Tensor]
    log_ratio: ClassVar[bool] = False

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(z), self.gradient(z)


@dataclass(frozen=True)
class Problem(ABC):
    """An estimator with a known witness; it records the clocks of its fits."""

    deterministic: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False
    needs_target: ClassVar[bool] = False
    energy_slope: ClassVar[float | None] = None
    clocks: list[Clock] = field(default_factory=list, compare=False)

    @abstractmethod
    def witness(self, x: Cloud, clock: Clock) -> Potential: ...

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        self.clocks.append(clock)
        return Fit(self.witness(x, clock), {"fits": memory.get("fits", torch.zeros(())) + 1})


@dataclass(frozen=True)
class Solved(Problem):
    """A problem whose flow is solved in closed form."""

    @abstractmethod
    def solved(self, start: Cloud, t: float) -> Cloud:
        """Return the cloud at time t."""


@dataclass(frozen=True)
class Drawn(Solved):
    """The flow v(z) = sin t - mean x - 2 (z - mean x).

    Only fits at each stage's own particles and time reach the order. With m' = sin t - m the mean
    is e^-t m0 + (sin t - cos t + e^-t) / 2. Deviations from the mean decay like e^-2t.
    """

    def witness(self, x: Cloud, clock: Clock) -> Potential:
        mean = x.points.mean(0)
        pull = math.sin(clock.t) - mean
        return Potential(
            lambda z: z @ pull - ((z - mean) ** 2).sum(1), lambda z: pull - 2 * (z - mean)
        )

    def solved(self, start: Cloud, t: float) -> Cloud:
        mean = start.points.mean(0)
        later = math.exp(-t) * mean + 0.5 * (math.sin(t) - math.cos(t) + math.exp(-t))
        return replace(start, points=later + math.exp(-2 * t) * (start.points - mean))


@dataclass(frozen=True)
class Cubic(Solved):
    """The flow v(z) = -z^3, entry by entry, with x = x0 / sqrt(1 + 2 x0^2 t).

    At the rate w = -sum z^4 / 4, log masses change by -sum (x0^4 / 4) t / (1 + 2 x0^2 t).
    """

    def witness(self, x: Cloud, clock: Clock) -> Potential:
        return Potential(lambda z: -0.25 * (z**4).sum(1), lambda z: -(z**3))

    def solved(self, start: Cloud, t: float) -> Cloud:
        square = start.points**2
        log_mass = start.mass.log() - 0.25 * (square**2 * t / (1 + 2 * square * t)).sum(1)
        return Cloud(start.points / (1 + 2 * square * t).sqrt(), log_mass=log_mass)


@dataclass(frozen=True)
class Bowl(Solved):
    """The conservative flow v(z) = -z of the energy sum_i m_i |x_i|^2 / 2, with x = e^-t x0."""

    energy_slope: ClassVar[float | None] = 1.0

    def witness(self, x: Cloud, clock: Clock) -> Potential:
        return Potential(lambda z: -0.5 * (z**2).sum(1), lambda z: -z)

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        value = 0.5 * float(x.mean((x.points**2).sum(1)))
        return replace(super().fit(x, y, clock, memory), objective=value)

    def solved(self, start: Cloud, t: float) -> Cloud:
        return replace(start, points=math.exp(-t) * start.points)


@dataclass(frozen=True)
class Quadratic(Problem):
    """The flow v(z) = -z, which with diffusion sigma is the Ornstein-Uhlenbeck process.

    Its mean is e^-t m0. Its variance is e^-2t s0 + sigma^2 (1 - e^-2t) / 2.
    """

    def witness(self, x: Cloud, clock: Clock) -> Potential:
        return Potential(lambda z: -0.5 * (z**2).sum(1), lambda z: -z)
