"""Integrators for flows with diffusion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.flows import Flow
from particleflow.integrators.base import Refit, State
from particleflow.integrators.runge_kutta import Euler


@dataclass(frozen=True)
class EulerMaruyama:
    """x_{n+1} = x_n + dt v(x_n) + sigma(t_n) sqrt(dt) xi_n, xi_n ~ N(0, I): weak order 1.

    On a Langevin flow this is ULA. Its stationary distribution is biased by O(dt): on N(0, 1) the
    variance is 1 / (1 - dt/2).
    """

    order: ClassVar[float] = 1.0
    stages: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        x, dt, stepper = Euler().step(flow, refit, state, dt)
        if not callable(flow.diffusion):
            return x, dt, stepper
        sigma = flow.sigma(state.clock)
        xi = state.clock.draws.normal("brownian", state.clock.step, x.points)
        return (
            Cloud(torch.add(x.points, xi, alpha=sigma * math.sqrt(dt)), log_mass=x.log_mass),
            dt,
            stepper,
        )
