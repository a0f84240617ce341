"""Explicit Runge-Kutta schemes. Each scheme is given by its tableau."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.flows import Flow
from particleflow.integrators.base import Refit, State


@dataclass(frozen=True)
class RungeKutta:
    """x_{n+1} = x_n + dt sum_s b_s k_s, k_s = v(x_n + dt sum_{r<s} a_sr k_r, t_n + c_s dt).

    c_s = sum_r a_sr.

    The estimator is refitted at every stage: one fit per step makes every scheme of order one.
    Stage 0 uses the state's own fit. All stages of a step see the same random numbers. Log masses,
    where a flow has a reaction, are advanced by the same scheme.
    """

    a: ClassVar[tuple[tuple[float, ...], ...]]
    b: ClassVar[tuple[float, ...]]
    order: ClassVar[float]
    stochastic: ClassVar[bool] = False

    @property
    def stages(self) -> int:
        return len(self.b)

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        slopes: list[tuple[Tensor, Tensor | None]] = []
        for row in self.a:
            if not row:
                x, fit, clock = state.x, state.fit, state.clock
            else:
                x = _advance(state.x, slopes, row, dt)
                clock = stage_clock(state.clock, sum(row) * dt)
                fit = refit(x, clock)
            slopes.append(flow.velocity(x, fit, clock))
        return _advance(state.x, slopes, self.b, dt), dt, state.stepper


class Euler(RungeKutta):
    """Forward Euler, order 1, one fit per step: the scheme of the published codes."""

    a = ((),)
    b = (1.0,)
    order = 1.0


class Heun(RungeKutta):
    """Heun's method (explicit trapezoid, RK2), order 2, two fits per step."""

    a = ((), (1.0,))
    b = (0.5, 0.5)
    order = 2.0


class RK4(RungeKutta):
    """The classical Runge-Kutta method, order 4, four fits per step."""

    a = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    b = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    order = 4.0


def stage_clock(clock: Clock, dt: float) -> Clock:
    return replace(clock, t=clock.t + dt)


def _advance(
    x: Cloud, slopes: list[tuple[Tensor, Tensor | None]], weights: tuple[float, ...], dt: float
) -> Cloud:
    points, log_mass = x.points, x.log_mass
    for weight, (velocity, rate) in zip(weights, slopes, strict=True):
        if weight:
            points = torch.add(points, velocity, alpha=dt * weight)
            if rate is not None:
                log_mass = (x.mass.log() if log_mass is None else log_mass) + (dt * weight) * rate
    return Cloud(points, log_mass=log_mass)
